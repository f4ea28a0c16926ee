"""Posts out: one outbox row is one Telegram message, sent, edited, deleted or marked.

Telegram knows no key that would make a plain send repeatable. So a reply goes out in two steps: a
placeholder, whose id is committed, and the answer edited into it. An edit may be repeated, hence
the worst that a broken connection leaves is an orphan placeholder, never two answers.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial

import telegram
from telegram import LinkPreviewOptions, MessageEntity, ReactionTypeEmoji
from telegram.constants import ChatAction

from adapters.telegram.line import Line, answering, thread_of, worded
from adapters.telegram.markup import keyboard, shown
from adapters.telegram.media import Carrier
from adapters.telegram.outcome import Gone, NoText, NotModified
from adapters.telegram.sketch import Sketcher
from adapters.telegram.topics import Topics
from core.errors import DeliveryError, Refused
from core.message import Place, Post, Receipt
from core.ports import Remember, Sketch

PLACEHOLDER = "…"
MARKS = {"sent": "👌", "edited": "✍", "failed": "👎"}  # a bot may give only some emoji
_PIN_WAIT = 30.0  # seconds a pin may wait for its slot: its message is there, nobody else waits
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

log = logging.getLogger(__name__)


class Sender:
    """Speaks through the library's Bot. Every method raises DeliveryError but where it says."""

    def __init__(self, bot: telegram.Bot, line: Line) -> None:
        self._bot, self._line = bot, line
        self._topics, self._carrier = Topics(bot, line), Carrier(bot, line)
        self._sketcher = Sketcher(bot, line, self)

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        """Do what the row says."""
        begun = await self._sketcher.settle(post)
        if begun is not None and post.message_id is None:
            post = replace(post, message_id=begun)
        if post.kind == "thread":
            return await self._topics.deliver(post)
        if post.kind == "reply":
            return await self._reply(post, remember)
        if post.kind == "delete":
            return await self._delete(post, _meant(post) if post.message_id else 0)
        if post.kind in {"mark", "react"}:
            return await self._react(post, _meant(post))
        half_sent = post.kind != "picture" and (post.media or post.files)
        if post.kind in {"edit", "redraw"} or (post.message_id is not None and not half_sent):
            return await self._edit(post, _meant(post))
        return await self._post(post, remember)

    async def _post(self, post: Post, remember: Remember) -> Receipt:
        """Send something new, with what hangs on it."""
        if post.media or post.files:
            sent = await self._carrier.send(post, remember)
        else:
            sent = Receipt(message_id=await worded(post, partial(self._send, post)))
        if post.pin:
            await self._pin(post, int(sent.message_id))
        return sent

    async def _reply(self, post: Post, remember: Remember) -> Receipt:
        """Put an answer into its placeholder; a placeholder that is gone is made anew."""
        if post.message_id is not None:
            with suppress(Gone):
                return await self._edit(post, _meant(post))
        placeholder = await self._send(post, PLACEHOLDER)
        await remember(placeholder)
        return await self._edit(post, int(placeholder))

    async def _send(
        self,
        post: Post,
        text: str,
        entities: list[MessageEntity] | None = None,
        *,
        paced: bool = True,
    ) -> str:
        """Send a new message and return its id."""
        call = self._line.paced if paced else self._line.unpaced
        message = await call(
            post.place,
            lambda chat: self._bot.send_message(
                chat,
                text,
                entities=entities,
                message_thread_id=thread_of(post.place),
                reply_parameters=answering(post),
                reply_markup=None if text == PLACEHOLDER else keyboard(post.buttons),
                link_preview_options=_NO_PREVIEW,
            ),
        )
        return str(message.message_id)

    async def _edit(self, post: Post, message_id: int) -> Receipt:
        """Make a message read as the row says; one that already does is done."""
        if post.media or post.files:
            return await self._carrier.change(post, message_id)
        try:
            await worded(post, partial(self._change, post, message_id))
        except NoText:
            await self._carrier.caption(post, message_id)
        return Receipt(message_id=str(message_id))

    async def _change(
        self,
        post: Post,
        message_id: int,
        text: str,
        entities: list[MessageEntity] | None,
        *,
        paced: bool = True,
    ) -> None:
        call = self._line.paced if paced else self._line.unpaced
        with suppress(NotModified):
            await call(
                post.place,
                lambda chat: self._bot.edit_message_text(
                    text,
                    chat,
                    message_id,
                    entities=entities,
                    reply_markup=keyboard(post.buttons),
                    link_preview_options=_NO_PREVIEW,
                ),
            )

    async def _delete(self, post: Post, message_id: int) -> Receipt:
        """Delete a message; one that is gone, or never came, is done.

        The message that began a topic takes all.
        """
        if not message_id:
            return Receipt(message_id="")
        with suppress(Gone):
            if str(message_id) == post.place.thread:
                await self._topics.delete(post)
            else:
                await self._line.paced(
                    post.place, lambda chat: self._bot.delete_message(chat, message_id)
                )
        return Receipt(message_id=str(message_id))

    async def _react(self, post: Post, message_id: int) -> Receipt:
        """Put one emoji under a message, or take it back. It is no message: no slot is used."""
        emoji = post.text if post.kind == "react" else MARKS.get(post.text, "")
        plain = emoji.replace("\ufe0f", "")  # others ask for the coloured form, Telegram does not
        shown = [ReactionTypeEmoji(plain)] if plain else []
        await self._line.unpaced(
            post.place, lambda chat: self._bot.set_message_reaction(chat, message_id, shown)
        )
        return Receipt(message_id=str(message_id))

    async def _pin(self, post: Post, message_id: int) -> None:
        """Pin without a sound. The message is there, so no failure may fail its row."""
        try:
            await self._line.paced(
                post.place,
                lambda chat: self._bot.pin_chat_message(
                    chat, message_id, disable_notification=True
                ),
                longest=_PIN_WAIT,
            )
        except DeliveryError as error:
            log.warning("a card could not be pinned: %s", error)

    async def answer(self, callback: str) -> None:
        """Stop the spinner of a pressed button, also of a stale one. Raises nothing."""
        await self._line.quietly(lambda: self._bot.answer_callback_query(callback))

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking, for about five seconds. Raises nothing."""
        chat, thread = self._line.chat(place), thread_of(place)
        await self._line.quietly(
            lambda: self._bot.send_chat_action(chat, ChatAction.TYPING, message_thread_id=thread)
        )

    def previews(self, place: Place) -> bool:
        """Say whether a reply would show now while it is written."""
        return self._sketcher.shows(place)

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show a reply while it is written. Raises nothing."""
        await self._sketcher.show(place, sketch, remember)

    async def close(self) -> None:
        """End what nobody waits for."""
        await self._sketcher.close()

    async def begin(self, post: Post) -> str:
        """Send the placeholder of a reply that has its slot; return its id."""
        return await self._send(post, PLACEHOLDER, paced=False)

    async def go_on(self, post: Post, message_id: int) -> None:
        """Edit the text so far into the placeholder of a reply that has its slot."""
        text, entities = shown(post)
        await self._change(post, message_id, text, entities, paced=False)


def _meant(post: Post) -> int:
    """Return the id of the message that a row is about; of several that it became, the first."""
    if not post.message_id:
        raise Refused(f"{post.kind}: this needs the id of the message to change")
    return int(post.message_id.partition(",")[0])
