"""Groups: who manages them, coming and going, and the gates between a message and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.telegram.normalize import ALLOWED
from core.errors import DeliveryError, Unreachable
from core.message import Place
from tests.adapters.telegram_room import (
    ANN,
    BEN,
    DESK,
    GROUP,
    Memory,
    Recorder,
    post,
    read,
    running,
    sending,
)
from tests.fakes.telegram import TelegramFake

HERE = Place(platform="telegram", bot="4242", chat=str(GROUP))


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.group(GROUP, forum=True)
        server.group(DESK, forum=True)
        yield server


@pytest.fixture
def door(fake: TelegramFake) -> Recorder:
    return Recorder(fake)


async def shut(fake: TelegramFake, place: Place = HERE, **settings: Any) -> dict[str, Any]:
    """Return the gates that are shut, with their values."""
    async with sending(fake, **settings) as bot:
        return {gate.name: gate.values for gate in await bot.gates(place) if not gate.open}


# -- administrators ------------------------------------------------------------------------------


async def test_a_command_of_an_administrator_is_known_as_one_from_the_first_on(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.promote(GROUP, ANN, "creator")
    fake.say(GROUP, ANN, "/why@HeedBot")
    fake.say(GROUP, BEN, "/why@HeedBot")
    async with running(fake, door):
        await fake.until(lambda: len(door.messages) == 2)
    assert [one.author.admin for one in door.messages] == [True, False]
    assert len(fake.called("getChatAdministrators")) == 1


async def test_the_desk_and_watched_groups_are_asked_about_at_the_start(
    fake: TelegramFake, door: Recorder
) -> None:
    chats = {"desk_chats": frozenset({str(DESK)}), "watch": frozenset({str(GROUP)})}
    async with running(fake, door, **chats):
        await fake.until(lambda: len(fake.called("getChatAdministrators")) == 2)
    asked = {call.params["chat_id"] for call in fake.called("getChatAdministrators")}
    assert asked == {str(DESK), str(GROUP)}


async def test_a_promotion_is_heard_without_asking_again(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.chats[GROUP].bot = "administrator"
    async with running(fake, door):
        fake.say(GROUP, BEN, "/why@HeedBot")
        await fake.until(lambda: door.messages)
        fake.promote(GROUP, BEN)
        fake.say(GROUP, BEN, "@HeedBot now?")
        await fake.until(lambda: len(door.messages) == 2)
        fake.promote(GROUP, BEN, "member")
        fake.say(GROUP, BEN, "@HeedBot and now?")
        await fake.until(lambda: len(door.messages) == 3)
    assert [one.author.admin for one in door.messages] == [False, True, False]
    assert len(fake.called("getChatAdministrators")) == 1


async def test_after_ten_minutes_the_list_is_asked_for_again_when_somebody_writes(
    fake: TelegramFake, door: Recorder
) -> None:
    now = [1000.0]
    async with running(fake, door, steady=lambda: now[0]):
        fake.say(GROUP, BEN, "/why@HeedBot")
        await fake.until(lambda: door.messages)
        fake.promote(GROUP, BEN)  # the bot is no administrator: nobody tells it
        now[0] += 599
        fake.say(GROUP, BEN, "@HeedBot one")
        await fake.until(lambda: len(door.messages) == 2)
        assert len(fake.called("getChatAdministrators")) == 1
        now[0] += 2
        fake.say(GROUP, BEN, "@HeedBot two")
        await fake.until(lambda: len(fake.called("getChatAdministrators")) == 2)
        await fake.until(lambda: bot_knows(door, fake))
    assert [one.author.admin for one in door.messages][:2] == [False, False]


def bot_knows(door: Recorder, fake: TelegramFake) -> bool:
    """Let Ben write until he is known as an administrator."""
    if door.messages[-1].author.admin:
        return True
    fake.say(GROUP, BEN, "@HeedBot three")
    return False


async def test_a_list_that_cannot_be_had_stops_no_message(
    fake: TelegramFake, door: Recorder
) -> None:
    fake.fail("getChatAdministrators", "500", 100)
    fake.promote(GROUP, ANN)
    for n in range(5):
        fake.say(GROUP, ANN, f"/why@HeedBot {n}")
    async with running(fake, door):
        await fake.until(lambda: len(door.messages) == 5)
    assert not any(one.author.admin for one in door.messages)
    assert len(fake.called("getChatAdministrators")) == 1


async def test_a_list_that_never_comes_holds_a_command_for_a_moment_only(
    fake: TelegramFake, door: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.groups._PATIENCE", 0.1)
    fake.fail("getChatAdministrators", "hang")
    fake.say(GROUP, ANN, "/why@HeedBot")
    async with running(fake, door, call_timeout=300.0):
        await fake.until(lambda: door.messages)
    assert door.messages[0].argument == ""


async def test_who_hides_behind_the_group_manages_it(fake: TelegramFake, door: Recorder) -> None:
    fake.say(GROUP, ANN, "/why@HeedBot", anonymous=True)
    async with running(fake, door):
        await fake.until(lambda: door.messages)
    author = door.messages[0].author
    assert (author.id, author.admin, author.anonymous) == (str(GROUP), True, False)
    assert author.name == "Group"


# -- coming and going ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["member", "administrator", "restricted"])
async def test_a_group_that_lets_the_bot_in_is_told_once(fake: TelegramFake, status: str) -> None:
    fake.allowed = list(ALLOWED)
    fake.let_in(GROUP, ANN, status)
    said = [read(update) for update in fake.updates]
    joined = [one for one in said if one is not None]
    assert [one.kind for one in joined] == ["joined"]
    assert (joined[0].key.user, joined[0].author.id) == (str(ANN), str(ANN))
    assert (joined[0].addressed, joined[0].private) == (False, False)
    assert joined[0].event_id


def test_other_changes_of_our_standing_say_nothing_of_people() -> None:
    fake = TelegramFake()
    fake.group(GROUP)
    fake.govern(GROUP)
    fake.put_out(GROUP, ANN)
    fake.mute(GROUP)
    changes = [read(update) for update in fake.updates]
    assert changes[:2] == [None, None]


def test_a_channel_that_lets_the_bot_in_is_no_group() -> None:
    fake = TelegramFake()
    fake.group(GROUP).type = "channel"
    fake.let_in(GROUP, ANN, "administrator")
    assert [read(update) for update in fake.updates] == [None, None]


def test_who_adds_the_bot_in_the_groups_own_name_manages_it() -> None:
    fake = TelegramFake()
    fake.group(GROUP)
    fake.let_in(GROUP, ANN)
    update = fake.updates[0]
    update["my_chat_member"]["from"] = fake._nobody()
    joined = read(update)
    assert joined is not None
    assert (joined.author.id, joined.author.admin, joined.author.is_bot) == (
        str(GROUP),
        True,
        False,
    )


async def test_a_group_that_put_the_bot_out_is_left_alone_until_it_lets_it_in_again(
    fake: TelegramFake, door: Recorder
) -> None:
    async with running(fake, door) as bot:
        fake.put_out(GROUP, ANN)
        await fake.until(lambda: not fake.updates)
        with pytest.raises(Unreachable, match="add it again"):
            await bot.deliver(post("notice", "hello", GROUP), Memory())
        assert not fake.called("sendMessage")
        fake.let_in(GROUP, ANN)
        await fake.until(lambda: door.messages)
        await bot.deliver(post("notice", "hello again", GROUP), Memory())
    assert fake.texts(GROUP) == ["hello again"]
    assert door.messages[0].kind == "joined"


async def test_a_group_that_put_the_bot_out_while_it_was_away_is_unreachable(
    fake: TelegramFake,
) -> None:
    fake.chats[GROUP].bot = "kicked"
    async with sending(fake) as bot:
        with pytest.raises(Unreachable, match="not in this group"):
            await bot.deliver(post("notice", "hello", GROUP), Memory())


async def test_a_broken_change_of_a_membership_is_parked_or_nothing(
    fake: TelegramFake, door: Recorder
) -> None:
    for change in ({}, [], None, {"chat": {"id": 1}}, {"chat": 1, "new_chat_member": {}}):
        fake.allowed = []
        fake.push("my_chat_member", change)
        fake.updates.append({"update_id": fake.next_update + 1000, "chat_member": change})
    fake.say(ANN, ANN, "good")
    async with running(fake, door):
        await fake.until(lambda: door.messages)
    assert door.texts() == ["good"]
    assert len(door.poison) == 5


# -- gates ---------------------------------------------------------------------------------------


async def test_in_a_direct_chat_there_is_no_gate(fake: TelegramFake) -> None:
    place = Place(platform="telegram", bot="4242", chat=str(ANN))
    async with sending(fake) as bot:
        assert await bot.gates(place) == []


async def test_the_gates_come_in_the_order_in_which_a_message_meets_them(
    fake: TelegramFake,
) -> None:
    async with sending(fake) as bot:
        gates = await bot.gates(HERE)
    names = ("privacy", "updates", "heard", "send", "slow")
    assert [gate.name for gate in gates] == [f"telegram_{name}" for name in names]


async def test_a_plain_group_has_privacy_on_and_is_heard_when_addressed(
    fake: TelegramFake,
) -> None:
    assert await shut(fake) == {
        "telegram_privacy": {},
        "telegram_heard": {"chat": str(GROUP)},
    }


@pytest.mark.parametrize("how", ["switched off", "administrator"])
async def test_privacy_is_open_when_switched_off_or_for_an_administrator(
    fake: TelegramFake, how: str
) -> None:
    fake.reads_all = how == "switched off"
    fake.chats[GROUP].bot = "administrator" if how == "administrator" else "member"
    assert "telegram_privacy" not in await shut(fake)


@pytest.mark.parametrize("setting", ["watch", "desk_chats"])
async def test_watched_groups_and_the_desk_are_heard(fake: TelegramFake, setting: str) -> None:
    assert "telegram_heard" not in await shut(fake, **{setting: frozenset({str(GROUP)})})


@pytest.mark.parametrize("status", ["left", "kicked", "restricted"])
async def test_who_may_not_write_is_told_why(fake: TelegramFake, status: str) -> None:
    fake.chats[GROUP].bot = status
    why = (await shut(fake))["telegram_send"]["why"]
    assert {"left": "not a member", "kicked": "kicked", "restricted": "restricted"}[status] in why


async def test_a_group_in_which_members_may_not_write_shuts_the_bot_out_too(
    fake: TelegramFake,
) -> None:
    fake.chats[GROUP].may_write = False
    assert (await shut(fake))["telegram_send"] == {"why": "can_send_messages"}
    fake.chats[GROUP].bot = "administrator"
    assert "telegram_send" not in await shut(fake)


async def test_a_closed_topic_shuts_the_bot_out_of_that_topic(fake: TelegramFake) -> None:
    topic, other = fake.topic(GROUP, "one"), fake.topic(GROUP, "two")
    fake.close_topic(GROUP, topic)
    there = Place(platform="telegram", bot="4242", chat=str(GROUP), thread=str(topic))
    assert "TOPIC_CLOSED" in (await shut(fake, there))["telegram_send"]["why"].upper()
    here = Place(platform="telegram", bot="4242", chat=str(GROUP), thread=str(other))
    assert "telegram_send" not in await shut(fake, here)


async def test_slow_mode_holds_up_members_only(fake: TelegramFake) -> None:
    fake.chats[GROUP].slow = 30
    assert (await shut(fake))["telegram_slow"] == {"seconds": "30"}
    fake.chats[GROUP].bot = "administrator"
    assert "telegram_slow" not in await shut(fake)


async def test_a_webhook_that_is_told_too_little_says_what_is_missing(fake: TelegramFake) -> None:
    fake.webhook = {"url": "https://bot.example/telegram", "secret": "s"}
    hook = {
        "mode": "webhook",
        "webhook_url": "https://bot.example/telegram",
        "webhook_secret": "s",
    }
    fake.allowed = ["message", "edited_message", "callback_query", "my_chat_member"]
    missing = (await shut(fake, **hook))["telegram_updates"]
    assert missing == {"missing": "chat_member, message_reaction"}
    fake.allowed = list(ALLOWED)
    assert "telegram_updates" not in await shut(fake, **hook)
    fake.allowed = []
    assert "telegram_updates" not in await shut(fake)  # a poll asks for all by itself


async def test_gates_that_cannot_be_asked_are_an_error_of_delivery(fake: TelegramFake) -> None:
    fake.fail("getChatMember", "502")
    async with sending(fake) as bot:
        with pytest.raises(DeliveryError):
            await bot.gates(HERE)
