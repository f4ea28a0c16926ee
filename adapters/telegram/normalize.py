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
from dataclasses import dataclass, replace
from typing import Any

from adapters.telegram.attachments import attachments, number_of, text_of
from adapters.telegram.markdown import GONE, marked
from core.message import Author, ConversationKey, Message

Update = Mapping[str, Any]
ANONYMOUS = "Support"  # the name of an anonymous administrator of the desk
ALLOWED = (
    "message",
    "edited_message",
    "callback_query",
    "message_reaction",
    "my_chat_member",
    "chat_member",  # read by groups.py: who manages a group
)
_GROUPS = frozenset({"group", "supergroup"})

_COMMAND = re.compile(r"/(?P<name>\w{1,64})(?:@(?P<bot>\w+))?(?:\s+(?P<rest>.*))?", re.DOTALL)
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # no database takes NUL or half a character


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The bot itself, and the chats in which it hears everything."""

    bot: str
    username: str
    desk_chats: frozenset[str] = frozenset()
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
    if "message_reaction" in update:
        return _reacted(update, account)
    if "my_chat_member" in update:
        return _own_standing(update, account)
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


def _author(user: Mapping[str, Any]) -> Author:
    names = (text_of(user.get(part, "")) for part in ("first_name", "last_name"))
    return Author(
        id=str(number_of(user["id"])),
        name=" ".join(name for name in names if name),
        language=text_of(user.get("language_code", "")),
        is_bot=bool(user.get("is_bot")),
    )


def _key(chat: Mapping[str, Any], message: Update, author: Author, bot: str) -> ConversationKey:
    """Return whose conversation it is. A thread counts only where it is a topic of a forum."""
    topic = message.get("is_topic_message") is True
    return ConversationKey(
        platform="telegram",
        bot=bot,
        chat=str(number_of(chat["id"])),
        thread=str(number_of(message["message_thread_id"])) if topic else "",
        user=author.id,
    )


def _writer(message: Update, account: Account) -> Author | None:
    """Return who wrote a message, also where they write in the group's own name."""
    if "from" not in message:
        return None
    group = message.get("sender_chat")
    if group is None:
        return None if message["from"].get("is_bot") else _author(message["from"])
    return _nobody_named(group, account) if group["id"] == message["chat"]["id"] else None


def _nobody_named(group: Mapping[str, Any], account: Account) -> Author:
    """Return who acts in a group's own name: one of its administrators, in the desk's one of staff.

    Telegram does not tell which one.
    """
    number = str(number_of(group["id"]))
    staff = number in account.desk_chats
    name = ANONYMOUS if staff else text_of(group.get("title", ""))
    return Author(id=number, name=name, anonymous=staff, admin=True)


def _said(message: Update, account: Account) -> Message | None:
    """Read a new message. Posts in the name of a chat, of bots and of Telegram are not for us."""
    if not isinstance(message, dict):
        raise TypeError("a message is an object")
    if "migrate_to_chat_id" in message:
        return _moved(message, account)
    author, chat = _writer(message, account), message.get("chat", {})
    if author is None:
        return None
    key = _key(chat, message, author, account.bot)
    private = chat["type"] == "private"
    files = attachments(message, private=private)
    caption = "text" not in message
    text = text_of(message.get("caption", "") if caption else message["text"])
    if not text and not files:
        return None  # a service message: topic opened, message pinned, came from a group ...
    entities = message.get("caption_entities" if caption else "entities", [])
    command = _COMMAND.fullmatch(text)
    named = (command["bot"] or "").lower() if command else ""
    elsewhere = bool(named) and named != account.username.lower()
    named_us = _own_names(text, entities, account)
    answered = _answered(message)
    to = _writer_id(answered) if answered else ""
    addressed = not elsewhere and (
        private or bool(named_us) or to == account.bot or command is not None
    )
    addressed = addressed or key.chat in account.desk_chats
    heard = addressed or key.chat in account.watch
    to_another = answered is not None and _by_person(answered) and to != author.id
    overheard = to_another and not heard and not elsewhere
    if not heard and not overheard:
        return None
    ours = command if command and not elsewhere else None
    return Message(
        key=key,
        message_id=str(number_of(message["message_id"])),
        author=author,
        sent_at=float(number_of(message["date"])),
        kind="command" if ours else "said",
        text=text if ours else _without(text, named_us),
        formatted="" if ours else _formatted(text, entities, named_us),
        attachments=files,
        reply_to=str(number_of(answered["message_id"])) if answered else None,
        reply_to_author=to,
        album=text_of(message.get("media_group_id", "")),
        forwarded_from=_teller(message.get("forward_origin", {})),
        addressed=addressed,
        overheard=overheard,
        private=private,
        own_thread=_opened_by(message) == account.bot,
        command=ours["name"].lower() if ours else "",
        argument=(ours["rest"] or "").strip() if ours else "",
        order=number_of(message["message_id"]),
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


def _opened_by(message: Update) -> str:
    """Return the id of who opened the topic that a plain message stands in; else nothing."""
    opening: Mapping[str, Any] = message.get("reply_to_message") or {}
    return _writer_id(opening) if "forum_topic_created" in opening else ""


def _writer_id(message: Update) -> str:
    """Return the id of who wrote a message, in a chat's name that of the chat."""
    writer = message.get("sender_chat") or message.get("from")
    return str(number_of(writer["id"])) if writer else ""


def _by_person(message: Update) -> bool:
    """Say whether somebody wrote a message in their own name."""
    return "sender_chat" not in message and not message.get("from", {}).get("is_bot", True)


def _teller(origin: Mapping[str, Any]) -> str:
    """Return the name of who said first what is passed on, empty where nothing was."""
    user = origin.get("sender_user") or {}
    chat = origin.get("sender_chat") or origin.get("chat") or {}
    if user:
        return _author(user).name
    return text_of(origin.get("sender_user_name") or chat.get("title") or "")


def _moved(message: Update, account: Account) -> Message:
    """Read that a group became a supergroup, which has another id."""
    mover = Author(id=_writer_id(message))
    new = str(number_of(message["migrate_to_chat_id"]))
    return Message(
        key=_key(message["chat"], {}, mover, account.bot),
        message_id=str(number_of(message["message_id"])),
        author=mover,
        sent_at=float(number_of(message["date"])),
        kind="moved",
        private=False,
        data=new,
        event_id=f"moved:{new}",
        order=number_of(message["message_id"]),
    )


def _own_names(
    text: str, entities: list[Mapping[str, Any]], account: Account
) -> list[Mapping[str, Any]]:
    """Return the spans of a text that name the bot, last one first."""
    units = text.encode("utf-16-le")
    ours = []
    for entity in sorted(entities, key=lambda each: -number_of(each["offset"])):
        start, end = 2 * entity["offset"], 2 * (entity["offset"] + number_of(entity["length"]))
        said = units[start:end].decode("utf-16-le", "replace").lower()
        by_name = entity["type"] == "mention" and said == "@" + account.username.lower()
        by_id = entity["type"] == "text_mention" and str(entity["user"]["id"]) == account.bot
        if by_name or by_id:
            ours.append(entity)
    return ours


def _without(text: str, spans: list[Mapping[str, Any]]) -> str:
    """Return a text without these spans, of which the last comes first."""
    units = text.encode("utf-16-le")
    for span in spans:
        before = units[: 2 * span["offset"]].decode("utf-16-le", "replace").rstrip(" ")
        units = before.encode("utf-16-le") + units[2 * (span["offset"] + span["length"]) :]
    return units.decode("utf-16-le", "replace").strip() if spans else text


def _formatted(
    text: str, entities: list[Mapping[str, Any]], left_out: list[Mapping[str, Any]]
) -> str:
    spans = [one for one in entities if one not in left_out]
    return marked(text, [*spans, *(dict(one) | {"type": GONE} for one in left_out)])


def _edited(message: Update, account: Account) -> Message | None:
    """Read an edit. Its key holds what it says now, because two edits may share one second."""
    said = _said(message, account)
    if said is None or said.kind == "moved":
        return None
    if not said.text and not any(one.file_id for one in said.attachments):
        return None  # a live location that moves, a poll that is voted on
    at = number_of(message["edit_date"])
    now = "\0".join((said.text, *(one.file_id for one in said.attachments)))
    digest = hashlib.sha256(now.encode()).hexdigest()[:16]
    return replace(
        said,
        sent_at=float(at),
        kind="edited",
        command="",
        argument="",
        event_id=f"edit:{at}:{digest}",
    )


def _pressed(query: Update, account: Account, now: float) -> Message | None:
    message = query.get("message")
    if message is None or "data" not in query:
        return None  # a button of an inline post or of a game: we make none
    author, chat = _author(query["from"]), message["chat"]
    return Message(
        key=_key(chat, message, author, account.bot),
        message_id=str(number_of(message["message_id"])),
        author=author,
        sent_at=now,
        kind="pressed",
        private=chat["type"] == "private",
        data=text_of(query["data"]),
        event_id=text_of(query["id"]),
        order=number_of(message["message_id"]),
    )


def _reacted(update: Update, account: Account) -> Message | None:
    """Read a reaction to any message: core knows which ones are ours.

    Telegram does not tell in which topic, and in a group only to administrators.
    """
    change = update["message_reaction"]
    chat = change["chat"]
    private = chat["type"] == "private"
    if not private and chat["type"] not in _GROUPS:
        return None
    user = change.get("user")
    author = _author(user) if user else _nobody_named(change["actor_chat"], account)
    emoji = _emoji(change)
    if author.is_bot or emoji is None or (not user and author.id != str(chat["id"])):
        return None
    at = number_of(change["date"])
    return Message(
        key=_key(chat, {}, author, account.bot),
        message_id=str(number_of(change["message_id"])),
        author=author,
        sent_at=float(at),
        kind="reacted",
        private=private,
        data=emoji,
        event_id=f"reaction:{at}:{number_of(update['update_id'])}",
        order=number_of(change["message_id"]),
    )


def _emoji(change: Mapping[str, Any]) -> str | None:
    """Return the emoji that was added, empty when it was taken back; None: never was an emoji."""
    old, new = (
        [text_of(one["emoji"]) for one in change[side] if one["type"] == "emoji"]
        for side in ("old_reaction", "new_reaction")
    )
    if not old and not new:
        return None
    return ([one for one in new if one not in old] or new or [""])[-1]


def within(member: Mapping[str, Any]) -> bool:
    """Say whether a chat's member is in it."""
    status = text_of(member["status"])
    return status not in {"left", "kicked"} and member.get("is_member") is not False


def _own_standing(update: Update, account: Account) -> Message | None:
    """Read that a person blocked the bot or took it back, or that a group let it in.

    A group that puts it out tells nothing of any person there: see groups.py.
    """
    change = update["my_chat_member"]
    chat, new = change["chat"], change["new_chat_member"]
    inside, at = within(new), number_of(change["date"])
    private = chat["type"] == "private"
    if not private:
        came = inside and not within(change["old_chat_member"])
        if not came or chat["type"] not in _GROUPS:
            return None
    author = _author(change["from"])
    if author.is_bot and not private:  # an administrator who acts in the group's name
        author = _nobody_named(chat, account)
    status = text_of(new["status"])
    return Message(
        key=_key(chat, {}, author, account.bot),
        message_id="",
        author=author,
        sent_at=float(at),
        kind="joined" if not private else "returned" if inside else "left",
        addressed=private,
        private=private,
        event_id=f"{status}:{at}:{number_of(update['update_id'])}",
    )
