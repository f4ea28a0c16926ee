from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from bot.config import load
from bot.setup import write_settings
from core.errors import SetupError

TELEGRAM = "123456789:AAExampleExampleExampleExampleExamp"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _init(monkeypatch: pytest.MonkeyPatch, *answers: str) -> bool:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
    return write_settings()


def test_an_empty_input_gives_settings_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _init(monkeypatch)
    settings = load()
    assert settings.telegram.token is None
    assert settings.desk.staff == "web"
    assert settings.model.name == "auto"


def test_the_answers_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _init(monkeypatch, "en", TELEGRAM, "", "telegram:-100123,web", 'models/"small"')
    settings = load()
    assert settings.telegram.token is not None
    assert settings.telegram.token.get_secret_value() == TELEGRAM
    assert settings.discord.token is None
    assert settings.desk.places[0].chat == "-100123"
    assert settings.model.name == 'models/"small"'
    assert stat.S_IMODE(Path("heed.toml").stat().st_mode) == 0o600
    assert [path.name for path in Path().iterdir()] == ["heed.toml"]


def test_a_wrong_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _init(monkeypatch, "en", "not a token", TELEGRAM, "", "telegramm:1", "discord:55", "")
    settings = load()
    assert settings.telegram.token is not None
    assert settings.desk.places[0].platform == "discord"
    said = capsys.readouterr().out
    assert said.count("Heed cannot use that") == 2
    assert TELEGRAM not in said


def test_the_questions_are_asked_in_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _init(monkeypatch, "zh")
    assert "已写好" in capsys.readouterr().out


@pytest.mark.parametrize("answers", [("en", "no"), ("en", ""), ()])
def test_an_existing_file_is_kept_without_a_yes(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...]
) -> None:
    Path("heed.toml").write_text("[http]\nport = 99\n", encoding="utf-8")
    assert not _init(monkeypatch, *answers)
    assert load().http.port == 99


def test_an_existing_file_is_replaced_with_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("heed.toml").write_text("[http]\nport = 99\n", encoding="utf-8")
    assert _init(monkeypatch, "en", "yes", "", "", "", "embedded")
    assert load().http.port == 8080
    assert load().model.name == "embedded"


def test_a_folder_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SetupError, match="cannot be written"):
        write_settings(tmp_path / "nowhere" / "heed.toml")
