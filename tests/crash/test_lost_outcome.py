"""A send whose outcome could not be written down is settled by the sweep, without a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.delivery import Delivery
from core.errors import StoreError
from core.message import File, Media, Post, Receipt, TextLimit
from core.ports import Remember
from core.tables import outbox as table
from tests.core.ground import TEXTS, Ground, opened, said
from tests.patience import until

PERSON = ("person", 1)


class Slow:
    """A platform that takes a post, and answers when it is let."""

    platform, bot, limit = "telegram", "heed", TextLimit(size=4096)

    def __init__(self, *, repeats: bool) -> None:
        self.repeats = repeats
        self.got: list[Post] = []
        self.answers = asyncio.Event()

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        self.got.append(post)
        await remember(f"m{post.id}")
        await self.answers.wait()
        return Receipt(message_id=f"m{post.id}")

    def repeatable(self, _post: Post) -> bool:
        return self.repeats


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        made.take(said(1))
        made.answer(made.begin(), "the answer")
        yield made


def delivery(ground: Ground, slow: Slow) -> Delivery:
    return Delivery(
        ground.store,
        {("telegram", "heed"): slow},
        lambda: ground.now,
        say=TEXTS.say,
        draw=nothing_drawn,
        ring=lambda _lanes: None,
        lost=nobody_told,
        settled=nobody_told,
    )


async def nothing_drawn(_media: Media) -> File:
    raise AssertionError("no file hangs on these posts")


async def nobody_told(_number: int) -> None:
    """Hear what nobody of this test waits for."""


def refuse(folder: Path, *, sent: bool) -> None:
    """Let the database refuse, or no longer refuse, to say that something was sent."""
    [path] = folder.glob("*.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "create trigger no before update on outbox when new.state = 'sent' "
            "begin select raise(abort, 'no'); end"
            if sent
            else "drop trigger no"
        )


@pytest.mark.parametrize(
    ("repeats", "state", "times"), [(True, "sent", 2), (False, "uncertain", 1)]
)
async def test_an_outcome_that_was_not_stored_is_settled_later(
    ground: Ground,
    tmp_path: Path,
    repeats: bool,  # noqa: FBT001
    state: str,
    times: int,
) -> None:
    slow = Slow(repeats=repeats)
    slow.answers.set()
    work = delivery(ground, slow)
    refuse(tmp_path, sent=True)
    with pytest.raises(StoreError):
        await work.work(PERSON)
    refuse(tmp_path, sent=False)
    assert await work.work(PERSON) is None  # nothing overtakes it
    ground.now += 11
    await work.settle_doubts(quiet=10.0)
    while await work.work(PERSON) is not None:
        pass
    assert ground.row(table).state == state
    assert len(slow.got) == times


async def test_a_send_that_takes_long_is_no_doubt(ground: Ground) -> None:
    slow = Slow(repeats=True)
    work = delivery(ground, slow)
    sending = asyncio.create_task(work.work(PERSON))
    await until(lambda: slow.got)
    ground.now += 60
    await work.settle_doubts(quiet=10.0)
    assert ground.row(table).state == "sending"
    slow.answers.set()
    assert await sending is None  # and nothing more is queued
    assert ground.row(table).state == "sent"
    assert len(slow.got) == 1
