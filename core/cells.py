"""How words lie in a column: plain, or sealed where the operator has given a key.

A sealed value is a BLOB where a plain one is TEXT, so nothing that anybody writes can be taken for
the other, and a database in which both stand reads well. Which key is used is known to the dialect
of an engine (`use`), so two databases in one process never share one, and an engine without a key
converts nothing. What is empty stays as it is: `!= ""` and "null" mean the same either way.

No query can compare sealed words, for the same words are never sealed alike: a column of these
types refuses every comparison but that with nothing, and `plain` says its words to the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Engine,
    ForeignKey,
    Integer,
    Text,
    text as clause,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

EMPTY = frozenset({"", "null", "{}", "[]"})  # says nothing of anybody, so it is not worth a seal

Convert = Callable[[Any], Any]


class Cipher(Protocol):
    """What seals words and opens them again."""

    def close(self, words: str) -> bytes:
        """Return the words as a sealed value."""
        ...

    def open(self, sealed: bytes) -> str:
        """Return what was sealed. Raises StoreError where the key is another one."""
        ...


def use(engine: Engine, cipher: Cipher | None) -> None:
    """Let an engine seal what it writes. To be called before its first statement."""
    cast("Any", engine.dialect).cipher = cipher


def cipher_of(dialect: Dialect) -> Cipher | None:
    """Return what an engine seals with."""
    return getattr(dialect, "cipher", None)


class _Mute(TypeDecorator.Comparator[Any]):
    """Comparisons that a sealed value can answer: whether anything stands there."""

    def operate(  # type: ignore[explicit-override]
        self,
        op: operators.OperatorType,
        *other: Any,  # noqa: ANN401 - SQLAlchemy's
        **more: Any,  # noqa: ANN401
    ) -> ColumnElement[Any]:
        absent = op in (operators.is_, operators.is_not)
        if absent or (op in (operators.eq, operators.ne) and other == ("",)):
            return super().operate(op, *other, **more)
        raise TypeError("a column that may be sealed is compared by plain(column)")


class _Words(TypeDecorator[Any]):
    """Words in a column, sealed where the engine has a cipher."""

    impl: Any = Text
    cache_ok = True
    comparator_factory: Any = _Mute

    def bind_processor(self, dialect: Dialect) -> Convert | None:  # type: ignore[explicit-override]
        write = self.impl_instance.bind_processor(dialect)
        cipher = cipher_of(dialect)
        if cipher is None:
            return write
        close = cipher.close

        def sealed(value: Any) -> Any:  # noqa: ANN401 - what the column takes
            said = value if write is None else write(value)
            return said if said is None or said in EMPTY else close(said)

        return sealed

    def result_processor(  # type: ignore[explicit-override]
        self, dialect: Dialect, coltype: object
    ) -> Convert | None:
        read = self.impl_instance.result_processor(dialect, coltype)
        cipher = cipher_of(dialect)
        if cipher is None:
            return read
        unseal = cipher.open

        def opened(value: Any) -> Any:  # noqa: ANN401 - what the column holds
            if type(value) is bytes:
                value = unseal(value)
            return value if read is None else read(value)

        return opened


class SealedText(_Words):
    """A text."""

    cache_ok = True


class SealedJSON(_Words):
    """JSON. Its parts are asked for by `type_coerce(plain(column), JSON)["part"]`."""

    impl = JSON
    cache_ok = True


class plain(FunctionElement[str]):  # noqa: N801 - reads as the function that it is
    """The words of a column, for the database to look into: `plain(history.c.text) == "yes"`."""

    type = Text()
    inherit_cache = True


@compiles(plain)
def _said(element: plain, compiler: SQLCompiler, **more: Any) -> str:  # noqa: ANN401
    inner = compiler.process(element.clauses, **more)
    if cipher_of(compiler.dialect) is not None:
        return f"unseal({inner})"  # a function of the connection: see core.store.seal
    [column] = element.clauses
    return f"CAST({inner} AS TEXT)" if isinstance(column.type, SealedJSON) else inner


def is_sealed(column: Column[Any]) -> bool:
    """Say whether a column's words are sealed where there is a key."""
    return isinstance(column.type, _Words)


# ---- columns, as core.tables writes them -------------------------------------------------------


def text(name: str, *, default: str = "") -> Column[str]:
    """Return a column of a text that is nobody's words: a state, an id, a name of ours."""
    return Column(name, Text, nullable=False, server_default=default)


def words(name: str) -> Column[str]:
    """Return a column of what somebody wrote, or of what quotes it."""
    return Column(name, SealedText, nullable=False, server_default="")


def flag(name: str) -> Column[bool]:
    """Return a column of yes or no; no unless it is told."""
    return Column(name, Boolean, nullable=False, server_default=clause("0"))


def number(name: str) -> Column[int]:
    """Return a column of a whole number; 0 unless it is told."""
    return Column(name, Integer, nullable=False, server_default=clause("0"))


def of(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    """Return a column that holds the id of a row, and goes with that."""
    return Column(name, ForeignKey(f"{target}.id", ondelete="CASCADE"), nullable=nullable)
