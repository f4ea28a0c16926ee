"""Afterwards: what a person changes in what they said, and whether they can be reached."""

from __future__ import annotations

from sqlalchemy import select, update

from core.message import Message, Scores
from core.store.connection import Connection
from core.store.rows import scores_to_row
from core.store.turns import Start
from core.tables import conversation, history


def edit_line(
    connection: Connection, start: Start, message: Message, scores: Scores | None
) -> str | None:
    """Put an edited text into its message's history line; return the old one, None: not found."""
    line = connection.execute(
        select(history.c.id, history.c.text, history.c.was).where(
            history.c.conversation_id == start.conversation_id,
            history.c.role == "user",
            history.c.message_id == message.message_id,
        )
    ).first()
    if line is None:
        return None
    was = str(line.text if line.text != message.text else line.was)  # a second try reads the same
    connection.execute(
        update(history)
        .where(history.c.id == line.id)
        .values(text=message.text, was=was, scores=scores_to_row(scores))
    )
    return was


def delete_line(connection: Connection, start: Start, message_id: str) -> None:
    """The person deleted a message: its words leave the history, its score stays."""
    connection.execute(
        update(history)
        .where(
            history.c.conversation_id == start.conversation_id,
            history.c.role == "user",
            history.c.message_id == message_id,
        )
        .values(text="", was="", deleted=True)
    )


def reachable(connection: Connection, conversation_id: int, *, yes: bool) -> None:
    """Note whether the person can be reached at all."""
    connection.execute(
        update(conversation).where(conversation.c.id == conversation_id).values(unreachable=not yes)
    )
