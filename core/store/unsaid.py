"""What somebody deleted: their words leave every row that quotes them; numbers stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import null, select, update

from core.cells import plain
from core.message import ConversationKey
from core.store.connection import Connection
from core.store.rows import key_of
from core.tables import conversation, decision, history, inbox

_QUOTES = ("prompt", "messages")  # how the names of what may quote a whole conversation begin


def unsay(connection: Connection, conversation_id: int, message_id: str) -> None:
    """Take one message of a person's out of the history, the inbox and what was noted of it."""
    mine = inbox.c.conversation_id == conversation_id, inbox.c.message_id == message_id
    rows = connection.execute(
        select(inbox.c.id, inbox.c.kind).where(*mine, inbox.c.kind.in_(("said", "edited")))
    ).all()
    ids = [row.id for row in rows]
    line = connection.execute(
        select(history.c.id, history.c.text, history.c.was, history.c.at).where(
            history.c.conversation_id == conversation_id,
            history.c.role == "user",
            history.c.message_id == message_id,
        )
    ).first()
    if line is not None:
        connection.execute(
            update(history)
            .where(history.c.id == line.id)
            .values(text="", was="", files=null(), deleted=True)
        )
        quoted = [words.strip() for words in (line.text, line.was) if words.strip()]
        _unquote(connection, conversation_id, quoted, line.at)
    for row_id in ids:
        connection.execute(
            update(inbox)
            .where(inbox.c.id == row_id, inbox.c.state != "waiting")
            .values(message={}, raw="", error="")
        )
    _unnote(connection, ids)


def unquote(connection: Connection, conversation_id: int) -> None:
    """Take all that a person and the machine said in a group out of the prompts of others there."""
    home = connection.execute(
        select(conversation.c.private).where(conversation.c.id == conversation_id)
    ).one()
    if home.private:
        return
    lines = connection.execute(
        select(history.c.text, history.c.was, history.c.at).where(
            history.c.conversation_id == conversation_id,
            history.c.text != "",
            (history.c.role == "user") | ((history.c.role == "bot") & (history.c.model != "")),
        )
    ).all()
    quoted = {words.strip() for line in lines for words in (line.text, line.was)} - {""}
    if quoted:
        _unquote(connection, conversation_id, sorted(quoted), min(line.at for line in lines))


def _unnote(connection: Connection, ids: Sequence[int]) -> None:
    """Keep the numbers of what was decided on these rows, without the words they quote."""
    rows = connection.execute(
        select(decision.c.id, decision.c.trace, decision.c.made).where(decision.c.inbox_id.in_(ids))
    ).all()
    for row in rows:
        trace = [{name: v for name, v in one.items() if name != "note"} for one in row.trace]
        made = None if row.made is None else _without(row.made, None)
        values = {"trace": trace, "why": "", "made": null() if made is None else made}
        connection.execute(update(decision).where(decision.c.id == row.id).values(**values))


def _unquote(
    connection: Connection, conversation_id: int, words: Sequence[str], since: float
) -> None:
    """Take words out of the prompts of later replies, in this chat: they were read as history."""
    here = select(conversation).where(conversation.c.id == conversation_id)
    home = connection.execute(here).one()
    chat = [conversation.c[n] == getattr(home, n) for n in ("platform", "bot", "chat")]
    rows = connection.execute(
        select(decision.c.id, decision.c.made).where(
            decision.c.at >= since,
            decision.c.conversation_id.in_(select(conversation.c.id).where(*chat)),
            plain(decision.c.made).like('%"%'),
        )
    ).all()
    for row in rows:
        made = _without(row.made, words)
        if made != row.made:
            connection.execute(update(decision).where(decision.c.id == row.id).values(made=made))


def _without(made: Any, words: Sequence[str] | None, name: str = "") -> Any:  # noqa: ANN401 - JSON
    """Return what is kept of how something was made, without any quotation of `words`.

    None: without any quotation at all. Numbers always stay.
    """
    if isinstance(made, Mapping):
        return {key: _without(value, words, str(key)) for key, value in made.items()}
    if isinstance(made, list):
        return [_without(value, words, name) for value in made]
    if not isinstance(made, str):
        return made
    quotes = name.startswith(_QUOTES) or (name in ("role", "content") and words is None)
    if words is None:
        return "" if quotes else made
    return "" if any(one in made for one in words) else made


def neighbours(connection: Connection, key: ConversationKey) -> list[ConversationKey]:
    """Return everybody who has spoken in a chat: these words may stand in their prompts."""
    rows = connection.execute(
        select(conversation).where(
            *(conversation.c[name] == getattr(key, name) for name in ("platform", "bot", "chat"))
        )
    )
    return [key_of(row) for row in rows]
