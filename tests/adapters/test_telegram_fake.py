"""The Bot API server of these tests, asked by the real library: its rules are Telegram's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import telegram
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity, ReactionTypeEmoji
from telegram.error import BadRequest, ChatMigrated, Forbidden, RetryAfter, TelegramError

from tests.adapters.telegram_room import ANN, BEN, DESK, GROUP
from tests.fakes.telegram import TelegramFake


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.say(ANN, ANN, "hello")
        server.group(GROUP, forum=True)
        yield server


@pytest.fixture
async def bot(fake: TelegramFake) -> AsyncIterator[telegram.Bot]:
    one = telegram.Bot(fake.token, base_url=fake.api_base, base_file_url=fake.file_base)
    async with one:
        yield one


METHODS = """getMe getUpdates setWebhook deleteWebhook getWebhookInfo sendMessage editMessageText
editMessageReplyMarkup deleteMessage deleteMessages sendMessageDraft sendChatAction
setMessageReaction answerCallbackQuery setMyCommands getMyCommands createForumTopic editForumTopic
closeForumTopic reopenForumTopic deleteForumTopic pinChatMessage getChat getChatMember
getChatAdministrators getFile getForumTopicIconStickers sendDocument sendPhoto sendVideo sendVoice
sendSticker sendMediaGroup editMessageMedia editMessageCaption copyMessage copyMessages
leaveChat"""


def test_every_method_is_there(fake: TelegramFake) -> None:
    assert [name for name in METHODS.split() if not hasattr(fake, f"_do_{name.lower()}")] == []


async def test_a_call_comes_as_form_json_or_multipart_and_in_any_case(fake: TelegramFake) -> None:
    base = f"{fake.api_base}{fake.token}"
    said = {"chat_id": str(ANN), "text": "x"}
    form = aiohttp.FormData(said)
    form.add_field("file", b"bytes", filename="a.txt")
    async with aiohttp.ClientSession() as session:
        for method, more in (
            ("sendMessage", {"data": said}),
            ("sendmessage", {"json": said}),
            ("SENDMESSAGE", {"data": form}),
        ):
            async with session.post(f"{base}/{method}", **more) as answer:
                assert (await answer.json())["ok"], method
        async with session.post(f"{base}/sendTelegram") as answer:
            assert (answer.status, (await answer.json())["error_code"]) == (404, 404)
    assert fake.texts(ANN) == ["x", "x", "x"]


async def test_offsets_confirm_a_limit_cuts_and_a_negative_offset_takes_the_last(
    fake: TelegramFake, bot: telegram.Bot
) -> None:
    for n in range(5):
        fake.say(ANN, ANN, f"line {n}")
    got = await bot.get_updates(limit=2, timeout=0)
    assert [one.message.text for one in got] == ["hello", "line 0"]
    got = await bot.get_updates(offset=got[-1].update_id + 1, timeout=0)
    assert len(got) == len(fake.updates) == 4
    got = await bot.get_updates(offset=-1, timeout=0)
    assert [one.message.text for one in got] == ["line 4"]
    assert len(fake.updates) == 1
    numbers = [fake.push("message", {}) for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > got[0].update_id


async def test_a_long_poll_ends_when_something_comes_and_a_second_one_is_a_conflict(
    fake: TelegramFake, bot: telegram.Bot
) -> None:
    fake.updates.clear()
    waiting = asyncio.create_task(bot.get_updates(timeout=5))
    await fake.until(lambda: fake.called("getUpdates"))
    async with telegram.Bot(fake.token, base_url=fake.api_base) as other:
        with pytest.raises(TelegramError, match="Conflict"):
            await other.get_updates(timeout=5)
    fake.say(ANN, ANN, "now")
    assert [one.message.text for one in await waiting] == ["now"]


async def test_reactions_and_members_are_told_only_to_who_asks_and_that_is_remembered(
    fake: TelegramFake, bot: telegram.Bot
) -> None:
    fake.react(ANN, ANN, 1, "👍")
    fake.chats[GROUP].bot = "administrator"
    fake.promote(GROUP, BEN)
    assert len(await bot.get_updates(timeout=0)) == 1
    await bot.get_updates(timeout=0, allowed_updates=["message_reaction", "chat_member"])
    fake.react(ANN, ANN, 1, "👎")
    fake.promote(GROUP, BEN, "member")
    fake.say(ANN, ANN, "unasked")
    got = await bot.get_updates(timeout=0)
    assert [one.message_reaction is not None for one in got[1:]] == [True, False]
    assert got[2].chat_member is not None


Ask = Callable[[telegram.Bot], Any]
REFUSED: list[tuple[str, Ask]] = [
    ("empty", lambda bot: bot.send_message(ANN, " ")),
    ("too long", lambda bot: bot.send_message(ANN, "😀" * 2049)),
    ("can't parse entities", lambda bot: bot.send_message(ANN, "a*", parse_mode="MarkdownV2")),
    (
        "can't parse entities",
        lambda bot: bot.send_message(ANN, "😀", entities=[MessageEntity("bold", 1, 2)]),
    ),
    ("chat not found", lambda bot: bot.send_message(999, "x")),
    (
        "message to be replied not found",
        lambda bot: bot.send_message(ANN, "x", reply_to_message_id=77),
    ),
    ("message thread not found", lambda bot: bot.send_message(GROUP, "x", message_thread_id=77)),
    ("can't be edited", lambda bot: bot.edit_message_text("x", ANN, 1)),
    ("message to edit not found", lambda bot: bot.edit_message_text("x", ANN, 77)),
    ("query is too old", lambda bot: bot.answer_callback_query("nobody")),
    ("REACTION_INVALID", lambda bot: bot.set_message_reaction(ANN, 1, [ReactionTypeEmoji("🦖")])),
    ("private chats only", lambda bot: bot.send_message_draft(GROUP, 1, "x")),
    (
        "BUTTON_DATA_INVALID",
        lambda bot: bot.send_message(
            ANN,
            "x",
            reply_markup=InlineKeyboardMarkup(
                [[InlineKeyboardButton("b", callback_data="é" * 33)]]
            ),
        ),
    ),
]


@pytest.mark.parametrize(("words", "ask"), REFUSED, ids=range(len(REFUSED)))
async def test_what_telegram_refuses_is_refused_in_its_own_words(
    bot: telegram.Bot, words: str, ask: Ask
) -> None:
    with pytest.raises(BadRequest) as refused:
        await ask(bot)
    assert words.lower() in refused.value.message.lower()


async def test_an_equal_edit_is_not_modified_and_a_callback_is_answered_once(
    fake: TelegramFake, bot: telegram.Bot
) -> None:
    keys = InlineKeyboardMarkup([[InlineKeyboardButton("b", callback_data="x")]])
    sent = await bot.send_message(ANN, "x" * 4096, reply_markup=keys)
    with pytest.raises(BadRequest, match="not modified"):
        await bot.edit_message_text("x" * 4096, ANN, sent.message_id, reply_markup=keys)
    callback = fake.press(ANN, sent.message_id, "x")
    assert await bot.answer_callback_query(callback)
    with pytest.raises(BadRequest, match="too old"):
        await bot.answer_callback_query(callback)


async def test_a_draft_is_gone_after_thirty_seconds(fake: TelegramFake, bot: telegram.Bot) -> None:
    now = [1000.0]
    fake.clock = lambda: now[0]
    await bot.send_message_draft(ANN, 1, "thinking")
    assert fake.drafts(ANN) == ["thinking"]
    now[0] += 31
    assert fake.drafts(ANN) == []


@pytest.mark.parametrize(("chat", "most", "seconds"), [(GROUP, 20, 60.0), (ANN, 30, 30.0)])
async def test_too_many_messages_and_edits_are_a_flood_until_they_are_forgotten(
    fake: TelegramFake, bot: telegram.Bot, chat: int, most: int, seconds: float
) -> None:
    now = [1000.0]
    fake.clock, fake.flood.on = lambda: now[0], True
    sent = await bot.send_message(chat, "0")
    for n in range(1, most):
        await bot.edit_message_text(f"{n}", chat, sent.message_id)
    now[0] += 10
    with pytest.raises(RetryAfter) as asked:
        await bot.send_message(chat, "one too many")
    assert seconds - 11 <= asked.value.retry_after.total_seconds() <= seconds
    now[0] += asked.value.retry_after.total_seconds()
    await bot.send_message(chat, "now")
    assert fake.flood.refused == 1


async def test_rights_in_a_group_are_those_that_people_gave(
    fake: TelegramFake, bot: telegram.Bot
) -> None:
    fake.mute(GROUP)
    with pytest.raises(BadRequest, match="ot enough rights to send text messages"):
        await bot.send_message(GROUP, "x")
    fake.chats[GROUP].bot, fake.chats[GROUP].may_write = "member", False
    with pytest.raises(BadRequest, match=r"(?i)chat_write_forbidden"):
        await bot.send_message(GROUP, "x")
    fake.chats[GROUP].may_write, fake.chats[GROUP].slow = True, 30
    await bot.send_message(GROUP, "x")
    with pytest.raises(RetryAfter):
        await bot.send_message(GROUP, "too soon")
    fake.promote(GROUP, ANN, "creator")
    assert [one.user.id for one in await bot.get_chat_administrators(GROUP)] == [ANN]
    assert await bot.leave_chat(GROUP)
    with pytest.raises(Forbidden, match="not a member"):
        await bot.get_chat(GROUP)


async def test_people_come_go_block_and_move(fake: TelegramFake, bot: telegram.Bot) -> None:
    fake.join(GROUP, BEN)
    fake.leave(GROUP, BEN)
    fake.block(ANN)
    with pytest.raises(Forbidden, match="blocked by the user"):
        await bot.send_message(ANN, "x")
    fake.unblock(ANN)
    await bot.send_message(ANN, "x")
    fake.upgrade(GROUP, DESK)
    with pytest.raises(ChatMigrated) as moved:
        await bot.send_message(GROUP, "x")
    assert moved.value.new_chat_id == DESK


async def test_several_messages_are_deleted_at_once(fake: TelegramFake, bot: telegram.Bot) -> None:
    sent = [(await bot.send_message(ANN, f"{n}")).message_id for n in range(3)]
    assert await bot.delete_messages(ANN, [*sent[:2], 999])
    assert fake.texts(ANN) == ["2"]


async def test_menus_are_kept_apart_by_scope_and_language(
    fake: TelegramFake, bot: telegram.Bot
) -> None:
    private, groups = (
        telegram.BotCommandScopeAllPrivateChats(),
        telegram.BotCommandScopeAllGroupChats(),
    )
    await bot.set_my_commands([("help", "Help")], scope=private)
    await bot.set_my_commands([("help", "Ayuda")], scope=private, language_code="es")
    assert [one.description for one in await bot.get_my_commands(scope=private)] == ["Help"]
    spanish = await bot.get_my_commands(scope=private, language_code="es")
    assert [one.description for one in spanish] == ["Ayuda"]
    assert await bot.get_my_commands(scope=groups) == ()
    assert fake.called("setMyCommands")
