"""What goes out: every post is a row, claimed before it is sent, committed after.

Rows of one lane leave in order: the lane of a conversation (what the person sees), of a staff
thread (what staff see of one case), or of its card, which is drawn again beside the others so that
no line waits for a drawing. Whether a machine's text may still go is decided here, inside the
transaction that claims it: never after a human has taken over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    bindparam,
    literal_column,
    select,
    update,
)

from core.marked import Marked
from core.message import Button, Media, Place, Post, PostKind
from core.store import pairs
from core.store.connection import Connection, Ready
from core.store.rows import insert_once, new_nonce, place_of
from core.tables import conversation, outbox, staff_thread

Lane = tuple[Literal["person", "staff", "card"], int]  # conversation id, or staff thread id
OPEN = ("streaming", "queued", "sending")
# Spelled out as in the partial index: with bound values SQLite would read every post ever sent.
IS_OPEN = outbox.c.state.in_([literal_column(f"'{state}'") for state in OPEN])
IS_OVER = outbox.c.state.in_([literal_column(f"'{state}'") for state in ("sent", "withdrawn")])
ALBUM = 1.5  # seconds in which the messages of one album are waited for
AHEAD = 10.0  # seconds; a row touched so much later than now was dated by another clock
DOUBT = "nobody knows whether this was sent"  # how the error of a doubtful row begins
IS_CERTAIN = ~outbox.c.error.startswith(DOUBT)  # so far as is known, it has not arrived
ERASED = "erased while it was being sent"  # error of a row whose words must not stay
PAUSED = "the platform asked to wait"  # stands in the error of a row that does
CHANGES = ("edit", "delete", "mark", "react")  # kinds that need a message that is there
TAKEN_BACK = "taken back"  # cause: the machine has shown words that no longer hold
IT: BindParameter[int] = bindparam("it")  # a row's id
_OF: BindParameter[int] = bindparam("of")  # a lane's
_MARK = Ready(update(outbox).where(outbox.c.id == IT))
_THREAD = Ready(select(staff_thread).where(staff_thread.c.id == IT))
WITH_PERSON = select(
    outbox,
    *(conversation.c[name] for name in ("platform", "bot", "chat", "thread")),
    *(conversation.c[name] for name in ("private", "owner", "unreachable")),
).outerjoin(conversation, conversation.c.id == outbox.c.conversation_id)
_IS_DRAWING = outbox.c.kind == literal_column("'redraw'")
_LANE: Mapping[str, tuple[ColumnElement[bool], ...]] = {
    "person": (outbox.c.conversation_id == _OF, outbox.c.staff_thread_id.is_(None), IS_OPEN),
    "staff": (outbox.c.staff_thread_id == _OF, ~_IS_DRAWING, IS_OPEN),
    "card": (outbox.c.staff_thread_id == _OF, _IS_DRAWING, IS_OPEN),
}
_NEXT = {
    which: Ready(WITH_PERSON.where(*lane).order_by(outbox.c.id).limit(1))
    for which, lane in _LANE.items()
}
MORE = {which: Ready(select(outbox.c.id).where(*lane).limit(1)) for which, lane in _LANE.items()}
End = Literal["uncertain", "failed", "held"]  # may have arrived; never will; kept back


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """One post to be written into the outbox."""

    kind: PostKind
    text: str  # Markdown where it is Marked
    cause_kind: str  # inbox | case_event | staff_post | aside | mark | timer | taken back | ...
    cause_id: int
    part: int = 0
    buttons: tuple[Button, ...] = ()
    reply_to: str = ""
    answers: int | None = None  # a history line: answers its copy on the side this post goes to
    bot_text: bool = False
    staff_thread_id: int | None = None
    history_id: int | None = None
    message_id: str = ""  # set: that message is changed
    media: tuple[Mapping[str, Any], ...] = ()
    album: str = ""
    case_state: str = ""
    whisper: str = ""
    not_before: float = 0.0
    nonce: str = ""  # that of the post whose message it looks for; empty: one of its own
    sought_since: float | None = None  # with that nonce: when that post may have gone out


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
    album: tuple[int, ...] = ()  # the further rows that leave in the same post
    doubtful: bool = False  # an earlier try may have arrived
    about: Mapping[str, int] = field(default_factory=dict)  # the ids of what it is about


def enqueue(
    connection: Connection, conversation_id: int | None, posts: Sequence[Outgoing], now: float
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
                "target": post.staff_thread_id or 0,
                "kind": post.kind,
                "part": post.part,
                "text": post.text,
                "buttons": [[b.label, b.data] for b in post.buttons],
                "reply_to": post.reply_to,
                "answers": post.answers,
                "media": [dict(one) for one in post.media] or None,
                "album": post.album,
                "case_state": post.case_state,
                "whisper": post.whisper,
                "formatted": isinstance(post.text, Marked),
                "bot_text": post.bot_text,
                "state": "queued",
                "nonce": post.nonce or new_nonce(),
                "queued_at": now,
                "first_try_at": post.sought_since,
                "retry_at": post.not_before or (now + ALBUM if post.album else 0.0),
                "touched_at": now,
            },
        )
        lanes.append(lane_of(conversation_id, post.staff_thread_id, post.kind))
    return list(dict.fromkeys(lanes))


def lane_of(conversation_id: int | None, staff_thread_id: int | None, kind: str) -> Lane:
    """Return the lane that a row belongs to."""
    if staff_thread_id is None:
        return ("person", conversation_id or 0)
    return ("card" if kind == "redraw" else "staff", staff_thread_id)


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
            return _until_due(connection, row, now)
        target = target_of(connection, row)
        if target is None:
            mark(connection, row.id, now, state="withdrawn", error="nothing to change")
            continue
        if row.kind == "redraw" and not target.message_id:
            return 1.0  # its card is still on its way
        return _claimed(connection, lane, row, target, now)
    return None


def _until_due(connection: Connection, row: Any, now: float) -> float:  # noqa: ANN401
    """Return the seconds until a row may go. A clock that was put back makes nobody wait longer."""
    if row.touched_at <= now + AHEAD:
        return float(row.retry_at - now)
    wait = max(0.0, float(row.retry_at - row.touched_at))
    mark(connection, row.id, now, retry_at=now + wait, first_try_at=_first_try(row, now))
    return wait


def _first_try(row: Any, now: float) -> float | None:  # noqa: ANN401
    """Return when a row was tried first, by the present clock: no later than now."""
    if row.first_try_at is None or row.first_try_at <= now:
        return cast("float | None", row.first_try_at)
    return now - max(0.0, float(row.touched_at - row.first_try_at))


def _claimed(connection: Connection, lane: Lane, row: Any, target: Target, now: float) -> Claim:  # noqa: ANN401
    tried = _first_try(row, now)
    first = now if tried is None else tried
    mark(connection, row.id, now, state="sending", tries=row.tries + 1, first_try_at=first)
    rest = _rest_of_album(connection, lane, row) if row.album else []
    for one in rest:
        mark(connection, one.id, now, state="sending", tries=one.tries + 1, first_try_at=first)
    media = tuple(Media(**each) for one in (row, *rest) for each in one.media or ())
    return Claim(
        lane=lane,
        post=post_of(row, target, now, media),
        album=tuple(one.id for one in rest),
        doubtful=row.error.startswith(DOUBT),
        about=_about(row),
    )


def _about(row: Any) -> dict[str, int]:  # noqa: ANN401 - an outbox row
    """Return the ids of the message and the conversation that a post is about, as far as known."""
    ids = {} if row.conversation_id is None else {"conversation": int(row.conversation_id)}
    if row.cause_kind in ("inbox", "aside"):
        ids["inbox"] = int(row.cause_id)
    return ids


def _rest_of_album(connection: Connection, lane: Lane, row: Any) -> Sequence[Any]:  # noqa: ANN401
    """Return the other rows of a row's album that wait in its lane, in order."""
    which, owner_id = lane
    mine = _LANE[which]
    query = select(outbox).where(
        *mine, outbox.c.album == row.album, outbox.c.state == "queued", outbox.c.id > row.id
    )
    return connection.execute(query.order_by(outbox.c.id), {"of": owner_id}).all()


def _may_leave(row: Any) -> str:  # noqa: ANN401 - a row and its person
    """Decide by the facts of this very transaction whether a row may go: its next state."""
    if row.bot_text and row.owner != "bot":
        return "withdrawn"
    if row.staff_thread_id is None and row.unreachable and not row.error.startswith(DOUBT):
        return "held"  # but for what may have arrived: that must not come when they are back
    return "queued"


def post_of(row: Any, target: Target, now: float, media: tuple[Media, ...] = ()) -> Post:  # noqa: ANN401
    """Return a row (joined with its person) as its adapter sees it."""
    first = _first_try(row, now)
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
        private=row.staff_thread_id is None and bool(row.private),
        age=0.0 if first is None else now - first,
        media=media,
        formatted=bool(row.formatted),
        state=row.case_state,
        pin=row.kind == "card",
        whisper=row.whisper,
        seeks=row.cause_kind == TAKEN_BACK and not target.message_id,
    )


def target_of(connection: Connection, row: Any) -> Target | None:  # noqa: ANN401
    """Return where a row goes; None: what it was to change is not there."""
    if row.staff_thread_id is None:
        place = place_of(row)
        found = row.message_id or _changed(connection, row, "person", place)
        if row.kind in CHANGES and not (found or row.cause_kind == TAKEN_BACK):
            return None
        answers = row.reply_to or _answered(connection, row, "person", place)
        return Target(place, found, answers)
    thread = thread_of(connection, row.staff_thread_id)
    place = place_of(thread)
    found = row.message_id or _changed(connection, row, "staff", place)
    if row.kind == "redraw":
        found = found or thread.card_message_id
        if not found and not _card_comes(connection, thread.id):
            return None
    elif row.kind == "thread" and row.part and not row.message_id:
        if not thread.thread:
            return None
        found = thread.thread
    elif row.kind in CHANGES and not found:
        return None
    # Without a thread of its own a case lives in the desk's chat as replies to its card.
    anchor = thread.card_message_id if thread.status == "fallback" else ""
    answers = row.reply_to or _answered(connection, row, "staff", place) or anchor
    return Target(place, found, answers)


def thread_of(connection: Connection, thread_id: int) -> Any:  # noqa: ANN401 - its row
    """Return a thread of staff's."""
    return connection.execute(_THREAD, {"it": thread_id}).one()


def _card_comes(connection: Connection, thread: int) -> bool:
    card = select(outbox.c.id).where(
        outbox.c.staff_thread_id == thread, outbox.c.kind == "card", IS_OPEN
    )
    return connection.execute(card).first() is not None


def _changed(connection: Connection, row: Any, side: pairs.Side, place: Place) -> str:  # noqa: ANN401
    """Return the message that a change of a history line is about, by its part."""
    if row.history_id is None or row.kind not in CHANGES:
        return ""
    if row.kind in ("mark", "react"):
        return pairs.shown_as(connection, row.history_id, side, place)
    shown = pairs.copies(connection, row.history_id, side, place)
    return shown[row.part] if row.part < len(shown) else ""


def _answered(connection: Connection, row: Any, side: pairs.Side, place: Place) -> str:  # noqa: ANN401
    if row.answers is None:
        return ""
    return pairs.shown_as(connection, row.answers, side, place)


def mark(connection: Connection, row_id: int, now: float, **values: Any) -> None:  # noqa: ANN401
    """Write columns of one row."""
    connection.execute(_MARK, {"it": row_id, "touched_at": now, **values})
