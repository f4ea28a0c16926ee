from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from bot import doctor, rights
from bot.database import add_staff
from bot.settings import Database, Desk, Discord, Http, Prompts, Settings, Telegram
from core.errors import PromptError, SetupError
from tests.fakes.discord import DiscordFake
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
    with pytest.raises(SetupError, match=r"desk\.on_call names discord:5, but discord\.token"):
        doctor.staff(Settings(desk=Desk(on_call="discord:5")))


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

    lacks = ""

    def _do_getchatmember(self, params: dict[str, Any]) -> dict[str, Any]:
        held = ("can_manage_topics", "can_pin_messages", "can_delete_messages")
        rights = {name: name != self.lacks for name in held}
        return super()._do_getchatmember(params) | {"status": "administrator"} | rights


async def test_telegram_says_which_right_is_missing() -> None:
    async with TelegramFake() as fake:
        with pytest.raises(SetupError, match="check the chat id"):
            await _telegram_at(fake)
        fake.group(-1001)
        advice = await _telegram_at(fake)
        assert isinstance(advice, doctor.Advice)
        assert "has no topics" in advice
        assert "Manage topics" not in advice
        fake.group(-1001, forum=True)
        with pytest.raises(SetupError, match=r"lacks Manage topics .* > Add Administrator"):
            await _telegram_at(fake)
        with pytest.raises(SetupError, match="privacy mode"):
            await _telegram_at(fake, watch=["-1002"])


async def test_telegram_with_every_right_is_well() -> None:
    async with Governed() as fake:
        fake.group(-1001, forum=True)
        told = await _telegram_at(fake)
        assert (told, type(told)) == ("@HeedBot", str)


async def test_telegram_rights_that_can_be_missed_are_advice() -> None:
    async with Governed() as fake:
        fake.group(-1001, forum=True)
        for right, name in (
            ("can_pin_messages", "Pin messages"),
            ("can_delete_messages", "Delete messages"),
        ):
            fake.lacks = right
            told = await _telegram_at(fake)
            assert isinstance(told, doctor.Advice)
            assert f"lacks {name} (" in told
            assert "Edit > Administrators > the bot" in told
        fake.lacks = "can_manage_topics"
        with pytest.raises(SetupError, match=r"lacks Manage topics \("):
            await _telegram_at(fake)


async def test_a_wrong_telegram_token_is_told_without_it() -> None:
    async with TelegramFake() as fake:
        with pytest.raises(SetupError) as caught:
            await _telegram_at(fake, token="4242:AAAnotherTokenAAAAAAAAAAAAAAAAAAA")
        assert "AAAnother" not in str(caught.value)


ALL_RIGHTS = sum(1 << bit for bit in rights._DISCORD)


class Server(DiscordFake):
    """Discord, whose server tells its roles."""

    granted = ALL_RIGHTS

    def _answer(self, request: Any, call: Any) -> tuple[int, Any]:
        if call.path == f"/guilds/{self.guild}" and call.method == "GET":
            everyone = {"id": self.guild, "name": "@everyone", "permissions": str(self.granted)}
            return 200, {"id": self.guild, "owner_id": "1", "roles": [everyone]}
        return super()._answer(request, call)


async def _discord_at(fake: DiscordFake, channel: str = "", **desk: Any) -> str:
    settings = Settings(
        discord=Discord(token=fake.token, api_base=fake.api_base),
        desk=Desk(staff=f"discord:{channel or fake.desk}", **desk),
    )
    return await asyncio.to_thread(doctor.discord, settings)


async def test_discord_with_every_right_is_well() -> None:
    async with Server() as fake:
        told = await _discord_at(fake)
        assert (told, type(told)) == ("the token is good, mode mention", str)


async def test_discord_says_which_right_is_missing_and_where_to_give_it() -> None:
    async with Server() as fake:
        for bit, right in rights._DISCORD.items():
            fake.granted = ALL_RIGHTS & ~(1 << bit)
            if right.needed:
                with pytest.raises(SetupError, match=rf"lacks {right.name} \(.*Permissions >"):
                    await _discord_at(fake)
            else:
                told = await _discord_at(fake)
                assert isinstance(told, doctor.Advice)
                assert f"lacks {right.name} (" in told
        fake.granted = 1 << 3  # an administrator may do everything
        assert type(await _discord_at(fake)) is str


async def test_a_discord_channel_that_is_not_there_is_told() -> None:
    async with Server() as fake:
        with pytest.raises(SetupError, match=r"check the channel id in desk\.staff"):
            await _discord_at(fake, "999999")
        fake.person("ann")
        with pytest.raises(SetupError, match="no channel of a Discord server"):
            await _discord_at(fake, fake.dm("ann"))


async def test_plain_lines_as_answers_on_discord_need_the_intent() -> None:
    async with Server() as fake:
        with pytest.raises(SetupError, match="Message Content Intent"):
            await _discord_at(fake, auto_reply="on")
        assert await _discord_at(fake, auto_reply="off")
    async with Server(content_intent=True) as fake:
        assert await _discord_at(fake, auto_reply="on") == "the token is good, mode mention"


def test_overwrites_of_a_channel_go_over_roles_in_discords_order() -> None:
    server = {
        "id": "1",
        "owner_id": "9",
        "roles": [{"id": "1", "permissions": "3"}, {"id": "2", "permissions": "4"}],
    }

    def held(*overwrites: dict[str, str], user: str = "5") -> int:
        return rights.permissions(server, ["2"], overwrites, user)

    everyone = {"id": "1", "allow": "0", "deny": "2"}
    role = {"id": "2", "allow": "2", "deny": "4"}
    own = {"id": "5", "allow": "4", "deny": "1"}
    other = {"id": "6", "allow": "0", "deny": "7"}
    assert held() == 7
    assert held(everyone) == 5
    assert held(everyone, role) == 3
    assert held(own, role, everyone, other) == 6
    assert held(everyone, user="9") == -1


def test_hours_are_told_and_wrong_ones_refused() -> None:
    assert doctor.desk(Settings()) == "always staffed"
    told = doctor.desk(Settings(desk=Desk(hours="Mon-Fri 09:00-17:00", timezone="Europe/Berlin")))
    assert told == "staffed Mon-Fri 09:00-17:00 (Europe/Berlin)"
    assert "dry run of 3 days" in doctor.desk(Settings(desk=Desk(dry_run=True, dry_run_days=3)))
    with pytest.raises(SetupError):
        doctor.desk(Settings(desk=Desk.model_construct(hours="always", timezone="UTC")))


def test_an_open_page_where_nobody_may_log_in_is_told(tmp_path: Path) -> None:
    database = Database(url=f"sqlite:///{tmp_path / 'heed.db'}")
    http = Http(host="0.0.0.0", token="t")
    open_ = Settings(http=http, database=database)
    with pytest.raises(SetupError, match="heed staff add NAME --admin"):
        doctor.desk(open_)
    assert not (tmp_path / "heed.db").exists()
    elsewhere = Settings(http=http, database=database, desk=Desk(staff="telegram:-1"))
    assert isinstance(doctor.desk(elsewhere), doctor.Advice)
    assert doctor.desk(Settings(database=database)) == "always staffed"
    add_staff(open_, "ana", "four boring words here", admin=True)
    assert doctor.desk(open_) == "always staffed"


async def test_a_running_heed_reports_in_three_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_MODEL__NAME", "embedded")
    monkeypatch.setenv("HEED_PROMPTS__TAG", "nonsense")
    found = {one["name"]: one for one in await doctor.report(Settings())}
    assert found["prompts"]["state"] == "fail"
    assert found["texts"]["state"] == "warn"  # no text for a crisis is approved yet
    assert found["staff"] == {"state": "ok", "name": "staff", "words": "web"}
    assert "http" not in found  # it holds that address itself


def test_advice_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_HTTP__PORT", "0")
    monkeypatch.setenv("HEED_MODEL__NAME", "embedded")
    code, lines = _examine()
    assert code == 0
    assert [line for line in lines if line.startswith("ADVICE   texts")]
