"""The accounts on Telegram and Discord, made from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bot import menus
from bot.accounts import DiscordBot, TelegramBot, section_of, text_of
from bot.config import variable
from bot.desk import desk_places
from bot.settings import Settings
from core.errors import SetupError
from core.ports import Adapter, Clock, Door, Question
from core.texts import STAFF, Texts


@dataclass(frozen=True, kw_only=True)
class Platforms:
    """Makes adapters; each library is loaded only when it is needed."""

    settings: Settings
    door: Door
    clock: Clock
    steady: Clock  # never set back or ahead
    texts: Texts
    alarm: Callable[[str, str], None]  # platform, sentence
    suggest: Callable[[str, str], Awaitable[list[str]]]  # what staff may mean while they type

    def all(self) -> Iterator[Adapter]:
        """Make every bot that has a token. Raises SetupError."""
        for name, telegram in self.settings.telegram.bots().items():
            section = section_of("telegram", name)
            with _settings_named(section):
                adapter: Adapter = self._telegram(telegram, section)
            yield adapter
        for name, discord in self.settings.discord.bots().items():
            with _settings_named(section_of("discord", name)):
                adapter = self._discord(discord, name)
            yield adapter

    def _desks_of(self, platform: str, bot: str) -> list[str]:
        """Return the chats of staff that belong to one bot, the preferred one first."""
        places = desk_places(self.settings)
        return [place.chat for place in places if (place.platform, place.bot) == (platform, bot)]

    def _told(self, section: str) -> Callable[[str], None]:
        """Return where a bot's alarms go, which name it where it is not the only one."""
        platform, first = section.partition(".")[0], section in ("telegram", "discord")
        if first:
            return lambda sentence: self.alarm(platform, sentence)
        return lambda sentence: self.alarm(platform, f"[{section}] {_named(sentence, section)}")

    def _telegram(self, own: TelegramBot, section: str) -> Adapter:
        from adapters.telegram import TelegramAdapter

        return TelegramAdapter(
            self.door,
            token=text_of(own.token),
            clock=self.clock,
            steady=self.steady,
            api_base=own.api_base,
            file_base=own.file_base,
            desk_chats=frozenset(self._desks_of("telegram", own.number)),
            watch=frozenset(own.watch),
            repeat=frozenset(own.repeat),
            mode=own.mode,
            webhook_url=own.webhook_url,
            webhook_secret=text_of(own.webhook_secret),
            commands=menus.PEOPLE,
            group_commands=menus.GROUPS,
            admin_commands=menus.ADMINS,
            staff_commands=menus.STAFF,
            on_alarm=self._told(section),
        )

    def _discord(self, own: DiscordBot, name: str) -> Adapter:
        from adapters.discord import DiscordAdapter

        return DiscordAdapter(
            self.door,
            token=text_of(own.token),
            clock=self.clock,
            steady=self.steady,
            bot=name,
            api_base=own.api_base,
            gateway_url=own.gateway_url,
            mode=own.mode,
            watch=frozenset(own.watch),
            desk_channel=next(iter(self._desks_of("discord", name)), ""),
            commands=menus.PEOPLE,
            admin_commands=menus.ADMINS,
            staff_commands=menus.STAFF,
            questions=self._questions(),
            suggest=self.suggest,
            lost=self.texts.say("press_lost", STAFF),
            shards=own.shards,
            on_alarm=self._told(section_of("discord", name)),
        )

    def _questions(self) -> dict[str, Question]:
        """Return what those buttons ask that need words before they do anything."""

        def asks(title: str, *, quoted: bool = False) -> Question:
            label = self.texts.say("form_text", STAFF)
            return Question(title=self.texts.say(title, STAFF), label=label, quoted=quoted)

        return {
            "rp": asks("button_reply"),
            "nt": asks("button_keep_note"),
            "de": asks("button_edit", quoted=True),
            "ia": asks("button_answer_all"),
        }


def _named(sentence: str, section: str) -> str:
    """Let a sentence that an adapter says of its token name the setting of this very bot."""
    first, own = f"{section.partition('.')[0]}.token", f"{section}.token"
    return sentence.replace(first, own).replace(variable(first), variable(own))


@contextmanager
def _settings_named(section: str) -> Iterator[None]:
    try:
        yield
    except SetupError as error:
        raise SetupError(_named(str(error), section)) from error
