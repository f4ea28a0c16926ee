"""The queue: every case that somebody may want to look at, in one query however many there are.

What decides the order is who waits: somebody in danger first, then what staff called urgent, then
whoever nobody has taken yet, the longest waiting first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case as when,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    update,
)

from core.cells import plain
from core.store.connection import Connection
from core.tables import case, conversation, history

MOST = 500  # rows of one answer
WORDS = 8  # of a search
SAMPLE = "sample"  # platform of the marked sample, whose people wait for nobody
_SAYS = ("user", "bot", "staff")
_IS_RESOLVED = case.c.state == literal_column("'resolved'")
_RANK = {"queued": 0, "human": 1, "snoozed": 2, "watch": 3, "resolved": 4}
_WAITS = ("queued", "human", "snoozed")  # states in which the person waits for staff


def queue(connection: Connection, wanted: Mapping[str, str], *, now: float) -> dict[str, Any]:
    """Return {"cases": rows, "counts": {state: n}}; shapes and `wanted` as in core.ports.Desk.

    Counts are of everything, whatever was wanted, with `open`, `all` and, where somebody is
    named, `mine` among them.
    """
    rows = [_row(row, now) for row in connection.execute(_listed(wanted))]
    return {"cases": sorted(rows, key=_urgency), "counts": _counts(connection, wanted)}


def seen(connection: Connection, case_id: int, now: float) -> None:
    """Note that staff have looked at a case: what was said until now is read."""
    of = select(case.c.conversation_id).where(case.c.id == case_id).scalar_subquery()
    connection.execute(
        update(conversation).where(conversation.c.id == of).values(seen_by_staff=now)
    )


def _listed(wanted: Mapping[str, str]) -> Select[Any]:
    """Return the query of the most urgent rows; the last line of each is found by its index."""
    chosen = (
        select(
            *(case.c[name] for name in ("id", "state", "rule", "why", "priority", "claimed_by")),
            *(case.c[name] for name in ("opened_at", "first_reply_at", "snooze_until")),
            *(conversation.c[name] for name in ("platform", "lang", "name", "user", "mood")),
            *(conversation.c[name] for name in ("level", "unreachable", "seen_by_staff")),
            case.c.conversation_id,
        )
        .join(conversation, conversation.c.id == case.c.conversation_id)
        .where(conversation.c.platform != SAMPLE, *_filters(wanted))
        .order_by(
            _IS_RESOLVED,
            and_(case.c.rule == "crisis", not_(_IS_RESOLVED)).desc(),
            when((_IS_RESOLVED, 0), else_=case.c.priority).desc(),
            when(_RANK, value=case.c.state, else_=4),
            when((_IS_RESOLVED, -case.c.opened_at), else_=case.c.opened_at),
        )
        .limit(MOST)
        .subquery()
    )
    last = history.alias("last")
    told = (last.c.text.label("last_line"), last.c.role.label("last_role"), last.c.at)
    times = (_last_heard(chosen).label("heard_at"), _waiting_since(chosen).label("waiting_since"))
    return (
        select(chosen, *told, *times)
        .select_from(chosen)
        .outerjoin(last, last.c.id == _last_line(chosen))
    )


def _last_line(chosen: Any) -> ColumnElement[int]:  # noqa: ANN401 - a subquery
    told = history.alias("told")
    return (
        select(told.c.id)
        .where(told.c.conversation_id == chosen.c.conversation_id, told.c.role.in_(_SAYS))
        .order_by(told.c.id.desc())
        .limit(1)
        .correlate(chosen)
        .scalar_subquery()
    )


def _last_heard(chosen: Any) -> ColumnElement[float]:  # noqa: ANN401 - a subquery
    """When the person wrote last."""
    heard = history.alias("heard")
    return (
        select(heard.c.at)
        .where(heard.c.conversation_id == chosen.c.conversation_id, heard.c.role == "user")
        .order_by(heard.c.id.desc())
        .limit(1)
        .correlate(chosen)
        .scalar_subquery()
    )


def _waiting_since(chosen: Any) -> ColumnElement[float]:  # noqa: ANN401 - a subquery
    """When the first word came that staff have not answered; NULL: everything is answered.

    Until the first answer that is the opening of the case: no line has to be looked at for it.
    """
    answer, asked = history.alias("answer"), history.alias("asked")
    answered = (
        select(answer.c.id)
        .where(answer.c.conversation_id == chosen.c.conversation_id, answer.c.role == "staff")
        .order_by(answer.c.id.desc())
        .limit(1)
        .correlate(chosen)
        .scalar_subquery()
    )
    since = (
        select(asked.c.at)
        .where(
            asked.c.conversation_id == chosen.c.conversation_id,
            asked.c.role == "user",
            asked.c.id > answered,
        )
        .order_by(asked.c.id)
        .limit(1)
        .correlate(chosen)
        .scalar_subquery()
    )
    return when(
        (chosen.c.state.not_in(_WAITS), null()),
        (chosen.c.first_reply_at.is_(None), chosen.c.opened_at),
        else_=since,
    )


def _filters(wanted: Mapping[str, str]) -> list[ColumnElement[bool]]:
    state = wanted.get("state") or "open"
    found: list[ColumnElement[bool]] = []
    if state == "open":
        found.append(case.c.state != literal_column("'resolved'"))
    elif state != "all":
        found.append(case.c.state == state)
    if wanted.get("mine"):
        found.append(case.c.claimed_by == wanted["mine"])
    found += [
        conversation.c[name] == wanted[name] for name in ("platform", "lang") if wanted.get(name)
    ]
    return found + [_stands(word) for word in wanted.get("words", "").split()[:WORDS]]


def _stands(word: str) -> ColumnElement[bool]:
    """Say that a word stands in what was said, or is part of the person's name.

    SQLite knows capitals of ASCII alone, so of other words the usual spellings are looked for.
    """
    spellings = {word, word.lower(), word.upper(), word.capitalize()}
    shown = [word] if word.isascii() else sorted(spellings)

    def within(column: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a column of text
        return or_(*(plain(column).icontains(one[:100], autoescape=True) for one in shown))

    said = (
        select(history.c.id)
        .where(history.c.conversation_id == conversation.c.id, within(history.c.text))
        .correlate(conversation)
        .exists()
    )
    return or_(within(conversation.c.name), said)


def _row(row: Any, now: float) -> dict[str, Any]:  # noqa: ANN401 - a joined row
    since = row.waiting_since
    return {
        "id": row.id,
        "state": row.state,
        "who": row.name or row.user,
        "platform": row.platform,
        "lang": row.lang,
        "rule": row.rule,
        "why": row.why,
        "priority": row.priority,
        "mood": row.mood,
        "level": row.level,
        "claimed_by": row.claimed_by,
        "opened_at": row.opened_at,
        "waiting_since": None if since is None else min(since, now),
        "last_line": row.last_line or "",
        "last_role": row.last_role or "",
        "last_at": row.at,
        "unread": row.heard_at is not None and row.heard_at > (row.seen_by_staff or 0.0),
        "snooze_until": row.snooze_until,
        "reachable": not row.unreachable,
    }


def _urgency(row: Mapping[str, Any]) -> tuple[Any, ...]:
    if row["state"] == "resolved":
        return (True, -row["opened_at"])
    since = row["waiting_since"]
    return (
        False,
        row["rule"] != "crisis",
        -row["priority"],
        _RANK[row["state"]],
        since is None,
        since or row["opened_at"],
        row["id"],
    )


def _counts(connection: Connection, wanted: Mapping[str, str]) -> dict[str, int]:
    mine = wanted.get("mine", "")
    held = func.sum(when((case.c.claimed_by == mine, 1), else_=0)) if mine else literal_column("0")
    rows = connection.execute(
        select(case.c.state, func.count().label("n"), held.label("mine"))
        .join(conversation, conversation.c.id == case.c.conversation_id)
        .where(conversation.c.platform != SAMPLE)
        .group_by(case.c.state)
    ).all()
    found = dict.fromkeys(_RANK, 0) | {row.state: int(row.n) for row in rows}
    still = [row for row in rows if row.state != "resolved"]
    found["open"] = sum(int(row.n) for row in still)
    found["all"] = sum(int(row.n) for row in rows)
    if mine:
        found["mine"] = sum(int(row.mine) for row in still)
    return found
