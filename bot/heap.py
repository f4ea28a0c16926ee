"""The heap of a running Heed: what its start has made lives as long as the process does.

Python's collector looks for cycles by going through every object there is, now and again: with a
model's libraries loaded that is up to 0.3 s in which nobody is heard. So what stands once the
model does is taken out of its rounds (`gc.freeze`), until another model takes its place.
"""

from __future__ import annotations

import asyncio
import gc

from core.engine.mind import Mind

LOOK = 5.0  # seconds


async def settle(mind: Mind) -> None:
    """Take what lives long out of the collector's rounds, after every change of the model."""
    settled: object = settle  # no engine yet
    while True:
        if not mind.loading and mind.engine is not settled:
            if settled is not settle:
                gc.unfreeze()  # the model before this one may go
            settled = mind.engine
            gc.collect()
            gc.freeze()
        await asyncio.sleep(LOOK)
