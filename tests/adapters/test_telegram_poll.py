from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.errors import DeliveryError, SetupError
from tests.adapters.telegram_room import (
    ANN,
    BEN,
    DESK,
    GROUP,
    Recorder,
    adapter,
    running,
)
from tests.fakes.telegram import TelegramFake


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        yield server


@pytest.fixture
def door(fake: TelegramFake) -> Recorder:
    return Recorder(fake)


async def test_a_message_is_stored_before_the_poll_that_confirms_it(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.say(ANN, ANN, "hello")
    async with running(fake, door):
        await fake.until(lambda: door.messages and not fake.updates)
    assert door.texts() == ["hello"]
    confirming = [n for n, c in enumerate(fake.called("getUpdates")) if "offset" in c.params]
    assert confirming[0] == door.polls_before[0] == 1
    assert door.kept == {"telegram/4242/offset": "1002"}


async def test_that_it_is_connected_is_known_before_anybody_writes(
    fake: TelegramFake, door: Recorder
) -> None:
    async with running(fake, door) as bot:
        await fake.until(lambda: len(fake.called("getUpdates")) == 2)
        assert bot.health().state == "ok"
    assert [int(poll.params["timeout"]) > 0 for poll in fake.called("getUpdates")] == [False, True]


async def test_messages_said_while_it_polls_arrive_in_order(
    fake: TelegramFake, door: Recorder
) -> None:
    async with running(fake, door):
        await fake.until(lambda: fake.called("getUpdates"))
        for n in range(5):
            fake.say(ANN, ANN, f"line {n}")
            await asyncio.sleep(0.01)
        await fake.until(lambda: len(door.messages) == 5)
    assert door.texts() == [f"line {n}" for n in range(5)]
    assert [m.order for m in door.messages] == [1, 2, 3, 4, 5]


async def test_poison_among_good_ones_is_set_aside_with_its_reason(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.say(ANN, ANN, "before")
    fake.poison()
    fake.unknown()
    fake.say(ANN, ANN, "after")
    async with running(fake, door):
        await fake.until(lambda: len(door.arrivals) == 4 and not fake.updates)
    assert door.texts() == ["before", "after"]
    # a message without `from` is a channel's: not ours, not poison
    assert [a.error for a in door.arrivals if a.source_id == "1003"] == [""]


@pytest.mark.parametrize(
    "message",
    [
        {"from": {"id": "eleven"}, "chat": {"id": 11, "type": "private"}, "text": "x"},
        {"from": {"id": 11}, "chat": {"id": 11, "type": "private"}, "text": "x", "date": 1},
        {"from": {"id": 11}, "chat": [], "text": "x", "date": 1, "message_id": 1},
        {"from": {"id": 11}, "chat": {"id": 2**70}, "text": "x", "date": 1, "message_id": 1},
        {"from": 7},
        "a text",
        None,
    ],
)
async def test_a_malformed_message_becomes_poison_and_stops_nothing(
    fake: TelegramFake, door: Recorder, message: Any
) -> None:
    fake.push("message", message)
    fake.say(ANN, ANN, "good")
    async with running(fake, door):
        await fake.until(lambda: door.messages and not fake.updates)
    assert door.texts() == ["good"]
    assert len(door.poison) == 1
    assert door.poison[0].source_id == "1001"
    assert door.poison[0].raw.startswith("{")


async def test_a_batch_out_of_order_is_stored_whole_and_nothing_is_lost(
    fake: TelegramFake, door: Recorder
) -> None:
    for n in range(20):
        fake.say(ANN, ANN, f"line {n}")
    fake.reorder()
    fake.duplicate()
    async with running(fake, door):
        await fake.until(lambda: len(door.messages) == 20 and not fake.updates)
    in_order = sorted(door.messages, key=lambda message: message.order)
    assert [one.text for one in in_order] == [f"line {n}" for n in range(20)]


async def test_a_batch_that_cannot_be_stored_is_not_confirmed_and_comes_again(
    fake: TelegramFake, door: Recorder
) -> None:
    door.refuse = 3
    fake.say(ANN, ANN, "precious")
    async with running(fake, door):
        await fake.until(lambda: len(fake.called("getUpdates")) == 3)
        assert fake.updates
        assert all("offset" not in call.params for call in fake.called("getUpdates"))
        await fake.until(lambda: door.messages and not fake.updates)
    assert door.texts() == ["precious"]


async def test_what_was_stored_but_not_confirmed_comes_again_and_is_dropped(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.say(ANN, ANN, "once")
    fake.fail("getUpdates", "reset", 1)  # the first poll fails, the second brings it
    async with running(fake, door):
        await fake.until(lambda: door.messages)
    fake.updates = [{"update_id": 1001, "message": fake.chats[ANN].messages[1]}]
    async with running(fake, door):
        await fake.until(lambda: len(door.arrivals) == 2 and not fake.updates)
    assert door.texts() == ["once"]


async def test_after_a_confirmed_batch_a_lower_update_number_is_still_heard(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.say(ANN, ANN, "first")
    async with running(fake, door):
        await fake.until(lambda: door.messages and not fake.updates)
        await fake.until(lambda: "offset" not in fake.called("getUpdates")[-1].params)
        fake.next_update = 5  # after a week of silence Telegram goes on with any number
        fake.say(ANN, ANN, "second")
        await fake.until(lambda: len(door.messages) == 2)
    assert door.texts() == ["first", "second"]


async def test_duplicate_updates_are_harmless(fake: TelegramFake, door: Recorder) -> None:
    fake.say(ANN, ANN, "once")
    fake.duplicate()
    async with running(fake, door):
        await fake.until(lambda: len(door.arrivals) == 2)
    assert door.texts() == ["once"]


async def test_a_backlog_of_250_is_drained_in_order_per_chat(
    fake: TelegramFake, door: Recorder
) -> None:
    for n in range(125):
        fake.say(ANN, ANN, f"a{n}")
        fake.say(BEN, BEN, f"b{n}")
    async with running(fake, door):
        await fake.until(lambda: len(door.messages) == 250)
    assert [t for t in door.texts() if t[0] == "a"] == [f"a{n}" for n in range(125)]
    assert [t for t in door.texts() if t[0] == "b"] == [f"b{n}" for n in range(125)]


async def test_a_second_poller_is_named_as_the_trouble(fake: TelegramFake, door: Recorder) -> None:
    other = Recorder()
    async with running(fake, door, poll_timeout=30.0):
        await fake.until(lambda: len(fake.called("getUpdates")) > 1)  # a short poll, a long one
        async with running(fake, other) as second:
            await fake.until(lambda: "same token" in second.health().problem)
            fake.say(ANN, ANN, "for one of us")
            await fake.until(lambda: door.messages or other.messages)
    # Both may have fetched it before either confirmed it; neither stores it a second time.
    assert max(door.texts(), other.texts()) == ["for one of us"]
    assert min(door.texts(), other.texts()) in ([], ["for one of us"])


async def test_a_webhook_left_behind_is_removed_before_polling(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.webhook = {"url": "https://old.example/hook"}
    fake.say(ANN, ANN, "hello")
    async with running(fake, door):
        await fake.until(lambda: door.messages)
    assert fake.webhook == {}


async def test_getme_may_fail_at_first(fake: TelegramFake, door: Recorder) -> None:
    fake.fail("getMe", "401")
    fake.fail("getMe", "502")
    fake.say(ANN, ANN, "hello")
    async with running(fake, door) as bot:
        await fake.until(lambda: door.messages)
        assert bot.health().name == "@HeedBot"


async def test_a_press_is_answered_after_it_is_stored_and_a_stale_one_harms_nothing(
    fake: TelegramFake, door: Recorder
) -> None:
    fake._post(
        fake._chat(ANN),
        {
            "text": "card",
            "reply_markup": {"inline_keyboard": [[{"text": "Claim", "callback_data": "claim:1"}]]},
        },
    )
    callback = fake.press(ANN, 1, "claim:1")
    fake.duplicate()
    async with running(fake, door):
        await fake.until(lambda: len(fake.called("answerCallbackQuery")) == 2)
        fake.say(ANN, ANN, "go on")
        await fake.until(lambda: len(door.messages) == 2)
    pressed = door.messages[0]
    assert (pressed.kind, pressed.data, pressed.message_id) == ("pressed", "claim:1", "1")
    assert pressed.event_id == callback
    assert fake.callbacks[callback] == "answered"


@pytest.mark.parametrize(
    "press", [{"id": "p1"}, {"id": "p1", "message": None, "inline_message_id": "x"}]
)
async def test_a_press_that_is_not_ours_is_answered_too(
    fake: TelegramFake, door: Recorder, press: dict[str, Any]
) -> None:
    fake.push("callback_query", press)
    async with running(fake, door):
        await fake.until(lambda: fake.called("answerCallbackQuery"))
    assert fake.called("answerCallbackQuery")[0].params["callback_query_id"] == "p1"


async def test_the_command_menu_is_set_per_language_and_only_when_changed(
    fake: TelegramFake, door: Recorder
) -> None:
    menus = {"en": [("human", "Talk to a person")], "es": [("human", "Hablar con una persona")]}
    async with running(fake, door, commands=menus):
        await fake.until(lambda: len(fake.commands) == 3)
    async with running(fake, door, commands=menus):
        await fake.until(lambda: len(fake.called("getMyCommands")) == 6)
    assert len(fake.called("setMyCommands")) == 3
    by_code = {code: menu[0]["description"] for (_, code), menu in fake.commands.items()}
    assert by_code == {
        "": "Talk to a person",
        "en": "Talk to a person",
        "es": "Hablar con una persona",
    }


async def test_check_names_a_wrong_token_in_one_sentence(fake: TelegramFake) -> None:
    wrong = adapter(fake, token="4242:wrong")
    with pytest.raises(SetupError, match="@BotFather"):
        await wrong.check()
    await wrong.close()
    right = adapter(fake)
    await right.check()
    await right.close()


async def test_check_tells_an_unreachable_platform_from_a_wrong_token(fake: TelegramFake) -> None:
    fake.fail("getMe", "502")
    one = adapter(fake)
    with pytest.raises(DeliveryError):
        await one.check()
    await one.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token": "hunter2"}, "does not look like a token"),
        ({"api_base": "api.telegram.org"}, "api_base"),
        ({"mode": "webhook"}, "webhook_url"),
        ({"mode": "webhook", "webhook_url": "https://bot.example"}, "webhook_secret"),
    ],
)
def test_settings_that_can_never_work_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        adapter(TelegramFake(), **settings)


async def test_the_token_never_reaches_the_log(
    fake: TelegramFake, door: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.fail("getUpdates", "junk")
    fake.fail("getMe", "401")
    fake.say(ANN, ANN, "hello")
    async with running(fake, door):
        await fake.until(lambda: door.messages)
    assert any("<token>" in line for line in caplog.messages)
    assert fake.token not in caplog.text


async def test_the_log_of_a_malformed_update_quotes_nobody(
    fake: TelegramFake, door: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(fake, door):
        fake.push("message", {"message_id": 1, "chat": {"id": 11}, "from": {"id": "planted"}})
        await fake.until(lambda: door.poison)
    assert "set aside" in caplog.text
    assert "planted" not in caplog.text
    assert "planted" in door.poison[0].error


async def test_a_desk_that_became_a_supergroup_is_the_desk_also_after_a_restart(
    fake: TelegramFake,
) -> None:
    door = Recorder()
    fake.group(DESK, forum=True)
    async with running(fake, door, desk_chats=frozenset({str(DESK)})):
        fake.upgrade(DESK, -2009)
        fake.say(-2009, BEN, "here we are")
        await fake.until(lambda: "here we are" in door.texts())
    fake.say(-2009, BEN, "still here")
    fake.say(GROUP, BEN, "not for us")
    async with running(fake, door, desk_chats=frozenset({str(DESK)})):
        await fake.until(lambda: "still here" in door.texts() and not fake.updates)
    assert [one.kind for one in door.messages] == ["moved", "said", "said"]
    assert "not for us" not in door.texts()


async def test_the_desk_is_found_again_when_the_database_was_busy_at_the_start(
    fake: TelegramFake,
) -> None:
    door = Recorder()
    door.kept = {"telegram/4242/moved/-2002": "-2009"}
    door.shut = 2
    fake.say(-2009, BEN, "here we are")
    async with running(fake, door, desk_chats=frozenset({str(DESK)})):
        await fake.until(lambda: door.texts() == ["here we are"])
    assert door.shut == 0
