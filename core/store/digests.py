"""Lists for staff, and whether a desk hears us at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select

from core.message import Button, Place
from core.store import places
from core.store.connection import Connection, Ready
from core.store.outbox import IS_OPEN, Lane, Outgoing, enqueue
from core.store.record import leave_trace
from core.tables import audit, case, conversation, decision, outbox, staff_thread

_LAST_WAITS = Ready(
    select((case.c.first_reply_at - case.c.opened_at).label("seconds"))
    .where(case.c.first_reply_at.is_not(None))
    .order_by(case.c.id.desc())
    .limit(bindparam("most"))
)
_ROW = select(
    case.c.id,
    case.c.state,
    case.c.opened_at,
    case.c.rule,
    case.c.priority,
    conversation.c.mood,
).join(conversation, conversation.c.id == case.c.conversation_id)


def post(  # noqa: PLR0913 - each is a part of the post
    connection: Connection,
    place: Place,
    words: str,
    now: float,
    *,
    buttons: tuple[Button, ...] = (),
    answers: str = "",
    whisper: str = "",
    of: int | None = None,
) -> list[Lane]:
    """Post lines into a desk's own chat; a whisper is for one reader alone.

    Lines of no single conversation name nobody and quote nobody: no erasing would find them.
    """
    line = Outgoing(
        kind="digest",
        text=words,
        buttons=buttons,
        cause_kind="digest",
        cause_id=leave_trace(connection, None, "digest", "", now),
        staff_thread_id=places.board(connection, place),
        reply_to=answers,
        whisper=whisper,
    )
    return enqueue(connection, of, [line], now)


def to_user(connection: Connection, user: Place, words: str, now: float) -> list[Lane]:
    """Post into somebody's newest direct chat with the bot; `user.chat` is their user id.

    Nothing is posted where there is none, or where they cannot be reached.
    """
    direct = connection.execute(
        select(conversation.c.id)
        .where(
            conversation.c.platform == user.platform,
            conversation.c.bot == user.bot,
            conversation.c.user == user.chat,
            conversation.c.private.is_(True),
            conversation.c.forgotten.is_(False),
            conversation.c.unreachable.is_(False),
        )
        .order_by(conversation.c.touched_at.desc())
    ).first()
    if direct is None:
        return []
    cause = leave_trace(connection, None, "digest", "", now)
    post = Outgoing(kind="notice", text=words, cause_kind="digest", cause_id=cause)
    return enqueue(connection, direct.id, [post], now)


def waiting(connection: Connection, most: int) -> Sequence[Any]:
    """Return the cases that nobody has, the worst first."""
    query = _ROW.where(case.c.state == "queued").order_by(
        case.c.priority.desc(), conversation.c.mood, case.c.opened_at
    )
    return connection.execute(query.limit(most)).all()


def older(connection: Connection, before: float, most: int) -> Sequence[Any]:
    """Return unresolved cases that were opened before a time, the oldest first."""
    query = _ROW.where(
        case.c.state.in_(("queued", "human", "snoozed")), case.c.opened_at < before
    ).order_by(case.c.opened_at)
    return connection.execute(query.limit(most)).all()


def dry(connection: Connection, since: float, most: int) -> Sequence[Any]:
    """Return the decisions since a time that a dry run did not carry out."""
    return connection.execute(
        select(decision.c.id, decision.c.rule, decision.c.at)
        .where(decision.c.dry, decision.c.at >= since, decision.c.verdict == "")
        .order_by(decision.c.id)
        .limit(most)
    ).all()


def stuck(connection: Connection, case_id: int, since: float) -> bool:
    """Say whether a case's posts to staff have been waiting since before a time."""
    query = (
        select(outbox.c.id)
        .join(staff_thread, staff_thread.c.id == outbox.c.staff_thread_id)
        .where(staff_thread.c.case_id == case_id, IS_OPEN, outbox.c.queued_at < since)
    )
    return connection.execute(query).first() is not None


def lost_places(connection: Connection, case_id: int) -> Sequence[Any]:
    """Return the places of a case that shut us out."""
    return connection.execute(
        select(staff_thread)
        .where(staff_thread.c.case_id == case_id, staff_thread.c.status == "lost")
        .order_by(staff_thread.c.id)
    ).all()


def happened(connection: Connection, case_id: int, what: str) -> bool:
    """Say whether something was done with a case before, by the name in its audit."""
    query = select(audit.c.id).where(audit.c.case_id == case_id, audit.c.what == what)
    return connection.execute(query).first() is not None


def lately(connection: Connection, what: str, since: float) -> bool:
    """Say whether something of no case was done since a time, by the name in the audit."""
    query = select(audit.c.id).where(
        audit.c.at >= since, audit.c.what == what, audit.c.case_id.is_(None)
    )
    return connection.execute(query).first() is not None


def last_waits(connection: Connection, most: int = 20) -> list[float]:
    """Return how long the last people waited for a human's first word, oldest first."""
    rows = connection.execute(_LAST_WAITS, {"most": most}).all()
    return [float(row.seconds) for row in reversed(rows)]
