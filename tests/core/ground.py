"""A store on a file of its own, and the few words that its tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Table, select

from core.handoff import Handoff
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
    Store,
    create_tables,
    desk,
    intake,
    outbox,
    streams,
    turns,
    views,
)
from core.store.desk import Changed, Opening
from core.store.outbox import Claim, Lane
from core.store.turns import Answer, Finished, Heard, Plan, Start
from core.tables import case, conversation, inbox
from core.texts import Texts

TEXTS = Texts.load()
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
        self.store = Store(self.url, Inline)
        self.now = 2000.0
        self.place = place
        self.changes: list[Changed] = []
        self.handoff = Handoff(
            store=self.store,
            texts=TEXTS,
            clock=lambda: self.now,
            place=lambda: self.place,
            limit=lambda _place: TextLimit(size=4096, utf16=True),
            changed=self.changes.append,
        )

    def close(self) -> None:
        self.store.close()

    def do(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        """Run one operation of core.store in a transaction of its own, now."""
        return self.store.write_now(lambda connection: operation(connection, **arguments))

    def rows(self, table: Table, **where: Any) -> list[Any]:
        query = select(table).where(*(table.c[name] == value for name, value in where.items()))
        return list(self.store.read_now(lambda c: c.execute(query.order_by(*table.primary_key))))

    def row(self, table: Table, **where: Any) -> Any:
        [found] = self.rows(table, **where)
        return found

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
        self.do(outbox.sent, row_id=post.id, receipt=receipt, now=self.now)

    def send_all(self, lane: Lane = ("person", 1), thread: str = "") -> list[Post]:
        """Send what a lane has, and return it in the order in which it left."""
        posts = []
        while isinstance(claim := self.claim(lane), Claim):
            self.sent(claim.post, thread=thread if claim.post.kind == "thread" else "")
            posts.append(claim.post)
        return posts

    def stream(self, start: Start) -> int | None:
        return self.do(
            streams.open_stream,
            conversation_id=start.conversation_id,
            inbox_id=start.rows[0].id,
            standing=start.standing,
            now=self.now,
        )


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
