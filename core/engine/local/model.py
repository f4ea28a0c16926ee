"""One copy of the weights with its tokenizer: the way that suits it is found once, at the start.

checkpoint.py   the files
linear.py       the kernels of this machine
decoder.py      our own forward, for the family of models that Heed is made for
library.py      the library's forward, for every other
memory.py       what a conversation has cost so far
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import transformers

from core.engine.local.checkpoint import Checkpoint
from core.engine.local.decoder import Decoder, Part
from core.engine.local.linear import Kernels, choose
from core.engine.local.turns import Counters, Memory, Settings
from core.errors import SetupError

if TYPE_CHECKING:
    from core.engine.local.library import Library

_log = logging.getLogger(__name__)


class Model:
    """Lives in the engine thread. Raises SetupError when it cannot be loaded as set."""

    def __init__(
        self, settings: Settings, counters: Counters, tick: Callable[[], None] = lambda: None
    ) -> None:
        self._counters = counters
        self.threads = settings.threads or max(1, _cores() - 1)
        torch.set_num_threads(self.threads)  # one core stays with the event loop
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        checkpoint = Checkpoint(settings.source, settings.adapter)
        config = checkpoint.config
        inner = getattr(config, "intermediate_size", None)
        shape = (inner or config.hidden_size, config.hidden_size)
        self.kernels = choose(settings.precision, _device(settings.device), shape)
        self.folder = checkpoint.folder
        self.tokenizer = checkpoint.tokenizer
        self.stops = checkpoint.ends
        self.positions = int(getattr(config, "max_position_embeddings", 0) or 4096)
        self._network: Decoder | Library = _network(checkpoint, self.kernels, tick)
        counters.loads += 1
        _give_back()

    @property
    def tree(self) -> bool:
        """Whether branches of one forward are computed together."""
        return isinstance(self._network, Decoder)

    @property
    def states(self) -> torch.Tensor | None:
        """What the last logits were made from, [their rows, hidden]; None: it cannot be seen."""
        return self._network.states

    def memory(self) -> Memory:
        """Return the memory of a conversation that has not begun."""
        return self._network.memory()

    def read(self, memory: Memory, trunk: Sequence[int]) -> None:
        """Add tokens to a memory, and ask for nothing."""
        self._forward([Part(memory=memory, trunk=trunk, heard=False)])

    def grow(
        self,
        memory: Memory,
        trunk: Sequence[int],
        branches: Sequence[Sequence[int]],
        *,
        keep: bool,
        words: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Add `trunk` to the memory, and the first branch too if `keep`.

        Returns the logits after each branch, [branches, vocabulary]. Every branch sees the
        memory, the trunk and itself. With `words` the logits of these tokens alone, without the
        cost of a vocabulary head. When this raises, the memory is spoilt: throw it away.
        """
        part = Part(memory=memory, trunk=trunk, branches=branches, keep=keep)
        return self._forward([part], words)[0]

    def step(self, memory: Memory, token: int) -> torch.Tensor:
        """Add one token and return the logits after it, [vocabulary]."""
        return self.steps([memory], [token])[0]

    def steps(self, memories: Sequence[Memory], tokens: Sequence[int]) -> torch.Tensor:
        """Add one token to each of several memories; logits [memories, vocabulary]."""
        pairs = zip(memories, tokens, strict=True)
        parts = [Part(memory=memory, trunk=[token]) for memory, token in pairs]
        return torch.cat(self._forward(parts))

    def warm_up(self) -> None:
        """Run a tree and a step of two: the first forward pays for what was put off."""
        some, other = self.memory(), self.memory()
        trunk = [1] * 12
        self.grow(some, trunk, [[1, 1], [1]], keep=True)
        self.read(other, trunk)
        self.steps([some, other], [1, 1])

    def _forward(
        self, parts: Sequence[Part], words: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        rows = sum(len(part.rows) for part in parts)
        found = self._network.forward(parts, words)
        self._counters.forwards += 1
        self._counters.prefills += rows > len(parts)
        self._counters.tokens_computed += rows
        return found


def _network(
    checkpoint: Checkpoint, kernels: Kernels, tick: Callable[[], None]
) -> Decoder | Library:
    """Lay the model out for our own decoder, or let the library run it and say so."""
    if not Decoder.knows(checkpoint.config):
        why = f"it is a {checkpoint.config.model_type} model of a kind of its own"
    elif not checkpoint.names:
        why = "its weights are not kept as safetensors"
    else:
        try:
            decoder = Decoder(checkpoint, kernels, tick)
        except KeyError as fault:
            why = f"it has no tensor {fault}"
        else:
            if not decoder.strange:
                return decoder
            why = f"it has tensors of its own ({min(decoder.strange)})"
            del decoder  # one copy of the weights at a time
    if kernels.precision in ("int8", "int4"):
        raise SetupError(
            f"model.precision {kernels.precision} does not suit this model ({why}): "
            "set it to auto, bf16 or fp32"
        )
    from core.engine.local.library import Library

    _log.info("the plain path: %s; tag and reply run one after the other", why)
    return Library(checkpoint, kernels, tick)


def _give_back() -> None:
    """Return what laying the weights out has left in the heap: 140 MB that glibc would keep."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _device(wanted: str) -> torch.device:
    """Return where to compute; `auto` takes a GPU where there is one."""
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        wanted = "cuda" if here["cuda"] else "mps" if here["mps"] else "cpu"
    if not here[wanted]:
        raise SetupError(f"model.device is {wanted}, and torch finds none here: set it to auto")
    return torch.device(wanted)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
