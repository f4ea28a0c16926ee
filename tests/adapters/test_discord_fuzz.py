"""Thousands of generated events: nothing crashes, what is sound is stored once, the rest parked."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from adapters.discord import DiscordAdapter
from core.message import Arrival
from core.store import Store, intake
from core.tables import inbox, poison
from tests.adapters.discord_bench import QUICK, adapter, running
from tests.adapters.discord_payloads import ME, Payloads, Told
from tests.fakes.discord import DiscordFake
from tests.patience import until
from tests.prepared import prepare
from tests.proof import Ledger

BATCH = 250


class Disk:
    """A door onto the real database, and nothing behind it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        ready = [(intake.tidy(one), "") for one in arrivals]
        put = partial(intake.take_in, arrivals=ready, now=time.time(), mark=cursor)
        return [one.inbox_id for one in await self.store.write(put)]

    async def read_cursor(self, name: str) -> str | None:
        return (await self.cursors(name)).get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        return dict(await self.store.read(partial(intake.cursors, prefix=prefix)))

    async def stored(self) -> list[tuple[str, str, str]]:
        names = (inbox.c.chat, inbox.c.message_id, inbox.c.event)
        return [tuple(one) for one in await self._rows(*names)]

    async def parked(self) -> list[tuple[str, str]]:
        return [(one.raw, one.error) for one in await self._rows(poison.c.raw, poison.c.error)]

    async def _rows(self, *columns: Any) -> list[Any]:
        def read(connection: Connection) -> list[Any]:
            return list(connection.execute(select(*columns)).all())

        return await self.store.read(read)


@asynccontextmanager
async def disk(folder: Path) -> AsyncIterator[Disk]:
    url = f"sqlite:///{folder / 'heed.db'}"
    prepare(url)
    store = Store(url)
    try:
        yield Disk(store)
    finally:
        store.close()


def frame_of(told: Told) -> str:
    return json.dumps({"op": 0, "t": told.event, "s": 1, "d": told.data})


async def heard(heed: DiscordAdapter, events: Sequence[Told]) -> list[BaseException]:
    """Let an intake hear events; return what escaped from it."""
    own = heed._intake
    for told in events:
        own.hear(told.event, json.loads(json.dumps(told.data)), frame_of(told))
    found: list[BaseException] = []
    while tasks := tuple(own._tasks):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        found += [one for one in ended if isinstance(one, BaseException)]
    return found


async def played(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Play so many events to an intake over a real database, and compare what is kept."""
    events = Payloads(seed)
    sound: Counter[tuple[str, str, str]] = Counter()
    marks: list[str] = []
    escaped: list[BaseException] = []
    async with DiscordFake() as fake, disk(folder) as door:
        heed = adapter(fake, door, pace=QUICK)
        reading = asyncio.create_task(heed._intake.run())
        ready = {"user": {"id": ME}}
        first = [Told("READY", ready), events.server()]
        escaped += await heard(heed, first)
        for start in range(0, count, BATCH):
            batch = [events.next() for _ in range(min(BATCH, count - start))]
            sound.update(one.key for one in batch if one.key is not None)
            marks += [one.mark for one in batch if one.mark]
            escaped += await heard(heed, batch)
        last = Payloads(seed + 1).said()
        assert last.key is not None
        last.data["id"] = "1600000000000000000"
        escaped += await heard(heed, [last])
        assert not reading.done()
        reading.cancel()
        await heed._intake.close()
        await heed._rest.close()
        stored, parked = Counter(await door.stored()), await door.parked()
    assert escaped == []
    assert {one: stored[one] for one in sound if stored[one] != 1} == {}
    assert max(stored.values()) == 1
    assert (last.key[0], "1600000000000000000", "") in stored
    raws = "\n".join(raw for raw, _ in parked)
    assert [one for one in marks if one not in raws] == []
    assert all(error for _, error in parked)
    assert "secret-token" not in raws
    return {"events": count, "sound": len(sound), "broken": len(marks), "parked": len(parked)}


@pytest.mark.timeout(120)
async def test_two_thousand_events_are_stored_once_or_parked_with_their_reason(
    tmp_path: Path,
) -> None:
    figures = await played(tmp_path, 2_000, seed=1)
    assert figures["sound"] > 900
    assert figures["broken"] > 300


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_twenty_thousand_events(tmp_path: Path, proof: Ledger) -> None:
    seed = random.SystemRandom().randrange(10**9)
    figures = await played(tmp_path, proof.share(20_000), seed)
    what = "Discord: events made up, broken and repeated: stored once, parked or nothing of ours"
    size = ", ".join(f"{number:,} {name}" for name, number in figures.items())
    proof("platforms", what, size, [], seed=seed)


async def through_the_gateway(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """Send so many events to a running adapter, with people's words in between.

    Returns how many were sent and how many clients that took.
    """
    events, luck = Payloads(seed), random.Random(seed)  # noqa: S311 - to be repeated
    pace, wanted = QUICK, []
    async with DiscordFake() as fake, disk(folder) as door:
        fake.say("ann", "first")
        async with running(fake, door, pace=pace, backoff=(0.01, 0.02, 0.05)) as heed:
            for number in range(count):
                told = events.next()
                frame = frame_of(told) if luck.randrange(20) else frame_of(told)[:-9]
                await until(lambda: heed.health().state == "ok")
                before = len(fake.identifies)
                fake.raw(frame)
                if number % 5 == 0:
                    wanted.append(fake.say("ann", f"words {number}"))
                await asyncio.sleep(0.005)
                if told.mark and frame.endswith("}"):
                    await until(partial(_drained, heed, fake, before))
            wanted.append(fake.say("ann", "last"))

            async def kept() -> set[str]:
                return {message for _, message, event in await door.stored() if not event}

            async with asyncio.timeout(30):
                while not set(wanted) <= await kept():  # noqa: ASYNC110 - a database tells nobody
                    await asyncio.sleep(0.05)
            await until(lambda: heed.health().state == "ok")
        stored = Counter(await door.stored())
        assert max(stored.values()) == 1
        assert {(fake.dm("ann"), one, "") for one in wanted} <= set(stored)
        assert all(error for _, error in await door.parked())
        return count, len(fake.identifies)


def _drained(heed: DiscordAdapter, fake: DiscordFake, before: int) -> bool:
    """Say whether a client has gone on after a frame, or another one has come."""
    return heed.health().state == "ok" and (
        len(fake.identifies) > before or not heed._intake._tasks
    )


@pytest.mark.timeout(120)
async def test_a_running_bot_gets_over_whatever_the_gateway_says(tmp_path: Path) -> None:
    sent, clients = await through_the_gateway(tmp_path, 60, seed=3)
    assert sent == 60
    assert clients > 1


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_a_running_bot_gets_over_hundreds_of_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(10**9)
    sent, clients = await through_the_gateway(tmp_path, 400, seed)
    with capsys.disabled():
        print(f"\n{sent} events, {clients} clients, seed {seed}")  # noqa: T201
