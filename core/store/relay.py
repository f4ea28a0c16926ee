"""Words and files from one side to the other, and what becomes of them there.

Text, pair and posts of one item are written together, so that "sent to the person but not shown to
staff" cannot pass unnoticed. A later edit or deletion finds its copies by the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update

from core.marked import answering
from core.message import Message, Place
from core.store import pairs, places, timers
from core.store.connection import Connection
from core.store.outbox import IS_CERTAIN, Lane, Outgoing, enqueue, thread_of
from core.store.record import Changed, case_row, changed
from core.store.rows import fields, insert_id, place_of
from core.tables import case, history, outbox, staff_thread

IN_WORDS = frozenset(
    {"poll", "location", "venue", "contact", "checklist", "dice"}
)  # whole in words


QUOTED = 60  # characters of what a message answers, where it cannot be pointed at


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What staff said to a person, ready to go."""

    whole: str
    parts: tuple[str, ...]  # split for the person's platform; the first begins with the signature
    signed: str = ""
    media: tuple[Mapping[str, Any], ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    album: str = ""
    origin: tuple[Place, str] | None = None  # staff's own message
    answers: int | None = None  # the history line it replies to


def media_of(message: Message) -> tuple[Mapping[str, Any], ...]:
    """Return a message's files as rows of `outbox.media`; what has no bytes has words instead."""
    key = message.key
    holder = key.thread if key.platform == "discord" and key.thread else key.chat
    return tuple(
        {
            "platform": key.platform,
            "bot": key.bot,
            "chat": holder,
            "message_id": message.message_id,
            "kind": item.kind,
            "file_id": item.file_id,
            "name": item.name,
            "size": item.size,
        }
        for item in message.attachments
        if item.file_id
    )


def unpassable(message: Message) -> str:
    """Return the kind of what hangs on a message and nobody else can be shown; empty: nothing."""
    kinds = (item.kind for item in message.attachments if not item.file_id)
    return next((kind for kind in kinds if kind not in IN_WORDS), "")


def files_of(message: Message) -> list[dict[str, Any]] | None:
    """Return what hangs on a message as the history keeps it."""
    return [fields(item) for item in message.attachments] or None


def copies(
    connection: Connection,
    case_id: int,
    inbox_id: int,
    parts: Sequence[str],
    history_id: int,
    message: Message | None = None,
) -> list[Outgoing]:
    """Return the posts that copy a person's message, files and all, into the case's threads."""
    media = () if message is None else media_of(message)
    answers = None if message is None else _answered(connection, history_id, message)
    return [
        Outgoing(
            kind="relay",
            text=words if part else answering(_quote(connection, answers, thread), words),
            cause_kind="inbox",
            cause_id=inbox_id,
            part=part,
            staff_thread_id=thread.id,
            history_id=history_id or None,
            media=media if part == 0 else (),
            album=message.album if message is not None and media and part == 0 else "",
            answers=answers if part == 0 else None,
        )
        for thread in places.rows_of_case(connection, case_id)
        for part, words in enumerate(parts)
    ]


def _quote(connection: Connection, answers: int | None, thread: Any) -> str:  # noqa: ANN401 - a row
    """Return how the line begins that a message answers; empty where staff have a copy of it."""
    if answers is None or _shown_to_staff(connection, answers, thread.id):
        return ""
    if pairs.shown_as(connection, answers, "staff", place_of(thread)):
        return ""
    line = pairs.line(connection, answers)
    said = "" if line is None else " ".join(line.text.split())
    return f"{said[:QUOTED]}{'…' if len(said) > QUOTED else ''}"


def _answered(connection: Connection, history_id: int, message: Message) -> int | None:
    if message.reply_to is None or not history_id:
        return None
    home = connection.execute(
        select(history.c.conversation_id).where(history.c.id == history_id)
    ).scalar_one()
    return pairs.line_of(connection, home, message.key.place, message.reply_to)


def answer(
    connection: Connection, case_id: int, by: tuple[str, str], words: Words, now: float
) -> Changed:
    """Queue a staff answer to the person and keep it in the history. Owner is human already.

    `by` is the name and id of who says it.
    """
    row = case_row(connection, case_id)
    line = keep(connection, row, "staff", by[0], words, now)
    first = {} if row.first_reply_at is not None else {"first_reply_at": now}
    connection.execute(
        update(case)
        .where(case.c.id == case_id)
        .values(spoken_at=now, draft="", resolve_at=None, **first)
    )
    timers.drop(connection, "resolve", case_id=case_id)
    lanes = enqueue(connection, row.conversation_id, _to_person(line, words), now)
    return changed(connection, case_id, row.conversation_id, lanes)


def keep(
    connection: Connection,
    row: Any,  # noqa: ANN401 - a case
    role: str,
    who: str,
    words: Words,
    now: float,
) -> int:
    """Keep what staff wrote as a line of the history, linked to the message it stands in."""
    line = insert_id(
        connection,
        history,
        conversation_id=row.conversation_id,
        case_id=row.id,
        role=role,
        name=who,
        text=words.whole,
        signed=words.signed,
        files=list(words.files) or None,
        at=now,
    )
    if words.origin is not None:
        place, message_id = words.origin
        pairs.link(connection, row.id, line, place, message_id, side="staff", original=True)
    return line


def _to_person(line: int, words: Words) -> list[Outgoing]:
    parts = words.parts or ("",)
    return [
        Outgoing(
            kind="relay",
            text=text,
            cause_kind="staff_post",
            cause_id=line,
            part=part,
            history_id=line,
            media=words.media if part == 0 else (),
            album=words.album if words.media and part == 0 else "",
            answers=words.answers if part == 0 else None,
        )
        for part, text in enumerate(parts)
    ]


def send_held(connection: Connection, line_id: int, words: Words, now: float) -> list[Lane]:
    """Send what was held back because somebody else had the case."""
    line = connection.execute(select(history).where(history.c.id == line_id)).one()
    connection.execute(update(history).where(history.c.id == line_id).values(role="staff"))
    return enqueue(connection, line.conversation_id, _to_person(line_id, words), now)


def shown_to_person(connection: Connection, line_id: int) -> int:
    """Return in how many messages the person has, or will have, a line of staff's."""
    queued = connection.execute(
        select(func.count())
        .select_from(outbox)
        .where(
            outbox.c.history_id == line_id,
            outbox.c.staff_thread_id.is_(None),
            outbox.c.kind == "relay",
            outbox.c.state.in_(("queued", "sending", "held")),
        )
    ).scalar_one()
    return int(queued) + len(pairs.copies(connection, line_id, "person"))


def change_answer(
    connection: Connection, line_id: int, words: Words, cause: tuple[str, int], now: float
) -> list[Lane]:
    """Change what the person was told: each message in its place, more or fewer as it needs."""
    line = connection.execute(select(history).where(history.c.id == line_id)).one()
    if line.text == words.whole:
        return []
    connection.execute(
        update(history).where(history.c.id == line_id).values(text=words.whole, was=line.text)
    )
    posts = _changes(words.parts, shown_to_person(connection, line_id), line_id, cause, None)
    return enqueue(connection, line.conversation_id, posts, now)


def change_copies(
    connection: Connection, line_id: int, parts: Sequence[str], cause: tuple[str, int], now: float
) -> list[Lane]:
    """Change staff's copies of what a person has edited."""
    line = connection.execute(select(history).where(history.c.id == line_id)).one()
    posts: list[Outgoing] = []
    for thread in _threads_showing(connection, line_id):
        shown = _shown_to_staff(connection, line_id, thread)
        posts += _changes(parts, shown, line_id, cause, thread)
    return enqueue(connection, line.conversation_id, posts, now)


def _threads_showing(connection: Connection, line_id: int) -> list[int]:
    rows = connection.execute(
        select(outbox.c.staff_thread_id)
        .where(
            outbox.c.history_id == line_id,
            outbox.c.kind == "relay",
            outbox.c.staff_thread_id.is_not(None),
        )
        .distinct()
    )
    return [int(row.staff_thread_id) for row in rows]


def _shown_to_staff(connection: Connection, line_id: int, thread: int) -> int:
    """Return in how many messages of a thread staff have, or will have, a person's line."""
    coming = connection.execute(
        select(func.count())
        .select_from(outbox)
        .where(
            outbox.c.history_id == line_id,
            outbox.c.staff_thread_id == thread,
            outbox.c.kind == "relay",
            outbox.c.state.in_(("queued", "sending")),
        )
    ).scalar_one()
    home = place_of(thread_of(connection, thread))
    return int(coming) + len(pairs.copies(connection, line_id, "staff", home))


def _changes(
    parts: Sequence[str], shown: int, line_id: int, cause: tuple[str, int], thread: int | None
) -> list[Outgoing]:
    kind, number = cause
    common: dict[str, Any] = {
        "cause_kind": kind,
        "cause_id": number,
        "history_id": line_id,
        "staff_thread_id": thread,
    }
    edits = [
        Outgoing(kind="edit" if part < shown else "relay", text=text, part=part, **common)
        for part, text in enumerate(parts)
    ]
    surplus = reversed(range(len(parts), shown))  # the last first: each is found by its place
    return edits + [Outgoing(kind="delete", text="", part=part, **common) for part in surplus]


def take_back(
    connection: Connection, line_id: int, cause: tuple[str, int], now: float
) -> list[Lane]:
    """Delete what the person was told; its words leave the history."""
    line = connection.execute(select(history).where(history.c.id == line_id)).one()
    connection.execute(
        update(history)
        .where(history.c.id == line_id)
        .values(text="", was="", files=None, deleted=True)
    )
    connection.execute(  # what has not left yet never will
        update(outbox)
        .where(
            outbox.c.history_id == line_id,
            outbox.c.staff_thread_id.is_(None),
            outbox.c.state.in_(("queued", "held")),
        )
        .values(state="withdrawn", touched_at=now, text="", error="deleted by staff")
    )
    forget_words(connection, line_id)
    posts = _changes((), shown_to_person(connection, line_id), line_id, cause, None)
    return enqueue(connection, line.conversation_id, posts, now)


def forget_words(connection: Connection, line_id: int) -> None:
    """A line was deleted: what was sent of it keeps no copy of its words."""
    connection.execute(
        update(outbox)
        .where(
            outbox.c.history_id == line_id,
            outbox.c.kind.in_(("relay", "edit", "reply")),
            outbox.c.state.not_in(("queued", "sending", "streaming")),
        )
        .values(text="")
    )


def react(
    connection: Connection,
    linked: Any,  # noqa: ANN401 - a pair
    emoji: str,
    cause: int,
    now: float,
) -> list[Lane]:
    """Mirror a reaction to the other side; whose it was is not told."""
    if linked.history_id is None:
        return []
    line = connection.execute(select(history).where(history.c.id == linked.history_id)).one()
    common: dict[str, Any] = {
        "kind": "react",
        "text": emoji,
        "cause_kind": "inbox",
        "cause_id": cause,
        "history_id": linked.history_id,
    }
    if linked.side == "staff":
        return enqueue(connection, line.conversation_id, [Outgoing(**common)], now)
    threads = connection.execute(
        select(staff_thread.c.id).where(
            staff_thread.c.case_id == line.case_id, staff_thread.c.status != "lost"
        )
    )
    posts = [Outgoing(**common, staff_thread_id=int(row.id)) for row in threads]
    return enqueue(connection, line.conversation_id, posts, now)


def hold(connection: Connection, conversation_id: int, now: float) -> None:
    """Keep back what waits to leave for a person who cannot be reached."""
    connection.execute(
        update(outbox)
        .where(
            outbox.c.conversation_id == conversation_id,
            outbox.c.staff_thread_id.is_(None),
            outbox.c.state == "queued",
            IS_CERTAIN,
        )
        .values(state="held", touched_at=now)
    )


def held_rows(connection: Connection, conversation_id: int) -> list[int]:
    """Return the posts that wait because the person could not be reached."""
    rows = connection.execute(
        select(outbox.c.id)
        .where(outbox.c.conversation_id == conversation_id, outbox.c.state == "held")
        .order_by(outbox.c.id)
    )
    return [int(row.id) for row in rows]


def let_go(connection: Connection, conversation_id: int, now: float, *, send: bool) -> list[Lane]:
    """Send what was held for a person who is back, or drop it. Old words of the machine's stay."""
    mine = outbox.c.conversation_id == conversation_id, outbox.c.state == "held"
    state = (
        {"state": "queued", "retry_at": 0.0, "first_try_at": None}
        if send
        else {"state": "withdrawn"}
    )
    machine = {"state": "withdrawn", "touched_at": now, "error": "too old to be said"}
    connection.execute(update(outbox).where(*mine, outbox.c.bot_text).values(**machine))
    connection.execute(update(outbox).where(*mine).values(**state, touched_at=now, error=""))
    return [("person", conversation_id)] if send else []
