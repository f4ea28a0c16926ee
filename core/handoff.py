"""The desk: staff's verbs, carried out, from wherever they are given.

Every verb is one transaction (core.store.desk). The web page calls `act`; messages, commands and
buttons from a staff chat come through the inbox like any message, and are carried out by
`staff_message` together with the closing of their inbox row, so that a crash repeats neither.
What was meant is read in core.orders, what a verb does to a case stands in core.steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core import answers, errands, orders
from core.answers import Answers, case_for_verbs
from core.card import Cards
from core.errors import DeskError, NeedsConfirm, StaleCard
from core.message import Button, Place, TextLimit
from core.orders import FREE, Action
from core.ports import Clock
from core.refusals import sentence
from core.steps import DeskPolicy, Steps
from core.store import (
    Connection,
    Store,
    desk,
    digests,
    flags,
    pairs,
    people,
    record,
    relay,
    timers,
    turns,
    views,
)
from core.store.alarms import Alarms
from core.store.desk import Change
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.relay import Words
from core.texts import STAFF, Texts

__all__ = ["Action", "DeskPolicy", "Handoff"]

COPY = TextLimit(size=1900)  # fits a post on every platform
Suggest = Callable[[int], Awaitable[tuple[str, str]]]  # conversation -> (text, model)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the operator chose for the desk; read anew for every step, so it may change."""

    policy: DeskPolicy
    alarms: Alarms


class Handoff:
    """Opens the desk's doors onto the store."""

    def __init__(  # noqa: PLR0913 - wired once, by name
        self,
        *,
        store: Store,
        texts: Texts,
        clock: Clock,
        places: Callable[[], Sequence[Place]],
        limit: Callable[[Place], TextLimit],
        changed: Callable[[Changed], None],
        ring: Callable[[Sequence[Lane]], None],
        rules: Callable[[], Rules],
        suggest: Suggest,
        link: Callable[[Place, str], str] = lambda _place, _message: "",
        language: str = STAFF,
    ) -> None:
        self._store = store
        self._texts = texts
        self._clock = clock
        self._places = places
        self._limit = limit
        self._changed = changed
        self._ring = ring
        self._rules = rules
        self._suggest = suggest
        self._link = link
        self._language = language
        self.cards = Cards(texts=texts, language=language)

    @property
    def policy(self) -> DeskPolicy:
        """What the operator chose, as of now."""
        return self._rules().policy

    @property
    def steps(self) -> Steps:
        """What each verb does, by the policy of now."""
        return Steps(texts=self._texts, policy=self.policy, language=self._language)

    def facts(self) -> desk.Desk:
        """Return the fixed facts every change of a case needs, as they are now."""
        rules, now = self._rules(), self._clock()
        return desk.Desk(
            places=tuple(self._places()),
            draw=partial(self._draw, policy=rules.policy),
            view=views.case_view,
            withdrawn=partial(self._texts.say, "withdrawn"),
            due=rules.policy.due(now),
            inactive=rules.policy.inactive,
            pictures=rules.policy.pictures,
            woken=self._texts.say("woke_by_person", self._language),
            called_off=self._texts.say("resolve_off", self._language),
            wrote=lambda names: self._texts.say("alert_fired", self._language, name=names),
            returned=self.back_again,
            alarms=replace(
                rules.alarms,
                draw=lambda view: self.cards.incident(view, now),
                rests=lambda at: not rules.policy.is_open(at),
            ),
        )

    def _draw(self, view: Mapping[str, Any], platform: str, *, policy: DeskPolicy) -> desk.Card:
        return self.cards.draw(self.linked(view), platform, auto_reply=policy.replies)

    def linked(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Return a case's view with the address of the message that caused it, as `link`."""
        place = view["cause_place"]
        link = self._link(Place(**place), view["cause_message"]) if place else ""
        return {**view, "link": link}

    # --- acting ---------------------------------------------------------------------------

    async def act(self, action: Action) -> Changed | None:
        """Do one staff action of the page. Raises StaleCard, NeedsConfirm or DeskError."""
        facts, now = self.facts(), self._clock()
        action = await self._with_draft(replace(action, unseen=True))
        rung: list[Lane] = []

        def carry_out(connection: Connection) -> Changed | None:
            self._learn(connection, action, now)
            return self._apply(connection, action, facts, now, rung)

        changed = await self._store.write(carry_out)
        self._ring(rung)
        if changed is not None:
            self._changed(changed)
        return changed

    async def staff_message(self, start: turns.Start) -> None:
        """Carry out what staff wrote or pressed in a desk chat, and close its inbox row."""
        for row in start.rows:  # each by itself: a refused one must not take its neighbours along
            changed = await self._staff_row(row)
            if changed is not None:
                self._changed(changed)

    async def _staff_row(self, row: turns.Row) -> Changed | None:
        facts, now = self.facts(), self._clock()
        drafted = await self._drafted(row)
        rung: list[Lane] = []

        def carry_out(connection: Connection) -> Changed | None:
            turns.done(connection, [row.id], now)
            action = self._read(connection, row)
            if isinstance(action, DeskError):
                raise action
            if action is None:
                return None
            self._learn(connection, action, now)
            if drafted is not None and action.verb == "draft":
                action = replace(action, text="\n".join(drafted))
            return self._apply(connection, action, facts, now, rung)

        def refuse(connection: Connection, error: DeskError) -> Changed | None:
            turns.done(connection, [row.id], now)
            return self._refusal(connection, row, error, facts, now, rung)

        try:
            changed = await self._store.write(carry_out)
        except DeskError as error:
            changed = await self._store.write(partial(refuse, error=error))
        self._ring(rung)
        return changed

    def _read(self, connection: Connection, row: turns.Row) -> Action | DeskError | None:
        message = row.message
        wanted = self.policy.roles
        if wanted and message.key.platform == "discord" and not wanted & {*message.author.roles}:
            return DeskError(
                "Only staff may do this: ask for one of the roles of the desk.", name="staff_only"
            )
        return orders.read(connection, message, replies=self.policy.replies)

    async def _drafted(self, row: turns.Row) -> tuple[str, str] | None:
        """Write a suggestion for a row that asks for one: the model runs outside transactions."""
        if row.message.command != "draft" and ":dr:" not in row.message.data:
            return None
        action = await self._store.read(partial(self._read, row=row))
        if not isinstance(action, Action):
            return None
        return (await self._with_draft(action)).text.partition("\n")[::2]

    async def _with_draft(self, action: Action) -> Action:
        if action.verb != "draft":
            return action
        row = await self._store.read(partial(record.case_row, case_id=action.case_id))
        text, model = await self._suggest(row.conversation_id)
        return replace(action, text=f"{model}\n{text}")

    async def suggest(self, case_id: int) -> Changed | None:
        """Put a suggestion onto a new case's card, unless somebody has spoken meanwhile."""
        before = await self._store.read(partial(record.case_row, case_id=case_id))
        if before.incident_id is not None:
            return None  # one card stands for many
        text, model = await self._suggest(before.conversation_id)
        facts, now = self.facts(), self._clock()

        def keep(connection: Connection) -> Changed | None:
            row = record.case_row(connection, case_id)
            untouched = row.state == "queued" and row.spoken_at == before.spoken_at
            if not text or not untouched:
                return None
            record.set_values(connection, case_id, {"draft": text, "draft_by": model})
            return desk.redraw(connection, case_id, facts, now)

        return await self._store.write(keep)

    # --- one verb, inside its transaction ---------------------------------------------------

    def _apply(
        self,
        connection: Connection,
        action: Action,
        facts: desk.Desk,
        now: float,
        rung: list[Lane],
    ) -> Changed | None:
        if action.verb in errands.VERBS:
            return self._errands().run(connection, action, facts, now, rung)
        view = case_for_verbs(connection, action.case_id)
        if action.verb in answers.VERBS:
            said = answers.Turn(
                connection=connection, action=action, view=view, facts=facts, now=now
            )
            return self._answers().run(said)
        if action.verb in ("resend", "arrived"):
            resend = action.verb == "resend"
            of_line = int(action.text) if action.text.isdecimal() else 0
            lanes = (
                flags.settle_line(connection, of_line, resend=resend, now=now)
                if of_line
                else flags.settle(connection, action.number, resend=resend, now=now)
            )
            drawn = desk.redraw(connection, action.case_id, facts, now)
            return replace(drawn, lanes=(*lanes, *drawn.lanes))
        return self._step(connection, action, view, facts, now)

    def _step(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        facts: desk.Desk,
        now: float,
    ) -> Changed:
        change = self.steps.change(connection, action, view, now)
        done = desk.move(connection, action.case_id, facts, now, change=change)
        self._timed(connection, action.case_id, change)
        return done

    def _errands(self) -> errands.Errands:
        return errands.Errands(
            texts=self._texts,
            cards=self.cards,
            policy=self.policy,
            limit=self._limit,
            language=self._language,
        )

    def _answers(self) -> Answers:
        return Answers(
            texts=self._texts,
            cards=self.cards,
            steps=self.steps,
            limit=self._limit,
            clock=self._clock,
            language=self._language,
        )

    @staticmethod
    def _learn(connection: Connection, action: Action, now: float) -> None:
        """Remember who works in the desk's chats: they are staff wherever they write."""
        message = action.message
        if message is not None and action.by:
            key = message.key
            people.learn(connection, key.platform, key.bot, key.user, action.who, now)

    @staticmethod
    def _timed(connection: Connection, case_id: int, change: Change) -> None:
        """Let a resolving that waits be a timer; anything else that moves the case ends it."""
        at = (change.values or {}).get("resolve_at")
        if at is not None:
            timers.put(connection, "resolve", at, case_id=case_id)
        elif change.state is not None:
            timers.drop(connection, "resolve", case_id=case_id)

    # --- refusing -----------------------------------------------------------------------------

    def _refusal(
        self,
        connection: Connection,
        row: turns.Row,
        error: DeskError,
        facts: desk.Desk,
        now: float,
        rung: list[Lane],
    ) -> Changed | None:
        """Tell staff why nothing was done, and how it would be."""
        action, message = self._read(connection, row), row.message
        discord = message.key.platform == "discord"
        whisper = message.message_id if message.command and discord else ""
        case_id = orders.case_meant(connection, message)
        if isinstance(action, Action):
            whisper = whisper or action.whisper
            case_id = 0 if action.verb in orders.CASELESS else action.case_id
        words = sentence(error, self._texts, self._language)
        if not case_id or not record.exists(connection, case_id):
            if message.kind == "said" and not message.own_thread:  # staff among themselves
                return None
            place = replace(message.key.place, thread="")
            answers = "" if discord else message.message_id
            rung += digests.post(connection, place, words, now, answers=answers, whisper=whisper)
            return None
        if isinstance(error, StaleCard):
            told = self._answers().tell(connection, case_id, words, now, "stale")
            drawn = desk.redraw(connection, case_id, facts, now)
            return replace(drawn, lanes=(*told.lanes, *drawn.lanes))
        buttons: tuple[Button, ...] = ()
        if isinstance(error, NeedsConfirm) and isinstance(action, Action):
            view = case_for_verbs(connection, case_id)
            if action.verb not in FREE and view["holder"] not in ("", action.by):
                buttons = self.cards.steal(view)
        return record.tell_staff(
            connection,
            case_id,
            words,
            now,
            what="refused",
            buttons=buttons,
            whisper=whisper,
            answers=message.message_id if message.kind == "said" else "",
        )

    # --- what people do, told to the desk -----------------------------------------------------

    async def in_public(self, start: turns.Start) -> None:
        """A member of staff wrote in a group: an answer to somebody of ours takes the case."""
        facts, now = self.facts(), self._clock()

        def take(connection: Connection) -> list[Changed]:
            turns.done(connection, [row.id for row in start.rows], now)
            found = (self._taken_in_public(connection, row, facts, now) for row in start.rows)
            return [one for one in found if one is not None]

        for changed in await self._store.write(take):
            self._changed(changed)

    def _taken_in_public(
        self, connection: Connection, row: turns.Row, facts: desk.Desk, now: float
    ) -> Changed | None:
        message = row.message
        key = replace(message.key, user=message.reply_to_author)
        meant = pairs.conversation_of(connection, key) if message.reply_to_author else None
        if meant is None or message.kind != "said":
            return None
        by, who = orders.holder_of(message), message.author.name or message.author.id
        words = self._texts.say("answered_in_group", self._language, name=who)
        held = record.unresolved(connection, meant)
        if held is None:
            opening = desk.Opening(
                rule="staff", why=words, priority=0, notice="", context="", ping="", who=who
            )
            opened = desk.open_case(connection, meant, opening, facts, now)
            held = record.case_row(connection, opened.case_id)
        if held.state in ("human", "snoozed") and held.holder not in ("", by):
            return self._answers().tell(connection, held.id, words, now, "answered in the group")
        claim = Change(
            what="claimed",
            who=who,
            by=by,
            state="human",
            holder=(who, by),
            say=words,
            marker="" if held.state == "human" else "human began",
            values={"first_reply_at": held.first_reply_at or now},
        )
        done = desk.move(connection, held.id, facts, now, change=claim)
        line = Words(whole=message.text, parts=(), files=tuple(relay.files_of(message) or ()))
        relay.keep(connection, record.case_row(connection, held.id), "staff", who, line, now)
        return done

    async def no_longer_needed(self, start: turns.Start) -> Changed | None:
        """The person takes their call back: settled by themselves, and it does not reopen."""
        facts, now = self.facts(), self._clock()

        def settle(connection: Connection) -> Changed | None:
            turns.done(connection, [row.id for row in start.rows], now)
            if start.case_id is None:
                return None
            view = case_for_verbs(connection, start.case_id)
            if view["state"] == "resolved":  # staff were faster
                return None
            change = self.steps.resolved(view, now, notice="back_to_bot", who="", by="")
            say = self._texts.say("user_closed", self._language)
            return desk.move(connection, start.case_id, facts, now, change=replace(change, say=say))

        return await self._store.write(settle)

    def back_again(
        self, connection: Connection, conversation_id: int, now: float
    ) -> Changed | None:
        """A person can be reached again: staff decide what becomes of what waited for them."""
        held = record.unresolved(connection, conversation_id)
        if held is None:
            return None
        waiting = len(relay.held_rows(connection, conversation_id))
        if not waiting:
            words = self._texts.say("came_back", self._language)
            return self._answers().tell(connection, held.id, words, now, "back")
        card = self.cards.undelivered(views.case_view(connection, held.id), waiting)
        return record.tell_staff(
            connection, held.id, card.text, now, what="back", buttons=card.buttons
        )

    async def cut_off(self, start: turns.Start, shown: str) -> Changed | None:
        """Tell staff what the bot had shown when a human's turn ended its answer.

        One of which nothing had been shown leaves a trace without words, and nobody is called.
        """
        now = self._clock()

        def tell(connection: Connection) -> Changed | None:
            held = record.unresolved(connection, start.conversation_id)
            if held is None:
                return None
            if record.person_row(connection, start.conversation_id).owner == "bot":
                return None
            if not shown:
                record.leave_trace(connection, held.id, "draft withdrawn", "", now)
                return record.changed(connection, held.id, start.conversation_id, ())
            words = self._texts.say("bot_cut_off", self._language, text=shown[:300].strip())
            return self._answers().tell(connection, held.id, words, now, "cut off")

        return await self._store.write(tell)

    # --- beside cases ----------------------------------------------------------------------

    def ring(self, lanes: Sequence[Lane]) -> None:
        """Have lanes send what they hold."""
        self._ring(lanes)

    def tell_changed(self, changed: Changed) -> None:
        """Tell everybody that a case has changed."""
        self._changed(changed)
