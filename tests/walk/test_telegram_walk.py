"""Conversations on Telegram, from the person's first word to the staff's last button."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.settings import Model
from core.engine.scripted import ScriptedEngine
from core.store import privacy
from core.tables import audit, case, conversation, history, inbox, outbox
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    BACK_TO_BOT,
    BEN,
    BOB,
    CRISIS,
    CRISIS_TEXT,
    DESK,
    ERASED,
    FURY,
    GROUP,
    GROUP_NOTICE,
    KIND,
    LI,
    MAYA,
    OPEN,
    REOPENED,
    RESOLVED,
    Heed,
    ago,
    heed_on,
    hurry,
    words,
)

WORST = "this is the worst service ever, I am furious, you are all useless"
VERDICTS = ["Right", "Not needed", "Too late", "Reopen"]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


async def furious(heed: Heed, user: int = MAYA) -> int:
    """Let somebody be furious; return the case's topic."""
    await heed.says(user, FURY)
    return heed.topic()


# -- talking to the bot --------------------------------------------------------------------------


async def test_a_friendly_message_is_tagged_and_answered_in_the_same_chat(heed: Heed) -> None:
    await heed.says(MAYA, KIND)
    scores = await heed.scores(KIND)
    assert scores["label"] == "positive"
    assert scores["p_positive"] > 0.5
    assert set(scores["probs"]) == {"negative", "neutral", "positive"}
    [answer] = heed.read(MAYA)
    assert answer not in ("", "…")
    assert await heed.said(MAYA) == [("user", KIND), ("bot", answer)]
    assert not heed.telegram.chats[DESK].topics


async def test_a_topic_is_answered_in_that_topic(heed: Heed) -> None:
    heed.telegram.group(GROUP, forum=True)
    one, other = heed.telegram.topic(GROUP, "Help"), heed.telegram.topic(GROUP, "Else")
    await heed.says(MAYA, f"@HeedBot {KIND}", chat=GROUP, thread=one)
    assert len(heed.read(GROUP, one)) == 1
    assert heed.read(GROUP, other) == []


async def test_in_a_group_only_who_addresses_the_bot_is_heard(heed: Heed) -> None:
    heed.telegram.group(GROUP)
    heed.telegram.say(GROUP, MAYA, "I talk to Ben, about xyzzy")
    asked = await heed.says(BEN, f"@HeedBot {KIND}", chat=GROUP)
    assert await heed.contains("xyzzy") == []
    assert [row.message_id for row in await heed.rows(inbox)] == [str(asked)]
    [answer] = [line for line in heed.telegram.seen(GROUP) if line.who == "bot"]
    assert answer.reply_to == asked


async def test_two_people_at_once_in_one_group_never_mix(heed: Heed) -> None:
    heed.telegram.group(GROUP)
    glad = heed.telegram.say(GROUP, BEN, f"@HeedBot {KIND}")
    cross = heed.telegram.say(GROUP, MAYA, f"@HeedBot {FURY}")
    await heed.settled(glad, chat=GROUP)
    await heed.settled(cross, chat=GROUP)
    [ben] = await heed.rows(conversation, user=str(BEN))
    [maya] = await heed.rows(conversation, user=str(MAYA))
    assert (ben.owner, maya.owner) == ("bot", "queue")
    assert ben.mood > 0 > maya.mood
    assert all("charged" not in text for _, text in await heed.said(BEN))
    assert any(text.startswith(GROUP_NOTICE) for text in heed.read(GROUP))
    await heed.says(BEN, "@HeedBot and how do I export my data?", chat=GROUP)
    assert [role for role, _ in await heed.said(BEN)] == ["user", "bot", "user", "bot"]


async def test_bots_and_the_bot_itself_are_ignored(heed: Heed) -> None:
    heed.telegram.group(GROUP)
    other = {"id": 99, "is_bot": True, "first_name": "OtherBot"}
    own = {"id": 4242, "is_bot": True, "first_name": "Heed", "username": "HeedBot"}
    for who in (other, own):
        heed.telegram.say(GROUP, 99, f"@HeedBot {FURY}", **{"from": who})
    await heed.says(MAYA, f"@HeedBot {KIND}", chat=GROUP)
    assert len(await heed.rows(inbox)) == 1
    assert await heed.rows(case) == []


async def test_chinese_speakers_read_chinese(heed: Heed) -> None:
    await heed.says(LI, "/help")
    await heed.says(LI, "/human")
    texts = heed.read(LI)
    assert len(texts) == 2
    assert all(any("\u4e00" <= sign <= "\u9fff" for sign in text) for text in texts)
    assert OPEN not in texts


async def test_commands_answer_with_fixed_texts(heed: Heed) -> None:
    for command, start in (
        ("/start", "Hello, I am a program"),
        ("/help", "Just write what it is about"),
        ("/privacy", "What is kept."),
        ("/reset", "We start afresh"),
        ("/dance", "I do not know that command"),
    ):
        await heed.says(MAYA, command)
        assert heed.read(MAYA)[-1].startswith(start)
    assert "30 days" in heed.read(MAYA)[2]
    assert await heed.rows(case) == []
    await heed.says(MAYA, "/human")
    assert heed.read(MAYA)[-1] == f"{OPEN} You can keep writing here."
    assert (await heed.the_case()).rule == "request"


async def test_after_reset_the_model_sees_nothing_of_before(heed: Heed) -> None:
    engine = ScriptedEngine(replies=lambda asked: f"I know {len(asked.history)} lines.")
    await heed.app.mind.swap(engine)
    await heed.says(MAYA, "one")
    await heed.says(MAYA, "two")
    assert heed.read(MAYA)[-1] == "I know 2 lines."
    await heed.says(MAYA, "/reset")
    await heed.says(MAYA, "three")
    assert heed.read(MAYA)[-1] in {"I know 0 lines.", "I know 1 lines."}  # the reset's own words


async def test_what_is_said_in_private_stays_out_of_groups(heed: Heed) -> None:
    engine = ScriptedEngine(replies=lambda asked: f"I know {len(asked.history)} lines.")
    await heed.app.mind.swap(engine)
    heed.telegram.group(GROUP)
    await heed.says(MAYA, "my secret is xyzzy")
    await heed.says(MAYA, "@HeedBot what do you know?", chat=GROUP)
    assert heed.read(GROUP) == ["I know 0 lines."]


async def test_commands_of_other_bots_are_left_alone_in_groups(heed: Heed) -> None:
    heed.telegram.group(GROUP)
    await heed.says(MAYA, "/roll 2d6", chat=GROUP)
    assert heed.read(GROUP) == []
    await heed.says(MAYA, "/roll@HeedBot 2d6", chat=GROUP)
    assert heed.read(GROUP)[-1].startswith("I do not know that command")


async def test_a_burst_while_the_bot_is_busy_is_tagged_one_by_one_and_answered_once(
    heed: Heed,
) -> None:
    engine = ScriptedEngine(replies=lambda asked: f"All {len(asked.messages)} at once.")
    await heed.app.mind.swap(engine)
    engine.hang("speak")
    heed.telegram.say(MAYA, MAYA, "first thing")
    await until(lambda: engine.asked("speak"))
    heed.telegram.say(MAYA, MAYA, "second thing")
    last = heed.telegram.say(MAYA, MAYA, "third thing")
    await until(lambda: len(engine.asked("cancel")) > 0)
    await asyncio.sleep(0.1)
    engine.release()
    await heed.settled(last)
    assert heed.read(MAYA)[-1].startswith("All ")
    rows = await heed.rows(history)
    assert [row.text for row in rows if row.role == "user"] == [
        "first thing", "second thing", "third thing",
    ]  # fmt: skip
    assert all(row.scores for row in rows if row.role == "user")
    assert [row.text for row in rows if row.role == "bot"] == ["All 3 at once."]
    assert heed.read(MAYA) == ["All 3 at once."]
    assert len(await heed.trace()) == 3


async def test_a_long_answer_arrives_whole_in_several_posts(tmp_path: Path) -> None:
    long = words(140)
    model = Model(reply_tokens=4096)
    async with heed_on(tmp_path, staff="telegram", model=model) as heed:
        await heed.app.mind.swap(ScriptedEngine({"": long}))
        await heed.says(MAYA, "tell me everything")
        parts = heed.read(MAYA)
    assert len(parts) > 1
    assert " ".join(" ".join(parts).split()) == long


# -- a person is brought in ----------------------------------------------------------------------


async def test_fury_brings_a_person_with_all_they_need_to_know(heed: Heed) -> None:
    await heed.says(MAYA, "hello, where is my order?")
    topic = await furious(heed)
    assert heed.read(MAYA)[-1].startswith(OPEN)
    assert heed.telegram.chats[DESK].topics[topic]["name"] == "#1 Maya"
    lines = [line for line in heed.telegram.seen(DESK, topic) if line.who == "bot"]
    card, picture, context, ping = lines
    assert card.pinned
    assert (picture.kind, picture.content[:4]) == ("photo", b"\x89PNG")
    assert card.text.startswith("Case 1 · Maya · telegram · en")
    assert "Waiting for a person" in card.text
    assert card.text.endswith("Start with // for a note that stays inside.")
    assert FURY[:100] in card.text
    assert re.search(r"neg 1?\.\d\d neu \.\d\d pos \.\d\d · intensity -\.\d\d", card.text)
    assert [label for label, _ in card.buttons] == [
        "Claim", "Draft", "Snooze 1 h", "Snooze 4 h", "Snooze 1 d", "Resolve", "Not needed",
        "More",
    ]  # fmt: skip
    assert "Maya: hello, where is my order?" in context.text
    assert f"Maya: {FURY}" in context.text
    assert ping.text.startswith("Maya needs a person: ")
    [row] = await heed.rows(case)
    assert (row.state, row.rule) == ("queued", "spike")
    assert (await heed.scores(FURY))["strong"] > 0.5


async def test_staff_claim_answer_and_take_notes(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    assert "With Ana" in heed.card().text
    assert [label for label, _ in heed.card().buttons] == [
        "Release", "Draft", "Snooze 1 h", "Snooze 4 h", "Snooze 1 d", "Resolve", "Not needed",
        "Back to the bot", "More",
    ]  # fmt: skip
    before = heed.read(MAYA)
    await heed.says(MAYA, "hello? is anybody there?")
    assert heed.read(MAYA) == before  # the bot is silent
    assert heed.read(DESK, topic)[-1] == "Maya: hello? is anybody there?"
    said = await heed.says(ANA, "Hi Maya, I have your order here.", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1] == "Ana · Support\nHi Maya, I have your order here."
    assert heed.marks(said) == ("👌",)
    await heed.says(ANA, "// she sounds exhausted", chat=DESK, thread=topic)
    await heed.says(ANA, "/frobnicate now", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1] == "Ana · Support\nHi Maya, I have your order here."
    assert "/frobnicate was not sent" in heed.read(DESK, topic)[-1]
    assert ("note", "she sounds exhausted") in await heed.said(MAYA)
    assert ("staff", "Hi Maya, I have your order here.") in await heed.said(MAYA)


async def test_an_edit_of_staff_changes_what_the_person_reads(heed: Heed) -> None:
    topic = await furious(heed)
    said = await heed.says(ANA, "It costs 10.", chat=DESK, thread=topic)
    count = len(heed.read(MAYA))
    heed.telegram.edit(DESK, said, "It costs 20.")
    await heed.settled(said, chat=DESK, kind="edited")
    assert heed.read(MAYA)[-1] == "Ana · Support\nIt costs 20."
    assert len(heed.read(MAYA)) == count
    assert ("staff", "It costs 20.") in await heed.said(MAYA)


async def test_the_first_answer_claims_by_itself(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.says(ANA, "I am on it.", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1] == "Ana · Support\nI am on it."
    assert "With Ana" in heed.card().text
    assert (await heed.the_case()).claimed_by == "Ana"


async def test_a_reply_to_the_card_is_a_note(heed: Heed) -> None:
    topic = await furious(heed)
    said = heed.read(MAYA)
    await heed.says(
        ANA, "look at the third one", chat=DESK, thread=topic, reply_to=heed.card().message_id
    )
    assert heed.read(MAYA) == said
    assert ("note", "look at the third one") in await heed.said(MAYA)


async def test_the_second_of_staff_is_told_who_has_it(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    said = heed.read(MAYA)
    await heed.says(BOB, "me too, what is wrong?", chat=DESK, thread=topic)
    assert heed.read(MAYA) == said
    asked = heed.shown("Ana claimed this")
    assert [label for label, _ in asked.buttons] == ["Send anyway", "Keep as note"]
    await heed.press("Keep as note", BOB, on=asked)
    assert heed.read(MAYA) == said
    assert ("note", "me too, what is wrong?") in await heed.said(MAYA)
    await heed.says(BOB, "/steal", chat=DESK, thread=topic)
    assert "With Bob" in heed.card().text
    await heed.says(BOB, "Bob here.", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1] == "Bob · Support\nBob here."


async def test_what_was_held_back_goes_when_its_writer_insists(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    await heed.says(BOB, "me too, what is wrong?", chat=DESK, thread=topic)
    await heed.press("Send anyway", BOB, on="Ana claimed this")
    assert heed.read(MAYA)[-1] == "Bob · Support\nme too, what is wrong?"
    assert "With Ana" in heed.card().text
    count = len(heed.read(MAYA))
    await heed.press("Send anyway", BOB, on="Ana claimed this")
    assert len(heed.read(MAYA)) == count


async def test_two_quick_lines_of_staff_are_each_carried_out(heed: Heed) -> None:
    topic = await furious(heed)
    heed.telegram.say(DESK, ANA, "One.", thread=topic)
    heed.telegram.say(DESK, ANA, "/nonsense", thread=topic)
    last = heed.telegram.say(DESK, ANA, "Two.", thread=topic)
    await heed.settled(last, chat=DESK)
    assert heed.read(MAYA)[-2:] == ["Ana · Support\nOne.", "Two."]


async def test_staff_are_never_scored(heed: Heed) -> None:
    topic = await furious(heed)
    heard = len(await heed.trace())
    await heed.says(ANA, FURY, chat=DESK, thread=topic)
    assert len(await heed.trace()) == heard
    assert len(await heed.rows(case)) == 1
    scored = [row for row in await heed.rows(history) if row.scores]
    assert [row.role for row in scored] == ["user"]


async def test_resolve_asks_whether_it_helped_and_no_reopens(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    await heed.press("Resolve")
    asked = heed.telegram.seen(MAYA)[-1]
    assert asked.text.startswith(RESOLVED)
    assert [label for label, _ in asked.buttons] == ["Yes, it helped", "No"]
    assert "Resolved by Ana" in heed.card().text
    assert [label for label, _ in heed.card().buttons] == VERDICTS
    await heed.press("No", MAYA, on=asked)
    assert heed.read(MAYA)[-1] == REOPENED
    assert "Waiting for a person" in heed.card().text
    assert heed.read(DESK, topic)[-1] == "They say it did not help."
    assert not heed.state_of()["closed"]
    assert (await heed.the_case()).state == "queued"


async def test_thanks_does_not_reopen_but_a_further_message_does(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Resolve")
    await heed.says(MAYA, "thanks")
    assert heed.read(MAYA)[-1] not in (REOPENED, RESOLVED)
    assert (await heed.the_case()).state == "resolved"
    await heed.says(MAYA, "wait, the charge is still there")
    assert heed.read(MAYA)[-1] == REOPENED
    assert heed.read(DESK, topic)[-2:] != []
    assert "Maya: wait, the charge is still there" in heed.read(DESK, topic)
    assert heed.topic() == topic  # no second topic


async def test_not_needed_hands_back_and_rests(heed: Heed) -> None:
    await furious(heed)
    await heed.press("Not needed")
    assert heed.read(MAYA)[-1].startswith(BACK_TO_BOT)
    labels = [label for label, _ in heed.card().buttons]
    assert labels == ["Right", "● Not needed", "Too late", "Reopen"]
    await heed.says(MAYA, WORST)
    row = await heed.the_case()
    assert (row.state, row.verdict) == ("resolved", "not needed")
    assert not heed.read(MAYA)[-1].startswith(OPEN)
    spike = next(r for r in (await heed.trace())[-1].trace if r["rule"] == "spike")
    assert "held: rests" in spike["note"]


async def test_given_back_the_bot_answers_and_staff_see_a_mirror(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    await heed.says(ANA, "/bot on", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1].startswith(BACK_TO_BOT)
    assert "the bot answers" in heed.card().text
    await heed.says(MAYA, KIND)
    answer = heed.read(MAYA)[-1]
    assert not answer.startswith(BACK_TO_BOT)
    mirror = "\n".join(heed.read(DESK, topic))
    assert f"Maya: {KIND}" in mirror
    assert answer in mirror
    await heed.says(MAYA, "can I talk to a human please")
    assert heed.read(MAYA)[-1].startswith(OPEN)
    assert "Maya: can I talk to a human please" in heed.read(DESK, topic)
    assert "Waiting for a person" in heed.card().text
    assert len(await heed.rows(case)) == 1


async def test_an_old_button_changes_nothing(heed: Heed) -> None:
    await furious(heed)
    old = dict(heed.card().buttons)
    await heed.press("Claim")
    message = heed.telegram.chats[DESK].messages[heed.card().message_id]
    kept = message["reply_markup"]
    message["reply_markup"] = {
        "inline_keyboard": [[{"text": "Resolve", "callback_data": old["Resolve"]}]]
    }
    await heed.press("Resolve", BOB)
    assert (await heed.the_case()).state == "human"
    assert "With Ana" in heed.card().text
    assert message["reply_markup"] == kept
    assert not any(text.startswith(RESOLVED) for text in heed.read(MAYA))


async def test_crisis_words_are_answered_by_the_fixed_text_alone(heed: Heed) -> None:
    await heed.says(MAYA, CRISIS)
    [text] = heed.read(MAYA)
    assert text.startswith(CRISIS_TEXT)
    row = await heed.the_case()
    assert (row.rule, row.priority) == ("crisis", 3)
    assert "danger in words" in heed.card().text


async def test_crisis_words_are_heard_when_a_human_owns_the_case(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    await heed.says(MAYA, CRISIS)
    assert heed.read(MAYA)[-1].startswith(CRISIS_TEXT)
    lines = heed.read(DESK, topic)
    assert f"Maya: {CRISIS}" in lines
    assert any("danger in words" in line for line in lines)
    assert (await heed.the_case()).claimed_by == "Ana"


async def test_asking_again_in_the_queue_is_answered_once(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.says(MAYA, "I want to talk to a human")
    assert heed.read(MAYA)[-1].startswith("You are still in line")
    count = len(heed.read(MAYA))
    await heed.says(MAYA, "I want to talk to a human now please")
    assert len(heed.read(MAYA)) == count
    assert "Maya: I want to talk to a human now please" in heed.read(DESK, topic)


async def test_a_claim_cuts_the_bot_off_in_the_middle_of_its_answer(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    await heed.says(ANA, "/bot on", chat=DESK, thread=topic)
    engine = ScriptedEngine({"": words(40)}, pace=0.02)
    await heed.app.mind.swap(engine)
    heed.telegram.say(MAYA, MAYA, "and what now?")
    await until(lambda: heed.telegram.called("sendMessageDraft"))
    await heed.press("Claim")
    assert heed.read(MAYA)[-1].startswith("I stopped this answer.")
    assert not any("step number 39" in text for text in heed.read(MAYA))
    assert "Maya: and what now?" in heed.read(DESK, topic)
    assert "With Ana" in heed.card().text
    assert (await heed.the_case()).state == "human"


async def test_an_anonymous_admin_of_the_desk_is_heard_too(heed: Heed) -> None:
    topic = await furious(heed)
    desk = heed.telegram.chats[DESK].json()
    group = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    await heed.says(
        ANA, "We are on it.", chat=DESK, thread=topic, **{"from": group, "sender_chat": desk}
    )
    assert heed.read(MAYA)[-1] == "Support\nWe are on it."
    row = await heed.the_case()
    assert (row.state, row.holder) == ("human", "")
    assert "Answered by an anonymous administrator; nobody holds this case." in heed.read(
        DESK, topic
    )


# -- changed minds -------------------------------------------------------------------------------


async def test_an_edit_is_heard_anew_and_may_bring_a_person(heed: Heed) -> None:
    first = await heed.says(MAYA, KIND)
    heed.telegram.edit(MAYA, first, FURY)
    await heed.settled(first, kind="edited")
    [line] = await heed.rows(history, message_id=str(first))
    assert (line.text, line.was) == (FURY, KIND)
    assert line.scores["label"] == "negative"
    assert heed.read(MAYA)[-1].startswith(OPEN)
    assert (await heed.the_case()).rule == "spike"


async def test_a_harmless_edit_moves_the_mood_and_nothing_else(heed: Heed) -> None:
    first = await heed.says(MAYA, "this is bad and annoying")
    [before] = await heed.rows(conversation)
    count = len(heed.read(MAYA))
    heed.telegram.edit(MAYA, first, KIND)
    await heed.settled(first, kind="edited")
    [after] = await heed.rows(conversation)
    assert before.mood < 0 < after.mood
    assert after.past["mood"] != before.past["mood"]
    assert len(heed.read(MAYA)) == count


async def test_staff_are_told_of_an_edit(heed: Heed) -> None:
    topic = await furious(heed)
    second = await heed.says(MAYA, "order 1234")
    heed.telegram.edit(MAYA, second, "order 4321")
    await heed.settled(second, kind="edited")
    lines = heed.read(DESK, topic)
    assert "Maya: order 4321" in lines
    assert "Maya: order 1234" not in lines
    assert lines[-1] == "edited; was: order 1234"


# -- nobody to reach -----------------------------------------------------------------------------


async def test_who_blocks_the_bot_is_unreachable_and_staff_are_told(heed: Heed) -> None:
    topic = await furious(heed)
    heed.telegram.block(MAYA)
    await heed.settled(kind="left")
    assert "Not delivered to Maya" in heed.read(DESK, topic)[-1]
    said = heed.read(MAYA)
    await heed.says(ANA, "are you there?", chat=DESK, thread=topic)
    assert heed.read(MAYA) == said
    [held] = [row for row in await heed.rows(outbox) if row.text.endswith("are you there?")]
    assert held.state == "held"
    assert "Not delivered to Maya" in heed.read(DESK, topic)[-1]
    heed.telegram.unblock(MAYA)
    await heed.settled(kind="returned")
    assert heed.read(MAYA) == said  # nothing old is sent
    asked = heed.shown("Maya can be reached again. Messages held: 1")
    assert [label for label, _ in asked.buttons] == ["Send", "Drop"]
    await heed.press("Drop", on=asked)
    assert heed.read(MAYA) == said
    await heed.says(ANA, "welcome back", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1].endswith("welcome back")


@pytest.mark.parametrize("by", ["writing", "unblocking"])
async def test_what_stood_half_of_an_answer_when_they_blocked_the_bot_goes(
    heed: Heed, by: str
) -> None:
    await heed.says(MAYA, "hello")
    before = heed.read(MAYA)
    heed.telegram.fail("editMessageText", "403", text="Forbidden: bot was blocked by the user")
    await heed.says(MAYA, "what do you cost?")
    assert heed.read(MAYA) == [*before, "…"]
    if by == "writing":
        await heed.says(MAYA, "what do you cost?")
        assert heed.read(MAYA)[: len(before)] == before
        assert "…" not in heed.read(MAYA)
        assert len(heed.read(MAYA)) == len(before) + 1
    else:
        heed.telegram.unblock(MAYA)
        await heed.settled(kind="returned")
        assert heed.read(MAYA) == before


async def test_who_writes_again_is_reachable_again(heed: Heed) -> None:
    topic = await furious(heed)
    heed.telegram.chats[MAYA].blocked = True  # without a word to us
    await heed.says(ANA, "are you there?", chat=DESK, thread=topic)
    [person] = await heed.rows(conversation, user=str(MAYA))
    assert person.unreachable
    heed.telegram.chats[MAYA].blocked = False
    await heed.says(MAYA, "sorry, wrong button")
    [person] = await heed.rows(conversation, user=str(MAYA))
    assert not person.unreachable
    asked = heed.shown("Maya can be reached again. Messages held: 1")
    await heed.press("Send", on=asked)
    assert heed.read(MAYA)[-1].endswith("are you there?")
    await heed.says(ANA, "no harm done", chat=DESK, thread=topic)
    assert heed.read(MAYA)[-1].endswith("no harm done")


async def test_a_desk_that_throws_the_bot_out_does_not_make_the_person_unreachable(
    heed: Heed,
) -> None:
    heed.telegram.chats[DESK].blocked = True
    await heed.says(MAYA, FURY)
    [person] = await heed.rows(conversation, user=str(MAYA))
    assert not person.unreachable
    opened, delay = heed.read(MAYA)
    assert opened.startswith(OPEN)
    assert delay == "Your messages are saved but delayed."


# -- forgetting ----------------------------------------------------------------------------------


async def test_forget_asks_first_and_then_leaves_nothing(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.says(MAYA, "my secret is xyzzy-4711")
    await heed.says(MAYA, "/forget")
    asked = heed.telegram.seen(MAYA)[-1]
    assert [label for label, _ in asked.buttons] == ["Stop and erase", "Finish first"]
    await heed.press("Finish first", MAYA, on=asked)
    assert heed.read(MAYA)[-1] == "Nothing was erased."
    await heed.press("Stop and erase", MAYA, on=asked)
    await until(lambda: heed.read(MAYA)[-1].startswith("Done: "))
    await heed.quiet()
    shown = heed.read(DESK, topic)
    assert set(shown) == {ERASED}
    assert heed.card(ERASED).buttons == ()
    assert heed.telegram.chats[DESK].topics[topic]["name"] == "#1"
    assert await heed.app.store.write(privacy.bury) == 1
    for word in ("xyzzy", "charged", "Maya", FURY):
        assert await heed.contains(word) == [], word
    assert await heed.rows(conversation, user=str(MAYA)) == []
    assert "erased" in [row.what for row in await heed.rows(audit)]
    await heed.says(MAYA, KIND)
    assert [role for role, _ in await heed.said(MAYA)] == ["user", "bot"]


# -- away for a while ----------------------------------------------------------------------------


async def test_old_messages_get_a_word_and_the_rules_still_run(heed: Heed) -> None:
    await heed.says(MAYA, "hello, is anybody there?", date=ago(20))
    [late] = heed.read(MAYA)  # without a case nobody at a desk sees this, so it is not promised
    assert late.startswith("I was away; I have your messages now")
    assert "team" not in late
    await heed.says(BEN, FURY, date=ago(20))
    assert heed.read(BEN)[-1].startswith(OPEN)
    assert (await heed.the_case()).rule == "spike"


# -- a desk without topics -----------------------------------------------------------------------


async def test_without_topics_staff_reply_to_the_card_or_to_a_copy(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram", forum=False) as heed:
        await heed.says(MAYA, FURY)
        card = heed.card()
        assert card.thread is None
        assert card.buttons
        assert any(text.startswith("Maya needs a person") for text in heed.read(DESK))
        await heed.says(ANA, "lunch?", chat=DESK)  # staff among themselves
        assert heed.read(MAYA)[-1].startswith(OPEN)
        await heed.says(ANA, "I am here.", chat=DESK, reply_to=card.message_id)
        assert heed.read(MAYA)[-1] == "Ana · Support\nI am here."
        assert "With Ana" in heed.card().text
        await heed.says(MAYA, "finally!")
        copy = next(s for s in heed.telegram.seen(DESK) if s.text == "Maya: finally!")
        assert copy.reply_to == card.message_id
        await heed.says(ANA, "sorry for the wait", chat=DESK, reply_to=copy.message_id)
        assert heed.read(MAYA)[-1] == "sorry for the wait"
        await heed.press("Resolve")
        assert heed.read(MAYA)[-1].startswith(RESOLVED)


async def test_a_deleted_topic_has_one_successor_with_all_that_matters(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    heed.telegram.delete_topic(DESK, topic)
    await heed.says(MAYA, "are you still there?")
    after = heed.topic()
    assert after != topic
    lines = heed.read(DESK, after)
    assert any(text.startswith("The thread was removed; this is its successor.") for text in lines)
    assert "Maya: are you still there?" in lines
    assert heed.card().thread == after
    await heed.says(ANA, "yes", chat=DESK, thread=after)
    assert heed.read(MAYA)[-1] == "Ana · Support\nyes"


async def test_a_topic_deleted_twice_is_followed_by_posts_in_the_desk_itself(heed: Heed) -> None:
    topic = await furious(heed)
    await heed.press("Claim")
    heed.telegram.delete_topic(DESK, topic)
    await heed.says(MAYA, "are you still there?")
    heed.telegram.delete_topic(DESK, heed.topic())
    await heed.says(MAYA, "and now?")
    assert heed.telegram.chats[DESK].topics == {}
    copy = heed.shown("Maya: and now?")
    card = heed.card()
    assert (copy.thread, copy.reply_to, card.thread) == (None, card.message_id, None)
    await heed.says(ANA, "yes", chat=DESK, reply_to=copy.message_id)
    assert heed.read(MAYA)[-1] == "Ana · Support\nyes"
