"""What the rooms see of the local model: coroutines and streams, and never a tensor."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, cast

from core.engine.calibrations import CalibrationBook
from core.engine.local.thread import STUCK, EngineThread
from core.engine.local.turns import Counters, Pieces, Settings, Turn
from core.engine.ports import Capacity, Limits, ReplyRequest, Started
from core.errors import EngineError, EngineFailed, EngineNotReady, HeedError, SetupError
from core.message import ConversationKey, Level, Tagging
from core.prompts import PromptBook

if TYPE_CHECKING:
    from core.engine.local.worker import Worker

_log = logging.getLogger(__name__)
_PRECISIONS = ("auto", "fp32", "bf16", "int8", "int4")
_DEVICES = ("auto", "cpu", "cuda", "mps")
_LOOK = 0.5  # seconds between two looks at the thread
_PATIENCE = 30.0  # seconds that replies wait for a restart


class LocalEngine:
    """Tagger, Writer and Joint over one model of this machine.

    `source` is a hub id or a folder. Making one is cheap and checks the settings alone; `warm_up`
    loads. Sizes: `history_tokens` of history shown, `message_tokens` of one message, `slots`
    replies at a time, `kv_budget_mb` MiB for conversations kept warm between turns, `threads` for
    torch (None: all cores but one). Tags are told by what `calibration` knows of this model. With
    `states` each has made["state"], the hidden state it was read from, where that can be seen.
    """

    def __init__(  # noqa: PLR0913 - the operator's settings, each with its default
        self,
        source: str,
        book: PromptBook,
        *,
        history_tokens: int = 1500,
        message_tokens: int = 512,
        slots: int = 8,
        kv_budget_mb: int = 512,
        threads: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        adapter: str | None = None,
        calibration: CalibrationBook | None = None,
        states: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if precision not in _PRECISIONS:
            raise SetupError(
                f"model.precision is {precision}: write one of {', '.join(_PRECISIONS)}"
            )
        if device not in _DEVICES:
            raise SetupError(f"model.device is {device}: write one of {', '.join(_DEVICES)}")
        folder = Path(source).expanduser()
        self._book = book
        self._settings = Settings(
            source=str(folder) if folder.is_dir() else source,
            name=folder.resolve().name if folder.is_dir() else source,
            history_tokens=history_tokens,
            message_tokens=message_tokens,
            slots=slots,
            kv_budget=kv_budget_mb * 2**20,
            threads=threads,
            precision=precision,
            device=device,
            adapter=adapter or None,
            calibration=calibration,
            states=states,
            clock=clock,
        )
        self.counters = Counters()
        self._thread = EngineThread()
        self._worker: Worker | None = None
        self._closed = False
        self._watch: asyncio.Task[None] | None = None
        self._broke_at: float | None = None  # since when the thread is being replaced

    @property
    def name(self) -> str:
        """The model's name, as shown and stored."""
        return self._settings.name

    @property
    def ready(self) -> bool:
        """Whether the model is loaded, warm and at work."""
        return self._worker is not None and self._thread.alive and not self._thread.stuck

    @property
    def mending(self) -> bool:
        """Whether the thread has just broken down and a reply had better wait for the next."""
        if self._watch is None or self._watch.done():
            return False
        if self._broke_at is None:  # nobody has looked yet
            return not self._thread.alive or self._thread.stuck
        return time.monotonic() - self._broke_at < _PATIENCE

    @property
    def demo(self) -> bool:
        """Whether this checkpoint only shows the mechanism, and its words mean nothing."""
        try:
            text = (Path(self._settings.source) / "config.json").read_text(encoding="utf-8")
            config = json.loads(text)
        except (OSError, ValueError):
            return False
        return isinstance(config, dict) and config.get("heed_demo") is True

    async def warm_up(self) -> None:
        """Load the model in its own thread and run it once. Raises SetupError, EngineFailed."""
        await self._begin()
        if self._closed:
            raise EngineFailed("the engine was closed while it loaded")
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_after())

    async def _begin(self) -> None:
        self._thread.start()
        await self._thread.ask(self._load)

    def _load(self) -> None:
        """Run in the engine thread: import torch there, and nowhere before."""
        if self._worker is not None:
            return
        try:
            from core.engine.local.worker import Worker
        except ImportError as fault:
            raise SetupError(
                "a local model needs torch and transformers: install heed[local], "
                "or set model.name to embedded or to a server's URL"
            ) from fault
        thread = self._thread
        worker = Worker(self._settings, self._book, self.counters, thread.tick)
        if self._closed:
            raise EngineFailed("the engine was closed while it loaded")
        thread.beat, thread.patience = worker.beat, STUCK
        self._worker = worker

    async def _look_after(self) -> None:
        """Replace the thread when it hangs or has ended; whoever waits for it hears at once."""
        pauses = (0.0, 1.0, 5.0, 20.0)
        while True:
            await asyncio.sleep(_LOOK)
            if self._thread.alive and not self._thread.stuck:
                continue
            _log.error("the engine %s: it is started anew", self._thread.condition)
            self._broke_at = time.monotonic()
            for pause in chain(pauses, repeat(60.0)):
                await asyncio.sleep(pause)
                self._thread.abandon()
                self._worker, self._thread = None, EngineThread()
                try:
                    await self._begin()
                    break
                except HeedError as fault:
                    _log.error("the engine could not be started anew: %s", fault)
            self.counters.restarts += 1
            self._broke_at = None

    def _at_work(self) -> Worker:
        if self._worker is None:
            self._thread.check()
            raise EngineNotReady(f"{self.name} is still warming up")
        return self._worker

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text alone with the task's own prompt. Raises PromptError, EngineError."""
        worker, asked = self._at_work(), tuple(texts)
        return await self._thread.ask_long(lambda: worker.tag(asked, task)) if asked else []

    async def start(self, request: ReplyRequest) -> Started:
        """Prepare a reply up to its first logits. Raises EngineBusy, EngineError, PromptError."""
        _, started = await self._start(request, tagged=False)
        return started

    async def tag_and_start(self, request: ReplyRequest) -> tuple[Tagging, Started]:
        """Tag the last message in its conversation and start the reply, in one forward.

        A task that stands as a system prompt of its own is tagged alone, in a forward more.
        """
        tagging, started = await self._start(request, tagged=True)
        return cast(Tagging, tagging), started

    async def _start(
        self, request: ReplyRequest, *, tagged: bool
    ) -> tuple[Tagging | None, Started]:
        worker = self._at_work()
        turn = Turn(request=request, home=worker)
        try:
            tagging = await self._thread.ask_long(lambda: worker.start(turn, tagged=tagged))
        except asyncio.CancelledError:
            self._withdraw(worker, turn)
            raise
        started = Started(
            key=request.key,
            request=request,
            model=self.name,
            prompt=turn.prompt.version,
            made=turn.made,
            state=turn,
        )
        return tagging, started

    def continue_reply(self, started: Started, limits: Limits, level: Level) -> AsyncIterator[str]:
        """Stream the reply in whole characters. Raises EngineFailed."""
        return self._stream(started.state, limits, level, self._settings.clock() + limits.seconds)

    async def _stream(
        self, turn: Turn, limits: Limits, level: Level, until: float
    ) -> AsyncIterator[str]:
        worker = self._at_work()
        if turn.home is not worker:
            raise EngineFailed("the engine was started anew since this reply began")
        pieces = Pieces(asyncio.get_running_loop())
        self._thread.watch(pieces)
        ended = False
        try:
            await self._thread.ask(lambda: worker.speak(turn, pieces, limits, level, until))
            async for text in pieces:
                yield text
            ended = True
        finally:
            self._thread.unwatch(pieces)
            if not ended:  # nobody listens any more: stop within a step
                turn.withdrawn = True

    async def cancel(self, started: Started) -> None:
        """Take the reply back within one step, also before it began. Never raises."""
        turn: Turn = started.state
        turn.withdrawn = True
        await self._settle(turn, kept=False)

    async def settle(self, started: Started, *, kept: bool) -> None:
        """Keep the reply in the warm conversation, or go back to where its message began."""
        await self._settle(started.state, kept=kept)

    async def _settle(self, turn: Turn, *, kept: bool) -> None:
        worker = self._worker
        if worker is None or turn.home is not worker:
            return  # its thread has ended, and its memory with it
        try:
            await self._thread.ask(lambda: worker.settle(turn, kept=kept))
        except asyncio.CancelledError:
            self._withdraw(worker, turn)
            raise
        except EngineError:
            return  # the thread has ended, and its memory with it

    def _withdraw(self, worker: Worker, turn: Turn) -> None:
        """Have a turn rolled back though nobody can wait for it any more."""
        turn.withdrawn = True
        self._thread.post(lambda: worker.settle(turn, kept=False))

    async def drop(self, key: ConversationKey) -> None:
        """Free whatever is held for a conversation."""
        worker = self._worker
        if worker is not None and self._thread.alive:
            await self._thread.ask(lambda: worker.drop(key))

    def capacity(self) -> Capacity:
        """Say how busy the engine is."""
        worker = self._worker
        return Capacity(
            slots=self._settings.slots,
            running=0 if worker is None else worker.running,
            kv_bytes=0 if worker is None else worker.kv_bytes,
            kv_budget=self._settings.kv_budget,
        )

    async def close(self) -> None:
        """End the thread and free the model; whoever still waits gets EngineFailed."""
        self._closed = True
        if self._watch is not None and not self._watch.done():
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)
        self._thread.beat = lambda: False
        self._worker = None
