"""What people send to the Telegram server besides words, and what they do to topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakes.telegram_people import People
from tests.fakes.telegram_shapes import PICTURE, STICKER, Stored


class Things(People):
    """Everybody's side again: files, polls, places, reactions. `more` is as for `say`."""

    def keep(self, kind: str, content: bytes, name: str = "", size: int = 0) -> str:
        """Put a file on the server; return its id."""
        number = len(self.files) + 1
        file_id = f"{kind}-{number}"
        ending = {"photo": "png", "sticker": "webp", "voice": "oga"}.get(kind, "bin")
        path = f"{kind}s/file_{number}.{name.rpartition('.')[2] or ending}"
        self.files[file_id] = Stored(content, name, path, size or len(content))
        return file_id

    def file(
        self, kind: str, content: bytes = PICTURE, name: str = "", size: int = 0
    ) -> dict[str, Any]:
        """Return what a message holds of a new file of a kind."""
        return self.held(kind, self.keep(kind, content, name, size))

    def held(self, kind: str, file_id: str) -> dict[str, Any]:
        """Return what a message holds of a file that is on the server."""
        stored = self.files[file_id]
        shape: dict[str, Any] = {
            "file_id": file_id, "file_unique_id": f"u{file_id}", "file_size": stored.size,
        }  # fmt: skip
        wide, timed = {"width": 8, "height": 8}, {"duration": 1}
        shape |= {
            "photo": wide, "video": wide | timed, "animation": wide | timed,
            "video_note": {"length": 8} | timed, "voice": timed, "audio": timed,
            "sticker": wide | {"is_animated": False, "is_video": False, "type": "regular"},
        }.get(kind, {})  # fmt: skip
        if kind == "sticker":
            return {kind: shape | {"emoji": stored.name or "😡"}}
        if stored.name and kind not in {"photo", "voice", "video_note"}:
            shape["file_name"] = stored.name
        small = {**shape, "file_id": f"{file_id}-small", "width": 2, "height": 2}
        return {kind: [small, shape] if kind == "photo" else shape}

    def send_photo(
        self,
        chat: int,
        user: int,
        caption: str = "",
        content: bytes = PICTURE,
        size: int = 0,
        **more: Any,
    ) -> int:
        """Let a person send a picture."""
        return self._send(chat, user, caption, self.file("photo", content, size=size) | more)

    def send_file(
        self,
        chat: int,
        user: int,
        name: str = "a.pdf",
        content: bytes = b"%PDF",
        caption: str = "",
        size: int = 0,
        **more: Any,
    ) -> int:
        """Let a person send a file."""
        held = self.file("document", content, name, size)
        return self._send(chat, user, caption, held | more)

    def video(self, chat: int, user: int, caption: str = "", **more: Any) -> int:
        """Let a person send a video."""
        return self._send(chat, user, caption, self.file("video", b"video", "v.mp4") | more)

    def voice(self, chat: int, user: int, caption: str = "", **more: Any) -> int:
        """Let a person send a voice message."""
        return self._send(chat, user, caption, self.file("voice", b"OggS voice") | more)

    def video_note(self, chat: int, user: int, **more: Any) -> int:
        """Let a person send a round video, which can have no caption."""
        return self._send(chat, user, "", self.file("video_note", b"round") | more)

    def sticker(self, chat: int, user: int, emoji: str = "😡", **more: Any) -> int:
        """Let a person send a sticker."""
        return self._send(chat, user, "", self.file("sticker", STICKER, emoji) | more)

    def album(
        self,
        chat: int,
        user: int,
        kinds: Sequence[str] = ("photo", "photo"),
        caption: str = "",
        **more: Any,
    ) -> list[int]:
        """Let a person send several files at once; return their ids. The first is captioned."""
        group = {"media_group_id": self._group()}
        return [
            self._send(
                chat,
                user,
                "" if at else caption,
                self.file(kind, PICTURE + str(at).encode()) | group | more,
            )
            for at, kind in enumerate(kinds)
        ]

    def poll(
        self,
        chat: int,
        user: int,
        question: str = "Which?",
        options: Sequence[str] = ("This", "That"),
        **more: Any,
    ) -> int:
        """Let a person send a poll."""
        choices = [
            {"text": each, "voter_count": 0, "persistent_id": str(at)}
            for at, each in enumerate(options)
        ]
        poll = {
            "id": "1", "question": question, "options": choices, "total_voter_count": 0,
            "is_closed": False, "is_anonymous": True, "type": "regular",
            "allows_multiple_answers": False, "allows_revoting": True, "members_only": False,
        }  # fmt: skip
        return self._send(chat, user, "", {"poll": poll} | more)

    def locate(
        self,
        chat: int,
        user: int,
        latitude: float = 52.52,
        longitude: float = 13.405,
        title: str = "",
        **more: Any,
    ) -> int:
        """Let a person say where they are; with `title` it is a place with a name."""
        location = {"latitude": latitude, "longitude": longitude}
        held: dict[str, Any] = {"location": location}
        if title:
            held["venue"] = {"location": location, "title": title, "address": "Main Street 1"}
        return self._send(chat, user, "", held | more)

    def contact(
        self, chat: int, user: int, name: str = "Ben", number: str = "+49123", **more: Any
    ) -> int:
        """Let a person send a contact."""
        held = {"contact": {"first_name": name, "phone_number": number}}
        return self._send(chat, user, "", held | more)

    def react(
        self, chat: int, user: int, message_id: int, emoji: str, *, anonymous: bool = False
    ) -> None:
        """Let a person put an emoji under a message, or take it back with an empty one."""
        place = self._chat(chat)
        old = self.felt.pop((chat, message_id, user), "")
        if emoji:
            self.felt[chat, message_id, user] = emoji
        who = {"actor_chat": place.json()} if anonymous else {"user": self._user(user)}
        self.push(
            "message_reaction",
            {
                "chat": place.json(), "message_id": message_id, "date": int(self.clock()),
                "old_reaction": self._emoji(old), "new_reaction": self._emoji(emoji), **who,
            },
        )  # fmt: skip

    # -- topics, as a person with the right to manage them changes them ------------------------

    def close_topic(self, chat: int, thread: int, user: int = 1) -> None:
        """Let a person close a topic."""
        self._chat(chat).topics[thread]["closed"] = True
        self.say(chat, user, "", thread=thread, forum_topic_closed={})

    def reopen_topic(self, chat: int, thread: int, user: int = 1) -> None:
        """Let a person open a closed topic again."""
        self._chat(chat).topics[thread]["closed"] = False
        self.say(chat, user, "", thread=thread, forum_topic_reopened={})

    def delete_topic(self, chat: int, thread: int) -> None:
        """Let a person delete a topic with all its messages; Telegram tells nobody."""
        place = self._chat(chat)
        del place.topics[thread]
        for message_id in [
            number
            for number, message in place.messages.items()
            if message.get("message_thread_id") == thread
        ]:
            del place.messages[message_id]
        self._stir()

    def _send(self, chat: int, user: int, caption: str, held: dict[str, Any]) -> int:
        captioned = {"caption": caption} | self._entities(caption, "caption_") if caption else {}
        return self.say(chat, user, "", **captioned, **held)

    def _group(self) -> str:
        self.next_group += 1
        return str(self.next_group)

    @staticmethod
    def _emoji(emoji: str) -> list[dict[str, str]]:
        return [{"type": "emoji", "emoji": emoji}] if emoji else []
