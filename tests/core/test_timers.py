"""What is to happen at a time: moved, never doubled; carried out once; there after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import timers
from core.tables import timer
from tests.core.desk_chat import act, lay_out
from tests.core.ground import Ground, opened


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        made.open_case()
        made.do(lambda c: c.execute(timer.delete()))
        yield made


def put(ground: Ground, kind: str, due_at: float, **more: object) -> None:
    ground.do(timers.put, kind=kind, due_at=due_at, **more)


def due(ground: Ground, now: float) -> list[str]:
    return [row.kind for row in ground.store.read_now(lambda c: timers.due(c, now))]


def test_a_timer_that_stands_is_moved(ground: Ground) -> None:
    put(ground, "snooze", 10.0, case_id=1)
    put(ground, "snooze", 20.0, case_id=1)
    put(ground, "ranked", 30.0)
    put(ground, "ranked", 40.0)
    put(ground, "calm", 50.0, subject="1")
    put(ground, "calm", 60.0, subject="2")
    assert [(row.kind, row.due_at) for row in ground.rows(timer)] == [
        ("snooze", 20.0),
        ("ranked", 40.0),
        ("calm", 50.0),
        ("calm", 60.0),
    ]


def test_a_state_brings_its_timers_and_leaves_those_of_other_matters(ground: Ground) -> None:
    put(ground, "t1", 5.0, case_id=1)
    put(ground, "resolve", 100.0, case_id=1)
    put(ground, "ranked", 100.0)
    ground.do(timers.only, case_id=1, wanted={"inactive": 50.0})
    assert ground.timers() == {"resolve": 100.0, "inactive": 50.0}
    assert ground.timers(None) == {"ranked": 100.0}


def test_what_is_due_comes_by_its_time(ground: Ground) -> None:
    put(ground, "t2", 20.0, case_id=1)
    put(ground, "t1", 10.0, case_id=1)
    put(ground, "t3", 30.0, case_id=1)
    assert due(ground, 9.9) == []
    assert due(ground, 20.0) == ["t1", "t2"]
    assert ground.store.read_now(timers.next_due) == 10.0


def test_a_timer_is_taken_once_and_not_after_it_was_moved(ground: Ground) -> None:
    put(ground, "t1", 10.0, case_id=1)
    [row] = ground.rows(timer)
    assert not ground.do(timers.take, timer_id=row.id, due_at=9.0)
    assert ground.do(timers.take, timer_id=row.id, due_at=10.0)
    assert not ground.do(timers.take, timer_id=row.id, due_at=10.0)
    assert ground.store.read_now(timers.next_due) is None


def test_a_timer_of_no_case_is_known_to_run(ground: Ground) -> None:
    put(ground, "ranked", 10.0)
    put(ground, "t1", 10.0, case_id=1)

    def runs(kind: str, **more: str) -> bool:
        return bool(ground.store.read_now(lambda c: timers.runs(c, kind, **more)))

    assert runs("ranked")
    assert not runs("ranked", subject="1")
    assert not runs("t1")


async def test_a_restart_loses_no_timer_and_repeats_none(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        lay_out(first)
        await act(first, "snooze", text="1h")
        before = first.timers()
    with opened(tmp_path) as second:
        assert second.timers() == before
        second.now = before["snooze"]
        await second.clockwork().tick()
        assert second.case().state == "queued"
        assert "snooze" not in second.timers()
    with opened(tmp_path) as third:
        third.now = before["snooze"] + 1
        version = third.conversation().version
        await third.clockwork().tick()
        assert third.conversation().version == version
