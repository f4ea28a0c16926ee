"""How long a test waits for what comes by itself.

A bound on hangs and not on speed: a machine may stand still for seconds. Where a time is the thing
tested, the test says its own.
"""

from __future__ import annotations

PATIENCE = 45.0  # seconds; below pytest's own bound, so that the wait itself is named
