"""llama.cpp on the same lengths, through llama-cpp-python where somebody has installed it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from core.engine.bench.clocks import Lap, now, summary
from core.engine.bench.shapes import TURN, Shape, draw
from core.errors import SetupError


def load(gguf: Path, threads: int) -> Any:  # noqa: ANN401 - a llama_cpp.Llama
    """Load a GGUF file. Raises SetupError with what is missing."""
    try:
        library = importlib.import_module("llama_cpp")
    except ImportError as fault:
        raise SetupError(
            "--peer llama.cpp needs llama-cpp-python: install it beside Heed, and put a GGUF "
            f"file of the same shape at {gguf}."
        ) from fault
    if not gguf.is_file():
        raise SetupError(
            f"--peer llama.cpp reads {gguf}: put a GGUF file of the same shape there, for "
            "instance one converted by llama.cpp's own script from the folder beside it."
        )
    return library.Llama(
        str(gguf),
        n_ctx=1024,
        n_batch=512,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )


def turns(model: Any, shape: Shape, count: int, reply: int) -> dict[str, Any]:  # noqa: ANN401
    """Take `count` turns cold and warm; the tag's rows are computed behind the message.

    The same 63 rows on 440 tokens, in one sequence: a peer without a tree pays for no more.
    """
    past = draw(shape, TURN.system + TURN.history, 1)
    rows = TURN.message + TURN.header + TURN.suffix
    warm, cold, gaps = list[Lap](), list[Lap](), list[Lap]()
    for seed in range(count):
        new = draw(shape, rows, seed)
        model.reset()
        began = now()
        model.eval(past + new)
        cold.append(now() - began)
        model.n_tokens = len(past)  # what follows is taken out of its cache at the next call
        began = now()
        model.eval(new)
        warm.append(now() - began)
        model.n_tokens = len(past) + TURN.message + TURN.header
        began = now()
        for _ in range(reply - 1):
            model.eval([model.sample(temp=0.7, top_p=0.9, top_k=20)])
        gaps.append((now() - began).per(reply - 1))
    return {
        "warm": {"first": summary(warm)},
        "cold": {"first": summary(cold)},
        "decode": summary(gaps),
    }
