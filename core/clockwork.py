"""What happens by the clock: calls that nobody heard, ends of a sleep, lists by the hour.

Timers are rows (core.store.timers). Each is taken and carried out in one transaction, so a restart
loses none and repeats none; one that no longer applies does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core import durations
from core.answers import case_for_verbs
from core.handoff import Handoff
from core.message import Button, Place
from core.ports import Clock
from core.store import Connection, Store, alarms, desk, digests, places, record, timers
from core.store.desk import Change
from core.store.outbox import Lane
from core.store.record import Changed
from core.store.rows import base36
from core.texts import STAFF, Texts

LISTED = 20  # rows of one digest
DAY = 86400.0
HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """What a timer led to: a case that changed, and lanes that have something to send."""

    changed: Changed | None = None
    lanes: tuple[Lane, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Clockwork:
    """Carries out what is due."""

    store: Store
    handoff: Handoff
    texts: Texts
    clock: Clock
    on_call: Callable[[], Sequence[Place]]  # where a case is called out a second time
    dry_until: Callable[[], float] = lambda: 0.0
    stale: Callable[[], float] = lambda: DAY
    operator: Callable[[], Place | None] = lambda: None  # its `chat` is a user's id
    language: str = STAFF

    async def tick(self) -> float:
        """Carry out every timer that is due; return the seconds until the next look."""
        now = self.clock()
        for timer in await self.store.read(partial(timers.due, now=now)):
            rung = await self.store.write(partial(self._ring, timer=timer, now=now))
            if rung is None:
                continue
            self.handoff.ring(rung.lanes)
            if rung.changed is not None:
                self.handoff.tell_changed(rung.changed)
        following = await self.store.read(timers.next_due)
        return 5.0 if following is None else min(5.0, max(0.2, following - self.clock()))

    async def begin(self) -> None:
        """See to it that the daily lists have a time."""
        now = self.clock()

        def begin(connection: Connection) -> None:
            for kind in ("stale", "dry"):
                if not timers.runs(connection, kind):
                    timers.put(connection, kind, now + DAY)

        await self.store.write(begin)

    async def tell_operator(self, words: str, avoid: frozenset[str] = frozenset()) -> None:
        """Post a sentence into the desk's own chat and to the operator, where there are such.

        Not by platforms to `avoid`: what is posted there would be lost. Raises StoreError.
        """
        places, operator, now = self.handoff.facts().places, self.operator(), self.clock()
        others = [place for place in places if place.platform not in avoid]
        if operator is not None and operator.platform in avoid:
            operator = None
        place = next(iter(others), None)

        def tell(connection: Connection) -> list[Lane]:
            desk_lanes = [] if place is None else digests.post(connection, place, words, now)
            own = [] if operator is None else digests.to_user(connection, operator, words, now)
            return [*desk_lanes, *own]

        if place is not None or operator is not None:
            self.handoff.ring(await self.store.write(tell))

    def _ring(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        """Carry one timer out inside its transaction."""
        if not timers.take(connection, timer.id, timer.due_at):
            return None
        ring = _RINGS.get(timer.kind)
        return None if ring is None else ring(self, connection, timer, now)

    def _say(self, name: str, /, **values: str | int) -> str:
        return self.texts.say(name, self.language, **values)

    def _when(self, seconds: float) -> str:
        return durations.words(max(0.0, seconds), self.language, self.texts)

    # --- a case that waits -------------------------------------------------------------------

    def _waiting(self, connection: Connection, timer: Any) -> Mapping[str, Any] | None:  # noqa: ANN401
        view = case_for_verbs(connection, timer.case_id)
        return view if view["state"] == "queued" else None

    def _t1(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        """Nobody has taken it: call again; where the first desk is stuck, the next one."""
        view = self._waiting(connection, timer)
        if view is None:
            return None
        facts = self.handoff.facts()
        moved = None
        if digests.stuck(connection, timer.case_id, now - self.handoff.policy.t1 / 2):
            moved = self._next_desk(connection, timer.case_id, facts, now)
        words = self._say(
            "ping_again",
            who=view["who"],
            when=self._when(now - view["opened_at"]),
            why=view["why"],
        )
        told = record.call(connection, timer.case_id, words, now, what="t1")
        lanes = (*told.lanes, *(moved.lanes if moved else ()))
        return Rung(changed=replace(told, lanes=lanes))

    def _next_desk(
        self, connection: Connection, case_id: int, facts: desk.Desk, now: float
    ) -> Changed | None:
        """Give a case a second place, at the next desk of the list that is not this one."""
        taken = {(row.platform, row.chat) for row in places.rows_of_case(connection, case_id)}
        others = tuple(p for p in facts.places if (p.platform, p.chat) not in taken)
        if not others:
            return None
        return desk.place_case(
            connection, case_id, replace(facts, places=others), now, ping="", who=""
        )

    def lost(self, connection: Connection, case_id: int, now: float) -> Rung:
        """A case's place is gone: the next desk of the list; person and operator are told once."""
        facts = self.handoff.facts()
        gone = digests.lost_places(connection, case_id)
        taken = {(row.platform, row.chat) for row in gone}
        others = tuple(p for p in facts.places if (p.platform, p.chat) not in taken)
        moved = None
        if others and not record.has_place(connection, case_id):
            words = self._say("ping", who="", why=record.case_row(connection, case_id).why)
            moved = desk.place_case(
                connection, case_id, replace(facts, places=others), now, ping=words, who=""
            )
        told = self._tell_delay(connection, case_id, now)
        lanes = (*(moved.lanes if moved else ()), *(told.lanes if told else ()))
        own = self._tell_of_loss(connection, gone[-1], now) if gone else []
        return Rung(changed=moved or told, lanes=(*lanes, *own))

    def _tell_of_loss(self, connection: Connection, desk_row: Any, now: float) -> list[Lane]:  # noqa: ANN401
        """Tell the operator that a desk is lost and which cases wait: once an hour, not per case.

        Their numbers are all: nothing of a person is said where no erasure would find it.
        """
        operator, name = self.operator(), f"{desk_row.platform}:{desk_row.chat}"
        if operator is None or digests.lately(connection, f"desk lost {name}", now - HOUR):
            return []
        rows = digests.waiting(connection, LISTED + 1)
        cases = [f"#{row.id}" for row in rows[:LISTED]] + ["…"] * (len(rows) > LISTED)
        words = self._say("desk_lost", name=name, text=", ".join(cases) or "-")
        lanes = digests.to_user(connection, operator, words, now)
        if lanes:
            record.leave_trace(connection, None, f"desk lost {name}", "", now)
        return lanes

    def _t2(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        """Still nobody: call out where somebody is on call."""
        view = self._waiting(connection, timer)
        if view is None:
            return None
        words = self._say(
            "ping_out",
            who=view["who"],
            when=self._when(now - view["opened_at"]),
            case=view["id"],
            why=view["why"],
        )
        others = self.on_call()
        if others:  # theirs by the conversation, so that erasing finds what it says of them
            lanes = [
                lane
                for place in others
                for lane in digests.post(connection, place, words, now, of=view["conversation_id"])
            ]
            return Rung(lanes=tuple(lanes))
        return Rung(changed=record.call(connection, timer.case_id, words, now, what="t2"))

    def _t3(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        """Nobody took over: the person is told so, and by choice the bot answers again."""
        view = self._waiting(connection, timer)
        if view is None:
            return None
        policy, when = self.handoff.policy, self._when(now - view["opened_at"])
        back = policy.give_back and view["rule"] != "crisis"
        name = "nobody_free" if back else "long_wait"
        notice = self.texts.say(name, view["lang"]) if view["private"] else ""
        if back:
            change = Change(
                what="given back",
                who="",
                state="watch",
                holder=("", ""),
                notice=notice,
                say=self._say("gave_back_alone", when=when),
                rest={"refractory_until": now + policy.refractory},
            )
        else:
            say = self._say("told_long_wait", when=when)
            change = Change(what="long wait", who="", notice=notice, say=say)
        facts = self.handoff.facts()
        return Rung(changed=desk.move(connection, timer.case_id, facts, now, change=change))

    def _delay(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        view = self._waiting(connection, timer)
        waits = view is not None and digests.stuck(connection, timer.case_id, now - 60.0)
        return Rung(changed=self._tell_delay(connection, timer.case_id, now)) if waits else None

    def _tell_delay(self, connection: Connection, case_id: int, now: float) -> Changed | None:
        """Tell the person once that it takes longer than it should."""
        view = case_for_verbs(connection, case_id)
        if view["state"] != "queued" or not view["private"]:
            return None
        if digests.happened(connection, case_id, "delay"):
            return None
        notice = self.texts.say("delay", view["lang"])
        change = Change(what="delay", who="", notice=notice, say=self._say("told_delay"))
        return desk.move(connection, case_id, self.handoff.facts(), now, change=change)

    # --- a case that somebody has --------------------------------------------------------------

    def _snooze(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        view = case_for_verbs(connection, timer.case_id)
        if view["state"] != "snoozed":
            return None
        holder = f"{view['claimed_by']}: " if view["claimed_by"] else ""
        words = holder + self._say("woke_by_itself")
        change = self.handoff.steps.wake(view, say=words, who="", by="")
        facts = self.handoff.facts()
        return Rung(changed=desk.move(connection, timer.case_id, facts, now, change=change))

    def _resolve(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        view = case_for_verbs(connection, timer.case_id)
        if view["state"] == "resolved" or view["resolve_at"] is None:
            return None
        who = view["claimed_by"] or "Heed"
        change = self.handoff.steps.resolved(view, now, who=who, by="")
        facts = self.handoff.facts()
        return Rung(changed=desk.move(connection, timer.case_id, facts, now, change=change))

    def _inactive(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        """Ask the holder what is to become of a case in which nobody speaks any more."""
        row = record.case_row(connection, timer.case_id)
        if row.state != "human":
            return None
        patience = self.handoff.policy.inactive
        quiet = now - (row.spoken_at or row.opened_at)
        due = now + patience if quiet >= patience else (row.spoken_at or now) + patience
        timers.put(connection, "inactive", due, case_id=timer.case_id)
        if quiet < patience:
            return None
        version = record.person_row(connection, row.conversation_id).version
        buttons = tuple(
            Button(
                label=self._say(name, when=self._say("wait_d", n=1)),
                data=f"h:{base36(row.id)}:{code}:{base36(version)}",
            )
            for name, code in (
                ("button_resolve", "rs"),
                ("button_snooze", "zc"),
                ("button_keep", "kp"),
            )
        )
        words = self._say("inactive_asked")
        return Rung(
            changed=record.tell_staff(
                connection, timer.case_id, words, now, what="inactive", buttons=buttons
            )
        )

    # --- lists ---------------------------------------------------------------------------------

    def _ranked(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401, ARG002
        """Post, without a call, who waits beyond the day's budget of calls."""
        rows = digests.waiting(connection, LISTED)
        return self._listed(connection, "ranked_title", rows, now) if rows else None

    def _stale(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401, ARG002
        timers.put(connection, "stale", now + DAY)
        rows = digests.older(connection, now - self.stale(), LISTED)
        return self._listed(connection, "stale_title", rows, now) if rows else None

    def _listed(
        self, connection: Connection, title: str, rows: Sequence[Any], now: float
    ) -> Rung | None:
        place = self.handoff.facts().place
        if place is None:
            return None
        lines = [
            self._say(
                "list_row",
                case=row.id,
                state=row.state,
                when=self._when(now - row.opened_at),
                rule=row.rule,
            )
            for row in rows
        ]
        words = "\n".join([self._say(title, n=len(rows)), *lines])[:1900]
        return Rung(lanes=tuple(digests.post(connection, place, words, now)))

    def _dry(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        """Say what a dry run would have done since yesterday, and ask what staff think of it."""
        timers.put(connection, "dry", now + DAY)
        rows = digests.dry(connection, timer.due_at - DAY, LISTED)  # since the last one
        place = self.handoff.facts().place
        if not rows or place is None:
            return None
        lines = [self._say("dry_row", n=i, rule=row.rule) for i, row in enumerate(rows, 1)]
        buttons = tuple(
            Button(label=f"{i} {self._say(name)}", data=f"h:{base36(row.id)}:{code}:0")
            for i, row in enumerate(rows[:8], 1)
            for name, code in (("button_right", "dv"), ("button_notneeded", "dn"))
        )
        words = "\n".join([self._say("dry_title", n=len(rows)), *lines])[:1900]
        return Rung(lanes=tuple(digests.post(connection, place, words, now, buttons=buttons)))

    # --- many at once ------------------------------------------------------------------------

    def _crowd(self, connection: Connection, timer: Any, now: float) -> Rung:  # noqa: ANN401
        facts = self.handoff.facts()
        incident = int(timer.subject)
        lanes = alarms.show_incident(connection, incident, facts.alarms, facts.place, now)
        return Rung(lanes=tuple(lanes))

    def _calm(self, connection: Connection, timer: Any, now: float) -> Rung | None:  # noqa: ANN401
        if not alarms.close(connection, int(timer.subject), now):
            return None
        return self._crowd(connection, timer, now)


_RINGS: Mapping[str, Callable[[Clockwork, Connection, Any, float], Rung | None]] = {
    "t1": Clockwork._t1,  # noqa: SLF001 - its own table
    "t2": Clockwork._t2,  # noqa: SLF001
    "t3": Clockwork._t3,  # noqa: SLF001
    "delay": Clockwork._delay,  # noqa: SLF001
    "snooze": Clockwork._snooze,  # noqa: SLF001
    "resolve": Clockwork._resolve,  # noqa: SLF001
    "inactive": Clockwork._inactive,  # noqa: SLF001
    "ranked": Clockwork._ranked,  # noqa: SLF001
    "stale": Clockwork._stale,  # noqa: SLF001
    "dry": Clockwork._dry,  # noqa: SLF001
    "crowd": Clockwork._crowd,  # noqa: SLF001
    "calm": Clockwork._calm,  # noqa: SLF001
}
