"""A stage: the person's and the staff's side of one platform, over the real way in.

A dialogue is told on a stage: somebody says something, and what they see there after it is read
back. Every stage runs a whole Heed of its own with the platform's real adapter. What a platform
truly has not is declared in `lacks` by its name with the reason, and nowhere else.
"""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from sqlalchemy import Connection, Table as Rows, func, select

from bot.app import App
from bot.settings import Settings
from core.engine.scripted import ScriptedEngine
from core.message import File
from core.store import privacy, receipts
from core.tables import case, conversation, history, inbox, outbox
from core.texts import Texts
from tests.core.ground import words_of
from tests.patience import PATIENCE, until
from tests.prepared import prepare
from tests.walk.house import settings_for

TEXTS = Texts.load()
PEOPLE = ("maya", "ben", "li")  # li's profile says that they read Chinese

CAPABILITIES: Mapping[str, str] = {
    "people": "several people can be here",
    "lines": "a message may have several lines",
    "buttons": "an answer may have buttons",
    "edit": "a message may be changed by who wrote it",
    "delete": "a message may be deleted by who wrote it",
    "react": "a message may be reacted to",
    "files": "pictures, files, stickers and voice may be sent",
    "language": "the platform tells which language somebody reads",
    "mentions": "a text may call somebody",
    "again": "the platform may deliver the same message twice",
    "backlog": "what was written while nobody was there is delivered later",
    "network": "there is a connection that may break on the way to a person",
    "later": "what is said after the answer reaches the person too",
    "unsaying": "what was said to a person may be taken back",
    "leaving": "a person may shut the bot out",
    "doubt": "a send of unknown outcome may be made again without showing twice",
}
COMMAND_OF: Mapping[str, str] = {  # a button's fixed text -> what does the same where none is
    "forget_yes": "/forget yes",
    "forget_no": "/forget no",
    "erase_stop": "/forget yes",
    "erase_finish": "/forget no",
    "human_button": "/human",
}


class Moment:
    """The clocks of a test: they run by themselves and can jump; the wall clock can stand still."""

    def __init__(self) -> None:
        self.ahead = 0.0  # seconds that the wall clock is ahead,
        self.passed = 0.0  # and those that the adapters believe to have passed
        self.stopped: float | None = None

    def __call__(self) -> float:
        """Return what time it is."""
        return time.time() + self.ahead if self.stopped is None else self.stopped

    def steady(self) -> float:
        """Return the time by which the adapters judge their connections."""
        return time.monotonic() + self.passed


def fixed(name: str, lang: str = "en", **values: object) -> str:
    """Return a fixed text as a person reads it."""
    return TEXTS.say(name, lang, **values).strip()


class Stage(ABC):
    """`async with Stage(folder) as stage`: a Heed lives, and people can write to it."""

    name: ClassVar[str]
    lacks: ClassVar[Mapping[str, str]] = {}  # capability -> why
    longest: ClassVar[int] = 100_000  # characters that a person can send at once
    app: App

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Moment()
        self.engine: ScriptedEngine | None = None
        self.killed = asyncio.Event()
        self._deadly = ""
        self._dying: set[asyncio.Task[Any]] = set()
        self._sections: dict[str, Any] = {}
        self._running: asyncio.Task[None] | None = None

    # -- a life ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        prepare(f"sqlite:///{self.folder / 'heed.db'}")
        await self._before()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._after()

    async def _before(self) -> None:  # noqa: B027 - not every platform is more than Heed itself
        """Put up the platform."""

    async def _after(self) -> None:  # noqa: B027
        """Take the platform down."""

    async def start(self, **sections: Any) -> None:
        """Start Heed on its database; `sections` replace those of its settings for good."""
        self._sections |= sections
        settings = settings_for(self.folder, **(self._own_sections() | self._sections))
        self.killed.clear()
        self.app = App(settings, probe=self._probe, clock=self.clock, steady=self.clock.steady)
        self._connect(self.app, settings)
        if self.engine is not None:
            await self.app.mind.swap(self.engine)
        self._running = asyncio.create_task(self.app.run())
        await until(self._up)

    async def stop(self) -> None:
        """End Heed, in good order as far as it still lives."""
        assert self._running is not None
        if not self.killed.is_set() and self._running.done():
            self._running.result()
        await self._hang_up()
        if self._dying:  # each tidies up by itself, unless it is cancelled a second time
            await asyncio.wait(self._dying, timeout=PATIENCE)
            self._dying.clear()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.app.close()
        await self._gone()

    async def restart(self, **sections: Any) -> None:
        """End Heed, and start it again on the same database."""
        await self.stop()
        await self.start(**sections)

    def kill_at(self, step: str) -> None:
        """Let everything end when Heed comes to a step of the walk."""
        self._deadly = step

    def _probe(self, step: str) -> None:
        if step == self._deadly:
            self._deadly = ""
            self.killed.set()
        if self.killed.is_set():  # whoever else walks on meanwhile comes no further either
            if (walker := asyncio.current_task()) is not None:
                self._dying.add(walker)
            raise asyncio.CancelledError

    async def speaks(self, engine: ScriptedEngine) -> ScriptedEngine:
        """Let a scripted mind hear and speak, after a restart too."""
        self.engine = engine
        await self.app.mind.swap(engine)
        return engine

    async def later(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self.clock.ahead += seconds
        await self.app.clockwork.tick()
        await self.app.waits.refresh()
        waiting = partial(receipts.open_lanes, now=self.clock(), quiet=0.0)
        for lane in await self.app.store.read(waiting):
            self.app.posts.ring(lane)

    async def mends(self) -> None:
        """Let minutes pass until whatever went wrong has been made up for."""
        async with asyncio.timeout(PATIENCE):
            while not await self._quiet():
                if not await self.rows(outbox, state="sending"):  # not while a send is under way
                    await self.later(60)
                await asyncio.sleep(0.01)
        await self.settle()

    # -- what each platform has of its own ---------------------------------------------------

    def _own_sections(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def _connect(self, app: App, settings: Settings) -> None:
        """Give the app the adapter of this platform."""

    @abstractmethod
    def _up(self) -> Any:
        """Say whether people are heard now."""

    async def _hang_up(self) -> None:  # noqa: B027 - some people go with Heed
        """Let the person go before Heed does."""

    async def _gone(self) -> None:  # noqa: B027 - some adapters leave nothing
        """Clear away what the adapter leaves."""

    @abstractmethod
    def user(self, person: str) -> str:
        """Return a person's id on the platform."""

    @abstractmethod
    async def write(self, person: str, text: str) -> None:
        """Do what a person does to send a text; nobody waits for anything."""

    @abstractmethod
    async def seen(self, person: str = "maya") -> list[str]:
        """Return what the other side said to a person, top to bottom, as it reads now."""

    async def code(self, person: str = "maya") -> list[str]:
        """Return the blocks of code among what a person sees."""
        whole = "\n".join(await self.seen(person))
        return re.findall(r"```(?:\w+\n|\n)?(.*?)\n?```", whole, re.DOTALL)

    async def command(self, person: str, name: str, argument: str = "") -> list[str]:
        """Use a command as it is used here; return what is new to see after it."""
        return await self.say(person, f"/{name} {argument}".strip())

    async def press(self, person: str, name: str, lang: str = "en") -> list[str]:
        """Press the newest button with this fixed text, or do what does the same here."""
        assert fixed(name, lang)
        return await self.say(person, COMMAND_OF[name])

    # -- people ------------------------------------------------------------------------------

    async def post(self, person: str, text: str) -> str:
        """Send a text; return its id once it is taken in. Nobody waits for an answer."""
        return await self.does(lambda: self.write(person, text))

    async def does(self, act: Callable[[], Awaitable[Any]]) -> str:
        """Let somebody do something; return the id of the message once it is taken in."""
        before = await self._newest()
        await act()
        await until(partial(self._since, before))
        [row, *_] = await self._since(before)
        return str(row.message_id)

    async def say(self, person: str, text: str) -> list[str]:
        """Send a text, and return what is new to see when all is quiet."""
        before = len(await self.seen(person))
        await self.post(person, text)
        await self.settle()
        return (await self.seen(person))[before:]

    async def forget(self, person: str = "maya") -> None:
        """Say the word that erases a person, and wait until they are erased."""
        await self.write(person, "/forget yes")
        await until(partial(self._erased, person))
        await self.settle()

    async def _erased(self, person: str) -> bool:
        return not [one for one in await self.said(person) if one[0] == "user"]

    async def _newest(self) -> int:
        def read(connection: Connection) -> int:
            return int(connection.execute(select(func.max(inbox.c.id))).scalar() or 0)

        return await self.app.store.read(read)

    async def _since(self, newest: int) -> list[Any]:
        return [row for row in await self.rows(inbox) if row.id > newest]

    async def settle(self) -> None:
        """Wait until everything that was taken in is dealt with and everything said is sent."""
        await until(self._quiet)
        async with asyncio.timeout(PATIENCE):
            await self.app.turns.idle()
            await self.app.posts.idle()

    async def _quiet(self) -> bool:
        def read(connection: Connection) -> int:
            posts = outbox.c.state.in_(["streaming", "queued", "sending"])
            to_do = (
                select(func.count()).where(inbox.c.state == "waiting"),
                select(func.count()).where(posts, outbox.c.staff_thread_id.is_(None)),
            )
            return sum(int(connection.execute(one).scalar_one()) for one in to_do)

        return not await self.app.store.read(read)

    # -- staff, at the desk that all platforms share -----------------------------------------

    async def act(self, verb: Any, text: str = "", person: str = "maya", **more: Any) -> None:
        """Let Sam do something with a person's newest case."""
        newest = (await self.cases(person))[-1]
        await self.app.room.act(newest.id, verb, "Sam", text=text, **more)

    async def cases(self, person: str = "maya") -> list[Any]:
        """Return a person's cases, oldest first."""
        own = {row.id for row in await self.conversations(person)}
        return [row for row in await self.rows(case) if row.conversation_id in own]

    async def desk(self, person: str = "maya") -> list[tuple[str, str]]:
        """Return the (role, text) lines that staff see beside a person's newest case."""
        newest = (await self.cases(person))[-1]
        found = await self.app.room.case(newest.id) or {}
        return [(line["role"], line["text"]) for line in found["lines"]]

    async def answer(self, text: str, person: str = "maya") -> int:
        """Let Sam answer somebody; return the number of the line."""
        await self.act("reply", text, person)
        await self.settle()
        return int((await self.history(person))[-1].id)

    # -- the database ------------------------------------------------------------------------

    async def rows(self, table: Rows, **where: Any) -> list[Any]:
        """Return the rows of a table whose columns have these values, oldest first."""

        def read(connection: Connection) -> list[Any]:
            query = select(table)
            for name, value in where.items():
                query = query.where(words_of(table.c[name]) == value)
            return list(connection.execute(query.order_by(table.c.id)).all())

        return await self.app.store.read(read)

    async def conversations(self, person: str) -> list[Any]:
        """Return the rows of a person's conversations."""
        return await self.rows(conversation, user=self.user(person))

    async def history(self, person: str = "maya") -> list[Any]:
        """Return the lines that are kept of a person's conversation, oldest first."""
        own = {row.id for row in await self.conversations(person)}
        return [row for row in await self.rows(history) if row.conversation_id in own]

    async def said(self, person: str = "maya") -> list[tuple[str, str]]:
        """Return (role, text) of the lines that are kept of a person."""
        return [(line.role, line.text) for line in await self.history(person)]

    async def export(self, person: str) -> list[dict[str, Any]]:
        """Return what the operator hands over to a person who asks what is kept."""
        return [
            await self.app.store.read(partial(privacy.export, conversation_id=row.id))
            for row in await self.conversations(person)
        ]

    async def repeat(self, person: str, text: str) -> None:
        """Do what a person does whose message met nobody: write it again, unless it is kept."""
        await self.write(person, text)

    # -- what only some platforms have -------------------------------------------------------
    # A stage has each of these exactly where it does not lack what `DONE_BY` names it for.

    edit: Callable[[str, str, str], Awaitable[None]]  # of a person a message, another text
    delete: Callable[[str, str], Awaitable[None]]
    react: Callable[[str, str], Awaitable[None]]  # to the newest answer, with an emoji
    send: Callable[..., Awaitable[None]]  # photo, file, voice, sticker, and perhaps a caption
    deliver_again: Callable[[str, str], Awaitable[None]]  # a message, by the platform
    called: Callable[[str], Awaitable[list[str]]]  # by the texts that a person sees
    leave: Callable[..., Awaitable[None]]  # shut the bot out; `back`: let it in again
    down: Callable[[], Awaitable[None]]  # nothing reaches people any more
    up: Callable[[], Awaitable[None]]
    stumble: Callable[[str], None]  # of a send: `429`, or `reset` once the platform did it


DONE_BY: Mapping[str, tuple[str, ...]] = {
    "edit": ("edit",),
    "delete": ("delete",),
    "react": ("react",),
    "files": ("send",),
    "again": ("deliver_again",),
    "mentions": ("called",),
    "leaving": ("leave",),
    "network": ("down", "up", "stumble"),
}
PICTURE = File(name="broken.png", kind="photo", content=b"\x89PNG\r\n\x1a\n" + b"\0" * 24)
