"""The two-call baseline: generate() for the tag, generate() for the reply, nothing kept between.

This is how a small chat model is commonly used for both tasks. It stands here alone, runs in fp32
with the library's own loop, and is never tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from core.engine.bench.clocks import Lap, now
from core.engine.bench.shapes import TURN, Shape, draw


@dataclass(frozen=True, kw_only=True, slots=True)
class Laps:
    """One turn, each span counted from its beginning; `decode` is the mean gap of two tokens."""

    tag: Lap
    first: Lap
    total: Lap
    decode: Lap


class _Times(BaseStreamer):
    """Notes the clocks at each token. The first thing put is the prompt itself."""

    def __init__(self) -> None:
        self._puts: list[Lap] = []

    def put(self, value: torch.Tensor) -> None:  # type: ignore[explicit-override]  # noqa: ARG002
        self._puts.append(now())

    def end(self) -> None:  # type: ignore[explicit-override]
        """Nothing is left to do."""

    @property
    def tokens(self) -> Sequence[Lap]:
        """When each new token came."""
        return self._puts[1:]


class Baseline:
    """The model in fp32, and a turn."""

    def __init__(self, folder: Path, shape: Shape, *, reply: int = TURN.reply) -> None:
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        network: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
        self._model = network.eval().requires_grad_(False)  # noqa: FBT003 - torch's own
        self._shape = shape
        self._reply = reply

    def turn(self, seed: int, *, tag_tokens: int = 2) -> Laps:
        """Tag one message and write its reply. `seed` draws the ids of the prompts."""
        about = TURN.sentiment + TURN.message + TURN.closing
        prompt = TURN.system + TURN.history + TURN.message + TURN.header
        tag_ids = torch.tensor([draw(self._shape, about, seed)])
        reply_ids = torch.tensor([draw(self._shape, prompt, seed + 1)])
        times = _Times()
        began = now()
        self._model.generate(
            tag_ids,
            attention_mask=torch.ones_like(tag_ids),
            max_new_tokens=tag_tokens,
            do_sample=False,
        )
        tagged = now()
        self._model.generate(
            reply_ids,
            attention_mask=torch.ones_like(reply_ids),
            max_new_tokens=self._reply,
            do_sample=True,
            temperature=0.7,
            top_p=0.9,
            top_k=20,
            streamer=times,
        )
        ended = now()
        first, last = times.tokens[0], times.tokens[-1]
        return Laps(
            tag=tagged - began,
            first=first - began,
            total=ended - began,
            decode=(last - first).per(len(times.tokens) - 1),
        )
