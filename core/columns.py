"""Tables in a Markdown text, for platforms that know none: columns of a fixed width, as code.

A table too wide for a screen becomes a list, of which each item is a row with its column's names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from core.markdown import Event, lead, lined, read, rewritten
from core.split import graphemes

WIDEST = 60  # columns of a screen
_GROWTH = 4  # times its own length is the most that a table may become


def width(text: str) -> int:
    """Return how many columns of a screen a line takes; a wide character takes two."""
    return sum(map(_wide, graphemes(text)))


def tabled(text: str) -> str:
    """Return a Markdown text with its tables laid out."""
    if "|" not in text:
        return text
    text = lined(text)
    events = read(text)
    return rewritten(text, _tables(text, events))


def _tables(text: str, events: Sequence[Event]) -> Iterator[tuple[int, int, str]]:
    begun = 0
    for number, one in enumerate(events):
        if one.kind != "Table":
            continue
        if one.edge == "(":
            begun = number
            continue
        source = text[one.start : one.end]
        end = one.start + len(source.rstrip())
        inner = events[begun + 1 : number]
        before = lead(text, one.start)
        lines = _laid_out(text, inner, events[begun].value)
        if sum(map(len, lines)) > _GROWTH * len(source) + 100:
            lines = _fenced([line.removeprefix(before) for line in source.splitlines()])
        yield one.start, end, f"\n{before}".join(lines)


def _laid_out(text: str, inner: Sequence[Event], sides: Sequence[str]) -> list[str]:
    rows = list(_rows(text, inner, plain=True))
    widest = [max(map(width, column)) for column in zip_longest(*rows, fillvalue="")]
    if sum(widest) + 3 * (len(widest) - 1) > WIDEST and len(rows) > 1:
        return _listed(list(_rows(text, inner, plain=False)))
    lines = [_line(row, widest, sides) for row in rows]
    return _fenced([lines[0], "-+-".join("-" * each for each in widest), *lines[1:]])


def _fenced(lines: list[str]) -> list[str]:
    mark = "````" if any("```" in line for line in lines) else "```"
    return [mark, *lines, mark]


def _listed(rows: list[list[str]]) -> list[str]:
    """Return the rows as items of a list, each cell after its column's name."""
    lines = []
    for row in rows[1:]:
        first = "-"
        for name, cell in zip_longest(rows[0], row, fillvalue=""):
            words = f"**{name}:** {cell}" if name and "*" not in name else f"{name} {cell}"
            if cell:
                lines.append(f"{first} {words.strip()}")
                first = " "
    return lines or [", ".join(rows[0])]


def _line(row: Sequence[str], widest: Sequence[int], sides: Sequence[str]) -> str:
    cells = []
    for cell, most, side in zip_longest(row, widest, sides, fillvalue=""):
        blank = int(most or 0) - width(cell)
        left = blank if side == "Right" else blank // 2 if side == "Center" else 0
        cells.append(f"{' ' * left}{cell}{' ' * (blank - left)}")
    return " | ".join(cells).rstrip()


def _rows(text: str, inner: Sequence[Event], *, plain: bool) -> Iterator[list[str]]:
    """Yield the cells of each row, the names of the columns first."""
    row: list[str] = []
    for number, one in enumerate(inner):
        if one.kind == "TableCell" and one.edge == "(":
            row.append(_cell(inner[number + 1 :]) if plain else text[one.start : one.end].strip())
        elif one.kind in ("TableHead", "TableRow") and one.edge == ")":
            yield row
            row = []


def _cell(inner: Sequence[Event]) -> str:
    """Return the words of the cell that begins here, the addresses of its links among them."""
    words, addresses = "", []
    for one in inner:
        if one.kind == "TableCell":
            break
        if one.kind in ("Link", "Image") and one.edge == "(":
            addresses.append((len(words), str(one.value["dest_url"])))
        elif one.kind in ("Link", "Image"):
            start, address = addresses.pop()
            label = words[start:]
            words += f" ({address})" if label and label != address else "" if label else address
        elif isinstance(one.value, str) and not one.edge:
            words += one.value
    return " ".join(words.split())


def _wide(seen: str) -> int:
    if seen[0] == "\u200d" or unicodedata.category(seen[0]) in {"Mn", "Me", "Cf", "Cc"}:
        return 0
    return 2 if "\ufe0f" in seen or any(map(_full, seen)) else 1


def _full(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF" or "\U0001f1e6" <= char <= "\U0001f1ff"
