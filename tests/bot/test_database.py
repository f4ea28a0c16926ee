"""The database from the outside: made, brought up to date, held, and asked about a person."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from argon2 import PasswordHasher

from bot import database, person, staff
from bot.settings import Database, Settings
from core import store
from core.errors import SetupError
from core.store import create_tables, open_engine, outbox, people, record
from core.tables import metadata
from tests.core.ground import Ground, opened, said

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from bot.database import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'heed.db'}"


@pytest.fixture
def settings(url: str) -> Settings:
    return Settings(database=Database(url=url))


@pytest.fixture
def ground(tmp_path: Path, url: str) -> Iterator[Ground]:
    database.upgrade(url)
    with opened(tmp_path) as made:
        yield made


def shape(url: str) -> set[tuple[str, str, str]]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute(
            "SELECT type, name, tbl_name FROM sqlite_master WHERE name != 'alembic_version'"
        ).fetchall()
    connection.close()
    return {row for row in rows if row[2] != "alembic_version"}


def columns(url: str) -> dict[str, dict[str, tuple[object, ...]]]:
    """Return type, nullness, default and key of every column; a later one stands at the end."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        found = {
            name: {row[1]: row[2:] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in metadata.tables
        }
    connection.close()
    return found


# --- migrations -----------------------------------------------------------------------------------


def test_from_nothing_the_migrations_lead_to_the_tables(tmp_path: Path, url: str) -> None:
    database.upgrade(url)
    engine = open_engine(url, write=True)
    with engine.begin() as connection:
        options = {"compare_type": True}  # defaults: see the columns below
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    direct = f"sqlite:///{tmp_path / 'direct.db'}"
    create_tables(direct)
    assert shape(url) == shape(direct)
    assert columns(url) == columns(direct)


def test_the_migrations_can_be_taken_back_and_run_again(url: str) -> None:
    database.upgrade(url)
    before = shape(url)
    database.downgrade(url, "base")
    assert shape(url) == set()
    database.upgrade(url)
    assert shape(url) == before


def test_an_upgrade_keeps_what_is_there_and_may_be_repeated(ground: Ground) -> None:
    ground.take(said(1))
    database.upgrade(ground.url)
    assert ground.conversation().user == "ann"


def test_an_upgrade_makes_the_folder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a' / 'b' / 'heed.db'}"
    database.upgrade(url)
    assert database.check(url).startswith("database ok, revision ")


def test_nobody_else_on_the_machine_may_read_what_people_write(tmp_path: Path, url: str) -> None:
    database.upgrade(url)
    assert {file.name: file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {"heed.db": 0}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(SetupError, match="HEED_DATABASE__URL"):
        database.prepare(f"sqlite:///{tmp_path / 'a file' / 'heed.db'}")


@pytest.mark.parametrize(
    "url",
    ["mysql://u:geheim@x/y", "nonsense", "sqlite://", "sqlite:///", "sqlite:///:memory:"],
)
@pytest.mark.parametrize("do", [database.prepare, database.upgrade, database.check])
def test_an_address_that_is_no_sqlite_file_is_refused(
    do: Callable[[str], object], url: str
) -> None:
    with pytest.raises(SetupError, match="must name a SQLite file") as told:
        do(url)
    assert "geheim" not in str(told.value)


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"is a folder; set HEED_DATABASE__URL"):
        database.upgrade(f"sqlite:///{tmp_path}")


def test_a_folder_that_may_not_be_written_is_told_though_the_file_may(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.upgrade(url)
    folder = Path(url.removeprefix("sqlite:///")).parent
    # Root may write everywhere, so the kernel's answer is given by hand.
    monkeypatch.setattr(os, "access", lambda path, _mode: path != folder)
    for do in (database.prepare, database.check):
        with pytest.raises(SetupError, match=f"{folder.name} may not be written"):
            do(url)


def test_a_file_that_is_no_database_is_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "heed.db").write_bytes(b"something else " * 1000)
    with pytest.raises(SetupError, match=r"not a database\): put a backup in its place"):
        database.upgrade(url)


def test_a_database_in_use_is_not_called_damaged(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database.upgrade(url)
    rules = [rule for rule in store._PRAGMAS if "busy" not in rule]
    monkeypatch.setattr(store, "_PRAGMAS", (*rules, "busy_timeout=10"))
    with (
        store.transaction(url, write=True),
        pytest.raises(SetupError, match="try again in a moment"),
    ):
        database.upgrade(url)


def test_a_database_of_a_newer_heed_is_told(tmp_path: Path, url: str) -> None:
    database.upgrade(url)
    with sqlite3.connect(tmp_path / "heed.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SetupError, match="another version of Heed"):
        database.upgrade(url)


# --- check ----------------------------------------------------------------------------------------


def test_check_says_what_to_do_where_there_is_no_database(url: str) -> None:
    with pytest.raises(SetupError, match=r"There is no database at .*heed db upgrade"):
        database.check(url)
    assert not Path(url.removeprefix("sqlite:///")).exists()


def test_check_says_what_to_do_with_an_older_database(url: str) -> None:
    create_tables(url)
    with pytest.raises(SetupError, match=r"revision none, .*run `heed db upgrade`"):
        database.check(url)


@pytest.mark.parametrize("how", ["no database", "a torn page"])
def test_check_says_what_to_do_with_a_damaged_file(tmp_path: Path, url: str, how: str) -> None:
    database.upgrade(url)
    file = tmp_path / "heed.db"
    data = bytearray(file.read_bytes())
    if how == "no database":
        data = bytearray(b"something else " * 1000)
    else:
        data[4096:8192] = b"\xff" * 4096
    file.write_bytes(bytes(data))
    with pytest.raises(SetupError, match=r"is damaged \(.+\); restore a backup"):
        database.check(url)


def test_check_leaves_the_file_as_it_is(ground: Ground) -> None:
    ground.take(said(1))
    assert "ok" in database.check(ground.url)
    assert ground.conversation().user == "ann"


# --- one writer -----------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_who_holds_the_database(url: str) -> None:
    holder = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", HOLD, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = rf"process {holder.pid}\).*stop it first"
        with pytest.raises(SetupError, match=told), database.hold(url):
            pass
        holder.kill()  # a crash frees it
        holder.wait(10)
        with database.hold(url):
            pass
    finally:
        holder.kill()
        holder.communicate(timeout=10)


def test_who_held_a_database_may_hold_it_again(url: str) -> None:
    for _ in range(2):
        refused = pytest.raises(SetupError, match="Another Heed")
        with database.hold(url), refused, database.hold(url):
            pass


def test_a_database_is_held_under_every_name(tmp_path: Path, url: str) -> None:
    database.upgrade(url)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.db").symlink_to(tmp_path / "heed.db")
    refused = pytest.raises(SetupError, match="Another Heed")
    with database.hold(url), refused, database.hold(f"sqlite:///{tmp_path}/elsewhere/link.db"):
        pass


# --- about a person -------------------------------------------------------------------------------

PLANTED = "zebra-quartz-7431"


def talk(ground: Ground) -> None:
    """Let one person leave their words everywhere they can be left."""
    ground.take(said(1, f"{PLANTED} is my word"))
    ground.answer(ground.begin(), f"you said {PLANTED}")
    ground.send_all()
    case_id = ground.open_case(2)
    ground.send_all()
    ground.send_all(("staff", case_id), thread="31")


def found_in(folder: Path) -> list[str]:
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_file() and PLANTED.encode() in path.read_bytes()
    ]


def test_forgetting_leaves_no_word_in_the_file_or_its_log(
    tmp_path: Path, ground: Ground, settings: Settings
) -> None:
    talk(ground)
    assert found_in(tmp_path) != []
    ground.close()
    told = person.forget(settings, "telegram:ann")
    assert told == "4 messages and 1 cases are erased."
    assert found_in(tmp_path) == []
    with opened(tmp_path) as again:
        kinds = [row.kind for row in again.rows(outbox.outbox, state="queued")]
        # Card, context and ping still have to be erased at the desk, and the thread's name.
        assert kinds == ["edit", "edit", "edit", "thread"]
    with pytest.raises(SetupError, match="Nothing is kept"):
        person.forget(settings, "telegram:ann")


def test_forgetting_takes_only_the_one_it_was_asked_for(ground: Ground, settings: Settings) -> None:
    ground.take(said(1, "mine"), said(2, "theirs", user="annabel"))
    ground.answer(ground.begin(1))
    ground.answer(ground.begin(2))
    person.forget(settings, "telegram:ann")
    [kept] = person.export(settings, "telegram:annabel")
    assert [line["text"] for line in kept["messages"]] == ["theirs", "I hear you."]
    with pytest.raises(SetupError, match=r"Nothing is kept of telegram:ann\."):
        person.export(settings, "telegram:ann")


def test_an_export_holds_what_was_said_and_judged_but_no_notes(
    ground: Ground, settings: Settings
) -> None:

    talk(ground)
    ground.do(record.note, case_id=1, who="Ben", words="between us", now=1.0)
    [kept] = person.export(settings, "telegram:ann")
    told = json.dumps(kept)
    assert kept["person"]["user"] == "ann"
    assert [line["role"] for line in kept["messages"]] == ["user", "bot", "user", "bot"]
    assert kept["messages"][0]["scores"]["label"] == "negative"
    assert [decision["rule"] for decision in kept["decisions"]] == ["slide"]
    assert [case["state"] for case in kept["cases"]] == ["queued"]
    assert PLANTED in told
    assert "between us" not in told


@pytest.mark.parametrize("ref", ["ann", "telegram:", "icq:7", "", "web:\udcff"])
def test_somebody_must_be_named_with_their_platform(settings: Settings, ref: str) -> None:
    database.upgrade(settings.database.url)
    for about in (person.export, person.forget):
        with pytest.raises(SetupError, match="write platform:user id"):
            about(settings, ref)


# --- staff ----------------------------------------------------------------------------------------


def test_staff_are_added_listed_and_removed(settings: Settings) -> None:
    staff.add(settings, "zoe ", "a good password", admin=False)
    staff.add(settings, "ben", "another one", admin=True)
    assert staff.names(settings) == ["ben (admin)", "zoe"]
    with pytest.raises(SetupError, match="zoe is staff already"):
        staff.add(settings, "zoe", "x", admin=True)
    staff.remove(settings, "ben")
    assert staff.names(settings) == ["zoe"]
    with pytest.raises(SetupError, match="no staff member named ben"):
        staff.remove(settings, "ben")
    for name in ("", " ", "a\nb", "\udcff"):
        with pytest.raises(SetupError, match="no name that somebody could type"):
            staff.add(settings, name, "x", admin=False)


def test_a_password_is_kept_as_a_hash_alone(tmp_path: Path, settings: Settings) -> None:
    staff.add(settings, "zoe", PLANTED, admin=False)
    assert found_in(tmp_path) == []
    with opened(tmp_path) as ground:
        row = ground.row(people.staff)
    assert PasswordHasher().verify(row.password, PLANTED)
