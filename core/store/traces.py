"""What became of one message of a chat, looked up by the platform's own id of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from core.message import ConversationKey, Place, Scores
from core.store.connection import Connection
from core.store.feedback import reply_at
from core.store.rows import key_of
from core.tables import conversation, decision, history, inbox


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """One message of somebody's, and what was decided on it. Of its words nothing."""

    key: ConversationKey
    owner: str
    state: str  # waiting | done | parked
    urgent: str
    addressed: bool
    judged: bool  # there is a decision
    rule: str  # empty: none
    mood: float
    level: str
    label: str  # how it was heard; empty: it was not scored


_ROWS = (
    select(
        *(conversation.c[n] for n in ("platform", "bot", "chat", "thread", "user", "owner")),
        *(inbox.c[n] for n in ("state", "urgent", "message")),
        *(decision.c[n] for n in ("rule", "mood", "level", "scores")),
        decision.c.id.label("decided"),
    )
    .select_from(inbox)
    .join(conversation, conversation.c.id == inbox.c.conversation_id)
    .outerjoin(decision, decision.c.inbox_id == inbox.c.id)
    .where(inbox.c.kind.in_(("said", "edited")))
)


def trace_of(connection: Connection, place: Place, message_id: str) -> Trace | None:
    """Return the trace of a message; of a reply of the machine's that of what it answers."""
    own = _ROWS.where(
        inbox.c.platform == place.platform,
        inbox.c.bot == place.bot,
        inbox.c.chat == place.chat,
        inbox.c.message_id == message_id,
    )
    found = _first(connection, own)
    if found is not None:
        return found
    line = reply_at(connection, place, message_id)
    if line is None:
        return None
    answered = select(history.c.inbox_id).where(history.c.id == line).scalar_subquery()
    return _first(connection, _ROWS.where(inbox.c.id == answered))


def last_trace(connection: Connection, conversation_id: int) -> Trace | None:
    """Return the trace of the last thing that somebody said, or None."""
    return _first(connection, _ROWS.where(inbox.c.conversation_id == conversation_id))


def _first(connection: Connection, query: Select[Any]) -> Trace | None:
    row = connection.execute(query.order_by(inbox.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    return Trace(
        key=key_of(row),
        owner=row.owner,
        state=row.state,
        urgent=row.urgent,
        addressed=bool((row.message or {}).get("addressed", True)),
        judged=row.decided is not None,
        rule=row.rule or "",
        mood=row.mood or 0.0,
        level=row.level or "calm",
        label=Scores(**row.scores).label if row.scores else "",
    )
