"""Calibration: a temperature and a bias for each label, so that 0.8 is right eight times in ten.

A model's label scores are log-probabilities s. What is told instead is softmax(s / T + b), with T
and b found on labelled rows by least log loss (temperature scaling, Guo et al. 2017, with biases:
Platt 1999). Where nobody has labelled rows yet, b is what takes the model's own leaning away: how
it scores a message that says nothing (contextual calibration, Zhao et al. 2021).

One calibration belongs to one model, one prompt version and one instrument, for each of these
changes what a score means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from core.evaluation import Array, Floats, Ints, accuracy, confusion, macro_f1, reliability
from core.message import Tagging

EMPTY: Final = ("", "N/A", "…")  # messages that say nothing
FLOOR: Final = -12.0  # log-probability of a label that the model did not name at all
COLDEST, HOTTEST = 0.02, 50.0  # temperatures
_STIFF: Final = 1.0  # ridge on each bias: as a normal prior of one nat
_STEADY: Final = 0.1  # and on 1/T around 1, so that rows that are all right end somewhere
_STEPS: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """How good probabilities are on labelled rows. Shares are 0..1, nan where rows cannot tell."""

    log_loss: float  # nats
    ece: float
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What is done to the label scores of one instrument, and what it was found on.

    `rows` 0: found on empty messages alone, and then there are no figures.
    """

    temperature: float
    bias: Mapping[str, float]  # by label, in nats
    made_at: float  # seconds since the epoch
    rows: int = 0
    before: Figures | None = None  # on rows that the fit has not seen
    after: Figures | None = None

    def apply(self, tagging: Tagging) -> Tagging:
        """Return the tag with calibrated probabilities; the raw ones stay in `made`."""
        scores = evidence(tagging)
        warm = {k: s / self.temperature + self.bias.get(k, 0.0) for k, s in scores.items()}
        made = {
            **tagging.made,
            "raw_probs": dict(tagging.probs),
            "calibrated": {"temperature": self.temperature, "bias": dict(self.bias)},
        }
        probs = {label: math.exp(log) for label, log in _settled(warm).items()}
        return replace(tagging, probs=probs, made=made)


def evidence(tagging: Tagging) -> dict[str, float]:
    """Return the log-probability of each label of a raw tag, the labels together being all.

    A label without any probability, as a server's short list leaves some, gets FLOOR.
    """
    told: Mapping[str, Any] = tagging.made.get("label_logprobs") or {}
    found = {
        label: told[label] if label in told else (math.log(p) if p > 0 else None)
        for label, p in tagging.probs.items()
    }
    known = _settled({label: log for label, log in found.items() if log is not None})
    least = min([FLOOR, *known.values()])
    return {label: known.get(label, least) for label in found}


def _settled(logs: Mapping[str, float]) -> dict[str, float]:
    """Shift log-probabilities so that their probabilities sum to 1."""
    most = max(logs.values())
    whole = most + math.log(math.fsum(math.exp(log - most) for log in logs.values()))
    return {label: log - whole for label, log in logs.items()}


# -- finding it ----------------------------------------------------------------------------------


def table(tags: Sequence[Tagging], labels: Sequence[str]) -> Floats:
    """Return the scores of raw tags, (n, labels)."""
    rows = [evidence(tag) for tag in tags]
    return np.array([[row[label] for label in labels] for row in rows], np.float64)


def leaning(empty: Floats) -> Floats:
    """Return the bias (labels,) that evens out how empty messages (n, labels) were scored."""
    mean = empty.mean(axis=0)
    return np.asarray(mean.mean() - mean, np.float64)


def fit(scores: Floats, truth: Ints, prior: Floats | None = None) -> tuple[float, Floats]:
    """Return temperature and biases (k,) of least log loss on scores (n, k) of labels (n,).

    The biases are held, loosely, to `prior` or to 0, whichever explains the rows better; so on
    these very rows the loss is never more than without any calibration.
    """
    zero = np.zeros(scores.shape[1])
    starts = [zero] if prior is None else [zero, prior]
    found = [_least(np.asarray(scores, np.float64), truth, start) for start in starts]
    _, slope, bias = min(found, key=lambda one: one[0])
    return 1.0 / slope, bias - bias.mean()


def _least(scores: Floats, truth: Ints, prior: Floats) -> tuple[float, float, Floats]:
    """Minimize the penalized loss by Newton's method; it is convex in 1/T and b.

    Returns the minimum, 1/T, and b. Steps that do not lead down are halved, so none leads up.
    """
    n, k = scores.shape
    y = np.eye(k)[truth]

    def cost(x: Floats) -> float:
        logs = _log_softmax(x[0] * scores + x[1:])
        drift = _STEADY * float(x[0] - 1) ** 2 + _STIFF * float(((x[1:] - prior) ** 2).sum())
        return drift / 2 - float(logs[np.arange(n), truth].sum())

    x = np.concatenate(([1.0], prior))
    least, gained = cost(x), math.inf
    for _ in range(_STEPS):
        if gained <= 1e-10 * (1 + abs(least)):
            break
        step, gained = _newton(scores, y, x, prior), 0.0
        for size in (1.0, 0.5, 0.25, 0.1, 0.02, 1e-3, 1e-5):
            there = x - size * step
            there[0] = min(max(there[0], 1 / HOTTEST), 1 / COLDEST)
            if (reached := cost(there)) < least:
                gained, least, x = least - reached, reached, there
                break
    return least, float(x[0]), x[1:]


def _newton(scores: Floats, y: Floats, x: Floats, prior: Floats) -> Floats:
    """Return the Newton step from x = (1/T, b); 1/T stays where it would leave its bounds."""
    p = np.exp(_log_softmax(x[0] * scores + x[1:]))
    mean = (p * scores).sum(axis=1, keepdims=True)
    gradient = np.concatenate(([((p - y) * scores).sum()], (p - y).sum(axis=0)))
    gradient += np.concatenate(([_STEADY * (x[0] - 1)], _STIFF * (x[1:] - prior)))
    curve = np.empty((len(x), len(x)))
    curve[0, 0] = (p * (scores - mean) ** 2).sum() + _STEADY
    curve[0, 1:] = curve[1:, 0] = (p * (scores - mean)).sum(axis=0)
    curve[1:, 1:] = np.diag(p.sum(axis=0) + _STIFF) - p.T @ p
    step = np.asarray(np.linalg.solve(curve, gradient), np.float64)
    if not 1 / HOTTEST <= x[0] - step[0] <= 1 / COLDEST and x[0] in (1 / HOTTEST, 1 / COLDEST):
        step = np.concatenate(([0.0], np.linalg.solve(curve[1:, 1:], gradient[1:])))
    return step


def _log_softmax(z: Floats) -> Floats:
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def probabilities(scores: Floats, temperature: float, bias: Array) -> Floats:
    """Return softmax(scores / T + b), (n, k)."""
    return np.exp(_log_softmax(scores / temperature + np.asarray(bias, np.float64)))


def judge(probs: Floats, truth: Ints) -> Figures:
    """Return how good probabilities (n, k) are for labels (n,)."""
    said, k = probs.argmax(axis=1), probs.shape[1]
    counts = confusion(truth, said, k)
    picked = np.maximum(probs[np.arange(len(truth)), truth], 1e-15)
    return Figures(
        log_loss=float(-np.log(picked).mean()),
        ece=float(reliability(probs.max(axis=1), said == truth).error),
        accuracy=float(accuracy(counts)),
        macro_f1=float(macro_f1(counts)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A fit on one half of the rows, judged on the other."""

    temperature: float
    bias: dict[str, float]
    rows: int  # fitted on
    before: Figures
    after: Figures
    judged: Floats = field(repr=False)  # calibrated probabilities of the other half, (m, k)

    @property
    def won(self) -> bool:
        """Whether rows that the fit has not seen are told better with it."""
        return self.after.log_loss < self.before.log_loss

    def calibration(self, made_at: float) -> Calibration:
        """Return what is kept of it."""
        return Calibration(
            temperature=self.temperature,
            bias=self.bias,
            made_at=made_at,
            rows=self.rows,
            before=self.before,
            after=self.after,
        )


def attempt(
    labels: Sequence[str], scores: Floats, truth: Ints, kept_out: Array, prior: Floats
) -> Trial:
    """Fit on the rows that are not `kept_out` (n,) and judge on those that are."""
    own = ~np.asarray(kept_out, bool)
    temperature, bias = fit(scores[own], truth[own], prior)
    told = probabilities(scores[~own], temperature, bias)
    return Trial(
        temperature=temperature,
        bias=dict(zip(labels, bias.tolist(), strict=True)),
        rows=int(own.sum()),
        before=judge(probabilities(scores[~own], 1.0, np.zeros(len(labels))), truth[~own]),
        after=judge(told, truth[~own]),
        judged=told,
    )
