"""A reply while it is being written: its row is open before its first word is shown.

So a human who takes over finds the row and withdraws it, and a crash finds it and goes on with
the very same message.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from core.store.outbox import Outgoing, mark
from core.store.rows import insert_once, new_nonce
from core.tables import conversation, outbox


def silence(connection: Connection, conversation_id: int, now: float) -> list[int]:
    """Withdraw the machine's unsent words to a person; return rows that had begun to show."""
    rows = connection.execute(
        select(outbox.c.id, outbox.c.state).where(
            outbox.c.conversation_id == conversation_id,
            outbox.c.bot_text,
            outbox.c.state.in_(("queued", "streaming")),
        )
    ).all()
    for row in rows:
        mark(connection, row.id, now, state="withdrawn", error="a human took over")
    return [int(row.id) for row in rows if row.state == "streaming"]


def open_stream(
    connection: Connection,
    conversation_id: int,
    inbox_id: int,
    standing: tuple[str, int],
    now: float,
) -> int | None:
    """Open the reply's row before its first word shows; None: owner or version have moved."""
    person = connection.execute(
        select(conversation.c.owner, conversation.c.version).where(
            conversation.c.id == conversation_id
        )
    ).first()
    if person is None or (person.owner, person.version) != standing:
        return None
    _clear(connection, inbox_id)
    made = insert_once(
        connection,
        outbox,
        {
            "conversation_id": conversation_id,
            "cause_kind": "inbox",
            "cause_id": inbox_id,
            "kind": "reply",
            "part": 0,
            "bot_text": True,
            "state": "streaming",
            "nonce": new_nonce(),
            "queued_at": now,
            "touched_at": now,
        },
    )
    if made is None:  # a run before a crash opened it: the same row, the same message
        made = connection.execute(
            select(outbox.c.id).where(
                outbox.c.cause_kind == "inbox",
                outbox.c.cause_id == inbox_id,
                outbox.c.kind == "reply",
                outbox.c.part == 0,
                outbox.c.state == "streaming",
            )
        ).scalar()
    return made


def _clear(connection: Connection, inbox_id: int) -> None:
    """Make way for a reply: its message is still unanswered, so an earlier try said nothing."""
    connection.execute(
        delete(outbox).where(
            outbox.c.cause_kind == "inbox",
            outbox.c.cause_id == inbox_id,
            outbox.c.kind == "reply",
            outbox.c.state.in_(("withdrawn", "held")),
        )
    )


def close_stream(
    connection: Connection, inbox_id: int, posts: Sequence[Outgoing], now: float
) -> list[Outgoing]:
    """Put the final text on a streaming row; return the posts that still need rows."""
    _clear(connection, inbox_id)
    rest = []
    for post in posts:
        found = connection.execute(
            update(outbox)
            .where(
                outbox.c.cause_kind == "inbox",
                outbox.c.cause_id == inbox_id,
                outbox.c.kind == post.kind,
                outbox.c.part == post.part,
                outbox.c.state == "streaming",
            )
            .values(
                state="queued",
                text=post.text,
                buttons=[[b.label, b.data] for b in post.buttons],
                reply_to=post.reply_to,
                history_id=post.history_id,
                touched_at=now,
            )
        )
        if not found.rowcount:
            rest.append(post)
    return rest


def drop_streams(connection: Connection, inbox_ids: Sequence[int], now: float) -> bool:
    """Withdraw streaming rows of a turn that ends without a reply; True if one was open."""
    changed = connection.execute(
        update(outbox)
        .where(
            outbox.c.cause_kind == "inbox",
            outbox.c.cause_id.in_(inbox_ids),
            outbox.c.state == "streaming",
        )
        .values(state="withdrawn", touched_at=now)
    )
    return bool(changed.rowcount)
