"""Which platform message shows which line of the history: the links between the two sides.

Every link is found by its key, at any age: nothing is searched for in a chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import delete, select, update

from core.cells import plain
from core.message import ConversationKey, Message, Place
from core.store.connection import Connection
from core.store.rows import insert_once, message_from_row
from core.tables import case, conversation, history, inbox, pair

Side = Literal["staff", "person"]


def link(  # noqa: PLR0913 - one row, by name
    connection: Connection,
    case_id: int,
    history_id: int | None,
    place: Place,
    message_id: str,
    *,
    side: Side,
    original: bool = False,
) -> None:
    """Remember that a message shows a line; once for each message."""
    if not message_id:
        return
    insert_once(
        connection,
        pair,
        {
            "case_id": case_id,
            "history_id": history_id,
            "side": side,
            "original": original,
            "platform": place.platform,
            "bot": place.bot,
            "chat": place.chat,
            "message_id": message_id,
        },
    )


def unlink(connection: Connection, history_id: int, message_id: str) -> None:
    """Forget a copy that was deleted: a later change of its line goes past it."""
    connection.execute(
        delete(pair).where(
            pair.c.history_id == history_id,
            pair.c.message_id == message_id,
            pair.c.original.is_(False),
        )
    )


def find(connection: Connection, place: Place, message_id: str) -> Any | None:  # noqa: ANN401
    """Return the link of a platform message: case_id, history_id, side, original; or None."""
    return connection.execute(
        select(pair).where(
            pair.c.platform == place.platform,
            pair.c.bot == place.bot,
            pair.c.chat == place.chat,
            pair.c.message_id == message_id,
        )
    ).first()


def copies(
    connection: Connection, history_id: int, side: Side, place: Place | None = None
) -> Sequence[str]:
    """Return the messages that show a line on one side (in one place), without the original."""
    query = select(pair.c.message_id).where(
        pair.c.history_id == history_id, pair.c.side == side, pair.c.original.is_(False)
    )
    return [row.message_id for row in connection.execute(_in(query, place).order_by(pair.c.id))]


def shown_as(connection: Connection, history_id: int, side: Side, place: Place) -> str:
    """Return the message of one side that shows a line best: its original, else its first copy."""
    query = (
        select(pair.c.message_id)
        .where(pair.c.history_id == history_id, pair.c.side == side)
        .order_by(pair.c.original.desc(), pair.c.id)
    )
    found = connection.execute(_in(query, place)).scalar()
    if found is None and side == "person":
        found = connection.execute(
            select(history.c.message_id).where(history.c.id == history_id)
        ).scalar()
    return str(found or "")


def _in(query: Any, place: Place | None) -> Any:  # noqa: ANN401 - a select
    if place is None:
        return query
    return query.where(
        pair.c.platform == place.platform,
        pair.c.bot == place.bot,
        pair.c.chat == place.chat,
    )


def line_of(
    connection: Connection, conversation_id: int, place: Place, message_id: str
) -> int | None:
    """Return the history line that a message in a person's own chat shows, or None."""
    linked = find(connection, place, message_id)
    if linked is not None:
        return int(linked.history_id) if linked.history_id is not None else None
    found = connection.execute(
        select(history.c.id).where(
            history.c.conversation_id == conversation_id, history.c.message_id == message_id
        )
    ).scalar()
    return None if found is None else int(found)


def last_answer(connection: Connection, case_id: int, who: str) -> int | None:
    """Return the last line that a member of staff said to the person of a case."""
    found = connection.execute(
        select(history.c.id)
        .where(
            history.c.case_id == case_id,
            history.c.role == "staff",
            plain(history.c.name) == who,
            history.c.deleted.is_(False),
        )
        .order_by(history.c.id.desc())
    ).scalar()
    return None if found is None else int(found)


def conversation_named(connection: Connection, name: str) -> int | None:
    """Return the one conversation that `#case`, `platform:user`, `@name` or a name means."""
    name = name.strip().removeprefix("@")
    if name.startswith("#") and name[1:].isdecimal():
        query = select(case.c.conversation_id).where(case.c.id == int(name[1:]))
        found = connection.execute(query).scalar()
        return None if found is None else int(found)
    platform, _, user = name.partition(":")
    exact = (conversation.c.platform == platform) & (conversation.c.user == user)
    named = exact if user else plain(conversation.c.name) == name
    rows = connection.execute(
        select(conversation.c.id).where(
            named, conversation.c.private, conversation.c.forgotten.is_(False)
        )
    ).all()
    return int(rows[0].id) if len(rows) == 1 else None


def line(connection: Connection, history_id: int) -> Any | None:  # noqa: ANN401 - a row
    """Return a line of the history, or None."""
    return connection.execute(select(history).where(history.c.id == history_id)).first()


def rename(connection: Connection, history_id: int, role: str) -> None:
    """Make a line something else: what was held back becomes a note."""
    connection.execute(update(history).where(history.c.id == history_id).values(role=role))


def rewrite(connection: Connection, history_id: int, text: str) -> None:
    """Write another text over a line that only staff see; an empty one deletes it."""
    was = select(history.c.text).where(history.c.id == history_id)
    before = connection.execute(was).scalar_one()
    values = {"text": text, "was": before if text else "", "deleted": not text}
    connection.execute(update(history).where(history.c.id == history_id).values(**values))


def origin(connection: Connection, history_id: int) -> Any | None:  # noqa: ANN401 - a row
    """Return the link to the message in which staff wrote a line, or None."""
    return connection.execute(
        select(pair).where(pair.c.history_id == history_id, pair.c.original.is_(True))
    ).first()


def written(connection: Connection, line: Any) -> Message | None:  # noqa: ANN401 - a row
    """Return the message in which staff wrote what a line says now, or None."""
    begun = origin(connection, line.id)
    if begun is None:
        return None
    query = select(inbox.c.message).where(
        inbox.c.platform == begun.platform,
        inbox.c.bot == begun.bot,
        inbox.c.chat == begun.chat,
        inbox.c.message_id == begun.message_id,
        inbox.c.kind.in_(("said", "edited")),
    )
    rows = connection.execute(query.order_by(inbox.c.id.desc()))
    said = (message_from_row(row.message) for row in rows)
    return next((one for one in said if one.text.strip() == line.text.strip()), None)


def find_line(connection: Connection, history_id: int) -> Any:  # noqa: ANN401 - a row
    """Return one link of a line that staff see: what staff react to is meant for the person."""
    return connection.execute(
        select(pair).where(pair.c.history_id == history_id, pair.c.side == "staff")
    ).first()


def goes_on(connection: Connection, conversation_id: int, who: str) -> bool:
    """Say whether the last thing the person was told was said by the same member of staff."""
    last = connection.execute(
        select(history.c.role, history.c.name)
        .where(
            history.c.conversation_id == conversation_id,
            history.c.role.in_(("bot", "staff")),
        )
        .order_by(history.c.id.desc())
        .limit(1)
    ).first()
    return last is not None and last.role == "staff" and last.name == who


def conversation_of(connection: Connection, key: ConversationKey) -> int | None:
    """Return the conversation of one person in one place, or None."""
    found = connection.execute(
        select(conversation.c.id).where(
            conversation.c.platform == key.platform,
            conversation.c.bot == key.bot,
            conversation.c.chat == key.chat,
            conversation.c.thread == key.thread,
            conversation.c.user == key.user,
            conversation.c.forgotten.is_(False),
        )
    ).scalar()
    return None if found is None else int(found)
