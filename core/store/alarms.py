"""How loud the desk is: a budget of calls a day, and one card when many are upset at once.

Limits touch the noise, never the help: every case is opened, and every person is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from core.message import Place
from core.store import places, timers
from core.store.connection import Connection
from core.store.outbox import Lane, Outgoing, enqueue, thread_of
from core.store.rows import insert_id
from core.tables import audit, case, conversation, history, incident, staff_thread

if TYPE_CHECKING:
    from core.store.desk import Card

MOOD = frozenset({"slide", "spike", "threat", "trouble"})  # rules that a budget may quieten
DAY = 86400.0
CALM = 1200.0  # seconds without a new person after which an incident is over
PINGED, QUIET = "called", "not called"
WORDS_OF = 200  # persons whose words are compared


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarms:
    """How often staff may be called by moods, and what many at once look like."""

    per_day: int = 5
    users: int = 6
    seconds: float = 600.0
    rests: Callable[[float], bool] = lambda _now: False  # quiet hours: nobody is called by moods
    next_hour: Callable[[float], float] = lambda now: now + 3600.0 - now % 3600.0
    draw: Callable[[Mapping[str, Any]], Card] | None = None  # an incident's card
    words: Callable[[Sequence[tuple[str, str]]], list[str]] = lambda _: []


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """Why a case calls nobody: it belongs to an incident, or the day's calls are used up."""

    incident: int | None


def weigh(connection: Connection, rule: str, alarms: Alarms, now: float) -> Weight | None:
    """Decide whether a case that is being opened calls staff; None: it does."""
    if rule not in MOOD:
        return None
    running = running_incident(connection)
    if running is not None:
        return Weight(incident=int(running.id))
    upset = _upset_lately(connection, now - alarms.seconds)
    if upset + 1 >= alarms.users:
        made = insert_id(connection, incident, opened_at=now, last_at=now)
        connection.execute(
            update(case)
            .where(case.c.rule.in_(MOOD), case.c.opened_at > now - alarms.seconds)
            .values(incident_id=made)
        )
        return Weight(incident=made)
    calls = connection.execute(
        select(func.count()).where(audit.c.what == PINGED, audit.c.at > now - DAY)
    ).scalar_one()
    if calls >= alarms.per_day or alarms.rests(now):
        insert_id(connection, audit, what=QUIET, at=now)
        return Weight(incident=None)
    insert_id(connection, audit, what=PINGED, at=now)
    return None


def _upset_lately(connection: Connection, since: float) -> int:
    """Count the people whose case was opened by their mood since a time."""
    query = select(func.count(case.c.conversation_id.distinct())).where(
        case.c.rule.in_(MOOD), case.c.opened_at > since
    )
    return int(connection.execute(query).scalar_one())


def running_incident(connection: Connection) -> Any | None:  # noqa: ANN401 - a row
    """Return the incident that is going on, or None."""
    return connection.execute(
        select(incident).where(incident.c.closed_at.is_(None)).order_by(incident.c.id.desc())
    ).first()


def heard(
    connection: Connection, weight: Weight, alarms: Alarms, place: Place | None, now: float
) -> list[Lane]:
    """Note that somebody was not called for; return the lanes of what is posted instead."""
    if weight.incident is None:
        if not timers.runs(connection, "ranked"):
            timers.put(connection, "ranked", alarms.next_hour(now))
        return []
    connection.execute(update(incident).where(incident.c.id == weight.incident).values(last_at=now))
    timers.put(connection, "calm", now + CALM, subject=str(weight.incident))
    row = connection.execute(select(incident).where(incident.c.id == weight.incident)).one()
    if 0 <= now - row.drawn_at < places.REDRAW:  # a flood costs one drawing every few seconds
        if not timers.runs(connection, "crowd", subject=str(row.id)):
            timers.put(connection, "crowd", row.drawn_at + places.REDRAW, subject=str(row.id))
        return []
    return show_incident(connection, row.id, alarms, place, now)


def show_incident(
    connection: Connection, incident_id: int, alarms: Alarms, place: Place | None, now: float
) -> list[Lane]:
    """Draw an incident's card, the first time or again; return the lanes to ring."""
    first = connection.execute(
        select(incident.c.drawn_at).where(incident.c.id == incident_id)
    ).scalar_one()
    connection.execute(update(incident).where(incident.c.id == incident_id).values(drawn_at=now))
    if place is None or alarms.draw is None:
        return []
    view = incident_view(connection, incident_id, alarms, now)
    card = alarms.draw(view)
    board = places.board(connection, place)
    cause = insert_id(connection, audit, what="incident", at=now)
    if not first:
        connection.execute(
            update(staff_thread).where(staff_thread.c.id == board).values(card_message_id="")
        )
        post = Outgoing(
            kind="card",
            text=card.text,
            buttons=card.buttons,
            cause_kind="incident",
            cause_id=cause,
            staff_thread_id=board,
        )
        return enqueue(connection, None, [post], now)
    thread = thread_of(connection, board)
    return enqueue(connection, None, places.redrawn(connection, thread, card, cause, "", now), now)


def incident_view(
    connection: Connection, incident_id: int, alarms: Alarms, now: float
) -> dict[str, Any]:
    """Return an incident as its card and the page show it."""
    row = connection.execute(select(incident).where(incident.c.id == incident_id)).one()
    members = connection.execute(
        select(
            case.c.id,
            case.c.opened_at,
            case.c.conversation_id,
            conversation.c.private,
            conversation.c.chat,
            conversation.c.platform,
        )
        .join(conversation, conversation.c.id == case.c.conversation_id)
        .where(case.c.incident_id == incident_id)
        .order_by(case.c.id)
    ).all()
    people = {one.conversation_id: None for one in members}
    first = min((one.opened_at for one in members), default=row.opened_at)
    said = _words_of(connection, list(people)[-WORDS_OF:], first - alarms.seconds)
    return {
        "id": incident_id,
        "opened_at": row.opened_at,
        "last_at": row.last_at,
        "users": len(people),
        "minutes": max(1, round((row.last_at - first) / 60)),
        "words": alarms.words(said),
        "places": sorted({one.chat for one in members if not one.private}),
        "muted_until": row.muted_until,
        "closed_at": row.closed_at,
        "quiet": row.closed_at is not None or now - row.last_at >= CALM,
        "case_ids": [int(one.id) for one in members],
    }


def _words_of(connection: Connection, people: Sequence[int], since: float) -> list[tuple[str, str]]:
    rows = connection.execute(
        select(history.c.conversation_id, history.c.text).where(
            history.c.conversation_id.in_(people),
            history.c.role == "user",
            history.c.at >= since,
        )
    )
    return [(str(row.conversation_id), row.text) for row in rows]


def incidents(connection: Connection, alarms: Alarms, now: float) -> list[dict[str, Any]]:
    """Return the incidents that are going on."""
    rows = connection.execute(select(incident.c.id).where(incident.c.closed_at.is_(None))).all()
    return [incident_view(connection, int(row.id), alarms, now) for row in rows]


def mute(connection: Connection, incident_id: int, until: float) -> None:
    """Let an incident be silent until a time."""
    connection.execute(
        update(incident).where(incident.c.id == incident_id).values(muted_until=until)
    )


def close(connection: Connection, incident_id: int, now: float) -> bool:
    """End an incident that nobody joined for long; False: somebody did meanwhile."""
    ended = connection.execute(
        update(incident)
        .where(
            incident.c.id == incident_id,
            incident.c.closed_at.is_(None),
            incident.c.last_at <= now - CALM,
        )
        .values(closed_at=now)
    )
    return bool(ended.rowcount)


def members(connection: Connection, incident_id: int) -> list[int]:
    """Return the unresolved cases of an incident."""
    rows = connection.execute(
        select(case.c.id).where(case.c.incident_id == incident_id, case.c.state != "resolved")
    )
    return [int(row.id) for row in rows]
