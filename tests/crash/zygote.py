"""A process that has imported all of Heed and opened nothing: starting one costs a fork.

Before the first fork it has been a Heed once, from start to end, so that what a process makes once
(expressions, statements, tables, TLS contexts) is there for all its children.

Commands come on stdin, one JSON object a line. `life`: the number by which its child is spoken of;
`settings` (as Settings takes them), `log` (a file), and, if the child is to kill itself, `point`
and `hit`: it does so when it comes past that point for the hit-th time (with another `signal` it
stops itself and not more). With `armed` false passing
counts only after SIGUSR1. `engine` names who writes: "phrases", or "echo", which repeats the
numbers of the messages it answers, with `pace` seconds a piece. `ahead`: seconds that its clock is
ahead; `trace`: a file that is told each point. Each start is answered by {"life", "pid"}, each end
by {"life", "killed", "status"}; {"bury": life} lets go of a dead child's process id.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import selectors
import signal
import ssl
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import anyio._backends._asyncio
import h11
import httpcore
import sqlalchemy
import uvicorn.lifespan.off
import uvicorn.protocols.http.auto
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

import adapters.discord
import adapters.discord.sketch as discord_sketch
import adapters.telegram
import adapters.telegram.pace as telegram_pace
import adapters.web
import bot.app
import bot.menus
import bot.program
import bot.speaker
import core.commands
import core.delivery
import core.store
import core.store.places
from bot import database, logs
from bot.settings import Settings
from core.cells import cipher_of
from core.engine.embedded.phrasebook import PhraseWriter
from core.engine.embedded.table import Table
from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine
from core.store import Store
from core.texts import Texts
from tests.crash.words import numbers

IMPORTED = (adapters.discord, adapters.telegram, adapters.web, core.commands, core.delivery)
LATER = (anyio, h11, httpcore, uvicorn)  # imported on first use, once for all here
MAKE_ENGINE = bot.speaker.make_engine
LENGTH = 4  # sentences of an echo
DRAFTS = 0.02  # seconds between two drafts of a reply


def echo(request: ReplyRequest) -> str:
    """Answer with the numbers of exactly the messages that are answered, in their language."""
    if any("一" <= sign <= "龥" for text in request.messages for sign in text):
        words = ["我对", *numbers(request.messages), "的回答是这个。"]
        more = ("先看这里。", "再看那里。", "然后歇一会儿。", "慢慢来。", "好了。")
        return " ".join([*words, *more[: LENGTH - 1]])
    words = ["My answer to", *numbers(request.messages), "is this."]
    more = ("First look here.", "Then look there.", "After that breathe.", "Rest a bit.", "Done.")
    return " ".join([*words, *more[: LENGTH - 1]])


def feel(text: str) -> dict[str, float]:
    """Hear the furious one; everybody else is calm."""
    if "furious" in text:
        return {"negative": 0.98, "neutral": 0.01, "positive": 0.01}
    return {"negative": 0.03, "neutral": 0.94, "positive": 0.03}


def only_one_thread() -> bool:
    """Say whether nothing has been opened that a fork would tear apart.

    A thread that was joined is a little longer in the kernel's list.
    """
    tasks = "/proc/self/task"
    until = time.monotonic() + 10.0
    while os.path.isdir(tasks) and len(os.listdir(tasks)) > 1:  # noqa: PTH112, PTH208
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def read_ahead() -> None:
    """Read the large files once, for all children."""
    ssl.create_default_context = cache(ssl.create_default_context)
    with suppress(ImportError):
        import certifi

        ssl.create_default_context(cafile=certifi.where())
    phrases, table = PhraseWriter(), Table.load()
    Table.load = lambda *_args: table
    bot.app.make_phrases = lambda _settings: phrases
    Texts.load = cache(Texts.load)  # type: ignore[method-assign]
    book = bot.app.make_book(Settings())
    bot.app.make_book = lambda _settings: book


def share_statements() -> None:
    """Let what was compiled for one database serve every other that is sealed alike."""
    compiled: dict[Any, Any] = {}
    SQLiteDialect_pysqlite.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    SQLiteDialect_pysqlite.__eq__ = (  # type: ignore[method-assign]
        lambda self, other: type(self) is type(other) and cipher_of(self) is cipher_of(other)
    )

    def open_warm(*args: Any, **more: Any) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(*args, **more)
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    core.store.create_engine = open_warm


def die_with_parent() -> None:
    """Let the kernel end this process when its parent ends, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Trap:
    """Kills its own process at the hit-th time of a point."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.point, self.hit = command.get("point"), int(command.get("hit", 1))
        self.armed = bool(command.get("armed", True))
        self.signal = signal.Signals[command.get("signal", "SIGKILL")]
        self.trace = command.get("trace")

    def arm(self, *_: object) -> None:
        self.armed = True

    def __call__(self, point: str) -> None:
        if not self.armed:
            return
        if self.trace:
            with Path(self.trace).open("a", encoding="utf-8") as trace:
                trace.write(point + "\n")
        if point == self.point:
            self.hit -= 1
            if self.hit == 0:
                os.kill(os.getpid(), self.signal)


def probe_writes(trap: Trap) -> None:
    """Make a point before and after every transaction of the program, named by what it does."""
    write = Store.write

    async def probed(self: Store, operation: Callable[..., Any]) -> Any:
        does = operation.func if isinstance(operation, partial) else operation
        room = does.__module__.rpartition(".")[2]
        name = f"{room}.{does.__qualname__.removesuffix('.<lambda>').rpartition('.')[2]}"
        trap(f"before {name}")
        done = await write(self, operation)
        trap(f"after {name}")
        return done

    Store.write = probed  # type: ignore[method-assign]


def haste() -> None:
    """Nobody floods anybody here, and no test waits for the pace of real chats."""
    telegram_pace.PRIVATE = telegram_pace.GROUP = DRAFTS
    telegram_pace.OVERALL = 0.001
    discord_sketch.STEP = DRAFTS
    core.store.places.REDRAW = 0.02
    for menu in ("PEOPLE", "GROUPS", "ADMINS", "STAFF"):  # thirty calls before anything happens
        setattr(bot.menus, menu, {"": getattr(bot.menus, menu)["en"][:2]})


@lru_cache(maxsize=16)  # cases that run at the same time
def settings_of(said: str) -> Settings:
    """Read settings once for all lives of a case: in the zygote, before the fork."""
    return Settings(**json.loads(said))


def told(command: dict[str, Any]) -> Settings:
    return settings_of(json.dumps(command["settings"]))


async def serve(command: dict[str, Any], trap: Trap) -> None:
    """Be the program."""
    bot.speaker.make_engine = MAKE_ENGINE
    if command.get("engine") == "echo":
        mind = ScriptedEngine(replies=echo, tags=feel, pace=command.get("pace", 0.0), slots=4)
        bot.speaker.make_engine = lambda *_args, **_more: mind
    if ahead := float(command.get("ahead", 0.0)):
        bot.program.App = partial(bot.app.App, clock=lambda: time.time() + ahead)
    await bot.program.serve(told(command), probe=trap)


def live(command: dict[str, Any]) -> None:
    """Be a Heed, in the child, until a signal."""
    out = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    trap = Trap(command)
    signal.signal(signal.SIGUSR1, trap.arm)
    gc.disable()  # it lives for a second
    probe_writes(trap)
    logs.set_up(told(command))
    tempfile.tempdir = str(Path(command["log"]).parent)  # where this case holds its token
    asyncio.run(serve(command, trap))


def born(command: dict[str, Any]) -> int:
    """Fork a Heed; return its process id."""
    with suppress(ValueError):  # the child says in its log what is wrong
        told(command)
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        live(command)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it was belongs into the log
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def rehearse(template: Path) -> None:
    """Be a Heed a few times, from the first start to the orderly end."""
    from tests.crash.rehearsal import play

    place = f"sqlite:///{template}"
    database.upgrade(place)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        asyncio.run(play(template, Path(folder), serve))
    tempfile.tempdir = None


class Nursery:
    """Starts children and tells of their ends."""

    def __init__(self, tell: int) -> None:
        self._tell = tell
        self._lives: dict[int, int] = {}  # life -> process id, from its birth to its burial
        self._ended: set[int] = set()

    def tell(self, **fact: int) -> None:
        os.write(self._tell, json.dumps(fact).encode() + b"\n")

    def obey(self, line: bytes) -> None:
        """Start a child, or bury a dead one."""
        command = json.loads(line)
        if "bury" in command:
            self._ended.discard(command["bury"])
            os.waitpid(self._lives.pop(command["bury"]), 0)
            return
        pid = born(command)
        self._lives[command["life"]] = pid
        self.tell(life=command["life"], pid=pid)

    def look(self) -> None:
        """Tell of those that have ended; each keeps its process id: a late kill hits nobody."""
        for life, pid in self._lives.items():
            if life in self._ended:
                continue
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if end is None:
                continue
            self._ended.add(life)
            killed = end.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            self.tell(life=life, killed=int(killed), status=end.si_status)


def listen(nursery: Nursery) -> None:
    """Do as told until nobody tells any more."""
    reads, writes = os.pipe()
    for end in (reads, writes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    heard = b""
    with selectors.DefaultSelector() as ears:
        ears.register(0, selectors.EVENT_READ)
        ears.register(reads, selectors.EVENT_READ)
        while True:
            for key, _ in ears.select():
                came = os.read(key.fd, 65536)
                if key.fd == 0:
                    if not came:
                        return
                    *lines, heard = (heard + came).split(b"\n")
                    for line in lines:
                        nursery.obey(line)
            nursery.look()


def main() -> None:
    die_with_parent()
    tell = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    assert only_one_thread(), "an import has started a thread"
    haste()
    share_statements()
    read_ahead()
    rehearse(Path(sys.argv[1]))
    assert only_one_thread(), "the rehearsal has left a thread"
    gc.unfreeze()  # what the rehearsal left behind
    gc.collect()
    with suppress(AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)  # a fork copies the map of every page
    gc.freeze()
    nursery = Nursery(tell)
    nursery.tell(ready=1)
    listen(nursery)


if __name__ == "__main__":
    main()
