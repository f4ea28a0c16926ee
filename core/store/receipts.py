"""What became of a post: it arrived, it comes again, or nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from sqlalchemy import (
    BindParameter,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)

from core.message import Place, Receipt
from core.store import pairs
from core.store.connection import Connection, Ready
from core.store.outbox import (
    AHEAD,
    ERASED,
    IS_OPEN,
    IT,
    MORE,
    WITH_PERSON,
    Claim,
    Lane,
    Outgoing,
    Target,
    enqueue,
    lane_of,
    mark,
    post_of,
    target_of,
    thread_of,
)
from core.store.rows import place_of
from core.tables import conversation, history, outbox, staff_thread

_AHEAD = outbox.c.touched_at > bindparam("ahead")  # dated by a clock that was put back since
_ALONE = (outbox.c.touched_at <= bindparam("quiet_since")) | _AHEAD
_DOUBTFUL = Ready(WITH_PERSON.where(IS_OPEN, outbox.c.state == "sending", _ALONE))
_DUE = Ready(
    select(outbox.c.conversation_id, outbox.c.staff_thread_id, outbox.c.kind)
    .where(
        IS_OPEN,
        outbox.c.state == "queued",
        (outbox.c.retry_at <= bindparam("now")) | _AHEAD,
        _ALONE,
    )
    .distinct()
)
_NONCE: BindParameter[str] = bindparam("of_nonce")
_SENT = Ready(
    update(outbox)
    # A row that was erased while it was sent may have left its number to another one.
    .where(outbox.c.id == IT, (outbox.c.nonce == _NONCE) | (literal_column("''") == _NONCE))
    .values(
        # Words that staff must no longer see went out while they were erased: edited once more.
        state=case((outbox.c.error == ERASED, "queued"), else_="sent"),
        error="",
    )
    .returning(
        *(
            outbox.c[name]
            for name in ("id", "conversation_id", "staff_thread_id", "history_id", "kind", "part")
        )
    )
)
_ARRIVED = Ready(update(history).where(history.c.id == IT, history.c.message_id == ""))


def remember(connection: Connection, row_id: int, message_id: str, now: float) -> None:
    """Keep a placeholder's id, so that a repeat edits that very message."""
    mark(connection, row_id, now, message_id=message_id)


def sent(
    connection: Connection,
    row_id: int,
    receipt: Receipt,
    now: float,
    album: Sequence[int] = (),
    nonce: str = "",
) -> tuple[bool, tuple[Lane, ...]]:
    """Commit that a post arrived, and whatever hangs on its id; `nonce` is that of the post.

    Returns whether its lane has more, and the other lanes that have something to send now.
    """
    each, more, rung = receipt.more[: len(album)], receipt.more[len(album) :], list[Lane]()
    last = _arrived(connection, row_id, replace(receipt, more=more), now, rung, nonce)
    for other, one in zip_longest(album, each, fillvalue=""):
        _arrived(connection, int(other), Receipt(message_id=one), now, rung)
    if last is None:  # the person was erased meanwhile
        return True, ()
    for extra in more if last.staff_thread_id is None else ():
        _linked(connection, last, extra)  # a caption that followed as a message of its own
    which, owner_id = lane_of(last.conversation_id, last.staff_thread_id, last.kind)
    return connection.execute(MORE[which], {"of": owner_id}).first() is not None, tuple(rung)


def _arrived(
    connection: Connection,
    row_id: int,
    receipt: Receipt,
    now: float,
    rung: list[Lane],
    nonce: str = "",
) -> Any | None:  # noqa: ANN401
    arrived = {"message_id": receipt.message_id, "touched_at": now}
    arrived |= {"it": row_id, "of_nonce": nonce}
    row = connection.execute(_SENT, arrived).first()
    if row is None:
        return None
    if row.kind == "delete" and row.history_id is not None:
        pairs.unlink(connection, row.history_id, receipt.message_id)
    if row.staff_thread_id is not None:
        _sent_to_staff(connection, row, receipt, now)
    elif row.history_id is not None:
        if row.kind in ("reply", "relay", "notice"):
            line = {"it": row.history_id, "message_id": receipt.message_id}
            connection.execute(_ARRIVED, line)
        if row.kind == "relay":
            _linked(connection, row, receipt.message_id)
        if row.kind in ("relay", "edit") and not _coming(connection, row):
            what = "edited" if row.kind == "edit" else "sent"
            rung += show_mark(connection, row.history_id, what, now)
    return row


def _coming(connection: Connection, row: Any) -> bool:  # noqa: ANN401 - an outbox row
    """Say whether further parts of the same line are still on their way to the person."""
    query = select(outbox.c.id).where(
        IS_OPEN,
        outbox.c.conversation_id == row.conversation_id,
        outbox.c.history_id == row.history_id,
        outbox.c.staff_thread_id.is_(None),
    )
    return connection.execute(query).first() is not None


def show_mark(connection: Connection, history_id: int, what: str, now: float) -> list[Lane]:
    """Mark staff's own message: sent, edited, failed. Returns the lanes to ring."""
    line = connection.execute(select(history).where(history.c.id == history_id)).first()
    if line is None or line.role != "staff" or line.case_id is None:
        return []
    threads = connection.execute(
        select(staff_thread).where(staff_thread.c.case_id == line.case_id)
    ).all()
    posts = [
        Outgoing(
            kind="mark",
            text=what,
            cause_kind="mark",
            cause_id=_next_cause(connection),
            history_id=history_id,
            staff_thread_id=thread.id,
        )
        for thread in threads
        if pairs.shown_as(connection, history_id, "staff", place_of(thread))
    ]
    return enqueue(connection, line.conversation_id, posts, now)


def _next_cause(connection: Connection) -> int:
    """Return a number that no mark had yet: marks come again, and each is a post of its own."""
    return int(connection.execute(select(func.max(outbox.c.id))).scalar() or 0) + 1


def _linked(connection: Connection, row: Any, message_id: str) -> None:  # noqa: ANN401
    """Remember which message shows a line to the person."""
    line = connection.execute(
        select(history.c.case_id, history.c.role).where(history.c.id == row.history_id)
    ).first()
    if line is None or line.case_id is None:
        return
    home = connection.execute(
        select(conversation).where(conversation.c.id == row.conversation_id)
    ).one()
    pairs.link(connection, line.case_id, row.history_id, place_of(home), message_id, side="person")


def _sent_to_staff(connection: Connection, row: Any, receipt: Receipt, now: float) -> None:  # noqa: ANN401
    thread = update(staff_thread).where(staff_thread.c.id == row.staff_thread_id)
    if row.kind == "thread":
        made = receipt.thread or staff_thread.c.thread  # a renamed one is where it was
        connection.execute(thread.values(thread=made, status="ready"))
    elif row.kind == "card":
        connection.execute(thread.values(card_message_id=receipt.message_id, drawn_at=now))
    elif row.kind == "redraw":
        connection.execute(thread.values(drawn_at=now))
    if row.kind in ("card", "relay", "context", "ping", "picture", "transcript"):
        home = thread_of(connection, row.staff_thread_id)
        if home.case_id is not None:
            for message_id in (receipt.message_id, *receipt.more):
                pairs.link(
                    connection,
                    home.case_id,
                    row.history_id,
                    place_of(home),
                    message_id,
                    side="staff",
                )


def later(
    connection: Connection,
    row_id: int,
    seconds: float,
    error: str,
    now: float,
    album: Sequence[int] = (),
) -> None:
    """Put a row back: nothing was sent, or sending again shows nothing twice."""
    for each in (row_id, *album):
        mark(connection, each, now, state="queued", retry_at=now + seconds, error=error)


def apart(connection: Connection, claim: Claim, error: str, now: float) -> None:
    """Put an album back as single posts: one of its files, or the place itself, stopped it."""
    for row_id in (claim.post.id, *claim.album):
        mark(connection, row_id, now, state="queued", album="", retry_at=0.0, error=error)


def in_doubt(connection: Connection, now: float, quiet: float = 0.0) -> list[Claim]:
    """Return every row left in `sending` and untouched for `quiet` seconds: each is ambiguous."""
    rows = connection.execute(_DOUBTFUL, _left_alone(now, quiet)).all()
    found = []
    for row in sorted(rows, key=lambda one: int(one.id)):  # asked to sort, SQLite reads all posts
        target = target_of(connection, row) or Target(_home(connection, row), "", "")
        found.append(
            Claim(
                post=post_of(row, target, now),
                lane=lane_of(row.conversation_id, row.staff_thread_id, row.kind),
            )
        )
    return found


def _left_alone(now: float, quiet: float) -> dict[str, float]:
    """Return the values of `_ALONE`: untouched for `quiet` seconds, or dated by another clock."""
    return {"quiet_since": now - quiet, "ahead": now + AHEAD}


def _home(connection: Connection, row: Any) -> Place:  # noqa: ANN401 - a row and its person
    if row.staff_thread_id is None:
        return place_of(row)
    return place_of(thread_of(connection, row.staff_thread_id))


def open_lanes(connection: Connection, now: float, quiet: float = 0.0) -> list[Lane]:
    """Return every lane with a queued row that is due and untouched for `quiet` seconds."""
    rows = connection.execute(_DUE, {"now": now, **_left_alone(now, quiet)})
    lanes = [lane_of(row.conversation_id, row.staff_thread_id, row.kind) for row in rows]
    return list(dict.fromkeys(lanes))
