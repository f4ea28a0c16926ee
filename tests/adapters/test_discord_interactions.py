from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bot import menus
from core.errors import OutcomeUnknown
from core.message import Button, File, Post
from core.ports import Question
from tests.adapters.discord_bench import Recorder, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import EPHEMERAL, Interaction
from tests.patience import PATIENCE, until

WHISPERS = "POST /webhooks/*"
QUESTIONS = {
    "rp": Question(title="Answer Maya", label="What to say"),
    "ed": Question(title="Change it", label="The words", quoted=True),
}


STAFF = """
    claim steal release r note draft snooze wake resolve reopen notneeded bot priority alert anon
    block unblock assign who why history s save edit del watch contact remark
"""


async def answered(one: Interaction) -> dict[str, Any]:
    await asyncio.wait_for(one.answered.wait(), PATIENCE)
    assert one.answer is not None
    return one.answer


def whisper(fake: DiscordFake, to: Interaction, text: str = "only you", **more: Any) -> Post:
    return post(fake.desk, text, kind="notice", private=False, whisper=to.id, **more)


async def test_a_button_that_asks_is_answered_with_a_form_and_only_its_filling_is_stored() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door, questions=QUESTIONS) as heed:
        card = await heed.deliver(post(fake.desk, "card", kind="card"), keep)
        pressed = fake.press("kim", fake.desk, card.message_id, "h:7:rp:1")
        form = await answered(pressed)
        assert (form["type"], form["data"]["custom_id"]) == (9, "h:7:rp:1")
        field = form["data"]["components"][0]["components"][0]
        assert (field["label"], field["max_length"], field["style"]) == ("What to say", 2000, 2)
        assert "value" not in field
        assert door.messages == []
        filled = fake.submit(pressed, "We will call you\ntoday.")
        assert await answered(filled) == {"type": 6}
        [message] = door.messages
        assert (message.kind, message.data) == ("pressed", "h:7:rp:1")
        assert message.argument == "We will call you\ntoday."
        assert (message.message_id, message.event_id) == (card.message_id, filled.id)
        assert message.key.user == fake.person("kim")
        assert filled.token not in next(iter(door.rows.values())).raw


async def test_a_form_that_quotes_begins_with_the_post_below_its_first_line() -> None:
    async with DiscordFake() as fake, running(fake, Recorder(), questions=QUESTIONS) as heed:
        text = "Suggestion\nDear Maya,\n" + "x" * 1900
        draft = await heed.deliver(post(fake.desk, text, kind="notice"), keep)
        bare = await heed.deliver(post(fake.desk, "one line", nonce="b"), keep)
        form = await answered(fake.press("kim", fake.desk, draft.message_id, "h:7:ed:1"))
        assert form["data"]["components"][0]["components"][0]["value"] == text.partition("\n")[2]
        form = await answered(fake.press("kim", fake.desk, bare.message_id, "h:7:ed:1"))
        assert "value" not in form["data"]["components"][0]["components"][0]


async def test_buttons_that_ask_nothing_and_those_of_others_are_told_apart() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door, questions=QUESTIONS) as heed:
        card = await heed.deliver(post(fake.desk, "card", kind="card"), keep)
        assert await answered(fake.press("kim", fake.desk, card.message_id, "h:7:cl:1")) == {
            "type": 6
        }
        fake.press("kim", fake.desk, card.message_id, "other:rp:1")
        fake.press("kim", fake.desk, card.message_id, "h:7:nn:1")
        await until(lambda: len(door.messages) == 2)
        assert [one.data for one in door.messages] == ["h:7:cl:1", "h:7:nn:1"]


async def test_who_uses_a_command_or_a_button_in_a_server_comes_with_their_roles() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        staff = fake.give_role("kim", "staff")
        async with running(fake, door) as heed:
            card = await heed.deliver(post(fake.desk, "card", kind="card"), keep)
            fake.slash("kim", "claim", channel=fake.desk)
            fake.press("kim", fake.desk, card.message_id, "h:7:cl:1")
            fake.slash("kim", "help")
            await until(lambda: len(door.messages) == 3)
            by_place = {(one.kind, one.private): one.author.roles for one in door.messages}
            assert by_place[("command", False)] == by_place[("pressed", False)] == (staff,)
            assert by_place[("command", True)] == ()


async def test_a_whisper_is_seen_by_the_sender_alone_and_its_buttons_work() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        used = fake.slash("kim", "why", channel=fake.desk)
        await until(lambda: door.messages)
        told = whisper(fake, used, buttons=(Button(label="More", data="h:7:mo:1"),))
        receipt = await heed.deliver(told, keep)
        assert fake.whispers("kim") == ["only you"]
        assert fake.transcript(fake.desk) == []
        assert fake.whispered("kim")[0]["flags"] & EPHEMERAL
        pressed = fake.press("kim", fake.desk, receipt.message_id, "h:7:mo:1")
        await answered(pressed)
        await heed.deliver(whisper(fake, pressed, "more for you"), keep)
        assert fake.whispers("kim") == ["only you", "more for you"]
        assert fake.whispers("ann") == []


async def test_a_whisper_may_carry_a_file_and_pings_nobody() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        used = fake.slash("kim", "history", channel=fake.desk)
        await until(lambda: door.messages)
        picture = File(name="mood.png", kind="photo", content=b"png")
        await heed.deliver(whisper(fake, used, "@everyone", files=(picture,)), keep)
        [shown] = fake.whispered("kim")
        assert fake.file(shown) == b"png"
        assert shown["mention_everyone"] is False


async def test_a_whisper_whose_right_is_lost_becomes_an_ordinary_message() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            used = fake.slash("kim", "why", channel=fake.desk)
            await answered(used)
        async with running(fake, door) as heed:  # a new process knows no tokens
            await heed.deliver(whisper(fake, used), keep)
            assert fake.transcript(fake.desk) == [("Heed", "only you")]
            late = fake.slash("kim", "why", channel=fake.desk)
            await answered(late)
            fake.clock = lambda: time.time() + 1000.0  # Discord counts otherwise than we do
            await heed.deliver(whisper(fake, late, "too late", nonce="b"), keep)
            assert fake.transcript(fake.desk)[-1] == ("Heed", "too late")
            assert fake.whispers("kim") == []


async def test_a_quarter_of_an_hour_later_no_whisper_is_tried() -> None:
    now = [time.time()]
    async with DiscordFake() as fake, running(fake, Recorder(), steady=lambda: now[0]) as heed:
        used = fake.slash("kim", "why", channel=fake.desk)
        await answered(used)
        now[0] += 895.0
        await heed.deliver(whisper(fake, used), keep)
        assert fake.called(WHISPERS) == []
        assert fake.transcript(fake.desk) == [("Heed", "only you")]


async def test_a_whisper_of_unknown_outcome_is_neither_repeated_nor_repeatable() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        used = fake.slash("kim", "why", channel=fake.desk)
        await answered(used)
        fake.fail(WHISPERS, "reset", apply=True)
        with pytest.raises(OutcomeUnknown):
            await heed.deliver(whisper(fake, used), keep)
        assert fake.whispers("kim") == ["only you"]
        assert not heed.repeatable(whisper(fake, used))


async def test_a_whisper_waits_until_discord_has_heard_the_first_answer() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        fake.fail("POST /interactions/*", "429", retry_after=0.3)
        used = fake.slash("kim", "why", channel=fake.desk)
        await until(lambda: door.messages)
        assert used.answer is None
        await heed.deliver(whisper(fake, used), keep)
        assert used.answer is not None
        assert fake.whispers("kim") == ["only you"]


async def test_staffs_commands_say_which_text_they_need() -> None:
    door = Recorder()
    menu = {"en": [("help", "What I can do"), ("link", "Join two accounts")]}
    more = {"commands": menu, "staff_commands": menus.STAFF}
    async with DiscordFake() as fake, running(fake, door, **more, desk_channel=fake.desk):
        await until(lambda: fake.commands)
        known = {one["name"]: one for one in fake.commands[""]}
        needs = {
            name: one["options"][0]["required"] for name, one in known.items() if "options" in one
        }
        assert {*STAFF.split()} | {"help", "link"} <= set(known)
        assert needs["r"] is needs["snooze"] is needs["block"] is True
        assert needs["resolve"] is needs["reopen"] is needs["link"] is False
        assert not {"claim", "wake", "alert", "who", "help"} & set(needs)
        assert "default_member_permissions" in known["remark"]
        assert "default_member_permissions" not in known["link"]
