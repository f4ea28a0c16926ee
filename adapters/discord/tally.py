"""Refused calls, counted: Discord bans an address for 10,000 of them in ten minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp

from core.errors import RetryAfter
from core.ports import Clock

WINDOW = 600.0  # seconds
MANY, TOO_MANY = 1_000, 8_000  # when the operator is told, and when nothing more is sent
_REFUSED = frozenset({401, 403, 429})


class Tally:
    """Counts what one bot's web side was refused in the last ten minutes."""

    def __init__(self, clock: Clock, on_alarm: Callable[[str], None]) -> None:
        self._clock = clock
        self._on_alarm = on_alarm
        self._times: deque[float] = deque(maxlen=TOO_MANY)
        self._told_at = -WINDOW

    def count(self, status: int) -> None:
        """Take note of an answer; tells the operator once in ten minutes."""
        if status not in _REFUSED:
            return
        now = self._clock()
        self._times.append(now)
        many = len(self._times) >= MANY and now - self._times[-MANY] < WINDOW
        if many and now - self._told_at >= WINDOW:
            self._told_at = now
            self._on_alarm(
                f"Discord refused {MANY} calls of the bot in ten minutes, and bans it at 10000: "
                "look in the log for what it refuses, and give the bot that right or take it out "
                "of that server."
            )

    def check(self) -> None:
        """Raise RetryAfter while another refusal could be one too many."""
        if len(self._times) < TOO_MANY:
            return
        wait = self._times[0] + WINDOW - self._clock()
        if wait > 0:
            raise RetryAfter(wait)

    def listen(self, config: aiohttp.TraceConfig) -> None:
        """Let an HTTP client of this configuration report its answers here."""

        async def ended(
            _session: aiohttp.ClientSession,
            _context: SimpleNamespace,
            params: aiohttp.TraceRequestEndParams,
        ) -> None:
            self.count(params.response.status)

        config.on_request_end.append(ended)
