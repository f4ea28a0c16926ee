"""Threads and forums on the web side of the Discord fake."""

from __future__ import annotations

from typing import Any

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_messages import Messages
from tests.fakes.discord_shapes import FORUM, THREAD, Call, Refusal, SlowDown, form_error

RENAMES, RENAME_WINDOW = 2, 600.0  # a channel's name may change so often in so many seconds


class Threads(Messages):
    """The bot's calls about threads."""

    def post_thread(self, call: Call, channel: str) -> tuple[int, Any]:
        parent = self._open(channel, "threads")
        name = call.body.get("name") or ""
        if not 0 < len(name) <= 100:
            raise form_error("a name has 1 to 100 characters")
        self._room_for_one()
        if parent["type"] == FORUM:
            return 201, self._forum_post(parent, call)
        thread = self.add_channel(name, kind=THREAD, parent=channel)
        self._notice(channel, 18, name)
        return 201, self._channels[thread]

    def post_message_thread(self, call: Call, channel: str, message_id: str) -> tuple[int, Any]:
        message = self._message(channel, message_id)
        self._open(channel, "threads")
        if message_id in self._channels:
            raise Refusal(400, 160004, "A thread has already been created for this message")
        self._room_for_one()
        name = call.body.get("name") or ""
        if not 0 < len(name) <= 100:
            raise form_error("a name has 1 to 100 characters")
        made = self.add_channel(name, kind=THREAD, parent=channel, channel_id=message["id"])
        return 201, self._channels[made]

    def patch_channel(self, call: Call, channel: str) -> tuple[int, Any]:
        place = self._open(channel, "view")
        body = dict(call.body)
        if place["type"] != THREAD:
            self._open(channel, "manage")
            place |= {k: v for k, v in body.items() if k in {"topic", "rate_limit_per_user"}}
            self._rename(channel, body.get("name", place["name"]))
            self._tell("CHANNEL_UPDATE", lambda _: place, place["guild_id"])
            return 200, place
        meta = place["thread_metadata"]
        unlocks = body.get("locked", meta["locked"]) != meta["locked"]
        if unlocks or (meta["locked"] and body.get("archived") is False):
            self._open(channel, "lock")
        more = set(body) - {"archived", "locked"}
        if meta["archived"] and body.get("archived") is not False and more:
            raise Refusal(*shapes.ARCHIVED)
        if meta["archived"] and body.get("archived") is False:
            self._room_for_one()
        if "applied_tags" in body:
            tags = self._tags(self._channels[place["parent_id"]], body["applied_tags"])
            place["applied_tags"] = tags
        self._rename(channel, body.get("name", place["name"]))
        place["thread_metadata"] = meta | {
            name: body[name] for name in ("archived", "locked") if name in body
        }
        self._tell("THREAD_UPDATE", lambda _: place, place["guild_id"])
        return 200, place

    def put_thread_member(self, _: Call, channel: str, user: str) -> tuple[int, Any]:
        self._open(channel, "send")
        self._awake(channel)
        self._joined.setdefault(channel, set()).add(user)
        return 204, None

    def delete_thread_member(self, _: Call, channel: str, user: str) -> tuple[int, Any]:
        self._open(channel, "send")
        self._joined.setdefault(channel, set()).discard(user)
        return 204, None

    def get_thread_members(self, _: Call, channel: str) -> tuple[int, Any]:
        self._open(channel, "view")
        names = sorted(self._joined.get(channel, ()))
        return 200, [{"id": channel, "user_id": one, "flags": 0} for one in names]

    def _rename(self, channel: str, name: str) -> None:
        place, now = self._channels[channel], self.clock()
        if name == place["name"]:
            return
        if not 0 < len(name) <= 100:
            raise form_error("a name has 1 to 100 characters")
        recent = [at for at in self._renames.get(channel, ()) if now - at < RENAME_WINDOW]
        if len(recent) >= RENAMES:
            raise SlowDown(recent[0] + RENAME_WINDOW - now)
        self._renames[channel] = [*recent, now]
        place["name"] = name
        self._notice(channel, 4, name)

    def _room_for_one(self) -> None:
        threads = [one for one in self._channels.values() if one["type"] == THREAD]
        active = [one for one in threads if not one["thread_metadata"]["archived"]]
        if len(active) >= self.thread_limit:
            raise Refusal(*shapes.FULL)

    def _forum_post(self, forum: dict[str, Any], call: Call) -> dict[str, Any]:
        first = call.body.get("message")
        if first is None:
            raise form_error("message: this field is required")
        shapes.check_text(first, files=bool(call.files))
        tags = self._tags(forum, call.body.get("applied_tags") or [])
        made = self._id()
        self.add_channel(call.body["name"], kind=THREAD, parent=forum["id"], channel_id=made)
        self._channels[made]["applied_tags"] = tags
        message = self._write(made, self.bot, first, call.files, id=made)
        return self._channels[made] | {"message": self._rendered(message)}

    def _tags(self, forum: dict[str, Any], wanted: list[Any]) -> list[str]:
        known = {one["id"] for one in forum.get("available_tags") or ()}
        chosen = [str(one) for one in wanted]
        if len(chosen) > 5 or not set(chosen) <= known:
            raise form_error("applied_tags: at most 5, of those that the forum has")
        return chosen
