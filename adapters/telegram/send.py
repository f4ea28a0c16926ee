"""Posts out: one outbox row is one Telegram message, sent, edited or opened as a topic.

Telegram knows no key that would make a plain send repeatable. So a reply goes out in two steps: a
placeholder, whose id is committed, and the answer edited into it. An edit may be repeated, hence
the worst that a broken connection leaves is an orphan placeholder, never two answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import telegram
from telegram import LinkPreviewOptions, MessageEntity, ReplyParameters
from telegram.constants import ChatAction
from telegram.error import ChatMigrated, TelegramError

from adapters.telegram.markup import MOST, formatted, keyboard, sendable
from adapters.telegram.outcome import (
    Gone,
    NotModified,
    Unformatted,
    outcome,
)
from adapters.telegram.pace import Pacer
from core.errors import DeliveryError, NoThread, NotSent, OutcomeUnknown, Refused, RetryAfter
from core.message import Place, Post, Receipt
from core.ports import Clock, Remember

PLACEHOLDER = "…"
LONGEST_WAIT = 5.0  # seconds a post may wait here; longer is written down and tried later
_TOPIC_NAME = 128
_PREVIEW_STEP = 1.0  # seconds between two drafts in one chat
_PREVIEW_PATIENCE = 1.5  # seconds a draft may take: the reply is not written on meanwhile
_PREVIEW_REST = 30.0  # seconds without drafts for a chat where one took longer
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

log = logging.getLogger(__name__)

T = TypeVar("T")


class _Moved(Refused):
    """The group became a supergroup; nothing was sent to its old id."""

    def __init__(self, chat: str) -> None:
        super().__init__(f"Telegram: the group has become the supergroup {chat}")
        self.chat = chat


class Sender:
    """Speaks through the library's Bot at the pace that Telegram allows."""

    def __init__(self, bot: telegram.Bot, clock: Clock) -> None:
        self._bot = bot
        self._clock = clock
        self._pacer = Pacer(clock)
        self._moved: dict[str, str] = {}  # groups that became supergroups: old id -> new id
        self._previewed: dict[str, float] = {}  # chats, and when the next draft may be shown
        self._closed = False

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        """Send, edit or open what the row says. Raises DeliveryError."""
        if post.kind == "thread":
            return await self._open_topic(post)
        if post.kind == "reply":
            return await self._reply(post, remember)
        if post.message_id is not None:
            return await self._edit(post, post.message_id)
        if post.kind == "edit":
            raise Refused("an edit needs the id of the message to change")
        return Receipt(message_id=await self._send(post, sendable(post.text)))

    async def _reply(self, post: Post, remember: Remember) -> Receipt:
        """Put an answer into its placeholder; a placeholder that is gone is made anew."""
        if post.message_id is not None:
            with suppress(Gone):
                return await self._edit(post, post.message_id)
        placeholder = await self._send(post, PLACEHOLDER)
        await remember(placeholder)
        return await self._edit(post, placeholder)

    async def _send(self, post: Post, text: str) -> str:
        """Send a new message and return its id."""
        message = await self._paced(
            post.place,
            lambda chat: self._bot.send_message(
                chat,
                text,
                message_thread_id=_thread(post.place),
                reply_parameters=_answering(post),
                reply_markup=None if text == PLACEHOLDER else keyboard(post.buttons),
                link_preview_options=_NO_PREVIEW,
            ),
        )
        return str(message.message_id)

    async def _edit(self, post: Post, message_id: str) -> Receipt:
        """Make a message read as the row says; one that already does is done."""
        text, entities = sendable(post.text), None
        if post.kind == "reply" and (both := formatted(text)):
            text, entities = both
        try:
            await self._change(post, message_id, text, entities)
        except Unformatted:
            await self._change(post, message_id, sendable(post.text), None)
        return Receipt(message_id=message_id)

    async def _change(
        self, post: Post, message_id: str, text: str, entities: list[MessageEntity] | None
    ) -> None:
        with suppress(NotModified):
            await self._paced(
                post.place,
                lambda chat: self._bot.edit_message_text(
                    text,
                    chat,
                    int(message_id),
                    entities=entities,
                    reply_markup=keyboard(post.buttons),
                    link_preview_options=_NO_PREVIEW,
                ),
            )

    async def _open_topic(self, post: Post) -> Receipt:
        name = sendable(post.text).strip()[:_TOPIC_NAME] or PLACEHOLDER
        if post.message_id is not None:
            return await self._rename(post, post.message_id, name)
        try:
            topic = await self._paced(
                post.place, lambda chat: self._bot.create_forum_topic(chat, name)
            )
        except Refused as error:  # whatever the reason: no topic can be had in this chat
            raise NoThread(str(error)) from error
        thread = str(topic.message_thread_id)
        return Receipt(message_id=thread, thread=thread)

    async def _rename(self, post: Post, topic: str, name: str) -> Receipt:
        with suppress(NotModified):
            await self._paced(
                post.place,
                lambda chat: self._bot.edit_forum_topic(chat, int(topic), name=name),
            )
        return Receipt(message_id=topic, thread=topic)

    async def _paced(self, place: Place, make: Callable[[str], Awaitable[T]]) -> T:
        """Call when the chat's turn has come, again at once where the group has a new id."""
        chat = self._chat(place)
        wait = self._pacer.wait(chat)
        if wait > LONGEST_WAIT:
            raise RetryAfter(wait)
        await asyncio.sleep(self._pacer.take(chat))
        await asyncio.sleep(self._pacer.take_overall())
        try:
            return await self.call(lambda: make(chat))
        except RetryAfter as error:
            self._pacer.hold(chat, error.seconds)
            raise
        except _Moved as error:
            self._moved[place.chat] = new = error.chat
            return await self.call(lambda: make(new))

    async def call(self, make: Callable[[], Awaitable[T]]) -> T:
        """Make one call of the Bot and raise a DeliveryError for whatever went wrong.

        An answer of the wrong shape breaks inside the library's parser, in any of four ways: by
        then the call was made, so its outcome is unknown.
        """
        if self._closed:
            raise NotSent("the bot is stopping")
        try:
            return await make()
        except ChatMigrated as error:
            raise _Moved(str(error.new_chat_id)) from error
        except TelegramError as error:
            raise outcome(error) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OutcomeUnknown("Telegram's answer could not be read") from error

    async def quietly(self, make: Callable[[], Awaitable[object]]) -> None:
        """Make a call that nobody waits for; a failure is only noted."""
        try:
            await self.call(make)
        except DeliveryError as error:
            log.debug("a call that may fail failed: %s", error)

    async def answer(self, callback: str) -> None:
        """Stop the spinner of a pressed button, also of a stale one."""
        await self.quietly(lambda: self._bot.answer_callback_query(callback))

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking, for about five seconds."""
        chat, thread = self._chat(place), _thread(place)
        await self.quietly(
            lambda: self._bot.send_chat_action(chat, ChatAction.TYPING, message_thread_id=thread)
        )

    async def preview(self, place: Place, draft: int, text: str) -> None:
        """Show a reply while it is written: private chats only, at most once a second each."""
        now, chat = self._clock(), place.chat
        if chat.startswith("-") or not text.strip() or self._pacer.wait(chat) > 0:
            return
        if now < self._previewed.get(chat, 0.0):
            return
        waiting = {each: at for each, at in self._previewed.items() if now < at}
        self._previewed = waiting | {chat: now + _PREVIEW_STEP}
        shown, number, thread = sendable(text[-MOST // 2 :]), abs(draft) or 1, _thread(place)
        try:
            async with asyncio.timeout(_PREVIEW_PATIENCE):
                await self.quietly(
                    lambda: self._bot.send_message_draft(
                        int(chat), number, shown, message_thread_id=thread
                    )
                )
        except TimeoutError:
            self._previewed[chat] = now + _PREVIEW_REST

    def open(self) -> None:
        """Calls may be made (again)."""
        self._closed = False

    def close(self) -> None:
        """No call leaves from now on: the connections are going away."""
        self._closed = True

    def _chat(self, place: Place) -> str:
        return self._moved.get(place.chat, place.chat)


def _thread(place: Place) -> int | None:
    return int(place.thread) if place.thread else None


def _answering(post: Post) -> ReplyParameters | None:
    """In a group the first part says whom it answers, also when the question was deleted."""
    if post.private or post.part or not post.reply_to:
        return None
    return ReplyParameters(int(post.reply_to), allow_sending_without_reply=True)
