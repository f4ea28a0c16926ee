"""The figures behind the charts: counted by the database, never line by line.

Everything is told in buckets of the browser's own clock: hours for a range of up to three days,
else days. What a chart draws and what its table and CSV hold are the same lists.

The marked sample (see `sample`) has figures only as long as nobody real has ever written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    Text,
    case as when,
    cast,
    distinct,
    func,
    literal_column,
    select,
    type_coerce,
)

from core.cells import plain
from core.store import feedback, outcomes
from core.store.connection import Connection
from core.store.sample import PLATFORM as SAMPLE
from core.store.span import HOUR, WEEK, Filter, Range, bucket, quantiles, whole
from core.tables import conversation, decision, history, inbox

NEGATIVE = 0.5  # probability from which on a message counts as negative
READ = 20_000  # decisions whose times are read; of more, every so many
CHOICES = 50  # chats and languages offered as filters
LEVELS = ("calm", "tense", "upset")
_FIRST_DAY = 3  # the epoch began on a Thursday; weeks here begin on Monday
_FINE, _COARSE = 0.1, 10.0  # ms: how finely a tag's and an answer's times are told apart


def figures(
    connection: Connection,
    since: float,
    until: float,
    wanted: Mapping[str, str],
    hour_offset: float,
) -> dict[str, Any]:
    """Return every figure of a range. `wanted` may name "platform", "chat" and "lang".

    {"since", "until", "size", "empty", "sample", "choices", "people",
    "messages": [{"at", "messages", "scored", "negative"}], "worst": {"at", "messages",
    "negative", "people", "platform", "chat"} or None,
    "moods": [{"week": now|before, "calm", "tense", "upset"}],
    "cases": [{"at", "opened", "claimed", "resolved", "given_back"}], "open": n,
    "replies": [{"at", "n", "median", "p90"}] (seconds), "reply": the same of the whole range with
    "unanswered", "settled": {"bot", "staff", "person", "not_needed"},
    "verdicts": [{"rule", "right", "too_late", "not_needed", "none"}],
    "precision": {"n", "needed", "share", "low", "high"}, "hours": 7 lists of 24, Monday first,
    "thumbs": [{"at", "up", "down"}] (under replies), "feedback": {"up", "down"} of all of them,
    "latency": [{"at", "n", "heard", "heard_p90", "written", "written_p90", "whole",
    "whole_p90"}] (milliseconds, None where unknown), "time": the same of the whole range}.
    """
    real = connection.execute(
        select(conversation.c.id).where(conversation.c.platform != SAMPLE).limit(1)
    ).first()
    marked = connection.execute(
        select(conversation.c.id).where(conversation.c.platform == SAMPLE).limit(1)
    ).first()
    people = _people(wanted, unmarked=marked is not None and real is not None)
    span = Range(since=since, until=until, shift=hour_offset * HOUR, people=people)
    hours = _by_hours(connection, span)
    messages = _messages(span, hours)
    writers = _writers(connection, span)
    return {
        "since": since,
        "until": until,
        "size": span.size,
        "empty": real is None and marked is None,
        "sample": marked is not None,
        "choices": _choices(connection),
        "people": writers,
        "messages": messages,
        "worst": _worst(connection, span, messages),
        "moods": _moods(connection, span),
        "cases": outcomes.steps(connection, span),
        "open": outcomes.still_open(connection, span),
        **outcomes.replies(connection, span),
        "settled": outcomes.settled(connection, span, writers),
        **outcomes.verdicts(connection, span),
        **feedback.thumbs(connection, span),
        "hours": _week(hours),
        **_latency(connection, span),
    }


def _people(wanted: Mapping[str, str], *, unmarked: bool) -> Select[Any] | None:
    where = [conversation.c[n] == wanted[n] for n in ("platform", "chat", "lang") if wanted.get(n)]
    if unmarked:
        where.append(conversation.c.platform != SAMPLE)
    return select(conversation.c.id).where(*where) if where else None


def _choices(connection: Connection) -> dict[str, list[Any]]:
    """Return what can be filtered by; chats of single persons are none of it."""
    platforms = connection.execute(
        select(conversation.c.platform).distinct().order_by(conversation.c.platform)
    )
    chats = connection.execute(
        select(conversation.c.platform, conversation.c.chat)
        .where(conversation.c.private.is_(False))
        .group_by(conversation.c.platform, conversation.c.chat)
        .order_by(func.count().desc(), conversation.c.chat)
        .limit(CHOICES)
    )
    langs = connection.execute(
        select(conversation.c.lang)
        .where(conversation.c.lang != "")
        .group_by(conversation.c.lang)
        .order_by(func.count().desc(), conversation.c.lang)
        .limit(CHOICES)
    )
    return {
        "platforms": [row.platform for row in platforms],
        "chats": [{"platform": row.platform, "chat": row.chat} for row in chats],
        "langs": [row.lang for row in langs],
    }


# --- messages -------------------------------------------------------------------------------------


def _by_hours(connection: Connection, span: Range) -> dict[int, tuple[int, int, int]]:
    """Return (messages, scored ones, negative ones) by number of the hour."""
    hour = bucket(connection, span, history.c.at, HOUR)
    rows = connection.execute(
        select(
            hour.label("hour"),
            func.count().label("n"),
            func.sum(when((cast(history.c.scores, Text) != "null", 1), else_=0)).label("scored"),
            func.sum(when((_is_negative(), 1), else_=0)).label("negative"),
        )
        .where(history.c.role == "user", span.within(history.c.at), *span.of(history))
        .group_by(literal_column("1"))
    )
    return {row.hour: (row.n, row.scored or 0, row.negative or 0) for row in rows}


def _is_negative() -> ColumnElement[bool]:
    found: ColumnElement[bool] = history.c.scores["p_negative"].as_float() >= NEGATIVE
    return found


def _messages(span: Range, hours: Mapping[int, tuple[int, int, int]]) -> list[dict[str, Any]]:
    found = {
        number: {"at": at, "messages": 0, "scored": 0, "negative": 0}
        for number, at in span.starts().items()
    }
    for hour, (n, scored, negative) in hours.items():
        told = found[int(hour * HOUR // span.size)]
        told["messages"] += n
        told["scored"] += scored
        told["negative"] += negative
    return list(found.values())


def _week(hours: Mapping[int, tuple[int, int, int]]) -> list[list[int]]:
    """Return how many messages came in each hour of the week."""
    week = [[0] * 24 for _ in range(7)]
    for hour, (n, _, _) in hours.items():
        week[(hour // 24 + _FIRST_DAY) % 7][hour % 24] += n
    return week


def _writers(connection: Connection, span: Range) -> int:
    return int(
        connection.execute(
            select(func.count(distinct(history.c.conversation_id))).where(
                history.c.role == "user", span.within(history.c.at), *span.of(history)
            )
        ).scalar_one()
    )


def _worst(
    connection: Connection, span: Range, messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the bucket with the most negative messages: from how many people, mostly where."""
    worst = max(messages, key=lambda one: one["negative"], default=None)
    if worst is None or not worst["negative"]:
        return None
    rows = connection.execute(
        select(
            conversation.c.platform,
            when((conversation.c.private.is_(True), ""), else_=conversation.c.chat).label("chat"),
            func.count(distinct(history.c.conversation_id)).label("people"),
        )
        .join(conversation, conversation.c.id == history.c.conversation_id)
        .where(
            history.c.role == "user",
            history.c.at >= max(worst["at"], span.since),
            history.c.at < min(worst["at"] + span.size, span.until),
            _is_negative(),
            *span.of(history),
        )
        .group_by(literal_column("1"), literal_column("2"))
        .order_by(literal_column("3").desc(), literal_column("2"))
    ).all()
    found = {name: worst[name] for name in ("at", "messages", "negative")}
    return {
        **found,
        "people": sum(row.people for row in rows),
        "platform": rows[0].platform,
        "chat": rows[0].chat,
    }


def _moods(connection: Connection, span: Range) -> list[dict[str, Any]]:
    """Return how many people were in which mood at their last message of a week."""
    found = []
    for week, end in (("now", span.until), ("before", span.until - WEEK)):
        last = (
            select(func.max(decision.c.id))
            .where(decision.c.at >= end - WEEK, decision.c.at < end, *span.of(decision))
            .group_by(decision.c.conversation_id)
        )
        rows = connection.execute(
            select(decision.c.level, func.count().label("n"))
            .where(decision.c.id.in_(last))
            .group_by(decision.c.level)
        )
        people = {row.level: row.n for row in rows}
        found.append({"week": week, **{level: people.get(level, 0) for level in LEVELS}})
    return found


# --- times ----------------------------------------------------------------------------------------


def _latency(connection: Connection, span: Range) -> dict[str, Any]:
    """Return how long tagging, writing and the whole turn took, as far as it is known."""
    judged = [span.within(decision.c.at), *span.of(decision)]
    total = int(
        connection.execute(select(func.count()).select_from(decision).where(*judged)).scalar_one()
    )
    judged.append(decision.c.id % (total // READ + 1) == 0)
    made = type_coerce(plain(decision.c.made), JSON)
    written = func.coalesce(made["reply", "reply_ms"].as_float(), made["reply", "ms"].as_float())
    turn = (decision.c.at - inbox.c.received_at) * 1000
    parts = {
        "heard": _times(connection, span, judged, made["ms"].as_float(), _FINE),
        "written": _times(connection, span, judged, written, _COARSE),
        "whole": _times(connection, span, judged, turn, _COARSE, arrived=True),
    }
    every = {
        name: [one for told in found.values() for one in told] for name, found in parts.items()
    }
    return {
        "latency": [
            {"at": at, **_told({name: found.get(number, []) for name, found in parts.items()})}
            for number, at in span.starts().items()
        ],
        "time": _told(every),
    }


def _told(parts: Mapping[str, Sequence[tuple[float, int]]]) -> dict[str, Any]:
    told: dict[str, Any] = {"n": max(sum(n for _, n in times) for times in parts.values())}
    for name, times in parts.items():
        told[name], told[f"{name}_p90"] = quantiles(times)
    return told


def _times(
    connection: Connection,
    span: Range,
    where: Filter,
    value: Any,  # noqa: ANN401 - milliseconds, as an expression
    step: float,
    *,
    arrived: bool = False,
) -> dict[int, list[tuple[float, int]]]:
    """Return counted times by bucket, in whole steps, so that few rows come back."""
    query = select(
        bucket(connection, span, decision.c.at, span.size).label("bucket"),
        whole(connection, value / step + 0.5).label("steps"),
        func.count().label("n"),
    )
    if arrived:
        query = query.join(inbox, inbox.c.id == decision.c.inbox_id)
    query = query.where(*where, value > 0)
    found: dict[int, list[tuple[float, int]]] = {}
    for row in connection.execute(query.group_by(literal_column("1"), literal_column("2"))):
        found.setdefault(row.bucket, []).append((round(row.steps * step, 1), row.n))
    return found
