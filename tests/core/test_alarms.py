"""How loud the desk is: a budget of calls, and one card when many are upset at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.crowd import common_words
from core.message import Post
from core.store import alarms, digests
from core.store.alarms import CALM
from core.store.desk import Opening
from core.store.places import REDRAW
from core.tables import case, incident, outbox, staff_thread
from tests.core.desk_chat import pressed
from tests.core.ground import OPENING, Ground, opened

ASKED = replace(OPENING, rule="request", why="asked for a person")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def upset(ground: Ground, *numbers: int, opening: Opening = OPENING) -> list[int]:
    """Open a case for so many people, one after the other; return the cases."""
    return [ground.open_case(number, user=f"user{number}", opening=opening) for number in numbers]


def pings(ground: Ground) -> list[int]:
    """Return the cases for which staff are called."""
    threads = {row.id: row.case_id for row in ground.rows(staff_thread)}
    return [threads[row.staff_thread_id] for row in ground.rows(outbox, kind="ping")]


def board(ground: Ground) -> list[Post]:
    """Send what the desk's own chat has."""
    rows = ground.rows(staff_thread, case_id=None)
    return [
        post
        for row in rows
        for lane in (("staff", row.id), ("card", row.id))
        for post in ground.send_all(lane)
    ]


# --- the budget -----------------------------------------------------------------------------------


def test_past_the_budget_a_case_opens_and_the_person_is_told_but_nobody_is_called(
    ground: Ground,
) -> None:
    ground.alarmed(per_day=2)
    upset(ground, 1, 2, 3)
    assert pings(ground) == [1, 2]
    assert [row.state for row in ground.rows(case)] == ["queued"] * 3
    assert len(ground.rows(outbox, kind="notice")) == 3
    assert len(ground.rows(outbox, kind="card")) == 3  # a place of its own, without a call


def test_the_budget_is_of_moods_alone(ground: Ground) -> None:
    ground.alarmed(per_day=1)
    upset(ground, 1, 2)
    asked = upset(ground, 3, opening=ASKED)
    danger = upset(ground, 4, opening=replace(OPENING, rule="crisis", priority=3))
    assert pings(ground) == [1, *asked, *danger]


def test_the_budget_is_of_one_day(ground: Ground) -> None:
    ground.alarmed(per_day=1)
    upset(ground, 1, 2)
    ground.now += 86401.0
    upset(ground, 3)
    assert pings(ground) == [1, 3]


async def test_who_waits_beyond_the_budget_is_listed_on_the_hour_without_a_call(
    ground: Ground,
) -> None:
    ground.alarmed(per_day=1)
    ground.now = 7200.0 + 1200.0
    upset(ground, 1, 2, 3)
    assert ground.timers(None) == {"ranked": 10800.0}
    ground.now = 10800.0
    await ground.clockwork().tick()
    [listed] = board(ground)
    assert listed.kind == "digest"
    assert all(f"#{number} · queued" in listed.text for number in (1, 2, 3))
    assert "ranked" not in ground.timers(None)


async def test_while_nobody_is_there_the_call_waits_except_for_somebody_in_danger(
    ground: Ground,
) -> None:
    opens_at = ground.now + 3600.0
    ground.choose(
        is_open=lambda at: at >= opens_at, after=lambda at, wait: max(at, opens_at) + wait
    )
    upset(ground, 1)
    upset(ground, 2, opening=ASKED)
    upset(ground, 3, opening=replace(OPENING, rule="crisis", priority=3))
    assert pings(ground) == [3]
    assert "ranked" in ground.timers(None)
    for number in (1, 2, 3):
        ground.send_all(("staff", number), thread=f"3{number}")
    ground.now = opens_at + 300.0
    await ground.clockwork().tick()
    assert sorted(pings(ground)) == [1, 2, 3, 3]


# --- many at once ---------------------------------------------------------------------------------


@pytest.fixture
def crowd(ground: Ground) -> Ground:
    ground.now = 1010.0  # about when they write
    ground.alarmed(users=6, words=common_words)
    upset(ground, *range(1, 7))
    return ground


def test_from_the_sixth_on_one_card_stands_for_all(crowd: Ground) -> None:
    assert pings(crowd) == [1, 2, 3, 4, 5]
    upset(crowd, 7)
    assert pings(crowd) == [1, 2, 3, 4, 5]
    [row] = crowd.rows(incident)
    assert {one.incident_id for one in crowd.rows(case)} == {row.id}
    assert len(crowd.rows(case)) == 7
    placed = {one.case_id for one in crowd.rows(staff_thread)}
    assert placed == {None, 1, 2, 3, 4, 5}  # the sixth and seventh have no thread yet
    card = board(crowd)[0]
    assert card.kind == "card"
    assert "6" in card.text
    assert [button.data[:5] for button in card.buttons] == ["h:1:i"] * 3


def test_five_are_no_crowd_and_neither_are_six_over_a_longer_time(ground: Ground) -> None:
    ground.alarmed(users=6)
    for number in range(1, 7):
        upset(ground, number)
        ground.now += 130.0
    assert ground.rows(incident) == []
    assert len(pings(ground)) == 6


def test_who_asks_for_a_person_in_a_crowd_is_called_for(crowd: Ground) -> None:
    asked = upset(crowd, 8, opening=ASKED)
    assert pings(crowd)[-1:] == asked


async def test_a_flood_costs_one_drawing_every_few_seconds(crowd: Ground) -> None:
    board(crowd)
    upset(crowd, *range(7, 20))
    assert board(crowd) == []
    crowd.now += REDRAW
    await crowd.clockwork().tick()
    [drawn] = board(crowd)
    assert drawn.kind == "redraw"
    assert "19" in drawn.text


def test_a_word_is_shown_that_several_wrote(crowd: Ground) -> None:
    view = crowd.store.read_now(
        lambda c: alarms.incident_view(c, 1, crowd.facts().alarms, crowd.now)
    )
    assert view["users"] == 6
    assert "fed" in view["words"]
    assert view["case_ids"] == [1, 2, 3, 4, 5, 6]


async def test_opened_one_by_one_every_case_gets_its_thread(crowd: Ground) -> None:
    upset(crowd, 7)
    await crowd.staff(pressed("h:1:io:0"))
    placed = {one.case_id for one in crowd.rows(staff_thread)} - {None}
    assert placed == {1, 2, 3, 4, 5, 6, 7}
    await crowd.staff(pressed("h:1:io:0", number=901))
    assert len(crowd.rows(staff_thread)) == 8


async def test_a_known_one_is_muted_for_an_hour(crowd: Ground) -> None:
    board(crowd)
    await crowd.staff(pressed("h:1:im:0"))
    crowd.now += REDRAW
    [drawn] = board(crowd)
    assert crowd.row(incident).muted_until == pytest.approx(crowd.now + 3600.0 - REDRAW)
    assert [button.data.split(":")[2] for button in drawn.buttons] == ["ia", "io"]


async def test_one_answer_reaches_everybody_in_it(crowd: Ground) -> None:
    upset(crowd, 9, opening=ASKED)
    await crowd.staff(replace(pressed("h:1:ia:0"), argument="We are on it."))
    for number in range(1, 7):
        texts = [
            post.text for post in crowd.send_all(("person", crowd.case(number).conversation_id))
        ]
        assert texts[-1] == "Support\nWe are on it."
        assert crowd.case(number).state == "queued"
    other = crowd.case(7).conversation_id
    assert "We are on it." not in str([p.text for p in crowd.send_all(("person", other))])


async def test_when_nobody_new_came_for_long_the_card_says_so_and_calls_return(
    crowd: Ground,
) -> None:
    board(crowd)
    crowd.now += CALM - 1.0
    await crowd.clockwork().tick()
    assert crowd.row(incident).closed_at is None
    crowd.now += 1.0
    await crowd.clockwork().tick()
    assert crowd.row(incident).closed_at == crowd.now
    [drawn] = board(crowd)
    assert "20" in drawn.text
    fresh = upset(crowd, 30)
    assert pings(crowd)[-1:] == fresh
    assert crowd.case(fresh[0]).incident_id is None


async def test_somebody_new_puts_the_calm_off(crowd: Ground) -> None:
    crowd.now += CALM - 1.0
    upset(crowd, 7)
    crowd.now += 2.0
    await crowd.clockwork().tick()
    assert crowd.row(incident).closed_at is None


def test_a_second_crowd_has_a_card_of_its_own(crowd: Ground) -> None:
    board(crowd)
    crowd.now += CALM
    crowd.do(alarms.close, incident_id=1, now=crowd.now)
    upset(crowd, *range(11, 17))
    assert len(crowd.rows(incident)) == 2
    assert [post.kind for post in board(crowd)] == ["card"]


# --- lists ----------------------------------------------------------------------------------------


def test_who_waits_is_listed_the_worst_first(ground: Ground) -> None:
    upset(ground, 1)
    upset(ground, 2, opening=replace(OPENING, rule="crisis", priority=3))
    upset(ground, 3)
    rows = ground.store.read_now(lambda c: digests.waiting(c, 2))
    assert [row.id for row in rows] == [2, 1]


def test_a_case_is_stale_once_it_is_old_and_unresolved(ground: Ground) -> None:
    upset(ground, 1)
    ground.now += 10.0
    upset(ground, 2)
    found = ground.store.read_now(lambda c: digests.older(c, ground.now, 20))
    assert [row.id for row in found] == [1]


def test_posts_that_wait_for_long_mean_that_the_desk_hears_nothing(ground: Ground) -> None:
    upset(ground, 1)
    assert ground.store.read_now(lambda c: digests.stuck(c, 1, ground.now + 1.0))
    assert not ground.store.read_now(lambda c: digests.stuck(c, 1, ground.now))
    ground.send_all(("staff", 1), thread="31")
    assert not ground.store.read_now(lambda c: digests.stuck(c, 1, ground.now + 1.0))


def test_the_usual_wait_is_that_of_the_last_cases(ground: Ground) -> None:
    upset(ground, 1, 2)
    ground.now += 60.0
    ground.staff_said("hello", case_id=1)
    ground.now += 60.0
    ground.staff_said("hello", case_id=2)
    assert ground.store.read_now(digests.last_waits) == [60.0, 120.0]
