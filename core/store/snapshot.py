"""A whole database as one file: copied while it is in use, and put back.

What was under way when a copy was made may have been finished since. So nothing of it is carried
on with by itself: it is set aside, and the timers that would speak to a person go. What the
database that is replaced knows of the platforms comes along: how far each was read, and the keys of
what was heard since, so that a message that a platform sends again is no new one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from core.errors import SetupError

SPEAKING = ("t3", "delay", "resolve")  # kinds of timers that say something to a person
_PLACE = "platform, bot, chat, thread, user"
_KEY = "platform, bot, chat, message_id, event"
_HEARD = f"kind, sequence, received_at, touched_at, {_KEY}"


class Aside(NamedTuple):
    """How much was under way: posts and messages."""

    posts: int
    messages: int


class Along(NamedTuple):
    """What came along: messages that still wait for an answer, and those whose answer had begun.

    `readable` False: nothing could be read.
    """

    waiting: int
    begun: int
    readable: bool


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that is there, to be read and, where it may be, written. Raises SetupError."""
    mode = "rw" if os.access(file, os.W_OK) else "ro"
    try:
        address = f"{file.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            connection.execute("PRAGMA secure_delete=ON")
            yield connection
    except sqlite3.Error as error:
        raise SetupError(f"{file} cannot be read or written ({error}).") from error


def copy(source: Path, target: Path) -> None:
    """Write all that is committed in `source` into the empty file `target`, and check it.

    One read transaction, so it is of one moment, and nobody who writes waits. Raises SetupError.
    """
    with opened(source) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    with opened(target) as made:
        complaints = [row[0] for row in made.execute("PRAGMA integrity_check(3)")]
    if complaints != ["ok"]:
        raise SetupError(f"{source} is damaged ({'; '.join(complaints)}): it is no backup.")
    with target.open("rb") as written:
        os.fsync(written.fileno())


def revision(file: Path) -> str:
    """Return the revision of a database of Heed's. Raises SetupError where it is none."""
    with opened(file) as connection:
        try:
            [[found]] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except (sqlite3.OperationalError, ValueError):
            raise SetupError(f"{file} is no database of Heed's.") from None
    return str(found)


def set_aside(file: Path, why: str) -> Aside:
    """Set aside whatever is under way in a database of the newest revision; nobody is logged in."""
    with opened(file) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        posts = connection.execute(
            "UPDATE outbox SET state = 'uncertain', error = ?"
            " WHERE state IN ('queued', 'sending', 'streaming', 'held')",
            (why,),
        ).rowcount
        messages = connection.execute(
            "UPDATE inbox SET state = 'parked', error = ? WHERE state = 'waiting'", (why,)
        ).rowcount
        connection.execute("UPDATE staff_thread SET status = 'fallback' WHERE status = 'wanted'")
        connection.executemany("DELETE FROM timer WHERE kind = ?", [(one,) for one in SPEAKING])
        connection.execute("UPDATE cases SET resolve_at = NULL WHERE state != 'resolved'")
        connection.execute("DELETE FROM session")
    return Aside(posts, messages)


def bring_along(file: Path, present: Path, why: str) -> Along:
    """Bring into `file` what the database that it replaces knows of the platforms.

    Where that one cannot be read (it may be damaged) the places that Discord was read to go: it
    would hand over, as new, everything since the copy.
    """
    with opened(file) as connection:
        try:
            connection.execute("ATTACH ? AS present", (str(present),))
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return Along(*_bring(connection, why), readable=True)
        except sqlite3.DatabaseError:
            connection.execute("DELETE FROM cursor WHERE name LIKE 'discord/%'")
            return Along(0, 0, readable=False)


def _bring(connection: sqlite3.Connection, why: str) -> tuple[int, int]:
    platforms = "name LIKE 'discord/%' OR name LIKE 'telegram/%'"
    connection.execute(f"DELETE FROM cursor WHERE {platforms}")  # noqa: S608
    connection.execute(f"INSERT INTO cursor SELECT * FROM present.cursor WHERE {platforms}")  # noqa: S608
    same = " AND ".join(f"i.{name} = o.{name}" for name in _KEY.split(", "))
    connection.execute(
        "CREATE TEMP TABLE heard AS SELECT o.* FROM present.inbox o"  # noqa: S608 - our own names
        f" WHERE NOT EXISTS (SELECT 1 FROM inbox i WHERE {same})"
    )
    connection.execute(
        f"INSERT OR IGNORE INTO conversation ({_PLACE}, private, lang, opened_at, touched_at)"  # noqa: S608
        f" SELECT {_PLACE}, private, lang, opened_at, touched_at FROM present.conversation"
        " WHERE id IN (SELECT conversation_id FROM heard)"
    )
    # What still waits had no answer and none is under way: it is answered now. Where an answer had
    # begun it is set aside. Neither with words that another key seals; of the rest the key alone
    # is kept.
    seals = [
        connection.execute(f"SELECT value FROM {of}.cursor WHERE name = 'seal'").fetchall()  # noqa: S608
        for of in ("main", "present")
    ]
    begun = (
        "SELECT 1 FROM present.outbox p WHERE p.conversation_id = h.conversation_id"
        " AND p.state IN ('streaming', 'sending')"
    )
    open_ = "h.state = 'waiting'" if seals[0] == seals[1] else "FALSE"
    waits = f"{open_} AND NOT EXISTS ({begun})"
    columns = ", ".join(f"h.{name}" for name in _HEARD.split(", "))
    place = " AND ".join(f"n.{name} = c.{name}" for name in _PLACE.split(", "))
    connection.execute(
        f"INSERT INTO inbox (conversation_id, {_HEARD}, message, raw, urgent, state, error)"  # noqa: S608
        f" SELECT n.id, {columns}, IIF({open_}, h.message, '{{}}'), IIF({open_}, h.raw, ''),"
        f" IIF({open_}, h.urgent, ''), IIF({waits}, 'waiting', IIF(h.state = 'done', 'done',"
        " 'parked')), IIF(h.state = 'waiting', ?, h.error) FROM heard h"
        " JOIN present.conversation c ON c.id = h.conversation_id"
        f" JOIN conversation n ON {place} ORDER BY h.id",
        (why,),
    )
    connection.execute("UPDATE inbox SET error = '' WHERE state = 'waiting'")
    came = "SELECT count(*) FROM heard h JOIN inbox i ON h.state = 'waiting' AND i.state = ?"
    waiting, parked = (
        connection.execute(f"{came} AND {same.replace('o.', 'h.')}", (state,)).fetchone()[0]
        for state in ("waiting", "parked")
    )
    return waiting, parked


def note(file: Path, name: str, value: str) -> None:
    """Keep a cursor in a database that nobody uses."""
    with opened(file) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO cursor (name, value) VALUES (?, ?)", (name, value)
        )


def fold(file: Path) -> None:
    """Leave a database in one file, without a log beside it. Raises SetupError while it is used."""
    with opened(file) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    for rest in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{file}{rest}").unlink()
