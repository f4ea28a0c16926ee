"""Before any child is forked the program runs a few times, so that each child finds it warm."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.crash.harness import Play
from tests.crash.judge import Case, Database
from tests.crash.scenes import DESK, FULL, Talk
from tests.crash.stages import Child, DiscordStage, TelegramStage

Serve = Callable[[dict[str, Any], Any], Awaitable[None]]
# Everybody but cat, who wants a human, too: the card must be bob's.
SCENE = replace(DESK, lines=tuple(line for line in FULL.lines if line[0] != "cat"))


class Spared(Child):
    """This very process: it lives on."""

    def signal(self, number: int) -> None:
        """Nobody is killed in a rehearsal."""


@dataclass
class Here:
    """Lets a Heed live in this process, where a fork of it would."""

    template: Path
    serve: Serve

    @asynccontextmanager
    async def life(
        self, child: Child, command: dict[str, Any]
    ) -> AsyncIterator[asyncio.Future[bool]]:
        """Let it live once, to its orderly end."""
        living = asyncio.create_task(self._live(command))
        child.pid = os.getpid()
        try:
            yield living
        finally:
            if not living.done():
                signal.raise_signal(signal.SIGTERM)
            await living

    async def _live(self, command: dict[str, Any]) -> bool:
        await self.serve(command, lambda _point: None)
        return False  # nobody has killed it


async def play(template: Path, folder: Path, serve: Serve) -> None:
    """Play a talk and a case at the desk on each platform, then begin again where that ended."""
    for make in (TelegramStage, DiscordStage):
        place, talk = folder / make.__name__, Talk(SCENE)
        place.mkdir()
        database = Database(place / "heed.db")
        shutil.copyfile(template, database.path)
        async with make() as stage:
            stage.child = Spared()
            case = Case(kills=0, scene=SCENE, engine="phrases")
            played = Play(Here(template, serve), stage, place, case, talk, database)
            try:
                await played.lives()
                talk.say(stage, "ann", "and the older ones?")  # found by the next life
                played.command["engine"] = "echo"
                await played.lives()
            finally:
                await played.end()
