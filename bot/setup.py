"""`heed init`: write heed.toml by asking five questions, and find out by itself what it can.

Every question has an answer by default, so the end of a pipe, or pressing Enter throughout, gives
a Heed that runs: the try-it room on this machine, and no platform. A token is tried at once; then
the bot listens until somebody calls it in the chat where staff work.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SecretStr, ValidationError

from bot import rights, scout, survey
from bot.accounts import DiscordBot, TelegramBot
from bot.config import prepare_environment, settings_file
from bot.console import Accept, ask, say, unless_enter
from bot.settings import Desk, Model, Settings
from bot.survey import Line
from core.errors import DeliveryError, SetupError
from core.message import Place

Language = Literal["en", "zh"]

_ASK_LANGUAGE: Final = "Language of these questions, en or zh / 语言 en 或 zh"
_TEXTS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "overwrite": "{path} exists. Write it anew? (yes/no)",
        "kept": "{path} was left as it was.",
        "telegram": "Telegram token, from @BotFather (empty: no Telegram)",
        "discord": "Discord token, from the developer portal (empty: no Discord)",
        "staff": "Where staff answer: web, telegram:<chat id> or discord:<channel id>",
        "model": "Model: auto, embedded, a Hugging Face name, a folder or an address",
        "again": "Heed cannot use that: it {why}.",
        "refused": "{why} Try again, or press Enter to go on without.",
        "away": "{why}. The token is kept, but could not be tried.",
        "is_telegram": "This is @{name}. To let staff answer in a Telegram group, add it there:",
        "is_discord": "This is {name}. To let staff answer on Discord, add it to your server:",
        "wait_telegram": "Then write /here@{name} in that group. Waiting; Enter goes on without.",
        "wait_discord": "Then write @{name} in staff's channel. Waiting; Enter goes on without.",
        "heard": "Heard: staff are at {staff}.",
        "not_heard": "Nobody was waited for any longer.",
        "webhook": "Another server takes this bot's messages now, so nobody is waited for here.",
        "fine": "The bot has every right there.",
        "mend": "To mend: {words}.",
        "written": "{path} is written. Start with `heed run`, check with `heed doctor`.",
    },
    "zh": {
        "overwrite": "{path} 已存在，要重新写入吗？(yes/no)",
        "kept": "{path} 保持原样。",
        "telegram": "Telegram 令牌，来自 @BotFather（留空：不用 Telegram）",
        "discord": "Discord 令牌，来自开发者门户（留空：不用 Discord）",
        "staff": "人工在哪里回复：web、telegram:<群 id> 或 discord:<频道 id>",
        "model": "模型：auto、embedded、Hugging Face 名称、文件夹或网址",
        "again": "这个回答不能用：it {why}.",
        "refused": "{why} 请再试一次，或按回车跳过。",
        "away": "{why}。令牌已保留，但没能验证。",
        "is_telegram": "这是 @{name}。要让人工在 Telegram 群里回复，请把它加进那个群：",
        "is_discord": "这是 {name}。要让人工在 Discord 上回复，请把它加进你们的服务器：",
        "wait_telegram": "然后在那个群里发送 /here@{name}。正在等待；按回车跳过。",
        "wait_discord": "然后在人工的频道里发送 @{name}。正在等待；按回车跳过。",
        "heard": "收到了：人工在 {staff}。",
        "not_heard": "不再等待。",
        "webhook": "现在有另一台服务器在接收这个机器人的消息，所以这里不等待。",
        "fine": "机器人在那里权限齐全。",
        "mend": "需要处理：{words}。",
        "written": "{path} 已写好。用 `heed run` 启动，用 `heed doctor` 检查。",
    },
}
_YES: Final = frozenset({"y", "yes", "是", "好"})
Listen = Callable[[], Coroutine[Any, Any, Place]]


def write_settings(config: Path | None = None) -> bool:
    """Ask, and write the settings file; False when an existing one was kept.

    Raises SetupError when the file cannot be written.
    """
    prepare_environment()
    logging.getLogger().addHandler(logging.NullHandler())  # what goes wrong is said in sentences
    path = settings_file(config)
    language: Language = "zh" if ask(_ASK_LANGUAGE, "en", _one_of("en", "zh")) == "zh" else "en"
    texts = _TEXTS[language]
    if path.exists() and ask(texts["overwrite"].format(path=path), "no").lower() not in _YES:
        say(texts["kept"].format(path=path))
        return False
    guide = Guide(texts)
    telegram, discord = guide.telegram(), guide.discord()
    refused, found = texts["again"], ",".join(guide.staff) or "web"
    values = {
        ("telegram", "token"): telegram,
        ("discord", "token"): discord,
        ("desk", "staff"): ask(texts["staff"], found, _staff, refused),
        ("model", "name"): ask(texts["model"], "auto", _model, refused),
    }
    _write(path, _toml(values))
    say(texts["written"].format(path=path))
    return True


class Guide:
    """Leads from a token to a chat of staff where the bot may do its work."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self.staff: list[str] = []  # where the bot was called, as desk.staff writes it
        try:
            self._known = Settings()  # of the environment alone: addresses, perhaps tokens
        except ValidationError:  # `heed run` will say so
            self._known = Settings.model_construct()

    def telegram(self) -> str:
        """Ask for the token, and return it; the bot's name proves that it is right."""
        while True:
            token = self._token("telegram")
            known = self._known.telegram
            secret = SecretStr(token) if token else known.token
            own = TelegramBot(token=secret, api_base=known.api_base)
            if secret is None or self._tried(self._telegram(own)):
                return token

    def discord(self) -> str:
        """Ask for the token, and return it."""
        while True:
            token, known = self._token("discord"), self._known.discord
            secret = SecretStr(token) if token else known.token
            own = DiscordBot(token=secret, api_base=known.api_base, gateway_url=known.gateway_url)
            if secret is None or self._tried(self._discord(own)):
                return token

    def _token(self, platform: str) -> str:
        return ask(self._texts[platform], "", _token, self._texts["again"], hidden=True)

    def _tried(self, trying: Coroutine[Any, Any, None]) -> bool:
        """Try a token; False for one that the platform refuses."""
        try:
            asyncio.run(trying)
        except SetupError as error:
            self._say("refused", why=error)
            return False
        except DeliveryError as error:
            self._say("away", why=str(error).rstrip("."))
        return True

    async def _telegram(self, own: TelegramBot) -> None:
        async with survey.telegram_client(own) as client:
            me = await survey.telegram_me(own, client)
            name = str(me["username"])
            self._say("is_telegram", name=name)
            say(f"  {rights.telegram_link(name)}")
            if (await survey.ask_telegram(client, "getWebhookInfo")).get("url"):
                self._say("webhook")
                return
            self._say("wait_telegram", name=name)
            if place := await self._heard(lambda: scout.telegram(own, say)):
                await self._look(lambda: survey.telegram_desk(client, place.chat, me))

    async def _discord(self, own: DiscordBot) -> None:
        async with survey.discord_client(own) as client:
            me, application = await survey.discord_me(own, client)
            name = str(me.get("username", ""))
            self._say("is_discord", name=name)
            say(f"  {rights.discord_link(str(application['id']))}")
            self._say("wait_discord", name=name)
            if place := await self._heard(lambda: scout.discord(own, say)):
                await self._look(lambda: survey.discord_desk(client, place.chat, str(me["id"])))

    async def _heard(self, listen: Listen) -> Place | None:
        """Wait for a call in staff's chat; None: the operator goes on without."""
        try:
            place = await unless_enter(listen())
        except SetupError as error:  # somebody else listens: that does not make the token wrong
            say(str(error))
            return None
        if place is None:
            self._say("not_heard")
            return None
        self.staff.append(f"{place.platform}:{place.chat}")
        self._say("heard", staff=self.staff[-1])
        return place

    async def _look(self, survey_of: Callable[[], Coroutine[Any, Any, Sequence[Line]]]) -> None:
        """Say what the bot lacks in staff's chat, and where to click."""
        try:
            lines = await survey_of()
        except SetupError as error:
            lines = [("fail", str(error).rstrip("."))]
        lacking = [words for state, words in lines if state != "ok"]
        for words in lacking:
            self._say("mend", words=words)
        if not lacking:
            self._say("fine")

    def _say(self, text: str, /, **values: object) -> None:
        say(self._texts[text].format(**values))


def _one_of(*words: str) -> Accept:
    return lambda answer: "" if answer in words else f"must be {' or '.join(words)}"


def _token(answer: str) -> str:
    if any(c.isspace() for c in answer) or len(answer) < 20:
        return "must be the whole token, which is longer and has no space in it"
    return ""


def _staff(answer: str) -> str:
    try:
        Desk(staff=answer)
    except ValidationError as err:
        return str(err.errors()[0]["ctx"]["error"])
    return ""


def _model(answer: str) -> str:
    try:
        Model(name=answer)
    except ValidationError:
        return "must not be empty"
    return ""


def _toml(values: dict[tuple[str, str], str]) -> str:
    """Write the answers as TOML. A JSON string is a TOML string, too."""
    lines = ["# Written by `heed init`. heed.example.toml explains every other key."]
    for (section, key), value in values.items():
        if value:
            lines += ["", f"[{section}]", f"{key} = {json.dumps(value, ensure_ascii=False)}"]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """Put the file there whole or not at all, readable by its owner only: it may hold tokens."""
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
        new.replace(path)
    except OSError as err:
        raise SetupError(f"{path} cannot be written: {err.strerror}.") from None
