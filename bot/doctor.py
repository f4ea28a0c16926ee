"""`heed doctor`: look at everything that can be wrong, and say for each how to mend it.

A check returns a short text when all is well and raises HeedError otherwise; the message of the
error is the sentence that tells the operator what to do. No check changes anything.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from bot.config import load, settings_file
from bot.settings import Settings
from core.errors import DeliveryError, HeedError, SetupError, StoreError
from core.message import Arrival

Check = Callable[[Settings], str]

_SPEAKS: Final = {
    "free": "the model or the phrase book (reply.mode free)",
    "facts": "the model with known facts alone (reply.mode facts)",
    "strict": "the phrase book alone (reply.mode strict)",
}


class Finding(NamedTuple):
    """What one check found."""

    name: str
    ok: bool
    text: str


def examine(config: Path | None, say: Callable[[str], None]) -> int:
    """Run every check and `say` a line for each; return 0, or 1 when something needs mending."""
    findings: list[Finding] = []
    try:
        settings = load(config)
    except SetupError as err:  # nothing else can be judged without settings
        findings.append(Finding("settings", ok=False, text=str(err)))
    else:
        findings = _all(settings)
        file = settings_file(config)
        source = f"{file} and the environment" if file.exists() else "defaults and the environment"
        findings.insert(0, Finding("settings", ok=True, text=source))
    for name, ok, text in findings:
        say(f"{'ok      ' if ok else 'PROBLEM '} {name:<10} {text}")
    problems = sum(not finding.ok for finding in findings)
    say(f"{problems} to mend." if problems else "All is well.")
    return 1 if problems else 0


def _all(settings: Settings) -> list[Finding]:
    findings = []
    for name, check in CHECKS.items():
        try:
            findings.append(Finding(name, ok=True, text=check(settings)))
        except HeedError as err:
            findings.append(Finding(name, ok=False, text=str(err)))
    return findings


def python(_settings: Settings) -> str:
    """Name the interpreter; one too old could not even read this file."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.prefix == sys.base_prefix:
        return f"{version}, without a virtual environment"
    return f"{version}, in {sys.prefix}"


def database(settings: Settings) -> str:
    """Check that the database can be written, is whole, and has the form this version needs."""
    from bot.database import check, file_of

    url = settings.database.url
    file = file_of(url)
    _check_folder(file)
    if not file.exists():
        return f"{file} will be made by the first `heed run`"
    check(url)
    return "writable, whole and up to date"


def _check_folder(file: Path) -> None:
    folder = file.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise SetupError(f"{folder} is a file where database.url needs a folder; change one.")
    target = file if file.exists() else folder
    if not os.access(folder, os.W_OK | os.X_OK) or not os.access(target, os.W_OK):
        raise SetupError(f"{target} cannot be written; mend its rights or change database.url.")


def model(settings: Settings) -> str:
    """Say which model will speak, and why."""
    from bot.models import chosen

    name, why = chosen(settings)
    return f"{name}: {why}"


def calibrated(settings: Settings) -> str:
    """Check that what `heed calibrate` found is for the model and the prompt in force."""
    from bot.calibrating import state

    return state(settings)


def texts(settings: Settings) -> str:
    """Say whose fixed texts are used; the one for a crisis is the operator's to approve."""
    from core.texts import COMPLETE, USER_ONLY, Texts

    own = Texts.load(settings.texts.dir)
    lacking = [lang for lang in (*COMPLETE, *USER_ONLY) if not own.approved("crisis", lang)]
    if not lacking:
        return "the text for a crisis is your own in every language"
    return (
        f"the text for a crisis is a placeholder in {', '.join(lacking)}: put one with the help "
        "lines of your country into texts.dir"
    )


def replies(settings: Settings) -> str:
    """Check the answers file, and say who may speak."""
    from core.engine.embedded.answers import Answers

    own = settings.answers
    found = Answers(own.file, own.minimum)
    where = f"{own.file} with {len(found)} answers" if own.file.exists() else f"no {own.file}"
    return f"{where} (minimum {own.minimum:g}), then {_SPEAKS[settings.reply.mode]}"


def prompts(settings: Settings) -> str:
    """Check every prompt file."""
    from core.prompts import PromptBook

    book = PromptBook(settings.prompts.dir, settings.prompts.tag)
    book.task()
    book.reply()
    if problems := book.problems():
        raise SetupError("; ".join(problems))
    return f"{settings.prompts.dir or 'built in'}, tagging with {settings.prompts.tag}"


def http(settings: Settings) -> str:
    """Check that the address is free, and not open to the network without a token."""
    host, port = settings.http.host, settings.http.port
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            here = str(probe.getsockname()[0])
    except OSError as err:
        raise SetupError(
            f"{host}:{port} cannot be used ({err.strerror}); stop what runs there "
            "or change http.host or http.port. A running Heed is no fault."
        ) from None
    if not here.startswith("127.") and here != "::1" and settings.http.token is None:
        raise SetupError(f"{host} is open to the network; set http.token, or http.host 127.0.0.1.")
    return f"{host}:{port} is free"


def staff(settings: Settings) -> str:
    """Check that Heed can reach every place where staff answer."""
    tokens = {"telegram": settings.telegram.token, "discord": settings.discord.token, "web": True}
    for place in settings.desk.places:
        if not tokens[place.platform]:
            raise SetupError(
                f"desk.staff names {place.platform}:{place.chat}, but {place.platform}.token "
                "is not set; set it, or choose another place."
            )
    return ", ".join(place.platform for place in settings.desk.places)


def telegram(settings: Settings) -> str:
    """Check the token, and the rights that the settings ask for."""
    if settings.telegram.token is None:
        return "off: telegram.token is not set"
    return asyncio.run(_telegram(settings, settings.telegram.token.get_secret_value()))


async def _telegram(settings: Settings, token: str) -> str:
    from adapters.telegram import TelegramAdapter

    ours = settings.telegram
    adapter = TelegramAdapter(_Shut(), token=token, clock=time.time, api_base=ours.api_base)
    try:
        await adapter.check()
    except DeliveryError as err:
        raise SetupError(
            f"Telegram cannot be reached at {ours.api_base}: look at the network and at "
            "telegram.api_base."
        ) from err
    finally:
        await adapter.close()
    async with httpx2.AsyncClient(base_url=f"{ours.api_base}{token}/", timeout=15) as client:
        me = await _ask(client, "getMe")
        if ours.watch and not me.get("can_read_all_group_messages"):
            raise SetupError(
                "Telegram's privacy mode hides the messages of telegram.watch: switch it off with "
                "/setprivacy at @BotFather, then add the bot to those groups again."
            )
        desks = [place.chat for place in settings.desk.places if place.platform == "telegram"]
        notes = [await _check_desk(client, chat, me["id"]) for chat in desks]
    return f"@{me.get('username', '')}" + "".join(notes)


async def _check_desk(client: httpx2.AsyncClient, chat: str, bot: int) -> str:
    """Check that the bot may open a topic for each case, where there are topics."""
    if not (await _ask(client, "getChat", chat_id=chat)).get("is_forum"):
        return f"; {chat} has no topics: switch them on to have one for each case"
    member = await _ask(client, "getChatMember", chat_id=chat, user_id=bot)
    if member.get("status") != "creator" and not member.get("can_manage_topics"):
        raise SetupError(
            f"The bot may not open topics in the Telegram group {chat}; make it an administrator "
            "with the right to manage topics."
        )
    return ""


async def _ask(client: httpx2.AsyncClient, method: str, **values: object) -> dict[str, Any]:
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


def discord(settings: Settings) -> str:
    """Check the token and the intent that the mode needs."""
    if settings.discord.token is None:
        return "off: discord.token is not set"
    return asyncio.run(_discord(settings, settings.discord.token.get_secret_value()))


async def _discord(settings: Settings, token: str) -> str:
    from adapters.discord import DiscordAdapter

    ours = settings.discord
    adapter = DiscordAdapter(
        _Shut(), token=token, clock=time.time, api_base=ours.api_base, mode=ours.mode
    )
    try:
        await adapter.check()
    except DeliveryError as err:
        raise SetupError(f"{err}".rstrip(".") + ".") from err
    return f"the token is good, mode {ours.mode}"


class _Shut:
    """A door that nothing comes through: an adapter under examination does not serve."""

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        del cursor
        raise StoreError(f"{len(arrivals)} arrivals came to a door that is shut")

    async def read_cursor(self, name: str) -> str | None:
        del name
        return None

    async def cursors(self, prefix: str) -> dict[str, str]:
        del prefix
        return {}


CHECKS: Final[dict[str, Check]] = {
    "python": python,
    "database": database,
    "model": model,
    "prompts": prompts,
    "calibrated": calibrated,
    "texts": texts,
    "replies": replies,
    "http": http,
    "staff": staff,
    "telegram": telegram,
    "discord": discord,
}
