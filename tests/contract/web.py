"""The stages of the web: the page of the try-it room, and programs that use POST /chat."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote_from_bytes

import aiohttp

from adapters.web import WebAdapter
from bot.app import App
from bot.settings import Settings
from tests.contract.stage import Stage
from tests.patience import PATIENCE
from tests.walk.program import events

ROOM = {"maya": "ann", "ben": "bob", "li": "lilei"}
_LINE = re.compile(r'data-role="(\w+)".*?<p class="text" dir="auto">(.*?)</p>', re.DOTALL)
_WITHOUT: Mapping[str, str] = {
    "buttons": "answers are text; commands do the same",
    "edit": "what was sent stays",
    "delete": "what was sent stays",
    "react": "there is nothing to react with",
    "files": "only text is taken",
    "mentions": "nobody can be called",
    "again": "a request is made once",
    "backlog": "a request to nobody fails, and its writer knows",
    "network": "what is committed is there to read, and nothing is sent",
    "leaving": "who closes the page only does not look",
}


class Web(Stage):
    """The page: forms over a real port, and what it draws."""

    name = "web"
    lacks: ClassVar[Mapping[str, str]] = _WITHOUT

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self._sending: set[asyncio.Task[None]] = set()

    async def _before(self) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))

    async def _after(self) -> None:
        await self._http.close()

    def _connect(self, app: App, settings: Settings) -> None:
        self._web = WebAdapter(
            app.room,
            clock=app.clock,
            host="127.0.0.1",
            port=0,
            ready=app.speaker.why_not_ready,
            metrics=app.room.metrics,
            per_minute=settings.limits.per_user_minute,
        )
        app.add(self._web)

    def _up(self) -> bool:
        served = self._web.health().state == "ok" and not self._web.url.endswith(":0")
        return served and self.app.speaker.why_not_ready() is None

    async def _gone(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._sending.clear()

    def user(self, person: str) -> str:
        return f"room:{ROOM[person]}"

    async def write(self, person: str, text: str) -> None:
        self._aside(self._send(person, text))

    def _aside(self, work: Any) -> None:
        """Send without waiting: the platform answers when the answer has begun."""
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, person: str, text: str) -> None:
        body = f"person={ROOM[person]}&text=" + quote_from_bytes(
            text.encode("utf-8", "surrogatepass")
        )
        headers = {
            "Origin": self._web.url,
            "heed-live": "1",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            async with self._http.post(
                f"{self._web.url}/room/say", data=body, headers=headers
            ) as answer:
                assert answer.status in {204, 400} or self.killed.is_set(), await answer.text()
        except aiohttp.ClientError:
            assert self.killed.is_set()

    async def settle(self) -> None:
        await super().settle()
        await asyncio.gather(*self._sending)

    async def seen(self, person: str = "maya") -> list[str]:
        query = {"person": ROOM[person]}
        async with self._http.get(f"{self._web.url}/room/state", params=query) as answer:
            drawn = (await answer.json())["parts"]["lines"]
        return [html.unescape(text) for role, text in _LINE.findall(drawn) if role in _OTHERS]


_OTHERS = ("bot", "staff")


class Api(Web):
    """A program that sends POST /chat and reads the events of the answer."""

    name = "api"
    lacks: ClassVar[Mapping[str, str]] = {
        **_WITHOUT,
        "language": "a caller does not tell which language somebody reads",
        "later": "a caller is answered once, and then gone",
        "unsaying": "a caller is answered once, and then gone",
    }

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self._read: dict[str, list[str]] = {}

    def user(self, person: str) -> str:
        return person

    async def _send(self, person: str, text: str) -> None:
        body = json.dumps({"text": text, "user": person})
        headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        try:
            async with self._http.post(
                f"{self._web.url}/chat", data=body, headers=headers
            ) as answer:
                if answer.status == 200:
                    self._heard(person, events(await answer.text()))
                else:
                    assert answer.status == 400 or self.killed.is_set(), await answer.text()
        except aiohttp.ClientError:
            assert self.killed.is_set()

    def _heard(self, person: str, told: list[tuple[str, dict[str, Any]]]) -> None:
        """Keep the answer; what was streamed of it is how it begins."""
        done = [data for kind, data in told if kind == "done"]
        assert len(done) == 1 or self.killed.is_set(), told
        for answer in done:
            if answer["response"]:
                self._read.setdefault(person, []).append(answer["response"])

    async def seen(self, person: str = "maya") -> list[str]:
        return [*self._read.get(person, ())]
