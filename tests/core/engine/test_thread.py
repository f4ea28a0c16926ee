"""The engine's thread: nobody waits for the whole of what somebody else has asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from itertools import pairwise

import pytest

from core.engine.local.thread import EngineThread
from core.errors import EngineFailed
from tests.patience import until


class Log(EngineThread):
    """A thread whose replies never end, and that writes down what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.did: list[str] = []
        self.beat = self._step

    def _step(self) -> bool:
        self.did.append("step")
        time.sleep(0.002)
        return True

    def long(self, pieces: int, name: str = "piece") -> Generator[None, None, str]:
        for _ in range(pieces):
            self.did.append(name)
            yield
        return name


@pytest.fixture
async def thread() -> AsyncIterator[Log]:
    made = Log()
    made.start()
    yield made
    await asyncio.to_thread(made.stop)


async def test_a_tag_waits_for_a_step_at_most(thread: Log) -> None:
    for _ in range(10):
        await asyncio.sleep(0.003)
        asking = asyncio.create_task(thread.ask(lambda: len(thread.did)))
        await asyncio.sleep(0)  # it is asked
        before = len(thread.did)
        assert await asking - before <= 2  # the step that was running, and one that had just begun


async def test_a_long_prompt_leaves_steps_and_tags_in_between(thread: Log) -> None:
    prompt = asyncio.create_task(thread.ask_long(lambda: thread.long(30)))
    await asyncio.sleep(0)
    tag = await thread.ask(lambda: thread.did.count("piece"))
    assert tag < 30
    assert await prompt == "piece"
    pieces = [at for at, what in enumerate(thread.did) if what == "piece"]
    assert len(pieces) == 30
    assert all("step" in thread.did[one:other] for one, other in pairwise(pieces))


async def test_two_long_prompts_take_turns(thread: Log) -> None:
    both = [thread.ask_long(lambda name=name: thread.long(20, name)) for name in ("one", "two")]
    assert await asyncio.gather(*both) == ["one", "two"]
    order = [what for what in thread.did if what != "step"]
    first = order.index("two")
    assert first < 10
    meanwhile = order[first : first + 20]
    assert 8 <= meanwhile.count("one") <= 12


async def test_what_nobody_waits_for_any_more_is_not_gone_on_with(thread: Log) -> None:
    prompt = asyncio.create_task(thread.ask_long(lambda: thread.long(10_000)))
    while "piece" not in thread.did:  # noqa: ASYNC110 - it goes on in its own thread
        await asyncio.sleep(0.01)
    prompt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await prompt
    await thread.ask(lambda: None)  # it has looked at what it is asked for
    then = thread.did.count("piece")
    await asyncio.sleep(0.03)
    assert thread.did.count("piece") == then
    assert 0 < then < 10_000


async def test_what_is_cancelled_before_it_began_is_not_begun(thread: Log) -> None:
    begun = [asyncio.create_task(thread.ask_long(lambda: thread.long(3))) for _ in range(20)]
    await asyncio.sleep(0)
    for one in begun:
        one.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
    await thread.ask(lambda: None)
    await asyncio.sleep(0.02)
    assert thread.did.count("piece") <= 3  # one may have been at work


async def test_a_thread_that_hangs_is_noticed_and_let_go(thread: Log) -> None:
    thread.patience = 0.1
    free = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        asyncio.run_coroutine_threadsafe(free.wait(), loop).result()

    hanging = asyncio.create_task(thread.ask(hang))
    await until(lambda: thread.stuck)
    assert (thread.alive, thread.condition) == (True, "hangs")
    thread.abandon()
    with pytest.raises(EngineFailed, match="in the middle of its work"):
        await hanging
    with pytest.raises(EngineFailed):
        await thread.ask(lambda: 1)
    free.set()
    await asyncio.to_thread(thread._thread.join, 5)
    assert not thread._thread.is_alive()
