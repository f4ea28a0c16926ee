"""Any other causal model: the library's own network, one conversation after the other.

Slower than the decoder and without its tree, but with the same face: parts in, logits out. What a
model's cache cannot do decides how: one that cannot be cropped is copied where two branches part,
and starts from nothing where its past changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers import DynamicCache, PreTrainedConfig

from core.engine.local.checkpoint import Checkpoint
from core.engine.local.decoder import Part
from core.engine.local.linear import Kernels


class LibraryCache:
    """Token ids beside the library's cache of them."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self._config = config
        self.since = -1.0  # the history shown in here begins at this time
        self._empty()

    def _empty(self) -> None:
        self.ids: list[int] = []
        self.cache = DynamicCache(config=self._config)

    @property
    def croppable(self) -> bool:
        """Whether tokens can be taken off the end; a sliding window has forgotten too much."""
        return bool(self.cache.is_croppable) and not any(self.cache.is_sliding)

    @property
    def size(self) -> int:
        """Bytes held, counted by room and not by length."""
        return sum(
            tensor.untyped_storage().nbytes()
            for layer in self.cache.layers
            for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
            if isinstance(tensor, torch.Tensor)
        )

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens; a cache that cannot do that starts from nothing."""
        surplus = len(self.ids) - length
        if surplus <= 0:
            return
        if length == 0 or not self.croppable:
            self._empty()
            return
        self.cache.crop(-surplus)  # negative: how many to remove
        del self.ids[length:]

    def reserve(self, length: int) -> None:
        """The library's cache grows by itself."""

    def compact(self) -> None:
        """Give back what a cut has left behind: a cut view keeps its whole buffer alive."""
        for layer in self.cache.layers:
            for name in ("keys", "values"):
                if isinstance(tensor := getattr(layer, name, None), torch.Tensor):
                    setattr(layer, name, tensor.clone())


class Library:
    """The network that `AutoModelForCausalLM` builds."""

    states: torch.Tensor | None = None  # it does not give them away

    def __init__(
        self, checkpoint: Checkpoint, kernels: Kernels, tick: Callable[[], None] = lambda: None
    ) -> None:
        network: Any = checkpoint.network(kernels.dtype)
        self._network = network.to(kernels.device)
        self._device = kernels.device
        for module in self._network.modules():
            if not any(module.children()):
                module.register_forward_hook(lambda *_: tick())

    def memory(self) -> LibraryCache:
        """Return the memory of a conversation that has not begun."""
        return LibraryCache(self._network.config)

    @torch.inference_mode()
    def forward(
        self, parts: Sequence[Part], words: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        """Run new tokens of many conversations; logits [ends, vocabulary or words] for each part.

        When this raises, the memories of the parts are spoilt: throw them away.
        """
        found = [self._forward(part, cast(LibraryCache, part.memory)) for part in parts]
        return found if words is None else [logits[:, list(words)] for logits in found]

    def _forward(self, part: Part, cache: LibraryCache) -> torch.Tensor:
        if not part.branches:
            return self._rows(cache, part.trunk)
        *others, first = part.branches[::-1]  # the first last: it may stay
        trunk = list(part.trunk)
        if not others and part.keep:
            return self._rows(cache, [*trunk, *first])
        if trunk:
            self._rows(cache, trunk)
        fork, found = len(cache.ids), []
        for branch in (*others, first):
            stays = part.keep and branch is first
            croppable = stays or cache.croppable
            here = cache if croppable else copy.deepcopy(cache)
            found.append(self._rows(here, branch))
            if not stays:
                here.cut(fork)
        return torch.cat(found[::-1])

    def _rows(self, cache: LibraryCache, rows: Sequence[int]) -> torch.Tensor:
        """Run rows that follow the memory and return the logits after the last one."""
        past = len(cache.ids)
        out = self._network(
            input_ids=torch.tensor([list(rows)], device=self._device),
            position_ids=torch.arange(past, past + len(rows), device=self._device)[None],
            past_key_values=cache.cache,
            use_cache=True,
            # An index, never a number: a slice sends the vocabulary head through a full copy.
            logits_to_keep=torch.tensor([len(rows) - 1], device=self._device),
        )
        cache.ids += rows
        logits: torch.Tensor = out.logits[0].float().cpu()
        return logits
