"""Messages on the web side of the Discord fake: sent, read, changed, pinned, reacted to."""

from __future__ import annotations

from typing import Any

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_shapes import DIRECT, FORUM, THREAD, Call, Refusal, check_text, form_error
from tests.fakes.discord_state import DiscordState


class Messages(DiscordState):
    """The bot's calls about messages, and the rights they need."""

    content_intent: bool
    nonce_lives: float

    def _open(self, channel: str, right: str) -> dict[str, Any]:
        """Return a channel that the bot may use; a thread inherits all rights but `send`."""
        if channel not in self._channels:
            raise Refusal(*shapes.UNKNOWN_CHANNEL)
        place = self._channels[channel]
        parent = str(place.get("parent_id") or "")
        if {(channel, "view"), (parent, "view")} & self.denied:
            raise Refusal(*shapes.MISSING_ACCESS)
        inherited = (parent, right) in self.denied and right != "send"
        if (channel, right) in self.denied or inherited:
            raise Refusal(*shapes.MISSING_PERMISSION)
        return place

    def _message(self, channel: str, message_id: str) -> dict[str, Any]:
        self._open(channel, "history")
        if message_id not in self._messages[channel]:
            raise Refusal(*shapes.UNKNOWN_MESSAGE)
        return self._messages[channel][message_id]

    def _awake(self, channel: str) -> None:
        """Refuse what an archived thread does not take."""
        place = self._channels[channel]
        if place["type"] == THREAD and place["thread_metadata"]["archived"]:
            raise Refusal(*shapes.ARCHIVED)

    def _wake(self, place: dict[str, Any]) -> None:
        """Reopen an archived thread because somebody sends to it; a locked one stays shut."""
        if place["type"] != THREAD:
            return
        if place["thread_metadata"]["locked"]:
            raise Refusal(*shapes.LOCKED)
        if place["thread_metadata"]["archived"]:
            self._change_thread(place["id"], archived=False)

    def get_channel(self, _: Call, channel: str) -> tuple[int, Any]:
        return 200, self._open(channel, "view")

    def post_direct(self, call: Call) -> tuple[int, Any]:
        person = self._people.get(str(call.body["recipient_id"]))
        if person is None:
            raise Refusal(400, 50033, "Invalid Recipient(s)")
        return 200, self._channels[self.dm(str(person["username"]))]

    def post_message(self, call: Call, channel: str) -> tuple[int, Any]:
        place = self._open(channel, "send")
        body = call.body or {}
        if place["type"] == FORUM:
            raise Refusal(*shapes.NO_TEXT_HERE)
        if place["type"] == DIRECT and place["recipients"][0]["id"] in self.closed_people:
            raise Refusal(*shapes.CLOSED_DIRECT)
        check_text(body, files=bool(call.files))
        nonce = body.get("nonce")
        if nonce is not None and len(str(nonce)) > 25:
            raise form_error("nonce too long")
        if nonce is not None and body.get("enforce_nonce"):
            at, earlier = self._nonces.get(str(nonce), (0.0, {}))
            if earlier and self.clock() - at < self.nonce_lives:
                return 200, self._rendered(earlier)
        self._wake(place)
        message = self._write(channel, self.bot, body, call.files)
        if nonce is not None:
            self._nonces[str(nonce)] = (self.clock(), message)
        return 200, self._rendered(message)

    def history(self, call: Call, channel: str) -> tuple[int, Any]:
        self._open(channel, "history")
        limit = int(call.query.get("limit", 50))
        after, before = int(call.query.get("after", 0)), int(call.query.get("before", 1 << 63))
        held = self._messages[channel].values()
        found = [one for one in held if after < int(one["id"]) < before]
        if "around" in call.query:
            middle = int(call.query["around"])
            found = sorted(held, key=lambda one: abs(int(one["id"]) - middle))[:limit]
            found.sort(key=lambda one: int(one["id"]))
        if not 1 <= limit <= 100:
            raise form_error("limit: between 1 and 100")
        page = found[:limit] if "after" in call.query else found[-limit:]
        return 200, [self._shown(one, self.content_intent) for one in reversed(page)]

    def get_message(self, _: Call, channel: str, message_id: str) -> tuple[int, Any]:
        return 200, self._shown(self._message(channel, message_id), self.content_intent)

    def patch_message(self, call: Call, channel: str, message_id: str) -> tuple[int, Any]:
        message = self._message(channel, message_id)
        if message["author"]["id"] != self.bot["id"]:
            raise Refusal(*shapes.NOT_YOURS)
        self._awake(channel)
        before = message["attachments"]
        files = self._attached(channel, call.body, call.files, before)
        check_text({"content": message["content"]} | call.body, files=bool(files))
        changes = {k: v for k, v in call.body.items() if k in {"content", "components", "embeds"}}
        message |= {k: v or ([] if k != "content" else "") for k, v in changes.items()}
        message |= {"attachments": files, "edited_timestamp": self._now()}
        self._mention(message, call.body.get("allowed_mentions"), None)
        self._tell_message("MESSAGE_UPDATE", message)
        return 200, self._rendered(message)

    def delete_message(self, _: Call, channel: str, message_id: str) -> tuple[int, Any]:
        message = self._message(channel, message_id)
        if message["author"]["id"] != self.bot["id"]:
            if self._channels[channel]["type"] == DIRECT:
                raise Refusal(*shapes.NOT_IN_DIRECT)
            self._open(channel, "manage")
        self._drop_message(channel, message_id)
        return 204, None

    def put_pin(self, _: Call, channel: str, message_id: str) -> tuple[int, Any]:
        message = self._message(channel, message_id)
        self._open(channel, "pin")
        self._awake(channel)
        if not message["pinned"]:
            message["pinned"] = True
            self._tell_message("MESSAGE_UPDATE", message)
            pinned = {"channel_id": channel, "last_pin_timestamp": self._now()}
            self._tell("CHANNEL_PINS_UPDATE", lambda _: pinned | self._server_of(channel))
            self._notice(channel, 6)
        return 204, None

    def put_reaction(self, _: Call, channel: str, message_id: str, emoji: str) -> tuple[int, Any]:
        self._message(channel, message_id)
        self._open(channel, "react")
        self._awake(channel)
        name, _colon, own = emoji.partition(":")
        if self._emojis.get(name) != own if own else emoji.isascii():
            raise Refusal(*shapes.UNKNOWN_EMOJI)
        self._change_reaction(channel, message_id, emoji, self.bot["id"], there=True)
        return 204, None

    def delete_reaction(
        self, _: Call, channel: str, message_id: str, emoji: str
    ) -> tuple[int, Any]:
        self._message(channel, message_id)
        self._awake(channel)
        self._change_reaction(channel, message_id, emoji, self.bot["id"], there=False)
        return 204, None

    def show_typing(self, _: Call, channel: str) -> tuple[int, Any]:
        self._open(channel, "send")
        self.typing.append(channel)
        return 204, None
