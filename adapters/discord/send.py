"""Out: one post becomes one message, change or sign, however often the connection breaks.

A send carries the nonce of its outbox row, so that Discord itself drops a repeat. The library
repeats only some failures; the others are repeated here, with the same nonce. A new thread and a
whisper have no nonce, and are tried once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import discord
from discord.http import Route, handle_message_parameters

from adapters.discord.interactions import Right, Rights
from adapters.discord.markdown import shown
from adapters.discord.media import loaded, uploads
from adapters.discord.places import OURS, Places
from adapters.discord.recent import Recent
from adapters.discord.rest import BROKEN, Pace, Rest, outcome, while_wanted
from adapters.discord.sketch import Sketcher
from adapters.discord.threads import Threads
from core.errors import (
    DeliveryError,
    NoThread,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    TooLarge,
    Unchangeable,
    Unreachable,
)
from core.message import Place, Post, Receipt
from core.ports import Clock, Remember, Sketch, Wanted

PLACEHOLDER = "…"
NONCE_LIVES = 120.0  # seconds that we trust Discord to remember a nonce: "the past few minutes"

_log = logging.getLogger(__name__)

_SILENT = discord.AllowedMentions.none()
_BUTTONS, _FILES, _LABEL = 25, 10, 80  # the most under one message, and of a button
_DANGER = frozenset({"nn", "bk"})  # codes of buttons that cannot be taken back easily
_MARKS = {"sent": "✅", "edited": "✏️", "failed": "❌"}
_TYPED = 1000  # channels whose last typing sign is remembered
_TYPING = 7.5  # seconds in which a sign of typing need not be repeated
_SOON = 10.0  # seconds that what is unfinished may take
_CHANGES = frozenset({"edit", "redraw", "delete", "mark", "react"})  # of a message that is there
_NO_MESSAGE = 10008
_ARCHIVED = 50083
_FIXED = frozenset({_NO_MESSAGE, 50005, 50021})  # gone, another's, Discord's own notice
_MUTE = 50013  # of a text: we may not speak there any more
_NO_RIGHT = frozenset({50001, 50003, _MUTE})


def repeatable(post: Post) -> bool:
    """Say whether a post of unknown outcome may go again without showing twice.

    Changes always; sends as long as Discord remembers their nonce, and so what deletes a message
    that only a nonce finds; new threads and whispers never.
    """
    if post.message_id is not None:
        return True
    return post.kind != "thread" and not post.whisper and post.age < NONCE_LIVES


class Sender:
    """Delivers posts through the web side."""

    def __init__(
        self,
        rest: Rest,
        places: Places,
        rights: Rights,
        pace: Pace,
        clock: Clock,
        on_alarm: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._rest = rest
        self._places = places
        self._rights = rights
        self._pace = pace
        self._on_alarm = on_alarm
        self._threads = Threads()
        self._sketcher = Sketcher(self._attempt, clock)
        self._typed: Recent[float] = Recent(_TYPED)  # channels, and when typing was shown there

    async def deliver(self, post: Post) -> Receipt:
        """Do what a post says. Raises DeliveryError of the kind that fits."""
        begun = await self._sketcher.settle(post)
        if begun is not None and post.message_id is None:
            post = replace(post, message_id=begun)
        if post.seeks and not repeatable(post):
            raise OutcomeUnknown("Discord has forgotten the message that this takes the place of")
        self._typed.drop(post.place.thread or post.place.chat)  # what arrives ends it
        _check(post)
        client = await self._rest.open()
        post = replace(post, text=shown(post))
        if post.files or post.media:
            post = await loaded(self._rest, post, self._places.upload_limit(post.place))
        if post.whisper and post.message_id is None:
            whispered = await self._whisper(client, post)
            if whispered is not None:
                return whispered
        try:
            receipt = await self._persist(client, post)
        except (Refused, TooLarge) as error:
            other = _otherwise(post, error)
            if other is None:
                raise
            receipt = await self._persist(client, post := other)
        if post.pin and post.message_id is None:
            await self._pin(client, post.place, receipt.message_id)
        return receipt

    def previews(self, place: Place) -> bool:
        """Say whether a reply would show now while it is written."""
        return self._sketcher.shows(place)

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show a reply while it is written. Raises nothing."""
        await self._sketcher.show(place, sketch, remember)

    async def close(self) -> None:
        """End what nobody waits for."""
        await self._sketcher.close()

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking; it lasts ten seconds. Raises DeliveryError."""
        channel, now = place.thread or place.chat, self._clock()
        shown_at = self._typed.get(channel)
        if shown_at is not None and now - shown_at < _TYPING:
            return
        self._typed.put(channel, now)
        client = await self._rest.open()
        try:
            async with asyncio.timeout(5):
                await _target(client, place).typing()
        except BROKEN as error:
            raise outcome(error) from error

    async def _attempt(self, post: Post, wanted: Wanted) -> Receipt:
        """Do what a post says, once and soon, as long as it is wanted. Raises DeliveryError."""
        client = await self._rest.open()
        self._typed.drop(post.place.thread or post.place.chat)
        try:
            with while_wanted(wanted):
                async with asyncio.timeout(_SOON):
                    return await self._once(client, replace(post, text=shown(post)))
        except BROKEN as error:
            raise self._meaning(error, post) from error

    async def _persist(self, client: discord.Client, post: Post) -> Receipt:
        """Do it, again where the connection broke at once and a repeat does no harm."""
        began, said = self._clock(), replace(post, whisper="")  # what came here is said openly
        doubtful = False
        for pause in (*self._pace.again, None):
            try:
                async with asyncio.timeout(self._pace.patience):
                    return await self._once(client, post)
            except BROKEN as error:
                found = self._meaning(error, post)
                if doubtful and post.message_id is None and not isinstance(found, OutcomeUnknown):
                    raise OutcomeUnknown(str(found)) from error  # the first try may have arrived
                if pause is None or not _quick_break(error, found):
                    raise found from error
                await asyncio.sleep(pause)
                if not repeatable(replace(said, age=post.age + self._clock() - began)):
                    raise found from error
                doubtful = True
        raise OutcomeUnknown("the connection to Discord keeps breaking")

    async def _once(self, client: discord.Client, post: Post) -> Receipt:
        if post.kind == "thread":
            act = self._threads.make if post.message_id is None else self._threads.update
            return await act(client, post)
        if post.message_id is None and post.kind == "delete":
            looked = replace(post, kind="reply", text=PLACEHOLDER)  # its nonce finds the message
            sent = await self._send(client, looked)
            post = replace(post, message_id=sent.message_id)
        if post.message_id is None:
            return await self._send(client, post, insist=True)
        try:
            await self._alter(client, post)
        except discord.HTTPException as error:
            if error.code != _ARCHIVED:
                raise
            try:
                async with self._threads.ajar(client, str(_ids(post)[0])):
                    await self._alter(client, post)
            except discord.Forbidden:
                raise error from None  # it is not ours to open: it stays shut
        return Receipt(message_id=post.message_id or "")

    async def _alter(self, client: discord.Client, post: Post) -> None:
        if post.kind == "delete":
            await self._delete(client, post)
        elif post.kind in {"mark", "react"}:
            await self._react(client, post)
        else:
            await _change(client, post)

    async def _send(self, client: discord.Client, post: Post, *, insist: bool = False) -> Receipt:
        """Send one message, and as many more as its files need.

        The nonce may have brought back a message of an earlier try, which may read otherwise:
        who insists on the words has them put in.
        """
        target = _target(client, post.place)
        ids: list[str] = []
        for start in range(0, max(len(post.files), 1), _FILES):
            extra: dict[str, Any] = {"nonce": f"{post.nonce[:20]}-{start}"}
            if start == 0:
                extra = {"nonce": post.nonce, "reference": _reference(post, target.id)}
                extra |= _under(post)
            sent = await target.send(
                (post.text or None) if start == 0 else None,
                files=uploads(post.files[start : start + _FILES]),
                allowed_mentions=_SILENT,
                mention_author=False,
                suppress_embeds=True,  # a link that slipped in shows nothing, also when edited
                **extra,
            )
            ids.append(str(sent.id))
            self._places.authors.put(ids[-1], OURS)
            if insist and start == 0 and not post.files and _reads_otherwise(sent, post):
                await _change(client, replace(post, message_id=ids[0]))
        return Receipt(message_id=ids[0], more=tuple(ids[1:]))

    async def _delete(self, client: discord.Client, post: Post) -> None:
        channel, message = _ids(post)
        try:
            self._places.authors.put(str(message), OURS)  # nobody else deletes it
            await client.http.delete_message(channel, message)
        except discord.NotFound as error:
            if error.code != _NO_MESSAGE:
                raise

    async def _react(self, client: discord.Client, post: Post) -> None:
        """Leave one sign of a kind, a mark or a reaction passed on, in place of an earlier one."""
        channel, message = _ids(post)
        wanted = self._sign(post)
        payload = await client.http.get_message(channel, message)
        found: Any = payload.get("reactions") or ()
        ours = {_named(one["emoji"]) for one in found if one["me"]}
        marks = {one for one in ours if _bare(one) in map(_bare, _MARKS.values())}
        earlier = marks if post.kind == "mark" else ours - marks
        kept = {one for one in ours if _bare(one) == _bare(wanted)}
        if wanted and not kept:
            await client.http.add_reaction(channel, message, wanted)
        for one in earlier - kept:
            await client.http.remove_own_reaction(channel, message, one)

    def _sign(self, post: Post) -> str:
        """Return the emoji of a mark or a reaction as a call names it; empty takes it back."""
        if post.kind == "mark":
            if post.text not in _MARKS:
                raise Refused(f"{post.text} is no mark")
            return _MARKS[post.text]
        name = post.text.strip()
        if name.startswith(":") and name.endswith(":"):
            own = self._places.emoji(name.strip(":"))
            if not own:
                raise Refused(f"no server of ours has the emoji {name}")
            return own
        return name

    async def _whisper(self, client: discord.Client, post: Post) -> Receipt | None:
        """Show a post to one person alone; None when the right to do so is gone."""
        right = self._rights.find(post.whisper)
        if right is None:
            return None
        try:
            async with asyncio.timeout(self._pace.patience):
                await right.open.wait()
                if self._rights.find(post.whisper) is None:
                    return None
                return Receipt(message_id=await _follow_up(client, right, post))
        except BROKEN as error:
            if _refused(error):  # the token, or the thread it came from, is gone: said openly
                self._rights.drop(post.whisper)
                return None
            raise self._meaning(error, post) from error

    async def _pin(self, client: discord.Client, place: Place, message: str) -> None:
        """Pin a message if Discord lets us; it stands there either way."""
        try:
            async with asyncio.timeout(self._pace.patience):
                await client.http.pin_message(int(place.thread or place.chat), int(message))
        except BROKEN as error:
            _log.warning("message %s could not be pinned: %s", message, outcome(error))

    def _meaning(self, error: BaseException, post: Post) -> DeliveryError:
        update = post.kind == "thread" and post.message_id is not None
        found = outcome(error, in_thread=bool(post.place.thread) or update)
        code = error.code if isinstance(error, discord.HTTPException) else 0
        if post.kind == "thread" and not update and isinstance(found, Refused):
            return NoThread(str(found))
        mute = code == _MUTE and post.message_id is None and not post.files
        if mute and not (post.private or post.kind == "thread"):
            return NoThread(str(found)) if post.place.thread else Unreachable(str(found))
        fixed = code in _FIXED or (post.kind == "delete" and code in _NO_RIGHT)
        if fixed and post.message_id is not None and post.kind != "thread":
            return Unchangeable(str(found))
        banned = isinstance(error, discord.HTTPException) and error.status == 429
        if isinstance(found, RetryAfter) and banned:
            self._on_alarm(
                "Discord turned the bot away without a rate limit of its own (perhaps a ban of "
                "this address by its front door): look at how often Heed is refused."
            )
        return found


def _check(post: Post) -> None:
    """Raise Refused for what Discord could not even be asked."""
    for name in (post.place.chat, post.place.thread, post.message_id, post.reply_to):
        if name and not name.isdecimal():
            raise Refused(f"{name} is no id of Discord's")
    found = post.message_id is not None or post.kind == "delete"  # that one is looked for
    if post.kind in _CHANGES and not found:
        raise Refused(f"{post.kind} needs the id of the message it changes")


def _otherwise(post: Post, error: DeliveryError) -> Post | None:
    """Return what is sent in place of a post that was refused; None: nothing is."""
    if post.files and post.kind in {"card", "redraw"}:
        return replace(post, files=())  # better without its picture than not at all
    if post.kind == "reply" and post.message_id and isinstance(error, Unchangeable):
        return replace(post, message_id=None, nonce=f"{post.nonce[:22]}-2")  # somebody deleted it
    return None


def _reads_otherwise(sent: discord.Message, post: Post) -> bool:
    """Say whether a message has other words than a post, or lacks its buttons."""
    lacks = bool(post.buttons) and not sent.components
    return lacks or sent.content.strip() != post.text.strip()


async def _change(client: discord.Client, post: Post) -> None:
    """Put other words, buttons and, where there are any, files in place of a message's own."""
    message = discord.PartialMessage(channel=_target(client, post.place), id=_ids(post)[1])
    files: dict[str, Any] = {"attachments": uploads(post.files)} if post.files else {}
    view = _under(post).get("view")
    await message.edit(content=post.text, view=view, allowed_mentions=_SILENT, **files)


async def _follow_up(client: discord.Client, right: Right, post: Post) -> str:
    route = Route(
        "POST",
        "/webhooks/{webhook_id}/{webhook_token}",
        webhook_id=int(right.application),
        webhook_token=right.token,
    )
    flags = discord.MessageFlags(ephemeral=True, suppress_embeds=True)
    files = uploads(post.files[:_FILES])
    more: dict[str, Any] = _under(post) | ({"files": files} if files else {})
    with handle_message_parameters(
        post.text or None, flags=flags, allowed_mentions=_SILENT, **more
    ) as params:
        if params.files:
            made = await client.http.request(route, files=params.files, form=params.multipart)
        else:
            made = await client.http.request(route, json=params.payload)
    return str(made["id"])


def _quick_break(error: BaseException, found: DeliveryError) -> bool:
    """Say whether to repeat here: broken at once, and nobody knows what came of it."""
    return isinstance(found, OutcomeUnknown) and not isinstance(error, TimeoutError)


def _target(client: discord.Client, place: Place) -> discord.PartialMessageable:
    return client.get_partial_messageable(int(place.thread or place.chat))


def _refused(error: BaseException) -> bool:
    """Say whether Discord has answered, and with a no that will stay one."""
    if not isinstance(error, discord.HTTPException):
        return False
    return 400 <= error.status < 500 and error.status != 429


def _ids(post: Post) -> tuple[int, int]:
    """Return the channel and the message that a change is about."""
    return int(post.place.thread or post.place.chat), int(post.message_id or 0)


def _named(emoji: Mapping[str, Any]) -> str:
    """Return an emoji of a payload as a call names it."""
    return f"{emoji['name']}:{emoji['id']}" if emoji.get("id") else str(emoji.get("name"))


def _bare(emoji: str) -> str:
    """Return an emoji without the sign that asks for colour, which Discord keeps or drops."""
    return emoji.replace("\ufe0f", "")


def _reference(post: Post, channel: int) -> discord.MessageReference | None:
    if post.part or not post.reply_to:
        return None
    return discord.MessageReference(
        message_id=int(post.reply_to), channel_id=channel, fail_if_not_exists=False
    )


def _under(post: Post) -> dict[str, Any]:
    """Return the buttons of a post as the library wants them; nothing when it has none."""
    if not post.buttons:
        return {}
    view = discord.ui.View(timeout=None)
    for number, button in enumerate(post.buttons[:_BUTTONS]):
        code = button.data.split(":")[2:3]
        style = discord.ButtonStyle.primary if number == 0 else discord.ButtonStyle.secondary
        style = discord.ButtonStyle.danger if _DANGER.intersection(code) else style
        label = button.label[:_LABEL]
        view.add_item(discord.ui.Button(label=label, custom_id=button.data, style=style))
    view.stop()  # presses are read from the gateway by their data: nothing to keep in memory
    return {"view": view}
