"""The table of transitions: one test for each of its rows, by number; and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import DeskError, NeedsConfirm
from core.store import desk, lines as said_lines, privacy
from core.store.turns import Finished, Plan
from core.tables import (
    audit,
    case,
    conversation,
    decision,
    history,
    inbox,
    outbox,
    pair,
    staff_thread,
)
from tests.core.desk_chat import (
    BEN,
    act,
    command,
    drawn,
    from_staff,
    lay_out,
    lines,
    owner,
    to_person,
)
from tests.core.ground import (
    DECISION,
    OPENING,
    TEXTS,
    Ground,
    heard,
    key,
    opened,
    said,
)

HOUR = 3600.0


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def version(ground: Ground) -> int:
    return ground.conversation().version


def wrote(ground: Ground, number: int, text: str = "hello?", **plan: Any) -> Finished | None:
    """Let the person write, and finish the turn as a plan says."""
    ground.take(said(number, text))
    start = ground.begin()
    assert start is not None
    if start.case_id is not None and "answer" not in plan:
        plan.setdefault("copies", {start.rows[0].id: (f"Ann: {text}",)})
    return ground.finish(start, Plan(**{"heard": heard(start, decision=DECISION), **plan}))


async def into(ground: Ground, state: str) -> None:
    """Bring a laid out case into a state."""
    lay_out(ground)
    steps = {
        "queued": (),
        "human": ("claim",),
        "snoozed": ("claim", "snooze"),
        "watch": ("claim", "botback"),
        "resolved": ("resolve",),
    }
    for verb in steps[state]:
        await act(ground, verb)
    ground.send_all()
    lines(ground)


def test_row_1_a_rule_opens_a_case_with_thread_card_words_ping_and_timers(ground: Ground) -> None:
    ground.open_case()
    assert owner(ground) == ("queue", "queued", "")
    assert ground.row(decision).case_id == 1
    assert {"t1", "t2", "t3"} <= set(ground.timers())
    assert to_person(ground) == ["A person will read this."]
    kinds = [post.kind for post in ground.send_all(("staff", 1), thread="31")]
    assert kinds == ["thread", "card", "context", "ping"]


async def test_row_1_staff_contact_somebody_who_is_told_nothing(ground: Ground) -> None:
    ground.take(said(1, "all is well"))
    ground.answer(ground.begin())
    ground.send_all()
    await ground.staff(command("/contact telegram:ann"))
    assert owner(ground) == ("queue", "queued", "")
    assert to_person(ground) == []
    assert ground.case().rule == "staff"
    await ground.staff(command("/contact telegram:ann", number=901))
    assert len(ground.rows(case)) == 1


async def test_row_1_an_unresolved_case_gets_no_second_one(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(command("/contact #1"))
    assert [row.id for row in ground.rows(case)] == [1]
    assert any("1" in line for line in lines(ground))


@pytest.mark.parametrize("state", ["queued", "human"])
async def test_row_2_a_rule_that_fires_again_is_one_line_of_evidence(
    ground: Ground, state: str
) -> None:
    await into(ground, state)
    before = version(ground)
    wrote(ground, 2, evidence="slide again")
    assert (owner(ground)[1], version(ground)) == (state, before)
    assert to_person(ground) == []
    assert "slide again" in lines(ground)
    assert [row.case_id for row in ground.rows(decision)] == [1, 1]
    assert drawn(ground).kind == "redraw"


async def test_row_3_a_claim_takes_the_timers_off(ground: Ground) -> None:
    lay_out(ground)
    before = version(ground)
    await act(ground, "claim")
    assert owner(ground) == ("human", "human", "Ben")
    assert ground.case().claimed_at == ground.now
    assert set(ground.timers()) == {"inactive"}
    assert version(ground) == before + 1
    assert to_person(ground) == []


async def test_row_3_the_person_is_told_who_came_where_that_is_chosen(ground: Ground) -> None:
    ground.choose(claimed_notice=True)
    lay_out(ground)
    await act(ground, "claim")
    assert to_person(ground) == ["Ben is with you now."]


@pytest.mark.parametrize("state", ["queued", "watch"])
async def test_row_4_the_first_reply_claims_and_is_marked(ground: Ground, state: str) -> None:
    await into(ground, state)
    await ground.staff(from_staff("I am here.", number=950))
    assert owner(ground) == ("human", "human", "Ben")
    assert to_person(ground) == [f"{BEN}I am here."]
    original, copy = ground.rows(pair, history_id=ground.rows(history, role="staff")[0].id)
    assert (original.message_id, original.side, original.original) == ("950", "staff", True)
    assert (copy.side, copy.original) == ("person", False)
    marks = [post for post in ground.send_all(("staff", 1)) if post.kind == "mark"]
    assert [(post.text, post.message_id) for post in marks] == [("sent", "950")]


async def test_row_4_staff_who_answer_in_the_chat_itself_take_a_case_that_was_none(
    ground: Ground,
) -> None:
    ground.place = None
    ann = key(chat="town")
    ground.take(said(1, "help", key=ann, private=False))
    ground.answer(ground.begin())
    reply = from_staff("Try this.", thread="")
    in_town = replace(reply.key, chat="town")
    answered = replace(reply, key=in_town, reply_to="1", reply_to_author="ann")
    ground.take(answered)
    start = ground.begin(ground.conversation("ben").id)
    assert start is not None
    await ground.handoff.in_public(start)
    assert owner(ground) == ("human", "human", "Ben")
    assert ground.rows(history, role="staff")[0].text == "Try this."
    assert to_person(ground) == ["I hear you."] or to_person(ground) == []


@pytest.mark.parametrize("state", ["queued", "human"])
async def test_row_5_what_the_person_writes_is_copied_and_moves_nothing(
    ground: Ground, state: str
) -> None:
    await into(ground, state)
    before = version(ground)
    wrote(ground, 2, "are you there?")
    assert (owner(ground)[1], version(ground)) == (state, before)
    assert lines(ground) == ["Ann: are you there?"]
    assert to_person(ground) == []
    assert ground.rows(history, role="user")[-1].scores["p_negative"] == 0.9


async def test_row_6_released_by_the_holder_or_by_another_with_a_confirm(ground: Ground) -> None:
    await into(ground, "human")
    with pytest.raises(NeedsConfirm):
        await act(ground, "release", "Zoe")
    await act(ground, "release", "Zoe", confirm=True)
    assert owner(ground) == ("queue", "queued", "")
    assert {"t1", "t2", "t3"} <= set(ground.timers())
    assert any("Zoe" in line for line in lines(ground))
    assert to_person(ground) == []


async def test_row_7_stealing_needs_a_confirm_and_tells_the_old_holder(ground: Ground) -> None:
    await into(ground, "human")
    with pytest.raises(NeedsConfirm):
        await act(ground, "claim", "Zoe")
    await act(ground, "steal", "Zoe")
    assert owner(ground) == ("human", "human", "Zoe")
    assert any("Zoe" in line and "Ben" in line for line in lines(ground))


async def test_row_7_assigned_to_somebody_who_works_here(ground: Ground) -> None:
    await into(ground, "human")
    with pytest.raises(DeskError, match="Nobody of the name 'Zoe'"):
        await act(ground, "assign", text="@Zoe")
    await ground.staff(from_staff("// hello", who="Zoe"))
    lines(ground)
    await act(ground, "assign", text="@Zoe")
    assert owner(ground) == ("human", "human", "Zoe")
    assert ground.case().holder == "telegram:zoe"
    assert any("Zoe" in line and "Ben" in line for line in lines(ground))


@pytest.mark.parametrize("state", ["queued", "human"])
async def test_row_8_a_case_sleeps_and_its_owner_stays(ground: Ground, state: str) -> None:
    await into(ground, state)
    speaks = ground.conversation().owner
    await act(ground, "snooze", text="4h")
    row = ground.case()
    assert (row.state, row.state_before) == ("snoozed", state)
    assert row.snooze_until == ground.now + 4 * HOUR
    assert ground.conversation().owner == speaks
    assert ground.timers() == {"snooze": ground.now + 4 * HOUR}
    icon = [post for post in ground.send_all(("staff", 1)) if post.kind == "thread"]
    assert [post.state for post in icon] == ["snoozed"]


@pytest.mark.parametrize("state", ["queued", "human"])
async def test_row_9_a_sleeping_case_wakes_when_the_person_writes(
    ground: Ground, state: str
) -> None:
    await into(ground, state)
    await act(ground, "snooze")
    lines(ground)
    wrote(ground, 2, "still broken", wakes=True)
    row = ground.case()
    assert (row.state, row.snooze_until) == (state, None)
    told = lines(ground)
    assert "Ann: still broken" in told
    assert (told[0].startswith("Ben: ")) is (state == "human")  # the holder is called
    assert "snooze" not in ground.timers()


async def test_row_9_the_words_that_wake_a_case_ring_its_lanes_and_may_be_words_of_danger(
    ground: Ground,
) -> None:
    await into(ground, "snoozed")
    drawn(ground)
    raised = {"rule": "crisis", "why": "crisis words", "priority": 3}
    finished = wrote(ground, 2, "I give up", wakes=True, evidence="crisis words", raised=raised)
    assert finished is not None
    assert {("staff", 1), ("card", 1)} <= set(finished.lanes)
    row = ground.case()
    assert (row.state, row.rule, row.priority) == ("human", "crisis", 3)
    assert "Ben: crisis words" in lines(ground)


@pytest.mark.parametrize("state", ["queued", "human", "snoozed"])
async def test_row_10_resolved_with_a_question_a_story_and_a_way_back(
    ground: Ground, state: str
) -> None:
    await into(ground, state)
    await act(ground, "resolve", text="refunded")
    assert owner(ground) == ("bot", "resolved", "")
    row = ground.case()
    assert row.reopen_until == ground.now + 24 * HOUR
    assert ground.conversation().past["refractory_until"] == ground.now + 1800.0
    assert ground.timers() == {}
    [post] = ground.send_all()
    assert [button.data for button in post.buttons] == ["u:yes", "u:no"]
    posts = ground.send_all(("staff", 1))
    assert [post.kind for post in posts] == ["ping", "transcript", "thread"]
    assert "refunded" in posts[0].text
    assert [button.label for button in drawn(ground).buttons[:3]] == [
        "Right",
        "Not needed",
        "Too late",
    ]


async def test_row_10_what_was_only_watched_ends_without_a_word(ground: Ground) -> None:
    ground.take(said(1, "all is well"))
    ground.answer(ground.begin())
    ground.send_all()
    await ground.staff(command("/watch telegram:ann"))
    await act(ground, "resolve")
    assert to_person(ground) == []
    assert ground.case().reopen_until is None


@pytest.mark.parametrize("state", ["queued", "human"])
async def test_row_11_not_needed_is_a_verdict_and_rests_longer(ground: Ground, state: str) -> None:
    await into(ground, state)
    await act(ground, "notneeded")
    row = ground.case()
    assert (row.state, row.verdict, row.reopen_until) == ("resolved", "not needed", None)
    assert ground.conversation().past["refractory_until"] == ground.now + 2 * HOUR
    assert to_person(ground) == [TEXTS.say("back_to_bot", "en")]


async def test_row_12_after_t3_the_bot_answers_again_where_that_is_chosen(ground: Ground) -> None:
    ground.choose(give_back=True)
    lay_out(ground)
    ground.now += 2700.0
    await ground.clockwork().tick()
    assert owner(ground) == ("bot", "watch", "")
    assert TEXTS.say("nobody_free", "en") in to_person(ground)
    assert any("45" in line for line in lines(ground))


async def test_row_13_given_back_by_the_holder_with_a_marker_for_the_bot(ground: Ground) -> None:
    await into(ground, "human")
    with pytest.raises(NeedsConfirm):
        await act(ground, "botback", "Zoe")
    await act(ground, "botback")
    assert owner(ground) == ("bot", "watch", "")
    assert [row.text for row in ground.rows(history, role="marker")] == [
        "human began",
        "human ended",
    ]
    assert to_person(ground) == [TEXTS.say("back_to_bot", "en")]


async def test_row_13_somebody_in_danger_is_not_given_back(ground: Ground) -> None:
    ground.open_case(opening=replace(OPENING, rule="crisis", priority=3))
    await act(ground, "claim")
    with pytest.raises(DeskError, match="danger"):
        await act(ground, "botback")
    assert owner(ground)[1] == "human"


@pytest.mark.parametrize("line", ["/claim", "/bot off"])
async def test_row_14_a_watched_case_is_taken(ground: Ground, line: str) -> None:
    await into(ground, "watch")
    await ground.staff(command(line))
    assert owner(ground) == ("human", "human", "Ben")
    assert to_person(ground) == []


async def test_row_15_a_rule_queues_a_watched_case_again(ground: Ground) -> None:
    await into(ground, "watch")
    wrote(ground, 2, "worse", opening=OPENING)
    assert owner(ground) == ("queue", "queued", "")
    assert {"t1", "t2", "t3"} <= set(ground.timers())
    assert to_person(ground) == ["A person will read this."]
    assert "ann needs a person" in lines(ground)
    assert len(ground.rows(case)) == len(ground.rows(staff_thread)) == 1


@pytest.mark.parametrize("state", ["queued", "human", "snoozed"])
async def test_row_16_the_person_takes_the_call_back(ground: Ground, state: str) -> None:
    await into(ground, state)
    ground.take(said(2, "", kind="pressed", data="u:undo", event_id="p2"))
    start = ground.begin()
    assert start is not None
    await ground.handoff.no_longer_needed(start)
    row = ground.case()
    assert (row.state, row.resolved_by, row.reopen_until) == ("resolved", "user", None)
    assert to_person(ground) == [TEXTS.say("back_to_bot", "en")]
    assert TEXTS.say("user_closed", "en") in lines(ground)


async def test_row_16_what_staff_have_settled_meanwhile_stays_settled(ground: Ground) -> None:
    await into(ground, "queued")
    ground.take(said(2, "", kind="pressed", data="u:undo", event_id="p2"))
    start = ground.begin()
    assert start is not None
    await act(ground, "resolve")
    assert await ground.handoff.no_longer_needed(start) is None
    assert (ground.case().state, ground.case().resolved_by) == ("resolved", "Ben")
    assert ground.row(inbox, event="p2").state == "done"


async def test_row_17_who_writes_soon_after_is_in_the_same_case(ground: Ground) -> None:
    await into(ground, "resolved")
    ground.now += 3 * HOUR
    ground.take(said(2, "it broke again"))
    start = ground.begin()
    assert start is not None
    assert start.resolved_case == 1
    plan = Plan(heard=heard(start), reopen=("The team knows.", "wrote again after 3 h"))
    ground.finish(start, plan)
    assert owner(ground) == ("queue", "queued", "")
    assert {"t1", "t2", "t3"} <= set(ground.timers())
    assert to_person(ground) == ["The team knows."]
    assert "wrote again after 3 h" in lines(ground)
    assert len(ground.rows(staff_thread)) == 1


async def test_row_17_staff_reopen_a_case(ground: Ground) -> None:
    await into(ground, "resolved")
    await act(ground, "reopen")
    assert owner(ground) == ("queue", "queued", "")
    assert to_person(ground) == []
    assert any("Ben" in line for line in lines(ground))


async def test_row_18_who_writes_later_gets_an_ordinary_answer(ground: Ground) -> None:
    await into(ground, "resolved")
    ground.now += 24 * HOUR + 1
    ground.take(said(2, "something else"))
    start = ground.begin()
    assert start is not None
    assert start.resolved_case is None
    ground.answer(start, "Here I am.")
    assert (owner(ground)[1], to_person(ground)) == ("resolved", ["Here I am."])
    assert lines(ground) == []


async def test_row_19_watching_leaves_the_bot_in_charge(ground: Ground) -> None:
    ground.take(said(1, "all is well"))
    ground.answer(ground.begin())
    ground.send_all()
    await ground.staff(command("/watch telegram:ann"))
    assert owner(ground) == ("bot", "watch", "")
    assert to_person(ground) == []
    assert [p.kind for p in ground.send_all(("staff", 1), thread="31")][:2] == ["thread", "card"]
    assert ground.timers() == {}
    await ground.staff(command("/watch telegram:ann", number=901))
    assert len(ground.rows(case)) == 1


async def test_row_20_what_is_said_to_somebody_unreachable_is_held(ground: Ground) -> None:
    await into(ground, "human")
    await act(ground, "reply", text="hello?")
    claim = ground.claim()
    assert ground.unreachable(claim.post) is None
    assert ground.conversation().unreachable
    assert owner(ground)[1] == "human"
    assert ground.rows(outbox, kind="relay", staff_thread_id=None)[-1].state == "held"
    left = ground.rows(conversation)  # and staff are told by the row that this took in
    assert len(left) == 1
    start = ground.begin()
    assert start is not None
    assert start.rows[0].message.kind == "left"


@pytest.mark.parametrize(("verb", "said_at_last"), [("send", ["hello?"]), ("drop", [])])
async def test_row_21_what_was_held_for_somebody_who_is_back_is_staffs_to_decide(
    ground: Ground, verb: str, said_at_last: list[str]
) -> None:
    await into(ground, "human")
    await act(ground, "reply", text="hello?")
    ground.unreachable(ground.claim().post)
    lines(ground)
    ground.do(said_lines.reachable, conversation_id=1, yes=True)
    ground.do(partial(ground.handoff.back_again, conversation_id=1, now=ground.now))
    [post] = [post for post in ground.send_all(("staff", 1)) if post.kind == "relay"]
    assert [button.data[4:6] for button in post.buttons] == ["ms", "md"]
    assert to_person(ground) == []
    await act(ground, verb)
    assert [text.removeprefix(BEN) for text in to_person(ground)] == said_at_last


async def test_row_22_what_was_forgotten_has_no_case_any_more(ground: Ground) -> None:
    await into(ground, "human")

    def done(n: int, m: int) -> str:
        return f"{n} and {m}"

    ground.do(privacy.forget, conversation_id=1, done=done, copy="(erased)", now=ground.now)
    assert owner(ground)[0] == "bot"
    assert ground.timers() == {}
    assert to_person(ground) == ["2 and 1"]
    assert "(erased)" in [post.text for post in ground.send_all(("staff", 1))]


@pytest.mark.parametrize(("rule", "give_back"), [("slide", False), ("crisis", True)])
async def test_row_23_after_t3_the_person_stays_in_line_and_is_told_once(
    ground: Ground, rule: str, *, give_back: bool
) -> None:
    ground.choose(give_back=give_back)
    ground.open_case(opening=replace(OPENING, rule=rule))
    ground.send_all()
    lines(ground)
    before = version(ground)
    ground.now += 2700.0
    clockwork = ground.clockwork()
    await clockwork.tick()
    ground.now += 2700.0
    await clockwork.tick()
    assert (owner(ground)[:2], version(ground)) == (("queue", "queued"), before)
    told = to_person(ground)
    assert told.count(TEXTS.say("long_wait", "en")) == 1
    assert any("45" in line for line in lines(ground))


@pytest.mark.parametrize("state", ["bot", "watch"])
async def test_row_24_a_reply_that_streams_has_its_row_and_moves_nothing(
    ground: Ground, state: str
) -> None:
    if state == "watch":
        await into(ground, "watch")
    ground.take(said(2, "and now?"))
    start = ground.begin()
    before = version(ground)
    row = ground.stream(start)
    assert (ground.row(outbox, id=row).state, version(ground)) == ("streaming", before)
    assert ground.claim() is None
    ground.answer(start, "All of it.")
    assert to_person(ground) == ["All of it."]


async def test_row_25_a_human_cuts_the_stream_off(ground: Ground) -> None:
    await into(ground, "watch")
    ground.take(said(2, "and now?"))
    start = ground.begin()
    row = ground.stream(start, "I would say")
    changed = await act(ground, "claim")
    assert changed.cut_off
    assert ground.row(outbox, id=row).state == "withdrawn"
    assert to_person(ground) == [TEXTS.say("withdrawn", "en")]
    assert ground.answer(start, "late words") is None
    await ground.handoff.cut_off(start, "I would say")
    assert any("I would say" in line for line in lines(ground))


async def test_row_25_what_stood_in_the_chat_is_written_over_and_in_a_group_deleted(
    ground: Ground,
) -> None:
    ground.place = None
    for number, (private, kind) in enumerate([(True, "edit"), (False, "delete")], 1):
        who = f"ann{number}"
        ground.take(said(number, "hello", user=who, private=private))
        person = ground.conversation(who)
        start = ground.begin(person.id)
        row = ground.stream(start, "I would say")
        ground.do(lambda c, row=row: c.execute(_has_id(row)))
        opening = replace(OPENING, notice="", ping="")
        ground.do(
            desk.open_case,
            conversation_id=person.id,
            opening=opening,
            desk=ground.facts(),
            now=ground.now,
        )
        [post] = ground.send_all(("person", person.id))
        assert (post.kind, post.message_id) == (kind, "55")
        assert bool(post.text) is private


def _has_id(row: int | None) -> Any:
    return outbox.update().where(outbox.c.id == row).values(message_id="55")


# --- what is refused ----------------------------------------------------------------------------

ALLOWED = {
    "claim": {"queued", "human", "snoozed", "watch"},
    "release": {"human"},
    "snooze": {"queued", "human"},
    "wake": {"snoozed"},
    "resolve": {"queued", "human", "snoozed", "watch"},
    "notneeded": {"queued", "human"},
    "botback": {"human"},
    "reopen": {"resolved"},
}
STATES = ("queued", "human", "snoozed", "watch", "resolved")


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        (verb, state)
        for verb, allowed in ALLOWED.items()
        for state in STATES
        if state not in allowed
    ],
)
async def test_a_verb_is_refused_in_a_state_that_does_not_know_it(
    ground: Ground, verb: str, state: str
) -> None:
    await into(ground, state)
    before = (owner(ground), version(ground), len(ground.rows(audit)), len(ground.rows(outbox)))
    with pytest.raises(DeskError):
        await act(ground, verb, confirm=True)
    assert before == (
        owner(ground),
        version(ground),
        len(ground.rows(audit)),
        len(ground.rows(outbox)),
    )


async def test_a_case_of_somebody_in_danger_does_not_sleep_unclaimed(ground: Ground) -> None:
    ground.open_case(opening=replace(OPENING, rule="crisis", priority=3))
    with pytest.raises(DeskError, match="claim it first"):
        await act(ground, "snooze")
    await act(ground, "claim")
    await act(ground, "snooze")
    assert owner(ground)[1] == "snoozed"


async def test_no_second_case_is_reopened_beside_an_open_one(ground: Ground) -> None:
    await into(ground, "resolved")
    ground.now += 24 * HOUR + 1
    ground.open_case(2)
    with pytest.raises(DeskError, match="another open case"):
        await act(ground, "reopen")
    assert owner(ground)[0] == "queue"


@pytest.mark.parametrize(
    ("verb", "text", "column", "value"),
    [
        ("priority", "3", "priority", 3),
        ("anonymous", "on", "anonymous", True),
        ("anonymous", "off", "anonymous", False),
        ("verdict", "right", "verdict", "right"),
        ("verdict", "too late 1", "missed_line", 1),
    ],
)
async def test_a_value_of_the_case_is_written_and_moves_nothing(
    ground: Ground, verb: str, text: str, column: str, value: object
) -> None:
    await into(ground, "human")
    before = version(ground)
    await act(ground, verb, "Zoe", text=text)
    assert getattr(ground.case(), column) == value
    assert version(ground) == before


@pytest.mark.parametrize(
    ("verb", "text"),
    [("priority", "4"), ("priority", "high"), ("anonymous", "maybe"), ("verdict", "wrong")],
)
async def test_a_value_that_makes_no_sense_is_refused(ground: Ground, verb: str, text: str) -> None:
    await into(ground, "human")
    with pytest.raises(DeskError):
        await act(ground, verb, text=text)


async def test_a_verdict_may_be_changed_for_a_day(ground: Ground) -> None:
    await into(ground, "resolved")
    await act(ground, "verdict", text="right")
    await act(ground, "verdict", text="too late")
    assert ground.case().verdict == "too late"
    ground.now += 24 * HOUR + 1
    with pytest.raises(DeskError, match="stands"):
        await act(ground, "verdict", text="right")


async def test_an_anonymous_case_names_nobody(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "anonymous", text="on")
    await act(ground, "reply", text="hello")
    [words] = to_person(ground)
    assert "Ben" not in words
    assert words.endswith("Support\nhello")


async def test_in_a_group_a_case_ends_without_a_word_and_may_yet_be_reopened(
    ground: Ground,
) -> None:
    ground.take(said(1, "fed up", private=False))
    start = ground.begin()
    ground.finish(start, Plan(heard=heard(start, decision=DECISION), opening=OPENING))
    ground.send_all()
    await act(ground, "resolve")
    assert to_person(ground) == []
    assert ground.case().reopen_until == ground.now + 24 * HOUR
