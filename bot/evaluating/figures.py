"""The figures of one tool on labelled rows, as plain dictionaries for JSON, tables and pictures.

A figure is {"value", "low", "high"}: fractions, with the middle 95 % of resampled rows; None where
the rows cannot tell. Pooled figures count rows, not sources.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bot.evaluating.hearing import RULES, Heard
from bot.evaluating.rows import FLAGS, Row
from core import evaluation as ev
from core.engine.embedded.table import CLASSES
from core.evaluation import Array, Bools, Floats, Ranking

SEED = 20
REPEATS = 1000  # of figures that a table of counts tells
RANK_REPEATS = 300  # of figures that need every row again
SHARES = (0.01, 0.05)  # false alarms at which recall is told
PRECISION = 0.8  # and the precision

Figure = dict[str, float | None]


def figures(rows: Sequence[Row], heard: Heard) -> dict[str, Any]:
    """Return everything there is to say about one tool. Deterministic."""
    kept = [rows[i] for i in heard.kept]
    return {
        "model": heard.name,
        "why": heard.why,
        "classes": list(heard.classes),
        "rows": len(kept),
        "failed": len(rows) - len(kept),
        "ms": {"cpu": heard.cpu_ms, "wall": heard.wall_ms, "alone": heard.alone_ms},
        "groups": _groups(kept, heard),
        "reliability": _reliability(kept, heard),
        "intensity": _intensity(kept, heard),
        "heads": _heads(kept, heard),
    }


def plain(number: float) -> float | None:
    """Return a number for JSON: None for nan."""
    return None if math.isnan(number) else round(float(number), 6)


def _figure(value: Any, samples: Any = None) -> Figure:  # noqa: ANN401 - arrays of no axis
    return _bounded(float(value), (math.nan, math.nan) if samples is None else ev.interval(samples))


# -- classes -------------------------------------------------------------------------------------


def split(rows: Sequence[Row]) -> list[tuple[str, str, Bools]]:
    """Return (kind, name, which rows): all, then languages, then sources, the largest first."""
    groups = [("all", "all", np.ones(len(rows), bool))]
    for kind in ("lang", "source"):
        of = np.array([getattr(row, kind) for row in rows], object)
        sizes = Counter(str(name) for name in of if name)
        names = sorted(sizes, key=lambda name: (-sizes[name], name))
        groups += [(kind, name, np.asarray(of == name, bool)) for name in names]
    return groups


def _groups(rows: Sequence[Row], heard: Heard) -> list[dict[str, Any]]:
    truth = _truth(rows, heard.classes)
    return [
        {"kind": kind, "name": name} | _classes(truth, heard, of & (truth >= 0))
        for kind, name, of in split(rows)
        if np.any(of & (truth >= 0))
    ]


def _truth(rows: Sequence[Row], classes: Sequence[str]) -> Array:
    places = {name: i for i, name in enumerate(classes)}
    return np.array([places.get(row.label or "", -1) for row in rows], np.int64)


def _classes(truth: Array, heard: Heard, of: Bools) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    kinds = len(heard.classes)
    counts = ev.confusion(truth[of], heard.said[of], kinds)
    drawn = ev.resampled(counts, REPEATS, rng)
    found: dict[str, Any] = {
        "rows": int(of.sum()),
        "accuracy": _figure(ev.accuracy(counts), ev.accuracy(drawn)),
        "f1": _figure(ev.macro_f1(counts), ev.macro_f1(drawn)),
        "f1_two": _figure(math.nan),
        "per_class": [plain(x) for x in ev.f1(counts).tolist()],
        "ece": _figure(math.nan),
        "confusion": counts.tolist(),
    }
    if heard.classes == CLASSES:
        polar = of & (truth != 1)
        two = ev.confusion(truth[polar] // 2, heard.two[polar], 2)
        again = ev.resampled(two, REPEATS, rng)
        found["f1_two"] = _figure(ev.macro_f1(two), ev.macro_f1(again))
    if heard.sure is not None:
        bins = ev.reliability(heard.sure[of], heard.said[of] == truth[of])
        found["ece"] = _figure(bins.error)
    return found


def against(rows: Sequence[Row], first: Heard, other: Heard) -> dict[str, Figure] | None:
    """Return by how much macro-F1 of `other` is above that of `first`, on the rows both heard.

    Both are resampled together, so a small difference shows where the intervals of each overlap.
    None where they do not know the same classes.
    """
    if first.classes != other.classes:
        return None
    _, ours, theirs = np.intersect1d(first.kept, other.kept, return_indices=True)
    truth = _truth([rows[i] for i in first.kept[ours]], first.classes)
    of = truth >= 0
    said = (first.said[ours][of], other.said[theirs][of])
    found = {"f1": _gap(truth[of], *said, len(first.classes)), "f1_two": _figure(math.nan)}
    if first.classes == CLASSES:
        polar = of & (truth != 1)
        two = (first.two[ours][polar], other.two[theirs][polar])
        found["f1_two"] = _gap(truth[polar] // 2, *two, 2)
    return found


def _gap(truth: Array, first: Array, second: Array, kinds: int) -> Figure:
    counts = ev.joint(truth, first, second, kinds)
    drawn = ev.resampled(counts, REPEATS, np.random.default_rng(SEED))
    gaps = [ev.macro_f1(c.sum(axis=-2)) - ev.macro_f1(c.sum(axis=-1)) for c in (counts, drawn)]
    return _figure(*gaps)


def _reliability(rows: Sequence[Row], heard: Heard) -> dict[str, Any] | None:
    """Return the bins of the class probabilities, and the error that chance alone would show."""
    truth = _truth(rows, heard.classes)
    of = truth >= 0
    if heard.sure is None or not of.any():
        return None
    return _bins(heard.sure[of], heard.said[of] == truth[of])


def _bins(sure: Floats, right: Array) -> dict[str, Any]:
    bins = ev.reliability(sure, right)
    chance = ev.error_by_chance(sure, np.random.default_rng(SEED))
    return {
        "error": plain(float(bins.error)),
        "by_chance": plain(chance),
        "bins": [
            {"rows": int(n), "said": plain(s), "right": plain(r)}
            for n, s, r in zip(bins.count, bins.sure, bins.right, strict=True)
        ],
    }


def _intensity(rows: Sequence[Row], heard: Heard) -> dict[str, Any] | None:
    """Return how the signed intensity goes with the graded one: correlation and mean gap."""
    of = np.array([row.intensity is not None for row in rows], bool)
    if of.sum() < 3:
        return None
    graded = np.array([row.intensity for row in rows if row.intensity is not None])
    said = heard.intensity[of]
    spread = float(graded.std() * said.std())
    pearson = float(np.mean((graded - graded.mean()) * (said - said.mean()))) / (spread or math.nan)
    gap = float(np.abs(graded - said).mean())
    return {"rows": int(of.sum()), "correlation": plain(pearson), "mean_gap": plain(gap)}


# -- strong and the triggers ---------------------------------------------------------------------


def _heads(rows: Sequence[Row], heard: Heard) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for head in FLAGS:
        truth = np.array([row.flags.get(head, -1) for row in rows], np.int64)
        if head not in heard.heads or not (truth >= 0).any():
            continue
        groups = [
            {"kind": kind, "name": name} | _ranked(truth, heard.heads[head], of, kind)
            for kind, name, of in split(rows)
            if np.any(truth[of] == 1)
        ]
        if not groups:
            continue
        found[head] = {"by": heard.by.get(head, head), "groups": groups}
        found[head] |= _whole(truth, heard, head)
    return found


def _ranked(truth: Array, score: Floats, of: Bools, kind: str) -> dict[str, Any]:
    """Return how well a score puts yes above no; without intervals for a single source."""
    of = of & (truth >= 0)
    ranking = Ranking.of(truth[of] == 1, score[of])
    samples: dict[str, list[Floats]] = {}
    if kind != "source":
        rng = np.random.default_rng(SEED)
        for block in ev.weights(int(of.sum()), RANK_REPEATS, rng):
            for name, values in _told(*ranking.above(block)).items():
                samples.setdefault(name, []).append(values)
    return {"rows": int(of.sum()), "yes": int((truth[of] == 1).sum())} | {
        name: _figure(value, np.concatenate(samples[name]) if samples else None)
        for name, value in _told(*ranking.above()).items()
    }


def _told(yes: Floats, no: Floats) -> Mapping[str, Floats]:
    return {
        "auroc": ev.auroc(yes, no),
        "ap": ev.average_precision(yes, no),
        **{f"recall_at_{share:.0%}": ev.recall_at(yes, no, share) for share in SHARES},
        "recall_at_precision_80%": ev.recall_at_precision(yes, no, PRECISION),
    }


def _whole(truth: Array, heard: Heard, head: str) -> dict[str, Any]:
    """Return what is told of all rows together: thresholds, the curve, calibration, the rule."""
    of = truth >= 0
    yes, score = truth[of] == 1, heard.heads[head][of]
    ranking = Ranking.of(yes, score)
    recall, precision = ev.curve(*ranking.above())
    pairs = zip(recall.tolist(), precision.tolist(), strict=True)
    best, threshold = ev.best_f1(ranking)
    told: dict[str, Any] = {
        "best_f1": {"value": plain(best), "threshold": plain(threshold)},
        "thresholds": {f"{s:.0%}": plain(ev.threshold_at(ranking, s)) for s in SHARES},
        "curve": [[round(r, 4), round(p, 4)] for r, p in pairs],
        "reliability": _bins(score, yes) if head not in heard.by else None,
        "rule": None,
    }
    rule = RULES.get(head, "")
    if rule in heard.fired:
        told["rule"] = {"name": rule} | _decided(yes, heard.fired[rule][of])
    return told


def _decided(yes: Array, fired: Array) -> dict[str, Any]:
    """Return how often a rule was right; shares have Wilson's interval, true for 5 of 5, too."""
    counts = ev.confusion(yes, fired, 2)
    precision, recall, f1 = ev.precision_recall(counts)
    hit, said, have = int(counts[1, 1]), int(counts[:, 1].sum()), int(counts[1].sum())
    again = ev.precision_recall(ev.resampled(counts, REPEATS, np.random.default_rng(SEED)))[2]
    return {
        "fired": said,
        "precision": _bounded(float(precision), ev.wilson(hit, said)),
        "recall": _bounded(float(recall), ev.wilson(hit, have)),
        "f1": _figure(f1, again),
    }


def _bounded(value: float, bounds: tuple[float, float]) -> Figure:
    return {"value": plain(value), "low": plain(bounds[0]), "high": plain(bounds[1])}
