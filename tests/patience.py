"""How long a test waits for what comes by itself.

A bound on hangs and not on speed: a machine may stand still for seconds. Where a time is the thing
tested, the test says its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE = 45.0  # seconds; below pytest's own bound, so that the wait itself is named


async def until(true: Callable[[], Any]) -> Any:
    """Wait for something to hold, and return it; `true` may be a coroutine function."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = true()
            found = await found if isinstance(found, Awaitable) else found
            if found:
                return found
            await asyncio.sleep(0.005)
