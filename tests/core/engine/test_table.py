from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.engine.embedded.features import LIMIT, features
from core.engine.embedded.table import HEADS, Table, TableTagger, Weights
from core.engine.ports import Tagger
from core.errors import PromptError, SetupError
from core.message import Tagging
from core.triggers import match
from tests.yardstick import seconds


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.load()


def label(tag: Tagging) -> str:
    return max(tag.probs, key=lambda name: tag.probs[name])


def confidence(tag: Tagging) -> float:
    return max(tag.probs.values()) * (1 - tag.doubt)


def spiked(table: Table, tag: Tagging) -> bool:
    negative = tag.probs["negative"]
    loud = (tag.strong or 0.0) >= table.thresholds["strong"] and negative >= 0.7
    low = negative >= 0.9 and abs(tag.intensity or 0.0) >= 0.8
    return confidence(tag) >= 0.75 and (loud or low)


@pytest.mark.parametrize(
    "text",
    [
        "thanks, that fixed it, you are great!",
        "太好了,问题解决了,谢谢你们!",
        "this is not bad at all, I like it",
        "you're killing it guys!!",
        "holy shit this is amazing",
        "卧槽太牛了,爱了爱了",
        "¡muchas gracias, funciona perfecto!",
        "спасибо большое, всё работает!",
        "🎉🎉❤️",
    ],
)
def test_joy_and_thanks_are_positive(table: Table, text: str) -> None:
    tag = table.score([text])[0]
    assert label(tag) == "positive"
    assert tag.intensity is not None
    assert tag.intensity > 0


@pytest.mark.parametrize(
    "text",
    [
        (
            "unbelievable, you charged me twice AGAIN and nobody answers, I am furious, "
            "this is the worst service ever"
        ),
        "你们这是什么垃圾服务,骗钱的吧,气死我了!!!",
    ],
)
def test_fury_is_sure_strong_and_far_down(table: Table, text: str) -> None:
    tag = table.score([text])[0]
    assert tag.probs["negative"] >= 0.9
    assert confidence(tag) >= 0.75
    assert tag.strong is not None
    assert tag.strong >= table.thresholds["strong"]
    assert tag.intensity is not None
    assert tag.intensity <= -0.8


@pytest.mark.parametrize(
    "text",
    [
        "you thieves stole my money, I am absolutely livid!!!",
        "WHERE IS MY REFUND, you lying crooks, I have had ENOUGH",
        "一群骗子!!!马上把钱还给我!!!",
        "son unos ladrones, devuelvan mi dinero, estoy furioso!!!",
    ],
)
def test_fury_alone_is_a_spike(table: Table, text: str) -> None:
    assert spiked(table, table.score([text])[0])


@pytest.mark.parametrize(
    "text",
    [
        "my order arrived broken, can I get a refund",
        "the app is slow today",
        "I can't log in, it says wrong password",
        "还没发货,等了三天了",
        "有点失望,质量一般",
        "I don't like the new design",
        "the delivery is late again",
        "no me llegó el pedido",
    ],
)
def test_an_ordinary_complaint_is_no_spike(table: Table, text: str) -> None:
    assert not spiked(table, table.score([text])[0])


@pytest.mark.parametrize(
    "text",
    ["hello?", "你好", "how do I reset my password", "怎么重置密码", "hola", "привет", "在吗?"],
)
def test_greetings_and_plain_questions_are_neutral(table: Table, text: str) -> None:
    assert label(table.score([text])[0]) == "neutral"


@pytest.mark.parametrize("text", ["ok", "好的", "OK", "yes", "嗯", "vale", "ок"])
def test_a_nod_is_never_negative(table: Table, text: str) -> None:
    assert label(table.score([text])[0]) != "negative"


@pytest.mark.parametrize(
    "text",
    [
        "it's not working",
        "I am not happy with this",
        "not good",
        "一点都不好用",
        "oh great, it crashed again",
        "no funciona",
        "не работает",
    ],
)
def test_negation_and_failure_are_negative(table: Table, text: str) -> None:
    assert label(table.score([text])[0]) == "negative"


@pytest.mark.parametrize(
    "text",
    [
        "I want to talk to a human",
        "转人工",
        "can I speak to a real person please",
        "get me a manager",
        "我要找人工客服",
        "quiero hablar con una persona",
        "позовите оператора",
    ],
)
def test_asking_for_a_person_is_heard(table: Table, text: str) -> None:
    assert (table.score([text])[0].wants_human or 0) >= table.thresholds["wants_human"]


@pytest.mark.parametrize(
    "text",
    [
        "are you human?",
        "are you a real person?",
        "how do I reset my password",
        "你是机器人吗",
        "人工智能课几点上",
        "the human paladin class looks fun",
        "no need for a human, it works now",
        "hello",
    ],
)
def test_talk_about_people_is_no_request(table: Table, text: str) -> None:
    score = table.score([text])[0].wants_human or 0
    assert score < table.thresholds["wants_human"] or match(text).not_request


@pytest.mark.parametrize(
    "text",
    [
        "fix it or I'm switching to your competitor",
        "I will cancel my subscription if nobody helps",
        "再不解决我就注销账号",
        "我要换别家了",
    ],
)
def test_a_threat_to_leave_is_heard(table: Table, text: str) -> None:
    assert (table.score([text])[0].threat_to_leave or 0) >= table.thresholds["threat_to_leave"]


@pytest.mark.parametrize(
    "text",
    [
        "I'm leaving for lunch",
        "how do I leave a review?",
        "how do I cancel the trial",
        "我先走了,明天聊",
        "thanks, bye",
        "can I switch to dark mode",
    ],
)
def test_going_for_lunch_is_no_threat(table: Table, text: str) -> None:
    assert (table.score([text])[0].threat_to_leave or 0) < table.thresholds["threat_to_leave"]


def test_despair_is_told_from_figures_of_speech(table: Table) -> None:
    told = [tag.crisis or 0 for tag in table.score(["I want to kill myself", "我不想活了"])]
    said = [tag.crisis or 0 for tag in table.score(["my phone died", "笑死我了", "killing it!"])]
    assert min(told) > 0.5 > max(said)


@pytest.mark.parametrize("text", ["", "   ", "\0", "\0\0\0", "\u200b", "\n\t"])
def test_a_message_of_nothing_is_neutral_without_confidence(table: Table, text: str) -> None:
    tag = table.score([text])[0]
    assert label(tag) == "neutral"
    assert confidence(tag) == 0


@pytest.mark.parametrize(
    "text",
    ["\ud800", "a\ud800b\udfff", "x" * 100_000, "哈" * 100_000, "🤷" * 50_000, "é" * 9, "ก" * 50],
)
def test_strange_input_gives_a_sound_tag_that_starts_nothing(table: Table, text: str) -> None:
    tag = table.score([text])[0]
    assert math.isclose(sum(tag.probs.values()), 1.0, abs_tol=1e-5)
    assert 0 <= tag.doubt <= 1
    assert not spiked(table, tag)
    for head in HEADS:
        assert 0 <= getattr(tag, head) <= 1


def test_an_unknown_script_raises_doubt(table: Table) -> None:
    known, unknown = table.score(["where is my order", "คำสั่งซื้อของฉันอยู่ที่ไหน"])
    assert unknown.doubt > 0.6
    assert known.doubt < 0.2


def test_emoji_alone_are_heard_without_a_request_or_threat(table: Table) -> None:
    tag = table.score(["🎉🎉🎉"])[0]
    assert (tag.wants_human or 0) < table.thresholds["wants_human"]
    assert (tag.threat_to_leave or 0) < table.thresholds["threat_to_leave"]


def test_only_the_ends_of_a_very_long_message_are_read(table: Table) -> None:
    long = "please help " * 10_000 + "you thieves"
    assert len(features(long).hashes) < 6 * LIMIT
    assert table.score([long])[0].probs != table.score(["please help " * 10_000])[0].probs


def test_a_batch_gives_what_each_message_gives_alone(table: Table) -> None:
    texts = ["hello", "", "这是什么垃圾", "thank you!", "\ud800", "转人工"] * 150
    together = table.score(texts)
    for text, tag in zip(texts[:6], together[:6], strict=True):
        alone = table.score([text])[0]
        assert alone.probs == pytest.approx(dict(tag.probs), abs=1e-5)
        assert alone.intensity == pytest.approx(tag.intensity, abs=1e-5)
    assert together[-1].probs == pytest.approx(dict(together[5].probs), abs=1e-5)
    assert table.score([]) == []


def test_a_feature_is_the_same_number_in_every_process() -> None:
    text = "I am NOT happy!!! 这个不好用 🎉"
    code = (
        "from core.engine.embedded.features import features;"
        f"f=features({text!r});print(int(f.hashes.astype('u8').sum()))"
    )
    root = Path(__file__).parents[3]
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert int(told.stdout) == int(features(text).hashes.astype("u8").sum())


def test_negation_marks_the_words_in_its_reach() -> None:
    names = set(features("not a good day. good night", named=True).names)
    assert "n:good" in names
    assert "n:night" not in names


def test_explain_names_the_words_that_decided(table: Table) -> None:
    told = table.explain("this is terrible", top=5)
    assert set(told) >= {"negative", "positive", "strong", "wants_human"}
    assert all(len(found) <= 5 for found in told.values())
    assert any("terr" in entry["feature"] for entry in told["negative"])
    assert all(not found for found in table.explain("").values())


def test_tags_are_fast(table: Table) -> None:
    texts = [
        f"my order {i} has not arrived and I would like to know why, please" for i in range(200)
    ]
    assert seconds(lambda: table.score(texts)) / len(texts) < 0.001
    assert seconds(lambda: table.score(texts[:1])) < 0.005


def test_the_table_is_small_and_loads_at_once() -> None:
    path = Path(sys.modules[Table.__module__].__file__ or "").with_name("table.npz")
    assert path.stat().st_size <= 4_000_000
    assert seconds(lambda: Table.load(path)) < 0.15


def test_a_file_that_is_no_table_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    path.write_bytes(b"not a table")
    with pytest.raises(SetupError, match=r"table\.npz cannot be read"):
        Table.load(path)
    with pytest.raises(SetupError, match="cannot be read"):
        Table.load(tmp_path / "missing.npz")


def test_weights_survive_the_file(table: Table) -> None:
    some = replace(table.weights, matrix=table.weights.matrix[:, :4096], reader=None)
    again = Weights.read(some.write())
    assert np.array_equal(again.matrix, some.matrix)
    assert again.write() == some.write()
    assert dict(again.thresholds) == dict(table.thresholds)
    assert table.score(["hello"]) == table.score(["hello"])
    assert {"strong", "wants_human", "threat_to_leave"} <= set(again.thresholds)


async def test_the_tagger_knows_two_tasks_and_says_so(table: Table) -> None:
    tagger: Tagger = TableTagger(table)
    assert tagger.name == "embedded"
    tags = await tagger.tag_many(["thank you so much", "你好"], task="sentiment")
    assert [label(tag) for tag in tags] == ["positive", "neutral"]
    assert tags[0].instrument.startswith("embedded@")
    assert len(tags[0].instrument) == len("embedded@") + 8
    with pytest.raises(PromptError, match="knows sentiment and emotion, not intent"):
        await tagger.tag_many(["x"], task="intent")


def test_tagging_imports_no_heavy_library() -> None:
    code = (
        "import sys; from core.engine.embedded.table import Table; Table.load().score(['hi']);"
        "print([m for m in ('torch','scipy','sklearn','transformers') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert told.stdout.strip() == "[]"
