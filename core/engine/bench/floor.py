"""What this machine's memory allows: the time to read all weights once, which every token costs."""

from __future__ import annotations

from typing import Final

import torch

from core.engine.bench.clocks import now
from core.engine.bench.shapes import Shape

# Bytes of one weight; int4 has a scale and a shift in bf16 for every 64.
BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5 + 4 / 64}


def read_rate(clock: str, mib: int = 1024, tries: int = 4) -> float:
    """Return bytes a second of `clock` (cpu or wall), with as many threads as torch uses now.

    The best of several passes over far more than the caches hold; a sum and a product with
    itself both read every number once, and the faster one counts.
    """
    numbers = torch.ones(mib * 2**18)
    best = 0.0
    for _ in range(tries):
        for look in (torch.sum, lambda x: torch.dot(x, x)):
            began = now()
            look(numbers)
            best = max(best, numbers.nbytes / float(getattr(now() - began, clock)))
    return best


def step_ms(shape: Shape, precision: str, rate: float, cached: int = 0) -> float:
    """Return the milliseconds to read all weights once, and the KV of `cached` tokens."""
    kv = cached * shape.kv_elements * (4 if precision == "fp32" else 2)
    return 1000 * (shape.weights * BYTES[precision] + kv) / rate
