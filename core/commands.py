"""What a person does besides saying something: commands and buttons; all else is handed on.

Each is one inbox row, carried out and closed in one transaction like any message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from core import chance
from core.access import RIGHTS, asks_where
from core.afterwards import Afterwards
from core.doorway import Doorway
from core.errors import DeskError
from core.escalation import past_from_row
from core.message import Button, Message
from core.rights import Facts, Rights
from core.store import Connection, people, record, turns
from core.store.record import Changed
from core.store.turns import Heard, Plan, Start
from core.summons import Summons
from core.texts import STAFF
from core.turn import Walk

FIXED: Mapping[str, str] = {"start": "start", "help": "help"}  # command -> text
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

    def __init__(self, walk: Walk, doorway: Doorway, *, facts: Callable[[], Facts]) -> None:
        self._walk = walk
        self._doorway = doorway
        self._afterwards = Afterwards(walk)
        self._summons = Summons(walk)
        self.rights = Rights(walk, facts)

    async def __call__(self, start: Start) -> None:
        """Carry out the first row of a start."""
        message = start.rows[0].message
        match message.kind:
            case "command":
                await self._command(start, message.command, message.argument)
            case "pressed":
                await self._pressed(start, message)
            case "joined":
                await self._doorway.joined(start)
            case _:
                await self._afterwards(start, message)

    async def _command(self, start: Start, name: str, argument: str) -> None:
        say = self._walk.rooms.texts.say
        lang = self._walk.rooms.ear.language(start, None)
        if asks_where(start.rows[0].message):
            await self._doorway.here(start)
        elif name == "human":
            await self._human(start)
        elif name == "reset":
            await self._walk.rooms.mind.drop(start.key)
            await self._say(start, say("reset_done", lang), reset=True)
        elif name in RIGHTS:
            await self.rights(start, name, argument, lang)
        elif name == "link":
            await self._link(start, argument.strip(), lang)
        elif name == "why":
            await self._doorway.why(start)
        elif name == "escalate" and start.rows[0].message.reply_to:
            await self._summons(start)
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
        if plan is None:  # whoever works at the desk needs nobody called
            await self._close(start)
        else:
            await self._walk.finish(start, plan)

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
            code = chance.letters(_LETTERS, 8)
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
        self._walk.report.closed(start)

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

    def _send(self, changed: Changed | None) -> None:
        if changed is not None:
            self._walk.rooms.deliver(changed.lanes)

    async def _close(self, start: Start) -> None:
        rooms = self._walk.rooms
        ids = [row.id for row in start.rows]
        await rooms.store.write(partial(turns.done, ids=ids, now=rooms.clock()))
        self._walk.report.closed(start)


def _unmoved(start: Start) -> Plan:
    """Return a plan that closes a command or a press and leaves the mood as it was."""
    heard = (Heard(row=start.rows[0], kept=False),)
    if not start.past:
        return Plan(heard=heard)
    mood = past_from_row(start.past).mood
    return Plan(heard=heard, past=start.past, mood=mood.value, level=mood.level)
