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
from typing import Final, Literal, NamedTuple

import httpx2

from bot import rights
from bot.config import load, settings_file
from bot.settings import Settings
from core.errors import DeliveryError, HeedError, SetupError, StoreError
from core.message import Arrival

Check = Callable[[Settings], str]

_MARKS: Final = {"ok": "ok      ", "warn": "ADVICE  ", "fail": "PROBLEM "}
_SPEAKS: Final = {
    "free": "the model or the phrase book (reply.mode free)",
    "facts": "the model with known facts alone (reply.mode facts)",
    "strict": "the phrase book alone (reply.mode strict)",
}


class Advice(str):
    """What a check returns where nothing is broken, yet something is worth doing."""

    __slots__ = ()


class Finding(NamedTuple):
    """What one check found."""

    name: str
    state: Literal["ok", "warn", "fail"]
    text: str


def examine(config: Path | None, say: Callable[[str], None]) -> int:
    """Run every check and `say` a line for each; return 0, or 1 when something needs mending."""
    findings: list[Finding] = []
    try:
        settings = load(config)
    except SetupError as err:  # nothing else can be judged without settings
        findings.append(Finding("settings", "fail", str(err)))
    else:
        findings = look(settings)
        file = settings_file(config)
        source = f"{file} and the environment" if file.exists() else "defaults and the environment"
        findings.insert(0, Finding("settings", "ok", source))
    for name, state, text in findings:
        say(f"{_MARKS[state]} {name:<10} {text}")
    problems = sum(finding.state == "fail" for finding in findings)
    say(f"{problems} to mend." if problems else "All is well.")
    return 1 if problems else 0


def look(settings: Settings, *, running: bool = False) -> list[Finding]:
    """Run every check, in this thread. `running`: by a Heed that holds its address itself."""
    findings = []
    for name, check in CHECKS.items():
        if running and name == "http":
            continue
        try:
            text = check(settings)
        except HeedError as err:
            findings.append(Finding(name, "fail", str(err)))
        else:
            findings.append(Finding(name, "warn" if isinstance(text, Advice) else "ok", text))
    return findings


async def report(settings: Settings) -> list[dict[str, str]]:
    """Return what a running Heed finds about itself, as core.ports.Desk.doctor says."""
    found = await asyncio.to_thread(look, settings, running=True)
    return [{"state": one.state, "name": one.name, "words": str(one.text)} for one in found]


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
    return Advice(
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
    if not _is_loopback(here) and settings.http.token is None:
        raise SetupError(f"{host} is open to the network; set http.token, or http.host 127.0.0.1.")
    return f"{host}:{port} is free"


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "localhost")


def staff(settings: Settings) -> str:
    """Check that Heed can reach every place where staff answer."""
    tokens = {"telegram": settings.telegram.token, "discord": settings.discord.token, "web": True}
    own = settings.desk
    told = () if own.operator_place is None else (own.operator_place,)
    for key, places in (
        ("staff", own.places),
        ("on_call", own.on_call_places),
        ("operator", told),
    ):
        for place in places:
            if not tokens[place.platform]:
                raise SetupError(
                    f"desk.{key} names {place.platform}:{place.chat}, but {place.platform}.token "
                    "is not set; set it, or choose another place."
                )
    return ", ".join(place.platform for place in own.places)


def desk(settings: Settings) -> str:
    """Check the staffed hours, and that somebody may log in where a log-in is the only way."""
    from core.hours import Hours

    own = settings.desk
    Hours.read(own.hours, own.timezone)
    told = f"staffed {own.hours} ({own.timezone})" if own.hours else "always staffed"
    if own.dry_run:
        told += f"; a dry run of {own.dry_run_days} days: no mood calls anybody"
    if _is_loopback(settings.http.host) or _may_log_in(settings):
        return told
    nobody = "nobody may log in on the page: run `heed staff add NAME --admin`"
    if any(place.platform != "web" for place in own.places):
        return Advice(f"{told}; {nobody}")
    raise SetupError(f"{nobody[0].upper()}{nobody[1:]}.")


def _may_log_in(settings: Settings) -> bool:
    from bot.database import file_of
    from core.store import Inline, Store, people

    if not file_of(settings.database.url).exists():
        return False
    store = Store(settings.database.url, Inline)
    try:
        return store.read_now(people.any_staff)
    finally:
        store.close()


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
        me = await rights.ask_telegram(client, "getMe")
        if ours.watch and not me.get("can_read_all_group_messages"):
            raise SetupError(
                "Telegram's privacy mode hides the messages of telegram.watch: switch it off with "
                "/setprivacy at @BotFather, then add the bot to those groups again."
            )
        advice = []
        for chat in _desks(settings, "telegram"):
            advice += await rights.telegram_desk(client, chat, me["id"])
    return _with_advice(f"@{me.get('username', '')}", advice)


def _desks(settings: Settings, platform: str) -> list[str]:
    own = settings.desk
    chats = [one.chat for one in (*own.places, *own.on_call_places) if one.platform == platform]
    return list(dict.fromkeys(chats))


def _with_advice(text: str, advice: Sequence[str]) -> str:
    return Advice("; ".join((text, *advice))) if advice else text


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
    advice: list[str] = []
    channels = _desks(settings, "discord")
    async with rights.discord_client(ours.api_base, token) as client:
        for channel in channels:
            advice += await rights.discord_desk(client, channel)
        if channels and settings.desk.auto_reply == "on":
            await rights.check_intent(client)
    return _with_advice(f"the token is good, mode {ours.mode}", advice)


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
    "desk": desk,
    "telegram": telegram,
    "discord": discord,
}
