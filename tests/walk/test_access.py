"""Whom the bot serves and how much: lists, limits, who is not scored; told on both platforms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.settings import Access, Limits
from core.tables import conversation, decision, history, inbox
from core.texts import Texts
from tests.walk.platforms import BEN, CRISIS, FURY, GROUP, LI, MAYA, Heed, heed_on, hurry

TEXTS = Texts.load()
NOT_OPEN = TEXTS.say("not_open", "en")
BUSY = TEXTS.say("busy", "en")
SECRET = "my password is swordfish"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Heed]:
    """A Heed for Ben and one group alone."""
    own = Access(users=(f"telegram:{BEN}",), chats=(f"telegram:{GROUP}",))
    async with heed_on(tmp_path, access=own, telegram={"watch": (str(GROUP), "-1002")}) as alive:
        alive.telegram.group(GROUP)
        alive.telegram.group(-1002)
        yield alive


async def test_who_is_not_on_the_list_is_told_once_and_nothing_is_kept(closed: Heed) -> None:
    await closed.says(MAYA, SECRET)
    await closed.says(MAYA, f"hello? {SECRET}")
    assert closed.read(MAYA) == [NOT_OPEN]
    assert await closed.contains("swordfish") == []
    assert await closed.rows(decision) == []
    await closed.later(90_000)
    await closed.says(MAYA, SECRET)
    assert closed.read(MAYA) == [NOT_OPEN, NOT_OPEN]
    await closed.says(BEN, "hello")
    assert closed.read(BEN)
    assert NOT_OPEN not in closed.read(BEN)


async def test_danger_is_heard_whoever_is_in_it(closed: Heed) -> None:
    await closed.says(MAYA, CRISIS)
    assert (await closed.the_case()).rule == "crisis"
    await closed.says(MAYA, "are you there?")  # somebody helps: heard from now on
    assert ("user", "are you there?") in await closed.said(MAYA)


async def test_a_group_that_is_not_listed_leaves_no_row(closed: Heed) -> None:
    closed.telegram.say(-1002, BEN, "hello everybody")
    closed.telegram.say(-1002, BEN, f"@{closed.telegram.username} hello")
    closed.telegram.say(GROUP, MAYA, f"@{closed.telegram.username} hello")  # she is not
    await closed.says(BEN, f"@{closed.telegram.username} hello", chat=GROUP)
    assert [row.chat for row in await closed.rows(inbox)] == [str(GROUP)]
    assert {row.user for row in await closed.rows(conversation)} == {str(BEN)}
    assert closed.read(-1002) == []


async def test_what_is_theirs_is_told_and_erased_for_anybody(closed: Heed) -> None:
    for command in ("/privacy", "/here", "/forget"):
        await closed.says(MAYA, command)
    told = closed.read(MAYA)
    assert "What is kept" in told[0]
    assert f"telegram:{MAYA}" in told[1]
    assert "Erase them" in told[2]


async def test_lists_and_limits_change_without_a_restart(closed: Heed) -> None:
    await closed.app.tuning.change({"access.users": ""}, "sam")
    await closed.says(MAYA, "hello")
    assert closed.read(MAYA)
    assert closed.read(MAYA) != [NOT_OPEN]
    await closed.app.tuning.change({"limits.per_user_minute": "1"}, "sam")
    await closed.says(MAYA, "and now?")
    assert closed.read(MAYA)[-1] == BUSY


async def test_a_discord_server_is_let_in_by_its_number(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("discord",)) as heed:
        channel, server = heed.discord.channel, heed.discord.guild
        me = f"<@{heed.discord.bot['id']}>"
        await heed.app.tuning.change({"access.servers": f"discord:{server}"}, "sam")
        await heed.writes("maya", f"{me} hello", channel=channel)
        before = len(heed.heard(channel))
        assert before
        await heed.app.tuning.change({"access.servers": "discord:1"}, "sam")
        heed.discord.say("maya", f"{me} hello again", channel=channel)
        await heed.writes("maya", "hello")  # directly
        assert len(heed.heard(channel)) == before
        assert await heed.contains("hello again") == []


# --- limits ---------------------------------------------------------------------------------------


async def test_a_day_has_its_answers_and_a_person_still_comes(tmp_path: Path) -> None:
    async with heed_on(tmp_path, limits=Limits(per_user_day=2)) as heed:
        for n in range(4):
            await heed.says(MAYA, f"what about {n} apples?")
        told = heed.read(MAYA)
        assert len(told) == 3
        assert told[-1].startswith("That is all I can answer for today")
        await heed.restart()
        await heed.says(MAYA, "and now?")
        assert len(heed.read(MAYA)) == 3
        assert len([row for row in await heed.rows(history) if row.role == "user"]) == 5
        await heed.says(BEN, "hello")
        assert len(heed.read(BEN)) == 1
        await heed.says(MAYA, "I want to talk to a human")
        assert (await heed.the_case()).rule == "request"


async def test_a_new_day_has_its_own_answers(tmp_path: Path) -> None:
    async with heed_on(tmp_path, limits=Limits(per_day=1)) as heed:
        await heed.says(MAYA, "hello there")
        await heed.says(BEN, "what about me?")
        assert heed.read(BEN)[0].startswith("That is all I can answer for today")
        await heed.later(86_400)
        await heed.says(BEN, "what about today?")
        assert not heed.read(BEN)[-1].startswith("That is all")
        assert len(heed.read(BEN)) == 2


async def test_a_group_is_told_once_that_it_is_too_fast(tmp_path: Path) -> None:
    own = Limits(per_chat_minute=2)
    async with heed_on(tmp_path, limits=own) as heed:
        heed.telegram.group(GROUP)
        name = f"@{heed.telegram.username}"
        for user in (MAYA, BEN, LI, MAYA):
            await heed.says(user, f"{name} where is my parcel?", chat=GROUP)
        told = heed.read(GROUP)
        assert len(told) == 3
        await heed.says(BEN, "hello")  # in a direct chat all goes on
        assert BUSY not in heed.read(BEN)


# --- who is not scored ----------------------------------------------------------------------------


async def test_who_manages_a_group_is_answered_and_never_scored(tmp_path: Path) -> None:
    async with heed_on(tmp_path, telegram={"watch": (str(GROUP),)}) as heed:
        heed.telegram.group(GROUP)
        heed.telegram.promote(GROUP, MAYA)
        heed.clock.lapse(601)  # what was known of that group before there was one is old
        heed.telegram.let_in(GROUP, by=MAYA)
        await heed.settled(kind="joined")
        name = f"@{heed.telegram.username}"
        heed.telegram.say(GROUP, MAYA, f"to all of you: {FURY}")
        before = len(heed.read(GROUP))
        await heed.says(MAYA, f"{name} {FURY}", chat=GROUP)
        assert len(heed.read(GROUP)) == before + 1
        [line] = [row for row in await heed.rows(history) if row.role == "user"]
        assert line.scores is None
        assert await heed.contains("to all of you") == []
        assert (await heed.app.room.queue({}))["cases"] == []
        await heed.says(MAYA, f"{name} I want to talk to a human", chat=GROUP)
        assert (await heed.the_case()).rule == "request"
