"""What the Discord fake holds: a server, its channels, people, messages and files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_shapes import (
    DIRECT,
    DIRECT_MESSAGES,
    DIRECT_REACTIONS,
    EPOCH_MS,
    FORUM,
    GUILD_MESSAGES,
    GUILD_REACTIONS,
    MESSAGE_CONTENT,
    TEXT,
    THREAD,
    TOO_LARGE,
    UPLOADS,
    Call,
    Fault,
    Interaction,
    Kind,
    Limit,
    Refusal,
    Session,
    form_error,
)

Files = Sequence[tuple[str, bytes]]


class DiscordState:
    """One bot application, one server, any number of people; tells every open session."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.commands: dict[str, list[dict[str, Any]]] = {}  # "" is global, else by server
        # (channel, right): view, send, history, threads, lock, manage, pin, react
        self.denied: set[tuple[str, str]] = set()
        self.closed_people: set[str] = set()
        self.typing: list[str] = []
        self.interactions: dict[str, Interaction] = {}
        self.limits: dict[
            str, Limit
        ] = {}  # "POST /channels/*/messages" -> how often it may be called
        self.tier = 0  # of the server: how large its files may be
        self.upload_limit: int | None = None  # another limit than the tier's, in bytes
        self.thread_limit = 1000  # active threads of the server
        self.link_lives = 86_400.0  # seconds that a file's address is good for
        self.cdn_base = ""
        self._last = 0
        self._people: dict[str, dict[str, Any]] = {}
        self._roles: dict[str, list[str]] = {}  # by user
        self._all_roles: dict[str, str] = {}  # id by name
        self._permissions: dict[str, int] = {}  # of a role, by its name
        self._joined: dict[str, set[str]] = {}  # members of threads
        self._webhooks: dict[str, dict[str, Any]] = {}
        self._emojis: dict[str, str] = {}  # id by name
        self._channels: dict[str, dict[str, Any]] = {}
        self._messages: dict[str, dict[str, dict[str, Any]]] = {}
        self._whispers: dict[str, dict[str, dict[str, Any]]] = {}  # by user
        self._reactions: dict[str, dict[str, list[str]]] = {}  # message -> emoji -> users
        self._files: dict[str, bytes] = {}
        self._nonces: dict[str, tuple[float, dict[str, Any]]] = {}
        self._renames: dict[str, list[float]] = {}
        self._sessions: dict[str, Session] = {}
        self._stopping = asyncio.Event()
        self.bot = {**self._person("Heed"), "bot": True}
        self.owner = str(self._person("owner")["id"])
        self.guild = self._id()
        self.servers = {self.guild: "Harbour"}
        self.channel = self.add_channel("general")
        self.desk = self.add_channel("desk")

    def add_channel(
        self,
        name: str,
        *,
        kind: int = TEXT,
        parent: str | None = None,
        tags: tuple[str, ...] = (),
        channel_id: str = "",
        server: str = "",
    ) -> str:
        """Make a channel, a thread or (kind FORUM) a forum of a server, by default the first."""
        made = channel_id or self._id()
        home = server or (str(self._channels[parent]["guild_id"]) if parent else self.guild)
        channel = shapes.channel(made, home, name, kind, parent, self._now())
        channel["position"] = len(self._channels)
        if kind == FORUM:
            channel |= {"available_tags": shapes.tags(tags), "default_reaction_emoji": None}
            channel |= {"topic": None, "flags": 0, "default_sort_order": None}
        self._channels[made] = channel
        self._messages[made] = {}
        event = "THREAD_CREATE" if kind == THREAD else "CHANNEL_CREATE"
        self._tell(event, lambda _: channel, home)
        return made

    def person(self, name: str) -> str:
        """Return the user id of a person, who is made when first named."""
        for one in self._people.values():
            if one["username"] == name:
                return str(one["id"])
        return str(self._person(name)["id"])

    def dm(self, user: str) -> str:
        """Return the direct channel of a person (by name), made when first needed."""
        person = self._people[self.person(user)]
        for channel in self._channels.values():
            if channel["type"] == DIRECT and channel["recipients"][0]["id"] == person["id"]:
                return str(channel["id"])
        channel_id = self._id()
        self._channels[channel_id] = {
            "id": channel_id,
            "type": DIRECT,
            "recipients": [person],
            "last_message_id": None,
        }
        self._messages[channel_id] = {}
        return channel_id

    def fail(self, where: str, kind: Kind, **more: Any) -> None:
        """Arrange for calls of the web side to fail."""
        self.faults.append(Fault(where, kind, **more))

    # Ids, times, people.

    def _id(self) -> str:
        self._last = max(self._last + 1, (int(self.clock() * 1000) - EPOCH_MS) << 22)
        return str(self._last)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), tz=UTC).isoformat()

    def _person(self, name: str) -> dict[str, Any]:
        person = {
            "id": self._id(),
            "username": name,
            "global_name": None,
            "discriminator": "0",
            "avatar": None,
        }
        self._people[person["id"]] = person
        return person

    def _member(self, person: dict[str, Any]) -> dict[str, Any]:
        return shapes.member(person, tuple(self._roles.get(person["id"], ())))

    def _server_of(self, channel: str) -> dict[str, Any]:
        place = self._channels[channel]
        return {} if place["type"] == DIRECT else {"guild_id": place["guild_id"]}

    def _held(self, person: dict[str, Any]) -> int:
        """Return the permissions that somebody has in the server by their roles."""
        if person["id"] == self.owner:
            return (1 << 53) - 1
        mine = self._roles.get(person["id"], ())
        named = [name for name, one in self._all_roles.items() if one in mine]
        return shapes.USUAL | sum({self._permissions.get(name, 0) for name in named})

    # Messages.

    def _write(
        self,
        channel: str,
        author: dict[str, Any],
        body: dict[str, Any],
        files: Files = (),
        **more: Any,
    ) -> dict[str, Any]:
        """Put a message into a channel and tell of it."""
        message = self._compose(channel, author, body, files, **more)
        self._messages[channel][message["id"]] = message
        self._channels[channel]["last_message_id"] = message["id"]
        self._tell_message("MESSAGE_CREATE", message)
        return message

    def _notice(self, channel: str, kind: int, text: str = "") -> None:
        """Let Discord itself say that something was done: pinned, renamed, a thread made."""
        self._write(channel, self.bot, {"content": text}, type=kind)

    def _compose(
        self,
        channel: str,
        author: dict[str, Any],
        body: dict[str, Any],
        files: Files = (),
        **more: Any,
    ) -> dict[str, Any]:
        reference = body.get("message_reference") or {}
        replied = self._replied(channel, reference)
        message = {
            "id": self._id(),
            "type": 19 if replied else 0,
            "channel_id": channel,
            "author": author,
            "content": body.get("content") or "",
            "timestamp": self._now(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": self._attached(channel, body, files),
            "embeds": body.get("embeds") or [],
            "components": body.get("components") or [],
            "pinned": False,
            "flags": body.get("flags") or 0,
            **more,
        }
        self._mention(message, body.get("allowed_mentions"), replied)
        if replied:
            message["message_reference"] = {"message_id": replied["id"], "channel_id": channel}
            message["referenced_message"] = replied
        elif reference.get("type") == 1:
            message["message_reference"] = reference
        if body.get("nonce") is not None:
            message["nonce"] = body["nonce"]
        return message

    def _replied(self, channel: str, reference: dict[str, Any]) -> dict[str, Any] | None:
        if not reference or reference.get("type") == 1:
            return None
        replied = self._messages[channel].get(str(reference["message_id"]))
        if replied is None and reference.get("fail_if_not_exists", True):
            raise form_error("unknown message_reference")
        return replied

    def _attached(
        self,
        channel: str,
        body: dict[str, Any],
        files: Files,
        before: Sequence[dict[str, Any]] = (),
    ) -> list[dict[str, Any]]:
        """Return a message's files: those of `before` that the body still names, and the new."""
        if len(files) > 10:
            raise form_error("attachments must be 10 or fewer")
        tier = 0 if self._channels[channel]["type"] == DIRECT else self.tier
        most = UPLOADS[tier] if self.upload_limit is None else self.upload_limit
        if any(len(content) > most for _, content in files):
            raise Refusal(*TOO_LARGE)
        named = body.get("attachments")
        kept = {str(one["id"]) for one in named or ()}
        made = [one for one in before if named is None or one["id"] in kept]
        for name, content in files:
            one = shapes.attachment(self._id(), name, content)
            self._files[one["id"]] = content
            made.append(self._linked(channel, one))
        return made

    def _linked(self, channel: str, one: dict[str, Any]) -> dict[str, Any]:
        """Return a file with an address that is good from now on for a while."""
        ends = int(self.clock() + self.link_lives)
        url = f"{self.cdn_base}/attachments/{channel}/{one['id']}/{one['filename']}?ex={ends:x}"
        return one | {"url": url, "proxy_url": url}

    def _mention(
        self,
        message: dict[str, Any],
        allowed: dict[str, Any] | None,
        replied: dict[str, Any] | None,
    ) -> None:
        """Work out who is pinged; without `allowed_mentions` everybody named is."""
        content = message["content"]
        parse = {"everyone", "users"} if allowed is None else set(allowed.get("parse") or ())
        named = set(re.findall(r"<@!?(\d+)>", content))
        if "users" not in parse:
            named &= {str(one) for one in (allowed or {}).get("users") or ()}
        if replied and (allowed or {}).get("replied_user", message["author"].get("bot") is None):
            named.add(replied["author"]["id"])
        people = {**self._people, self.bot["id"]: self.bot}
        message["mentions"] = [people[one] for one in sorted(named) if one in people]
        loud = "@everyone" in content or "@here" in content
        message["mention_everyone"] = loud and "everyone" in parse

    def _rendered(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message as it reads now: fresh addresses of its files, and its reactions."""
        channel = message["channel_id"]
        shown = message | {
            "attachments": [self._linked(channel, one) for one in message["attachments"]]
        }
        if message.get("message_snapshots"):
            inner = message["message_snapshots"][0]["message"]
            links = [self._linked(channel, one) for one in inner["attachments"]]
            shown["message_snapshots"] = [{"message": inner | {"attachments": links}}]
        found = self._reactions.get(message["id"], {})
        reactions = [self._reaction(emoji, users) for emoji, users in found.items() if users]
        return shown | ({"reactions": reactions} if reactions else {})

    def _reaction(self, emoji: str, users: list[str]) -> dict[str, Any]:
        return {
            "emoji": self._emoji(emoji),
            "count": len(users),
            "count_details": {"normal": len(users), "burst": 0},
            "me": self.bot["id"] in users,
            "me_burst": False,
            "burst_colors": [],
        }

    def _emoji(self, emoji: str) -> dict[str, Any]:
        """Return an emoji as payloads name it; one of the server's own is written `name:id`."""
        name, _, own = emoji.partition(":")
        return {"id": own or None, "name": name} | ({"animated": False} if own else {})

    # Telling the gateway.

    def _tell(self, event: str, data_for: Callable[[Session], Any], server: str = "") -> None:
        for session in tuple(self._sessions.values()):
            if session.hears(server):
                session.send(event, data_for(session))

    def _tell_message(self, event: str, message: dict[str, Any]) -> None:
        server = self._server_of(message["channel_id"])
        needed = GUILD_MESSAGES if server else DIRECT_MESSAGES
        for session in tuple(self._sessions.values()):
            if session.intents & needed and session.hears(server.get("guild_id", "")):
                shown = self._shown(message, session.intents & MESSAGE_CONTENT) | server
                if server and not message["author"].get("bot"):
                    member = self._member(message["author"])
                    shown["member"] = {k: v for k, v in member.items() if k != "user"}
                session.send(event, shown)

    def _tell_reaction(self, event: str, channel: str, user: str, data: dict[str, Any]) -> None:
        server = self._server_of(channel)
        told = {"user_id": user, "channel_id": channel, "type": 0, "burst": False} | data | server
        if server and event == "MESSAGE_REACTION_ADD":
            person = self.bot if user == self.bot["id"] else self._people[user]
            told["member"] = self._member(person)
        needed = GUILD_REACTIONS if server else DIRECT_REACTIONS
        for session in tuple(self._sessions.values()):
            if session.intents & needed and session.hears(server.get("guild_id", "")):
                session.send(event, told)

    def _shown(self, message: dict[str, Any], allowed: int) -> dict[str, Any]:
        """Return a message as the bot may see it: empty, unless the rules of the intent let it."""
        direct = self._channels[message["channel_id"]]["type"] == DIRECT
        own = message["author"]["id"] == self.bot["id"]
        named = any(one["id"] == self.bot["id"] for one in message["mentions"])
        shown = self._rendered(message)
        if allowed or direct or own or named:
            return shown
        shown.pop("poll", None)
        return shown | {"content": "", "embeds": [], "attachments": [], "components": []}

    # What both people and the bot do.

    def _change_reaction(
        self, channel: str, message_id: str, emoji: str, user: str, *, there: bool
    ) -> None:
        users = self._reactions.setdefault(message_id, {}).setdefault(emoji, [])
        if (user in users) is there:
            return
        data: dict[str, Any] = {"message_id": message_id, "emoji": self._emoji(emoji)}
        if there:
            users.append(user)
            message = self._messages[channel][message_id]
            data["message_author_id"] = message["author"]["id"]
        else:
            users.remove(user)
        event = "MESSAGE_REACTION_ADD" if there else "MESSAGE_REACTION_REMOVE"
        self._tell_reaction(event, channel, user, data)

    def _change_thread(self, thread: str, **meta: bool) -> None:
        place = self._channels[thread]
        place["thread_metadata"] |= meta
        self._tell("THREAD_UPDATE", lambda _: place, place["guild_id"])

    def _drop_message(self, channel: str, message_id: str) -> None:
        del self._messages[channel][message_id]
        self._reactions.pop(message_id, None)
        data = {"id": message_id, "channel_id": channel} | self._server_of(channel)
        self._tell("MESSAGE_DELETE", lambda _: data, data.get("guild_id", ""))

    def _server(self, server: str = "") -> dict[str, Any]:
        """Return a server as GUILD_CREATE tells it, by default the first."""
        server = server or self.guild
        inside = [one for one in self._channels.values() if one.get("guild_id") == server]
        found = shapes.guild(server, self.servers[server], self.owner, self.bot, inside)
        found["roles"] += [
            shapes.role(one, name, self._permissions.get(name, 0))
            for name, one in self._all_roles.items()
        ]
        found["emojis"] = [shapes.emoji(one, name) for name, one in self._emojis.items()]
        return found | {"premium_tier": self.tier}
