"""One run: the baseline and Heed turn about, in one process that is pinned to its cores."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.engine.bench import peer
from core.engine.bench.baseline import Baseline, Laps
from core.engine.bench.clocks import Lap, summary
from core.engine.bench.floor import read_rate, step_ms
from core.engine.bench.ours import Ours, load
from core.engine.bench.shapes import Shape
from core.engine.bench.start import ready
from core.engine.local.linear import choose

TURN_PARTS = ("tag", "first", "total", "decode")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is measured, and how often."""

    folder: Path
    shape: Shape
    threads: int
    turns: int = 2
    reply: int = 64
    many: Sequence[int] = (1, 4, 8, 16)
    steps: int = 10  # of each throughput
    deep: int = 2000  # tokens cached
    mib: int = 1024  # read to learn what the memory can do
    starts: int = 2  # fresh processes of each precision

    @property
    def clock(self) -> str:
        """Which clock is compared: one thread by its CPU time, several by the wall's."""
        return "cpu" if self.threads == 1 else "wall"


class Run:
    """The baseline stays loaded while one precision after the other is held against it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rate = 0.0
        self._baseline = Baseline(plan.folder, plan.shape, reply=plan.reply)
        self._baseline.turn(0)
        self._taken: list[Laps] = []

    def baseline(self) -> dict[str, Any]:
        """Return every turn of the baseline so far, and one whose tag takes eight tokens."""
        long_tag = self._baseline.turn(99, tag_tokens=8).tag
        return {**_parts(self._taken), "tag_8": summary([long_tag])}

    @property
    def rate(self) -> float:
        """Bytes a second read from memory, the best seen in this run so far."""
        self._rate = max(self._rate, read_rate(self._plan.clock, self._plan.mib))
        return self._rate

    def floor(self, precision: str, rate: float) -> dict[str, float]:
        """Return the milliseconds that reading takes: of all weights, and of a step's KV too."""
        shape = self._plan.shape
        return {
            "weights_ms": round(step_ms(shape, precision, rate), 3),
            "step_ms": round(step_ms(shape, precision, rate, cached=478), 3),
        }

    def default(self) -> str:
        """Return the precision that `auto` comes to on this machine."""
        shape = (self._plan.shape.intermediate, self._plan.shape.hidden)
        return choose("auto", torch.device("cpu"), shape).precision

    def peer(self, other: Any) -> dict[str, Any]:  # noqa: ANN401 - what peer.load gave
        """Measure llama.cpp on the same lengths."""
        return peer.turns(other, self._plan.shape, self._plan.turns, self._plan.reply)

    def against(self, precision: str) -> dict[str, Any]:
        """Measure one precision, with turns of the baseline in between. Raises SetupError."""
        plan = self._plan
        _ = self.rate  # once more: the machine may be quieter now
        started = [ready(plan.folder, precision, plan.threads) for _ in range(plan.starts)]
        ours, loading = load(plan.folder, plan.shape, precision, plan.threads)
        ours.reply = plan.reply
        ours.cold(0), ours.warm(0)
        baseline, cold, warm = list[Laps](), list[Laps](), list[Laps]()
        for seed in range(10, 10 * plan.turns + 1, 10):
            baseline.append(self._baseline.turn(seed))
            warm.append(ours.warm(seed))
            cold.append(ours.cold(seed))
        self._taken += baseline
        found = {
            "kernels": ours.model.kernels.words,
            "baseline": _parts(baseline),
            "warm": _parts(warm),
            "cold": _parts(cold),
            **_prefills(ours, 2 * plan.turns + 1),
            "together": {str(n): ours.together(n, plan.steps) for n in plan.many},
            "depth": ours.depth(many=plan.deep),
            "load_ms": summary([loading]),
            "starts": started,
        }
        del ours
        gc.collect()
        return found


def _parts(turns: Sequence[Laps]) -> dict[str, Any]:
    return {name: summary([getattr(turn, name) for turn in turns]) for name in TURN_PARTS}


def _prefills(ours: Ours, times: int) -> dict[str, Any]:
    """Measure a warm reply's first forward with the tag and without, turn about."""
    laps: dict[bool, list[Lap]] = {True: [], False: []}
    for at in range(times):
        for tagged in (True, False):
            laps[tagged].append(ours.prefill(1000 + at, tagged=tagged))
    return {"with_tag": summary(laps[True]), "without_tag": summary(laps[False])}
