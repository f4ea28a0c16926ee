"""Settings that were changed on the page, and what was heard lately, to try others on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import delete, insert, select

from core.message import Scores
from core.store.connection import Connection
from core.tables import audit, conversation, history, setting


class HeardLine(NamedTuple):
    """One message of a person, as it was heard."""

    conversation_id: int
    private: bool
    text: str
    scores: Scores | None
    at: float


def rows(connection: Connection) -> dict[str, str]:
    """Return every changed setting, `section.key` to its value as text."""
    return {row.key: row.value for row in connection.execute(select(setting))}


def put(connection: Connection, changes: Mapping[str, str | None], who: str, now: float) -> None:
    """Write changed settings, with who did it; None takes a change back."""
    connection.execute(delete(setting).where(setting.c.key.in_(list(changes))))
    for key, value in changes.items():
        if value is not None:
            connection.execute(insert(setting).values(key=key, value=value, who=who, at=now))
        connection.execute(insert(audit).values(what=f"setting {key}", who=who, at=now))


def heard(connection: Connection, limit: int) -> list[HeardLine]:
    """Return the last messages of all persons, oldest first; erased texts count for nothing."""
    found = connection.execute(
        select(
            history.c.conversation_id,
            conversation.c.private,
            history.c.text,
            history.c.scores,
            history.c.at,
        )
        .join(conversation, conversation.c.id == history.c.conversation_id)
        .where(history.c.role == "user", history.c.text != "", history.c.deleted.is_(False))
        .order_by(history.c.id.desc())
        .limit(limit)
    ).all()
    return [
        HeardLine(
            row.conversation_id,
            bool(row.private),
            row.text,
            Scores(**row.scores) if row.scores else None,
            row.at,
        )
        for row in reversed(found)
    ]
