"""What was said around somebody in a group: the history that a shared scope shows a model.

Only what was said aloud there, and only what is stored: nothing deleted, nothing from before a
/reset, nothing of somebody forgotten or of who wants no model to read them. It widens what a reply
is made from; mood, owner and case never.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import select

from core.message import ConversationKey, Said
from core.store import people
from core.store.connection import Connection
from core.tables import conversation, history

LINES = 60  # as many as a turn reads of its own
PEOPLE = 30  # who spoke here last
DAY = 86400.0


class Spoken(Protocol):
    """Whose surroundings are asked for."""

    @property
    def conversation_id(self) -> int:
        """The conversation's id."""
        ...

    @property
    def key(self) -> ConversationKey:
        """Where it stands."""
        ...

    @property
    def history(self) -> tuple[Said, ...]:
        """Their own lines."""
        ...


def around(connection: Connection, start: Spoken, scope: str, now: float) -> tuple[Said, ...]:
    """Return the newest lines of a thread or chat, oldest first, others' with their names.

    Empty for scope `person`, and where nobody else has spoken lately.
    """
    if scope == "person":
        return ()
    names = ("platform", "bot", "chat", *(("thread",) if scope == "thread" else ()))
    others = connection.execute(
        select(conversation.c.id, conversation.c.name, conversation.c.history_since)
        .where(
            *(conversation.c[name] == getattr(start.key, name) for name in names),
            conversation.c.private.is_(False),
            conversation.c.forgotten.is_(False),
            ~people.is_unread(),
            conversation.c.id != start.conversation_id,
            conversation.c.touched_at >= now - DAY,
        )
        .order_by(conversation.c.touched_at.desc())
        .limit(PEOPLE)
    ).all()
    lines = _lines(connection, others, now) if others else []
    if not lines:
        return ()
    both = sorted([*start.history, *lines], key=lambda line: line.at)
    return tuple(both[-LINES:])


def _lines(connection: Connection, others: Sequence[Any], now: float) -> list[Said]:
    known = {person.id: person for person in others}
    rows = connection.execute(
        select(*(history.c[n] for n in ("conversation_id", "role", "text", "at", "name")))
        .where(
            history.c.conversation_id.in_(list(known)),
            history.c.role.in_(("user", "bot")),
            history.c.deleted.is_(False),
            history.c.at >= now - DAY,
        )
        .order_by(history.c.id.desc())
        .limit(LINES)
    ).all()
    return [
        _said(row, known[row.conversation_id].name)
        for row in reversed(rows)
        if row.at >= known[row.conversation_id].history_since
    ]


def _said(row: Any, name: str) -> Said:  # noqa: ANN401 - a row
    """Return a line as it is shown: of another person with their name before it."""
    who = row.name or name
    text = f"{who}: {row.text}" if row.role == "user" and who else row.text
    return Said(role=row.role, text=text, at=row.at, name=who)
