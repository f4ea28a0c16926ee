"""The desk in memory, with the figures of a real database behind the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.ports import Clock
from core.store import sample
from core.store.figures import figures
from tests.adapters.desk_twin import DeskTwin
from tests.core.town import Town

NOW = 1_767_880_800.0  # Thursday, 2026-01-08, 14:00 UTC


class PicturesTwin(DeskTwin):
    """Ana is logged in with the secret `open sesame`."""

    def __init__(self, folder: Path, clock: Clock = lambda: NOW) -> None:
        super().__init__(clock)
        self.town = Town(folder / "heed.db")
        self.members["ana"] = False
        self.sessions["open-sesame"] = "ana"

    async def pictures(
        self, since: float, until: float, wanted: Mapping[str, str], hour_offset: float
    ) -> dict[str, Any]:
        return self.town.store.read_now(lambda c: figures(c, since, until, wanted, hour_offset))

    async def sample(self, *, make: bool) -> None:
        self.town.store.write_now(partial(sample.fill, now=self.clock()) if make else sample.clear)
