"""What a bot calls on the Telegram server: messages, marks, menus and topics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.fakes.telegram_members import MANAGERS, Members
from tests.fakes.telegram_shapes import ICONS, REACTIONS, TWO_DAYS, ApiError, Chat, utf16


class Calls(Members):
    """One `_do_...` for each method, in lower case; it returns the result or raises ApiError."""

    def __init__(self, bot_id: int, username: str, clock: Callable[[], float]) -> None:
        super().__init__(bot_id, username, clock)
        self.commands: dict[tuple[str, str], list[dict[str, str]]] = {}
        self.actions: list[tuple[int, int | None, str]] = []

    @staticmethod
    def _text(params: dict[str, Any]) -> dict[str, Any]:
        text = params.get("text", "").strip()
        if not text:
            raise ApiError(400, "Bad Request: message text is empty")
        if utf16(text) > 4096:
            raise ApiError(400, "Bad Request: message is too long")
        if params.get("parse_mode"):
            raise ApiError(400, "Bad Request: can't parse entities: unsupported parse_mode")
        entities = params.get("entities", [])[:100]  # Telegram drops the others without a word
        if any(e["offset"] + e["length"] > utf16(params["text"]) for e in entities):
            raise ApiError(400, "Bad Request: can't parse entities: wrong offset")
        return {"text": text} | ({"entities": entities} if entities else {})

    @staticmethod
    def _markup(params: dict[str, Any]) -> dict[str, Any]:
        markup = params.get("reply_markup")
        if not markup or not markup.get("inline_keyboard"):
            return {}
        for row in markup["inline_keyboard"]:
            for button in row:
                if not 1 <= len(button.get("callback_data", "-").encode()) <= 64:
                    raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")
        return {"reply_markup": markup}

    @staticmethod
    def _into(chat: Chat, params: dict[str, Any]) -> dict[str, Any]:
        """Return where in a chat a new message stands: in which topic, and whom it answers."""
        where: dict[str, Any] = {}
        if thread := int(params.get("message_thread_id") or 0):
            topic = chat.topics.get(thread)
            if topic is None:
                raise ApiError(400, "Bad Request: message thread not found")
            if topic["closed"] and chat.bot not in MANAGERS:
                raise ApiError(400, "Bad Request: TOPIC_CLOSED")
            where |= {"message_thread_id": thread, "is_topic_message": True}
        reply = params.get("reply_parameters")
        if reply and (answered := chat.messages.get(int(reply["message_id"]))):
            where["reply_to_message"] = answered
        elif reply and not reply.get("allow_sending_without_reply"):
            raise ApiError(400, "Bad Request: message to be replied not found")
        return where

    def _do_sendmessage(self, params: dict[str, Any]) -> dict[str, Any]:
        chat = self._writable(params)
        message = self._text(params) | self._markup(params)
        return self._post(chat, message | self._into(chat, params))

    def _own(self, params: dict[str, Any], verb: str) -> dict[str, Any]:
        message = self._place(params).messages.get(int(params["message_id"]))
        if message is None:
            raise ApiError(400, f"Bad Request: message to {verb} not found")
        if message["from"]["id"] != self.bot_id and verb == "edit":
            raise ApiError(400, "Bad Request: message can't be edited")
        return message

    def _change(self, message: dict[str, Any], new: dict[str, Any], *keys: str) -> dict[str, Any]:
        if {key: message[key] for key in keys if key in message} == new:
            raise ApiError(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        for key in keys:
            message.pop(key, None)
        message |= new | {"edit_date": int(self.clock())}
        return message

    def _do_editmessagetext(self, params: dict[str, Any]) -> dict[str, Any]:
        message = self._own(params, "edit")
        if "text" not in message:
            raise ApiError(400, "Bad Request: there is no text in the message to edit")
        new = self._text(params) | self._markup(params)
        return self._change(message, new, "text", "entities", "reply_markup")

    def _do_editmessagereplymarkup(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._change(self._own(params, "edit"), self._markup(params), "reply_markup")

    def _do_deletemessage(self, params: dict[str, Any]) -> bool:
        message = self._own(params, "delete")
        if self.clock() - message["date"] > TWO_DAYS:
            raise ApiError(400, "Bad Request: message can't be deleted for everyone")
        del self._place(params).messages[message["message_id"]]
        return True

    def _do_deletemessages(self, params: dict[str, Any]) -> bool:
        chat, ids = self._place(params), params["message_ids"]
        if not 1 <= len(ids) <= 100:
            raise ApiError(400, "Bad Request: too many messages to delete")
        for each in ids:  # those that are gone are skipped without a word
            chat.messages.pop(int(each), None)
        return True

    def _do_sendmessagedraft(self, params: dict[str, Any]) -> bool:
        chat = self._place(params)
        if chat.type != "private":
            raise ApiError(400, "Bad Request: drafts can be sent to private chats only")
        if not int(params.get("draft_id") or 0):
            raise ApiError(400, "Bad Request: DRAFT_ID_INVALID")
        chat.drafts[int(params["draft_id"])] = (self.clock() + 30, params.get("text", ""))
        return True

    def _do_sendchataction(self, params: dict[str, Any]) -> bool:
        thread = params.get("message_thread_id")
        chat = self._place(params)
        if chat.type != "private":
            self._writable(params, counts=False)
            self._into(chat, params)
        self.actions.append((chat.id, int(thread) if thread else None, params["action"]))
        return True

    def _do_setmessagereaction(self, params: dict[str, Any]) -> bool:
        chat = self._place(params)
        message = self._own(params, "react")
        if any(one.get("emoji") not in REACTIONS for one in params.get("reaction", [])):
            raise ApiError(400, "Bad Request: REACTION_INVALID")
        self.reactions[chat.id, message["message_id"]] = params.get("reaction", [])
        return True

    def _do_answercallbackquery(self, params: dict[str, Any]) -> bool:
        known = self.callbacks.get(params["callback_query_id"], "")
        if known is not None:
            raise ApiError(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        self.callbacks[params["callback_query_id"]] = params.get("text", "answered")
        return True

    @staticmethod
    def _scope(params: dict[str, Any]) -> tuple[str, str]:
        scope = json.dumps(params.get("scope", {"type": "default"}), sort_keys=True)
        return scope, params.get("language_code", "")

    def _do_setmycommands(self, params: dict[str, Any]) -> bool:
        scope = params.get("scope", {})
        if scope.get("type") == "chat":
            self._place(scope)
        for one in params["commands"]:
            if not re.fullmatch(r"[a-z0-9_]{1,32}", one["command"]):
                raise ApiError(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(one["description"]) <= 256:
                raise ApiError(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
        self.commands[self._scope(params)] = params["commands"]
        return True

    def _do_getmycommands(self, params: dict[str, Any]) -> list[dict[str, str]]:
        return self.commands.get(self._scope(params), [])

    def _do_deletemycommands(self, params: dict[str, Any]) -> bool:
        self.commands.pop(self._scope(params), None)
        return True

    def _forum(self, params: dict[str, Any], verb: str) -> Chat:
        chat = self._place(params)
        if not chat.forum:
            raise ApiError(400, "Bad Request: the chat is not a forum")
        if not chat.rights:
            raise ApiError(400, f"Bad Request: not enough rights to {verb} topic")
        return chat

    @staticmethod
    def _icon(params: dict[str, Any]) -> dict[str, str]:
        if "icon_custom_emoji_id" not in params:
            return {}
        icon = params["icon_custom_emoji_id"]
        if icon and icon not in ICONS:
            raise ApiError(400, "Bad Request: DOCUMENT_INVALID")
        return {"icon": ICONS.get(icon, "")}

    def _do_getforumtopiciconstickers(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "file_id": f"icon-{number}", "file_unique_id": number, "width": 100, "height": 100,
                "is_animated": False, "is_video": True, "type": "custom_emoji", "emoji": emoji,
                "custom_emoji_id": number,
            }
            for number, emoji in ICONS.items()
        ]  # fmt: skip

    def _do_createforumtopic(self, params: dict[str, Any]) -> dict[str, Any]:
        chat, name = self._forum(params, "create a"), params.get("name", "")
        if not 1 <= utf16(name) <= 128:
            raise ApiError(400, "Bad Request: TOPIC_TITLE_INVALID")
        icon = self._icon(params)
        thread = self._open_topic(chat, name)
        chat.topics[thread] |= icon
        return {"message_thread_id": thread, "name": name, "icon_color": 7322096}

    def _topic(self, params: dict[str, Any]) -> dict[str, Any]:
        topic = self._forum(params, "edit the").topics.get(int(params["message_thread_id"]))
        if topic is None:
            raise ApiError(400, "Bad Request: TOPIC_ID_INVALID")
        return topic

    @staticmethod
    def _turn(topic: dict[str, Any], new: dict[str, Any]) -> bool:
        if all(topic[key] == value for key, value in new.items()):
            raise ApiError(400, "Bad Request: TOPIC_NOT_MODIFIED")
        topic |= new
        return True

    def _do_editforumtopic(self, params: dict[str, Any]) -> bool:
        name = {"name": params["name"]} if params.get("name") else {}
        return self._turn(self._topic(params), name | self._icon(params))

    def _do_closeforumtopic(self, params: dict[str, Any]) -> bool:
        return self._turn(self._topic(params), {"closed": True})

    def _do_reopenforumtopic(self, params: dict[str, Any]) -> bool:
        return self._turn(self._topic(params), {"closed": False})

    def _do_deleteforumtopic(self, params: dict[str, Any]) -> bool:
        self._topic(params)
        self.delete_topic(self._place(params).id, int(params["message_thread_id"]))
        return True

    def _do_pinchatmessage(self, params: dict[str, Any]) -> bool:
        chat, message = self._place(params), self._own(params, "pin")
        if not chat.may_pin:
            text = "Bad Request: not enough rights to manage pinned messages in the chat"
            raise ApiError(400, text)
        if message["message_id"] not in chat.pinned:
            chat.pinned.append(message["message_id"])
        return True
