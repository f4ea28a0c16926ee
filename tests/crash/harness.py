"""One case: six people talk, Heed is killed in the middle and started again, and is judged.

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
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.crash.judge import Case, Database, Outcome, judge, noise
from tests.crash.stages import PEOPLE, SCENE, Child, FakeTrap, Stage, Talk, TelegramStage

ROOT = Path(__file__).parent.parent.parent
TIME = 20.0  # seconds until the last start must be idle

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
    """Starts a Heed by a fork. One at a time."""

    def __init__(self) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HEED_")}  # noqa: TID251
        self._folder = tempfile.TemporaryDirectory()  # leases of tokens lie there: none is shared
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
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
        self._folder.cleanup()


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
            ready = speaking is not None or not (stage.introduces or case.staff)
            async with zygote.life(stage.child, command | aimed | {"armed": ready}) as ended:
                if not ready:
                    await _prepare(stage, talk, database, ended, case)
                    stage.child.signal(signal.SIGUSR1)
                if speaking is None:
                    speech = _speak_as_staff if case.staff else _speak
                    speaking = asyncio.create_task(speech(stage, talk))
                if not last:
                    stage.trap.set()
                if case.seed is not None and not last:
                    await asyncio.wait({ended}, timeout=chance.uniform(0.1, 1.0))
                    stage.child.kill()
                    await ended
                idle = await until(
                    lambda: ended.done() or (talk.over and database.idle(talk.all)), TIME
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


async def _prepare(
    stage: Stage, talk: Talk, database: Database, ended: asyncio.Task[bool], case: Case
) -> None:
    """Play what comes before the kills: everybody is made known, or the whole scene."""
    await until(lambda: stage.taken() or ended.done(), TIME)
    for who, text in SCENE if case.staff else SCENE[: len(PEOPLE)]:
        talk.say(stage, who, text)
        await asyncio.sleep(0.01 if case.staff else 0)
    await until(lambda: database.idle(talk.count) or ended.done(), TIME)


async def _speak_as_staff(stage: Stage, talk: Talk) -> None:
    """Answer bob in the topic of his case, line by line."""
    assert isinstance(stage, TelegramStage)
    [topic] = [i for i, one in stage.chats[stage.desk].topics.items() if "bob" in one["name"]]
    for text in ("Hello Bob, this is Sam.", "I am sorry.", "I look into it.", "It is paid back."):
        talk.say_as_staff(stage, topic, text)
        await until(stage.taken, TIME)
        await asyncio.sleep(0.02)
    talk.over = True


async def _speak(stage: Stage, talk: Talk) -> None:
    """Say the rest of the scene while Heed lives and dies."""
    for who, text in SCENE[talk.count :]:
        talk.say(stage, who, text)
        if isinstance(stage, TelegramStage):
            await until(stage.taken, TIME)
        else:
            await asyncio.sleep(0.03)
    talk.over = True
