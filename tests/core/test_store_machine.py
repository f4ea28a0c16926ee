"""Anything in any order: messages, turns, sends, crashes, takeovers, and nothing is lost."""

from __future__ import annotations

from collections import Counter
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
from core.store import desk, outbox, turns
from core.store.desk import OWNER_OF, Change
from core.store.outbox import Claim
from core.store.turns import Plan, Start
from core.tables import case, conversation, history, inbox, outbox as table
from tests.core.ground import DECISION, OPENING, Ground, answering, heard, said

USERS = ("ann", "ben")
users = st.sampled_from(USERS)


class Machine(RuleBasedStateMachine):
    """Two people, one store, and everything that can happen between them and the desk."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.ground = self.opened()
        self.taken: dict[str, str] = {}  # message id -> user
        self.numbers = dict.fromkeys(USERS, 0)
        self.running: dict[str, Start] = {}
        self.sending: dict[str, Post] = {}
        self.log: list[tuple[str, Post]] = []  # what the platform was given, in order
        for user in USERS:
            self.take(user, 1, late=False)

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

    @rule(user=users)
    def begin(self, user: str) -> None:
        if user in self.running:
            return
        start = self.ground.begin(self.ground.conversation(user).id)
        if start is not None:
            assert {row.message.key.user for row in start.rows} == {user}
            self.running[user] = start

    @precondition(lambda self: self.running)
    @rule(user=users)
    def show(self, user: str) -> None:
        if user in self.running and self.running[user].owner == "bot":
            self.ground.stream(self.running[user])

    @rule(user=users, opens=st.booleans(), parts=st.integers(1, 2))
    def finish(self, user: str, *, opens: bool, parts: int) -> None:
        start = self.running.pop(user, None)
        if start is None:
            return
        moved = self.standing(user) != start.standing
        finished = self.ground.finish(start, self.plan(start, opens=opens, parts=parts))
        assert (finished is None) == moved

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

    @rule(user=users)
    def fail(self, user: str) -> None:
        start = self.running.pop(user, None)
        if start is not None and start.rows[0].tries > turns.TRIES:
            self.ground.do(
                turns.set_aside, start=start, error="five tries", notice="sorry", now=1.0
            )

    # --- sends ------------------------------------------------------------------------------

    @rule(user=users)
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

    @rule(user=users, how=st.sampled_from(["sent", "sent", "later", "uncertain"]))
    def settle(self, user: str, how: Any) -> None:
        post = self.sending.pop(user, None)
        if post is None:
            return
        if how == "sent":
            self.ground.sent(post)
        elif how == "later":
            self.ground.do(outbox.later, row_id=post.id, seconds=0.0, error="x", now=1.0)
        else:
            self.ground.do(outbox.end, row_id=post.id, state=how, error="x", now=1.0)

    @rule(user=users)
    def staff_side(self, user: str) -> None:
        for row in self.ground.rows(case, conversation_id=self.ground.conversation(user).id):
            self.ground.send_all(("staff", row.id), thread=f"topic {row.id}")

    # --- the desk and the power supply ------------------------------------------------------

    @rule(user=users, step=st.sampled_from(["human", "watch", "queued", "resolved"]))
    def desk(self, user: str, step: str) -> None:
        person = self.ground.conversation(user)
        found = self.ground.store.read_now(lambda c: desk.unresolved(c, person.id))
        if found is None:
            return
        holder = "zoe" if step == "human" else ""
        change = Change(what=step, who="", state=step, holder=holder, notice=f"now {step}")
        self.ground.do(
            desk.move, case_id=found.id, desk=self.ground.facts(), now=1.0, change=change
        )
        assert self.owner(user) == OWNER_OF[step]

    @rule(user=users)
    def staff_answers(self, user: str) -> None:
        person = self.ground.conversation(user)
        found = self.ground.store.read_now(lambda c: desk.unresolved(c, person.id))
        if found is not None and person.owner == "human":
            self.ground.do(desk.staff_said, case_id=found.id, who="zoe", text_parts=["hi"], now=1.0)

    @rule(repeats=st.booleans())
    def crash(self, *, repeats: bool) -> None:
        self.ground.close()
        self.ground = self.opened()
        self.running.clear()
        self.sending.clear()
        for found in self.ground.store.read_now(lambda c: outbox.in_doubt(c, 1.0)):
            if repeats:
                again = {"seconds": 0.0, "error": "crash"}
                self.ground.do(outbox.later, row_id=found.post.id, now=1.0, **again)
            else:
                end = {"state": "uncertain", "error": "crash"}
                self.ground.do(outbox.end, row_id=found.post.id, now=1.0, **end)

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
    def no_message_has_two_replies(self) -> None:
        replies = [row for row in self.ground.rows(table, kind="reply") if row.part == 0]
        committed = Counter(name for row in replies for name in row.text.split())
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
                assert self.ground.finish(start, self.plan(start)) is not None
            self.claim(user)
            while user in self.sending:
                self.settle(user, "sent")
                self.claim(user)
            self.posts_leave_in_order()
        self.no_message_has_two_replies()
        assert {row.state for row in self.ground.rows(inbox)} <= {"done", "parked"}
        ended = {"sent", "withdrawn", "uncertain", "queued"}
        assert {row.state for row in self.ground.rows(table)} <= ended
        left = [r for r in self.ground.rows(table, state="queued") if r.staff_thread_id is None]
        assert left == []


Machine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = Machine.TestCase
