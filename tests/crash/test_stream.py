"""Killed in the middle of a reply that grows in a group: the next life goes on with its message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import Zygote, run_all, until
from tests.crash.home import Home
from tests.crash.judge import Case
from tests.crash.stages import DiscordStage, TelegramStage
from tests.crash.zygote import LENGTH

ASKED = "how do I pay? k01"
BEGUN = "My answer to k01 is this."


@pytest.mark.parametrize("make", [TelegramStage, DiscordStage])
async def test_the_next_life_goes_on_with_the_message_that_was_begun(
    zygote: Zygote, tmp_path: Path, make: type[TelegramStage | DiscordStage]
) -> None:
    async with make() as stage:
        home, chat = Home(zygote, tmp_path, **stage.settings()), stage.chat("fay")
        async with home.life(stage.child, pace=0.05):
            assert await until(stage.taken)
            stage.speak("fay", ASKED)
            assert await until(lambda: any(BEGUN in one.text for one in stage.lines(chat)))
            stage.child.kill()
        [before] = stage.lines(chat)
        assert home.streaming()
        async with home.life(stage.child):
            assert await home.idle(1)
        [after] = stage.lines(chat)
        assert after.id == before.id
        assert after.text.startswith(BEGUN)
        assert after.text.count(".") == LENGTH
        assert [state for state, _ in home.posts("reply")] == ["sent"]


@pytest.mark.parametrize("make", [TelegramStage, DiscordStage])
async def test_killed_around_the_commit_of_its_message(
    zygote: Zygote, tmp_path: Path, make: type[TelegramStage | DiscordStage]
) -> None:
    points = ("before stream id commit", "after stream id commit")
    cases = [Case(point=point, hit=hit) for point in points for hit in (1, 2)]
    outcome = await run_all(zygote, make, tmp_path, cases)
    assert outcome.violations == []
    assert outcome.killed >= len(cases) // 2


@pytest.mark.parametrize("hit", [1, 4])
async def test_killed_around_an_edit(zygote: Zygote, tmp_path: Path, hit: int) -> None:
    call = "PATCH /channels/*/messages/*"
    cases = [Case(call=call, after=after, hit=hit) for after in (False, True)]
    outcome = await run_all(zygote, DiscordStage, tmp_path, cases)
    assert outcome.violations == []
