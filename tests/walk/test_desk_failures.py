"""What fails around a desk on Telegram, and what staff and people see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.engine.scripted import ScriptedEngine
from core.tables import audit, case, conversation, outbox, staff_thread
from tests.fakes.telegram_people import Seen
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    BEN,
    DESK,
    FURY,
    KIND,
    MAYA,
    OPEN,
    RESOLVED,
    Heed,
    heed_on,
    hurry,
)

SIGNED = "Ana · Support"
SUCCESSOR = "The thread was removed; this is its successor. To end a case press Resolve."
DELAY = "Your messages are saved but delayed."
DOUBT = "This may or may not have arrived. It was not sent again."
SECOND = -3003


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


def general(heed: Heed, chat: int = DESK) -> list[Seen]:
    """Return what the bot posted outside of all topics."""
    return [s for s in heed.telegram.seen(chat) if s.who == "bot" and s.thread is None]


# -- topics that go away -------------------------------------------------------------------------


async def test_17_a_deleted_topic_gets_a_successor_with_card_and_waiting_words(
    heed: Heed,
) -> None:
    """HANDOFF 17: recreate once, repost card and the waiting message; then section 4."""
    topic = await heed.opened()
    await heed.press("Claim")
    heed.telegram.delete_topic(DESK, topic)
    await heed.says(MAYA, "are you still there?")
    second = heed.topic()
    assert second != topic
    lines = heed.read(DESK, second)
    assert any(line.startswith("Case 1 · Maya") and "With Ana" in line for line in lines)
    assert SUCCESSOR in lines
    assert lines.count("Maya: are you still there?") == 1
    assert heed.state_of(second) == {"name": "#1 Maya", "icon": "💬", "closed": False}
    assert heed.card().pinned
    await heed.staff("yes")
    assert heed.read(MAYA)[-1].endswith("yes")
    heed.telegram.delete_topic(DESK, second)
    await heed.says(MAYA, "and now?")
    assert not heed.telegram.chats[DESK].topics
    copy = next(s for s in general(heed) if s.text == "Maya: and now?")
    card = next(s for s in general(heed) if s.text.startswith("Case 1 · Maya"))
    assert copy.reply_to == card.message_id
    await heed.says(ANA, "still here", chat=DESK, reply_to=copy.message_id)
    assert heed.read(MAYA)[-1].endswith("still here")


async def test_17_a_topic_that_somebody_closed_is_opened_again(heed: Heed) -> None:
    """HANDOFF 17: `TOPIC_CLOSED`: reopen once, then the waiting message."""
    topic = await heed.opened()
    heed.telegram.close_topic(DESK, topic, ANA)
    await heed.says(MAYA, "are you still there?")
    assert not heed.state_of(topic)["closed"]
    assert heed.read(DESK, topic)[-1] == "Maya: are you still there?"
    assert len(await heed.rows(staff_thread, case_id=1)) == 1
    assert (await heed.the_case()).state == "queued"


async def test_4_without_the_right_to_make_topics_the_general_chat_is_the_desk(heed: Heed) -> None:
    """HANDOFF 4.5: card in the general chat; replying to the card or to a copy is the relay."""
    heed.telegram.chats[DESK].rights = False
    await heed.says(MAYA, FURY)
    card = heed.card()
    assert card.thread is None
    assert heed.read(MAYA)[-1].startswith(OPEN)
    await heed.says(ANA, "lunch?", chat=DESK)
    assert heed.read(MAYA)[-1].startswith(OPEN)
    said = await heed.says(ANA, "I am here.", chat=DESK, reply_to=card.message_id)
    assert heed.read(MAYA)[-1] == f"{SIGNED}\nI am here."
    assert heed.marks(said) == ("👌",)
    await heed.says(MAYA, "finally!")
    copy = next(s for s in general(heed) if s.text == "Maya: finally!")
    assert copy.reply_to == card.message_id
    await heed.says(ANA, "sorry", chat=DESK, reply_to=copy.message_id)
    assert heed.read(MAYA)[-1] == "sorry"
    await heed.says(ANA, "/resolve done", chat=DESK)
    assert heed.read(MAYA)[-1].startswith(RESOLVED)
    assert not [row for row in await heed.rows(outbox) if row.state == "uncertain"]


async def test_4_a_topic_of_unknown_outcome_is_asked_for_once_more(heed: Heed) -> None:
    """HANDOFF 4.5: created again at most once; an empty twin may remain, and the card says so."""
    heed.telegram.fail("createForumTopic", "reset", apply=True)
    await heed.says(MAYA, FURY)
    twin, real = sorted(heed.telegram.chats[DESK].topics)
    assert heed.read(DESK, twin) == []
    lines = heed.read(DESK, real)
    assert lines[0].startswith("Case 1 · Maya")
    assert any("empty twin" in line for line in lines)
    lost = await heed.staff("Hello?", thread=twin)
    assert heed.read(MAYA)[-1].startswith(OPEN)
    assert [s.reply_to for s in general(heed) if "belongs to no case" in s.text] == [lost]
    await heed.staff("I am here.", thread=real)
    assert heed.read(MAYA)[-1] == f"{SIGNED}\nI am here."


async def test_4_twice_unknown_and_the_case_lives_in_the_general_chat(heed: Heed) -> None:
    """HANDOFF 4.5: at most once."""
    heed.telegram.fail("createForumTopic", "reset", 2, apply=True)
    await heed.says(MAYA, FURY)
    assert len(heed.telegram.called("createForumTopic")) == 2
    assert any(s.text.startswith("Case 1 · Maya") for s in general(heed))


# -- desks that go away --------------------------------------------------------------------------


async def test_19_a_desk_that_shuts_the_bot_out_leaves_the_page_and_a_word(heed: Heed) -> None:
    """HANDOFF 19: the next desk, in the end `web`; users in line get `delay` once."""
    heed.telegram.chats[DESK].blocked = True
    await heed.says(MAYA, FURY)
    assert heed.read(MAYA) == [heed.read(MAYA)[0], DELAY]
    await heed.says(MAYA, "hello?")
    await heed.later(11 * 60)
    assert heed.read(MAYA).count(DELAY) == 1
    [person] = await heed.rows(conversation)
    assert not person.unreachable
    assert [row["state"] for row in (await heed.room.queue({}))["cases"]] == ["queued"]
    await heed.room.act(1, "reply", "Sam", text="I read you on the page.")
    await heed.quiet()
    assert heed.read(MAYA)[-1] == "Sam · Support\nI read you on the page."


async def test_19_the_next_desk_of_the_list_takes_over(tmp_path: Path) -> None:
    """HANDOFF 4.4, 19: an ordered list of desks; both are heard."""
    desk = {"staff": f"telegram:{DESK},telegram:{SECOND}"}
    async with heed_on(tmp_path, staff="telegram", desk=desk) as heed:
        heed.telegram.group(SECOND, title="Second", forum=True)
        first = await heed.opened(BEN)
        heed.telegram.chats[DESK].blocked = True
        await heed.says(MAYA, FURY)
        [topic] = heed.telegram.chats[SECOND].topics
        lines = heed.read(SECOND, topic)
        assert any(line.startswith("Case 2 · Maya") for line in lines)
        assert heed.read(MAYA).count(DELAY) == 1
        await heed.says(MAYA, "hello?")
        assert heed.read(SECOND, topic)[-1] == "Maya: hello?"
        await heed.says(ANA, "I am here.", chat=SECOND, thread=topic)
        assert heed.read(MAYA)[-1] == f"{SIGNED}\nI am here."
        assert first in heed.telegram.chats[DESK].topics


async def test_17_the_desk_itself_becomes_a_supergroup(tmp_path: Path) -> None:
    """HANDOFF 17: group to supergroup; old cases and new ones go on under the new id."""
    async with heed_on(tmp_path, staff="telegram", forum=False) as heed:
        await heed.says(MAYA, FURY)
        assert heed.card().text.startswith("Case 1")
        new = DESK - 5
        heed.telegram.upgrade(DESK, new)
        await heed.settled(kind="moved")
        await heed.says(MAYA, "hello?")
        copy = next(s for s in heed.telegram.seen(new) if s.text == "Maya: hello?")
        await heed.says(ANA, "I am here.", chat=new, reply_to=copy.message_id)
        assert heed.read(MAYA)[-1] == f"{SIGNED}\nI am here."
        await heed.says(BEN, FURY)
        card = next(s for s in heed.telegram.seen(new) if s.text.startswith("Case 2 · Ben"))
        await heed.says(ANA, "Hello Ben.", chat=new, reply_to=card.message_id)
        assert heed.read(BEN)[-1] == f"{SIGNED}\nHello Ben."


# -- posts that fail -----------------------------------------------------------------------------


async def test_19_an_answer_of_unknown_outcome_is_flagged_and_staff_decide(heed: Heed) -> None:
    """HANDOFF 7 certainty, 19: "may have arrived: [Resend] [It did]"."""
    topic = await heed.opened()
    await heed.press("Claim")
    heed.telegram.fail("sendMessage", "reset", apply=True)
    one = await heed.staff("It is paid back.")
    assert heed.read(MAYA).count(f"{SIGNED}\nIt is paid back.") == 1
    flag = heed.shown(DOUBT, thread=topic)
    assert "It is paid back." in flag.text
    assert [label for label, _ in flag.buttons] == ["Resend", "It did"]
    assert heed.marks(one) == ("👎",)
    await heed.press("It did", on=flag)
    assert heed.marks(one) == ("👌",)
    assert heed.read(MAYA).count(f"{SIGNED}\nIt is paid back.") == 1
    heed.telegram.fail("sendMessage", "reset")
    two = await heed.staff("Anything else?")
    assert heed.read(MAYA)[-1] != "Anything else?"
    await heed.press("Resend", on=heed.shown("Anything else?", thread=topic))
    assert heed.read(MAYA)[-1] == "Anything else?"
    assert heed.marks(two) == ("👌",)


async def test_7_a_refused_answer_says_why_and_may_be_tried_again(heed: Heed) -> None:
    """HANDOFF 7 delivery mark: failure also gets a line with the reason and [Retry]."""
    topic = await heed.opened()
    await heed.press("Claim")
    heed.telegram.fail("sendMessage", "400", text="Bad Request: something odd")
    one = await heed.staff("It is paid back.")
    flag = heed.shown("Not delivered to Maya", thread=topic)
    assert "Telegram: Something odd" in flag.text
    assert [label for label, _ in flag.buttons] == ["Retry"]
    assert heed.marks(one) == ("👎",)
    await heed.press("Retry", on=flag)
    assert heed.read(MAYA)[-1] == f"{SIGNED}\nIt is paid back."
    assert heed.marks(one) == ("👌",)


async def test_19_a_flood_limit_is_waited_out(heed: Heed) -> None:
    """HANDOFF 19: that chat waits the stated time; nothing is lost or doubled."""
    topic = await heed.opened()
    heed.telegram.fail("sendMessage", "429", retry_after=1)
    await heed.says(MAYA, "hello?")
    await until(lambda: "Maya: hello?" in heed.read(DESK, topic))
    assert heed.read(DESK, topic).count("Maya: hello?") == 1
    assert [row.state for row in await heed.rows(outbox, text="Maya: hello?")] == ["sent"]


async def test_19_a_long_flood_limit_is_told_to_staff(heed: Heed) -> None:
    """HANDOFF 19: staff line if over 60 s."""
    topic = await heed.opened()
    await heed.press("Claim")
    heed.telegram.fail("sendMessage", "429", retry_after=90)
    heed.telegram.say(DESK, ANA, "It is paid back.", thread=topic)
    await until(lambda: any("90 s" in line for line in heed.read(DESK, topic)))
    assert not any("paid back" in text for text in heed.read(MAYA))
    heed.clock.lapse(91)
    heed.app.handoff.ring([("person", 1)])
    await until(lambda: heed.read(MAYA)[-1].endswith("It is paid back."))


async def test_19_telegram_away_loses_nothing(heed: Heed) -> None:
    """HANDOFF 19: the outbox resumes."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.telegram.gone()
    await heed.room.act(1, "steal", "Sam", confirm=True)
    await heed.room.act(1, "reply", "Sam", text="We are here.")
    await heed.telegram.back()
    await until(lambda: heed.read(MAYA)[-1] == "Sam · Support\nWe are here.")
    await until(lambda: "Sam: We are here." in heed.read(DESK, topic))
    await heed.quiet()
    assert not [row for row in await heed.rows(outbox) if row.state == "uncertain"]


async def test_19_an_engine_that_fails_twice_brings_a_person(heed: Heed) -> None:
    """HANDOFF 12 failure, 19 engine down: the table hears, two failures count as *failure*."""
    engine = ScriptedEngine()
    await heed.app.mind.swap(engine)
    engine.fail("tag", 20)
    engine.fail("speak", 20)
    await heed.says(MAYA, KIND)
    await heed.says(MAYA, "and how do I export it?")
    assert (await heed.the_case()).rule == "failure"
    assert heed.read(MAYA)[-1].startswith(OPEN)
    assert (await heed.scores(KIND))["label"] == "positive"


# -- no failure: the trace -----------------------------------------------------------------------


async def test_3_every_step_leaves_one_line_in_the_audit(heed: Heed) -> None:
    """HANDOFF 3: one `audit` row for each step, with who did it."""
    await heed.opened()
    await heed.press("Claim")
    await heed.press("Release")
    await heed.press("Claim")
    await heed.press("Resolve")
    steps = [(row.what, row.who) for row in await heed.rows(audit) if row.case_id == 1]
    assert [step for step in steps if step[1]] == [
        ("claimed", "Ana"), ("released", "Ana"), ("claimed", "Ana"), ("resolved", "Ana"),
    ]  # fmt: skip
    assert len(await heed.rows(case)) == 1
