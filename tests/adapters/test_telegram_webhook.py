from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from adapters.telegram import TelegramAdapter
from adapters.telegram.normalize import ALLOWED
from tests.adapters.telegram_room import ANN, Recorder, adapter, running
from tests.adapters.telegram_shelf import Shelf
from tests.fakes.telegram import TelegramFake
from tests.fakes.telegram_flood import Pusher

SETTINGS = {
    "mode": "webhook",
    "webhook_url": "https://bot.example/telegram",
    "webhook_secret": "s3cret",
}
SECRET = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        yield server


def body(fake: TelegramFake) -> bytes:
    return json.dumps(fake.updates.pop(0)).encode()


async def test_an_update_is_stored_before_200_is_answered(fake: TelegramFake) -> None:
    door = Recorder()
    fake.say(ANN, ANN, "hello")
    async with running(fake, door, **SETTINGS) as bot:
        await fake.until(lambda: fake.webhook)
        assert await bot.webhook(SECRET, body(fake)) == 200
        assert door.texts() == ["hello"]
        assert bot.health().state == "ok"
    told = {"url": "https://bot.example/telegram", "secret": "s3cret", "most": 20}
    assert fake.webhook == told
    assert fake.called("setWebhook")[0].params["drop_pending_updates"] in {"False", "false"}
    assert fake.allowed == list(ALLOWED)
    assert not fake.called("getUpdates")


@pytest.mark.parametrize(
    "headers", [{}, dict.fromkeys(SECRET, "wrong"), dict.fromkeys(SECRET, "é")]
)
async def test_without_the_secret_nothing_is_stored(
    fake: TelegramFake, headers: dict[str, str]
) -> None:
    door = Recorder()
    fake.say(ANN, ANN, "forged")
    async with running(fake, door, **SETTINGS) as bot:
        await fake.until(lambda: fake.webhook)
        assert await bot.webhook(headers, body(fake)) == 401
    assert door.arrivals == []


@pytest.mark.parametrize(
    "raw", [b"{broken", b"\xff\xfe", b"[1]", b'{"update_id": 5, "message": 1}']
)
async def test_poison_is_stored_and_gets_200(fake: TelegramFake, raw: bytes) -> None:
    door = Recorder()
    async with running(fake, door, **SETTINGS) as bot:
        await fake.until(lambda: fake.webhook)
        assert await bot.webhook(SECRET, raw) == 200
    assert len(door.poison) == 1
    assert door.poison[0].error


async def test_what_cannot_be_stored_gets_503_and_is_taken_when_offered_again(
    fake: TelegramFake,
) -> None:
    door = Recorder()
    fake.say(ANN, ANN, "hello")
    raw = body(fake)
    async with running(fake, door, **SETTINGS) as bot:
        await fake.until(lambda: fake.webhook)
        door.refuse = 1
        assert await bot.webhook(SECRET, raw) == 503
        assert await bot.webhook(SECRET, raw) == 200
        assert await bot.webhook(SECRET, raw) == 200
    assert door.texts() == ["hello"]


async def test_before_the_bot_knows_its_name_updates_wait_at_telegram(fake: TelegramFake) -> None:
    fake.say(ANN, ANN, "hello")
    bot = adapter(fake, **SETTINGS)
    assert await bot.webhook(SECRET, body(fake)) == 503
    await bot.close()


async def test_a_new_secret_is_told_although_the_address_is_the_old_one(fake: TelegramFake) -> None:
    door = Recorder()
    for secret in ("s3cret", "an0ther"):
        async with running(fake, door, **(SETTINGS | {"webhook_secret": secret})):
            await fake.until(lambda: (fake.webhook or {}).get("secret") == secret)  # noqa: B023
    assert len(fake.called("setWebhook")) == 2


@contextlib.asynccontextmanager
async def endpoint(bot: TelegramAdapter) -> AsyncIterator[str]:
    """Serve the webhook on a port of its own, as the page's server does."""

    async def take(request: web.Request) -> web.Response:
        return web.Response(status=await bot.webhook(request.headers, await request.read()))

    app = web.Application()
    app.router.add_post("/telegram/webhook", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/telegram/webhook"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def pushed(
    fake: TelegramFake, door: Recorder | Shelf, *, twice: bool = False
) -> AsyncIterator[Pusher]:
    """Run an adapter whose webhook the fake calls."""
    async with (
        running(fake, door, **SETTINGS) as bot,  # type: ignore[arg-type]
        endpoint(bot) as address,
        Pusher(fake, address, twice=twice).pushing() as pusher,
    ):
        yield pusher


async def test_a_backlog_is_pushed_in_order_although_every_update_comes_twice_at_once(
    fake: TelegramFake,
) -> None:
    door = Recorder()
    for n in range(60):
        fake.say(ANN, ANN, f"line {n}")
    fake.poison()
    async with pushed(fake, door, twice=True) as pusher:
        await fake.until(lambda: not fake.updates)
    assert door.texts() == [f"line {n}" for n in range(60)]
    assert set(pusher.answers) == {200}


async def test_an_update_that_could_not_be_stored_is_pushed_again_until_it_is(
    fake: TelegramFake,
) -> None:
    door = Recorder()
    door.refuse = 3
    fake.say(ANN, ANN, "precious")
    fake.say(ANN, ANN, "and another")
    async with pushed(fake, door) as pusher:
        await fake.until(lambda: not fake.updates)
    assert door.texts() == ["precious", "and another"]
    assert pusher.answers == [503, 503, 503, 200, 200]


async def test_two_equal_updates_at_once_are_one_row_in_the_database(
    fake: TelegramFake, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path)
    for n in range(20):
        fake.say(ANN, ANN, f"line {n}")
    async with pushed(fake, shelf, twice=True):
        await fake.until(lambda: not fake.updates)
    rows, parked = await shelf.kept()
    shelf.store.close()
    assert (len(rows), set(rows.values()), parked) == (20, {1}, {})


async def test_a_webhook_that_somebody_changed_is_set_again(
    fake: TelegramFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.adapter._WEBHOOK_CHECK", 0.05)
    async with running(fake, Recorder(), **SETTINGS):
        await fake.until(lambda: fake.webhook)
        fake.webhook = {"url": "https://elsewhere.example/hook", "secret": "x"}
        await fake.until(lambda: fake.webhook["url"] == SETTINGS["webhook_url"])
        fake.allowed = ["message"]
        await fake.until(lambda: fake.allowed == list(ALLOWED))
    assert len(fake.called("setWebhook")) >= 3


async def test_a_webhook_that_telegram_cannot_reach_is_told(
    fake: TelegramFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.adapter._WEBHOOK_CHECK", 0.05)
    now = [time.time()]
    async with running(fake, Recorder(), **SETTINGS, clock=lambda: now[0]) as bot:
        await fake.until(lambda: bot.health().state == "ok")
        fake.pushes_failed(502)
        now[0] = fake.webhook["failed"][0] + 0.01
        await fake.until(lambda: "Wrong response" in bot._pulse.problem)
        now[0] += 3600
        await fake.until(lambda: bot.health().state == "ok")
