"""Cases: opened, claimed, answered, resolved, each step one transaction.

Every change writes the case, moves the conversation's owner and version where who speaks or who
holds moves, leaves one audit row, silences the machine if a human or the queue takes over, and
queues what staff and the person must see. The audit row's id is the cause of those posts, so a
step that is run twice writes them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import insert, literal_column, select, update

from core.errors import DeskError, NeedsConfirm, StaleCard
from core.message import Button, ConversationKey, Owner, Place
from core.store.connection import Connection
from core.store.outbox import Lane, Outgoing, enqueue
from core.store.rows import insert_id, key_of
from core.store.streams import silence
from core.store.threads import threads_of, to_staff
from core.tables import audit, case, conversation, history, outbox, staff_thread

OWNER_OF: Mapping[str, Owner] = {
    "queued": "queue",
    "human": "human",
    "watch": "bot",
    "resolved": "bot",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A case as staff see it in a chat."""

    title: str
    text: str
    buttons: tuple[Button, ...]


Draw = Callable[[Mapping[str, Any]], Card]  # from a case's view, see core.store.views
View = Callable[[Connection, int], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Why a case is opened, and the texts that go with it."""

    rule: str
    why: str
    priority: int
    notice: str  # to the person; empty: nothing
    context: str  # to staff: what was said before
    ping: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What a change did: the case, and the lanes that have something to send."""

    case_id: int
    conversation_id: int
    key: ConversationKey
    lanes: tuple[Lane, ...]
    moved: bool = False  # who speaks, or who holds, is another now
    cut_off: bool = False  # a reply that had begun to show was withdrawn


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """Where staff sit and how a card is drawn there: the fixed facts every change needs."""

    place: Place | None  # None: the web page alone
    draw: Draw
    view: View
    withdrawn: Callable[[str], str]  # language -> the text that replaces a cut-off reply


IS_UNRESOLVED = case.c.state != literal_column("'resolved'")  # spelled out as in the index


def unresolved(connection: Connection, conversation_id: int) -> Any | None:  # noqa: ANN401
    """Return the conversation's unresolved case row, or None."""
    return connection.execute(
        select(case).where(case.c.conversation_id == conversation_id, IS_UNRESOLVED)
    ).first()


def open_case(
    connection: Connection, conversation_id: int, opening: Opening, desk: Desk, now: float
) -> Changed:
    """Open a case, or queue a watched one again; the caller made sure none is queued or human."""
    watched = unresolved(connection, conversation_id)
    values = {
        "state": "queued",
        "rule": opening.rule,
        "why": opening.why,
        "priority": opening.priority,
        "claimed_by": "",
    }
    if watched is None:
        case_id = insert_id(
            connection, case, conversation_id=conversation_id, opened_at=now, **values
        )
    else:
        case_id = int(watched.id)
        connection.execute(update(case).where(case.c.id == case_id).values(**values))
    cause = _audit(connection, case_id, "opened", "", now)
    withdrawn = _hand_over(connection, conversation_id, "queue", desk, now)
    posts = [*withdrawn]
    if opening.notice:
        posts.append(_notice(connection, conversation_id, cause, opening.notice, now))
    posts += (
        _refresh(connection, case_id, cause, desk, now, opening.ping)
        if threads_of(connection, case_id)
        else _first_thread(connection, case_id, opening, cause, desk)
    )
    lanes = enqueue(connection, conversation_id, posts, now)
    done = _changed(connection, case_id, conversation_id, lanes)
    return replace(done, moved=True, cut_off=bool(withdrawn))


def _first_thread(
    connection: Connection, case_id: int, opening: Opening, cause: int, desk: Desk
) -> list[Outgoing]:
    if desk.place is None:
        return []
    thread = insert_id(
        connection,
        staff_thread,
        case_id=case_id,
        platform=desk.place.platform,
        bot=desk.place.bot,
        chat=desk.place.chat,
    )
    card = desk.draw(desk.view(connection, case_id))
    posts = [
        to_staff(thread, cause, "thread", card.title),
        to_staff(thread, cause, "card", card.text, card.buttons),
    ]
    if opening.context:
        posts.append(to_staff(thread, cause, "context", opening.context))
    if opening.ping:
        posts.append(to_staff(thread, cause, "ping", opening.ping))
    return posts


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One step of a case."""

    what: str  # for the audit: claimed, released, resolved, ...
    who: str  # staff name; empty: the code or the person
    state: str | None = None  # None: unchanged
    holder: str | None = None  # None: unchanged
    notice: str = ""  # to the person
    buttons: tuple[Button, ...] = ()  # under the notice
    say: str = ""  # to staff, in the thread
    values: Mapping[str, Any] | None = None  # further columns of the case
    rest: Mapping[str, Any] | None = None  # merged into the conversation's past
    allow: Sequence[str] = ()  # states it may start from; empty: any
    version: int | None = None  # of the card the button was on
    confirm: bool = False  # go on although somebody else holds the case


def move(
    connection: Connection, case_id: int, desk: Desk, now: float, *, change: Change
) -> Changed:
    """Carry out one step. Raises StaleCard, NeedsConfirm or DeskError: nothing was written."""
    row = connection.execute(select(case).where(case.c.id == case_id)).first()
    if row is None:
        raise DeskError(f"there is no case {case_id}")
    person = connection.execute(
        select(conversation).where(conversation.c.id == row.conversation_id)
    ).one()
    _check(row, person.version, change)
    values = dict(change.values or {})
    if change.state is not None:
        values["state"] = change.state
    if change.holder is not None:
        values |= {"claimed_by": change.holder, "claimed_at": now if change.holder else None}
    if values:
        connection.execute(update(case).where(case.c.id == case_id).values(**values))
    cause = _audit(connection, case_id, change.what, change.who, now)
    withdrawn: list[Outgoing] = []
    if change.state is not None or change.holder is not None:
        owner = OWNER_OF[change.state or row.state]
        withdrawn = _hand_over(connection, row.conversation_id, owner, desk, now)
    if change.rest is not None:
        connection.execute(
            update(conversation)
            .where(conversation.c.id == row.conversation_id)
            .values(past={**(person.past or {}), **change.rest})
        )
    posts = [*withdrawn]
    if change.notice:
        notice = _notice(connection, row.conversation_id, cause, change.notice, now)
        posts.append(replace(notice, buttons=change.buttons))
    posts += _refresh(connection, case_id, cause, desk, now, change.say)
    lanes = enqueue(connection, row.conversation_id, posts, now)
    moved = change.state is not None or change.holder is not None
    done = _changed(connection, case_id, row.conversation_id, lanes)
    return replace(done, moved=moved, cut_off=bool(withdrawn))


def _check(row: Any, version: int, change: Change) -> None:  # noqa: ANN401 - a case row
    if change.version is not None and change.version != version:
        raise StaleCard("this card was old; here is the present one")
    if change.allow and row.state not in change.allow:
        raise DeskError(f"case {row.id} is {row.state}: {change.what} is not possible now")
    held = row.state == "human" and row.claimed_by
    if change.who and held and row.claimed_by != change.who and not change.confirm:
        raise NeedsConfirm(f"{row.claimed_by} has this case")


def _hand_over(
    connection: Connection,
    conversation_id: int,
    owner: Owner,
    desk: Desk,
    now: float,
) -> list[Outgoing]:
    """Say who speaks from now on; return what replaces a reply that had begun to show."""
    connection.execute(
        update(conversation)
        .where(conversation.c.id == conversation_id)
        .values(owner=owner, version=conversation.c.version + 1, touched_at=now)
    )
    if owner == "bot" or not silence(connection, conversation_id, now):
        return []
    lang = connection.execute(
        select(conversation.c.lang).where(conversation.c.id == conversation_id)
    ).scalar_one()
    words = desk.withdrawn(lang)
    # A cause of its own: the notice of the same step must not collide with it.
    cause = _audit(connection, None, "cut off", "", now)
    return [_notice(connection, conversation_id, cause, words, now)]


def staff_said(
    connection: Connection,
    case_id: int,
    who: str,
    text_parts: Sequence[str],
    now: float,
    *,
    whole: str | None = None,
) -> Changed:
    """Queue a staff answer to the person and keep it in the history. Owner is human already.

    `whole` is the text before it was split, where the parts lost the blanks between them.
    """
    row = connection.execute(select(case).where(case.c.id == case_id)).one()
    line = insert_id(
        connection,
        history,
        conversation_id=row.conversation_id,
        case_id=case_id,
        role="staff",
        name=who,
        text="".join(text_parts) if whole is None else whole,
        at=now,
    )
    if row.first_reply_at is None:
        connection.execute(update(case).where(case.c.id == case_id).values(first_reply_at=now))
    posts = [
        Outgoing(
            kind="relay",
            text=words,
            cause_kind="staff_post",
            cause_id=line,
            part=part,
            history_id=line,
        )
        for part, words in enumerate(text_parts)
    ]
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return _changed(connection, case_id, row.conversation_id, lanes)


def note(connection: Connection, case_id: int, who: str, words: str, now: float) -> Changed:
    """Keep an internal note; the person never sees it."""
    row = connection.execute(select(case).where(case.c.id == case_id)).first()
    if row is None:
        raise DeskError(f"there is no case {case_id}")
    connection.execute(
        insert(history).values(
            conversation_id=row.conversation_id,
            case_id=case_id,
            role="note",
            name=who,
            text=words,
            at=now,
        )
    )
    return _changed(connection, case_id, row.conversation_id, ())


def tell_staff(
    connection: Connection, case_id: int, words: str, now: float, *, what: str
) -> Changed:
    """Leave one line in the case's threads."""
    row = connection.execute(select(case).where(case.c.id == case_id)).one()
    cause = _audit(connection, case_id, what, "", now)
    posts = [to_staff(thread, cause, "relay", words) for thread in threads_of(connection, case_id)]
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return _changed(connection, case_id, row.conversation_id, lanes)


def redraw(connection: Connection, case_id: int, desk: Desk, now: float) -> Changed:
    """Draw the case's cards again: somebody pressed an old one, or evidence came."""
    row = connection.execute(select(case).where(case.c.id == case_id)).first()
    if row is None:
        raise DeskError(f"there is no case {case_id}")
    cause = _audit(connection, case_id, "redrawn", "", now)
    posts = _refresh(connection, case_id, cause, desk, now)
    lanes = enqueue(connection, row.conversation_id, posts, now)
    return _changed(connection, case_id, row.conversation_id, lanes)


def _refresh(
    connection: Connection, case_id: int, cause: int, desk: Desk, now: float, say: str = ""
) -> list[Outgoing]:
    """Return the posts that bring the case's cards up to date; older redrawings are dropped."""
    threads = threads_of(connection, case_id)
    if not threads:
        return []
    card = desk.draw(desk.view(connection, case_id))
    connection.execute(
        update(outbox)
        .where(
            outbox.c.staff_thread_id.in_(threads),
            outbox.c.kind == "edit",
            outbox.c.message_id == "",  # the others erase what staff must no longer see
            outbox.c.state == "queued",
        )
        .values(state="withdrawn", touched_at=now, error="drawn again")
    )
    posts = []
    for thread in threads:
        posts.append(to_staff(thread, cause, "edit", card.text, card.buttons))
        if say:
            posts.append(to_staff(thread, cause, "ping", say))
    return posts


def _changed(
    connection: Connection, case_id: int, conversation_id: int, lanes: Sequence[Lane]
) -> Changed:
    person = connection.execute(
        select(conversation).where(conversation.c.id == conversation_id)
    ).one()
    return Changed(
        case_id=case_id,
        conversation_id=conversation_id,
        key=key_of(person),
        lanes=tuple(lanes),
    )


def _notice(
    connection: Connection, conversation_id: int, cause: int, words: str, now: float
) -> Outgoing:
    """Return a fixed text to the person, kept in the history like all that was said to them."""
    line = insert_id(
        connection, history, conversation_id=conversation_id, role="bot", text=words, at=now
    )
    return Outgoing(
        kind="notice", text=words, cause_kind="case_event", cause_id=cause, history_id=line
    )


def _audit(connection: Connection, case_id: int | None, what: str, who: str, now: float) -> int:
    """Leave one line of what was done, without a word of anybody's text; return its id."""
    return insert_id(connection, audit, case_id=case_id, what=what, who=who, at=now)
