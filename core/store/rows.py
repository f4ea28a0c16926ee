"""How the frozen values of core.message lie in columns, and words that operations share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from core import chance
from core.message import Attachment, Author, ConversationKey, Message, Place, Scores
from core.store.connection import Connection, Ready


def message_to_row(message: Message) -> dict[str, Any]:
    """Return a message as JSON-ready data."""
    return {
        **fields(message),
        "key": fields(message.key),
        "author": fields(message.author),
        "attachments": [fields(item) for item in message.attachments],
    }


def message_from_row(row: Mapping[str, Any]) -> Message:
    """Return the message kept in a row."""
    return Message(
        **{
            **row,
            "key": ConversationKey(**row["key"]),
            "author": Author(**row["author"]),
            "attachments": tuple(Attachment(**item) for item in row["attachments"]),
        }
    )


def scores_to_row(scores: Scores | None) -> dict[str, Any] | None:
    """Return scores as JSON-ready data."""
    return None if scores is None else {**fields(scores), "probs": dict(scores.probs)}


def fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a frozen value of core.message
    """Return a value's fields as they are; dataclasses.asdict copies them, for ten times this."""
    return {name: getattr(value, name) for name in value.__slots__}


def key_of(row: Any) -> ConversationKey:  # noqa: ANN401 - a conversation row
    """Return the key of a conversation row."""
    return ConversationKey(
        platform=row.platform, bot=row.bot, chat=row.chat, thread=row.thread, user=row.user
    )


def place_of(row: Any) -> Place:  # noqa: ANN401 - any row with the four columns
    """Return the place a row stands for."""
    return Place(platform=row.platform, bot=row.bot, chat=row.chat, thread=row.thread)


def insert_once(
    connection: Connection, table: Table, values: Mapping[str, Any], *, key: str = "id"
) -> int | None:
    """Insert a row unless its unique key is there; return its `key`, or None for a repeat."""
    statement = _insert(table, key, connection.dialect.name, once=True)
    result: int | None = connection.execute(statement, values).scalar()
    return result


def insert_id(connection: Connection, table: Table, **values: Any) -> int:  # noqa: ANN401
    """Insert a row and return its id."""
    statement = _insert(table, "id", connection.dialect.name, once=False)
    return int(connection.execute(statement, values).scalar_one())


@cache
def _insert(table: Table, key: str, dialect: str, *, once: bool) -> Ready:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(table)
    if once:
        statement = statement.on_conflict_do_nothing()
    return Ready(statement.returning(table.c[key]))


def new_nonce() -> str:
    """Return a random nonce of 22 characters: made once per outbox row, kept for every repeat."""
    return chance.token(16)


def base36(number: int) -> str:
    """Return a number in base 36, as button data keeps it. `number` >= 0."""
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        if not number:
            return digits
