"""A database on a medium that can be broken: what was acknowledged, and what is on the disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.store import Store, intake
from tests.core.ground import arrival, said

WORDS = "some words of the usual length, as people write them when they want to know something"


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Read a file as another program would."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def heard(file: Path) -> list[int]:
    """Return the numbers of the messages that are on the disk."""
    return [int(number) for (number,) in rows(file, "SELECT message_id FROM inbox ORDER BY id")]


def integrity(file: Path) -> str:
    return "; ".join(str(row[0]) for row in rows(file, "PRAGMA integrity_check"))


def take(store: Store, numbers: range) -> StoreError | None:
    """Take a batch of messages in; return why that was refused."""
    each = [(arrival(said(n, f"{n} {WORDS}", user=f"u{n % 50}"), raw=WORDS), "") for n in numbers]
    try:
        store.write_now(partial(intake.take_in, arrivals=each, now=1.0))
    except StoreError as error:
        return error
    return None


def pragma(store: Store, text: str) -> Any:
    """Say something to the writer's own connection, beside every transaction."""
    raw = store._writing.raw_connection()
    driver: Any = raw.driver_connection
    try:
        return driver.execute(f"PRAGMA {text}").fetchall()
    finally:
        raw.close()


def quickest(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes where nothing holds it up: the best of three."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)
