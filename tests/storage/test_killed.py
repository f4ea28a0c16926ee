"""A backup or a restore that is killed at any moment leaves whole files, and the next one works."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bot import backup, database
from bot.settings import Database, Settings
from tests.proof import Ledger
from tests.storage.medium import integrity, quickest, rows

KILLS = 24


def mark(file: Path, word: str) -> None:
    database.upgrade(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("INSERT OR REPLACE INTO cursor VALUES ('mark', ?)", (word,))


def marked(file: Path) -> str:
    [(word,)] = rows(file, "SELECT value FROM cursor WHERE name = 'mark'")
    return str(word)


def killed(work: Callable[[], object], seconds: float) -> bool:
    """Let a child do some work, and kill it after a while; False: it had ended before."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def tried(folder: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill so many restores, each followed by a backup that is killed too."""
    home, copy, target = (folder / name for name in ("heed.db", "copy.db", "target.db"))
    settings = Settings(database=Database(url=f"sqlite:///{home}"))
    mark(home, "new")
    mark(copy, "old")
    kept = Path(shutil.copy(home, folder / "kept.db"))
    saving = quickest(lambda: backup.backup(settings, target, force=True))
    restoring = quickest(lambda: backup.restore(settings, copy))
    chance, hits = random.Random(seed), 0  # noqa: S311 - a moment, no secret
    for _ in range(kills):
        backup.restore(settings, kept)
        if marked(home) != "new":
            yield f"a restore after a killed one left {marked(home)!r}"
        hits += killed(lambda: backup.restore(settings, copy), chance.uniform(0, restoring))
        if integrity(home) != "ok" or marked(home) not in ("new", "old"):
            yield f"a killed restore left {integrity(home)}"
        before = [*folder.glob("heed.db.before-restore-*")]
        if "new" not in (*map(marked, before), marked(home)):
            yield "the database that was there is gone"
        for one in (target, *before):
            one.unlink(missing_ok=True)
        hits += killed(lambda: backup.backup(settings, target), chance.uniform(0, saving))
        if target.exists() and (integrity(target) != "ok" or not marked(target)):
            yield f"a killed backup left {integrity(target)}"
    backup.backup(settings, target, force=True)
    backup.restore(settings, copy)
    left = [one.name for one in folder.iterdir()]
    if rest := [name for name in left if ".part-" in name or ".restoring-" in name]:
        yield f"left lying: {rest}"
    if hits < kills // 4:
        yield f"only {hits} of {2 * kills} kills hit anything at work"


@pytest.mark.proof_short
def test_a_killed_backup_or_restore_leaves_whole_files(tmp_path: Path, proof: Ledger) -> None:
    found = [*tried(tmp_path, KILLS, 3)]
    what = "backup and restore killed with SIGKILL: the old file or the new one, never a half"
    proof("storage", what, f"{2 * KILLS} kills", found, seed=3)


@pytest.mark.proof
def test_backups_and_restores_killed_at_many_moments(tmp_path: Path, proof: Ledger) -> None:
    kills = proof.share(500)
    found = [*tried(tmp_path, kills, 4)]
    proof(
        "storage", "backup and restore killed at more moments", f"{2 * kills} kills", found, seed=4
    )
