"""Writing a reply within a turn: in time, within its bounds, and until something matters more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from core import reply
from core.engine.mind import GRACE, with_scores
from core.engine.ports import ReplyRequest, Started, Writer
from core.hearing import Verdict
from core.rooms import Rooms
from core.store.turns import Start
from core.stream import Stream

HANGS = "the engine hangs"


@dataclass(kw_only=True)
class Running:
    """A turn that is at work now."""

    stream: Stream
    writing: asyncio.Timeout | None = None  # ends the reply that is being written
    stopped: bool = False  # something matters more than this reply
    restarts: int = 0

    @property
    def shown(self) -> str:
        """What the person has seen of it."""
        return self.stream.shown

    def stop(self) -> None:
        """Stop the reply: the one that is being written now, or the one that was to be."""
        self.stopped = True
        if self.writing is not None and not self.writing.expired():
            self.writing.reschedule(asyncio.get_running_loop().time())


class Pen:
    """Writes with the engine of the moment, or with the phrase book."""

    def __init__(self, rooms: Callable[[], Rooms]) -> None:
        self._rooms = rooms  # those of the moment: the operator may exchange some

    async def write(
        self, start: Start, verdict: Verdict, writer: Writer, started: Started, running: Running
    ) -> reply.Written | None:
        """Write the reply, unless something happens that matters more; then None."""
        rooms = self._rooms()
        live, level = writer is rooms.mind.phrases, verdict.past.mood.level
        patience = 0.0 if running.stopped else rooms.limits.seconds + GRACE
        running.writing = asyncio.timeout(patience)
        try:
            async with running.writing:
                written = await reply.write(
                    writer,
                    started,
                    limits=rooms.limits,
                    level=level,
                    fallback=rooms.texts.say("fallback", verdict.lang),
                    bounds=self._bounds(started.request),
                    opening=reply.opening_of(started.request, rooms.texts, level, verdict.lang),
                    show=partial(running.stream.show, live=live),
                    live=live,
                )
                if written.problem == reply.INVENTED:
                    return await self._by_the_book(start, verdict, written)
                return written
        except TimeoutError:
            if running.stopped:
                return None
            if not running.writing.expired():  # not ours: an adapter's own
                raise
            words = rooms.texts.say("fallback", verdict.lang)
            return reply.Written(text=words, problem=HANGS, failed=True)
        finally:
            running.writing = None

    def _bounds(self, request: ReplyRequest) -> reply.Bounds:
        rooms = self._rooms()
        return reply.bounds_of(
            request,
            secret=rooms.secret(),
            knowledge=rooms.mind.knowledge if rooms.facts else "",
            texts=rooms.texts,
            facts=rooms.facts,
        )

    async def _by_the_book(
        self, start: Start, verdict: Verdict, written: reply.Written
    ) -> reply.Written:
        """Return what the phrase book says in the place of a reply that made things up."""
        rooms = self._rooms()
        by = await self.phrases(start, verdict)
        try:
            pieces = rooms.mind.phrases.continue_reply(by, rooms.limits, verdict.past.mood.level)
            text = "".join([piece async for piece in pieces])
        finally:
            await rooms.mind.phrases.settle(by, kept=True)
        return replace(written, text=text.strip() or written.text, by=by)

    async def phrases(self, start: Start, verdict: Verdict) -> Started:
        """Let the phrase book begin an answer to what was heard."""
        rooms = self._rooms()
        request = with_scores(
            rooms.ear.request(start),
            scores=verdict.scores,
            level=verdict.past.mood.level,
            lang=verdict.lang,
        )
        return await rooms.mind.start(request)
