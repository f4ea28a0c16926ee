"""Before any child is forked the program runs once, so that each child finds it warm."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.crash.judge import Database
from tests.crash.scenes import FULL, Talk
from tests.crash.stages import DiscordStage, Stage, TelegramStage

Serve = Callable[[dict[str, Any], Any], Awaitable[None]]


async def play(folder: Path, serve: Serve) -> None:
    """Let everybody of both platforms talk, then end the program by a signal."""
    database = Database(folder / "heed.db")
    async with TelegramStage() as telegram, DiscordStage() as discord:
        settings = {
            "database": {"url": f"sqlite:///{database.path}"},
            "http": {"port": 0},
            "model": {"name": "embedded"},
            **telegram.settings(),
            **discord.settings(),
        }
        settings["desk"] = {"staff": f"telegram:{telegram.desk},discord:{discord.desk}"}
        running = asyncio.ensure_future(
            serve({"settings": settings, "engine": "echo"}, lambda _point: None)
        )
        talks: list[tuple[Stage, Talk]] = [(telegram, Talk(FULL)), (discord, Talk(FULL))]
        async with asyncio.timeout(60):
            while not discord.taken() and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            for stage, talk in talks:
                for who, text in FULL.lines:
                    talk.say(stage, who, text)
                    await asyncio.sleep(0)
            while not database.idle(2 * len(FULL)) and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        if not running.done():
            signal.raise_signal(signal.SIGTERM)
        await running
