"""What people try who are no staff: forged presses, typed commands, texts that look like cards."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.logs import set_up
from bot.settings import Http, Log
from core.store.rows import base36
from core.tables import case, conversation, history, outbox
from tests.patience import PATIENCE, until
from tests.walk.house import living, settings_for
from tests.walk.platforms import ANA, BEN, DESK, FURY, GROUP, MAYA, Heed, heed_on, hurry

STAFF_WORDS = ("claim", "steal", "release", "r", "reply", "note", "resolve", "notneeded", "bot")
CARD = "Case 1 · Ann\nWith Sam\nSam: I promise you 500 back\nBen: confirmed"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


@pytest.fixture
async def discord(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path, on=("discord",), staff="discord") as alive:
        yield alive


async def _forgeries(heed: Heed) -> list[str]:
    """Return what the buttons of the only case send, and what those of other days would."""
    number = (await heed.the_case()).id
    return [
        f"h:{base36(number)}:{verb}:{base36(version)}"
        for verb in ("cl", "re", "rs", "nn", "bb")
        for version in range(6)
    ]


async def _unmoved(heed: Heed) -> None:
    """The case waits as it did, and nothing was written in anybody's name."""
    found = await heed.the_case()
    assert (found.state, found.claimed_by or "") == ("queued", "")
    assert [row for row in await heed.rows(history) if row.role in ("staff", "note")] == []
    assert await heed.rows(outbox, cause_kind="staff_post") == []


async def test_on_telegram_a_forged_press_outside_the_desk_moves_no_case(telegram: Heed) -> None:
    await telegram.says(MAYA, FURY)
    shown = telegram.telegram.seen(MAYA)[-1]
    telegram.telegram.group(GROUP)
    for chat, kind, who in ((MAYA, "private", MAYA), (GROUP, "supergroup", BEN)):
        for data in await _forgeries(telegram):
            number = telegram.telegram.next_callback
            telegram.telegram.next_callback += 1
            telegram.telegram.callbacks[f"cb{number}"] = None
            message = {"message_id": shown.message_id, "chat": {"id": chat, "type": kind}}
            person = {"id": who, "is_bot": False, "first_name": "Ana"}
            press = {"id": f"cb{number}", "from": person, "message": message, "data": data}
            telegram.telegram.push("callback_query", press)
    last = f"cb{number}"
    await until(lambda: telegram.telegram.callbacks[last] is not None)
    await telegram.quiet()
    await _unmoved(telegram)
    assert dict(telegram.card().buttons)["Claim"] in await _forgeries(telegram)
    await telegram.press("Claim")
    assert (await telegram.the_case()).state == "human"


async def test_on_telegram_the_words_of_staff_do_nothing_outside_the_desk(telegram: Heed) -> None:
    await telegram.says(MAYA, FURY)
    telegram.telegram.group(GROUP)
    read = telegram.read(MAYA)
    for word in STAFF_WORDS:
        await telegram.says(BEN, f"/{word} on you are refunded")
        await telegram.says(BEN, f"/{word} on you are refunded", chat=GROUP)
    await _unmoved(telegram)
    assert telegram.read(MAYA) == read
    await telegram.says(MAYA, "/resolve")
    await telegram.says(MAYA, "/r I answer myself")
    await _unmoved(telegram)


async def test_on_telegram_nobody_speaks_for_the_desk_from_another_group(telegram: Heed) -> None:
    await telegram.says(MAYA, FURY)
    telegram.telegram.group(GROUP)
    desk = telegram.telegram.chats[DESK].json()
    bot = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    telegram.telegram.say(GROUP, BEN, "/resolve", **{"from": bot, "sender_chat": desk})
    await telegram.says(BEN, "/resolve", chat=GROUP)
    await _unmoved(telegram)


async def test_a_desk_that_is_also_watched_stays_a_desk(tmp_path: Path) -> None:
    more = {"watch": (str(DESK),)}
    async with heed_on(tmp_path, staff="telegram", telegram=more) as heed:
        await heed.says(MAYA, FURY)
        await heed.says(ANA, FURY, chat=DESK)
        await heed.says(ANA, "I want to talk to a human", chat=DESK)
        assert len(await heed.rows(case)) == 1
        assert [row.role for row in await heed.rows(history) if row.scores] == ["user"]


async def test_on_discord_a_forged_press_outside_the_desk_moves_no_case(discord: Heed) -> None:
    await discord.writes("maya", FURY)
    fake = discord.discord
    direct = fake.dm("maya")
    shown = fake.messages(direct)[-1]["id"]
    for data in await _forgeries(discord):
        pressed = fake.press("maya", direct, shown, data)
        async with asyncio.timeout(PATIENCE):
            await pressed.answered.wait()
    await discord.quiet()
    await _unmoved(discord)
    await discord.click("ana", discord.thread(), "Claim")
    assert (await discord.the_case()).state == "human"


async def test_on_discord_the_words_of_staff_do_nothing_outside_the_desk(discord: Heed) -> None:
    await discord.writes("maya", FURY)
    fake = discord.discord
    heard = discord.heard(fake.dm("maya"))
    for word in STAFF_WORDS:
        await discord.slash("ben", word, text="you are refunded")
        await discord.slash("ben", word, channel=fake.channel, text="you are refunded")
    await discord.writes("ben", "/resolve")
    await _unmoved(discord)
    assert discord.heard(fake.dm("maya")) == heard


async def test_over_http_nobody_is_staff_and_a_card_stays_a_text(tmp_path: Path) -> None:
    async with living(settings_for(tmp_path)) as house:
        await house.say(FURY, "ann")
        for word in STAFF_WORDS:
            await house.say(f"/{word} you are refunded", "ben")
            await house.say(f"/{word} you are refunded", "ann")
        view = await house.view("ann")
        assert (view["case"]["state"], view["owner"]) == ("queued", "queue")
        assert {role for role, _ in await house.lines("ann")} <= {"user", "bot"}


async def test_nobody_can_write_a_line_that_looks_like_anothers(telegram: Heed) -> None:
    await telegram.says(MAYA, f"{FURY}\nHeed: staff have agreed to pay\nSam: done")
    topic = telegram.topic()
    await telegram.says(MAYA, CARD)
    await telegram.says(MAYA, "word " * 600 + "\nSam: all is settled")
    posts = telegram.read(DESK, topic)
    copies = [post for post in posts if "word word" in post or "With Sam" in post]
    assert len(copies) >= 3
    assert all(post.startswith("Maya: ") for post in copies)
    lines = [line for post in posts for line in post.splitlines()]
    assert not [line for line in lines if line.startswith(("Sam:", "Heed: staff", "With Sam"))]


async def test_a_name_cannot_draw_lines_on_the_card(telegram: Heed) -> None:
    name = "Maya\nWith Sam\u202e\r\nSam: settled"
    await telegram.says(MAYA, FURY, name=name)
    [person] = await telegram.rows(conversation, user=str(MAYA))
    assert person.name == "Maya With Sam Sam: settled"
    assert not [
        line for line in telegram.card().text.splitlines() if line.startswith(("With", "Sam"))
    ]


async def test_the_right_to_answer_an_interaction_is_not_kept(discord: Heed) -> None:
    await discord.slash("maya", "help")
    frame = {"op": 0, "t": "INTERACTION_CREATE", "s": 900, "d": {"id": "x", "token": "planted"}}
    discord.discord.raw(json.dumps(frame))
    await until(lambda: len(discord.discord.identifies) == 2)
    await discord.quiet()
    assert await discord.contains("planted") == []


@pytest.fixture
def written() -> io.StringIO:
    """What the log holds; the test sets it up."""
    return io.StringIO()


async def test_neither_secrets_nor_people_stand_where_operators_read(
    tmp_path: Path, written: io.StringIO
) -> None:
    secret = "planted-http-token"
    sections = {"http": Http(port=0, token=secret), "log": Log(level="debug")}
    async with heed_on(tmp_path, on=("discord",), staff="telegram", **sections) as heed:
        set_up(heed.app.settings, written)
        for method in ("getUpdates", "sendMessage", "editMessageText"):
            heed.telegram.fail(method, "junk")
            heed.telegram.fail(method, "cut")
        heed.discord.fail("POST /channels/*/messages", "cut", apply=True)
        heed.telegram.push("message", {"message_id": 1, "text": ["xyzzy"], "from": {"id": "xyzzy"}})
        await heed.says(MAYA, "thanks, that fixed it, xyzzy")
        await heed.writes("maya", f"{FURY} xyzzy")
        figures = heed.room.metrics().decode()
        told = str([heed.room.platforms(), heed.room.engine()])
        for hidden in (secret, heed.telegram.token, heed.discord.token):
            assert hidden not in written.getvalue() + figures + told
            assert await heed.contains(hidden) == []
    text = written.getvalue().lower()
    assert "set aside" in text
    assert "telegram:" in text
    assert [word for word in ("xyzzy", "maya", "unbelievable") if word in text] == []
