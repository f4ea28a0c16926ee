"""The writer, the readers and the file beneath them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from core.errors import StoreBusy, StoreError
from core.store import (
    BATCH,
    Connection,
    Inline,
    Store,
    WriterThread,
    create_tables,
    integrity,
    open_engine,
    run_batch,
)
from core.tables import conversation, cursor
from tests.core.ground import write_one
from tests.patience import PATIENCE


@pytest.fixture
def url(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(address)
    return address


@pytest.fixture(params=[WriterThread, Inline])
def store(url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    made = Store(url, request.param)
    yield made
    made.close()


def people(connection: Connection) -> list[str]:
    query = select(conversation.c.user).order_by(conversation.c.id)
    return list(connection.execute(query).scalars())


def fail(_connection: Connection) -> None:
    raise ValueError("a bad operation")


def fail_late(connection: Connection) -> None:
    write_one(connection, user="half done")
    raise ValueError("a bad operation")


async def test_what_was_written_can_be_read(store: Store) -> None:
    await store.write(partial(write_one, user="ann"))
    assert await store.read(people) == ["ann"]


async def test_an_operations_own_error_reaches_its_caller_and_nothing_of_it_stays(
    store: Store,
) -> None:
    with pytest.raises(ValueError, match="a bad operation"):
        await store.write(fail_late)
    assert await store.read(people) == []


async def test_operations_of_many_callers_all_commit(store: Store) -> None:
    names = [f"p{n}" for n in range(3 * BATCH)]
    await asyncio.gather(*(store.write(partial(write_one, user=name)) for name in names))
    assert await store.read(people) == names


async def test_a_bad_operation_does_not_fail_its_neighbours(url: str) -> None:
    store = Store(url)
    gate = threading.Event()
    first = asyncio.create_task(store.write(lambda _connection: gate.wait(2 * PATIENCE)))
    await asyncio.sleep(0.05)  # the writer is at work: the next ones share a batch
    operations = [partial(write_one, user="a"), fail_late, partial(write_one, user="b")]
    tasks = [asyncio.create_task(store.write(operation)) for operation in operations]
    await asyncio.sleep(0.01)
    gate.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(results[2], ValueError)
    assert results[1] != results[3]
    assert await store.read(people) == ["a", "b"]
    store.close()


def test_a_batch_is_one_transaction(url: str) -> None:
    engine = open_engine(url, write=True)
    seen: list[int] = []

    def look(connection: Connection) -> None:
        count = connection.execute(select(func.count()).select_from(conversation)).scalar_one()
        with sqlite3.connect(url.removeprefix("sqlite:///")) as other:
            [outside] = other.execute("SELECT count(*) FROM conversation").fetchone()
        other.close()
        seen.extend((count, outside))

    run_batch(engine, [partial(write_one, user="a"), look])
    assert seen == [1, 0]
    engine.dispose()


def test_nobody_is_answered_before_the_commit(url: str) -> None:
    engine = open_engine(url, write=True)
    writer = WriterThread(engine)
    seen: list[int] = []
    done = threading.Event()

    def answer(_result: Any, _error: Any) -> None:
        other = sqlite3.connect(url.removeprefix("sqlite:///"))
        seen.append(other.execute("SELECT count(*) FROM conversation").fetchone()[0])
        other.close()
        done.set()

    writer.submit(write_one, answer)
    assert done.wait(PATIENCE)
    assert seen == [1]
    writer.close()
    engine.dispose()


async def test_a_locked_database_is_busy_for_everybody_after_one_wait(url: str) -> None:
    engine = open_engine(url, write=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=200")
        connection.rollback()
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    outcomes = run_batch(engine, [partial(write_one, user=str(n)) for n in range(40)])
    took = time.monotonic() - began
    other.execute("ROLLBACK")
    other.close()
    assert all(isinstance(error, StoreBusy) for _, error in outcomes)
    assert took < 4.0  # one wait, and not forty
    assert [error for _, error in run_batch(engine, [write_one])] == [None]
    engine.dispose()


async def test_a_full_disk_is_busy_and_everything_goes_on_when_there_is_room(url: str) -> None:
    store = Store(url, Inline)
    pages = store.write_now(lambda c: c.execute(text("PRAGMA page_count")).scalar_one())
    limit = partial(store.write_now, lambda c: c.execute(text(f"PRAGMA max_page_count={pages}")))
    limit()

    def fill(connection: Connection) -> None:
        write_one(connection, user="before it is full")
        connection.execute(insert(cursor).values(name="big", value="x" * 1_000_000))

    with pytest.raises(StoreBusy, match="full"):
        await store.write(fill)
    assert await store.read(people) == []
    assert integrity(url) == "ok"
    store.write_now(lambda c: c.execute(text("PRAGMA max_page_count=1000000")))
    await store.write(fill)
    assert await store.read(people) == ["before it is full"]
    store.close()


async def test_a_read_only_file_is_busy_and_still_read(url: str) -> None:
    store = Store(url, Inline)
    await store.write(partial(write_one, user="ann"))
    store.write_now(lambda c: c.execute(text("PRAGMA query_only=ON")))
    with pytest.raises(StoreBusy, match="readonly"):
        await store.write(partial(write_one, user="ben"))
    assert await store.read(people) == ["ann"]
    store.close()


async def test_reads_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="readonly"):
        await store.read(write_one)
    assert await store.read(people) == []


async def test_a_broken_statement_is_a_store_error_but_not_busy(store: Store) -> None:
    with pytest.raises(StoreError, match="no such table") as caught:
        await store.write(lambda c: c.execute(text("SELECT * FROM nowhere")))
    assert not isinstance(caught.value, StoreBusy)


async def test_reads_go_on_while_a_write_is_open(url: str) -> None:
    store = Store(url)
    await store.write(partial(write_one, user="ann"))
    inside, gate = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        write_one(connection, user="ben")
        inside.set()
        gate.wait(2 * PATIENCE)

    writing = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(inside.wait, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        assert await store.read(people) == ["ann"]
    gate.set()
    await writing
    assert await store.read(people) == ["ann", "ben"]
    store.close()


async def test_a_cancelled_callers_operation_is_committed_all_the_same(url: str) -> None:
    store = Store(url)
    inside, gate = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        write_one(connection, user="ann")
        inside.set()
        gate.wait(2 * PATIENCE)

    task = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(inside.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await store.write(partial(write_one, user="ben"))  # the writer goes on
    assert await store.read(people) == ["ann", "ben"]
    store.close()


async def test_closing_commits_what_is_queued_and_refuses_what_comes_after(url: str) -> None:
    store = Store(url)
    tasks = [asyncio.create_task(store.write(partial(write_one, user=str(n)))) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    await asyncio.gather(*tasks)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreError, match="closed"):
            await store.write(write_one)
    again = Store(url, Inline)
    assert len(again.read_now(people)) == 100
    again.close()


def test_a_writer_outlives_a_loop_that_is_gone(url: str) -> None:
    store = Store(url)
    gate = threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(store.write(lambda _connection: gate.wait(2 * PATIENCE)))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(leave())
    gate.set()

    async def come_back() -> int:
        async with asyncio.timeout(PATIENCE):
            return await store.write(write_one)

    assert asyncio.run(come_back()) == 1
    store.close()


def test_what_is_committed_survives_a_process_that_never_closed(url: str) -> None:
    store = Store(url, Inline)
    store.write_now(partial(write_one, user="ann"))
    again = Store(url, Inline)  # as after a kill: the log is still there
    assert again.read_now(people) == ["ann"]
    again.close()
    store.close()


def test_every_connection_follows_the_rules(url: str) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    for write in (True, False):
        engine = open_engine(url, write=write)
        with engine.connect() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted
            }
        assert found == wanted
        engine.dispose()


def test_a_file_that_cannot_be_had_is_an_error_of_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    url = f"sqlite:///{folder / 'heed.db'}"
    create_tables(url)
    folder.rename(tmp_path / "gone")
    store = Store(url, Inline)
    for unreachable in (store.erase_log, store.compact):
        with pytest.raises(StoreError, match="the database refused"):
            unreachable()
    store.close()


def test_the_log_is_truncated_once_no_reader_is_in_the_way(tmp_path: Path, url: str) -> None:
    store = Store(url, Inline)
    store.write_now(write_one)
    log = tmp_path / "heed.db-wal"
    assert log.stat().st_size > 0
    reader = sqlite3.connect(tmp_path / "heed.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM conversation").fetchone()
    store.write_now(partial(write_one, user="ben"))
    began = time.monotonic()
    assert store.erase_log() is False
    assert time.monotonic() - began < 4.0  # not the 5 s of a write
    reader.execute("ROLLBACK")
    reader.close()
    assert store.erase_log() is True
    assert log.stat().st_size == 0
    assert store.read_now(people) == ["ann", "ben"]
    store.close()


def test_a_damaged_file_is_told(tmp_path: Path, url: str) -> None:
    store = Store(url, Inline)
    for n in range(200):
        store.write_now(partial(write_one, user=f"somebody {n}"))
    store.close()
    file = tmp_path / "heed.db"
    data = bytearray(file.read_bytes())
    data[-4096:] = b"\xff" * 4096
    file.write_bytes(bytes(data))
    assert integrity(url) != "ok"
    file.write_bytes(b"this is no database " * 1000)
    assert "not a database" in integrity(url)


async def test_an_error_of_the_database_repeats_nothing_that_somebody_wrote(store: Store) -> None:
    broken = text("INSERT INTO nowhere VALUES (:words)")
    said = {"words": "plan" + "ted"}
    with pytest.raises(StoreError) as caught:
        await store.write(lambda connection: connection.execute(broken, said))
    told = "".join(traceback.format_exception(caught.value))
    assert "nowhere" in told
    assert "planted" not in told
