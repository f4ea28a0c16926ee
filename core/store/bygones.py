"""What a line said before it was edited, as staff are told: found again by the line it is of."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select, update

from core.store import places
from core.store.connection import Connection
from core.store.outbox import ERASED, Lane, Outgoing, enqueue
from core.store.record import case_row, leave_trace
from core.tables import outbox

WAS = "was"  # the cause of these posts


def tell(connection: Connection, case_id: int, line_id: int, words: str, now: float) -> list[Lane]:
    """Tell staff what a line said before it was edited; `untell` finds that by the line."""
    leave_trace(connection, case_id, "edited", "", now)
    told = select(func.count()).select_from(outbox).where(*_told_was(line_id)).scalar_subquery()
    before = int(connection.execute(select(told)).scalar_one())
    posts = [
        Outgoing(
            kind="relay",
            text=words,
            cause_kind=WAS,
            cause_id=line_id,
            part=before,
            staff_thread_id=thread.id,
        )
        for thread in places.rows_of_case(connection, case_id)
    ]
    return enqueue(connection, case_row(connection, case_id).conversation_id, posts, now)


def untell(
    connection: Connection, line_id: int, words: str, cause: tuple[str, int], now: float
) -> list[Lane]:
    """A line was deleted: write `words` over what staff were told it said before."""
    rows = connection.execute(select(outbox).where(*_told_was(line_id))).all()
    waiting = [row.id for row in rows if row.state == "queued"]
    leaving = [row.id for row in rows if row.state == "sending"]
    over = {"text": words, "formatted": False, "touched_at": now}
    for ids, more in ((waiting, {}), (leaving, {"error": ERASED})):
        connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(**over, **more))
    shown = [row for row in rows if row.message_id and row.id not in {*waiting, *leaving}]
    connection.execute(
        update(outbox).where(outbox.c.id.in_([row.id for row in shown])).values(text="")
    )
    kind, number = cause
    posts = [
        Outgoing(
            kind="edit",
            text=words,
            message_id=row.message_id,
            staff_thread_id=row.staff_thread_id,
            cause_kind=f"{kind} {WAS}",
            cause_id=number,
            part=part,
        )
        for part, row in enumerate(shown)
    ]
    return enqueue(connection, rows[0].conversation_id, posts, now) if rows else []


def _told_was(line_id: int) -> tuple[ColumnElement[bool], ...]:
    return outbox.c.cause_kind == WAS, outbox.c.cause_id == line_id
