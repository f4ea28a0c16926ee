"""The accounts on Telegram and Discord, made from the settings; and the commands they offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.desk import DISCORD_BOT, desk_places
from bot.settings import Settings
from core.ports import Adapter, Clock, Door, Question
from core.texts import STAFF, Texts

COMMANDS: Mapping[str, Sequence[tuple[str, str]]] = {
    "en": [
        ("start", "Who I am"),
        ("help", "What I can do"),
        ("human", "Talk to a person of the team"),
        ("link", "Show the team that two accounts are yours"),
        ("reset", "Start afresh"),
        ("privacy", "What is kept about you, and why"),
        ("forget", "Erase everything kept about you"),
    ],
    "zh": [
        ("start", "我是谁"),
        ("help", "我能做什么"),
        ("human", "转人工"),
        ("link", "告诉团队两个账号是同一个人"),
        ("reset", "重新开始"),
        ("privacy", "保存了什么,为什么"),
        ("forget", "删除关于你的一切"),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Platforms:
    """Makes adapters; each library is loaded only when it is needed."""

    settings: Settings
    door: Door
    clock: Clock
    texts: Texts
    alarm: Callable[[str], None]

    def _desks_on(self, platform: str) -> list[str]:
        """Return the chats of staff on one platform, the preferred one first."""
        places = desk_places(self.settings)
        return [place.chat for place in places if place.platform == platform]

    def telegram(self) -> Adapter:
        """Return the Telegram account. Raises SetupError."""
        from adapters.telegram import TelegramAdapter

        own = self.settings.telegram
        return TelegramAdapter(
            self.door,
            token=secret_of(own.token),
            clock=self.clock,
            api_base=own.api_base,
            file_base=own.file_base,
            desk_chats=frozenset(self._desks_on("telegram")),
            watch=frozenset(own.watch),
            mode=own.mode,
            webhook_url=own.webhook_url,
            webhook_secret=secret_of(own.webhook_secret),
            commands=COMMANDS,
            on_alarm=self.alarm,
        )

    def discord(self) -> Adapter:
        """Return the Discord account. Raises SetupError."""
        from adapters.discord import DiscordAdapter

        own = self.settings.discord
        return DiscordAdapter(
            self.door,
            token=secret_of(own.token),
            clock=self.clock,
            bot=DISCORD_BOT,
            api_base=own.api_base,
            gateway_url=own.gateway_url,
            mode=own.mode,
            watch=frozenset(own.watch),
            desk_channel=next(iter(self._desks_on("discord")), ""),
            commands=COMMANDS,
            questions=self._questions(),
            on_alarm=self.alarm,
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


def secret_of(value: Any) -> str:  # noqa: ANN401 - SecretStr or None
    """Return a secret's text; empty when it is not set."""
    return "" if value is None else str(value.get_secret_value())
