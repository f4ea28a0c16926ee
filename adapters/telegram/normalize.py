"""One raw update becomes one Message, or nothing of ours.

Pure functions over the JSON as Telegram sends it: the library's own parser is not asked, because
one field that it does not expect would cost the whole update. What we do not read cannot hurt.
A field that we do read and that is missing or of the wrong kind raises ValueError, KeyError,
TypeError or AttributeError; the caller parks the update.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.message import Attachment, Author, ConversationKey, Message

Update = Mapping[str, Any]
ANONYMOUS = "Support"  # the name of an anonymous administrator of the desk
ALLOWED = ("message", "edited_message", "callback_query", "my_chat_member")

_COMMAND = re.compile(r"/(?P<name>\w{1,64})(?:@(?P<bot>\w+))?(?:\s+(?P<rest>.*))?", re.DOTALL)
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # no database takes NUL or half a character
_FILES = ("animation", "document", "video", "video_note", "voice", "audio", "sticker")
_KIND = {"document": "file", "video_note": "video", "animation": "video"}
_FACTS = ("location", "venue", "contact", "poll", "dice", "story")  # nothing to download


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The bot itself, and the chats in which it hears everything."""

    bot: str
    username: str
    desk_chat: str = ""
    watch: frozenset[str] = frozenset()


def normalize(update: Update, account: Account, *, now: float) -> Message | None:
    """Return what an update says, or None where it is not for us.

    `now` is the time of a button press, which Telegram does not tell.
    """
    if not isinstance(update, dict):
        raise TypeError("an update is an object")
    update = _clean(update)
    if "message" in update:
        return _said(update["message"], account)
    if "edited_message" in update:
        return _edited(update["edited_message"], account)
    if "callback_query" in update:
        return _pressed(update["callback_query"], account, now)
    if "my_chat_member" in update:
        return _left_or_back(update, account)
    return None


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Replace what cannot be stored; the number of UTF-16 units stays, so offsets hold."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value


def _number(value: Any) -> int:  # noqa: ANN401 - JSON of any shape
    """Return an id or a time, or raise ValueError: anything else must not become a key."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError(f"not a 64-bit integer: {value!r:.60}")
    return value


def _text(value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r:.60}")
    return value


def _author(user: Mapping[str, Any]) -> Author:
    names = (_text(user.get(part, "")) for part in ("first_name", "last_name"))
    return Author(
        id=str(_number(user["id"])),
        name=" ".join(name for name in names if name),
        language=_text(user.get("language_code", "")),
        is_bot=bool(user.get("is_bot")),
    )


def _key(chat: Mapping[str, Any], message: Update, author: Author, bot: str) -> ConversationKey:
    """Return whose conversation it is. A thread counts only where it is a topic of a forum."""
    topic = message.get("is_topic_message") is True
    return ConversationKey(
        platform="telegram",
        bot=bot,
        chat=str(_number(chat["id"])),
        thread=str(_number(message["message_thread_id"])) if topic else "",
        user=author.id,
    )


def _writer(message: Update, account: Account) -> Author | None:
    """Return who wrote a message: in the desk also the staff who write in the group's own name."""
    if "from" not in message:
        return None
    group = message.get("sender_chat")
    if group is None:
        return None if message["from"].get("is_bot") else _author(message["from"])
    own = group["id"] == message["chat"]["id"] and str(group["id"]) == account.desk_chat
    return Author(id=str(_number(group["id"])), name=ANONYMOUS) if own else None


def _said(message: Update, account: Account) -> Message | None:
    """Read a new message. Posts in the name of a chat, of bots and of Telegram are not for us."""
    if not isinstance(message, dict):
        raise TypeError("a message is an object")
    author, chat = _writer(message, account), message.get("chat", {})
    if author is None:
        return None
    key = _key(chat, message, author, account.bot)
    attachments = _attachments(message)
    caption = "text" not in message
    text = _text(message.get("caption", "") if caption else message["text"])
    if not text and not attachments:
        return None  # a service message: topic opened, message pinned, chat moved ...
    entities = message.get("caption_entities" if caption else "entities", [])
    private = chat["type"] == "private"
    command = _COMMAND.fullmatch(text)
    named = (command["bot"] or "").lower() if command else ""
    elsewhere = bool(named) and named != account.username.lower()
    stripped, mentioned = _without_mention(text, entities, account)
    answered = _answered(message)
    to_us = answered is not None and str(answered.get("from", {}).get("id")) == account.bot
    addressed = not elsewhere and (private or mentioned or to_us or command is not None)
    addressed = addressed or key.chat == account.desk_chat
    if not addressed and key.chat not in account.watch:
        return None
    ours = command if command and not elsewhere else None
    return Message(
        key=key,
        message_id=str(_number(message["message_id"])),
        author=author,
        sent_at=float(_number(message["date"])),
        kind="command" if ours else "said",
        text=text if ours else stripped,
        attachments=attachments,
        reply_to=str(_number(answered["message_id"])) if answered else None,
        addressed=addressed,
        private=private,
        command=ours["name"].lower() if ours else "",
        argument=(ours["rest"] or "").strip() if ours else "",
        order=_number(message["message_id"]),
        scored="forward_origin" not in message and "forward_date" not in message,
    )


def _answered(message: Update) -> Mapping[str, Any] | None:
    """Return the message this one replies to.

    In a topic every plain message "replies" to the service message that opened it; when the bot
    opened the topic, taking that for a reply to the bot would make everything addressed.
    """
    answered: Mapping[str, Any] | None = message.get("reply_to_message")
    if answered is None or "forum_topic_created" in answered:
        return None
    return answered


def _without_mention(
    text: str, entities: list[Mapping[str, Any]], account: Account
) -> tuple[str, bool]:
    """Return the text without the bot's own name, and whether it was there."""
    units = text.encode("utf-16-le")
    mentioned = False
    for entity in sorted(entities, key=lambda each: -_number(each["offset"])):
        start, end = 2 * entity["offset"], 2 * (entity["offset"] + _number(entity["length"]))
        said = units[start:end].decode("utf-16-le", "replace").lower()
        by_name = entity["type"] == "mention" and said == "@" + account.username.lower()
        by_id = entity["type"] == "text_mention" and str(entity["user"]["id"]) == account.bot
        if by_name or by_id:
            mentioned = True
            before = units[:start].decode("utf-16-le", "replace").rstrip(" ")
            units = before.encode("utf-16-le") + units[end:]
    return (units.decode("utf-16-le", "replace").strip() if mentioned else text), mentioned


def _attachments(message: Update) -> tuple[Attachment, ...]:
    """Return what hangs on a message; of a photo's sizes the largest."""
    if "photo" in message:
        largest = message["photo"][-1]
        return (_attachment("photo", largest),)
    for kind in _FILES:  # an animation comes with a copy of itself as a document: first one wins
        if kind in message:
            return (_attachment(_KIND.get(kind, kind), message[kind]),)
    return tuple(Attachment(kind=kind, file_id="") for kind in _FACTS if kind in message)[:1]


def _attachment(kind: str, file: Mapping[str, Any]) -> Attachment:
    return Attachment(
        kind=kind,
        file_id=_text(file["file_id"]),
        name=_text(file.get("file_name") or file.get("emoji") or ""),
        size=_number(file.get("file_size", 0)),
    )


def _edited(message: Update, account: Account) -> Message | None:
    """Read an edit. Its key holds the text, because two edits may share one second."""
    said = _said(message, account)
    if said is None:
        return None
    at = _number(message["edit_date"])
    digest = hashlib.sha256(said.text.encode()).hexdigest()[:16]
    return Message(
        key=said.key,
        message_id=said.message_id,
        author=said.author,
        sent_at=float(at),
        kind="edited",
        text=said.text,
        attachments=said.attachments,
        reply_to=said.reply_to,
        addressed=said.addressed,
        private=said.private,
        event_id=f"edit:{at}:{digest}",
        order=said.order,
        scored=said.scored,
    )


def _pressed(query: Update, account: Account, now: float) -> Message | None:
    message = query.get("message")
    if message is None or "data" not in query:
        return None  # a button of an inline post or of a game: we make none
    author, chat = _author(query["from"]), message["chat"]
    return Message(
        key=_key(chat, message, author, account.bot),
        message_id=str(_number(message["message_id"])),
        author=author,
        sent_at=now,
        kind="pressed",
        private=chat["type"] == "private",
        data=_text(query["data"]),
        event_id=_text(query["id"]),
        order=_number(message["message_id"]),
    )


def _left_or_back(update: Update, account: Account) -> Message | None:
    """Read that a person blocked the bot, or took it back; groups coming and going is no case."""
    change = update["my_chat_member"]
    if change["chat"]["type"] != "private":
        return None
    status = _text(change["new_chat_member"]["status"])
    author, at = _author(change["from"]), _number(change["date"])
    return Message(
        key=_key(change["chat"], {}, author, account.bot),
        message_id="",
        author=author,
        sent_at=float(at),
        kind="left" if status in {"kicked", "left"} else "returned",
        event_id=f"{status}:{at}:{update['update_id']}",
    )
