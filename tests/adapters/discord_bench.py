"""What the tests of the Discord adapter share: a door that records, and a running adapter."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from adapters.discord import DiscordAdapter, Pace
from core.errors import StoreBusy
from core.message import Arrival, Message, Place, Post
from tests.fakes.discord import DiscordFake
from tests.patience import until

QUICK = Pace(
    tick=0.05,
    silence=20.0,
    identify=0.05,
    hold=5.0,
    patience=8.0,
    closing=0.5,
    again=(0.02, 0.05, 0.1),
)
BACKOFF = (0.05, 0.1, 0.2)


class Recorder:
    """A door that keeps what it is given in memory, by the same key as the database."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], Arrival] = {}
        self.poison: list[Arrival] = []
        self.marks: dict[str, str] = {}
        self.failing: Callable[[Sequence[Arrival]], bool] = lambda _: False
        self.refused = 0
        self.offered = 0

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        await asyncio.sleep(0)
        if self.failing(arrivals):
            self.refused += 1
            raise StoreBusy("the disk is full")
        rows: list[int | None] = []
        for arrival in arrivals:
            self.offered += 1
            if arrival.error:
                self.poison.append(arrival)
            message = arrival.message
            key = ("",) if message is None else _key(message)
            if message is None or key in self.rows:
                rows.append(None)
                continue
            self.rows[key] = arrival
            rows.append(len(self.rows))
        if cursor is not None:
            self.marks[cursor[0]] = cursor[1]
        return rows

    async def read_cursor(self, name: str) -> str | None:
        return self.marks.get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        return {name: value for name, value in self.marks.items() if name.startswith(prefix)}

    @property
    def messages(self) -> list[Message]:
        return [one.message for one in self.rows.values() if one.message is not None]

    def texts(self, kind: str = "said") -> list[str]:
        return [one.text for one in self.messages if one.kind == kind]

    def seen(self, channel: str) -> int:
        return int(self.marks.get(f"discord/main/seen/{channel}", 0))


def _key(message: Message) -> tuple[str, ...]:
    place = message.key
    return (place.platform, place.bot, place.chat, message.message_id, message.event_id)


def adapter(fake: DiscordFake, door: Recorder, **more: Any) -> DiscordAdapter:
    settings: dict[str, Any] = {
        "token": fake.token,
        "clock": time.time,
        "api_base": fake.api_base,
        "gateway_url": fake.gateway_url,
        "backoff": BACKOFF,
        "pace": QUICK,
        "commands": {},
    }
    return DiscordAdapter(door, **(settings | more))


@asynccontextmanager
async def started(fake: DiscordFake, door: Recorder, **more: Any) -> AsyncIterator[DiscordAdapter]:
    """Run an adapter that may never become healthy."""
    heed = adapter(fake, door, **more)
    task = asyncio.create_task(heed.run())
    try:
        yield heed
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def running(fake: DiscordFake, door: Recorder, **more: Any) -> AsyncIterator[DiscordAdapter]:
    """Run an adapter until the block ends; connected and healthy when the block starts."""
    async with started(fake, door, **more) as heed:
        await until(lambda: heed.health().state == "ok")
        yield heed


async def keep(_message_id: str) -> None:
    """Stand in for the store that remembers a placeholder."""


def post(chat: str, text: str = "hello", **more: Any) -> Post:
    thread = more.pop("thread", "")
    place = Place(platform="discord", bot="main", chat=chat, thread=thread)
    return Post(
        **(
            {"id": 1, "kind": "reply", "place": place, "text": text, "nonce": "nonce-of-the-row-1"}
            | more
        )
    )
