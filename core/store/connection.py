"""What an operation gets: a connection, and statements that are compiled only once.

Every statement is written in SQLAlchemy Core and run by `connection.execute(statement, values)`.
On each run SQLAlchemy spends several times what SQLite does, so a statement that every message
needs is made `Ready`: its text, the order of its values and the shape of its rows are found at the
first run; from then on the driver is asked directly. An operation sees no difference. On another
database than SQLite SQLAlchemy runs these statements too.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast, overload

import sqlalchemy
from sqlalchemy import CursorResult, Dialect, Executable, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase

from core.cells import Cipher, cipher_of
from core.errors import StoreError

REFUSED = (DBAPIError, sqlite3.Error)  # what a database raises that does not do as it is told

Convert = Callable[[Any], Any]


class Sent(NamedTuple):
    """What went to the driver."""

    statement: str
    parameters: list[Sequence[Any]]


class Rows:
    """The rows that a statement returned, all of them read."""

    __slots__ = ("_rows", "_sent", "_text", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int, text: str, sent: Sequence[Any]) -> None:
        self._rows = rows
        self._text = text
        self._sent = sent
        self.rowcount = rowcount

    @property
    def context(self) -> Sent:
        """What was sent, for whoever listens."""
        return Sent(self._text, [self._sent])

    def __iter__(self) -> Iterator[Any]:
        """Go through the rows; each has its columns as attributes."""
        return iter(self._rows)

    def all(self) -> list[Any]:
        """Return every row."""
        return self._rows

    def first(self) -> Any | None:  # noqa: ANN401 - a row, its columns as attributes
        """Return the first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:  # noqa: ANN401 - a row, its columns as attributes
        """Return the only row. Raises ValueError where there is none, or are several."""
        [row] = self._rows
        return row

    def scalar(self) -> Any | None:  # noqa: ANN401 - what the column holds
        """Return the first row's first column, or None."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:  # noqa: ANN401 - what the column holds
        """Return the only row's first column. Raises ValueError like `one`."""
        return self.one()[0]


class Ready:
    """A statement that is compiled at its first run with values of the same names.

    A list in it must be of literals: a bound one would have another text for every length.
    """

    __slots__ = ("_texts", "core")

    def __init__(self, core: Select[Any] | UpdateBase) -> None:
        self.core = core
        self._texts: dict[tuple[Cipher | None, tuple[str, ...]], _Text] = {}

    def text(self, dialect: Dialect, names: tuple[str, ...]) -> _Text:
        """Return what SQLite's driver is to be asked, given values of these names.

        A statement is shared by all databases of a process, and each may seal by a key of its own.
        """
        known = cipher_of(dialect), names
        text = self._texts.get(known)
        if text is None:
            text = self._texts[known] = _Text(self.core, dialect, names)
        return text


class _Text:
    """A statement as SQLite's driver wants it, and how its values and rows are converted."""

    __slots__ = ("_fixed", "_names", "_read", "_row", "_sql", "_write")

    def __init__(
        self, core: Select[Any] | UpdateBase, dialect: Dialect, names: tuple[str, ...]
    ) -> None:
        compiled = cast("Any", core.compile(dialect=dialect, column_keys=list(names)))
        self._sql = str(compiled)
        self._names: list[str] = compiled.positiontup
        self._fixed = {name: compiled.params[name] for name in self._names if name not in names}
        binds = [compiled.binds[name].type.dialect_impl(dialect) for name in self._names]
        self._write = _converts(one.bind_processor(dialect) for one in binds)
        columns = list(core.exported_columns)
        kinds = [cast("Any", one.type.dialect_impl(dialect)) for one in columns]
        self._read = _converts(one.result_processor(dialect, None) for one in kinds)
        # Named after columns that only the statement knows: no class that could be written down.
        # What has no name, a bare count(), is known by its place alone.
        keys = [str(one.key) for one in columns]
        row: Any = namedtuple("Row", keys, rename=True)  # type: ignore[misc] # noqa: PYI024
        self._row: Callable[[Iterable[Any]], Any] = row._make

    def run(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> Rows:
        if self._fixed:
            values = {**self._fixed, **values}
        sent = [values[name] for name in self._names]
        for at, write in self._write:
            sent[at] = write(sent[at])
        cursor = driver.execute(self._sql, sent)
        found = cursor.fetchall() if cursor.description else []
        if self._read:
            found = [self._converted(row) for row in found]
        return Rows([self._row(row) for row in found], cursor.rowcount, self._sql, sent)

    def _converted(self, row: tuple[Any, ...]) -> list[Any]:
        made = list(row)
        for at, read in self._read:
            made[at] = read(made[at])
        return made


def _converts(found: Iterable[Convert | None]) -> list[tuple[int, Convert]]:
    return [(at, convert) for at, convert in enumerate(found) if convert is not None]


class Connection:
    """One transaction's connection; it lives as long as that."""

    __slots__ = ("_core", "_driver", "dialect")

    def __init__(self, core: sqlalchemy.Connection) -> None:
        self._core = core
        self.dialect = core.dialect
        self._driver: sqlite3.Connection | None = None
        if core.dialect.name == "sqlite":
            self._driver = cast("sqlite3.Connection", core.connection.driver_connection)

    @overload
    def execute(self, statement: Ready, values: Mapping[str, Any] = ...) -> Rows: ...

    @overload
    def execute(
        self, statement: Executable, values: Mapping[str, Any] | None = ...
    ) -> CursorResult[Any]: ...

    def execute(
        self, statement: Ready | Executable, values: Mapping[str, Any] | None = None
    ) -> Rows | CursorResult[Any]:
        """Run a statement with values for its parameters and columns. Raises what REFUSED names."""
        if not isinstance(statement, Ready):
            return cast("CursorResult[Any]", self._core.execute(statement, values))
        if self._driver is None:
            return cast("CursorResult[Any]", self._core.execute(statement.core, values))
        values = values or {}
        return statement.text(self.dialect, tuple(values)).run(self._driver, values)

    @property
    def driver(self) -> sqlite3.Connection:
        """SQLite's own connection. Raises StoreError for another database."""
        if self._driver is None:
            raise StoreError("this is done with SQLite alone")
        return self._driver

    def exec_driver_sql(self, text: str, values: tuple[Any, ...] = ()) -> CursorResult[Any]:
        """Run a text of the database's own, such as a PRAGMA."""
        return self._core.exec_driver_sql(text, values)
