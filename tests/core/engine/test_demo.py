"""The demo model: an ordinary checkpoint, trained for seconds here, that goes the whole way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.engine import files
from core.engine.demo import make_demo
from core.engine.demo.lines import Line, read_lines
from core.engine.demo.make import learn_tokenizer
from core.engine.demo.rows import Asking, Lesson, Pool, Row
from core.engine.demo.tokenizer import END
from core.engine.demo.train import Shape, batches, label_rows, make_model, train
from core.engine.local import LocalEngine
from core.engine.local.chat import Chat
from core.engine.ports import Limits, ReplyRequest
from core.errors import SetupError
from core.message import ConversationKey, Said
from core.prompts import PromptBook

TINY = Shape(vocabulary=1200, hidden=64, inner=128, layers=1, heads=2, kv_heads=1)
KEY = ConversationKey(platform="terminal", bot="heed", chat="1", user="1")
FEW = (
    Line(text="this is wonderful, thank you", lang="en", label="positive", calm="Glad to hear it."),
    Line(text="terrible, it broke again", lang="en", label="negative", calm="I am sorry."),
    Line(text="太棒了", lang="zh", label="positive", calm="真好。"),
    Line(text="太糟糕了", lang="zh", label="negative", calm="很抱歉。"),
    Line(text="where is the shop?", lang="en", label="neutral", intent="question", emotion="calm"),
    Line(text="周一开门", lang="zh", label="neutral", intent="chats", emotion="calm"),
)


class Ticks:
    """A clock that goes on by one second at each look: as many steps on any machine."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # rows this small are slower on two
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("models") / "demo"
    told.append(make_demo(folder, seconds=8, tell=told.append, shape=TINY, clock=Ticks()))
    return folder


@pytest.fixture(scope="module")
def asking() -> Asking:
    prompts = PromptBook()
    return Asking(learn_tokenizer(FEW, prompts, 900), prompts)


# ---- the folder ---------------------------------------------------------------------------


@pytest.mark.proof
def test_it_is_an_ordinary_checkpoint_that_says_it_is_a_demo(demo: Path) -> None:
    assert files.problem(demo) is None
    assert files.is_demo(demo)
    config = json.loads((demo / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "qwen2"
    assert [path.name for path in demo.parent.iterdir()] == ["demo"]


@pytest.mark.proof
def test_it_says_what_it_learnt_and_what_to_do_next(demo: Path, told: list[str]) -> None:
    assert f"HEED_MODEL__NAME={demo} heed run" in told[-1]
    assert any("never seen, alone" in line and "% right" in line for line in told)
    assert any(line.startswith("hello -> ") for line in told)


@pytest.mark.proof
async def test_the_local_engine_tags_and_answers_with_it(demo: Path) -> None:
    engine = LocalEngine(str(demo), PromptBook(), threads=1, precision="fp32")
    await engine.warm_up()
    try:
        assert engine.demo
        for task in ("sentiment", "intent", "emotion"):
            (tagging,) = await engine.tag_many(["thank you, 谢谢"], task)
            assert sum(tagging.probs.values()) == pytest.approx(1)
        before = (Said(role="user", text="hello", at=0.0), Said(role="bot", text="Hello.", at=1.0))
        request = ReplyRequest(key=KEY, history=before, messages=("where is it?",))
        tagging, started = await engine.tag_and_start(request)
        assert set(tagging.probs) == {"negative", "neutral", "positive"}
        text = "".join(
            [part async for part in engine.continue_reply(started, Limits(tokens=8), "calm")]
        )
        assert text
        await engine.settle(started, kept=True)
    finally:
        await engine.close()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SetupError, match="is not empty: give the demo model a new folder"):
        make_demo(tmp_path, seconds=1)
    with pytest.raises(SetupError, match="is not empty"):
        make_demo(tmp_path / "mine.txt", seconds=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_training_that_is_broken_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    (tmp_path / "demo").mkdir()
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo", seconds=1, tell=stop, shape=TINY)
    assert list(tmp_path.rglob("*")) == [tmp_path / "demo"]


# ---- what it learns from ------------------------------------------------------------------


@pytest.mark.proof
def test_lines_kept_out_are_never_learnt_from() -> None:
    learnt, kept = read_lines()
    assert {line.lang for line in learnt} == {line.lang for line in kept} == {"en", "zh"}
    assert len(kept) >= 300
    assert all(line.label for line in kept)
    said = {line.text.casefold() for line in learnt}
    assert not said & {line.text.casefold() for line in kept}


def test_rows_are_what_the_local_engine_asks(asking: Asking) -> None:
    prompts = PromptBook()
    chat = Chat(learn_tokenizer(FEW, prompts, 900), "demo", 512)
    system, line = prompts.reply().render("Ada"), FEW[0]
    whole = chat.conversation(
        system, [("user", line.text), ("assistant", line.calm), ("user", "太棒了")]
    )
    assert [
        *asking.system("Ada"), *asking.exchange(line), *asking.words("太棒了")
    ] == whole.ids  # fmt: skip
    for task in map(prompts.task, prompts.names()):
        assert asking.suffix(task.name, alone=False) == chat.tail(task.instruction).ids
        assert asking.suffix(task.name, alone=True) == chat.tail().ids
        assert all(len(asking.words(label)) == 1 for label in task.labels)


def test_only_answers_are_learnt(asking: Asking) -> None:
    answers = {"Glad to hear it.", "I am sorry.", "真好。", "很抱歉。"}
    labels = {label for task in asking.tasks.values() for label in task.labels}
    seen = set()
    for pool in Lesson(asking, FEW, 0).pools(40):
        for row in pool.rows:
            ids = [token for token, learnt in zip(row.ids, row.learnt, strict=True) if learnt]
            seen.add(asking.tokenizer.decode(ids))
    assert seen - labels <= {f"{text}{END}" for text in answers} | {END}
    assert {"positive", "negative", "neutral", "question", f"很抱歉。{END}"} <= seen


# ---- how it learns ------------------------------------------------------------------------


def test_the_same_lines_make_the_same_tokenizer() -> None:
    def made(lines: Sequence[Line]) -> str:
        return learn_tokenizer(lines, PromptBook(), 900).backend_tokenizer.to_str()

    assert made(FEW) == made(FEW)
    assert made(FEW) != made(FEW[:2])


def test_the_same_seed_and_steps_make_the_same_model(asking: Asking) -> None:
    import torch

    def made(seed: int) -> torch.Tensor:
        model, left = make_model(asking.tokenizer, TINY, seed), iter([9.0, 9.0, 9.0, 0.0])
        course = batches(Lesson(asking, FEW, seed), seed, tokens=200)
        steps = train(model, course, lambda _: None, lambda: next(left))
        assert steps == 3
        return torch.cat([weight.flatten() for weight in model.parameters()])

    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))


def test_a_few_lines_are_learnt_by_heart(asking: Asking) -> None:
    model, end = make_model(asking.tokenizer, TINY, 0), asking.suffix("sentiment", alone=True)
    asked = [asking.words(line.text) + end for line in FEW]
    answers = [asking.words(line.label)[0] for line in FEW]
    rows = [
        Row([*ids, answer], [False] * len(ids) + [True])
        for ids, answer in zip(asked, answers, strict=True)
    ]
    prefix, told = asking.prefixes["sentiment"], list[str]()
    rest = iter(range(2000, 0, -10))
    train(model, [Pool(prefix, rows)] * 150, told.append, lambda: next(rest))
    assert label_rows(model, prefix, asked, sorted(set(answers))) == [
        sorted(set(answers)).index(answer) for answer in answers
    ]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told]
    assert len(losses) == 150
    assert losses[-1] < losses[0] / 2


def test_batches_are_rows_of_like_length(asking: Asking) -> None:
    course = batches(Lesson(asking, FEW, 0), 0, tokens=400)
    for _ in range(20):
        lengths = [len(row.ids) for row in next(course).rows]
        assert lengths == sorted(lengths)
        assert len(lengths) * lengths[-1] <= 400
