"""The numbers by which a message and its answer are known."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER = re.compile(r"k\d\d\d?")


def numbers(texts: Sequence[str]) -> list[str]:
    """Return the numbers that messages carry, in order."""
    return [number for text in texts for number in NUMBER.findall(text)]
