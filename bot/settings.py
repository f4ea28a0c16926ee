"""What the operator can set: one frozen class a section, with its default and its bounds.

heed.example.toml documents every key in the same order; a test holds the two together.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot.accounts import MORE, SEVERAL, Discord, Telegram
from bot.section import Accounts, OptionalPath, Secret, Section, Words
from core.errors import SetupError


class StaffPlace(NamedTuple):
    """One place where staff work: the web page, a Telegram chat or a Discord channel."""

    platform: Literal["web", "telegram", "discord"]
    chat: str = ""  # empty for the web page


class Database(Section):
    """Where everything is kept."""

    url: str = Field(default="sqlite:///data/heed.db", repr=False)  # may hold a password


class Model(Section):
    """Which model tags and writes, and how much it may use."""

    name: str = Field(default="auto", min_length=1)
    tag: str = ""  # who tags, where that is somebody else; like name
    reply: str = ""  # who writes, where that is somebody else; like name
    precision: Literal["auto", "fp32", "bf16", "int8", "int4"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    adapter: str = ""  # LoRA for a local model: a folder or a hub id
    reply_tokens: int = Field(default=256, ge=1, le=4096)
    reply_seconds: float = Field(default=30.0, gt=0)
    history_tokens: int = Field(default=1500, ge=0)
    kv_budget_mb: int = Field(default=512, ge=16)
    slots: int = Field(default=8, ge=1, le=64)
    threads: int = Field(default=0, ge=0)  # 0: the engine chooses
    api_key: Secret = None  # for a remote model

    @property
    def named(self) -> bool:
        """Whether the operator asks for a model, and not just for whatever is there."""
        return any(one not in ("", "auto", "embedded") for one in (self.name, self.tag, self.reply))


class Desk(Section):
    """Where staff are found, and how a case goes."""

    staff: str = "web"
    language: str = Field(default="en", pattern=r"^[a-z]{2}$")  # what staff read in their chats
    members: Words = ()  # user ids that are staff besides the people of the desk's chat
    roles: Words = ()  # Discord role ids; empty: whoever may write in the desk channel
    dry_run: bool = False
    dry_run_days: int = Field(default=7, ge=1, le=365)
    alerts_per_day: int = Field(default=5, ge=0)  # pings caused by mood; what is over waits
    incident_users: int = Field(default=6, ge=2)
    incident_minutes: float = Field(default=10.0, gt=0)
    t1_minutes: float = Field(default=5.0, gt=0)
    t2_minutes: float = Field(default=15.0, gt=0)
    t3_minutes: float = Field(default=45.0, gt=0)
    operator: str = ""  # telegram:<user id> or discord:<user id>: hears of faults directly
    on_call: str = ""  # places like staff's, pinged at t2; empty: the same desk again
    give_back: bool = False
    hours: str = ""  # empty: always staffed
    timezone: str = "UTC"
    inactive_hours: float = Field(default=24.0, gt=0)
    reopen_hours: float = Field(default=24.0, ge=0)
    delay_minutes: float = Field(default=10.0, gt=0)
    stale_hours: float = Field(default=24.0, gt=0)
    lock: Literal["soft", "hard"] = "soft"
    auto_reply: Literal["", "on", "off"] = ""  # empty: as the platform has it
    anonymous: bool = False
    role_name: str = Field(default="Support", min_length=1, max_length=40)
    claimed_notice: bool = False
    transcript_to_user: bool = False
    csat: bool = True
    pictures: bool = True
    suggest: bool = True  # a suggested answer on every new card

    @field_validator("staff")
    @classmethod
    def _is_readable(cls, value: str) -> str:
        _staff_places(value)
        return value

    @field_validator("on_call")
    @classmethod
    def _is_readable_or_empty(cls, value: str) -> str:
        if value:
            _staff_places(value)
        return value

    @field_validator("operator")
    @classmethod
    def _is_somebody(cls, value: str) -> str:
        if value and not re.fullmatch(r"(telegram|discord):[0-9]+", value):
            raise ValueError("must be telegram:<user id> or discord:<user id>, or empty")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError):  # KeyError: there is no zone of that name
            raise ValueError("must be a time zone such as Europe/Berlin or UTC") from None
        return value

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, value: str) -> str:
        from core.hours import Hours  # later: with it come the fixed texts

        try:
            Hours.read(value, "UTC")
        except SetupError as err:
            raise ValueError(f"cannot be read: {str(err).rstrip('.')}") from None
        return value

    @model_validator(mode="after")
    def _times_rise(self) -> Desk:
        if not self.t1_minutes <= self.t2_minutes <= self.t3_minutes:
            raise ValueError("t1_minutes, t2_minutes and t3_minutes must rise")
        return self

    @property
    def places(self) -> tuple[StaffPlace, ...]:
        """The staff places in order of preference; the web page is always among them."""
        return _staff_places(self.staff)

    @property
    def operator_place(self) -> StaffPlace | None:
        """Whom the operator wants told of faults: the platform and, as `chat`, the user id."""
        return _staff_places(self.operator)[0] if self.operator else None

    @property
    def on_call_places(self) -> tuple[StaffPlace, ...]:
        """Where a case is called out a second time; empty: at the same desk again."""
        if not self.on_call:
            return ()
        named = [part.strip() for part in self.on_call.split(",")]
        places = _staff_places(self.on_call)
        return places if "web" in named else places[:-1]


def _staff_places(text: str) -> tuple[StaffPlace, ...]:
    places: list[StaffPlace] = []
    for part in (p.strip() for p in text.split(",")):
        platform, _, chat = part.partition(":")
        if part == "web":
            places.append(StaffPlace("web"))
        elif platform == "telegram" and re.fullmatch(r"-?\d+", chat):
            places.append(StaffPlace("telegram", chat))
        elif platform == "discord" and re.fullmatch(r"\d+", chat):
            places.append(StaffPlace("discord", chat))
        else:
            raise ValueError(
                "must be web, telegram:<chat id> or discord:<channel id>, or several with commas"
            )
    if all(place.platform != "web" for place in places):
        places.append(StaffPlace("web"))
    return tuple(dict.fromkeys(places))


class Http(Section):
    """The page, the HTTP interface and webhooks."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8080, ge=0, le=65535)  # 0: any free port
    token: Secret = None  # asked of every caller when set


class Prompts(Section):
    """The prompt files."""

    dir: OptionalPath = None  # None: the ones that come with Heed
    tag: str = Field(default="sentiment", min_length=1)  # which task tags messages


class Texts(Section):
    """The operator's own fixed texts."""

    dir: OptionalPath = None  # None: the ones that come with Heed


class Answers(Section):
    """The operator's own answers."""

    file: Path = Path("answers.toml")  # read when it exists
    minimum: float = Field(default=0.55, ge=0, le=1)  # likeness of a question to one of them


class Reply(Section):
    """What a model may say."""

    mode: Literal["free", "facts", "strict"] = "free"
    scope: Literal["person", "thread", "chat"] = "person"  # whose words in a group it goes by


class Mood(Section):
    """The running mood of a user, -1 to 1."""

    half_life: float = Field(default=1800.0, gt=0)  # seconds until half a mood has faded
    tense_enter: float = Field(default=-0.35, ge=-1, le=1)
    tense_leave: float = Field(default=-0.20, ge=-1, le=1)
    upset_enter: float = Field(default=-0.55, ge=-1, le=1)
    upset_leave: float = Field(default=-0.25, ge=-1, le=1)

    @model_validator(mode="after")
    def _leaves_above_entry(self) -> Mood:
        if self.tense_leave <= self.tense_enter:
            raise ValueError("tense_leave must be greater than tense_enter")
        if self.upset_leave <= self.upset_enter:
            raise ValueError("upset_leave must be greater than upset_enter")
        if self.upset_enter >= self.tense_enter:
            raise ValueError("upset_enter must be less than tense_enter")
        return self


class Escalation(Section):
    """When a human is called."""

    strong: float = Field(default=0.7, ge=0, le=1)  # with spike_p_neg
    spike_p_neg: float = Field(default=0.7, ge=0, le=1)
    sure_p_neg: float = Field(default=0.90, ge=0, le=1)
    sure_strength: float = Field(default=0.80, ge=0, le=1)
    confidence: float = Field(default=0.75, ge=0, le=1)
    crisis: float = Field(default=0.6, ge=0, le=1)  # by the score, where no phrase says it
    trouble: int = Field(default=2, ge=1)  # told of in the last messages: not heard, at stake
    burst_messages: int = Field(default=6, ge=2)  # within a minute, in a mood below calm
    refractory_minutes: float = Field(default=30.0, ge=0)
    not_needed_minutes: float = Field(default=120.0, ge=0)
    cases_per_day: int = Field(default=3, ge=0)  # caused by mood, per user
    money_words: Words = (
        "refund",
        "chargeback",
        "fraud",
        "scam",
        "lawyer",
        "lawsuit",
        "退款",
        "诈骗",
        "律师",
        "起诉",
    )


class Privacy(Section):
    """How long things are kept, whether sealed, and what a remote model may read."""

    text_days: int = Field(default=30, ge=1)
    score_days: int = Field(default=365, ge=1)
    redact: bool = True  # personal data goes to no remote model
    key: Secret = None  # seals the texts in the database; several with commas, the first one writes


class Access(Section):
    """Whom the bot serves; an empty list shuts nobody out. Staff are always let in."""

    users: Accounts = ()  # telegram:<user id>, discord:<user id>
    chats: Accounts = ()  # groups and channels
    servers: Accounts = ()  # discord:<server id>


class Limits(Section):
    """How much is answered, and how long a message may be. 0 for a day: no limit."""

    per_user_minute: int = Field(default=60, ge=1)
    per_chat_minute: int = Field(default=60, ge=1)  # in one group, to all of its people together
    per_user_day: int = Field(default=500, ge=0)
    per_day: int = Field(default=0, ge=0)  # to everybody together
    message_chars: int = Field(default=8000, ge=1)


class Log(Section):
    """What is written to the log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """Everything the operator can set. Frozen; made by `load`.

    `Settings(http=Http(port=0))` works too, for tests: what is passed stands where heed.toml
    stands, so a HEED_ variable still wins.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEED_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    telegram: Telegram = Telegram()
    discord: Discord = Discord()
    database: Database = Database()
    model: Model = Model()
    desk: Desk = Desk()
    http: Http = Http()
    prompts: Prompts = Prompts()
    texts: Texts = Texts()
    answers: Answers = Answers()
    reply: Reply = Reply()
    mood: Mood = Mood()
    escalation: Escalation = Escalation()
    privacy: Privacy = Privacy()
    access: Access = Access()
    limits: Limits = Limits()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(  # type: ignore[explicit-override]  # 3.11 has no @override
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the names are the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the file says."""
        if isinstance(env_settings, EnvSettingsSource):  # what names a file is `load`'s to read
            ends = tuple(f"__{key.rpartition('.')[2]}_file" for key in secret_keys(known_keys()))
            own = env_settings.env_vars.items()
            env_settings.env_vars = {k: v for k, v in own if not k.lower().endswith(ends)}
        return env_settings, init_settings

    def secrets(self) -> tuple[str, ...]:
        """Return every secret value in use, longest first: what no log line may hold."""
        return tuple(sorted(set(_secrets_in(self)), key=len, reverse=True))


def _secrets_in(section: BaseModel) -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _secrets_in(value)
        elif isinstance(value, dict):
            for inner in value.values():
                yield from _secrets_in(inner)
        elif isinstance(value, SecretStr):
            text = value.get_secret_value()
            yield text
            yield from (part for part in text.split(",") if len(part) > 7)  # each of several keys
        elif isinstance(value, str) and (found := re.search(r"://[^/@:\s]*:([^@\s]+)@", value)):
            yield found[1]
            yield urllib.parse.unquote(found[1])


def known_keys() -> list[str]:
    """Return every setting as `section.key`, those of further bots left out."""
    return [
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in field.default.__class__.model_fields
        if key != MORE
    ]


def secret_keys(keys: Iterable[str]) -> list[str]:
    """Return those of `keys` whose values are secret: tokens, keys, an address with a password."""
    return [key for key in keys if key == "database.url" or _is_secret(key)]


def _is_secret(full: str) -> bool:
    section = Settings.model_fields[full.partition(".")[0]].default.__class__
    return SecretStr in get_args(section.model_fields[full.rpartition(".")[2]].annotation)


def keys_of_bot(platform: str, name: str) -> list[str]:
    """Return the settings of a further bot: `telegram.more.NAME.token` and so on."""
    first = (key.partition(".") for key in known_keys())
    return [f"{platform}.{MORE}.{name}.{key}" for section, _, key in first if section == platform]


def keys_of(settings: Settings) -> list[str]:
    """Return every setting that there is now, those of further bots after their first one's."""
    keys = known_keys()
    for platform in SEVERAL:
        own: Telegram | Discord = getattr(settings, platform)
        after = 1 + max(n for n, key in enumerate(keys) if key.startswith(f"{platform}."))
        keys[after:after] = [key for name in own.more for key in keys_of_bot(platform, name)]
    return keys


def section_with(settings: Settings, full: str) -> tuple[Section, str]:
    """Return the section that holds a setting, and what the setting is called there."""
    *path, key = full.split(".")
    found: Any = settings
    for step in path:
        found = found[step] if isinstance(found, dict) else getattr(found, step)
    return found, key
