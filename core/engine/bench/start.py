"""A fresh process from its start until the model is ready: `python -m core.engine.bench.start`.

Times and memory of loading can only be told by a process that has done nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import core
from core.engine.bench.clocks import memory, now
from core.engine.local.turns import Counters, Settings
from core.errors import SetupError


def settings(folder: Path, precision: str, threads: int, slots: int = 2) -> Settings:
    """Return an engine's settings for a checkpoint made on the spot."""
    return Settings(
        source=str(folder),
        name=folder.name,
        history_tokens=1500,
        message_tokens=512,
        slots=slots,
        kv_budget=2**30,
        threads=threads,
        precision=precision,
        device="cpu",
        adapter=None,
        clock=time.monotonic,
    )


def ready(folder: Path, precision: str, threads: int) -> dict[str, Any]:
    """Start a process, let it load the checkpoint and warm up; seconds and MiB.

    `ready_s` is wall time as seen from here, from before the process was started. The CPU times
    are the process's own.
    """
    began = time.perf_counter()
    words = [sys.executable, "-m", "core.engine.bench.start", str(folder), precision, str(threads)]
    # An empty environment, so that nothing set here reaches it; OMP as this process has it.
    room = {"PYTHONPATH": str(Path(core.__file__).parent.parent), "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=room) as child:  # noqa: S603
        line = child.stdout.readline() if child.stdout else b""
        spent = time.perf_counter() - began
    if child.returncode or not line:
        raise SetupError(f"a fresh process could not load {folder.name} in {precision}")
    return {"ready_s": round(spent, 3), **json.loads(line)}


def _main(folder: str, precision: str, threads: str) -> None:
    from core.engine.local.worker import Worker  # brings torch and transformers
    from core.prompts import PromptBook

    imported = now()
    worker = Worker(settings(Path(folder), precision, int(threads)), PromptBook(), Counters())
    loaded = now()
    figures = {
        "import_cpu_s": round(imported.cpu, 3),
        "load_cpu_s": round((loaded - imported).cpu, 3),
        "load_s": round((loaded - imported).wall, 3),
        "memory_mib": memory(),
        "kernels": worker.model.kernels.words,  # it is held until here: its memory is measured
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
