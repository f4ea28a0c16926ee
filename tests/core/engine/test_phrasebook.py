from __future__ import annotations

import asyncio
import re
import tomllib
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from core.engine.embedded.book import Book
from core.engine.embedded.phrasebook import SLOTS, PhraseWriter
from core.engine.ports import Limits, ReplyRequest, Started, Writer
from core.errors import EngineBusy, SetupError
from core.message import ConversationKey, Level, Said, Scores

KEY = ConversationKey(platform="web", bot="heed", chat="1", user="maya")
CHEERFUL = re.compile(
    r"[!！]|\U0001f600|congrat|well done|lovely to hear|good to hear|glad that|恭喜|真好|好消息"
)


@pytest.fixture(scope="module")
def writer() -> PhraseWriter:
    return PhraseWriter()


def request(
    *texts: str,
    level: Level = "calm",
    lang: str = "und",
    name: str = "",
    history: tuple[Said, ...] = (),
    scores: Scores | None = None,
) -> ReplyRequest:
    return ReplyRequest(
        key=KEY,
        history=history,
        messages=texts,
        level=level,
        lang=lang,
        name=name,
        scores=scores,
    )


async def say(writer: PhraseWriter, wanted: ReplyRequest) -> tuple[str, Started]:
    started = await writer.start(wanted)
    pieces = [piece async for piece in writer.continue_reply(started, Limits(), wanted.level)]
    await writer.settle(started, kept=True)
    return "".join(pieces), started


async def talk(writer: PhraseWriter, *lines: str, level: Level = "calm") -> list[str]:
    """Write the lines one after the other and return the bot's answers."""
    history: tuple[Said, ...] = ()
    answers = []
    for at, line in enumerate(lines):
        answer, _ = await say(writer, request(line, level=level, history=history))
        answers.append(answer)
        history += (
            Said(role="user", text=line, at=float(at)),
            Said(role="bot", text=answer, at=float(at)),
        )
    return answers


def negative() -> Scores:
    return Scores(
        label="negative",
        probs={"negative": 0.9, "neutral": 0.08, "positive": 0.02},
        p_negative=0.9,
        p_positive=0.02,
        intensity=-0.8,
        confidence=0.8,
        strong=0.4,
        wants_human=0.0,
        threat_to_leave=0.0,
        crisis=0.0,
        lang="en",
        instrument="embedded",
    )


def books() -> dict[str, dict[str, dict[str, object]]]:
    folder = resources.files("core.engine.embedded") / "phrases"
    return {
        lang: tomllib.loads((folder / f"{lang}.toml").read_text("utf-8"))
        for lang in ("en", "zh", "es", "ru")
    }


# ------------------------------------------------------------------ conversations


async def test_a_parcel_that_is_late_is_asked_for_once_and_then_kept(writer: PhraseWriter) -> None:
    asked, kept, again = await talk(
        writer, "hello, my parcel still has not come", "the number is 48213-77", "anything else?"
    )
    assert "order number" in asked
    assert "order number" not in kept
    assert "kept" in kept
    assert "human" in kept
    assert again not in (asked, kept)


async def test_somebody_without_the_number_is_not_asked_again(writer: PhraseWriter) -> None:
    _, kept = await talk(writer, "i want a refund", "I don't have the order number")
    assert "order number" not in kept
    assert "human" in kept


async def test_a_chinese_order_number_is_kept(writer: PhraseWriter) -> None:
    asked, kept = await talk(writer, "我的快递怎么还没到", "单号是SF123456789")
    assert "订单号" in asked
    assert "订单号" not in kept
    assert "人工" in kept


async def test_a_new_matter_is_heard_though_the_last_one_was_a_question(
    writer: PhraseWriter,
) -> None:
    _, second = await talk(writer, "my package is late", "and I forgot my password too")
    assert "password" in second


async def test_a_name_is_used_in_a_greeting_and_never_an_odd_one(writer: PhraseWriter) -> None:
    assert "Maya" in (await say(writer, request("hello", name="Maya")))[0]
    assert "小明" in (await say(writer, request("你好", name="小明")))[0]
    for odd in ("http://x.y", "<|im_start|>", "a" * 60, "ban {name}", "line\nbreak7"):
        answer, _ = await say(writer, request("hello", name=odd))
        assert odd not in answer
        assert "{" not in answer


async def test_after_grief_a_short_thanks_gets_nothing_cheerful(writer: PhraseWriter) -> None:
    answers = await talk(writer, "my grandmother passed away last night", "thank you", "ok", "haha")
    assert "loss" in answers[0] or "sorry" in answers[0]
    assert not any(CHEERFUL.search(answer.lower()) for answer in answers[:3])


async def test_grief_said_in_a_burst_goes_before_everything_else(writer: PhraseWriter) -> None:
    _, started = await say(writer, request("hi!!", "my dog died today", "also where is my order"))
    assert started.made["source"] == "phrase: bereavement"


async def test_no_answer_comes_twice_in_a_row(writer: PhraseWriter) -> None:
    for line in ("hello", "what?", "my order is late", "谢谢", "你们太垃圾了", "zzz yyy", "hola"):
        for level in ("calm", "tense", "upset"):
            answers = await talk(writer, *[line] * 5, level=level)
            assert all(a != b for a, b in pairwise(answers)), line


async def test_the_same_conversation_gets_the_same_answer(writer: PhraseWriter) -> None:
    assert (await say(writer, request("hello")))[0] == (
        await say(PhraseWriter(), request("hello"))
    )[0]


async def test_words_of_thanks_that_sound_unhappy_are_not_taken_as_praise(
    writer: PhraseWriter,
) -> None:
    line = "what an amazing service, three weeks and nothing"
    answer, _ = await say(writer, request(line, scores=negative()))
    assert "glad" not in answer.lower()


# ------------------------------------------------------------------ mood


@pytest.mark.parametrize("level", ["tense", "upset"])
@pytest.mark.parametrize(
    "line",
    [
        "where is my order", "tell me a joke", "ok", "haha", "i got the job", "what is the price",
        "讲个笑话", "我要退款", "好的", "多少钱", "dónde está mi pedido", "где мой заказ",
    ],
)  # fmt: skip
async def test_somebody_tense_is_offered_a_person_without_jokes_or_exclamations(
    writer: PhraseWriter, line: str, level: Level
) -> None:
    answer, started = await say(writer, request(line, level=level))
    assert re.search("human|人工|humano|человек", answer), answer
    assert not re.search("[!！]", answer)
    assert "walks into a bar" not in answer
    assert started.made["engine"] == "table and phrase book, no prompt"


async def test_a_level_that_changed_meanwhile_changes_the_answer(writer: PhraseWriter) -> None:
    started = await writer.start(request("where is my order"))
    pieces = [piece async for piece in writer.continue_reply(started, Limits(), "upset")]
    assert re.match("I am sorry|I hear you", "".join(pieces))


# ------------------------------------------------------------------ languages


@pytest.mark.parametrize(
    ("text", "lang", "script"),
    [
        ("where is my order", "und", "order"),
        ("我的订单在哪", "en", "[一-鿿]"),
        ("hola, necesito ayuda", "und", "[Tt]e|guardo|Cuéntame|Pregunta"),
        ("где мой заказ", "und", "[а-я]"),
        ("？？？", "und", "[一-鿿]"),
        ("👍", "zh", "[一-鿿]"),
        ("no", "und", "[Aa]ll right|Understood"),
        ("wie kann ich mein passwort zurücksetzen", "und", "English, Chinese, Spanish"),
        ("パスワードを忘れました", "und", "English, Chinese, Spanish"),
    ],
)
async def test_the_answer_is_in_the_language_that_was_written(
    writer: PhraseWriter, text: str, lang: str, script: str
) -> None:
    answer, _ = await say(writer, request(text, lang=lang))
    assert re.search(script, answer), answer


# ------------------------------------------------------------------ the book itself


def test_english_and_chinese_have_the_same_situations_and_enough_of_them() -> None:
    read = books()
    assert read["en"].keys() == read["zh"].keys()
    assert len(read["en"]) > 230


def test_every_english_situation_has_words_of_its_own_for_both_moods() -> None:
    situations = {name: table for name, table in books()["en"].items() if name != "frames"}
    own = sum(
        bool(table.get(level)) for table in situations.values() for level in ("calm", "tense")
    )
    assert own >= 300
    for name, table in situations.items():
        if table["kind"] != "grave":
            assert len(table["calm"]) >= 2, name
            assert len(table["tense"]) >= 2, name


def test_no_english_phrase_stands_in_two_situations() -> None:
    phrases = [
        phrase
        for name, table in books()["en"].items()
        if name != "frames"
        for level in ("calm", "tense")
        for phrase in table.get(level, [])
    ]
    assert len(phrases) == len(set(phrases))


async def test_every_phrase_is_short_plain_and_in_its_script(writer: PhraseWriter) -> None:
    scripts = {"en": "[一-鿿а-яё]", "es": "[一-鿿а-яё]", "ru": "[一-鿿]"}
    for lang, book in writer._books.items():
        for situation in book.situations.values():
            for level in ("calm", "tense", "upset"):
                for phrase in book.phrases(situation, level):
                    assert 0 < len(phrase) <= 400, phrase
                    assert not re.search(r"\{(?!name\})", phrase), phrase
                    assert not re.search(r"[!！]|\d", phrase), phrase
                    assert not re.search("[\U0001f300-\U0001faff]", phrase), phrase
                    if lang in scripts:
                        assert not re.search(scripts[lang], phrase.lower()), phrase
                    else:
                        assert re.search("[一-鿿]", phrase), phrase


async def test_nothing_is_promised_beyond_telling_the_team(writer: PhraseWriter) -> None:
    promise = re.compile(
        r"will (be )?(refund|fix|solve|answer|reply|contact|call you|help)|we will|within \d|"
        r"一定会|马上(解决|处理|回复)|会尽快|保证"
    )
    for book in writer._books.values():
        for situation in book.situations.values():
            for level in ("calm", "tense"):
                for phrase in book.phrases(situation, level):
                    assert not promise.search(phrase.replace("cannot say whether", "")), phrase


# ------------------------------------------------------------------ odd messages


@pytest.mark.parametrize(
    "text", ["", " ", "?", "...", "👍", "😭", "asdkjqwe", "1", "a" * 5000, "\x00"]
)
async def test_odd_messages_get_an_honest_answer(writer: PhraseWriter, text: str) -> None:
    answer, _ = await say(writer, request(text))
    assert 10 < len(answer) <= 400


# ------------------------------------------------------------------ the operator's answers

FAQ = """
[[answer]]
questions = ["When are you open?", "What are your opening hours?"]
text = "We are here from nine to five."
lang = "en"

[[answer]]
questions = ["你们几点上班", "营业时间"]
text = "我们九点到五点在。"
lang = "zh"
"""


async def test_the_operators_answer_goes_before_the_phrase_book(tmp_path: Path) -> None:
    path = tmp_path / "answers.toml"
    path.write_text(FAQ, "utf-8")
    writer = PhraseWriter(answers=path)
    answer, started = await say(writer, request("when are you guys open"))
    assert answer == "We are here from nine to five."
    assert started.made["source"] == "answers.toml: When are you open? 0.79"
    assert re.fullmatch(r"answers@[0-9a-f]{8}", started.prompt)
    assert 0.5 < started.made["similarity"] <= 1
    assert (await say(writer, request("你们几点上班？")))[0] == "我们九点到五点在。"
    upset, _ = await say(writer, request("when are you open?", level="upset"))
    assert upset.startswith("I am sorry")
    assert "We are here from nine to five." in upset
    assert "nine to five" not in (await say(writer, request("my grandma died")))[0]
    assert "nine to five" not in (await say(writer, request("my order is late")))[0]


async def test_a_changed_answers_file_is_read_again_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "answers.toml"
    writer = PhraseWriter(answers=path)
    assert "nine" not in (await say(writer, request("when are you open?")))[0]
    path.write_text(FAQ, "utf-8")
    assert "nine" in (await say(writer, request("when are you open?")))[0]
    path.write_text("[[answer]\n", "utf-8")
    assert "nine" in (await say(writer, request("when are you open?")))[0]
    assert "line 1" in writer.problem
    path.write_text(FAQ.replace("nine to five", "ten to four"), "utf-8")
    assert "ten to four" in (await say(writer, request("when are you open?")))[0]
    assert not writer.problem


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[[answer]]\nquestions = ['a'\ntext='b'\n", r"line \d.*Write \[\[answer\]\]"),
        ("# x\n[[answer]]\ntext = 'b'\n", "line 2: write questions"),
        ("[[answer]]\nquestions = ['a']\n", "line 1: write text"),
        ("[[answer]]\nquestions = ['a']\ntext='b'\nlanguage='en'\n", "language is unknown"),
        ("[answer]\nquestions = ['a']\ntext='b'\n", "two brackets"),
    ],
)
def test_a_broken_answers_file_is_told_with_its_line(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "answers.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(SetupError, match=sentence):
        PhraseWriter(answers=path)


async def test_the_example_file_can_be_used_as_it_is() -> None:
    example = Path(__file__).parents[3] / "answers.example.toml"
    writer = PhraseWriter(answers=example)
    assert "Settings" in (await say(writer, request("how do I change my email address")))[0]


# ------------------------------------------------------------------ the port


def test_it_is_a_writer(writer: PhraseWriter) -> None:
    port: Writer = writer
    assert port.name == "embedded"


async def test_pieces_are_small_and_limits_cut_no_sentence(writer: PhraseWriter) -> None:
    for text in ("where is my order", "我的快递呢"):
        started = await writer.start(request(text))
        pieces = [piece async for piece in writer.continue_reply(started, Limits(), "calm")]
        few = await writer.start(request(text))
        short = [p async for p in writer.continue_reply(few, Limits(tokens=5), "calm")]
        assert len(pieces) > 10
        assert len(short) <= 5
        assert "".join(pieces) == "".join(short)
    assert re.fullmatch(r"phrases@[0-9a-f]{8}", started.prompt)
    assert started.model == "embedded"


async def test_a_cancelled_reply_says_nothing_more() -> None:
    writer = PhraseWriter(pace=0.001)
    started = await writer.start(request("where is my order"))
    said = []
    async for piece in writer.continue_reply(started, Limits(), "calm"):
        said.append(piece)
        if len(said) == 3:
            await writer.cancel(started)
    assert len(said) == 3
    unborn = await writer.start(request("hello"))
    await writer.cancel(unborn)
    assert [p async for p in writer.continue_reply(unborn, Limits(), "calm")] == []


async def test_the_pace_stays_within_the_seconds_allowed() -> None:
    writer = PhraseWriter(pace=10.0)
    started = await writer.start(request("where is my order"))
    async with asyncio.timeout(5):
        pieces = [p async for p in writer.continue_reply(started, Limits(seconds=0.2), "calm")]
    assert "".join(pieces).endswith((".", "?"))


async def test_slots_are_taken_and_given_back() -> None:
    writer = PhraseWriter()
    taken = [await writer.start(request("hello")) for _ in range(SLOTS)]
    with pytest.raises(EngineBusy):
        await writer.start(request("hello"))
    await writer.settle(taken[0], kept=False)
    await writer.cancel(taken[1])
    assert writer.capacity().free == 2
    taken.clear()
    assert writer.capacity().running == 0


def test_a_phrase_file_of_the_operators_replaces_ours(tmp_path: Path) -> None:
    (tmp_path / "en.toml").write_text("[frames]\n[hello]\nkind = 3\n", "utf-8")
    with pytest.raises(SetupError, match=r"phrases/en\.toml"):
        PhraseWriter(phrases_dir=tmp_path)


@pytest.mark.parametrize("lang", ["en", "zh", "es", "ru"])
def test_every_pattern_that_comes_with_heed_is_one(lang: str) -> None:
    shipped = resources.files("core.engine.embedded") / "phrases" / f"{lang}.toml"
    book = Book(lang, shipped.read_text("utf-8"))  # as an operator's: each is looked at
    patterns = [when for situation in book.situations.values() for when in situation.when]
    assert len(patterns) > 50
    assert all(when.ready().pattern == when.pattern for when in patterns)


def test_a_pattern_of_the_operators_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    shipped = resources.files("core.engine.embedded") / "phrases" / "es.toml"
    broken = re.sub(r"when = \[", "when = ['(', ", shipped.read_text("utf-8"), count=1)
    (tmp_path / "es.toml").write_text(broken, "utf-8")
    with pytest.raises(SetupError, match=r"phrases/es\.toml cannot be used"):
        PhraseWriter(tmp_path)
