"""What a person does besides saying something: commands, buttons, edits, deletions, leaving.

Each is one inbox row, carried out and closed in one transaction like any message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from core.escalation import past_from_row, past_to_row, unsaid
from core.message import Button, Message, Scores
from core.mood import Mood, step
from core.store import Connection, desk, lines, privacy, turns, views
from core.store.desk import Changed
from core.store.turns import Heard, Plan, Start
from core.turn import Walk

FIXED: Mapping[str, str] = {"start": "start", "help": "help"}  # command -> text
WAS = 300  # characters of an edited text's old words that staff are shown
PRESSES: Mapping[str, str] = {"u:human": "human", "u:forget": "forget yes", "u:keep": "forget no"}


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
        elif message.data == "u:no" and start.resolved_case is not None:
            say = self._walk.rooms.texts.say
            words = say("reopened", self._walk.rooms.ear.language(start, None))
            line = say("wrote_again", "en", hours=0)
            await self._walk.finish(start, replace(_unmoved(start), reopen=(words, line)))
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
        edited = rooms.texts.say("edited_was", "en", text=was[:WAS])
        copies = {
            row_id: tuple(f"{edited}\n{part}" for part in parts)
            for row_id, parts in (plan.copies or {}).items()
        }
        await self._walk.finish(start, replace(plan, heard=heard, copies=copies))

    async def _deleted(self, start: Start, message: Message) -> None:
        rooms = self._walk.rooms
        await rooms.mind.drop(start.key)

        def erase(connection: Connection) -> Changed | None:
            lines.delete_line(connection, start, message.message_id)
            return self._closed(connection, start, rooms.texts.say("deleted_by_user", "en"))

        self._send(await rooms.store.write(erase))

    async def _reachable(self, start: Start, *, yes: bool) -> None:
        rooms = self._walk.rooms
        words = rooms.texts.say(
            "not_delivered", "en", who=start.name, reason="they blocked the bot or left"
        )

        def note(connection: Connection) -> Changed | None:
            lines.reachable(connection, start.conversation_id, yes=yes)
            return self._closed(connection, start, "" if yes else words)

        self._send(await rooms.store.write(note))

    def _closed(self, connection: Connection, start: Start, words: str) -> Changed | None:
        now = self._walk.rooms.clock()
        turns.done(connection, [row.id for row in start.rows], now)
        if start.case_id is None or not words:
            return None
        return desk.tell_staff(connection, start.case_id, words, now, what="told")

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
