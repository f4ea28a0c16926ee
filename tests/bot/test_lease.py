from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.lease import lease, lease_tokens
from bot.settings import Database, Discord, Settings, Telegram
from core.errors import SetupError
from tests.fakes.telegram import TOKEN, TelegramFake
from tests.walk.program import Program, clean_environment, heed

HOLD = """
import sys
from pathlib import Path
from bot.lease import lease_tokens
with lease_tokens({"telegram": sys.argv[1]}, Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def _settings(folder: Path) -> Settings:
    folder.mkdir(exist_ok=True)
    return Settings(
        database=Database(url=f"sqlite:///{folder / 'heed.db'}"),
        telegram=Telegram(token=TOKEN, more={"shop": {"token": "55:abc"}}),
        discord=Discord(more={"club": {"token": "club.token"}}),
    )


def test_a_token_is_held_by_one_process_and_freed_by_its_end(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    holding = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", HOLD, TOKEN, str(tmp_path / "one")],
        env=clean_environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"held\n"
        for folder in ("one", "two"):  # with another database, too
            with (
                pytest.raises(SetupError) as caught,
                lease_tokens({"telegram": TOKEN}, tmp_path / folder),
            ):
                pass
            assert str(caught.value) == (
                f"Another Heed (process {holding.pid}) is connected with the token of [telegram]; "
                "stop it first, or give this Heed another bot."
            )
        with lease_tokens({"telegram": "99:other"}, tmp_path / "one"):
            pass  # another bot is nobody's business
        holding.kill()
    with lease_tokens({"telegram": TOKEN}, tmp_path / "one", tmp_path / "two"):
        pass  # the files are still there, and mean nothing


def test_every_bot_of_the_settings_is_held_under_a_hash_of_its_token(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data")
    with lease(settings):
        names = {path.name for path in (tmp_path / "data").iterdir()}
        own = {path.name for path in (tmp_path / f"heed-{os.getuid()}").iterdir()}
        tokens = (TOKEN, "55:abc", "club.token")
        hashed = {hashlib.sha256(one.encode()).hexdigest()[:16] for one in tokens}
        assert names == own == {f"heed-{one}.lock" for one in hashed}
        for file in (tmp_path / "data").iterdir():
            with file.open("a+", encoding="utf-8") as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(SetupError, match=r"token of \[telegram\]"), lease(settings):
            pass
    with lease(settings):
        pass


def test_a_temporary_folder_of_somebody_else_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / f"heed-{os.getuid()}").symlink_to(tmp_path / "real")
    with lease_tokens({"telegram": TOKEN}, tmp_path):
        assert list((tmp_path / "real").iterdir()) == []


async def test_a_second_heed_with_the_same_token_ends_with_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with TelegramFake() as fake:
        bot = {"HEED_TELEGRAM__TOKEN": TOKEN, "HEED_TELEGRAM__API_BASE": fake.api_base}
        common = {**bot, "HEED_MODEL__NAME": "embedded"}
        async with Program(tmp_path, **common):
            await fake.until(lambda: fake.called("getUpdates"))
            before = len(fake.called("getMe"))
            ended = heed(other, "run", HEED_HTTP__PORT="0", TMPDIR=str(tmp_path), **common)
            assert ended.returncode == 2
            assert ended.stderr.count("\n") == 1
            assert "is connected with the token of [telegram]; stop it first" in ended.stderr
            assert len(fake.called("getMe")) == before  # the second one has called nothing
