"""What is looked for in a reply before anybody reads it. Pure: a text and its bounds, no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.reply.claims import KINDS, claim
from core.reply.facts import facts_in
from core.reply.leaks import leaks
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
_BROKEN = re.compile("[\ud800-\udfff\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # ruins of a text
_SIGNED = re.compile(
    r"\A\s*[^\n·.!?]{1,40} · [^\n·.!?]{1,40}(?:\n|\Z)"
)  # as what staff write is signed


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
    yield "broken" if _BROKEN.search(text) else ""
    yield "role tokens" if _ROLE_TOKENS.search(text) else ""
    yield "repetition" if loops(text) else ""
    yield "leaked prompt" if secret and leaks(text, secret) else ""
    yield KINDS["person"] if _SIGNED.match(text) else claim(text)
    yield INVENTED if bounds.known is not None and facts_in(text) - bounds.known else ""
    yield LANGUAGE if whole and strange(text, bounds) else ""


def strange(text: str, bounds: Bounds) -> bool:
    """Say whether a text is in a language that the person does not write in."""
    return bool(bounds.asked) and foreign(text, bounds.asked, bounds.before, bounds.fixed)
