"""What is to happen at a time, as rows: a restart loses none, and each is carried out once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, func, or_, select

from core.store.connection import Connection, Ready
from core.store.rows import insert_id
from core.tables import timer

QUEUE = ("t1", "t2", "t3", "delay")  # of a case that waits
STATE = (*QUEUE, "snooze", "inactive")  # those that a state brings and takes along
_DUE = Ready(
    select(timer)
    .where(timer.c.due_at <= bindparam("now"))
    .order_by(timer.c.due_at)
    .limit(bindparam("most"))
)
_RUNS = Ready(
    select(timer.c.id).where(
        timer.c.case_id.is_(None),
        timer.c.kind == bindparam("kind"),
        timer.c.subject == bindparam("subject"),
    )
)
_NEXT = Ready(select(func.min(timer.c.due_at).label("at")))


def put(
    connection: Connection,
    kind: str,
    due_at: float,
    *,
    case_id: int | None = None,
    subject: str = "",
) -> None:
    """Set a timer, or move the one that is there."""
    drop(connection, kind, case_id=case_id, subject=subject)
    insert_id(connection, timer, case_id=case_id, kind=kind, subject=subject, due_at=due_at)


def drop(
    connection: Connection, *kinds: str, case_id: int | None = None, subject: str = ""
) -> None:
    """Take timers away."""
    values = {"subject": subject} if case_id is None else {"of": case_id, "subject": subject}
    connection.execute(_drop(kinds, of_case=case_id is not None), values)


@cache
def _drop(kinds: tuple[str, ...], *, of_case: bool) -> Ready:
    mine = timer.c.case_id == bindparam("of") if of_case else timer.c.case_id.is_(None)
    kind = or_(False, *(timer.c.kind == one for one in kinds))  # noqa: FBT003 - of none: none
    return Ready(delete(timer).where(mine, kind, timer.c.subject == bindparam("subject")))


def only(connection: Connection, case_id: int, wanted: Mapping[str, float]) -> None:
    """Let exactly these of a state's timers run; those of other matters stay."""
    drop(connection, *STATE, case_id=case_id)
    for kind, due_at in wanted.items():
        put(connection, kind, due_at, case_id=case_id)


def due(connection: Connection, now: float, most: int = 50) -> list[Any]:
    """Return the timers whose time has come, the longest due first."""
    return connection.execute(_DUE, {"now": now, "most": most}).all()


def take(connection: Connection, timer_id: int, due_at: float) -> bool:
    """Remove one timer that is being carried out; False: it was moved or taken meanwhile."""
    gone = connection.execute(delete(timer).where(timer.c.id == timer_id, timer.c.due_at == due_at))
    return bool(gone.rowcount)


def next_due(connection: Connection) -> float | None:
    """Return when the next timer is due; None: none runs."""
    found = connection.execute(_NEXT).scalar()
    return None if found is None else float(found)


def runs(connection: Connection, kind: str, *, subject: str = "") -> bool:
    """Say whether a timer of no case runs."""
    return connection.execute(_RUNS, {"kind": kind, "subject": subject}).first() is not None
