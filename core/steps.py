"""What each verb does to a case: one Change each, from what is so and what staff asked for.

Pure but for what it reads; core.store.desk carries a Change out, or refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from core import durations
from core.errors import DeskError
from core.message import Button
from core.orders import Action
from core.store import Connection, people, views
from core.store.desk import UNRESOLVED, Change
from core.texts import STAFF, Texts

REOPEN = 24 * 3600.0  # seconds after Resolve in which a new message reopens the case
VERDICTS = ("right", "not needed", "too late")
CHANGEABLE = 86400.0  # seconds in which a verdict may be changed
MOST_PRIORITY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DeskPolicy:
    """Starting values of the desk; times in seconds."""

    reopen: float = REOPEN
    refractory: float = 1800.0  # alarms caused by mood rest so long after Resolve
    not_needed: float = 7200.0  # and so long after Not needed, doubling up to a day
    t1: float = 300.0  # unclaimed for so long: called again
    t2: float = 900.0  # called out elsewhere
    t3: float = 2700.0  # the person is told
    delay: float = 600.0  # until a person is told that staff cannot be reached
    inactive: float = 86400.0
    give_back: bool = False  # after t3 the bot answers again, watched
    hard_lock: bool = False  # nobody else may answer in a claimed case
    anonymous: bool = False
    role: str = "Support"
    claimed_notice: bool = False
    csat: bool = True
    pictures: bool = True
    transcript_to_user: bool = False
    replies: bool | None = None  # a plain line goes to the person; None: as the platform has it
    roles: frozenset[str] = frozenset()  # on Discord: one of these makes staff
    zone: tzinfo = field(default_factory=lambda: ZoneInfo("UTC"))
    after: Callable[[float, float], float] = lambda at, seconds: at + seconds  # staffed time
    is_open: Callable[[float], bool] = lambda _at: True

    def due(self, now: float) -> dict[str, float]:
        """Return when a queued case's timers ring: T1 to T3 on staffed time.

        Outside of it the first call waits for the opening, and no longer.
        """
        staffed = {"t1": self.t1 if self.is_open(now) else 1.0, "t2": self.t2, "t3": self.t3}
        rings = {kind: self.after(now, seconds) for kind, seconds in staffed.items()}
        return {**rings, "delay": now + self.delay}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One verb, with all it may look at."""

    connection: Connection
    action: Action
    view: Mapping[str, Any]
    now: float

    @property
    def common(self) -> dict[str, Any]:
        """What every change says of who asked for it."""
        action = self.action
        return {
            "who": action.who,
            "by": action.by,
            "version": action.version,
            "confirm": action.confirm,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Turns an action into a Change."""

    texts: Texts
    policy: DeskPolicy
    language: str = STAFF

    def change(
        self, connection: Connection, action: Action, view: Mapping[str, Any], now: float
    ) -> Change:
        """Return the change that a verb asks for. Raises DeskError for one that makes no sense."""
        step = _VERBS.get(action.verb)
        if step is None:
            words = f"Nobody knows how to {action.verb} a case."
            raise DeskError(words, name="verb_unknown", verb=action.verb)
        return step(self, Ask(connection=connection, action=action, view=view, now=now))

    def _say(self, name: str, /, **values: str | int) -> str:
        return self.texts.say(name, self.language, **values)

    def _claim(self, ask: Ask) -> Change:
        action, view, common = ask.action, ask.view, ask.common
        common["confirm"] = action.confirm or action.verb == "steal"
        old = view["claimed_by"]
        told = self._say("stolen", name=action.who, old=old) if old and old != action.who else ""
        notice = ""
        if self.policy.claimed_notice and view["private"] and not self.hides_names(view):
            notice = self.texts.say("claimed", view["lang"], name=action.who)
        return Change(
            what="claimed",
            state="human",
            holder=(action.who, action.by),
            allow=UNRESOLVED,
            notice=notice,
            say=told,
            marker="" if view["state"] == "human" else "human began",
            values={"snooze_until": None},
            **common,
        )

    def hides_names(self, view: Mapping[str, Any]) -> bool:
        """Say whether staff answer this case without their names."""
        own = view.get("anonymous")
        return self.policy.anonymous if own is None else bool(own)

    def _assign(self, ask: Ask) -> Change:
        action, view, common = ask.action, ask.view, ask.common
        name = action.text.strip().removeprefix("@")
        known = people.named(ask.connection, name)
        if known is None:
            raise DeskError(
                f"Nobody of the name {name!r} has worked here yet: they write something in the "
                "desk's chat once, or log in on the page.",
                name="name_unknown",
                who=name,
            )
        common["confirm"] = True  # who assigns has decided
        return Change(
            what="assigned",
            state="human",
            holder=known,
            allow=UNRESOLVED,
            say=self._say("assigned", name=known[0], by=action.who, old=view["claimed_by"] or "-"),
            marker="" if view["state"] == "human" else "human began",
            **common,
        )

    def _bot_back(self, ask: Ask) -> Change:
        view, now, common = ask.view, ask.now, ask.common
        if view["rule"] == "crisis":
            raise DeskError(
                "A case of somebody in danger is not given back to the bot: resolve it.",
                name="danger_stays",
            )
        return Change(
            what="given back",
            state="watch",
            holder=("", ""),
            allow=("human",),
            notice=self._to_person(view, "back_to_bot"),
            rest={"refractory_until": now + self.policy.refractory},
            marker="human ended",
            say=self._say("given_back"),
            **common,
        )

    def _to_person(self, view: Mapping[str, Any], name: str, /, **values: str | int) -> str:
        """Return a fixed text; in a group nothing is said that shows there was a case."""
        return self.texts.say(name, view["lang"], **values) if view["private"] else ""

    def _snooze(self, ask: Ask) -> Change:
        action, view, now, common = ask.action, ask.view, ask.now, ask.common
        until = durations.until(action.text or "1h", now, self.policy.zone)
        if view["rule"] == "crisis" and view["state"] == "queued":
            words = "A case of somebody in danger does not sleep: claim it first."
            raise DeskError(words, name="danger_awake")
        return Change(
            what="snoozed",
            state="snoozed",
            allow=("queued", "human"),
            values={"snooze_until": until, "state_before": view["state"]},
            say=self._say(
                "snoozed",
                name=action.who,
                when=durations.words(until - now, self.language, self.texts),
            ),
            **common,
        )

    def wake(self, view: Mapping[str, Any], *, say: str, **common: Any) -> Change:  # noqa: ANN401
        """Return the change that ends a snooze: by staff, by the time, or by the person."""
        before = view.get("state_before") or "queued"
        return Change(
            what="woken",
            state=before,
            allow=("snoozed",),
            values={"snooze_until": None},
            say=say,
            **{**common, "confirm": True},
        )

    def _resolve(self, ask: Ask) -> Change:
        action, view, now, common = ask.action, ask.view, ask.now, ask.common
        reason, at = durations.split_delay(action.text, now, self.policy.zone)
        if at is not None:
            when = durations.words(at - now, self.language, self.texts)
            return Change(
                what="to be resolved",
                values={"resolve_at": at},
                allow=("queued", "human", "watch"),
                say=self._say("resolve_later", name=action.who, when=when),
                **common,
            )
        return self.resolved(view, now, reason=reason, **common)

    def resolved(
        self,
        view: Mapping[str, Any],
        now: float,
        *,
        reason: str = "",
        notice: str = "resolved",
        **common: Any,  # noqa: ANN401
    ) -> Change:
        """Return the change that settles a case; `notice` names what the person is told."""
        # A case that staff only ever watched: the person never knew of it.
        watched = view["state"] == "watch" and view["rule"] == "staff"
        watched = watched and view.get("first_reply_at") is None
        words = "" if watched else self._to_person(view, notice)
        yes_no = (
            Button(label=self.texts.say("resolved_yes", view["lang"]), data="u:yes"),
            Button(label=self.texts.say("resolved_no", view["lang"]), data="u:no"),
        )
        asks = notice == "resolved" and self.policy.csat
        who = common.get("who", "")
        told = self._say("resolved_by", name=who or view["who"])
        return Change(
            what="resolved",
            state="resolved",
            holder=("", ""),
            notice=words,
            buttons=yes_no if words and asks else (),
            say=f"{told} {reason}".strip(),
            values={
                "resolved_at": now,
                "resolved_by": who or "user",
                "reopen_until": now + self.policy.reopen
                if notice == "resolved" and not watched
                else None,
                "snooze_until": None,
                "resolve_at": None,
            },
            rest={"refractory_until": now + self.policy.refractory, "not_needed_peak": None},
            marker="human ended" if view["state"] != "watch" else "",
            allow=UNRESOLVED,
            transcript=True,
            story=self.policy.transcript_to_user and bool(words),
            **common,
        )

    def _not_needed(self, ask: Ask) -> Change:
        view, now, common = ask.view, ask.now, ask.common
        rest = self.policy.not_needed * 2 ** views.verdicts(
            ask.connection, view["id"], "not needed"
        )
        watched = view["state"] == "watch"
        return Change(
            what="not needed",
            state="resolved",
            holder=("", ""),
            notice="" if watched else self._to_person(view, "back_to_bot"),
            values={
                "resolved_at": now,
                "resolved_by": common["who"],
                "verdict": "not needed",
                "verdict_by": common["who"],
                "verdict_at": now,
                "reopen_until": None,
                "snooze_until": None,
                "resolve_at": None,
            },
            rest={"refractory_until": now + min(rest, 86400.0), "not_needed_peak": _peak(view)},
            marker="human ended" if not watched else "",
            allow=("queued", "human"),
            **common,
        )

    def _release(self, ask: Ask) -> Change:
        return Change(
            what="released",
            state="queued",
            holder=("", ""),
            allow=("human",),
            say=self._say("released", name=ask.action.who),
            **ask.common,
        )

    def _wake(self, ask: Ask) -> Change:
        return self.wake(ask.view, say=self._say("woken", name=ask.action.who), **ask.common)

    def _keep(self, ask: Ask) -> Change:
        return Change(what="kept", allow=UNRESOLVED, **ask.common)

    def _reopen(self, ask: Ask) -> Change:
        view, common = ask.view, ask.common
        if view.get("conversation_busy"):
            words = "This person has another open case: go on there."
            raise DeskError(words, name="case_elsewhere")
        return Change(
            what="reopened",
            state="queued",
            holder=("", ""),
            allow=("resolved",),
            values={"resolved_at": None, "reopen_until": None},
            say=self._say("reopened_by", name=common["who"]),
            **common,
        )

    def _verdict(self, ask: Ask) -> Change:
        action, view, now, common = ask.action, ask.view, ask.now, ask.common
        verdict = next((v for v in VERDICTS if action.text.lower().startswith(v)), None)
        if verdict is None:
            known = ", ".join(VERDICTS)
            raise DeskError(f"A verdict is one of: {known}.", name="verdict_how", known=known)
        given = view.get("verdict_at")
        if given is not None and now - given > CHANGEABLE:
            raise DeskError("This verdict is older than a day: it stands.", name="verdict_stands")
        line = action.text[len(verdict) :].strip()
        common["confirm"] = True
        return Change(
            what=f"verdict {verdict}",
            values={
                "verdict": verdict,
                "verdict_by": action.who,
                "verdict_at": now,
                "missed_line": int(line) if line.isdecimal() and verdict == "too late" else None,
            },
            say=self._say("verdict_which") if verdict == "too late" and not line else "",
            **{**common, "version": None},
        )

    def _priority(self, ask: Ask) -> Change:
        action, common = ask.action, ask.common
        asked = action.text.strip()
        if not asked.isdecimal() or int(asked) > MOST_PRIORITY:
            words = f"A priority is a number from 0 to {MOST_PRIORITY}."
            raise DeskError(words, name="priority_how", most=MOST_PRIORITY)
        common["confirm"] = True
        return Change(
            what="priority",
            values={"priority": int(asked)},
            say=self._say("priority_is", n=int(asked), name=action.who),
            **common,
        )

    def _anonymous(self, ask: Ask) -> Change:
        action, common = ask.action, ask.common
        asked = action.text.strip().lower()
        if asked not in ("on", "off"):
            raise DeskError("Write on or off.", name="on_or_off")
        common["confirm"] = True
        name = "anonymous_on" if asked == "on" else "anonymous_off"
        return Change(
            what=f"anonymous {asked}",
            values={"anonymous": asked == "on"},
            say=self._say(name, name=action.who),
            **common,
        )


def _peak(view: Mapping[str, Any]) -> float:
    """Return how bad the message was that this case was judged by: p_neg x strength."""
    return max(
        (m["p_negative"] * abs(m["intensity"]) for m in view["moved_by"]),
        default=0.0,
    )


_VERBS: Mapping[str, Callable[[Steps, Ask], Change]] = {
    "claim": Steps._claim,  # noqa: SLF001 - its own table
    "steal": Steps._claim,  # noqa: SLF001
    "assign": Steps._assign,  # noqa: SLF001
    "release": Steps._release,  # noqa: SLF001
    "botback": Steps._bot_back,  # noqa: SLF001
    "snooze": Steps._snooze,  # noqa: SLF001
    "wake": Steps._wake,  # noqa: SLF001
    "resolve": Steps._resolve,  # noqa: SLF001
    "notneeded": Steps._not_needed,  # noqa: SLF001
    "reopen": Steps._reopen,  # noqa: SLF001
    "keep": Steps._keep,  # noqa: SLF001
    "verdict": Steps._verdict,  # noqa: SLF001
    "priority": Steps._priority,  # noqa: SLF001
    "anonymous": Steps._anonymous,  # noqa: SLF001
}
