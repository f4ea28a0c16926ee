"""The local engine on tiny random checkpoints: real weights, real tokenizer, real thread."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

import core.engine.local.engine as engine_module
import core.engine.local.thread as thread_module
import core.prompts
from core.engine.local import Counters, LocalEngine
from core.engine.local.chat import Chat
from core.engine.local.speech import Speech, pick
from core.engine.local.turns import Pieces, Settings, Turn
from core.engine.local.worker import Worker
from core.engine.ports import Joint, Limits, ReplyRequest, Started
from core.errors import EngineBusy, EngineFailed, EngineNotReady, PromptError, SetupError
from core.message import ConversationKey, Level, Said, Tagging
from core.prompts import PromptBook, Sampling
from tests.checkpoints import STRICT, make_checkpoint
from tests.patience import PATIENCE

PACKAGED = Path(core.prompts.__file__).parent
KEY = ConversationKey(platform="web", bot="heed", chat="1", user="ada")
BOB = replace(KEY, user="bob")
GREEDY = """
system = "You are a kind assistant.{% if name %} You talk with {{ name }}.{% endif %}"
[header]
tense = "Be short."
upset = "The person is very upset."
[sampling]
temperature = 0
repetition = 1.3
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture
def book(tmp_path: Path) -> PromptBook:
    (tmp_path / "reply.toml").write_text(GREEDY, encoding="utf-8")
    return PromptBook(tmp_path)


@pytest.fixture
def engine(checkpoint: Path, book: PromptBook) -> Iterator[LocalEngine]:
    made = LocalEngine(str(checkpoint), book, precision="fp32")
    asyncio.run(made.warm_up())
    yield made
    asyncio.run(made.close())


@pytest.fixture
def worker(checkpoint: Path, book: PromptBook) -> Worker:
    return Worker(chosen(checkpoint), book, Counters())


def whole(work: Generator[None, None, Any]) -> Any:
    """Do work that pauses to its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def chosen(folder: Path, **other: object) -> Settings:
    usual = Settings(
        source=str(folder),
        name=folder.name,
        history_tokens=1500,
        message_tokens=512,
        slots=2,
        kv_budget=2**29,
        threads=1,
        precision="fp32",
        clock=time.monotonic,
    )
    return replace(usual, **other)


def request(*messages: str, history: tuple[Said, ...] = (), **other: object) -> ReplyRequest:
    asked = ReplyRequest(key=KEY, history=history, messages=messages)
    return replace(asked, **other)


async def read(
    engine: LocalEngine, started: Started, tokens: int = 12, level: Level = "calm"
) -> str:
    stream = engine.continue_reply(started, Limits(tokens=tokens), level)
    return "".join([piece async for piece in stream])


async def turn(
    engine: LocalEngine, asked: ReplyRequest, *, kept: bool = True
) -> tuple[Tagging, Started, str]:
    """Take a turn whose message leaves the mood as it was."""
    tag, started = await engine.tag_and_start(asked)
    text = await read(engine, started, level=asked.level)
    await engine.settle(started, kept=kept)
    return tag, started, text


def after(asked: ReplyRequest, reply: str) -> tuple[Said, ...]:
    """The history once `reply` was the answer to `asked`."""
    at = float(len(asked.history))
    said = [Said(role="user", text=text, at=at) for text in asked.messages]
    return (*asked.history, *said, Said(role="bot", text=reply, at=at + 1))


# ---- before it is loaded ------------------------------------------------------------------


def test_it_is_cheap_to_make_and_not_ready(checkpoint: Path) -> None:
    engine = LocalEngine(str(checkpoint), PromptBook())
    assert engine.name == "tiny-chat"
    assert not engine.ready
    assert not engine.demo
    assert engine.capacity().free == 8
    assert isinstance(engine, Joint)


def test_making_one_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom core.engine.local import LocalEngine\n"
        "from core.prompts import PromptBook\nLocalEngine('a/b', PromptBook())\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_asking_too_early_says_so(checkpoint: Path) -> None:
    engine = LocalEngine(str(checkpoint), PromptBook())
    with pytest.raises(EngineNotReady):
        await engine.tag_many(["hello"])
    with pytest.raises(EngineNotReady):
        await engine.start(request("hello"))
    await engine.close()


async def test_a_missing_model_says_what_to_do() -> None:
    engine = LocalEngine("nobody/never-was-here", PromptBook())
    with pytest.raises(SetupError, match="run `heed model pull nobody/never-was-here`") as found:
        await engine.warm_up()
    assert "heed model import" in str(found.value)
    assert not engine.ready
    await engine.close()


async def test_a_folder_without_a_model_says_what_it_needs(tmp_path: Path) -> None:
    engine = LocalEngine(str(tmp_path), PromptBook())
    with pytest.raises(SetupError, match=r"holds no model .* needs config\.json"):
        await engine.warm_up()
    await engine.close()


async def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    engine = LocalEngine(str(make_checkpoint(tmp_path / "base", template=None)), PromptBook())
    with pytest.raises(SetupError, match="base has no chat template"):
        await engine.warm_up()
    await engine.close()


def test_a_precision_that_is_not_done_is_refused() -> None:
    with pytest.raises(SetupError, match="fp16: write one of auto, fp32, bf16, int8, int4"):
        LocalEngine("a/b", PromptBook(), precision="fp16")


def test_a_demo_checkpoint_is_known_before_loading(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "demo", demo=True)
    assert LocalEngine(str(folder), PromptBook()).demo


async def test_weights_are_read_once(engine: LocalEngine) -> None:
    await engine.warm_up()
    assert engine.ready
    assert engine.counters.loads == 1


# ---- numbers ------------------------------------------------------------------------------


def test_the_tree_equals_one_after_the_other(worker: Worker) -> None:
    model = worker.model
    assert model.tree
    trunk, branches = list(range(40, 60)), [[7, 8, 9, 10], [11, 12], [13] * 9]
    tree, plain = model.memory(), model.memory()
    for memory in (tree, plain):
        model.grow(memory, [], [list(range(5, 30))], keep=True)
    joint = model.grow(tree, trunk, branches, keep=True)
    model.read(plain, trunk)
    fork = len(plain.ids)
    apart = []
    for branch in branches[::-1]:
        plain.cut(fork)
        apart.append(model.grow(plain, [], [branch], keep=True)[0])
    assert float((joint - torch.stack(apart[::-1])).abs().max()) < 1e-4
    assert tree.ids == plain.ids
    for kept, sequential in zip(tree.layers(0), plain.layers(0), strict=True):
        assert torch.allclose(kept[1], sequential[1], atol=1e-5)


def test_another_header_leaves_the_tag_alone(worker: Worker) -> None:
    turns = [Turn(request=request("Where is my parcel?", level=x)) for x in ("calm", "upset")]
    tags: list[Tagging | None] = []
    for one in turns:
        tags.append(whole(worker.start(one, tagged=True)))
        worker.drop(KEY)  # each from nothing
    logs = [tag.made["label_logprobs"] for tag in tags if tag is not None]
    assert logs[0] == pytest.approx(logs[1], abs=1e-4)
    assert turns[0].made["prompt_header"] != turns[1].made["prompt_header"]


def test_another_suffix_leaves_the_reply_alone(worker: Worker) -> None:
    found = []
    for tagged in (True, False):
        one = Turn(request=request("Where is my parcel?", key=replace(KEY, chat=str(tagged))))
        whole(worker.start(one, tagged=tagged))
        found.append(one.logits.clone())
        worker.settle(one, kept=False)
    assert float((found[0] - found[1]).abs().max()) < 1e-4


def test_many_tags_at_once_equal_each_alone(worker: Worker) -> None:
    texts = ["hello", "Where is my <|im_start|> parcel?", "太慢了，我很生气。", ""]
    together = whole(worker.tag(texts, None))
    for text, tag in zip(texts, together, strict=True):
        alone = whole(worker.tag([text], None))[0]
        assert tag.probs == pytest.approx(alone.probs, abs=1e-4)
        assert (tag.instrument, alone.instrument) == ("tiny-chat#bulk", "tiny-chat#alone")
        assert (tag.doubt, alone.doubt > 0) == (0, True)  # nobody asked the vocabulary


# ---- tags ---------------------------------------------------------------------------------


async def test_a_tag_is_read_from_logits_and_tells_how(engine: LocalEngine) -> None:
    before = replace(engine.counters)
    tags = await engine.tag_many(["hello", "Thank you!"])
    assert engine.counters.tags - before.tags == 2
    assert engine.counters.prefills - before.prefills == 1
    for tag in tags:
        assert sum(tag.probs.values()) == pytest.approx(1)
        assert 0 <= tag.doubt <= 1
        assert tag.polarity == {"negative": -1, "neutral": 0, "positive": 1}
        assert (tag.instrument, tag.prompt[:10]) == ("tiny-chat#bulk", "sentiment@")
    made = tags[1].made
    assert made["prompt_prefix"].endswith("Thank you!")
    assert made["tokens_reused"] > 0
    assert set(made["label_logprobs"]) == set(tags[1].probs)
    mass = sum(torch.tensor(list(made["label_logprobs"].values())).exp().tolist())
    assert tags[1].doubt == pytest.approx(1 - mass, abs=1e-6)
    assert await engine.tag_many([]) == []


async def test_tags_touch_no_conversation(engine: LocalEngine) -> None:
    asked = request("hello")
    _, _, text = await turn(engine, asked)
    held = engine._worker.warm()
    await engine.tag_many(["hello"] * 40, "emotion")
    assert engine._worker.warm() == held
    assert len((await engine.tag_many(["x"], "emotion"))[0].probs) == 6
    again = request("and now?", history=after(asked, text))
    _, started, _ = await turn(engine, again)
    assert started.made["tokens_reused"] > 20


async def test_an_unknown_task_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(PromptError, match="there is no task mood"):
        await engine.tag_many(["x"], "mood")


async def test_exchanging_the_file_changes_the_task(engine: LocalEngine, tmp_path: Path) -> None:
    asked = request("hello")
    (sentiment, _, text) = await turn(engine, asked)
    shutil.copy(PACKAGED / "intent.toml", tmp_path / "sentiment.toml")
    again = request("and now?", history=after(asked, text))
    intent, started, _ = await turn(engine, again)
    assert set(sentiment.probs) == {"negative", "neutral", "positive"}
    assert set(intent.probs) == {"help", "confides", "chats", "question"}
    assert intent.polarity == {}
    assert sentiment.prompt != intent.prompt
    assert started.made["forwards"] == 1
    assert started.made["tokens_reused"] > 0  # another task leaves the conversation warm


async def test_a_task_with_a_prompt_of_its_own_is_tagged_alone(checkpoint: Path) -> None:
    engine = LocalEngine(str(checkpoint), PromptBook(tag="emotion"))
    await engine.warm_up()
    tag, started, text = await turn(engine, request("hello"))
    assert tag.instrument == "tiny-chat#alone"
    assert "Are you kidding me?" in tag.made["prompt_prefix"]
    assert text
    assert started.made["forwards"] == 1
    await engine.close()


async def test_labels_that_begin_alike_are_refused_and_the_last_good_file_stays(
    engine: LocalEngine, tmp_path: Path
) -> None:
    bad = 'instruction = "x"\nlabels = ["calm", "calmer"]\n'
    (tmp_path / "topic.toml").write_text(bad, encoding="utf-8")
    with pytest.raises(PromptError, match="labels calm and calmer begin with the same token"):
        await engine.tag_many(["x"], "topic")
    good = await engine.tag_many(["x"])
    (tmp_path / "sentiment.toml").write_text(bad, encoding="utf-8")
    assert (await engine.tag_many(["x"]))[0].prompt == good[0].prompt


async def test_an_opening_stands_before_the_label(engine: LocalEngine, tmp_path: Path) -> None:
    file = tmp_path / "topic.toml"
    file.write_text('instruction = "x"\nopening = "It is:\\n"\nlabels = ["joy", "fear"]\n')
    tag = (await engine.tag_many(["hello"], "topic"))[0]
    assert tag.made["prompt_suffix"].endswith("<|im_start|>assistant\nIt is:\n")


# ---- turns --------------------------------------------------------------------------------


async def test_one_prefill_gives_the_tag_and_the_start(engine: LocalEngine) -> None:
    before = replace(engine.counters)
    tag, started = await engine.tag_and_start(request("hello", name="Ada"))
    assert engine.counters.forwards - before.forwards == 1
    assert tag.instrument == "tiny-chat#branch"
    assert tag.made["forwards"] == 1
    assert started.prompt.startswith("reply@")
    assert started.model == "tiny-chat"
    assert "You talk with Ada." in started.made["prompt_prefix"]
    assert "tokens" not in started.made
    assert engine.capacity().running == 1
    text = await read(engine, started)
    assert text
    assert 0 < started.made["tokens"] <= 12
    assert started.made["ended"] in ("stop", "tokens")
    assert started.made["reply_ms"] > 0
    assert engine.capacity().running == 0
    assert engine.counters.replies - before.replies == 1
    await engine.settle(started, kept=True)


async def test_turn_two_reuses_what_turn_one_computed(engine: LocalEngine) -> None:
    asked = request("hello")
    _, first, text = await turn(engine, asked)
    again = request("and now?", history=after(asked, text))
    _, warm, _ = await turn(engine, again)
    _, cold, _ = await turn(engine, replace(again, key=BOB))
    told = len(engine._worker.chat.encode(first.made["prompt_prefix"]))
    assert warm.made["tokens_reused"] > told  # the reply's own tokens are among them
    assert warm.made["forwards"] == 1
    assert cold.made["tokens_reused"] == 0
    rows = warm.made["tokens_computed"] + warm.made["tokens_reused"]
    assert rows == cold.made["tokens_computed"]


async def test_warm_equals_cold(engine: LocalEngine) -> None:
    history: tuple[Said, ...] = ()
    for words in ("hello", "Where is my parcel?", "太慢了，我很生气。", "and now?"):
        asked = request(words, history=history)
        warm_tag, warm, warm_text = await turn(engine, asked)
        cold_tag, cold, cold_text = await turn(engine, replace(asked, key=BOB))
        await engine.drop(BOB)
        assert warm_text == cold_text
        assert warm_tag.made["label_logprobs"] == pytest.approx(
            cold_tag.made["label_logprobs"], abs=1e-4
        )
        assert cold.made["tokens_reused"] == 0
        assert (warm.made["tokens_reused"] > 0) == bool(history)
        history = after(asked, warm_text)


async def test_an_edited_past_is_seen(engine: LocalEngine) -> None:
    asked = request("My order is late and nobody answers.")
    _, _, text = await turn(engine, asked)
    past = after(asked, text)
    edited = (replace(past[0], text="My order was quick, thank you!"), *past[1:])
    again = request("and now?", history=edited)
    _, warm, warm_text = await turn(engine, again)
    _, _, cold_text = await turn(engine, replace(again, key=BOB))
    assert "was quick" in warm.made["prompt_prefix"]
    assert "is late" not in warm.made["prompt_prefix"]
    assert warm_text == cold_text


DEEDS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["say", "say", "edit", "delete", "cut off", "roll back", "forget", "name"]),
        st.sampled_from(["hello", "Where is my parcel?", "太慢了", "ok 🙂"]),
    ),
    min_size=4,
    max_size=12,
)


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(deeds=DEEDS)
async def test_whatever_happened_a_warm_answer_is_the_cold_one(
    checkpoint: Path, book: PromptBook, deeds: list[tuple[str, str, str]]
) -> None:
    """Edits, deletions, /forget, cut-off replies, evictions: no stale cache changes an answer."""
    warm, cold = (Worker(chosen(checkpoint, kv_budget=2**18), book, Counters()) for _ in "wc")
    pasts: dict[str, tuple[Said, ...]] = {}
    names: dict[str, str] = {}
    for user, deed, text in deeds:
        past, key = pasts.get(user, ()), replace(KEY, user=user)
        asked = request(text, key=key, history=past, name=names.get(user, ""))
        if deed == "edit" and past:
            pasts[user] = (replace(past[0], text=f"{text}!"), *past[1:])
        elif deed == "delete" and past:
            pasts[user] = past[2:]
        elif deed == "forget":
            warm.drop(key)
            pasts.pop(user, None)
        elif deed == "name":
            names[user] = text
        elif deed in ("cut off", "roll back"):
            one = Turn(request=asked)
            whole(warm.start(one, tagged=deed == "cut off"))
            if deed == "roll back":
                warm.speak(one, Pieces(asyncio.get_running_loop()), Limits(), "calm", 1e12)
                warm.beat()
            warm.settle(one, kept=False)
        else:
            said = await spoken(warm, asked, key)
            cold.drop(key)
            assert said == await spoken(cold, asked, key)
            pasts[user] = after(asked, said)
    assert warm.kv_bytes <= 2**18 + warm.tags.kv_bytes


async def test_a_changed_reply_prompt_is_told_at_once(engine: LocalEngine, tmp_path: Path) -> None:
    asked = request("hello")
    _, first, text = await turn(engine, asked)
    (tmp_path / "reply.toml").write_text(GREEDY.replace("kind", "very wise"), encoding="utf-8")
    _, second, _ = await turn(engine, request("again", history=after(asked, text)))
    assert second.prompt != first.prompt
    assert "very wise" in second.made["prompt_prefix"]
    assert second.made["tokens_reused"] < 12


async def test_a_burst_is_one_turn_and_looks_the_same_as_history(engine: LocalEngine) -> None:
    asked = request("hello", "are you there?")
    _, first, text = await turn(engine, asked)
    assert first.made["prompt_prefix"].endswith("user\nhello\nare you there?")
    _, second, _ = await turn(engine, request("so?", history=after(asked, text)))
    assert second.made["prompt_prefix"].startswith(first.made["prompt_prefix"])


@pytest.mark.parametrize("steps", range(7))
async def test_a_cancel_at_any_step_is_as_if_it_had_never_been(worker: Worker, steps: int) -> None:
    asked = request("hello")
    first = await spoken(worker, asked)
    past = after(asked, first)
    expected = await spoken(worker, request("and now?", history=past), key=BOB)
    cut = Turn(request=request("never mind", history=past))
    whole(worker.start(cut, tagged=True))
    if steps:
        pieces = Pieces(asyncio.get_running_loop())
        worker.speak(cut, pieces, Limits(tokens=50), "upset", time.monotonic() + 60)
        for _ in range(steps - 1):
            worker.beat()
    before = cut.ids[: cut.turn_at]
    worker.settle(cut, kept=False)
    memory = worker._warm[KEY]
    assert memory.ids == before
    fresh = worker.model.memory()
    worker.model.grow(fresh, [], [before], keep=True)
    for (_, one), (_, other) in zip(memory.layers(0), fresh.layers(0), strict=True):
        assert float((one - other).abs().max()) < 1e-4
    assert not worker._speaking
    assert worker.running == 0
    assert await spoken(worker, request("and now?", history=past)) == expected


async def spoken(worker: Worker, asked: ReplyRequest, key: ConversationKey = KEY) -> str:
    """Run a whole turn step by step in this thread."""
    one = Turn(request=replace(asked, key=key))
    whole(worker.start(one, tagged=True))
    pieces = Pieces(asyncio.get_running_loop())
    worker.speak(one, pieces, Limits(tokens=10), "calm", time.monotonic() + 60)
    while worker.beat():
        pass
    worker.settle(one, kept=True)
    return "".join([piece async for piece in pieces])


async def test_settle_can_roll_back(engine: LocalEngine) -> None:
    asked = request("hello")
    _, _, text = await turn(engine, asked)
    before = engine._worker.warm()[KEY]
    again = request("and now?", history=after(asked, text))
    _, first, first_text = await turn(engine, again, kept=False)
    assert engine._worker.warm()[KEY] >= before
    _, second, second_text = await turn(engine, again, kept=False)
    assert first_text == second_text
    assert second.made["tokens_reused"] >= first.made["tokens_reused"]


async def test_conversations_side_by_side_equal_each_alone(engine: LocalEngine) -> None:
    one, other = request("hello"), request("Where is my parcel?", key=BOB)
    alone = [(await turn(engine, asked))[2] for asked in (one, other)]
    await engine.drop(KEY)
    await engine.drop(BOB)
    both = await asyncio.gather(turn(engine, one), turn(engine, other))
    assert [text for _, _, text in both] == alone


async def test_a_long_reply_keeps_nobody_waiting(engine: LocalEngine) -> None:
    """Who comes later and says less is done earlier; both take part in the same steps."""
    _, talker = await engine.tag_and_start(request("hello"))
    talking = asyncio.create_task(read(engine, talker, tokens=250))
    _, _, alone = await turn(engine, request("hello", key=BOB), kept=False)
    assert alone
    assert not talking.done()
    assert (await engine.tag_many(["太慢了"]))[0].probs
    assert not talking.done()
    before = engine.counters.forwards
    assert len(await talking) > len(alone)
    assert engine.counters.forwards - before <= 250


async def test_nobody_finds_anothers_past(engine: LocalEngine) -> None:
    await turn(engine, request("my secret is 4711"))
    _, started, _ = await turn(engine, request("my secret is", key=BOB))
    assert started.made["tokens_reused"] == 0
    assert "4711" not in started.made["prompt_prefix"]


async def test_the_mood_level_is_told_in_the_header_alone(engine: LocalEngine) -> None:
    started = await engine.start(request("hello", level="calm"))
    assert "upset" not in started.made["prompt_header"]
    text = await read(engine, started, level="upset")
    await engine.settle(started, kept=False)
    assert "The person is very upset." in started.made["prompt_header"]
    assert started.made["forwards"] == 2
    await engine.drop(KEY)
    told = await engine.start(request("hello", level="upset"))
    assert await read(engine, told, level="upset") == text
    assert told.made["prompt_prefix"] == started.made["prompt_prefix"]
    assert told.made["forwards"] == 1
    await engine.settle(told, kept=False)


async def test_slots_are_bounded_and_given_back(engine: LocalEngine) -> None:
    started = [await engine.start(request("hello", key=replace(KEY, user=u))) for u in "abcdefgh"]
    assert engine.capacity().free == 0
    with pytest.raises(EngineBusy):
        await engine.start(request("hello", key=replace(KEY, user="z")))
    assert len(await engine.tag_many(["an alarm never waits"])) == 1
    for one in started:
        await engine.cancel(one)
        await engine.cancel(one)
    assert engine.capacity().free == 8
    assert await read(engine, started[0]) == ""


async def test_a_start_that_nobody_waits_for_leaves_no_trace(engine: LocalEngine) -> None:
    waiting = asyncio.create_task(engine.start(request("hello")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await engine.tag_many(["x"])  # the queue is in order: what was posted before has run
    assert engine.capacity().running == 0


async def test_a_reader_who_leaves_stops_the_reply(engine: LocalEngine) -> None:
    started = await engine.start(request("hello"))
    stream = engine.continue_reply(started, Limits(tokens=4000, seconds=60), "calm")
    async for _ in stream:
        break
    await stream.aclose()
    await engine.cancel(started)
    assert engine.capacity().running == 0
    assert started.made["tokens"] < 4000


async def test_a_deadline_ends_a_reply(engine: LocalEngine) -> None:
    started = await engine.start(request("hello"))
    stream = engine.continue_reply(started, Limits(tokens=200, seconds=0.0), "calm")
    assert [piece async for piece in stream] == []
    assert started.made["ended"] == "deadline"
    await engine.settle(started, kept=True)


async def test_what_is_dropped_is_freed(engine: LocalEngine) -> None:
    await turn(engine, request("hello"))
    held = engine.capacity().kv_bytes
    await engine.drop(KEY)
    assert engine.capacity().kv_bytes < held
    started = await engine.start(request("hello"))
    await engine.drop(KEY)  # forgotten while a reply is being made
    await engine.settle(started, kept=True)
    assert engine._worker.warm() == {}


async def test_memory_stays_within_its_budget(checkpoint: Path) -> None:
    engine = LocalEngine(str(checkpoint), PromptBook(), kv_budget_mb=1)
    await engine.warm_up()
    for number in range(8):
        key = replace(KEY, user=str(number))
        await turn(engine, request("Where is my parcel? " * 20, key=key))
    held = engine._worker.warm()
    assert sum(memory.size for memory in engine._worker._warm.values()) <= 2**20
    assert 0 < len(held) < 8
    assert list(held)[-1].user == "7"
    await engine.close()


async def test_the_oldest_history_goes_first_and_in_jumps(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "reply.toml").write_text(GREEDY, encoding="utf-8")
    engine = LocalEngine(str(checkpoint), PromptBook(tmp_path), history_tokens=150)
    await engine.warm_up()
    history: tuple[Said, ...] = ()
    cold = 0
    for number in range(14):
        asked = request(f"number {number} is late", history=history)
        _, started, _ = await turn(engine, asked)
        shown = started.made["prompt_prefix"]
        assert shown.startswith("<|im_start|>system\nYou are a kind assistant.<|im_end|>")
        assert len(engine._worker.chat.encode(shown)) < 230
        assert f"number {number} is late" in shown
        cold += started.made["tokens_reused"] < 30
        history = after(asked, "I hear you.")
    assert "number 0 is" not in shown
    assert 2 <= cold <= 8  # the first turn, and once in a while when the window jumps
    await engine.close()


async def test_a_long_message_is_clipped_in_tokens(checkpoint: Path) -> None:
    engine = LocalEngine(str(checkpoint), PromptBook(), message_tokens=40)
    await engine.warm_up()
    tag = (await engine.tag_many(["太慢了 " * 500]))[0]
    assert tag.made["tokens_computed"] < 40 + 320
    assert "\ufffd" not in tag.made["prompt_prefix"]
    await engine.close()


# ---- the chat template --------------------------------------------------------------------


def test_the_chatml_rendering(worker: Worker) -> None:
    lines = [("user", "hello"), ("assistant", "Hi!"), ("user", "one"), ("user", "two")]
    whole = worker.chat.conversation("Be kind.", lines)
    assert whole.text == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nhello<|im_end|>\n"
        "<|im_start|>assistant\nHi!<|im_end|>\n"
        "<|im_start|>user\none\ntwo"
    )
    assert worker.chat.tokenizer.decode(whole.ids) == whole.text
    assert worker.chat.tokenizer.decode(whole.ids[whole.turn_at :]) == "one\ntwo"
    assert worker.chat.tail().text == "<|im_end|>\n<|im_start|>assistant\n"
    assert worker.chat.tail("Be short.", "It is").text == (
        "<|im_end|>\n<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>assistant\nIt is"
    )


async def test_a_template_without_system_role_gets_its_instructions_from_the_user(
    tmp_path: Path, book: PromptBook
) -> None:
    engine = LocalEngine(str(make_checkpoint(tmp_path / "m" / "x", template=STRICT)), book)
    await engine.warm_up()
    history = (Said(role="bot", text="Welcome!", at=0),)
    asked = request("hello", history=history, level="upset")
    tag, started, text = await turn(engine, asked)
    assert started.made["prompt_prefix"] == ("<|im_start|>user\nYou are a kind assistant.\n\nhello")
    assert started.made["prompt_header"].startswith("\n\n[The person is very upset.]<|im_end|>")
    assert "only names the polarity" in tag.made["prompt_suffix"]
    again = request("and now?", history=after(asked, text))
    _, second, _ = await turn(engine, again)
    assert second.made["tokens_reused"] > 0
    await engine.close()


def test_thinking_is_off_where_a_template_knows_it(worker: Worker) -> None:
    tokenizer = worker.chat.tokenizer
    tokenizer.chat_template += "{% if enable_thinking is false %}<think></think>{% endif %}"
    chat = Chat(tokenizer, "thinker", 512)
    assert chat.tail().text.endswith("<|im_start|>assistant\n<think></think>")


MARKS = st.sampled_from(
    ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|", "|>", "im_end", "system\n", "<", "|"]
)
_chats: dict[str, Chat] = {}


@given(st.one_of(st.text(), st.lists(st.one_of(MARKS, st.text(max_size=3))).map("".join)))
@hypothesis_settings(deadline=None, max_examples=150)
def test_what_people_write_never_becomes_an_instruction_token(said: str) -> None:
    chat = _chats["one"]
    specials = set(chat.tokenizer.all_special_ids)
    assert not specials & set(chat.encode(chat.plain(said)))
    lines = [
        ("user", chat.plain(said)),
        ("assistant", chat.plain(said)),
        ("user", chat.plain(said)),
    ]
    shown = chat.conversation("Be kind.", lines)
    assert sum(token in specials for token in shown.ids) <= 7


@pytest.fixture(scope="module", autouse=True)
def _one_chat(checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    _chats["one"] = Chat(AutoTokenizer.from_pretrained(checkpoint), "tiny-chat", 512)


# ---- trouble ------------------------------------------------------------------------------


async def test_a_fault_belongs_to_one_request(engine: LocalEngine) -> None:
    asked = request("hello")
    _, _, expected = await turn(engine, asked, kept=False)
    await engine.drop(KEY)

    def burst(*_: object) -> None:
        raise ValueError("burst pipe")

    sound, engine._worker.model._network.forward = engine._worker.model._network.forward, burst
    with pytest.raises(EngineFailed, match="ValueError: burst pipe"):
        await engine.tag_and_start(asked)
    with pytest.raises(EngineFailed):
        await engine.tag_many(["hello"])
    engine._worker.model._network.forward = sound
    assert engine.ready
    assert engine.capacity().running == 0
    assert len(await engine.tag_many(["hello"])) == 1
    _, started = await engine.tag_and_start(asked)
    sound, engine._worker.model._network.forward = engine._worker.model._network.forward, burst
    with pytest.raises(EngineFailed):
        await read(engine, started)
    engine._worker.model._network.forward = sound
    await engine.settle(started, kept=False)
    assert engine.capacity().running == 0
    assert (await turn(engine, asked))[2] == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_the_end_of_the_thread_reaches_everybody_who_waits(engine: LocalEngine) -> None:
    def die() -> None:
        raise SystemExit

    started = await engine.start(request("hello"))
    reading = asyncio.create_task(read(engine, started, tokens=250))
    waiting = [asyncio.create_task(engine._thread.ask(die))]
    waiting += [asyncio.create_task(engine.tag_many(["x"])) for _ in range(3)]
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
    assert all(isinstance(outcome, EngineFailed) for outcome in outcomes)
    await asyncio.wait([reading], timeout=PATIENCE)
    assert reading.done()
    reading.exception()
    await asyncio.to_thread(engine._thread._thread.join, PATIENCE)
    assert not engine.ready
    with pytest.raises(EngineFailed):
        await engine.tag_many(["x"])
    await engine.cancel(started)
    await engine.settle(started, kept=True)
    await engine.drop(KEY)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("trouble", ["dies", "hangs"])
async def test_a_thread_that_dies_or_hangs_is_replaced(
    checkpoint: Path, book: PromptBook, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_module, "STUCK", 1.5)
    monkeypatch.setattr(engine_module, "STUCK", 1.5)
    engine = LocalEngine(str(checkpoint), book, precision="fp32")
    await engine.warm_up()
    _, _, expected = await turn(engine, request("hello"), kept=False)
    _, started = await engine.tag_and_start(request("hello"))
    reading = asyncio.create_task(read(engine, started, tokens=4000))
    free = threading.Event()

    def break_down() -> None:
        if trouble == "dies":
            raise SystemExit
        free.wait(2 * PATIENCE)

    broken = engine._thread
    with pytest.raises(EngineFailed):
        await asyncio.wait_for(engine._thread.ask(break_down), PATIENCE)
    with pytest.raises(EngineFailed):
        await asyncio.wait_for(reading, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while not engine.ready:
            assert engine.mending or engine._thread is broken
            await asyncio.sleep(0.02)
    free.set()
    assert (engine.counters.restarts, engine.counters.loads) == (1, 2)
    await engine.settle(started, kept=True)  # its memory belongs to the thread that is gone
    assert engine._worker.warm() == {}
    assert engine.capacity().running == 0
    assert (await turn(engine, request("hello")))[2] == expected
    await asyncio.to_thread(broken._thread.join, PATIENCE)
    assert not broken._thread.is_alive()
    await engine.close()


async def test_numbers_out_of_range_are_no_tag_and_no_word(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is happy because a model overflowed: then the table has to hear."""
    network = engine._worker.model._network
    sound = network.forward
    with monkeypatch.context() as broken:
        broken.setattr(
            network, "forward", lambda *some: [logits * float("nan") for logits in sound(*some)]
        )
        with pytest.raises(EngineFailed, match="out of range"):
            await engine.tag_many(["hello"])
        with pytest.raises(EngineFailed, match="out of range"):
            await engine.tag_and_start(request("hello"))
    assert engine.capacity().running == 0
    assert engine._worker._turns == {}
    assert (await turn(engine, request("hello")))[2]


async def test_a_fault_in_a_task_gives_its_slot_back(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(engine._worker.tags, "ask", lambda _: 1 / 0)
        for user in "abcdefghijk":
            with pytest.raises(EngineFailed, match="ZeroDivisionError"):
                await engine.tag_and_start(request("hello", key=replace(KEY, user=user)))
    assert (await turn(engine, request("hello")))[2]


async def test_a_slow_machine_is_no_hung_one(
    checkpoint: Path, book: PromptBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forward may take long as long as its layers end."""
    monkeypatch.setattr(engine_module, "STUCK", 1.0)
    engine = LocalEngine(str(checkpoint), book, precision="fp32")
    await engine.warm_up()
    network = engine._worker.model._network
    layer = network._through
    monkeypatch.setattr(network, "_through", lambda *some: (time.sleep(0.6), layer(*some))[1])
    assert (await engine.tag_many(["hello"]))[0].probs  # two layers: longer than patience lasts
    assert (await engine.tag_many(["hello"]))[0].probs
    assert engine.counters.restarts == 0
    await engine.close()


async def test_closing_while_it_loads_leaves_nothing_behind(
    checkpoint: Path, book: PromptBook
) -> None:
    engine = LocalEngine(str(checkpoint), book)
    loading = asyncio.create_task(engine.warm_up())
    while engine._thread._state == "new":  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await engine.close()
    with pytest.raises(EngineFailed):
        await loading
    await asyncio.sleep(0.6)  # longer than between two looks
    assert not engine.ready
    assert engine._watch is None
    assert engine.counters.restarts == 0


async def test_of_a_flood_the_last_messages_are_answered(
    checkpoint: Path, book: PromptBook
) -> None:
    engine = LocalEngine(str(checkpoint), book, message_tokens=60)
    await engine.warm_up()
    flood = [f"message {n}: {'all of this is very long ' * 12}" for n in range(30)]
    started = await engine.start(request(*flood, "and my parcel?"))
    assert "and my parcel?" in started.made["prompt_prefix"]
    assert "message 29" in started.made["prompt_prefix"]
    assert "message 20" not in started.made["prompt_prefix"]
    await engine.cancel(started)
    await engine.close()


async def test_closing_ends_a_running_reply(checkpoint: Path, book: PromptBook) -> None:
    engine = LocalEngine(str(checkpoint), book)
    await engine.warm_up()
    started = await engine.start(request("hello"))
    stream = engine.continue_reply(started, Limits(tokens=8000, seconds=60), "calm")
    await engine.close()
    with pytest.raises(EngineFailed, match="in the middle of its work"):
        await anext(stream)
    assert not engine.ready


async def test_a_model_that_takes_no_tree_goes_one_after_the_other(
    tmp_path: Path, book: PromptBook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine = LocalEngine(str(make_checkpoint(tmp_path / "m" / "slider", sliding=16)), book)
    await engine.warm_up()
    assert not engine._worker.model.tree
    assert "the plain path: " in caplog.text
    asked = request("Where is my parcel?")
    tag, _, text = await turn(engine, asked)
    cold_tag, _, cold_text = await turn(engine, replace(asked, key=BOB))
    assert text == cold_text
    assert tag.probs == pytest.approx(cold_tag.probs, abs=1e-4)
    again = request("and now?", history=after(asked, text))
    _, warm, warm_text = await turn(engine, again)
    _, _, fresh_text = await turn(engine, replace(again, key=replace(KEY, user="eve")))
    assert warm_text == fresh_text
    assert warm.made["ended"] in ("stop", "tokens")
    await engine.close()


async def test_bf16_runs(checkpoint: Path, book: PromptBook) -> None:
    engine = LocalEngine(str(checkpoint), book, precision="bf16")
    await engine.warm_up()
    tag, _, text = await turn(engine, request("hello"))
    assert sum(tag.probs.values()) == pytest.approx(1)
    assert text
    assert engine._worker.model.kernels.dtype == torch.bfloat16
    await engine.close()


async def test_a_sampled_reply_can_be_made_again(checkpoint: Path) -> None:
    engine = LocalEngine(str(checkpoint), PromptBook())  # temperature 0.7
    await engine.warm_up()
    _, started, text = await turn(engine, request("hello"))
    _, again, same = await turn(engine, request("hello", key=BOB))
    assert text == same
    assert started.made["seed"] == again.made["seed"]
    assert started.made["sampling"]["temperature"] == 0.7
    await engine.close()


def test_the_next_token_is_picked_as_the_settings_say() -> None:
    logits = torch.tensor([1.0, 3.0, 2.9, -1.0])
    chance = torch.Generator().manual_seed(1)

    def drawn(said: tuple[int, ...] = (), **settings: float) -> set[int]:
        sampling = Sampling(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **settings})
        return {pick(logits, sampling, list(said), chance) for _ in range(300)}

    assert drawn(temperature=0) == {1}
    assert drawn((1,), temperature=0, repetition=1.3) == {2}
    assert drawn((3,), temperature=0, repetition=1.3) == {1}
    assert drawn(top_k=1) == {1}
    assert drawn(top_k=2) == {1, 2}
    assert drawn(top_p=0.01) == {1}
    assert drawn(top_p=0.8) == {1, 2}
    assert drawn(temperature=5) == {0, 1, 2, 3}
    assert logits.tolist() == pytest.approx([1.0, 3.0, 2.9, -1.0])  # nothing was changed


@pytest.mark.parametrize(
    "text", ["你好，我的订单在哪里？😀😀 ok", "a 😀 b " * 30, "plain words here"]
)
def test_text_is_handed_over_in_whole_characters(text: str) -> None:
    chat = _chats["one"]
    speech = Speech(chat.tokenizer, 0)
    ids = chat.encode(text)
    pieces = [speech.add(token) for token in ids]
    assert "".join(pieces) + speech.rest() == text
    assert not any("\ufffd" in piece for piece in pieces)
    unfinished = Speech(chat.tokenizer, 0)
    shown = [unfinished.add(token) for token in chat.encode("hi 😀")[:-1]]
    assert "".join(shown) + unfinished.rest() == "hi "


async def test_the_event_loop_stays_free_while_the_model_works(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m" / "wider", layers=4, hidden=256)
    engine = LocalEngine(str(folder), PromptBook())
    await engine.warm_up()
    lags: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before - 0.005)

    watching = asyncio.create_task(watch())
    before = time.thread_time(), time.process_time()
    keys = [replace(KEY, user=user) for user in "ab"]
    started = [await engine.start(request("Where is my parcel? " * 20, key=key)) for key in keys]
    await asyncio.gather(*(read(engine, one, tokens=150) for one in started))
    watching.cancel()
    loop, everything = time.thread_time() - before[0], time.process_time() - before[1]
    assert loop < everything / 2  # the work is done in another thread,
    assert len(lags) > 5
    lags.sort()
    assert lags[len(lags) // 2] < 0.05, lags[-5:]  # which does not keep Python to itself
    assert lags[-1] < 0.15 * (1 + os.getloadavg()[0] / 2), lags[-5:]
    await engine.close()
