"""What adapters and pages may ask of a running Heed: the doors of core.ports, onto the rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bot.speaker import Speaker
from core.errors import StoreError
from core.handoff import Action, Handoff
from core.message import Arrival, ConversationKey
from core.ports import Adapter, Board, Event, StaffVerb
from core.store import Store, intake, views
from core.turn import Walk

_FOLLOWED = frozenset({"waiting", "tag", "token", "done"})  # by whoever has asked


@dataclass(frozen=True, kw_only=True)
class Room:
    """Door and Desk of one running Heed."""

    store: Store
    walk: Walk
    handoff: Handoff
    events: Board
    speaker: Speaker
    adapters: Mapping[tuple[str, str], Adapter]
    busy: Callable[[], int]  # turns at work

    # --- Door -------------------------------------------------------------------------------

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        """See core.ports.Door."""
        return await self.walk.take_in(arrivals, cursor=cursor)

    async def read_cursor(self, name: str) -> str | None:
        """See core.ports.Door."""
        found = await self.cursors(name)
        return found.get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        """See core.ports.Door."""
        return dict(await self.store.read(partial(intake.cursors, prefix=prefix)))

    # --- Desk -------------------------------------------------------------------------------

    async def ask(self, arrival: Arrival) -> AsyncIterator[Event]:
        """See core.ports.Desk."""
        async with self.events.listen() as events:
            [inbox] = await self.take_in([arrival])
            if inbox is None:
                raise StoreError("this message was taken in before")
            async for event in events:
                if event.inbox == inbox and event.kind in _FOLLOWED:
                    yield event
                    if event.kind == "done":
                        return
            raise StoreError("the answer was missed; it is in the conversation")

    async def conversation(self, key: ConversationKey, limit: int = 200) -> dict[str, Any]:
        """See core.ports.Desk."""
        return await self.store.read(partial(views.conversation_view, key=key, limit=limit))

    async def cases(self, *, open_only: bool = True) -> list[dict[str, Any]]:
        """See core.ports.Desk."""
        return await self.store.read(partial(views.cases, open_only=open_only))

    async def case(self, case_id: int) -> dict[str, Any] | None:
        """See core.ports.Desk."""
        return await self.store.read(partial(views.full_case, case_id=case_id))

    async def act(
        self, case_id: int, verb: StaffVerb, staff: str, *, text: str = "", confirm: bool = False
    ) -> dict[str, Any]:
        """See core.ports.Desk."""
        action = Action(case_id=case_id, verb=verb, who=staff, text=text, confirm=confirm)
        await self.handoff.act(action)
        return await self.case(case_id) or {}

    async def explain(self, inbox_id: int) -> dict[str, Any] | None:
        """See core.ports.Desk."""
        return await self.store.read(partial(views.explain, inbox_id=inbox_id))

    def board(self) -> Board:
        """See core.ports.Desk."""
        return self.events

    def engine(self) -> dict[str, Any]:
        """See core.ports.Desk; `words` says in one line who is speaking and why."""
        return self.speaker.view()

    async def fetch_model(self, name: str) -> None:
        """See core.ports.Desk. Downloads in the background; the page follows `engine` events."""
        self.speaker.fetch(name)

    def platforms(self) -> list[dict[str, str]]:
        """See core.ports.Desk."""
        found = []
        for platform in ("telegram", "discord"):
            adapters = [a for (p, _), a in self.adapters.items() if p == platform]
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
        figures: dict[str, float] = dict(self.store.read_now(views.counts))
        capacity = self.walk.rooms.mind.capacity()
        figures |= {
            "replies_running": capacity.running,
            "reply_slots": capacity.slots,
            "kv_bytes": capacity.kv_bytes,
            "turns_running": self.busy(),
            "ready": float(self.speaker.why_not_ready() is None),
        }
        for name, value in figures.items():
            Gauge(f"heed_{name}", name.replace("_", " "), registry=registry).set(value)
        return generate_latest(registry)
