"""One model on this machine's own CPU: it scores every message and writes every reply.

    engine.py       what the rooms see: coroutines and streams, no torch
    thread.py       the one thread that owns the model, and the only door to it
    worker.py       what is done in that thread: conversations, turns, steps
    tags.py         labels, scored and never generated
    chat.py         values -> token ids, by the model's own chat template
    speech.py       logits -> the next token -> text in whole characters
    model.py        one copy of the weights, and the way of computing that suits it
    checkpoint.py   its files
    linear.py       the kernels of this machine
    decoder.py      the forward: new tokens of many conversations at once
    library.py      the same face over the library's own network
    cache.py        what a conversation has cost so far
    turns.py        what both sides of the door hold

torch and transformers are imported by the thread when it warms up, and by nobody before.
"""

from __future__ import annotations

from core.engine.local.engine import LocalEngine
from core.engine.local.turns import Counters

__all__ = ["Counters", "LocalEngine"]
