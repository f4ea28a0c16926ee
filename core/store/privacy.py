"""Forgetting a person.

Erasing takes every word, score and id of a person out of the database in one transaction. What
staff have been shown in their chats is taken out by posts that go through the outbox like any
other, so a restart forgets none; the conversation's own row, which those posts need, goes when
the last of them has left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, literal, not_, select, update

from core.cells import plain
from core.store import feedback, people, unsaid
from core.store.bursts import WAITING
from core.store.connection import Connection, Ready
from core.store.kept import SPOKEN, export, poisoned
from core.store.outbox import ERASED, IS_OPEN, TAKEN_BACK, Lane, Outgoing, enqueue
from core.store.rows import insert_id, insert_once
from core.store.streams import has_shown, take_back
from core.tables import (
    audit,
    case,
    conversation,
    cursor,
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

UNCLEAN = "unclean"  # cursor: somebody's rows went, and the file was not yet written anew
SHOWN = (
    "card",
    "relay",
    "context",
    "ping",
    "redraw",
    "digest",
)  # staff posts that may hold a person's words
FILES = ("picture", "transcript")  # and those that are deleted, not written over
_BUSY = select(outbox.c.conversation_id).where(
    IS_OPEN,
    outbox.c.conversation_id.is_not(None),  # NOT IN knows no answer beside a NULL
)
_BURY = Ready(
    delete(conversation).where(
        conversation.c.forgotten.is_(True),
        conversation.c.id.not_in(_BUSY),
        conversation.c.id.not_in(select(inbox.c.conversation_id).where(WAITING)),
    )
)
_UNCLEAN = Ready(select(cursor.c.value).where(cursor.c.name == bindparam("of")))


__all__ = [
    "Count",
    "Erased",
    "bury",
    "cleaned",
    "count",
    "export",
    "forget",
    "forget_all",
    "unclean",
]


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
    begun = _begun(connection, conversation_id, now)
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
    posts += [*begun, *_nameless(connection, conversation_id, cause)]
    lanes = enqueue(connection, conversation_id, posts, now)
    return Erased(count=kept, words=words, lanes=tuple(lanes))


def forget_all(
    connection: Connection,
    conversation_ids: Sequence[int],
    done: Callable[..., str],
    copy: str,
    now: float,
) -> Erased:
    """Erase a person in several places; the first is told by `done` of all that was erased."""
    first, *others = conversation_ids
    erased = [forget(connection, one, _silent, copy, now) for one in others]

    def all_done(n: int, m: int) -> str:
        counts = [one.count for one in erased]
        return done(
            n=n + sum(one.messages for one in counts), m=m + sum(one.cases for one in counts)
        )

    told = forget(connection, first, all_done, copy, now)
    counts = [one.count for one in (*erased, told)]
    return Erased(
        count=Count(
            messages=sum(one.messages for one in counts), cases=sum(one.cases for one in counts)
        ),
        words=told.words,
        lanes=tuple(dict.fromkeys(lane for one in (told, *erased) for lane in one.lanes)),
    )


def _silent(**_counts: int) -> str:
    return ""


def _shown(connection: Connection, conversation_id: int, copy: str) -> Sequence[Any]:
    """Return thread, message id and whether it is a file, of every staff post with their words."""
    erased = (plain(outbox.c.text) == copy) & (outbox.c.state == "sent")
    filed = outbox.c.kind.in_(FILES) | plain(outbox.c.media).like("[{%")
    posts = select(
        outbox.c.staff_thread_id, outbox.c.message_id, func.max(filed).label("filed")
    ).where(
        outbox.c.conversation_id == conversation_id,
        outbox.c.staff_thread_id.is_not(None),
        # Edits: what an earlier erasing has not done yet.
        outbox.c.kind.in_((*SHOWN, *FILES, "edit")),
        outbox.c.message_id != "",
        outbox.c.whisper == "",  # one pair of eyes has seen it, and it goes by itself
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


def _begun(connection: Connection, conversation_id: int, now: float) -> list[Outgoing]:
    """Return what deletes replies that have begun to show: their rows go, so nobody ends them."""
    rows = connection.execute(
        select(outbox).where(
            outbox.c.conversation_id == conversation_id,
            outbox.c.staff_thread_id.is_(None),
            outbox.c.kind == "reply",
            IS_OPEN | (outbox.c.state == "held"),
        )
    ).all()
    return [take_back(connection, row, "", now) for row in rows if has_shown(row)]


def _erase_posts(connection: Connection, conversation_id: int, copy: str, now: float) -> None:
    """Empty the outbox.

    A copy on its way to staff stays, to be erased when its id is known, and so does what takes the
    machine's own words back: it holds none of theirs.
    """
    leaving = (
        (outbox.c.state == "sending")
        & outbox.c.staff_thread_id.is_not(None)
        & outbox.c.kind.in_((*SHOWN, *FILES, "edit"))
    )
    theirs = outbox.c.conversation_id == conversation_id
    connection.execute(
        update(outbox).where(theirs, leaving).values(text=copy, error=ERASED, touched_at=now)
    )
    ends = IS_OPEN & (outbox.c.cause_kind == TAKEN_BACK)
    connection.execute(delete(outbox).where(theirs, not_(leaving), not_(ends)))


def _erase_words(connection: Connection, conversation_id: int) -> None:
    cases = select(case.c.id).where(case.c.conversation_id == conversation_id).scalar_subquery()
    _erase_staffs(connection, cases)
    connection.execute(delete(pair).where(pair.c.case_id.in_(cases)))
    feedback.erase(connection, conversation_id)
    unsaid.unquote(connection, conversation_id)
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
    mine = (
        person.c.platform == home.platform,
        person.c.bot == home.bot,
        person.c.user == home.user,
    )
    groups = connection.execute(select(person.c.linked).where(*mine)).all()
    connection.execute(delete(person).where(*mine))
    for row in groups:
        if row.linked is not None:
            people.part(connection, row.linked)


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
    """Remove what could not be read and names this person."""
    home = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    theirs = [row.id for row in poisoned(connection, home.platform, home.bot, home.user)]
    connection.execute(delete(poison).where(poison.c.id.in_(theirs)))


def bury(connection: Connection) -> int:
    """Remove the rows of forgotten people whose last post has left; return how many."""
    gone = connection.execute(_BURY)
    if gone.rowcount:
        times = int(unclean(connection) or 0) + 1
        connection.execute(delete(cursor).where(cursor.c.name == UNCLEAN))
        insert_once(connection, cursor, {"name": UNCLEAN, "value": str(times)}, key="name")
    return int(gone.rowcount)


def unclean(connection: Connection) -> str:
    """Return a mark where bytes of somebody forgotten may stand in the file's unused space.

    It is another one after each burial; empty: there are no such bytes.
    """
    found = connection.execute(_UNCLEAN, {"of": UNCLEAN}).scalar()
    return found or ""


def cleaned(connection: Connection, mark: str) -> None:
    """Note that the file was written anew. Who was buried since `mark` was asked for stays due."""
    connection.execute(delete(cursor).where(cursor.c.name == UNCLEAN, cursor.c.value == mark))
