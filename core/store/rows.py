"""How the frozen values of core.message lie in columns, and words that operations share."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from core.message import Attachment, Author, ConversationKey, Message, Place, Scores


def message_to_row(message: Message) -> dict[str, Any]:
    """Return a message as JSON-ready data."""
    return asdict(message)


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
    return None if scores is None else {**asdict(scores), "probs": dict(scores.probs)}


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
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table).values(**values).on_conflict_do_nothing().returning(table.c[key])
    result: int | None = connection.execute(statement).scalar()
    return result


def insert_id(connection: Connection, table: Table, **values: Any) -> int:  # noqa: ANN401
    """Insert a row and return its id."""
    statement = table.insert().values(**values).returning(table.c.id)
    return int(connection.execute(statement).scalar_one())


def new_nonce() -> str:
    """Return a random nonce of 22 characters: made once per outbox row, kept for every repeat."""
    return secrets.token_urlsafe(16)
