"""What a turn comes to: escalate, reopen, relay, or answer, as one Plan to be written at once.

Pure: a plan follows from what was read at `begin` and what was heard, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from core import reply
from core.allowance import Allowance
from core.columns import tabled
from core.engine.ports import Started
from core.escalation import past_from_row, past_to_row
from core.hearing import Verdict
from core.marked import said_by
from core.message import Button, Message, TextLimit
from core.mood import Mood
from core.ports import Clock
from core.split import split
from core.store import relay
from core.store.desk import Opening
from core.store.turns import Answer, Heard, Plan, Row, Start
from core.texts import STAFF, Texts

PRIORITY = {"crisis": 3, "request": 2, "threat": 1, "spike": 1}
RECENT = 600.0  # seconds in which a fixed text is not said twice
CRISIS_AGAIN = 6 * 3600.0  # and those in which the text for a crisis is not
DAY = 86400.0
LATE = 600.0  # seconds; an older backlog is kept and shown to staff, not answered by a model
LOOP = 6  # turns in a row that no person would take
AT_ONCE = 1.0  # seconds within which a machine answers
STAFF_LIMIT = TextLimit(size=1900)  # fits a post on every platform


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Turns what was heard into what is to be done."""

    texts: Texts
    clock: Clock
    wait: Callable[[], str] = str  # the usual wait in minutes, where it is known
    closed: Callable[[str], str] = lambda _lang: ""  # when staff are back, while they are away
    message_chars: int = 8000  # a longer text was cut at intake
    allowance: Allowance = field(default_factory=Allowance)

    def silent(self, start: Start, verdict: Verdict) -> Plan | None:
        """Return what happens where the machine must not answer; None: it may."""
        decision, say = verdict.decision, self.texts.say
        if start.owner != "bot" or start.wakes:
            return self._relayed(start, verdict)
        called = start.addressed or decision.open
        if start.resolved_case is not None and called and not verdict.courtesy:
            hours = max(0, round((self.clock() - start.resolved_at) / 3600))
            line = say("wrote_again", STAFF, hours=hours)
            return self.base(
                verdict,
                reopen=(
                    self._first_words(start, verdict, "reopened"),
                    self._shut_line(start, f"{line}\n{decision.line}".strip()),
                ),
                raised=_raised(verdict),
                copies=self._copied(start),
            )
        if decision.open:
            past = verdict.past.opened(decision, self.clock())
            return self.base(
                replace(verdict, past=past),
                opening=self._opening(start, verdict),
                copies=self._mirrored(start),
            )
        if not start.addressed:  # in a watched group, said to others: heard, never answered
            return self.base(verdict, copies=self._mirrored(start))
        return None

    def shut_out(self, start: Start) -> Plan | None:
        """Return what becomes of somebody's words who is blocked; None: they are not.

        Words of danger are always heard.
        """
        now = self.clock()
        danger = any(row.urgent == "crisis" for row in start.rows)
        if start.blocked_until <= now or danger:
            return None
        lang = start.lang or "en"
        date = datetime.fromtimestamp(start.blocked_until, UTC).date().isoformat()
        words = self.texts.say("blocked", lang, date=date)
        heard = tuple(Heard(row=row, kept=False) for row in start.rows)
        past = past_from_row(start.past).mood if start.past else Mood()
        return Plan(
            heard=heard,
            past=start.past,
            mood=past.value,
            level=past.level,
            notices=self._unsaid(start, (words,), start.blocked_until),
        )

    def shut(self, start: Start) -> Plan:
        """Return what becomes of somebody's words who is not let in: a text, once in a day."""
        words = self.texts.say("not_open", self._lang(start))
        past = past_from_row(start.past).mood if start.past else Mood()
        return Plan(
            heard=tuple(Heard(row=row, kept=False) for row in start.rows),
            past=start.past,
            mood=past.value,
            level=past.level,
            notices=self._unsaid(start, (words,), DAY),
        )

    def _lang(self, start: Start) -> str:
        return start.lang or start.rows[-1].message.author.language or "en"

    def refused(self, start: Start, verdict: Verdict, *, told: bool = False) -> Plan | None:
        """Return what happens where an answer would be too much or too late; None: it is not.

        `told`: everybody in this chat can read already that it is too much.
        """
        newest = start.rows[-1]
        sent_at = newest.message.sent_at
        name = ""
        if sent_at > 0 and newest.received_at - sent_at > LATE:
            name = "late" if start.case_id is not None else "late_alone"
        elif self._loops(start):
            return self.base(verdict, looped=True)
        elif self._cut(start):
            return self._told(start, verdict, self.texts.say("too_long", verdict.lang))
        else:
            name = self.allowance.over(start.spent)
        if not name:
            return None
        told = told or (name == "enough_today" and self._told_today(start, verdict.lang))
        words = self.texts.say(name, verdict.lang, n=self.allowance.hours_left(self.clock()))
        return self._told(start, verdict, *(() if told else self._unsaid(start, (words,))))

    def _told_today(self, start: Start, lang: str) -> bool:
        """Say whether somebody has been told today that it is enough; the text names the hour."""
        since = self.allowance.began(self.clock())
        ways = {self.texts.say("enough_today", lang, n=n) for n in range(1, 26)}
        return any(
            line.role == "bot" and line.at >= since and line.text in ways for line in start.history
        )

    def _told(self, start: Start, verdict: Verdict, *words: str) -> Plan:
        return self.base(verdict, notices=words, copies=self._mirrored(start))

    def _cut(self, start: Start) -> bool:
        return any(len(row.message.text) > self.message_chars for row in start.rows)

    def _loops(self, start: Start) -> bool:
        """Say whether the other side is a machine: it answers each answer at once, and again.

        A person takes longer to read an answer than this, many times in a row.
        """
        turns = start.history[-2 * LOOP :]
        if len(turns) < 2 * LOOP:
            return False
        quick = [
            after.role == "user" and after.at - before.at < AT_ONCE
            for before, after in pairwise(turns)
            if before.role == "bot"
        ]
        said = {line.text for line in turns if line.role == "user"}
        return bool(quick) and all(quick) and len(said) <= LOOP // 3

    def _unsaid(
        self, start: Start, words: tuple[str, ...], within: float = RECENT
    ) -> tuple[str, ...]:
        """Return those fixed texts that were not said a short while ago."""
        since = self.clock() - within
        said = {line.text for line in start.history if line.role == "bot" and line.at > since}
        return tuple(text for text in words if text not in said)

    def _relayed(self, start: Start, verdict: Verdict) -> Plan:
        """The queue or a human has this conversation: copy everything, say next to nothing."""
        decision, say = verdict.decision, self.texts.say
        notices: tuple[str, ...] = ()
        if not start.private:
            pass  # in public it was said once that somebody will come, and no more is said
        elif decision.rule == "crisis":
            notices = self._unsaid(start, (say("crisis", verdict.lang),), CRISIS_AGAIN)
        elif decision.rule == "request" and start.owner == "queue":
            notices = self._unsaid(start, (self._still_waiting(start, verdict),))
        if self._cut(start) and start.addressed:
            notices += (say("too_long", verdict.lang),)
        if start.private and any(relay.unpassable(row.message) for row in start.rows):
            notices += (say("kind_unknown", verdict.lang),)
        return self.base(
            verdict,
            notices=notices,
            evidence=self._shut_line(start, decision.line)
            if decision.open
            else self._recovered(start),
            raised=_raised(verdict),
            copies=self._copied(start),
            wakes=start.wakes,
        )

    def _shut_line(self, start: Start, line: str) -> str:
        """Tell staff that somebody whom they have shut out is heard because of danger."""
        shut = start.blocked_until > self.clock()
        return f"{self.texts.say('blocked_crisis', STAFF)} {line}" if shut else line

    def _recovered(self, start: Start) -> str:
        """Tell staff of words that were written while nobody was here to take them in."""
        late = sum(
            row.message.sent_at > 0 and row.received_at - row.message.sent_at > LATE
            for row in start.rows
        )
        return self.texts.say("recovered", STAFF, n=late) if late else ""

    def _still_waiting(self, start: Start, verdict: Verdict) -> str:
        if start.place_in_line:
            return self.texts.say("still_waiting_place", verdict.lang, n=start.place_in_line)
        return self.texts.say("still_waiting", verdict.lang)

    def _opening(self, start: Start, verdict: Verdict) -> Opening:
        decision, say = verdict.decision, self.texts.say
        who = _name(start, start.rows[-1])
        lines = [_line(_speaker(s.role, who), s.text) for s in start.history[-10:]]
        lines += [_line(who, row.message.text) for row in start.rows]
        before = "context_title" if start.private else "context_title_group"
        return Opening(
            rule=decision.rule,
            why=decision.line,
            priority=PRIORITY.get(decision.rule, 0),
            notice=self._first_words(start, verdict, "open"),
            buttons=self._undo(start, verdict),
            context="\n".join([say(before, STAFF), *lines])[-1800:],
            ping=self._shut_line(start, say("ping", STAFF, who=who, why=decision.line)),
        )

    def _undo(self, start: Start, verdict: Verdict) -> tuple[Button, ...]:
        """Offer to take the call back; who is in danger is let go by staff."""
        if not start.private or verdict.decision.rule == "crisis":
            return ()
        return (Button(label=self.texts.say("undo_button", verdict.lang), data="u:undo"),)

    def _open_words(self, lang: str) -> str:
        """Return what is said when a case is opened, and when somebody usually comes."""
        if when := self.closed(lang):
            return self.texts.say("open_closed", lang, when=when)
        if wait := self.wait():
            return self.texts.say("open_wait", lang, n=wait)
        return self.texts.say("open", lang)

    def _first_words(self, start: Start, verdict: Verdict, usual: str) -> str:
        """Return the fixed text a person reads when their case is opened."""
        if not start.private:  # nothing is shown in public that says how somebody feels
            return self.texts.say("group_notice", verdict.lang)
        if verdict.decision.rule == "crisis":
            words = self.texts.say("crisis", verdict.lang)
            if self._unsaid(start, (words,), CRISIS_AGAIN):
                return words
        if usual == "open":
            return self._open_words(verdict.lang)
        return self.texts.say(usual, verdict.lang)

    def _mirrored(self, start: Start, answer: str = "") -> dict[int, tuple[str, ...]]:
        """Return the copies for staff who watch while the machine answers; none without a case."""
        if start.case_id is None:
            return {}
        copies, last = self._copied(start), start.rows[-1].id
        said = _copy("Heed", answer)
        return {**copies, last: (*copies.get(last, ()), *said)}

    def _copied(self, start: Start) -> dict[int, tuple[str, ...]]:
        return {
            row.id: tuple(_copy(_who(row.message, start), words, row.message))
            for row in start.rows
            if (words := self._words(row.message)) or row.message.attachments
        }

    def _words(self, message: Message) -> str:
        """Return what is to be read of a message: its text, and in words what has no bytes."""
        told = [item.words or f"[{item.kind}]" for item in message.attachments if not item.file_id]
        if kind := relay.unpassable(message):
            told.append(self.texts.say("kind_unpassable", STAFF, name=kind))
        forwarded = f"({message.forwarded_from}) " if message.forwarded_from else ""
        return forwarded + "\n".join(filter(None, [message.text, *told]))

    def copy_of(self, start: Start, message: Message) -> list[str]:
        """Return one message as staff's copy of it reads."""
        return _copy(_who(message, start), self._words(message), message)

    def base(self, verdict: Verdict, **changes: Any) -> Plan:  # noqa: ANN401
        """Return a plan that keeps what was heard, and `changes`."""
        mood = verdict.past.mood
        if verdict.decision.rule == "crisis" and not verdict.private:
            changes["aside"] = self.texts.say("crisis", verdict.lang)
        return Plan(
            heard=verdict.heard,
            past=past_to_row(verdict.past),
            mood=mood.value,
            level=mood.level,
            lang=verdict.lang,
            **changes,
        )

    def answer(
        self,
        start: Start,
        verdict: Verdict,
        started: Started,
        written: reply.Written,
        limit: TextLimit,
    ) -> Plan:
        """Return the plan of an ordinary turn: a reply of the machine's."""
        calm = verdict.past.mood.level == "calm"
        by = written.by or started
        offer = Button(label=self.texts.say("human_button", verdict.lang), data="u:human")
        answer = Answer(
            text=written.text,
            parts=tuple(split(tabled(written.text), limit)),
            model=by.model,
            prompt=by.prompt,
            reply_to="" if start.private else start.rows[-1].message.message_id,
            buttons=() if calm else (offer,),
        )
        past = verdict.past
        if past.engine_failures and not written.failed:
            past = replace(past, engine_failures=0)
        made = {**(verdict.heard[-1].made or {}), "reply": {**started.made, **_how(written)}}
        if written.problem:
            made["cut" if written.cut else "fallback"] = written.problem
        heard = (*verdict.heard[:-1], replace(verdict.heard[-1], made=made))
        return self.base(
            replace(verdict, heard=heard, past=past),
            answer=answer,
            copies=self._mirrored(start, written.text),
        )

    def apology(self, verdict: Verdict) -> Plan:
        """Return the plan for an engine that failed before the first word."""
        return self.base(verdict, notices=(self.texts.say("apology", verdict.lang),))


def _how(written: reply.Written) -> dict[str, Any]:
    """Return what is to be kept of how a reply came about, beside what its writer tells."""
    how: dict[str, Any] = {} if written.by is None else dict(written.by.made)
    return {**how, "soothed": True} if written.soothed else how


def _line(who: str, words: str) -> str:
    """Return what somebody said; below its first line nothing can pass for somebody else's."""
    return f"{who}: " + "\n  ".join(words.splitlines())


def _copy(who: str, words: str, message: Message | None = None) -> list[str]:
    """Return what somebody said as posts for staff, each with its speaker's name before it.

    A file without a word goes under its sender's name alone.
    """
    plain = message is None or words != message.text
    marked = "" if plain or message is None else message.formatted
    if marked and (copy := said_by(who, marked, STAFF_LIMIT)) is not None:
        return [copy]
    room = TextLimit(size=STAFF_LIMIT.size - len(who) - 2)
    parts = split("\n  ".join(words.splitlines()), room) if words else []
    if not parts and message is not None and message.attachments:
        return [f"{who}:"]
    return [f"{who}: {part}" for part in parts]


def _who(message: Message, start: Start) -> str:
    return message.author.name or start.name or start.key.user


def _raised(verdict: Verdict) -> dict[str, Any] | None:
    """Return what danger changes in a case that is there already: it goes to the queue's top."""
    decision = verdict.decision
    if decision.rule != "crisis":
        return None
    return {"rule": "crisis", "why": decision.line, "priority": PRIORITY["crisis"]}


def _name(start: Start, row: Row) -> str:
    return row.message.author.name or start.name or start.key.user


def _speaker(role: str, who: str) -> str:
    return who if role == "user" else "Heed" if role == "bot" else role
