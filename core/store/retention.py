"""Letting go of what is too old, and of the words of whoever wants to be left unread.

Rows are looked for on a connection that cannot write and taken in slices, so that nothing waits
behind a sweep; each slice asks again whether its rows are still too old. One that is interrupted
begins anew and finds what is left. Lasting are what the operator's people have made to last: saved
replies, settings, remarks, who works at the desk, and the scores of an open case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    literal_column,
    null,
    or_,
    select,
    update,
)

from core.cells import plain
from core.message import ConversationKey
from core.store import people, unsaid
from core.store.bursts import WAITING
from core.store.connection import Connection, Ready
from core.store.outbox import IS_OVER, OPEN
from core.store.record import IS_UNRESOLVED
from core.tables import (
    audit,
    case,
    conversation,
    decision,
    feedback,
    history,
    inbox,
    incident,
    outbox,
    person,
    poison,
)

DAY = 86400.0
SLICE = 400  # rows changed in one transaction
HUSH = 50  # people whose words go in one transaction
IS_DONE = inbox.c.state == literal_column("'done'")  # spelled out as in the partial index
FILED: list[dict[str, Any]] = [{}]  # in the place of files: that there were some, and nothing else


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """Before when texts and scores are too old."""

    texts: float
    scores: float

    @classmethod
    def at(cls, now: float, text_days: int, score_days: int) -> Horizon:
        """Return what is too old now, by the operator's days."""
        return cls(texts=now - text_days * DAY, scores=now - score_days * DAY)


class Slice(NamedTuple):
    """Rows to let go of: by which rule, their ids, and where the next look begins."""

    rule: int
    ids: tuple[int, ...]
    following: tuple[int, int]


def find(connection: Connection, horizon: Horizon, at: tuple[int, int] = (0, 0)) -> Slice | None:
    """Return the next rows that are too old, from a place of an earlier slice on; None: no more."""
    rule, after = at
    while rule < len(_RULES):
        table, old, _ = _RULES[rule]
        ids = connection.execute(
            select(table.c.id)
            .where(table.c.id > after, old(horizon))
            .order_by(table.c.id)
            .limit(SLICE)
        )
        if found := tuple(int(row.id) for row in ids):
            return Slice(rule, found, (rule, found[-1]))
        rule, after = rule + 1, 0
    return None


def let_go(connection: Connection, horizon: Horizon, piece: Slice) -> int:
    """Let go of a slice; return of how many rows."""
    table, old, act = _RULES[piece.rule]
    return act(connection, table, and_(table.c.id.in_(piece.ids), old(horizon)))


Old = Callable[[Horizon], ColumnElement[bool]]
Act = Callable[[Connection, Table, ColumnElement[bool]], int]


def _gone(connection: Connection, table: Table, where: ColumnElement[bool]) -> int:
    return int(connection.execute(delete(table).where(where)).rowcount)


def _without(values: Mapping[str, Any]) -> Act:
    def act(connection: Connection, table: Table, where: ColumnElement[bool]) -> int:
        return int(connection.execute(update(table).where(where).values(**values)).rowcount)

    return act


def _unfiled(connection: Connection, table: Table, where: ColumnElement[bool]) -> int:
    """Empty what staff were shown; where it is must be known, or it could never be erased."""
    files = update(table).where(where, plain(table.c.media).like("[{%")).values(media=FILED)
    connection.execute(files)
    words = update(table).where(where).values(text="", buttons=null(), error="")
    return int(connection.execute(words).rowcount)


def _unquoted(connection: Connection, table: Table, where: ColumnElement[bool]) -> int:
    """Keep the numbers of old decisions without the words that they quote.

    The notes of a trace name the phrases that matched, and how a reply was made holds its whole
    prompt. What has no notes any more has been here already.
    """
    rows = connection.execute(select(table.c.id, table.c.trace).where(where)).all()
    for row in rows:
        trace = [{name: v for name, v in one.items() if name != "note"} for one in row.trace]
        connection.execute(
            update(table).where(table.c.id == row.id).values(trace=trace, why="", made=null())
        )
    return len(rows)


_LEFT = outbox.c.state.not_in(OPEN)
_NO_LINE = {"text": "", "was": "", "name": "", "files": null(), "deleted": True}
_NO_MOOD = {"past": null(), "mood": 0.0, "level": "calm"}
_NO_WHY = {"why": "", "draft": "", "draft_by": ""}
_NOBODY = {"claimed_by": "", "holder": "", "resolved_by": "", "verdict_by": ""}
_SAYS = or_(
    history.c.text != "",
    history.c.was != "",
    history.c.name != "",
    plain(history.c.files).like("[{%"),
)
_QUOTES = or_(
    plain(decision.c.trace).like('%"note"%'), decision.c.why != "", plain(decision.c.made) != "null"
)
_AT_REST = conversation.c.owner == "bot"
_RULES: Sequence[tuple[Table, Old, Act]] = (
    (inbox, lambda h: and_(inbox.c.state != "waiting", inbox.c.touched_at < h.texts), _gone),
    (
        outbox,
        lambda h: and_(_LEFT, outbox.c.touched_at < h.texts, outbox.c.staff_thread_id.is_(None)),
        _gone,
    ),
    (outbox, lambda h: and_(_LEFT, outbox.c.touched_at < h.texts, outbox.c.text != ""), _unfiled),
    (history, lambda h: and_(history.c.at < h.texts, _SAYS), _without(_NO_LINE)),
    (decision, lambda h: and_(decision.c.at < h.texts, _QUOTES), _unquoted),
    (poison, lambda h: poison.c.at < h.texts, _gone),
    (
        case,
        lambda h: and_(case.c.resolved_at < h.texts, or_(case.c.why != "", case.c.draft != "")),
        _without(_NO_WHY),
    ),
    (
        conversation,
        lambda h: and_(_AT_REST, conversation.c.touched_at < h.texts, conversation.c.name != ""),
        _without({"name": ""}),
    ),
    (
        person,
        lambda h: and_(person.c.blocked_until < h.texts, person.c.blocked_why != ""),
        _without({"blocked_why": ""}),
    ),
    (
        person,
        lambda h: and_(person.c.link_until < h.texts, person.c.link_code != ""),
        _without({"link_code": "", "link_until": null()}),
    ),
    (
        history,
        lambda h: and_(history.c.at < h.scores, history.c.scores.is_not(null())),
        _without({"scores": null()}),
    ),
    (decision, lambda h: decision.c.at < h.scores, _gone),
    (feedback, lambda h: feedback.c.at < h.scores, _gone),
    (
        conversation,
        lambda h: and_(
            _AT_REST, conversation.c.touched_at < h.scores, conversation.c.past.is_not(null())
        ),
        _without(_NO_MOOD),
    ),
    (
        case,
        lambda h: and_(
            case.c.resolved_at < h.scores, or_(*(case.c[name] != "" for name in _NOBODY))
        ),
        _without(_NOBODY),
    ),
    (audit, lambda h: audit.c.at < h.scores, _gone),
    (incident, lambda h: incident.c.closed_at < h.scores, _gone),
)


# ---- whoever wants to be left unread -----------------------------------------------------------


def unfeel(connection: Connection, conversation_ids: Sequence[int]) -> list[ConversationKey]:
    """Erase what was made of a person's words: scores and moods; return where."""
    mine = conversation.c.id.in_(conversation_ids)
    connection.execute(update(conversation).where(mine).values(past=null(), mood=0.0, level="calm"))
    connection.execute(
        update(history).where(history.c.conversation_id.in_(conversation_ids)).values(scores=null())
    )
    connection.execute(
        update(decision)
        .where(decision.c.conversation_id.in_(conversation_ids))
        .values(scores=null(), made=null(), mood=0.0, level="calm", trace=[])
    )
    return [key for _, key in people.keys_of(connection, conversation_ids)]


_SINCE: BindParameter[float] = bindparam("since")
_MINE = case.c.conversation_id == conversation.c.id
_UNREAD = select(conversation.c.id).where(
    people.is_unread(),
    or_(
        conversation.c.touched_at >= _SINCE,
        select(case.c.id).where(_MINE, case.c.resolved_at >= _SINCE).exists(),
    ),
    conversation.c.forgotten.is_(False),
    ~select(case.c.id).where(_MINE, IS_UNRESOLVED).exists(),
    ~select(inbox.c.id).where(inbox.c.conversation_id == conversation.c.id, WAITING).exists(),
)
_UNREAD_ALL = Ready(
    _UNREAD.where(  # found by an index: the others are many
        conversation.c.user.in_(select(person.c.user).where(person.c.opted_out.is_not(None)))
    )
)


def unread(connection: Connection, since: float, ids: Sequence[int] | None = None) -> list[int]:
    """Return the conversations at rest since then of people who want no model to read them.

    While staff have a case of theirs, its words are theirs to see. `ids`: none but these.
    """
    values = {"since": since}
    if ids is None:
        return [int(row.id) for row in connection.execute(_UNREAD_ALL, values)]
    some = connection.execute(_UNREAD.where(conversation.c.id.in_(ids)), values)
    return [int(row.id) for row in some]


def hush(connection: Connection, ids: Sequence[int], now: float) -> None:
    """Let the words of these conversations go, and all that was made of them.

    Each is asked about again: since it was found a case may have been opened. Fixed texts stay a
    day, so that none is said again and again; what has not arrived stays until somebody settles it.
    """
    ids = unread(connection, 0.0, ids)
    for number in ids:
        unsaid.unquote(connection, number)
    for one in (history, inbox, outbox, decision, case, conversation):
        mine = one.c.id if one is conversation else one.c.conversation_id
        where = and_(mine.in_(ids), _HUSHED[one.name](now))
        if one is decision:
            connection.execute(delete(one).where(where))
        elif one is outbox:
            _unfiled(connection, one, where)
        else:
            connection.execute(update(one).where(where).values(**_SILENT[one.name]))


_SILENT: Mapping[str, Mapping[str, Any]] = {
    "history": {**_NO_LINE, "scores": null(), "reply_to": ""},
    "inbox": {"message": {}, "raw": "", "error": ""},
    "cases": _NO_WHY,
    "conversation": _NO_MOOD,
}
_FIXED = and_(history.c.role == "bot", history.c.model == "")
_HUSHED: Mapping[str, Callable[[float], ColumnElement[bool]]] = {
    "history": lambda now: and_(
        history.c.role.in_(("user", "bot", "staff")),
        _SAYS,
        or_(~_FIXED, history.c.at < now - DAY),
    ),
    "inbox": lambda _: and_(IS_DONE, plain(inbox.c.message) != "{}"),
    "outbox": lambda _: and_(IS_OVER, outbox.c.text != ""),
    "decision": lambda _: decision.c.id > 0,
    "cases": lambda _: or_(case.c.why != "", case.c.draft != ""),
    "conversation": lambda _: conversation.c.past.is_not(null()),
}
