"""The desk on Discord, for people of Discord: one thread for each case, with no privileged intent.

Numbers in the names of sections are those of the desk's own description: what a row of its tables
promises is shown here as a conversation.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import discord
import pytest
import pytest_asyncio

from bot.settings import Desk
from core.tables import case, conversation, history, outbox
from tests.fakes.discord_shapes import MIB
from tests.patience import until
from tests.walk.platforms import (
    BACK_TO_BOT,
    CRISIS,
    FURY,
    KIND,
    OPEN,
    REOPENED,
    RESOLVED,
    Heed,
    buttons,
    heed_on,
    hurry,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKS = "I want to talk to a real human please"
QUIET = {"alerts_per_day": 1000, "incident_users": 1000}  # many people, and none of them a crowd
PICTURE, FILE = b"\x89PNG\r\n\x1a\n a receipt", b"%PDF a letter"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def heed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heed]:
    """One Heed for all conversations that need no other settings; each has its own person."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        async with heed_on(folder, on=("discord",), staff="discord", desk=QUIET) as alive:
            monkeypatch.setattr(discord.Asset, "BASE", alive.discord.cdn_base)  # of stickers
            yield alive


async def asks(heed: Heed, who: str) -> tuple[str, str]:
    """Let somebody ask for a person; return their direct channel and the case's thread."""
    await heed.writes(who, ASKS)
    return heed.discord.dm(who), thread_of(heed, who)


def thread_of(heed: Heed, who: str) -> str:
    """Return the only thread of somebody's case."""
    [thread] = [t for t in heed.discord.threads(heed.discord.desk) if t["name"].endswith(f" {who}")]
    return str(thread["id"])


async def case_of(heed: Heed, who: str) -> Any:
    [person] = await heed.rows(conversation, user=heed.discord.person(who))
    [found] = await heed.rows(case, conversation_id=person.id)
    return found


def last(heed: Heed, channel: str) -> dict[str, Any]:
    return heed.discord.messages(channel)[-1]


async def test_4_1_messages_at_once_make_one_thread_with_one_pinned_card(heed: Heed) -> None:
    written = [heed.discord.say("mia", text) for text in (ASKS, FURY, "hello??")]
    for one in written:
        await heed.settled(one)
    thread = thread_of(heed, "mia")
    pinned = [m for m in heed.discord.messages(thread) if m["pinned"]]
    [card] = pinned
    assert card["content"].startswith("Case ")
    assert "Why: asked for a person" in card["content"]
    assert card["content"].splitlines()[-1].startswith("A plain message here stays inside.")
    assert heed.discord.file(card).startswith(b"\x89PNG")  # one post holds both
    assert [*buttons(card)][:3] == ["Claim", "Reply", "Draft"]
    assert all(len(data) <= 64 for data in buttons(card).values())
    everything = "\n".join(heed.heard(thread))
    assert all(f"mia: {text}" in everything for text in ("I want", "unbeliev", "hello??"))
    told = heed.heard(heed.discord.dm("mia"))
    assert [text.startswith(OPEN) for text in told] == [True]


async def test_9_staff_answer_by_form_command_and_reply_and_notes_stay_inside(heed: Heed) -> None:
    direct, thread = await asks(heed, "noa")
    await heed.click("ana", thread, "Claim")
    assert "With ana" in heed.post(thread, "Case ")["content"]
    assert heed.heard(direct)[-1].startswith(OPEN)  # row 3: they see nothing of the claim
    pressed = await heed.click("ana", thread, "Reply")
    assert pressed.answer is not None
    assert pressed.answer["type"] == 9  # the form is the very first answer
    await heed.fill(pressed, "Hi Noa, I have your order here.")
    assert heed.heard(direct)[-1] == "ana · Support\nHi Noa, I have your order here."
    await heed.slash("ana", "r", channel=thread, text="It leaves today.")
    assert heed.heard(direct)[-1] == "It leaves today."  # the name stands on the first of a run
    assert heed.heard(thread)[-1] == "ana: It leaves today."
    await heed.writes("noa", "order 1234")
    copy = heed.post(thread, "noa: order 1234")["id"]
    await heed.writes("ana", "Found it.", channel=thread, reply_to=copy)
    assert heed.heard(direct)[-1] == "Found it."
    before = heed.heard(direct)
    heed.discord.say("bob", "what a day, xyzzy", channel=thread)  # invisible without the intent
    await heed.writes("bob", "she was here in May", channel=thread, mention=True)
    await heed.writes("bob", "// and in June", channel=thread, reply_to=copy)
    await heed.slash("bob", "note", channel=thread, text="sounds exhausted")
    await heed.slash("ana", "frobnicate", channel=thread, text="x")
    assert "/frobnicate was not sent to anybody" in heed.whispers("ana")[-1]
    assert heed.heard(direct) == before
    said = await heed.said(heed.discord.person("noa"))
    notes = [text for role, text in said if role == "note"]
    assert notes == ["she was here in May", "and in June", "sounds exhausted"]
    assert await heed.contains("xyzzy") == []


async def test_6_an_answer_in_somebody_elses_case_is_held_and_asked_about(heed: Heed) -> None:
    direct, thread = await asks(heed, "pia")
    await heed.click("ana", thread, "Claim")
    everybody, person = heed.heard(thread), heed.heard(direct)
    await heed.slash("bob", "r", channel=thread, text="me too")
    assert heed.whispers("bob")[-1].startswith("ana claimed this")
    assert heed.heard(thread) == everybody  # nobody but Bob sees the question
    assert heed.heard(direct) == person
    await heed.click("bob", thread, "Keep as note", on="ana claimed this")
    assert ("note", "me too") in await heed.said(heed.discord.person("pia"))
    await heed.slash("bob", "r", channel=thread, text="I know this one")
    await heed.click("bob", thread, "Send anyway", on="ana claimed this")
    assert heed.heard(direct)[-1] == "bob · Support\nI know this one"
    assert (await case_of(heed, "pia")).claimed_by == "ana"  # it stays with whoever has it
    await heed.slash("bob", "steal", channel=thread)
    assert "With bob" in heed.post(thread, "Case ")["content"]
    assert "bob took this case over from ana." in heed.heard(thread)


async def test_7_marks_edits_and_deletions_of_staff_reach_the_person(heed: Heed) -> None:
    direct, thread = await asks(heed, "rosa")
    await heed.writes("rosa", "where is it?")
    copy = heed.post(thread, "rosa: where is it?")["id"]
    answer = await heed.writes("ana", "In Bremmen.", channel=thread, reply_to=copy)
    assert heed.reactions(answer) == {"✅"}
    heed.discord.edit(thread, answer, "In Bremen.")
    await heed.settled(answer, kind="edited")
    assert heed.heard(direct)[-1] == "ana · Support\nIn Bremen."
    assert {"".join(mark[:1]) for mark in heed.reactions(answer)} == {"✏"}
    await heed.slash("ana", "edit", channel=thread, text="In Bonn.")
    assert heed.heard(direct)[-1] == "ana · Support\nIn Bonn."
    heed.discord.delete(thread, answer)
    await heed.settled(answer, kind="deleted")
    assert "Bonn" not in "\n".join(heed.heard(direct))
    [line] = await heed.rows(history, message_id=answer) or await heed.rows(history, deleted=True)
    assert (line.role, line.text, line.was) == ("staff", "", "")
    heed.discord.denied.add((direct, "send"))
    failed = await heed.writes("ana", "Are you there?", channel=thread, reply_to=copy)
    heed.discord.denied.clear()
    assert heed.reactions(failed) == {"❌"}
    assert any("Are you there?" in text for text in heed.heard(thread)[-2:])


async def test_7_what_people_edit_and_delete_is_changed_for_staff(heed: Heed) -> None:
    direct, thread = await asks(heed, "sara")
    written = await heed.writes("sara", "my card number is 4711")
    assert heed.post(thread, "sara: my card")["content"] == "sara: my card number is 4711"
    heed.discord.edit(direct, written, "my card was stolen")
    await heed.settled(written, kind="edited")
    assert "sara: my card was stolen" in heed.heard(thread)
    assert heed.heard(thread)[-1] == "edited; was: my card number is 4711"
    heed.discord.delete(direct, written)
    await heed.settled(written, kind="deleted")
    assert "(deleted by user)" in heed.heard(thread)
    [line] = await heed.rows(history, message_id=written)
    assert (line.text, line.was, line.deleted) == ("", "", True)


async def test_7_files_stickers_and_polls_pass_both_ways(heed: Heed) -> None:
    direct, thread = await asks(heed, "tina")
    await heed.writes("tina", "look", files=[("receipt.png", PICTURE), ("b.png", b"two")])
    copy = last(heed, thread)
    assert copy["content"] == "tina: look"
    assert [heed.discord.file(copy, n) for n in (0, 1)] == [PICTURE, b"two"]
    await heed.writes("ana", "here", channel=thread, reply_to=copy["id"], files=[("a.pdf", FILE)])
    answer = last(heed, direct)
    assert answer["content"] == "ana · Support\nhere"
    assert (answer["attachments"][0]["filename"], heed.discord.file(answer)) == ("a.pdf", FILE)
    await heed.writes("ana", "", channel=thread, reply_to=copy["id"], files=[("c.txt", b"sea")])
    assert heed.discord.file(last(heed, direct)) == b"sea"
    await heed.writes("tina", "", sticker=("wave", 1))
    assert heed.discord.file(last(heed, thread)) == b"sticker wave"
    await heed.writes("tina", "", poll=("Tea?", ("yes", "no")))
    assert "Tea?" in last(heed, thread)["content"]
    assert "yes" in last(heed, thread)["content"]
    earlier = await heed.writes("tina", "said long ago", channel=direct)
    await heed.writes("tina", "", forward=(direct, earlier))
    assert last(heed, thread)["content"].endswith("said long ago")


async def test_7_a_file_too_big_becomes_its_name_and_size(heed: Heed) -> None:
    _, thread = await asks(heed, "tom")
    heed.discord.upload_limit, before = 100, heed.discord.upload_limit
    heed.discord.upload_limit = None
    written = heed.discord.say("tom", "the film", files=[("film.mp4", b"x" * (2 * MIB))])
    heed.discord.upload_limit = 100
    await heed.settled(written)
    heed.discord.upload_limit = before
    assert "tom: the film" in last(heed, thread)["content"]
    assert "[film.mp4, 2 MB: too big to be passed on" in last(heed, thread)["content"]


async def test_7_reactions_are_mirrored_and_make_no_case(heed: Heed) -> None:
    direct, thread = await asks(heed, "uma")
    written = await heed.writes("uma", "thank you already")
    copy = heed.post(thread, "uma: thank you already")["id"]
    heed.discord.react("ana", thread, copy, "❤️")
    await heed.settled(copy, kind="reacted")
    assert heed.reactions(written) == {"❤️"}
    answer = await heed.writes("ana", "Of course.", channel=thread, reply_to=copy)
    heed.discord.react("uma", direct, last(heed, direct)["id"], "👍")
    await heed.settled(last(heed, direct)["id"], kind="reacted")
    assert heed.reactions(answer) == {"✅", "👍"}
    heed.discord.unreact("ana", thread, copy, "❤️")
    await until(lambda: heed.reactions(written) == set())
    glad = await heed.writes("vic", KIND)
    heed.discord.react("vic", heed.discord.dm("vic"), glad, "😡")
    await heed.settled(glad, kind="reacted")
    assert await heed.rows(outbox, kind="thread", text="vic") == []


async def test_rows_8_and_9_a_sleeping_case_wakes_by_time_and_by_its_person(heed: Heed) -> None:
    _, thread = await asks(heed, "wim")
    await heed.click("ana", thread, "Claim")
    await heed.click("ana", thread, "Snooze 1 h")
    assert heed.thread_state(thread)["archived"]
    assert "Snoozed until <t:" in heed.post(thread, "Case ")["content"]
    await heed.later(3700)
    assert not heed.thread_state(thread)["archived"]
    assert "ana: The time is up: this case is awake again." in heed.heard(thread)
    assert "With ana" in heed.post(thread, "Case ")["content"]
    await heed.slash("ana", "snooze", channel=thread, text="4h")
    assert heed.thread_state(thread)["archived"]
    await heed.writes("wim", "one more thing")
    assert not heed.thread_state(thread)["archived"]
    woken = {"ana: They wrote: this case is awake again.", "wim: one more thing"}
    assert woken <= {*heed.heard(thread)}


async def test_rows_10_and_17_resolve_leaves_the_story_and_no_reopens(heed: Heed) -> None:
    direct, thread = await asks(heed, "xia")
    await heed.slash("ana", "note", channel=thread, text="seems kind")
    await heed.slash("ana", "resolve", channel=thread, text="refunded")
    assert heed.heard(direct)[-1].startswith(RESOLVED)
    state = heed.thread_state(thread)
    assert (state["archived"], state["locked"]) == (True, True)
    [story] = [
        m
        for m in heed.discord.messages(thread)
        if m["attachments"] and m["content"].startswith("#")
    ]
    names = [one["filename"] for one in story["attachments"]]
    assert [name.rpartition(".")[2] for name in names] == ["html", "json"]
    told = json.loads(heed.discord.file(story, 1))
    assert "seems kind" in json.dumps(told)
    assert list(buttons(heed.post(thread, "Case "))) == [
        "Right",
        "Not needed",
        "Too late",
        "Reopen",
    ]
    await heed.writes("xia", "thanks")
    assert (await case_of(heed, "xia")).state == "resolved"
    await heed.click("xia", direct, "No", on=RESOLVED)
    assert heed.heard(direct)[-1] == REOPENED
    state = heed.thread_state(thread)
    assert (state["archived"], state["locked"]) == (False, False)
    assert (await case_of(heed, "xia")).helped == "no"
    assert "They say it did not help." in "\n".join(heed.heard(thread))


async def test_row_16_who_no_longer_needs_a_person_says_so(heed: Heed) -> None:
    direct, thread = await asks(heed, "yan")
    await heed.click("yan", direct, "I no longer need a person", on=OPEN)
    assert heed.heard(direct)[-1].startswith(BACK_TO_BOT)
    assert (await case_of(heed, "yan")).resolved_by == "user"
    assert "The user no longer needs a person." in heed.heard(thread)
    await heed.writes("zoe", CRISIS)
    danger = heed.post(heed.discord.dm("zoe"), "I am only a program")
    assert danger["components"] == []  # those only staff resolve


async def test_5_buttons_drawn_before_a_restart_still_work(heed: Heed) -> None:
    direct, thread = await asks(heed, "abe")
    await heed.restart()
    await heed.click("ana", thread, "Claim")
    assert "With ana" in heed.post(thread, "Case ")["content"]
    old = buttons(heed.post(thread, "Case "))["Release"]
    await heed.click("ana", thread, "Resolve")
    await heed.restart()
    await heed.click("bob", thread, "Right")
    found = await case_of(heed, "abe")
    assert (found.verdict, found.verdict_by) == ("right", "bob")
    heed.discord.press("bob", thread, heed.post(thread, "Case ")["id"], old)
    await until(lambda: any("This card was old" in text for text in heed.heard(thread)))
    assert (await case_of(heed, "abe")).state == "resolved"
    await heed.click("abe", direct, "Yes, it helped", on=RESOLVED)
    assert (await case_of(heed, "abe")).helped == "yes"


async def test_17_a_deleted_thread_gets_a_successor_and_a_locked_one_is_opened(heed: Heed) -> None:
    direct, thread = await asks(heed, "ben")
    heed.discord.lock(thread)
    await heed.writes("ben", "are you there?")
    assert "ben: are you there?" in heed.heard(thread)
    assert not heed.thread_state(thread)["locked"]
    heed.discord.delete_channel(thread)
    await heed.writes("ben", "hello?")
    after = thread_of(heed, "ben")
    assert after != thread
    card = heed.post(after, "Case ")
    assert card["pinned"]
    assert "ben: hello?" in heed.heard(after)
    assert any("this is its successor" in text for text in heed.heard(after))
    await heed.click("ana", after, "Claim")
    await heed.slash("ana", "r", channel=after, text="Here I am.")
    assert heed.heard(direct)[-1] == "ana · Support\nHere I am."


async def test_4_without_a_thread_the_case_stands_in_the_channel(heed: Heed) -> None:
    desk = heed.discord.desk
    heed.discord.thread_limit = 0
    await heed.writes("cem", ASKS)
    heed.discord.thread_limit = 1000
    direct = heed.discord.dm("cem")
    card = next(m for m in heed.discord.messages(desk) if "· cem ·" in m["content"])
    await heed.click("ana", desk, "Claim")
    pressed = await heed.click("ana", desk, "Reply")
    await heed.fill(pressed, "By the channel.")
    assert heed.heard(direct)[-1] == "ana · Support\nBy the channel."
    await heed.writes("cem", "at last")
    copy = heed.post(desk, "cem: at last")
    assert copy["message_reference"]["message_id"] == card["id"]
    answer = await heed.writes("ana", "Sorry.", channel=desk, reply_to=copy["id"])
    assert heed.heard(direct)[-1] == "Sorry."
    assert heed.reactions(answer) == {"✅"}
    await heed.click("ana", desk, "Resolve")
    assert (await case_of(heed, "cem")).state == "resolved"


async def test_19_where_the_bot_may_not_speak_in_a_thread_it_speaks_in_the_channel(
    heed: Heed,
) -> None:
    _, thread = await asks(heed, "gus")
    heed.discord.denied.add((thread, "send"))
    await heed.writes("gus", "anybody?")
    heed.discord.denied.clear()
    desk = heed.discord.desk
    assert "gus: anybody?" in heed.heard(desk)
    assert any("· gus ·" in text for text in heed.heard(desk))  # the card went along


async def test_row_20_closed_messages_are_held_and_told_and_row_21_let_go(heed: Heed) -> None:
    direct, thread = await asks(heed, "dana")
    heed.discord.closed_people.add(heed.discord.person("dana"))
    before = heed.heard(direct)
    await heed.slash("ana", "r", channel=thread, text="Are you there?")
    await until(lambda: any(t.startswith("Not delivered to dana") for t in heed.heard(thread)))
    await heed.quiet()
    assert "Cannot be reached now. Messages held: 1" in heed.post(thread, "Case ")["content"]
    await heed.slash("ana", "r", channel=thread, text="Write to me.")
    assert heed.heard(direct) == before
    heed.discord.closed_people.clear()
    await heed.writes("dana", "now you can")
    assert heed.heard(direct) == before  # nothing old is sent by itself
    await heed.click("ana", thread, "Send", on="dana can be reached again. Messages held: 2")
    assert heed.heard(direct)[-2:] == ["ana · Support\nAre you there?", "Write to me."]


async def test_9_with_auto_reply_and_the_intent_a_plain_line_goes_to_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    desk = QUIET | {"auto_reply": "on"}
    own = {"mode": "watch"}
    async with heed_on(
        tmp_path, on=("discord",), staff="discord", reads_all=True, desk=desk, discord=own
    ) as heed:
        direct, thread = await asks(heed, "eva")
        assert "A plain message here goes to the user" in heed.post(thread, "Case ")["content"]
        answer = await heed.writes("ana", "I am here.", channel=thread)
        assert heed.heard(direct)[-1] == "ana · Support\nI am here."
        assert heed.reactions(answer) == {"✅"}
        await heed.writes("ana", "// careful", channel=thread)
        assert heed.heard(direct)[-1] == "ana · Support\nI am here."
        heed.discord.edit(thread, answer, "I am here now.")
        await heed.settled(answer, kind="edited")
        assert heed.heard(direct)[-1] == "ana · Support\nI am here now."


async def test_2_and_4_a_forum_with_tags_and_roles_that_make_staff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with heed_on(tmp_path, on=("discord",), staff="discord", desk=QUIET) as heed:
        forum = heed.discord.add_forum("cases", "Waiting", "Claimed", "Resolved", "refund")
        role = heed.discord.give_role("ana", "support")
        await heed.restart(desk=Desk(staff=f"discord:{forum}", roles=(role,), alerts_per_day=9))
        await heed.writes("fay", ASKS)
        [post] = heed.discord.threads(forum)
        thread, names = str(post["id"]), heed.discord.tags(forum)
        assert [names[one] for one in post["applied_tags"]] == ["Waiting"]
        await heed.click("bob", thread, "Claim")
        assert (await case_of(heed, "fay")).state == "queued"
        assert "Only staff may do this" in "\n".join([*heed.whispers("bob"), *heed.heard(thread)])
        await heed.slash("bob", "r", channel=thread, text="I am no staff")
        assert "I am no staff" not in "\n".join(heed.heard(heed.discord.dm("fay")))
        await heed.click("ana", thread, "Claim")
        assert (await case_of(heed, "fay")).claimed_by == "ana"
        [post] = heed.discord.threads(forum)
        assert [names[one] for one in post["applied_tags"]] == ["Claimed"]
        await heed.slash("ana", "r", channel=thread, text="I am.")
        assert heed.heard(heed.discord.dm("fay"))[-1] == "ana · Support\nI am."
        await heed.click("ana", thread, "Not needed")
        assert (await case_of(heed, "fay")).verdict == "not needed"
        [post] = heed.discord.threads(forum)
        assert [names[one] for one in post["applied_tags"]] == ["Resolved"]
        assert post["thread_metadata"]["archived"]
