"""A reply while it is being written: its row is open before its first word is shown.

So a human who takes over finds the row and withdraws it, and a crash finds it and goes on with
the very same message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, select, update

from core.store.connection import Connection, Ready
from core.store.outbox import Outgoing, mark
from core.store.rows import insert_once, new_nonce
from core.tables import conversation, outbox

BEGUN = "it had begun to show"  # noted on a row until it is sent: drafts have no id of their own
_OF: BindParameter[int] = bindparam("of")  # the inbox row that is answered
_ANSWERS = (outbox.c.cause_kind == "inbox", outbox.c.cause_id == _OF)
_STREAMS = outbox.c.state == "streaming"
_UNMOVED = Ready(
    select(conversation.c.id).where(
        conversation.c.id == bindparam("person"),
        conversation.c.owner == bindparam("owner"),
        conversation.c.version == bindparam("version"),
    )
)
_CLOSE = Ready(
    update(outbox).where(
        *_ANSWERS,
        outbox.c.kind == bindparam("of_kind"),
        outbox.c.part == bindparam("of_part"),
        _STREAMS,
    )
)
_DROP = Ready(update(outbox).where(*_ANSWERS, _STREAMS))


def silence(connection: Connection, conversation_id: int, now: float) -> list[Any]:
    """Withdraw the machine's unsent words to a person; return rows that had begun to show.

    A row shows something as soon as it has a message of its own, or a draft before its end.
    """
    rows = connection.execute(
        select(*(outbox.c[name] for name in ("id", "error", "message_id", "part", "kind"))).where(
            outbox.c.conversation_id == conversation_id,
            outbox.c.bot_text,
            outbox.c.state.in_(("queued", "streaming")),
        )
    ).all()
    for row in rows:
        mark(connection, row.id, now, state="withdrawn", error="a human took over")
    return [row for row in rows if row.message_id or row.error == BEGUN]


def open_stream(
    connection: Connection,
    conversation_id: int,
    inbox_id: int,
    standing: tuple[str, int],
    now: float,
    shown: str = "",
) -> int | None:
    """Open the reply's row before its first word shows; None: owner or version have moved.

    `shown` is what the platform is about to show of it; empty where it shows nothing unfinished.
    """
    owner, version = standing
    unmoved = {"person": conversation_id, "owner": owner, "version": version}
    if connection.execute(_UNMOVED, unmoved).first() is None:
        return None
    row = {
        "conversation_id": conversation_id,
        "cause_kind": "inbox",
        "cause_id": inbox_id,
        "kind": "reply",
        "part": 0,
        "bot_text": True,
        "state": "streaming",
        "text": shown,
        "error": BEGUN if shown else "",
        "nonce": new_nonce(),
        "queued_at": now,
        "touched_at": now,
    }
    made = insert_once(connection, outbox, row)
    if made is None and _clear(connection, inbox_id):
        made = insert_once(connection, outbox, row)
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


def _clear(connection: Connection, inbox_id: int) -> bool:
    """Make way for a reply: its message is still unanswered, so an earlier try said nothing."""
    gone = connection.execute(
        delete(outbox).where(
            outbox.c.cause_kind == "inbox",
            outbox.c.cause_id == inbox_id,
            outbox.c.kind == "reply",
            outbox.c.state.in_(("withdrawn", "held")),
        )
    )
    return bool(gone.rowcount)


def close_stream(
    connection: Connection, inbox_id: int, posts: Sequence[Outgoing], now: float
) -> list[Outgoing]:
    """Put the final text on a streaming row; return the posts that still need rows."""
    rest = [post for post in posts if not _closed(connection, inbox_id, post, now)]
    if rest:
        _clear(connection, inbox_id)
    return rest


def _closed(connection: Connection, inbox_id: int, post: Outgoing, now: float) -> bool:
    values = {
        "state": "queued",
        "text": post.text,
        "buttons": [[b.label, b.data] for b in post.buttons],
        "reply_to": post.reply_to,
        "history_id": post.history_id,
        "touched_at": now,
    }
    row = {"of": inbox_id, "of_kind": post.kind, "of_part": post.part}
    return bool(connection.execute(_CLOSE, {**row, **values}).rowcount)


def drop_streams(connection: Connection, inbox_ids: Sequence[int], now: float) -> None:
    """Withdraw streaming rows of a turn that ends without a reply."""
    for inbox_id in inbox_ids:
        withdrawn = {"of": inbox_id, "state": "withdrawn", "touched_at": now}
        connection.execute(_DROP, withdrawn)
