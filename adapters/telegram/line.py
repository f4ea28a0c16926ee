"""The line to Telegram: calls at the pace it allows, and every failure told as one of ours."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from telegram import MessageEntity, ReplyParameters
from telegram.error import ChatMigrated, TelegramError

from adapters.telegram.markup import plain, shown
from adapters.telegram.outcome import Unformatted, outcome
from adapters.telegram.pace import Pacer
from core.errors import DeliveryError, NotSent, OutcomeUnknown, Refused, RetryAfter
from core.message import Place, Post
from core.ports import Clock

LONGEST_WAIT = 5.0  # seconds a post may wait here; longer is written down and tried later

log = logging.getLogger(__name__)

T = TypeVar("T")


def trust(*addresses: str) -> dict[str, Any]:
    """Return what a client must know of TLS for these addresses.

    A server of one's own, by plain HTTP, needs no authorities; the library would read them all for
    every client, 20 ms each time. Nobody is trusted then, should it ever come to TLS.
    """
    plain = all(address.startswith("http://") for address in addresses)
    return {"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)} if plain else {}


class Moved(Refused):
    """A group became a supergroup; nothing was sent to its old id."""

    def __init__(self, chat: str) -> None:
        super().__init__(f"Telegram: the group has become the supergroup {chat}")
        self.chat = chat


class Line:
    """Makes calls; follows groups that got a new id. Every method raises DeliveryError."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pacer = Pacer(clock)
        self._moved: dict[str, str] = {}  # groups that became supergroups: old id -> new id
        self._closed = False
        self._leaving = asyncio.Lock()

    async def paced(
        self,
        place: Place,
        make: Callable[[str], Awaitable[T]],
        *,
        messages: int = 1,
        longest: float = LONGEST_WAIT,
        follow: bool = True,
    ) -> T:
        """Call with the chat's id when its turn has come: for what people see in the chat.

        `messages`: how many will be seen. `follow`: call again at once where the group has a new
        id; without it Moved is raised, and says nothing of which chat has moved.
        """
        chat = self.chat(place)
        wait = self._pacer.wait(chat)
        if wait > longest:
            raise RetryAfter(wait)
        taken = self._pacer.take(chat, messages)
        await asyncio.sleep(max(0.0, taken - self._clock()))
        if (held := self._pacer.held(chat)) > 0:  # told meanwhile
            raise RetryAfter(held)
        return await self._made(place, make, follow=follow, taken=(taken, messages))

    async def unpaced(self, place: Place, make: Callable[[str], Awaitable[T]]) -> T:
        """Call without waiting for a slot: for what is no message, or has its slot already."""
        if (held := self._pacer.held(self.chat(place))) > 0:
            raise RetryAfter(held)
        return await self._made(place, make, follow=True)

    def count(self, place: Place) -> None:
        """Count a message that an unpaced call turned out to make."""
        self._pacer.take(self.chat(place))

    def crowded(self, place: Place) -> bool:
        """Say whether for a while nothing unfinished is to be shown in a chat."""
        return self._pacer.crowded(self.chat(place))

    def spare(self, place: Place, *, slot: bool = True) -> bool:
        """Take a slot for what is unfinished if one can be spared. `slot`: it counts as sent."""
        return not self._closed and self._pacer.spare(self.chat(place), slot=slot)

    def rest(self, place: Place, seconds: float) -> None:
        """Show nothing unfinished in a chat for so long."""
        self._pacer.rest(self.chat(place), seconds)

    async def _made(
        self,
        place: Place,
        make: Callable[[str], Awaitable[T]],
        *,
        follow: bool,
        taken: tuple[float, int] | None = None,
    ) -> T:
        chat = self.chat(place)
        async with self._leaving:  # one by one: who are all due after a stall are no flood
            await asyncio.sleep(self._pacer.take_overall())
        if taken is not None:
            self._pacer.left(chat, *taken)
        try:
            return await self.call(lambda: make(chat))
        except RetryAfter as error:
            self._pacer.hold(chat, error.seconds)
            raise
        except Moved as error:
            if not follow:
                raise
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
            raise Moved(str(error.new_chat_id)) from error
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

    def open(self) -> None:
        """Calls may be made (again)."""
        self._closed = False

    def close(self) -> None:
        """No call leaves from now on: the connections are going away."""
        self._closed = True

    def chat(self, place: Place) -> str:
        """Return the id by which a chat goes now."""
        return self._moved.get(place.chat, place.chat)


def thread_of(place: Place) -> int | None:
    """Return the topic, None where it is the chat itself."""
    return int(place.thread) if place.thread else None


async def worded(post: Post, make: Callable[[str, list[MessageEntity] | None], Awaitable[T]]) -> T:
    """Make a call with the text of a post and its formatting, plain where that is refused."""
    text, entities = shown(post)
    try:
        return await make(text, entities)
    except Unformatted:
        if entities is None:
            raise
        return await make(plain(post), None)


def answering(post: Post) -> ReplyParameters | None:
    """Return whom a post answers: its first part alone, also when the question was deleted."""
    if post.part or not post.reply_to:
        return None
    return ReplyParameters(int(post.reply_to), allow_sending_without_reply=True)
