"""When to bring a human in: pure rules over what was heard, with the trace of every decision.

A decision is made by code from scores, phrases, the mood and counted facts, never by what a model
writes. Every rule is always evaluated and its values are kept, also when another one opened the
case or when it was only held back, so that a changed policy can be judged on stored decisions.

All numbers are starting values, to be calibrated on the operator's own verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.message import Scores
from core.mood import Mood, MoodPolicy
from core.triggers import Triggers

RULES = ("crisis", "request", "threat", "spike", "money", "failure", "slide")  # first one opens
MOOD_RULES = frozenset({"threat", "spike", "slide"})  # these rest after a case, the others never
DAY = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Thresholds of the rules; scores lie between 0 and 1.

    How long mood rests after a case is the desk's to say: it arrives as `refractory_until`.
    """

    strong: float = 0.5
    wants_human: float = 0.5
    threat: float = 0.5
    threat_twice: float = 0.3  # twice within a day
    spike_p_neg: float = 0.7  # together with strong
    sure_p_neg: float = 0.9  # together with sure_strength
    sure_strength: float = 0.8
    confidence: float = 0.75
    slide_strength: float = 0.5
    slide_messages: int = 2  # scored ones since calm
    repeats: int = 3
    engine_failures: int = 2
    group_offset: float = 0.1  # how much lower mood levels lie in groups
    worse_by: float = 0.1  # in p_negative x strength, against a spike judged not needed
    cases_per_day: int = 3
    money_words: tuple[str, ...] = ()  # the operator's own, beside the shipped ones
    off: frozenset[str] = frozenset()  # rules that are switched off

    def calibrated(self, thresholds: Mapping[str, float]) -> Policy:
        """Return the policy at an instrument's own thresholds for the heads that it names."""
        threat = thresholds.get("threat_to_leave", self.threat)
        return replace(
            self,
            strong=thresholds.get("strong", self.strong),
            wants_human=thresholds.get("wants_human", self.wants_human),
            threat=threat,
            threat_twice=threat * self.threat_twice / self.threat,
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
    engine_failures: int = 0  # in a row
    upset_enter: float = MoodPolicy().upset_enter  # the line that the slide's mood fell below


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
    found = {"crisis": _crisis(situation), "request": _request(situation, policy)}
    if situation.scores is not None:
        scores = situation.scores
        found["threat"] = _threat(situation, scores, policy)
        found["spike"] = _spike(situation, scores, policy)
        found["money"] = _money(situation, scores)
        found["failure"] = _failure(situation, policy)
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


def _crisis(situation: Situation) -> RuleResult:
    """Words alone decide; the score is evidence on the card and nothing more."""
    phrase = situation.triggers.crisis
    note = f'"{phrase}"' if phrase else ""
    if situation.scores is not None:
        note = f"{note} score {situation.scores.crisis:.2f}, evidence only".strip()
    return RuleResult(
        rule="crisis", value=float(bool(phrase)), threshold=1.0, fired=bool(phrase), note=note
    )


def _request(situation: Situation, policy: Policy) -> RuleResult:
    """A button or a clear phrase, or a score; the score does not count for what it misreads."""
    triggers, scores = situation.triggers, situation.scores
    if situation.command_human or triggers.request:
        note = "asked by button or command" if situation.command_human else f'"{triggers.request}"'
        return RuleResult(rule="request", value=1.0, threshold=1.0, fired=True, note=note)
    if scores is None:
        return RuleResult(rule="request", threshold=1.0, note="no score")
    fired = scores.wants_human >= policy.wants_human
    note = "score"
    if triggers.ambiguous_request:
        note = f'"{triggers.ambiguous_request}" may ask for a person, the score settles it'
    if triggers.not_request:
        fired, note = False, f'"{triggers.not_request}" is no request'
    return RuleResult(
        rule="request",
        value=scores.wants_human,
        threshold=policy.wants_human,
        fired=fired,
        note=note,
    )


def _threat(situation: Situation, scores: Scores, policy: Policy) -> RuleResult:
    """Once clearly, or twice within a day; a phrase with a middling score is clear enough."""
    value, phrase = scores.threat_to_leave, situation.triggers.threat
    earlier = len(recent(situation.threat_times, situation.at))
    lower = bool(phrase) or earlier > 0
    threshold = policy.threat_twice if lower else policy.threat
    notes = [f'"{phrase}"'] if phrase else []
    notes += [f"{earlier} earlier within a day"] if earlier else []
    twice_in_words = bool(phrase) and earlier > 0
    fired = (value >= threshold or twice_in_words) and not is_positive(scores)
    notes += ["positive"] if is_positive(scores) else []
    return RuleResult(
        rule="threat", value=value, threshold=threshold, fired=fired, note=", ".join(notes)
    )


def _spike(situation: Situation, scores: Scores, policy: Policy) -> RuleResult:
    """One message far over the line, by two readings that agree and are sure."""
    strength = abs(scores.intensity)
    angry = scores.strong >= policy.strong and scores.p_negative >= policy.spike_p_neg
    sure = scores.p_negative >= policy.sure_p_neg and strength >= policy.sure_strength
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


def _slide(situation: Situation, scores: Scores, policy: Policy) -> RuleResult:
    """The mood is upset, by more than one message, and one of them was strong.

    A level is left later than it is earned: who only says thanks meanwhile needs no alarm.
    """
    after = situation.after
    kind = "positive" if is_positive(scores) else ""
    kind = "courtesy" if situation.triggers.courtesy else kind
    fired = (
        after.level == "upset"
        and after.since_calm >= policy.slide_messages
        and after.peak_since_calm >= policy.slide_strength
        and not kind
    )
    return RuleResult(
        rule="slide",
        value=after.value,
        threshold=situation.upset_enter,
        fired=fired,
        note=f"{after.level}, {after.since_calm} messages since calm, "
        f"strongest {after.peak_since_calm:.2f}" + (f", {kind}" if kind else ""),
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
        "crisis": f'danger in words: "{triggers.crisis}"',
        "request": f"asked for a person: {result.note}",
        "threat": f"says they leave: {result.value:.2f} of {result.threshold:.2f}, {result.note}",
        "spike": f"one very upset message: {result.note}",
        "money": f'money or the law: "{triggers.money}"',
        "failure": result.note,
        "slide": f"mood fell from {situation.before.value:+.2f} to {situation.after.value:+.2f}",
    }[result.rule].rstrip(", ")
