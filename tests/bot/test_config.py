from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from bot.config import load, settings_file
from bot.settings import Database, Desk, Http, Settings, StaffPlace, Telegram, known_keys
from core.errors import SetupError

EXAMPLE = Path(__file__).parents[2] / "heed.example.toml"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _told(text: str = "") -> str:
    Path("heed.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SetupError) as caught:
        load()
    return str(caught.value)


def test_without_file_and_variables_the_defaults_stand() -> None:
    settings = load()
    assert settings.database.url == "sqlite:///data/heed.db"
    assert settings.model.name == "auto"
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.telegram.token is None
    assert settings.secrets() == ()


def test_the_environment_wins_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("heed.toml").write_text('[http]\nhost = "::1"\nport = 1\n', encoding="utf-8")
    monkeypatch.setenv("HEED_HTTP__PORT", "2")
    monkeypatch.setenv("HEED_TELEGRAM__WATCH", "-1001, -1002")
    monkeypatch.setenv("HEED_DISCORD__MODE", "")  # as if it were not set
    settings = load()
    assert (settings.http.host, settings.http.port) == ("::1", 2)
    assert settings.telegram.watch == ("-1001", "-1002")
    assert settings.discord.mode == "mention"


def test_another_file_is_named_by_argument_or_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text("[http]\nport = 11\n", encoding="utf-8")
    (tmp_path / "b.toml").write_text("[http]\nport = 12\n", encoding="utf-8")
    monkeypatch.setenv("HEED_CONFIG", str(tmp_path / "a.toml"))
    assert load().http.port == 11
    assert load(tmp_path / "b.toml").http.port == 12
    assert settings_file() == tmp_path / "a.toml"
    monkeypatch.setenv("HEED_CONFIG", "missing.toml")
    with pytest.raises(SetupError, match=r"missing\.toml does not exist"):
        load()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[htpp]\nport = 1", "[htpp] is no section of Heed; the nearest one is http."),
        ("[http]\nport = true", "http.port in heed.toml must not be true or false"),
        ("[http]\nprot = 1", "http.prot is no setting of Heed; the nearest one is http.port."),
        ("http = 1", "write [http] and keys below"),
        ("verbose = true", "verbose is no section of Heed; remove it."),
        ("[http", "is not valid TOML"),
        ('[http]\nport = "x"', "http.port in heed.toml must be a whole number."),
        ("[http]\nport = 70000", "must be at most 65535"),
        ("[mood]\nhalf_life = nan", "mood.half_life in heed.toml must be a number"),
        ('[telegram]\nmode = "pull"', "must be 'polling' or 'webhook'"),
        ('[telegram]\nmode = "webhook"', "needs webhook_url"),
        ('[desk]\nstaff = "telegam:5"', "must be web, telegram:<chat id>"),
        ('[desk]\nstaff = "discord:-5"', "must be web, telegram:<chat id>"),
        ("[mood]\nupset_leave = -0.9", "upset_leave must be greater than upset_enter"),
        ('[telegram]\napi_base = "telegram.org"', "must be a web address"),
        ("[telegram.more.shop]\ntokn = 1", "nearest one is telegram.more.shop.token."),
        ("[telegram.more]\nshop = 1", "write [telegram.more.shop], keys below."),
        ("[telegram]\nmore = 1", "write [telegram.more.NAME], keys below."),
        ("[telegram.more.Shop]\n", "[telegram.more.Shop] needs a name of 1 to 20 small letters"),
        ("[telegram.more.a__b]\n", "[telegram.more.a__b] needs a name"),
        ("[discord.more.main]\n", "and not main."),
        ('[telegram.more.shop]\nmode = "x"', "telegram.more.shop.mode in heed.toml must be"),
        ('[telegram.more.shop]\nmode = "webhook"', "of [telegram.more.shop] do not fit together"),
        ("[discord.more.club]\nshards = true", "discord.more.club.shards in heed.toml must not"),
        ("[desk.more.x]\na = 1", "desk.more is no setting of Heed"),
        (
            '[telegram]\ntoken = "1:a"\n[telegram.more.shop]\ntoken = "1:b"',
            "telegram.token and telegram.more.shop.token are of the same bot; take one of",
        ),
        (
            '[discord.more.a]\ntoken = "t"\n[discord.more.b]\ntoken = "t"',
            "discord.more.a.token and discord.more.b.token are of the same bot",
        ),
        (
            '[discord.more.club]\napi_base = "http://127.0.0.1:5"',
            "discord.more.club.api_base must be that of discord.api_base",
        ),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(text: str, says: str) -> None:
    told = _told(text)
    assert says in told
    assert "\n" not in told
    assert told.endswith(".")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("HEED_HTTP__PROT", "the nearest one is HEED_HTTP__PORT."),
        ("HEED_HTTP", "HEED_HTTP is no setting of Heed"),
        ("HEED_ENGINE__NAME", "HEED_ENGINE__NAME is no setting of Heed"),
        ("HEED_HTTP__PORT", "The setting HEED_HTTP__PORT must be a whole number."),
        ("HEED_TELEGRAM__MORE__SHOP__TOKN", "is HEED_TELEGRAM__MORE__SHOP__TOKEN."),
        ("HEED_TELEGRAM__MORE__SHOP", "HEED_TELEGRAM__MORE__SHOP is no setting of Heed"),
        ("HEED_DESK__MORE__SHOP__STAFF", "is no setting of Heed"),
        ("HEED_DISCORD__MORE__CLUB__SHARDS", "HEED_DISCORD__MORE__CLUB__SHARDS must be a whole"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "eighty")
    assert says in _told()


def test_a_file_that_is_not_text_is_told() -> None:
    Path("heed.toml").write_bytes(b"\xff\xfe[http]")
    with pytest.raises(SetupError, match="save it as UTF-8"):
        load()


def test_no_sentence_and_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "123456:do-not-show"
    assert secret not in _told(f'[telegram]\ntoken = ["{secret}"]')
    Path("heed.toml").unlink()
    monkeypatch.setenv("HEED_TELEGRAM__TOKEN", secret)
    monkeypatch.setenv("HEED_DATABASE__URL", "postgresql://heed:pass%40word@db/heed")
    settings = load()
    shown = f"{settings!r} {settings} {settings.telegram} {settings.database!r}"
    assert secret not in shown
    assert "pass%40word" not in shown
    assert set(settings.secrets()) == {secret, "pass%40word", "pass@word"}
    assert settings.telegram.token is not None
    assert settings.telegram.token.get_secret_value() == secret


def test_a_password_with_a_slash_is_a_secret_too() -> None:
    settings = Settings(database=Database(url="postgresql://heed:data/pass:x@db/heed"))
    assert settings.secrets() == ("data/pass:x",)


def test_settings_cannot_be_changed() -> None:
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1  # type: ignore[misc]


def test_sections_can_be_given_in_code() -> None:
    settings = Settings(http=Http(port=0), database=Database(url="sqlite:///x.db"))
    assert settings.http.port == 0
    assert settings.database.url == "sqlite:///x.db"


def test_staff_places_keep_their_order_and_end_on_the_page() -> None:
    assert Desk().places == (StaffPlace("web"),)
    assert Desk(staff="discord:7, telegram:-100").places == (
        StaffPlace("discord", "7"),
        StaffPlace("telegram", "-100"),
        StaffPlace("web"),
    )
    assert Desk(staff="web,telegram:-100").places[0] == StaffPlace("web")


def test_a_webhook_needs_address_and_secret() -> None:
    good = Telegram(mode="webhook", webhook_url="https://x.example/t", webhook_secret="s" * 8)
    assert good.webhook_url == "https://x.example/t"
    with pytest.raises(ValueError, match="webhook_secret"):
        Telegram(mode="webhook", webhook_url="https://x.example/t", webhook_secret="spaces !")


def test_a_bot_api_server_may_be_named_with_or_without_bot() -> None:
    for base in ("http://127.0.0.1:8081", "http://127.0.0.1:8081/bot", "http://127.0.0.1:8081/"):
        assert Telegram(api_base=base).api_base == "http://127.0.0.1:8081/bot"


def test_the_example_documents_every_key_and_nothing_else() -> None:
    tables = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    written = [f"{section}.{key}" for section, keys in tables.items() for key in keys]
    assert written == known_keys()


def test_the_example_loads_and_says_the_defaults() -> None:
    loaded, defaults = load(EXAMPLE), Settings()
    for section in Settings.model_fields:
        value: BaseModel = getattr(loaded, section)
        assert value == getattr(defaults, section), section


def test_a_switch_is_true_or_false_in_the_file_and_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("heed.toml").write_text("[desk]\ngive_back = true\ncsat = false\n", encoding="utf-8")
    monkeypatch.setenv("HEED_DESK__DRY_RUN", "true")
    monkeypatch.setenv("HEED_DESK__CSAT", "1")
    desk = load().desk
    assert (desk.give_back, desk.dry_run, desk.csat, desk.anonymous) == (True, True, True, False)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('dry_run = "perhaps"', "desk.dry_run in heed.toml must be true or false"),
        ("alerts_per_day = true", "must not be true or false"),
        ("incident_users = 1", "desk.incident_users in heed.toml must be at least 2"),
        ("t2_minutes = 3", "t1_minutes, t2_minutes and t3_minutes must rise"),
        ('timezone = "Mars/Base"', "must be a time zone such as Europe/Berlin or UTC"),
        ('timezone = "../etc"', "must be a time zone"),
        ('hours = "always"', "desk.hours in heed.toml cannot be read"),
        ('on_call = "pager:5"', "must be web, telegram:<chat id>"),
        ('operator = "telegram:-5"', "must be telegram:<user id> or discord:<user id>"),
        ('operator = "web"', "must be telegram:<user id>"),
        ('lock = "none"', "must be 'soft' or 'hard'"),
        ('role_name = ""', "must not be empty"),
        ("t1_minutes = 0", "must be greater than 0"),
    ],
)
def test_a_wrong_setting_of_the_desk_is_told(line: str, says: str) -> None:
    told = _told(f"[desk]\n{line}\n")
    assert says in told
    assert told.endswith(".")


def test_the_operator_is_one_account_or_nobody() -> None:
    assert Desk().operator_place is None
    assert Desk(operator="discord:5").operator_place == StaffPlace("discord", "5")


def test_who_is_on_call_is_written_like_staff() -> None:
    assert Desk().on_call_places == ()
    assert Desk(on_call="discord:5").on_call_places == (StaffPlace("discord", "5"),)
    assert Desk(on_call="telegram:-1, web").on_call_places == (
        StaffPlace("telegram", "-1"),
        StaffPlace("web"),
    )
    both = Desk(members=[1, 2], roles="7, 8")
    assert (both.members, both.roles) == (("1", "2"), ("7", "8"))


def test_further_bots_have_the_keys_of_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("heed.toml").write_text(
        """
        [telegram]
        token = "1:one"
        api_base = "http://127.0.0.1:8081"
        watch = ["-1"]
        [telegram.more.shop]
        token = "2:two"
        [discord]
        gateway_url = "ws://127.0.0.1:9"
        [discord.more.club]
        mode = "watch"
        """,
        encoding="utf-8",
    )
    monkeypatch.setenv("HEED_TELEGRAM__MORE__SHOP__WATCH", "-1001, -1002")
    monkeypatch.setenv("HEED_TELEGRAM__MORE__SHOP__WEBHOOK_SECRET", "1e5")
    monkeypatch.setenv("HEED_DISCORD__MORE__CLUB__TOKEN", "club.token")
    settings = load()
    shop, club = settings.telegram.more["shop"], settings.discord.more["club"]
    assert shop.api_base == "http://127.0.0.1:8081/bot"  # as the first one's
    assert (shop.watch, shop.mode) == (("-1001", "-1002"), "polling")
    assert (club.gateway_url, club.mode) == ("ws://127.0.0.1:9", "watch")
    assert list(settings.telegram.bots()) == ["main", "shop"]
    assert list(settings.discord.bots()) == ["club"]  # the first one has no token
    assert set(settings.secrets()) == {"1:one", "2:two", "1e5", "club.token"}
    assert "two" not in repr(settings)


def test_the_example_shows_further_bots_commented_out() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = tomllib.loads(re.sub(r"(?m)^# (?=\[(telegram|discord)\.more\.|token = )", "", text))
    for platform in ("telegram", "discord"):
        assert list(shown[platform]["more"]) == ["shop"]
        assert shown[platform]["more"]["shop"] == {"token": ""}


def test_the_key_of_the_texts_does_not_stand_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("heed.toml").write_text('[privacy]\nkey = "abc"\n', encoding="utf-8")
    with pytest.raises(SetupError, match="HEED_PRIVACY__KEY_FILE") as caught:
        load()
    assert "abc" not in str(caught.value)
    Path("heed.toml").write_text('[privacy]\nkey = ""\n', encoding="utf-8")
    Path("key").write_text("from a file\n", encoding="utf-8")
    monkeypatch.setenv("HEED_PRIVACY__KEY_FILE", "key")
    assert load().secrets() == ("from a file",)
