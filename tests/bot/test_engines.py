"""From settings to who tags and who writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from bot import engines
from bot.settings import Answers, Model, Prompts, Settings
from core.engine.embedded.table import TableTagger
from core.engine.local import LocalEngine
from core.engine.mind import Mind
from core.engine.ports import Joint, Limits, ReplyRequest
from core.engine.remote import RemoteEngine
from core.engine.routed import RoutedEngine
from core.errors import PromptError, SetupError
from core.message import ConversationKey
from tests.checkpoints import make_checkpoint
from tests.fakes.hub import model_files, write_model
from tests.fakes.openai import MODEL, OpenAIFake

ROOT = Path(__file__).parents[2]
KEY = ConversationKey(platform="web", bot="heed", chat="1", user="ada")


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def named(name: str) -> Settings:
    return Settings(model=Model(name=name, reply_seconds=5.0))


async def test_without_a_model_the_table_tags_and_the_phrase_book_writes() -> None:
    settings = Settings()
    assert engines.make_engine(settings, engines.make_book(settings)) is None
    [tag] = await engines.make_tagger(settings).tag_many(["thank you, that was great!"])
    assert max(tag.probs, key=tag.probs.__getitem__) == "positive"
    phrases = engines.make_phrases(settings)
    started = await phrases.start(ReplyRequest(key=KEY, history=(), messages=("hello",)))
    assert "".join([p async for p in phrases.continue_reply(started, Limits(), "calm")])


def test_the_operators_answers_file_is_used() -> None:
    Path("mine.toml").write_text("this is not TOML", encoding="utf-8")
    settings = Settings(answers=Answers(file=Path("mine.toml")))
    with pytest.raises(SetupError, match=r"mine\.toml"):
        engines.make_phrases(settings)


async def test_a_server_tags_and_writes() -> None:
    async with OpenAIFake(key="sk-key") as fake:
        settings = Settings(model=Model(name=fake.url, api_key="sk-key"))
        engine = engines.make_engine(settings, engines.make_book(settings))
        assert isinstance(engine, RemoteEngine)
        assert engine.capacity().slots == 8
        await engine.warm_up()
        mind = Mind(engines.make_phrases(settings), engine)
        hearing = await mind.tag_and_start(ReplyRequest(key=KEY, history=(), messages=("hello",)))
        assert hearing.tagging is not None
        assert hearing.started is not None
        assert hearing.started.model == mind.name == MODEL
        assert hearing.writer is engine
        stream = engine.continue_reply(hearing.started, Limits(), "calm")
        assert [piece async for piece in stream] == ["Hel", "lo ", "there."]
        await mind.swap(None)


async def test_a_server_that_hangs_is_left_alone_though_the_mind_gives_up_too() -> None:
    async with OpenAIFake() as fake:
        settings = Settings(model=Model(name=fake.url, reply_seconds=15.0))
        engine = engines.make_engine(settings, engines.make_book(settings))
        assert engine is not None
        await engine.warm_up()
        mind = Mind(engines.make_phrases(settings), engine, seconds=15.0)  # a tenth more than it
        fake.fail("hang", count=3)
        assert mind.ready
        heard = await asyncio.gather(*(mind.tag("hello") for _ in range(3)))
        assert all(one.stand_in for one in heard)
        assert not mind.ready
        async with asyncio.timeout(2.0):
            assert (
                await mind.tag_and_start(ReplyRequest(key=KEY, history=(), messages=("hi",)))
            ).stand_in  # at once
        assert len(fake.chats()) == 3
        await mind.swap(None)


def test_slots_set_by_the_operator_hold_for_a_server_too() -> None:
    settings = Settings(model=Model(name="http://127.0.0.1:9/v1", slots=3))
    engine = engines.make_engine(settings, engines.make_book(settings))
    assert engine is not None
    assert engine.capacity().slots == 3


async def test_a_folder_speaks_through_from_pretrained(tmp_path: Path) -> None:
    folder = await asyncio.to_thread(make_checkpoint, tmp_path / "tiny")
    settings = named(str(folder))
    tagger = engines.make_tagger(settings)
    assert isinstance(tagger, LocalEngine)
    assert isinstance(tagger, Joint)
    await tagger.warm_up()
    try:
        [tag] = await tagger.tag_many(["hello"])
        assert tag.instrument == "tiny#alone"
    finally:
        await tagger.close()


def test_one_may_tag_and_another_write() -> None:
    write_model(Path("small"))
    settings = Settings(model=Model(tag="small", reply="http://127.0.0.1:9/v1#large", slots=3))
    engine = engines.make_engine(settings, engines.make_book(settings))
    assert isinstance(engine, RoutedEngine)
    assert not isinstance(engine, Joint)
    assert (engine.name, engine.writes) == ("small + large", True)
    tagger = engines.make_tagger(settings)  # for tagging alone nobody else is needed
    assert isinstance(tagger, LocalEngine)
    assert isinstance(engines.make_tagger(named("embedded")), TableTagger)


def test_the_same_model_for_both_is_one_engine() -> None:
    url = "http://127.0.0.1:9/v1"
    for more in ({"tag": url, "reply": url}, {"name": url, "tag": url}):
        settings = Settings(model=Model(**more))
        engine = engines.make_engine(settings, engines.make_book(settings))
        assert isinstance(engine, RemoteEngine)


def test_a_table_that_is_to_tag_must_know_the_task() -> None:
    model = Model(name="http://127.0.0.1:9/v1", tag="embedded")
    settings = Settings(model=model, prompts=Prompts(tag="intent"))
    with pytest.raises(PromptError, match=r"model by model\.tag for that task"):
        engines.make_engine(settings, engines.make_book(settings))


async def test_a_model_here_speaks_while_the_server_is_away(tmp_path: Path) -> None:
    folder = await asyncio.to_thread(make_checkpoint, tmp_path / "tiny")
    async with OpenAIFake() as fake:
        model = Model(tag=str(folder), reply=fake.url, reply_seconds=5.0, threads=1)
        settings = Settings(model=model)
        engine = engines.make_engine(settings, engines.make_book(settings))
        assert engine is not None
        await engine.warm_up()
        mind = Mind(engines.make_phrases(settings), engine)
        assert await reply(mind) == ("tiny#alone", MODEL)
        await fake.gone()
        assert await reply(mind) == ("tiny#alone", "tiny")
        await fake.back()
        assert await reply(mind) == ("tiny#alone", MODEL)
        await mind.swap(None)


async def reply(mind: Mind) -> tuple[str, str]:
    """Answer one message, and return who tagged it and who wrote."""
    hearing = await mind.tag_and_start(ReplyRequest(key=KEY, history=(), messages=("hello",)))
    assert hearing.tagging is not None
    assert hearing.started is not None
    assert hearing.writer is not None
    stream = hearing.writer.continue_reply(hearing.started, Limits(tokens=8), "calm")
    assert "".join([piece async for piece in stream])
    await hearing.writer.settle(hearing.started, kept=True)
    return hearing.tagging.instrument, hearing.started.model


def test_a_demo_speaks_only_where_the_caller_allows_it() -> None:
    write_model(Path("demo"), model_files(heed_demo=True))
    settings = named("demo")
    book = engines.make_book(settings)
    with pytest.raises(SetupError, match="try-it room"):
        engines.make_engine(settings, book)
    assert engines.make_engine(settings, book, allow_demo=True) is not None


def test_the_table_refuses_a_task_it_does_not_know() -> None:
    with pytest.raises(PromptError, match="intent"):
        engines.make_tagger(Settings(prompts=Prompts(tag="intent")))
    with pytest.raises(PromptError, match="no task nonsense"):
        engines.make_tagger(Settings(prompts=Prompts(tag="nonsense")))


def test_the_embedded_default_imports_no_model_library() -> None:
    code = (
        "import sys, bot.engines as e; from bot.settings import Settings; s = Settings();"
        "e.make_engine(s, e.make_book(s)); e.make_tagger(s); e.make_phrases(s);"
        "print([n for n in ('torch', 'transformers', 'httpx2') if n in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "HOME": str(Path.cwd())},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
