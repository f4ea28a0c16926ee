"""`heed bench pipeline`: the walk without a model, held against a bare writer and the disk.

A figure of a walk says little by itself: the same code is ten times slower beside busy neighbours
or on a slow disk. So everything is measured in one run, in short alternating rounds, and what is
judged is the ratio.

Two of the bars ask more than any walk could give, and stay as they are: beside each stands what
it would be with that allowed for. The bare writer puts 64 operations into a transaction, also
where only ten people write and ten can be under way: `bare_grouped` takes no more than that. And
an answer waits for several commits, one after the other, where the bar for its latency allows for
one sync of a quiet disk: `serial` counts them, and what as many syncs in a row take is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bot.bench import machine
from bot.bench.pipeline_bare import (
    Recorded,
    Recorder,
    copy,
    people,
    pragmas_of,
    replay,
    syncs,
    tally,
)
from bot.bench.pipeline_house import House, Stretch, living
from core.errors import SetupError, StoreError
from core.store import BATCH

RATIO = 0.25  # of the bare writer's messages per second, at least
P99 = 0.025  # seconds plus one sync, at 100 messages a second
ROUNDS = 5
PAST = 2  # messages that every conversation has behind it, and one more
AFTERWARDS = "sent"  # the one operation that an answer does not wait for
SLOW, FAST = 100.0, 1000.0  # messages a second of the open loop

Tell = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured."""

    conversations: tuple[int, ...]
    seconds: float  # of traffic for each figure
    rounds: int
    window: int = 64  # messages under way at once in the closed loop


@dataclass(kw_only=True)
class Site:
    """One house with its people, and the files beside it."""

    house: House
    folder: Path
    conversations: int
    rules: Mapping[str, Any]  # the writer's pragmas
    serial: int  # commits that a message alone in the house waits for, one after the other
    sample: Sequence[Recorded] = ()  # the statements of `sampled` messages
    sampled: int = 0


def measure(tell: Tell, out: Path | None, *, seconds: float = 5.0, quick: bool = False) -> int:
    """Measure, tell the figures line by line, write them all to `out` as JSON.

    `seconds` of traffic for each figure. Returns 0; 1 when a bar was missed. A quick run is too
    short to judge and returns 0. Raises SetupError when a folder or `out` cannot be written.
    """
    size = Size(conversations=(10, 1_000, 10_000), seconds=seconds, rounds=ROUNDS)
    if quick:
        size = Size(conversations=(10, 50, 200), seconds=min(seconds, 0.15), rounds=2, window=8)
    if out is not None:
        _write(out, {})
    about = machine.describe()
    tell(machine.line(about))
    try:
        with tempfile.TemporaryDirectory(prefix="heed-bench-", dir=_place()) as folder:
            figures = asyncio.run(_all(tell, Path(folder), size))
    except OSError as error:
        raise SetupError(
            f"The bench cannot write its database ({error.strerror}): run it where you may write, "
            "or set TMPDIR to a folder on the disk to be measured."
        ) from error
    figures = {"machine": about, "quick": quick, "seconds": size.seconds, **figures}
    figures["load_after"] = machine.load()
    held = _judge(tell, figures)
    if out is not None:
        _write(out, figures)
        tell(f"Every figure: {out}")
    return 0 if held or quick else 1


def _place() -> Path:
    """Return where the database of the bench lies: TMPDIR, or beside the operator's own."""
    named = os.environ.get("TMPDIR", "")  # noqa: TID251 - the system's, no setting of ours
    if named:
        return Path(named)
    return Path("data") if Path("data").is_dir() else Path()


def _write(out: Path, figures: Mapping[str, Any]) -> None:
    try:
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"{out} cannot be written ({error.strerror}); give --json another path."
        ) from error


async def _all(tell: Tell, folder: Path, size: Size) -> dict[str, Any]:
    closed: list[dict[str, Any]] = []
    opened: list[dict[str, Any]] = []
    disk: list[float] = []
    serial = 1
    for conversations in size.conversations:
        place = folder / str(conversations)
        place.mkdir()
        async with living(place / "heed.db") as house:
            site = await _settle(house, place, conversations)
            serial = site.serial
            closed.append(await _closed(site, size, disk))
            _tell_closed(tell, closed[-1])
            if conversations == size.conversations[1]:
                opened = await _opened(site, size, closed[-1]["walk"]["per_second"])
    for one in opened:
        _tell_opened(tell, one)
    rows = [sum(disk[at : at + serial]) for at in range(0, len(disk) - serial + 1, serial)]
    return {
        "disk": _spread(disk),
        "serial": {"commits": serial, "syncs": _spread(rows or [sum(disk)])},
        "closed": closed,
        "open": opened,
    }


async def _settle(house: House, place: Path, conversations: int) -> Site:
    """Give the file its people, then keep a copy of it and what the walk sends from then on."""
    for _ in range(PAST):
        await house.say(0)
    await house.idle()
    recorder = Recorder(house.app.store)
    async with recorder.listening():
        await house.say(0)
        await house.idle()
    file = place / "heed.db"
    await asyncio.to_thread(people, file, conversations)
    site = Site(
        house=house,
        folder=place,
        conversations=conversations,
        serial=len({one.name for one in recorder.operations} - {AFTERWARDS}),
        rules=await pragmas_of(house.app.store),
    )
    await asyncio.to_thread(copy, file, place / "base.db")
    return site


async def _closed(site: Site, size: Size, disk: list[float]) -> dict[str, Any]:
    """Measure walk, bare writer and disk by turns; add the disk's waits to `disk`."""
    slice_, window = size.seconds / size.rounds, min(size.window, site.conversations)
    recorder = Recorder(site.house.app.store)
    async with recorder.listening():
        heard = await site.house.closed_loop(site.conversations, window, slice_)
    site.sample, site.sampled = recorder.operations, heard.messages
    left = await asyncio.to_thread(tally, site.folder / "heed.db")
    rounds = []
    for _ in range(size.rounds):
        gc.collect()
        walk = await site.house.closed_loop(site.conversations, window, slice_)
        rows = await _bare(site, slice_ / 4, reads=False)
        every = await _bare(site, slice_ / 4, reads=True)
        grouped = rows  # the same thing where enough are under way
        if window < BATCH:
            grouped = await _bare(site, slice_ / 4, reads=False, group=window)
        if await asyncio.to_thread(tally, site.folder / "bare.db") != left:
            raise StoreError("the bare writer left other rows than the walk: nothing to compare")
        disk += await asyncio.to_thread(syncs, site.folder / "syncs", slice_ / 4)
        rounds.append(
            {
                "walk": _traffic(walk),
                "bare": rows,
                "bare_with_reads": every,
                "bare_grouped": grouped,
            }
        )
    medians = {
        who: {
            name: median(one[who][name] for one in rounds)
            for name in ("per_second", "cpu_ms_per_message", "loop_cpu_ms_per_message")
            if name in figures
        }
        for who, figures in rounds[0].items()
    }
    return {
        "conversations": site.conversations,
        "window": window,
        **medians,
        "ratios": {
            "rate": _ratios(rounds, "bare", "per_second"),
            "rate_grouped": _ratios(rounds, "bare_grouped", "per_second"),
            "rate_with_reads": _ratios(rounds, "bare_with_reads", "per_second"),
            "cpu": 1 / _ratios(rounds, "bare", "cpu_ms_per_message"),
            "cpu_with_reads": 1 / _ratios(rounds, "bare_with_reads", "cpu_ms_per_message"),
        },
        "operations": _operations(site),
        "rounds": rounds,
    }


async def _bare(site: Site, seconds: float, *, reads: bool, group: int = BATCH) -> dict[str, float]:
    """Replay the sample again and again for `seconds`, each time on a fresh copy."""
    again = partial(
        replay,
        site.folder / "base.db",
        site.folder / "bare.db",
        site.sample,
        site.rules,
        reads=reads,
        group=group,
    )
    wall = cpu = 0.0
    times = 0
    while wall < seconds:
        one = await asyncio.to_thread(again)
        wall, cpu, times = wall + one.wall, cpu + one.cpu, times + 1
    messages = times * site.sampled
    return {
        "messages": messages,
        "wall": wall,
        "cpu": cpu,
        "per_second": messages / wall,
        "cpu_ms_per_message": cpu / messages * 1e3,
    }


def _ratios(rounds: Sequence[Mapping[str, Any]], bare: str, name: str) -> float:
    """Return the median over the rounds of ours by theirs: neighbours disturb both alike."""
    found: list[float] = [one["walk"][name] / one[bare][name] for one in rounds]
    return median(found)


def _operations(site: Site) -> dict[str, dict[str, float]]:
    """Say per message what the store was asked: calls, statements, writes, milliseconds."""
    found: dict[str, Counter[str]] = {}
    for one in site.sample:
        writes = sum(not text.startswith("SELECT") for text, _ in one.statements)
        found.setdefault(one.name, Counter()).update(
            calls=1, statements=len(one.statements), writes=writes, us=round(one.seconds * 1e6)
        )
    return {
        name: {
            "calls": counted["calls"] / site.sampled,
            "statements": counted["statements"] / site.sampled,
            "writes": counted["writes"] / site.sampled,
            "ms": counted["us"] / 1e3 / site.sampled,
        }
        for name, counted in found.items()
    }


async def _opened(site: Site, size: Size, limit: float) -> list[dict[str, Any]]:
    """Measure latencies at 100 and 1,000 messages a second, or as near as this machine comes."""
    found = []
    for wanted in (SLOW, FAST):
        rate = wanted if limit > wanted * 1.1 else limit / 2
        gc.collect()
        stretch = await site.house.open_loop(site.conversations, rate, size.seconds)
        took = _traffic(stretch)
        found.append({"wanted": wanted, "rate": rate, "sustained": rate == wanted, **took})
    return found


# --- figures --------------------------------------------------------------------------------------


def _traffic(stretch: Stretch) -> dict[str, Any]:
    figures = {name: value for name, value in asdict(stretch).items() if name != "latencies"}
    return {
        **figures,
        "per_second": stretch.messages / stretch.wall,
        "cpu_ms_per_message": stretch.cpu / stretch.messages * 1e3,
        "loop_cpu_ms_per_message": stretch.loop_cpu / stretch.messages * 1e3,
        "latency": _spread(stretch.latencies),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return count, rate in series, and percentiles in milliseconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3

    return {
        "count": len(ordered),
        "per_second": len(ordered) / sum(ordered),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "worst_ms": ordered[-1] * 1e3,
    }


def _judge(tell: Tell, figures: dict[str, Any]) -> bool:
    """Tell disk and bars, put ratios and bars among the figures; True if every bar held."""
    disk = figures["disk"]
    tell(
        f"disk, 4 KiB append + sync: {disk['per_second']:,.0f} a second, "
        f"p50 {disk['p50_ms']:.2f} ms, p99 {disk['p99_ms']:.2f} ms"
    )
    ratios = {str(one["conversations"]): one["ratios"]["rate"] for one in figures["closed"]}
    grouped = min(one["ratios"]["rate_grouped"] for one in figures["closed"])
    slow, serial = figures["open"][0], figures["serial"]
    most, allowed = (P99 * 1e3 + ms for ms in (disk["p50_ms"], serial["syncs"]["p99_ms"]))
    found = slow["latency"]["p99_ms"]
    bars = {
        "ratio": {"least": RATIO, "found": min(ratios.values()), "grouped": grouped},
        "p99_ms": {"most": most, "found": found, "at": slow["rate"], "allowed": allowed},
    }
    held = {
        "ratio": min(ratios.values()) >= RATIO,
        "p99_ms": slow["sustained"] and found <= most,
    }
    tell(
        f"bar: walk / bare >= {RATIO} at every size: {min(ratios.values()):.3f}, "
        f"{_word(held['ratio'])}"
    )
    tell(
        f"     beside a bare writer that groups no more than are under way: {grouped:.3f}, "
        f"would be {_word(grouped >= RATIO)}"
    )
    tell(
        f"bar: p99 at {SLOW:.0f}/s <= {most:.1f} ms: {found:.1f} ms at "
        f"{slow['rate']:.0f}/s, {_word(held['p99_ms'])}"
    )
    tell(
        f"     with p99 of {serial['commits']} syncs in a row, as an answer waits for: "
        f"<= {allowed:.1f} ms, would be {_word(slow['sustained'] and found <= allowed)}"
    )
    figures |= {"ratios": ratios, "bars": bars, "held": held}
    return all(held.values())


def _word(held: bool) -> str:  # noqa: FBT001
    return "held" if held else "MISSED"


def _tell_closed(tell: Tell, one: Mapping[str, Any]) -> None:
    walk, bare, every, ratios = (
        one[name] for name in ("walk", "bare", "bare_with_reads", "ratios")
    )
    tell(
        f"{one['conversations']:>6,} conversations, {one['window']} at once: "
        f"walk {walk['per_second']:,.0f} durable messages a second "
        f"({walk['cpu_ms_per_message']:.2f} ms CPU each, {walk['loop_cpu_ms_per_message']:.2f} "
        "of them the loop's), "
        f"bare sqlite3 {bare['per_second']:,.0f} ({bare['cpu_ms_per_message']:.2f}), "
        f"with the walk's reads {every['per_second']:,.0f} ({every['cpu_ms_per_message']:.2f}); "
        f"walk / bare {ratios['rate']:.3f}, with reads {ratios['rate_with_reads']:.3f}"
    )
    parts = ", ".join(
        f"{name} {figures['statements']:.1f} in {figures['ms']:.2f} ms"
        for name, figures in one["operations"].items()
    )
    tell(f"       statements a message: {parts}")


def _tell_opened(tell: Tell, one: Mapping[str, Any]) -> None:
    spread = one["latency"]
    said = "" if one["sustained"] else f" ({one['wanted']:,.0f}/s is more than this walk sustains)"
    tell(
        f"open loop at {one['rate']:,.0f}/s{said}: p50 {spread['p50_ms']:.1f} ms, "
        f"p99 {spread['p99_ms']:.1f} ms, {one['cpu_ms_per_message']:.2f} ms CPU a message"
    )
