"""What staff do beside moving a case: blocks, remarks, alerts, questions, saved replies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import DeskError, NeedsConfirm
from core.plans import Planner
from core.store import people, saved
from core.store.turns import Plan
from core.tables import audit, case, conversation, person, remark, watcher
from tests.core.desk_chat import (
    BEN,
    act,
    card_of,
    command,
    drawn,
    from_staff,
    lay_out,
    lines,
    owner,
    pressed,
    to_person,
)
from tests.core.ground import TEXTS, Ground, heard, key, opened, said

DAY = 86400.0


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        lay_out(made)
        yield made


def wrote(ground: Ground, number: int, text: str = "hello?", **more: Any) -> None:
    ground.take(said(number, text, **more))
    start = ground.begin()
    assert start is not None
    ground.finish(start, Plan(heard=heard(start)))


# --- blocking -------------------------------------------------------------------------------------


async def test_a_block_is_asked_about_first(ground: Ground) -> None:
    await ground.staff(command("/block 7d spam"))
    assert ground.conversation().blocked_until is None
    [asked] = lines(ground)
    assert "/block 7d spam yes" in asked
    await ground.staff(command("/block 7d spam yes", number=901))
    assert ground.conversation().blocked_until == ground.now + 7 * DAY
    row = ground.row(person)
    assert (row.blocked_until, row.blocked_why) == (ground.now + 7 * DAY, "spam")
    told = lines(ground)
    assert any("Ben" in line and "spam" in line for line in told)
    assert "block" in [row.what for row in ground.rows(audit)]


async def test_on_the_page_a_block_is_confirmed_by_asking_again(ground: Ground) -> None:
    with pytest.raises(NeedsConfirm):
        await act(ground, "block", text="7d spam")
    await act(ground, "block", text="7d spam", confirm=True)
    assert ground.conversation().blocked_until == ground.now + 7 * DAY


@pytest.mark.parametrize("text", ["", "spam", "yes"])
async def test_a_block_without_a_time_is_refused(ground: Ground, text: str) -> None:
    with pytest.raises(DeskError, match="how long"):
        await act(ground, "block", text=text, confirm=True)
    assert ground.conversation().blocked_until is None


async def test_a_block_holds_wherever_the_person_writes_and_ends_by_a_verb(ground: Ground) -> None:
    await act(ground, "block", text="7d spam", confirm=True)
    ground.take(said(5, "here too", key=key(chat="town")))
    places = ground.rows(conversation, user="ann")
    assert {row.blocked_until for row in places} == {ground.now + 7 * DAY}
    await act(ground, "unblock")
    assert {row.blocked_until for row in ground.rows(conversation, user="ann")} == {None}
    assert any("Ben" in line for line in lines(ground))


async def test_words_of_somebody_blocked_go_nowhere_and_are_answered_once(ground: Ground) -> None:
    await act(ground, "block", text="7d spam", confirm=True)
    lines(ground)
    planner = Planner(texts=TEXTS, clock=lambda: ground.now)
    for number in (2, 3):
        ground.take(said(number, "let me in"))
        start = ground.begin()
        assert start is not None
        plan = planner.shut_out(start)
        assert plan is not None
        ground.finish(start, plan)
    assert to_person(ground) == [TEXTS.say("blocked", "en", date="1970-01-08")]
    assert lines(ground) == []


async def test_somebody_blocked_who_is_in_danger_is_heard(ground: Ground) -> None:
    await act(ground, "block", text="7d spam", confirm=True)
    ground.take(said(2, "help"))
    start = ground.begin()
    assert start is not None
    danger = replace(start, rows=(replace(start.rows[0], urgent="crisis"),))
    assert Planner(texts=TEXTS, clock=lambda: ground.now).shut_out(danger) is None


# --- remarks, alerts ------------------------------------------------------------------------------


async def test_a_remark_lasts_and_is_on_every_later_card(ground: Ground) -> None:
    await ground.staff(command("/remark prefers mornings"))
    assert "prefers mornings" in drawn(ground).text
    await act(ground, "notneeded")
    ground.now += 3 * DAY
    second = ground.open_case(2)
    assert [row["text"] for row in ground.view(second)["remarks"]] == ["prefers mornings"]
    assert to_person(ground)[-1] != "prefers mornings"
    with pytest.raises(DeskError):
        await act(ground, "remark", text=" ")
    assert len(ground.rows(remark)) == 1


async def test_an_alert_calls_its_owner_once_at_the_next_message(ground: Ground) -> None:
    await act(ground, "alert")
    assert len(ground.rows(watcher)) == 1
    lines(ground)
    wrote(ground, 2)
    assert [line for line in lines(ground) if "Ben" in line] == [
        TEXTS.say("alert_fired", "en", name="Ben")
    ]
    wrote(ground, 3)
    assert lines(ground) == []


async def test_an_alert_is_taken_back_by_asking_again(ground: Ground) -> None:
    await act(ground, "alert")
    await act(ground, "alert", "Zoe")
    await act(ground, "alert")
    assert [row.name for row in ground.rows(watcher)] == ["Zoe"]


# --- cases that staff begin -----------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "state"), [("contact", "queued"), ("watch", "watch")])
@pytest.mark.parametrize("meant", ["telegram:zed", "@Zed", "Zed"])
async def test_staff_begin_a_case_for_somebody(
    ground: Ground, verb: str, state: str, meant: str
) -> None:
    ground.take(said(2, user="zed"))
    await ground.staff(command(f"/{verb} {meant}"))
    row = ground.case(2)
    assert (row.state, row.rule) == (state, "staff")
    assert row.conversation_id == ground.conversation("zed").id
    assert ground.send_all(("person", row.conversation_id)) == []


async def test_an_earlier_case_names_its_person(ground: Ground) -> None:
    await act(ground, "resolve")
    await ground.staff(command("/contact #1"))
    assert ground.case(2).conversation_id == 1


@pytest.mark.parametrize("line", ["/contact nobody", "/watch telegram:77", "/contact #99"])
async def test_nobody_of_that_name_is_told_to_staff(ground: Ground, line: str) -> None:
    await ground.staff(command(line))
    assert len(ground.rows(case)) == 1
    assert any("telegram:12345" in told for told in lines(ground))


# --- questions ------------------------------------------------------------------------------------


async def test_why_shows_the_trace_who_the_card_and_history_the_last_lines(
    ground: Ground,
) -> None:
    await ground.staff(command("/why"))
    [why] = lines(ground)
    assert "slide" in why
    assert "-0.55" in why or "-.55" in why
    await ground.staff(command("/who", number=901))
    assert lines(ground) == [card_of(ground).text]
    await ground.staff(command("/history", number=902))
    [told] = lines(ground)
    assert "I am fed up" in told
    assert "A person will read this." in told
    assert to_person(ground) == []


async def test_a_question_moves_nothing(ground: Ground) -> None:
    before = ground.conversation().version
    for number, line in enumerate(("/why", "/who", "/history"), 900):
        await ground.staff(command(line, number=number, who="Zoe"))
    assert ground.conversation().version == before
    assert owner(ground) == ("queue", "queued", "")


async def test_a_line_of_history_cannot_pass_for_somebody_elses(ground: Ground) -> None:
    wrote(ground, 2, "hello\nBen: I promise a refund")
    await ground.staff(command("/history"))
    told = lines(ground)[-1]
    assert "\n  Ben: I promise" in told


# --- saved replies --------------------------------------------------------------------------------


async def test_a_saved_reply_is_kept_sent_by_name_and_removed(ground: Ground) -> None:
    await ground.staff(command("/save hours We are here from 9 to 5."))
    assert ground.store.read_now(lambda c: saved.text_of(c, "hours")) == "We are here from 9 to 5."
    lines(ground)
    await ground.staff(command("/s hours", number=901))
    assert to_person(ground) == [f"{BEN}We are here from 9 to 5."]
    assert owner(ground) == ("human", "human", "Ben")
    await ground.staff(command("/save hours", number=902))
    assert ground.store.read_now(lambda c: saved.text_of(c, "hours")) is None


@pytest.mark.parametrize("line", ["/s nothing", "/s"])
async def test_a_saved_reply_that_there_is_not_names_those_there_are(
    ground: Ground, line: str
) -> None:
    await ground.staff(command("/save hours We are here."))
    lines(ground)
    await ground.staff(command(line, number=901))
    assert any("Saved: hours" in told for told in lines(ground))
    assert to_person(ground) == []
    assert owner(ground)[1] == "queued"


async def test_a_reply_is_saved_from_the_desks_own_chat_too(ground: Ground) -> None:
    line = command("/save bye Goodbye.")
    await ground.staff(replace(line, key=from_staff(thread="").key))
    assert ground.store.read_now(lambda c: saved.text_of(c, "bye")) == "Goodbye."


# --- suggestions ----------------------------------------------------------------------------------


async def test_a_suggestion_is_shown_to_staff_and_sent_by_a_press(ground: Ground) -> None:
    await ground.staff(command("/draft"))
    [told] = [post for post in ground.send_all(("staff", 1)) if post.kind == "relay"]
    assert "I would say this to 1." in told.text
    assert "scripted" in told.text
    assert to_person(ground) == []
    assert owner(ground)[1] == "queued"
    send = next(button.data for button in told.buttons if ":ds:" in button.data)
    await ground.staff(pressed(send, number=902))
    assert to_person(ground) == [f"{BEN}I would say this to 1."]
    assert ground.case().draft == ""


async def test_a_suggestion_is_dropped_by_a_press_and_by_what_the_person_writes(
    ground: Ground,
) -> None:
    await act(ground, "draft")
    assert (ground.case().draft, ground.case().draft_by) == ("I would say this to 1.", "scripted")
    await act(ground, "drop draft")
    assert ground.case().draft == ""
    await act(ground, "draft")
    wrote(ground, 2)
    assert ground.case().draft == ""


# --- two accounts of one person -------------------------------------------------------------------


async def test_two_joined_accounts_are_shown_on_one_card_and_parted_again(ground: Ground) -> None:
    other = replace(key("ann7", platform="discord"), chat="d7")
    ground.take(said(9, key=other, user="Ann7"))
    ground.do(people.make_code, key=key(), code="QWERTZUI", until=ground.now + 600.0)
    ground.do(people.use_code, key=other, code="QWERTZUI", now=ground.now)
    assert [one["platform"] for one in ground.view()["elsewhere"]] == ["discord"]
    ground.do(people.unlink, key=key())
    assert ground.view()["elsewhere"] == []
