"""Which of several phrases is said: the next in turn that says nothing said a moment ago."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？\n])")
_NEAR = 2  # replies back in which not even a part may be the same


def turned(texts: Sequence[str], turn: int) -> list[str]:
    """Return the texts beginning with another one each turn."""
    return [texts[(turn + at) % len(texts)] for at in range(len(texts))]


def pick(groups: Sequence[Sequence[str]], own: Sequence[str], standing: Sequence[str]) -> str:
    """Return the first text that repeats nothing of `own`, the last replies, oldest first.

    Earlier groups go before later ones as long as they have something fresh: no sentence of the
    last replies, or at least none of the nearest ones. `standing` may be said again and again.
    Where everything has been said it is what was said longest ago.
    """
    said = [sentences(line, standing) for line in own]
    far = frozenset[str]().union(*said)
    near = frozenset[str]().union(*said[-_NEAR:])
    tests: tuple[Callable[[str], bool], ...] = (
        lambda text: sentences(text, standing).isdisjoint(far),
        lambda text: text not in own and sentences(text, standing).isdisjoint(near),
    )
    for group in groups:
        for test in tests:
            for text in group:
                if test(text):
                    return text
    every = [text for group in groups for text in group]
    return min(every, key=lambda text: _last(text, own))


def sentences(text: str, standing: Sequence[str] = ()) -> frozenset[str]:
    """Return the sentences of a text as they are compared, without the standing ones."""
    for offer in standing:
        text = text.replace(offer, " ").replace(offer[:1].upper() + offer[1:], " ")
    parts = (part.strip(" ;:,.，；：。").lower() for part in _END.split(text))
    return frozenset(part for part in parts if any(map(str.isalnum, part)))


def _last(text: str, own: Sequence[str]) -> int:
    return max((at for at, line in enumerate(own, 1) if line == text), default=0)
