"""THE WALK: one message, from taken in to answered.

    take_in   one transaction: raw update + inbox row; crisis and request phrases by code; ring
    work      begin -> hear (tag, mood, decide) -> escalate, relay or reply -> finish
    finish    one transaction, only if owner and version are what they were at begin

The model runs outside every transaction, and its words decide nothing: whether a person is
brought in follows from scores and rules alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from core import reply
from core.engine.mind import Mind, with_scores
from core.engine.ports import Limits, ReplyRequest, Started, Writer
from core.handoff import Handoff
from core.hearing import Ear, Verdict, tag_data
from core.message import Arrival, Message, Place, TextLimit
from core.plans import Planner
from core.ports import Adapter, Board, Clock, Event, EventKind, Probe, desk_message, no_probe
from core.store import Store, intake, turns
from core.store.desk import Opening
from core.store.outbox import Lane
from core.store.streams import open_stream
from core.store.turns import Finished, Plan, Start
from core.texts import STAFF, Texts
from core.triggers import match

log = structlog.get_logger(__name__)

MATTERS = ("crisis", "request", "threat", "money")  # phrases that a cut must not lose
RESTARTS = 2  # times a new message may restart a reply of which nothing was shown
TYPING = 4.0  # seconds between typing signs
AT_ONCE = 0.25  # seconds; an answer that comes sooner needs no typing sign
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
    moved: Callable[[Message], None] = lambda _: None  # a chat, perhaps a desk, has another id
    limits: Limits = field(default_factory=Limits)
    secret: Callable[[], str] = str  # the reply prompt's system text, which must not leak
    facts: bool = False  # a model may name only what the person or the operator has named
    probe: Probe = no_probe


@dataclass(kw_only=True)
class Running:
    """A turn that is at work now."""

    writing: asyncio.Timeout | None = None  # ends the reply that is being written
    stopped: bool = False  # something matters more than this reply
    shown: str = ""
    restarts: int = 0

    def stop(self) -> None:
        """Stop the reply: the one that is being written now, or the one that was to be."""
        self.stopped = True
        if self.writing is not None and not self.writing.expired():
            self.writing.reschedule(asyncio.get_running_loop().time())


class Walk:
    """Takes messages in and answers them."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._running: dict[int, Running] = {}
        self._restarts: dict[int, int] = {}
        self._retried: dict[int, int] = {}  # conversation -> the row whose reply failed once

    # --- in -------------------------------------------------------------------------------

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """Store every arrival in one transaction, then ring the lanes. See core.ports.Door."""
        rooms = self.rooms
        clean = [self._short(intake.tidy(a)) for a in arrivals if not _of_a_bot(a)]
        ready = [(arrival, self._urgency(arrival.message)) for arrival in clean]
        rooms.probe("before intake commit")
        taken = await rooms.store.write(
            partial(intake.take_in, arrivals=ready, now=rooms.clock(), mark=cursor)
        )
        rooms.probe("after intake commit")
        for item in taken:
            if item.inbox_id is not None and item.conversation_id is not None:
                self._disturb(item.conversation_id, urgent=bool(item.urgent))
                rooms.ring(item.conversation_id)
        found = iter(taken)
        return [None if _of_a_bot(a) else next(found).inbox_id for a in arrivals]

    def _short(self, arrival: Arrival) -> Arrival:
        """Cut a text that is too long; phrases that were lost by that are kept at its end."""
        message, most = arrival.message, self.rooms.planner.message_chars
        if message is None or len(message.text) <= most or desk_message(message, self.rooms.desks):
            return arrival
        kept = f"{message.text[:most]}…"
        whole, left = match(message.text), match(kept)
        lost = [getattr(whole, kind) for kind in MATTERS if not getattr(left, kind)]
        return replace(
            arrival, message=replace(message, text="\n".join([kept, *filter(None, lost)]))
        )

    def _urgency(self, message: Message | None) -> str:
        if message is None or desk_message(message, self.rooms.desks):
            return ""
        if message.command == "human" or message.data == "u:human":
            return "request"
        triggers = match(message.text) if message.kind in ("said", "edited") else None
        if triggers is None:
            return ""
        return "crisis" if triggers.crisis else "request" if triggers.request else ""

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
            partial(turns.begin, conversation_id=conversation_id, now=rooms.clock())
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
        elif desk_message(first.message, rooms.desks):
            await rooms.handoff.staff_message(start)
        elif start.staff and not start.private:
            await rooms.handoff.in_public(start)
            self.closed(start)
        elif first.message.kind == "said":
            await self._said(start)
        else:
            await rooms.commands(start)
        return 0.0

    async def _said(self, start: Start) -> None:
        running = Running(restarts=self._restarts.get(start.conversation_id, 0))
        self._running[start.conversation_id] = running
        try:
            async with self._typing(start):
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
            plan = rooms.planner.refused(start, verdict)
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

    async def hear(self, start: Start, *, command: bool = False) -> Verdict:
        """Tag, step the mood and decide for every row of a start; tell the tags at once."""

        def tell(begun: Start, inbox_id: int, tag: Mapping[str, Any]) -> None:
            self._tell(begun, inbox_id, "tag", tag)

        def wait(ahead: int) -> None:
            self._tell(start, start.rows[-1].id, "waiting", {"ahead": ahead})

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
                    show=partial(self._show, start, running, live=live),
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

    async def _show(self, start: Start, running: Running, text: str, *, live: bool) -> bool:
        """Show the guarded text so far, under an outbox row that a claim can withdraw."""
        rooms = self.rooms
        first = start.rows[0].id
        adapter = rooms.adapters.get((start.key.platform, start.key.bot))
        if not running.shown:
            rooms.probe("before stream row")
            shows = adapter is not None and adapter.previews(start.key.place)
            row = await rooms.store.write(
                partial(
                    open_stream,
                    conversation_id=start.conversation_id,
                    inbox_id=first,
                    standing=start.standing,
                    now=rooms.clock(),
                    shown=text if shows else "",
                )
            )
            if row is None:
                return False
            rooms.probe("stream row opened")
        self._tell(start, start.rows[-1].id, "token", {"text": text[len(running.shown) :]})
        running.shown = text
        if adapter is not None and not live:
            await adapter.preview(start.key.place, first, text)
        rooms.probe("text shown")
        return True

    def _limit(self, start: Start) -> TextLimit:
        adapter = self.rooms.adapters.get((start.key.platform, start.key.bot))
        return TextLimit(size=1900) if adapter is None else adapter.limit

    @asynccontextmanager
    async def _typing(self, start: Start) -> AsyncIterator[None]:
        """Show that somebody is thinking, for as long as the turn lasts."""
        adapter = self.rooms.adapters.get((start.key.platform, start.key.bot))
        if adapter is None or start.owner != "bot" or not start.addressed:
            yield
            return
        signs: list[asyncio.Task[None]] = []

        def begin() -> None:
            signs.append(asyncio.create_task(_keep_typing(adapter, start.key.place)))

        soon = asyncio.get_running_loop().call_later(AT_ONCE, begin)  # most turns are over by then
        try:
            yield
        finally:
            soon.cancel()
            for task in signs:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

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
        self._show_rest(start, plan, shown.lstrip())
        self._report(start, plan, finished)
        return finished

    def _show_rest(self, start: Start, plan: Plan, shown: str) -> None:
        """Tell the end of a reply, which is whole only now: its tokens together are its text."""
        text = "" if plan.answer is None else plan.answer.text
        rest = text.removeprefix(shown)
        if rest and (rest != text or not shown):  # a fallback is no continuation of what was shown
            self._tell(start, plan.heard[-1].row.id, "token", {"text": rest})

    def _report(self, start: Start, plan: Plan, finished: Finished) -> None:
        """Tell whoever follows along; callers of a merged burst learn whose answer is theirs."""
        last = plan.heard[-1]
        words = [plan.answer.text] if plan.answer is not None else list(plan.notices)
        for opening in (plan.opening, plan.reopen):
            if isinstance(opening, Opening):
                words.append(opening.notice)
            elif opening is not None:
                words.append(opening[0])
        said = "\n\n".join(filter(None, words)) or None
        known: dict[str, Any] = {
            "mood": round(plan.mood, 4),
            "escalated": finished.owner != "bot",
            "owner": finished.owner,
            "case": finished.case_id,
        }
        if plan.answer is not None:
            known |= {"model": plan.answer.model, "prompt_version": plan.answer.prompt}
        for heard in plan.heard:
            mine = {"response": said} if heard is last else {"answered_by": last.row.id}
            self._done(start, heard.row.id, tag_data(heard.scores), {**known, **mine})
        self._tell(start, last.row.id, "line", {"owner": finished.owner})
        if finished.case_id is not None:
            told = {
                "case": finished.case_id,
                "new": finished.opened,
                "alert": list(finished.alert),
            }
            self._tell(start, last.row.id, "case", told)

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
        self.closed(start, words)

    def closed(self, start: Start, words: str = "") -> None:
        """Tell whoever waits for a start's rows that they are done without a turn of their own."""
        for row in start.rows:
            self._done(start, row.id, tag_data(None), {"response": words or None})
        self._tell(start, start.rows[-1].id, "line", {})

    def _done(
        self, start: Start, inbox_id: int, tag: Mapping[str, Any], known: Mapping[str, Any]
    ) -> None:
        """Tell what came of one message: the fields of POST /chat, whatever ended it."""
        data = {
            **{name: tag[name] for name in ("sentiment", "intensity", "strong")},
            "mood": 0.0,
            "response": None,
            "escalated": start.owner != "bot",
            "owner": start.owner,
            "case": start.case_id,
            "message_id": inbox_id,
            "model": self.rooms.mind.name,
            "prompt_version": "",
            **known,
        }
        self._tell(start, inbox_id, "done", data)

    def _tell(self, start: Start, inbox_id: int, kind: EventKind, data: Mapping[str, Any]) -> None:
        self.rooms.board.tell(Event(kind=kind, key=start.key, data=data, inbox=inbox_id))


async def _keep_typing(adapter: Adapter, place: Place) -> None:
    while True:
        await adapter.typing(place)
        await asyncio.sleep(TYPING)


async def _take_back(writer: Writer, started: Started) -> None:
    """Cancel a reply; an engine that hangs is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await writer.cancel(started)


def _of_a_bot(arrival: Arrival) -> bool:
    return arrival.message is not None and arrival.message.author.is_bot
