"""How many answers were given: counted from the rows that carried them, so a restart loses none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import bindparam, case as when, func, literal_column, select

from core.allowance import MINUTE, Allowance, Spent
from core.cells import plain
from core.message import ConversationKey, Place
from core.store.connection import Connection, Ready
from core.tables import conversation, history, outbox

# Spelled out as in the partial indexes. One row a reply; what is still being written is none yet.
_IS_ANSWER = (
    outbox.c.kind == literal_column("'reply'"),
    outbox.c.part == literal_column("0"),
    outbox.c.state != literal_column("'streaming'"),
)
_SINCE = outbox.c.queued_at >= bindparam("since")
_HERE = tuple(conversation.c[name] == bindparam(name) for name in ("platform", "bot", "chat"))
_COUNTED: Any = select(func.count().label("n"))
_BOTH: Any = select(
    func.count().label("day"),
    func.sum(when((outbox.c.queued_at >= bindparam("minute"), 1), else_=0)).label("minute"),
)
_USER = Ready(
    _BOTH.where(
        outbox.c.conversation_id.in_(
            select(conversation.c.id).where(
                conversation.c.user == bindparam("user"),
                *(conversation.c[name] == bindparam(name) for name in ("platform", "bot")),
            )
        ),
        *_IS_ANSWER,
        _SINCE,
    )
)
_CHAT = Ready(
    _COUNTED.select_from(
        outbox.join(conversation, conversation.c.id == outbox.c.conversation_id)
    ).where(*_HERE, *_IS_ANSWER, _SINCE)
)
_ALL = Ready(_COUNTED.where(*_IS_ANSWER, _SINCE))


def spent(
    connection: Connection, key: ConversationKey, allowance: Allowance, now: float, *, private: bool
) -> Spent:
    """Count what one person, their group and everybody had so far."""
    began, minute = allowance.began(now), now - MINUTE
    who = {"platform": key.platform, "bot": key.bot, "user": key.user}
    since = {"since": min(began, minute), "minute": minute}
    user = connection.execute(_USER, {**who, **since}).one()
    group = {"platform": key.platform, "bot": key.bot, "chat": key.chat, "since": minute}
    return Spent(
        user_minute=int(user.minute or 0),
        user_day=int(user.day),
        chat_minute=0 if private else int(connection.execute(_CHAT, group).scalar_one()),
        day=int(connection.execute(_ALL, {"since": began}).scalar_one())
        if allowance.per_day
        else 0,
    )


def said_in(connection: Connection, place: Place, words: Collection[str], since: float) -> bool:
    """Say whether the bot has said one of these texts in a chat, to anybody, since a time."""
    query = (
        select(history.c.id)
        .join(conversation, conversation.c.id == history.c.conversation_id)
        .where(
            history.c.at >= since,
            history.c.role == "bot",
            plain(history.c.text).in_(list(words)),
            conversation.c.platform == place.platform,
            conversation.c.bot == place.bot,
            conversation.c.chat == place.chat,
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None
