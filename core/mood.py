"""The running mood of one person in one place: a pure state machine with hysteresis.

Every scored message pulls the mood its way, weighted by how sure the reading is; silence pulls it
back to calm. The level is written, not recomputed: between the line where it is entered and the
line where it is left it stays what it was, also across restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from core.message import Level, Scores

_KEPT = 0.7  # of what was felt before, each time a new message is scored
_TOWARDS_CALM = 0.5  # the evidence for calm that everybody starts with
_STAND_IN = 0.3  # how much the table counts where it only stands in for a configured model


@dataclass(frozen=True, kw_only=True, slots=True)
class MoodPolicy:
    """Where levels begin and end (mood, -1..1), and how fast silence calms (seconds)."""

    half_life: float = 1800.0
    tense_enter: float = -0.35
    tense_leave: float = -0.20
    upset_enter: float = -0.55
    upset_leave: float = -0.25

    def lowered(self, by: float) -> MoodPolicy:
        """Return the same ladder `by` lower, as in groups: harder to reach, as wide as before."""
        return replace(
            self,
            tense_enter=self.tense_enter - by,
            tense_leave=self.tense_leave - by,
            upset_enter=self.upset_enter - by,
            upset_leave=self.upset_leave - by,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Mood:
    """What is felt, as two decaying sums and a written level.

    Invariant: |s| <= w, so `value` lies strictly between -1 and 1. `since_calm`, `peak_since_calm`
    and `leaving` are 0 whenever the level is calm.
    """

    s: float = 0.0  # weighted scores
    w: float = 0.0  # their weights
    at: float = 0.0  # the time for which s and w are true
    level: Level = "calm"
    since_calm: int = 0  # scored messages since calm, with the one that ended it
    peak_since_calm: float = 0.0  # greatest strength of a negative one among them
    leaving: int = 0  # scored messages in a row at or above the line where upset is left
    last: float = 0.0  # score of the last message, -1..1

    @property
    def value(self) -> float:
        """The mood, -1..1; one message alone is pulled towards calm."""
        return self.s / (self.w + _TOWARDS_CALM)


def score(scores: Scores) -> float:
    """Return what one message says, -1..1: its direction, at full size only when it is strong."""
    direction = scores.p_positive - scores.p_negative
    return max(-1.0, min(1.0, direction * (0.5 + 0.5 * abs(scores.intensity))))


def weight(scores: Scores) -> float:
    """Return how much one message counts, 0..1."""
    sure = max(0.0, min(1.0, scores.confidence))
    return _STAND_IN * sure if scores.stand_in else sure


def settle(mood: Mood, at: float, policy: MoodPolicy) -> Mood:
    """Let the time until `at` pass in silence. A level may be left by this, never entered.

    Silence leaves upset where it carries the mood over the line by itself. Where a message did
    that, a second one must say the same, or its evidence must have faded below the calm that is
    assumed of everybody; otherwise the next second would undo the rule of two. A time before
    `mood.at` (clocks step back) changes nothing.
    """
    if at <= mood.at:
        return mood
    left = float(2.0 ** (-(at - mood.at) / policy.half_life))
    calmer = replace(mood, s=mood.s * left, w=mood.w * left, at=at)
    level = calmer.level
    faded = mood.leaving == 0 or calmer.w <= _TOWARDS_CALM
    if level == "upset" and faded and calmer.value >= policy.upset_leave:
        level = "tense"
    if level == "tense" and calmer.value >= policy.tense_leave:
        level = "calm"
    return calmer if level == mood.level else _at_level(calmer, level)


def step(mood: Mood, scores: Scores, at: float, policy: MoodPolicy) -> Mood:
    """Hear one scored message at time `at`."""
    rested = settle(mood, at, policy)
    x, w = score(scores), weight(scores)
    strength = abs(scores.intensity) if x < 0 else 0.0
    heard = replace(
        rested,
        s=_KEPT * rested.s + w * x,
        w=_KEPT * rested.w + w,
        last=x,
        leaving=rested.leaving + 1 if rested.level == "upset" else 0,
        since_calm=rested.since_calm + 1,
        peak_since_calm=max(rested.peak_since_calm, strength),
    )
    if heard.value < policy.upset_leave and heard.leaving:
        heard = replace(heard, leaving=0)
    return _at_level(heard, _next_level(heard, policy))


def _next_level(mood: Mood, policy: MoodPolicy) -> Level:
    """Return the level that a scored message leads to; two calmer ones in a row leave upset."""
    value = mood.value
    if value <= policy.upset_enter or (mood.level == "upset" and mood.leaving < 2):
        return "upset"
    if value <= policy.tense_enter or (mood.level != "calm" and value < policy.tense_leave):
        return "tense"
    return "calm"


def _at_level(mood: Mood, level: Level) -> Mood:
    """Write the level, and forget what was counted for the one that was left."""
    if level == "calm":
        return replace(mood, level=level, since_calm=0, peak_since_calm=0.0, leaving=0)
    return replace(mood, level=level, leaving=mood.leaving if level == "upset" else 0)


_FIELDS = tuple(field.name for field in fields(Mood))


def to_row(mood: Mood) -> dict[str, Any]:
    """Return the mood as JSON-ready values, floats untouched."""
    return {name: getattr(mood, name) for name in _FIELDS}


def from_row(row: Mapping[str, Any]) -> Mood:
    """Read what `to_row` gave; keys of other versions are ignored, missing ones are as at first."""
    return Mood(**{name: row[name] for name in _FIELDS if name in row})
