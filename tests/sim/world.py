"""A world: one seed, a whole Heed that lives and dies in it, and everything that happens to it.

Nothing here asks the computer's clock or its chance, so that a seed is a trace: the hash of every
commit, every call of the platform and every batch taken in, in their order.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections import Counter, defaultdict
from typing import Any

from bot.settings import Settings
from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine
from core.errors import StoreError
from core.message import Message, Post
from core.store.outbox import Lane, lane_of
from tests.sim.life import Life, reading
from tests.sim.people import STAFF, Colleague, Person
from tests.sim.platform import Platform
from tests.sim.weather import FURY, REPLIES, Weather

EPOCH = 1_790_000_000.0  # what the wall clock shows when a world begins
MOST_BROKEN = 20
TROUBLES = (  # of a call: name of the fault, share of the calls, what becomes of them
    ("flood", 0.8, ("flood",)),
    ("resets", 0.5, ("reset before",)),
    ("lost answers", 0.5, ("lost", "reset after", "hangs")),
)
FAULTS = (
    "flood", "resets", "lost answers", "slow", "database busy", "database full", "model hangs",
    "model fails", "model garbles", "clock forwards", "clock backwards", "thread deleted",
)  # fmt: skip


class Dice(defaultdict[str, random.Random]):
    """One source of chance for each concern, so that more of one changes no other."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def __missing__(self, name: str) -> random.Random:
        made = self[name] = random.Random(f"{self.seed}/{name}")  # noqa: S311 - a story, no secret
        return made


class World:
    """Everything that a seed has drawn, and what became of it."""

    def __init__(self, weather: Weather, *, verbose: bool = False) -> None:
        self.weather = weather
        self.verbose = verbose
        self.dice = Dice(weather.seed)
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.lines: list[str] = []
        self.said: dict[str, Message] = {}
        self.past: list[tuple[int, Message]] = []
        self.deleted: set[str] = set()
        self.forgotten: dict[tuple[str, str], int] = {}
        self.doubts: set[int] = set()  # posts of whose sending nobody knows the outcome
        self.suspects: set[int] = set()  # posts that were being sent when the process was killed
        self.unreachable: set[str] = set()  # chats in which the bot was ever shut out
        self.on: set[str] = set()  # the faults of this moment
        self.refused_at = -1e9  # when the database last refused
        self.jumped_at = -1e9  # when the clock last jumped
        self.offset = 0.0
        self.life: Life | None = None
        self.keeper: sqlite3.Connection
        self.settings: Settings
        self.calm = False  # the story is over: no more trouble
        self._hash = hashlib.sha256()
        self._rings = 0
        self._kill_in = -1

    # --- time, chance, and the record of both ---------------------------------------------------

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def clock(self) -> float:
        """Return what the wall clock shows, which may jump."""
        return EPOCH + self.now() + self.offset

    async def pause(self, name: str, longest: float) -> None:
        if longest and not self.calm:
            slow = 20.0 if "slow" in self.on else 1.0
            await asyncio.sleep(self.dice[name].random() * longest * slow)

    def trace(self, *what: object) -> None:
        line = f"{self.now():.6f} {what}"
        self._hash.update(line.encode())
        if self.verbose:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def wrong(self, sentence: str) -> None:
        self.trace("WRONG", sentence)
        if len(self.broken) < MOST_BROKEN:
            self.broken.append(sentence)

    @property
    def hopeless(self) -> bool:
        """So much is broken that the rest of the story says nothing more."""
        return len(self.broken) >= MOST_BROKEN

    def rows(self, query: str, *values: Any) -> list[Any]:
        return self.keeper.execute(query, values).fetchall()

    # --- fates ----------------------------------------------------------------------------------

    def fate_of_call(self) -> str:
        if self.calm:
            return "done"
        dice = self.dice["fates"]
        if self._killed():
            return dice.choice(("killed before", "killed after"))
        for fault, share, fates in TROUBLES:
            if fault in self.on and dice.random() < share:
                return dice.choice(fates)
        if dice.random() < self.weather.trouble:
            return dice.choice(("flood", "reset before", "lost", "reset after"))
        return "done"

    def fate_of_commit(self) -> str:
        if self.calm:
            return "done"
        if self._killed():
            return self.dice["fates"].choice(("killed before", "killed after"))
        if "database busy" in self.on:
            self.refused_at = self.now()
            return "busy"
        if "database full" in self.on and self.dice["fates"].random() < 0.5:
            self.refused_at = self.now()
            return "full"
        return "done"

    def _killed(self) -> bool:
        self._kill_in -= 1
        return self._kill_in == 0

    def hears(self) -> bool:
        """Say whether this ring is heard."""
        self._rings += 1
        lost = bool(self.weather.deaf) and self._rings % self.weather.deaf == 0
        self.counts["lost rings"] += lost
        return not lost

    def doubt(self, post: Post) -> None:
        """Remember that nobody knows what became of a post, or of a sketch of a reply."""
        rows = self.rows("select id from outbox where nonce = ?", post.nonce)
        self.doubts |= {row["id"] for row in rows}

    def say(self, message: Message) -> None:
        self.said[message.message_id] = message
        self.platform.tell(message)

    def confirmed(self, number: int, message: Message) -> None:
        """Remember some of what was confirmed: it may come again."""
        if self.dice["updates"].random() < 0.05:
            self.past.append((number, message))

    def engine(self) -> ScriptedEngine:
        numbers = iter(range(10**9))

        def reply(_request: ReplyRequest) -> str:
            return REPLIES[next(numbers) % len(REPLIES)]

        weather = self.weather
        return ScriptedEngine(
            reply,
            lambda text: reading(FURY in text),
            delay=0.0 if self.calm else weather.thought,
            pace=0.0 if self.calm else weather.pace,
            slots=weather.slots,
        )

    # --- the story ------------------------------------------------------------------------------

    async def play(self) -> None:
        """Let everything happen, then let all trouble end and wait until it is quiet."""
        self.platform = Platform(self)
        weather = self.weather
        people = [Person(self, n, group=n < weather.crowd) for n in range(weather.people)]
        living = asyncio.ensure_future(self._lives())
        others = [asyncio.ensure_future(Colleague(self, name).work()) for name in STAFF]
        others += [asyncio.ensure_future(one) for one in (self._faults(), self._watch())]
        try:
            await self._talk(people)
            self._mend()
            await self._quiet()
            if living.done():
                self.fell(living.exception())
        finally:
            for task in (*others, living):
                task.cancel()
            if self.life is not None:
                self.life.over = True
            await asyncio.gather(*others, living, return_exceptions=True)

    async def _talk(self, people: list[Person]) -> None:
        dice, weather = self.dice["talk"], self.weather
        said = 0
        gap = weather.seconds * (weather.burst * 0.35 + 1) / weather.messages
        while said < weather.messages and not self.hopeless:
            said += dice.choice(people).burst()
            await asyncio.sleep(dice.expovariate(1 / gap))

    async def _lives(self) -> None:
        while True:
            self.life = Life(self)
            self.trace("start")
            try:
                await self.life.live()
            finally:
                self.life.over = True
                self.counts["virtual seconds"] = round(self.now())
            await asyncio.sleep(1.0)

    def fell(self, error: BaseException | None) -> None:
        """A process has ended by itself: only a database that refuses may do that at the start."""
        planned = isinstance(error, StoreError) or (
            isinstance(error, BaseExceptionGroup) and error.split(StoreError)[1] is None
        )
        if not planned:
            self.wrong(f"the program ended: {error!r}")

    async def _faults(self) -> None:
        dice, weather = self.dice["faults"], self.weather
        for _ in range(weather.kills):
            delay = dice.random() * weather.seconds
            asyncio.get_running_loop().call_later(delay, self._let_die, dice.randint(1, 60))
        for _ in range(weather.faults):
            await asyncio.sleep(dice.expovariate(weather.faults / weather.seconds))
            name = dice.choice(FAULTS)
            self.count("faults")
            self.trace("fault", name)
            await self._suffer(name, dice.choice((2.0, 10.0, 40.0)))

    def _let_die(self, after: int) -> None:
        """Let the process be killed at so many commits and calls from now."""
        self._kill_in = after

    async def _suffer(self, name: str, seconds: float) -> None:
        engine = self.life.engine if self.life is not None else None
        if name.startswith("clock"):
            self.offset += 3700.0 if name == "clock forwards" else -3700.0
            self.jumped_at = self.now()
        elif name == "thread deleted":
            for thread in sorted(self.platform.threads)[-1:]:
                self.platform.threads.discard(thread)
        elif engine is not None and name == "model hangs":
            engine.hang("speak" if self.dice["faults"].random() < 0.5 else "start")
            await asyncio.sleep(seconds)
            engine.release()
        elif engine is not None and name == "model fails":
            engine.fail("speak", 2)
            engine.fail("start", 2)
        elif engine is not None and name == "model garbles":
            engine.garble(3)
        else:
            self.on.add(name)
            await asyncio.sleep(seconds)
            self.on.discard(name)

    def _mend(self) -> None:
        """End every trouble, but for what is gone."""
        self.calm = True
        self.on.clear()
        self._kill_in = -1
        self.platform.blocked.clear()
        if self.life is not None:
            self.life.engine.release()
            self.life.engine.delay = self.life.engine.pace = 0.0
        self.trace("calm")

    # --- the watch and the end --------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look every few seconds whether something is due that nobody looks at."""
        seen: dict[Any, float] = {}
        while True:
            await asyncio.sleep(5.0)
            life, now = self.life, self.now()
            if life is None or life.over or now - max(self.refused_at, life.since) < 5.0:
                seen.clear()
                continue
            alone = {key: seen.get(key, now) for key in self._alone(life)}
            for key, since in alone.items():
                begun = max(since, self.refused_at, self.jumped_at, life.since)
                if now - begun > 31.0:
                    self.wrong(f"nobody looked at {key} for {now - begun:.0f} s")
                    since = now  # noqa: PLW2901 - told once for each time
                seen[key] = since
            for key in [key for key in seen if key not in alone]:
                del seen[key]

    def _alone(self, life: Life) -> list[Any]:
        """Return lanes that have something to do now and are not at work."""
        turns, posts = life.app.turns._tasks, life.app.posts._tasks
        found: list[Any] = [
            ("turn", *row)  # with what no other row has: an erased one may leave its number to it
            for row in self.rows(
                "select conversation_id, min(id), message_id from inbox where state = 'waiting'"
                " group by conversation_id"
            )
            if row[0] not in turns
        ]
        seen: set[Lane] = set()
        for row in self.rows(
            "select conversation_id, staff_thread_id, kind, id, nonce from outbox"
            " where state = 'queued' and retry_at <= ? order by id",
            self.clock(),
        ):
            lane = lane_of(row[0], row[1], row[2])
            if lane not in posts and lane not in seen:
                found.append((*lane, row[3], row[4]))
            seen.add(lane)
        return found

    async def _quiet(self) -> None:
        """Wait until nothing is left to do."""
        until = self.now() + 3600.0
        while self.now() < until and not self.hopeless:
            await asyncio.sleep(20.0)
            if not self.left():
                return
        self.wrong(f"never ends: {self.left()[:6]}")

    def left(self) -> list[str]:
        """Name what is still to be done."""
        found = [f"update {number}" for number, _ in self.platform.updates]
        found += [
            f"inbox {row['id']} {row['kind']} tries {row['tries']}"
            for row in self.rows("select id, kind, tries from inbox where state = 'waiting'")
        ]
        found += [
            f"post {row['id']} {row['kind']} {row['state']} {row['error']}"
            for row in self.rows(
                "select id, kind, state, error from outbox"
                " where state in ('streaming', 'queued', 'sending')"
            )
        ]
        life = self.life
        if life is None or life.over or life.app.turns.busy or life.app.posts.busy:
            found.append("lanes at work")
        return found
