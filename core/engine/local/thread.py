"""The one thread that owns the model, and the only door to it.

Work goes in through a queue; its outcome comes back through the asker's own event loop. Work that
may take long is a generator that pauses now and then. Each round of the thread begins one new
piece of work, goes on with one of those that paused, and gives one beat: one step of all running
replies. So nobody waits for the whole of what somebody else has asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

from core.engine.local.turns import Pieces
from core.errors import EngineFailed, EngineNotReady, HeedError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_DEAD = "the model was stopped in the middle of its work"
STUCK = 20.0  # seconds without a sign of life: far more than any layer takes


class _Job:
    """One piece of work and the future that waits for its outcome."""

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._rest: Generator[None, None, object] | None = None  # what is left of work that pauses
        self.future: asyncio.Future[Any] = loop.create_future()

    def run(self) -> bool:
        """Do the work, or a part of it, in the engine thread; False: it has paused.

        Whatever goes wrong belongs to this asker alone.
        """
        if self._rest is not None and self.future.cancelled():
            self._rest.close()
            return True
        try:
            if self._rest is None:
                outcome = self._work()
                if not isinstance(outcome, Generator):
                    self._tell(self._done, outcome)
                    return True
                self._rest = outcome
                if self.future.cancelled():
                    self._rest.close()
                    return True
            next(self._rest)
        except StopIteration as end:
            self._tell(self._done, end.value)
        except HeedError as fault:
            self.fail(fault)
        except Exception as fault:  # noqa: BLE001 - a model may raise anything; the thread must live on
            _log.exception("the engine failed one request")
            self.fail(EngineFailed(f"the model failed: {type(fault).__name__}: {fault}"))
        else:
            return False
        return True

    def fail(self, fault: HeedError) -> None:
        """Give the asker an error instead. Any thread."""
        self._tell(self._failed, fault)

    def _tell(self, call: Callable[[Any], None], what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the asker's loop is closed: nobody waits
            self._loop.call_soon_threadsafe(call, what)

    def _done(self, outcome: object) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def _failed(self, fault: HeedError) -> None:
        if not self.future.done():
            self.future.set_exception(fault)


class EngineThread:
    """Runs work one piece at a time, and beats in between while there is something to say."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the three below
        self._state = "new"  # new, running, ended
        self._jobs: set[_Job] = set()
        self._streams: set[Pieces] = set()
        self._thread = threading.Thread(target=self._run, name="heed-engine", daemon=True)
        self._busy_since: float | None = None  # the last sign of life in one piece of work
        self.patience = math.inf  # seconds in one piece of work; loading may take its time
        self.beat: Callable[[], bool] = lambda: False  # one step; True: there is more to say

    @property
    def alive(self) -> bool:
        """Whether work is still being done."""
        return self._state == "running"

    @property
    def stuck(self) -> bool:
        """Whether one piece of work takes so long that nobody should wait for it."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > self.patience

    @property
    def condition(self) -> str:
        """What is wrong with it, in words."""
        return "hangs" if self.alive else "has ended"

    def tick(self) -> None:
        """Say that the present piece of work goes on: a slow machine is no hung one."""
        self._busy_since = time.monotonic()

    def start(self) -> None:
        """Begin; a second call does nothing."""
        with self._lock:
            if self._state == "new":
                self._state = "running"
                self._thread.start()

    async def ask(self, work: Callable[[], T]) -> T:
        """Have `work` done and return what it returns.

        Raises its HeedError, or EngineFailed for any other fault and when the thread ends first.
        """
        return cast(T, await self._outcome(work))

    async def ask_long(self, work: Callable[[], Generator[None, None, T]]) -> T:
        """Have work done that pauses now and then, and return what it returns. Raises as `ask`."""
        return cast(T, await self._outcome(work))

    async def _outcome(self, work: Callable[[], object]) -> object:
        job = _Job(work, asyncio.get_running_loop())
        with self._lock:
            self.check()
            self._jobs.add(job)
            self._queue.put(job)
        try:
            return await job.future
        finally:
            with self._lock:
                self._jobs.discard(job)

    def post(self, work: Callable[[], Any]) -> None:
        """Have `work` done when its turn comes; nobody waits for it."""
        job = _Job(work, asyncio.get_running_loop())
        job.future.add_done_callback(lambda future: future.cancelled() or future.exception())
        with self._lock:
            if self._state == "running":
                self._queue.put(job)

    def watch(self, pieces: Pieces) -> None:
        """See to it that the reader of `pieces` hears when the thread ends."""
        with self._lock:
            self.check()
            self._streams.add(pieces)

    def unwatch(self, pieces: Pieces) -> None:
        """The reader is gone."""
        with self._lock:
            self._streams.discard(pieces)

    def stop(self, seconds: float = 30.0) -> None:
        """End after the present step, and wait for that. Never call it from an event loop."""
        with self._lock:
            running = self._state == "running"
            self._state = "ended"
        if running:
            self._queue.put(None)
            self._thread.join(seconds)
            if self._thread.is_alive():
                with self._lock:
                    self._fail_all()

    def check(self) -> None:
        """Raise EngineNotReady before the thread runs, EngineFailed after."""
        if self._state == "new":
            raise EngineNotReady("the model is still warming up")
        if self._state == "ended":
            raise EngineFailed(_DEAD)

    def abandon(self) -> None:
        """Let whoever waits hear that the thread hangs; it ends when its present step does."""
        with self._lock:
            self._state = "ended"
            self._queue.put(None)
            self._fail_all()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            with self._lock:
                self._state = "ended"
                self._fail_all()

    def _fail_all(self) -> None:
        for job in self._jobs:
            job.fail(EngineFailed(_DEAD))
        for pieces in self._streams:
            pieces.end(EngineFailed(_DEAD))

    def _serve(self) -> None:
        paused: deque[_Job] = deque()
        speaking = False
        while self._state == "running":
            due = [paused.popleft()] if paused else []
            try:
                job = self._queue.get(block=not (speaking or due))
            except queue.Empty:
                pass
            else:
                if job is None:
                    return
                due.insert(0, job)
            for job in due:
                self._busy_since = time.monotonic()
                if not job.run():
                    paused.append(job)
            self._busy_since = time.monotonic()
            speaking = self.beat()
            self._busy_since = None
