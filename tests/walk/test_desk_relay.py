"""What passes between a person and staff in a Telegram forum besides plain words, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core.tables import case, history
from tests.fakes.telegram_people import Seen
from tests.patience import until
from tests.walk.platforms import ANA, DESK, FURY, KIND, MAYA, Heed, heed_on, hurry

SIGNED = "Ana · Support"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    """Staff sit in a Telegram forum."""
    async with heed_on(tmp_path, staff="telegram") as alive:
        yield alive


def said_to(heed: Heed, user: int = MAYA) -> str:
    """Return the last thing that the bot wrote to somebody."""
    return heed.read(user)[-1]


def by_bot(heed: Heed, chat: int, thread: int | None = None) -> list[Seen]:
    """Return what the bot posted somewhere, files too."""
    return [line for line in heed.telegram.seen(chat, thread) if line.who == "bot"]


# -- everything that is no text ------------------------------------------------------------------

Send = Callable[[Heed, int, int, dict[str, Any]], int]
KINDS: dict[str, tuple[Send, str]] = {
    "photo": (lambda h, c, u, t: h.telegram.send_photo(c, u, "look", **t), "look"),
    "document": (lambda h, c, u, t: h.telegram.send_file(c, u, "a.pdf", caption="it", **t), "it"),
    "video": (lambda h, c, u, t: h.telegram.video(c, u, "see", **t), "see"),
    "voice": (lambda h, c, u, t: h.telegram.voice(c, u, **t), ""),
    "video_note": (lambda h, c, u, t: h.telegram.video_note(c, u, **t), ""),
    "sticker": (lambda h, c, u, t: h.telegram.sticker(c, u, **t), ""),
}
WORDED: dict[str, tuple[Send, tuple[str, ...]]] = {
    "poll": (lambda h, c, u, t: h.telegram.poll(c, u, **t), ("Which?", "This", "That")),
    "location": (lambda h, c, u, t: h.telegram.locate(c, u, **t), ("52.52", "13.405")),
    "contact": (lambda h, c, u, t: h.telegram.contact(c, u, **t), ("Ben", "+49123")),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_files_are_copied_both_ways(heed: Heed, kind: str) -> None:
    """HANDOFF 7: photo, file, video, voice, sticker; same platform, so copied."""
    topic = await heed.opened()
    await heed.press("Claim")
    send, words = KINDS[kind]
    await heed.settled(send(heed, MAYA, MAYA, {}), chat=MAYA)
    copy = [line for line in by_bot(heed, DESK, topic) if line.kind][-1]
    assert copy.kind == kind
    assert heed.read(DESK, topic)[-1] == f"Maya: {words}".strip()
    said = send(heed, DESK, ANA, {"message_thread_id": topic, "is_topic_message": True})
    await heed.settled(said, chat=DESK)
    arrived = [line for line in by_bot(heed, MAYA) if line.kind == kind][-1]
    assert words in arrived.text
    assert heed.marks(said) == ("👌",)


@pytest.mark.parametrize("kind", WORDED)
async def test_what_has_no_bytes_is_passed_on_in_words(heed: Heed, kind: str) -> None:
    """HANDOFF 7: poll, location, contact."""
    topic = await heed.opened()
    await heed.press("Claim")
    send, words = WORDED[kind]
    await heed.settled(send(heed, MAYA, MAYA, {}), chat=MAYA)
    assert all(word in heed.read(DESK, topic)[-1] for word in words)
    said = send(heed, DESK, ANA, {"message_thread_id": topic, "is_topic_message": True})
    await heed.settled(said, chat=DESK)
    assert all(word in said_to(heed) for word in words)


async def test_an_album_stays_together_both_ways_with_a_link_for_each_item(heed: Heed) -> None:
    """HANDOFF 7 album: one copy, one pair per item."""
    topic = await heed.opened()
    await heed.press("Claim")
    sent = heed.telegram.album(MAYA, MAYA, caption="both sides")
    await heed.settled(sent[-1], chat=MAYA)
    one, two = [line for line in by_bot(heed, DESK, topic) if line.kind == "photo"][-2:]
    assert one.content.endswith(b"0")
    assert two.content.endswith(b"1")
    assert any("both sides" in text for text in heed.read(DESK, topic))
    said = heed.telegram.album(DESK, ANA, message_thread_id=topic, is_topic_message=True)
    await heed.settled(said[-1], chat=DESK)
    photos = [line for line in by_bot(heed, MAYA) if line.kind == "photo"]
    assert len(photos) == 2
    assert heed.marks(said[0]) == heed.marks(said[1]) == ("👌",)
    await heed.staff("/del", reply_to=said[1])
    assert [line.content for line in by_bot(heed, MAYA) if line.kind == "photo"] == [
        photos[0].content
    ]


async def test_a_kind_that_cannot_be_passed_on_is_never_dropped_in_silence(heed: Heed) -> None:
    """HANDOFF 7: anything else; `kind_unknown` to the user, named to staff."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.says(MAYA, "", game={"title": "Snake", "description": "", "photo": []})
    assert "game" in heed.read(DESK, topic)[-1]
    assert said_to(heed) == "I could not pass that on. Please send it as text or a picture."


async def test_a_forward_names_whose_words_these_are(heed: Heed) -> None:
    """HANDOFF 7 forward; 12: the words of others are not scored."""
    topic = await heed.opened()
    await heed.press("Claim")
    await heed.says(MAYA, FURY, forward=True)
    assert "Somebody" in heed.read(DESK, topic)[-1]
    scored = [row for row in await heed.rows(history) if row.scores]
    assert len(scored) == 1


async def test_replies_point_at_the_same_message_on_the_other_side(heed: Heed) -> None:
    """HANDOFF 7 reply, both directions."""
    topic = await heed.opened()
    asked = await heed.says(MAYA, "which of the two?")
    copy = heed.shown("which of the two?", thread=topic)
    await heed.staff("the first", reply_to=copy.message_id)
    answer = by_bot(heed, MAYA)[-1]
    assert answer.reply_to == asked
    await heed.says(MAYA, "are you sure?", reply_to=answer.message_id)
    own = next(s for s in heed.telegram.seen(DESK, topic) if s.text == "the first")
    assert heed.shown("are you sure?", thread=topic).reply_to == own.message_id


async def test_a_reply_to_what_staff_have_no_copy_of_quotes_it(heed: Heed) -> None:
    """HANDOFF 7 reply: target unknown: its first 60 characters, as text."""
    await heed.says(MAYA, KIND)
    answer = by_bot(heed, MAYA)[-1]
    topic = await heed.opened()
    await heed.says(MAYA, "you said this", reply_to=answer.message_id)
    quote, _, copy = heed.read(DESK, topic)[-1].partition("\n")
    assert quote.startswith(f"> {answer.text[:40]}")
    assert len(quote) <= 63
    assert copy == "Maya: you said this"


async def test_a_caption_too_long_for_a_file_follows_as_a_text(heed: Heed) -> None:
    """HANDOFF 7: media, then the text as a reply to it."""
    topic = await heed.opened()
    await heed.press("Claim")
    caption = "word " * 204
    await heed.settled(heed.telegram.send_photo(MAYA, MAYA, caption.strip()), chat=MAYA)
    photo, text = by_bot(heed, DESK, topic)[-2:]
    assert (photo.kind, photo.text) == ("photo", "")
    assert text.reply_to == photo.message_id
    assert text.text.startswith("Maya: word word")


async def test_a_long_answer_is_split_and_edited_in_its_parts(heed: Heed) -> None:
    """HANDOFF 7 text: split at the limit (Telegram 4096)."""
    await heed.opened()
    long = await heed.staff("One. " * 800)
    first = [s for s in by_bot(heed, MAYA) if s.text.startswith(SIGNED)]
    assert len(first) == 1
    longer = "Two. " * 818
    heed.telegram.edit(DESK, long, longer.strip())
    await heed.settled(long, chat=DESK, kind="edited")
    parts = heed.read(MAYA)[-2:]
    assert all(len(part) <= 4096 for part in parts)
    assert " ".join(parts).split() == [*SIGNED.split(), *longer.split()]
    heed.telegram.edit(DESK, long, "Short.")
    await until(lambda: heed.read(MAYA)[-1] == f"{SIGNED}\nShort.")
    await heed.quiet()
    assert not any("Two." in text for text in heed.read(MAYA))


async def test_reactions_are_mirrored_both_ways_and_make_no_case(heed: Heed) -> None:
    """HANDOFF 7 reaction: mirrored without the name."""
    topic = await heed.opened()
    said = await heed.staff("It is on its way.")
    answer = by_bot(heed, MAYA)[-1]
    heed.telegram.react(MAYA, MAYA, answer.message_id, "❤")
    await heed.settled(kind="reacted", chat=MAYA)
    assert "❤" in heed.marks(said)
    theirs = await heed.says(MAYA, "thank you so much")
    copy = heed.shown("thank you so much", thread=topic)
    heed.telegram.react(DESK, ANA, copy.message_id, "👍")
    await heed.settled(kind="reacted", chat=DESK)
    assert heed.marks(theirs, MAYA) == ("👍",)
    assert len(await heed.rows(case)) == 1
