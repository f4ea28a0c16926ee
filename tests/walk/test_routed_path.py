"""The main flow where one hears and another speaks, the embedded default among them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.settings import Model
from core.engine.embedded.table import TableTagger
from tests.fakes.openai import MODEL, OpenAIFake
from tests.patience import PATIENCE, until
from tests.walk.house import House, living, settings_for

ANSWER = "It is on its way."
FURY = "this is the worst service ever, I am furious, you are all useless, I hate this so much!!!"


def cheerful(_text: str) -> dict[str, float]:
    return {"positive": 0.9, "neutral": 0.1}


@asynccontextmanager
async def awake(folder: Path, model: Model) -> AsyncIterator[House]:
    async with living(settings_for(folder, model=model)) as house:
        await until(lambda: house.app.mind.engine and house.app.mind.ready)
        yield house


async def made(house: House, done: dict[str, Any]) -> dict[str, Any]:
    found = await house.room.explain(done["message_id"])
    assert found is not None
    return found


async def test_the_table_hears_and_a_server_speaks(tmp_path: Path) -> None:
    async with (
        OpenAIFake(lambda _: [ANSWER], cheerful) as fake,
        awake(tmp_path, Model(tag="embedded", reply=fake.url, name="embedded")) as house,
    ):
        done = await house.say("where is my parcel")
        assert (done["response"], done["model"]) == (ANSWER, MODEL)
        versions = (await made(house, done))["versions"]
        assert versions["model"] == TableTagger().table.instrument
        assert len(fake.chats()) == 1  # the reply: no text was sent there to be tagged
        assert (await house.say(FURY, "bob"))["owner"] == "queue"
        assert len(fake.chats()) == 1


async def test_a_server_hears_and_the_phrase_book_speaks(tmp_path: Path) -> None:
    async with (
        OpenAIFake(lambda _: [ANSWER], cheerful) as fake,
        awake(tmp_path, Model(tag=fake.url, name="embedded")) as house,
    ):
        done = await house.say("thank you")
        assert (done["sentiment"], done["model"]) == ("positive", "embedded")
        assert done["prompt_version"].startswith("phrases@")
        assert (await made(house, done))["versions"]["model"] == f"{MODEL}#remote"
        assert [asked.body.get("stream") for asked in fake.chats()] == [None]


async def test_one_server_stands_in_for_the_other_and_the_record_says_so(tmp_path: Path) -> None:
    async with (
        OpenAIFake(lambda _: ["I am small."], cheerful, models=["small"]) as small,
        OpenAIFake(lambda _: [ANSWER], cheerful, models=["large"]) as large,
        awake(tmp_path, Model(tag=small.url, reply=large.url, reply_seconds=5.0)) as house,
    ):
        first = await house.say("hello")
        assert (first["response"], first["model"]) == (ANSWER, "large")
        assert (await made(house, first))["versions"]["model"] == "small#remote"
        await large.gone()
        for text in ("and now?", "how are you?", "my number is 4711", "when do you open?"):
            done = await house.say(text)
            assert (done["response"], done["model"], done["owner"]) == (
                "I am small.", "small", "bot",
            )  # fmt: skip
        assert house.app.speaker.why_not_ready() is None
        await large.back()
        await small.gone()
        async with asyncio.timeout(PATIENCE):
            for number in itertools.count():
                done = await house.say("hello", f"user{number}")  # two failures bring a person
                if done["model"] == "large":
                    break
                await asyncio.sleep(0.5)
        assert done["response"] == ANSWER
        assert (await made(house, done))["versions"]["model"] == "large#remote"
