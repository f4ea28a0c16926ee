"""The smallest adapter: one person at a terminal. Read this one first.

Every adapter has two halves, and they never wait for each other.

In: `run` waits for the platform, makes one `Arrival` of whatever comes, and hands it to core with
`door.take_in`. Only when that has returned is the message on disk, and only then may the platform
be told so. A terminal has nobody to tell; Telegram and Discord have.

Out: core calls `deliver` with one post at a time. It returns a `Receipt`, or raises the
`DeliveryError` that says what is safe to do next. An adapter keeps no queue and repeats nothing:
the outbox does both, in the database, where a restart finds it again.

What an adapter never does: decide. Who owns the conversation, what is answered and when a human
is called is known in core alone.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import unicodedata
from typing import TextIO

from core.errors import NoThread, Refused, StoreError, Unreachable
from core.message import (
    Arrival,
    Author,
    ConversationKey,
    File,
    Media,
    Message,
    Place,
    Post,
    Receipt,
    TextLimit,
)
from core.ports import Clock, Door, Gate, Health, Remember, Sketch

_WHERE = ConversationKey(platform="terminal", bot="heed", chat="terminal", user="you")


class TerminalAdapter:
    """One line in is one message; one post out is one paragraph.

    `reader` is read in a thread of its own, because a terminal cannot be waited for in the event
    loop on every system. The thread is a daemon: a process that ends does not wait for a last line.
    """

    platform = _WHERE.platform
    bot = _WHERE.bot
    limit = TextLimit(size=100_000)

    def __init__(self, door: Door, clock: Clock, reader: TextIO, writer: TextIO) -> None:
        self._door = door
        self._clock = clock
        self._reader = reader
        self._writer = writer
        for stream in (reader, writer):  # a wrong byte is one wrong sign, and not the end of it all
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        self._last = 0
        self.ended = asyncio.Event()  # the person has closed the input; everything is taken in

    async def run(self) -> None:
        """Take in every line, then wait to be cancelled."""
        lines: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._read, args=(loop, lines), name="terminal", daemon=True
        ).start()
        while line := await lines.get():
            if line.strip():
                await self._take_in(line.strip())
        self.ended.set()
        await asyncio.Event().wait()

    def _read(self, loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
        """Hand over line after line; an empty string, which no line is, says that was all."""
        line = "\n"
        while line:
            try:
                line = self._reader.readline()
            except (OSError, ValueError):  # the terminal went away, or the reader was closed
                line = ""
            try:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            except RuntimeError:  # the loop has ended before the input did
                return

    async def _take_in(self, line: str) -> None:
        try:
            await self._door.take_in([self._arrival(line)])
        except StoreError:  # nothing was stored, so say so: the person still has the line
            self._print("(Heed could not keep that line. Please send it again.)")

    def _arrival(self, line: str) -> Arrival:
        """Normalize one line. Ids come from the clock, so a restart never uses one again."""
        now = self._clock()
        self._last = max(self._last + 1, int(now * 1_000_000))
        name, _, argument = line[1:].partition(" ")
        is_command = line.startswith("/") and name.isalpha()
        message = Message(
            key=_WHERE,
            message_id=str(self._last),
            author=Author(id=_WHERE.user),
            sent_at=now,
            kind="command" if is_command else "said",
            text=line,
            command=name.lower() if is_command else "",
            argument=argument.strip() if is_command else "",
            order=self._last,
        )
        return Arrival(
            platform=self.platform,
            bot=self.bot,
            source_id=message.message_id,
            raw=json.dumps({"line": line}, ensure_ascii=False),
            message=message,
        )

    async def check(self) -> None:
        """Nobody can refuse us here."""

    async def deliver(self, post: Post, remember: Remember) -> Receipt:  # noqa: ARG002
        """Print one post. Raises NoThread, or Unreachable once the terminal is gone."""
        if post.kind == "thread":
            raise NoThread("A terminal has no threads.")
        correction = post.kind == "edit" or post.message_id is not None
        self._print(f"(corrected) {post.text}" if correction else post.text)
        return Receipt(message_id=post.message_id or f"post-{post.id}")

    def _print(self, text: str) -> None:
        try:
            self._writer.write(f"heed> {_visible(text)}\n")
            self._writer.flush()
        except (OSError, ValueError) as err:
            raise Unreachable("The terminal is closed.") from err

    def repeatable(self, post: Post) -> bool:  # noqa: ARG002
        """Say no: what was printed stays printed, so a second time would show."""
        return False

    async def typing(self, place: Place) -> None:
        """Show nothing: the cursor waits by itself."""

    async def fetch(self, media: Media) -> File:
        """Refuse: nobody sends files here."""
        raise Refused(f"There is no file {media.name!r} here.")

    def previews(self, place: Place) -> bool:  # noqa: ARG002
        """Nothing unfinished is shown."""
        return False

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show nothing: what was printed cannot be taken back, and a draft may have to be."""

    async def gates(self, place: Place) -> list[Gate]:  # noqa: ARG002
        """Nothing stands between the keyboard and the bot."""
        return []

    def link(self, place: Place, message_id: str) -> str:  # noqa: ARG002
        """Nothing at a terminal has an address."""
        return ""

    def health(self) -> Health:
        """Say that the terminal is there, until its input has ended."""
        return Health(state="off" if self.ended.is_set() else "ok", name="terminal")


def _visible(text: str) -> str:
    """Replace what would steer the terminal instead of being read."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)
