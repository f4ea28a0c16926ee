"""Sealing the texts in the database: the operator's key, and the file rewritten with it.

A database takes a key at the first start that has one: from then on what is written is sealed, and
Heed refuses to open the file without it. What stood there before is sealed by `heed db seal`, which
also drops an old key: put the new one before it, run this, then take the old one away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from bot import database
from bot.settings import Settings
from core.errors import SetupError
from core.store import Executor, Inline, Seal, Store, WriterThread, seal as sealing


def seal_of(settings: Settings) -> Seal | None:
    """Return what the texts are sealed with; None: nothing. Raises SetupError for a bad key."""
    key = settings.privacy.key
    return None if key is None else Seal.read(key.get_secret_value())


def open_store(
    settings: Settings, executor: Callable[[Any], Executor] = WriterThread, *, url: str = ""
) -> Store:
    """Open the database (`url`: another one) with the operator's key."""
    return Store(url or settings.database.url, executor, seal=seal_of(settings))


@contextmanager
def opened(settings: Settings, *, url: str = "") -> Iterator[Store]:
    """Open the database for one command."""
    store = open_store(settings, Inline, url=url)
    try:
        yield store
    finally:
        store.close()


def insist(settings: Settings, *, url: str = "") -> None:
    """See that the key is the database's, which takes it if it has none. Raises SetupError."""
    with opened(settings, url=url) as store:
        agree(store)


def agree(store: Store) -> None:
    """Do the same with an open database, which runs no event loop's operations yet."""
    store.write_now(lambda _: None)


def state(settings: Settings) -> str:
    """Say whether the texts are sealed, for the doctor. Writes nothing. Raises SetupError."""
    with opened(settings) as store:
        plain = store.read_now(sealing.count_plain)
    if settings.privacy.key is None:
        return "texts are not sealed (privacy.key)"
    if plain:
        return f"texts are sealed but for {plain} older ones: run `heed db seal`"
    return "texts are sealed"


def seal(settings: Settings, *, undo: bool = False) -> str:
    """Seal every text in the file with the first key, or open them all; return what was done.

    Nothing of what lay there before is left in the file or its log. Raises SetupError: no key, or
    a running Heed.
    """
    own, url = seal_of(settings), settings.database.url
    if own is None:
        raise SetupError("HEED_PRIVACY__KEY is not set: make a key with `heed db key`.")
    database.prepare(url)
    with database.hold(url):
        database.upgrade(url)
        with opened(settings) as store:
            rows = sum(_rewrite(store, own, *one, undo=undo) for one in sealing.tables())
            store.write_now(partial(sealing.settle, seal=own, undo=undo))
            store.compact()
            clean = store.erase_log()
    if not clean:
        raise SetupError("Another program reads the database: end it, and run this again.")
    if undo:
        return f"{rows} rows were opened. Now unset HEED_PRIVACY__KEY, or they are sealed again."
    return f"{rows} rows were sealed with the first key. It alone is needed from now on."


def _rewrite(store: Store, own: Seal, table: Any, names: list[str], *, undo: bool) -> int:  # noqa: ANN401
    after: int | None = 0
    rows = 0
    while after is not None:
        step = partial(sealing.reseal, seal=own, table=table, names=names, after=after, undo=undo)
        after, changed = store.write_now(step)
        rows += changed
    return rows
