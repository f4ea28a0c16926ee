"""A whole Heed that everything happens to, in any order.

A story is a list of moves: (name, a, b). `World` carries them out on a real Heed with a platform's
real adapter against its loopback fake; `Telegram` and `Discord` are the hands. After the story all
faults end, the clock moves on until nothing is left to do, and the judge names what is broken.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from sqlalchemy import select

from adapters.discord.rest import Pace
from adapters.telegram import pace
from bot.app import App
from bot.settings import Settings
from core import delivery, lanes
from core.engine.scripted import ScriptedEngine
from core.errors import HeedError
from core.message import Tagging
from core.store import connection as connections, intake, places, receipts
from core.store.outbox import Claim
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
    timer,
)
from tests.desk.judge import ANSWER, Facts, Judge
from tests.patience import PATIENCE, until
from tests.prepared import prepare
from tests.walk.platforms import FURY, phrases

Move = tuple[str, int, int]
SAYS = ("hello there", FURY, "real human please", "my order is late", "thanks", FURY)
COMMANDS = (
    "/claim", "/release", "/steal", "/snooze 1h", "/wake", "/resolve", "/notneeded", "/bot on",
    "/bot off", "/verdict right", "/verdict too late", "/priority 2", "/reopen", "/alert",
    "/anon on", "/anon off", "/nonsense", "/note aside", "/history", "/resolve in 1h", "/draft",
)  # fmt: skip
JUMPS = (5.0, 65.0, 600.0, 3700.0, 90_000.0)
OPEN = ("streaming", "queued", "sending")


def _reads(text: str) -> Any:
    furious = FURY in text
    probs = {"negative": 0.97, "neutral": 0.02, "positive": 0.01}
    calm = {"negative": 0.1, "neutral": 0.8, "positive": 0.1}
    return Tagging(
        probs=probs if furious else calm,
        doubt=0.0,
        instrument="scripted#branch",
        polarity={"negative": -1.0, "neutral": 0.0, "positive": 1.0},
        intensity=-0.95 if furious else 0.0,
        strong=0.97 if furious else 0.05,
        wants_human=0.01,
        threat_to_leave=0.01,
        crisis=0.0,
    )


@contextmanager
def hurried() -> Iterator[None]:
    """Let every pause be that of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "GROUP", 0.001)
        patch.setattr(pace, "PRIVATE", 0.001)
        patch.setattr(pace, "OVERALL", 0.0005)
        patch.setattr(delivery, "PAUSES", (0.02, 0.05, 0.1))
        patch.setattr(lanes, "FIRST_PAUSE", 0.05)
        patch.setattr(places, "REDRAW", 0.05)
        patch.setattr("core.store.outbox.ALBUM", 0.05)
        patch.setattr("adapters.discord.Pace", _quick)
        patch.setattr("bot.app.make_phrases", lambda _settings: phrases())
        yield


def _quick() -> Pace:
    """Return a pace without pauses; its clock jumps, so silence says nothing."""
    return Pace(identify=0.0, silence=1e12, closing=0.3, again=(0.02, 0.05, 0.1))


class World(Judge):
    """One Heed, two people, two of the staff, and a platform."""

    users: Sequence[Any]
    staff: Sequence[Any]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.offset = 0.0
        self.leaps: list[tuple[float, float]] = []  # (the clock after it, offset from then on)
        self.numbers = itertools.count(1)
        self.steps = self.writes = 0
        self.app: App
        prepare(f"sqlite:///{self.folder / 'heed.db'}")

    def clock(self) -> float:
        return time.time() + self.offset

    def wall(self, at: float) -> float:
        """Return when something really was that the leaping clock has dated."""
        return at - next((offset for since, offset in reversed(self.leaps) if since <= at), 0.0)

    async def leap(self, seconds: float) -> None:
        """Let time be over. Never inside a call: what a library waits there is real time.

        Nor inside a write: a post that is claimed just now goes by the time before.
        """
        async with asyncio.timeout(PATIENCE):
            while self.writes or self.app.delivery._sending:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
        self.offset += seconds
        self.leaps.append((self.clock(), self.offset))

    # --- the life of a process ------------------------------------------------------------------

    @abstractmethod
    def settings(self) -> Settings: ...

    @abstractmethod
    def up(self) -> bool: ...

    async def start(self) -> None:
        """Start a Heed on whatever the last one left."""
        self.app = App(self.settings(), clock=self.clock)
        engine = ScriptedEngine({"": ANSWER}, _reads, pace=0.002, slots=4)
        await self.app.mind.swap(engine)
        self.app.connect()
        self._watch()
        self.running = asyncio.create_task(self.app.run())
        await until(self.up)

    async def kill(self) -> None:
        """End it wherever it stands."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.app.close()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def _watch(self) -> None:
        """Note, inside each transaction, who speaks; and each machine's text that is claimed."""
        store = self.app.store
        raw = store._writing.raw_connection()
        raw.driver_connection.execute("PRAGMA synchronous=OFF")  # this disk never fails
        raw.close()
        write = store.write

        async def watched(operation: Any) -> Any:
            self.writes += 1
            try:
                return await write(partial(self._noted, operation))
            finally:
                self.writes -= 1

        store.write = watched  # type: ignore[method-assign]

    def _noted(self, operation: Any, connection: connections.Connection) -> Any:
        result = operation(connection)
        rows = connection.execute(select(conversation.c.user, conversation.c.owner)).all()
        now = frozenset((row.user, row.owner) for row in rows)
        if not self.owners or self.owners[-1][1] != now:
            self.owners.append((time.time(), now))
        if isinstance(result, Claim) and result.post.kind == "reply":
            owner = connection.execute(
                select(conversation.c.owner)
                .join(outbox, outbox.c.conversation_id == conversation.c.id)
                .where(outbox.c.id == result.post.id)
            ).scalar_one()
            self.claims.append((result.post.text, owner))
        return result

    # --- a story --------------------------------------------------------------------------------

    async def play(self, moves: Sequence[Move]) -> list[str]:
        """Let everything happen, wait until all is quiet, and return what is broken."""
        await self.start()
        try:
            await self.meet()
            for name, a, b in moves:
                self.steps += 1
                await getattr(self, f"do_{name}")(a, b)
                await asyncio.sleep((b % 5) * 0.004)
            return await self._ended()
        finally:
            await self.kill()
            shutil.rmtree(self.folder)

    @abstractmethod
    async def meet(self) -> None:
        """Let everybody be known before the story begins, where that matters."""

    async def _ended(self) -> list[str]:
        self.mend()
        broken = await self.quiet()
        if not broken:
            await self.poke()
            broken = await self.quiet()
        return broken or await self.verdict()

    async def poke(self) -> None:
        """Say something in every open case, so that a place that is gone is noticed."""
        for row in (await self.facts()).cases:
            if row.state != "resolved":
                await self.app.room.act(row.id, "priority", "Eve", text="1")

    async def quiet(self) -> list[str]:
        """Let time pass until nothing waits; return what never ends."""
        left: list[str] = []
        for _ in range(60):
            await self.leap(65.0)
            await self.app.clockwork.tick()
            for lane in await self.app.store.read(
                partial(receipts.open_lanes, now=self.clock(), quiet=0.0)
            ):
                self.app.posts.ring(lane)
            for waits in await self.app.store.read(
                partial(intake.waiting, quiet_since=self.clock())
            ):
                self.app.turns.ring(waits)
            for _ in range(8):
                await asyncio.sleep(0.02)
                left = await self._left()
                if not left and not self.pending():
                    return []
        return [f"never ends: {left or 'the platform holds updates'}"]

    @abstractmethod
    def pending(self) -> bool:
        """Whether the platform still holds something for the bot."""

    async def _left(self) -> list[str]:
        facts = await self.facts()
        posts = [f"{r.kind} {r.state} {r.error}" for r in facts.outbox if r.state in OPEN]
        return posts + [f"inbox {r.kind} {r.error}" for r in facts.inbox if r.state == "waiting"]

    async def facts(self) -> Facts:
        tables = (
            audit, case, conversation, decision, history, inbox, outbox, pair, staff_thread, timer,
        )  # fmt: skip

        def read(connection: connections.Connection) -> Facts:
            return Facts(
                {t.name: list(connection.execute(t.select().order_by(t.c.id)).all())
                 for t in tables}
            )  # fmt: skip

        return await self.app.store.read(read)

    def token(self, kind: str) -> str:
        return f"{kind}{next(self.numbers)}{kind}"

    @abstractmethod
    def mend(self) -> None:
        """End every fault."""

    async def do_rest(self, a: int, _b: int) -> None:
        """Let the rooms work for a while."""
        await asyncio.sleep(0.03 * (a + 1))

    async def do_jump(self, a: int, _b: int) -> None:
        await self.leap(JUMPS[a % len(JUMPS)])
        await self.app.clockwork.tick()

    async def do_restart(self, _a: int, _b: int) -> None:
        self.kills += 1
        await self.kill()
        await self.start()

    async def do_page(self, a: int, b: int) -> None:
        """Let somebody at the page act on a case."""
        cases = (await self.facts()).cases
        if not cases:
            return
        verbs = ("claim", "steal", "resolve", "botback", "reply", "send", "drop", "release")
        verb: Any = verbs[b % len(verbs)]
        text = self.token("w") if verb == "reply" else ""
        with _refused():
            await self.app.room.act(cases[a % len(cases)].id, verb, "Eve", text=text)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except HeedError:
        return
