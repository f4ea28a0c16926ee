"""What a person hears of a model that hangs, breaks, or talks nonsense: one table, row by row.

Each row goes through a whole Heed: two messages of one person while the fault lasts, a furious one
of somebody else, and one more when the model is well again.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Model, Prompts
from core.engine.local.engine import LocalEngine
from core.engine.remote import RemoteEngine
from core.engine.scripted import ScriptedEngine
from tests.fakes.openai import OpenAIFake
from tests.patience import until
from tests.proof import Ledger
from tests.walk.house import House, living, settings_for
from tests.walk.pupil import SPOKEN, make_pupil, write_prompts

SECONDS, GRACE = 0.4, 0.3  # how long a model may take, and how much longer nobody waits
SLACK = 2.5  # of a busy machine
FURY = "this is the worst service ever, I am furious, you are all useless, I hate this so much!!!"
DRIP = "I am here. And so on it goes. And on and on, a word at a time."
WELL = "I am here. Tell me more about it, please."
PIECES = ["I am here. ", "Tell me more about it, please."]
MANY = 10**6


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault: what the person hears the first time, and whether the second brings a case.

    `heard`: `apology` or `fallback` (the fixed texts), `part` (how the answer began), `answer`.
    """

    fault: str
    stage: str  # tag | reply
    heard: str
    case: bool
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.stage}: {self.fault}"


Break = Callable[[Row], Any]  # a context manager: within it the fault lasts


class Tried:
    """What was found in a house, row by row."""

    def __init__(self, house: House, engine: str, well: str = WELL) -> None:
        self.house, self.engine, self.well = house, engine, well
        self.wrong: list[str] = []
        self.rows = 0
        self.slowest = 0.0

    async def row(self, row: Row, broken: Break) -> None:
        """Let people write while a fault lasts, and once after it."""
        self.rows += 1
        house, who = self.house, f"p{self.rows}"
        with broken(row):
            first = await self._say("hello", who)
            why = await house.room.explain(first["message_id"]) or {}
            furious = await self._say(FURY, f"{who}-furious")
            second = await self._say("hello, anybody?", who)
        self._expect(row, "first", self._kind(first["response"]), row.heard)
        self._expect(row, "first belongs to", first["owner"], "bot")
        self._expect(row, "second belongs to", second["owner"], "queue" if row.case else "bot")
        self._expect(row, "second is silent", not second["response"], wanted=False)
        self._expect(row, "fury belongs to", furious["owner"], "queue")
        self._expect(row, "stood in", bool(why["scores"]["stand_in"]), row.heard == "apology")
        await house.idle()
        after = await self._say("hello again", f"{who}-after")
        self._expect(row, "afterwards", after["response"], self.well)
        lines = await house.lines(who)
        self._expect(
            row, "lines kept", [w for r, w in lines if r == "user"], ["hello", "hello, anybody?"]
        )
        engine = house.app.mind.engine
        assert engine is not None
        self._expect(row, "slots held", engine.capacity().running, 0)

    async def _say(self, text: str, who: str) -> dict[str, Any]:
        began = time.monotonic()
        done = await self.house.say(text, who)
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        if took > 2 * (SECONDS + GRACE) + SLACK:  # a turn that nothing was shown of is taken twice
            self.wrong.append(f"{self.engine}, {who}: an answer after {took:.1f} s")
        return done

    def _kind(self, words: str | None) -> str:
        say = self.house.app.texts.say
        fixed = {say(name, "en"): name for name in ("apology", "fallback")}
        if words in fixed:
            return fixed[words]
        if words == self.well:
            return "answer"
        begun = words and (self.well.startswith(words) or DRIP.startswith(words))
        return "part" if begun else f"{words!r:.80}"

    def _expect(self, row: Row, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.wrong.append(f"{self.engine}, {row.name}: {what} {found}, and not {wanted}")

    async def enter(self, proof: Ledger, tasks: int) -> None:
        """Enter the line of the proof; soon nothing may be left running."""
        until = time.monotonic() + 10.0
        while (left := _at_work() - tasks) > 2 and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if left > 2:
            names = sorted(str(task.get_coro()) for task in asyncio.all_tasks())
            self.wrong.append(f"{left} tasks more than before: {names}")
        size = f"{self.rows} faults, each heard of within {self.slowest:.1f} s"
        proof(
            "model", f"faults of {self.engine}: something true is heard in time", size, self.wrong
        )


def _at_work() -> int:
    """Count the tasks, but for the fakes' connections that wait for another request."""
    names = (str(task.get_coro()) for task in asyncio.all_tasks())
    return sum("RequestHandler.start" not in name for name in names)


async def _usual() -> int:
    """Count them once everything has started: ten looks in a row that see as many."""
    seen = [0]
    while len(seen) < 10 or len({*seen[-10:]}) > 1:
        await asyncio.sleep(0.05)
        seen.append(_at_work())
    return seen[-1]


# -- a script ------------------------------------------------------------------------------------

SCRIPTED = (
    Row(stage="tag", fault="it fails", heard="apology", case=True, how={"fail": "tag"}),
    Row(stage="tag", fault="it hangs", heard="apology", case=True, how={"hang": "tag"}),
    Row(stage="tag", fault="no start", heard="apology", case=True, how={"fail": "start"}),
    Row(stage="tag", fault="a start that hangs", heard="apology", case=True, how={"hang": "start"}),
    Row(stage="tag", fault="too slow", heard="apology", case=True, how={"delay": 5.0}),
    Row(stage="reply", fault="it fails", heard="fallback", case=True, how={"fail": "speak"}),
    Row(stage="reply", fault="it hangs", heard="fallback", case=True, how={"hang": "speak"}),
    Row(
        stage="reply",
        fault="role tokens",
        heard="fallback",
        case=False,
        how={"say": "<|im_start|>assistant\n<|im_start|>"},
    ),
    Row(stage="reply", fault="nothing", heard="fallback", case=False, how={"say": ""}),
    Row(stage="reply", fault="blanks", heard="fallback", case=False, how={"say": " \n\t\n "}),
    Row(
        stage="reply",
        fault="one word for ever",
        heard="fallback",
        case=False,
        how={"say": "la " * 20_000},
    ),
    Row(stage="reply", fault="a megabyte", heard="fallback", case=False, how={"say": "x" * 2**20}),
    Row(
        stage="reply",
        fault="no text but its ruins",
        heard="fallback",
        case=False,
        how={"say": "I \ufffd\ufffd\ufffd you \ufffd."},
    ),
    Row(
        stage="reply",
        fault="half a character",
        heard="fallback",
        case=False,
        how={"say": "I \ud83d am here."},
    ),
    Row(
        stage="reply",
        fault="control signs",
        heard="fallback",
        case=False,
        how={"say": "I \x00\x1b[2J am here."},
    ),
    Row(
        stage="reply",
        fault="a slow drip",
        heard="part",
        case=False,
        how={"pace": 0.15, "say": DRIP},
    ),
)


@contextmanager
def script_broken(engine: ScriptedEngine, row: Row) -> Iterator[None]:
    how = row.how
    if "fail" in how:
        engine.fail(how["fail"], MANY)
    if "hang" in how:
        engine.hang(how["hang"])
    if "say" in how:
        engine.garble(8, how["say"])
    engine.delay, engine.pace = how.get("delay", 0.0), how.get("pace", 0.0)
    try:
        yield
    finally:
        engine.delay = engine.pace = 0.0
        engine._failures.clear()
        engine._garbage.clear()
        engine.release()


@pytest.mark.proof_short
async def test_a_script_that_fails_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Ledger
) -> None:
    monkeypatch.setattr("core.writing.GRACE", GRACE)
    engine = ScriptedEngine({"": WELL}, slots=8)
    settings = settings_for(tmp_path, model=Model(name="embedded", reply_seconds=SECONDS))
    async with living(settings, engine=engine) as house:
        await house.say("hello", "warm")
        tried, tasks = Tried(house, "a script"), await _usual()
        for row in SCRIPTED:
            await tried.row(row, lambda one: script_broken(engine, one))
        await tried.enter(proof, tasks)


# -- a server ------------------------------------------------------------------------------------

DEEP = b"[" * 5000
REMOTE = (
    Row(stage="tag", fault="500", heard="apology", case=True, how={"kind": "status"}),
    Row(
        stage="tag", fault="503", heard="apology", case=True, how={"kind": "status", "status": 503}
    ),
    Row(
        stage="tag",
        fault="429, wait a minute",
        heard="apology",
        case=True,
        how={"kind": "status", "status": 429, "headers": {"Retry-After": "60"}},
    ),
    Row(
        stage="tag",
        fault="a redirect",
        heard="apology",
        case=True,
        how={"kind": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
    ),
    Row(
        stage="tag", fault="401", heard="apology", case=True, how={"kind": "status", "status": 401}
    ),
    Row(
        stage="tag", fault="404", heard="apology", case=True, how={"kind": "status", "status": 404}
    ),
    Row(stage="tag", fault="it hangs", heard="apology", case=True, how={"kind": "hang"}),
    Row(stage="tag", fault="a reset", heard="apology", case=True, how={"kind": "drop"}),
    Row(stage="tag", fault="no JSON", heard="apology", case=True, how={"kind": "junk"}),
    Row(
        stage="tag",
        fault="no UTF-8",
        heard="apology",
        case=True,
        how={"kind": "junk", "body": b"\xff\xfe{}"},
    ),
    Row(
        stage="tag",
        fault="another JSON",
        heard="apology",
        case=True,
        how={"kind": "junk", "body": b'{"choices": []}'},
    ),
    Row(
        stage="tag", fault="a list", heard="apology", case=True, how={"kind": "junk", "body": b"[]"}
    ),
    Row(
        stage="tag",
        fault="deep JSON",
        heard="apology",
        case=True,
        how={"kind": "junk", "body": DEEP},
    ),
    Row(stage="tag", fault="a huge body", heard="apology", case=True, how={"kind": "huge"}),
    Row(stage="reply", fault="500", heard="fallback", case=True, how={"kind": "status"}),
    Row(
        stage="reply",
        fault="429, wait a minute",
        heard="apology",
        case=True,
        how={"kind": "status", "status": 429, "headers": {"Retry-After": "60"}},
    ),
    Row(
        stage="reply",
        fault="a redirect",
        heard="fallback",
        case=True,
        how={"kind": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
    ),
    Row(stage="reply", fault="silence", heard="fallback", case=True, how={"kind": "hang"}),
    Row(
        stage="reply",
        fault="silence after its first words",
        heard="part",
        case=False,
        how={"kind": "hang", "after": 3},
    ),
    Row(stage="reply", fault="a reset", heard="fallback", case=True, how={"kind": "drop"}),
    Row(
        stage="reply",
        fault="a reset in the middle",
        heard="fallback",
        case=True,
        how={"kind": "cut", "after": 3},
    ),
    Row(
        stage="reply",
        fault="an error in the middle",
        heard="fallback",
        case=True,
        how={"kind": "error", "after": 3},
    ),
    Row(
        stage="reply",
        fault="junk in the middle",
        heard="fallback",
        case=True,
        how={"kind": "junk", "after": 3, "body": b"data: {]"},
    ),
    Row(
        stage="reply",
        fault="no UTF-8 in the middle",
        heard="fallback",
        case=True,
        how={"kind": "junk", "after": 3, "body": b"data: \xff\xfe\xfa"},
    ),
    Row(stage="reply", fault="no end", heard="fallback", case=False, how={"kind": "huge"}),
    Row(
        stage="reply",
        fault="HTML",
        heard="fallback",
        case=True,
        how={"kind": "junk", "body": b"<html>"},
    ),
    Row(stage="reply", fault="nothing", heard="fallback", case=False, how={"say": []}),
    Row(
        stage="reply",
        fault="role tokens",
        heard="fallback",
        case=False,
        how={"say": ["<|im_start|>", "user\nhi"]},
    ),
)


def label(_text: str) -> Mapping[str, float]:
    return {"neutral": 0.8, "negative": 0.1, "positive": 0.05, "well": 0.05}


@contextmanager
def server_broken(fake: OpenAIFake, row: Row) -> Iterator[None]:
    """Break every request of a stage: a tag asks for one token, a reply for a stream."""
    how, well = dict(row.how), fake.say
    if "say" in how:
        fake.say = lambda _messages: how["say"]
    else:
        fake.fail(how.pop("kind"), count=MANY, only=row.stage, **how)
    try:
        yield
    finally:
        fake.say = well
        fake.mend()


@pytest.mark.proof_short
async def test_a_server_that_fails_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Ledger
) -> None:
    monkeypatch.setattr("core.writing.GRACE", GRACE)
    settings = settings_for(tmp_path, model=Model(name="embedded", reply_seconds=SECONDS))
    async with OpenAIFake(lambda _: PIECES, label) as fake, living(settings) as house:
        engine = RemoteEngine(fake.url, house.app.book, seconds=SECONDS)
        await engine.warm_up()
        await house.app.mind.swap(engine)
        await house.say("hello", "warm")
        tried, tasks = Tried(house, "a server"), await _usual()

        @contextmanager
        def broken(row: Row) -> Iterator[None]:
            with server_broken(fake, row):
                yield
            engine._circuit._answered()  # what it learns from a fault is tested elsewhere
            engine._server.busy_until, engine._logprobs = 0.0, True

        for row in REMOTE:
            await tried.row(row, broken)
        await tried.enter(proof, tasks)


# -- a network in this process -------------------------------------------------------------------


def raises(fault: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise fault

    return call


def poisoned(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return logits that are no numbers."""

    def call(*some: Any, **more: Any) -> Any:
        found = real(*some, **more)
        return (
            found * float("nan")
            if hasattr(found, "shape")
            else [one * float("nan") for one in found]
        )

    return call


OUT_OF_MEMORY = RuntimeError(
    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"
)
LOCAL = tuple(
    Row(stage=stage, fault=fault, heard=heard, case=True, how={"call": call})
    for (stage, heard), (fault, call) in itertools.product(
        (("tag", "apology"), ("reply", "fallback")),
        (
            ("out of memory", raises(MemoryError())),
            ("out of memory in torch", raises(OUT_OF_MEMORY)),
            ("a wrong shape", raises(IndexError("index out of range in self"))),
            ("logits that are no numbers", poisoned),
        ),
    )
)


@pytest.mark.proof_short
async def test_a_network_that_fails_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Ledger
) -> None:
    monkeypatch.setattr("core.writing.GRACE", GRACE)
    pupil = make_pupil(tmp_path / "pupil")
    prompts = Prompts(dir=write_prompts(tmp_path / "prompts"))
    model = Model(name=str(pupil), threads=1, reply_seconds=5.0)
    async with living(settings_for(tmp_path, model=model, prompts=prompts)) as house:
        await until(lambda: house.app.mind.engine and house.app.mind.ready)
        engine = house.app.mind.engine
        assert isinstance(engine, LocalEngine)
        assert engine._worker is not None
        network, threads = engine._worker.model, threading.active_count()
        await house.say("hello", "warm")
        tried, tasks = Tried(house, "a network here", SPOKEN), await _usual()

        @contextmanager
        def broken(row: Row) -> Iterator[None]:
            name = "grow" if row.stage == "tag" else "steps"
            call = row.how["call"]
            real = getattr(network, name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(network, name, call(real) if call is poisoned else call)
                yield

        for row in LOCAL:
            await tried.row(row, broken)
        assert engine.counters.loads == 1
        assert threading.active_count() <= threads + 1
        await tried.enter(proof, tasks)
