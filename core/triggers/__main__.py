"""How well the phrase lists do on labelled lines: `python -m core.triggers [FILE.jsonl ...]`.

A line is a JSON object with `text`, `lang` and the flags `wants_human`, `threat_to_leave` and
`crisis` (0 or 1). Without files: the written lines beside the shipped table. The tenth of them that
is held out for judging stays unseen unless `--all` is given. What is printed is what the words
alone find; the rules also look at scores.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from core.triggers import match

Row = dict[str, Any]

_LISTS = {"request": "wants_human", "threat": "threat_to_leave", "crisis": "crisis"}
_WRITTEN = Path(__file__).parent.parent / "engine" / "embedded" / "written"
_WORDS_ALONE = ("_lex.jsonl", "_words.jsonl")  # marked for mood alone, not for what they call for


def main(arguments: list[str] | None = None) -> None:
    """Print precision, recall and F1 of each list per language, and what was missed."""
    parser = argparse.ArgumentParser(prog="python -m core.triggers", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="labelled lines, JSON a line")
    parser.add_argument("--all", action="store_true", help="with the tenth that is held out")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="show N of each kind")
    parser.add_argument("--list", choices=_LISTS, default="crisis", help="whose misses to show")
    asked = parser.parse_args(arguments)
    rows = list(_rows(asked.files or _written(), everything=asked.all))
    for line in (*_table(rows), *_misses(rows, asked.list, asked.misses)):
        sys.stdout.write(f"{line}\n")


def _written() -> list[Path]:
    return [p for p in sorted(_WRITTEN.glob("*.jsonl")) if not p.name.endswith(_WORDS_ALONE)]


def _rows(files: Iterable[Path], *, everything: bool) -> Iterator[Row]:
    """Read the rows, each with what `match` found in it."""
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            if everything or not _held_out(row):
                yield row | {"found": match(row["text"])}


def _held_out(row: Row) -> bool:
    """Say whether a row is kept for judging: the same tenth that training never sees."""
    return "id" in row and zlib.crc32(f"{row['id']}~".encode()) / 2**32 < 0.1


def _table(rows: list[Row]) -> Iterator[str]:
    yield "list     lang    yes  found  precision  recall     F1"
    for kind, flag in _LISTS.items():
        for language in (*sorted({row["lang"] for row in rows}), "all"):
            counts = Counter(
                (bool(row[flag]), bool(getattr(row["found"], kind)))
                for row in rows
                if flag in row and language in {row["lang"], "all"}
            )
            right = counts[True, True]
            yes, said = right + counts[True, False], right + counts[False, True]
            if yes:
                yield (
                    f"{kind:<8} {language:<5} {yes:>5} {said:>6} {right / max(said, 1):>10.1%} "
                    f"{right / yes:>7.1%} {2 * right / (yes + said):>6.1%}"
                )


def _misses(rows: list[Row], kind: str, number: int) -> Iterator[str]:
    """Give the first so many rows that a list misses, and that it finds wrongly."""
    flag = _LISTS[kind]
    missed = [row for row in rows if row.get(flag) and not getattr(row["found"], kind)]
    wrong = [row for row in rows if not row.get(flag) and getattr(row["found"], kind)]
    for row in missed[:number]:
        yield f"missed  {row['lang']}  {row['text']!r}"
    for row in wrong[:number]:
        yield f'wrong   {row["lang"]}  {row["text"]!r}: "{getattr(row["found"], kind)}"'


if __name__ == "__main__":
    main()
