"""How numbers and times are said on the pictures: in words for people, exactly for programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from adapters.web.view import Facts

DAY = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """How numbers and times are said to one reader."""

    words: Facts  # the table `pictures` of the labels
    rules: Facts  # names of the rules
    offset: float  # hours that the reader's clock is ahead of UTC

    def moment(self, at: float) -> datetime:
        """Return a time as the reader's clock shows it."""
        return datetime.fromtimestamp(at, timezone(timedelta(hours=self.offset)))

    def when(self, at: float, size: float) -> str:
        """Return the name of a bucket: a day, or an hour of one."""
        there = self.moment(at)
        day = f"{self.words['days'][there.weekday()]} {there:%Y-%m-%d}"
        return day if size >= DAY else f"{day} {there:%H:%M}"

    def count(self, name: str, n: int) -> str:
        """Return so many of something; the words know one from many."""
        return str(self.words[f"{name}_one" if n == 1 else name]).format(n=grouped(n))

    def seconds(self, value: float | None) -> str:
        """Return a span of time, as roughly as it matters."""
        if value is None:
            return "–"
        if value < 90:
            return str(self.words["seconds"]).format(n=round(value))
        minutes = round(value / 60)
        if minutes < 90:
            return str(self.words["minutes"]).format(n=minutes)
        return str(self.words["hours_minutes"]).format(h=minutes // 60, m=minutes % 60)

    def millis(self, value: float | None) -> str:
        """Return a short time."""
        if value is None:
            return "–"
        if value < 1000:
            return str(self.words["millis"]).format(n=f"{value:.3g}")
        return str(self.words["short_seconds"]).format(n=f"{value / 1000:.1f}")

    def rule(self, name: str) -> str:
        """Return the name of a rule."""
        return str(self.rules.get(name, name)) if name else str(self.words["no_rule"])

    def show(self, kind: str, value: Any, size: float) -> str:  # noqa: ANN401 - a cell
        """Return a cell of a table."""
        if kind == "time":
            return self.when(value, size)
        if kind == "rule":
            return self.rule(value)
        if kind == "word":
            return str(self.words.get(f"is_{value}", value))
        if kind in ("seconds", "millis"):
            return self.seconds(value) if kind == "seconds" else self.millis(value)
        if kind == "share":
            return percent(value)
        return grouped(value)

    def plain(self, kind: str, value: Any) -> str:  # noqa: ANN401 - a cell
        """Return a cell of a CSV file: exact, for programs."""
        if value is None:
            return ""
        if kind == "time":
            return self.moment(value).isoformat(timespec="seconds")
        return f"{value:.4f}" if kind == "share" else str(value)


def grouped(n: int) -> str:
    """Return a count with thin spaces between its thousands."""
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(share: float | None) -> str:
    """Return a share of one in hundredths."""
    return "–" if share is None else f"{share * 100:.0f}\N{NARROW NO-BREAK SPACE}%"


def part(some: float, of: float) -> float | None:
    """Return a share, or None of nothing."""
    return some / of if of else None
