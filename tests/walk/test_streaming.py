"""A reply shows while it is written: drafts, messages that grow, and what becomes of them.

The model is slow and scripted; platforms, database and adapters are whole. The pace of groups is
twenty times that of real ones, and the fake's flood rule with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.discord import sketch as discord_sketch
from adapters.telegram import pace
from bot.settings import Model
from core.engine.scripted import ScriptedEngine
from core.tables import case, outbox
from tests.fakes.discord_shapes import json_answer
from tests.patience import until
from tests.walk.platforms import FURY, GROUP, MAYA, Heed, heed_on, hurry, words

ASKED = "and what now?"
ANSWER = words(14)
FIRST = "This is step number 0"
WITHDRAWN = "I stopped this answer. Your conversation is with our team now."
FASTER = 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(pace, "GROUP", 3.15 / FASTER)
    monkeypatch.setattr(pace, "PRIVATE", 1.0 / FASTER)
    monkeypatch.setattr(discord_sketch, "STEP", 1.0 / FASTER)


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path) as heed:
        heed.telegram.group(GROUP, title="Town", forum=True)
        heed.telegram.flood.on = True
        heed.telegram.flood.group = (20, 60.0 / FASTER)
        yield heed


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path, on=("discord",)) as heed:
        yield heed


async def slow(heed: Heed, text: str = ANSWER, step: float = 0.012) -> None:
    """Let a model write a text, piece by piece."""
    await heed.app.mind.swap(ScriptedEngine({"": text}, pace=step, slots=4))


async def watched(heed: Heed, asks: Callable[[str], Any]) -> int:
    """Bring somebody to a case in which the bot answers under staff's eyes."""
    asks(FURY)
    await until(lambda: heed.app.clockwork)
    found = await until(lambda: heed.rows(case))
    await heed.quiet()
    number = int(found[0].id)
    await heed.room.act(number, "claim", "Ana")
    await heed.room.act(number, "botback", "Ana")
    await heed.quiet()
    return number


def in_group(heed: Heed, text: str, **more: Any) -> int:
    return heed.telegram.say(GROUP, MAYA, f"@HeedBot {text}", **more)


def growing(heed: Heed, channel: str) -> list[str]:
    """Return what a message of a Discord channel read, one edit after the other."""
    calls = [c for c in heed.discord.calls if c.path.startswith(f"/channels/{channel}/messages")]
    return [c.body["content"] for c in calls if c.method in {"POST", "PATCH"}]


def edits(heed: Heed, chat: int = GROUP) -> list[str]:
    calls = heed.telegram.called("editMessageText")
    return [c.params["text"] for c in calls if c.params["chat_id"] == str(chat)]


async def replies(heed: Heed) -> list[Any]:
    return await heed.rows(outbox, kind="reply")


# -- growing -------------------------------------------------------------------------------------


async def test_in_a_group_it_grows_within_twenty_a_minute(telegram: Heed) -> None:
    await slow(telegram)
    asked = in_group(telegram, ASKED)
    await telegram.settled(asked, chat=GROUP)
    [line] = [seen for seen in telegram.telegram.seen(GROUP) if seen.who == "bot"]
    assert (line.text, line.reply_to) == (ANSWER, asked)
    shown = edits(telegram)
    assert len(shown) > 5
    assert all(ANSWER.startswith(text) for text in shown)
    assert [len(text) for text in shown] == sorted(len(text) for text in shown)
    assert len(telegram.telegram.called("sendMessage")) == 1
    assert telegram.telegram.flood.refused == 0
    [row] = await replies(telegram)
    assert (row.state, row.message_id) == ("sent", str(line.message_id))


async def test_several_at_once_in_a_group_keep_to_its_minute(telegram: Heed) -> None:
    await slow(telegram)
    asked = [
        telegram.telegram.say(GROUP, user, f"@HeedBot {ASKED}", name=f"P{user}")
        for user in (31, 32, 33)
    ]
    for one in asked:
        await telegram.settled(one, chat=GROUP)
    assert telegram.read(GROUP) == [ANSWER] * 3
    assert telegram.telegram.flood.refused == 0


async def test_in_a_topic_it_grows_where_the_question_stands(telegram: Heed) -> None:
    topic = telegram.telegram.topic(GROUP, "Billing")
    await slow(telegram, words(8))
    asked = in_group(telegram, ASKED, thread=topic)
    await telegram.settled(asked, chat=GROUP)
    assert telegram.read(GROUP, topic) == [words(8)]
    assert telegram.read(GROUP) == [words(8)]
    assert len(edits(telegram)) > 2


async def test_in_private_it_is_a_draft_and_then_one_message(telegram: Heed) -> None:
    await slow(telegram, words(8))
    await telegram.says(MAYA, ASKED)
    drafts = [call.params["text"] for call in telegram.telegram.called("sendMessageDraft")]
    assert len(drafts) > 2
    assert all(words(8).startswith(text) for text in drafts)
    assert telegram.read(MAYA) == [words(8)]


@pytest.mark.parametrize("direct", [True, False])
async def test_on_discord_its_own_message_grows(discord: Heed, *, direct: bool) -> None:
    await slow(discord)
    fake = discord.discord
    channel = fake.dm("maya") if direct else fake.channel
    asked = fake.say("maya", ASKED, channel=channel, mention=not direct)
    await discord.settled(asked)
    assert discord.heard(channel) == [ANSWER]
    shown = growing(discord, channel)
    assert len(shown) > 5
    assert all(ANSWER.startswith(text) for text in shown)
    posted = [
        c for c in fake.calls if (c.method, c.path) == ("POST", f"/channels/{channel}/messages")
    ]
    assert len(posted) == 1
    if not direct:
        assert str(posted[0].body["message_reference"]["message_id"]) == asked
    [row] = await replies(discord)
    assert row.nonce == posted[0].body["nonce"]


async def test_a_long_answer_goes_on_in_further_messages(tmp_path: Path) -> None:
    text = words(60)
    async with heed_on(tmp_path, on=("discord",), model=Model(reply_tokens=2000)) as heed:
        await slow(heed, text, step=0.002)
        await heed.writes("maya", ASKED)
        heard = heed.heard(heed.discord.dm("maya"))
        assert len(heard) == 2
        assert " ".join(heard) == text
        first = heed.discord.messages(heed.discord.dm("maya"))[1]
        assert first["edited_timestamp"]
        assert [row.state for row in await replies(heed)] == ["sent", "sent"]


async def test_typing_ends_when_the_text_begins(telegram: Heed, monkeypatch: Any) -> None:
    monkeypatch.setattr("core.stream.AT_ONCE", 0.0)
    monkeypatch.setattr("core.stream.TYPING", 0.02)
    await slow(telegram, words(8))
    await telegram.settled(in_group(telegram, ASKED), chat=GROUP)
    calls = [call.method for call in telegram.telegram.calls]
    assert "sendChatAction" in calls[: calls.index("sendMessage")]
    assert "sendChatAction" not in calls[calls.index("sendMessage") :]


# -- a human takes over --------------------------------------------------------------------------


async def nothing_more(heed: Heed, read: Callable[[], list[str]]) -> list[str]:
    """Return what can be read, which no longer changes."""
    await heed.quiet()
    before = read()
    await asyncio.sleep(0.3)
    await heed.quiet()
    assert read() == before
    return before


async def test_a_claim_takes_the_growing_message_out_of_a_group(telegram: Heed) -> None:
    number = await watched(telegram, lambda text: in_group(telegram, text))
    before = telegram.read(GROUP)
    await slow(telegram)
    in_group(telegram, ASKED)
    await until(lambda: any(FIRST in text for text in edits(telegram)))
    await telegram.room.act(number, "claim", "Ana")
    assert await nothing_more(telegram, lambda: telegram.read(GROUP)) == before
    assert telegram.telegram.flood.refused == 0


@pytest.mark.parametrize("direct", [True, False])
async def test_a_claim_takes_it_back_on_discord(discord: Heed, *, direct: bool) -> None:
    fake = discord.discord
    channel = fake.dm("maya") if direct else fake.channel

    def asks(text: str) -> str:
        return fake.say("maya", text, channel=channel, mention=not direct)

    number = await watched(discord, asks)
    before = discord.heard(channel)
    await slow(discord)
    asks(ASKED)
    await until(lambda: any(FIRST in text for text in discord.heard(channel)))
    await discord.room.act(number, "claim", "Ana")
    told = await nothing_more(discord, lambda: discord.heard(channel))
    assert told == [*before, *([WITHDRAWN] if direct else [])]


async def test_a_claim_while_the_placeholder_is_on_its_way(telegram: Heed) -> None:
    number = await watched(telegram, lambda text: in_group(telegram, text))
    before = telegram.read(GROUP)
    gate, real = asyncio.Event(), telegram.telegram._answer

    async def late(request: Any, *rest: Any) -> Any:
        answer = await real(request, *rest)
        if request.match_info["method"] == "sendMessage":
            await gate.wait()
        return answer

    telegram.telegram._answer = late  # type: ignore[method-assign]
    await slow(telegram)
    in_group(telegram, ASKED)
    await until(lambda: "…" in telegram.read(GROUP))
    await telegram.room.act(number, "claim", "Ana")
    gate.set()
    await until(lambda: telegram.read(GROUP) == before)
    assert await nothing_more(telegram, lambda: telegram.read(GROUP)) == before


@pytest.mark.parametrize("direct", [True, False])
async def test_a_claim_while_the_first_words_are_on_their_way(
    discord: Heed, *, direct: bool
) -> None:
    fake = discord.discord
    channel = fake.dm("maya") if direct else fake.channel

    def asks(text: str) -> str:
        return fake.say("maya", text, channel=channel, mention=not direct)

    number = await watched(discord, asks)
    before = discord.heard(channel)
    gate = asyncio.Event()

    async def late(_request: Any, _fault: Any, status: int, body: Any) -> Any:
        await gate.wait()
        return json_answer(status, body)

    fake._break = late  # type: ignore[method-assign]
    fake.fail(f"POST /channels/{channel}/messages", "500", apply=True)
    await slow(discord)
    asks(ASKED)
    await until(lambda: any(FIRST in text for text in discord.heard(channel)))
    await discord.room.act(number, "claim", "Ana")
    await asyncio.sleep(0.1)
    gate.set()
    after = [*before, *([WITHDRAWN] if direct else [])]
    await until(lambda: discord.heard(channel) == after)
    assert await nothing_more(discord, lambda: discord.heard(channel)) == after


# -- when it goes wrong --------------------------------------------------------------------------


async def test_a_flood_in_the_middle_lets_it_go_slower(telegram: Heed) -> None:
    await slow(telegram)
    telegram.telegram.fail("editMessageText", "429", retry_after=1)
    asked = in_group(telegram, ASKED)
    await telegram.settled(asked, chat=GROUP)
    await until(lambda: telegram.read(GROUP) == [ANSWER])
    adapter = telegram.app.adapters["telegram", "4242"]
    assert adapter._line._pacer._unfinished[str(GROUP)].heat == 1  # type: ignore[attr-defined]
    [row] = await replies(telegram)
    assert row.state == "sent"
    assert len(telegram.telegram.called("sendMessage")) == 1


async def test_a_429_in_the_middle_on_discord_lets_it_go_slower(
    discord: Heed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discord_sketch, "SLOW", 0.3)
    fake = discord.discord
    await slow(discord)
    fake.fail("PATCH /channels/*/messages/*", "429", retry_after=0.4)
    await discord.writes("maya", ASKED)
    assert discord.heard(fake.dm("maya")) == [ANSWER]
    adapter: Any = discord.app.adapters["discord", "main"]
    assert adapter._sender._sketcher._steps.get(fake.dm("maya")).heat == 1


@pytest.mark.parametrize("kind", ["reset", "cut", "503"])
async def test_first_words_of_unknown_outcome_stand_once_on_discord(
    discord: Heed, kind: Any
) -> None:
    fake = discord.discord
    await slow(discord)
    fake.fail("POST /channels/*/messages", kind, apply=True)
    await discord.writes("maya", ASKED)
    assert discord.heard(fake.dm("maya")) == [ANSWER]


async def test_an_edit_of_unknown_outcome_harms_nothing(telegram: Heed) -> None:
    await slow(telegram, words(8))
    telegram.telegram.fail("editMessageText", "reset", apply=True)
    await telegram.settled(in_group(telegram, ASKED), chat=GROUP)
    assert telegram.read(GROUP) == [words(8)]


async def test_a_placeholder_of_unknown_outcome_is_all_that_stays(telegram: Heed) -> None:
    await slow(telegram, words(8))
    telegram.telegram.fail("sendMessage", "reset", apply=True)
    await telegram.settled(in_group(telegram, ASKED), chat=GROUP)
    assert telegram.read(GROUP) == ["…", words(8)]


async def test_what_somebody_deletes_in_the_middle_is_said_anew(telegram: Heed) -> None:
    await slow(telegram)
    asked = in_group(telegram, ASKED)
    await until(lambda: any(FIRST in text for text in telegram.read(GROUP)))
    [line] = [seen for seen in telegram.telegram.seen(GROUP) if seen.who == "bot"]
    del telegram.telegram.chats[GROUP].messages[line.message_id]
    await telegram.settled(asked, chat=GROUP)
    assert telegram.read(GROUP) == [ANSWER]


async def test_what_somebody_deletes_on_discord_is_said_anew(discord: Heed) -> None:
    fake = discord.discord
    await slow(discord)
    asked = fake.say("maya", ASKED, channel=fake.channel, mention=True)
    await until(lambda: any(FIRST in text for text in discord.heard(fake.channel)))
    fake.delete(fake.channel, discord.post(fake.channel, FIRST)["id"])
    await discord.settled(asked)
    assert discord.heard(fake.channel) == [ANSWER]
    assert [row.state for row in await replies(discord)] == ["sent"]


async def test_a_turn_that_ends_without_a_reply_leaves_nothing_of_it(telegram: Heed) -> None:
    await slow(telegram)
    in_group(telegram, ASKED)
    await until(lambda: any(FIRST in text for text in telegram.read(GROUP)))
    asked = in_group(telegram, "I want to talk to a real person")
    await telegram.settled(asked, chat=GROUP)
    assert not any("step number" in text for text in telegram.read(GROUP))
