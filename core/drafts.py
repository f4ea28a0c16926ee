"""A suggested answer for staff: what the machine would say, which nobody sends but a human."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from core.engine.mind import Mind
from core.engine.ports import Limits, Started, Writer
from core.errors import EngineError
from core.message import Level
from core.ports import Clock
from core.reply import fault
from core.store import Store, last_words

PATIENCE = 20.0  # seconds; staff wait for it
_UNFIT = frozenset({"empty", "too long", "broken", "role tokens", "repetition", "leaked prompt"})


@dataclass(frozen=True, kw_only=True)
class Drafter:
    """Writes suggestions with whatever engine speaks; where it cannot, with the phrase book."""

    store: Store
    mind: Mind
    clock: Clock
    limits: Limits
    secret: Callable[[], str] = str  # what the model alone was told

    async def suggest(self, conversation_id: int) -> tuple[str, str]:
        """Return a suggestion for the person's last words, and which model made it.

        Both are empty where the person has said nothing.
        """
        request = await self.store.read(
            partial(last_words.request, conversation_id=conversation_id, now=self.clock())
        )
        if request is None:
            return "", ""
        hearing = await self.mind.tag_and_start(request)
        started, writer = hearing.started, hearing.writer
        if started is None or writer is None:
            started, writer = await self.mind.start(request), self.mind.phrases
        with suppress(EngineError, TimeoutError):
            text = await self._written(writer, started, request.level)
            if writer is self.mind.phrases or fault(text, secret=self.secret()) not in _UNFIT:
                return text, started.model
        started = await self.mind.start(request)
        return await self._written(self.mind.phrases, started, request.level), started.model

    async def _written(self, writer: Writer, started: Started, level: Level) -> str:
        """Let a reply be written to its end, and leave the engine as if nobody had asked."""
        whole = False
        try:
            async with asyncio.timeout(PATIENCE):
                pieces = writer.continue_reply(started, self.limits, level)
                text = "".join([piece async for piece in pieces]).strip()
            whole = True
        finally:
            await (writer.settle(started, kept=False) if whole else writer.cancel(started))
        return text
