"""The composition root: builds every room once, joins them, runs them, and takes them down.

This is the only module that knows all the others, reads the wall clock, and decides what runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import structlog

from bot import database, models
from bot.engines import make_book, make_engine, make_phrases
from bot.replay import policies
from bot.room import Room
from bot.settings import Settings, StaffPlace
from core.commands import Commands
from core.delivery import Delivery
from core.engine.embedded.table import Table, TableTagger
from core.engine.mind import Engine, Mind
from core.engine.ports import Limits
from core.errors import DeliveryError, EngineError, PromptError, SetupError, StoreError
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

RETRY = 20.0  # seconds between two tries to reach a model that was away at the start
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
        self.texts = Texts.load()
        self.table = Table.load()
        self.book = make_book(settings)
        self.mind = Mind(make_phrases(settings), seconds=settings.model.reply_seconds)
        self.adapters: dict[tuple[str, str], Adapter] = {}
        self.delivery = Delivery(self.store, self.adapters, self.clock, probe)
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
        self.chosen = ("embedded", "")  # the model that will speak, and why
        self.choose()
        self._kept: set[asyncio.Task[None]] = set()
        self.problem = ""  # why the configured model cannot speak
        self.progress: float | None = None  # of a download, 0..1

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
            planner=Planner(texts=self.texts, clock=self.clock),
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
            secret=lambda: self.book.reply().system,
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
            self.walk_door(),
            token=_secret(own.token),
            clock=self.clock,
            api_base=own.api_base,
            file_base=own.file_base,
            desk_chat=desks[0].chat if desks else "",
            watch=frozenset(own.watch),
            mode=own.mode,
            webhook_url=own.webhook_url,
            webhook_secret=_secret(own.webhook_secret),
            commands=COMMANDS,
            on_alarm=self._alarm,
        )

    def _discord(self) -> Adapter:
        from adapters.discord import DiscordAdapter

        own = self.settings.discord
        desks = [p for p in desk_places(self.settings) if p.platform == "discord"]
        return DiscordAdapter(
            self.walk_door(),
            token=_secret(own.token),
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

    def walk_door(self) -> Room:
        """Return the door that adapters knock at."""
        return Room(self)

    def _alarm(self, sentence: str) -> None:
        log.error("alarm", problem=sentence)

    # --- the model --------------------------------------------------------------------------

    def choose(self) -> None:
        """Resolve `model.name` anew. A name that cannot be resolved ends the start, later."""
        with suppress(SetupError):
            self.chosen = models.chosen(self.settings)

    async def load_model(self) -> None:
        """Load the configured model; only the table hears until it is ready.

        Raises SetupError when a model that the operator has named cannot be used. A server that
        is away is asked again and again; the table stands in for it meanwhile.
        """
        named = self.settings.model.name not in ("auto", "embedded")
        try:
            await self._load(self.settings, patient=named)
        except (SetupError, PromptError, EngineError) as error:
            self._model_problem(error)
            if named:
                raise

    async def use_model(self, name: str) -> None:
        """Load a model that has just been fetched, and let it speak from the next turn on."""
        chosen = self.settings.model.model_copy(update={"name": name})
        try:
            await self._load(self.settings.model_copy(update={"model": chosen}))
        except (SetupError, PromptError, EngineError) as error:
            self._model_problem(error)

    async def _load(self, settings: Settings, *, patient: bool = False) -> None:
        """Warm the model of `settings` up and swap it in; `patient` with one that is away."""
        engine = make_engine(settings, self.book, allow_demo=len(self._platforms()) == 0)
        if engine is None:
            return
        self.mind.loading = self.mind.engine is None
        self.tell_engine()
        try:
            await engine.warm_up()
            self.problem = ""
        except BaseException as error:
            if not (patient and isinstance(error, EngineError)):
                await engine.close()
                raise
            self._model_problem(error)
        finally:
            self.mind.loading = False
        await self.mind.swap(engine)
        await self._reach(engine)
        self.tell_engine()

    async def _reach(self, engine: Engine) -> None:
        """Warm an engine that is away up again and again, until another takes its place."""
        waits = chain((1.0, 2.0, 5.0, 10.0), repeat(RETRY))
        while self.problem and self.mind.engine is engine:
            await asyncio.sleep(next(waits))
            try:
                await engine.warm_up()
                self.problem = ""
            except (SetupError, PromptError, EngineError) as error:
                self.problem = str(error)  # it was away at the start: too late to end for it

    def _model_problem(self, error: Exception) -> None:
        self.problem = str(error)
        log.error("the model cannot be used", problem=self.problem)
        self.tell_engine()

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a background task until it ends."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def tell_engine(self) -> None:
        """Tell every page which engine speaks, and how far a download is."""
        self.board.tell(Event(kind="engine", key=None, data=self.walk_door().engine()))

    def _platforms(self) -> list[str]:
        return [p for p, _ in self.adapters if p in ("telegram", "discord")]

    def why_not_ready(self) -> str | None:
        """Say why nobody should send messages here yet; None: ready."""
        if self.mind.loading:
            return "The model is warming up."
        if self.problem and self.settings.model.name not in ("auto", "embedded"):
            return self.problem
        return None if self.mind.ready else "The model has stopped."

    # --- running ----------------------------------------------------------------------------

    async def run(self, *servers: Callable[[], Any]) -> None:
        """Run everything until cancelled: adapters, `servers`, lanes, sweeps, the janitor."""
        await self.delivery.settle_doubts()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.load_model())  # first: what is unfinished waits for the model
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
        return _secret(settings.telegram.token).partition(":")[0]
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


def _secret(value: Any) -> str:  # noqa: ANN401 - SecretStr or None
    return "" if value is None else str(value.get_secret_value())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def serve(settings: Settings, *, probe: Probe = no_probe) -> None:
    """Run Heed with its page until a signal ends it. Raises SetupError with what to do."""
    from adapters.web import WebAdapter

    database.prepare(settings.database.url)
    with database.hold(settings.database.url):
        await asyncio.to_thread(database.upgrade, settings.database.url)
        _say(f"Database ready: {_shown(settings.database.url)}")
        app = App(settings, probe=probe)
        app.connect()
        web = WebAdapter(
            app.walk_door(),
            clock=app.clock,
            host=settings.http.host,
            port=settings.http.port,
            token=_secret(settings.http.token),
            ready=app.why_not_ready,
            metrics=app.walk_door().metrics,
            webhook=_webhook(app),
        )
        try:
            await web.check()
            await _check(app)
            app.add(web)
            _say(f"Model: {app.walk_door().engine()['words']}")
            await _until_signal(app, web)
        finally:
            await app.close()


async def _check(app: App) -> None:
    """Ask every platform whether its token is good, one line each."""
    for adapter in app.adapters.values():
        name = adapter.platform.capitalize()
        try:
            await adapter.check()
        except DeliveryError as error:
            _say(f"{name}: {str(error).rstrip('.')}. Heed goes on trying.")
        else:
            _say(f"{name}: {adapter.health().name or 'token accepted'}")


def _webhook(app: App) -> Any:  # noqa: ANN401
    for adapter in app.adapters.values():
        if adapter.platform == "telegram" and app.settings.telegram.mode == "webhook":
            return adapter.webhook  # type: ignore[attr-defined]
    return None


async def _until_signal(app: App, web: Any) -> None:  # noqa: ANN401 - WebAdapter
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(app.run())
    waiting = asyncio.create_task(stop.wait())
    _say(f"Heed is at {web.url}")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        _raise_first(running)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def _raise_first(running: asyncio.Task[None]) -> None:
    """Raise the sentence for the operator out of a group of errors, or whatever ended it."""
    error = running.exception()
    for found in _leaves(error):
        if isinstance(found, SetupError | PromptError):
            raise found
    if error is not None:
        raise error


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [] if error is None else [error]


async def chat(settings: Settings) -> None:
    """Talk to Heed in this terminal; the same database, the same walk."""
    from adapters.terminal import TerminalAdapter

    database.prepare(settings.database.url)
    with database.hold(settings.database.url):
        await asyncio.to_thread(database.upgrade, settings.database.url)
        app = App(settings)
        terminal = TerminalAdapter(app.walk_door(), app.clock, sys.stdin, sys.stdout)
        app.add(terminal)
        running = asyncio.create_task(app.run())
        ended = asyncio.create_task(terminal.ended.wait())
        try:
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                _raise_first(running)
            await app.turns.idle()
            await app.posts.idle()
        finally:
            ended.cancel()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await app.close()


def _shown(url: str) -> str:
    path = database.file_of(url)
    return str(Path(path)) if path is not None else url.partition("://")[0]
