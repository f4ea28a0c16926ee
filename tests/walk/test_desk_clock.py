"""What time does to a desk on Telegram: timers, staffed hours, lists, incidents, the dry run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.tables import case, decision, outbox, timer
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    BEN,
    BOB,
    CRISIS,
    DESK,
    FURY,
    KIND,
    LI,
    MAYA,
    OPEN,
    Heed,
    heed_on,
    hurry,
)

HOUR, DAY = 3600.0, 86400.0
ON_CALL = -3003
LONG_WAIT = "I am sorry, nobody could take over yet. You are still in line"
NOBODY_FREE = "I am sorry, nobody could take over yet. I will go on helping"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


def pings(heed: Heed, words: str = "still waits") -> list[str]:
    """Return the lines in all topics that call staff again."""
    return [line for line in heed.read(DESK) if words in line]


async def timers(heed: Heed) -> set[str]:
    """Return which timers of cases run."""
    return {row.kind for row in await heed.rows(timer) if row.case_id is not None}


# -- a case that nobody takes --------------------------------------------------------------------


async def test_10_nobody_takes_a_case_and_it_calls_again_and_out_and_tells(tmp_path: Path) -> None:
    """HANDOFF 10 T1, T2 (on call), T3; 3 row 23: `long_wait`, once, and still queued."""
    desk = {"on_call": f"telegram:{ON_CALL}"}
    async with heed_on(tmp_path, staff="telegram", desk=desk) as heed:
        heed.telegram.group(ON_CALL, title="On call")
        topic = await heed.opened()
        assert {"t1", "t2", "t3"} <= await timers(heed)
        await heed.later(5 * 60 + 1)
        [again] = pings(heed)
        assert again.startswith("Maya still waits, for 5 min now: ")
        assert heed.read(ON_CALL) == []
        await heed.later(10 * 60)
        [out] = heed.read(ON_CALL)
        assert out.startswith("Maya has waited 15 min and nobody has taken the case #1: ")
        await heed.later(30 * 60)
        assert heed.read(MAYA)[-1].startswith(LONG_WAIT)
        assert (await heed.the_case()).state == "queued"
        assert any("Nobody has taken this case for 45 min." in t for t in heed.read(DESK, topic))
        count = len(heed.read(MAYA))
        await heed.later(2 * HOUR)
        assert len(heed.read(MAYA)) == count


async def test_10_a_claim_stops_the_calls(heed: Heed) -> None:
    """HANDOFF 3 rows 3 and 6: T1-T3 off, and again from the start after a release."""
    await heed.opened()
    await heed.press("Claim")
    assert not {"t1", "t2", "t3"} & await timers(heed)
    await heed.later(HOUR)
    assert pings(heed) == []
    assert not any(text.startswith(LONG_WAIT) for text in heed.read(MAYA))
    await heed.press("Release")
    assert {"t1", "t2", "t3"} <= await timers(heed)
    await heed.later(5 * 60 + 1)
    assert len(pings(heed)) == 1


async def test_10_given_back_when_nobody_is_free(tmp_path: Path) -> None:
    """HANDOFF 3 row 12: `nobody_free`, mirrored; never a crisis case."""
    async with heed_on(tmp_path, staff="telegram", desk={"give_back": True}) as heed:
        topic = await heed.opened()
        await heed.says(BEN, CRISIS)
        await heed.later(45 * 60 + 1)
        assert heed.read(MAYA)[-1].startswith(NOBODY_FREE)
        assert "Given back to the bot after 45 min; mirrored here." in heed.read(DESK, topic)
        maya, ben = await heed.rows(case)
        assert (maya.state, ben.state) == ("watch", "queued")
        assert heed.read(BEN)[-1].startswith(LONG_WAIT)
        await heed.says(MAYA, KIND)
        assert heed.read(DESK, topic)[-2] == f"Maya: {KIND}"


async def test_10_timers_survive_a_restart(tmp_path: Path) -> None:
    """HANDOFF 10: timers are rows, so a restart loses none."""
    async with heed_on(tmp_path, staff="telegram") as heed:
        await heed.opened()
        before = [(row.kind, row.due_at) for row in await heed.rows(timer) if row.case_id]
    async with heed_on(tmp_path, staff="telegram") as heed:
        assert [(r.kind, r.due_at) for r in await heed.rows(timer) if r.case_id] == before


async def test_18_the_usual_wait_is_named_once_five_cases_tell_of_it(heed: Heed) -> None:
    """HANDOFF 10: the median of the last 20; with fewer than 5 no number."""
    for person in (101, 102, 103, 104, 105):
        topic = await heed.opened(person)
        assert heed.read(person)[-1].startswith(f"{OPEN} You can")
        await heed.later(4 * 60)
        await heed.staff("Here.", thread=topic)
    await heed.later(1)
    await heed.opened()
    assert "somebody usually reads within about 4 min" in heed.read(MAYA)[-1]


# -- hours ---------------------------------------------------------------------------------------


def sunday_noon() -> float:
    """Return the seconds until the next Sunday, 12:00 UTC."""
    now = datetime.fromtimestamp(time.time(), UTC)
    day = now.replace(hour=12, minute=0, second=0, microsecond=0)
    day += timedelta(days=(6 - day.weekday()) % 7)
    return (day if day > now else day + timedelta(days=7)).timestamp() - now.timestamp()


WEEKDAYS = {"hours": "Mon-Fri 09:00-17:00"}


async def test_10_outside_hours_the_opening_is_named_and_calls_wait(tmp_path: Path) -> None:
    """HANDOFF 10 hours: `open_closed`, once; T1-T3 on staffed time; the ping waits."""
    async with heed_on(tmp_path, staff="telegram", desk=WEEKDAYS) as heed:
        await heed.later(sunday_noon())
        topic = await heed.opened()
        told = [text for text in heed.read(MAYA) if "The team is back tomorrow at 09:00" in text]
        assert len(told) == 1
        assert not any(line.startswith("Maya needs a person") for line in heed.read(DESK, topic))
        await heed.says(MAYA, "hello?")
        assert "Maya: hello?" in heed.read(DESK, topic)
        assert len([t for t in heed.read(MAYA) if "The team is back" in t]) == 1
        await heed.says(BEN, "I want to talk to a human")
        assert not any(line.startswith("Ben needs a person") for line in heed.read(DESK))
        await heed.later(20 * HOUR)
        assert pings(heed, "Maya ") == [
            line for line in pings(heed, "Maya ") if "waits" not in line
        ]
        await heed.later(HOUR + 2)  # Monday, nine o'clock
        assert sorted(line[:5] for line in pings(heed)) == ["Ben s", "Maya "]


async def test_10_danger_calls_at_any_hour(tmp_path: Path) -> None:
    """HANDOFF 10, 12: the ping waits for opening except for crisis."""
    async with heed_on(tmp_path, staff="telegram", desk=WEEKDAYS) as heed:
        await heed.later(sunday_noon())
        await heed.says(MAYA, CRISIS)
        assert any(line.startswith("Maya needs a person") for line in heed.read(DESK))


# -- lists ---------------------------------------------------------------------------------------


async def test_10_cases_older_than_a_day_stand_in_one_list(heed: Heed) -> None:
    """HANDOFF 10: a daily digest in one post, not one ping each."""
    await heed.opened()
    await heed.opened(BEN)
    await heed.later(DAY + 60)
    await heed.later(DAY)
    lists = [text for text in heed.read(DESK) if "cases are older than a day:" in text]
    assert lists
    assert lists[0].startswith("2 cases are older than a day:\n#1 · queued · ")
    assert "#2 · queued" in lists[0]
    assert "Maya" not in lists[0]  # a list of many names nobody: no erasing would find it


async def test_13_past_the_budget_cases_still_open_and_stand_in_a_ranked_list(
    tmp_path: Path,
) -> None:
    """HANDOFF 13 alert budget: no ping, still `open`; a list on the hour, without a ping."""
    async with heed_on(tmp_path, staff="telegram", desk={"alerts_per_day": 1}) as heed:
        one = await heed.opened()
        two = await heed.opened(BEN)
        assert any("needs a person" in line for line in heed.read(DESK, one))
        assert not any("needs a person" in line for line in heed.read(DESK, two))
        assert heed.read(BEN)[-1].startswith(OPEN)
        await heed.says(LI, "我要人工客服")
        three = max(heed.telegram.chats[DESK].topics)
        assert any("needs a person" in line for line in heed.read(DESK, three))
        await heed.later(HOUR)
        [ranked] = [text for text in heed.read(DESK) if "were not called out one by one" in text]
        assert "#1 · queued" in ranked
        assert "#2 · queued" in ranked


async def crowd(heed: Heed, people: tuple[int, ...] = (MAYA, BEN, 31)) -> None:
    """Let several people be furious about the same thing."""
    for person in people:
        await heed.says(person, f"{FURY} and the login is broken 502")


INCIDENT: dict[str, Any] = {"incident_users": 3}


async def test_13_many_upset_at_once_make_one_card(tmp_path: Path) -> None:
    """HANDOFF 13 incident: one card, shared words, threads when somebody opens one."""
    async with heed_on(tmp_path, staff="telegram", desk=INCIDENT) as heed:
        await crowd(heed)
        await heed.later(5)
        card = heed.card("3 people upset in")
        assert card.thread is None
        assert [label for label, _ in card.buttons] == [
            "Answer all", "Open separately", "Known, mute 1 h",
        ]  # fmt: skip
        assert "Common words: 502, " in card.text
        assert len(heed.telegram.chats[DESK].topics) == 2
        assert len(await heed.rows(case)) == 3
        assert heed.read(31)[-1].startswith(OPEN)
        await crowd(heed, (32,))
        await heed.later(5)
        assert heed.card("4 people upset in").message_id == card.message_id
        await heed.press("Open separately", on="people upset")
        assert len(heed.telegram.chats[DESK].topics) == 4
        await heed.press("Known, mute 1 h", on="people upset")
        assert "Muted until" in heed.card("4 people upset in").text


async def test_13_one_answer_to_everybody_of_an_incident(tmp_path: Path) -> None:
    """HANDOFF 13 *Answer all*: one staff text to every user in it, confirm first."""
    async with heed_on(tmp_path, staff="telegram", desk=INCIDENT) as heed:
        await crowd(heed)
        await heed.later(5)
        before = heed.read(MAYA)
        await heed.press("Answer all", on="people upset")
        assert heed.read(MAYA) == before
        assert heed.read(DESK)[-1].startswith("Write your answer as: /all 1 text.")
        await heed.says(BOB, "/all 1 The login works again.", chat=DESK)
        for person in (MAYA, BEN, 31):
            assert heed.read(person)[-1] == "Support\nThe login works again."
        assert heed.read(DESK)[-1] == "Bob answered 3 people at once."
        assert {row.state for row in await heed.rows(case)} == {"queued"}


async def test_13_an_incident_ends_by_itself(tmp_path: Path) -> None:
    """HANDOFF 13: 20 min without a new user: the card says so and normal pings return."""
    async with heed_on(tmp_path, staff="telegram", desk=INCIDENT) as heed:
        await crowd(heed)
        await heed.later(21 * 60)
        assert "single pings are back" in heed.card("3 people upset in").text
        await heed.opened(33)
        own = max(heed.telegram.chats[DESK].topics)
        assert any("needs a person" in line for line in heed.read(DESK, own))


# -- dry run -------------------------------------------------------------------------------------


async def test_13_a_dry_run_opens_nothing_by_mood_and_asks_for_verdicts(tmp_path: Path) -> None:
    """HANDOFF 13 dry run: a digest with verdict buttons; request works from the first minute."""
    async with heed_on(tmp_path, staff="telegram", desk={"dry_run": True}) as heed:
        await heed.says(MAYA, FURY)
        assert await heed.rows(case) == []
        assert not heed.read(MAYA)[-1].startswith(OPEN)
        await heed.says(BEN, "I want to talk to a human")
        assert heed.read(BEN)[-1].startswith(OPEN)
        assert len(await heed.rows(case)) == 1
        await heed.later(DAY + 60)
        digest = heed.shown("Dry run: yesterday 1 cases would have been opened.")
        assert [label for label, _ in digest.buttons] == ["1 Right", "1 Not needed"]
        await heed.press("1 Not needed", on=digest)
        [kept] = [row for row in await heed.rows(decision) if row.dry]
        assert kept.verdict == "not needed"
        assert not [row for row in await heed.rows(outbox) if row.state in ("failed", "uncertain")]


async def test_10_who_is_named_as_staff_is_never_a_case(heed: Heed) -> None:
    """HANDOFF 2: staff are never scored, also in their own chat with the bot."""
    topic = await heed.opened()
    await heed.staff("// hello")
    await heed.says(ANA, FURY)
    assert len(await heed.rows(case)) == 1
    assert heed.telegram.chats[DESK].topics.keys() == {topic}
    await until(lambda: heed.read(DESK, topic))
