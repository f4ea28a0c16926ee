"""Training of a table with numpy alone: rows, and AdaGrad over hashed features.

Everything is deterministic: the order of rows comes from their ids, weights start at zero, sums
are made in one thread.
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
from core.engine.embedded.table import CLASSES, COLUMNS, HEADS, Floats, sigmoid, slots_of

SLOT_BITS = 20
SEEN_BITS = 21
NONE = -1.0  # no label for this head

# Of a few values tried, those with the best figures on the dev rows.
EPOCHS, BATCH, RATE, DECAY = 5, 1024, 0.6, 3e-6
FLOOR = 0.1  # squared gradient that a feature starts with: holds rare features small

Row = dict[str, Any]

# How much a row of a source counts. Film and television labels were made with sound and picture,
# or carried over from another language; text written for this project is what Heed will hear.
_WEIGHT = {"cped": 0.1, "xed": 0.1, "xed_en": 0.4, "goemotions": 0.6, "vader": 1.0, "esc": 0.5}
WRITTEN_WEIGHT = 6.0
WRITTEN_HEAD_WEIGHT = 3.0
_STRONG_WEIGHT = {"cped": 0.2, "xed": 0.3, "goemotions": 0.6}


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Rows as arrays: features in compressed rows, targets with NONE where there is no label."""

    hashes: NDArray[np.uint32]
    values: Floats
    known: NDArray[np.bool_]
    starts: NDArray[np.int64]  # (rows + 1,)
    label: NDArray[np.int64]  # 0..2, or -1
    low: NDArray[np.int64]  # the step lies in low..high, 1..5; 0: unknown
    high: NDArray[np.int64]
    heads: Floats  # (rows, 4): 0, 1, or NONE
    weight: Floats  # (rows,)
    head_weight: Floats  # (rows, 4)


@dataclass(slots=True, eq=False)
class Fitted:
    """Trained numbers before they are squeezed into bytes."""

    matrix: Floats  # (8, places)
    bias: Floats
    cuts: Floats
    seen: NDArray[np.uint8]


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
    if "strength" in row:
        return [float(row[h]) for h in HEADS], [WRITTEN_HEAD_WEIGHT] * len(HEADS)
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
        starts=np.concatenate([[0], np.cumsum([len(f.hashes) for f in found])]).astype(np.int64),
        label=np.array([CLASSES.index(r["label"]) if r["label"] else -1 for r in rows]),
        low=bounds[:, 0],
        high=bounds[:, 1],
        heads=np.array([y[0] for y in yes], np.float32),
        weight=np.array([weight_of(r) for r in rows], np.float32),
        head_weight=np.array([y[1] for y in yes], np.float32),
    )


def weight_of(row: Row) -> float:
    """Return how much a row's class counts."""
    if "strength" in row:
        return WRITTEN_WEIGHT
    return _WEIGHT.get(row["source"], _WEIGHT[row["source"].split("_")[0]])


def gradient(
    logits: Floats, cuts: Floats, data: Sheet, rows: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return d loss / d logits (rows, 8) and d loss / d cuts (4,), summed over the rows.

    Classes: cross-entropy. Steps: minus the logarithm of the mass between two cuts, so that a row
    that is only known to be negative may lie on either negative step. Heads: cross-entropy.
    """
    out = np.zeros_like(logits)
    label, weight = data.label[rows], data.weight[rows]
    has = np.flatnonzero(label >= 0)
    powers = np.exp(logits[:, :3] - logits[:, :3].max(axis=1, keepdims=True))
    out[has, :3] = (powers / powers.sum(axis=1, keepdims=True))[has]
    out[has, label[has]] -= 1.0
    out[:, :3] *= weight[:, None]
    low, high = data.low[rows], data.high[rows]
    graded = (low > 0).astype(np.float32) * weight
    below = sigmoid(cuts[None, :] - logits[:, 3:4])
    every = np.arange(len(rows))
    upper = np.where(high < 5, below[every, np.clip(high, 1, 4) - 1], 1.0)
    lower = np.where(low > 1, below[every, np.clip(low, 2, 5) - 2], 0.0)
    mass = np.maximum(upper - lower, 1e-3)
    out[:, 3] = graded * (upper + lower - 1.0) * -1.0
    cut_grad = np.zeros(4, np.float32)
    at_top, at_low = (high < 5) & (low > 0), low > 1
    np.add.at(cut_grad, high[at_top] - 1, -(graded * upper * (1 - upper) / mass)[at_top])
    np.add.at(cut_grad, low[at_low] - 2, (graded * lower * (1 - lower) / mass)[at_low])
    target = data.heads[rows]
    out[:, 4:] = (sigmoid(logits[:, 4:]) - target) * data.head_weight[rows] * (target >= 0)
    return out, cut_grad


def gather(data: Sheet, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which features belong to the rows, and to which of the rows each belongs."""
    sizes = data.starts[rows + 1] - data.starts[rows]
    owner = np.repeat(np.arange(len(rows)), sizes)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(data.starts[rows], sizes) + offset, owner


@dataclass(slots=True, eq=False)
class Descent:
    """AdaGrad halfway: the numbers, and the squares of all gradients so far."""

    matrix: Floats  # (8, slots): a column of the table is a row here
    matrix_power: Floats
    bias: Floats
    bias_power: Floats
    cuts: Floats
    cut_power: Floats

    def step(
        self, data: Sheet, places: NDArray[np.int64], values: Floats, some: NDArray[np.int64],
        pace: float,
    ) -> None:  # fmt: skip
        """Go one step down the loss of some rows."""
        which, owner = gather(data, some)
        slot, value = places[which], values[which]
        unique, compact = np.unique(slot, return_inverse=True)
        logits = np.empty((len(some), len(self.bias)), np.float32)
        for j, column in enumerate(self.matrix):
            logits[:, j] = np.bincount(owner, column[slot] * value, len(some)) + self.bias[j]
        change, cut_change = gradient(logits, self.cuts, data, some)
        for j, column in enumerate(self.matrix):
            slope = np.bincount(compact, change[owner, j] * value, len(unique)).astype(np.float32)
            slope += DECAY * len(some) * column[unique]
            power = self.matrix_power[j][unique] + slope * slope
            self.matrix_power[j][unique] = power
            column[unique] -= pace * slope / np.sqrt(power)
        total = change.sum(axis=0)
        self.bias_power += total**2
        self.bias -= pace * total / np.sqrt(self.bias_power)
        self.cut_power += cut_change**2
        self.cuts = np.sort(self.cuts - pace * cut_change / np.sqrt(self.cut_power))


def fit(data: Sheet, rows: NDArray[np.int64]) -> Fitted:
    """Train all columns together on these rows. Features that occur once are left out."""
    folded = slots_of(data.hashes, 24)
    live = np.bincount(folded, minlength=1 << 24)[folded] > 1
    places = slots_of(data.hashes, SLOT_BITS)
    values = np.where(live, data.values, 0.0).astype(np.float32)
    width, size = len(COLUMNS), 1 << SLOT_BITS
    state = Descent(
        matrix=np.zeros((width, size), np.float32),
        matrix_power=np.full((width, size), FLOOR, np.float32),
        bias=np.zeros(width, np.float32),
        bias_power=np.ones(width, np.float32),
        cuts=np.array([-3, -1, 1, 3], np.float32),
        cut_power=np.ones(4, np.float32),
    )
    dice = np.random.default_rng(7)
    for epoch in range(EPOCHS):
        order = dice.permutation(rows)
        for at in range(0, len(order), BATCH):
            pace = RATE * (1.0 - epoch / EPOCHS)
            state.step(data, places, values, order[at : at + BATCH], pace)
    return Fitted(state.matrix, state.bias, state.cuts, seen(data))


def seen(data: Sheet) -> NDArray[np.uint8]:
    """Return a bit for every place that a feature of the rows falls on."""
    marks = np.zeros(1 << SEEN_BITS, np.bool_)
    marks[slots_of(data.hashes[data.known], SEEN_BITS)] = True
    return np.packbits(marks, bitorder="little")
