"""The people and chats behind the Telegram server: what they write, press, block and see."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.telegram_shapes import (
    ANONYMOUS,
    FILES,
    QUIET,
    Chat,
    Seen,
    Stored,
    kind_of,
    utf16,
)


class People:
    """Everybody's side of the chats with one bot, and the updates that wait for it."""

    def __init__(self, bot_id: int, username: str, clock: Callable[[], float]) -> None:
        self.bot_id, self.username, self.clock = bot_id, username, clock
        self.chats: dict[int, Chat] = {}
        self.updates: list[dict[str, Any]] = []
        self.callbacks: dict[str, str | None] = {}  # id -> what the bot answered, None: not yet
        self.allowed: list[str] = []
        self.reads_all = False  # privacy mode is off
        self.files: dict[str, Stored] = {}  # by file id
        self.reactions: dict[tuple[int, int], list[Any]] = {}  # the bot's, by chat and message
        self.felt: dict[tuple[int, int, int], str] = {}  # people's, by chat, message and person
        self.next_update, self.next_callback, self.next_group = 1000, 1, 13000
        self._changed, self._arrived = asyncio.Event(), asyncio.Event()

    def group(self, chat: int, *, title: str = "Group", forum: bool = False) -> Chat:
        """Make a supergroup, with topics where `forum`; its id is negative."""
        self.chats[chat] = Chat(chat, "supergroup", title, forum)
        return self.chats[chat]

    def topic(self, chat: int, name: str) -> int:
        """Open a topic as a person would; return its id."""
        return self._open_topic(self._chat(chat), name)

    def say(
        self,
        chat: int,
        user: int,
        text: str,
        *,
        thread: int | None = None,
        reply_to: int | None = None,
        language_code: str = "en",
        forward: bool = False,
        name: str = "",
        anonymous: bool = False,
        **more: Any,
    ) -> int:
        """Let a person write; `more` is put into the message as it is. Returns the message id.

        `anonymous`: as an administrator who writes in the group's own name.
        """
        place = self._chat(chat)
        place.last_id += 1
        message = {
            "message_id": place.last_id,
            "from": self._user(user, language_code, name),
            "chat": place.json(),
            "date": int(self.clock()),
        }
        if text:
            message |= {"text": text} | self._entities(text)
        if thread is not None:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        if reply_to is not None:
            message["reply_to_message"] = place.messages[reply_to]
        elif thread in place.messages:
            message["reply_to_message"] = place.messages[thread]
        if anonymous:
            message |= {"from": self._nobody(), "sender_chat": place.json()}
        if forward:
            message["forward_origin"] = {
                "type": "hidden_user", "sender_user_name": "Somebody", "date": 1,
            }  # fmt: skip
        message |= more
        place.messages[place.last_id] = message
        self.push("message", message)
        return place.last_id

    def edit(self, chat: int, message_id: int, text: str) -> None:
        """Let a person edit their own message; of a file that is its caption."""
        message = self.chats[chat].messages[message_id]
        if kind_of(message):
            message |= {"caption": text}
        else:
            message.pop("entities", None)
            message |= {"text": text} | self._entities(text)
        message["edit_date"] = int(self.clock())
        self.push("edited_message", message)

    def press(self, chat: int, message_id: int, data: str, user: int | None = None) -> str:
        """Let a person press a button of a message; return the callback's id."""
        message = self.chats[chat].messages[message_id]
        assert data in [button for _, button in self._buttons(message)], "no such button"
        callback = f"cb{self.next_callback}"
        self.next_callback += 1
        self.callbacks[callback] = None
        self.push(
            "callback_query",
            {
                "id": callback, "from": self._user(user or chat), "message": message,
                "chat_instance": "1", "data": data,
            },
        )  # fmt: skip
        return callback

    def block(self, user: int) -> None:
        """Let a person block the bot."""
        self._chat(user).blocked = True
        self._member(user, "member", "kicked")

    def unblock(self, user: int) -> None:
        """Let a person take the block back."""
        self._chat(user).blocked = False
        self._member(user, "kicked", "member")

    def upgrade(self, chat: int, to: int) -> None:
        """Turn a group into a supergroup with another id."""
        place = self._chat(chat)
        self.group(to, title=place.title, forum=place.forum)
        place.moved_to = to
        self.say(chat, 1, "", migrate_to_chat_id=to)
        self.say(to, 1, "", migrate_from_chat_id=chat)

    def push(self, kind: str, value: Any) -> int:
        """Queue an update of any kind and shape; return its id. Unasked kinds are dropped."""
        allowed = kind in self.allowed if self.allowed else kind not in QUIET
        self.next_update += 1
        if allowed:
            copied = json.loads(json.dumps(value))
            self.updates.append({"update_id": self.next_update, kind: copied})
            self._stir()
        return self.next_update

    def _stir(self) -> None:
        self._changed.set()
        self._arrived.set()

    def poison(self) -> int:
        """Queue a message without the fields that every message has."""
        return self.push(
            "message", {"message_id": 7, "text": "poison", "chat": {"type": "private"}}
        )

    def unknown(self) -> int:
        """Queue an update of a kind that nobody knows yet."""
        self.next_update += 1
        self.updates.append({"update_id": self.next_update, "brand_new_kind": {"x": [1, 2]}})
        self._stir()
        return self.next_update

    def duplicate(self) -> None:
        """Offer the newest waiting update a second time, under a new update id."""
        self.next_update += 1
        self.updates.append(self.updates[-1] | {"update_id": self.next_update})
        self._stir()

    def reorder(self) -> None:
        """Turn the waiting updates round, as a webhook with several connections may."""
        self.updates.reverse()
        self._stir()

    def seen(self, chat: int, thread: int | None = None) -> list[Seen]:
        """Return what a person sees in a chat (or one topic of it), top to bottom."""
        return [
            self._line(self._chat(chat), message)
            for message in self._chat(chat).messages.values()
            if thread is None or message.get("message_thread_id") == thread
            if "text" in message or kind_of(message)
        ]

    def _line(self, chat: Chat, message: Mapping[str, Any]) -> Seen:
        number, kind = message["message_id"], kind_of(message)
        who = "bot" if message["from"]["id"] == self.bot_id else str(message["from"]["id"])
        held = message[kind] if kind in FILES else {}
        stored = self.files.get((held[-1] if kind == "photo" else held).get("file_id", ""))
        own = [one.get("emoji", "") for one in self.reactions.get((chat.id, number), ())]
        felt = [e for (place, at, _), e in self.felt.items() if (place, at) == (chat.id, number)]
        return Seen(
            number,
            who,
            message.get("text", message.get("caption", "")),
            message.get("message_thread_id"),
            self._buttons(message),
            message.get("reply_to_message", {}).get("message_id"),
            tuple(
                entity["type"]
                for entity in message.get("entities", message.get("caption_entities", ()))
            ),
            kind,
            stored.content if stored else b"",
            stored.name if stored else "",
            message.get("media_group_id", ""),
            (*own, *felt),
            number in chat.pinned,
        )

    def texts(self, chat: int, thread: int | None = None) -> list[str]:
        """Return only what the bot wrote there, as it reads now."""
        return [line.text for line in self.seen(chat, thread) if line.who == "bot" and line.text]

    def _member(self, user: int, old: str, new: str) -> None:
        bot = self._me()
        until = {"until_date": 0} if new == "kicked" else {}
        self.push(
            "my_chat_member",
            {
                "chat": self._chat(user).json(), "from": self._user(user),
                "date": int(self.clock()), "old_chat_member": {"user": bot, "status": old},
                "new_chat_member": {"user": bot, "status": new} | until,
            },
        )  # fmt: skip

    def _chat(self, chat: int) -> Chat:
        if chat not in self.chats:
            self.chats[chat] = Chat(chat, "private" if chat > 0 else "supergroup")
        return self.chats[chat]

    @staticmethod
    def _user(user: int, language_code: str = "en", name: str = "") -> dict[str, Any]:
        shown = name or f"user{user}"
        return {
            "id": user, "is_bot": False, "first_name": shown, "language_code": language_code,
        }  # fmt: skip

    @staticmethod
    def _entities(text: str, where: str = "") -> dict[str, Any]:
        kinds = {"bot_command": r"(?<!\S)/\w+(?:@\w+)?", "mention": r"(?<!\S)@\w+"}
        found = [
            {"type": kind, "offset": utf16(text[: m.start()]), "length": utf16(m.group())}
            for kind, pattern in kinds.items()
            for m in re.finditer(pattern, text)
        ]
        return {f"{where}entities": found} if found else {}

    @staticmethod
    def _buttons(message: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        rows = message.get("reply_markup", {}).get("inline_keyboard", [])
        return tuple((one["text"], one.get("callback_data", "")) for row in rows for one in row)

    def drafts(self, chat: int) -> list[str]:
        """Return the drafts that a person still sees."""
        return [text for until, text in self._chat(chat).drafts.values() if until > self.clock()]

    def _me(self) -> dict[str, Any]:
        return {"id": self.bot_id, "is_bot": True, "first_name": "Heed", "username": self.username}

    @staticmethod
    def _nobody() -> dict[str, Any]:
        return {
            "id": ANONYMOUS, "is_bot": True, "first_name": "Group",
            "username": "GroupAnonymousBot",
        }  # fmt: skip

    def _open_topic(self, chat: Chat, name: str) -> int:
        message = self._post(chat, {"forum_topic_created": {"name": name, "icon_color": 7322096}})
        thread = message["message_id"]
        message |= {"message_thread_id": thread, "is_topic_message": True}
        chat.topics[thread] = {"name": name, "icon": "", "closed": False}
        return int(thread)

    def _post(self, chat: Chat, message: dict[str, Any]) -> dict[str, Any]:
        chat.last_id += 1
        chat.messages[chat.last_id] = {
            "message_id": chat.last_id, "from": self._me(), "chat": chat.json(),
            "date": int(self.clock()), **message,
        }  # fmt: skip
        return chat.messages[chat.last_id]
