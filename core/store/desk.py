"""Cases: opened, claimed, answered, resolved, each step one transaction.

Every change writes the case, moves the conversation's owner and version where who speaks or who
holds moves, leaves one audit row, silences the machine if a human or the queue takes over, sets
and clears the case's timers, and queues what staff and the person must see. The audit row's id is
the cause of those posts, so a step that is run twice writes them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import update

from core.errors import DeskError, NeedsConfirm, StaleCard
from core.message import Button, Owner, Place
from core.store import alarms, people, places, timers
from core.store.alarms import Alarms
from core.store.connection import Connection
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.record import (
    WENT_PRIVATE,
    Changed,
    call,
    case_row,
    changed,
    leave_trace,
    mark_history,
    person_row,
    said_for_bot,
    set_values,
    take_watchers,
    tell_staff,
    unresolved,
)
from core.store.rows import insert_id, key_of
from core.store.streams import in_place_of, silence, take_back
from core.tables import case, conversation

OWNER_OF: Mapping[str, Owner] = {
    "queued": "queue",
    "human": "human",
    "watch": "bot",
    "resolved": "bot",
}  # a snoozed case leaves the owner as it is
UNRESOLVED = ("queued", "human", "snoozed", "watch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A case as staff see it in a chat."""

    title: str
    text: str
    buttons: tuple[Button, ...]


Draw = Callable[[Mapping[str, Any], str], Card]  # from a case's view, for a platform
View = Callable[[Connection, int], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Why a case is opened, and the texts that go with it."""

    rule: str
    why: str
    priority: int
    notice: str  # to the person; empty: nothing
    context: str  # to staff: what was said before
    ping: str  # empty: nobody is called, the case stands in its list
    buttons: tuple[Button, ...] = ()  # under the notice
    answers: str = ""  # id of the message that the notice answers
    state: str = "queued"  # or watch
    who: str = ""  # the member of staff who opened it; empty: a rule did
    placed: bool = True  # False: no thread yet, one card stands for many
    incident: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """Where staff sit and how a card is drawn there: the fixed facts every change needs."""

    places: tuple[Place, ...]  # in order of preference; none: the web page alone
    draw: Draw
    view: View
    withdrawn: Callable[[str], str]  # language -> the text that replaces a cut-off reply
    due: Mapping[str, float] = ()  # type: ignore[assignment]  # timers of a queued case, by kind
    inactive: float = 86400.0  # seconds of silence after which a holder is asked
    pictures: bool = True
    woken: str = ""  # fixed lines to staff
    called_off: str = ""
    wrote: Callable[[str], str] = str  # names of staff -> they are called
    # somebody who could not be reached has written: staff are told, and asked about what waits
    returned: Callable[[Connection, int, float], Changed | None] = lambda *_: None
    alarms: Alarms = field(default_factory=Alarms)

    @property
    def place(self) -> Place | None:
        """The chat where a new case goes; None: the page alone."""
        return self.places[0] if self.places else None


def open_case(
    connection: Connection, conversation_id: int, opening: Opening, desk: Desk, now: float
) -> Changed:
    """Open a case, or queue a watched one again; the caller made sure none is queued or human."""
    held = unresolved(connection, conversation_id)
    weight = alarms.weigh(connection, opening.rule, desk.alarms, now)
    if desk.alarms.rests(now) and opening.rule != "crisis":  # the call waits for the opening
        opening = replace(opening, ping="")
    if weight is not None:  # one of many, or one too many: still a case, but no noise
        quiet = opening if opening.state == "watch" else replace(opening, ping="")
        opening = replace(quiet, placed=weight.incident is None, incident=weight.incident)
    values: dict[str, Any] = {
        "state": opening.state,
        "rule": opening.rule,
        "why": opening.why,
        "priority": opening.priority,
        "claimed_by": "",
        "holder": "",
        "incident_id": opening.incident,
        "spoken_at": now,
    }
    if held is None:
        case_id = insert_id(
            connection, case, conversation_id=conversation_id, opened_at=now, **values
        )
    else:
        case_id = int(held.id)
        connection.execute(update(case).where(case.c.id == case_id).values(**values))
    cause = leave_trace(connection, case_id, "opened", opening.who, now)
    owner = OWNER_OF[opening.state]
    withdrawn = _hand_over(connection, conversation_id, owner, desk, now, case_id=case_id)
    _set_timers(connection, case_id, opening.state, desk, now)
    posts = [*withdrawn]
    if opening.notice:
        notice = said_for_bot(connection, conversation_id, cause, opening.notice, now)
        posts.append(replace(notice, buttons=opening.buttons, reply_to=opening.answers))
    posts += (
        _refresh(connection, case_id, cause, desk, now, opening.ping)
        if places.of_case(connection, case_id)
        else first_thread(connection, case_id, opening, cause, desk)
    )
    lanes = enqueue(connection, conversation_id, posts, now)
    if weight is not None:
        lanes += alarms.heard(connection, weight, desk.alarms, desk.place, now)
    done = changed(connection, case_id, conversation_id, lanes)
    return replace(done, moved=True, cut_off=bool(withdrawn), opened=held is None)


def wake(
    connection: Connection,
    case_id: int,
    desk: Desk,
    now: float,
    *,
    say: str,
    raised: Mapping[str, Any] | None = None,
) -> Changed:
    """End a sleep because the person wrote: the case is again what it was, its holder is called.

    `raised` are columns of the case that are graver now.
    """
    row = case_row(connection, case_id)
    holder = f"{row.claimed_by}: " if row.claimed_by else ""
    change = Change(
        what="woken",
        who="",
        state=row.state_before or "queued",
        values={**(raised or {}), "snooze_until": None},
        say=f"{holder}{say or desk.woken}",
        allow=("snoozed",),
    )
    return move(connection, case_id, desk, now, change=change)


def heard_again(connection: Connection, case_id: int, desk: Desk, now: float) -> Changed:
    """The person of a case has written: what waited for silence is off, who asked is called."""
    row = case_row(connection, case_id)
    connection.execute(update(case).where(case.c.id == case_id).values(spoken_at=now, draft=""))
    lanes: list[Lane] = []
    if row.resolve_at is not None:
        set_values(connection, case_id, {"resolve_at": None})
        timers.drop(connection, "resolve", case_id=case_id)
        words = desk.called_off
        lanes += tell_staff(connection, case_id, words, now, what="called off").lanes
        lanes += redraw(connection, case_id, desk, now).lanes
    names = take_watchers(connection, case_id)
    if names:
        lanes += call(connection, case_id, desk.wrote(", ".join(names)), now, what="alert").lanes
    done = changed(connection, case_id, row.conversation_id, lanes)
    return replace(done, alert=tuple(names))


def first_thread(
    connection: Connection, case_id: int, opening: Opening, cause: int, desk: Desk
) -> list[Outgoing]:
    """Return the posts that give a case a place of its own: thread, card, picture, words, ping."""
    if desk.place is None or not opening.placed:
        return []
    view = desk.view(connection, case_id)
    card = desk.draw(view, desk.place.platform)
    drawn = desk.pictures and bool(view.get("mood_points"))
    posts = places.new_thread(
        connection, case_id, desk.place, card, cause, view["state"], picture=drawn
    )
    return posts + _first_words(posts[0].staff_thread_id, opening, cause, desk, view)


def _first_words(
    thread: int | None, opening: Opening, cause: int, desk: Desk, view: Mapping[str, Any]
) -> list[Outgoing]:
    found = []
    alone = desk.place is None or not places.holds_picture(desk.place.platform)
    if desk.pictures and view.get("mood_points") and alone:
        found.append(places.picture(thread, cause, view["id"]))
    if opening.context:
        found.append(places.to_staff(thread, cause, "context", opening.context))
    if opening.ping:
        found.append(places.to_staff(thread, cause, "ping", opening.ping))
    return found


def place_case(
    connection: Connection, case_id: int, desk: Desk, now: float, *, ping: str, who: str
) -> Changed:
    """Give a case that has no thread one: of an incident, or whose desk is gone."""
    row = case_row(connection, case_id)
    cause = leave_trace(connection, case_id, "placed", who, now)
    opening = Opening(
        rule=row.rule, why=row.why, priority=row.priority, notice="", context="", ping=ping
    )
    posts = first_thread(connection, case_id, opening, cause, desk)
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return changed(connection, case_id, row.conversation_id, lanes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One step of a case."""

    what: str  # for the audit: claimed, released, resolved, ...
    who: str  # staff name; empty: the code or the person
    by: str = ""  # who that is: platform:id
    state: str | None = None  # None: unchanged
    holder: tuple[str, str] | None = None  # (name, platform:id); ("", ""): nobody; None: unchanged
    notice: str = ""  # to the person
    buttons: tuple[Button, ...] = ()  # under the notice
    say: str = ""  # to staff, in the thread
    say_buttons: tuple[Button, ...] = ()
    values: Mapping[str, Any] | None = None  # further columns of the case
    rest: Mapping[str, Any] | None = None  # merged into the conversation's past
    marker: str = ""  # a line in the history that the machine must know of
    allow: Sequence[str] = ()  # states it may start from; empty: any
    version: int | None = None  # of the card the button was on
    confirm: bool = False  # go on although somebody else holds the case
    transcript: bool = False  # leave the whole story in the thread
    story: bool = False  # and give the person theirs


def move(
    connection: Connection, case_id: int, desk: Desk, now: float, *, change: Change
) -> Changed:
    """Carry out one step. Raises StaleCard, NeedsConfirm or DeskError: nothing was written."""
    row = case_row(connection, case_id)
    person = person_row(connection, row.conversation_id)
    _check(row, person.version, change, now)
    values = dict(change.values or {})
    if change.state is not None:
        values["state"] = change.state
    if change.holder is not None:
        name, by = change.holder
        values |= {"claimed_by": name, "holder": by, "claimed_at": now if name else None}
    if values:
        connection.execute(update(case).where(case.c.id == case_id).values(**values))
    cause = leave_trace(connection, case_id, change.what, change.who, now)
    moved = change.state is not None or change.holder is not None
    posts: list[Outgoing] = []
    if moved:
        state = change.state or row.state
        owner = OWNER_OF.get(state, person.owner)
        posts += _hand_over(connection, row.conversation_id, owner, desk, now, case_id=case_id)
        _set_timers(connection, case_id, state, desk, now, values.get("snooze_until"))
    cut_off = bool(posts)
    if change.rest is not None:
        connection.execute(
            update(conversation)
            .where(conversation.c.id == row.conversation_id)
            .values(past={**(person.past or {}), **change.rest})
        )
    if change.marker:
        mark_history(connection, row.conversation_id, change.marker, now)
    if change.notice:
        notice = said_for_bot(connection, row.conversation_id, cause, change.notice, now)
        posts.append(replace(notice, buttons=change.buttons))
    if change.story and person.private:
        posts.append(places.story(cause, case_id))
    posts += _refresh(
        connection,
        case_id,
        cause,
        desk,
        now,
        change.say,
        buttons=change.say_buttons,
        transcript=change.transcript,
    )
    lanes = enqueue(connection, row.conversation_id, posts, now)
    done = changed(connection, case_id, row.conversation_id, lanes)
    return replace(done, moved=moved, cut_off=cut_off)


def _check(row: Any, version: int, change: Change, now: float) -> None:  # noqa: ANN401 - a case
    held = row.state in ("human", "snoozed") and row.holder
    taken = change.by and held and row.holder != change.by and not change.confirm
    stale = change.version is not None and change.version != version
    if stale and not (taken and change.what == "claimed"):  # who came second is told who was first
        raise StaleCard("this card was old; here is the present one", name="stale_card")
    if change.allow and row.state not in change.allow:
        raise _not_now(int(row.id), str(row.state), change.what)
    if taken:
        ago = max(0, round(now - (row.claimed_at or now)))
        who = str(row.claimed_by)
        raise NeedsConfirm(f"{who} took this {ago} s ago", name="taken_ago", who=who, seconds=ago)


def _not_now(number: int, state: str, what: str) -> DeskError:
    """Return why a step cannot start from the state that a case is in."""
    words = f"case {number} is {state}: {what} is not possible now"
    if state == "queued":
        return DeskError(words, name="not_while_queued", case=number)
    if state == "human":
        return DeskError(words, name="not_while_human", case=number)
    if state == "snoozed":
        return DeskError(words, name="not_while_snoozed", case=number)
    if state == "watch":
        return DeskError(words, name="not_while_watched", case=number)
    return DeskError(words, name="not_once_resolved", case=number)


def _set_timers(
    connection: Connection,
    case_id: int,
    state: str,
    desk: Desk,
    now: float,
    snooze_until: float | None = None,
) -> None:
    """Let run what a state asks for, and nothing else."""
    wanted: dict[str, float] = {}
    if state == "queued":
        wanted = dict(desk.due or {})
    elif state == "human":
        wanted = {"inactive": now + desk.inactive}
    elif state == "snoozed" and snooze_until is not None:
        wanted = {"snooze": snooze_until}
    timers.only(connection, case_id, wanted)


def _hand_over(
    connection: Connection,
    conversation_id: int,
    owner: Owner,
    desk: Desk,
    now: float,
    *,
    case_id: int | None = None,
) -> list[Outgoing]:
    """Say who speaks from now on; return what replaces a reply that may show something."""
    connection.execute(
        update(conversation)
        .where(conversation.c.id == conversation_id)
        .values(owner=owner, version=conversation.c.version + 1, touched_at=now)
    )
    if owner == "bot":
        return []
    shown = silence(connection, conversation_id, now)
    if not shown:
        return []
    person = person_row(connection, conversation_id)
    leave_trace(connection, case_id, "cut off", "", now)
    words = desk.withdrawn(person.lang) if person.private else ""  # in a group it is deleted
    standing = [row for row in shown if row.message_id]
    sought = [row for row in shown if not row.message_id]
    posts = [take_back(connection, row, words, now) for row in standing]
    if words and not standing:
        # A cause of its own: the notice of the same step must not collide with it.
        cause = leave_trace(connection, case_id, "cut off", "", now)
        notice = said_for_bot(connection, conversation_id, cause, words, now)
        posts.append(in_place_of(sought.pop(0), notice))
    return posts + [take_back(connection, row, "", now) for row in sought]


def redraw(connection: Connection, case_id: int, desk: Desk, now: float) -> Changed:
    """Draw the case's cards again: somebody pressed an old one, or evidence came."""
    row = case_row(connection, case_id)
    cause = leave_trace(connection, case_id, "redrawn", "", now)
    posts = _refresh(connection, case_id, cause, desk, now)
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return changed(connection, case_id, row.conversation_id, lanes)


def _refresh(  # noqa: PLR0913 - all of it is what one step shows
    connection: Connection,
    case_id: int,
    cause: int,
    desk: Desk,
    now: float,
    say: str = "",
    *,
    buttons: tuple[Button, ...] = (),
    transcript: bool = False,
) -> list[Outgoing]:
    """Return the posts that bring a case's threads up to date, lines first, the closing last."""
    threads = places.rows_of_case(connection, case_id)
    if not threads:
        return []
    view = desk.view(connection, case_id)
    posts: list[Outgoing] = []
    for thread in threads:
        card = desk.draw(view, thread.platform)
        if say:
            posts.append(places.to_staff(thread.id, cause, "ping", say, buttons))
        if transcript:
            posts.append(places.transcript(thread.id, cause, case_id))
        drawn = desk.pictures and bool(view.get("mood_points"))
        posts += places.redrawn(connection, thread, card, cause, view["state"], now, picture=drawn)
    return posts


def direct_chat(connection: Connection, case_id: int) -> Any | None:  # noqa: ANN401 - a row
    """Return the direct chat of the person of a group's case, where one is free; else None."""
    group = person_row(connection, case_row(connection, case_id).conversation_id)
    if group.private:
        return None
    direct = people.direct_chat(connection, key_of(group), reachable=True)
    free = direct is not None and unresolved(connection, direct.id) is None
    return direct if free else None


def to_direct_chat(
    connection: Connection, case_id: int, desk: Desk, now: float
) -> tuple[Lane, ...] | None:
    """Take a case that began in a group to the direct chat of the same person; None: there is none.

    The group's conversation goes back to the bot and rests; what was said in private before stays
    in private.
    """
    row = case_row(connection, case_id)
    group = person_row(connection, row.conversation_id)
    direct = direct_chat(connection, case_id)
    if direct is None:
        return None
    connection.execute(update(case).where(case.c.id == case_id).values(conversation_id=direct.id))
    rest = {**(group.past or {}), "refractory_until": now + 1800.0}
    connection.execute(update(conversation).where(conversation.c.id == group.id).values(past=rest))
    _hand_over(connection, group.id, "bot", desk, now)
    owner = OWNER_OF.get(row.state, "human")
    posts = _hand_over(connection, direct.id, owner, desk, now, case_id=case_id)
    leave_trace(connection, case_id, WENT_PRIVATE, "", now)
    return tuple(enqueue(connection, direct.id, posts, now))
