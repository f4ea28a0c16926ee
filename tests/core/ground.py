"""A store on a file of its own, and the few words that its tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Table, select

from core.cells import is_sealed, plain
from core.clockwork import Clockwork
from core.handoff import DeskPolicy, Handoff, Rules
from core.message import (
    Arrival,
    Author,
    ConversationKey,
    Message,
    Place,
    Post,
    Receipt,
    Scores,
    TextLimit,
)
from core.store import (
    Inline,
    Seal,
    Store,
    create_tables,
    desk,
    intake,
    outbox,
    receipts,
    relay,
    setbacks,
    streams,
    turns,
    views,
)
from core.store.alarms import Alarms
from core.store.desk import Opening
from core.store.outbox import Claim, Lane
from core.store.record import Changed
from core.store.relay import Words
from core.store.turns import Answer, Finished, Heard, Plan, Start
from core.tables import case, conversation, inbox, timer
from core.texts import Texts

TEXTS = Texts.load()
_KEY = os.environ.get("HEED_TESTS_KEY")  # noqa: TID251 - set: what stands here runs sealed
SEAL = Seal.read(_KEY) if _KEY else None
DESK = Place(platform="telegram", bot="heed", chat="-100")
SAD = Scores(
    label="negative",
    probs={"negative": 0.9, "neutral": 0.07, "positive": 0.03},
    p_negative=0.9,
    p_positive=0.03,
    intensity=-0.8,
    confidence=0.9,
    strong=0.7,
    wants_human=0.1,
    threat_to_leave=0.0,
    crisis=0.0,
    lang="en",
    instrument="scripted",
)
DECISION = {
    "rule": "slide",
    "why": "mood -0.62",
    "opened": True,
    "trace": [{"rule": "slide", "value": -0.62, "threshold": -0.55, "fired": True}],
    "mood": -0.62,
    "level": "upset",
    "versions": {"model": "scripted"},
}
OPENING = Opening(
    rule="slide",
    why="mood -0.62",
    priority=1,
    notice="A person will read this.",
    context="what was said",
    ping="ann needs a person",
)


def words_of(column: Any) -> Any:
    """Return a column as a query may compare it."""
    return plain(column) if is_sealed(column) else column


def key(user: str = "ann", *, chat: str = "", platform: str = "telegram") -> ConversationKey:
    return ConversationKey(platform=platform, bot="heed", chat=chat or user, user=user)


def said(number: int, text: str = "hello", *, user: str = "ann", **more: Any) -> Message:
    values = {"key": key(user), "message_id": str(number), "order": number, **more}
    return Message(
        author=Author(id=user, name=user.title(), language="en"),
        sent_at=values.pop("sent_at", 1000.0 + number),
        text=text,
        **values,
    )


def arrival(message: Message | None, *, raw: str = "{}", error: str = "") -> Arrival:
    return Arrival(
        platform="telegram", bot="heed", source_id="7", raw=raw, message=message, error=error
    )


@cache
def _empty() -> bytes:
    """Return the file of a database without rows: made once, copied for every test."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "heed.db"
        create_tables(f"sqlite:///{path}")
        return path.read_bytes()


class Ground:
    """One store, run inline, a clock that stands still, and a desk in a Telegram forum."""

    def __init__(self, path: Path, place: Place | None = DESK) -> None:
        self.url = f"sqlite:///{path}"
        if not path.exists():
            path.write_bytes(_empty())
        self.store = Store(self.url, Inline, seal=SEAL)
        self.now = 2000.0
        self.place = place
        self.more_places: list[Place] = []  # further desks, in order
        self.changes: list[Changed] = []
        # No picture, no budget and no incident, unless a test asks for them.
        policy = DeskPolicy(pictures=False)
        self.rules = Rules(policy=policy, alarms=Alarms(per_day=1000, users=1000))
        self.handoff = Handoff(
            store=self.store,
            texts=TEXTS,
            clock=lambda: self.now,
            places=lambda: (*filter(None, [self.place]), *self.more_places),
            limit=lambda _place: TextLimit(size=4096, utf16=True),
            changed=self.changes.append,
            ring=lambda _lanes: None,
            rules=lambda: self.rules,
            suggest=self._suggest,
        )

    async def _suggest(self, conversation_id: int) -> tuple[str, str]:
        return f"I would say this to {conversation_id}.", "scripted"

    def close(self) -> None:
        self.store.close()

    def do(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        """Run one operation of core.store in a transaction of its own, now."""
        return self.store.write_now(lambda connection: operation(connection, **arguments))

    def rows(self, table: Table, **where: Any) -> list[Any]:
        query = select(table).where(*(words_of(table.c[name]) == v for name, v in where.items()))
        return list(self.store.read_now(lambda c: c.execute(query.order_by(*table.primary_key))))

    def row(self, table: Table, **where: Any) -> Any:
        [found] = self.rows(table, **where)
        return found

    def choose(self, **values: Any) -> None:
        """Let the operator choose something of core.steps.DeskPolicy."""
        self.rules = replace(self.rules, policy=replace(self.rules.policy, **values))

    def alarmed(self, **values: Any) -> None:
        """Let the operator choose something of core.store.alarms.Alarms."""
        self.rules = replace(self.rules, alarms=replace(self.rules.alarms, **values))

    def clockwork(self, **values: Any) -> Clockwork:
        """Return what carries timers out; nobody is on call unless a test says so."""
        doors = {"on_call": lambda: (), **values}
        return Clockwork(
            store=self.store,
            handoff=self.handoff,
            texts=TEXTS,
            clock=lambda: self.now,
            **doors,
        )

    def timers(self, case_id: int | None = 1) -> dict[str, float]:
        """Return the timers of a case, by kind."""
        return {row.kind: row.due_at for row in self.rows(timer, case_id=case_id)}

    # --- in -----------------------------------------------------------------------------------

    def take(self, *messages: Message) -> list[int | None]:
        arrivals = [(intake.tidy(arrival(message)), "") for message in messages]
        taken = self.do(intake.take_in, arrivals=arrivals, now=self.now)
        return [item.inbox_id for item in taken]

    def begin(self, conversation_id: int = 1) -> Start | None:
        return self.do(turns.begin, conversation_id=conversation_id, now=self.now)

    def finish(self, start: Start, plan: Plan) -> Finished | None:
        return self.do(turns.finish, start=start, plan=plan, desk=self.facts(), now=self.now)

    def answer(self, start: Start, text: str = "I hear you.") -> Finished | None:
        return self.finish(start, answering(start, text))

    # --- the desk -----------------------------------------------------------------------------

    def facts(self) -> desk.Desk:
        return self.handoff.facts()

    def open_case(self, number: int = 1, *, user: str = "ann", opening: Opening = OPENING) -> int:
        """Take a message in and open a case because of it."""
        self.take(said(number, "I am fed up", user=user))
        owner = self.conversation(user).id
        start = self.begin(owner)
        assert start is not None
        finished = self.finish(start, Plan(heard=heard(start, decision=DECISION), opening=opening))
        assert finished is not None
        assert finished.case_id is not None
        return finished.case_id

    def conversation(self, user: str = "ann") -> Any:
        return self.row(conversation, user=user)

    def case(self, case_id: int = 1) -> Any:
        return self.row(case, id=case_id)

    def view(self, case_id: int = 1) -> Mapping[str, Any]:
        return self.store.read_now(lambda c: views.case_view(c, case_id))

    async def staff(self, message: Message) -> None:
        """Take in what a staff member wrote in a desk chat, and carry it out."""
        [inbox_id] = self.take(message)
        row = self.row(inbox, id=inbox_id)
        start = self.begin(row.conversation_id)
        assert start is not None
        await self.handoff.staff_message(start)

    # --- out ----------------------------------------------------------------------------------

    def claim(self, lane: Lane = ("person", 1)) -> Claim | float | None:
        return self.do(outbox.claim, lane=lane, now=self.now)

    def sent(self, post: Post, message_id: str = "", thread: str = "") -> None:
        receipt = Receipt(message_id=message_id or post.message_id or f"m{post.id}", thread=thread)
        self.do(receipts.sent, row_id=post.id, receipt=receipt, now=self.now)

    def send_all(self, lane: Lane = ("person", 1), thread: str = "") -> list[Post]:
        """Send what a lane has, and return it in the order in which it left."""
        posts = []
        while isinstance(claim := self.claim(lane), Claim):
            self.sent(claim.post, thread=thread if claim.post.kind == "thread" else "")
            posts.append(claim.post)
        return posts

    def later(self, post: Post, seconds: float = 0.0) -> None:
        """The platform took nothing: the post comes again."""
        self.do(receipts.later, row_id=post.id, seconds=seconds, error="not sent", now=self.now)

    def ended(self, post: Post, state: outbox.End, error: str = "why") -> None:
        """Nobody tries this post again."""
        self.do(setbacks.end, row_id=post.id, state=state, error=error, now=self.now)

    def lost(self, post: Post, *, gone: bool = False, error: str = "not a forum") -> str:
        """The thread that a post was meant for is not to be had."""
        return self.do(setbacks.thread_lost, row_id=post.id, error=error, now=self.now, gone=gone)

    def unreachable(self, post: Post) -> int | None:
        """Whoever the post was meant for cannot be reached."""
        return self.do(setbacks.unreachable, row_id=post.id, now=self.now)

    def staff_said(self, *parts: str, case_id: int = 1, who: str = "ben") -> Changed:
        """Answer the person of a case that a human has."""
        words = Words(whole=" ".join(parts), parts=parts)
        return self.do(relay.answer, case_id=case_id, by=(who, who), words=words, now=self.now)

    def stream(self, start: Start, shown: str = "I hear") -> int | None:
        opened = self.do(
            streams.open_stream,
            conversation_id=start.conversation_id,
            inbox_id=start.rows[0].id,
            standing=start.standing,
            now=self.now,
            shown=shown,
        )
        return None if opened is None else opened.id


def heard(start: Start, **values: Any) -> tuple[Heard, ...]:
    return tuple(Heard(row=row, scores=SAD, **values) for row in start.rows)


def answering(start: Start, text: str = "I hear you.", parts: Sequence[str] = ()) -> Plan:
    answer = Answer(
        text=text, parts=tuple(parts) or (text,), model="scripted", prompt="reply@1", reply_to=""
    )
    return Plan(heard=heard(start), answer=answer)


@contextmanager
def opened(folder: Path, place: Place | None = DESK) -> Iterator[Ground]:
    ground = Ground(folder / "heed.db", place)
    try:
        yield ground
    finally:
        ground.close()


def write_one(connection: Connection, *, user: str = "ann") -> int:
    """Take in one conversation, as the smallest operation that writes."""
    [taken] = intake.take_in(connection, [(arrival(said(1, user=user)), "")], 1.0)
    return int(taken.conversation_id or 0)
