"""Spans and moments as staff write them: 30m, 1d4h, 2小时, tomorrow 9:00, 2026-11-21T09:00.

A span is counted in real seconds, so "1d" is 24 hours also where the clocks change; a time of
day is one on the clocks of the desk's zone. Moments are seconds since the epoch, UTC.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo

from core.errors import DeskError
from core.texts import Texts

LONGEST = 366 * 86400.0  # seconds; a longer span is a slip of the hand
UNITS = {
    60: ("m", "min", "mins", "minute", "minutes", "分", "分钟"),
    3600: ("h", "hr", "hrs", "hour", "hours", "小时", "个小时", "钟头"),
    86400: ("d", "day", "days", "天", "日"),
    604800: ("w", "week", "weeks", "周", "星期", "个星期"),
}
_SECONDS = {name: seconds for seconds, names in UNITS.items() for name in names}
_NAMES = "|".join(sorted(map(re.escape, _SECONDS), key=len, reverse=True))
_PIECE = re.compile(rf"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>{_NAMES})(?![a-z])", re.IGNORECASE)
_SPAN = rf"(?:\d+(?:\.\d+)?\s*(?:{_NAMES})(?![a-z])\s*)+"
_DAY_TIME = re.compile(
    r"(?:(?P<day>today|tomorrow|今天|明天)\s*)?(?:at\s+)?(?P<hour>\d{1,2})[:：](?P<minute>\d{2})",
    re.IGNORECASE,
)
_ISO = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?"
_DELAY = re.compile(
    rf"(?:^|(?<=\s))(?:in\s+(?P<span>{_SPAN})|at\s+(?P<moment>{_ISO}))$"
    rf"|(?:^|\s*)(?P<later>{_SPAN})(?:后|以后|之后)$",
    re.IGNORECASE,
)
_EXAMPLE = "2026-11-21T09:00"
_WHEN = f"Write when, as in 30m, 4h, 1d, tomorrow 9:00 or {_EXAMPLE}."
_BLOCK = "Write how long and why, as in: 7d spam."


def until(text: str, now: float, zone: tzinfo) -> float:
    """Return the moment that `text` names, later than `now`.

    A bare number counts minutes; a time of day without a day is the next one on the clock; a
    date alone is its first minute. Raises DeskError: one sentence that says what to write.
    """
    words = text.strip()
    if re.fullmatch(r"\d+", words):
        words += "m"
    if re.fullmatch(_SPAN, words, re.IGNORECASE):
        return now + _span(words)
    moment = _moment(words, now, zone)
    if moment is None:
        raise DeskError(_WHEN, name="when_how", example=_EXAMPLE)
    if moment <= now:
        raise DeskError(
            f"{words} is past. Write a moment that is still to come.", name="when_past", text=words
        )
    if moment - now > LONGEST:
        raise DeskError("That is more than a year away. Write a nearer moment.", name="when_far")
    return moment


def split_delay(text: str, now: float, zone: tzinfo) -> tuple[str, float | None]:
    """Return the reason, and the moment a trailing "in 2h" names; None: at once.

    Also "at 2026-11-21T09:00" and "2小时后". Anything else at the end is part of the reason.
    """
    words = text.strip()
    match = _DELAY.search(words)
    if match is None:
        return words, None
    moment = match["span"] or match["moment"] or match["later"]
    return words[: match.start()].rstrip(" ,;，；"), until(moment, now, zone)


def block(text: str, now: float, zone: tzinfo) -> tuple[float, str]:
    """Return until when somebody is blocked, and why (may be empty). Raises DeskError."""
    words = text.strip()
    match = re.match(rf"(?:{_SPAN}|{_ISO}|\d+(?!\S))", words, re.IGNORECASE)
    if match is None:
        raise DeskError(_BLOCK, name="block_how")
    return until(match[0], now, zone), words[match.end() :].lstrip(" ,:;，：；")


def words(seconds: float, lang: str, texts: Texts) -> str:
    """Return a wait in short words, rounded down: "4 s", "12 min", "3 h", "2 d"."""
    whole = max(0, int(seconds))
    for size, most, name in ((1, 60, "s"), (60, 60, "min"), (3600, 48, "h")):
        if whole < size * most:
            return texts.say(f"wait_{name}", lang, n=whole // size)
    return texts.say("wait_d", lang, n=whole // 86400)


def _span(text: str) -> float:
    """Return the seconds of a span such as "1d 4h"."""
    seconds = sum(float(m["number"]) * _SECONDS[m["unit"].lower()] for m in _PIECE.finditer(text))
    if seconds <= 0:
        raise DeskError(_WHEN, name="when_how", example=_EXAMPLE)
    if seconds > LONGEST:
        raise DeskError("That is more than a year. Write a shorter time.", name="span_far")
    return seconds


def _moment(text: str, now: float, zone: tzinfo) -> float | None:
    """Return the moment of a date or a time of day in `zone`; None where it is neither."""
    try:
        if re.fullmatch(_ISO, text, re.IGNORECASE):
            return datetime.fromisoformat(text.upper()).replace(tzinfo=zone).timestamp()
        match = _DAY_TIME.fullmatch(text)
        if match is None:
            return None
        local = datetime.fromtimestamp(now, zone)
        at = local.replace(
            hour=int(match["hour"]), minute=int(match["minute"]), second=0, microsecond=0, fold=0
        )
    except (ValueError, OverflowError):
        return None
    day = (match["day"] or "").lower()
    later = day in {"tomorrow", "明天"} or (not day and at.timestamp() <= now)
    return (at + timedelta(days=1) if later else at).timestamp()
