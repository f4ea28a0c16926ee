from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.telegram import TelegramAdapter
from adapters.telegram.pace import Pacer
from core.errors import (
    DeliveryError,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    Unchangeable,
    Unreachable,
)
from core.message import Button, File, Place
from core.split import split
from tests.adapters.telegram_room import (
    ANN,
    BEN,
    DESK,
    GROUP,
    Memory,
    adapter,
    post,
    sending,
    sketch,
)
from tests.fakes.telegram import TelegramFake
from tests.patience import PATIENCE


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.say(ANN, ANN, "hello")
        server.group(GROUP)
        server.group(DESK, forum=True)
        yield server


@pytest.fixture
async def bot(fake: TelegramFake) -> AsyncIterator[TelegramAdapter]:
    async with sending(fake) as one:
        yield one


async def test_a_reply_is_a_remembered_placeholder_and_an_edit(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    memory = Memory()
    receipt = await bot.deliver(post("reply", "Here you are."), memory)
    assert fake.texts(ANN) == ["Here you are."]
    assert memory.ids == [receipt.message_id] == ["2"]
    assert [call.params["text"] for call in fake.called("sendMessage")] == ["…"]


async def test_a_reply_with_a_known_placeholder_is_only_edited_however_often(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    memory = Memory()
    first = await bot.deliver(post("reply", "Answer"), memory)
    again = post("reply", "Answer", message_id=first.message_id)
    assert (await bot.deliver(again, memory)).message_id == first.message_id
    assert fake.texts(ANN) == ["Answer"]
    assert len(fake.called("sendMessage")) == 1
    assert bot.repeatable(again)


async def test_an_answer_never_shows_twice_when_an_edit_breaks_after_the_work(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    memory = Memory()
    fake.fail("editMessageText", "reset", apply=True)
    with pytest.raises(OutcomeUnknown):
        await bot.deliver(post("reply", "Answer"), memory)
    await bot.deliver(post("reply", "Answer", message_id=memory.ids[0]), memory)
    assert fake.texts(ANN) == ["Answer"]


async def test_a_lost_placeholder_is_made_anew(fake: TelegramFake, bot: TelegramAdapter) -> None:
    memory = Memory()
    receipt = await bot.deliver(post("reply", "Answer", message_id="99"), memory)
    assert fake.texts(ANN) == ["Answer"]
    assert memory.ids == [receipt.message_id] == ["2"]


async def test_notices_and_staff_texts_are_sent_plain_in_one_step(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    for kind in ("notice", "relay", "card"):
        await bot.deliver(post(kind, "*as* it_is_ (written)"), Memory())
    assert fake.texts(ANN) == ["*as* it_is_ (written)"] * 3
    assert all(line.entities == () for line in fake.seen(ANN))
    assert not fake.called("editMessageText")
    assert not bot.repeatable(post("notice", "x"))
    assert bot.repeatable(post("reply", "x"))


async def test_an_edit_of_a_message_that_is_gone_is_refused(bot: TelegramAdapter) -> None:
    with pytest.raises(Unchangeable, match="not found"):
        await bot.deliver(post("edit", "x", message_id="99"), Memory())
    with pytest.raises(Refused, match="id of the message"):
        await bot.deliver(post("edit", "x"), Memory())


async def test_an_edit_that_telegram_no_longer_allows_is_unchangeable(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    sent = await bot.deliver(post("relay", "teh"), Memory())
    fake.fail("editMessageText", "400", text="Bad Request: message can't be edited")
    with pytest.raises(Unchangeable, match="can't be edited"):
        await bot.deliver(post("edit", "the", message_id=sent.message_id), Memory())


async def test_a_card_is_pinned_without_a_sound_and_drawn_again_with_its_buttons(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    claim, close = Button(label="Claim", data="claim:1"), Button(label="Close", data="close:1")
    sent = await bot.deliver(post("card", "open", DESK, buttons=(claim,), pin=True), Memory())
    [pin] = fake.called("pinChatMessage")
    assert pin.params["disable_notification"] == "true"
    again = post("redraw", "claimed", DESK, buttons=(close,), message_id=sent.message_id)
    await bot.deliver(again, Memory())
    [line] = fake.seen(DESK)
    assert (line.text, line.buttons, line.pinned) == ("claimed", (("Close", "close:1"),), True)
    assert bot.repeatable(again)


async def test_a_card_that_may_not_be_pinned_is_there_all_the_same(
    fake: TelegramFake, bot: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.pace.GROUP", 0.002)
    fake.chats[DESK].may_pin = False
    await bot.deliver(post("card", "open", DESK, pin=True), Memory())
    fake.chats[DESK].may_pin = True
    fake.fail("pinChatMessage", "500")
    await bot.deliver(post("card", "second", DESK, pin=True), Memory())
    assert [(line.text, line.pinned) for line in fake.seen(DESK)] == [
        ("open", False),
        ("second", False),
    ]


async def test_a_message_is_deleted_and_one_that_is_gone_is_done(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    sent = await bot.deliver(post("relay", "oops"), Memory())
    gone = post("delete", "", message_id=sent.message_id)
    for _ in range(2):
        assert (await bot.deliver(gone, Memory())).message_id == sent.message_id
    assert fake.texts(ANN) == []
    assert len(fake.called("deleteMessage")) == 2
    assert bot.repeatable(gone)


async def test_after_two_days_a_message_can_no_longer_be_deleted(fake: TelegramFake) -> None:
    now = [1_700_000_000.0]
    fake.clock = lambda: now[0]
    async with sending(fake) as bot:
        sent = await bot.deliver(post("relay", "old words"), Memory())
        now[0] += 48 * 3600 + 1
        with pytest.raises(Unchangeable, match="can't be deleted"):
            await bot.deliver(post("delete", "", message_id=sent.message_id), Memory())
    assert fake.texts(ANN) == ["old words"]


@pytest.mark.parametrize(("became", "emoji"), [("sent", "👌"), ("edited", "✍"), ("failed", "👎")])
async def test_staff_see_a_mark_under_their_message(
    fake: TelegramFake, bot: TelegramAdapter, became: str, emoji: str
) -> None:
    written = fake.say(DESK, BEN, "I am on it")
    mark = post("mark", became, DESK, message_id=str(written))
    await bot.deliver(mark, Memory())
    assert fake.seen(DESK)[0].reactions == (emoji,)
    assert bot.repeatable(mark)


async def test_a_reaction_is_put_there_and_taken_back(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    await bot.deliver(post("react", "❤\ufe0f", message_id="1"), Memory())
    assert fake.seen(ANN)[0].reactions == ("❤",)
    await bot.deliver(post("react", "", message_id="1"), Memory())
    assert fake.seen(ANN)[0].reactions == ()


async def test_an_emoji_that_telegram_does_not_take_is_refused(bot: TelegramAdapter) -> None:
    with pytest.raises(Refused, match=r"(?i)reaction_invalid"):
        await bot.deliver(post("react", "🥦", message_id="1"), Memory())


async def test_marks_take_no_slot_of_the_chat_but_wait_when_telegram_asks(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    for _ in range(5):
        await bot.deliver(post("mark", "sent", message_id="1"), Memory())
    assert bot._line._pacer.wait(str(ANN)) == 0
    fake.fail("setMessageReaction", "429", retry_after=40)
    for _ in range(2):
        with pytest.raises(RetryAfter):
            await bot.deliver(post("mark", "sent", message_id="1"), Memory())
    assert len(fake.called("setMessageReaction")) == 6


@pytest.mark.parametrize(
    ("kind", "more", "safe"),
    [
        ("reply", {}, True),
        ("edit", {"message_id": "1"}, True),
        ("redraw", {"message_id": "1"}, True),
        ("delete", {"message_id": "1"}, True),
        ("mark", {"message_id": "1"}, True),
        ("react", {"message_id": "1"}, True),
        ("thread", {"message_id": "1"}, True),
        ("card", {"message_id": "1"}, True),
        ("thread", {}, False),
        ("card", {}, False),
        ("relay", {}, False),
        ("relay", {"message_id": "1", "files": (File(name="", kind="photo", content=b""),)}, False),
    ],
)
def test_only_changes_of_what_is_there_may_be_repeated(
    kind: str, more: dict[str, Any], *, safe: bool
) -> None:
    one = adapter(TelegramFake())
    assert one.repeatable(post(kind, "x", **more)) is safe


async def test_markdown_becomes_entities_also_behind_an_emoji(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    await bot.deliver(post("reply", "😀 **bold** and `code`, snake_case (1)"), Memory())
    [_, line] = fake.seen(ANN)
    assert line.text == "😀 bold and code, snake_case (1)"
    assert line.entities == ("bold", "code")
    assert fake.called("editMessageText")[0].params["entities"][0]["offset"] == 3


async def test_what_looks_like_html_is_shown_as_written(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    await bot.deliver(post("reply", "Put **this** into <head> of the page"), Memory())
    [_, line] = fake.seen(ANN)
    assert (line.text, line.entities) == ("Put this into <head> of the page", ("bold",))


async def test_a_text_that_formatting_would_shorten_is_sent_as_written(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    text = "Put **this** into\n\n```py,linenos\nx\n```"
    await bot.deliver(post("reply", text), Memory())
    assert fake.texts(ANN) == [text]


@pytest.mark.parametrize("link", ["https://evil.example/?q=secret", "tg://user?id=12"])
async def test_no_answer_hides_where_a_link_leads_or_rings_somebody(
    fake: TelegramFake, bot: TelegramAdapter, link: str
) -> None:
    await bot.deliver(post("reply", f"**Good** news, [click here]({link})"), Memory())
    [_, line] = fake.seen(ANN)
    assert (line.text, line.entities) == (f"Good news, click here ({link})", ("bold",))


@pytest.mark.parametrize(
    "said", ["Bad Request: can't parse entities: Unsupported", "Bad Request: ENTITY_BOUNDS_INVALID"]
)
async def test_refused_formatting_falls_back_to_the_same_text_plain(
    fake: TelegramFake, bot: TelegramAdapter, said: str
) -> None:
    fake.fail("editMessageText", "400", text=said)
    await bot.deliver(post("reply", "**bold**"), Memory())
    assert fake.texts(ANN) == ["**bold**"]


async def test_formatted_words_of_people_keep_their_formatting_when_sent_and_edited(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    sent = await bot.deliver(post("relay", "**bold** and 2 \\* 3", formatted=True), Memory())
    await bot.deliver(post("relay", "only 2 \\* 3", formatted=True), Memory())
    await bot.deliver(post("relay", "as *is*"), Memory())
    edit = post("edit", "*new* and 2 \\* 3", formatted=True, message_id=sent.message_id)
    await bot.deliver(edit, Memory())
    assert [(line.text, line.entities) for line in fake.seen(ANN)[1:]] == [
        ("new and 2 * 3", ("italic",)),
        ("only 2 * 3", ()),
        ("as *is*", ()),
    ]
    fake.fail("sendMessage", "400", text="Bad Request: can't parse entities: no")
    await bot.deliver(post("relay", "**bold**", formatted=True), Memory())
    assert fake.texts(ANN)[-1] == "**bold**"


async def test_half_a_character_does_not_stop_a_post(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    await bot.deliver(post("notice", "half \ud83d"), Memory())
    assert fake.texts(ANN) == ["half \ufffd"]


async def test_4096_emoji_arrive_in_two_parts_and_only_the_first_is_a_reply(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.say(GROUP, ANN, "@HeedBot emoji please")
    for part, text in enumerate(split("😀" * 4096, bot.limit)):
        await bot.deliver(post("notice", text, GROUP, part=part, reply_to="1"), Memory())
    first, second = fake.seen(GROUP)[1:]
    assert (first.text, second.text) == ("😀" * 2048, "😀" * 2048)
    assert (first.reply_to, second.reply_to) == (1, None)


async def test_too_long_a_text_is_refused(bot: TelegramAdapter) -> None:
    with pytest.raises(Refused, match="too long"):
        await bot.deliver(post("notice", "x" * 4097), Memory())


async def test_a_deleted_question_does_not_stop_the_answer(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    await bot.deliver(post("reply", "Answer", GROUP, reply_to="77"), Memory())
    assert fake.texts(GROUP) == ["Answer"]


async def test_a_private_answer_quotes_whom_it_is_told_to(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    await bot.deliver(post("relay", "Answer", reply_to="1"), Memory())
    await bot.deliver(post("relay", "Answer"), Memory())
    assert [line.reply_to for line in fake.seen(ANN)[1:]] == [1, None]


async def test_link_previews_are_off(fake: TelegramFake, bot: TelegramAdapter) -> None:
    await bot.deliver(post("notice", "see https://a.example"), Memory())
    assert fake.calls[-1].params["link_preview_options"] == {"is_disabled": True}


async def test_who_blocked_the_bot_is_unreachable(fake: TelegramFake, bot: TelegramAdapter) -> None:
    fake.block(ANN)
    with pytest.raises(Unreachable, match="blocked"):
        await bot.deliver(post("reply", "x"), Memory())


async def test_a_chat_that_does_not_exist_is_unreachable(bot: TelegramAdapter) -> None:
    with pytest.raises(Unreachable, match="Chat not found"):
        await bot.deliver(post("notice", "x", 999), Memory())


async def test_a_group_that_became_a_supergroup_is_followed(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.upgrade(GROUP, -1009)
    await bot.deliver(post("reply", "Answer", GROUP), Memory())
    assert fake.texts(-1009) == ["Answer"]


@pytest.mark.parametrize("kind", ["500", "502", "502json", "503", "reset", "cut", "junk", "shape"])
async def test_a_broken_answer_is_an_unknown_outcome_and_the_message_exists(
    fake: TelegramFake, bot: TelegramAdapter, kind: Any
) -> None:
    fake.fail("sendMessage", kind, apply=True)
    with pytest.raises(OutcomeUnknown):
        await bot.deliver(post("notice", "once"), Memory())
    assert fake.texts(ANN) == ["once"]


async def test_a_hang_is_an_unknown_outcome(fake: TelegramFake) -> None:
    fake.fail("sendMessage", "hang", apply=True)
    async with sending(fake, call_timeout=0.2) as bot:
        with pytest.raises(OutcomeUnknown):
            await bot.deliver(post("notice", "once"), Memory())


@pytest.mark.parametrize("kind", ["401", "404", "409"])
async def test_a_refused_call_was_not_sent(
    fake: TelegramFake, bot: TelegramAdapter, kind: Any
) -> None:
    fake.fail("sendMessage", kind)
    with pytest.raises(NotSent):
        await bot.deliver(post("notice", "x"), Memory())
    assert fake.texts(ANN) == []


async def test_an_unreachable_server_was_not_sent(fake: TelegramFake, bot: TelegramAdapter) -> None:
    await fake.gone()
    with pytest.raises(NotSent, match="reached"):
        await bot.deliver(post("notice", "x"), Memory())


async def test_after_closing_nothing_leaves(fake: TelegramFake) -> None:
    async with sending(fake) as bot:
        await bot.close()
        with pytest.raises(NotSent, match="stopping"):
            await bot.deliver(post("notice", "x"), Memory())


async def test_a_flood_error_holds_that_chat_only(fake: TelegramFake, bot: TelegramAdapter) -> None:
    fake.say(BEN, BEN, "hello")
    fake.fail("sendMessage", "429", retry_after=40)
    with pytest.raises(RetryAfter) as first:
        await bot.deliver(post("notice", "x"), Memory())
    assert first.value.seconds == 40
    with pytest.raises(RetryAfter) as second:
        await bot.deliver(post("notice", "x"), Memory())
    assert 35 < second.value.seconds <= 40
    assert len(fake.called("sendMessage")) == 1
    await bot.deliver(post("notice", "x", BEN), Memory())
    assert fake.texts(BEN) == ["x"]


async def test_errors_never_carry_the_token(fake: TelegramFake, bot: TelegramAdapter) -> None:
    for kind in ("401", "404", "500", "junk", "reset"):
        fake.fail("sendMessage", kind)  # type: ignore[arg-type]
        with pytest.raises(DeliveryError) as caught:
            await bot.deliver(post("notice", "x", ANN), Memory())
        bot._line._pacer = Pacer(lambda: 0.0)
        assert fake.token not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_typing_shows_in_the_topic_and_its_failure_harms_nothing(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    topic = fake.topic(DESK, "a case")
    place = Place(platform="telegram", bot="4242", chat=str(DESK), thread=str(topic))
    await bot.typing(place)
    assert fake.actions == [(DESK, topic, "typing")]
    fake.fail("sendChatAction", "500")
    await bot.typing(place)
    assert len(fake.actions) == 1


async def test_a_preview_is_a_draft_in_private_chats_at_most_once_a_second(
    fake: TelegramFake,
) -> None:
    now, memory = [1000.0], Memory()
    private = Place(platform="telegram", bot="4242", chat=str(ANN))
    async with sending(fake, steady=lambda: now[0]) as bot:
        await bot.preview(private, sketch("Hel"), memory)
        await bot.preview(private, sketch("Hello"), memory)
        assert fake.drafts(ANN) == ["Hel"]
        now[0] += 1.1
        await bot.preview(private, sketch("Hello"), memory)
        assert fake.drafts(ANN) == ["Hello"]
        now[0] += 1.1
        fake.fail("sendMessageDraft", "404")
        await bot.preview(private, sketch("Hello!"), memory)
    assert memory.ids == []


async def test_a_draft_that_hangs_keeps_no_reply_waiting(
    fake: TelegramFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.sketch.PATIENCE", 0.1)
    now, memory = [1000.0], Memory()
    private = Place(platform="telegram", bot="4242", chat=str(ANN))
    async with sending(fake, steady=lambda: now[0], call_timeout=300.0) as bot:
        fake.fail("sendMessageDraft", "hang")
        async with asyncio.timeout(PATIENCE):
            await bot.preview(private, sketch("Hel"), memory)
        for wait, calls in ((5.0, 1), (26.0, 2)):  # it rests in this chat, then tries again
            now[0] += wait
            await bot.preview(private, sketch("Hello"), memory)
            assert len(fake.called("sendMessageDraft")) == calls


async def test_nothing_that_people_wrote_stands_in_the_log_when_an_answer_is_broken(
    fake: TelegramFake, bot: TelegramAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.fail("sendMessage", "junk")
    with pytest.raises(OutcomeUnknown):
        await bot.deliver(post("notice", "planted words"), Memory())
    lines = [one for one in caplog.records if one.name.startswith(("telegram", "adapters"))]
    assert not [one for one in lines if "planted" in one.getMessage()]
    assert not [one for one in lines if "invalid JSON" in one.getMessage()]


def test_a_burst_of_three_passes_then_one_a_second() -> None:
    now = [100.0]
    pacer = Pacer(lambda: now[0])
    assert [pacer.take("11") for _ in range(5)] == [100, 100, 100, 101, 102]
    assert pacer.take("12") == 100
    now[0] += 10
    assert pacer.take("11") == 110


def test_a_group_gets_twenty_a_minute() -> None:
    pacer = Pacer(lambda: 100.0)
    leave = [pacer.take("-1001") for _ in range(60)]
    assert leave[:5] == [100, 100, 100, 101, 102]
    # In no minute are there more than twenty, and a busy group comes close to that.
    in_a_minute = [sum(at <= other < at + 60 for other in leave) for at in leave]
    assert max(in_a_minute) in (19, 20)


def test_what_leaves_late_counts_in_its_groups_minute_from_then() -> None:
    now = [100.0]
    pacer = Pacer(lambda: now[0])
    taken = [pacer.take("-5") for _ in range(20)]
    now[0] = taken[3]
    pacer.left("-5", taken[0])  # of three that might leave at once
    now[0] = taken[-1]
    assert pacer.take("-5") == pytest.approx(taken[1] + 63.0)
    assert pacer.take("-5") == pytest.approx(taken[2] + 63.0)
    assert pacer.take("-5") == pacer.take("-5") == pytest.approx(taken[3] + 63.0)
    pacer.left("-6", 1.0)  # a group nobody has written to


async def test_a_slow_group_keeps_nobody_else_waiting(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    for _ in range(3):
        await bot.deliver(post("notice", "x", GROUP), Memory())
    slow = asyncio.create_task(bot.deliver(post("notice", "x", GROUP), Memory()))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE):
        await bot.deliver(post("notice", "quick"), Memory())
    assert not slow.done()
    slow.cancel()
    assert fake.texts(ANN) == ["quick"]


async def test_a_process_that_stood_still_sends_no_flood_afterwards(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    everybody = []
    for n in range(40):
        fake.say(ANN + n, ANN + n, "hello")
        place = Place(platform="telegram", bot="4242", chat=str(ANN + n))
        everybody.append(replace(post("notice", "x"), place=place))
    sending_all = [asyncio.create_task(bot.deliver(one, Memory())) for one in everybody]
    await fake.until(lambda: fake.called("sendMessage"))
    time.sleep(0.8)  # noqa: ASYNC251 - nothing moves meanwhile, as on a machine that is too busy
    await asyncio.gather(*sending_all)
    at = [call.at for call in fake.called("sendMessage")]
    assert len(at) == 40
    assert max(sum(one <= other < one + 0.1 for other in at) for one in at) <= 15


def test_all_chats_together_get_twenty_five_a_second() -> None:
    pacer = Pacer(lambda: 100.0)
    waits = [pacer.take_overall() for _ in range(75)]
    assert waits[4] == pytest.approx(0.0, abs=0.01)
    assert waits[-1] == pytest.approx(2.8, abs=0.01)
    in_a_second = [sum(at <= one < at + 0.999 for one in waits) for at in waits]
    assert max(in_a_second) <= 30  # as Telegram counts


def test_the_pacer_forgets_quiet_chats() -> None:
    now = [100.0]
    pacer = Pacer(lambda: now[0])
    for chat in range(3000):
        now[0] += 1
        pacer.take(str(chat))
    assert len(pacer._idle_at) <= 1001
