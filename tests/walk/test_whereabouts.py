"""/why and /here, the bot's first words in a group, and a group that it may not write in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.settings import Access
from core.tables import inbox, outbox
from core.texts import Texts
from tests.patience import until
from tests.walk.platforms import BEN, DESK, FURY, GROUP, KIND, MAYA, Heed, heed_on, hurry

TEXTS = Texts.load()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def governed(heed: Heed) -> str:
    """Make a group that Maya manages; return how the bot is addressed there."""
    heed.telegram.group(GROUP)
    heed.telegram.promote(GROUP, MAYA)
    return f"@{heed.telegram.username}"


async def test_everybody_learns_what_was_made_of_their_own_message(tmp_path: Path) -> None:
    async with heed_on(tmp_path) as heed:
        said = await heed.says(MAYA, KIND)
        await heed.says(MAYA, "/why", reply_to=said)
        told = heed.read(MAYA)[-1]
        assert "heard this message as positive" in told
        assert "calm" in told
        assert TEXTS.say("why_bot", "en") in told
        await heed.says(BEN, "/why", reply_to=await heed.says(BEN, FURY))
        assert "upset" in heed.read(BEN)[-1] or "tense" in heed.read(BEN)[-1]
        assert TEXTS.say("gate_owner_shut", "en") in heed.read(BEN)[-1]


async def test_why_in_a_group_is_for_who_manages_it(tmp_path: Path) -> None:
    async with heed_on(tmp_path) as heed:
        name = governed(heed)
        said = await heed.says(BEN, f"{name} where is my parcel?", chat=GROUP)
        before = heed.read(GROUP)
        await heed.says(BEN, "/why", chat=GROUP, reply_to=said)
        assert heed.read(GROUP) == before
        await heed.says(MAYA, "/why", chat=GROUP, reply_to=said)
        told = heed.read(GROUP)[-1]
        assert TEXTS.say("why_bot", "en") in told
        assert TEXTS.say("why_ask_me", "en") in told
        assert "mood" not in told
        await heed.says(MAYA, "hello")
        await heed.says(MAYA, "/why", chat=GROUP, reply_to=said)
        assert TEXTS.say("why_told", "en") in heed.read(GROUP)[-1]
        assert "mood after it" in heed.read(MAYA)[-1]


async def test_why_names_the_first_shut_gate_of_a_message_that_left_no_row(tmp_path: Path) -> None:
    async with heed_on(tmp_path) as heed:
        governed(heed)
        ignored = heed.telegram.say(GROUP, BEN, "does anybody know the hours?")
        await heed.says(MAYA, "/why", chat=GROUP, reply_to=ignored)
        assert "@BotFather > /setprivacy" in heed.read(GROUP)[-1]
        assert await heed.contains("know the hours") == []


async def test_why_names_the_access_list(tmp_path: Path) -> None:
    async with heed_on(tmp_path, access=Access(users=(f"telegram:{MAYA}",))) as heed:
        name = governed(heed)
        heed.telegram.govern(GROUP)
        shut_out = heed.telegram.say(GROUP, BEN, f"{name} hello")
        await heed.app.tuning.change({"access.chats": "telegram:-77"}, "sam")
        await heed.says(MAYA, "/why", chat=GROUP, reply_to=shut_out)
        assert f"add telegram:{GROUP} to access.chats" in heed.read(GROUP)[-1]


async def test_here_tells_ids_to_who_manages_a_group_and_to_nobody_else(tmp_path: Path) -> None:
    async with heed_on(tmp_path) as heed:
        governed(heed)
        await heed.says(BEN, "/here", chat=GROUP)
        assert heed.read(GROUP) == []
        await heed.says(MAYA, "/here", chat=GROUP)
        told = heed.read(GROUP)[-1]
        assert f'desk.staff = "telegram:{GROUP}"' in told
        assert f'telegram.watch = ["{GROUP}"]' in told
        await heed.says(MAYA, "/start here", chat=GROUP)
        assert heed.read(GROUP)[-1] == told
        await heed.says(BEN, "/here")
        assert f"telegram:{BEN}" in heed.read(BEN)[-1]


async def test_here_answers_at_the_desk_too(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram") as heed:
        await heed.staff("/here", thread=None)
        assert f'desk.staff = "telegram:{DESK}"' in heed.read(DESK)[-1]


async def test_on_discord_here_is_a_whisper(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("discord",)) as heed:
        heed.discord.give_role("sue", "Boss", 1 << 5)
        channel = heed.discord.channel
        await heed.slash("sue", "here", channel=channel)
        assert f'desk.staff = "discord:{channel}"' in heed.whispers("sue")[-1]
        assert f"discord:{heed.discord.guild}" in heed.whispers("sue")[-1]
        assert heed.heard(channel) == []


# --- into a group, and shut out of one ------------------------------------------------------------


async def test_a_group_is_told_once_what_is_heard_there(tmp_path: Path) -> None:
    async with heed_on(tmp_path) as heed:
        heed.telegram.group(GROUP)
        for _ in range(2):
            heed.telegram.let_in(GROUP, by=BEN)
            await heed.settled(kind="joined")
        assert heed.read(GROUP) == [TEXTS.say("joined", "en")]


async def test_a_watched_group_is_told_what_keeps_it_from_being_heard(tmp_path: Path) -> None:
    async with heed_on(tmp_path, telegram={"watch": (str(GROUP),)}) as heed:
        heed.telegram.group(GROUP)
        heed.telegram.let_in(GROUP, by=BEN)
        await heed.settled(kind="joined")
        [told] = heed.read(GROUP)
        assert told.startswith(TEXTS.say("joined_watched", "en"))
        assert "/setprivacy" in told


async def test_a_group_outside_the_lists_is_told_who_can_let_it_in(tmp_path: Path) -> None:
    async with heed_on(tmp_path, access=Access(chats=("telegram:-77",))) as heed:
        heed.telegram.group(GROUP)
        heed.telegram.let_in(GROUP, by=BEN)
        await heed.settled(kind="joined")
        assert heed.read(GROUP) == [TEXTS.say("joined_shut", "en", name=f"telegram:{GROUP}")]


async def test_a_desk_is_told_which_rights_are_missing(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram") as heed:
        heed.telegram.let_in(DESK, by=BEN)
        await heed.settled(kind="joined")
        told = heed.read(DESK)[-1]
        assert told.startswith(TEXTS.say("joined_desk_lacks", "en"))
        assert "Manage topics" in told


async def test_the_operator_is_told_once_that_a_group_takes_nothing(tmp_path: Path) -> None:
    own = {"operator": f"telegram:{BEN}"}
    async with heed_on(tmp_path, desk=own) as heed:
        heed.telegram.group(GROUP)
        await heed.says(BEN, "hello")
        before = len(heed.read(BEN))
        heed.telegram.mute(GROUP)
        name = f"@{heed.telegram.username}"
        for _ in range(2):
            await heed.says(MAYA, f"{name} where is my parcel?", chat=GROUP)
        assert [row.state for row in await heed.rows(outbox, kind="reply")][-1] == "held"
        await until(lambda: len(heed.read(BEN)) > before)
        await heed.quiet()
        [told] = heed.read(BEN)[before:]
        assert told.startswith(f"I may not write in telegram:{GROUP}")
        assert "Permissions" in told
        assert await heed.rows(inbox, kind="said")
