"""Conversations with the embedded default, from the first word to the human and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import NeedsConfirm
from tests.walk.house import House, living, settings_for

FURY = (
    "unbelievable, you charged me twice AGAIN and nobody answers, "
    "I am furious, this is the worst service ever"
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with living(settings_for(tmp_path)) as alive:
        yield alive


async def test_a_friendly_line_is_tagged_and_answered(house: House) -> None:
    done = await house.say("thanks, that fixed it, you are great!")
    assert done["sentiment"] == "positive"
    assert done["response"]
    assert not done["escalated"]
    assert done["owner"] == "bot"
    assert done["prompt_version"].startswith("phrases@")
    assert set(done) == {
        *("sentiment", "intensity", "strong", "mood", "response", "escalated"),
        *("owner", "case", "message_id", "model", "prompt_version"),
    }


async def test_chinese_is_answered_in_chinese(house: House) -> None:
    done = await house.say("太好了,问题解决了,谢谢你们!")
    assert done["sentiment"] == "positive"
    assert any("\u4e00" <= sign <= "\u9fff" for sign in done["response"])


async def test_fury_opens_a_case_with_its_evidence(house: House) -> None:
    done = await house.say(FURY)
    assert done["sentiment"] == "negative"
    assert done["escalated"]
    assert done["owner"] == "queue"
    case = await house.room.case(done["case"])
    assert case is not None
    assert case["rule"] == "spike"
    assert case["moved_by"][0]["text"] == FURY
    assert any(rule["fired"] for rule in case["trace"])


async def test_a_person_takes_over_answers_and_hands_back(house: House) -> None:
    case = (await house.say(FURY))["case"]
    silent = await house.say("hello?")
    assert silent["response"] is None
    assert silent["owner"] == "queue"
    claimed = await house.act(case, "claim")
    assert (claimed["state"], claimed["claimed_by"]) == ("human", "Sam")
    await house.act(case, "reply", text="I am so sorry. I have your order here.")
    assert ("staff", "I am so sorry. I have your order here.") in await house.lines()
    silent = await house.say("ok, and what happens now?")
    assert silent["response"] is None
    assert silent["owner"] == "human"
    back = await house.act(case, "botback")
    assert back["owner"] == "bot"
    answered = await house.say("thank you")
    assert answered["response"]


async def test_the_second_to_claim_is_told_who_was_first(house: House) -> None:
    case = (await house.say(FURY))["case"]
    await house.act(case, "claim", "Ana")
    with pytest.raises(NeedsConfirm, match="Ana"):
        await house.act(case, "reply", "Bob", text="me too")
    stolen = await house.act(case, "steal", "Bob")
    assert stolen["claimed_by"] == "Bob"


async def test_asking_for_a_person_needs_no_mood(house: House) -> None:
    done = await house.say("can I talk to a human please")
    assert done["owner"] == "queue"
    case = await house.room.case(done["case"])
    assert case is not None
    assert case["rule"] == "request"


async def test_a_resolved_case_reopens_when_they_write_again(house: House) -> None:
    case = (await house.say(FURY))["case"]
    await house.act(case, "resolve")
    thanks = await house.say("thanks")
    assert thanks["owner"] == "bot"
    again = await house.say("wait, the charge is still there")
    assert again["owner"] == "queue"
    assert again["case"] == case


async def test_two_people_never_share_anything(house: House) -> None:
    await house.say(FURY, user="bob")
    done = await house.say("hello", user="ann")
    assert done["owner"] == "bot"
    assert all("charged" not in text for _, text in await house.lines("ann"))


async def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with living(settings) as first:
        case = (await first.say(FURY))["case"]
        await first.act(case, "claim")
    async with living(settings) as second:
        view = await second.view()
        assert view["owner"] == "human"
        assert view["lines"][0]["text"] == FURY
        assert (await second.say("hello?"))["response"] is None


async def test_forget_leaves_nothing(house: House) -> None:
    await house.say("my secret is xyzzy-4711")
    asked = await house.say("/forget")
    assert "/forget yes" in asked["response"]
    told = await house.say("/forget yes")
    assert told["response"] == "Done: 3 messages and 0 cases are erased."
    assert (told["owner"], told["case"], told["sentiment"]) == ("bot", None, None)
    await house.idle()
    assert await house.lines() == []


async def test_commands_answer_with_fixed_texts(house: House) -> None:
    for command in ("/start", "/help", "/privacy", "/reset", "/nonsense"):
        done = await house.say(command)
        assert done["response"], command
    done = await house.say("/human")
    assert done["owner"] == "queue"
