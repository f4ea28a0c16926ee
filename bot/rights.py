"""What a bot needs where staff work: each right, what it is for, and the link that asks for all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlencode


class Right(NamedTuple):
    """One right: how the platform calls it in its settings, and what it is for."""

    name: str
    use: str
    needed: bool  # nothing works without it


TELEGRAM_DESK: Final = {
    "can_manage_topics": Right("Manage topics", "a topic for each case", needed=True),
    "can_pin_messages": Right("Pin messages", "the card stays on top", needed=False),
    "can_delete_messages": Right("Delete messages", "/forget and /del", needed=False),
}
DISCORD_DESK: Final = {
    10: Right("View Channel", "to be there at all", needed=True),
    11: Right("Send Messages", "the cards", needed=True),
    35: Right("Create Public Threads", "a thread for each case", needed=True),
    38: Right("Send Messages in Threads", "what people write", needed=True),
    16: Right("Read Message History", "replies, and what was missed", needed=True),
    34: Right("Manage Threads", "to archive and to open again", needed=False),
    15: Right("Attach Files", "pictures and files", needed=False),
    6: Right("Add Reactions", "the mark on what was delivered", needed=False),
    51: Right("Pin Messages", "the card stays on top", needed=False),
}
MESSAGE_CONTENT: Final = (1 << 18) | (1 << 19)  # an application's flags: whole, or for a small bot


def told(lacking: Iterable[Right]) -> str:
    """Name rights, each with what it is for."""
    return ", ".join(f"{right.name} ({right.use})" for right in lacking)


def telegram_link(username: str) -> str:
    """Return the address that adds a bot to a group with the rights of a desk.

    Telegram then writes `/start here` into that group by itself.
    """
    wanted = "+".join(key.removeprefix("can_") for key in TELEGRAM_DESK)
    return f"https://t.me/{username}?startgroup=here&admin={wanted}"


def discord_link(application: str) -> str:
    """Return the address that adds a bot to a server with the rights of a desk, and no more."""
    bits = sum(1 << bit for bit in DISCORD_DESK)
    asked = {"client_id": application, "scope": "bot applications.commands", "permissions": bits}
    return f"https://discord.com/oauth2/authorize?{urlencode(asked)}"
