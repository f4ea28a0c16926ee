"""`heed replay`: recorded dialogues through the rules of now, on a virtual clock.

Hears every turn with the same functions as the walk. Sends nothing and stores nothing, so that an
operator can see what a changed policy would have done.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from bot.tagging import Ears, dump, open_ears
from core.errors import EngineError, SetupError
from core.escalation import Past, Policy, judge, trace_rows
from core.message import Scores
from core.mood import MoodPolicy

if TYPE_CHECKING:
    from bot.settings import Settings

Id = str | float
Turn = tuple[float, str]  # seconds, text


def replay(
    settings: Settings, path: Path, *, stdout: TextIO | None = None, stderr: TextIO | None = None
) -> int:
    """Print for each dialogue of `path` who would have been escalated, when and why.

    A line is {"id", "turns": [{"t": seconds, "text"}]}. Returns 1 if any line was bad, else 0.
    Raises SetupError when the file cannot be read.
    """
    out, told = stdout or sys.stdout, stderr or sys.stderr
    try:
        with path.open("rb") as file:
            failed = asyncio.run(_replay(settings, file, out))
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}.") from error
    if failed:
        told.write(f"{failed} of the lines could not be replayed.\n")
    return int(failed > 0)


def policies(settings: Settings, thresholds: dict[str, float]) -> tuple[MoodPolicy, Policy]:
    """Return the operator's mood ladder and rules, at the table's calibrated thresholds."""
    mood, rules = settings.mood, settings.escalation
    ladder = MoodPolicy(
        half_life=mood.half_life,
        tense_enter=mood.tense_enter,
        tense_leave=mood.tense_leave,
        upset_enter=mood.upset_enter,
        upset_leave=mood.upset_leave,
    )
    policy = Policy(
        spike_p_neg=rules.spike_p_neg,
        sure_p_neg=rules.sure_p_neg,
        sure_strength=rules.sure_strength,
        confidence=rules.confidence,
        cases_per_day=rules.cases_per_day,
        money_words=tuple(rules.money_words),
    )
    return ladder, policy.calibrated(thresholds)


async def _replay(settings: Settings, lines: Iterator[bytes], out: TextIO) -> int:
    failed = 0
    async with open_ears(settings) as ears:
        ladder, policy = policies(settings, dict(ears.table.table.thresholds))
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name: Id = number
            try:
                name, turns = _dialogue(line, number)
                row = await _run(ears, turns, ladder, policy)
            except (ValueError, EngineError) as error:
                failed += 1
                name = getattr(error, "name", name)
                row = {"error": str(error)}
            out.write(f"{dump({'id': name} | row, out)}\n")
            out.flush()
    return failed


class _BadLine(ValueError):
    """A line that is no dialogue; `name` is the id that it could still be given."""

    def __init__(self, name: Id, why: str) -> None:
        super().__init__(why)
        self.name = name


def _dialogue(line: bytes, number: int) -> tuple[Id, list[Turn]]:
    """Read one line. Raises _BadLine."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _BadLine(number, f"line {number} is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _BadLine(number, f"line {number} is not valid JSON") from None
    if not isinstance(row, dict):
        raise _BadLine(number, 'a line must be {"id", "turns"}')
    name = row.get("id", number)
    if not isinstance(name, (str, int, float)):
        raise _BadLine(number, "id must be a text or a number")
    turns = row.get("turns")
    if not isinstance(turns, list):
        raise _BadLine(name, '"turns" must be a list of {"t", "text"}')
    return name, [_turn(name, i, turn) for i, turn in enumerate(turns)]


def _turn(name: Id, index: int, turn: object) -> Turn:
    if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
        raise _BadLine(name, f'turn {index} needs "text", a string')
    at = turn.get("t")
    if isinstance(at, bool) or not isinstance(at, (int, float)) or abs(at) > 1e12:
        raise _BadLine(name, f'turn {index} needs "t", a number of seconds')
    if not math.isfinite(at):
        raise _BadLine(name, f'turn {index} needs "t", a finite number of seconds')
    return float(at), turn["text"]


async def _run(ears: Ears, turns: list[Turn], ladder: MoodPolicy, policy: Policy) -> dict[str, Any]:
    """Hear one dialogue. After it is escalated turns are still traced, but open nothing more."""
    heard = await ears.hear([text for _at, text in turns])
    past = Past()
    escalated: int | None = None
    rule = ""
    trace: list[dict[str, Any]] = []
    for i, ((at, text), (scores, _tagging)) in enumerate(zip(turns, heard, strict=True)):
        scored = scores if text.strip() else None  # the walk scores no message without text
        judged = judge(past, text, scored, at, mood_policy=ladder, policy=policy)
        past, decision = judged.past, judged.decision
        opens = decision.open and escalated is None
        if opens:
            escalated, rule = i, decision.rule
        trace.append(
            {"turn": i, "t": at}
            | _heard(scored)
            | {"mood": round(past.mood.value, 4), "level": past.mood.level}
            | {"fired": opens, "rule": decision.rule, "why": decision.line}
            | {"rules": trace_rows(decision)}
        )
    return {"escalated_turn": escalated, "rule": rule or None, "trace": trace}


def _heard(scores: Scores | None) -> dict[str, Any]:
    """Return what a turn was heard as, in short."""
    if scores is None:
        return {"label": None}
    numbers = {
        "p_neg": scores.p_negative,
        "intensity": scores.intensity,
        "confidence": scores.confidence,
        "strong": scores.strong,
        "wants_human": scores.wants_human,
        "threat_to_leave": scores.threat_to_leave,
    }
    return {"label": scores.label} | {name: round(value, 4) for name, value in numbers.items()}
