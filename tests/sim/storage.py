"""The database of a world: in memory, prepared once, and busy or full when the world says so."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bot import database
from core.errors import StoreBusy
from core.store import Inline, Operation, run_batch

if TYPE_CHECKING:
    from core.store import Connection
    from tests.sim.world import Life

Answer = Callable[[Any, Any], None]
_numbers = itertools.count(1)


@cache
def _empty() -> sqlite3.Connection:
    """Return a database with every table and no row, made by the migrations."""
    made = sqlite3.connect(":memory:", check_same_thread=False)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        database.upgrade(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as source:
            source.backup(made)
    return made


@contextmanager
def shelf() -> Iterator[tuple[str, sqlite3.Connection]]:
    """Yield the address of a new database, and a connection that outlives every Heed on it."""
    name = f"file:heed-world-{next(_numbers)}?mode=memory&cache=shared"
    with closing(sqlite3.connect(name, uri=True, isolation_level=None)) as keeper:
        keeper.row_factory = sqlite3.Row
        _empty().backup(keeper)
        yield f"sqlite:///{name}&uri=true", keeper


class Desk(Inline):
    """Runs operations one after another, each after the delay of a disk, or refuses them.

    It belongs to one life of a Heed: when that is over it answers nobody any more, whether or not
    what was asked has been written.
    """

    def __init__(self, engine: Any, life: Life) -> None:
        super().__init__(engine)
        self._life = life
        self._queue: deque[tuple[Operation[Any], Answer]] = deque()

    def submit(self, operation: Operation[Any], answer: Answer) -> None:
        world = self._life.world
        delay = world.weather.disk and world.dice["disk"].random() * world.weather.disk
        if not delay and not self._queue:
            self._carry_out(operation, answer)
            return
        self._queue.append((operation, answer))
        if len(self._queue) == 1:
            asyncio.get_running_loop().call_later(delay, self._next)

    def _next(self) -> None:
        for operation, answer in tuple(self._queue):
            self._carry_out(operation, answer)
        self._queue.clear()

    def _carry_out(self, operation: Operation[Any], answer: Answer) -> None:
        life = self._life
        if life.over:
            return
        fate = life.world.fate_of_commit()
        if fate == "killed before":
            life.end("before a commit")
            return
        if fate == "busy":
            life.trace("refused", name_of(operation))
            answer(None, StoreBusy("the database refused: database is locked"))
            return
        if fate == "full":
            asked = operation

            def operation(connection: Connection) -> None:
                asked(connection)
                raise sqlite3.OperationalError("database or disk is full")

        [(result, error)] = run_batch(self._engine, [life.watched(operation)])
        life.trace("commit", name_of(operation), type(error).__name__)
        if fate == "killed after":
            life.end("after a commit")
            return
        answer(result, error)


def name_of(operation: Any) -> str:
    """Return the name of an operation's function."""
    return getattr(getattr(operation, "func", operation), "__name__", "operation")
