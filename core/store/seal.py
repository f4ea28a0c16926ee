"""Sealing: what people and staff wrote lies encrypted in the database, if the operator likes.

Which columns: every one that holds words of a person or of staff, or that quotes them.

| column | why |
|---|---|
| inbox.message, raw; poison.raw, error | what came in, and an error that may quote it |
| history.text, was, name, files | every line of a conversation; a file has a name and its words |
| outbox.text, buttons, media | what leaves; a button may be a question, a file has a caption |
| decision.why, trace, made | phrases that matched, and the whole prompt of a reply |
| cases.why, draft; remark.text; person.blocked_why; saved_reply.text | what staff read and wrote |
| conversation.name, past | the name that a person gave; hashes of their last questions |

Plain stay ids, times, states and numbers (scores, mood), without which no query could find a row,
the names of staff, by which cases are held, and the words in which a platform refused a post.
Whoever has the file and not the key learns who wrote when and how it was felt to be.

AES-256-GCM of the library `cryptography`, and not its Fernet: a fifth of the time, no time of
writing in clear beside every value, and a key's mark says at once which of several keys opens it.
A value is one byte of version, 4 of the key's mark, 12 of a random nonce, then text and tag. With
random nonces one key is good for 2**32 values.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Table, event, text

from core.cells import EMPTY, is_sealed, use
from core.errors import SetupError, StoreError
from core.store.connection import Connection
from core.tables import metadata

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = "seal"  # the cursor that says which keys a database needs
SLICE = 200  # rows rewritten in one transaction

_VERSION = b"\x01"
_NONCE = 12
_HEAD = 5  # version and mark of the key
_KNOWN = "heed"  # what is sealed with every key in use, to know it again
_UNKNOWN = "a text is sealed with a key that HEED_PRIVACY__KEY does not hold, or was changed"


class Seal:
    """Seals with the first key, opens with any. Safe to use from several threads."""

    __slots__ = ("_first", "_head", "_keys", "_random", "_refused")

    def __init__(self, keys: Sequence[bytes], random: Callable[[int], bytes] = os.urandom) -> None:
        """`keys`: 32 bytes each, at least one. Raises SetupError without the library."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise SetupError(
                "HEED_PRIVACY__KEY is set, and the library that seals is not installed: "
                "install heed[encrypt]."
            ) from None
        heads = [_VERSION + hashlib.sha256(b"heed" + key).digest()[: _HEAD - 1] for key in keys]
        self._keys: dict[bytes, AESGCM] = {
            head: AESGCM(key) for head, key in zip(heads, keys, strict=True)
        }
        self._head, self._first = heads[0], self._keys[heads[0]]
        self._random = random
        self._refused = InvalidTag

    @classmethod
    def read(cls, keys: str) -> Seal:
        """Read keys as `new_key` writes them, with commas between them. Raises SetupError."""
        return cls([_key(one.strip()) for one in keys.split(",") if one.strip()] or [_key("")])

    def close(self, words: str) -> bytes:
        """Return the words as a sealed value."""
        nonce, head = self._random(_NONCE), self._head
        # Half a character, which JSON can carry, must come back as it was.
        return (
            head + nonce + self._first.encrypt(nonce, words.encode("utf-8", "surrogatepass"), head)
        )

    def open(self, sealed: bytes) -> str:
        """Return what was sealed. Raises StoreError for another key's or a changed value."""
        head = sealed[:_HEAD]
        key = self._keys.get(head)
        if key is None:
            raise StoreError(_UNKNOWN)
        try:
            words = key.decrypt(sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :], head)
        except (self._refused, ValueError):
            raise StoreError(_UNKNOWN) from None
        return words.decode("utf-8", "surrogatepass")

    def is_current(self, value: object) -> bool:
        """Say whether a value as it lies in the file is sealed with the first key."""
        return isinstance(value, bytes) and value.startswith(self._head)

    def plain(self, value: Any) -> Any:  # noqa: ANN401 - anything that SQLite keeps
        """Return the words of a value as it lies in the file."""
        return self.open(value) if isinstance(value, bytes) else value

    def token(self) -> str:
        """Return a known value sealed with the first key, as a word of ASCII."""
        return base64.b64encode(self.close(_KNOWN)).decode()

    def knows(self, token: str) -> bool:
        """Say whether one of the keys made a token."""
        with suppress(StoreError, binascii.Error):
            return self.open(base64.b64decode(token)) == _KNOWN
        return False

    def made(self, token: str) -> bool:
        """Say whether the first key made a token."""
        return self.knows(token) and self.is_current(base64.b64decode(token))


def new_key(random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a new key: 32 bytes in the letters that addresses take."""
    return base64.urlsafe_b64encode(random(32)).decode()


def _key(written: str) -> bytes:
    with suppress(binascii.Error, ValueError):
        key = base64.b64decode(written.encode("ascii"), altchars=b"-_", validate=True)
        if len(key) == 32:
            return key
    raise SetupError("HEED_PRIVACY__KEY is no key: make one with `heed db key`.")


# ---- at the connection -------------------------------------------------------------------------


def guard(engine: Engine, seal: Seal | None) -> Engine:
    """Let an engine seal by `seal`, and every connection insist on the keys the file needs.

    Without the right key a connection is refused with SetupError, so nothing can be read wrongly,
    and no plain word gets into a sealed database.
    """
    use(engine, seal)
    if engine.dialect.name != "sqlite":
        if seal is not None:
            raise SetupError("HEED_PRIVACY__KEY seals a SQLite database; unset it for this one.")
        return engine

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        if seal is not None:
            connection.create_function("unseal", 1, seal.plain, deterministic=True)
        _insist(connection, seal)

    return engine


def _insist(connection: sqlite3.Connection, seal: Seal | None) -> None:
    try:
        row = connection.execute("SELECT value FROM cursor WHERE name = ?", (MARK,)).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return  # it is being made
        raise
    tokens = row[0].split() if row else []
    if seal is None:
        if tokens:
            raise SetupError(
                "The texts in this database are sealed: set HEED_PRIVACY__KEY to their key."
            )
        return
    if not all(map(seal.knows, tokens)):
        raise SetupError(
            "HEED_PRIVACY__KEY does not hold the key that this database is sealed with: put that "
            "one there, or behind the new one with a comma."
        )
    only_reads = connection.execute("PRAGMA query_only").fetchone()[0]
    if not only_reads and not any(map(seal.made, tokens)):
        _remember(connection, [*tokens, seal.token()])


def _remember(connection: sqlite3.Connection, tokens: Sequence[str]) -> None:
    connection.execute(
        "INSERT INTO cursor (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (MARK, " ".join(tokens)),
    )


# ---- the whole file ----------------------------------------------------------------------------


def tables() -> Iterator[tuple[Table, list[str]]]:
    """Go through the tables that hold words, with the names of those columns."""
    for table in metadata.sorted_tables:
        if names := [column.name for column in table.columns if is_sealed(column)]:
            yield table, names


def reseal(
    connection: Connection,
    seal: Seal,
    table: Table,
    names: Sequence[str],
    after: int,
    *,
    undo: bool,
) -> tuple[int | None, int]:
    """Rewrite the next rows of a table after row `after`; return the last one's id and how many.

    Everything is then sealed with the first key, or plain (`undo`). The id is None at the end.
    """
    columns = ", ".join(f'"{name}"' for name in names)
    rows = connection.execute(
        text(
            f'SELECT rowid AS row_id, {columns} FROM "{table.name}" '  # noqa: S608 - our own names
            "WHERE rowid > :after ORDER BY rowid LIMIT :most"
        ),
        {"after": after, "most": SLICE},
    ).all()
    changed = 0
    for row in rows:
        row_id, *values = tuple[Any, ...](row)
        fresh = {
            name: new
            for name, old in zip(names, values, strict=True)
            if (new := _again(seal, old, undo=undo)) is not old
        }
        if fresh:
            changed += 1
            sets = ", ".join(f'"{name}" = :{name}' for name in fresh)
            connection.execute(
                text(f'UPDATE "{table.name}" SET {sets} WHERE rowid = :row_id'),  # noqa: S608
                {**fresh, "row_id": row_id},
            )
    return (int(rows[-1].row_id) if len(rows) == SLICE else None), changed


def _again(seal: Seal, old: Any, *, undo: bool) -> Any:  # noqa: ANN401 - as it lies in the file
    """Return a value as it is to lie in the file; the very same object where it does already."""
    if undo:
        return seal.plain(old)
    if old is None or seal.is_current(old) or (isinstance(old, str) and old in EMPTY):
        return old
    return seal.close(str(seal.plain(old)))


def settle(connection: Connection, seal: Seal, *, undo: bool) -> None:
    """Note that the first key alone is needed from now on, or none."""
    driver = connection.driver
    if undo:
        driver.execute("DELETE FROM cursor WHERE name = ?", (MARK,))
        return
    row = driver.execute("SELECT value FROM cursor WHERE name = ?", (MARK,)).fetchone()
    kept = [token for token in (row[0].split() if row else ()) if seal.made(token)]
    _remember(driver, kept[:1] or [seal.token()])


def count_plain(connection: Connection) -> int:
    """Return how many values that are to be sealed lie there plain."""
    count = 0
    for table, names in tables():
        for name in names:
            query = (
                f'SELECT count(*) FROM "{table.name}" WHERE typeof("{name}") = \'text\' '  # noqa: S608
                f"AND \"{name}\" NOT IN ('', 'null', '{{}}', '[]')"
            )
            count += connection.driver.execute(query).fetchone()[0]
    return count
