"""The model path in the product: a checkpoint from a folder tags and answers everywhere."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot import doctor
from bot.program import serve
from bot.settings import Model, Prompts, Settings
from core.engine.local import LocalEngine, engine as local_engine
from core.errors import PromptError, SetupError, StoreBusy
from core.ports import Event
from core.tables import decision
from tests.checkpoints import make_checkpoint
from tests.patience import until
from tests.walk.house import House, arrival, key_for, living, settings_for
from tests.walk.platforms import MAYA, heed_on, hurry
from tests.walk.program import Program, heed
from tests.walk.pupil import PACKAGED, SPOKEN, make_pupil, write_prompts

KIND = "thanks, that fixed it, you are great!"
FURY = "this is the worst service ever, I am furious, you are all useless, I hate this so much!!!"
LABELS = {"negative", "neutral", "positive"}
INTENTS = {"help", "confides", "chats", "question"}
INTENT = (PACKAGED / "intent.toml").read_text(encoding="utf-8")
SENTIMENT = (PACKAGED / "sentiment.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pupil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pupil(tmp_path_factory.mktemp("models") / "pupil")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "prompts")


@pytest.fixture
def settings(tmp_path: Path, pupil: Path, prompts: Path) -> Settings:
    return with_model(tmp_path, pupil, prompts)


def with_model(folder: Path, model: Path, prompts: Path, tag: str = "sentiment") -> Settings:
    return settings_for(
        folder,
        model=Model(name=str(model), threads=1),
        prompts=Prompts(dir=prompts, tag=tag),
    )


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with awake(settings) as alive:
        yield alive


@asynccontextmanager
async def awake(settings: Settings) -> AsyncIterator[House]:
    """Start a Heed and wait for its model."""
    async with living(settings) as alive:
        await until(lambda: alive.app.mind.engine and alive.app.mind.ready)
        yield alive


def engine_of(house: House) -> LocalEngine:
    engine = house.app.mind.engine
    assert isinstance(engine, LocalEngine)
    return engine


async def listen(house: House, text: str, user: str = "ann") -> list[Event]:
    """Say one line and return every event of its answer."""
    async with asyncio.timeout(30):
        return [event async for event in house.room.ask(arrival(text, user))]


async def explained(house: House, done: dict[str, Any]) -> dict[str, Any]:
    found = await house.room.explain(done["message_id"])
    assert found is not None
    return found


async def test_a_turn_that_breaks_off_leaves_no_reply_in_the_engine(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, tries, held = engine_of(house), 0, []
    finish, hear = house.app.walk.finish, house.app.walk.hear

    async def heard(*some: Any, **more: Any) -> Any:
        assert engine._worker is not None
        held.append(len(engine._worker._turns))
        return await hear(*some, **more)

    async def full(*some: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreBusy("the disk is full")
        return await finish(*some, **more)

    monkeypatch.setattr(house.app.walk, "finish", full)
    monkeypatch.setattr(house.app.walk, "hear", heard)
    assert (await house.say("hello"))["response"] == SPOKEN  # taken once more
    assert tries == 2
    assert held == [0, 0]


# -- many at once --------------------------------------------------------------------------------


async def test_who_waits_for_a_busy_model_is_told_so_and_loses_nothing(
    tmp_path: Path, pupil: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(name=str(pupil), threads=1, slots=1)
    async with awake(settings_for(tmp_path, model=model, prompts=Prompts(dir=prompts))) as house:
        worker, go_on = engine_of(house)._worker, threading.Event()
        assert worker is not None
        steps = worker.model.steps
        monkeypatch.setattr(worker.model, "steps", lambda *rows: go_on.wait(20) and steps(*rows))
        first = asyncio.create_task(listen(house, "hello"))
        await until(lambda: engine_of(house).capacity().running)
        others = [asyncio.create_task(listen(house, "hello", user)) for user in ("bob", "eve")]
        await until(lambda: house.app.mind._waiting == 2)
        assert (await house.say(FURY, "zoe"))["owner"] == "queue"  # an alarm waits for nobody
        go_on.set()
        told = [await one for one in (first, *others)]
        ahead = [[e.data["ahead"] for e in events if e.kind == "waiting"] for events in told]
        assert ahead == [[], [1], [2]]
        assert [events[-1].data["response"] for events in told] == [SPOKEN] * 3


# -- one turn ------------------------------------------------------------------------------------


async def test_one_model_tags_and_answers_in_one_forward(house: House) -> None:
    before = engine_of(house).counters.prefills
    *others, last = await listen(house, "hello")
    counters = engine_of(house).counters
    assert (counters.loads, counters.prefills - before) == (1, 1)
    assert list(dict.fromkeys(event.kind for event in others)) == ["tag", "token"]
    streamed = "".join(event.data["text"] for event in others if event.kind == "token")
    assert streamed.strip() == SPOKEN
    assert last.data["response"] == SPOKEN
    assert (last.data["model"], last.data["owner"]) == ("pupil", "bot")
    assert last.data["sentiment"] in LABELS
    assert last.data["prompt_version"] == house.app.book.reply().version
    view = await house.view()
    said, answer = view["lines"]
    assert (said["tag"]["instrument"], said["tag"]["prompt"]) == (
        "pupil#branch",
        house.app.book.task().version,
    )
    assert (answer["model"], answer["prompt_version"]) == ("pupil", house.app.book.reply().version)
    versions = (await explained(house, dict(last.data)))["versions"]
    assert versions["model"] == "pupil#branch"
    assert versions["prompt"].startswith("sentiment@")


async def test_turn_two_reuses_what_turn_one_computed(settings: Settings, house: House) -> None:
    cold = (await explained(house, await house.say("hello, where is my parcel?")))["made"]
    counted = engine_of(house).counters.tokens_reused
    done = await house.say("it is the blue one")
    warm = (await explained(house, done))["made"]
    assert cold["tokens_reused"] == 0
    assert warm["tokens_reused"] >= cold["tokens_computed"] // 2
    assert engine_of(house).counters.tokens_reused - counted >= warm["tokens_reused"]
    assert SPOKEN in warm["prompt_prefix"]  # the reply is in there, and was found warm
    lines = await house.lines()
    async with awake(settings) as again:  # the same conversation, with nothing warm
        restarted = (await explained(again, await again.say("it is the blue one")))["made"]
        assert restarted["tokens_reused"] == 0
        assert restarted["tokens_computed"] > 2 * warm["tokens_computed"]
        assert lines[0][1] in restarted["prompt_prefix"]
        third = (await explained(again, await again.say("ok")))["made"]
        assert third["tokens_computed"] < restarted["tokens_computed"] / 2


async def test_a_long_conversation_stays_warm(house: House) -> None:
    colds = 0
    for number in range(36):  # more lines than the store gives a turn
        made = (await explained(house, await house.say(f"ok {number}")))["made"]
        colds += made["tokens_reused"] < made["tokens_computed"]
    assert colds <= 4


async def test_the_loop_never_stalls_while_a_reply_is_written(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = make_checkpoint(tmp_path_factory.mktemp("models") / "talker", layers=6, hidden=256)
    lags: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - began - 0.005)

    async with awake(with_model(tmp_path, folder, write_prompts(tmp_path / "p"))) as house:
        watching = asyncio.create_task(watch())
        counters = engine_of(house).counters
        before = counters.forwards
        spent = time.thread_time(), time.process_time()
        for _ in range(3):  # how many words it finds depends on the CPU
            await asyncio.gather(*(house.say("tell me a story", f"user{n}") for n in range(3)))
        watching.cancel()
        loop, everything = time.thread_time() - spent[0], time.process_time() - spent[1]
        assert counters.forwards - before > 30
    assert loop < everything / 2  # the work is done in another thread,
    assert len(lags) > 20
    lags.sort()
    assert lags[len(lags) // 2] < 0.05, lags[-5:]  # which does not keep Python to itself
    assert lags[-1] < 1.0, lags[-5:]


# -- what the prompt is made of ------------------------------------------------------------------


async def test_history_and_mood_change_the_prompt(
    tmp_path: Path, pupil: Path, prompts: Path
) -> None:
    # The intent task names no polarity, so the mood is the table's and can be steered by words.
    async with awake(with_model(tmp_path, pupil, prompts, tag="intent")) as house:
        first = (await explained(house, await house.say("my parcel is number 4711")))["made"]
        assert first["reply"]["level"] == "calm"
        assert "The person" not in first["reply"]["prompt_header"]
        for text in (
            "it is late again and I am annoyed",
            "this still does not work, that is bad",
            "I am really disappointed and sad now",
            "that is terrible, it is still broken, I am upset",
            "no, that is wrong again, this is awful",
        ):
            made = (await explained(house, await house.say(text)))["made"]
            if made["reply"]["level"] != "calm":
                break
        told = {"tense": "The person is getting annoyed.", "upset": "The person is very upset."}
        assert told[made["reply"]["level"]] in made["reply"]["prompt_header"]
        assert "4711" in made["prompt_prefix"]
        assert "The person is" not in made["prompt_prefix"]  # mood makes no turn cold
        assert made["tokens_reused"] > made["tokens_computed"]


async def test_another_task_is_another_file_and_no_code(
    tmp_path: Path, pupil: Path, prompts: Path
) -> None:
    async with awake(with_model(tmp_path, pupil, prompts, tag="intent")) as house:
        done = await house.say(FURY)
        assert done["sentiment"] in INTENTS
        found = await explained(house, done)
        assert set(found["scores"]["probs"]) == INTENTS
        assert found["scores"]["p_negative"] > 0.9  # the table's, as intents say nothing of mood
        assert found["versions"]["prompt"].startswith("intent@")


async def test_a_task_file_that_is_deleted_stays_in_force(
    tmp_path: Path, pupil: Path, prompts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (prompts / "mine.toml").write_text(INTENT, encoding="utf-8")
    async with awake(with_model(tmp_path, pupil, prompts, tag="mine")) as house:
        assert (await house.say("hello"))["sentiment"] in INTENTS
        (prompts / "mine.toml").unlink()
        with caplog.at_level(logging.WARNING):
            done = await house.say("hello again")
        assert (done["sentiment"] in INTENTS, done["response"]) == (True, SPOKEN)
        assert "mine.toml is gone" in caplog.text
        (prompts / "mine.toml").write_text(SENTIMENT, encoding="utf-8")
        assert (await house.say("and now?"))["sentiment"] in LABELS


async def test_a_prompt_file_changed_in_between_counts_from_the_next_turn(
    house: House, prompts: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    first = await explained(house, await house.say("hello"))
    (prompts / "sentiment.toml").write_text(INTENT, encoding="utf-8")
    second = await explained(house, await house.say("hello again"))
    assert set(first["scores"]["probs"]) == LABELS
    assert set(second["scores"]["probs"]) == INTENTS
    assert first["versions"]["prompt"] != second["versions"]["prompt"]
    assert second["made"]["tokens_reused"] > 0  # the conversation stays warm
    with caplog.at_level(logging.WARNING):
        (prompts / "sentiment.toml").write_text('labels = ["one"]', encoding="utf-8")
        third = await explained(house, await house.say("and now?"))
    assert third["versions"]["prompt"] == second["versions"]["prompt"]
    assert "sentiment.toml" in caplog.text
    with pytest.raises(SetupError, match=r"sentiment\.toml"):
        doctor.prompts(settings)
    clash = SENTIMENT.replace('"negative", "neutral"', '"neutral one", "neutral"')
    clash = clash.replace("negative = -1.0", '"neutral one" = -1.0')
    (prompts / "sentiment.toml").write_text(clash, encoding="utf-8")  # fine, but not for this model
    fourth = await explained(house, await house.say("still there?"))
    assert fourth["versions"]["prompt"] == second["versions"]["prompt"]


# -- what must never happen ----------------------------------------------------------------------


async def test_what_fails_the_guards_becomes_the_safe_text(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, prompts: Path
) -> None:
    rude = tmp_path_factory.mktemp("models") / "rude"
    make_pupil(rude, "assistant: I am sorry to hear that.")
    async with awake(with_model(tmp_path, rude, prompts)) as house:
        events = await listen(house, "hello")
        done = dict(events[-1].data)
        safe = house.app.texts.say("fallback", "en")
        assert [event.kind for event in events] == ["tag", "token", "done"]
        assert events[1].data["text"] == done["response"] == safe
        assert (await explained(house, done))["made"]["fallback"] == "role tokens"
        warm = (await explained(house, await house.say("and now?")))["made"]
        assert warm["tokens_reused"] > 0
        assert "assistant: I am" not in warm["prompt_prefix"]


async def test_a_random_model_is_never_silent(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = make_checkpoint(tmp_path_factory.mktemp("models") / "babble")
    async with awake(with_model(tmp_path, folder, write_prompts(tmp_path / "p"))) as house:
        for text in ("hello", "你好", "who are you?", "🙂"):
            assert (await house.say(text))["response"], text


async def test_fury_opens_a_case_whatever_the_model_makes_of_it(house: House) -> None:
    done = await house.say(FURY)
    assert (done["owner"], done["escalated"]) == ("queue", True)
    found = await explained(house, done)
    assert found["rule"] == "spike"
    assert found["versions"]["model"] == "pupil#branch"
    await house.idle()
    assert engine_of(house).capacity().running == 0  # what was started was taken back
    asked = await house.say("hello?")
    assert asked["response"] is None


async def test_a_claim_stops_a_reply_in_the_middle(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await house.say(FURY)
    await house.act(opened["case"], "claim")
    await house.act(opened["case"], "botback")
    worker = engine_of(house)._worker
    assert worker is not None
    quick = worker.model.step

    def slow(*more: Any) -> Any:
        time.sleep(0.08)
        return quick(*more)

    monkeypatch.setattr(worker.model, "step", slow)
    kinds: list[str] = []
    async with asyncio.timeout(30), house.room.board().listen() as told:
        await house.room.take_in([arrival("are you there?")])
        async for event in told:
            kinds.append(event.kind)
            if event.kind == "token":
                await house.act(opened["case"], "claim")
            if event.kind in ("withdrawn", "done"):
                break
    assert kinds[-1] == "withdrawn"
    await house.idle()
    view = await house.view()
    assert view["owner"] == "human"
    assert [line["role"] for line in view["lines"]][-1] != "bot"
    assert engine_of(house).capacity().running == 0


async def test_many_people_at_once_are_each_answered_by_the_model(house: House) -> None:
    people = [f"user{number}" for number in range(6)]  # three times as many as slots
    answers = await asyncio.gather(*(house.say(f"I am {who}", who) for who in people))
    assert [done["response"] for done in answers] == [SPOKEN] * 6
    for who in people:
        made = (await explained(house, await house.say("and?", who)))["made"]
        assert f"I am {who}" in made["prompt_prefix"]
        assert all(f"I am {other}" not in made["prompt_prefix"] for other in people if other != who)
    assert engine_of(house).counters.loads == 1


async def test_a_model_that_dies_is_stood_in_for_and_then_a_person_comes(house: House) -> None:
    assert (await house.say("hello"))["response"] == SPOKEN
    engine = engine_of(house)
    if engine._watch is not None:
        engine._watch.cancel()  # nobody starts it anew
    await asyncio.to_thread(engine._thread.stop)
    sorry = await house.say("are you there?")
    assert sorry["response"] == house.app.texts.say("apology", "en")
    assert (await explained(house, sorry))["scores"]["stand_in"]
    second = await house.say("hello, anybody?")
    assert second["owner"] == "queue"
    assert (await explained(house, second))["rule"] == "failure"
    assert house.app.speaker.why_not_ready()


async def test_a_model_that_breaks_in_the_middle_of_replies_brings_a_person(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine_of(house)._worker
    assert worker is not None

    def broken(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(worker.model, "steps", broken)
    first = await house.say("hello")
    assert first["response"] == house.app.texts.say("fallback", "en")
    second = await house.say("hello, anybody?")
    assert second["owner"] == "queue"
    found = await explained(house, second)
    assert (found["rule"], found["opened"]) == ("failure", True)
    case = await house.room.case(second["case"])
    assert case is not None
    assert case["why"] == "engine failed 2 times"


async def test_a_model_that_hangs_is_replaced_and_the_turn_taken_once_more(
    tmp_path: Path, pupil: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "STUCK", 1.5)
    model = Model(name=str(pupil), threads=1, slots=1)
    async with awake(settings_for(tmp_path, model=model, prompts=Prompts(dir=prompts))) as house:
        worker, go_on = engine_of(house)._worker, threading.Event()
        assert worker is not None
        monkeypatch.setattr(worker.model, "steps", lambda *_: go_on.wait(30) and 1 / 0)
        said = asyncio.create_task(house.say("hello"))
        await until(lambda: engine_of(house)._thread.stuck)
        assert house.app.speaker.why_not_ready()
        other = await house.say("hello", "bob")  # the only slot is taken, and then there is none
        assert (await said)["response"] == SPOKEN
        assert other["response"] == SPOKEN
        assert engine_of(house).counters.restarts == 1
        assert house.app.speaker.why_not_ready() is None
        go_on.set()


async def test_a_reply_that_hangs_is_given_up_when_its_time_is_over(
    tmp_path: Path, pupil: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.writing.GRACE", 0.3)
    model = Model(name=str(pupil), threads=1, slots=1, reply_seconds=1.0)
    async with awake(settings_for(tmp_path, model=model, prompts=Prompts(dir=prompts))) as house:
        worker, go_on = engine_of(house)._worker, threading.Event()
        assert worker is not None
        monkeypatch.setattr(worker.model, "steps", lambda *_: go_on.wait(30) and 1 / 0)
        sorry = await house.say("hello")
        assert sorry["response"] == house.app.texts.say("fallback", "en")
        go_on.set()
        await until(lambda: house.app.mind.ready)
        monkeypatch.undo()
        assert (await house.say("hello again"))["response"] == SPOKEN


# -- the platforms -------------------------------------------------------------------------------


async def test_telegram_and_discord_are_answered_by_the_same_model(
    tmp_path: Path, pupil: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    model, files = Model(name=str(pupil), threads=1), Prompts(dir=prompts)
    async with heed_on(tmp_path, on=("telegram", "discord"), model=model, prompts=files) as both:
        await until(lambda: both.app.mind.engine and both.app.mind.ready)
        engine = both.app.mind.engine
        assert isinstance(engine, LocalEngine)
        before = engine.counters.prefills
        await both.says(MAYA, KIND)
        await until(lambda: SPOKEN in both.read(MAYA))
        await both.writes("ben", "hello there")
        await until(lambda: SPOKEN in both.heard(both.discord.dm("ben")))
        assert (engine.counters.loads, engine.counters.prefills - before) == (1, 2)
        for text in (KIND, "hello there"):
            scores = await both.scores(text)
            assert scores["instrument"] == "pupil#branch"
            assert scores["prompt"].startswith("sentiment@")
        versions = [row.versions for row in await both.rows(decision)]
        assert [found["model"] for found in versions] == ["pupil#branch"] * 2


# -- the real program ----------------------------------------------------------------------------


async def test_the_program_answers_from_the_folder_and_again_after_kill_9(
    tmp_path: Path, pupil: Path, prompts: Path
) -> None:
    about = {"HEED_MODEL__NAME": str(pupil), "HEED_PROMPTS__DIR": str(prompts)}
    async with Program(tmp_path, **about) as program:
        done = await program.chat("hello, where is my parcel?")
        assert (done["response"], done["model"]) == (SPOKEN, "pupil")
        assert done["prompt_version"].startswith("reply@")
        names = [name for name, _ in await program.stream("it is the blue one")]
        assert list(dict.fromkeys(names)) == ["tag", "token", "done"]
        status, page = await program.post("/room/say", {"person": "ann", "text": "hello room"})
        assert status == 200
        assert "Write human and one person comes" in page
        inbox = re.findall(r"inbox=(\d+)", page)[-1]
        status, why = await program.get("/room/why", person="ann", inbox=inbox)
        assert status == 200
        assert "pupil#branch" in why

        await program.kill()
        await program.start()
        again = await program.chat("are you still there?")
        assert (again["response"], again["model"]) == (SPOKEN, "pupil")
        _, page = await program.get("/", person="ann")
        assert "hello room" in page
        _, figures = await program.get("/metrics")
        assert float(re.findall(r"^heed_kv_bytes (\S+)", figures, re.MULTILINE)[0]) > 0
    async with living_without_model(tmp_path) as house:
        view = await house.room.conversation(key_for("ann"))
        last = [line["inbox"] for line in view["lines"] if line["role"] == "user"]
        found = [await house.room.explain(one) for one in last]
        made = [one["made"] for one in found if one]
        assert "where is my parcel?" in made[2]["prompt_prefix"]  # answered from the history
        assert [bool(one["tokens_reused"]) for one in made] == [False, True, False]


@asynccontextmanager
async def living_without_model(folder: Path) -> AsyncIterator[House]:
    """Read the program's own database."""
    from bot.settings import Database

    place = Database(url=f"sqlite:///{folder / 'data' / 'heed.db'}")
    async with living(settings_for(folder, database=place, model=Model(name="embedded"))) as house:
        yield house


def test_a_model_that_is_not_here_ends_the_program_with_one_sentence(tmp_path: Path) -> None:
    for name, words in (
        (str(tmp_path / "nowhere"), "does not exist"),
        ("Qwen/Qwen9-unknown", "heed model pull Qwen/Qwen9-unknown"),
    ):
        done = heed(tmp_path, "run", HEED_MODEL__NAME=name, HEED_HTTP__PORT="0")
        assert done.returncode == 2, done
        assert words in done.stderr
        assert "Traceback" not in done.stderr


async def test_a_model_that_cannot_be_loaded_ends_the_program(tmp_path: Path) -> None:
    mute = make_checkpoint(tmp_path / "mute", template=None)
    with pytest.raises(SetupError, match="chat template"):
        await serve(with_model(tmp_path, mute, write_prompts(tmp_path / "p")))
    unknown = with_model(tmp_path, make_checkpoint(tmp_path / "m"), tmp_path / "p", tag="weather")
    with pytest.raises(PromptError, match="no task weather"):
        await serve(unknown)


def test_a_demo_never_speaks_to_real_people(tmp_path: Path) -> None:
    demo = make_checkpoint(tmp_path / "demo", demo=True)
    done = heed(
        tmp_path,
        "run",
        HEED_MODEL__NAME=str(demo),
        HEED_HTTP__PORT="0",
        HEED_TELEGRAM__TOKEN="4242:test",
        HEED_TELEGRAM__API_BASE="http://127.0.0.1:9/bot",
    )
    assert done.returncode == 2, done
    assert "demo model" in done.stderr
    assert "4242:test" not in done.stderr


def test_heed_tag_explains_how_a_model_made_its_tags(tmp_path: Path, pupil: Path) -> None:
    said = "hello\n" + json.dumps({"id": "b", "text": "the order is late"}) + "\n{broken\n"
    done = heed(tmp_path, "tag", "--explain", said=said, HEED_MODEL__NAME=str(pupil))
    assert done.returncode == 1, done.stderr
    one, other, wrong = map(json.loads, done.stdout.splitlines())
    assert [one["id"], other["id"], wrong["id"]] == [1, "b", 3]
    assert "error" in wrong
    assert set(one["probs"]) == LABELS
    for row in (one, other):
        assert {"label", "intensity", "confidence", "strong", "wants_human", "crisis"} <= set(row)
        explain = row["explain"]
        assert explain["instrument"] == "pupil#bulk"
        assert explain["prompt"].startswith("sentiment@")
        made = explain["made"]
        assert set(made["label_logprobs"]) == LABELS
        assert {"prompt_prefix", "prompt_suffix", "tokens_computed", "tokens_reused", "ms"} <= set(
            made
        )
    assert other["explain"]["made"]["tokens_reused"] > 0
    assert one["explain"]["made"]["prompt_prefix"].endswith("hello")
