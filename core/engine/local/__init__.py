"""One model on this machine's own CPU: it scores every message and writes every reply.

    engine.py   what the rooms see: coroutines and streams, no torch
    thread.py   the one thread that owns the model, and the only door to it
    worker.py   what is done in that thread: conversations, turns, tags
    model.py    weights, KV and forwards
    chat.py     values -> token ids, by the model's own chat template
    speech.py   logits -> the next token -> text in whole characters
    turns.py    what both sides of the door hold

torch and transformers are imported by the thread when it warms up, and by nobody before.
"""

from __future__ import annotations

from core.engine.local.engine import LocalEngine
from core.engine.local.turns import Counters

__all__ = ["Counters", "LocalEngine"]
