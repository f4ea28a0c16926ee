"""What one conversation has already cost: its token ids, and their keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_STEP = 64  # tokens by which room grows at least
_SLACK = 256  # tokens of unused room that may lie idle


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One token's keys and values: `layers` x 2 x `heads` x `size` numbers of `dtype`."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device


class Cache:
    """Token ids beside their KV: row i of every layer belongs to `ids[i]`.

    The buffer, [layers, 2, heads, room, size], is made ahead of what goes in. What lies behind
    `len(ids)` is never read, so taking tokens off the end changes a length and nothing else.
    """

    croppable = True

    def __init__(self, shape: Shape) -> None:
        self.ids: list[int] = []
        self.since = -1.0  # the history shown in here begins at this time
        self._shape = shape
        self._kv = self._buffer(0)

    @property
    def size(self) -> int:
        """Bytes held, counted by room and not by length."""
        return self._kv.nbytes

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens."""
        del self.ids[length:]

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens in all."""
        room = self._kv.shape[3]
        if length > room:
            self._move(max(length, room + room // 4))

    def compact(self) -> None:
        """Give back what is not used."""
        if self._kv.shape[3] - len(self.ids) > _SLACK:
            self._move(len(self.ids))

    def layers(self, new: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return for each layer where `new` tokens go, and all with them: [2, heads, n, size]."""
        have = len(self.ids)
        self.reserve(have + new)
        fresh = self._kv[:, :, :, have : have + new].unbind(0)
        return list(zip(fresh, self._kv[:, :, :, : have + new].unbind(0), strict=True))

    def _buffer(self, room: int) -> torch.Tensor:
        one = self._shape
        room = -(-room // _STEP) * _STEP
        return torch.empty(
            (one.layers, 2, one.heads, room, one.size), dtype=one.dtype, device=one.device
        )

    def _move(self, room: int) -> None:
        old, have = self._kv, len(self.ids)
        self._kv = self._buffer(room)
        self._kv[:, :, :, :have] = old[:, :, :, :have]
