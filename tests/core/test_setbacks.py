"""What becomes of a post that did not arrive, and of the place that it was meant for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.message import Place, Post
from core.store import desk, flags, places, record, setbacks
from core.store.outbox import Claim
from core.tables import history, inbox, outbox, staff_thread
from tests.core.desk_chat import CARD, STAFF, act, from_staff, lay_out, lines, pressed, to_person
from tests.core.ground import TEXTS, Ground, opened, said

SECOND = Place(platform="discord", bot="heed", chat="700")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def claimed(ground: Ground, lane: Any = STAFF) -> Post:
    claim = ground.claim(lane)
    assert isinstance(claim, Claim)
    return claim.post


def tell(ground: Ground, *words: str) -> None:
    for one in words:
        ground.do(record.tell_staff, case_id=1, words=one, now=ground.now, what="told")


def left(ground: Ground, thread: str = "") -> list[tuple[str, str, str]]:
    """Send what the thread's lane has: kind, text, and the topic it went to."""
    return [(p.kind, p.text, p.place.thread) for p in ground.send_all(STAFF, thread=thread)]


# --- a thread that is gone ----------------------------------------------------------------------


def test_a_deleted_thread_is_made_anew_with_its_card_and_the_waiting_lines_in_order(
    ground: Ground,
) -> None:
    lay_out(ground)
    tell(ground, "one", "two")
    post = claimed(ground)
    assert ground.lost(post, gone=True) == "anew"
    tell(ground, "three")
    ground.do(flags.successor, row_id=post.id, say=TEXTS.say, now=ground.now)
    sent = left(ground, thread="32")
    assert [(kind, thread) for kind, _, thread in sent[:2]] == [("thread", ""), ("card", "32")]
    assert [text for kind, text, _ in sent if kind == "relay"] == ["one", "two", "three"]
    assert TEXTS.say("thread_successor", "en") in [text for _, text, _ in sent]
    assert {thread for kind, _, thread in sent if kind != "thread"} == {"32"}
    row = ground.row(staff_thread)
    assert (row.thread, row.status, row.made) == ("32", "ready", 2)
    assert row.card_message_id != ""


def test_a_thread_is_made_anew_once_and_then_the_case_lives_in_the_chat(ground: Ground) -> None:
    lay_out(ground)
    tell(ground, "one")
    ground.lost(claimed(ground), gone=True)
    ground.send_all(STAFF, thread="32")
    tell(ground, "two")
    assert ground.lost(claimed(ground), gone=True) == "chat"
    sent = left(ground)
    assert [(kind, thread) for kind, _, thread in sent] == [("card", ""), ("relay", "")]
    assert ground.row(staff_thread).status == "fallback"


def test_the_card_of_a_successor_is_the_one_that_was_drawn_last(ground: Ground) -> None:
    lay_out(ground)
    change = desk.Change(what="claimed", who="Ben", state="human", holder=("Ben", "web:Ben"))
    ground.do(desk.move, case_id=1, desk=ground.facts(), now=ground.now, change=change)
    post = claimed(ground)  # the icon finds the topic gone
    assert ground.lost(post, gone=True) == "anew"
    thread, card, *_ = ground.send_all(STAFF, thread="32")
    assert (thread.state, card.state) == ("human", "human")
    assert "With Ben" in card.text
    assert ground.rows(outbox, kind="redraw")[0].state == "withdrawn"


# --- a thread that is shut ----------------------------------------------------------------------


def test_a_shut_thread_is_opened_and_then_the_line_is_said(ground: Ground) -> None:
    lay_out(ground)
    tell(ground, "one")
    post = claimed(ground)
    assert ground.do(setbacks.thread_shut, row_id=post.id, error="closed", now=ground.now)
    opens, line = ground.send_all(STAFF)
    assert (opens.kind, opens.message_id, opens.state) == ("thread", "31", "open")
    assert (line.id, line.text, line.place.thread) == (post.id, "one", "31")


def test_a_thread_is_opened_also_for_a_line_that_had_to_wait_before(ground: Ground) -> None:
    lay_out(ground)
    tell(ground, "one")
    for _ in range(3):
        ground.later(claimed(ground))
    post = claimed(ground)
    assert ground.do(setbacks.thread_shut, row_id=post.id, error="closed", now=ground.now)
    assert [one.kind for one in ground.send_all(STAFF)] == ["thread", "relay"]


def test_a_thread_that_is_shut_again_before_the_line_is_there_is_opened_again(
    ground: Ground,
) -> None:
    lay_out(ground)
    tell(ground, "one")
    for _ in range(3):
        post = claimed(ground)
        assert post.kind == "relay"
        assert ground.do(setbacks.thread_shut, row_id=post.id, error="closed", now=ground.now)
        opens = claimed(ground)
        assert (opens.kind, opens.message_id, opens.state) == ("thread", "31", "open")
        ground.sent(opens)
    assert [one.kind for one in ground.send_all(STAFF)] == ["relay"]
    assert ground.row(staff_thread).status == "ready"


def test_a_thread_that_stays_shut_is_not_opened_for_ever(ground: Ground) -> None:
    lay_out(ground)
    tell(ground, "one")
    tries = 0
    while True:
        post = claimed(ground)
        if post.kind == "thread":
            ground.sent(post)
            continue
        if not ground.do(setbacks.thread_shut, row_id=post.id, error="closed", now=ground.now):
            break
        tries += 1
        assert tries < 5
    assert tries >= 1
    assert ground.lost(post) == "chat"


# --- a thread of which nobody knows -------------------------------------------------------------


def test_an_unknown_creation_is_asked_for_once_more(ground: Ground) -> None:
    ground.open_case()
    first = claimed(ground)
    ground.ended(first, "uncertain")
    again = claimed(ground)
    assert (again.id, again.kind) == (first.id, "thread")
    assert again.nonce != first.nonce  # a request of its own
    ground.ended(again, "uncertain")
    assert [(kind, thread) for kind, _, thread in left(ground)] == [
        ("card", ""),
        ("context", ""),
        ("ping", ""),
    ]
    assert ground.row(staff_thread).status == "fallback"


def test_a_desk_that_has_no_threads_answers_below_its_cards(ground: Ground) -> None:
    ground.open_case()
    assert ground.lost(claimed(ground)) == "chat"
    card, context, ping = ground.send_all(STAFF)
    assert [post.kind for post in (card, context, ping)] == ["card", "context", "ping"]
    assert context.reply_to == ping.reply_to == f"m{card.id}"
    tell(ground, "more")
    [line] = ground.send_all(STAFF)
    assert line.reply_to == f"m{card.id}"


# --- a desk that is lost ------------------------------------------------------------------------


async def test_a_desk_that_shuts_us_out_is_left_for_the_next_one(ground: Ground) -> None:
    ground.more_places = [SECOND]
    ground.open_case()
    ground.send_all()
    case_id = ground.unreachable(claimed(ground))
    assert case_id == 1
    rung = ground.do(ground.clockwork().lost, case_id=1, now=ground.now)
    assert ("staff", 2) in rung.lanes
    first, second = ground.rows(staff_thread)
    assert (first.status, second.platform, second.chat) == ("lost", "discord", "700")
    posts = ground.send_all(("staff", 2), thread="9")
    assert [post.kind for post in posts][:2] == ["thread", "card"]
    assert "mood -0.62" in posts[1].text
    assert TEXTS.say("delay", "en") in to_person(ground)
    assert ground.send_all(STAFF) == []
    ground.do(ground.clockwork().lost, case_id=1, now=ground.now)
    assert to_person(ground) == []  # told once
    assert len(ground.rows(staff_thread)) == 2


def test_a_lost_desk_without_a_next_one_leaves_the_case_to_the_page(ground: Ground) -> None:
    ground.open_case()
    ground.send_all()
    ground.unreachable(claimed(ground))
    ground.do(ground.clockwork().lost, case_id=1, now=ground.now)
    assert len(ground.rows(staff_thread)) == 1
    assert ground.case().state == "queued"
    assert ground.store.read_now(lambda c: places.of_case(c, 1)) == []


def test_a_lost_board_is_no_case(ground: Ground) -> None:
    board = ground.do(places.board, place=ground.place)
    post = desk.Outgoing(
        kind="digest", text="list", cause_kind="digest", cause_id=1, staff_thread_id=board
    )
    ground.do(desk.enqueue, conversation_id=None, posts=[post], now=ground.now)
    assert ground.unreachable(claimed(ground, ("staff", board))) is None


# --- a person who is gone ------------------------------------------------------------------------


async def test_everything_for_somebody_who_is_gone_is_held_and_taken_in_as_an_event(
    ground: Ground,
) -> None:
    lay_out(ground)
    await act(ground, "reply", text="one")
    await act(ground, "reply", text="two")
    ground.unreachable(claimed(ground, ("person", 1)))
    held = [row.text for row in ground.rows(outbox, kind="relay", state="held")]
    assert [text.split("\n")[-1] for text in held] == ["one", "two"]
    assert ground.rows(inbox)[-1].kind == "left"
    await act(ground, "reply", text="three")
    assert to_person(ground) == []
    assert any("Ann" in line for line in lines(ground))


# --- posts that were given up -------------------------------------------------------------------


async def given_up(ground: Ground, state: Any, error: str = "why") -> list[Post]:
    """Let an answer of staff's fail; return the line staff get, with its ways out."""
    lay_out(ground)
    await ground.staff(from_staff("Here is your refund.", number=950))
    post = claimed(ground, ("person", 1))
    arguments = {"state": state, "error": error, "say": TEXTS.say, "now": ground.now}
    ground.do(flags.give_up, row_id=post.id, **arguments)
    return [post for post in ground.send_all(STAFF) if post.kind in ("relay", "mark")]


async def test_what_may_have_arrived_is_sent_again_only_by_a_press(ground: Ground) -> None:
    mark, told = await given_up(ground, "uncertain")
    assert (mark.kind, mark.text, mark.message_id) == ("mark", "failed", "950")
    again, arrived = told.buttons
    assert to_person(ground) == []
    await ground.staff(pressed(again.data, number=960))
    assert [text.split("\n")[-1] for text in to_person(ground)] == ["Here is your refund."]
    await ground.staff(pressed(arrived.data, number=961))
    assert to_person(ground) == []


async def test_what_did_arrive_after_all_is_marked_so(ground: Ground) -> None:
    _, told = await given_up(ground, "uncertain")
    await ground.staff(pressed(told.buttons[1].data, number=960))
    assert to_person(ground) == []
    assert ground.rows(outbox, kind="relay", staff_thread_id=None)[-1].state == "sent"
    assert [p.text for p in ground.send_all(STAFF) if p.kind == "mark"] == ["sent"]


async def test_what_was_refused_may_be_tried_again(ground: Ground) -> None:
    mark, told = await given_up(ground, "failed", "too many buttons")
    assert mark.text == "failed"
    assert "too many buttons" in told.text
    [retry] = told.buttons
    await ground.staff(pressed(retry.data, number=960))
    assert len(to_person(ground)) == 1
    await ground.staff(pressed(retry.data, number=961))
    assert to_person(ground) == []  # it has arrived: an old button sends nothing


async def test_an_edit_the_platform_refuses_is_said_anew_as_a_correction(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(from_staff("Come at 5.", number=950))
    ground.send_all()
    edited = from_staff("Come at 6.", number=950, kind="edited", event_id="950:1")
    await ground.staff(edited)
    post = claimed(ground, ("person", 1))
    ground.do(flags.correct, row_id=post.id, error="too old", say=TEXTS.say, now=ground.now)
    [anew] = ground.send_all()
    assert anew.kind == "relay"
    assert anew.text.startswith("Correction:\n")
    assert anew.text.endswith("Come at 6.")


async def test_a_deletion_the_platform_refuses_is_told_to_staff(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(from_staff("Come at 5.", number=950))
    ground.send_all()
    deletes = from_staff("", number=950, kind="deleted", event_id="950:d")
    await ground.staff(deletes)
    post = claimed(ground, ("person", 1))
    ground.do(flags.correct, row_id=post.id, error="48 h", say=TEXTS.say, now=ground.now)
    assert to_person(ground) == []
    assert TEXTS.say("not_deleted", "en") in lines(ground)


def test_a_redrawn_card_of_a_case_in_the_chat_is_still_its_card(ground: Ground) -> None:
    ground.open_case()
    ground.lost(claimed(ground))
    card, *_ = ground.send_all(STAFF)
    ground.do(desk.redraw, case_id=1, desk=ground.facts(), now=ground.now)
    ground.now += places.REDRAW
    [drawn] = ground.send_all(CARD)
    assert drawn.message_id == f"m{card.id}"


def test_nothing_is_done_for_a_row_that_was_erased(ground: Ground) -> None:
    ground.take(said(1))
    assert ground.do(setbacks.thread_shut, row_id=99, error="", now=1.0) is False
    arguments = {"state": "failed", "error": "x", "say": TEXTS.say, "now": 1.0}
    assert ground.do(flags.give_up, row_id=99, **arguments) == ()
    assert ground.rows(history) == []
