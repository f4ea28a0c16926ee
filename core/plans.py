"""What a turn comes to: escalate, reopen, relay, or answer, as one Plan to be written at once.

Pure: a plan follows from what was read at `begin` and what was heard, and from nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from core import reply
from core.engine.ports import Started
from core.escalation import past_to_row
from core.hearing import Verdict, words_of
from core.message import Button, TextLimit
from core.ports import Clock
from core.split import split
from core.store.desk import Opening
from core.store.turns import Answer, Plan, Row, Start
from core.texts import Texts

PRIORITY = {"crisis": 3, "request": 2, "threat": 1, "spike": 1}
RECENT = 600.0  # seconds in which a fixed text is not said twice
STAFF_LIMIT = TextLimit(size=1900)  # fits a post on every platform


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Turns what was heard into what is to be done."""

    texts: Texts
    clock: Clock

    def silent(self, start: Start, verdict: Verdict) -> Plan | None:
        """Return what happens where the machine must not answer; None: it may."""
        decision, say = verdict.decision, self.texts.say
        if start.owner != "bot":
            return self._relayed(start, verdict)
        if start.resolved_case is not None and not verdict.courtesy:
            hours = max(0, round((self.clock() - start.resolved_at) / 3600))
            line = say("wrote_again", "en", hours=hours)
            return self.base(
                verdict,
                reopen=(self._first_words(start, verdict, "reopened"), line),
                copies=self._copied(start),
            )
        if decision.open:
            past = verdict.past.opened(decision, self.clock())
            return self.base(
                replace(verdict, past=past),
                opening=self._opening(start, verdict),
                copies=self._mirrored(start),
            )
        return None

    def _relayed(self, start: Start, verdict: Verdict) -> Plan:
        """The queue or a human has this conversation: copy everything, say next to nothing."""
        decision, say = verdict.decision, self.texts.say
        notices: tuple[str, ...] = ()
        if decision.rule == "crisis":
            notices = (say("crisis", verdict.lang),)
        elif decision.rule == "request" and start.owner == "queue":
            notices = (say("still_waiting", verdict.lang),)
        recent = [s.text for s in start.history if s.role == "bot" and s.at > self.clock() - RECENT]
        return self.base(
            verdict,
            notices=tuple(words for words in notices if words not in recent),
            evidence=decision.line if decision.open else "",
            copies=self._copied(start),
        )

    def _opening(self, start: Start, verdict: Verdict) -> Opening:
        decision, say = verdict.decision, self.texts.say
        who = _name(start, start.rows[-1])
        lines = [f"{_speaker(s.role, who)}: {s.text}" for s in start.history[-10:]]
        lines += [f"{who}: {row.message.text}" for row in start.rows]
        return Opening(
            rule=decision.rule,
            why=decision.line,
            priority=PRIORITY.get(decision.rule, 0),
            notice=self._first_words(start, verdict, "open"),
            context="\n".join([say("context_title", "en"), *lines])[-1800:],
            ping=say("ping", "en", who=who, why=decision.line),
        )

    def _first_words(self, start: Start, verdict: Verdict, usual: str) -> str:
        """Return the fixed text a person reads when their case is opened."""
        if verdict.decision.rule == "crisis":
            # In a group nothing is shown in public that says how somebody feels.
            usual = "crisis" if start.private else "group_notice"
        elif not start.private:
            usual = "group_notice"
        return self.texts.say(usual, verdict.lang)

    def _mirrored(self, start: Start, answer: str = "") -> dict[int, tuple[str, ...]]:
        """Return the copies for staff who watch while the machine answers; none without a case."""
        if start.case_id is None:
            return {}
        copies, last = self._copied(start), start.rows[-1].id
        said = split(f"Heed: {answer}", STAFF_LIMIT) if answer else ()
        return {**copies, last: (*copies.get(last, ()), *said)}

    def _copied(self, start: Start) -> dict[int, tuple[str, ...]]:
        return {
            row.id: tuple(
                split(f"{row.message.author.name or start.key.user}: {words}", STAFF_LIMIT)
            )
            for row in start.rows
            if (words := row.message.text or words_of(row.message))
        }

    def base(self, verdict: Verdict, **changes: Any) -> Plan:  # noqa: ANN401
        """Return a plan that keeps what was heard, and `changes`."""
        mood = verdict.past.mood
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
        offer = Button(label=self.texts.say("human_button", verdict.lang), data="u:human")
        answer = Answer(
            text=written.text,
            parts=tuple(split(written.text, limit)),
            model=started.model,
            prompt=started.prompt,
            reply_to="" if start.private else start.rows[-1].message.message_id,
            buttons=() if calm else (offer,),
        )
        past = verdict.past
        if not written.failed:
            past = replace(past, engine_failures=0)
        made = {**(verdict.heard[-1].made or {}), "reply": dict(started.made)}
        if written.problem:
            made["fallback"] = written.problem
        heard = (*verdict.heard[:-1], replace(verdict.heard[-1], made=made))
        return self.base(
            replace(verdict, heard=heard, past=past),
            answer=answer,
            copies=self._mirrored(start, written.text),
        )

    def late(self, start: Start, verdict: Verdict) -> Plan:
        """Return the plan for messages that waited while Heed was away: kept, not answered."""
        words = self.texts.say("late", verdict.lang)
        return self.base(verdict, notices=(words,), copies=self._mirrored(start))

    def apology(self, verdict: Verdict) -> Plan:
        """Return the plan for an engine that failed before the first word."""
        return self.base(verdict, notices=(self.texts.say("apology", verdict.lang),))


def _name(start: Start, row: Row) -> str:
    return row.message.author.name or start.name or start.key.user


def _speaker(role: str, who: str) -> str:
    return who if role == "user" else "Heed" if role == "bot" else role
