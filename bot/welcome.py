"""What the settings say of a chat: whether all of it is heard, whom it serves, what it lacks."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from bot import survey
from bot.accounts import DiscordBot, TelegramBot
from bot.settings import Settings
from core.access import Access
from core.allowance import Allowance
from core.errors import SetupError
from core.message import Place


def access_of(settings: Settings) -> Access:
    """Return whom the bot serves, by the settings of now."""
    own = settings.access
    return Access(
        users=frozenset(own.users),
        chats=frozenset(own.chats),
        servers=frozenset(own.servers),
        operator=settings.desk.operator,
    )


def allowance_of(settings: Settings) -> Allowance:
    """Return how much is answered, by the settings of now."""
    own = settings.limits
    return Allowance(
        per_user_minute=own.per_user_minute,
        per_chat_minute=own.per_chat_minute,
        per_user_day=own.per_user_day,
        per_day=own.per_day,
        zone=ZoneInfo(settings.desk.timezone),
    )


def watched(settings: Settings, place: Place) -> bool:
    """Say whether every message of a chat is heard, not only what is said to the bot."""
    bot = _account(settings, place)
    if bot is None or (isinstance(bot, DiscordBot) and bot.mode != "watch"):
        return False
    return place.chat in bot.watch or bool(place.thread and place.thread in bot.watch)


async def missing(settings: Settings, place: Place) -> list[str]:
    """Return what the bot lacks in a chat of staff's: sentences that say where to click."""
    bot = _account(settings, place)
    try:
        if isinstance(bot, TelegramBot):
            async with survey.telegram_client(bot) as telegram:
                me = await survey.ask_telegram(telegram, "getMe")
                lines = await survey.telegram_desk(telegram, place.chat, me)
        elif isinstance(bot, DiscordBot):
            async with survey.discord_client(bot) as discord:
                me = await survey.ask_discord(discord, "/users/@me", "the bot's account")
                lines = await survey.discord_desk(discord, place.chat, str(me["id"]))
        else:
            return []
    except SetupError as error:
        return [str(error)]
    return [f"{words[:1].upper()}{words[1:]}." for state, words in lines if state != "ok"]


def _account(settings: Settings, place: Place) -> TelegramBot | DiscordBot | None:
    """Return the settings of the bot that stands in a place."""
    if place.platform == "telegram":
        bots = settings.telegram.bots().values()
        return next((bot for bot in bots if bot.number == place.bot), None)
    if place.platform == "discord":
        return settings.discord.bots().get(place.bot)
    return None
