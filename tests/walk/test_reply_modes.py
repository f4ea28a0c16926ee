"""Who may say what: the operator's answers first, then a model, free or held to facts or mute."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Answers, Model, Reply
from core.ports import Event
from tests.fakes.openai import MODEL, OpenAIFake
from tests.patience import until
from tests.walk.house import House, arrival, living, settings_for

FAQ = """
[[answer]]
questions = ["When are you open?", "What are your opening hours?"]
text = "We are here from 9:00 to 17:00. I have sent you this as the team wrote it."
lang = "en"

[[answer]]
questions = ["你们几点上班", "营业时间"]
text = "我们9点到17点在。"
lang = "zh"

[[answer]]
questions = ["Wann habt ihr offen?", "Wie sind eure Öffnungszeiten?"]
text = "Wir sind von 9 bis 17 Uhr da."
lang = "de"
"""
ANSWER = "We are here from 9:00 to 17:00. I have sent you this as the team wrote it."
INVENTED = ["That is easy. ", "A refund takes 14 days. ", "It costs 5 euros."]
CALM = {"neutral": 0.9, "negative": 0.05, "positive": 0.05}


@asynccontextmanager
async def house_of(
    folder: Path, pieces: Sequence[str], mode: Any = "free", **more: Any
) -> AsyncIterator[tuple[House, OpenAIFake]]:
    path = folder / "answers.toml"
    path.write_text(FAQ, "utf-8")
    async with OpenAIFake(lambda _: pieces, lambda _: CALM) as fake:
        settings = settings_for(
            folder,
            model=Model(name=fake.url, reply_seconds=5.0),
            answers=Answers(file=path, **more),
            reply=Reply(mode=mode),
        )
        async with living(settings) as house:
            await until(lambda: house.app.mind.engine and house.app.mind.ready)
            yield house, fake


async def made(house: House, done: dict[str, Any]) -> dict[str, Any]:
    found = await house.room.explain(done["message_id"])
    assert found is not None
    return found["made"]


def streams(fake: OpenAIFake) -> int:
    return sum(bool(asked.body.get("stream")) for asked in fake.chats())


# ------------------------------------------------------------------ answers first


@pytest.mark.parametrize("mode", ["free", "facts", "strict"])
async def test_what_the_operator_has_answered_is_answered_so(tmp_path: Path, mode: str) -> None:
    async with house_of(tmp_path, ["The model speaks."], mode) as (house, fake):
        done = await house.say("hi, when are you guys open?")
        assert done["response"] == ANSWER
        assert done["sentiment"] == "neutral"
        assert done["prompt_version"].startswith("answers@")
        told = (await made(house, done))["reply"]
        assert told["source"].startswith("answers.toml: When are you open? 0.")
        assert streams(fake) == 0
        assert (await house.say("你们几点上班？"))["response"] == "我们9点到17点在。"
        german = await house.say("Wann habt ihr denn offen, bitte?")
        assert german["response"] == "Wir sind von 9 bis 17 Uhr da."


async def test_what_is_not_like_enough_goes_to_the_model(tmp_path: Path) -> None:
    async with house_of(tmp_path, ["The model speaks."], minimum=0.99) as (house, _):
        assert (await house.say("hi, when are you guys open?"))["response"] == "The model speaks."
        assert (await house.say("when are you open?"))["response"] == ANSWER


async def test_an_answer_needs_no_server(tmp_path: Path) -> None:
    async with house_of(tmp_path, ["The model speaks."]) as (house, fake):
        await fake.gone()
        assert (await house.say("when are you open?"))["response"] == ANSWER


# ------------------------------------------------------------------ strict


async def test_a_strict_model_tags_and_never_speaks(tmp_path: Path) -> None:
    async with house_of(tmp_path, INVENTED, "strict") as (house, fake):
        for line in ("my parcel is late", "how long does it take?", "and what does it cost?"):
            done = await house.say(line)
            assert done["prompt_version"].startswith("phrases@")
            assert "14" not in done["response"]
            assert (await made(house, done))["reply"]["source"].startswith("phrase: ")
            found = await house.room.explain(done["message_id"])
            assert found is not None
            assert found["versions"]["model"] == f"{MODEL}#remote"
        assert streams(fake) == 0
        assert "only tags" in house.app.speaker.view()["words"]


async def test_a_strict_house_answers_while_the_server_is_away(tmp_path: Path) -> None:
    async with house_of(tmp_path, INVENTED, "strict") as (house, fake):
        await fake.gone()
        for line in ("hello", "what can you do?", "thank you", "and what is the weather?"):
            done = await house.say(line)
            assert done["owner"] == "bot"
            assert done["prompt_version"].startswith("phrases@")


# ------------------------------------------------------------------ facts


async def test_made_up_facts_become_the_phrase_books_reply(tmp_path: Path) -> None:
    async with house_of(tmp_path, INVENTED, "facts") as (house, fake):
        done = await house.say("my parcel is late")
        assert "14" not in done["response"]
        assert "euros" not in done["response"]
        assert done["model"] == "embedded"
        told = await made(house, done)
        assert told["fallback"] == "invented facts"
        assert told["reply"]["source"] == "phrase: delivery_late"
        assert streams(fake) == 1
        assert (await house.lines())[-1] == ("bot", done["response"])


async def test_facts_of_the_person_and_of_the_operator_may_be_named(tmp_path: Path) -> None:
    said = ["Your order 48213-77 is kept. ", "The team is here from 9 to 17."]
    async with house_of(tmp_path, said, "facts") as (house, _):
        done = await house.say("my order is 48213-77, is anybody there who can look at it")
        assert done["response"] == "".join(said)
        assert done["model"] == MODEL


async def test_a_free_model_says_what_it_likes(tmp_path: Path) -> None:
    async with house_of(tmp_path, INVENTED) as (house, _):
        assert (await house.say("my parcel is late"))["response"] == "".join(INVENTED)


# ------------------------------------------------------------------ in every mode


async def test_a_claim_is_never_shown(tmp_path: Path) -> None:
    said = ["I see that this matters. ", "I have refunded you. ", "Have a nice day."]
    async with house_of(tmp_path, said) as (house, fake):
        fake.pace = 0.02
        events: list[Event] = [e async for e in house.room.ask(arrival("my parcel is late"))]
        done = dict(events[-1].data)
        assert done["response"] == house.app.texts.say("fallback", "en")
        tokens = "".join(event.data["text"] for event in events if event.kind == "token")
        assert "refunded" not in tokens
        assert (await made(house, done))["fallback"] == "claims to have acted"


async def test_a_chinese_person_is_not_answered_in_english(tmp_path: Path) -> None:
    said = ["I am sorry that your parcel is late. ", "Where was it sent to?"]
    async with house_of(tmp_path, said) as (house, _):
        done = await house.say("我的快递还没到，怎么回事？")
        assert done["response"] == house.app.texts.say("fallback", "zh")
        assert (await made(house, done))["fallback"] == "other language"
        asked = await house.say("请用英文回复：我的快递呢？")
        assert asked["response"] == "".join(said)


async def test_a_loop_ends_early_and_its_good_beginning_is_said(tmp_path: Path) -> None:
    said = ["Please sign out once. ", "Then sign in again. ", *["Tell me if it helps. "] * 500]
    async with house_of(tmp_path, said) as (house, fake):
        fake.pace = 0.002
        done = await house.say("i cannot see my messages")
        assert done["response"].startswith("Please sign out once. Then sign in again.")
        assert done["response"].count("Tell me") <= 1
        assert (await made(house, done))["cut"] == "repetition"
        await until(lambda: fake.open == 0)
        assert fake.hung_up == 1
