"""The table: what each feature says about a message, in one byte a weight, and a small reader.

A linear layer over hashed features with eight columns (see COLUMNS): three classes, a place on the
five steps from very negative to very positive, and four yes/no heads. A reader that goes by the
order of words has the same columns, and six more for emotions; a message's score is the mean of
both, for they err differently. The file also holds which features occurred in training at all, so
that the table can say how much of a message it has never seen. It is made by
`python -m core.engine.embedded.train` and read with numpy alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded.features import Features, features
from core.engine.embedded.reader import Floats, Reader, marked, places_of
from core.errors import PromptError, SetupError
from core.message import Tagging

SHIPPED = Path(__file__).with_name("table.npz")
CLASSES = ("negative", "neutral", "positive")
HEADS = ("strong", "wants_human", "threat_to_leave", "crisis")
COLUMNS = (*CLASSES, "step", *HEADS)
POLARITY: Mapping[str, float] = MappingProxyType(
    {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
)
EMOTIONS = ("joy", "sadness", "anger", "fear", "surprise", "calm")
_FELT: Mapping[str, float] = MappingProxyType(
    {"joy": 1.0, "sadness": -0.8, "anger": -1.0, "fear": -0.7, "surprise": 0.1, "calm": 0.2}
)
TASK = "sentiment"
EMOTION = "emotion"
TASKS = (TASK, EMOTION)
FORMAT = 2
READ = 0.5  # the reader's share in a score
# Strong feeling that is not negative is no alarm: so much of log P(negative) goes into `strong`.
LEAN = 1.0
_SMALLEST = 0.16
_GRADES = 15.0  # values that a byte takes on each side: more would pack worse and say no more
_NOTHING = (0.1, 0.8, 0.1)  # the classes of a message of nothing
_STILL = (0.04, 0.04, 0.04, 0.04, 0.04, 0.8)  # and its emotions
_PLACES = np.arange(1.0, 6.0, dtype=np.float32)
_SQUARED = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)
_SQUARED *= np.abs(_SQUARED)  # what each byte stands for, before its column's scale
_BATCH = 512  # messages scored at once: bounds memory, not results

slots_of = places_of


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + e**-x), also for large |x|."""
    half: Floats = np.tanh(np.float32(0.5) * x).astype(np.float32)
    return np.float32(0.5) * (np.float32(1.0) + half)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The numbers of a table, as they are trained and stored.

    `matrix` (8, 2**bits) as bytes: a byte q stands for sign(q) * (q / 127)**2 * scale of its
    column. `bias` (8,); `cuts` (2, 4) between the five steps, already sharp; `sharpness` (2, 14)
    multiplies the scores and `shift` (2, 14) is added to them, the second row for messages with
    signs of a script without spaces; `seen` is a bit per place of 2**seen_bits. Once read, the
    eight bytes of a place lie side by side in memory: a message looks at hundreds of places, and
    each is one wait, not eight. Without a `reader` the linear layer speaks alone, and there are no
    emotions.
    """

    matrix: NDArray[np.int8]
    scale: Floats
    bias: Floats
    cuts: Floats
    sharpness: Floats
    shift: Floats
    seen: NDArray[np.uint8]
    thresholds: Mapping[str, float]
    reader: Reader | None = None

    def write(self) -> bytes:
        """Return the file: the same bytes for the same weights."""
        meta = json.dumps(
            {"format": FORMAT, "columns": COLUMNS, "thresholds": dict(self.thresholds)}
        )
        arrays: dict[str, NDArray[Any]] = {
            "matrix": np.ascontiguousarray(self.matrix.T),  # a place's bytes together: packs best
            "scale": self.scale,
            "bias": self.bias,
            "cuts": self.cuts,
            "sharpness": self.sharpness,
            "shift": self.shift,
            "seen": self.seen,
            **(self.reader.arrays() if self.reader else {}),
            "meta": np.frombuffer(meta.encode(), np.uint8),
        }
        out = BytesIO()
        with ZipFile(out, "w", ZIP_DEFLATED, compresslevel=9) as file:
            for name, array in arrays.items():
                part = BytesIO()
                np.save(part, array, allow_pickle=False)
                file.writestr(ZipInfo(f"{name}.npy"), part.getvalue(), ZIP_DEFLATED, 9)
        return out.getvalue()

    @classmethod
    def read(cls, data: bytes) -> Weights:
        """Read what `write` wrote. Raises ValueError or KeyError for anything else."""
        with np.load(BytesIO(data), allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            if meta["format"] != FORMAT or tuple(meta["columns"]) != COLUMNS:
                raise ValueError(f"format {meta['format']}, but {FORMAT} is needed")
            return cls(
                matrix=file["matrix"].T,
                scale=file["scale"],
                bias=file["bias"],
                cuts=file["cuts"],
                sharpness=file["sharpness"],
                shift=file["shift"],
                seen=file["seen"],
                thresholds=MappingProxyType(meta["thresholds"]),
                reader=Reader.of(file) if "reader_bias" in file else None,
            )


def squeeze(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return weights (8, places) as bytes, and the scale of each column.

    A weight that could not move a message by a fiftieth of a logit is dropped, and the others take
    few values: the file gets smaller, and no figure worse.
    """
    scale = np.maximum(np.abs(matrix).max(axis=1), 1e-6).astype(np.float32)
    root = np.round(np.sqrt(np.abs(matrix) / scale[:, None]) * _GRADES) * (127.0 / _GRADES)
    root[np.abs(matrix) < _SMALLEST] = 0.0
    root = np.round(root)
    return (np.sign(matrix) * root).astype(np.int8), scale


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A trained table. Holds no state: any number of callers may score at once."""

    weights: Weights
    instrument: str  # "embedded@" and the first eight signs of the file's SHA-256

    @classmethod
    def load(cls, path: Path | None = None) -> Table:
        """Read a table, by default the one that comes with Heed. Raises SetupError."""
        return _shipped() if path is None else _read(path)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Return from which value on each yes/no head means yes."""
        return self.weights.thresholds

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the tasks that the table knows."""
        return TASKS if self.weights.reader else (TASK,)

    def score(self, texts: Sequence[str], task: str = TASK) -> list[Tagging]:
        """Tag each text alone, in order. Never raises, whatever the strings hold."""
        tags: list[Tagging] = []
        for start in range(0, len(texts), _BATCH):
            batch = [features(text) for text in texts[start : start + _BATCH]]
            tags.extend((self._felt if task == EMOTION else self._tags)(batch))
        return tags

    def logits(self, batch: Sequence[Features]) -> Floats:
        """Return the raw value of each column and emotion, (messages, 14), before calibration."""
        table = self.weights
        out = np.zeros((len(batch), len(COLUMNS) + len(EMOTIONS)), np.float32)
        out[:, : len(COLUMNS)] = table.bias
        bits = table.matrix.shape[1].bit_length() - 1
        for row, found in enumerate(batch):
            if len(found.hashes):
                stored = table.matrix.T[slots_of(found.hashes, bits)]
                said = _SQUARED[stored.view(np.uint8)] * found.values[:, None]
                out[row, : len(COLUMNS)] += said.sum(axis=0) * (table.scale / 127.0**2)
        if table.reader is not None:
            rows = [row for row, found in enumerate(batch) if len(found.tokens)]
            read = table.reader.read([batch[row] for row in rows])
            out[:, : len(COLUMNS)] *= 1.0 - READ
            out[rows, : len(COLUMNS)] += READ * read[:, : len(COLUMNS)]
            out[rows, len(COLUMNS) :] = read[:, len(COLUMNS) :]
        return out

    def doubt(self, found: Features) -> float:
        """Return the share of a message's features that training has never seen, 0..1."""
        hashes = found.hashes[found.known]
        if not len(hashes):
            return 1.0 if not len(found.hashes) else 0.5
        return 1.0 - int(np.count_nonzero(marked(self.weights.seen, hashes))) / len(hashes)

    def _tags(self, batch: Sequence[Features]) -> list[Tagging]:
        """Tag by sentiment and the yes/no heads; a message of nothing is neutral."""
        weights, script = self.weights, scripts(batch)
        classes, place, heads, _ = columns(
            self.logits(batch), weights.sharpness[script], weights.shift[script]
        )
        signed = (steps_of(place, weights.cuts[script]) @ _PLACES - 3.0) / 2.0
        doubts = [self.doubt(found) for found in batch]
        rows = zip(classes.tolist(), signed.tolist(), heads.tolist(), doubts, strict=True)
        return [
            self._tagging(_NOTHING, 0.0, (0.0, 0.0, 0.0, 0.0), doubt)
            if doubt == 1.0
            else self._tagging(probs, max(-1.0, min(1.0, intensity)), yes, doubt)
            for probs, intensity, yes, doubt in rows
        ]

    def _felt(self, batch: Sequence[Features]) -> list[Tagging]:
        """Tag by emotion; a message of nothing is calm."""
        script = scripts(batch)
        *_, emotions = columns(
            self.logits(batch), self.weights.sharpness[script], self.weights.shift[script]
        )
        doubts = [self.doubt(found) for found in batch]
        return [
            Tagging(
                probs=dict(zip(EMOTIONS, _STILL if doubt == 1.0 else probs, strict=True)),
                doubt=doubt,
                instrument=self.instrument,
                polarity=_FELT,
            )
            for probs, doubt in zip(emotions.tolist(), doubts, strict=True)
        ]

    def _tagging(
        self, probs: Sequence[float], intensity: float, heads: Sequence[float], doubt: float
    ) -> Tagging:
        strong, wants_human, threat_to_leave, crisis = heads
        return Tagging(
            probs=dict(zip(CLASSES, probs, strict=True)),
            doubt=doubt,
            instrument=self.instrument,
            polarity=POLARITY,
            intensity=intensity,
            strong=strong,
            wants_human=wants_human,
            threat_to_leave=threat_to_leave,
            crisis=crisis,
        )

    def explain(self, text: str, top: int = 8) -> dict[str, list[dict[str, Any]]]:
        """Return, for each column, its strongest features as [{"feature", "weight"}].

        Of the linear layer, which knows its reasons; the reader's half is not told apart.
        Weights are in logits, most telling first; a character n-gram is shown as it is, "w:" is a
        word, "b:" a pair, "n:" a word under a negation, "m:" a mark such as shouting.
        """
        found = features(text, named=True)
        weights = self.weights
        places = slots_of(found.hashes, weights.matrix.shape[1].bit_length() - 1)
        stored = weights.matrix[:, places].T.astype(np.float32)
        share = (1.0 - READ if weights.reader else 1.0) / 127.0**2
        sharp = weights.sharpness[int(found.east), : len(COLUMNS)]
        parts = stored * np.abs(stored) * (weights.scale * sharp * share)
        parts *= found.values[:, None]
        result: dict[str, list[dict[str, Any]]] = {}
        for j, column in enumerate(COLUMNS):
            sums: dict[str, float] = {}
            for name, part in zip(found.names, parts[:, j], strict=True):
                sums[name] = sums.get(name, 0.0) + float(part)
            best = sorted(sums.items(), key=lambda item: -abs(item[1]))[:top]
            result[column] = [{"feature": n, "weight": round(w, 4)} for n, w in best if w]
        return result


@cache
def _shipped() -> Table:
    return _read(SHIPPED)


def _read(path: Path) -> Table:
    try:
        data = path.read_bytes()
        weights = Weights.read(data)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise SetupError(
            f"The table {path.name} cannot be read ({error}): install Heed again, or make the "
            "table with python -m core.engine.embedded.train."
        ) from error
    return Table(weights, f"embedded@{hashlib.sha256(data).hexdigest()[:8]}")


def scripts(batch: Sequence[Features]) -> NDArray[np.int64]:
    """Return which row of the calibration each message takes."""
    return np.array([found.east for found in batch], np.int64)


def columns(
    logits: Floats, sharpness: Floats, shift: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Calibrate raw columns (messages, 14) by arrays of that shape, or (14,) for all alike.

    Returns classes (messages, 3), places (messages,), heads (messages, 4), emotions (messages, 6).
    """
    sharp = logits * sharpness + shift
    classes = softmax(sharp[:, :3])
    leaning = LEAN * np.log(classes[:, 0] + 1e-6) * sharpness[..., 4]
    heads = sharp[:, 4 : len(COLUMNS)]
    heads[:, 0] += leaning
    return classes, sharp[:, 3], sigmoid(heads), softmax(sharp[:, len(COLUMNS) :])


def softmax(logits: Floats) -> Floats:
    """Return probabilities that sum to 1 in every row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def steps_of(place: Floats, cuts: Floats) -> Floats:
    """Return how likely each of the five steps is, (messages, 5); cuts (messages, 4) or (4,)."""
    below = sigmoid(cuts - place[:, None])
    edges = np.zeros((len(place), cuts.shape[-1] + 2), np.float32)
    edges[:, 1:-1], edges[:, -1] = below, 1.0
    return np.maximum(np.diff(edges, axis=1), 0.0).astype(np.float32)


class TableTagger:
    """The table behind the port `Tagger`: answers at once, needs no model."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table.load()

    @property
    def name(self) -> str:
        """The name that is shown and stored."""
        return "embedded"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the tasks that can be asked for."""
        return self.table.tasks

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text alone, in order. Raises PromptError for a task that it does not know."""
        task = task or TASK
        if task not in self.tasks:
            raise PromptError(
                f"The embedded table knows {' and '.join(self.tasks)}, not {task}: choose a model "
                f"(model.name) for that task, or set the task back to {TASK}."
            )
        return self.table.score(texts, task)
