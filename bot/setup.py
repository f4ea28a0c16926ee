"""`heed init`: write heed.toml by asking five questions.

Every question has an answer by default, so the end of a pipe, or pressing Enter throughout, gives
a Heed that runs: the try-it room on this machine, and no platform.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from bot.config import settings_file
from bot.settings import Desk, Model
from core.errors import SetupError

Language = Literal["en", "zh"]

_ASK_LANGUAGE: Final = "Language of these questions, en or zh / 语言 en 或 zh"
_TEXTS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "overwrite": "{path} exists. Write it anew? (yes/no)",
        "kept": "{path} was left as it was.",
        "telegram": "Telegram token, from @BotFather (empty: no Telegram)",
        "discord": "Discord token, from the developer portal (empty: no Discord)",
        "staff": "Where staff answer: web, telegram:<chat id> or discord:<channel id>",
        "model": "Model: auto, embedded, a Hugging Face name, a folder or an address",
        "again": "Heed cannot use that: it {why}.",
        "written": "{path} is written. Start with `heed run`, check with `heed doctor`.",
    },
    "zh": {
        "overwrite": "{path} 已存在，要重新写入吗？(yes/no)",
        "kept": "{path} 保持原样。",
        "telegram": "Telegram 令牌，来自 @BotFather（留空：不用 Telegram）",
        "discord": "Discord 令牌，来自开发者门户（留空：不用 Discord）",
        "staff": "人工在哪里回复：web、telegram:<群 id> 或 discord:<频道 id>",
        "model": "模型：auto、embedded、Hugging Face 名称、文件夹或网址",
        "again": "这个回答不能用：it {why}.",
        "written": "{path} 已写好。用 `heed run` 启动，用 `heed doctor` 检查。",
    },
}
_YES: Final = frozenset({"y", "yes", "是", "好"})
Accept = Callable[[str], str]  # returns what is wrong with an answer, or nothing


def write_settings(config: Path | None = None) -> bool:
    """Ask, and write the settings file; False when an existing one was kept.

    Raises SetupError when the file cannot be written.
    """
    path = settings_file(config)
    language: Language = "zh" if _ask(_ASK_LANGUAGE, "en", _one_of("en", "zh")) == "zh" else "en"
    texts = _TEXTS[language]
    if path.exists() and _ask(texts["overwrite"].format(path=path), "no").lower() not in _YES:
        _say(texts["kept"].format(path=path))
        return False
    refused = texts["again"]
    values = {
        ("telegram", "token"): _ask(texts["telegram"], "", _token, refused, hidden=True),
        ("discord", "token"): _ask(texts["discord"], "", _token, refused, hidden=True),
        ("desk", "staff"): _ask(texts["staff"], "web", _staff, refused),
        ("model", "name"): _ask(texts["model"], "auto", _model, refused),
    }
    _write(path, _toml(values))
    _say(texts["written"].format(path=path))
    return True


def _ask(
    question: str,
    default: str,
    wrong: Accept = lambda _answer: "",
    refused: str = _TEXTS["en"]["again"],
    *,
    hidden: bool = False,
) -> str:
    """Ask until the answer can be used; an empty one, or the end of the input, is the default."""
    prompt = f"{question} [{default}]: " if default else f"{question}: "
    while True:
        if hidden and sys.stdin.isatty():
            answer = getpass.getpass(prompt).strip()
        else:
            print(prompt, end="", flush=True)  # noqa: T201  # a conversation, not a log
            if not (line := sys.stdin.readline()):
                _say("")
                return default
            answer = line.strip()
        if not answer:
            return default
        if not (why := wrong(answer)):
            return answer
        _say(refused.format(why=why))


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _one_of(*words: str) -> Accept:
    return lambda answer: "" if answer in words else f"must be {' or '.join(words)}"


def _token(answer: str) -> str:
    if any(c.isspace() for c in answer) or len(answer) < 20:
        return "must be the whole token, which is longer and has no space in it"
    return ""


def _staff(answer: str) -> str:
    try:
        Desk(staff=answer)
    except ValidationError as err:
        return str(err.errors()[0]["ctx"]["error"])
    return ""


def _model(answer: str) -> str:
    try:
        Model(name=answer)
    except ValidationError:
        return "must not be empty"
    return ""


def _toml(values: dict[tuple[str, str], str]) -> str:
    """Write the answers as TOML. A JSON string is a TOML string, too."""
    lines = ["# Written by `heed init`. heed.example.toml explains every other key."]
    for (section, key), value in values.items():
        if value:
            lines += ["", f"[{section}]", f"{key} = {json.dumps(value, ensure_ascii=False)}"]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """Put the file there whole or not at all, readable by its owner only: it may hold tokens."""
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
        new.replace(path)
    except OSError as err:
        raise SetupError(f"{path} cannot be written: {err.strerror}.") from None
