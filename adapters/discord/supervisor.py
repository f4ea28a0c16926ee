"""The gateway: a client that may die at any time, and the supervisor that starts a fresh one.

The library ends its client at the first event it cannot read, and stays deaf while it looks
ready. So nothing it says about itself is believed: only frames that really came.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import discord
import yarl
from discord.gateway import DiscordWebSocket, KeepAliveHandler

from adapters.discord.intake import Intake
from adapters.discord.rest import FAULTS, Pace
from core.ports import Clock, Health

_log = logging.getLogger(__name__)

_ACK = 11  # gateway op of a heartbeat's answer
_SLOW = 30.0  # seconds of latency
_DROPS, _DROP_WINDOW = 5, 30.0  # of one shard
_DAY, _MANY_SESSIONS, _LONG_PAUSE = 86_400.0, 500, 300.0  # 1000 sessions a day are allowed

LOCKED_OUT = (
    "Discord refuses the bot's token: copy it again from the page Bot of the developer portal "
    "into discord.token (HEED_DISCORD__TOKEN)."
)
NO_INTENT = (
    "Discord does not let the bot read all messages: switch on Message Content Intent on the page "
    "Bot of the developer portal, or set discord.mode = mention."
)
_FATAL = {
    4004: LOCKED_OUT,
    4010: (
        "Discord refuses the shard that Heed asked for: set discord.shards = 0, so that Discord "
        "itself says how many there are."
    ),
    4011: (
        "The bot is in too many servers for its connections: set discord.shards = 0, so that "
        "Discord itself says how many it needs, and start Heed again."
    ),
    4012: "Discord no longer speaks this version of its gateway: update discord.py.",
    4013: "Discord does not know an intent that Heed asked for: update discord.py.",
    4014: NO_INTENT,
}


def use_addresses(api_base: str, gateway_url: str) -> None:
    """Point the library at Discord. All of this is global to the process: set here alone."""
    discord.http.Route.BASE = api_base.rstrip("/")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # we never speak aloud


class Gateway(discord.Client):
    """One connection's worth of client; keeps the times by which its health is judged."""

    def __init__(
        self,
        intents: discord.Intents,
        intake: Intake,
        clock: Clock,
        pace: Pace,
        shard_count: int | None = None,
    ) -> None:
        super().__init__(
            shard_count=shard_count,
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            enable_debug_events=True,
            heartbeat_timeout=pace.heartbeat,
            max_ratelimit_timeout=pace.patience / 2,
        )
        self._intake = intake
        self._now = clock
        self._pace = pace
        self.born = clock()
        self.frame = ""  # the last one: if the client dies of it, it is the poison
        self.frame_at = self.sign_at = self.born  # a sign of life: READY, RESUMED or an answer
        self.sessions = self.identifies = 0
        self.up: set[int] = set()  # shards whose READY or RESUMED came since their last drop
        self.drops: deque[float] = deque(maxlen=10_000)

        self._down: dict[int, float] = {}  # shards that are not well, since when

    @property
    def parts(self) -> int:
        """Return how many connections there should be; 0 until Discord has said it."""
        return self.shard_count or 0 if isinstance(self, discord.AutoShardedClient) else 1

    def sockets(self) -> list[DiscordWebSocket]:
        """Return the connections for which a heart still beats, also one not yet handed over."""
        beating = [one.ws for one in threading.enumerate() if isinstance(one, KeepAliveHandler)]
        # The library knows no other link from a connection to its client.
        return [one for one in beating if one._connection is self._connection]  # noqa: SLF001

    async def on_socket_raw_receive(self, frame: str) -> None:
        """Hear every frame before anybody else makes something of it."""
        self.frame, self.frame_at = frame, self._now()
        try:
            packet = json.loads(frame)
            op, event, data = packet.get("op"), packet.get("t"), packet.get("d")
        except (ValueError, AttributeError):
            return  # the library ends this client for it; the supervisor parks the frame
        if op == _ACK or event in {"READY", "RESUMED"}:
            self.sign_at = self.frame_at
        if event in {"READY", "RESUMED"}:
            if not isinstance(self, discord.AutoShardedClient):
                self.up.add(0)
            self.sessions += event == "READY"
            self.drops.clear()
        if event:
            self._intake.hear(event, data, frame)

    async def on_disconnect(self) -> None:
        """Count the drops, so that a spinning client is noticed."""
        if not isinstance(self, discord.AutoShardedClient):
            self.up.clear()
        self.drops.append(self._now())

    async def on_shard_connect(self, shard: int) -> None:
        """Note that one of several connections has a session."""
        self.up.add(shard)

    async def on_shard_resumed(self, shard: int) -> None:
        """Note that one of several connections has its session again."""
        self.up.add(shard)

    async def on_shard_disconnect(self, shard: int) -> None:
        """Note that one of several connections was lost."""
        self.up.discard(shard)

    async def before_identify_hook(  # type: ignore[explicit-override]  # typing has it from 3.12
        self, shard_id: int | None, *, initial: bool = False
    ) -> None:
        """Keep the distance between two IDENTIFYs that Discord asks for."""
        del shard_id
        self.identifies += 1
        if not initial:
            await asyncio.sleep(self._pace.identify)

    def verdict(self) -> str:
        """Say why this client is as good as dead; empty while it is not."""
        now = self._now()
        if now - self.sign_at > self._pace.silence:
            return f"no answer from Discord's gateway for {self._pace.silence:.0f} s"
        for shard, latency in getattr(self, "latencies", ()):  # several connections
            if shard in self.up and math.isfinite(latency):
                self._down.pop(shard, None)
            elif now - self._down.setdefault(shard, now) > self._pace.silence:
                return f"no answer from shard {shard} of Discord's gateway"
        while self.drops and now - self.drops[0] >= _DROP_WINDOW:
            self.drops.popleft()
        if len(self.drops) > _DROPS * max(self.parts, 1):
            return "Discord's gateway drops every connection"
        return ""

    def healthy(self) -> bool:
        """Say whether frames come, and heartbeats are answered in time."""
        quick = math.isfinite(self.latency) and self.latency < _SLOW
        whole = 0 < self.parts == len(self.up)
        return whole and quick and self._now() - self.frame_at < self._pace.silence


class Shards(Gateway, discord.AutoShardedClient):
    """Several connections, each for its part of the servers; direct messages come by the first.

    The library takes them for one, so that a dead one among them is seen by its own heart alone.
    """


class Supervisor:
    """Keeps one gateway client alive by replacing it."""

    def __init__(  # noqa: PLR0913 -- wired in one place
        self,
        token: str,
        intake: Intake,
        *,
        clock: Clock,
        pace: Pace,
        backoff: Sequence[float],
        on_alarm: Callable[[str], None],
        watching: bool,
        shards: int,
    ) -> None:
        self._token = token
        self._intake = intake
        self._clock = clock
        self._pace = pace
        self._backoff = backoff
        self._on_alarm = on_alarm
        self._watching = watching  # whether to ask for the Message Content intent
        self._shards = shards
        self._client: Gateway | None = None
        self._fatal = ""
        self._problem = ""
        self._warning = ""
        self._sessions: deque[float] = deque(maxlen=_MANY_SESSIONS)

    async def run(self) -> None:
        """Serve until cancelled; after a fatal refusal stay red and send nothing more."""
        deaths = 0
        while not self._fatal:
            client = self._client = self._fresh()
            try:
                end = await self._life(client)
            finally:
                await self._bury(client)
            self._sessions.extend([self._clock()] * client.identifies)
            lasted = client.sessions > 0 and self._clock() - client.born > self._pace.silence
            deaths = 1 if lasted else deaths + 1
            await asyncio.sleep(self._learn_from(client, end, deaths))
        await asyncio.Event().wait()

    def health(self) -> Health:
        """Say how the connection is, by what came over it."""
        client = self._client
        name = client.user.name if client is not None and client.user is not None else ""
        if client is not None and not self._fatal and client.healthy():
            return Health(state="ok", name=name, problem=self._warning)
        problem = self._fatal or self._problem
        if client is not None and client.sessions and not problem:
            problem = "Discord's gateway does not answer; Heed is connecting again."
        return Health(state="failing" if problem else "connecting", name=name, problem=problem)

    def _fresh(self) -> Gateway:
        intents = discord.Intents.default()
        intents.message_content = self._watching
        if self._shards == 1:
            return Gateway(intents, self._intake, self._clock, self._pace)
        count = self._shards or None  # None: the library asks Discord
        return Shards(intents, self._intake, self._clock, self._pace, shard_count=count)

    async def _life(self, client: Gateway) -> BaseException | str | None:
        """Run one client to its end, and say what ended it."""
        task = asyncio.create_task(client.start(self._token))
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=self._pace.tick)
                if done:
                    return None if task.cancelled() else task.exception()
                if client.healthy():
                    self._problem = ""
                if why := client.verdict():
                    return why
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _bury(self, client: Gateway) -> None:
        """Close a client, politely if the other side still answers."""
        try:
            async with asyncio.timeout(self._pace.closing):
                # A connection that was cut while it was made belongs to nobody, and beats for ever.
                for socket in client.sockets():
                    await socket.close()
                await client.close()
        except FAULTS:
            await client.http.close()

    def _learn_from(self, client: Gateway, end: BaseException | str | None, deaths: int) -> float:
        """Draw the consequence of a client's end; returns the seconds before the next one."""
        # Only the library's own errors are told whole: the others may quote a frame.
        told = end if isinstance(end, discord.DiscordException | str) else type(end).__name__
        _log.warning("the gateway client ended: %s", told)
        code = _code(end)
        if code == 4014 and self._watching:
            self._watching = False
            self._intake.listen_to_mentions()
            self._warning = f"{NO_INTENT} Until then Heed answers only who speaks to it."
            self._on_alarm(self._warning)
            return 0.0
        if code in _FATAL:
            self._fatal = _FATAL[code]
            self._on_alarm(self._fatal)
            return 0.0
        if isinstance(end, discord.LoginFailure):
            if self._problem != LOCKED_OUT:
                self._on_alarm(LOCKED_OUT)
            self._problem = LOCKED_OUT
        else:
            if isinstance(end, BaseException) and not isinstance(end, FAULTS):
                self._intake.park(client.frame, f"the gateway client ended: {end!r}")
            cause = end if isinstance(end, str) else type(end).__name__ if end else "it ended"
            self._problem = f"The connection to Discord broke ({cause}); Heed is connecting again."
        return self._pause(deaths)

    def _pause(self, deaths: int) -> float:
        pause = self._backoff[min(deaths, len(self._backoff)) - 1]
        if self._problem == LOCKED_OUT:
            pause = self._backoff[-1]
        full = len(self._sessions) == _MANY_SESSIONS
        if full and self._clock() - self._sessions[0] < _DAY:
            pause = max(pause, _LONG_PAUSE)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 -- only to keep bots apart


def _code(end: Any) -> int:  # noqa: ANN401
    if isinstance(end, discord.PrivilegedIntentsRequired):
        return 4014
    return end.code if isinstance(end, discord.ConnectionClosed) else 0
