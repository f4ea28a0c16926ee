"""Make the embedded table: python -m core.engine.embedded.train --data DIR [--out FILE].

Trains on DIR/train/*.jsonl.gz and on written/*.jsonl beside this file, a tenth of which is kept
out by id. Sharpness and thresholds come from written rows that a fit has not seen (folds), and
from DIR/dev; figures are of DIR/dev and of the kept tenth. Writes the table and, beside it,
CARD.md. The same input gives the same bytes on the same kind of machine. Needs torch, which what
is made does not. Two processes, a quarter of an hour.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded import card, measure
from core.engine.embedded.features import eastern, features
from core.engine.embedded.fit import fit
from core.engine.embedded.reader import Floats
from core.engine.embedded.rows import Row, Sheet, chance, read_rows, sheet
from core.engine.embedded.table import (
    COLUMNS,
    EMOTIONS,
    HEADS,
    READ,
    SHIPPED,
    Table,
    Weights,
    columns,
    softmax,
    squeeze,
    steps_of,
)
from core.errors import SetupError

WRITTEN = Path(__file__).with_name("written")
KEPT_OUT = 0.1
FOLDS = 3
CURVE = (0.0, 0.25, 0.5)  # shares of the written rows, for the learning curve
FOREIGN = 0.75  # the say of dev rows, which others wrote, in how sure classes and `strong` are
MINDED = ("strong", "wants_human", "threat_to_leave")  # heads that rules compare with a threshold
WIDTH = len(COLUMNS) + len(EMOTIONS)
log = logging.getLogger("heed.train")

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpus:
    """All rows by their use."""

    train: list[Row]  # with labels of any kind
    written: list[Row]
    kept: list[Row]  # written messages, never trained on
    dev: dict[str, list[Row]]  # by source

    @property
    def rows(self) -> list[Row]:
        """Return all that is trained on, the public rows first."""
        return self.train + self.written


def read_corpus(data: Path) -> Corpus:
    """Read everything. Raises SetupError where the folders are missing."""
    if not (data / "train").is_dir() or not (data / "dev").is_dir():
        raise SetupError(f"{data} has no train/ and dev/: give --data the folder that holds both.")
    written = [
        row | {"listed": "_words" in path.stem}
        for path in sorted(WRITTEN.glob("*.jsonl"))
        for row in read_rows(path)
    ]
    return Corpus(
        train=[r for p in sorted((data / "train").glob("*.jsonl.gz")) for r in read_rows(p)],
        written=[row for row in written if row["listed"] or chance(row) >= KEPT_OUT],
        kept=[row for row in written if not row["listed"] and chance(row) < KEPT_OUT],
        dev={p.name.split(".")[0]: read_rows(p) for p in sorted((data / "dev").glob("*.jsonl.gz"))},
    )


# -- one training --------------------------------------------------------------------------------

_sheet: list[Sheet] = []  # one, for the processes that are forked from this one


def plain_table(rows: Places) -> Table:
    """Train both layers on these rows of the sheet; nothing is calibrated yet."""
    from core.engine.embedded.teach import teach

    data = _sheet[0]
    fitted = fit(data, rows)
    taught = teach(data, rows)
    matrix, scale = squeeze(fitted.matrix)
    weights = Weights(
        matrix=matrix,
        scale=scale,
        bias=fitted.bias,
        cuts=np.tile((1.0 - READ) * fitted.cuts + READ * taught.cuts, (2, 1)).astype(np.float32),
        sharpness=np.ones((2, WIDTH), np.float32),
        shift=np.zeros((2, WIDTH), np.float32),
        seen=fitted.seen,
        thresholds={},
        reader=taught.reader,
    )
    return Table(weights, "embedded@training")


def raw(table: Table, rows: Sequence[Row]) -> Floats:
    """Return the columns of many rows, (rows, 14), before calibration."""
    parts = [
        table.logits([features(row["text"]) for row in rows[at : at + 512]])
        for at in range(0, len(rows), 512)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, WIDTH), np.float32)


def _raw_of(rows: Places, asked: list[Row]) -> Floats:
    """Train on some rows; return the columns of others."""
    return raw(plain_table(rows), asked)


# -- calibration ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unseen:
    """Rows that no fit has seen, with their raw columns: what calibration learns from."""

    rows: list[Row]
    raw: Floats
    share: float  # what the group counts

    def written_in(self, *, east: bool) -> Unseen:
        """Return the rows of one kind of script."""
        some = [i for i, row in enumerate(self.rows) if eastern(row["text"]) == east]
        return Unseen([self.rows[i] for i in some], self.raw[some], self.share)

    def labelled(self, name: str) -> tuple[Floats, NDArray[np.int64]]:
        """Return the columns and the values of the rows that have a value of this name."""
        some = [i for i, row in enumerate(self.rows) if row.get(name) is not None]
        return self.raw[some], np.array([int(self.rows[i][name]) for i in some], np.int64)


@dataclass(slots=True)
class Knobs:
    """What calibration sets."""

    sharpness: Floats = field(default_factory=lambda: np.ones(WIDTH, np.float32))
    shift: Floats = field(default_factory=lambda: np.zeros(WIDTH, np.float32))
    cuts: Floats = field(default_factory=lambda: np.zeros(4, np.float32))


def least(loss: Callable[[float], float], low: float = 0.2, high: float = 3.0) -> float:
    """Return the sharpness of least loss."""
    grid = np.geomspace(low, high, 55)
    return round(float(grid[int(np.argmin([loss(float(s)) for s in grid]))]), 4)


def calibrate(written: Unseen, dev: list[Unseen], cuts: Floats) -> Knobs:
    """Choose sharpness and shift of each column by least log loss on rows that no fit has seen.

    Classes, strong: by dev rows and written rows, as they share the say. The other heads and the
    steps: written rows. Emotions: dev rows.
    """
    knobs = Knobs()
    _classes(knobs, [written, *dev])
    grade = np.array([row["strength"] - 1 for row in written.rows])

    def step_loss(sharp: float) -> float:
        probs = steps_of(written.raw[:, 3] * sharp, cuts * sharp)
        return -float(np.log(probs[np.arange(len(grade)), grade] + 1e-6).mean())

    knobs.sharpness[3] = least(step_loss)
    knobs.cuts = (cuts * knobs.sharpness[3]).astype(np.float32)
    for column, head in enumerate(HEADS, start=4):
        groups = [written, *dev] if head == "strong" else [written]
        _platt(knobs, column, head, groups)
    _emotions(knobs, dev)
    return knobs


def calibrate_script(written: Unseen, dev: list[Unseen], cuts: Floats, *, east: bool) -> Knobs:
    """Calibrate for messages of one kind of script; the dev rows of it have most of the say."""
    own = [group for one in dev if (group := one.written_in(east=east)).rows]
    total = sum(len(group.rows) for group in own)
    weighed = [replace(group, share=FOREIGN * len(group.rows) / total) for group in own]
    mine = replace(written.written_in(east=east), share=1.0 - FOREIGN)
    return calibrate(mine, weighed, cuts)


def thresholds(written: Unseen, knobs: Sequence[Knobs]) -> dict[str, float]:
    """Return from where on each head means yes, by the F-measure that its errors deserve."""
    script = np.array([int(eastern(row["text"])) for row in written.rows])
    sharpness = np.stack([one.sharpness for one in knobs])[script]
    shift = np.stack([one.shift for one in knobs])[script]
    _, _, heads, _ = columns(written.raw, sharpness, shift)
    found: dict[str, float] = {}
    for head in MINDED:
        truth = np.array([row[head] for row in written.rows])
        score = heads[:, HEADS.index(head)].astype(np.float64)
        found[head] = measure.best_threshold(truth, score, beta=BETA[head])
    return found


# Calling a person for an ordinary complaint costs staff's trust; missing a request costs the user.
BETA = {"strong": 0.5, "wants_human": 1.0, "threat_to_leave": 1.0}


def _classes(knobs: Knobs, groups: list[Unseen]) -> None:
    data = []
    for group in groups:
        some = [i for i, row in enumerate(group.rows) if row["label"]]
        truth = measure.labels([group.rows[i] for i in some])
        data.append((group.raw[some, :3], truth, group.share))

    def loss(sharp: float) -> float:
        return sum(
            part * -float(np.log(softmax(x * sharp)[np.arange(len(y)), y] + 1e-9).mean())
            for x, y, part in data
            if len(y)
        )

    knobs.sharpness[:3] = least(loss)


def _platt(knobs: Knobs, column: int, head: str, groups: list[Unseen]) -> None:
    """Fit sharpness and shift of one head (Platt 1999), by Newton's way."""
    parts: list[tuple[Floats, NDArray[np.int64], float]] = []
    knobs.sharpness[column], knobs.shift[column] = 1.0, 0.0
    for group in groups:
        x, y = group.labelled(head)
        if len(y):
            heads = columns(x, knobs.sharpness, knobs.shift)[2][:, column - 4].astype(np.float64)
            heads = np.clip(heads, 1e-9, 1 - 1e-9)
            parts.append((np.log(heads / (1 - heads)), y, group.share / len(y)))
    x = np.concatenate([p[0] for p in parts]).astype(np.float64)
    y = np.concatenate([p[1] for p in parts]).astype(np.float64)
    weight = np.concatenate([np.full(len(p[1]), p[2]) for p in parts])
    knobs.sharpness[column], knobs.shift[column] = platt(x, y, weight)


def platt(x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]) -> tuple[float, float]:
    """Return slope and shift of least log loss; steps are halved until they lead down."""

    def loss(at: measure.Array) -> float:
        z = at[0] * x + at[1]
        return float(weight @ (np.logaddexp(0.0, z) - y * z))

    at, size = np.array([1.0, 0.0]), 1.0
    for _ in range(60):
        p = 1.0 / (1.0 + np.exp(-np.clip(at[0] * x + at[1], -50.0, 50.0)))
        curve, fault = weight * p * (1 - p), weight * (p - y)
        hessian = np.array([[curve @ (x * x), curve @ x], [curve @ x, curve.sum()]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), [fault @ x, fault.sum()])
        size = min(1.0, 2.0 * size)
        while size > 1e-6 and loss(at - size * step) > loss(at):
            size /= 2.0
        at = at - size * step
    return float(at[0]), float(at[1])


def _emotions(knobs: Knobs, groups: list[Unseen]) -> None:
    from core.engine.embedded.rows import emotion

    found = [(emotion(row), x) for g in groups for row, x in zip(g.rows, g.raw, strict=True)]
    truth = np.array([e for e, _ in found if e >= 0])
    if not len(truth):
        return
    x = np.array([row for e, row in found if e >= 0], np.float32)[:, len(COLUMNS) :]

    def loss(sharp: float) -> float:
        return -float(np.log(softmax(x * sharp)[np.arange(len(truth)), truth] + 1e-9).mean())

    knobs.sharpness[len(COLUMNS) :] = least(loss)


# -- the whole -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Made:
    """A table and how its figures grew with the written rows."""

    table: Table
    curve: list[card.Point]


def make(corpus: Corpus, *, curve: Sequence[float] = CURVE) -> Made:
    """Train, calibrate, set the thresholds, and measure the learning curve."""
    rows = corpus.rows
    _sheet[:] = [sheet(rows)]
    every, first = np.arange(len(rows)), len(corpus.train)
    lot = np.array([-1.0] * first + [chance(row) for row in corpus.written])
    fold = np.where(lot < 0, -1, (lot * 1e6).astype(int) % FOLDS)
    messages = [i for i, row in enumerate(corpus.written) if not row["listed"]]
    asked = [row for found in corpus.dev.values() for row in found] + corpus.kept
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        final = pool.submit(plain_table, every)
        parts = [
            (some, pool.submit(_raw_of, every[fold != k], [corpus.written[i] for i in some]))
            for k in range(FOLDS)
            if (some := [i for i in messages if fold[first + i] == k])
        ]
        points = [
            (share, pool.submit(_raw_of, every[_first_part(lot, share)], asked)) for share in curve
        ]
        unseen = np.zeros((len(corpus.written), WIDTH), np.float32)
        for some, part in parts:
            unseen[some] = part.result()
        table = final.result()
        log.info("the table and %d folds are trained", len(parts))
        grown = [
            card.point(int((lot[_first_part(lot, s)] >= 0).sum()), p.result(), asked)
            for s, p in points
        ]
    _sheet.clear()
    dev = [
        Unseen(own, raw(table, own), 0.0)
        for found in corpus.dev.values()
        if (own := [row for row in found if row["lang"] in {"en", "zh"}])
    ]
    written = Unseen([corpus.written[i] for i in messages], unseen[messages], 0.0)
    knobs = [calibrate_script(written, dev, table.weights.cuts[0], east=e) for e in (False, True)]
    grown.append(card.point(len(corpus.written), raw(table, asked), asked))
    weights = replace(
        table.weights,
        sharpness=np.stack([one.sharpness for one in knobs]),
        shift=np.stack([one.shift for one in knobs]),
        cuts=np.stack([one.cuts for one in knobs]),
        thresholds=thresholds(written, knobs),
    )
    log.info("%s", weights.thresholds)
    return Made(Table(weights, "embedded@training"), grown)


def _first_part(lot: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Choose all public rows and a share of the written ones."""
    within = (lot - KEPT_OUT) / (1.0 - KEPT_OUT)
    return (lot < 0) | (((within * 1e4) % 1.0) < share)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole training from the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.engine.embedded.train")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and dev/")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the table to write")
    parser.add_argument("--no-curve", action="store_true", help="leave the learning curve out")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    corpus = read_corpus(chosen.data)
    log.info("%d rows, %d written", len(corpus.train), len(corpus.written))
    made = make(corpus, curve=() if chosen.no_curve else CURVE)
    chosen.out.write_bytes(made.table.weights.write())
    table = Table.load(chosen.out)
    text = card.write(table, corpus, made.curve)
    chosen.out.with_name("CARD.md").write_text(text, encoding="utf-8")
    log.info("%s\n%s: %d bytes", text, table.instrument, chosen.out.stat().st_size)


if __name__ == "__main__":
    main()
