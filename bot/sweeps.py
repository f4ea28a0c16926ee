"""The last net: what is unfinished is looked for again and again; a lost ring costs seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from core.delivery import Delivery
from core.ports import Clock
from core.store import Store, intake
from core.store.outbox import Lane

SWEEP = 20.0  # seconds between two looks at every unfinished row
QUIET = 10.0  # seconds a row must have been left alone before the sweep rings its lane


def unfinished(store: Store, clock: Clock) -> Callable[[], Awaitable[list[int]]]:
    """Return what finds the conversations with something unanswered."""
    looked = [0.0]  # the first look takes every row, the later ones those left alone

    async def find() -> list[int]:
        now = clock()
        since, looked[0] = now - looked[0], QUIET
        return await store.read(partial(intake.waiting, quiet_since=since, ahead=now + QUIET))

    return find


def unsent(delivery: Delivery) -> Callable[[], Awaitable[list[Lane]]]:
    """Return what finds the lanes with something unsent; of what is in doubt it decides."""
    looked = [0.0]

    async def find() -> list[Lane]:
        quiet, looked[0] = looked[0], QUIET
        await delivery.settle_doubts(quiet)
        return await delivery.due(quiet)

    return find
