"""Commands on a sealed database: they all work with its key, and none without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bot import backup, database, doctor, person, sealing, staff
from bot.cli import heed
from bot.evaluating import verdicts
from bot.program import serve
from bot.settings import Database, Http, Privacy, Settings
from core.errors import SetupError
from core.store.seal import Seal, new_key
from core.store.turns import Plan
from tests.core import ground as grounds
from tests.core.ground import OPENING, Ground, heard, opened, said

KEY, OTHER = (new_key(bytes([fill]).__mul__) for fill in (1, 2))
PLANTED = "quartz-zebra-7431"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], Settings]:
    """A sealed database with one person and a case; return settings with this key or that."""
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    database.upgrade(url)
    monkeypatch.setattr(grounds, "SEAL", Seal.read(KEY))
    with opened(tmp_path) as ground:
        _fill(ground)
    return lambda key: Settings(
        database=Database(url=url), http=Http(port=0), privacy=Privacy(key=key)
    )


def _fill(ground: Ground) -> None:
    ground.take(said(1, f"{PLANTED} is broken"))
    start = ground.begin()
    assert start is not None
    felt = heard(start, decision=grounds.DECISION, made={"prompt": PLANTED})
    ground.finish(start, Plan(heard=felt, opening=replace(OPENING, why=PLANTED)))


def readable(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir() if PLANTED.encode() in one.read_bytes()]


def test_every_command_works_with_the_key(
    made: Callable[[str | None], Settings], tmp_path: Path
) -> None:
    settings = made(KEY)
    assert PLANTED in json.dumps(person.export(settings, "telegram:ann"))
    _, kept = verdicts.read(settings, words=True)
    assert [one.text for one in kept.decisions] == [f"{PLANTED} is broken"]
    assert "texts are sealed" in doctor.database(settings)
    copy = tmp_path / "copy.db"
    backup.backup(settings, copy)
    assert readable(tmp_path) == []
    assert "2 messages and 1 cases" in person.forget(settings, "telegram:ann")
    with pytest.raises(SetupError, match="Nothing is kept"):
        person.export(settings, "telegram:ann")
    backup.restore(settings, copy)
    assert PLANTED in json.dumps(person.export(settings, "telegram:ann"))
    assert readable(tmp_path) == []


@pytest.mark.parametrize(
    ("key", "says"), [(None, "set HEED_PRIVACY__KEY"), (OTHER, "does not hold the key")]
)
async def test_nothing_works_with_another_key_or_none(
    made: Callable[[str | None], Settings], tmp_path: Path, key: str | None, says: str
) -> None:
    settings = made(key)
    with pytest.raises(SetupError, match=says):
        await serve(settings)
    commands: list[Callable[[], Any]] = [
        lambda: person.export(settings, "telegram:ann"),
        lambda: person.forget(settings, "telegram:ann"),
        lambda: verdicts.read(settings, words=True),
        lambda: staff.add(settings, "zoe", "long enough", admin=False),
    ]
    for command in commands:
        with pytest.raises(SetupError, match=says):
            await asyncio.to_thread(command)
    found = await asyncio.to_thread(doctor.look, settings)
    [finding] = [one for one in found if one.name == "database"]
    assert finding.state == "fail"
    assert says in finding.text
    assert readable(tmp_path) == []


def test_a_backup_of_another_key_is_refused_before_anything_is_touched(
    made: Callable[[str | None], Settings], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    backup.backup(made(KEY), copy)
    file = tmp_path / "heed.db"
    for rest in ("", "-wal", "-shm"):
        Path(f"{file}{rest}").unlink(missing_ok=True)
    database.upgrade(f"sqlite:///{file}")
    sealing.insist(made(OTHER))
    before = file.read_bytes()
    with pytest.raises(SetupError, match="does not hold the key"):
        backup.restore(made(OTHER), copy)
    assert file.read_bytes() == before


def test_a_key_is_printed_and_a_held_database_is_not_rewritten(
    made: Callable[[str | None], Settings],
) -> None:
    printed = CliRunner().invoke(heed, ["db", "key"]).output.strip()
    assert Seal.read(printed)
    settings = made(KEY)
    with (
        database.hold(settings.database.url),
        pytest.raises(SetupError, match="stop it first"),
    ):
        sealing.seal(settings)
    with pytest.raises(SetupError, match="heed db key"):
        sealing.insist(made("no key"))
