"""First answers to interactions: Discord waits three seconds for one, whatever else is slow.

What was done is stored before it is answered; a database that takes longer is announced, and what
became of it is told afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from adapters.discord.interactions import (
    DEFERRED,
    DONE,
    LATER,
    NOTED,
    Right,
    Rights,
    choices,
    form,
    typed,
)
from adapters.discord.normalize import Payload, ident
from adapters.discord.rest import Pace, Rest
from core.errors import DeliveryError, OutcomeUnknown, StoreError
from core.ports import Question

_log = logging.getLogger(__name__)

Suggest = Callable[[str, str], Awaitable[list[str]]]  # a command, and what is typed after it


async def nothing_to_suggest(_command: str, _typed: str) -> list[str]:
    """Stand in for a desk's suggestions."""
    return []


class Callbacks:
    """Answers interactions of one bot for the first time.

    `questions` by the two letters in a button's data; `lost` is what the sender is told of
    something that could not be stored.
    """

    def __init__(
        self,
        rest: Rest,
        rights: Rights,
        *,
        questions: Mapping[str, Question],
        suggest: Suggest,
        lost: str,
        pace: Pace,
    ) -> None:
        self._rest = rest
        self._rights = rights
        self._questions = questions
        self._suggest = suggest
        self._lost = lost
        self._pace = pace

    async def ask(self, data: Payload) -> bool:
        """Ask what a pressed button asks; False when it asks nothing. Raises MALFORMED."""
        asked = form(data, self._questions)
        if asked is not None:
            await self._answer(data, asked)
        return asked is not None

    async def offer(self, data: Payload, *, at_desk: bool) -> bool:
        """Suggest what a command's text may be; False when nobody is typing one.

        Only staff at their desk are told names. Raises MALFORMED.
        """
        begun = typed(data)
        if begun is None:
            return False
        found: list[str] = []
        try:
            async with asyncio.timeout(self._pace.answer):
                if at_desk:
                    found = await self._suggest(*begun)
        except (StoreError, TimeoutError) as error:
            _log.warning("no suggestions for /%s: %r", begun[0], error)
        await self._answer(data, choices(found))
        return True

    def right(self, data: Payload) -> Right:
        """Remember the right to answer that an interaction gives. Raises MALFORMED."""
        return self._rights.keep(data)

    async def take(self, data: Payload, right: Right, keep: Coroutine[Any, Any, bool]) -> None:
        """Let `keep` store what was done, and say so once it is stored, or that it takes longer."""
        if not await self._kept(data, keep):
            self._rights.drop(ident(data["id"]))
        right.open.set()

    async def _kept(self, data: Payload, keep: Coroutine[Any, Any, bool]) -> bool:
        """Store and answer; False when the sender cannot be told anything."""
        pressed = "message" in data
        async with asyncio.TaskGroup() as both:
            keeping = both.create_task(keep)
            await asyncio.wait({keeping}, timeout=self._pace.answer)
            late = not keeping.done()
            heard = late and await self._answer(data, DEFERRED if pressed else LATER)
        kept = keeping.result()
        if not late:
            return kept and await self._answer(data, DEFERRED if pressed else NOTED)
        if heard and not (kept and pressed):
            try:
                await self._rest.amend(data, DONE if kept else self._lost, first=not pressed)
            except DeliveryError as error:
                _log.warning("interaction %s heard nothing more: %s", data["id"], error)
        return heard

    async def _answer(self, data: Payload, answer: Mapping[str, Any]) -> bool:
        """Answer for the first time; False when Discord does not take it."""
        try:
            await self._rest.acknowledge(data, answer)
        except OutcomeUnknown as error:
            _log.warning("whether interaction %s was answered is unknown: %s", data["id"], error)
        except DeliveryError as error:
            _log.warning("interaction %s was not answered: %s", data["id"], error)
            return False
        return True
