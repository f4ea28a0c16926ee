"""Replies while they are written: one call at a time for each, and nobody waits long for it.

A call that takes long goes on by itself, since what it shows must be known: later sketches of the
same reply are dropped meanwhile, and its final text waits, so that nothing older comes after it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.message import Place, Post
from core.ports import Remember, Sketch

_KEPT = 1000  # replies that are remembered, so that nothing comes after their end


@dataclass(kw_only=True, eq=False)
class Sheet:
    """What is known of one reply: the message that shows it, and what that reads now."""

    place: Place
    message_id: str | None
    text: str = ""
    over: bool = False  # nothing unfinished may be shown any more
    call: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something of it is being shown at this moment."""
        return self.call is not None and not self.call.done()


Draw = Callable[[Sheet, Sketch, Remember], Awaitable[None]]  # raises nothing


class Sketches:
    """Shows sketches, as long as the replies that they belong to are not delivered."""

    def __init__(self, patience: float) -> None:
        self._patience = patience  # seconds that the writing of a reply waits for what shows it
        self._sheets: OrderedDict[str, Sheet] = OrderedDict()  # by nonce

    async def show(self, place: Place, sketch: Sketch, remember: Remember, draw: Draw) -> None:
        """Let `draw` show a sketch, unless its reply is over or still being shown."""
        sheet = self._sheets.get(sketch.nonce)
        if sheet is None:
            sheet = Sheet(place=place, message_id=sketch.message_id)
            self._sheets[sketch.nonce] = sheet
            self._forget()
        if sheet.over or sheet.busy or sheet.text == sketch.text:
            return
        sheet.call = asyncio.ensure_future(draw(sheet, sketch, remember))
        await asyncio.wait({sheet.call}, timeout=self._patience)

    async def settle(self, post: Post) -> str | None:
        """End the sketches of the reply that a post ends; return the message that showed them.

        Waits for the one that is being shown.
        """
        sheet = self._sheets.get(post.nonce) or self._by_message(post)
        if sheet is None:
            return None
        sheet.over = True
        if sheet.call is not None:
            await asyncio.wait({sheet.call})
        return sheet.message_id

    def _by_message(self, post: Post) -> Sheet | None:
        if post.message_id is None:
            return None
        return next(
            (
                sheet
                for sheet in self._sheets.values()
                if sheet.message_id == post.message_id and sheet.place == post.place
            ),
            None,
        )

    def _forget(self) -> None:
        """Forget the oldest replies of which nothing is being shown."""
        for nonce in [n for n, sheet in self._sheets.items() if not sheet.busy]:
            if len(self._sheets) <= _KEPT:
                return
            del self._sheets[nonce]

    async def close(self) -> None:
        """End what is being shown: the connections are going away."""
        calls = [sheet.call for sheet in self._sheets.values() if sheet.call is not None]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
