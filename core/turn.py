"""THE WALK: one message, from taken in to answered.

    take_in   one transaction: raw update + inbox row; crisis and request phrases by code; ring
    work      begin -> hear (tag, mood, decide) -> escalate, relay or reply -> finish
    finish    one transaction, only if owner and version are what they were at begin

The model runs outside every transaction, and its words decide nothing: whether a person is
brought in follows from scores and rules alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from core.access import asks_where
from core.arrivals import crowd_of, of_a_bot, shortened, urgency
from core.engine.mind import take_back
from core.errors import StoreBusy
from core.hearing import Verdict
from core.journal import Course, about, detail, milestone, named
from core.message import Arrival, TextLimit
from core.plans import RECENT
from core.ports import desk_message
from core.report import Report
from core.rooms import Rooms
from core.store import Connection, doors, intake, pairs, spent, turns
from core.store.turns import Finished, Plan, Start, Tried
from core.stream import Stream
from core.texts import STAFF
from core.writing import HANGS, Pen, Running

log = structlog.get_logger(__name__)

RESTARTS = 2  # times a new message may restart a reply of which nothing was shown


class Walk:
    """Takes messages in and answers them."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.report = Report(board=rooms.board, model=lambda: self.rooms.mind.name)
        self._pen = Pen(lambda: self.rooms)
        self._running: dict[int, Running] = {}
        self._restarts: dict[int, int] = {}
        self._tried: dict[int, Tried] = {}  # of conversations at work: what became of their tries
        self._courses: dict[int, Course] = {}  # of the turns at work
        self.heard: dict[str, float] = {}  # by platform: when something came the last time
        self.turns = 0  # that came to an end, for whoever watches that some do
        self._retried: dict[int, int] = {}  # conversation -> the row whose reply failed once

    # --- in -------------------------------------------------------------------------------

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """Store every arrival in one transaction, then ring the lanes. See core.ports.Door."""
        rooms = self.rooms
        ready = [self._ready(intake.tidy(one)) for one in arrivals if not of_a_bot(one)]
        rooms.probe("before intake commit")
        asked = rooms.clock()
        admit = doors.Doors(access=rooms.access, desks=rooms.desks).admit
        taken = await rooms.store.write(
            partial(intake.take_in, arrivals=ready, now=rooms.clock(), mark=cursor, admit=admit)
        )
        rooms.probe("after intake commit")
        rooms.meter.observe("intake_commit", max(0.0, rooms.clock() - asked))
        for (arrival, _), item in zip(ready, taken, strict=True):
            self._note(arrival, item)
            if item.inbox_id is not None and item.conversation_id is not None:
                self._disturb(item.conversation_id, urgent=bool(item.urgent))
                rooms.ring(item.conversation_id, crowd_of(arrival.message))
        found = iter(taken)
        return [None if of_a_bot(one) else next(found).inbox_id for one in arrivals]

    def _note(self, arrival: Arrival, item: intake.Taken) -> None:
        """Write down what became of an arrival."""
        outcome = "stored"
        if item.inbox_id is None:
            outcome = "duplicate" if item.conversation_id is not None else "ignored"
            outcome = "parked" if arrival.message is None and arrival.error else outcome
        self.heard[arrival.platform] = self.rooms.clock()
        self.rooms.meter.count("messages", platform=arrival.platform, outcome=outcome)
        ids = {"inbox": item.inbox_id, "conversation": item.conversation_id}
        detail("taken in", outcome=outcome, platform=arrival.platform, urgent=item.urgent, **ids)

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
        rooms, tried = self.rooms, self._tried.get(conversation_id, Tried())
        start = await rooms.store.write(
            partial(
                turns.begin,
                conversation_id=conversation_id,
                now=rooms.clock(),
                allowance=rooms.planner.allowance,
                scope=rooms.scope,
                tried=tried,
            )
        )
        if start is None:
            for known in (self._restarts, self._retried, self._tried):
                known.pop(conversation_id, None)
            return None
        ids = [row.id for row in start.rows]
        about(conversation=conversation_id, **named(ids))
        detail("turn begun", kind=start.rows[0].message.kind, tries=start.rows[0].tries)
        course = Course(rooms.meter, rooms.clock, start.rows[0].received_at)
        self._courses[conversation_id] = course
        tried = replace(tried, blameless=())
        try:
            await self._take(start)
        except StoreBusy:  # no fault of the message's: the next try is this one, taken again
            tried = replace(tried, blameless=ids)
            raise
        except Exception:  # one of them it was, and nobody knows which
            if len(ids) > 1:
                tried = Tried(blameless=ids, apart=[*tried.apart, *ids])
            raise
        finally:
            self._tried[conversation_id] = tried
            del self._courses[conversation_id]
        self.turns += 1
        rooms.meter.count("turns", outcome=course.outcome)
        milestone(course.outcome, **course.took)
        return 0.0

    async def _take(self, start: Start) -> None:
        """Do with a burst what its kind asks for."""
        rooms, first = self.rooms, start.rows[0]
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
        hearing = verdict.hearing
        try:
            plan = await self._unsaid(start, verdict)
            if plan is None:
                await self._reply(start, verdict, running)
                return
        except BaseException:  # whatever it was, the engine is not left with half a reply
            await take_back(hearing.writer, hearing.started)
            raise
        await take_back(hearing.writer, hearing.started)
        await self.finish(start, plan)

    async def _unsaid(self, start: Start, verdict: Verdict) -> Plan | None:
        """Return what happens where the machine is not to answer; None: it is."""
        rooms = self.rooms
        plan = rooms.planner.silent(start, verdict)
        if plan is None:
            told = await self._told_already(start, verdict)
            plan = rooms.planner.refused(start, verdict, told=told)
        if plan is not None and plan.looped:
            log.error("a loop was stopped", conversation=start.conversation_id)
            number = f"{start.key.platform} #{start.conversation_id}"  # a name could not be erased
            rooms.alarm(rooms.texts.say("loop_stopped", STAFF, who=number))
        return plan

    async def _told_already(self, start: Start, verdict: Verdict) -> bool:
        """Say whether a group that has had enough answers can read so already."""
        rooms = self.rooms
        if start.private or not rooms.planner.allowance.crowded(start.spent):
            return False
        texts, since = rooms.texts, rooms.clock() - RECENT
        ways = {texts.say("busy", lang) for lang in (*texts.languages, verdict.lang)}
        said = partial(spent.said_in, place=start.key.place, words=ways, since=since)
        return await rooms.store.read(said)

    async def hear(self, start: Start, *, command: bool = False, answered: bool = True) -> Verdict:
        """Tag, step the mood and decide for every row of a start; tell the tags at once.

        Not `answered`: no reply follows, so none is begun.
        """

        def tell(begun: Start, inbox_id: int, tag: Mapping[str, Any]) -> None:
            self.report.tell(begun, inbox_id, "tag", tag)

        def wait(ahead: int) -> None:
            self.report.tell(start, start.rows[-1].id, "waiting", {"ahead": ahead})

        verdict = await self.rooms.ear.hear(
            start, tell, command=command, wait=wait, answered=answered
        )
        self._heard(start, verdict)
        return verdict

    def _heard(self, start: Start, verdict: Verdict) -> None:
        """Write down what hearing came to."""
        meter, hearing, decision = self.rooms.meter, verdict.hearing, verdict.decision
        self._course(start).lap("hear")
        if hearing.stand_in:
            meter.count("stand_ins")
        if hearing.problem:
            meter.count("engine_failures", step="hear")
        detail("heard", stand_in=hearing.stand_in, failed=bool(hearing.problem))
        detail("decided", rule=decision.rule, level=verdict.past.mood.level, opens=decision.open)

    def _course(self, start: Start) -> Course:
        """Return how the turn has gone so far."""
        found = self._courses.get(start.conversation_id)
        rooms = self.rooms
        return found or Course(rooms.meter, rooms.clock, start.rows[0].received_at)

    async def _reply(self, start: Start, verdict: Verdict, running: Running) -> None:
        rooms, hearing = self.rooms, verdict.hearing
        started, writer = hearing.started, hearing.writer
        if started is None and hearing.stand_in and rooms.mind.speaks:
            await self.finish(start, rooms.planner.apology(verdict))
            return
        if started is None or writer is None:
            started, writer = await self._pen.phrases(start, verdict), rooms.mind.phrases
        written = await self._pen.write(start, verdict, writer, started, running)
        course = self._course(start)
        course.lap("write")
        if written is not None and written.failed:
            rooms.meter.count("engine_failures", step="reply")
        failed = written is not None and written.failed and written.problem != HANGS
        once_more = failed and self._may_retry(start, running)
        if written is None or written.stopped or once_more:
            course.outcome = "retried" if once_more else "interrupted"
            await self._cut_off(start, running)
            self._restarts[start.conversation_id] = running.restarts + 1
            await take_back(writer, started)
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
            detail("reply thrown away", length=len(plan.answer.text))
            await self._cut_off(start, running)
        if finished is None or written.problem:
            await take_back(writer, started)
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

    def _stream(self, start: Start) -> Stream:
        rooms = self.rooms

        course = self._course(start)

        def tell(piece: str) -> None:
            if "first_text" not in course.took:
                course.since_arrival("first_text")
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
        rooms, course = self.rooms, self._course(start)
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
        course.lap("finish_commit")
        if finished is None:
            course.outcome = "thrown away"
            return None
        rooms.probe("after done commit")
        course.outcome = _outcome(plan, finished)
        if plan.answer is not None:
            course.since_arrival("reply")
        if plan.opening is not None and finished.opened:
            rooms.meter.count("escalations", rule=plan.opening.rule)
        rooms.deliver(finished.lanes)
        self.report.rest(start, plan, shown.lstrip())
        self.report.finished(start, plan, finished)
        return finished

    async def _set_aside(self, start: Start) -> None:
        """A message that failed too often is parked, visibly; its conversation goes on."""
        rooms = self.rooms
        log.error("message set aside", rows=[row.id for row in start.rows])
        self._course(start).outcome = "set aside"
        desk_chat = desk_message(start.rows[0].message, rooms.desks)
        words = "" if desk_chat else rooms.texts.say("apology", start.lang)
        lanes = await rooms.store.write(
            partial(
                turns.set_aside, start=start, error="five tries", notice=words, now=rooms.clock()
            )
        )
        rooms.deliver(lanes)
        self.report.closed(start, words)


def _outcome(plan: Plan, finished: Finished) -> str:
    """Say in one word what came of a turn that was written."""
    if finished.opened:
        return "escalated"
    if plan.answer is not None:
        return "answered"
    if plan.copies:
        return "relayed"
    return "told" if plan.notices else "silent"
