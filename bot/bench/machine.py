"""What stands beside every figure: the machine it was taken on, and what else it was doing.

A figure without its machine cannot be compared with another one. Only the standard library is
used, and no measured library is imported to learn its version.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("heed", "torch", "transformers", "sqlalchemy", "uvicorn", "starlette")
# What decides how fast integer and bfloat16 products are, on x86 and on ARM.
FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "asimdhp",
    "sve",
    "sve2",
    "i8mm",
    "bf16",
)


def describe() -> dict[str, object]:
    """Return the machine as plain JSON-ready facts.

    `cpu` (name), `cores` (that this process may use), `cores_present`, `flags` (those of FLAGS
    that the CPU has), `cache` (sizes by level, as the kernel writes them), `memory_gib`, `system`,
    `architecture`, `python`, `sqlite`, `versions` (of LIBRARIES that are installed), and `load`
    (1, 5 and 15 minutes; empty where the system does not tell).
    """
    facts = _cpu_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "cores_present": os.cpu_count() or 1,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cache": _caches(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "versions": _versions(),
        "load": load(),
    }


def line(machine: Mapping[str, object]) -> str:
    """Say `describe()` in one line, for the head of a table."""
    flags, loads = machine["flags"], machine["load"]
    said = " ".join(map(str, flags)) if isinstance(flags, list) else ""
    now = f"{loads[0]:.1f}" if isinstance(loads, list) and loads else "unknown"
    return (
        f"{machine['cpu']}, {machine['cores']} cores [{said}], {machine['memory_gib']} GiB, "
        f"{machine['system']}, {machine['python']}, SQLite {machine['sqlite']}, load {now}"
    )


def cores() -> int:
    """Return how many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def load() -> list[float]:
    """Return the load averages of 1, 5 and 15 minutes; empty where there are none."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return []


def _cpu_facts() -> dict[str, str]:
    """Return the first processor's lines of the kernel's own list; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    facts: dict[str, str] = {}
    for row in text.split("\n\n", 1)[0].splitlines():
        name, _, value = row.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts


def _caches() -> dict[str, str]:
    """Return the sizes of the first core's caches, such as {"L2 Unified": "1024K"}."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size")
            )
        except OSError:
            continue
        found[f"L{level} {kind}"] = size
    return found


def _memory() -> float:
    """Return the machine's memory in GiB; 0 where the system does not tell."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0.0
    return round(size / 2**30, 1)


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
