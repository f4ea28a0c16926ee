"""A backup is whole or absent, and a restore says nothing to anybody for a second time."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot import backup, database, person, staff
from bot.control import ask
from bot.program import chat, serve
from bot.settings import Database, Desk, Http, Settings, Telegram
from core.errors import SetupError
from tests.fakes.telegram import TelegramFake
from tests.patience import until
from tests.proof import Ledger
from tests.walk.platforms import ERASED, FURY
from tests.walk.program import free_port

MAYA, BEN, DESK = 11, 12, -2002


def settings_in(folder: Path, **sections: Any) -> Settings:
    sections.setdefault("database", Database(url=f"sqlite:///{folder / 'heed.db'}"))
    return Settings(**sections)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@contextmanager
def sql(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with sql(file) as connection:
        return [tuple(row) for row in connection.execute(query)]


def spoken(file: Path, user: str, text: str, state: str = "done", **more: str) -> None:
    """Write a message as the walk leaves it."""
    with sql(file) as connection:
        connection.execute(
            "INSERT OR IGNORE INTO conversation (platform, bot, chat, user, opened_at, touched_at)"
            " VALUES ('discord', '7', ?, ?, 1, 1)",
            (user, user),
        )
        connection.execute(
            "INSERT INTO inbox (conversation_id, platform, bot, chat, message_id, kind, sequence,"
            " message, raw, state, received_at, touched_at) SELECT id, platform, bot, chat, ?,"
            " 'said', 1, ?, ?, ?, 1, 1 FROM conversation WHERE user = ?",
            (more.get("id", text), f'{{"text": "{text}"}}', text, state, user),
        )


# --- while nobody runs --------------------------------------------------------------------------


def test_a_backup_is_one_checked_file_for_its_owner(settings: Settings, tmp_path: Path) -> None:
    home, target = tmp_path / "heed.db", tmp_path / "more" / "copy.db"
    target.parent.mkdir()
    with pytest.raises(SetupError, match="nothing to back up"):
        backup.backup(settings, target)
    database.upgrade(settings.database.url)
    spoken(home, "ann", "hello")
    told = backup.backup(settings, target)
    assert str(target) in told
    assert "revision" in told
    assert " kB" in told
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [one.name for one in target.parent.iterdir()] == ["copy.db"]
    assert rows(target, "SELECT raw FROM inbox") == [("hello",)]
    spoken(home, "ann", "again")
    with pytest.raises(SetupError, match="is there already"):
        backup.backup(settings, target)
    backup.backup(settings, target, force=True)
    assert len(rows(target, "SELECT id FROM inbox")) == 2
    os.mkfifo(pipe := tmp_path / "pipe")
    for wrong, words in ((tmp_path, "is a folder"), (home, "database itself"), (pipe, "ordinary")):
        with pytest.raises(SetupError, match=words):
            backup.backup(settings, wrong, force=True)
    with pytest.raises(SetupError, match="Nothing can be written"):
        backup.backup(settings, tmp_path / "nowhere" / "copy.db")


def test_a_damaged_database_makes_no_backup(settings: Settings, tmp_path: Path) -> None:
    home, target = tmp_path / "heed.db", tmp_path / "copy.db"
    database.upgrade(settings.database.url)
    spoken(home, "ann", "x" * 200_000)
    with home.open("r+b") as file:
        file.seek(home.stat().st_size // 2)
        file.write(b"\xff" * 9000)
    with pytest.raises(SetupError, match=r"cannot be read|damaged"):
        backup.backup(settings, target)
    assert not target.exists()
    assert not [one for one in tmp_path.iterdir() if ".part-" in one.name]


def test_what_was_under_way_is_set_aside_and_what_was_heard_since_is_known(
    settings: Settings, tmp_path: Path
) -> None:
    home, copy = tmp_path / "heed.db", tmp_path / "copy.db"
    database.upgrade(settings.database.url)
    spoken(home, "ann", "waits in the backup", "waiting")
    with sql(home) as connection:
        for state in ("queued", "sending", "streaming", "held", "sent"):
            connection.execute(
                "INSERT INTO outbox (conversation_id, cause_kind, cause_id, kind, part, text,"
                " state, queued_at, touched_at) VALUES (1, 'inbox', 1, ?, 0, 'a reply', ?, 1, 1)",
                (state, state),
            )
        connection.execute("INSERT INTO timer (kind, due_at) VALUES ('delay', 1), ('snooze', 1)")
        connection.execute("INSERT INTO cursor VALUES ('discord/7/seen/5', '100')")
    backup.backup(settings, copy)
    with sql(home) as connection:
        connection.execute("UPDATE cursor SET value = '900' WHERE name = 'discord/7/seen/5'")
        connection.execute("UPDATE inbox SET state = 'done'")
    spoken(home, "ann", "answered since")
    spoken(home, "new", "waits still", "waiting")
    spoken(home, "half", "half answered", "waiting")
    with sql(home) as connection:
        connection.execute(
            "INSERT INTO outbox (conversation_id, cause_kind, cause_id, kind, part, text, state,"
            " queued_at, touched_at) SELECT id, 'inbox', 9, 'reply', 0, 'half', 'streaming', 1, 1"
            " FROM conversation WHERE user = 'half'"
        )
    told = backup.restore(settings, copy)
    assert "4 posts, 2 messages" in told
    assert "1 messages that waited for an answer" in told
    assert "erase them anew" in told
    states = rows(home, "SELECT kind, state FROM outbox ORDER BY id")
    assert states == [
        *((kind, "uncertain") for kind in ("queued", "sending", "streaming", "held")),
        ("sent", "sent"),
    ]
    found = rows(home, "SELECT message_id, state, raw FROM inbox ORDER BY id")
    assert found == [
        ("waits in the backup", "parked", "waits in the backup"),
        ("answered since", "done", ""),  # its key alone: should the platform send it again
        ("waits still", "waiting", "waits still"),
        ("half answered", "parked", "half answered"),  # staff are told, and can read it
    ]
    assert rows(home, "SELECT error FROM inbox ORDER BY id") == [
        (backup.WHY,),
        ("",),
        ("",),
        (backup.BEGUN,),
    ]
    assert rows(home, "SELECT kind FROM timer") == [("snooze",)]
    seen = "SELECT value FROM cursor WHERE name LIKE 'discord/%'"
    assert rows(home, seen) == [("900",)]  # or Discord would hand over everything since
    [kept] = befores(tmp_path)
    assert rows(kept, "SELECT count(*) FROM inbox") == [(4,)]
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert database.check(settings.database.url).startswith("database ok")
    home.write_bytes(b"no database at all" * 1000)
    told = backup.restore(settings, copy)
    assert "nothing could be read" in told
    assert rows(home, seen) == []
    assert not [*tmp_path.glob("*.restoring-*")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may restore for somebody else")
def test_what_root_restores_belongs_to_whom_the_database_belonged(
    settings: Settings, tmp_path: Path
) -> None:
    home, copy = tmp_path / "heed.db", tmp_path / "copy.db"
    database.upgrade(settings.database.url)
    backup.backup(settings, copy)
    os.chown(home, 65534, 65534)
    backup.restore(settings, copy)
    assert (home.stat().st_uid, home.stat().st_gid) == (65534, 65534)


def test_a_restore_that_cannot_be_leaves_everything_as_it_was(
    settings: Settings, tmp_path: Path
) -> None:
    home, copy = tmp_path / "heed.db", tmp_path / "copy.db"
    database.upgrade(settings.database.url)
    spoken(home, "ann", "hello")
    backup.backup(settings, copy)
    before = home.read_bytes()
    strange, newer, half = (tmp_path / name for name in ("strange.db", "newer.db", "half.db"))
    (empty := tmp_path / "empty.db").touch()
    with sql(strange) as connection:
        connection.execute("CREATE TABLE pets (name)")
    shutil.copy(copy, newer)
    with sql(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    half.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    wrong = {
        tmp_path / "nothing.db": "no file",
        home: "database itself",
        strange: "strange.db is no database of Heed's",
        empty: "empty.db is no database of Heed's",
        newer: "with the Heed that made it",
        half: "cannot be read|damaged",
    }
    for source, words in wrong.items():
        with pytest.raises(SetupError, match=words):
            backup.restore(settings, source)
    with database.hold(settings.database.url):  # by one that answers no commands
        with pytest.raises(SetupError, match="Another Heed"):
            backup.restore(settings, copy)
        with pytest.raises(SetupError, match="Another Heed"):
            staff.add(settings, "zoe", "a good password", admin=False)
        with pytest.raises(SetupError, match="Another Heed"):
            person.forget(settings, "discord:ann")
        assert len(person.export(settings, "discord:ann")) == 1  # reading needs no lock
    assert home.read_bytes() == before
    with sql(home) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM inbox").fetchone()
        with pytest.raises(SetupError, match="in use by another program"):
            backup.restore(settings, copy)
    assert rows(home, "SELECT raw FROM inbox") == [("hello",)]
    left = {one.name for one in tmp_path.iterdir()}
    assert {name for name in left if "restor" in name} == set()


async def test_who_asks_for_a_restore_hears_how_far_it_came_when_heed_stops(
    settings: Settings, tmp_path: Path
) -> None:
    home, copy = tmp_path / "heed.db", tmp_path / "copy.db"
    database.upgrade(settings.database.url)
    backup.backup(settings, copy)
    exchange = backup.Exchange(settings.database.url)
    for carried_out in (False, True, False):
        staged = backup._stage(settings, copy)
        asked = asyncio.create_task(exchange.restore(staged.name))
        await exchange.wanted.wait()
        if carried_out:
            await exchange.carry_out()
        exchange.wanted.clear()
        exchange.ended()
        if carried_out:
            assert re.fullmatch(
                r"The backup is in place: .* Heed has stopped since; .*", await asked
            )
        else:
            with pytest.raises(SetupError, match="Nothing was changed"):
                await asked
    assert home.exists()


async def test_a_chat_in_the_terminal_is_to_be_ended_first(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.upgrade(settings.database.url)
    backup.backup(settings, tmp_path / "copy.db")
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as keyboard, os.fdopen(writing, "w"):
        monkeypatch.setattr("sys.stdin", keyboard)
        talk = asyncio.create_task(chat(settings))
        await until((tmp_path / "heed.db.sock").exists)
        with pytest.raises(SetupError, match="end that, then try again"):
            await asyncio.to_thread(backup.restore, settings, tmp_path / "copy.db")
    await talk
    assert befores(tmp_path) == []


# --- while Heed runs ----------------------------------------------------------------------------


@asynccontextmanager
async def running(folder: Path, town: TelegramFake) -> AsyncIterator[Settings]:
    """Run the whole program, as `heed run` does."""
    settings = settings_in(
        folder,
        http=Http(port=free_port()),
        telegram=Telegram(token=town.token, api_base=town.api_base, file_base=town.file_base),
        desk=Desk(staff=f"telegram:{DESK}"),
    )
    program = asyncio.create_task(serve(settings))
    try:
        await ready(settings, program)
        yield settings
        assert not program.done(), program
    finally:
        program.cancel()
        with suppress(asyncio.CancelledError):
            await program


async def ready(settings: Settings, program: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while program is None or not program.done():
            with suppress(aiohttp.ClientError):
                async with http.get(f"http://127.0.0.1:{settings.http.port}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
        program.result()


async def says(town: TelegramFake, user: int, text: str, heard: int) -> None:
    """Let somebody write and wait for the n-th message of the bot to them."""
    town.say(user, user, text)
    await until(lambda: len(town.texts(user)) >= heard and "…" not in town.texts(user))
    await asyncio.sleep(0.1)  # until that is written down, too


def befores(folder: Path) -> list[Path]:
    return [*folder.glob("heed.db.before-restore-*")]


@pytest.mark.proof_short
async def test_backup_restore_forget_and_export_while_heed_runs(
    tmp_path: Path, proof: Ledger
) -> None:
    home, copy = tmp_path / "heed.db", tmp_path / "copy.db"
    async with TelegramFake() as town:
        town.group(DESK, title="Desk", forum=True)
        async with running(tmp_path, town) as settings:
            await says(town, MAYA, "hello there", 1)
            await says(town, BEN, "hello", 1)
            assert "revision" in await asyncio.to_thread(backup.backup, settings, copy)
            await says(town, MAYA, "zebra-quartz-7431 is my word", 2)
            with sql(copy) as edited:  # as if it had been made a moment earlier
                edited.execute("UPDATE inbox SET state = 'waiting' WHERE chat = ?", (str(BEN),))
                edited.execute("UPDATE outbox SET state = 'queued' WHERE text != ''")
            before = {user: town.texts(user) for user in (MAYA, BEN)}
            told = await asyncio.to_thread(backup.restore, settings, copy)
            assert "2 posts, 1 messages" in told, told
            await ready(settings)
            flagged = "A backup was restored"
            await until(lambda: any(flagged in text for text in town.texts(DESK)))
            await asyncio.sleep(1.0)
            assert {user: town.texts(user) for user in (MAYA, BEN)} == before
            await says(town, MAYA, "are you still there?", 3)
            await says(town, BEN, "and for me?", 2)
            assert len(town.texts(MAYA)) == 3
            assert rows(home, "SELECT count(*) FROM inbox WHERE state = 'waiting'") == [(0,)]
            [kept] = befores(tmp_path)
            assert b"zebra-quartz-7431" in kept.read_bytes()
            [exported] = await asyncio.to_thread(person.export, settings, f"telegram:{MAYA}")
            assert "are you still there?" in str(exported)
            town.say(MAYA, MAYA, FURY)
            await until(lambda: town.chats[DESK].topics)
            [topic] = town.chats[DESK].topics
            await until(lambda: any(FURY in text for text in town.texts(DESK, topic)))
            await until(lambda: len(town.texts(MAYA)) == 4)
            erased = await asyncio.to_thread(person.forget, settings, f"telegram:{MAYA}")
            assert erased.endswith(" messages and 1 cases are erased."), erased
            await until(lambda: ERASED in town.texts(DESK, topic))
            await until(lambda: not any(FURY in text for text in town.texts(DESK, topic)))
            files = [home, Path(f"{home}-wal")]
            assert not [one for one in files if b"are you still there?" in one.read_bytes()]
            with pytest.raises(SetupError, match="Nothing is kept"):
                await asyncio.to_thread(person.export, settings, f"telegram:{MAYA}")
            with pytest.raises(SetupError, match="no backup that stands ready"):
                await asyncio.to_thread(ask, settings.database.url, "restore", file="heed.db")
            await ready(settings)
            await asyncio.to_thread(staff.add, settings, "zoe", "a good password", admin=True)
            with pytest.raises(SetupError, match="zoe is staff already"):
                await asyncio.to_thread(staff.add, settings, "zoe", "another", admin=False)
            assert await asyncio.to_thread(staff.names, settings) == ["zoe (admin)"]
            await asyncio.to_thread(staff.remove, settings, "zoe")
            with pytest.raises(SetupError, match="no staff member named zoe"):
                await asyncio.to_thread(staff.remove, settings, "zoe")
            await says(town, BEN, "still well?", 3)
    proof(
        "storage",
        "backup, restore, forget and export by commands while Heed runs; nothing said twice",
        "1 restore in the same process",
        [],
    )
