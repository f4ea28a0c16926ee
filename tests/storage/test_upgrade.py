"""A database of the first release is brought up to date while everybody goes on writing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bot import database, logs
from bot.settings import Settings
from core.errors import SetupError
from core.store.rows import message_to_row
from tests.core.ground import said
from tests.fakes.telegram import TelegramFake
from tests.proof import Ledger
from tests.storage.medium import integrity, quickest, rows
from tests.storage.site import Site, alive, site_on
from tests.walk.platforms import hurry, key_of

FIRST = "0001"
PEOPLE, LINES, WAITING = 400, 8, 60
NEW, NEWCOMER = 12, 1390


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the first release left it, in the middle of its work."""
    file = tmp_path_factory.mktemp("old") / "heed.db"
    database.upgrade(f"sqlite:///{file}", FIRST)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        fill(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


def fill(connection: sqlite3.Connection) -> None:
    now = time.time() - 600.0
    for person in range(1, PEOPLE + 1):
        user = str(1000 + person)
        connection.execute(
            "INSERT INTO conversation (id, platform, bot, chat, user, opened_at, touched_at)"
            " VALUES (?, 'telegram', '4242', ?, ?, ?, ?)",
            (person, user, user, now, now),
        )
        for n in range(LINES):
            number = person * 100 + n
            waits = n == LINES - 1 and person <= WAITING
            message = said(number, f"old line {number}", user=user, key=key_of(int(user)))
            connection.execute(
                "INSERT INTO inbox (conversation_id, platform, bot, chat, message_id, kind,"
                " sequence, message, raw, state, received_at, touched_at)"
                " VALUES (?, 'telegram', '4242', ?, ?, 'said', ?, ?, '{}', ?, ?, ?)",
                (
                    *(person, user, str(number), number, json.dumps(message_to_row(message))),
                    *("waiting" if waits else "done", now, now),
                ),
            )
            if not waits:
                connection.execute(
                    "INSERT INTO history (conversation_id, role, text, at) VALUES (?, ?, ?, ?)",
                    (person, "user" if n % 2 == 0 else "bot", f"old line {number}", now + n),
                )
        if person % 8 == 0:
            connection.execute(
                "INSERT INTO cases (conversation_id, state, rule, why, opened_at)"
                " VALUES (?, 'resolved', 'slide', 'was upset', ?)",
                (person, now),
            )
        if WAITING < person <= 2 * WAITING:
            connection.execute(
                "INSERT INTO outbox (conversation_id, cause_kind, cause_id, kind, part, text,"
                " state, queued_at, touched_at)"
                " VALUES (?, 'inbox', ?, 'reply', 0, ?, 'queued', ?, ?)",
                (person, person, f"an old reply to {user}", now, now),
            )


def counted(file: Path) -> list[int]:
    """Return how much there is that an upgrade may not lose."""
    tables = ("conversation", "inbox", "history", "cases", "outbox")
    return [rows(file, f"SELECT count(*) FROM {one}")[0][0] for one in tables]  # noqa: S608


@pytest.mark.proof_short
async def test_an_upgrade_under_load_loses_nothing_and_answers_once(
    old: Path, tmp_path: Path, proof: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    logs.set_up(Settings(), io.StringIO())
    file = Path(shutil.copy(old, tmp_path))
    before = counted(file)
    async with site_on(tmp_path, prepared=True) as site:
        town = site.one
        for user in range(1001, 1001 + PEOPLE):
            town._chat(user).last_id = 100_000  # all of them have written before
        for _ in range(3):  # nobody listens yet
            site.everybody_writes(discord=False)
        writing = asyncio.create_task(go_on(site))
        async with alive(tmp_path, site):
            await writing
            site.everybody_writes()
            await site.settle(60.0)
            wrong = [*site.wrong(), *after(file, town, before)]
    size = f"{sum(before)} rows, {WAITING} waiting, {WAITING} queued, {NEW} new"
    proof("storage", "upgrade from the first schema while everybody writes", size, wrong)


async def go_on(site: Site) -> None:
    """Let people of the old database write while the upgrade runs, and after it."""
    for n in range(NEW):
        site.one.say(NEWCOMER, NEWCOMER, f"new line {n}")
        await asyncio.sleep(0.02)
    site.everybody_writes(discord=False)


def after(file: Path, town: TelegramFake, before: list[int]) -> Iterator[str]:
    """Yield what an upgrade has lost, mixed up, or said twice."""
    people, _, lines, cases, _ = counted(file)
    if people < before[0] or lines < before[2] + 2 * WAITING or cases < before[3]:
        yield f"lost: {counted(file)} of {before}"
    if left := rows(file, "SELECT id FROM inbox WHERE state != 'done'"):
        yield f"not done: {left}"
    for person in range(1, WAITING + 1):
        if len(said := town.texts(1000 + person)) != 1:
            yield f"who waited was told {said}"
    for person in range(WAITING + 1, 2 * WAITING + 1):
        user = 1000 + person
        if town.texts(user) != [f"an old reply to {user}"]:
            yield f"whose reply was queued was told {town.texts(user)}"
    new = "SELECT text FROM history WHERE role = 'user' AND text LIKE 'new line%' ORDER BY id"
    if (found := [text for (text,) in rows(file, new)]) != [f"new line {n}" for n in range(NEW)]:
        yield f"new lines: {found}"
    causes = "SELECT cause_id FROM outbox WHERE kind = 'reply' AND cause_id > 1000 ORDER BY id"
    if (of := [cause for (cause,) in rows(file, causes)]) and len(of) != len(set(of)):
        yield f"answered twice: {of}"


@pytest.mark.proof_short
def test_an_upgrade_that_is_killed_is_completed_by_the_next_start(
    old: Path, tmp_path: Path, proof: Ledger
) -> None:
    proof(
        "storage",
        "upgrade from the first schema killed with SIGKILL, then started again",
        "12 kills",
        [*killed(old, tmp_path, 12, 5)],
        seed=5,
    )


@pytest.mark.proof
def test_an_upgrade_that_is_killed_at_many_moments(
    old: Path, tmp_path: Path, proof: Ledger
) -> None:
    kills = proof.share(200)
    found = [*killed(old, tmp_path, kills, 6)]
    proof(
        "storage",
        "upgrade from the first schema killed at more moments",
        f"{kills} kills",
        found,
        seed=6,
    )


def killed(old: Path, folder: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill an upgrade at so many moments of its work; yield what the next one finds wrong."""
    file = folder / "heed.db"
    url, head = f"sqlite:///{file}", ""

    def anew() -> None:
        for rest in ("", "-wal", "-shm"):
            Path(f"{file}{rest}").unlink(missing_ok=True)
        shutil.copy(old, file)

    def upgrade() -> None:
        anew()
        database.upgrade(url)

    took = quickest(upgrade)
    [(head,)] = rows(file, "SELECT version_num FROM alembic_version")
    chance, early = random.Random(seed), 0  # noqa: S311 - a moment, no secret
    for _ in range(kills):
        anew()
        child = os.fork()
        if child == 0:
            database.upgrade(url)
            os._exit(0)
        time.sleep(chance.uniform(0, took))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with closing(sqlite3.connect(file)) as connection:  # as the crash left it
            [[found]] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        early += found == FIRST
        if found not in (FIRST, head) or integrity(file) != "ok":
            yield f"left at {found}: {integrity(file)}"
        database.upgrade(url)
        if counted(file) != counted(old) or integrity(file) != "ok":
            yield f"{counted(file)} of {counted(old)}: {integrity(file)}"
    if not early:
        yield "no kill hit an upgrade at work"


def test_an_older_version_refuses_a_newer_database_in_a_sentence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    database.upgrade(url)
    with closing(sqlite3.connect(tmp_path / "heed.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(SetupError, match="another version of Heed"):
        database.upgrade(url)
    with pytest.raises(SetupError, match="is at revision 0999"):
        database.check(url)
