"""Cut a long text into parts that one platform message can hold.

A part ends where a reader would pause: after a paragraph, else a line, else a sentence, else a
word. A code fence is never left open at the end of a part: it is closed there and opened again,
with the same language tag, at the head of the next one. Nothing is lost but whitespace at a
border, and no character that a person sees as one (an emoji with its skin tone, a letter with
its accent) is torn apart while there is any other way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from core.message import TextLimit

SMALLEST = 16  # below this a fence and one visible character do not fit together

_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})(?P<tag>[^\n`]*)")
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n")
_SENTENCE = re.compile(r"[.!?…]+[\"'»”’)\]]*(?=\s)|[。！？]+[」』”’）]*")
_WORD = re.compile(r"\s+")
_ZWJ = "\u200d"


@dataclass(frozen=True, slots=True)
class _Fence:
    """An open code fence: its marker, and the line that opened it."""

    mark: str
    line: str


def measure(text: str, limit: TextLimit) -> int:
    """Return the length of `text` in the units of `limit`."""
    if not limit.utf16:
        return len(text)
    return len(text) + sum(char > "\uffff" for char in text)


def split(text: str, limit: TextLimit) -> list[str]:
    """Return the parts of `text`, in order, none longer than `limit`; [] when there is nothing.

    Raises ValueError for a limit below 16.
    """
    if limit.size < SMALLEST:
        raise ValueError(f"a text limit must be at least {SMALLEST}, not {limit.size}")
    parts: list[str] = []
    rest, fence = text, None
    while rest.strip():
        part, rest, fence = _first_part(rest, fence, limit)
        if part.strip():
            parts.append(part)
    return parts


def _first_part(
    text: str, fence: _Fence | None, limit: TextLimit
) -> tuple[str, str, _Fence | None]:
    """Return one part, the text after it, and the fence that is open between the two."""
    head = _head(fence, limit)
    room = limit.size - measure(head, limit)
    reach = _reach(text, room, limit)
    if reach == len(text):
        return head + text, "", None
    longest = max((len(mark) for mark in _marks(text[:reach], fence)), default=-1)
    most, reach = reach, _reach(text, room - longest - 1, limit)  # a newline and a closing marker
    cut = _cut(text, reach, most, fence)
    body, rest = text[:cut], text[cut:]
    still_open = _fence_after(body, fence)
    if still_open is None:
        return head + body.rstrip(), _without_border(rest), None
    closing = re.match(r"\n?[ \t]*" + still_open.mark + r"[ \t]*(?=\n|\Z)", rest)
    if closing:  # the fence ends just here: its own last line fits where ours was to go
        return _closed(head, body, still_open), _without_border(rest[closing.end() :]), None
    return _closed(head, body, still_open), rest.removeprefix("\n"), still_open


def _head(fence: _Fence | None, limit: TextLimit) -> str:
    """Return the line that opens a carried fence again; without its tag where that is absurd."""
    if fence is None:
        return ""
    if measure(fence.line, limit) <= limit.size // 3:
        return fence.line + "\n"
    return fence.mark + "\n"


def _closed(head: str, body: str, fence: _Fence) -> str:
    return head + body.rstrip() + "\n" + fence.mark


def _reach(text: str, room: int, limit: TextLimit) -> int:
    """Return how many characters of `text` fit into `room` units."""
    if not limit.utf16:
        return min(len(text), room)
    used = 0
    for index, char in enumerate(text):
        used += 2 if char > "\uffff" else 1
        if used > room:
            return index
    return len(text)


def _marks(text: str, fence: _Fence | None) -> Iterator[str]:
    """Yield the marker of every fence line in `text`, and of the fence that is open before it."""
    if fence is not None:
        yield fence.mark
    for line in text.split("\n"):
        if match := _fence_line(line):
            yield match["mark"]


def _fence_line(line: str) -> re.Match[str] | None:
    """Return the match of a fence line; a marker too long to be carried over is plain text."""
    match = _FENCE.fullmatch(line.rstrip("\r"))
    return match if match and len(match["mark"]) <= 4 else None


def _fence_after(text: str, fence: _Fence | None) -> _Fence | None:
    """Return the fence that is open after `text`, given the one open before it."""
    for line in text.split("\n"):
        match = _fence_line(line)
        if match is None:
            continue
        mark = match["mark"]
        if fence is None:
            fence = _Fence(mark, line.strip())
        elif mark.startswith(fence.mark) and not match["tag"].strip():
            fence = None
    return fence


def _cut(text: str, reach: int, most: int, fence: _Fence | None) -> int:
    """Return where to end a part: the best border up to `reach`, at least 1.

    Up to `most` there is room too, but only for what needs no closing marker after it.
    """
    window = text[: reach + 1]  # one more, so that a border exactly at the end is seen
    early = reach * 2 // 5  # a border before this would waste the message
    paragraphs = [match.start() for match in _PARAGRAPH.finditer(window)]
    for at in reversed(paragraphs):
        if early < at <= reach and _fence_after(text[:at], fence) is None:
            return at
    for at in range(reach, early, -1):
        if window[at : at + 1] == "\n" and not _ends_with_opening(text[:at], fence):
            return at
    open_here = _fence_after(window[: window.rfind("\n") + 1], fence)
    if open_here is None:
        for pattern in (_SENTENCE, _WORD):
            ends = [
                m.end() if pattern is _SENTENCE else m.start() for m in pattern.finditer(window)
            ]
            if good := [at for at in ends if early < at <= reach]:
                return good[-1]
    return _between_graphemes(text, _beside_fence_line(text, reach, most, fence))


def _ends_with_opening(text: str, fence: _Fence | None) -> bool:
    """Say whether the last line of `text` opens a fence, which would leave an empty block."""
    before, _, last = text.rpartition("\n")
    return _fence_line(last) is not None and (
        _fence_after(before, fence) is None and _fence_after(text, fence) is not None
    )


def _beside_fence_line(text: str, reach: int, most: int, fence: _Fence | None) -> int:
    """Move a hard cut off the fence line it would tear: behind a closing one, before another."""
    start = text.rfind("\n", 0, reach) + 1
    end = text.find("\n", reach)
    match = _fence_line(text[start : len(text) if end < 0 else end])
    if match is None:
        return reach
    behind = start + match.end("mark")
    if behind <= most and _fence_after(text[:behind], fence) is None:
        return behind
    for at in range(start - 1, 0, -1):
        if text[at] == "\n" and text[:at].strip() and not _ends_with_opening(text[:at], fence):
            return at
    return reach


def _between_graphemes(text: str, reach: int) -> int:
    """Return the last place up to `reach` that tears no visible character, or `reach` itself."""
    for at in range(reach, max(0, reach - 64), -1):
        if not _joined(text, at):
            return at
    return max(1, reach)


def _joined(text: str, at: int) -> bool:
    """Say whether the characters before and after `at` are seen as one."""
    if at >= len(text):
        return False
    before, after = text[at - 1], text[at]
    if (
        _ZWJ in {before, after}
        or (before, after) == ("\r", "\n")
        or unicodedata.category(after) in {"Mn", "Mc", "Me"}
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= after <= "\U000e007f"  # tags, as in the flags of England and Wales
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    ):
        return True
    flags = 0  # two regional indicators make one flag: count those before the cut
    while flags < at and _regional(text[at - 1 - flags]):
        flags += 1
    return _regional(after) and flags % 2 == 1


def _regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _without_border(text: str) -> str:
    """Drop blank lines at the start, or the spaces at a word border; keep a line's indent."""
    blank = re.match(r"(?:[ \t\r]*\n)+", text)
    return text[blank.end() :] if blank else text.lstrip(" \t")
