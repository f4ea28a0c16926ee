"""What lives as long as the process is not looked through for cycles; what is exchanged may go."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from bot import heap
from core.engine.mind import Mind
from core.engine.scripted import ScriptedEngine
from tests.patience import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(heap, "LOOK", 0.01)
    gc.unfreeze()
    yield
    gc.freeze()


async def test_a_heap_is_settled_once_the_model_stands_and_again_when_another_does() -> None:
    mind = Mind(ScriptedEngine(), first := ScriptedEngine())
    first.itself = first  # type: ignore[attr-defined]  # only the collector ends it
    mind.loading = True
    settling = asyncio.create_task(heap.settle(mind))
    try:
        await asyncio.sleep(0.05)
        assert gc.get_freeze_count() == 0
        mind.loading = False
        await until(gc.get_freeze_count)
        gone = weakref.ref(first)
        del first
        await mind.swap(ScriptedEngine())
        await until(lambda: gone() is None and gc.get_freeze_count())
    finally:
        settling.cancel()
