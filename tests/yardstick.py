"""Fixed work beside which other work is timed: a slow machine is as slow at both.

A bound in seconds alone says more of the machine than of the code. Here the work and a yard of
fixed work take turns, the best of each counts, and what comes out is the seconds that the work
takes where a yard takes 3.1 ms: the bounds were set on such a machine. On a faster one they are
tighter than seconds would be.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

_YARD = 0.0031
_ROUNDS = 9


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that this work takes where a yard takes 3.1 ms."""
    yard, cost = [], []
    for _ in range(_ROUNDS):
        yard.append(_spent(_yard))
        cost.append(_spent(work))
    return _YARD * min(cost) / min(yard)


def _spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _yard() -> int:
    """Name, hash, count and sort six thousand things."""
    counts: dict[int, int] = {}
    for n in range(6000):
        place = zlib.crc32(f"w:{n * 7919}".encode()) & 1023
        counts[place] = counts.get(place, 0) + n
    return sum(place for place, _ in sorted(counts.items(), key=lambda item: -item[1])[:100])
