"""Thousands of updates of every kind, whole and broken: nothing breaks, nothing is stuck or lost.

They come from a seed, so a failure comes again. `make test` takes 2,000; `make proof` 20,000.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from adapters.telegram.intake import arrival
from adapters.telegram.normalize import Account
from core.store import intake
from core.tables import poison
from tests.adapters.telegram_fuzz import Case, Maker, plain
from tests.adapters.telegram_room import ANN, DESK, running
from tests.adapters.telegram_shelf import Shelf
from tests.fakes.telegram import TelegramFake
from tests.proof import Ledger

ACCOUNT = Account(bot="4242", username="HeedBot", desk_chats=frozenset({str(DESK)}))
SECRET = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}
HOOK = {
    "mode": "webhook",
    "webhook_url": "https://bot.example/telegram",
    "webhook_secret": "s3cret",
}


def judge(
    cases: Sequence[Case], rows: collections.Counter[int], parked: dict[int, str]
) -> collections.Counter[str]:
    """Hold what became of every update against what should have; return how many went where."""
    ends: collections.Counter[str] = collections.Counter()
    wrong: list[tuple[str, str]] = []
    for number, case in {case.update["update_id"]: case for case in cases}.items():
        if rows[number] > 1 or (rows[number] and number in parked):
            wrong.append(("twice", plain(case)[:300]))
        end = "row" if rows[number] else "parked" if parked.get(number) else "none"
        if case.fate not in (end, "any"):
            wrong.append((f"{end} for {case.fate}: {parked.get(number)}", plain(case)[:300]))
        ends[end] += 1
    assert not wrong, (len(wrong), wrong[:5])
    return ends


async def drain(folder: Path, cases: Sequence[Case]) -> collections.Counter[str]:
    """Let a running adapter fetch all of it; return how many went where."""
    shelf = Shelf(folder)
    async with TelegramFake() as fake:
        fake.next_update = max(case.update["update_id"] for case in cases)
        fake.updates = sorted((case.update for case in cases), key=lambda one: one["update_id"])
        fake.say(ANN, ANN, "still here")
        last = fake.next_update
        async with running(fake, shelf) as bot:  # type: ignore[arg-type]
            await fake.until(lambda: not fake.updates, timeout=300.0)
            await fake.until(lambda: bot.health().state == "ok")
        rows, parked = await shelf.kept()
        shelf.store.close()
    assert rows.pop(last) == 1
    assert shelf.took > len({case.update["update_id"] for case in cases})
    return judge(cases, rows, parked)


def read_all(cases: Sequence[Case]) -> None:
    """Read every update by itself: nothing is raised, and a reason is a short sentence."""
    for case in cases:
        came = arrival(case.update, ACCOUNT, now=0.0)
        json.loads(came.raw)
        assert came.raw.isascii()
        assert not (came.message and came.error)
        assert len(came.error) <= 500
        tidied = intake.tidy(came)
        if tidied.message is not None:
            tidied.message.text.encode()


async def test_two_thousand_updates_are_stored_once_parked_or_nothing_of_ours(
    tmp_path: Path,
) -> None:
    cases = list(Maker(1).cases(2000))
    read_all(cases)
    ends = await drain(tmp_path, cases)
    assert min(ends[end] for end in ("row", "parked", "none")) > 150, ends


async def test_the_same_seed_makes_the_same_updates() -> None:
    assert [plain(one) for one in Maker(7).cases(300)] == [
        plain(one) for one in Maker(7).cases(300)
    ]


async def test_by_webhook_every_one_of_five_hundred_gets_its_200(tmp_path: Path) -> None:
    cases, shelf = list(Maker(2).cases(500)), Shelf(tmp_path)
    async with TelegramFake() as fake, running(fake, shelf, **HOOK) as bot:  # type: ignore[arg-type]
        await fake.until(lambda: fake.webhook)
        for case in cases:
            assert await bot.webhook(SECRET, plain(case).encode()) == 200
        for body in (b"", b"[]", b"null", b"7", b"[" * 100_000, b"\xff", b'{"update_id": NaN}'):
            assert await bot.webhook(SECRET, body) == 200
        rows, parked = await shelf_kept(shelf)
        assert bot.health().state == "ok"
    shelf.store.close()
    judge(cases, rows, parked)


async def shelf_kept(shelf: Shelf) -> tuple[collections.Counter[int], dict[int, str]]:
    """Return what is kept, without what has no number at all."""
    parked = await shelf.store.read(lambda c: list(c.execute(select(poison))))
    assert sum(row.source_id == "?" for row in parked) >= 5
    await shelf.store.write(lambda c: c.execute(poison.delete().where(poison.c.source_id == "?")))
    return await shelf.kept()


@pytest.mark.proof
async def test_twenty_thousand_updates_are_stored_once_parked_or_nothing_of_ours(
    tmp_path: Path, proof: Ledger
) -> None:
    cases = list(Maker(20_000).cases(proof.share(20_000)))
    read_all(cases)
    ends = await drain(tmp_path, cases)
    assert sum(ends.values()) == len({case.update["update_id"] for case in cases})
    assert min(ends[end] for end in ("row", "parked", "none")) > proof.share(1500), ends
    what = "Telegram: updates made up, broken and repeated: stored once, parked or nothing of ours"
    told = f"{ends['row']:,} stored, {ends['parked']:,} parked, {ends['none']:,} nothing of ours"
    proof("platforms", what, f"{len(cases):,} updates: {told}", [], seed=20_000)
