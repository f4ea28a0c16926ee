"""A person is called, takes over, answers, and gives back: the same on every platform."""

from __future__ import annotations

import pytest

from core.engine.scripted import ScriptedEngine
from tests.contract.script import listener, needs, sentences
from tests.contract.stage import Stage, fixed
from tests.patience import until
from tests.walk.platforms import CRISIS, FURY, unsigned

HOUR = 3600.0
ANGER = "你们的服务太差了!又多扣了我的钱,没有人理我,气死我了,我要投诉!"


async def furious(stage: Stage, person: str = "maya") -> None:
    """Let somebody be furious; a case is open after it."""
    assert await stage.say(person, FURY) == [fixed("open")]


# -- the bot falls silent ------------------------------------------------------------------------


@needs("later")
async def test_fury_brings_a_person_and_the_bot_is_silent_until_it_is_given_back(
    stage: Stage,
) -> None:
    await furious(stage)
    assert await stage.say("maya", "hello? is anybody there?") == []
    await stage.act("claim")
    await stage.answer("I am so sorry. I have your order here.")
    assert unsigned((await stage.seen())[-1]) == "I am so sorry. I have your order here."
    assert await stage.say("maya", "ok, and what happens now?") == []
    await stage.act("botback")
    await stage.settle()
    assert (await stage.seen())[-1] == fixed("back_to_bot")
    [answer] = await stage.say("maya", "thank you")
    assert answer


async def test_fury_opens_a_case_with_its_evidence(stage: Stage) -> None:
    await furious(stage)
    [case] = await stage.cases()
    assert (case.rule, case.state) == ("spike", "queued")
    assert ("user", FURY) in await stage.desk()


async def test_fury_in_chinese_is_met_in_chinese(stage: Stage) -> None:
    assert await stage.say("maya", ANGER) == [fixed("open", "zh")]
    [case] = await stage.cases()
    assert case.state == "queued"


@pytest.mark.parametrize(
    ("words", "lang"), [("can I talk to a human please", "en"), ("我要找人工客服", "zh")]
)
async def test_whoever_asks_for_a_person_gets_one(stage: Stage, words: str, lang: str) -> None:
    assert await stage.say("maya", words) == [fixed("open", lang)]
    [case] = await stage.cases()
    assert case.rule == "request"


async def test_asking_again_in_the_queue_is_answered_once(stage: Stage) -> None:
    await furious(stage)
    [still] = await stage.say("maya", "I want to talk to a human")
    assert still.startswith("You are still in line")
    assert await stage.say("maya", "I want to talk to a human now please") == []


async def test_words_of_danger_are_answered_at_once_and_once_in_six_hours(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    mind.fail("start", 9)  # no model stands between danger and its answer
    assert await stage.say("maya", CRISIS) == [fixed("crisis")]
    [case] = await stage.cases()
    assert (case.rule, case.priority) == ("crisis", 3)
    await stage.act("claim")
    await stage.later(HOUR)
    assert await stage.say("maya", f"really, {CRISIS}") == []
    await stage.later(6 * HOUR)
    assert await stage.say("maya", f"I mean it, {CRISIS}") == [fixed("crisis")]


async def test_words_of_danger_are_heard_while_a_human_has_the_case(stage: Stage) -> None:
    await furious(stage)
    await stage.act("claim")
    assert await stage.say("maya", CRISIS) == [fixed("crisis")]
    assert (await stage.cases())[-1].claimed_by == "Sam"


async def test_what_is_written_while_staff_hold_goes_to_staff(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    await stage.command("maya", "human")
    await stage.act("claim")
    assert await stage.say("maya", "my number is 1234 *_`<&") == []
    assert (await stage.desk())[-1] == ("user", "my number is 1234 *_`<&")
    assert mind.asked("speak") == []


async def test_nothing_of_the_bots_arrives_after_a_takeover(stage: Stage) -> None:
    await stage.command("maya", "human")
    await stage.act("claim")
    await stage.act("botback")
    await stage.settle()
    mind = await stage.speaks(listener())
    mind.hang("speak")
    await stage.post("maya", "and what now?")
    await until(lambda: mind.asked("speak"))
    await stage.act("claim")
    mind.release()
    await stage.settle()
    assert "You said" not in "".join(await stage.seen())
    assert (await stage.desk())[-1] == ("user", "and what now?")
    assert (await stage.cases())[-1].state == "human"


async def test_a_takeover_ends_an_answer_in_the_middle(stage: Stage) -> None:
    await stage.command("maya", "human")
    await stage.act("claim")
    await stage.act("botback")
    await stage.settle()
    await stage.speaks(ScriptedEngine({"": sentences(60)}, pace=0.01))
    async with stage.app.board.listen() as told:
        await stage.post("maya", "and what now?")
        async for event in told:
            if event.kind == "token":
                break
    await stage.act("claim")
    await stage.settle()
    assert "step number 39" not in "".join(await stage.seen())
    assert "step number 39" not in str(await stage.said())
    assert await stage.say("maya", "hello?") == []


async def test_a_case_that_is_given_back_to_the_queue_leaves_the_bot_silent(stage: Stage) -> None:
    await furious(stage)
    await stage.act("claim")
    await stage.act("release")
    assert await stage.say("maya", "hello?") == []
    assert (await stage.cases())[-1].state == "queued"


async def test_a_case_that_sleeps_wakes_when_its_person_writes(stage: Stage) -> None:
    await furious(stage)
    await stage.act("snooze", "4h")
    await stage.settle()
    assert (await stage.cases())[-1].state == "snoozed"
    assert await stage.say("maya", "are you there?") == []
    assert (await stage.cases())[-1].state == "queued"
    assert ("user", "are you there?") in await stage.desk()


async def test_the_bot_knows_what_staff_said_when_it_is_its_turn_again(stage: Stage) -> None:
    await furious(stage)
    await stage.answer("Your order is number 77.")
    await stage.act("botback")
    await stage.settle()
    mind = await stage.speaks(
        ScriptedEngine(lambda asked: "It is 77." if "77" in str(asked.history) else "I forgot.")
    )
    [answer] = await stage.say("maya", "what was its number?")
    assert answer.endswith("It is 77.")
    assert mind.asked("speak")


# -- what staff say ------------------------------------------------------------------------------


@needs("later")
@pytest.mark.parametrize(
    "words",
    [
        "Hi 🙂 👩‍👩‍👧‍👦",
        "您好，我来帮您看一下。",
        "*_`[<&>]`_* \\ ~x~ |y| @everyone #1",
        "line one\n\nline two",
        "x" * 3000,
    ],
    ids=["emoji", "chinese", "markup", "lines", "long"],
)
async def test_what_staff_write_arrives_as_they_wrote_it(stage: Stage, words: str) -> None:
    await furious(stage)
    before = len(await stage.seen())
    await stage.answer(words)
    new = (await stage.seen())[before:]
    assert "".join([unsigned(new[0]), *new[1:]]) == words


@needs("mentions")
async def test_staff_call_nobody_by_what_they_write(stage: Stage) -> None:
    await furious(stage)
    await stage.answer("tell @everyone and @here")
    assert [name for name in await stage.called("maya") if name != "mention"] == []


@needs("later", "unsaying")
async def test_an_answer_that_staff_change_is_changed(stage: Stage) -> None:
    await furious(stage)
    line = await stage.answer("It comes on Monday.")
    before = len(await stage.seen())
    await stage.act("edit", f"{line} It comes on Tuesday.")
    await stage.settle()
    assert unsigned((await stage.seen())[-1]) == "It comes on Tuesday."
    assert len(await stage.seen()) == before
    assert "Monday" not in "".join(await stage.seen())


@needs("later", "unsaying")
async def test_an_answer_that_staff_take_back_is_gone(stage: Stage) -> None:
    await furious(stage)
    line = await stage.answer("It comes on Monday.")
    await stage.act("delete", str(line))
    await stage.settle()
    assert "Monday" not in "".join(await stage.seen())


@needs("later")
async def test_notes_of_staff_stay_inside(stage: Stage) -> None:
    await furious(stage)
    before = await stage.seen()
    await stage.act("note", "sounds exhausted")
    await stage.settle()
    assert await stage.seen() == before
    assert ("note", "sounds exhausted") in await stage.desk()


@needs("edit")
async def test_staff_see_what_was_edited(stage: Stage) -> None:
    await furious(stage)
    message = await stage.post("maya", "order 1234")
    await stage.settle()
    await stage.edit("maya", message, "order 4321")
    await stage.settle()
    lines = await stage.desk()
    assert ("user", "order 4321") in lines
    assert ("user", "order 1234") not in lines


@needs("delete")
async def test_staff_see_that_a_message_was_deleted(stage: Stage) -> None:
    await furious(stage)
    message = await stage.post("maya", "my card number is xyzzy")
    await stage.settle()
    await stage.delete("maya", message)
    await stage.settle()
    assert "xyzzy" not in str(await stage.desk())


# -- the end of a case ---------------------------------------------------------------------------


@needs("buttons")
async def test_who_no_longer_needs_a_person_takes_it_back(stage: Stage) -> None:
    await furious(stage)
    await stage.press("maya", "undo_button")
    assert (await stage.cases())[-1].state == "resolved"
    [answer] = await stage.say("maya", "thanks anyway")
    assert answer


@needs("buttons")
async def test_a_button_works_after_a_restart_and_only_once(stage: Stage) -> None:
    await furious(stage)
    await stage.restart()
    await stage.press("maya", "undo_button")
    [case] = await stage.cases()
    assert case.state == "resolved"
    before = await stage.seen()
    assert await stage.press("maya", "undo_button") == []
    assert await stage.seen() == before


@needs("buttons")
@pytest.mark.parametrize("helped", ["yes", "no"])
async def test_whether_it_helped_is_asked(stage: Stage, helped: str) -> None:
    await furious(stage)
    await stage.act("resolve")
    await stage.settle()
    assert (await stage.seen())[-1] == fixed("resolved")
    said = await stage.press("maya", f"resolved_{helped}")
    assert said == [fixed("thanks_for_word" if helped == "yes" else "reopened")]
    [case] = await stage.cases()
    assert case.helped == helped
    assert case.state == ("resolved" if helped == "yes" else "queued")


async def test_thanks_do_not_reopen_a_case_and_trouble_does(stage: Stage) -> None:
    await furious(stage)
    await stage.act("resolve")
    await stage.say("maya", "thanks")
    assert (await stage.cases())[-1].state == "resolved"
    assert await stage.say("maya", "wait, the charge is still there") == [fixed("reopened")]
    [case] = await stage.cases()
    assert case.state == "queued"


async def test_whom_staff_block_is_told_once_and_danger_is_still_heard(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    await stage.command("maya", "human")
    await stage.act("block", "7d spam", confirm=True)
    await stage.settle()
    [told] = await stage.say("maya", "buy my watches")
    assert told.startswith("You cannot write to this team until ")
    assert await stage.say("maya", "cheap watches") == []
    assert mind.asked("speak") == []
    assert (await stage.say("maya", CRISIS))[-1] == fixed("crisis")


@needs("leaving")
async def test_who_shuts_the_bot_out_is_written_nothing(stage: Stage) -> None:
    await furious(stage)
    await stage.leave("maya")
    await stage.settle()
    before = await stage.seen()
    await stage.act("reply", "are you there?")
    await stage.app.posts.idle()
    assert await stage.seen() == before
    await stage.leave("maya", back=True)
    await stage.settle()
    assert await stage.seen() == before  # nothing old without staff's word
    await stage.act("send")
    await stage.settle()
    assert (await stage.seen())[-1].endswith("are you there?")


@needs("people")
async def test_the_bot_goes_on_with_others_while_one_is_with_staff(stage: Stage) -> None:
    await stage.speaks(ScriptedEngine({"": "I hear you."}))
    await stage.command("maya", "human")
    await stage.act("claim")
    assert await stage.say("ben", "and me?") == ["I hear you."]
    assert await stage.say("maya", "and me?") == []
    assert await stage.cases("ben") == []
