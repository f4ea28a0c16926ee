"""When to bring a human in: `rules` decides, `past` remembers and judges one message.

`words` says what a message's phrases add to its scores.
"""

from __future__ import annotations

from core.escalation.past import Judgement, Past, judge, past_from_row, past_to_row, unsaid
from core.escalation.rules import (
    RULES,
    Decision,
    Policy,
    RuleResult,
    Situation,
    decide,
    peak_of,
    trace_rows,
)

__all__ = [
    "RULES",
    "Decision",
    "Judgement",
    "Past",
    "Policy",
    "RuleResult",
    "Situation",
    "decide",
    "judge",
    "past_from_row",
    "past_to_row",
    "peak_of",
    "trace_rows",
    "unsaid",
]
