"""What goes out: in order, claimed once, never a machine's words after a human took over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.message import Button, Post
from core.store import desk, flags, lines, outbox, receipts, record, turns
from core.store.desk import Change
from core.store.outbox import Claim, Outgoing
from core.store.places import REDRAW
from core.store.turns import Plan
from core.tables import conversation, history, outbox as table, pair, staff_thread
from tests.core.ground import TEXTS, Ground, answering, heard, opened, said

PERSON = ("person", 1)
STAFF = ("staff", 1)
CARD = ("card", 1)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def answered(ground: Ground, *numbers: int) -> None:
    for number in numbers:
        ground.take(said(number, f"question {number}"))
        ground.answer(ground.begin(), f"answer {number}")


def claimed(ground: Ground, lane: Any = PERSON) -> Claim:
    claim = ground.claim(lane)
    assert isinstance(claim, Claim)
    return claim


def state(ground: Ground, row_id: int) -> str:
    return ground.row(table, id=row_id).state


def take_over(ground: Ground, case_id: int = 1, to: str = "human") -> record.Changed:
    holder = ("ben", "telegram:ben") if to == "human" else ("", "")
    change = Change(what="claimed", who="ben", state=to, holder=holder)
    return ground.do(desk.move, case_id=case_id, desk=ground.facts(), now=ground.now, change=change)


def watched(ground: Ground) -> int:
    """Open a case and give it back, so that the machine speaks while staff watch."""
    case_id = ground.open_case()
    take_over(ground, case_id, "watch")
    ground.send_all()
    return case_id


def test_replies_leave_in_the_order_of_the_conversation(ground: Ground) -> None:
    answered(ground, 1, 2, 3)
    assert [post.text for post in ground.send_all()] == ["answer 1", "answer 2", "answer 3"]
    assert ground.claim() is None


def test_parts_of_one_reply_leave_in_order_with_the_buttons_on_the_last(ground: Ground) -> None:
    ground.take(said(1))
    start = ground.begin()
    plan = answering(start, "a b c", ("a", "b", "c"))
    button = Button(label="Talk", data="u:human")
    answer = turns.Answer(
        text="a b c", parts=("a", "b", "c"), model="m", prompt="p", reply_to="1", buttons=(button,)
    )
    ground.finish(start, Plan(heard=plan.heard, answer=answer))
    posts = ground.send_all()
    assert [(p.part, p.text, p.reply_to) for p in posts] == [
        (0, "a", "1"),
        (1, "b", None),
        (2, "c", None),
    ]
    assert [p.buttons for p in posts] == [(), (), (button,)]


def test_a_row_is_claimed_once_and_what_follows_waits_for_it(ground: Ground) -> None:
    answered(ground, 1, 2)
    first = claimed(ground)
    assert ground.claim() is None
    ground.sent(first.post)
    assert claimed(ground).post.text == "answer 2"


def test_a_row_that_must_wait_holds_back_what_follows(ground: Ground) -> None:
    answered(ground, 1, 2)
    post = claimed(ground).post
    ground.later(post, 5.0)
    ground.now += 2
    assert ground.claim() == pytest.approx(3.0)
    ground.now += 3
    again = claimed(ground).post
    assert (again.id, again.nonce, again.age) == (post.id, post.nonce, 5.0)
    assert ground.row(table, id=post.id).tries == 2


def test_lanes_do_not_wait_for_each_other(ground: Ground) -> None:
    ground.take(said(1), said(2, user="ben"))
    ground.answer(ground.begin(1), "for ann")
    ground.answer(ground.begin(2), "for ben")
    assert claimed(ground, PERSON).post.place.chat == "ann"
    assert claimed(ground, ("person", 2)).post.place.chat == "ben"


def test_a_nonce_is_short_and_its_rows_own(ground: Ground) -> None:
    answered(ground, 1, 2)
    nonces = {row.nonce for row in ground.rows(table)}
    assert len(nonces) == 2
    assert all(0 < len(nonce) <= 25 for nonce in nonces)


def test_one_cause_is_queued_once(ground: Ground) -> None:
    ground.take(said(1))
    post = Outgoing(kind="notice", text="once", cause_kind="inbox", cause_id=1)
    for _ in range(2):
        lanes = ground.do(outbox.enqueue, conversation_id=1, posts=[post, post], now=1.0)
        assert lanes == [PERSON]
    assert len(ground.rows(table)) == 1


def test_a_sent_reply_is_linked_to_its_line(ground: Ground) -> None:
    answered(ground, 1)
    ground.sent(claimed(ground).post, "777")
    row = ground.row(table)
    assert (row.state, row.message_id) == ("sent", "777")
    assert ground.rows(history)[-1].message_id == "777"


def test_what_the_machine_wrote_is_withdrawn_when_a_human_takes_over(ground: Ground) -> None:
    case_id = watched(ground)
    answered(ground, 2, 3)
    take_over(ground, case_id)
    assert ground.claim() is None
    states = [row.state for row in ground.rows(table, kind="reply")]
    assert states == ["withdrawn", "withdrawn"]


def test_a_reply_that_was_being_sent_at_the_takeover_is_not_sent_again(ground: Ground) -> None:
    case_id = watched(ground)
    answered(ground, 2)
    post = claimed(ground).post
    take_over(ground, case_id)
    assert state(ground, post.id) == "sending"
    ground.later(post)
    assert ground.claim() is None
    assert state(ground, post.id) == "withdrawn"


def doubted(ground: Ground, claim: Claim) -> None:
    """The outcome of a send is not known, and sending it again would show nothing twice."""
    ground.do(
        flags.put_back,
        claim=replace(claim, doubtful=True),
        seconds=1.0,
        error=f"{outbox.DOUBT}: no answer came",
        say=TEXTS.say,
        now=ground.now,
    )


def taken_back(ground: Ground, post: Post) -> Post:
    """Return what takes the place of a post that nobody knows the outcome of, as it leaves."""
    assert state(ground, post.id) == "withdrawn"
    notice = claimed(ground).post
    assert notice.text == "I stopped this answer. Your conversation is with our team now."
    assert (notice.nonce, notice.seeks, notice.message_id) == (post.nonce, True, None)
    return notice


def test_a_reply_that_may_have_arrived_before_the_takeover_is_taken_back(ground: Ground) -> None:
    case_id = watched(ground)
    answered(ground, 2)
    claim = claimed(ground)
    doubted(ground, claim)
    ground.now += 30
    assert take_over(ground, case_id).cut_off
    assert taken_back(ground, claim.post).age == 30  # its nonce is no younger than the first try


def test_a_reply_in_flight_at_the_takeover_is_taken_back_if_it_may_have_arrived(
    ground: Ground,
) -> None:
    case_id = watched(ground)
    answered(ground, 2)
    claim = claimed(ground)
    assert not take_over(ground, case_id).cut_off
    doubted(ground, claim)
    taken_back(ground, claim.post)


def test_a_takeover_takes_back_all_that_may_stand_there(ground: Ground) -> None:
    case_id = watched(ground)
    answered(ground, 2)
    first = claimed(ground)
    doubted(ground, first)
    ground.take(said(3))
    second = ground.row(table, id=ground.stream(ground.begin()))
    take_over(ground, case_id)
    ground.sent(taken_back(ground, first.post))
    rest = claimed(ground).post
    assert (rest.kind, rest.nonce, rest.seeks) == ("delete", second.nonce, True)


def test_fixed_texts_and_staff_answers_still_leave_after_a_takeover(ground: Ground) -> None:
    case_id = ground.open_case()
    take_over(ground, case_id)
    ground.staff_said("hi", "!", case_id=case_id)
    assert [post.text for post in ground.send_all()] == ["A person will read this.", "hi", "!"]


def test_a_streaming_row_holds_the_lane_until_its_final_text(ground: Ground) -> None:
    ground.take(said(1))
    start = ground.begin()
    row_id = ground.stream(start)
    assert state(ground, row_id) == "streaming"
    assert ground.claim() is None
    ground.answer(start, "the whole text")
    post = claimed(ground).post
    assert (post.id, post.text) == (row_id, "the whole text")
    assert len(ground.rows(table)) == 1


def test_a_stream_is_opened_again_after_a_crash_as_the_same_row(ground: Ground) -> None:
    ground.take(said(1))
    first = ground.stream(ground.begin())
    assert ground.stream(ground.begin()) == first


def test_no_stream_is_opened_once_somebody_took_over(ground: Ground) -> None:
    case_id = watched(ground)
    ground.take(said(2))
    start = ground.begin()
    take_over(ground, case_id)
    assert ground.stream(start) is None
    assert ground.rows(table, state="streaming") == []


def test_a_takeover_cuts_off_a_stream_and_says_so(ground: Ground) -> None:
    case_id = watched(ground)
    ground.take(said(2))
    start = ground.begin()
    row_id = ground.stream(start)
    changed = take_over(ground, case_id)
    assert (changed.cut_off, changed.moved) == (True, True)
    assert state(ground, row_id) == "withdrawn"
    assert [post.text for post in ground.send_all()] == [
        "I stopped this answer. Your conversation is with our team now."
    ]
    assert ground.answer(start) is None


def test_a_message_whose_reply_was_cut_off_is_answered_when_the_bot_is_back(
    ground: Ground,
) -> None:
    case_id = watched(ground)
    ground.take(said(2, "and now?"))
    row_id = ground.stream(ground.begin())
    take_over(ground, case_id)
    take_over(ground, case_id, "watch")
    ground.send_all()
    start = ground.begin()
    second = ground.stream(start)
    assert second is not None
    assert second != row_id
    ground.answer(start, "here I am")
    assert [post.text for post in ground.send_all()] == ["here I am"]


def test_an_answer_without_a_stream_also_replaces_one_that_was_cut_off(ground: Ground) -> None:
    case_id = watched(ground)
    ground.take(said(2))
    ground.stream(ground.begin())
    take_over(ground, case_id)
    take_over(ground, case_id, "watch")
    ground.send_all()
    ground.answer(ground.begin(), "here I am")
    assert [post.text for post in ground.send_all()] == ["here I am"]


def test_a_stream_of_an_earlier_try_never_blocks_the_lane(ground: Ground) -> None:
    ground.take(said(5))
    ground.stream(ground.begin())
    ground.take(said(4))  # it came late: the burst now begins with another message
    ground.answer(ground.begin(), "both")
    assert [post.text for post in ground.send_all()] == ["both"]
    assert ground.rows(table, state="streaming") == []


def test_a_turn_without_a_reply_closes_its_stream(ground: Ground) -> None:
    ground.take(said(1))
    start = ground.begin()
    ground.stream(start)
    ground.finish(start, Plan(heard=heard(start), notices=("sorry",)))
    assert [post.text for post in ground.send_all()] == ["sorry"]


def test_a_placeholder_is_remembered_and_edited_by_a_repeat(ground: Ground) -> None:
    answered(ground, 1)
    post = claimed(ground).post
    assert post.message_id is None
    ground.do(receipts.remember, row_id=post.id, message_id="55", now=ground.now)
    ground.later(post)
    assert claimed(ground).post.message_id == "55"


@pytest.mark.parametrize("how", ["uncertain", "failed", "held"])
def test_a_row_that_ended_is_visible_and_lets_the_next_one_go(ground: Ground, how: Any) -> None:
    answered(ground, 1, 2)
    post = claimed(ground).post
    ground.ended(post, how)
    assert (state(ground, post.id), ground.row(table, id=post.id).error) == (how, "why")
    assert claimed(ground).post.text == "answer 2"


def test_posts_to_somebody_unreachable_are_held_and_staff_are_still_served(ground: Ground) -> None:
    ground.open_case()
    post = claimed(ground).post
    assert ground.unreachable(post) is None  # no desk is lost by it
    assert state(ground, post.id) == "held"
    assert ground.row(conversation).unreachable
    ground.staff_said("hi")
    assert ground.claim() is None
    assert ground.rows(table, kind="relay")[-1].state == "held"
    assert claimed(ground, STAFF).post.kind == "thread"
    ground.do(lines.reachable, conversation_id=1, yes=True)
    ground.staff_said("again")
    assert [p.text for p in ground.send_all()] == ["again"]  # nothing old is sent


def test_a_case_reaches_staff_as_thread_card_context_and_ping(ground: Ground) -> None:
    ground.open_case()
    posts = ground.send_all(STAFF, thread="31")
    assert [post.kind for post in posts] == ["thread", "card", "context", "ping"]
    assert [post.place.thread for post in posts] == ["", "31", "31", "31"]
    assert not any(post.private for post in posts)
    thread = ground.row(staff_thread)
    assert (thread.thread, thread.status) == ("31", "ready")
    assert thread.card_message_id == f"m{posts[1].id}"
    assert len(ground.rows(pair)) == 3


def test_a_redrawn_card_edits_the_card_and_only_the_newest_drawing_is_sent(ground: Ground) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    for _ in range(3):
        ground.do(desk.redraw, case_id=1, desk=ground.facts(), now=ground.now)
    assert ground.claim(CARD) == REDRAW  # edits count as sends: not more often than this
    ground.now += REDRAW
    [post] = ground.send_all(CARD)
    assert (post.kind, post.message_id) == ("redraw", ground.row(staff_thread).card_message_id)
    assert ground.row(staff_thread).drawn_at == ground.now
    assert [row.state for row in ground.rows(table, kind="redraw")] == [
        "withdrawn",
        "withdrawn",
        "sent",
    ]


def test_without_threads_a_case_lives_as_replies_to_its_card(ground: Ground) -> None:
    ground.open_case()
    thread = claimed(ground, STAFF).post
    ground.lost(thread)
    assert state(ground, thread.id) == "failed"
    posts = ground.send_all(STAFF)
    card = f"m{posts[0].id}"
    assert [(p.kind, p.place.thread, p.reply_to) for p in posts] == [
        ("card", "", None),
        ("context", "", card),
        ("ping", "", card),
    ]


def test_a_thread_that_was_removed_gives_its_card_and_post_to_the_chat_itself(
    ground: Ground,
) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    take_over(ground)
    [icon] = ground.send_all(STAFF)
    assert (icon.kind, icon.state, icon.message_id) == ("thread", "human", "31")
    ground.now += REDRAW
    [drawn] = ground.send_all(CARD)
    ground.do(record.tell_staff, case_id=1, words="news", now=ground.now, what="evidence")
    post = claimed(ground, STAFF).post
    assert ground.lost(post, error="no threads here") == "chat"
    card, again = ground.send_all(STAFF)
    assert (card.kind, card.text, card.message_id) == ("card", drawn.text, None)
    assert (again.id, again.place.thread, again.reply_to) == (post.id, "", f"m{card.id}")
    assert ground.row(staff_thread).status == "fallback"


def test_a_chat_that_refuses_even_the_fallback_ends_the_row(ground: Ground) -> None:
    ground.open_case()
    thread = claimed(ground, STAFF).post
    ground.lost(thread)
    card = claimed(ground, STAFF).post
    ground.sent(card)
    context = claimed(ground, STAFF).post
    assert ground.lost(context, gone=True) == "failed"
    assert state(ground, context.id) == "failed"
    assert ground.row(staff_thread).card_message_id == f"m{card.id}"
    assert claimed(ground, STAFF).post.kind == "ping"


def test_a_persons_row_without_a_thread_fails_and_no_case_is_touched(ground: Ground) -> None:
    ground.open_case()
    post = claimed(ground).post
    assert ground.lost(post, gone=True) == "failed"  # delivery ends it, and tells staff
    assert ground.row(staff_thread).status == "wanted"


def test_a_card_that_may_have_arrived_is_drawn_anew_only_after_it(ground: Ground) -> None:
    """A repeat by its nonce shows what stands there already, whatever the row says by then."""
    ground.open_case()
    ground.sent(claimed(ground, STAFF).post, thread="31")
    card = claimed(ground, STAFF)
    doubted(ground, card)
    take_over(ground)
    assert ground.row(table, kind="card").text == card.post.text
    assert ground.claim(CARD) == 1.0  # its card is still on its way
    ground.now += 60
    ground.send_all(STAFF)
    [drawn] = ground.send_all(CARD)
    assert (drawn.kind, drawn.text != card.post.text) == ("redraw", True)


def test_an_edit_with_nothing_to_edit_is_passed_over(ground: Ground) -> None:
    ground.open_case()
    thread = claimed(ground, STAFF).post
    ground.ended(thread, "failed")
    card = claimed(ground, STAFF).post
    ground.ended(card, "failed")
    ground.do(desk.redraw, case_id=1, desk=ground.facts(), now=ground.now)
    assert [post.kind for post in ground.send_all(STAFF)] == ["context", "ping"]
    assert ground.claim(CARD) is None
    assert ground.row(table, kind="redraw").state == "withdrawn"


def test_what_was_being_sent_at_the_end_of_a_process_is_in_doubt(ground: Ground) -> None:
    answered(ground, 1, 2)
    post = claimed(ground).post
    ground.now += 30
    [claim] = ground.store.read_now(lambda c: receipts.in_doubt(c, ground.now))
    assert (claim.post.id, claim.post.nonce, claim.post.age) == (post.id, post.nonce, 30.0)
    assert claim.lane == PERSON


def test_lanes_with_due_rows_are_found_by_the_sweep(ground: Ground) -> None:
    ground.open_case()

    def lanes(quiet: float = 0.0) -> list[Any]:
        return ground.store.read_now(lambda c: receipts.open_lanes(c, ground.now, quiet))

    assert sorted(lanes()) == [PERSON, STAFF]
    assert lanes(quiet=10.0) == []
    post = claimed(ground).post
    ground.later(post, 60.0)
    assert lanes() == [STAFF]
    ground.now += 60
    assert sorted(lanes(quiet=10.0)) == [PERSON, STAFF]


def test_a_post_that_arrives_after_its_person_was_erased_is_no_error(ground: Ground) -> None:
    answered(ground, 1)
    post = claimed(ground).post
    ground.do(lambda c: c.execute(table.delete()))
    ground.sent(post)
    assert ground.lost(post) == "failed"
    assert ground.unreachable(post) is None
    assert ground.rows(table) == []
