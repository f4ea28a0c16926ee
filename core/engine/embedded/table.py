"""The table: what each feature says about a message, in one byte a weight.

One linear layer over hashed features with eight columns (see COLUMNS): three classes, a place on
the five steps from very negative to very positive, and four yes/no heads. The file also holds
which features occurred in training at all, so that the table can say how much of a message it
has never seen. It is made by `python -m core.engine.embedded.train` and read with numpy alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded.features import Features, features
from core.errors import PromptError, SetupError
from core.message import Tagging

SHIPPED = Path(__file__).with_name("table.npz")
CLASSES = ("negative", "neutral", "positive")
HEADS = ("strong", "wants_human", "threat_to_leave", "crisis")
COLUMNS = (*CLASSES, "step", *HEADS)
POLARITY: Mapping[str, float] = MappingProxyType(
    {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
)
TASK = "sentiment"
FORMAT = 1
_SMALLEST = 0.03
_NOTHING = (0.1, 0.8, 0.1)  # the classes of a message of nothing
_PLACES = np.arange(1.0, 6.0, dtype=np.float32)
_SQUARED = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)
_SQUARED *= np.abs(_SQUARED)  # what each byte stands for, before its column's scale
_BATCH = 512  # messages scored at once: bounds memory, not results

Floats = NDArray[np.float32]


def slots_of(hashes: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """Return where features of these hashes lie in an array of 2**bits places."""
    return (hashes & np.uint32((1 << bits) - 1)).astype(np.int64)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + e**-x), also for large |x|."""
    half: Floats = np.tanh(np.float32(0.5) * x).astype(np.float32)
    return np.float32(0.5) * (np.float32(1.0) + half)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The numbers of a table, as they are trained and stored.

    `matrix` (8, 2**bits) as bytes: a byte q stands for sign(q) * (q / 127)**2 * scale of its
    column. `bias` (8,), `cuts` (4,) between the five steps, `sharpness` (8,) multiplies the
    logits, `seen` is a bit per place of 2**seen_bits. Once read, the eight bytes of a place lie
    side by side in memory: a message looks at hundreds of places, and each is one wait, not eight.
    """

    matrix: NDArray[np.int8]
    scale: Floats
    bias: Floats
    cuts: Floats
    sharpness: Floats
    seen: NDArray[np.uint8]
    thresholds: Mapping[str, float]

    def write(self) -> bytes:
        """Return the file: the same bytes for the same weights."""
        out = BytesIO()
        meta = json.dumps(
            {"format": FORMAT, "columns": COLUMNS, "thresholds": dict(self.thresholds)}
        )
        np.savez_compressed(
            out,
            matrix=np.ascontiguousarray(self.matrix),
            scale=self.scale,
            bias=self.bias,
            cuts=self.cuts,
            sharpness=self.sharpness,
            seen=self.seen,
            meta=np.frombuffer(meta.encode(), np.uint8),
        )
        return out.getvalue()

    @classmethod
    def read(cls, data: bytes) -> Weights:
        """Read what `write` wrote. Raises ValueError or KeyError for anything else."""
        with np.load(BytesIO(data), allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            if meta["format"] != FORMAT or tuple(meta["columns"]) != COLUMNS:
                raise ValueError(f"format {meta['format']}, but {FORMAT} is needed")
            return cls(
                matrix=np.ascontiguousarray(file["matrix"].T).T,
                scale=file["scale"],
                bias=file["bias"],
                cuts=file["cuts"],
                sharpness=file["sharpness"],
                seen=file["seen"],
                thresholds=MappingProxyType(meta["thresholds"]),
            )


def squeeze(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return weights (8, places) as bytes, and the scale of each column.

    A weight that could not move a message by a hundredth of a logit is dropped: the file gets
    smaller and loads faster.
    """
    scale = np.maximum(np.abs(matrix).max(axis=1), 1e-6).astype(np.float32)
    root = np.round(np.sqrt(np.abs(matrix) / scale[:, None]) * 127.0)
    root[np.abs(matrix) < _SMALLEST] = 0.0
    return (np.sign(matrix) * root).astype(np.int8), scale


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A trained table. Holds no state: any number of callers may score at once."""

    weights: Weights
    instrument: str  # "embedded@" and the first eight signs of the file's SHA-256

    @classmethod
    def load(cls, path: Path | None = None) -> Table:
        """Read a table, by default the one that comes with Heed. Raises SetupError."""
        path = path or SHIPPED
        try:
            data = path.read_bytes()
            weights = Weights.read(data)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise SetupError(
                f"The table {path.name} cannot be read ({error}): install Heed again, or make the "
                "table with python -m core.engine.embedded.train."
            ) from error
        return cls(weights, f"embedded@{hashlib.sha256(data).hexdigest()[:8]}")

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Return from which value on each yes/no head means yes."""
        return self.weights.thresholds

    def score(self, texts: Sequence[str]) -> list[Tagging]:
        """Tag each text alone, in order. Never raises, whatever the strings hold."""
        tags: list[Tagging] = []
        for start in range(0, len(texts), _BATCH):
            batch = [features(text) for text in texts[start : start + _BATCH]]
            tags.extend(self.tag(self.logits(batch), [self.doubt(f) for f in batch]))
        return tags

    def logits(self, batch: Sequence[Features]) -> Floats:
        """Return the raw value of each column, (messages, 8), before sharpness and cuts."""
        table = self.weights
        out = np.tile(table.bias, (len(batch), 1))
        bits = table.matrix.shape[1].bit_length() - 1
        for row, found in enumerate(batch):
            if len(found.hashes):
                stored = table.matrix.T[slots_of(found.hashes, bits)]
                said = _SQUARED[stored.view(np.uint8)] * found.values[:, None]
                out[row] += said.sum(axis=0) * (table.scale / 127.0**2)
        return out

    def doubt(self, found: Features) -> float:
        """Return the share of a message's features that training has never seen, 0..1."""
        hashes = found.hashes[found.known]
        if not len(hashes):
            return 1.0 if not len(found.hashes) else 0.5
        seen = self.weights.seen
        places = slots_of(hashes, (len(seen) * 8).bit_length() - 1)
        known = (seen[places >> 3] >> (places & 7).astype(np.uint8)) & 1
        return 1.0 - int(np.count_nonzero(known)) / len(known)

    def tag(self, logits: Floats, doubts: Sequence[float]) -> list[Tagging]:
        """Turn columns (messages, 8) and doubts into tags; a message of nothing is neutral."""
        weights = self.weights
        sharp = logits * weights.sharpness
        powers = np.exp(sharp[:, :3] - sharp[:, :3].max(axis=1, keepdims=True))
        classes = powers / powers.sum(axis=1, keepdims=True)
        steps = steps_of(sharp[:, 3], weights.cuts)
        signed = (steps @ _PLACES - 3.0) / 2.0
        heads = sigmoid(sharp[:, 4:])
        rows = zip(classes.tolist(), signed.tolist(), heads.tolist(), doubts, strict=True)
        return [
            self._tagging(_NOTHING, 0.0, (0.0, 0.0, 0.0, 0.0), doubt)
            if doubt == 1.0
            else self._tagging(probs, max(-1.0, min(1.0, intensity)), yes, doubt)
            for probs, intensity, yes, doubt in rows
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

        Weights are in logits, most telling first; a character n-gram is shown as it is, "w:" is a
        word, "b:" a pair, "n:" a word under a negation, "m:" a mark such as shouting.
        """
        found = features(text, named=True)
        weights = self.weights
        places = slots_of(found.hashes, weights.matrix.shape[1].bit_length() - 1)
        stored = weights.matrix[:, places].T.astype(np.float32)
        parts = stored * np.abs(stored) * (weights.scale * weights.sharpness / 127.0**2)
        parts *= found.values[:, None]
        result: dict[str, list[dict[str, Any]]] = {}
        for j, column in enumerate(COLUMNS):
            sums: dict[str, float] = {}
            for name, part in zip(found.names, parts[:, j], strict=True):
                sums[name] = sums.get(name, 0.0) + float(part)
            best = sorted(sums.items(), key=lambda item: -abs(item[1]))[:top]
            result[column] = [{"feature": n, "weight": round(w, 4)} for n, w in best if w]
        return result


def steps_of(place: Floats, cuts: Floats) -> Floats:
    """Return the probability of each of the five steps, (messages, 5)."""
    below = sigmoid(cuts[None, :] - place[:, None])
    edges = np.zeros((len(place), len(cuts) + 2), np.float32)
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

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text alone, in order. Raises PromptError for any task but sentiment."""
        if task not in {None, TASK}:
            raise PromptError(
                f"The embedded table only knows the task {TASK!r}, not {task!r}: choose a model "
                f"(model.name) for that task, or set the task back to {TASK!r}."
            )
        return self.table.score(texts)
