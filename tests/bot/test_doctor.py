from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from discord.gateway import DiscordWebSocket

from adapters.discord.permissions import permissions
from bot import doctor, rights, staff
from bot.settings import Database, Desk, Discord, Http, Prompts, Settings, Telegram
from core.errors import PromptError, SetupError
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import THREAD
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
    assert [line.split()[1] for line in lines[:-1]] == ["settings", *doctor.CHECKS]  # a line each
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
    assert [one[1:] for one in doctor.telegram(Settings())] == [
        ("ok", "off: telegram.token is not set")
    ]
    more = Settings(discord=Discord(more={"club": {"mode": "watch"}}))
    assert [one[:2] for one in doctor.discord(more)] == [
        ("discord", "ok"),
        ("discord.more.club", "ok"),
    ]


def test_a_platform_that_cannot_be_reached_is_told() -> None:
    with socket.socket() as nobody:  # bound, so that nobody else takes it; nobody listens
        nobody.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        [told] = doctor.telegram(Settings(telegram=Telegram(token="1:abc", api_base=base)))
        assert told.state == "fail"
        assert f"Telegram cannot be reached at {base}/bot" in told.text
        [told] = doctor.discord(Settings(discord=Discord(token="a.b.c", api_base=base)))
        assert told.state == "fail"
        assert f"Discord cannot be reached at {base}" in told.text


class Group(TelegramFake):
    """Telegram, where a test says what the bot may do, and what a group is like."""

    lacks = ""
    status = "administrator"
    about: Mapping[str, Any] = {}
    known: Mapping[str, Any] = {}  # of a webhook
    own: Mapping[str, Any] = {}  # of the bot

    def _do_getme(self, params: dict[str, Any]) -> dict[str, Any]:
        return super()._do_getme(params) | self.own

    def _do_getchat(self, params: dict[str, Any]) -> dict[str, Any]:
        return super()._do_getchat(params) | self.about

    def _do_getchatmember(self, params: dict[str, Any]) -> dict[str, Any]:
        held = self._standing(self._place(params), self.status)
        member = super()._do_getchatmember(params) | held
        if self.status != "administrator":
            return member
        return member | {name: name != self.lacks for name in rights.TELEGRAM_DESK}

    def _do_getwebhookinfo(self, params: dict[str, Any]) -> dict[str, Any]:
        return super()._do_getwebhookinfo(params) | self.known


async def _telegram_at(fake: TelegramFake, **changes: object) -> dict[str, list[str]]:
    """Return what doctor says of one bot, by state."""
    ours = Telegram(**{"token": fake.token, "api_base": fake.api_base, **changes})
    settings = Settings(telegram=ours, desk=Desk(staff="telegram:-1001"))
    return _by_state(await asyncio.to_thread(doctor.telegram, settings))


def _by_state(found: list[doctor.Finding]) -> dict[str, list[str]]:
    states = {"ok": [], "warn": [], "fail": []}
    for one in found:
        states[one.state].append(one.text)
    return states


async def test_telegram_names_the_bot_and_the_link_that_adds_it() -> None:
    async with Group() as fake:
        fake.group(-1001, title="Desk", forum=True)
        told = await _telegram_at(fake)
        wanted = "manage_topics+pin_messages+delete_messages"
        link = f"https://t.me/HeedBot?startgroup=here&admin={wanted}"
        hears = "in groups it hears commands, mentions and replies"
        assert told == {
            "ok": [
                "@HeedBot, Heed",
                f"to add it to a group: {link}",
                f"privacy mode is on: {hears}, and as administrator everything",
                "polling; 0 updates wait",
                "the staff group -1001 (Desk): every right is there",
            ],
            "warn": [],
            "fail": [],
        }
        fake.own = {"can_join_groups": False, "can_read_all_group_messages": True}
        told = await _telegram_at(fake)
        assert any("/setjoingroups" in words for words in told["warn"])
        assert any("privacy mode is off" in words for words in told["ok"])


async def test_telegram_says_which_right_is_missing_and_where_to_give_it() -> None:
    async with Group() as fake:
        assert "check the chat id" in (await _telegram_at(fake))["fail"][0]
        fake.group(-1001, forum=True)
        for right in rights.TELEGRAM_DESK.values():
            fake.lacks = next(k for k, one in rights.TELEGRAM_DESK.items() if one is right)
            told = (await _telegram_at(fake))["fail" if right.needed else "warn"]
            assert len(told) == 1
            assert f"lacks {right.name} (" in told[0]
            assert "Edit > Administrators > the bot, and switch that on" in told[0]
        fake.status = "member"
        told = await _telegram_at(fake)
        assert (len(told["fail"]), len(told["warn"])) == (1, 2)
        assert "> Add Administrator > the bot" in told["fail"][0]
        fake.status = "left"
        assert (await _telegram_at(fake))["fail"] == [
            "the bot is not in the staff group -1001 (Group): add it by the link above"
        ]


async def test_a_group_without_topics_and_with_slow_mode_is_advice() -> None:
    async with Group() as fake:
        fake.group(-1001)
        fake.about = {"slow_mode_delay": 30}
        [topics] = (await _telegram_at(fake))["warn"]
        assert "has no topics" in topics
        fake.status = "member"
        told = await _telegram_at(fake)
        assert any("Slow mode lets me write once in 30 s" in words for words in told["warn"])
        assert not told["fail"]  # no topics, so no right for them is needed


async def test_a_watched_group_that_the_bot_cannot_hear_is_told() -> None:
    async with Group() as fake:
        fake.group(-1001, forum=True)
        fake.group(-1002, title="Shop")
        told = await _telegram_at(fake, watch=["-1002"])
        assert "watched group -1002: it hears all and may answer" in told["ok"]
        fake.status = "member"
        told = await _telegram_at(fake, watch=["-1002"])
        hidden = [one for one in told["fail"] if one.startswith("watched group -1002: Telegram")]
        assert "@BotFather > /setprivacy" in hidden[0]
        fake.own = {"can_read_all_group_messages": True}
        told = await _telegram_at(fake, watch=["-1002"])
        assert "watched group -1002: it hears all and may answer" in told["ok"]
        told = await _telegram_at(fake, watch=["-1003"])
        assert any("watched group -1003: I may not write here" in one for one in told["fail"])


async def test_the_state_of_the_webhook_is_told() -> None:
    hook = {
        "mode": "webhook",
        "webhook_url": "https://bot.example/telegram/webhook",
        "webhook_secret": "s",
    }
    async with Group() as fake:
        fake.group(-1001, forum=True)
        fake.known = {"url": "https://old.example/geheim"}
        told = await _telegram_at(fake)
        assert told["warn"] == [
            "Telegram still pushes to old.example; the next `heed run` ends that"
        ]
        told = await _telegram_at(fake, **hook)
        assert told["warn"] == ["Telegram does not know webhook_url yet; `heed run` tells it"]
        fake.known = {"url": hook["webhook_url"], "pending_update_count": 3}
        told = await _telegram_at(fake, **hook)
        assert "webhook at bot.example, for /telegram/webhook; 3 wait" in told["ok"]
        failed = {"last_error_date": time.time() - 60, "last_error_message": "502 Bad Gateway"}
        fake.known = fake.known | failed
        [words] = (await _telegram_at(fake, **hook))["fail"]
        assert "(502 Bad Gateway): let it end at /telegram/webhook here" in words


async def test_a_wrong_telegram_token_is_told_without_it() -> None:
    async with TelegramFake() as fake:
        told = await _telegram_at(fake, token="4242:AAAnotherTokenAAAAAAAAAAAAAAAAAAA")
        assert len(told["fail"]) == 1
        assert "AAAnother" not in str(told)


async def test_every_bot_has_its_own_lines_and_the_first_has_the_desk() -> None:
    other = "777:AAOtherTokenAAAAAAAAAAAAAAAAAAA"
    async with Group() as fake, Group(other, username="ShopBot") as shop:
        fake.group(-1001, forum=True)
        ours = Telegram(
            token=fake.token,
            api_base=fake.api_base,
            more={"shop": {"token": other, "api_base": shop.api_base}, "idle": {}},
        )
        settings = Settings(telegram=ours, desk=Desk(staff="telegram:-1001"))
        found = await asyncio.to_thread(doctor.telegram, settings)
        assert {one.name for one in found} == {
            "telegram", "telegram.more.shop", "telegram.more.idle",
        }  # fmt: skip
        assert "@ShopBot, Heed" in [one.text for one in found if one.name == "telegram.more.shop"]
        assert [one.name for one in found if "staff group" in one.text] == ["telegram"]
        assert shop.called("getChat") == []


ALL_RIGHTS = sum(1 << bit for bit in rights.DISCORD_DESK)


class Server(DiscordFake):
    """Discord, whose server tells its roles."""

    granted = ALL_RIGHTS
    own: Mapping[str, Any] = {}  # of the bot as a member
    about: Mapping[str, Any] = {}  # of the application

    def _answer(self, request: Any, call: Any) -> tuple[int, Any]:
        if call.path == f"/guilds/{self.guild}" and call.method == "GET":
            everyone = {"id": self.guild, "name": "@everyone", "permissions": str(self.granted)}
            return 200, {"id": self.guild, "owner_id": "1", "roles": [everyone]}
        status, body = super()._answer(request, call)
        if call.path == f"/guilds/{self.guild}/members/{self.bot['id']}":
            body = body | self.own
        return status, body | self.about if call.path.endswith("applications/@me") else body


async def _discord_at(
    fake: DiscordFake, channel: str = "", changes: Mapping[str, Any] = {}, **desk: Any
) -> dict[str, list[str]]:
    settings = Settings(
        discord=Discord(
            token=fake.token, api_base=fake.api_base, gateway_url=fake.gateway_url, **changes
        ),
        desk=Desk(staff=f"discord:{channel or fake.desk}", **desk),
    )
    return _by_state(await asyncio.to_thread(doctor.discord, settings))


async def test_discord_names_the_bot_and_the_link_that_adds_it() -> None:
    async with Server() as fake:
        told = await _discord_at(fake)
        link = "https://discord.com/oauth2/authorize?client_id={}&scope=bot+applications.commands"
        assert told == {
            "ok": [
                "Heed, mode mention",
                f"to add it to a server: {link.format(fake.bot['id'])}&permissions={ALL_RIGHTS}",
                "no privileged intent, and mode mention needs none",
                f"the staff channel {fake.desk} (#desk): every right is there",
            ],
            "warn": [],
            "fail": [],
        }
        fake.about = {"bot_require_code_grant": True}
        assert "Requires OAuth2 Code Grant off" in (await _discord_at(fake))["fail"][0]


async def test_discord_says_which_right_is_missing_and_where_to_give_it() -> None:
    async with Server() as fake:
        for bit, right in rights.DISCORD_DESK.items():
            fake.granted = ALL_RIGHTS & ~(1 << bit)
            told = (await _discord_at(fake))["fail" if right.needed else "warn"]
            assert len(told) == 1
            assert f"lacks {right.name} (" in told[0]
            assert "Permissions > the bot's role" in told[0]
        fake.granted = 1 << 3  # an administrator may do everything
        told = await _discord_at(fake)
        assert told["warn"] == told["fail"] == []
        fake.own = {"communication_disabled_until": "2999-01-01T00:00:00+00:00"}
        assert "timed out" in (await _discord_at(fake))["fail"][0]


async def test_a_discord_channel_that_is_not_there_is_told() -> None:
    async with Server() as fake:
        assert "check the channel id" in (await _discord_at(fake, "999999"))["fail"][0]
        fake.person("ann")
        told = await _discord_at(fake, fake.dm("ann"))
        assert "is no channel of a Discord server" in told["fail"][0]


async def test_a_thread_that_is_watched_has_the_rights_of_its_channel() -> None:
    async with Server(content_intent=True) as fake:
        thread = fake.add_channel("help", kind=THREAD, parent=fake.channel)
        watching = {"mode": "watch", "watch": [thread]}
        told = await _discord_at(fake, changes=watching)
        assert f"watched channel {thread}: it hears all and may answer" in told["ok"]
        fake.granted = ALL_RIGHTS & ~(1 << 38)
        told = await _discord_at(fake, changes=watching)
        words = f"watched channel {thread}: I may not write in #help."
        assert any(one.startswith(words) for one in told["fail"])


async def test_the_intent_is_compared_with_the_settings() -> None:
    async with Server() as fake:
        told = await _discord_at(fake, auto_reply="on")
        assert "Message Content Intent" in told["fail"][0]
        assert (await _discord_at(fake, auto_reply="off"))["fail"] == []
        told = await _discord_at(fake, changes={"mode": "watch"})
        assert "mode watch needs every message's text" in told["fail"][0]
        told = await _discord_at(fake, changes={"watch": [fake.channel]})
        assert "mode mention hears none in full" in told["warn"][0]
    async with Server(content_intent=True) as fake:
        told = await _discord_at(fake, changes={"mode": "watch"}, auto_reply="on")
        assert "the Message Content intent is on" in told["ok"]
        assert told["fail"] == []


async def test_looking_leaves_the_gateway_of_a_running_heed_alone() -> None:
    async with Server() as fake:
        await _discord_at(fake)
        assert str(DiscordWebSocket.DEFAULT_GATEWAY) == fake.gateway_url


def test_overwrites_of_a_channel_go_over_roles_in_discords_order() -> None:
    server = {
        "id": "1",
        "owner_id": "9",
        "roles": [{"id": "1", "permissions": "3"}, {"id": "2", "permissions": "4"}],
    }

    def held(*overwrites: dict[str, str], user: str = "5") -> int:
        return permissions(server, ["2"], overwrites, user)

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
    staff.add(open_, "ana", "four boring words here", admin=True)
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
