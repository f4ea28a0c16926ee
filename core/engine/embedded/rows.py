"""Rows to learn from: what a label says of each column, and how much a row counts.

Everything is deterministic: what is drawn by lot is drawn by the ids of the rows.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded.features import Features, features
from core.engine.embedded.reader import Floats
from core.engine.embedded.table import CLASSES, EMOTIONS, HEADS

NONE = -1.0  # no label for this head

Row = dict[str, Any]

# How much a row of a source counts. Film and television labels were made with sound and picture,
# or carried over from another language; text written for this project is what Heed will hear.
_WEIGHT = {"cped": 0.12, "xed": 0.12, "xed_en": 0.6, "goemotions": 1.0, "vader": 2.0, "esc": 0.5}
WRITTEN_WEIGHT = 2.0
WORDS_WEIGHT = 1.0  # of a written row that is a word or a phrase, not a message
WRITTEN_HEAD_WEIGHT = 3.0
WRITTEN_STRONG_EN = 1.5  # English fury is told by other sources too, Chinese hardly
_STRONG_WEIGHT = {"cped": 0.2, "xed": 0.3, "goemotions": 0.6}

# Which of six emotions the names of the sources mean. What is mixed or stands between is left out.
_EMOTION = {
    name: emotion
    for emotion, names in {
        "joy": "joy amusement excitement love gratitude optimism pride admiration relief happy "
        "grateful relaxed",
        "sadness": "sadness grief disappointment remorse depression",
        "anger": "anger annoyance disgust",
        "fear": "fear nervousness worried",
        "surprise": "surprise astonished",
        "calm": "neutral",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Rows as arrays: features in compressed rows, targets with NONE where there is no label."""

    hashes: NDArray[np.uint32]
    values: Floats
    known: NDArray[np.bool_]
    starts: NDArray[np.int64]  # (rows + 1,)
    pieces: NDArray[np.uint32]
    token_starts: NDArray[np.int64]  # (tokens + 1,) where a token's pieces begin
    row_starts: NDArray[np.int64]  # (rows + 1,) where a row's tokens begin
    label: NDArray[np.int64]  # 0..2, or -1
    low: NDArray[np.int64]  # the step lies in low..high, 1..5; 0: unknown
    high: NDArray[np.int64]
    heads: Floats  # (rows, 4): 0, 1, or NONE
    emotion: NDArray[np.int64]  # 0..5, or -1
    weight: Floats  # (rows,)
    head_weight: Floats  # (rows, 4)
    listed: NDArray[np.bool_]  # (rows,) a word of a list: known although it stands there once


def read_rows(path: Path) -> list[Row]:
    """Read a .jsonl or .jsonl.gz file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def chance(row: Row) -> float:
    """Return a number in 0..1 that depends on the row's id alone."""
    return zlib.crc32(f"{row['id']}~".encode()) / 2**32


def steps(row: Row) -> tuple[int, int]:
    """Return between which of the five steps a row lies; (0, 0) where nothing is known."""
    if "strength" in row:
        return row["strength"], row["strength"]
    if row.get("intensity") is not None:
        step = 1 + int(np.searchsorted([-0.5, -0.125, 0.125, 0.5], row["intensity"], "right"))
        return step, step
    if row.get("strong") == 1:
        return 1, 2
    return {"negative": (1, 2), "neutral": (3, 3), "positive": (4, 5)}.get(row["label"], (0, 0))


def heads(row: Row) -> tuple[list[float], list[float]]:
    """Return the targets of the yes/no heads of a row, and how much each counts."""
    if row.get("listed"):  # a word is no request, and calm or not by its neighbours
        return [1.0 if row["strong"] else NONE, NONE, NONE, NONE], [WORDS_WEIGHT, 0.0, 0.0, 0.0]
    if "strength" in row:
        strong = WRITTEN_STRONG_EN if row["lang"] == "en" else WRITTEN_HEAD_WEIGHT
        return [float(row[h]) for h in HEADS], [strong, *[WRITTEN_HEAD_WEIGHT] * 3]
    target, weight = [NONE] * 4, [0.0] * 4
    family = row["source"].split("_")[0]
    if row.get("strong") is not None:
        target[0], weight[0] = float(row["strong"]), _STRONG_WEIGHT.get(family, 1.0)
    if "handoff" in row:
        target[1], weight[1] = float(row["handoff"]), 0.3
        target[2], weight[2] = 0.0, 0.3
    if "churn" in row:
        target[2], weight[2] = float(row["churn"]), 1.0
    if family in {"goemotions", "cped"} and row["label"] != "negative" and chance(row) < 0.4:
        target[1:], weight[1:] = [0.0] * 3, [0.3] * 3  # ordinary talk asks for none of these
    return target, weight


def sheet(rows: Sequence[Row]) -> Sheet:
    """Turn rows into arrays."""
    found: list[Features] = [features(row["text"]) for row in rows]
    bounds = np.array([steps(row) for row in rows], np.int64).reshape(-1, 2)
    yes = [heads(row) for row in rows]
    return Sheet(
        hashes=np.concatenate([f.hashes for f in found]),
        values=np.concatenate([f.values for f in found]),
        known=np.concatenate([f.known for f in found]),
        starts=_bounds([len(f.hashes) for f in found]),
        pieces=np.concatenate([f.pieces for f in found]),
        token_starts=_bounds(
            [int(n) for f in found for n in np.diff(np.append(f.tokens, len(f.pieces)))]
        ),
        row_starts=_bounds([len(f.tokens) for f in found]),
        label=np.array([CLASSES.index(r["label"]) if r["label"] else -1 for r in rows]),
        low=bounds[:, 0],
        high=bounds[:, 1],
        heads=np.array([y[0] for y in yes], np.float32),
        emotion=np.array([emotion(r) for r in rows], np.int64),
        weight=np.array([weight_of(r) for r in rows], np.float32),
        head_weight=np.array([y[1] for y in yes], np.float32),
        listed=np.array([bool(r.get("listed")) for r in rows]),
    )


def _bounds(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def emotion(row: Row) -> int:
    """Return which of the six emotions a row shows, or -1: none is given, or several."""
    names = (row.get("emotion") or "").split(",")
    return EMOTIONS.index(_EMOTION[names[0]]) if len(names) == 1 and names[0] in _EMOTION else -1


def weight_of(row: Row) -> float:
    """Return how much a row's class counts."""
    if "strength" in row:
        return WORDS_WEIGHT if row.get("listed") else WRITTEN_WEIGHT
    return _WEIGHT.get(row["source"], _WEIGHT[row["source"].split("_")[0]])
