"""What a person does besides saying something: commands, buttons, edits, deletions, leaving.

Each is one inbox row, carried out and closed in one transaction like any message.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from core.errors import DeskError
from core.escalation import past_from_row, past_to_row, unsaid
from core.message import Button, Message, Scores
from core.mood import Mood, step
from core.store import Connection, desk, lines, pairs, people, privacy, record, relay, turns, views
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.turns import Heard, Plan, Start
from core.texts import STAFF
from core.turn import Walk

FIXED: Mapping[str, str] = {"start": "start", "help": "help"}  # command -> text
WAS = 300  # characters of an edited text's old words that staff are shown
PRESSES: Mapping[str, str] = {
    "u:human": "human",
    "u:forget": "forget yes",
    "u:keep": "forget no",
    "u:stop": "forget yes",
}
LINK = 600.0  # seconds that a code for joining two accounts lives
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike


class Commands:
    """Carries out whatever is no ordinary message."""

    def __init__(self, walk: Walk, *, text_days: int, score_days: int) -> None:
        self._walk = walk
        self._days = {"text_days": text_days, "score_days": score_days}

    async def __call__(self, start: Start) -> None:
        """Carry out the first row of a start."""
        message = start.rows[0].message
        match message.kind:
            case "command":
                await self._command(start, message.command, message.argument)
            case "pressed":
                await self._pressed(start, message)
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

    async def _command(self, start: Start, name: str, argument: str) -> None:
        say = self._walk.rooms.texts.say
        lang = self._walk.rooms.ear.language(start, None)
        if name == "human":
            await self._human(start)
        elif name == "reset":
            await self._walk.rooms.mind.drop(start.key)
            await self._say(start, say("reset_done", lang), reset=True)
        elif name == "privacy":
            await self._say(start, say("privacy", lang, **self._days))
        elif name == "forget":
            await self._forget(start, argument.strip().lower(), lang)
        elif name == "link":
            await self._link(start, argument.strip(), lang)
        elif name in FIXED or start.private or "@" in start.rows[0].message.text.split()[0]:
            await self._say(start, say(FIXED.get(name, "unknown_command"), lang))
        else:
            await self._close(start)  # in a group an unknown command may be another bot's

    async def _say(
        self, start: Start, words: str, *, reset: bool = False, buttons: tuple[Button, ...] = ()
    ) -> None:
        """Answer with a fixed text. The command itself is no part of the history."""
        plan = replace(_unmoved(start), notices=(words,), notice_buttons=buttons, reset=reset)
        await self._walk.finish(start, plan)

    async def _human(self, start: Start) -> None:
        """Somebody asks for a person: nothing is asked back, no mood is needed."""
        verdict = await self._walk.hear(start, command=True)
        plan = self._walk.rooms.planner.silent(start, verdict)
        if plan is not None:
            await self._walk.finish(start, plan)

    async def _forget(self, start: Start, argument: str, lang: str) -> None:
        rooms = self._walk.rooms
        say = rooms.texts.say
        if argument in ("no", "keep"):
            await self._say(start, say("forget_cancelled", lang))
        elif argument in ("yes", "ja", "是", "да", "sí", "si"):
            await self._erase(start, lang)
        elif start.owner != "bot":  # somebody is helping: what to do first is theirs to say
            buttons = (
                Button(label=say("erase_stop", lang), data="u:stop"),
                Button(label=say("erase_finish", lang), data="u:keep"),
            )
            words = f"{say('erase_open', lang)}\n/forget yes · /forget no"
            await self._say(start, words, buttons=buttons)
        else:
            count = await rooms.store.read(
                partial(privacy.count, conversation_id=start.conversation_id)
            )
            words = say("forget_confirm", lang, n=count.messages)
            buttons = (
                Button(label=say("forget_yes", lang), data="u:forget"),
                Button(label=say("forget_no", lang), data="u:keep"),
            )
            await self._say(start, f"{words}\n/forget yes · /forget no", buttons=buttons)

    async def _erase(self, start: Start, lang: str) -> None:
        """Erase a person here: rows now, staff's copies by posts, the rest when those left."""
        rooms = self._walk.rooms
        await rooms.mind.drop(start.key)
        erased = await rooms.store.write(
            partial(
                privacy.forget,
                conversation_id=start.conversation_id,
                done=partial(rooms.texts.say, "forgotten", lang),
                copy=rooms.texts.say("erased_copy", lang),
                now=rooms.clock(),
            )
        )
        rooms.deliver(erased.lanes)
        self._walk.closed(replace(start, owner="bot", case_id=None), erased.words)

    async def _pressed(self, start: Start, message: Message) -> None:
        what = PRESSES.get(message.data)
        if what is not None:
            name, _, argument = what.partition(" ")
            await self._command(start, name, argument)
        elif message.data in ("u:yes", "u:no"):
            await self._helped(start, helped=message.data == "u:yes")
        elif message.data == "u:undo":
            await self._undo(start)
        else:
            await self._close(start)

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
            past = replace(unsaid(before, earlier), mood=mood)
            start = replace(start, past=past_to_row(past))
        await rooms.mind.drop(start.key)
        verdict = await self._walk.hear(start)
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
            told = record.tell_staff(connection, held.id, words, now, what="edited")
            return replace(told, lanes=(*lanes, *told.lanes))

        self._send(await rooms.store.write(follow))

    async def _deleted(self, start: Start, message: Message) -> None:
        rooms = self._walk.rooms
        await rooms.mind.drop(start.key)

        def erase(connection: Connection) -> Changed | None:
            now = rooms.clock()
            found = pairs.line_of(
                connection, start.conversation_id, start.key.place, message.message_id
            )
            lines.delete_line(connection, start, message.message_id)
            turns.done(connection, [row.id for row in start.rows], now)
            held = record.unresolved(connection, start.conversation_id)
            if found is None or held is None:
                return None
            words = rooms.texts.say("deleted_by_user", STAFF)
            relay.forget_words(connection, found)
            cause = ("inbox", start.rows[0].id)
            lanes = relay.change_copies(connection, found, [words], cause, now)
            return record.changed(connection, held.id, start.conversation_id, lanes)

        self._send(await rooms.store.write(erase))

    async def _reacted(self, start: Start, message: Message) -> None:
        """Mirror a reaction for staff who see the message too; it never makes a case."""
        rooms = self._walk.rooms

        def mirror(connection: Connection) -> list[Lane]:
            turns.done(connection, [row.id for row in start.rows], rooms.clock())
            linked = pairs.find(connection, start.key.place, message.message_id)
            if linked is None or start.case_id is None:
                return []
            return relay.react(connection, linked, message.data, start.rows[0].id, rooms.clock())

        rooms.deliver(await rooms.store.write(mirror))

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

    async def _link(self, start: Start, argument: str, lang: str) -> None:
        """Join two accounts of one person by a code, with their consent; or part them."""
        rooms = self._walk.rooms
        now, key, say = rooms.clock(), start.key, rooms.texts.say
        if argument.lower() == "off":
            await rooms.store.write(partial(people.unlink, key=key))
            words = say("link_off", lang)
        elif argument:
            try:
                await rooms.store.write(
                    partial(people.use_code, key=key, code=argument.upper(), now=now)
                )
                words = say("linked", lang)
            except DeskError:
                words = say("link_unknown", lang)
        elif not start.private:
            await self._close(start)
            return
        else:
            code = "".join(secrets.choice(_LETTERS) for _ in range(8))
            until = now + LINK
            await rooms.store.write(partial(people.make_code, key=key, code=code, until=until))
            words = say("link_code", lang, code=code)
        await self._say(start, words)

    async def _undo(self, start: Start) -> None:
        """The person no longer needs anybody: the case ends, but never one of danger."""
        rooms = self._walk.rooms
        open_case = start.case_state in ("queued", "human", "snoozed")
        if start.case_id is None or not open_case or start.case_rule == "crisis":
            await self._close(start)
            return
        changed = await rooms.handoff.no_longer_needed(start)
        if changed is not None:
            rooms.handoff.tell_changed(changed)
        self._walk.closed(start)

    async def _helped(self, start: Start, *, helped: bool) -> None:
        """Keep the answer to "did it help?"; a no opens the case again."""
        rooms = self._walk.rooms
        say, lang = rooms.texts.say, rooms.ear.language(start, None)
        case_id = start.resolved_case
        if case_id is None:
            await self._close(start)
            return
        values = {"helped": "yes" if helped else "no"}
        if not helped:
            line = say("helped_no", STAFF)
            plan = replace(_unmoved(start), reopen=(say("reopened", lang), line), raised=values)
            await self._walk.finish(start, plan)
            return

        def keep(connection: Connection) -> Changed:
            record.set_values(connection, case_id, values)
            words = say("helped_yes", STAFF)
            return record.tell_staff(connection, case_id, words, rooms.clock(), what="helped")

        self._send(await rooms.store.write(keep))
        await self._say(start, say("thanks_for_word", lang))

    async def _reachable(self, start: Start, *, yes: bool) -> None:
        """Note that a person has gone, or is back; what waited for them is staff's to decide."""
        rooms = self._walk.rooms
        say = rooms.texts.say
        reason = say("blocked_or_left", STAFF)
        gone = say("not_delivered", STAFF, who=start.name, reason=reason)
        facts = rooms.handoff.facts()

        def note(connection: Connection) -> Changed | None:
            now = rooms.clock()
            lines.reachable(connection, start.conversation_id, yes=yes)
            turns.done(connection, [row.id for row in start.rows], now)
            if start.case_id is None:
                return None
            told = (
                rooms.handoff.back_again(connection, start.conversation_id, now)
                if yes
                else record.tell_staff(connection, start.case_id, gone, now, what="told")
            )
            drawn = desk.redraw(connection, start.case_id, facts, now)
            return replace(drawn, lanes=(*(told.lanes if told else ()), *drawn.lanes))

        self._send(await rooms.store.write(note))

    def _send(self, changed: Changed | None) -> None:
        if changed is not None:
            self._walk.rooms.deliver(changed.lanes)

    async def _close(self, start: Start) -> None:
        rooms = self._walk.rooms
        ids = [row.id for row in start.rows]
        await rooms.store.write(partial(turns.done, ids=ids, now=rooms.clock()))
        self._walk.closed(start)


def _unmoved(start: Start) -> Plan:
    """Return a plan that closes a command or a press and leaves the mood as it was."""
    heard = (Heard(row=start.rows[0], kept=False),)
    if not start.past:
        return Plan(heard=heard)
    mood = past_from_row(start.past).mood
    return Plan(heard=heard, past=start.past, mood=mood.value, level=mood.level)
