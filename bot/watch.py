"""Watches that nothing stands still, and says so: readiness, and an alarm once for each trouble.

A look every few seconds asks the database for what is unfinished and everybody else for how they
are; between two looks readiness is told from memory, so that asking costs nothing and waits for
nobody. Whatever ends is noticed by the next look, and all is ready again by itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from core import durations
from core.errors import HeedError, StoreError
from core.journal import Meter
from core.ports import Adapter, Clock
from core.store import Store
from core.store.backlog import Backlog, Tally, backlog, tally
from core.texts import STAFF, Texts

log = structlog.get_logger(__name__)

What = Literal["database", "turns", "delivery", "adapter", "model", "loop"]
LOOK, AGAIN_SOON = 5.0, 1.0  # seconds between two looks, and while something is wrong
UNREADY: Mapping[What, float] = {  # seconds from which on nobody should send messages here
    "database": 0.0,
    "turns": 60.0,
    "delivery": 120.0,
    "adapter": 60.0,
    "loop": 0.0,
}
ALARM: Mapping[What, float] = {  # and from which on somebody is called
    "database": 30.0,
    "turns": 60.0,
    "delivery": 120.0,
    "adapter": 60.0,
    "model": 300.0,
}
FILES = 330.0  # seconds that a post with files may take
STUCK = 10.0  # seconds in which the database must have answered something
LAG = 5.0  # seconds that the event loop may be late
PEACE = 600.0  # seconds between two alarms about the same thing
SILENT = "it does not answer"
COUNTED, SHARE = 30.0, 100.0  # whole tables: so seldom, and for a hundredth of the time at most


class Work(Protocol):
    """How far the work is: what is watched of the walk and of delivery."""

    turns: int


@dataclass(kw_only=True)
class Trouble:
    """Something that stands still."""

    what: What
    of: str  # a platform; empty: all of Heed
    since: float
    values: Mapping[str, Any] = field(default_factory=dict)
    told: bool = False  # somebody was called

    @property
    def key(self) -> tuple[str, str]:
        """Name the trouble."""
        return (self.what, self.of)


Tell = Callable[[str, frozenset[str], bool], Awaitable[None]]  # words, platforms to avoid, directly


@dataclass(kw_only=True)
class Watch:
    """The watch of one running Heed."""

    store: Store
    clock: Clock
    texts: Texts
    adapters: Mapping[tuple[str, str], Adapter]
    walk: Work
    sent: Counter[str]  # posts by platform, as delivery counts them
    loading: Callable[[], bool]  # a model is being loaded: turns wait for it
    model: Callable[[], str | None]  # why the model is not ready
    meter: Meter
    tell: Tell
    changed: Callable[[], None]  # pages that show what stands still look again
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)
    tally: Tally = field(default_factory=Tally)
    lag: float = 0.0  # how late the event loop was, the last time
    began: float = 0.0
    _unread: str = ""  # why the database could not be read
    _held: dict[Hashable, float] = field(default_factory=dict)  # conditions, since when
    _moved: dict[Hashable, tuple[Any, float]] = field(default_factory=dict)  # counters, and when
    _alarmed: dict[tuple[str, str], float] = field(default_factory=dict)  # the last time
    _said: dict[str, float] = field(default_factory=dict)  # alarms of adapters themselves
    _unsaid: list[tuple[Trouble, str]] = field(default_factory=list)  # alarms on their way
    _count_at: float = 0.0

    def __post_init__(self) -> None:
        """What has waited for longer than this Heed lives is no fault of its own yet."""
        self.began = self.clock()

    async def run(self) -> None:
        """Look for ever, and notice how late the event loop is."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.look()
            except Exception:  # who watches the others ends last: reported, then looked again
                log.exception("a look failed")
            pause = AGAIN_SOON if self.troubles else LOOK
            asleep = loop.time()
            await asyncio.sleep(pause)
            self.lag = max(0.0, loop.time() - asleep - pause)
            if self.lag > LAG:
                log.error("the event loop stood still", seconds=round(self.lag, 1))

    async def look(self) -> None:
        """Look once: learn what stands still by now, call somebody, and give the all-clear."""
        await self._read()
        now = self.clock()
        found = {one.key: one for one in self._found(now) if now - one.since >= _first(one.what)}
        if self.troubles.keys() != found.keys():
            asyncio.get_running_loop().call_soon(self.changed)
        for key in self.troubles.keys() - found.keys():
            self._over(self.troubles.pop(key), now)
        for key, one in found.items():
            known = self.troubles.setdefault(key, one)
            known.values = one.values
            self._call(known, now)
        await self._speak()

    # --- what others ask --------------------------------------------------------------------

    def why_not_ready(self) -> str | None:
        """Say in one sentence why nobody should send messages here; None: all is well."""
        now = self.clock()
        for one in self.troubles.values():
            if now - one.since >= UNREADY.get(one.what, float("inf")):
                return self._words(one, now, "en")
        return self.model()

    def view(self) -> list[dict[str, str]]:
        """Return what stands still, for staff to read: [{"words", "way_out"}]."""
        now = self.clock()
        return [
            {"words": self._words(one, now, STAFF), "way_out": self._way_out(one)}
            for one in self.troubles.values()
        ]

    def said(self, platform: str) -> None:
        """Note that an adapter has raised an alarm itself: another about it would be one more."""
        self._said[platform] = self.clock()

    # --- what stands still ------------------------------------------------------------------

    def _found(self, now: float) -> Iterator[Trouble]:
        database = self._database(now)
        yield from database
        away = list(self._adapters(now))
        yield from away
        why = self.model()
        since = self._holds("model", now, holds=why is not None)
        if since is not None:
            yield Trouble(what="model", of="", since=since, values={"problem": why})
        if self.lag > LAG:
            values = {"seconds": f"{self.lag:.0f}"}
            yield Trouble(what="loop", of="", since=now, values=values)
        if database:  # all else would follow from it
            return
        yield from self._turns(now)
        known = {one.of for one in away if now - one.since >= UNREADY["adapter"]}
        yield from (one for one in self._posts(now) if one.of not in known)

    def _database(self, now: float) -> list[Trouble]:
        problem = self.store.problem
        words = self._unread if problem is None else problem.words
        progress = self._progress("database", self.store.answered, now)
        if not words and self.store.pending and now - progress > STUCK:
            words = SILENT
        since = self._holds("database", now, holds=bool(words))
        values = {"problem": words}
        return (
            [] if since is None else [Trouble(what="database", of="", since=since, values=values)]
        )

    def _adapters(self, now: float) -> Iterator[Trouble]:
        for (platform, bot), adapter in self.adapters.items():
            health = adapter.health()
            away = health.state in ("connecting", "failing")
            since = self._holds((platform, bot), now, holds=away)
            if since is not None:
                values = {"problem": health.problem or health.state}
                yield Trouble(what="adapter", of=platform, since=since, values=values)

    def _turns(self, now: float) -> Iterator[Trouble]:
        progress, waits = self._progress("turns", self.walk.turns, now), self.backlog
        if waits.oldest is not None and not self.loading():
            since = max(waits.oldest, progress)
            yield Trouble(what="turns", of="", since=since, values={"n": waits.waiting})

    def _posts(self, now: float) -> Iterator[Trouble]:
        late: dict[str, list[float]] = {}
        for head in self.backlog.heads:
            platform = head.platform
            progress = self._progress(("sent", platform), self.sent[platform], now)
            due = max(head.due_since(progress), self.began)
            patience = FILES if head.files else ALARM["delivery"]
            if (platform, head.bot) in self.adapters and now - due >= patience:
                late.setdefault(platform, []).append(due)
        for platform, dues in late.items():
            yield Trouble(what="delivery", of=platform, since=min(dues), values={"n": len(dues)})

    def _holds(self, key: Hashable, now: float, *, holds: bool) -> float | None:
        """Return since when a condition holds, as far as was looked."""
        if not holds:
            self._held.pop(key, None)
            return None
        return self._held.setdefault(key, now)

    def _progress(self, key: Hashable, count: int, now: float) -> float:
        """Return when a counter moved the last time, as far as was looked."""
        known = self._moved.get(key)
        if known is None or known[0] != count:
            known = self._moved[key] = (count, self.began if known is None else now)
        return known[1]

    async def _read(self) -> None:
        """Ask the database; whole tables only now and then."""
        try:
            async with asyncio.timeout(STUCK):
                self.backlog = await self.store.read(backlog)
                now = self.clock()
                if now >= self._count_at:
                    self.tally = await self.store.read(tally)
                    self._count_at = now + max(COUNTED, SHARE * (self.clock() - now))
        except (StoreError, TimeoutError) as error:
            self._unread = str(error) or SILENT
        else:
            self._unread = ""

    # --- calling somebody -------------------------------------------------------------------

    def _call(self, one: Trouble, now: float) -> None:
        """Raise the alarm if it is time, and nobody was called yet, or just before."""
        if one.told or now - one.since < ALARM.get(one.what, float("inf")):
            return
        if one.what == "adapter" and now - self._said.get(one.of, -PEACE) < PEACE:
            one.told = True  # by the adapter itself
            return
        if now - self._alarmed.get(one.key, -PEACE) < PEACE:
            return
        one.told = True
        self._alarmed[one.key] = now
        self.meter.count("alarms", what=one.what)
        words = f"{self._words(one, now, STAFF)} {self._way_out(one)}".rstrip()
        log.error("alarm", problem=words)
        self._unsaid.append((one, words))

    def _over(self, one: Trouble, now: float) -> None:
        """Give the all-clear to whoever heard the alarm."""
        log.warning("over", what=one.what, of=one.of, seconds=round(now - one.since))
        if one.told:
            self._unsaid = [unsaid for unsaid in self._unsaid if unsaid[0] is not one]
            when = durations.words(now - one.since, STAFF, self.texts)
            what = self._words(one, now, STAFF)
            self._unsaid.append((one, self.texts.say("watch_over", STAFF, when=when, text=what)))

    async def _speak(self) -> None:
        """Say what is to be said; where the database takes nothing, without it."""
        silent = ("database", "") in self.troubles
        while self._unsaid:
            one, words = self._unsaid[0]
            lost = one.what == "delivery" and one.key in self.troubles
            avoid = frozenset({one.of} if lost else ())
            try:
                async with asyncio.timeout(STUCK):
                    await self.tell(words, avoid, silent)
            except (StoreError, TimeoutError):
                return  # said by the next look, perhaps for the second time
            except HeedError as error:
                log.warning("an alarm reached nobody", cause=type(error).__name__)
            self._unsaid.pop(0)

    def _words(self, one: Trouble, now: float, lang: str) -> str:
        when = durations.words(now - one.since, lang, self.texts)
        platform = one.of.capitalize()
        problem = str(one.values.get("problem", "")).rstrip(".")
        values = {**one.values, "problem": problem, "when": when, "platform": platform}
        return self.texts.say(f"watch_{one.what}", lang, **values)

    def _way_out(self, one: Trouble) -> str:
        name, platform = f"watch_{one.what}_do", one.of.capitalize()
        return self.texts.say(name, STAFF, platform=platform)


def _first(what: What) -> float:
    """Return the seconds from which on something counts as trouble at all."""
    return min(UNREADY.get(what, float("inf")), ALARM.get(what, float("inf")))
