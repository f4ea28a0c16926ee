"""Posts that were given up: the row says so, and so do staff where somebody has the case."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from core.store import desk
from core.store.connection import Connection
from core.store.outbox import End, end
from core.tables import conversation, outbox

FLAGGER = "Heed"  # whose note it is
QUOTED = 60  # characters of the post that tell staff which one is meant

Words = Callable[..., str]  # name of a fixed text, language, values


def give_up(
    connection: Connection, row_id: int, state: End, error: str, say: Words, now: float
) -> None:
    """End a row, and leave a note and a line at the desk when it was meant for a person.

    A held row is no news here: staff were told that the person cannot be reached.
    """
    end(connection, row_id, state, error, now)
    row = connection.execute(
        select(outbox.c.conversation_id, outbox.c.staff_thread_id, outbox.c.text).where(
            outbox.c.id == row_id
        )
    ).first()
    if row is None or row.staff_thread_id is not None or state == "held":
        return
    found = desk.unresolved(connection, row.conversation_id)
    if found is None:
        return
    who = connection.execute(
        select(conversation.c.name).where(conversation.c.id == row.conversation_id)
    ).scalar_one()
    if state == "uncertain":
        words = say("may_have_arrived", "en")
    else:
        words = say("not_delivered", "en", who=who, reason=error)
    quoted = row.text[:QUOTED] + ("…" if len(row.text) > QUOTED else "")
    told = f"{words}\n> {quoted}"
    desk.note(connection, found.id, FLAGGER, told, now)
    desk.tell_staff(connection, found.id, told, now, what="given up")
