"""One database: a place where operations run.

An operation is a function that gets a connection, does no I/O of its own and may be run twice.
`write` hands it to the one writer, which takes what is queued (at most 64 operations), runs it in
ONE transaction, commits, and only then answers every caller: group commit, so that a slow disk
costs one sync for many messages. If any operation of a batch fails, the batch is rolled back and
its operations run again one by one, so that a bad one never fails its neighbours. `read` runs on
connections that cannot write.

The operations stand beside this file: `intake`, `bursts`, `turns`, `desk`, `outbox`, `views`,
`privacy`. How one of them says a statement stands in `connection`.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import sqlalchemy
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from core.errors import SetupError, StoreBusy, StoreError
from core.store.connection import REFUSED, Connection
from core.store.seal import Seal, guard
from core.tables import metadata

__all__ = [
    "Connection",
    "Executor",
    "Inline",
    "Operation",
    "Problem",
    "Seal",
    "Store",
    "WriterThread",
    "create_tables",
    "integrity",
    "open_engine",
    "run_batch",
    "transaction",
]

T = TypeVar("T")
Operation = Callable[[Connection], T]
BATCH = 64

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=5000",
    "foreign_keys=ON",
    "secure_delete=ON",
    "temp_store=MEMORY",
    "wal_autocheckpoint=1000",
)
_PROOF = (
    "INSERT INTO cursor (name, value) VALUES ('heed/proof', ?)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


def open_engine(url: str, *, write: bool, linked: bool = True, keep: bool = True) -> Engine:
    """Open a SQLAlchemy engine with Heed's rules. A writer begins every transaction IMMEDIATE.

    A deferred transaction that reads and then writes after somebody else's commit fails at once,
    whatever the timeout; an immediate one waits for its turn. Readers must not take that lock.
    Not `linked`: a table may be made anew without its children being deleted with it (migrations).
    Not `keep`: every use opens a connection of its own and closes it.
    """
    # Parameters are what people wrote: an error that is logged must not repeat them.
    engine = create_engine(url, hide_parameters=True, **_pool(url, write=write, keep=keep))
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves, on every Python
            for pragma in (*_PRAGMAS, "query_only=OFF" if write else "query_only=ON"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if not linked:
                connection.execute("PRAGMA foreign_keys=OFF").fetchall()

        @event.listens_for(engine, "begin")
        def _on_begin(connection: sqlalchemy.Connection) -> None:
            driver = cast("sqlite3.Connection", connection.connection.driver_connection)
            driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _pool(url: str, *, write: bool, keep: bool) -> dict[str, Any]:
    # One connection writes, a few read. That holds for SQLite in memory too, whatever the library
    # would choose for it.
    pool: dict[str, Any] = {"poolclass": NullPool}
    if keep:
        size = 1 if write else 3
        pool = {"poolclass": QueuePool, "pool_size": size, "max_overflow": 0}
    if make_url(url).get_backend_name() == "sqlite":
        pool["connect_args"] = {"check_same_thread": False}
    return pool


class Executor(Protocol):
    """Where operations run: a writer thread in production, inline in the simulation."""

    def submit(self, operation: Operation[Any], answer: Callable[[Any, Any], None]) -> None:
        """Run `operation` and call `answer(result, None)` or `answer(None, error)`."""
        ...

    def close(self) -> None:
        """Finish what is queued and stop."""
        ...


def run_batch(
    engine: Engine, operations: Sequence[Operation[Any]]
) -> list[tuple[Any, BaseException | None]]:
    """Run operations in one transaction; on any error one by one. Returns (result, error)s."""
    if len(operations) > 1:
        try:
            with engine.begin() as core:
                connection = Connection(core)
                return [(operation(connection), None) for operation in operations]
        except Exception as error:  # noqa: BLE001 - found again, and answered, one by one below
            if _locked(error):  # each would wait as long as all of them have just waited
                return [(None, _translated(error)) for _ in operations]
    outcomes: list[tuple[Any, BaseException | None]] = []
    for operation in operations:
        try:
            with engine.begin() as core:
                result = operation(Connection(core))
        except Exception as error:  # noqa: BLE001 - handed to the caller whose operation it is
            outcomes.append((None, _translated(error)))
        else:
            outcomes.append((result, None))
    return outcomes


def _locked(error: Exception) -> bool:
    return isinstance(error, REFUSED) and "locked" in _words(error)


def _words(error: BaseException) -> str:
    """Return what the driver said, without what SQLAlchemy adds."""
    return str(getattr(error, "orig", error))


def _translated(error: Exception) -> Exception:
    if not isinstance(error, REFUSED):
        return error
    words = _words(error)
    busy = ("locked", "full", "busy", "readonly", "read-only", "disk I/O")
    kind = StoreBusy if any(word in words for word in busy) else StoreError
    translated = kind(f"the database refused: {words}")
    translated.__cause__ = error
    return translated


class Inline:
    """Runs each operation where it stands: one seed, one trace."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, operation: Operation[Any], answer: Callable[[Any, Any], None]) -> None:
        """Run now."""
        [(result, error)] = run_batch(self._engine, [operation])
        answer(result, error)

    def close(self) -> None:
        """Nothing is queued."""


class WriterThread:
    """The one writer: a thread, a queue, group commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[tuple[Operation[Any], Callable[[Any, Any], None]] | None]
        self._queue = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="heed-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[Any], answer: Callable[[Any, Any], None]) -> None:
        """Queue an operation; `answer` is called in the writer's thread after the commit."""
        if self._closed:
            answer(None, StoreError("the database is closed"))
            return
        self._queue.put((operation, answer))

    def close(self) -> None:
        """Commit what is queued, then end the thread."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            outcomes = run_batch(self._engine, [operation for operation, _ in batch])
            for (_, answer), (result, error) in zip(batch, outcomes, strict=True):
                answer(result, error)

    def _take(self) -> list[tuple[Operation[Any], Callable[[Any, Any], None]]]:
        first = self._queue.get()
        batch = [] if first is None else [first]
        while batch and len(batch) < BATCH and not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)  # seen again when this batch is done
                break
            batch.append(item)
        return batch


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:  # noqa: ANN401
    if future.done():  # the caller was cancelled; the commit stands
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class _Answers:
    """Brings answers from the writer's thread to one event loop, which it wakes once for many."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False

    def add(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:  # noqa: ANN401
        """Answer a caller, from another thread."""
        self._waiting.append((future, result, error))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits for the answer
                self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._woken = False  # first: what is added from now on wakes the loop again
        while self._waiting:
            _settle(*self._waiting.popleft())


class Problem(NamedTuple):
    """Why the database takes nothing: in words, and since when, in seconds of the event loop."""

    words: str
    since: float


class Store:
    """The database of one running Heed. `problem`: the medium took a write no more; None: it does.

    `seal`: what its words are sealed with. A database that needs another key, or none where it is
    sealed, refuses every operation with SetupError.
    """

    def __init__(
        self,
        url: str,
        executor: Callable[[Engine], Executor] = WriterThread,
        *,
        seal: Seal | None = None,
    ) -> None:
        self._writing = guard(open_engine(url, write=True), seal)
        self._reading = guard(open_engine(url, write=False), seal)
        self._beside = open_engine(url, write=True, keep=False)
        self._executor = executor(self._writing)
        self._inline = isinstance(self._executor, Inline)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="heed-reader")
        self._waiting: _Answers | None = None
        self.problem: Problem | None = None
        self.pending = 0  # operations that wait for their commit
        self.answered = 0  # operations that were committed, or refused
        self.refusals: Counter[str] = Counter()  # by kind: busy, error

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in a durable transaction. Raises StoreError, or what it raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def answer(result: Any, error: Any) -> None:  # noqa: ANN401
            if isinstance(error, StoreBusy) and self.problem is None:
                self.problem = Problem(str(error), loop.time())
            if self._inline:
                _settle(future, result, error)
            else:
                self._answers(loop).add(future, result, error)

        self.pending += 1
        try:
            self._executor.submit(operation, answer)
            return await future
        except StoreError as error:
            self.refusals["busy" if isinstance(error, StoreBusy) else "error"] += 1
            raise
        finally:
            self.pending -= 1
            self.answered += 1

    async def prove(self) -> None:
        """Write a little after a write was refused; that it stands ends the problem.

        Only this ends it: a transaction that changes nothing stands on a full disk, too. Raises
        StoreBusy while the problem lasts.
        """
        if self.problem is not None:
            since = self.problem.since
            await self.write(lambda connection: connection.exec_driver_sql(_PROOF, (str(since),)))
            self.problem = None

    def _answers(self, loop: asyncio.AbstractEventLoop) -> _Answers:
        if self._waiting is None or self._waiting.loop is not loop:
            self._waiting = _Answers(loop)
        return self._waiting

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation on a connection that cannot write."""
        if self._inline:
            return self._read(operation)
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._read, operation
        )

    def _read(self, operation: Operation[T]) -> T:
        try:
            with self._reading.begin() as core:
                return operation(Connection(core))
        except REFUSED as error:
            raise _translated(error) from error

    def write_now(self, operation: Operation[T]) -> T:
        """Run an operation where no event loop runs: one-shot commands."""
        [(result, error)] = run_batch(self._writing, [operation])
        if error is not None:
            raise error
        return cast("T", result)

    def read_now(self, operation: Operation[T]) -> T:
        """Read where no event loop runs."""
        return self._read(operation)

    def erase_log(self) -> bool:
        """Truncate the write-ahead log; False while a reader is in the way (try again).

        Raises StoreError where the file cannot be had.
        """
        if self._writing.dialect.name != "sqlite":
            return True
        with self._aside() as driver:
            driver.execute("PRAGMA busy_timeout=0")  # busy is an answer here, not worth a wait
            row = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return bool(row[0] == 0)

    @contextmanager
    def _aside(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection of SQLite's own, for what is done outside every transaction."""
        try:
            raw = self._beside.raw_connection()
            try:
                yield cast("sqlite3.Connection", raw.driver_connection)
            finally:
                raw.close()
        except REFUSED as error:
            raise _translated(error) from error

    async def truncate_log(self) -> bool:
        """Do `erase_log` where nobody waits for it."""
        if self._inline:
            return self.erase_log()
        return await asyncio.to_thread(self.erase_log)

    def compact(self) -> None:
        """Write the whole file anew, so that nothing is left in it of what was rewritten."""
        if self._writing.dialect.name != "sqlite":
            return
        with self._aside() as driver:
            driver.execute("PRAGMA temp_store=DEFAULT")  # the whole file's copy: not in memory
            driver.execute("VACUUM")

    async def write_anew(self) -> None:
        """Do `compact` where nobody waits for it. Raises StoreBusy while somebody else writes."""
        if self._inline:
            self.compact()
        else:
            await asyncio.to_thread(self.compact)

    def close(self) -> None:
        """Commit what is queued and let go of the file."""
        self._executor.close()
        self._readers.shutdown(wait=True)
        for engine in (self._writing, self._reading, self._beside):
            engine.dispose()


def create_tables(url: str) -> None:
    """Make every table in an empty database, without migrations: for tests and benchmarks."""
    engine = open_engine(url, write=True)
    metadata.create_all(engine)
    engine.dispose()


@contextmanager
def transaction(url: str, *, write: bool, linked: bool = True) -> Iterator[sqlalchemy.Connection]:
    """Open one transaction on a file that may be no database of ours. Raises SetupError."""
    engine = open_engine(url, write=write, linked=linked)
    try:
        with engine.begin() as core:
            yield core
    except REFUSED as error:
        way_out = "put a backup in its place, or set HEED_DATABASE__URL to another file"
        if _locked(error):
            way_out = "another program is writing, try again in a moment"
        raise SetupError(f"The database cannot be used ({_words(error)}): {way_out}.") from error
    finally:
        engine.dispose()


def integrity(url: str) -> str:
    """Return "ok", or what SQLite's own check complains about."""
    engine = open_engine(url, write=False)
    try:
        if engine.dialect.name != "sqlite":
            return "ok"
        with engine.begin() as connection:
            complaints = connection.execute(text("PRAGMA integrity_check")).scalars().all()
            return "; ".join(str(complaint) for complaint in complaints[:3])
    except REFUSED as error:
        return _words(error)
    finally:
        engine.dispose()
