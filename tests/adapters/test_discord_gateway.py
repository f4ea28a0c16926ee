from __future__ import annotations

from dataclasses import replace

import pytest

from tests.adapters.discord_bench import QUICK, Recorder, running, started, until
from tests.fakes.discord import DiscordFake


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
    ("code", "words"), [(4004, "discord.token"), (4011, "take it out"), (4013, "discord.py")]
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
