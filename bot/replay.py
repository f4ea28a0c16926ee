"""`heed replay`: recorded dialogues through the rules of now, on a virtual clock.

Hears every turn with the same functions as the walk. Sends nothing and stores nothing, so that an
operator can see what a changed policy would have done. `bot.expecting` scores what is found.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from bot.tagging import Ears, dump, open_ears
from core.errors import EngineError, SetupError
from core.escalation import Decision, Past, Policy, judge, trace_rows
from core.message import Scores
from core.mood import MoodPolicy

if TYPE_CHECKING:
    from bot.settings import Settings

Id = str | float
Turn = tuple[float, str]  # seconds, text


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """What one person wrote, and what was expected of it where the file says so."""

    id: Id
    turns: tuple[Turn, ...]
    kind: str = ""
    lang: str = ""
    call: tuple[int, int] | None = None  # first and last turn at which a person is right
    told: bool = False  # whether the line said anything of a call


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """One line of a file: the dialogue and what the rules did, or why it could not be replayed."""

    id: Id
    row: dict[str, Any]  # as printed, without the id
    dialogue: Dialogue | None  # None: row is {"error"}


def replay(
    settings: Settings, path: Path, *, stdout: TextIO | None = None, stderr: TextIO | None = None
) -> int:
    """Print for each dialogue of `path` who would have been escalated, when and why.

    A line is {"id", "turns": [{"t": seconds, "text"}]}; instead of `t` a turn may have `after`, the
    seconds since the turn before. Returns 1 if any line was bad, else 0.
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
        strong=rules.strong,
        crisis=rules.crisis,
        spike_p_neg=rules.spike_p_neg,
        sure_p_neg=rules.sure_p_neg,
        sure_strength=rules.sure_strength,
        confidence=rules.confidence,
        trouble=rules.trouble,
        burst_messages=rules.burst_messages,
        cases_per_day=rules.cases_per_day,
        money_words=tuple(rules.money_words),
    )
    return ladder, policy.calibrated(thresholds)


def first_decision(
    text: str, scores: Scores | None, ladder: MoodPolicy, policy: Policy
) -> Decision:
    """Decide on one message as the first of its conversation; one without words has no scores."""
    scored = scores if text.strip() else None
    return judge(Past(), text, scored, 0.0, mood_policy=ladder, policy=policy).decision


async def _replay(settings: Settings, lines: Iterable[bytes], out: TextIO) -> int:
    failed = 0
    async for one in replayed(settings, lines):
        failed += one.dialogue is None
        out.write(f"{dump({'id': one.id} | one.row, out)}\n")
        out.flush()
    return failed


async def replayed(settings: Settings, lines: Iterable[bytes]) -> AsyncIterator[Replayed]:
    """Replay each line that is not blank, in order; a bad one is told and the rest goes on."""
    async with open_ears(settings) as ears:
        ladder, policy = policies(settings, dict(ears.table.table.thresholds))
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name: Id = number
            try:
                dialogue = read_dialogue(line, number)
                name = dialogue.id
                row = await _run(ears, dialogue.turns, ladder, policy)
            except (ValueError, EngineError) as error:
                name = getattr(error, "name", name)
                yield Replayed(id=name, row={"error": str(error)}, dialogue=None)
            else:
                yield Replayed(id=name, row=row, dialogue=dialogue)


class _BadLine(ValueError):
    """A line that is no dialogue; `name` is the id that it could still be given."""

    def __init__(self, name: Id, why: str) -> None:
        super().__init__(why)
        self.name = name


def read_dialogue(line: bytes, number: int) -> Dialogue:
    """Read one line of a file; `number` is its id where it has none. Raises ValueError."""
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
    raw = row.get("turns")
    if not isinstance(raw, list):
        raise _BadLine(name, '"turns" must be a list of {"t", "text"}')
    turns: list[Turn] = []
    for i, turn in enumerate(raw):
        turns.append(_turn(name, i, turn, turns[-1][0] if turns else 0.0))
    return Dialogue(
        id=name,
        turns=tuple(turns),
        kind=str(row.get("kind") or ""),
        lang=str(row.get("lang") or ""),
        call=_call(name, row.get("call"), len(turns)),
        told="call" in row,
    )


def _turn(name: Id, index: int, turn: object, before: float) -> Turn:
    if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
        raise _BadLine(name, f'turn {index} needs "text", a string')
    key = "after" if "t" not in turn and "after" in turn else "t"
    at = turn.get(key)
    if isinstance(at, bool) or not isinstance(at, (int, float)) or abs(at) > 1e12:
        raise _BadLine(name, f'turn {index} needs "{key}", a number of seconds')
    if not math.isfinite(at):
        raise _BadLine(name, f'turn {index} needs "{key}", a finite number of seconds')
    if key == "t":
        return float(at), turn["text"]
    if at < 0:
        raise _BadLine(name, f'turn {index} comes before the last one: "after" is below 0')
    return before + at, turn["text"]


def _call(name: Id, call: object, turns: int) -> tuple[int, int] | None:
    if call is None:
        return None
    if isinstance(call, list) and len(call) == 2 and all(type(one) is int for one in call):
        first, last = call
        if 0 <= first <= last < turns:
            return first, last
    raise _BadLine(
        name, f'"call" must be null, or [first, last] of the turns 0 to {turns - 1} of the dialogue'
    )


async def _run(
    ears: Ears, turns: Sequence[Turn], ladder: MoodPolicy, policy: Policy
) -> dict[str, Any]:
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
