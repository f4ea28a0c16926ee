"""The composition root: builds every room once, joins them, runs them, and takes them down.

This is the only module that knows all the others, reads the wall clock, and decides what runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from bot.engines import make_book, make_phrases
from bot.replay import policies
from bot.room import Room
from bot.settings import Settings, StaffPlace
from bot.speaker import Speaker
from core.commands import Commands
from core.delivery import Delivery
from core.engine.embedded.table import Table, TableTagger
from core.engine.mind import Mind
from core.engine.ports import Limits
from core.errors import StoreError
from core.handoff import DeskPolicy, Handoff
from core.hearing import Ear
from core.lanes import Lanes
from core.message import Place, TextLimit
from core.plans import Planner
from core.ports import Adapter, Board, Event, Probe, no_probe
from core.sentiment import Sentiment
from core.store import Store, intake, outbox, privacy
from core.store.desk import Changed
from core.store.outbox import Lane
from core.store.turns import Start
from core.texts import Texts
from core.turn import Rooms, Walk

log = structlog.get_logger(__name__)

SWEEP = 20.0  # seconds between two looks at every unfinished row
QUIET = 10.0  # seconds a row must have been left alone before the sweep rings its lane
RETAIN = 3600.0  # seconds between two looks for texts that are too old
DISCORD_BOT = "main"

COMMANDS: Mapping[str, Sequence[tuple[str, str]]] = {
    "en": [
        ("start", "Who I am"),
        ("help", "What I can do"),
        ("human", "Talk to a person of the team"),
        ("reset", "Start afresh"),
        ("privacy", "What is kept about you, and why"),
        ("forget", "Erase everything kept about you"),
    ],
    "zh": [
        ("start", "我是谁"),
        ("help", "我能做什么"),
        ("human", "转人工"),
        ("reset", "重新开始"),
        ("privacy", "保存了什么,为什么"),
        ("forget", "删除关于你的一切"),
    ],
}


class App:
    """One running Heed: every room, wired."""

    def __init__(self, settings: Settings, *, probe: Probe = no_probe) -> None:
        self.settings = settings
        self.clock: Callable[[], float] = time.time
        self.board = Board()
        self.store = Store(settings.database.url)
        self.texts = Texts.load(settings.texts.dir)
        self.table = Table.load()
        self.book = make_book(settings)
        self.mind = Mind(
            make_phrases(settings),
            seconds=settings.model.reply_seconds,
            strict=settings.reply.mode == "strict",
        )
        self.adapters: dict[tuple[str, str], Adapter] = {}
        self.delivery = Delivery(self.store, self.adapters, self.clock, probe, say=self.texts.say)
        self.posts: Lanes[Lane] = Lanes("delivery", self.delivery.work)
        self.handoff = Handoff(
            store=self.store,
            texts=self.texts,
            clock=self.clock,
            place=self.desk_place,
            limit=self._limit,
            changed=self._changed,
            policy=_desk_policy(settings),
        )
        self.walk = Walk(self._rooms(probe))
        self.commands = Commands(
            self.walk,
            text_days=settings.privacy.text_days,
            score_days=settings.privacy.score_days,
        )
        self.turns: Lanes[int] = Lanes("turn", self.walk.work)
        self.speaker = Speaker(
            settings, self.book, self.mind, tell=self.board.tell, alone=self._alone
        )
        self.room = Room(
            store=self.store,
            walk=self.walk,
            handoff=self.handoff,
            events=self.board,
            speaker=self.speaker,
            adapters=self.adapters,
            busy=lambda: self.turns.busy,
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
        )
        return Rooms(
            store=self.store,
            mind=self.mind,
            ear=ear,
            planner=Planner(
                texts=self.texts,
                clock=self.clock,
                message_chars=settings.limits.message_chars,
                per_minute=settings.limits.per_user_minute,
            ),
            texts=self.texts,
            handoff=self.handoff,
            board=self.board,
            clock=self.clock,
            adapters=self.adapters,
            desks=desk_places(settings),
            ring=self._ring,
            deliver=self._deliver,
            commands=self._command,
            limits=Limits(tokens=settings.model.reply_tokens, seconds=settings.model.reply_seconds),
            secret=lambda: self.book.lately().system,
            facts=settings.reply.mode == "facts",
            probe=probe,
        )

    # --- joints ---------------------------------------------------------------------------

    def _ring(self, conversation_id: int) -> None:
        self.turns.ring(conversation_id)

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
        self.board.tell(Event(kind="case", key=changed.key, data={"case": changed.case_id}))

    def desk_place(self) -> Place | None:
        """Return where cases go now: the first place of the list that is up; None: the page."""
        for place in desk_places(self.settings):
            adapter = self.adapters.get((place.platform, place.bot))
            if adapter is not None and adapter.health().state != "off":
                return place
        return None

    def _limit(self, place: Place) -> TextLimit:
        adapter = self.adapters.get((place.platform, place.bot))
        return TextLimit(size=1900) if adapter is None else adapter.limit

    def connect(self) -> None:
        """Make the adapters that have a token."""
        settings = self.settings
        if settings.telegram.token is not None:
            self.add(self._telegram())
        if settings.discord.token is not None:
            self.add(self._discord())

    def add(self, adapter: Adapter) -> None:
        """Let an adapter take part."""
        self.adapters[adapter.platform, adapter.bot] = adapter

    def _telegram(self) -> Adapter:
        from adapters.telegram import TelegramAdapter

        own = self.settings.telegram
        desks = [p for p in desk_places(self.settings) if p.platform == "telegram"]
        return TelegramAdapter(
            self.room,
            token=secret_of(own.token),
            clock=self.clock,
            api_base=own.api_base,
            file_base=own.file_base,
            desk_chat=desks[0].chat if desks else "",
            watch=frozenset(own.watch),
            mode=own.mode,
            webhook_url=own.webhook_url,
            webhook_secret=secret_of(own.webhook_secret),
            commands=COMMANDS,
            on_alarm=self._alarm,
        )

    def _discord(self) -> Adapter:
        from adapters.discord import DiscordAdapter

        own = self.settings.discord
        desks = [p for p in desk_places(self.settings) if p.platform == "discord"]
        return DiscordAdapter(
            self.room,
            token=secret_of(own.token),
            clock=self.clock,
            bot=DISCORD_BOT,
            api_base=own.api_base,
            gateway_url=own.gateway_url,
            mode=own.mode,
            watch=frozenset(own.watch),
            desk_channel=desks[0].chat if desks else "",
            commands=COMMANDS,
            on_alarm=self._alarm,
        )

    def _alone(self) -> bool:
        """Say whether nobody real can read what the model writes: no platform is connected."""
        return not any(platform in ("telegram", "discord") for platform, _ in self.adapters)

    def _alarm(self, sentence: str) -> None:
        log.error("alarm", problem=sentence)

    # --- running ----------------------------------------------------------------------------

    async def run(self, *servers: Callable[[], Any]) -> None:
        """Run everything until cancelled: adapters, `servers`, lanes, sweeps, the janitor."""
        await self.delivery.settle_doubts()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.speaker.load())  # first: what is unfinished waits for the model
            for adapter in self.adapters.values():
                tasks.create_task(adapter.run(), name=f"{adapter.platform} adapter")
            for server in servers:
                tasks.create_task(server())
            tasks.create_task(self.turns.sweep(self._unfinished(), every=SWEEP))
            tasks.create_task(self.posts.sweep(self._unsent(), every=SWEEP))
            tasks.create_task(self._janitor())

    def _unfinished(self) -> Callable[[], Any]:
        looked = [0.0]  # the first look takes every row, the later ones those left alone

        async def find() -> list[int]:
            since = self.clock() - looked[0]
            looked[0] = QUIET
            return await self.store.read(partial(intake.waiting, quiet_since=since))

        return find

    def _unsent(self) -> Callable[[], Any]:
        looked = [0.0]

        async def find() -> list[Lane]:
            quiet, looked[0] = looked[0], QUIET
            await self.delivery.settle_doubts(quiet)
            return await self.store.read(partial(outbox.open_lanes, now=self.clock(), quiet=quiet))

        return find

    async def _janitor(self) -> None:
        """Every few seconds finish forgetting, every hour let go of what is too old."""
        next_look = self.clock()
        while True:
            await asyncio.sleep(SWEEP / 4)
            try:
                if self.clock() >= next_look:
                    next_look = self.clock() + RETAIN
                    await self._let_go()
                if await self.store.write(privacy.bury):
                    await self._truncate_log()
            except StoreError as error:
                log.warning("the database was busy; the janitor comes again", problem=str(error))

    async def _let_go(self) -> None:
        own = self.settings.privacy
        await self.store.write(
            partial(
                privacy.retain,
                text_days=own.text_days,
                score_days=own.score_days,
                now=self.clock(),
            )
        )

    async def _truncate_log(self) -> None:
        """Truncate the write-ahead log until it is truncated: a reader may be in the way."""
        while not await asyncio.to_thread(self.store.erase_log):  # noqa: ASYNC110
            await asyncio.sleep(1.0)

    async def close(self) -> None:
        """Stop the lanes, the engine and the database, in this order."""
        await self.turns.close()
        await self.posts.close()
        await self.mind.swap(None)
        self.store.close()


# --- small facts --------------------------------------------------------------------------------


def desk_places(settings: Settings) -> list[Place]:
    """Return the staff chats of the settings, in order of preference, without the web page."""
    found = []
    for place in settings.desk.places:
        bot = _bot_of(settings, place)
        if bot is not None:
            found.append(Place(platform=place.platform, bot=bot, chat=place.chat))
    return found


def _bot_of(settings: Settings, place: StaffPlace) -> str | None:
    if place.platform == "telegram" and settings.telegram.token is not None:
        return secret_of(settings.telegram.token).partition(":")[0]
    if place.platform == "discord" and settings.discord.token is not None:
        return DISCORD_BOT
    return None


def _desk_policy(settings: Settings) -> DeskPolicy:
    own = settings.escalation
    return DeskPolicy(
        refractory=own.refractory_minutes * 60.0, not_needed=own.not_needed_minutes * 60.0
    )


def config_hash(settings: Settings) -> str:
    """Return a short hash of the settings that decide, kept with every decision."""
    parts = (settings.mood, settings.escalation, settings.prompts)
    text = "\n".join(part.model_dump_json() for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def secret_of(value: Any) -> str:  # noqa: ANN401 - SecretStr or None
    """Return a secret's text; empty when it is not set."""
    return "" if value is None else str(value.get_secret_value())
