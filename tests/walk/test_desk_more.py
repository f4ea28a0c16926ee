"""What a card and its More tell beside the case itself, and what the operator hears directly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from adapters.discord.places import Places
from adapters.telegram.topics import link_to
from core.engine.scripted import ScriptedEngine
from core.message import Place
from core.store import desk
from core.store.desk import Change
from core.tables import audit, history
from tests.patience import until
from tests.walk.platforms import ANA, BEN, BOB, DESK, FURY, KIND, MAYA, Heed, heed_on, hurry, words

GROUP = -1001234567890
WITHDRAWN = "draft withdrawn"
OPERATOR = {"operator": f"telegram:{BOB}"}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum; a group of Telegram is heard in full."""
    watch = {"watch": (str(GROUP),)}
    async with heed_on(tmp_path, staff="telegram", telegram=watch) as alive:
        alive.telegram.group(GROUP)
        yield alive


# -- the message that caused the case ------------------------------------------------------------


@pytest.mark.parametrize(
    ("chat", "thread", "link"),
    [
        ("-1001234567890", "", "https://t.me/c/1234567890/7"),
        ("-1001234567890", "5", "https://t.me/c/1234567890/5/7"),
        ("-1000000000001", "", "https://t.me/c/1/7"),
        ("-1001234", "", ""),  # a group that is no supergroup, whatever its id begins with
        ("11", "", ""),
    ],
)
def test_telegram_has_addresses_for_messages_of_supergroups(
    chat: str, thread: str, link: str
) -> None:
    place = Place(platform="telegram", bot="1", chat=chat, thread=thread)
    assert link_to(place, "7") == link
    assert link_to(place, "") == ""


def test_discord_has_addresses_for_the_channels_that_it_told_of() -> None:
    places = Places()
    inside = [{"id": "30", "type": 0}]
    threads = [{"id": "31", "type": 11, "parent_id": "30"}]
    places.hear("GUILD_CREATE", {"id": "9", "channels": inside, "threads": threads})
    places.hear("CHANNEL_CREATE", {"id": "40", "type": 1, "recipients": [{"id": "5"}]})
    here = partial(Place, platform="discord", bot="main")
    known = "https://discord.com/channels"
    assert places.link(here(chat="30"), "7") == f"{known}/9/30/7"
    assert places.link(here(chat="30", thread="31"), "7") == f"{known}/9/31/7"
    assert places.link(here(chat="40"), "7") == f"{known}/@me/40/7"
    assert places.link(here(chat="50"), "7") == ""
    assert "50" not in places.channels


async def test_a_card_of_a_group_case_links_to_the_message_and_says_what_is_kept(
    heed: Heed,
) -> None:
    """HANDOFF 5 Who, 15: a link to the group message; the context holds one person's lines."""
    await heed.says(BEN, "what a day", chat=GROUP)
    caused = await heed.says(MAYA, FURY, chat=GROUP)
    link = f"https://t.me/c/1234567890/{caused}"
    assert f"Message: {link}" in heed.card().text.splitlines()
    case = await heed.room.case(1)
    assert case
    assert (case["link"], case["cause_message"]) == (link, str(caused))
    transcript = await heed.room.transcript(1)
    assert transcript
    assert transcript["link"] == link
    context = heed.shown("before this case").text
    assert context.startswith("Their own last messages in the group before this case")
    assert "what a day" not in context
    await heed.staff("/who")
    assert sum(link in line for line in heed.read(DESK)) == 2


async def test_a_private_case_has_no_link_and_its_context_says_nothing_of_groups(
    heed: Heed,
) -> None:
    await heed.opened()
    assert "Message: " not in heed.card().text
    case = await heed.room.case(1)
    assert case
    assert (case["link"], case["cause_message"] != "") == ("", True)
    assert heed.shown("before this case").text.startswith("The last messages before this case")


async def test_a_case_that_goes_on_in_private_keeps_its_link_and_its_reasons(heed: Heed) -> None:
    """HANDOFF 15: the conversation goes on by DM; the card links to the group message."""
    await heed.says(MAYA, KIND)
    caused = await heed.says(MAYA, FURY, chat=GROUP)
    before = await heed.room.case(1)
    await heed.staff("I am here.")
    after = await heed.room.case(1)
    assert before
    assert after
    assert (before["private"], after["private"]) == (False, True)
    assert after["link"] == f"https://t.me/c/1234567890/{caused}"
    assert after["trace"] == before["trace"] != []
    assert f"Message: {after['link']}" in heed.card().text.splitlines()


async def test_a_card_of_a_discord_case_links_into_the_server(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("discord",), staff="discord") as heed:
        channel = heed.discord.channel
        caused = await heed.writes("maya", FURY, channel=channel, mention=True)
        link = f"https://discord.com/channels/{heed.discord.guild}/{channel}/{caused}"
        assert link in heed.post(heed.thread(), "Case ")["content"]


# -- drafts of the bot ---------------------------------------------------------------------------


async def speaking(heed: Heed) -> tuple[ScriptedEngine, int]:
    """Let the bot, which has a case back, begin an answer of which nothing shows yet."""
    await heed.opened()
    await heed.press("Claim")
    await heed.staff("/bot on")
    engine = ScriptedEngine({"": words(3)})
    await heed.app.mind.swap(engine)
    engine.hang("speak")
    asked = heed.telegram.say(MAYA, MAYA, "and what now?")
    await until(lambda: engine.asked("speak"))
    return engine, asked


async def withdrawn(heed: Heed) -> list[float]:
    return [row.at for row in await heed.rows(audit, case_id=1, what=WITHDRAWN)]


async def test_17_a_draft_that_a_claim_ended_stands_in_more(heed: Heed) -> None:
    """HANDOFF 17: reply discarded; "draft of the bot withdrawn" in More."""
    engine, asked = await speaking(heed)
    data = dict(heed.card().buttons)["Claim"]
    heed.telegram.press(DESK, heed.card().message_id, data, ANA)
    await until(lambda: "With Ana" in heed.card().text)
    engine.release()
    await heed.settled(asked)
    [at] = await withdrawn(heed)
    await heed.staff("/why")
    told = heed.shown("draft of the bot withdrawn").text
    assert f"• {heed.app.handoff.cards._when(at, '')} · draft of the bot withdrawn" in told
    case = await heed.room.case(1)
    assert case
    assert {"what": WITHDRAWN, "who": "", "at": at} in case["audit"]
    assert len(case["audit"]) <= 20
    assert [row["at"] for row in case["audit"]] == sorted(row["at"] for row in case["audit"])
    assert not any("step number" in str(tuple(row)) for row in await heed.rows(audit))


async def test_17_a_draft_that_is_thrown_away_at_its_commit_stands_in_more(heed: Heed) -> None:
    """HANDOFF 8.3: committed only if owner and version are unchanged; else discarded."""
    engine, asked = await speaking(heed)

    def take(connection: Connection) -> None:  # nobody stops the writer: its commit finds out
        claim = Change(what="claimed", who="Ana", state="human", holder=("Ana", "web:Ana"))
        facts, now = heed.app.handoff.facts(), heed.clock()
        desk.move(connection, 1, facts, now, change=claim)

    await heed.app.store.write(take)
    engine.release()
    await heed.settled(asked)
    assert len(await withdrawn(heed)) == 1
    assert not any("step number" in line.text for line in await heed.rows(history, role="bot"))


async def test_a_new_message_that_starts_the_answer_again_withdraws_nothing(heed: Heed) -> None:
    engine, _ = await speaking(heed)
    second = heed.telegram.say(MAYA, MAYA, "I mean the second order")
    await until(lambda: len(engine.asked("start")) > 1)
    engine.release()
    await heed.settled(second)
    assert await withdrawn(heed) == []
    assert "step number" in heed.read(MAYA)[-1]


# -- answers and notes ---------------------------------------------------------------------------


async def test_an_answer_is_not_edited_into_a_note(heed: Heed) -> None:
    """HANDOFF 7: what begins with // stays inside; an answer that has left cannot."""
    await heed.opened()
    said = await heed.staff("We are looking.")
    seen = heed.read(MAYA)
    heed.telegram.edit(DESK, said, "// she is right, we lost it")
    await heed.settled(said, kind="edited")
    assert heed.read(MAYA) == seen
    heed.shown("An answer cannot become a note")
    await heed.staff("/edit // she is right", reply_to=said)
    assert heed.read(MAYA) == seen
    assert [row.text for row in await heed.rows(history, role="staff")] == ["We are looking."]
    heed.telegram.edit(DESK, said, "We have found it.")
    await until(lambda: heed.read(MAYA)[-1].endswith("We have found it."))
    assert len(heed.read(MAYA)) == len(seen)


async def test_an_answer_that_waits_is_not_edited_into_a_note_either(heed: Heed) -> None:
    await heed.opened()
    await heed.press("Claim")
    said = await heed.staff("Me too.", BOB)
    heed.telegram.edit(DESK, said, "// not for her")
    await heed.settled(said, kind="edited")
    heed.shown("An answer cannot become a note")
    await heed.press("Send anyway", BOB, on="claimed this")
    assert heed.read(MAYA)[-1].endswith("Me too.")


async def test_a_note_may_be_edited_with_its_mark_or_without(heed: Heed) -> None:
    await heed.opened()
    note = await heed.staff("// ask storage")
    heed.telegram.edit(DESK, note, "// ask them twice")
    await heed.settled(note, kind="edited")
    assert [row.text for row in await heed.rows(history, role="note")] == ["ask them twice"]


# -- the operator --------------------------------------------------------------------------------


async def test_19_an_alarm_reaches_the_operator_in_their_own_chat(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram", desk=OPERATOR) as heed:
        heed.app._alarm("The disk is full.")  # before they have written: the desk alone
        await until(lambda: "The disk is full." in heed.read(DESK))
        assert heed.read(BOB) == []
        await heed.says(BOB, KIND)
        heed.app._alarm("The line is down.")
        await until(lambda: "The line is down." in heed.read(BOB))
        assert "The line is down." in heed.read(DESK)
        assert not any("The line is down." in text for _, text in await heed.said(BOB))


async def test_19_a_lost_desk_is_told_once_with_who_waits(tmp_path: Path) -> None:
    """HANDOFF 19: desk removed or rights withdrawn: a digest to the operator's DM."""
    async with heed_on(tmp_path, staff="telegram", desk=OPERATOR) as heed:
        await heed.says(BOB, KIND)
        heed.telegram.chats[DESK].blocked = True
        await heed.says(MAYA, FURY)
        await heed.says(BEN, FURY)
        [told] = [line for line in heed.read(BOB) if line.startswith("The desk ")]
        assert f"telegram:{DESK} does not let the bot in any more" in told
        assert told.endswith("Waiting: #1")
        assert "Maya" not in told
        await heed.later(3601.0)
        await heed.says(MAYA, "hello?")
        assert sum(line.startswith("The desk ") for line in heed.read(BOB)) == 1


async def test_19_without_an_operator_a_lost_desk_is_in_the_log_and_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with heed_on(tmp_path, staff="telegram") as heed:
        await heed.says(BOB, KIND)
        before = heed.read(BOB)
        heed.telegram.chats[DESK].blocked = True
        await heed.says(MAYA, FURY)
        assert heed.read(BOB) == before
        assert [row["id"] for row in (await heed.room.queue({}))["cases"]] == [1]
        told = capsys.readouterr()
        assert "a desk let us in no more" in told.out + told.err
