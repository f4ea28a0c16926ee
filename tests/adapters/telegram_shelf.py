"""A door that keeps everything in a real database, for tests of what is stored and how often."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import select

from core.message import Arrival
from core.store import Store, create_tables, intake
from core.tables import inbox, poison


class Shelf:
    """A door that keeps everything in the real database and answers nobody."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'heed.db'}"
        create_tables(url)
        self.store = Store(url)
        self.took = 0

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        ready = [(intake.tidy(each), "") for each in arrivals]
        work = partial(intake.take_in, arrivals=ready, now=time.time(), mark=cursor)
        taken = await self.store.write(work)
        self.took += len(arrivals)
        return [each.inbox_id for each in taken]

    async def read_cursor(self, name: str) -> str | None:
        return (await self.cursors(name)).get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        return dict(await self.store.read(partial(intake.cursors, prefix=prefix)))

    async def kept(self) -> tuple[collections.Counter[int], dict[int, str]]:
        """Return how many rows each update has, and the reasons of those set aside."""
        rows = await self.store.read(lambda c: list(c.execute(select(inbox.c.raw))))
        parked = await self.store.read(lambda c: list(c.execute(select(poison))))
        numbers = collections.Counter(json.loads(row.raw)["update_id"] for row in rows)
        assert all(row.raw for row in parked)
        return numbers, {int(row.source_id): row.error for row in parked}
