"""What the manuals name is there: settings, variables, commands, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.accounts import MORE
from bot.command import HELP
from bot.config import variable
from bot.safekeeping import SUFFIX
from bot.settings import Settings, keys_of_bot, known_keys, secret_keys

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = "|".join(Settings.model_fields)


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def text(request: pytest.FixtureRequest) -> str:
    return request.param.read_text(encoding="utf-8")


def test_every_setting_that_is_named_exists(text: str) -> None:
    said = set(re.findall(rf"`((?:{SECTIONS})\.[a-z0-9_.]+)\b(?:`| =)", text))
    assert said <= {*known_keys(), "answers.toml", "reply.toml"}


def test_every_variable_that_is_named_exists(text: str) -> None:
    said = set(re.findall(r"\bHEED_[A-Z0-9_]+\b", text))
    shown = [key for one in ("telegram", "discord") for key in keys_of_bot(one, "shop")]
    keys = [*known_keys(), *shown]
    named = {variable(key) for key in keys} | {variable(key) + SUFFIX for key in secret_keys(keys)}
    assert said <= named | {"HEED_CONFIG"}


def test_every_section_that_is_named_exists(text: str) -> None:
    said = re.findall(r"^ *\[([a-z.]+)\](?: |$)|`\[([a-zA-Z.]+)\]`", text, re.MULTILINE)
    for section in ("".join(one) for one in said):
        first, _, rest = section.partition(".")
        assert first in Settings.model_fields, section
        assert not rest or rest.startswith(f"{MORE}."), section


def test_every_command_that_is_named_exists(text: str) -> None:
    said = set(re.findall(r"(?:`|^ {4}|bin/)heed ([a-z]+)\b", text, re.MULTILINE))
    assert said <= {*HELP}


def test_every_page_that_is_linked_exists(text: str) -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / name).exists() or (ROOT / "docs" / name).exists(), name


def test_the_manual_of_the_platforms_names_every_setting_of_theirs() -> None:
    text = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    ours = ("telegram.", "discord.", "access.", "limits.")
    for key in (one for one in known_keys() if one.startswith(ours)):
        section, _, name = key.partition(".")
        shown = rf"\b{key}\b|`{name}`|^ *\[{section}[^\n]*\n(?:(?! *\[)[^\n]+\n)*? *{name} ="
        assert re.search(shown, text, re.MULTILINE), key
