"""One connection: who sends a request must send it whole, and who is answered must read.

The server gives a connection all the time in the world for the head of a request, for its body,
and for taking the answer in. Here each has a deadline that no dripping byte moves, and there are
only so many connections at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from adapters.web.shell import last_words

LINGER = 1.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How long a connection may take, in seconds, and how many there may be."""

    head: float = 10.0
    body: float = 15.0
    taking: float = 60.0  # without room for more of the answer
    connections: int = 800  # below the 1,024 open files that a process has at least


class Line(H11Protocol):
    """A connection within bounds."""

    def __init__(self, *args: Any, bounds: Bounds, **more: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **more)
        self._bounds = bounds
        self._due: asyncio.TimerHandle | None = None  # the rest of what has begun to come
        self._stuck: asyncio.TimerHandle | None = None  # somebody takes what is sent to them
        self._known: RequestResponseCycle | None = None
        self._leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override,explicit-override]
        """Take a connection; one too many is told so and closed."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections:
            self._end(503, "Too many connections are open: try again.", linger=False)
        else:
            self._arm(self._bounds.head)

    def connection_lost(self, exc: Exception | None) -> None:  # type: ignore[explicit-override]
        """Stop waiting."""
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:  # type: ignore[explicit-override]
        """Read on; whatever has begun must end in time."""
        if self._leaving or self.transport.is_closing():
            return
        super().data_received(data)
        cycle = self._asked()
        if cycle is not None and cycle is self._known and cycle.response_complete:
            if not cycle.more_body and self._due is None:
                self._arm(self._bounds.head)  # the next request has begun
        else:
            self._look()

    def on_response_complete(self) -> None:  # type: ignore[explicit-override]
        """Go on with a request that came behind the one just answered."""
        super().on_response_complete()
        self._look()

    def _asked(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, whatever its type says

    def _look(self) -> None:
        """Notice a new request: its body is due now, and nothing when that is here."""
        cycle = self._asked()
        if cycle is None:
            return
        if cycle is not self._known:
            self._known = cycle
            self._disarm()
            if cycle.more_body:
                self._arm(self._bounds.body)
        elif not cycle.more_body:
            self._disarm()

    def _arm(self, seconds: float) -> None:
        self._due = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _too_slow(self) -> None:
        cycle = self._asked()
        if cycle is not None and cycle.more_body and not cycle.response_started:
            self._end(408, "The request took too long to arrive.")
        else:
            self._leave(linger=cycle is not None)

    def _end(self, status: int, message: str, *, linger: bool = True) -> None:
        """Say why, and close; whoever works on the request hears that nobody waits."""
        cycle = self._asked()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(last_words(status, message))
        self._leave(linger=linger)

    def _leave(self, *, linger: bool) -> None:
        """Close; `linger` so that what was said last is read.

        The system takes an answer back where a connection is closed with bytes that nobody has
        read: what still comes is let in for a while, and thrown away.
        """
        cycle = self._asked()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._disarm()
        if self._leaving or self.transport.is_closing():
            return
        if not linger:
            self.transport.close()
            return
        self._leaving = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self._due = self.loop.call_later(LINGER, self.transport.close)

    def send_400_response(self, msg: str) -> None:  # type: ignore[explicit-override]
        """Refuse what is no HTTP, in the one form of our refusals."""
        self._end(400, msg)

    def pause_writing(self) -> None:  # type: ignore[explicit-override]
        """Wait for somebody who reads slowly, but not for ever."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self._bounds.taking, self.transport.abort)

    def resume_writing(self) -> None:  # type: ignore[explicit-override]
        """Go on: there is room again."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()
