"""Who is staff on the web, and where a person is known."""

from __future__ import annotations

from sqlalchemy import delete, select

from core.store.connection import Connection
from core.store.rows import insert_once
from core.tables import conversation, staff


def find(connection: Connection, platform: str, user: str) -> list[int]:
    """Return every conversation of one person on one platform, but those being erased."""
    rows = connection.execute(
        select(conversation.c.id).where(
            conversation.c.platform == platform,
            conversation.c.user == user,
            conversation.c.forgotten.is_(False),
        )
    )
    return [int(row.id) for row in rows]


def add_staff(connection: Connection, name: str, password: str, now: float, *, admin: bool) -> bool:
    """Add somebody who may log in; False when the name is taken. `password` is a hash."""
    values = {"name": name, "password": password, "admin": admin, "added_at": now}
    return insert_once(connection, staff, values, key="name") is not None


def list_staff(connection: Connection) -> list[str]:
    """Return one line per staff member, by name."""
    rows = connection.execute(select(staff.c.name, staff.c.admin).order_by(staff.c.name))
    return [f"{row.name} (admin)" if row.admin else str(row.name) for row in rows]


def remove_staff(connection: Connection, name: str) -> bool:
    """Remove a staff member; False when there is none of that name."""
    return bool(connection.execute(delete(staff).where(staff.c.name == name)).rowcount)
