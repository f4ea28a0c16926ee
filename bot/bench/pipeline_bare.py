"""What the walk is held against: the same rows by sqlite3 alone, and the disk itself.

The statements are not guessed. While the real walk runs, `Recorder` keeps every statement that
it sends, with its values; `replay` sends the very same ones again, in the same order, to a copy
of the file as it was before. What is left out is everything but the database: the walk's own
code, SQLAlchemy, the event loop, and the waiting of one step for another.
"""

from __future__ import annotations

import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.store import BATCH, Store

PRAGMAS = (
    "journal_mode",
    "synchronous",
    "busy_timeout",
    "foreign_keys",
    "secure_delete",
    "temp_store",
    "wal_autocheckpoint",
)
PAGE = b"\xa5" * 4096
TABLES = ("conversation", "inbox", "history", "decision", "outbox")
_WRITES = ("INSERT", "UPDATE", "DELETE")
# Which table's ids a column holds, for copies of whole conversations.
_POINTS_TO = {
    "conversation_id": "conversation",
    "inbox_id": "inbox",
    "answered_by": "inbox",
    "cause_id": "inbox",  # every post of the bench answers a message
    "history_id": "history",
}

Statement = tuple[str, tuple[Any, ...]]


@dataclass(kw_only=True, slots=True)
class Recorded:
    """One operation of the store: what it is called, what it sent, how long it took."""

    name: str
    statements: list[Statement] = field(default_factory=list)
    seconds: float = 0.0


class Recorder:
    """Keeps what a store's write operations send."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.operations: list[Recorded] = []  # in the order in which they ran

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Keep everything written meanwhile; afterwards the store is as it was."""
        vars(self._store)["write"] = self._write
        try:
            yield
        finally:
            del vars(self._store)["write"]

    async def _write(self, operation: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        name = getattr(getattr(operation, "func", operation), "__name__", "operation")
        kept = Recorded(name=name)

        def run(connection: Any) -> Any:  # noqa: ANN401 - a connection of the store's library
            if kept.statements:  # its batch was rolled back and it runs again, alone
                raise StoreError("an operation failed while the bench was recording it")
            self.operations.append(kept)
            begun = time.perf_counter()
            result = operation(_Listening(connection, kept.statements))
            kept.seconds = time.perf_counter() - begun
            return result

        return await Store.write(self._store, run)


class _Listening:
    """A connection that keeps the text and the values of what it executes."""

    def __init__(self, connection: Any, kept: list[Statement]) -> None:  # noqa: ANN401
        self._connection = connection
        self._kept = kept

    def execute(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        result = self._connection.execute(*args, **kwargs)
        sent = result.context
        self._kept += [(sent.statement, tuple(values)) for values in sent.parameters]
        return result

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._connection, name)


async def pragmas_of(store: Store) -> dict[str, Any]:
    """Return the rules under which the store's own writer runs."""

    def ask(connection: Any) -> dict[str, Any]:  # noqa: ANN401
        return {
            name: connection.exec_driver_sql(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS
        }

    return await store.write(ask)


# --- files ----------------------------------------------------------------------------------------


def copy(source: Path, target: Path) -> None:
    """Copy a database as it stands, write-ahead log and all."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def people(file: Path, count: int) -> None:
    """Give the only conversation of a file `count` - 1 twins with the same past, ids and all."""
    with closing(sqlite3.connect(file, timeout=5.0)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        rows = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in TABLES
        }
        for table in TABLES:
            _clone(connection, table, rows, count)


def _clone(connection: sqlite3.Connection, table: str, rows: Mapping[str, int], count: int) -> None:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = []
    for column in columns:
        step = rows[table] if column == "id" else rows.get(_POINTS_TO.get(column, ""), 0)
        if step:
            values.append(f'"{column}" + {step} * k')
        elif column in ("chat", "user"):
            values.append("'c' || k")
        else:
            values.append(f'"{column}"')
    names = ", ".join(f'"{column}"' for column in columns)
    connection.execute(  # the names are our own tables' columns
        "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < ?) "  # noqa: S608
        f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {table}, n "
        "WHERE k < ?",
        (count, count),
    )


def tally(file: Path) -> dict[str, int]:
    """Count what a walk leaves behind, to see that two files tell the same story."""
    with closing(sqlite3.connect(file)) as connection:
        found = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in TABLES
        }
        for name, query in (
            ("answered", "SELECT count(*) FROM inbox WHERE state = 'done'"),
            ("delivered", "SELECT count(*) FROM outbox WHERE state = 'sent'"),
        ):
            found[name] = connection.execute(query).fetchone()[0]
    return found


# --- the bare writer ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """How long the bare writer took for a recording."""

    wall: float
    cpu: float


def replay(
    base: Path,
    target: Path,
    operations: Sequence[Recorded],
    pragmas: Mapping[str, Any],
    *,
    reads: bool,
    group: int = BATCH,
) -> Replayed:
    """Send recorded operations to a copy of `base` from one thread, `group` to a transaction.

    Everything is queued before the clock starts, so that every group but the last is full: no
    writer of these rows could group better. Without `reads` only what changes rows is sent.
    """
    for name in (target, Path(f"{target}-wal"), Path(f"{target}-shm")):
        name.unlink(missing_ok=True)
    shutil.copyfile(base, target)
    with target.open("rb+") as copied:
        os.fsync(copied.fileno())  # else the first sync of the log pays for the copy
    waiting: queue.SimpleQueue[list[Statement] | None] = queue.SimpleQueue()
    for operation in operations:
        sent = [one for one in operation.statements if reads or one[0].startswith(_WRITES)]
        if sent:
            waiting.put(sent)
    waiting.put(None)
    done: list[Replayed] = []
    thread = threading.Thread(
        target=_write_all, args=(target, waiting, pragmas, group, done), name="bare-writer"
    )
    thread.start()
    thread.join()
    if not done:
        raise StoreError("the bare writer failed; its error stands above")
    return done[0]


def _write_all(
    target: Path,
    waiting: queue.SimpleQueue[list[Statement] | None],
    pragmas: Mapping[str, Any],
    group: int,
    done: list[Replayed],
) -> None:
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}").fetchall()
        wall, cpu = time.perf_counter(), time.thread_time()
        more = True
        while more:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(group):
                statements = waiting.get()
                if statements is None:
                    more = False
                    break
                for text, values in statements:
                    connection.execute(text, values).fetchall()
            connection.execute("COMMIT")
        done.append(Replayed(wall=time.perf_counter() - wall, cpu=time.thread_time() - cpu))


# --- the disk -------------------------------------------------------------------------------------


def syncs(file: Path, seconds: float) -> list[float]:
    """Append 4 KiB and wait for the disk, for `seconds`; return each wait in seconds."""
    sync = getattr(os, "fdatasync", os.fsync)  # not on every system
    waits: list[float] = []
    until = time.perf_counter() + seconds
    with file.open("wb", buffering=0) as log:
        while (begun := time.perf_counter()) < until or not waits:
            log.write(PAGE)
            sync(log.fileno())
            waits.append(time.perf_counter() - begun)
    file.unlink()
    return waits
