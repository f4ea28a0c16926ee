"""What adapters and pages may ask of a running Heed: the doors of core.ports, onto the rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bot import models
from core.errors import HeedError, SetupError, StoreError
from core.handoff import Action
from core.message import Arrival, ConversationKey
from core.ports import Board, Event, StaffVerb
from core.store import intake, views

if TYPE_CHECKING:
    from bot.app import App

OFFER = "qwen2.5-0.5b"  # the model the page offers while the embedded default speaks


class Room:
    """Door and Desk of one App."""

    def __init__(self, app: App) -> None:
        self._app = app

    # --- Door -------------------------------------------------------------------------------

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """See core.ports.Door."""
        return await self._app.walk.take_in(arrivals, cursor=cursor)

    async def read_cursor(self, name: str) -> str | None:
        """See core.ports.Door."""
        found = await self.cursors(name)
        return found.get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        """See core.ports.Door."""
        return dict(await self._app.store.read(partial(intake.cursors, prefix=prefix)))

    # --- Desk -------------------------------------------------------------------------------

    async def ask(self, arrival: Arrival) -> AsyncIterator[Event]:
        """See core.ports.Desk."""
        async with self._app.board.listen() as events:
            [inbox] = await self.take_in([arrival])
            if inbox is None:
                raise StoreError("this message was taken in before")
            async for event in events:
                if event.inbox == inbox and event.kind in ("tag", "token", "done"):
                    yield event
                    if event.kind == "done":
                        return
            raise StoreError("the answer was missed; it is in the conversation")

    async def conversation(self, key: ConversationKey, limit: int = 200) -> dict[str, Any]:
        """See core.ports.Desk."""
        return await self._app.store.read(partial(views.conversation_view, key=key, limit=limit))

    async def cases(self, *, open_only: bool = True) -> list[dict[str, Any]]:
        """See core.ports.Desk."""
        return await self._app.store.read(partial(views.cases, open_only=open_only))

    async def case(self, case_id: int) -> dict[str, Any] | None:
        """See core.ports.Desk."""
        return await self._app.store.read(partial(views.full_case, case_id=case_id))

    async def act(
        self, case_id: int, verb: StaffVerb, staff: str, *, text: str = "", confirm: bool = False
    ) -> dict[str, Any]:
        """See core.ports.Desk."""
        action = Action(case_id=case_id, verb=verb, who=staff, text=text, confirm=confirm)
        await self._app.handoff.act(action)
        return await self.case(case_id) or {}

    async def explain(self, inbox_id: int) -> dict[str, Any] | None:
        """See core.ports.Desk."""
        return await self._app.store.read(partial(views.explain, inbox_id=inbox_id))

    def board(self) -> Board:
        """See core.ports.Desk."""
        return self._app.board

    def engine(self) -> dict[str, Any]:
        """See core.ports.Desk; `words` says in one line who is speaking and why."""
        app = self._app
        embedded = app.mind.engine is None
        try:
            name, why = models.chosen(app.settings)
        except SetupError as error:  # its folder has gone since the start
            name, why = app.settings.model.name, str(error)
        if not embedded:
            name, why = app.mind.name, "fetched just now" if name == "embedded" else why
        return {
            "name": app.mind.name,
            "ready": app.mind.ready and not app.mind.loading,
            "loading": app.mind.loading or app.progress is not None,
            "progress": app.progress,
            "problem": app.problem,
            "offer": OFFER if embedded and (name == "embedded" or app.problem) else None,
            "words": f"{name} ({why})",
        }

    async def fetch_model(self, name: str) -> None:
        """See core.ports.Desk. Downloads in the background; the page follows `engine` events."""
        app = self._app
        if app.progress is None:
            app.progress = 0.0
            app.keep(asyncio.create_task(self._fetch(name)))

    async def _fetch(self, name: str) -> None:
        app = self._app
        loop = asyncio.get_running_loop()

        def on_progress(done: int, total: int) -> None:
            app.progress = done / total if total else 0.0
            loop.call_soon_threadsafe(app.tell_engine)

        try:
            app.problem = ""
            await asyncio.to_thread(models.pull, app.settings, name, on_progress)
        except HeedError as error:
            app.problem = str(error)
        finally:
            app.progress = None
        app.tell_engine()
        if not app.problem:
            await app.use_model(name)

    def platforms(self) -> list[dict[str, str]]:
        """See core.ports.Desk."""
        found = []
        for platform in ("telegram", "discord"):
            adapters = [a for (p, _), a in self._app.adapters.items() if p == platform]
            health = adapters[0].health() if adapters else None
            found.append(
                {
                    "platform": platform,
                    "state": "off" if health is None else health.state,
                    "name": "" if health is None else health.name,
                    "problem": "" if health is None else health.problem,
                }
            )
        return found

    def metrics(self) -> bytes:
        """Return the figures of this moment in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()
        figures: dict[str, float] = dict(self._app.store.read_now(views.counts))
        capacity = self._app.mind.capacity()
        figures |= {
            "replies_running": capacity.running,
            "reply_slots": capacity.slots,
            "kv_bytes": capacity.kv_bytes,
            "turns_running": self._app.turns.busy,
            "ready": float(self._app.why_not_ready() is None),
        }
        for name, value in figures.items():
            Gauge(f"heed_{name}", name.replace("_", " "), registry=registry).set(value)
        return generate_latest(registry)
