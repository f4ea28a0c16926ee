"""Delivery: claim an outbox row, hand it to its adapter, commit what became of it.

Each outcome has its own path and none falls through to another: sent; wait (the platform said how
long); not sent (safe to repeat); unknown (repeated only where repeating shows nothing twice, else
flagged); refused; no such thread; unreachable.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
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
    ThreadGone,
    ThreadShut,
    TooLarge,
    Unchangeable,
    Unreachable,
)
from core.journal import Meter, Unmeasured, about, detail, milestone
from core.message import File, Media, Place, Post
from core.ports import Adapter, Clock, Probe, no_probe
from core.store import Operation, Store, flags, outbox, receipts, setbacks
from core.store.flags import Words
from core.store.outbox import Claim, Lane

T = TypeVar("T")
log = structlog.get_logger(__name__)

Draw = Callable[[Media], Awaitable[File]]  # a file that Heed makes itself
Lost = Callable[[int], Awaitable[None]]  # a case whose place is gone
FILE_PATIENCE = 300.0  # seconds in which a file may be fetched and sent
SAID = ("relay", "edit", "delete")  # staff's words to a person, and what became of them
CHANGES = ("edit", "delete")  # of words that were said already

LONG_FLOOD = 60.0  # seconds to wait from which on staff are told
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)  # seconds after the n-th failed try


class Delivery:
    """Sends what is queued, lane by lane."""

    def __init__(  # noqa: PLR0913 - wired once
        self,
        store: Store,
        adapters: Mapping[tuple[str, str], Adapter],
        clock: Clock,
        probe: Probe = no_probe,
        *,
        say: Words,
        draw: Draw,
        ring: Callable[[Sequence[Lane]], None],
        lost: Lost,
        settled: Callable[[int], Awaitable[None]],
        barred: Callable[[Place, str], None] = lambda _place, _error: None,
        meter: Meter | None = None,
    ) -> None:
        self._store = store
        self._say = say
        self._draw = draw
        self._ring = ring
        self._lost = lost
        self._settled = settled  # it is known what became of words to somebody: their conversation
        self._barred = barred  # a group refused a post, perhaps for want of a right
        self._adapters = adapters  # by (platform, bot)
        self._clock = clock
        self._meter = meter or Unmeasured()
        self.sent: Counter[str] = Counter()  # posts by platform, for whoever watches that some go
        self._probe = probe
        self._sending: set[int] = set()  # rows that this process is sending now

    async def settle_doubts(self, quiet: float = 0.0) -> None:
        """Decide about every row whose sending ended without an outcome.

        An earlier process left it, or the outcome could not be written down. Rows touched in the
        last `quiet` seconds, and those that are being sent now, are left alone.
        """
        busy = frozenset(self._sending)  # as of before the read: one of them may end meanwhile
        find = partial(receipts.in_doubt, now=self._clock(), quiet=quiet)
        for claim in await self._store.read(find):
            adapter = self._adapter(claim.post)
            if claim.post.id in busy:
                continue
            if adapter is not None and adapter.repeatable(claim.post):
                await self._later(replace(claim, doubtful=True), 0.0, "it was being sent")
            else:
                await self._end(claim, "uncertain", outbox.DOUBT)

    async def due(self, quiet: float = 10.0) -> list[Lane]:
        """Return lanes with due rows that nobody touched for `quiet` seconds: for the sweep."""
        return await self._store.read(partial(receipts.open_lanes, now=self._clock(), quiet=quiet))

    async def work(self, lane: Lane) -> float | None:
        """Send the lane's next row. Returns seconds to wait, or None when nothing is left."""
        self._probe("before send claim")
        claim = await self._store.write(partial(outbox.claim, lane=lane, now=self._clock()))
        if claim is None or isinstance(claim, float):
            return claim
        self._probe("after send claim")
        about(outbox=claim.post.id, **claim.about)
        detail("claimed", kind=claim.post.kind, platform=claim.post.place.platform)
        self._sending.add(claim.post.id)
        try:
            more = await self._send(claim)
        finally:
            self._sending.discard(claim.post.id)
        if claim.lane[0] == "person" and claim.post.kind in SAID:
            await self._settled(claim.lane[1])
        return 0.0 if more else None  # what is queued from now on rings the lane itself

    async def _send(self, claim: Claim) -> bool:
        """Send a claimed post; False when it was sent and its lane has nothing more."""
        post = claim.post
        adapter = self._adapter(post)
        if adapter is None:
            await self._later(claim, 60.0, f"{post.place.platform} is not connected")
            return True
        if claim.doubtful and not adapter.repeatable(post):  # it has waited for too long since
            await self._end(claim, "uncertain", outbox.DOUBT)
            return True
        began = self._clock()
        try:
            ready = await self._with_files(post)
            receipt = await adapter.deliver(ready, partial(self._remember, post.id))
        except DeliveryError as error:
            await self._failed(adapter, claim, error)
            return True
        except Exception as error:  # a fault of ours in the adapter must not hold up the lane
            log.exception("delivery failed", row=post.id, kind=post.kind)
            await self._end(claim, "uncertain", type(error).__name__)
            return True
        self._probe("before sent commit")
        called = self._clock()
        more, rung = await self._commit(
            partial(
                receipts.sent,
                row_id=post.id,
                receipt=receipt,
                now=self._clock(),
                album=claim.album,
                nonce=post.nonce,
            )
        )
        self._probe("after sent commit")
        self._sent(post, receipt.message_id, called - began, self._clock() - called)
        self._ring(rung)
        return more

    def _sent(self, post: Post, message_id: str, call: float, commit: float) -> None:
        """Write down that a post has arrived."""
        platform = post.place.platform
        self.sent[platform] += 1
        self._count(post, "sent")
        self._meter.observe("delivery_call", max(0.0, call), platform=platform)
        self._meter.observe("sent_commit", max(0.0, commit))
        milestone("sent", kind=post.kind, message=message_id, delivery_call=round(call * 1000))

    def _count(self, post: Post, outcome: str) -> None:
        self._meter.count("posts", platform=post.place.platform, kind=post.kind, outcome=outcome)

    async def _with_files(self, post: Post) -> Post:
        """Bring the bytes along of whatever cannot be copied where the post goes."""
        home = (post.place.platform, post.place.bot)
        foreign = [one for one in post.media if (one.platform, one.bot) != home]
        if not foreign:
            return post
        files = [await self._fetch(one) for one in foreign]
        return replace(post, files=tuple(files), media=())

    async def _fetch(self, media: Media) -> File:
        source = self._adapters.get((media.platform, media.bot))
        if media.platform == "heed":
            return await self._draw(media)
        if source is None:
            raise Refused(f"{media.platform} is not connected, so its files cannot be had")
        return await source.fetch(media)

    async def _commit(self, operation: Operation[T]) -> T:
        """Write what became of a post, however long the database is busy: it cannot be undone."""
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        while True:
            try:
                return await self._store.write(operation)
            except StoreBusy as error:
                log.warning("outcome not stored yet", cause=str(error))
                await asyncio.sleep(next(pauses))

    async def _failed(  # noqa: C901, PLR0912 - one path for each outcome, side by side
        self, adapter: Adapter, claim: Claim, error: DeliveryError
    ) -> None:
        post, words, now = claim.post, str(error) or type(error).__name__, self._clock()
        log.warning("not delivered", row=post.id, kind=post.kind, cause=type(error).__name__)
        in_group = claim.lane[0] == "person" and not post.private
        if in_group and isinstance(error, Refused | Unreachable):
            self._barred(post.place, words)
        if claim.album and isinstance(error, NoThread | TooLarge):
            await self._commit(partial(receipts.apart, claim=claim, error=words, now=now))
            if isinstance(error, TooLarge):
                return  # each file by itself: only the one that is too large goes in words
        match error:
            case RetryAfter():
                await self._later(claim, error.seconds, f"{outbox.PAUSED}: {words}")
                await self._tell_flood(post, error.seconds)
            case NotSent() if post.media and post.age > FILE_PATIENCE:
                await self._in_words(post, words)  # a file that cannot be had holds up nobody
            case NotSent():
                await self._later(claim, _pause(post), words)
            case OutcomeUnknown():
                if adapter.repeatable(post):
                    await self._later(replace(claim, doubtful=True), _pause(post), words)
                else:
                    await self._end(claim, "uncertain", words)
            case NoThread():
                await self._no_thread(claim, error, words)
            case Unreachable():
                await self._unreachable(claim)
            case TooLarge() if post.media or post.files:
                await self._in_words(post, words)
            case Unchangeable() if post.kind in CHANGES:
                self._ring(
                    await self._commit(
                        partial(flags.correct, row_id=post.id, error=words, say=self._say, now=now)
                    )
                )
            case Refused():
                await self._end(claim, "uncertain" if _shown(claim) else "failed", words)
            case _:
                await self._end(claim, "uncertain", words)

    async def _unreachable(self, claim: Claim) -> None:
        """Hold what waits for a person who cannot be reached, or leave a desk that shut us out.

        What may have arrived before is not held: it must not come again when they are back.
        """
        row, shown = claim.post.id, _shown(claim)
        self._count(claim.post, "unreachable")
        hold = partial(setbacks.unreachable, row_id=row, now=self._clock(), shown=shown)
        case = await self._commit(hold)
        if case is not None:
            await self._lost(case)
        elif claim.lane[0] == "person":
            if shown:
                await self._end(claim, "uncertain", outbox.DOUBT)
            await self._settled(claim.lane[1])

    async def _tell_flood(self, post: Post, seconds: float) -> None:
        if seconds > LONG_FLOOD:
            told = partial(flags.flooded, row_id=post.id, seconds=seconds, say=self._say)
            self._ring(await self._commit(partial(told, now=self._clock())))

    async def _no_thread(self, claim: Claim, error: NoThread, words: str) -> None:
        """Mend the place a post was meant for; the post itself goes there afterwards."""
        row, now = claim.post.id, self._clock()
        if isinstance(error, ThreadShut) and await self._commit(
            partial(setbacks.thread_shut, row_id=row, error=_doubted(claim, words), now=now)
        ):
            return
        gone = isinstance(error, ThreadGone)
        done = await self._commit(
            partial(setbacks.thread_lost, row_id=row, error=words, now=now, gone=gone)
        )
        if done == "failed":
            await self._end(replace(claim, album=()), "failed", words)
        if done == "anew":
            self._ring(
                await self._commit(partial(flags.successor, row_id=row, say=self._say, now=now))
            )

    async def _in_words(self, post: Post, error: str) -> None:
        """A file is too big to be passed on: name and size go in its place."""
        log.info("file too big", row=post.id)
        await self._commit(
            partial(
                flags.in_words,
                row_id=post.id,
                media=post.media,
                error=error,
                say=self._say,
                now=self._clock(),
            )
        )

    async def _remember(self, row_id: int, message_id: str) -> None:
        await self._commit(
            partial(receipts.remember, row_id=row_id, message_id=message_id, now=self._clock())
        )

    async def _later(self, claim: Claim, seconds: float, error: str) -> None:
        """Put a post back. A doubt stays until it is sent, whatever became of a later try."""
        self._count(claim.post, "later")
        detail("put back", seconds=seconds)
        self._ring(
            await self._commit(
                partial(
                    flags.put_back,
                    claim=claim,
                    seconds=seconds,
                    error=_doubted(claim, error),
                    say=self._say,
                    now=self._clock(),
                )
            )
        )

    async def _end(self, claim: Claim, state: outbox.End, error: str) -> None:
        log.error("post given up", row=claim.post.id, kind=claim.post.kind, state=state)
        self._count(claim.post, state)
        now = self._clock()
        for row_id in (claim.post.id, *claim.album):
            lanes = await self._commit(
                partial(
                    flags.give_up, row_id=row_id, state=state, error=error, say=self._say, now=now
                )
            )
            self._ring(lanes)

    def _adapter(self, post: Post) -> Adapter | None:
        return self._adapters.get((post.place.platform, post.place.bot))


def _shown(claim: Claim) -> bool:
    """Say whether a post may stand there already, as a message that nobody knows."""
    return claim.doubtful and claim.post.message_id is None


def _doubted(claim: Claim, error: str) -> str:
    """Return the error of a row that is put back; its doubt stays until it is sent."""
    return f"{outbox.DOUBT}: {error}" if claim.doubtful else error


def _pause(post: Post) -> float:
    """Return how long to wait after a failure: longer the longer it has been failing."""
    for pause in PAUSES:
        if post.age < pause * 2:
            return pause
    return PAUSES[-1]
