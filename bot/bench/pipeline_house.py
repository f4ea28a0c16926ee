"""A whole Heed with a scripted model and a platform that takes every post: what is measured.

Everything between is the real thing: rooms, lanes, writer thread and the file on the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot import database
from bot.app import App
from bot.settings import Answers, Database, Limits, Model, Settings
from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine
from core.errors import DeliveryError, Refused, StoreError
from core.message import (
    Arrival,
    Author,
    ConversationKey,
    File,
    Media,
    Message,
    Place,
    Post,
    Receipt,
    TextLimit,
)
from core.ports import Gate, Health, Remember, Sketch

PLATFORM, BOT = "bench", "heed"
PATIENCE = 60.0  # seconds beyond its own time after which a walk that does not end is a failure
# Neutral, and never the same line twice running: nobody is escalated, so that every message takes
# the same walk. About 120 bytes each, a usual length.
WORDS = """\
The parcel was handed over on Tuesday around noon, and the shop on the corner that keeps it is open.
My sister plants tomatoes on the balcony, and this year there are two kinds of basil beside them.
We take the early train to the lake, walk along the shore to the mill, and come back with the boat.
Chapter three of that book describes how the bridge was drawn and built, with a table of its stones.
""".splitlines()


class Till:
    """An adapter whose platform accepts everything at once, and says what it was given."""

    platform = PLATFORM
    bot = BOT
    limit = TextLimit(size=4096)

    def __init__(self, landed: Callable[[Post], None]) -> None:
        self._landed = landed

    async def check(self) -> None:
        """Nobody can refuse us here."""

    async def run(self) -> None:
        """Nothing comes in by itself: the bench speaks through the door."""
        await asyncio.Event().wait()

    async def deliver(self, post: Post, remember: Remember) -> Receipt:  # noqa: ARG002
        """Accept a post."""
        self._landed(post)
        return Receipt(message_id=f"r{post.id}")

    def repeatable(self, post: Post) -> bool:  # noqa: ARG002
        """Nobody reads it, so nothing is shown twice."""
        return True

    async def typing(self, place: Place) -> None:
        """Nobody looks."""

    async def fetch(self, media: Media) -> File:
        """Refuse: nobody sends files here."""
        raise Refused(f"There is no file {media.name!r} here.")

    def previews(self, place: Place) -> bool:  # noqa: ARG002
        """Nothing unfinished is shown."""
        return False

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Nobody looks."""

    async def gates(self, place: Place) -> list[Gate]:  # noqa: ARG002
        """Everything passes."""
        return []

    def link(self, place: Place, message_id: str) -> str:  # noqa: ARG002
        """Nothing here has an address."""
        return ""

    def health(self) -> Health:
        """Always well."""
        return Health(state="ok", name=BOT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """What one stretch of traffic came to: messages answered, seconds, CPU seconds."""

    messages: int
    wall: float  # from the first message to the last commit
    cpu: float  # of the whole process
    loop_cpu: float  # of the event loop's thread; the rest is the writer's
    latencies: tuple[float, ...] = field(repr=False)  # seconds, from due time to delivery


class House:
    """One running Heed and the people of the bench who write to it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._numbers = itertools.count(10_000_001)
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._said: Counter[int] = Counter()  # lines by person

    def landed(self, post: Post) -> None:
        """Free whoever waits for this answer: it names the last message that it answers."""
        waiting = self._waiting.pop(post.place.chat, deque())
        last = post.text.rpartition(" ")[2]
        while waiting and (not last.isdecimal() or waiting[0][0] <= int(last)):
            _, future = waiting.popleft()
            if last.isdecimal():
                future.set_result(None)
            else:  # a fixed text: the walk took another way than the one that is measured
                future.set_exception(DeliveryError(f"no reply but this was sent: {post.text}"))
        if waiting:
            self._waiting[post.place.chat] = waiting

    async def say(self, person: int) -> None:
        """Say one line as a person of the bench and wait until its answer was delivered."""
        number = next(self._numbers)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(f"c{person}", deque()).append((number, future))
        self._said[person] += 1
        words = f"Message {number}. {WORDS[self._said[person] % len(WORDS)]}"
        await self.app.room.take_in([_arrival(person, number, words)])
        await future

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        await self.app.turns.idle()
        await self.app.posts.idle()

    async def closed_loop(self, people: int, window: int, seconds: float) -> Stretch:
        """Let people write as fast as they are answered, `window` at a time, each in turn."""
        until = time.perf_counter() + seconds
        latencies: list[float] = []

        async def talk(first: int) -> None:
            turns = itertools.cycle(range(first, people, window))
            while (begun := time.perf_counter()) < until:
                await self.say(next(turns))
                latencies.append(time.perf_counter() - begun)

        return await self._timed([talk(first) for first in range(window)], latencies, seconds)

    async def open_loop(self, people: int, rate: float, seconds: float) -> Stretch:
        """Let `rate` messages a second come in, whether or not the earlier ones are answered.

        A latency counts from the moment its message was due, so that a late start is no excuse.
        """
        latencies: list[float] = []
        begun = time.perf_counter()

        async def one(number: int) -> None:
            due = begun + number / rate
            await asyncio.sleep(due - time.perf_counter())
            await self.say(number % people)
            latencies.append(time.perf_counter() - due)

        count = max(1, round(rate * seconds))
        return await self._timed([one(number) for number in range(count)], latencies, seconds)

    async def _timed(
        self, traffic: list[Coroutine[Any, Any, None]], latencies: list[float], seconds: float
    ) -> Stretch:
        wall, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                await asyncio.gather(*traffic)
                await self.idle()
        except TimeoutError:
            raise StoreError(f"messages were still unanswered after {PATIENCE:.0f} s") from None
        return Stretch(
            messages=len(latencies),
            wall=time.perf_counter() - wall,
            cpu=time.process_time() - cpu,
            loop_cpu=time.thread_time() - own,
            latencies=tuple(latencies),
        )


def _arrival(person: int, number: int, text: str) -> Arrival:
    chat = f"c{person}"
    message = Message(
        key=ConversationKey(platform=PLATFORM, bot=BOT, chat=chat, user=chat),
        message_id=f"m{number}",
        author=Author(id=chat, name="Ann", language="en"),
        sent_at=time.time(),
        text=text,
        order=number,
    )
    raw = json.dumps({"id": number, "chat": chat, "from": "Ann", "text": text})
    return Arrival(platform=PLATFORM, bot=BOT, source_id=str(number), raw=raw, message=message)


def _reply(request: ReplyRequest) -> str:
    """Answer in two sentences that end with the number of the last message answered."""
    number = request.messages[-1].split(".", 1)[0].rpartition(" ")[2]
    return f"Thank you, that helps. I have noted the day and the shop. This was number {number}"


@asynccontextmanager
async def living(file: Path) -> AsyncIterator[House]:
    """Start a Heed on a new database file and end it.

    The settings are the defaults whatever the environment says: a measurement must never open
    the operator's own database.
    """
    settings = Settings.model_construct(
        database=Database(url=f"sqlite:///{file}"),
        model=Model(name="embedded"),
        answers=Answers(file=file.with_suffix(".toml")),  # there is none
        limits=Limits(per_user_minute=10**9),  # ten people write as fast as they are answered
    )
    await asyncio.to_thread(database.upgrade, settings.database.url)
    app = App(settings)
    house = House(app)
    app.add(Till(house.landed))
    await app.mind.swap(ScriptedEngine(replies=_reply, slots=10**6))
    running = asyncio.create_task(app.run())
    try:
        yield house
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await app.close()
