"""In: every event becomes a committed row, and no message between two sessions is lost.

A `Channel` is a channel, a thread or a direct channel that is read. Its cursor says where to begin
reading history, never whether a message is new: the key of the row decides that. The invariant:
everything up to the cursor is stored. So the cursor moves only in a transaction that stores, and
not at all for live messages while the channel is *behind*, which it is from a new session (or a
failed commit) until its history is read to the end.

Discord shows a bot no list of its direct channels, neither in READY nor on the web side. So who
writes for the first time ever while no session holds their words is heard only once they write or
type again: a direct channel that nobody told of is read from where the last session ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from adapters.discord import interactions, normalize
from adapters.discord.callbacks import Callbacks
from adapters.discord.normalize import MALFORMED, Payload, Scope, Where, ident, snowflake
from adapters.discord.places import OURS, Channel, Places
from adapters.discord.rest import PAGE, Pace, Rest
from core.errors import DeliveryError, NotSent, OutcomeUnknown, StoreError
from core.message import Arrival, Message
from core.ports import Clock, Door

_log = logging.getLogger(__name__)

_MINUTE = 60_000 << 22  # as a distance between two ids
_TOKEN = re.compile(r'("token"\s*:\s*)"[^"]*"')  # of an interaction
_REACTIONS = {"MESSAGE_REACTION_ADD": True, "MESSAGE_REACTION_REMOVE": False}


class Intake:
    """Stores what one bot hears."""

    def __init__(  # noqa: PLR0913 -- wired in one place
        self,
        door: Door,
        rest: Rest,
        scope: Scope,
        places: Places,
        callbacks: Callbacks,
        *,
        clock: Clock,
        pace: Pace,
        backoff: Sequence[float],
    ) -> None:
        self.scope = scope
        self._door = door
        self._rest = rest
        self._clock = clock
        self._pace = pace
        self._backoff = backoff
        self._places = places
        self._callbacks = callbacks
        self._events = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()

    # What the gateway tells, in its order. Nothing here waits: work goes to tasks.

    def hear(self, event: str, data: Any, frame: str) -> None:  # noqa: ANN401 -- raw JSON
        """Take one gateway event; the database has it as soon as its task was let through."""
        try:
            self._hear(event, data, frame)
        except MALFORMED as error:
            self.park(frame, f"{event}: {error!r}")

    def listen_to_mentions(self) -> None:
        """Watch nothing any more: the intent for it was refused."""
        self.scope = replace(self.scope, watch=frozenset())

    def park(self, frame: str, error: str) -> None:
        """Keep what could not be read, with its error."""
        self._spawn(self._keep(self._arrival("frame", frame, error=error)), frame)

    def _hear(self, event: str, data: Any, frame: str) -> None:  # noqa: ANN401
        if event == "READY":
            self.scope = replace(self.scope, me=ident(data["user"]["id"]))
            self._new_session(data.get("shard"))
        elif self._places.hear(event, data):
            self._work.set()
        elif event == "TYPING_START" and "guild_id" not in data:
            self._discover(self._places.channel(data["channel_id"]))
        elif event == "MESSAGE_CREATE":
            if "guild_id" not in data:
                self._discover(self._places.channel(data["channel_id"]))
            self._spawn(self._said(self._places.channel(data["channel_id"]), data, frame), frame)
        elif event == "MESSAGE_UPDATE":
            self._spawn(self._edited(self._places.channel(data["channel_id"]), data, frame), frame)
        elif event in {"MESSAGE_DELETE", "MESSAGE_DELETE_BULK"}:
            ids = [ident(one) for one in data.get("ids") or [data["id"]]]
            self._spawn(self._deleted(data, ids, frame), frame)
        elif event in _REACTIONS:
            self._spawn(self._reacted(data, frame, added=_REACTIONS[event]), frame)
        elif event == "INTERACTION_CREATE":
            self._spawn(self._interaction(data), "")

    def _new_session(self, shard: Sequence[int] | None) -> None:
        """Mark every place behind whose events come by the shard (its number, how many)."""
        number, of = shard or (0, 1)
        newest = max((one.seen for one in self._places.channels.values()), default=0)
        self._places.left_at = max(self._places.left_at, newest)
        for channel in self._places.channels.values():
            where = channel.where
            home = int(where.server or 0) if where is not None else None
            ours = home is None or (home >> 22) % of == number  # direct channels: the first shard
            if channel.seen and ours:
                channel.fall_behind()
        self._work.set()

    def _discover(self, channel: Channel) -> None:
        """Read a direct channel that is new to us from where the last session ended."""
        if not channel.seen and self._places.left_at:
            channel.seen = self._places.left_at
            channel.fall_behind()
            self._work.set()

    # The tasks: one for catching up, one for each event.

    async def load(self) -> None:
        """Read where each place was left; called once, before the first connection."""
        prefix = self._cursor_name("")
        for name, value in (await self._door.cursors(prefix)).items():
            channel = self._places.channel(name.removeprefix(prefix))
            channel.seen, channel.saved = snowflake(value), True
            channel.fall_behind()
            self._places.left_at = max(self._places.left_at, channel.seen)

    async def run(self) -> None:
        """Bring whatever fell behind level again, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            tries = 0
            while waiting := sorted(
                filter(_needs_work, self._places.channels.values()), key=_in_server
            ):
                stuck = [one for one in waiting if _needs_work(one) and not await self._level(one)]
                if stuck:  # the platform or the database refuses: the others were read meanwhile
                    await asyncio.sleep(self._backoff[min(tries, len(self._backoff) - 1)])
                    tries += 1

    async def close(self) -> None:
        """End every task that still waits; what it held is in the history or was never promised."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _level(self, channel: Channel) -> bool:
        """Read one place to the end of its history; False when that has to be tried again."""
        try:
            if not channel.behind:
                async with channel.lock:
                    await self._commit(channel, [], channel.seen)
            while channel.behind:
                await self._page(channel)
        except (StoreError, NotSent, OutcomeUnknown, *MALFORMED) as error:
            _log.warning("history of channel %s has to wait: %s", channel.id, error)
            channel.refused = channel.behind and isinstance(error, StoreError)
            return False
        except DeliveryError as error:  # nobody says what it is: live messages still come
            _log.warning("channel %s cannot be read: %s", channel.id, error)
            channel.catch_up()
            channel.saved = True
        return True

    async def _page(self, channel: Channel) -> None:
        where = await self._where(channel)
        channel.missed = False
        page = await self._history(channel)
        arrivals = [
            await self._with_roles(self._read(payload, where, json.dumps(payload)), where)
            for payload in page
        ]
        newest = max((snowflake(payload["id"]) for payload in page), default=channel.seen)
        async with channel.lock:
            await self._commit(channel, arrivals, newest)
            if len(page) < PAGE and not channel.missed:
                channel.catch_up()

    async def _history(self, channel: Channel) -> Sequence[Payload]:
        """Return the next page; of a history that is closed to us, what is remembered of it."""
        try:
            return await self._rest.history(channel.id, channel.seen)
        except (NotSent, OutcomeUnknown):
            raise
        except DeliveryError as error:
            _log.warning("history of channel %s cannot be read: %s", channel.id, error)
            after = [one for one in channel.left if snowflake(one["id"]) > channel.seen]
            return sorted(after, key=lambda one: snowflake(one["id"]))[:PAGE]

    async def _said(self, channel: Channel, data: Payload, frame: str) -> None:
        await self._wait_for_older(channel)
        async with channel.lock:
            if channel.refused:
                self._leave(channel, data, "older ones have yet to be stored")
                return
            try:
                where = await self._where(channel, data)
                arrival = self._read(data, where, frame)
                await self._commit(channel, [arrival], snowflake(data["id"]), live=True)
            except (StoreError, DeliveryError) as error:
                channel.refused = isinstance(error, StoreError)
                self._leave(channel, data, error)

    def _leave(self, channel: Channel, data: Payload, why: object) -> None:
        """Let the history bring a message."""
        _log.warning("message %s is left to the history: %s", data["id"], why)
        channel.leave(data)
        self._work.set()

    async def _with_roles(self, arrival: Arrival, where: Where) -> Arrival:
        """Add the roles of who wrote in a server: the history does not tell them."""
        message = arrival.message
        if message is None or not where.server:
            return arrival
        name = f"{where.server}/{message.author.id}"
        roles = self._places.roles.get(name)
        if roles is None:
            try:
                member = await self._rest.member(where.server, message.author.id)
            except (NotSent, OutcomeUnknown):
                raise
            except DeliveryError:
                member = {}  # they have left
            roles = tuple(str(role) for role in member.get("roles") or ())
            self._places.roles.put(name, roles)
        admin = self._places.admin(where.server, message.author.id, roles)
        author = replace(message.author, roles=roles, admin=admin)
        return replace(arrival, message=replace(message, author=author))

    def _with_standing(self, message: Message | None) -> Message | None:
        """Say of who did something in a server whether they run it."""
        if message is None or not message.server:
            return message
        author = message.author
        admin = self._places.admin(message.server, author.id, author.roles)
        return replace(message, author=replace(author, admin=author.admin or admin))

    async def _edited(self, channel: Channel, data: Payload, frame: str) -> None:
        await self._wait_for_older(channel)
        where = await self._place_of(channel, data)
        if where is not None:
            await self._keep(self._read(data, where, frame, edit=True), channel)

    async def _deleted(self, data: Payload, ids: Sequence[str], frame: str) -> None:
        channel = self._places.channel(data["channel_id"])
        await self._wait_for_older(channel)
        where = await self._place_of(channel, data)
        for message_id in ids if where is not None else ():
            author = self._places.authors.get(message_id) or (where.user if where else "")
            if where is None or author == OURS:
                continue  # whose it was, where nobody here remembers, the stored message tells
            message = normalize.deleted(message_id, where, author, self.scope, self._clock())
            await self._keep(self._arrival(message_id, frame, message), channel)

    async def _reacted(self, data: Payload, frame: str, *, added: bool) -> None:
        event = f"{self._clock():.6f}.{next(self._events)}"
        channel = self._places.channel(data["channel_id"])
        await self._wait_for_older(channel)
        where = await self._place_of(channel, data)
        if where is None:
            return
        ours = self._places.authors.get(str(data["message_id"])) is not None
        message = normalize.reacted(
            data, where, self.scope, self._clock(), event=event, added=added, ours=ours
        )
        await self._keep(self._arrival(event, frame, self._with_standing(message)), channel)

    async def _interaction(self, data: Payload) -> None:
        """Ask what a button asks, or store what was done and only then say that it was heard."""
        raw = json.dumps({name: value for name, value in data.items() if name != "token"})
        try:
            if await self._callbacks.ask(data):
                return
            channel = self._places.channel(data["channel_id"])
            place, server = data.get("channel") or {}, str(data.get("guild_id") or "")
            where = normalize.where_of(place, server) if "type" in place else None
            where = where or await self._place_of(channel, data)
            if where is None:
                return
            if await self._callbacks.offer(data, at_desk=self.scope.at_desk(where)):
                return
            message = interactions.read(data, where, self.scope)
            if message is None:
                return
            name, right = ident(data["id"]), self._callbacks.right(data)
        except MALFORMED as error:
            await self._keep(self._arrival(str(data.get("id")), raw, error=repr(error)))
            return
        keep = self._keep(self._arrival(name, raw, message), channel)
        await self._callbacks.take(data, right, keep)

    # The small steps.

    def _read(self, payload: Payload, where: Where, raw: str, *, edit: bool = False) -> Arrival:
        """Understand one message payload; what cannot be understood becomes poison."""
        try:
            if str((payload.get("author") or {}).get("id")) == self.scope.me:
                self._places.authors.put(str(payload["id"]), OURS)
            read = normalize.edited if edit else normalize.said
            message = self._with_standing(read(payload, where, self.scope))
        except MALFORMED as error:
            return self._arrival(str(payload.get("id")), raw, error=repr(error))
        return self._arrival(str(payload["id"]), raw, message)

    def _arrival(
        self, source: str, raw: str, message: Message | None = None, *, error: str = ""
    ) -> Arrival:
        """Return what is kept of an event; of poison never the right to answer it."""
        return Arrival(
            platform="discord",
            bot=self.scope.bot,
            source_id=source,
            raw=_TOKEN.sub(r'\1""', raw) if error else raw,
            message=message,
            error=error,
        )

    async def _commit(
        self, channel: Channel, arrivals: Sequence[Arrival], newest: int, *, live: bool = False
    ) -> None:
        """Store, and move the cursor where the rule of this module allows it.

        Live messages that are nothing of ours move it only once a minute: reading them again
        costs less than a transaction for each.
        """
        ours = [one for one in arrivals if one.message or one.error]
        moves = newest > channel.seen or not channel.saved
        if live:
            quiet = channel.saved and not ours and newest - channel.seen < _MINUTE
            moves = moves and not channel.behind and not quiet
        if ours or moves:
            cursor = (self._cursor_name(channel.id), str(newest)) if moves else None
            await self._door.take_in(ours, cursor=cursor)
        if moves:
            channel.seen, channel.saved = newest, True
        for one in ours:
            self._remember_author(one.message)

    async def _keep(self, arrival: Arrival, channel: Channel | None = None) -> bool:
        """Store what no history will bring again; give up after the last of the pauses."""
        if arrival.message is None and not arrival.error:
            return False
        for pause in (0.0, *self._backoff):
            await asyncio.sleep(pause)
            try:
                if channel is None:
                    await self._door.take_in([arrival])
                else:
                    async with channel.lock:
                        await self._door.take_in([arrival])
            except StoreError as error:
                _log.warning("event %s could not be stored: %s", arrival.source_id, error)
            else:
                self._remember_author(arrival.message)
                return True
        return False

    async def _wait_for_older(self, channel: Channel) -> None:
        """Let what was written before go first; the cursor does not move meanwhile."""
        if channel.behind:
            try:
                async with asyncio.timeout(self._pace.hold):
                    await channel.level.wait()
            except TimeoutError:
                _log.warning("channel %s is still behind: its new messages go first", channel.id)

    async def _place_of(self, channel: Channel, data: Payload) -> Where | None:
        try:
            return await self._where(channel, data)
        except DeliveryError as error:
            _log.warning("an event of the unknown channel %s is left: %s", channel.id, error)
            return None

    async def _where(self, channel: Channel, live: Payload | None = None) -> Where:
        """Say what a channel is; asks Discord for a server's channel that nobody told us of."""
        if channel.where is None:
            if live is not None and "guild_id" not in live:
                channel.where = Where(chat=channel.id, private=True)
            else:
                channel.where = normalize.where_of(await self._rest.channel(channel.id))
        return channel.where

    def _remember_author(self, message: Message | None) -> None:
        channel = message and self._places.channels.get(message.key.thread or message.key.chat)
        if message is None or not channel or channel.where is None:
            return
        where, author = channel.where, message.author
        if message.kind in {"said", "edited"}:
            self._places.authors.put(message.message_id, author.id)
            if message.private:
                channel.where = replace(where, user=author.id)
        if where.server and message.kind in {"said", "edited"}:
            self._places.roles.put(f"{where.server}/{author.id}", author.roles)

    def _cursor_name(self, channel: str) -> str:
        return f"discord/{self.scope.bot}/seen/{channel}"

    def _spawn(self, work: Coroutine[Any, Any, Any], frame: str) -> None:
        task = asyncio.get_running_loop().create_task(self._safely(work, frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _safely(self, work: Coroutine[Any, Any, Any], frame: str) -> None:
        try:
            await work
        except MALFORMED as error:
            await self._keep(self._arrival("frame", frame, error=repr(error)))


def _in_server(channel: Channel) -> bool:
    """Order what is read: direct channels first."""
    return channel.where is not None and not channel.where.private


def _needs_work(channel: Channel) -> bool:
    return channel.behind or (bool(channel.seen) and not channel.saved)
