"""The database from the outside: made, brought up to date, checked, held."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from core.errors import SetupError
from core.store import integrity, transaction


def file_of(url: str) -> Path:
    """Return the file of a SQLite address. Raises SetupError for any other address."""
    prefix = "sqlite:///"
    name = url.removeprefix(prefix).partition("?")[0]
    if not url.startswith(prefix) or name in ("", ":memory:"):
        raise SetupError(
            "database.url must name a SQLite file: sqlite:///data/heed.db, "
            "or sqlite:////var/lib/heed/heed.db for an absolute path."
        )
    path = Path(name)
    return path.resolve() if path.is_symlink() else path  # one lock, whatever it is called by


def prepare(url: str) -> None:
    """Make the folder of a SQLite file and see that we may write there. Raises SetupError."""
    path = file_of(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"The folder {path.parent} for the database cannot be made ({error.strerror}); "
            "set HEED_DATABASE__URL to a place you may write to."
        ) from None
    _check_rights(path)


def _check_rights(path: Path) -> None:
    """See that a database file and its neighbours (-wal, -shm, .lock) can be written."""
    if path.is_dir():
        raise SetupError(f"{path} is a folder; set HEED_DATABASE__URL to a file in it.")
    beside = [Path(f"{path}{rest}") for rest in ("-wal", "-shm", ".lock")]
    for target in (path.parent, path, *beside):
        if target.exists() and not os.access(target, os.W_OK):
            raise SetupError(
                f"{target} may not be written; give this user the right to write there, "
                "or set HEED_DATABASE__URL to another place."
            )


def _alembic(connection: object | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to the newest revision (or `revision`), making it if need be."""
    prepare(url)
    with suppress(FileExistsError):  # for this user alone, and so are the files that come beside it
        os.close(os.open(file_of(url), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with transaction(url, write=True, linked=False) as connection:
        try:
            now = MigrationContext.configure(connection).get_current_revision()
            if revision != "head" or now != _newest():
                command.upgrade(_alembic(connection), revision)
        except CommandError as error:
            raise SetupError(
                "The database was made by another version of Heed; install that one, "
                "or set HEED_DATABASE__URL to another file."
            ) from error


def downgrade(url: str, revision: str) -> None:
    """Take the database back to an earlier revision, or to "base": nothing."""
    with transaction(url, write=True) as connection:
        command.downgrade(_alembic(connection), revision)


def check(url: str) -> str:
    """Return one line on the database's state. Raises SetupError that says what to do."""
    path = _present(url)
    _check_rights(path)
    verdict = integrity(url)
    if verdict != "ok":
        raise SetupError(f"The database is damaged ({verdict}); restore a backup.")
    return f"database ok, revision {expect_newest(url)}"


def _present(url: str) -> Path:
    path = file_of(url)
    if not path.exists():
        raise SetupError(f"There is no database at {path} yet; make it with `heed db upgrade`.")
    return path


def expect_newest(url: str) -> str:
    """Return the revision of a database that is up to date. Raises SetupError of any other."""
    _present(url)
    now = _revision(url)
    head = _newest()
    if now is None or now != head:
        raise SetupError(
            f"The database is at revision {now or 'none'}, Heed needs {head}: "
            "run `heed db upgrade`."
        )
    return now


def _revision(url: str) -> str | None:
    with transaction(url, write=False) as connection:
        return MigrationContext.configure(connection).get_current_revision()


@cache
def _newest() -> str | None:
    """Return the revision that this Heed needs; the migrations are read once."""
    return ScriptDirectory.from_config(_alembic()).get_current_head()


@contextmanager
def hold(url: str) -> Iterator[None]:
    """Hold the database as its one writer while the process lives. Raises SetupError if held.

    A kernel lock, so that a crash frees it: never a file that somebody has to remove.
    """
    path = file_of(url)
    with Path(f"{path}.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise SetupError(
                f"Another Heed (process {lock.read().strip() or '?'}) is using {path}; "
                "stop it first, or set HEED_DATABASE__URL to another file."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
