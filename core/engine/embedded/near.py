"""Find written lines that say what a labelled row says, by `python -m core.engine.embedded.near`.

A line that stands in DIR/dev too, or nearly so, would be measured on what was trained on. Near
means that two texts share seven tenths of their character n-grams (Jaccard), case, digits and
punctuation aside. Lists such lines; with --remove it takes them out of written/. Exit code 1 when
some were found and left.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core.errors import SetupError

WRITTEN = Path(__file__).with_name("written")
NEAR = 0.7
_EAST = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
log = logging.getLogger("heed.near")


def plain(text: str) -> str:
    """Return the letters of a text, lower case, words parted by one space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    letters = "".join(sign if sign.isalpha() else " " for sign in folded)
    return " ".join(letters.split())


def grams(text: str) -> frozenset[str]:
    """Return the n-grams of a plain text: three letters, or two signs of an eastern script."""
    size = 2 if _EAST.search(text) else 3
    if size == 2:
        text = text.replace(" ", "")
    if len(text) <= size:
        return frozenset({text})
    return frozenset(text[at : at + size] for at in range(len(text) - size + 1))


class Shelf:
    """Texts to compare with, found by the n-grams that they share."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._sizes: list[int] = []
        self._by_gram: dict[str, list[int]] = defaultdict(list)
        for text in {plain(text) for text in texts} - {""}:
            found = grams(text)
            for gram in found:
                self._by_gram[gram].append(len(self._sizes))
            self._sizes.append(len(found))

    def near(self, text: str) -> bool:
        """Say whether some text here is the same or nearly so."""
        mine = grams(plain(text))
        shared: Counter[int] = Counter()
        for gram in mine:
            shared.update(self._by_gram.get(gram, ()))
        return any(
            both >= NEAR * (len(mine) + self._sizes[at] - both) for at, both in shared.items()
        )


def dev_texts(data: Path) -> Iterator[str]:
    """Yield the text of every row in DIR/dev. Raises SetupError where there is none."""
    files = sorted((data / "dev").glob("*.jsonl.gz"))
    if not files:
        raise SetupError(f"{data} has no dev/*.jsonl.gz: give --data the folder that holds it.")
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check from the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.engine.embedded.near")
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/")
    parser.add_argument("--remove", action="store_true", help="take the lines out")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shelf, found = Shelf(dev_texts(chosen.data)), 0
    for file in sorted(WRITTEN.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        left = [line for line in lines if not shelf.near(json.loads(line)["text"])]
        found += len(lines) - len(left)
        if len(left) < len(lines):
            log.info("%s: %d of %d lines", file.name, len(lines) - len(left), len(lines))
        if chosen.remove:
            file.write_text("".join(left), encoding="utf-8")
    log.info("%d lines stand in dev, or nearly so%s", found, ": removed" if chosen.remove else "")
    return 1 if found and not chosen.remove else 0


if __name__ == "__main__":
    sys.exit(main())
