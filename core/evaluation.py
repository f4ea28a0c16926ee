"""Figures on labelled rows and on verdicts: pure functions of numpy arrays.

Every share is a fraction, 0..1. What the data cannot tell (no row of a class, nothing to divide
by) is nan, never a guess. Functions of counts take any number of leading axes, written `...`, so
that one formula serves the data and its thousand resamplings alike. Randomness is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Array = NDArray[Any]

BINS: Final = 15
_CELLS: Final = 2_000_000  # of one block of weights: bounds memory, not results
_NORMAL: Final = 1.959963984540054  # 97.5 % of a normal distribution lie below


def _ratio(above: Array, below: Array) -> Floats:
    """Divide; nan where there is nothing to divide by."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    out: Floats = np.full(below.shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


# -- classes -------------------------------------------------------------------------------------


def confusion(truth: Array, said: Array, kinds: int) -> Ints:
    """Return how often each class (rows) was heard as each (columns), (kinds, kinds).

    `truth` and `said` (n,) hold classes 0..kinds-1.
    """
    cells = np.asarray(truth, np.int64) * kinds + np.asarray(said, np.int64)
    return np.bincount(cells, minlength=kinds * kinds).reshape(kinds, kinds).astype(np.int64)


def joint(truth: Array, first: Array, second: Array, kinds: int) -> Ints:
    """Return how often each class was heard as this by one tool and as that by another, (k, k, k).

    Summed over the last axis it is the confusion of the first tool, over the one before that of
    the second. Resampled together, both see the same rows: what differs is the tools.
    """
    cells = (np.asarray(truth, np.int64) * kinds + np.asarray(first, np.int64)) * kinds
    counts = np.bincount(cells + np.asarray(second, np.int64), minlength=kinds**3)
    return counts.reshape(kinds, kinds, kinds).astype(np.int64)


def accuracy(counts: Array) -> Floats:
    """Return the share on the diagonal of confusions (..., k, k), (...)."""
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def f1(counts: Array) -> Floats:
    """Return 2 TP / (2 TP + FP + FN) of each class of confusions (..., k, k), (..., k).

    nan for a class that no row has (van Rijsbergen's measure, 1979, chapter 7).
    """
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    have, said = counts.sum(axis=-1), counts.sum(axis=-2)
    scores = _ratio(2 * hit, have + said)
    return np.where(have > 0, scores, np.nan)


def macro_f1(counts: Array) -> Floats:
    """Return the mean F1 of all classes, (...); nan while one of them has no row."""
    return np.asarray(f1(counts).mean(axis=-1))


def precision_recall(counts: Array) -> tuple[Floats, Floats, Floats]:
    """Return precision, recall and F1 of the second class of confusions (..., 2, 2)."""
    hit = counts[..., 1, 1]
    return (
        _ratio(hit, counts[..., :, 1].sum(axis=-1)),
        _ratio(hit, counts[..., 1, :].sum(axis=-1)),
        f1(counts)[..., 1],
    )


# -- rankings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Rows from the highest score down. Rows of one score stay together: no order breaks a tie.

    `values` (m,) are the distinct scores, falling; row `order[i]` (n,) is the i-th from the top;
    `starts` (m,) is where each value begins in that order; `truth` (n,) is in it.
    """

    values: Floats
    order: Ints
    starts: Ints
    truth: Bools

    @classmethod
    def of(cls, truth: Array, score: Array) -> Ranking:
        """Rank rows by `score` (n,) against yes or no in `truth` (n,)."""
        score = np.asarray(score, np.float64)
        order = np.argsort(-score, kind="stable").astype(np.int64)
        falling = score[order]
        starts = np.flatnonzero(np.diff(falling, prepend=np.inf) != 0).astype(np.int64)
        return cls(falling[starts], order, starts, np.asarray(truth, bool)[order])

    def above(self, weights: Array | None = None) -> tuple[Floats, Floats]:
        """Return the yes rows and the no rows at or above each value, (..., m) each.

        `weights` (..., n) says how often each row counts, in the rows' own order.
        """
        if not len(self.order):
            nothing = np.zeros((*(() if weights is None else weights.shape[:-1]), 1))
            return nothing, nothing
        counted = np.ones(len(self.order)) if weights is None else weights[..., self.order]
        sides = (np.where(self.truth, counted, 0), np.where(self.truth, 0, counted))
        yes, no = (np.add.reduceat(s, self.starts, axis=-1).cumsum(axis=-1) for s in sides)
        return yes.astype(float), no.astype(float)


def auroc(yes: Floats, no: Floats) -> Floats:
    """Return the area under the ROC curve, (...), from counts of `Ranking.above`.

    The chance that a yes row outranks a no row, a tie counting half (Hanley and McNeil 1982).
    """
    width = np.diff(no, prepend=0.0, axis=-1)
    height = yes - np.diff(yes, prepend=0.0, axis=-1) / 2
    return _ratio((width * height).sum(axis=-1), yes[..., -1] * no[..., -1])


def average_precision(yes: Floats, no: Floats) -> Floats:
    """Return the precision at each value, weighted by the recall it adds, (...).

    No interpolation (Manning, Raghavan and Schütze 2008, chapter 8.4); nan without a yes or a no.
    """
    gained = np.diff(yes, prepend=0.0, axis=-1)
    total = np.nansum(gained * _ratio(yes, yes + no), axis=-1)
    return _ratio(np.where(no[..., -1] > 0, total, np.nan), yes[..., -1])


def recall_at(yes: Floats, no: Floats, share: float) -> Floats:
    """Return the recall at the lowest value with at most `share` false alarms, (...).

    A false alarm's share is of the no rows; 0 where even the highest value raises more.
    """
    allowed = np.floor(share * no[..., -1:] + 1e-9)
    found = np.where(no <= allowed, yes, 0.0).max(axis=-1)
    return _ratio(np.where(no[..., -1] > 0, found, np.nan), yes[..., -1])


def threshold_at(ranking: Ranking, share: float) -> float:
    """Return the value of `recall_at`; nan where even the highest raises more."""
    _, no = ranking.above()
    within = np.flatnonzero(no <= math.floor(share * no[-1] + 1e-9))
    return float(ranking.values[within[-1]]) if len(within) and len(ranking.values) else math.nan


def recall_at_precision(yes: Floats, no: Floats, share: float) -> Floats:
    """Return the greatest recall at a precision of at least `share`, (...); 0 where none has it."""
    good = _ratio(yes, yes + no) >= share
    found = np.where(good, yes, 0.0).max(axis=-1)
    return _ratio(np.where(no[..., -1] > 0, found, np.nan), yes[..., -1])


def best_f1(ranking: Ranking) -> tuple[float, float]:
    """Return the best F1 that one threshold reaches on these very rows, and that threshold."""
    yes, no = ranking.above()
    if not len(ranking.values) or not yes[-1] or not no[-1]:
        return math.nan, math.nan
    scores = 2 * yes / (yes + no + yes[-1])
    best = int(scores.argmax())
    return float(scores[best]), float(ranking.values[best])


def curve(yes: Floats, no: Floats, points: int = 120) -> tuple[Floats, Floats]:
    """Return recall and precision along one ranking (m,), thinned to about `points`, for eyes."""
    if not yes[-1]:
        return np.zeros(0), np.zeros(0)
    recall, precision = yes / yes[-1], _ratio(yes, yes + no)
    grid = np.linspace(recall[0], 1.0, points)
    at = np.unique(np.append(np.searchsorted(recall, grid), 0))
    return recall[at], precision[at]


# -- calibration ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Rows by how sure they were, about equally many in each bin that is not empty.

    `count`, `sure` (mean) and `right` (share) are (..., bins).
    """

    count: Floats
    sure: Floats
    right: Floats

    @property
    def error(self) -> Floats:
        """The expected calibration error, (...): the mean gap between sure and right.

        After Naeini, Cooper and Hauskrecht 2015, on bins of equal mass (Nguyen and O'Connor 2015).
        """
        gaps = np.where(self.count > 0, np.abs(self.sure - self.right), 0.0)
        return _ratio((self.count * gaps).sum(axis=-1), self.count.sum(axis=-1))


def bins_of(sure: Array, bins: int = BINS) -> Ints:
    """Return the bin 0..bins-1 of each row, (n,), by the rank of `sure` (n,).

    Equal values share the bin of their middle rank, so that the rows' order changes nothing.
    """
    if not len(sure):
        return np.zeros(0, np.int64)
    _, which, counts = np.unique(sure, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    return np.minimum((middle * bins / len(sure)).astype(np.int64), bins - 1)[which]


def reliability(sure: Array, right: Array, bins: int = BINS) -> Bins:
    """Compare how sure rows were (n,) with whether they were right (..., n)."""
    which = bins_of(sure, bins)
    order = np.argsort(which, kind="stable")
    _, starts = np.unique(which[order], return_index=True)
    right = np.asarray(right, float)[..., order]
    if not len(order):
        nothing = np.zeros((*right.shape[:-1], 0))
        return Bins(nothing, nothing, nothing)
    count = np.diff(np.append(starts, len(order))).astype(float)
    mean = np.add.reduceat(np.asarray(sure, float)[order], starts) / count
    share = np.add.reduceat(right, starts, axis=-1) / count
    shape = share.shape
    return Bins(np.broadcast_to(count, shape), np.broadcast_to(mean, shape), share)


def error_by_chance(
    sure: Array, rng: np.random.Generator, repeats: int = 100, bins: int = BINS
) -> float:
    """Return the calibration error that perfect calibration would show on so many rows, on average.

    Each row is right with the probability `sure` (n,) that it gave (Bröcker and Smith 2007).
    """
    sure = np.asarray(sure, float)
    found = [
        reliability(sure, rng.random((block, len(sure))) < sure, bins).error
        for block in _blocks(len(sure), repeats)
    ]
    return float(np.concatenate(found).mean()) if len(sure) else math.nan


# -- how sure the figures are --------------------------------------------------------------------


def resampled(counts: Array, repeats: int, rng: np.random.Generator) -> Ints:
    """Return `repeats` bootstrap samples of a table of counts, (repeats, *counts.shape).

    Drawing n rows with replacement is one multinomial draw over the cells they lie in (Efron 1979),
    so this is the bootstrap over rows, at a cost that the number of rows does not touch.
    """
    total = int(counts.sum())
    if not total:
        return np.zeros((repeats, *counts.shape), np.int64)
    draws = rng.multinomial(total, counts.ravel() / total, size=repeats)
    return draws.reshape(repeats, *counts.shape).astype(np.int64)


def weights(n: int, repeats: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield how often each of n rows is in each bootstrap sample, blocks (some, n)."""
    for block in _blocks(n, repeats):
        drawn = rng.integers(n, size=(block, n)) + np.arange(block)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=block * n).reshape(block, n).astype(np.int64)


def _blocks(n: int, repeats: int) -> Iterator[int]:
    size = max(1, _CELLS // max(1, n))
    for start in range(0, repeats if n else 0, size):
        yield min(size, repeats - start)


def interval(samples: Array) -> tuple[float, float]:
    """Return the middle 95 % of samples (repeats,): the percentile interval (Efron 1981)."""
    known = np.asarray(samples, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927): honest for 5 of 5, too."""
    if not n:
        return math.nan, math.nan
    p, z2 = hits / n, _NORMAL**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


# -- alerts --------------------------------------------------------------------------------------


def alerts(at: Array, who: Array, level: Array, rest: Array, threshold: float) -> int:
    """Return how many cases messages would open when each fires from `threshold` on.

    `at` (n,) seconds; `who` (n,) the conversation; `level` (n,) the highest threshold at which a
    message still fires; `rest` (n,) seconds in which its case lets the conversation open no other.
    """
    fired = np.flatnonzero(np.asarray(level) >= threshold)
    fired = fired[np.argsort(np.asarray(at)[fired], kind="stable")]
    until: dict[Any, float] = {}
    count = 0
    for i in fired:
        person, time = who[i], float(at[i])
        if time >= until.get(person, -math.inf):
            until[person] = time + float(rest[i])
            count += 1
    return count


def within_budget(thresholds: Array, rates: Array, budget: float) -> float:
    """Return the lowest threshold from which on every rate is within the budget, or nan.

    `thresholds` (m,) rise; `rates` (m,) are the alerts of each, in the unit of `budget`.
    """
    over = np.flatnonzero(np.asarray(rates) > budget)
    first = int(over[-1]) + 1 if len(over) else 0
    return float(thresholds[first]) if first < len(thresholds) else math.nan
