"""One life of a Heed in a world: a process from its start to its end, which may be sudden."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.accounts import Discord, Telegram
from bot.app import App
from bot.settings import Answers, Database, Desk as DeskSettings, Limits, Model, Settings
from core.message import Tagging
from core.sentiment import Sentiment
from core.store import Connection, Operation
from core.store.outbox import Claim
from tests.sim.platform import SimAdapter
from tests.sim.storage import Desk, name_of
from tests.sim.weather import FURY, POISON, Weather

if TYPE_CHECKING:
    from tests.sim.world import World


class PoisonError(Exception):
    """What our own code raises on one sentence."""


@cache
def reading(furious: bool) -> Tagging:  # noqa: FBT001
    probs = {"negative": 0.97, "neutral": 0.02, "positive": 0.01}
    calm = {"negative": 0.05, "neutral": 0.85, "positive": 0.1}
    return Tagging(
        probs=probs if furious else calm,
        doubt=0.0,
        instrument="scripted",
        polarity={"negative": -1.0, "neutral": 0.0, "positive": 1.0},
        intensity=-0.95 if furious else 0.0,
        strong=0.97 if furious else 0.02,
        wants_human=0.01,
        threat_to_leave=0.01,
        crisis=0.0,
    )


class Table:
    """A table of two lines, and one sentence that breaks it."""

    name = "scripted table"

    async def tag_many(self, texts: Any, task: str | None = None) -> list[Tagging]:  # noqa: ARG002
        if POISON in texts:
            raise PoisonError("nobody can read this")
        return [reading(FURY in text) for text in texts]


class Heed(App):
    """An App that loses every n-th ring."""

    def __init__(self, life: Life, settings: Settings) -> None:
        self._life = life
        super().__init__(
            settings, clock=life.world.clock, executor=lambda engine: Desk(engine, life)
        )
        ear = replace(self.walk.rooms.ear, sentiment=Sentiment(Table()))
        self.walk.rooms = replace(self.walk.rooms, ear=ear)

    def _ring(self, *lane: Any) -> None:
        if self._life.world.hears():
            super()._ring(*lane)

    def _deliver(self, lanes: Any) -> None:
        if self._life.world.hears():
            super()._deliver(lanes)


class Life:
    """One process: from its start to its end, which may be sudden."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.over = False
        self.ended = asyncio.Event()
        self.since = world.now()
        self.begun: dict[int, float] = {}  # conversation -> when a turn of it began last
        self.app = Heed(self, world.settings)
        self.engine = world.engine()
        self.app.add(SimAdapter(self))

    async def live(self) -> None:
        """Run until it ends by itself or is killed."""
        await self.app.mind.swap(self.engine)
        running = asyncio.ensure_future(self.app.run())
        dying = asyncio.ensure_future(self.ended.wait())
        await asyncio.wait((running, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if running.done() and not running.cancelled():
            self.world.fell(running.exception())
        self.over = True
        running.cancel()
        await asyncio.gather(running, dying, return_exceptions=True)
        await self.app.close()

    def end(self, where: str) -> None:
        """Kill it here and now: nothing that it asks is done or answered any more."""
        if not self.over:
            self.trace("killed", where)
            self.world.count("restarts")
            sending = self.world.rows("select id from outbox where state = 'sending'")
            self.world.suspects |= {row["id"] for row in sending}
            self.over = True
            self.ended.set()

    def trace(self, *what: object) -> None:
        if not self.over:
            self.world.trace(*what)

    def watched(self, operation: Operation[Any]) -> Operation[Any]:
        """Note inside its transaction who owned whom when a machine's words were claimed."""
        name = name_of(operation)
        if name == "begin" and isinstance(operation, partial):
            self.begun[operation.keywords["conversation_id"]] = self.world.now()
        if name == "erase":
            return partial(self._erased, operation)
        if name != "claim":
            return operation

        def noted(connection: Connection) -> Any:
            result = operation(connection)
            if isinstance(result, Claim) and result.post.kind == "reply":
                asked = (
                    "select c.owner from conversation c join outbox o on c.id = o.conversation_id"
                )
                owner = connection.exec_driver_sql(
                    f"{asked} where o.id = {result.post.id}"
                ).scalar()
                if owner != "bot":
                    self.world.wrong(f"post {result.post.id} was claimed while {owner} owned")
            return result

        return noted

    def _erased(self, operation: Operation[Any], connection: Connection) -> Any:
        """Note whose words are erased: all that have come by now."""
        result = operation(connection)
        for _, key in result[0] if isinstance(result, tuple) else ():
            self.world.forgotten[key.user, key.chat] = next(self.world.platform.numbers)
        return result


def settings_of(weather: Weather, url: str) -> Settings:
    platform, _ = weather.account
    return Settings(
        database=Database(url=url),
        model=Model(name="embedded"),
        answers=Answers(file=Path("/nonexistent/answers.toml")),
        limits=Limits(per_user_minute=10**6, per_chat_minute=10**6, per_user_day=0),
        desk=DeskSettings(
            staff=f"{platform}:{weather.desk}" if weather.staffed else "web",
            suggest=False,
            pictures=False,
        ),
        telegram=Telegram(token="7:simulated") if platform == "telegram" else Telegram(),
        discord=Discord(token="simulated") if platform == "discord" else Discord(),
    )
