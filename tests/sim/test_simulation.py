"""A whole Heed in worlds that seeds have drawn: whatever happens, I1 to I9 hold."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from core import delivery, lanes
from core.store import Connection, intake, outbox, receipts, streams
from core.store.outbox import Claim
from core.tables import outbox as outbox_table
from tests.core.ground import opened, said
from tests.proof import Ledger
from tests.sim.platform import SimAdapter
from tests.sim.play import played
from tests.sim.weather import weather
from tests.sim.world import World

SHORT, PARTS, SIZE = 180_000, 18, 2000  # messages of `make test`, tests, messages of one world;
# with those of the kept seeds 200,000 and more
LONG = 4_000_000  # messages of `make proof`
FIRST = 1000  # the first seed
KEPT = tomllib.loads(Path(__file__).with_name("seeds.toml").read_text("utf-8"))["kept"]


def _play(seeds: Iterator[int], messages: int, size: int = SIZE) -> tuple[Counter[str], list[str]]:
    """Play worlds until so many messages were said."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    while counts["messages"] < messages:
        seed = next(seeds)
        world = played(weather(seed, size))
        counts += world.counts
        counts["messages"] += len(world.said)
        counts["seeds"] += 1
        broken += _told(world, size)
    return counts, broken


def _told(world: World, size: int) -> list[str]:
    """Say of everything that is broken how to see it again."""
    again = f"python -m tests.sim {world.weather.seed} {size} -v"
    return [f"{sentence} (again: {again})" for sentence in world.broken[:3]]


def _size(counts: Counter[str]) -> str:
    return (
        f"{counts['messages']:,} messages, {counts['seeds']} seeds,"
        f" {counts['virtual seconds'] / 3600:.1f} virtual hours, {counts['restarts']} restarts,"
        f" {counts['faults']} times of trouble, {counts['lost rings']} rings lost"
    )


@pytest.mark.proof_short
@pytest.mark.parametrize("part", range(4))
def test_seeds_that_have_found_something(proof: Ledger, part: int) -> None:
    broken: list[str] = []
    counts: Counter[str] = Counter()
    for kept in KEPT[part::4]:
        world = played(weather(kept["seed"], kept["messages"]))
        counts += world.counts
        counts["messages"] += len(world.said)
        counts["seeds"] += 1
        broken += _told(world, kept["messages"])
    what = f"seeds that once found something, part {part + 1} of 4"
    proof("simulation", what, _size(counts), broken)


@pytest.mark.proof_short
@pytest.mark.parametrize("part", range(PARTS))
def test_new_seeds(proof: Ledger, part: int) -> None:
    seeds = iter(range(FIRST + part * 1000, FIRST + part * 1000 + 1000))
    counts, broken = _play(seeds, SHORT // PARTS)
    proof(
        "simulation",
        f"a whole Heed in virtual time, part {part + 1} of {PARTS}",
        _size(counts),
        broken,
        seed=f"{FIRST + part * 1000}-{next(seeds) - 1}",
    )


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(8))
def test_millions(proof: Ledger, part: int) -> None:
    first = 1_000_000 * (part + 1)
    seeds = iter(range(first, first + 1_000_000))
    counts, broken = _play(seeds, proof.share(LONG // 8))
    proof(
        "simulation",
        f"a whole Heed in virtual time, long part {part + 1} of 8",
        _size(counts),
        broken,
        seed=f"{first}-{next(seeds) - 1}",
    )


def test_one_seed_is_one_trace_in_another_process_too() -> None:
    script = (
        "from tests.sim.weather import weather; from tests.sim.play import played;"
        "print([played(weather(seed, 200)).digest for seed in (21, 22, 24)])"
    )
    here = str([played(weather(seed, 200)).digest for seed in (21, 22, 24)])
    other = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "4711"},  # noqa: TID251 - for the child
        cwd=Path(__file__).parents[2],
    )
    assert other.stdout.strip() == here
    assert len(set(here.split(", "))) == 3


# --- the judge: what is broken on purpose is found ------------------------------------------------


def _found(seeds: range, size: int = 300) -> str:
    """Return what the judge says of the first of these seeds in which something is broken."""
    for seed in seeds:
        broken = played(weather(seed, size)).broken
        if broken:
            return "\n".join(broken)
    return ""


def test_a_lost_ring_without_a_sweep_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_self: Any, find: Any, *, every: float = 20.0) -> None:  # noqa: ARG001
        for lane in await find():
            _self.ring(lane)

    monkeypatch.setattr(lanes.Lanes, "sweep", never)
    assert "nobody looked at" in _found(range(30, 60))


def test_an_answer_that_is_sent_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimAdapter, "repeatable", lambda _self, _post: True)
    assert "is shown 2 times" in _found(range(30, 70))


def test_a_machine_that_talks_over_a_human_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_may_leave", lambda _row: "queued")
    monkeypatch.setattr("core.store.desk.silence", lambda *_: [], raising=False)
    monkeypatch.setattr(streams, "silence", lambda *_: [])
    assert "was claimed while" in _found(range(30, 90), 500)


def test_an_outcome_that_is_not_written_down_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(_connection: Connection, **_values: Any) -> tuple[bool, tuple[()]]:
        return True, ()

    monkeypatch.setattr(receipts, "sent", forgets)
    found = _found(range(30, 40))
    assert "for no reason" in found or "is sending" in found


def test_a_message_that_is_never_set_aside_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.store.turns.TRIES", 10**9)
    assert "never ends" in _found(range(30, 70))


def test_a_reply_that_is_begun_in_vain_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keeps(_writer: Any, _started: Any) -> None:
        """Leave it in its slot."""

    monkeypatch.setattr("core.hearing.take_back", keeps)
    found = _found(range(30, 70))
    assert "hold a slot of the model" in found or "never ends" in found


def test_a_clock_that_is_put_back_makes_nobody_wait(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        ground.take(said(1, "question"))
        ground.answer(ground.begin(), "answer")
        claim = ground.claim()
        assert isinstance(claim, Claim)
        ground.later(claim.post, 20.0)
        ground.take(said(2, "another"))
        ground.now -= 3600.0
        due = ground.store.read_now(lambda c: receipts.open_lanes(c, ground.now, 10.0))
        since, ahead = ground.now - 10.0, ground.now + 10.0
        assert ground.store.read_now(lambda c: intake.waiting(c, since, ahead)) == [1]
        assert due == [("person", 1)]
        assert ground.claim() == pytest.approx(20.0)
        ground.now += 25.0
        again = ground.claim()
        assert isinstance(again, Claim)
        assert again.post.age == pytest.approx(25.0)


def test_posts_that_overtake_each_other_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def youngest_first(connection: Connection, lane: Any, now: float) -> Claim | float | None:
        """Claim as if everything but the lane's youngest line were held."""
        which, of = lane
        staff = outbox_table.c.staff_thread_id
        mine = staff == of if which != "person" else outbox_table.c.conversation_id == of
        theirs = staff.is_(None) if which == "person" else staff.is_not(None)
        queued = (mine, theirs, outbox_table.c.state == "queued")
        line = outbox_table.c.kind.in_(("reply", "notice", "relay"))
        last = connection.execute(select(func.max(outbox_table.c.id)).where(*queued, line)).scalar()
        hide = update(outbox_table).where(*queued, outbox_table.c.id < (last or 0))
        connection.execute(hide.values(state="held"))
        result = claim(connection, lane, now)
        held = update(outbox_table).where(mine, theirs, outbox_table.c.state == "held")
        connection.execute(held.values(state="queued"))
        return result

    claim = outbox.claim
    monkeypatch.setattr(outbox, "claim", youngest_first)
    assert delivery.outbox.claim is youngest_first
    assert "stands before" in _found(range(30, 60))
