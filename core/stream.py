"""What a person sees of a turn while it is at work: a sign of typing, then a text that grows.

The reply's row is open before its first word shows, so a human who takes over finds it and takes
back what was shown, and a crash finds it and goes on with the very same message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from core.columns import tabled
from core.errors import StoreBusy
from core.message import Place
from core.ports import Adapter, Clock, Probe, Sketch, no_probe
from core.store import Operation, Store
from core.store.outbox import Lane
from core.store.streams import Opened, behind, open_stream, remember, stands
from core.store.turns import Start

log = structlog.get_logger(__name__)

TYPING = 4.0  # seconds between typing signs
AT_ONCE = 0.25  # seconds; an answer that comes sooner needs no typing sign
AGAIN = 0.5  # seconds until what a busy database refused is tried again


@dataclass(kw_only=True)
class Stream:
    """One turn as its person watches it."""

    start: Start
    adapter: Adapter | None
    store: Store
    clock: Clock
    say: Callable[..., str]
    ring: Callable[[Sequence[Lane]], None]
    tell: Callable[[str], None]  # whoever follows along gets every new piece
    probe: Probe = no_probe
    shown: str = ""
    _opened: Opened | None = None
    _shows: bool = False  # the platform shows what is unfinished
    _soon: asyncio.TimerHandle | None = None
    _typing: asyncio.Task[None] | None = field(default=None)

    @asynccontextmanager
    async def thinking(self) -> AsyncIterator[None]:
        """Show that somebody is thinking, until the first text shows or the turn is over."""
        adapter, start = self.adapter, self.start
        if adapter is None or start.owner != "bot" or not start.addressed:
            yield
            return

        def begin() -> None:
            self._typing = asyncio.create_task(_keep_typing(adapter, start.key.place))

        self._soon = asyncio.get_running_loop().call_later(AT_ONCE, begin)  # most turns are over
        try:
            yield
        finally:
            await self._still()

    async def _still(self) -> None:
        """Type no more."""
        if self._soon is not None:
            self._soon.cancel()
        if self._typing is not None:
            self._typing.cancel()
            await asyncio.gather(self._typing, return_exceptions=True)

    async def show(self, text: str, *, live: bool) -> bool:
        """Show the guarded text so far; False: somebody else speaks by now, so nothing may be.

        `live`: the words of the phrase book, which are whole in an instant.
        """
        if not self.shown and not await self._open(text):
            return False
        self.tell(text[len(self.shown) :])
        self.shown = text
        opened, adapter = self._opened, self.adapter
        if opened is not None and adapter is not None and not live and await self._may_show(opened):
            await self._still()
            sketch = Sketch(
                draft=self.start.rows[0].id,
                text=tabled(text),
                nonce=opened.nonce,
                wanted=self._wanted,
                message_id=opened.message_id or None,
                reply_to=self._question() or None,
            )
            await adapter.preview(self.start.key.place, sketch, self._remember)
        self.probe("text shown")
        return True

    async def _open(self, text: str) -> bool:
        start, adapter = self.start, self.adapter
        self.probe("before stream row")
        self._shows = adapter is not None and adapter.previews(start.key.place)
        self._opened = await self.store.write(
            partial(
                open_stream,
                conversation_id=start.conversation_id,
                inbox_id=start.rows[0].id,
                standing=start.standing,
                now=self.clock(),
                shown=text if self._shows else "",
            )
        )
        self.probe("stream row opened")
        if self._opened is not None and self._opened.lost:
            self._shows = False  # a second message would stand beside the first for ever
        return self._opened is not None

    async def _may_show(self, opened: Opened) -> bool:
        """Say whether the platform may show it: never above what was said before."""
        if self._shows and opened.behind:
            person = self.start.conversation_id
            late = partial(behind, conversation_id=person, row_id=opened.id)
            self._opened = replace(opened, behind=await self.store.read(late))
            return not self._opened.behind
        return self._shows

    async def _wanted(self) -> bool:
        """Say whether the reply is still to be said, whatever happened since it began."""
        opened = self._opened
        try:
            return opened is not None and await self.store.read(partial(stands, opened=opened))
        except StoreBusy:  # nobody knows: what is unfinished need not be shown
            return False

    def _question(self) -> str:
        """Return the message that is answered, where a group must see which one that is."""
        return "" if self.start.private else self.start.rows[-1].message.message_id

    async def _remember(self, message_id: str) -> None:
        """Commit which message shows the reply, however long the database is busy.

        This may come after the turn is over: a platform answers when it likes.
        """
        opened = self._opened
        if opened is None:
            return
        self._opened = replace(opened, message_id=message_id)
        self.probe("before stream id commit")
        keep = partial(
            remember,
            opened=opened,
            conversation_id=self.start.conversation_id,
            message_id=message_id,
            say=self.say,
            now=self.clock(),
        )
        self.ring(await self._committed(keep))
        self.probe("after stream id commit")

    async def _committed(self, keep: Operation[tuple[Lane, ...]]) -> tuple[Lane, ...]:
        while True:
            try:
                return await self.store.write(keep)
            except StoreBusy as error:
                log.warning("the message of a reply is not stored yet", cause=str(error))
                await asyncio.sleep(AGAIN)


async def _keep_typing(adapter: Adapter, place: Place) -> None:
    while True:
        await adapter.typing(place)
        await asyncio.sleep(TYPING)
