"""Tables, for platforms that know none."""

from __future__ import annotations

from core.columns import tabled, width


def test_what_is_wide_takes_two_columns_and_what_is_joined_none() -> None:
    wide = ("名", "👩🏽", "👨\u200d👩\u200d👧", "🇫🇷", "❤\ufe0f")
    assert [width(one) for one in wide] == [2] * 5
    assert [width(one) for one in ("ab", "e\u0301", "\u200d")] == [2, 1, 0]


def test_columns_stand_to_the_side_they_ask_for() -> None:
    rows = "| 1 | 2 | 3 |\n| `x\\|y` | [p](http://q) | **z** |"
    assert tabled(f"a\n\n| left | mid | right |\n|:--|:-:|--:|\n{rows}\n\nb").split("\n") == [
        "a", "",
        "```",
        "left |     mid      | right",
        "-----+--------------+------",
        "1    |      2       |     3",
        "x|y  | p (http://q) |     z",
        "```", "", "b",
    ]  # fmt: skip


def test_a_table_in_a_quote_or_a_list_stays_there() -> None:
    assert tabled("> | a |\n> |---|\n> | 1 |") == "> ```\n> a\n> -\n> 1\n> ```"
    assert tabled("- x\n\n  | a |\n  |---|\n  | 1 |\n") == "- x\n\n  ```\n  a\n  -\n  1\n  ```\n"


def test_a_table_too_wide_for_a_screen_becomes_a_list() -> None:
    wide = "word " * 14
    text = f"| name | about |\n|---|---|\n| Ann | {wide}|\n| Bo | **b** |"
    assert tabled(text) == (
        f"- **name:** Ann\n  **about:** {wide.strip()}\n- **name:** Bo\n  **about:** **b**"
    )


def test_a_table_that_would_grow_without_end_is_shown_as_written() -> None:
    text = f"| {'x' * 500} |\n|---|\n" + "| y |\n" * 100
    assert tabled(text) == f"```\n{text.rstrip()}\n```\n"


def test_a_fence_in_a_cell_does_not_end_the_program() -> None:
    assert tabled("| a |\n|---|\n| \\`\\`\\`x |").splitlines()[0] == "````"


def test_what_is_no_table_is_left_alone() -> None:
    for text in ("a | b", "```\n| a |\n|---|\n```", "", "a || b\n--"):
        assert tabled(text) == text
