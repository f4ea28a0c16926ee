"""Write one reply: stream it in whole sentences, check it, and fall back to a safe sentence.

Nothing is shown before it has passed the checks, and nothing is said that failed them: a reply
with role tokens, a leaked prompt, or one sentence over and over becomes a fixed, honest text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from core.engine.ports import Limits, Started, Writer
from core.errors import EngineError
from core.message import Level

Show = Callable[[str], Awaitable[bool]]  # the text so far; False: stop, somebody took over

_ROLE_TOKENS = re.compile(
    r"<\|[^|>\n]{1,40}\|>|<\|im_|\|im_(start|end)\||</?s>|\[/?INST\]|<<SYS>>"
    r"|^\s*(system|assistant|user)\s*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？\n])")
_LONGEST = 6000  # characters; a reply beyond it has lost its way
_LEAK_WORDS = 12  # so many words of the prompt in a row are a leak
_LEAK_SIGNS = 30  # the same for scripts without spaces
_RUN = re.compile(r"(.{2,40}?)\1{5,}", re.DOTALL)
_WINDOW, _TWICE = 8, 3  # every run has so many windows of so many characters more than once


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A finished reply."""

    text: str
    problem: str = ""  # why the fallback was taken; empty: the engine's own words
    failed: bool = False  # the engine itself failed
    stopped: bool = False  # somebody took over while it was written
    shown: str = ""


def fault(text: str, *, secret: str = "") -> str:
    """Return what is wrong with a reply, or an empty string. `secret` must not be repeated."""
    if not text.strip():
        return "empty"
    if len(text) > _LONGEST:
        return "too long"
    if _ROLE_TOKENS.search(text):
        return "role tokens"
    if _repeats(text):
        return "repetition"
    if secret and _leaks(text, secret):
        return "leaked prompt"
    return ""


def _repeats(text: str) -> bool:
    sentences = [s.lower() for part in _SENTENCE_END.split(text) if len(s := part.strip()) > 3]
    if len(sentences) >= 3 and max(Counter(sentences).values()) >= 3:
        return True
    windows = [text[i : i + _WINDOW] for i in range(len(text) - _WINDOW + 1)]
    if len(windows) - len(set(windows)) < _TWICE:  # most texts: the search below is slow
        return False
    runs = _RUN.finditer(text)
    return any(any(map(str.isalnum, run[1])) for run in runs)  # a ruler of dashes is none


def _leaks(text: str, secret: str) -> bool:
    runs, pieces = _told(secret)
    if not runs.isdisjoint(_runs(text)):
        return True
    return bool(pieces) and not pieces.isdisjoint(_pieces(text))


@lru_cache(maxsize=4)
def _told(secret: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return what of a secret must not be said: its runs of words, its pieces without spaces."""
    spaceless = re.search(r"[\u3040-\u9fff]", secret)
    return frozenset(_runs(secret)), frozenset(_pieces(secret) if spaceless else ())


def _runs(text: str) -> Iterator[str]:
    words = text.lower().split()
    return (" ".join(words[i : i + _LEAK_WORDS]) for i in range(len(words) - _LEAK_WORDS + 1))


def _pieces(text: str) -> Iterator[str]:
    return (text[i : i + _LEAK_SIGNS] for i in range(len(text) - _LEAK_SIGNS + 1))


def complete(text: str, known: int = 0) -> str:
    """Return the part of an unfinished text that ends with a whole sentence.

    Its first `known` characters are known to be complete, and are not read again.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text, known)]
    return text[: ends[-1] if ends else known]


async def write(  # noqa: PLR0913 - the walk's one call, all by name
    writer: Writer,
    started: Started,
    *,
    limits: Limits,
    level: Level,
    fallback: str,
    secret: str = "",
    show: Show,
    live: bool = False,
) -> Written:
    """Speak a started reply. `show` gets the guarded text so far each time it has grown.

    `live` shows every piece at once: for reviewed texts, which need no guard. The rest is shown
    by whole sentences that passed every check.
    """
    text = shown = ""
    try:
        async for piece in writer.continue_reply(started, limits, level):
            text += piece
            ready = text if live else complete(text, len(shown))
            if len(ready) <= len(shown) or (not live and fault(ready, secret=secret)):
                continue
            shown = ready
            if not await show(shown):
                await writer.cancel(started)
                return Written(text=text, stopped=True, shown=shown)
    except EngineError as error:
        return Written(text=fallback, problem=str(error), failed=True, shown=shown)
    text = text.strip()
    problem = fault(text, secret=secret)
    if problem:
        return Written(text=fallback, problem=problem, shown=shown)
    return Written(text=text, shown=shown)
