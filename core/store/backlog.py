"""What waits, for how long, and what needs somebody: for readiness, alarms and figures.

`backlog` is asked every few seconds and touches what is unfinished alone; `tally` and `wanting`
read whole tables and are asked seldom, or by a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, literal_column, select

from core.store.bursts import WAITING
from core.store.connection import Connection, Ready
from core.store.outbox import IS_OPEN, PAUSED
from core.tables import case, conversation, inbox, outbox, poison, staff_thread, timer

HEADS = 200  # lanes whose first post is looked at, the longest waiting
_PLATFORM = func.coalesce(staff_thread.c.platform, conversation.c.platform)
_BOT = func.coalesce(staff_thread.c.bot, conversation.c.bot)
_ENDS = ("uncertain", "failed", "held")
_ROWS: Any = func.count().label("rows")
_TAKEN = Ready(select(_ROWS, func.min(inbox.c.received_at).label("oldest")).where(WAITING))
_QUEUED = Ready(select(_ROWS).select_from(outbox).where(IS_OPEN))
_FIRST = (
    select(func.min(outbox.c.id))
    .where(IS_OPEN)
    .group_by(outbox.c.conversation_id, outbox.c.staff_thread_id, outbox.c.kind == "redraw")
)
_ABOUT = ("id", "queued_at", "first_try_at", "retry_at", "media", "error")
_HEADS = Ready(
    select(*(outbox.c[name] for name in _ABOUT), _PLATFORM.label("platform"), _BOT.label("bot"))
    .outerjoin(staff_thread, staff_thread.c.id == outbox.c.staff_thread_id)
    .outerjoin(conversation, conversation.c.id == outbox.c.conversation_id)
    .where(outbox.c.id.in_(_FIRST), outbox.c.state != literal_column("'streaming'"))
    .order_by(outbox.c.queued_at)
    .limit(literal_column(str(HEADS)))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The first post of a lane; the others of the lane wait for it."""

    id: int
    platform: str
    bot: str
    queued_at: float
    first_try_at: float | None
    retry_at: float
    files: bool
    paused: bool  # the platform itself asked to wait

    def due_since(self, progress: float) -> float:
        """Return since when it could have left; `progress`: when its platform last took a post."""
        if self.paused:
            return max(self.queued_at, self.retry_at)
        if self.first_try_at is None:
            return max(self.queued_at, self.retry_at, progress)
        return self.first_try_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What is unfinished."""

    waiting: int = 0  # inbox rows
    oldest: float | None = None  # when the oldest of them was taken in
    queued: int = 0  # posts
    heads: tuple[Head, ...] = ()


def backlog(connection: Connection) -> Backlog:
    """Return what is unfinished at this moment."""
    taken = connection.execute(_TAKEN).one()
    queued = connection.execute(_QUEUED).scalar()
    return Backlog(
        waiting=int(taken.rows),
        oldest=taken.oldest,
        queued=int(queued or 0),
        heads=_heads(connection) if queued else (),
    )


def _heads(connection: Connection) -> tuple[Head, ...]:
    return tuple(
        Head(
            id=row.id,
            platform=row.platform or "",
            bot=row.bot or "",
            queued_at=row.queued_at,
            first_try_at=row.first_try_at,
            retry_at=row.retry_at,
            files=bool(row.media),
            paused=PAUSED in row.error,
        )
        for row in connection.execute(_HEADS)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many rows need somebody, and how the cases stand."""

    parked: int = 0
    poison: int = 0
    uncertain: int = 0
    failed: int = 0
    held: int = 0
    cases: tuple[tuple[str, int], ...] = ()  # by state, without the resolved ones


def tally(connection: Connection) -> Tally:
    """Count whole tables."""
    parked = select(func.count()).select_from(inbox).where(inbox.c.state == "parked")
    given_up = (
        select(outbox.c.state, func.count().label("rows"))
        .where(outbox.c.state.in_(_ENDS))
        .group_by(outbox.c.state)
    )
    states = (
        select(case.c.state, func.count().label("rows"))
        .where(case.c.state != "resolved")
        .group_by(case.c.state)
    )
    ends = {row.state: int(row.rows) for row in connection.execute(given_up)}
    return Tally(
        parked=int(connection.execute(parked).scalar() or 0),
        poison=int(connection.execute(select(func.count()).select_from(poison)).scalar() or 0),
        uncertain=ends.get("uncertain", 0),
        failed=ends.get("failed", 0),
        held=ends.get("held", 0),
        cases=tuple((row.state, int(row.rows)) for row in connection.execute(states)),
    )


def wanting(connection: Connection, most: int = 10) -> list[dict[str, Any]]:
    """Return the newest rows that need somebody, by kind: {"kind", "id", "at", "where", "why"}.

    `where` names a conversation by its number, and nobody by name.
    """
    found: list[dict[str, Any]] = []
    for state in _ENDS:
        query = (
            select(outbox.c.id, outbox.c.touched_at, outbox.c.conversation_id, outbox.c.kind)
            .where(outbox.c.state == state)
            .order_by(outbox.c.id.desc())
            .limit(most)
        )
        found += [
            _wants(state, row.id, row.touched_at, row.conversation_id, row.kind)
            for row in connection.execute(query)
        ]
    parked = (
        select(inbox.c.id, inbox.c.touched_at, inbox.c.conversation_id, inbox.c.error)
        .where(inbox.c.state == "parked")
        .order_by(inbox.c.id.desc())
        .limit(most)
    )
    found += [
        _wants("parked", row.id, row.touched_at, row.conversation_id, row.error)
        for row in connection.execute(parked)
    ]
    odd = select(poison.c.id, poison.c.at, poison.c.platform).order_by(poison.c.id.desc())
    found += [
        _wants("poison", row.id, row.at, None, row.platform)
        for row in connection.execute(odd.limit(most))
    ]
    return found


def _wants(kind: str, row: int, at: float, conversation_id: int | None, why: str) -> dict[str, Any]:
    return {"kind": kind, "id": row, "at": at, "conversation": conversation_id, "what": why}


def overdue(connection: Connection, before: float) -> int:
    """Count the timers that should have been carried out before a time."""
    query = select(func.count()).select_from(timer).where(timer.c.due_at < before)
    return int(connection.execute(query).scalar() or 0)


def revision(connection: Connection) -> str:
    """Return the form that the database has; empty: none is known."""
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return "" if found is None else str(found[0])
