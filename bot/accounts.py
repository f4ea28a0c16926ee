"""The accounts on the platforms as the operator sets them: the first of each, and further ones.

`[telegram]` is the first bot there, `[telegram.more.NAME]` another one, with the same keys. What
is said of addresses alone holds for all of them; the desk belongs to the first that has a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from bot.section import BotAddress, Repeats, Secret, Section, WebAddress, Words

FIRST: Final = "main"  # what the first bot is called where every bot needs a name
MORE: Final = "more"  # the key below which further bots stand
SEVERAL: Final = ("telegram", "discord")  # the sections that may have further bots


def _bot_name(name: str) -> str:
    # One underscore between two letters at most: two part the words of a variable's name.
    if not re.fullmatch(r"(?=.{1,20}$)[a-z0-9]+(_[a-z0-9]+)*", name) or name == FIRST:
        raise ValueError(
            f"needs a name of 1 to 20 small letters, digits and single _, and not {FIRST}"
        )
    return name


BotName = Annotated[str, AfterValidator(_bot_name)]


class TelegramBot(Section):
    """One bot on Telegram; off while there is no token."""

    token: Secret = None
    api_base: BotAddress = "https://api.telegram.org/bot"
    file_base: BotAddress = "https://api.telegram.org/file/bot"
    mode: Literal["polling", "webhook"] = "polling"
    webhook_url: str = ""  # public address that Telegram calls; ours listens on http.host:port
    webhook_secret: Secret = None
    watch: Words = ()  # chat ids of groups where every message is heard, not only mentions
    repeat: Repeats = ()  # kinds of posts sent again when nobody knows whether they arrived

    @model_validator(mode="after")
    def _webhook_is_whole(self) -> TelegramBot:
        if self.mode == "webhook":
            if not self.webhook_url.startswith("https://"):
                raise ValueError("mode webhook needs webhook_url, and it must start with https://")
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", text_of(self.webhook_secret)):
                raise ValueError(
                    "mode webhook needs webhook_secret: 1 to 256 letters, digits, - or _"
                )
        return self

    @property
    def number(self) -> str:
        """The bot's id on Telegram, which its token begins with."""
        return text_of(self.token).partition(":")[0]


class Telegram(TelegramBot):
    """The first bot on Telegram, and further ones by name."""

    more: dict[BotName, TelegramBot] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _share(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file says
        return _shared(values, ("api_base", "file_base"))

    @model_validator(mode="after")
    def _are_different(self) -> Telegram:
        _refuse_twins("telegram", ((name, bot.number) for name, bot in self.bots().items()))
        return self

    def bots(self) -> dict[str, TelegramBot]:
        """Return the bots that have a token by name, the first one's being FIRST."""
        return {name: bot for name, bot in ((FIRST, self), *self.more.items()) if bot.token}


class DiscordBot(Section):
    """One bot on Discord; off while there is no token."""

    token: Secret = None
    api_base: WebAddress = "https://discord.com/api/v10"
    gateway_url: str = ""  # empty: the address that Discord itself names
    mode: Literal["mention", "watch"] = "mention"
    watch: Words = ()  # channel ids heard in full; needs mode watch and the content intent
    shards: int = Field(default=1, ge=0, le=1000)  # 0: as many as Discord proposes


class Discord(DiscordBot):
    """The first bot on Discord, and further ones by name."""

    more: dict[BotName, DiscordBot] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _share(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file says
        return _shared(values, ("api_base", "gateway_url"))

    @model_validator(mode="after")
    def _are_different(self) -> Discord:
        tokens = ((name, text_of(bot.token)) for name, bot in self.bots().items())
        _refuse_twins("discord", tokens)
        for name, bot in self.more.items():
            for key in ("api_base", "gateway_url"):
                if getattr(bot, key) != getattr(self, key):
                    raise ValueError(
                        f"discord.more.{name}.{key} must be that of discord.{key}, because all "
                        "bots of one process reach Discord at the same address; leave it out"
                    )
        return self

    def bots(self) -> dict[str, DiscordBot]:
        """Return the bots that have a token by name, the first one's being FIRST."""
        return {name: bot for name, bot in ((FIRST, self), *self.more.items()) if bot.token}


def section_of(platform: str, name: str) -> str:
    """Return where a bot stands in the settings: `telegram`, or `telegram.more.NAME`."""
    return platform if name == FIRST else f"{platform}.{MORE}.{name}"


def text_of(secret: Any) -> str:  # noqa: ANN401 - SecretStr or None
    """Return a secret's text; empty when it is not set."""
    return "" if secret is None else str(secret.get_secret_value())


def _shared(values: Any, keys: tuple[str, ...]) -> Any:  # noqa: ANN401
    """Let what is said of the first bot hold for the further ones that say nothing of it."""
    more = values.get(MORE) if isinstance(values, Mapping) else None
    if not isinstance(more, Mapping):
        return values
    shared = {key: values[key] for key in keys if key in values}
    return {**values, MORE: {name: _on_top(own, shared) for name, own in more.items()}}


def _on_top(own: Any, shared: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if isinstance(own, Section):
        own = {key: getattr(own, key) for key in own.model_fields_set}
    return {**shared, **own} if isinstance(own, Mapping) else own


def _refuse_twins(platform: str, bots: Iterable[tuple[str, str]]) -> None:
    """Refuse two entries for one bot: every message would come to it twice, or to neither."""
    known: dict[str, str] = {}
    for name, bot in bots:
        here = f"{section_of(platform, name)}.token"
        if bot in known:
            raise ValueError(f"{known[bot]} and {here} are of the same bot; take one of them out")
        known[bot] = here
