"""What every section of the settings is made of: its base, and the kinds of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import NoDecode

# What is sent in one call and has no key by which Telegram would know it again.
PLAIN = ("notice", "relay", "card", "context", "ping", "picture", "transcript", "digest")


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _web_address(value: str) -> str:
    if not re.match(r"https?://[^/\s]+", value):
        raise ValueError("must be a web address that starts with https:// or http://")
    return value.rstrip("/")


def _ends_in_bot(value: str) -> str:
    return value if value.endswith("/bot") else f"{value}/bot"  # Telegram's token follows at once


def _accounts(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"(telegram|discord):-?[0-9]+", one) for one in value):
        raise ValueError("must be a list of telegram:<id> and discord:<id>")
    return value


def _repeats(value: tuple[str, ...]) -> tuple[str, ...]:
    if strange := sorted({*value} - {*PLAIN}):
        raise ValueError(f"must be a list of {', '.join(PLAIN)}; {strange[0]!r} is none of them")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
Repeats = Annotated[Words, AfterValidator(_repeats)]
Accounts = Annotated[Words, AfterValidator(_accounts)]
Secret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
BotAddress = Annotated[WebAddress, AfterValidator(_ends_in_bot)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none)]


class Section(BaseModel):
    """One section: frozen, and strict about what it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )
