"""The doors between the rooms, as small protocols.

`Door` is what an adapter may ask of core, `Adapter` what core may ask of an adapter, `Desk` what
the web pages may ask. `Board` is the live side of the same facts: it tells whoever listens what
has just been committed, and forgets it; the database is the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from core.message import Arrival, ConversationKey, Message, Place, Post, Receipt, TextLimit

Clock = Callable[[], float]
Remember = Callable[[str], Awaitable[None]]
Probe = Callable[[str], None]


def no_probe(_step: str) -> None:
    """Stand where a test may stop the process; in production nobody does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How an adapter is doing, for /readyz, doctor and the bar of the page."""

    state: Literal["off", "connecting", "ok", "failing"]
    name: str = ""  # the bot's own name on the platform
    problem: str = ""  # one plain sentence when failing


class Door(Protocol):
    """What an adapter may ask of core."""

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """Store every arrival in one transaction, then ring the lanes.

        Returns the inbox row of each arrival; None for a duplicate, poison or nothing of ours.
        Only after this returns may the platform be acknowledged. `cursor` (name, value) is
        written in the same transaction. Raises StoreError: nothing was stored.
        """
        ...

    async def read_cursor(self, name: str) -> str | None:
        """Return a value written with take_in (a polling offset, a last seen id), or None."""
        ...

    async def cursors(self, prefix: str) -> dict[str, str]:
        """Return every cursor whose name starts with `prefix`."""
        ...


class Adapter(Protocol):
    """What core may ask of an adapter."""

    platform: str
    bot: str
    limit: TextLimit

    async def check(self) -> None:
        """Ask the platform whether we may come in. Raises SetupError (mendable), DeliveryError."""
        ...

    async def run(self) -> None:
        """Serve until cancelled. Survives every fault of the platform; never returns early."""
        ...

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        """Send or edit one post. Raises DeliveryError of the kind that says what is safe next.

        `await remember(message_id)` commits the id of a placeholder before its final text is put
        in, so that a repeat edits that message.
        """
        ...

    def repeatable(self, post: Post) -> bool:
        """Say whether a post of unknown outcome may be delivered again without showing twice."""
        ...

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking; called every few seconds; failures are swallowed."""
        ...

    async def preview(self, place: Place, draft: int, text: str) -> None:
        """Show the guarded part of a reply while it is written, where the platform can.

        `draft` names the reply, so that a later call replaces an earlier one. Best effort: the
        final text comes by `deliver` whatever became of the preview.
        """
        ...

    def health(self) -> Health:
        """Say how the connection is."""
        ...


EventKind = Literal[
    "waiting", "tag", "token", "withdrawn", "line", "done", "case", "mood", "engine"
]  # waiting: for a model that is busy with `ahead` others


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that has just happened in one conversation (or, key None, in the engine)."""

    kind: EventKind
    key: ConversationKey | None
    data: Mapping[str, Any] = field(default_factory=dict)
    inbox: int | None = None  # the message it answers, where there is one


class Board:
    """Tells listeners of this process what has just happened. Slow listeners lose events.

    A listener that falls 1,000 events behind is cut off and must read the database again, so
    memory stays bounded and nobody waits for a sleeping browser.
    """

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()

    def tell(self, event: Event) -> None:
        """Hand `event` to every listener; never waits."""
        for queue in tuple(self._queues):
            if queue.full():
                self._queues.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Listen from now on; the iterator ends when this listener fell too far behind."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(maxsize=1000)
        self._queues.add(queue)

        async def events() -> AsyncIterator[Event]:
            while (event := await queue.get()) is not None:
                yield event

        try:
            yield events()
        finally:
            self._queues.discard(queue)


StaffVerb = Literal["claim", "release", "reply", "note", "resolve", "notneeded", "botback", "steal"]


class Desk(Protocol):
    """What the web pages may ask: views as plain JSON-ready dictionaries, and staff actions.

    A `line` is {"id", "role": user|bot|staff|note|marker, "text", "at", "name", "inbox",
    "tag": {...}|None, "decision": {...}|None, "model", "prompt_version"}. A `case` is
    {"id", "state": queued|human|watch|resolved, "owner", "version", "claimed_by", "who",
    "platform", "lang", "rule", "why", "opened_at", "trace": [...],
    "moved_by": [{"text", "probs", "intensity", "confidence", "strong"}],
    "versions": {...}, "mood": float, "level", "draft": str|None, "earlier": int}.
    """

    def ask(self, arrival: Arrival) -> AsyncIterator[Event]:
        """Take one web message in and follow it: `tag`, `token`*, then `done` (or StoreError)."""
        ...

    async def conversation(self, key: ConversationKey, limit: int = 200) -> dict[str, Any]:
        """Return {"owner", "lines", "mood": [{"at","value"}], "level", "case": {...}|None}."""
        ...

    async def cases(self, *, open_only: bool = True) -> list[dict[str, Any]]:
        """Return the cases, longest waiting first."""
        ...

    async def case(self, case_id: int) -> dict[str, Any] | None:
        """Return one case with its `lines`, or None."""
        ...

    async def act(
        self, case_id: int, verb: StaffVerb, staff: str, *, text: str = "", confirm: bool = False
    ) -> dict[str, Any]:
        """Do one staff action and return the case as it is now. Raises DeskError."""
        ...

    async def explain(self, inbox_id: int) -> dict[str, Any] | None:
        """Return the decision's trace and how the tag and reply of one message were made."""
        ...

    def board(self) -> Board:
        """Return the board that tells of every change."""
        ...

    def engine(self) -> dict[str, Any]:
        """Return {"name", "ready", "loading", "progress", "problem", "offer": str|None}."""
        ...

    async def fetch_model(self, name: str) -> None:
        """Start downloading and swapping in a model; progress comes as `engine` events."""
        ...

    def platforms(self) -> list[dict[str, str]]:
        """Return {"platform", "state", "name", "problem"} of each platform."""
        ...


def desk_message(message: Message, places: Sequence[Place]) -> bool:
    """Say whether a message was written in one of the desk's own chats."""
    place = message.key.place
    return any(
        (p.platform, p.bot, p.chat) == (place.platform, place.bot, place.chat) for p in places
    )
