"""`heed doctor --live`: how the Heed that is running is doing, asked of itself.

Everything but a few lists comes from its memory, so it answers while the database takes nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bot.control import ask
from bot.faults import FAULTS
from bot.meters import version
from bot.moment import size
from bot.settings import Settings
from core import durations
from core.errors import StoreError
from core.store import Connection
from core.store.backlog import overdue, revision, wanting
from core.texts import Texts

if TYPE_CHECKING:
    from bot.app import App

PATIENCE = 30.0  # seconds for the running Heed to answer
READ = 3.0  # seconds for the database to tell the lists
LATE = 60.0  # seconds after which a timer is overdue
KINDS = 20  # of log lines that are listed
WAY_OUT: Final = {
    "uncertain": "nobody knows whether it arrived: ask the person, or mark it on the case's page",
    "failed": "the platform refused it: the log says why; write it anew if it still matters",
    "held": "the person cannot be reached: it waits for them, or staff drop it on the case's page",
    "parked": "set aside after five tries, or by a restore: answer it by hand; the log says more",
    "poison": "it could not be read: report it, with the log's line",
}


async def live_of(app: App) -> dict[str, Any]:
    """Return how a running Heed is, as plain JSON values; times in seconds since the epoch."""
    watch, now = app.watch, app.clock()
    backlog, tally = watch.backlog, watch.tally
    late = [now - head.due_since(0.0) for head in backlog.heads]
    return {
        "version": version(),
        "pid": os.getpid(),
        "at": now,
        "uptime": now - watch.began,
        "ready": watch.why_not_ready() is None,
        "why": watch.why_not_ready(),
        "troubles": watch.view(),
        "adapters": [
            {
                "platform": platform,
                "bot": bot,
                "state": adapter.health().state,
                "name": adapter.health().name,
                "problem": adapter.health().problem,
                "heard": app.walk.heard.get(platform),
            }
            for (platform, bot), adapter in sorted(app.adapters.items())
        ],
        "queues": {
            "messages": backlog.waiting,
            "oldest_message": 0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest),
            "posts": backlog.queued,
            "oldest_post": max([0.0, *late]),
            "turns": app.turns.busy,
            "deliveries": app.posts.busy,
        },
        "needs": {
            name: getattr(tally, name)
            for name in ("uncertain", "failed", "held", "parked", "poison")
        },
        "cases": dict(tally.cases),
        "engine": app.speaker.view(),
        "database": _file(app),
        "errors": _errors(),
        **await _lists(app, now),
    }


def _file(app: App) -> dict[str, Any]:
    file = app.settings.database.url.removeprefix("sqlite:///")
    problem = app.store.problem
    return {
        "file": file,
        "bytes": size(file),
        "wal_bytes": size(f"{file}-wal"),
        "queue": app.store.pending,
        "problem": "" if problem is None else problem.words,
    }


def _errors() -> list[dict[str, Any]]:
    found = [
        {"level": level, "kind": kind, "count": count, "last": FAULTS.last[level, kind]}
        for (level, kind), count in FAULTS.counted.items()
    ]
    return sorted(found, key=lambda one: str(one["last"]), reverse=True)[:KINDS]


async def _lists(app: App, now: float) -> dict[str, Any]:
    """Return what only the database knows; where it does not tell, that it does not."""

    def read(connection: Connection) -> dict[str, Any]:
        return {
            "wanting": wanting(connection),
            "overdue": overdue(connection, now - LATE),
            "revision": revision(connection),
            "unread": "",
        }

    try:
        async with asyncio.timeout(READ):
            return await app.store.read(read)
    except (StoreError, TimeoutError) as error:
        words = str(error) or "the database does not answer"
        return {"wanting": [], "overdue": 0, "revision": "", "unread": words}


# --- for people -----------------------------------------------------------------------------


def show(settings: Settings, say: Callable[[str], None], *, as_json: bool) -> int:
    """Ask and tell. Returns 0: well; 1: something stands still; 2: nobody is running.

    Raises SetupError or HeedError where the running Heed cannot be asked.
    """
    found = ask(settings.database.url, "live", PATIENCE)
    if found is None:
        say(json.dumps({"running": False}) if as_json else "No Heed is running on this database.")
        return 2
    if as_json:
        say(json.dumps({"running": True, **found}, ensure_ascii=False, indent=2))
    else:
        when = partial(durations.words, lang="en", texts=Texts.load())
        for line in _lines(found, when):
            say(line)
    return 0 if found["ready"] and not found["troubles"] else 1


def _lines(found: Mapping[str, Any], when: Callable[[float], str]) -> Iterator[str]:
    up = when(found["uptime"])
    yield f"Heed {found['version']}, process {found['pid']}, up for {up}"
    yield "ready    yes" if found["ready"] else f"ready    NO: {found['why']}"
    for one in found["troubles"]:
        yield f"STUCK    {one['words']} {one['way_out']}"
    for one in found["adapters"]:
        name = f" {one['name']}" if one["name"] else ""
        problem = f": {one['problem']}" if one["problem"] else ""
        ago = "nothing" if one["heard"] is None else f"{when(found['at'] - one['heard'])} ago"
        yield f"{one['platform']:<8} {one['state']}{name}, last heard: {ago}{problem}"
    queues, database = found["queues"], found["database"]
    yield (
        f"waiting  {queues['messages']} messages (oldest {when(queues['oldest_message'])}), "
        f"{queues['posts']} posts (oldest {when(queues['oldest_post'])}), "
        f"{queues['turns']} turns and {queues['deliveries']} deliveries at work"
    )
    cases = ", ".join(f"{count} {state}" for state, count in found["cases"].items())
    yield f"cases    {cases or 'none open'}"
    yield f"model    {found['engine']['words']}"
    problem = f", PROBLEM: {database['problem']}" if database["problem"] else ""
    yield (
        f"database {database['file']}, revision {found['revision'] or '?'}, "
        f"{database['bytes'] / 1e6:.1f} MB + log {database['wal_bytes'] / 1e6:.1f} MB, "
        f"{database['queue']} writes waiting{problem}"
    )
    if found["unread"]:
        yield f"         it could not be asked for more: {found['unread']}"
    if found["overdue"]:
        yield f"timers   {found['overdue']} overdue"
    yield from _wanting(found, when)


def _wanting(found: Mapping[str, Any], when: Callable[[float], str]) -> Iterator[str]:
    for kind, count in found["needs"].items():
        rows = [one for one in found["wanting"] if one["kind"] == kind]
        if not count and not rows:
            continue
        ids = ", ".join(f"{one['id']} ({one['what']})" for one in rows[:5])
        yield f"{kind:<8} {max(count, len(rows))}: {ids}{' ...' if len(rows) > 5 else ''}"
        yield f"         {WAY_OUT[kind]}"
    for one in found["errors"]:
        ago = when(found["at"] - one["last"])
        yield f"log      {one['level']} x{one['count']}, last {ago} ago: {one['kind']}"
