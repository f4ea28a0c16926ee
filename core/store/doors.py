"""At the door: what is let in, inside the transaction that stores it.

The lists (core.access) say who is served; the database knows whom they never shut out: staff, and
whoever somebody is helping already. What is not let in leaves no row in a group, and in a direct
chat a row without words, so that its writer is told. Here too a correction reaches a message that
nobody has answered yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import insert, select, update

from core.access import Access
from core.message import Arrival, ConversationKey, Message, Place
from core.ports import desk_message
from core.store import feedback, pairs, people
from core.store.connection import Connection
from core.store.record import IS_UNRESOLVED
from core.store.rows import fields, key_of, message_from_row, message_to_row
from core.tables import audit, case, conversation, inbox, outbox

SHUT = "shut"  # stands as urgency on a row whose writer is not let in: nothing of it was kept
GRAVE = ("crisis", "request")  # what an administrator is a person for, too
_OVER = {"state": "done", "message": {}, "raw": "", "urgent": "", "error": ""}


@dataclass(frozen=True, kw_only=True)
class Doors:
    """What is let in. `desks` are the chats of staff: whatever is said there is."""

    access: Access
    desks: Sequence[Place]

    def admit(
        self, connection: Connection, arrival: Arrival, urgent: str, now: float
    ) -> tuple[Arrival, str] | None:
        """Return what is to be stored of an arrival, and its urgency; None: nothing is."""
        message = arrival.message
        if message is None or desk_message(message, self.desks):
            return arrival, urgent
        if message.kind == "deleted":
            known = _withdrawn(connection, message, now)
            return None if known is None else (replace(arrival, message=known), urgent)
        if _is_none_of_ours(connection, message, urgent):
            return None
        if urgent != "crisis":
            lets = self.access.lets(message)
            needless = _among_admins(message, urgent)
            excused = (lets and not needless) or _excused(connection, message.key)
            if not excused and (needless or not message.private):
                return None
            if not excused:
                return _without_words(arrival, message)
        if message.kind == "edited":
            _amend(connection, message, urgent, now)
        return arrival, urgent


def _ours(connection: Connection, message: Message) -> bool:
    """Say whether a reaction in a group is to a reply of the bot's, or to what staff see too."""
    place = message.key.place
    shown = pairs.find(connection, replace(place, thread=""), message.message_id)
    return shown is not None or feedback.reply_at(connection, place, message.message_id) is not None


def _is_none_of_ours(connection: Connection, message: Message, urgent: str) -> bool:
    """Say whether something said or done among others leaves no row."""
    if message.kind == "reacted":
        return not (message.private or _ours(connection, message))
    return urgent not in GRAVE and _wants_no_ear(connection, message)


def _wants_no_ear(connection: Connection, message: Message) -> bool:
    """Say whether somebody who wants to be left unread talks to others in a group."""
    if message.private or message.addressed or message.kind not in ("said", "edited"):
        return False
    key = message.key
    unread = people.opted_out(connection, key.platform, key.user) is not None
    return unread and not _excused(connection, key)


def _among_admins(message: Message, urgent: str) -> bool:
    """Say whether an administrator talks to others: that is theirs, and no mood of anybody."""
    spoken = message.kind in ("said", "edited", "reacted") and message.author.admin
    return spoken and not (message.private or message.addressed or urgent in GRAVE)


def _excused(connection: Connection, key: ConversationKey) -> bool:
    """Say whether somebody is heard whatever the lists say: staff, and whoever has a case."""
    if people.is_colleague(connection, key.platform, key.user):
        return True
    query = (
        select(case.c.id)
        .join(conversation, conversation.c.id == case.c.conversation_id)
        .where(*(conversation.c[name] == value for name, value in fields(key).items()))
        .where(IS_UNRESOLVED)
    )
    return connection.execute(query).first() is not None


def _without_words(arrival: Arrival, message: Message) -> tuple[Arrival, str] | None:
    if message.kind not in ("said", "command", "pressed"):
        return None  # nobody waits for an answer to the rest
    bare = Message(
        key=message.key,
        message_id=message.message_id,
        author=message.author,
        sent_at=message.sent_at,
        event_id=message.event_id,
        order=message.order,
    )
    return replace(arrival, message=bare, raw=""), SHUT


# --- what somebody changes in words that nobody has answered yet ----------------------------------


def _amend(connection: Connection, message: Message, urgent: str, now: float) -> None:
    """Let a message that still waits say what it says now."""
    row = _kept(connection, message)
    if row is None or row.state != "waiting" or row.kind != "said":
        return
    before = message_from_row(row.message)
    if before.key != message.key:
        return
    after = replace(
        before,
        text=message.text,
        formatted=message.formatted,
        attachments=message.attachments,
        addressed=before.addressed or message.addressed,
    )
    values = {"message": message_to_row(after), "urgent": urgent or row.urgent, "touched_at": now}
    waits = (inbox.c.id == row.id, inbox.c.state == "waiting")
    connection.execute(update(inbox).where(*waits).values(**values))


def _withdrawn(connection: Connection, message: Message, now: float) -> Message | None:
    """Return the deletion as its writer's own, None: of nothing that is known here.

    A message that still waits is not answered any more, unless its answer begins to show.
    """
    row = _kept(connection, message)
    if row is None or (message.key.user and message.key.user != row.user):
        return None
    shows = select(outbox.c.id).where(
        outbox.c.cause_kind == "inbox", outbox.c.cause_id == row.id, outbox.c.state == "streaming"
    )
    if row.state == "waiting" and connection.execute(shows).first() is None:
        connection.execute(
            update(inbox).where(inbox.c.id == row.id).values(**_OVER, touched_at=now)
        )
    author = replace(message.author, id=row.user)
    return replace(message, key=key_of(row), author=author, private=bool(row.private))


def _kept(connection: Connection, message: Message) -> Any | None:  # noqa: ANN401 - a joined row
    """Return the row of the message that an edit or a deletion is about, with its person."""
    return connection.execute(
        select(
            *(inbox.c[name] for name in ("id", "state", "kind", "message", "urgent")),
            *(conversation.c[name] for name in ("platform", "bot", "chat", "thread", "user")),
            conversation.c.private,
        )
        .join(conversation, conversation.c.id == inbox.c.conversation_id)
        .where(
            inbox.c.platform == message.key.platform,
            inbox.c.bot == message.key.bot,
            inbox.c.chat == message.key.chat,
            inbox.c.message_id == message.message_id,
            inbox.c.event == "",
        )
    ).first()


def once(connection: Connection, what: str, since: float, now: float) -> bool:
    """Say whether this is the first time since then that something of no case is done; note it."""
    found = select(audit.c.id).where(
        audit.c.at >= since, audit.c.what == what, audit.c.case_id.is_(None)
    )
    if connection.execute(found).first() is not None:
        return False
    connection.execute(insert(audit).values(case_id=None, what=what, who="", at=now))
    return True
