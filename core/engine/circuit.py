"""A circuit breaker: who does not answer is left alone for a while, and longer each time.

Without it every message would wait out the patience for a server that is away; with it the next
ones are told at once, and whoever can stand in does so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.errors import EngineError, EngineFailed

Answered = Callable[[], None]


class Circuit:
    """Closed: everybody asks. Open: nobody does. Half-open, after a pause: one attempt decides.

    It opens after `failures` attempts in a row that ended in one of the errors `counted`, first
    for `pause` seconds and twice as long after each attempt that fails again, up to `longest`.
    Any other end is an answer and closes it; an attempt that is cancelled decides nothing.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        counted: tuple[type[EngineError], ...],
        *,
        failures: int = 3,
        pause: float = 5.0,
        longest: float = 60.0,
    ) -> None:
        self._clock = clock
        self._counted = counted
        self._most = failures
        self._first, self._longest = pause, longest
        self._failed = 0  # in a row
        self._pause = pause  # the next one
        self._until: float | None = None  # by `clock`; None: closed
        self._probe: object | None = None  # the one attempt of a half-open circuit

    @property
    def open(self) -> bool:
        """Whether an attempt would be refused now."""
        if self._until is None:
            return False
        return self._probe is not None or self._clock() < self._until

    @property
    def half_open(self) -> bool:
        """Whether just one attempt would be let through now."""
        return self._until is not None and not self.open

    def insist(self, who: str) -> None:
        """Raise EngineFailed while open; `who` is named in it."""
        if self._until is not None and self.open:
            left = max(0.0, self._until - self._clock())
            when = f"asked again in {left:.0f} s" if left else "being asked again just now"
            raise EngineFailed(f"{who} did not answer {self._failed} times in a row: {when}")

    @contextmanager
    def attempt(self, who: str) -> Iterator[Answered]:
        """Ask once, and learn from how that ends. Raises EngineFailed while open.

        What is yielded may be called as soon as an answer has begun: then nobody has to wait for
        its end to be let through.
        """
        self.insist(who)
        ticket = object()
        if self._until is not None:
            self._probe = ticket
        try:
            yield self._answered
        except self._counted:
            self._count(probe=self._probe is ticket)
            raise
        except EngineError:
            self._answered()
            raise
        else:
            self._answered()
        finally:
            if self._probe is ticket:
                self._probe = None

    def _answered(self) -> None:
        self._failed, self._pause, self._until, self._probe = 0, self._first, None, None

    def _count(self, *, probe: bool) -> None:
        """Count a failure; those of attempts begun before it opened say nothing new."""
        if self._until is not None and not probe:
            return
        self._failed += 1
        if self._failed >= self._most:
            self._until = self._clock() + self._pause
            self._pause = min(2 * self._pause, self._longest)
