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

from core.message import (
    Arrival,
    ConversationKey,
    File,
    Media,
    Message,
    Place,
    Post,
    Receipt,
    TextLimit,
)

Clock = Callable[[], float]  # seconds: of the epoch, or of anything that only goes forward
Remember = Callable[[str], Awaitable[None]]
Wanted = Callable[[], Awaitable[bool]]  # may it still be shown? No longer once a human took over
Probe = Callable[[str], None]


def no_probe(_step: str) -> None:
    """Stand where a test may stop the process; in production nobody does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How an adapter is doing, for /readyz, doctor and the bar of the page."""

    state: Literal["off", "connecting", "ok", "failing"]
    name: str = ""  # the bot's own name on the platform
    problem: str = ""  # one plain sentence when failing


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """A reply while it is written: what may be shown of it so far."""

    draft: int  # names the reply: a later sketch takes the place of an earlier one
    text: str
    nonce: str  # of its outbox row
    wanted: Wanted  # asked before a call that had to wait
    message_id: str | None = None  # of the message that shows it, once there is one
    reply_to: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One of the gates that a message in a chat must pass until the bot answers there.

    `name` is that of a fixed text `gate_<name>` for staff, which says what is open or shut and,
    shut, where to click; `values` go into it.
    """

    name: str
    open: bool
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a button asks before it does anything: a form with one field for a text.

    `quoted`: the field begins with what the pressed post says below its first line.
    """

    title: str
    label: str
    quoted: bool = False


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

    async def fetch(self, media: Media) -> File:
        """Download a file that hangs on a message of this platform.

        Raises TooLarge, Refused (it is gone), RetryAfter, NotSent (try again later).
        """
        ...

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking; called every few seconds; failures are swallowed."""
        ...

    def previews(self, place: Place) -> bool:
        """Say whether `preview` shows anything there: what was shown must be taken back."""
        ...

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show the guarded part of a reply while it is written, where the platform can.

        Where that takes a real message, `await remember(message_id)` commits its id before
        anything else happens to it; later sketches bring it along, and `deliver` edits it. Best
        effort, never waits long, drops what comes too fast, raises nothing: the final text comes
        by `deliver` whatever became of the preview.
        """
        ...

    async def gates(self, place: Place) -> list[Gate]:
        """Ask the platform what lets messages of a chat through to us, first gate first.

        Empty for a direct chat. Raises DeliveryError when the platform does not tell.
        """
        ...

    def link(self, place: Place, message_id: str) -> str:
        """Return the address at which the platform shows a message; empty: there is none.

        Asks nobody and may be called from any thread.
        """
        ...

    def health(self) -> Health:
        """Say how the connection is."""
        ...


EventKind = Literal[
    "waiting", "tag", "token", "withdrawn", "line", "done", "case", "mood", "engine", "incident"
]
# waiting: for a model that is busy with `ahead` others
# case: data {"case", "new": bool, "alert": [names of staff who asked to be told]}


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


StaffVerb = Literal[
    "claim",
    "release",
    "steal",
    "assign",  # text: the name of a member of staff
    "reply",  # text goes to the person
    "note",
    "draft",  # write a suggestion, which only staff see
    "snooze",  # text: 1h, 4h, 1d, 30m, or 2026-11-21T09:00
    "wake",
    "resolve",  # text: a reason, and "in 2h" for a resolving that waits
    "reopen",
    "notneeded",
    "botback",
    "watch",
    "priority",  # text: 0..3
    "alert",  # toggles: tell me at this person's next message
    "anonymous",  # text: on, off; staff answer without their names
    "block",  # text: 7d and a reason; needs a confirm
    "unblock",
    "remark",  # text: a lasting note about the person, shown on every later card
    "verdict",  # text: right, not needed, too late (and the id of the line that was missed)
    "edit",  # text: "<line id> new text", an answer of staff's
    "delete",  # text: "<line id>"
    "send",  # held: posts that wait for a person who could not be reached
    "drop",
    "resend",  # text: the id of the line that did not arrive
    "arrived",  # the same: it did
    "saved",  # text: the name of a saved reply, which goes to the person
]


@dataclass(frozen=True, kw_only=True, slots=True)
class StaffMember:
    """Somebody who has logged in on the web."""

    name: str
    admin: bool
    csrf: str  # every form of theirs must bring it


class Desk(Protocol):
    """What the web pages may ask: views as plain JSON-ready dictionaries, and staff actions.

    A `line` is {"id", "role": user|bot|staff|note|marker, "text", "at", "name", "inbox", "was",
    "deleted", "tag": {...}|None, "decision": {...}|None, "model", "prompt_version",
    "files": [{"kind", "name", "size", "words"}],
    "mark": ""|queued|sent|edited|failed|held|uncertain, "problem": str,
    "thumbs": {"up": int, "down": int} of people on a reply}. A `case` is
    {"id", "state": queued|human|snoozed|watch|resolved, "owner", "version", "claimed_by", "who",
    "platform", "private", "lang", "rule", "why", "opened_at", "claimed_at", "first_reply_at",
    "resolved_at", "resolved_by", "snooze_until", "resolve_at", "priority", "verdict", "helped",
    "anonymous", "reachable", "opted_out",
    "held": int, "blocked_until",
    "trace": [...], "moved_by": [{"text", "probs", "intensity", "confidence", "strong"}],
    "said": [the bot's last two answers], "versions": {...}, "mood": float, "level",
    "mood_points": [{"at", "value"}], "draft": str, "draft_by": str,
    "earlier": [{"id", "opened_at", "rule", "resolved_by", "verdict"}],
    "remarks": [{"who", "text", "at"}], "elsewhere": [{"platform", "name", "case"}],
    "conversation": {"platform", "bot", "chat", "thread", "user"},
    "cause_message": the platform's id of the message that caused the case, empty: none is known,
    "cause_place": where it stands, as core.message.Place's fields, or None, "link": its address,
    "audit": [{"what", "who", "at"}], the last 20 things done, oldest first}.
    A row of the queue is {"id", "state", "who", "platform", "lang", "rule", "why", "priority",
    "mood", "level", "claimed_by", "opened_at", "waiting_since": float|None, "last_line",
    "last_role", "last_at", "unread": bool, "snooze_until", "reachable"}.
    """

    def ask(self, arrival: Arrival) -> AsyncIterator[Event]:
        """Take one web message in and follow it: `tag`, `token`*, then `done` (or StoreError)."""
        ...

    async def conversation(self, key: ConversationKey, limit: int = 200) -> dict[str, Any]:
        """Return {"owner", "lines", "mood": [{"at","value"}], "level", "case": {...}|None}."""
        ...

    async def queue(self, wanted: Mapping[str, str]) -> dict[str, Any]:
        """Return {"cases": [row], "counts": {state: n}}, most urgent first, at most 500 rows.

        `wanted` may name "state" (a state, `open` (the default) or `all`), "mine" (a member of
        staff), "platform", "lang", and "words" (which must stand in what was said).
        """
        ...

    async def case(self, case_id: int) -> dict[str, Any] | None:
        """Return one case with its `lines`, or None."""
        ...

    async def seen(self, case_id: int) -> None:
        """Note that staff have looked at a case: its row is no longer unread."""
        ...

    async def act(
        self,
        case_id: int,
        verb: StaffVerb,
        staff: str,
        *,
        text: str = "",
        confirm: bool = False,
        version: int | None = None,
    ) -> dict[str, Any]:
        """Do one staff action and return the case as it is now.

        With `version` the action is refused (StaleCard) when the case has moved on since. Raises
        DeskError, NeedsConfirm: ask again with `confirm`.
        """
        ...

    async def transcript(self, case_id: int) -> dict[str, Any] | None:
        """Return a case with all its lines, notes among them, for JSON or a page to print."""
        ...

    async def saved_replies(self) -> list[dict[str, str]]:
        """Return [{"name", "text"}] by name."""
        ...

    async def save_reply(self, name: str, text: str, staff: str) -> None:
        """Keep a saved reply; an empty text removes it. Raises DeskError for a name that fails."""
        ...

    async def pictures(
        self, since: float, until: float, wanted: Mapping[str, str], hour_offset: float
    ) -> dict[str, Any]:
        """Return the figures behind the charts; `wanted` as for `queue`; see core.store.figures.

        `hour_offset`: hours that the browser's clock is ahead of UTC.
        """
        ...

    async def sample(self, *, make: bool) -> None:
        """Fill an empty database's pictures with a marked sample, or take it away again."""
        ...

    async def incidents(self) -> list[dict[str, Any]]:
        """Return the running incidents.

        Each is {"id", "opened_at", "last_at", "users", "words", "places", "muted_until",
        "case_ids"}.
        """
        ...

    async def answer_all(self, incident_id: int, text: str, staff: str) -> int:
        """Send one staff text to everybody of an incident; return to how many."""
        ...

    async def mute(self, incident_id: int, seconds: float, staff: str) -> None:
        """Stop an incident's card from calling for attention for so long."""
        ...

    async def log_in(self, name: str, password: str, *, known: str = "") -> str | None:
        """Return a new session's secret; None: name or password is wrong. Slow on purpose.

        With the `known` of its own name a browser does not wait for the wrong tries of strangers.
        """
        ...

    async def recognise(self, name: str) -> str:
        """Return what a browser keeps in which `name` has logged in, for the next `log_in`."""
        ...

    async def member(self, secret: str, *, renew: bool = True) -> StaffMember | None:
        """Return whose session this is, None when it has ended; by default it lives on.

        A page that refreshes itself asks without renewing: nobody is there because of that.
        """
        ...

    async def log_out(self, secret: str, *, everywhere: bool = False) -> None:
        """End a session, or every session of the same member of staff."""
        ...

    async def staff(self) -> list[dict[str, Any]]:
        """Return [{"name", "admin", "added_at", "seen_at"}] by name."""
        ...

    def settings(self) -> list[dict[str, Any]]:
        """Return every setting; a secret's value is only whether there is one.

        Each is {"section", "key", "value", "source": default|file|environment|page, "secret",
        "live", "help"}; one that is `live` can be changed without a restart.
        """
        ...

    async def change_settings(self, changes: Mapping[str, str], staff: str) -> None:
        """Change settings that need no restart, by "section.key". Raises DeskError, SetupError."""
        ...

    async def preview(self, changes: Mapping[str, str]) -> dict[str, Any]:
        """Judge the last 500 messages by changed settings: {"now", "then": cases, "messages"}."""
        ...

    async def doctor(self) -> list[dict[str, str]]:
        """Return doctor's report: [{"state": ok|warn|fail, "name", "words"}]."""
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

    def troubles(self) -> list[dict[str, str]]:
        """Return what stands still at the moment: [{"words", "way_out"}]."""
        ...


def desk_message(message: Message, places: Sequence[Place]) -> bool:
    """Say whether a message was written in one of the desk's own chats."""
    place = message.key.place
    return any(
        (p.platform, p.bot, p.chat) == (place.platform, place.bot, place.chat) for p in places
    )
