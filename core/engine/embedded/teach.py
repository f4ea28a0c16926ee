"""Training of the reader, with torch: all columns at once, and which of six emotions is shown.

A shape of the field's usual make: summed subword embeddings (fastText, Bojanowski et al. 2017),
two convolutions (Kim 2014) with a residual, attention and maximum pooling. Adam with a warm-up and
a straight descent; what is kept is a running mean of the weights (Polyak averaging).

One thread and one seed: the same rows give the same reader on the same kind of machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from core.engine.embedded.fit import times
from core.engine.embedded.reader import LIVE_BITS, Floats, Reader, mark, places_of
from core.engine.embedded.rows import Sheet
from core.engine.embedded.table import COLUMNS, EMOTIONS

BITS, SIZE, CHANNELS, LOOKS, HIDDEN = 17, 48, 96, 4, 64
EPOCHS, BATCH, RATE = 4, 256, 2e-3
FORGET, FORGET_INSIDE = 0.15, 0.2  # share of tokens, and of values inside, left out in training
STEP_WEIGHT, EMOTION_WEIGHT = 0.7, 0.5
HEAD_WEIGHT = np.array([1.0, 3.0, 3.0, 3.0], np.float32)  # beside what a row says of each head
_LEVELS = 3  # a byte of the embedding takes this many values on each side: small when packed
_REACH = 3.0  # standard deviations of a dimension that the levels reach over
_NOTHING = 1 << BITS  # the place of a number that training does not know

Places = NDArray[np.int64]


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        outputs = len(COLUMNS) + len(EMOTIONS)
        self.embed = nn.EmbeddingBag(_NOTHING + 1, SIZE, mode="sum", padding_idx=_NOTHING)
        nn.init.normal_(self.embed.weight, 0.0, 0.1)
        self.near = nn.Conv1d(SIZE, CHANNELS, 3, padding=1)
        self.wide = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.look = nn.Linear(CHANNELS, LOOKS, bias=False)
        nn.init.zeros_(self.look.weight)
        self.hidden = nn.Linear((LOOKS + 2) * CHANNELS, HIDDEN)
        self.out = nn.Linear(HIDDEN, outputs)
        self.straight = nn.Linear(SIZE, outputs, bias=False)
        self.cuts = nn.Parameter(torch.tensor([-2.0, -0.7, 0.7, 2.0]))

    def forward(self, some: _Some) -> Tensor:  # type: ignore[explicit-override]
        """Return the outputs (rows, 14)."""
        tokens = self.embed(some.places, some.begins) / some.sizes.sqrt()[:, None]
        if self.training:
            tokens = tokens * (torch.rand(len(tokens), 1) >= FORGET)
        count, longest = some.shape
        flat = some.row * longest + some.at
        rows = torch.zeros(count * longest, SIZE).index_copy(0, flat, tokens)
        rows = rows.view(count, longest, SIZE)
        there = torch.zeros(count * longest).index_fill(0, flat, 1.0).view(count, longest, 1)
        root = there.sum(1).sqrt()
        bag = rows.sum(1) / root
        seen = functional.dropout(rows, 0.1, self.training).transpose(1, 2)
        mask = there.transpose(1, 2)
        seen = self.near(seen).relu() * mask
        seen = ((seen + self.wide(seen).relu()) * mask).transpose(1, 2)
        away = there == 0
        looks = self.look(seen).masked_fill(away, -1e9).softmax(1)
        pooled = torch.cat(
            [
                (looks.transpose(1, 2) @ seen).flatten(1),
                seen.masked_fill(away, -1e9).amax(1),
                seen.sum(1) / root,
            ],
            1,
        )
        inside = self.hidden(functional.dropout(pooled, FORGET_INSIDE, self.training)).relu()
        inside = functional.dropout(inside, FORGET_INSIDE, self.training)
        past = functional.dropout(bag, FORGET_INSIDE, self.training)
        outputs: Tensor = self.out(inside) + self.straight(past)
        return outputs


@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """A batch of rows, as the net takes it."""

    places: Tensor  # (pieces,)
    begins: Tensor  # (tokens,) where a token's pieces begin
    sizes: Tensor  # (tokens,) pieces of each
    row: Tensor  # (tokens,)
    at: Tensor  # (tokens,) place in its row
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """A reader and the cuts between its five steps."""

    reader: Reader
    cuts: Floats


def teach(data: Sheet, rows: Places, *, seed: int = 1) -> Taught:
    """Train a reader on these rows."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    lengths = np.diff(data.row_starts)
    rows = rows[lengths[rows] > 0]
    known, places = _known(data, rows)
    net = _Net()
    numbers = list(net.parameters())
    mean = [one.detach().clone() for one in numbers]
    adam = torch.optim.Adam(numbers, lr=RATE, betas=(0.9, 0.98))
    steps, done = EPOCHS * (len(rows) // BATCH + 1), 0
    for _ in range(EPOCHS):
        for some in _batches(dice, rows, lengths):
            adam.param_groups[0]["lr"] = RATE * min(1.0, (done + 1) / 200) * (1 - done / steps)
            loss = _loss(net(_some(data, places, some)), net.cuts, data, some)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(numbers, 5.0)
            adam.step()
            done = min(done + 1, steps - 1)
            if done % 8 == 0:
                _average(mean, numbers, min(0.99, done / (done + 400)))
    with torch.no_grad():
        for one, kept in zip(numbers, mean, strict=True):
            one.copy_(kept)
    return Taught(_packed(net, known), np.sort(net.cuts.detach().numpy()).astype(np.float32))


def _known(data: Sheet, rows: Places) -> tuple[NDArray[np.uint8], Places]:
    """Return the bits of every number met twice or more in these rows, and all places."""
    spans = data.token_starts[data.row_starts]
    often = np.repeat(times(data, rows), np.diff(spans))
    folded = places_of(data.pieces, 24)
    live = np.bincount(folded, often, 1 << 24)[folded] > 1
    places = np.where(live, places_of(data.pieces, BITS), _NOTHING)
    return mark(data.pieces[live & (often > 0)], LIVE_BITS), places


def _batches(dice: np.random.Generator, rows: Places, lengths: Places) -> list[Places]:
    """Draw an order in which rows of like length come together, and batches in any order."""
    order = dice.permutation(rows)
    found: list[Places] = []
    for at in range(0, len(order), BATCH * 32):
        shelf = order[at : at + BATCH * 32]
        shelf = shelf[np.argsort(lengths[shelf], kind="stable")]
        found += [shelf[i : i + BATCH] for i in range(0, len(shelf), BATCH)]
    return [found[i] for i in dice.permutation(len(found))]


def _some(data: Sheet, places: Places, rows: Places) -> _Some:
    tokens, row, at = _spread(data.row_starts, rows)
    pieces, owner, _ = _spread(data.token_starts, tokens)
    sizes = np.bincount(owner, minlength=len(tokens))
    return _Some(
        places=torch.from_numpy(places[pieces]),
        begins=torch.from_numpy(np.cumsum(sizes) - sizes),
        sizes=torch.from_numpy(sizes.astype(np.float32)),
        row=torch.from_numpy(row),
        at=torch.from_numpy(at),
        shape=(len(rows), int(at.max()) + 1),
    )


def _spread(starts: Places, chosen: Places) -> tuple[Places, Places, Places]:
    """Return every member of the chosen spans, which span it is of, and its place in it."""
    sizes = starts[chosen + 1] - starts[chosen]
    owner = np.repeat(np.arange(len(chosen)), sizes)
    at = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts[chosen], sizes) + at, owner, at


def _loss(outputs: Tensor, cuts: Tensor, data: Sheet, rows: Places) -> Tensor:
    """Return the loss a row: what `fit.gradient` descends, and the emotion."""

    def of(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values[rows])

    weight, label = of(data.weight), of(data.label)
    loss = _weighted(outputs[:, :3], label, weight)
    low, high = of(data.low), of(data.high)
    bounds = torch.cat([torch.tensor([-1e4]), cuts.sort()[0], torch.tensor([1e4])])
    upper = torch.sigmoid(bounds[high] - outputs[:, 3])
    lower = torch.sigmoid(bounds[(low - 1).clamp(min=0)] - outputs[:, 3])
    graded = torch.log((upper - lower).clamp(min=1e-4)) * weight * (low > 0)
    loss = loss - STEP_WEIGHT * graded.sum()
    target = of(data.heads)
    counts = of(data.head_weight * HEAD_WEIGHT) * (target >= 0)
    heads = outputs[:, 4 : len(COLUMNS)]
    yes = functional.binary_cross_entropy_with_logits(
        heads, target.clamp(min=0), weight=counts, reduction="sum"
    )
    felt = _weighted(outputs[:, len(COLUMNS) :], of(data.emotion), weight)
    return (loss + yes + EMOTION_WEIGHT * felt) / len(rows)


def _weighted(scores: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy of the rows that have a target, -1 being none."""
    each = functional.cross_entropy(scores, target, reduction="none", ignore_index=-1)
    return (each * weight).sum()


def _average(mean: list[Tensor], numbers: list[nn.Parameter], kept: float) -> None:
    with torch.no_grad():
        for one, now in zip(mean, numbers, strict=True):
            one.mul_(kept).add_(now, alpha=1.0 - kept)


def _packed(net: _Net, known: NDArray[np.uint8]) -> Reader:
    """Turn the net into what numpy reads."""

    def of(tensor: Tensor | None) -> Floats:
        return np.ascontiguousarray(cast(Tensor, tensor).detach().numpy(), np.float32)

    weights = of(net.embed.weight)[:_NOTHING]
    scale = np.maximum(_REACH * weights.std(axis=0), 1e-6) / _LEVELS
    embed = np.clip(np.round(weights / scale), -_LEVELS, _LEVELS).astype(np.int8)
    return Reader(
        embed=embed,
        scale=scale.astype(np.float32),
        live=known,
        near=of(net.near.weight.permute(2, 1, 0).reshape(3 * SIZE, CHANNELS)),
        near_bias=of(net.near.bias),
        wide=of(net.wide.weight.permute(2, 1, 0).reshape(3 * CHANNELS, CHANNELS)),
        wide_bias=of(net.wide.bias),
        look=of(net.look.weight.T),
        hidden=of(net.hidden.weight.T),
        hidden_bias=of(net.hidden.bias),
        out=of(net.out.weight.T),
        straight=of(net.straight.weight.T),
        bias=of(net.out.bias),
    )
