"""One case: six people talk, Heed is killed in the middle, and what came of it is judged.

The platform lives in the test's process and so survives; the database is read from outside. The
judge believes the platform's transcript and the database, and nothing that Heed says of itself.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.crash.zygote import numbers
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import Call
from tests.fakes.telegram import TelegramFake

ROOT = Path(__file__).parent.parent.parent
TIME = 20.0  # seconds until the last start must be idle
PLACEHOLDER = "…"
OPEN = "('streaming', 'queued', 'sending')"

POINTS = (
    "before intake commit",
    "after intake commit",
    "model start",
    "model end",
    "before stream row",
    "stream row opened",
    "text shown",
    "before done commit",
    "after done commit",
    "before send claim",
    "after send claim",
    "before sent commit",
    "after sent commit",
)

FURY = "you charged me twice AGAIN and nobody answers, I am furious, this is the worst service ever"

# (who, what): "|" parts a burst. 24 messages of 6 people; the first six make them known.
SCENE: tuple[tuple[str, str], ...] = (
    ("ann", "hello there"),
    ("bob", "good morning"),
    ("cat", "hi, is anybody in?"),
    ("dan", "你好,我想问一下我的订单"),
    ("eve", "hey"),
    ("fay", "hello from the group"),
    ("ann", "where do I find my invoices?"),
    ("bob", FURY),
    ("eve", "I have a question|it is about the blue one|from last week|can you see it?"),
    ("cat", "can I talk to a human please"),
    ("dan", "订单还没有到 📦"),
    ("fay", "my parcel is blue|and it has a bow 🙂"),
    ("bob", "hello? is anybody there?"),
    ("ann", "and the older ones?"),
    ("dan", "谢谢 👍"),
    ("cat", "are you a person?"),
    ("fay", "thanks"),
    ("bob", "I am still waiting"),
    ("ann", "thank you"),
    ("eve", "ok, bye"),
)
PEOPLE = tuple(dict.fromkeys(who for who, _ in SCENE))
GROUPED = frozenset({"fay"})  # speaks in a group, by mention


# --- the process --------------------------------------------------------------------------------


@dataclass
class Child:
    """The Heed of the moment, if there is one."""

    pid: int = 0

    def signal(self, number: int) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


class Zygote:
    """Starts a Heed by a fork. One at a time."""

    def __init__(self) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HEED_")}  # noqa: TID251
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            cwd=ROOT,
            env=clean | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._hear() == {"ready": 1}

    def _hear(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote has ended"
        return dict(json.loads(line))

    @asynccontextmanager
    async def life(
        self, child: Child, command: dict[str, Any]
    ) -> AsyncIterator[asyncio.Task[bool]]:
        """Let one Heed live; gives the task of its end. It is dead when this returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        child.pid = (await asyncio.to_thread(self._hear))["pid"]
        ended = asyncio.create_task(self._ended(child))
        try:
            yield ended
        finally:
            child.kill()
            await ended

    async def _ended(self, child: Child) -> bool:
        """Wait for its end; True when it was killed."""
        end = await asyncio.to_thread(self._hear)
        child.pid = 0
        return bool(end["killed"])

    def close(self) -> None:
        """End it, and with it whatever it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


# --- the platforms ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One message of the bot's, as it reads now."""

    id: str
    text: str


@dataclass
class FakeTrap:
    """Kills the bot from the platform's side: before or after a call is carried out."""

    where: str  # a method's name, or "METHOD /path" with *
    after: bool
    hit: int
    left: int = 0

    def set(self) -> None:
        self.left = self.hit

    def sprung(self, where: str, *, after: bool) -> bool:
        if after is not self.after or self.left <= 0 or not fnmatch.fnmatch(where, self.where):
            return False
        self.left -= 1
        return self.left == 0


class TelegramStage(TelegramFake):
    """Telegram with the six people on it, and a hand on the bot's process."""

    introduces = False  # whoever writes while the bot is away is found by the next poll
    desk = -1009
    town = -1001

    def __init__(self) -> None:
        super().__init__()
        self.child, self.trap = Child(), FakeTrap("", after=False, hit=0)
        self.ids = {who: number for number, who in enumerate(PEOPLE, 101)}
        self.group(self.desk, title="Desk", forum=True)
        self.group(self.town, title="Town")

    def settings(self) -> dict[str, Any]:
        address = {"token": self.token, "api_base": self.api_base, "file_base": self.file_base}
        return {"telegram": address, "desk": {"staff": f"telegram:{self.desk}"}}

    def chat(self, who: str) -> str:
        return str(self.town if who in GROUPED else self.ids[who])

    def speak(self, who: str, text: str) -> None:
        words = f"@{self.username} {text}" if who in GROUPED else text
        self.say(int(self.chat(who)), self.ids[who], words, name=who)

    def lines(self, chat: str) -> list[Line]:
        seen = self.seen(int(chat))
        return [Line(str(one.message_id), one.text) for one in seen if one.who == "bot"]

    def desk_lines(self) -> list[Line]:
        return self.lines(str(self.desk))

    def topics(self) -> int:
        return len(self.chats[self.desk].topics)

    def taken(self) -> bool:
        return not self.updates

    async def _answer(
        self, request: web.Request, handler: Any, params: dict[str, Any], fault: Any
    ) -> web.StreamResponse:
        where = request.match_info["method"]
        if where == "getUpdates" and int(params.get("offset") or 0) > 0:
            where = "confirm"  # a poll that waits, hence killed as soon as it has confirmed
            if self.trap.sprung(where, after=True):
                self.updates = [u for u in self.updates if u["update_id"] >= int(params["offset"])]
                self.child.kill()
        if self.trap.sprung(where, after=False):
            self.child.kill()
            return web.Response(status=500)
        answer = await super()._answer(request, handler, params, fault)
        if self.trap.sprung(where, after=True):
            self.child.kill()
        return answer


class DiscordStage(DiscordFake):
    """Discord with the six people on it, and a hand on the bot's process."""

    introduces = True  # of a direct channel never used before nobody tells a bot that was away

    def __init__(self) -> None:
        super().__init__()
        self.child, self.trap = Child(), FakeTrap("", after=False, hit=0)
        self.town = self.add_channel("town")

    def settings(self) -> dict[str, Any]:
        address = {"api_base": self.api_base, "gateway_url": self.gateway_url}
        return {
            "discord": {"token": self.token, **address},
            "desk": {"staff": f"discord:{self.desk}"},
        }

    def chat(self, who: str) -> str:
        return self.town if who in GROUPED else self.dm(who)

    def speak(self, who: str, text: str) -> None:
        if who in GROUPED:
            self.say(who, text, channel=self.town, mention=True)
        else:
            self.say(who, text)

    def lines(self, chat: str) -> list[Line]:
        own = [one for one in self.messages(chat) if one["author"]["id"] == self.bot["id"]]
        return [Line(str(one["id"]), one["content"]) for one in own]

    def desk_lines(self) -> list[Line]:
        places = [self.desk, *(str(one["id"]) for one in self.threads(self.desk))]
        return [line for place in places for line in self.lines(place)]

    def topics(self) -> int:
        return len(self.threads(self.desk))

    def taken(self) -> bool:
        return self.connected > 0

    def _answer(self, request: web.Request, call: Call) -> tuple[int, Any]:
        where = f"{call.method} {call.path}"
        if self.trap.sprung(where, after=False):
            self.child.kill()
            return 500, {"message": "killed", "code": 0}
        answer = super()._answer(request, call)
        if self.trap.sprung(where, after=True):
            self.child.kill()
        return answer


Stage = TelegramStage | DiscordStage


# --- one case -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where, and how often, Heed is killed."""

    point: str = ""  # a probe's name, or "before X" / "after X" for a call X of the platform
    hit: int = 1
    call: str = ""  # the platform's call, where the point is one of its
    after: bool = False
    seed: int | None = None  # kill at random times instead
    engine: str = "echo"
    kills: int = 2

    def __str__(self) -> str:
        if self.seed is not None:
            return f"random {self.seed} ({self.engine})"
        side = f"{'after' if self.after else 'before'} {self.call}" if self.call else self.point
        return f"{side} x{self.hit}"


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

    def __iadd__(self, other: Outcome) -> Outcome:
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
            f"orphans {self.orphans}, flagged {self.flagged}"
        )


class Database:
    """The database file, read from outside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, query: str) -> list[sqlite3.Row]:
        """Run a query; an unborn database has no rows."""
        with suppress(sqlite3.OperationalError):
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
                connection.row_factory = sqlite3.Row
                return connection.execute(query).fetchall()
        return []

    def number(self, query: str) -> int:
        found = self.rows(query)
        return int(found[0][0]) if found else -1

    def idle(self, messages: int) -> bool:
        """Say whether so many messages were taken in, and nothing is left to do."""
        done = self.number("select count(*) from inbox where state = 'done' and kind = 'said'")
        left = self.number("select count(*) from inbox where state = 'waiting'")
        posts = self.number(f"select count(*) from outbox where state in {OPEN}")  # noqa: S608
        return (done, left, posts) == (messages, 0, 0)


@dataclass
class Talk:
    """What has been said so far: numbers by person, in order."""

    said: dict[str, list[str]] = field(default_factory=lambda: {who: [] for who in PEOPLE})
    count: int = 0
    over: bool = False

    def say(self, stage: Stage, who: str, text: str) -> None:
        for part in text.split("|"):
            self.count += 1
            number = f"k{self.count:02d}"
            self.said[who].append(number)
            stage.speak(who, f"{part} {number}")


async def until(true: Callable[[], object], seconds: float) -> bool:
    """Wait until something holds; False when it does not in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - facts of another process
                await asyncio.sleep(0.02)
            return True
    return bool(true())


async def run(
    zygote: Zygote, stage: Stage, folder: Path, case: Case, talk: Talk | None = None
) -> Outcome:
    """Play the scene under a case's kills, and judge."""
    database, talk = Database(folder / "heed.db"), talk or Talk()
    log = folder / "heed.log"
    command: dict[str, Any] = {
        "settings": {
            "database": {"url": f"sqlite:///{database.path}"},
            "http": {"port": 0},
            "model": {"name": "embedded"},
            **stage.settings(),
        },
        "log": str(log),
        "engine": case.engine,
    }
    killed = 0
    chance = random.Random(case.seed)  # noqa: S311 - to find a case again
    stage.trap = FakeTrap(case.call, after=case.after, hit=case.hit)
    speaking: asyncio.Task[None] | None = None
    try:
        for life in range(case.kills + 1):
            last = life == case.kills
            aimed = {} if last or case.call else {"point": case.point, "hit": case.hit}
            known = talk.count > 0 or not stage.introduces
            async with zygote.life(stage.child, command | aimed | {"armed": known}) as ended:
                if not known:
                    await _introduce(stage, talk, database, ended)
                    stage.child.signal(signal.SIGUSR1)
                if speaking is None:
                    speaking = asyncio.create_task(_speak(stage, talk))
                if not last:
                    stage.trap.set()
                if case.seed is not None and not last:
                    await asyncio.wait({ended}, timeout=chance.uniform(0.15, 1.2))
                    stage.child.kill()
                idle = await until(
                    lambda: ended.done() or (talk.over and database.idle(talk.count)), TIME
                )
                if ended.done():
                    killed += ended.result()
                    if last or not ended.result():
                        break
                elif idle:
                    break
    finally:
        if speaking is not None:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    outcome = judge(stage, database, talk, case)
    outcome.cases, outcome.killed = 1, killed
    if log.exists():
        outcome.noise += [f"{case}: log: {line}" for line in noise(log.read_text("utf-8"))]
    return outcome


async def run_all(
    zygotes: Sequence[Zygote], make: Callable[[], Stage], folder: Path, cases: Iterable[Case]
) -> Outcome:
    """Run cases, one per zygote at a time; what went well leaves no files behind."""
    total, waiting = Outcome(), list(enumerate(cases))[::-1]

    async def work(zygote: Zygote) -> None:
        while waiting:
            number, case = waiting.pop()
            place = folder / f"case{number}"
            place.mkdir(parents=True)
            async with make() as stage:
                outcome = await run(zygote, stage, place, case)
            nonlocal total
            total += outcome
            if not outcome.violations:
                shutil.rmtree(place)

    async with asyncio.TaskGroup() as tasks:
        for zygote in zygotes:
            tasks.create_task(work(zygote))
    return total


async def _introduce(
    stage: Stage, talk: Talk, database: Database, ended: asyncio.Task[bool]
) -> None:
    """Make everybody known, which on some platforms takes a running bot."""
    await until(lambda: stage.taken() or ended.done(), TIME)
    for who, text in SCENE[: len(PEOPLE)]:
        talk.say(stage, who, text)
    await until(lambda: database.idle(talk.count) or ended.done(), TIME)


async def _speak(stage: Stage, talk: Talk) -> None:
    """Say the rest of the scene while Heed lives and dies."""
    for who, text in SCENE[talk.count :]:
        talk.say(stage, who, text)
        if isinstance(stage, TelegramStage):
            await until(stage.taken, TIME)
        else:
            await asyncio.sleep(0.03)
    talk.over = True


def noise(log: str) -> Iterable[str]:
    """Return the lines of a log that tell of an error."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if "Traceback (most recent" in line or "[error" in line or "[critical" in line:
            yield " / ".join([line, *lines[number + 1 :][-12:]])
            return


# --- the judge ----------------------------------------------------------------------------------


def judge(stage: Stage, database: Database, talk: Talk, case: Case) -> Outcome:
    """Compare what was said, what is on disk and what the platform shows."""
    found = Outcome()
    if database.rows("pragma integrity_check")[0][0] != "ok":
        found.lost.append(f"{case}: the database is damaged")
    _judge_disk(found, database, talk, case)
    flags = _judge_posts(found, stage, database, case)
    for who in PEOPLE:
        _judge_person(found, stage, database, talk, case, who, flags)
    return found


def _judge_disk(found: Outcome, database: Database, talk: Talk, case: Case) -> None:
    """Every message is in the inbox, done, in the history and decided, once each."""
    for row in database.rows("select id, state, error from inbox where state != 'done'"):
        found.lost.append(f"{case}: inbox row {row['id']} is {row['state']} {row['error']}")
    for row in database.rows(
        f"select id, kind, state, error from outbox where state in {OPEN}"  # noqa: S608
    ):
        found.lost.append(f"{case}: outbox row {row['id']} ({row['kind']}) stays {row['state']}")
    if wrong := database.number("select count(*) from poison"):
        found.lost.append(f"{case}: {wrong} rows of poison")
    inbox = Counter(
        number
        for row in database.rows("select message from inbox")
        for number in numbers([json.loads(row["message"])["text"]])
    )
    lines = Counter(
        number
        for row in database.rows("select text from history where role = 'user'")
        for number in numbers([row["text"]])
    )
    for number in (one for said in talk.said.values() for one in said):
        if (inbox[number], lines[number]) != (1, 1):
            found.lost.append(
                f"{case}: {number} is {inbox[number]}x in the inbox, {lines[number]}x in history"
            )
    decided = database.number("select count(distinct inbox_id) from decision")
    if decided != talk.count:
        found.lost.append(f"{case}: {decided} decisions for {talk.count} messages")


def _judge_posts(found: Outcome, stage: Stage, database: Database, case: Case) -> list[sqlite3.Row]:
    """Every line of the bot's is one row of the outbox; returns the rows that were flagged."""
    rows = database.rows(
        "select o.*, c.name who from outbox o join conversation c on c.id = o.conversation_id "
        "order by o.id"
    )
    sent = [row for row in rows if row["state"] == "sent" and row["kind"] not in ("edit", "thread")]
    flags = [row for row in rows if row["state"] in ("uncertain", "failed", "held")]
    found.flagged = len(flags)
    certain = isinstance(stage, DiscordStage)
    for row in flags:
        never = row["kind"] == "thread" or (not certain and row["kind"] not in ("reply", "edit"))
        if row["state"] != "uncertain" or not never:
            found.unanswered.append(f"{case}: {row['kind']} is {row['state']}: {row['error']}")
    desk = [row for row in sent if row["staff_thread_id"] is not None]
    _explain(found, stage.desk_lines(), desk, flags, case)
    for who in PEOPLE:
        own = [row for row in sent if row["staff_thread_id"] is None and row["who"] == who]
        _explain(found, stage.lines(stage.chat(who)), own, flags, case)
        places = [int(row["message_id"]) for row in own]
        if places != sorted(places):
            found.reordered.append(f"{case}: {who}'s posts left in the order {places}")
    cases = database.number("select count(*) from cases")
    doubtful = sum(row["kind"] == "thread" for row in flags)
    if stage.topics() > cases + doubtful:
        found.twice.append(f"{case}: {stage.topics()} topics for {cases} cases")
    if cases != 2:
        found.lost.append(f"{case}: {cases} cases instead of 2")
    return flags


def _explain(
    found: Outcome,
    lines: Sequence[Line],
    sent: Sequence[sqlite3.Row],
    flags: Sequence[sqlite3.Row],
    case: Case,
) -> None:
    """Match lines and rows one to one; a flagged row may have a line."""
    for message_id, times in Counter(row["message_id"] for row in sent).items():
        if times > 1:
            found.twice.append(f"{case}: {times} rows say they are message {message_id}")
    ids = {row["message_id"] for row in sent}
    perhaps = [row["text"] for row in flags]
    for line in lines:
        if line.id in ids:
            continue
        if line.text == PLACEHOLDER:
            found.orphans += 1
        elif line.text in perhaps:
            perhaps.remove(line.text)
        else:
            found.twice.append(f"{case}: a line that no row explains: {line.text[:60]}")
    missing = ids - {line.id for line in lines}
    if missing:
        found.lost.append(f"{case}: rows were sent that nobody sees: {sorted(missing)}")


def _judge_person(
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
        for number, times in Counter(answers).items():
            if times > 1:
                found.twice.append(f"{case}: {who}'s {number} was answered {times} times")
        if answers != sorted(answers):
            found.reordered.append(f"{case}: {who} was answered in the order {answers}")
    else:
        answers = [number for number, row in mine.items() if row["reply"] == "sent"]
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
