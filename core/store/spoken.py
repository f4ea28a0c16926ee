"""The lines of a conversation as people look at them, each with its tag and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from core.store.connection import Connection
from core.store.feedback import of_line
from core.tables import decision, history, outbox

BEFORE = 10  # lines before a case that its transcript begins with
_WAITING = ("streaming", "queued", "sending")
_ENDS = ("failed", "uncertain", "held")  # the gravest first


def lines(connection: Connection, conversation_id: int, limit: int) -> list[dict[str, Any]]:
    """Return the last lines of a conversation, oldest first, staff notes among them."""
    return read(connection, judged(conversation_id).limit(limit))


def judged(conversation_id: int) -> Any:  # noqa: ANN401 - a select of joined rows
    """Return the query of a conversation's lines with their decisions, newest first."""
    return (
        select(
            history,
            *(decision.c.rule, decision.c.why, decision.c.opened),
            *(of_line(1).label("up"), of_line(-1).label("down")),
        )
        .outerjoin(decision, decision.c.inbox_id == history.c.inbox_id)
        .where(history.c.conversation_id == conversation_id)
        .order_by(history.c.id.desc())
    )


def read(connection: Connection, query: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the lines that a query of `judged` finds, oldest first."""
    rows = connection.execute(query).all()
    marks = _marks(connection, [row.id for row in rows if row.role == "staff"])
    return [_line(row, *marks.get(row.id, ("", ""))) for row in reversed(rows)]


def _line(row: Any, mark: str, problem: str) -> dict[str, Any]:  # noqa: ANN401 - a joined row
    judged = row.role == "user" and row.rule is not None
    files = row.files or ()
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
        "files": [
            {"kind": one["kind"], "name": one["name"], "size": one["size"], "words": one["words"]}
            for one in files
        ],
        "mark": mark,
        "problem": problem,
        "thumbs": {"up": row.up, "down": row.down},
    }


def _marks(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return what became of staff's lines on their way to the person: (mark, problem) by line."""
    if not ids:
        return {}
    posts = connection.execute(
        select(
            *(outbox.c[name] for name in ("history_id", "kind", "state", "error")),
            *(outbox.c[name] for name in ("cause_kind", "cause_id")),
        )
        .where(outbox.c.history_id.in_(ids), outbox.c.staff_thread_id.is_(None))
        .order_by(outbox.c.id)
    )
    newest: dict[int, list[Any]] = {}
    for post in posts:  # only the parts of the last thing that was done to the line count
        held = newest.setdefault(post.history_id, [])
        if held and _step(held[0]) != _step(post):
            held.clear()
        held.append(post)
    return {line: _mark(held) for line, held in newest.items()}


def _step(post: Any) -> tuple[str, str, int]:  # noqa: ANN401 - an outbox row
    return post.kind, post.cause_kind, post.cause_id


def _mark(posts: Sequence[Any]) -> tuple[str, str]:
    for end in _ENDS:
        for post in posts:
            if post.state == end:
                return end, post.error
    if any(post.state in _WAITING for post in posts):
        return "queued", next((post.error for post in posts if post.error), "")
    if any(post.state == "sent" for post in posts):
        return ("edited" if posts[0].kind == "edit" else "sent"), ""
    return "", ""  # withdrawn: it never left


def beginning(connection: Connection, row: Any) -> int:  # noqa: ANN401 - a case row
    """Return the first history line of a case's transcript."""
    mine = select(history.c.id).where(history.c.conversation_id == row.conversation_id)
    first = connection.execute(
        mine.where(history.c.at >= row.opened_at).order_by(history.c.id).limit(1)
    ).scalar()
    before = mine if first is None else mine.where(history.c.id < first)
    found = connection.execute(before.order_by(history.c.id.desc()).limit(BEFORE)).scalars().all()
    return min(found) if found else first or 0
