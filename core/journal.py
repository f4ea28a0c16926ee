"""What the walk leaves behind for whoever watches: lines in the log, and figures.

A line names a message by its row and never by its words. The ids of the turn or the delivery at
hand stand in every line that is written meanwhile, whoever writes it (`about`). Nothing is made of
a line that nobody reads, so that a message costs the same without a log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

NAME = "heed.walk"
_level = logging.getLogger(NAME)
_lines = structlog.get_logger(NAME)


def about(**ids: Any) -> None:  # noqa: ANN401 - numbers and lists of them
    """Let these ids, and no others, stand in every line of this task from now on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**ids)


def named(rows: Sequence[int]) -> dict[str, Any]:
    """Return how a burst of inbox rows is named: its first row, and the others beside it."""
    return {"inbox": rows[0], **({"also": list(rows[1:])} if rows[1:] else {})}


def detail(event: str, /, **facts: Any) -> None:  # noqa: ANN401 - what JSON can hold
    """Write a step down for whoever looks closely (log.level debug)."""
    if _level.isEnabledFor(logging.DEBUG):
        _lines.debug(event, **facts)


def milestone(event: str, /, **facts: Any) -> None:  # noqa: ANN401 - what JSON can hold
    """Write down what came of a message: one or two lines for each."""
    if _level.isEnabledFor(logging.INFO):
        _lines.info(event, **facts)


class Meter(Protocol):
    """Counts and times what happens. Names and labels are few and fixed, and name nobody."""

    def count(self, name: str, /, **labels: str) -> None:
        """Count one more."""
        ...

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Note how long one took."""
        ...


class Unmeasured:
    """A meter that nobody reads."""

    def count(self, name: str, /, **labels: str) -> None:
        """Count nothing."""

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Note nothing."""


class Course:
    """One turn: what came of it, and how long its steps took."""

    def __init__(self, meter: Meter, clock: Callable[[], float], arrived: float) -> None:
        self.meter = meter
        self.outcome = "done"  # in one word; one of few
        self.took: dict[str, int] = {}  # milliseconds
        self._clock = clock
        self._arrived = arrived  # when the message was taken in
        self._last = clock()
        self.since_arrival("turn_wait")

    def lap(self, step: str) -> None:
        """Note how long a step took: all since the last one."""
        last, self._last = self._last, self._clock()
        self._note(step, self._last - last)

    def since_arrival(self, step: str) -> None:
        """Note how long its person has waited for something."""
        self._note(step, self._clock() - self._arrived)

    def _note(self, step: str, seconds: float) -> None:
        seconds = max(0.0, seconds)  # a clock may be set back
        self.took[step] = round(seconds * 1000)
        self.meter.observe(step, seconds)
