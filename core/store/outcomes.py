"""What became of cases: the part of the figures that tells of staff's work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case as when, distinct, func, literal_column, select

from core.store.connection import Connection
from core.store.span import Filter, Range, bucket, quantiles
from core.tables import audit, case, decision, history

PERSON = "user"  # resolved_by, where the person ended the case
VERDICTS = ("right", "too late", "not needed", "")
STEPS: Mapping[str, str] = {  # what the audit calls them
    "claimed": "claimed",
    "resolved": "resolved",
    "not needed": "resolved",
    "given back": "given_back",
}


def steps(connection: Connection, span: Range) -> list[dict[str, Any]]:
    """Return how many cases were opened, claimed, resolved and given back in each bucket."""
    found: dict[int, dict[str, Any]] = {
        number: {"at": at, "opened": 0, "claimed": 0, "resolved": 0, "given_back": 0}
        for number, at in span.starts().items()
    }
    opened = bucket(connection, span, case.c.opened_at, span.size)
    for row in connection.execute(
        select(opened.label("bucket"), func.count().label("n"))
        .where(span.within(case.c.opened_at), *span.of(case))
        .group_by(literal_column("1"))
    ):
        found[row.bucket]["opened"] = row.n
    theirs: Filter = []
    if span.people is not None:
        theirs = [audit.c.case_id.in_(select(case.c.id).where(*span.of(case)))]
    stepped = bucket(connection, span, audit.c.at, span.size)
    for row in connection.execute(
        select(stepped.label("bucket"), audit.c.what, func.count().label("n"))
        .where(span.within(audit.c.at), audit.c.what.in_(STEPS), *theirs)
        .group_by(literal_column("1"), audit.c.what)
    ):
        found[row.bucket][STEPS[row.what]] += row.n
    return list(found.values())


def still_open(connection: Connection, span: Range) -> int:
    """Return how many cases are open now."""
    return int(
        connection.execute(
            select(func.count())
            .select_from(case)
            .where(case.c.state != literal_column("'resolved'"), *span.of(case))
        ).scalar_one()
    )


def replies(connection: Connection, span: Range) -> dict[str, Any]:
    """Return how long people waited for the first word of a human, by when the case opened."""
    rows = connection.execute(
        select(case.c.opened_at, case.c.first_reply_at, case.c.state).where(
            span.within(case.c.opened_at), *span.of(case)
        )
    ).all()
    answered = [row for row in rows if row.first_reply_at is not None]
    waits: dict[int, list[float]] = {number: [] for number in span.starts()}
    for row in answered:
        waits[span.number(row.opened_at, span.size)].append(row.first_reply_at - row.opened_at)
    every = [wait for told in waits.values() for wait in told]
    unanswered = sum(row.first_reply_at is None and row.state != "resolved" for row in rows)
    return {
        "replies": [{"at": at, **_waited(waits[number])} for number, at in span.starts().items()],
        "reply": {**_waited(every), "unanswered": unanswered},
    }


def _waited(waits: Sequence[float]) -> dict[str, Any]:
    median, p90 = quantiles((wait, 1) for wait in waits)
    return {"n": len(waits), "median": median, "p90": p90}


def settled(connection: Connection, span: Range, writers: int) -> dict[str, int]:
    """Return who settled it: how many people needed no case, and by whom cases were ended."""
    helped = connection.execute(
        select(func.count(distinct(history.c.conversation_id))).where(
            history.c.role == "user",
            span.within(history.c.at),
            *span.of(history),
            history.c.conversation_id.in_(
                select(case.c.conversation_id).where(
                    case.c.opened_at < span.until,
                    (case.c.state != "resolved") | (case.c.resolved_at >= span.since),
                )
            ),
        )
    ).scalar_one()
    how = when(
        (case.c.verdict == "not needed", "not_needed"),
        (case.c.resolved_by == PERSON, "person"),
        else_="staff",
    )
    rows = connection.execute(
        select(how.label("how"), func.count().label("n"))
        .where(case.c.state == "resolved", span.within(case.c.resolved_at), *span.of(case))
        .group_by(literal_column("1"))
    )
    ended = {row.how: row.n for row in rows}
    return {
        "bot": writers - int(helped),
        **{name: ended.get(name, 0) for name in ("staff", "person", "not_needed")},
    }


def verdicts(connection: Connection, span: Range) -> dict[str, Any]:
    """Return what staff said of the alerts, those of a dry run among them, and what follows."""
    from core.evaluation import wilson  # numpy: only who looks at the charts waits for it

    alerts = select(case.c.rule, case.c.verdict).where(span.within(case.c.opened_at))
    dry = select(decision.c.rule, decision.c.verdict).where(
        span.within(decision.c.at), decision.c.dry, *span.of(decision)
    )
    every = alerts.where(*span.of(case)).union_all(dry).subquery()
    rows = connection.execute(
        select(every.c.rule, every.c.verdict, func.count().label("n"))
        .group_by(every.c.rule, every.c.verdict)
        .order_by(every.c.rule)
    )
    rules: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = (row.verdict if row.verdict in VERDICTS else "") or "none"
        fresh = {"rule": row.rule, "right": 0, "too_late": 0, "not_needed": 0, "none": 0}
        rules.setdefault(row.rule, fresh)[name.replace(" ", "_")] += row.n
    needed = sum(one["right"] + one["too_late"] for one in rules.values())
    n = needed + sum(one["not_needed"] for one in rules.values())
    low, high = wilson(needed, n) if n else (None, None)
    share = needed / n if n else None
    return {
        "verdicts": list(rules.values()),
        "precision": {"n": n, "needed": needed, "share": share, "low": low, "high": high},
    }
