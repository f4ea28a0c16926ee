"""What staff's own verdicts say: were people called when they were needed, and in time?

Right and Too late say that a person was needed, Not needed that nobody was. An alert without a
verdict is counted and shown apart, never as right. Alerts that a dry run held back count like the
others once staff judged them. Verdicts exist only for what was alerted, so precision is told from
the threshold in force upwards, and recall only as far as it can be known.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.evaluating.figures import SEED, plain
from bot.replay import policies
from core import evaluation as ev
from core.engine.embedded.table import Table
from core.errors import SetupError
from core.escalation.rules import DAY, MOOD_RULES, RULES, Policy, Situation, decide
from core.message import Scores
from core.mood import Mood
from core.store.judged import Closed, Decided, Judged, judged
from core.triggers import Triggers

if TYPE_CHECKING:
    from bot.settings import Settings

STEPS = tuple(round(step / 20, 2) for step in range(1, 20))  # shown; the budget looks finer
_FINE = tuple(round(step / 100, 2) for step in range(1, 101))
_NEVER, _ALWAYS = -1.0, 2.0  # levels of messages that no threshold of strong touches
_SCORES = frozenset(field.name for field in fields(Scores))
_A_BIN = 5  # verdicts that a point of the reliability curve stands on, at least
_NEEDED = {"right": True, "too late": True, "not needed": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One call for staff: a case that a rule opened, or what a dry run held back."""

    conversation_id: int
    rule: str  # that opened it; graver ones that came later change the case, not this
    lang: str
    at: float
    verdict: str
    case: Closed | None  # None: of a dry run
    message: Decided | None  # that it was opened on; None: no longer kept

    @property
    def needed(self) -> bool | None:
        """Whether a person was needed; None: nobody has said."""
        return _NEEDED.get(self.verdict)


def verdict_figures(settings: Settings, budget: float | None) -> dict[str, Any]:
    """Return precision, recall as far as it is known, and alerts a day. Raises SetupError."""
    settings, kept = read(settings)
    _, policy = policies(settings, dict(Table.load().thresholds))
    alerts = alerts_of(kept)
    if not kept.decisions and not kept.thumbs and not any(alert.verdict for alert in alerts):
        raise SetupError(
            "The database holds no judged message and no verdict yet: let Heed run, and press "
            "Right, Not needed or Too late on its cases."
        )
    cases = [alert for alert in alerts if alert.case is not None]
    return {
        "kind": "verdicts",
        "cases": len(cases),
        "dry": len(alerts) - len(cases),
        "by_staff": len(kept.cases) - len(cases),
        "messages": len(kept.decisions),
        "unjudged": _unjudged(alerts),
        "precision": _verdicts(alerts),
        "mood": _verdicts([alert for alert in alerts if alert.rule in MOOD_RULES]),
        "rules": _by(alerts, "rule", lambda alert: alert.rule),
        "languages": _by(alerts, "lang", lambda alert: alert.lang),
        "recall": _recall(alerts),
        "late": _late(alerts, kept),
        "reliability": _reliability(alerts),
        "thumbs": [{**one, **_share(one["up"], one["up"] + one["down"])} for one in kept.thumbs],
        "in_force": policy.strong,
        **_thresholds(kept, alerts, policy, settings, budget),
    }


def read(settings: Settings, *, since: float = 0.0, words: bool = False) -> tuple[Settings, Judged]:
    """Return the settings with the page's changes on top, and what was decided from `since` on.

    Raises SetupError where the database cannot be used.
    """
    from bot.database import check
    from bot.sealing import opened
    from bot.tuning import Tuning

    check(settings.database.url)
    with opened(settings) as store:
        tuning = Tuning(settings, store, time.time)
        asyncio.run(tuning.load())
        kept = store.read_now(lambda connection: judged(connection, since=since, words=words))
        return tuning.current(), kept


def alerts_of(kept: Judged) -> list[Alert]:
    """Return every alert that a rule raised, oldest first; cases that staff opened are none."""
    opened: dict[int, Decided] = {}
    for row in kept.decisions:
        case = kept.cases.get(row.case_id or 0)
        if case is not None and row.opened and abs(row.at - case.opened_at) < 1.0:
            opened.setdefault(case.id, row)
    alerts = []
    for case in kept.cases.values():
        message = opened.get(case.id)
        rule = case.rule if message is None else message.rule
        if rule in RULES:
            alerts.append(
                Alert(
                    conversation_id=(message or case).conversation_id,  # a case may have moved
                    rule=rule,
                    lang=_lang(message, case.lang),
                    at=case.opened_at,
                    verdict=case.verdict,
                    case=case,
                    message=message,
                )
            )
    alerts += [
        Alert(
            conversation_id=row.conversation_id,
            rule=row.rule,
            lang=_lang(row, row.lang),
            at=row.at,
            verdict=row.verdict,
            case=None,
            message=row,
        )
        for row in kept.decisions
        if row.dry
    ]
    return sorted(alerts, key=lambda alert: alert.at)


def _lang(message: Decided | None, known: str) -> str:
    """Return the language of a message, else the one that its writer is known by."""
    scores = (message.scores if message is not None else None) or {}
    own = str(scores.get("lang") or "")
    return ((own if own not in ("", "und") else known) or "und").partition("-")[0]


# -- precision and recall ------------------------------------------------------------------------


def _share(hits: int, n: int) -> dict[str, Any]:
    low, high = ev.wilson(hits, n)
    return {"value": plain(hits / n) if n else None, "low": plain(low), "high": plain(high)}


def _verdicts(alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return how many alerts were needed, with Wilson's interval, and how many nobody judged."""
    said = Counter(alert.verdict for alert in alerts if alert.needed is not None)
    needed, n = said["right"] + said["too late"], said.total()
    return {
        "judged": n,
        "needed": needed,
        "right": said["right"],
        "too_late": said["too late"],
        "not_needed": said["not needed"],
        "unjudged": len(alerts) - n,
    } | _share(needed, n)


def _by(alerts: Sequence[Alert], kind: str, name: Callable[[Alert], str]) -> list[dict[str, Any]]:
    return [
        {kind: one} | _verdicts([alert for alert in alerts if name(alert) == one])
        for one in sorted(set(map(name, alerts)))
    ]


def _unjudged(alerts: Sequence[Alert]) -> dict[str, int]:
    silent = [alert for alert in alerts if alert.needed is None]
    cases = [alert.case for alert in silent if alert.case is not None]
    unresolved = sum(case.resolved_at is None for case in cases)
    return {"cases": len(cases), "open": unresolved, "dry": len(silent) - len(cases)}


def _recall(alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return what is known of those who needed a person and got none, or got one too late.

    Found: right, and no request. Missed: too late; and requests that no mood rule came before,
    unless staff said that they were not needed. Who was upset, raised no alert and never asked is
    in no count: this is what is known, and no more.
    """
    requests = [a for a in alerts if a.rule == "request" and a.verdict != "not needed"]
    found = sum(alert.verdict == "right" and alert.rule != "request" for alert in alerts)
    late = sum(alert.verdict == "too late" for alert in alerts)
    alone = [alert for alert in requests if not _preceded(alert, alerts)]
    asked = sum(alert.verdict != "too late" for alert in alone)  # each is missed once
    return {
        "found": found,
        "missed": late + asked,
        "too_late": late,
        "asked": asked,
        "preceded": len(requests) - len(alone),
    } | _share(found, found + late + asked)


def _preceded(request: Alert, alerts: Sequence[Alert]) -> bool:
    """Say whether a mood rule had fired for this person since their last case, within a day."""
    mine = [
        alert
        for alert in alerts
        if alert.conversation_id == request.conversation_id
        and request.at - DAY <= alert.at < request.at
    ]
    ended = max((a.case.resolved_at or 0.0 for a in mine if a.case is not None), default=0.0)
    return any(alert.rule in MOOD_RULES and alert.at >= ended for alert in mine)


def _late(alerts: Sequence[Alert], kept: Judged) -> list[dict[str, Any]]:
    """Return for each case that came too late how much, and what was read of the missed message."""
    heard = {row.inbox_id: row for row in kept.decisions}
    found = []
    for alert in alerts:
        case = alert.case
        if case is None or case.verdict != "too late":
            continue
        row = heard.get(case.missed or 0)
        told = None if row is None else row.scores
        found.append(
            {
                "case": case.id,
                "rule": alert.rule,
                "lang": alert.lang,
                "seconds": None if case.missed_at is None else round(alert.at - case.missed_at, 1),
                "strong": None if told is None else plain(told["strong"]),
                "p_negative": None if told is None else plain(told["p_negative"]),
            }
        )
    return found


def _reliability(alerts: Sequence[Alert]) -> dict[str, Any] | None:
    """Return how often alerts caused by mood were needed, against how strong they were read.

    What other rules open needs a person however mild it sounds: it would say nothing of `strong`.
    """
    told = [
        (float(alert.message.scores["strong"]), alert.needed)
        for alert in alerts
        if alert.rule in MOOD_RULES and alert.needed is not None
        if alert.message is not None and alert.message.scores
    ]
    if not told:
        return None
    strong, needed = np.array([s for s, _ in told]), np.array([bool(n) for _, n in told])
    count = max(1, min(ev.BINS, len(told) // _A_BIN))
    bins = ev.reliability(strong, needed, count)
    chance = ev.error_by_chance(strong, np.random.default_rng(SEED), bins=count)
    points = []
    for n, said, right in zip(bins.count, bins.sure, bins.right, strict=True):
        low, high = ev.wilson(round(float(n * right)), int(n))
        point = {"rows": int(n), "said": plain(said), "right": plain(right)}
        points.append(point | {"low": plain(low), "high": plain(high)})
    error = plain(float(bins.error))
    return {"rows": len(told), "error": error, "by_chance": plain(chance), "bins": points}


# -- alerts a day --------------------------------------------------------------------------------


def _thresholds(
    kept: Judged,
    alerts: Sequence[Alert],
    policy: Policy,
    settings: Settings,
    budget: float | None,
) -> dict[str, Any]:
    """Return what each threshold of strong would bring, and the one for the budget."""
    heard = [row for row in kept.decisions if row.scores]
    levels = np.array([_level(row.scores or {}, row.at, policy) for row in heard])
    at = np.array([row.at for row in heard], float)
    who = np.array([row.conversation_id for row in heard])
    rest = np.array([_rest(row, kept, settings) for row in heard], float)
    days = max(1.0, float(np.ptp(at)) / DAY) if len(at) else 1.0
    others = _others(alerts, settings) / days
    of = {row.inbox_id: level for row, level in zip(heard, levels, strict=True)}
    spikes = [
        (of.get(alert.message.inbox_id, _NEVER), alert)
        for alert in alerts
        if alert.rule == "spike" and alert.message is not None
    ]

    def a_day(threshold: float) -> float:
        return ev.alerts(at, who, levels, rest, threshold) / days

    steps = []
    for step in sorted({*STEPS, policy.strong}):
        clear = [alert for level, alert in spikes if level >= step >= policy.strong]
        steps.append({"threshold": step, "alerts_a_day": plain(a_day(step))} | _verdicts(clear))
    told: dict[str, Any] = {"days": plain(days), "others_a_day": plain(others), "steps": steps}
    if budget is not None:
        rates = np.array([a_day(step) + others for step in _FINE])
        chosen = ev.within_budget(np.array(_FINE), rates, budget)
        rate = math.nan if math.isnan(chosen) else float(rates[_FINE.index(chosen)])
        told["budget"] = {"alerts_a_day": budget, "threshold": plain(chosen), "gives": plain(rate)}
    return told


def _others(alerts: Sequence[Alert], settings: Settings) -> int:
    """Count alerts of other rules than spike; those of a dry run rest as a case would."""
    others = [alert for alert in alerts if alert.rule != "spike"]
    held = [alert for alert in others if alert.case is None]
    rest = np.full(len(held), 60.0 * settings.escalation.refractory_minutes)
    at = np.array([alert.at for alert in held], float)
    who = np.array([alert.conversation_id for alert in held])
    return len(others) - len(held) + ev.alerts(at, who, np.ones(len(held)), rest, 0.0)


def _level(kept: Mapping[str, Any], at: float, policy: Policy) -> float:
    """Return the highest threshold of strong at which this message alone still is a spike.

    The rule itself is asked, at a threshold that every message passes and at one that none does.
    """
    scores = scores_of(kept)
    calm = Mood()
    situation = Situation(scores=scores, triggers=Triggers(), before=calm, after=calm, at=at)
    if _spikes(situation, policy, _ALWAYS):
        return _ALWAYS
    return scores.strong if _spikes(situation, policy, _NEVER) else _NEVER


def scores_of(kept: Mapping[str, Any]) -> Scores:
    """Return the scores of a stored decision; what other versions kept beside them is ignored."""
    return Scores(**{name: value for name, value in kept.items() if name in _SCORES})


def _spikes(situation: Situation, policy: Policy, strong: float) -> bool:
    trace = decide(situation, replace(policy, strong=strong)).trace
    return any(result.rule == "spike" and result.fired for result in trace)


def _rest(row: Decided, kept: Judged, settings: Settings) -> float:
    """Return how long after this message its conversation would open no other case, seconds."""
    case = kept.cases.get(row.case_id or 0)
    ended = row.at if case is None else max(row.at, case.resolved_at or math.inf)
    return float(ended - row.at + 60.0 * settings.escalation.refractory_minutes)
