"""Anything in any order: messages, turns, sends, crashes, takeovers, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from core.message import Post
from core.store import desk, receipts, record, turns
from core.store.desk import OWNER_OF, Change
from core.store.outbox import Claim
from core.store.turns import Plan, Start
from core.tables import case, conversation, history, inbox, outbox as table
from tests.core.ground import DECISION, OPENING, Ground, answering, heard, said

USERS = ("ann", "ben")
users = st.sampled_from(USERS)
MEANWHILE = ("show", "claim", "sent", "later", "human", "watch")
pick = st.integers(0, len(USERS) - 1)  # of those for whom a step makes sense


def idle(machine: Machine) -> list[str]:
    """Whose lane could take a turn."""
    waiting = {row.conversation_id for row in machine.ground.rows(inbox, state="waiting")}
    people = machine.ground.rows(conversation)
    return [p.user for p in people if p.id in waiting and p.user not in machine.running]


def at_the_desk(machine: Machine) -> list[str]:
    """Who has an unresolved case."""
    found = {row.conversation_id for row in machine.ground.rows(case) if row.state != "resolved"}
    return [person.user for person in machine.ground.rows(conversation) if person.id in found]


def may_send(machine: Machine) -> list[str]:
    """Whose lane has something to send, perhaps behind a post that is being sent."""
    queued = {
        row.conversation_id
        for row in machine.ground.rows(table, state="queued")
        if row.staff_thread_id is None
    }
    people = machine.ground.rows(conversation)
    return [p.user for p in people if p.id in queued]


class Machine(RuleBasedStateMachine):
    """Two people, one store, and everything that can happen between them and the desk."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.ground = self.opened()
        self.taken: dict[str, str] = {}  # message id -> user
        self.answered: set[str] = set()  # by the machine, and committed
        self.numbers = dict.fromkeys(USERS, 0)
        self.running: dict[str, Start] = {}
        self.sending: dict[str, Post] = {}
        self.log: list[tuple[str, Post]] = []  # what the platform was given, in order
        for user in USERS:
            self.take(user, 1, late=False)
        self.begin(0)
        self.finish(0, opens=True, parts=1)
        self.desk(0, "watch")
        for user in USERS:
            self.take(user, 2, late=False)

    def opened(self) -> Ground:
        ground = Ground(Path(self.folder.name) / "heed.db")
        connection = ground.store._writing.raw_connection()
        connection.driver_connection.execute("PRAGMA synchronous=OFF")  # this disk never fails
        connection.close()
        return ground

    def owner(self, user: str) -> str:
        return self.ground.conversation(user).owner

    # --- what the platform and the person do ------------------------------------------------

    @rule(user=users, count=st.integers(1, 3), late=st.booleans())
    def take(self, user: str, count: int, *, late: bool) -> None:
        for _ in range(count):
            number = self.numbers[user] = self.numbers[user] + 2
            number -= 3 if late else 0  # an odd number: it was overtaken on its way
            message = said(number, user=user, message_id=f"{user}{number}")
            known = message.message_id in self.taken
            [row] = self.ground.take(message)
            assert (row is None) == known
            self.taken[message.message_id] = user

    @rule(user=users)
    def repeat(self, user: str) -> None:
        again = said(2, "again", user=user, message_id=f"{user}2")
        assert self.ground.take(again) == [None]

    # --- turns ------------------------------------------------------------------------------

    @precondition(idle)
    @rule(at=pick)
    def begin(self, at: int) -> None:
        user = _of(idle(self), at)
        start = self.ground.begin(self.ground.conversation(user).id)
        assert start is not None
        assert {row.message.key.user for row in start.rows} == {user}
        self.running[user] = start

    @precondition(lambda self: self.running)
    @rule(at=pick)
    def show(self, at: int) -> None:
        user = _of(self.running, at)
        start = self.running[user]
        if start.owner == "bot":
            row = self.ground.stream(start)
            assert (row is None) == (self.standing(user) != start.standing)

    @precondition(lambda self: self.running)
    @rule(at=pick, opens=st.sampled_from([False, False, True]), parts=st.integers(1, 2))
    def finish(self, at: int, *, opens: bool, parts: int) -> None:
        user = _of(self.running, at)
        start = self.running.pop(user)
        moved = self.standing(user) != start.standing
        plan = self.plan(start, opens=opens, parts=parts)
        finished = self.ground.finish(start, plan)
        assert (finished is None) == moved
        if finished is not None and plan.answer is not None:
            self.answered.update(row.message.message_id for row in start.rows)

    def standing(self, user: str) -> tuple[str, int]:
        person = self.ground.conversation(user)
        return (person.owner, person.version)

    def plan(self, start: Start, *, opens: bool = False, parts: int = 1) -> Plan:
        if start.owner != "bot":
            copies = {row.id: (row.message.text,) for row in start.rows}
            return Plan(heard=heard(start, decision=DECISION), copies=copies)
        if opens:
            return Plan(heard=heard(start, decision=DECISION), opening=OPENING)
        ids = " ".join(row.message.message_id for row in start.rows)
        return answering(start, ids, [ids, *["more"] * (parts - 1)])

    @precondition(idle)
    @rule(at=pick, meanwhile=st.lists(st.sampled_from(MEANWHILE), min_size=2, max_size=5))
    def turn(self, at: int, meanwhile: list[str]) -> None:
        """One whole turn, and what happens while the model writes."""
        user = _of(idle(self), at)
        self.begin(sorted(idle(self)).index(user))
        for step in meanwhile:
            if step == "show":
                self.show(sorted(self.running).index(user))
            elif step == "claim":
                self.claim(user)
            elif step in ("sent", "later"):
                if user in self.sending:
                    self.settle(sorted(self.sending).index(user), step)
            elif user in at_the_desk(self):
                self.desk(sorted(at_the_desk(self)).index(user), step)
        self.finish(sorted(self.running).index(user), opens=False, parts=1)

    @precondition(lambda self: self.running)
    @rule(at=pick)
    def fail(self, at: int) -> None:
        start = self.running.pop(_of(self.running, at))
        if start.rows[0].tries > turns.TRIES:
            self.ground.do(
                turns.set_aside,
                start=start,
                error="five tries",
                notice="sorry",
                now=self.ground.now,
            )

    # --- sends ------------------------------------------------------------------------------

    @precondition(may_send)
    @rule(at=pick)
    def claim_next(self, at: int) -> None:
        self.claim(_of(may_send(self), at))

    def claim(self, user: str) -> None:
        owner_id = self.ground.conversation(user).id
        found = self.ground.claim(("person", owner_id))
        if not isinstance(found, Claim):
            return
        assert user not in self.sending
        row = self.ground.row(table, id=found.post.id)
        assert not (row.bot_text and self.owner(user) != "bot")
        assert found.post.place.chat == user
        self.sending[user] = found.post
        self.log.append((user, found.post))

    @precondition(lambda self: self.sending)
    @rule(at=pick, how=st.sampled_from(["sent", "sent", "later", "uncertain"]))
    def settle(self, at: int, how: Any) -> None:
        post = self.sending.pop(_of(self.sending, at))
        if how == "sent":
            self.ground.sent(post)
        elif how == "later":
            self.ground.later(post)
        else:
            self.ground.ended(post, how)

    @precondition(at_the_desk)
    @rule()
    def staff_side(self) -> None:
        for row in self.ground.rows(case):
            self.ground.send_all(("staff", row.id), thread=f"topic {row.id}")

    # --- the desk and the power supply ------------------------------------------------------

    @precondition(at_the_desk)
    @rule(at=pick, step=st.sampled_from(["human", "watch", "watch", "queued", "resolved"]))
    def desk(self, at: int, step: str) -> None:
        user = _of(at_the_desk(self), at)
        person = self.ground.conversation(user)
        found = self.ground.store.read_now(lambda c: record.unresolved(c, person.id))
        holder = ("zoe", "web:zoe") if step == "human" else ("", "")
        change = Change(what=step, who="", state=step, holder=holder, notice=f"now {step}")
        self.ground.do(
            desk.move,
            case_id=found.id,
            desk=self.ground.facts(),
            now=self.ground.now,
            change=change,
        )
        assert self.owner(user) == OWNER_OF[step]

    @precondition(at_the_desk)
    @rule(at=pick)
    def staff_answers(self, at: int) -> None:
        person = self.ground.conversation(_of(at_the_desk(self), at))
        found = self.ground.store.read_now(lambda c: record.unresolved(c, person.id))
        if person.owner == "human":
            self.ground.staff_said("hi", case_id=found.id, who="zoe")

    @rule(repeats=st.booleans())
    def crash(self, *, repeats: bool) -> None:
        self.ground.close()
        self.ground = self.opened()
        self.running.clear()
        self.sending.clear()
        for found in self.ground.store.read_now(lambda c: receipts.in_doubt(c, self.ground.now)):
            if repeats:
                self.ground.later(found.post)
            else:
                self.ground.ended(found.post, "uncertain")

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def nothing_taken_in_is_lost(self) -> None:
        rows = self.ground.rows(inbox)
        assert {row.message_id for row in rows} == set(self.taken)
        assert all(row.state in ("waiting", "done", "parked") for row in rows)
        lines = Counter(
            line.message_id for line in self.ground.rows(history) if line.role == "user"
        )
        assert set(lines) == {row.message_id for row in rows if row.state == "done"}
        assert set(lines.values()) <= {1}

    @invariant()
    def what_was_answered_has_one_reply(self) -> None:
        rows = self.ground.rows(table, kind="reply")
        replies = [row for row in rows if row.part == 0 and row.history_id]  # not only begun
        committed = Counter(name for row in replies for name in row.text.split())
        assert set(committed) == self.answered
        assert all(count == 1 for count in committed.values())
        texts = {post.id: post.text for _, post in self.log if post.kind == "reply"}
        seen = Counter(name for text in texts.values() for name in text.split() if name != "more")
        assert all(count == 1 for count in seen.values())

    @invariant()
    def posts_leave_in_order(self) -> None:
        for user in USERS:
            ids = [post.id for whose, post in self.log if whose == user]
            assert ids == sorted(ids)

    @invariant()
    def who_speaks_follows_from_the_case(self) -> None:
        for person in self.ground.rows(conversation):
            open_cases = [
                row
                for row in self.ground.rows(case, conversation_id=person.id)
                if row.state != "resolved"
            ]
            assert len(open_cases) <= 1
            expected = OWNER_OF[open_cases[0].state] if open_cases else "bot"
            assert person.owner == expected

    def teardown(self) -> None:
        """Whatever happened: a restart brings everything to its end."""
        if not hasattr(self, "folder"):
            return
        try:
            self.drain()
        finally:
            self.ground.close()
            self.folder.cleanup()

    def drain(self) -> None:
        self.crash(repeats=True)
        for user in USERS:
            owner_id = self.ground.conversation(user).id
            while (start := self.ground.begin(owner_id)) is not None:
                self.running[user] = start
                self.finish(0, opens=False, parts=1)
            self.claim(user)
            while user in self.sending:
                self.settle(0, "sent")
                self.claim(user)
        self.nothing_taken_in_is_lost()
        self.what_was_answered_has_one_reply()
        self.posts_leave_in_order()
        assert {row.state for row in self.ground.rows(inbox)} <= {"done", "parked"}
        ended = {"sent", "withdrawn", "uncertain", "queued"}
        assert {row.state for row in self.ground.rows(table)} <= ended
        left = [r for r in self.ground.rows(table, state="queued") if r.staff_thread_id is None]
        assert left == []


def _of(names: Iterable[str], at: int) -> str:
    listed = sorted(names)
    return listed[at % len(listed)]


Machine.TestCase.settings = settings(
    max_examples=9,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = Machine.TestCase
