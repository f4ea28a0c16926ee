"""Another model takes over while conversations run, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from bot.settings import Model, Prompts, Settings
from core.engine.local import LocalEngine
from core.engine.scripted import ScriptedEngine
from core.ports import Event
from tests.checkpoints import make_checkpoint
from tests.fakes.hub import QWEN, HubFake
from tests.patience import PATIENCE, until
from tests.walk.house import House, arrival, living, settings_for
from tests.walk.pupil import SPOKEN, make_pupil, write_prompts


@pytest.fixture(scope="module")
def pupil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pupil(tmp_path_factory.mktemp("models") / "pupil")


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def settings(folder: Path, name: str = "auto") -> Settings:
    prompts = Prompts(dir=write_prompts(folder / "prompts"))
    return settings_for(folder, model=Model(name=name, threads=1), prompts=prompts)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with living(settings(tmp_path)) as alive:
        yield alive


@pytest.mark.parametrize("name", ["auto", "embedded"])
async def test_a_fetched_model_answers_the_next_turn(
    tmp_path: Path, pupil: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = contents(pupil)
    async with living(settings(tmp_path, name)) as house:
        first = await house.say("hello")
        assert first["prompt_version"].startswith("phrases@")
        offer = house.room.engine()["offer"]
        assert offer
        seen: list[dict[str, object]] = []
        with HubFake(QWEN, files) as hub:
            monkeypatch.setattr(constants, "ENDPOINT", hub.url)
            async with asyncio.timeout(60), house.room.board().listen() as told:
                await house.room.fetch_model(offer)
                async for event in told:
                    if event.kind == "engine":
                        seen.append(dict(event.data))
                        if event.data["name"] != "embedded":
                            break
        assert any(one["progress"] for one in seen), seen
        about = house.room.engine()
        assert (about["name"], about["problem"]) == ("Qwen2.5-0.5B-Instruct", "")
        assert "Qwen2.5-0.5B-Instruct" in about["words"]
        second = await house.say("and now?")
        assert (second["response"], second["model"]) == (SPOKEN, "Qwen2.5-0.5B-Instruct")
        found = await house.room.explain(second["message_id"])
        assert found is not None
        assert str(first["response"]) in found["made"]["prompt_prefix"]  # the history goes on


async def test_offline_the_page_names_the_other_ways_in(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    await house.room.fetch_model("qwen2.5-0.5b")
    about = await until(lambda: (found := house.room.engine())["problem"] and found)
    for way in ("heed model import", "HF_ENDPOINT", "HEED_MODEL__NAME=http"):
        assert way in about["problem"]
    assert (about["ready"], about["progress"], about["offer"]) == (True, None, "qwen2.5-0.5b")
    assert (await house.say("hello"))["response"]


async def test_a_found_model_that_cannot_be_used_leaves_the_default_speaking(
    tmp_path: Path,
) -> None:
    make_checkpoint(tmp_path / "data" / "models" / QWEN, template=None)
    async with living(settings(tmp_path)) as house:
        about = await until(lambda: (found := house.room.engine())["problem"] and found)
        assert "chat template" in about["problem"]
        assert (about["name"], about["ready"]) == ("embedded", True)
        done = await house.say("hello")
        assert done["prompt_version"].startswith("phrases@")


async def test_a_reply_that_has_begun_is_ended_by_who_began_it(house: House) -> None:
    words = "This is one. " + "This is two. " + "This is three."
    old = ScriptedEngine({"": words}, name="old", pace=0.05)
    await house.app.mind.swap(old)
    answer: list[Event] = []

    async def follow() -> None:
        async for event in house.room.ask(arrival("hello")):
            answer.append(event)  # noqa: PERF401 - looked at while it grows

    following = asyncio.create_task(follow())
    await until(lambda: any(event.kind == "token" for event in answer))
    swapping = asyncio.create_task(
        house.app.mind.swap(ScriptedEngine({"": "I am new."}, name="new"))
    )
    other = await house.say("hello", "bob")
    assert (other["response"], other["model"]) == ("I am new.", "new")
    async with asyncio.timeout(PATIENCE):
        await following
        await swapping
    assert answer[-1].data["response"] == words
    assert answer[-1].data["model"] == "old"
    assert old.asked("settle")[-1].kept is True
    again = await house.say("and you?")
    assert again["model"] == "new"


async def test_from_one_model_to_another_and_back_to_none(
    house: House, pupil: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        engine = LocalEngine(str(make_named(pupil, tmp_path / name)), house.app.book, threads=1)
        await engine.warm_up()
        await house.app.mind.swap(engine)
        done = await house.say(f"hello {name}")
        assert (done["response"], done["model"]) == (SPOKEN, name)
        assert house.room.engine()["name"] == name
    await house.app.mind.swap(None)
    assert (await house.say("hello"))["prompt_version"].startswith("phrases@")
    assert house.room.engine()["offer"] == "qwen2.5-0.5b"


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def make_named(pupil: Path, folder: Path) -> Path:
    folder.mkdir()
    for name, data in contents(pupil).items():
        (folder / name).write_bytes(data)
    return folder
