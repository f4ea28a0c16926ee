"""Figures of a tagger on labelled rows, and the lexicon tools it is compared with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded.rows import Row
from core.engine.embedded.table import CLASSES

Array = NDArray[np.float64]
TRAINED = ("goemotions", "vader", "xed", "cped")  # families with class labels in train/


def seen_in_training(source: str) -> bool:
    """Say whether rows of this source's family were trained on."""
    return source.split("_", maxsplit=1)[0] in TRAINED


def labels(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return the class of each row, 0..2."""
    return np.array([CLASSES.index(row["label"]) for row in rows], np.int64)


def macro_f1(truth: NDArray[Any], said: NDArray[Any], kinds: Sequence[int]) -> float:
    """Return the mean of the F1 of each kind, in percent."""
    scores = []
    for kind in kinds:
        hit = np.sum((truth == kind) & (said == kind))
        scores.append(2.0 * hit / max(1, np.sum(truth == kind) + np.sum(said == kind)))
    return 100.0 * float(np.mean(scores))


def two_f1(truth: NDArray[np.int64], probs: Array) -> tuple[float, float]:
    """Return macro-F1 over three classes, and over two on the rows that are not neutral."""
    three = macro_f1(truth, probs.argmax(axis=1), (0, 1, 2))
    polar = truth != 1
    sides = np.where(probs[:, 0] > probs[:, 2], 0, 2)
    return three, macro_f1(truth[polar], sides[polar], (0, 2))


def average_precision(truth: NDArray[Any], score: Array) -> float:
    """Return the area under precision over recall, in percent."""
    if not truth.any():
        return 0.0
    order = np.argsort(-score, kind="stable")
    hits = truth[order].astype(float)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return 100.0 * float(np.sum(precision * hits) / hits.sum())


def calibration_error(truth: NDArray[np.int64], probs: Array, bins: int = 15) -> float:
    """Return the expected calibration error of the largest class probability, in percent."""
    top, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    which = np.minimum((top * bins).astype(int), bins - 1)
    gaps = [
        abs(float(top[which == b].mean()) - float(right[which == b].mean())) * np.mean(which == b)
        for b in range(bins)
        if np.any(which == b)
    ]
    return 100.0 * float(sum(gaps))


def head_scores(truth: NDArray[Any], score: Array, threshold: float) -> tuple[float, float, float]:
    """Return precision, recall and F1 of a yes/no head at a threshold, in percent."""
    said = score >= threshold
    hit = float(np.sum(said & (truth > 0)))
    precision = 100.0 * hit / max(1.0, float(said.sum()))
    recall = 100.0 * hit / max(1.0, float(np.sum(truth > 0)))
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def best_f1(truth: NDArray[Any], score: Array) -> float:
    """Return the best F1 that any threshold gives, in percent."""
    hits = np.cumsum(truth[np.argsort(-score, kind="stable")].astype(float))
    return 100.0 * float(np.max(2.0 * hits / (np.arange(1, len(hits) + 1) + max(1, truth.sum()))))


def gap(truth: NDArray[Any], score: Array, bins: int = 15) -> float:
    """Return the expected calibration error of a yes/no score, in percent."""
    which = np.minimum((score * bins).astype(int), bins - 1)
    return 100.0 * float(
        sum(
            abs(float(score[which == b].mean() - truth[which == b].mean())) * np.mean(which == b)
            for b in range(bins)
            if np.any(which == b)
        )
    )


def best_threshold(truth: NDArray[Any], score: Array, beta: float = 0.5) -> float:
    """Return the value with the best F-beta; beta below 1 holds precision the dearer."""
    best, value = 0.5, -1.0
    for threshold in np.arange(0.1, 0.96, 0.01):
        p, r, _ = head_scores(truth, score, float(threshold))
        f = (1 + beta**2) * p * r / max(1e-9, beta**2 * p + r)
        if f > value:
            best, value = float(threshold), f
    return round(best, 2)


def peers() -> dict[str, tuple[str, Callable[[str], Array]]]:
    """Return {language: (name, tool)} of the lexicon tools that are installed here.

    A tool gives three class scores; the neutral band is VADER's own (0.05 around zero), for
    SnowNLP 0.4 to 0.6. A score of exactly nothing counts as positive where neutral is no choice.
    """
    found: dict[str, tuple[str, Callable[[str], Array]]] = {}
    if lexicon := _installed("vaderSentiment.vaderSentiment"):
        polarity = lexicon.SentimentIntensityAnalyzer().polarity_scores
        found["en"] = ("VADER", lambda text: _bands(polarity(text)["compound"], 0.05))
    if lexicon := _installed("snownlp"):
        reader = lexicon.SnowNLP
        found["zh"] = ("SnowNLP", lambda text: _bands(reader(text or " ").sentiments - 0.5, 0.1))
    return found


def _installed(name: str) -> Any:  # noqa: ANN401 - a module that has no types
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _bands(score: float, band: float) -> Array:
    neutral = 1.0 if abs(score) < band else 0.0
    return np.array([max(-score, 0.0), neutral, max(score, 1e-9)])
