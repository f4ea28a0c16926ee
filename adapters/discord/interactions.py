"""Commands, presses and forms: what they mean, how they are answered, and whispers.

A slash command and one from a message's menu mean the same to the rest of Heed. A command or a
press gives the right to answer its sender alone for a quarter of an hour. The right is a token
that stands nowhere but in memory: after a restart such an answer goes to the place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.discord.attachments import written_in
from adapters.discord.markdown import unescaped
from adapters.discord.normalize import (
    Payload,
    Scope,
    Where,
    as_marked,
    author_of,
    ident,
    key_of,
    plain,
    snowflake,
    time_of,
    words,
)
from adapters.discord.recent import Recent
from core.message import Message, MessageKind
from core.ports import Clock, Question

DONE = "✓"
DEFERRED = {"type": 6}  # the pressed message stays as it is
NOTED = {"type": 4, "data": {"content": DONE, "flags": 64}}  # seen by the person alone
LATER = {"type": 5, "data": {"flags": 64}}  # the same, and what it says follows
ESCALATE = "Escalate this message"  # a command of a message's menu

_SLASH, _COMPONENT, _TYPING, _FORM = 2, 3, 4, 5
_MESSAGE_MENU = 3  # kind of command
_MENUS = {ESCALATE: "escalate"}
_CHOICES, _CHOICE = 25, 100  # the most suggestions, and characters of one
_OURS = re.compile(r"^[hu]:")
_BUTTON = re.compile(r"h:[0-9a-z]+:([a-z]{2}):[0-9a-z]+")
_LIVES = 890.0  # seconds; Discord gives 900
_KEPT = 1000
_MOST = 2000  # characters of a form's field: what one message may have
_SHORT = 45  # characters of a form's title and label


@dataclass(frozen=True, slots=True)
class Right:
    """The right to answer one interaction; `open` once Discord has heard the first answer."""

    application: str
    token: str = field(repr=False)
    until: float
    open: asyncio.Event


class Rights:
    """The rights to answer that still hold: the newest 1000, for a quarter of an hour each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: Recent[Right] = Recent(_KEPT)

    def keep(self, payload: Payload) -> Right:
        """Remember the right that an interaction gives. Raises KeyError."""
        application, token = str(payload["application_id"]), str(payload["token"])
        right = Right(application, token, self._clock() + _LIVES, asyncio.Event())
        self._held.put(str(payload["id"]), right)
        return right

    def find(self, interaction: str) -> Right | None:
        """Return a right that still holds."""
        right = self._held.get(interaction)
        return right if right is not None and self._clock() < right.until else None

    def drop(self, interaction: str) -> None:
        """Forget a right that Discord does not grant."""
        self._held.drop(interaction)


def read(payload: Payload, where: Where, scope: Scope) -> Message | None:
    """Read a slash command, a press of one of our buttons or a filled form; else None."""
    member = payload.get("member") or {}
    person = member["user"] if member else payload["user"]
    data = payload.get("data") or {}
    understand = _MEANINGS.get(payload["type"])
    meant = understand(payload, data) if understand is not None else None
    if meant is None:
        return None
    argument = plain(meant.argument, ((data.get("resolved") or {}).get("users") or {}).values())
    text = f"/{meant.command} {argument}".strip() if meant.command else ""
    marked = as_marked(argument)
    return Message(
        key=key_of(where, scope, ident(person["id"])),
        message_id=meant.message_id,
        author=author_of(person, member, str(payload.get("locale") or "")),
        sent_at=time_of(payload["id"]),
        kind=meant.kind,
        text=text,
        formatted=text if marked and text else marked,
        reply_to=meant.reply_to or None,
        reply_to_author=meant.reply_to_author,
        forwarded_from=meant.whose,
        private=where.private,
        server=where.server,
        command=meant.command,
        argument=argument,
        data=meant.data,
        event_id="" if meant.command else str(payload["id"]),
        order=snowflake(payload["id"]),
    )


def form(payload: Payload, questions: Mapping[str, Question]) -> Mapping[str, Any] | None:
    """Return the form that a press is to be answered with; None when it asks for nothing."""
    if payload["type"] != _COMPONENT:
        return None
    name = str(payload["data"]["custom_id"])
    found = _BUTTON.fullmatch(name)
    question = questions.get(found[1]) if found else None
    if question is None:
        return None
    text = {
        "type": 4,
        "custom_id": "text",
        "style": 2,
        "label": question.label[:_SHORT],
        "max_length": _MOST,
        "required": True,
    }
    quoted = str((payload.get("message") or {}).get("content") or "").partition("\n")[2]
    if question.quoted and quoted:
        text["value"] = unescaped(quoted)[:_MOST]
    rows = [{"type": 1, "components": [text]}]
    title = question.title[:_SHORT]
    return {"type": 9, "data": {"custom_id": name, "title": title, "components": rows}}


@dataclass(frozen=True, slots=True)
class _Meant:
    kind: MessageKind
    message_id: str
    command: str = ""
    argument: str = ""
    data: str = ""
    reply_to: str = ""
    reply_to_author: str = ""
    whose: str = ""  # the name of who wrote that one


def typed(payload: Payload) -> tuple[str, str] | None:
    """Return the command that somebody is typing, and what of its text stands there so far."""
    if payload["type"] != _TYPING:
        return None
    data = payload["data"]
    focused = [one for one in data.get("options") or () if one.get("focused")]
    return words(data["name"]).lower(), "".join(words(one.get("value")) for one in focused)


def choices(found: Iterable[str]) -> Mapping[str, Any]:
    """Return the answer that shows suggestions to whoever is typing."""
    fitting = [one for one in found if 0 < len(one) <= _CHOICE][:_CHOICES]
    return {"type": 8, "data": {"choices": [{"name": one, "value": one} for one in fitting]}}


def _slash(payload: Payload, data: Payload) -> _Meant | None:
    if data.get("type") == _MESSAGE_MENU:
        return _about_a_message(payload, data)
    argument = " ".join(str(option["value"]) for option in data.get("options") or ())
    return _Meant("command", ident(payload["id"]), words(data["name"]).lower(), argument)


def _about_a_message(payload: Payload, data: Payload) -> _Meant | None:
    """Read a command of a message's menu: Discord brings that message, whatever the intents."""
    name = _MENUS.get(words(data["name"]))
    if name is None:
        return None
    target = ident(data["target_id"])
    message = data["resolved"]["messages"][target]
    author = message["author"]
    foreign = author.get("bot") or message.get("webhook_id")  # nobody to bring a person to
    return _Meant(
        "command",
        ident(payload["id"]),
        name,
        written_in(message),
        reply_to=target,
        reply_to_author="" if foreign else ident(author["id"]),
        whose=author_of(author, {}).name,
    )


def _press(payload: Payload, data: Payload) -> _Meant | None:
    name = str(data["custom_id"])
    if not _OURS.match(name):
        return None
    return _Meant("pressed", ident(payload["message"]["id"]), data=name)


def _filled(payload: Payload, data: Payload) -> _Meant | None:
    name = str(data["custom_id"])
    if not _OURS.match(name):
        return None
    [text] = [str(one["value"]) for one in _fields(data["components"])]
    message = payload.get("message") or payload
    return _Meant("pressed", ident(message["id"]), argument=text, data=name)


def _fields(rows: Any) -> list[Payload]:  # noqa: ANN401 -- raw JSON
    """Return the fields of a form: in rows, or each under a label of its own."""
    inside = [one for row in rows for one in row.get("components") or [row["component"]]]
    return [one for one in inside if "value" in one]


_MEANINGS: Mapping[int, Callable[[Payload, Payload], _Meant | None]] = {
    _SLASH: _slash,
    _COMPONENT: _press,
    _FORM: _filled,
}
