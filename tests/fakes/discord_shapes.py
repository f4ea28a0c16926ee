"""The words of the Discord fake: its faults, its errors, and the payloads of Discord's shapes."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

EPOCH_MS = 1_420_070_400_000
MESSAGE_CONTENT = 1 << 15
GUILD_MESSAGES, DIRECT_MESSAGES = 1 << 9, 1 << 12
TEXT, DIRECT, THREAD = 0, 1, 11

Kind = Literal[
    "429", "429-cloudflare", "500", "502", "503", "reset", "closed", "cut", "hang", "junk"
]
REPLY_DEADLINE = 3.0


@dataclass
class Fault:
    """The next `count` calls that match `where` ("POST /channels/*/messages") fail."""

    where: str
    kind: Kind
    count: int = 1
    apply: bool = False  # the work is done before the answer fails
    retry_after: float = 0.2


@dataclass
class Call:
    """One call of the web side."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int = 0


@dataclass
class Interaction:
    """A press or a slash command, and what the bot answered."""

    id: str
    token: str
    at: float
    payload: dict[str, Any]
    answer: dict[str, Any] | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Session:
    """One IDENTIFY: it outlives its socket, so that RESUME can replay."""

    id: str
    intents: int
    seq: int = 0
    log: list[tuple[int, str]] = field(default_factory=list)
    out: asyncio.Queue[str | int | None] | None = None  # text, close code, or None: cut the line

    def send(self, event: str, data: Any) -> None:
        self.seq += 1
        frame = json.dumps({"op": 0, "t": event, "s": self.seq, "d": data})
        self.log.append((self.seq, frame))
        if self.out is not None:
            self.out.put_nowait(frame)


class Refusal(Exception):
    """An answer that is an error of Discord's own."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


UNKNOWN_CHANNEL = (404, 10003, "Unknown Channel")
UNKNOWN_MESSAGE = (404, 10008, "Unknown Message")
MISSING_ACCESS = (403, 50001, "Missing Access")
CLOSED_DIRECT = (403, 50007, "Cannot send messages to this user")
MISSING_PERMISSION = (403, 50013, "Missing Permissions")


def member(person: dict[str, Any]) -> dict[str, Any]:
    """Return somebody as a member of the server."""
    return {
        "user": person,
        "nick": None,
        "roles": [],
        "joined_at": "2026-01-01T00:00:00+00:00",
        "deaf": False,
        "mute": False,
        "flags": 0,
        "permissions": "0",
    }


def channel(
    channel_id: str, guild_id: str, name: str, kind: int, parent: str | None, now: str
) -> dict[str, Any]:
    """Return a channel or a thread of the server."""
    made: dict[str, Any] = {
        "id": channel_id,
        "type": kind,
        "guild_id": guild_id,
        "name": name,
        "position": 0,
        "permission_overwrites": [],
        "parent_id": parent,
        "last_message_id": None,
    }
    if kind == THREAD:
        made |= {
            "owner_id": "1",
            "message_count": 0,
            "member_count": 1,
            "thread_metadata": {
                "archived": False,
                "auto_archive_duration": 10080,
                "archive_timestamp": now,
                "locked": False,
            },
        }
    return made


def guild(guild_id: str, bot: dict[str, Any], places: list[dict[str, Any]]) -> dict[str, Any]:
    """Return GUILD_CREATE's payload, with the fields that the library dies without."""
    channels = [one for one in places if one["type"] == TEXT]
    threads = [one for one in places if one["type"] == THREAD]
    everyone = {
        "id": guild_id,
        "name": "@everyone",
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": 0,
        "permissions": "0",
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }
    return {
        "id": guild_id,
        "name": "Harbour",
        "owner_id": guild_id,
        "unavailable": False,
        "member_count": 3,
        "roles": [everyone],
        "emojis": [],
        "stickers": [],
        "features": [],
        "members": [member(bot)],
        "channels": channels,
        "threads": threads,
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "premium_progress_bar_enabled": False,
        "system_channel_flags": 0,
        "afk_timeout": 300,
    }


def application(bot: dict[str, Any], flags: int) -> dict[str, Any]:
    """Return what the portal knows of the bot's application."""
    return {
        "id": bot["id"],
        "name": "Heed",
        "icon": None,
        "description": "",
        "bot_public": True,
        "bot_require_code_grant": False,
        "owner": bot,
        "verify_key": "0" * 64,
        "flags": flags,
        "team": None,
    }


def check_text(body: dict[str, Any]) -> None:
    """Refuse what Discord refuses of a text."""
    text = body.get("content") or ""
    if not text and not body.get("embeds"):
        raise Refusal(400, 50006, "Cannot send an empty message")
    if len(text) > 2000:
        raise Refusal(400, 50035, "Invalid Form Body: content must be 2000 or fewer in length")


def json_answer(status: int, body: Any, **headers: str) -> web.Response:
    """Answer with the exact Content-Type that the library wants."""
    if status == 204:
        return web.Response(status=204, headers=headers)
    text = json.dumps(body).encode()
    return web.Response(
        status=status, body=text, headers={"Content-Type": "application/json", **headers}
    )


def squeezer(kind: str) -> Callable[[str], bytes] | None:
    """Return the compression of one connection: zlib-stream, or none where it is not asked for."""
    if kind != "zlib-stream":
        return None
    stream = zlib.compressobj()

    def squeeze(text: str) -> bytes:
        return stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)

    return squeeze
