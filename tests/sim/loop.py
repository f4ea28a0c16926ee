"""An event loop in virtual time: when nothing is ready, the clock jumps to the next timer.

No socket, no thread, no real sleep: a day passes as fast as its events can be carried out, and the
order of everything follows from the program alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Never, TypeVar

T = TypeVar("T")


class Stuck(RuntimeError):
    """Nothing is ready and nothing is due: everybody waits for somebody, for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs coroutines; `time` moves only when everybody waits."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._selector = self  # what `_run_once` asks for events, and how long it may wait for them

    def time(self) -> float:
        return self._virtual

    def select(self, timeout: float | None) -> tuple[()]:
        """Let `timeout` seconds be over."""
        if timeout is None:
            raise Stuck("nothing is ready and no timer is set")
        self._virtual += timeout
        return ()

    def _process_events(self, event_list: tuple[()]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who had to be woken."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Never:  # type: ignore[override] # noqa: ARG002
        raise AssertionError(f"a thread was asked for: {func}")


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return what it returns."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
