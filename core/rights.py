"""What a person may do about what is kept of them: be told, have it, erase it, be left unread.

What they are told are the facts of the running settings, and nothing that is always claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from core.escalation import past_from_row
from core.message import Button, ConversationKey, TextLimit
from core.split import split
from core.store import Connection, kept, people, privacy, retention, turns, unsaid
from core.store.outbox import Lane
from core.store.privacy import Count, Erased
from core.store.turns import Heard, Plan, Start
from core.texts import STAFF
from core.turn import Walk

YES = frozenset({"yes", "ja", "是", "да", "sí", "si"})
NO = frozenset({"no", "keep"})
FILES = frozenset({"telegram", "discord"})  # platforms on which a person can be sent a file
Known = Sequence[tuple[int, ConversationKey]]  # conversations
PAGE = TextLimit(size=1900)  # fits a post on every platform


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """How this Heed keeps things, now."""

    text_days: int
    score_days: int
    desks: tuple[str, ...] = ()  # platforms in whose chats staff see copies; "web": the page
    model: str = ""  # what reads along; empty: none
    writes: bool = True  # it writes the replies, too; if not, the phrase book does
    hosts: tuple[str, ...] = ()  # other machines that the words are sent to
    redacted: bool = False  # without what looks like an address, a number or a name
    sealed: bool = False  # the texts are encrypted in the database


class Rights:
    """Carries out /privacy, /export and /forget."""

    def __init__(self, walk: Walk, facts: Callable[[], Facts]) -> None:
        self._walk = walk
        self._facts = facts

    async def __call__(self, start: Start, name: str, argument: str, lang: str) -> None:
        """Carry out one of the three."""
        wish = argument.strip().lower()
        if name == "export":
            await self._export(start, lang)
        elif name == "forget":
            await self._forget(start, wish, lang)
        elif wish in ("off", "on"):
            await self._choose(start, lang, unread=wish == "off")
        else:
            await self._say(start, *split(self._page(start, lang), PAGE))

    # --- being told -----------------------------------------------------------------------

    def _page(self, start: Start, lang: str) -> str:
        """Return what is kept, where, for how long, who reads it, and what can be done."""
        say, facts = self._walk.rooms.texts.say, self._facts()
        desks = ", ".join(say(f"privacy_desk_{name}", lang) for name in facts.desks)
        if facts.hosts:
            name = "privacy_model_sent_redacted" if facts.redacted else "privacy_model_sent"
            reads = say(name, lang, name=facts.model, text=", ".join(facts.hosts))
        elif facts.model:
            name = "privacy_model_here" if facts.writes else "privacy_model_hears"
            reads = say(name, lang, name=facts.model)
        else:
            reads = say("privacy_model_none", lang)
        return say(
            "privacy",
            lang,
            text_days=facts.text_days,
            score_days=facts.score_days,
            where=say("privacy_sealed" if facts.sealed else "privacy_plain", lang),
            desks=desks,
            reads=reads,
            choice=say("privacy_is_off" if start.opted_out else "privacy_is_on", lang),
        )

    # --- being left unread ----------------------------------------------------------------

    async def _choose(self, start: Start, lang: str, *, unread: bool) -> None:
        """Score and show nothing of theirs to a model from now on; or do so again."""
        rooms = self._walk.rooms
        now, key = rooms.clock(), start.key

        def choose(connection: Connection) -> list[ConversationKey]:
            if not unread:
                people.opt_in(connection, key)
                return []
            people.opt_out(connection, key, now)
            return retention.unfeel(connection, people.find(connection, key.platform, key.user))

        for one in await rooms.store.write(choose):
            await self._forget_warm(one)
        words = rooms.texts.say("privacy_off" if unread else "privacy_on", lang)
        if unread:
            start = replace(start, past=None)
        await self._say(start, words)

    # --- having it ------------------------------------------------------------------------

    async def _export(self, start: Start, lang: str) -> None:
        """Send both files into the direct chat; in a group say where they are, or can be had."""
        rooms, say = self._walk.rooms, self._walk.rooms.texts.say
        key, row = start.key, start.rows[0]
        if key.platform not in FILES:
            who = f"{key.platform}:{key.user}"
            await self._say(start, say("export_page", lang, name=who))
            return
        words = say("export_here", lang)

        def send(connection: Connection) -> list[Lane]:
            lanes = kept.hand_over(connection, key, row.id, words, rooms.clock())
            if lanes and start.private:
                turns.done(connection, [row.id], rooms.clock())
            return lanes

        lanes = await rooms.store.write(send)
        if start.private:
            self._walk.report.closed(start, words)
        else:
            await self._say(start, say("export_sent" if lanes else "export_write", lang))
        rooms.deliver(lanes)

    # --- erasing it -----------------------------------------------------------------------

    async def _forget(self, start: Start, wish: str, lang: str) -> None:
        rooms, say = self._walk.rooms, self._walk.rooms.texts.say
        if wish in NO:
            await self._say(start, say("forget_cancelled", lang))
            return
        if wish in YES:
            await self._erase(start, lang)
            return
        count, helped = await rooms.store.read(partial(_known, key=start.key))
        if helped:  # somebody is helping: what to do first is theirs to say
            buttons = (
                Button(label=say("erase_stop", lang), data="u:stop"),
                Button(label=say("erase_finish", lang), data="u:keep"),
            )
            words = say("erase_open", lang)
        else:
            buttons = (
                Button(label=say("forget_yes", lang), data="u:forget"),
                Button(label=say("forget_no", lang), data="u:keep"),
            )
            words = say("forget_confirm", lang, n=count.messages)
        if start.opted_out:
            words = f"{words} {say('forget_ends_off', lang)}"
        await self._say(start, f"{words}\n/forget yes · /forget no", buttons=buttons)

    async def _erase(self, start: Start, lang: str) -> None:
        """Erase a person: rows now, staff's copies by posts, the rest when those left."""
        rooms = self._walk.rooms
        erased = await self.erase(
            start.key,
            first=start.conversation_id,
            done=partial(rooms.texts.say, "forgotten", lang),
        )
        told = replace(start, owner="bot", case_id=None)
        self._walk.report.closed(told, "" if erased is None else erased.words)

    async def erase(
        self,
        key: ConversationKey,
        *,
        first: int | None = None,
        done: Callable[..., str] = lambda **_: "",
    ) -> Erased | None:
        """Erase a person in every place, and what is held of them in memory; None: unknown.

        `done(n=, m=)` is said to them in the conversation `first`; nothing where it is empty.
        """
        rooms = self._walk.rooms
        copy, now = rooms.texts.say("erased_copy", STAFF), rooms.clock()

        def erase(
            connection: Connection,
        ) -> tuple[list[tuple[int, ConversationKey]], Erased | None]:
            ids = people.find(connection, key.platform, key.user)
            ids.sort(key=lambda one: one != first)
            known = people.keys_of(connection, ids)
            return known, privacy.forget_all(connection, ids, done, copy, now) if ids else None

        known, erased = await rooms.store.write(erase)
        for number, place in known:
            if number != first:
                self._walk.interrupt(number)
            await self._forget_warm(place)
        if erased is not None:
            rooms.deliver(erased.lanes)
        return erased

    async def _forget_warm(self, key: ConversationKey) -> None:
        """Let the model forget what it has read of somebody, and whoever it has read it to."""
        rooms, keys = self._walk.rooms, {key}
        if rooms.scope != "person":
            keys |= set(await rooms.store.read(partial(unsaid.neighbours, key=key)))
        for one in keys:
            await rooms.mind.drop(one)

    async def _say(self, start: Start, *words: str, buttons: tuple[Button, ...] = ()) -> None:
        """Answer with fixed texts. The command itself is no part of the history."""
        plan = Plan(
            heard=(Heard(row=start.rows[0], kept=False),),
            notices=words,
            notice_buttons=buttons,
        )
        if start.past:
            mood = past_from_row(start.past).mood
            plan = replace(plan, past=start.past, mood=mood.value, level=mood.level)
        await self._walk.finish(start, plan)


def _known(connection: Connection, key: ConversationKey) -> tuple[Count, bool]:
    """Count what is kept of a person in all places, and say whether somebody is helping them."""
    ids: Sequence[int] = people.find(connection, key.platform, key.user)
    counts = [privacy.count(connection, one) for one in ids]
    total = Count(
        messages=sum(one.messages for one in counts), cases=sum(one.cases for one in counts)
    )
    return total, people.is_helped(connection, ids)
