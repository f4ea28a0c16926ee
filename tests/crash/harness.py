"""One case: people talk, Heed is killed in the middle and started again, and is judged.

The platform lives in the test's process and so survives; the database is read from outside.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash.judge import Case, Database, Outcome, judge, noise
from tests.crash.scenes import Talk
from tests.crash.stages import Child, FakeTrap, Stage, TelegramStage
from tests.patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent
AT_ONCE = 3  # cases

TAKEN = "select count(*) from inbox where kind = 'said'"
STATE = "select state from cases order by id desc limit 1"
PRESSED = {"claim": ("cl", "human"), "botback": ("bb", "watch"), "resolve": ("rs", "resolved")}

# The named points of the walk and the delivery. Each transaction of the program is a point before
# and after besides, named by its room and what it does.
POINTS = (
    "before intake commit",
    "after intake commit",
    "model start",
    "model end",
    "before stream row",
    "stream row opened",
    "before stream id commit",
    "after stream id commit",
    "text shown",
    "before done commit",
    "after done commit",
    "before send claim",
    "after send claim",
    "before sent commit",
    "after sent commit",
)


class Zygote:
    """Starts Heeds by a fork, several at a time."""

    def __init__(self) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HEED_")}  # noqa: TID251
        self._folder = tempfile.TemporaryDirectory()  # leases of tokens lie there: none is shared
        self.template = Path(self._folder.name) / "template.db"  # a database that nobody has used
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "tests.crash.zygote", str(self.template)],
            cwd=ROOT,
            env={
                **clean,
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
                "TMPDIR": self._folder.name,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == '{"ready": 1}\n', "the zygote has ended"
        self._lives = 0
        self._told: dict[int, Callable[[dict[str, int]], None]] = {}
        self._ear = threading.Thread(target=self._hear, daemon=True)
        self._ear.start()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            fact = json.loads(line)
            self._told[fact["life"]](fact)

    def _say(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    @asynccontextmanager
    async def life(
        self, child: Child, command: dict[str, Any]
    ) -> AsyncIterator[asyncio.Future[bool]]:
        """Let one Heed live; gives its end, True when it was killed. Dead when this returns."""
        self._lives += 1
        life, loop = self._lives, asyncio.get_running_loop()
        born: asyncio.Future[int] = loop.create_future()
        ended: asyncio.Future[bool] = loop.create_future()

        def note(fact: dict[str, int]) -> None:
            if "pid" in fact:
                born.set_result(fact["pid"])
            else:
                child.pid = 0
                ended.set_result(bool(fact["killed"]))

        self._told[life] = lambda fact: loop.call_soon_threadsafe(note, fact)
        self._say(**command, life=life)
        child.pid = await born
        try:
            yield ended
        finally:
            child.kill()
            await ended
            self._say(bury=life)
            del self._told[life]

    def close(self) -> None:
        """End it, and with it whatever it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._ear.join()
        self._process.stdin.close()
        self._process.stdout.close()
        self._folder.cleanup()


async def until(true: Callable[[], object], seconds: float = PATIENCE, every: float = 0.01) -> bool:
    """Wait until something holds; False when it does not in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - facts of another process
                await asyncio.sleep(every)
            return True
    return bool(true())


async def run(
    zygote: Zygote, stage: Stage, folder: Path, case: Case, talk: Talk | None = None
) -> Outcome:
    """Play the case's scene under its kills, and judge."""
    database, talk = Database(folder / "heed.db"), talk or Talk(case.scene)
    if not case.unborn:
        shutil.copyfile(zygote.template, database.path)
    played = Play(zygote, stage, folder, case, talk, database)
    try:
        killed = await played.lives()
    finally:
        await played.end()
    outcome = judge(stage, database, talk, case)
    outcome.cases, outcome.killed = 1, killed
    if played.log.exists():
        found = noise(played.log.read_text("utf-8"))
        outcome.noise += [f"{case}: log: {line}" for line in found]
    return outcome


class Play:
    """One case as it runs."""

    def __init__(
        self,
        zygote: Zygote,
        stage: Stage,
        folder: Path,
        case: Case,
        talk: Talk,
        database: Database,
    ) -> None:
        self.zygote, self.stage, self.case, self.talk = zygote, stage, case, talk
        self.database, self.log = database, folder / "heed.log"
        self.speaking: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[bool] | None = None
        settings: dict[str, Any] = {
            "database": {"url": f"sqlite:///{database.path}"},
            "http": {"port": 0},
            "model": {"name": "embedded"},
            **stage.settings(),
        }
        settings["desk"] |= {"pictures": case.pictures}
        if isinstance(stage, TelegramStage):
            settings["telegram"] |= {"repeat": list(case.repeat)}
        self.command = {"settings": settings, "log": str(self.log), "engine": case.engine}
        self.command |= {"trace": case.trace}

    async def lives(self) -> int:
        """Live, be killed, live again, until nothing is left to do; return how often it died."""
        case, killed = self.case, 0
        chance = random.Random(case.seed)  # noqa: S311 - to find a case again
        for life in range(case.kills + 1):
            last = life == case.kills
            hit = 1 if life else case.hit  # what is made good after a kill is killed at once
            aimed = {} if last or case.call else {"point": case.point, "hit": hit}
            self.stage.trap = FakeTrap(case.call, after=case.after, hit=hit)
            ready = self.speaking is not None or not (self.stage.introduces or case.scene.moves)
            more = {"armed": ready, "ahead": case.gap * life}
            async with self.zygote.life(self.stage.child, self.command | aimed | more) as ended:
                self.ended = ended
                if not ready:
                    await self._prepare()
                    self.stage.child.signal(signal.SIGUSR1)
                if self.speaking is None:
                    self.speaking = asyncio.create_task(self.speak())
                if not last:
                    self.stage.trap.set()
                if case.seed is not None and not last:
                    await asyncio.wait({ended}, timeout=chance.uniform(0.02, 0.6))
                    self.stage.child.kill()
                    await ended
                await until(lambda: ended.done() or self._idle())
                died = ended.done() and ended.result()
                self.database.close()
            killed += died
            if last or not died:
                break
            self._between()
        return killed

    async def end(self) -> None:
        """Nobody says anything any more."""
        if self.speaking is not None:
            self.speaking.cancel()
            for error in await asyncio.gather(self.speaking, return_exceptions=True):
                if isinstance(error, Exception):
                    raise error

    def _between(self) -> None:
        """While it is dead the platform may forget."""
        if self.case.gap and not isinstance(self.stage, TelegramStage):
            self.stage.nonce_lives = 0.0

    def _idle(self) -> bool:
        return self.talk.over and self.database.idle(self.talk.all)

    def _gone(self) -> bool:
        return self.ended is None or self.ended.done()

    async def _prepare(self) -> None:
        """Play what comes before the kills: everybody is made known, or all that is said."""
        stage, talk, scene = self.stage, self.talk, self.case.scene
        await until(lambda: stage.taken() or self._gone())
        for who, text in scene.lines if scene.moves else scene.lines[: scene.known]:
            talk.say(stage, who, text)
        await until(lambda: self.database.idle(talk.count) or self._gone())

    async def speak(self) -> None:
        """Say the rest of the scene while Heed lives and dies."""
        stage, talk, scene = self.stage, self.talk, self.case.scene
        first = 0 if talk.count == 0 else len(scene.lines) if scene.moves else scene.known
        for who, text in scene.lines[first:]:
            talk.say(stage, who, text)
            if stage.loses:
                await asyncio.sleep(0.03)
            else:
                await until(stage.taken)
        for move in scene.moves:
            await self._move(move)
        talk.over = True

    async def _move(self, move: str) -> None:
        """Make one move of the desk's, as often as it takes where the platform loses it."""
        stage, talk = self.stage, self.talk
        what, _, text = move.partition(": ")
        who, _, edits = what.partition(" ")
        if not text:
            await self._press(what)
        elif not edits:
            said = talk.say_as_staff if who == "staff" else partial(talk.say, who=who)
            said(stage, text=text)
            await until(lambda: self.database.number(TAKEN) >= talk.all)
        else:
            await until(lambda: self._alive() and self.database.settled())
            wanted = talk.edit(stage, who, text)
            while not await until(lambda: self._heard(wanted), 1.0 if stage.loses else PATIENCE):
                assert stage.loses, f"nobody heard {wanted}"
                await until(self._alive)
                talk.edit(stage, who, text)

    async def _press(self, what: str) -> None:
        """Press a button of bob's card until it has done what it says."""
        code, state = PRESSED[what]
        if what == "resolve":  # nobody presses on a card that is just being drawn
            await until(lambda: self._alive() and self.database.settled())
        for _ in range(40):
            if await until(lambda: self._alive() and self.stage.press_on_card(code), 1.0) and (
                await until(lambda: self.database.rows(STATE)[0][0] == state, 0.5)
            ):
                return
        raise AssertionError(f"{what} does nothing")

    def _alive(self) -> bool:
        return self.stage.child.pid > 0 and (not self.stage.loses or self.stage.taken())

    def _heard(self, words: str) -> bool:
        heard = f"select count(*) from inbox where kind != 'said' and message like '%{words}%'"  # noqa: S608
        return self.database.number(heard) > 0


async def run_all(
    zygote: Zygote, make: Callable[[], Stage], folder: Path, cases: Iterable[Case]
) -> Outcome:
    """Run cases, several at a time; what went well leaves no files behind."""
    total, waiting = Outcome(), list(enumerate(cases))[::-1]

    async def work() -> None:
        nonlocal total
        while waiting:
            number, case = waiting.pop()
            place = folder / f"case{number}"
            place.mkdir(parents=True)
            async with make() as stage:
                outcome = await run(zygote, stage, place, case)
            total += outcome
            if not outcome.violations:
                shutil.rmtree(place)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())
    return total
