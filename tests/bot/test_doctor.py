from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from bot import doctor
from bot.settings import Database, Desk, Discord, Http, Prompts, Settings, Telegram
from core.errors import PromptError, SetupError
from tests.fakes.telegram import TelegramFake


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _examine() -> tuple[int, list[str]]:
    lines: list[str] = []
    return doctor.examine(None, lines.append), lines


def test_wrong_settings_are_the_only_finding() -> None:
    Path("heed.toml").write_text("[http]\nprot = 1\n", encoding="utf-8")
    code, lines = _examine()
    assert code == 1
    assert lines[0].startswith("PROBLEM  settings   heed.toml: http.prot is no setting of Heed")
    assert lines[1:] == ["1 to mend."]


def test_a_fresh_folder_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_HTTP__PORT", "0")
    monkeypatch.setenv("HEED_MODEL__NAME", "embedded")
    code, lines = _examine()
    assert code == 0, lines
    assert lines[-1] == "All is well."
    assert [line.split()[1] for line in lines[:-1]] == ["settings", *doctor.CHECKS]
    assert list(Path().iterdir()) == []  # looking changes nothing


def test_a_problem_does_not_hide_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_HTTP__PORT", "0")
    monkeypatch.setenv("HEED_MODEL__NAME", "embedded")
    monkeypatch.setenv("HEED_DESK__STAFF", "discord:5")
    monkeypatch.setenv("HEED_PROMPTS__TAG", "nonsense")
    code, lines = _examine()
    assert code == 1
    assert [line.split()[1] for line in lines if line.startswith("PROBLEM")] == ["prompts", "staff"]
    assert lines[-1] == "2 to mend."


def test_a_database_not_yet_made_is_well_where_it_can_be_made() -> None:
    assert "will be made" in doctor.database(Settings(database=Database(url="sqlite:///a/b/h.db")))


def test_a_file_in_the_place_of_the_folder_is_told() -> None:
    Path("data").write_text("", encoding="utf-8")
    with pytest.raises(SetupError, match=r"is a file where database\.url needs a folder"):
        doctor.database(Settings())


def test_a_database_of_another_form_is_told() -> None:
    Path("heed.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(SetupError):
        doctor.database(Settings(database=Database(url="sqlite:///heed.db")))


def test_an_address_that_is_no_sqlite_file_is_told() -> None:
    with pytest.raises(SetupError, match="must name a SQLite file"):
        doctor.database(Settings(database=Database(url="mysql://u:geheim@x/y")))


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SetupError, match=f"127.0.0.1:{port} cannot be used .* change http"):
            doctor.http(Settings(http=Http(port=port)))


def test_an_open_address_needs_a_token() -> None:
    with pytest.raises(SetupError, match=r"set http\.token"):
        doctor.http(Settings(http=Http(host="0.0.0.0", port=0)))
    assert "is free" in doctor.http(Settings(http=Http(host="0.0.0.0", port=0, token="t")))


def test_a_staff_place_needs_its_platform() -> None:
    desk = Desk(staff="telegram:-1001")
    with pytest.raises(SetupError, match=r"telegram\.token is not set"):
        doctor.staff(Settings(desk=desk))
    assert doctor.staff(Settings(desk=desk, telegram=Telegram(token="1:a"))) == "telegram, web"


def test_prompts_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    assert "built in" in doctor.prompts(Settings())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sentiment.toml").write_text("labels = 3", encoding="utf-8")
    with pytest.raises((SetupError, PromptError), match="sentiment"):
        doctor.prompts(Settings(prompts=Prompts(dir=tmp_path / "mine")))
    with pytest.raises((SetupError, PromptError), match="nowhere"):
        doctor.prompts(Settings(prompts=Prompts(dir=tmp_path / "nowhere")))


def test_a_platform_without_token_is_off() -> None:
    assert doctor.telegram(Settings()).startswith("off")
    assert doctor.discord(Settings()).startswith("off")


def test_a_platform_that_cannot_be_reached_is_told() -> None:
    with socket.socket() as nobody:  # bound, so that nobody else takes it; nobody listens
        nobody.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(SetupError, match="Telegram"):
            doctor.telegram(Settings(telegram=Telegram(token="1:abc", api_base=base)))
        with pytest.raises(SetupError, match="Discord"):
            doctor.discord(Settings(discord=Discord(token="a.b.c", api_base=base)))


async def _telegram_at(fake: TelegramFake, **changes: object) -> str:
    ours = Telegram(**{"token": fake.token, "api_base": fake.api_base, **changes})
    settings = Settings(telegram=ours, desk=Desk(staff="telegram:-1001"))
    return await asyncio.to_thread(doctor.telegram, settings)


class Governed(TelegramFake):
    """Telegram, with a bot that was made an administrator."""

    def _do_getchatmember(self, params: dict[str, Any]) -> dict[str, Any]:
        return super()._do_getchatmember(params) | {
            "status": "administrator",
            "can_manage_topics": True,
        }


async def test_telegram_says_which_right_is_missing() -> None:
    async with TelegramFake() as fake:
        with pytest.raises(SetupError, match="check the chat id"):
            await _telegram_at(fake)
        fake.group(-1001)
        assert "has no topics" in await _telegram_at(fake)
        fake.group(-1001, forum=True)
        with pytest.raises(SetupError, match="right to manage topics"):
            await _telegram_at(fake)
        with pytest.raises(SetupError, match="privacy mode"):
            await _telegram_at(fake, watch=["-1002"])


async def test_telegram_with_every_right_is_well() -> None:
    async with Governed() as fake:
        fake.group(-1001, forum=True)
        assert await _telegram_at(fake) == "@HeedBot"


async def test_a_wrong_telegram_token_is_told_without_it() -> None:
    async with TelegramFake() as fake:
        with pytest.raises(SetupError) as caught:
            await _telegram_at(fake, token="4242:AAAnotherTokenAAAAAAAAAAAAAAAAAAA")
        assert "AAAnother" not in str(caught.value)
