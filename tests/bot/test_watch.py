"""The watch alone: what counts as standing still, when somebody is called, when it is over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from bot.meters import Meters
from bot.watch import Watch
from core.errors import StoreBusy
from core.ports import Health
from core.store import Inline, Problem, Store, create_tables
from core.store.outbox import DOUBT, PAUSED
from core.tables import conversation, inbox, outbox
from core.texts import Texts
from tests.patience import until

MINUTE = 60.0


@dataclass
class Away:
    """An adapter of which only the connection matters."""

    state: Any = "ok"

    def health(self) -> Health:
        return Health(state=self.state, problem="it is away" if self.state == "failing" else "")


@dataclass
class Site:
    """A watch with its clock and all it looks at."""

    store: Store
    now: float = 1_000_000.0
    turns: int = 0
    loading: bool = False
    model: str | None = None
    sent: Counter[str] = field(default_factory=Counter)
    adapter: Away = field(default_factory=Away)
    said: list[str] = field(default_factory=list)
    ways: list[tuple[frozenset[str], bool]] = field(default_factory=list)
    busy: bool = False

    def __post_init__(self) -> None:
        self.watch = Watch(
            store=self.store,
            clock=lambda: self.now,
            texts=Texts.load(),
            adapters={("telegram", "1"): self.adapter},  # type: ignore[dict-item]
            walk=self,
            sent=self.sent,
            loading=lambda: self.loading,
            model=lambda: self.model,
            meter=Meters(),
            tell=self.tell,
            changed=lambda: None,
        )

    async def tell(self, words: str, avoid: frozenset[str], directly: bool) -> None:  # noqa: FBT001
        if self.busy:
            raise StoreBusy("busy")
        self.said.append(words)
        self.ways.append((avoid, directly))

    async def after(self, seconds: float, step: float = 5.0) -> str:
        """Let time pass with a look every few seconds; return why it is not ready."""
        until = self.now + seconds
        while self.now < until:
            await self.watch.look()
            self.now = min(until, self.now + step)
        await self.watch.look()
        return self.watch.why_not_ready() or ""

    def put(self, **post: Any) -> None:
        values = {"cause_kind": "x", "cause_id": 1, "part": 0, "kind": "reply", "state": "queued"}
        values |= {"queued_at": self.now, "touched_at": self.now, "conversation_id": 1, **post}
        self.store.write_now(lambda c: c.execute(insert(outbox).values(**values)))

    def arrive(self, number: int = 1) -> None:
        row = {"conversation_id": 1, "message_id": str(number), "sequence": number, "message": {}}
        row |= {"received_at": self.now, "touched_at": self.now, "state": "waiting"}
        self.store.write_now(lambda c: c.execute(insert(inbox).values(**row)))

    def empty(self, table: Any) -> None:
        self.store.write_now(lambda c: c.execute(table.delete()))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(url)
    store = Store(url, Inline)
    made = Site(store)
    person = {"id": 1, "platform": "telegram", "bot": "1", "opened_at": 0.0, "touched_at": 0.0}
    store.write_now(lambda c: c.execute(insert(conversation).values(**person)))
    yield made
    store.close()


async def test_a_message_that_waits_while_others_are_answered_is_no_stall(site: Site) -> None:
    site.arrive()
    for _ in range(20):
        site.turns += 1
        assert await site.after(30.0) == ""
    assert "No message has been answered for 1 min; 1 wait" in await site.after(65.0)
    assert len(site.said) == 1
    site.empty(inbox)
    assert await site.after(5.0) == ""
    assert len(site.said) == 2
    assert site.said[1].startswith("Over, after")


async def test_while_a_model_is_loaded_messages_may_wait(site: Site) -> None:
    site.arrive()
    site.loading = True
    assert await site.after(10 * MINUTE, 30.0) == ""
    assert site.said == []


async def test_a_pause_that_the_platform_asked_for_is_no_stall(site: Site) -> None:
    site.put(
        state="queued",
        error=f"{DOUBT}: {PAUSED}: 429",
        first_try_at=site.now,
        retry_at=site.now + 600,
        tries=3,
    )
    site.put(cause_id=2)  # behind it in the same lane
    assert await site.after(590.0, 10.0) == ""
    assert "waits for Telegram has left" in await site.after(200.0, 10.0)
    assert site.ways == [(frozenset({"telegram"}), False)]


async def test_a_post_that_fails_again_and_again_is_a_stall_although_others_leave(
    site: Site,
) -> None:
    site.put(first_try_at=site.now, retry_at=site.now + 30, error="500", tries=2)
    site.sent["telegram"] += 1
    assert await site.after(115.0) == ""
    site.sent["telegram"] += 1
    assert "conversations that wait: 1" in await site.after(10.0)


async def test_a_long_queue_that_moves_is_no_stall(site: Site) -> None:
    for number in range(5):
        site.put(cause_id=number, conversation_id=1)
    for _ in range(10):
        site.sent["telegram"] += 1
        assert await site.after(60.0) == ""


async def test_a_post_with_files_has_longer(site: Site) -> None:
    site.put(first_try_at=site.now, media=[{"kind": "photo"}], tries=1)
    assert await site.after(300.0) == ""
    assert await site.after(60.0) != ""


async def test_what_is_for_a_platform_without_a_bot_here_is_no_stall(site: Site) -> None:
    site.store.write_now(lambda c: c.execute(conversation.update().values(platform="discord")))
    site.put()
    assert await site.after(10 * MINUTE, 30.0) == ""


async def test_a_platform_that_comes_and_goes_is_told_of_every_ten_minutes_at_most(
    site: Site,
) -> None:
    for _ in range(6):
        site.adapter.state = "failing"
        assert "Telegram has not been connected for 1 min: it is away" in await site.after(75.0)
        site.adapter.state = "ok"
        assert await site.after(10.0) == ""
    assert [words.split(",")[0][:8] for words in site.said] == ["Telegram", "Over"]
    site.adapter.state = "failing"
    await site.after(3 * MINUTE)
    assert len(site.said) == 3


async def test_an_alarm_of_the_adapter_itself_is_not_repeated_but_its_end_is_told(
    site: Site,
) -> None:
    site.adapter.state = "failing"
    site.watch.said("telegram")
    assert await site.after(5 * MINUTE) != ""
    assert site.said == []
    site.adapter.state = "ok"
    await site.after(5.0)
    assert site.said[0].startswith("Over, after 5 min")


async def test_a_database_that_takes_nothing_is_told_without_it_and_alone(site: Site) -> None:
    site.arrive()
    site.put()
    site.store.problem = Problem("database or disk is full", 0.0)
    assert "The database has taken nothing" in await site.after(1.0)
    assert site.said == []  # a short one calls nobody
    await site.after(5 * MINUTE)
    assert [way[1] for way in site.ways] == [True]
    assert [one["words"][:12] for one in site.watch.view()] == ["The database"]
    site.store.problem = None
    site.turns = site.sent["telegram"] = 1
    site.empty(inbox)
    site.empty(outbox)
    assert await site.after(5.0) == ""
    assert len(site.said) == 2
    assert site.ways[1] == (frozenset(), False)


async def test_what_could_not_be_said_is_said_by_the_next_look(site: Site) -> None:
    site.busy, site.model = True, "The model has stopped."
    await site.after(6 * MINUTE)
    assert site.said == []
    site.busy = False
    await site.after(5.0)
    assert [words[:9] for words in site.said] == ["The model"]
    assert site.watch.why_not_ready() == "The model has stopped."


async def test_an_alarm_that_is_over_before_it_could_be_said_is_told_as_over(site: Site) -> None:
    site.busy, site.model = True, "The model has stopped."
    await site.after(6 * MINUTE)
    site.busy, site.model = False, None
    await site.after(5.0)
    assert [words[:4] for words in site.said] == ["Over"]


async def test_a_loop_that_stood_still_shows_until_the_next_look(site: Site) -> None:
    site.watch.lag = 7.0
    assert await site.after(0.0) == "Heed stood still for 7 s."
    site.watch.lag = 0.0
    assert await site.after(0.0) == ""
    assert site.said == []


async def test_asking_costs_nothing_and_waits_for_nobody(site: Site) -> None:
    await site.watch.look()
    site.store.close()
    assert [site.watch.why_not_ready() for _ in range(1000)] == [None] * 1000


async def test_the_watch_looks_by_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.watch.LOOK", 0.01)
    running = asyncio.create_task(site.watch.run())
    site.adapter.state = "failing"
    await asyncio.sleep(0.05)
    site.now += 70.0
    await until(site.watch.why_not_ready)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert site.watch.lag < 5
