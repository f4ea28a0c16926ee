"""Killed at any time at all: during the start, the intake, a turn, a send, or the catching up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.harness import Zygote, run_all
from tests.crash.judge import Case
from tests.crash.stages import DiscordStage, Stage, TelegramStage

STAGES = pytest.mark.parametrize("stage", [TelegramStage, DiscordStage])


def at_random(seeds: range) -> list[Case]:
    """Two kills each; every other case is answered by the phrase book, as after an installation."""
    return [Case(seed=seed, engine=("echo", "phrases")[seed % 2]) for seed in seeds]


@pytest.mark.timeout(400)
@STAGES
async def test_eight_pairs_of_kills(
    zygotes: list[Zygote], tmp_path: Path, stage: Callable[[], Stage]
) -> None:
    outcome = await run_all(zygotes, stage, tmp_path, at_random(range(8)))
    assert outcome.violations == []
    assert outcome.killed >= 8


@pytest.mark.proof
@pytest.mark.timeout(7200)
@STAGES
async def test_five_hundred_pairs_of_kills(
    zygotes: list[Zygote], tmp_path: Path, stage: Callable[[], Stage]
) -> None:
    outcome = await run_all(zygotes, stage, tmp_path, at_random(range(100, 600)))
    assert outcome.violations == [], outcome.row()
    assert outcome.killed >= 500
