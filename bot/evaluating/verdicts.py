"""What staff's own verdicts say: were the cases needed, and how many would another line open.

A case that staff resolved was needed; one that they closed as "not needed" was not. Verdicts exist
only for what was alerted, so precision is told from the threshold in force upwards; how many alerts
there would be is told for every threshold, from the stored scores of every message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.evaluating.figures import plain
from bot.replay import policies
from core import evaluation as ev
from core.engine.embedded.table import Table
from core.errors import SetupError
from core.escalation.rules import DAY, Policy, Situation, decide
from core.message import Scores
from core.mood import Mood
from core.triggers import Triggers

if TYPE_CHECKING:
    from bot.settings import Settings
    from core.store import Connection

STEPS = tuple(round(step / 20, 2) for step in range(1, 20))  # shown; the budget looks finer
_FINE = tuple(round(step / 100, 2) for step in range(1, 101))
_NEVER, _ALWAYS = -1.0, 2.0  # levels of messages that no threshold of strong touches
_SCORES = frozenset(field.name for field in fields(Scores))
_NOT_NEEDED = "not needed"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """What the database holds: cases by id, and every judged message."""

    cases: Mapping[int, Any]
    decisions: Sequence[Any]


def verdict_figures(settings: Settings, budget: float | None) -> dict[str, Any]:
    """Return precision by rule, and alerts a day by threshold. Raises SetupError."""
    kept = _read(settings)
    _, policy = policies(settings, dict(Table.load().thresholds))
    judged = {i: row.verdict != _NOT_NEEDED for i, row in kept.cases.items() if _closed(row)}
    if not kept.decisions and not judged:
        raise SetupError(
            "The database holds no judged message and no verdict yet: let Heed run, and close its "
            "cases with Resolve or Not needed."
        )
    found: dict[str, Any] = {
        "kind": "verdicts",
        "cases": len(kept.cases),
        "messages": len(kept.decisions),
        "precision": _share(list(judged.values())),
        "rules": [
            {"rule": rule}
            | _share([n for i, n in judged.items() if (kept.cases[i].rule or "unknown") == rule])
            for rule in sorted({kept.cases[i].rule or "unknown" for i in judged})
        ],
        "in_force": policy.strong,
    }
    return found | _thresholds(kept, judged, policy, settings, budget)


def _read(settings: Settings) -> _Kept:
    from bot.database import check
    from core.store import Inline, Store

    check(settings.database.url)
    store = Store(settings.database.url, Inline)
    try:
        return store.read_now(_rows)
    finally:
        store.close()


def _rows(connection: Connection) -> _Kept:
    from core.tables import case, decision

    told = decision.c
    columns = (told.conversation_id, told.case_id, told.rule, told.opened, told.scores, told.at)
    decisions = connection.execute(decision.select().with_only_columns(*columns)).all()
    cases = connection.execute(case.select()).all()
    return _Kept(cases={row.id: row for row in cases}, decisions=decisions)


def _closed(row: Any) -> bool:  # noqa: ANN401 - a case row
    """Say whether a person has judged a case; erasing its owner closes one as well."""
    return bool(row.state == "resolved" and row.resolved_by)


def _share(verdicts: Sequence[bool]) -> dict[str, Any]:
    """Return how many were needed, with Wilson's interval."""
    needed, n = sum(verdicts), len(verdicts)
    low, high = ev.wilson(needed, n)
    return {
        "judged": n,
        "needed": needed,
        "value": plain(needed / n) if n else None,
        "low": plain(low),
        "high": plain(high),
    }


def _thresholds(
    kept: _Kept,
    judged: Mapping[int, bool],
    policy: Policy,
    settings: Settings,
    budget: float | None,
) -> dict[str, Any]:
    """Return what each threshold of strong would bring, and the one for the budget."""
    heard = [row for row in kept.decisions if row.scores]
    levels = np.array([_level(row.scores, row.at, policy) for row in heard])
    at = np.array([row.at for row in heard], float)
    who = np.array([row.conversation_id for row in heard])
    rest = np.array([_rest(row, kept, settings) for row in heard], float)
    days = max(1.0, float(np.ptp(at)) / DAY) if len(at) else 1.0
    others = sum(bool(r.opened) and r.rule != "spike" for r in kept.decisions) / days
    spikes = {r.case_id: v for r, v in zip(heard, levels, strict=True) if _opens(r)}

    def a_day(threshold: float) -> float:
        return ev.alerts(at, who, levels, rest, threshold) / days

    steps = []
    for step in sorted({*STEPS, policy.strong}):
        clear = [n for i, n in judged.items() if spikes.get(i, _NEVER) >= step >= policy.strong]
        steps.append({"threshold": step, "alerts_a_day": plain(a_day(step))} | _share(clear))
    told: dict[str, Any] = {"days": plain(days), "others_a_day": plain(others), "steps": steps}
    if budget is not None:
        rates = np.array([a_day(step) + others for step in _FINE])
        chosen = ev.within_budget(np.array(_FINE), rates, budget)
        rate = math.nan if math.isnan(chosen) else float(rates[_FINE.index(chosen)])
        told["budget"] = {"alerts_a_day": budget, "threshold": plain(chosen), "gives": plain(rate)}
    return told


def _opens(row: Any) -> bool:  # noqa: ANN401 - a decision row
    return bool(row.opened) and row.rule == "spike" and row.case_id is not None


def _level(kept: Mapping[str, Any], at: float, policy: Policy) -> float:
    """Return the highest threshold of strong at which this message alone still is a spike.

    The rule itself is asked, at a threshold that every message passes and at one that none does.
    """
    scores = Scores(**{name: value for name, value in kept.items() if name in _SCORES})
    calm = Mood()
    situation = Situation(scores=scores, triggers=Triggers(), before=calm, after=calm, at=at)
    if _spikes(situation, policy, _ALWAYS):
        return _ALWAYS
    return scores.strong if _spikes(situation, policy, _NEVER) else _NEVER


def _spikes(situation: Situation, policy: Policy, strong: float) -> bool:
    trace = decide(situation, replace(policy, strong=strong)).trace
    return any(result.rule == "spike" and result.fired for result in trace)


def _rest(row: Any, kept: _Kept, settings: Settings) -> float:  # noqa: ANN401 - a decision row
    """Return how long after this message its conversation would open no other case, seconds."""
    case = kept.cases.get(row.case_id)
    ended = row.at if case is None else max(row.at, case.resolved_at or math.inf)
    return float(ended - row.at + 60.0 * settings.escalation.refractory_minutes)
