"""A whole Heed with a key: planted words are in no byte of its files, and everything goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bot import person
from bot.sealing import seal, state
from bot.settings import Privacy
from core.store import seal as seals
from core.store.seal import new_key
from tests.privacy.planted import files, left, logged
from tests.privacy.test_planted import on_discord, on_telegram
from tests.walk.platforms import MAYA, heed_on, hurry

KEY = new_key(b"\3".__mul__)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.mark.proof_short
async def test_planted_words_of_a_whole_walk_are_in_no_byte_of_a_sealed_database(
    tmp_path: Path, proof: Any
) -> None:
    with logged() as log:
        both = {"on": ("telegram", "discord"), "staff": "telegram"}
        async with heed_on(tmp_path, **both, privacy=Privacy(key=KEY)) as heed:
            fields = [*await on_telegram(heed, "tg"), *await on_discord(heed, "dc")]
            held = files(tmp_path)
            violations: list[Any] = left(fields, held)
            assert any(name.endswith("-wal") for name, _ in held)
            settings = heed.app.settings
            told = await asyncio.to_thread(person.export, settings, f"telegram:{MAYA}")
            assert left(["tgtext", "tgupset"], [("export", str(told).encode())])
        violations += left(fields, files(tmp_path))
        violations += left(fields, [("log", log.getvalue().encode())])
    assert state(settings) == "texts are sealed"
    size = sum(len(data) for _, data in held)
    columns = sum(len(names) for _, names in seals.tables())
    seal(settings, undo=True)  # the very same words, to know that the search finds them
    shown = {field for field, _ in left(fields, files(tmp_path))}
    assert len(shown) >= 0.7 * len(fields)
    connection = sqlite3.connect(tmp_path / "heed.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    proof(
        "privacy",
        "planted words with a key, in no byte of database, -wal, -shm or log",
        f"{len(fields)} fields, {columns} sealed columns, {size / 1e6:.1f} MB searched",
        violations,
    )
