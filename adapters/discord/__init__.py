"""Discord: direct messages, mentions, threads, slash commands and buttons, through discord.py.

`normalize` (with `attachments` and `interactions`) says what a payload means, `intake` stores it,
`callbacks` answers presses and commands in time, `places` remembers channels, servers and authors,
`supervisor` keeps the gateway alive, `rest` calls the web side (`refusals`: what its errors mean,
`tally`: how many there are), `send` (with `threads` and `media`) delivers, `commands` names the
slash commands, `gates` says what a message in a channel has to pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import discord

from adapters.discord import commands as slash
from adapters.discord.callbacks import Callbacks, Suggest, nothing_to_suggest
from adapters.discord.gates import CONTENT, gates
from adapters.discord.intake import Intake
from adapters.discord.interactions import Rights
from adapters.discord.media import fetch
from adapters.discord.normalize import Scope
from adapters.discord.places import Places
from adapters.discord.rest import BROKEN, Pace, Rest, logged_in
from adapters.discord.send import Sender, repeatable
from adapters.discord.supervisor import LOCKED_OUT, NO_INTENT, Supervisor, use_addresses
from adapters.discord.tally import Tally
from core.errors import DeliveryError, NotSent, Refused, SetupError, StoreError
from core.message import File, Media, Place, Post, Receipt, TextLimit
from core.ports import Clock, Door, Gate, Health, Question, Remember, Sketch

API_BASE = "https://discord.com/api/v10"
GATEWAY_URL = "wss://gateway.discord.gg/"
BACKOFF = (1.0, 2.0, 5.0, 15.0, 60.0)


def _nobody_hears(_sentence: str) -> None:
    """Stand in for an operator's alarm."""


class DiscordAdapter:
    """One bot account on Discord.

    `questions` names, by the two letters in a button's data, what is asked before it does anything;
    `suggest` completes what staff type after a command; `lost` is what somebody is told whose press
    or command could not be stored. `shards`: connections to the gateway, 0 = as Discord proposes.
    Its pace and health are told by `steady`, whatever is done to the `clock` of the machine.
    """

    platform = "discord"
    limit = TextLimit(size=2000)

    def __init__(  # noqa: PLR0913 -- each is one setting of the operator
        self,
        door: Door,
        *,
        token: str,
        clock: Clock,
        steady: Clock = time.monotonic,
        bot: str = "main",
        api_base: str = API_BASE,
        gateway_url: str = GATEWAY_URL,
        mode: Literal["mention", "watch"] = "mention",
        watch: frozenset[str] = frozenset(),
        desk_channel: str = "",
        commands: slash.Catalogue | None = None,
        admin_commands: slash.Catalogue | None = None,
        staff_commands: slash.Catalogue | None = None,
        questions: Mapping[str, Question] | None = None,
        suggest: Suggest = nothing_to_suggest,
        lost: str = "This could not be kept just now; please do it again in a minute.",
        shards: int = 1,
        on_alarm: Callable[[str], None] = _nobody_hears,
        backoff: Sequence[float] = BACKOFF,
        pace: Pace | None = None,
    ) -> None:
        self.bot = bot
        self._door = door
        self._token = token
        self._mode = mode
        self._api_base = api_base or API_BASE
        self._backoff = backoff
        self._on_alarm = on_alarm
        self._pace = pace or Pace()
        self._commands = slash.payload(
            commands or {}, admins=admin_commands, staff=staff_commands if desk_channel else None
        )
        use_addresses(self._api_base, gateway_url or GATEWAY_URL)
        heard = watch if mode == "watch" else frozenset[str]()
        scope = Scope(bot=bot, watch=heard, desk=desk_channel)
        places, rights = Places(), Rights(steady)
        self._places = places
        self._rest = Rest(token, self._pace, Tally(steady, on_alarm))
        self._sender = Sender(self._rest, places, rights, self._pace, steady, on_alarm)
        self._intake = Intake(
            door,
            self._rest,
            scope,
            places,
            Callbacks(
                self._rest,
                rights,
                questions=questions or {},
                suggest=suggest,
                lost=lost,
                pace=self._pace,
            ),
            clock=clock,
            pace=self._pace,
            backoff=backoff,
        )
        self._supervisor = Supervisor(
            token,
            self._intake,
            clock=steady,
            pace=self._pace,
            backoff=backoff,
            on_alarm=on_alarm,
            watching=mode == "watch",
            shards=shards,
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            await self._load()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._supervisor.run())
                tasks.create_task(self._intake.run())
                tasks.create_task(self._register())
        finally:
            await self.close()

    async def close(self) -> None:
        """End connections; `run` does it by itself."""
        await self._intake.close()
        await self._sender.close()
        await self._rest.close()

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        """Do what a post says; the nonce makes a placeholder needless. Raises DeliveryError."""
        del remember
        return await self._sender.deliver(post)

    def repeatable(self, post: Post) -> bool:
        """Say whether a post of unknown outcome may be delivered again without showing twice."""
        return repeatable(post)

    async def fetch(self, media: Media) -> File:
        """Download a file of a message, of at most 50 MiB. Raises as the port says."""
        return await fetch(self._rest, media)

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking."""
        try:
            await self._sender.typing(place)
        except DeliveryError:
            return  # a sign only; the answer itself will say what is wrong

    def previews(self, place: Place) -> bool:
        """Say whether a reply shows while it is written: where the channel is not too busy."""
        return self._sender.previews(place)

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show a reply while it is written, as a message that grows."""
        await self._sender.preview(place, sketch, remember)

    def link(self, place: Place, message_id: str) -> str:
        """Return the address of a message; empty for a channel that nobody has told us of."""
        return self._places.link(place, message_id)

    async def gates(self, place: Place) -> list[Gate]:
        """Ask Discord what lets messages of a channel through. Raises DeliveryError."""
        watching = self._mode == "watch"
        return await gates(self._rest, self._intake.scope, place, watching=watching)

    def health(self) -> Health:
        """Say how the gateway is."""
        return self._supervisor.health()

    async def check(self) -> None:
        """Try the token and the intent. Raises SetupError for a token that Discord refuses.

        Raises another DeliveryError for what `run` gets over: Discord cannot be reached, or does
        not let the bot read all messages (it then hears mentions and direct messages).
        """
        try:
            client = await logged_in(self._token, self._pace)
        except discord.LoginFailure as error:
            raise SetupError(LOCKED_OUT) from error
        except BROKEN as error:
            raise NotSent(
                f"Discord cannot be reached at {self._api_base}: look at the network and at "
                "discord.api_base"
            ) from error
        try:
            allowed = client.application_flags.value & CONTENT
        finally:
            await client.close()
        if self._mode == "watch" and not allowed:
            raise Refused(NO_INTENT)

    async def _load(self) -> None:
        """Read the cursors before the first event can come."""
        tries = 0
        while True:
            try:
                return await self._intake.load()
            except StoreError:
                await asyncio.sleep(self._backoff[min(tries, len(self._backoff) - 1)])
                tries += 1

    async def _register(self) -> None:
        """Bring the slash commands to Discord when they changed since the last time."""
        name, wanted = f"discord/{self.bot}/commands", slash.digest(self._commands)
        told = False
        while self._commands:
            try:
                if await self._door.read_cursor(name) != wanted:
                    await self._rest.register(self._commands)
                    await self._door.take_in([], cursor=(name, wanted))
            except (StoreError, DeliveryError) as error:
                if isinstance(error, Refused) and not told:
                    told = True
                    self._on_alarm(f"Discord does not take the slash commands. {error}")
                await asyncio.sleep(self._backoff[-1])
            else:
                return
