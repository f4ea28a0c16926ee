from __future__ import annotations

import asyncio
import io
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot import rights
from bot.config import load
from bot.lease import lease_tokens
from bot.setup import write_settings
from core.errors import SetupError
from tests.fakes.discord import DiscordFake
from tests.fakes.telegram import TOKEN, TelegramFake
from tests.patience import until
from tests.walk.program import clean_environment

TELEGRAM = "123456789:AAExampleExampleExampleExampleExamp"
STAFF, ANA = -1009, 21


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEED_TELEGRAM__API_BASE", "http://127.0.0.1:9/bot")  # nobody is there
    monkeypatch.setenv("HEED_DISCORD__API_BASE", "http://127.0.0.1:9/api/v10")


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
    assert "The token is kept, but could not be tried." in said
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


# --- through the real command, with the platforms there ------------------------------------------


class Init:
    """`heed init` as a child process: what it says, and what is typed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said = ""

    async def until(self, words: str) -> None:
        """Read on until it has said this."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while words not in self.said:
                more = await self._process.stdout.read(4096)
                assert more, self.said
                self.said += more.decode()

    def type(self, *lines: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())

    async def end(self) -> int:
        """Close its input, and return the exit code; `said` is then all that it has said."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            self.said += (await self._process.stdout.read()).decode()
            return await self._process.wait()


@asynccontextmanager
async def _asking(folder: Path, **settings: str) -> AsyncIterator[Init]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "init", cwd=folder, env=clean_environment(folder, **settings),
        stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Init(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Governed(TelegramFake):
    """Telegram, with a bot that was made an administrator who may pin nothing."""

    def _do_getchatmember(self, params: dict[str, Any]) -> dict[str, Any]:
        given = dict.fromkeys(rights.TELEGRAM_DESK, True) | {"can_pin_messages": False}
        return super()._do_getchatmember(params) | {"status": "administrator"} | given


async def test_a_call_in_the_staff_group_is_all_that_telegram_needs(tmp_path: Path) -> None:
    async with (
        Governed() as fake,
        _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init,
    ):
        waiting = fake.say(5, 5, "is anybody there?")  # somebody who wrote before Heed ran
        init.type("en", TOKEN)
        await init.until("Waiting; Enter goes on without.")
        assert "This is @HeedBot." in init.said
        assert "https://t.me/HeedBot?startgroup=here&admin=manage_topics+pin_messages" in init.said
        fake.group(STAFF, title="Desk", forum=True)
        fake.say(STAFF, ANA, "/here@HeedBot")
        await init.until(f"Heard: staff are at telegram:{STAFF}.")
        await init.until("To mend: in the staff group -1009 (Desk) the bot lacks Pin messages")
        await init.until("Discord token")
        init.type("", "", "embedded")
        assert await init.end() == 0
        assert all("offset" not in call.params for call in fake.called("getUpdates"))
        kept = [one["message"]["message_id"] for one in fake.updates]  # for `heed run`
        assert kept == [waiting, kept[1]]
        assert fake.texts(STAFF) == fake.texts(5) == []
    assert TOKEN not in init.said
    settings = load()
    assert settings.desk.staff == f"telegram:{STAFF}"
    assert settings.telegram.token is not None
    assert settings.model.name == "embedded"


async def test_the_link_itself_calls_the_bot(tmp_path: Path) -> None:
    async with (
        TelegramFake() as fake,
        _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init,
    ):
        fake.group(STAFF)
        init.type("zh", TOKEN)
        await init.until("正在等待")
        fake.say(STAFF, ANA, "/start@HeedBot here")
        await init.until(f"收到了：人工在 telegram:{STAFF}")
        assert await init.end() == 0
    assert load().desk.staff == f"telegram:{STAFF}"


async def test_enter_goes_on_without_a_call(tmp_path: Path) -> None:
    async with (
        TelegramFake() as fake,
        _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init,
    ):
        fake.say(5, 5, "/here")  # in a direct chat, where no staff sit together
        init.type("en", TOKEN)
        await init.until("Waiting;")
        await fake.until(lambda: len(fake.called("getUpdates")) > 1)
        init.type("")
        await init.until("Nobody was waited for any longer.")
        init.type("", f"telegram:{STAFF}", "")
        assert await init.end() == 0
    assert load().desk.staff == f"telegram:{STAFF}"


async def test_a_pipe_that_ends_goes_on_without_a_call(tmp_path: Path) -> None:
    async with (
        TelegramFake() as fake,
        _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init,
    ):
        init.type("en", TOKEN)
        assert await init.end() == 0
    assert load().desk.staff == "web"
    assert load().telegram.token is not None


async def test_a_token_that_telegram_refuses_is_told_at_once(tmp_path: Path) -> None:
    async with (
        TelegramFake() as fake,
        _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init,
    ):
        init.type("en", TELEGRAM)
        await init.until("Try again, or press Enter to go on without.")
        init.type("")
        assert await init.end() == 0
    assert TELEGRAM not in init.said
    assert load().telegram.token is None


async def test_nobody_is_waited_for_where_another_server_listens(tmp_path: Path) -> None:
    async with (
        TelegramFake() as fake,
        _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init,
    ):
        fake.webhook = {"url": "https://old.example/hook"}
        init.type("en", TOKEN)
        await init.until("Another server takes this bot's messages now")
        assert await init.end() == 0
        assert fake.webhook == {"url": "https://old.example/hook"}
        assert fake.called("getUpdates") == []


async def test_nobody_is_waited_for_where_another_process_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with TelegramFake() as fake:
        with lease_tokens({"telegram": TOKEN}):
            async with _asking(tmp_path, HEED_TELEGRAM__API_BASE=fake.api_base) as init:
                init.type("en", TOKEN)
                await init.until("is connected with the token of [telegram]; stop it first")
                assert await init.end() == 0
        assert fake.called("getUpdates") == []


class Server(DiscordFake):
    """Discord, whose server tells its roles, and lets the bot do everything."""

    def _answer(self, request: Any, call: Any) -> tuple[int, Any]:
        if call.path == f"/guilds/{self.guild}" and call.method == "GET":
            everyone = {"id": self.guild, "name": "@everyone", "permissions": str(1 << 3)}
            return 200, {"id": self.guild, "owner_id": "1", "roles": [everyone]}
        return super()._answer(request, call)


async def test_a_mention_in_the_staff_channel_is_all_that_discord_needs(tmp_path: Path) -> None:
    async with (
        Server() as fake,
        _asking(
            tmp_path,
            HEED_DISCORD__API_BASE=fake.api_base,
            HEED_DISCORD__GATEWAY_URL=fake.gateway_url,
            HEED_DISCORD__TOKEN=fake.token,
        ) as init,
    ):
        init.type("en", "", "")  # the token is in the environment
        await init.until("Waiting;")
        bits = sum(1 << bit for bit in rights.DISCORD_DESK)
        assert f"scope=bot+applications.commands&permissions={bits}" in init.said
        await until(lambda: fake.connected)
        fake.say("ana", "hello there", channel=fake.desk)  # speaks to nobody
        fake.say("ana", "here", channel=fake.desk, mention=True)
        await init.until(f"Heard: staff are at discord:{fake.desk}.")
        await init.until("The bot has every right there.")
        assert await init.end() == 0
        assert fake.transcript(fake.desk)[-1] == ("ana", f"<@{fake.bot['id']}> here")
        assert fake.commands == {}
        staff = f"discord:{fake.desk}"
    settings = load()
    assert settings.desk.staff == staff
    assert settings.discord.token is None  # it stays where it was, and is not written down
    assert stat.S_IMODE((tmp_path / "heed.toml").stat().st_mode) == 0o600
