"""`heed replay --expect`: was a person called when one should have been?

A dialogue says in `call` from which turn to which a person is right, or null where nobody should
be called. What counts is the first turn that opens a case: inside that window it is caught.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from bot.replay import Id, Replayed, replayed
from core.errors import SetupError
from core.evaluation import wilson

if TYPE_CHECKING:
    from bot.settings import Settings

Verdict = Literal["caught", "early", "late", "missed", "false alarm", "quiet"]
Call = tuple[int, int] | None
_COLUMNS = ("dialogues", "caught", "early", "late", "missed", "of calm", "false alarms")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One dialogue: what was expected, and the first turn that opened a case."""

    id: Id
    kind: str
    lang: str
    call: Call
    opened: int | None
    rule: str = ""

    @property
    def verdict(self) -> Verdict:
        """What this was."""
        return verdict(self.call, self.opened)


def verdict(call: Call, opened: int | None) -> Verdict:
    """Judge the turn that opened a case, None for none, by the window of turns that are right."""
    if call is None:
        return "quiet" if opened is None else "false alarm"
    if opened is None:
        return "missed"
    if opened < call[0]:
        return "early"
    return "caught" if opened <= call[1] else "late"


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count outcomes; shares are {"hits", "of", "share", "low", "high"}, 95 % by Wilson.

    `caught`, `early`, `late` and `missed` are of the dialogues that want a person,
    `false_alarms` of those that do not. A share of nothing is None.
    """
    said = [one.verdict for one in outcomes]
    calls = sum(one.call is not None for one in outcomes)
    found: dict[str, Any] = {"dialogues": len(said), "calls": calls, "calm": len(said) - calls}
    for name in ("caught", "early", "late", "missed"):
        found[name] = _share(said.count(name), calls)
    return found | {"false_alarms": _share(said.count("false alarm"), len(said) - calls)}


def _share(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    known = not math.isnan(low)
    return {
        "hits": hits,
        "of": n,
        "share": round(hits / n, 4) if n else None,
        "low": round(low, 4) if known else None,
        "high": round(high, 4) if known else None,
    }


def expect(  # noqa: PLR0913 - where to read and write, and the bars
    settings: Settings,
    path: Path,
    *,
    least_caught: float | None = None,
    most_false: float | None = None,
    json_out: Path | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Print how often a person was called in time, and each dialogue where not.

    Returns 1 if a line was bad or a bar is not met (a bar on nothing is not), else 0. Raises
    SetupError when a file cannot be read or written.
    """
    out, told = stdout or sys.stdout, stderr or sys.stderr
    if json_out is not None and (json_out.is_dir() or not json_out.absolute().parent.is_dir()):
        raise SetupError(f"{json_out} cannot be written: name a file in a folder that exists.")
    try:
        with path.open("rb") as file:
            found = asyncio.run(_all(settings, file))
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}.") from error
    outcomes, bad = _outcomes(found, told)
    if not outcomes and not bad:
        raise SetupError(f"{path} has no dialogues: give one JSON line each.")
    report = _report(outcomes)
    bars = _bars(report["total"], least_caught, most_false)
    out.writelines(f"{line}\n" for line in _lines(report, outcomes, bars))
    if json_out is not None:
        whole = {"file": path.name, "bad_lines": bad, "bars": bars} | report
        text = json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
        try:
            json_out.write_bytes(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise SetupError(f"{json_out} cannot be written: {error.strerror}.") from error
    return int(bad > 0 or not all(bar["met"] for bar in bars))


async def _all(settings: Settings, lines: Iterable[bytes]) -> list[Replayed]:
    return [one async for one in replayed(settings, lines)]


def _outcomes(found: Iterable[Replayed], told: TextIO) -> tuple[list[Outcome], int]:
    """Keep what can be scored; tell of the rest and count it."""
    outcomes, bad = list[Outcome](), 0
    for one in found:
        dialogue = one.dialogue
        if dialogue is None or not dialogue.told:
            bad += 1
            why = one.row.get("error") or 'it needs "call": [first, last] or null'
            told.write(f"{one.id}: {why}\n")
            continue
        outcomes.append(
            Outcome(
                id=one.id,
                kind=dialogue.kind or "-",
                lang=dialogue.lang or "und",
                call=dialogue.call,
                opened=one.row["escalated_turn"],
                rule=one.row["rule"] or "",
            )
        )
    return outcomes, bad


def _report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    def by(names: Iterable[str], own: Iterable[str]) -> dict[str, Any]:
        pairs = list(zip(own, outcomes, strict=True))
        return {
            name: figures([one for mine, one in pairs if mine == name])
            for name in sorted(set(names))
        }

    langs, kinds = [one.lang for one in outcomes], [one.kind for one in outcomes]
    both = [f"{one.kind} {one.lang}" for one in outcomes]
    return {
        "total": figures(outcomes),
        "languages": by(langs, langs),
        "kinds": by(kinds, kinds),
        "kinds_by_language": by(both, both),
        "outcomes": [
            {
                "id": one.id,
                "kind": one.kind,
                "lang": one.lang,
                "call": one.call,
                "opened": one.opened,
                "rule": one.rule or None,
                "verdict": one.verdict,
            }
            for one in outcomes
        ],
    }


def _bars(
    total: dict[str, Any], least_caught: float | None, most_false: float | None
) -> list[dict[str, Any]]:
    asked = (("caught", least_caught, 1), ("false_alarms", most_false, -1))
    return [
        {
            "bar": name,
            "value": total[name]["share"],
            "limit": limit,
            "met": bool(n := total[name]["of"]) and sign * (total[name]["hits"] / n - limit) >= 0,
        }
        for name, limit, sign in asked
        if limit is not None
    ]


# -- as printed ----------------------------------------------------------------------------------


def _lines(
    report: dict[str, Any], outcomes: Sequence[Outcome], bars: Sequence[dict[str, Any]]
) -> list[str]:
    total = report["total"]
    groups = {"all": total} | report["languages"] | report["kinds"]
    if len(report["languages"]) > 1:
        groups |= report["kinds_by_language"]
    width = max(len(name) for name in groups)
    lines = [" ".join([" " * width, *(f"{name:>12}" for name in _COLUMNS)])]
    lines += [" ".join([f"{name:<{width}}", *_cells(one)]) for name, one in groups.items()]
    lines += ["", f"caught in the window  {_told(total['caught'])}"]
    lines += [f"{name:<20}  {_told(total[name])}" for name in ("early", "late", "missed")]
    lines += [f"false alarms          {_told(total['false_alarms'])}"]
    failed = [one for one in outcomes if one.verdict not in ("caught", "quiet")]
    lines += ["", "not as expected:"] if failed else []
    for one in failed:
        window = "nobody" if one.call is None else f"turn {one.call[0]} to {one.call[1]}"
        did = "nothing" if one.opened is None else f"turn {one.opened} by {one.rule}"
        lines += [f"  {one.id}  {one.kind}  expected {window}, fired {did}: {one.verdict}"]
    for bar in bars:
        name, least = bar["bar"].replace("_", " "), bar["bar"] == "caught"
        limit = f"{'at least' if least else 'at most'} {100 * bar['limit']:g} %"
        value = "nothing to judge by" if bar["value"] is None else f"{100 * bar['value']:.1f} %"
        lines += ["", f"{'met' if bar['met'] else 'NOT MET'}: {name} {limit}: {value}"]
    return lines


def _cells(one: dict[str, Any]) -> list[str]:
    def cell(share: dict[str, Any]) -> str:
        return "-" if share["share"] is None else f"{share['hits']} ({100 * share['share']:.0f} %)"

    texts = [str(one["dialogues"])]
    texts += [cell(one[name]) for name in ("caught", "early", "late", "missed")]
    texts += [str(one["calm"]), cell(one["false_alarms"])]
    return [f"{text:>12}" for text in texts]


def _told(share: dict[str, Any]) -> str:
    if share["share"] is None:
        return "no such dialogue"
    low, high = 100 * share["low"], 100 * share["high"]
    return (
        f"{share['hits']} of {share['of']}: {100 * share['share']:.1f} % "
        f"(95 %: {low:.1f} to {high:.1f})"
    )
