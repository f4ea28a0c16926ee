"""Words that carry their formatting along, as Markdown, from one platform to another.

What cannot be carried safely under its speaker's name goes as plain text: too long for one post,
or with code that is not closed, in which a line could pass for somebody else's.
"""

from __future__ import annotations

import re

from core.message import TextLimit
from core.split import SMALLEST, measure, split

_SPECIAL = re.compile(r"([\\*_~`|\[\]<>#])")
_FENCE = "```"
_INDENT = "\u00a0\u00a0"  # blanks that no reader of Markdown takes away


class Marked(str):
    """A text that is Markdown; any other is to be shown as it stands."""

    __slots__ = ()


def escaped(text: str) -> str:
    """Return a plain text as Markdown that reads the same."""
    return _SPECIAL.sub(r"\\\1", text)


def answering(quote: str, words: str) -> str:
    """Return words under a quote of what they answer; without one as they are."""
    if not quote:
        return words
    if isinstance(words, Marked):  # an empty line ends a quote in Markdown
        return Marked(f"> {escaped(quote)}\n\n{words}")
    return f"> {quote}\n{words}"


def below(first: str, text: str, limit: TextLimit) -> tuple[Marked, ...]:
    """Return Markdown under a first line that is plain, as the parts of one text."""
    whole = f"{escaped(first)}\n{text}" if first else text
    return tuple(map(Marked, split(whole, limit)))


def plainly(text: str, limit: TextLimit) -> tuple[str, ...]:
    """Return the parts of a plain text, each short enough also where its signs are escaped."""
    parts: list[str] = []
    for part in split(text, limit):
        longer = measure(escaped(part), limit)
        room = max(SMALLEST, limit.size * limit.size // max(longer, 1))
        fits = longer <= limit.size
        parts += [part] if fits else split(part, TextLimit(size=room, utf16=limit.utf16))
    return tuple(parts)


def said_by(who: str, text: str, limit: TextLimit) -> Marked | None:
    """Return Markdown after its speaker's name, of which no line can pass for another's; or None.

    Code stands on lines of its own; every other line but the first is moved to the right.
    """
    lines, fenced = [], False
    for number, line in enumerate(text.splitlines()):
        fence = line.startswith(_FENCE) and (not fenced or line.strip() == _FENCE)
        if line.count(_FENCE) != fence:
            return None  # code that begins or ends inside a line: platforms differ about it
        first = "\n" if fence else " "
        if number == 0:
            lines.append(f"{escaped(who)}:{first}{line}")
        else:
            lines.append(line if fence or fenced else f"{_INDENT}{line}")
        fenced = fenced is not fence
    whole = "\n".join(lines)
    return Marked(whole) if not fenced and measure(whole, limit) <= limit.size else None
