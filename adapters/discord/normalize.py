"""From Discord's raw payloads to our words: pure functions, one place for every key.

The gateway and the history speak the same payloads, so a message means the same whether it came
live or was fetched afterwards. A payload of the wrong shape raises one of `MALFORMED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.discord.attachments import attachments, forwarded, unheard, written_in
from adapters.discord.permissions import manages
from core.message import Author, ConversationKey, Message, MessageKind

Payload = Mapping[str, Any]

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

_DIRECT = 1
_THREADS = frozenset({10, 11, 12})
_WRITTEN = frozenset({0, 19})  # a plain message and a reply; all others are the platform's notices
_REPLY = 19
_NAMED = re.compile(r"<@!?(\d+)>")
_OWN_EMOJI = re.compile(r"<a?:(\w+):\d+>")
_MARKED = re.compile(r"[*_~`|]|^(?:>|#|-#) |\[[^\]]+\]\(", re.MULTILINE)
_EPOCH_MS = 1_420_070_400_000  # Discord counts the time in its ids from 2015


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """What a channel id means: a direct channel, a channel, or a thread of a channel."""

    chat: str
    thread: str = ""
    private: bool = False
    user: str = ""  # whose direct channel it is, where we know
    server: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Whom the bot is, and what it may listen to."""

    bot: str
    me: str = ""  # the bot's own user id; empty before the first READY
    watch: frozenset[str] = (
        frozenset()
    )  # channels whose every message is taken; empty: mention mode
    desk: str = ""

    def at_desk(self, where: Where) -> bool:
        """Say whether a place is staff's channel or one of its threads."""
        return bool(self.desk) and self.desk in {where.chat, where.thread}


def where_of(channel: Payload, server: str = "") -> Where:
    """Say what a channel payload is; `server` where the payload does not name its own."""
    own = ident(channel["id"])
    if channel["type"] == _DIRECT:
        people = channel.get("recipients") or ()
        user = ident(people[0]["id"]) if people else ""
        return Where(chat=own, private=True, user=user)
    server = ident(channel.get("guild_id") or server) if channel.get("guild_id") or server else ""
    if channel["type"] in _THREADS:
        return Where(chat=ident(channel["parent_id"]), thread=own, server=server)
    return Where(chat=own, server=server)


def snowflake(value: str | int) -> int:
    """Return an id as the number by which messages are ordered. Raises ValueError."""
    plain = isinstance(value, str) and value.isascii() and value.isdecimal()
    if not (plain or (isinstance(value, int) and not isinstance(value, bool))):
        raise ValueError(f"{value!r:.40} is no id of Discord's")
    number = int(value)
    if not 0 < number < 1 << 63:
        raise ValueError(f"{value!r:.40} is no id of Discord's")
    return number


def ident(value: str | int) -> str:
    """Return an id as text, however it came. Raises ValueError for what is none."""
    return str(snowflake(value))


def time_of(made: str) -> float:
    """Return when an id was made, in seconds since the epoch."""
    return ((snowflake(made) >> 22) + _EPOCH_MS) / 1000


def said(payload: Payload, where: Where, scope: Scope) -> Message | None:
    """Read one written message; None when it is nothing of ours.

    None: bots, webhooks, ourselves, the platform's own notices, and in servers whatever neither
    speaks to somebody by a reply, nor to the bot, nor stands in a watched channel or the desk.
    """
    return _written(payload, where, scope, "said", _time(payload["timestamp"]))


def edited(payload: Payload, where: Where, scope: Scope) -> Message | None:
    """Read an edit; None when nobody edited (a link preview came in) or it is nothing of ours."""
    stamp = payload.get("edited_timestamp")
    if not stamp or "author" not in payload:
        return None
    return _written(payload, where, scope, "edited", _time(stamp), event=str(stamp))


def deleted(message_id: str, where: Where, author: str, scope: Scope, now: float) -> Message:
    """Read a deletion of what `author` wrote; empty where nobody knows who that was."""
    return Message(
        key=key_of(where, scope, author),
        message_id=message_id,
        author=Author(id=author),
        sent_at=now,
        kind="deleted",
        addressed=where.private or scope.at_desk(where),
        private=where.private,
        server=where.server,
        event_id="deleted",
        order=snowflake(message_id),
    )


def reacted(  # noqa: PLR0913 -- what Discord leaves out is told by name
    payload: Payload, where: Where, scope: Scope, now: float, *, event: str, added: bool, ours: bool
) -> Message | None:
    """Read a reaction that came or was taken back; None for bots, and for what is none of ours.

    `ours`: the message is known here. Discord gives the event no id and no time: the caller does.
    """
    member = payload.get("member") or {}
    person = member.get("user") or {"id": payload["user_id"]}
    here = where.private or scope.at_desk(where) or ours
    here = here or str(payload.get("message_author_id") or "") == scope.me != ""
    who = ident(person["id"])
    watched = bool({where.chat, where.thread} & scope.watch)
    emoji = payload["emoji"]
    name = str(emoji.get("name") or "")
    nobody = person.get("bot") or who == scope.me
    if nobody or not (here or watched) or (added and not name):
        return None
    shown = f":{name}:" if emoji.get("id") else name
    return Message(
        key=key_of(where, scope, who),
        message_id=ident(payload["message_id"]),
        author=author_of(person, member),
        sent_at=now,
        kind="reacted",
        data=shown if added else "",
        addressed=here,
        private=where.private,
        server=where.server,
        event_id=event,
        order=snowflake(payload["message_id"]),
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
    who = ident(person["id"])
    if not written or person.get("bot") or who == scope.me:
        return None
    addressed = where.private or scope.at_desk(where) or _speaks_to_us(payload, scope)
    answered = (payload.get("referenced_message") or {}).get("author") or {}
    watched = bool({where.chat, where.thread} & scope.watch)
    overheard = not (addressed or watched) and bool(answered) and not answered.get("bot")
    if not (addressed or watched or overheard):
        return None
    text, foreign = _text(payload, scope.me)
    hung = attachments(payload)
    if not text and not hung and where.private and kind == "said":
        hung = (unheard(payload),)
    if not where.private and not text and not hung:
        return None  # without the intent the text of what does not mention us never arrives
    reference = payload.get("message_reference") or {}
    answers = reference.get("message_id") if payload.get("type") == _REPLY else None
    return Message(
        key=key_of(where, scope, who),
        message_id=ident(payload["id"]),
        author=author_of(person, payload.get("member") or {}),
        sent_at=at,
        kind=kind,
        text=text,
        formatted=as_marked(text),
        attachments=hung,
        reply_to=ident(answers) if answers else None,
        reply_to_author=ident(answered["id"]) if answers and answered else "",
        addressed=addressed,
        overheard=overheard,
        private=where.private,
        server=where.server,
        event_id=event,
        order=snowflake(payload["id"]),
        scored=not foreign,
    )


def key_of(where: Where, scope: Scope, user: str) -> ConversationKey:
    """Return the key of one person in one place: the only function that makes one."""
    return ConversationKey(
        platform="discord", bot=scope.bot, chat=where.chat, thread=where.thread, user=user
    )


def author_of(person: Payload, member: Payload, language: str = "") -> Author:
    """Read who did something; `member` is empty outside servers."""
    roles = tuple(str(role) for role in member.get("roles") or ())
    admin = manages(int(member.get("permissions") or 0))  # only interactions tell it
    return Author(
        id=ident(person["id"]), name=_name(person), language=language, roles=roles, admin=admin
    )


def _name(person: Payload) -> str:
    return words(person.get("global_name") or person.get("username"))


def words(value: Any) -> str:  # noqa: ANN401 -- raw JSON
    """Return a text, empty where there is none. Raises TypeError for what is no text."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text should be")
    return value or ""


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


def _text(payload: Payload, me: str) -> tuple[str, bool]:
    """Return the text, and whether it is somebody else's that was only forwarded."""
    own = words(payload.get("content"))
    if own or not (others := forwarded(payload)):
        return plain(_without_mention(own, me), payload.get("mentions") or ()), False
    forward = others[0]
    return plain(written_in(forward), forward.get("mentions") or ()), True


def plain(text: str, people: Iterable[Payload]) -> str:
    """Put names where Discord has numbers: of `people`, and of a server's own emojis."""
    names = {str(one["id"]): _name(one) for one in people}

    def name(found: re.Match[str]) -> str:
        return f"@{names[found[1]]}" if names.get(found[1]) else found[0]

    return _OWN_EMOJI.sub(r":\1:", _NAMED.sub(name, text))


def as_marked(text: str) -> str:
    """Return a text that is Markdown, as all is here; empty where nothing in it is formatted."""
    return text if _MARKED.search(text) else ""


def _without_mention(text: str, me: str) -> str:
    """Leave out the name by which the bot was called, unless nothing else was said."""
    rest = re.sub(rf"\s*<@!?{re.escape(me)}>", "", text).strip() if me else text.strip()
    return rest or text.strip()
