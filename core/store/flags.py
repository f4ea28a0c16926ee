"""Posts that were given up: the row says so, and so do staff where somebody has the case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select

from core.marked import Marked
from core.message import Button, Media
from core.store import pairs, receipts, record
from core.store.connection import Connection
from core.store.outbox import Claim, End, Lane, Outgoing, enqueue, mark
from core.store.receipts import show_mark
from core.store.rows import base36
from core.store.setbacks import end, row_of
from core.store.streams import has_shown, take_back
from core.tables import conversation, outbox
from core.texts import STAFF

FLAGGER = "Heed"  # whose note it is
QUOTED = 60  # characters of the post that tell staff which one is meant

Words = Callable[..., str]  # name of a fixed text, language, values


def give_up(
    connection: Connection, row_id: int, state: End, error: str, say: Words, now: float
) -> tuple[Lane, ...]:
    """End a row, and leave a note and a line at the desk when it was meant for a person.

    A held row is no news here: staff were told that the person cannot be reached. Returns the
    lanes that have something to send.
    """
    again = end(connection, row_id, state, error, now)
    row = row_of(connection, row_id)
    if row is None:
        return ()
    if row.staff_thread_id is not None:
        return _in_thread(connection, row, say("thread_twin", STAFF), "twin", now) if again else ()
    if state == "held":
        return ()
    lanes = show_mark(connection, row.history_id, "failed", now) if row.history_id else []
    found = record.unresolved(connection, row.conversation_id)
    if found is None:
        return tuple(lanes)
    told = _told(connection, row, state, error, say)
    record.note(connection, found.id, FLAGGER, told, now)
    changed = record.tell_staff(
        connection,
        found.id,
        told,
        now,
        what="given up",
        buttons=_ways_out(found.id, row, state, say),
    )
    return (*lanes, *changed.lanes)


def put_back(
    connection: Connection, claim: Claim, seconds: float, error: str, say: Words, now: float
) -> tuple[Lane, ...]:
    """Put a row back to be sent again; returns the lanes that have something to send.

    The machine's words to somebody who has a human by now do not come again: what may stand there
    of them is taken back instead.
    """
    row = row_of(connection, claim.post.id)
    receipts.later(connection, claim.post.id, seconds, error, now, claim.album)
    if row is None or not row.bot_text:
        return ()
    person = record.person_row(connection, row.conversation_id)
    if person.owner == "bot":
        return ()
    mark(connection, row.id, now, state="withdrawn", error="a human took over")
    if not (claim.doubtful or has_shown(row)):
        return ()
    words = say("withdrawn", person.lang) if person.private else ""
    post = take_back(connection, row, words, now)
    return tuple(enqueue(connection, row.conversation_id, [post], now))


def _told(connection: Connection, row: Any, state: End, error: str, say: Words) -> str:  # noqa: ANN401
    who = connection.execute(
        select(conversation.c.name).where(conversation.c.id == row.conversation_id)
    ).scalar_one()
    if state == "uncertain":
        words = say("may_have_arrived", STAFF)
    else:
        words = say("not_delivered", STAFF, who=who, reason=error)
    line = pairs.line(connection, row.history_id) if row.history_id else None
    said = row.text if line is None else row.text.removeprefix(f"{line.signed}\n")
    quoted = said[:QUOTED] + ("…" if len(said) > QUOTED else "")
    return f"{words}\n> {quoted}"


def _ways_out(case_id: int, row: Any, state: End, say: Words) -> tuple[Button, ...]:  # noqa: ANN401
    """Offer what is safe: to send again what surely did not arrive, or to say what is known."""

    def button(name: str, code: str) -> Button:
        return Button(label=say(name, STAFF), data=f"h:{base36(case_id)}:{code}:{base36(row.id)}")

    if row.bot_text or row.kind not in ("relay", "notice"):
        return ()
    if state == "uncertain":
        return (button("button_resend", "rt"), button("button_arrived", "ok"))
    return (button("button_retry", "rt"),)


def settle(connection: Connection, row_id: int, *, resend: bool, now: float) -> tuple[Lane, ...]:
    """Do as staff say with a post that was given up: send it again, or call it arrived."""
    row = row_of(connection, row_id)
    if row is None or row.state not in ("uncertain", "failed"):
        return ()
    if resend:
        mark(connection, row_id, now, state="queued", retry_at=0.0, first_try_at=None, error="")
        return (("person", row.conversation_id),)
    mark(connection, row_id, now, state="sent", error="")
    return tuple(show_mark(connection, row.history_id, "sent", now)) if row.history_id else ()


def settle_line(
    connection: Connection, line_id: int, *, resend: bool, now: float
) -> tuple[Lane, ...]:
    """The same for every post of one line of staff's."""
    rows = connection.execute(
        select(outbox.c.id).where(
            outbox.c.history_id == line_id,
            outbox.c.staff_thread_id.is_(None),
            outbox.c.state.in_(("uncertain", "failed")),
        )
    ).all()
    found = [settle(connection, int(row.id), resend=resend, now=now) for row in rows]
    return tuple(dict.fromkeys(lane for lanes in found for lane in lanes))


def correct(
    connection: Connection, row_id: int, error: str, say: Words, now: float
) -> tuple[Lane, ...]:
    """A message can no longer be changed: say it anew, or tell staff that it stays.

    Staff's own copies are said anew in the same way; a deletion that failed is told to staff.
    """
    row = row_of(connection, row_id)
    if row is None:
        return ()
    mark(connection, row_id, now, state="failed", error=error)
    if row.kind == "edit" and row.text:
        lang = STAFF
        if row.conversation_id is not None and row.staff_thread_id is None:
            lang = record.person_row(connection, row.conversation_id).lang or "en"
        words = f"{say('correction', lang)}\n{row.text}"
        anew = Outgoing(
            kind="relay",
            text=Marked(words) if row.formatted else words,
            cause_kind="correction",
            cause_id=row.id,
            history_id=row.history_id,
            staff_thread_id=row.staff_thread_id,
        )
        return tuple(enqueue(connection, row.conversation_id, [anew], now))
    if row.staff_thread_id is not None or row.conversation_id is None:
        return ()
    found = record.unresolved(connection, row.conversation_id)
    if found is None:
        return ()
    words = say("not_deleted", STAFF)
    return record.tell_staff(connection, found.id, words, now, what="not deleted").lanes


def successor(connection: Connection, row_id: int, say: Words, now: float) -> tuple[Lane, ...]:
    """Tell staff in the new thread why there is one."""
    row = row_of(connection, row_id)
    if row is None or row.staff_thread_id is None:
        return ()
    return _in_thread(connection, row, say("thread_successor", STAFF), "successor", now)


def _in_thread(
    connection: Connection,
    row: Any,  # noqa: ANN401 - an outbox row
    words: str,
    why: str,
    now: float,
) -> tuple[Lane, ...]:
    """Say once in a new thread what is to be known of it."""
    line = Outgoing(
        kind="ping",
        text=words,
        cause_kind=why,
        cause_id=row.id,
        staff_thread_id=row.staff_thread_id,
    )
    return tuple(enqueue(connection, row.conversation_id, [line], now))


def flooded(
    connection: Connection, row_id: int, seconds: float, say: Words, now: float
) -> tuple[Lane, ...]:
    """Tell staff that what waits for a person leaves only after a long time."""
    row = row_of(connection, row_id)
    if row is None or row.staff_thread_id is not None or row.conversation_id is None:
        return ()
    found = record.unresolved(connection, row.conversation_id)
    if found is None:
        return ()
    who = record.person_row(connection, row.conversation_id).name
    words = say("flood_wait", STAFF, who=who, when=say("wait_s", STAFF, n=round(seconds)))
    return record.tell_staff(connection, found.id, words, now, what="flood").lanes


def in_words(
    connection: Connection,
    row_id: int,
    media: Sequence[Media],
    error: str,
    say: Words,
    now: float,
) -> None:
    """Send name and size in the place of a file that is too big, with the caption it had."""
    row = row_of(connection, row_id)
    if row is None:
        return
    named = [
        say("too_big", STAFF, name=one.name or one.kind, size=f"{one.size / 1e6:.0f} MB")
        for one in media
    ]
    text = "\n".join([*filter(None, [row.text]), *named])
    mark(connection, row_id, now, state="queued", media=None, album="", text=text, error=error)
