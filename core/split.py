"""Cut a long Markdown text into parts that one platform message can hold, each valid by itself.

A part ends where a reader would pause: after a paragraph, else before a block, else after a line,
a sentence, a word. A code fence is never left open at the end of a part: it is closed there and
opened again, with the same language tag, at the head of the next one. What would be broken by a
cut (an item of a list, a row of a table, a heading, a link, bold words) goes whole into the next
part as long as it fits into one at all. Nothing is lost but whitespace at a border, and no
character that a person sees as one (an emoji with its skin tone, a letter with its accent) is
torn apart while there is any other way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import regex  # type: ignore[import-untyped]

from core.markdown import Event, lead, lined, read
from core.message import TextLimit

SMALLEST = 16  # below this a fence and one visible character do not fit together

_OPENING = re.compile(r"(?P<mark>`{3,}|~{3,})[^\n]*")
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n")
_LINE = re.compile(r"\r?\n")
_SENTENCE = re.compile(r"(?:[.!?…]+[\"'»”’)\]]*(?=\s)|[。！？]+[」』”’）]*)")
_WORD = re.compile(r"\s+")
_LONG_WORD = re.compile(r"\s*(\S+)")
_BLOCK = re.compile(  # what begins a block of another kind when it begins a line
    r"[ \t]*(?:(?:[-+*]|#{1,6}|\d{1,9}[.)])(?:\s|\Z)"
    r"|[>|]|`{3}|~{3}|[-_*]{3}|\[[^\]\n]+\]:|</?[a-z!?])",
    re.IGNORECASE,
)
_SPOILER = re.compile(r"\|\|[^|\n]+\|\|")
_WHOLE = frozenset(
    {"Link", "Image", "Strong", "Emphasis", "Strikethrough", "Heading", "TableHead", "TableRow"}
)
_GRAPHEME = regex.compile(r"\X")
_CLUSTER = 64  # characters; one that is seen as one is hardly ever longer


@dataclass(frozen=True, slots=True)
class _Fence:
    """A block of code that stands at text[start:end], where its line begins at `line`."""

    line: int
    start: int
    end: int
    opening: str  # its first line, without what stands before it
    mark: str
    before: str  # what stands before each of its lines: the marks of a quote, or blanks

    @property
    def body(self) -> int:
        return self.start + len(self.opening) + 1


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
    rest = text if measure(text, limit) <= limit.size else lined(text)
    while rest.strip():
        if measure(rest, limit) <= limit.size:
            return [*parts, rest]
        part, rest = _Cutting(rest, limit).made()
        if part.strip():
            parts.append(part)
    return parts


def graphemes(text: str) -> list[str]:
    """Return what is seen as one character each."""
    return _GRAPHEME.findall(text)  # type: ignore[no-any-return]


class _Cutting:
    """One part cut off the head of a text that is too long for it."""

    def __init__(self, text: str, limit: TextLimit) -> None:
        self.text, self.limit = text, limit
        self.reach = _reach(text, limit.size, limit)
        events = read(text[: 2 * self.reach + _CLUSTER])  # what matters here ends not far behind
        self.items = [e for e in events if e.kind == "Item" and e.edge == "("]
        self.lists = [e for e in events if e.kind == "List" and e.edge == "("]
        self.fences = list(self._fences(events))
        self.early = self.reach * 2 // 5  # a border before this would waste the message
        self.kept = self._kept(events)

    def made(self) -> tuple[str, str]:
        """Return the part and the text after it."""
        cut = self._cut()
        body, rest = self.text[:cut], self.text[cut:]
        fence = self._fence(cut)
        if fence is None:
            return body.rstrip(), self._without_border(cut)
        part = f"{body.rstrip()}\n{fence.before}{fence.mark}"
        inside = rest[: fence.end - cut]
        closing = re.match(rf"\n?[ \t>]*{re.escape(fence.mark)}[ \t]*\Z", inside)
        if closing:  # the fence ends just here: its own last line fits where ours was to go
            return part, _trimmed(rest[len(inside) :])
        return part, self._opened_again(fence, inside) + rest[len(inside) :]

    def _opened_again(self, fence: _Fence, inside: str) -> str:
        """Return the rest of a fence as one of its own; quoted, or else not moved to the right."""
        torn = not inside.startswith("\n")  # the cut is in the middle of a line
        inside, before = inside.removeprefix("\n"), fence.before
        if ">" not in before:
            inside = re.sub(rf"(?m)^[ \t]{{0,{len(before)}}}", "", inside)
            before = ""
        elif torn:
            inside = before + inside
        line = before + fence.opening
        short = measure(line, self.limit) <= self.limit.size // 3
        return f"{line if short else before + fence.mark}\n{inside}"

    # -- where to cut ------------------------------------------------------------------------

    def _cut(self) -> int:
        """Return where to end the part: the best border there is, at least 1."""
        borders = [list(find()) for find in (self._paragraphs, self._blocks, self._lines)]
        borders += [list(self._inside(pattern)) for pattern in (_SENTENCE, _WORD)]
        for some in borders:
            if late := [at for at in some if at > self.early]:
                return late[-1]
        early = max((at for some in borders for at in some), default=0)
        return early if early and not self._torn_anyway(early) else self._hard()

    def _torn_anyway(self, at: int) -> bool:
        """Say whether the word behind a border is longer than a whole part can hold."""
        word = _LONG_WORD.match(self.text, at, at + self.limit.size + _CLUSTER)
        return word is not None and measure(word[1], self.limit) > self.limit.size

    def _paragraphs(self) -> Iterator[int]:
        for found in _PARAGRAPH.finditer(self.text, 0, self.reach + 2):
            if self._free(found.start()) and self._fence(found.start()) is None:
                yield found.start()

    def _blocks(self) -> Iterator[int]:
        starts = {self.text.rfind("\n", 0, one.start) for one in self.items}
        starts |= {fence.line - 1 for fence in self.fences}
        starts |= {fence.end for fence in self.fences if self.text[fence.end :][:1] == "\n"}
        for at in sorted(starts):
            if at > 0 and self._free(at) and self._fence(at) is None:
                yield at

    def _lines(self) -> Iterator[int]:
        for found in _LINE.finditer(self.text, 0, self.reach + 1):
            at = found.start()
            fence = self._fence(at)
            inside = (
                fence is not None
                and fence.body <= at <= self._reach_in(fence)
                and bool(self.text[fence.body : at].strip())  # no empty block
            )
            if inside or (fence is None and self._free(at)):
                yield at

    def _inside(self, pattern: re.Pattern[str]) -> Iterator[int]:
        """Yield the borders of sentences or words, but where a word would pass for a mark."""
        for found in pattern.finditer(self.text, 0, self.reach + 1):
            at = found.end() if pattern is _SENTENCE else found.start()
            after = found.end() + (pattern is _SENTENCE and self.text[found.end() :][:1] == " ")
            if self._free(at) and self._fence(at) is None and not _BLOCK.match(self.text, after):
                yield at

    def _free(self, at: int) -> bool:
        """Say whether a cut leaves something before it, fits, and breaks nothing."""
        return 0 < at <= self.reach and not self.kept[at] and bool(self.text[:at].strip())

    def _hard(self) -> int:
        """Return the last place between two characters; beside what must be kept, if possible."""
        fence = self._fence(self.reach)
        if fence is None:
            at = self.reach
            while at > 0 and self.kept[at]:
                at -= 1
            return _between(self.text, 0, at if at > 0 else self.reach)
        if self.reach < fence.body or self._reach_in(fence) < fence.body:
            return _between(self.text, 0, max(1, fence.line - 1 if fence.line else self.reach))
        closing = self.text.rfind("\n", 0, fence.end)
        if closing >= fence.body and self._reach_in(fence) >= closing:
            return closing
        return _between(self.text, fence.body, self._reach_in(fence))

    def _fence(self, at: int) -> _Fence | None:
        """Return the fence that a cut would leave open."""
        return next((one for one in self.fences if one.start < at < one.end), None)

    def _reach_in(self, fence: _Fence) -> int:
        """Return how far a part reaches that has to close a fence: a line more is to fit in."""
        closing = measure(f"\n{fence.before}{fence.mark}", self.limit)
        return _reach(self.text, self.limit.size - closing, self.limit)

    # -- what stands there -------------------------------------------------------------------

    def _fences(self, events: Sequence[Event]) -> Iterator[_Fence]:
        for one in events:
            opening = _OPENING.match(self.text, one.start)
            if one.kind != "CodeBlock" or one.edge != "(" or not isinstance(one.value, dict):
                continue
            if opening is None or len(opening["mark"]) > 4:  # too long a mark to be carried over
                continue
            before = lead(self.text, one.start)
            if measure(before + opening[0], self.limit) > self.limit.size // 2:
                continue  # and so is its line
            yield _Fence(
                line=self.text.rfind("\n", 0, one.start) + 1,
                start=one.start,
                end=one.end if self.text[one.end - 1 : one.end] != "\n" else one.end - 1,
                opening=opening[0].rstrip(),
                mark=opening["mark"],
                before=before,
            )

    def _kept(self, events: Sequence[Event]) -> bytearray:
        """Return a mark for each place where a cut would break what fits into a part."""
        kept = bytearray(self.reach + 2)
        whole = [(e.start, e.end) for e in events if e.kind == "Code"]
        whole += [(e.start, e.end) for e in events if e.edge == "(" and e.kind in _WHOLE]
        whole += [found.span() for found in _SPOILER.finditer(self.text, 0, 2 * self.reach)]
        whole += list(_own_words(events))
        for start, far in whole:
            words = self.text[start:far].rstrip()
            if measure(words, self.limit) <= self.limit.size:
                end = min(start + len(words), self.reach + 2)
                kept[start + 1 : end] = b"\1" * max(0, end - start - 1)
        return kept

    def _without_border(self, cut: int) -> str:
        """Return the text after a cut; the rest of a list is moved to the left as a whole."""
        rest = _trimmed(self.text[cut:])
        at = len(self.text) - len(rest)
        end = max((one.end for one in self.lists if one.start <= at < one.end), default=at)
        if end == at:
            return rest
        first, *others = self.text[at:end].split("\n")
        moved = first.lstrip(" \t")
        begins = any(one.start == at + len(first) - len(moved) for one in self.items)
        told = [first, *others] if begins else others  # else what stands below it follows it
        blank = next((len(line) - len(line.lstrip()) for line in told if line.strip()), 0)
        below = takewhile(lambda line: not line.strip() or line[:blank].isspace(), others)
        left = [line[blank:] for line in below] if blank else []
        return "\n".join([moved, *left, *others[len(left) :]]) + self.text[end:]


def _own_words(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """Yield each item of a list up to the items below it."""
    open_item: list[int] = []
    for one in events:
        if one.kind == "List" and one.edge == "(" and open_item:
            if open_item[-1] >= 0:
                yield open_item[-1], one.start
            open_item[-1] = -1
        elif one.kind == "Item" and one.edge == "(":
            open_item.append(one.start)
        elif one.kind == "Item" and one.edge == ")":
            start = open_item.pop()
            if start >= 0:
                yield start, one.end


def _reach(text: str, room: int, limit: TextLimit) -> int:
    """Return how many characters of `text` fit into `room` units."""
    if not limit.utf16:
        return max(0, min(len(text), room))
    used = 0
    for index, char in enumerate(text):
        used += 2 if char > "\uffff" else 1
        if used > room:
            return index
    return len(text)


def _between(text: str, first: int, reach: int) -> int:
    """Return the last place in text[first:reach] that tears no visible character, or `reach`."""
    at = last = first
    for found in _GRAPHEME.finditer(text, first, reach + _CLUSTER):
        at = found.end()
        if at > reach:
            break
        if not _torn(text, at):
            last = at
    return last if last > first else max(first + 1, reach)


def _torn(text: str, at: int) -> bool:
    """Say whether a cut would part a sign from the backslash before it, or two halves."""
    before, after = text[at - 1], text[at : at + 1]
    return before == "\\" or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")


def _trimmed(text: str) -> str:
    """Drop blank lines at the start, or the spaces at a word border; keep a line's indent."""
    blank = re.match(r"(?:[ \t\r]*\n)+", text)
    return text[blank.end() :] if blank else text.lstrip(" \t")
