"""A process that has imported all of Heed and opened nothing: starting one costs a fork.

Commands come on stdin, one JSON object a line: `settings` (as Settings takes them), `log` (a
file), and, if the child is to kill itself, `point` and `hit`: it does so when it comes past that
point for the hit-th time. With `armed` false passing counts only after SIGUSR1. `engine` names who
writes: "phrases", or "echo", which repeats the numbers of the messages it answers, with `pace`
seconds a piece. Each start is answered by {"pid"}, each end by {"killed", "status"}.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import re
import signal
import ssl
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import anyio._backends._asyncio
import h11
import httpcore
import uvicorn.lifespan.off
import uvicorn.protocols.http.auto

import adapters.discord
import adapters.discord.sketch as discord_sketch
import adapters.telegram
import adapters.telegram.pace as telegram_pace
import adapters.web
import bot.app
import bot.program
import bot.speaker
import core.commands
import core.delivery
import core.store.places
from bot import logs
from bot.settings import Settings
from core.engine.embedded.phrasebook import PhraseWriter
from core.engine.embedded.table import Table
from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine

IMPORTED = (adapters.discord, adapters.telegram, adapters.web, core.commands, core.delivery)
LATER = (anyio, h11, httpcore, uvicorn)  # imported on first use, once for all here
NUMBER = re.compile(r"k\d\d\d?")
LENGTH = 6  # sentences of an echo


def numbers(texts: Sequence[str]) -> list[str]:
    """Return the numbers that messages carry, in order."""
    return [number for text in texts for number in NUMBER.findall(text)]


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
    """Say whether nothing has been opened that a fork would tear apart."""
    tasks = "/proc/self/task"
    return not os.path.isdir(tasks) or len(os.listdir(tasks)) == 1  # noqa: PTH112, PTH208


def read_ahead() -> None:
    """Read the large files once, for all children."""
    ssl.create_default_context = cache(ssl.create_default_context)
    with suppress(ImportError):
        import certifi

        ssl.create_default_context(cafile=certifi.where())
    phrases, table = PhraseWriter(), Table.load()
    Table.load = lambda *_args: table
    bot.app.make_phrases = lambda _settings: phrases


def die_with_parent() -> None:
    """Let the kernel end this process when its parent ends, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Trap:
    """Kills its own process at the hit-th time of a point."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.point, self.hit = command.get("point"), int(command.get("hit", 1))
        self.armed = bool(command.get("armed", True))

    def arm(self, *_: object) -> None:
        self.armed = True

    def __call__(self, point: str) -> None:
        if not self.armed or point != self.point:
            return
        self.hit -= 1
        if self.hit == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def live(command: dict[str, Any]) -> None:
    """Be a Heed, in the child, until a signal."""
    out = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    trap = Trap(command)
    signal.signal(signal.SIGUSR1, trap.arm)
    settings = Settings(**command["settings"])
    logs.set_up(settings)
    tempfile.tempdir = str(Path(command["log"]).parent)  # where this case holds its token
    # Nobody floods anybody here, and no test waits for the pace of real chats.
    telegram_pace.PRIVATE = telegram_pace.GROUP = telegram_pace.OVERALL = 0.001
    discord_sketch.STEP = 0.001
    core.store.places.REDRAW = 0.02
    if command.get("engine") == "echo":
        mind = ScriptedEngine(replies=echo, tags=feel, pace=command.get("pace", 0.0), slots=4)
        bot.speaker.make_engine = lambda *_args, **_more: mind
    asyncio.run(bot.program.serve(settings, probe=trap))


def born(command: dict[str, Any]) -> int:
    """Fork a Heed; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent()
        live(command)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it was belongs into the log
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def tell(**fact: int) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def main() -> None:
    die_with_parent()
    assert only_one_thread(), "an import has started a thread"
    read_ahead()
    gc.collect()
    gc.freeze()
    tell(ready=1)
    pid = 0
    for line in sys.stdin:
        if pid:
            os.waitpid(pid, 0)
        pid = born(json.loads(line))
        tell(pid=pid)
        # The dead one keeps its number until the next is asked for: a late kill hits nobody else.
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        killed = end is not None and end.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        tell(killed=int(killed), status=0 if end is None else end.si_status)


if __name__ == "__main__":
    main()
