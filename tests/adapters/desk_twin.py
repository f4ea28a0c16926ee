"""The desk in memory: the other side of the port that the web pages use.

It hears 'furious' as an outburst and anything with 'thank' as a kindness, answers by echoing word
by word, and keeps the rules of who may speak. No database, no engine, no clock of its own.
Ana (admin) and Ben work here; the password of each is their name and "-password".
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from core.errors import DeskError, NeedsConfirm, StaleCard, StoreBusy
from core.message import Arrival, ConversationKey
from core.ports import Board, Clock, Event, StaffMember, StaffVerb
from tests.adapters.desk_cases import (
    TO,
    fields,
    hear,
    level_of,
    new_case,
    new_line,
    rank,
    row,
    wanted_by,
)

OPEN_TEXT = "Thank you for telling me. A person from our team will read this."
BACK_TEXT = "You are back with the bot."
_AFTERWARDS = ("reopen", "verdict", "remark", "note", "unblock")


class DeskTwin:
    """Implements core.ports.Desk. `broken` makes the store refuse; `pause` slows each token."""

    def __init__(self, clock: Clock, pause: float = 0.01) -> None:
        self.clock = clock
        self.pause = pause
        self.broken = False
        self.merged: int | None = None  # the message id that answers, as for merged calls
        self.holder = ""  # somebody else who holds every case
        self.asked: list[Arrival] = []
        self.loaded: dict[str, Any] = {
            "name": "embedded",
            "ready": True,
            "loading": False,
            "progress": None,
            "problem": "",
            "offer": "qwen2.5-0.5b",
        }
        self.members = {"Ana": True, "Ben": False}  # name -> admin
        self.sessions: dict[str, str] = {}  # secret -> name
        self.replies = {
            "hello": "Hello, I am here for you.",
            "refund": "Your refund is on its way.",
        }
        self.running: list[dict[str, Any]] = []  # incidents
        self.answered: list[tuple[int, str, str]] = []
        self.read: dict[int, float] = {}  # case -> when staff looked at it last
        self.alerts: set[tuple[int, str]] = set()
        self.figures: dict[str, Any] = {}
        self.options: list[dict[str, Any]] = []
        self.report: list[dict[str, str]] = []
        self.sampled = False
        self._board = Board()
        self._ids = itertools.count(1)
        self._lines: dict[ConversationKey, list[dict[str, Any]]] = defaultdict(list)
        self._mood: dict[ConversationKey, list[dict[str, float]]] = defaultdict(list)
        self._cases: dict[int, dict[str, Any]] = {}
        self._keys: dict[int, ConversationKey] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for turn in self._working:
            turn.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    # Asking

    async def ask(self, arrival: Arrival) -> AsyncIterator[Event]:
        if self.broken:
            raise StoreBusy("the database is locked")
        assert arrival.message is not None
        self.asked.append(arrival)
        key = arrival.message.key
        async with self._board.listen() as told:
            line = self._say(key, "user", arrival.message.text, inbox=next(self._ids))
            turn = asyncio.create_task(self._turn(key, line, arrival.message.message_id))
            self._working.add(turn)
            turn.add_done_callback(self._working.discard)
            async for event in told:
                if event.inbox == line["inbox"] and event.kind in ("tag", "token", "done"):
                    yield event
                    if event.kind == "done":
                        return

    async def _turn(self, key: ConversationKey, line: dict[str, Any], message_id: str) -> None:
        await asyncio.sleep(self.pause)
        tag = hear(line["text"])
        self._board.tell(Event(kind="tag", key=key, data=tag, inbox=line["inbox"]))
        mood = round(0.5 * self._value(key) + 0.5 * tag["intensity"], 3)
        self._mood[key].append({"at": self.clock(), "value": mood})
        self._board.tell(Event(kind="mood", key=key, data={"value": mood}))
        case, answer, escalated = self._case_of(key), None, False
        if case is None and tag["intensity"] < -0.9:
            case, answer, escalated = self._open(key, line, tag, mood), OPEN_TEXT, True
        elif case is None or case["owner"] == "bot":
            answer = f"You said: {line['text']}"
            for word in answer.split(" "):
                await asyncio.sleep(self.pause)
                data = {"text": word + " "}
                self._board.tell(Event(kind="token", key=key, data=data, inbox=line["inbox"]))
        line["tag"], line["decision"] = tag, {"rule": "spike" if escalated else None}
        merged = {"answered_by": self.merged} if self.merged is not None else {}
        if answer is not None and not merged:
            self._say(key, "bot", answer, inbox=line["inbox"])
        done = {
            "sentiment": tag["label"],
            "intensity": tag["intensity"],
            "strong": tag["strong"],
            "mood": mood,
            "response": None if merged else answer,
            "escalated": escalated,
            "owner": case["owner"] if case else "bot",
            "case": case["id"] if case else None,
            "message_id": message_id,
            "model": "embedded",
            "prompt_version": "phrasebook@1",
            **merged,
        }
        self._board.tell(Event(kind="done", key=key, data=done, inbox=line["inbox"]))

    def _open(
        self, key: ConversationKey, line: dict[str, Any], tag: dict[str, Any], mood: float
    ) -> dict[str, Any]:
        case = new_case(
            next(self._ids),
            key,
            self.clock(),
            moved_by=[{"text": line["text"], **tag}],
            mood=mood,
            mood_points=list(self._mood[key]),
            level=level_of(mood),
        )
        self._cases[case["id"]] = case
        self._keys[case["id"]] = key
        self._tell(case, new=True)
        return case

    def add(self, who: str, *said: str, platform: str = "telegram", **more: Any) -> dict[str, Any]:
        """Open a case of somebody who has said these lines; `more` overrides its fields."""
        key = ConversationKey(platform=platform, bot="heed_bot", chat=f"c{who}", user=who)
        for text in said:
            self._say(key, "user", text, inbox=next(self._ids), tag=hear(text))
        case = new_case(next(self._ids), key, self.clock(), **more)
        self._cases[case["id"]], self._keys[case["id"]] = case, key
        self._tell(case, new=True)
        return case

    def hear(self, case: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
        """Let the person of a case write a line, or with `role` somebody else."""
        role = more.pop("role", "user")
        tag = hear(text) if role == "user" else None
        line = self._say(self._keys[case["id"]], role, text, tag=tag, **more)
        called = {one for one in self.alerts if role == "user" and one[0] == case["id"]}
        if called:
            self.alerts -= called
            self._tell(case, alert=sorted(name for _, name in called))
        return line

    def _tell(self, case: dict[str, Any], *, new: bool = False, alert: Sequence[str] = ()) -> None:
        key = self._keys[case["id"]]
        data = {"case": case["id"], "new": new, "alert": list(alert)}
        self._board.tell(Event(kind="case", key=key, data=data))

    def _say(self, key: ConversationKey, role: str, text: str, **more: Any) -> dict[str, Any]:
        line = new_line(next(self._ids), role, text, self.clock(), **more)
        self._lines[key].append(line)
        self._board.tell(Event(kind="line", key=key, data=line, inbox=line["inbox"]))
        return line

    def _value(self, key: ConversationKey) -> float:
        return self._mood[key][-1]["value"] if self._mood[key] else 0.0

    def _case_of(self, key: ConversationKey) -> dict[str, Any] | None:
        for number, case in self._cases.items():
            if self._keys[number] == key and case["state"] != "resolved":
                return case
        return None

    # Looking

    async def conversation(self, key: ConversationKey, limit: int = 200) -> dict[str, Any]:
        case, value = self._case_of(key), self._value(key)
        return {
            "owner": case["owner"] if case else "bot",
            "lines": self._lines[key][-limit:],
            "mood": self._mood[key],
            "level": level_of(value),
            "case": case,
        }

    async def cases(self, *, open_only: bool = True) -> list[dict[str, Any]]:
        return [c for c in self._cases.values() if not open_only or c["state"] != "resolved"]

    async def case(self, case_id: int) -> dict[str, Any] | None:
        case = self._cases.get(case_id)
        return case and case | {"lines": list(self._lines[self._keys[case_id]])}

    async def queue(self, wanted: Mapping[str, str]) -> dict[str, Any]:
        shown = [
            case
            for number, case in self._cases.items()
            if wanted_by(case, self._lines[self._keys[number]], dict(wanted))
        ]
        counts: dict[str, int] = defaultdict(int)
        for case in self._cases.values():
            counts[case["state"]] += 1
        rows = [
            row(case, self._lines[self._keys[case["id"]]], self.read.get(case["id"], 0.0))
            for case in sorted(shown, key=rank)
        ]
        return {"cases": rows[:500], "counts": dict(counts)}

    async def seen(self, case_id: int) -> None:
        if case_id in self._cases:
            self.read[case_id] = self.clock()

    async def transcript(self, case_id: int) -> dict[str, Any] | None:
        return await self.case(case_id)

    async def saved_replies(self) -> list[dict[str, str]]:
        return [{"name": name, "text": text} for name, text in sorted(self.replies.items())]

    async def save_reply(self, name: str, text: str, staff: str) -> None:  # noqa: ARG002
        if not name.isidentifier():
            raise DeskError("A name is one word of letters and digits.")
        if text:
            self.replies[name] = text
        else:
            self.replies.pop(name, None)

    async def incidents(self) -> list[dict[str, Any]]:
        return self.running

    async def answer_all(self, incident_id: int, text: str, staff: str) -> int:
        self.answered.append((incident_id, text, staff))
        return len(self._incident(incident_id)["case_ids"])

    async def mute(self, incident_id: int, seconds: float, staff: str) -> None:  # noqa: ARG002
        self._incident(incident_id)["muted_until"] = self.clock() + seconds

    def _incident(self, number: int) -> dict[str, Any]:
        for incident in self.running:
            if incident["id"] == number:
                return incident
        raise DeskError("That incident is over.")

    # People

    async def recognise(self, name: str) -> str:
        return f"known.{name}"

    async def log_in(self, name: str, password: str, *, known: str = "") -> str | None:
        del known
        if name not in self.members or password != f"{name}-password":
            return None
        secret = f"secret-{next(self._ids)}-{name}"
        self.sessions[secret] = name
        return secret

    async def member(self, secret: str, *, renew: bool = True) -> StaffMember | None:  # noqa: ARG002
        name = self.sessions.get(secret)
        return name and StaffMember(name=name, admin=self.members[name], csrf=f"form-{secret}")

    async def log_out(self, secret: str, *, everywhere: bool = False) -> None:
        name = self.sessions.pop(secret, None)
        if everywhere:
            self.sessions = {s: one for s, one in self.sessions.items() if one != name}

    async def staff(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "admin": admin, "added_at": self.clock(), "seen_at": None}
            for name, admin in sorted(self.members.items())
        ]

    # Pictures and settings: what a test puts in comes out

    async def pictures(
        self,
        since: float,
        until: float,
        wanted: Mapping[str, str],
        hour_offset: float,
    ) -> dict[str, Any]:
        asked = {"since": since, "until": until, "hour_offset": hour_offset, **wanted}
        return {"asked": asked, **self.figures}

    async def sample(self, *, make: bool) -> None:
        self.sampled = make

    def settings(self) -> list[dict[str, Any]]:
        return self.options

    async def change_settings(self, changes: Mapping[str, str], staff: str) -> None:  # noqa: ARG002
        for one in self.options:
            name = f"{one['section']}.{one['key']}"
            if name in changes:
                if not one["live"]:
                    raise DeskError(f"{name} needs a restart.")
                one.update(value=changes[name], source="page")

    async def preview(self, changes: Mapping[str, str]) -> dict[str, Any]:
        return {"now": 7, "then": 7 - len(changes), "messages": 500}

    async def doctor(self) -> list[dict[str, str]]:
        return self.report

    async def explain(self, inbox_id: int) -> dict[str, Any] | None:
        return {
            "message": inbox_id,
            "heard by": "table and phrase book, no prompt",
            "probabilities": {"negative": 0.125, "neutral": 0.25, "positive": 0.625},
            "trace": [{"rule": "spike", "value": -0.1, "threshold": -0.8, "fired": False}],
            "prompt": {"prefix": "shared start\n", "rest": "<b>own end</b>"},
            "milliseconds": 1.25,
            "forwards": 0,
        }

    standing_still: list[dict[str, str]] = []  # noqa: RUF012

    def board(self) -> Board:
        return self._board

    def engine(self) -> dict[str, Any]:
        return self.loaded

    async def fetch_model(self, name: str) -> None:
        self.loaded |= {"loading": name, "progress": 0.4, "name": "embedded"}
        self._board.tell(Event(kind="engine", key=None, data=self.loaded))

    def platforms(self) -> list[dict[str, str]]:
        return [
            {"platform": "telegram", "state": "ok", "name": "heed_bot", "problem": ""},
            {"platform": "discord", "state": "off", "name": "", "problem": ""},
        ]

    def troubles(self) -> list[dict[str, str]]:
        return self.standing_still

    # Acting

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
        case = self._cases.get(case_id)
        if case is None:
            raise DeskError(f"There is no case {case_id}.", name="no_case", case=case_id)
        self._check(case, verb, staff, confirm=confirm, version=version)
        if verb == "saved":
            text = self.replies[text]
        state, owner = TO.get(verb, (case["state"], case["owner"]))
        if (state, owner) != (case["state"], case["owner"]) or verb in ("steal", "assign"):
            case.update(state=state, owner=owner, version=case["version"] + 1)
            if owner != "human" or verb != "wake":
                holder = text if verb == "assign" else staff
                case["claimed_by"] = holder if state in ("human", "snoozed") else None
        self._change(case, verb, staff, text)
        self._tell(case)
        return case | {"lines": list(self._lines[self._keys[case_id]])}

    def _check(
        self, case: dict[str, Any], verb: str, staff: str, *, confirm: bool, version: int | None
    ) -> None:
        if version is not None and version != case["version"]:
            raise StaleCard("This card was old; here is the present one.")
        if case["state"] == "resolved" and verb not in _AFTERWARDS:
            raise DeskError("This case is settled already.")
        held = self.holder or case["claimed_by"]
        other = bool(held) and held != staff and verb in ("claim", "steal", "reply", "saved")
        if other and not confirm:
            raise NeedsConfirm(f"{held} claimed this 2 min ago. Send anyway?")
        if verb == "block" and not confirm:
            raise NeedsConfirm(f"{case['who']} could not write any more. Block them?")

    def _change(self, case: dict[str, Any], verb: str, staff: str, text: str) -> None:
        key, now = self._keys[case["id"]], self.clock()
        if verb in ("reply", "saved"):
            self._say(key, "staff", text, name=staff, mark="sent")
            case.update(draft="", first_reply_at=case["first_reply_at"] or now)
        elif verb == "note":
            self._say(key, "note", text, name=staff)
        elif verb in ("botback", "notneeded"):
            self._say(key, "marker", BACK_TEXT)
        elif verb == "draft":
            case.update(draft="I am sorry. I look into it now.", draft_by="embedded")
        elif verb == "remark":
            case["remarks"].append({"who": staff, "text": text, "at": now})
        elif verb == "alert":
            self.alerts ^= {(case["id"], staff)}
        elif verb == "edit":
            line = self._line(key, text)
            line.update(was=line["text"], text=text.partition(" ")[2], mark="edited")
        elif verb == "delete":
            self._line(key, text).update(text="", deleted=True)
        case.update(fields(case, verb, staff, text, now))

    def _line(self, key: ConversationKey, text: str) -> dict[str, Any]:
        for line in self._lines[key]:
            if str(line["id"]) == text.partition(" ")[0] and line["role"] == "staff":
                return line
        raise DeskError("That is no answer of staff's.")
