"""What a group sees and what it must never see; texts too long, people too fast, news too old."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bot.settings import Limits, Texts as TextsSettings
from core.message import ConversationKey
from core.texts import Texts
from tests.walk.house import House, arrival, living, settings_for
from tests.walk.test_dialogues import FURY

TEXTS = Texts.load()
CRISIS = "I want to kill myself"
GROUP = {
    "key": ConversationKey(platform="web", bot="heed", chat="everybody", user="ann"),
    "private": False,
}
LIMITS = Limits(per_user_minute=3, message_chars=100)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with living(settings_for(tmp_path, limits=LIMITS)) as alive:
        yield alive


async def in_group(house: House) -> list[tuple[str, str]]:
    view = await house.room.conversation(GROUP["key"])
    return [(line["role"], line["text"]) for line in view["lines"]]


async def test_what_is_said_to_others_in_a_watched_group_is_heard_and_not_answered(
    house: House,
) -> None:
    done = await house.say("thanks everybody, great day!", addressed=False, **GROUP)
    assert done["sentiment"] == "positive"
    assert done["response"] is None
    assert [role for role, _ in await in_group(house)] == ["user"]
    assert (await house.say("and how are you?", **GROUP))["response"]


async def test_fury_in_a_watched_group_opens_a_case_all_the_same(house: House) -> None:
    done = await house.say(FURY, addressed=False, **GROUP)
    assert (done["owner"], done["response"]) == ("queue", TEXTS.say("group_notice", "en"))


async def test_chat_with_others_does_not_reopen_a_case(house: House) -> None:
    case = (await house.say("/human", kind="command", command="human", **GROUP))["case"]
    await house.act(case, "resolve")
    done = await house.say("shall we meet at noon?", addressed=False, **GROUP)
    assert (done["owner"], done["response"]) == ("bot", None)
    assert (await house.say("it is broken again", **GROUP))["owner"] == "queue"


async def test_danger_is_answered_in_the_direct_chat_and_never_in_public(house: House) -> None:
    await house.say("hello")
    first = await house.say(CRISIS, **GROUP)
    again = await house.say(f"really, {CRISIS}", **GROUP)
    assert first["response"] == TEXTS.say("group_notice", "en")
    assert again["response"] is None
    words = TEXTS.say("crisis", "en")
    assert words not in dict(map(reversed, await in_group(house)))
    assert [text for role, text in await house.lines() if role == "bot"].count(words) == 1


async def test_nobody_elses_direct_chat_hears_of_a_danger(house: House) -> None:
    await house.say("hello", user="ben")
    await house.say(CRISIS, **GROUP)
    assert TEXTS.say("crisis", "en") not in [text for _, text in await house.lines("ben")]


async def test_asking_again_in_a_group_is_not_answered_in_public(house: House) -> None:
    await house.say("/human", kind="command", command="human", **GROUP)
    assert (await house.say("I want a real human please", **GROUP))["response"] is None


async def test_the_words_for_a_danger_come_once_in_six_hours(house: House) -> None:
    words, times = TEXTS.say("crisis", "en"), []
    now, walk = time.time(), house.app.walk
    for hours in (0, 1, 7):
        planner = replace(walk.rooms.planner, clock=partial(float, now + hours * 3600))
        walk.rooms = replace(walk.rooms, planner=planner)
        times.append((await house.say(CRISIS))["response"] == words)
    assert times == [True, False, True]


async def test_danger_takes_a_waiting_case_to_the_top_of_the_queue(house: House) -> None:
    other = (await house.say("/human", user="ben"))["case"]
    case = (await house.say(FURY))["case"]
    assert [one["id"] for one in (await house.room.queue({}))["cases"]] == [other, case]
    await house.say(CRISIS)
    assert [one["id"] for one in (await house.room.queue({}))["cases"]] == [case, other]
    seen = await house.room.case(case) or {}
    assert (seen["rule"], seen["state"]) == ("crisis", "queued")


async def test_a_text_that_is_too_long_is_cut_and_its_writer_is_told(house: House) -> None:
    done = await house.say("my order is late. " * 20)
    assert done["response"] == TEXTS.say("too_long", "en")
    [(_, text), _] = await house.lines()
    assert len(text) == 101
    assert text.endswith("…")


async def test_danger_at_the_end_of_a_long_text_is_not_cut_off(house: House) -> None:
    done = await house.say("so it goes on and on, " * 20 + CRISIS)
    assert done["owner"] == "queue"
    assert (await house.room.case(done["case"]))["rule"] == "crisis"


async def test_staff_get_the_cut_text_and_the_writer_is_told(house: House) -> None:
    await house.say("/human")
    done = await house.say("my order is late. " * 20)
    assert (done["owner"], done["response"]) == ("queue", TEXTS.say("too_long", "en"))


async def test_who_writes_too_fast_is_heard_and_told_once(house: House) -> None:
    answers = [(await house.say(f"and what about {n} apples?"))["response"] for n in range(5)]
    assert all(answers[:3])
    assert answers[3:] == [TEXTS.say("busy", "en"), None]
    assert (await house.say("I want a real human please"))["owner"] == "queue"


async def test_late_news_without_a_case_does_not_claim_that_the_team_sees_it(house: House) -> None:
    old = await house.say("hello there", sent_at=time.time() - 4000)
    assert old["response"] == TEXTS.say("late_alone", "en")
    assert (await house.say("anybody?", sent_at=time.time() - 3000))["response"] is None


async def test_trouble_and_thanks_in_one_burst_reopen_a_case(house: House) -> None:
    case = (await house.say("/human"))["case"]
    await house.act(case, "resolve")
    assert (await house.say("thanks!"))["owner"] == "bot"
    await house.room.take_in([arrival("but it does not work"), arrival("thanks")])
    await house.idle()
    assert (await house.view())["owner"] == "queue"


async def test_an_edit_is_no_second_question(house: House) -> None:
    question = "where is my parcel with the number 12 now?"
    await house.say(question, message_id="q", order=0)
    for n in range(3):
        edit = {"kind": "edited", "message_id": "q", "event_id": f"e{n}"}
        await house.room.take_in([arrival(f"{question} {n}", **edit)])
    await house.idle()
    assert (await house.view())["owner"] == "bot"
    assert (await house.room.queue({}))["cases"] == []


async def test_an_operators_own_words_are_the_ones_that_are_sent(tmp_path: Path) -> None:
    own = tmp_path / "texts"
    own.mkdir()
    (own / "en.toml").write_text('[user]\ncrisis = "Call 116 123, at any hour."\n', "utf-8")
    settings = settings_for(tmp_path, texts=TextsSettings(dir=own))
    async with living(settings) as house:
        done = await house.say(CRISIS)
        assert done["response"] == "Call 116 123, at any hour."
