"""What a person does to what was said already: edits, deletions, reactions; and being there at all.

Each is one inbox row, carried out and closed in one transaction like any message.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from core.escalation import past_from_row, past_to_row, unsaid as unheard
from core.message import Message, Scores
from core.mood import Mood, step
from core.store import (
    Connection,
    bygones,
    desk,
    feedback,
    lines,
    pairs,
    record,
    relay,
    streams,
    turns,
    unsaid,
    views,
)
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.turns import Start
from core.texts import STAFF
from core.turn import Walk

WAS = 300  # characters of an edited text's old words that staff are shown


class Afterwards:
    """Carries out what changes something that was said, or whether its writer can be reached."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    async def __call__(self, start: Start, message: Message) -> None:
        """Carry out one row."""
        match message.kind:
            case "edited":
                await self._edited(start, message)
            case "deleted":
                await self._deleted(start, message)
            case "reacted":
                await self._reacted(start, message)
            case "moved":
                await self._moved(start, message)
            case _:
                await self._reachable(start, yes=message.kind == "returned")

    async def _edited(self, start: Start, message: Message) -> None:
        """Hear the new text in place of the old: it may raise an alarm, never take one back."""
        rooms = self._walk.rooms
        rows = await rooms.store.read(
            partial(views.recent_scores, conversation_id=start.conversation_id)
        )
        ladder = rooms.ear.mood_policy
        if not start.private:
            ladder = ladder.lowered(rooms.ear.policy.group_offset)
        mood, earlier = Mood(), None
        for message_id, at, scores in rows:
            if message_id != message.message_id:
                mood = step(mood, Scores(**scores), at, ladder)
            else:
                earlier = at
        before = past_from_row(start.past)
        if start.past:
            past = replace(unheard(before, earlier), mood=mood)
            start = replace(start, past=past_to_row(past))
        await self._forget_warm(start)
        verdict = await self._walk.hear(start, answered=False)
        # A question put in better words was still asked once.
        asked = replace(verdict.past, last_questions=before.last_questions)
        verdict = replace(verdict, past=asked)
        was = await rooms.store.write(
            partial(lines.edit_line, start=start, message=message, scores=verdict.scores)
        )
        if was is None:
            await self._close(start)
            return
        plan = rooms.planner.silent(start, verdict)
        if plan is None or (plan.opening is None and start.case_id is None):
            plan = rooms.planner.base(verdict)  # nothing to say, yet the mood is another one
        heard = tuple(replace(h, kept=False) for h in plan.heard)
        heard_again = replace(plan, heard=heard, copies={})
        await self._walk.finish(start, heard_again)
        if was:  # else it was corrected before anybody had read it
            await self._copies_follow(start, message, was)

    async def _copies_follow(self, start: Start, message: Message, was: str) -> None:
        """Change staff's copies of an edited message, and tell them what it was."""
        rooms = self._walk.rooms

        def follow(connection: Connection) -> Changed | None:
            found = pairs.line_of(
                connection, start.conversation_id, start.key.place, message.message_id
            )
            held = record.unresolved(connection, start.conversation_id)
            if found is None or held is None:
                return None
            now = rooms.clock()
            cause = ("inbox", start.rows[0].id)
            parts = rooms.planner.copy_of(start, message)
            lanes = relay.change_copies(connection, found, parts, cause, now)
            words = rooms.texts.say("edited_was", STAFF, text=was[:WAS])
            lanes += bygones.tell(connection, held.id, found, words, now)
            return record.changed(connection, held.id, start.conversation_id, lanes)

        self._send(await rooms.store.write(follow))

    async def _deleted(self, start: Start, message: Message) -> None:
        rooms = self._walk.rooms
        await self._forget_warm(start)

        def erase(connection: Connection) -> Changed | None:
            now = rooms.clock()
            found = pairs.line_of(
                connection, start.conversation_id, start.key.place, message.message_id
            )
            unsaid.unsay(connection, start.conversation_id, message.message_id)
            turns.done(connection, [row.id for row in start.rows], now)
            held = record.unresolved(connection, start.conversation_id)
            if found is None or held is None:
                return None
            words = rooms.texts.say("deleted_by_user", STAFF)
            relay.forget_words(connection, found)
            cause = ("inbox", start.rows[0].id)
            lanes = relay.change_copies(connection, found, [words], cause, now)
            lanes += bygones.untell(connection, found, words, cause, now)
            return record.changed(connection, held.id, start.conversation_id, lanes)

        self._send(await rooms.store.write(erase))

    async def _reacted(self, start: Start, message: Message) -> None:
        """Keep what somebody thinks of a reply, and mirror it for staff who see that message too.

        It never makes a case.
        """
        rooms = self._walk.rooms

        def mirror(connection: Connection) -> list[Lane]:
            turns.done(connection, [row.id for row in start.rows], rooms.clock())
            self._thumb(connection, start, message)
            linked = pairs.find(connection, start.key.place, message.message_id)
            if linked is None or start.case_id is None:
                return []
            return relay.react(connection, linked, message.data, start.rows[0].id, rooms.clock())

        rooms.deliver(await rooms.store.write(mirror))

    def _thumb(self, connection: Connection, start: Start, message: Message) -> None:
        line = feedback.reply_at(connection, start.key.place, message.message_id)
        if line is None:
            return
        value = feedback.value_of(message.data)
        several = start.key.platform == "discord"  # there one more emoji takes no other's place
        if message.data and not value and several:
            return
        feedback.keep(connection, start.conversation_id, line, value, self._walk.rooms.clock())

    async def _forget_warm(self, start: Start) -> None:
        """Let the model forget what it has read here, and whoever it has read it to."""
        rooms = self._walk.rooms
        keys = [start.key]
        if rooms.scope != "person" and not start.private:
            keys = await rooms.store.read(partial(unsaid.neighbours, key=start.key))
        for key in keys:
            await rooms.mind.drop(key)

    async def _moved(self, start: Start, message: Message) -> None:
        """The platform gave the chat another id: everything goes on under the new one."""
        rooms = self._walk.rooms

        def move(connection: Connection) -> list[Changed]:
            now = rooms.clock()
            turns.done(connection, [row.id for row in start.rows], now)
            words = rooms.texts.say("moved_chat", STAFF)
            return [
                record.tell_staff(connection, case_id, words, now, what="moved")
                for case_id in lines.move_chat(connection, start.key.place, message.data)
            ]

        for changed in await rooms.store.write(move):
            self._send(changed)

    async def _reachable(self, start: Start, *, yes: bool) -> None:
        """Note that a person has gone, or is back; what waited for them is staff's to decide."""
        rooms = self._walk.rooms
        say = rooms.texts.say
        reason = say("blocked_or_left", STAFF)
        gone = say("not_delivered", STAFF, who=start.name, reason=reason)
        facts = rooms.handoff.facts()

        def note(connection: Connection) -> tuple[Lane, ...]:
            now, here = rooms.clock(), start.conversation_id
            lines.reachable(connection, here, yes=yes)
            turns.done(connection, [row.id for row in start.rows], now)
            lanes = streams.clear_away(connection, here, now) if yes else ()
            if start.case_id is None:
                return tuple(lanes)
            told = (
                rooms.handoff.back_again(connection, here, now)
                if yes
                else record.tell_staff(connection, start.case_id, gone, now, what="told")
            )
            drawn = desk.redraw(connection, start.case_id, facts, now)
            return (*lanes, *(told.lanes if told else ()), *drawn.lanes)

        rooms.deliver(await rooms.store.write(note))

    def _send(self, changed: Changed | None) -> None:
        if changed is not None:
            self._walk.rooms.deliver(changed.lanes)

    async def _close(self, start: Start) -> None:
        rooms = self._walk.rooms
        ids = [row.id for row in start.rows]
        await rooms.store.write(partial(turns.done, ids=ids, now=rooms.clock()))
        self._walk.report.closed(start)
