"""Conversations on Discord, with staff in threads of their own channel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.settings import Model
from core.engine.scripted import ScriptedEngine
from core.store import privacy
from core.tables import case, conversation, history, inbox, outbox
from tests.fakes.discord_shapes import THREAD
from tests.patience import until
from tests.walk.platforms import (
    BACK_TO_BOT,
    CRISIS,
    CRISIS_TEXT,
    ERASED,
    FURY,
    GROUP_NOTICE,
    KIND,
    OPEN,
    REOPENED,
    RESOLVED,
    Heed,
    buttons,
    heed_on,
    hurry,
    words,
)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Discord channel; the bot has no right to read all messages."""
    async with heed_on(tmp_path, on=("discord",), staff="discord") as alive:
        yield alive


async def furious(heed: Heed) -> tuple[str, str]:
    """Let Maya be furious; return her direct channel and the case's thread."""
    await heed.writes("maya", FURY)
    return heed.discord.dm("maya"), heed.thread()


async def test_a_friendly_message_is_tagged_and_answered_directly(heed: Heed) -> None:
    await heed.writes("maya", KIND)
    assert (await heed.scores(KIND))["label"] == "positive"
    [answer] = heed.heard(heed.discord.dm("maya"))
    assert await heed.said(heed.discord.person("maya")) == [("user", KIND), ("bot", answer)]
    assert heed.discord.threads(heed.discord.desk) == []


async def test_a_thread_is_answered_in_that_thread(heed: Heed) -> None:
    thread = heed.discord.add_channel("help", kind=THREAD, parent=heed.discord.channel)
    asked = await heed.writes("maya", KIND, channel=thread, mention=True)
    [answer] = [m for m in heed.discord.messages(thread) if m["author"]["username"] == "Heed"]
    assert answer["message_reference"]["message_id"] == asked
    assert heed.heard(heed.discord.channel) == []


async def test_in_a_channel_only_who_addresses_the_bot_is_heard(heed: Heed) -> None:
    channel = heed.discord.channel
    heed.discord.say("ben", "I talk to Maya, about xyzzy", channel=channel)
    asked = await heed.writes("maya", KIND, channel=channel, mention=True)
    assert [row.message_id for row in await heed.rows(inbox)] == [asked]
    assert await heed.contains("xyzzy") == []
    [answer] = [m for m in heed.discord.messages(channel) if m["author"]["username"] == "Heed"]
    assert answer["message_reference"]["message_id"] == asked
    assert answer["mentions"] == []  # an answer pings nobody


async def test_two_people_at_once_in_one_channel_never_mix(heed: Heed) -> None:
    channel = heed.discord.channel
    glad = heed.discord.say("ben", KIND, channel=channel, mention=True)
    cross = heed.discord.say("maya", FURY, channel=channel, mention=True)
    await heed.settled(glad)
    await heed.settled(cross)
    [ben] = await heed.rows(conversation, user=heed.discord.person("ben"))
    [maya] = await heed.rows(conversation, user=heed.discord.person("maya"))
    assert (ben.owner, maya.owner) == ("bot", "queue")
    assert all("charged" not in text for _, text in await heed.said(ben.user))
    assert any(text.startswith(GROUP_NOTICE) for text in heed.heard(channel))


async def test_fury_opens_a_thread_with_card_context_and_ping(heed: Heed) -> None:
    await heed.writes("maya", "hello, where is my order?")
    direct, thread = await furious(heed)
    assert heed.heard(direct)[-1].startswith(OPEN)
    assert heed.discord.threads(heed.discord.desk)[0]["name"] == "#1 maya"
    card, context, ping = heed.discord.messages(thread)
    assert card["content"].startswith("Case 1 · maya · discord · en")
    assert card["pinned"]
    assert [heed.discord.file(card)[:4]] == [b"\x89PNG"]  # one post holds words and picture
    assert list(buttons(card)) == [
        "Claim", "Reply", "Draft", "Snooze 1 h", "Snooze 4 h", "Snooze 1 d", "Resolve",
        "Not needed", "More",
    ]  # fmt: skip
    assert "A plain message here stays inside." in card["content"]
    assert "maya: hello, where is my order?" in context["content"]
    assert ping["content"].startswith("maya needs a person: ")
    assert (await heed.the_case()).rule == "spike"


async def test_staff_answer_by_command_and_talk_among_themselves(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.click("ana", thread, "Claim")
    assert "With ana" in heed.post(thread, "Case ")["content"]
    before = heed.heard(direct)
    await heed.writes("maya", "hello? is anybody there?")
    assert heed.heard(direct) == before  # the bot is silent
    assert heed.heard(thread)[-1] == "maya: hello? is anybody there?"
    heed.discord.say("ana", "what a day", channel=thread)  # invisible to the bot
    heed.discord.say("ana", "she has been here before", channel=thread, mention=True)
    await heed.slash("ana", "note", channel=thread, text="sounds exhausted")
    assert heed.heard(direct) == before
    await heed.slash("ana", "r", channel=thread, text="Hi Maya, I have your order here.")
    assert heed.heard(direct)[-1] == "ana · Support\nHi Maya, I have your order here."
    # What only Ana saw while she typed it stands in the thread for the others.
    assert heed.heard(thread)[-2:] == [
        "// ana: sounds exhausted", "ana: Hi Maya, I have your order here.",
    ]  # fmt: skip
    said = await heed.said(heed.discord.person("maya"))
    assert ("note", "sounds exhausted") in said
    assert ("note", "she has been here before") in said
    assert ("staff", "Hi Maya, I have your order here.") in said


async def test_a_reply_to_a_copy_reaches_the_person(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.click("ana", thread, "Claim")
    await heed.writes("maya", "order 1234")
    copy = heed.post(thread, "maya: order 1234")["id"]
    await heed.writes("ana", "Found it.", channel=thread, reply_to=copy)
    assert heed.heard(direct)[-1] == "ana · Support\nFound it."


async def test_an_unknown_command_is_sent_to_nobody(heed: Heed) -> None:
    direct, thread = await furious(heed)
    before = heed.heard(direct)
    await heed.slash("ana", "frobnicate", channel=thread)
    assert heed.heard(direct) == before
    assert "/frobnicate was not sent" in heed.whispers("ana")[-1]
    assert not any("/frobnicate" in text for text in heed.heard(thread))


async def test_the_second_of_staff_is_told_who_has_it(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.click("ana", thread, "Claim")
    before = heed.heard(direct)
    await heed.slash("bob", "r", channel=thread, text="me too")
    assert heed.heard(direct) == before
    assert heed.whispers("bob")[-1].startswith("ana claimed this")
    assert not any("claimed this" in text for text in heed.heard(thread))
    await heed.click("bob", thread, "Keep as note", on="ana claimed this")
    assert heed.heard(direct) == before
    assert ("note", "me too") in await heed.said(heed.discord.person("maya"))
    await heed.slash("bob", "steal", channel=thread)
    assert "With bob" in heed.post(thread, "Case ")["content"]
    await heed.slash("bob", "r", channel=thread, text="Bob here.")
    assert heed.heard(direct)[-1] == "bob · Support\nBob here."


async def test_every_command_that_staff_are_told_of_can_be_typed(heed: Heed) -> None:
    await until(lambda: heed.discord.commands.get(""))
    offered = {one["name"] for one in heed.discord.commands[""]}
    assert {"claim", "release", "steal", "r", "note", "resolve", "notneeded", "bot"} <= offered


async def test_resolve_asks_and_no_reopens(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.click("ana", thread, "Resolve")
    assert "Resolved by ana" in heed.post(thread, "Case ")["content"]
    assert heed.heard(direct)[-1].startswith(RESOLVED)
    await heed.click("maya", direct, "No", on=RESOLVED)
    assert heed.heard(direct)[-1] == REOPENED
    assert "Waiting for a person" in heed.post(thread, "Case ")["content"]
    assert (await heed.the_case()).state == "queued"


async def test_thanks_does_not_reopen_but_a_further_message_does(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.click("ana", thread, "Resolve")
    await heed.writes("maya", "thanks")
    assert (await heed.the_case()).state == "resolved"
    await heed.writes("maya", "wait, the charge is still there")
    assert heed.heard(direct)[-1] == REOPENED
    assert "maya: wait, the charge is still there" in heed.heard(thread)


async def test_not_needed_and_back_to_the_bot(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.slash("ana", "claim", channel=thread)
    await heed.slash("ana", "bot", channel=thread, text="on")
    assert heed.heard(direct)[-1].startswith(BACK_TO_BOT)
    await heed.writes("maya", KIND)
    answer = heed.heard(direct)[-1]
    assert not answer.startswith((BACK_TO_BOT, OPEN))
    mirror = "\n".join(heed.heard(thread))
    assert f"maya: {KIND}" in mirror
    assert answer in mirror
    await heed.slash("ana", "bot", channel=thread, text="off")
    assert "With ana" in heed.post(thread, "Case ")["content"]
    await heed.click("ana", thread, "Not needed")
    assert heed.heard(direct)[-1].startswith(BACK_TO_BOT)
    assert (await heed.the_case()).verdict == "not needed"


async def test_an_old_button_changes_nothing(heed: Heed) -> None:
    _, thread = await furious(heed)
    card = heed.post(thread, "Case ")
    old = buttons(card)["Resolve"]
    await heed.click("ana", thread, "Claim")
    pressed = heed.discord.press("bob", thread, card["id"], old)
    await pressed.answered.wait()
    await heed.quiet()
    assert (await heed.the_case()).state == "human"
    assert "With ana" in heed.post(thread, "Case ")["content"]


async def test_a_person_may_ask_by_command_and_by_crisis(heed: Heed) -> None:
    await heed.slash("ben", "human")
    assert heed.heard(heed.discord.dm("ben"))[-1].startswith(OPEN)
    await heed.writes("maya", CRISIS)
    [text] = heed.heard(heed.discord.dm("maya"))
    assert text.startswith(CRISIS_TEXT)
    assert [row.rule for row in await heed.rows(case)] == ["request", "crisis"]


async def test_crisis_words_in_a_channel_show_nothing_in_public(heed: Heed) -> None:
    channel = heed.discord.channel
    await heed.writes("maya", CRISIS, channel=channel, mention=True)
    assert [text for text in heed.heard(channel) if CRISIS_TEXT in text] == []
    assert heed.heard(channel)[-1].startswith(GROUP_NOTICE)
    assert (await heed.the_case()).rule == "crisis"


async def test_other_bots_and_webhooks_are_ignored(heed: Heed) -> None:
    other = heed.discord.person("other")
    heed.discord._people[other]["bot"] = True
    heed.discord.say("other", FURY, channel=heed.discord.channel, mention=True)
    heed.discord.say("other", FURY)
    await heed.writes("maya", KIND)
    assert len(await heed.rows(inbox)) == 1
    assert await heed.rows(case) == []


async def test_the_fixed_commands_answer(heed: Heed) -> None:
    direct = heed.discord.dm("maya")
    for name, start in (
        ("help", "Just write"),
        ("privacy", "What is kept."),
        ("reset", "We start"),
    ):
        await heed.slash("maya", name)
        assert heed.heard(direct)[-1].startswith(start)


async def test_old_messages_get_a_word_and_the_rules_still_run(heed: Heed) -> None:
    heed.discord.clock = lambda: time.time() - 1200
    await heed.writes("ben", "hello, is anybody there?")
    await heed.writes("maya", FURY)
    assert heed.heard(heed.discord.dm("ben"))[-1].startswith("I was away")
    assert heed.heard(heed.discord.dm("maya"))[-1].startswith(OPEN)


async def test_edits_are_heard_anew_and_deletions_leave_the_history(heed: Heed) -> None:
    direct = heed.discord.dm("maya")
    first = await heed.writes("maya", KIND)
    heed.discord.edit(direct, first, FURY)
    await heed.settled(first, kind="edited")
    assert heed.heard(direct)[-1].startswith(OPEN)
    second = await heed.writes("maya", "my card number is xyzzy")
    heed.discord.delete(direct, second)
    await heed.settled(second, kind="deleted")
    [line] = await heed.rows(history, message_id=second)
    assert (line.text, line.deleted) == ("", True)
    assert line.scores
    assert heed.heard(heed.thread())[-1] == "(deleted by user)"


async def test_who_closes_their_messages_is_unreachable_and_staff_are_told(heed: Heed) -> None:
    direct, thread = await furious(heed)
    heed.discord.closed_people.add(heed.discord.person("maya"))
    before = heed.heard(direct)
    await heed.slash("ana", "r", channel=thread, text="are you there?")
    [person] = await heed.rows(conversation, user=heed.discord.person("maya"))
    heed.app.turns.ring(person.id)  # as the sweep does within half a minute
    await heed.quiet()
    assert person.unreachable
    assert heed.heard(direct) == before
    posts = await heed.rows(outbox, staff_thread_id=None)
    [held] = [row for row in posts if row.text.endswith("are you there?")]
    assert held.state == "held"
    told = [text for text in heed.heard(thread) if text.startswith("Not delivered to maya")]
    assert len(told) == 1
    heed.discord.closed_people.clear()
    await heed.writes("maya", "now you can")
    await heed.slash("ana", "r", channel=thread, text="welcome back")
    *same, last = heed.heard(direct)
    assert same == before  # nothing old is sent
    assert last.endswith("welcome back")
    assert list(buttons(heed.post(thread, "maya can be reached again"))) == ["Send", "Drop"]


async def test_forget_leaves_nothing_and_staff_copies_say_so(heed: Heed) -> None:
    direct, thread = await furious(heed)
    await heed.writes("maya", "my secret is xyzzy-4711")
    await heed.slash("maya", "forget")
    await heed.click("maya", direct, "Stop and erase", on="The team is helping you")
    await until(lambda: heed.heard(direct)[-1].startswith("Done: "))
    await heed.quiet()
    assert set(heed.heard(thread)) == {ERASED}
    assert heed.discord.threads(heed.discord.desk)[0]["name"] == "#1"
    assert await heed.app.store.write(privacy.bury) == 1
    for word in ("xyzzy", "charged", "maya"):
        assert await heed.contains(word) == [], word


async def test_a_long_answer_arrives_whole_in_several_posts(tmp_path: Path) -> None:
    long = words(120)
    model = Model(reply_tokens=4096)
    async with heed_on(tmp_path, on=("discord",), staff="discord", model=model) as heed:
        await heed.app.mind.swap(ScriptedEngine({"": long}))
        await heed.writes("maya", "tell me everything")
        parts = heed.heard(heed.discord.dm("maya"))
    assert len(parts) > 1
    assert " ".join(" ".join(parts).split()) == long


async def test_without_the_right_to_make_threads_the_desk_is_the_channel(heed: Heed) -> None:
    desk = heed.discord.desk
    heed.discord.denied.add((desk, "threads"))
    await heed.writes("maya", FURY)
    direct = heed.discord.dm("maya")
    assert heed.discord.threads(desk) == []
    await heed.click("ana", desk, "Claim")
    assert "With ana" in heed.post(desk, "Case ")["content"]
    await heed.slash("ana", "r", channel=desk, text="I am here.")
    assert heed.heard(direct)[-1] == "ana · Support\nI am here."
    await heed.writes("maya", "finally!")
    copy = heed.post(desk, "maya: finally!")
    assert copy["message_reference"]["message_id"] == heed.post(desk, "Case ")["id"]
    await heed.writes("ana", "sorry for the wait", channel=desk, reply_to=copy["id"])
    assert heed.heard(direct)[-1] == "sorry for the wait"
    await heed.click("ana", desk, "Resolve")
    assert heed.heard(direct)[-1].startswith(RESOLVED)


async def test_where_everything_is_read_staff_notes_are_kept_and_never_scored(
    tmp_path: Path,
) -> None:
    watch = {"mode": "watch"}
    async with heed_on(
        tmp_path, on=("discord",), staff="discord", discord=watch, reads_all=True
    ) as heed:
        direct, thread = await furious(heed)
        before = heed.heard(direct)
        await heed.writes("ana", FURY, channel=thread)
        assert heed.heard(direct) == before
        assert ("note", FURY) in await heed.said(heed.discord.person("maya"))
        assert len(await heed.rows(case)) == 1
        assert [r.role for r in await heed.rows(history) if r.scores] == ["user"]
