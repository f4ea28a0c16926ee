"""What the Telegram tests share: a door that records, and an adapter that runs against the fake."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

os.environ["PTB_TIMEDELTA"] = "1"  # noqa: TID251 - as bot.config does, before the library asks

from adapters.telegram import TelegramAdapter
from adapters.telegram.normalize import Account, normalize
from adapters.telegram.poll import Backoff
from core.errors import StoreBusy
from core.message import Arrival, Message, Place, Post
from core.ports import Sketch
from tests.fakes.telegram import TelegramFake

QUICK = Backoff(0.01, 0.05)
ANN, BEN, GROUP, DESK = 11, 12, -1001, -2002


class Recorder:
    """A door that keeps everything in memory and drops repeats by the inbox key."""

    def __init__(self, fake: TelegramFake | None = None) -> None:
        self.arrivals: list[Arrival] = []
        self.messages: list[Message] = []
        self.poison: list[Arrival] = []
        self.kept: dict[str, str] = {}
        self.refuse = 0  # how many transactions fail
        self.shut = 0  # how many times the cursors cannot be read
        self.polls_before: list[int] = []  # polls the server had seen when each batch was stored
        self._keys: set[tuple[str, ...]] = set()
        self._fake = fake

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        if self.refuse:
            self.refuse -= 1
            raise StoreBusy("the disk is full")
        if self._fake is not None:
            self.polls_before.append(len(self._fake.called("getUpdates")))
        if cursor is not None:
            self.kept[cursor[0]] = cursor[1]
        return [self._keep(each) for each in arrivals]

    def _keep(self, arrival: Arrival) -> int | None:
        self.arrivals.append(arrival)
        if arrival.error:
            self.poison.append(arrival)
        message = arrival.message
        if message is None:
            return None
        key = (message.key.chat, message.message_id, message.kind, message.event_id)
        if key in self._keys:
            return None
        self._keys.add(key)
        self.messages.append(message)
        return len(self.messages)

    async def read_cursor(self, name: str) -> str | None:
        return self.kept.get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        if self.shut:
            self.shut -= 1
            raise StoreBusy("the disk is full")
        return {name: value for name, value in self.kept.items() if name.startswith(prefix)}

    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


def adapter(fake: TelegramFake, door: Recorder | None = None, **settings: Any) -> TelegramAdapter:
    values: dict[str, Any] = {
        "token": fake.token,
        "clock": time.time,
        "api_base": fake.api_base,
        "file_base": fake.file_base,
        "poll_timeout": 1.0,
        "call_timeout": 2.0,
        "backoff": QUICK,
    }
    return TelegramAdapter(door or Recorder(), **(values | settings))


@contextlib.asynccontextmanager
async def running(
    fake: TelegramFake, door: Recorder, **settings: Any
) -> AsyncIterator[TelegramAdapter]:
    """Run an adapter; it must still be running at the end."""
    one = adapter(fake, door, **settings)
    task = asyncio.create_task(one.run())
    try:
        yield one
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def sending(fake: TelegramFake, **settings: Any) -> AsyncIterator[TelegramAdapter]:
    """An adapter that only sends, and closes its connections afterwards."""
    one = adapter(fake, **settings)
    try:
        yield one
    finally:
        await one.close()


def read(update: Any, now: float = 1_700_000_000.0) -> Message | None:
    """Return what an update says to a bot whose desk is DESK."""
    desks = frozenset({str(DESK)})
    return normalize(update, Account(bot="4242", username="HeedBot", desk_chats=desks), now=now)


def post(kind: str, text: str, chat: int = ANN, **more: Any) -> Post:
    thread = more.pop("thread", "")
    place = Place(platform="telegram", bot="4242", chat=str(chat), thread=thread)
    more = {"private": chat > 0, "nonce": "n1", "id": 1} | more
    return Post(kind=kind, text=text, place=place, **more)


def sketch(text: str, **more: Any) -> Sketch:
    """Return a reply as far as it is written."""
    return Sketch(**({"draft": 7, "text": text, "nonce": "n1", "wanted": always} | more))


async def always() -> bool:
    return True


class Memory:
    """What `remember` was told."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def __call__(self, message_id: str) -> None:
        self.ids.append(message_id)
