"""What was heard lately: a dictionary that forgets its oldest entries."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps the newest `most` values by name, so that memory stays bounded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[str, T] = OrderedDict()

    def put(self, name: str, value: T) -> None:
        """Keep a value as the newest."""
        self._held[name] = value
        self._held.move_to_end(name)
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def get(self, name: str) -> T | None:
        """Return a value, or None when it is unknown or forgotten."""
        return self._held.get(name)

    def drop(self, name: str) -> None:
        """Forget a value."""
        self._held.pop(name, None)
