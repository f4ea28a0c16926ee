"""`heed doctor`: look at everything that can be wrong, and say for each how to mend it.

A check returns a short text when all is well and raises HeedError otherwise; the message of the
error is the sentence that tells the operator what to do. One that looks at several things returns
its findings. No check changes anything.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bot import survey
from bot.accounts import FIRST, DiscordBot, TelegramBot, section_of
from bot.config import exposed, load, settings_file
from bot.settings import Settings
from bot.survey import Line, State
from core.errors import HeedError, SetupError

Check = Callable[[Settings], "str | list[Finding]"]

_MARKS: Final = {"ok": "ok      ", "warn": "ADVICE  ", "fail": "PROBLEM "}
_SHORT: Final = 20  # letters of a token that somebody could guess
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
    state: State
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
        findings += [Finding("secrets", "warn", one) for one in exposed(config)]
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
            continue
        if isinstance(text, list):
            findings += text
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
    from bot.sealing import state

    url = settings.database.url
    file = file_of(url)
    _check_folder(file)
    if not file.exists():
        return f"{file} will be made by the first `heed run`"
    check(url)
    return f"writable, whole and up to date; {state(settings)}"


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
    key = settings.http.token
    if key is not None and len(key.get_secret_value()) < _SHORT:
        return Advice(f"{host}:{port} is free; http.token is short: take {_SHORT} random letters")
    return f"{host}:{port} is free"


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "localhost")


def staff(settings: Settings) -> str:
    """Check that Heed can reach every place where staff answer."""
    tokens = {"telegram": settings.telegram.bots(), "discord": settings.discord.bots(), "web": True}
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
    from bot.sealing import opened
    from core.store import people

    if not file_of(settings.database.url).exists():
        return False
    with opened(settings) as store:
        return store.read_now(people.any_staff)


def telegram(settings: Settings) -> list[Finding]:
    """Look at every bot on Telegram: token, switches, webhook, rights in each chat."""
    found, say = [], _words(settings)
    for name, own in [(FIRST, settings.telegram), *settings.telegram.more.items()]:
        section, desks = section_of("telegram", name), _desks(settings, "telegram", own)
        path = "/telegram/webhook" if name == FIRST else f"/telegram/webhook/{name}"
        found += _survey(section, own, partial(survey.telegram, own, desks, path, say))
    return found


def discord(settings: Settings) -> list[Finding]:
    """Look at every bot on Discord: token, intents, rights in each channel."""
    found, say = [], _words(settings)
    for name, own in [(FIRST, settings.discord), *settings.discord.more.items()]:
        section, desks = section_of("discord", name), _desks(settings, "discord", own)
        reads = bool(desks) and settings.desk.auto_reply == "on"
        found += _survey(section, own, partial(survey.discord, own, desks, say, reads=reads))
    return found


def _words(settings: Settings) -> Callable[..., str]:
    from core.texts import Texts

    return Texts.load(settings.texts.dir, staff=settings.desk.language).say


def _survey(
    section: str, own: TelegramBot | DiscordBot, ask: Callable[[], Coroutine[Any, Any, list[Line]]]
) -> list[Finding]:
    if own.token is None:
        return [Finding(section, "ok", f"off: {section}.token is not set")]
    try:
        lines = asyncio.run(ask())
    except SetupError as error:
        lines = [("fail", str(error))]
    return [Finding(section, *line) for line in lines]


def _desks(settings: Settings, platform: str, bot: TelegramBot | DiscordBot) -> list[str]:
    """Return the chats of staff that belong to a bot: all, if it is the first with a token."""
    bots: Mapping[str, TelegramBot | DiscordBot] = getattr(settings, platform).bots()
    if bot is not next(iter(bots.values()), None):
        return []
    own = settings.desk
    chats = [one.chat for one in (*own.places, *own.on_call_places) if one.platform == platform]
    return list(dict.fromkeys(chats))


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
