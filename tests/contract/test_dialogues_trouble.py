"""Restarts, crashes, broken connections, second thoughts: nobody is lost, nobody told twice."""

from __future__ import annotations

import pytest

from bot.settings import Model
from core.engine.scripted import ScriptedEngine
from core.tables import outbox
from tests.contract.script import echo, listener, needs, provides, sentences, squeezed
from tests.contract.stage import Stage, fixed
from tests.patience import until
from tests.walk.platforms import FURY, unsigned

PLACEHOLDER = "…"  # what may remain on Telegram of a send whose outcome nobody knows


def read(seen: list[str]) -> list[str]:
    """Return what a person reads; an empty placeholder says nothing."""
    return [text for text in seen if text != PLACEHOLDER]


# -- stopped, killed, started again --------------------------------------------------------------


async def test_it_is_all_there_after_a_restart(stage: Stage) -> None:
    await stage.say("maya", FURY)
    await stage.act("claim")
    before = await stage.seen()
    await stage.restart()
    assert await stage.seen() == before
    assert await stage.say("maya", "hello?") == []
    assert (await stage.cases())[-1].claimed_by == "Sam"


@needs("later")
async def test_a_restart_in_the_middle_of_an_answer_answers_once_and_in_order(
    stage: Stage,
) -> None:
    mind = await stage.speaks(listener())
    mind.hang("speak")
    await stage.post("maya", "first thing")
    await until(lambda: mind.asked("speak"))
    await stage.post("maya", "second thing")
    await stage.stop()
    mind.release()
    await stage.start()
    await stage.settle()
    told = " ".join(read(await stage.seen()))
    assert told.count("first thing") == 1
    assert told.count("second thing") == 1
    assert told.index("first thing") < told.index("second thing")
    assert [text for role, text in await stage.said() if role == "user"] == [
        "first thing", "second thing",
    ]  # fmt: skip


async def test_a_message_that_met_a_crash_before_it_was_kept_is_answered_once(
    stage: Stage,
) -> None:
    await stage.speaks(listener())
    await stage.say("maya", "hello")
    stage.kill_at("before intake commit")
    await stage.write("maya", "the second thing")
    await until(stage.killed.is_set)
    await stage.stop()
    await stage.start()
    await stage.repeat("maya", "the second thing")
    await until(lambda: _written(stage, 2))
    await stage.settle()
    assert read(await stage.seen()) == ["You said: hello", "You said: the second thing"]


async def _written(stage: Stage, count: int) -> bool:
    """Say whether so many messages of people's have been dealt with."""
    return [role for role, _ in await stage.said()].count("user") == count


@needs("later")
@pytest.mark.parametrize(
    "step",
    [
        "after intake commit", "model start", "model end", "before done commit",
        "after done commit", "before send claim", "before sent commit", "after sent commit",
    ],
)  # fmt: skip
async def test_a_message_that_met_a_crash_after_it_was_kept_is_answered_once(
    stage: Stage, step: str
) -> None:
    assert await _told_over_a_crash(stage, step) == [
        "You said: hello", "You said: the second thing", "You said: the third thing",
    ]  # fmt: skip


@needs("later")
@provides("doubt")
async def test_an_answer_that_met_a_crash_on_its_way_is_not_said_twice(stage: Stage) -> None:
    first, *second, third = await _told_over_a_crash(stage, "after send claim")
    assert (first, third) == ("You said: hello", "You said: the third thing")
    assert second == ["You said: the second thing"] or ("doubt" in stage.lacks and not second)


@needs("network")
@pytest.mark.parametrize("step", ["after send claim", "before sent commit", "after sent commit"])
async def test_a_crash_between_the_parts_of_a_long_answer_loses_and_repeats_none(
    stage: Stage, step: str
) -> None:
    long = sentences(150)
    await stage.restart(model=Model(reply_tokens=4096))
    await stage.speaks(ScriptedEngine({"": long}))
    stage.kill_at(step)
    await stage.write("maya", "tell me everything")
    await until(stage.killed.is_set)
    await stage.stop()
    await stage.start()
    await stage.mends()
    parts = read(await stage.seen())
    assert len(parts) > 1
    assert squeezed(parts) == long


async def _told_over_a_crash(stage: Stage, step: str) -> list[str]:
    """Let Heed die in the second of three answers; return all that the person reads."""
    await stage.speaks(listener())
    await stage.say("maya", "hello")
    stage.kill_at(step)
    await stage.write("maya", "the second thing")
    await until(stage.killed.is_set)
    await stage.stop()
    await stage.start()
    await stage.settle()
    await stage.say("maya", "the third thing")
    return read(await stage.seen())


@needs("backlog")
async def test_what_was_written_long_ago_is_told_so_and_not_answered(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    await stage.say("maya", "hello")
    await stage.stop()
    await stage.write("maya", "is anybody there?")
    stage.clock.ahead += 3600
    await stage.start()
    await until(lambda: _written(stage, 2))
    await stage.settle()
    assert await stage.seen() == ["You said: hello", fixed("late_alone")]
    assert len(mind.asked("speak")) == 1


@needs("backlog")
async def test_what_was_written_during_a_short_stop_is_answered_in_order(stage: Stage) -> None:
    await stage.speaks(listener())
    await stage.say("maya", "hello")
    await stage.stop()
    for n in range(3):
        await stage.write("maya", f"thing {n}")
    await stage.start()
    await until(lambda: _written(stage, 4))
    await stage.settle()
    told = " ".join(await stage.seen())
    assert [told.count(f"thing {n}") for n in range(3)] == [1, 1, 1]
    assert [text for role, text in await stage.said() if role == "user"] == [
        "hello", "thing 0", "thing 1", "thing 2",
    ]  # fmt: skip


# -- the platform stumbles -----------------------------------------------------------------------


@needs("again")
async def test_the_same_message_delivered_twice_is_answered_once(stage: Stage) -> None:
    await stage.speaks(listener())
    message = await stage.post("maya", "once only")
    await stage.deliver_again("maya", message)
    await stage.settle()
    await stage.deliver_again("maya", message)
    await stage.say("maya", "and this")
    assert await stage.seen() == ["You said: once only", "You said: and this"]


@needs("network")
async def test_what_staff_say_while_the_platform_is_down_arrives_after_it(stage: Stage) -> None:
    await stage.say("maya", FURY)
    before = await stage.seen()
    await stage.down()
    await stage.act("reply", "I am here.")
    await stage.act("reply", "Are you?")
    await until(lambda: _tried(stage))
    await stage.up()
    assert await stage.seen() == before
    await stage.mends()
    new = (await stage.seen())[len(before) :]
    assert [unsigned(text) for text in new] == ["I am here.", "Are you?"]


async def _tried(stage: Stage) -> bool:
    return any(row.tries for row in await stage.rows(outbox, state="queued"))


@needs("network")
async def test_two_answers_keep_their_order_over_an_error(stage: Stage) -> None:
    await stage.speaks(listener())
    stage.stumble("429")
    await stage.post("maya", "first thing")
    await until(lambda: _written_by_bot(stage, 1))
    await stage.post("maya", "second thing")
    await until(lambda: _written_by_bot(stage, 2))
    await stage.mends()
    assert await stage.seen() == ["You said: first thing", "You said: second thing"]


async def _written_by_bot(stage: Stage, count: int) -> bool:
    return [role for role, _ in await stage.said()].count("bot") == count


@needs("network")
async def test_an_answer_that_arrived_without_word_of_it_is_not_said_twice(stage: Stage) -> None:
    await stage.speaks(listener())
    stage.stumble("reset")
    await stage.post("maya", "hello")
    await until(lambda: _written_by_bot(stage, 1))
    await stage.mends()
    assert read(await stage.seen()) == ["You said: hello"]


# -- the mind stumbles ---------------------------------------------------------------------------


async def test_a_mind_that_fails_once_is_asked_again(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    mind.fail("speak")
    assert await stage.say("maya", "hello") == ["You said: hello"]


async def test_a_mind_that_says_nothing_does_not_leave_anybody_without_a_word(
    stage: Stage,
) -> None:
    await stage.speaks(ScriptedEngine({"": ""}))
    [answer] = await stage.say("maya", "hello")
    assert answer


async def test_a_machine_on_the_other_side_is_not_answered_for_ever(stage: Stage) -> None:
    await stage.speaks(ScriptedEngine({"": "I hear you."}))
    stage.clock.stopped = stage.clock()  # a machine needs no time
    answers = [len(await stage.say("maya", "I hear you.")) for _ in range(10)]
    assert answers[0] == 1
    assert answers[-2:] == [0, 0]
    assert answers == sorted(answers, reverse=True)


# -- second thoughts -----------------------------------------------------------------------------


@needs("edit")
async def test_a_message_that_is_edited_before_its_answer_is_answered_once(stage: Stage) -> None:
    mind = await stage.speaks(ScriptedEngine(echo))
    mind.hang("speak")
    message = await stage.post("maya", "where is my bed?")
    await until(lambda: mind.asked("speak"))
    await stage.edit("maya", message, "where is my bread?")
    mind.release()
    await stage.settle()
    assert len(await stage.seen()) == 1
    assert [text for role, text in await stage.said() if role == "user"] == ["where is my bread?"]


@needs("edit")
async def test_an_edit_that_is_furious_brings_a_person(stage: Stage) -> None:
    message = await stage.post("maya", "thanks, that fixed it, you are great!")
    await stage.settle()
    await stage.edit("maya", message, FURY)
    await stage.settle()
    assert (await stage.seen())[-1] == fixed("open")
    assert [text for role, text in await stage.said() if role == "user"] == [FURY]


@needs("edit")
async def test_a_harmless_edit_is_not_answered(stage: Stage) -> None:
    await stage.speaks(listener())
    message = await stage.post("maya", "hello wrold")
    await stage.settle()
    before = await stage.seen()
    await stage.edit("maya", message, "hello world")
    await stage.settle()
    assert await stage.seen() == before
    assert [text for role, text in await stage.said() if role == "user"] == ["hello world"]


@needs("delete")
async def test_what_is_deleted_leaves_the_memory(stage: Stage) -> None:
    mind = ScriptedEngine(lambda asked: f"I know {[one.text for one in asked.history]}")
    message = await stage.post("maya", "my card number is xyzzy")
    await stage.settle()
    await stage.speaks(mind)
    await stage.delete("maya", message)
    await stage.settle()
    [answer] = await stage.say("maya", "what do you know?")
    assert "xyzzy" not in answer
    assert "xyzzy" not in str(await stage.said())
