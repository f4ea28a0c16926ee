"""One table of words, and how figures are written in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]
NONE = "–"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A caption, a head and rows of words; the first cell of a row names it.

    A detail is for the report alone: a terminal has no fold to put it behind.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    detail: bool = False

    def lines(self) -> list[str]:
        """Return the table as aligned text."""
        cells = [self.head, *self.rows]
        widths = [max(_width(row[i]) for row in cells) for i in range(len(self.head))]
        told = [f"{self.caption}" + (f" ({self.note})" if self.note else "")]
        for row in cells:
            first = row[0] + " " * (widths[0] - _width(row[0]))
            rest = (" " * (w - _width(c)) + c for c, w in zip(row[1:], widths[1:], strict=True))
            told.append("  ".join(("", first, *rest)).rstrip())
        return told


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as percent, without the sign."""
    return NONE if value is None else f"{100 * value:.{digits}f}"


def figure(found: Mapping[str, Any]) -> str:
    """Return a figure with its interval, in percent."""
    if found["value"] is None or found["low"] is None:
        return percent(found["value"])
    return f"{percent(found['value'])} [{percent(found['low'])}–{percent(found['high'])}]"


def decimal(value: float | None) -> str:
    """Return a number with two digits."""
    return NONE if value is None else f"{value:.2f}"


def counted(number: int, what: str) -> str:
    """Return so many of something, in words."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
