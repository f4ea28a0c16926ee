"""Words and files that pass between the two sides, and what becomes of them there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.message import Attachment, Message, Place, Post, Receipt, TextLimit
from core.store import pairs, receipts, relay
from core.store.outbox import ALBUM, Claim
from core.store.relay import Words
from core.store.turns import Plan
from core.tables import history, outbox, pair
from tests.core.desk_chat import (
    BEN,
    STAFF,
    act,
    command,
    from_staff,
    lay_out,
    lines,
    to_person,
    to_staff,
)
from tests.core.ground import DESK, Ground, heard, key, opened, said

PHOTO = Attachment(kind="photo", file_id="f1", name="shot.png", size=2048)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def laid(ground: Ground) -> Ground:
    lay_out(ground)
    return ground


def wrote(ground: Ground, number: int, text: str = "", *parts: str, **more: Any) -> None:
    """The person writes; staff get a copy in so many parts."""
    ground.take(said(number, text, **more))
    start = ground.begin()
    assert start is not None
    copies = {row.id: parts or (f"Ann: {row.message.text}",) for row in start.rows}
    ground.finish(start, Plan(heard=heard(start), copies=copies))


def in_parts(ground: Ground, *parts: str) -> int:
    """Let Ben answer in so many messages, and return the line."""
    words = Words(whole=" ".join(parts), parts=parts)
    ground.do(relay.answer, case_id=1, by=("Ben", "web:Ben"), words=words, now=ground.now)
    ground.send_all()
    return int(ground.rows(history, role="staff")[-1].id)


def change(ground: Ground, line: int, *parts: str, number: int = 70) -> list[Post]:
    words = Words(whole=" ".join(parts), parts=parts)
    arguments = {"words": words, "cause": ("changed", number), "now": ground.now}
    ground.do(relay.change_answer, line_id=line, **arguments)
    return ground.send_all()


def shape(posts: list[Post]) -> list[tuple[str, str | None, str]]:
    return [(post.kind, post.message_id, post.text) for post in posts]


# --- files ---------------------------------------------------------------------------------------


def test_a_copy_brings_the_persons_files_along(laid: Ground) -> None:
    wrote(laid, 2, "look", attachments=(PHOTO,))
    [post] = to_staff(laid)
    assert post.text == "Ann: look"
    [media] = post.media
    assert (media.platform, media.chat, media.message_id) == ("telegram", "ann", "2")
    assert (media.kind, media.file_id, media.name, media.size) == ("photo", "f1", "shot.png", 2048)
    assert laid.rows(history)[-1].files[0]["name"] == "shot.png"


def test_the_files_go_with_the_first_part_of_a_long_copy(laid: Ground) -> None:
    wrote(laid, 2, "long", "one", "two", attachments=(PHOTO,))
    assert [(post.text, len(post.media)) for post in to_staff(laid)] == [("one", 1), ("two", 0)]


async def test_a_file_of_staffs_reaches_the_person(laid: Ground) -> None:
    await laid.staff(from_staff("", attachments=(PHOTO,)))
    [post] = laid.send_all()
    assert [media.file_id for media in post.media] == ["f1"]
    assert post.media[0].message_id == "900"


def test_what_has_no_bytes_goes_in_words_alone(laid: Ground) -> None:
    place = Attachment(kind="location", file_id="", words="https://map.example/1")
    wrote(laid, 2, "", "Ann: https://map.example/1", attachments=(place,))
    [post] = to_staff(laid)
    assert post.media == ()


def test_an_album_waits_a_moment_and_leaves_together(laid: Ground) -> None:
    for number in (2, 3, 4):
        photo = replace(PHOTO, file_id=f"f{number}")
        wrote(laid, number, "", "Ann:", attachments=(photo,), album="a1")
    assert laid.claim(STAFF) == ALBUM  # the copy waits, the turn did not
    laid.now += ALBUM
    claim = laid.claim(STAFF)
    assert isinstance(claim, Claim)
    assert [media.file_id for media in claim.post.media] == ["f2", "f3", "f4"]
    assert len(claim.album) == 2
    receipt = Receipt(message_id="n1", more=("n2", "n3"))
    arguments = {"receipt": receipt, "album": claim.album, "now": laid.now}
    laid.do(receipts.sent, row_id=claim.post.id, **arguments)
    assert laid.claim(STAFF) is None
    shown = {row.message_id: row.history_id for row in laid.rows(pair) if row.message_id[0] == "n"}
    by_line = [line.id for line in laid.rows(history) if line.message_id in ("2", "3", "4")]
    assert [shown["n1"], shown["n2"], shown["n3"]] == by_line


def test_two_albums_leave_one_after_the_other(laid: Ground) -> None:
    for number, album in ((2, "a1"), (3, "a2"), (4, "a2")):
        wrote(laid, number, "", "Ann:", attachments=(PHOTO,), album=album)
    laid.now += ALBUM
    first = laid.claim(STAFF)
    assert isinstance(first, Claim)
    assert (len(first.post.media), first.album) == (1, ())
    laid.sent(first.post)
    second = laid.claim(STAFF)
    assert isinstance(second, Claim)
    assert len(second.post.media) == 2


def test_an_album_that_was_put_back_leaves_together_again(laid: Ground) -> None:
    for number in (2, 3):
        wrote(laid, number, "", "Ann:", attachments=(PHOTO,), album="a1")
    laid.now += ALBUM
    claim = laid.claim(STAFF)
    assert isinstance(claim, Claim)
    arguments = {"seconds": 5.0, "error": "429", "now": laid.now, "album": claim.album}
    laid.do(receipts.later, row_id=claim.post.id, **arguments)
    laid.now += 5.0
    again = laid.claim(STAFF)
    assert isinstance(again, Claim)
    assert (again.post.id, again.album) == (claim.post.id, claim.album)


# --- replies --------------------------------------------------------------------------------------


async def test_a_reply_to_staffs_answer_is_shown_under_staffs_own_message(laid: Ground) -> None:
    await laid.staff(from_staff("Which order?", number=950))
    [answer] = laid.send_all()
    wrote(laid, 2, "this one", reply_to=f"m{answer.id}")
    copy = [post for post in to_staff(laid) if post.kind == "relay"][-1]
    assert copy.reply_to == "950"


async def test_staff_who_reply_to_a_copy_answer_that_very_message(laid: Ground) -> None:
    wrote(laid, 2, "which of them?")
    [copy] = to_staff(laid)
    await laid.staff(from_staff("The first.", reply_to=f"m{copy.id}"))
    [answer] = laid.send_all()
    assert answer.reply_to == "2"


async def test_a_reply_to_something_unknown_still_arrives(laid: Ground) -> None:
    await laid.staff(from_staff("Hello.", reply_to="never seen"))
    [answer] = laid.send_all()
    assert (answer.text, answer.reply_to) == (f"{BEN}Hello.", None)


# --- edits ----------------------------------------------------------------------------------------


def test_an_answer_that_is_edited_changes_message_by_message(laid: Ground) -> None:
    line = in_parts(laid, "a", "b")
    shown = laid.store.read_now(lambda c: list(pairs.copies(c, line, "person")))
    assert shape(change(laid, line, "A", "B")) == [("edit", shown[0], "A"), ("edit", shown[1], "B")]
    row = laid.row(history, id=line)
    assert (row.text, row.was) == ("A B", "a b")


def test_an_answer_that_grew_gets_a_further_message(laid: Ground) -> None:
    line = in_parts(laid, "a")
    posts = change(laid, line, "A", "B")
    assert [(post.kind, post.text) for post in posts] == [("edit", "A"), ("relay", "B")]
    again = change(laid, line, "x", "y", number=71)
    assert [post.kind for post in again] == ["edit", "edit"]
    assert again[1].message_id == f"m{posts[1].id}"


def test_an_answer_that_shrank_loses_its_last_message(laid: Ground) -> None:
    line = in_parts(laid, "a", "b", "c")
    shown = laid.store.read_now(lambda c: list(pairs.copies(c, line, "person")))
    posts = change(laid, line, "A")
    assert shape(posts) == [
        ("edit", shown[0], "A"),
        ("delete", shown[2], ""),
        ("delete", shown[1], ""),
    ]


def test_an_answer_that_shrank_and_grew_again_has_every_word(laid: Ground) -> None:
    line = in_parts(laid, "a", "b")
    change(laid, line, "A")
    posts = change(laid, line, "x", "y", number=71)
    assert [(post.kind, post.text) for post in posts] == [("edit", "x"), ("relay", "y")]


def test_an_edit_that_changes_nothing_sends_nothing(laid: Ground) -> None:
    line = in_parts(laid, "a")
    assert change(laid, line, "a") == []


def test_an_edit_that_comes_before_the_answer_left_follows_it(laid: Ground) -> None:
    words = Words(whole="a", parts=("a",))
    laid.do(relay.answer, case_id=1, by=("Ben", "web:Ben"), words=words, now=laid.now)
    line = int(laid.rows(history, role="staff")[-1].id)
    first, second = change(laid, line, "A")
    assert (first.kind, first.text, second.kind, second.text) == ("relay", "a", "edit", "A")
    assert second.message_id == f"m{first.id}"


def test_copies_of_an_edited_message_follow_in_every_thread(laid: Ground) -> None:
    wrote(laid, 2, "helo", "Ann: helo", "and more")
    first, second = to_staff(laid)
    line = int(laid.rows(history, role="user")[-1].id)
    arguments = {"parts": ["Ann: hello"], "cause": ("inbox", 70), "now": laid.now}
    laid.do(relay.change_copies, line_id=line, **arguments)
    assert shape(to_staff(laid)) == [
        ("edit", f"m{first.id}", "Ann: hello"),
        ("delete", f"m{second.id}", ""),
    ]


async def test_staff_edit_their_own_line_and_the_person_sees_it(laid: Ground) -> None:
    await laid.staff(from_staff("I am hear.", number=950))
    [answer] = laid.send_all()
    edited = from_staff("I am here.", number=950, kind="edited", event_id="950:1")
    await laid.staff(edited)
    assert shape(laid.send_all()) == [("edit", f"m{answer.id}", f"{BEN}I am here.")]
    marks = [post.text for post in laid.send_all(STAFF) if post.kind == "mark"]
    assert marks == ["sent", "edited"]


async def test_an_edit_by_command_changes_ones_last_answer(laid: Ground) -> None:
    await laid.staff(from_staff("one", number=950))
    await laid.staff(from_staff("two", number=951))
    laid.send_all()
    await laid.staff(command("/edit three", number=952))
    [post] = laid.send_all()
    assert (post.kind, post.text) == ("edit", "three")
    assert [row.text for row in laid.rows(history, role="staff")] == ["one", "three"]


async def test_an_edited_note_stays_inside(laid: Ground) -> None:
    await laid.staff(from_staff("// carful", number=950))
    edited = from_staff("// careful", number=950, kind="edited", event_id="950:1")
    await laid.staff(edited)
    assert to_person(laid) == []
    assert [row.was for row in laid.rows(history, role="note")] == ["carful"]


# --- deletions ------------------------------------------------------------------------------------


async def test_an_answer_taken_back_leaves_the_chat_and_the_history(laid: Ground) -> None:
    await laid.staff(from_staff("secret words", number=950))
    [answer] = laid.send_all()
    deletes = from_staff("", number=950, kind="deleted", event_id="950:d")
    await laid.staff(deletes)
    assert shape(laid.send_all()) == [("delete", f"m{answer.id}", "")]
    row = laid.rows(history, role="staff")[-1]
    assert (row.text, row.was, row.deleted) == ("", "", True)


async def test_an_answer_taken_back_before_it_left_never_leaves(laid: Ground) -> None:
    await laid.staff(from_staff("secret words", number=950))
    await laid.staff(command("/del", number=951))
    assert to_person(laid) == []
    assert "secret" not in str([row.text for row in laid.rows(outbox)])


async def test_nobody_takes_back_what_the_person_said(laid: Ground) -> None:
    wrote(laid, 2, "mine")
    [copy] = to_staff(laid)
    deletes = from_staff("", number=952, kind="command", command="del", reply_to=f"m{copy.id}")
    await laid.staff(deletes)
    assert laid.rows(history, role="user")[-1].text == "mine"
    assert any("Reply to the answer that is meant" in line for line in lines(laid))


# --- reactions -----------------------------------------------------------------------------------


async def test_a_reaction_of_staffs_is_shown_to_the_person_without_a_name(laid: Ground) -> None:
    wrote(laid, 2, "thanks")
    [copy] = to_staff(laid)
    await laid.staff(_reacts(f"m{copy.id}", "👍", 1))
    [post] = laid.send_all()
    assert (post.kind, post.text, post.message_id) == ("react", "👍", "2")
    await laid.staff(_reacts(f"m{copy.id}", "", 2))
    [back] = laid.send_all()
    assert (back.kind, back.text, back.message_id) == ("react", "", "2")


def _reacts(message_id: str, emoji: str, number: int) -> Message:
    made = from_staff("", kind="reacted", data=emoji, event_id=f"r{number}")
    return replace(made, message_id=message_id)


async def test_a_reaction_of_the_persons_is_shown_at_staffs_own_message(laid: Ground) -> None:
    await laid.staff(from_staff("Done.", number=950))
    [answer] = laid.send_all()
    laid.send_all(STAFF)
    place = key().place
    linked = laid.store.read_now(lambda c: pairs.find(c, place, f"m{answer.id}"))
    laid.do(relay.react, linked=linked, emoji="❤", cause=70, now=laid.now)
    [post] = laid.send_all(STAFF)
    assert (post.kind, post.text, post.message_id) == ("react", "❤", "950")


# --- who is named -------------------------------------------------------------------------------


async def test_a_name_stands_over_the_first_of_a_run_alone(laid: Ground) -> None:
    await act(laid, "reply", text="one")
    await act(laid, "reply", text="two")
    await act(laid, "reply", "Zoe", text="three", confirm=True)
    await act(laid, "reply", text="four")
    assert to_person(laid) == [
        f"{BEN}one",
        "two",
        "Zoe · Support\nthree",
        f"{BEN}four",
    ]


async def test_one_answer_may_go_without_a_name(laid: Ground) -> None:
    await laid.staff(command("/ra hello"))
    assert to_person(laid) == ["Support\nhello"]


async def test_what_is_said_on_the_page_is_shown_in_the_thread(laid: Ground) -> None:
    await act(laid, "reply", text="from the page")
    await act(laid, "note", text="inside")
    assert [line for line in lines(laid) if "Ben" in line][-2:] == [
        "Ben: from the page",
        "// Ben: inside",
    ]


def test_a_long_answer_is_split_by_the_persons_platform(laid: Ground) -> None:
    limit = laid.handoff._limit(Place(platform="telegram", bot="heed", chat="ann"))
    assert limit == TextLimit(size=4096, utf16=True)
    line = in_parts(laid, *("x" * 10 for _ in range(5)))
    assert len(laid.rows(pair, history_id=line)) == 5


async def test_an_album_of_staffs_is_one_post_to_the_person(laid: Ground) -> None:
    for number in (950, 951):
        photo = replace(PHOTO, file_id=str(number))
        await laid.staff(from_staff("", number=number, attachments=(photo,), album="b1"))
    laid.now += ALBUM
    claim = laid.claim()
    assert isinstance(claim, Claim)
    assert [media.file_id for media in claim.post.media] == ["950", "951"]
    assert claim.post.text == BEN.strip()
    assert DESK.chat == claim.post.media[0].chat
