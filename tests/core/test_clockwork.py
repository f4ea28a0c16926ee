"""What happens by the clock: calls nobody heard, ends of a sleep, lists; each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.message import Place
from core.store import places
from core.store.turns import Plan
from core.tables import decision, outbox, staff_thread, timer
from tests.core.desk_chat import act, lay_out, lines, owner, pressed, to_person, to_staff
from tests.core.ground import DECISION, OPENING, TEXTS, Ground, heard, opened, said

T1, T2, T3 = 300.0, 900.0, 2700.0
DAY = 86400.0
ON_CALL = Place(platform="telegram", bot="heed", chat="77")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


async def after(ground: Ground, seconds: float) -> None:
    """Let so much time pass, and the clock tick."""
    ground.now += seconds
    await ground.clockwork().tick()


def wrote(ground: Ground, number: int) -> None:
    ground.take(said(number))
    start = ground.begin()
    assert start is not None
    ground.finish(start, Plan(heard=heard(start)))


def board(ground: Ground, place: Place | None = None) -> list[str]:
    """Send and return what a desk's own chat has."""
    row = ground.do(places.board, place=place or ground.place)
    return [post.text for post in ground.send_all(("staff", row))]


# --- a case that waits ----------------------------------------------------------------------------


async def test_t1_calls_again_and_once(ground: Ground) -> None:
    lay_out(ground)
    await after(ground, T1 - 1)
    assert lines(ground) == []
    await after(ground, 1)
    [told] = to_staff(ground)
    assert (told.kind, "5 min" in told.text) == ("ping", True)
    await after(ground, 60)
    assert lines(ground) == []
    assert to_person(ground) == []


async def test_t1_goes_to_the_next_desk_where_the_first_is_stuck(ground: Ground) -> None:
    ground.more_places = [Place(platform="discord", bot="heed", chat="700")]
    ground.open_case()  # and nothing of it leaves
    await after(ground, T1)
    assert [row.platform for row in ground.rows(staff_thread)] == ["telegram", "discord"]
    assert "card" in [post.kind for post in ground.send_all(("staff", 2), thread="9")]
    assert "thread" in [row.kind for row in ground.rows(outbox, staff_thread_id=1)]


async def test_t2_calls_out_where_somebody_is_on_call(ground: Ground) -> None:
    lay_out(ground)
    clockwork = ground.clockwork(on_call=lambda: [ON_CALL])
    ground.now += T2
    await clockwork.tick()
    [told] = board(ground, ON_CALL)
    assert "#1" in told
    assert "Ann" in told


async def test_t2_calls_in_the_thread_where_nobody_is_on_call(ground: Ground) -> None:
    lay_out(ground)
    await after(ground, T1)
    lines(ground)
    await after(ground, T2 - T1)
    assert len(lines(ground)) == 1


@pytest.mark.parametrize(
    ("give_back", "rule", "state", "words"),
    [
        (False, "slide", "queued", "long_wait"),
        (True, "slide", "watch", "nobody_free"),
        (False, "crisis", "queued", "long_wait"),
        (True, "crisis", "queued", "long_wait"),
    ],
)
async def test_t3_tells_the_person_and_gives_back_only_what_is_no_danger(
    ground: Ground, rule: str, state: str, words: str, *, give_back: bool
) -> None:
    ground.choose(give_back=give_back)
    ground.open_case(opening=replace(OPENING, rule=rule))
    ground.send_all()
    await after(ground, T3)
    assert owner(ground)[1] == state
    assert TEXTS.say(words, "en") in to_person(ground)
    await after(ground, T3)
    assert TEXTS.say(words, "en") not in to_person(ground)


async def test_a_claim_calls_the_timers_off_and_a_release_lets_them_run_anew(
    ground: Ground,
) -> None:
    lay_out(ground)
    await after(ground, 60)
    await act(ground, "claim")
    await after(ground, T3)
    assert to_person(ground) == []
    await act(ground, "release")
    lines(ground)
    assert ground.timers()["t1"] == ground.now + T1
    await after(ground, T1)
    assert len(lines(ground)) == 1


async def test_the_timers_run_on_staffed_time(ground: Ground) -> None:
    ground.choose(after=lambda at, seconds: at + DAY + seconds)
    lay_out(ground)
    await after(ground, T3)
    assert to_person(ground) == []
    assert ground.timers()["t1"] == 2000.0 + DAY + T1


async def test_a_desk_that_hears_nothing_is_told_to_the_person_once(ground: Ground) -> None:
    ground.open_case()
    ground.send_all()
    await after(ground, 600.0)
    assert to_person(ground) == [TEXTS.say("delay", "en")]
    await after(ground, 600.0)
    assert TEXTS.say("delay", "en") not in to_person(ground)


async def test_a_desk_that_hears_is_no_delay(ground: Ground) -> None:
    lay_out(ground)
    await after(ground, T1)
    ground.send_all(("staff", 1))
    await after(ground, 600.0 - T1)
    assert to_person(ground) == []


# --- a case that somebody has ---------------------------------------------------------------------


@pytest.mark.parametrize("claims", [True, False])
async def test_a_sleep_ends_by_its_time(ground: Ground, *, claims: bool) -> None:
    lay_out(ground)
    if claims:
        await act(ground, "claim")
    await act(ground, "snooze", text="1h")
    lines(ground)
    await after(ground, 3599.0)
    assert owner(ground)[1] == "snoozed"
    await after(ground, 1.0)
    assert owner(ground)[1:] == (("human", "Ben") if claims else ("queued", ""))
    assert any(TEXTS.say("woke_by_itself", "en") in line for line in lines(ground))
    assert to_person(ground) == []


async def test_a_case_that_was_woken_by_hand_is_not_woken_again(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "snooze", text="1h")
    await act(ground, "wake")
    lines(ground)
    version = ground.conversation().version
    await after(ground, 60.0)
    assert ground.conversation().version == version


async def test_a_resolving_that_waits_comes_by_its_time(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "resolve", text="refunded in 2h")
    assert owner(ground)[1] == "human"
    await after(ground, 7199.0)
    assert owner(ground)[1] == "human"
    await after(ground, 1.0)
    assert owner(ground) == ("bot", "resolved", "")
    assert ground.case().resolved_by == "Ben"
    assert to_person(ground) == [TEXTS.say("resolved", "en")]


@pytest.mark.parametrize("side", ["person", "staff"])
async def test_a_resolving_that_waits_is_called_off_by_a_message_from_either_side(
    ground: Ground, side: str
) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "resolve", text="in 2h")
    lines(ground)
    if side == "person":
        wrote(ground, 2)
        assert TEXTS.say("resolve_off", "en") in lines(ground)
    else:
        await act(ground, "reply", text="one more thing")
    assert "resolve" not in ground.timers()
    await after(ground, 7200.0)
    assert owner(ground)[1] == "human"
    assert ground.case().resolve_at is None


async def test_the_holder_of_a_silent_case_is_asked_and_nothing_closes(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "reply", text="hello")
    lines(ground)
    await after(ground, DAY)
    [asked] = [post for post in to_staff(ground) if post.buttons]
    assert [button.data.split(":")[2] for button in asked.buttons] == ["rs", "zc", "kp"]
    assert owner(ground)[1] == "human"
    await ground.staff(pressed(asked.buttons[2].data))
    assert owner(ground)[1] == "human"
    assert ground.timers()["inactive"] == ground.now + DAY


async def test_whoever_still_speaks_is_not_asked(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    lines(ground)
    ground.now += DAY - 100.0
    wrote(ground, 2)
    lines(ground)
    await after(ground, 100.0)
    assert [post for post in to_staff(ground) if post.buttons] == []
    assert ground.timers()["inactive"] == ground.now - 100.0 + DAY


# --- lists ----------------------------------------------------------------------------------------


async def test_a_case_older_than_a_day_is_listed_each_day_in_one_post(ground: Ground) -> None:
    await ground.clockwork().begin()
    ground.open_case(1)
    ground.open_case(2, user="zed")
    await after(ground, DAY + 1)
    [listed] = board(ground)
    assert "#1 · queued" in listed
    assert "#2 · queued" in listed
    await after(ground, 60.0)
    assert board(ground) == []
    await after(ground, DAY)
    assert len(board(ground)) == 1


async def test_an_empty_list_is_not_posted(ground: Ground) -> None:
    await ground.clockwork().begin()
    await after(ground, DAY)
    assert board(ground) == []
    assert set(ground.timers(None)) == {"stale", "dry"}


async def test_beginning_twice_moves_no_list(ground: Ground) -> None:
    await ground.clockwork().begin()
    before = ground.timers(None)
    ground.now += 60.0
    await ground.clockwork().begin()
    assert ground.timers(None) == before


async def test_a_dry_run_tells_once_a_day_what_it_would_have_done(ground: Ground) -> None:
    await ground.clockwork().begin()
    for number in (1, 2):
        ground.take(said(number, "fed up"))
        start = ground.begin()
        judged = {**DECISION, "opened": False, "dry": True, "why": f"mood {number}"}
        ground.finish(start, Plan(heard=heard(start, decision=judged)))
    await after(ground, DAY)
    row = ground.do(places.board, place=ground.place)
    [post] = ground.send_all(("staff", row))
    assert "1. slide" in post.text
    assert "2. slide" in post.text
    right, not_needed, *_ = (button.data for button in post.buttons)
    await ground.staff(pressed(right))
    assert ground.rows(decision)[0].verdict == "right"
    await ground.staff(pressed(not_needed, number=901))
    assert [row.verdict for row in ground.rows(decision)] == ["not needed", ""]
    assert ground.rows(staff_thread, case_id=1) == []


async def test_without_a_desk_chat_lists_go_nowhere(ground: Ground) -> None:
    ground.place = None
    await ground.clockwork().begin()
    ground.open_case()
    await after(ground, DAY + 1)
    assert ground.rows(outbox, kind="digest") == []


# --- the clock itself -----------------------------------------------------------------------------


async def test_a_look_comes_when_something_is_due_and_at_least_every_few_seconds(
    ground: Ground,
) -> None:
    assert await ground.clockwork().tick() == 5.0
    ground.do(lambda c: c.execute(timer.insert().values(kind="stale", due_at=ground.now + 2.0)))
    assert await ground.clockwork().tick() == pytest.approx(2.0)


async def test_a_timer_of_no_known_kind_is_taken_away(ground: Ground) -> None:
    ground.do(lambda c: c.execute(timer.insert().values(kind="of old", due_at=1.0)))
    await ground.clockwork().tick()
    assert ground.rows(timer) == []


async def test_two_clocks_carry_a_timer_out_once(ground: Ground) -> None:
    lay_out(ground)
    ground.now += T1
    [row] = ground.rows(timer, kind="t1")
    one, two = ground.clockwork(), ground.clockwork()
    assert ground.do(one._ring, timer=row, now=ground.now) is not None
    assert ground.do(two._ring, timer=row, now=ground.now) is None
    assert len(lines(ground)) == 1
