"""What people look at: a conversation, a case, and how one message was judged.

Views are plain JSON-ready dictionaries; their shapes stand in core.ports.Desk. The queue of cases
stands in `cases`, the figures behind the charts in `figures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, bindparam, func, literal_column, select

from core.message import ConversationKey
from core.store import people
from core.store.connection import Connection, Ready
from core.store.intake import find
from core.store.record import WENT_PRIVATE, case_row, person_row, unresolved
from core.store.rows import fields, key_of, place_of
from core.store.spoken import beginning, judged, lines as lines, read  # noqa: PLC0414 - and for whoever asks here
from core.tables import (
    audit,
    case,
    conversation,
    decision,
    history,
    inbox,
    outbox,
    person,
    remark,
)

MOVED_BY = 3  # messages shown as evidence
EVIDENCE = 0.5  # probability of "negative" from which on a message is evidence
TRACED = 30  # scored messages behind the sparkline
LINES = 200  # of a conversation beside its case
ANSWERS = 2  # of the machine that a card repeats
DONE = 20  # things done with a case that its view tells
ERASED = "(erased)"
# Spelled out as in the partial index: with a bound value SQLite would read every post ever sent.
_IS_HELD = outbox.c.state == literal_column("'held'")
_MOODS = Ready(
    select(decision.c.at, decision.c.mood)
    .where(decision.c.conversation_id == bindparam("of"))
    .order_by(decision.c.id.desc())
    .limit(bindparam("most"))
)
_SCORED = Ready(
    select(history.c.id, history.c.text, history.c.scores)
    .where(history.c.conversation_id == bindparam("of"), history.c.role == "user")
    .order_by(history.c.id.desc())
    .limit(bindparam("most"))
)
_OF = bindparam("of", type_=Integer)
_WHO = ("platform", "bot", "user")  # a person, wherever they write
_JUDGED = select(decision).order_by(decision.c.opened.desc(), decision.c.id.desc())
_WENT = Ready(select(audit.c.id).where(audit.c.case_id == _OF, audit.c.what == WENT_PRIVATE))
_OPENED_AT = Ready(  # found by its time, which has an index
    _JUDGED.where(decision.c.at == bindparam("at"), decision.c.case_id == _OF).limit(1)
)
_OPENED_IN = Ready(
    _JUDGED.where(
        decision.c.conversation_id == bindparam("conversation"),
        # Of a case that is being opened in this very transaction: it has no case yet.
        (decision.c.case_id == _OF) | (decision.c.case_id.is_(None) & decision.c.opened),
    ).limit(1)
)
_CAUSE_MESSAGE = Ready(
    select(conversation, inbox.c.message_id)
    .join(
        conversation,
        (conversation.c.id == inbox.c.conversation_id) & (conversation.c.chat == inbox.c.chat),
    )
    .where(inbox.c.id == _OF)
)
_AUDIT = Ready(
    select(audit.c.what, audit.c.who, audit.c.at)
    .where(audit.c.case_id == _OF)
    .order_by(audit.c.id.desc())
    .limit(DONE)
)
_HELD = Ready(
    select(func.count().label("rows"))
    .select_from(outbox)
    .where(outbox.c.conversation_id == _OF, _IS_HELD)
)
_SAID = Ready(
    select(history.c.text)
    .where(
        history.c.conversation_id == _OF,
        history.c.role == "bot",
        history.c.model != "",
        history.c.text != "",
    )
    .order_by(history.c.id.desc())
    .limit(ANSWERS)
)
_EARLIER = Ready(
    select(case.c.id, case.c.opened_at, case.c.rule, case.c.resolved_by, case.c.verdict)
    .where(case.c.conversation_id == _OF, case.c.id < bindparam("before"))
    .order_by(case.c.id)
)
_PERSON = Ready(select(person).where(*(person.c[name] == bindparam(name) for name in _WHO)))


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


def mood_points(connection: Connection, conversation_id: int) -> list[dict[str, float]]:
    """Return the running mood after each of the last scored messages, oldest first."""
    rows = connection.execute(_MOODS, {"of": conversation_id, "most": TRACED}).all()
    return [{"at": row.at, "value": row.mood} for row in reversed(rows)]


def case_view(connection: Connection, case_id: int) -> dict[str, Any]:
    """Return one case as its card shows it. The case must exist."""
    row = case_row(connection, case_id)
    who = person_row(connection, row.conversation_id)
    cause = _cause(connection, row)
    return {
        **_own(row),
        **_known(who),
        "claimed_by": row.claimed_by,
        "held": _held(connection, who.id),
        **_cause_message(connection, cause),
        "trace": [] if cause is None else cause.trace,
        "versions": {} if cause is None else cause.versions,
        "moved_by": moved_by(connection, who.id),
        "said": _said(connection, who.id),
        "mood_points": mood_points(connection, who.id),
        "earlier": _earlier(connection, row),
        "audit": _audit(connection, case_id),
        **_elsewhere(connection, who),
    }


def _own(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a case row
    """Return what the case's own row tells."""
    columns = (
        *("id", "state", "priority", "rule", "why", "opened_at", "claimed_at", "first_reply_at"),
        *("resolved_at", "resolved_by", "snooze_until", "resolve_at", "verdict", "helped"),
        *("anonymous", "draft", "draft_by"),
    )
    return {name: getattr(row, name) for name in columns}


def _known(who: Any) -> dict[str, Any]:  # noqa: ANN401 - a conversation row
    """Return what is known of the person and the place."""
    key = key_of(who)
    return {
        "owner": who.owner,
        "version": who.version,
        "who": who.name or key.user,
        "platform": who.platform,
        "private": bool(who.private),
        "lang": who.lang,
        "mood": who.mood,
        "level": who.level,
        "reachable": not who.unreachable,
        "unreachable": bool(who.unreachable),
        "conversation": {
            "platform": key.platform,
            "bot": key.bot,
            "chat": key.chat,
            "thread": key.thread,
            "user": key.user,
        },
    }


def _cause(connection: Connection, row: Any) -> Any | None:  # noqa: ANN401 - a case row
    """Return the decision that opened a case; of one that began in a group, the group's."""
    if connection.execute(_WENT, {"of": row.id}).first() is not None:
        return connection.execute(_OPENED_AT, {"of": row.id, "at": row.opened_at}).first()
    values = {"of": row.id, "conversation": row.conversation_id}
    return connection.execute(_OPENED_IN, values).first()


def _cause_message(connection: Connection, cause: Any | None) -> dict[str, Any]:  # noqa: ANN401
    """Return which message caused a case, and where it stands.

    In a chat that has another id by now it is not to be found: there its own id is another, too.
    """
    found = None
    if cause is not None:
        found = connection.execute(_CAUSE_MESSAGE, {"of": cause.inbox_id}).first()
    if found is None:
        return {"cause_message": "", "cause_place": None}
    return {"cause_message": found.message_id, "cause_place": fields(place_of(found))}


def _audit(connection: Connection, case_id: int) -> list[dict[str, Any]]:
    """Return the last things that were done with a case, oldest first."""
    return [row._asdict() for row in connection.execute(_AUDIT, {"of": case_id})][::-1]


def _held(connection: Connection, conversation_id: int) -> int:
    """Count the posts that wait for a person who could not be reached."""
    return int(connection.execute(_HELD, {"of": conversation_id}).scalar_one())


def _said(connection: Connection, conversation_id: int) -> list[str]:
    """Return the machine's last answers, oldest first; fixed texts are none."""
    rows = connection.execute(_SAID, {"of": conversation_id}).all()
    return [row.text for row in reversed(rows)]


def _earlier(connection: Connection, row: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a case row
    rows = connection.execute(_EARLIER, {"of": row.conversation_id, "before": row.id})
    return [one._asdict() for one in rows]


def _elsewhere(connection: Connection, who: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what holds for the person beyond this place: remarks, a block, linked accounts."""
    own = connection.execute(_PERSON, {name: getattr(who, name) for name in _WHO}).first()
    unread = people.opted_out(connection, who.platform, who.user) is not None
    told = {"blocked_until": who.blocked_until, "opted_out": unread}
    if own is None:
        return {**told, "remarks": [], "elsewhere": []}
    same: Sequence[Any] = [own]
    if own.linked is not None:
        same = connection.execute(select(person).where(person.c.linked == own.linked)).all()
    remarks = connection.execute(
        select(remark.c.who, remark.c.text, remark.c.at)
        .where(remark.c.person_id.in_([one.id for one in same]))
        .order_by(remark.c.at, remark.c.id)
    )
    others = [one for one in same if one.id != own.id]
    return {
        "blocked_until": own.blocked_until or who.blocked_until,
        "opted_out": unread,
        "remarks": [dict(one) for one in remarks.mappings()],
        "elsewhere": [
            {"platform": one.platform, "name": one.name or one.user, "case": one.case_id}
            for other in others
            for one in _conversations(connection, other)
        ],
    }


def _conversations(connection: Connection, other: Any) -> Iterable[Any]:  # noqa: ANN401
    """Return a linked account's conversations, each with its unresolved case or None."""
    return connection.execute(
        select(
            conversation.c.platform,
            conversation.c.name,
            conversation.c.user,
            case.c.id.label("case_id"),
        )
        .select_from(conversation)
        .outerjoin(
            case,
            (case.c.conversation_id == conversation.c.id)
            & (case.c.state != literal_column("'resolved'")),
        )
        .where(
            conversation.c.platform == other.platform,
            conversation.c.bot == other.bot,
            conversation.c.user == other.user,
            conversation.c.forgotten.is_(False),
        )
        .order_by(conversation.c.id)
    )


def moved_by(connection: Connection, conversation_id: int) -> list[dict[str, Any]]:
    """Return the messages that pulled the mood down most, oldest first; else the last one."""
    rows = connection.execute(_SCORED, {"of": conversation_id, "most": TRACED}).all()
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
        "lines": lines(connection, row.conversation_id, LINES),
    }


def transcript(connection: Connection, case_id: int) -> dict[str, Any] | None:
    """Return one case with every line of its time and ten before it, or None.

    Words that were erased or deleted show as "(erased)".
    """
    row = connection.execute(select(case).where(case.c.id == case_id)).first()
    if row is None:
        return None
    query = judged(row.conversation_id).where(history.c.id >= beginning(connection, row))
    if row.state == "resolved" and row.resolved_at is not None:
        query = query.where((history.c.at <= row.resolved_at) | (history.c.case_id == case_id))
    told = [
        {**line, "text": line["text"] or (ERASED if line["deleted"] else "")}
        for line in read(connection, query)
    ]
    return {**case_view(connection, case_id), "lines": told}


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


def open_case_of(
    connection: Connection, conversation_id: int
) -> tuple[ConversationKey | None, int | None]:
    """Return a conversation's key and its unresolved case; None for what is not there."""
    row = connection.execute(
        select(conversation, case.c.id.label("case_id"))
        .outerjoin(
            case, (case.c.conversation_id == conversation.c.id) & (case.c.state != "resolved")
        )
        .where(conversation.c.id == conversation_id)
    ).first()
    if row is None:
        return None, None
    return key_of(row), row.case_id


def answered_by(connection: Connection, inbox_id: int) -> Mapping[str, Any] | None:
    """Return state and answering row of an inbox row."""
    row = connection.execute(
        select(inbox.c.state, inbox.c.answered_by, inbox.c.error).where(inbox.c.id == inbox_id)
    ).first()
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


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
