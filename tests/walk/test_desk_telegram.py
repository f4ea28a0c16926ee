"""A day of staff in a Telegram forum: every line and button of the desk, told like a story."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.engine.scripted import ScriptedEngine
from core.tables import audit, case, decision, history, outbox
from tests.fakes.telegram_people import Seen
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    BACK_TO_BOT,
    BOB,
    DESK,
    FURY,
    KIND,
    MAYA,
    OPEN,
    REOPENED,
    RESOLVED,
    Heed,
    heed_on,
    hurry,
)

SIGNED = "Ana · Support"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


def said_to(heed: Heed, user: int = MAYA) -> str:
    """Return the last thing that the bot wrote to somebody."""
    return heed.read(user)[-1]


def by_bot(heed: Heed, chat: int, thread: int | None = None) -> list[Seen]:
    """Return what the bot posted somewhere, files too."""
    return [line for line in heed.telegram.seen(chat, thread) if line.who == "bot"]


# -- a case is opened ----------------------------------------------------------------------------


async def test_five_messages_at_once_make_one_case_with_all_its_posts(heed: Heed) -> None:
    """HANDOFF 3 row 1, 4.1, 4.3: one topic; card (pinned), picture, context, ping, in order."""
    for n in range(4):
        heed.telegram.say(MAYA, MAYA, f"{FURY} {n}")
    await heed.says(MAYA, "and I want an answer")
    topic = heed.topic()
    assert len(await heed.rows(case)) == 1
    card, picture, context, ping, *_ = by_bot(heed, DESK, topic)
    assert card.text.startswith("Case 1 · Maya · telegram · en · direct message")
    assert card.pinned
    assert picture.kind == "photo"
    assert picture.content.startswith(b"\x89PNG")
    assert context.text.startswith("The last messages before this case")
    assert f"{FURY} 0" in context.text
    assert ping.text.startswith("Maya needs a person: ")
    assert heed.state_of(topic)["name"] == "#1 Maya"
    assert heed.state_of(topic)["icon"] == "❗️"
    told = [text for text in heed.read(MAYA) if text.startswith(OPEN)]
    assert len(told) == 1
    seen = "\n".join(heed.read(DESK, topic))
    for words in (*(f"{FURY} {n}" for n in range(4)), "and I want an answer"):
        assert words in seen, words


async def test_the_card_says_who_why_and_what_can_be_done(heed: Heed) -> None:
    """HANDOFF 5: the card's fields and buttons in a queued case."""
    topic = await heed.opened()
    card = heed.card()
    for words in ("Waiting for a person", "Why: ", "Mood: ", "What moved it:", "· confidence "):
        assert words in card.text, words
    labels = [label for label, _ in card.buttons]
    assert labels == [
        "Claim", "Draft", "Snooze 1 h", "Snooze 4 h", "Snooze 1 d", "Resolve", "Not needed", "More",
    ]  # fmt: skip
    assert all(len(data.encode()) <= 64 for _, data in card.buttons)
    await heed.press("More")
    more = heed.read(DESK, topic)[-1]
    assert "threshold" in more
    assert "/snooze 4h" in more


# -- claiming ------------------------------------------------------------------------------------


async def test_two_press_claim_at_once_and_the_second_sees_who_took_it(heed: Heed) -> None:
    """HANDOFF 3 row 3, 6: one compare-and-set, one holder."""
    topic = await heed.opened()
    card = heed.card()
    data = dict(card.buttons)["Claim"]
    first = heed.telegram.press(DESK, card.message_id, data, ANA)
    second = heed.telegram.press(DESK, card.message_id, data, BOB)
    await until(lambda: heed.telegram.callbacks[first] and heed.telegram.callbacks[second])
    await heed.quiet()
    assert (await heed.the_case()).claimed_by == "Ana"
    assert "With Ana" in heed.card().text
    assert heed.state_of(topic)["icon"] == "💬"
    told = heed.shown("Ana took this", thread=topic)
    assert [label for label, _ in told.buttons] == ["Take over"]
    await heed.press("Take over", BOB, on=told)
    assert (await heed.the_case()).claimed_by == "Bob"
    assert "Bob took this case over from Ana." in heed.read(DESK, topic)


async def test_release_puts_the_case_back_into_the_queue(heed: Heed) -> None:
    """HANDOFF 3 row 6: by the holder."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.press("Release")
    assert (await heed.the_case()).state == "queued"
    assert "Waiting for a person" in heed.card().text
    assert heed.state_of(topic)["icon"] == "❗️"
    assert "Ana gave this case back to the queue." in heed.read(DESK, topic)


async def test_somebody_elses_case_is_not_released_without_a_confirm(heed: Heed) -> None:
    """HANDOFF 3 row 6: or confirmed by another."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.press("Release", BOB)
    assert (await heed.the_case()).claimed_by == "Ana"
    assert heed.read(DESK, topic)[-1].startswith("Ana took this")


# -- answers -------------------------------------------------------------------------------------


async def test_an_answer_is_signed_once_a_run_and_marked_when_it_arrived(heed: Heed) -> None:
    """HANDOFF 7 text, name policy and delivery mark; 3 row 4: the first answer claims."""
    await heed.opened()
    one = await heed.staff("I have your order here.")
    assert said_to(heed) == f"{SIGNED}\nI have your order here."
    assert heed.marks(one) == ("👌",)
    assert (await heed.the_case()).claimed_by == "Ana"
    two = await heed.staff("The second charge is already gone.")
    assert said_to(heed) == "The second charge is already gone."
    assert heed.marks(two) == ("👌",)
    await heed.staff("/ra And one more thing.")
    assert "Ana" not in said_to(heed)


async def test_a_note_stays_inside(heed: Heed) -> None:
    """HANDOFF 9: `//`, a reply to the card, and /note."""
    await heed.opened()
    before = heed.read(MAYA)
    await heed.staff("// sounds tired")
    await heed.staff("see the third line", reply_to=heed.card().message_id)
    await heed.staff("/note call back on Monday")
    assert heed.read(MAYA) == before
    notes = [text for role, text in await heed.said(MAYA) if role == "note"]
    assert notes == ["sounds tired", "see the third line", "call back on Monday"]
    assert (await heed.the_case()).state == "queued"


async def test_a_command_that_nobody_knows_is_not_sent(heed: Heed) -> None:
    """HANDOFF 9: a message that starts with `/` and is no known command."""
    topic = await heed.opened()
    before = heed.read(MAYA)
    await heed.staff("/frobnicate now")
    assert heed.read(MAYA) == before
    assert heed.read(DESK, topic)[-1].startswith("/frobnicate was not sent to anybody")


async def test_an_edit_of_an_answer_reaches_the_person(heed: Heed) -> None:
    """HANDOFF 7 edit, staff to user."""
    await heed.opened()
    said = await heed.staff("It costs 10.")
    heed.telegram.edit(DESK, said, "It costs 20.")
    await heed.settled(said, chat=DESK, kind="edited")
    assert said_to(heed) == f"{SIGNED}\nIt costs 20."
    assert heed.marks(said) == ("✍",)
    await heed.staff("/edit It costs 30.", reply_to=said)
    assert said_to(heed) == f"{SIGNED}\nIt costs 30."
    assert ("staff", "It costs 30.") in await heed.said(MAYA)


async def test_an_edit_that_telegram_refuses_is_said_anew_as_a_correction(heed: Heed) -> None:
    """HANDOFF 7 edit: `correction` + new text where the platform refuses."""
    await heed.opened()
    said = await heed.staff("It costs 10.")
    heed.telegram.fail("editMessageText", "400", text="Bad Request: message can't be edited")
    heed.telegram.edit(DESK, said, "It costs 20.")
    await heed.settled(said, chat=DESK, kind="edited")
    assert said_to(heed).startswith("Correction:")
    assert "It costs 20." in said_to(heed)


async def test_del_takes_an_answer_back(heed: Heed) -> None:
    """HANDOFF 7 delete: `/del` as a reply."""
    await heed.opened()
    one = await heed.staff("wrong window")
    await heed.staff("right window")
    await heed.staff("/del", reply_to=one)
    assert not any("wrong window" in text for text in heed.read(MAYA))
    assert said_to(heed) == "right window"
    assert not any("wrong window" in text for _, text in await heed.said(MAYA))


async def test_after_two_days_staff_are_told_that_an_answer_stays(heed: Heed) -> None:
    """HANDOFF 7 delete: a Telegram bot can delete a message only within 48 h."""
    topic = await heed.opened()
    one = await heed.staff("wrong window")
    await heed.later(49 * 3600)
    await heed.staff("/del", reply_to=one)
    assert any("wrong window" in text for text in heed.read(MAYA))
    assert "does not let the bot delete that message any more" in heed.read(DESK, topic)[-1]


# -- a suggestion --------------------------------------------------------------------------------


async def test_a_suggestion_is_sent_or_dropped_by_a_press(heed: Heed) -> None:
    """HANDOFF 5 draft: marked as machine-written, never sent without a press."""
    topic = await heed.opened()
    await heed.app.mind.swap(ScriptedEngine({"": "We have paid it back."}))
    before = heed.read(MAYA)
    await heed.press("Draft")
    shown = heed.shown("Suggested reply, written by a machine", thread=topic)
    assert "We have paid it back." in shown.text
    assert [label for label, _ in shown.buttons] == ["Send", "Drop"]
    assert heed.read(MAYA) == before
    await heed.press("Drop", on=shown)
    assert (await heed.the_case()).draft == ""
    await heed.staff("/draft")
    await heed.press("Send", on=heed.shown("Suggested reply", thread=topic))
    assert said_to(heed) == f"{SIGNED}\nWe have paid it back."
    assert (await heed.the_case()).claimed_by == "Ana"


# -- the end of a case ---------------------------------------------------------------------------


async def test_resolve_leaves_the_whole_story_and_closes_the_topic(heed: Heed) -> None:
    """HANDOFF 3 row 10, 11: `resolved` with two buttons, transcript, icon, closed."""
    topic = await heed.opened()
    await heed.staff("// be gentle")
    await heed.staff("All paid back.")
    await heed.staff("/resolve refunded")
    asked = by_bot(heed, MAYA)[-1]
    assert asked.text.startswith(RESOLVED)
    assert [label for label, _ in asked.buttons] == ["Yes, it helped", "No"]
    files = {line.name: line.content for line in by_bot(heed, DESK, topic) if line.name}
    assert {"case-1.html", "case-1.json"} <= {*files}
    story = json.dumps(json.loads(files["case-1.json"]), ensure_ascii=False)
    for words in (FURY, "All paid back.", "be gentle"):
        assert words in story
        assert words in files["case-1.html"].decode()
    assert heed.state_of(topic)["icon"] == "✅"
    assert heed.state_of(topic)["closed"]
    assert "Resolved by Ana. refunded" in heed.read(DESK, topic)
    assert [label for label, _ in heed.card().buttons] == [
        "Right", "Not needed", "Too late", "Reopen",
    ]  # fmt: skip
    await heed.press("Yes, it helped", MAYA, on=asked)
    assert said_to(heed) == "Thank you for telling us."
    assert (await heed.the_case()).helped == "yes"


async def test_no_it_did_not_help_opens_the_case_again(heed: Heed) -> None:
    """HANDOFF 11: *No* reopens (row 17)."""
    topic = await heed.opened()
    await heed.press("Resolve")
    await heed.press("No", MAYA, on=by_bot(heed, MAYA)[-1])
    assert said_to(heed) == REOPENED
    assert (await heed.the_case()).state == "queued"
    assert not heed.state_of(topic)["closed"]
    assert heed.state_of(topic)["icon"] == "❗️"


async def test_thanks_does_not_reopen_but_trouble_within_a_day_does(heed: Heed) -> None:
    """HANDOFF 3 row 17."""
    topic = await heed.opened()
    await heed.press("Resolve")
    await heed.later(3 * 3600)
    await heed.says(MAYA, "thanks")
    assert (await heed.the_case()).state == "resolved"
    await heed.says(MAYA, "wait, the second charge is still there")
    assert said_to(heed) == REOPENED
    assert heed.topic() == topic
    lines = "\n".join(heed.read(DESK, topic))
    assert "wrote again after 3 h" in lines
    assert "Maya: wait, the second charge is still there" in lines
    assert not heed.state_of(topic)["closed"]


async def test_a_day_later_it_is_an_ordinary_talk_again(heed: Heed) -> None:
    """HANDOFF 3 row 18."""
    await heed.opened()
    await heed.press("Resolve")
    await heed.later(25 * 3600)
    await heed.says(MAYA, KIND)
    assert said_to(heed) != REOPENED
    assert (await heed.the_case()).state == "resolved"
    assert (await heed.said(MAYA))[-1][0] == "bot"


async def test_a_verdict_is_one_press_and_may_be_changed_for_a_day(heed: Heed) -> None:
    """HANDOFF 11: Right, Not needed, Too late; changeable for a day."""
    topic = await heed.opened()
    await heed.press("Resolve")
    await heed.press("Right")
    assert (await heed.the_case()).verdict == "right"
    assert "● Right" in dict(heed.card().buttons)
    await heed.press("Too late", BOB)
    row = await heed.the_case()
    assert (row.verdict, row.verdict_by) == ("too late", "Bob")
    assert any("Which message should have called you?" in t for t in heed.read(DESK, topic))
    await heed.later(25 * 3600)
    await heed.press("Right")
    assert (await heed.the_case()).verdict == "too late"
    assert any("it stands" in text for text in heed.read(DESK, topic))


async def test_not_needed_goes_back_to_the_bot_and_rests(heed: Heed) -> None:
    """HANDOFF 3 row 11: verdict, longer refractory, archived."""
    topic = await heed.opened()
    await heed.press("Not needed")
    row = await heed.the_case()
    assert (row.state, row.verdict, row.reopen_until) == ("resolved", "not needed", None)
    assert said_to(heed).startswith(BACK_TO_BOT)
    assert heed.state_of(topic)["closed"]
    await heed.says(MAYA, "this is the worst service ever, I am furious, you are all useless")
    assert len(await heed.rows(case)) == 1
    held = next(r for r in (await heed.rows(decision))[-1].trace if r["rule"] == "spike")
    assert "held: rests" in held["note"]


async def test_the_person_takes_the_call_back(heed: Heed) -> None:
    """HANDOFF 3 row 16: "I no longer need a person"."""
    topic = await heed.opened()
    asked = by_bot(heed, MAYA)[-1]
    await heed.press("I no longer need a person", MAYA, on=asked)
    row = await heed.the_case()
    assert (row.state, row.resolved_by, row.reopen_until) == ("resolved", "user", None)
    assert said_to(heed).startswith(BACK_TO_BOT)
    assert "The user no longer needs a person." in "\n".join(heed.read(DESK, topic))
    assert [label for label, _ in heed.card().buttons][:3] == ["Right", "Not needed", "Too late"]
    assert [row.what for row in await heed.rows(audit)].count("resolved") == 1
    assert not [row for row in await heed.rows(outbox) if row.state in ("failed", "uncertain")]


async def test_staff_open_a_settled_case_again(heed: Heed) -> None:
    """HANDOFF 5: `/reopen` and its button; nothing is said to the person."""
    topic = await heed.opened()
    await heed.press("Resolve")
    before = heed.read(MAYA)
    await heed.press("Reopen", BOB)
    assert (await heed.the_case()).state == "queued"
    assert "Bob opened this case again." in heed.read(DESK, topic)
    assert not heed.state_of(topic)["closed"]
    assert heed.read(MAYA) == before
    await heed.press("Resolve")
    await heed.staff("/reopen")
    await heed.staff("One thing more.")
    assert said_to(heed) == f"{SIGNED}\nOne thing more."


async def test_too_late_names_the_message_that_should_have_called(heed: Heed) -> None:
    """HANDOFF 11: *Too late* asks which message should have triggered it."""
    topic = await heed.opened()
    await heed.says(MAYA, "I said so three days ago")
    copy = heed.shown("I said so three days ago", thread=topic)
    await heed.press("Resolve")
    await heed.press("Too late")
    await heed.staff("/verdict too late", reply_to=copy.message_id)
    row = await heed.the_case()
    assert row.verdict == "too late"
    [line] = await heed.rows(history, text="I said so three days ago")
    assert row.missed_line == line.id


async def test_a_note_may_be_changed_and_taken_back(heed: Heed) -> None:
    """HANDOFF 7, 9: an edit of a note never reaches the person."""
    await heed.opened()
    before = heed.read(MAYA)
    note = await heed.staff("// sounds tired")
    heed.telegram.edit(DESK, note, "// sounds exhausted")
    await heed.settled(note, chat=DESK, kind="edited")
    assert ("note", "sounds exhausted") in await heed.said(MAYA)
    await heed.staff("/del", reply_to=note)
    assert not any(role == "note" and text for role, text in await heed.said(MAYA))
    assert heed.read(MAYA) == before


async def test_who_took_the_case_is_told_where_the_operator_wants_it(tmp_path: Path) -> None:
    """HANDOFF 3 row 3: `claimed`, if configured; never the name of who stays anonymous."""
    async with heed_on(tmp_path, staff="telegram", desk={"claimed_notice": True}) as heed:
        await heed.opened()
        await heed.press("Claim")
        assert said_to(heed) == "Ana is with you now."
    quiet = {"claimed_notice": True, "anonymous": True}
    async with heed_on(tmp_path / "2", staff="telegram", desk=quiet) as heed:
        await heed.opened()
        await heed.press("Claim")
        assert not any("Ana" in text for text in heed.read(MAYA))


async def test_the_person_may_get_the_transcript_without_notes(tmp_path: Path) -> None:
    """HANDOFF 11: optionally to the user (without notes, names as the policy says)."""
    async with heed_on(tmp_path, staff="telegram", desk={"transcript_to_user": True}) as heed:
        await heed.opened()
        await heed.staff("// be gentle")
        await heed.staff("All paid back.")
        await heed.staff("/resolve")
        page = next(line for line in by_bot(heed, MAYA) if line.name.endswith(".html"))
        assert "All paid back." in page.content.decode()
        assert "be gentle" not in page.content.decode()
