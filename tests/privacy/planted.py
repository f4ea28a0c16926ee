"""Marked words that a person leaves wherever they can, and where they can still be read."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import structlog

from bot.logs import set_up
from bot.settings import Log, Settings

CHINESE = "琥珀牡蛎"


def mark(field: str) -> str:
    """Return words that stand nowhere else, in two scripts."""
    return f"qz{field}7431 {CHINESE}{field}"


def code_in(text: str) -> str:
    """Return the code of /link that a text of any language tells."""
    [code] = set(re.findall(r"(?<![A-Z0-9])[A-Z2-9]{8}(?![A-Z0-9])", text))
    return str(code)


def spellings(field: str) -> list[bytes]:
    """Return how the words of a field may lie in bytes: raw, escaped, and in wide characters."""
    found = []
    for word in mark(field).split():
        escaped = json.dumps(word)[1:-1]
        ways = (word, escaped, escaped.upper().replace("\\U", "\\u"))
        found += [way.encode() for way in ways]
        found += [word.encode(code) for code in ("utf-16-le", "utf-16-be", "gb18030")]
    return list(dict.fromkeys(found))


def left(fields: Iterable[str], things: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Return (field, thing) for every thing in which a planted field can still be read."""
    known = list(things)
    return [
        (field, name)
        for field in fields
        for name, data in known
        if any(way in data for way in spellings(field))
    ]


def files(folder: Path) -> list[tuple[str, bytes]]:
    """Return every file of a folder, with its bytes."""
    return [(one.name, one.read_bytes()) for one in sorted(folder.iterdir()) if one.is_file()]


@contextmanager
def logged() -> Iterator[StringIO]:
    """Keep what Heed would log in the block when it tells everything that it ever tells."""
    kept, root = StringIO(), logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions, structlog.get_config())
    chatty = {name: logging.getLogger(name).level for name in (*_names(), "heed")}
    set_up(Settings(log=Log(level="debug", format="json")), kept)
    try:
        yield kept
    finally:
        root.handlers[:], level, logging.raiseExceptions, config = before
        root.setLevel(level)
        structlog.configure(**config)
        for name, was in chatty.items():
            logging.getLogger(name).setLevel(was)


def _names() -> list[str]:
    return [str(name) for name in logging.Logger.manager.loggerDict]
