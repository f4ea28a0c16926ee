"""What somebody formatted, as Markdown: Telegram tells it as spans of UTF-16 units.

Pure, as all of the way in. What only looks like Markdown in the text is escaped, so that it reads
on the other side as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from adapters.telegram.attachments import number_of, text_of

GONE = "gone"  # the type of a span that is to be left out

_MARKS = {"bold": "**", "italic": "*", "underline": "__", "strikethrough": "~~", "spoiler": "||"}
_QUOTES = frozenset({"blockquote", "expandable_blockquote"})
_FORMATS = frozenset({*_MARKS, *_QUOTES, "code", "pre", "text_link"})
_AS_WRITTEN = frozenset({"url", "email", "mention", "hashtag", "cashtag", "bot_command"})
_SPECIAL = re.compile(r"[\\*_~`|\[\]<>#]|(?m:^[ \t]*[-+](?=\s))|(?m:(?<=\d)[.)](?=\s))")


class _Span(NamedTuple):
    start: int  # in characters
    end: int
    kind: str
    more: str  # a link's address, a program's language


def marked(text: str, entities: Sequence[Mapping[str, Any]]) -> str:
    """Return a text as Markdown, empty where nothing in it is formatted."""
    spans = sorted(_spans(text, entities), key=lambda span: (span.start, -span.end))
    if not any(span.kind in _FORMATS for span in spans):
        return ""
    return _render(text, 0, len(text), spans).strip()


def _spans(text: str, entities: Sequence[Mapping[str, Any]]) -> list[_Span]:
    """Return the spans we read, counted in characters and without blanks at their ends."""
    units = text.encode("utf-16-le", "surrogatepass")
    found = []
    for entity in entities:
        kind = text_of(entity["type"])
        if kind not in _FORMATS | _AS_WRITTEN | {GONE}:
            continue
        first = number_of(entity["offset"])
        start, end = (
            len(units[: 2 * max(0, at)].decode("utf-16-le", "replace"))
            for at in (first, first + number_of(entity["length"]))
        )
        inside = text[start:end]
        start += len(inside) - len(inside.lstrip())
        end = start + len(inside.strip())
        more = text_of(entity.get("url" if kind == "text_link" else "language", ""))
        if start < end:
            found.append(_Span(start, end, kind, more))
    return found


def _render(text: str, start: int, end: int, spans: Sequence[_Span]) -> str:
    """Write out a stretch of the text; a span that sticks out of another is cut at its end."""
    out, at, left = "", start, list(spans)
    while left:
        outer, *others = left
        inner = [
            span._replace(end=min(span.end, outer.end)) for span in others if span.start < outer.end
        ]
        left = [span for span in others if span.start >= outer.end]
        out += _SPECIAL.sub(_escaped, text[at : outer.start])
        out += _wrapped(text, outer, inner)
        at = outer.end
    return out + _SPECIAL.sub(_escaped, text[at:end])


def _wrapped(text: str, span: _Span, inner: Sequence[_Span]) -> str:
    written = text[span.start : span.end]
    if span.kind == GONE:
        return ""
    if span.kind in _AS_WRITTEN:
        return written
    if span.kind in {"code", "pre"}:
        return _program(text, span)
    shown = _render(text, span.start, span.end, inner)
    if span.kind in _QUOTES:
        rest = "\n" if span.end < len(text) else ""  # else the next line would belong to it
        return _apart(text, span, "\n".join(f"> {line}" for line in shown.split("\n"))) + rest
    if span.kind == "text_link":  # a label must not hide where it leads
        return shown if written == span.more else f"{shown} ({span.more})"
    return f"{_MARKS[span.kind]}{shown}{_MARKS[span.kind]}"


def _program(text: str, span: _Span) -> str:
    """Write out a program, or a word of one, inside its line."""
    written = text[span.start : span.end]
    if span.kind == "pre" or "\n" in written:
        return _apart(text, span, f"```{span.more}\n{written}\n```")
    fence = "``" if "`" in written else "`"
    return f"{fence}{written}{fence}"


def _apart(text: str, span: _Span, block: str) -> str:
    """Return a block on lines of its own."""
    before = "" if not span.start or text[span.start - 1] == "\n" else "\n"
    after = "" if text[span.end : span.end + 1] in {"", "\n"} else "\n"
    return f"{before}{block}{after}"


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    return f"{sign[:-1]}\\{sign[-1]}"
