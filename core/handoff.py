"""The desk: what staff may do with a case, from wherever they do it, and how a case looks to them.

Every verb is one transaction (core.store.desk). The web page calls `act`; messages, commands and
buttons from a staff chat come through the inbox like any message, and are carried out by
`staff_message` together with the closing of their inbox row, so that a crash repeats neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.card import Cards
from core.errors import DeskError, NeedsConfirm, StaleCard
from core.message import Button, Message, Place, TextLimit
from core.ports import Clock, StaffVerb as Verb
from core.split import split
from core.store import Connection, Store, desk, threads, turns, views
from core.store.desk import Change, Changed
from core.store.outbox import Lane
from core.texts import Texts

CODES: Mapping[str, Verb] = {
    "cl": "claim",
    "re": "release",
    "rs": "resolve",
    "nn": "notneeded",
    "bb": "botback",
}
COMMANDS: Mapping[str, Verb] = {
    "claim": "claim",
    "release": "release",
    "resolve": "resolve",
    "notneeded": "notneeded",
    "steal": "steal",
    "r": "reply",
    "reply": "reply",
    "note": "note",
}
_BUTTON = re.compile(r"h:([0-9a-z]{1,12}):([a-z]{2}):([0-9a-z]{1,12})")

COPY = TextLimit(size=1900)  # fits a post on every platform
REOPEN = 24 * 3600.0  # seconds after Resolve in which a new message reopens the case


@dataclass(frozen=True, kw_only=True, slots=True)
class DeskPolicy:
    """Starting values of the desk, in seconds."""

    reopen: float = REOPEN
    refractory: float = 1800.0  # alarms caused by mood rest so long after Resolve
    not_needed: float = 7200.0  # and so long after Not needed, doubling up to a day


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """One thing a staff member does."""

    case_id: int
    verb: Verb
    who: str
    text: str = ""
    version: int | None = None
    confirm: bool = False
    unseen: bool = False  # said where the case's thread does not show it: staff get a copy there


class Handoff:
    """Opens the desk's doors onto the store."""

    def __init__(  # noqa: PLR0913 - wired once, by name
        self,
        *,
        store: Store,
        texts: Texts,
        clock: Clock,
        place: Callable[[], Place | None],
        limit: Callable[[Place], TextLimit],
        changed: Callable[[Changed], None],
        policy: DeskPolicy | None = None,
        language: str = "en",
    ) -> None:
        self._store = store
        self._texts = texts
        self._clock = clock
        self._place = place
        self._limit = limit
        self._changed = changed
        self._policy = policy or DeskPolicy()
        self._language = language
        self._cards = Cards(texts=texts, language=language)

    def facts(self) -> desk.Desk:
        """Return the fixed facts every change of a case needs, as they are now."""
        place = self._place()
        return desk.Desk(
            place=place,
            draw=partial(self._cards.draw, platform="" if place is None else place.platform),
            view=views.case_view,
            withdrawn=partial(self._texts.say, "withdrawn"),
        )

    async def act(self, action: Action) -> Changed:
        """Do one staff action. Raises StaleCard, NeedsConfirm or DeskError."""
        place = self.facts()
        now = self._clock()
        changed = await self._store.write(
            lambda connection: self._apply(connection, replace(action, unseen=True), place, now)
        )
        self._changed(changed)
        return changed

    def _apply(
        self, connection: Connection, action: Action, place: desk.Desk, now: float
    ) -> Changed:
        view = views.full_case(connection, action.case_id)
        if view is None:
            raise DeskError(f"There is no case {action.case_id}.")
        if action.verb == "note":
            if not action.text.strip():
                raise DeskError("A note needs some text.")
            kept = desk.note(connection, action.case_id, action.who, action.text, now)
            return replace(kept, lanes=(*kept.lanes, *self._copy(connection, action, now)))
        if action.verb == "reply":
            said = self._reply(connection, action, view, place, now)
            return replace(said, lanes=(*said.lanes, *self._copy(connection, action, now)))
        change = self._change(connection, action, view, now)
        return desk.move(connection, action.case_id, place, now, change=change)

    def _reply(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        place: desk.Desk,
        now: float,
    ) -> Changed:
        """Answer the person; the first answer claims the case by itself."""
        if not action.text.strip():
            raise DeskError("An answer needs some text.")
        if view["state"] == "resolved":
            raise DeskError(f"Case {action.case_id} is resolved; the person has to write first.")
        claimed: Changed | None = None
        if view["state"] != "human" or view["claimed_by"] != action.who:
            claim = Change(
                what="claimed",
                who=action.who,
                state="human",
                holder=action.who,
                confirm=action.confirm,
            )
            claimed = desk.move(connection, action.case_id, place, now, change=claim)
        home = view["conversation"]
        person = Place(
            platform=home["platform"], bot=home["bot"], chat=home["chat"], thread=home["thread"]
        )
        parts = split(action.text, self._limit(person))
        said = desk.staff_said(
            connection, action.case_id, action.who, parts, now, whole=action.text
        )
        lanes = said.lanes if claimed is None else (*claimed.lanes, *said.lanes)
        if view["unreachable"]:  # the answer is held: nobody must wait for what it does
            told = desk.tell_staff(connection, action.case_id, self._held(view), now, what="held")
            lanes = (*lanes, *told.lanes)
        return replace(claimed or said, lanes=lanes)

    def _copy(self, connection: Connection, action: Action, now: float) -> tuple[Lane, ...]:
        """Show the case's thread what was said elsewhere; what was written there stands there."""
        if not action.unseen:
            return ()
        mark = "// " if action.verb == "note" else ""
        told = [
            desk.tell_staff(connection, action.case_id, part, now, what="copied")
            for part in split(f"{mark}{action.who}: {action.text}", COPY)
        ]
        return tuple(lane for changed in told for lane in changed.lanes)

    def _held(self, view: Mapping[str, Any]) -> str:
        reason = "they blocked the bot or left"
        return self._texts.say("not_delivered", self._language, who=view["who"], reason=reason)

    def _change(
        self, connection: Connection, action: Action, view: Mapping[str, Any], now: float
    ) -> Change:
        common: dict[str, Any] = {"who": action.who, "version": action.version}
        unresolved = ("queued", "human", "watch")
        match action.verb:
            case "claim" | "steal":
                return Change(
                    what="claimed",
                    state="human",
                    holder=action.who,
                    allow=unresolved,
                    confirm=action.confirm or action.verb == "steal",
                    **common,
                )
            case "release":
                return Change(
                    what="released",
                    state="queued",
                    holder="",
                    allow=("human",),
                    confirm=action.confirm,
                    **common,
                )
            case "botback":
                return Change(
                    what="given back",
                    state="watch",
                    holder="",
                    allow=("human", "queued"),
                    notice=self._texts.say("back_to_bot", view["lang"]),
                    rest={"refractory_until": now + self._policy.refractory},
                    confirm=action.confirm,
                    **common,
                )
            case _:
                return self._closing(connection, action, view, now, common)

    def _closing(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        now: float,
        common: Mapping[str, Any],
    ) -> Change:
        """Resolve, or Not needed: the same step with other words and another rest."""
        settled = action.verb == "resolve"
        watched = view["state"] == "watch"
        notice = "" if watched else "resolved" if settled else "back_to_bot"
        rest = self._policy.refractory if settled else self._policy.not_needed
        peak = {"not_needed_peak": None if settled else _peak(view)}
        if not settled:
            rest = min(rest * 2 ** _not_needed(connection, view), 86400.0)
        yes_no = (
            Button(label=self._texts.say("resolved_yes", view["lang"]), data="u:yes"),
            Button(label=self._texts.say("resolved_no", view["lang"]), data="u:no"),
        )
        return Change(
            what="resolved" if settled else "not needed",
            state="resolved",
            holder="",
            notice=self._texts.say(notice, view["lang"]) if notice else "",
            buttons=yes_no if notice == "resolved" else (),
            values={
                "resolved_at": now,
                "resolved_by": action.who,
                "verdict": "" if settled else "not needed",
                "reopen_until": now + self._policy.reopen if settled and not watched else None,
            },
            rest={"refractory_until": now + rest, **peak},
            allow=("queued", "human", "watch"),
            confirm=action.confirm,
            **common,
        )

    async def staff_message(self, start: turns.Start) -> None:
        """Carry out what staff wrote or pressed in a desk chat, and close its inbox row."""
        for row in start.rows:  # each by itself: a refused one must not take its neighbours along
            changed = await self._staff_row(row)
            if changed is not None:
                self._changed(changed)

    async def _staff_row(self, row: turns.Row) -> Changed | None:
        place = self.facts()
        now = self._clock()

        def carry_out(connection: Connection) -> Changed | None:
            turns.done(connection, [row.id], now)
            return self._one(connection, row.message, place, now)

        def refuse(connection: Connection, error: DeskError) -> Changed | None:
            turns.done(connection, [row.id], now)
            return self._refusal(connection, row.message, error, place, now)

        try:
            return await self._store.write(carry_out)
        except DeskError as error:
            return await self._store.write(partial(refuse, error=error))

    def _one(
        self, connection: Connection, message: Message, place: desk.Desk, now: float
    ) -> Changed | None:
        action = self._read(connection, message)
        if action is None:
            return None
        if isinstance(action, DeskError):
            raise action
        return self._apply(connection, action, place, now)

    def _read(self, connection: Connection, message: Message) -> Action | DeskError | None:
        """Understand a staff message: which case, which verb. None: staff among themselves."""
        who = message.author.name or message.author.id
        if message.kind == "pressed":
            return _pressed(message.data, who)
        case_id = threads.case_at(connection, message.key.place, message.reply_to)
        if case_id is None and message.kind == "command":
            case_id = threads.case_of(connection, message.key.place, who)
        if case_id is None:
            return None
        if message.kind == "edited" and message.key.platform != "discord":
            return DeskError("An edit here does not reach the person: please write it anew.")
        if message.kind == "command":
            return _commanded(message, case_id, who)
        return self._written(connection, message, case_id, who) if message.kind == "said" else None

    def _written(self, connection: Connection, message: Message, case_id: int, who: str) -> Action:
        """Tell an answer to the person from a note that stays inside."""
        text = message.text.strip()
        if text.startswith("//"):
            return Action(case_id=case_id, verb="note", who=who, text=text[2:].strip())
        on_card = message.reply_to is not None and threads.is_card(
            connection, message.key.place, message.reply_to
        )
        plain = message.reply_to is None or on_card
        if message.key.platform == "discord":
            # A plain line in a Discord thread stays inside; a reply to a copy goes to the person.
            return Action(case_id=case_id, verb="note" if plain else "reply", who=who, text=text)
        verb: Verb = "note" if on_card and message.key.thread else "reply"
        return Action(case_id=case_id, verb=verb, who=who, text=text)

    def _refusal(
        self,
        connection: Connection,
        message: Message,
        error: DeskError,
        place: desk.Desk,
        now: float,
    ) -> Changed | None:
        """Tell staff why nothing was done; a held-back answer is kept as a note."""
        action = self._read(connection, message)
        if not isinstance(action, Action):
            case_id = threads.case_at(connection, message.key.place, message.reply_to)
            if case_id is None:
                return None
            return desk.tell_staff(connection, case_id, str(error), now, what="refused")
        if views.full_case(connection, action.case_id) is None:
            return None
        if isinstance(error, StaleCard):
            return desk.redraw(connection, action.case_id, place, now)
        words = str(error)
        if isinstance(error, NeedsConfirm):
            words = f"{words} /steal"
            if action.verb == "reply":
                desk.note(connection, action.case_id, action.who, action.text, now)
                words = f"{words}\n{self._texts.say('note_saved', self._language)}"
        return desk.tell_staff(connection, action.case_id, words, now, what="refused")


def _pressed(data: str, who: str) -> Action | None:
    found = _BUTTON.fullmatch(data)
    if found is None or found[2] not in CODES:
        return None
    return Action(
        case_id=int(found[1], 36), verb=CODES[found[2]], who=who, version=int(found[3], 36)
    )


def _commanded(message: Message, case_id: int, who: str) -> Action | DeskError:
    if message.command == "bot" and message.argument.strip() == "on":
        return Action(case_id=case_id, verb="botback", who=who)
    if message.command == "bot" and message.argument.strip() == "off":
        return Action(case_id=case_id, verb="claim", who=who)
    verb = COMMANDS.get(message.command)
    if verb is None:
        known = " ".join(f"/{name}" for name in COMMANDS)
        return DeskError(f"/{message.command} was not sent to anybody. Known here: {known}")
    # A slash command's words are seen by whoever typed them alone.
    slash = message.key.platform == "discord"
    return Action(case_id=case_id, verb=verb, who=who, text=message.argument, unseen=slash)


def _peak(view: Mapping[str, Any]) -> float:
    """Return how bad the message was that this case was judged by: p_neg x strength."""
    return max(
        (m["p_negative"] * abs(m["intensity"]) for m in view["moved_by"]),
        default=0.0,
    )


def _not_needed(connection: Connection, view: Mapping[str, Any]) -> int:
    return views.verdicts(connection, view["id"], "not needed")
