"""Staff's commands in a Telegram forum: sleep, watch, block, remarks, cases that staff begin."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.tables import case
from tests.walk.platforms import (
    ANA,
    BACK_TO_BOT,
    BEN,
    BOB,
    CRISIS,
    CRISIS_TEXT,
    DESK,
    FURY,
    KIND,
    MAYA,
    OPEN,
    RESOLVED,
    Heed,
    heed_on,
    hurry,
)

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


# -- sleep ---------------------------------------------------------------------------------------


async def test_a_case_sleeps_until_its_time_comes(heed: Heed) -> None:
    """HANDOFF 3 rows 8 and 9: icon, topic closed; state before, thread reopened, holder pinged."""
    topic = await heed.opened()
    await heed.press("Claim")
    before = heed.read(MAYA)
    await heed.press("Snooze 1 h")
    row = await heed.the_case()
    assert (row.state, row.claimed_by) == ("snoozed", "Ana")
    assert heed.card().text.splitlines()[1].startswith("Snoozed until")
    assert [label for label, _ in heed.card().buttons] == ["Wake", "Resolve"]
    assert heed.state_of(topic)["icon"] == "☕️"
    assert heed.state_of(topic)["closed"]
    await heed.later(HOUR + 1)
    row = await heed.the_case()
    assert (row.state, row.claimed_by) == ("human", "Ana")
    assert not heed.state_of(topic)["closed"]
    assert heed.state_of(topic)["icon"] == "💬"
    woken = heed.shown("awake again", thread=topic).text
    assert "Ana" in woken
    assert heed.read(MAYA) == before


async def test_a_sleeping_case_wakes_when_its_person_writes(heed: Heed) -> None:
    """HANDOFF 3 row 9."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.staff("/snooze 4h")
    before = heed.read(MAYA)
    await heed.says(MAYA, "one more thing")
    assert (await heed.the_case()).state == "human"
    assert not heed.state_of(topic)["closed"]
    lines = heed.read(DESK, topic)
    assert "Maya: one more thing" in lines
    assert any(line.startswith("Ana: ") and "awake again" in line for line in lines)
    assert heed.read(MAYA) == before
    await heed.later(5 * HOUR)
    assert (await heed.the_case()).state == "human"


async def test_wake_ends_a_sleep_by_hand(heed: Heed) -> None:
    """HANDOFF 3 row 9, by staff."""
    topic = await heed.opened()
    await heed.staff("/snooze 30m")
    await heed.press("Wake")
    assert (await heed.the_case()).state == "queued"
    assert "Ana woke this case." in heed.read(DESK, topic)


# -- resolving that waits ------------------------------------------------------------------------


async def test_a_resolving_that_waits_is_called_off_by_any_word(heed: Heed) -> None:
    """HANDOFF 5: a scheduled resolve is cancelled by any message from either side."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.staff("/resolve paid back in 2h")
    assert "Ana resolves this in 2 h" in heed.read(DESK, topic)[-1]
    assert "Will be resolved at" in heed.card().text
    await heed.says(MAYA, "wait")
    assert any("is called off" in line for line in heed.read(DESK, topic))
    await heed.staff("/resolve in 2h")
    await heed.staff("I am still looking.")
    await heed.later(3 * HOUR)
    assert (await heed.the_case()).state == "human"
    assert "Will be resolved at" not in heed.card().text


async def test_a_resolving_that_waits_comes(heed: Heed) -> None:
    """HANDOFF 5: `/resolve [reason] [in 2h]`."""
    await heed.opened()
    await heed.press("Claim")
    await heed.staff("/resolve in 2h")
    await heed.later(2 * HOUR + 1)
    row = await heed.the_case()
    assert (row.state, row.resolved_by) == ("resolved", "Ana")
    assert heed.read(MAYA)[-1].startswith(RESOLVED)


async def test_after_a_silent_day_the_holder_is_asked(heed: Heed) -> None:
    """HANDOFF 10 inactivity: nothing closes by itself."""
    topic = await heed.opened()
    await heed.staff("I am looking into it.")
    await heed.later(24 * HOUR + 60)
    asked = heed.shown("Nobody has written here for a day.", thread=topic)
    assert [label for label, _ in asked.buttons] == ["Resolve", "Snooze 1 d", "Keep"]
    assert (await heed.the_case()).state == "human"
    await heed.press("Keep", on=asked)
    await heed.press("Snooze 1 d", on=asked)
    assert (await heed.the_case()).state == "snoozed"


# -- back to the bot, and watching ---------------------------------------------------------------


async def test_given_back_staff_see_a_mirror_and_take_over_again(heed: Heed) -> None:
    """HANDOFF 3 rows 13, 14: `/bot on`, mirrored; Claim and `/bot off` make it human again."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.staff("/bot on")
    assert heed.read(MAYA)[-1].startswith(BACK_TO_BOT)
    row = await heed.the_case()
    assert (row.state, row.claimed_by) == ("watch", "")
    assert heed.state_of(topic)["icon"] == "👀"
    assert ("marker", "human ended") in await heed.said(MAYA)
    await heed.says(MAYA, KIND)
    answer = heed.read(MAYA)[-1]
    assert heed.read(DESK, topic)[-2:] == [f"Maya: {KIND}", f"Heed: {answer}"]
    await heed.press("Claim")
    assert (await heed.the_case()).claimed_by == "Ana"
    before = heed.read(MAYA)
    await heed.says(MAYA, "and now?")
    assert heed.read(MAYA) == before
    await heed.staff("/bot on")
    await heed.staff("/bot off")
    assert (await heed.the_case()).state == "human"


async def test_a_rule_that_fires_while_staff_watch_queues_the_case(heed: Heed) -> None:
    """HANDOFF 3 row 15."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.staff("/bot on")
    await heed.says(MAYA, "can I talk to a human please")
    assert heed.read(MAYA)[-1].startswith(OPEN)
    assert (await heed.the_case()).state == "queued"
    assert any(line.startswith("Maya needs a person") for line in heed.read(DESK, topic)[4:])
    assert heed.state_of(topic)["icon"] == "❗️"


async def test_watch_mirrors_somebody_whom_no_rule_found(heed: Heed) -> None:
    """HANDOFF 3 row 19; 10: a case that never left watch ends without a word."""
    await heed.says(BEN, KIND)
    before = heed.read(BEN)
    await heed.says(ANA, "/watch @Ben", chat=DESK)
    topic = heed.topic()
    assert heed.state_of(topic)["icon"] == "👀"
    assert (await heed.the_case()).state == "watch"
    assert heed.read(BEN) == before
    await heed.says(BEN, "what are your opening hours?")
    answer = heed.read(BEN)[-1]
    assert heed.read(DESK, topic)[-2:] == ["Ben: what are your opening hours?", f"Heed: {answer}"]
    await heed.press("Resolve")
    assert heed.read(BEN)[-1] == answer
    row = await heed.the_case()
    assert (row.state, row.reopen_until) == ("resolved", None)


async def test_contact_opens_a_case_in_silence(heed: Heed) -> None:
    """HANDOFF 3 row 1: `/contact` by staff, the user sees nothing."""
    await heed.says(BEN, KIND)
    before = heed.read(BEN)
    await heed.says(ANA, f"/contact telegram:{BEN}", chat=DESK)
    assert heed.read(BEN) == before
    assert (await heed.the_case()).state == "queued"
    await heed.staff("Hello Ben, about your last order.")
    assert heed.read(BEN)[-1] == "Ana · Support\nHello Ben, about your last order."


async def test_contact_of_nobody_is_answered_where_it_was_asked(heed: Heed) -> None:
    """HANDOFF 9: a command that cannot be carried out is told to staff."""
    await heed.says(ANA, "/contact @Zoe", chat=DESK)
    assert heed.read(DESK)[-1].startswith("Nobody of that name wrote here")
    assert await heed.rows(case) == []


# -- the person ----------------------------------------------------------------------------------


async def test_who_is_blocked_is_told_once_and_heard_no_more(heed: Heed) -> None:
    """HANDOFF 5 Block: dropped after one `blocked` text; confirm first; /unblock."""
    topic = await heed.opened()
    await heed.staff("/block 7d spam")
    asked = heed.shown("/block 7d spam yes", thread=topic)
    assert asked.text.startswith("Shut them out for 7 d?")
    assert asked.buttons == ()
    await heed.staff("/block 7d spam yes")
    assert "Ana shut them out for 7 d. spam" in heed.read(DESK, topic)
    lines = heed.read(DESK, topic)
    await heed.says(MAYA, "you cannot do that")
    await heed.says(MAYA, "answer me")
    told = [text for text in heed.read(MAYA) if text.startswith("You cannot write to this team")]
    assert len(told) == 1
    assert heed.read(DESK, topic) == lines
    await heed.staff("/unblock")
    await heed.says(MAYA, "hello again")
    assert "Maya: hello again" in heed.read(DESK, topic)


async def test_a_blocked_person_in_danger_is_heard(heed: Heed) -> None:
    """HANDOFF 17: blocked user in crisis."""
    await heed.opened()
    await heed.staff("/block 7d spam yes")
    await heed.press("Resolve")
    await heed.later(2 * 24 * HOUR)
    await heed.says(MAYA, CRISIS)
    assert heed.read(MAYA)[-1].startswith(CRISIS_TEXT)
    row = (await heed.rows(case))[-1]
    assert (row.state, row.rule) == ("queued", "crisis")
    assert any("Blocked user, crisis words." in text for text in heed.read(DESK))


async def test_remarks_stay_with_the_person(heed: Heed) -> None:
    """HANDOFF 5: lasting notes about the user, seen on every later card; `/who` shows them."""
    topic = await heed.opened()
    await heed.staff("/remark prefers to be called Mai")
    assert "Ana left a remark that later cards show." in heed.read(DESK, topic)
    await heed.press("Not needed")
    await heed.later(25 * HOUR)
    await heed.says(MAYA, "I want to talk to a human")
    second = max(heed.telegram.chats[DESK].topics)
    assert "Ana: prefers to be called Mai" in heed.card("Case 2").text
    assert "Earlier cases:" in heed.card("Case 2").text
    await heed.staff("/who", thread=second)
    assert "Ana: prefers to be called Mai" in heed.read(DESK, second)[-1]


async def test_questions_are_answered_in_the_topic(heed: Heed) -> None:
    """HANDOFF 5: `/why`, `/history`."""
    topic = await heed.opened()
    await heed.staff("Hello Maya.")
    await heed.staff("/why")
    why = heed.read(DESK, topic)[-1]
    assert "● spike" in why
    assert "threshold" in why
    await heed.staff("/history")
    history = heed.read(DESK, topic)[-1]
    assert f"Maya: {FURY}" in history
    assert "Ana: Hello Maya." in history
    assert heed.read(MAYA)[-1].endswith("Hello Maya.")


# -- the case ------------------------------------------------------------------------------------


async def test_priority_and_assignment(heed: Heed) -> None:
    """HANDOFF 3 row 7, 5: x is mentioned, the old holder is told."""
    topic = await heed.opened()
    await heed.staff("// I have a look", BOB)
    await heed.staff("/priority 3")
    assert "Priority: 3" in heed.card().text
    await heed.staff("/priority high")
    assert heed.read(DESK, topic)[-1] == "A priority is a number from 0 to 3."
    await heed.press("Claim")
    await heed.staff("/assign @Bob")
    row = await heed.the_case()
    assert (row.claimed_by, row.holder) == ("Bob", f"telegram:{BOB}")
    told = "Bob has this case now: Ana assigned it (before: Ana)."
    assert told in heed.read(DESK, topic)
    await heed.staff("Bob here.", BOB)
    assert heed.read(MAYA)[-1] == "Bob · Support\nBob here."
    await heed.staff("/assign Nobody")
    assert "Nobody of the name 'Nobody' has worked here yet" in heed.read(DESK, topic)[-1]


async def test_a_refusal_is_in_the_language_of_staff(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram", desk={"language": "zh"}) as heed:
        topic = await heed.opened()
        await heed.staff("/priority 9")
        assert heed.read(DESK, topic)[-1] == "优先级是 0 到 3 之间的数字。"
        await heed.staff("/claim")
        await heed.staff("Hello, Bob here.", BOB)
        assert re.search("Ana 在 .+前接手了这个工单。", heed.read(DESK, topic)[-1])


async def test_an_alert_calls_whoever_asked_at_the_next_message_once(heed: Heed) -> None:
    """HANDOFF 5: `/alert` pings me at the user's next message."""
    topic = await heed.opened()
    await heed.staff("/alert")
    assert heed.read(DESK, topic)[-1] == "Ana will be called at their next message."
    await heed.says(MAYA, "hello?")
    await heed.says(MAYA, "anybody?")
    assert heed.read(DESK, topic).count("Ana: they wrote.") == 1


async def test_staff_may_answer_without_their_names(heed: Heed) -> None:
    """HANDOFF 5 `/anon`, 7: never leaked by snippets."""
    topic = await heed.opened()
    await heed.staff("/anon on")
    assert "Staff answer without their names" in heed.card().text
    await heed.staff("We have paid it back.")
    assert heed.read(MAYA)[-1] == "Support\nWe have paid it back."
    await heed.staff("/save hello Hello, this is {name}.")
    await heed.staff("/anon off")
    await heed.staff("Ana speaking.", BOB)
    assert not any("Ana ·" in text for text in heed.read(MAYA))
    assert "Answers here carry your first name" in "\n".join(heed.read(DESK, topic))


async def test_saved_replies(heed: Heed) -> None:
    """HANDOFF 5: `/s` sends a saved reply."""
    topic = await heed.opened()
    await heed.says(ANA, "/save refund The money is on its way.", chat=DESK)
    assert heed.read(DESK)[-1] == "Saved: /s refund sends it."
    await heed.staff("/s refund")
    assert heed.read(MAYA)[-1] == "Ana · Support\nThe money is on its way."
    await heed.staff("/s nothing")
    assert "There is no saved reply 'nothing'. Saved: refund" in heed.read(DESK, topic)[-1]
    await heed.staff("/save refund")
    assert "The saved reply refund is gone." in heed.read(DESK, topic)
