"""A whole Heed on a medium that can be broken: two bots on Telegram (one polls, one is pushed to),
Discord, and callers of POST /chat.

Everybody writes words with a number, and asks until they are answered. `wrong` compares what was
acknowledged, what lies on the disk, and who was answered how often.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from bot import database
from bot.app import App
from bot.program import _web
from bot.settings import Discord, Http, Settings, Telegram
from tests.fakes.discord import DiscordFake
from tests.fakes.telegram import TelegramFake
from tests.fakes.telegram_flood import Pusher
from tests.patience import PATIENCE
from tests.storage.medium import integrity, rows
from tests.walk.house import settings_for
from tests.walk.program import free_port

SHOP = "5555:shop"
MAYA, BEN = 11, 12
DOORS = (
    ("one", "telegram", "4242"),
    ("shop", "telegram", "5555"),
    ("discord", "discord", ""),
)


class Site:
    """The running Heed and everybody around it."""

    app: App
    running: asyncio.Task[None]

    def __init__(
        self, folder: Path, one: TelegramFake, shop: TelegramFake, discord: DiscordFake
    ) -> None:
        self.file = folder / "heed.db"
        self.one, self.shop, self.discord = one, shop, discord
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._numbers = itertools.count(1)
        self._posts: list[asyncio.Task[None]] = []
        self.statuses: Counter[int] = Counter()
        self.expected: dict[str, set[int]] = {"one": set(), "shop": set(), "discord": set()}
        self.chat: dict[int, str | None] = {}

    # -- people ------------------------------------------------------------------------------

    def everybody_writes(self, *, discord: bool = True) -> None:
        """Let one message come in at each door.

        Discord shows a bot no direct channel that was opened before the bot's first session.
        """
        n = next(self._numbers)
        self.one.say(MAYA, MAYA, f"hello number {n}")
        self.shop.say(BEN, BEN, f"hello number {n}")
        if discord:
            self.discord.say("ann", f"hello number {n}")
            self.expected["discord"].add(n)
        for which in ("one", "shop"):
            self.expected[which].add(n)
        self._posts.append(asyncio.create_task(self._post(n)))

    async def _post(self, n: int) -> None:
        """Ask POST /chat until it answers: whoever reads 503 knows that nothing was kept."""
        body = {"text": f"hello number {n}", "user": f"w{n}"}
        async with aiohttp.ClientSession() as http:
            while n not in self.chat:
                with suppress(aiohttp.ClientConnectorError):  # it does not listen yet
                    async with http.post(f"{self.url}/chat", json=body) as answer:
                        self.statuses[answer.status] += 1
                        if answer.status == 200:
                            self.chat[n] = (await answer.json())["response"]
                await asyncio.sleep(0.1)

    async def ready(self) -> bool:
        if self.running.done():
            self.running.result()
        readyz = f"{self.url}/readyz"
        async with aiohttp.ClientSession() as http, http.get(readyz) as answer:
            return answer.status == 200

    async def listens(self) -> bool:
        """Say whether Heed hears everybody: the page, and Discord's first session."""
        try:
            states = [one.health().state for one in self.app.adapters.values()]
            return await self.ready() and set(states) <= {"ok", "off"}
        except aiohttp.ClientConnectorError:
            return False

    async def unready(self) -> bool:
        """Wait until Heed says that it is not ready; False: it does not say so."""
        for _ in range(150):
            if not await self.ready():
                return True
            await asyncio.sleep(0.1)
        return False

    # -- what is so --------------------------------------------------------------------------

    def on_disk(self) -> Counter[tuple[str, str, int]]:
        """Count (platform, bot, number) of every message on the disk, as others read the file."""
        found = rows(self.file, "SELECT platform, bot, raw, message FROM inbox")
        each = [
            (platform, bot, re.search(r"hello number (\d+)", f"{raw}{message}"))
            for platform, bot, raw, message in found
        ]
        return Counter(
            (platform, bot if platform == "telegram" else "", int(match[1]))
            for platform, bot, match in each
            if match
        )

    def unkept(self) -> Iterator[str]:
        """Yield what a platform was told is kept, and is not on the disk."""
        disk = self.on_disk()
        for which, fake, bot in (("one", self.one, "4242"), ("shop", self.shop, "5555")):
            still = re.findall(r"hello number (\d+)", json.dumps(fake.updates))
            for n in self.expected[which] - {int(number) for number in still}:
                if ("telegram", bot, n) not in disk:
                    yield f"{which}: message {n} was confirmed and is not on the disk"

    async def settle(self, seconds: float = PATIENCE) -> None:
        """Wait until all that anybody wrote is answered."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._posts)
                while not (self._quiet() and await self.ready()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not quiet after {seconds} s: {[*self.wrong()]}") from None

    def _quiet(self) -> bool:
        if self.one.updates or self.shop.updates:  # not fetched
            return False
        disk = self.on_disk()
        kept = all(
            (platform, bot, n) in disk
            for which, platform, bot in DOORS
            for n in self.expected[which]
        )
        return kept and not self._open()

    def _open(self) -> bool:
        waiting = "SELECT 1 FROM inbox WHERE state = 'waiting'"
        posts = "SELECT 1 FROM outbox WHERE state IN ('queued', 'sending', 'streaming')"
        return bool(rows(self.file, f"{waiting} UNION ALL {posts}"))

    def wrong(self) -> Iterator[str]:
        """Yield whatever is not as it must be once all is quiet."""
        if (found := integrity(self.file)) != "ok":
            yield found
        yield from self.unkept()
        disk = self.on_disk()
        yield from (f"taken in {count} times: {one}" for one, count in disk.items() if count > 1)
        for which, platform, bot in DOORS:
            if lost := {n for n in self.expected[which] if (platform, bot, n) not in disk}:
                yield f"{which}: {lost} are lost"
        twice = (
            "SELECT conversation_id, count(*) FROM outbox WHERE kind = 'reply' AND part = 0"
            " GROUP BY cause_id HAVING count(*) > 1"
        )
        for row in rows(self.file, twice):
            yield f"answered twice: {row}"
        ended = "SELECT id, state, error FROM outbox WHERE state IN ('uncertain', 'failed')"
        yield from (f"given up: {row}" for row in rows(self.file, ended))
        if unanswered := set(self.expected["one"]) - set(self.chat):
            yield f"POST /chat: {unanswered} were never answered"
        order = "SELECT chat, sequence FROM inbox WHERE platform = 'telegram' ORDER BY chat, id"
        taken = rows(self.file, order)
        for before, later in itertools.pairwise(taken):
            if before[0] == later[0] and before[1] > later[1]:
                yield f"out of order: {before}, {later}"


@asynccontextmanager
async def site_on(folder: Path, *, prepared: bool = False) -> AsyncIterator[Site]:
    """Start everything; `prepared`: the database is there, and the caller starts Heed itself."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(TelegramFake())
        shop = await stack.enter_async_context(TelegramFake(SHOP, username="ShopBot"))
        discord = await stack.enter_async_context(DiscordFake())
        site = Site(folder, one, shop, discord)
        if not prepared:
            await stack.enter_async_context(alive(folder, site))
        try:
            yield site
        finally:
            for task in site._posts:
                task.cancel()
            await asyncio.gather(*site._posts, return_exceptions=True)


@asynccontextmanager
async def alive(folder: Path, site: Site) -> AsyncIterator[App]:
    """Start Heed as `heed run` does, and end it."""
    settings = _settings(folder, site)
    await asyncio.to_thread(database.upgrade, settings.database.url)
    app = App(settings)
    app.connect()
    web = _web(app)
    await web.check()
    app.add(web)
    site.app = app
    running = site.running = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(30):
            while not await site.listens():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        async with Pusher(site.shop, f"{site.url}/telegram/webhook/shop").pushing():
            yield app
    finally:
        if running.done():
            running.result()  # it has ended by itself: that is what was wrong
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await app.close()


def _settings(folder: Path, site: Site) -> Settings:
    one, shop, discord = site.one, site.shop, site.discord
    more: dict[str, Any] = {
        "token": SHOP,
        "api_base": shop.api_base,
        "file_base": shop.file_base,
        "mode": "webhook",
        "webhook_url": "https://bot.example/telegram/webhook",
        "webhook_secret": "two",
    }
    return settings_for(
        folder,
        http=Http(port=site.port),
        telegram=Telegram(
            token=one.token, api_base=one.api_base, file_base=one.file_base, more={"shop": more}
        ),
        discord=Discord(
            token=discord.token, api_base=discord.api_base, gateway_url=discord.gateway_url
        ),
    )
