"""Replies while they are written: a message of the row's own nonce, edited at a pace of its own.

The library waits by itself where Discord says so, and everybody behind it with it: so what is
unfinished goes slower as soon as a call takes long, and rests where a channel stays hot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from adapters.discord.markdown import MOST
from adapters.discord.recent import Recent
from adapters.sketches import Sheet, Sketches
from core.errors import DeliveryError, Refused, RetryAfter, Unreachable
from core.message import Place, Post, Receipt
from core.ports import Clock, Remember, Sketch, Wanted

PATIENCE = 1.5  # seconds that the writing of a reply waits for what shows it
STEP = 1.0  # seconds between two sketches in one channel
SLOW = 1.0  # seconds; a call that took longer has waited for its turn
COOLS = 60.0  # seconds after which the step is halved again
HOT = 4  # times that the step was doubled, from which on nothing unfinished is shown
_CHANNELS = 1000  # whose pace is remembered

log = logging.getLogger(__name__)

Attempt = Callable[[Post, Wanted], Awaitable[Receipt]]  # once, if at all; raises DeliveryError


@dataclass(eq=False)
class _Steps:
    """The pace of one channel."""

    next_at: float = 0.0
    heat: int = 0  # how often the step is doubled,
    heated_at: float = 0.0  # since when


class Sketcher:
    """Shows sketches where the channel is quiet enough. Raises nothing but where it says."""

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._attempt, self._clock = attempt, clock
        self._sketches = Sketches(PATIENCE)
        self._steps: Recent[_Steps] = Recent(_CHANNELS)

    def shows(self, place: Place) -> bool:
        """Say whether anything unfinished is shown in a channel now."""
        return self._heat(self._of(place)) < HOT

    async def show(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show a sketch, or drop it."""
        steps = self._of(place)
        if sketch.text.strip() and self._clock() >= steps.next_at and self.shows(place):
            await self._sketches.show(place, sketch, remember, self._grow)

    async def settle(self, post: Post) -> str | None:
        """End what a post ends; return the message that showed it. See Sketches."""
        return await self._sketches.settle(post)

    async def close(self) -> None:
        """End what is being shown."""
        await self._sketches.close()

    async def _grow(self, sheet: Sheet, sketch: Sketch, remember: Remember) -> None:
        reply = Post(
            id=0,
            kind="reply",
            place=sheet.place,
            text=sketch.text[:MOST],
            nonce=sketch.nonce,
            reply_to=sketch.reply_to,
            private=False,
        )

        async def wanted() -> bool:
            return not sheet.over and await sketch.wanted()

        try:
            if sheet.message_id is not None:
                await self._timed(replace(reply, message_id=sheet.message_id), wanted)
            else:
                receipt = await self._timed(reply, wanted)
                sheet.message_id = receipt.message_id
                await remember(sheet.message_id)
            sheet.text = sketch.text
        except DeliveryError as error:
            log.debug("a reply could not be shown while it is written: %s", error)
            sheet.over = isinstance(error, Refused | Unreachable)

    async def _timed(self, post: Post, wanted: Wanted) -> Receipt:
        """Make a call, and let what follows in its channel go slower if it was slow."""
        steps, began, asked = self._of(post.place), asyncio.get_running_loop().time(), 0.0
        steps.next_at = self._clock() + STEP * 2 ** self._heat(steps)
        try:
            return await self._attempt(post, wanted)
        except RetryAfter as error:
            asked = error.seconds
            raise
        finally:
            now = self._clock()
            if asked or asyncio.get_running_loop().time() - began > SLOW:
                steps.heat, steps.heated_at = min(self._heat(steps) + 1, HOT), now
            steps.next_at = now + max(asked, STEP * 2 ** self._heat(steps))

    def _heat(self, steps: _Steps) -> int:
        return max(0, steps.heat - int((self._clock() - steps.heated_at) / COOLS))

    def _of(self, place: Place) -> _Steps:
        channel = place.thread or place.chat
        steps = self._steps.get(channel) or _Steps()
        self._steps.put(channel, steps)
        return steps
