"""What became of a post: marks on staff's own messages, links to what the person has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.message import Post, Receipt
from core.store import receipts, relay
from core.store.outbox import Claim
from core.store.relay import Words
from core.tables import history, outbox, pair
from tests.core.desk_chat import STAFF, act, from_staff, lay_out
from tests.core.ground import DESK, Ground, opened


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        lay_out(made)
        yield made


def marks(ground: Ground) -> list[tuple[str, str | None]]:
    posts = [post for post in ground.send_all(STAFF) if post.kind == "mark"]
    return [(post.text, post.message_id) for post in posts]


def in_parts(ground: Ground, *parts: str) -> None:
    """Let Ben answer from his topic, in so many messages."""
    words = Words(whole=" ".join(parts), parts=parts, origin=(DESK, "950"))
    ground.do(relay.answer, case_id=1, by=("Ben", "telegram:ben"), words=words, now=ground.now)


def claimed(ground: Ground) -> Post:
    claim = ground.claim()
    assert isinstance(claim, Claim)
    return claim.post


async def test_an_answer_is_marked_where_it_was_written(ground: Ground) -> None:
    await ground.staff(from_staff("I am here.", number=950))
    assert marks(ground) == []
    ground.send_all()
    assert marks(ground) == [("sent", "950")]


def test_an_answer_of_several_messages_is_marked_when_the_last_has_arrived(
    ground: Ground,
) -> None:
    in_parts(ground, "a", "b")
    ground.sent(claimed(ground))
    assert marks(ground) == []
    ground.sent(claimed(ground))
    assert marks(ground) == [("sent", "950")]


async def test_an_answer_from_the_page_has_no_message_to_mark(ground: Ground) -> None:
    await act(ground, "reply", text="hello")
    ground.send_all()
    assert marks(ground) == []


def test_every_mark_is_a_post_of_its_own(ground: Ground) -> None:
    in_parts(ground, "a")
    ground.send_all()
    line = ground.rows(history, role="staff")[-1].id
    for what in ("edited", "failed", "edited"):
        ground.do(receipts.show_mark, history_id=line, what=what, now=ground.now)
    assert [text for text, _ in marks(ground)] == ["sent", "edited", "failed", "edited"]


def test_only_what_staff_said_is_marked(ground: Ground) -> None:
    line = ground.rows(history, role="user")[0].id
    assert ground.do(receipts.show_mark, history_id=line, what="sent", now=ground.now) == []
    assert ground.do(receipts.show_mark, history_id=999, what="sent", now=ground.now) == []


def test_the_lane_of_the_mark_is_rung(ground: Ground) -> None:
    in_parts(ground, "a")
    receipt = Receipt(message_id="n1")
    more, rung = ground.do(
        receipts.sent, row_id=claimed(ground).id, receipt=receipt, now=ground.now
    )
    assert (more, rung) == (False, (STAFF,))


def test_a_caption_that_followed_as_a_message_is_linked_too(ground: Ground) -> None:
    in_parts(ground, "a")
    receipt = Receipt(message_id="n1", more=("n2",))
    ground.do(receipts.sent, row_id=claimed(ground).id, receipt=receipt, now=ground.now)
    line = ground.rows(history, role="staff")[-1].id
    person = ground.rows(pair, history_id=line, side="person")
    assert [row.message_id for row in person] == ["n1", "n2"]


def test_a_copy_of_a_deleted_message_is_no_copy_any_more(ground: Ground) -> None:
    in_parts(ground, "a")
    ground.send_all()
    line = ground.rows(history, role="staff")[-1].id
    ground.do(relay.take_back, line_id=line, cause=("changed", 7), now=ground.now)
    ground.send_all()
    left = [row.message_id for row in ground.rows(pair, history_id=line)]
    assert left == ["950"]  # staff's own message stays known


def test_what_was_put_back_leaves_again_as_the_same_row(ground: Ground) -> None:
    in_parts(ground, "a")
    first = claimed(ground)
    ground.later(first, 5.0)
    assert ground.claim() == 5.0
    ground.now += 5.0
    again = claimed(ground)
    assert (again.id, again.nonce) == (first.id, first.nonce)
    assert ground.row(outbox, id=first.id).tries == 2
