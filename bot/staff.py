"""Who may log in on the page, named by commands: through the running Heed, or the held file.

Whoever runs is the database's one writer, so it writes this, too. The password is hashed by the
command; what goes through the socket opens no door.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from argon2 import PasswordHasher

from bot import database
from bot.control import ask
from bot.sealing import opened
from bot.settings import Settings
from core.errors import SetupError
from core.store import Connection, people

if TYPE_CHECKING:
    from bot.app import App


def add(settings: Settings, name: str, password: str, *, admin: bool) -> None:
    """Add somebody who may log in on the web. Raises SetupError for a name that is taken."""
    name = name.strip()  # as the log-in reads it
    if not name or not name.isprintable():
        raise SetupError("This is no name that somebody could type: use letters and digits.")
    hashed = PasswordHasher().hash(password)
    done = ask(settings.database.url, "staff_add", name=name, password=hashed, admin=admin)
    if done is None:
        done = _write(settings, partial(_add, name=name, password=hashed, admin=admin))
    if not done:
        raise SetupError(f"{name} is staff already; remove them first to change anything.")


def remove(settings: Settings, name: str) -> None:
    """Remove a staff member. Raises SetupError when there is none of that name."""
    name = name.encode("utf-8", "replace").decode()
    done = ask(settings.database.url, "staff_remove", name=name)
    if done is None:
        done = _write(settings, partial(people.remove_staff, name=name))
    if not done:
        raise SetupError(f"There is no staff member named {name}.")


def names(settings: Settings) -> Sequence[str]:
    """Return one line per staff member."""
    database.expect_newest(settings.database.url)
    with opened(settings) as store:
        return store.read_now(people.list_staff)


async def add_in(app: App, name: str, password: str, admin: bool) -> bool:  # noqa: FBT001
    """Add somebody in a running Heed; `password` is a hash. False: the name is taken."""
    return await app.store.write(partial(_add, name=name, password=password, admin=admin))


async def remove_in(app: App, name: str) -> bool:
    """Remove somebody in a running Heed; False: there is nobody of that name."""
    return await app.store.write(partial(people.remove_staff, name=name))


def _add(connection: Connection, name: str, password: str, admin: bool) -> bool:  # noqa: FBT001
    return people.add_staff(connection, name, password, time.time(), admin=admin)


def _write(settings: Settings, operation: Callable[[Connection], bool]) -> bool:
    url = settings.database.url
    database.prepare(url)
    with database.hold(url):
        database.upgrade(url)
        with opened(settings) as store:
            return store.write_now(operation)
