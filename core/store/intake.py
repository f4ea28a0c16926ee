"""Taking in: raw update and inbox row in one transaction, a second arrival dropped by its key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from core.message import Arrival, ConversationKey, Message
from core.store import people
from core.store.bursts import WAITING
from core.store.connection import Connection, Ready
from core.store.rows import fields, insert_once, message_to_row
from core.tables import conversation, cursor, inbox, person, poison

_LARGEST = 2**63 - 1  # what a column can hold
_TURNS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])  # set text the other way


_LEFT_ALONE = Ready(
    select(inbox.c.conversation_id)
    .where(
        WAITING,
        (inbox.c.touched_at <= bindparam("quiet_since"))
        | (inbox.c.touched_at > bindparam("ahead")),
    )
    .distinct()
)
_CURSOR = Ready(update(cursor).where(cursor.c.name == bindparam("of")))
_CURSORS = Ready(
    select(cursor.c.name, cursor.c.value).where(
        cursor.c.name >= bindparam("of"), cursor.c.name < bindparam("past")
    )
)
LAST = "\U0010ffff"  # no character comes after it
_FIND = Ready(
    select(conversation.c.id, conversation.c.forgotten).where(
        *(
            conversation.c[name] == bindparam(name)
            for name in ("platform", "bot", "chat", "thread", "user")
        )
    )
)


Admit = Callable[[Connection, Arrival, str, float], tuple[Arrival, str] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What became of one arrival."""

    inbox_id: int | None  # None: a duplicate, poison, or nothing of ours
    conversation_id: int | None
    urgent: str = ""


def take_in(
    connection: Connection,
    arrivals: Sequence[tuple[Arrival, str]],
    now: float,
    mark: tuple[str, str] | None = None,
    admit: Admit | None = None,
) -> list[Taken]:
    """Store every arrival with its urgency ("", crisis, request), and the cursor, or nothing.

    `admit` says what of an arrival is stored, if anything is.
    """
    taken = []
    for arrival, urgent in arrivals:
        let = (arrival, urgent) if admit is None else admit(connection, arrival, urgent, now)
        outside = Taken(inbox_id=None, conversation_id=None)
        taken.append(outside if let is None else _take_one(connection, *let, now))
    if mark is not None:
        set_cursor(connection, *mark)
    return taken


def _take_one(connection: Connection, arrival: Arrival, urgent: str, now: float) -> Taken:
    message = arrival.message
    if message is None:
        if arrival.error:
            connection.execute(
                insert(poison).values(
                    platform=arrival.platform,
                    bot=arrival.bot,
                    source_id=arrival.source_id,
                    raw=arrival.raw,
                    error=arrival.error,
                    at=now,
                )
            )
        return Taken(inbox_id=None, conversation_id=None)
    key = message.key
    if message.overheard and not _takes_over(connection, message):
        return Taken(inbox_id=None, conversation_id=None)
    found = _find(connection, key)
    owner = _make(connection, message, now) if found is None else int(found.id)
    row = insert_once(
        connection,
        inbox,
        {
            "conversation_id": owner,
            "platform": key.platform,
            "bot": key.bot,
            "chat": key.chat,
            "message_id": message.message_id,
            "event": message.event_id,
            "kind": message.kind,
            "sequence": message.order,
            "message": message_to_row(message),
            "raw": arrival.raw,
            "urgent": urgent,
            "received_at": now,
            "touched_at": now,
        },
    )
    if row is not None and found is not None and found.forgotten:
        _welcome(connection, owner)
    return Taken(inbox_id=row, conversation_id=owner, urgent=urgent)


def _takes_over(connection: Connection, message: Message) -> bool:
    """Say whether a member of staff answers somebody of ours in the chat itself."""
    key = message.key
    if not message.reply_to_author:
        return False
    if not people.is_colleague(connection, key.platform, key.user):
        return False
    return _find(connection, replace(key, user=message.reply_to_author)) is not None


def _welcome(connection: Connection, conversation_id: int) -> None:
    """Somebody forgotten writes anew before their emptied row has gone: it stays, as a new one."""
    connection.execute(
        update(conversation).where(conversation.c.id == conversation_id).values(forgotten=False)
    )


def _make(connection: Connection, message: Message, now: float) -> int:
    """Make the conversation of a message that is the first of it."""
    key, author = message.key, message.author
    blocked = connection.execute(
        select(person.c.blocked_until).where(
            person.c.platform == key.platform,
            person.c.bot == key.bot,
            person.c.user == key.user,
        )
    ).scalar()
    made = insert_once(
        connection,
        conversation,
        {
            "platform": key.platform,
            "bot": key.bot,
            "chat": key.chat,
            "thread": key.thread,
            "user": key.user,
            "name": author.name,
            "lang": author.language,
            "private": message.private,
            "blocked_until": blocked,
            "opened_at": now,
            "touched_at": now,
        },
    )
    if made is None:  # another process made it between the two statements
        made = connection.execute(_FIND, fields(key)).one().id
    return int(made)


def known(connection: Connection, message: Message, now: float) -> int:
    """Return the conversation that a message belongs to, made where there is none."""
    found = _find(connection, message.key)
    return _make(connection, message, now) if found is None else int(found.id)


def rewrite(connection: Connection, inbox_id: int, message: Mapping[str, Any]) -> None:
    """Keep a message otherwise than it came, and what it came as not at all."""
    connection.execute(update(inbox).where(inbox.c.id == inbox_id).values(message=message, raw=""))


def _find(connection: Connection, key: ConversationKey) -> Any | None:  # noqa: ANN401 - a row
    return connection.execute(_FIND, fields(key)).first()


def find(connection: Connection, key: ConversationKey) -> int | None:
    """Return the id of a conversation, or None when nobody spoke there yet."""
    found = _find(connection, key)
    return None if found is None else int(found.id)


def set_cursor(connection: Connection, name: str, value: str) -> None:
    """Write one cursor."""
    changed = connection.execute(_CURSOR, {"of": name, "value": value})
    if not changed.rowcount:
        connection.execute(insert(cursor).values(name=name, value=value))


def cursors(connection: Connection, prefix: str) -> Mapping[str, str]:
    """Return every cursor whose name starts with `prefix`."""
    rows = connection.execute(_CURSORS, {"of": prefix, "past": prefix + LAST})
    return {row.name: row.value for row in rows}


def waiting(connection: Connection, quiet_since: float, ahead: float = math.inf) -> list[int]:
    """Return conversations with an unfinished row that nobody touched since `quiet_since`.

    Each row counts for itself: whoever goes on writing must not keep an older one from being found.
    One that was touched after `ahead`, which is yet to come, is among them: the clock was put back.
    """
    values = {"quiet_since": quiet_since, "ahead": ahead}
    return [int(row.conversation_id) for row in connection.execute(_LEFT_ALONE, values)]


def tidy(arrival: Arrival) -> Arrival:
    """Make an arrival safe to keep, so that one odd update never fails the others' transaction.

    No lone surrogates, no NUL, no number too large for a column; a typed command is a command.
    """
    message = arrival.message
    if message is None:
        return replace(
            arrival,
            source_id=_plain(arrival.source_id),
            raw=_plain(arrival.raw),
            error=_plain(arrival.error),
        )
    key = ConversationKey(**{name: _plain(value) for name, value in fields(message.key).items()})
    author = replace(
        message.author,
        name=_one_line(message.author.name)[:200],
        language=_plain(message.author.language)[:35],
    )
    message = replace(
        message,
        key=key,
        author=author,
        text=_plain(message.text),
        argument=_plain(message.argument),
        formatted=_plain(message.formatted),
        data=_plain(message.data),
        forwarded_from=_one_line(message.forwarded_from)[:200],
        attachments=tuple(
            replace(one, name=_plain(one.name), words=_plain(one.words))
            for one in message.attachments
        ),
        message_id=_plain(message.message_id),
        event_id=_plain(message.event_id),
        order=max(-_LARGEST, min(message.order, _LARGEST)),
    )
    if message.kind == "said" and message.private and message.text.startswith("/"):
        name, _, rest = message.text[1:].partition(" ")
        if name.isascii() and name.replace("_", "").isalnum():
            message = replace(message, kind="command", command=name.lower(), argument=rest.strip())
    return replace(arrival, raw=_plain(arrival.raw), message=message)


def _one_line(name: str) -> str:
    """Return a name that cannot draw lines of its own among those that staff read."""
    return " ".join(_plain(name).translate(_TURNS).split())


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
