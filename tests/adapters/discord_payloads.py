"""Gateway events by the thousand, by seed: sound ones of every kind, broken ones, and odd ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SERVER, CHANNEL, THREAD, DIRECT = (f"150000000000000000{n}" for n in range(1, 5))
ME, ANN, BEN = "1400000000000000001", "1400000000000000002", "1400000000000000003"
STAMP = "2026-11-20T10:00:00.123000+00:00"

TEXTS = (
    "hello",
    "\ud800 a half of a pair \udfff",
    "nothing\x00here",
    "\u202eright to left\u202c \u2066hidden\u2069",
    "العربية עברית 中文 ру́сский",
    "👩‍👩‍👧‍👦🏳️‍🌈🇪🇺" * 20,
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L" * 30,
    "@everyone @here <@&1> <#2> <@>",
    "'; DROP TABLE inbox; --",
    "```py\n" * 50,
    "\n\n.\n \t ",
    "/forget yes",
    "{0.__class__} %s %n ${jndi:ldap://x}",
    "<a:x:1><:y:2>" * 40,
    "x" * 4000,
)
ODDS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1 << 70,
    10**400,
    "",
    "abc",
    "\ud800",
    "12 34",
    "٣٤",
    [],
    {},
    [None],
    {"id": None},
    [[[[[]]]]],
    "9" * 5000,
)
EVENTS = (
    "MESSAGE_CREATE",
    "MESSAGE_UPDATE",
    "MESSAGE_DELETE",
    "MESSAGE_DELETE_BULK",
    "MESSAGE_REACTION_ADD",
    "MESSAGE_REACTION_REMOVE",
    "INTERACTION_CREATE",
    "GUILD_CREATE",
    "GUILD_UPDATE",
    "GUILD_ROLE_UPDATE",
    "GUILD_EMOJIS_UPDATE",
    "CHANNEL_CREATE",
    "CHANNEL_DELETE",
    "THREAD_CREATE",
    "THREAD_LIST_SYNC",
    "TYPING_START",
    "PRESENCE_UPDATE",
    "SOMETHING_NEW",
    "",
)


@dataclass(frozen=True, slots=True)
class Told:
    """One event. `key` of a sound one: the (chat, message id, event id) of its row."""

    event: str
    data: Any
    key: tuple[str, str, str] | None = None
    mark: str = ""  # of a broken one: what its parked row must hold


class Payloads:
    """Makes events; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._luck = random.Random(seed)  # noqa: S311 - to be repeated
        self._last = 1_510_000_000_000_000_000
        self._made = 0

    def server(self) -> Told:
        """Return the server that the others play in."""
        channel = {"id": CHANNEL, "type": 0, "name": "general", "last_message_id": None}
        thread = {"id": THREAD, "type": 11, "parent_id": CHANNEL, "name": "t"}
        roles = [{"id": SERVER, "permissions": "1024"}]
        data = {"id": SERVER, "owner_id": BEN, "roles": roles}
        return Told("GUILD_CREATE", data | {"channels": [channel], "threads": [thread]})

    def next(self) -> Told:
        """Return the next event: five of ten are sound, two are broken, three are odd."""
        self._made += 1
        roll = self._luck.randrange(10)
        if roll < 5:
            return self._luck.choice(_SOUND)(self)
        return self._broken() if roll < 7 else self._odd()

    # Sound ones.

    def _id(self) -> str:
        self._last += self._luck.randrange(1, 1 << 24)
        return str(self._last)

    def _person(self) -> dict[str, Any]:
        name = self._luck.choice(("ann", "A\x00nn", "\ud83d", "\u202enna", "n" * 500))
        return {"id": self._luck.choice((ANN, BEN)), "username": name, "global_name": None}

    def _place(self) -> tuple[str, dict[str, Any]]:
        where = self._luck.choice((CHANNEL, THREAD, DIRECT))
        home = {} if where == DIRECT else {"guild_id": SERVER, "member": {"roles": [SERVER]}}
        return CHANNEL if where == THREAD else where, {"channel_id": where} | home

    def _message(self, **more: Any) -> tuple[str, dict[str, Any]]:
        chat, place = self._place()
        text = f"<@{ME}> " + self._luck.choice(TEXTS)
        data = {
            "id": self._id(),
            "type": 0,
            "author": self._person(),
            "content": text,
            "timestamp": STAMP,
            "edited_timestamp": None,
            "mentions": [{"id": ME, "username": "Heed"}],
            "attachments": [],
        }
        return chat, data | place | more

    def said(self) -> Told:
        chat, data = self._message(**self._luck.choice(_HUNG))
        return Told("MESSAGE_CREATE", data, (chat, data["id"], ""))

    def answered(self) -> Told:
        asked = {"id": self._id(), "author": self._person(), "content": "?"}
        reference = {"message_id": int(asked["id"])}
        more = {"type": 19, "message_reference": reference, "referenced_message": asked}
        chat, data = self._message(**more)
        return Told("MESSAGE_CREATE", data, (chat, data["id"], ""))

    def edited(self) -> Told:
        chat, data = self._message(edited_timestamp=STAMP)
        return Told("MESSAGE_UPDATE", data, (chat, data["id"], STAMP))

    def slash(self) -> Told:
        option = {"name": "text", "type": 3, "value": self._luck.choice(TEXTS)}
        return self._interaction(2, {"name": "note", "type": 1, "options": [option]})

    def pointed(self) -> Told:
        _, message = self._message()
        found = {"messages": {message["id"]: message}}
        data = {"name": "Escalate this message", "type": 3, "target_id": message["id"]}
        return self._interaction(2, data | {"resolved": found})

    def pressed(self) -> Told:
        told = self._interaction(3, {"custom_id": "h:7:cl:1", "component_type": 2})
        return self._on_message(told)

    def filled(self) -> Told:
        field = {"type": 4, "custom_id": "text", "value": self._luck.choice(TEXTS)}
        rows = [{"type": 1, "components": [field]}]
        return self._on_message(self._interaction(5, {"custom_id": "u:x", "components": rows}))

    def _on_message(self, told: Told) -> Told:
        message = {"id": self._id(), "content": "card"}
        assert told.key is not None
        chat, own, _ = told.key
        return Told(told.event, told.data | {"message": message}, (chat, message["id"], own))

    def _interaction(self, kind: int, data: dict[str, Any]) -> Told:
        chat, place = self._place()
        person, member = self._person(), place.pop("member", None)
        own = self._id()
        who = {"user": person} if member is None else {"member": member | {"user": person}}
        payload = {"id": own, "type": kind, "data": data, "token": "secret-token", "version": 1}
        payload |= {"application_id": ME, "locale": "en-US"} | place | who
        return Told("INTERACTION_CREATE", payload, (chat, own, ""))

    # Others.

    def _broken(self) -> Told:
        """Return a message that cannot be understood, whatever one thinks of it."""
        _, data = self._message()
        mark = f"broken-{self._made}-"
        data |= {"nonce": mark}
        name, value = self._luck.choice(_BREAKS)
        if value is KeyError:
            del data[name]
        else:
            data[name] = value
        return Told("MESSAGE_CREATE", data, mark=mark)

    def _odd(self) -> Told:
        """Return something that nobody has foreseen; nothing is expected of it."""
        event = self._luck.choice(EVENTS)
        if self._luck.randrange(4) == 0:
            return Told(event, self._luck.choice(ODDS))
        told = self._luck.choice(_SOUND)(self)
        data = self._bent(told.data, 3)
        return Told(event if self._luck.randrange(3) == 0 else told.event, data)

    def _bent(self, data: Any, depth: int) -> Any:
        if not isinstance(data, dict) or not data or depth == 0:
            return self._luck.choice(ODDS)
        name = self._luck.choice(sorted(data))
        data = dict(data)
        if self._luck.randrange(3) == 0:
            del data[name]
        elif self._luck.randrange(2) == 0:
            data[name] = self._bent(data[name], depth - 1)
        else:
            data[name] = self._luck.choice(ODDS)
        return data


_SOUND: tuple[Callable[[Payloads], Told], ...] = (
    Payloads.said,
    Payloads.said,
    Payloads.said,
    Payloads.answered,
    Payloads.edited,
    Payloads.slash,
    Payloads.pointed,
    Payloads.pressed,
    Payloads.filled,
)
_FILE = {"id": "1500000000000000099", "filename": "\ud800.png", "size": 12}
_HUNG: tuple[dict[str, Any], ...] = (
    {},
    {"attachments": [_FILE | {"content_type": "image/png"}]},
    {"attachments": [_FILE], "flags": 1 << 13},
    {"sticker_items": [{"id": "1500000000000000098", "name": "wa\x00ve", "format_type": 1}]},
    {"poll": {"question": {"text": "\udc00?"}, "answers": [{"poll_media": {"text": "yes"}}]}},
    {"message_snapshots": [{"message": {"content": "others'", "attachments": [_FILE]}}]},
    {"embeds": [{"type": "rich", "title": "t"}], "components": [{"type": 17, "components": []}]},
    {"surprise": {"deep": [1, {"deeper": None}]}},
)
_BREAKS: tuple[tuple[str, Any], ...] = (
    ("id", KeyError),
    ("id", "abc"),
    ("id", True),
    ("author", KeyError),
    ("author", []),
    ("author", {"username": "nobody"}),
    ("author", {"id": "not a number"}),
    ("timestamp", KeyError),
    ("timestamp", 12),
    ("timestamp", "yesterday"),
    ("timestamp", "2026-11-20T10:00:00"),
    ("channel_id", KeyError),
    ("channel_id", {"id": 1}),
    ("channel_id", "0"),
    ("content", {"text": 1}),
    ("content", 7),
    ("mentions", 5),
    ("attachments", [None]),
    ("attachments", "files"),
)
