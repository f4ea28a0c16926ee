"""Killed twice at the same step, then left to finish: every step of every scene, every policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.crash.harness import POINTS, Zygote, run_all
from tests.crash.judge import Case, Outcome
from tests.crash.matrix import Survey, ends, every, first, points_of, survey, three
from tests.crash.scenes import DESK, FULL, SHORT, Scene
from tests.crash.stages import DiscordStage, Stage, TelegramStage
from tests.crash.web import visit_all
from tests.proof import Ledger

Make = Callable[[], Stage]
POLICY = {TelegramStage: "placeholder and never_twice", DiscordStage: "nonce"}
SAID = {"short": "a talk", "full": "a long talk", "desk": "a case at the desk"}
BOTH = pytest.mark.parametrize("make", [TelegramStage, DiscordStage])
ALL_PLAIN = ("notice", "relay", "card", "context", "ping", "transcript")
LATER = 150.0  # seconds: a nonce is too old by then


def enter(proof: Ledger, make: Make, what: str, outcome: Outcome, seed: object = "-") -> None:
    name = make.__name__.removesuffix("Stage")
    proof("crash", f"{name}: {what}", outcome.size(), outcome.violations, seed=seed)


async def at_every_point(
    zygote: Zygote, folder: Path, make: Make, like: Case, hits: Callable[[int], Iterable[int]]
) -> tuple[Survey, Outcome]:
    found = await survey(zygote, make, folder / "survey", like.scene)
    return found, await run_all(zygote, make, folder, found.cases(hits, like))


@pytest.mark.proof_short
@pytest.mark.timeout(600)
@BOTH
@pytest.mark.parametrize("scene", [SHORT, DESK], ids=lambda scene: scene.name)
async def test_nothing_is_lost_or_said_twice_at_any_step(
    zygote: Zygote, folder: Path, proof: Ledger, make: Make, scene: Scene
) -> None:
    hits = first if scene is DESK else ends if make is TelegramStage else three
    found, outcome = await at_every_point(zygote, folder, make, Case(scene=scene), hits)
    enter(proof, make, f"killed twice at each step of {SAID[scene.name]}, {POLICY[make]}", outcome)
    assert outcome.killed >= outcome.cases  # what a start alone comes past is killed once
    if scene is SHORT:
        unseen = {"before stream id commit", "after stream id commit"}  # where a group is slow
        assert {*POINTS} - {*found.points} <= unseen


def lonely(hits: Iterable[int], **more: Any) -> list[Case]:
    """Return the cases in which nobody knows whether a post arrived."""
    points = ("after send claim", "before sent commit")
    return [Case(scene=DESK, point=point, hit=hit, **more) for point in points for hit in hits]


@pytest.mark.proof_short
@pytest.mark.timeout(400)
async def test_at_least_once_by_the_operators_choice(
    zygote: Zygote, folder: Path, proof: Ledger
) -> None:
    """What may or may not have arrived is sent again: seen twice perhaps, missing never."""
    calls = [
        Case(scene=scene, call="sendMessage", after=after, hit=hit, repeat=ALL_PLAIN)
        for scene, after, hit in (
            *((DESK, True, hit) for hit in (2, 3, 4, 6, 8)),
            *((SHORT, True, hit) for hit in (3, 5)),
            *((DESK, False, hit) for hit in (3, 7)),
        )
    ]
    cases = [*lonely((2, 5, 9, 13), repeat=ALL_PLAIN), *calls]
    outcome = await run_all(zygote, TelegramStage, folder, cases)
    enter(proof, TelegramStage, "the same, at_least_once for all plain kinds", outcome)
    assert outcome.repeated > 0


@pytest.mark.proof_short
@pytest.mark.timeout(400)
async def test_a_nonce_that_is_too_old_is_flagged_and_not_sent_again(
    zygote: Zygote, folder: Path, proof: Ledger
) -> None:
    post = "POST /channels/*/messages"
    calls = [
        Case(scene=scene, call=post, after=after, hit=hit, gap=LATER)
        for scene, after, hit in (
            *((SHORT, True, hit) for hit in (1, 2, 3, 5)),
            *((SHORT, False, hit) for hit in (2, 4)),
            *((DESK, True, hit) for hit in (2, 5)),
        )
    ]
    outcome = await run_all(zygote, DiscordStage, folder, [*lonely((2, 5), gap=LATER), *calls])
    what = "the same minutes later, when the platform has forgotten its nonces"
    enter(proof, DiscordStage, what, outcome)
    assert outcome.flagged > 0


def at_random(seeds: range, **more: Any) -> list[Case]:
    """Two kills each; every other case is answered by the phrase book, as after an installation."""
    return [Case(seed=seed, engine=("echo", "phrases")[seed % 2], **more) for seed in seeds]


@pytest.mark.proof_short
@pytest.mark.timeout(400)
@BOTH
async def test_killed_at_any_time_at_all(
    zygote: Zygote, folder: Path, proof: Ledger, make: Make
) -> None:
    """During the making of the database, the start, a turn, a send, or the catching up."""
    seeds = range(30) if make is TelegramStage else range(56)
    outcome = await run_all(zygote, make, folder, at_random(seeds))
    what = f"killed twice at random times, {POLICY[make]}"
    enter(proof, make, what, outcome, f"0-{seeds.stop - 1}")
    assert outcome.killed >= 15


async def web_survey(zygote: Zygote, folder: Path) -> Survey:
    """Find the points that people at the page come past."""
    folder.mkdir()  # noqa: ASYNC240
    case = Case(kills=0, trace=str(folder / "trace"))
    outcome = await visit_all(zygote, folder, [case])
    assert not outcome.violations, outcome.violations
    return Survey(points_of(Path(case.trace)), {})


@pytest.mark.proof_short
@pytest.mark.timeout(400)
async def test_over_the_web_nothing_is_lost_or_answered_twice(
    zygote: Zygote, folder: Path, proof: Ledger
) -> None:
    found = await web_survey(zygote, folder / "survey")
    outcome = await visit_all(zygote, folder, found.cases(three, Case()))
    proof("crash", "Web: killed twice at each step of a talk", outcome.size(), outcome.violations)
    assert outcome.killed >= outcome.cases  # what a start alone comes past is killed once


@pytest.mark.proof
@pytest.mark.timeout(36_000)
async def test_over_the_web_at_every_hit(zygote: Zygote, folder: Path, proof: Ledger) -> None:
    found = await web_survey(zygote, folder / "survey")
    cases = found.cases(every, Case(pictures=True))
    outcome = await visit_all(zygote, folder, cases * max(1, proof.share(10)))
    proof("crash", "Web: each of 7 times at each step", outcome.size(), outcome.violations)


@pytest.mark.proof
@pytest.mark.timeout(36_000)
@BOTH
@pytest.mark.parametrize("scene", [FULL, DESK], ids=lambda scene: scene.name)
async def test_every_hit_of_every_step(
    zygote: Zygote, folder: Path, proof: Ledger, make: Make, scene: Scene
) -> None:
    like = Case(scene=scene, pictures=True)
    found = await survey(zygote, make, folder / "survey", scene)
    cases = found.cases(every, like)
    cases = cases[:: max(1, len(cases) // proof.share(len(cases)))]
    outcome = await run_all(zygote, make, folder, cases)
    enter(proof, make, f"each of 7 times at each step of {SAID[scene.name]}", outcome)
    assert outcome.killed >= outcome.cases


@pytest.mark.proof
@pytest.mark.timeout(36_000)
@BOTH
async def test_unknown_outcomes_at_every_hit(
    zygote: Zygote, folder: Path, proof: Ledger, make: Make
) -> None:
    choice: dict[str, Any] = (
        {"repeat": ALL_PLAIN} if make is TelegramStage else {"gap": LATER, "pictures": True}
    )
    cases = lonely(range(1, 28), **choice)
    cases += [replace(case, scene=FULL) for case in cases]
    outcome = await run_all(zygote, make, folder, cases)
    what = "at_least_once" if make is TelegramStage else "old nonces"
    enter(proof, make, f"every send broken off, {what}", outcome)


@pytest.mark.proof
@pytest.mark.timeout(100_000)
@BOTH
@pytest.mark.parametrize("part", range(8))
async def test_ten_thousand_pairs_of_kills(
    zygote: Zygote, folder: Path, proof: Ledger, make: Make, part: int
) -> None:
    begin = 1_000 + 10_000 * part
    seeds = range(begin, begin + proof.share(1_200))
    scenes = (SHORT, FULL, SHORT, DESK)
    cases = [
        case for s in seeds for case in at_random(range(s, s + 1), scene=scenes[s % len(scenes)])
    ]
    outcome = await run_all(zygote, make, folder, cases)
    what = f"killed twice at random times, part {part + 1}"
    enter(proof, make, what, outcome, f"{seeds.start}-{seeds.stop - 1}")
    assert outcome.killed >= outcome.cases // 2
