"""Which model speaks: loaded at the start, fetched by a button, exchanged without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import structlog

from bot import models
from bot.engines import make_engine
from bot.settings import Settings
from core.engine.mind import Engine, Mind
from core.errors import EngineError, HeedError, PromptError, SetupError
from core.ports import Event
from core.prompts import PromptBook

log = structlog.get_logger(__name__)

RETRY = 20.0  # seconds between two tries to reach a model that was away at the start
OFFER = "qwen2.5-0.5b"  # the model the page offers while the embedded default speaks


class Speaker:
    """Puts engines into the mind, and says which one is there and why."""

    def __init__(
        self,
        settings: Settings,
        book: PromptBook,
        mind: Mind,
        *,
        tell: Callable[[Event], None],
        alone: Callable[[], bool],  # nobody real reads what is written: a demo may speak
    ) -> None:
        self._settings = settings
        self._book = book
        self._mind = mind
        self._tell = tell
        self._alone = alone
        self._kept: set[asyncio.Task[None]] = set()
        self.problem = ""  # why the configured model cannot speak
        self.progress: float | None = None  # of a download, 0..1

    async def load(self) -> None:
        """Load the configured model; only the table hears until it is ready.

        Raises SetupError when a model that the operator has named cannot be used. A server that
        is away is asked again and again; the table stands in for it meanwhile.
        """
        named = self._settings.model.named
        try:
            await self._load(self._settings, patient=named)
        except (SetupError, PromptError, EngineError) as error:
            self._report(error)
            if named:
                raise

    async def _load(self, settings: Settings, *, patient: bool = False) -> None:
        """Warm the model of `settings` up and swap it in; `patient` with one that is away."""
        engine = make_engine(settings, self._book, allow_demo=self._alone())
        if engine is None:
            return
        self._mind.loading = self._mind.engine is None
        self._announce()
        try:
            await engine.warm_up()
            self.problem = ""
        except BaseException as error:  # a cancel too: its threads must end with it
            if not (patient and isinstance(error, EngineError)):
                await engine.close()
                raise
            self._report(error)
        finally:
            self._mind.loading = False
        await self._mind.swap(engine)
        await self._reach(engine)
        self._announce()

    async def _reach(self, engine: Engine) -> None:
        """Warm an engine that is away up again and again, until another takes its place."""
        waits = chain((1.0, 2.0, 5.0, 10.0), repeat(RETRY))
        while self.problem and self._mind.engine is engine:
            await asyncio.sleep(next(waits))
            if self._mind.engine is not engine:
                return
            problem = ""
            try:
                await engine.warm_up()
            except (SetupError, PromptError, EngineError) as error:
                problem = str(error)  # it was away at the start: too late to end for it
            if self._mind.engine is engine:  # and no other has taken its place meanwhile
                self.problem = problem

    def fetch(self, name: str) -> None:
        """Start to download a model and let it speak from the next turn on. Returns at once."""
        if self.progress is None:
            self.progress = 0.0
            task = asyncio.create_task(self._fetch(name))
            self._kept.add(task)
            task.add_done_callback(self._kept.discard)

    async def _fetch(self, name: str) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(done: int, total: int) -> None:
            self.progress = done / total if total else 0.0
            loop.call_soon_threadsafe(self._announce)

        chosen = self._settings.model.model_copy(update={"name": name, "tag": "", "reply": ""})
        try:
            self.problem = ""
            await asyncio.to_thread(models.pull, self._settings, name, on_progress)
            self.progress = None
            await self._load(self._settings.model_copy(update={"model": chosen}))
        except HeedError as error:
            self._report(error)
        finally:
            self.progress = None
            self._announce()

    def why_not_ready(self) -> str | None:
        """Say why nobody should send messages here yet; None: ready."""
        if self._mind.loading:
            return "The model is warming up."
        if self.problem and self._settings.model.named:
            return self.problem
        return None if self._mind.ready else "The model has stopped."

    def view(self) -> dict[str, Any]:
        """Return core.ports.Desk.engine, and `words`: in one line who is speaking and why."""
        embedded = self._mind.engine is None
        try:
            name, why = models.chosen(self._settings)
        except SetupError as error:  # its folder has gone since the start
            name, why = self._settings.model.name, str(error)
        if not embedded:
            name, why = self._mind.name, "fetched just now" if name == "embedded" else why
            if self._mind.strict:
                why = f"{why}; it only tags, as reply.mode is strict"
        return {
            "name": self._mind.name,
            "ready": self._mind.ready and not self._mind.loading,
            "loading": self._mind.loading or self.progress is not None,
            "progress": self.progress,
            "problem": self.problem,
            "offer": OFFER if embedded and (name == "embedded" or self.problem) else None,
            "words": f"{name} ({why})",
        }

    def _report(self, error: Exception) -> None:
        self.problem = str(error)
        log.error("the model cannot be used", problem=self.problem)
        self._announce()

    def _announce(self) -> None:
        """Tell every page which engine speaks, and how far a download is."""
        self._tell(Event(kind="engine", key=None, data=self.view()))
