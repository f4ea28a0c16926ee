"""The cases of the desk in memory: plain dictionaries of the shapes that core.ports.Desk fixes."""

from __future__ import annotations

from typing import Any

from core.message import ConversationKey

LEVELS = ((-0.55, "upset"), (-0.35, "tense"), (2.0, "calm"))
TO = {  # verb -> state, owner; the rest leaves both as they are
    "claim": ("human", "human"),
    "steal": ("human", "human"),
    "assign": ("human", "human"),
    "reply": ("human", "human"),
    "saved": ("human", "human"),
    "release": ("queued", "queue"),
    "reopen": ("queued", "queue"),
    "resolve": ("resolved", "bot"),
    "notneeded": ("resolved", "bot"),
    "botback": ("watch", "bot"),
    "watch": ("watch", "bot"),
    "snooze": ("snoozed", "human"),
    "wake": ("human", "human"),
}
OPEN = ("queued", "human", "snoozed", "watch")


def level_of(value: float) -> str:
    return next(name for edge, name in LEVELS if value <= edge)


def new_case(number: int, key: ConversationKey, now: float, **more: Any) -> dict[str, Any]:
    """Return a case that has just been opened; `more` overrides its fields."""
    return {
        "id": number,
        "state": "queued",
        "owner": "queue",
        "version": 1,
        "claimed_by": None,
        "who": key.user,
        "platform": key.platform,
        "private": True,
        "lang": "en",
        "rule": "spike",
        "why": "spike: intensity -0.94, threshold -0.8",
        "opened_at": now,
        "claimed_at": None,
        "first_reply_at": None,
        "resolved_at": None,
        "resolved_by": "",
        "snooze_until": None,
        "resolve_at": None,
        "priority": 0,
        "verdict": "",
        "helped": "",
        "anonymous": False,
        "reachable": True,
        "opted_out": False,
        "held": 0,
        "blocked_until": None,
        "trace": [
            {"rule": "spike", "value": -0.94, "threshold": -0.8, "fired": True},
            {"rule": "slide", "value": -0.47, "threshold": -0.55, "fired": False},
            {"rule": "request", "value": 0.02, "threshold": 0.5, "fired": False},
        ],
        "moved_by": [],
        "said": [],
        "versions": {"model": "embedded", "rules": "1", "prompt": "phrasebook@1"},
        "mood": -0.6,
        "level": "upset",
        "mood_points": [],
        "draft": "",
        "draft_by": "",
        "cause_message": "",
        "cause_place": None,
        "link": "",
        "audit": [],
        "earlier": [],
        "remarks": [],
        "elsewhere": [],
        "conversation": {
            "platform": key.platform,
            "bot": key.bot,
            "chat": key.chat,
            "thread": key.thread,
            "user": key.user,
        },
        **more,
    }


def new_line(number: int, role: str, text: str, now: float, **more: Any) -> dict[str, Any]:
    """Return one line of a conversation."""
    return {
        "id": number,
        "role": role,
        "text": text,
        "at": now,
        "name": "",
        "inbox": None,
        "was": "",
        "deleted": False,
        "tag": None,
        "decision": None,
        "model": "embedded" if role == "bot" else "",
        "prompt_version": "",
        "files": [],
        "mark": "",
        "problem": "",
        **more,
    }


def row(case: dict[str, Any], lines: list[dict[str, Any]], read: float) -> dict[str, Any]:
    """Return a case as a row of the queue; staff looked at it last at `read`."""
    said = [line for line in lines if line["role"] != "note"]
    last = said[-1] if said else {"text": "", "role": "user", "at": case["opened_at"]}
    same = (
        "id", "state", "who", "platform", "lang", "rule", "why", "priority", "mood", "level",
        "claimed_by", "opened_at", "snooze_until", "reachable",
    )  # fmt: skip
    return {name: case[name] for name in same} | {
        "waiting_since": case["opened_at"] if case["state"] == "queued" else None,
        "last_line": last["text"],
        "last_role": last["role"],
        "last_at": last["at"],
        "unread": any(line["role"] == "user" and line["at"] > read for line in lines),
    }


def rank(case: dict[str, Any]) -> tuple[Any, ...]:
    """Order cases by urgency: state, then priority, then who waits longest."""
    order = ("queued", "human", "watch", "snoozed", "resolved")
    return (order.index(case["state"]), -case["priority"], case["opened_at"], case["id"])


def wanted_by(case: dict[str, Any], lines: list[dict[str, Any]], wanted: dict[str, str]) -> bool:
    """Say whether a case passes the filters of Desk.queue."""
    state, words = wanted.get("state", "open"), wanted.get("words", "").lower()
    if state == "open" and case["state"] not in OPEN:
        return False
    if state not in ("open", "all") and case["state"] != state:
        return False
    for name, field in (("mine", "claimed_by"), ("platform", "platform"), ("lang", "lang")):
        if wanted.get(name) and case[field] != wanted[name]:
            return False
    return not words or any(words in line["text"].lower() for line in lines)


def fields(case: dict[str, Any], verb: str, staff: str, text: str, now: float) -> dict[str, Any]:
    """Return the fields of a case that a verb changes by itself."""
    hours = {"1h": 3600, "4h": 14400, "1d": 86400}
    return {
        "snooze": {"snooze_until": now + hours.get(text, 600)},
        "wake": {"snooze_until": None},
        "resolve": {"resolved_at": now, "resolved_by": staff},
        "notneeded": {"resolved_at": now, "resolved_by": staff, "verdict": "not needed"},
        "priority": {"priority": int(text) if text.isdecimal() else case["priority"]},
        "anonymous": {"anonymous": text == "on"},
        "block": {"blocked_until": now + 86400 * 7},
        "unblock": {"blocked_until": None},
        "verdict": {"verdict": text},
        "send": {"held": 0},
        "drop": {"held": 0},
    }.get(verb, {})


def hear(text: str) -> dict[str, Any]:
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
