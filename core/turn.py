"""THE WALK: one message, from taken in to answered.

    take_in   one transaction: raw update + inbox row; crisis and request phrases by code; ring
    work      begin -> hear (tag, mood, decide) -> escalate, relay or reply -> finish
    finish    one transaction, only if owner and version are what they were at begin

The model runs outside every transaction, and its words decide nothing: whether a person is
brought in follows from scores and rules alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from core import reply
from core.access import Access, asks_where
from core.arrivals import of_a_bot, shortened, urgency
from core.engine.mind import Mind, with_scores
from core.engine.ports import Limits, ReplyRequest, Started, Writer
from core.handoff import Handoff
from core.hearing import Ear, Verdict
from core.message import Arrival, Message, Place, TextLimit
from core.plans import RECENT, Planner
from core.ports import Adapter, Board, Clock, Probe, desk_message, no_probe
from core.report import Report
from core.store import Connection, Store, doors, intake, pairs, spent, turns
from core.store.outbox import Lane
from core.store.turns import Finished, Plan, Start
from core.stream import Stream
from core.texts import STAFF, Texts

log = structlog.get_logger(__name__)

RESTARTS = 2  # times a new message may restart a reply of which nothing was shown
HANGS = "the engine hangs"
GRACE = 5.0  # seconds an engine may be over its own time before it counts as hung


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Everything the walk walks through, wired once by bot.app."""

    store: Store
    mind: Mind
    ear: Ear
    planner: Planner
    texts: Texts
    handoff: Handoff
    board: Board
    clock: Clock
    adapters: Mapping[tuple[str, str], Adapter]
    desks: Sequence[Place]
    ring: Callable[[int], None]  # a conversation's lane
    deliver: Callable[[Sequence[Lane]], None]
    commands: Callable[[Start], Awaitable[None]]  # rows that are no ordinary message
    alarm: Callable[[str], None] = lambda _: None  # a sentence for the operator
    access: Access = field(default_factory=Access)  # whom the bot serves
    scope: str = "person"  # whose words of a group a reply goes by: person, thread or chat
    moved: Callable[[Message], None] = lambda _: None  # a chat, perhaps a desk, has another id
    limits: Limits = field(default_factory=Limits)
    secret: Callable[[], str] = str  # the reply prompt's system text, which must not leak
    facts: bool = False  # a model may name only what the person or the operator has named
    probe: Probe = no_probe


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


class Walk:
    """Takes messages in and answers them."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.report = Report(board=rooms.board, model=lambda: self.rooms.mind.name)
        self._running: dict[int, Running] = {}
        self._restarts: dict[int, int] = {}
        self._retried: dict[int, int] = {}  # conversation -> the row whose reply failed once

    # --- in -------------------------------------------------------------------------------

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """Store every arrival in one transaction, then ring the lanes. See core.ports.Door."""
        rooms = self.rooms
        ready = [self._ready(intake.tidy(one)) for one in arrivals if not of_a_bot(one)]
        rooms.probe("before intake commit")
        admit = doors.Doors(access=rooms.access, desks=rooms.desks).admit
        taken = await rooms.store.write(
            partial(intake.take_in, arrivals=ready, now=rooms.clock(), mark=cursor, admit=admit)
        )
        rooms.probe("after intake commit")
        for item in taken:
            if item.inbox_id is not None and item.conversation_id is not None:
                self._disturb(item.conversation_id, urgent=bool(item.urgent))
                rooms.ring(item.conversation_id)
        found = iter(taken)
        return [None if of_a_bot(one) else next(found).inbox_id for one in arrivals]

    def _ready(self, arrival: Arrival) -> tuple[Arrival, str]:
        """Return what is stored of an arrival, and how urgent it is; staff's own is neither."""
        message = arrival.message
        if message is None or desk_message(message, self.rooms.desks):
            return arrival, ""
        short = shortened(message, self.rooms.planner.message_chars)
        return replace(arrival, message=short), urgency(short)

    def _disturb(self, conversation_id: int, *, urgent: bool) -> None:
        """A new message stops a reply of which nothing was shown yet; an urgent one any."""
        running = self._running.get(conversation_id)
        if running is None:
            return
        if urgent or (not running.shown and running.restarts < RESTARTS):
            running.stop()

    def interrupt(self, conversation_id: int) -> None:
        """A human took over, or the person is gone: stop what is being written to them."""
        running = self._running.get(conversation_id)
        if running is not None:
            running.stop()

    # --- one turn -------------------------------------------------------------------------

    async def work(self, conversation_id: int) -> float | None:
        """Take one turn of a conversation. None: nothing was left to do."""
        rooms = self.rooms
        start = await rooms.store.write(
            partial(
                turns.begin,
                conversation_id=conversation_id,
                now=rooms.clock(),
                allowance=rooms.planner.allowance,
                scope=rooms.scope,
            )
        )
        if start is None:
            self._restarts.pop(conversation_id, None)
            self._retried.pop(conversation_id, None)
            return None
        first = start.rows[0]
        if first.tries > turns.TRIES:
            await self._set_aside(start)
        elif first.message.kind == "moved":
            rooms.moved(first.message)
            await rooms.commands(start)
        elif any(row.urgent == doors.SHUT for row in start.rows):
            await self._turn_away(start)
        elif first.message.kind == "joined" or asks_where(first.message):
            await rooms.commands(start)  # also at a desk, which may be one only from now on
        elif desk_message(first.message, rooms.desks):
            await rooms.handoff.staff_message(start)
        elif first.message.kind == "said" and await self._between_staff_and_people(start):
            await rooms.handoff.in_public(start)
            self.report.closed(start)
        elif first.message.kind == "said":
            await self._said(start)
        else:
            await rooms.commands(start)
        return 0.0

    async def _turn_away(self, start: Start) -> None:
        """Tell who is not let in, and leave what else is in the burst to the next turn."""
        rest = [row.id for row in start.rows if row.urgent != doors.SHUT]
        await self.rooms.store.write(partial(turns.untried, ids=rest))
        start = replace(start, rows=tuple(r for r in start.rows if r.urgent == doors.SHUT))
        await self.finish(start, self.rooms.planner.shut(start))

    async def _between_staff_and_people(self, start: Start) -> bool:
        """Say whether a member of staff talks in a group, and not to the bot."""
        if not start.staff or start.private:
            return False
        keys = [
            replace(row.message.key, user=row.message.reply_to_author)
            for row in start.rows
            if row.message.reply_to_author
        ]

        def to_somebody(connection: Connection) -> bool:
            return any(pairs.conversation_of(connection, key) is not None for key in keys)

        return not start.addressed or await self.rooms.store.read(to_somebody)

    async def _said(self, start: Start) -> None:
        stream = self._stream(start)
        running = Running(stream=stream, restarts=self._restarts.get(start.conversation_id, 0))
        self._running[start.conversation_id] = running
        try:
            async with stream.thinking():
                await self._answer(start, running)
        finally:
            del self._running[start.conversation_id]

    async def _answer(self, start: Start, running: Running) -> None:
        """Hear the burst, decide, and answer if the machine may."""
        rooms = self.rooms
        if (plan := rooms.planner.shut_out(start)) is not None:
            await self.finish(start, plan)
            return
        rooms.probe("model start")
        verdict = await self.hear(start)
        rooms.probe("model end")
        hearing, plan = verdict.hearing, rooms.planner.silent(start, verdict)
        if plan is None:
            told = await self._told_already(start, verdict)
            plan = rooms.planner.refused(start, verdict, told=told)
        if plan is not None and plan.looped:
            log.error("a loop was stopped", conversation=start.conversation_id)
            number = f"{start.key.platform} #{start.conversation_id}"  # a name could not be erased
            rooms.alarm(rooms.texts.say("loop_stopped", STAFF, who=number))
        if plan is None:
            try:
                await self._reply(start, verdict, running)
            except BaseException:  # whatever it was, the engine is not left with half a reply
                if hearing.started is not None and hearing.writer is not None:
                    await _take_back(hearing.writer, hearing.started)
                raise
            return
        if hearing.started is not None and hearing.writer is not None:
            await _take_back(hearing.writer, hearing.started)
        await self.finish(start, plan)

    async def _told_already(self, start: Start, verdict: Verdict) -> bool:
        """Say whether a group that has had enough answers can read so already."""
        rooms = self.rooms
        if start.private or not rooms.planner.allowance.crowded(start.spent):
            return False
        texts, since = rooms.texts, rooms.clock() - RECENT
        ways = {texts.say("busy", lang) for lang in (*texts.languages, verdict.lang)}
        said = partial(spent.said_in, place=start.key.place, words=ways, since=since)
        return await rooms.store.read(said)

    async def hear(self, start: Start, *, command: bool = False) -> Verdict:
        """Tag, step the mood and decide for every row of a start; tell the tags at once."""

        def tell(begun: Start, inbox_id: int, tag: Mapping[str, Any]) -> None:
            self.report.tell(begun, inbox_id, "tag", tag)

        def wait(ahead: int) -> None:
            self.report.tell(start, start.rows[-1].id, "waiting", {"ahead": ahead})

        return await self.rooms.ear.hear(start, tell, command=command, wait=wait)

    async def _reply(self, start: Start, verdict: Verdict, running: Running) -> None:
        rooms, hearing = self.rooms, verdict.hearing
        started, writer = hearing.started, hearing.writer
        if started is None and hearing.stand_in and rooms.mind.speaks:
            await self.finish(start, rooms.planner.apology(verdict))
            return
        if started is None or writer is None:
            started, writer = await self._phrases(start, verdict), rooms.mind.phrases
        written = await self._write(start, verdict, writer, started, running)
        failed = written is not None and written.failed and written.problem != HANGS
        once_more = failed and self._may_retry(start, running)
        if written is None or written.stopped or once_more:
            await self._cut_off(start, running)
            self._restarts[start.conversation_id] = running.restarts + 1
            await _take_back(writer, started)
            await rooms.store.write(
                partial(turns.untried, ids=[row.id for row in start.rows])
            )  # on disk: a restart must not make a failure of it
            return
        plan: Plan | None = None
        if written.failed:
            verdict = rooms.ear.failed(verdict)
            plan = rooms.planner.silent(start, verdict)  # the second failure brings a person
        if plan is None:
            plan = rooms.planner.answer(start, verdict, started, written, self._limit(start))
        finished = await self.finish(start, plan, shown=running.shown)
        if finished is None and plan.answer is not None:
            log.info("reply not sent", length=len(plan.answer.text))
            await self._cut_off(start, running)
        if finished is None or written.problem:
            await _take_back(writer, started)
        else:
            await writer.settle(started, kept=True)

    async def _cut_off(self, start: Start, running: Running) -> None:
        """Tell staff of an answer that a human's turn ended; nothing else is told of."""
        changed = await self.rooms.handoff.cut_off(start, running.shown)
        if changed is not None:
            self.rooms.deliver(changed.lanes)

    def _may_retry(self, start: Start, running: Running) -> bool:
        """Whether a turn that the engine failed may be taken once more: nothing was shown."""
        again = not running.shown and self._retried.get(start.conversation_id) != start.rows[0].id
        if again:
            self._retried[start.conversation_id] = start.rows[0].id
        return again

    async def _write(
        self, start: Start, verdict: Verdict, writer: Writer, started: Started, running: Running
    ) -> reply.Written | None:
        """Write the reply, unless something happens that matters more; then None."""
        rooms = self.rooms
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
        rooms = self.rooms
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
        rooms = self.rooms
        by = await self._phrases(start, verdict)
        try:
            pieces = rooms.mind.phrases.continue_reply(by, rooms.limits, verdict.past.mood.level)
            text = "".join([piece async for piece in pieces])
        finally:
            await rooms.mind.phrases.settle(by, kept=True)
        return replace(written, text=text.strip() or written.text, by=by)

    async def _phrases(self, start: Start, verdict: Verdict) -> Started:
        """Let the phrase book begin an answer to what was heard."""
        rooms = self.rooms
        request = with_scores(
            rooms.ear.request(start),
            scores=verdict.scores,
            level=verdict.past.mood.level,
            lang=verdict.lang,
        )
        return await rooms.mind.start(request)

    def _stream(self, start: Start) -> Stream:
        rooms = self.rooms

        def tell(piece: str) -> None:
            self.report.tell(start, start.rows[-1].id, "token", {"text": piece})

        return Stream(
            start=start,
            adapter=rooms.adapters.get((start.key.platform, start.key.bot)),
            store=rooms.store,
            clock=rooms.clock,
            say=rooms.texts.say,
            ring=rooms.deliver,
            tell=tell,
            probe=rooms.probe,
        )

    def _limit(self, start: Start) -> TextLimit:
        adapter = self.rooms.adapters.get((start.key.platform, start.key.bot))
        return TextLimit(size=1900) if adapter is None else adapter.limit

    # --- out ------------------------------------------------------------------------------

    async def finish(self, start: Start, plan: Plan, *, shown: str = "") -> Finished | None:
        """Write the turn; None when somebody else moved the conversation: it is taken again."""
        rooms = self.rooms
        rooms.probe("before done commit")
        finished = await rooms.store.write(
            partial(
                turns.finish,
                start=start,
                plan=plan,
                desk=rooms.handoff.facts(),
                now=rooms.clock(),
            )
        )
        if finished is None:
            return None
        rooms.probe("after done commit")
        rooms.deliver(finished.lanes)
        self.report.rest(start, plan, shown.lstrip())
        self.report.finished(start, plan, finished)
        return finished

    async def _set_aside(self, start: Start) -> None:
        """A message that failed too often is parked, visibly; its conversation goes on."""
        rooms = self.rooms
        log.error("message set aside", rows=[row.id for row in start.rows])
        desk_chat = desk_message(start.rows[0].message, rooms.desks)
        words = "" if desk_chat else rooms.texts.say("apology", start.lang)
        lanes = await rooms.store.write(
            partial(
                turns.set_aside, start=start, error="five tries", notice=words, now=rooms.clock()
            )
        )
        rooms.deliver(lanes)
        self.report.closed(start, words)


async def _take_back(writer: Writer, started: Started) -> None:
    """Cancel a reply; an engine that hangs is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await writer.cancel(started)
