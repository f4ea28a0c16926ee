"""The desk in memory: the other side of the port that the web pages use.

It hears 'furious' as an outburst and anything with 'thank' as a kindness, answers by echoing word
by word, and keeps the rules of who may speak. No database, no engine, no clock of its own.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from core.errors import DeskError, NeedsConfirm, StoreBusy
from core.message import Arrival, ConversationKey
from core.ports import Board, Clock, Event, StaffVerb

OPEN_TEXT = "Thank you for telling me. A person from our team will read this."
BACK_TEXT = "You are back with the bot."


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
        tag = _hear(line["text"])
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
        case = {
            "id": next(self._ids),
            "state": "queued",
            "owner": "queue",
            "version": 1,
            "claimed_by": None,
            "who": key.user,
            "platform": key.platform,
            "lang": "en",
            "rule": "spike",
            "why": f"spike: intensity {tag['intensity']}, threshold -0.8",
            "opened_at": self.clock(),
            "moved_by": [{"text": line["text"], **tag}],
            "trace": [
                {"rule": "spike", "value": tag["intensity"], "threshold": -0.8, "fired": True},
                {"rule": "slide", "value": mood, "threshold": -0.55, "fired": mood <= -0.55},
                {"rule": "request", "value": 0.02, "threshold": 0.5, "fired": False},
            ],
            "versions": {"model": "embedded", "rules": "1", "prompt": "phrasebook@1"},
            "mood": mood,
            "level": "upset",
            "draft": None,
            "earlier": 0,
        }
        self._cases[case["id"]] = case
        self._keys[case["id"]] = key
        self._board.tell(Event(kind="case", key=key, data=case))
        return case

    def _say(self, key: ConversationKey, role: str, text: str, **more: Any) -> dict[str, Any]:
        line = {
            "id": next(self._ids),
            "role": role,
            "text": text,
            "at": self.clock(),
            "name": "",
            "inbox": None,
            "tag": None,
            "decision": None,
            "model": "embedded" if role == "bot" else "",
            "prompt_version": "",
            **more,
        }
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
            "level": "upset" if value <= -0.55 else "tense" if value <= -0.35 else "calm",
            "case": case,
        }

    async def cases(self, *, open_only: bool = True) -> list[dict[str, Any]]:
        return [c for c in self._cases.values() if not open_only or c["state"] != "resolved"]

    async def case(self, case_id: int) -> dict[str, Any] | None:
        return self._cases.get(case_id)

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

    # Acting

    async def act(
        self, case_id: int, verb: StaffVerb, staff: str, *, text: str = "", confirm: bool = False
    ) -> dict[str, Any]:
        case = self._cases.get(case_id)
        if case is None or case["state"] == "resolved":
            raise DeskError("This case is settled already.")
        if self.holder and not confirm and verb in ("claim", "reply"):
            raise NeedsConfirm(f"{self.holder} claimed this 2 min ago. Send anyway?")
        key = self._keys[case_id]
        to = {
            "claim": ("human", "human", staff),
            "reply": ("human", "human", staff),
            "release": ("queued", "queue", None),
            "resolve": ("resolved", "bot", None),
            "notneeded": ("resolved", "bot", None),
            "botback": ("watch", "bot", None),
        }
        if verb in to:
            case["state"], case["owner"], case["claimed_by"] = to[verb]
        if verb == "reply":
            self._say(key, "staff", text, name=staff)
        elif verb == "note":
            self._say(key, "note", text, name=staff)
        elif verb in ("botback", "notneeded"):
            self._say(key, "marker", BACK_TEXT)
        self._board.tell(Event(kind="case", key=key, data=case))
        return case


def _hear(text: str) -> dict[str, Any]:
    low = text.lower()
    label, intensity = "neutral", -0.05
    if "furious" in low or "气死" in low:
        label, intensity = "negative", -0.94
    elif "thank" in low or "谢" in low:
        label, intensity = "positive", 0.82
    probs = {"negative": 0.1, "neutral": 0.1, "positive": 0.1} | {label: 0.8}
    return {
        "label": label,
        "probs": probs,
        "intensity": intensity,
        "confidence": 0.8,
        "strong": abs(intensity),
        "lang": "zh" if "谢" in low else "en",
    }
