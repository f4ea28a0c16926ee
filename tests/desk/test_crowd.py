"""A crowd turns furious within one minute: one card, no flood, nobody forgotten.

The server counts as Telegram says that it does: 20 messages a minute into one group, counted over
any minute, and 30 a second overall. Time is shrunk: pace and limits run four times as fast.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.telegram import pace
from bot.app import App
from bot.settings import Desk, Telegram
from core.engine.scripted import ScriptedEngine
from core.message import Tagging
from core.tables import case
from tests.fakes.telegram import Fault
from tests.fakes.telegram_shapes import ApiError
from tests.patience import until
from tests.prepared import prepare
from tests.walk.house import settings_for
from tests.walk.platforms import DESK, OPEN, Town, phrases

FASTER = 4.0  # than the real limits: a call may come 0.75 s late until one counts wrong
COUNTED = ("send", "edit", "copy", "createforum", "closeforum", "reopenforum", "pin", "delete")
FREE = ("sendchataction", "sendmessagedraft", "deletewebhook")
ANSWER = "The login works again, and nobody was charged twice."


class Strict(Town):
    """A Telegram that refuses whoever is too fast, and remembers that it had to."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.clock: Callable[[], float] = time.time
        self._tokens, self._at = 30.0, self.clock()
        self._groups: dict[str, deque[float]] = {}

    async def _answer(
        self, request: web.Request, handler: Any, params: dict[str, Any], fault: Fault | None
    ) -> web.StreamResponse:
        method = request.match_info["method"].lower()
        if method.startswith(COUNTED) and method not in FREE:
            self._count(method, str(params.get("chat_id", "")))
        return await super()._answer(request, handler, params, fault)

    def _count(self, method: str, chat: str) -> None:
        now = self.clock()
        self._tokens = min(30.0, self._tokens + (now - self._at) * 30.0 * FASTER)
        self._at = now
        self._tokens -= 1.0
        sent = self._groups.setdefault(chat, deque())
        while sent and sent[0] <= now - 60.0 / FASTER:
            sent.popleft()
        sent.append(now)
        if self._tokens < 0.0 or (chat.startswith("-") and len(sent) > 20):
            self.refused.append(f"{method} to {chat}: {len(sent)} in a minute")
            raise ApiError(429, "Too Many Requests: retry after 5", retry_after=5)


def furious(text: str) -> Tagging:
    """Hear rage in every word."""
    del text
    return Tagging(
        probs={"negative": 0.98, "neutral": 0.01, "positive": 0.01},
        doubt=0.0,
        instrument="scripted#branch",
        polarity={"negative": -1.0, "neutral": 0.0, "positive": 1.0},
        intensity=-0.95,
        strong=0.98,
        wants_human=0.01,
        threat_to_leave=0.01,
        crisis=0.0,
    )


@pytest.fixture(autouse=True)
def _shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROUP", "PRIVATE", "OVERALL"):
        monkeypatch.setattr(pace, name, getattr(pace, name) / FASTER)
    monkeypatch.setattr("bot.app.make_phrases", lambda _settings: phrases())


class Crowd:
    """A Heed in front of a crowd."""

    def __init__(self, folder: Path, fake: Strict, people: int) -> None:
        self.fake, self.offset = fake, 0.0
        fake.clock = self.clock  # an hour that Heed believes has passed has passed for all
        own = Telegram(token=fake.token, api_base=fake.api_base, file_base=fake.file_base)
        desk = Desk(staff=f"telegram:{DESK}", alerts_per_day=20, pictures=False)
        self.settings = settings_for(folder, telegram=own, desk=desk)
        self.people = people
        self.users = range(1000, 1000 + people)

    def clock(self) -> float:
        return time.time() + self.offset

    async def begin(self) -> None:
        prepare(self.settings.database.url)
        self.app = App(self.settings, clock=self.clock)
        await self.app.mind.swap(ScriptedEngine(tags=furious, slots=8))
        self.app.connect()
        self.running = asyncio.create_task(self.app.run())
        await until(lambda: self.fake.called("getUpdates"))

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.app.close()

    async def rage(self) -> None:
        """Let everybody write within (a shrunk) minute."""
        for ten in zip(*[iter(self.users)] * 10, strict=True):
            for user in ten:
                text = f"login fails again, error 502, my name is secret{user} and I am furious"
                self.fake.say(user, user, text)
            await asyncio.sleep(60.0 / FASTER / (self.people / 10) / 2)

    def received(self, start: str) -> list[int]:
        """Return how often each person was told something."""
        return [
            sum(text.startswith(start) or start in text for text in self.fake.texts(user))
            for user in self.users
        ]

    def cards(self) -> list[str]:
        return [text for text in self.fake.texts(DESK) if "people upset in" in text]

    def pings(self) -> list[str]:
        """Return the topics in which somebody was called."""
        return [
            topic["name"]
            for thread, topic in self.fake.chats[DESK].topics.items()
            if any("needs a person" in text for text in self.fake.texts(DESK, thread))
        ]


async def _all(true: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the fake tells nobody
            await asyncio.sleep(0.3)


@pytest.mark.parametrize("people", [100, pytest.param(500, marks=pytest.mark.proof)])
async def test_a_furious_crowd_costs_one_card_and_no_flood(tmp_path: Path, people: int) -> None:
    async with Strict() as fake:
        fake.group(DESK, title="Desk", forum=True)
        crowd = Crowd(tmp_path, fake, people)
        await crowd.begin()
        try:
            await _is_one_incident(crowd)
            await _answers_reach_all(crowd)
            await _quiet_comes_back(crowd)
        finally:
            await crowd.end()
        assert fake.refused == []


async def _is_one_incident(crowd: Crowd) -> None:
    fake = crowd.fake
    await crowd.rage()
    await _all(lambda: sum(crowd.received(OPEN)) >= crowd.people)
    upset = f"{crowd.people} people upset in 1 min"
    await _all(lambda: crowd.cards() and crowd.cards()[0].startswith(upset))
    await crowd.app.turns.idle()
    assert crowd.received(OPEN) == [1] * crowd.people
    [card] = crowd.cards()
    first, words, *_ = card.splitlines()
    assert first == upset
    assert words == "Common words: 502, error, fails, furious, login"
    assert "secret" not in card  # what one person wrote is theirs alone
    await _all(lambda: len(crowd.pings()) >= 5)
    assert len(crowd.pings()) == 5
    assert len(fake.chats[DESK].topics) == 5
    queue = await crowd.app.room.queue({})
    assert queue["counts"]["queued"] == crowd.people
    assert len(queue["cases"]) == crowd.people
    rows = await crowd.app.store.read(lambda c: c.execute(case.select()).all())
    assert len({row.conversation_id for row in rows}) == crowd.people
    assert len({row.incident_id for row in rows}) == 1


async def _answers_reach_all(crowd: Crowd) -> None:
    [incident] = await crowd.app.room.incidents()
    assert incident["users"] == crowd.people
    assert await crowd.app.room.answer_all(incident["id"], ANSWER, "Ana") == crowd.people
    await _all(lambda: sum(crowd.received(ANSWER)) >= crowd.people)
    assert crowd.received(ANSWER) == [1] * crowd.people


async def _quiet_comes_back(crowd: Crowd) -> None:
    fake, app = crowd.fake, crowd.app
    crowd.offset += 21 * 60.0
    await app.clockwork.tick()
    await _all(lambda: "single pings are back" in crowd.cards()[0])
    assert len(crowd.cards()) == 1
    assert await app.room.incidents() == []
    before = len(crowd.pings())
    fake.say(5000, 5000, "and now it fails for me too, I am furious")
    await _all(lambda: len(crowd.pings()) > before)
    assert len(crowd.cards()) == 1
