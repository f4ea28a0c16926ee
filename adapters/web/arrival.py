"""What was said over the web, normalized: cleaned text, a key, an arrival for core."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from core.message import Arrival, Author, ConversationKey, Message

PLATFORM, BOT = "web", "heed"
ROOM = "room:"  # chats with this prefix are the try-it room's own; the API cannot name them
_COMMAND = re.compile(r"/([A-Za-z_]{1,32})(?:\s+(.*))?", re.DOTALL)


def clean(text: str) -> str:
    """Return `text` as every database can keep it: no NUL, no half of a surrogate pair."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "").strip()


def web_key(chat: str, user: str) -> ConversationKey:
    """Return the key of one web user's conversation."""
    return ConversationKey(platform=PLATFORM, bot=BOT, chat=chat, user=user)


def web_arrival(
    key: ConversationKey, author: Author, text: str, *, now: float, raw: Mapping[str, Any]
) -> Arrival:
    """Return the arrival of one line of cleaned text; a line like '/help' is a command."""
    command = _COMMAND.fullmatch(text)
    message_id = uuid.uuid4().hex
    message = Message(
        key=key,
        message_id=message_id,
        author=author,
        sent_at=now,
        kind="command" if command else "said",
        text=text,
        command=command[1].lower() if command else "",
        argument=(command[2] or "").strip() if command else "",
    )
    return Arrival(
        platform=PLATFORM, bot=BOT, source_id=message_id, raw=json.dumps(raw), message=message
    )
