"""From Discord's raw payloads to our words: pure functions, one place for every key.

The gateway and the history speak the same payloads, so a message means the same whether it came
live or was fetched afterwards. A payload of the wrong shape raises one of `MALFORMED`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.message import Attachment, Author, ConversationKey, Message, MessageKind

Payload = Mapping[str, Any]

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

_DIRECT = 1
_THREADS = frozenset({10, 11, 12})
_WRITTEN = frozenset({0, 19})  # a plain message and a reply; all others are the platform's notices
_OURS = re.compile(r"^[hu]:")
_SLASH, _COMPONENT = 2, 3
_EPOCH_MS = 1_420_070_400_000  # Discord counts the time in its ids from 2015


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """What a channel id means: a direct channel, a channel, or a thread of a channel."""

    chat: str
    thread: str = ""
    private: bool = False
    user: str = ""  # whose direct channel it is, where we know


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Whom the bot is, and what it may listen to."""

    bot: str
    me: str = ""  # the bot's own user id; empty before the first READY
    watch: frozenset[str] = (
        frozenset()
    )  # channels whose every message is taken; empty: mention mode
    desk: str = ""


def where_of(channel: Payload) -> Where:
    """Say what a channel payload is."""
    if channel["type"] == _DIRECT:
        people = channel.get("recipients") or ()
        user = str(people[0]["id"]) if people else ""
        return Where(chat=str(channel["id"]), private=True, user=user)
    if channel["type"] in _THREADS:
        return Where(chat=str(channel["parent_id"]), thread=str(channel["id"]))
    return Where(chat=str(channel["id"]))


def snowflake(value: str) -> int:
    """Return an id as the number by which messages are ordered. Raises ValueError."""
    number = int(value)
    if not 0 < number < 1 << 63:
        raise ValueError(f"{value} is no id of Discord's")
    return number


def time_of(made: str) -> float:
    """Return when an id was made, in seconds since the epoch."""
    return ((snowflake(made) >> 22) + _EPOCH_MS) / 1000


def said(payload: Payload, where: Where, scope: Scope) -> Message | None:
    """Read one written message; None when it is nothing of ours.

    None: bots, webhooks, ourselves, the platform's own notices, and in servers whatever neither
    speaks to the bot nor stands in a watched channel or the desk.
    """
    return _written(payload, where, scope, "said", _time(payload["timestamp"]))


def edited(payload: Payload, where: Where, scope: Scope) -> Message | None:
    """Read an edit; None when nobody edited (a link preview came in) or it is nothing of ours."""
    stamp = payload.get("edited_timestamp")
    if not stamp or "author" not in payload:
        return None
    return _written(payload, where, scope, "edited", _time(stamp), event=str(stamp))


def deleted(message_id: str, where: Where, author: str, scope: Scope, now: float) -> Message:
    """Read a deletion of what `author` wrote; Discord itself does not say who wrote it."""
    return Message(
        key=_key(where, scope, author),
        message_id=message_id,
        author=Author(id=author),
        sent_at=now,
        kind="deleted",
        addressed=where.private,
        private=where.private,
        event_id="deleted",
        order=snowflake(message_id),
    )


def interaction(payload: Payload, where: Where, scope: Scope) -> Message | None:
    """Read a slash command or a press of one of our buttons; None for anything else."""
    person = payload["member"]["user"] if "member" in payload else payload["user"]
    data = payload.get("data") or {}
    name = command = argument = ""
    kind: MessageKind
    if payload["type"] == _SLASH:
        kind, message_id, event = "command", str(payload["id"]), ""
        command = str(data["name"]).lower()
        argument = " ".join(str(option["value"]) for option in data.get("options") or ())
    elif payload["type"] == _COMPONENT and _OURS.match(name := str(data["custom_id"])):
        kind, message_id, event = "pressed", str(payload["message"]["id"]), str(payload["id"])
    else:
        return None
    return Message(
        key=_key(where, scope, str(person["id"])),
        message_id=message_id,
        author=_author(person, str(payload.get("locale") or "")),
        sent_at=time_of(payload["id"]),
        kind=kind,
        text=f"/{command} {argument}".strip() if command else "",
        private=where.private,
        command=command,
        argument=argument,
        data=name,
        event_id=event,
        order=snowflake(payload["id"]),
    )


def _written(
    payload: Payload,
    where: Where,
    scope: Scope,
    kind: MessageKind,
    at: float,
    *,
    event: str = "",
) -> Message | None:
    person = payload["author"]
    written = payload.get("type", 0) in _WRITTEN and not payload.get("webhook_id")
    if not written or person.get("bot") or str(person["id"]) == scope.me:
        return None
    here = {where.chat, where.thread}
    desk = scope.desk in here if scope.desk else False
    addressed = where.private or desk or _speaks_to_us(payload, scope)
    if not addressed and not here & scope.watch:
        return None
    text, forwarded = _text(payload)
    files = _attachments(payload)
    if not where.private and not text and not files:
        return None  # without the intent the text of what does not mention us never arrives
    reference = payload.get("message_reference") or {}
    answers = reference.get("message_id") if payload.get("type") == 19 else None
    return Message(
        key=_key(where, scope, str(person["id"])),
        message_id=str(payload["id"]),
        author=_author(person),
        sent_at=at,
        kind=kind,
        text=_without_mention(text, scope.me),
        attachments=files,
        reply_to=str(answers) if answers else None,
        addressed=addressed,
        private=where.private,
        event_id=event,
        order=snowflake(payload["id"]),
        scored=not forwarded,
    )


def _key(where: Where, scope: Scope, user: str) -> ConversationKey:
    return ConversationKey(
        platform="discord", bot=scope.bot, chat=where.chat, thread=where.thread, user=user
    )


def _author(person: Payload, language: str = "") -> Author:
    name = person.get("global_name") or person.get("username") or ""
    return Author(id=str(person["id"]), name=str(name), language=language)


def _time(stamp: str) -> float:
    at = datetime.fromisoformat(stamp)
    if at.tzinfo is None:
        raise ValueError(f"{stamp} names no time zone")
    return at.timestamp()


def _speaks_to_us(payload: Payload, scope: Scope) -> bool:
    if any(str(person["id"]) == scope.me for person in payload.get("mentions") or ()):
        return True
    answered = payload.get("referenced_message") or {}
    return bool(answered) and str(answered["author"]["id"]) == scope.me


def _text(payload: Payload) -> tuple[str, bool]:
    """Return the text, and whether it is somebody else's that was only forwarded."""
    own = str(payload.get("content") or "")
    snapshots: Sequence[Payload] = payload.get("message_snapshots") or ()
    if own or not snapshots:
        return own, False
    return str(snapshots[0]["message"].get("content") or ""), True


def _without_mention(text: str, me: str) -> str:
    return re.sub(rf"\s*<@!?{re.escape(me)}>", "", text).strip() if me else text.strip()


def _attachments(payload: Payload) -> tuple[Attachment, ...]:
    files = tuple(
        Attachment(
            kind=_kind(str(file.get("content_type") or "")),
            file_id=str(file["id"]),
            name=str(file.get("filename") or ""),
            size=int(file.get("size") or 0),
        )
        for file in payload.get("attachments") or ()
    )
    stickers = tuple(
        Attachment(kind="sticker", file_id=str(one["id"]), name=str(one.get("name") or ""))
        for one in payload.get("sticker_items") or ()
    )
    return files + stickers


def _kind(content_type: str) -> str:
    family = content_type.partition("/")[0]
    return {"image": "photo", "video": "video", "audio": "voice"}.get(family, "file")
