"""What goes wrong between Telegram and us: every trouble is got over, and told once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from adapters.telegram.poll import Backoff
from core.errors import OutcomeUnknown
from tests.adapters.telegram_room import ANN, Memory, Recorder, post, running
from tests.fakes.telegram import TelegramFake
from tests.patience import PATIENCE


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        yield server


@pytest.fixture
def door(fake: TelegramFake) -> Recorder:
    return Recorder(fake)


@pytest.mark.parametrize(
    "kind", ["409", "500", "502", "502json", "503", "429", "reset", "cut", "junk", "401", "404"]
)
async def test_it_recovers_from_every_fault_of_a_poll(
    fake: TelegramFake, door: Recorder, kind: Any
) -> None:
    fake.fail("getUpdates", kind, 2, apply=True, **({"retry_after": 0} if kind == "429" else {}))
    fake.say(ANN, ANN, "still here")
    async with running(fake, door) as bot:
        await fake.until(lambda: door.messages)
        await fake.until(lambda: bot.health().state == "ok")
    assert door.texts() == ["still here"]


async def test_a_poll_that_hangs_is_given_up(
    fake: TelegramFake, door: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.poll.SLACK", 0.2)
    fake.fail("getUpdates", "hang")
    fake.say(ANN, ANN, "after the hang")
    async with running(fake, door, poll_timeout=0.0):
        await fake.until(lambda: door.messages)
    assert door.texts() == ["after the hang"]


async def test_an_answer_that_drips_is_given_up(
    fake: TelegramFake, door: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.poll.SLACK", 0.3)
    fake.fail("getUpdates", "drip", apply=True)
    fake.say(ANN, ANN, "after the drip")
    async with running(fake, door, poll_timeout=0.0):
        await fake.until(lambda: door.messages)
    assert door.texts() == ["after the drip"]
    assert fake.called("getUpdates")[0].fault == "drip"


async def test_a_call_whose_answer_drips_is_an_unknown_outcome(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.say(ANN, ANN, "hello")
    fake.fail("sendMessage", "drip", apply=True)
    async with running(fake, door, call_timeout=0.3) as bot:
        with pytest.raises(OutcomeUnknown):
            async with asyncio.timeout(PATIENCE):
                await bot.deliver(post("notice", "x", ANN), Memory())


@pytest.mark.parametrize(
    "wild", [b"[" * 100_000 + b"]" * 100_000, b"9" * 5000, b'"\xff"'], ids=["deep", "long", "bytes"]
)
async def test_an_update_that_no_parser_takes_is_parked_alone(
    fake: TelegramFake, door: Recorder, wild: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.say(ANN, ANN, "before")
    strange = fake.unknown()
    fake.say(ANN, ANN, "after")
    plain = b'{"x": [1, 2]}'

    def answer(data: Any, **more: Any) -> web.Response:
        raw = json.dumps(data).encode().replace(plain, wild)
        return web.Response(body=raw, content_type="application/json", **more)

    monkeypatch.setattr("tests.fakes.telegram.web.json_response", answer)
    async with running(fake, door):
        await fake.until(lambda: len(door.messages) == 2 and not fake.updates)
    assert door.texts() == ["before", "after"]
    assert len(door.poison) == 1
    assert str(strange) in door.poison[0].raw


async def test_junk_that_comes_again_and_again_confirms_nothing(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.fail("getUpdates", "junk", 10)
    fake.say(ANN, ANN, "good")
    async with running(fake, door):
        await fake.until(lambda: door.messages)
    assert door.texts() == ["good"]
    assert door.poison == []
    assert all("offset" not in call.params for call in fake.called("getUpdates")[:11])


@pytest.mark.proof
async def test_a_server_that_is_gone_for_ten_seconds_is_found_again_by_the_default_pauses(
    fake: TelegramFake, door: Recorder
) -> None:
    async with running(fake, door, backoff=Backoff()) as bot:
        await fake.until(lambda: bot.health().state == "ok")
        await fake.gone()
        await asyncio.sleep(10.0)
        fake.say(ANN, ANN, "meanwhile")
        await fake.back()
        await fake.until(lambda: door.messages)
    assert door.texts() == ["meanwhile"]


async def test_the_server_may_be_gone_for_a_while(fake: TelegramFake, door: Recorder) -> None:
    async with running(fake, door) as bot:
        await fake.until(lambda: bot.health().state == "ok")
        await fake.gone()
        await asyncio.sleep(0.1)
        fake.say(ANN, ANN, "meanwhile")
        await fake.back()
        await fake.until(lambda: door.messages)
    assert door.texts() == ["meanwhile"]


@pytest.mark.parametrize("kind", ["401", "404"])
async def test_a_rejected_token_raises_one_alarm_and_polling_goes_on(
    fake: TelegramFake, door: Recorder, kind: Any
) -> None:
    alarms: list[str] = []
    fake.fail("getUpdates", kind, 3)
    async with running(fake, door, on_alarm=alarms.append) as bot:
        await fake.until(lambda: alarms)
        assert bot.health().state == "failing"
        assert "token" in bot.health().problem
        fake.say(ANN, ANN, "hello")
        await fake.until(lambda: door.messages)
        await fake.until(lambda: bot.health().state == "ok")
    assert len(alarms) == 1
    assert "@BotFather" in alarms[0]


async def test_the_same_trouble_is_logged_once_and_its_end_too(
    fake: TelegramFake, door: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fake.fail("getUpdates", "409", 4)
    async with running(fake, door) as bot:
        await fake.until(lambda: bot.health().state == "ok")
    assert caplog.text.count("another program polls Telegram") == 1
    assert caplog.text.count("Telegram is back") == 1


async def test_silence_for_three_poll_times_is_failing_and_told_once(
    fake: TelegramFake, door: Recorder
) -> None:
    now, alarms = [1000.0], []
    async with running(fake, door, steady=lambda: now[0], on_alarm=alarms.append) as bot:
        await fake.until(lambda: bot.health().state == "ok")
        fake.fail("getUpdates", "502", 1_000_000)
        await fake.until(lambda: len(fake.called("getUpdates")) > 3)
        assert bot.health().state == "ok"
        now[0] += 3.5
        await fake.until(lambda: alarms)
        assert bot.health().state == "failing"
        polls = len(fake.called("getUpdates"))
        await fake.until(lambda: len(fake.called("getUpdates")) > polls + 3)
    assert len(alarms) == 1


async def test_whatever_breaks_the_listening_it_starts_anew(
    fake: TelegramFake,
    door: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, broken = door.take_in, iter([RuntimeError("what somebody wrote"), ZeroDivisionError()])

    async def take_in(*args: Any, **more: Any) -> list[int | None]:
        if (error := next(broken, None)) is not None:
            raise error
        return await whole(*args, **more)

    monkeypatch.setattr(door, "take_in", take_in)
    fake.say(ANN, ANN, "precious")
    async with running(fake, door) as bot:
        await fake.until(lambda: door.messages)
        await fake.until(lambda: bot.health().state == "ok")
    assert door.texts() == ["precious"]
    assert "broken off by RuntimeError" in caplog.text
    assert "broken off by ZeroDivisionError" in caplog.text
    assert "what somebody wrote" not in caplog.text
