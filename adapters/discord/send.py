"""Out: one post becomes one message, edit or thread, however often the connection breaks.

A send carries the nonce of its outbox row, so that Discord itself drops a repeat. The library
repeats only some failures; the others are repeated here, with the same nonce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import discord

from adapters.discord.rest import BROKEN, Pace, Rest, outcome
from core.errors import DeliveryError, NoThread, OutcomeUnknown, Refused, RetryAfter
from core.message import Place, Post, Receipt

NONCE_LIVES = 120.0  # seconds that we trust Discord to remember a nonce: "the past few minutes"

_SILENT = discord.AllowedMentions.none()
_THREAD_NAME = 100
_WEEK: Literal[10080] = 10080  # minutes


class Sender:
    """Delivers posts through the web side."""

    def __init__(self, rest: Rest, pace: Pace, on_alarm: Callable[[str], None]) -> None:
        self._rest = rest
        self._pace = pace
        self._on_alarm = on_alarm

    async def deliver(self, post: Post) -> Receipt:
        """Send, edit or open a thread. Raises DeliveryError of the kind that fits."""
        for name in (post.place.chat, post.place.thread, post.message_id, post.reply_to):
            if name and not name.isdecimal():
                raise Refused(f"{name} is no id of Discord's")
        client = await self._rest.open()
        for pause in (*self._pace.again, None):
            try:
                async with asyncio.timeout(self._pace.patience):
                    return await self._once(client, post)
            except BROKEN as error:
                found = self._meaning(error, post)
                if pause is None or post.kind == "thread" or not _quick_break(error, found):
                    raise found from error
            await asyncio.sleep(pause)
        raise OutcomeUnknown("the connection to Discord keeps breaking")

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking. Raises DeliveryError."""
        client = await self._rest.open()
        try:
            async with asyncio.timeout(5):
                await _target(client, place).typing()
        except BROKEN as error:
            raise outcome(error) from error

    async def _once(self, client: discord.Client, post: Post) -> Receipt:
        if post.kind == "thread":
            return await _open_thread(client, post)
        target = _target(client, post.place)
        view = _view(post)
        if post.message_id is not None:
            message = discord.PartialMessage(channel=target, id=int(post.message_id))
            await message.edit(content=post.text, view=view, allowed_mentions=_SILENT)
            return Receipt(message_id=post.message_id)
        if post.kind == "edit":
            raise Refused("an edit needs the id of the message it changes")
        reference = _reference(post, target.id)
        extra = {} if view is None else {"view": view}
        sent = await target.send(  # type: ignore[call-overload]  # optional arguments by name
            post.text,
            nonce=post.nonce,
            allowed_mentions=_SILENT,
            reference=reference,
            mention_author=False,
            suppress_embeds=True,  # a link that somebody slipped in shows nothing, also when edited
            **extra,
        )
        return Receipt(message_id=str(sent.id))

    def _meaning(self, error: BaseException, post: Post) -> DeliveryError:
        found = outcome(error, in_thread=bool(post.place.thread))
        if post.kind == "thread" and isinstance(found, Refused):
            return NoThread(str(found))
        if isinstance(found, RetryAfter) and isinstance(error, discord.HTTPException):
            self._on_alarm(
                "Discord turned the bot away without a rate limit of its own (perhaps a ban of "
                "this address by its front door): look at how often Heed is refused."
            )
        return found


def _quick_break(error: BaseException, found: DeliveryError) -> bool:
    """Say whether to repeat here: broken at once, and not yet repeated by the library."""
    if isinstance(error, discord.DiscordServerError):
        return error.status == 503
    return isinstance(found, OutcomeUnknown) and not isinstance(error, TimeoutError)


def _target(client: discord.Client, place: Place) -> discord.PartialMessageable:
    return client.get_partial_messageable(int(place.thread or place.chat))


def _reference(post: Post, channel: int) -> discord.MessageReference | None:
    if post.private or post.part or not post.reply_to:
        return None
    return discord.MessageReference(
        message_id=int(post.reply_to), channel_id=channel, fail_if_not_exists=False
    )


def _view(post: Post) -> discord.ui.View | None:
    if not post.buttons:
        return None
    view = discord.ui.View(timeout=None)
    for button in post.buttons:
        view.add_item(discord.ui.Button(label=button.label[:80], custom_id=button.data))
    view.stop()  # presses are read from the gateway by their data: nothing to keep in memory
    return view


async def _open_thread(client: discord.Client, post: Post) -> Receipt:
    name = " ".join(post.text.split())[:_THREAD_NAME] or "case"
    if post.message_id is not None:
        await client.http.edit_channel(int(post.message_id), name=name)
        return Receipt(message_id=post.message_id, thread=post.message_id)
    made = await client.http.start_thread_without_message(
        int(post.place.chat),
        name=name,
        auto_archive_duration=_WEEK,
        type=discord.ChannelType.public_thread.value,
    )
    return Receipt(message_id=str(made["id"]), thread=str(made["id"]))
