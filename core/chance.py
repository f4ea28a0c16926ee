"""Where chance comes from: one source for the process, which a simulation replaces by its own.

Whoever needs something that nobody can guess asks here. The source is the operating system's own;
only where one seed must be one trace is it `drawn_from` another.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager

_sources: list[random.Random] = [random.SystemRandom()]


@contextmanager
def drawn_from(source: random.Random) -> Iterator[None]:
    """Draw everything from `source` meanwhile, in every thread and task."""
    _sources.append(source)
    try:
        yield
    finally:
        _sources.remove(source)


def token(size: int = 16) -> str:
    """Return `size` random bytes as text for addresses: letters, digits, - and _."""
    drawn = _sources[-1].randbytes(size)
    return base64.urlsafe_b64encode(drawn).rstrip(b"=").decode()


def letters(alphabet: str, size: int) -> str:
    """Return `size` letters of an alphabet, each drawn by itself."""
    return "".join(_sources[-1].choices(alphabet, k=size))
