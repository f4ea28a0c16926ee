"""What staff say to a person: passed on, held back, changed, taken back, or only suggested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core import errands, orders
from core.card import Cards
from core.errors import DeskError, NeedsConfirm
from core.marked import below, plainly
from core.message import Place, TextLimit
from core.orders import Action
from core.ports import Clock
from core.refusals import sentence
from core.split import split
from core.steps import Steps
from core.store import Connection, desk, pairs, record, relay, views
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.relay import Words
from core.texts import STAFF, Texts

COPY = TextLimit(size=1900)  # fits a post on every platform


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Carries out the verbs that speak, each inside its transaction."""

    texts: Texts
    cards: Cards
    steps: Steps
    limit: Callable[[Place], TextLimit]
    clock: Clock
    language: str = STAFF

    def run(self, turn: Turn) -> Changed:
        """Carry one speaking verb out. Raises DeskError, NeedsConfirm."""
        return VERBS[turn.action.verb](self, turn)

    def note(self, connection: Connection, action: Action, now: float) -> Changed:
        """Keep what only staff read."""
        if not action.text.strip() and not self._files(action):
            raise DeskError("A note needs some text.", name="note_empty")
        row = record.case_row(connection, action.case_id)
        words = Words(
            whole=action.text, parts=(), files=self._files(action), origin=self._origin(action)
        )
        relay.keep(connection, row, "note", action.who, words, now)
        kept = record.changed(connection, action.case_id, row.conversation_id, ())
        return replace(kept, lanes=(*kept.lanes, *self._copy(connection, action, now)))

    def reply(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        facts: desk.Desk,
        now: float,
    ) -> Changed:
        """Answer the person; the first answer claims the case by itself."""
        text = errands.words_to_send(connection, action, view)
        if not text.strip() and not self._files(action):
            raise DeskError("An answer needs some text.", name="answer_empty")
        if view["state"] == "resolved":
            raise DeskError(
                f"Case {action.case_id} is resolved; the person has to write first.",
                name="case_resolved",
                case=action.case_id,
            )
        refused = self._guard(connection, view, action)
        if refused is not None:
            if action.message is None or self.steps.policy.hard_lock:
                raise refused
            return self._hold_back(connection, replace(action, text=text), view, refused, now)
        view, moved = self._to_direct_chat(connection, action, view, facts, now)
        claimed = self._claim_by_answer(connection, action, view, facts, now)
        words = self._words(connection, action, view, text)
        said = relay.answer(connection, action.case_id, (action.who, action.by), words, now)
        lanes = (*moved, *(claimed.lanes if claimed else ()), *said.lanes)
        lanes = (*lanes, *self._copy(connection, replace(action, text=text), now))
        if view["resolve_at"]:  # it was to be resolved if nobody said anything
            told = self.tell(
                connection,
                action.case_id,
                self.texts.say("resolve_off", self.language),
                now,
                "called off",
            )
            drawn = desk.redraw(connection, action.case_id, facts, now)
            lanes = (*lanes, *told.lanes, *drawn.lanes)
        if not view["reachable"]:  # the answer is held: nobody must wait for what it does
            relay.hold(connection, view["conversation_id"], now)
            told = self.tell(connection, action.case_id, self._unreachable(view), now, "held")
            drawn = desk.redraw(connection, action.case_id, facts, now)
            lanes = (*lanes, *told.lanes, *drawn.lanes)
        return replace(claimed or said, lanes=lanes)

    def _guard(
        self, connection: Connection, view: Mapping[str, Any], action: Action
    ) -> NeedsConfirm | None:
        """Say why an answer may not simply go: somebody else has the case, or all would read it."""
        if action.confirm:
            return None
        public = not view["private"] and desk.direct_chat(connection, action.case_id) is None
        all_read = "They have no direct chat with the bot: everybody there would read your answer."
        if view["state"] not in ("human", "snoozed") or view["holder"] in ("", action.by):
            return NeedsConfirm(all_read, name="public_confirm") if public else None
        who, now = view["claimed_by"], self.clock()
        ago = max(0, int(now - (view["claimed_at"] or now)))
        held = f"{who} claimed this {ago} s ago."
        if public:
            return NeedsConfirm(f"{held} {all_read}", name="held_public", who=who, seconds=ago)
        return NeedsConfirm(held, name="held_claimed", who=who, seconds=ago)

    def _hold_back(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        why: NeedsConfirm,
        now: float,
    ) -> Changed:
        """Keep an answer until its writer says what is to become of it."""
        row = record.case_row(connection, action.case_id)
        words = Words(
            whole=action.text, parts=(), files=self._files(action), origin=self._origin(action)
        )
        line = relay.keep(connection, row, "held", action.who, words, now)
        card = self.cards.held(view["claimed_by"], "", action.case_id, line)
        return record.tell_staff(
            connection,
            action.case_id,
            sentence(why, self.texts, self.language),
            now,
            what="held back",
            buttons=card.buttons,
            whisper=action.whisper,
            answers="" if action.message is None or action.whisper else action.message.message_id,
        )

    def release(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        facts: desk.Desk,
        now: float,
    ) -> Changed:
        """Send what was held back, or keep it as a note: whoever presses decides."""
        line = pairs.line(connection, action.number)
        if line is None or line.role != "held" or line.case_id != action.case_id:
            raise DeskError("This answer was dealt with already.", name="answer_settled")
        if action.verb == "keep as note":
            pairs.rename(connection, action.number, "note")
            return self.tell(
                connection,
                action.case_id,
                self.texts.say("note_saved", self.language),
                now,
                "kept",
            )
        action = replace(action, who=line.name)
        view, moved = self._to_direct_chat(connection, action, view, facts, now)
        claimed = None
        if view["state"] in ("queued", "watch"):
            claimed = self._claim_by_answer(connection, action, view, facts, now)
        as_written = replace(action, message=pairs.written(connection, line))
        words = self._words(connection, as_written, view, line.text, stored=line.files)
        lanes = relay.send_held(connection, action.number, words, now)
        done = claimed or desk.redraw(connection, action.case_id, facts, now)
        return replace(done, lanes=(*moved, *done.lanes, *lanes))

    def _claim_by_answer(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        facts: desk.Desk,
        now: float,
    ) -> Changed | None:
        if view["state"] == "human" and view["holder"] == action.by:
            return None
        if view["state"] in ("human", "snoozed") and view["holder"]:
            return None  # sent anyway: it stays with whoever has it
        claim = self.steps.change(
            connection, replace(action, verb="claim", version=None, confirm=True), view, now
        )
        claim = replace(claim, notice="", say="" if action.by else self._anonymous_line())
        return desk.move(connection, action.case_id, facts, now, change=claim)

    def _anonymous_line(self) -> str:
        return self.texts.say("answered_anonymously", self.language)

    def _words(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        text: str,
        *,
        stored: Sequence[Mapping[str, Any]] | None = None,
    ) -> Words:
        """Return an answer as it leaves: signed on the first of a run, split for its platform."""
        home = view["conversation"]
        place = Place(
            platform=home["platform"], bot=home["bot"], chat=home["chat"], thread=home["thread"]
        )
        signed = self._signature(connection, action, view)
        limit = self.limit(place)
        media = () if action.message is None else relay.media_of(action.message)
        if stored is not None:
            media = errands.stored_media(connection, action.number, stored)
        return Words(
            whole=text,
            parts=self._parts(action, signed, text, limit),
            signed=signed,
            media=media,
            files=self._files(action),
            album="" if action.message is None else action.message.album,
            origin=self._origin(action),
            answers=errands.line_answered(connection, action),
        )

    @staticmethod
    def _parts(action: Action, signed: str, text: str, limit: TextLimit) -> tuple[str, ...]:
        """Return an answer as the person's platform shows it; formatted where it was written so."""
        marked = orders.formatted(action, text)
        if marked:
            return below(signed, marked, limit)
        whole = "\n".join(filter(None, (signed, text)))
        return plainly(whole, limit) or ("",)

    def _signature(self, connection: Connection, action: Action, view: Mapping[str, Any]) -> str:
        """Return the name that stands over an answer; empty within a run of one writer.

        The page shows by itself who writes.
        """
        if view["platform"] == "web":
            return ""
        hidden = action.verb == "reply anonymously" or not action.by or self.steps.hides_names(view)
        name = "staff_role" if hidden else "staff_name"
        signed = self.texts.say(
            name, view["lang"], role=self.steps.policy.role, name=action.who.split(" ")[0]
        )
        return "" if pairs.goes_on(connection, view["conversation_id"], action.who) else signed

    @staticmethod
    def _files(action: Action) -> tuple[Mapping[str, Any], ...]:
        found = None if action.message is None else relay.files_of(action.message)
        return tuple(found or ())

    @staticmethod
    def _origin(action: Action) -> tuple[Place, str] | None:
        message = action.message
        if message is None or message.kind != "said":
            return None
        return replace(message.key.place, thread=""), message.message_id

    def _copy(self, connection: Connection, action: Action, now: float) -> tuple[Lane, ...]:
        """Show the case's thread what was said elsewhere; what was written there stands there."""
        if not action.unseen or not action.text.strip():
            return ()
        mark = "// " if action.verb == "note" else ""
        told = [
            self.tell(connection, action.case_id, part, now, "copied")
            for part in split(f"{mark}{action.who}: {action.text}", COPY)
        ]
        return tuple(lane for changed in told for lane in changed.lanes)

    def _unreachable(self, view: Mapping[str, Any]) -> str:
        say = self.texts.say
        reason = say("blocked_or_left", self.language)
        return say("not_delivered", self.language, who=view["who"], reason=reason)

    def change(
        self, connection: Connection, action: Action, view: Mapping[str, Any], now: float
    ) -> Changed:
        """Edit, delete or react: what stands on the other side follows."""
        done = record.changed(connection, action.case_id, view["conversation_id"], ())
        if action.verb == "react":
            linked = pairs.find_line(connection, action.number)
            number = record.leave_trace(connection, action.case_id, "reacted", action.who, now)
            lanes = relay.react(connection, linked, action.text, number, now)
            return replace(done, lanes=tuple(lanes))
        line, text = self._answer_meant(connection, action)
        if action.verb == "edit" and line.role != "note" and text.lstrip().startswith("//"):
            raise DeskError(
                "An answer cannot become a note, so nothing was changed. /del takes it back.",
                name="answer_no_note",
            )
        if line.role in ("note", "held"):
            kept = text.strip().removeprefix("//").strip() if line.role == "note" else text
            pairs.rewrite(connection, line.id, kept if action.verb == "edit" else "")
            return done
        if line.role != "staff":
            raise DeskError("Only staff's own answers can be changed.", name="answer_not_ours")
        of = (
            "changed",
            record.leave_trace(connection, action.case_id, action.verb, action.who, now),
        )
        if action.verb == "delete":
            return replace(done, lanes=tuple(relay.take_back(connection, line.id, of, now)))
        if not text.strip():
            raise DeskError("Write the new text after it.", name="edit_empty")
        home = view["conversation"]
        limit = self.limit(Place(platform=home["platform"], bot=home["bot"], chat=home["chat"]))
        parts = self._parts(action, line.signed, text, limit)
        words = Words(whole=text, parts=parts, signed=line.signed)
        lanes = relay.change_answer(connection, line.id, words, of, now)
        return replace(done, lanes=(*lanes, *self._copy(connection, action, now)))

    @staticmethod
    def _answer_meant(connection: Connection, action: Action) -> tuple[Any, str]:
        """Return the line that is to be changed, and its new text. Raises DeskError."""
        number, text = action.number, action.text
        if not number and action.message is None:  # of the page: "<line id> new text"
            first, _, text = action.text.strip().partition(" ")
            number = int(first) if first.isdecimal() else 0
        line = pairs.line(connection, number or orders.own_answer(connection, action) or 0)
        if line is None or line.case_id != action.case_id:
            raise DeskError(
                "Reply to the answer that is meant, or say one first.", name="edit_which"
            )
        return line, text

    def _to_direct_chat(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        facts: desk.Desk,
        now: float,
    ) -> tuple[Mapping[str, Any], tuple[Lane, ...]]:
        """Go on in private with somebody whose case began in a group, where that is possible."""
        lanes = desk.to_direct_chat(connection, action.case_id, facts, now)
        if lanes is None:
            return view, ()
        words = self.texts.say("goes_on_in_private", self.language)
        told = self.tell(connection, action.case_id, words, now, "moved")
        return case_for_verbs(connection, action.case_id), (*lanes, *told.lanes)

    def draft(
        self,
        connection: Connection,
        action: Action,
        view: Mapping[str, Any],
        facts: desk.Desk,
        now: float,
    ) -> Changed:
        """Keep a suggestion, which only staff see, and show it; or drop it."""
        model, _, text = action.text.partition("\n")
        dropped = action.verb == "drop draft"
        if not dropped and not text.strip():
            raise DeskError("The model has no suggestion here.", name="no_suggestion")
        values = {"draft": "" if dropped else text, "draft_by": "" if dropped else model}
        record.set_values(connection, action.case_id, values)
        if dropped or not action.message:
            return desk.redraw(connection, action.case_id, facts, now)
        platform = action.message.key.platform
        card = self.cards.draft({**view, **values}, platform)
        return record.tell_staff(
            connection, action.case_id, card.text, now, what="suggested", buttons=card.buttons
        )

    def let_go(self, connection: Connection, action: Action, now: float) -> Changed:
        """Send what waited for somebody who could not be reached, or drop it."""
        row = record.case_row(connection, action.case_id)
        send = action.verb == "send"
        lanes = relay.let_go(connection, row.conversation_id, now, send=send)
        name = "held_sent" if send else "held_dropped"
        words = self.texts.say(name, self.language, name=action.who)
        told = self.tell(connection, action.case_id, words, now, "let go")
        return replace(told, lanes=(*told.lanes, *lanes))

    @staticmethod
    def tell(connection: Connection, case_id: int, words: str, now: float, what: str) -> Changed:
        """Leave one line in the case's threads."""
        return record.tell_staff(connection, case_id, words, now, what=what)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One speaking verb, with all it may look at."""

    connection: Connection
    action: Action
    view: Mapping[str, Any]
    facts: desk.Desk
    now: float


def _reply(answers: Answers, turn: Turn) -> Changed:
    return answers.reply(turn.connection, turn.action, turn.view, turn.facts, turn.now)


def _release(answers: Answers, turn: Turn) -> Changed:
    return answers.release(turn.connection, turn.action, turn.view, turn.facts, turn.now)


def _change(answers: Answers, turn: Turn) -> Changed:
    return answers.change(turn.connection, turn.action, turn.view, turn.now)


def _draft(answers: Answers, turn: Turn) -> Changed:
    return answers.draft(turn.connection, turn.action, turn.view, turn.facts, turn.now)


def _let_go(answers: Answers, turn: Turn) -> Changed:
    return answers.let_go(turn.connection, turn.action, turn.now)


VERBS: Mapping[str, Callable[[Answers, Turn], Changed]] = {
    "note": lambda answers, turn: answers.note(turn.connection, turn.action, turn.now),
    "reply": _reply,
    "reply anonymously": _reply,
    "send draft": _reply,
    "edit draft": _reply,
    "saved": _reply,
    "send anyway": _release,
    "keep as note": _release,
    "edit": _change,
    "delete": _change,
    "react": _change,
    "draft": _draft,
    "drop draft": _draft,
    "send": _let_go,
    "drop": _let_go,
}


def case_for_verbs(connection: Connection, case_id: int) -> dict[str, Any]:
    """Return a case as verbs need it. Raises DeskError when there is none."""
    row = record.case_row(connection, case_id)
    other = record.unresolved(connection, row.conversation_id)
    return {
        **views.case_view(connection, case_id),
        "state_before": row.state_before,
        "verdict_at": row.verdict_at,
        "holder": row.holder,
        "conversation_id": row.conversation_id,
        "conversation_busy": other is not None and other.id != case_id,
    }
