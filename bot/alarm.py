"""Where an alarm goes: to the desk's own chat and to the operator, by a way that still works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from core.clockwork import Clockwork
from core.errors import DeliveryError, StoreError
from core.message import Place, Post
from core.ports import Adapter
from core.store.rows import new_nonce

log = structlog.get_logger(__name__)

NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Says a sentence to whoever must know it."""

    clockwork: Clockwork
    adapters: Mapping[tuple[str, str], Adapter]
    places: Callable[[], Sequence[Place]]  # where staff speak, the preferred one first

    async def tell(
        self,
        words: str,
        avoid: frozenset[str] = NOBODY,
        directly: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Say it by the outbox, or `directly` where the database takes nothing.

        Not by a platform to `avoid`, where nothing leaves. Raises StoreError: nothing was said.
        """
        if directly:
            await self._directly(words)
        else:
            await self.clockwork.tell_operator(words, avoid)

    async def try_to_tell(self, words: str) -> None:
        """Say it by the outbox; while that cannot be written, without it."""
        try:
            await self.clockwork.tell_operator(words)
        except StoreError:
            await self._directly(words)

    async def _directly(self, words: str) -> None:
        """Post it without a row: it may be lost, and is better than silence."""
        for place in self.places():
            adapter = self.adapters.get((place.platform, place.bot))
            if adapter is None:
                continue
            post = Post(
                id=0, kind="digest", place=place, text=words, nonce=new_nonce(), private=False
            )
            try:
                await adapter.deliver(post, _forget)
            except DeliveryError as error:
                log.warning("an alarm was not delivered", cause=type(error).__name__)
            else:
                return


async def _forget(_message_id: str) -> None:
    """Keep no id: there is no row to keep it in."""
