"""A world played to its end and judged, with the log of a Heed turned into the world's own."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from core.chance import drawn_from
from core.errors import EngineError, StoreError
from tests.sim.judge import judge
from tests.sim.life import PoisonError, settings_of
from tests.sim.loop import run_virtually
from tests.sim.storage import shelf
from tests.sim.weather import Weather
from tests.sim.world import World

LOUD = ("lane failed", "sweep failed", "delivery failed")  # lines of the log that tell of a fault
PLANNED = (StoreError, EngineError, PoisonError)


def played(weather: Weather, *, verbose: bool = False) -> World:
    """Play a world to its end and let the judge say what is broken."""
    world = World(weather, verbose=verbose)
    with shelf() as (url, keeper):
        world.keeper = keeper
        world.settings = settings_of(weather, url)

        async def story() -> None:
            await world.play()
            world.broken += judge(world)

        with Heard(world), drawn_from(world.dice["core"]):
            run_virtually(story())
    return world


class Heard:
    """Keep the log quiet, and tell the world of every error that nobody planned."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __enter__(self) -> None:
        self._before = structlog.get_config()
        structlog.configure(
            processors=[self._line],
            wrapper_class=structlog.make_filtering_bound_logger(40),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=False,
        )

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)

    def _line(self, _logger: Any, _name: str, event: Mapping[str, Any]) -> Any:
        error = sys.exc_info()[1]
        if event["event"] in LOUD and not isinstance(error, PLANNED):
            frames = traceback.extract_tb(error.__traceback__) if error is not None else ()
            where = ", ".join(f"{Path(at.filename).name}:{at.lineno}" for at in frames[-3:])
            self.world.wrong(f"{event['event']}: {error!r} at {where}")
        raise structlog.DropEvent
