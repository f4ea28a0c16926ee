"""Afterwards: what a person changes in what they said, and whether they can be reached."""

from __future__ import annotations

from sqlalchemy import select, update

from core.message import Message, Place, Scores
from core.store.connection import Connection
from core.store.rows import scores_to_row
from core.store.turns import Start
from core.tables import case, conversation, history, staff_thread


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


def reachable(connection: Connection, conversation_id: int, *, yes: bool) -> None:
    """Note whether the person can be reached at all."""
    connection.execute(
        update(conversation).where(conversation.c.id == conversation_id).values(unreachable=not yes)
    )


def move_chat(connection: Connection, place: Place, chat: str) -> list[int]:
    """Rewrite the keys of everybody in a chat that has another id now; return their open cases.

    Inbox and pairs keep the old id, so that old messages are still found and repeats dropped.
    """
    here = (
        conversation.c.platform == place.platform,
        conversation.c.bot == place.bot,
        conversation.c.chat == place.chat,
    )
    there = select(conversation.c.user, conversation.c.thread).where(
        conversation.c.platform == place.platform,
        conversation.c.bot == place.bot,
        conversation.c.chat == chat,
    )
    known = {(row.user, row.thread) for row in connection.execute(there)}
    moved = [
        int(row.id)
        for row in connection.execute(select(conversation).where(*here))
        if (row.user, row.thread) not in known
    ]
    connection.execute(update(conversation).where(conversation.c.id.in_(moved)).values(chat=chat))
    connection.execute(
        update(staff_thread)
        .where(
            staff_thread.c.platform == place.platform,
            staff_thread.c.bot == place.bot,
            staff_thread.c.chat == place.chat,
        )
        .values(chat=chat)
    )
    cases = select(case.c.id).where(case.c.conversation_id.in_(moved), case.c.state != "resolved")
    return [int(row.id) for row in connection.execute(cases)]
