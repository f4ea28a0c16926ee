from __future__ import annotations

import asyncio
import json

import pytest

from bot import menus
from core.message import Button
from tests.adapters.discord_bench import Recorder, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.patience import PATIENCE, until


async def test_a_direct_message_becomes_a_row_and_gets_its_answer_in_the_same_channel() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        message_id = fake.say("ann", "my parcel is late")
        await until(lambda: door.messages)
        message = door.messages[0]
        await heed.deliver(post(message.key.chat, "I am looking into it"), keep)
        assert (message.text, message.kind, message.private) == ("my parcel is late", "said", True)
        assert message.key.chat == fake.dm("ann")
        assert message.key.user == fake.person("ann")
        assert message.order == int(message_id)
        assert json.loads(next(iter(door.rows.values())).raw)["t"] == "MESSAGE_CREATE"
        assert fake.transcript(fake.dm("ann"))[-1] == ("Heed", "I am looking into it")
        assert door.seen(fake.dm("ann")) >= int(message_id)


async def test_in_a_server_only_who_speaks_to_the_bot_is_heard() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake, running(fake, door) as heed:
        fake.say("ann", "a private matter", channel=fake.channel)
        fake.say("ann", "where is it?", channel=fake.channel, mention=True)
        await until(lambda: door.messages)
        receipt = await heed.deliver(post(fake.channel, "here", private=False), keep)
        fake.say(
            "ann", f"<@{fake.bot['id']}> thanks", channel=fake.channel, reply_to=receipt.message_id
        )
        await until(lambda: len(door.messages) == 2)
        assert door.texts() == ["where is it?", "thanks"]
        assert all(one.addressed and not one.private for one in door.messages)
        assert door.messages[1].reply_to == receipt.message_id
        assert not any("a private matter" in one.raw for one in door.rows.values())


async def test_watch_mode_takes_every_message_of_the_watched_channel_and_of_no_other() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake:
        quiet = fake.add_channel("quiet")
        more = {"mode": "watch", "watch": frozenset({fake.channel})}
        async with running(fake, door, **more):
            fake.say("ann", "not for you", channel=quiet)
            fake.say("ann", "hello all", channel=fake.channel)
            await until(lambda: door.messages)
            assert door.texts() == ["hello all"]
            assert door.messages[0].addressed is False


async def test_bots_and_the_bot_itself_are_not_heard() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        other = fake.person("other bot")
        fake._people[other]["bot"] = True
        fake.say("other bot", "beep", channel=fake.channel, mention=True)
        await heed.deliver(post(fake.dm("ann"), "own words"), keep)
        fake.say("ann", "a person")
        await until(lambda: door.messages)
        assert door.texts() == ["a person"]


async def test_what_is_written_in_the_desk_and_its_threads_is_taken_in_as_addressed() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake:
        more = {"mode": "watch", "desk_channel": fake.desk}
        async with running(fake, door, **more) as heed:
            opening = post(fake.desk, "Case 7: Ann", kind="thread", private=False)
            thread = (await heed.deliver(opening, keep)).thread
            fake.say("kim", "I have it", channel=thread)
            await until(lambda: door.messages)
            key = door.messages[0].key
            assert (key.chat, key.thread, door.messages[0].addressed) == (fake.desk, thread, True)


async def test_edits_and_deletions_are_told_once_each_with_the_message_they_mean() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        first = fake.say("ann", "it is brocken")
        await until(lambda: door.messages)
        fake.edit(fake.dm("ann"), first, "it is broken")
        await until(lambda: door.texts("edited"))
        fake.edit(fake.dm("ann"), first, "it is broken!")
        await until(lambda: len(door.texts("edited")) == 2)
        fake.delete(fake.dm("ann"), first)
        await until(lambda: len(door.messages) == 4)
        assert [one.kind for one in door.messages] == ["said", "edited", "edited", "deleted"]
        assert {one.message_id for one in door.messages} == {first}
        assert {one.key.user for one in door.messages} == {fake.person("ann")}
        assert door.texts("edited") == ["it is broken", "it is broken!"]


async def test_reactions_are_told_when_they_come_and_when_they_are_taken_back() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        direct = fake.dm("ann")
        answer = await heed.deliver(post(direct, "done"), keep)
        fake.react("ann", direct, answer.message_id, "👍")
        fake.react("ann", direct, answer.message_id, ":harbour:")
        fake.unreact("ann", direct, answer.message_id, "👍")
        fake.react("ann", direct, answer.message_id, "👍")
        await until(lambda: len(door.messages) == 4)
        assert [one.kind for one in door.messages] == ["reacted"] * 4
        assert [one.data for one in door.messages] == ["👍", ":harbour:", "", "👍"]
        assert {one.message_id for one in door.messages} == {answer.message_id}
        assert {one.key.user for one in door.messages} == {fake.person("ann")}
        assert len({one.event_id for one in door.messages}) == 4


async def test_in_a_server_only_reactions_to_what_is_known_are_heard_and_no_bots() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        role = fake.give_role("kim", "staff")
        async with running(fake, door, desk_channel=fake.desk) as heed:
            strangers = fake.say("ben", "a private matter", channel=fake.channel)
            ours = await heed.deliver(post(fake.channel, "here"), keep)
            copy = await heed.deliver(post(fake.desk, "copy", kind="relay", nonce="b"), keep)
            other = fake.person("other bot")
            fake._people[other]["bot"] = True
            fake.react("ann", fake.channel, strangers, "👀")
            fake.react("other bot", fake.channel, ours.message_id, "👍")
            sign = post(fake.desk, "✅", kind="react", message_id=copy.message_id)
            await heed.deliver(sign, keep)
            fake.react("ann", fake.channel, ours.message_id, "👍")
            fake.unreact("ann", fake.channel, ours.message_id, "👍")
            fake.react("kim", fake.desk, copy.message_id, "❤️")
            await until(lambda: len(door.messages) == 3)
            told = {fake.channel: ["👍", ""], fake.desk: ["❤️"]}
            for place, signs in told.items():
                assert [one.data for one in door.messages if one.key.chat == place] == signs
            [kims] = [one for one in door.messages if one.key.chat == fake.desk]
            assert kims.author.roles == (role,)
            assert all(one.addressed and not one.private for one in door.messages)


async def test_at_the_desk_edits_and_deletions_by_staff_are_told_though_unknown() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake:
        thread = fake.add_channel("#7", kind=11, parent=fake.desk)
        old = fake.say("kim", "long ago", channel=thread)
        chatter = fake.say("kim", "elsewhere", channel=fake.channel)
        async with running(fake, door, mode="watch", desk_channel=fake.desk) as heed:
            new = fake.say("kim", "an answr", channel=thread)
            fake.edit(thread, new, "an answer")
            await until(lambda: door.texts("edited"))
            copy = await heed.deliver(post(fake.desk, "copy", thread=thread), keep)
            gone = post(fake.desk, "", kind="delete", thread=thread, message_id=copy.message_id)
            await heed.deliver(gone, keep)  # what we delete ourselves is no news
            fake.delete(fake.channel, chatter)
            fake.delete(thread, new)
            fake.delete(thread, old)
            await until(lambda: len(door.messages) == 5)
            said, edited, elsewhere, known, unknown = door.messages
            # Whose it was, and whether it is any of ours, only the stored messages can tell.
            assert (elsewhere.message_id, elsewhere.key.user) == (chatter, "")
            assert (said.text, edited.text, edited.message_id) == ("an answr", "an answer", new)
            assert (known.kind, known.message_id, known.key.user) == (
                "deleted",
                new,
                fake.person("kim"),
            )
            assert (unknown.kind, unknown.message_id) == ("deleted", old)
            assert (unknown.key.user, unknown.author.id, unknown.key.thread) == ("", "", thread)


async def test_without_the_intent_a_plain_line_at_the_desk_is_nothing() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door, desk_channel=fake.desk):
        fake.say("kim", "among ourselves", channel=fake.desk)
        fake.say("kim", "to you", channel=fake.desk, mention=True)
        await until(lambda: door.messages)
        assert door.texts() == ["to you"]


async def test_roles_come_with_a_message_and_are_asked_for_when_it_comes_from_the_history() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake:
        role = fake.give_role("kim", "staff")
        more = {"mode": "watch", "desk_channel": fake.desk}
        async with running(fake, door, **more):
            fake.say("kim", "live", channel=fake.desk)
            await until(lambda: door.messages)
        fake.say("kim", "while you were away", channel=fake.desk)
        fake.say("ann", "me too", channel=fake.desk)
        async with running(fake, door, **more):
            await until(lambda: len(door.messages) == 3)
        assert [one.author.roles for one in door.messages] == [(role,), (role,), ()]
        assert len(fake.called("GET /guilds/*/members/*")) == 2


async def test_a_reply_names_whom_it_answers_and_one_to_another_person_is_overheard() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake, running(fake, door, mode="watch"):
        asked = fake.say("ann", "anybody?", channel=fake.channel)
        fake.say("kim", "I know", channel=fake.channel, reply_to=asked)
        fake.say("kim", "and you", channel=fake.channel, reply_to=asked, mention=True)
        await until(lambda: len(door.messages) == 2)
        heard, spoken = door.messages
        assert (heard.reply_to, heard.reply_to_author) == (asked, fake.person("ann"))
        assert (heard.overheard, heard.addressed) == (True, False)
        assert (spoken.overheard, spoken.addressed) == (False, True)


async def test_a_poll_is_told_in_words_and_nothing_is_lost_without_a_word() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.say("ann", "", poll=("When?", ("today", "never")))
        await until(lambda: door.messages)
        [poll] = door.messages[0].attachments
        assert (poll.kind, poll.file_id, poll.words) == ("poll", "", "When?\n- today\n- never")
        fake.say("ann", "")  # something that this adapter has no word for
        await until(lambda: len(door.messages) == 2)
        [unknown] = door.messages[1].attachments
        assert (unknown.kind, unknown.file_id) == ("unknown", "")


async def test_a_press_is_stored_before_it_is_acknowledged() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        buttons = (Button(label="I take it", data="h:7:cl:1"),)
        card = await heed.deliver(post(fake.desk, "card", kind="card", buttons=buttons), keep)
        shown = fake.messages(fake.desk)[0]["components"][0]["components"][0]
        pressed = fake.press("kim", fake.desk, card.message_id, "h:7:cl:1")
        await asyncio.wait_for(pressed.answered.wait(), PATIENCE)
        message = door.messages[0]
        assert shown["custom_id"] == "h:7:cl:1"
        assert (message.kind, message.data, message.message_id) == (
            "pressed",
            "h:7:cl:1",
            card.message_id,
        )
        assert message.event_id == pressed.id
        assert pressed.answer == {"type": 6}
        assert pressed.token not in next(iter(door.rows.values())).raw


async def test_a_press_that_cannot_be_stored_is_not_acknowledged() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        card = await heed.deliver(post(fake.desk, "card", kind="card"), keep)
        door.failing = lambda arrivals: any(one.message for one in arrivals)
        pressed = fake.press("kim", fake.desk, card.message_id, "h:7:cl:1")
        await until(lambda: door.refused >= 2)
        assert pressed.answer is None
        door.failing = lambda _: False
        await until(lambda: pressed.answer)
        assert len(door.messages) == 1


@pytest.mark.parametrize("in_server", [False, True])
async def test_a_slash_command_is_stored_and_noted_for_the_person_alone(in_server: bool) -> None:  # noqa: FBT001
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        where = fake.channel if in_server else fake.dm("ann")
        used = fake.slash("ann", "note", channel=where, text="wants a refund")
        await asyncio.wait_for(used.answered.wait(), PATIENCE)
        message = door.messages[0]
        assert (message.kind, message.command, message.argument) == (
            "command",
            "note",
            "wants a refund",
        )
        assert message.text == "/note wants a refund"
        assert (message.key.chat, message.private) == (where, not in_server)
        assert used.answer == {"type": 4, "data": {"content": "✓", "flags": 64}}


async def test_slash_commands_are_registered_in_every_language_and_only_when_they_changed() -> None:
    door = Recorder()
    words = {"en": [("help", "What I can do")], "es": [("help", "Lo que puedo hacer")]}
    more = {"admin_commands": menus.ADMINS, "staff_commands": menus.STAFF}
    async with DiscordFake() as fake:
        for _ in range(2):
            async with running(fake, door, **more, commands=words, desk_channel=fake.desk):
                await until(lambda: "discord/main/commands" in door.marks)
        async with running(fake, door, **more, commands={"en": words["en"]}):
            await until(lambda: len(fake.called("PUT /applications/*/commands")) == 2)
        first = fake.called("PUT /applications/*/commands")[0].body
        assert first[0]["description_localizations"]["es-ES"] == "Lo que puedo hacer"
        assert {"claim", "release", "r", "note", "resolve", "notneeded"} <= {
            one["name"] for one in first
        }
        assert [one["name"] for one in fake.commands[""]] == ["help", "why", "here"]


async def test_an_event_of_an_unexpected_shape_is_parked_and_the_next_is_heard() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.raw(json.dumps({"op": 0, "t": "MESSAGE_CREATE", "s": 99, "d": {"id": "1"}}))
        await until(lambda: door.poison)
        await until(lambda: len(fake.identifies) == 2 and fake.connected)
        fake.say("ann", "still there?")
        await until(lambda: door.texts() == ["still there?"])
        assert "KeyError" in door.poison[0].error
