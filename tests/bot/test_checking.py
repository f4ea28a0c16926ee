"""`heed model check`: what passes, what fails and why, with every kind of model."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.checking import NEEDED, check, lines
from bot.settings import Model, Prompts, Settings
from core.engine.embedded.language import language
from core.errors import SetupError
from tests.checkpoints import make_checkpoint
from tests.fakes.openai import Messages, OpenAIFake

ROOT = Path(__file__).parents[2]
RIGHT = {line.text: line.labels[0] for line in lines()}
SPOKEN = {line.text: line.lang for line in lines()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny-chat", demo=True)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings(model=Model(name="embedded", threads=1, reply_seconds=5))


def run(settings: Settings, name: str | None = None) -> tuple[int, str]:
    told: list[str] = []
    return check(settings, name, told.append), "\n".join(told)


def rows(settings: Settings, name: str | None = None) -> tuple[int, list[dict[str, Any]]]:
    told: list[str] = []
    code = check(settings, name, told.append, as_json=True)
    return code, [json.loads(row) for row in told]


def heard(text: str, label: str = "") -> Mapping[str, float]:
    return {label or RIGHT[text]: 0.9, "well": 0.1}


def said(messages: Messages) -> Iterable[str]:
    """Answer in the language of the last line, and with another sentence each time."""
    last = messages[-1]["content"]
    if SPOKEN.get(last) == "zh":
        return ["我听到了", "，请告诉我", "更多一点。"]
    return ["I hear you. ", f"Tell me more about {len(last)}."]


async def asked(settings: Settings, fake: OpenAIFake) -> tuple[int, list[dict[str, Any]]]:
    async with fake:
        return await asyncio.to_thread(rows, settings, fake.url)


# -- the lines -----------------------------------------------------------------------------------


def test_there_are_twenty_lines_in_two_languages_with_labels_that_exist() -> None:
    all_of_them = lines()
    assert len(all_of_them) == len(RIGHT) == 20
    assert {label for one in all_of_them for label in one.labels} == {
        "negative",
        "neutral",
        "positive",
    }
    spoken = Counter(one.lang for one in all_of_them)
    assert spoken["en"] >= 8
    assert spoken["zh"] >= 8
    assert all(language(one.text) == one.lang for one in all_of_them if one.lang != "any")


@pytest.mark.parametrize("label", ["negative", "neutral", "positive"])
def test_a_model_that_always_says_the_same_does_not_pass(label: str) -> None:
    assert sum(label in one.labels for one in lines()) < NEEDED


def test_a_second_turn_follows_a_line_in_its_own_language() -> None:
    all_of_them = lines()
    pairs = [(all_of_them[at - 1], one) for at, one in enumerate(all_of_them) if one.follows]
    assert [one.lang for _, one in pairs] == ["en", "zh"]
    assert all(first.lang == second.lang and not first.follows for first, second in pairs)


# -- without a model -----------------------------------------------------------------------------


def test_the_table_and_the_phrase_book_are_good_enough(settings: Settings) -> None:
    code, told = run(settings)
    assert code == 0
    assert "good enough, exit code 0" in told
    assert "One prompt tags here" in told
    assert all(line.text in told for line in lines())


def test_a_task_of_the_operators_does_not_change_what_is_checked(settings: Settings) -> None:
    other = settings.model_copy(update={"prompts": Prompts(tag="intent")})
    assert rows(other)[1][0]["label"] == rows(settings)[1][0]["label"]


def test_the_command_shows_it_on_a_terminal_of_plain_ascii(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}  # noqa: TID251
    command = [sys.executable, "-m", "bot", "model", "check", "embedded"]
    done = subprocess.run(  # noqa: S603
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "exit code 0" in done.stdout
    assert done.stdout.isascii()
    assert "\\u4f60\\u597d" in done.stdout


# -- a model of this machine ---------------------------------------------------------------------


def test_random_weights_fail_and_their_lines_say_why(settings: Settings, checkpoint: Path) -> None:
    code, told = run(settings, str(checkpoint))
    assert code == 1
    assert "Passed 0 of 20; 16 are needed: not good enough, exit code 1." in told
    assert "tiny-chat is a demo model: its words mean nothing" in told
    assert told.count("of the probability lies outside the labels") == 20
    assert told.count("FAIL") == 20
    assert "Both prompts give the same label on " in told


def test_both_prompts_are_read_and_the_second_turn_finds_the_first_one_warm(
    settings: Settings, checkpoint: Path
) -> None:
    code, [*each, summary] = rows(settings, str(checkpoint))
    assert code == 1
    assert all(row["alone"] in {"negative", "neutral", "positive"} for row in each)
    agree = sum(row["alone"] == row["label"] for row in each)
    assert (summary["agree"], summary["compared"]) == (agree, 20)
    second = [at for at, row in enumerate(each) if row["second_turn"]]
    assert len(second) == 2
    for at in second:
        assert each[at]["tokens_reused"] > max(100, each[at - 1]["tokens_reused"])
    assert not any("computed anew" in why for row in each for why in row["wrong"])
    assert summary["second_turns_reused"] == [each[at]["tokens_reused"] for at in second]
    assert all(0 <= row["first_ms"] <= row["reply_ms"] for row in each)


def test_a_model_that_is_not_here_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(SetupError, match="`heed model pull nobody/nothing` fetches it"):
        run(settings, "nobody/nothing")


def test_a_folder_that_is_not_here_says_so(settings: Settings) -> None:
    with pytest.raises(SetupError, match="does not exist"):
        run(settings, "./nowhere")


# -- a server ------------------------------------------------------------------------------------


async def test_a_model_that_hears_and_answers_well_passes(settings: Settings) -> None:
    code, [*each, summary] = await asked(settings, OpenAIFake(said, heard))
    assert [row["wrong"] for row in each] == [[]] * 20
    assert code == 0
    assert (summary["passed"], summary["ok"], summary["compared"]) == (20, True, 0)
    assert each[0]["doubt"] == pytest.approx(0.1)
    assert (each[0]["tokens_computed"], each[0]["tokens_reused"]) == (38, 12)


async def test_the_second_turn_is_asked_with_the_first_before_it(settings: Settings) -> None:
    fake = OpenAIFake(said, heard)
    await asked(settings, fake)
    spoken = [one.messages for one in fake.chats() if one.body.get("stream")]
    first, second, third = (messages[1:] for messages in spoken[:3])
    texts = list(RIGHT)
    assert [line["content"] for line in first] == texts[:1]
    assert [line["content"] for line in second] == [texts[0], "".join(said(first)), texts[1]]
    assert [line["content"] for line in third] == [texts[2]]


@pytest.mark.parametrize(("wrong", "code"), [(4, 0), (5, 1)])
async def test_sixteen_of_twenty_are_enough(settings: Settings, wrong: int, code: int) -> None:
    bad = [line.text for line in lines() if "positive" not in line.labels][:wrong]
    fake = OpenAIFake(said, lambda text: heard(text, "positive" if text in bad else ""))
    found, [*each, summary] = await asked(settings, fake)
    assert found == code
    assert summary["passed"] == 20 - wrong
    assert {row["text"] for row in each if not row["passed"]} == set(bad)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ([""], "the reply is empty"),
        (["Sure.<|im_end|>"], "the reply shows tokens of the chat template"),
        (["<think>What now?", "</think> Sure."], "the reply shows tokens of the chat template"),
        (["Пожалуйста, расскажите подробнее."], "the reply is not written as the line is (en)"),
        (["好的，请告诉我更多。"], "the reply is not written as the line is (en)"),
        (["Yes. Yes, of course. Yes, of course. ", "Yes, of course."], "repeats itself"),
        (["Answer in the language the person ", "writes in. Be warm, plain and short."],
         "the reply repeats its instructions"),
        (["So \ufffd it is."], "the reply holds broken characters"),
    ],
)  # fmt: skip
async def test_a_bad_reply_is_named(settings: Settings, reply: list[str], why: str) -> None:
    code, [first, *_] = await asked(settings, OpenAIFake(lambda _: reply, heard))
    assert code == 1
    assert len(first["wrong"]) == 1
    assert why in first["wrong"][0]


async def test_an_english_answer_to_a_chinese_line_fails(settings: Settings) -> None:
    code, [*each, _] = await asked(settings, OpenAIFake(lambda _: ["I hear you."], heard))
    assert code == 1
    assert {SPOKEN[row["text"]] for row in each if not row["passed"]} == {"zh"}


async def test_labels_that_share_their_chance_with_other_words_fail(settings: Settings) -> None:
    fake = OpenAIFake(said, lambda text: {RIGHT[text]: 0.4, "well": 0.6})
    code, [*each, _] = await asked(settings, fake)
    assert code == 1
    assert {why for row in each for why in row["wrong"]} == {
        "60 % of the probability lies outside the labels"
    }


async def test_a_failure_spoils_its_own_line_only(settings: Settings) -> None:
    fake = OpenAIFake(said, heard)
    fake.fail("status", status=500, count=1)
    code, [*each, summary] = await asked(settings, fake)
    assert code == 0
    assert [row["passed"] for row in each] == [False, *[True] * 19]
    assert summary["passed"] == 19


async def test_a_server_that_asks_to_wait_is_asked_again(settings: Settings) -> None:
    fake = OpenAIFake(said, heard)
    fake.fail("status", status=429, headers={"Retry-After": "1"})
    code, [*_, summary] = await asked(settings, fake)
    assert (code, summary["passed"]) == (0, 20)


async def test_a_reply_without_an_end_is_cut_and_told(settings: Settings) -> None:
    short = settings.model_copy(update={"model": Model(name="embedded", reply_seconds=0.1)})
    fake = OpenAIFake(lambda _: [f"word {n} " for n in range(30)], heard, pace=0.01)
    code, [*each, _] = await asked(short, fake)
    assert code == 1
    assert any("the reply did not end in 0.1 s" in why for row in each for why in row["wrong"])
