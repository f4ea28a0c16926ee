"""Examples of a task: shown where the message is asked about alone, never in a conversation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from core.engine.local import LocalEngine
from core.engine.ports import ReplyRequest
from core.engine.remote import RemoteEngine
from core.message import ConversationKey
from core.prompts import PromptBook
from tests.checkpoints import make_checkpoint
from tests.fakes.openai import OpenAIFake

OPENED = """
stands = "suffix"
instruction = "Name the feeling."
opening = "It is:\\n"
labels = ["negative", "positive"]
[[examples]]
text = "thank you"
label = "positive"
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny-chat")


def test_the_packaged_examples_are_balanced_and_few() -> None:
    task = PromptBook().task("sentiment")
    assert Counter(one.label for one in task.examples) == dict.fromkeys(task.labels, 2)
    assert sum(len(one.text.encode()) for one in task.examples) < 300


async def test_a_local_model_is_shown_them_alone_and_in_bulk(checkpoint: Path) -> None:
    book = PromptBook()
    engine = LocalEngine(str(checkpoint), book, precision="fp32", threads=1)
    await engine.warm_up()
    try:
        alone = await engine.tag_many(["hello"])
        bulk = await engine.tag_many(["hello", "hello"])
        key = ConversationKey(platform="web", bot="heed", chat="1", user="ada")
        asked = ReplyRequest(key=key, history=(), messages=("hello",))
        branch, started = await engine.tag_and_start(asked)
        await engine.cancel(started)
    finally:
        await engine.close()
    for tag in (*alone, *bulk):
        shown = [tag.made["prompt_prefix"].find(one.text) for one in book.task().examples]
        assert -1 not in shown
        assert shown == sorted(shown)
    assert bulk[1].probs == pytest.approx(alone[0].probs, abs=1e-4)
    prompt = branch.made["prompt_prefix"] + branch.made["prompt_suffix"]
    assert not any(one.text in prompt for one in book.task().examples)


async def test_an_example_reads_as_the_answer_that_is_asked_for(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "sentiment.toml").write_text(OPENED, encoding="utf-8")
    engine = LocalEngine(str(checkpoint), PromptBook(tmp_path), precision="fp32", threads=1)
    await engine.warm_up()
    try:
        [tag] = await engine.tag_many(["hello"])
    finally:
        await engine.close()
    assert "assistant\nIt is:\npositive<|im_end|>" in tag.made["prompt_prefix"]
    assert tag.made["prompt_suffix"].endswith("assistant\nIt is:\n")


async def test_a_server_is_shown_them_as_turns() -> None:
    book = PromptBook()
    async with OpenAIFake() as fake:
        engine = RemoteEngine(fake.url, book)
        await engine.warm_up()
        await engine.tag_many(["hello"])
        await engine.close()
        lines = fake.chats()[-1].messages
    shown = [(one.text, one.label) for one in book.task().examples]
    said = [line["content"] for line in lines[1:-1]]
    assert list(zip(said[::2], said[1::2], strict=True)) == shown
    assert lines[-1] == {"role": "user", "content": "hello"}
