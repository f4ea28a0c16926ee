"""Who is in the groups on the Telegram server, and what they and the bot may do there."""

from __future__ import annotations

from typing import Any

from tests.fakes.telegram_shapes import ApiError, Chat
from tests.fakes.telegram_things import Things

MANAGERS = {"creator", "administrator"}
OUT = {"left", "kicked"}


class Members(Things):
    """As Things, for groups: coming, going and rights; and what a bot may ask about them."""

    # -- the person's side --------------------------------------------------------------------

    def let_in(self, chat: int, by: int, status: str = "member") -> None:
        """Let a person add the bot to a group."""
        self._bot_becomes(self._chat(chat), by, status, "left")
        self.say(chat, by, "", new_chat_members=[self._me()])

    def put_out(self, chat: int, by: int) -> None:
        """Let a person remove the bot from a group."""
        self._bot_becomes(self._chat(chat), by, "kicked")

    def govern(self, chat: int, by: int = 1) -> None:
        """Let a person make the bot an administrator."""
        self._bot_becomes(self._chat(chat), by, "administrator")

    def mute(self, chat: int, by: int = 1) -> None:
        """Let a person take from the bot the right to write."""
        self._bot_becomes(self._chat(chat), by, "restricted")

    def promote(self, chat: int, user: int, status: str = "administrator", by: int = 1) -> None:
        """Let a person make somebody an administrator (or a member again)."""
        place = self._chat(chat)
        old = place.people.get(user, "member")
        place.people[user] = status
        if place.bot in MANAGERS:  # only administrators are told
            self._tell_member("chat_member", place, by, self._user(user), old, status)

    def join(self, chat: int, user: int) -> None:
        """Let a person come into a group."""
        self.promote(chat, user, "member", by=user)
        self.say(chat, user, "", new_chat_members=[self._user(user)])

    def leave(self, chat: int, user: int) -> None:
        """Let a person leave a group."""
        self.promote(chat, user, "left", by=user)
        self.say(chat, user, "", left_chat_member=self._user(user))

    def _bot_becomes(self, place: Chat, by: int, status: str, old: str = "") -> None:
        before, place.bot = old or place.bot, status
        self._tell_member("my_chat_member", place, by, self._me(), before, status)

    def _tell_member(
        self, kind: str, place: Chat, by: int, who: dict[str, Any], old: str, new: str
    ) -> None:
        self.push(
            kind,
            {
                "chat": place.json(), "from": self._user(by), "date": int(self.clock()),
                "old_chat_member": {"user": who} | self._standing(place, old),
                "new_chat_member": {"user": who} | self._standing(place, new),
            },
        )  # fmt: skip

    @staticmethod
    def _standing(place: Chat, status: str) -> dict[str, Any]:
        """Return a status with the fields that come with it."""
        given: dict[str, Any] = {"status": status}
        if status == "administrator":
            names = (
                "can_be_edited", "is_anonymous", "can_manage_chat", "can_delete_messages",
                "can_manage_video_chats", "can_restrict_members", "can_promote_members",
                "can_change_info", "can_invite_users", "can_post_stories", "can_edit_stories",
                "can_delete_stories",
            )  # fmt: skip
            rights = {"can_manage_topics": place.rights, "can_pin_messages": place.may_pin}
            given |= dict.fromkeys(names, False) | rights
        elif status == "creator":
            given |= {"is_anonymous": False}
        elif status == "kicked":
            given |= {"until_date": 0}
        elif status == "restricted":
            names = (
                "can_send_messages", "can_send_audios", "can_send_documents", "can_send_photos",
                "can_send_videos", "can_send_video_notes", "can_send_voice_notes",
                "can_send_polls", "can_send_other_messages", "can_add_web_page_previews",
                "can_change_info", "can_invite_users", "can_pin_messages", "can_manage_topics",
                "can_react_to_messages", "can_edit_tag",
            )  # fmt: skip
            given |= dict.fromkeys(names, False) | {"is_member": True, "until_date": 0}
        return given

    # -- what the bot calls -------------------------------------------------------------------

    def _place(self, params: dict[str, Any]) -> Chat:
        """Return the chat that a call means, if the bot is still let in there."""
        chat = self.chats.get(int(params["chat_id"]))
        if chat is None:
            raise ApiError(400, "Bad Request: chat not found")
        if chat.moved_to:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            raise ApiError(400, text, migrate_to_chat_id=chat.moved_to)
        if chat.blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        if chat.bot == "kicked":
            raise ApiError(403, "Forbidden: bot was kicked from the supergroup chat")
        if chat.bot == "left":
            raise ApiError(403, "Forbidden: bot is not a member of the supergroup chat")
        return chat

    def _writable(self, params: dict[str, Any], *, counts: bool = True) -> Chat:
        """Return the chat that a new message is meant for, if the bot may write there."""
        chat = self._place(params)
        if chat.bot == "restricted":
            text = "Bad Request: not enough rights to send text messages to the chat"
            raise ApiError(400, text)
        if chat.bot not in MANAGERS and not chat.may_write:
            raise ApiError(400, "Bad Request: CHAT_WRITE_FORBIDDEN")
        if chat.bot not in MANAGERS and chat.slow and counts:
            left = chat.slow - (self.clock() - chat.bot_wrote_at)
            if left > 0:
                wait = int(left) + 1
                raise ApiError(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
            chat.bot_wrote_at = self.clock()
        return chat

    def _do_getchat(self, params: dict[str, Any]) -> dict[str, Any]:
        chat = self._place(params)
        names = (
            "can_send_messages", "can_send_audios", "can_send_documents", "can_send_photos",
            "can_send_videos", "can_send_video_notes", "can_send_voice_notes", "can_send_polls",
            "can_send_other_messages",
        )  # fmt: skip
        full = chat.json() | {
            "accent_color_id": 0, "max_reaction_count": 11,
            "accepted_gift_types": {
                "unlimited_gifts": False, "limited_gifts": False, "unique_gifts": False,
                "premium_subscription": False, "gifts_from_channels": False,
            },
        }  # fmt: skip
        if chat.type != "private":
            full["permissions"] = dict.fromkeys(names, chat.may_write)
        if chat.slow:
            full["slow_mode_delay"] = chat.slow
        return full

    def _do_getchatmember(self, params: dict[str, Any]) -> dict[str, Any]:
        place, user = self._place(params), int(params["user_id"])
        if user == self.bot_id:
            return {"user": self._me()} | self._standing(place, place.bot)
        status = place.people.get(user, "member")
        return {"user": self._user(user)} | self._standing(place, status)

    def _do_getchatadministrators(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        place = self._place(params)
        if place.type == "private":
            raise ApiError(400, "Bad Request: there are no administrators in the private chat")
        found = [
            {"user": self._user(user)} | self._standing(place, status)
            for user, status in place.people.items()
            if status in MANAGERS
        ]
        own = {"user": self._me()} | self._standing(place, place.bot)
        return [*found, *([own] if place.bot in MANAGERS else [])]

    def _do_leavechat(self, params: dict[str, Any]) -> bool:
        self._bot_becomes(self._place(params), self.bot_id, "left")
        return True
