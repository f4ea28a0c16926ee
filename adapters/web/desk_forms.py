"""What a form of the desk asks for, read into a verb and its text as core.ports.Desk wants them.

Pure: a form says in several fields what the protocol says in one text, and a line typed into the
composer may be a note (`//`) or name a saved reply (`/name`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, get_args

from starlette.exceptions import HTTPException

from adapters.web.arrival import clean
from core.ports import StaffVerb

VERBS: dict[str, StaffVerb] = {verb: verb for verb in get_args(StaffVerb)}
_TOLD = frozenset({"reply", "note", "remark", "edit", "saved", "assign"})  # need a text
_FREE = frozenset(  # these change nothing that another member of staff may have changed meanwhile
    {"note", "draft", "alert", "remark", "verdict", "edit", "delete", "resend", "arrived"}
    | {"priority", "anonymous"}
)
_SNOOZE = re.compile(r"\d{1,4}[mhd]|\d{4}-\d\d-\d\dT\d\d:\d\d")
_SAVED = re.compile(r"/(\w{1,32})\s*")


class Unfit(Exception):
    """A form that asks for nothing that can be done; its text is the key of a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """One staff action as a form asks for it; `version` None: it holds for any state."""

    verb: StaffVerb
    text: str
    confirm: bool
    version: int | None


def read_wish(form: Mapping[str, str], now: float, offset: int | None) -> Wish:
    """Return what a form asks for. Raises Unfit with the key of a sentence, HTTPException 400."""
    verb = VERBS.get(form.get("verb", ""))
    if verb is None:
        raise HTTPException(400, "There is no such action.")
    text = form.get("text", "")
    if verb == "reply":
        verb, text = _typed(text)
    text = _TEXTS[verb](clean(text), form) if verb in _TEXTS else clean(text)
    if verb == "snooze":
        text = _span(text, now, offset)
    if verb in _TOLD and not text:
        raise Unfit("error_empty")
    told = form.get("version", "")
    bound = verb not in _FREE and told.isascii() and told.isdecimal()
    return Wish(
        verb=verb,
        text=text,
        confirm=form.get("confirm") == "1",
        version=int(told) if bound else None,
    )


def _typed(text: str) -> tuple[StaffVerb, str]:
    """Say what a line of the composer is; what looks like a command never reaches the person."""
    if text.startswith("//"):
        return "note", text[2:]
    if text.startswith("/"):
        saved = _SAVED.fullmatch(text)
        if saved is None:
            raise Unfit("error_slash")
        return "saved", saved[1]
    return "reply", text


def _line(form: Mapping[str, str]) -> str:
    line = form.get("line", "")
    if not (line.isascii() and line.isdecimal()):
        raise Unfit("error_line")
    return line


def _edit(text: str, form: Mapping[str, str]) -> str:
    if not text:
        raise Unfit("error_empty")
    return f"{_line(form)} {text}"


def _verdict(text: str, form: Mapping[str, str]) -> str:
    return f"{text} {_line(form)}" if text == "too late" and form.get("line") else text


def _resolve(text: str, form: Mapping[str, str]) -> str:
    later = form.get("later", "")
    if later and not re.fullmatch(r"\d{1,3}[mhd]", later):
        raise Unfit("error_time")
    return f"{text} in {later}".strip() if later else text


def _block(text: str, form: Mapping[str, str]) -> str:
    days = form.get("days", "7")
    if not (days.isascii() and days.isdecimal() and 0 < int(days) <= 3650):
        raise Unfit("error_days")
    return f"{int(days)}d {text}".strip()


_TEXTS: dict[str, Any] = {
    "edit": _edit,
    "delete": lambda _text, form: _line(form),
    "resend": lambda _text, form: _line(form),
    "arrived": lambda _text, form: _line(form),
    "verdict": _verdict,
    "resolve": _resolve,
    "block": _block,
    "snooze": lambda text, form: form.get("until", "") or text,
}


def _span(text: str, now: float, offset: int | None) -> str:
    """Return a snooze as a span; a time of the reader's own clock needs their offset for that."""
    if not _SNOOZE.fullmatch(text):
        raise Unfit("error_time")
    if "T" not in text:
        return text
    try:
        until = datetime.fromisoformat(text).replace(tzinfo=UTC) - timedelta(minutes=offset or 0)
    except (ValueError, OverflowError) as error:
        raise Unfit("error_time") from error
    minutes = ceil((until.timestamp() - now) / 60)
    if minutes < 1:
        raise Unfit("error_past")
    return f"{minutes}m" if offset is not None else text
