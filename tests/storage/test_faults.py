"""Faults of the medium under a whole Heed: nothing is acknowledged that is not kept."""

from __future__ import annotations

import asyncio
import io
import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest

from bot import database, logs
from bot.settings import Settings
from core.store import Store
from tests.patience import until
from tests.proof import Ledger
from tests.storage.medium import pragma
from tests.storage.site import Site, site_on
from tests.walk.platforms import MAYA, hurry, key_of
from tests.walk.program import ROOT, clean_environment

Fault = Callable[[Site], AbstractAsyncContextManager[None]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("core.janitor.PAUSE", 0.5)
    monkeypatch.setattr("bot.watch.LOOK", 0.5)
    logs.set_up(Settings(), io.StringIO())  # as `heed run` does, and in no file that may be full


@asynccontextmanager
async def locked(site: Site) -> AsyncIterator[None]:
    """Another program writes and does not end: longer than anybody waits for it."""
    with closing(sqlite3.connect(site.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def full(site: Site) -> AsyncIterator[None]:
    """Let the file have no page more."""
    [(pages,)] = pragma(site.app.store, "page_count")
    pragma(site.app.store, f"max_page_count={pages}")
    yield
    pragma(site.app.store, "max_page_count=1000000")


@asynccontextmanager
async def read_only(site: Site) -> AsyncIterator[None]:
    """Let the writer's connection refuse every change, as one to a read-only medium does."""
    pragma(site.app.store, "query_only=ON")
    yield
    pragma(site.app.store, "query_only=OFF")


@asynccontextmanager
async def broken(site: Site) -> AsyncIterator[None]:
    """Let the kernel refuse whatever makes a file longer: commits end with a disk I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await asyncio.to_thread(site.app.store.erase_log)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def suffer(site: Site, fault: Fault, words: str, seconds: float) -> AsyncIterator[str]:
    """Let a fault come and go while everybody writes; yield what was wrong."""
    site.everybody_writes()
    await site.settle()
    store: Store = site.app.store
    site.statuses.clear()
    async with fault(site):
        for _ in range(4):
            site.everybody_writes()
            await asyncio.sleep(seconds / 4)
        await until(lambda: store.problem)
        if words not in store.problem.words:
            yield f"{words}: {store.problem.words}"
        if not await site.unready():
            yield f"{words}: it says that it is ready"
        for wrong in site.unkept():
            yield f"{words}: {wrong}"
        if not await site.app.room.conversation(key_of(MAYA)):
            yield f"{words}: nothing can be read"
    await site.settle()
    for wrong in site.wrong():
        yield f"{words}: {wrong}"
    # A lock is waited for: who asked while another program wrote may be answered after all.
    if set(site.statuses) - {200, 503} or not (site.statuses[503] or fault is locked):
        yield f"{words}: POST /chat answered {dict(site.statuses)}"


FAULTS = {
    "locked": (locked, "locked", 6.0),
    "full": (full, "full", 1.0),
    "read only": (read_only, "readonly", 1.0),
    "disk error": (broken, "disk I/O", 1.0),
}


@pytest.mark.proof_short
async def test_faults_of_the_medium_lose_nothing_and_end_without_anybody(
    tmp_path: Path, proof: Ledger
) -> None:
    violations: list[str] = []
    async with site_on(tmp_path) as site:
        for fault, words, seconds in FAULTS.values():
            violations += [wrong async for wrong in suffer(site, fault, words, seconds)]
        size = f"4 faults, {sum(map(len, site.expected.values())) + len(site.chat)} messages"
    what = "locked for 6 s, full, read-only, disk error on commit, under a whole Heed"
    proof("storage", what, size, violations)


@pytest.mark.proof_short
def test_a_second_process_on_the_same_file_refuses_to_start(tmp_path: Path, proof: Ledger) -> None:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    database.upgrade(url)
    env = clean_environment(tmp_path, HEED_DATABASE__URL=url, HEED_HTTP__PORT="0")
    with database.hold(url):
        second = subprocess.run(
            [sys.executable, "-m", "bot", "run"],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    wrong = [] if second.returncode == 2 and "Another Heed" in second.stderr else [second]
    proof("storage", "a second process on the same file", "1 start, refused in a sentence", wrong)
