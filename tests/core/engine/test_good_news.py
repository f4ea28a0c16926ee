from __future__ import annotations

import pytest

from core.engine.embedded.phrasebook import PhraseWriter
from core.engine.ports import ReplyRequest
from core.message import ConversationKey, Level, Said, Scores

KEY = ConversationKey(platform="web", bot="heed", chat="1", user="maya")


@pytest.fixture(scope="module")
def writer() -> PhraseWriter:
    return PhraseWriter()


def heard(positive: float) -> Scores:
    return Scores(
        label="positive" if positive > 0.5 else "neutral",
        probs={"negative": 0.02, "neutral": 0.98 - positive, "positive": positive},
        p_negative=0.02,
        p_positive=positive,
        intensity=0.7 if positive > 0.5 else 0.0,
        confidence=0.8,
        strong=0.01,
        wants_human=0.0,
        threat_to_leave=0.0,
        crisis=0.0,
        lang="en",
        instrument="embedded",
    )


async def source(
    writer: PhraseWriter,
    text: str,
    *,
    positive: float | None = None,
    level: Level = "calm",
    history: tuple[Said, ...] = (),
) -> tuple[str, str]:
    """Return why something was said, and what was said."""
    scores = None if positive is None else heard(positive)
    started = await writer.start(
        ReplyRequest(key=KEY, history=history, messages=(text,), level=level, scores=scores)
    )
    await writer.cancel(started)
    return started.made["source"], started.state.text


@pytest.mark.parametrize(
    "text",
    [
        "love the crossplay update",
        "finally got my refund, thanks!",
        "bug fixed, thanks!",
        "no more lag, love it",
        "password reset worked, thank you",
        "终于收到退款了，太开心了",
        "¡me llegó el reembolso, gracias!",
        "возврат пришёл, спасибо, вы лучшие",
    ],
)
async def test_glad_words_about_a_matter_get_no_trouble_words(
    writer: PhraseWriter, text: str
) -> None:
    why, said = await source(writer, text, positive=0.95)
    assert "good" in why
    assert not any(word in said.lower() for word in ("sorry", "order number", "抱歉", "订单号"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("love your shop! i would like to return the shoes", "return_item"),
        ("great, charged twice. wonderful service", "double_charge"),
        ("love how my order is late again", "delivery_late"),
        ("amazing app, how do i change my email address?", "change_details"),
        ("thank you so much, i want a refund", "refund"),
    ],
)
async def test_a_request_in_glad_words_stays_a_request(
    writer: PhraseWriter, text: str, name: str
) -> None:
    why, _ = await source(writer, text, positive=0.95)
    assert why == f"phrase: {name}"


async def test_good_news_needs_to_be_heard_as_positive(writer: PhraseWriter) -> None:
    assert (await source(writer, "finally got my refund"))[0] == "phrase: refund"
    assert (await source(writer, "finally got my refund", positive=0.4))[0] == "phrase: refund"


async def test_the_end_of_an_open_matter_is_good_news_also_to_somebody_tense(
    writer: PhraseWriter,
) -> None:
    _, asked = await source(writer, "where is my refund")
    history = (
        Said(role="user", text="where is my refund", at=1.0),
        Said(role="bot", text=asked, at=2.0),
    )
    for level in ("calm", "tense"):
        why, said = await source(
            writer, "finally got my refund, thanks!", positive=0.95, level=level, history=history
        )
        assert why == "phrase: good news of refund"
        assert "sorry" not in said.lower()
        assert "hard" not in said.lower()


@pytest.mark.parametrize("text", ["router", "the router", "watch", "camera", "flight"])
async def test_one_rare_word_is_not_taken_for_a_whole_story(
    writer: PhraseWriter, text: str
) -> None:
    assert (await source(writer, text))[0].startswith("phrase: unsure")


@pytest.mark.parametrize(
    "text",
    [
        "i broke my phone",
        "they said they would find me a replacement",
        "they beat us 3-0",
        "loss of my progress",
        "whats the point of the premium plan",
        "im getting nothing but errors",
        "rock bottom prices",
        "i cant go on with the tutorial",
        "how do i track my order",
        "how do i kill the boss",
    ],
)
async def test_everyday_trouble_is_not_answered_as_danger(writer: PhraseWriter, text: str) -> None:
    why, said = await source(writer, text)
    assert "emergency service" not in said, why
    assert "loss" not in said, why


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my ex broke my phone", "abuse"),
        ("he said he will find me", "abuse"),
        ("my father beat me in the kitchen", "abuse"),
        ("my ex posted my pictures", "abuse"),
        ("the loss of my mother", "bereavement"),
        ("whats the point of it all", "depression"),
        ("i feel nothing", "depression"),
        ("i cant go on like this", "self_harm"),
        ("i want to take my own life", "self_harm"),
        ("i cut myself again", "self_harm"),
        ("i want to kill my boss", "harmful_request"),
    ],
)
async def test_danger_is_still_heard(writer: PhraseWriter, text: str, name: str) -> None:
    assert (await source(writer, text))[0] == f"phrase: {name}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my son has a rash and it does not fade", "emergency"),
        ("i am afraid to go back home, my husband is drunk", "abuse"),
        ("she put my nude pictures on a website", "abuse"),
        ("老公又动手了，我不敢回家", "abuse"),
        ("宝宝身上有红疹，按了不褪色", "emergency"),
    ],
)
async def test_danger_told_in_plain_words_gets_the_emergency_sentence(
    writer: PhraseWriter, text: str, name: str
) -> None:
    why, said = await source(writer, text)
    assert why == f"phrase: {name}"
    assert "emergency service" in said or "紧急" in said


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lol forgot my password again i'm dying", "password_reset"),
        ("i passed my exam and i'm crying in the car", "success"),
        ("should i marry him", "ask_advice"),
        ("did caesar like olives?", "unsure_question"),
        ("are you a real person or a computer", "are_you_human"),
        ("if nobody answers by noon we take our business to your rival", "leaving"),
    ],
)
async def test_what_is_meant_goes_before_a_word_in_it(
    writer: PhraseWriter, text: str, name: str
) -> None:
    assert (await source(writer, text))[0] == f"phrase: {name}"


async def test_a_general_question_about_a_matter_gets_no_form(writer: PhraseWriter) -> None:
    why, said = await source(writer, "can i return a topper if i already opened it?")
    assert why == "phrase: refund"
    assert "order number" not in said
