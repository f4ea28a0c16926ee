"""What the platforms say of a bot: its name, its switches, its rights in each chat that matters.

Every finding is a line: ok, warn (something is missed, the rest works) or fail, and a sentence that
says where to click. Nothing here changes anything, and no sentence repeats a token.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import httpx2

from bot import rights
from bot.accounts import DiscordBot, TelegramBot, text_of
from bot.rights import told
from bot.shut import Shut
from core.errors import DeliveryError, SetupError
from core.message import Place
from core.ports import Adapter
from core.texts import STAFF

if TYPE_CHECKING:
    from adapters.discord import DiscordAdapter
    from adapters.telegram import TelegramAdapter

State = Literal["ok", "warn", "fail"]
Line = tuple[State, str]
Say = Callable[..., str]  # core.texts.Texts.say

SECONDS: Final = 15.0
_RECENT: Final = 3600.0  # a webhook that failed so many seconds ago is told of


async def _lines(work: Coroutine[Any, Any, list[Line]]) -> list[Line]:
    """Return what was found about one chat; a platform's refusal is a finding, too."""
    try:
        return await work
    except SetupError as error:
        return [("fail", str(error))]


async def _gates(
    adapter: Adapter, chat: str, what: str, say: Say, *, of_desk: bool = False
) -> list[Line]:
    """Say what keeps messages of a chat from the bot, or its answers from the chat.

    `of_desk`: its rights are told one by one elsewhere; slow mode is all that is left to tell.
    """
    try:
        found = await adapter.gates(Place(platform=adapter.platform, bot=adapter.bot, chat=chat))
    except DeliveryError as error:
        return [] if of_desk else [("fail", f"{what} {chat}: {str(error).rstrip('.')}")]
    lines: list[Line] = []
    for gate in found:
        slow = gate.name.endswith("_slow")
        if not gate.open and (slow or not of_desk):
            words = say(f"gate_{gate.name}_shut", STAFF, **gate.values)
            lines.append(("warn" if slow else "fail", f"{what} {chat}: {words.rstrip('.')}"))
    return lines if lines or of_desk else [("ok", f"{what} {chat}: it hears all and may answer")]


# --- Telegram ---------------------------------------------------------------------------------


async def telegram(own: TelegramBot, desks: Sequence[str], path: str, say: Say) -> list[Line]:
    """Look at one bot on Telegram; `path` is where this Heed takes its webhook's updates.

    Raises SetupError where there is nothing to look at: a wrong token, no connection.
    """
    async with telegram_client(own) as client, _telegram_adapter(own, desks) as adapter:
        try:
            await adapter.check()
        except DeliveryError:
            raise SetupError(
                f"Telegram cannot be reached at {own.api_base}: look at the network and at "
                "telegram.api_base."
            ) from None
        me = await ask_telegram(client, "getMe")
        lines: list[Line] = [
            ("ok", f"@{me['username']}, {me.get('first_name', '')}"),
            ("ok", f"to add it to a group: {rights.telegram_link(me['username'])}"),
        ]
        if me.get("can_join_groups") is False:
            lines.append(("warn", "it may not join groups: /setjoingroups at @BotFather, Enable"))
        lines.append(("ok", f"privacy mode is {_privacy(me)}"))
        lines += await _lines(_webhook(own, client, path))
        for chat in desks:
            lines += await _lines(telegram_desk(client, chat, me))
            lines += await _gates(adapter, chat, "staff group", say, of_desk=True)
        for chat in own.watch:
            lines += await _gates(adapter, chat, "watched group", say)
    return lines


@asynccontextmanager
async def _telegram_adapter(
    own: TelegramBot, desks: Sequence[str]
) -> AsyncIterator[TelegramAdapter]:
    from adapters.telegram import TelegramAdapter

    adapter = TelegramAdapter(
        Shut(),
        token=text_of(own.token),
        clock=time.time,
        api_base=own.api_base,
        desk_chats=frozenset(desks),
        watch=frozenset(own.watch),
        mode=own.mode,
        webhook_url=own.webhook_url,
        webhook_secret=text_of(own.webhook_secret),
    )
    try:
        yield adapter
    finally:
        await adapter.close()


def telegram_client(own: TelegramBot) -> httpx2.AsyncClient:
    """Return a client of the Bot API for one bot."""
    base = f"{own.api_base}{text_of(own.token)}/"
    return httpx2.AsyncClient(base_url=base, timeout=SECONDS)


async def telegram_me(own: TelegramBot, client: httpx2.AsyncClient) -> dict[str, Any]:
    """Return who a bot is. Raises SetupError for a wrong token, DeliveryError: no connection."""
    async with _telegram_adapter(own, ()) as adapter:
        await adapter.check()
    return await ask_telegram(client, "getMe")


def _privacy(me: Mapping[str, Any]) -> str:
    if me.get("can_read_all_group_messages"):
        return "off: it hears every message of its groups, and keeps those it is told to watch"
    return "on: in groups it hears commands, mentions and replies, and as administrator everything"


async def _webhook(own: TelegramBot, client: httpx2.AsyncClient, path: str) -> list[Line]:
    known = await ask_telegram(client, "getWebhookInfo")
    url, waiting = str(known.get("url") or ""), int(known.get("pending_update_count") or 0)
    if own.mode == "polling":
        if not url:
            return [("ok", f"polling; {waiting} updates wait")]
        host = urlsplit(url).hostname
        return [("warn", f"Telegram still pushes to {host}; the next `heed run` ends that")]
    lines: list[Line] = []
    if url != own.webhook_url:
        lines.append(("warn", "Telegram does not know webhook_url yet; `heed run` tells it"))
    failed = float(known.get("last_error_date") or 0.0)
    if time.time() - failed < _RECENT:
        why = str(known.get("last_error_message") or "no reason given")
        lines.append(
            ("fail", f"Telegram cannot deliver to webhook_url ({why}): let it end at {path} here")
        )
    return lines or [("ok", f"webhook at {urlsplit(url).hostname}, for {path}; {waiting} wait")]


async def telegram_desk(client: httpx2.AsyncClient, chat: str, me: Mapping[str, Any]) -> list[Line]:
    """Look at a group where staff work. Raises SetupError."""
    about = await ask_telegram(client, "getChat", chat_id=chat)
    member = await ask_telegram(client, "getChatMember", chat_id=chat, user_id=me["id"])
    name, status = f"the staff group {_titled(chat, about)}", member.get("status")
    if status in ("left", "kicked"):
        return [_not_in(name)]
    lines: list[Line] = []
    if not (forum := bool(about.get("is_forum"))):
        words = f"{name} has no topics, so all cases share one chat; to have one topic for each"
        lines.append(("warn", f"{words} case open the group, then Edit > Topics"))
    lacking = [
        right
        for key, right in rights.TELEGRAM_DESK.items()
        if status != "creator" and not member.get(key) and (forum or key != "can_manage_topics")
    ]
    click = "Edit > Administrators > the bot"
    if status != "administrator":
        click = "Edit > Administrators > Add Administrator > the bot"
    for right in lacking:
        words = f"in {name} the bot lacks {told([right])}: open the group, then {click}"
        lines.append(("fail" if right.needed else "warn", f"{words}, and switch that on"))
    if not lacking:
        lines.append(("ok", f"{name}: every right is there"))
    return lines


def _titled(chat: str, about: Mapping[str, Any]) -> str:
    return f"{chat} ({about['title']})" if about.get("title") else chat


def _not_in(name: str) -> Line:
    return "fail", f"the bot is not in {name}: add it by the link above"


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


async def discord(own: DiscordBot, desks: Sequence[str], say: Say, *, reads: bool) -> list[Line]:
    """Look at one bot on Discord; `reads`: staff's plain lines count, for which it needs an intent.

    Raises SetupError where there is nothing to look at: a wrong token, no connection.
    """
    async with discord_client(own) as client, _discord_adapter(own) as adapter:
        try:
            me, application = await discord_me(own, client)
        except DeliveryError as error:
            raise SetupError(f"{str(error).rstrip('.')}.") from None
        lines: list[Line] = [
            ("ok", f"{me.get('username', '')}, mode {own.mode}"),
            ("ok", f"to add it to a server: {rights.discord_link(str(application['id']))}"),
        ]
        if application.get("bot_require_code_grant"):
            lines.append(
                ("fail", f"that link cannot work: {_PORTAL} > Bot > Requires OAuth2 Code Grant off")
            )
        lines += _intents(own, int(application.get("flags") or 0), reads=reads)
        for channel in desks:
            lines += await _lines(discord_desk(client, channel, str(me["id"])))
            lines += await _gates(adapter, channel, "staff channel", say, of_desk=True)
        for channel in own.watch if own.mode == "watch" else ():
            lines += await _gates(adapter, channel, "watched channel", say)
    return lines


@asynccontextmanager
async def _discord_adapter(
    own: DiscordBot, *, mention: bool = False
) -> AsyncIterator[DiscordAdapter]:
    """Make an adapter that serves nobody; with `mention` it asks for no intent."""
    from adapters.discord import DiscordAdapter

    adapter = DiscordAdapter(
        Shut(),
        token=text_of(own.token),
        clock=time.time,
        api_base=own.api_base,
        gateway_url=own.gateway_url,  # global to the process, where a Heed may be running
        mode="mention" if mention else own.mode,
        watch=frozenset(own.watch),
    )
    try:
        yield adapter
    finally:
        await adapter.close()


_PORTAL: Final = "discord.com/developers/applications > the application"


def _intents(own: DiscordBot, flags: int, *, reads: bool) -> list[Line]:
    """Compare the portal's switch with what the settings need."""
    granted = bool(flags & rights.MESSAGE_CONTENT)
    click = f"switch on Message Content Intent at {_PORTAL} > Bot"
    if not granted and own.mode == "watch":
        words = f"mode watch needs every message's text: {click}, or set mode mention"
        return [("fail", f"{words}; until then only mentions and direct messages are heard")]
    if not granted and reads:
        words = f"desk.auto_reply is on, but Discord hides plain lines from the bot: {click}"
        return [("fail", f"{words}, or leave auto_reply empty")]
    if own.watch and own.mode == "mention":
        return [("warn", "watch names channels, but mode mention hears none in full: mode watch")]
    if granted:
        return [("ok", "the Message Content intent is on")]
    return [("ok", "no privileged intent, and mode mention needs none")]


@asynccontextmanager
async def discord_client(own: DiscordBot) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client of Discord's HTTP interface for one bot."""
    headers = {"Authorization": f"Bot {text_of(own.token)}", "User-Agent": "DiscordBot (heed, 1)"}
    async with httpx2.AsyncClient(
        base_url=own.api_base, headers=headers, timeout=SECONDS
    ) as client:
        yield client


async def discord_me(
    own: DiscordBot, client: httpx2.AsyncClient
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the bot's account and its application.

    Raises SetupError for a wrong token, DeliveryError when Discord cannot be reached.
    """
    async with _discord_adapter(own, mention=True) as adapter:  # the intent is looked at apart
        await adapter.check()
    me = await ask_discord(client, "/users/@me", "the bot's account")
    return me, await ask_discord(client, "/oauth2/applications/@me", "the application")


async def discord_desk(client: httpx2.AsyncClient, channel: str, me: str) -> list[Line]:
    """Look at a channel where staff work. Raises SetupError."""
    from adapters.discord.permissions import permissions

    what = f"the staff channel {channel}"
    place = await ask_discord(client, f"/channels/{channel}", what)
    guild = str(place.get("guild_id") or "")
    if not guild:
        raise SetupError(f"{channel} is no channel of a Discord server; name one that is.")
    name = f"{what} (#{place['name']})" if place.get("name") else what
    server = await ask_discord(client, f"/guilds/{guild}", f"the server of {name}")
    own = await ask_discord(client, f"/guilds/{guild}/members/{me}", f"itself in that of {name}")
    held = permissions(server, own["roles"], place.get("permission_overwrites") or [], me)
    click = "open the channel's settings, then Permissions > the bot's role, and allow that"
    lines: list[Line] = [
        ("fail" if right.needed else "warn", f"in {name} the bot lacks {told([right])}: {click}")
        for bit, right in rights.DISCORD_DESK.items()
        if not held >> bit & 1
    ]
    if _muted(own):
        lines.append(("fail", f"the bot was timed out in the server of {name}: end its time-out"))
    return lines or [("ok", f"{name}: every right is there")]


def _muted(member: Mapping[str, Any]) -> bool:
    until = member.get("communication_disabled_until")
    return bool(until) and datetime.fromisoformat(str(until)).timestamp() > time.time()


async def ask_discord(client: httpx2.AsyncClient, path: str, what: str) -> dict[str, Any]:
    """Call Discord's HTTP interface; `what` names in a sentence what is asked for."""
    try:
        answer = await client.get(path)
        found = answer.json()
    except (httpx2.HTTPError, ValueError):
        raise SetupError("Discord cannot be reached now; look at the network.") from None
    if answer.status_code >= 400 or not isinstance(found, dict):
        reason = found.get("message") if isinstance(found, dict) else ""
        raise SetupError(
            f"Discord refused to show {what} ({reason or answer.status_code}); check the channel "
            "id, and that the bot was added to that server by the link above and may view the "
            "channel."
        )
    return found
