"""When the desk is staffed: weekly ranges on one zone's clocks, and time that counts only then.

A range whose end is not after its start goes on into the next day. Where the clocks go forward, a
time that does not exist that day is read as so much later; where they go back, one that exists
twice is its first. Moments are seconds since the epoch, UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.errors import SetupError
from core.texts import Texts

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_RANGE = re.compile(r"(\d{1,2})[:.](\d{2})\s*[-–]\s*(\d{1,2})[:.](\d{2})")
_WORDS = re.compile(r"(?P<days>[a-z]+(?:\s*[-–]\s*[a-z]+)?)?\s*(?P<ranges>[-–\d:.\s]*)")


@dataclass(frozen=True, slots=True)
class Range:
    """One staffed stretch of a week: its day (Monday is 0), and minutes since that midnight."""

    day: int
    start: int
    end: int  # more than 1440 where it goes on into the next day


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """The staffed hours of a desk; without ranges somebody is always there."""

    ranges: tuple[Range, ...] = ()
    zone: ZoneInfo

    @classmethod
    def read(cls, text: str, zone: str) -> Hours:
        """Read hours such as "Mon-Fri 09:00-17:00, Sat 10:00-14:00" in an IANA zone.

        Several ranges may follow the same days; without days they count for the days before
        them, or for every day. Raises SetupError: one sentence that says what to write.
        """
        try:
            where = ZoneInfo(zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise SetupError(
                f'There is no time zone "{zone}"; write one such as Europe/Berlin or UTC.'
            ) from error
        ranges: list[Range] = []
        named: list[int] = []  # days whose hours are still to come, as in "Mon, Wed 09:00-17:00"
        last: list[int] = list(range(7))
        for piece in filter(None, (p.strip() for p in re.split("[,;]", text.lower()))):
            days, found = _piece(piece)
            named += days
            if found:
                last = named or last
                ranges += [Range(day, start, end) for day in last for start, end in found]
                named = []
        if named:
            raise SetupError(f"The hours end with days alone; {_HOW}")
        return cls(
            ranges=tuple(sorted(set(ranges), key=lambda r: (r.day, r.start, r.end))), zone=where
        )

    def is_open(self, at: float) -> bool:
        """Say whether somebody is there at this moment."""
        return not self.ranges or next(self._open(at))[0] <= at

    def next_opening(self, at: float) -> float | None:
        """Return when staff come back next after `at`; None where they are never away."""
        if not self.ranges:
            return None
        ended = at  # until when it is open without a gap
        for start, end in self._open(at):
            if start > ended:
                return start
            if end - at > 9 * 86400:  # a whole week without a gap
                return None
            ended = end
        return None  # pragma: no cover - the ranges go on for ever

    def after(self, at: float, seconds: float) -> float:
        """Return the moment when so many staffed seconds have passed since `at`."""
        if seconds <= 0:
            return at
        if not self.ranges:
            return at + seconds
        left = seconds
        for start, end in self._open(at):
            begin = max(start, at)
            if left <= end - begin:
                return begin + left
            left -= end - begin
        return at + seconds  # pragma: no cover - the ranges go on for ever

    def words(self, at: float, now: float, lang: str, texts: Texts) -> str:
        """Return a moment as people say it: "today at 14:00", "Monday at 09:00"."""
        moment = datetime.fromtimestamp(at, self.zone)
        ahead = (moment.date() - datetime.fromtimestamp(now, self.zone).date()).days
        clock = f"{moment:%H:%M}"
        if ahead == 0:
            return texts.say("on_today", lang, when=clock)
        if ahead == 1:
            return texts.say("on_tomorrow", lang, when=clock)
        if 1 < ahead < 7:
            return texts.say(f"on_{DAYS[moment.weekday()]}", lang, when=clock)
        return texts.say("on_date", lang, date=moment.date().isoformat(), when=clock)

    def _open(self, at: float) -> Iterator[tuple[float, float]]:
        """Yield the staffed stretches that end after `at`, in order; none overlaps another."""
        day = datetime.fromtimestamp(at, self.zone).date() - timedelta(days=1)
        covered = float("-inf")
        while True:
            for piece in self.ranges:
                if piece.day == day.weekday():
                    start = max(self._moment(day, piece.start), covered)
                    end = self._moment(day, piece.end)
                    if end > max(start, at):
                        yield start, end
                        covered = end
            day += timedelta(days=1)

    def _moment(self, day: date, minutes: int) -> float:
        days, rest = divmod(minutes, 1440)
        clock = time(rest // 60, rest % 60)
        return datetime.combine(day + timedelta(days=days), clock, self.zone).timestamp()


_HOW = 'write hours such as "Mon-Fri 09:00-17:00, Sat 10:00-14:00", or nothing for always.'


def _piece(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the days and the ranges of one part between commas."""
    match = _WORDS.fullmatch(text)
    ranges = match["ranges"] if match else ""
    if match is None or re.sub(r"\s", "", _RANGE.sub("", ranges)):
        raise SetupError(f'"{text}" are no hours; {_HOW}')
    return _days(match["days"] or "", text), [_minutes(m, text) for m in _RANGE.finditer(ranges)]


def _days(text: str, piece: str) -> list[int]:
    names = re.split(r"\s*[-–]\s*", text) if text else []
    found = [next((n for n, day in enumerate(DAYS) if _names(name, day)), -1) for name in names]
    if -1 in found:
        raise SetupError(f'"{piece}" names no day of the week; {_HOW}')
    if len(found) == 2:
        return [day % 7 for day in range(found[0], found[0] + (found[1] - found[0]) % 7 + 1)]
    return found


def _names(name: str, day: str) -> bool:
    return len(name) >= 2 and day.startswith(name)


def _minutes(found: re.Match[str], piece: str) -> tuple[int, int]:
    hour, minute, to_hour, to_minute = map(int, found.groups())
    start, end = hour * 60 + minute, to_hour * 60 + to_minute
    if max(minute, to_minute) > 59 or start >= 1440 or end > 1440 or start == end:
        raise SetupError(f'"{piece}" is no range of a day; {_HOW}')
    return start, end if end > start else end + 1440
