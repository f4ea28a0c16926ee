"""What is kept of one person, handed over or erased by a command, through the running Heed or not.

A Heed that runs holds more than rows: a reply on its way, the model's memory of the conversation,
staff's chats that only it can reach. So it erases, where there is one; else the file is held
meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from bot import database
from bot.control import ask
from bot.sealing import opened
from bot.settings import Settings
from core import dossier
from core.errors import SetupError
from core.message import ConversationKey
from core.store import Connection, people, privacy
from core.store.privacy import Count, Erased
from core.texts import Texts

if TYPE_CHECKING:
    from bot.app import App

PLATFORMS = ("telegram", "discord", "web", "terminal")
TRUNCATIONS = 20  # tries, a quarter of a second apart, before the janitor goes on with it


def export(settings: Settings, ref: str) -> list[dict[str, Any]]:
    """Return everything kept of a person, by `platform:user id`, one entry per place."""
    url = settings.database.url
    _named(ref)
    found = ask(url, "export", ref=ref)
    if found is not None:
        return list(found)
    database.expect_newest(url)
    with opened(settings) as store:
        return store.read_now(partial(_export, ref=ref))


def handed_over(settings: Settings, ref: str, page: Path | None) -> str:
    """Return everything kept of a person as JSON; or write it as a page, and return where.

    Nobody but this user may read that file. Raises SetupError where it cannot be written.
    """
    found = export(settings, ref)
    if page is None:
        return json.dumps(found, ensure_ascii=False, indent=2)
    try:
        page.touch(mode=0o600)
        page.write_bytes(page_of(settings, found))
    except OSError as error:
        raise SetupError(
            f"{page} cannot be written ({error.strerror}); name another file."
        ) from None
    return f"Everything kept of {ref} stands in {page}."


def page_of(settings: Settings, found: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the same as one page to read, in the person's language."""
    lang = next((one["person"]["lang"] for one in found if one["person"]["lang"]), "en")
    texts, zone = Texts.load(settings.texts.dir), ZoneInfo(settings.desk.timezone)
    return dossier.as_page(found, texts, lang, zone=zone)


async def export_from(app: App, ref: str) -> list[dict[str, Any]]:
    """Return the same of a running Heed."""
    return await app.store.read(partial(_export, ref=ref))


def forget(settings: Settings, ref: str) -> str:
    """Erase a person, by `platform:user id`, in every place; return what was done.

    What staff were shown in their chats is erased by posts, which a running Heed sends.
    """
    url = settings.database.url
    _named(ref)
    told = ask(url, "forget", ref=ref)
    if told is not None:
        return str(told)
    database.prepare(url)
    copy = Texts.load(settings.texts.dir).say("erased_copy", "en")
    with database.hold(url):
        database.upgrade(url)
        with opened(settings) as store:
            erased = store.write_now(partial(_forget, ref=ref, copy=copy, now=time.time()))
            if store.write_now(privacy.bury):
                mark = store.read_now(privacy.unclean)
                store.compact()
                store.write_now(partial(privacy.cleaned, mark=mark))
            return _told(erased, clean=store.erase_log())


async def forget_in(app: App, ref: str) -> str:
    """Erase a person in a running Heed: what is held in memory, the rows, staff's copies."""
    key = await app.store.read(partial(_key, ref=ref))
    erased = await app.commands.rights.erase(key)
    clean = False
    for _ in range(TRUNCATIONS):
        await app.store.write(privacy.bury)
        clean = await asyncio.to_thread(app.store.erase_log)
        if clean:
            break
        await asyncio.sleep(0.25)
    return _told(erased, clean=clean)


def _forget(connection: Connection, ref: str, copy: str, now: float) -> Erased:
    """Erase every place in one transaction: a person is forgotten, or is not."""
    return privacy.forget_all(connection, _find(connection, ref), _silent, copy, now)


def _export(connection: Connection, ref: str) -> list[dict[str, Any]]:
    return [privacy.export(connection, found) for found in _find(connection, ref)]


def _key(connection: Connection, ref: str) -> ConversationKey:
    return people.key_of(connection, _find(connection, ref)[0])


def _told(erased: Erased | None, *, clean: bool) -> str:
    count = Count(messages=0, cases=0) if erased is None else erased.count
    rest = "" if clean else " A running Heed truncates the write-ahead log when it is idle."
    return f"{count.messages} messages and {count.cases} cases are erased.{rest}"


def _silent(**_counts: int) -> str:
    """The operator erases on the person's behalf: no post to them."""
    return ""


def _named(ref: str) -> tuple[str, str]:
    """Return platform and user of a reference. Raises SetupError for what can be none."""
    platform, _, user = ref.partition(":")
    encodable = user.encode("utf-8", "replace").decode() == user
    if not user or platform not in PLATFORMS or not encodable:
        raise SetupError(
            f"{ref!r} names nobody; write platform:user id, as in telegram:12345 or web:ann."
        )
    return platform, user


def _find(connection: Connection, ref: str) -> list[int]:
    found = people.find(connection, *_named(ref))
    if not found:
        raise SetupError(f"Nothing is kept of {ref}.")
    return found
