from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.adapters.discord_bench import QUICK, Recorder, running, started
from tests.fakes.discord import DiscordFake
from tests.patience import until

HISTORY = "GET /channels/*/messages"


async def test_messages_written_while_the_bot_was_away_are_fetched_once_and_in_order() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            fake.say("ann", "before")
            await until(lambda: door.texts() == ["before"])
        for number in range(130):
            fake.say("ann", f"away {number}")
        fake.say("bob", "in the server", channel=fake.channel, mention=True)
        fake.say("bob", "to somebody else", channel=fake.channel)
        async with running(fake, door):
            await until(lambda: len(door.messages) == 132)
        fake.say("ann", "away again")
        async with running(fake, door):
            await until(lambda: len(door.messages) == 133)
        direct = [one.text for one in door.messages if one.private]
        assert direct == ["before", *(f"away {n}" for n in range(130)), "away again"]
        assert [one.text for one in door.messages if not one.private] == ["in the server"]
        assert all(one.private == (one.key.chat == fake.dm("ann")) for one in door.messages)


async def test_a_thread_made_and_used_while_away_is_read_from_its_beginning() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake:
        async with running(fake, door):
            fake.say("ann", "before")
            await until(lambda: door.texts() == ["before"])
        thread = fake.add_channel("new", kind=11, parent=fake.channel)
        fake.say("ann", "in here", channel=thread, mention=True)
        async with running(fake, door):
            await until(lambda: len(door.messages) == 2)
        key = door.messages[1].key
        assert (key.chat, key.thread) == (fake.channel, thread)


async def test_a_live_message_waits_for_the_older_ones_of_its_place() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            fake.say("ann", "one")
            await until(lambda: door.texts() == ["one"])
        fake.say("ann", "two")
        fake.fail(HISTORY, "503", count=6)
        async with running(fake, door):
            fake.say("ann", "three")
            fake.say("bob", "elsewhere")
            await until(lambda: "three" in door.texts())
        assert [one for one in door.texts() if one != "elsewhere"] == ["one", "two", "three"]
        assert door.texts().index("elsewhere") == 1


async def test_a_live_message_that_waited_too_long_is_stored_but_leaves_the_cursor() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            first = fake.say("ann", "one")
            await until(lambda: door.texts() == ["one"])
        fake.say("ann", "two")
        fake.fail(HISTORY, "503", count=1000)
        async with running(fake, door, pace=replace(QUICK, hold=0.2)):
            last = fake.say("ann", "three")
            await until(lambda: door.texts() == ["one", "three"])
            assert door.seen(fake.dm("ann")) == int(first)
            fake.faults.clear()
            await until(lambda: door.texts() == ["one", "three", "two"])
            await until(lambda: door.seen(fake.dm("ann")) == int(last))


async def test_death_in_the_middle_of_catching_up_leaves_no_hole() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            fake.say("ann", "start")
            await until(lambda: door.texts() == ["start"])
        for number in range(150):
            fake.say("ann", f"away {number}")
        door.failing = lambda _: len(door.rows) > 100  # the first page is kept, then the disk fills
        async with started(fake, door):
            await until(lambda: door.refused)
            fake.say("ann", "live")
            await asyncio.sleep(0.1)
        assert len(door.rows) == 101
        door.failing = lambda _: False
        async with running(fake, door):
            await until(lambda: len(door.rows) == 152)
        assert door.texts() == ["start", *(f"away {n}" for n in range(150)), "live"]


async def test_a_message_that_could_not_be_stored_comes_back_from_the_history() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        door.failing = lambda arrivals: any(one.message for one in arrivals)
        fake.say("ann", "one")
        await until(lambda: door.refused)
        fake.say("ann", "two")
        await asyncio.sleep(0.1)
        assert door.texts() == []
        door.failing = lambda _: False
        await until(lambda: len(door.messages) == 2)
        assert door.texts() == ["one", "two"]


async def test_what_the_database_refused_goes_before_what_was_written_later() -> None:
    """However long it took: the history is read again later than the newer message has waited."""
    door = Recorder()
    slow, quick = (0.05, 1.0), replace(QUICK, hold=0.2)
    async with DiscordFake() as fake, running(fake, door, backoff=slow, pace=quick):
        door.failing = lambda arrivals: any(one.message for one in arrivals)
        fake.say("ann", "one")
        await until(lambda: door.refused >= 3)  # when it came, and from the history, twice
        fake.say("ann", "two")
        await asyncio.sleep(0.1)
        door.failing = lambda _: False
        await until(lambda: len(door.messages) == 2)
        assert door.texts() == ["one", "two"]


async def test_the_cursor_of_a_busy_channel_that_says_nothing_to_us_costs_no_transactions() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        await until(lambda: door.seen(fake.channel))
        begin = door.seen(fake.channel)
        for _ in range(20):
            fake.say("ann", "among ourselves", channel=fake.channel)
        fake.say("ann", "and you?", channel=fake.channel, mention=True)
        await until(lambda: door.messages)
        assert door.offered == 1
        assert door.seen(fake.channel) > begin


async def test_a_channel_whose_history_may_not_be_read_is_heard_live_all_the_same() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            fake.say("ann", "one", channel=fake.channel, mention=True)
            await until(lambda: door.messages)
        fake.denied.add((fake.channel, "history"))
        fake.say("ann", "missed", channel=fake.channel, mention=True)
        async with running(fake, door):
            fake.say("ann", "two", channel=fake.channel, mention=True)
            await until(lambda: len(door.messages) == 2)
        assert door.texts() == ["one", "two"]


async def test_what_the_database_refused_is_not_lost_where_the_history_is_closed() -> None:
    door = Recorder()
    told = [f"line {number}" for number in range(120)]  # more than a page
    async with DiscordFake() as fake, running(fake, door, pace=replace(QUICK, hold=0.1)) as heed:
        fake.denied.add((fake.channel, "history"))
        door.failing = lambda arrivals: any(one.message for one in arrivals)
        fake.say("ann", told[0], channel=fake.channel, mention=True)
        await until(lambda: door.refused >= 3)  # when it came, and from memory, twice
        for text in told[1:]:
            fake.say("ann", text, channel=fake.channel, mention=True)
        last = fake.messages(fake.channel)[-1]["id"]
        place = heed._intake._places.channel(fake.channel)
        await until(lambda: len(place.left) == len(told))
        door.failing = lambda _: False
        await until(lambda: door.seen(fake.channel) == int(last))
        assert door.texts() == told
        assert place.left == []
        fake.say("ann", "and on", channel=fake.channel, mention=True)
        await until(lambda: door.texts()[-1] == "and on")


async def test_a_refused_resume_is_made_good_from_the_history() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.say("ann", "one")
        await until(lambda: door.texts() == ["one"])
        fake.drop(4007, forget=True)
        fake.say("ann", "two")
        fake.say("bob", "and here", channel=fake.channel, mention=True)
        await until(lambda: len(door.messages) == 3)
        assert set(door.texts()) == {"one", "two", "and here"}
        assert len(fake.identifies) == 2


async def test_a_history_that_answers_nonsense_is_asked_again() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            fake.say("ann", "one")
            await until(lambda: door.texts() == ["one"])
        fake.say("ann", "two")
        fake.fail(HISTORY, "junk", count=3)
        async with running(fake, door):
            await until(lambda: door.texts() == ["one", "two"])
        assert len(fake.called(HISTORY)) >= 4
