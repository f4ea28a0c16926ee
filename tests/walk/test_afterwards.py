"""What people change afterwards: edits, deletions, thumbs; and what a shared history shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Reply
from core.engine.scripted import ScriptedEngine
from core.message import Said
from core.store import privacy
from core.tables import decision, feedback, history
from tests.patience import PATIENCE, until
from tests.walk.platforms import BEN, FURY, GROUP, KIND, MAYA, Heed, heed_on, hurry

SECRET = "my password is swordfish"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path) as alive:
        yield alive


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path, on=("discord",)) as alive:
        yield alive


def user_lines(rows: list[Any]) -> list[Any]:
    return [row for row in rows if row.role == "user"]


# --- edits ----------------------------------------------------------------------------------------


async def test_an_edit_is_heard_anew_and_not_answered_again(telegram: Heed) -> None:
    said = await telegram.says(MAYA, KIND)
    answers = telegram.read(MAYA)
    telegram.telegram.edit(MAYA, said, FURY)
    await telegram.settled(kind="edited")
    [line] = user_lines(await telegram.rows(history))
    assert (line.text, line.was) == (FURY, KIND)
    assert line.scores["label"] == "negative"
    assert [text for text in telegram.read(MAYA) if "have told our team" not in text] == answers


async def test_an_edit_on_discord_is_heard_anew_and_not_answered_again(discord: Heed) -> None:
    said = await discord.writes("maya", KIND)
    [channel] = {row.chat for row in await discord.rows(_conversation())}
    answers = discord.heard(channel)
    discord.discord.edit(channel, said, "thanks, that fixed it at last!")
    await discord.settled(kind="edited")
    [line] = user_lines(await discord.rows(history))
    assert line.text == "thanks, that fixed it at last!"
    assert discord.heard(channel) == answers


async def test_what_still_waits_is_answered_as_it_reads_after_its_edit(telegram: Heed) -> None:
    held = asyncio.Event()
    begun = telegram.app.walk.work

    async def slow(conversation_id: int) -> float | None:
        await held.wait()
        return await begun(conversation_id)

    telegram.app.turns._work = slow
    said = telegram.telegram.say(MAYA, MAYA, SECRET)
    await until(partial(_waits, telegram))
    telegram.telegram.edit(MAYA, said, "thank you so much, it works!")
    await asyncio.sleep(0.3)
    held.set()
    await telegram.settled(kind="edited")
    [line] = user_lines(await telegram.rows(history))
    assert (line.text, line.was) == ("thank you so much, it works!", "")
    assert line.scores["label"] == "positive"
    assert len(telegram.read(MAYA)) == 1
    assert "decision" not in await telegram.contains("swordfish")
    assert "history" not in await telegram.contains("swordfish")


def _waits(heed: Heed) -> bool:
    return heed.app.turns.busy > 0


# --- deletions ------------------------------------------------------------------------------------


async def test_a_deleted_message_leaves_every_table(discord: Heed) -> None:
    said = await discord.writes("maya", SECRET)
    await discord.writes("maya", "hello?")
    [channel] = {row.chat for row in await discord.rows(_conversation())}
    assert await discord.contains("swordfish") != []
    discord.discord.delete(channel, said)
    await discord.settled(kind="deleted")
    assert await discord.contains("swordfish") == []
    [gone, _] = user_lines(await discord.rows(history))
    assert gone.deleted
    assert gone.scores is not None


async def test_deleted_in_a_channel_it_is_gone_too_also_after_a_restart(discord: Heed) -> None:
    channel, me = discord.discord.channel, f"<@{discord.discord.bot['id']}>"
    said = await discord.writes("maya", f"{me} {SECRET}", channel=channel)
    await discord.restart()
    discord.discord.delete(channel, said)
    await discord.settled(kind="deleted")
    assert await discord.contains("swordfish") == []


async def test_what_was_deleted_before_its_turn_is_not_answered(discord: Heed) -> None:
    held = asyncio.Event()
    begun = discord.app.walk.work

    async def slow(conversation_id: int) -> float | None:
        await held.wait()
        return await begun(conversation_id)

    discord.app.turns._work = slow
    said = discord.discord.say("maya", SECRET)
    await until(partial(_waits, discord))
    [channel] = {row.chat for row in await discord.rows(_conversation())}
    discord.discord.delete(channel, said)
    await asyncio.sleep(0.3)
    held.set()
    await discord.settled(kind="deleted")
    assert discord.heard(channel) == []
    assert await discord.contains("swordfish") == []
    await discord.writes("maya", "hello")
    assert len(discord.heard(channel)) == 1


# --- thumbs ---------------------------------------------------------------------------------------


async def thumbs(heed: Heed, values: list[int]) -> None:
    """Wait until these are the thumbs that are kept."""
    async with asyncio.timeout(PATIENCE):
        while [row.value for row in await heed.rows(feedback)] != values:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_thumb_on_a_reply_is_kept_changed_and_taken_back(telegram: Heed) -> None:
    await telegram.says(MAYA, "hello")
    reply = telegram.telegram.seen(MAYA)[-1].message_id
    for emoji, values in (("👍🏽", [1]), ("👎", [-1]), ("", []), ("❤️", [1])):
        telegram.telegram.react(MAYA, MAYA, reply, emoji)
        await thumbs(telegram, values)
    [row] = await telegram.rows(feedback)
    told = await telegram.app.store.read(partial(privacy.export, conversation_id=1))
    assert [one["value"] for one in told["feedback"]] == [1]
    now = telegram.clock()
    figures = await telegram.room.pictures(now - 60, now + 60, {}, 0.0)
    assert figures["feedback"] == {"up": 1, "down": 0}
    await telegram.says(MAYA, "/forget yes")
    assert await telegram.rows(feedback) == []
    assert row.history_id


async def test_a_thumb_on_discord_is_kept_and_one_on_ones_own_words_is_not(discord: Heed) -> None:
    own = await discord.writes("maya", "hello")
    [channel] = {row.chat for row in await discord.rows(_conversation())}
    reply = discord.discord.messages(channel)[-1]["id"]
    discord.discord.react("maya", channel, own, "👍")
    await discord.settled(kind="reacted")
    assert await discord.rows(feedback) == []
    discord.discord.react("maya", channel, reply, "👎")
    await thumbs(discord, [-1])
    discord.discord.unreact("maya", channel, reply, "👎")
    await thumbs(discord, [])


# --- a shared history -----------------------------------------------------------------------------


class Listener(ScriptedEngine):
    """An engine that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[Said, ...]] = []

    async def start(self, request: Any) -> Any:
        self.shown.append(request.history)
        return await super().start(request)

    async def tag_and_start(self, request: Any) -> Any:
        self.shown.append(request.history)
        return await super().tag_and_start(request)


@pytest.mark.parametrize(("scope", "seen"), [("person", 0), ("chat", 2), ("thread", 2)])
async def test_a_shared_scope_shows_what_others_said_here(
    tmp_path: Path, scope: Any, seen: int
) -> None:
    async with heed_on(tmp_path, reply=Reply(scope=scope)) as heed:
        engine = Listener()
        await heed.app.mind.swap(engine)
        heed.telegram.group(GROUP)
        name = f"@{heed.telegram.username}"
        await heed.says(BEN, f"{name} {FURY.replace('furious', 'cross')}", chat=GROUP)
        await heed.says(BEN, "in private: swordfish")
        await heed.says(MAYA, f"{name} hello", chat=GROUP)
        shown = [line.text for line in engine.shown[-1]]
        assert len([text for text in shown if text.startswith("Ben: unbelievable")]) == seen // 2
        assert not any("swordfish" in text for text in shown)
        maya = next(r for r in await heed.rows(_conversation(), user=str(MAYA)))
        assert (maya.owner, maya.level) == ("bot", "calm")
        said = await heed.rows(decision, conversation_id=maya.id)
        assert all(abs(row.mood) < 0.3 for row in said)
        await heed.says(BEN, "/reset", chat=GROUP)
        await heed.says(MAYA, f"{name} and now?", chat=GROUP)
        assert not any("Ben:" in line.text for line in engine.shown[-1])


def _conversation() -> Any:
    from core.tables import conversation

    return conversation
