"""Secrets that can be recognised, planted in whole runs that go wrong; nowhere do they turn up."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import logging
import re
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import structlog
from aiohttp import web

from bot import setup
from bot.config import load
from bot.faults import FAULTS
from bot.logs import set_up
from bot.settings import Log, known_keys, secret_keys
from core.errors import SetupError
from tests.fakes.discord import DiscordFake
from tests.fakes.telegram import Fault, TelegramFake
from tests.proof import Ledger
from tests.walk.program import Program, heed

MARK = "PLANTED"
PASSWORD = f"{MARK} password of staff"
SECRETS = {
    "telegram.token": f"4242:AA{MARK}TelegramAAAAAAAAAAAAAAAAAA",
    "telegram.webhook_secret": f"{MARK}-hook",
    "telegram.more.shop.token": f"4343:AA{MARK}ShopAAAAAAAAAAAAAAAAAAAAAA",
    "discord.token": f"{MARK}.discord.token",
    "database.url": f"postgresql://heed:{MARK}-data@127.0.0.1:9/heed",
    "model.api_key": f"sk-{MARK}-model",
    "http.token": f"{MARK}-\"http\\token'",
    "privacy.key": f"{MARK}key{'A' * 33}=",
}


def environment(*left_out: str, **more: str) -> dict[str, str]:
    """Return the secrets as variables."""
    named = {k: v for k, v in SECRETS.items() if k not in ("database.url", *left_out)}
    return {f"HEED_{k.upper().replace('.', '__')}": v for k, v in named.items()} | more


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def leaks(folder: Path) -> list[str]:
    """Return where the mark stands in a folder, as it is or in base 64."""
    marks = [MARK.encode(), MARK.encode().hex().encode()]
    marks += [base64.b64encode(b" " * n + MARK.encode())[n + 1 : -4] for n in range(3)]
    return [
        f"{path.relative_to(folder)}: {found[0]!r}"
        for path in files_in(folder)
        for mark in marks
        if (found := re.findall(rb".{0,80}" + re.escape(mark) + rb".{0,40}", path.read_bytes()))
    ]


@asynccontextmanager
async def gossip() -> AsyncIterator[str]:
    """Serve a model that is there, but refuses every key and repeats what it refuses."""

    async def refuse(request: web.Request) -> web.Response:
        key = request.headers.get("Authorization", "")
        if request.path.endswith("/models"):
            return web.json_response({"data": [{"id": "small/model", "object": "model"}]})
        return web.json_response({"error": {"message": f"Incorrect API key: {key}"}}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def test_every_secret_of_the_settings_is_planted() -> None:
    assert set(secret_keys(known_keys())) <= SECRETS.keys()


@pytest.mark.proof_short
@pytest.mark.timeout(240)
async def test_no_secret_turns_up_anywhere(tmp_path: Path, proof: Ledger) -> None:
    answers: list[str] = []
    first, second = (tmp_path / name for name in ("whole", "start"))
    first.mkdir()
    second.mkdir()
    await _whole_run(first, answers)
    await asyncio.to_thread(_bad_starts, second, answers)
    found = leaks(tmp_path)
    found += [one[:300] for one in answers if MARK in html.unescape(one)]
    read = sum(path.stat().st_size for path in files_in(tmp_path))
    size = f"{len(SECRETS) + 2} secrets, {len(answers)} answers, {read // 1024:,} KiB of files"
    what = "planted secrets in logs, tracebacks, database, metrics, pages and commands' output"
    proof("security", what, size, found)


async def _whole_run(folder: Path, answers: list[str]) -> None:
    """Run it at its most talkative; tokens are revoked while it runs; then it is killed."""
    async with (
        TelegramFake(SECRETS["telegram.token"]) as telegram,
        TelegramFake(SECRETS["telegram.more.shop.token"]) as shop,
        DiscordFake(token=SECRETS["discord.token"]) as discord,
        gossip() as model,
    ):
        settings = environment(
            HEED_TELEGRAM__API_BASE=telegram.api_base,
            HEED_TELEGRAM__FILE_BASE=telegram.file_base,
            HEED_TELEGRAM__MORE__SHOP__API_BASE=shop.api_base,
            HEED_TELEGRAM__MORE__SHOP__FILE_BASE=shop.file_base,
            HEED_TELEGRAM__MORE__SHOP__MODE="webhook",
            HEED_TELEGRAM__MORE__SHOP__WEBHOOK_URL="https://bot.example/telegram/webhook/shop",
            HEED_TELEGRAM__MORE__SHOP__WEBHOOK_SECRET=SECRETS["telegram.webhook_secret"],
            HEED_DISCORD__API_BASE=discord.api_base,
            HEED_DISCORD__GATEWAY_URL=discord.gateway_url,
            HEED_MODEL__NAME=model,
            HEED_LOG__LEVEL="debug",
            HEED_LOG__FORMAT="json",
        )
        words = ("staff", "add", "ana", "--admin", "--password-stdin")
        hired = await asyncio.to_thread(heed, folder, *words, said=PASSWORD + "\n", **settings)
        assert hired.returncode == 0, hired
        answers += [hired.stdout, hired.stderr]
        async with Program(folder, **settings) as program:
            telegram.say(11, 11, "hello")
            async with httpx2.AsyncClient(
                base_url=program.url, timeout=30, trust_env=False, verify=False
            ) as one:
                cookie = await _visit(one, answers)
                for fake in (telegram, shop):
                    fake.faults += [Fault("getUpdates", 3, "401"), Fault("sendMessage", 3, "junk")]
                discord.token = "revoked"
                telegram.say(11, 11, "again")
                await one.post("/chat", json={"text": "hi"}, headers=_bearer(SECRETS["http.token"]))
                told = await asyncio.to_thread(heed, folder, "doctor", **settings)
                answers += [told.stdout, told.stderr]
                assert len(told.stdout.splitlines()) > 8, told
            await asyncio.sleep(0.5)
        log = program.log
    assert cookie not in log
    assert '"level": "debug"' in log
    for path in files_in(folder):  # whoever reads the database cannot log in with what is there
        assert cookie.encode() not in path.read_bytes(), path


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _visit(client: httpx2.AsyncClient, answers: list[str]) -> str:
    """Call, push and log in, right and wrong; return the session's secret."""
    right = _bearer(SECRETS["http.token"])
    hook = {"X-Telegram-Bot-Api-Secret-Token": SECRETS["telegram.webhook_secret"]}
    furious = {"text": "I am furious!! You lost my data for the third time!", "user": "ann"}
    for request in (
        client.build_request("POST", "/chat", json=furious, headers=right),
        client.build_request("POST", "/chat", content=b"{", headers=right),
        client.build_request("POST", "/chat", json=furious, headers=_bearer(f"{MARK}-wrong")),
        client.build_request("POST", "/telegram/webhook/shop", content=b"\xff", headers=hook),
        client.build_request("POST", "/telegram/webhook/shop", json={"a": 1}, headers=hook),
        client.build_request("GET", "/metrics", headers=right),
        client.build_request("GET", "/readyz"),
        client.build_request("GET", "/openapi.json"),
        client.build_request("GET", "/"),
    ):
        answer = await client.send(request)
        answers.append(f"{request.method} {request.url} {answer.headers} {answer.text}")
    page = await client.get("/login")
    door = re.search(r'name="door" value="([^"]*)"', page.text)
    assert door
    form = {"door": door[1], "name": "ana", "next": "/settings"}
    wrong = await client.post("/login", data=form | {"password": f"{MARK}, but wrong"})
    entered = await client.post("/login", data=form | {"password": PASSWORD})
    assert (wrong.status_code, entered.status_code) == (401, 303)
    answers.append(wrong.text)
    for path in ("/settings", "/settings/doctor", "/desk", "/desk/1", "/pictures"):
        answer = await client.get(path)
        assert answer.status_code == 200, path
        answers.append(answer.text)
    return client.cookies["heed_session"]


def _bad_starts(folder: Path, answers: list[str]) -> None:
    """Start it with every kind of wrong secret; it says so without repeating it."""
    nobody = {
        "HEED_TELEGRAM__API_BASE": "http://127.0.0.1:9/bot",
        "HEED_DISCORD__API_BASE": "http://127.0.0.1:9/api/v10",
        "HEED_LOG__LEVEL": "debug",
    }
    url = {"HEED_DATABASE__URL": SECRETS["database.url"]}
    cases = {
        "database": ("run", environment(**nobody, **url), 1),
        "key": ("run", nobody | {"HEED_PRIVACY__KEY": f"{MARK} is no key"}, 1),
        "unknown": ("doctor", nobody | {"HEED_TELEGRAM__TOKENS": MARK}, 1),
    }
    for name, (command, settings, _) in cases.items():
        told = heed(folder, command, **settings)
        assert told.returncode != 0, (name, told)
        assert told.stdout + told.stderr, name
        answers += [told.stdout, told.stderr]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment("privacy.key").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HEED_DATABASE__URL", SECRETS["database.url"])


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_kind_of_crash_prints_a_secret(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load().model_copy(update={"log": Log(level="debug", format=form)})
    stream = io.StringIO()
    set_up(settings, stream)
    log = structlog.get_logger("heed")
    try:
        for secret in settings.secrets():
            _crash_everywhere(log, secret, settings)
        text = stream.getvalue() + "".join(capsys.readouterr())
        assert text.count("[secret]") > 60
        assert MARK not in text
        assert MARK not in repr(settings) + str(settings)
        assert MARK not in repr(settings.telegram.bots())
    finally:
        FAULTS.flush()
        monkeypatch.undo()


def _crash_everywhere(log: structlog.stdlib.BoundLogger, secret: str, settings: object) -> None:
    """Let a secret come out of everything that can break."""

    def fail() -> None:
        local = {"inside": secret, "whole": settings}
        raise ValueError(f"GET https://api.example/bot{secret}/getMe failed", local["inside"])

    async def forgotten() -> None:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(0, fail))
        await task
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(0.01)

    try:
        fail()
    except ValueError as error:
        log.exception("failed", where=error)
        log.warning("settings", settings=repr(settings), pair=(secret, {"key": [secret.encode()]}))
        logging.getLogger("telegram.ext.Updater").critical(
            "Error while parsing updates! Received data was %s", {"raw": {"token": secret}}
        )
        logging.getLogger("discord.gateway").warning("Dispatching %r", {"token": secret})
        sys.excepthook(type(error), error, error.__traceback__)
        group = ExceptionGroup(secret, [error, KeyError(secret)])
        sys.excepthook(type(group), group, None)
        error.add_note(f"with {secret}")
        logging.getLogger("lib").warning("%s and %d", secret, secret)
        logging.getLogger("lib").warning("chained", exc_info=error)
    thread = threading.Thread(target=fail, name=f"of {secret}")
    thread.start()
    thread.join()
    asyncio.run(forgotten())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"old key {secret}", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("planted")
def test_questions_and_sentences_repeat_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in environment("privacy.key"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEED_TELEGRAM__API_BASE", "http://127.0.0.1:9/bot")
    monkeypatch.setenv("HEED_DISCORD__API_BASE", "http://127.0.0.1:9/api/v10")
    typed = ["en", f"{MARK}-no-token", SECRETS["telegram.token"], "", "", ""]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{one}\n" for one in typed)))
    assert setup.write_settings()
    assert MARK in (tmp_path / "heed.toml").read_text()
    assert (tmp_path / "heed.toml").stat().st_mode & 0o077 == 0
    said = "".join(capsys.readouterr())
    assert "heed.toml" in said
    wrong = {
        "HEED_TELEGRAM__MODE": MARK,
        "HEED_HTTP__PORT": MARK,
        "HEED_DESK__STAFF": MARK,
        "HEED_HTTP__TOKENS": MARK,
        "HEED_MOOD__HALF_LIFE": MARK,
    }
    for name, value in wrong.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(SetupError) as told:
                load()
        said += str(told.value)
    assert MARK not in said
