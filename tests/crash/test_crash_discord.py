"""Discord: killed twice at the same step, then left to finish."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import POINTS, Zygote, run_all
from tests.crash.judge import Case
from tests.crash.stages import DiscordStage

CALLS = (
    "POST /channels/*/messages",
    "POST /channels/*/threads",
    "GET /channels/*/messages",
    "PUT /applications/*/commands",
)
QUICK, EVERY = (1, 3), range(1, 8)


def at_steps(hits: range | tuple[int, ...]) -> list[Case]:
    return [Case(point=point, hit=hit) for point in POINTS for hit in hits]


def at_calls(hits: range | tuple[int, ...]) -> list[Case]:
    return [
        Case(call=call, after=after, hit=hit)
        for call in CALLS
        for after in (False, True)
        for hit in hits
    ]


@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_said_twice_at_any_step(
    zygotes: list[Zygote], tmp_path: Path
) -> None:
    outcome = await run_all(zygotes, DiscordStage, tmp_path, at_steps(QUICK))
    assert outcome.violations == []
    assert outcome.killed >= len(POINTS) * 2  # the points exist, and are passed


@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_said_twice_at_any_call(
    zygotes: list[Zygote], tmp_path: Path
) -> None:
    outcome = await run_all(zygotes, DiscordStage, tmp_path, at_calls((1,)))
    assert outcome.violations == []
    assert outcome.killed >= len(CALLS) * 2


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_every_hit_of_every_step_and_call(zygotes: list[Zygote], tmp_path: Path) -> None:
    cases = [*at_steps(EVERY), *at_calls(EVERY)]
    outcome = await run_all(zygotes, DiscordStage, tmp_path, cases)
    assert outcome.violations == [], outcome.row()
    assert outcome.killed >= len(cases)
