"""A whole Heed between two platforms: the real adapters against the two fakes, told like a story.

`heed_on(folder, staff=...)` starts one. People write through the fakes; what came of it is read
where they would see it, or in the database.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Table, select

from adapters.telegram import pace
from bot.app import App
from bot.engines import make_phrases
from bot.room import Room
from bot.settings import Desk, Discord, Settings, Telegram
from core.engine.embedded.phrasebook import PhraseWriter
from core.message import ConversationKey
from core.store import receipts
from core.tables import case, decision, history, inbox, metadata
from tests.core.ground import words_of
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import Interaction
from tests.fakes.telegram import TelegramFake
from tests.fakes.telegram_people import Seen
from tests.patience import PATIENCE, until
from tests.prepared import prepare
from tests.walk.house import House, settings_for

MAYA, BEN, LI, ANA, BOB = 11, 12, 13, 21, 22  # three people who need help, two who give it
NAMES = {MAYA: "Maya", BEN: "Ben", LI: "Li", ANA: "Ana", BOB: "Bob"}
GROUP, DESK = -1001, -2002

KIND = "thanks, that fixed it, you are great!"
FURY = (
    "unbelievable, you charged me twice AGAIN and nobody answers, "
    "I am furious, this is the worst service ever"
)
CRISIS = "I want to kill myself"

OPEN = "Thank you for telling me. I have told our team that you need a person."
REOPENED = "I have told the team that you wrote again."
BACK_TO_BOT = "You are back with the bot."
RESOLVED = "This is settled from our side."
GROUP_NOTICE = "A moderator has been told"
CRISIS_TEXT = "I am only a program, and what you wrote"
ERASED = "(erased at the user's request)"

Staff = Literal["web", "telegram", "discord"]


MENUS: dict[tuple[str, str], list[dict[str, str]]] = {}  # what a Heed offered here before


class Town(TelegramFake):
    """Telegram, with people who keep their name and language whatever they do."""

    languages: Mapping[int, str] = {LI: "zh-hans"}

    def _user(self, user: int, language_code: str = "en", name: str = "") -> dict[str, Any]:
        spoken = self.languages.get(user, language_code)
        return super()._user(user, spoken, name or NAMES.get(user, ""))


class Moment:
    """The clocks of a whole test: they run by themselves, and can jump."""

    def __init__(self) -> None:
        self.ahead = 0.0  # seconds that the wall clock is ahead,
        self.passed = 0.0  # and those that the adapters believe to have passed

    def __call__(self) -> float:
        """Return what time it is."""
        return time.time() + self.ahead

    def lapse(self, seconds: float) -> None:
        """Let so many seconds pass at once by every clock."""
        self.ahead += seconds
        self.passed += seconds

    def steady(self) -> float:
        """Return the time by which the adapters judge their connections."""
        return time.monotonic() + self.passed


class Heed:
    """A running Heed, the two platforms around it, its clock, and its database."""

    app: App
    room: Room

    def __init__(
        self, life: AsyncExitStack, telegram: Town, discord: DiscordFake, clock: Moment
    ) -> None:
        self.telegram, self.discord = telegram, discord
        self.clock = clock
        self._life = life

    async def restart(self, **sections: Any) -> None:
        """End this Heed, and start it anew on the same database between the same platforms.

        `sections` replace those of its settings.
        """
        await self._life.aclose()
        await self._start(self.app.settings.model_copy(update=sections))

    async def _start(self, settings: Settings) -> None:
        house = await self._life.enter_async_context(_connected(settings, self.clock))
        self.app, self.room, self._idle = house.app, house.room, house.idle
        await until(partial(_up, self))

    async def later(self, seconds: float) -> None:
        """Let so many seconds pass at once by the wall clock, for Heed and for both platforms."""
        self.clock.ahead += seconds
        await self.app.clockwork.tick()
        await self.app.waits.refresh()
        waiting = partial(receipts.open_lanes, now=self.clock(), quiet=0.0)
        for lane in await self.app.store.read(waiting):
            self.app.posts.ring(lane)
        await self.quiet()

    # -- the database ------------------------------------------------------------------------

    async def rows(self, table: Table, **where: Any) -> list[Any]:
        """Return the rows of a table whose columns have these values, oldest first."""

        def read(connection: Connection) -> list[Any]:
            query = select(table)
            for name, value in where.items():
                query = query.where(words_of(table.c[name]) == value)
            order = table.c.id if "id" in table.c else next(iter(table.c))
            return list(connection.execute(query.order_by(order)).all())

        return await self.app.store.read(read)

    async def settled(self, message_id: object = "", **where: object) -> Any:
        """Wait until a message (or the newest event of a kind) is dealt with and all is quiet."""
        wanted = {name: str(value) for name, value in where.items()}
        wanted |= {"message_id": str(message_id)} if message_id else {}
        async with asyncio.timeout(PATIENCE):
            while not (found := await self._done(wanted)):  # noqa: ASYNC110 - nor does the store
                await asyncio.sleep(0.01)
        await self._idle()
        return found[-1]

    async def _done(self, wanted: Mapping[str, str]) -> list[Any]:
        rows = await self.rows(inbox, **wanted)
        return rows if rows and all(row.state == "done" for row in rows) else []

    async def quiet(self) -> None:
        """Wait until nobody works any more; what a platform still holds is not waited for."""
        await asyncio.sleep(0.02)
        await self._idle()

    async def said(self, user: object) -> list[tuple[str, str]]:
        """Return the (role, text) lines of a person's conversations, oldest first."""
        found = await self.rows(metadata.tables["conversation"], user=str(user))
        lines = [await self.rows(history, conversation_id=one.id) for one in found]
        return [(line.role, line.text) for line in itertools.chain(*lines)]

    async def scores(self, text: str) -> Mapping[str, Any]:
        """Return the tag that the history holds of a text that somebody wrote."""
        [line] = [one for one in await self.rows(history, role="user") if one.text == text]
        assert line.scores, text
        return line.scores

    async def the_case(self) -> Any:
        """Return the only case there is."""
        [one] = await self.rows(case)
        return one

    async def trace(self) -> list[Any]:
        """Return every decision, oldest first."""
        return await self.rows(decision)

    async def contains(self, word: str) -> list[str]:
        """Return the tables in which a word can still be read."""
        found = []
        for table in metadata.sorted_tables:
            rows = await self.rows(table)
            if any(word.lower() in str(tuple(row)).lower() for row in rows):
                found.append(table.name)
        return found

    # -- Telegram ----------------------------------------------------------------------------

    async def says(self, user: int, text: str, **more: Any) -> int:
        """Let somebody write on Telegram, in their own chat unless `chat` says where."""
        chat = more.pop("chat", user)
        written = self.telegram.say(chat, user, text, **more)
        await self.settled(written, chat=chat)
        return written

    async def opened(self, user: int = MAYA) -> int:
        """Let somebody be furious; return the topic of the case that it made."""
        before = {*self.telegram.chats[DESK].topics}
        await self.says(user, FURY)
        [thread] = {*self.telegram.chats[DESK].topics} - before
        return thread

    async def staff(self, text: str, user: int = ANA, **more: Any) -> int:
        """Let staff write in the desk's only topic, unless `thread` says in which."""
        thread = more.pop("thread") if "thread" in more else self.topic()
        return await self.says(user, text, chat=DESK, thread=thread, **more)

    def read(self, chat: int, thread: int | None = None) -> list[str]:
        """Return what the bot wrote on Telegram, as it reads now."""
        return self.telegram.texts(chat, thread)

    def topic(self) -> int:
        """Return the desk's only topic."""
        [thread] = self.telegram.chats[DESK].topics
        return thread

    def card(self, title: str = "Case ") -> Seen:
        """Return a case's card in the Telegram desk, as it reads now."""
        seen = self.telegram.seen(DESK)
        found = [line for line in seen if line.who == "bot" and line.text.startswith(title)]
        assert found, [line.text for line in seen]
        return found[0]

    def shown(self, words: str, chat: int = DESK, thread: int | None = None) -> Seen:
        """Return the newest post of the bot on Telegram with these words in it."""
        own = [line for line in self.telegram.seen(chat, thread) if line.who == "bot"]
        found = [line for line in own if words in line.text]
        assert found, [line.text for line in own]
        return found[-1]

    async def press(
        self, label: str, user: int = ANA, *, on: Seen | str | None = None, chat: int = 0
    ) -> str:
        """Let somebody press a button by its words; return what the platform showed them.

        Staff press on the card, unless `on` is another post, or words that stand in one (of the
        desk, unless `chat` says where).
        """
        shown = self.shown(on, chat or DESK) if isinstance(on, str) else on or self.card()
        assert label in dict(shown.buttons), (shown.text, shown.buttons)
        data = dict(shown.buttons)[label]
        chat = chat or next(c for c, one in self.telegram.chats.items() if _holds(one, shown))
        callback = self.telegram.press(chat, shown.message_id, data, user)
        await until(lambda: self.telegram.callbacks[callback] is not None)
        await self.quiet()
        return self.telegram.callbacks[callback] or ""

    def marks(self, message_id: int, chat: int = DESK) -> tuple[str, ...]:
        """Return the emojis under a message on Telegram, the bot's first."""
        return next(s.reactions for s in self.telegram.seen(chat) if s.message_id == message_id)

    def state_of(self, topic: int | None = None) -> dict[str, Any]:
        """Return a topic of the desk: its `name`, its `icon` (an emoji), whether it is `closed`."""
        return dict(self.telegram.chats[DESK].topics[self.topic() if topic is None else topic])

    def pictures(self, chat: int = DESK, thread: int | None = None) -> list[Seen]:
        """Return the pictures that the bot sent there on Telegram, as they are now."""
        lines = self.telegram.seen(chat, thread)
        return [line for line in lines if line.who == "bot" and line.kind == "photo"]

    # -- Discord -----------------------------------------------------------------------------

    async def writes(self, user: str, text: str, **more: Any) -> str:
        """Let somebody write on Discord, directly unless `channel` says where."""
        written = self.discord.say(user, text, **more)
        await self.settled(written)
        return written

    async def slash(
        self, user: str, name: str, *, channel: str | None = None, **o: str
    ) -> Interaction:
        """Let somebody use a slash command; it has been acknowledged and carried out after."""
        return await self._done_with(self.discord.slash(user, name, channel=channel, **o))

    async def _done_with(self, used: Interaction) -> Interaction:
        async with asyncio.timeout(PATIENCE):
            await used.answered.wait()
        await self.quiet()
        return used

    def heard(self, channel: str) -> list[str]:
        """Return what the bot wrote on Discord, as it reads now."""
        return [text for who, text in self.discord.transcript(channel) if who == "Heed"]

    def thread(self) -> str:
        """Return the id of the only thread of the Discord desk."""
        [thread] = self.discord.threads(self.discord.desk)
        return str(thread["id"])

    def post(self, channel: str, start: str) -> dict[str, Any]:
        """Return a message of a channel by how it begins."""
        seen = self.discord.messages(channel)
        found = [one for one in seen if one["content"].startswith(start)]
        assert found, [one["content"] for one in seen]
        return found[0]

    async def click(self, user: str, channel: str, label: str, *, on: str = "Case ") -> Interaction:
        """Let somebody press a button by its words, under the post that begins with `on`.

        What they were shown alone counts too, and goes before what everybody sees.
        """
        seen = [*self.discord.messages(channel), *self.discord.whispered(user)]
        meant = [one for one in seen if one["content"].startswith(on)]
        found = [one for one in meant if label in buttons(one)]
        assert found, [(one["content"], list(buttons(one))) for one in meant or seen]
        message = found[-1]
        data = buttons(message)[label]
        return await self._done_with(self.discord.press(user, channel, message["id"], data))

    async def fill(self, pressed: Interaction, text: str) -> Interaction:
        """Let somebody fill in the form that a press was answered with, and send it."""
        return await self._done_with(self.discord.submit(pressed, text))

    def whispers(self, user: str) -> list[str]:
        """Return what the bot showed to one person of Discord alone, oldest first."""
        return self.discord.whispers(user)

    def reactions(self, message_id: str) -> set[str]:
        """Return the emojis under a message on Discord."""
        return {*self.discord.reactions(message_id)}

    def thread_state(self, thread: str = "") -> dict[str, Any]:
        """Return a thread of the desk: its `name`, whether it is `archived`, and `locked`."""
        wanted = thread or self.thread()
        one = next(t for t in self.discord.threads(self.discord.desk) if t["id"] == wanted)
        meta = one["thread_metadata"]
        return {"name": one["name"], "archived": meta["archived"], "locked": meta["locked"]}

    def images(self, channel: str) -> list[bytes]:
        """Return what hangs on the bot's posts of a channel of Discord, as it is now."""
        own = [m for m in self.discord.messages(channel) if m["author"]["username"] == "Heed"]
        return [self.discord.file(m, n) for m in own for n in range(len(m["attachments"]))]


def _holds(chat: Any, line: Seen) -> bool:
    found = chat.messages.get(line.message_id, {})
    return found.get("text", found.get("caption", "")) == line.text


def buttons(message: Mapping[str, Any]) -> dict[str, str]:
    """Return label -> data of the buttons under a Discord message."""
    rows = message["components"]
    return {one["label"]: one["custom_id"] for row in rows for one in row["components"]}


def key_of(user: int, chat: int | None = None) -> ConversationKey:
    """Return the key of a Telegram person's conversation."""
    return ConversationKey(platform="telegram", bot="4242", chat=str(chat or user), user=str(user))


@asynccontextmanager
async def heed_on(
    folder: Path,
    *,
    staff: Staff = "web",
    on: tuple[str, ...] = ("telegram",),
    forum: bool = True,
    reads_all: bool = False,
    **sections: Any,
) -> AsyncIterator[Heed]:
    """Start a Heed on the platforms `on` (and that of its staff), and both fakes.

    `desk`, `telegram` and `discord` may be dictionaries of further settings of these sections.
    """
    async with AsyncExitStack() as stack:
        clock = Moment()
        telegram = await stack.enter_async_context(Town(clock=clock))
        discord = await stack.enter_async_context(
            DiscordFake(content_intent=reads_all, clock=clock)
        )
        telegram.group(DESK, title="Desk", forum=forum)
        telegram.commands = MENUS
        settings = _settings(folder, telegram, discord, staff, {*on, staff}, sections)
        life = await stack.enter_async_context(AsyncExitStack())
        heed = Heed(life, telegram, discord, clock)
        await heed._start(settings)
        stack.push_async_callback(heed.quiet)
        yield heed


def _settings(
    folder: Path,
    telegram: Town,
    discord: DiscordFake,
    staff: str,
    platforms: set[str],
    sections: dict[str, Any],
) -> Settings:
    if "telegram" in platforms:
        more = sections.pop("telegram", {})
        sections["telegram"] = Telegram(
            token=telegram.token, api_base=telegram.api_base, file_base=telegram.file_base, **more
        )
    if "discord" in platforms:
        more = sections.pop("discord", {})
        sections["discord"] = Discord(
            token=discord.token, api_base=discord.api_base, gateway_url=discord.gateway_url, **more
        )
    homes = {"telegram": f"telegram:{DESK}", "discord": f"discord:{discord.desk}"}
    own = {"staff": homes.get(staff, "web")} | sections.pop("desk", {})
    return settings_for(folder, desk=Desk(**own), **sections)


@asynccontextmanager
async def _connected(settings: Settings, clock: Moment) -> AsyncIterator[House]:
    """Start a Heed as `heed run` does it, without the page."""
    prepare(settings.database.url)
    app = App(settings, clock=clock, steady=clock.steady)
    app.connect()
    running = asyncio.create_task(app.run())
    try:
        yield House(app)
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await app.close()


def _up(heed: Heed) -> bool:
    adapters = heed.app.adapters.values()
    named = heed.telegram.called("getUpdates") or "telegram" not in {a.platform for a in adapters}
    return bool(named) and all(
        one.health().state == "ok" for one in adapters if one.platform == "discord"
    )


def hurry(monkeypatch: Any) -> None:
    """Let pace and patience be those of a test, and read the phrase book once for all tests."""
    monkeypatch.setattr(pace, "GROUP", 0.002)
    monkeypatch.setattr(pace, "PRIVATE", 0.002)
    monkeypatch.setattr(pace, "OVERALL", 0.001)
    monkeypatch.setattr("core.store.places.REDRAW", 0.02)
    monkeypatch.setattr("core.store.outbox.ALBUM", 0.2)
    monkeypatch.setattr("bot.app.make_phrases", lambda _settings: phrases())


@cache
def phrases() -> PhraseWriter:
    """Return the shipped phrase book, read once: it holds nothing between turns."""
    return make_phrases(Settings())


def words(count: int) -> str:
    """Return so many different short sentences."""
    return " ".join(f"This is step number {n} of what to do." for n in range(count))


def unsigned(text: str) -> str:
    """Return an answer of staff without the line that says whose it is."""
    first, _, rest = text.partition("\n")
    return rest if first.endswith("· Support") or first == "Support" else text


def ago(minutes: float) -> int:
    """Return a moment of the past as Telegram writes it."""
    return int(time.time() - 60 * minutes)


def plain(text: str) -> str:
    """Return a text on one line."""
    return re.sub(r"\s+", " ", text)
