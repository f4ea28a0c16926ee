"""What is kept of a case beside its course: who it is of, what was done, lines for staff.

The audit row of each step is the cause of the posts that it queues: a step that is run twice
writes them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, insert, literal_column, select, update

from core.errors import DeskError
from core.message import Button, ConversationKey
from core.store import places
from core.store.connection import Connection, Ready
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.rows import insert_id, key_of
from core.tables import audit, case, conversation, decision, history, watcher

WENT_PRIVATE = "went private"  # what the audit says of a case that left its group
IS_UNRESOLVED = case.c.state != literal_column("'resolved'")  # spelled out as in the index
_OF: BindParameter[int] = bindparam("of")  # a case's id, or a conversation's
_UNRESOLVED = Ready(select(case).where(case.c.conversation_id == _OF, IS_UNRESOLVED))
_CASE = Ready(select(case).where(case.c.id == _OF))
_PERSON = Ready(select(conversation).where(conversation.c.id == _OF))


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What a change did: the case, and the lanes that have something to send."""

    case_id: int
    conversation_id: int
    key: ConversationKey
    lanes: tuple[Lane, ...]
    moved: bool = False  # who speaks, or who holds, is another now
    cut_off: bool = False  # a reply that had begun to show was withdrawn
    opened: bool = False  # a case that was not there before
    alert: tuple[str, ...] = ()  # staff who wanted to be told of the person's next message


def unresolved(connection: Connection, conversation_id: int) -> Any | None:  # noqa: ANN401
    """Return the conversation's unresolved case row, or None."""
    return connection.execute(_UNRESOLVED, {"of": conversation_id}).first()


def case_row(connection: Connection, case_id: int) -> Any:  # noqa: ANN401 - a row
    """Return a case's row. Raises DeskError when there is none."""
    row = connection.execute(_CASE, {"of": case_id}).first()
    if row is None:
        raise DeskError(f"There is no case {case_id}.", name="no_case", case=case_id)
    return row


def person_row(connection: Connection, conversation_id: int) -> Any:  # noqa: ANN401 - a row
    """Return the row of a conversation that exists."""
    return connection.execute(_PERSON, {"of": conversation_id}).one()


def mark_history(connection: Connection, conversation_id: int, words: str, now: float) -> None:
    """Leave a marker: what the machine must know of a stretch in which it did not speak."""
    connection.execute(
        insert(history).values(conversation_id=conversation_id, role="marker", text=words, at=now)
    )


def note(connection: Connection, case_id: int, who: str, words: str, now: float) -> Changed:
    """Keep an internal note; the person never sees it."""
    row = case_row(connection, case_id)
    insert_id(
        connection,
        history,
        conversation_id=row.conversation_id,
        case_id=case_id,
        role="note",
        name=who,
        text=words,
        at=now,
    )
    return changed(connection, case_id, row.conversation_id, ())


def tell_staff(  # noqa: PLR0913 - each is a part of the line
    connection: Connection,
    case_id: int,
    words: str,
    now: float,
    *,
    what: str,
    buttons: tuple[Button, ...] = (),
    whisper: str = "",
    answers: str = "",
) -> Changed:
    """Leave one line in the case's threads; a whisper is for whoever sent that command alone."""
    row = case_row(connection, case_id)
    cause = leave_trace(connection, case_id, what, "", now)
    posts = [
        replace(
            places.to_staff(thread, cause, "relay", words, buttons),
            whisper=whisper,
            reply_to=answers,
        )
        for thread in places.of_case(connection, case_id)
    ]
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return changed(connection, case_id, row.conversation_id, lanes)


def call(connection: Connection, case_id: int, words: str, now: float, *, what: str) -> Changed:
    """Call staff's attention to a case, in each of its threads."""
    row = case_row(connection, case_id)
    cause = leave_trace(connection, case_id, what, "", now)
    threads = places.of_case(connection, case_id)
    posts = [places.to_staff(thread, cause, "ping", words) for thread in threads]
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return changed(connection, case_id, row.conversation_id, lanes)


def changed(
    connection: Connection, case_id: int, conversation_id: int, lanes: Sequence[Lane]
) -> Changed:
    """Return what a step did, for those who are to be told."""
    return Changed(
        case_id=case_id,
        conversation_id=conversation_id,
        key=key_of(person_row(connection, conversation_id)),
        lanes=tuple(dict.fromkeys(lanes)),
    )


def said_for_bot(
    connection: Connection, conversation_id: int, cause: int, words: str, now: float
) -> Outgoing:
    """Return a fixed text to the person, kept in the history like all that was said to them."""
    line = insert_id(
        connection, history, conversation_id=conversation_id, role="bot", text=words, at=now
    )
    return Outgoing(
        kind="notice", text=words, cause_kind="case_event", cause_id=cause, history_id=line
    )


def leave_trace(
    connection: Connection, case_id: int | None, what: str, who: str, now: float
) -> int:
    """Leave one line of what was done, without a word of anybody's text; return its id."""
    return insert_id(connection, audit, case_id=case_id, what=what, who=who, at=now)


def exists(connection: Connection, case_id: int) -> bool:
    """Say whether there is such a case."""
    return connection.execute(select(case.c.id).where(case.c.id == case_id)).first() is not None


def has_place(connection: Connection, case_id: int) -> bool:
    """Say whether a case has a thread, or stands in a desk's chat."""
    return bool(places.of_case(connection, case_id))


def set_values(connection: Connection, case_id: int, values: Mapping[str, Any]) -> None:
    """Write columns of a case that move neither owner nor state."""
    connection.execute(update(case).where(case.c.id == case_id).values(**values))


def block(connection: Connection, key: ConversationKey, until: float | None) -> None:
    """Note on every conversation of a person until when nothing of theirs goes further."""
    connection.execute(
        update(conversation)
        .where(
            conversation.c.platform == key.platform,
            conversation.c.bot == key.bot,
            conversation.c.user == key.user,
        )
        .values(blocked_until=until)
    )


def toggle_watcher(connection: Connection, case_id: int, holder: str, name: str) -> bool:
    """Let somebody be told of the person's next message, or no longer; returns whether they are."""
    mine = watcher.c.case_id == case_id, watcher.c.holder == holder
    if connection.execute(delete(watcher).where(*mine)).rowcount:
        return False
    insert_id(connection, watcher, case_id=case_id, holder=holder, name=name)
    return True


def take_watchers(connection: Connection, case_id: int) -> list[str]:
    """Return who wants to be told of the person's next message: once, so they are taken off."""
    rows = connection.execute(select(watcher.c.name).where(watcher.c.case_id == case_id)).all()
    if rows:
        connection.execute(delete(watcher).where(watcher.c.case_id == case_id))
    return [str(row.name) for row in rows]


def judge_dry(connection: Connection, decision_id: int, verdict: str) -> None:
    """Keep staff's word on a case that a dry run would have opened."""
    connection.execute(
        update(decision).where(decision.c.id == decision_id, decision.c.dry).values(verdict=verdict)
    )
