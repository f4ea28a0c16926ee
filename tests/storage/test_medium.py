"""What the file itself may suffer: full at any page, its log torn at any byte."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot import database
from core.errors import SetupError, StoreBusy
from core.store import Inline, Store
from tests.proof import Ledger
from tests.storage.medium import heard, integrity, pragma, rows, take

BATCH = 20


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a first start leaves it."""
    file = tmp_path_factory.mktemp("empty") / "heed.db"
    database.upgrade(f"sqlite:///{file}")
    return file


def fill_up(file: Path, every: int, pages: int) -> Iterator[str]:
    """Let a disk be full, again and again `every` so many pages later; yield what went wrong."""
    store = Store(f"sqlite:///{file}", Inline)
    number, kept = 0, list[int]()
    try:
        [(first,)] = pragma(store, "page_count")
        for most in range(first, first + pages, every):
            pragma(store, f"max_page_count={most}")
            refused = None
            while refused is None:
                batch = range(number, number + BATCH)
                refused = take(store, batch)
                if refused is None:
                    kept += batch
                    number += BATCH
            if not isinstance(refused, StoreBusy) or "full" not in str(refused):
                yield f"page {most}: {refused!r}"
            if heard(file) != kept:
                yield f"page {most}: {len(heard(file))} on the disk, {len(kept)} acknowledged"
            if take(store, batch) is None:
                yield f"page {most}: a full disk took something"
            pragma(store, "max_page_count=1000000")
            if (again := take(store, batch)) is not None:
                yield f"page {most}: {again} after there was room"
            kept += batch
            number += BATCH
            if heard(file) != kept:
                yield f"page {most}: what was refused is not there after there was room"
        if integrity(file) != "ok":
            yield integrity(file)
    finally:
        store.close()


@pytest.mark.proof_short
def test_a_full_disk_loses_nothing_that_was_acknowledged(
    empty: Path, tmp_path: Path, proof: Ledger
) -> None:
    file = Path(shutil.copy(empty, tmp_path))
    what = "disk full at every tenth page: refused, read, nothing acknowledged that is not there"
    proof("storage", what, "30 times full in 300 pages", [*fill_up(file, 10, 300)])


@pytest.mark.proof
def test_a_disk_that_is_full_at_every_page(empty: Path, tmp_path: Path, proof: Ledger) -> None:
    file, pages = Path(shutil.copy(empty, tmp_path)), proof.share(1500)
    proof("storage", "disk full at every page", f"{pages} pages", [*fill_up(file, 1, pages)])


def torn(empty: Path, folder: Path, cuts: int, seed: int) -> Iterator[str]:
    """Cut the log of a database at so many places, as a crash of the machine may leave it."""
    whole = Path(shutil.copy(empty, folder))
    store = Store(f"sqlite:///{whole}", Inline)
    pragma(store, "wal_checkpoint(TRUNCATE)")
    pragma(store, "wal_autocheckpoint=0")
    for n in range(60):
        assert take(store, range(n, n + 1)) is None
    log = Path(f"{whole}-wal").read_bytes()
    base = whole.read_bytes()
    store.close()
    chance, before = random.Random(seed), -1  # noqa: S311 - a place to cut, no secret
    file = folder / "torn.db"
    for n, place in enumerate(sorted(chance.randrange(len(log) + 1) for _ in range(cuts))):
        file.write_bytes(base)
        tail = (b"", chance.randbytes(5000), bytes(5000))[n % 3]  # cut, garbage, a hole
        Path(f"{file}-wal").write_bytes(log[:place] + tail)
        again = Store(f"sqlite:///{file}", Inline)
        try:
            kept = again.read_now(
                lambda c: [
                    int(row[0])
                    for row in c.exec_driver_sql("SELECT message_id FROM inbox ORDER BY id")
                ]
            )
            if kept != [*range(len(kept))] or len(kept) < before:
                yield f"cut at {place}: not the first messages: {kept}"
            if (refused := take(again, range(100, 101))) is not None:
                yield f"cut at {place}: {refused}"
            before = len(kept)
        finally:
            again.close()
        if integrity(file) != "ok" or rows(file, "PRAGMA foreign_key_check"):
            yield f"cut at {place}: {integrity(file)}"
    if before < 50:
        yield f"the last cut kept {before} of 60: the cuts are not where they should be"


@pytest.mark.proof_short
def test_a_torn_log_loses_only_its_last_transactions(
    empty: Path, tmp_path: Path, proof: Ledger
) -> None:
    what = "write-ahead log cut, overwritten or holed: whole, and the first transactions stand"
    proof("storage", what, "100 cuts", [*torn(empty, tmp_path, 100, 7)], seed=7)


@pytest.mark.proof
def test_a_log_torn_at_a_thousand_places(empty: Path, tmp_path: Path, proof: Ledger) -> None:
    cuts = proof.share(1000)
    found = [*torn(empty, tmp_path, cuts, 11)]
    proof("storage", "write-ahead log torn, at more places", f"{cuts} cuts", found, seed=11)


def test_a_file_that_may_not_be_written_is_named_before_anything_starts(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(shutil.copy(empty, tmp_path))
    for rest in ("", "-wal", "-shm", ".lock"):
        name = Path(f"{file}{rest}")
        name.touch()
        # Root may write everywhere, so what the kernel would say to somebody else is said here.
        monkeypatch.setattr("os.access", lambda path, _mode, name=name: path != name)
        with pytest.raises(SetupError, match=f"{name.name} may not be written"):
            database.prepare(f"sqlite:///{file}")
