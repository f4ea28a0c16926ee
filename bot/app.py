"""The composition root: builds every room once, joins them, runs them, and takes them down.

This is the only module that knows all the others, reads the wall clock, and decides what runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from bot.alarm import Alarm
from bot.desk import Studio, Waits, desk_places, facts_of, rules_of
from bot.engines import make_book, make_phrases
from bot.guest import Guests
from bot.meters import Meters
from bot.platforms import Platforms
from bot.replay import policies
from bot.room import Room
from bot.sealing import open_store
from bot.seats import Seats
from bot.settings import Settings
from bot.speaker import Speaker
from bot.sweeps import SWEEP, unfinished, unsent
from bot.tuning import Tuning
from bot.watch import Watch
from bot.welcome import access_of, allowance_of, missing, watched
from core.clockwork import Clockwork
from core.commands import Commands
from core.delivery import Delivery
from core.doorway import Doorway
from core.drafts import Drafter
from core.engine.embedded.table import Table, TableTagger
from core.engine.mind import Mind
from core.engine.ports import Limits
from core.errors import HeedError, StoreError
from core.handoff import Handoff
from core.hearing import Ear
from core.hints import Hints
from core.janitor import Janitor
from core.lanes import Lanes
from core.message import Place, TextLimit
from core.plans import Planner
from core.ports import Adapter, Board, Clock, Event, Probe, no_probe
from core.rights import Facts
from core.rooms import Rooms
from core.sentiment import Sentiment
from core.store import Executor, WriterThread, views
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.turns import Start
from core.texts import Texts
from core.turn import Walk

log = structlog.get_logger(__name__)

DAY = 86400.0


class App:
    """One running Heed: every room, wired."""

    def __init__(
        self,
        settings: Settings,
        *,
        probe: Probe = no_probe,
        clock: Clock = time.time,
        steady: Clock = time.monotonic,
        executor: Callable[[Any], Executor] = WriterThread,
    ) -> None:
        self.settings = settings
        self.clock, self.steady = clock, steady
        self._rules = rules_of(settings)
        self.desks = desk_places(settings)
        self._dry_since = 0.0
        self._telling: set[asyncio.Future[None]] = set()  # alarms on their way
        self._moved: dict[Place, Place] = {}  # desks whose chat has another id by now
        self.board, self.meters = Board(), Meters()
        self.store = open_store(settings, executor)
        self.texts = Texts.load(settings.texts.dir, staff=settings.desk.language)
        self.table = Table.load()
        self.book = make_book(settings)
        self.mind = Mind(
            make_phrases(settings),
            seconds=settings.model.reply_seconds,
            strict=settings.reply.mode == "strict",
        )
        self.adapters: dict[tuple[str, str], Adapter] = {}
        self.seats = Seats(settings, self.adapters)
        self.tuning = Tuning(
            settings,
            self.store,
            self.clock,
            thresholds=dict(self.table.thresholds),
            changed=self._tuned,
        )
        self.waits = Waits(
            store=self.store, texts=self.texts, clock=self.clock, settings=self.tuning.current
        )
        self.delivery = self._delivery(probe)
        self.posts: Lanes[Lane] = Lanes("delivery", self.delivery.work)
        self.drafter = Drafter(
            store=self.store,
            mind=self.mind,
            clock=self.clock,
            limits=_limits(settings),
            secret=lambda: self.book.lately().told,
        )
        self.handoff = self._handoff()
        self.clockwork = self._clockwork()
        self.janitor = Janitor(
            self.store,
            self.clock,
            text_days=lambda: self.tuning.current().privacy.text_days,
            score_days=lambda: self.tuning.current().privacy.score_days,
        )
        self.walk = Walk(self._rooms(probe))
        self.doorway = Doorway(
            self.walk,
            watched=lambda place: watched(self.tuning.current(), place),
            missing=lambda place: missing(self.tuning.current(), place),
        )
        self.commands = Commands(self.walk, self.doorway, facts=self._facts)
        self.turns: Lanes[int] = Lanes("turn", self.walk.work)
        self.speaker = Speaker(
            settings, self.book, self.mind, tell=self.board.tell, alone=self._alone
        )
        self.alarm = Alarm(clockwork=self.clockwork, adapters=self.adapters, places=self.seats.now)
        self.watch = self._watch()
        self.room = self._room()

    # --- rooms, each built from those before it -------------------------------------------------

    def _delivery(self, probe: Probe) -> Delivery:
        studio = Studio(store=self.store, texts=self.texts, settings=self.tuning.current)
        return Delivery(
            self.store,
            self.adapters,
            self.clock,
            probe,
            say=self.texts.say,
            draw=studio.draw,
            ring=self._deliver,
            lost=self._desk_lost,
            settled=self._settled,
            barred=self._barred,
            meter=self.meters,
        )

    def _handoff(self) -> Handoff:
        return Handoff(
            store=self.store,
            texts=self.texts,
            clock=self.clock,
            places=self.seats.now,
            limit=self._limit,
            changed=self._changed,
            ring=self._deliver,
            rules=lambda: self._rules,
            suggest=self.drafter.suggest,
            link=self._link,
        )

    def _clockwork(self) -> Clockwork:
        return Clockwork(
            store=self.store,
            handoff=self.handoff,
            texts=self.texts,
            clock=self.clock,
            on_call=self.seats.on_call,
            operator=self.seats.operator,
            stale=lambda: self.tuning.current().desk.stale_hours * 3600.0,
        )

    def _watch(self) -> Watch:
        return Watch(
            store=self.store,
            clock=self.clock,
            texts=self.texts,
            adapters=self.adapters,
            walk=self.walk,
            sent=self.delivery.sent,
            loading=lambda: self.mind.loading,
            model=self.speaker.why_not_ready,
            meter=self.meters,
            tell=self.alarm.tell,
            changed=lambda: self.board.tell(Event(kind="incident", key=None)),
        )

    def _room(self) -> Room:
        return Room(
            watch=self.watch,
            meters=self.meters,
            lanes=lambda: {"turn": self.turns.busy, "delivery": self.posts.busy},
            store=self.store,
            walk=self.walk,
            handoff=self.handoff,
            events=self.board,
            speaker=self.speaker,
            adapters=self.adapters,
            guests=Guests(self.store, self.clock),
            tuning=self.tuning,
        )

    def _rooms(self, probe: Probe) -> Rooms:
        settings = self.settings
        tagger = TableTagger(self.table)
        ladder, policy = policies(settings, dict(self.table.thresholds))
        ear = Ear(
            mind=self.mind,
            sentiment=Sentiment(tagger),
            texts=self.texts,
            clock=self.clock,
            mood_policy=ladder,
            policy=policy,
            config=config_hash(settings),
            dry=self._dry,
        )
        return Rooms(
            store=self.store,
            mind=self.mind,
            ear=ear,
            planner=Planner(
                texts=self.texts,
                clock=self.clock,
                wait=self.waits.usual,
                closed=self.waits.closed,
                message_chars=settings.limits.message_chars,
                allowance=allowance_of(settings),
            ),
            texts=self.texts,
            handoff=self.handoff,
            board=self.board,
            clock=self.clock,
            adapters=self.adapters,
            desks=self.seats.places,
            ring=self._ring,
            deliver=self._deliver,
            commands=self._command,
            access=access_of(settings),
            scope=settings.reply.scope,
            moved=self.seats.moved,
            alarm=self._alarm,
            limits=_limits(settings),
            secret=lambda: self.book.lately().told,
            facts=settings.reply.mode == "facts",
            probe=probe,
            meter=self.meters,
        )

    # --- joints ---------------------------------------------------------------------------

    def _ring(self, conversation_id: int, crowd: Hashable) -> None:
        self.turns.ring(conversation_id, crowd)

    async def _command(self, start: Start) -> None:
        await self.commands(start)

    def _deliver(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            self.posts.ring(lane)

    def _changed(self, changed: Changed) -> None:
        """A case has changed: send what it queued, and stop the machine where it must stop."""
        self._deliver(changed.lanes)
        if changed.moved:
            self.walk.interrupt(changed.conversation_id)
        if changed.cut_off:
            self.board.tell(Event(kind="withdrawn", key=changed.key))
        self.board.tell(Event(kind="line", key=changed.key))
        if changed.opened and self.tuning.current().desk.suggest and self.mind.has_room():
            self._aside(self._suggest(changed.case_id))
        told = {"case": changed.case_id, "new": changed.opened}
        self.board.tell(Event(kind="case", key=changed.key, data=told))

    async def _desk_lost(self, case_id: int) -> None:
        """A desk shut us out: the case goes to the next one, and the operator is told."""
        log.error("a desk let us in no more", case=case_id)
        rung = await self.store.write(
            partial(self.clockwork.lost, case_id=case_id, now=self.clock())
        )
        self._deliver(rung.lanes)
        if rung.changed is not None:
            self._changed(rung.changed)

    async def _settled(self, conversation_id: int) -> None:
        """Tell open pages that words of staff's have arrived, or have not.

        That somebody cannot be reached was taken in like a word of theirs: it is heard at once.
        """
        self.turns.ring(conversation_id)
        find = partial(views.open_case_of, conversation_id=conversation_id)
        key, case_id = await self.store.read(find)
        if key is not None and case_id is not None:
            data = {"case": case_id, "new": False}
            self.board.tell(Event(kind="case", key=key, data=data))

    def _barred(self, place: Place, error: str) -> None:
        """A group takes no post of the bot's: find out why, and tell the operator."""
        self._aside(self.doorway.barred(place, error))

    def _facts(self) -> Facts:
        return facts_of(self.tuning.current(), self.mind)

    def _dry(self) -> bool:
        """Say whether moods open nothing yet: a dry run ends by itself after its days."""
        own = self.tuning.current().desk
        return own.dry_run and self.clock() < self._dry_since + own.dry_run_days * DAY

    async def _begin_dry_run(self) -> None:
        """Remember when the dry run began; one that was switched off begins anew next time."""
        known = await self.room.read_cursor("desk/dry since")
        dry = self.tuning.current().desk.dry_run
        since = (known or str(self.clock())) if dry else ""
        self._dry_since = float(since or 0.0)
        if since != (known or ""):
            await self.room.take_in([], cursor=("desk/dry since", since))

    def _tuned(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._rules = rules_of(settings)
        ladder, policy = policies(settings, dict(self.table.thresholds))
        ear = replace(
            self.walk.rooms.ear,
            mood_policy=ladder,
            policy=policy,
            config=config_hash(settings),
        )
        rooms = self.walk.rooms
        self.walk.rooms = replace(
            rooms,
            ear=ear,
            planner=replace(rooms.planner, allowance=allowance_of(settings)),
            access=access_of(settings),
            scope=settings.reply.scope,
        )

    def _limit(self, place: Place) -> TextLimit:
        adapter = self.adapters.get((place.platform, place.bot))
        return TextLimit(size=1900) if adapter is None else adapter.limit

    def _link(self, place: Place, message_id: str) -> str:
        adapter = self.adapters.get((place.platform, place.bot))
        return "" if adapter is None else adapter.link(place, message_id)

    def connect(self) -> None:
        """Make the adapters that have a token."""
        settings = self.settings
        made = Platforms(
            settings=settings,
            door=self.room,
            clock=self.clock,
            steady=self.steady,
            texts=self.texts,
            alarm=self._alarmed,
            suggest=Hints(store=self.store),
        )
        for adapter in made.all():
            self.add(adapter)

    def add(self, adapter: Adapter) -> None:
        """Let an adapter take part."""
        self.adapters[adapter.platform, adapter.bot] = adapter

    def _alone(self) -> bool:
        """Say whether nobody real can read what the model writes: no platform is connected."""
        return not any(platform in ("telegram", "discord") for platform, _ in self.adapters)

    def _alarm(self, sentence: str) -> None:
        """Say what the operator must know, in the log, at the desk and to the operator."""
        log.error("alarm", problem=sentence)
        self._aside(self.alarm.try_to_tell(sentence))

    def _alarmed(self, platform: str, sentence: str) -> None:
        """Pass an adapter's own alarm on."""
        self.watch.said(platform)
        self._alarm(sentence)

    async def _suggest(self, case_id: int) -> None:
        """Put a suggestion onto a new card; without one the card is as good."""
        try:
            changed = await self.handoff.suggest(case_id)
        except HeedError as error:
            log.warning("no suggestion", case=case_id, cause=type(error).__name__)
        else:
            if changed is not None:
                self._changed(changed)

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something be done beside everything else; at the end it is dropped."""
        task = asyncio.ensure_future(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    # --- running ----------------------------------------------------------------------------

    async def run(self, *servers: Callable[[], Any]) -> None:
        """Run everything until cancelled: adapters, `servers`, lanes, sweeps, the janitor."""
        await self.delivery.settle_doubts()
        await self.tuning.load()
        await self._begin_dry_run()
        await self.seats.know_moved(self.room.read_cursor)
        await self.seats.know_staff(self.store, self.clock)
        await self.clockwork.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.speaker.load())  # first: what is unfinished waits for the model
            for adapter in self.adapters.values():
                tasks.create_task(adapter.run(), name=f"{adapter.platform} adapter")
            for server in servers:
                tasks.create_task(server())
            tasks.create_task(self.turns.sweep(unfinished(self.store, self.clock), every=SWEEP))
            tasks.create_task(self.posts.sweep(unsent(self.delivery), every=SWEEP))
            tasks.create_task(self.janitor.run())
            tasks.create_task(self._tick())
            tasks.create_task(self.watch.run())
            try:
                await asyncio.Event().wait()
            finally:  # before the adapters: what is under way would fail for want of a connection
                await self.turns.close()
                await self.posts.close()

    async def _tick(self) -> None:
        """Carry out what is due, for ever."""
        while True:
            try:
                pause = await self.clockwork.tick()
                await self.waits.refresh()
            except StoreError as error:
                log.warning("the database was busy; the clock comes again", problem=str(error))
                pause = 5.0
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Stop the lanes, the engine and the database, in this order."""
        await self.turns.close()
        await self.posts.close()
        for telling in tuple(self._telling):
            telling.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        await self.mind.swap(None)
        self.store.close()


# --- small facts --------------------------------------------------------------------------------


def _limits(settings: Settings) -> Limits:
    return Limits(tokens=settings.model.reply_tokens, seconds=settings.model.reply_seconds)


def config_hash(settings: Settings) -> str:
    """Return a short hash of the settings that decide, kept with every decision."""
    parts = (settings.mood, settings.escalation, settings.prompts)
    text = "\n".join(part.model_dump_json() for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
