from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from core.errors import SetupError
from core.hours import DAYS, Hours
from core.texts import Texts

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Shanghai", "UTC")
CHANGES = {  # the day before the clocks go forward, and back
    "Europe/Berlin": ((2026, 3, 28), (2026, 10, 24)),
    "America/New_York": ((2026, 3, 7), (2026, 10, 31)),
}
OFFICE = "Mon-Fri 09:00-17:00, Sat 10:00-14:00"


def at(zone: str, *when: int, fold: int = 0) -> float:
    return datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@st.composite
def hours(draw: st.DrawFn) -> Hours:
    clock = st.integers(0, 95).map(lambda n: f"{n // 4:02}:{n % 4 * 15:02}")
    parts = draw(
        st.lists(
            st.tuples(st.sampled_from(DAYS), clock, clock).filter(lambda p: p[1] != p[2]),
            min_size=1,
            max_size=6,
        )
    )
    return Hours.read(", ".join(f"{d[:3]} {a}-{b}" for d, a, b in parts), draw(zones))


zones = st.sampled_from(ZONES)
moments = st.floats(at("UTC", 2026, 1, 1), at("UTC", 2027, 1, 1)).map(round)
near_changes = st.sampled_from(sorted(CHANGES)).flatmap(
    lambda zone: st.tuples(
        st.just(zone),
        st.tuples(st.sampled_from(CHANGES[zone]), st.integers(0, 3 * 86400)).map(
            lambda drawn: at(zone, *drawn[0]) + drawn[1]
        ),
    )
)


def test_without_hours_somebody_is_always_there() -> None:
    always = Hours.read("", "Europe/Berlin")
    assert always.is_open(0.0)
    assert always.next_opening(0.0) is None
    assert always.after(100.0, 300.0) == 400.0


def test_office_hours_open_and_close_on_the_clock() -> None:
    office = Hours.read(OFFICE, "Europe/Berlin")
    for when, is_open in [
        ((2026, 11, 20, 9), True), ((2026, 11, 20, 8, 59), False), ((2026, 11, 20, 17), False),
        ((2026, 11, 21, 10), True), ((2026, 11, 21, 14), False), ((2026, 11, 22, 12), False),
    ]:  # fmt: skip
        assert office.is_open(at("Europe/Berlin", *when)) is is_open
    saturday = at("Europe/Berlin", 2026, 11, 21, 15)
    assert office.next_opening(saturday) == at("Europe/Berlin", 2026, 11, 23, 9)


def test_days_may_share_their_hours_and_a_range_may_follow_a_range() -> None:
    found = Hours.read("mon, wed 09:00-12:00 13:00-17:00; 18.00–19.00, Sun 00:00-24:00", "UTC")
    assert [(r.day, r.start // 60, r.end // 60) for r in found.ranges] == [
        (0, 9, 12), (0, 13, 17), (0, 18, 19), (2, 9, 12), (2, 13, 17), (2, 18, 19), (6, 0, 24),
    ]  # fmt: skip
    assert len(Hours.read("9:00-17:00", "UTC").ranges) == 7
    assert {r.day for r in Hours.read("Fri-Mon 9:00-17:00", "UTC").ranges} == {4, 5, 6, 0}


def test_a_night_goes_on_into_the_next_day() -> None:
    night = Hours.read("Fri 22:00-06:00", "Europe/Berlin")
    assert night.is_open(at("Europe/Berlin", 2026, 11, 21, 5, 59))
    assert not night.is_open(at("Europe/Berlin", 2026, 11, 21, 6))
    assert not night.is_open(at("Europe/Berlin", 2026, 11, 20, 21))
    friday = at("Europe/Berlin", 2026, 11, 20, 23)
    assert night.after(friday, 7.5 * 3600) == at("Europe/Berlin", 2026, 11, 27, 22, 30)


def test_hours_round_the_clock_have_no_next_opening() -> None:
    whole = Hours.read("Mon-Sun 00:00-24:00", "Europe/Berlin")
    assert whole.next_opening(at("Europe/Berlin", 2026, 10, 24, 12)) is None
    assert whole.is_open(at("Europe/Berlin", 2026, 10, 25, 2, 30, fold=1))


def test_a_timer_runs_on_staffed_time_alone() -> None:
    office = Hours.read(OFFICE, "Europe/Berlin")
    friday = at("Europe/Berlin", 2026, 11, 20, 16, 50)
    assert office.after(friday, 15 * 60) == at("Europe/Berlin", 2026, 11, 21, 10, 5)
    sunday = at("Europe/Berlin", 2026, 11, 22, 12)
    assert office.after(sunday, 300) == at("Europe/Berlin", 2026, 11, 23, 9, 5)


@pytest.mark.parametrize(
    ("zone", "day", "real"),
    [
        ("Europe/Berlin", (2026, 3, 29), 7), ("Europe/Berlin", (2026, 10, 25), 9),
        ("America/New_York", (2026, 3, 8), 7), ("America/New_York", (2026, 11, 1), 9),
    ],
)  # fmt: skip
def test_a_night_in_which_the_clocks_change_is_longer_or_shorter(
    zone: str, day: tuple[int, int, int], real: int
) -> None:
    night = Hours.read("Sun 00:00-08:00", zone)
    start = at(zone, *day)
    assert night.after(start, real * 3600) == at(zone, *day, 8)
    assert night.after(start, real * 3600 + 1) > at(zone, *day, 8) + 86400


@settings(max_examples=150, deadline=None)
@given(hours(), moments, st.integers(0, 10**6), st.integers(0, 10**6))
def test_after_is_monotone(found: Hours, now: float, less: int, more: int) -> None:
    less, more = sorted((less, more))
    assert now <= found.after(now, less) <= found.after(now, more)
    assert found.after(now, less) <= found.after(now + 600, less)
    due = found.after(now, less)
    assert found.after(due, more - less) == pytest.approx(found.after(now, more), abs=1e-3)


@settings(max_examples=150, deadline=None)
@given(hours(), st.one_of(st.tuples(zones, moments), near_changes), st.integers(1, 10**5))
def test_staffed_time_is_the_time_that_is_open(
    found: Hours, where: tuple[str, float], seconds: int
) -> None:
    now = where[1]
    found = Hours(ranges=found.ranges, zone=ZoneInfo(where[0]))
    due = found.after(now, seconds)
    assert found.is_open(due - 0.001)
    coming = found.next_opening(now)
    if found.is_open(now):
        assert found.after(now, 0.5) == pytest.approx(now + 0.5)
    else:
        assert coming is not None
        assert found.after(now, seconds) >= coming + seconds
    if coming is not None:
        assert coming > now
        assert found.is_open(coming)
        assert not found.is_open(coming - 0.001)


@settings(max_examples=40, deadline=None)
@given(near_changes, st.integers(1, 20))
def test_counting_open_minutes_one_by_one_gives_the_same(
    where: tuple[str, float], hour: int
) -> None:
    zone, now = where
    found = Hours.read(f"Mon-Sun {hour:02}:00-{hour + 3:02}:00, Sun 01:00-04:00", zone)
    now = now // 60 * 60
    minute, left = now, 300
    while left:
        left -= found.is_open(minute)
        minute += 60
    assert found.after(now, 300 * 60) == minute


@pytest.mark.parametrize(
    ("when", "english", "chinese", "spanish", "russian"),
    [
        ((20, 14), "today at 14:00", "今天 14:00", "hoy a las 14:00", "сегодня в 14:00"),
        ((21, 9), "tomorrow at 09:00", "明天 09:00", "mañana a las 09:00", "завтра в 09:00"),
        ((24, 9), "Tuesday at 09:00", "周二 09:00", "el martes a las 09:00", "во вторник в 09:00"),
        ((27, 9), "on 2026-11-27 at 09:00", "2026-11-27 的 09:00", "el 2026-11-27 a las 09:00",
         "2026-11-27 в 09:00"),
    ],
)  # fmt: skip
def test_the_next_opening_is_told_in_words(
    when: tuple[int, int], english: str, chinese: str, spanish: str, russian: str
) -> None:
    texts, office = Texts.load(), Hours.read(OFFICE, "Europe/Berlin")
    now = at("Europe/Berlin", 2026, 11, 20, 8)
    moment = at("Europe/Berlin", 2026, 11, *when)
    said = [office.words(moment, now, lang, texts) for lang in ("en", "zh-CN", "es", "ru")]
    assert said == [english, chinese, spanish, russian]


def test_every_day_has_its_words_in_every_language() -> None:
    texts, office = Texts.load(), Hours.read(OFFICE, "UTC")
    start = datetime(2026, 11, 16, 9, tzinfo=ZoneInfo("UTC"))
    for lang in ("en", "zh", "es", "ru"):
        said = {
            office.words(
                (start + timedelta(days=n)).timestamp(),
                (start + timedelta(days=n - 3)).timestamp(),
                lang,
                texts,
            )
            for n in range(7)
        }
        assert len(said) == 7


@pytest.mark.parametrize(
    ("text", "zone", "sentence"),
    [
        ("Mon-Fri", "UTC", "end with days alone"),
        ("Foo 09:00-17:00", "UTC", "no day of the week"),
        ("Mon 9-17", "UTC", "are no hours"),
        ("Mon 09:00-09:00", "UTC", "no range of a day"),
        ("Mon 25:00-26:00", "UTC", "no range of a day"),
        ("Mon 09:61-10:00", "UTC", "no range of a day"),
        ("always!", "UTC", "are no hours"),
        ("", "Europe/Nowhere", "no time zone"),
        ("", "../etc/passwd", "no time zone"),
    ],
)
def test_hours_that_cannot_be_read_are_told_in_one_sentence(
    text: str, zone: str, sentence: str
) -> None:
    with pytest.raises(SetupError, match=sentence):
        Hours.read(text, zone)
