"""The slash commands as Discord wants them, and when to register them anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import discord

from adapters.discord.interactions import ESCALATE

Catalogue = Mapping[str, Sequence[tuple[str, str]]]

_SUGGESTED = frozenset({"s", "assign", "snooze", "resolve"})  # whose text Discord asks us about
_WITH_TEXT: Mapping[str, bool] = {  # whether the text is required
    **dict.fromkeys(("assign", "r", "ra", "s", "save", "edit", "del", "note", "remark"), True),
    **dict.fromkeys(("snooze", "bot", "contact", "priority", "anon", "block"), True),
    **dict.fromkeys(("resolve", "reopen", "watch", "link", "why", "privacy"), False),
}
_LOCALES = {"es": "es-ES", "pt": "pt-BR", "sv": "sv-SE", "zh": "zh-CN"}  # theirs need a country
_MANAGE_SERVER = str(1 << 5)
_MANAGE_MESSAGES = str(1 << 13)  # whoever may tidy a channel sees the staff commands
_IN_SERVERS = 0
_ON_MESSAGES = 3  # a command in a message's menu


def payload(
    people: Catalogue, *, admins: Catalogue | None = None, staff: Catalogue | None = None
) -> list[dict[str, Any]]:
    """Return the global commands: people's, administrators', and staff's at a desk.

    A name that two of them have is offered once, by staff's words before the others'. English
    (else the first language) gives names and descriptions, the other languages translations.
    """
    offered: dict[str, dict[str, Any]] = {}
    for catalogue, right in ((people, ""), (staff, _MANAGE_MESSAGES), (admins, _MANAGE_SERVER)):
        for name, texts in _by_name(catalogue or {}).items():
            offered.setdefault(name, _one(name, texts, right=right))
    return [*offered.values(), *([_on_messages()] if staff else [])]


def _by_name(commands: Catalogue) -> dict[str, dict[str, str]]:
    """Return what each command does, by language, the one that others are translations of first."""
    base = "en" if "en" in commands or not commands else next(iter(commands))
    found: dict[str, dict[str, str]] = {name: {"": text} for name, text in commands.get(base, ())}
    for language, entries in commands.items():
        locale = _locale(language)
        for name, text in entries if language != base and locale else ():
            found.setdefault(name, {"": text})[locale] = text
    return found


def digest(commands: Sequence[Mapping[str, Any]]) -> str:
    """Return a name for this very list, so that an unchanged one is not sent again."""
    text = json.dumps(commands, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _on_messages() -> dict[str, Any]:
    return {
        "name": ESCALATE,
        "name_localizations": {"zh-CN": "请团队处理这条消息"},
        "type": _ON_MESSAGES,
        "default_member_permissions": _MANAGE_MESSAGES,
        "contexts": [_IN_SERVERS],
    }


def _one(name: str, texts: Mapping[str, str], *, right: str) -> dict[str, Any]:
    command: dict[str, Any] = {"name": name, "type": 1, "description": texts[""][:100] or name}
    if translations := {locale: text[:100] for locale, text in texts.items() if locale}:
        command["description_localizations"] = translations
    if name in _WITH_TEXT:
        option = {"type": 3, "name": "text", "description": "What to write"}
        asked = {"autocomplete": True} if name in _SUGGESTED else {}
        command["options"] = [option | {"required": _WITH_TEXT[name]} | asked]
    if right:
        command["default_member_permissions"] = right
        command["contexts"] = [_IN_SERVERS]
    return command


def _locale(language: str) -> str:
    """Return Discord's own name of a language; empty when it has none."""
    name = _LOCALES.get(language, language)
    return name if name in {str(locale.value) for locale in discord.Locale} else ""
