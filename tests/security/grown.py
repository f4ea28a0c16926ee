"""A whole Heed as `heed run` wires it, with a token, a webhook, staff and a case; on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from adapters.web import WebAdapter
from bot import program
from bot.app import App
from bot.settings import Http, Limits, Model, Telegram
from core.store import people
from tests.adapters.desk_live import HASHED, PASSWORD
from tests.fakes.telegram import TelegramFake
from tests.prepared import prepare
from tests.security.knocking import HOOK, TOKEN
from tests.walk.house import settings_for

HOOKED = {"X-Telegram-Bot-Api-Secret-Token": HOOK}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, kw_only=True)
class Grown:
    app: App
    web: WebAdapter
    client: httpx2.AsyncClient
    session: str
    csrf: str


@asynccontextmanager
async def grown(folder: Path, **sections: Any) -> AsyncIterator[Grown]:
    """Start it; somebody is upset already, and ana (admin) is logged in."""
    async with TelegramFake() as fake:
        sections.setdefault("http", Http(port=0, token=TOKEN))
        settings = settings_for(
            folder,
            model=Model(name="embedded"),
            limits=Limits(per_user_minute=100_000, per_chat_minute=100_000, per_user_day=0),
            telegram=Telegram(
                token=fake.token,
                api_base=fake.api_base,
                file_base=fake.file_base,
                mode="webhook",
                webhook_url="https://bot.example/telegram/webhook",
                webhook_secret=HOOK,
            ),
            **sections,
        )
        prepare(settings.database.url)
        app = App(settings)
        app.connect()
        web = program._web(app)
        await web.check()
        app.add(web)
        running = asyncio.create_task(app.run())
        try:
            add = partial(people.add_staff, name="ana", password=HASHED, now=1.0, admin=True)
            await app.store.write(add)
            session = await app.room.log_in("ana", PASSWORD)
            member = await app.room.member(session)
            async with httpx2.AsyncClient(
                base_url=web.url, timeout=30, trust_env=False, verify=False
            ) as client:
                await _upset(client)
                await fake.until(lambda: fake.webhook)
                yield Grown(app=app, web=web, client=client, session=session, csrf=member.csrf)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            with contextlib.suppress(RuntimeError):
                await app.close()


async def _upset(client: httpx2.AsyncClient) -> None:
    words = "I am furious!! This is the third time you lost my data. I have had enough!"
    answer = await client.post("/chat", json={"text": words, "user": "maya"}, headers=BEARER)
    assert answer.json()["case"] == 1, answer.text
