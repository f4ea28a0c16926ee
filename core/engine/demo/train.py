"""Training of the demo model: a small Qwen2 shape, from nothing, by the clock.

The shared prefix of a batch is run once and its KV is lent to every row, so that a long system
prompt costs a batch no more than one row of it. The rate is constant after a short start, and
what is kept is a running mean of the weights that forgets the early steps: no step needs to know
how many will follow, so the same seed gives the same model for the same number of steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional
from transformers import DynamicCache, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from core.engine.demo.rows import Lesson, Pool, Row

_MATRICES: Final = 0.005  # rate of Muon
_OTHERS: Final = 0.0015  # rate of AdamW: embeddings, norms, biases
_START: Final = 20  # steps until the rate is full
_FORGET: Final = 7.0  # the mean reaches back over about an eighth of the steps so far
_TOKENS: Final = 1536  # rows x longest row of one batch
_ROWS: Final = 1024  # of one task in one round of the course
_DROPPED: Final = 0.1  # of the tokens people wrote, hidden from the model
_FIRST: Final = 3  # so many tokens of an answer choose what is said in it
_CHOICE: Final = 6.0  # how much one of them counts
_SAY_EVERY: Final = 10.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How large the model is."""

    vocabulary: int = 4096
    hidden: int = 256
    inner: int = 512
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2


def make_model(tokenizer: PreTrainedTokenizerBase, shape: Shape, seed: int) -> Qwen2ForCausalLM:
    """Return an untrained model, the same for the same seed."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "eager"  # noqa: SLF001 - its backward is the fastest at this size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def train(
    model: Qwen2ForCausalLM,
    course: Iterable[Pool],
    tell: Callable[[str], object],
    left: Callable[[], float],
) -> int:
    """Train on a course's batches until no second is left; returns the steps made."""
    learner = _Learner(model)
    losses: list[float] = []
    said = left()
    for batch in course:
        losses.append(learner.step(batch))
        if (now := left()) <= 0:
            break
        if said - now >= _SAY_EVERY:
            mean = sum(losses[-100:]) / len(losses[-100:])
            tell(f"{learner.steps} steps, loss {mean:.2f}, {now:.0f} s to go")
            said = now
    learner.finish()
    return learner.steps


def batches(lesson: Lesson, seed: int, tokens: int = _TOKENS) -> Iterator[Pool]:
    """Yield batches without end: rows of like length over one prefix, in seeded order."""
    chance = random.Random(seed)  # noqa: S311 - a course, no secret
    while True:
        chunks = [chunk for pool in lesson.pools(_ROWS) for chunk in _cut(pool, tokens)]
        chance.shuffle(chunks)
        yield from chunks


def _cut(pool: Pool, tokens: int) -> Iterator[Pool]:
    rows: list[Row] = []
    for row in sorted(pool.rows, key=lambda row: len(row.ids)):
        if rows and (len(rows) + 1) * len(row.ids) > tokens:
            yield Pool(pool.prefix, rows)
            rows = []
        rows.append(row)
    if rows:
        yield Pool(pool.prefix, rows)


class _Learner:
    """A model, its two optimizers and the running mean of its weights."""

    def __init__(self, model: Qwen2ForCausalLM) -> None:
        self._model = model.train()
        matrices = [w for name, w in model.named_parameters() if _is_matrix(name, w)]
        others = [w for name, w in model.named_parameters() if not _is_matrix(name, w)]
        self._weights = [*matrices, *others]
        self._mean = [weight.detach().clone() for weight in self._weights]
        self._rates: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon(matrices, lr=_MATRICES, weight_decay=0.0), _MATRICES),
            (torch.optim.AdamW(others, lr=_OTHERS, betas=(0.9, 0.98), weight_decay=0.0), _OTHERS),
        ]
        self._noise = torch.Generator().manual_seed(0)
        self.steps = 0

    def step(self, batch: Pool) -> float:
        """Learn from one batch and return its loss."""
        self.steps += 1
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        for optimizer, rate in self._rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, self.steps / _START)
            optimizer.step()
            optimizer.zero_grad()
        share = (_FORGET + 1) / (_FORGET + self.steps)
        for mean, weight in zip(self._mean, self._weights, strict=True):
            mean.lerp_(weight.detach(), share)
        return float(loss.detach())

    def finish(self) -> None:
        """Put the mean of the weights in the model's place."""
        with torch.no_grad():
            for mean, weight in zip(self._mean, self._weights, strict=True):
                weight.copy_(mean)
        self._model.eval()

    def _loss(self, batch: Pool) -> torch.Tensor:
        ids, learnt = _padded(batch.rows, int(self._model.config.pad_token_id or 0))
        hidden = ids.clone()
        drop = torch.rand(ids.shape, generator=self._noise) < _DROPPED
        hidden[drop & ~learnt] = int(self._model.config.pad_token_id or 0)
        states = _after(self._model, batch.prefix, hidden[:, :-1])
        wanted = learnt[:, 1:]
        found = self._model.lm_head(states[wanted])
        losses = functional.cross_entropy(found, ids[:, 1:][wanted], reduction="none")
        weight = _weight(wanted)[wanted]
        return (losses * weight).sum() / weight.sum()


def _is_matrix(name: str, weight: torch.Tensor) -> bool:
    return weight.ndim == 2 and "embed" not in name and "lm_head" not in name


def _weight(learnt: torch.Tensor) -> torch.Tensor:
    """Return how much each token counts: an answer's first ones choose what it is about."""
    weight = torch.ones(learnt.shape)
    weight[:, _FIRST:][learnt[:, _FIRST:] & ~learnt[:, :-_FIRST]] = _CHOICE
    return weight


def _padded(rows: Sequence[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and the mask of answers, both [rows, longest], padded on the right."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [pad] * (longest - len(row.ids)) for row in rows])
    learnt = [row.learnt + [False] * (longest - len(row.ids)) for row in rows]
    return ids, torch.tensor(learnt)


def _after(model: Qwen2ForCausalLM, prefix: list[int], ids: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states [rows, length, hidden] of rows that share a prefix.

    Padding on the right needs no mask: no token sees what comes after it.
    """
    cache = DynamicCache(config=model.config)
    model.model(input_ids=torch.tensor([prefix]), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(ids))
    done = model.model(input_ids=ids, past_key_values=cache, use_cache=True)
    states: torch.Tensor = done.last_hidden_state
    return states


@torch.inference_mode()
def label_rows(
    model: Qwen2ForCausalLM, prefix: list[int], asked: Sequence[list[int]], labels: list[int]
) -> list[int]:
    """Return for each asked row which of `labels` (token ids) is likeliest after it."""
    found: list[int] = []
    for at in range(0, len(asked), 32):
        some = [Row(ids, [False] * len(ids)) for ids in asked[at : at + 32]]
        ids, _ = _padded(some, int(model.config.pad_token_id or 0))
        states = _after(model, prefix, ids)
        last = torch.tensor([len(row.ids) - 1 for row in some])
        logits = model.lm_head(states[torch.arange(len(some)), last])[:, labels]
        found += logits.argmax(-1).tolist()
    return found


@torch.inference_mode()
def speak(model: Qwen2ForCausalLM, ids: list[int], end: int, most: int = 80) -> list[int]:
    """Return the likeliest continuation, `end` included where it ends by itself."""
    said: list[int] = []
    cache = DynamicCache(config=model.config)
    new = ids
    while len(said) < most and end not in said:
        done = model(input_ids=torch.tensor([new]), past_key_values=cache, use_cache=True)
        new = [int(done.logits[0, -1].argmax())]
        said += new
    return said
