"""The frames of the desk's live side: which case has changed, and who else looks at it.

They name cases by number and hold nothing of what was said; a page fetches the part that changed,
as whoever is logged in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from adapters.web.desk_view import presence_view
from adapters.web.presence import Presence
from adapters.web.stream import STILL_HERE, frame, heartbeat, merged
from core.ports import Desk, Event

_DRAWN = frozenset({"case", "line", "tag", "mood", "withdrawn", "done"})
_KEY = ("platform", "bot", "chat", "thread", "user")


class DeskEvents:
    """Turns what the boards tell into server-sent events for one open page."""

    def __init__(self, desk: Desk, *, presence: Presence, closing: asyncio.Event) -> None:
        self._desk = desk
        self._presence = presence
        self._closing = closing

    async def frames(self, number: int, me: str, words: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Tell the page of `me` what happens, and to case `number` (0: none) in particular."""
        case = await self._desk.case(number) if number else None
        shown = case["conversation"] if case else None
        async with (
            self._desk.board().listen() as told,
            self._presence.board.listen() as near,
        ):
            with self._presence.looks(number if case else 0, me):
                yield b"retry: 2000\n\n" + frame("listening", {})
                if case:
                    yield self._near(number, me, words)
                async for event in heartbeat(merged(told, near), self._closing):
                    if event is None:
                        yield STILL_HERE
                    elif event.key is not None or event.kind == "incident":
                        for one in _changes(event, number, shown, me):
                            yield one
                    elif event.kind == "case" and event.data.get("case") == number != 0:
                        yield self._near(number, me, words)  # only presence has no conversation

    def _near(self, number: int, me: str, words: Mapping[str, Any]) -> bytes:
        return frame("presence", presence_view(*self._presence.others(number, me), words))


def _changes(event: Event, number: int, shown: Mapping[str, str] | None, me: str) -> list[bytes]:
    """Return the frames of one event of the desk's own board."""
    frames = []
    if event.kind in ("case", "line", "incident"):
        of_case = event.data if event.kind == "case" else {}
        data = {"case": of_case.get("case", 0), "new": bool(of_case.get("new"))}
        frames.append(frame("queue", data))
        if me in of_case.get("alert", ()):
            frames.append(frame("alert", {"case": data["case"]}))
    here = shown is not None and all(getattr(event.key, x, None) == shown[x] for x in _KEY)
    if here and event.kind in _DRAWN:
        frames.append(frame("case", {"case": number}))
    return frames
