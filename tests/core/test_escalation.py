from __future__ import annotations

import json
from dataclasses import replace

import pytest

from core.engine.embedded.table import TableTagger
from core.escalation import (
    RULES,
    Decision,
    Past,
    Policy,
    Situation,
    decide,
    judge,
    past_from_row,
    past_to_row,
    peak_of,
    trace_rows,
    unsaid,
)
from core.message import Scores
from core.mood import Mood, MoodPolicy
from core.sentiment import Sentiment
from core.triggers import Triggers

POLICY = Policy()
LADDER = MoodPolicy()
CALM = Scores(
    label="neutral",
    probs={"negative": 0.1, "neutral": 0.8, "positive": 0.1},
    p_negative=0.1,
    p_positive=0.1,
    intensity=0.0,
    confidence=0.8,
    strong=0.01,
    wants_human=0.01,
    threat_to_leave=0.01,
    crisis=0.01,
    lang="en",
    instrument="test",
)
ANGRY = replace(
    CALM,
    label="negative",
    p_negative=0.95,
    p_positive=0.0,
    intensity=-0.9,
    confidence=0.9,
    strong=0.5,
)
SAD = replace(ANGRY, p_negative=0.89, intensity=-0.75, strong=0.1)
COOL = replace(CALM, label="negative", p_negative=0.5, intensity=-0.2)  # hardly negative


def situation(scores: Scores | None = CALM, **more: object) -> Situation:
    return Situation(
        **{"triggers": Triggers(), "before": Mood(), "after": Mood(), "at": 1000.0}
        | {"scores": scores}
        | more
    )


def rule(scores: Scores | None = CALM, **more: object) -> str:
    return decide(situation(scores, **more), POLICY).rule


def hear(past: Past, text: str, scores: Scores | None, at: float, **more: object) -> tuple:
    judged = judge(past, text, scores, at, mood_policy=LADDER, policy=POLICY, **more)
    return judged.past, judged.decision


def test_a_calm_message_opens_nothing_and_every_rule_is_traced() -> None:
    decision = decide(situation(), POLICY)
    assert not decision.open
    assert decision.rule == decision.line == ""
    assert tuple(result.rule for result in decision.trace) == RULES
    assert json.loads(json.dumps(trace_rows(decision)))[0]["rule"] == "crisis"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "spike"),
        ({"p_negative": 0.89}, ""),
        ({"intensity": -0.79}, ""),
        ({"confidence": 0.74}, ""),
        ({"strong": 0.39}, ""),
        ({"p_negative": 0.70, "strong": 0.7, "intensity": -0.1}, "spike"),
        ({"p_negative": 0.69, "strong": 0.9}, ""),
        ({"p_negative": 0.8, "strong": 0.69}, ""),
    ],
)
def test_a_spike_needs_two_readings_that_agree_and_are_sure(
    changes: dict[str, float], expected: str
) -> None:
    assert rule(replace(ANGRY, **changes)) == expected


def test_a_slide_needs_upset_two_messages_and_one_strong() -> None:
    upset = Mood(s=-1.2, w=1.5, level="upset", since_calm=2, peak_since_calm=0.6)
    assert rule(after=upset) == "slide"
    assert rule(after=replace(upset, level="tense")) == ""
    assert rule(after=replace(upset, since_calm=1)) == ""
    assert rule(after=replace(upset, peak_since_calm=0.49)) == ""


def test_a_slide_whose_mood_rose_again_needs_a_third_message() -> None:
    risen = Mood(s=-0.9, w=1.5, level="upset", since_calm=2, peak_since_calm=0.9)
    assert risen.value > LADDER.upset_enter
    assert rule(after=risen) == ""
    assert rule(after=replace(risen, since_calm=3)) == "slide"
    assert rule(after=replace(risen, s=-0.6, since_calm=3)) == ""  # not even tense


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("wonderful, that is kind of you", replace(CALM, label="positive", p_positive=0.8)),
        ("ok thanks", CALM),
    ],
)
def test_who_says_thanks_while_still_upset_needs_no_alarm(text: str, scores: Scores) -> None:
    upset = Mood(s=-1.4, w=1.5, at=0.0, level="upset", since_calm=3, peak_since_calm=0.8)
    past, decision = hear(Past(mood=upset), text, scores, 1.0)
    assert past.mood.level == "upset"
    assert not decision.open
    assert hear(Past(mood=upset), "and now?", CALM, 1.0)[1].rule == "slide"


def test_a_message_heard_again_is_no_second_threat_and_no_second_question() -> None:
    leaving = replace(SAD, threat_to_leave=0.65)
    past, first = hear(Past(), "so be it, the others then", leaving, 10.0)
    assert not first.open
    again, decision = hear(unsaid(past, 9.0), "so be it, the others then!", leaving, 20.0)
    assert "earlier" not in next(r.note for r in decision.trace if r.rule == "threat")
    assert len(again.last_questions) == 1
    assert unsaid(past, None).threat_times == past.threat_times


def test_a_threat_is_clear_or_comes_twice_or_in_words_and_is_never_positive() -> None:
    middling = replace(CALM, threat_to_leave=0.6)
    assert rule(replace(CALM, threat_to_leave=0.85)) == "threat"
    assert rule(replace(CALM, threat_to_leave=0.84)) == ""
    assert rule(middling) == ""
    assert rule(middling, threat_times=(900.0,)) == "threat"
    assert rule(middling, threat_times=(900.0 - 2 * 86400,)) == ""
    assert rule(middling, triggers=Triggers(threat="i will cancel")) == "threat"
    assert rule(CALM, triggers=Triggers(threat="i will cancel")) == ""
    assert rule(replace(CALM, label="positive", threat_to_leave=0.9)) == ""


def test_a_request_is_a_button_a_phrase_or_a_score() -> None:
    assert rule(command_human=True) == "request"
    assert rule(triggers=Triggers(request="talk to a human")) == "request"
    assert rule(replace(CALM, wants_human=0.9)) == "request"
    assert rule(replace(CALM, wants_human=0.89)) == ""


def test_an_unclear_phrase_is_settled_by_the_score_and_a_look_alike_is_not() -> None:
    sure = replace(CALM, wants_human=0.6)
    assert rule(sure) == ""
    assert rule(triggers=Triggers(ambiguous_request="is anyone there")) == ""
    assert rule(sure, triggers=Triggers(ambiguous_request="is anyone there")) == "request"
    assert rule(sure, triggers=Triggers(not_request="are you human")) == ""


def test_money_opens_unless_the_message_is_positive() -> None:
    money = Triggers(money="refund")
    assert rule(triggers=money) == "money"
    assert rule(replace(CALM, label="positive"), triggers=money) == ""


def test_failure_is_the_third_same_question_or_the_second_failed_engine() -> None:
    assert rule(repeats=2, engine_failures=1) == ""
    assert rule(repeats=3) == "failure"
    assert rule(engine_failures=2) == "failure"


def test_crisis_is_words_or_a_sure_score() -> None:
    assert rule(triggers=Triggers(crisis="kill myself")) == "crisis"
    assert rule(replace(CALM, crisis=0.59)) == ""
    veiled = decide(situation(replace(CALM, crisis=0.61)), POLICY)
    assert veiled.rule == "crisis"
    assert veiled.line == "danger between the lines: 0.61 of 0.60"
    assert not veiled.caused_by_mood


def test_without_scores_only_crisis_and_request_are_looked_at() -> None:
    found = Triggers(crisis="a", request="b", money="c", threat="d")
    decision = decide(situation(None, triggers=found, repeats=9, engine_failures=9), POLICY)
    assert [result.rule for result in decision.trace] == ["crisis", "request"]
    assert rule(None, triggers=Triggers(money="refund"), engine_failures=9) == ""


def test_the_first_rule_in_order_gives_the_reason() -> None:
    upset = Mood(s=-1.2, w=1.5, level="upset", since_calm=2, peak_since_calm=0.6)
    all_of_it = {
        "triggers": Triggers(crisis="a", request="b", money="c"),
        "after": upset,
        "repeats": 3,
        "lately": ((1000.0, 2),),
    }
    order = []
    policy = POLICY
    for _ in RULES:
        scores = replace(ANGRY, threat_to_leave=0.9)
        decision = decide(situation(scores, **all_of_it), policy)
        order.append(decision.rule)
        policy = replace(policy, off=policy.off | {decision.rule})
    assert tuple(order) == RULES


@pytest.mark.parametrize(
    ("more", "opens"),
    [
        ({"refractory_until": 1001.0}, False),
        ({"refractory_until": 1000.0}, True),
        ({"mood_cases_today": 3}, False),
        ({"mood_cases_today": 2}, True),
    ],
)
def test_mood_rests_after_a_case_and_after_three_a_day(
    more: dict[str, float], *, opens: bool
) -> None:
    decision = decide(situation(ANGRY, **more), POLICY)
    assert decision.open is opens
    assert decision.caused_by_mood is opens
    spike = next(result for result in decision.trace if result.rule == "spike")
    assert ("held" in spike.note) is not opens


@pytest.mark.parametrize(
    "more",
    [
        {"triggers": Triggers(crisis="x")},
        {"triggers": Triggers(request="x")},
        {"triggers": Triggers(money="x")},
        {"repeats": 3},
    ],
)
def test_what_is_not_mood_never_rests(more: dict[str, object]) -> None:
    decision = decide(situation(refractory_until=9e9, mood_cases_today=99, **more), POLICY)
    assert decision.open
    assert not decision.caused_by_mood


def test_a_spike_clearly_worse_than_the_one_not_needed_still_fires() -> None:
    rests = {"refractory_until": 9e9}
    peak = peak_of(ANGRY)
    assert rule(ANGRY, not_needed_peak=peak - 0.1, **rests) == "spike"
    assert rule(ANGRY, not_needed_peak=peak - 0.09, **rests) == ""
    assert rule(ANGRY, **rests) == ""


def test_thresholds_of_the_table_are_taken_over() -> None:
    policy = POLICY.calibrated({"strong": 0.8, "wants_human": 0.4, "threat_to_leave": 0.35})
    assert policy.strong == POLICY.strong  # the operator's
    assert (policy.wants_human, policy.wants_human_worded) == (0.9, 0.4)
    assert (policy.threat, policy.threat_twice, policy.threat_worded) == (0.85, 0.6, 0.35)
    assert POLICY.calibrated({}) == POLICY


def test_a_score_alone_is_never_asked_for_less_than_with_a_phrase() -> None:
    policy = POLICY.calibrated({"strong": 0.3, "wants_human": 0.95, "threat_to_leave": 0.95})
    assert policy.strong == POLICY.strong
    assert policy.wants_human == policy.threat == policy.threat_twice == 0.95


def test_two_bad_messages_slide_through_judge() -> None:
    past, first = hear(Past(), "bad", SAD, 0.0)
    assert not first.open
    past, second = hear(past, "still bad", SAD, 10.0)
    assert second.rule == "slide"
    assert "mood fell" in second.line


def test_a_group_is_harder_to_upset() -> None:
    alone, public = Past(), Past()
    for at in (0.0, 1.0):
        alone, _ = hear(alone, "bad", SAD, at)
        public, _ = hear(public, "bad", SAD, at, private=False)
    assert alone.mood.value == public.mood.value
    assert (alone.mood.level, public.mood.level) == ("upset", "tense")


def test_the_third_same_question_is_a_failure_also_in_nearly_the_same_words() -> None:
    past, decisions = Past(), []
    for at, text in enumerate(
        [
            "How do I reset my password?",
            "ok",
            "how do i reset my password",
            "HOW do I reset my password??",
        ]
    ):
        past, decision = hear(past, text, CALM, float(at))
        decisions.append(decision)
    assert [d.rule for d in decisions] == ["", "", "", "failure"]
    assert decisions[-1].line == "same question 3 times"


def test_another_question_between_starts_the_count_anew() -> None:
    past = Past()
    texts = ["where is my order", "where is my order", "can I pay by card", "where is my order"]
    for at, text in enumerate(texts):
        past, decision = hear(past, text, CALM, float(at))
        assert not decision.open


def test_the_same_question_in_chinese_is_known_again() -> None:
    past = Past()
    for at in range(3):
        past, decision = hear(past, "我的订单到底在哪里？", CALM, float(at))
    assert decision.rule == "failure"


def test_the_past_keeps_no_words_of_the_person() -> None:
    past, _ = hear(Past(), "where is my secret parcel", CALM, 0.0)
    assert past.last_questions
    assert "parcel" not in json.dumps(past_to_row(past))


def test_two_threats_within_a_day_open_a_case() -> None:
    middling = replace(CALM, threat_to_leave=0.6)
    past, first = hear(Past(), "hm", middling, 0.0)
    assert not first.open
    _, soon = hear(past, "hm hm", middling, 3600.0)
    _, late = hear(past, "hm hm", middling, 90_000.0)
    assert (soon.rule, late.rule) == ("threat", "")


def test_without_scores_nothing_is_remembered_and_danger_is_still_heard() -> None:
    past, decision = hear(Past(), "I want to kill myself", None, 0.0)
    assert decision.rule == "crisis"
    assert past == Past()


def test_cases_caused_by_mood_are_counted_by_the_day() -> None:
    past, at = Past(), 1000.0
    for _ in range(3):
        past, decision = hear(past, "!", ANGRY, at)
        assert decision.open
        past = past.opened(decision, at)
    past, decision = hear(past, "!", ANGRY, at)
    assert not decision.open
    _, decision = hear(past, "!", ANGRY, at + 86400.0)
    assert decision.open


def test_a_request_is_not_counted_as_caused_by_mood() -> None:
    past, decision = hear(Past(), "human", CALM, 0.0)
    assert past.opened(decision, 0.0).mood_cases_today == 0


def test_the_past_survives_json_and_missing_keys() -> None:
    past = Past()
    for at, scores in enumerate([SAD, replace(SAD, threat_to_leave=0.9), ANGRY]):
        past, _ = hear(past, "I told you it is slow today", scores, at + 0.123)
    assert past.lately[-1] == (2.123, 1)
    past = replace(past, not_needed_peak=0.5, refractory_until=12.5)
    assert past_from_row(json.loads(json.dumps(past_to_row(past)))) == past
    assert past_from_row(None) == past_from_row({}) == Past()
    assert past_from_row({"refractory_until": 5.0, "other": 1}) == Past(refractory_until=5.0)


def say(*said: tuple[str, Scores], every: float = 60.0) -> list[str]:
    """Return the rule that each message of a dialogue opened a case by."""
    past, rules = Past(), []
    for number, (text, scores) in enumerate(said):
        past, decision = hear(past, text, scores, number * every)
        rules.append(decision.rule)
    return rules


@pytest.mark.parametrize(
    "texts",
    [
        ("that is not what I asked", "are you even reading what I write?"),
        (
            "I already told you, there is no code",
            "my rent is due tonight",
        ),
        ("再说一遍，没有这个选项", "你是不是只会发这一个链接"),
        ("我已经说过了", "孩子在医院等着，急死人了"),
        ("eso no es lo que pregunté", "ya te lo dije tres veces"),
        ("вы не отвечаете на вопрос", "я уже вам писал"),
    ],
)
def test_who_says_twice_that_they_are_not_heard_gets_a_person(texts: tuple[str, str]) -> None:
    rules = say((texts[0], COOL), ("how do I remove it", CALM), (texts[1], COOL))
    assert rules == ["", "", "trouble"]


def test_polite_fury_is_heard_without_a_negative_score() -> None:
    kind = replace(CALM, label="positive", p_positive=0.7, p_negative=0.1, intensity=0.4)
    letter = (
        "Thank you. I should be most grateful for the name of the person responsible.",
        "Kindly confirm by return the registered address of your company.",
    )
    assert say(*((text, kind) for text in letter)) == ["", "trouble"]


def test_the_trace_tells_how_often_trouble_was_told_of_and_the_words() -> None:
    past, _ = hear(Past(), "I already told you", COOL, 0.0)
    _, decision = hear(past, "are you even reading what I write?", COOL, 60.0)
    trouble = next(result for result in decision.trace if result.rule == "trouble")
    assert (trouble.value, trouble.threshold) == (2.0, 2.0)
    assert "are you even reading" in trouble.note
    assert "told of trouble 2 times" in decision.line


def test_trouble_rests_after_a_case_like_the_mood_that_it_is() -> None:
    told = {"lately": ((990.0, 1), (1000.0, 1))}
    assert rule(COOL, **told) == "trouble"
    assert rule(COOL, **told, refractory_until=1001.0) == ""
    assert rule(COOL, lately=((990.0, 2), (1000.0, 0))) == ""  # told of before, not now


def test_one_complaint_is_not_enough_and_is_forgotten_with_time_and_messages() -> None:
    told = ("I already told you", COOL)
    plain = ("which size is it", CALM)
    assert say(told, plain, ("another thing", CALM)) == ["", "", ""]
    assert say(told, *[plain] * 2, ("is it blue", CALM), ("or red?", CALM), told)[-1] == ""
    assert say(told, told, every=90_000.0) == ["", ""]


@pytest.mark.parametrize("end", ["thanks!", "haha ok, found it", "wonderful, it works now"])
def test_thanks_and_laughter_end_the_trouble(end: str) -> None:
    glad = replace(CALM, label="positive", p_positive=0.8)
    rules = say(("I already told you", COOL), (end, glad), ("same answer again", COOL))
    assert rules == ["", "", ""]


def test_bitter_laughter_ends_nothing() -> None:
    bitter = ("lol, are you even reading what I write", COOL)
    assert say(("I already told you", COOL), bitter) == ["", "trouble"]


def test_in_a_low_mood_one_complaint_less_is_enough() -> None:
    low = replace(SAD, intensity=-0.5, p_negative=0.85)
    said = [("no", low), ("it is off", low), ("I already told you", low)]
    assert say(*said)[-1] == "trouble"
    assert say(("no", CALM), ("it is off", CALM), ("I already told you", COOL))[-1] == ""


def test_a_burst_in_a_low_mood_opens_and_a_happy_or_slow_one_does_not() -> None:
    texts = ("hello", "why", "it is", "just", "gone", "all of it")
    low = replace(CALM, label="negative", p_negative=0.6, intensity=-0.3)
    glad = replace(CALM, label="positive", p_positive=0.7)
    assert say(*((text, low) for text in texts), every=3.0) == [""] * 5 + ["slide"]
    assert not any(say(*((text, CALM) for text in texts), every=3.0))
    assert not any(say(*((text, glad) for text in texts), every=3.0))
    assert not any(say(*((text, low) for text in texts), every=30.0))


def test_the_words_of_somebody_else_are_no_mood_and_no_threat() -> None:
    text = 'a member wrote: "you useless clowns, scammers, I will cancel my account, watch me"'
    angry = replace(ANGRY, strong=0.9, threat_to_leave=0.9, wants_human=0.95)
    past, decision = hear(Past(), text, angry, 0.0)
    assert not decision.open
    assert past.mood.level == "calm"
    assert hear(Past(), "他发：“垃圾，骗子，滚出来，去死吧”", angry, 0.0)[1].rule == ""
    assert hear(Past(), 'my answer to "other" is: you robbed me, you thieves', angry, 0.0)[1].open


def test_danger_in_a_quotation_is_still_danger() -> None:
    _, decision = hear(Past(), 'she wrote: "I want to kill myself tonight"', CALM, 0.0)
    assert decision.rule == "crisis"


def test_a_case_starts_the_count_of_trouble_anew() -> None:
    past, _ = hear(Past(), "I already told you", COOL, 0.0)
    past, decision = hear(past, "same answer again", COOL, 60.0)
    assert past.opened(decision, 60.0).lately == ()


def test_a_message_heard_again_tells_of_its_trouble_once() -> None:
    past, _ = hear(Past(), "I already told you", COOL, 10.0)
    _, decision = hear(unsaid(past, 10.0), "I already told you!", COOL, 20.0)
    assert not decision.open


def test_a_past_of_an_older_version_can_be_read() -> None:
    row = past_to_row(Past(threat_times=(1.0,)))
    del row["lately"]
    assert past_from_row(json.loads(json.dumps(row))) == Past(threat_times=(1.0,))


TWICE_CHARGED = (
    "unbelievable, you charged me twice AGAIN and nobody answers, I am furious, "
    "this is the worst service ever"
)


async def decision_on(text: str) -> Decision:
    table = TableTagger()
    policy = POLICY.calibrated(table.table.thresholds)
    scores = await Sentiment(table).hear(text, None)
    return judge(Past(), text, scores, 0.0, mood_policy=LADDER, policy=policy).decision


async def test_a_furious_first_message_opens_by_spike_with_the_shipped_table() -> None:
    assert (await decision_on(TWICE_CHARGED)).rule == "spike"


@pytest.mark.parametrize(
    "text",
    [
        "Your app is the worst garbage I have ever used. I hate you all, fix it NOW!!!",
        "垃圾平台，骗子，气死我了，你们太恶心了！！！",
        "this is terrible, I am so angry, absolutely furious!!!!",
    ],
)
async def test_rage_opens_by_mood_with_the_shipped_table(text: str) -> None:
    assert (await decision_on(text)).caused_by_mood


@pytest.mark.parametrize(
    "text",
    [
        "hello, how are you?",
        "are you human?",
        "你是人吗",
        "it is a bit slow today",
        "thanks, that was great",
        "我的快递什么时候到？",
        "where can I change my address?",
        "what a lovely day",
    ],
)
async def test_an_ordinary_first_message_opens_nothing_with_the_shipped_table(text: str) -> None:
    assert not (await decision_on(text)).open
