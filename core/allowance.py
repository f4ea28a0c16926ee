"""How much the machine answers: to one person, in one group, to everybody, in a minute and a day.

What is over is heard and kept like anything else, and may bring a person; it is only not answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Literal

MINUTE = 60.0
HOUR = 3600.0

Over = Literal["", "busy", "enough_today"]  # names of fixed texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Answers that were given before this one."""

    user_minute: int = 0
    user_day: int = 0
    chat_minute: int = 0  # in this group, to all of its people; 0 in a direct chat
    day: int = 0  # to everybody; 0 where nobody asks


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """The operator's limits; of a day, 0 is none. A day begins at midnight in `zone`."""

    per_user_minute: int = 60
    per_chat_minute: int = 60
    per_user_day: int = 500
    per_day: int = 0
    zone: tzinfo = UTC

    def began(self, now: float) -> float:
        """Return when the day of `now` began."""
        return self._midnight(now, 0)

    def hours_left(self, now: float) -> int:
        """Return in how many hours the next day begins, at least 1."""
        return max(1, math.ceil((self._midnight(now, 1) - now) / HOUR))

    def over(self, spent: Spent) -> Over:
        """Say which text is due where no more is to be answered; empty: go on."""
        for most, given in ((self.per_user_day, spent.user_day), (self.per_day, spent.day)):
            if most and given >= most:
                return "enough_today"
        minute = spent.user_minute >= self.per_user_minute or self.crowded(spent)
        return "busy" if minute else ""

    def crowded(self, spent: Spent) -> bool:
        """Say whether a group has had its answers of a minute."""
        return spent.chat_minute >= self.per_chat_minute

    def _midnight(self, now: float, days: int) -> float:
        day = datetime.fromtimestamp(now, self.zone).date() + timedelta(days=days)
        return datetime.combine(day, time(), self.zone).timestamp()
