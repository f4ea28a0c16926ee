"""A marked sample, so that the charts of an empty database show what they will show.

Its people are named as what they are and live on a platform of their own; the same time makes the
same rows. None of it is said to anybody: every case in it is resolved, and nothing waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from sqlalchemy import Table, delete, insert, select

from core.errors import DeskError
from core.store.connection import Connection
from core.store.rows import insert_id
from core.tables import audit, case, conversation, decision, feedback, history

PLATFORM = "sample"
PEOPLE = 36
DAYS = 15
WORDS = "(sample)"
STAFF = "Sample staff"
_HOUR, _DAY = 3600.0, 86400.0
_AT_ONCE = 400  # rows of one statement
_BUSY = (0, 0, 0, 0, 0, 0, 1, 1, 3, 5, 6, 5, 4, 5, 7, 6, 5, 4, 3, 2, 2, 1, 1, 0)  # by the hour
_BAD_DAY = 3  # days ago, in the afternoon: the charts shall have something to tell
_THUMBS, _LIKED = 0.12, 0.09  # shares of the answers with a thumb, and with one that goes up
_RULES = ("slide", "spike", "request", "money", "threat")
_VERDICTS = ("right", "right", "right", "not needed", "right", "too late", "")


def fill(connection: Connection, now: float) -> None:
    """Write the sample. Raises DeskError where anybody has written, or a sample is there."""
    if connection.execute(select(conversation.c.id).limit(1)).first() is not None:
        raise DeskError(
            "A sample goes into an empty database only, and this one is not empty.",
            name="sample_refused",
        )
    people = [_person(connection, number, now) for number in range(PEOPLE)]
    told = _Told()
    for hour in range(DAYS * 24, 0, -1):
        at = (now // _HOUR - hour) * _HOUR
        for number in range(_messages(at, hour)):
            who = people[int(_dice(at, number, "who") * PEOPLE)]
            _say(connection, told, who, at + _HOUR * _dice(at, number, "at"), hour=hour)
    for table, rows in ((history, told.lines), (decision, told.decisions), (audit, told.steps)):
        _write(connection, table, rows)
    _write(connection, feedback, _thumbs(connection, now))
    for one in people:
        connection.execute(
            conversation.update()
            .where(conversation.c.id == one.id)
            .values(mood=one.mood, level=_level(one.mood))
        )


def clear(connection: Connection) -> None:
    """Take every row of the sample away again."""
    theirs = select(conversation.c.id).where(conversation.c.platform == PLATFORM)
    cases = select(case.c.id).where(case.c.conversation_id.in_(theirs))
    connection.execute(delete(audit).where(audit.c.case_id.in_(cases)))
    for table in (feedback, history, decision, case):
        connection.execute(delete(table).where(table.c.conversation_id.in_(theirs)))
    connection.execute(delete(conversation).where(conversation.c.platform == PLATFORM))


@dataclass(slots=True)
class _Person:
    id: int
    lang: str
    mood: float = 0.1
    rests_until: float = 0.0  # no second case before


@dataclass(slots=True)
class _Told:
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    decisions: list[Mapping[str, Any]] = field(default_factory=list)
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    cases: int = 0


def _dice(*facts: object) -> float:
    """Return a number from 0 to 1 that the same facts always give."""
    return crc32(repr(facts).encode()) / 2**32


def _person(connection: Connection, number: int, now: float) -> _Person:
    lang = ("en", "en", "zh", "es")[number % 4]
    public = number % 3 == 0
    name = f"Sample person {number + 1}"
    row = insert_id(
        connection,
        conversation,
        platform=PLATFORM,
        bot="heed",
        chat="sample group" if public else name,
        user=name,
        name=name,
        lang=lang,
        private=not public,
        opened_at=now - DAYS * _DAY,
        touched_at=now,
    )
    return _Person(id=row, lang=lang)


def _messages(at: float, hour: int) -> int:
    """Return how many messages came in an hour; fewer on Saturday and Sunday."""
    weekend = int(at // _DAY + 3) % 7 >= 5
    usual = _BUSY[int(at // _HOUR) % 24] * (0.35 if weekend else 1.0)
    return round(usual * (0.4 + _dice(at, "many")) * (1.9 if _is_bad(hour) else 1.0))


def _is_bad(hour: int) -> bool:
    return _BAD_DAY * 24 - 5 <= hour <= _BAD_DAY * 24


def _level(mood: float) -> str:
    return "upset" if mood <= -0.55 else "tense" if mood <= -0.35 else "calm"


def _say(connection: Connection, told: _Told, who: _Person, at: float, *, hour: int) -> None:
    """Let a person say one line, and the machine or a human answer it."""
    sour = 0.75 if _is_bad(hour) else 0.16
    low = _dice(at, who.id, "low") < sour
    p = 0.72 + 0.27 * _dice(at, "p") if low else 0.25 * _dice(at, "p")
    scores = _scores(p, who.lang)
    who.mood = 0.55 * who.mood + 0.45 * scores["intensity"]
    opens = _level(who.mood) == "upset" and at >= who.rests_until
    if opens:
        who.rests_until = at + 2 * _DAY
    number = len(told.decisions) + 1
    rule = _RULES[told.cases % len(_RULES)] if opens else ""
    case_id = _case(connection, told, who, at, rule) if opens else None
    line = {"conversation_id": who.id, "inbox_id": -number, "case_id": case_id, "text": WORDS}
    told.lines.append({**line, "role": "user", "at": at, "scores": scores, "model": ""})
    spoke = 900 + 2600 * _dice(at, "ms") ** 2
    if not opens:
        later = at + spoke / 1000
        told.lines.append({**line, "role": "bot", "at": later, "scores": None, "model": PLATFORM})
    told.decisions.append(
        {
            "conversation_id": who.id,
            "inbox_id": -number,  # no message of anybody's has such a number
            "case_id": case_id,
            "rule": rule,
            "opened": opens,
            "trace": [],
            "scores": scores,
            "mood": who.mood,
            "level": _level(who.mood),
            "versions": {},
            "made": {
                "ms": 40 + 120 * _dice(at, "tag"),
                "reply": {} if opens else {"reply_ms": spoke},
            },
            "at": at,
        }
    )


def _scores(p: float, lang: str) -> dict[str, Any]:
    """Return how a message was heard: the fields of core.message.Scores."""
    label = "negative" if p >= 0.5 else "neutral"
    return {
        "label": label,
        "probs": {"negative": p, "neutral": 0.7 * (1 - p), "positive": 0.3 * (1 - p)},
        "p_negative": p,
        "p_positive": 0.3 * (1 - p),
        "intensity": 0.3 * (1 - p) - p,
        "confidence": 0.9,
        "strong": p if p > 0.9 else 0.1,
        "wants_human": 0.0,
        "threat_to_leave": 0.0,
        "crisis": 0.0,
        "lang": lang,
        "instrument": PLATFORM,
        "prompt": "",
        "stand_in": False,
    }


def _case(connection: Connection, told: _Told, who: _Person, at: float, rule: str) -> int:
    """Open a case, and have it claimed, answered and resolved."""
    told.cases += 1
    number = told.cases
    claimed = at + 60 + 900 * _dice(at, "claim")
    answered = claimed + 30 + 600 * _dice(at, "answer")
    resolved = answered + 600 + 5000 * _dice(at, "resolve")
    verdict = _VERDICTS[number % len(_VERDICTS)]
    alone = number % 6 == 0  # the person needed nobody after all
    case_id = insert_id(
        connection,
        case,
        conversation_id=who.id,
        state="resolved",
        rule=rule,
        opened_at=at,
        claimed_by="" if alone else STAFF,
        claimed_at=None if alone else claimed,
        first_reply_at=None if alone else answered,
        resolved_at=resolved,
        resolved_by="user" if alone else STAFF,
        verdict="" if alone else verdict,
        verdict_by="" if alone or not verdict else STAFF,
    )
    steps = [("opened", "", at), ("resolved", "" if alone else STAFF, resolved)]
    if not alone:
        steps.insert(1, ("claimed", STAFF, claimed))
    if number % 5 == 0:
        steps.append(("given back", STAFF, resolved))
    told.steps += [
        {"case_id": case_id, "what": what, "who": by, "at": when} for what, by, when in steps
    ]
    return case_id


def _thumbs(connection: Connection, now: float) -> list[Mapping[str, Any]]:
    """Return what some people thought of an answer, a moment after it."""
    rows = connection.execute(select(history).where(history.c.role == "bot").order_by(history.c.id))
    return [
        {
            "conversation_id": line.conversation_id,
            "history_id": line.id,
            "value": 1 if luck < _LIKED else -1,
            "at": min(line.at + 10 + 90 * luck / _THUMBS, now - 1),
        }
        for line in rows
        if (luck := _dice(line.at, "thumb")) < _THUMBS
    ]


def _write(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for first in range(0, len(rows), _AT_ONCE):
        connection.execute(insert(table).values(list(rows[first : first + _AT_ONCE])))
