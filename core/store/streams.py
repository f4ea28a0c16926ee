"""A reply while it is being written: its row is open before its first word is shown.

So a human who takes over finds the row and withdraws it, and a crash finds it and goes on with
the very same message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, select, update

from core.store.connection import Connection, Ready
from core.store.outbox import DOUBT, IS_OPEN, OPEN, TAKEN_BACK, Lane, Outgoing, enqueue, mark
from core.store.rows import insert_id, insert_once, new_nonce
from core.tables import audit, conversation, outbox

BEGUN = "it had begun to show"  # noted on a row until it is sent: drafts have no id of their own
LOST = f"{DOUBT}: {BEGUN}"  # before a crash, in a message that nobody knows
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
_EARLIER = Ready(
    select(outbox.c.id)
    .where(
        outbox.c.conversation_id == bindparam("person"),
        outbox.c.staff_thread_id.is_(None),
        IS_OPEN,
        outbox.c.id < _OF,
    )
    .limit(1)
)
_ABOUT = ("id", "error", "nonce", "message_id", "part", "kind", "queued_at", "first_try_at")
_STREAMING = Ready(
    select(*(outbox.c[name] for name in (*_ABOUT, "cause_id")))
    .where(
        outbox.c.conversation_id == bindparam("person"),
        outbox.c.cause_kind == "inbox",
        IS_OPEN,  # as in the index
        _STREAMS,
    )
    .order_by(outbox.c.id)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The row of a reply that is being written."""

    id: int
    nonce: str
    message_id: str = ""  # of the message that shows it, as soon as that is known
    behind: bool = False  # earlier posts to the person have not left: nothing may overtake them
    lost: bool = False  # an earlier run may have shown it in a message that nobody knows


def silence(connection: Connection, conversation_id: int, now: float) -> list[Any]:
    """Withdraw the machine's unsent words to a person; return rows that may show something."""
    rows = connection.execute(
        select(*(outbox.c[name] for name in _ABOUT)).where(
            outbox.c.conversation_id == conversation_id,
            outbox.c.bot_text,
            outbox.c.state.in_(("queued", "streaming")),
        )
    ).all()
    for row in rows:
        mark(connection, row.id, now, state="withdrawn", error="a human took over")
    return [row for row in rows if has_shown(row)]


def has_shown(row: Any) -> bool:  # noqa: ANN401 - an outbox row
    """Say whether something of a row may stand there already.

    It may as soon as there is a message, a draft before that, or a try that nobody knows the
    outcome of.
    """
    return bool(row.message_id) or row.error == BEGUN or row.error.startswith(DOUBT)


def take_back(connection: Connection, row: Any, words: str, now: float) -> Outgoing:  # noqa: ANN401
    """Return the post that replaces by `words` what a row has shown; without words it is deleted.

    While the message that shows it is not known, it is sought by the row's own nonce.
    """
    found = bool(row.message_id)
    post = Outgoing(
        kind=("edit" if found else "notice") if words else "delete",
        text=words,
        message_id=row.message_id,
        cause_kind=TAKEN_BACK,
        cause_id=insert_id(connection, audit, case_id=None, what="taken back", who="", at=now),
    )
    return post if found else in_place_of(row, post)


def in_place_of(row: Any, post: Outgoing) -> Outgoing:  # noqa: ANN401 - an outbox row
    """Let a post take the place of what a row has shown in a message that nobody knows.

    Where a platform knows nonces, a post with the row's own finds that very message, as long as it
    remembers: the nonce is as old as the row, or as its first try.
    """
    since = row.queued_at if row.first_try_at is None else row.first_try_at
    return replace(post, cause_kind=TAKEN_BACK, nonce=row.nonce, sought_since=since)


def clear_away(connection: Connection, conversation_id: int, now: float) -> list[Lane]:
    """Take back the replies that somebody saw the beginning of before they were gone.

    They are here again, and its end is too old to be said. What was held on its way to take
    something back leaves now, too. Returns the lanes that have something to send.
    """
    theirs = (
        outbox.c.conversation_id == conversation_id,
        outbox.c.staff_thread_id.is_(None),
        outbox.c.state == "held",
    )
    again = {"state": "queued", "retry_at": 0.0, "touched_at": now}
    on_its_way = update(outbox).where(*theirs, outbox.c.cause_kind == TAKEN_BACK).values(**again)
    leaves = connection.execute(on_its_way).rowcount
    half = select(outbox).where(*theirs, outbox.c.bot_text, outbox.c.message_id != "")
    rows = connection.execute(half).all()
    for row in rows:
        mark(connection, row.id, now, state="withdrawn", error="too old to be said")
    lanes = enqueue(
        connection, conversation_id, [take_back(connection, row, "", now) for row in rows], now
    )
    return [("person", conversation_id)] if leaves else lanes


def open_stream(
    connection: Connection,
    conversation_id: int,
    inbox_id: int,
    standing: tuple[str, int],
    now: float,
    shown: str = "",
) -> Opened | None:
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
    if made is not None:
        waits = bool(shown) and behind(connection, conversation_id, made)
        return Opened(id=made, nonce=str(row["nonce"]), behind=waits)
    earlier = connection.execute(  # a run before a crash opened it: the same row, the same message
        select(*(outbox.c[name] for name in _ABOUT)).where(
            outbox.c.cause_kind == "inbox",
            outbox.c.cause_id == inbox_id,
            outbox.c.kind == "reply",
            outbox.c.part == 0,
            outbox.c.state == "streaming",
        )
    ).first()
    if earlier is None:
        return None
    return _gone_on(connection, conversation_id, earlier, now)


def _gone_on(connection: Connection, conversation_id: int, row: Any, now: float) -> Opened:  # noqa: ANN401
    """Go on with a row that an earlier run has opened.

    What it may have shown without anybody knowing the message is as old as the row: whether it
    may be said again is for the platform to say.
    """
    lost = has_shown(row) and not row.message_id
    if lost:
        mark(connection, row.id, now, error=LOST, first_try_at=row.queued_at)
    waits = not row.message_id and behind(connection, conversation_id, row.id)
    return Opened(id=row.id, nonce=row.nonce, message_id=row.message_id, behind=waits, lost=lost)


def behind(connection: Connection, conversation_id: int, row_id: int) -> bool:
    """Say whether posts to a person that came before a row are still to be sent."""
    earlier = {"person": conversation_id, "of": row_id}
    return connection.execute(_EARLIER, earlier).first() is not None


def stands(connection: Connection, opened: Opened) -> bool:
    """Say whether a reply that is being written is still to be said."""
    mine = select(outbox.c.id).where(outbox.c.id == opened.id, outbox.c.nonce == opened.nonce)
    return connection.execute(mine.where(IS_OPEN)).first() is not None


def remember(
    connection: Connection,
    opened: Opened,
    conversation_id: int,
    message_id: str,
    say: Callable[..., str],
    now: float,
) -> tuple[Lane, ...]:
    """Keep the id of the message that shows a reply while it is written.

    Where the row was withdrawn while that message was on its way, the message is taken back: in a
    direct chat of a person who has a human by now it says so, elsewhere it goes. Returns the lanes
    that have something to send.
    """
    mine = (outbox.c.id == opened.id, outbox.c.nonce == opened.nonce)
    row = connection.execute(
        select(*(outbox.c[name] for name in _ABOUT), outbox.c.state).where(*mine)
    ).first()
    if row is not None and (row.state in OPEN or row.message_id == message_id):
        mark(connection, row.id, now, message_id=message_id)
        return ()
    person = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).first()
    if person is None:  # erased meanwhile
        return ()
    human = person.owner != "bot" and person.private
    words = say("withdrawn", person.lang or "en") if human else ""
    shown = replace(opened, message_id=message_id)
    post = take_back(connection, shown, words, now)
    return tuple(enqueue(connection, conversation_id, [post], now))


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


def drop_streams(
    connection: Connection, conversation_id: int, inbox_ids: Sequence[int], now: float
) -> list[Outgoing]:
    """Withdraw streaming rows of a turn that ends without a reply; return what deletes their words.

    A draft needs no deleting: it goes by itself.
    """
    rows = connection.execute(_STREAMING, {"person": conversation_id})
    mine = [row for row in rows if row.cause_id in inbox_ids]
    for row in mine:
        mark(connection, row.id, now, state="withdrawn")
    return [take_back(connection, row, "", now) for row in mine if row.message_id]
