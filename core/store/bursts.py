"""What a turn begins with: the oldest unfinished burst, and all that is known of its person."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from sqlalchemy import BindParameter, bindparam, func, literal_column, select, update

from core.allowance import Allowance, Spent
from core.message import ConversationKey, Message, Owner, Said
from core.store import spent, surroundings
from core.store.connection import Connection, Ready
from core.store.record import IS_UNRESOLVED
from core.store.rows import key_of, message_from_row
from core.tables import case, colleague, conversation, history, inbox, person as humans

TRIES = 5  # after so many a message is set aside and its conversation goes on
ALONE = 3  # and after so many it is tried alone: with whom the process dies is known to nobody
WAITING = inbox.c.state == literal_column("'waiting'")  # spelled out as in the partial index
MOST = 50  # messages of one turn: a flood is taken in pieces, so that no transaction is long
HISTORY = 60  # lines a turn reads at most; the engine trims further, by tokens

OF: BindParameter[int] = bindparam("of")  # a conversation's id
IT: BindParameter[int] = bindparam("it")  # an inbox row's
_BURST = Ready(
    select(*(inbox.c[name] for name in ("id", "kind", "message", "urgent", "tries", "received_at")))
    .where(inbox.c.conversation_id == OF, WAITING)
    .order_by(inbox.c.sequence, inbox.c.id)
    .limit(literal_column(str(MOST)))
)
_PRESSING = Ready(
    select(inbox.c.id).where(inbox.c.conversation_id == OF, WAITING, inbox.c.urgent != "").limit(1)
)
ROW = Ready(update(inbox).where(inbox.c.id == IT))
_resolved = case.alias()
_PERSON = Ready(
    select(
        conversation,
        case.c.id.label("case_id"),
        case.c.state.label("case_state"),
        case.c.rule.label("case_rule"),
        case.c.holder.label("case_holder"),
        select(func.max(_resolved.c.id))
        .where(
            _resolved.c.conversation_id == conversation.c.id,
            _resolved.c.state == literal_column("'resolved'"),
        )
        .scalar_subquery()
        .label("resolved_case"),
        select(func.max(humans.c.opted_out))
        .where(
            humans.c.platform == conversation.c.platform,
            humans.c.user == conversation.c.user,
            humans.c.opted_out.is_not(None),
        )
        .scalar_subquery()
        .label("opted_out"),
    )
    .select_from(
        conversation.outerjoin(case, (case.c.conversation_id == conversation.c.id) & IS_UNRESOLVED)
    )
    .where(conversation.c.id == OF)
)
_COLLEAGUE = Ready(
    select(colleague.c.id)
    .where(
        colleague.c.platform == bindparam("platform"),
        colleague.c.user == bindparam("user"),
    )
    .limit(1)
)
_LINES = Ready(
    select(history.c.role, history.c.text, history.c.at, history.c.name)
    .where(
        history.c.conversation_id == OF,
        history.c.role != "note",
        history.c.role != "held",  # of staff's, and not said to anybody yet
        history.c.at >= bindparam("since"),
        history.c.deleted.is_(False),
    )
    .order_by(history.c.id.desc())
    .limit(HISTORY)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What this life has learnt of a conversation's unfinished rows, by their ids."""

    blameless: Collection[int] = ()  # the last try ended by no fault of theirs: it is taken back
    apart: Collection[int] = ()  # a burst of theirs failed, by one of them: each is tried alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One unfinished inbox row."""

    id: int
    message: Message
    urgent: str
    tries: int
    received_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a turn knows when it begins."""

    conversation_id: int
    key: ConversationKey
    name: str
    lang: str
    private: bool
    owner: Owner
    version: int
    past: Mapping[str, Any] | None
    rows: tuple[Row, ...]  # the burst: said messages, or one row of another kind
    history: tuple[Said, ...]
    case_id: int | None  # the unresolved case
    case_state: str
    resolved_case: int | None  # one that may still be reopened
    resolved_at: float
    case_rule: str = ""  # of the unresolved case
    holder: str = ""
    blocked_until: float = 0.0
    staff: bool = False  # who writes works at the desk: never scored, never a case
    opted_out: bool = False  # who writes is not scored, and no model reads it: their own choice
    wakes: bool = False  # the case is snoozed, and somebody writes
    unreachable: bool = False  # until now they could not be written to
    place_in_line: int = 0  # of a queued case: how many wait as long or longer
    pressing: bool = False  # behind these rows waits one that is urgent: no model is waited for
    around: tuple[Said, ...] = ()  # what others said here, in its order with `history`; () unasked
    spent: Spent = field(default_factory=Spent)  # answers before this one

    @property
    def standing(self) -> tuple[Owner, int]:
        """Who speaks, at which version: compared again before anything is written."""
        return (self.owner, self.version)

    @property
    def shared(self) -> bool:
        """Whether a reply goes by what others said here, too."""
        return bool(self.around)

    @property
    def addressed(self) -> bool:
        """Whether any of it was said to the bot; the rest, of a watched group, is only heard."""
        return any(row.message.addressed for row in self.rows)


def begin(
    connection: Connection,
    conversation_id: int,
    now: float,
    allowance: Allowance = Allowance(),  # noqa: B008 - frozen
    scope: str = "person",
    *,
    tried: Tried = Tried(),
) -> Start | None:
    """Read the oldest unfinished burst of a conversation and count the try; None: nothing left.

    `scope` says whose words of a group the model is shown: person, thread or chat.
    """
    if tried.blameless:
        untried(connection, tried.blameless)
    found = connection.execute(_BURST, {"of": conversation_id}).all()
    if not found:
        return None

    def joins(row: Any) -> bool:  # noqa: ANN401
        return row.kind == "said" and row.tries < ALONE and row.id not in tried.apart

    burst = [found[0]]
    if joins(found[0]):
        burst += takewhile(joins, found[1:])
    for row in burst:
        connection.execute(ROW, {"it": row.id, "tries": row.tries + 1, "touched_at": now})
    start = _start(connection, conversation_id, burst, now)
    if len(found) == MOST or len(found) > len(burst):
        waits = connection.execute(_PRESSING, {"of": conversation_id}).first()
        start = replace(start, pressing=waits is not None)
    answers = burst[0].kind == "said" and start.owner == "bot" and start.addressed
    if not answers:
        return start
    private = start.private
    given = spent.spent(connection, start.key, allowance, now, private=private)
    shared = not (private or start.opted_out)
    around = surroundings.around(connection, start, scope, now) if shared else ()
    return replace(start, spent=given, around=around)


def untried(connection: Connection, ids: Collection[int]) -> None:
    """Take a try back: nothing failed, the turn was only overtaken. Kept on disk, as the tries."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id.in_(ids), WAITING, inbox.c.tries > 0)
        .values(tries=inbox.c.tries - 1)
    )


def _start(connection: Connection, conversation_id: int, burst: Sequence[Any], now: float) -> Start:
    person = connection.execute(_PERSON, {"of": conversation_id}).one()
    resolved, resolved_at = _resolution(connection, person, now)
    return Start(
        conversation_id=conversation_id,
        key=key_of(person),
        name=person.name,
        lang=person.lang,
        private=bool(person.private),
        owner=person.owner,
        version=person.version,
        past=person.past,
        rows=tuple(
            Row(
                id=r.id,
                message=message_from_row(r.message),
                urgent=r.urgent,
                tries=r.tries + 1,
                received_at=r.received_at,
            )
            for r in burst
        ),
        history=_history(connection, conversation_id, person.history_since),
        case_id=person.case_id,
        case_state=person.case_state or "",
        resolved_case=resolved,
        resolved_at=resolved_at,
        case_rule=person.case_rule or "",
        holder=person.case_holder or "",
        blocked_until=person.blocked_until or 0.0,
        wakes=person.case_state == "snoozed",
        unreachable=bool(person.unreachable),
        place_in_line=_place_in_line(connection, person),
        staff=_is_staff(connection, person),
        opted_out=person.opted_out is not None,
    )


def _is_staff(connection: Connection, person: Any) -> bool:  # noqa: ANN401
    who = {"platform": person.platform, "user": person.user}
    return connection.execute(_COLLEAGUE, who).first() is not None


def _place_in_line(connection: Connection, person: Any) -> int:  # noqa: ANN401
    """Count who waits as long as this person, or longer; 0 where nobody waits here."""
    if person.case_state != "queued":
        return 0
    mine = select(case.c.opened_at).where(case.c.id == person.case_id).scalar_subquery()
    return int(
        connection.execute(
            select(func.count()).where(case.c.state == "queued", case.c.opened_at <= mine)
        ).scalar_one()
    )


def _resolution(connection: Connection, person: Any, now: float) -> tuple[int | None, float]:  # noqa: ANN401
    """Return the last resolved case if it may still be reopened, and when it was resolved."""
    if person.resolved_case is None:
        return None, 0.0
    last = connection.execute(
        select(case.c.reopen_until, case.c.resolved_at).where(case.c.id == person.resolved_case)
    ).one()
    reopens = person.case_id is None and (last.reopen_until or 0.0) > now
    return person.resolved_case if reopens else None, float(last.resolved_at or 0.0)


def _history(connection: Connection, conversation_id: int, since: float) -> tuple[Said, ...]:
    lines = connection.execute(_LINES, {"of": conversation_id, "since": since}).all()
    return tuple(
        Said(role=line.role, text=line.text, at=line.at, name=line.name) for line in reversed(lines)
    )
