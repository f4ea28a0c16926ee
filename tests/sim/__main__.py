"""Play one seed again: python -m tests.sim SEED [MESSAGES] [-v]."""

from __future__ import annotations

import sys
import time

from tests.sim.play import played
from tests.sim.weather import weather

if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    begun = time.process_time()
    drawn = weather(*numbers)
    world = played(drawn, verbose="-v" in sys.argv)
    if "-v" in sys.argv:
        print("\n".join(world.lines))  # noqa: T201
    print(drawn)  # noqa: T201
    print(world.digest, len(world.said), dict(world.counts))  # noqa: T201
    print(f"{time.process_time() - begun:.2f} CPU seconds")  # noqa: T201
    print("\n".join(world.broken) or "nothing is broken")  # noqa: T201
