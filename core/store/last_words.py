"""What somebody said last, as a suggestion for an answer is made from it."""

from __future__ import annotations

from sqlalchemy import select

from core.engine.ports import ReplyRequest
from core.message import Said, Scores
from core.store import people
from core.store.bursts import HISTORY
from core.store.connection import Connection
from core.store.rows import key_of
from core.tables import conversation, history

_SHOWN = ("user", "bot", "staff", "marker")


def request(connection: Connection, conversation_id: int, now: float) -> ReplyRequest | None:
    """Return what a reply to the person's last words may be made from; None: there are none.

    Nor are there for whoever wants no model to read them.
    """
    person = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    if people.opted_out(connection, person.platform, person.user) is not None:
        return None
    rows = connection.execute(
        select(history)
        .where(
            history.c.conversation_id == conversation_id,
            history.c.role.in_(_SHOWN),
            history.c.deleted.is_(False),
            history.c.at >= person.history_since,
        )
        .order_by(history.c.id.desc())
        .limit(HISTORY)
    ).all()
    said = next((i for i, row in enumerate(rows) if row.role == "user" and row.text), None)
    if said is None:
        return None
    last, before = rows[said], rows[said + 1 :]
    return ReplyRequest(
        key=key_of(person),
        history=tuple(
            Said(role=row.role, text=row.text, at=row.at, name=row.name) for row in reversed(before)
        ),
        messages=(last.text,),
        level=person.level,
        lang=person.lang or "und",
        name=person.name,
        now=now,
        scores=Scores(**last.scores) if last.scores else None,
    )
