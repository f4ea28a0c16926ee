"""A whole Heed among updates of every kind: all are dealt with, and everybody is answered."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from core.tables import inbox, poison
from tests.adapters.telegram_fuzz import Maker, plain
from tests.patience import until
from tests.walk.platforms import BEN, heed_on


async def test_among_broken_and_hostile_updates_everybody_is_still_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # whoever has everything about them erased takes along what broke, too
    made = ((one, plain(one)) for one in Maker(99).cases(300))
    cases = [one for one, raw in made if len(raw) < 100_000 and "/forget" not in raw]
    numbers = {one.update["update_id"] for one in cases if one.fate == "row"}
    async with heed_on(tmp_path) as heed:
        fake = heed.telegram
        fake.next_update = max(one.update["update_id"] for one in cases)
        fake.updates = sorted((one.update for one in cases), key=lambda one: one["update_id"])
        said = fake.say(BEN, BEN, "hello there")
        await until(lambda: not fake.updates)
        await heed.settled(said)
        await heed.quiet()
        rows = await heed.rows(inbox)
        assert fake.texts(BEN) not in ([], ["…"])
        assert {row.state for row in rows} == {"done"}
        assert len(rows) > len(numbers)
        broken = {one.update["update_id"] for one in cases if one.fate == "parked"}
        parked = collections.Counter(int(row.source_id) for row in await heed.rows(poison))
        assert broken <= set(parked)
    assert not [record for record in caplog.records if record.exc_info]
