"""Many people at once: memory, tasks and files stay bounded, and one who floods slows nobody else.

The walk is real, on a real file; the model answers from a script and the platform takes all.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from bot.bench.pipeline_house import House, living
from core.engine.scripted import ScriptedEngine
from core.message import Arrival, Author, ConversationKey, Message
from core.store import intake
from tests.proof import Ledger

MIB = 1024 * 1024
WINDOW = 24  # people who write at the same time
GROWTH = 5.0  # MiB
READERS = 2  # connections that a pool may still open, when two read at once for the first time
TURNS = 5  # of measuring alone, then beside a flood
CALM = 50  # people beside a flood:
RATE, FLOOD = 0.15, 0.36  # what they write, and the one who floods, of what can be answered here


@dataclass(frozen=True)
class Held:
    """What the process holds while nobody is being answered."""

    memory: float  # MiB resident
    tasks: int
    files: int


def held(house: House) -> Held:
    engine = house.app.mind.engine
    assert isinstance(engine, ScriptedEngine)
    engine.log.clear()  # a script remembers whatever it was asked
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return Held(
        memory=pages * os.sysconf("SC_PAGE_SIZE") / MIB,
        tasks=len(asyncio.all_tasks()),
        files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
    )


async def everybody(house: House, people: int, rounds: int) -> None:
    """Let everybody write `rounds` messages, each after the answer to the one before."""

    def parts() -> Iterator[range]:
        for _ in range(rounds):
            for first in range(0, people, WINDOW):
                yield range(first, min(first + WINDOW, people))

    for some in parts():
        await asyncio.gather(*(house.say(person) for person in some))
    await house.idle()


async def soaked(folder: Path, people: int, rounds: int) -> tuple[list[str], str]:
    """Return what is wrong after `rounds` messages of each, and the figures in words."""
    async with living(folder / "soak.db") as house:
        await everybody(house, people, rounds // 2)
        half = held(house)
        await everybody(house, people, rounds - rounds // 2)
        end = held(house)
        lanes = house.app.turns.busy + house.app.posts.busy
    grown = end.memory - half.memory
    wrong = [
        words
        for words, bad in (
            (f"memory grew by {grown:.1f} MiB in the second half", grown >= GROWTH),
            (f"{half.tasks} tasks became {end.tasks}", end.tasks > half.tasks),
            (f"{half.files} open files became {end.files}", end.files > half.files + READERS),
            (f"{lanes} lanes without work are still there", lanes > 0),
        )
        if bad
    ]
    size = f"{people:,} conversations, {people * rounds:,} messages: {grown:+.1f} MiB"
    return wrong, size


@pytest.mark.proof_short
async def test_a_short_soak_leaves_nothing_behind(tmp_path: Path, proof: Ledger) -> None:
    wrong, size = await soaked(tmp_path, 300, 6)
    proof("load", "memory, tasks and files of the second half of a soak, short", size, wrong)


@pytest.mark.proof
@pytest.mark.timeout(7200)
async def test_a_soak_leaves_nothing_behind(tmp_path: Path, proof: Ledger) -> None:
    wrong, size = await soaked(tmp_path, proof.share(10_000), 6)
    proof("load", "memory, tasks and files of the second half of a soak", size, wrong)


@pytest.mark.proof_short
async def test_who_is_not_flooding_is_answered_in_the_middle_of_a_flood(
    tmp_path: Path, proof: Ledger
) -> None:
    """Not by the clock: by how much of the flood was done when the others had their answers."""
    flood, others = 300, 20
    async with living(tmp_path / "flood.db") as house:
        await asyncio.gather(*(house.say(person) for person in range(others + 1)))
        flooding = [asyncio.create_task(house.say(0)) for _ in range(flood)]
        await asyncio.sleep(0)  # all of it is on its way
        await asyncio.gather(*(house.say(person) for person in range(1, others + 1)))
        done = sum(one.done() for one in flooding)
        await asyncio.gather(*flooding)
    wrong = [f"{done} of {flood} messages of the flood went first"] if done > flood / 2 else []
    size = f"{flood} messages of one before those of {others}: {done} done when all had answers"
    proof("load", "others are answered in the middle of one person's flood", size, wrong)


def of_the_crowd(number: int) -> Arrival:
    """Return what one of many writes to the bot in a group."""
    key = ConversationKey(platform="bench", bot="heed", chat="raided", user=f"raider{number}")
    message = Message(
        key=key,
        message_id=f"r{number}",
        author=Author(id=key.user, name="Rae", language="en"),
        sent_at=0.0,
        text=f"Message {number}. We all write here at once, and each of us asks about the boat.",
        order=number,
        private=False,
    )
    return Arrival(platform="bench", bot="heed", source_id=key.user, raw="{}", message=message)


@pytest.mark.proof_short
async def test_who_writes_elsewhere_is_answered_in_the_middle_of_a_raid(
    tmp_path: Path, proof: Ledger
) -> None:
    raid, others = 300, 20
    async with living(tmp_path / "raid.db") as house:
        await asyncio.gather(*(house.say(person) for person in range(others)))
        await house.app.room.take_in([of_the_crowd(number) for number in range(raid)])
        await asyncio.gather(*(house.say(person) for person in range(others)))
        left = len(await house.app.store.read(partial(intake.waiting, quiet_since=2.0**40)))
        await house.idle()
        assert not await house.app.store.read(partial(intake.waiting, quiet_since=2.0**40))
    done = raid - left
    wrong = [f"{done} of {raid} people of the raid went first"] if done > raid / 2 else []
    size = f"{raid} people in one chat before {others} elsewhere: {done} done when all had answers"
    proof("load", "others are answered in the middle of a raid on one chat", size, wrong)


def p99(latencies: tuple[float, ...]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]


async def flooded(house: House, burst_of: int, seconds: float) -> int:
    """Let one person write in bursts, answered or not, and return how many messages it was."""
    until, sent = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        burst = [asyncio.create_task(house.say(10_000)) for _ in range(burst_of)]
        sent += len(burst)
        await asyncio.sleep(0.25)
        if house.app.turns.busy > CALM:
            await asyncio.gather(*burst)
    return sent


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_a_flood_does_not_slow_the_others(tmp_path: Path, proof: Ledger) -> None:
    """Alone and beside a flood in turns, and the middle of each: no half has the slower minute."""
    seconds = max(10.0, 20.0 * proof.share(100) / 100)
    alone, beside, sent = [], [], 0
    async with living(tmp_path / "pace.db") as house:
        most = await house.closed_loop(CALM, WINDOW, 5.0)
        rate, burst_of = (share * most.messages / most.wall for share in (RATE, FLOOD / 4))
        for _ in range(TURNS):
            alone.append(p99((await house.open_loop(CALM, rate, seconds)).latencies))
            flooding = asyncio.create_task(flooded(house, round(burst_of), seconds))
            beside.append(p99((await house.open_loop(CALM, rate, seconds)).latencies))
            sent += await flooding
            await house.idle()
    calm, busy = median(alone), median(beside)
    wrong = [f"p99 {calm:.3f} s alone, {busy:.3f} s beside a flood"] if busy > 2 * calm else []
    if calm >= 0.1:
        wrong.append(f"p99 {calm:.3f} s at {rate:.0f} messages a second")
    size = (
        f"{rate:.0f} messages a second of {CALM}, {TURNS} times {seconds:.0f} s: p99 "
        f"{1000 * calm:.0f} ms, {1000 * busy:.0f} ms beside {sent / TURNS / seconds:.0f} a second "
        "of one"
    )
    proof("load", "p99 of the others while one person floods, at most twice", size, wrong)


def test_a_percentile_is_one_of_the_figures() -> None:
    assert p99(tuple(range(200))) == 198
