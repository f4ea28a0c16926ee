"""What Discord has told of places and people: channels, servers, who wrote what, whose roles.

All of it is only remembered, never asked for here; after a restart the gateway tells it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.discord.normalize import Payload, Where, ident, snowflake, where_of
from adapters.discord.permissions import manages, permissions
from adapters.discord.recent import Recent
from core.message import Place

OURS = "ours"  # in place of a user id: the bot itself wrote it

_MIB = 1 << 20
_UPLOADS = {2: 50 * _MIB, 3: 100 * _MIB}  # by a server's tier; else the least
_LEAST = 10 * _MIB
_LEFT = 500  # messages of one channel that the database refused and that are held meanwhile
_KEPT = 10_000  # messages whose author, and people whose roles, are remembered
_READABLE = frozenset({0, 1, 2, 5, 10, 11, 12})  # kinds of channels that hold messages
_TOLD: Mapping[str, Callable[[Any], Sequence[Payload]]] = {  # events that tell of channels
    "GUILD_CREATE": lambda data: [*(data.get("channels") or ()), *(data.get("threads") or ())],
    "THREAD_LIST_SYNC": lambda data: data["threads"],
    "CHANNEL_CREATE": lambda data: [data],
    "THREAD_CREATE": lambda data: [data],
    "THREAD_UPDATE": lambda data: [data],
}


_ROLES = frozenset({"GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE", "GUILD_ROLE_DELETE"})


@dataclass(slots=True, eq=False)
class Channel:
    """One place that is read, and how far."""

    id: str
    seen: int = 0  # everything up to this message id is stored
    saved: bool = False  # whether `seen` stands in the database
    where: Where | None = None
    behind: bool = False
    missed: bool = False  # something may have been lost since the last page was asked for
    refused: bool = False  # by the database, while behind: what is newer waits for what is older
    left: list[Payload] = field(default_factory=list)  # to the history, which may be closed to us
    level: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # rows of one place in order

    def fall_behind(self) -> None:
        """From now on live messages leave the cursor alone, and a page under way is not enough."""
        self.behind = self.missed = True
        self.level.clear()

    def leave(self, payload: Payload) -> None:
        """Have a message brought by the history; nothing newer than it is stored by now."""
        before = max(snowflake(payload["id"]) - 1, 1)
        self.seen = min(self.seen or before, before)
        if len(self.left) < _LEFT:
            self.left.append(payload)
        self.fall_behind()

    def catch_up(self) -> None:
        """History is read to its end: live messages move the cursor again."""
        self.behind = self.refused = False
        self.left.clear()
        self.level.set()


class Places:
    """The channels by id, and what is known of the servers that they stand in."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.authors: Recent[str] = Recent(_KEPT)  # message id -> user id, or OURS
        self.roles: Recent[tuple[str, ...]] = Recent(_KEPT)  # server/user -> ids of roles
        self.left_at = 0  # the newest id that was stored before this start
        self._servers: dict[str, dict[str, Any]] = {}  # id, owner_id, and roles by their id
        self._tiers: dict[str, int] = {}
        self._emojis: dict[str, dict[str, str]] = {}

    def hear(self, event: str, data: Any) -> bool:  # noqa: ANN401 -- raw JSON
        """Learn from an event; False when it tells of no place. Raises one of MALFORMED."""
        if event in {"GUILD_CREATE", "GUILD_UPDATE", "GUILD_EMOJIS_UPDATE"}:
            self._learn_server(ident(data.get("guild_id") or data["id"]), data)
        elif event in _ROLES:
            self._learn_role(ident(data["guild_id"]), event, data)
        if event in {"CHANNEL_DELETE", "THREAD_DELETE"}:
            gone = self.channels.pop(ident(data["id"]), None)
            if gone is not None:
                gone.catch_up()  # what waits for its history goes on
        if event not in _TOLD:
            return False
        server = ident(data["id"]) if event == "GUILD_CREATE" else str(data.get("guild_id") or "")
        for payload in _TOLD[event](data):
            self._learn(payload, server)
        return True

    def admin(self, server: str, user: str, roles: Sequence[str]) -> bool:
        """Say whether somebody runs a server or keeps order in it, as far as we were told."""
        known = self._servers.get(server)
        if known is None:
            return False
        return manages(permissions({**known, "roles": known["roles"].values()}, roles, (), user))

    def channel(self, channel_id: str) -> Channel:
        """Return what is known of a channel; one never heard of is level. Raises ValueError."""
        name = ident(channel_id)
        found = self.channels.get(name)
        if found is None:
            found = self.channels[name] = Channel(id=name)
            found.catch_up()
        return found

    def upload_limit(self, place: Place) -> int:
        """Return how many bytes one file may have there."""
        for channel_id in (place.thread, place.chat):
            channel = self.channels.get(channel_id)
            if channel is not None and channel.where is not None and channel.where.server:
                return _UPLOADS.get(self._tiers.get(channel.where.server, 0), _LEAST)
        return _LEAST

    def link(self, place: Place, message_id: str) -> str:
        """Return the address of a message there; empty while its channel is not known."""
        found = self.channels.get(place.thread or place.chat)
        if found is None or found.where is None or not message_id:
            return ""
        home = "@me" if found.where.private else found.where.server
        return f"https://discord.com/channels/{home}/{found.id}/{message_id}" if home else ""

    def emoji(self, name: str) -> str:
        """Return how a call names one of the servers' own emojis; empty when there is none."""
        return next((names[name] for names in self._emojis.values() if name in names), "")

    def _learn_server(self, server: str, data: Payload) -> None:
        known = self._servers.setdefault(server, {"id": server, "owner_id": "", "roles": {}})
        if data.get("owner_id"):
            known["owner_id"] = ident(data["owner_id"])
        if data.get("roles") is not None:
            known["roles"] = {ident(one["id"]): _role(one) for one in data["roles"]}
        if data.get("premium_tier") is not None:
            self._tiers[server] = int(data["premium_tier"])
        if data.get("emojis") is not None:
            named = {str(one["name"]): f"{one['name']}:{one['id']}" for one in data["emojis"]}
            self._emojis[server] = named

    def _learn_role(self, server: str, event: str, data: Payload) -> None:
        known = self._servers.setdefault(server, {"id": server, "owner_id": "", "roles": {}})
        if event == "GUILD_ROLE_DELETE":
            known["roles"].pop(ident(data["role_id"]), None)
        else:
            known["roles"][ident(data["role"]["id"])] = _role(data["role"])

    def _learn(self, payload: Payload, server: str) -> None:
        """Remember what a channel is, and where a channel never read before begins."""
        if payload["type"] not in _READABLE:
            return
        channel = self.channel(payload["id"])
        channel.where = where_of(payload, server)
        made = snowflake(payload["id"])
        newest = snowflake(payload.get("last_message_id") or payload["id"])
        if not channel.seen:
            channel.seen = newest
            if 0 < self.left_at < made < newest:  # made and used while we were away
                channel.seen = made
                channel.fall_behind()
        elif channel.behind and newest <= channel.seen:
            channel.catch_up()


def _role(payload: Payload) -> dict[str, Any]:
    return {"id": ident(payload["id"]), "permissions": int(payload["permissions"])}
