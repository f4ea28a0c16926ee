"""The engine against the way it is usually done, in one run, on checkpoints made on the spot.

    shapes.py    the published shapes, and a random checkpoint in each
    baseline.py  two generate() calls a message: what we compare with, and never tune
    ours.py      the same turn by Heed's model, cold and warm, and what only Heed does
    floor.py     what this machine's memory allows
    start.py     a fresh process from its start to its first token: times and memory
    peer.py      llama.cpp, where somebody has installed it
    clocks.py    process CPU time beside wall time, and what is read from many laps

How fast a network computes does not depend on the values of its weights, so nothing is downloaded.
"""

from __future__ import annotations
