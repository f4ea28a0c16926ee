"""What goes out: every post is a row, claimed before it is sent, committed after.

Rows of one lane leave in order: the lane of a conversation (what the person sees) or of a staff
thread (what staff see of one case). Whether a machine's text may still go is decided here, inside
the transaction that claims it: never after a human has taken over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, bindparam, case, literal_column, select, update

from core.message import Arrival, Author, Button, Message, Place, Post, PostKind, Receipt
from core.store.connection import Connection, Ready
from core.store.intake import take_in
from core.store.rows import insert_once, key_of, new_nonce, place_of
from core.tables import conversation, history, outbox, pair, staff_thread

Lane = tuple[Literal["person", "staff"], int]  # conversation id, or staff thread id
OPEN = ("streaming", "queued", "sending")
# Spelled out as in the partial index: with bound values SQLite would read every post ever sent.
IS_OPEN = outbox.c.state.in_([literal_column(f"'{state}'") for state in OPEN])
ERASED = "erased while it was being sent"
_IT: BindParameter[int] = bindparam("it")  # a row's id
_OF: BindParameter[int] = bindparam("of")  # a lane's
_MARK = Ready(update(outbox).where(outbox.c.id == _IT))
_WITH_PERSON = select(
    outbox,
    *(conversation.c[name] for name in ("platform", "bot", "chat", "thread")),
    *(conversation.c[name] for name in ("private", "owner", "unreachable")),
).join(conversation, conversation.c.id == outbox.c.conversation_id)
_LANE: Mapping[str, tuple[ColumnElement[bool], ...]] = {
    "person": (outbox.c.conversation_id == _OF, outbox.c.staff_thread_id.is_(None), IS_OPEN),
    "staff": (outbox.c.staff_thread_id == _OF, IS_OPEN),
}
_NEXT = {
    which: Ready(_WITH_PERSON.where(*lane).order_by(outbox.c.id).limit(1))
    for which, lane in _LANE.items()
}
_MORE = {which: Ready(select(outbox.c.id).where(*lane).limit(1)) for which, lane in _LANE.items()}
_SENT = Ready(
    update(outbox)
    .where(outbox.c.id == _IT)
    .values(
        # Words that staff must no longer see went out while they were erased: edited once more.
        state=case((outbox.c.error == ERASED, "queued"), else_="sent"),
        error="",
    )
    .returning(
        *(outbox.c[name] for name in ("conversation_id", "staff_thread_id", "history_id", "kind"))
    )
)
_ARRIVED = Ready(update(history).where(history.c.id == _IT, history.c.message_id == ""))
End = Literal["uncertain", "failed", "held"]  # may have arrived; never will; kept back


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """One post to be written into the outbox."""

    kind: PostKind
    text: str
    cause_kind: str  # inbox | case_event | staff_post
    cause_id: int
    part: int = 0
    buttons: tuple[Button, ...] = ()
    reply_to: str = ""
    bot_text: bool = False
    staff_thread_id: int | None = None
    history_id: int | None = None
    message_id: str = ""  # set: that message is edited


class Target(NamedTuple):
    """Where a row goes: the place, the message to edit, the message it answers; "" for none."""

    place: Place
    message_id: str
    reply_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A row that this process may send now, and what its adapter needs to know."""

    post: Post
    lane: Lane


def enqueue(
    connection: Connection, conversation_id: int, posts: Sequence[Outgoing], now: float
) -> list[Lane]:
    """Queue posts unless their cause already has them; return the lanes to ring."""
    lanes: list[Lane] = []
    for post in posts:
        insert_once(
            connection,
            outbox,
            {
                "conversation_id": conversation_id,
                "staff_thread_id": post.staff_thread_id,
                "history_id": post.history_id,
                "message_id": post.message_id,
                "cause_kind": post.cause_kind,
                "cause_id": post.cause_id,
                "kind": post.kind,
                "part": post.part,
                "text": post.text,
                "buttons": [[b.label, b.data] for b in post.buttons],
                "reply_to": post.reply_to,
                "bot_text": post.bot_text,
                "state": "queued",
                "nonce": new_nonce(),
                "queued_at": now,
                "touched_at": now,
            },
        )
        lanes.append(_lane(conversation_id, post.staff_thread_id))
    return list(dict.fromkeys(lanes))


def _lane(conversation_id: int, staff_thread_id: int | None) -> Lane:
    return ("person", conversation_id) if staff_thread_id is None else ("staff", staff_thread_id)


def claim(connection: Connection, lane: Lane, now: float) -> Claim | float | None:
    """Claim the lane's next row: a Claim, seconds to wait, or None when nothing is to be done."""
    which, owner_id = lane
    while (row := connection.execute(_NEXT[which], {"of": owner_id}).first()) is not None:
        if row.state != "queued":
            return None  # being written or being sent: what comes after waits for it
        verdict = _may_leave(row)
        if verdict != "queued":
            mark(connection, row.id, now, state=verdict)
            continue
        if row.retry_at > now:
            return float(row.retry_at - now)
        target = _target(connection, row)
        if row.kind == "edit" and not target.message_id:
            mark(connection, row.id, now, state="withdrawn", error="nothing to edit")
            continue
        first = row.first_try_at if row.first_try_at is not None else now
        mark(connection, row.id, now, state="sending", tries=row.tries + 1, first_try_at=first)
        return Claim(lane=lane, post=_post(row, target, now))
    return None


def _may_leave(row: Any) -> str:  # noqa: ANN401 - a row and its person
    """Decide by the facts of this very transaction whether a row may go: its next state."""
    if row.bot_text and row.owner != "bot":
        return "withdrawn"
    if row.staff_thread_id is None and row.unreachable:
        return "held"
    return "queued"


def _post(row: Any, target: Target, now: float) -> Post:  # noqa: ANN401 - a row and its person
    first = row.first_try_at if row.first_try_at is not None else now
    return Post(
        id=row.id,
        kind=row.kind,
        place=target.place,
        text=row.text,
        nonce=row.nonce,
        part=row.part,
        reply_to=target.reply_to or None,
        buttons=tuple(Button(label=label, data=data) for label, data in row.buttons or ()),
        message_id=target.message_id or None,
        private=bool(row.private) and row.staff_thread_id is None,
        age=now - first,
    )


def _target(connection: Connection, row: Any) -> Target:  # noqa: ANN401 - a row and its person
    if row.staff_thread_id is None:
        return Target(place_of(row), row.message_id, row.reply_to)
    thread = connection.execute(
        select(staff_thread).where(staff_thread.c.id == row.staff_thread_id)
    ).one()
    # Without a thread of its own a case lives in the desk's chat as replies to its card.
    anchor = thread.card_message_id if thread.status == "fallback" else ""
    card = thread.card_message_id if row.kind == "edit" else ""
    return Target(place_of(thread), row.message_id or card, row.reply_to or anchor)


def remember(connection: Connection, row_id: int, message_id: str, now: float) -> None:
    """Keep a placeholder's id, so that a repeat edits that very message."""
    mark(connection, row_id, now, message_id=message_id)


def sent(connection: Connection, row_id: int, receipt: Receipt, now: float) -> bool:
    """Commit that a post arrived, and whatever hangs on its id; say if its lane has more."""
    arrived = {"it": row_id, "message_id": receipt.message_id, "touched_at": now}
    row = connection.execute(_SENT, arrived).first()
    if row is None:  # the person was erased meanwhile
        return True
    if row.staff_thread_id is not None:
        _sent_to_staff(connection, row, receipt)
    elif row.history_id is not None:
        line = {"it": row.history_id, "message_id": receipt.message_id}
        connection.execute(_ARRIVED, line)
    which, owner_id = _lane(row.conversation_id, row.staff_thread_id)
    return connection.execute(_MORE[which], {"of": owner_id}).first() is not None


def _sent_to_staff(connection: Connection, row: Any, receipt: Receipt) -> None:  # noqa: ANN401
    thread = update(staff_thread).where(staff_thread.c.id == row.staff_thread_id)
    if row.kind == "thread":
        made = receipt.thread or staff_thread.c.thread  # a renamed one is where it was
        connection.execute(thread.values(thread=made, status="ready"))
    elif row.kind == "card":
        connection.execute(thread.values(card_message_id=receipt.message_id))
    if row.kind in ("card", "relay", "context", "ping"):
        home = connection.execute(
            select(staff_thread).where(staff_thread.c.id == row.staff_thread_id)
        ).one()
        insert_once(
            connection,
            pair,
            {
                "case_id": home.case_id,
                "history_id": row.history_id,
                "platform": home.platform,
                "chat": home.chat,
                "message_id": receipt.message_id,
            },
        )


def later(connection: Connection, row_id: int, seconds: float, error: str, now: float) -> None:
    """Put a row back: nothing was sent, or sending again shows nothing twice."""
    mark(connection, row_id, now, state="queued", retry_at=now + seconds, error=error)


def end(
    connection: Connection,
    row_id: int,
    state: End,
    error: str,
    now: float,
) -> None:
    """Stop trying, visibly: uncertain (may have arrived), failed (never will), held.

    A thread that nobody knows of is as good as none: its case lives in the desk's chat itself.
    """
    mark(connection, row_id, now, state=state, error=error)
    row = connection.execute(select(outbox).where(outbox.c.id == row_id)).first()
    if row is not None and row.kind == "thread" and not row.message_id:  # else only its name
        connection.execute(
            update(staff_thread)
            .where(staff_thread.c.id == row.staff_thread_id)
            .values(status="fallback")
        )


def no_thread(connection: Connection, row_id: int, error: str, now: float) -> None:
    """There is no thread, or it is gone: from now on the case lives in the desk's chat itself.

    The row that found out is sent again there, unless it was the making of the thread, or the
    chat itself refused.
    """
    row = connection.execute(select(outbox).where(outbox.c.id == row_id)).first()
    if row is None:
        return
    thread = staff_thread.c.id == row.staff_thread_id
    status = connection.execute(select(staff_thread.c.status).where(thread)).scalar()
    hopeless = row.kind == "thread" or status != "ready"
    mark(connection, row_id, now, state="failed" if hopeless else "queued", error=error)
    if status == "ready":
        _card_again(connection, row.staff_thread_id, now)
    if status != "fallback":
        lost = {"thread": "", "status": "fallback", "card_message_id": ""}
        connection.execute(update(staff_thread).where(thread).values(**lost))


def _card_again(connection: Connection, thread_id: int, now: float) -> None:
    """The card went with its thread: queue it anew, as it was last drawn."""
    rows = connection.execute(
        select(outbox)
        .where(
            outbox.c.staff_thread_id == thread_id,
            outbox.c.kind.in_(("card", "edit")),
            outbox.c.state == "sent",
        )
        .order_by(outbox.c.id)
    ).all()
    cards = [row for row in rows if row.kind == "card"]
    if not cards:
        return
    drawn = [row for row in rows if row.kind == "card" or row.message_id == cards[-1].message_id]
    mark(
        connection,
        cards[-1].id,
        now,
        state="queued",
        text=drawn[-1].text,
        buttons=drawn[-1].buttons,
        message_id="",
        nonce=new_nonce(),
        first_try_at=None,
    )


def unreachable(connection: Connection, row_id: int, now: float) -> int | None:
    """The person cannot be reached: hold their posts. Returns their conversation.

    Where it is the desk's own chat that shut us out, only this post is given up.
    """
    row = connection.execute(select(outbox).where(outbox.c.id == row_id)).first()
    if row is None:
        return None
    if row.staff_thread_id is not None:
        mark(connection, row_id, now, state="failed", error="the desk cannot be reached")
        return None
    connection.execute(
        update(outbox)
        .where(
            outbox.c.conversation_id == row.conversation_id,
            outbox.c.staff_thread_id.is_(None),
            IS_OPEN,
        )
        .values(state="held", touched_at=now, error="unreachable")
    )
    connection.execute(
        update(conversation)
        .where(conversation.c.id == row.conversation_id)
        .values(unreachable=True)
    )
    _gone(connection, row, now)
    return int(row.conversation_id)


def _gone(connection: Connection, row: Any, now: float) -> None:  # noqa: ANN401 - an outbox row
    """Take the refusal in like the event that some platforms send, so that staff are told."""
    person = connection.execute(
        select(conversation).where(conversation.c.id == row.conversation_id)
    ).one()
    if person.forgotten:
        return
    event = f"refused:{row.id}"
    message = Message(
        key=key_of(person),
        message_id="",
        author=Author(id=person.user, name=person.name),
        sent_at=now,
        kind="left",
        private=bool(person.private),
        event_id=event,
    )
    arrival = Arrival(
        platform=person.platform, bot=person.bot, source_id=event, raw="", message=message
    )
    take_in(connection, [(arrival, "")], now)


def mark(connection: Connection, row_id: int, now: float, **values: Any) -> None:  # noqa: ANN401
    """Write columns of one row."""
    connection.execute(_MARK, {"it": row_id, "touched_at": now, **values})


def in_doubt(connection: Connection, now: float, quiet: float = 0.0) -> list[Claim]:
    """Return every row left in `sending` and untouched for `quiet` seconds: each is ambiguous."""
    rows = connection.execute(
        _WITH_PERSON.where(
            IS_OPEN, outbox.c.state == "sending", outbox.c.touched_at <= now - quiet
        ).order_by(outbox.c.id)
    ).all()
    return [
        Claim(
            post=_post(row, _target(connection, row), now),
            lane=_lane(row.conversation_id, row.staff_thread_id),
        )
        for row in rows
    ]


def open_lanes(connection: Connection, now: float, quiet: float = 0.0) -> list[Lane]:
    """Return every lane with a queued row that is due and untouched for `quiet` seconds."""
    rows = connection.execute(
        select(outbox.c.conversation_id, outbox.c.staff_thread_id)
        .where(
            IS_OPEN,
            outbox.c.state == "queued",
            outbox.c.retry_at <= now,
            outbox.c.touched_at <= now - quiet,
        )
        .distinct()
    )
    return [_lane(row.conversation_id, row.staff_thread_id) for row in rows]
