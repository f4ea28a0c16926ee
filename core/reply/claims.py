"""What a program must not say of itself: that it is a person, or that it has acted or will pay.

The phrases are data (claims.toml), few and precise. A phrase after one of the `unless` words of its
clause ("once I have sent it") claims nothing.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

from core.reply.tongue import plain

KINDS = {"person": "claims to be a person", "acted": "claims to have acted", "promise": "promises"}
_CLAUSE = re.compile(r"[.,!?;。，！？；\n]")
_APOSTROPHES = str.maketrans("’‘ʼ`", "''''")


def claim(text: str) -> str:
    """Return what a text wrongly claims, in the words of `KINDS`; empty: nothing."""
    told = plain(text.translate(_APOSTROPHES))
    for kind, patterns, unless in _phrases():
        for found in patterns.finditer(told):
            if unless is None or not unless.search(_before(told, found.start())):
                return KINDS[kind]
    return ""


def _before(text: str, at: int) -> str:
    """Return what stands before a place in its clause."""
    return _CLAUSE.split(text[max(0, at - 80) : at])[-1]


@cache
def _phrases() -> tuple[tuple[str, re.Pattern[str], re.Pattern[str] | None], ...]:
    source = resources.files(__name__.rpartition(".")[0]).joinpath("claims.toml").read_text("utf-8")
    found = []
    for table in tomllib.loads(source).values():
        unless = table.get("unless", "")
        denied = re.compile(unless, re.IGNORECASE) if unless else None
        for kind in KINDS:
            patterns = re.compile("|".join(f"(?:{one})" for one in table[kind]), re.IGNORECASE)
            found.append((kind, patterns, denied))
    return tuple(found)
