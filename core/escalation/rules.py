"""When to bring a human in: pure rules over what was heard, with the trace of every decision.

A decision is made by code from scores, phrases, the mood and counted facts, never by what a model
writes. Every rule is always evaluated and its values are kept, also when another one opened the
case or when it was only held back, so that a changed policy can be judged on stored decisions.

The numbers are starting values, taken from dialogues with `python -m bot.fitting`; the operator's
own verdicts know better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.escalation.words import Said
from core.message import Scores
from core.mood import Mood, MoodPolicy
from core.triggers import Triggers

RULES = (
    "crisis",
    "request",
    "threat",
    "spike",
    "money",
    "failure",
    "trouble",
    "slide",
)  # first one opens
MOOD_RULES = frozenset(
    {"threat", "spike", "trouble", "slide"}
)  # these rest after a case, the others never
DAY = 86400.0
MINUTE = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Thresholds of the rules; scores lie between 0 and 1.

    How long mood rests after a case is the desk's to say: it arrives as `refractory_until`.
    """

    crisis: float = 0.6  # by the score alone, without a phrase
    strong: float = 0.7
    wants_human: float = 0.9  # by the score alone
    wants_human_worded: float = 0.5  # with an unclear phrase
    threat: float = 0.85
    threat_twice: float = 0.6  # twice within a day
    threat_worded: float = 0.3  # with a phrase
    spike_p_neg: float = 0.7  # together with strong
    sure_p_neg: float = 0.9  # together with sure_strength
    sure_strength: float = 0.8
    sure_strong: float = 0.4
    confidence: float = 0.75
    slide_strength: float = 0.5
    slide_messages: int = 2  # scored ones since calm, with the mood at its lowest level's entry
    slide_lasting: int = 3  # scored ones since calm, with the mood still tense at least
    burst_messages: int = 6  # within a minute, with the mood below burst_mood
    burst_mood: float = -0.1
    repeats: int = 3
    trouble: int = 2  # kinds of trouble told of in the last trouble_messages scored ones
    trouble_messages: int = 5
    trouble_mood: float = -0.45  # at such a mood, after slide_lasting messages, one less is enough
    heavy_strength: float = 0.6  # with sure_p_neg: trouble without a phrase
    engine_failures: int = 2
    group_offset: float = 0.1  # how much lower mood levels lie in groups
    worse_by: float = 0.1  # in p_negative x strength, against a spike judged not needed
    cases_per_day: int = 3
    money_words: tuple[str, ...] = ()  # the operator's own, beside the shipped ones
    off: frozenset[str] = frozenset()  # rules that are switched off

    def calibrated(self, thresholds: Mapping[str, float]) -> Policy:
        """Return the policy at an instrument's own thresholds for the heads that it names.

        Those balance hits and false alarms on single messages. A conversation has many, so a score
        alone must be at least as high as the policy says; with a phrase the threshold is enough.
        """
        wanted = thresholds.get("wants_human", self.wants_human_worded)
        threat = thresholds.get("threat_to_leave", self.threat_worded)
        return replace(
            self,
            wants_human=max(self.wants_human, wanted),
            wants_human_worded=wanted,
            threat=max(self.threat, threat),
            threat_twice=max(self.threat_twice, threat),
            threat_worded=threat,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """Everything one decision may look at. `scores` None: opted out, or nothing to score."""

    scores: Scores | None
    triggers: Triggers
    before: Mood
    after: Mood
    at: float
    command_human: bool = False  # the button or /human
    private: bool = True
    refractory_until: float = 0.0
    not_needed_peak: float | None = None  # p_negative x strength of the spike judged not needed
    mood_cases_today: int = 0
    threat_times: tuple[float, ...] = ()  # of earlier threats
    repeats: int = 0  # times the same question was asked in a row, with this one
    lately: tuple[Said, ...] = ()  # of the last scored messages, this one is the last
    engine_failures: int = 0  # in a row
    upset_enter: float = MoodPolicy().upset_enter  # the line that the slide's mood fell below
    tense_enter: float = MoodPolicy().tense_enter


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleResult:
    """What one rule saw: its value against its threshold, and what else mattered."""

    rule: str
    value: float = 0.0
    threshold: float = 0.0
    fired: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether to bring a human in, why in one line, and what every rule saw."""

    open: bool
    rule: str  # one of RULES; empty: none
    line: str
    trace: tuple[RuleResult, ...]
    caused_by_mood: bool


def decide(situation: Situation, policy: Policy) -> Decision:
    """Decide on one message. The first rule in the order of RULES that fires gives the reason."""
    found = {"crisis": _crisis(situation, policy), "request": _request(situation, policy)}
    if situation.scores is not None:
        scores = situation.scores
        found["threat"] = _threat(situation, scores, policy)
        found["spike"] = _spike(situation, scores, policy)
        found["money"] = _money(situation, scores)
        found["failure"] = _failure(situation, policy)
        found["trouble"] = _trouble(situation, policy)
        found["slide"] = _slide(situation, scores, policy)
    trace = tuple(_allowed(found[r], situation, policy) for r in RULES if r in found)
    first = next((result for result in trace if result.fired), None)
    if first is None:
        return Decision(open=False, rule="", line="", trace=trace, caused_by_mood=False)
    return Decision(
        open=True,
        rule=first.rule,
        line=_line(first, situation),
        trace=trace,
        caused_by_mood=first.rule in MOOD_RULES,
    )


def trace_rows(decision: Decision) -> list[dict[str, Any]]:
    """Return the trace as JSON-ready dictionaries, in the order of RULES."""
    return [
        {
            "rule": result.rule,
            "value": result.value,
            "threshold": result.threshold,
            "fired": result.fired,
            "note": result.note,
        }
        for result in decision.trace
    ]


def is_positive(scores: Scores) -> bool:
    """Say whether a message is positive as a whole, whatever its words."""
    return scores.label == "positive" or scores.p_positive > 0.5


def recent(times: tuple[float, ...], at: float) -> tuple[float, ...]:
    """Return those times that lie within a day before `at`."""
    return tuple(time for time in times if at - time <= DAY)


# -- one function a rule -------------------------------------------------------------------------


def _crisis(situation: Situation, policy: Policy) -> RuleResult:
    """A phrase, before any model is asked; or the score, since people veil what they mean.

    No phrase list knows every way to say it, and the text for a crisis does no harm when it is
    wrong. The score is the table's or a higher one: nothing talks it down.
    """
    phrase = situation.triggers.crisis
    if phrase:
        return RuleResult(rule="crisis", value=1.0, threshold=1.0, fired=True, note=f'"{phrase}"')
    score = situation.scores.crisis if situation.scores is not None else 0.0
    return RuleResult(
        rule="crisis",
        value=score,
        threshold=policy.crisis,
        fired=score >= policy.crisis,
        note="score",
    )


def _request(situation: Situation, policy: Policy) -> RuleResult:
    """A button or a clear phrase, or a score; the score does not count for what it misreads."""
    triggers, scores = situation.triggers, situation.scores
    if situation.command_human or triggers.request:
        note = "asked by button or command" if situation.command_human else f'"{triggers.request}"'
        return RuleResult(rule="request", value=1.0, threshold=1.0, fired=True, note=note)
    if scores is None:
        return RuleResult(rule="request", threshold=1.0, note="no score")
    threshold, note = policy.wants_human, "score"
    if triggers.ambiguous_request:
        threshold = policy.wants_human_worded
        note = f'"{triggers.ambiguous_request}" may ask for a person, the score settles it'
    fired = scores.wants_human >= threshold
    if triggers.not_request:
        fired, note = False, f'"{triggers.not_request}" is no request'
    return RuleResult(
        rule="request",
        value=scores.wants_human,
        threshold=threshold,
        fired=fired,
        note=note,
    )


def _threat(situation: Situation, scores: Scores, policy: Policy) -> RuleResult:
    """Once clearly, or twice within a day; a phrase with a middling score is clear enough."""
    value, phrase = scores.threat_to_leave, situation.triggers.threat
    earlier = len(recent(situation.threat_times, situation.at))
    threshold = policy.threat_twice if earlier else policy.threat
    if phrase:
        threshold = policy.threat_worded / 2 if earlier else policy.threat_worded
    notes = [f'"{phrase}"'] if phrase else []
    notes += [f"{earlier} earlier within a day"] if earlier else []
    fired = value >= threshold and not is_positive(scores)
    notes += ["positive"] if is_positive(scores) else []
    return RuleResult(
        rule="threat", value=value, threshold=threshold, fired=fired, note=", ".join(notes)
    )


def _spike(situation: Situation, scores: Scores, policy: Policy) -> RuleResult:
    """One message far over the line, by two readings that agree and are sure."""
    strength = abs(scores.intensity)
    angry = scores.strong >= policy.strong and scores.p_negative >= policy.spike_p_neg
    sure = scores.p_negative >= policy.sure_p_neg and strength >= policy.sure_strength
    sure = sure and scores.strong >= policy.sure_strong
    fired = (angry or sure) and scores.confidence >= policy.confidence
    note = (
        f"negative {scores.p_negative:.2f}, strength {strength:.2f}, "
        f"confidence {scores.confidence:.2f}"
    )
    peak = situation.not_needed_peak
    if fired and peak is not None and situation.at < situation.refractory_until:
        note += f", {scores.p_negative * strength - peak:+.2f} against the one not needed"
    return RuleResult(
        rule="spike", value=scores.strong, threshold=policy.strong, fired=fired, note=note
    )


def _money(situation: Situation, scores: Scores) -> RuleResult:
    """Money or the law, in a message that is not positive."""
    phrase = situation.triggers.money
    notes = [f'"{phrase}"'] if phrase else []
    notes += ["positive"] if phrase and is_positive(scores) else []
    return RuleResult(
        rule="money",
        value=float(bool(phrase)),
        threshold=1.0,
        fired=bool(phrase) and not is_positive(scores),
        note=", ".join(notes),
    )


def _failure(situation: Situation, policy: Policy) -> RuleResult:
    """The same question again and again, or an engine that failed this person."""
    repeated = situation.repeats >= policy.repeats
    failed = situation.engine_failures >= policy.engine_failures
    if failed and not repeated:
        value, threshold, note = situation.engine_failures, policy.engine_failures, "engine failed"
    else:
        value, threshold, note = situation.repeats, policy.repeats, "same question"
    return RuleResult(
        rule="failure",
        value=float(value),
        threshold=float(threshold),
        fired=repeated or failed,
        note=f"{note} {value} times" if value else "",
    )


def _trouble(situation: Situation, policy: Policy) -> RuleResult:
    """Told of more than once: not being heard, what is at stake, what goes on record.

    One less is enough where the mood is low by then.
    """
    lately = situation.lately[-policy.trouble_messages :]
    value = sum(found for _at, found in lately)
    low = situation.after.value <= policy.trouble_mood and len(lately) >= policy.slide_lasting
    threshold = policy.trouble - int(low)
    triggers = situation.triggers
    phrase = triggers.unheard or triggers.plight or triggers.formal
    notes = [f'"{phrase}"'] if phrase else []
    notes += [f"in {len(lately)} messages"] if value else []
    notes += [f"mood {situation.after.value:+.2f}"] if low else []
    return RuleResult(
        rule="trouble",
        value=float(value),
        threshold=float(threshold),
        fired=value >= threshold and bool(lately) and lately[-1][1] > 0,
        note=", ".join(notes),
    )


def _slide(situation: Situation, scores: Scores, policy: Policy) -> RuleResult:
    """The mood is upset, by more than one message, and one of them was strong.

    A level is left later than it is earned: who only says thanks meanwhile needs no alarm.
    """
    after, triggers = situation.after, situation.triggers
    kind = "positive" if is_positive(scores) else "laughter" if triggers.laugh else ""
    kind = "courtesy" if triggers.courtesy else kind
    pace = sum(situation.at - time <= MINUTE for time, _found in situation.lately)
    burst = pace >= policy.burst_messages and after.value <= policy.burst_mood
    entered = after.since_calm >= policy.slide_messages and after.value <= situation.upset_enter
    slid = (
        after.level == "upset"
        and (entered or after.since_calm >= policy.slide_lasting)
        and after.value <= situation.tense_enter
        and after.peak_since_calm >= policy.slide_strength
    )
    fired = (slid or burst) and not kind
    return RuleResult(
        rule="slide",
        value=after.value,
        threshold=situation.upset_enter,
        fired=fired,
        note=f"{after.level}, {after.since_calm} messages since calm, "
        f"strongest {after.peak_since_calm:.2f}"
        + (f", {pace} messages within a minute" if burst else "")
        + (f", {kind}" if kind else ""),
    )


def _allowed(result: RuleResult, situation: Situation, policy: Policy) -> RuleResult:
    """Hold back what is switched off or rests. Only mood rests; a clearly worse spike does not."""
    if not result.fired:
        return result
    why = ""
    if result.rule in policy.off:
        why = "switched off"
    elif result.rule in MOOD_RULES:
        if situation.mood_cases_today >= policy.cases_per_day:
            why = f"held: {situation.mood_cases_today} cases today"
        elif situation.at < situation.refractory_until and not _worse(result, situation, policy):
            why = f"held: rests {situation.refractory_until - situation.at:.0f} s more"
    note = ", ".join(part for part in (result.note, why) if part)
    return replace(result, fired=not why, note=note)


def _worse(result: RuleResult, situation: Situation, policy: Policy) -> bool:
    """Say whether a spike is clearly worse than the one that staff called not needed."""
    scores, peak = situation.scores, situation.not_needed_peak
    if result.rule != "spike" or scores is None or peak is None:
        return False
    return peak_of(scores) >= peak + policy.worse_by


def peak_of(scores: Scores) -> float:
    """Return how bad one message is, 0..1: what a spike judged not needed is remembered by."""
    return scores.p_negative * abs(scores.intensity)


def _line(result: RuleResult, situation: Situation) -> str:
    """Say why in one line, for the card."""
    triggers = situation.triggers
    return {
        "crisis": f'danger in words: "{triggers.crisis}"'
        if triggers.crisis
        else f"danger between the lines: {result.value:.2f} of {result.threshold:.2f}",
        "request": f"asked for a person: {result.note}",
        "threat": f"says they leave: {result.value:.2f} of {result.threshold:.2f}, {result.note}",
        "spike": f"one very upset message: {result.note}",
        "money": f'money or the law: "{triggers.money}"',
        "failure": result.note,
        "trouble": f"told of trouble {result.value:.0f} times: {result.note}",
        "slide": f"mood fell from {situation.before.value:+.2f} to {situation.after.value:+.2f}",
    }[result.rule].rstrip(", ")
