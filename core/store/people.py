"""Who people are beside their conversations: staff of the page, colleagues, blocks, links.

A person is (platform, bot, user), wherever on that platform they write. Somebody's key of any
conversation names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, bindparam, delete, func, select, update

from core.errors import DeskError
from core.message import ConversationKey
from core.store import rows
from core.store.connection import Connection, Ready
from core.store.rows import insert_id, insert_once
from core.tables import colleague, conversation, person, remark, staff

Human = tuple[str, str, str]  # platform, bot, user
_UNREAD = Ready(
    select(person.c.opted_out).where(
        person.c.platform == bindparam("platform"),
        person.c.user == bindparam("user"),
        person.c.opted_out.is_not(None),
    )
)


class StaffRow(NamedTuple):
    """Somebody who may log in. `password` is an argon2 hash."""

    name: str
    password: str
    admin: bool
    added_at: float
    seen_at: float | None


class Remark(NamedTuple):
    """A lasting note about a person."""

    who: str
    text: str
    at: float


def find(connection: Connection, platform: str, user: str) -> list[int]:
    """Return every conversation of one person on one platform, but those being erased."""
    rows = connection.execute(
        select(conversation.c.id).where(
            conversation.c.platform == platform,
            conversation.c.user == user,
            conversation.c.forgotten.is_(False),
        )
    )
    return [int(row.id) for row in rows]


def direct_chat(
    connection: Connection, key: ConversationKey, *, reachable: bool = False
) -> Any | None:  # noqa: ANN401 - its conversation row
    """Return the direct chat that this very person has with this very bot; None: there is none."""
    theirs = select(conversation).where(
        *(conversation.c[name] == getattr(key, name) for name in ("platform", "bot", "user")),
        conversation.c.private.is_(True),
        conversation.c.forgotten.is_(False),
    )
    if reachable:
        theirs = theirs.where(conversation.c.unreachable.is_(False))
    return connection.execute(theirs.order_by(conversation.c.touched_at.desc())).first()


def key_of(connection: Connection, conversation_id: int) -> ConversationKey:
    """Return whose conversation it is, and where."""
    theirs = select(conversation).where(conversation.c.id == conversation_id)
    return rows.key_of(connection.execute(theirs).one())


def keys_of(
    connection: Connection, conversation_ids: Sequence[int]
) -> list[tuple[int, ConversationKey]]:
    """Return conversations with their keys."""
    found = connection.execute(
        select(conversation).where(conversation.c.id.in_(conversation_ids))
    ).all()
    return [(int(row.id), rows.key_of(row)) for row in found]


def is_helped(connection: Connection, conversation_ids: Sequence[int]) -> bool:
    """Say whether one of these conversations is with a person of the team, or waits for one."""
    query = select(conversation.c.id).where(
        conversation.c.id.in_(conversation_ids), conversation.c.owner != "bot"
    )
    return connection.execute(query).first() is not None


# --- staff of the page ---------------------------------------------------------------------


def add_staff(connection: Connection, name: str, password: str, now: float, *, admin: bool) -> bool:
    """Add somebody who may log in; False when the name is taken. `password` is a hash."""
    values = {"name": name, "password": password, "admin": admin, "added_at": now}
    return insert_once(connection, staff, values, key="name") is not None


def list_staff(connection: Connection) -> list[str]:
    """Return one line per staff member, by name."""
    return [f"{row.name} (admin)" if row.admin else row.name for row in all_staff(connection)]


def any_staff(connection: Connection) -> bool:
    """Say whether anybody may log in."""
    return connection.execute(select(staff.c.name).limit(1)).first() is not None


def all_staff(connection: Connection) -> list[StaffRow]:
    """Return everybody who may log in, by name."""
    rows = connection.execute(select(staff).order_by(staff.c.name))
    return [_staff_row(row) for row in rows]


def staff_named(connection: Connection, name: str) -> StaffRow | None:
    """Return one who may log in, or None."""
    row = connection.execute(select(staff).where(staff.c.name == name)).first()
    return None if row is None else _staff_row(row)


def _staff_row(row: Any) -> StaffRow:  # noqa: ANN401 - a staff row
    return StaffRow(row.name, row.password, bool(row.admin), row.added_at, row.seen_at)


def remove_staff(connection: Connection, name: str) -> bool:
    """Remove a staff member and all their log-ins; False when there is none of that name."""
    return bool(connection.execute(delete(staff).where(staff.c.name == name)).rowcount)


# --- colleagues: people of the desk's own chats ----------------------------------------------


def learn(connection: Connection, platform: str, bot: str, user: str, name: str, now: float) -> int:
    """Remember that somebody belongs to the desk; return the id of their row."""
    found = _row_of(connection, colleague, (platform, bot, user), now)
    change = {"seen_at": now} | ({"name": name} if name else {})
    connection.execute(update(colleague).where(colleague.c.id == found).values(**change))
    return found


def is_colleague(connection: Connection, platform: str, user: str) -> bool:
    """Say whether somebody has been seen in the desk's own chats.

    They are the same human at every bot of their platform, though one bot has the desk.
    """
    where = (colleague.c.platform == platform) & (colleague.c.user == user)
    return connection.execute(select(colleague.c.id).where(where).limit(1)).first() is not None


def colleagues(connection: Connection) -> list[tuple[str, str, str, str]]:
    """Return (platform, bot, user, name) of everybody of the desk, the last seen first."""
    rows = connection.execute(select(colleague).order_by(colleague.c.seen_at.desc()))
    return [(row.platform, row.bot, row.user, row.name) for row in rows]


def named(connection: Connection, name: str) -> tuple[str, str] | None:
    """Return name and id (platform:id) of somebody who works at the desk, or None."""
    row = connection.execute(
        select(colleague).where(colleague.c.name == name).order_by(colleague.c.seen_at.desc())
    ).first()
    if row is not None:
        return row.name, f"{row.platform}:{row.user}"
    found = staff_named(connection, name)
    return None if found is None else (found.name, f"web:{found.name}")


# --- persons ---------------------------------------------------------------------------------


def person_of(connection: Connection, platform: str, bot: str, user: str) -> int:
    """Return the id of a person's row, which is made when there is none."""
    return _row_of(connection, person, (platform, bot, user))


def _row_of(
    connection: Connection, table: Table, human: Human, seen_at: float | None = None
) -> int:
    found = connection.execute(select(table.c.id).where(_is(table, human))).scalar()
    if found is not None:
        return int(found)
    platform, bot, user = human
    values: dict[str, Any] = {"platform": platform, "bot": bot, "user": user}
    if seen_at is not None:
        values["seen_at"] = seen_at
    return insert_id(connection, table, **values)


def _is(table: Table, human: Human) -> ColumnElement[bool]:
    platform, bot, user = human
    same = (table.c.platform == platform) & (table.c.bot == bot) & (table.c.user == user)
    return same  # noqa: RET504 - named for the type


def _human(key: ConversationKey) -> Human:
    return key.platform, key.bot, key.user


def _known(connection: Connection, key: ConversationKey) -> Any | None:  # noqa: ANN401 - a row
    return connection.execute(select(person).where(_is(person, _human(key)))).first()


def block(connection: Connection, key: ConversationKey, until: float, why: str, now: float) -> None:
    """Drop what this person writes until then. Raises DeskError for a time that is over."""
    if until <= now:
        raise DeskError("A block must last: write how long, such as 7d.", name="block_lasts")
    _change(connection, key, blocked_until=until, blocked_why=why)


def unblock(connection: Connection, key: ConversationKey) -> bool:
    """Hear this person again; False when they were not blocked."""
    row = _known(connection, key)
    if row is None or row.blocked_until is None:
        return False
    _change(connection, key, blocked_until=None, blocked_why="")
    return True


def blocked(
    connection: Connection, platform: str, bot: str, user: str, now: float
) -> tuple[float, str] | None:
    """Return until when and why a person is blocked, or None."""
    row = connection.execute(
        select(person.c.blocked_until, person.c.blocked_why).where(
            _is(person, (platform, bot, user)), person.c.blocked_until > now
        )
    ).first()
    return None if row is None else (row.blocked_until, row.blocked_why)


def _change(connection: Connection, key: ConversationKey, **values: Any) -> None:  # noqa: ANN401
    own = person_of(connection, *_human(key))
    connection.execute(update(person).where(person.c.id == own).values(**values))


def add_remark(
    connection: Connection, key: ConversationKey, who: str, text: str, now: float
) -> None:
    """Add a lasting note about a person. Raises DeskError for an empty one."""
    if not text.strip():
        raise DeskError("Write what should be remembered of this person.", name="remark_what")
    own = person_of(connection, *_human(key))
    insert_id(connection, remark, person_id=own, who=who, text=text.strip(), at=now)


def remarks(connection: Connection, key: ConversationKey) -> list[Remark]:
    """Return the lasting notes about a person, oldest first."""
    rows = connection.execute(
        select(remark.c.who, remark.c.text, remark.c.at)
        .join(person, person.c.id == remark.c.person_id)
        .where(_is(person, _human(key)))
        .order_by(remark.c.id)
    )
    return [Remark(row.who, row.text, row.at) for row in rows]


# --- who wants to be left unread -------------------------------------------------------------


def opt_out(connection: Connection, key: ConversationKey, now: float) -> bool:
    """Note that nothing of a person's is to be scored or read by a model; False: it was so."""
    if opted_out(connection, key.platform, key.user) is not None:
        return False
    _change(connection, key, opted_out=now)
    return True


def opt_in(connection: Connection, key: ConversationKey) -> bool:
    """End that, whichever bot of the platform was told so; False: there was nothing to end."""
    theirs = (person.c.platform == key.platform) & (person.c.user == key.user)
    ended = update(person).where(theirs, person.c.opted_out.is_not(None)).values(opted_out=None)
    return bool(connection.execute(ended).rowcount)


def opted_out(connection: Connection, platform: str, user: str) -> float | None:
    """Return since when nothing of a person's is scored or read by a model; None: it is.

    They are the same human at every bot of their platform.
    """
    found = connection.execute(_UNREAD, {"platform": platform, "user": user}).first()
    return None if found is None else float(found.opted_out)


def is_unread() -> ColumnElement[bool]:
    """Say so of a row of `conversation`, in a query."""
    theirs = (
        person.c.platform == conversation.c.platform,
        person.c.user == conversation.c.user,
        person.c.opted_out.is_not(None),
    )
    return select(person.c.id).where(*theirs).correlate(conversation).exists()


# --- one human on two platforms --------------------------------------------------------------


def make_code(connection: Connection, key: ConversationKey, code: str, until: float) -> None:
    """Keep the code by which this person joins another account; it replaces an earlier one."""
    _change(connection, key, link_code=code, link_until=until)


def use_code(connection: Connection, key: ConversationKey, code: str, now: float) -> Human:
    """Join this person with the one who was given `code`; return who that is.

    A code works once. Raises DeskError with a sentence for the person.
    """
    row = connection.execute(
        select(person).where(
            person.c.link_code == code, person.c.link_code != "", person.c.link_until > now
        )
    ).first()
    if row is None:
        raise DeskError("That code is not valid, or its time is over: ask for a new one by /link.")
    if row.platform == key.platform:
        raise DeskError("Type that code on the other platform, where you write to me as well.")
    own = _known(connection, key)
    mine = person_of(connection, *_human(key))
    group = min(row.linked or row.id, own.linked or mine if own is not None else mine)
    for one, linked in ((row.id, row.linked), (mine, own.linked if own is not None else None)):
        same = person.c.id == one if linked is None else person.c.linked == linked
        connection.execute(update(person).where(same).values(linked=group))
    connection.execute(
        update(person).where(person.c.id == row.id).values(link_code="", link_until=None)
    )
    return row.platform, row.bot, row.user


def unlink(connection: Connection, key: ConversationKey) -> bool:
    """Part this person from the others; False when they were joined with nobody."""
    own = _known(connection, key)
    if own is None or own.linked is None:
        return False
    _change(connection, key, linked=None)
    part(connection, own.linked)
    return True


def part(connection: Connection, group: int) -> None:
    """Undo a link of which one account is left: nobody is joined with themselves."""
    left = connection.execute(
        select(func.count()).select_from(person).where(person.c.linked == group)
    ).scalar()
    if left == 1:
        connection.execute(update(person).where(person.c.linked == group).values(linked=None))


def linked(connection: Connection, key: ConversationKey) -> list[Human]:
    """Return the other accounts of the same human, by their own word."""
    own = _known(connection, key)
    if own is None or own.linked is None:
        return []
    rows = connection.execute(
        select(person).where(person.c.linked == own.linked, person.c.id != own.id)
    )
    return [(row.platform, row.bot, row.user) for row in rows]
