"""Which message shows which line: both sides, originals and copies, found by key at any age."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.message import Place
from core.store import pairs
from core.tables import history, outbox, pair
from tests.core.desk_chat import from_staff, lay_out
from tests.core.ground import DESK, Ground, key, opened, said

ANN = key().place


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        lay_out(made)
        yield made


def ask(ground: Ground, question: Any, *arguments: Any, **more: Any) -> Any:
    return ground.store.read_now(lambda c: question(c, *arguments, **more))


def link(ground: Ground, message_id: str, line: int | None = 1, **more: Any) -> None:
    values = {"place": DESK, "side": "staff", **more}
    ground.do(pairs.link, case_id=1, history_id=line, message_id=message_id, **values)


def test_a_message_is_linked_once_and_found_by_its_key(ground: Ground) -> None:
    link(ground, "x", original=True)
    link(ground, "x", line=2)
    [row] = ground.rows(pair, message_id="x")
    found = ask(ground, pairs.find, DESK, "x")
    assert (found.history_id, found.original, row.id) == (1, True, found.id)
    assert ask(ground, pairs.find, ANN, "x") is None
    assert ask(ground, pairs.find, Place(platform="discord", bot="heed", chat="-100"), "x") is None


def test_a_message_without_an_id_is_not_linked(ground: Ground) -> None:
    before = len(ground.rows(pair))
    link(ground, "")
    assert len(ground.rows(pair)) == before


def test_copies_are_told_from_the_original_and_side_from_side(ground: Ground) -> None:
    link(ground, "own", original=True)
    link(ground, "c1")
    link(ground, "c2")
    link(ground, "p1", place=ANN, side="person")
    assert ask(ground, pairs.copies, 1, "staff") == ["c1", "c2"]
    assert ask(ground, pairs.copies, 1, "person") == ["p1"]
    assert ask(ground, pairs.copies, 1, "staff", ANN) == []
    assert ask(ground, pairs.origin, 1).message_id == "own"
    assert ask(ground, pairs.origin, 2) is None


def test_a_line_is_shown_best_by_its_original_and_then_by_its_first_copy(ground: Ground) -> None:
    link(ground, "c1")
    assert ask(ground, pairs.shown_as, 1, "staff", DESK) == "c1"
    link(ground, "own", original=True)
    assert ask(ground, pairs.shown_as, 1, "staff", DESK) == "own"
    assert ask(ground, pairs.shown_as, 1, "person", ANN) == "1"  # what the person wrote themselves


def test_a_line_is_found_by_what_the_person_wrote_and_by_what_they_were_shown(
    ground: Ground,
) -> None:
    link(ground, "p1", line=2, place=ANN, side="person")
    assert ask(ground, pairs.line_of, 1, ANN, "1") == 1
    assert ask(ground, pairs.line_of, 1, ANN, "p1") == 2
    assert ask(ground, pairs.line_of, 1, ANN, "never") is None


def test_the_last_answer_is_ones_own_and_one_that_still_stands(ground: Ground) -> None:
    ground.staff_said("first", who="Ben")
    ground.staff_said("second", who="Ben")
    ground.staff_said("other", who="Zoe")
    lines = {row.text: row.id for row in ground.rows(history, role="staff")}
    assert ask(ground, pairs.last_answer, 1, "Ben") == lines["second"]
    ground.do(pairs.rewrite, history_id=lines["second"], text="")
    assert ask(ground, pairs.last_answer, 1, "Ben") == lines["first"]
    assert ask(ground, pairs.last_answer, 1, "nobody") is None


def test_somebody_is_meant_by_case_account_or_a_name_that_only_they_have(ground: Ground) -> None:
    for meant in ("#1", "telegram:ann", "@Ann", "Ann"):
        assert ask(ground, pairs.conversation_named, meant) == 1
    for nobody in ("#9", "telegram:zed", "Zed", "", "#", "discord:ann"):
        assert ask(ground, pairs.conversation_named, nobody) is None
    ground.take(said(9, key=key("ann2"), user="Ann"))
    assert ask(ground, pairs.conversation_named, "Ann") is None


def test_a_run_of_answers_ends_where_somebody_else_speaks(ground: Ground) -> None:
    assert not ask(ground, pairs.goes_on, 1, "Ben")
    ground.staff_said("hello", who="Ben")
    assert ask(ground, pairs.goes_on, 1, "Ben")
    assert not ask(ground, pairs.goes_on, 1, "Zoe")


async def test_what_staff_wrote_is_an_original_and_the_persons_copy_is_none(
    ground: Ground,
) -> None:
    await ground.staff(from_staff("I am here.", number=950))
    [post] = ground.send_all()
    line = ground.rows(history, role="staff")[-1].id
    own, copy = ground.rows(pair, history_id=line)
    assert (own.side, own.original, own.chat, own.message_id) == ("staff", True, "-100", "950")
    assert (copy.side, copy.original, copy.chat) == ("person", False, "ann")
    assert copy.message_id == f"m{post.id}"
    assert ask(ground, pairs.origin, line).message_id == "950"


@pytest.mark.parametrize("kind", ["card", "context", "ping"])
def test_every_post_of_a_case_leads_back_to_it(ground: Ground, kind: str) -> None:
    sent = ground.row(outbox, kind=kind)
    assert ask(ground, pairs.find, DESK, sent.message_id).case_id == 1
