"""What a conversation remembers, and how one message is judged by it: `judge`.

The walk and `heed replay` both hear messages through this one function, so what a replay shows is
what the walk would have done.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from core import mood as moods
from core.escalation import words
from core.escalation.rules import (
    DAY,
    Decision,
    Policy,
    Situation,
    decide,
    is_positive,
    recent,
)
from core.message import Scores
from core.mood import Mood, MoodPolicy
from core.triggers import Triggers, match

_KEPT_TIMES = 8
_KEPT_QUESTIONS = 4
_SKETCH = 24  # hashes kept of a question
_QUESTION_START = 200  # characters that tell one question from another


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What a conversation remembers for the next judgement. No words of the person are in it."""

    mood: Mood = field(default_factory=Mood)
    threat_times: tuple[float, ...] = ()
    last_questions: tuple[str, ...] = ()  # sketches of the last ones, newest last, one kind only
    lately: tuple[words.Said, ...] = ()  # the last scored messages, newest last
    refractory_until: float = 0.0
    not_needed_peak: float | None = None
    mood_cases_today: int = 0
    day: int = 0  # UTC day, since the epoch, that mood_cases_today counts
    engine_failures: int = 0  # in a row

    def opened(self, decision: Decision, at: float) -> Past:
        """Return the past after a case was opened on `decision`: mood cases are counted."""
        today = self.on(at)
        count = today.mood_cases_today + int(decision.caused_by_mood)
        return replace(
            today, mood_cases_today=count, last_questions=(), lately=(), engine_failures=0
        )

    def on(self, at: float) -> Past:
        """Return the past as of `at`: a new UTC day starts a new count."""
        day = int(at // DAY)
        return self if day == self.day else replace(self, day=day, mood_cases_today=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """One message heard: what is remembered from now on, what to do, and which phrases matched."""

    past: Past
    decision: Decision
    triggers: Triggers


def judge(  # noqa: PLR0913 - the whole of what one message is judged by
    past: Past,
    text: str,
    scores: Scores | None,
    at: float,
    *,
    private: bool = True,
    command_human: bool = False,
    mood_policy: MoodPolicy,
    policy: Policy,
    triggers: Triggers | None = None,
) -> Judgement:
    """Hear one message: phrases, mood, rules. With `scores` None nothing is remembered of it.

    `triggers`: the phrases, where they are known already.
    """
    triggers = triggers or match(text, policy.money_words)
    if words.others_words(text):
        triggers, scores = words.own(triggers), scores and words.as_quoted(scores)
    today = past.on(at)
    after = today
    ladder = mood_policy if private else mood_policy.lowered(policy.group_offset)
    if scores is not None:
        after = _remember(today, text, scores, at, triggers, policy)
        after = replace(after, mood=moods.step(today.mood, scores, at, ladder))
    situation = Situation(
        scores=scores,
        triggers=triggers,
        before=today.mood,
        after=after.mood,
        at=at,
        command_human=command_human,
        private=private,
        refractory_until=today.refractory_until,
        not_needed_peak=today.not_needed_peak,
        mood_cases_today=today.mood_cases_today,
        threat_times=today.threat_times,
        repeats=len(after.last_questions),
        lately=after.lately,
        engine_failures=today.engine_failures,
        upset_enter=ladder.upset_enter,
        tense_enter=ladder.tense_enter,
    )
    return Judgement(past=after, decision=decide(situation, policy), triggers=triggers)


def _remember(
    past: Past, text: str, scores: Scores, at: float, triggers: Triggers, policy: Policy
) -> Past:
    """Count this message's threat and question."""
    threats = recent(past.threat_times, at)
    least = policy.threat_worded if triggers.threat else policy.threat_twice
    threatens = scores.threat_to_leave >= least
    if threatens and not is_positive(scores):
        threats = (*threats, at)[-_KEPT_TIMES:]
    heavy = scores.p_negative >= policy.sure_p_neg
    heavy = heavy and -scores.intensity >= policy.heavy_strength
    lately = words.count(past.lately, scores, triggers, at, heavy=heavy)
    past = replace(past, lately=lately)
    sketch = "" if triggers.courtesy else _sketch(text)
    if not sketch:  # "ok" between two equal questions does not make them different ones
        return replace(past, threat_times=threats)
    before = past.last_questions
    again = bool(before) and _alike(before[-1], sketch)
    questions = ((*before, sketch) if again else (sketch,))[-_KEPT_QUESTIONS:]
    return replace(past, threat_times=threats, last_questions=questions)


def _sketch(text: str) -> str:
    """Return what is kept of a question: its smallest trigram hashes, 16 bits each, as hex.

    Enough to know it again in nearly the same words, too little to read it. Empty for what is too
    short to be a question.
    """
    letters = "".join(filter(str.isalnum, text[:_QUESTION_START].casefold()))
    if len(letters) < 5:
        return ""
    data = letters.encode("utf-8", "surrogatepass")
    hashes = {zlib.crc32(data[i : i + 5]) & 0xFFFF for i in range(len(data) - 4)}
    smallest = sorted(hashes)[:_SKETCH]
    return struct.pack(f">{len(smallest)}H", *smallest).hex()


def _alike(one: str, other: str) -> bool:
    """Say whether two sketches are of nearly the same words: most of the smallest are shared."""
    a, b = ({s[i : i + 4] for i in range(0, len(s), 4)} for s in (one, other))
    smallest = set(sorted(a | b)[: min(_SKETCH, max(len(a), len(b)))])
    return len(a & b & smallest) >= 0.6 * len(smallest)


def unsaid(past: Past, at: float | None) -> Past:
    """Return the past without the message sent at `at`, which is heard again: nothing is twice.

    Its question is forgotten with those before it; its threat is the first one since `at`.
    """
    threats = past.threat_times
    since = [time for time in threats if at is not None and time >= at][:1]
    kept = tuple(time for time in threats if time not in since)
    lately = tuple(said for said in past.lately if at is None or said[0] < at)
    return replace(past, threat_times=kept, last_questions=(), lately=lately)


_FIELDS = tuple(one.name for one in fields(Past))


def past_to_row(past: Past) -> dict[str, Any]:
    """Return the past as JSON-ready values."""
    return {name: getattr(past, name) for name in _FIELDS} | {"mood": moods.to_row(past.mood)}


def past_from_row(row: Mapping[str, Any] | None) -> Past:
    """Read what `past_to_row` gave, also from JSON; None is a first message."""
    if not row:
        return Past()
    kept = {name: row[name] for name in _FIELDS if name in row}
    kept["mood"] = moods.from_row(kept.get("mood") or {})
    for name in ("threat_times", "last_questions"):
        kept[name] = tuple(kept.get(name) or ())
    kept["lately"] = tuple((time, found) for time, found in kept.get("lately") or ())
    return Past(**kept)
