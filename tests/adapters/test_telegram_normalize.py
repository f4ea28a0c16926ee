from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from adapters.telegram.intake import arrival
from adapters.telegram.markup import formatted
from adapters.telegram.normalize import ALLOWED, Account, normalize
from core.message import ConversationKey
from tests.adapters.telegram_inbox import ACCOUNT, NOW, groups, must, read
from tests.adapters.telegram_room import ANN, BEN, DESK, GROUP
from tests.fakes.telegram import TelegramFake
from tests.fakes.telegram_shapes import utf16


@pytest.fixture
def fake() -> TelegramFake:
    return groups()


def test_a_private_message(fake: TelegramFake) -> None:
    fake.say(ANN, ANN, "hello", language_code="es", name="Ann")
    message = must(fake)
    assert message.key == ConversationKey(
        platform="telegram", bot="4242", chat="11", thread="", user="11"
    )
    assert (message.kind, message.text, message.message_id, message.order) == (
        "said",
        "hello",
        "1",
        1,
    )
    assert (message.author.id, message.author.name, message.author.language) == ("11", "Ann", "es")
    assert message.private
    assert message.addressed
    assert message.scored
    assert message.sent_at == NOW


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@HeedBot where is it?", "where is it?"),
        ("where is it @heedbot", "where is it"),
        ("😀 hey @HeedBot and @Ben", "😀 hey and @Ben"),
        ("@HeedBot", ""),
    ],
)
def test_a_mention_in_a_group_addresses_the_bot_and_is_taken_out(
    fake: TelegramFake, text: str, left: str
) -> None:
    fake.say(GROUP, ANN, text)
    message = must(fake)
    assert (message.text, message.addressed, message.private) == (left, True, False)


def test_a_mention_by_link_addresses_the_bot(fake: TelegramFake) -> None:
    bot = {"id": 4242, "is_bot": True, "first_name": "Heed"}
    mention = {"type": "text_mention", "offset": 3, "length": 4, "user": bot}
    fake.say(GROUP, ANN, "Hi Heed !", entities=[mention])
    assert must(fake).text == "Hi !"


@pytest.mark.parametrize("text", ["hello all", "ask @HeedBot2", "/help@OtherBot", "@OtherBot hi"])
def test_what_is_said_to_others_in_a_group_is_nothing_of_ours(
    fake: TelegramFake, text: str
) -> None:
    fake.say(GROUP, ANN, text)
    came = arrival(fake.updates[-1], ACCOUNT, now=NOW)
    assert (came.message, came.error) == (None, "")


def test_a_watched_group_is_heard_but_not_addressed(fake: TelegramFake) -> None:
    fake.say(GROUP, ANN, "hello all")
    watching = Account(bot="4242", username="HeedBot", watch=frozenset({str(GROUP)}))
    assert not must(fake, watching).addressed


def test_a_reply_to_the_bot_addresses_it_and_a_reply_to_others_does_not(
    fake: TelegramFake,
) -> None:
    fake._post(fake.chats[GROUP], {"text": "from the bot"})
    fake.say(GROUP, ANN, "thanks", reply_to=1)
    assert must(fake).reply_to == "1"
    fake.say(GROUP, BEN, "you too", reply_to=2)
    assert not must(fake).addressed


def test_a_reply_to_another_person_in_an_unwatched_group_is_overheard(
    fake: TelegramFake,
) -> None:
    fake.say(GROUP, ANN, "anybody?")
    fake.say(GROUP, BEN, "me", reply_to=1)
    message = must(fake)
    assert (message.overheard, message.addressed, message.reply_to_author) == (True, False, "11")
    watching = Account(bot="4242", username="HeedBot", watch=frozenset({str(GROUP)}))
    assert not must(fake, watching).overheard
    fake.say(GROUP, ANN, "and me", reply_to=1)
    assert read(fake) is None  # to oneself
    fake.say(GROUP, BEN, "/help@OtherBot", reply_to=1)
    assert read(fake) is None
    fake.say(GROUP, BEN, "to nobody", anonymous=True)
    fake.say(GROUP, ANN, "to nobody too", reply_to=5)
    assert read(fake) is None


def entity(kind: str, text: str, part: str, **more: str) -> dict[str, Any]:
    before = text[: text.index(part)]
    return {"type": kind, "offset": utf16(before), "length": utf16(part)} | more


@pytest.mark.parametrize(
    ("text", "parts", "marked"),
    [
        ("😀 so bold here", [("bold", "bold ")], "😀 so **bold** here"),
        ("both of it", [("bold", "both of it"), ("italic", "of")], "**both *of* it**"),
        ("no way", [("strikethrough", "no"), ("spoiler", "way")], "~~no~~ ||way||"),
        ("use a_b or `", [("code", "a_b")], "use `a_b` or \\`"),
        ("so\nx = 1\nok", [("pre", "x = 1")], "so\n```\nx = 1\n```\nok"),
        ("they said\nno\nreally", [("blockquote", "they said")], "> they said\n\nno\nreally"),
        (
            "a * b_c, x_y here",
            [("bold", "here")],
            "a \\* b\\_c, x\\_y **here**",
        ),
        ("- a\n1. b", [("bold", "b")], "\\- a\n1\\. **b**"),
        ("https://a.example/x_y now", [("url", "https://a.example/x_y"), ("bold", "now")],
         "https://a.example/x_y **now**"),
        ("plain *text*", [("hashtag", "text")], ""),
    ],
)  # fmt: skip
def test_formatting_comes_as_markdown(
    fake: TelegramFake, text: str, parts: list[tuple[str, str]], marked: str
) -> None:
    fake.say(ANN, ANN, text, entities=[entity(kind, text, part) for kind, part in parts])
    assert (must(fake).text, must(fake).formatted) == (text, marked)
    if marked and "```" not in marked and "> " not in marked:
        shown = formatted(marked, marked=True)
        assert shown is not None
        assert shown[0].replace("• ", "- ") == text  # and reads the same on the way out


def test_a_link_shows_where_it_leads_and_the_bot_s_name_is_left_out(fake: TelegramFake) -> None:
    text = "@HeedBot is this you? click"
    link = entity("text_link", text, "click", url="https://a.example")
    fake.say(GROUP, ANN, text, entities=[entity("mention", text, "@HeedBot"), link])
    assert must(fake).formatted == "is this you? click (https://a.example)"
    assert must(fake).text == "is this you? click"


def test_a_topic_opened_by_the_bot_does_not_make_every_line_a_reply_to_it(
    fake: TelegramFake,
) -> None:
    thread = fake.topic(GROUP, "Billing")
    fake.say(GROUP, ANN, "just talking", thread=thread)
    assert read(fake) is None
    fake.say(GROUP, ANN, "@HeedBot help", thread=thread)
    assert must(fake).key.thread == str(thread)
    assert must(fake).reply_to is None


@pytest.mark.parametrize("opener", [{}, {"from": {"id": ANN, "is_bot": False}}])
def test_it_is_told_who_made_the_topic_that_a_line_stands_in(
    fake: TelegramFake, opener: dict[str, Any]
) -> None:
    thread = fake.topic(DESK, "Case 1")
    fake.chats[DESK].messages[thread] |= opener
    first = fake.say(DESK, ANN, "hello?", thread=thread)
    assert must(fake).own_thread == (not opener)
    fake.say(DESK, ANN, "an answer to a line tells nothing of it", thread=thread, reply_to=first)
    assert not must(fake).own_thread


def test_a_thread_that_is_no_topic_is_the_chat_itself(fake: TelegramFake) -> None:
    fake.say(GROUP, ANN, "@HeedBot hi", message_thread_id=7)
    assert must(fake).key.thread == ""


def test_everything_in_the_desk_chat_is_for_us(fake: TelegramFake) -> None:
    thread = fake.topic(DESK, "Case 1")
    fake.say(DESK, BEN, "I take this one", thread=thread)
    message = must(fake)
    assert message.addressed
    assert (message.key.chat, message.key.thread, message.key.user) == (str(DESK), "1", "12")


@pytest.mark.parametrize(
    ("chat", "text", "command", "argument"),
    [
        (ANN, "/start", "start", ""),
        (ANN, "/Human  please\nnow", "human", "please\nnow"),
        (GROUP, "/human@HeedBot arg", "human", "arg"),
        (GROUP, "/privacy", "privacy", ""),
    ],
)
def test_commands(fake: TelegramFake, chat: int, text: str, command: str, argument: str) -> None:
    fake.say(chat, ANN, text)
    message = must(fake)
    assert (message.kind, message.command, message.argument) == ("command", command, argument)
    assert message.text == text
    assert message.addressed


def test_two_edits_in_one_second_have_two_keys(fake: TelegramFake) -> None:
    fake.say(ANN, ANN, "teh")
    fake.edit(ANN, 1, "the")
    first = must(fake)
    fake.edit(ANN, 1, "then")
    second = must(fake)
    assert (first.kind, first.text, first.message_id) == ("edited", "the", "1")
    assert first.event_id.startswith(f"edit:{NOW:.0f}:")
    assert first.event_id != second.event_id


def test_a_press_tells_who_pressed_what_and_when(fake: TelegramFake) -> None:
    markup = {"inline_keyboard": [[{"text": "Claim", "callback_data": "claim:1"}]]}
    thread = fake.topic(DESK, "Case 1")
    topic = {"message_thread_id": thread, "is_topic_message": True}
    card = fake._post(fake.chats[DESK], {"text": "card", "reply_markup": markup} | topic)
    callback = fake.press(DESK, card["message_id"], "claim:1", BEN)
    message = must(fake)
    assert (message.kind, message.data, message.event_id) == ("pressed", "claim:1", callback)
    assert (message.message_id, message.key.user, message.key.thread) == ("2", "12", "1")
    assert message.sent_at == NOW


def test_blocking_and_coming_back(fake: TelegramFake) -> None:
    fake.block(ANN)
    assert must(fake).kind == "left"
    first = must(fake).event_id
    fake.unblock(ANN)
    assert must(fake).kind == "returned"
    assert must(fake).event_id != first


def test_a_block_without_until_date_is_understood(fake: TelegramFake) -> None:
    fake.block(ANN)
    del fake.updates[-1]["my_chat_member"]["new_chat_member"]["until_date"]
    assert must(fake).kind == "left"


def test_a_forward_is_not_scored(fake: TelegramFake) -> None:
    fake.say(ANN, ANN, "they were furious", forward=True)
    assert not must(fake).scored


def test_a_reply_tells_whom_it_answers(fake: TelegramFake) -> None:
    fake.say(DESK, BEN, "mine")
    fake.say(DESK, ANN, "yes", reply_to=1)
    assert (must(fake).reply_to, must(fake).reply_to_author) == ("1", str(BEN))
    fake.say(DESK, BEN, "ours", anonymous=True)
    fake.say(DESK, ANN, "yes", reply_to=3)
    assert must(fake).reply_to_author == str(DESK)
    fake.say(DESK, ANN, "no")
    assert must(fake).reply_to_author == ""


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ({"type": "user", "sender_user": {"id": 5, "first_name": "Li", "last_name": "W"}}, "Li W"),
        ({"type": "hidden_user", "sender_user_name": "Somebody"}, "Somebody"),
        ({"type": "chat", "sender_chat": {"id": -5, "title": "Shop"}}, "Shop"),
        ({"type": "channel", "chat": {"id": -5, "title": "News"}, "message_id": 3}, "News"),
        ({"type": "brand new"}, ""),
    ],
)
def test_a_forward_tells_whose_words_they_are(
    fake: TelegramFake, origin: dict[str, Any], name: str
) -> None:
    fake.say(ANN, ANN, "words", forward_origin=origin | {"date": 1})
    assert (must(fake).forwarded_from, must(fake).scored) == (name, False)


def test_a_group_that_becomes_a_supergroup_has_moved(fake: TelegramFake) -> None:
    fake.upgrade(GROUP, -1009)
    there, here = (normalize(update, ACCOUNT, now=NOW) for update in fake.updates[-2:])
    assert there is not None
    assert (there.kind, there.key.chat, there.data) == ("moved", str(GROUP), "-1009")
    assert (there.event_id, there.private) == ("moved:-1009", False)
    assert here is None


def test_an_administrator_who_hides_in_the_desk_is_support(fake: TelegramFake) -> None:
    thread = fake.topic(DESK, "Case 1")
    fake.say(DESK, BEN, "I take this one", thread=thread, anonymous=True)
    message = must(fake)
    assert message.author.anonymous
    assert (message.author.name, message.author.id) == ("Support", str(DESK))
    assert not message.author.is_bot
    assert message.author.admin


def test_an_administrator_who_hides_in_another_group_is_one_of_its_administrators(
    fake: TelegramFake,
) -> None:
    fake.say(GROUP, BEN, "@HeedBot hi", anonymous=True)
    author = must(fake).author
    assert (author.id, author.name, author.admin) == (str(GROUP), "Group", True)
    assert not author.anonymous
    fake.say(GROUP, BEN, "to nobody in particular", anonymous=True)
    assert read(fake) is None


def test_a_channel_that_speaks_in_a_group_is_nobody(fake: TelegramFake) -> None:
    channel = {"id": -1009, "type": "channel", "title": "News"}
    fake.say(GROUP, BEN, "@HeedBot hi", sender_chat=channel, **{"from": fake._nobody()})
    assert read(fake) is None


@pytest.mark.parametrize(
    "more",
    [
        {"pinned_message": {}},
        {"new_chat_members": []},
        {"migrate_from_chat_id": -100},
        {"forum_topic_closed": {}},
        {"forum_topic_reopened": {}},
        {"forum_topic_edited": {"name": "x"}},
        {"forum_topic_created": {"name": "x", "icon_color": 1}},
        {"video_chat_started": {}},
        {"caption": "x", "sender_chat": {"id": -1, "type": "channel"}},
        {"caption": "x", "from": {"id": 5, "is_bot": True, "first_name": "B"}},
    ],
)
def test_service_messages_channels_and_bots_are_ignored(
    fake: TelegramFake, more: dict[str, Any]
) -> None:
    fake.say(ANN, ANN, "", **more)
    assert read(fake) is None


@pytest.mark.parametrize("kind", ["channel_post", "poll", "business_message", "brand_new"])
def test_other_kinds_of_updates_are_ignored(fake: TelegramFake, kind: str) -> None:
    fake.push(kind, {"text": "x"})
    came = arrival(fake.updates[-1], ACCOUNT, now=NOW)
    assert (came.message, came.error) == (None, "")


def test_what_no_database_takes_is_replaced_and_the_raw_text_stays_ascii(
    fake: TelegramFake,
) -> None:
    fake.say(ANN, ANN, "half \ud83d and nul \x00 @HeedBot 😀")
    came = arrival(fake.updates[-1], ACCOUNT, now=NOW)
    assert came.message is not None
    assert came.message.text == "half \ufffd and nul \ufffd 😀"
    assert came.raw.isascii()


SAMPLES = TelegramFake(clock=lambda: NOW)
SAMPLES.group(GROUP)
SAMPLES.say(ANN, ANN, "/human now")
SAMPLES.edit(ANN, 1, "@HeedBot edited")
SAMPLES.say(GROUP, ANN, "@HeedBot look", photo=[{"file_id": "p", "file_size": 3}], reply_to=None)
SAMPLES.block(BEN)
SAMPLES.allowed = list(ALLOWED)
SAMPLES.react(ANN, ANN, 1, "👍")
SAMPLES.upgrade(GROUP, -1009)
SAMPLES.poll(ANN, ANN, reply_to=1, forward=True)
SAMPLES.say(ANN, ANN, "a bold word", entities=[{"type": "bold", "offset": 2, "length": 4}])
SAMPLES.locate(ANN, ANN, title="here")
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just("\ud800"),
)


def spots(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [(*at, key) for key, _ in inner] + [
        spot for key, each in inner for spot in spots(each, (*at, key))
    ]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_no_mutated_update_gets_out_of_hand(data: st.DataObject) -> None:
    update = copy.deepcopy(data.draw(st.sampled_from(SAMPLES.updates)))
    spot = data.draw(st.sampled_from(spots(update)))
    parent = update
    for step in spot[:-1]:
        parent = parent[step]
    if data.draw(st.booleans()):
        del parent[spot[-1]]
    else:
        parent[spot[-1]] = data.draw(JUNK)
    came = arrival(update, ACCOUNT, now=NOW)
    assert came.raw.isascii()
    if came.message is not None:
        assert came.error == ""
        assert came.message.key.platform == "telegram"
        came.message.text.encode()
        assert abs(came.message.order) < 2**63
        assert math.isfinite(came.message.sent_at)


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_same_place_same_key_other_topic_other_key(
    one: int,
    other: int,
    first: bool,  # noqa: FBT001
    second: bool,  # noqa: FBT001
) -> None:
    fake = TelegramFake(clock=lambda: NOW)
    fake.group(DESK)
    keys = []
    for thread, topic in ((one, first), (other, second)):
        fake.say(DESK, ANN, "x", message_thread_id=thread, is_topic_message=topic)
        keys.append(must(fake).key)
    same = (one if first else 0) == (other if second else 0)
    assert (keys[0] == keys[1]) is same
