"""A message that breaks every try at it: set aside alone, and nobody beside it pays for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from core import lanes
from core.store.bursts import TRIES
from core.tables import inbox, outbox
from tests.walk.house import arrival, living, settings_for

POISON = "the sentence that breaks whoever reads it"


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_burst_is_tried_once_together_and_then_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(lanes, "FIRST_PAUSE", 0.01)
    texts = ["hello", "thank you, that was kind"]
    texts.insert(at, POISON)
    tried: list[list[str]] = []
    with capture_logs():  # six tracebacks
        async with living(settings_for(tmp_path)) as house:
            walk = house.app.walk
            hear = walk.hear

            async def heard(start: Any, **more: Any) -> Any:
                tried.append([row.message.text for row in start.rows])
                if POISON in tried[-1]:
                    raise RuntimeError("nobody can read this")
                return await hear(start, **more)

            monkeypatch.setattr(walk, "hear", heard)
            await walk.take_in([arrival(text) for text in texts])
            await house.idle()
            rows = await house.app.store.read(lambda to: to.execute(select(inbox)).all())
            replies = select(outbox.c.cause_id).where(outbox.c.kind == "reply")
            answered = await house.app.store.read(lambda to: to.execute(replies).scalars().all())
    assert tried[0] == texts
    assert sorted(tried[1:]) == sorted([[text] for text in texts] + [[POISON]] * (TRIES - 1))
    assert [row.state for row in rows] == ["parked" if t == POISON else "done" for t in texts]
    assert [row.tries for row in rows] == [TRIES + 1 if t == POISON else 1 for t in texts]
    assert answered == [row.id for row in rows if row.state == "done"]
    assert walk._tried == {}  # nothing is remembered of a conversation that is done
