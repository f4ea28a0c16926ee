from __future__ import annotations

import json

import pytest
from hypothesis import given, settings, strategies as st

from core.message import Scores
from core.mood import Mood, MoodPolicy, from_row, score, settle, step, to_row, weight

POLICY = MoodPolicy()


def heard(x: float, confidence: float = 0.9, *, stand_in: bool = False) -> Scores:
    """Scores of a message that says exactly x (|x| >= 0.5)."""
    negative = x < 0
    strength = 2 * abs(x) - 1
    return Scores(
        label="negative" if negative else "positive",
        probs={"negative": float(negative), "neutral": 0.0, "positive": float(not negative)},
        p_negative=float(negative),
        p_positive=float(not negative),
        intensity=-strength if negative else strength,
        confidence=confidence,
        strong=0.0,
        wants_human=0.0,
        threat_to_leave=0.0,
        crisis=0.0,
        lang="en",
        instrument="test",
        stand_in=stand_in,
    )


def after(*xs: float, at: float = 0.0, policy: MoodPolicy = POLICY, **more: object) -> Mood:
    mood = Mood(at=at)
    for x in xs:
        mood = step(mood, heard(x, **more), at, policy)
    return mood


@pytest.mark.parametrize(
    ("xs", "value"), [((-0.8, -0.8), -0.60), ((-0.7,) * 3, -0.56), ((-0.6,) * 200, -0.51)]
)
def test_repeated_messages_give_the_figures_of_the_formula(
    xs: tuple[float, ...], value: float
) -> None:
    assert after(*xs).value == pytest.approx(value, abs=0.005)


def test_ninety_quiet_minutes_after_three_bad_messages() -> None:
    mood = settle(after(-0.8, -0.8, -0.8), 5400.0, POLICY)
    assert mood.value == pytest.approx(-0.26, abs=0.005)
    assert mood.level == "upset"


def test_the_table_standing_in_weighs_less() -> None:
    assert weight(heard(-0.8, stand_in=True)) == pytest.approx(0.27)
    assert after(-0.8, -0.8, stand_in=True).value == pytest.approx(-0.38, abs=0.005)


def test_a_mild_message_says_half_of_a_strong_one() -> None:
    assert score(heard(-0.5)) == -0.5
    assert score(heard(-1.0)) == -1.0


def test_one_message_alone_is_pulled_towards_calm() -> None:
    assert after(-0.8).value == pytest.approx(-0.514, abs=0.001)
    assert after(-0.8).level == "tense"


def test_two_bad_messages_are_upset_and_counted_since_calm() -> None:
    mood = after(-0.8, -0.8)
    assert mood.level == "upset"
    assert mood.since_calm == 2
    assert mood.peak_since_calm == pytest.approx(0.6)
    assert mood.last == pytest.approx(-0.8)


def test_a_level_stays_between_the_lines_where_it_is_entered_and_left() -> None:
    upset = after(-0.8, -0.8, -0.8)
    better = step(upset, heard(0.5, 0.3), 0.0, POLICY)
    assert POLICY.upset_enter < better.value < POLICY.upset_leave
    assert better.level == "upset"
    fresh = Mood(s=better.s, w=better.w)
    assert settle(fresh, 0.0, POLICY).level == "calm"


def test_upset_is_left_on_the_second_message_over_the_line() -> None:
    first = step(after(-0.8, -0.8, -0.8), heard(0.9), 1.0, POLICY)
    assert first.value >= POLICY.upset_leave
    assert (first.level, first.leaving) == ("upset", 1)
    assert settle(first, 2.0, POLICY).level == "upset"
    second = step(first, heard(0.6, 0.4), 2.0, POLICY)
    assert second.level == "calm"
    assert (second.since_calm, second.peak_since_calm, second.leaving) == (0, 0.0, 0)


def test_one_message_over_the_line_and_a_long_silence_leave_upset_too() -> None:
    first = step(after(-0.8, -0.8, -0.8), heard(0.9), 1.0, POLICY)
    assert settle(first, 4 * 3600.0, POLICY).level == "calm"


def test_a_bad_message_between_starts_leaving_anew() -> None:
    first = step(after(-0.8, -0.8, -0.8), heard(0.9), 1.0, POLICY)
    again = step(first, heard(-1.0), 2.0, POLICY)
    assert (again.level, again.leaving) == ("upset", 0)


def test_silence_alone_leads_from_upset_over_tense_to_calm() -> None:
    mood = after(*[-1.0] * 5)
    levels = []
    for minute in range(0, 600, 5):
        mood = settle(mood, minute * 60.0, POLICY)
        levels.append(mood.level)
    assert sorted(set(levels), key=levels.index) == ["upset", "tense", "calm"]


def test_groups_need_more() -> None:
    group = POLICY.lowered(0.1)
    assert after(-0.8, -0.8).level == "upset"
    assert after(-0.8, -0.8, policy=group).level == "tense"


def test_a_positive_message_is_no_strong_one_since_calm() -> None:
    mood = step(after(-0.8), heard(0.9), 0.0, POLICY)
    assert mood.peak_since_calm <= 0.6


def test_a_clock_that_steps_back_changes_nothing() -> None:
    mood = after(-0.8, -0.8, at=100.0)
    assert settle(mood, 50.0, POLICY) == mood
    assert step(mood, heard(-0.8), 50.0, POLICY).at == 100.0


def test_a_row_keeps_everything_through_json() -> None:
    mood = after(-0.8, -0.73, -0.81, at=1.1)
    assert from_row(json.loads(json.dumps(to_row(mood)))) == mood
    assert from_row({"unknown": 1}) == Mood()


messages = st.lists(
    st.tuples(
        st.floats(0.5, 1).flatmap(lambda x: st.sampled_from([x, -x])),
        st.floats(0, 1),
        st.floats(0, 10_000),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(messages)
def test_mood_is_bounded_and_levels_keep_to_their_lines(
    said: list[tuple[float, float, float, bool]],
) -> None:
    mood, now = Mood(), 0.0
    for x, confidence, pause, stand_in in said:
        now += pause
        before = settle(mood, now, POLICY)
        mood = step(mood, heard(x, confidence, stand_in=stand_in), now, POLICY)
        assert abs(mood.s) <= mood.w + 1e-9
        assert -1 < mood.value < 1
        if mood.value <= POLICY.upset_enter:
            assert mood.level == "upset"
        if mood.level == "upset" and before.level != "upset":
            assert mood.value <= POLICY.upset_enter
        if mood.level == "calm" and before.level != "calm":
            assert mood.value >= POLICY.tense_leave
        if mood.level == "calm":
            assert mood.since_calm == mood.leaving == mood.peak_since_calm == 0
        assert from_row(to_row(mood)) == mood
    assert settle(mood, now + 30 * POLICY.half_life, POLICY).level == "calm"


@settings(max_examples=80, deadline=None)
@given(messages, st.floats(0, 20_000), st.floats(0, 20_000))
def test_silence_is_the_same_in_one_piece_or_two(
    said: list[tuple[float, float, float, bool]], one: float, two: float
) -> None:
    mood, now = Mood(), 0.0
    for x, confidence, pause, stand_in in said:
        now += pause
        mood = step(mood, heard(x, confidence, stand_in=stand_in), now, POLICY)
    at_once = settle(mood, now + one + two, POLICY)
    in_two = settle(settle(mood, now + one, POLICY), now + one + two, POLICY)
    assert in_two.value == pytest.approx(at_once.value, abs=1e-9)
    assert abs(at_once.value) <= abs(mood.value) + 1e-12


@settings(max_examples=50, deadline=None)
@given(messages, st.floats(0.5, 1))
def test_a_worse_message_never_makes_a_better_mood(
    said: list[tuple[float, float, float, bool]], x: float
) -> None:
    mood = Mood()
    for value, confidence, _pause, _stand_in in said:
        mood = step(mood, heard(value, confidence), 0.0, POLICY)
    worse = step(mood, heard(-x), 0.0, POLICY)
    better = step(mood, heard(x), 0.0, POLICY)
    assert worse.value < better.value
