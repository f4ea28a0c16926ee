from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bot import menus
from core.message import Arrival, Button
from core.ports import Question
from tests.adapters.discord_bench import QUICK, Recorder, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import Interaction
from tests.patience import PATIENCE, until

ESCALATE = "Escalate this message"
PATIENT = replace(QUICK, answer=0.2)


class Slow(Recorder):
    """A database that thinks for a while about every message."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        if any(one.message for one in arrivals):
            await asyncio.sleep(self.seconds)
        return await super().take_in(arrivals, cursor=cursor)


async def answered(one: Interaction) -> dict[str, Any]:
    await asyncio.wait_for(one.answered.wait(), PATIENCE)
    assert one.answer is not None
    return one.answer


async def test_a_message_is_pointed_at_from_its_menu_with_its_author_and_its_words() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        role = fake.give_role("kim", "staff")
        async with running(fake, door, desk_channel=fake.desk, staff_commands=menus.STAFF):
            wrote = fake.say("ann", "nobody helps me", channel=fake.channel)
            used = fake.menu("kim", ESCALATE, channel=fake.channel, message_id=wrote)
            assert (await answered(used))["data"]["flags"] == 64
            [message] = door.messages
            assert (message.kind, message.command) == ("command", "escalate")
            assert (message.reply_to, message.reply_to_author) == (wrote, fake.person("ann"))
            assert (message.argument, message.forwarded_from) == ("nobody helps me", "ann")
            assert (message.key.user, message.key.chat) == (fake.person("kim"), fake.channel)
            assert message.author.roles == (role,)
            await until(lambda: fake.commands)
            [menu] = [one for one in fake.commands[""] if one["type"] == 3]
            assert (menu["name"], menu["default_member_permissions"]) == (ESCALATE, str(1 << 13))


async def test_a_bots_message_that_is_pointed_at_names_nobody_and_other_menus_are_not_ours() -> (
    None
):
    door = Recorder()
    async with (
        DiscordFake() as fake,
        running(fake, door, desk_channel=fake.desk, staff_commands=menus.STAFF) as heed,
    ):
        ours = await heed.deliver(post(fake.channel, "hello"), keep)
        fake.menu("kim", "Translate", channel=fake.channel, message_id=ours.message_id)
        fake.menu("kim", ESCALATE, channel=fake.channel, message_id=ours.message_id)
        await until(lambda: door.messages)
        assert [one.reply_to_author for one in door.messages] == [""]
        assert door.poison == []


async def test_what_staff_type_is_completed_at_the_desk_and_nowhere_else() -> None:
    asked: list[tuple[str, str]] = []

    async def suggest(command: str, typed: str) -> list[str]:
        asked.append((command, typed))
        return [f"{typed}-{number}" for number in range(40)] + ["", "x" * 101]

    async with DiscordFake() as fake:
        more = {"desk_channel": fake.desk, "staff_commands": menus.STAFF, "suggest": suggest}
        async with running(fake, door := Recorder(), **more):
            thread = fake.add_channel("#7", kind=11, parent=fake.desk)
            shown = await answered(fake.begin("kim", "s", "hel", channel=thread))
            assert (shown["type"], len(shown["data"]["choices"])) == (8, 25)
            assert shown["data"]["choices"][0] == {"name": "hel-0", "value": "hel-0"}
            elsewhere = await answered(fake.begin("ann", "s", "hel", channel=fake.channel))
            assert elsewhere["data"]["choices"] == []
            assert asked == [("s", "hel")]
            assert door.rows == {}
            completed = {
                one["name"]
                for one in fake.commands[""]
                if any(option.get("autocomplete") for option in one.get("options", ()))
            }
            assert completed == {"s", "assign", "snooze", "resolve"}


async def test_suggestions_that_take_too_long_are_none() -> None:
    async def suggest(_command: str, _typed: str) -> list[str]:
        await asyncio.sleep(60)
        return ["late"]

    async with DiscordFake() as fake:
        more = {
            "desk_channel": fake.desk,
            "staff_commands": menus.STAFF,
            "suggest": suggest,
            "pace": PATIENT,
        }
        async with running(fake, Recorder(), **more):
            shown = await answered(fake.begin("kim", "s", "hel", channel=fake.desk))
            assert shown == {"type": 8, "data": {"choices": []}}


async def test_a_slow_database_is_announced_in_time_and_the_mark_follows() -> None:
    door = Slow(0.6)
    async with DiscordFake() as fake, running(fake, door, pace=PATIENT):
        used = fake.slash("kim", "note", channel=fake.desk, text="x")
        assert await answered(used) == {"type": 5, "data": {"flags": 64}}
        assert door.messages == []
        assert fake.clock() - used.at < 0.55
        await until(lambda: used.answer != {"type": 5, "data": {"flags": 64}})
        assert used.answer == {"type": 4, "data": {"content": "✓"}}
        assert door.messages[0].argument == "x"


async def test_a_press_is_acknowledged_in_time_and_kept_when_the_database_comes_round() -> None:
    door = Slow(0.6)
    async with DiscordFake() as fake, running(fake, door, pace=PATIENT) as heed:
        card = await heed.deliver(post(fake.desk, "card", kind="card"), keep)
        pressed = fake.press("kim", fake.desk, card.message_id, "h:7:cl:1")
        assert await answered(pressed) == {"type": 6}
        assert door.messages == []
        await until(lambda: door.messages)
        assert fake.whispers("kim") == []


async def test_what_could_not_be_kept_at_all_is_said_to_its_sender_alone() -> None:
    door = Recorder()
    door.failing = lambda arrivals: any(one.message for one in arrivals)
    async with DiscordFake() as fake:
        more = {"pace": replace(QUICK, answer=0.1), "lost": "not kept"}
        async with running(fake, door, backoff=(0.1, 0.2, 0.2), **more) as heed:
            used = fake.slash("kim", "note", channel=fake.desk, text="x")
            await until(lambda: (used.answer or {}).get("data", {}).get("content") == "not kept")
            card = await heed.deliver(post(fake.desk, "card", kind="card"), keep)
            fake.press("kim", fake.desk, card.message_id, "h:7:cl:1")
            await until(lambda: fake.whispers("kim") == ["not kept"])
            assert door.messages == []


async def test_a_command_that_nobody_answered_is_known_to_have_failed() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()):
        fake.fail("POST /interactions/*", "503", count=99)
        used = fake.slash("kim", "note", channel=fake.desk, text="x")
        await until(lambda: fake.called("POST /interactions/*"))
        assert not used.failed(used.at + 2.9)
        assert used.failed(used.at + 3.1)


async def test_buttons_and_forms_of_an_earlier_process_still_work() -> None:
    door, ask = Recorder(), {"rp": Question(title="Answer", label="Words")}
    async with DiscordFake() as fake:
        async with running(fake, door, questions=ask) as heed:
            buttons = (Button(label="I take it", data="h:7:cl:1"),)
            old = await heed.deliver(post(fake.desk, "card", kind="card", buttons=buttons), keep)
        async with running(fake, door, questions=ask):
            pressed = fake.press("kim", fake.desk, old.message_id, "h:7:cl:1")
            assert await answered(pressed) == {"type": 6}
            form = fake.press("kim", fake.desk, old.message_id, "h:7:rp:1")
            assert (await answered(form))["type"] == 9
            assert await answered(fake.submit(form, "hello")) == {"type": 6}
            assert [one.data for one in door.messages] == ["h:7:cl:1", "h:7:rp:1"]


@pytest.mark.parametrize("fault", ["50035", "503"])
async def test_commands_that_discord_does_not_take_stop_nothing_else(fault: str) -> None:
    door, alarms = Recorder(), []
    async with DiscordFake() as fake:
        fake.fail("PUT /applications/*", fault, count=3)
        more = {"commands": {"en": [("help", "What I can do")]}, "on_alarm": alarms.append}
        async with running(fake, door, **more):
            fake.say("ann", "hello")
            await until(door.texts)
            await until(lambda: "discord/main/commands" in door.marks)
            assert len(alarms) == (fault == "50035")
            assert all("slash commands" in one for one in alarms)


async def test_administrators_have_their_own_commands_and_staffs_keep_theirs() -> None:
    menu = {"en": [("help", "What I can do")]}
    offered = {
        "commands": menu,
        "admin_commands": menus.ADMINS,
        "staff_commands": menus.STAFF,
    }
    async with DiscordFake() as fake:
        async with running(fake, Recorder(), **offered):
            await until(lambda: fake.commands)
            rights = {
                one["name"]: one.get("default_member_permissions") for one in fake.commands[""]
            }
            assert rights == {"help": None, "here": str(1 << 5), "why": str(1 << 5)}
        async with running(fake, Recorder(), **offered, desk_channel=fake.desk):
            await until(lambda: len(fake.commands[""]) > 3)
            rights = {
                one["name"]: one.get("default_member_permissions") for one in fake.commands[""]
            }
            assert (rights["here"], rights["why"]) == (str(1 << 5), str(1 << 13))
