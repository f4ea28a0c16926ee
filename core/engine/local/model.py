"""Weights, KV and forwards: the only place where tensors meet the network.

One operation does the work. `grow` adds a trunk of new tokens to a memory and, in the same
forward, branches that all begin where the trunk ends and are blind to each other: the header of a
reply and the suffix of a tag, or many messages over one prompt. The first branch may stay; the
others lie behind it in the cache and are cut off, which only changes a length.
"""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from core.engine.local.turns import Counters, Settings
from core.errors import SetupError

_log = logging.getLogger(__name__)
_REFUSALS = (ValueError, TypeError, RuntimeError, IndexError, KeyError)  # of a mask or a cache


class Memory:
    """Token ids beside their KV: row i of every layer belongs to `ids[i]`."""

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
        """Bytes held, counted by capacity and not by length."""
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

    def compact(self) -> None:
        """Give back what a cut has left behind: a cut view keeps its whole buffer alive."""
        for layer in self.cache.layers:
            for name in ("keys", "values"):
                if isinstance(tensor := getattr(layer, name, None), torch.Tensor):
                    setattr(layer, name, tensor.clone())


class Model:
    """One copy of the weights with its tokenizer. Lives in the engine thread."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._counters = counters
        self.threads = settings.threads or max(1, _cores() - 1)
        torch.set_num_threads(self.threads)  # one core stays with the event loop
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        self.tokenizer, self._network = _load(settings, self.dtype)
        self._network.eval().requires_grad_(requires_grad=False)
        counters.loads += 1
        self.tree = True  # one forward for trunk and branches
        self.stops = _stops(self.tokenizer, self._network)

    @property
    def positions(self) -> int:
        """Tokens that fit into one conversation."""
        return int(getattr(self._network.config, "max_position_embeddings", 0) or 4096)

    def memory(self) -> Memory:
        """Return an empty memory."""
        return Memory(self._network.config)

    @torch.inference_mode()
    def grow(
        self, memory: Memory, trunk: list[int], branches: list[list[int]], *, keep: bool
    ) -> torch.Tensor:
        """Add `trunk` to the memory, and the first branch too if `keep`.

        Returns the logits after each branch, [branches, vocabulary]. Every branch sees the
        memory, the trunk and itself. When this raises, the memory is spoilt: throw it away.
        """
        if len(branches) == 1 and keep:
            logits = self._forward(memory, trunk + branches[0])
            memory.ids += trunk + branches[0]
            return logits
        if self.tree and memory.croppable:
            return self._grow_tree(memory, trunk, branches, keep=keep)
        return self._grow_each(memory, trunk, branches, keep=keep)

    @torch.inference_mode()
    def step(self, memory: Memory, token: int) -> torch.Tensor:
        """Add one token and return the logits after it, [vocabulary]."""
        logits = self._forward(memory, [token])[0]
        memory.ids.append(token)
        return logits

    def warm_up(self) -> None:
        """Run a prefill and a step, and find out whether this model can do a tree."""
        size = min(self._network.config.vocab_size, 50)
        trunk, branches = [i % size for i in range(12)], [[1, 2, 3], [4, 5], [6]]
        alone = self.memory()
        apart = self._grow_each(alone, trunk, branches, keep=True)
        self.step(alone, 1)
        try:
            joint = self._grow_tree(self.memory(), trunk, branches, keep=True)
            gap = float((joint - apart).abs().max())
            close = 1e-3 if self.dtype == torch.float32 else 0.25
            self.tree = alone.croppable and gap <= close * max(1.0, float(apart.abs().max()))
        except _REFUSALS:
            self.tree = False
        if not self.tree:
            _log.info("this model takes no tree mask: tag and reply run one after the other")

    @torch.inference_mode()
    def _grow_tree(
        self, memory: Memory, trunk: list[int], branches: list[list[int]], *, keep: bool
    ) -> torch.Tensor:
        past, fork = len(memory.ids), len(trunk)
        rows = trunk + [token for branch in branches for token in branch]
        seen = torch.zeros(len(rows), past + len(rows), dtype=torch.bool)
        seen[:, : past + fork] = True
        seen[:fork, past : past + fork] = torch.ones(fork, fork, dtype=torch.bool).tril()
        places, ends, at = list(range(past, past + fork)), [], fork
        for branch in branches:
            size = len(branch)
            seen[at : at + size, past + at : past + at + size] = torch.ones(
                size, size, dtype=torch.bool
            ).tril()
            places += range(past + fork, past + fork + size)
            at += size
            ends.append(at - 1)
        mask = torch.zeros(seen.shape, dtype=self.dtype)
        mask.masked_fill_(~seen, torch.finfo(self.dtype).min)
        logits = self._forward(memory, rows, ends=ends, mask=mask[None, None], places=places)
        memory.ids += rows
        memory.cut(past + fork + (len(branches[0]) if keep else 0))
        return logits

    @torch.inference_mode()
    def _grow_each(
        self, memory: Memory, trunk: list[int], branches: list[list[int]], *, keep: bool
    ) -> torch.Tensor:
        if trunk:
            self._forward(memory, trunk)
            memory.ids += trunk
        fork, found = len(memory.ids), []
        for at, branch in reversed(list(enumerate(branches))):  # the first last: it may stay
            stays = keep and at == 0
            here = memory if stays or memory.croppable else copy.deepcopy(memory)
            found.append(self._forward(here, branch)[0])
            here.ids += branch
            if not stays:
                here.cut(fork)
        return torch.stack(found[::-1])

    def _forward(
        self,
        memory: Memory,
        rows: list[int],
        *,
        ends: list[int] | None = None,
        mask: torch.Tensor | None = None,
        places: list[int] | None = None,
    ) -> torch.Tensor:
        """Run the network over new rows; logits [ends, vocabulary] (None: after the last row)."""
        past = len(memory.ids)
        where = places if places is not None else range(past, past + len(rows))
        out = self._network(
            input_ids=torch.tensor([rows]),
            attention_mask=mask,
            position_ids=torch.tensor([list(where)]),
            past_key_values=memory.cache,
            use_cache=True,
            # An index, never a number: a slice sends the vocabulary head through a full copy.
            logits_to_keep=torch.tensor(ends if ends is not None else [len(rows) - 1]),
        )
        self._counters.forwards += 1
        self._counters.prefills += len(rows) > 1
        self._counters.tokens_computed += len(rows)
        logits: torch.Tensor = out.logits[0].float()
        return logits


def _load(settings: Settings, dtype: torch.dtype) -> tuple[Any, Any]:
    """Read tokenizer and weights from this machine; nothing is ever downloaded here."""
    source = settings.source
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        network = AutoModelForCausalLM.from_pretrained(source, local_files_only=True, dtype=dtype)
    except (OSError, ValueError, KeyError) as fault:
        if Path(source).is_dir():
            why = str(fault).strip().partition("\n")[0]
            raise SetupError(
                f"the folder {source} holds no model that can be loaded ({why}): "
                "it needs config.json, the tokenizer and the weights of a chat model"
            ) from fault
        raise SetupError(missing(source)) from fault
    return tokenizer, network


def missing(source: str) -> str:
    """Return the sentence for a model that is not on this machine."""
    return (
        f"the model {source} is not on this machine: run `heed model pull {source}`, "
        "or `heed model import DIR` with a downloaded copy, "
        "or set model.name to a folder, a server's URL or embedded"
    )


def _stops(tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel) -> frozenset[int]:
    """Every token that ends a reply: a model that speaks any special token is done speaking."""
    ends = getattr(network.generation_config, "eos_token_id", None)
    ends = ends if isinstance(ends, list) else [ends]
    return frozenset({*tokenizer.all_special_ids, *(end for end in ends if end is not None)})


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
