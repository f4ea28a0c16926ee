"""A member of staff points at somebody's message in a group, and a case opens for its author.

The author may never have spoken to the bot: their conversation is made then. Their words go to the
desk as the case's context and stay nowhere else, so that erasing them finds all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.message import Author, Message
from core.store import Connection, desk, intake, people, record
from core.store.desk import Opening
from core.store.record import Changed
from core.store.rows import message_to_row
from core.store.turns import Heard, Plan, Row, Start
from core.texts import STAFF
from core.turn import Walk

SHOWN = 1500  # characters of the message that staff are shown


class Summons:
    """Carries out `escalate`, a command about another person's message."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    async def __call__(self, start: Start) -> None:
        """Open the case and tell whoever asked; or tell them why there is none."""
        rooms, row = self._walk.rooms, start.rows[0]
        message, say = row.message, rooms.texts.say
        facts, now = rooms.handoff.facts(), rooms.clock()

        def call(connection: Connection) -> tuple[str, Changed | None]:
            intake.rewrite(connection, row.id, message_to_row(_without_words(message)))
            if not self._may(start, message):
                return say("staff_only", STAFF), None
            key = replace(message.key, user=message.reply_to_author)
            works = people.is_colleague(connection, key.platform, key.user)
            if not message.reply_to_author or works:
                return say("escalate_nobody", STAFF), None
            conversation = intake.known(connection, _pointed_at(message), now)
            held = record.unresolved(connection, conversation)
            if held is not None:
                return say("has_case", STAFF, case=int(held.id)), None
            lang = record.person_row(connection, conversation).lang or "en"
            opening = self._opening(message, lang)
            opened = desk.open_case(connection, conversation, opening, facts, now)
            return say("escalated", STAFF, case=opened.case_id), opened

        words, opened = await rooms.store.write(call)
        if opened is not None:
            rooms.handoff.tell_changed(opened)
        await self._answer(start, row, words)

    def _may(self, start: Start, message: Message) -> bool:
        """Say whether somebody works at the desk, by having written there or by their role."""
        roles = self._walk.rooms.handoff.policy.roles
        return start.staff or bool(roles & {*message.author.roles})

    def _opening(self, message: Message, lang: str) -> Opening:
        say = self._walk.rooms.texts.say
        who = message.author.name or message.author.id
        whose = message.forwarded_from or message.reply_to_author
        words = say("opened_by", STAFF, name=who)
        said = f"{say('context_title_pointed', STAFF, name=who)}\n{whose}: {message.argument}"
        return Opening(
            rule="staff",
            why=words,
            priority=0,
            notice=say("group_notice", lang),
            answers=message.reply_to or "",
            context=said[:SHOWN],
            ping=words,
            who=who,
        )

    async def _answer(self, start: Start, row: Row, words: str) -> None:
        whisper = row.message.message_id if row.message.key.platform == "discord" else ""
        told: Sequence[str] = (words,)
        heard = (Heard(row=row, kept=False),)
        plan = Plan(heard=heard, notices=tuple(told), whisper=whisper, unkept=True)
        await self._walk.finish(start, plan)


def _without_words(message: Message) -> Message:
    """Return the command without the other person's words: it is kept with whoever used it."""
    return replace(message, text=f"/{message.command}", argument="", formatted="")


def _pointed_at(message: Message) -> Message:
    """Return the message that was pointed at, as far as the command tells of it."""
    return Message(
        key=replace(message.key, user=message.reply_to_author),
        message_id=message.reply_to or "",
        author=Author(id=message.reply_to_author, name=message.forwarded_from),
        sent_at=message.sent_at,
        private=message.private,
        server=message.server,
    )
