"""Replies while they are written: a draft in a private chat, in a group a message that grows.

A draft goes by itself. In a group the placeholder of the reply is sent first and its id committed,
so that whatever becomes of the rest, the answer is edited into that message. Nothing here raises.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

import telegram

from adapters.sketches import Sheet, Sketches
from adapters.telegram.line import Line, thread_of
from adapters.telegram.markup import MOST, sendable
from adapters.telegram.outcome import NotModified
from core.errors import DeliveryError, Refused
from core.message import Place, Post
from core.ports import Remember, Sketch

PATIENCE = 1.5  # seconds that the writing of a reply waits for what shows it
REST = 30.0  # seconds without drafts for a chat where one took longer

log = logging.getLogger(__name__)


class Hand(Protocol):
    """What writes into a chat."""

    async def begin(self, post: Post) -> str:
        """Send a reply's placeholder, and return its id."""
        ...

    async def go_on(self, post: Post, message_id: int) -> None:
        """Edit the text so far into it."""
        ...


class Sketcher:
    """Shows sketches where the chat has slots to spare."""

    def __init__(self, bot: telegram.Bot, line: Line, hand: Hand) -> None:
        self._bot, self._line, self._hand = bot, line, hand
        self._sketches = Sketches(PATIENCE)

    def shows(self, place: Place) -> bool:
        """Say whether there is room for what is unfinished: a group's minute may be used up."""
        return not self._line.crowded(place)

    async def show(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show a sketch, or drop it."""
        if not sketch.text.strip():
            return
        if place.chat.startswith("-"):
            await self._sketches.show(place, sketch, remember, self._grow)
        else:
            await self._draft(place, sketch)

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
            text=_beginning(sketch.text),
            nonce=sketch.nonce,
            reply_to=sketch.reply_to,
            private=False,
        )
        try:
            if sheet.message_id is None:
                if not self._line.spare(sheet.place):
                    return
                sheet.message_id = await self._hand.begin(reply)
                await remember(sheet.message_id)
            elif not self._line.spare(sheet.place):
                return
            if not sheet.over and await sketch.wanted():  # the placeholder took its time
                with suppress(NotModified):
                    await self._hand.go_on(reply, int(sheet.message_id))
                sheet.text = sketch.text
        except DeliveryError as error:
            log.debug("a reply could not be shown while it is written: %s", error)
            sheet.over = sheet.message_id is None or isinstance(error, Refused)

    async def _draft(self, place: Place, sketch: Sketch) -> None:
        if not self._line.spare(place, slot=False):
            return
        shown, number = sendable(sketch.text[-MOST // 2 :]), abs(sketch.draft) or 1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._line.unpaced(
                    place,
                    lambda chat: self._bot.send_message_draft(
                        int(chat), number, shown, message_thread_id=thread_of(place)
                    ),
                )
        except TimeoutError:
            self._line.rest(place, REST)
        except DeliveryError as error:
            log.debug("a draft could not be shown: %s", error)


def _beginning(text: str) -> str:
    """Return as much of a text as one message takes: the rest comes with its end."""
    return text.encode("utf-16-le", "surrogatepass")[: 2 * MOST].decode("utf-16-le", "ignore")
