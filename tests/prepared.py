"""A database that the migrations have made once, and a copy of it for every test."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bot import database


def prepare(url: str) -> None:
    """Put an empty database of today's form at a SQLite address, unless there is one already."""
    path = database.file_of(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(_empty())


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "heed.db"
        database.upgrade(f"sqlite:///{path}")
        return path.read_bytes()
