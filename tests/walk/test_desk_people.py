"""What people do to a case on Telegram, and what staff do by mistake: the edge cases, told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.engine.scripted import ScriptedEngine
from core.tables import case, conversation, history, outbox
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    BEN,
    BOB,
    CRISIS,
    CRISIS_TEXT,
    DESK,
    FURY,
    GROUP,
    GROUP_NOTICE,
    KIND,
    MAYA,
    OPEN,
    RESOLVED,
    Heed,
    ago,
    heed_on,
    hurry,
    words,
)

ASKS = "I want to talk to a human"
SIGNED = "Ana · Support"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


async def in_group(heed: Heed, text: str, user: int = MAYA) -> int:
    """Let somebody speak to the bot in a group."""
    if GROUP not in heed.telegram.chats:
        heed.telegram.group(GROUP, title="Town")
    return await heed.says(user, f"@HeedBot {text}", chat=GROUP)


# -- gone and back -------------------------------------------------------------------------------


async def test_17_who_blocked_the_bot_is_told_of_and_nothing_old_is_sent(heed: Heed) -> None:
    """HANDOFF 3 rows 20, 21 and 17: held; back again staff choose Send."""
    topic = await heed.opened()
    heed.telegram.block(MAYA)
    await heed.settled(kind="left")
    assert heed.read(DESK, topic)[-1].startswith("Not delivered to Maya: they blocked the bot")
    before = heed.read(MAYA)
    one = await heed.staff("are you there?")
    await heed.staff("write to me")
    assert heed.read(MAYA) == before
    assert "👌" not in heed.marks(one)
    assert "Cannot be reached now. Messages held: 2" in heed.card().text
    heed.telegram.unblock(MAYA)
    await heed.settled(kind="returned")
    assert heed.read(MAYA) == before
    asked = heed.shown("Maya can be reached again. Messages held: 2", thread=topic)
    assert [label for label, _ in asked.buttons] == ["Send", "Drop"]
    await heed.press("Send", on=asked)
    assert heed.read(MAYA)[-2:] == [f"{SIGNED}\nare you there?", "write to me"]
    assert heed.marks(one) == ("👌",)
    assert "Ana sent what had waited." in heed.read(DESK, topic)


async def test_17_a_refused_post_tells_the_same_and_drop_sends_nothing(heed: Heed) -> None:
    """HANDOFF 3 rows 20, 21: learnt from the 403 alone, back by writing."""
    topic = await heed.opened()
    heed.telegram.chats[MAYA].blocked = True
    await heed.staff("are you there?")
    await heed.settled(kind="left")
    assert any(line.startswith("Not delivered to Maya") for line in heed.read(DESK, topic))
    [held] = [row for row in await heed.rows(outbox) if row.state == "held"]
    assert held.text.endswith("are you there?")
    heed.telegram.chats[MAYA].blocked = False
    before = heed.read(MAYA)
    await heed.says(MAYA, "sorry, wrong button")
    assert heed.read(MAYA) == before
    await heed.press("Drop", on=heed.shown("can be reached again", thread=topic))
    assert heed.read(MAYA) == before
    await heed.staff("no harm done")
    assert heed.read(MAYA)[-1] == "no harm done"
    assert "Cannot be reached" not in heed.card().text


# -- two of staff --------------------------------------------------------------------------------


async def test_17_two_of_staff_answer_and_the_second_is_asked(heed: Heed) -> None:
    """HANDOFF 6 and 17: held with [Send anyway] [Keep as note]."""
    topic = await heed.opened()
    one = heed.telegram.say(DESK, ANA, "I have it.", thread=topic)
    two = heed.telegram.say(DESK, BOB, "Me too!", thread=topic)
    await heed.settled(one, chat=DESK)
    await heed.settled(two, chat=DESK)
    assert heed.read(MAYA)[-1] == f"{SIGNED}\nI have it."
    asked = heed.shown("Ana claimed this", thread=topic)
    assert [label for label, _ in asked.buttons] == ["Send anyway", "Keep as note"]
    assert asked.reply_to == two
    await heed.press("Send anyway", BOB, on=asked)
    assert heed.read(MAYA)[-1] == "Bob · Support\nMe too!"
    assert (await heed.the_case()).claimed_by == "Ana"
    await heed.press("Send anyway", BOB, on=asked)  # dealt with already
    assert heed.read(MAYA).count("Bob · Support\nMe too!") == 1
    await heed.staff("she sounds tired", BOB)
    await heed.press("Keep as note", BOB, on=heed.shown("Ana claimed this", thread=topic))
    assert "she sounds tired" not in "\n".join(heed.read(MAYA))
    assert ("note", "she sounds tired") in await heed.said(MAYA)


async def test_6_a_hard_lock_refuses(tmp_path: Path) -> None:
    """HANDOFF 6: `lock = "hard"` refuses; stealing stays possible."""
    async with heed_on(tmp_path, staff="telegram", desk={"lock": "hard"}) as heed:
        topic = await heed.opened()
        await heed.press("Claim")
        await heed.staff("Me too!", BOB)
        assert "Me too!" not in "\n".join(heed.read(MAYA))
        refused = heed.shown("Ana claimed this", thread=topic)
        assert [label for label, _ in refused.buttons] == ["Take over"]
        await heed.staff("/steal", BOB)
        await heed.staff("Bob here.", BOB)
        assert heed.read(MAYA)[-1] == "Bob · Support\nBob here."


async def test_17_an_old_button_changes_nothing(heed: Heed) -> None:
    """HANDOFF 17: acknowledged; fresh card."""
    topic = await heed.opened()
    card = heed.card()
    message = heed.telegram.chats[DESK].messages[card.message_id]
    old = message["reply_markup"]
    await heed.press("Claim")
    fresh = message["reply_markup"]
    message["reply_markup"] = old
    await heed.press("Resolve", BOB)
    assert (await heed.the_case()).state == "human"
    assert heed.read(DESK, topic)[-1] == "This card was old; here is the present one."
    assert message["reply_markup"] == fresh
    assert not any(text.startswith(RESOLVED) for text in heed.read(MAYA))


async def test_17_an_anonymous_admin_speaks_for_support_and_holds_nothing(heed: Heed) -> None:
    """HANDOFF 17: relayed as "Support"; owner becomes human, no holder."""
    topic = await heed.opened()
    await heed.staff("We are on it.", anonymous=True)
    assert heed.read(MAYA)[-1] == "Support\nWe are on it."
    row = await heed.the_case()
    assert (row.state, row.holder) == ("human", "")
    assert any("nswered by an anonymous admin" in line for line in heed.read(DESK, topic))


# -- the bot is at it ----------------------------------------------------------------------------


async def given_back(heed: Heed) -> int:
    """Let the bot answer under staff's eyes."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.staff("/bot on")
    return topic


async def test_17_a_claim_before_anything_was_shown_discards_the_answer(heed: Heed) -> None:
    """HANDOFF 17, 8.3: reply discarded at commit."""
    topic = await given_back(heed)
    engine = ScriptedEngine({"": words(3)})
    await heed.app.mind.swap(engine)
    engine.hang("speak")
    asked = heed.telegram.say(MAYA, MAYA, "and what now?")
    await until(lambda: engine.asked("speak"))
    before = heed.read(MAYA)
    data = dict(heed.card().buttons)["Claim"]
    heed.telegram.press(DESK, heed.card().message_id, data, ANA)
    await asyncio.sleep(0.1)
    engine.release()
    await heed.settled(asked)
    assert heed.read(MAYA) == before
    assert "Maya: and what now?" in heed.read(DESK, topic)
    assert not any("step number" in text for _, text in await heed.said(MAYA))


async def test_17_a_claim_while_the_bot_streams_cuts_it_off(heed: Heed) -> None:
    """HANDOFF 3 row 25 and 17: `withdrawn` / "the bot was cut off; it had shown: ..."."""
    topic = await given_back(heed)
    await heed.app.mind.swap(ScriptedEngine({"": words(40)}, pace=0.02))
    heed.telegram.say(MAYA, MAYA, "and what now?")
    await until(lambda: heed.telegram.called("sendMessageDraft"))
    await heed.press("Claim")
    assert heed.read(MAYA)[-1].startswith("I stopped this answer.")
    assert any(
        "The bot was cut off; it had shown: " in line and "This is step number 0" in line
        for line in heed.read(DESK, topic)
    )


# -- changed minds -------------------------------------------------------------------------------


async def test_17_the_message_that_caused_the_case_is_edited(heed: Heed) -> None:
    """HANDOFF 17: copy edited, re-scored, case stays; "edited; was: ..."."""
    topic = await heed.opened()
    caused = int((await heed.rows(history))[0].message_id)
    heed.telegram.edit(MAYA, caused, "sorry, forget it, thank you")
    await heed.settled(caused, kind="edited")
    assert f"edited; was: {FURY}" in heed.read(DESK, topic)
    assert (await heed.the_case()).state == "queued"
    line = (await heed.rows(history))[0]
    assert line.scores["label"] != "negative"
    second = await heed.says(MAYA, "order 1234")
    heed.telegram.edit(MAYA, second, "order 4321")
    await heed.settled(second, kind="edited")
    lines = heed.read(DESK, topic)
    assert "Maya: order 4321" in lines
    assert "Maya: order 1234" not in lines
    assert "edited; was: order 1234" in lines


async def test_17_asking_again_in_the_queue_tells_the_place_once(heed: Heed) -> None:
    """HANDOFF 3 row 2 and 17: `still_waiting` with place in line, not within 10 min again."""
    await heed.opened(BEN)
    topic = await heed.opened()
    await heed.says(MAYA, ASKS)
    told = "You are still in line, at place 2; the team has been told that you asked again."
    assert heed.read(MAYA)[-1] == told
    count = len(heed.read(MAYA))
    await heed.says(MAYA, f"{ASKS} now please")
    assert len(heed.read(MAYA)) == count
    assert sum("asked" in line for line in heed.read(DESK, topic)) >= 2
    await heed.later(11 * 60)
    await heed.says(MAYA, f"{ASKS}, please")
    assert heed.read(MAYA)[-1] == told
    assert len(await heed.rows(case)) == 2


# -- away for a while ----------------------------------------------------------------------------


async def test_17_old_messages_after_a_pause_are_shown_and_answered_with_one_text(
    heed: Heed,
) -> None:
    """HANDOFF 17: `late` / "Recovered n messages"; rules still run."""
    topic = await heed.opened()
    heed.telegram.say(MAYA, MAYA, "are you there?", date=ago(20))
    await heed.says(MAYA, "hello??", date=ago(19))
    lines = heed.read(DESK, topic)
    assert "Maya: are you there?" in lines
    assert "Maya: hello??" in lines
    assert any(line.startswith("Recovered ") for line in lines)
    await heed.says(BEN, FURY, date=ago(20))
    assert heed.read(BEN)[-1].startswith(OPEN)
    await heed.press("Claim", on=heed.card("Case 2"))
    second = max(heed.telegram.chats[DESK].topics)
    await heed.staff("/bot on", thread=second)
    await heed.says(BEN, "how do I export my data?", date=ago(15))
    await heed.says(BEN, "or import it?", date=ago(14))
    late = "I was away; I have your messages and the team can see them."
    assert heed.read(BEN).count(late) == 1
    assert heed.read(BEN)[-1] == late


# -- groups --------------------------------------------------------------------------------------


async def test_15_a_case_from_a_group_goes_on_in_the_direct_chat(heed: Heed) -> None:
    """HANDOFF 15: in public only `group_notice`, once; then by DM where there is one."""
    await heed.says(MAYA, KIND)
    await in_group(heed, FURY)
    await in_group(heed, "hello?")
    assert len([text for text in heed.read(GROUP) if text.startswith(GROUP_NOTICE)]) == 1
    public = heed.read(GROUP)
    await heed.staff("Here I am, Maya.")
    assert heed.read(MAYA)[-1] == f"{SIGNED}\nHere I am, Maya."
    assert any("goes on in their direct chat" in line for line in heed.read(DESK, heed.topic()))
    await heed.says(MAYA, "thank you, it is about my order")
    assert "Maya: thank you, it is about my order" in heed.read(DESK, heed.topic())
    await heed.press("Resolve")
    assert heed.read(MAYA)[-1].startswith(RESOLVED)
    assert heed.read(GROUP) == public


async def test_15_without_a_direct_chat_an_answer_in_public_is_asked_about(heed: Heed) -> None:
    """HANDOFF 15: else by the group, with a confirm that says "public"."""
    await in_group(heed, FURY)
    public = heed.read(GROUP)
    await heed.staff("Here I am, Maya.")
    assert heed.read(GROUP) == public
    asked = heed.shown("This case began in a group", thread=heed.topic())
    assert [label for label, _ in asked.buttons] == ["Send anyway", "Keep as note"]
    await heed.press("Send anyway", on=asked)
    assert heed.read(GROUP)[-1] == f"{SIGNED}\nHere I am, Maya."


async def test_15_danger_in_a_group_is_answered_in_private_alone(heed: Heed) -> None:
    """HANDOFF 12 crisis: nothing is shown in public."""
    await heed.says(MAYA, KIND)
    await in_group(heed, CRISIS)
    assert heed.read(MAYA)[-1].startswith(CRISIS_TEXT)
    assert all(text.startswith(GROUP_NOTICE) for text in heed.read(GROUP))
    assert (await heed.the_case()).rule == "crisis"


async def test_17_staff_answer_in_the_persons_group(heed: Heed) -> None:
    """HANDOFF 17: not scored; a reply to the user takes over; "Ana answered in the group"."""
    topic = await heed.opened(BEN)
    await heed.staff("// hello", thread=topic)  # so Ana is known
    asked = await in_group(heed, FURY)
    await heed.says(ANA, f"Maya, {FURY}? I am sorry!", chat=GROUP, reply_to=asked)
    row = (await heed.rows(case))[-1]
    assert (row.state, row.claimed_by) == ("human", "Ana")
    assert any("Ana answered in the group." in text for text in heed.read(DESK))
    assert len(await heed.rows(case)) == 2
    [ana] = [r for r in await heed.rows(history) if r.text.startswith("Maya, unbelievable")]
    assert (ana.role, ana.scores) == ("staff", None)
    before = heed.read(GROUP)
    await in_group(heed, "and when?")
    assert heed.read(GROUP) == before


async def test_17_a_group_becomes_a_supergroup(heed: Heed) -> None:
    """HANDOFF 17: keys of conversation and case are rewritten; old messages are still found."""
    topic = await heed.opened(BEN)
    await in_group(heed, FURY)
    heed.telegram.upgrade(GROUP, GROUP - 5)
    await heed.settled(kind="moved")
    [row] = await heed.rows(conversation, user=str(MAYA))
    assert row.chat == str(GROUP - 5)
    own = next(thread for thread in heed.telegram.chats[DESK].topics if thread != topic)
    assert any("new address" in line for line in heed.read(DESK, own))
    await heed.staff("In public then.", thread=own)
    await heed.press("Send anyway", on=heed.shown("began in a group", thread=own))
    assert heed.read(GROUP - 5)[-1].endswith("In public then.")
    await heed.says(MAYA, "@HeedBot fine", chat=GROUP - 5)
    assert any(line.startswith("Maya: ") and "fine" in line for line in heed.read(DESK, own))
    assert len(await heed.rows(case)) == 2


async def test_17_other_bots_are_neither_heard_nor_scored(heed: Heed) -> None:
    """HANDOFF 17: `is_bot` is never scored and never answered."""
    heed.telegram.group(GROUP)
    other = {"id": 99, "is_bot": True, "first_name": "OtherBot"}
    for _ in range(8):
        heed.telegram.say(GROUP, 99, f"@HeedBot {FURY}", **{"from": other})
    await in_group(heed, KIND)
    assert len(heed.read(GROUP)) == 1
    assert await heed.rows(case) == []
    assert [row.user for row in await heed.rows(conversation)] == [str(MAYA)]
