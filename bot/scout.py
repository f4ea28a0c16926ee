"""Finds out where staff sit: listens as the bot until somebody calls it in their chat.

The adapters listen; nothing that they hear is stored, answered or confirmed, so that the first
`heed run` hears all of it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from bot.accounts import DiscordBot, TelegramBot, text_of
from bot.lease import lease_tokens
from bot.shut import SHUT, Shut
from core.message import Arrival, Message, Place

_LOOK = 0.5  # seconds between two looks at what waits for a bot on Telegram
_MANY = 100  # updates that Telegram shows at once: older ones hide what comes now

Tell = Callable[[str], None]


class _Ear(Shut):
    """A door at which somebody listens for the word that names a chat; nothing comes through."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self.full = False  # so much waits that nothing new can be seen

    async def take_in(  # type: ignore[explicit-override]
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """Listen, the newest first; then refuse, which confirms nothing to the platform."""
        self.full = len(arrivals) >= _MANY
        called = [one.message for one in arrivals if one.message and _calls(one.message)]
        if called and not self.heard.done():
            self.heard.set_result(called[-1].key.place)
        return await super().take_in(arrivals, cursor=cursor)


def _calls(message: Message) -> bool:
    """Say whether somebody called the bot in a group: by /here, and on Discord by its name."""
    if message.private:
        return False
    by_link = message.command == "start" and message.argument == "here"
    named = message.key.platform == "discord" and message.kind == "said" and message.addressed
    return message.command == "here" or by_link or named


async def telegram(own: TelegramBot, tell: Tell) -> Place:
    """Wait for /here in a group. Raises SetupError if somebody else listens with this token.

    `tell` gets a sentence about whatever keeps the bot from hearing.
    """
    from adapters.telegram import TelegramAdapter
    from adapters.telegram.poll import Backoff

    with lease_tokens({"telegram": text_of(own.token)}):
        ear = _Ear()
        adapter = TelegramAdapter(
            ear,
            token=text_of(own.token),
            clock=time.time,
            api_base=own.api_base,
            backoff=Backoff(first=_LOOK, longest=_LOOK),
            on_alarm=lambda problem: None if problem == SHUT else tell(problem),
        )
        return await _listen(ear, adapter.run(), tell)


async def discord(own: DiscordBot, tell: Tell) -> Place:
    """Wait until the bot is mentioned in a channel. Raises SetupError as `telegram` does."""
    from adapters.discord import DiscordAdapter

    with lease_tokens({"discord": text_of(own.token)}):
        ear = _Ear()
        adapter = DiscordAdapter(
            ear,
            token=text_of(own.token),
            clock=time.time,
            api_base=own.api_base,
            gateway_url=own.gateway_url,
            on_alarm=lambda problem: None if problem == SHUT else tell(problem),
        )
        return await _listen(ear, adapter.run(), tell)


async def _listen(ear: _Ear, serving: Coroutine[Any, Any, None], tell: Tell) -> Place:
    task = asyncio.create_task(serving)
    told = False
    try:
        while not ear.heard.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ear.heard), _LOOK)
            if task.done():
                task.result()
            if ear.full and not told:
                told = True
                tell(f"More than {_MANY} messages wait for the bot: `heed run` must read them.")
        return ear.heard.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
