from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from core.markdown import read
from core.message import TextLimit
from core.split import graphemes, measure, split
from tests.markdowns import ANY, MADE
from tests.proof import share

TELEGRAM = TextLimit(size=4096, utf16=True)
DISCORD = TextLimit(size=2000)
MANY = 100

limits = st.builds(TextLimit, size=st.integers(16, 120), utf16=st.booleans())
plain = st.text(
    st.sampled_from("ab .!?\n\tйц。你😀👩🏽\u200d\u0301\r1<*_")
    | st.characters(exclude_characters="`~")
)
code_lines = st.lists(st.text(st.sampled_from("abc 😀(=)\t"), max_size=60), max_size=12)
blocks = st.one_of(
    st.text(st.sampled_from("ab .😀\n。"), max_size=150),
    st.builds(
        lambda mark, tag, lines: "\n".join([mark + tag, *lines, mark]),
        st.sampled_from(["```", "~~~"]),
        st.sampled_from(["", "py", "c++"]),
        code_lines,
    ),
)


def bare(text: str) -> str:
    """What must survive: everything but whitespace and fence lines."""
    kept = [line for line in text.split("\n") if not re.match(r"(```|~~~)", line)]
    return re.sub(r"\s", "", "".join(kept))


def test_measure_counts_utf16_units_or_characters() -> None:
    assert measure("a😀", TELEGRAM) == 3
    assert measure("a😀", DISCORD) == 2


def test_nothing_gives_no_parts() -> None:
    assert split("", TELEGRAM) == []
    assert split(" \n\t\n", DISCORD) == []


def test_a_short_text_is_left_as_it_is() -> None:
    assert split("  one\n\ntwo ", TELEGRAM) == ["  one\n\ntwo "]


def test_a_limit_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        split("hello", TextLimit(size=3))


def test_4096_emoji_make_two_messages_of_2048() -> None:
    parts = split("😀" * 4096, TELEGRAM)
    assert [len(part) for part in parts] == [2048, 2048]


def test_a_paragraph_border_is_preferred_to_a_line_and_a_line_to_a_sentence() -> None:
    assert split("one two three.\n\nfour\nfive six", TextLimit(size=20)) == [
        "one two three.",
        "four\nfive six",
    ]
    assert split("One two. Three\nfour five six", TextLimit(size=20)) == [
        "One two. Three",
        "four five six",
    ]
    assert split("Seven eight. Nine ten eleven", TextLimit(size=20)) == [
        "Seven eight.",
        "Nine ten eleven",
    ]
    assert split("一二三四五六七八九十。一二三四五六七八九十", TextLimit(size=16)) == [
        "一二三四五六七八九十。",
        "一二三四五六七八九十",
    ]


def test_words_stay_whole() -> None:
    assert split("alpha beta gamma delta epsilon", TextLimit(size=18)) == [
        "alpha beta gamma",
        "delta epsilon",
    ]


def test_a_fence_is_closed_and_opened_again_with_its_language() -> None:
    code = "\n".join(f"print({n})" for n in range(8))
    parts = split(f"Look:\n\n```python\n{code}\n```\nDone.", TextLimit(size=60))
    assert len(parts) > 1
    assert parts[1].startswith("```python\n")
    assert all(part.count("```") % 2 == 0 for part in parts)
    assert bare("\n".join(parts)) == bare(f"Look:{code}Done.")


def test_no_empty_block_is_left_before_or_after_the_border() -> None:
    text = "x" * 30 + "\n```py\n" + "y" * 20 + "\n```\n" + "z" * 30
    parts = split(text, TextLimit(size=40))
    assert parts == ["x" * 30, "```py\n" + "y" * 20 + "\n```", "z" * 30]


def test_a_closing_fence_is_not_torn_at_the_limit() -> None:
    assert split("aa\n\n```py\n```\n\naa", TextLimit(size=16)) == ["aa\n\n```py\n```", "aa"]


def test_indentation_inside_a_fence_survives_the_border() -> None:
    text = "```\n" + "if a:\n    b = 1\n" * 6 + "```"
    inner = [part.split("\n")[1:-1] for part in split(text, TextLimit(size=40))]
    assert [line for part in inner for line in part] == ["if a:", "    b = 1"] * 6


@pytest.mark.parametrize(
    "one",
    [
        "👩🏽",
        "👨\u200d👩\u200d👧\u200d👦",
        "🇫🇷",
        "e\u0301",
        "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e007f",
    ],
)
def test_what_is_seen_as_one_character_is_not_torn(one: str) -> None:
    for part in split(one * 40, TextLimit(size=33, utf16=True)):
        assert part == one * (len(part) // len(one))


@given(plain, limits)
@settings(max_examples=MANY, deadline=None)
def test_no_part_is_too_long_and_nothing_is_lost(text: str, limit: TextLimit) -> None:
    parts = split(text, limit)
    assert all(0 < measure(part, limit) <= limit.size and part.strip() for part in parts)
    assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)


@given(st.lists(blocks, max_size=6).map("\n\n".join), limits)
@settings(max_examples=MANY, deadline=None)
def test_every_part_of_a_text_with_code_is_balanced(text: str, limit: TextLimit) -> None:
    parts = split(text, limit)
    assert all(measure(part, limit) <= limit.size for part in parts)
    for part in parts:
        opened = ""
        for line in part.split("\n"):
            if not opened and line.startswith(("```", "~~~")):
                opened = line[:3]
            elif opened and line == opened:
                opened = ""
        assert opened == "", part
    assert bare("\n".join(parts)) == bare(text)


@given(st.text(st.sampled_from("`~ \nab"), max_size=200), limits)
@settings(max_examples=MANY, deadline=None)
def test_wild_fences_never_break_the_limit(text: str, limit: TextLimit) -> None:
    parts = split(text, limit)
    assert all(measure(part, limit) <= limit.size for part in parts)
    letters = re.sub(r"[^ab]", "", text)
    # A tag is repeated with its fence, so letters may come twice but never get lost.
    assert len(re.sub(r"[^ab]", "", "".join(parts))) >= len(letters)


# -- Markdown ------------------------------------------------------------------------------------


def test_a_list_item_a_link_and_bold_words_go_whole_into_the_next_part() -> None:
    text = "Some words before.\n- one two\n- three four five six\n- seven"
    assert split(text, TextLimit(size=40)) == [
        "Some words before.\n- one two",
        "- three four five six\n- seven",
    ]
    assert split("one two [a long label](http://a.example/b) end", TextLimit(size=36)) == [
        "one two",
        "[a long label](http://a.example/b)",
        "end",
    ]
    assert split("one two three **four five six** end", TextLimit(size=24)) == [
        "one two three",
        "**four five six** end",
    ]


def test_an_item_moved_to_the_next_part_is_no_program() -> None:
    text = "- one two three\n    - four five six\n    - seven eight"
    assert split(text, TextLimit(size=40)) == [
        "- one two three\n    - four five six",
        "- seven eight",
    ]


def test_a_fence_in_a_list_is_closed_and_opened_again() -> None:
    code = "\n".join(f"      x{n} = {n}" for n in range(6))
    parts = split(f"- Do:\n    ```py\n{code}\n    ```\n- Done", TextLimit(size=50))
    assert parts[0].startswith("- Do:\n    ```py\n      x0 = 0\n")
    assert parts[0].endswith("\n    ```")
    assert parts[1].startswith("```py\n  x")
    assert parts[-1] == "- Done"


def test_a_quoted_fence_stays_quoted() -> None:
    code = "\n".join(f"> x{n} = {n}" for n in range(6))
    first, second = split(f"> ```py\n{code}\n> ```", TextLimit(size=50))
    assert first.startswith("> ```py\n> x0 = 0\n")
    assert first.endswith("\n> ```")
    assert second.startswith("> ```py\n> x")


def test_no_word_becomes_a_mark_by_the_cut() -> None:
    for part in split("aaa bbb - ccc # ddd > eee 1. fff + ggg", TextLimit(size=16)):
        assert re.match(r"[a-z]", part), part


def unfenced(text: str) -> str:
    return re.sub(r"\s", "", text)


def whole(parts: list[str], text: str) -> bool:
    """Whether the parts are the text again, but for fence lines put in and blanks left out."""
    wanted, at = unfenced(text), {0}
    for line in "\n".join(parts).split("\n"):
        bare, more = unfenced(line), {*at} if FENCE_LINE.match(line) else set()
        for words in {bare, bare.lstrip(">")}:
            more |= {here + len(words) for here in at if wanted.startswith(words, here)}
        at = more
    return len(wanted) in at


FENCE_LINE = re.compile(r"[>\s]*(?:```|~~~)")


def inside(kind: str, text: str) -> list[str]:
    found = (one for one in read(text) if one.kind == kind and one.edge in ("", "("))
    return [text[one.start : one.end].rstrip() for one in found]


def programs(text: str) -> str:
    """The words of all fenced blocks."""
    found, deep = [], False
    for one in read(text):
        if one.kind == "CodeBlock":
            deep = one.edge == "("
        elif deep:
            found.append(one.value)
    return unfenced("".join(found))


def check_any(text: str, limit: TextLimit) -> None:
    parts = split(text, limit)
    assert all(0 < measure(part, limit) <= limit.size and part.strip() for part in parts)
    assert whole(parts, text), parts


def check_made(text: str, limit: TextLimit) -> None:
    parts = split(text, limit)
    assert whole(parts, text), parts
    assert programs("\n\n".join(parts)) == programs(text)
    for part in parts:
        assert measure(part, limit) <= limit.size
        for block in inside("CodeBlock", part):
            mark = re.match(r"`+|~+", block)
            assert mark is not None
            assert block.endswith(f"\n{mark[0]}"), part
    for kind in ("Link", "Image", "Strong", "Code", "Heading"):
        assert [one for part in parts for one in inside(kind, part)] == inside(kind, text), kind
    pieces = [one for part in parts for one in graphemes(part) if not FENCE_LINE.match(part)]
    assert set(pieces) <= {*graphemes(text), "\n"} | {*"`~"}


small = st.builds(TextLimit, size=st.integers(16, 120), utf16=st.booleans())
roomy = st.builds(TextLimit, size=st.integers(260, 900), utf16=st.booleans())
real = st.sampled_from([TELEGRAM, DISCORD])


@given(ANY, st.one_of(small, real))
@settings(max_examples=MANY, deadline=None)
def test_whatever_is_written_is_split_without_loss(text: str, limit: TextLimit) -> None:
    check_any(text, limit)


@given(MADE, st.one_of(roomy, real))
@settings(max_examples=MANY, deadline=None)
def test_each_part_of_what_a_model_writes_is_valid_by_itself(text: str, limit: TextLimit) -> None:
    check_made(text, limit)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(ANY, st.one_of(small, real))
@settings(max_examples=share(10_000), deadline=None)
def test_ten_thousand_texts_are_split_without_loss(text: str, limit: TextLimit) -> None:
    check_any(text, limit)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(MADE, st.one_of(roomy, real))
@settings(max_examples=share(10_000), deadline=None)
def test_each_part_of_ten_thousand_is_valid_by_itself(text: str, limit: TextLimit) -> None:
    check_made(text, limit)
