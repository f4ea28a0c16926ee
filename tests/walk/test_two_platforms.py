"""One case, two platforms: the person on one, the staff on the other, and the web page between."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import NeedsConfirm
from core.store import privacy
from core.tables import case
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    BEN,
    CRISIS,
    CRISIS_TEXT,
    DESK,
    ERASED,
    FURY,
    KIND,
    MAYA,
    OPEN,
    REOPENED,
    RESOLVED,
    Heed,
    heed_on,
    hurry,
    key_of,
)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def test_a_person_on_telegram_is_helped_by_staff_on_discord(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("telegram",), staff="discord") as heed:
        await heed.says(MAYA, FURY)
        assert heed.read(MAYA)[-1].startswith(OPEN)
        thread = heed.thread()
        assert heed.post(thread, "Case ")["content"].startswith("Case 1 · Maya · telegram · en")
        await heed.click("ana", thread, "Claim")
        await heed.slash("ana", "r", channel=thread, text="Hi Maya, Ana here.")
        assert heed.read(MAYA)[-1] == "ana · Support\nHi Maya, Ana here."
        first = await heed.says(MAYA, "look here: @everyone order 1234")
        assert heed.heard(thread)[-1] == "Maya: look here: @\u2060everyone order 1234"
        assert not heed.post(thread, "Maya: look here")["mention_everyone"]
        heed.telegram.edit(MAYA, first, "order 4321")
        await heed.settled(first, kind="edited")
        assert heed.post(thread, "Maya: order 4321")
        assert heed.heard(thread)[-1].startswith("edited; was: look here: ")
        await heed.click("ana", thread, "Resolve")
        asked = heed.telegram.seen(MAYA)[-1]
        assert asked.text.startswith(RESOLVED)
        await heed.press("No", MAYA, on=asked)
        assert heed.read(MAYA)[-1] == REOPENED
        assert "Waiting for a person" in heed.post(thread, "Case ")["content"]
        await _forgotten(heed, thread)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_keeps_nobody_waiting(tmp_path: Path, jump: float) -> None:
    async with heed_on(tmp_path, on=("telegram", "discord"), staff="telegram") as heed:
        await heed.says(MAYA, KIND)
        await heed.writes("ana", KIND)
        heed.clock.ahead += jump
        await heed.says(MAYA, f"{KIND} again")
        await heed.writes("ana", f"{KIND} again")
        assert len(heed.read(MAYA)) == len(heed.heard(heed.discord.dm("ana"))) == 2
        assert all(one.health().state == "ok" for one in heed.app.adapters.values())


async def _forgotten(heed: Heed, thread: str) -> None:
    heed.telegram.say(MAYA, MAYA, "/forget yes")
    await until(lambda: heed.read(MAYA)[-1].startswith("Done: "))
    await heed.quiet()
    assert set(heed.heard(thread)) == {ERASED}
    assert await heed.app.store.write(privacy.bury) == 1
    assert await heed.contains("1234") == []


async def test_a_person_on_discord_is_helped_by_staff_on_telegram(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("discord",), staff="telegram") as heed:
        await heed.writes("maya", FURY)
        direct, topic = heed.discord.dm("maya"), heed.topic()
        assert heed.heard(direct)[-1].startswith(OPEN)
        assert heed.card().text.startswith("Case 1 · maya · discord · en")
        await heed.press("Claim")
        await heed.says(ANA, "Hi, Ana here.", chat=DESK, thread=topic)
        assert heed.heard(direct)[-1] == "Ana · Support\nHi, Ana here."
        await heed.writes("maya", CRISIS)
        assert heed.heard(direct)[-1].startswith(CRISIS_TEXT)
        assert f"maya: {CRISIS}" in heed.read(DESK, topic)
        await heed.says(ANA, "x" * 3000, chat=DESK, thread=topic)  # longer than Discord takes
        long = "".join(heed.heard(direct)[-2:])
        assert long == "Ana · Support\n" + "x" * 3000  # she wrote meanwhile: a new run
        await heed.press("Resolve")
        await heed.click("maya", direct, "No", on=RESOLVED)
        assert heed.heard(direct)[-1] == REOPENED


async def test_people_of_both_platforms_at_once_never_mix(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("telegram", "discord"), staff="telegram") as heed:
        glad = heed.discord.say("ben", KIND)
        cross = heed.telegram.say(MAYA, MAYA, FURY)
        await heed.settled(glad)
        await heed.settled(cross, chat=MAYA)
        assert heed.read(MAYA)[-1].startswith(OPEN)
        [answer] = heed.heard(heed.discord.dm("ben"))
        assert not answer.startswith(OPEN)
        assert (await heed.the_case()).rule == "spike"
        await heed.says(BEN, KIND)
        assert len(heed.read(BEN)) == 1
        assert len(await heed.rows(case)) == 1


async def test_the_page_and_the_topic_show_one_case(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram") as heed:
        await heed.says(MAYA, FURY)
        topic = heed.topic()
        number = (await heed.the_case()).id
        await heed.press("Claim")
        with pytest.raises(NeedsConfirm, match="Ana"):
            await heed.room.act(number, "reply", "Sam", text="me too")
        await heed.room.act(number, "steal", "Sam")
        await heed.quiet()
        assert "With Sam" in heed.card().text
        await heed.room.act(number, "reply", "Sam", text="Sam here, from the page.")
        await heed.quiet()
        assert heed.read(MAYA)[-1] == "Sam · Support\nSam here, from the page."
        assert any("Sam here, from the page." in text for text in heed.read(DESK, topic))
        view = await heed.room.conversation(key_of(MAYA))
        assert [line["role"] for line in view["lines"]].count("staff") == 1


async def test_staff_on_the_page_alone_leave_the_platforms_in_peace(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="web") as heed:
        await heed.says(MAYA, FURY)
        assert heed.read(MAYA)[-1].startswith(OPEN)
        [shown] = (await heed.room.queue({}))["cases"]
        await heed.room.act(shown["id"], "reply", "Sam", text="I am here.")
        await heed.quiet()
        assert heed.read(MAYA)[-1] == "Sam · Support\nI am here."
        assert heed.read(DESK) == []
