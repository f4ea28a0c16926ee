"""The slash commands as Discord wants them, and when to register them anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import discord

Catalogue = Mapping[str, Sequence[tuple[str, str]]]

_STAFF = (
    ("claim", "Take this case; the bot stays silent"),
    ("steal", "Take this case over from whoever has it"),
    ("release", "Put this case back into the queue"),
    ("assign", "Give this case to somebody of the staff: their name"),
    ("r", "Answer the person"),
    ("ra", "Answer the person without your name"),
    ("s", "Send the person a saved reply: its name"),
    ("save", "Keep a saved reply: its name, then the text"),
    ("edit", "Change an answer: the number of its line, then the new text"),
    ("del", "Delete an answer: the number of its line"),
    ("note", "Write a note that only staff can see"),
    ("remark", "Keep a remark about the person, shown on every later card"),
    ("draft", "Let the bot suggest an answer that only staff can see"),
    ("snooze", "Put this case aside: 30m, 4h, 1d or a time such as 2026-11-21T09:00"),
    ("wake", "Take a snoozed case up again"),
    ("resolve", "Close this case and hand the person back; a reason, and perhaps: in 2h"),
    ("reopen", "Open a closed case again"),
    ("notneeded", "Close this case: nobody was needed"),
    ("bot", "on: the bot answers again, and you watch; off: you take over again"),
    ("watch", "Follow what the bot says to somebody: their name, or this case"),
    ("contact", "Write to somebody who has no case: their name"),
    ("priority", "Say how urgent this case is: 0 to 3"),
    ("alert", "Tell me when the person writes again; once more to stop"),
    ("anon", "on: staff answer this person without their names; off: with them"),
    ("block", "Block the person: for how long (7d), and why"),
    ("unblock", "Let a blocked person write again"),
    ("who", "Show who the person is, and what was remarked about them"),
    ("why", "Show why this case was opened, rule by rule"),
    ("history", "Show what was said before"),
)
_WITH_TEXT: Mapping[str, bool] = {  # whether the text is required
    **dict.fromkeys(("assign", "r", "ra", "s", "save", "edit", "del", "note", "remark"), True),
    **dict.fromkeys(("snooze", "bot", "contact", "priority", "anon", "block"), True),
    **dict.fromkeys(("resolve", "reopen", "watch", "link"), False),
}
_LOCALES = {"es": "es-ES", "pt": "pt-BR", "sv": "sv-SE", "zh": "zh-CN"}  # theirs need a country
_MANAGE_MESSAGES = str(1 << 13)  # whoever may tidy a channel sees the staff commands
_IN_SERVERS = 0


def payload(commands: Catalogue, *, staff: bool) -> list[dict[str, Any]]:
    """Return the global commands: those of the catalogue, and staff's own when there is a desk.

    English (else the first language) gives the names and descriptions, the other languages their
    translations.
    """
    base = "en" if "en" in commands or not commands else next(iter(commands))
    translations: dict[str, dict[str, str]] = {}
    for language, entries in commands.items():
        locale = _locale(language)
        if language != base and locale:
            for name, description in entries:
                translations.setdefault(name, {})[locale] = description[:100]
    entries = [*commands.get(base, ())]
    staffs = {name for name, _ in _STAFF} if staff else set()
    known = {name for name, _ in entries}
    if staff:
        entries += [entry for entry in _STAFF if entry[0] not in known]
    return [
        _one(name, text, translations.get(name, {}), staff=name in staffs) for name, text in entries
    ]


def digest(commands: Sequence[Mapping[str, Any]]) -> str:
    """Return a name for this very list, so that an unchanged one is not sent again."""
    text = json.dumps(commands, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _one(name: str, text: str, translations: Mapping[str, str], *, staff: bool) -> dict[str, Any]:
    command: dict[str, Any] = {"name": name, "type": 1, "description": text[:100] or name}
    if translations:
        command["description_localizations"] = dict(translations)
    if name in _WITH_TEXT:
        option = {"type": 3, "name": "text", "description": "What to write"}
        command["options"] = [option | {"required": _WITH_TEXT[name]}]
    if staff:
        command["default_member_permissions"] = _MANAGE_MESSAGES
        command["contexts"] = [_IN_SERVERS]
    return command


def _locale(language: str) -> str:
    """Return Discord's own name of a language; empty when it has none."""
    name = _LOCALES.get(language, language)
    return name if name in {str(locale.value) for locale in discord.Locale} else ""
