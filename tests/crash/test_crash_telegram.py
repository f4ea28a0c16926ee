"""Telegram: killed twice at the same step, then left to finish."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import POINTS, Zygote, run, run_all
from tests.crash.judge import Case, Database, judge
from tests.crash.stages import Line, Talk, TelegramStage

CALLS = ("sendMessage", "editMessageText", "createForumTopic", "sendMessageDraft", "confirm")
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
    outcome = await run_all(zygotes, TelegramStage, tmp_path, at_steps(QUICK))
    assert outcome.violations == []
    assert outcome.killed >= len(POINTS) * 2  # the points exist, and are passed


@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_said_twice_at_any_call(
    zygotes: list[Zygote], tmp_path: Path
) -> None:
    outcome = await run_all(zygotes, TelegramStage, tmp_path, at_calls((1,)))
    assert outcome.violations == []
    assert outcome.killed >= len(CALLS) * 2


async def test_what_staff_say_reaches_the_person_once(
    zygotes: list[Zygote], tmp_path: Path
) -> None:
    cases = [
        Case(point="before intake commit", staff=True),
        Case(point="after intake commit", hit=2, staff=True),
        Case(point="after send claim", hit=2, staff=True),
        Case(point="before sent commit", hit=3, staff=True),
        Case(call="sendMessage", after=True, hit=2, staff=True),
        Case(call="editMessageText", hit=1, staff=True),
    ]
    outcome = await run_all(zygotes, TelegramStage, tmp_path, cases)
    assert outcome.violations == []
    assert outcome.killed >= len(cases)


async def test_the_judge_sees_what_is_wrong(zygotes: list[Zygote], tmp_path: Path) -> None:
    """A matrix without violations says something only if its judge can find one."""
    case = Case(kills=0)
    talk = Talk()
    async with TelegramStage() as stage:
        outcome = await run(zygotes[0], stage, tmp_path, case, talk)
        assert outcome.violations == []
        assert not any(line.text == "…" for line in stage.lines(stage.chat("ann")))
        database = Database(tmp_path / "heed.db")
        first, second = stage.lines(stage.chat("ann"))[:2]
        ann = stage.chats[stage.ids["ann"]]

        ann.messages[999] = ann.messages[int(first.id)] | {"message_id": 999}
        again = judge(stage, database, talk, case)
        assert any("was answered 2 times" in one for one in again.twice)
        assert any("no row explains" in one for one in again.twice)
        assert again.reordered

        del ann.messages[999], ann.messages[int(second.id)]
        gone = judge(stage, database, talk, case)
        assert any("nobody sees" in one for one in gone.lost)
        assert gone.unanswered
        assert Line(first.id, first.text) in stage.lines(stage.chat("ann"))


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_every_hit_of_every_step_and_call(zygotes: list[Zygote], tmp_path: Path) -> None:
    cases = [*at_steps(EVERY), *at_calls(EVERY)]
    outcome = await run_all(zygotes, TelegramStage, tmp_path, cases)
    assert outcome.violations == [], outcome.row()
    assert outcome.killed >= len(cases)
