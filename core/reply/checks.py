"""What is looked for in a reply before anybody reads it. Pure: a text and its bounds, no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from core.reply.claims import claim
from core.reply.facts import facts_in
from core.reply.loops import loops
from core.reply.tongue import foreign

LONGEST = 6000  # characters; a reply beyond it has lost its way
LANGUAGE = "other language"
INVENTED = "invented facts"
CURED = ("repetition", "too long")  # the sentences before such a fault may be said
_ROLE_TOKENS = re.compile(
    r"<\|[^|>\n]{1,40}\|>|<\|im_|\|im_(start|end)\||</?s>|\[/?INST\]|<<SYS>>"
    r"|^\s*(system|assistant|user)\s*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_LEAK_WORDS = 12  # so many words of the prompt in a row are a leak
_LEAK_SIGNS = 30  # the same for scripts without spaces


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a reply to one burst of messages is held against."""

    secret: str = ""  # must not be repeated
    asked: tuple[str, ...] = ()  # the burst
    before: tuple[str, ...] = ()  # what the person wrote earlier, oldest first
    fixed: frozenset[str] = frozenset()  # languages that have fixed texts
    known: frozenset[str] | None = None  # the only facts that may be named; None: any


FREE = Bounds()


def fault(text: str, *, secret: str = "", bounds: Bounds = FREE, whole: bool = True) -> str:
    """Return what is wrong with a reply by its name, or an empty string.

    `secret` must not be repeated. Of a reply that is not `whole` yet its language is not judged.
    """
    if not text.strip():
        return "empty"
    return next(filter(None, _faults(text, secret or bounds.secret, bounds, whole=whole)), "")


def _faults(text: str, secret: str, bounds: Bounds, *, whole: bool) -> Iterator[str]:
    """Yield each fault's name, or nothing in its place; what costs little is looked for first."""
    yield "too long" if len(text) > LONGEST else ""
    yield "role tokens" if _ROLE_TOKENS.search(text) else ""
    yield "repetition" if loops(text) else ""
    yield "leaked prompt" if secret and _leaks(text, secret) else ""
    yield claim(text)
    yield INVENTED if bounds.known is not None and facts_in(text) - bounds.known else ""
    yield LANGUAGE if whole and strange(text, bounds) else ""


def strange(text: str, bounds: Bounds) -> bool:
    """Say whether a text is in a language that the person does not write in."""
    return bool(bounds.asked) and foreign(text, bounds.asked, bounds.before, bounds.fixed)


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
