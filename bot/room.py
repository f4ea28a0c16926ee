"""What adapters and pages may ask of a running Heed: the doors of core.ports, onto the rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bot.doctor import report
from bot.guest import Guests
from bot.meters import Meters
from bot.moment import figures_of
from bot.speaker import Speaker
from bot.tuning import Tuning
from bot.watch import Watch
from core.errors import StoreError
from core.handoff import Action, Handoff
from core.message import Arrival, ConversationKey
from core.ports import Adapter, Board, Event, Health, StaffMember, StaffVerb
from core.store import Store, alarms, cases, figures, intake, sample, saved, views
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
    lanes: Callable[[], Mapping[str, int]]  # that exist, by kind
    watch: Watch
    meters: Meters
    guests: Guests
    tuning: Tuning

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

    async def queue(self, wanted: Mapping[str, str]) -> dict[str, Any]:
        """See core.ports.Desk."""
        now = self.walk.rooms.clock()
        return await self.store.read(partial(cases.queue, wanted=wanted, now=now))

    async def case(self, case_id: int) -> dict[str, Any] | None:
        """See core.ports.Desk."""
        found = await self.store.read(partial(views.full_case, case_id=case_id))
        return None if found is None else self.handoff.linked(found)

    async def seen(self, case_id: int) -> None:
        """See core.ports.Desk."""
        now = self.walk.rooms.clock()
        await self.store.write(partial(cases.seen, case_id=case_id, now=now))

    async def act(
        self,
        case_id: int,
        verb: StaffVerb,
        staff: str,
        *,
        text: str = "",
        confirm: bool = False,
        version: int | None = None,
    ) -> dict[str, Any]:
        """See core.ports.Desk."""
        action = Action(
            case_id=case_id,
            verb=verb,
            who=staff,
            by=f"web:{staff}",
            text=text,
            confirm=confirm,
            version=version,
        )
        await self.handoff.act(action)
        return await self.case(case_id) or {}

    async def transcript(self, case_id: int) -> dict[str, Any] | None:
        """See core.ports.Desk."""
        found = await self.store.read(partial(views.transcript, case_id=case_id))
        return None if found is None else self.handoff.linked(found)

    async def saved_replies(self) -> list[dict[str, str]]:
        """See core.ports.Desk."""
        return await self.store.read(saved.every)

    async def save_reply(self, name: str, text: str, staff: str) -> None:
        """See core.ports.Desk."""
        now = self.walk.rooms.clock()
        await self.store.write(partial(saved.put, name=name, text=text, who=staff, now=now))

    async def pictures(
        self, since: float, until: float, wanted: Mapping[str, str], hour_offset: float
    ) -> dict[str, Any]:
        """See core.ports.Desk."""
        return await self.store.read(
            partial(
                figures.figures, since=since, until=until, wanted=wanted, hour_offset=hour_offset
            )
        )

    async def sample(self, *, make: bool) -> None:
        """See core.ports.Desk."""
        now = self.walk.rooms.clock()
        await self.store.write(partial(sample.fill, now=now) if make else sample.clear)

    async def incidents(self) -> list[dict[str, Any]]:
        """See core.ports.Desk."""
        loud, now = self.handoff.facts().alarms, self.walk.rooms.clock()
        return await self.store.read(partial(alarms.incidents, alarms=loud, now=now))

    async def answer_all(self, incident_id: int, text: str, staff: str) -> int:
        """See core.ports.Desk."""
        people = await self.store.read(partial(alarms.members, incident_id=incident_id))
        await self._errand(incident_id, "answer all", staff, text)
        return len(people)

    async def mute(self, incident_id: int, seconds: float, staff: str) -> None:  # noqa: ARG002
        """See core.ports.Desk; an hour, as on the card."""
        await self._errand(incident_id, "mute", staff, "")

    async def _errand(self, number: int, verb: str, staff: str, text: str) -> None:
        action = Action(case_id=number, verb=verb, who=staff, by=f"web:{staff}", text=text)
        await self.handoff.act(action)

    async def recognise(self, name: str) -> str:
        """See core.ports.Desk."""
        return await self.guests.recognise(name)

    async def log_in(self, name: str, password: str, *, known: str = "") -> str | None:
        """See core.ports.Desk."""
        secret = None
        try:
            secret = await self.guests.log_in(name, password, known=known)
        finally:
            if secret is None:
                self.meters.count("log_ins_refused")
        return secret

    async def member(self, secret: str, *, renew: bool = True) -> StaffMember | None:
        """See core.ports.Desk."""
        return await self.guests.member(secret, renew=renew)

    async def log_out(self, secret: str, *, everywhere: bool = False) -> None:
        """See core.ports.Desk."""
        await self.guests.log_out(secret, everywhere=everywhere)

    async def staff(self) -> list[dict[str, Any]]:
        """See core.ports.Desk."""
        return await self.guests.staff()

    def settings(self) -> list[dict[str, Any]]:
        """See core.ports.Desk."""
        return self.tuning.view()

    async def change_settings(self, changes: Mapping[str, str], staff: str) -> None:
        """See core.ports.Desk."""
        await self.tuning.change(changes, staff)

    async def preview(self, changes: Mapping[str, str]) -> dict[str, Any]:
        """See core.ports.Desk."""
        return await self.tuning.preview(changes)

    async def doctor(self) -> list[dict[str, str]]:
        """See core.ports.Desk."""
        return await report(self.tuning.current())

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
            bots = [one.health() for (p, _), one in self.adapters.items() if p == platform]
            found += [
                {
                    "platform": platform,
                    "state": one.state,
                    "name": one.name,
                    "problem": one.problem,
                }
                for one in bots or [Health(state="off")]
            ]
        return found

    def troubles(self) -> list[dict[str, str]]:
        """See core.ports.Desk."""
        return self.watch.view()

    def refused(self, status: int) -> None:
        """Count a request that was answered with an error."""
        self.meters.count("http_refusals", status=str(status))

    def metrics(self) -> bytes:
        """Return the figures of this moment in Prometheus' text format; asks no database."""
        return self.meters.text(figures_of(self))
