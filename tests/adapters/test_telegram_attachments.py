"""What hangs on a message: files by their ids, all else in words, and nothing without a word."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.telegram.normalize import normalize
from tests.adapters.telegram_inbox import ACCOUNT, NOW, groups, must, read
from tests.adapters.telegram_room import ANN, BEN, DESK
from tests.fakes.telegram import TelegramFake


@pytest.fixture
def fake() -> TelegramFake:
    return groups()


@pytest.mark.parametrize(
    ("media", "kind", "file_id", "name"),
    [
        ({"photo": [{"file_id": "s"}, {"file_id": "l", "file_size": 9}]}, "photo", "l", ""),
        ({"document": {"file_id": "d", "file_name": "a.pdf"}}, "file", "d", "a.pdf"),
        ({"voice": {"file_id": "v"}}, "voice", "v", ""),
        ({"video_note": {"file_id": "n"}}, "video_note", "n", ""),
        ({"sticker": {"file_id": "s", "emoji": "😡"}}, "sticker", "s", "😡"),
        ({"animation": {"file_id": "g"}, "document": {"file_id": "g2"}}, "video", "g", ""),
        ({"location": {"latitude": 1, "longitude": 2}}, "location", "", ""),
    ],
)
def test_media_come_as_attachment_and_the_caption_as_text(
    fake: TelegramFake, media: dict[str, Any], kind: str, file_id: str, name: str
) -> None:
    fake.say(ANN, ANN, "", caption="look", **media)
    message = must(fake)
    [attachment] = message.attachments
    assert (attachment.kind, attachment.file_id, attachment.name) == (kind, file_id, name)
    assert message.text == "look"


def words(fake: TelegramFake) -> tuple[str, str, str]:
    [one] = must(fake).attachments
    return one.kind, one.file_id, one.words


def test_a_poll_says_its_question_and_its_options(fake: TelegramFake) -> None:
    fake.poll(ANN, ANN, "Refund?", ["yes", "at once"])
    assert words(fake) == ("poll", "", "Refund?\n- yes\n- at once")


def test_a_location_is_a_link_to_a_map_and_a_place_has_its_name(fake: TelegramFake) -> None:
    link = "https://www.openstreetmap.org/?mlat=52.52&mlon=-13.405"
    fake.locate(ANN, ANN, 52.52, -13.405)
    assert words(fake) == ("location", "", link)
    fake.locate(ANN, ANN, 52.52, -13.405, "The shop")
    assert words(fake) == ("venue", "", f"The shop\nMain Street 1\n{link}")


def test_a_contact_is_a_name_and_a_number(fake: TelegramFake) -> None:
    fake.contact(ANN, ANN, "Ben", "+49 123")
    assert words(fake) == ("contact", "", "Ben +49 123")


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"dice": {"emoji": "🎲", "value": 4}}, "🎲 4"),
        ({"game": {"title": "Snake", "description": "eats", "photo": []}}, "Snake\neats"),
        ({"story": {"chat": {"id": 1, "type": "private", "first_name": "Ben"}}}, "story: Ben"),
        ({"checklist": {"title": "To do", "tasks": [{"id": 1, "text": "call"}]}}, "To do\n- call"),
        ({"giveaway": {"chats": []}}, "giveaway"),
        ({"paid_media": {"star_count": 1}}, "paid media"),
        ({"gift": {"gift": {"id": "1"}}}, "gift"),
        ({"unique_gift": {"gift": {"base_name": "Cake"}}}, "unique gift"),
        ({"brand_new_thing": {"id": 1}}, "brand new thing"),
    ],
)
def test_what_cannot_be_passed_on_says_what_it_is(
    fake: TelegramFake, held: dict[str, Any], said: str
) -> None:
    fake.say(ANN, ANN, "", **held)
    assert words(fake) == (next(iter(held)), "", said)


def test_an_unknown_thing_in_a_group_is_left_alone(fake: TelegramFake) -> None:
    fake.say(DESK, BEN, "", brand_new_event={"id": 1})
    assert read(fake) is None


def test_messages_that_were_sent_together_share_an_album(fake: TelegramFake) -> None:
    fake.album(ANN, ANN, ["photo", "photo"], "look")
    messages = [normalize(update, ACCOUNT, now=NOW) for update in fake.updates]
    assert [(one.album, one.text) for one in messages if one] == [("13001", "look"), ("13001", "")]
    fake.send_photo(ANN, ANN)
    assert must(fake).album == ""


def test_an_edit_tells_the_new_caption_and_what_hangs_on_it(fake: TelegramFake) -> None:
    photo = fake.send_photo(DESK, BEN, "teh")
    fake.edit(DESK, photo, "the")
    message = must(fake)
    assert (message.kind, message.text, message.message_id) == ("edited", "the", "1")
    assert message.attachments[0].kind == "photo"
    first = message.event_id
    fake.updates[-1]["edited_message"]["photo"][-1]["file_id"] = "another"
    assert must(fake).event_id != first


def test_a_live_location_that_moves_is_no_edit(fake: TelegramFake) -> None:
    fake.locate(ANN, ANN)
    fake.push("edited_message", fake.chats[ANN].messages[1] | {"edit_date": int(NOW)})
    assert read(fake) is None
