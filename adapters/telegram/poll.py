"""The getUpdates loop: fetch, store, and only then confirm.

The call whose `offset` confirms a batch is made after the transaction that stored it. The loop
ends only by being cancelled: whatever Telegram answers, it notes it once, waits and asks again.
Nobody asks a flag whether it runs; the age of its last good poll tells.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from adapters.telegram.intake import number
from adapters.telegram.normalize import ALLOWED
from adapters.telegram.outcome import REJECTED
from core.errors import HeedError, RetryAfter, StoreError
from core.ports import Clock, Health

SLACK = 10.0  # seconds an answer may be late, above the poll's own timeout
_TWO_POLLERS = "another program polls Telegram with the same token: stop one of the two"

_ALLOWED = json.dumps(ALLOWED)
_NUMBER = re.compile(rb'"update_id"\s*:\s*(\d{1,18})(?!\d)')

Store = Callable[[list[Any], int], Awaitable[None]]  # (raw updates, the offset that confirms them)

log = logging.getLogger(__name__)


class BadPoll(HeedError):
    """A poll that brought nothing we can use."""


class Rejected(BadPoll):
    """401 or 404: most likely the token is wrong, yet one of them may be a hiccup."""


class Unreadable(BadPoll):
    """A good answer whose body no parser takes; `body` is what came."""

    def __init__(self, body: bytes) -> None:
        super().__init__("answered with something that cannot be read")
        self.body = body


class Pulse:
    """How the connection is, told by the last good poll; raises the alarm once per trouble."""

    def __init__(self, clock: Clock, window: float, on_alarm: Callable[[str], None]) -> None:
        self._clock, self._window, self._alarm = clock, window, on_alarm
        self._last_good: float | None = None
        self._since = clock()
        self._alarmed = False
        self._rejected = False
        self.problem = ""

    def good(self) -> None:
        """Note a good poll."""
        if self.problem:
            log.info("Telegram is back")
        self._last_good = self._clock()
        self._alarmed = self._rejected = False
        self.problem = ""

    def bad(self, problem: str, *, rejected: bool = False) -> None:
        """Note a bad poll; the same problem is logged once."""
        if problem != self.problem:
            log.warning("Telegram: %s", problem)
        self.problem, self._rejected = problem, rejected
        if not self._alarmed and (rejected or self.age() > self._window):
            self._alarmed = True
            self._alarm(problem)

    @property
    def known(self) -> bool:
        """Whether a poll has been good yet."""
        return self._last_good is not None

    def age(self) -> float:
        """Return the seconds since the last good poll, or since the start."""
        since = self._since if self._last_good is None else self._last_good
        return self._clock() - since

    def health(self, name: str) -> Health:
        """Say how the connection is."""
        late = self.age() > self._window
        if late or self._rejected or (self.problem and not self.known):
            silent = f"Telegram has not answered for {self.age():.0f} s"
            return Health(state="failing", name=name, problem=self.problem or silent)
        return Health(state="ok" if self.known else "connecting", name=name)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing pauses: `first` seconds, doubling up to `longest`."""

    first: float = 1.0
    longest: float = 60.0

    def __iter__(self) -> Iterator[float]:
        pause = self.first
        while True:
            yield pause
            pause = min(pause * 2, self.longest)


class Poll:
    """One poller. `store` raises StoreError when nothing was stored."""

    def __init__(self, transport: HTTPXRequest, address: str, timeout: float) -> None:
        self._transport, self._address, self._timeout = transport, address, timeout
        self._strange = b""  # the last body that could not be read

    async def run(self, store: Store, pulse: Pulse, backoff: Backoff) -> None:
        """Fetch and store until cancelled.

        The first call names no offset: what was stored but not confirmed comes again and is
        dropped by the inbox key. An offset kept from long ago would be dangerous, because after a
        week of silence Telegram goes on with any number, perhaps a lower one. For the same reason
        an offset is used once: the call that names it makes Telegram forget what lies below.

        Until an answer came the poll is a short one: whether we are connected is known at once,
        not only when somebody writes.
        """
        offset, pauses = 0, iter(backoff)
        while True:
            try:
                updates = await self._fetch(offset, self._timeout if pulse.known else 0.0)
                offset, self._strange = 0, b""
                if updates:
                    offset = _after(updates)
                    await store(updates, offset)
            except Unreadable as error:
                offset = await self._set_aside(error, store, pulse)
                await asyncio.sleep(next(pauses))
            except (BadPoll, StoreError, RetryAfter) as error:
                if isinstance(error, StoreError):
                    offset = 0  # nothing was stored, so nothing may be confirmed
                pulse.bad(str(error), rejected=isinstance(error, Rejected))
                asked = error.seconds if isinstance(error, RetryAfter) else 0.0
                await asyncio.sleep(max(next(pauses), asked))
            else:
                pulse.good()
                pauses = iter(backoff)

    async def _set_aside(self, error: Unreadable, store: Store, pulse: Pulse) -> int:
        """Park the one update that no parser takes; return the offset that confirms it, or 0.

        Broken on the way, an answer never comes twice in the same bytes. One that does is
        Telegram's own: then updates are asked for one by one until the strange one stands alone.
        """
        pulse.bad(str(error))
        again, self._strange = error.body == self._strange, error.body
        numbers = _NUMBER.findall(error.body)
        if not again or len(numbers) != 1:
            return 0
        offset = int(numbers[0]) + 1
        try:
            await store([error.body], offset)
        except StoreError as problem:
            pulse.bad(str(problem))
            return 0
        self._strange = b""
        return offset

    async def _fetch(self, offset: int, seconds: float) -> list[Any]:
        """Return the raw updates of a poll of so many seconds. Raises BadPoll, or RetryAfter."""
        most = 1 if self._strange else 100
        query = {"limit": most, "timeout": int(seconds), "allowed_updates": _ALLOWED}
        if offset:
            query["offset"] = offset
        try:
            async with asyncio.timeout(seconds + SLACK):  # also against a body that drips
                status, body = await self._transport.do_request(
                    f"{self._address}/getUpdates?{urlencode(query)}", "GET"
                )
        except (TelegramError, TimeoutError) as error:
            raise BadPoll("cannot be reached, or the connection broke") from error
        if status in {401, 404}:
            raise Rejected(REJECTED)
        if status == 409:
            raise BadPoll(_TWO_POLLERS)
        answer = _json(body)
        if answer is None and status == 200:
            raise Unreadable(body)
        answer = answer or {}
        if status == 429:
            raise RetryAfter(_seconds(answer))
        updates = answer.get("result")
        if status != 200 or not isinstance(updates, list):
            raise BadPoll(f"answered with status {status} and no updates")
        return updates


def _json(body: bytes) -> dict[str, Any] | None:
    """Return the answer's object, empty where it is another value; None: it cannot be read."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else {}


def _seconds(answer: dict[str, Any]) -> float:
    """Return how long a 429 asks to wait, 1 s where it does not say; at most five minutes."""
    parameters = answer.get("parameters")
    asked = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return min(float(asked), 300.0) if isinstance(asked, int | float) else 1.0


def _after(updates: list[Any]) -> int:
    """Return the offset that confirms a batch. Raises BadPoll when nothing in it has a number."""
    numbers = [each for update in updates if (each := number(update)) is not None]
    if not numbers:
        raise BadPoll("sent updates without numbers")
    return max(numbers) + 1
