"""The judge of a story at the desk: what must hold when all is quiet, and what is broken."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.store.turns import TRIES

MACHINE = "quite slowly"  # in every sentence of the machine's, and in nobody else's
ANSWER = " ".join(f"Go to page {n} and read it {MACHINE}." for n in range(4))
UNTOLD = ("failed", "uncertain")
_TOKEN = re.compile(r"m\d+m")
_JOINER = "\u2060"  # adapters put one behind an @ that must call nobody


@dataclass
class Written:
    """What somebody of the staff wrote at the desk."""

    token: str
    message: Any
    thread: Any


@dataclass
class Facts:
    """The tables, as they are when all is quiet."""

    tables: dict[str, list[Any]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> list[Any]:
        return self.tables[name]

    def heard(self) -> list[tuple[int, Any]]:
        """Return (case, line) of each message that was heard while its person had a case."""
        lines = {row.inbox_id: row for row in self.history if row.role == "user" and row.inbox_id}
        found = [row for row in self.decision if row.case_id is not None]
        return [(row.case_id, lines[row.inbox_id]) for row in found if row.inbox_id in lines]


def _words(text: str) -> str:
    """Return a text as whoever reads it has it before them."""
    return text.replace(_JOINER, "").strip()


class Judge(ABC):
    """Knows what was said and done, and reads from the tables what came of it."""

    grows = False  # a reply shows while it is written, as a message that grows

    def __init__(self) -> None:
        self.said: list[tuple[Any, str]] = []  # (user, token)
        self.written: list[Written] = []
        self.claims: list[tuple[str, str]] = []  # (machine's text, owner when it was claimed)
        self.owners: list[tuple[float, frozenset[tuple[str, str]]]] = []  # over time
        self.blocked: set[Any] = set()  # who was ever out of reach
        self.broken: list[str] = []
        self.kills = 0

    @abstractmethod
    async def facts(self) -> Facts:
        """Return the tables as they are now."""

    async def verdict(self) -> list[str]:
        """Return every sentence about what is broken."""
        facts = await self.facts()
        checks: Sequence[Callable[[Facts], Iterator[str]]] = (
            self._ownership, self._places, self._silence, self._unfinished, self._people,
            self._pairs, self._answers, self._once, self._order,
        )  # fmt: skip
        return [*self.broken, *(sentence for check in checks for sentence in check(facts))]

    def _ownership(self, facts: Facts) -> Iterator[str]:
        open_cases = [row for row in facts.cases if row.state != "resolved"]
        by_person = {row.conversation_id: row for row in open_cases}
        if len(by_person) < len(open_cases):
            yield "two open cases of one person"
        for person in facts.conversation:
            held = by_person.get(person.id)
            state = "resolved" if held is None else held.state
            before = held.state_before if held is not None and state == "snoozed" else state
            wanted = {"queued": "queue", "human": "human"}.get(before, "bot")
            if person.owner != wanted:
                yield f"{person.user} belongs to {person.owner} in a case that is {before}"
        timers = {(row.case_id, row.kind) for row in facts.timer}
        for row in facts.cases:
            if bool(row.holder) != bool(row.claimed_by) and row.holder:
                yield f"case {row.id} is held by {row.holder!r}, named {row.claimed_by!r}"
            if row.state == "human" and not row.claimed_by:
                yield f"case {row.id} is human and nobody's"
            if row.state in ("queued", "watch", "resolved") and (row.holder or row.claimed_by):
                yield f"case {row.id} is {row.state} and held by {row.claimed_by}"
            need = {"human": "inactive", "snoozed": "snooze"}.get(row.state)
            if need and (row.id, need) not in timers:
                yield f"case {row.id} is {row.state} without its timer"

    def _places(self, facts: Facts) -> Iterator[str]:
        there = self.threads()
        known = {row.thread for row in facts.staff_thread}
        for row in facts.cases:
            mine = [t for t in facts.staff_thread if t.case_id == row.id and t.status != "lost"]
            if row.state != "resolved" and not mine:
                yield f"case {row.id} has no place"
            for place in mine:
                if (
                    row.state != "resolved"
                    and place.status == "ready"
                    and place.thread not in there
                ):
                    yield f"the place of case {row.id} is gone, and nobody noticed"
                if place.status == "wanted":
                    yield f"the place of case {row.id} was never made"
                if place.made > 2:
                    yield f"case {row.id} had {place.made} places"
        empty = [thread for thread in there if thread not in known]
        again = sum(max(0, row.made - 1) for row in facts.staff_thread)
        lost = [r for r in facts.outbox if r.kind == "thread" and r.state in UNTOLD]
        if len(empty) > again + len(lost):
            yield f"places without a case: {empty}"

    def _silence(self, facts: Facts) -> Iterator[str]:
        allowed = self._allowed(facts)
        for text, owner in self.claims:
            if owner != "bot":
                yield f"claimed for sending while {owner} owned: {text!r}"
        for user, at, text, draft in self.spoken():
            sketch = draft or (self.grows and text not in allowed and self._begins(text))
            if sketch and not self._was_bots(str(user), at):
                yield f"a draft was shown to {user} while a human had them"
            if not sketch and text not in allowed:
                yield f"sent without a claim to {user}: {text!r}"

    def _allowed(self, facts: Facts) -> set[str]:
        """Return the machine's texts that may stand before a person."""
        claimed = {text for text, owner in self.claims if owner == "bot"}
        # A suggestion that staff have sent is theirs, also where it carries no name.
        return claimed | {row.text for row in facts.outbox if row.kind in ("relay", "edit")}

    def _unfinished(self, facts: Facts) -> Iterator[str]:
        """Nothing stands half written: it was finished, or taken back, or staff know."""
        whole = {text.strip() for text in self._allowed(facts)}
        stuck = {row.message_id for row in facts.outbox if row.state in (*UNTOLD, "held")}
        for place, number, text in self.shown():
            known = text.strip() in whole or number in stuck
            if place in self.homes() and self._begins(text) and not known:
                yield f"left half written in {place}: {text!r}"

    @staticmethod
    def _begins(text: str) -> bool:
        """Whether a text is how the machine's answer begins, after whatever stands before it."""
        _, first, rest = text.partition(ANSWER[:12])
        return bool(first) and ANSWER.startswith(f"{first}{rest}".strip())

    def _was_bots(self, user: str, at: float) -> bool:
        """Say whether the bot owned a conversation at a time, or a moment before."""
        then = [owners for when, owners in self.owners if when <= at]
        late = [owners for when, owners in self.owners if at - 0.5 < when <= at]
        return any((user, "bot") in owners for owners in [*then[-1:], *late]) or not then

    def _people(self, facts: Facts) -> Iterator[str]:
        aside = ""
        for row in facts.inbox:
            # Ended in the midst of each of its tries, nobody can tell it from one that kills.
            killed = row.error == "five tries" and self.kills >= TRIES
            if row.state == "parked" and not killed:
                yield f"a message was set aside: {row.kind} {row.error}"
            elif row.state == "parked":
                aside += f"{row.message['text']}\n"  # its writer was told, and it is kept
        for user, token in self.said:
            mine = [row for row in facts.history if row.role == "user" and token in row.text]
            if not mine and token not in aside:
                yield f"nobody heard {token} of {user}"
            if len(mine) > 1:
                yield f"{token} of {user} was heard {len(mine)} times"
        for number, line in facts.heard():
            [word] = _TOKEN.findall(line.text)[:1] or [line.text]  # it may have been edited since
            posts = [
                post.state
                for post in facts.outbox
                if post.staff_thread_id is not None
                and post.kind in ("relay", "context")
                and (post.history_id == line.id or word in post.text)
            ]
            if not line.deleted and not {*posts} & {"sent", *UNTOLD}:
                yield f"{line.text!r} is in case {number}, at the desk only as {posts}"

    def _pairs(self, facts: Facts) -> Iterator[str]:
        known = {row.message_id for row in facts.pair}
        gone = {row.id for row in facts.history if row.deleted}
        # A correction that a later one made needless was deleted again, and its pair with it.
        removed = {row.message_id for row in facts.outbox if row.kind == "delete"}
        for row in facts.outbox:
            if row.kind != "relay" or row.state != "sent" or row.history_id is None:
                continue
            if row.message_id in removed:
                continue
            if row.message_id and row.message_id not in known and row.history_id not in gone:
                yield f"sent without a pair: {row.text!r}"

    def _answers(self, facts: Facts) -> Iterator[str]:
        """Every message of the staff's has a mark or a reason."""
        originals = {row.message_id: row for row in facts.pair if row.original}
        lines = {row.id: row for row in facts.history}
        # The reason of a refusal answers the very message, or is whispered to who commanded it.
        told = {row.reply_to or row.whisper for row in facts.outbox if row.staff_thread_id}
        for one in self.written:
            link = originals.get(str(one.message))
            if link is None:
                if (
                    self.heard(one)
                    and str(one.message) not in told
                    and not any(one.token in line.text for line in lines.values())
                    and not self.passed_on(one)  # and corrected or deleted since
                ):
                    yield f"{one.token} of the staff vanished without a word"
                continue
            line = lines[link.history_id]
            if line.role != "staff" or line.deleted or one.thread not in self.threads():
                continue
            posts = [
                row
                for row in facts.outbox
                if row.history_id == line.id and row.staff_thread_id is None
            ]
            if not posts:
                yield f"{one.token} went to nobody"
            arrived = all(row.state == "sent" for row in posts)
            marks = [
                row for row in facts.outbox if row.history_id == line.id and row.kind == "mark"
            ]
            if arrived and not marks:
                yield f"{one.token} arrived and bears no mark"
            if arrived and not self.marked(one) and not any(m.state in UNTOLD for m in marks):
                yield f"the mark of {one.token} is not to be seen"

    def _once(self, facts: Facts) -> Iterator[str]:
        """Every message of the bot's is known by its id, but for those of unknown outcome."""
        known = {row.message_id for row in facts.outbox if row.message_id}
        known |= {row.message_id for row in facts.pair}
        unsure = Counter(
            _words(row.text)
            for row in facts.outbox
            if row.state in ("uncertain", "withdrawn")
            # Staff say that it arrived: nobody knows which one it is.
            or (row.state == "sent" and row.kind in ("relay", "notice") and not row.message_id)
        )
        for place, number, shown in self.shown():
            text = _words(shown)
            if number in known or text in ("", "…"):
                continue
            if unsure[text] <= 0:
                yield f"shown in {place}, and nobody knows of it: {text[:60]!r}"
            unsure[text] -= 1
        copies = Counter(
            (row.history_id, row.staff_thread_id, row.part)
            for row in facts.outbox
            if row.kind == "relay" and row.state == "sent" and row.history_id is not None
            if row.cause_kind not in ("correction", "changed")
        )
        for (line, thread, _part), times in copies.items():
            if times > 1:
                yield f"line {line} was sent {times} times to {thread or 'the person'}"

    def _order(self, facts: Facts) -> Iterator[str]:
        """What leaves in one lane stands in the order in which it was written."""
        last: dict[Any, tuple[int, str]] = {}
        people = {row.id: row for row in facts.conversation}
        for row in facts.outbox:
            if row.kind not in ("relay", "notice", "ping", "reply") or row.state != "sent":
                continue
            if not row.message_id:  # staff say that it arrived: nobody knows which one it is
                continue
            person = people.get(row.conversation_id)
            if row.whisper or (row.staff_thread_id is None and str(person.user) in self.blocked):
                continue
            lane = ("staff", row.staff_thread_id) if row.staff_thread_id else ("to", person.id)
            number = int(row.message_id)
            before, text = last.get(lane, (0, ""))
            if number < before:
                yield f"{row.text[:40]!r} (row {row.id}) stands before {text[:40]!r} in {lane}"
            last[lane] = (number, row.text)

    # --- what the platform shows ----------------------------------------------------------------

    @abstractmethod
    def threads(self) -> set[str]:
        """Return the threads of the desk that are there."""

    @abstractmethod
    def shown(self) -> list[tuple[str, str, str]]:
        """Return (place, message id, text) of every message of the bot's that is there."""

    @abstractmethod
    def homes(self) -> set[str]:
        """Return the chats of the people."""

    @abstractmethod
    def spoken(self) -> list[tuple[Any, float, str, bool]]:
        """Return (user, wall time, text, draft) of every call that carried the machine's words."""

    @abstractmethod
    def passed_on(self, one: Written) -> bool:
        """Whether a call of the bot's ever carried what a member of staff wrote."""

    @abstractmethod
    def heard(self, one: Written) -> bool:
        """Whether the bot ever said that it had a message of the staff's."""

    @abstractmethod
    def marked(self, one: Written) -> bool:
        """Whether a message of the staff's bears the bot's mark."""
