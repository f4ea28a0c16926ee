"""The figures of this moment: what waits, who is connected, how large it all is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bot.meters import Gauge, version
from core.store.backlog import Backlog

if TYPE_CHECKING:
    from bot.room import Room

STATES = ("queued", "human", "snoozed", "watch")  # of a case that is not resolved
HEALTH = ("off", "connecting", "ok", "failing")


def figures_of(room: Room) -> Iterator[Gauge]:
    """Return every gauge. Asks no database: what is counted there was counted a moment ago."""
    watch, now = room.watch, room.walk.rooms.clock()
    yield Gauge("ready", "1 while messages are answered.", float(watch.why_not_ready() is None))
    yield Gauge("build_info", "Which Heed this is.", 1.0, {"version": version()})
    yield from _waits(watch.backlog, now)
    tally = watch.tally
    yield Gauge("inbox_parked", "Messages set aside after five tries.", tally.parked)
    yield Gauge("poison", "Updates that could not be read.", tally.poison)
    yield Gauge("outbox_uncertain", "Posts that may or may not have arrived.", tally.uncertain)
    yield Gauge("outbox_failed", "Posts that a platform refused.", tally.failed)
    yield Gauge("outbox_held", "Posts to people who cannot be reached.", tally.held)
    cases = dict(tally.cases)
    for state in STATES:
        yield Gauge("cases", "Cases by state.", cases.get(state, 0), {"state": state})
    for kind, count in room.lanes().items():
        yield Gauge("lanes", "Lanes with something to do.", count, {"kind": kind})
    yield from _engine(room)
    yield from _database(room)
    yield from _adapters(room)
    yield Gauge("loop_lag_seconds", "How late the event loop was, the last time.", watch.lag)


def _waits(backlog: Backlog, now: float) -> Iterator[Gauge]:
    oldest = 0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest)
    due = [now - head.due_since(0.0) for head in backlog.heads]
    yield Gauge("inbox_waiting", "Messages that wait for their turn.", backlog.waiting)
    yield Gauge("inbox_oldest_waiting_seconds", "How long the oldest of them has waited.", oldest)
    yield Gauge("outbox_queued", "Posts that have not left.", backlog.queued)
    yield Gauge(
        "outbox_oldest_due_seconds",
        "How long the oldest of them could have left; a platform's own pause does not count.",
        max([0.0, *due]),
    )


def _engine(room: Room) -> Iterator[Gauge]:
    capacity = room.walk.rooms.mind.capacity()
    yield Gauge("replies_running", "Replies that are being written.", capacity.running)
    yield Gauge("reply_slots", "Replies that can be written at once.", capacity.slots)
    yield Gauge("kv_bytes", "Memory that conversations hold in the model.", capacity.kv_bytes)


def _database(room: Room) -> Iterator[Gauge]:
    store = room.store
    yield Gauge("writer_queue", "Operations that wait for their commit.", store.pending)
    file = room.tuning.current().database.url.removeprefix("sqlite:///")
    yield Gauge("database_bytes", "Size of the database.", size(file))
    yield Gauge("database_wal_bytes", "Size of its write-ahead log.", size(f"{file}-wal"))
    for kind in ("busy", "error"):
        yield Gauge(
            "database_refusals",
            "Operations that the database refused.",
            store.refusals[kind],
            {"kind": kind},
            counts=True,
        )


def _adapters(room: Room) -> Iterator[Gauge]:
    for (platform, bot), adapter in sorted(room.adapters.items()):
        now = adapter.health().state
        for state in HEALTH:
            labels = {"platform": platform, "bot": bot, "state": state}
            yield Gauge("adapter_state", "How each connection is.", float(state == now), labels)


def size(file: str) -> float:
    """Return the bytes of a file; 0: it is not there."""
    try:
        return float(Path(file).stat().st_size)
    except OSError:
        return 0.0
