"""The reader: a small network over the tokens of a message, in their order, with numpy alone.

Where the linear layer adds up what each word says anywhere, the reader sees words beside each
other: two convolutions over three tokens each, then the most telling places (attention, maximum
and sum), one hidden layer. It is trained by `core.engine.embedded.teach`.

Many messages are read at once without padding: their tokens lie one after the other with a row of
zeros between messages, and are gathered by `reduceat`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engine.embedded.features import Features

Floats = NDArray[np.float32]
LIVE_BITS = 21


def places_of(hashes: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """Return where numbers lie in an array of 2**bits places."""
    return (hashes & np.uint32((1 << bits) - 1)).astype(np.int64)


def marked(bits: NDArray[np.uint8], hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Say which numbers have their bit set in a packed array of a power of two bits."""
    places = places_of(hashes, (len(bits) * 8).bit_length() - 1)
    found: NDArray[np.bool_] = ((bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1) > 0
    return found


def mark(hashes: NDArray[np.uint32], size: int) -> NDArray[np.uint8]:
    """Return a packed array of 2**size bits in which `marked` finds these numbers."""
    marks = np.zeros(1 << size, np.bool_)
    marks[places_of(hashes, size)] = True
    return np.packbits(marks, bitorder="little")


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """A trained reader of D dimensions, C channels, A places of attention, H hidden, O outputs.

    `embed` (places, D) holds bytes that stand for q * `scale` [D]; `live` is a bit for each number
    that training knew, the others say nothing.
    """

    embed: NDArray[np.int8]
    scale: Floats
    live: NDArray[np.uint8]
    near: Floats  # (3 D, C)
    near_bias: Floats  # (C,)
    wide: Floats  # (3 C, C)
    wide_bias: Floats
    look: Floats  # (C, A)
    hidden: Floats  # ((A + 2) C, H)
    hidden_bias: Floats
    out: Floats  # (H, O)
    straight: Floats  # (D, O): past everything, from the sum of the tokens
    bias: Floats  # (O,)

    def read(self, batch: Sequence[Features]) -> Floats:
        """Return the outputs (messages, O). Every message must have a token."""
        if not batch:
            return np.zeros((0, len(self.bias)), np.float32)
        counts = np.array([len(found.tokens) for found in batch])
        first = np.cumsum(counts) - counts
        tokens = self._tokens(batch)
        bag = np.add.reduceat(tokens, first) / np.sqrt(counts)[:, None]
        at = np.arange(len(tokens)) + np.repeat(np.arange(1, len(batch) + 1), counts)
        padded = np.zeros((len(tokens) + len(batch) + 1, self.scale.shape[0]), np.float32)
        padded[at] = tokens
        seen = _beside(padded, self.near, self.near_bias)
        apart = np.ones(len(padded), np.bool_)
        apart[at] = False
        seen[apart] = 0.0
        seen = (seen + _beside(seen, self.wide, self.wide_bias))[at]
        hidden = np.maximum(self._gathered(seen, first, counts) @ self.hidden + self.hidden_bias, 0)
        outputs: Floats = hidden @ self.out + bag @ self.straight + self.bias
        return outputs.astype(np.float32)

    def _tokens(self, batch: Sequence[Features]) -> Floats:
        """Return what each token is (tokens, D): the mean of its pieces, times the root of them."""
        pieces = np.concatenate([found.pieces for found in batch])
        sizes = np.array([len(found.pieces) for found in batch])
        starts = np.concatenate([found.tokens for found in batch])
        starts = starts + np.repeat(np.cumsum(sizes) - sizes, [len(f.tokens) for f in batch])
        bits = self.embed.shape[0].bit_length() - 1
        values = self.embed[places_of(pieces, bits)].astype(np.float32)
        values[~marked(self.live, pieces)] = 0.0
        counts = np.diff(np.append(starts, len(pieces)))
        sums: NDArray[np.float32] = np.add.reduceat(values, starts)
        roots = np.sqrt(counts).astype(np.float32)[:, None]
        return np.asarray(sums * self.scale / roots, np.float32)

    def _gathered(
        self, seen: Floats, first: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> Floats:
        """Return one row for each message: A weighted means, the maximum, and the sum."""
        looks = seen @ self.look
        looks = np.exp(looks - np.repeat(np.maximum.reduceat(looks, first), counts, axis=0))
        shares = looks / np.repeat(np.add.reduceat(looks, first), counts, axis=0)
        means = [
            np.add.reduceat(seen * shares[:, k : k + 1], first) for k in range(shares.shape[1])
        ]
        total = np.add.reduceat(seen, first) / np.sqrt(counts)[:, None].astype(np.float32)
        return np.concatenate([*means, np.maximum.reduceat(seen, first), total], axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is stored: floats at half precision, bytes as they are."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            f"reader_{name}": array.astype(np.float16) if array.dtype == np.float32 else array
            for name, array in found.items()
        }

    @classmethod
    def of(cls, file: Mapping[str, NDArray[Any]]) -> Reader:
        """Read what `arrays` gave. Raises KeyError where something is missing."""
        found = {field.name: file[f"reader_{field.name}"] for field in fields(cls)}
        return cls(
            **{
                name: array.astype(np.float32) if array.dtype == np.float16 else array
                for name, array in found.items()
            }  # type: ignore[arg-type]
        )


def _beside(rows: Floats, weights: Floats, bias: Floats) -> Floats:
    """Convolve over each row and its two neighbours, with a rectifier; the ends see zeros."""
    width = rows.shape[1]
    out = rows @ weights[width : 2 * width] + bias
    out[1:] += rows[:-1] @ weights[:width]
    out[:-1] += rows[1:] @ weights[2 * width :]
    seen: Floats = np.maximum(out, 0.0)
    return seen
