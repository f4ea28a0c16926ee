"""A door that nothing comes through: for an adapter that is asked something and serves nobody."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import StoreError
from core.message import Arrival

SHUT = "nothing is taken in here"


class Shut:
    """See core.ports.Door; nothing is stored, so nothing is ever confirmed to a platform."""

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """Refuse."""
        del arrivals, cursor
        raise StoreError(SHUT)

    async def read_cursor(self, name: str) -> str | None:
        """Know nothing."""
        del name
        return None

    async def cursors(self, prefix: str) -> dict[str, str]:
        """Know nothing."""
        del prefix
        return {}
