"""Forum topics: one per case; the icon shows its state, and a settled one is closed."""

from __future__ import annotations

import logging
from contextlib import suppress

import telegram
from telegram.constants import ForumIconColor

from adapters.telegram.line import Line
from adapters.telegram.markup import sendable
from adapters.telegram.outcome import NotModified
from core.errors import DeliveryError, NoThread, Refused, ThreadGone
from core.message import Place, Post, Receipt

ICONS = {  # state -> what shows it, best first; Telegram has icons for some emoji only
    "queued": ("❗", "‼"),
    "human": ("💬",),
    "snoozed": ("💤", "☕"),
    "watch": ("👀",),
    "resolved": ("✅",),
}
_SHUT = frozenset({"snoozed", "resolved"})
_NAME = 128  # UTF-16 units
_UNNAMED = "…"

_SUPERGROUPS = -1_000_000_000_000  # their ids, and those of channels, lie below this

log = logging.getLogger(__name__)


def link_to(place: Place, message_id: str) -> str:
    """Return the address of a message in a supergroup; empty: chats of other kinds have none."""
    chat = int(place.chat) if place.chat.lstrip("-").isdecimal() else 0
    if chat >= _SUPERGROUPS or not message_id:
        return ""
    return "/".join(
        filter(None, ("https://t.me/c", str(_SUPERGROUPS - chat), place.thread, message_id))
    )


class Topics:
    """Makes topics and brings them up to date. A refused icon never stops either."""

    def __init__(self, bot: telegram.Bot, line: Line) -> None:
        self._bot, self._line = bot, line
        self._icons: dict[str, str] | None = None  # emoji -> id; None: not asked yet

    async def deliver(self, post: Post) -> Receipt:
        """Make the topic that a post asks for, or bring it up to date. Raises DeliveryError."""
        topic = post.message_id
        if topic is None:
            topic = await self._make(post)
        else:
            await self._update(post, int(topic))
        return Receipt(message_id=topic, thread=topic)

    async def delete(self, post: Post) -> None:
        """Delete the topic of a post with all its messages; one that is gone is done."""
        topic = int(post.place.thread)
        with suppress(ThreadGone):
            await self._line.paced(
                post.place, lambda chat: self._bot.delete_forum_topic(chat, topic)
            )

    async def _make(self, post: Post) -> str:
        name, icon = _named(post.text) or _UNNAMED, await self._icon(post.state)
        try:
            try:
                return await self._create(post, name, icon)
            except NoThread:
                raise
            except Refused:
                if not icon:
                    raise
                return await self._create(post, name, None)
        except Refused as error:  # whatever the reason: no topic can be had in this chat
            raise NoThread(str(error)) from error

    async def _create(self, post: Post, name: str, icon: str | None) -> str:
        topic = await self._line.paced(
            post.place,
            lambda chat: self._bot.create_forum_topic(
                chat,
                name,
                icon_custom_emoji_id=icon or None,
                icon_color=None if icon or not post.state else ForumIconColor.RED,
            ),
        )
        return str(topic.message_thread_id)

    async def _update(self, post: Post, topic: int) -> None:
        """Open before anything else, close last: a topic is never found shut on the way."""
        if post.state and post.state not in _SHUT:
            await self._reopen(post, topic)
        name, icon = _named(post.text) or None, await self._icon(post.state)
        try:
            await self._edit(post, topic, name, icon)
        except NoThread:
            raise
        except Refused as error:
            if icon is None:
                raise
            log.debug("the icon of a topic could not be set: %s", error)
            await self._edit(post, topic, name, None)
        if post.state in _SHUT:
            with suppress(NotModified):
                await self._line.paced(
                    post.place, lambda chat: self._bot.close_forum_topic(chat, topic)
                )

    async def _reopen(self, post: Post, topic: int) -> None:
        """Open a topic. Mostly it is open: that costs no slot of the group's pace."""
        with suppress(NotModified):
            await self._line.unpaced(
                post.place, lambda chat: self._bot.reopen_forum_topic(chat, topic)
            )
            self._line.count(post.place)

    async def _edit(self, post: Post, topic: int, name: str | None, icon: str | None) -> None:
        if name is None and icon is None:
            return
        with suppress(NotModified):
            await self._line.paced(
                post.place,
                lambda chat: self._bot.edit_forum_topic(
                    chat, topic, name=name, icon_custom_emoji_id=icon
                ),
            )

    async def _icon(self, state: str) -> str | None:
        """Return the icon of a state, empty where there is none for it, None to leave it be."""
        if not state:
            return None
        if self._icons is None:
            try:
                found = await self._line.call(self._bot.get_forum_topic_icon_stickers)
            except DeliveryError as error:
                log.debug("the icons of topics could not be read: %s", error)
                return None
            self._icons = {
                _plain(one.emoji): one.custom_emoji_id
                for one in found
                if one.emoji and one.custom_emoji_id
            }
        known = (self._icons.get(emoji) for emoji in ICONS.get(state, ()))
        return next((each for each in known if each), "")


def _plain(emoji: str) -> str:
    """Return an emoji without the mark that asks for its coloured form."""
    return emoji.replace("\ufe0f", "")


def _named(text: str) -> str:
    """Return a topic's name, as long as Telegram takes it."""
    units = sendable(text).strip().encode("utf-16-le")[: 2 * _NAME]
    return units.decode("utf-16-le", "ignore").strip()
