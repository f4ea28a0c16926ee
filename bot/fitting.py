"""Where the numbers of the escalation rules come from: `python -m bot.fitting DIALOGUES.jsonl ...`.

Tries a few values of a few numbers of the policy, one number at a time, on recorded dialogues that
say when a person should be called, and prints what each value comes to. Deterministic. What was
chosen on every second dialogue is measured on the others, which shows how much of it is luck.
`--table PATH` takes another table than the shipped one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bot.expecting import verdict
from bot.replay import Dialogue, read_dialogue
from bot.tagging import Ears
from core.engine.embedded.table import Table, TableTagger
from core.escalation import Past, Policy, judge
from core.message import Scores
from core.mood import MoodPolicy
from core.triggers import Triggers, match

GRID: dict[str, tuple[float, ...]] = {  # kept short: every number here has a meaning of its own
    "trouble": (2, 3, 4),
    "trouble_messages": (3, 4, 5, 6, 8),
    "trouble_mood": (-0.6, -0.5, -0.45, -0.4, -0.35),
    "heavy_strength": (0.5, 0.55, 0.6, 0.7, 0.8),
    "wants_human": (0.7, 0.8, 0.85, 0.9, 0.95),
    "threat": (0.6, 0.7, 0.8, 0.85, 0.9, 0.95),
    "threat_twice": (0.4, 0.5, 0.6, 0.7, 0.8),
    "strong": (0.5, 0.6, 0.7, 0.8, 0.9),
    "sure_strong": (0.0, 0.2, 0.4, 0.6),
    "burst_messages": (4, 5, 6, 7, 8),
    "burst_mood": (-0.3, -0.2, -0.15, -0.1, -0.05),
}
_ROUNDS = 2
_FALSE = 2.0  # how many caught ones a false alarm is worth


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """One dialogue with everything that the rules look at."""

    dialogue: Dialogue
    turns: tuple[tuple[float, str, Scores | None, Triggers], ...]


async def hear(lines: Sequence[bytes], table: Table) -> list[Heard]:
    """Hear dialogues once: what is said, how it scores, which phrases are in it."""
    ears, found = Ears(table=TableTagger(table)), []
    for number, line in enumerate(lines, start=1):
        dialogue = read_dialogue(line, number)
        heard = await ears.hear([text for _at, text in dialogue.turns])
        turns = tuple(
            (at, text, scores if text.strip() else None, match(text))
            for (at, text), (scores, _tagging) in zip(dialogue.turns, heard, strict=True)
        )
        found.append(Heard(dialogue=dialogue, turns=turns))
    return found


def opened(heard: Heard, policy: Policy) -> int | None:
    """Return the first turn that opens a case, None for none."""
    past, ladder = Past(), MoodPolicy()
    for number, (at, text, scores, found) in enumerate(heard.turns):
        judged = judge(past, text, scores, at, mood_policy=ladder, policy=policy, triggers=found)
        if judged.decision.open:
            return number
        past = judged.past
    return None


def outcome(heard: Sequence[Heard], policy: Policy) -> Counter[str]:
    """Count the verdicts on dialogues."""
    return Counter(verdict(one.dialogue.call, opened(one, policy)) for one in heard)


def fit(heard: Sequence[Heard], policy: Policy) -> Policy:
    """Return the best policy that changing one number at a time leads to.

    Of values that do equally well the one in the middle of them is taken: the one that is furthest
    from where things begin to go wrong.
    """
    for _round in range(_ROUNDS):
        for name, values in GRID.items():
            said = [_worth(outcome(heard, _with(policy, name, value))) for value in values]
            best = [value for value, worth in zip(values, said, strict=True) if worth == max(said)]
            policy = _with(policy, name, best[(len(best) - 1) // 2])
    return policy


def _with(policy: Policy, name: str, value: float) -> Policy:
    return replace(policy, **{name: type(getattr(policy, name))(value)})


def _worth(found: Counter[str]) -> float:
    return found["caught"] - _FALSE * found["false alarm"]


def _told(found: Counter[str]) -> str:
    calls = sum(found[name] for name in ("caught", "early", "late", "missed"))
    calm = found["quiet"] + found["false alarm"]
    parts = [f"{name} {found[name]}" for name in ("early", "late", "missed")]
    parts.append(f"false alarms {found['false alarm']} of {calm}")
    return f"caught {found['caught']} of {calls}, " + ", ".join(parts)


def _values(policy: Policy) -> str:
    return ", ".join(f"{name} {getattr(policy, name):g}" for name in GRID)


def main(arguments: Sequence[str]) -> int:
    """Print what each value of each number comes to, and what halves say of the choice."""
    parser = argparse.ArgumentParser(prog="python -m bot.fitting", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--table", type=Path)
    asked = parser.parse_args(arguments)
    lines = [one for file in asked.files for one in file.read_bytes().splitlines() if one.strip()]
    table = Table.load(asked.table)
    heard = asyncio.run(hear(lines, table))
    sys.stdout.writelines(
        f"{line}\n" for line in _report(heard, Policy().calibrated(table.thresholds))
    )
    return 0


def _report(heard: Sequence[Heard], shipped: Policy) -> Iterator[str]:
    yield f"as it is: {_told(outcome(heard, shipped))}\n  {_values(shipped)}"
    for name, values in GRID.items():
        for value in values:
            mark = "*" if value == getattr(shipped, name) else " "
            yield f"{mark} {name} {value:g}: {_told(outcome(heard, _with(shipped, name, value)))}"
    odd, even = heard[::2], heard[1::2]
    for what, own, others in (("first", odd, even), ("second", even, odd)):
        chosen = fit(own, shipped)
        yield f"fitted on the {what} half: {_told(outcome(own, chosen))}"
        yield f"  on the other half: {_told(outcome(others, chosen))}"
        yield f"  as it is, on the other half: {_told(outcome(others, shipped))}"
        yield f"  {_values(chosen)}"
    chosen = fit(heard, shipped)
    yield f"fitted on all: {_told(outcome(heard, chosen))}\n  {_values(chosen)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
