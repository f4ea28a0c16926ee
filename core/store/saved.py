"""Saved replies: texts that staff send often, by name."""

from __future__ import annotations

import re

from sqlalchemy import delete, insert, select

from core.errors import DeskError
from core.store.connection import Connection
from core.tables import saved_reply

_NAME = re.compile(r"\w{1,32}")
LONGEST = 4000  # characters of a text


def every(connection: Connection) -> list[dict[str, str]]:
    """Return [{"name", "text"}] by name."""
    rows = connection.execute(select(saved_reply).order_by(saved_reply.c.name))
    return [{"name": row.name, "text": row.text} for row in rows]


def text_of(connection: Connection, name: str) -> str | None:
    """Return a saved reply by its name, whatever its case, or None."""
    rows = connection.execute(select(saved_reply.c.name, saved_reply.c.text))
    return {row.name.casefold(): row.text for row in rows}.get(name.strip().casefold())


def put(connection: Connection, name: str, text: str, who: str, now: float) -> None:
    """Keep a saved reply, in place of an earlier one of that name; an empty text removes it.

    Raises DeskError for a name that cannot be typed after a command, or a text that is too long.
    """
    name, text = name.strip(), text.strip()
    if not _NAME.fullmatch(name):
        raise DeskError(
            "Name a saved reply with at most 32 letters, digits or _, and without spaces.",
            name="saved_name",
            most=32,
        )
    if len(text) > LONGEST:
        raise DeskError(
            f"A saved reply has at most {LONGEST} characters; shorten this one.",
            name="saved_long",
            most=LONGEST,
        )
    same = [row["name"] for row in every(connection) if row["name"].casefold() == name.casefold()]
    connection.execute(delete(saved_reply).where(saved_reply.c.name.in_(same)))
    if text:
        connection.execute(insert(saved_reply).values(name=name, text=text, who=who, at=now))
