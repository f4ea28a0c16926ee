"""Make the embedded table: python -m core.engine.embedded.train --data DIR [--out FILE].

Trains on DIR/train/*.jsonl.gz and on written/*.jsonl beside this file, a tenth of which is kept
out by id. Sharpness and thresholds come from written rows that a fit has not seen (folds),
sharpness also from DIR/dev; figures are of DIR/dev and of the kept tenth. Writes the table and,
beside it, CARD.md. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded import card, measure
from core.engine.embedded.features import features
from core.engine.embedded.fit import Fitted, Row, chance, fit, read_rows, sheet
from core.engine.embedded.table import (
    COLUMNS,
    HEADS,
    SHIPPED,
    Floats,
    Table,
    Weights,
    sigmoid,
    squeeze,
    steps_of,
)
from core.errors import SetupError

WRITTEN = Path(__file__).with_name("written")
KEPT_OUT = 0.1
FOLDS = 4
MINDED = ("strong", "wants_human", "threat_to_leave")  # heads that rules compare with a threshold
log = logging.getLogger("heed.train")


@dataclass(frozen=True, slots=True)
class Corpus:
    """All rows by their use."""

    train: list[Row]  # with labels of any kind
    written: list[Row]
    kept: list[Row]  # written, never trained on
    dev: dict[str, list[Row]]  # by source


def read_corpus(data: Path) -> Corpus:
    """Read everything. Raises SetupError where the folders are missing."""
    if not (data / "train").is_dir() or not (data / "dev").is_dir():
        raise SetupError(f"{data} has no train/ and dev/: give --data the folder that holds both.")
    written = [row for path in sorted(WRITTEN.glob("*.jsonl")) for row in read_rows(path)]
    return Corpus(
        train=[r for p in sorted((data / "train").glob("*.jsonl.gz")) for r in read_rows(p)],
        written=[row for row in written if chance(row) >= KEPT_OUT],
        kept=[row for row in written if chance(row) < KEPT_OUT],
        dev={p.name.split(".")[0]: read_rows(p) for p in sorted((data / "dev").glob("*.jsonl.gz"))},
    )


def table_of(fitted: Fitted, sharpness: Floats, thresholds: dict[str, float]) -> Table:
    """Squeeze what was fitted into a table; cuts move with the sharpness of their column."""
    matrix, scale = squeeze(fitted.matrix)
    cuts = fitted.cuts * sharpness[3]
    weights = Weights(matrix, scale, fitted.bias, cuts, sharpness, fitted.seen, thresholds)
    return Table(weights, "embedded@training")


def raw(table: Table, rows: Sequence[Row]) -> Floats:
    """Return the columns of many rows, (rows, 8), before sharpness."""
    parts = [
        table.logits([features(row["text"]) for row in rows[at : at + 512]])
        for at in range(0, len(rows), 512)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(COLUMNS)), np.float32)


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return class probabilities of (rows, 3)."""
    powers: measure.Array = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    total: measure.Array = powers.sum(axis=1, keepdims=True)
    return powers / total


def least(loss: Callable[[float], float]) -> float:
    """Return the sharpness, 0.2..2, of least loss."""
    grid = np.geomspace(0.2, 2.0, 47)
    return round(float(grid[int(np.argmin([loss(float(s)) for s in grid]))]), 4)


def sharpness_of(
    fitted: Fitted, unseen: Floats, written: list[Row], dev: list[tuple[Floats, list[Row]]]
) -> Floats:
    """Choose how sharp each column is, by least log loss on rows that no fit has seen.

    Classes: half by written rows, half by the dev sources, each source alike. Others: written.
    """
    groups = [(unseen, measure.labels(written), 0.5)]
    groups += [(logits, measure.labels(rows), 0.5 / len(dev)) for logits, rows in dev]

    def class_loss(sharp: float) -> float:
        return sum(
            part * -float(np.log(softmax(x[:, :3] * sharp)[np.arange(len(y)), y] + 1e-9).mean())
            for x, y, part in groups
        )

    grade = np.array([row["strength"] - 1 for row in written])

    def step_loss(sharp: float) -> float:
        probs = steps_of(unseen[:, 3] * sharp, fitted.cuts * sharp)
        return -float(np.log(probs[np.arange(len(grade)), grade] + 1e-6).mean())

    def head_loss(column: int, truth: NDArray[np.float64], sharp: float) -> float:
        p = np.clip(sigmoid(unseen[:, column] * sharp).astype(np.float64), 1e-6, 1 - 1e-6)
        return -float(np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p)))

    result = [least(class_loss)] * 3 + [least(step_loss)]
    for column, head in enumerate(HEADS, start=4):
        truth = np.array([row[head] for row in written], float)
        result.append(least(lambda s, c=column, t=truth: head_loss(c, t, s)))  # type: ignore[misc]
    return np.array(result, np.float32)


def make(corpus: Corpus) -> Table:
    """Train, calibrate, and set the thresholds."""
    rows = corpus.train + corpus.written
    data = sheet(rows)
    every = np.arange(len(rows))
    first = len(corpus.train)
    fold = np.array([-1] * first + [int(chance(r) * 1e6) % FOLDS for r in corpus.written])
    ones = np.ones(len(COLUMNS), np.float32)
    unseen = np.zeros((len(corpus.written), len(COLUMNS)), np.float32)
    for k in range(FOLDS):
        part = table_of(fit(data, every[fold != k]), ones, {})
        out = np.flatnonzero(fold[first:] == k)
        unseen[out] = raw(part, [corpus.written[i] for i in out])
        log.info("fold %d of %d", k + 1, FOLDS)
    fitted = fit(data, every)
    plain = table_of(fitted, ones, {})
    dev = [
        (raw(plain, some), some)
        for source, rows_of in corpus.dev.items()
        if (some := [r for r in rows_of if r["label"] and r["lang"] in {"en", "zh"}])
        and not measure.seen_in_training(source)
    ]
    sharpness = sharpness_of(fitted, unseen, corpus.written, dev)
    thresholds = {}
    for head in MINDED:
        column = COLUMNS.index(head)
        truth = np.array([row[head] for row in corpus.written])
        score = sigmoid(unseen[:, column] * sharpness[column]).astype(np.float64)
        thresholds[head] = measure.best_threshold(truth, score)
    log.info("sharpness %s, thresholds %s", sharpness, thresholds)
    return table_of(fitted, sharpness, thresholds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole training from the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.engine.embedded.train")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and dev/")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the table to write")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    corpus = read_corpus(chosen.data)
    log.info("%d rows, %d written", len(corpus.train), len(corpus.written))
    table = make(corpus)
    chosen.out.write_bytes(table.weights.write())
    table = Table.load(chosen.out)
    text = card.write(table, corpus.dev, corpus.kept, len(corpus.train), len(corpus.written))
    chosen.out.with_name("CARD.md").write_text(text, encoding="utf-8")
    log.info("%s\n%s: %d bytes", text, table.instrument, chosen.out.stat().st_size)


if __name__ == "__main__":
    main()
