"""Two engines as one: who hears, who speaks, and who stands in for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.engine.embedded.table import TableTagger
from core.engine.mind import Mind
from core.engine.ports import Limits, ReplyRequest, Started
from core.engine.remote import RemoteEngine
from core.engine.routed import RoutedEngine
from core.engine.scripted import ScriptedEngine
from core.errors import EngineBusy, EngineFailed, EngineNotReady, PromptError, SetupError
from core.message import ConversationKey
from core.prompts import PromptBook
from tests.fakes.openai import MODEL, OpenAIFake
from tests.patience import PATIENCE

KEY = ConversationKey(platform="web", bot="heed", chat="1", user="ada")
SAID = "I hear you."
REMOTE = "Hello there."


def request(text: str = "hello") -> ReplyRequest:
    return ReplyRequest(key=KEY, history=(), messages=(text,))


def small(**more: Any) -> ScriptedEngine:
    return ScriptedEngine(name="small", **more)


def large(**more: Any) -> ScriptedEngine:
    return ScriptedEngine({"": "I think so."}, name="large", **more)


async def stream(engine: RoutedEngine, started: Started, limits: Limits | None = None) -> str:
    pieces = engine.continue_reply(started, limits or Limits(), "calm")
    return "".join([piece async for piece in pieces])


async def say(engine: RoutedEngine) -> tuple[str, Started]:
    started = await engine.start(request())
    try:
        return await stream(engine, started), started
    finally:
        await engine.settle(started, kept=True)


async def instrument(engine: RoutedEngine) -> str:
    [tag] = await engine.tag_many(["hello"])
    return tag.instrument


@asynccontextmanager
async def split(fake: OpenAIFake, **more: Any) -> AsyncIterator[tuple[RoutedEngine, list[float]]]:
    """A script hears, a server speaks: by a clock that stands still, with waits of no length."""
    now = [1000.0]

    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0.02)

    remote = RemoteEngine(fake.url, PromptBook(), **{"seconds": 1.0, **more}, clock=lambda: now[0])
    engine = RoutedEngine(small(slots=4), remote, sleep=sleep)
    try:
        await engine.warm_up()
        yield engine, now
    finally:
        await engine.close()


# ---- each its own part -----------------------------------------------------------------------


async def test_one_hears_and_the_other_speaks() -> None:
    hears, speaks = small(), large()
    engine = RoutedEngine(hears, speaks)
    await engine.warm_up()
    assert (engine.name, engine.ready, engine.writes) == ("small + large", True, True)
    assert await instrument(engine) == "small#alone"
    text, started = await say(engine)
    assert (text, started.model) == ("I think so.", "large")
    assert (len(hears.asked("tag")), len(hears.asked("start"))) == (1, 0)
    assert (len(speaks.asked("tag")), len(speaks.asked("start"))) == (0, 1)
    assert speaks.asked("settle")[-1].kept is True
    await engine.drop(KEY)
    await engine.close()
    for one in (hears, speaks):
        assert len(one.asked("drop")) == len(one.asked("warm_up")) == len(one.asked("close")) == 1


async def test_the_mind_takes_the_tag_of_one_and_the_start_of_the_other() -> None:
    async with OpenAIFake() as fake, split(fake) as (engine, _):
        hearing = await Mind(ScriptedEngine(), engine).tag_and_start(request())
        assert hearing.tagging is not None
        assert hearing.started is not None
        assert (hearing.tagging.instrument, hearing.started.model) == ("small#alone", MODEL)
        assert fake.chats() == []  # the server is asked when the reply is to be spoken
        assert await stream(engine, hearing.started) == REMOTE
        assert hearing.started.made["ended"] == "stop"
        await engine.settle(hearing.started, kept=True)
        assert engine.capacity().running == 0


async def test_the_table_may_hear_for_a_model_that_speaks() -> None:
    speaks = large()
    engine = RoutedEngine(None, speaks, table=TableTagger())
    assert engine.name == "embedded + large"
    assert await instrument(engine) == TableTagger().table.instrument
    speaks.fail("start")
    with pytest.raises(EngineFailed):  # nobody stands in
        await engine.start(request())
    assert (await say(engine))[0] == "I think so."
    with pytest.raises(PromptError):
        await engine.tag_many(["hello"], "intent")


async def test_the_phrase_book_may_speak_what_a_model_has_heard() -> None:
    hears, phrases = small(), ScriptedEngine(name="phrases", slots=3)
    engine = RoutedEngine(hears, None)
    mind = Mind(phrases, engine)
    assert (engine.name, engine.writes, mind.capacity().slots) == ("small + embedded", False, 3)
    hearing = await mind.tag_and_start(request())
    assert hearing.tagging is not None
    assert hearing.tagging.instrument == "small#alone"
    assert (hearing.started, hearing.writer, hearing.stand_in) == (None, None, False)
    assert hears.asked("start") == []
    with pytest.raises(EngineNotReady):
        await engine.start(request())


# ---- who stands in ---------------------------------------------------------------------------


async def test_a_tag_that_fails_is_made_by_the_other() -> None:
    hears, speaks = small(), large()
    engine = RoutedEngine(hears, speaks)
    hears.fail("tag")
    assert await instrument(engine) == "large#alone"
    assert await instrument(engine) == "small#alone"
    hears.fail("tag")
    speaks.fail("tag")
    with pytest.raises(EngineFailed):
        await engine.tag_many(["hello"])
    with pytest.raises(PromptError, match="no task nonsense"):
        await engine.tag_many(["hello"], "nonsense")


async def test_a_start_that_fails_is_made_by_the_other() -> None:
    hears, speaks = small(), large()
    engine = RoutedEngine(hears, speaks)
    speaks.fail("start")
    text, started = await say(engine)
    assert (text, started.model) == (SAID, "small")
    assert hears.asked("settle")[-1].kept is True
    assert (await say(engine))[1].model == "large"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "60"}},
        {"kind": "status", "status": 401},
        {"kind": "cut", "after": 1},
        {"kind": "hang"},
        {"kind": "hang", "after": 1},
        {"kind": "junk"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', fault.get('after', 0))}",
)
async def test_a_server_that_fails_before_its_first_word_is_stood_in_for(fault: Any) -> None:
    async with OpenAIFake() as fake, split(fake, seconds=0.3) as (engine, _):
        fake.fail(**fault)
        started = await engine.start(request())
        assert started.model == MODEL
        assert await stream(engine, started) == SAID
        assert (started.model, started.prompt) == ("small", "reply@scripted")
        assert started.made["instead_of"]["model"] == MODEL
        assert started.made["instead_of"]["why"]
        assert started.made["tokens"] > 0  # what the one who spoke has noted
        await engine.settle(started, kept=True)
        assert engine.capacity().running == 0


@pytest.mark.parametrize("kind", ["cut", "error"])
async def test_a_reply_that_breaks_off_is_not_begun_again_by_another(kind: str) -> None:
    async with OpenAIFake() as fake, split(fake) as (engine, _):
        fake.fail(kind, after=4)
        started = await engine.start(request())
        pieces = engine.continue_reply(started, Limits(), "calm")
        assert (await anext(pieces)) + (await anext(pieces)) == "Hello "
        with pytest.raises(EngineFailed):
            await anext(pieces)
        assert started.model == MODEL


async def test_what_neither_can_speak_is_the_fault_of_the_first() -> None:
    hears, speaks = small(), large()
    engine = RoutedEngine(hears, speaks)
    started = await engine.start(request())
    speaks.fail("speak")
    hears.fail("start")
    with pytest.raises(EngineFailed, match="speak fails"):
        await stream(engine, started)
    await engine.cancel(started)
    assert engine.capacity().running == 0


async def test_a_server_left_alone_is_stood_in_for_at_once_and_comes_back() -> None:
    async with OpenAIFake() as fake, split(fake) as (engine, now):
        fake.fail("status", count=3)
        for _ in range(3):
            assert (await say(engine))[0] == SAID
        assert len(fake.chats()) == 3
        started = await engine.start(request())
        assert started.model == "small"
        assert engine.ready
        assert (engine.capacity().slots, engine.capacity().running) == (4, 1)
        await engine.cancel(started)
        assert len(fake.chats()) == 3  # it was not asked
        now[0] += 5
        text, started = await say(engine)
        assert (text, started.model) == (REMOTE, MODEL)


async def test_a_speaker_that_is_full_is_waited_for_and_not_passed_over() -> None:
    engine = RoutedEngine(small(), large(slots=1))
    first = await engine.start(request())
    assert engine.capacity().free == 0
    with pytest.raises(EngineBusy):
        await engine.start(request())
    await engine.cancel(first)
    assert (await engine.start(request())).model == "large"


async def test_a_server_that_asks_for_a_long_wait_is_not_waited_for() -> None:
    async with OpenAIFake() as fake, split(fake, seconds=30.0) as (engine, _):
        fake.fail("status", status=429, headers={"Retry-After": "20"})
        assert (await say(engine))[0] == SAID
        started = await engine.start(request())
        assert started.model == "small"
        await engine.cancel(started)
        assert len(fake.chats()) == 1


# ---- taking back -----------------------------------------------------------------------------


async def test_a_reply_taken_back_ends_with_whoever_speaks() -> None:
    fake = OpenAIFake(say=lambda _: ["word "] * 1000, pace=0.02)
    async with fake, split(fake) as (engine, _):
        started = await engine.start(request())
        pieces = engine.continue_reply(started, Limits(), "calm")
        assert await anext(pieces) == "word "
        await engine.cancel(started)
        async with asyncio.timeout(PATIENCE):
            assert len([piece async for piece in pieces]) < 10
            while fake.open:  # noqa: ASYNC110 - the fake has no event for it
                await asyncio.sleep(0.01)
        assert engine.capacity().running == 0


async def test_a_reply_taken_back_before_it_began_is_begun_by_nobody() -> None:
    hears, speaks = small(), large()
    engine = RoutedEngine(hears, speaks)
    started = await engine.start(request())
    await engine.cancel(started)
    speaks.fail("speak")
    with pytest.raises(EngineFailed):
        await stream(engine, started)
    assert hears.asked("start") == []


async def test_a_reply_taken_back_while_it_changes_hands_is_spoken_by_nobody() -> None:
    hears, speaks = small(delay=0.1), large()
    engine = RoutedEngine(hears, speaks)
    started = await engine.start(request())
    speaks.fail("speak")
    saying = asyncio.create_task(stream(engine, started))
    async with asyncio.timeout(PATIENCE):
        while not hears.asked("start"):  # noqa: ASYNC110 - a script has no event for it
            await asyncio.sleep(0.01)
        await engine.cancel(started)
        assert await saying == ""
    assert engine.capacity().running == 0
    assert hears.asked("cancel")


async def test_a_listener_who_goes_away_frees_the_slot() -> None:
    fake = OpenAIFake(say=lambda _: ["word "] * 1000, pace=0.02)
    async with fake, split(fake) as (engine, _):
        started = await engine.start(request())
        pieces = engine.continue_reply(started, Limits(), "calm")
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        await engine.settle(started, kept=False)
        assert engine.capacity().running == 0


# ---- the start -------------------------------------------------------------------------------


async def test_a_server_that_is_away_at_the_start_is_found_later() -> None:
    async with OpenAIFake() as fake:
        await fake.gone()
        async with split(fake) as (engine, _):
            assert engine.ready
            assert (await say(engine))[1].model == "small"
            await fake.back()
            async with asyncio.timeout(PATIENCE):
                while (await say(engine))[1].model == "small":  # noqa: ASYNC110 - see split
                    await asyncio.sleep(0.05)
            assert (await say(engine))[0] == REMOTE


async def test_a_slow_start_of_one_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.engine.routed._GRACE", 0.1)
    async with OpenAIFake() as fake:
        fake.fail("hang", path="/models")
        async with asyncio.timeout(PATIENCE), split(fake, seconds=300.0) as (engine, _):
            assert (await say(engine))[1].model == "small"


async def test_two_servers_that_are_away_are_told_and_found_at_the_next_try() -> None:
    async with OpenAIFake() as one, OpenAIFake(models=["other"]) as two:
        engine = RoutedEngine(*(RemoteEngine(fake.url, PromptBook()) for fake in (one, two)))
        await one.gone()
        await two.gone()
        with pytest.raises(EngineFailed, match="cannot be reached"):
            await engine.warm_up()
        assert not engine.ready
        with pytest.raises(EngineNotReady):
            await engine.tag_many(["hello"])
        await one.back()
        await two.back()
        await engine.warm_up()
        assert (engine.name, await instrument(engine)) == (f"{MODEL} + other", f"{MODEL}#remote")
        assert (await say(engine))[1].model == "other"
        await engine.close()


async def test_one_that_is_mended_is_waited_for_only_where_nobody_stands_in() -> None:
    hurt = Hurt(name="hurt")
    alone, both = RoutedEngine(None, hurt, table=TableTagger()), RoutedEngine(hurt, large())
    assert (alone.ready, alone.mending) == (False, True)
    assert (both.ready, both.mending) == (True, False)
    assert await instrument(both) == "large#alone"
    mind = Mind(ScriptedEngine(), alone)
    assert not mind.has_room()
    asking = asyncio.create_task(mind.tag_and_start(request()))
    await asyncio.sleep(0.1)
    assert not asking.done()
    hurt.hurt = False
    hearing = await asyncio.wait_for(asking, PATIENCE)
    assert hearing.started is not None
    assert hearing.started.model == "hurt"


class Hurt(ScriptedEngine):
    """A script that is being mended until it is told to be well."""

    hurt = True

    @property
    def ready(self) -> bool:
        return not self.hurt

    @property
    def mending(self) -> bool:
        return self.hurt


async def test_a_setting_that_is_wrong_is_told_though_the_other_is_well() -> None:
    async with OpenAIFake(key="sk-right") as fake:
        with pytest.raises(SetupError, match="HEED_MODEL__API_KEY"):
            async with split(fake):
                pass
