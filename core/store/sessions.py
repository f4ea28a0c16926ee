"""Who is logged in on the page. What is kept of a secret is its hash alone."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from core.store.connection import Connection
from core.tables import session, staff

IDLE = 12 * 3600.0  # seconds without a request after which a session has ended
TOUCH = 60.0  # seconds within which a session is not marked as seen again


class Session(NamedTuple):
    """A running log-in."""

    name: str
    admin: bool
    csrf: str
    seen_at: float


def begin(connection: Connection, name: str, secret: str, csrf: str, now: float) -> None:
    """Begin a session; `secret` is the hash of what the browser keeps."""
    connection.execute(
        insert(session).values(secret=secret, name=name, csrf=csrf, opened_at=now, seen_at=now)
    )
    connection.execute(update(staff).where(staff.c.name == name).values(seen_at=now))


def find(connection: Connection, secret: str, now: float, idle: float = IDLE) -> Session | None:
    """Return the session of this hash, or None when it has ended. Writes nothing."""
    row = connection.execute(
        select(session.c.name, session.c.csrf, session.c.seen_at, staff.c.admin)
        .join(staff, staff.c.name == session.c.name)
        .where(session.c.secret == secret, session.c.seen_at > now - idle)
    ).first()
    return None if row is None else Session(row.name, bool(row.admin), row.csrf, row.seen_at)


def touch(connection: Connection, secret: str, now: float) -> None:
    """Keep a session alive: it was seen now."""
    for statement in (
        update(session).where(session.c.secret == secret).values(seen_at=now),
        update(staff)
        .where(staff.c.name.in_(select(session.c.name).where(session.c.secret == secret)))
        .values(seen_at=now),
    ):
        connection.execute(statement)


def close(connection: Connection, secret: str) -> None:
    """End one session."""
    connection.execute(delete(session).where(session.c.secret == secret))


def close_all(connection: Connection, name: str) -> None:
    """End every session of one member of staff."""
    connection.execute(delete(session).where(session.c.name == name))


def sweep(connection: Connection, now: float, idle: float = IDLE) -> int:
    """Forget the sessions that have ended; return how many."""
    return connection.execute(delete(session).where(session.c.seen_at <= now - idle)).rowcount
