"""The same main flows with the model behind an OpenAI-compatible server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Model, Prompts, Settings
from core.engine.remote import RemoteEngine
from core.ports import Event
from tests.fakes.openai import MODEL, Label, OpenAIFake
from tests.patience import until
from tests.walk.house import House, arrival, living, settings_for
from tests.walk.platforms import MAYA, heed_on, hurry
from tests.walk.program import Program
from tests.walk.pupil import PACKAGED

INTENT = (PACKAGED / "intent.toml").read_text(encoding="utf-8")
FURY = "this is the worst service ever, I am furious, you are all useless, I hate this so much!!!"
PIECES = ["I am here. ", "It is on its way. ", "Ask me again at any time."]
ANSWER = "".join(PIECES)
INTENTS = {"help", "confides", "chats", "question"}


def label(text: str) -> dict[str, float]:
    """Read a label as a model would, in the words of whatever task is asked for."""
    if "thank" in text:
        return {"positive": 0.9, "neutral": 0.05, " negative": 0.03, "chats": 0.01, "well": 0.01}
    return {"neutral": 0.6, "question": 0.2, "help": 0.1, "negative": 0.05, "well": 0.05}


@pytest.fixture
async def fake() -> AsyncIterator[OpenAIFake]:
    async with OpenAIFake(lambda _messages: PIECES, label) as server:
        yield server


def with_server(folder: Path, fake: OpenAIFake, seconds: float = 5.0, **more: Any) -> Settings:
    model = Model(name=fake.url, reply_seconds=seconds)
    return settings_for(folder, model=model, **more)


@asynccontextmanager
async def awake(settings: Settings) -> AsyncIterator[House]:
    async with living(settings) as alive:
        await until(lambda: alive.app.mind.engine and alive.app.mind.ready)
        yield alive


@pytest.fixture
async def house(tmp_path: Path, fake: OpenAIFake) -> AsyncIterator[House]:
    async with awake(with_server(tmp_path, fake)) as alive:
        yield alive


async def listen(house: House, text: str, user: str = "ann") -> list[Event]:
    async with asyncio.timeout(30):
        return [event async for event in house.room.ask(arrival(text, user))]


async def explained(house: House, done: dict[str, Any]) -> dict[str, Any]:
    found = await house.room.explain(done["message_id"])
    assert found is not None
    return found


async def test_each_sentence_is_shown_as_soon_as_it_is_whole(
    house: House, fake: OpenAIFake
) -> None:
    fake.pace = 0.1  # so that no two sentences can come in one piece
    *others, last = await listen(house, "thank you for that")
    kinds = [event.kind for event in others]
    assert kinds == ["tag", *["token"] * (len(kinds) - 1)]
    assert len(kinds) > 2
    assert "".join(event.data["text"] for event in others[1:]).strip() == last.data["response"]


async def test_a_server_tags_by_log_probabilities_and_streams_the_reply(
    house: House, fake: OpenAIFake
) -> None:
    *others, last = await listen(house, "thank you for that")
    done = dict(last.data)
    assert list(dict.fromkeys(event.kind for event in others)) == ["tag", "token"]
    assert (done["response"], done["model"], done["sentiment"]) == (ANSWER, MODEL, "positive")
    assert done["prompt_version"].startswith("reply@")
    found = await explained(house, done)
    assert found["versions"]["model"] == f"{MODEL}#remote"
    assert found["versions"]["prompt"].startswith("sentiment@")
    assert found["scores"]["p_positive"] > 0.9
    tag, reply = fake.chats()
    assert tag.body["logprobs"] is True
    assert reply.body["stream"] is True
    assert reply.body["messages"][-1] == {"role": "user", "content": "thank you for that"}


async def test_the_reply_sees_the_history_and_the_mood(house: House, fake: OpenAIFake) -> None:
    await house.say("my parcel is number 4711")
    assert "[" not in fake.chats()[-1].messages[-1]["content"]  # calm: no note
    fake.label = lambda _: {"negative": 0.97, "neutral": 0.02, "positive": 0.01}
    for text in ("it is late again", "that is bad and slow", "I am disappointed, it is broken"):
        done = await house.say(text)
        note = fake.chats()[-1].messages[-1]["content"]
        if "The person is" in note or done["owner"] != "bot":
            break
    assert "The person is" in note
    shown = "\n".join(one["content"] for one in fake.chats()[-1].messages)
    assert "4711" in shown
    assert ANSWER in shown


async def test_the_task_is_exchanged_while_it_runs(tmp_path: Path, fake: OpenAIFake) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    async with awake(with_server(tmp_path, fake, prompts=Prompts(dir=folder))) as house:
        assert (await house.say("hello"))["sentiment"] == "neutral"
        (folder / "sentiment.toml").write_text(INTENT, encoding="utf-8")
        done = await house.say("where is it?")
        assert done["sentiment"] == "question"
        assert set((await explained(house, done))["scores"]["probs"]) == INTENTS


async def test_fury_opens_a_case_and_no_reply_is_asked_for(house: House, fake: OpenAIFake) -> None:
    fake.label = lambda _: {"negative": 0.97, "neutral": 0.02, "positive": 0.01}
    done = await house.say(FURY)
    assert done["owner"] == "queue"
    assert (await explained(house, done))["rule"] == "spike"
    assert len(fake.chats()) == 1


@pytest.mark.parametrize("kind", ["status", "hang"])
async def test_a_failing_server_is_excused_once_and_then_a_person_comes(
    tmp_path: Path, fake: OpenAIFake, kind: str
) -> None:
    async with awake(with_server(tmp_path, fake, seconds=1.0)) as house:
        fake.fail(kind, count=50)
        sorry = await house.say("hello")
        assert sorry["response"] == house.app.texts.say("apology", "en")
        second = await house.say("hello, anybody?")
        assert second["owner"] == "queue"
        assert (await explained(house, second))["rule"] == "failure"
        assert second["response"]


@pytest.mark.parametrize("kind", ["cut", "error"])
async def test_a_reply_that_breaks_off_twice_brings_a_person(
    house: House, fake: OpenAIFake, kind: str
) -> None:
    fake.label = breaking(fake, kind)
    first = await house.say("hello")
    assert first["owner"] == "bot"
    assert first["response"] == house.app.texts.say("fallback", "en")
    second = await house.say("hello, anybody?")
    assert second["owner"] == "queue"
    assert second["response"]
    assert (await explained(house, second))["rule"] == "failure"
    roles, texts = zip(*await house.lines(), strict=True)
    assert roles == ("user", "bot", "user", "bot", "bot")
    assert texts[3] == house.app.texts.say("withdrawn", "en")  # what had been shown of the reply
    assert texts[4] == second["response"]


async def test_a_good_reply_in_between_forgives_the_first_failure(
    house: House, fake: OpenAIFake
) -> None:
    for kind in ("cut", "", "cut"):
        fake.label = breaking(fake, kind) if kind else label
        assert (await house.say(f"hello {kind}"))["owner"] == "bot"


async def test_what_was_said_before_a_hang_is_an_answer(tmp_path: Path, fake: OpenAIFake) -> None:
    async with awake(with_server(tmp_path, fake, seconds=1.0)) as house:
        fake.label = breaking(fake, "hang")
        for text in ("hello", "hello, anybody?"):
            done = await house.say(text)
            assert (done["owner"], done["response"]) == ("bot", PIECES[0].strip())


def breaking(fake: OpenAIFake, kind: str) -> Label:
    """Return how labels are read where the reply after each breaks off after its first words."""

    def read(text: str) -> Mapping[str, float]:
        fake.fail(kind, after=3)
        return label(text)

    return read


async def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    async with OpenAIFake(lambda _messages: PIECES, label) as fake:
        await fake.gone()
        async with living(with_server(tmp_path, fake, seconds=2.0)) as house:
            await until(lambda: house.app.speaker.problem)
            assert "cannot be reached" in house.app.speaker.problem
            sorry = await house.say("hello")
            assert sorry["response"] == house.app.texts.say("apology", "en")
            await fake.back()
            await until(lambda: house.app.mind.ready)
            assert (await house.say("hello"))["response"] == ANSWER
            assert house.app.speaker.why_not_ready() is None


async def test_a_claim_hangs_up_on_the_server(tmp_path: Path) -> None:
    async with (
        OpenAIFake(lambda _messages: PIECES * 20, label, pace=0.05) as fake,
        awake(with_server(tmp_path, fake)) as house,
    ):
        opened = await house.say("can I talk to a human please")
        await house.act(opened["case"], "claim")
        await house.act(opened["case"], "botback")
        async with asyncio.timeout(30), house.room.board().listen() as told:
            await house.room.take_in([arrival("are you there?")])
            async for event in told:
                if event.kind == "token":
                    await house.act(opened["case"], "claim")
                if event.kind in ("withdrawn", "done"):
                    break
        assert event.kind == "withdrawn"
        await house.idle()
        assert (await house.view())["lines"][-1]["role"] != "bot"
        engine = house.app.mind.engine
        assert isinstance(engine, RemoteEngine)
        assert engine.capacity().running == 0
        await until(lambda: fake.open == 0)


async def test_many_people_at_once_get_their_own_answers(tmp_path: Path) -> None:
    def say(messages: list[dict[str, str]]) -> list[str]:
        return ["You said: ", messages[-1]["content"], "."]

    async with OpenAIFake(say, label, pace=0.01) as fake:
        model = Model(name=fake.url, slots=2)
        async with awake(settings_for(tmp_path, model=model)) as house:
            people = [f"user{number}" for number in range(8)]
            answers = await asyncio.gather(*(house.say(f"I am {who}", who) for who in people))
            assert [a["response"] for a in answers] == [f"You said: I am {p}." for p in people]


async def test_a_server_that_asks_to_wait_is_waited_for(house: House, fake: OpenAIFake) -> None:
    fake.fail("status", status=429, headers={"Retry-After": "1"})
    assert (await house.say("hello"))["response"] == ANSWER


async def test_telegram_is_answered_by_the_server(
    tmp_path: Path, fake: OpenAIFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with heed_on(tmp_path, model=Model(name=fake.url)) as heed:
        await until(lambda: heed.app.mind.engine and heed.app.mind.ready)
        await heed.says(MAYA, "thank you")
        await until(lambda: ANSWER in heed.read(MAYA))
        assert (await heed.scores("thank you"))["instrument"] == f"{MODEL}#remote"


async def test_the_program_answers_by_the_server_and_again_after_kill_9(
    tmp_path: Path, fake: OpenAIFake
) -> None:
    async with Program(tmp_path, HEED_MODEL__NAME=fake.url) as program:
        assert (await program.chat("my parcel is number 4711"))["response"] == ANSWER
        names = [name for name, _ in await program.stream("and now?")]
        assert list(dict.fromkeys(names)) == ["tag", "token", "done"]
        await program.kill()
        await program.start()
        assert (await program.chat("still there?"))["model"] == MODEL
        shown = "\n".join(one["content"] for one in fake.chats()[-1].messages)
        assert "4711" in shown
