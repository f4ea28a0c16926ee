"""Order within a lane, parallel across lanes, and nobody forgotten.

A lane is one conversation's (or one staff thread's) work, done by one task at a time; ringing it
while it works makes it look once more. Idle lanes do not exist, so they cost nothing. What fails
is tried again after a growing pause, and a sweep rings every lane that still has unfinished rows,
so that a lost ring costs seconds, never a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextvars import Context
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import structlog

from core.errors import StoreBusy

log = structlog.get_logger(__name__)

L = TypeVar("L", bound=Hashable)
# Does the lane's next piece of work. Returns seconds until it must look again (0: at once), or
# None when nothing is left.
Work = Callable[[L], Awaitable[float | None]]

FIRST_PAUSE = 0.5  # seconds after a failure; doubles
LONGEST_PAUSE = 30.0
ABREAST = 8  # lanes of one crowd at work at once: a raid on one chat leaves room for the others


class Lanes(Generic[L]):
    """Runs `work` for every rung lane, at most `most` lanes at once."""

    def __init__(self, name: str, work: Work[L], *, most: int = 64) -> None:
        self._name = name
        self._work = work
        self._slots = asyncio.Semaphore(most)
        self._crowds: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: dict[L, asyncio.Task[None]] = {}
        self._bells: dict[L, asyncio.Event] = {}
        self._closed = False

    def ring(self, lane: L, crowd: Hashable = None) -> None:
        """Say that a lane has something to do. Of one `crowd` only a few are at work at once."""
        if self._closed:
            return
        self._bells.setdefault(lane, asyncio.Event()).set()
        if lane not in self._tasks:
            work = self._run(lane, self._gate(crowd))
            # In a context of its own: the log knows whoever rang by ids that are not this lane's.
            self._tasks[lane] = asyncio.create_task(
                work, name=f"{self._name} {lane}", context=Context()
            )

    def _gate(self, crowd: Hashable) -> asyncio.Semaphore:
        """Return what a few lanes of a crowd may pass at once; it lives as long as one of them."""
        if crowd is None:
            return asyncio.Semaphore()
        gate = self._crowds.get(crowd)
        if gate is None:
            gate = self._crowds[crowd] = asyncio.Semaphore(ABREAST)
        return gate

    @property
    def busy(self) -> int:
        """How many lanes exist: at work, or waiting to try again."""
        return len(self._tasks)

    async def _run(self, lane: L, gate: asyncio.Semaphore) -> None:
        bell = self._bells[lane]
        pause = FIRST_PAUSE
        try:
            while bell.is_set():
                bell.clear()
                try:
                    async with gate, self._slots:  # in this order: who waits holds no slot
                        again = await self._work(lane)
                except StoreBusy as error:  # no fault of the work: it says so itself, in a line
                    log.warning("lane waits", lanes=self._name, lane=lane, problem=str(error))
                    again, pause = pause, min(pause * 2, LONGEST_PAUSE)
                except Exception:  # the loop top: reported, then tried again
                    log.exception("lane failed", lanes=self._name, lane=lane)
                    again, pause = pause, min(pause * 2, LONGEST_PAUSE)
                else:
                    pause = FIRST_PAUSE
                if again is not None:
                    await _until(bell, again)
        finally:
            # Nobody can ring between the last look at the bell and here: no await stands between.
            del self._tasks[lane], self._bells[lane]

    async def sweep(
        self, find: Callable[[], Awaitable[Iterable[L]]], *, every: float = 20.0
    ) -> None:
        """Ring every lane that `find` returns, now and every `every` seconds, for ever."""
        while True:
            try:
                for lane in await find():
                    self.ring(lane)
            except StoreBusy as error:
                log.warning("sweep waits", lanes=self._name, problem=str(error))
            except Exception:  # the last net never ends: reported, then tried again
                log.exception("sweep failed", lanes=self._name)
            await asyncio.sleep(every)

    async def idle(self) -> None:
        """Wait until no lane is at work: for tests and an orderly end."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=0.05)

    async def close(self) -> None:
        """Stop every lane; what was unfinished is unfinished on disk too."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(bell: asyncio.Event, seconds: float) -> None:
    """Wait for the bell, but no longer than `seconds`; leave it rung either way."""
    if seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            pass
    bell.set()
