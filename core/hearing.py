"""Hear a burst: tag every message, step the mood, decide, each message by itself.

The model tags where it can and the table stands in where it cannot; what is urgent waits for
neither. Whether a person is brought in follows from scores and rules alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from core.engine.mind import Hearing, Mind, take_back
from core.engine.ports import ReplyRequest
from core.escalation import (
    Decision,
    Judgement,
    Past,
    Policy,
    RuleResult,
    judge,
    past_from_row,
    trace_rows,
)
from core.message import Message, Scores
from core.mood import MoodPolicy
from core.ports import Clock
from core.sentiment import Sentiment
from core.store.turns import Heard, Row, Start
from core.texts import Texts

MOOD = frozenset({"slide", "spike", "threat", "trouble"})  # rules that a dry run withholds
BY_WORD = frozenset({"crisis", "request"})  # and those that count for who is not scored
BRISK = 5  # messages of one turn that are heard one after the other; more is a flood
LEISURE = 0.005  # seconds before each of the rest: others have the loop meanwhile
DOUBTFUL = 0.5  # probability outside the labels from which on a model has not answered

Tell = Callable[[Start, int, dict[str, Any]], None]  # the tag of one inbox row, as soon as known
Listen = Callable[[Row], Awaitable[Hearing]]  # let the model hear one row
Wait = Callable[[int], None]  # the model is busy: so many others come first


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What hearing a burst came to."""

    heard: tuple[Heard, ...]
    past: Past
    decision: Decision  # the first that opens a case, else the last
    scores: Scores | None  # of the last message
    courtesy: bool  # thanks or goodbye, and nothing else in the whole burst
    lang: str
    private: bool
    hearing: Hearing
    dry: Decision | None = None  # what a dry run kept from being carried out


@dataclass(frozen=True, kw_only=True)
class Ear:
    """Hears, by the engine of the moment and the operator's policies."""

    mind: Mind
    sentiment: Sentiment
    texts: Texts
    clock: Clock
    mood_policy: MoodPolicy = field(default_factory=MoodPolicy)
    policy: Policy = field(default_factory=Policy)
    config: str = ""  # hash of the settings that decide
    dry: Callable[[], bool] = lambda: False  # moods open nothing: their decisions are only kept

    async def hear(
        self,
        start: Start,
        tell: Tell,
        *,
        command: bool = False,
        wait: Wait = lambda _: None,
        answered: bool = True,
    ) -> Verdict:
        """Tag every message of the burst, step the mood, decide: each message by itself.

        Not `answered`: no reply follows, so none is begun.
        """
        begun: list[Hearing] = []
        listen = partial(self._listen if answered else self._overhear, start, wait=wait)
        try:
            return await self._hear(start, tell, listen, begun, command=command)
        except BaseException:  # whatever it was, the engine is not left with half a reply
            for one in begun:
                await take_back(one.writer, one.started)
            raise

    async def _hear(
        self, start: Start, tell: Tell, listen: Listen, begun: list[Hearing], *, command: bool
    ) -> Verdict:
        past = past_from_row(start.past) if start.past else Past()
        heard: list[Heard] = []
        opening: Decision | None = None
        withheld: Decision | None = None
        hearing = Hearing(tagging=None)
        judged: Judgement | None = None
        scores: Scores | None = None
        courtesy = True
        for nth, row in enumerate(start.rows):
            if nth:  # whoever writes much is heard between the others, and soon at leisure
                await asyncio.sleep(0 if nth < BRISK else LEISURE)
            text, scores = row.message.text, None
            heeded = bool(text.strip()) and row.message.scored and not command
            if heeded and not unscored(start, row):
                hearing = await listen(row)
                begun.append(hearing)
                scores = await self._score(text, hearing)
                if hearing.problem:
                    past = replace(past, engine_failures=past.engine_failures + 1)
            elif heeded and start.addressed and row is start.rows[-1]:  # answered all the same
                hearing = replace(await listen(row), tagging=None)
                begun.append(hearing)
            judged = self._judge(start, past, row, scores, command=command)
            past = judged.past
            courtesy = courtesy and judged.triggers.courtesy
            by_word = judged.decision.rule in BY_WORD and not start.staff
            if unscored(start, row) and not by_word:
                judged = replace(judged, past=past, decision=replace(judged.decision, open=False))
            dry = judged.decision.open and judged.decision.rule in MOOD and self.dry()
            if dry:
                withheld = withheld or judged.decision
                judged = replace(judged, decision=replace(judged.decision, open=False))
            elif judged.decision.open and opening is None:
                opening = judged.decision
            unheard = start.opted_out and not judged.decision.open
            heard.append(self._heard(row, scores, judged, hearing, dry=dry, unheard=unheard))
            tell(start, row.id, tag_data(scores))
        if judged is None:  # a turn has at least one row
            raise AssertionError("a turn without a message")
        return Verdict(
            heard=tuple(heard),
            past=past,
            decision=opening or judged.decision,
            scores=scores,
            courtesy=courtesy,
            lang=self.language(start, scores),
            private=start.private,
            hearing=hearing,
            dry=withheld,
        )

    async def _score(self, text: str, hearing: Hearing) -> Scores:
        """Score what was heard.

        A model that would rather have said something else than a label has not answered what it
        was asked: its label is kept, and what the table feels counts for mood and rules.
        """
        scores = await self.sentiment.hear(text, hearing.tagging, stand_in=hearing.stand_in)
        if hearing.tagging is None or hearing.tagging.doubt <= DOUBTFUL:
            return scores
        felt = await self.sentiment.hear(text, None)
        return replace(
            scores,
            p_negative=felt.p_negative,
            p_positive=felt.p_positive,
            intensity=felt.intensity,
            confidence=felt.confidence,
            strong=felt.strong,
        )

    async def _listen(self, start: Start, row: Row, wait: Wait) -> Hearing:
        """Let the model hear: together with the reply's start where a reply may follow."""
        mind = self.mind
        if _unasked(start):
            return Hearing(tagging=None)
        answered = start.owner == "bot" and start.addressed and row is start.rows[-1]
        if not answered or row.message.kind != "said":  # a correction is heard, and not answered
            return await mind.tag(row.message.text)
        if not mind.has_room() and await self._alarming(start):
            return Hearing(tagging=None, stand_in=True)  # an alarm never waits behind replies
        return await mind.tag_and_start(self.request(start), wait, apart=start.shared)

    async def _overhear(self, start: Start, row: Row, wait: Wait = lambda _: None) -> Hearing:  # noqa: ARG002
        """Let the model hear what it does not answer."""
        if _unasked(start):
            return Hearing(tagging=None)
        return await self.mind.tag(row.message.text)

    def failed(self, verdict: Verdict) -> Verdict:
        """Count a reply that the engine could not write; the second in a row opens a case."""
        failures = verdict.past.engine_failures + 1
        past = replace(verdict.past, engine_failures=failures)
        if failures < self.policy.engine_failures or "failure" in self.policy.off:
            return replace(verdict, past=past)
        found = RuleResult(
            rule="failure",
            value=float(failures),
            threshold=float(self.policy.engine_failures),
            fired=True,
            note=f"engine failed {failures} times",
        )
        before = verdict.decision.trace
        trace = tuple(found if one.rule == found.rule else one for one in before)
        decision = replace(
            verdict.decision, open=True, rule=found.rule, line=found.note, trace=trace
        )
        *others, last = verdict.heard
        told = {"rule": decision.rule, "why": decision.line, "opened": True}
        told["trace"] = trace_rows(decision)
        last = replace(last, decision={**(last.decision or {}), **told})
        return replace(verdict, past=past, decision=decision, heard=(*others, last))

    async def _alarming(self, start: Start) -> bool:
        """Ask the table alone whether this may not wait for a free writer."""
        row = start.rows[-1]
        scores = await self.sentiment.hear(row.message.text, None)
        past = past_from_row(start.past) if start.past else Past()
        return self._judge(start, past, row, scores).decision.open

    def _judge(
        self,
        start: Start,
        past: Past,
        row: Row,
        scores: Scores | None,
        *,
        command: bool = False,
    ) -> Judgement:
        return judge(
            past,
            row.message.text,
            scores,
            self.clock(),
            private=start.private,
            command_human=command,
            mood_policy=self.mood_policy,
            policy=self.policy,
        )

    def _heard(
        self,
        row: Row,
        scores: Scores | None,
        judged: Judgement,
        hearing: Hearing,
        *,
        dry: bool = False,
        unheard: bool = False,
    ) -> Heard:
        if unheard:
            return Heard(row=row)
        mood = judged.past.mood
        decision = {
            "rule": judged.decision.rule,
            "why": judged.decision.line,
            "opened": judged.decision.open,
            "trace": trace_rows(judged.decision),
            "mood": mood.value,
            "level": mood.level,
            "dry": dry,
            "versions": {
                "model": "" if scores is None else scores.instrument,
                "prompt": "" if scores is None else scores.prompt,
                "config": self.config,
            },
        }
        made = dict(hearing.tagging.made) if hearing.tagging is not None else {}
        if hearing.problem:
            made["problem"] = hearing.problem
        if scores is not None and judged.triggers.steer:
            made["steered"] = True  # told its reader how to hear it: no model was believed
        return Heard(row=row, scores=scores, decision=decision, made=made)

    def request(self, start: Start) -> ReplyRequest:
        """Return what a reply to this burst may be made from."""
        past = past_from_row(start.past) if start.past else Past()
        message = start.rows[-1].message
        return ReplyRequest(
            key=start.key,
            history=() if start.opted_out else start.around or start.history,
            messages=tuple(row.message.text or words_of(row.message) for row in start.rows),
            level=past.mood.level,
            lang=start.lang or "und",
            name=message.author.name or start.name,
            now=self.clock(),
        )

    def language(self, start: Start, scores: Scores | None) -> str:
        """Return the language for fixed texts: the one written in, else the platform's."""
        known = self.texts.languages
        for lang in ("" if scores is None else scores.lang, start.lang):
            if lang.partition("-")[0] in known:
                return lang.partition("-")[0]
        return start.rows[-1].message.author.language.partition("-")[0] or "en"


def _unasked(start: Start) -> bool:
    """Say whether no model hears it: it must not be read by one, or cannot wait for one."""
    return start.opted_out or start.pressing or any(row.urgent for row in start.rows)


def unscored(start: Start, row: Row) -> bool:
    """Say whether nobody asks how this writer feels: staff, a group's managers, who opted out."""
    manages = row.message.author.admin and not start.private
    return start.staff or start.opted_out or manages


def words_of(message: Message) -> str:
    """Name a message's attachments, for where it has no text."""
    return " ".join(item.words or f"[{item.kind}]" for item in message.attachments)


def tag_data(scores: Scores | None) -> dict[str, Any]:
    """Return a tag as the page and the HTTP interface show it."""
    if scores is None:
        return {"sentiment": None, "intensity": 0.0, "strong": 0.0}
    return {
        "sentiment": scores.label,
        "intensity": round(scores.intensity, 4),
        "strong": round(scores.strong, 4),
        "probs": {label: round(p, 4) for label, p in scores.probs.items()},
        "confidence": round(scores.confidence, 4),
        "lang": scores.lang,
    }
