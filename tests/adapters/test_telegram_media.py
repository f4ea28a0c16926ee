from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.telegram import TelegramAdapter
from core.errors import (
    DeliveryError,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    ThreadShut,
    TooLarge,
    Unchangeable,
)
from core.message import Button, File, Media, Message
from tests.adapters.telegram_room import ANN, BEN, DESK, GROUP, Memory, post, read, sending
from tests.fakes.telegram import TelegramFake
from tests.fakes.telegram_shapes import PICTURE, STICKER, Seen

LONG = "😀" * 513  # 1026 units: two more than a caption holds


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.telegram.pace.GROUP", 0.002)
    monkeypatch.setattr("adapters.telegram.pace.PRIVATE", 0.002)


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.say(ANN, ANN, "hello")
        server.group(DESK, forum=True)
        yield server


@pytest.fixture
async def bot(fake: TelegramFake) -> AsyncIterator[TelegramAdapter]:
    async with sending(fake) as one:
        yield one


def heard(fake: TelegramFake) -> Message:
    message = read(fake.updates[-1])
    assert message is not None
    return message


def media(message: Message) -> Media:
    """Return what hangs on a message that came in, as it is passed on."""
    [one] = message.attachments
    place = message.key
    return Media(
        platform="telegram",
        bot="4242",
        chat=place.chat,
        message_id=message.message_id,
        kind=one.kind,
        file_id=one.file_id,
        name=one.name,
        size=one.size,
    )


def album_of(fake: TelegramFake, count: int) -> tuple[Media, ...]:
    messages = [read(update) for update in fake.updates[-count:]]
    return tuple(media(message) for message in messages if message is not None)


def brief(lines: list[Seen]) -> list[tuple[str, str, int | None]]:
    return [(line.kind, line.text, line.reply_to) for line in lines]


PHOTO = File(name="a.png", kind="photo", content=PICTURE)
VIDEO = File(name="v.mp4", kind="video", content=b"video")
SHEET = File(name="a.pdf", kind="file", content=b"%PDF")


# -- copies ---------------------------------------------------------------------------------------


async def test_a_picture_is_copied_into_its_topic_with_the_text_as_its_caption(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN, "her own words", content=PICTURE + b"1")
    photo, thread = media(heard(fake)), fake.topic(DESK, "Case")
    first = fake.say(DESK, BEN, "first", thread=thread)
    more: dict[str, Any] = {"thread": str(thread), "media": (photo,), "reply_to": str(first)}
    receipt = await bot.deliver(post("relay", "Ann: look", DESK, **more), Memory())
    line = fake.seen(DESK, thread)[-1]
    assert (line.message_id, line.kind, line.content) == (3, "photo", PICTURE + b"1")
    assert (line.caption, line.reply_to) == ("Ann: look", first)
    assert (receipt.message_id, receipt.more) == ("3", ())
    assert not fake.called("getFile")


async def test_without_a_text_a_copy_has_no_caption_also_not_the_old_one(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN, "her own words")
    await bot.deliver(post("relay", "", DESK, media=(media(heard(fake)),)), Memory())
    assert brief(fake.seen(DESK)) == [("photo", "", None)]


async def test_a_text_too_long_for_a_caption_follows_as_a_reply(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN, LONG[:-2])
    memory, button = Memory(), Button(label="Claim", data="c")
    copied = post("relay", LONG, DESK, media=(media(heard(fake)),), buttons=(button,))
    receipt = await bot.deliver(copied, memory)
    assert brief(fake.seen(DESK)) == [("photo", "", None), ("", LONG, 1)]
    assert (receipt.message_id, receipt.more, memory.ids) == ("1", ("2",), ["1"])
    assert [line.buttons for line in fake.seen(DESK)] == [(), (("Claim", "c"),)]


@pytest.mark.parametrize("kind", ["sticker", "video_note", "poll", "locate", "contact"])
async def test_what_can_have_no_caption_is_followed_by_its_text(
    fake: TelegramFake, bot: TelegramAdapter, kind: str
) -> None:
    getattr(fake, kind)(ANN, ANN)
    await bot.deliver(post("relay", "Ann:", DESK, media=(media(heard(fake)),)), Memory())
    first, second = fake.seen(DESK)
    assert first.kind in {"sticker", "video_note", "poll", "location", "contact"}
    assert (second.text, second.reply_to) == ("Ann:", first.message_id)


async def test_an_album_is_copied_as_one_and_its_text_answers_it(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.album(ANN, ANN, ["photo", "video", "photo"], "look at these")
    memory = Memory()
    receipt = await bot.deliver(post("relay", "Ann: look", DESK, media=album_of(fake, 3)), memory)
    lines = fake.seen(DESK)
    assert brief(lines) == [
        ("photo", "", None),
        ("video", "", None),
        ("photo", "", None),
        ("", "Ann: look", 1),
    ]
    assert len({line.album for line in lines[:3]}) == 1
    assert (receipt.message_id, receipt.more) == ("1", ("2", "3", "4"))
    assert memory.ids == ["1,2,3"]


async def test_an_album_counts_as_many_messages_as_it_has(
    fake: TelegramFake, bot: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.album(ANN, ANN, ["photo"] * 5)
    monkeypatch.setattr("adapters.telegram.pace.GROUP", 3.0)
    monkeypatch.setattr("adapters.telegram.pace.MOST", 5)  # in a minute
    await bot.deliver(post("relay", "", DESK, media=album_of(fake, 5)), Memory())
    with pytest.raises(RetryAfter):
        await bot.deliver(post("relay", "next", DESK), Memory())


async def test_a_picture_of_an_album_that_is_gone_is_left_out(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    [first, *_] = fake.album(ANN, ANN, ["photo"] * 3)
    items = album_of(fake, 3)
    del fake.chats[ANN].messages[first]
    receipt = await bot.deliver(post("relay", "", DESK, media=items), Memory())
    assert (receipt.message_id, receipt.more) == ("1", ("2",))
    fake.chats[ANN].messages.clear()
    with pytest.raises(Refused, match="no longer has"):
        await bot.deliver(post("relay", "", DESK, media=items), Memory())


async def test_a_copy_of_what_is_gone_is_refused(fake: TelegramFake, bot: TelegramAdapter) -> None:
    gone = fake.send_photo(ANN, ANN)
    photo = media(heard(fake))
    del fake.chats[ANN].messages[gone]
    with pytest.raises(Refused, match="to copy not found"):
        await bot.deliver(post("relay", "", DESK, media=(photo,)), Memory())


async def test_when_the_text_behind_a_file_fails_the_file_is_not_sent_again(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.album(ANN, ANN, ["photo"] * 2)
    memory, items = Memory(), album_of(fake, 2)
    fake.fail("sendMessage", "429", retry_after=1)
    with pytest.raises(RetryAfter):
        await bot.deliver(post("relay", "Ann:", DESK, media=items), memory)
    bot._line._pacer.hold(str(DESK), 0.0)
    again = post("relay", "Ann:", DESK, media=items, message_id=memory.ids[0])
    receipt = await bot.deliver(again, memory)
    assert brief(fake.seen(DESK)) == [("photo", "", None), ("photo", "", None), ("", "Ann:", 1)]
    assert (receipt.message_id, receipt.more) == ("1", ("2", "3"))


async def test_an_unknown_outcome_of_a_copy_is_told_and_not_repeated(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN)
    copied = post("relay", "", DESK, media=(media(heard(fake)),))
    fake.fail("copyMessage", "reset", apply=True)
    with pytest.raises(OutcomeUnknown):
        await bot.deliver(copied, Memory())
    assert not bot.repeatable(copied)
    assert len(fake.seen(DESK)) == 1


async def test_a_copy_into_a_closed_topic_finds_it_shut(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN)
    photo, thread = media(heard(fake)), fake.topic(DESK, "Case")
    fake.close_topic(DESK, thread)
    with pytest.raises(ThreadShut):
        await bot.deliver(post("relay", "", DESK, thread=str(thread), media=(photo,)), Memory())


async def test_a_copy_follows_a_desk_that_became_a_supergroup(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN)
    photo = media(heard(fake))
    fake.upgrade(DESK, -2009)
    await bot.deliver(post("relay", "Ann:", DESK, media=(photo,)), Memory())
    assert brief(fake.seen(-2009)) == [("photo", "Ann:", None)]


async def test_when_the_source_has_moved_the_copy_goes_nowhere_else(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.group(GROUP)
    fake.send_photo(GROUP, ANN, "@HeedBot look")
    photo = media(heard(fake))
    fake.upgrade(GROUP, -1009)
    with pytest.raises(Refused, match="supergroup"):
        await bot.deliver(post("relay", "x", DESK, media=(photo,)), Memory())
    await bot.deliver(post("relay", "y", DESK), Memory())
    assert fake.texts(DESK) == ["y"]
    assert fake.texts(-1009) == []


# -- files from elsewhere -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content", "shown"),
    [
        ("photo", PICTURE, "photo"),
        ("video", b"video", "video"),
        ("voice", b"OggS", "voice"),
        ("audio", b"ID3", "audio"),
        ("file", b"%PDF", "document"),
        ("something new", b"?", "document"),
    ],
)
async def test_a_file_is_sent_as_what_it_is(
    fake: TelegramFake, bot: TelegramAdapter, kind: str, content: bytes, shown: str
) -> None:
    file = File(name="thing.dat", kind=kind, content=content)
    receipt = await bot.deliver(post("relay", "", files=(file,), reply_to="1"), Memory())
    line = fake.seen(ANN)[-1]
    assert (line.kind, line.content, line.reply_to) == (shown, content, 1)
    assert receipt.message_id == str(line.message_id)


async def test_a_text_is_the_caption_of_a_file_with_its_buttons(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    button = Button(label="Claim", data="c")
    sent = post("picture", "mood", DESK, files=(PHOTO,), buttons=(button,))
    await bot.deliver(sent, Memory())
    [line] = fake.seen(DESK)
    assert (line.caption, line.buttons) == ("mood", (("Claim", "c"),))


async def test_a_caption_keeps_its_formatting_and_falls_back_to_plain(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN)
    items = (media(heard(fake)),)
    await bot.deliver(post("relay", "**Ann**: look", DESK, media=items, formatted=True), Memory())
    fake.fail("copyMessage", "400", text="Bad Request: can't parse entities: no")
    await bot.deliver(post("relay", "**Ann**: look", DESK, media=items, formatted=True), Memory())
    first, second = fake.seen(DESK)
    assert (first.caption, first.entities) == ("Ann: look", ("bold",))
    assert (second.caption, second.entities) == ("**Ann**: look", ())
    edit = post("edit", "*Ann*", DESK, formatted=True, message_id=str(first.message_id))
    await bot.deliver(edit, Memory())
    assert (fake.seen(DESK)[0].caption, fake.seen(DESK)[0].entities) == ("Ann", ("italic",))


async def test_a_sticker_of_another_kind_is_sent_as_a_file(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    good = File(name="s.webp", kind="sticker", content=STICKER)
    other = File(name="s.json", kind="sticker", content=b"{}")
    await bot.deliver(post("relay", "", files=(good,)), Memory())
    await bot.deliver(post("relay", "Ben:", files=(other,)), Memory())
    assert brief(fake.seen(ANN)[1:]) == [
        ("sticker", "", None),
        ("document", "", None),
        ("", "Ben:", 3),
    ]


async def test_a_picture_that_telegram_cannot_read_is_sent_as_a_file(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    broken = File(name="a.heic", kind="photo", content=b"no picture")
    await bot.deliver(post("relay", "look", files=(broken,)), Memory())
    line = fake.seen(ANN)[-1]
    assert (line.kind, line.name, line.caption) == ("document", "a.heic", "look")


async def test_several_files_are_an_album_and_their_text_answers_it(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    receipt = await bot.deliver(post("relay", "Ben:", files=(PHOTO, VIDEO), reply_to="1"), Memory())
    assert brief(fake.seen(ANN)[1:]) == [("photo", "", 1), ("video", "", 1), ("", "Ben:", 2)]
    assert (receipt.message_id, receipt.more) == ("2", ("3", "4"))


@pytest.mark.parametrize(
    "files",
    [(PHOTO, SHEET), (PHOTO, File(name="x.heic", kind="photo", content=b"no picture"))],
)
async def test_files_that_make_no_album_together_go_as_plain_files(
    fake: TelegramFake, bot: TelegramAdapter, files: tuple[File, ...]
) -> None:
    await bot.deliver(post("relay", "", files=files), Memory())
    lines = fake.seen(ANN)[1:]
    assert [line.kind for line in lines] == ["document", "document"]
    assert [line.content for line in lines] == [file.content for file in files]


async def test_eleven_files_are_an_album_of_ten_and_one_and_none_comes_twice(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    files = tuple(
        File(name=f"{at}.png", kind="photo", content=PICTURE + bytes([at])) for at in range(11)
    )
    memory = Memory()
    fake.fail("sendPhoto", "429", retry_after=1)
    with pytest.raises(RetryAfter):
        await bot.deliver(post("relay", "", files=files), memory)
    bot._line._pacer.hold(str(ANN), 0.0)
    again = post("relay", "", files=files, message_id=memory.ids[-1])
    receipt = await bot.deliver(again, memory)
    assert [line.content for line in fake.seen(ANN)[1:]] == [file.content for file in files]
    assert len(receipt.more) == 10


async def test_too_large_a_file_is_refused_before_anything_is_sent(
    fake: TelegramFake, bot: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.media.UPLOAD", 1000)
    large = File(name="v.mp4", kind="video", content=b"x" * 1001)
    with pytest.raises(TooLarge):
        await bot.deliver(post("relay", "", files=(PHOTO, large)), Memory())
    assert fake.calls == []


async def test_a_large_picture_is_sent_as_a_file(
    fake: TelegramFake, bot: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.media._PHOTO", 5)
    await bot.deliver(post("relay", "", files=(PHOTO,)), Memory())
    assert fake.seen(ANN)[-1].kind == "document"


async def test_a_server_that_finds_it_too_large_says_so(
    bot: TelegramAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.telegram_files.MOST_UP", 10)
    with pytest.raises(TooLarge):
        await bot.deliver(post("relay", "", files=(PHOTO,)), Memory())


# -- changes --------------------------------------------------------------------------------------


async def test_an_edit_of_a_file_changes_its_caption(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    sent = await bot.deliver(post("relay", "teh", files=(PHOTO,)), Memory())
    for _ in range(2):
        await bot.deliver(post("edit", "the", message_id=sent.message_id), Memory())
    assert fake.seen(ANN)[-1].caption == "the"


async def test_an_edit_too_long_for_a_caption_is_unchangeable(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    sent = await bot.deliver(post("relay", "short", files=(PHOTO,)), Memory())
    with pytest.raises(Unchangeable, match="1024"):
        await bot.deliver(post("edit", LONG, message_id=sent.message_id), Memory())
    assert fake.seen(ANN)[-1].caption == "short"


async def test_a_sticker_has_no_caption_to_edit(bot: TelegramAdapter) -> None:
    sticker = File(name="s.webp", kind="sticker", content=STICKER)
    sent = await bot.deliver(post("relay", "", files=(sticker,)), Memory())
    with pytest.raises(Unchangeable):
        await bot.deliver(post("edit", "x", message_id=sent.message_id), Memory())


async def test_a_picture_with_an_id_is_put_in_the_place_of_the_old_one(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    sent = await bot.deliver(post("picture", "", DESK, files=(PHOTO,)), Memory())
    new = File(name="mood.png", kind="photo", content=PICTURE + b" of now")
    change = post("picture", "now", DESK, files=(new,), message_id=sent.message_id)
    assert await bot.deliver(change, Memory()) == sent
    [line] = fake.seen(DESK)
    assert (line.content, line.caption) == (PICTURE + b" of now", "now")
    assert bot.repeatable(change)


async def test_an_edit_that_swaps_the_picture_swaps_the_copy(
    fake: TelegramFake, bot: TelegramAdapter
) -> None:
    fake.send_photo(ANN, ANN)
    sent = await bot.deliver(post("relay", "x", DESK, media=(media(heard(fake)),)), Memory())
    fake.send_photo(ANN, ANN, content=PICTURE + b" new")
    swap = post("edit", "x", DESK, media=(media(heard(fake)),), message_id=sent.message_id)
    await bot.deliver(swap, Memory())
    [line] = fake.seen(DESK)
    assert (line.content, line.caption) == (PICTURE + b" new", "x")


# -- downloads ------------------------------------------------------------------------------------


async def test_a_file_is_fetched_with_its_name(fake: TelegramFake, bot: TelegramAdapter) -> None:
    fake.send_file(ANN, ANN, "bill.pdf", b"%PDF bytes")
    assert await bot.fetch(media(heard(fake))) == File(
        name="bill.pdf", kind="file", content=b"%PDF bytes"
    )
    fake.send_photo(ANN, ANN)
    photo = await bot.fetch(media(heard(fake)))
    assert (photo.name, photo.content) == ("file_2.png", PICTURE)


@pytest.mark.parametrize("known", [True, False])
async def test_a_file_over_twenty_megabytes_is_too_large(
    fake: TelegramFake, bot: TelegramAdapter, *, known: bool
) -> None:
    fake.send_file(ANN, ANN, "film.mp4", b"x", size=20_000_001)
    film = media(heard(fake))
    if not known:
        del fake.updates[-1]["message"]["document"]["file_size"]
        film = media(heard(fake))
        assert film.size == 0
    with pytest.raises(TooLarge):
        await bot.fetch(film)
    assert bool(fake.called("getFile")) is not known


async def test_a_file_that_is_gone_is_refused(fake: TelegramFake, bot: TelegramAdapter) -> None:
    fake.send_file(ANN, ANN)
    file = media(heard(fake))
    fake.fail("download", "404")
    with pytest.raises(Refused, match="no longer"):
        await bot.fetch(file)
    fake.files.clear()
    with pytest.raises(Refused, match=r"(?i)wrong file_id"):
        await bot.fetch(file)
    fake.locate(ANN, ANN)
    with pytest.raises(Refused, match="nothing to download"):
        await bot.fetch(media(heard(fake)))


@pytest.mark.parametrize("method", ["getFile", "download"])
@pytest.mark.parametrize(
    ("kind", "wanted"), [("429", RetryAfter), ("reset", NotSent), ("500", NotSent)]
)
async def test_a_download_that_fails_for_now_may_be_tried_again(
    fake: TelegramFake, bot: TelegramAdapter, method: str, kind: Any, wanted: type[DeliveryError]
) -> None:
    fake.send_file(ANN, ANN, content=b"bytes")
    file = media(heard(fake))
    fake.fail(method, kind)
    with pytest.raises(wanted):
        await bot.fetch(file)
    assert (await bot.fetch(file)).content == b"bytes"


@pytest.mark.parametrize("kind", ["400", "401", "404", "500", "502", "reset", "cut"])
async def test_no_error_of_a_download_and_no_log_line_holds_the_token(
    fake: TelegramFake, bot: TelegramAdapter, caplog: pytest.LogCaptureFixture, kind: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.send_file(ANN, ANN)
    file = media(heard(fake))
    fake.fail("download", kind)
    with pytest.raises(DeliveryError) as caught:
        await bot.fetch(file)
    await bot.fetch(file)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert fake.token not in repr(seen)
        seen = seen.__cause__
    assert not [one for one in caplog.records if fake.token in one.getMessage()]
