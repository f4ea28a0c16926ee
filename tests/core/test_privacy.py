"""Forgetting and handing over: nothing of a forgotten person is left, nothing of others is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from core.handoff import Action
from core.janitor import Janitor
from core.message import Attachment, Receipt
from core.store import desk, feedback, intake, places, privacy, receipts, record
from core.store.outbox import Claim, Outgoing, enqueue
from core.store.privacy import Count, Erased
from core.store.retention import DAY
from core.store.turns import Plan
from core.tables import (
    audit,
    case,
    conversation,
    decision,
    history,
    inbox,
    metadata,
    outbox as table,
    pair,
    person,
    poison,
    remark,
    staff_thread,
    timer,
    watcher,
)
from tests.core.desk_chat import act, from_staff
from tests.core.ground import DECISION, OPENING, Ground, arrival, heard, key, opened, said

COPY = "(erased at the user's request)"
WORD = "zebra-quartz-7431"
STAFF = ("staff", 1)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def forget(ground: Ground, conversation_id: int = 1, *, silent: bool = False) -> Erased:
    def done(n: int, m: int) -> str:
        return "" if silent else f"Done: {n} messages and {m} cases are erased."

    return ground.do(
        privacy.forget, conversation_id=conversation_id, done=done, copy=COPY, now=ground.now
    )


def live(ground: Ground) -> None:
    """Leave words in every table: said, answered, opened, copied, noted, parked as poison."""
    ground.take(said(1, f"{WORD} one"))
    ground.answer(ground.begin(), f"{WORD} two")
    ground.send_all()
    ground.open_case(2)
    ground.send_all(STAFF, thread="31")
    ground.take(said(3, f"{WORD} three"))
    start = ground.begin()
    copies = {3: (f"Ann: {WORD} three",)}
    ground.finish(start, Plan(heard=heard(start, decision=DECISION), copies=copies))
    ground.send_all(STAFF)
    ground.do(record.note, case_id=1, who="Ben", words=f"{WORD} note", now=1.0)
    ground.take(said(4, f"{WORD} waiting"))
    broken = arrival(None, raw=f'{{"from": "ann", "text": "{WORD}"}}', error="KeyError")
    ground.do(intake.take_in, arrivals=[(broken, "")], now=1.0)


def mentions(ground: Ground, word: str) -> list[str]:
    return [
        name
        for name, found in metadata.tables.items()
        if any(word in str(tuple(row)) for row in ground.rows(found))
    ]


def test_every_word_of_a_person_leaves_the_tables(ground: Ground) -> None:
    live(ground)
    assert set(mentions(ground, WORD)) >= {"inbox", "history", "outbox", "poison"}
    erased = forget(ground)
    assert erased.count == Count(messages=5, cases=1)
    assert erased.words == "Done: 5 messages and 1 cases are erased."
    assert mentions(ground, WORD) == []
    for gone in (history, decision, pair, poison):
        assert ground.rows(gone) == []
    assert {(str(row.message), row.raw, row.state) for row in ground.rows(inbox)} == {
        ("{}", "", "done")
    }
    bare = ground.row(conversation)
    assert (bare.name, bare.past, bare.mood, bare.owner) == ("", None, 0.0, "bot")
    assert (ground.row(case).why, ground.row(case).state) == ("", "resolved")


def test_nothing_of_anybody_else_goes(ground: Ground) -> None:
    ground.take(said(1, "mine"), said(2, f"{WORD} theirs", user="ben"))
    ground.answer(ground.begin(1))
    ground.answer(ground.begin(2))
    other = arrival(None, raw='{"from": "ben"}', error="KeyError")
    ground.do(intake.take_in, arrivals=[(other, "")], now=1.0)
    forget(ground)
    assert [row.text for row in ground.rows(history)] == [f"{WORD} theirs", "I hear you."]
    assert len(ground.rows(poison)) == 1
    assert not ground.conversation("ben").forgotten


@pytest.mark.parametrize(
    ("raw", "theirs"),
    [
        ('{"from": {"id": 42}}', True),
        ('{"author":{"id":"42","bot":false}}', True),
        ('{"from": {"id": 42, "name', True),  # no JSON at all: it was cut off
        ('{"text": "<@42> said so"}', True),
        ('{"from": {"id": 1420}}', False),
        ('{"chat": {"id": -42}}', False),
        ('{"ago": 42.5, "late": 0.42, "took": -1.42}', False),
        ('{"nonce": "a42", "name": "42_b", "uuid": "42-7c"}', False),
    ],
)
def test_what_could_not_be_read_goes_where_it_names_the_person(
    ground: Ground, raw: str, *, theirs: bool
) -> None:
    ground.take(said(1, "hello", user="42"))
    ground.do(intake.take_in, arrivals=[(arrival(None, raw=raw, error="KeyError"), "")], now=1.0)
    forget(ground)
    assert [row.raw for row in ground.rows(poison)] == ([] if theirs else [raw])


def test_what_staff_were_shown_is_edited_in_their_chat_and_then_the_row_goes(
    ground: Ground,
) -> None:
    live(ground)
    shown = [
        row.message_id
        for row in ground.rows(table, state="sent")
        if row.staff_thread_id is not None and row.kind in privacy.SHOWN
    ]
    erased = forget(ground)
    assert erased.lanes == (("person", 1), STAFF)
    assert ground.do(privacy.bury) == 0
    posts = ground.send_all(STAFF)
    *edits, renamed = posts
    assert [(post.kind, post.text) for post in edits] == [("edit", COPY)] * len(shown)
    assert sorted(post.message_id for post in edits) == sorted(shown)
    assert (renamed.kind, renamed.text, renamed.message_id) == ("thread", "#1", "31")
    assert ground.row(staff_thread).thread == "31"
    assert ground.do(privacy.bury) == 0
    assert [post.text for post in ground.send_all()] == [erased.words]
    assert ground.do(privacy.bury) == 1
    for gone in (conversation, case, staff_thread, table):
        assert ground.rows(gone) == []
    assert ("erased", "") in [(row.what, row.who) for row in ground.rows(audit)]


def test_a_copy_on_its_way_to_staff_is_erased_when_it_arrives(ground: Ground) -> None:
    ground.open_case()
    ground.send_all()
    thread = ground.claim(STAFF)
    assert isinstance(thread, Claim)
    ground.sent(thread.post, thread="31")
    card = ground.claim(STAFF)
    assert isinstance(card, Claim)
    assert "I am fed up" in card.post.text
    forget(ground, silent=True)
    assert mentions(ground, "fed up") == []
    assert ground.do(privacy.bury) == 0
    receipt = Receipt(message_id="77")
    ground.do(receipts.sent, row_id=card.post.id, receipt=receipt, now=ground.now)
    edit, _renamed = ground.send_all(STAFF)
    assert (edit.message_id, edit.text) == ("77", COPY)
    assert ground.do(privacy.bury) == 1


def test_being_forgotten_twice_loses_no_erasing_at_the_desk(ground: Ground) -> None:
    live(ground)
    forget(ground, silent=True)
    waiting = {row.message_id for row in ground.rows(table, kind="edit")}
    ground.take(said(9, "hello again"))
    forget(ground, silent=True)
    posts = ground.send_all(STAFF)
    assert len(waiting) == 4  # card, context, ping and the copy of a message
    assert {post.message_id for post in posts if post.text == COPY} == waiting
    assert [row for row in ground.rows(table) if row.state == "queued"] == []


def test_a_redrawn_card_does_not_undo_the_erasing(ground: Ground) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    forget(ground, silent=True)
    ground.do(desk.redraw, case_id=1, desk=ground.facts(), now=ground.now)
    erased = [post for post in ground.send_all(STAFF) if post.text == COPY]
    assert len(erased) == 3


def test_a_message_from_somebody_forgotten_begins_anew(ground: Ground) -> None:
    live(ground)
    forget(ground)
    ground.take(said(9, "hello again"))
    assert ground.do(privacy.bury) == 0
    start = ground.begin()
    assert (start.owner, start.history, start.past, start.case_id) == ("bot", (), None, None)
    assert start.resolved_case is None
    ground.answer(start)
    ground.send_all()
    ground.send_all(STAFF)
    assert ground.do(privacy.bury) == 0
    assert [row.text for row in ground.rows(history)] == ["hello again", "I hear you."]


def test_somebody_forgotten_in_silence_leaves_at_once(ground: Ground) -> None:
    ground.take(said(1))
    ground.answer(ground.begin())
    assert forget(ground, silent=True).lanes == ()
    assert ground.do(privacy.bury) == 1
    assert ground.rows(conversation) == []


def test_somebody_who_cannot_be_reached_is_forgotten_all_the_same(ground: Ground) -> None:
    ground.open_case()
    claim = ground.claim()
    assert isinstance(claim, Claim)
    ground.unreachable(claim.post)
    forget(ground)
    assert ground.claim() is None
    assert ground.do(privacy.bury) == 1
    assert ground.rows(table) == []


def test_no_byte_is_left_in_the_file_once_the_log_is_erased(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        live(ground)
        forget(ground, silent=True)
        ground.send_all(STAFF)
        ground.do(privacy.bury)
        assert ground.store.erase_log() is True
        for path in tmp_path.iterdir():
            assert WORD.encode() not in path.read_bytes(), path.name


async def test_old_words_go_and_old_numbers_stay(ground: Ground) -> None:
    ground.take(said(1, "xyzzy is broken"))
    start = ground.begin()
    judged = {**DECISION, "rule": "money", "why": '"xyzzy"'}
    judged["trace"] = [{"rule": "money", "value": 1.0, "fired": True, "note": '"xyzzy"'}]
    felt = heard(start, decision=judged, made={"prompt": "xyzzy is broken"})
    ground.finish(start, Plan(heard=felt, opening=replace(OPENING, why="xyzzy")))
    ground.now += 3600.0
    await ground.handoff.act(Action(case_id=1, verb="resolve", who="Ben"))
    ground.send_all(STAFF, thread="31")
    ground.send_all()
    kept = partial(Janitor, text_days=lambda: 30, score_days=lambda: 365)
    await kept(ground.store, lambda: ground.now + 29 * DAY).let_go()
    assert ground.row(decision).made == {"prompt": "xyzzy is broken"}
    await kept(ground.store, lambda: ground.now + 31 * DAY).let_go()
    for one in metadata.sorted_tables:
        assert "xyzzy" not in repr(ground.rows(one)), one.name
    [old] = ground.rows(decision)
    assert (old.rule, old.trace) == ("money", [{"rule": "money", "value": 1.0, "fired": True}])
    assert ground.rows(history)[0].scores["p_negative"] == 0.9
    await kept(ground.store, lambda: ground.now + 366 * DAY).let_go()
    assert ground.rows(decision) == []
    assert ground.rows(history)[0].scores is None


# --- what the desk adds ---------------------------------------------------------------------------


async def helped(ground: Ground) -> None:
    """Leave a file, a picture, a remark, a draft, a held answer and a block beside the words."""
    ground.choose(pictures=True)
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    photo = Attachment(kind="photo", file_id="f1", name=f"{WORD}.png")
    ground.take(said(3, "", attachments=(photo,)))
    start = ground.begin()
    ground.finish(start, Plan(heard=heard(start), copies={start.rows[0].id: ("Ann:",)}))
    await act(ground, "reply", text=f"{WORD} answer")
    await act(ground, "remark", text=f"{WORD} remark")
    await act(ground, "alert", "Zoe")
    await act(ground, "block", text=f"7d {WORD}", confirm=True)
    await ground.staff(from_staff(f"{WORD} held back", who="Zoe"))
    ground.do(record.set_values, case_id=1, values={"draft": f"{WORD} draft", "draft_by": "m"})
    ground.send_all()
    ground.send_all(STAFF)
    ground.now += 60.0
    ground.send_all(("card", 1))


async def test_remarks_pairs_drafts_alerts_and_blocks_go_with_their_person(ground: Ground) -> None:
    await helped(ground)
    assert set(mentions(ground, WORD)) >= {"history", "outbox", "remark", "person", "cases"}
    forget(ground, silent=True)
    assert mentions(ground, WORD) == []
    for gone in (person, remark, pair, watcher, timer, history):
        assert ground.rows(gone) == [], gone.name


async def test_files_and_pictures_at_the_desk_are_deleted_and_words_written_over(
    ground: Ground,
) -> None:
    await helped(ground)
    sent = {row.message_id: row for row in ground.rows(table, state="sent") if row.staff_thread_id}
    filed = {i for i, row in sent.items() if row.kind == "picture" or row.media}
    assert len(filed) == 2  # the picture of the mood, and the photo
    forget(ground, silent=True)
    posts = ground.send_all(STAFF)
    assert {post.message_id for post in posts if post.kind == "delete"} == filed
    assert {post.text for post in posts if post.kind == "edit"} == {COPY}
    assert ground.do(privacy.bury) == 1


async def test_every_message_of_an_album_at_the_desk_is_deleted(ground: Ground) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    for number in (3, 4):
        photo = Attachment(kind="photo", file_id=f"f{number}")
        ground.take(said(number, "", attachments=(photo,), album="a1"))
        start = ground.begin()
        ground.finish(start, Plan(heard=heard(start), copies={start.rows[0].id: ("Ann:",)}))
    ground.now += 60.0
    claim = ground.claim(STAFF)
    assert isinstance(claim, Claim)
    receipt = Receipt(message_id="n1", more=("n2",))
    arguments = {"receipt": receipt, "now": ground.now, "album": claim.album}
    ground.do(receipts.sent, row_id=claim.post.id, **arguments)
    forget(ground, silent=True)
    deleted = {post.message_id for post in ground.send_all(STAFF) if post.kind == "delete"}
    assert deleted == {"n1", "n2"}


async def test_who_is_known_in_another_place_keeps_what_is_kept_of_them_there(
    ground: Ground,
) -> None:
    ground.open_case()
    ground.take(said(2, "here too", key=key(chat="town")))
    await act(ground, "remark", text="prefers mornings")
    forget(ground, silent=True)
    assert [row.text for row in ground.rows(remark)] == ["prefers mornings"]
    [other] = [row for row in ground.rows(conversation) if row.chat == "town"]
    forget(ground, other.id, silent=True)
    assert ground.rows(person) == ground.rows(remark) == []


def test_somebody_forgotten_leaves_though_lists_of_nobody_wait(ground: Ground) -> None:
    board = ground.do(places.board, place=ground.place)
    post = Outgoing(
        kind="digest", text="3 wait", cause_kind="digest", cause_id=1, staff_thread_id=board
    )
    ground.do(enqueue, conversation_id=None, posts=[post], now=ground.now)
    ground.take(said(1))
    ground.answer(ground.begin())
    forget(ground, silent=True)
    assert ground.do(privacy.bury) == 1
    assert ground.rows(conversation) == []
    assert [row.text for row in ground.rows(table)] == ["3 wait"]


async def test_markers_and_answers_that_were_held_back_are_no_messages(ground: Ground) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    await act(ground, "claim")
    await ground.staff(from_staff("my two cents", who="Zoe"))
    assert {row.role for row in ground.rows(history)} == {"user", "bot", "marker", "held"}
    counted = ground.store.read_now(partial(privacy.count, conversation_id=1))
    assert counted == Count(messages=2, cases=1)
    assert "two cents" not in str(ground.store.read_now(partial(privacy.export, conversation_id=1)))
    ground.take(said(5, "hello?"))
    start = ground.begin()
    assert "my two cents" not in [line.text for line in start.history]


def test_counting_leaves_the_notes_of_staff_out(ground: Ground) -> None:
    live(ground)
    counted = ground.store.read_now(partial(privacy.count, conversation_id=1))
    assert counted == Count(messages=5, cases=1)


def test_an_export_has_everything_but_what_staff_noted(ground: Ground) -> None:
    live(ground)
    kept = ground.store.read_now(partial(privacy.export, conversation_id=1))
    assert kept["person"]["user"] == "ann"
    assert [line["text"] for line in kept["messages"]] == [
        f"{WORD} one",
        f"{WORD} two",
        "I am fed up",
        "A person will read this.",
        f"{WORD} three",
    ]
    assert [found["trace"] for found in kept["decisions"]] == [DECISION["trace"]] * 2
    assert len(kept["cases"]) == 1
    assert "note" not in str(kept)


def test_an_export_has_what_somebody_thought_of_replies_and_nobody_elses_thumbs(
    ground: Ground,
) -> None:
    live(ground)
    ground.take(said(9, "me too", user="ben"))
    reply = ground.row(history, role="bot", text=f"{WORD} two").id
    for who, value in (("ann", 1), ("ben", -1)):
        of = ground.conversation(who).id
        ground.do(feedback.keep, conversation_id=of, history_id=reply, value=value, now=5.0)
    kept = ground.store.read_now(partial(privacy.export, conversation_id=1))
    assert kept["feedback"] == [{"at": 5.0, "value": 1, "reply": f"{WORD} two"}]
