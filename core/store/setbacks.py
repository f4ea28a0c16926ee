"""What becomes of a post that did not arrive, and of the place it was meant for.

A topic or thread that was deleted is made anew once, with its card and the line that found out; a
closed one is opened; where none can be had, the case lives in the desk's chat itself. A desk that
shuts us out is left for the next one of the list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update

from core.message import Arrival, Author, Message
from core.store.connection import Connection
from core.store.intake import take_in
from core.store.outbox import IS_CERTAIN, IS_OPEN, End, mark
from core.store.rows import key_of, new_nonce
from core.tables import case, conversation, outbox, staff_thread

MOST_MADE = 2  # threads of one case: the first, and its successor
_OPENS = 4  # tries for which a thread is opened that was shut again before the post was there

Words = Callable[..., str]  # name of a fixed text, language, values


def row_of(connection: Connection, row_id: int) -> Any | None:  # noqa: ANN401 - a row
    """Return an outbox row, or None when its person was erased."""
    return connection.execute(select(outbox).where(outbox.c.id == row_id)).first()


def end(connection: Connection, row_id: int, state: End, error: str, now: float) -> bool:
    """Stop trying, visibly: uncertain (may have arrived), failed (never will), held.

    A thread that nobody knows of is asked for once more; returns True when it was.
    """
    mark(connection, row_id, now, state=state, error=error)
    row = row_of(connection, row_id)
    if row is None or row.kind != "thread" or row.message_id or row.part:
        return False
    thread = _thread(connection, row)
    if thread is None:
        return False
    if state == "uncertain" and thread.made < MOST_MADE:
        _ask_again(connection, thread, row, now)
        return True
    _settle_in_chat(connection, thread)
    return False


def thread_lost(connection: Connection, row_id: int, error: str, now: float, *, gone: bool) -> str:
    """A post found its thread gone, shut, or not to be had. Returns what is done about it.

    "anew": a successor is made; "opened": the thread is opened again; "chat": from now on the
    case lives in the desk's own chat; "failed": nothing can be done for this post.
    """
    row = row_of(connection, row_id)
    thread = None if row is None else _thread(connection, row)
    if row is None or thread is None:
        return "failed"
    first = _first_row(connection, thread.id)
    if thread.status == "ready" and gone and thread.made < MOST_MADE and first is not None:
        mark(connection, row_id, now, state="queued", error=error)
        _ask_again(connection, thread, first, now)
        card_again(connection, thread.id, now)
        return "anew"
    hopeless = row.kind == "thread" or thread.status != "ready"
    mark(connection, row_id, now, state="failed" if hopeless else "queued", error=error)
    if thread.status == "ready":
        card_again(connection, thread.id, now)
    if thread.status != "fallback":
        _settle_in_chat(connection, thread)
    return "failed" if row.kind != "thread" and hopeless else "chat"


def thread_shut(connection: Connection, row_id: int, error: str, now: float) -> bool:
    """A post found its thread closed: open it first, then send the post.

    Somebody may close it just then once more, so it is opened a few times. One that finds it
    closed at every try is not helped by that: False.
    """
    row = row_of(connection, row_id)
    thread = None if row is None else _thread(connection, row)
    if row is None or thread is None or row.kind == "thread":
        return False
    if row.error == error and row.tries > _OPENS:
        return False
    first = _first_row(connection, thread.id)
    if first is None or thread.status != "ready":
        return False
    mark(connection, row_id, now, state="queued", error=error)
    mark(
        connection,
        first.id,
        now,
        state="queued",
        message_id=thread.thread,
        case_state="open",
        nonce=new_nonce(),
        first_try_at=None,
    )
    return True


def _thread(connection: Connection, row: Any) -> Any | None:  # noqa: ANN401 - rows
    return connection.execute(
        select(staff_thread).where(staff_thread.c.id == row.staff_thread_id)
    ).first()


def _first_row(connection: Connection, thread_id: int) -> Any | None:  # noqa: ANN401
    """Return the row that asked for a thread: its id is the lowest, so it leaves first again."""
    return connection.execute(
        select(outbox)
        .where(
            outbox.c.staff_thread_id == thread_id,
            outbox.c.kind == "thread",
            outbox.c.part == 0,
        )
        .order_by(outbox.c.id)
    ).first()


def _ask_again(connection: Connection, thread: Any, row: Any, now: float) -> None:  # noqa: ANN401
    connection.execute(
        update(staff_thread)
        .where(staff_thread.c.id == thread.id)
        .values(thread="", status="wanted", card_message_id="", made=thread.made + 1)
    )
    state = connection.execute(select(case.c.state).where(case.c.id == thread.case_id)).scalar()
    mark(
        connection,
        row.id,
        now,
        state="queued",
        message_id="",
        case_state=state or row.case_state,
        nonce=new_nonce(),
        first_try_at=None,
        retry_at=0.0,
    )


def _settle_in_chat(connection: Connection, thread: Any) -> None:  # noqa: ANN401 - a row
    lost = {"thread": "", "status": "fallback", "card_message_id": ""}
    connection.execute(update(staff_thread).where(staff_thread.c.id == thread.id).values(**lost))


def card_again(connection: Connection, thread_id: int, now: float) -> None:
    """The card went with its thread: queue it anew, as it was last drawn."""
    rows = connection.execute(
        select(outbox)
        .where(
            outbox.c.staff_thread_id == thread_id,
            outbox.c.kind.in_(("card", "redraw")),
            outbox.c.state.in_(("sent", "queued", "failed")),
        )
        .order_by(outbox.c.id)
    ).all()
    cards = [row for row in rows if row.kind == "card"]
    if not cards:
        return
    mark(
        connection,
        cards[-1].id,
        now,
        state="queued",
        text=rows[-1].text,
        buttons=rows[-1].buttons,
        case_state=rows[-1].case_state,
        message_id="",
        nonce=new_nonce(),
        first_try_at=None,
    )
    connection.execute(
        update(outbox)
        .where(
            outbox.c.staff_thread_id == thread_id,
            outbox.c.kind == "redraw",
            outbox.c.state == "queued",
        )
        .values(state="withdrawn", touched_at=now, error="drawn again")
    )


def unreachable(
    connection: Connection, row_id: int, now: float, *, shown: bool = False
) -> int | None:
    """The person cannot be reached: hold their posts. Returns the case of a lost desk, else None.

    What may have arrived (`shown`: the row itself) is left as it is: it is not to be sent again
    when they are back, so its end is that nobody knows. Where it is the desk's own chat that shut
    us out, that place is given up.
    """
    row = row_of(connection, row_id)
    if row is None:
        return None
    if row.staff_thread_id is not None:
        return _desk_lost(connection, row, now)
    connection.execute(
        update(outbox)
        .where(
            outbox.c.conversation_id == row.conversation_id,
            outbox.c.staff_thread_id.is_(None),
            IS_OPEN,
            IS_CERTAIN if shown else IS_CERTAIN | (outbox.c.id == row_id),
        )
        .values(state="held", touched_at=now, error="unreachable")
    )
    connection.execute(
        update(conversation)
        .where(conversation.c.id == row.conversation_id)
        .values(unreachable=True)
    )
    _gone(connection, row, now)
    return None


def _desk_lost(connection: Connection, row: Any, now: float) -> int | None:  # noqa: ANN401
    """Give a place up: what waits for it is dropped, its case needs another one."""
    waiting = outbox.c.staff_thread_id == row.staff_thread_id, IS_OPEN
    lost = {"state": "failed", "touched_at": now, "error": "the desk cannot be reached"}
    connection.execute(update(outbox).where(*waiting).values(**lost))
    thread = _thread(connection, row)
    if thread is None or thread.case_id is None:
        return None
    connection.execute(
        update(staff_thread).where(staff_thread.c.id == thread.id).values(status="lost")
    )
    return int(thread.case_id)


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
