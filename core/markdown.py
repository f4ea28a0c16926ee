"""How Markdown is read, in one place: what stands where in a text, counted in characters.

It is the reading of CommonMark with tables, strikethrough and task lists. Nothing is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyromark

_READ = (
    pyromark.Options.ENABLE_TABLES
    | pyromark.Options.ENABLE_STRIKETHROUGH
    | pyromark.Options.ENABLE_TASKLISTS
)
_HALF = re.compile("[\ud800-\udfff]")  # of a character: no parser takes one
_BEFORE_TEXT = re.compile(r"[^>\s]")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that begins, ends or stands at text[start:end].

    `kind` is the parser's word for it (Strong, Link, CodeBlock, Text ...) and `value` what it
    says of it: a link's `dest_url` among others, the language of a fenced block, a heading's
    `level`, the text of a Text. `edge` is "(" where it begins, ")" where it ends, else empty.
    """

    kind: str
    start: int
    end: int
    edge: str = ""
    value: Any = None


def lined(text: str) -> str:
    """Return a text whose lines all end in the same way."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read(text: str, *, math: bool = False) -> list[Event]:
    """Return what stands in a text, in its order; `math`: also what stands between dollars."""
    whole = _HALF.sub("?", text)
    at = _characters(whole)
    options = _READ | pyromark.Options.ENABLE_MATH if math else _READ
    return [
        _event(found, at[place["start"]], at[place["end"]])
        for found, place in pyromark.events_with_range(whole, options=options)
    ]


def definitions(text: str) -> list[int]:
    """Return where the addresses stand that links refer to by a name."""
    whole = _HALF.sub("?", text)
    at = _characters(whole)
    return sorted(at[one["span"]["start"]] for one in _defined(whole).values())


def code(events: Iterable[Event]) -> list[tuple[int, int]]:
    """Return the places that are code, where every sign stands for itself."""
    return [
        (one.start, one.end)
        for one in events
        if one.kind == "Code" or (one.kind == "CodeBlock" and one.edge == "(")
    ]


def within(at: int, places: Iterable[tuple[int, int]]) -> bool:
    """Say whether a character stands in one of these places."""
    return any(start <= at < end for start, end in places)


def rewritten(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return a text with other words in some places; of edits that overlap the first counts."""
    out, at = [], 0
    for start, end, words in sorted(edits, key=lambda edit: edit[:2]):
        if start < at:
            continue
        out += [text[at:start], words]
        at = end
    return "".join([*out, text[at:]])


def lead(text: str, start: int) -> str:
    """Return what has to stand before each further line of a block that begins at `start`."""
    return _BEFORE_TEXT.sub(" ", text[text.rfind("\n", 0, start) + 1 : start])


def _characters(text: str) -> Any:  # noqa: ANN401 - byte offset -> character offset
    if text.isascii():
        return range(len(text) + 1)
    starts = accumulate((len(char.encode()) for char in text), initial=0)
    return {byte: char for char, byte in enumerate(starts)}


def _defined(text: str) -> Mapping[str, Any]:
    found: Any = pyromark.reference_definitions(text, options=_READ)
    return found if isinstance(found, Mapping) else {}


def _event(found: Any, start: int, end: int) -> Event:  # noqa: ANN401 - the parser's own shapes
    if isinstance(found, str):
        return Event(found, start, end)
    [(kind, value)] = found.items()
    if kind not in ("Start", "End"):
        return Event(kind, start, end, "", value)
    edge = "(" if kind == "Start" else ")"
    if isinstance(value, str):
        return Event(value, start, end, edge)
    [(kind, inner)] = value.items()
    return Event(kind, start, end, edge, inner)
