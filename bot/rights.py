"""What the bot may do where staff work: asked of the platforms, told right by right.

A right that a case cannot do without is a SetupError; one whose lack has a fallback is advice.
Each sentence says where to click. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import httpx2

from core.errors import SetupError

SECONDS: Final = 15.0


class Right(NamedTuple):
    """One right: how the platform calls it in its settings, and what it is for."""

    name: str
    use: str
    needed: bool  # nothing works without it


_TELEGRAM: Final = {
    "can_manage_topics": Right("Manage topics", "a topic for each case", needed=True),
    "can_pin_messages": Right("Pin messages", "the card stays on top", needed=False),
    "can_delete_messages": Right("Delete messages", "/forget and /del", needed=False),
}
_DISCORD: Final = {
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
_ADMINISTRATOR: Final = 1 << 3
_INTENTS: Final = (1 << 18) | (1 << 19)  # message content, whole or for a small bot


def _told(lacking: Iterable[Right]) -> str:
    return ", ".join(f"{right.name} ({right.use})" for right in lacking)


# --- Telegram ---------------------------------------------------------------------------------


async def telegram_desk(client: httpx2.AsyncClient, chat: str, bot: int) -> list[str]:
    """Return advice about a Telegram group where staff work. Raises SetupError."""
    advice = []
    forum = bool((await ask_telegram(client, "getChat", chat_id=chat)).get("is_forum"))
    if not forum:
        advice.append(
            f"{chat} has no topics, so all cases share one chat; to have one topic for each case "
            "open the group, then Edit > Topics"
        )
    member = await ask_telegram(client, "getChatMember", chat_id=chat, user_id=bot)
    lacking = {
        key: right
        for key, right in _TELEGRAM.items()
        if member.get("status") != "creator" and not member.get(key)
    }
    if not forum:
        lacking.pop("can_manage_topics", None)
    if not lacking:
        return advice
    click = "Edit > Administrators > the bot"
    if member.get("status") != "administrator":
        click = "Edit > Administrators > Add Administrator > the bot"
    words = (
        f"in the Telegram group {chat} the bot lacks {_told(lacking.values())}: open the group, "
        f"then {click}, and switch that on"
    )
    if any(right.needed for right in lacking.values()):
        raise SetupError(f"{words[0].upper()}{words[1:]}.")
    return [*advice, words]


async def ask_telegram(client: httpx2.AsyncClient, method: str, **values: object) -> dict[str, Any]:
    """Call one method of the Bot API. No error repeats the address: it holds the token."""
    try:
        answer = (await client.post(method, json=values)).json()
    except (httpx2.HTTPError, ValueError):
        raise SetupError("Telegram cannot be reached now; look at the network.") from None
    if not answer.get("ok"):
        where = f" for {values['chat_id']}" if "chat_id" in values else ""
        raise SetupError(
            f"Telegram refused {method}{where}: {answer.get('description', 'no reason given')}; "
            "check the chat id, and that the bot is in that chat."
        )
    return dict(answer["result"])


# --- Discord ----------------------------------------------------------------------------------


def discord_client(base: str, token: str) -> httpx2.AsyncClient:
    """Return a client of Discord's HTTP interface."""
    return httpx2.AsyncClient(
        base_url=base,
        headers={"Authorization": f"Bot {token}", "User-Agent": "DiscordBot (heed, 1)"},
        timeout=SECONDS,
    )


async def discord_desk(client: httpx2.AsyncClient, channel: str) -> list[str]:
    """Return advice about a Discord channel where staff work. Raises SetupError."""
    place = await _ask_discord(client, f"/channels/{channel}", channel)
    guild = str(place.get("guild_id") or "")
    if not guild:
        raise SetupError(f"desk.staff names {channel}, which is no channel of a Discord server.")
    me = str((await _ask_discord(client, "/users/@me", channel))["id"])
    server = await _ask_discord(client, f"/guilds/{guild}", channel)
    own = await _ask_discord(client, f"/guilds/{guild}/members/{me}", channel)
    held = permissions(server, own["roles"], place.get("permission_overwrites") or [], me)
    lacking = [right for bit, right in _DISCORD.items() if not held >> bit & 1]
    if not lacking:
        return []
    words = (
        f"in the Discord channel {place.get('name') or channel} the bot lacks {_told(lacking)}: "
        "open the channel's settings, then Permissions > the bot's role, and allow that"
    )
    if any(right.needed for right in lacking):
        raise SetupError(f"{words[0].upper()}{words[1:]}.")
    return [words]


async def check_intent(client: httpx2.AsyncClient) -> None:
    """Check that the bot may read plain lines. Raises SetupError that says where to allow it."""
    application = await _ask_discord(client, "/oauth2/applications/@me", "")
    if not int(application.get("flags") or 0) & _INTENTS:
        raise SetupError(
            "desk.auto_reply is on, but Discord hides plain lines from the bot: switch on Message "
            "Content Intent at discord.com/developers/applications > the bot > Bot, or leave "
            "auto_reply empty."
        )


def permissions(
    server: Mapping[str, Any],
    roles: Iterable[str],
    overwrites: Iterable[Mapping[str, Any]],
    user: str,
) -> int:
    """Return the permission bits of somebody in a channel, as Discord's documentation says."""
    if str(server.get("owner_id")) == user:
        return -1  # every bit
    everyone = str(server["id"])
    mine = {str(role) for role in roles} | {everyone}
    held = 0
    for role in server["roles"]:
        if str(role["id"]) in mine:
            held |= int(role["permissions"])
    if held & _ADMINISTRATOR:
        return -1
    by_id = {str(one["id"]): one for one in overwrites}
    steps = ([everyone], sorted(mine - {everyone}), [user])  # each goes over the one before
    for step in steps:
        found = [by_id[one] for one in step if one in by_id]
        for one in found:
            held &= ~int(one["deny"])
        for one in found:
            held |= int(one["allow"])
    return held


async def _ask_discord(client: httpx2.AsyncClient, path: str, channel: str) -> dict[str, Any]:
    try:
        answer = await client.get(path)
        found = answer.json()
    except (httpx2.HTTPError, ValueError):
        raise SetupError("Discord cannot be reached now; look at the network.") from None
    if answer.status_code >= 400 or not isinstance(found, dict):
        reason = found.get("message") if isinstance(found, dict) else ""
        raise SetupError(
            f"Discord refused to show {channel or 'the application'} "
            f"({reason or answer.status_code}); check the channel id in desk.staff, and that the "
            "bot was invited to that server and may view the channel."
        )
    return found
