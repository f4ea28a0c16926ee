"""What staff do beside moving a case: blocks, remarks, alerts, incidents, and questions.

An answer to a question is for whoever asked; everything else leaves a line for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core import durations
from core.card import Cards
from core.errors import DeskError, NeedsConfirm
from core.marked import plainly
from core.message import ConversationKey, Place, TextLimit
from core.orders import Action
from core.split import split
from core.steps import DeskPolicy
from core.store import Connection, alarms, desk, digests, pairs, people, record, relay, saved, views
from core.store.desk import Opening
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.relay import Words
from core.texts import STAFF, Texts

SHOWN = TextLimit(size=1900)
RECENT = 20  # lines of /history
MUTE = 3600.0  # seconds
ACCOUNT = "telegram:12345"  # how somebody without a name is meant


@dataclass(frozen=True, kw_only=True, slots=True)
class Errands:
    """Carries out the further verbs, each inside its transaction."""

    texts: Texts
    cards: Cards
    policy: DeskPolicy
    limit: Callable[[Place], TextLimit]
    language: str = STAFF

    def run(
        self, connection: Connection, action: Action, facts: desk.Desk, now: float, rung: list[Lane]
    ) -> Changed | None:
        """Carry one out. Raises DeskError; None: there is no case that changed.

        `rung` gets the lanes of what is posted beside cases.
        """
        errand = _ERRANDS[action.verb]
        return errand(
            self, Errand(connection=connection, action=action, facts=facts, now=now, rung=rung)
        )

    def _say(self, name: str, /, **values: str | int) -> str:
        return self.texts.say(name, self.language, **values)

    def _tell(self, errand: Errand, words: str, *, aside: bool = False) -> Changed:
        """Leave a line in the case's thread; aside: for whoever asked, where that is possible."""
        told = [
            record.tell_staff(
                errand.connection,
                errand.action.case_id,
                part,
                errand.now,
                what=errand.action.verb,
                whisper=errand.action.whisper if aside else "",
            )
            for part in split(words, SHOWN)
        ]
        return replace(told[-1], lanes=tuple(lane for each in told for lane in each.lanes))

    @staticmethod
    def _tell_desk(errand: Errand, words: str) -> None:
        """Say in the desk's own chat what came of a command or press there."""
        action = errand.action
        if action.message is not None:
            place = replace(action.message.key.place, thread="")
            errand.rung.extend(
                digests.post(errand.connection, place, words, errand.now, whisper=action.whisper)
            )

    def _key(self, errand: Errand) -> ConversationKey:
        row = record.case_row(errand.connection, errand.action.case_id)
        return views.conversation_key(errand.connection, row.conversation_id)

    # --- the person -------------------------------------------------------------------------

    def _block(self, errand: Errand) -> Changed:
        action = errand.action
        text, sure = _sure(action.text)
        until, why = durations.block(text, errand.now, self.policy.zone)
        when = durations.words(until - errand.now, self.language, self.texts)
        if not (sure or action.confirm):
            typed = f"/block {text} yes"
            raise NeedsConfirm(
                self.texts.say("block_confirm", "en", when=when, text=typed),
                name="block_confirm",
                seconds=int(until - errand.now),
                text=typed,
            )
        people.block(errand.connection, self._key(errand), until, why, errand.now)
        record.block(errand.connection, self._key(errand), until)
        return self._tell(errand, self._say("blocked_by", name=action.who, when=when, text=why))

    def _unblock(self, errand: Errand) -> Changed:
        people.unblock(errand.connection, self._key(errand))
        record.block(errand.connection, self._key(errand), None)
        return self._tell(errand, self._say("unblocked_by", name=errand.action.who))

    def _remark(self, errand: Errand) -> Changed:
        action = errand.action
        if not action.text.strip():
            raise DeskError("Write the remark after it.", name="remark_empty")
        people.add_remark(errand.connection, self._key(errand), action.who, action.text, errand.now)
        told = self._tell(errand, self._say("remarked_by", name=action.who))
        drawn = desk.redraw(errand.connection, action.case_id, errand.facts, errand.now)
        return replace(drawn, lanes=(*told.lanes, *drawn.lanes))

    def _alert(self, errand: Errand) -> Changed:
        action = errand.action
        on = record.toggle_watcher(errand.connection, action.case_id, action.by, action.who)
        return self._tell(errand, self._say("alert_on" if on else "alert_off", name=action.who))

    # --- cases that staff begin ------------------------------------------------------------------

    def _open(self, errand: Errand) -> Changed:
        """Open a case for somebody that no rule has found; watching leaves the bot in charge."""
        action, connection = errand.action, errand.connection
        watching = action.verb == "watch"
        conversation = self._meant(errand)
        held = record.unresolved(connection, conversation)
        if held is not None:
            number = int(held.id)
            raise DeskError(f"They have case #{number} already.", name="has_case", case=number)
        words = self._say("opened_by", name=action.who)
        opening = Opening(
            rule="staff",
            why=words,
            priority=0,
            notice="",
            context="",
            ping="" if watching else words,
            state="watch" if watching else "queued",
            who=action.who,
        )
        return desk.open_case(connection, conversation, opening, errand.facts, errand.now)

    def _meant(self, errand: Errand) -> int:
        action = errand.action
        if action.text.strip():
            found = pairs.conversation_named(errand.connection, action.text)
            if found is None:
                raise DeskError(
                    "Nobody of that name wrote here, or several did: write #case, or the platform "
                    f"and the account's number such as {ACCOUNT}.",
                    name="person_unknown",
                    example=ACCOUNT,
                )
            return found
        if not action.case_id:
            raise DeskError(
                f"Write who is meant: #case, @name, or {ACCOUNT}.",
                name="person_which",
                example=ACCOUNT,
            )
        return int(record.case_row(errand.connection, action.case_id).conversation_id)

    # --- questions -----------------------------------------------------------------------------

    def _why(self, errand: Errand) -> Changed:
        view = views.case_view(errand.connection, errand.action.case_id)
        return self._tell(errand, self.cards.more(view), aside=True)

    def _who(self, errand: Errand) -> Changed:
        view = views.case_view(errand.connection, errand.action.case_id)
        return self._tell(errand, errand.facts.draw(view, "").text, aside=True)

    def _history(self, errand: Errand) -> Changed:
        full = views.full_case(errand.connection, errand.action.case_id) or {"lines": []}
        rows = [
            f"{line['name'] or line['role']}: " + "\n  ".join(line["text"].splitlines())
            for line in full["lines"][-RECENT:]
            if line["text"]
        ]
        return self._tell(errand, "\n".join(rows) or self._say("no_history"), aside=True)

    # --- saved replies ----------------------------------------------------------------------

    def _save(self, errand: Errand) -> Changed | None:
        name, _, text = errand.action.text.strip().partition(" ")
        saved.put(errand.connection, name, text.strip(), errand.action.who, errand.now)
        words = self._say("reply_saved" if text.strip() else "reply_removed", name=name)
        if errand.action.case_id:
            return self._tell(errand, words)
        self._tell_desk(errand, words)
        return None

    # --- many at once ---------------------------------------------------------------------------

    def _answer_all(self, errand: Errand) -> Changed | None:
        """Send one text to everybody of an incident; the desk's own chat may only ask for it."""
        action = errand.action
        if not action.text.strip():
            raise DeskError(
                self.texts.say("answer_all_how", "en", n=action.case_id),
                name="answer_all_how",
                n=action.case_id,
            )
        done: Changed | None = None
        people = alarms.members(errand.connection, action.case_id)
        for case_id in people:
            done = self.answer_one(errand, case_id)
            errand.rung.extend(done.lanes)
        self._tell_desk(errand, self._say("answered_all", name=action.who, n=len(people)))
        return done

    def answer_one(self, errand: Errand, case_id: int) -> Changed:
        """Say an incident's answer to one of its people; their case stays as it is."""
        row = record.case_row(errand.connection, case_id)
        key = views.conversation_key(errand.connection, row.conversation_id)
        signed = self.texts.say(
            "staff_role",
            record.person_row(errand.connection, row.conversation_id).lang or "en",
            role=self.policy.role,
        )
        shown = errand.action.text if key.platform == "web" else f"{signed}\n{errand.action.text}"
        words = Words(whole=errand.action.text, parts=plainly(shown, self.limit(key.place)))
        by = (errand.action.who, errand.action.by)
        return relay.answer(errand.connection, case_id, by, words, errand.now)

    def _open_all(self, errand: Errand) -> Changed | None:
        done: Changed | None = None
        lanes: list[Any] = []
        for case_id in alarms.members(errand.connection, errand.action.case_id):
            if record.has_place(errand.connection, case_id):
                continue
            done = desk.place_case(
                errand.connection, case_id, errand.facts, errand.now, ping="", who=errand.action.who
            )
            lanes += done.lanes
        return None if done is None else replace(done, lanes=tuple(lanes))

    def _mute(self, errand: Errand) -> Changed | None:
        until = errand.now + MUTE
        alarms.mute(errand.connection, errand.action.case_id, until)
        lanes = alarms.show_incident(
            errand.connection,
            errand.action.case_id,
            errand.facts.alarms,
            errand.facts.place,
            errand.now,
        )
        errand.rung.extend(lanes)
        return None

    def _dry(self, errand: Errand) -> Changed | None:
        """Keep staff's word on a case that the dry run did not open."""
        verdict = "right" if errand.action.verb == "dry right" else "not needed"
        record.judge_dry(errand.connection, errand.action.case_id, verdict)
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One further verb, with all it may touch."""

    connection: Connection
    action: Action
    facts: desk.Desk
    now: float
    rung: list[Lane]


_ERRANDS: Mapping[str, Callable[[Errands, Errand], Changed | None]] = {
    "block": Errands._block,  # noqa: SLF001 - its own table
    "unblock": Errands._unblock,  # noqa: SLF001
    "remark": Errands._remark,  # noqa: SLF001
    "alert": Errands._alert,  # noqa: SLF001
    "contact": Errands._open,  # noqa: SLF001
    "watch": Errands._open,  # noqa: SLF001
    "why": Errands._why,  # noqa: SLF001
    "who": Errands._who,  # noqa: SLF001
    "history": Errands._history,  # noqa: SLF001
    "save": Errands._save,  # noqa: SLF001
    "answer all": Errands._answer_all,  # noqa: SLF001
    "open all": Errands._open_all,  # noqa: SLF001
    "mute": Errands._mute,  # noqa: SLF001
    "dry right": Errands._dry,  # noqa: SLF001
    "dry not needed": Errands._dry,  # noqa: SLF001
}
VERBS = frozenset(_ERRANDS)


def _sure(text: str) -> tuple[str, bool]:
    """Return a command's text without the word that confirms it, and whether it was there."""
    words = text.split()
    if words and words[-1].lower() in ("yes", "是", "да", "sí"):
        return " ".join(words[:-1]), True
    return text, False


def words_to_send(connection: Connection, action: Action, view: Mapping[str, Any]) -> str:
    """Return what an answer says: the words given, a saved reply, or the suggestion."""
    if action.verb == "send draft":
        return str(view.get("draft") or "")
    if action.verb != "saved":
        return action.text
    name = action.text.strip()
    found = saved.text_of(connection, name) if name else None
    if found is not None:
        return found
    known = ", ".join(one["name"] for one in saved.every(connection)) or "-"
    raise DeskError(
        f"There is no saved reply {name!r}. Saved: {known}",
        name="saved_unknown",
        reply=name,
        known=known,
    )


def line_answered(connection: Connection, action: Action) -> int | None:
    """Return the history line that staff's message replies to."""
    message = action.message
    if message is None or message.reply_to is None:
        return None
    place = replace(message.key.place, thread="")
    linked = pairs.find(connection, place, message.reply_to)
    return None if linked is None or linked.history_id is None else int(linked.history_id)


def stored_media(
    connection: Connection, line_id: int, files: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """Return the files of a line that was held back, as they are sent."""
    origin = pairs.origin(connection, line_id)
    if origin is None:
        return ()
    return tuple(
        {
            "platform": origin.platform,
            "bot": origin.bot,
            "chat": origin.chat,
            "message_id": origin.message_id,
            "kind": one["kind"],
            "file_id": one["file_id"],
            "name": one["name"],
            "size": one["size"],
        }
        for one in files
        if one["file_id"]
    )
