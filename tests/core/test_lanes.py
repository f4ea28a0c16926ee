"""Lanes: in order within, at once across, nobody forgotten, nothing kept."""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from itertools import pairwise

import pytest

from core import lanes as module
from core.lanes import Lanes
from tests.patience import until


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.08)


class Work:
    """Pieces of work per lane, done one after the other."""

    def __init__(self, **pieces: list[str]) -> None:
        self.pieces = defaultdict(list, pieces)
        self.done: list[tuple[str, str]] = []
        self.now = 0
        self.most = 0
        self.in_lane: set[str] = set()

    async def __call__(self, lane: str) -> float | None:
        assert lane not in self.in_lane
        if not self.pieces[lane]:
            return None
        self.in_lane.add(lane)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.005)
        self.done.append((lane, self.pieces[lane].pop(0)))
        self.now -= 1
        self.in_lane.discard(lane)
        return 0.0


async def test_one_ring_does_all_that_a_lane_has_in_order() -> None:
    work = Work(a=["1", "2", "3"])
    lanes = Lanes("test", work)
    lanes.ring("a")
    await lanes.idle()
    assert work.done == [("a", "1"), ("a", "2"), ("a", "3")]


async def test_lanes_run_at_once_but_each_alone() -> None:
    work = Work(a=["1", "2"], b=["1", "2"], c=["1", "2"])
    lanes = Lanes("test", work)
    for _ in range(3):
        for lane in "abc":
            lanes.ring(lane)
    await lanes.idle()
    assert work.most == 3
    for lane in "abc":
        assert [piece for where, piece in work.done if where == lane] == ["1", "2"]


async def test_no_more_lanes_work_at_once_than_allowed() -> None:
    work = Work(**{name: ["1"] for name in "abcdefgh"})
    lanes = Lanes("test", work, most=2)
    for lane in "abcdefgh":
        lanes.ring(lane)
    await lanes.idle()
    assert work.most == 2
    assert len(work.done) == 8


async def test_a_ring_during_work_makes_the_lane_look_once_more() -> None:
    looked, gate = [], asyncio.Event()

    async def work(lane: str) -> float | None:
        looked.append(lane)
        await gate.wait()
        return None

    lanes = Lanes("test", work)
    lanes.ring("a")
    await until(lambda: looked)
    lanes.ring("a")
    lanes.ring("a")
    gate.set()
    await lanes.idle()
    assert looked == ["a", "a"]


async def test_a_lane_that_must_wait_looks_again_by_itself_or_when_rung() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(_lane: str) -> float | None:
        times.append(loop.time())
        return {1: 0.05, 2: 30.0}.get(len(times))

    lanes = Lanes("test", work)
    lanes.ring("a")
    await until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.045
    lanes.ring("a")
    await lanes.idle()
    assert len(times) == 3


async def test_what_fails_is_tried_again_after_growing_pauses() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(_lane: str) -> float | None:
        times.append(loop.time())
        if len(times) < 9:
            raise RuntimeError("boom")
        return None

    lanes = Lanes("test", work)
    lanes.ring("a")
    await lanes.idle()
    pauses = [after - before for before, after in pairwise(times)]
    assert len(pauses) == 8
    for pause, least in zip(pauses, (0.02, 0.04, *[0.08] * 6), strict=True):
        assert pause >= least * 0.9
    assert min(pauses[4:]) < 0.3  # without a longest pause they would be 0.32, 0.64 and so on


async def test_a_failing_lane_does_not_hold_up_another_nor_keep_a_slot() -> None:
    done = []

    async def work(lane: str) -> float | None:
        if lane == "bad":
            raise RuntimeError("boom")
        done.append(lane)
        return None

    lanes = Lanes("test", work, most=1)
    lanes.ring("bad")
    lanes.ring("good")
    await until(lambda: done == ["good"])
    assert lanes.busy == 1
    await lanes.close()


async def test_an_idle_lane_is_gone() -> None:
    work = Work()
    lanes = Lanes("test", work)
    for number in range(500):
        work.pieces[str(number)] = ["1"]
        lanes.ring(str(number))
    assert lanes.busy == 500
    await lanes.idle()
    assert lanes.busy == 0
    assert not lanes._bells
    gc.collect()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("test ")]


async def test_the_sweep_rings_what_was_forgotten_and_outlives_its_own_faults() -> None:
    work = Work(a=["1"], b=["2"])
    lanes = Lanes("test", work)
    rounds = 0

    async def find() -> list[str]:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise RuntimeError("the database is locked")
        return ["a"] if rounds == 2 else ["b"] if rounds == 3 else []

    sweep = asyncio.create_task(lanes.sweep(find, every=0.01))
    await until(lambda: len(work.done) == 2)
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)
    assert work.done == [("a", "1"), ("b", "2")]
    await lanes.close()


async def test_closing_stops_every_lane_and_later_rings_do_nothing() -> None:
    begun, stopped = [], []

    async def work(lane: str) -> float | None:
        begun.append(lane)
        try:
            await asyncio.sleep(30)
        finally:
            stopped.append(lane)
        return None

    lanes = Lanes("test", work)
    lanes.ring("a")
    lanes.ring("b")
    await until(lambda: len(begun) == 2)
    await lanes.close()
    assert sorted(stopped) == ["a", "b"]
    lanes.ring("c")
    assert lanes.busy == 0


async def test_of_a_crowd_a_few_are_at_work_and_leave_room_for_others() -> None:
    names = [f"raider{n}" for n in range(40)]
    work = Work(**{name: ["piece"] for name in (*names, "ann")})
    lanes = Lanes("test", work)
    for name in names:
        lanes.ring(name, crowd="raided chat")
    lanes.ring("ann")
    await lanes.idle()
    order = [lane for lane, _ in work.done]
    assert order.index("ann") <= module.ABREAST
    assert sorted(order) == sorted([*names, "ann"])
    gc.collect()
    assert not lanes._crowds
