"""Who of the staff looks at which case just now, and who is writing: known to this process only.

Nothing here decides anything; it spares two people the same answer. A browser that goes away takes
its member along, because looking lasts as long as the stream of events that tells it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from core.ports import Board, Clock, Event

_WRITING = 6.0  # seconds that one sign of writing counts


class Presence:
    """Tells the staff of each other, by case. `board` hears {"case"} at every change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looking: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._writing: dict[tuple[int, str], float] = {}
        self.board = Board()

    @contextmanager
    def looks(self, case: int, name: str) -> Iterator[None]:
        """Count `name` as looking at `case` for as long as the block runs; 0 is no case."""
        if not case:
            yield
            return
        self._looking[case][name] += 1
        self._tell(case)
        try:
            yield
        finally:
            self._looking[case] -= Counter({name: 1})
            if not self._looking[case]:
                del self._looking[case]
            self._writing.pop((case, name), None)
            self._tell(case)

    def writes(self, case: int, name: str) -> None:
        """Hear that `name` is typing an answer to `case`."""
        if name in self._looking.get(case, ()):
            self._writing[case, name] = self._clock() + _WRITING
            self._tell(case)

    def rests(self, case: int, name: str) -> None:
        """Hear that what `name` was writing is sent or thrown away."""
        if self._writing.pop((case, name), None) is not None:
            self._tell(case)

    def others(self, case: int, name: str) -> tuple[list[str], list[str]]:
        """Return who but `name` looks at the case, and who of them is writing."""
        looking = sorted(set(self._looking.get(case, ())) - {name})
        now = self._clock()
        return looking, [one for one in looking if self._writing.get((case, one), 0) > now]

    def _tell(self, case: int) -> None:
        self.board.tell(Event(kind="case", key=None, data={"case": case}))
