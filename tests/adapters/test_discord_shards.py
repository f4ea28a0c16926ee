from __future__ import annotations

from dataclasses import replace

import pytest

from tests.adapters.discord_bench import QUICK, Recorder, running, started
from tests.fakes.discord import DiscordFake
from tests.patience import until

OTHER = "1500000000000000000"


def home(server: str, of: int) -> int:
    return (int(server) >> 22) % of


def two_homes(fake: DiscordFake) -> str:
    """Let the bot into a server whose events come by the other one of two shards."""
    other = int(OTHER)
    while home(str(other), 2) == home(fake.guild, 2):
        other += 1 << 22
    return fake.add_server("Lighthouse", str(other))[1]


@pytest.mark.parametrize("shards", [2, 0])
async def test_each_server_is_heard_by_its_own_connection_and_direct_messages_by_the_first(
    shards: int,
) -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        fake.needed_shards = 2
        channel = two_homes(fake)
        async with running(fake, door, shards=shards):
            assert sorted(one["shard"] for one in fake.identifies) == [[0, 2], [1, 2]]
            fake.say("ann", "here", channel=fake.channel, mention=True)
            fake.say("ann", "there", channel=channel, mention=True)
            fake.say("ann", "in private")
            await until(lambda: len(door.messages) == 3)
            assert sorted(door.texts()) == ["here", "in private", "there"]
            assert len({one.server for one in door.messages}) == 3


async def test_one_dead_connection_is_enough_to_be_unwell_and_it_comes_back() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        channel = two_homes(fake)
        fake.resumes = False
        async with running(fake, door, shards=2) as heed:
            fake.say("ann", "one", channel=channel, mention=True)
            await until(door.texts)
            lost = home(door.messages[0].server, 2)
            fake.drop(4000, shard=lost)
            fake.say("ann", "two", channel=channel, mention=True)  # only the history has it
            await until(lambda: heed.health().state != "ok")
            await until(lambda: heed.health().state == "ok" and len(door.texts()) == 2)
            assert door.texts() == ["one", "two"]
            assert len(fake.identifies) == 3


async def test_a_shard_that_never_answers_again_is_left_for_fresh_connections() -> None:
    pace = replace(QUICK, silence=0.6)
    async with (
        DiscordFake(heartbeat=150) as fake,
        running(fake, Recorder(), shards=2, pace=pace) as heed,
    ):
        fake.silent = True
        await until(lambda: heed.health().state == "failing")
        await until(lambda: len(fake.identifies) >= 4)
        fake.silent = False
        await until(lambda: heed.health().state == "ok")


async def test_too_few_connections_are_refused_with_the_setting_that_mends_it() -> None:
    alarms: list[str] = []
    async with DiscordFake() as fake:
        fake.needed_shards = 2
        async with started(fake, Recorder(), on_alarm=alarms.append) as heed:
            await until(lambda: alarms)
            assert "discord.shards" in heed.health().problem
            assert len(fake.identifies) == 1


async def test_a_new_session_of_one_connection_reads_only_its_own_places_again() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        channel = two_homes(fake)
        async with running(fake, door, shards=2):
            fake.say("ann", "here", channel=fake.channel, mention=True)
            fake.say("ann", "there", channel=channel, mention=True)
            await until(lambda: len(door.messages) == 2)
            before = len(fake.called(f"GET /channels/{fake.channel}/messages"))
            there = next(one.server for one in door.messages if one.text == "there")
            fake.resumes = False
            fake.say("ann", "x", channel=channel)
            fake.drop(4000, shard=home(there, 2))
            fake.say("ann", "missed", channel=channel, mention=True)
            await until(lambda: "missed" in door.texts())
            after = len(fake.called(f"GET /channels/{fake.channel}/messages"))
            assert after == before
