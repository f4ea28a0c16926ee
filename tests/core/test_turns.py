"""One turn: read once, written once, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from core.message import Attachment
from core.store import bursts, desk, intake, lines, privacy, record, turns, unsaid, views
from core.store.turns import Heard, Plan, Tried
from core.tables import conversation, decision, history, inbox, outbox
from tests.core.ground import (
    DECISION,
    OPENING,
    SAD,
    Ground,
    answering,
    arrival,
    heard,
    opened,
    said,
)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def texts(ground: Ground) -> list[tuple[str, str]]:
    return [(row.role, row.text) for row in ground.rows(history)]


def test_nothing_to_do_is_none(ground: Ground) -> None:
    assert ground.begin() is None
    ground.take(said(1))
    ground.answer(ground.begin())
    assert ground.begin() is None


def test_a_burst_is_one_turn_in_the_platforms_order(ground: Ground) -> None:
    ground.take(said(3, "c"), said(1, "a"), said(2, "b"))
    start = ground.begin()
    assert [row.message.text for row in start.rows] == ["a", "b", "c"]
    finished = ground.answer(start)
    assert [row.state for row in ground.rows(inbox)] == ["done"] * 3
    assert {row.answered_by for row in ground.rows(inbox)} == {start.rows[-1].id}
    assert len(ground.rows(outbox)) == 1
    assert ground.row(outbox).cause_id == start.rows[0].id
    assert finished.lanes == (("person", 1),)


def test_a_row_of_another_kind_splits_a_burst(ground: Ground) -> None:
    ground.take(
        said(1, "a"),
        said(2, "b"),
        replace(said(3), kind="pressed", data="u:yes", event_id="p"),
        said(4, "/help"),
        said(5, "c"),
    )
    seen = []
    while start := ground.begin():
        seen.append([row.message.message_id for row in start.rows])
        ground.do(turns.done, ids=[row.id for row in start.rows], now=1.0)
    assert seen == [["1", "2"], ["3"], ["4"], ["5"]]


def test_a_try_that_the_database_refused_does_not_count(ground: Ground) -> None:
    ground.take(said(1))
    assert ground.begin().rows[0].tries == 1
    again = ground.do(turns.begin, conversation_id=1, now=2.0, tried=Tried(blameless=[1]))
    assert again.rows[0].tries == 1
    assert ground.begin().rows[0].tries == 2


def test_behind_a_flood_an_urgent_message_lets_nobody_wait_for_a_model(ground: Ground) -> None:
    flood = [(arrival(said(number)), "") for number in range(1, bursts.MOST + 1)]
    ground.do(intake.take_in, arrivals=flood, now=1.0)
    assert not ground.begin().pressing
    urgent = [(arrival(said(bursts.MOST + 1, "I want to die")), "crisis")]
    ground.do(intake.take_in, arrivals=urgent, now=1.0)
    start = ground.begin()
    assert len(start.rows) == bursts.MOST
    assert start.pressing


def test_conversations_do_not_mix(ground: Ground) -> None:
    ground.take(said(1, "mine"), said(2, "yours", user="ben"))
    ground.answer(ground.begin(1))
    start = ground.begin(2)
    assert [row.message.text for row in start.rows] == ["yours"]
    assert start.history == ()
    assert start.key.user == "ben"


def test_finish_writes_everything_at_once(ground: Ground) -> None:
    ground.take(said(1, "I am fed up"))
    start = ground.begin()
    plan = Plan(
        heard=heard(start, decision=DECISION, made={"ms": 3}),
        past={"mood": {"s": -0.5}},
        mood=-0.62,
        level="upset",
        lang="es",
        answer=answering(start, "I hear you.").answer,
        notices=("A fixed text.",),
    )
    finished = ground.finish(start, plan)
    assert texts(ground) == [
        ("user", "I am fed up"),
        ("bot", "A fixed text."),
        ("bot", "I hear you."),
    ]
    line = ground.rows(history)[0]
    assert (line.id, line.scores["label"]) == (finished.lines[1], "negative")
    person = ground.row(conversation)
    assert (person.past, person.mood, person.level) == ({"mood": {"s": -0.5}}, -0.62, "upset")
    assert (person.lang, person.name, person.version) == ("es", "Ann", 0)
    judged = ground.row(decision)
    assert (judged.inbox_id, judged.rule, judged.made) == (1, "slide", {"ms": 3})
    assert [(r.kind, r.bot_text) for r in ground.rows(outbox)] == [
        ("notice", False),
        ("reply", True),
    ]
    assert ground.row(inbox).raw == ""


def test_a_second_finish_of_the_same_turn_writes_nothing(ground: Ground) -> None:
    ground.take(said(1))
    start = ground.begin()
    assert ground.answer(start, "first") is not None
    assert ground.answer(start, "second") is None
    assert [row.text for row in ground.rows(outbox)] == ["first"]
    assert texts(ground)[-1] == ("bot", "first")


def test_a_turn_is_thrown_away_when_who_speaks_has_moved(ground: Ground) -> None:
    case_id = ground.open_case()
    ground.do(
        desk.move,
        case_id=case_id,
        desk=ground.facts(),
        now=1.0,
        change=desk.Change(what="given back", who="", state="watch", holder=("", "")),
    )
    ground.take(said(2))
    start = ground.begin()
    claim = desk.Change(what="claimed", who="ben", state="human", holder=("ben", "web:ben"))
    ground.do(desk.move, case_id=case_id, desk=ground.facts(), now=1.0, change=claim)
    before = len(ground.rows(outbox))
    assert ground.answer(start) is None
    assert len(ground.rows(outbox)) == before
    assert ground.row(inbox, id=2).state == "waiting"
    again = ground.begin()
    assert (again.owner, again.case_state) == ("human", "human")
    assert again.rows[0].tries == 1  # to be overtaken is no failure


def test_a_turn_of_somebody_erased_meanwhile_is_thrown_away(ground: Ground) -> None:
    ground.take(said(1))
    start = ground.begin()
    ground.do(privacy.forget, conversation_id=1, done=lambda **_: "", copy="(erased)", now=1.0)
    assert ground.answer(start) is None
    assert ground.do(privacy.bury) == 1
    assert ground.answer(start) is None
    assert ground.stream(start) is None
    assert ground.begin() is None


def test_only_one_row_with_another_decision_for_a_message(ground: Ground) -> None:
    ground.take(said(1), said(2))
    start = ground.begin()
    ground.finish(start, Plan(heard=heard(start, decision=DECISION)))
    explained = [ground.store.read_now(partial(views.explain, inbox_id=i)) for i in (1, 2, 3)]
    assert [found and found["why"] for found in explained] == ["mood -0.62", "mood -0.62", None]
    assert explained[0]["trace"] == DECISION["trace"]


def test_a_case_is_opened_in_the_same_transaction_and_the_decision_names_it(
    ground: Ground,
) -> None:
    case_id = ground.open_case()
    assert ground.conversation().owner == "queue"
    assert ground.row(decision).case_id == case_id
    start_again = ground.begin()
    assert start_again is None


def test_history_comes_back_oldest_first_without_notes_and_deleted_lines(ground: Ground) -> None:
    ground.take(said(1, "one"))
    ground.answer(ground.begin(), "two")
    case_id = ground.open_case(2)
    ground.do(record.note, case_id=case_id, who="ben", words="between us", now=1.0)
    ground.take(said(3, "oops"))
    start = ground.begin()
    ground.finish(start, Plan(heard=heard(start)))
    ground.do(unsaid.unsay, conversation_id=start.conversation_id, message_id="3")
    ground.take(said(4))
    found = ground.begin().history
    assert [(line.role, line.text) for line in found] == [
        ("user", "one"),
        ("bot", "two"),
        ("user", "I am fed up"),
        ("bot", "A person will read this."),
    ]


def test_a_reset_hides_what_was_before_it(ground: Ground) -> None:
    ground.take(said(1, "old"))
    ground.answer(ground.begin(), "old answer")
    ground.now += 10
    ground.take(said(2, "/reset"))
    start = ground.begin()
    ground.finish(start, Plan(heard=(Heard(row=start.rows[0], kept=False),), reset=True))
    ground.now += 10
    ground.take(replace(said(3, "new"), sent_at=ground.now))
    ground.answer(ground.begin())
    ground.take(replace(said(4, "newer"), sent_at=ground.now))
    assert [line.text for line in ground.begin().history] == ["new", "I hear you."]
    assert ("user", "old") in texts(ground)


def test_a_message_without_text_leaves_a_line_that_names_what_it_was(ground: Ground) -> None:
    picture = Attachment(kind="photo", file_id="f")
    ground.take(said(1, "", attachments=(picture,)))
    start = ground.begin()
    assert start.rows[0].message.attachments == (picture,)
    ground.finish(start, Plan(heard=heard(start)))
    assert texts(ground) == [("user", "[photo]")]


def test_a_poison_message_ends_up_alone_and_is_set_aside_without_its_neighbours(
    ground: Ground,
) -> None:
    ground.take(said(1, "poison"), said(2, "good"), said(3, "good too"))
    answered, parked, tries = [], [], 0
    while start := ground.begin():
        tries += 1
        if start.rows[0].tries > turns.TRIES:
            ground.do(turns.set_aside, start=start, error="five tries", notice="sorry", now=1.0)
            parked += [row.message.message_id for row in start.rows]
        elif start.rows[0].message.text == "poison":
            continue  # the try failed: nothing is written
        else:
            ground.answer(start)
            answered += [row.message.message_id for row in start.rows]
    assert (parked, answered) == (["1"], ["2", "3"])
    row = ground.row(inbox, message_id="1")
    assert (row.state, row.error, row.raw) == ("parked", "five tries", "{}")
    assert [row.kind for row in ground.rows(outbox)] == ["notice", "reply", "reply"]


def test_older_messages_that_come_late_let_poison_take_nobody_along(ground: Ground) -> None:
    ground.take(said(10, "good"), said(11, "poison"))
    parked, answered, older = [], [], iter(range(9, 0, -1))
    while start := ground.begin():
        rows = start.rows
        if rows[0].tries > turns.TRIES:
            ground.do(turns.set_aside, start=start, error="five tries", notice="sorry", now=1.0)
            parked += [row.message.message_id for row in rows]
        elif any(row.message.text == "poison" for row in rows):
            if (number := next(older, None)) is not None:
                ground.take(said(number, "good"))  # it stands before all that has failed
        else:
            ground.answer(start)
            answered += [row.message.message_id for row in rows]
    assert parked == ["11"]
    assert "10" in answered
    assert len(answered) == len(set(answered)) == len(ground.rows(inbox)) - 1


@pytest.mark.parametrize("killed", ["in a try", "in a pause"])
@pytest.mark.parametrize("quiet", range(8))
@pytest.mark.parametrize("at", [1, 2, 3])
def test_four_kills_beside_poison_set_nobody_else_aside(
    ground: Ground, at: int, quiet: int, killed: str
) -> None:
    ground.take(*(said(number, "poison" if number == at else "good") for number in (1, 2, 3)))
    times, tried = chain([""] * quiet, [killed] * (turns.TRIES - 1)), Tried()
    while start := ground.do(turns.begin, conversation_id=1, now=1.0, tried=tried):
        ids, tried = [row.id for row in start.rows], replace(tried, blameless=())
        if start.rows[0].tries > turns.TRIES:
            ground.do(turns.set_aside, start=start, error="five tries", notice="", now=1.0)
            continue
        now = next(times, "")
        if now != "in a try" and all(row.message.text == "good" for row in start.rows):
            ground.answer(start)
        if now:  # what only that life knew is gone with it
            tried = Tried()
        elif len(ids) > 1:
            tried = Tried(blameless=ids, apart=[*tried.apart, *ids])
    states = [row.state for row in ground.rows(inbox)]
    assert states == ["parked" if number == at else "done" for number in (1, 2, 3)]


def test_poison_behind_a_good_message_does_not_take_it_along(ground: Ground) -> None:
    ground.take(said(1, "good"), said(2, "poison"))
    answered = []
    while start := ground.begin():
        if start.rows[0].tries > turns.TRIES:
            ground.do(turns.set_aside, start=start, error="five tries", notice="", now=1.0)
        elif all(row.message.text != "poison" for row in start.rows):
            ground.answer(start)
            answered += [row.message.message_id for row in start.rows]
    assert answered == ["1"]
    assert [row.state for row in ground.rows(inbox)] == ["done", "parked"]


def test_setting_aside_tells_the_person_once_and_keeps_what_is_done(ground: Ground) -> None:
    ground.take(said(1))
    start = ground.begin()
    arguments = {"start": start, "error": "five tries", "notice": "sorry", "now": 1.0}
    assert ground.do(turns.set_aside, **arguments) == (("person", 1),)
    ground.do(turns.set_aside, **arguments)
    assert [row.text for row in ground.rows(outbox)] == ["sorry"]
    assert ground.do(turns.set_aside, **{**arguments, "notice": ""}) == ()
    assert ground.answer(start) is None


def test_an_edit_replaces_the_line_and_keeps_what_was_said(ground: Ground) -> None:
    ground.take(said(1, "helo"))
    start = ground.begin()
    ground.answer(start)
    edit = said(1, "hello")
    for _ in range(2):  # a second try reads the same
        assert ground.do(lines.edit_line, start=start, message=edit, scores=SAD) == "helo"
    line = ground.rows(history)[0]
    assert (line.text, line.was) == ("hello", "helo")
    assert ground.do(lines.edit_line, start=start, message=said(9), scores=None) is None


def test_an_edit_never_reaches_another_persons_line(ground: Ground) -> None:
    ground.take(said(1, "mine"))
    ground.answer(ground.begin())
    ground.take(said(2, "theirs", user="ben"))
    start = ground.begin(2)
    assert ground.do(lines.edit_line, start=start, message=said(1, "!"), scores=None) is None
    assert ground.rows(history)[0].text == "mine"


def test_a_resolved_case_may_be_reopened_only_for_a_while(ground: Ground) -> None:
    case_id = ground.open_case()
    resolve = desk.Change(
        what="resolved",
        who="ben",
        state="resolved",
        holder=("", ""),
        values={"resolved_at": ground.now, "reopen_until": ground.now + 100},
    )
    ground.do(desk.move, case_id=case_id, desk=ground.facts(), now=ground.now, change=resolve)
    ground.take(said(2, "still broken"))
    start = ground.begin()
    assert (start.resolved_case, start.resolved_at) == (case_id, ground.now)
    ground.now += 200
    assert ground.begin().resolved_case is None
    ground.now -= 150
    plan = Plan(heard=heard(start), reopen=("told the team", "wrote again"))
    assert ground.finish(start, plan).case_id == case_id
    assert (ground.case(case_id).state, ground.conversation().owner) == ("queued", "queue")
    assert ground.begin() is None


def test_what_is_said_in_an_open_case_is_copied_to_its_thread(ground: Ground) -> None:
    case_id = ground.open_case()
    ground.take(said(2, "are you there"))
    start = ground.begin()
    assert (start.owner, start.case_id) == ("queue", case_id)
    plan = Plan(heard=heard(start), copies={2: ("Ann: are you", " there")}, evidence="slide again")
    finished = ground.finish(start, plan)
    assert ("staff", 1) in finished.lanes
    copies = [row for row in ground.rows(outbox, kind="relay") if row.cause_kind == "inbox"]
    assert [row.text for row in copies] == ["Ann: are you", " there"]
    assert {row.history_id for row in copies} == {finished.lines[2]}
    assert any(row.text == "slide again" for row in ground.rows(outbox, cause_kind="case_event"))
    assert ground.conversation().version == start.version


def test_a_case_without_a_desk_chat_has_no_staff_posts(tmp_path: Path) -> None:
    with opened(tmp_path, place=None) as ground:
        ground.open_case()
        assert [row.kind for row in ground.rows(outbox)] == ["notice"]
        assert ground.view()["state"] == "queued"
        assert ground.view()["moved_by"][0]["text"] == "I am fed up"


def test_an_opening_without_words_says_nothing_to_the_person(ground: Ground) -> None:
    ground.open_case(opening=replace(OPENING, notice="", context=""))
    assert [row.kind for row in ground.rows(outbox)] == ["thread", "card", "ping"]
