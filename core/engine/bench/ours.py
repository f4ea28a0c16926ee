"""The same turn by Heed's model: one forward for the tag and the first word, then word by word.

Everything goes through `Model.grow`, `step` and `steps`, as the engine's own thread calls them,
and the tokens are drawn by the engine's own `pick`. Lengths are the baseline's; the tag is read
from the logits of one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.engine.bench.baseline import Laps
from core.engine.bench.clocks import Lap, now, summary
from core.engine.bench.shapes import TURN, Shape, draw
from core.engine.bench.start import settings
from core.engine.local import decoder
from core.engine.local.model import Model
from core.engine.local.speech import pick
from core.engine.local.turns import Counters, Memory
from core.engine.local.worker import _PIECE
from core.prompts import Sampling

SAMPLING = Sampling(temperature=0.7, top_p=0.9, top_k=20)
_LABELS = 3
_KV = 256  # tokens each conversation holds when many are decoded together


@dataclass(kw_only=True)
class Ours:
    """One loaded model and a conversation that it remembers."""

    model: Model
    shape: Shape
    reply: int = TURN.reply

    def __post_init__(self) -> None:
        self._memory = self.model.memory()
        self._chance = torch.Generator().manual_seed(0)
        self._past = draw(self.shape, TURN.system + TURN.history, 1)

    # ---- one turn ------------------------------------------------------------------------

    def cold(self, seed: int) -> Laps:
        """Take a turn of a conversation of which nothing is held."""
        memory = self.model.memory()
        return self._turn(memory, self._past + draw(self.shape, TURN.message, seed), seed)

    def warm(self, seed: int) -> Laps:
        """Take a turn of a conversation that is held up to this message."""
        memory = self._held()
        return self._turn(memory, draw(self.shape, TURN.message, seed), seed)

    def prefill(self, seed: int, *, tagged: bool) -> Lap:
        """Take a warm turn up to the reply's first logits, with the tag or without."""
        memory = self._held()
        message, (header, suffix) = draw(self.shape, TURN.message, seed), self._branches(seed)
        began = now()
        branches = [header, suffix] if tagged else [header]
        self.model.grow(memory, message, branches, keep=True)
        return now() - began

    def _held(self) -> Memory:
        memory, past = self._memory, self._past
        memory.cut(len(past))
        if len(memory.ids) < len(past):
            self.model.grow(memory, past[:-1], [past[-1:]], keep=True)
        return memory

    def _branches(self, seed: int) -> tuple[list[int], list[int]]:
        both = draw(self.shape, TURN.header + TURN.suffix, seed + 1)
        return both[: TURN.header], both[TURN.header :]

    def _turn(self, memory: Memory, trunk: list[int], seed: int) -> Laps:
        said: list[int] = []
        branches = list(self._branches(seed))
        began = now()
        memory.reserve(len(memory.ids) + len(trunk) + TURN.header + TURN.suffix)
        while len(trunk) > _PIECE:  # as the engine's own thread reads a long prompt
            self.model.read(memory, trunk[:_PIECE])
            trunk = trunk[_PIECE:]
        logits = self.model.grow(memory, trunk, branches, keep=True)
        logits[1].log_softmax(-1)[:_LABELS].tolist()
        tagged = now()
        said.append(pick(logits[0], SAMPLING, said, self._chance))
        first = now()
        while len(said) < self.reply:
            said.append(pick(self.model.step(memory, said[-1]), SAMPLING, said, self._chance))
        ended = now()
        return Laps(
            tag=tagged - began,
            first=first - began,
            total=ended - began,
            decode=(ended - first).per(self.reply - 1),
        )

    # ---- many conversations --------------------------------------------------------------

    def together(self, count: int, steps: int = 12) -> dict[str, Any]:
        """Decode `count` conversations at a time; tokens per second of each clock."""
        memories = [self._filled(_KV, at) for at in range(count)]
        laps, tokens = [], draw(self.shape, count, 7)
        for _ in range(steps):
            began = now()
            logits = self.model.steps(memories, tokens)
            tokens = [pick(row, SAMPLING, [], self._chance) for row in logits]
            laps.append(now() - began)
        step = summary(laps[1:])
        rates = {clock: round(1000 * count / step[clock]["min"], 2) for clock in step}
        return {"step_ms": step, "tokens_per_second": rates}

    def _filled(self, length: int, seed: int) -> Memory:
        memory, ids = self.model.memory(), draw(self.shape, length, 100 + seed)
        self.model.grow(memory, ids[:-1], [ids[-1:]], keep=True)
        return memory

    # ---- a long past ---------------------------------------------------------------------

    def depth(self, few: int = 100, many: int = 2000, steps: int = 8) -> dict[str, Any]:
        """Compare a step on `few` cached tokens with one on `many`, and its attention in both."""
        laps: dict[int, list[Lap]] = {few: [], many: []}
        memories = {length: self._filled(length, length) for length in laps}
        for _ in range(steps):  # turn about, so that both meet the same neighbours
            for length, memory in memories.items():
                memory.cut(length)
                began = now()
                self.model.step(memory, 5)
                laps[length].append(now() - began)
        attention = {length: self._attention(memory) for length, memory in memories.items()}
        return {
            "few": few,
            "many": many,
            "step_few_ms": summary(laps[few]),
            "step_many_ms": summary(laps[many]),
            "attention_few_ms": summary(attention[few]),
            "attention_many_ms": summary(attention[many]),
        }

    def _attention(self, memory: Memory, steps: int = 5) -> list[Lap]:
        """Return what attention costs in each of some steps, by the clocks around it."""
        spent: list[Lap] = []
        with _timed_attention(spent):
            for _ in range(steps):
                spent.append(Lap(0, 0))
                self.model.step(memory, 5)
        return spent


@contextmanager
def _timed_attention(spent: list[Lap]) -> Iterator[None]:
    """Add what every call of attention costs to the last of `spent`."""
    attend = decoder.attend

    def timed(*args: Any, **more: Any) -> torch.Tensor:  # noqa: ANN401
        began = now()
        found = attend(*args, **more)
        spent[-1] += now() - began
        return found

    decoder.attend = timed
    try:
        yield
    finally:
        decoder.attend = attend


def load(folder: Path, shape: Shape, precision: str, threads: int) -> tuple[Ours, Lap]:
    """Load and pack a checkpoint; also how long that took. Raises SetupError."""
    began = now()
    model = Model(settings(folder, precision, threads), Counters())
    return Ours(model=model, shape=shape), now() - began
