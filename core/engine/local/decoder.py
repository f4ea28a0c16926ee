"""The network itself: a stack of decoder layers over the new tokens of many conversations.

One forward takes `Part`s. Each part brings new tokens of one conversation: a trunk, and branches
that all begin where the trunk ends and are blind to each other. All rows of all parts go through
each matrix together, because reading the weights is what a step costs; attention looks at one
conversation at a time, so that nobody needs padding and nobody sees another's past.

    a prefill               one part with a long trunk
    a tag beside a reply    one part: the message, and as branches the reply's header, the
                            question for the label
    many tags               one part: the shared prompt, each message a branch
    a step of N replies     N parts of one token

The layer is that of Llama, Mistral, Qwen1.5, Qwen2, Qwen2.5 and Qwen3 (arXiv 2302.13971,
2407.10671, 2505.09388): other models run on the library's own code (library.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from core.engine.local.cache import Cache, Shape
from core.engine.local.checkpoint import Checkpoint
from core.engine.local.linear import Kernels, Linear
from core.engine.local.turns import Memory

_FAMILY = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_BLOCK = 128  # rows that attend together
_ROPES = frozenset({"default", "linear", "llama3", "yarn"})  # those that ask for no past


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """New tokens of one conversation: `trunk`, then branches that see it and themselves alone."""

    memory: Memory
    trunk: Sequence[int]
    branches: Sequence[Sequence[int]] = ()
    keep: bool = True  # the first branch stays in the memory; the others never do
    heard: bool = True  # logits are wanted: after each branch, or without one after the trunk

    @property
    def rows(self) -> list[int]:
        """Every new token, in the order of the cache."""
        return [*self.trunk, *(token for branch in self.branches for token in branch)]

    @property
    def ends(self) -> list[int]:
        """The rows whose logits are wanted."""
        if not self.heard:
            return []
        ends, at = [], len(self.trunk)
        for branch in self.branches:
            at += len(branch)
            ends.append(at - 1)
        return ends or [at - 1]

    @property
    def places(self) -> list[int]:
        """The position of each row: every branch goes on where the trunk ends."""
        past, fork = len(self.memory.ids), len(self.trunk)
        places = list(range(past, past + fork))
        for branch in self.branches:
            places += range(past + fork, past + fork + len(branch))
        return places

    def mask(self) -> torch.Tensor | None:
        """Return what each row may not see as -inf, [rows, past + rows]; None: it sees all."""
        past, fork, rows = len(self.memory.ids), len(self.trunk), len(self.rows)
        if rows == 1:
            return None
        hidden = torch.full((rows, past + rows), -math.inf)
        hidden[:, : past + fork] = 0
        stretches = [range(fork)]
        for branch in self.branches:
            stretches.append(range(stretches[-1].stop, stretches[-1].stop + len(branch)))
        for own in stretches:
            square = slice(past + own.start, past + own.stop)
            hidden[own.start : own.stop, square] = torch.full((len(own), len(own)), -math.inf).triu(
                1
            )
        return hidden

    def settle(self) -> None:
        """Take the new tokens into the memory after a forward, and cut off what may not stay."""
        fork = len(self.memory.ids) + len(self.trunk)
        self.memory.ids += self.rows
        self.memory.cut(fork + (len(self.branches[0]) if self.branches and self.keep else 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """One decoder layer. The three projections of attention are one matrix, gate and up too."""

    before: torch.Tensor  # norms [hidden]
    after: torch.Tensor
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    per_head: torch.Tensor | None  # Qwen3's norm of each query and key, [heads + kv heads, size]


class Decoder:
    """The weights, laid out for this machine. Reads a checkpoint layer by layer, once."""

    def __init__(
        self, checkpoint: Checkpoint, kernels: Kernels, tick: Callable[[], None] = lambda: None
    ) -> None:
        config: Any = checkpoint.config
        self._kernels = kernels
        self._tick = tick
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._size = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._eps = config.rms_norm_eps
        self.shape = Shape(
            layers=config.num_hidden_layers,
            heads=self._kv_heads,
            size=self._size,
            dtype=kernels.dtype,
            device=kernels.device,
        )
        self._waves, self._swell = _waves(config, self._size)
        self._unread = set(checkpoint.names)
        # The largest matrix first, while there is room: laying one out needs it twice.
        ends = self._take(checkpoint, "model.embed_tokens.weight", "model.norm.weight")
        # The table stays as it lies in the file: a row of it is read here and there.
        self._table = ends["model.embed_tokens.weight"]
        if kernels.device.type != "cpu":
            self._table = self._table.to(kernels.device, kernels.dtype)
        self._norm = self._vector(ends["model.norm.weight"])
        own = self._take(checkpoint, "lm_head.weight").get("lm_head.weight", self._table)
        tied = own.shape == self._table.shape and torch.equal(own, self._table)
        self._words = self._table if tied else own  # as it lies in the file
        self._head = kernels.linear(self._words)
        if tied and kernels.device.type == "cpu":  # a new view: the pages just read leave memory
            name = "model.embed_tokens.weight"
            del ends, own
            self._table = self._words = self._take(checkpoint, name).get(name, self._table)
        self._layers = [
            self._layer(checkpoint, f"model.layers.{at}.") for at in range(self.shape.layers)
        ]
        self.states: torch.Tensor | None = None  # what the last logits were made from
        self.strange = frozenset(name for name in self._unread if "rotary_emb" not in name)

    @staticmethod
    def knows(config: PreTrainedConfig) -> bool:
        """Whether this is the network of such a model."""
        ropes = getattr(config, "rope_parameters", None) or {}
        layers = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None)
        return (
            config.model_type in _FAMILY
            and config.hidden_act == "silu"
            and ropes.get("rope_type", "default") in _ROPES
            and layers == {"full_attention"}
            and (window is None or not getattr(config, "use_sliding_window", True))
        )

    def memory(self) -> Cache:
        """Return the memory of a conversation that has not begun."""
        return Cache(self.shape)

    @torch.inference_mode()
    def forward(
        self, parts: Sequence[Part], words: Sequence[int] | None = None
    ) -> list[torch.Tensor]:
        """Run new tokens of many conversations; logits [ends, vocabulary] for each part.

        With `words` only the logits of these tokens, [ends, words], and no vocabulary head.
        A memory takes its tokens in at the end, so a forward that fails leaves all as they were.
        """
        device = self._kernels.device
        rows = [part.rows for part in parts]
        tokens = torch.tensor([token for some in rows for token in some])
        places = torch.tensor([place for part in parts for place in part.places], device=device)
        x = F.embedding(tokens.to(self._table.device), self._table).to(self._kernels.dtype)
        turn = self._turns(x, places)
        sights = [self._sights(part.mask()) for part in parts]
        caches = [cast(Cache, part.memory) for part in parts]
        stores = [cache.layers(len(some)) for cache, some in zip(caches, rows, strict=True)]
        for at, layer in enumerate(self._layers):
            self._tick()
            views = [store[at] for store in stores]
            x = self._through(layer, x, turn, list(zip(views, sights, strict=True)))
        ends, base = list[int](), 0
        for part, some in zip(parts, rows, strict=True):
            ends += [base + end for end in part.ends]
            base += len(some)
        logits = self._logits(x, ends, words)
        for part in parts:
            part.settle()
        return list(torch.split(logits, [len(part.ends) for part in parts]))

    def _through(
        self,
        layer: _Layer,
        x: torch.Tensor,
        turn: Callable[[torch.Tensor], torch.Tensor],
        sees: Sequence[tuple[tuple[torch.Tensor, torch.Tensor], Sequence[Sight]]],
    ) -> torch.Tensor:
        """Run one layer over all rows, [rows, hidden]."""
        heads, both = self._heads, self._heads + self._kv_heads
        mixed = layer.qkv(self._normed(x, layer.before)).view(len(x), -1, self._size)
        turned = mixed[:, :both]
        if layer.per_head is not None:
            turned = F.rms_norm(turned, (self._size,), None, self._eps) * layer.per_head
        turned = turn(turned)
        fresh = torch.stack((turned[:, heads:], mixed[:, both:])).transpose(1, 2)
        seen, at = list[torch.Tensor](), 0
        for (room, whole), sights in sees:
            end = at + room.shape[2]
            room.copy_(fresh[:, :, at:end])
            seen.append(attend(turned[at:end, :heads], whole, sights))
            at = end
        x = x + layer.out(torch.cat(seen) if len(seen) > 1 else seen[0])
        gate, up = layer.gate_up(self._normed(x, layer.after)).chunk(2, -1)
        return x + layer.down(F.silu(gate) * up)

    def _logits(
        self, x: torch.Tensor, ends: list[int], words: Sequence[int] | None
    ) -> torch.Tensor:
        """Ask the vocabulary head at the rows that are wanted, and at no other.

        The rows are picked by an index: a slice of a batch would send torch through a copy of the
        whole head (pytorch/pytorch#151934).
        """
        if not ends:
            return torch.empty(0, len(self._table))
        picked = self.states = self._normed(x[torch.tensor(ends, device=x.device)], self._norm)
        if words is None:
            return self._head(picked).float().cpu()
        rows = self._words[torch.tensor(words, device=self._words.device)]
        return F.linear(picked, rows.to(x.device, x.dtype)).float().cpu()

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, weight.shape, weight, self._eps)

    def _turns(
        self, x: torch.Tensor, places: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what turns queries and keys by their place: rotary positions (2104.09864)."""
        angles = places[:, None, None] * self._waves.to(places.device)
        cos, sin = (wave * self._swell for wave in (angles.cos(), angles.sin()))
        cos, sin = torch.cat((cos, cos), -1).to(x.dtype), torch.cat((-sin, sin), -1).to(x.dtype)
        half = self._size // 2

        def turn(vectors: torch.Tensor) -> torch.Tensor:
            swapped = torch.cat((vectors[..., half:], vectors[..., :half]), -1)
            return torch.addcmul(vectors * cos, swapped, sin)

        return turn

    def _sights(self, mask: torch.Tensor | None) -> list[Sight]:
        """Cut a mask into blocks of rows, and shape it for queries in groups behind a key head.

        No row sees a token that comes after it, so a block leaves out what comes after its last.
        """
        if mask is None:
            return [(slice(None), None)]
        past, times = mask.shape[1] - len(mask), self._heads // self._kv_heads
        blocks = [slice(at, min(at + _BLOCK, len(mask))) for at in range(0, len(mask), _BLOCK)]
        device = self._kernels.device
        return [
            (some, mask[some, : past + some.stop].repeat(times, 1).to(device)) for some in blocks
        ]

    # ---- reading the weights ---------------------------------------------------------------

    def _take(self, checkpoint: Checkpoint, *names: str) -> dict[str, torch.Tensor]:
        found = checkpoint.take(names)
        self._unread -= found.keys()
        return found

    def _layer(self, checkpoint: Checkpoint, at: str) -> _Layer:
        raw = self._take(checkpoint, *(name for name in checkpoint.names if name.startswith(at)))
        left = {name.removeprefix(at): tensor for name, tensor in raw.items()}

        def matrix(room: str, *names: str) -> Linear:
            parts = [f"{room}.{name}_proj" for name in names]
            biases = [left.pop(f"{part}.bias") for part in parts if f"{part}.bias" in left]
            whole = torch.cat([left.pop(f"{part}.weight") for part in parts])
            return self._kernels.linear(whole, torch.cat(biases) if biases else None)

        layer = _Layer(
            before=self._vector(left.pop("input_layernorm.weight")),
            after=self._vector(left.pop("post_attention_layernorm.weight")),
            qkv=matrix("self_attn", "q", "k", "v"),
            out=matrix("self_attn", "o"),
            gate_up=matrix("mlp", "gate", "up"),
            down=matrix("mlp", "down"),
            per_head=self._per_head(left),
        )
        self._unread |= {at + name for name in left}
        return layer

    def _per_head(self, left: dict[str, torch.Tensor]) -> torch.Tensor | None:
        if "self_attn.q_norm.weight" not in left:
            return None
        query, key = (self._vector(left.pop(f"self_attn.{one}_norm.weight")) for one in "qk")
        return torch.cat((query.expand(self._heads, -1), key.expand(self._kv_heads, -1)))

    def _vector(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._kernels.device, self._kernels.dtype, copy=True)


def _waves(config: PreTrainedConfig, size: int) -> tuple[torch.Tensor, float]:
    """Return the frequencies of rotary positions, [size / 2], and a factor for the waves."""
    rope = getattr(config, "rope_parameters", None) or {}
    kind = rope.get("rope_type", "default")
    if kind == "default":
        steps = torch.arange(0, size, 2).float() / size
        return 1.0 / rope.get("rope_theta", 10000.0) ** steps, 1.0
    found: tuple[torch.Tensor, float] = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    return found


Sight = tuple[slice, torch.Tensor | None]  # some of the new rows, and what they may not see


def attend(queries: torch.Tensor, seen: torch.Tensor, sights: Sequence[Sight]) -> torch.Tensor:
    """Return what each row draws from its conversation, [rows, heads * size].

    `queries` is [rows, heads, size], `seen` the keys and values [2, kv heads, tokens, size]; a
    mask is [group x rows, tokens]. Query heads that share a key head stand behind each other as
    more rows of it, so keys and values are never copied out to every head.
    """
    rows, heads, size = queries.shape
    groups = seen.shape[1]
    asked = queries.view(rows, groups, -1, size).permute(1, 2, 0, 3)
    drawn = queries.new_empty(rows, groups, heads // groups, size)
    for some, mask in sights:
        sight = seen if mask is None else seen[:, :, : mask.shape[1]]
        found = _draw(asked[:, :, some].reshape(groups, -1, size), sight, mask)
        drawn[some] = found.view(groups, heads // groups, -1, size).permute(2, 0, 1, 3)
    return drawn.view(rows, heads * size)


def _draw(asked: torch.Tensor, seen: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Attend, [groups, rows, size]. On a CPU the scores of bf16 are kept in fp32.

    The library's CPU kernels for bf16 are two to three times slower, or round the scores.
    """
    if seen.device.type != "cpu" or seen.dtype == torch.float32:
        return _library(asked, seen, mask)
    if mask is None:
        return _library(asked.float(), seen.float(), None).to(seen.dtype)
    keys, values = seen
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # the factors are bf16 already: nothing is lost
    try:
        scores = torch.baddbmm(mask, asked.float(), keys.float().mT, alpha=asked.shape[-1] ** -0.5)
    finally:
        torch.set_float32_matmul_precision(usual)
    return torch.bmm(scores.softmax(-1).to(values.dtype), values)


def _library(asked: torch.Tensor, seen: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    keys, values = seen
    mask = None if mask is None else mask.to(asked.dtype)[None, None]
    return F.scaled_dot_product_attention(asked[None], keys[None], values[None], attn_mask=mask)[0]
