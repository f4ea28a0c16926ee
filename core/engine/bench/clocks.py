"""Two clocks read together, the summary of many laps, and the memory of this process."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lap:
    """Seconds of one span: `cpu` of all threads of this process, and `wall`."""

    cpu: float
    wall: float

    def __sub__(self, other: Lap) -> Lap:
        return Lap(self.cpu - other.cpu, self.wall - other.wall)

    def __add__(self, other: Lap) -> Lap:
        return Lap(self.cpu + other.cpu, self.wall + other.wall)

    def per(self, times: int) -> Lap:
        """Return one of `times` equal parts."""
        return Lap(self.cpu / times, self.wall / times)


def now() -> Lap:
    """Read both clocks."""
    return Lap(time.process_time(), time.perf_counter())


def summary(laps: Sequence[Lap]) -> dict[str, dict[str, float]]:
    """Return minimum and median of both clocks, in milliseconds."""
    return {
        name: {
            "min": round(1000 * min(values), 3),
            "median": round(1000 * statistics.median(values), 3),
        }
        for name, values in (
            ("cpu", [lap.cpu for lap in laps]),
            ("wall", [lap.wall for lap in laps]),
        )
    }


def memory(process: str = "self") -> dict[str, float]:
    """Return MiB of a process: anonymous, of mapped files, and the peak of both together.

    Zeros where the system does not tell (it is read from /proc).
    """
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    found = {}
    for name, field in (("anonymous", "RssAnon"), ("file", "RssFile"), ("peak", "VmHWM")):
        match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
        found[name] = round(int(match[1]) / 1024, 1) if match else 0.0
    return found


def pin(threads: int) -> list[int]:
    """Keep this process and torch on so many cores; returns them, empty where that cannot be."""
    os.putenv("OMP_NUM_THREADS", str(threads))  # before torch is imported
    import torch

    torch.set_num_threads(threads)
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[-threads:]  # the first one serves most interrupts
    os.sched_setaffinity(0, cores)
    return cores
