"""What went wrong, counted: the log's warnings and errors by their kind, for whoever asks."""

from __future__ import annotations

import logging
from collections import Counter

MOST_KINDS = 200  # of log lines that are told apart


class Faults(logging.Handler):
    """Counts what the log says at level warning and above, by its kind and never by its words."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.counted: Counter[tuple[str, str]] = Counter()  # (level, kind)
        self.last: dict[tuple[str, str], float] = {}  # when, the last time

    def emit(self, record: logging.LogRecord) -> None:  # type: ignore[explicit-override]
        """Count one line."""
        said = record.msg.get("event", "") if isinstance(record.msg, dict) else record.msg
        first = str(said).partition("\n")[0]  # what follows tells of one occasion
        kind = f"{record.name}: {first}"[:120]
        if record.exc_info and record.exc_info[0] is not None:
            kind = f"{kind} ({record.exc_info[0].__name__})"
        key = (record.levelname.lower(), kind)
        if key in self.counted or len(self.counted) < MOST_KINDS:
            self.counted[key] += 1
            self.last[key] = record.created


FAULTS = Faults()  # those of this process: its log is one
