"""What is done again and again so that nothing is kept too long: forgetting, hushing, letting go.

Nothing here is urgent and all of it can be interrupted: what is left is found by the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from core.errors import StoreError
from core.ports import Clock
from core.store import Connection, Store, privacy, retention
from core.store.retention import DAY, Horizon

log = structlog.get_logger(__name__)

PAUSE = 5.0  # seconds between two looks
RETAIN = 3600.0  # seconds between two looks for what is too old
LOOK_BACK = 120.0  # seconds; who spoke longer ago has been hushed by an earlier look
SMALL = 256 * 2**20  # bytes; a file of this size is written anew at once, a larger one once a day


class Janitor:
    """Looks every few seconds, while Heed runs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        text_days: Callable[[], int],
        score_days: Callable[[], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._days = (text_days, score_days)
        self._hushed = 0.0  # since when to look for the unread; the first look: since ever
        self._retained: float | None = None  # when it last looked for what is too old
        self._written_anew: float | None = None
        self._log_dirty = True  # a crash may have left words in it

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(PAUSE)
            try:
                await self._store.prove()
                await self.look()
            except StoreError as error:
                log.warning("the database was busy; the janitor comes again", problem=str(error))
            except Exception:  # a row that cannot be read ends neither the janitor nor all of Heed
                log.exception("the janitor failed, and comes again")

    async def look(self) -> None:
        """Do once whatever is due."""
        if not self._within(RETAIN, self._retained):
            await self.let_go()
            self._retained = self._clock()
            self._hushed = 0.0  # what left late is late for the other looks
        await self._hush()
        if await self._store.write(privacy.bury):
            self._log_dirty = True
        if self._log_dirty:  # a reader may be in the way: then the next look tries again
            self._log_dirty = not await self._store.truncate_log()
        await self._write_anew()

    def _within(self, seconds: float, at: float | None) -> bool:
        """Say whether something was done so lately; not where the clock was put back since."""
        return at is not None and 0.0 <= self._clock() - at < seconds

    async def let_go(self) -> int:
        """Let go of all that is too old; return of how many rows."""
        text_days, score_days = self._days
        horizon = Horizon.at(self._clock(), text_days(), score_days())
        count, at = 0, (0, 0)
        while True:
            piece = await self._store.read(partial(retention.find, horizon=horizon, at=at))
            if piece is None:
                break
            going = partial(retention.let_go, horizon=horizon, piece=piece)
            count += await self._store.write(going)
            at = piece.following
        self._log_dirty = self._log_dirty or bool(count)
        return count

    async def _hush(self) -> None:
        """Let the words go of whoever wants to be left unread."""
        now, since = self._clock(), self._hushed
        ids = await self._store.read(partial(retention.unread, since=since))
        for first in range(0, len(ids), retention.HUSH):
            some = ids[first : first + retention.HUSH]
            await self._store.write(partial(retention.hush, ids=some, now=now))
            self._log_dirty = True
        self._hushed = now - LOOK_BACK

    async def _write_anew(self) -> None:
        """Write the file anew after somebody was forgotten.

        SQLite overwrites what is deleted, but not the copies that it leaves in a page's unused
        space when it moves rows from one page to another.
        """
        mark = await self._store.read(privacy.unclean)
        if not mark:
            return
        now = self._clock()
        if await self._store.read(_size) > SMALL and self._within(DAY, self._written_anew):
            return
        await self._store.write_anew()
        await self._store.write(partial(privacy.cleaned, mark=mark))
        self._written_anew = now
        self._log_dirty = True


def _size(connection: Connection) -> int:
    pages, size = (
        int(connection.exec_driver_sql(f"PRAGMA {what}").scalar_one())
        for what in ("page_count", "page_size")
    )
    return pages * size
