from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace

import discord
import pytest

from tests.adapters.discord_bench import QUICK, Recorder, running, started
from tests.fakes.discord import DiscordFake
from tests.patience import until


async def test_a_frame_that_kills_the_library_is_parked_and_a_fresh_client_goes_on() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        fake.raw('{"op": 0, "t": "MESSAGE')
        await until(lambda: len(fake.identifies) == 2)
        fake.say("ann", "hello?")
        await until(lambda: door.texts() == ["hello?"])
        await until(lambda: heed.health().state == "ok")
        assert door.poison[0].raw == '{"op": 0, "t": "MESSAGE'


@pytest.mark.parametrize("code", [1000, 1001, 4000, 4007, None])
async def test_after_a_drop_the_session_resumes_and_nothing_is_missed(code: int | None) -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.drop(code)
        fake.say("ann", "meanwhile")
        await until(lambda: door.texts() == ["meanwhile"])
        await until(lambda: fake.resumed == 1)
        assert len(fake.identifies) == 1


async def test_a_session_declared_dead_is_followed_by_a_new_one_and_its_history() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.say("ann", "one")
        await until(lambda: door.texts() == ["one"])
        fake.invalidate()
        fake.say("ann", "two")
        await until(lambda: len(door.texts()) == 2 and len(fake.identifies) == 2)
        assert door.texts() == ["one", "two"]


async def test_an_order_to_reconnect_is_obeyed() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.reconnect()
        await until(lambda: fake.resumed == 1)
        fake.say("ann", "again")
        await until(door.texts)
        assert (door.texts(), len(fake.identifies)) == (["again"], 1)


async def test_a_gateway_that_answers_nothing_is_left_for_a_fresh_one() -> None:
    door = Recorder()
    pace = replace(QUICK, silence=0.6)
    async with (
        DiscordFake(heartbeat=150) as fake,
        running(fake, door, pace=pace) as heed,
    ):
        fake.silent = True
        await until(lambda: heed.health().state == "failing")
        assert heed.health().problem
        await until(lambda: len(fake.identifies) >= 2)
        fake.silent = False
        await until(lambda: heed.health().state == "ok")
        fake.say("ann", "back?")
        await until(lambda: door.texts() == ["back?"])


async def test_a_gateway_that_drops_every_identify_is_not_stormed() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        fake.closes = [4000] * 4
        async with running(fake, door):
            assert 2 <= len(fake.identifies) <= 40


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4004, "discord.token"),
        (4010, "discord.shards"),
        (4011, "discord.shards"),
        (4012, "discord.py"),
        (4013, "discord.py"),
    ],
)
async def test_a_refusal_for_good_stops_with_a_plain_sentence(code: int, words: str) -> None:
    alarms: list[str] = []
    async with DiscordFake() as fake:
        fake.closes = [code]
        async with started(fake, Recorder(), on_alarm=alarms.append) as heed:
            await until(lambda: alarms)
            health = heed.health()
            assert health.state == "failing"
            assert words in health.problem
            assert alarms == [health.problem]
            assert len(fake.identifies) == 1


async def test_nobody_is_warned_about_voice(caplog: pytest.LogCaptureFixture) -> None:
    async with DiscordFake() as fake, running(fake, Recorder()):
        pass
    assert "voice" not in caplog.text.lower()


async def test_a_wrong_token_is_told_once_and_tried_again_slowly() -> None:
    alarms: list[str] = []
    async with (
        DiscordFake() as fake,
        started(fake, Recorder(), token="wrong", on_alarm=alarms.append) as heed,
    ):
        await until(lambda: len(fake.called("GET /users/@me")) >= 3)
        assert len(alarms) == 1
        assert "discord.token" in heed.health().problem


async def test_watch_without_the_intent_falls_back_to_mentions_and_says_why() -> None:
    door, alarms = Recorder(), []
    async with DiscordFake(content_intent=False) as fake:
        more = {"mode": "watch", "watch": frozenset({fake.channel}), "on_alarm": alarms.append}
        async with running(fake, door, **more) as heed:
            fake.say("ann", "to nobody", channel=fake.channel)
            fake.say("ann", "to the bot", channel=fake.channel, mention=True)
            fake.say("ann", "in private")
            await until(lambda: len(door.messages) == 2)
            assert door.texts() == ["to the bot", "in private"]
            assert "Message Content Intent" in heed.health().problem
            assert len(alarms) == 1


@pytest.mark.parametrize("compression", ["zlib-stream", "zstd-stream", "none"])
async def test_every_compression_is_read(compression: str) -> None:
    asked = discord.utils._ActiveDecompressionContext.COMPRESSION_TYPE
    if compression not in {asked, "none"}:
        pytest.skip(f"this installation asks for {asked}")
    door = Recorder()
    async with DiscordFake() as fake:
        fake.plain = compression == "none"
        async with running(fake, door):
            fake.say("ann", "😀" * 500)
            await until(lambda: door.texts() == ["😀" * 500])
            assert fake.asked == [asked]


@pytest.mark.parametrize("code", [1001, 1011, 4001, 4002, 4003, 4005, 4008, 4009])
async def test_whatever_the_close_what_was_said_meanwhile_comes_once(code: int) -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.doubles = True
        fake.say("ann", "before")
        await until(lambda: door.texts() == ["before"])
        fake.drop(code)
        fake.say("ann", "meanwhile")
        await until(lambda: len(door.texts()) == 2)
        fake.say("ann", "after")
        await until(lambda: len(door.texts()) == 3)
        assert door.texts() == ["before", "meanwhile", "after"]


async def test_a_refused_resume_that_may_be_tried_again_is_tried_again() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door):
        fake.invalidate(resumable=True)
        fake.say("ann", "still there?")
        await until(door.texts)
        assert (door.texts(), len(fake.identifies)) == (["still there?"], 1)


async def test_a_heartbeat_that_is_asked_for_is_given_at_once() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()):
        await until(lambda: fake.beats)
        before = fake.beats
        fake.ask_heartbeat()
        await until(lambda: fake.beats == before + 1)


async def test_an_address_for_resuming_that_leads_nowhere_is_given_up() -> None:
    door = Recorder()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        nobody.listen(1)  # takes the line and never says a word
        async with DiscordFake(heartbeat=150) as fake:
            fake.resume_url = f"ws://127.0.0.1:{nobody.getsockname()[1]}/gateway"
            async with running(fake, door, pace=replace(QUICK, silence=0.6)) as heed:
                fake.say("ann", "before")
                await until(door.texts)
                fake.drop(4000)
                fake.say("ann", "meanwhile")
                await until(lambda: heed.health().state == "failing")
                await until(lambda: len(fake.identifies) == 2 and len(door.texts()) == 2)
                await until(lambda: heed.health().state == "ok")
                assert door.texts() == ["before", "meanwhile"]


async def test_a_gateway_that_spins_is_left_and_asked_less_and_less_often() -> None:
    async with DiscordFake() as fake:
        fake.closes = [4001] * 60
        async with started(fake, Recorder(), backoff=(0.2, 0.4, 0.8)) as heed:
            await until(lambda: len(fake.identifies) >= 3)
            before = len(fake.identifies)
            await asyncio.sleep(1.0)
            assert len(fake.identifies) - before < 20
            assert heed.health().state != "ok"


async def test_the_days_budget_of_sessions_is_not_spent_in_an_hour() -> None:
    async with DiscordFake() as fake:
        fake.closes = [4000] * 1000
        now = [1_000_000.0]
        async with started(fake, Recorder(), steady=lambda: now[0]) as heed:
            own = heed._supervisor
            own._sessions.extend([now[0]] * 500)
            assert own._pause(1) >= 300.0 * 0.8
            now[0] += 86_401.0
            assert own._pause(1) <= 0.05 * 1.2


async def test_odd_and_huge_events_hurt_nobody() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        early = {"id": "1500000000000000001", "channel_id": fake.dm("ann"), "type": 0}
        early |= {"author": fake._people[fake.person("ann")], "content": "early", "mentions": []}
        early |= {"timestamp": fake._now(), "edited_timestamp": None, "attachments": []}
        early |= {"embeds": [], "mention_roles": [], "pinned": False, "mention_everyone": False}
        early |= {"tts": False}
        fake.early = [json.dumps({"op": 0, "t": "MESSAGE_CREATE", "s": 2, "d": early})]
        for number in range(1000):
            fake.person(f"member {number}")
        async with running(fake, door):
            await until(lambda: door.texts() == ["early"])
            fake.raw(json.dumps({"op": 0, "t": "SOMETHING_NEW", "s": 90, "d": {"x": 1}}))
            fake.raw(json.dumps({"op": 0, "t": "ALSO_NEW", "s": 91, "d": {"x": "y" * (1 << 20)}}))
            fake.outage()
            fake.type_away("ann", fake.channel)
            fake.come("ben")
            fake.come("ben", gone=True)
            one, two = (fake.say("ann", text) for text in ("one", "two"))
            await until(lambda: len(door.texts()) == 3)
            fake.delete_many(fake.dm("ann"), one, two)
            await until(lambda: len(door.messages) == 5)
            assert {one.message_id for one in door.messages if one.kind == "deleted"} == {one, two}
            assert (len(fake.identifies), door.poison) == (1, [])


@pytest.mark.parametrize("sign", ["writes", "types"])
async def test_who_wrote_for_the_first_time_between_two_clients_is_heard_when_they_stir(
    sign: str,
) -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        async with running(fake, door):
            fake.say("ben", "known")
            await until(door.texts)
        fake.say("ann", "my first words ever")
        async with running(fake, door) as heed:
            client = await heed._rest.open()
            route = discord.http.Route("GET", "/users/@me/channels")
            assert await client.http.request(route) == []  # nobody tells a bot of the channel
            await asyncio.sleep(0.1)
            assert door.texts() == ["known"]
            if sign == "writes":
                fake.say("ann", "my second")
            else:
                fake.type_away("ann", fake.dm("ann"))
            wanted = ["known", "my first words ever", *(["my second"] * (sign == "writes"))]
            await until(lambda: door.texts() == wanted)
