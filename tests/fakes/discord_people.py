"""The person's side of the Discord fake: what people write, press, pin and delete."""

from __future__ import annotations

import fnmatch
from typing import Any

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_shapes import FORUM, THREAD, WRITTEN, Call, Interaction
from tests.fakes.discord_state import DiscordState, Files


class People(DiscordState):
    """What people do, and what tests ask."""

    def give_role(self, user: str, role: str, permissions: int = 0) -> str:
        """Give somebody a role by its name, with its permissions; returns the role's id."""
        made = self._all_roles.setdefault(role, self._id())
        self._permissions[role] = self._permissions.get(role, 0) | permissions
        self._roles.setdefault(self.person(user), []).append(made)
        return made

    def add_emoji(self, name: str) -> str:
        """Give the server an emoji of its own; returns the id. Before a bot connects."""
        return self._emojis.setdefault(name, self._id())

    def add_server(self, name: str, server_id: str = "") -> tuple[str, str]:
        """Let the bot into another server; returns its id and that of its channel."""
        made = server_id or self._id()
        self.servers[made] = name
        channel = self.add_channel("general", server=made)
        self._tell("GUILD_CREATE", lambda _: self._server(made), made)
        return made, channel

    def forbid(self, channel: str, right: str) -> None:
        """Take a right (view, send, send in threads) away from everybody in a channel."""
        overwrites = self._channels[channel]["permission_overwrites"]
        deny = str(shapes.RIGHTS[right])
        overwrites.append({"id": self.guild, "type": 0, "allow": "0", "deny": deny})
        self.denied.add((channel, right))

    def slow(self, channel: str, seconds: int) -> None:
        """Switch slow mode on."""
        self._channels[channel]["rate_limit_per_user"] = seconds

    def add_forum(self, name: str, *tags: str) -> str:
        """Make a forum with these tags."""
        return self.add_channel(name, kind=FORUM, tags=tags)

    def say(
        self,
        user: str,
        text: str,
        *,
        channel: str | None = None,
        mention: bool = False,
        reply_to: str | None = None,
        files: Files = (),
        sticker: tuple[str, int] | None = None,
        poll: tuple[str, tuple[str, ...]] | None = None,
        forward: tuple[str, str] | None = None,
    ) -> str:
        """Write as a person, in a channel or (without one) to the bot; returns the message id.

        `sticker` is a name and a format (1 picture, 3 drawn by the client alone), `poll` a
        question and its answers, `forward` the channel and the id of another message.
        """
        place = channel or self.dm(user)
        body: dict[str, Any] = {"content": f"<@{self.bot['id']}> {text}" if mention else text}
        more: dict[str, Any] = {}
        if reply_to:
            body["message_reference"] = {"message_id": reply_to}
        if sticker:
            one = {"id": self._id(), "name": sticker[0], "format_type": sticker[1]}
            self._files[one["id"]] = b"sticker " + sticker[0].encode()
            more["sticker_items"] = [one]
        if poll:
            more["poll"] = shapes.poll(*poll, self._now())
        if forward:
            kept = self._messages[forward[0]][forward[1]]
            more["message_snapshots"] = [shapes.snapshot(kept)]
            named = {"type": 1, "channel_id": forward[0], "message_id": forward[1]}
            body["message_reference"] = named
        author = self._people[self.person(user)]
        return str(self._write(place, author, body, files, **more)["id"])

    def edit(self, channel: str, message_id: str, text: str) -> None:
        """Change what somebody wrote."""
        message = self._messages[channel][message_id]
        message |= {"content": text, "edited_timestamp": self._now()}
        self._tell_message("MESSAGE_UPDATE", message)

    def delete(self, channel: str, message_id: str) -> None:
        """Delete what somebody wrote."""
        self._drop_message(channel, message_id)

    def delete_many(self, channel: str, *message_ids: str) -> None:
        """Delete several messages at once, as moderators do."""
        for one in message_ids:
            del self._messages[channel][one]
        data = {"ids": list(message_ids), "channel_id": channel} | self._server_of(channel)
        self._tell("MESSAGE_DELETE_BULK", lambda _: data, data.get("guild_id", ""))

    def type_away(self, user: str, channel: str) -> None:
        """Be seen typing."""
        server = self._server_of(channel)
        at = int(self.clock())
        data = {"channel_id": channel, "user_id": self.person(user), "timestamp": at} | server
        if server:
            data["member"] = self._member(self._people[self.person(user)])
        needed = shapes.GUILD_TYPING if server else shapes.DIRECT_TYPING
        for session in tuple(self._sessions.values()):
            if session.intents & needed and session.hears(server.get("guild_id", "")):
                session.send("TYPING_START", data)

    def come(self, user: str, *, gone: bool = False) -> None:
        """Join or leave the server; only a bot with the intent is told."""
        person = self._people[self.person(user)]
        told = {"user": person} if gone else self._member(person)
        for session in tuple(self._sessions.values()):
            if session.intents & shapes.GUILD_MEMBERS and session.hears(self.guild):
                event = "GUILD_MEMBER_REMOVE" if gone else "GUILD_MEMBER_ADD"
                session.send(event, told | {"guild_id": self.guild})

    def outage(self, server: str = "") -> None:
        """Let a server be unavailable, and come back."""
        name = server or self.guild
        self._tell("GUILD_DELETE", lambda _: {"id": name, "unavailable": True}, name)
        self._tell("GUILD_CREATE", lambda _: self._server(name), name)

    def react(self, user: str, channel: str, message_id: str, emoji: str) -> None:
        """React to a message, with an emoji or `:name:` of the server's own."""
        chosen = self._chosen(emoji)
        self._change_reaction(channel, message_id, chosen, self.person(user), there=True)

    def unreact(self, user: str, channel: str, message_id: str, emoji: str) -> None:
        """Take a reaction back."""
        chosen = self._chosen(emoji)
        self._change_reaction(channel, message_id, chosen, self.person(user), there=False)

    def _chosen(self, emoji: str) -> str:
        name = emoji.strip(":")
        return f"{name}:{self.add_emoji(name)}" if emoji.startswith(":") else emoji

    def press(self, user: str, channel: str, message_id: str, custom_id: str) -> Interaction:
        """Press a button under one of the bot's messages, a whisper too."""
        message = self._messages[channel].get(message_id)
        message = message or self._whispers[self.person(user)][message_id]
        data = {"custom_id": custom_id, "component_type": 2}
        return self._interact(user, channel, 3, data, message=message)

    def submit(self, pressed: Interaction, text: str) -> Interaction:
        """Fill in the form that a press was answered with, and send it."""
        assert pressed.answer is not None
        assert pressed.answer["type"] == 9, "the press was not answered with a form"
        form = pressed.answer["data"]
        [field] = shapes.text_fields(form)
        assert len(text) <= field.get("max_length", 4000), "the form takes no more than its limit"
        assert text or not field.get("required", True), "the form wants a text"
        value = {"type": 4, "custom_id": field["custom_id"], "value": text}
        data = {
            "custom_id": form["custom_id"],
            "components": [{"type": 1, "components": [value]}],
        }
        first = pressed.payload
        person = first["member"]["user"] if "member" in first else first["user"]
        message = {"message": first["message"]} if "message" in first else {}
        return self._interact(person["username"], first["channel_id"], 5, data, **message)

    def slash(
        self, user: str, name: str, *, channel: str | None = None, **options: str
    ) -> Interaction:
        """Use a slash command."""
        chosen = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        data = {"id": self._id(), "name": name, "type": 1, "options": chosen}
        return self._interact(user, channel or self.dm(user), 2, data)

    def begin(self, user: str, name: str, text: str, *, channel: str) -> Interaction:
        """Begin to type a slash command's text, which Discord asks the bot to complete."""
        typing = {"name": "text", "type": 3, "value": text, "focused": True}
        data = {"id": self._id(), "name": name, "type": 1, "options": [typing]}
        return self._interact(user, channel, 4, data)

    def menu(self, user: str, name: str, *, channel: str, message_id: str) -> Interaction:
        """Choose a command from a message's menu; the bot is shown that message whole."""
        message = self._rendered(self._messages[channel][message_id])
        resolved = {"messages": {message_id: message}}
        data = {"id": self._id(), "name": name, "type": 3, "target_id": message_id}
        return self._interact(user, channel, 2, data | {"resolved": resolved})

    def _interact(
        self, user: str, channel: str, kind: int, data: dict[str, Any], **extra: Any
    ) -> Interaction:
        person = self._people[self.person(user)]
        server = self._server_of(channel)
        held = {"permissions": str(self._held(person))}
        who = {"member": self._member(person) | held} if server else {"user": person}
        payload = {
            "id": self._id(),
            "application_id": self.bot["id"],
            "type": kind,
            "data": data,
            "channel_id": channel,
            "channel": {**self._channels[channel], "permissions": "0"},
            "token": f"interaction-{self._last}",
            "version": 1,
            "locale": "en-US",
            "attachment_size_limit": 10_000_000,
            "entitlements": [],
            "authorizing_integration_owners": {},
            **who,
            **server,
            **extra,
        }
        made = Interaction(payload["id"], payload["token"], self.clock(), payload)
        self.interactions[made.id] = made
        self._tell("INTERACTION_CREATE", lambda _: payload, server.get("guild_id", ""))
        return made

    # What people with more rights do to places.

    def archive(self, thread: str) -> None:
        """Archive a thread, as Discord itself does after a quiet week."""
        self._change_thread(thread, archived=True)

    def lock(self, thread: str) -> None:
        """Close and lock a thread: only people may open it again, or a bot that unlocks it."""
        self._change_thread(thread, archived=True, locked=True)

    def delete_channel(self, channel: str) -> None:
        """Delete a channel or thread."""
        gone = self._channels.pop(channel)
        event = "THREAD_DELETE" if gone["type"] == THREAD else "CHANNEL_DELETE"
        self._tell(event, lambda _: gone, gone.get("guild_id", ""))

    forget_channel = delete_channel

    # What tests ask.

    def transcript(self, channel: str) -> list[tuple[str, str]]:
        """Return (author's name, text) of every message of a channel, oldest first."""
        return [(one["author"]["username"], one["content"]) for one in self.messages(channel)]

    def messages(self, channel: str) -> list[dict[str, Any]]:
        """Return the full messages of a channel, oldest first; Discord's own notices left out."""
        return [one for one in self._messages[channel].values() if one["type"] in WRITTEN]

    def whispers(self, user: str) -> list[str]:
        """Return the texts that the bot showed to one person alone."""
        return [one["content"] for one in self.whispered(user)]

    def whispered(self, user: str) -> list[dict[str, Any]]:
        """Return the full messages that the bot showed to one person alone."""
        return list(self._whispers.get(self.person(user), {}).values())

    def reactions(self, message_id: str) -> dict[str, list[str]]:
        """Return who reacted to a message with what: emoji -> user ids."""
        found = self._reactions.get(message_id, {})
        return {emoji: list(users) for emoji, users in found.items() if users}

    def file(self, message: dict[str, Any], number: int = 0) -> bytes:
        """Return what a file of a message holds."""
        return self._files[message["attachments"][number]["id"]]

    def called(self, where: str) -> list[Call]:
        """Return the calls that match "METHOD /path/*"."""
        return [one for one in self.calls if fnmatch.fnmatch(f"{one.method} {one.path}", where)]

    def tags(self, forum: str) -> dict[str, str]:
        """Return the tags of a forum: id -> name."""
        found = self._channels[forum]["available_tags"]
        return {str(one["id"]): str(one["name"]) for one in found}

    def threads(self, channel: str) -> list[dict[str, Any]]:
        """Return the threads of a channel."""
        return [one for one in self._channels.values() if one.get("parent_id") == channel]
