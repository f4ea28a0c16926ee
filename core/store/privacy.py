"""Forgetting, and handing over what is kept.

Erasing takes every word, score and id of a person out of the database in one transaction. What
staff have been shown in their chats is taken out by posts that go through the outbox like any
other, so a restart forgets none; the conversation's own row, which those posts need, goes when
the last of them has left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, and_, cast, delete, func, literal, not_, null, select, update

from core.store import feedback
from core.store.connection import Connection
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.receipts import ERASED
from core.store.rows import insert_id
from core.tables import (
    audit,
    case,
    conversation,
    decision,
    history,
    inbox,
    outbox,
    pair,
    person,
    poison,
    staff_thread,
    timer,
    watcher,
)

DAY = 86400.0
SPOKEN = ("user", "bot", "staff")  # lines of the history that somebody said to somebody
WORDS_AT_ONCE = 5000  # decisions cleaned in one transaction; the rest waits for the next look
SHOWN = (
    "card",
    "relay",
    "context",
    "ping",
    "redraw",
    "digest",
)  # staff posts that may hold a person's words
FILES = ("picture", "transcript")  # and those that are deleted, not written over


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How much is kept of one person in one place."""

    messages: int
    cases: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What was erased, the words that say so, and the lanes with something to send."""

    count: Count
    words: str
    lanes: tuple[Lane, ...]


def count(connection: Connection, conversation_id: int) -> Count:
    """Count the messages and cases of a conversation."""

    def rows(table: Any, *where: Any) -> int:  # noqa: ANN401
        query = select(func.count()).select_from(table)
        return int(
            connection.execute(
                query.where(table.c.conversation_id == conversation_id, *where)
            ).scalar_one()
        )

    return Count(messages=rows(history, history.c.role.in_(SPOKEN)), cases=rows(case))


def forget(
    connection: Connection,
    conversation_id: int,
    done: Callable[..., str],
    copy: str,
    now: float,
) -> Erased:
    """Erase a person. `done(n=, m=)` says so to them; `copy` replaces what staff were shown.

    Where `done` returns nothing, nothing is said.
    """
    kept = count(connection, conversation_id)
    shown = _shown(connection, conversation_id, copy)
    _erase_posts(connection, conversation_id, copy, now)
    _erase_words(connection, conversation_id)
    _empty(connection, conversation_id, now)
    cause = insert_id(connection, audit, case_id=None, what="erased", who="", at=now)
    words = done(n=kept.messages, m=kept.cases)
    posts = []
    if words:
        posts.append(Outgoing(kind="notice", text=words, cause_kind="case_event", cause_id=cause))
    posts += [
        Outgoing(
            kind="delete" if row.filed else "edit",
            text="" if row.filed else copy,
            message_id=row.message_id,
            staff_thread_id=row.staff_thread_id,
            cause_kind="case_event",
            cause_id=cause,
            part=part,
        )
        for part, row in enumerate(shown)
    ]
    posts += _nameless(connection, conversation_id, cause)
    lanes = enqueue(connection, conversation_id, posts, now)
    return Erased(count=kept, words=words, lanes=tuple(lanes))


def _shown(connection: Connection, conversation_id: int, copy: str) -> Sequence[Any]:
    """Return thread, message id and whether it is a file, of every staff post with their words."""
    erased = (outbox.c.text == copy) & (outbox.c.state == "sent")
    filed = outbox.c.kind.in_(FILES) | (cast(outbox.c.media, Text).like("[{%"))
    posts = select(
        outbox.c.staff_thread_id, outbox.c.message_id, func.max(filed).label("filed")
    ).where(
        outbox.c.conversation_id == conversation_id,
        outbox.c.staff_thread_id.is_not(None),
        # Edits: what an earlier erasing has not done yet.
        outbox.c.kind.in_((*SHOWN, *FILES, "edit")),
        outbox.c.message_id != "",
        not_(erased),
    )
    found = connection.execute(posts.group_by(outbox.c.staff_thread_id, outbox.c.message_id)).all()
    known = {(row.staff_thread_id, row.message_id) for row in found}
    return [*found, *(row for row in _paired(connection, conversation_id) if row[:2] not in known)]


def _paired(connection: Connection, conversation_id: int) -> Sequence[Any]:
    """Return the posts that only pairs know: further messages of an album, files, captions."""
    return connection.execute(
        select(
            staff_thread.c.id.label("staff_thread_id"),
            pair.c.message_id,
            literal(value=True).label("filed"),
        )
        .join(case, case.c.id == pair.c.case_id)
        .join(
            staff_thread,
            (staff_thread.c.case_id == case.c.id)
            & (staff_thread.c.platform == pair.c.platform)
            & (staff_thread.c.chat == pair.c.chat),
        )
        .where(
            case.c.conversation_id == conversation_id,
            pair.c.side == "staff",
            pair.c.original.is_(False),
        )
    ).all()


def _erase_posts(connection: Connection, conversation_id: int, copy: str, now: float) -> None:
    """Empty the outbox; a copy on its way to staff stays, to be erased when its id is known."""
    leaving = (
        (outbox.c.state == "sending")
        & outbox.c.staff_thread_id.is_not(None)
        & outbox.c.kind.in_((*SHOWN, *FILES, "edit"))
    )
    theirs = outbox.c.conversation_id == conversation_id
    connection.execute(
        update(outbox).where(theirs, leaving).values(text=copy, error=ERASED, touched_at=now)
    )
    connection.execute(delete(outbox).where(theirs, not_(leaving)))


def _erase_words(connection: Connection, conversation_id: int) -> None:
    cases = select(case.c.id).where(case.c.conversation_id == conversation_id).scalar_subquery()
    _erase_staffs(connection, cases)
    connection.execute(delete(pair).where(pair.c.case_id.in_(cases)))
    feedback.erase(connection, conversation_id)
    for table in (history, decision):
        connection.execute(delete(table).where(table.c.conversation_id == conversation_id))
    # Emptied, but there until `bury`: the platform may send the last message again, and its key
    # alone tells that it was carried out.
    connection.execute(
        update(inbox)
        .where(inbox.c.conversation_id == conversation_id)
        .values(message={}, raw="", urgent="", error="", state="done")
    )
    _unpoison(connection, conversation_id)


def _erase_staffs(connection: Connection, cases: Any) -> None:  # noqa: ANN401 - a subquery
    """Empty what staff wrote to a person, or about them, as it came in from the desk's chats."""
    place = ("platform", "bot", "chat")
    answers = (
        select(inbox.c.id)
        .join(pair, and_(*(pair.c[name] == inbox.c[name] for name in (*place, "message_id"))))
        .where(pair.c.case_id.in_(cases), pair.c.original.is_(True))
    )
    same = and_(*(staff_thread.c[name] == conversation.c[name] for name in (*place, "thread")))
    in_threads = (
        select(inbox.c.id)
        .join(conversation, conversation.c.id == inbox.c.conversation_id)
        .join(staff_thread, same)
        .where(staff_thread.c.case_id.in_(cases), staff_thread.c.thread != "")
    )
    for rows in (answers, in_threads):
        connection.execute(
            update(inbox)
            .where(inbox.c.id.in_(rows.scalar_subquery()), inbox.c.state != "waiting")
            .values(message={}, raw="", error="")
        )


def _empty(connection: Connection, conversation_id: int, now: float) -> None:
    """Leave the bare rows that the last posts need: who, where, and which case."""
    connection.execute(
        update(case)
        .where(case.c.conversation_id == conversation_id)
        .values(
            state="resolved",
            why="",
            rule="",
            draft="",
            claimed_by="",
            holder="",
            reopen_until=None,
        )
    )
    cases = select(case.c.id).where(case.c.conversation_id == conversation_id)
    for table in (timer, watcher):
        connection.execute(delete(table).where(table.c.case_id.in_(cases.scalar_subquery())))
    _forget_person(connection, conversation_id)
    connection.execute(
        update(conversation)
        .where(conversation.c.id == conversation_id)
        .values(
            name="",
            past=None,
            mood=0.0,
            level="calm",
            owner="bot",
            version=conversation.c.version + 1,
            forgotten=True,
            touched_at=now,
        )
    )


def _forget_person(connection: Connection, conversation_id: int) -> None:
    """Erase what is kept of the person beside the conversation: remarks, a block, a link."""
    home = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    theirs = (
        conversation.c.platform == home.platform,
        conversation.c.bot == home.bot,
        conversation.c.user == home.user,
    )
    others = select(conversation.c.id).where(
        *theirs, conversation.c.id != conversation_id, conversation.c.forgotten.is_(False)
    )
    if connection.execute(others).first() is not None:
        return  # they are still known in another place: that has an erasing of its own
    connection.execute(
        delete(person).where(
            person.c.platform == home.platform,
            person.c.bot == home.bot,
            person.c.user == home.user,
        )
    )


def _nameless(connection: Connection, conversation_id: int, cause: int) -> list[Outgoing]:
    """Return the posts that take the person's name off the threads of their cases."""
    threads = connection.execute(
        select(staff_thread.c.id, staff_thread.c.case_id, staff_thread.c.thread)
        .join(case, case.c.id == staff_thread.c.case_id)
        .where(case.c.conversation_id == conversation_id, staff_thread.c.thread != "")
    ).all()
    return [
        Outgoing(
            kind="thread",
            text=f"#{row.case_id}",
            message_id=row.thread,
            staff_thread_id=row.id,
            cause_kind="case_event",
            cause_id=cause,
            part=part,
        )
        for part, row in enumerate(threads)
    ]


def _unpoison(connection: Connection, conversation_id: int) -> None:
    """Remove what could not be read and names this person.

    It need not be JSON, so an id counts wherever it stands as a whole: 42 is neither in 1420, nor
    in -42 (a group's id), nor in 42.5 (a time).
    """
    person = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    named = re.compile(rf"(?<![\w-])(?<!\d\.){re.escape(person.user)}(?![\w-])(?!\.\d)")
    found = connection.execute(
        select(poison.c.id, poison.c.raw).where(
            poison.c.platform == person.platform,
            poison.c.bot == person.bot,
            poison.c.raw.contains(person.user, autoescape=True),
        )
    )
    theirs = [row.id for row in found if named.search(row.raw)]
    connection.execute(delete(poison).where(poison.c.id.in_(theirs)))


def bury(connection: Connection) -> int:
    """Remove the rows of forgotten people whose last post has left; return how many."""
    busy = select(outbox.c.conversation_id).where(
        outbox.c.state.in_(("queued", "sending", "streaming")),
        outbox.c.conversation_id.is_not(None),  # NOT IN knows no answer beside a NULL
    )
    waiting = select(inbox.c.conversation_id).where(inbox.c.state == "waiting")
    gone = connection.execute(
        delete(conversation).where(
            conversation.c.forgotten.is_(True),
            conversation.c.id.not_in(busy),
            conversation.c.id.not_in(waiting),
        )
    )
    return int(gone.rowcount)


def retain(connection: Connection, text_days: int, score_days: int, now: float) -> None:
    """Let go of texts and scores that are older than the operator keeps them."""
    texts, scores = now - text_days * DAY, now - score_days * DAY
    connection.execute(delete(inbox).where(inbox.c.state != "waiting", inbox.c.touched_at < texts))
    old = outbox.c.state.not_in(("queued", "sending", "streaming")), outbox.c.touched_at < texts
    connection.execute(delete(outbox).where(*old, outbox.c.staff_thread_id.is_(None)))
    # What staff were shown can be erased later only as long as we know where it is.
    connection.execute(update(outbox).where(*old).values(text="", buttons=None))
    connection.execute(
        update(history)
        .where(history.c.at < texts, history.c.text != "")
        .values(text="", was="", name="", deleted=True)
    )
    connection.execute(update(history).where(history.c.at < scores).values(scores=None))
    connection.execute(delete(decision).where(decision.c.at < scores))
    connection.execute(delete(poison).where(poison.c.at < texts))
    _let_words_go(connection, texts)


def _let_words_go(connection: Connection, before: float) -> None:
    """Keep the numbers of old decisions without the words that they quote.

    The notes of a trace name the phrases that matched, and how a reply was made holds its whole
    prompt. What has no notes any more has been here already.
    """
    rows = connection.execute(
        select(decision.c.id, decision.c.trace)
        .where(decision.c.at < before, cast(decision.c.trace, Text).like('%"note"%'))
        .limit(WORDS_AT_ONCE)
    ).all()
    for row in rows:
        trace = [{name: v for name, v in one.items() if name != "note"} for one in row.trace]
        connection.execute(
            update(decision).where(decision.c.id == row.id).values(trace=trace, why="", made=null())
        )
    connection.execute(
        update(case).where(case.c.resolved_at < before, case.c.why != "").values(why="")
    )


def export(connection: Connection, conversation_id: int) -> dict[str, Any]:
    """Return everything kept of one person in one place, without staff notes, JSON-ready."""

    def rows(table: Any, *columns: str, where: Any = None) -> list[dict[str, Any]]:  # noqa: ANN401
        query = select(*(table.c[name] for name in columns)).where(
            table.c.conversation_id == conversation_id
        )
        query = query if where is None else query.where(where)
        return [dict(row) for row in connection.execute(query.order_by(table.c.id)).mappings()]

    person = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).mappings()
    columns = ("platform", "chat", "thread", "user", "name", "lang", "mood", "level", "opened_at")
    return {
        "person": {name: value for name, value in person.one().items() if name in columns},
        "messages": rows(
            history,
            *("role", "text", "name", "at", "scores", "model", "prompt", "was"),
            where=history.c.role.in_(SPOKEN),
        ),
        "decisions": rows(decision, "at", "rule", "why", "opened", "trace", "mood", "level"),
        "cases": rows(case, "id", "state", "opened_at", "resolved_at", "rule", "why"),
        "feedback": feedback.export(connection, conversation_id),
    }
