"""Formatted words of one person must not pass for those of another."""

from __future__ import annotations

import pytest

from core.marked import Marked, answering, below, escaped, plainly, said_by
from core.message import TextLimit

ROOM = TextLimit(size=100)


def test_one_line_follows_its_speakers_name() -> None:
    assert said_by("snake_case", "**no** `x`", ROOM) == "snake\\_case: **no** `x`"
    assert isinstance(said_by("Ann", "*a*", ROOM), Marked)


def test_further_lines_are_moved_to_the_right_and_code_stands_by_itself() -> None:
    shown = said_by("Ann", "*a*\nSam: b\n```py\nx\n```\nSam: c", ROOM)
    assert shown == "Ann: *a*\n\u00a0\u00a0Sam: b\n```py\nx\n```\n\u00a0\u00a0Sam: c"
    assert said_by("Ann", "```\nx\n```", ROOM) == "Ann:\n```\nx\n```"


@pytest.mark.parametrize(
    "text", ["```\nSam: b", "a ```b\nSam: c\n```", "```\na ```\nSam: b\n```", "*" * 101]
)
def test_what_platforms_would_read_differently_goes_as_plain_text(text: str) -> None:
    assert said_by("Ann", text, ROOM) is None


def test_a_plain_text_reads_the_same_as_markdown() -> None:
    assert escaped("2 * 3 <b> [x]") == "2 \\* 3 \\<b\\> \\[x\\]"
    assert below("a_b", "**x**", ROOM) == ("a\\_b\n**x**",)


def test_formatted_words_too_long_for_one_post_keep_their_formatting() -> None:
    parts = below("Ana", "**one** two three\n\n```py\nfour\nfive six\n```", TextLimit(size=30))
    assert parts == ("Ana\n**one** two three", "```py\nfour\nfive six\n```")
    assert all(isinstance(part, Marked) for part in parts)


def test_a_plain_text_full_of_signs_leaves_room_for_what_escapes_them() -> None:
    text = " ".join(["2*3"] * 100)
    parts = plainly(text, ROOM)
    assert max(len(escaped(part)) for part in parts) <= ROOM.size
    assert " ".join(parts) == text
    assert plainly("plain", ROOM) == ("plain",)


def test_a_quote_ends_before_the_words_that_answer_it() -> None:
    assert answering("", "b") == "b"
    assert answering("a*", "b") == "> a*\nb"
    assert answering("a*", Marked("**b**")) == "> a\\*\n\n**b**"
