"""The desk's forms and views without a server: what is asked for, and what is shown."""

from __future__ import annotations

import re
from typing import Any

import pytest

from adapters.web.desk_forms import Unfit, read_wish
from adapters.web.desk_view import Reader, lines_view, offset_of, row_view
from adapters.web.view import labels, lines_view as room_lines
from tests.adapters.desk_cases import new_line


def wish(**form: str) -> str:
    return read_wish(form, 1_800_000_000.0, 120).text


def test_forms_become_the_texts_of_the_protocol() -> None:
    assert wish(verb="block", days="3", text="spam") == "3d spam"
    assert wish(verb="resolve", text="fixed", later="2h") == "fixed in 2h"
    assert wish(verb="resolve", later="2h") == "in 2h"
    assert wish(verb="edit", line="12", text="new") == "12 new"
    assert wish(verb="delete", line="12") == "12"
    assert wish(verb="verdict", text="too late", line="9") == "too late 9"
    assert wish(verb="snooze", text="4h") == "4h"
    # 2027-01-15 08:00 UTC is now; at ten past ten where the reader is, ten minutes later
    assert wish(verb="snooze", until="2027-01-15T10:10") == "10m"


@pytest.mark.parametrize(
    ("form", "key"),
    [
        ({"verb": "block", "days": "0"}, "error_days"),
        ({"verb": "block", "days": "-3"}, "error_days"),
        ({"verb": "snooze", "text": "soon"}, "error_time"),
        ({"verb": "snooze", "until": "2027-99-15T10:10"}, "error_time"),
        ({"verb": "snooze", "until": "2026-01-15T10:10"}, "error_past"),
        ({"verb": "resolve", "later": "never"}, "error_time"),
        ({"verb": "delete", "line": "all"}, "error_line"),
        ({"verb": "reply", "text": "/nobody at all"}, "error_slash"),
        ({"verb": "assign", "text": ""}, "error_empty"),
    ],
)
def test_a_form_that_cannot_be_meant_gets_a_sentence(form: dict[str, str], key: str) -> None:
    with pytest.raises(Unfit, match=key):
        read_wish(form, 1_800_000_000.0, 120)
    for language in ("en", "zh"):
        assert labels()[language]["desk_page"][key]


def test_the_browsers_offset_is_believed_only_when_it_can_be_true() -> None:
    assert [offset_of(x) for x in ("480", "-300", "0")] == [480, -300, 0]
    assert [offset_of(x) for x in ("", "x", "99999", "1000", "--3", "٣")] == [None] * 6


def reader(**more: Any) -> Reader:
    facts = {"name": "Ana", "t": labels()["en"], "now": 1_800_000_000.0, "offset": 0}
    return Reader(**(facts | more))


def test_days_begin_at_the_readers_own_midnight() -> None:
    now = 1_800_000_000.0  # 08:00 UTC
    lines = [new_line(n, "user", "x", now - 3600 * n) for n in (40, 9, 1)]
    here = [item["day"] for item in lines_view(lines, reader()) if item["day"]]
    assert here == ["2027-01-13", "Yesterday", "Today"]
    tokyo = [item["day"] for item in lines_view(lines, reader(offset=540)) if item["day"]]
    assert tokyo == ["Yesterday", "Today"]


def test_a_row_says_how_long_and_with_whom() -> None:
    row = {
        "id": 1, "state": "queued", "who": "Maya", "platform": "telegram", "lang": "en",
        "rule": "spike", "why": "", "priority": 0, "mood": -0.6, "level": "upset",
        "claimed_by": None, "opened_at": 1.0, "waiting_since": 1_800_000_000.0 - 600,
        "last_line": "x" * 500, "last_role": "user", "last_at": 1_800_000_000.0, "unread": True,
        "snooze_until": None, "reachable": True,
    }  # fmt: skip
    view = row_view(row, reader())
    assert (view["shown_state"], len(view["last"])) == ("waits 10 min", 140)
    taken = row | {"state": "human", "claimed_by": "Ben", "waiting_since": None}
    assert row_view(taken, reader())["shown_state"] == "with Ben"
    assert row_view(taken, reader(name="Ben"))["shown_state"] == "with you"


def test_both_languages_have_every_word_of_the_desk() -> None:
    def shape(words: dict[str, Any]) -> dict[str, Any]:
        return {
            name: shape(text) if isinstance(text, dict) else sorted(re.findall(r"\{\w+\}", text))
            for name, text in words.items()
        }

    for table in ("frame", "desk_page"):
        assert shape(labels()["en"][table]) == shape(labels()["zh"][table])


@pytest.mark.parametrize(
    ("thumbs", "signs", "words"),
    [
        ({"up": 1, "down": 0}, ["👍"], ["1 thumb up"]),
        ({"up": 3, "down": 1}, ["👍 3", "👎"], ["3 thumbs up", "1 thumb down"]),
        ({"up": 0, "down": 0}, [], []),
    ],
)
def test_thumbs_on_a_reply_are_shown_and_said(
    thumbs: dict[str, int], signs: list[str], words: list[str]
) -> None:
    line = new_line(1, "bot", "Try it again.", 1_800_000_000.0, thumbs=thumbs)
    for shown in (lines_view([line], reader())[-1], room_lines([line], labels()["en"])[-1]):
        assert [one["sign"] for one in shown["thumbs"]] == signs
        assert [one["words"] for one in shown["thumbs"]] == words
