"""Training of the linear layer with numpy alone: AdaGrad over hashed features.

Everything is deterministic: weights start at zero, sums are made in one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded.reader import Floats, mark
from core.engine.embedded.rows import Sheet
from core.engine.embedded.table import COLUMNS, sigmoid, slots_of

SLOT_BITS = 20
SEEN_BITS = 21

# Of a few values tried, those with the best figures on the dev rows.
EPOCHS, BATCH, RATE, DECAY = 4, 1024, 0.6, 3e-6
FLOOR = 0.1  # squared gradient that a feature starts with: holds rare features small


@dataclass(slots=True, eq=False)
class Fitted:
    """Trained numbers before they are squeezed into bytes."""

    matrix: Floats  # (8, places)
    bias: Floats
    cuts: Floats
    seen: NDArray[np.uint8]


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
    often = np.repeat(times(data, rows), np.diff(data.starts))
    folded = slots_of(data.hashes, 24)
    live = np.bincount(folded, often, 1 << 24)[folded] > 1
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
    return Fitted(
        matrix=state.matrix,
        bias=state.bias,
        cuts=state.cuts,
        seen=mark(data.hashes[data.known & (often > 0)], SEEN_BITS),
    )


def times(data: Sheet, rows: NDArray[np.int64]) -> Floats:
    """Return how often each row counts for knowing a feature: not at all when it is not trained on.

    A word of a list counts twice, for a feature must be met twice to be known.
    """
    found = np.zeros(len(data.label), np.float32)
    found[rows] = np.where(data.listed[rows], 2.0, 1.0)
    return found
