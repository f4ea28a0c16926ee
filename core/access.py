"""Whom the bot serves: the operator's lists of people, chats and servers.

Pure: whether somebody works at the desk, or has a case, core.store.doors asks the database.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.message import Message, Place

RIGHTS = frozenset({"privacy", "export", "forget"})  # what is kept of them is theirs, let in or not
KEPT = ("u:forget", "u:keep", "u:stop")  # buttons of /forget


def asks_where(message: Message) -> bool:
    """Say whether somebody asks for the ids of a place; an invitation's link does by `start`."""
    started = message.command == "start" and message.argument.strip().lower() == "here"
    return message.kind == "command" and (
        message.command == "here" or (started and not message.private)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """The lists, each of `platform:id`. An empty one shuts nobody out.

    A group is let in by itself or by its server; where it is let in by neither, a list that
    could name it shuts it out.
    """

    users: frozenset[str] = frozenset()
    chats: frozenset[str] = frozenset()
    servers: frozenset[str] = frozenset()
    operator: str = ""  # platform:id of who runs the bot: always let in
    platforms: frozenset[str] = frozenset({"telegram", "discord"})  # those that lists can name

    def lets_place(self, place: Place, server: str = "") -> bool:
        """Say whether a group is served. A direct chat is none: ask for its person."""
        if place.platform not in self.platforms:
            return True
        lists = self.chats | (self.servers if place.platform == "discord" else frozenset())
        own = {place.chat, place.thread} - {""}
        named = {f"{place.platform}:{one}" for one in own}
        by_server = bool(server) and f"{place.platform}:{server}" in self.servers
        return not lists or bool(named & self.chats) or by_server

    def lets_user(self, platform: str, user: str) -> bool:
        """Say whether a person is served."""
        who = f"{platform}:{user}"
        listed = not self.users or who in self.users or who == self.operator
        return listed or platform not in self.platforms

    def lets(self, message: Message) -> bool:
        """Say whether what somebody wrote is heard, by the lists alone.

        Comings and goings of the platform itself pass: they say nothing of anybody. So does what
        is needed to be let in, and what takes words back.
        """
        key = message.key
        if message.kind in ("moved", "joined", "left", "returned", "deleted"):
            return True
        asks = asks_where(message) or (message.kind == "command" and message.command == "why")
        if message.private:
            pressed = message.kind == "pressed" and message.data in KEPT
            free = asks or (message.kind == "command" and message.command in RIGHTS)
            return free or pressed or self.lets_user(key.platform, key.user)
        if (asks and message.author.admin) or f"{key.platform}:{key.user}" == self.operator:
            return True
        place = self.lets_place(key.place, message.server)
        return place and self.lets_user(key.platform, key.user)
