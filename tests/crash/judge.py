"""The judge of a case: what was said, what is on disk, and what the platform shows.

It believes the platform's transcript and the database, and nothing that Heed says of itself.
"""

# ruff: noqa: S608 - the queries are ours

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from core.store.streams import TAKEN_BACK
from tests.crash.scenes import SHORT, Scene, Talk
from tests.crash.stages import Line, Stage
from tests.crash.words import numbers

PLACEHOLDER = "…"
OPEN = "('streaming', 'queued', 'sending')"
NO_LINES = ("thread", "redraw", "edit", "delete", "mark", "react")  # they change what is there
CHANGES = ("redraw", "edit", "delete", "mark", "react")  # may be repeated wherever they broke off
SLACK = 0.05  # seconds by which two clocks of one process may be read in another order


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where, and how often, Heed is killed."""

    point: str = ""  # the name of a probe
    hit: int = 1
    call: str = ""  # the platform's call, where the point is one of its
    after: bool = False
    seed: int | None = None  # kill at random times instead
    engine: str = "echo"
    kills: int = 2
    scene: Scene = SHORT
    repeat: tuple[str, ...] = ()  # kinds that the operator has sent again
    gap: float = 0.0  # seconds that pass between two lives; the platform forgets its nonces
    pictures: bool = False
    trace: str = ""  # a file that is told each point

    @property
    def unborn(self) -> bool:
        """Whether the database is made under the kills, too: in a quarter of the random cases."""
        return self.seed is not None and self.seed // 4 % 4 == 0

    def __str__(self) -> str:
        more = f"{self.scene.name}, {self.engine}" + (f", {self.gap:g} s later" * bool(self.gap))
        if self.seed is not None:
            return f"random {self.seed} ({more})"
        side = f"{'after' if self.after else 'before'} {self.call}" if self.call else self.point
        return f"{side} x{self.hit} ({more})"


@dataclass
class Outcome:
    """What came of a case, or of many."""

    cases: int = 0
    killed: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    orphans: int = 0
    flagged: int = 0
    repeated: int = 0

    def __iadd__(self, other: Outcome) -> Self:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    @property
    def violations(self) -> list[str]:
        return [*self.lost, *self.twice, *self.unanswered, *self.reordered, *self.noise]

    def row(self) -> str:
        found = [len(each) for each in (self.lost, self.twice, self.unanswered, self.reordered)]
        return (
            f"cases {self.cases}, killed {self.killed}, lost {found[0]}, twice {found[1]}, "
            f"unanswered {found[2]}, reordered {found[3]}, other {len(self.noise)}, "
            f"orphans {self.orphans}, flagged {self.flagged}, repeated {self.repeated}"
        )

    def size(self) -> str:
        """Say how much was tried, for the ledger."""
        more = (
            (self.flagged, "flagged"),
            (self.orphans, "orphan placeholders"),
            (self.repeated, "seen twice by the operator's choice"),
        )
        said = "".join(f", {number} {what}" for number, what in more if number)
        return f"{self.cases} cases, {self.killed} kills{said}"


class Database:
    """The database file, read from outside; between two lives nobody has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._seen = (-1, (-1, -1, -1))  # a version, and what there is to do in it

    def close(self) -> None:
        """Let go of the file: whoever opens it next is the first."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._seen = None, (-1, (-1, -1, -1))

    def rows(self, query: str) -> list[sqlite3.Row]:
        """Run a query; an unborn database has no rows."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
                self._connection.row_factory = sqlite3.Row
            return self._connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            self.close()
            return []

    def number(self, query: str) -> int:
        found = self.rows(query)
        return int(found[0][0]) if found else -1

    def idle(self, messages: int) -> bool:
        """Say whether so many messages were taken in, and nothing is left to do."""
        return self._to_do() == (messages, 0, 0)

    def settled(self) -> bool:
        """Say whether nothing is left to do."""
        return self._to_do()[1:] == (0, 0)

    def _to_do(self) -> tuple[int, int, int]:
        """Return how many messages are done, how many wait, and how many posts."""
        version = self.number("pragma data_version")
        if version == -1 or version != self._seen[0]:
            found = self.rows(
                "select (select count(*) from inbox where state = 'done' and kind = 'said'), "
                "(select count(*) from inbox where state = 'waiting'), "
                f"(select count(*) from outbox where state in {OPEN})"
            )
            self._seen = (version, tuple(found[0]) if found else (-1, -1, -1))
        return self._seen[1]


def noise(log: str) -> Iterable[str]:
    """Return the lines of a log that tell of an error.

    "post given up" is none: it is how a post of unknown outcome is flagged to the operator.
    """
    lines = [line for line in log.splitlines() if "post given up" not in line]
    for number, line in enumerate(lines):
        if "Traceback (most recent" in line or "[error" in line or "[critical" in line:
            yield " / ".join([line, *lines[number + 1 :][-12:]])
            return


def judge(stage: Stage, database: Database, talk: Talk, case: Case) -> Outcome:
    """Compare what was said, what is on disk and what the platform shows."""
    found = Outcome()
    try:
        if database.rows("pragma integrity_check")[0][0] != "ok":
            found.lost.append(f"{case}: the database is damaged")
        _judge_disk(found, database, talk, case)
        flags = _judge_posts(found, stage, database, case)
        for who in case.scene.people:
            _judge_person(found, stage, database, talk, case, who, flags)
        _judge_owners(found, database, case)
    finally:
        database.close()
    return found


def _judge_owners(found: Outcome, database: Database, case: Case) -> None:
    """After a human took over, nothing of the machine's was claimed for sending to that person."""
    for row in database.rows(
        "select o.id, o.kind, o.first_try_at - a.at late from outbox o "
        "join cases c on c.conversation_id = o.conversation_id "
        "join audit a on a.id = (select max(b.id) from audit b where b.case_id = c.id "
        "  and b.at < o.first_try_at and b.what in ('claimed', 'given back', 'resolved')) "
        "where o.bot_text and o.state in ('sent', 'uncertain', 'sending') and a.what = 'claimed' "
        f"and a.at < o.first_try_at - {SLACK}"
    ):
        found.noise.append(
            f"{case}: {row['kind']} {row['id']} was claimed {row['late']:.2f} s after a takeover"
        )


def _judge_disk(found: Outcome, database: Database, talk: Talk, case: Case) -> None:
    """Every message is in the inbox, done, in the history and decided, once each."""
    for row in database.rows("select id, state, error from inbox where state != 'done'"):
        found.lost.append(f"{case}: inbox row {row['id']} is {row['state']} {row['error']}")
    for row in database.rows(f"select id, kind, state, error from outbox where state in {OPEN}"):
        found.lost.append(f"{case}: outbox row {row['id']} ({row['kind']}) stays {row['state']}")
    if wrong := database.number("select count(*) from poison"):
        found.lost.append(f"{case}: {wrong} rows of poison")
    inbox = Counter(
        number
        for row in database.rows("select message from inbox where kind = 'said'")
        for number in numbers([json.loads(row["message"])["text"]])
    )
    lines = Counter(
        number
        for row in database.rows("select text from history where role in ('user', 'staff')")
        for number in numbers([row["text"]])
    )
    said = [number for one in talk.said.values() for number in one]
    for number in (*said, *talk.staff):
        if (inbox[number], lines[number]) != (1, 1):
            found.lost.append(
                f"{case}: {number} is {inbox[number]}x in the inbox, {lines[number]}x in history"
            )
    decided = database.number(
        "select count(distinct d.inbox_id) from decision d join inbox i on i.id = d.inbox_id "
        "where i.kind = 'said'"
    )
    if decided != talk.count:
        found.lost.append(f"{case}: {decided} decisions for {talk.count} messages")


def _judge_posts(found: Outcome, stage: Stage, database: Database, case: Case) -> list[sqlite3.Row]:
    """Every line of the bot's is one row of the outbox; returns the rows that were flagged."""
    rows = database.rows(
        "select o.*, c.name who from outbox o join conversation c on c.id = o.conversation_id "
        "order by o.id"
    )
    sent = [row for row in rows if row["state"] == "sent" and row["kind"] not in NO_LINES]
    flags = [row for row in rows if row["state"] in ("uncertain", "failed", "held")]
    found.flagged = len(flags)
    for row in flags:
        if row["state"] != "uncertain" or not _may_be_unknown(stage, case, row["kind"]):
            found.unanswered.append(f"{case}: {row['kind']} is {row['state']}: {row['error']}")
    _judge_flags(found, database, flags, case)
    desk = [row for row in sent if row["staff_thread_id"] is not None]
    files = frozenset(
        row["message_id"] for row in database.rows("select message_id from pair where side='staff'")
    )
    _explain(found, stage.desk_lines(), desk, flags, case, more=files)
    for who in case.scene.people:
        own = [row for row in sent if row["staff_thread_id"] is None and row["who"] == who]
        taken_back = frozenset(
            row["message_id"]
            for row in rows
            if row["cause_kind"] == TAKEN_BACK and row["state"] == "sent" and row["who"] == who
        )
        sought = {row["nonce"] for row in flags if row["cause_kind"] == TAKEN_BACK}
        unfound = [row for row in rows if row["kind"] == "reply" and row["nonce"] in sought]
        _explain(found, stage.lines(stage.chat(who)), own, flags, case, taken_back, unfound=unfound)
        places = [int(row["message_id"]) for row in own]
        if places != sorted(places):
            found.reordered.append(f"{case}: {who}'s posts left in the order {places}")
    cases = database.number("select count(*) from cases")
    doubtful = sum(row["kind"] == "thread" for row in flags)
    if stage.topics() > cases + doubtful:
        found.twice.append(f"{case}: {stage.topics()} topics for {cases} cases")
    if cases != case.scene.cases:
        found.lost.append(f"{case}: {cases} cases instead of {case.scene.cases}")
    return flags


def _may_be_unknown(stage: Stage, case: Case, kind: str) -> bool:
    """Say whether the platform cannot tell what became of a post of this kind that broke off."""
    if kind == "thread":
        return True
    if kind in CHANGES or kind in case.repeat:
        return False
    return case.gap > 0 if stage.certain else kind != "reply"


def _judge_flags(
    found: Outcome, database: Database, flags: Sequence[sqlite3.Row], case: Case
) -> None:
    """Staff who have somebody's case are told of each post to them that may have arrived."""
    told = database.number(
        "select count(*) from history where role = 'note' and text like 'This may or may not%'"
    )
    due = sum(
        row["staff_thread_id"] is None
        and database.number(
            f"select count(*) from cases where conversation_id = {row['conversation_id']} "
            f"and opened_at < {row['touched_at']} and "
            f"(resolved_at is null or resolved_at > {row['touched_at']})"
        )
        > 0
        for row in flags
    )
    if told < due:
        found.unanswered.append(f"{case}: {due} posts may have arrived, staff were told of {told}")


def _explain(  # noqa: PLR0917
    found: Outcome,
    lines: Sequence[Line],
    sent: Sequence[sqlite3.Row],
    flags: Sequence[sqlite3.Row],
    case: Case,
    taken_back: frozenset[str] = frozenset(),
    more: frozenset[str] = frozenset(),
    unfound: Sequence[sqlite3.Row] = (),
) -> None:
    """Match lines and rows one to one; a flagged row may have a line.

    `taken_back`: the messages of replies that had begun to show and say now that they ended;
    `more`: those of posts that are several messages, a transcript with its files; `unfound`: the
    rows of replies that nobody could take back, as staff were told.
    """
    for message_id, times in Counter(row["message_id"] for row in sent).items():
        if times > 1:
            found.twice.append(f"{case}: {times} rows say they are message {message_id}")
    ids = {row["message_id"] for row in sent} | taken_back
    perhaps = [_plain(row["text"]) for row in flags]
    perhaps += [""] * 2 * sum(row["kind"] == "transcript" for row in flags)  # its two files
    again = [row["text"] for row in sent if row["kind"] in case.repeat]
    again += [""] if "transcript" in case.repeat else []
    cards = [row["text"] for row in sent if row["kind"] == "card" and "card" in case.repeat]
    heads = {text.partition("\n")[0] for text in cards}  # only one of two is drawn anew later
    for line in lines:
        if line.id in ids or line.id in more:
            continue
        if line.text == PLACEHOLDER:
            found.orphans += 1
        elif (text := _plain(line.text)) in perhaps:
            perhaps.remove(text)
        elif line.text in again or line.text.partition("\n")[0] in heads:
            found.repeated += 1
        elif _begun(line.text, [*flags, *unfound]):
            found.orphans += 1
        else:
            found.twice.append(f"{case}: a line that no row explains: {line.text[:60]}")
    missing = ids - {line.id for line in lines}
    if missing:
        found.lost.append(f"{case}: rows were sent that nobody sees: {sorted(missing)}")


def _plain(text: str) -> str:
    """Return a text as it was before it was escaped, and trimmed as platforms do."""
    return text.replace("\\", "").strip()


def _begun(text: str, flags: Sequence[sqlite3.Row]) -> bool:
    """Say whether a text is the beginning of a flagged reply, as it was when it broke off."""
    said = {*numbers([text])}
    replies = [row["text"] for row in flags if row["kind"] == "reply"]
    return any(said and said <= {*numbers([reply])} for reply in replies)


def _judge_person(  # noqa: PLR0917
    found: Outcome,
    stage: Stage,
    database: Database,
    talk: Talk,
    case: Case,
    who: str,
    flags: Sequence[sqlite3.Row],
) -> None:
    """Each message is answered once, or staff have it, or a flag says why not; in order."""
    lines = [line for line in stage.lines(stage.chat(who)) if line.text != PLACEHOLDER]
    mine = {number: row for number, row in _turns(database).items() if number in talk.said[who]}
    if case.engine == "echo":
        answers = numbers([line.text for line in lines])
        # Seen twice by the operator's choice, or because staff themselves said it once more.
        chosen = talk.staff if case.repeat else numbers([row["text"] for row in flags])
        for number, times in Counter(answers).items():
            if times > 1 and (number not in talk.staff or number not in chosen):
                found.twice.append(f"{case}: {who}'s {number} was answered {times} times")
        mine_alone = [number for number in answers if number not in talk.staff]
        if mine_alone != sorted(mine_alone):
            found.reordered.append(f"{case}: {who} was answered in the order {answers}")
    else:
        answers = [number for number, row in mine.items() if row["reply"] == "sent"]
    if who == "bob":
        doubtful = numbers([row["text"] for row in flags])
        arrived = numbers([line.text for line in lines])
        for number in talk.staff:
            if number not in (*arrived, *doubtful):
                found.unanswered.append(f"{case}: {number} of staff's never arrived")
    flagged = {row["cause_id"] for row in flags if row["cause_kind"] == "inbox"}
    for number in talk.said[who]:
        row = mine.get(number)
        if row is None or number in answers:
            continue
        handed = row["case_id"] is not None or (
            row["reply"] == "withdrawn" and row["owner"] != "bot"
        )
        if not handed and row["first"] not in flagged:
            found.unanswered.append(f"{case}: {who}'s {number}: reply {row['reply']}")


def _turns(database: Database) -> dict[str, sqlite3.Row]:
    """Return what became of each message, by its number."""
    rows = database.rows(
        "select i.id, i.message, d.case_id, c.owner, "
        "(select min(j.id) from inbox j where j.answered_by = i.answered_by) first, "
        "(select o.state from outbox o where o.cause_kind = 'inbox' and o.kind = 'reply' "
        " and o.part = 0 and o.staff_thread_id is null and o.cause_id = "
        " (select min(j.id) from inbox j where j.answered_by = i.answered_by)) reply "
        "from inbox i join conversation c on c.id = i.conversation_id "
        "left join decision d on d.inbox_id = i.id where i.kind = 'said' order by i.id"
    )
    found = {}
    for row in rows:
        for number in numbers([json.loads(row["message"])["text"]]):
            found[number] = row
    return found
