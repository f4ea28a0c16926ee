"""One turn: read once, written once.

`begin` reads everything a turn needs in one transaction and counts the try. The model then runs
outside every transaction. `finish` writes everything the turn decided in ONE transaction, and only
if owner and version are still what they were at `begin`: else nothing is written and the turn is
thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from core.message import ConversationKey, Message, Owner, Said, Scores
from core.store import desk as cases, threads
from core.store.aside import say_aside
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.rows import insert_id, insert_once, key_of, message_from_row, scores_to_row
from core.store.streams import close_stream, drop_streams
from core.tables import case, conversation, decision, history, inbox

TRIES = 5  # after so many a message is set aside and its conversation goes on
ALONE = 3  # and after so many it is tried alone, so that it takes no neighbour with it
HISTORY = 60  # lines a turn reads at most; the engine trims further, by tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One unfinished inbox row."""

    id: int
    message: Message
    urgent: str
    tries: int
    received_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a turn knows when it begins."""

    conversation_id: int
    key: ConversationKey
    name: str
    lang: str
    private: bool
    owner: Owner
    version: int
    past: Mapping[str, Any] | None
    rows: tuple[Row, ...]  # the burst: said messages, or one row of another kind
    history: tuple[Said, ...]
    case_id: int | None  # the unresolved case
    case_state: str
    resolved_case: int | None  # one that may still be reopened
    resolved_at: float

    @property
    def standing(self) -> tuple[Owner, int]:
        """Who speaks, at which version: compared again before anything is written."""
        return (self.owner, self.version)

    @property
    def addressed(self) -> bool:
        """Whether any of it was said to the bot; the rest, of a watched group, is only heard."""
        return any(row.message.addressed for row in self.rows)


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
    opening: cases.Opening | None = None
    reopen: tuple[str, str] | None = None  # (notice to the person, line to staff)
    aside: str = ""  # fixed words for the person's direct chat, never for the group
    evidence: str = ""  # one line to staff about an open case
    raised: Mapping[str, Any] | None = None  # columns of that case that are graver now
    copies: Mapping[int, tuple[str, ...]] | None = None  # inbox id -> parts for the case's thread
    reset: bool = False  # /reset: history before now is not shown to the model again


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What `finish` wrote."""

    lanes: tuple[Lane, ...]
    owner: Owner
    case_id: int | None
    answer_id: int | None
    lines: Mapping[int, int]  # inbox id -> history id


def begin(connection: Connection, conversation_id: int, now: float) -> Start | None:
    """Read the oldest unfinished burst of a conversation and count the try; None: nothing left."""
    found = connection.execute(
        select(inbox)
        .where(inbox.c.conversation_id == conversation_id, inbox.c.state == "waiting")
        .order_by(inbox.c.sequence, inbox.c.id)
    ).all()
    if not found:
        return None
    burst = [found[0]]
    if found[0].kind == "said" and found[0].tries < ALONE:
        for row in found[1:]:
            if row.kind != "said":
                break
            burst.append(row)
    ids = [row.id for row in burst]
    connection.execute(
        update(inbox).where(inbox.c.id.in_(ids)).values(tries=inbox.c.tries + 1, touched_at=now)
    )
    return _start(connection, conversation_id, burst, now)


def _start(connection: Connection, conversation_id: int, burst: Sequence[Any], now: float) -> Start:
    person = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    open_case = cases.unresolved(connection, conversation_id)
    last = connection.execute(
        select(case.c.id, case.c.reopen_until, case.c.resolved_at)
        .where(case.c.conversation_id == conversation_id, case.c.state == "resolved")
        .order_by(case.c.id.desc())
    ).first()
    reopens = last is not None and open_case is None and (last.reopen_until or 0.0) > now
    return Start(
        conversation_id=conversation_id,
        key=key_of(person),
        name=person.name,
        lang=person.lang,
        private=bool(person.private),
        owner=person.owner,
        version=person.version,
        past=person.past,
        rows=tuple(
            Row(
                id=r.id,
                message=message_from_row(r.message),
                urgent=r.urgent,
                tries=r.tries + 1,
                received_at=r.received_at,
            )
            for r in burst
        ),
        history=_history(connection, conversation_id, person.history_since),
        case_id=None if open_case is None else int(open_case.id),
        case_state="" if open_case is None else open_case.state,
        resolved_case=int(last.id) if last is not None and reopens else None,
        resolved_at=float(last.resolved_at or 0.0) if last is not None else 0.0,
    )


def _history(connection: Connection, conversation_id: int, since: float) -> tuple[Said, ...]:
    lines = connection.execute(
        select(history)
        .where(
            history.c.conversation_id == conversation_id,
            history.c.role != "note",
            history.c.at >= since,
            history.c.deleted.is_(False),
        )
        .order_by(history.c.id.desc())
        .limit(HISTORY)
    ).all()
    return tuple(
        Said(role=line.role, text=line.text, at=line.at, name=line.name) for line in reversed(lines)
    )


def finish(
    connection: Connection, start: Start, plan: Plan, desk: cases.Desk, now: float
) -> Finished | None:
    """Write a whole turn, or nothing and None when somebody else moved the conversation."""
    ids = [heard.row.id for heard in plan.heard]
    person = connection.execute(
        select(conversation.c.owner, conversation.c.version).where(
            conversation.c.id == start.conversation_id
        )
    ).first()
    waiting = connection.execute(
        select(inbox.c.id).where(inbox.c.id.in_(ids), inbox.c.state == "waiting")
    ).all()
    standing = None if person is None else (person.owner, person.version)
    if standing != start.standing or len(waiting) != len(ids):
        return None
    lines = {heard.row.id: _line(connection, start, heard, now) for heard in plan.heard}
    _person(connection, start, plan, now)
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
    lanes += enqueue(connection, start.conversation_id, posts, now)
    if plan.answer is not None:
        lanes.append(("person", start.conversation_id))
    if plan.aside:
        lanes += say_aside(connection, start.key, ids[-1], plan.aside, now)
    connection.execute(
        update(inbox)
        .where(inbox.c.id.in_(ids))
        .values(state="done", raw="", touched_at=now, answered_by=ids[-1])
    )
    owner = connection.execute(
        select(conversation.c.owner).where(conversation.c.id == start.conversation_id)
    ).scalar_one()
    return Finished(
        lanes=tuple(dict.fromkeys(lanes)),
        owner=owner,
        case_id=case_id,
        answer_id=answer_id,
        lines=lines,
    )


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
    )


def _of_attachments(message: Message) -> str:
    return " ".join(f"[{item.kind}]" for item in message.attachments)


def _person(connection: Connection, start: Start, plan: Plan, now: float) -> None:
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
    connection.execute(
        update(conversation).where(conversation.c.id == start.conversation_id).values(**values)
    )


def _case(
    connection: Connection, start: Start, plan: Plan, desk: cases.Desk, now: float
) -> cases.Changed | None:
    if plan.opening is not None:
        return cases.open_case(connection, start.conversation_id, plan.opening, desk, now)
    if plan.reopen is not None and start.resolved_case is not None:
        notice, say = plan.reopen
        change = cases.Change(
            what="reopened",
            who="",
            state="queued",
            holder="",
            notice=notice,
            say=say,
            values=plan.raised,
        )
        return cases.move(connection, start.resolved_case, desk, now, change=change)
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
            cause_kind="inbox",
            cause_id=ids[0],
        )
        for part, words in enumerate(plan.notices)
    ]
    for words in plan.notices:  # the model must know what was said in its name
        _said(connection, start, words, now)
    answer = plan.answer
    if answer is None:
        drop_streams(connection, ids, now)
        return None, posts
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
    drop_streams(connection, ids, now)  # of a try that began with another message of this burst
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
    return [
        post
        for inbox_id, parts in (plan.copies or {}).items()
        for post in threads.copies(connection, case_id, inbox_id, parts, lines[inbox_id])
    ]


def done(connection: Connection, ids: Sequence[int], now: float) -> None:
    """Close rows that need no history, decision or answer (presses, desk commands, edits)."""
    connection.execute(
        update(inbox).where(inbox.c.id.in_(ids)).values(state="done", raw="", touched_at=now)
    )


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
    drop_streams(connection, ids, now)
    if not notice:
        return ()
    post = Outgoing(kind="notice", text=notice, cause_kind="inbox", cause_id=ids[0])
    return tuple(enqueue(connection, start.conversation_id, [post], now))
