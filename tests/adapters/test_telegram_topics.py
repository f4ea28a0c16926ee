from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.telegram import TelegramAdapter
from adapters.telegram.topics import ICONS
from core.errors import NoThread, OutcomeUnknown, Refused, ThreadGone, ThreadShut
from core.message import Receipt
from tests.adapters.telegram_room import DESK, GROUP, Memory, post, sending
from tests.fakes.telegram import TelegramFake


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.telegram.pace.GROUP", 0.002)


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.group(GROUP)
        server.group(DESK, forum=True)
        yield server


@pytest.fixture
async def bot(fake: TelegramFake) -> AsyncIterator[TelegramAdapter]:
    async with sending(fake) as one:
        yield one


def topic(fake: TelegramFake, receipt: Receipt) -> tuple[str, str, bool]:
    """Return name, icon and whether it is closed."""
    found: dict[str, Any] = fake.chats[DESK].topics[int(receipt.thread)]
    return found["name"], found["icon"], found["closed"]


async def opened(bot: TelegramAdapter, state: str = "queued") -> Receipt:
    return await bot.deliver(post("thread", "#412 Maya", DESK, state=state), Memory())


async def turned(bot: TelegramAdapter, made: Receipt, state: str, text: str = "") -> Receipt:
    change = post("thread", text, DESK, state=state, message_id=made.message_id)
    assert bot.repeatable(change)
    return await bot.deliver(change, Memory())


async def test_a_topic_is_opened_and_written_to(fake: TelegramFake, bot: TelegramAdapter) -> None:
    receipt = await bot.deliver(post("thread", "Ann, angry " + "x" * 200, DESK), Memory())
    await bot.deliver(post("card", "Case 1", DESK, thread=receipt.thread), Memory())
    assert fake.texts(DESK, int(receipt.thread)) == ["Case 1"]
    assert len(fake.chats[DESK].topics[int(receipt.thread)]["name"]) == 128
    assert not bot.repeatable(post("thread", "x", DESK))


async def test_a_name_of_emoji_is_cut_as_telegram_counts(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    receipt = await bot.deliver(post("thread", "x" + "😀" * 100, DESK), Memory())
    assert topic(fake, receipt)[0] == "x" + "😀" * 63


@pytest.mark.parametrize(
    ("state", "icon", "closed"),
    [
        ("queued", "❗️", False),
        ("human", "💬", False),
        ("snoozed", "☕️", True),
        ("watch", "👀", False),
        ("resolved", "✅", True),
    ],
)
async def test_the_icon_shows_the_state_and_a_settled_topic_is_closed(
    fake: TelegramFake, bot: TelegramAdapter, state: str, icon: str, *, closed: bool
) -> None:
    made = await opened(bot)
    assert topic(fake, made) == ("#412 Maya", "❗️", False)
    for _ in range(2):  # again: "not modified" is done
        assert await turned(bot, made, state) == made
        assert topic(fake, made) == ("#412 Maya", icon, closed)
    assert len(fake.called("getForumTopicIconStickers")) == 1


async def test_a_reopened_case_opens_its_topic_under_a_new_name(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    made = await opened(bot)
    await turned(bot, made, "resolved")
    await turned(bot, made, "queued", "#412 Maya again")
    assert topic(fake, made) == ("#412 Maya again", "❗️", False)


async def test_a_topic_that_is_open_already_costs_no_slot(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    made = await opened(bot)
    before = len(bot._line._pacer._minute[str(DESK)])
    await turned(bot, made, "human")  # the icon takes one
    assert len(bot._line._pacer._minute[str(DESK)]) == before + 1
    assert len(fake.called("reopenForumTopic")) == 1


async def test_no_icon_never_stops_a_topic(fake: TelegramFake, bot: TelegramAdapter) -> None:
    fake.fail("getForumTopicIconStickers", "500")
    made = await opened(bot)
    assert topic(fake, made) == ("#412 Maya", "", False)
    fake.fail("editForumTopic", "400", text="Bad Request: DOCUMENT_INVALID")
    await turned(bot, made, "human", "#412 Maya M.")
    assert topic(fake, made) == ("#412 Maya M.", "", False)
    await turned(bot, made, "human")
    assert topic(fake, made) == ("#412 Maya M.", "💬", False)


async def test_a_refused_icon_never_stops_a_new_topic(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.fail("createForumTopic", "400", text="Bad Request: DOCUMENT_INVALID")
    made = await opened(bot)
    assert topic(fake, made) == ("#412 Maya", "", False)


async def test_a_state_without_an_icon_takes_the_old_one_away(
    fake: TelegramFake, bot: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ICONS, "human", ("🥦",))
    made = await opened(bot)
    await turned(bot, made, "human")
    assert topic(fake, made) == ("#412 Maya", "", False)


async def test_where_no_topic_can_be_had_it_says_so(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    with pytest.raises(NoThread, match="not a forum"):
        await bot.deliver(post("thread", "Case", GROUP), Memory())
    made = await opened(bot)
    fake.chats[DESK].rights = False
    with pytest.raises(NoThread, match="Not enough rights"):
        await bot.deliver(post("thread", "Case", DESK), Memory())
    assert len(fake.called("createForumTopic")) == 3
    with pytest.raises(NoThread, match="Not enough rights"):
        await turned(bot, made, "human")


async def test_an_unknown_outcome_of_making_one_is_told_as_such(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.fail("createForumTopic", "reset", apply=True)
    with pytest.raises(OutcomeUnknown):
        await opened(bot)
    assert len(fake.chats[DESK].topics) == 1


async def test_a_deleted_topic_is_gone_for_posts_and_for_changes(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    made = await opened(bot)
    await bot.deliver(post("card", "Case 1", DESK, thread=made.thread), Memory())
    fake.delete_topic(DESK, int(made.thread))
    assert fake.texts(DESK) == []
    with pytest.raises(ThreadGone, match="thread not found"):
        await bot.deliver(post("relay", "x", DESK, thread=made.thread), Memory())
    for state in ("human", "resolved"):
        with pytest.raises(ThreadGone):
            await turned(bot, made, state)


async def test_a_closed_topic_is_shut_until_it_is_opened(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    made = await opened(bot)
    fake.close_topic(DESK, int(made.thread))
    with pytest.raises(ThreadShut, match=r"(?i)topic_closed"):
        await bot.deliver(post("relay", "x", DESK, thread=made.thread), Memory())
    await turned(bot, made, "queued")
    await bot.deliver(post("relay", "x", DESK, thread=made.thread), Memory())
    assert fake.texts(DESK, int(made.thread)) == ["x"]


async def test_deleting_the_message_that_began_a_topic_takes_the_topic_with_all_in_it(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    made = await opened(bot)
    await bot.deliver(post("card", "Case 1", DESK, thread=made.thread), Memory())
    whole = post("delete", "", DESK, thread=made.thread, message_id=made.message_id)
    for _ in range(2):
        await bot.deliver(whole, Memory())
    assert fake.chats[DESK].topics == {}
    assert fake.seen(DESK) == []


async def test_other_refusals_of_a_change_are_no_missing_thread(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    made = await opened(bot)
    fake.fail("editForumTopic", "400", 2, text="Bad Request: TOPIC_TITLE_INVALID")
    with pytest.raises(Refused, match=r"(?i)title") as caught:
        await turned(bot, made, "human", "Maya")
    assert not isinstance(caught.value, NoThread)
