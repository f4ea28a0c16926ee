"""What people look at: a conversation, a case, the queue, and how one message was judged.

Views are plain JSON-ready dictionaries; their shapes stand in core.ports.Desk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from core.message import ConversationKey
from core.store.connection import Connection
from core.store.desk import unresolved
from core.store.intake import find
from core.store.rows import key_of
from core.tables import case, conversation, decision, history, inbox, outbox, poison

MOVED_BY = 3  # messages shown as evidence
EVIDENCE = 0.5  # probability of "negative" from which on a message is evidence
TRACED = 30  # scored messages behind the sparkline


def conversation_view(connection: Connection, key: ConversationKey, limit: int) -> dict[str, Any]:
    """Return a person's side of one conversation and the case that is open in it."""
    conversation_id = find(connection, key)
    if conversation_id is None:
        return {"owner": "bot", "lines": [], "mood": [], "level": "calm", "case": None}
    row = connection.execute(select(conversation).where(conversation.c.id == conversation_id)).one()
    held = unresolved(connection, conversation_id)
    return {
        "owner": row.owner,
        "lines": lines(connection, conversation_id, limit),
        "mood": mood_points(connection, conversation_id),
        "level": row.level,
        "case": None if held is None else case_view(connection, int(held.id)),
    }


def lines(connection: Connection, conversation_id: int, limit: int) -> list[dict[str, Any]]:
    """Return the last lines of a conversation, oldest first, staff notes among them."""
    rows = connection.execute(
        select(history, decision.c.rule, decision.c.why, decision.c.opened)
        .outerjoin(decision, decision.c.inbox_id == history.c.inbox_id)
        .where(history.c.conversation_id == conversation_id)
        .order_by(history.c.id.desc())
        .limit(limit)
    ).all()
    return [_line(row) for row in reversed(rows)]


def _line(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a joined row
    judged = row.role == "user" and row.rule is not None
    return {
        "id": row.id,
        "role": row.role,
        "text": row.text,
        "at": row.at,
        "name": row.name,
        "inbox": row.inbox_id,
        "tag": row.scores,
        "decision": {"rule": row.rule, "why": row.why, "opened": row.opened} if judged else None,
        "model": row.model,
        "prompt_version": row.prompt,
        "was": row.was,
        "deleted": bool(row.deleted),
    }


def mood_points(connection: Connection, conversation_id: int) -> list[dict[str, float]]:
    """Return the running mood after each of the last scored messages, oldest first."""
    rows = connection.execute(
        select(decision.c.at, decision.c.mood)
        .where(decision.c.conversation_id == conversation_id)
        .order_by(decision.c.id.desc())
        .limit(TRACED)
    ).all()
    return [{"at": row.at, "value": row.mood} for row in reversed(rows)]


def case_view(connection: Connection, case_id: int) -> dict[str, Any]:
    """Return one case as its card shows it. The case must exist."""
    row = connection.execute(select(case).where(case.c.id == case_id)).one()
    person = connection.execute(
        select(conversation).where(conversation.c.id == row.conversation_id)
    ).one()
    cause = connection.execute(
        select(decision)
        .where(
            decision.c.conversation_id == row.conversation_id,
            # Of a case that is being opened in this very transaction: it has no case yet.
            (decision.c.case_id == case_id) | (decision.c.case_id.is_(None) & decision.c.opened),
        )
        .order_by(decision.c.opened.desc(), decision.c.id.desc())
    ).first()
    earlier = connection.execute(
        select(func.count())
        .select_from(case)
        .where(case.c.conversation_id == row.conversation_id, case.c.id < case_id)
    ).scalar_one()
    key = key_of(person)
    return {
        "id": case_id,
        "state": row.state,
        "owner": person.owner,
        "version": person.version,
        "claimed_by": row.claimed_by,
        "who": person.name or key.user,
        "platform": person.platform,
        "private": bool(person.private),
        "lang": person.lang,
        "rule": row.rule,
        "why": row.why,
        "opened_at": row.opened_at,
        "resolved_at": row.resolved_at,
        "resolved_by": row.resolved_by,
        "moved_by": moved_by(connection, row.conversation_id),
        "trace": [] if cause is None else cause.trace,
        "versions": {} if cause is None else cause.versions,
        "mood": person.mood,
        "level": person.level,
        "unreachable": bool(person.unreachable),
        "draft": None,
        "earlier": earlier,
        "conversation": {
            "platform": key.platform,
            "bot": key.bot,
            "chat": key.chat,
            "thread": key.thread,
            "user": key.user,
        },
    }


def moved_by(connection: Connection, conversation_id: int) -> list[dict[str, Any]]:
    """Return the messages that pulled the mood down most, oldest first; else the last one."""
    rows = connection.execute(
        select(history.c.id, history.c.text, history.c.scores)
        .where(history.c.conversation_id == conversation_id, history.c.role == "user")
        .order_by(history.c.id.desc())
        .limit(TRACED)
    ).all()
    scored = [row for row in rows if row.scores]
    low = [row for row in scored if row.scores["p_negative"] >= EVIDENCE]
    worst = sorted(
        low or scored[:1], key=lambda row: row.scores["intensity"] * row.scores["confidence"]
    )
    return [
        {
            "text": row.text,
            "probs": row.scores["probs"],
            "p_negative": row.scores["p_negative"],
            "intensity": row.scores["intensity"],
            "confidence": row.scores["confidence"],
            "strong": row.scores["strong"],
        }
        for row in sorted(worst[:MOVED_BY], key=lambda row: int(row.id))
    ]


def full_case(connection: Connection, case_id: int) -> dict[str, Any] | None:
    """Return one case with its conversation's lines, or None."""
    row = connection.execute(select(case.c.conversation_id).where(case.c.id == case_id)).first()
    if row is None:
        return None
    return {
        **case_view(connection, case_id),
        "lines": lines(connection, row.conversation_id, 200),
        "mood_points": mood_points(connection, row.conversation_id),
    }


def cases(connection: Connection, *, open_only: bool) -> list[dict[str, Any]]:
    """Return the cases, urgent first, then longest waiting."""
    query = select(case.c.id).order_by(case.c.priority.desc(), case.c.opened_at)
    if open_only:
        query = query.where(case.c.state != "resolved")
    return [case_view(connection, int(row.id)) for row in connection.execute(query)]


def verdicts(connection: Connection, case_id: int, verdict: str) -> int:
    """Return how many cases of the same person had this verdict."""
    person = select(case.c.conversation_id).where(case.c.id == case_id).scalar_subquery()
    return int(
        connection.execute(
            select(func.count())
            .select_from(case)
            .where(case.c.conversation_id == person, case.c.verdict == verdict)
        ).scalar_one()
    )


def explain(connection: Connection, inbox_id: int) -> dict[str, Any] | None:
    """Return how one message was judged and answered, or None."""
    row = connection.execute(select(decision).where(decision.c.inbox_id == inbox_id)).first()
    if row is None:
        return None
    return {
        "rule": row.rule,
        "why": row.why,
        "opened": row.opened,
        "trace": row.trace,
        "scores": row.scores,
        "mood": row.mood,
        "level": row.level,
        "versions": row.versions,
        "made": row.made,
        "conversation_id": row.conversation_id,
    }


def conversation_key(connection: Connection, conversation_id: int) -> ConversationKey:
    """Return the key of a conversation that exists."""
    return key_of(
        connection.execute(select(conversation).where(conversation.c.id == conversation_id)).one()
    )


def answered_by(connection: Connection, inbox_id: int) -> Mapping[str, Any] | None:
    """Return state and answering row of an inbox row."""
    row = connection.execute(
        select(inbox.c.state, inbox.c.answered_by, inbox.c.error).where(inbox.c.id == inbox_id)
    ).first()
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def counts(connection: Connection) -> dict[str, int]:
    """Return how many rows wait, failed or are in doubt: for /metrics and doctor."""

    def count(table: Any, *where: Any) -> int:  # noqa: ANN401
        return int(
            connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
        )

    return {
        "inbox_waiting": count(inbox, inbox.c.state == "waiting"),
        "inbox_parked": count(inbox, inbox.c.state == "parked"),
        "outbox_queued": count(outbox, outbox.c.state == "queued"),
        "outbox_uncertain": count(outbox, outbox.c.state == "uncertain"),
        "outbox_failed": count(outbox, outbox.c.state == "failed"),
        "cases_open": count(case, case.c.state != "resolved"),
        "poison": count(poison),
    }


def recent_scores(
    connection: Connection, conversation_id: int
) -> Sequence[tuple[str, float, Mapping[str, Any]]]:
    """Return (message id, time, scores) of the last scored messages, oldest first."""
    rows = connection.execute(
        select(history.c.message_id, history.c.at, history.c.scores)
        .where(history.c.conversation_id == conversation_id, history.c.role == "user")
        .order_by(history.c.id.desc())
        .limit(TRACED)
    ).all()
    return [(row.message_id, row.at, row.scores) for row in reversed(rows) if row.scores]
