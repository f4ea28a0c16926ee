"""The lists of commands that Telegram shows: one for each kind of chat and each language."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import telegram
from telegram import (
    BotCommand,
    BotCommandScope,
    BotCommandScopeAllChatAdministrators,
    BotCommandScopeAllGroupChats,
    BotCommandScopeAllPrivateChats,
    BotCommandScopeChat,
)

from adapters.telegram.line import Line
from core.errors import DeliveryError, RetryAfter

Commands = Mapping[str, Sequence[tuple[str, str]]]  # language -> (name, description)
_TRIES = 3  # for a call that Telegram asks to make later
_LONGEST_WAIT = 60.0

log = logging.getLogger(__name__)

T = TypeVar("T")


class Menus:
    """What is offered to people, in groups and to staff; an empty menu is left as it is."""

    def __init__(
        self,
        bot: telegram.Bot,
        line: Line,
        *,
        people: Commands,
        groups: Commands,
        admins: Commands,
        staff: Commands,
    ) -> None:
        """`admins`: what administrators of a group are offered beside the rest."""
        self._bot, self._line = bot, line
        self._people, self._groups, self._staff = people, groups, staff
        self._admins = {
            language: (*menu, *admins.get(language, ())) for language, menu in groups.items()
        }

    async def offer(self, desks: Iterable[str]) -> None:
        """Set every menu that has changed; what Telegram refuses stops no other menu."""
        wanted: list[tuple[BotCommandScope, Commands]] = [
            (BotCommandScopeAllPrivateChats(), self._people),
            (BotCommandScopeAllGroupChats(), self._groups),
            (BotCommandScopeAllChatAdministrators(), self._admins),
            *((BotCommandScopeChat(int(desk)), self._staff) for desk in sorted(desks)),
        ]
        for scope, commands in wanted:
            try:
                for language, menu in _by_code(commands).items():
                    await self._set(scope, language or None, menu)
            except DeliveryError as error:
                log.warning("the command menu for %s could not be set: %s", scope.type, error)

    async def _set(
        self, scope: BotCommandScope, language: str | None, menu: Sequence[tuple[str, str]]
    ) -> None:
        """Set one menu, unless it reads so already."""
        now = await self._patiently(
            lambda: self._bot.get_my_commands(scope=scope, language_code=language)
        )
        if [(each.command, each.description) for each in now] != list(menu):
            ours = [BotCommand(name, said) for name, said in menu]
            await self._patiently(
                lambda: self._bot.set_my_commands(ours, scope=scope, language_code=language)
            )

    async def _patiently(self, make: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and again when Telegram asks to wait: nobody waits for a menu."""
        for _ in range(_TRIES - 1):
            try:
                return await self._line.call(make)
            except RetryAfter as error:
                await asyncio.sleep(min(error.seconds, _LONGEST_WAIT))
        return await self._line.call(make)


def _by_code(commands: Commands) -> dict[str, Sequence[tuple[str, str]]]:
    """Return the menus by two-letter code; "" is for every other language."""
    menus = {language[:2]: menu for language, menu in commands.items()}
    if menus and "" not in menus:
        menus[""] = menus.get("en") or next(iter(menus.values()))
    return menus
