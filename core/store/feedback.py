"""What people think of an answer: a thumb under it is one row, theirs to change or take back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, literal_column, select, update

from core.message import Place
from core.store.connection import Connection
from core.store.rows import insert_once
from core.store.span import Range, bucket
from core.tables import conversation, feedback, history, outbox

UP, DOWN = frozenset("👍❤🔥👏"), frozenset("👎💩🤮")
_TONES = dict.fromkeys([*range(0x1F3FB, 0x1F400), 0xFE0E, 0xFE0F])  # skin tones, how it is drawn


def value_of(emoji: str) -> int:
    """Return 1 for praise, -1 for blame, 0 for what is neither."""
    plain = emoji.translate(_TONES)
    return (plain in UP) - (plain in DOWN) if plain else 0


def reply_at(connection: Connection, place: Place, message_id: str) -> int | None:
    """Return the history line of the machine's reply that a platform message shows, or None."""
    found = connection.execute(
        select(outbox.c.history_id)
        .join(conversation, conversation.c.id == outbox.c.conversation_id)
        .where(
            outbox.c.message_id == message_id,
            outbox.c.kind == "reply",
            outbox.c.history_id.is_not(None),
            conversation.c.platform == place.platform,
            conversation.c.bot == place.bot,
            conversation.c.chat == place.chat,
        )
    ).scalar()
    return None if found is None else int(found)


def keep(
    connection: Connection, conversation_id: int, history_id: int, value: int, now: float
) -> None:
    """Keep one person's word on one reply; 0 takes it back."""
    theirs = (
        feedback.c.conversation_id == conversation_id,
        feedback.c.history_id == history_id,
    )
    if not value:
        connection.execute(delete(feedback).where(*theirs))
        return
    row = {"conversation_id": conversation_id, "history_id": history_id, "value": value, "at": now}
    if insert_once(connection, feedback, row) is None:
        connection.execute(update(feedback).where(*theirs).values(value=value, at=now))


def erase(connection: Connection, conversation_id: int) -> None:
    """Forget what somebody thought, and what others thought of what was said to them."""
    lines = select(history.c.id).where(history.c.conversation_id == conversation_id)
    connection.execute(
        delete(feedback).where(
            (feedback.c.conversation_id == conversation_id)
            | feedback.c.history_id.in_(lines.scalar_subquery())
        )
    )


def export(connection: Connection, conversation_id: int) -> list[dict[str, Any]]:
    """Return what somebody thought of which answer, oldest first."""
    rows = connection.execute(_said(conversation_id)).mappings()
    return [dict(row) for row in rows]


def _said(conversation_id: int) -> Select[Any]:
    return (
        select(feedback.c.at, feedback.c.value, history.c.text.label("reply"))
        .join(history, history.c.id == feedback.c.history_id)
        .where(feedback.c.conversation_id == conversation_id)
        .order_by(feedback.c.id)
    )


def of_line(value: int) -> ColumnElement[int]:
    """Return how many people gave a line of `history` this value, as a column of its query."""
    mine = feedback.c.history_id == history.c.id, feedback.c.value == value
    return (
        select(func.count()).select_from(feedback).where(*mine).correlate(history).scalar_subquery()
    )


def thumbs(connection: Connection, span: Range) -> dict[str, Any]:
    """Return what people thought of replies, by when they said so, and {"up", "down"} of all."""
    found = {number: {"at": at, "up": 0, "down": 0} for number, at in span.starts().items()}
    rows = connection.execute(
        select(
            bucket(connection, span, feedback.c.at, span.size).label("bucket"),
            feedback.c.value,
            func.count().label("n"),
        )
        .where(span.within(feedback.c.at), *span.of(feedback))
        .group_by(literal_column("1"), feedback.c.value)
    )
    for row in rows:
        found[row.bucket][_side(row.value)] += int(row.n)
    told = list(found.values())
    every = {side: sum(int(one[side]) for one in told) for side in ("up", "down")}
    return {"thumbs": told, "feedback": every}


def _side(value: int) -> str:
    return "up" if value > 0 else "down"


def by_prompt(
    connection: Connection, since: float, counts: ColumnElement[bool]
) -> Sequence[dict[str, Any]]:
    """Return [{"model", "prompt", "up", "down"}]: who spoke how, and how that was taken.

    `counts` says whose word does, of a row of `conversation`.
    """
    rows = connection.execute(
        select(history.c.model, history.c.prompt, feedback.c.value, func.count().label("n"))
        .join(history, history.c.id == feedback.c.history_id)
        .join(conversation, conversation.c.id == feedback.c.conversation_id)
        .where(feedback.c.at >= since, counts)
        .group_by(history.c.model, history.c.prompt, feedback.c.value)
        .order_by(history.c.model, history.c.prompt)
    )
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        told = {"model": row.model, "prompt": row.prompt, "up": 0, "down": 0}
        told = found.setdefault((row.model, row.prompt), told)
        told[_side(row.value)] += int(row.n)
    return list(found.values())
