from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from adapters.telegram.normalize import ALLOWED
from tests.adapters.telegram_room import ANN, Recorder, adapter, running
from tests.fakes.telegram import TelegramFake

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
    assert fake.webhook == {"url": "https://bot.example/telegram", "secret": "s3cret"}
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
