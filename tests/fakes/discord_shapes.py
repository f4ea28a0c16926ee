"""The words of the Discord fake: its faults, its errors, and the payloads of Discord's shapes."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

EPOCH_MS = 1_420_070_400_000
MESSAGE_CONTENT = 1 << 15
GUILD_MEMBERS, GUILD_TYPING, DIRECT_TYPING = 1 << 1, 1 << 11, 1 << 14
GUILD_MESSAGES, DIRECT_MESSAGES = 1 << 9, 1 << 12
GUILD_REACTIONS, DIRECT_REACTIONS = 1 << 10, 1 << 13
TEXT, DIRECT, THREAD, FORUM = 0, 1, 11, 15
EPHEMERAL = 1 << 6
RIGHTS = {"view": 1 << 10, "send": 1 << 11, "send in threads": 1 << 38}
# view, send, attach, history, react, threads, send in threads
USUAL = sum(1 << bit for bit in (6, 10, 11, 14, 15, 16, 35, 38))
WRITTEN = frozenset({0, 19})  # kinds of messages that somebody wrote; the others are notices
MIB = 1 << 20
UPLOADS = {0: 10 * MIB, 1: 10 * MIB, 2: 50 * MIB, 3: 100 * MIB}  # by a server's tier

# 429 with its scope, a status, what happens to the line, or the number of one of Discord's errors
Kind = str
REPLY_DEADLINE = 3.0
TOKEN_LIVES = 900.0


@dataclass
class Fault:
    """The next `count` calls that match `where` ("POST /channels/*/messages") fail."""

    where: str
    kind: Kind
    count: int = 1
    apply: bool = False  # the work is done before the answer fails
    retry_after: float = 0.2
    status: int = 400  # of an error by its number


@dataclass
class Call:
    """One call of the web side."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int = 0
    files: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass
class Interaction:
    """A press, a slash command or a filled form, and what the bot answered."""

    id: str
    token: str
    at: float
    payload: dict[str, Any]
    answer: dict[str, Any] | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def failed(self, now: float) -> bool:
        """Say whether Discord has told its sender that the application did not respond."""
        return self.answer is None and now - self.at > REPLY_DEADLINE


@dataclass
class Limit:
    """How many calls of one route and one major id are allowed in a window of seconds."""

    calls: int = 1000
    window: float = 1.0
    scope: Literal["user", "shared"] = "user"


@dataclass
class Session:
    """One IDENTIFY: it outlives its socket, so that RESUME can replay."""

    id: str
    intents: int
    seq: int = 0
    log: list[tuple[int, str]] = field(default_factory=list)
    out: asyncio.Queue[str | int | None] | None = None  # text, close code, or None: cut the line
    shard: tuple[int, int] = (0, 1)

    def hears(self, guild: str) -> bool:
        """Say whether a server's events (empty: those of direct channels) come by this shard."""
        number, of = self.shard
        return (int(guild or 0) >> 22) % of == number

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


class SlowDown(Refusal):
    """Too often: come again later."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(429, 0, "You are being rate limited.")
        self.retry_after = retry_after


UNKNOWN_SERVER = (404, 10004, "Unknown Guild")
UNKNOWN_CHANNEL = (404, 10003, "Unknown Channel")
UNKNOWN_MEMBER = (404, 10007, "Unknown Member")
UNKNOWN_MESSAGE = (404, 10008, "Unknown Message")
UNKNOWN_EMOJI = (400, 10014, "Unknown Emoji")
UNKNOWN_WEBHOOK = (404, 10015, "Unknown Webhook")
TOO_LARGE = (413, 40005, "Request entity too large")
NOT_IN_DIRECT = (403, 50003, "Cannot execute action on a DM channel")
NOT_YOURS = (403, 50005, "Cannot edit a message authored by another user")
NO_TEXT_HERE = (400, 50008, "Cannot send messages in a non-text channel")
DEAD_TOKEN = (401, 50027, "Invalid Webhook Token")
ARCHIVED = (400, 50083, "Thread is archived")
LOCKED = (400, 160005, "This thread is locked")
FULL = (400, 160006, "Maximum number of active threads reached")
MISSING_ACCESS = (403, 50001, "Missing Access")
CLOSED_DIRECT = (403, 50007, "Cannot send messages to this user")
MISSING_PERMISSION = (403, 50013, "Missing Permissions")


def form_error(words: str) -> Refusal:
    """Return the answer to a body that breaks a rule."""
    return Refusal(400, 50035, f"Invalid Form Body: {words}")


def member(person: dict[str, Any], roles: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return somebody as a member of the server."""
    return {
        "user": person,
        "nick": None,
        "roles": list(roles),
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
        "rate_limit_per_user": 0,
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


def tags(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the tags of a forum."""
    return [
        {"id": str(70 + number), "name": name, "moderated": False}
        | {"emoji_id": None, "emoji_name": None}
        for number, name in enumerate(names)
    ]


def attachment(attachment_id: str, name: str, content: bytes) -> dict[str, Any]:
    """Return what a message says of one file; its address is added when it is shown."""
    found = mimetypes.guess_type(name)[0]
    return {
        "id": attachment_id,
        "filename": name,
        "size": len(content),
        **({"content_type": found} if found else {}),
    }


def poll(question: str, answers: tuple[str, ...], ends: str) -> dict[str, Any]:
    """Return a poll as a message holds it."""
    return {
        "question": {"text": question},
        "answers": [
            {"answer_id": number, "poll_media": {"text": text}}
            for number, text in enumerate(answers, 1)
        ],
        "expiry": ends,
        "allow_multiselect": False,
        "layout_type": 1,
    }


def snapshot(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a forward shows of a message: not who wrote it."""
    kept = ("type", "content", "embeds", "attachments", "timestamp", "edited_timestamp", "flags")
    return {
        "message": {name: message[name] for name in kept}
        | {"mentions": [], "mention_roles": [], "components": []}
    }


def role(role_id: str, name: str, permissions: int = 0) -> dict[str, Any]:
    """Return a role of the server."""
    return {
        "id": role_id,
        "name": name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": 0,
        "permissions": str(permissions),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def emoji(emoji_id: str, name: str) -> dict[str, Any]:
    """Return an emoji of the server's own."""
    return {
        "id": emoji_id,
        "name": name,
        "roles": [],
        "require_colons": True,
        "managed": False,
        "animated": False,
        "available": True,
    }


def guild(
    guild_id: str, name: str, owner: str, bot: dict[str, Any], places: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return GUILD_CREATE's payload, with the fields that the library dies without.

    As on Discord, its channels and threads do not name the server again.
    """
    inside = [{k: v for k, v in one.items() if k != "guild_id"} for one in places]
    channels = [one for one in inside if one["type"] in {TEXT, FORUM}]
    threads = [one for one in inside if one["type"] == THREAD]
    threads = [one for one in threads if not one["thread_metadata"]["archived"]]
    everyone = role(guild_id, "@everyone", USUAL)
    return {
        "id": guild_id,
        "name": name,
        "owner_id": owner,
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


def check_text(body: dict[str, Any], *, files: bool = False) -> None:
    """Refuse what Discord refuses of a message."""
    text = body.get("content") or ""
    if not text and not body.get("embeds") and not files:
        raise Refusal(400, 50006, "Cannot send an empty message")
    if len(text) > 2000:
        raise form_error("content must be 2000 or fewer in length")
    rows = body.get("components") or []
    if len(rows) > 5 or any(len(row["components"]) > 5 for row in rows):
        raise form_error("components must be 5 or fewer")
    if not all(isinstance(one, int) for one in _numbers(body.get("message_reference") or {})):
        raise form_error("message_reference: ids are numbers")
    for one in (button for row in rows for button in row["components"]):
        if len(one.get("label") or "") > 80 or len(one["custom_id"]) > 100:
            raise form_error("a label has at most 80 characters, a custom_id 100")


def _numbers(reference: dict[str, Any]) -> list[Any]:
    return [reference[name] for name in ("message_id", "channel_id") if name in reference]


def check_choices(answer: dict[str, Any]) -> None:
    """Refuse suggestions that Discord would not show."""
    found = answer["choices"]
    if len(found) > 25 or any(not 0 < len(one["name"]) <= 100 for one in found):
        raise form_error("at most 25 choices, of 1 to 100 characters")


def check_form(answer: dict[str, Any]) -> None:
    """Refuse a form that Discord would not show."""
    fields = text_fields(answer)
    if not 0 < len(answer.get("title") or "") <= 45 or not fields:
        raise form_error("a title has 1 to 45 characters, a form 1 to 5 fields")
    for one in fields:
        most = one.get("max_length") or 4000
        if not 0 < len(one["label"]) <= 45 or len(one.get("value") or "") > min(most, 4000):
            raise form_error("a label has 1 to 45 characters, a value at most max_length")


def text_fields(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the text fields of a form."""
    return [one for row in answer["components"] for one in row["components"] if one["type"] == 4]


def json_answer(status: int, body: Any, **headers: str) -> web.Response:
    """Answer with the exact Content-Type that the library wants."""
    if status == 204:
        return web.Response(status=204, headers=headers)
    text = json.dumps(body).encode()
    return web.Response(
        status=status, body=text, headers={"Content-Type": "application/json", **headers}
    )


def squeezer(kind: str) -> Callable[[str], bytes] | None:
    """Return the compression of one connection, one context for all of it; None: plain text."""
    if kind == "zstd-stream":
        return ZstdStream()
    if kind != "zlib-stream":
        return None
    stream = zlib.compressobj()

    def squeeze(text: str) -> bytes:
        return stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)

    return squeeze


class ZstdStream:
    """One zstd frame that never ends, of blocks that hold their bytes as they are."""

    BLOCK = 1 << 17  # the most bytes of a block

    def __init__(self) -> None:
        # the magic number; no size, checksum or dictionary; a window of 8 MiB
        self._head = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(23 - 10) << 3])

    def __call__(self, text: str) -> bytes:
        data, out = text.encode(), self._head
        self._head = b""
        for start in range(0, len(data), self.BLOCK):
            block = data[start : start + self.BLOCK]
            out += (len(block) << 3).to_bytes(3, "little") + block  # not the last one, raw
        return out
