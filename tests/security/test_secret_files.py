"""Secrets in files of their own, and who else can read them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click
import pytest

from bot import cli, doctor, safekeeping
from bot.config import exposed, in_environment, load, variable
from bot.settings import known_keys, secret_keys
from core.errors import SetupError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def kept(path: Path, text: str = "planted-secret\n", mode: int = 0o600) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("key", secret_keys(known_keys()))
def test_every_secret_can_stand_in_a_file(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section, name = key.split(".")
    if key != "privacy.key":  # which no settings file may hold
        (tmp_path / "heed.toml").write_text(f'[{section}]\n{name} = "other"\n')
    value = EXAMPLES.get(key, "planted-secret")
    monkeypatch.setenv(f"{variable(key)}_FILE", kept(tmp_path / "secret", f" {value}\r\n"))
    settings = load()
    found = getattr(getattr(settings, section), name)
    assert (found if isinstance(found, str) else found.get_secret_value()) == value
    assert in_environment(key)
    assert value not in repr(settings)


EXAMPLES = {"database.url": "sqlite:///other.db"}


def test_a_further_bot_has_its_token_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "HEED_TELEGRAM__MORE__SHOP__TOKEN_FILE"
    monkeypatch.setenv(name, kept(tmp_path / "shop", "7:planted"))
    monkeypatch.setenv("heed_telegram__token_file", kept(tmp_path / "first", "6:planted"))
    bots = load().telegram.bots()
    assert {name: bot.token.get_secret_value() for name, bot in bots.items()} == {
        "main": "6:planted",
        "shop": "7:planted",
    }
    assert in_environment("telegram.more.shop.token")


def test_a_pipe_is_read_and_one_that_nobody_writes_into_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "_PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SetupError, match="is empty"):
        safekeeping.read(tmp_path / "pipe", "HEED_HTTP__TOKEN_FILE")
    reading, writing = os.pipe()
    try:
        write = threading.Timer(0.3, os.write, (writing, b"planted-secret\n"))
        done = threading.Timer(0.4, os.close, (writing,))
        write.start()
        done.start()
        found = safekeeping.read(Path(f"/dev/fd/{reading}"), "HEED_HTTP__TOKEN_FILE")
        assert found == "planted-secret"
        done.join()
    finally:
        os.close(reading)


def test_what_is_wrong_with_a_file_is_one_sentence_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "HEED_HTTP__TOKEN_FILE"
    (tmp_path / "bytes").write_bytes(b"\xff\xfe planted")
    wrong = {
        "planted-by-mistake": "cannot be read: No such file",
        str(tmp_path): "cannot be read: Is a directory",
        kept(tmp_path / "empty", " \n"): "is empty; put the secret into it",
        kept(tmp_path / "two", "planted\nplanted"): "more than one line",
        kept(tmp_path / "large", "p" * 70_000): "more than one line",
        str(tmp_path / "bytes"): "not UTF-8 text",
    }
    for value, words in wrong.items():
        monkeypatch.setenv(name, value)
        with pytest.raises(SetupError, match=f"file that {name} names.*{words}") as told:
            load()
        assert "planted" not in str(told.value)
    monkeypatch.setenv(name, kept(tmp_path / "fine"))
    monkeypatch.setenv("HEED_HTTP__TOKEN", "planted")
    with pytest.raises(SetupError, match="HEED_HTTP__TOKEN and HEED_HTTP__TOKEN_FILE are both set"):
        load()
    monkeypatch.setenv("HEED_HTTP__TOKEN", "")  # empty is not set
    assert load().http.token.get_secret_value() == "planted-secret"


def test_only_a_secret_has_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_HTTP__PORT_FILE", kept(tmp_path / "port", "8081"))
    with pytest.raises(SetupError, match=r"HEED_HTTP__PORT_FILE is no setting of Heed"):
        load()
    monkeypatch.delenv("HEED_HTTP__PORT_FILE")
    monkeypatch.setenv("HEED_TELEGRAM__TOKEN_FILE", "")
    assert load().telegram.token is None


def test_doctor_names_a_file_that_others_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_HTTP__PORT", "0")
    file = Path(kept(tmp_path / "heed.toml", '[http]\ntoken = ""\nhost = "127.0.0.1"\n', 0o644))
    assert exposed() == []  # it holds no secret
    file.write_text('[telegram.more.shop]\ntoken = "7:planted"\n')
    assert exposed() == [
        "everybody on this machine can read heed.toml, which holds a secret: chmod 600 heed.toml"
    ]
    file.write_text('[database]\nurl = "postgresql://heed:planted@db/heed"\n')
    assert len(exposed()) == 1
    file.chmod(0o640)
    assert exposed() == []
    monkeypatch.setenv("HEED_HTTP__TOKEN_FILE", kept(tmp_path / "token", mode=0o604))
    file.write_text("")
    lines: list[str] = []
    doctor.examine(None, lines.append)
    [told] = [line for line in lines if line.startswith("ADVICE") and " secrets " in line]
    assert "the file that HEED_HTTP__TOKEN_FILE names: chmod 600" in told
    assert "planted" not in "".join(lines)


def test_no_command_takes_a_secret() -> None:
    """A command line is in the shell's history and in every list of processes."""

    def walk(command: click.Command, name: str) -> list[str]:
        inner = command.commands if isinstance(command, click.Group) else {}
        taking = [one for one in command.params if not getattr(one, "is_flag", False)]
        own = [f"{name} {option}" for one in taking for option in one.opts]
        return own + [x for key, value in inner.items() for x in walk(value, f"{name} {key}")]

    options = walk(cli.heed, "heed")
    assert len(options) > 30
    told = [one for one in options if any(w in one.lower() for w in WORDS)]
    assert told == []


WORDS = ("token", "secret", "password", "key", "credential")
