"""What is said to one person alone, beside the group they wrote in: never in public."""

from __future__ import annotations

from sqlalchemy import select

from core.cells import plain
from core.message import ConversationKey
from core.store import people
from core.store.connection import Connection
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.rows import insert_id
from core.tables import history

AGAIN = 6 * 3600.0  # seconds in which the same words are not said twice


def say_aside(
    connection: Connection, key: ConversationKey, inbox_id: int, words: str, now: float
) -> list[Lane]:
    """Say fixed words in the direct chat that this very person has with this very bot.

    Nothing happens where there is none, or where the words stand there from a short while ago.
    """
    chat = people.direct_chat(connection, key)
    if chat is None:
        return []
    direct = int(chat.id)
    said = select(history.c.id).where(
        history.c.conversation_id == direct,
        history.c.role == "bot",
        plain(history.c.text) == words,
        history.c.at > now - AGAIN,
    )
    if connection.execute(said).first() is not None:
        return []
    line = insert_id(connection, history, conversation_id=direct, role="bot", text=words, at=now)
    post = Outgoing(
        kind="notice", text=words, cause_kind="aside", cause_id=inbox_id, history_id=line
    )
    return enqueue(connection, direct, [post], now)
