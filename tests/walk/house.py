"""A whole Heed in the test's own loop: the real rooms, the real database, one person's mouth."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.web import WebAdapter
from bot.app import App
from bot.settings import Database, Http, Settings
from core.message import Arrival, Author, ConversationKey, Message
from core.ports import no_probe
from tests.prepared import prepare

_ids = itertools.count(1)


def settings_for(folder: Path, **sections: Any) -> Settings:
    """Settings of a Heed that keeps everything in `folder`."""
    sections.setdefault("database", Database(url=f"sqlite:///{folder / 'heed.db'}"))
    sections.setdefault("http", Http(port=0))
    return Settings(**sections)


def key_for(user: str, chat: str = "") -> ConversationKey:
    return ConversationKey(platform="web", bot="heed", chat=chat or user, user=user)


def arrival(text: str, user: str = "ann", **changes: Any) -> Arrival:
    number = next(_ids)
    fields: dict[str, Any] = {
        "key": key_for(user),
        "message_id": f"m{number}",
        "author": Author(id=user, name=user.capitalize()),
        "sent_at": 0.0,
        "text": text,
        "order": number,
    }
    message = Message(**{**fields, **changes})
    raw = json.dumps({"text": text})
    return Arrival(platform="web", bot="heed", source_id=f"s{number}", raw=raw, message=message)


class House:
    """One running Heed, spoken to as a person and as staff."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.room = app.room

    async def say(self, text: str, user: str = "ann", **changes: Any) -> dict[str, Any]:
        """Say one line and wait for what came of it."""
        done: dict[str, Any] = {}
        async with asyncio.timeout(60):
            async for event in self.room.ask(arrival(text, user, **changes)):
                if event.kind == "done":
                    done = dict(event.data)
        return done

    async def act(self, case: int, verb: Any, staff: str = "Sam", **more: Any) -> dict[str, Any]:
        return await self.room.act(case, verb, staff, **more)

    async def lines(self, user: str = "ann") -> list[tuple[str, str]]:
        view = await self.room.conversation(key_for(user))
        return [(line["role"], line["text"]) for line in view["lines"]]

    async def view(self, user: str = "ann") -> dict[str, Any]:
        return await self.room.conversation(key_for(user))

    async def idle(self) -> None:
        async with asyncio.timeout(30):
            await self.app.turns.idle()
            await self.app.posts.idle()


@asynccontextmanager
async def living(settings: Settings, **parts: Any) -> AsyncIterator[House]:
    """Start a Heed without a server and end it; `parts` may exchange its mind's engine."""
    prepare(settings.database.url)
    app = App(settings, probe=parts.pop("probe", no_probe))
    app.add(
        WebAdapter(
            app.room,
            clock=app.clock,
            host="127.0.0.1",
            port=0,
            ready=app.speaker.why_not_ready,
            metrics=app.room.metrics,
        )
    )
    for adapter in parts.pop("adapters", ()):
        app.add(adapter(app.room, app.clock))
    if "engine" in parts:
        await app.mind.swap(parts.pop("engine"))
    running = asyncio.create_task(app.run())
    try:
        yield House(app)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await app.close()
