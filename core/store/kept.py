"""What is kept of a person, to be handed over to them: all of it, but what staff noted.

Internal notes, answers that staff held back, remarks and drafts are the staff's; what others said
is the others'.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import select

from core.message import ConversationKey
from core.store import feedback, people
from core.store.connection import Connection
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.places import drawing
from core.store.rows import key_of
from core.tables import case, conversation, decision, history, inbox, person, poison

SPOKEN = ("user", "bot", "staff")  # lines of the history that somebody said to somebody
FILES = "your-data"  # how the names of the files begin that a person gets
_PLACE = ("platform", "bot", "chat", "thread", "user", "name", "lang", "private")
_STANDING = ("owner", "mood", "level", "opened_at", "touched_at", "history_since", "blocked_until")
_LINE = (
    "role",
    "text",
    "name",
    "at",
    "scores",
    "model",
    "prompt",
    "was",
    "files",
    "deleted",
    "signed",
)
_JUDGED = ("at", "rule", "why", "opened", "dry", "trace", "scores", "mood", "level", "versions")
_CASE = ("id", "state", "opened_at", "resolved_at", "rule", "why", "helped", "priority")
_WAITS = ("kind", "received_at", "message")


def export(connection: Connection, conversation_id: int) -> dict[str, Any]:
    """Return everything kept of one person in one place, without staff notes, JSON-ready."""

    def rows(table: Any, *columns: str, where: Any = None) -> list[dict[str, Any]]:  # noqa: ANN401
        query = select(*(table.c[name] for name in columns)).where(
            table.c.conversation_id == conversation_id
        )
        query = query if where is None else query.where(where)
        return [dict(row) for row in connection.execute(query.order_by(table.c.id)).mappings()]

    home = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    return {
        "person": {
            **{name: getattr(home, name) for name in (*_PLACE, *_STANDING)},
            **_of_person(connection, key_of(home)),
        },
        "messages": [
            _as_shown(line) for line in rows(history, *_LINE, where=history.c.role.in_(SPOKEN))
        ],
        "unread": rows(inbox, *_WAITS, where=inbox.c.state != "done"),
        "decisions": rows(decision, *_JUDGED),
        "cases": rows(case, *_CASE),
        "feedback": feedback.export(connection, conversation_id),
    }


def _as_shown(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line with its speaker's name as the person has seen it."""
    signed = line.pop("signed")
    return {**line, "name": signed} if line["role"] == "staff" else line


def _of_person(connection: Connection, key: ConversationKey) -> dict[str, Any]:
    """Return what holds for them wherever on the platform they write."""
    row = connection.execute(
        select(person.c.opted_out, person.c.blocked_until).where(
            person.c.platform == key.platform, person.c.bot == key.bot, person.c.user == key.user
        )
    ).first()
    return {
        "opted_out": people.opted_out(connection, key.platform, key.user),
        "blocked_until": None if row is None else row.blocked_until,
        "linked": [_named(connection, *human) for human in people.linked(connection, key)],
        # When, and no more: others' words may stand there, too.
        "unreadable_at": [one.at for one in poisoned(connection, key.platform, key.bot, key.user)],
    }


def _named(connection: Connection, platform: str, bot: str, user: str) -> dict[str, str]:
    """Return a linked account, by the name that its holder has there."""
    name = connection.execute(
        select(conversation.c.name)
        .where(
            conversation.c.platform == platform,
            conversation.c.bot == bot,
            conversation.c.user == user,
            conversation.c.forgotten.is_(False),
        )
        .order_by(conversation.c.touched_at.desc())
    ).scalar()
    return {"platform": platform, "user": user, "name": name or ""}


def poisoned(connection: Connection, platform: str, bot: str, user: str) -> list[Any]:
    """Return the updates (id, at) that could not be read and name this person.

    They need not be JSON, so an id counts wherever it stands as a whole: 42 is neither in 1420, nor
    in -42 (a group's id), nor in 42.5 (a time).
    """
    ways = "|".join(re.escape(way) for way in {user, json.dumps(user)[1:-1]})
    named = re.compile(rf"(?<![\w-])(?<!\d\.)(?:{ways})(?![\w-])(?!\.\d)")
    rows = connection.execute(
        select(poison.c.id, poison.c.at, poison.c.raw).where(
            poison.c.platform == platform, poison.c.bot == bot
        )
    )
    return [row for row in rows if named.search(row.raw)]


def everywhere(connection: Connection, conversation_id: int) -> list[dict[str, Any]]:
    """Return everything kept of whoever a conversation is of, one entry per place."""
    home = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).first()
    if home is None or home.forgotten:
        return []
    found = people.find(connection, home.platform, home.user)
    return [export(connection, one) for one in found]


def hand_over(
    connection: Connection, key: ConversationKey, inbox_id: int, words: str, now: float
) -> list[Lane]:
    """Queue both files for a person's direct chat with this very bot; [] where there is none.

    What stands in them is written when they leave, so nothing is kept twice.
    """
    chat = people.direct_chat(connection, key)
    if chat is None:
        return []
    direct = int(chat.id)
    files = tuple(drawing(direct, f"{FILES}.{kind}", "file") for kind in ("html", "json"))
    post = Outgoing(
        kind="transcript", text=words, cause_kind="inbox", cause_id=inbox_id, media=files
    )
    return enqueue(connection, direct, [post], now)
