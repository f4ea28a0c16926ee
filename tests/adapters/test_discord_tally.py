from __future__ import annotations

import pytest

from adapters.discord.tally import MANY, TOO_MANY, WINDOW, Tally
from core.errors import RetryAfter, Unreachable
from tests.adapters.discord_bench import Recorder, adapter, keep, post
from tests.fakes.discord import DiscordFake


def test_the_operator_is_told_once_in_ten_minutes_and_only_of_refusals() -> None:
    now, alarms = [1000.0], list[str]()
    tally = Tally(lambda: now[0], alarms.append)
    for _ in range(MANY):
        tally.count(200)
        tally.count(404)
    assert alarms == []
    for _ in range(MANY * 2):
        tally.count(403)
    assert len(alarms) == 1
    now[0] += WINDOW
    tally.count(403)
    assert len(alarms) == 1  # those were ten minutes ago
    for _ in range(MANY):
        tally.count(429)
    assert len(alarms) == 2


def test_before_the_ban_nothing_more_is_sent_until_the_oldest_are_forgotten() -> None:
    now = [1000.0]
    tally = Tally(lambda: now[0], lambda _: None)
    for _ in range(TOO_MANY):
        tally.count(401)
    now[0] += 100.0
    with pytest.raises(RetryAfter) as waits:
        tally.check()
    assert waits.value.seconds == WINDOW - 100.0
    now[0] += WINDOW - 100.0
    tally.check()


async def test_refusals_of_a_real_connection_are_counted() -> None:
    async with DiscordFake() as fake:
        heed = adapter(fake, Recorder())
        fake.denied.add((fake.desk, "view"))
        for _ in range(3):
            with pytest.raises(Unreachable):
                await heed.deliver(post(fake.desk), keep)
        await heed.deliver(post(fake.channel), keep)
        assert len(heed._rest._tally._times) == 3
        await heed._rest.close()
