from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from core import durations
from core.errors import DeskError
from core.texts import Texts

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=BERLIN).timestamp()


def at(*when: int) -> float:
    return datetime(*when, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800), ("1h", 3600), ("4 hours", 14400), ("1d", 86400), ("2w", 1209600),
        ("90", 5400), ("1h30m", 5400), ("1d 4h", 100800), ("1.5h", 5400), (" 2H ", 7200),
        ("30分钟", 1800), ("2小时", 7200), ("1天", 86400), ("2个小时", 7200), ("1周", 604800),
        ("1天4小时", 100800),
    ],
)  # fmt: skip
def test_a_span_is_counted_from_now(text: str, seconds: float) -> None:
    assert durations.until(text, NOW, BERLIN) == NOW + seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T09:00", at(2026, 11, 21, 9)),
        ("2026-11-21 09:00", at(2026, 11, 21, 9)),
        ("2026-11-23", at(2026, 11, 23)),
        ("tomorrow 9:00", at(2026, 11, 21, 9)),
        ("Tomorrow at 09:15", at(2026, 11, 21, 9, 15)),
        ("明天 9:00", at(2026, 11, 21, 9)),
        ("today 18:00", at(2026, 11, 20, 18)),
        ("18:00", at(2026, 11, 20, 18)),
        ("9:00", at(2026, 11, 21, 9)),
    ],
)
def test_a_moment_is_on_the_clocks_of_the_desk(text: str, moment: float) -> None:
    assert durations.until(text, NOW, BERLIN) == moment


def test_tomorrow_at_nine_is_nine_on_the_clock_also_when_the_clocks_change() -> None:
    before = at(2026, 10, 24, 15)
    assert durations.until("tomorrow 9:00", before, BERLIN) == at(2026, 10, 25, 9)
    assert at(2026, 10, 25, 9) - at(2026, 10, 24, 9) == 25 * 3600


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Write when, as in 30m"), ("soon", "Write when"), ("2hello", "Write when"),
        ("0m", "Write when"), ("-1h", "Write when"), ("2026-13-01", "Write when"),
        ("25:00", "Write when"), ("2026-11-20T09:00", "is past"), ("today 9:00", "is past"),
        ("999999w", "more than a year"), ("2031-01-01", "more than a year"),
        ("9" * 400, "more than a year"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_answered_with_what_to_write(text: str, sentence: str) -> None:
    with pytest.raises(DeskError, match=sentence):
        durations.until(text, NOW, BERLIN)


@pytest.mark.parametrize(
    ("text", "reason", "seconds"),
    [
        ("done with it in 2h", "done with it", 7200),
        ("in 2h", "", 7200),
        ("refunded, in 1d 4h", "refunded", 100800),
        ("已处理 2小时后", "已处理", 7200),
        ("2小时后", "", 7200),
        ("30分钟以后", "", 1800),
        ("just in time", "just in time", None),
        ("settled in 2024", "settled in 2024", None),
        ("log in 2fa broken", "log in 2fa broken", None),
        ("", "", None),
    ],
)
def test_a_resolving_may_wait(text: str, reason: str, seconds: float | None) -> None:
    moment = None if seconds is None else NOW + seconds
    assert durations.split_delay(text, NOW, BERLIN) == (reason, moment)


def test_a_resolving_may_wait_for_a_date() -> None:
    said = durations.split_delay("refunded at 2026-11-21T09:00", NOW, BERLIN)
    assert said == ("refunded", at(2026, 11, 21, 9))


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        ("7d spam", 604800, "spam"), ("7d", 604800, ""), ("2小时 骂人", 7200, "骂人"),
        ("7 days: spam, again", 604800, "spam, again"), ("90 rude", 5400, "rude"),
    ],
)  # fmt: skip
def test_a_block_has_an_end_and_a_reason(text: str, seconds: float, reason: str) -> None:
    assert durations.block(text, NOW, BERLIN) == (NOW + seconds, reason)


@pytest.mark.parametrize("text", ["", "spam", "spam 7d", "7up"])
def test_a_block_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(DeskError, match="7d spam"):
        durations.block(text, NOW, BERLIN)


@given(st.text(max_size=40))
def test_any_text_is_a_later_moment_or_one_sentence(text: str) -> None:
    for read in (durations.until, durations.block):
        said, found = "", None
        try:
            found = read(text, NOW, BERLIN)
        except DeskError as error:
            said = str(error)
        moment = found[0] if isinstance(found, tuple) else found
        assert said.endswith(".") if moment is None else moment > NOW


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (-3, "0 s", "0 秒"), (4.9, "4 s", "4 秒"), (59.9, "59 s", "59 秒"),
        (720, "12 min", "12 分钟"), (10800, "3 h", "3 小时"), (172800, "2 d", "2 天"),
    ],
)  # fmt: skip
def test_a_wait_in_short_words(seconds: float, english: str, chinese: str) -> None:
    texts = Texts.load()
    assert durations.words(seconds, "en", texts) == english
    assert durations.words(seconds, "zh", texts) == chinese
