"""What was decided and what staff said of it, read back to be measured.

The marked sample (see `sample`) is no measurement, and who works at the desk is never judged: both
are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, and_, select, type_coerce

from core.cells import plain
from core.store import feedback
from core.store.connection import Connection
from core.store.sample import PLATFORM as SAMPLE
from core.tables import case, colleague, conversation, decision, history, inbox

_Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """One decision. Words and notes are there only where they were asked for and are still kept."""

    inbox_id: int
    conversation_id: int
    case_id: int | None  # the case that was open at the time, or was opened by this
    at: float
    rule: str
    opened: bool  # a rule fired; in an open case that is evidence and no second case
    dry: bool  # a dry run kept it from being carried out
    verdict: str  # right | not needed, on a dry one; empty: none
    scores: Mapping[str, Any] | None
    lang: str
    private: bool
    trace: Sequence[Mapping[str, Any]] = ()
    message_id: str = ""
    edited: bool = False
    text: str | None = None  # None: not asked for, erased, or no longer kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """One case, whatever its state, with staff's verdict on it."""

    id: int
    conversation_id: int
    rule: str  # the gravest so far; the opening decision knows the first
    opened_at: float
    resolved_at: float | None
    verdict: str  # right | not needed | too late; empty: none
    missed: int | None  # inbox row of the message that should have been enough
    missed_at: float | None
    lang: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Cases by id, and every decision, in the order in which they were made.

    `thumbs` is what people thought of replies: {"model", "prompt", "up", "down"} of each.
    """

    cases: Mapping[int, Closed]
    decisions: Sequence[Decided]
    thumbs: _Rows


def judged(connection: Connection, *, since: float = 0.0, words: bool = False) -> Judged:
    """Return the decisions made at or after `since` (seconds since the epoch), and every case.

    `words`: with texts and traces, as far as they are still kept; many megabytes in a large desk.
    """
    cases = {row["id"]: Closed(**row) for row in _cases(connection)}
    plain = _spoken(connection, since) if words else _plain(connection, since)
    thumbs = feedback.by_prompt(connection, since, _counts())
    return Judged(cases=cases, decisions=[Decided(**row) for row in plain], thumbs=thumbs)


def _counts() -> ColumnElement[bool]:
    works_here = select(colleague.c.id).where(
        *(colleague.c[name] == conversation.c[name] for name in ("platform", "user"))
    )
    return and_(conversation.c.platform != SAMPLE, ~works_here.exists())


def _cases(connection: Connection) -> _Rows:
    names = ("id", "conversation_id", "rule", "opened_at", "resolved_at", "verdict")
    rows = connection.execute(
        select(
            *(case.c[name] for name in names),
            history.c.inbox_id.label("missed"),
            history.c.at.label("missed_at"),
            conversation.c.lang,
        )
        .join(conversation, conversation.c.id == case.c.conversation_id)
        .outerjoin(history, history.c.id == case.c.missed_line)
        .where(_counts())
        .order_by(case.c.id)
    )
    return [dict(row) for row in rows.mappings()]


_NAMES = (
    *("inbox_id", "conversation_id", "case_id", "at", "rule"),
    *("opened", "dry", "verdict", "scores"),
)


def _plain(connection: Connection, since: float) -> _Rows:
    rows = connection.execute(
        select(*(decision.c[name] for name in _NAMES), conversation.c.lang, conversation.c.private)
        .join(conversation, conversation.c.id == decision.c.conversation_id)
        .where(decision.c.at >= since, _counts())
        .order_by(decision.c.id)
    )
    return [dict(row) for row in rows.mappings()]


def _spoken(connection: Connection, since: float) -> _Rows:
    rows = connection.execute(
        select(
            *(decision.c[name] for name in (*_NAMES, "trace")),
            conversation.c.lang,
            conversation.c.private,
            inbox.c.message_id,
            inbox.c.kind,
            type_coerce(plain(inbox.c.message), JSON)["text"].as_string().label("text"),
            history.c.deleted,
        )
        .join(conversation, conversation.c.id == decision.c.conversation_id)
        .outerjoin(inbox, inbox.c.id == decision.c.inbox_id)
        .outerjoin(
            history, and_(history.c.inbox_id == decision.c.inbox_id, history.c.role == "user")
        )
        .where(decision.c.at >= since, _counts())
        .order_by(decision.c.id)
    )
    found = []
    for row in rows.mappings():
        told = dict(row)
        kind, deleted = told.pop("kind"), told.pop("deleted")
        told |= {"message_id": told["message_id"] or "", "edited": kind == "edited"}
        found.append(told | {"text": None if deleted else told["text"]})
    return found


__all__ = ["Closed", "Decided", "Judged", "judged"]
