"""Delivery: claim an outbox row, hand it to its adapter, commit what became of it.

Each outcome has its own path and none falls through to another: sent; wait (the platform said how
long); not sent (safe to repeat); unknown (repeated only where repeating shows nothing twice, else
flagged); refused; no such thread; unreachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from itertools import chain, repeat
from typing import TypeVar

import structlog

from core.errors import (
    DeliveryError,
    NoThread,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    StoreBusy,
    Unreachable,
)
from core.message import Post
from core.ports import Adapter, Clock, Probe, no_probe
from core.store import Operation, Store, outbox
from core.store.flags import Words, give_up
from core.store.outbox import Claim, Lane

T = TypeVar("T")
log = structlog.get_logger(__name__)

PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)  # seconds after the n-th failed try


class Delivery:
    """Sends what is queued, lane by lane."""

    def __init__(
        self,
        store: Store,
        adapters: Mapping[tuple[str, str], Adapter],
        clock: Clock,
        probe: Probe = no_probe,
        *,
        say: Words,
    ) -> None:
        self._store = store
        self._say = say
        self._adapters = adapters  # by (platform, bot)
        self._clock = clock
        self._probe = probe
        self._sending: set[int] = set()  # rows that this process is sending now

    async def settle_doubts(self, quiet: float = 0.0) -> None:
        """Decide about every row whose sending ended without an outcome.

        An earlier process left it, or the outcome could not be written down. Rows touched in the
        last `quiet` seconds, and those that are being sent now, are left alone.
        """
        busy = frozenset(self._sending)  # as of before the read: one of them may end meanwhile
        find = partial(outbox.in_doubt, now=self._clock(), quiet=quiet)
        for claim in await self._store.read(find):
            adapter = self._adapter(claim.post)
            if claim.post.id in busy:
                continue
            if adapter is not None and adapter.repeatable(claim.post):
                await self._later(claim.post, 0.0, "nobody knows whether this was sent")
            else:
                await self._end(claim.post, "uncertain", "nobody knows whether this was sent")

    async def due(self, quiet: float = 10.0) -> list[Lane]:
        """Return lanes with due rows that nobody touched for `quiet` seconds: for the sweep."""
        return await self._store.read(partial(outbox.open_lanes, now=self._clock(), quiet=quiet))

    async def work(self, lane: Lane) -> float | None:
        """Send the lane's next row. Returns seconds to wait, or None when nothing is left."""
        self._probe("before send claim")
        claim = await self._store.write(partial(outbox.claim, lane=lane, now=self._clock()))
        if claim is None or isinstance(claim, float):
            return claim
        self._probe("after send claim")
        self._sending.add(claim.post.id)
        try:
            more = await self._send(claim)
        finally:
            self._sending.discard(claim.post.id)
        return 0.0 if more else None  # what is queued from now on rings the lane itself

    async def _send(self, claim: Claim) -> bool:
        """Send a claimed post; False when it was sent and its lane has nothing more."""
        post = claim.post
        adapter = self._adapter(post)
        if adapter is None:
            await self._later(post, 60.0, f"{post.place.platform} is not connected")
            return True
        try:
            receipt = await adapter.deliver(post, partial(self._remember, post.id))
        except DeliveryError as error:
            await self._failed(adapter, post, error)
            return True
        except Exception as error:  # a fault of ours in the adapter must not hold up the lane
            log.exception("delivery failed", row=post.id, kind=post.kind)
            await self._end(post, "uncertain", type(error).__name__)
            return True
        self._probe("before sent commit")
        more = await self._commit(
            partial(outbox.sent, row_id=post.id, receipt=receipt, now=self._clock())
        )
        self._probe("after sent commit")
        return more

    async def _commit(self, operation: Operation[T]) -> T:
        """Write what became of a post, however long the database is busy: it cannot be undone."""
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        while True:
            try:
                return await self._store.write(operation)
            except StoreBusy as error:
                log.warning("outcome not stored yet", cause=str(error))
                await asyncio.sleep(next(pauses))

    async def _failed(self, adapter: Adapter, post: Post, error: DeliveryError) -> None:
        words = str(error) or type(error).__name__
        now = self._clock()
        log.warning("not delivered", row=post.id, kind=post.kind, cause=type(error).__name__)
        match error:
            case RetryAfter():
                await self._later(post, error.seconds, words)
            case NotSent():
                await self._later(post, _pause(post), words)
            case OutcomeUnknown():
                if adapter.repeatable(post):
                    await self._later(post, _pause(post), words)
                else:
                    await self._end(post, "uncertain", words)
            case NoThread():
                await self._commit(partial(outbox.no_thread, row_id=post.id, error=words, now=now))
            case Unreachable():
                await self._commit(partial(outbox.unreachable, row_id=post.id, now=now))
            case Refused():
                await self._end(post, "failed", words)
            case _:
                await self._end(post, "uncertain", words)

    async def _remember(self, row_id: int, message_id: str) -> None:
        await self._commit(
            partial(outbox.remember, row_id=row_id, message_id=message_id, now=self._clock())
        )

    async def _later(self, post: Post, seconds: float, error: str) -> None:
        await self._commit(
            partial(outbox.later, row_id=post.id, seconds=seconds, error=error, now=self._clock())
        )

    async def _end(self, post: Post, state: outbox.End, error: str) -> None:
        log.error("post given up", row=post.id, kind=post.kind, state=state)
        now = self._clock()
        await self._commit(
            partial(give_up, row_id=post.id, state=state, error=error, say=self._say, now=now)
        )

    def _adapter(self, post: Post) -> Adapter | None:
        return self._adapters.get((post.place.platform, post.place.bot))


def _pause(post: Post) -> float:
    """Return how long to wait after a failure: longer the longer it has been failing."""
    for pause in PAUSES:
        if post.age < pause * 2:
            return pause
    return PAUSES[-1]
