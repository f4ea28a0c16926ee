"""The scripted engine keeps the ports' promises, and breaks each one when it is told to."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.engine.ports import Joint, Limits, ReplyRequest
from core.engine.scripted import GARBAGE, ScriptedEngine
from core.errors import EngineBusy, EngineFailed, PromptError
from core.message import ConversationKey, Tagging
from tests.patience import PATIENCE

KEY = ConversationKey(platform="web", bot="heed", chat="1", user="ada")
FURIOUS = {"negative": 0.9, "neutral": 0.08, "positive": 0.02}


def request(text: str = "hello", user: str = "ada") -> ReplyRequest:
    return ReplyRequest(key=replace(KEY, user=user), history=(), messages=(text,))


async def say(engine: ScriptedEngine, text: str, limits: Limits | None = None) -> str:
    started = await engine.start(request(text))
    pieces = [piece async for piece in engine.continue_reply(started, limits or Limits(), "calm")]
    await engine.settle(started, kept=True)
    return "".join(pieces)


async def test_it_answers_from_its_table() -> None:
    engine = ScriptedEngine({"parcel": "It is on its way.  Soon!", "": "Hm."}, {"angry": FURIOUS})
    assert isinstance(engine, Joint)
    assert await say(engine, "Where is my PARCEL?") == "It is on its way.  Soon!"
    assert await say(engine, "hello") == "Hm."
    angry, calm = await engine.tag_many(["I am angry", "hello"])
    assert angry.probs == FURIOUS
    assert (angry.instrument, angry.prompt) == ("scripted#alone", "sentiment@scripted")
    assert max(calm.probs, key=calm.probs.__getitem__) == "neutral"
    assert await engine.tag_many([]) == []


async def test_functions_may_answer_and_see_the_present_mood() -> None:
    whole = Tagging(probs={"a": 1.0}, doubt=0.2, instrument="own", strong=0.7)
    engine = ScriptedEngine(lambda asked: f"{asked.level}: {asked.messages[-1]}", lambda _: whole)
    tag, started = await engine.tag_and_start(request("hi"))
    assert tag is whole
    pieces = [piece async for piece in engine.continue_reply(started, Limits(), "upset")]
    assert "".join(pieces) == "upset: hi"


async def test_slots_are_counted_and_given_back() -> None:
    engine = ScriptedEngine(slots=1)
    started = await engine.start(request())
    assert engine.capacity().free == 0
    with pytest.raises(EngineBusy):
        await engine.start(request(user="bob"))
    await engine.cancel(started)
    assert engine.capacity().free == 1
    assert [piece async for piece in engine.continue_reply(started, Limits(), "calm")] == []


async def test_limits_end_a_reply() -> None:
    engine = ScriptedEngine({"": "one two three four five six seven"}, pace=0.02)
    assert await say(engine, "count", Limits(tokens=3)) == "one two three"
    short = await say(engine, "count", Limits(seconds=0.05))
    assert short
    assert len(short) < 20


async def test_it_fails_as_often_as_told() -> None:
    engine = ScriptedEngine()
    engine.fail("start", 2)
    engine.fail("tag")
    engine.fail("speak")
    for _ in range(2):
        with pytest.raises(EngineFailed):
            await engine.start(request())
    with pytest.raises(EngineFailed):
        await engine.tag_and_start(request())
    assert engine.capacity().running == 0
    with pytest.raises(EngineFailed):
        await say(engine, "hello")
    assert engine.capacity().running == 0
    assert await say(engine, "hello") == "I hear you."


async def test_it_hangs_until_released_or_cancelled() -> None:
    engine = ScriptedEngine()
    engine.hang("tag")
    waiting = asyncio.create_task(engine.tag_many(["hello"]))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    engine.release()
    assert len(await waiting) == 1
    engine.hang("speak")
    started = await engine.start(request())
    stream = engine.continue_reply(started, Limits(), "calm")
    first = asyncio.ensure_future(anext(stream, "ended"))
    await asyncio.sleep(0.02)
    assert not first.done()
    await engine.cancel(started)
    assert await asyncio.wait_for(first, PATIENCE) == "ended"


async def test_it_says_garbage_on_demand() -> None:
    engine = ScriptedEngine()
    engine.garble()
    engine.garble(text="")
    assert await say(engine, "hello") == GARBAGE
    assert await say(engine, "hello") == ""
    assert await say(engine, "hello") == "I hear you."


async def test_it_remembers_what_it_was_asked() -> None:
    engine = ScriptedEngine()
    await engine.warm_up()
    await say(engine, "hello")
    await engine.drop(KEY)
    await engine.close()
    verbs = [asked.verb for asked in engine.log]
    assert verbs == ["warm_up", "start", "speak", "settle", "drop", "close"]
    assert engine.asked("settle")[0].kept is True
    assert engine.asked("speak")[0].text == "hello"


async def test_an_unknown_task_is_refused() -> None:
    engine = ScriptedEngine(tasks=("sentiment", "intent"))
    assert (await engine.tag_many(["x"], "intent"))[0].prompt == "intent@scripted"
    with pytest.raises(PromptError, match="sentiment, intent"):
        await engine.tag_many(["x"], "mood")
