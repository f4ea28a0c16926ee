"""One turn: read once, written once.

`begin` (in `bursts`) reads everything a turn needs in one transaction and counts the try. The model
then runs outside every transaction. `finish` writes everything the turn decided in ONE transaction,
and only if owner and version are still what they were at `begin`: else nothing is written and the
turn is thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from core.message import Message, Owner, Scores
from core.store import desk as cases, record, relay
from core.store.aside import say_aside
from core.store.bursts import IT, OF, ROW, TRIES, WAITING, Row, Start, Tried, begin, untried
from core.store.connection import Connection, Ready
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.rows import insert_id, insert_once, scores_to_row
from core.store.streams import clear_away, close_stream, drop_streams
from core.tables import conversation, decision, history, inbox

__all__ = [
    "TRIES",
    "Answer",
    "Finished",
    "Heard",
    "Plan",
    "Row",
    "Start",
    "Tried",
    "begin",
    "done",
    "finish",
    "set_aside",
    "untried",
]

_WAITS = Ready(select(inbox.c.id).where(inbox.c.id == IT, WAITING))
_UNMOVED = Ready(
    update(conversation).where(
        conversation.c.id == OF,
        conversation.c.owner == bindparam("owner_was"),
        conversation.c.version == bindparam("version_was"),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What became of one inbox row: its history line, its scores, its decision."""

    row: Row
    scores: Scores | None = None
    kept: bool = True  # write a history line
    decision: Mapping[str, Any] | None = None  # rule, why, opened, trace, mood, level, versions
    made: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The machine's reply, split for the platform."""

    text: str
    parts: tuple[str, ...]
    model: str
    prompt: str
    reply_to: str = ""
    buttons: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything a turn decided, to be written at once."""

    heard: tuple[Heard, ...]
    past: Mapping[str, Any] | None = None
    mood: float = 0.0
    level: str = "calm"
    lang: str = ""
    answer: Answer | None = None
    notices: tuple[str, ...] = ()  # fixed texts to the person
    notice_buttons: tuple[Any, ...] = ()
    notice_to: str = ""  # the message that the fixed texts answer
    whisper: str = ""  # the command that they answer, for its sender's eyes alone
    unkept: bool = False  # the fixed texts are no part of the history
    opening: cases.Opening | None = None
    reopen: tuple[str, str] | None = None  # (notice to the person, line to staff)
    aside: str = ""  # fixed words for the person's direct chat, never for the group
    evidence: str = ""  # one line to staff about an open case
    raised: Mapping[str, Any] | None = None  # columns of that case that are graver now
    copies: Mapping[int, tuple[str, ...]] | None = None  # inbox id -> parts for the case's thread
    wakes: bool = False  # the case sleeps, and the person has written
    looped: bool = False  # the other side is a machine: nothing is said any more
    reset: bool = False  # /reset: history before now is not shown to the model again


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What `finish` wrote."""

    lanes: tuple[Lane, ...]
    owner: Owner
    case_id: int | None
    answer_id: int | None
    lines: Mapping[int, int]  # inbox id -> history id
    alert: tuple[str, ...] = ()  # staff who are to be told that the person wrote
    opened: bool = False  # a case that was not there before


def finish(
    connection: Connection, start: Start, plan: Plan, desk: cases.Desk, now: float
) -> Finished | None:
    """Write a whole turn, or nothing and None when somebody else moved the conversation."""
    ids = [heard.row.id for heard in plan.heard]
    if not all(connection.execute(_WAITS, {"it": row_id}).first() for row_id in ids):
        return None
    if not _person(connection, start, plan, now):
        untried(connection, ids)
        return None
    lines = {heard.row.id: _line(connection, start, heard, now) for heard in plan.heard}
    lanes: list[Lane] = []
    case_id = start.case_id
    for heard in plan.heard:
        if heard.decision is not None:  # before the case, whose card shows it
            _decide(connection, start, heard, case_id, now)
    changed = _case(connection, start, plan, desk, now)
    if changed is not None:
        case_id = changed.case_id
        lanes += changed.lanes
        connection.execute(
            update(decision).where(decision.c.inbox_id.in_(ids)).values(case_id=case_id)
        )
    answer_id, posts = _answer(connection, start, plan, ids, now)
    posts += _copies(connection, plan, case_id, lines)
    alert: tuple[str, ...] = ()
    if case_id is not None and any(heard.kept for heard in plan.heard):
        again = cases.heard_again(connection, case_id, desk, now)
        lanes, alert = [*lanes, *again.lanes], again.alert
    lanes += _returned(connection, start, desk, now) if start.unreachable else ()
    lanes += enqueue(connection, start.conversation_id, posts, now)
    if plan.answer is not None:
        lanes.append(("person", start.conversation_id))
    if plan.aside:
        lanes += say_aside(connection, start.key, ids[-1], plan.aside, now)
    _close(connection, ids, now, answered_by=ids[-1])
    return Finished(
        lanes=tuple(dict.fromkeys(lanes)),
        owner=start.owner if changed is None else _owner(connection, start.conversation_id),
        case_id=case_id,
        answer_id=answer_id,
        lines=lines,
        alert=alert,
        opened=changed is not None and changed.opened,
    )


def _returned(connection: Connection, start: Start, desk: cases.Desk, now: float) -> list[Lane]:
    """Clear away what somebody saw half of before they were gone; tell staff that they are back."""
    lanes = clear_away(connection, start.conversation_id, now)
    back = desk.returned(connection, start.conversation_id, now)
    return lanes if back is None else [*lanes, *back.lanes]


def _line(connection: Connection, start: Start, heard: Heard, now: float) -> int:
    message = heard.row.message
    if not heard.kept:
        return 0
    return insert_id(
        connection,
        history,
        conversation_id=start.conversation_id,
        inbox_id=heard.row.id,
        role="user",
        text=message.text or _of_attachments(message),
        name=message.author.name,
        at=min(message.sent_at, now) or now,
        message_id=message.message_id,
        scores=scores_to_row(heard.scores),
        files=relay.files_of(message),
        reply_to=message.reply_to or "",
    )


def _of_attachments(message: Message) -> str:
    return " ".join(item.words or f"[{item.kind}]" for item in message.attachments)


def _person(connection: Connection, start: Start, plan: Plan, now: float) -> bool:
    """Write what is known of the person; False: owner or version have moved, nothing written."""
    values: dict[str, Any] = {"touched_at": now, "unreachable": False}  # whoever writes is there
    if plan.past is not None:
        values |= {"past": dict(plan.past), "mood": plan.mood, "level": plan.level}
    if plan.lang:
        values["lang"] = plan.lang
    if plan.reset:
        values["history_since"] = now
    name = plan.heard[-1].row.message.author.name
    if name:
        values["name"] = name
    was = {"owner_was": start.owner, "version_was": start.version}
    written = connection.execute(_UNMOVED, {"of": start.conversation_id, **was, **values})
    return bool(written.rowcount)


def _owner(connection: Connection, conversation_id: int) -> Owner:
    query = select(conversation.c.owner).where(conversation.c.id == conversation_id)
    owner: Owner = connection.execute(query).scalar_one()
    return owner


def _case(
    connection: Connection, start: Start, plan: Plan, desk: cases.Desk, now: float
) -> record.Changed | None:
    if plan.opening is not None:
        return cases.open_case(connection, start.conversation_id, plan.opening, desk, now)
    if plan.reopen is not None and start.resolved_case is not None:
        notice, say = plan.reopen
        change = cases.Change(
            what="reopened",
            who="",
            state="queued",
            holder=("", ""),
            notice=notice,
            say=say,
            values={**(plan.raised or {}), "resolved_at": None, "reopen_until": None},
        )
        return cases.move(connection, start.resolved_case, desk, now, change=change)
    if plan.wakes and start.case_id is not None:
        said, raised = plan.evidence, plan.raised
        return cases.wake(connection, start.case_id, desk, now, say=said, raised=raised)
    if plan.evidence and start.case_id is not None:
        change = cases.Change(what="evidence", who="", say=plan.evidence, values=plan.raised)
        return cases.move(connection, start.case_id, desk, now, change=change)
    return None


def _decide(
    connection: Connection, start: Start, heard: Heard, case_id: int | None, now: float
) -> None:
    insert_once(
        connection,
        decision,
        {
            **(heard.decision or {}),
            "conversation_id": start.conversation_id,
            "inbox_id": heard.row.id,
            "case_id": case_id,
            "scores": scores_to_row(heard.scores),
            "made": dict(heard.made) if heard.made else None,
            "at": now,
        },
    )


def _answer(
    connection: Connection, start: Start, plan: Plan, ids: Sequence[int], now: float
) -> tuple[int | None, list[Outgoing]]:
    posts = [
        Outgoing(
            kind="notice",
            text=words,
            part=part,
            buttons=plan.notice_buttons,
            reply_to=plan.notice_to if part == 0 else "",
            whisper=plan.whisper,
            cause_kind="inbox",
            cause_id=ids[0],
        )
        for part, words in enumerate(plan.notices)
    ]
    for words in () if plan.unkept else plan.notices:  # the model must know what it has said
        _said(connection, start, words, now)
    answer = plan.answer
    if answer is None:
        return None, [*posts, *drop_streams(connection, start.conversation_id, ids, now)]
    line = _said(connection, start, answer.text, now, answer=answer, inbox_id=ids[-1])
    replies = [
        Outgoing(
            kind="reply",
            text=words,
            part=part,
            bot_text=True,
            buttons=answer.buttons if part == len(answer.parts) - 1 else (),
            reply_to=answer.reply_to if part == 0 else "",
            history_id=line,
            cause_kind="inbox",
            cause_id=ids[0],
        )
        for part, words in enumerate(answer.parts)
    ]
    posts += close_stream(connection, ids[0], replies, now)
    # A try may have begun with another message of this burst; a reply of no parts closes nothing.
    rest = ids[1:] if replies else ids
    posts += drop_streams(connection, start.conversation_id, rest, now)
    return line, posts


def _said(
    connection: Connection,
    start: Start,
    words: str,
    now: float,
    *,
    answer: Answer | None = None,
    inbox_id: int | None = None,
) -> int:
    return insert_id(
        connection,
        history,
        conversation_id=start.conversation_id,
        inbox_id=inbox_id,
        role="bot",
        text=words,
        at=now,
        model="" if answer is None else answer.model,
        prompt="" if answer is None else answer.prompt,
    )


def _copies(
    connection: Connection, plan: Plan, case_id: int | None, lines: Mapping[int, int]
) -> list[Outgoing]:
    if case_id is None:
        return []
    messages = {heard.row.id: heard.row.message for heard in plan.heard if heard.kept}
    return [
        post
        for inbox_id, parts in (plan.copies or {}).items()
        for post in relay.copies(
            connection, case_id, inbox_id, parts, lines[inbox_id], messages.get(inbox_id)
        )
    ]


def done(connection: Connection, ids: Sequence[int], now: float) -> None:
    """Close rows that need no history, decision or answer (presses, desk commands, edits)."""
    _close(connection, ids, now)


def _close(connection: Connection, ids: Sequence[int], now: float, **values: Any) -> None:  # noqa: ANN401
    for row_id in ids:
        done = {"it": row_id, "state": "done", "raw": "", "touched_at": now, **values}
        connection.execute(ROW, done)


def set_aside(
    connection: Connection, start: Start, error: str, notice: str, now: float
) -> tuple[Lane, ...]:
    """Park rows that failed too often; the person is told, the conversation goes on."""
    ids = [row.id for row in start.rows]
    connection.execute(
        update(inbox)
        .where(inbox.c.id.in_(ids), inbox.c.state == "waiting")
        .values(state="parked", error=error, touched_at=now)
    )
    posts = drop_streams(connection, start.conversation_id, ids, now)
    if notice:
        posts.append(Outgoing(kind="notice", text=notice, cause_kind="inbox", cause_id=ids[0]))
    return tuple(enqueue(connection, start.conversation_id, posts, now))
