"""Where a case lives in staff's chats: its threads, their cards, and what becomes of lost ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, update

from core.message import Button, Place, PostKind
from core.store.connection import Connection, Ready
from core.store.outbox import DOUBT, Outgoing
from core.store.rows import insert_id
from core.tables import case, outbox, staff_thread

if TYPE_CHECKING:
    from core.store.desk import Card

REDRAW = 3.0  # seconds between two drawings of one card: edits count as sends
YOURS = "conversation-"  # names of files for the person begin so
PICTURE = "mood.png"
DRAWN = "heed"  # the "platform" of files that Heed makes itself
_OF_CASE = Ready(
    select(staff_thread)
    .where(staff_thread.c.case_id == bindparam("of"), staff_thread.c.status != "lost")
    .order_by(staff_thread.c.id)
)


def of_case(connection: Connection, case_id: int) -> list[int]:
    """Return the ids of a case's threads, as rows of staff_thread."""
    return [int(row.id) for row in rows_of_case(connection, case_id)]


def rows_of_case(connection: Connection, case_id: int) -> Sequence[Any]:
    """Return the rows of a case's threads; those of a desk that is lost are none."""
    return connection.execute(_OF_CASE, {"of": case_id}).all()


def to_staff(
    thread: int | None,
    cause: int,
    kind: PostKind,
    words: str,
    buttons: tuple[Button, ...] = (),
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


def holds_picture(platform: str) -> bool:
    """Say whether a card and its picture are one post there; elsewhere the picture has its own."""
    return platform == "discord"


def new_thread(  # noqa: PLR0913 - all of it is what a case's place begins with
    connection: Connection,
    case_id: int,
    place: Place,
    card: Card,
    cause: int,
    state: str,
    *,
    picture: bool = False,
) -> list[Outgoing]:
    """Make a case's place a row, and return the posts that make it real: thread and card.

    `picture`: the mood's picture hangs on the card, where a card can hold it.
    """
    thread = insert_id(
        connection,
        staff_thread,
        case_id=case_id,
        platform=place.platform,
        bot=place.bot,
        chat=place.chat,
        made=1,
    )
    return [
        Outgoing(
            kind="thread",
            text=card.title,
            cause_kind="case_event",
            cause_id=cause,
            staff_thread_id=thread,
            case_state=state,
        ),
        Outgoing(
            kind="card",
            text=card.text,
            buttons=card.buttons,
            cause_kind="case_event",
            cause_id=cause,
            staff_thread_id=thread,
            case_state=state,
            media=on_card(case_id, place.platform, picture=picture),
        ),
    ]


def on_card(case_id: int, platform: str, *, picture: bool) -> tuple[dict[str, Any], ...]:
    """Return the picture that hangs on a card; none where it stands by itself."""
    return (drawing(case_id, PICTURE, "photo"),) if picture and holds_picture(platform) else ()


def picture(thread: int | None, cause: int, case_id: int) -> Outgoing:
    """Return the post with the picture of a person's mood, drawn when it is sent."""
    return Outgoing(
        kind="picture",
        text="",
        cause_kind="case_event",
        cause_id=cause,
        staff_thread_id=thread,
        media=(drawing(case_id, PICTURE, "photo"),),
    )


def transcript(thread: int | None, cause: int, case_id: int) -> Outgoing:
    """Return the post with the whole story of a case, written when it is sent."""
    files = (
        drawing(case_id, f"case-{case_id}.html", "file"),
        drawing(case_id, f"case-{case_id}.json", "file"),
    )
    return Outgoing(
        kind="transcript",
        text=f"#{case_id}",
        cause_kind="case_event",
        cause_id=cause,
        staff_thread_id=thread,
        media=files,
    )


def story(cause: int, case_id: int) -> Outgoing:
    """Return the post that gives a person the story of their case, without notes."""
    return Outgoing(
        kind="transcript",
        text=f"#{case_id}",
        cause_kind="case_event",
        cause_id=cause,
        media=(drawing(case_id, f"{YOURS}{case_id}.html", "file"),),
    )


def drawing(case_id: int, name: str, kind: str) -> dict[str, Any]:
    """Return a file that Heed makes of a case, as a row of `outbox.media`."""
    return {
        "platform": DRAWN,
        "bot": "",
        "chat": "",
        "message_id": "",
        "kind": kind,
        "file_id": str(case_id),
        "name": name,
        "size": 0,
    }


def redrawn(  # noqa: PLR0913 - all of it is what a drawing needs
    connection: Connection,
    thread: Any,  # noqa: ANN401 - a row
    card: Card,
    cause: int,
    state: str,
    now: float,
    *,
    picture: bool = False,
) -> list[Outgoing]:
    """Return the posts that bring a thread's card, and its icon, up to date.

    A card that has not left yet is drawn anew where it stands. Older drawings that wait are
    dropped, so that a burst of changes costs one edit.
    """
    posts: list[Outgoing] = []
    if not _drawn_in_place(connection, thread.id, card, state):
        connection.execute(
            update(outbox)
            .where(
                outbox.c.staff_thread_id == thread.id,
                outbox.c.kind == "redraw",
                outbox.c.state == "queued",
            )
            .values(state="withdrawn", touched_at=now, error="drawn again")
        )
        posts.append(
            Outgoing(
                kind="redraw",
                text=card.text,
                buttons=card.buttons,
                cause_kind="case_event",
                cause_id=cause,
                staff_thread_id=thread.id,
                case_state=state,
                media=on_card(thread.case_id, thread.platform, picture=picture),
                not_before=min(thread.drawn_at, now) + REDRAW,  # the clock may have been put back
            )
        )
    if _shown_state(connection, thread.id) != state:
        posts.append(
            Outgoing(
                kind="thread",
                text="",
                cause_kind="case_event",
                cause_id=cause,
                staff_thread_id=thread.id,
                case_state=state,
                part=1,
            )
        )
    return posts


def _drawn_in_place(connection: Connection, thread: int, card: Card, state: str) -> bool:
    """Draw a card anew that has certainly not left; one in doubt may stand there as it was."""
    fresh = {"text": card.text, "buttons": [[b.label, b.data] for b in card.buttons]}
    drawn = connection.execute(
        update(outbox)
        .where(
            outbox.c.staff_thread_id == thread,
            outbox.c.kind == "card",
            outbox.c.state == "queued",
            ~outbox.c.error.startswith(DOUBT),
        )
        .values(**fresh, case_state=state)  # what it waits for, and since when, stays as it is
    )
    return bool(drawn.rowcount)


def _shown_state(connection: Connection, thread: int) -> str:
    """Return the state that a thread shows, or will when what waits has left."""
    found = connection.execute(
        select(outbox.c.case_state)
        .where(
            outbox.c.staff_thread_id == thread,
            outbox.c.kind == "thread",
            outbox.c.case_state != "",
            outbox.c.state.in_(("queued", "sending", "sent")),
        )
        .order_by(outbox.c.id.desc())
    ).scalar()
    return str(found or "")


def case_at(connection: Connection, place: Place) -> int | None:
    """Return the case that has its thread in `place`."""
    if not place.thread:
        return None
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
    return None if found is None else int(found)


def case_of(connection: Connection, place: Place, holder: str) -> int | None:
    """Return the only case that `holder` has in a chat without threads; None: none, or several."""
    found = connection.execute(
        select(case.c.id)
        .join(staff_thread, staff_thread.c.case_id == case.c.id)
        .where(
            staff_thread.c.platform == place.platform,
            staff_thread.c.bot == place.bot,
            staff_thread.c.chat == place.chat,
            staff_thread.c.thread == place.thread,
            case.c.holder == holder,
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


def board(connection: Connection, place: Place) -> int:
    """Return the row of a desk's own chat, where digests and incidents go."""
    found = connection.execute(
        select(staff_thread.c.id).where(
            staff_thread.c.case_id.is_(None),
            staff_thread.c.platform == place.platform,
            staff_thread.c.bot == place.bot,
            staff_thread.c.chat == place.chat,
        )
    ).scalar()
    if found is not None:
        return int(found)
    return insert_id(
        connection,
        staff_thread,
        platform=place.platform,
        bot=place.bot,
        chat=place.chat,
        status="ready",
    )
