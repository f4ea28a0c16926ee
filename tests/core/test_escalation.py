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
    CALM, label="negative", p_negative=0.95, p_positive=0.0, intensity=-0.9, confidence=0.9
)
SAD = replace(ANGRY, p_negative=0.89, intensity=-0.75)


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
        ({"p_negative": 0.70, "strong": 0.5, "intensity": -0.1}, "spike"),
        ({"p_negative": 0.69, "strong": 0.9}, ""),
        ({"p_negative": 0.8, "strong": 0.49}, ""),
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
    leaving = replace(SAD, threat_to_leave=0.4)
    past, first = hear(Past(), "so be it, the others then", leaving, 10.0)
    assert not first.open
    again, decision = hear(unsaid(past, 9.0), "so be it, the others then!", leaving, 20.0)
    assert "earlier" not in next(r.note for r in decision.trace if r.rule == "threat")
    assert len(again.last_questions) == 1
    assert unsaid(past, None).threat_times == past.threat_times


def test_a_threat_is_clear_or_comes_twice_or_in_words_and_is_never_positive() -> None:
    middling = replace(CALM, threat_to_leave=0.4)
    assert rule(replace(CALM, threat_to_leave=0.5)) == "threat"
    assert rule(middling) == ""
    assert rule(middling, threat_times=(900.0,)) == "threat"
    assert rule(middling, threat_times=(900.0 - 2 * 86400,)) == ""
    assert rule(middling, triggers=Triggers(threat="i will cancel")) == "threat"
    assert rule(CALM, triggers=Triggers(threat="i will cancel")) == ""
    assert rule(replace(CALM, label="positive", threat_to_leave=0.9)) == ""


def test_a_request_is_a_button_a_phrase_or_a_score() -> None:
    assert rule(command_human=True) == "request"
    assert rule(triggers=Triggers(request="talk to a human")) == "request"
    assert rule(replace(CALM, wants_human=0.5)) == "request"
    assert rule(replace(CALM, wants_human=0.49)) == ""


def test_an_unclear_phrase_is_settled_by_the_score_and_a_look_alike_is_not() -> None:
    sure = replace(CALM, wants_human=0.9)
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


def test_crisis_is_words_alone_and_the_score_is_only_evidence() -> None:
    assert rule(triggers=Triggers(crisis="kill myself")) == "crisis"
    decision = decide(situation(replace(CALM, crisis=0.99)), POLICY)
    assert not decision.open
    assert "evidence only" in decision.trace[0].note


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
    policy = POLICY.calibrated({"strong": 0.8, "wants_human": 0.7, "threat_to_leave": 0.6})
    assert (policy.strong, policy.wants_human, policy.threat) == (0.8, 0.7, 0.6)
    assert policy.threat_twice == pytest.approx(0.36)
    assert POLICY.calibrated({}) == POLICY


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
    middling = replace(CALM, threat_to_leave=0.4)
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
        past, _ = hear(past, "why is it so slow today", scores, at + 0.123)
    past = replace(past, not_needed_peak=0.5, refractory_until=12.5)
    assert past_from_row(json.loads(json.dumps(past_to_row(past)))) == past
    assert past_from_row(None) == past_from_row({}) == Past()
    assert past_from_row({"refractory_until": 5.0, "other": 1}) == Past(refractory_until=5.0)


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
