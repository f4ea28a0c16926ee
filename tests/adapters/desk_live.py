"""A desk whose log-ins and settings are real: a store, argon2, the judge. Cases are the twin's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from bot.guest import Guests
from bot.settings import Settings
from bot.tuning import Tuning
from core.ports import StaffMember
from core.store import Inline, Store, create_tables, people, saved
from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import Clock

PASSWORD = "four boring words here"
HASHED = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)


class LiveDesk(DeskTwin):
    def __init__(self, store: Store, settings: Settings) -> None:
        super().__init__(Clock(), pause=0.0)
        self.store = store
        self.guests = Guests(store, self.clock)
        self.tuning = Tuning(settings, store, self.clock)

    def hire(self, name: str, *, admin: bool = False) -> None:
        self.store.write_now(
            partial(people.add_staff, name=name, password=HASHED, now=1.0, admin=admin)
        )

    async def log_in(self, name: str, password: str, *, known: str = "") -> str | None:
        return await self.guests.log_in(name, password, known=known)

    async def recognise(self, name: str) -> str:
        return await self.guests.recognise(name)

    async def member(self, secret: str, *, renew: bool = True) -> StaffMember | None:
        return await self.guests.member(secret, renew=renew)

    async def log_out(self, secret: str, *, everywhere: bool = False) -> None:
        await self.guests.log_out(secret, everywhere=everywhere)

    async def staff(self) -> list[dict[str, Any]]:
        return await self.guests.staff()

    def settings(self) -> list[dict[str, Any]]:
        return self.tuning.view()

    async def change_settings(self, changes: Mapping[str, str], staff: str) -> None:
        await self.tuning.change(changes, staff)

    async def preview(self, changes: Mapping[str, str]) -> dict[str, Any]:
        return await self.tuning.preview(changes)

    async def saved_replies(self) -> list[dict[str, str]]:
        return await self.store.read(saved.every)

    async def save_reply(self, name: str, text: str, staff: str) -> None:
        write = partial(saved.put, name=name, text=text, who=staff, now=self.clock())
        await self.store.write(write)


@contextmanager
def live_desk(folder: Path, settings: Settings | None = None) -> Iterator[LiveDesk]:
    url = f"sqlite:///{folder / 'heed.db'}"
    create_tables(url)
    store = Store(url, Inline)
    try:
        yield LiveDesk(store, settings or Settings())
    finally:
        store.close()
