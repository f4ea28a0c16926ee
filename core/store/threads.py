"""Where a case lives in staff's chats: its threads, and which message there means which case."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from core.message import Button, Place, PostKind
from core.store.connection import Connection
from core.store.outbox import Outgoing
from core.tables import case, pair, staff_thread


def copies(
    connection: Connection, case_id: int, inbox_id: int, parts: Sequence[str], history_id: int
) -> list[Outgoing]:
    """Return the posts that copy a person's message into the case's threads."""
    return [
        Outgoing(
            kind="relay",
            text=words,
            cause_kind="inbox",
            cause_id=inbox_id,
            part=part,
            staff_thread_id=thread,
            history_id=history_id,
        )
        for thread in threads_of(connection, case_id)
        for part, words in enumerate(parts)
    ]


def case_at(connection: Connection, place: Place, reply_to: str | None) -> int | None:
    """Return the case that a staff message in `place` speaks to: by its thread, else by reply."""
    if place.thread:
        found = connection.execute(
            select(staff_thread.c.case_id)
            .where(
                staff_thread.c.platform == place.platform,
                staff_thread.c.bot == place.bot,
                staff_thread.c.chat == place.chat,
                staff_thread.c.thread == place.thread,
            )
            .order_by(staff_thread.c.id.desc())
        ).scalar()
        if found is not None:
            return int(found)
    if reply_to is None:
        return None
    by_reply = connection.execute(
        select(pair.c.case_id).where(
            pair.c.platform == place.platform,
            pair.c.chat.in_((place.chat, place.thread)),
            pair.c.message_id == reply_to,
        )
    ).scalar()
    return None if by_reply is None else int(by_reply)


def case_of(connection: Connection, place: Place, who: str) -> int | None:
    """Return the only case that `who` holds in a chat without threads; None: none, or several."""
    found = connection.execute(
        select(case.c.id)
        .join(staff_thread, staff_thread.c.case_id == case.c.id)
        .where(
            staff_thread.c.platform == place.platform,
            staff_thread.c.bot == place.bot,
            staff_thread.c.chat == place.chat,
            staff_thread.c.thread == place.thread,
            case.c.claimed_by == who,
            case.c.state == "human",
        )
    ).all()
    return int(found[0].id) if len(found) == 1 else None


def is_card(connection: Connection, place: Place, message_id: str) -> bool:
    """Say whether a message is the card of some case."""
    return (
        connection.execute(
            select(staff_thread.c.id).where(
                staff_thread.c.platform == place.platform,
                staff_thread.c.chat == place.chat,
                staff_thread.c.card_message_id == message_id,
            )
        ).first()
        is not None
    )


def to_staff(
    thread: int, cause: int, kind: PostKind, words: str, buttons: tuple[Button, ...] = ()
) -> Outgoing:
    """Return a post into a case's thread, caused by a change of the case."""
    return Outgoing(
        kind=kind,
        text=words,
        buttons=buttons,
        cause_kind="case_event",
        cause_id=cause,
        staff_thread_id=thread,
    )


def threads_of(connection: Connection, case_id: int) -> list[int]:
    """Return the ids of a case's threads, as rows of staff_thread."""
    rows = connection.execute(select(staff_thread.c.id).where(staff_thread.c.case_id == case_id))
    return [int(row.id) for row in rows]
