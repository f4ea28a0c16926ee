"""A tiny chat model made on the spot: it shows the mechanism, and its words mean nothing.

It is an ordinary checkpoint of Qwen2's shape with a tokenizer and a chat template of its own, so
that everything a downloaded model goes through can be seen without one: tags, replies, both in
one forward. Heed lets it speak in the try-it room alone.
"""

from __future__ import annotations

from core.engine.demo.make import make_demo

__all__ = ["make_demo"]
