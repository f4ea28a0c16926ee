"""How fast unfinished replies may show, and how they keep out of the way of everything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from adapters.discord import DiscordAdapter, sketch as discord_sketch
from adapters.telegram import TelegramAdapter
from adapters.telegram.pace import COOLS, HOTTEST, KEPT_FREE, MOST, UNFINISHED, Pacer
from core.message import Place
from core.ports import Sketch
from tests.adapters.discord_bench import Recorder, adapter as discord_adapter, post as discord_post
from tests.adapters.telegram_room import ANN, GROUP, Memory, always, post, sending, sketch
from tests.fakes.discord import DiscordFake
from tests.fakes.telegram import TelegramFake

TOWN, CHAT = Place(platform="telegram", bot="4242", chat=str(GROUP)), str(GROUP)


class Now:
    """A clock that stands."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


def minute(pacer: Pacer, now: Now, seconds: int = 60) -> list[float]:
    """Let a reply ask every tenth of a second; return when it got something to show."""
    shown = []
    for _ in range(seconds * 10):
        if pacer.spare(CHAT):
            shown.append(now.at)
        now.at += 0.1
    return shown


def test_a_reply_uses_at_most_half_of_a_groups_minute(now: Now) -> None:
    shown = minute(Pacer(now), now)
    assert len(shown) == UNFINISHED
    steps = [later - earlier for earlier, later in pairwise(shown)]
    assert steps[0] == pytest.approx(1.0, abs=0.11)
    assert steps == sorted(steps)


def test_whatever_else_is_sent_need_not_wait_for_it(now: Now) -> None:
    pacer = Pacer(now)
    for _ in range(600):
        pacer.spare(CHAT)
        assert pacer.wait(CHAT) == 0.0
        now.at += 0.1


def test_a_busy_group_shows_nothing_unfinished(now: Now) -> None:
    pacer = Pacer(now)
    for _ in range(MOST - KEPT_FREE):
        pacer.take(CHAT)
        now.at += 1.0
    assert pacer.crowded(CHAT)
    assert not pacer.spare(CHAT)
    now.at += 60.0
    assert pacer.spare(CHAT)


def test_each_flood_doubles_the_step_and_peace_halves_it(now: Now) -> None:
    pacer, steps = Pacer(now), []
    for round_ in range(4):
        now.at += 30.0
        assert pacer.spare("11", slot=False), round_
        steps.append(pacer._of("11").next_at - now.at)
        pacer.hold("11", 1.0)
    assert steps == [1.0, 2.0, 4.0, 8.0]
    now.at += 2 * COOLS + 1.0
    assert pacer.spare("11", slot=False)
    assert pacer._of("11").next_at - now.at == 4.0
    for _ in range(9):
        pacer.hold("11", 1.0)
    assert pacer._heat(pacer._of("11")) == HOTTEST


def test_a_wait_asked_in_one_chat_holds_no_other(now: Now) -> None:
    pacer = Pacer(now)
    pacer.hold(CHAT, 30.0)
    assert not pacer.spare(CHAT)
    assert pacer.spare("-1002")


# -- Telegram ------------------------------------------------------------------------------------


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.say(ANN, ANN, "hello")
        server.group(GROUP, title="Town")
        yield server


async def shown(bot: TelegramAdapter, text: str, memory: Memory) -> None:
    known = memory.ids[-1] if memory.ids else None
    await bot.preview(TOWN, sketch(text, message_id=known), memory)


async def test_in_a_group_a_placeholder_gets_no_words_that_came_too_late(
    fake: TelegramFake, now: Now
) -> None:
    memory = Memory()
    async with sending(fake, steady=now) as bot:
        await bot.preview(TOWN, sketch("Hel", wanted=Taken(0).wanted), memory)
        assert fake.texts(GROUP) == ["…"]
        assert len(memory.ids) == 1  # so that it can be taken back


async def test_in_a_group_the_placeholder_is_remembered_before_it_is_edited(
    fake: TelegramFake, now: Now
) -> None:
    asked = fake.say(GROUP, ANN, "@HeedBot hello")
    order: list[str] = []

    async def remember(message_id: str) -> None:
        order.append(f"{message_id} {fake.texts(GROUP)}")

    async with sending(fake, steady=now) as bot:
        await bot.preview(TOWN, sketch("Hel", reply_to=str(asked)), remember)
        [line] = [one for one in fake.seen(GROUP) if one.who == "bot"]
        assert order == [f"{line.message_id} ['…']"]
        assert (line.text, line.reply_to) == ("Hel", asked)


async def test_the_answer_comes_into_the_message_that_showed_it(
    fake: TelegramFake, now: Now
) -> None:
    memory = Memory()
    async with sending(fake, steady=now) as bot:
        await shown(bot, "Hel", memory)
        receipt = await bot.deliver(post("reply", "Hello, Ann.", GROUP), memory)
        assert receipt.message_id == memory.ids[0]
        await shown(bot, "Hello, A", memory)  # it comes too late
        assert fake.texts(GROUP) == ["Hello, Ann."]
    assert len(memory.ids) == 1


async def test_a_call_that_hangs_keeps_the_writing_waiting_for_a_moment_only(
    fake: TelegramFake, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.sketch.PATIENCE", 0.1)
    memory = Memory()
    async with sending(fake, steady=now, call_timeout=5.0) as bot:
        await shown(bot, "Hel", memory)
        now.at += 5.0
        fake.fail("editMessageText", "hang", seconds=20.0)
        began = time.monotonic()
        await shown(bot, "Hello", memory)
        await shown(bot, "Hello, A", memory)
        assert time.monotonic() - began < 4.0
        await bot.deliver(post("reply", "Hello, Ann.", GROUP), memory)  # but the end comes last
        assert time.monotonic() - began > 4.9
        assert fake.texts(GROUP) == ["Hello, Ann."]


async def test_unfinished_text_is_cut_where_a_message_ends(fake: TelegramFake, now: Now) -> None:
    memory = Memory()
    async with sending(fake, steady=now) as bot:
        await shown(bot, "🎈" * 3000, memory)
    assert fake.texts(GROUP) == ["🎈" * 2048]


async def test_a_refusal_ends_what_is_unfinished_and_raises_nothing(
    fake: TelegramFake, now: Now
) -> None:
    memory = Memory()
    fake.fail("sendMessage", "403", text="Forbidden: bot was kicked from the group chat")
    async with sending(fake, steady=now) as bot:
        for text in ("Hel", "Hello"):
            await shown(bot, text, memory)
            now.at += 5.0
    assert len(fake.called("sendMessage")) == 1
    assert memory.ids == []


# -- Discord -------------------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[DiscordFake]:
    async with DiscordFake() as server:
        yield server


def place(hub: DiscordFake) -> Place:
    return Place(platform="discord", bot="main", chat=hub.channel)


def drawn(text: str, message_id: str | None = None, **more: Any) -> Sketch:
    about = {"nonce": "nonce-of-the-row-1", "message_id": message_id, "wanted": always}
    return Sketch(draft=1, text=text, **(about | more))


class Taken:
    """A conversation that a human takes over after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    async def wanted(self) -> bool:
        self.looks -= 1
        return self.looks >= 0


def texts(hub: DiscordFake) -> list[str]:
    return [text for _, text in hub.transcript(hub.channel)]


@pytest.fixture
async def bot(hub: DiscordFake, now: Now) -> AsyncIterator[DiscordAdapter]:
    one = discord_adapter(hub, Recorder(), steady=now)
    yield one
    await one._sender.close()
    await one._rest.close()


async def test_on_discord_about_one_edit_a_second(
    hub: DiscordFake, bot: DiscordAdapter, now: Now
) -> None:
    memory = Memory()
    await bot.preview(place(hub), drawn("Hel"), memory)
    [number] = memory.ids
    await bot.preview(place(hub), drawn("Hello", number), memory)
    assert texts(hub) == ["Hel"]
    now.at += 1.1
    await bot.preview(place(hub), drawn("Hello,", number), memory)
    assert texts(hub) == ["Hello,"]
    assert (
        await bot.deliver(discord_post(hub.channel, "Hello, Ann."), memory)
    ).message_id == number
    assert texts(hub) == ["Hello, Ann."]


async def test_a_hot_channel_shows_nothing_unfinished(
    hub: DiscordFake, bot: DiscordAdapter, now: Now
) -> None:
    memory, steps = Memory(), []
    await bot.preview(place(hub), drawn("0"), memory)
    for number in range(1, 9):
        now.at += 40.0
        hub.fail("PATCH /channels/*/messages/*", "429", retry_after=200.0)
        await bot.preview(place(hub), drawn(f"{number}", memory.ids[0]), memory)
        steps.append(bot.previews(place(hub)))
        now.at += 170.0
        now.at -= 170.0 if number < discord_sketch.HOT else 0.0
        bot._sender._sketcher._of(place(hub)).next_at = now.at
        if not steps[-1]:
            break
    assert steps == [True, True, True, False]
    now.at += discord_sketch.COOLS * 2
    assert bot.previews(place(hub))


@pytest.mark.parametrize("looks", [0, 1])
async def test_what_discord_asks_to_wait_with_does_not_show_after_a_human_took_over(
    hub: DiscordFake, bot: DiscordAdapter, looks: int
) -> None:
    hub.fail("POST /channels/*/messages", "429", retry_after=0.2)
    memory, taken = Memory(), Taken(looks)
    await bot.preview(place(hub), drawn("Hel", wanted=taken.wanted), memory)
    assert (texts(hub), memory.ids) == ([], [])
    assert len(hub.called("POST /channels/*/messages")) == looks  # asked before each call
    receipt = await bot.deliver(discord_post(hub.channel, "A human will write to you."), memory)
    assert texts(hub) == ["A human will write to you."]
    assert receipt.message_id


async def test_what_discord_asks_to_wait_with_is_not_shown_again_once_the_end_is_there(
    hub: DiscordFake, bot: DiscordAdapter, now: Now
) -> None:
    memory = Memory()
    await bot.preview(place(hub), drawn("Hel"), memory)
    now.at += 1.1
    hub.fail("PATCH /channels/*/messages/*", "429", retry_after=0.2)
    growing = asyncio.create_task(bot.preview(place(hub), drawn("Hello", *memory.ids), memory))
    while not hub.called("PATCH /channels/*/messages/*"):  # noqa: ASYNC110 - a server tells nobody
        await asyncio.sleep(0.01)
    await bot.deliver(discord_post(hub.channel, "Hello, Ann."), memory)
    await growing
    said = [call.body["content"] for call in hub.called("PATCH /channels/*/messages/*")]
    assert said == ["Hello", "Hello, Ann."]


async def test_an_earlier_message_of_the_same_nonce_is_given_the_words_and_buttons(
    hub: DiscordFake, bot: DiscordAdapter
) -> None:
    memory = Memory()
    first = discord_adapter(hub, Recorder())  # of an earlier life
    await first.preview(place(hub), drawn("Hel"), memory)
    await first._sender.close()
    await first._rest.close()
    receipt = await bot.deliver(discord_post(hub.channel, "Hello, Ann."), memory)
    assert receipt.message_id == memory.ids[0]
    assert texts(hub) == ["Hello, Ann."]


async def test_what_an_earlier_life_posted_is_found_by_its_nonce_and_deleted(
    hub: DiscordFake, bot: DiscordAdapter
) -> None:
    memory = Memory()
    first = discord_adapter(hub, Recorder())
    await first.preview(place(hub), drawn("Hel"), memory)
    await first._sender.close()
    await first._rest.close()
    assert texts(hub) == ["Hel"]
    await bot.deliver(discord_post(hub.channel, "", kind="delete"), memory)
    assert texts(hub) == []


async def test_typing_is_shown_again_only_when_it_ends(
    hub: DiscordFake, bot: DiscordAdapter, now: Now
) -> None:
    for seconds in (0.0, 4.0, 4.0, 4.0):
        now.at += seconds
        await bot.typing(place(hub))
    assert len(hub.typing) == 2
    await bot.deliver(discord_post(hub.channel, "Hello."), Memory())
    await bot.typing(place(hub))
    assert len(hub.typing) == 3
