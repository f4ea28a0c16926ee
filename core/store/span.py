"""A stretch of time in buckets of the browser's own clock, and of whom it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Table, cast, func

from core.store.connection import Connection

HOUR, DAY, WEEK = 3600.0, 86400.0, 7 * 86400.0
BY_HOURS = 3 * DAY  # longest range told by hours

Filter = Sequence[ColumnElement[bool]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """From when until when, in whose hours, and of whom."""

    since: float
    until: float
    shift: float  # seconds that the browser's clock is ahead of UTC
    people: Select[Any] | None  # ids of the conversations that count; None: all

    @property
    def size(self) -> float:
        """Seconds in a bucket."""
        return HOUR if self.until - self.since <= BY_HOURS else DAY

    def within(self, at: ColumnElement[float]) -> ColumnElement[bool]:
        """Say that a time lies in the range."""
        return (at >= self.since) & (at < self.until)

    def number(self, at: float, size: float) -> int:
        """Return the number of the bucket of a time."""
        return int((at + self.shift) // size)

    def starts(self) -> dict[int, float]:
        """Return when each bucket begins, by its number; none is left out."""
        first, last = (self.number(at, self.size) for at in (self.since, self.until - 0.001))
        return {n: n * self.size - self.shift for n in range(first, last + 1)}

    def of(self, table: Table) -> Filter:
        """Say that a row is of somebody who counts."""
        return [] if self.people is None else [table.c.conversation_id.in_(self.people)]


def bucket(connection: Connection, span: Range, at: Any, size: float) -> ColumnElement[int]:  # noqa: ANN401
    """Return the number of the bucket that a time of a row lies in."""
    return whole(connection, (at + span.shift) / size)


def whole(connection: Connection, value: Any) -> ColumnElement[int]:  # noqa: ANN401
    """Round down what is never negative: SQLite's cast does that, others round to the nearest."""
    if connection.dialect.name != "sqlite":
        value = func.floor(value)
    return cast(value, Integer)


def quantiles(counted: Iterable[tuple[float, int]]) -> tuple[float | None, float | None]:
    """Return median and 90th percentile of counted values, each a value that is there."""
    values = sorted(counted)
    total = sum(n for _, n in values)
    if not total:
        return None, None
    found = []
    for share in (0.5, 0.9):
        passed = 0
        for value, n in values:
            passed += n
            if passed >= share * total:
                found.append(value)
                break
    return found[0], found[1]
