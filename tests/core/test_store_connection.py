"""Statements compiled once say and return what SQLAlchemy would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, event, insert, select, update

from core.errors import StoreBusy, StoreError
from core.store import (
    Connection,
    Inline,
    Store,
    backlog,
    bursts,
    create_tables,
    intake,
    open_engine,
    outbox,
    receipts,
    streams,
    turns,
)
from core.store.connection import Ready
from core.tables import conversation

ANN = {"user": "ann", "opened_at": 1.5, "touched_at": 2}
ROW = Ready(select(conversation).where(conversation.c.id == bindparam("it")))
ADD = Ready(insert(conversation).returning(conversation.c.id))
CHANGE = Ready(update(conversation).where(conversation.c.id == bindparam("it")))


@pytest.fixture
def url(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(address)
    return address


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    engine = open_engine(url, write=True)
    with engine.begin() as core:
        yield Connection(core)
    engine.dispose()


@pytest.mark.parametrize(
    "values",
    [
        {"past": {"mood": -0.5, "words": ["ärger", None]}, "private": False, "mood": 0.25},
        {"past": None, "private": True, "forgotten": True},
        {"lang": "zh", "mood": 1, "version": 7},
        {},
    ],
)
def test_a_ready_statement_writes_and_reads_what_the_library_does(
    connection: Connection, values: dict[str, Any]
) -> None:
    ready = connection.execute(ADD, {**ANN, **values}).scalar_one()
    made = insert(conversation).values(**{**ANN, "user": "ben"}, **values)
    plain = connection.execute(made.returning(conversation.c.id)).scalar_one()
    kept = connection.exec_driver_sql("SELECT * FROM conversation ORDER BY id").all()
    assert kept[0][6:] == kept[1][6:]  # all but id and key
    by_ready = [connection.execute(ROW, {"it": row}).one() for row in (ready, plain)]
    asked = select(conversation).order_by(conversation.c.id)
    assert [tuple(row) for row in by_ready] == [tuple(row) for row in connection.execute(asked)]
    assert by_ready[0].past == values.get("past")
    assert by_ready[0].private is values.get("private", True)


def test_the_same_statement_writes_now_these_columns_and_now_those(connection: Connection) -> None:
    row = connection.execute(ADD, ANN).scalar_one()
    assert connection.execute(CHANGE, {"it": row, "name": "Ann"}).rowcount == 1
    assert connection.execute(CHANGE, {"owner": "human", "it": row, "version": 1}).rowcount == 1
    assert connection.execute(CHANGE, {"it": row + 1, "name": "nobody"}).rowcount == 0
    found = connection.execute(ROW, {"it": row}).one()
    assert (found.name, found.owner, found.version) == ("Ann", "human", 1)


def test_constants_of_a_statement_are_kept_beside_its_values(connection: Connection) -> None:
    rows = [connection.execute(ADD, {**ANN, "user": name}).scalar_one() for name in "abc"]
    calm = Ready(
        select(conversation.c.id)
        .where(conversation.c.level == "calm", conversation.c.id > bindparam("after"))
        .order_by(conversation.c.id)
        .limit(1)
    )
    assert connection.execute(calm, {"after": rows[0]}).scalar() == rows[1]
    assert [row.id for row in connection.execute(calm, {"after": 0})] == [rows[0]]
    assert connection.execute(calm, {"after": rows[2]}).scalar() is None
    gone = Ready(delete(conversation).where(conversation.c.user == "b"))
    assert connection.execute(gone).rowcount == 1
    assert connection.execute(calm, {"after": rows[0]}).scalar() == rows[2]


def test_one_row_is_asked_for_and_one_row_it_must_be(connection: Connection) -> None:
    for name in "ab":
        connection.execute(ADD, {**ANN, "user": name})
    everybody = Ready(select(conversation.c.user))
    assert connection.execute(everybody).first() == ("a",)
    assert connection.execute(ROW, {"it": 99}).first() is None
    with pytest.raises(ValueError, match="unpack"):
        connection.execute(everybody).one()
    with pytest.raises(ValueError, match="unpack"):
        connection.execute(ROW, {"it": 99}).one()


def test_a_ready_statement_tells_what_it_sent(connection: Connection) -> None:
    sent = connection.execute(ADD, {**ANN, "private": False, "past": {"a": 1}}).context
    assert sent.statement.startswith("INSERT INTO conversation")
    assert [list(values) for values in sent.parameters] == [["ann", 0, '{"a": 1}', 1.5, 2.0]]


def test_it_goes_past_the_library_only_to_the_driver(url: str) -> None:
    engine = open_engine(url, write=True)
    seen: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_c: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        seen.append(text)

    with engine.begin() as core:
        connection = Connection(core)
        connection.execute(ADD, ANN)
        connection.execute(insert(conversation).values(**{**ANN, "user": "ben"}))
    assert len(seen) == 1  # the second one alone
    with sqlite3.connect(url.removeprefix("sqlite:///")) as other:
        assert other.execute("SELECT user FROM conversation").fetchall() == [("ann",), ("ben",)]
    other.close()
    engine.dispose()


# The sweeps and the watch look at all that is unfinished, and at nothing else.
UNFINISHED = ("USING INDEX ix_inbox_waiting", "USING INDEX ix_outbox_open")


def _reading() -> Iterator[Ready]:
    """Go through every statement of the walk, the sweeps and the watch that reads."""
    for module in (backlog, bursts, intake, outbox, receipts, streams, turns):
        for found in vars(module).values():
            for one in found.values() if isinstance(found, dict) else [found]:
                if isinstance(one, Ready) and one.core.is_select:
                    yield one


def test_nothing_the_walk_reads_makes_it_go_through_a_whole_table(connection: Connection) -> None:
    plans = []
    for ready in _reading():
        asked = {name: 0 for name, value in ready.core.compile().params.items() if value is None}
        text = connection.execute(ready, asked).context.statement.replace("?", "0")
        plans += connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").scalars("detail").all()
    assert len(plans) > 10
    whole = [plan for plan in plans if plan.startswith("SCAN") and not plan.endswith(UNFINISHED)]
    assert whole == []


async def test_what_the_database_refuses_is_a_store_error_all_the_same(url: str) -> None:
    store = Store(url, Inline)
    await store.write(lambda connection: connection.execute(ADD, ANN).rowcount)
    with pytest.raises(StoreError, match="UNIQUE") as caught:
        await store.write(lambda connection: connection.execute(ADD, ANN).rowcount)
    assert not isinstance(caught.value, StoreBusy)
    with pytest.raises(StoreBusy, match="readonly"):
        await store.read(lambda connection: connection.execute(ADD, {**ANN, "user": "b"}).rowcount)
    everybody = Ready(select(conversation.c.user))
    assert await store.read(lambda connection: connection.execute(everybody).all()) == [("ann",)]
    store.close()
