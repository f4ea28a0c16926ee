"""One Heed over several lives, spoken to by a test."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.crash.harness import Zygote, until
from tests.crash.judge import Database, noise
from tests.crash.stages import Child
from tests.patience import PATIENCE

WITHDRAWN = "I stopped this answer."


class Home:
    """One Heed over several lives, with its page and its database."""

    def __init__(self, zygote: Zygote, folder: Path, **settings: Any) -> None:
        self.zygote, self.child = zygote, Child()
        self.database, self.log = Database(folder / "heed.db"), folder / "heed.log"
        self.settings = {
            "database": {"url": f"sqlite:///{self.database.path}"},
            "http": {"port": 0},
            "model": {"name": "embedded"},
            **settings,
        }

    @asynccontextmanager
    async def life(self, child: Child | None = None, **more: Any) -> AsyncIterator[Any]:
        """Let it live once; gives a client of its page, which is open when this starts."""
        self.log.write_text("", "utf-8")
        command = {"settings": self.settings, "log": str(self.log), "engine": "echo", **more}
        self.child = child or self.child
        async with self.zygote.life(self.child, command) as self.ended:
            assert await until(lambda: "Heed is at" in self.told()), self.told()
            [url] = re.findall(r"Heed is at (http\S+)", self.told())
            async with httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
                async with asyncio.timeout(PATIENCE):
                    while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                yield client
        self.database.close()
        assert list(noise(self.told())) == []

    def told(self) -> str:
        return self.log.read_text("utf-8")

    async def idle(self, messages: int) -> bool:
        return await until(lambda: self.database.idle(messages))

    def posts(self, kind: str) -> list[tuple[str, str]]:
        """Return (state, text) of the posts of one kind."""
        query = f"select state, text from outbox where kind = '{kind}' order by id"  # noqa: S608
        return [(row["state"], row["text"]) for row in self.database.rows(query)]

    def withdrawals(self) -> list[str]:
        """Return what became of each post that replaces a withdrawn reply."""
        return [state for state, text in self.posts("notice") if WITHDRAWN in text]

    def lines(self, role: str) -> list[str]:
        rows = self.database.rows(f"select text from history where role = '{role}' order by id")  # noqa: S608
        return [row["text"] for row in rows]

    def streaming(self) -> bool:
        found = self.database.rows("select 1 from outbox where state = 'streaming'")
        return bool(found)
