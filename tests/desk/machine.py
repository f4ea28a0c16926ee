"""A whole Heed that everything happens to, in any order, and what must hold when all is quiet.

A story is a list of moves: (name, a, b). `World` carries them out on a real Heed with a platform's
real adapter against its loopback fake; `Telegram` and `Discord` are the hands. After the story all
faults end, the clock moves on until nothing is left to do, and `verdict` names what is broken.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from sqlalchemy import select

from adapters.discord.rest import Pace
from adapters.telegram import pace
from bot import database
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
from tests.walk.platforms import FURY, phrases, until

Move = tuple[str, int, int]
MACHINE = "quite slowly"  # in every sentence of the machine's, and in nobody else's
ANSWER = " ".join(f"Go to page {n} and read it {MACHINE}." for n in range(4))
SAYS = ("hello there", FURY, "real human please", "my order is late", "thanks", FURY)
COMMANDS = (
    "/claim", "/release", "/steal", "/snooze 1h", "/wake", "/resolve", "/notneeded", "/bot on",
    "/bot off", "/verdict right", "/verdict too late", "/priority 2", "/reopen", "/alert",
    "/anon on", "/anon off", "/nonsense", "/note aside", "/history", "/resolve in 1h", "/draft",
)  # fmt: skip
JUMPS = (5.0, 65.0, 600.0, 3700.0, 90_000.0)
_TOKEN = re.compile(r"m\d+m")
OPEN = ("streaming", "queued", "sending")
UNTOLD = ("failed", "uncertain")


@cache
def _empty() -> Path:
    """Return a database with every table and no row."""
    file = Path(mkdtemp()) / "empty.db"
    database.upgrade(f"sqlite:///{file}")
    return file


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


@dataclass
class Written:
    """What somebody of the staff wrote at the desk."""

    token: str
    message: Any
    thread: Any


@dataclass
class Facts:
    """The tables, as they are when all is quiet."""

    tables: dict[str, list[Any]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> list[Any]:
        return self.tables[name]

    def heard(self) -> list[tuple[int, Any]]:
        """Return (case, line) of each message that was heard while its person had a case."""
        lines = {row.inbox_id: row for row in self.history if row.role == "user" and row.inbox_id}
        found = [row for row in self.decision if row.case_id is not None]
        return [(row.case_id, lines[row.inbox_id]) for row in found if row.inbox_id in lines]


class World(ABC):
    """One Heed, two people, two of the staff, and a platform."""

    users: Sequence[Any]
    staff: Sequence[Any]

    def __init__(self) -> None:
        self.folder = Path(mkdtemp())
        self.offset = 0.0
        self.numbers = itertools.count(1)
        self.said: list[tuple[Any, str]] = []  # (user, token)
        self.written: list[Written] = []
        self.claims: list[tuple[str, str]] = []  # (machine's text, owner when it was claimed)
        self.owners: list[tuple[float, frozenset[tuple[str, str]]]] = []  # over time
        self.blocked: set[Any] = set()  # who was ever out of reach
        self.broken: list[str] = []
        self.kills = self.steps = 0
        self.app: App
        shutil.copy(_empty(), self.folder / "heed.db")

    def clock(self) -> float:
        return time.time() + self.offset

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
        await until(self.up, 20.0)

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
            return await write(partial(self._noted, operation))

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
            self.offset += 65.0
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
        self.offset += JUMPS[a % len(JUMPS)]
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

    # --- what must hold -------------------------------------------------------------------------

    async def verdict(self) -> list[str]:
        """Return every sentence about what is broken."""
        facts = await self.facts()
        checks: Sequence[Callable[[Facts], Iterator[str]]] = (
            self._ownership, self._places, self._silence, self._people, self._pairs,
            self._answers, self._once, self._order,
        )  # fmt: skip
        return [*self.broken, *(sentence for check in checks for sentence in check(facts))]

    def _ownership(self, facts: Facts) -> Iterator[str]:
        open_cases = [row for row in facts.cases if row.state != "resolved"]
        by_person = {row.conversation_id: row for row in open_cases}
        if len(by_person) < len(open_cases):
            yield "two open cases of one person"
        for person in facts.conversation:
            held = by_person.get(person.id)
            state = "resolved" if held is None else held.state
            before = held.state_before if held is not None and state == "snoozed" else state
            wanted = {"queued": "queue", "human": "human"}.get(before, "bot")
            if person.owner != wanted:
                yield f"{person.user} belongs to {person.owner} in a case that is {before}"
        timers = {(row.case_id, row.kind) for row in facts.timer}
        for row in facts.cases:
            if bool(row.holder) != bool(row.claimed_by) and row.holder:
                yield f"case {row.id} is held by {row.holder!r}, named {row.claimed_by!r}"
            if row.state == "human" and not row.claimed_by:
                yield f"case {row.id} is human and nobody's"
            if row.state in ("queued", "watch", "resolved") and (row.holder or row.claimed_by):
                yield f"case {row.id} is {row.state} and held by {row.claimed_by}"
            need = {"human": "inactive", "snoozed": "snooze"}.get(row.state)
            if need and (row.id, need) not in timers:
                yield f"case {row.id} is {row.state} without its timer"

    def _places(self, facts: Facts) -> Iterator[str]:
        there = self.threads()
        known = {row.thread for row in facts.staff_thread}
        for row in facts.cases:
            mine = [t for t in facts.staff_thread if t.case_id == row.id and t.status != "lost"]
            if row.state != "resolved" and not mine:
                yield f"case {row.id} has no place"
            for place in mine:
                if (
                    row.state != "resolved"
                    and place.status == "ready"
                    and place.thread not in there
                ):
                    yield f"the place of case {row.id} is gone, and nobody noticed"
                if place.status == "wanted":
                    yield f"the place of case {row.id} was never made"
                if place.made > 2:
                    yield f"case {row.id} had {place.made} places"
        empty = [thread for thread in there if thread not in known]
        again = sum(max(0, row.made - 1) for row in facts.staff_thread)
        lost = [r for r in facts.outbox if r.kind == "thread" and r.state in UNTOLD]
        if len(empty) > again + len(lost):
            yield f"places without a case: {empty}"

    def _silence(self, facts: Facts) -> Iterator[str]:
        allowed = {text for text, owner in self.claims if owner == "bot"}
        # A suggestion that staff have sent is theirs, also where it carries no name.
        allowed |= {row.text for row in facts.outbox if row.kind in ("relay", "edit")}
        for text, owner in self.claims:
            if owner != "bot":
                yield f"claimed for sending while {owner} owned: {text!r}"
        for user, at, text, draft in self.spoken():
            if draft and not self._was_bots(str(user), at):
                yield f"a draft was shown to {user} while a human had them"
            if not draft and text not in allowed:
                yield f"sent without a claim to {user}: {text!r}"

    def _was_bots(self, user: str, at: float) -> bool:
        """Say whether the bot owned a conversation at a time, or a moment before."""
        then = [owners for when, owners in self.owners if when <= at]
        late = [owners for when, owners in self.owners if at - 0.5 < when <= at]
        return any((user, "bot") in owners for owners in [*then[-1:], *late]) or not then

    def _people(self, facts: Facts) -> Iterator[str]:
        for row in facts.inbox:
            if row.state == "parked":
                yield f"a message was set aside: {row.kind} {row.error}"
        for user, token in self.said:
            mine = [row for row in facts.history if row.role == "user" and token in row.text]
            if not mine:
                yield f"nobody heard {token} of {user}"
            if len(mine) > 1:
                yield f"{token} of {user} was heard {len(mine)} times"
        for number, line in facts.heard():
            [word] = _TOKEN.findall(line.text)[:1] or [line.text]  # it may have been edited since
            posts = [
                post.state
                for post in facts.outbox
                if post.staff_thread_id is not None
                and post.kind in ("relay", "context")
                and (post.history_id == line.id or word in post.text)
            ]
            if not line.deleted and not {*posts} & {"sent", *UNTOLD}:
                yield f"{line.text!r} is in case {number}, at the desk only as {posts}"

    def _pairs(self, facts: Facts) -> Iterator[str]:
        known = {row.message_id for row in facts.pair}
        gone = {row.id for row in facts.history if row.deleted}
        # A correction that a later one made needless was deleted again, and its pair with it.
        removed = {row.message_id for row in facts.outbox if row.kind == "delete"}
        for row in facts.outbox:
            if row.kind != "relay" or row.state != "sent" or row.history_id is None:
                continue
            if row.message_id in removed:
                continue
            if row.message_id and row.message_id not in known and row.history_id not in gone:
                yield f"sent without a pair: {row.text!r}"

    def _answers(self, facts: Facts) -> Iterator[str]:
        """Every message of the staff's has a mark or a reason."""
        originals = {row.message_id: row for row in facts.pair if row.original}
        lines = {row.id: row for row in facts.history}
        refusals = [row for row in facts.audit if row.what in ("refused", "stale")]
        for one in self.written:
            link = originals.get(str(one.message))
            if link is None:
                if (
                    self.heard(one)
                    and not refusals
                    and not any(one.token in line.text for line in lines.values())
                ):
                    yield f"{one.token} of the staff vanished without a word"
                continue
            line = lines[link.history_id]
            if line.role != "staff" or line.deleted or one.thread not in self.threads():
                continue
            posts = [
                row
                for row in facts.outbox
                if row.history_id == line.id and row.staff_thread_id is None
            ]
            if not posts:
                yield f"{one.token} went to nobody"
            arrived = all(row.state == "sent" for row in posts)
            marks = [
                row for row in facts.outbox if row.history_id == line.id and row.kind == "mark"
            ]
            if arrived and not marks:
                yield f"{one.token} arrived and bears no mark"
            if arrived and not self.marked(one) and not any(m.state in UNTOLD for m in marks):
                yield f"the mark of {one.token} is not to be seen"

    def _once(self, facts: Facts) -> Iterator[str]:
        """Every message of the bot's is known by its id, but for those of unknown outcome."""
        known = {row.message_id for row in facts.outbox if row.message_id}
        known |= {row.message_id for row in facts.pair}
        unsure = Counter(
            row.text.strip() for row in facts.outbox if row.state in ("uncertain", "withdrawn")
        )
        for place, number, text in self.shown():
            if number in known or not text.strip() or text.strip() == "…":
                continue
            if unsure[text.strip()] <= 0 and not self.excused(text):
                yield f"shown in {place}, and nobody knows of it: {text[:60]!r}"
            unsure[text.strip()] -= 1
        copies = Counter(
            (row.history_id, row.staff_thread_id, row.part)
            for row in facts.outbox
            if row.kind == "relay" and row.state == "sent" and row.history_id is not None
            if row.cause_kind not in ("correction", "changed")
        )
        for (line, thread, _part), times in copies.items():
            if times > 1:
                yield f"line {line} was sent {times} times to {thread or 'the person'}"

    def excused(self, text: str) -> bool:
        """Whether a message may be unknown, beyond what the outbox says."""
        del text
        return False

    def _order(self, facts: Facts) -> Iterator[str]:
        """What leaves in one lane stands in the order in which it was written."""
        last: dict[Any, tuple[int, str]] = {}
        people = {row.id: row for row in facts.conversation}
        for row in facts.outbox:
            if row.kind not in ("relay", "notice", "ping", "reply") or row.state != "sent":
                continue
            if not row.message_id:  # staff say that it arrived: nobody knows which one it is
                continue
            person = people.get(row.conversation_id)
            if row.whisper or (row.staff_thread_id is None and str(person.user) in self.blocked):
                continue
            lane = ("staff", row.staff_thread_id) if row.staff_thread_id else ("to", person.id)
            number = int(row.message_id)
            before, text = last.get(lane, (0, ""))
            if number < before:
                yield f"{row.text[:40]!r} (row {row.id}) stands before {text[:40]!r} in {lane}"
            last[lane] = (number, row.text)

    # --- what the platform shows ----------------------------------------------------------------

    @abstractmethod
    def threads(self) -> set[str]:
        """Return the threads of the desk that are there."""

    @abstractmethod
    def shown(self) -> list[tuple[str, str, str]]:
        """Return (place, message id, text) of every message of the bot's that is there."""

    @abstractmethod
    def spoken(self) -> list[tuple[Any, float, str, bool]]:
        """Return (user, wall time, text, draft) of every call that carried the machine's words."""

    @abstractmethod
    def heard(self, one: Written) -> bool:
        """Whether the bot ever said that it had a message of the staff's."""

    @abstractmethod
    def marked(self, one: Written) -> bool:
        """Whether a message of the staff's bears the bot's mark."""


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except HeedError:
        return
