"""A linear probe: what a model's hidden state says, read by a ridge logistic regression.

The state is the one that the label scores are made from: after the last norm, at the token where
the label would begin. A probe sees all of it, where the scores see three directions of it (Alain
and Bengio 2016). So it needs labelled rows, and tells nothing of other prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from core.evaluation import Array, Floats, Ints
from core.message import Tagging

Heads = Mapping[str, Floats]  # name -> weights (size + 1, kinds), the last row the bias
LABEL: Final = "label"
YES_NO: Final = ("strong", "wants_human", "threat_to_leave", "crisis")
_RIDGES: Final = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # for each row and weight; chosen by folds
_FOLDS: Final = 4
_STEPS: Final = 300


def read(weights: Floats, states: Floats) -> Floats:
    """Return the probabilities (n, kinds) that one head tells of states (n, size)."""
    z = states @ weights[:-1] + weights[-1]
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


def probed(tagging: Tagging, heads: Heads, state: Floats) -> Tagging:
    """Return the tag with what the heads read in the state (size,) it was made from."""
    if not heads:
        return tagging
    made = {**tagging.made, "probe": list(heads)}
    probs = tagging.probs
    told: dict[str, float] = {}
    for name, weights in heads.items():
        found = read(weights, np.asarray(state, np.float64)[None])[0].tolist()
        if name == LABEL:
            probs = dict(zip(tagging.probs, found, strict=True))
        else:
            told[name] = found[1]
    return replace(
        tagging,
        probs=probs,
        made=made,
        strong=told.get("strong", tagging.strong),
        wants_human=told.get("wants_human", tagging.wants_human),
        threat_to_leave=told.get("threat_to_leave", tagging.threat_to_leave),
        crisis=told.get("crisis", tagging.crisis),
    )


def fit(states: Floats, truth: Ints, kinds: int) -> Floats:
    """Return the weights (size + 1, kinds) for labels (n,), with the ridge that folds like best."""
    folds = np.arange(len(truth)) % _FOLDS
    losses = [
        sum(
            _loss(
                _fit(states[folds != f], truth[folds != f], kinds, ridge), states, truth, folds == f
            )
            for f in range(_FOLDS)
        )
        for ridge in _RIDGES
    ]
    return _fit(states, truth, kinds, _RIDGES[int(np.argmin(losses))])


def _loss(weights: Floats, states: Floats, truth: Ints, those: Array) -> float:
    told = read(weights, states[those])
    return float(-np.log(np.maximum(told[np.arange(len(told)), truth[those]], 1e-15)).sum())


def _fit(states: Floats, truth: Ints, kinds: int, ridge: float) -> Floats:
    """Fit on standardized states, with steps by a bound on the curvature that is the same always.

    The Hessian of a softmax is at most half of X'X for each kind (Böhning 1992), so one
    factorization serves every step and none leads up.
    """
    n = len(truth)
    mean, spread = states.mean(axis=0), states.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    x = np.hstack([(states - mean) / spread, np.ones((n, 1))])
    y = np.eye(kinds)[truth]
    hold = np.full(x.shape[1], ridge)
    hold[-1] = 1e-6
    turn = np.linalg.inv(x.T @ x / (2 * n) + np.diag(hold))
    weights = np.zeros((x.shape[1], kinds))
    for _ in range(_STEPS):
        z = x @ weights
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        step = turn @ (x.T @ (p - y) / n + hold[:, None] * weights)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    own = weights[:-1] / spread[:, None]
    return np.vstack([own, weights[-1] - mean @ own])
