"""Where a text begins to go round in circles, and what of it is worth keeping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？\n])")
_LONGEST, _AGAIN = 40, 5  # signs of a part that makes a run, and how often it follows itself
_RUN = re.compile(rf"(.{{2,{_LONGEST}}}?)\1{{{_AGAIN},}}", re.DOTALL)
_ONE_SIGN = re.compile(r"(.)\1{99,}|\s{100,}", re.DOTALL)
_WINDOW, _TWICE = 8, 3  # every run has so many windows of so many characters more than once
_TAIL = 20  # characters; a shorter round is a run
_PARAGRAPH = 80  # characters; a round this long need not come a third time


def complete(text: str, known: int = 0) -> str:
    """Return the part of an unfinished text that ends with a whole sentence.

    Its first `known` characters are known to be complete, and are not read again.
    """
    ends = [match.end() for match in SENTENCE_END.finditer(text, known)]
    return text[: ends[-1] if ends else known]


def loops(text: str) -> bool:
    """Say whether a text says nothing any more but what it has said."""
    return _loop(text) is not None


def fresh(text: str) -> str:
    """Return a text up to the first sentence that it has said before: the rest may be a loop."""
    seen: set[str] = set()
    for start, sentence in _sentences(text):
        if sentence in seen:
            return text[:start]
        seen.add(sentence)
    return text


def beginning(text: str) -> str:
    """Return what was said before a loop, in whole sentences; empty where that is too little.

    A text without a loop is taken as cut somewhere. One sentence that the loop only says again is
    no beginning.
    """
    at, least = _loop(text) or (len(text), 1)
    kept = complete(f"{text[:at]} ")
    return kept.strip() if sum(1 for _ in _sentences(kept)) >= least else ""


def _loop(text: str) -> tuple[int, int] | None:
    """Return where a loop begins, and how many sentences before it are worth keeping.

    Of what is said again and again the first time is counted to what was before it; a run of
    signs is worth nothing at all.
    """
    again = ((at, 2) for at in (_said_thrice(text), _rounds(text)) if at is not None)
    run = _run(text)
    return min([*again, *([] if run is None else [(run, 1)])], default=None)


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each sentence begins, and the sentence as it is compared."""
    start = 0
    for end in (*(match.end() for match in SENTENCE_END.finditer(text)), len(text)):
        sentence = text[start:end].strip().lower()
        if len(sentence) > 3:
            yield start, sentence
        start = end


def _said_thrice(text: str) -> int | None:
    sentences = list(_sentences(text))
    often = {one for one, n in Counter(one for _, one in sentences).items() if n >= 3}
    seen: set[str] = set()
    for start, sentence in sentences:
        if sentence in often and sentence in seen:
            return start
        seen.add(sentence)
    return None


def _run(text: str) -> int | None:
    windows = [text[i : i + _WINDOW] for i in range(len(text) - _WINDOW + 1)]
    if len(windows) - len(set(windows)) < _TWICE:  # most texts: the search below is slow
        return None
    if one := _ONE_SIGN.search(text):
        return one.start()
    if not _may_run(text):
        return None
    runs = _RUN.finditer(text)  # a ruler of dashes is none
    return next((run.start() for run in runs if any(map(str.isalnum, run[1]))), None)


def _may_run(text: str) -> bool:
    """Say whether some part of a text is itself again, five times its length, a part further on.

    Every run is. One sign is one digit of a number here: that is many times faster than `_RUN`.
    """
    signs = int.from_bytes(text.encode("utf-32-le", "surrogatepass"), "little")
    size = 4 * len(text)
    return any(
        bytes(4 * _AGAIN * part) in (signs ^ (signs >> (32 * part))).to_bytes(size, "little")
        for part in range(2, min(_LONGEST, len(text) // (_AGAIN + 1)) + 1)
    )


def _rounds(text: str) -> int | None:
    """Find the round that the end of a text repeats, and return where its second time begins."""
    text = text.rstrip()
    size, tail = len(text), text[-_TAIL:]
    at = text.rfind(tail, 0, size - 1) if size > 2 * _TAIL else -1
    while at >= 0:
        period = size - _TAIL - at
        start = size - period
        while start > 0 and text[start - 1] == text[start - 1 + period]:
            start -= 1
        times = (size - start) / period
        enough = times >= 3 or (times >= 2 and period >= _PARAGRAPH)
        if period >= _TAIL and enough and any(map(str.isalnum, text[start : start + period])):
            again = start + period
            end = SENTENCE_END.search(text, max(0, again - 1))  # its stop may be a stop before it
            return end.end() if end is not None and end.end() <= again + 3 else again
        at = text.rfind(tail, 0, at + _TAIL - 1)
    return None
