"""The groups the bot is in: who manages them, which ones put it out, and what stands in its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import telegram
from telegram import ChatFullInfo, ChatMember, ChatMemberRestricted
from telegram.constants import ChatAction

from adapters.telegram.line import Line, thread_of
from adapters.telegram.normalize import within
from core.errors import DeliveryError, Refused, Unreachable
from core.message import Arrival, Message, Place
from core.ports import Clock, Gate

MANAGERS = frozenset({"creator", "administrator"})
_FRESH = 600.0  # seconds for which a list of administrators is good
_AGAIN = 60.0  # seconds until a list that could not be had is asked for again
_PATIENCE = 2.0  # seconds a command in a group that is new to us waits for the list
_REMEMBERED = 1000  # groups; above it those asked about longest ago are forgotten
_ATTENTIVE = frozenset({"command", "joined"})  # kinds whose meaning hangs on who sent them

log = logging.getLogger(__name__)

Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True)
class _Managers:
    """Who manages a group, and until when that is taken to be so."""

    ids: frozenset[str] = frozenset()
    until: float = 0.0


class Groups:
    """What Telegram tells of groups. `start` runs a coroutine that nobody waits for."""

    def __init__(self, bot: telegram.Bot, line: Line, clock: Clock, start: Start) -> None:
        self._bot, self._line, self._clock, self._start = bot, line, clock, start
        self._managers: dict[str, _Managers] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._out: set[str] = set()

    def learn(self, chats: Iterable[str]) -> None:
        """Ask in the background who manages these chats; people's own are left out."""
        for chat in chats:
            if chat.startswith("-"):
                _ = self._ask(chat)

    def hear(self, update: Any) -> None:  # noqa: ANN401 - raw JSON
        """Take in who came, went, or was given a right, as far as an update tells it."""
        if not isinstance(update, dict):
            return
        for kind in ("chat_member", "my_chat_member"):
            if isinstance(change := update.get(kind), dict):
                try:
                    self._changed(change, own=kind == "my_chat_member")
                except (KeyError, TypeError, AttributeError):  # a broken one is parked elsewhere
                    log.debug("a change of a membership cannot be read")

    def _changed(self, change: dict[str, Any], *, own: bool) -> None:
        chat, new = str(change["chat"]["id"]), change["new_chat_member"]
        if own and chat.startswith("-"):
            (self._out.discard if within(new) else self._out.add)(chat)
        if (known := self._managers.get(chat)) is not None:
            user = frozenset({str(new["user"]["id"])})
            ids = known.ids | user if new["status"] in MANAGERS else known.ids - user
            self._managers[chat] = replace(known, ids=ids)

    def put_out(self, place: Place) -> bool:
        """Say whether the bot was removed from a group, as far as we were told."""
        return self._line.chat(place) in self._out

    async def sign(self, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Return arrivals that say whether their authors manage the group they write in.

        The list of a new group is asked for in the background; a command waits for it a little.
        """
        waits = []
        for message in (each.message for each in arrivals):
            if message is None or message.private:
                continue
            task = self._ask(message.key.chat)
            if task and message.kind in _ATTENTIVE and message.key.chat not in self._managers:
                waits.append(task)
        if waits:
            await asyncio.wait(waits, timeout=_PATIENCE)
        return [self._signed(each) for each in arrivals]

    def _signed(self, arrival: Arrival) -> Arrival:
        message = arrival.message
        if message is None or message.private or not self._manages(message):
            return arrival
        author = replace(message.author, admin=True)
        return replace(arrival, message=replace(message, author=author))

    def _manages(self, message: Message) -> bool:
        known = self._managers.get(message.key.chat, _Managers())
        return message.author.admin or message.author.id in known.ids

    def _ask(self, chat: str) -> asyncio.Task[None] | None:
        """Ask who manages a chat, once at a time; None: what is known is fresh."""
        if self._clock() < self._managers.get(chat, _Managers()).until:
            return None
        if chat not in self._asking:
            self._asking[chat] = task = self._start(self._learn(chat))
            task.add_done_callback(lambda _: self._asking.pop(chat, None))
        return self._asking[chat]

    async def _learn(self, chat: str) -> None:
        ids, seconds = self._managers.get(chat, _Managers()).ids, _AGAIN
        try:
            found = await self._line.call(lambda: self._bot.get_chat_administrators(chat))
        except DeliveryError as error:
            log.debug("who manages a group could not be asked: %s", error)
        else:
            ids, seconds = frozenset(str(one.user.id) for one in found), _FRESH
        self._managers.pop(chat, None)  # to its end: the first is the one asked about longest ago
        self._managers[chat] = _Managers(ids, self._clock() + seconds)
        if len(self._managers) > _REMEMBERED:
            del self._managers[next(iter(self._managers))]

    async def gates(self, place: Place, *, updates: Gate, heard: bool) -> list[Gate]:
        """Ask what lets messages of a group through to the bot. See core.ports.Adapter.gates.

        `updates`: whether Telegram tells us of all we ask for. `heard`: everything said there is
        for us, whether addressed to the bot or not.
        """
        chat = self._line.chat(place)
        me = await self._line.call(self._bot.get_me)
        try:
            member = await self._line.call(lambda: self._bot.get_chat_member(chat, me.id))
            full = await self._line.call(lambda: self._bot.get_chat(chat))
        except (Unreachable, Refused) as error:
            manages, slow, why = False, 0, str(error)
        else:
            manages = member.status in MANAGERS
            slow = 0 if manages else _seconds(full.slow_mode_delay)
            why = _forbidden(member, full) or await self._tried(place)
        values = {"chat": place.chat}
        reads = bool(me.can_read_all_group_messages) or manages
        return [
            Gate(name="telegram_privacy", open=reads),
            updates,
            Gate(name="telegram_heard", open=heard, values=values),
            Gate(name="telegram_send", open=not why, values={"why": why}),
            Gate(name="telegram_slow", open=not slow, values={"seconds": str(slow)}),
        ]

    async def _tried(self, place: Place) -> str:
        """Show "typing" and return why that is refused: a topic does not tell if it is closed."""
        chat, thread = self._line.chat(place), thread_of(place)
        try:
            await self._line.call(
                lambda: self._bot.send_chat_action(
                    chat, ChatAction.TYPING, message_thread_id=thread
                )
            )
        except (Unreachable, Refused) as error:
            return str(error)
        except DeliveryError as error:
            log.debug("whether the bot may write somewhere could not be tried: %s", error)
        return ""


def _forbidden(member: ChatMember, chat: ChatFullInfo) -> str:
    """Return why a member may not write, in Telegram's own names; empty: they may."""
    if member.status in {"left", "kicked"}:
        return member.status
    if isinstance(member, ChatMemberRestricted) and not member.can_send_messages:
        return "restricted"
    everyone = chat.permissions
    if member.status == "member" and everyone is not None and everyone.can_send_messages is False:
        return "can_send_messages"
    return ""


def _seconds(delay: int | timedelta | None) -> int:
    return int(delay.total_seconds()) if isinstance(delay, timedelta) else delay or 0
