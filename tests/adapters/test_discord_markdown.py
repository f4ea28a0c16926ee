"""What a person reads on Discord: its own dialect of Markdown, and plain words as they are."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from adapters.discord.markdown import MOST, as_written, dressed, shown, unescaped
from core.columns import tabled
from core.markdown import code, read, within
from core.message import Place, Post, TextLimit
from core.split import split
from tests.markdowns import ANY, MADE
from tests.proof import share

LIMIT = TextLimit(size=2000)
MANY = 100


def post(text: str, kind: Any = "reply", **more: Any) -> Post:
    place = Place(platform="discord", bot="99", chat="11")
    return Post(id=1, kind=kind, place=place, text=text, nonce="n", **more)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("# One\n## Two\n### Three", "# One\n## Two\n### Three"),
        ("#### Deep\nwords", "**Deep**\nwords"),
        ("##### a **b** c", "a **b** c"),
        ("Title\n=====\n\nSub\n---", "# Title\n\n## Sub"),
        ("[**the** page](https://a.example/x_y)", "**the** page (https://a.example/x_y)"),
        ("[https://a.example](https://a.example) <https://b.example>",
         "https://a.example <https://b.example>"),
        ("![shot](http://i.example/p.png)", "shot (http://i.example/p.png)"),
        ("[![shot](http://i.example)](http://a.example)", "shot (http://i.example) (http://a.example)"),
        ("- [x] one\n- [ ] two", "- ☑ one\n- ☐ two"),
        ("a || b || c, `a || b`", r"a \|\| b \|\| c, `a || b`"),
        ("__bold__ and _slanted_", "**bold** and _slanted_"),
        ("<div>*x*</div>", "<div>*x*</div>"),
        ("<@12> <@!12> <@&3> @everyone @here `@everyone`",
         "<@\u206012> <@\u2060!12> <@\u2060&3> @\u2060everyone @\u2060here `@everyone`"),
    ],
)  # fmt: skip
def test_a_reply_is_written_in_discords_dialect(written: str, read_as: str) -> None:
    assert shown(post(written)) == read_as


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("```py\nx = 1\n```", "```py\nx = 1\n```"),
        ("~~~js\nx\n~~~", "```js\nx\n```"),
        ("```py title=a\nx\n```", "```py\ntitle=a\nx\n```"),
        ("```py\nx", "```py\nx\n```"),
        ("a\n\n    x *y*\n\nb", "a\n\n```\nx *y*\n```\n\nb"),
        ("````\na\n```\nb\n````", "```\na\n`\u200b`\u200b`\u200b\nb\n```"),
        ("> ~~~\n> x\n> y\n> ~~~", "> ```\n> x\n> y\n> ```"),
        ("- one\n\n  ~~~\n  x\n  ~~~", "- one\n\n```\nx\n```"),
    ],
)
def test_a_program_is_fenced_as_discord_reads_it(written: str, read_as: str) -> None:
    assert dressed(written) == read_as


def test_a_table_is_a_program_with_its_columns_one_below_the_other() -> None:
    text = "Look:\n\n| who | n |\n|---|--:|\n| 名前 | 1 |\n| Ann | 20 |"
    assert dressed(tabled(text)) == "Look:\n\n```\nwho  |  n\n-----+---\n名前 |  1\nAnn  | 20\n```"


def test_what_people_formatted_stays_underlined_and_hidden() -> None:
    text = "__under__ ||hidden|| [page](http://a.example)"
    assert shown(post(text, "relay", formatted=True)) == (
        "__under__ ||hidden|| page (http://a.example)"
    )


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("2 * 3 * 4 = 24", r"2 \* 3 \* 4 = 24"),
        ("_so_ snake_case_name", r"\_so\_ snake_case_name"),
        ("# 1\n- a\n> b\n1. c", "\\# 1\n\\- a\n\\> b\n1\\. c"),
        ("`x` ~~y~~ ||z||", r"\`x\` \~\~y\~\~ \|\|z\|\|"),
        ("https://a.example/x_y_*z*", "https://a.example/x_y_*z*"),
        ("[a](http://b.example)", r"\[a](http://b.example)"),
        ("@everyone <@12> :-) #1 a-b", "@\u2060everyone \\<@\u206012> :-) #1 a-b"),
        ("\\o/", "\\\\o/"),
    ],
)
def test_plain_words_read_as_they_were_written(text: str, sent: str) -> None:
    assert shown(post(text, "relay")) == sent
    assert unescaped(sent) == text


def test_a_card_is_left_as_it_was_drawn() -> None:
    assert shown(post(r"Case 1 · a\_b · <t:1:f>", "card")) == r"Case 1 · a\_b · <t:1:f>"


def test_what_would_become_too_long_goes_as_it_stands() -> None:
    assert as_written("*" * 1500) == "*" * 1500
    assert dressed("||" * 900) == "||" * 900


RINGS = re.compile(r"@everyone\b|@here\b|<@[!&]?\d+>")


def check(text: str) -> None:
    for part in split(tabled(text), LIMIT):
        sent = dressed(part)
        assert len(sent) <= MOST
        letters = Counter(filter(str.isalpha, part))
        boxes = Counter("xX" * len(re.findall(r"\[[xX]\]", part)))
        missing = letters - Counter(sent) - boxes
        assert not missing or sum(missing.values()) <= _told(part), (part, sent)
        programs = code(read(sent))
        for name in RINGS.finditer(sent) if sent != part else ():
            assert within(name.start(), programs), sent
        assert len(as_written(part)) <= MOST


def _told(part: str) -> int:
    """How many letters name an address that stands elsewhere."""
    found = (one for one in read(part) if one.kind in {"Link", "Image"} and one.edge == "(")
    return sum(one.end - one.start for one in found if part[one.start] != "<")


def check_made(text: str) -> None:
    for part in split(tabled(text), LIMIT):
        sent = dressed(part)
        if sent == part:
            continue
        fences = re.findall(r"^(?:> )*```[\w+#.-]*$", sent, re.MULTILINE)
        assert len(fences) % 2 == 0, sent
        assert sent.count("```") == len(fences)
        assert _programs(sent) == _programs(part)
        for one in read(part):
            if one.kind in {"Link", "Image"} and one.edge == "(":
                assert str(one.value["dest_url"]) in sent
        assert not re.search(r"\]\(http", sent)
        assert not re.search(r"(?m)^####", sent)


def _programs(text: str) -> list[str]:
    """The words of each block of code."""
    found: list[str] = []
    deep = False
    for one in read(text):
        if one.kind == "CodeBlock":
            deep = one.edge == "("
            found += [""] if deep else []
        elif deep:
            found[-1] += one.value
    return [words.strip().replace("\u200b", "") for words in found]


def check_plain(text: str) -> None:
    sent = as_written(text)
    if len(sent) > MOST or sent == text or "\u2060" in text or "http" in text:
        return
    assert unescaped(sent) == text
    kinds = {one.kind for one in read(sent) if one.edge == "("} | {
        one.kind for one in read(sent) if one.kind == "Code"
    }
    assert not kinds & {"Strong", "Emphasis", "Strikethrough", "Code"}, sent


@given(ANY)
@settings(max_examples=MANY, deadline=None)
def test_whatever_is_written_is_within_discords_limits(text: str) -> None:
    check(text)


@given(MADE)
@settings(max_examples=MANY // 2, deadline=None)
def test_what_a_model_writes_keeps_its_formatting(text: str) -> None:
    check_made(text)


@given(st.one_of(ANY, MADE.map(lambda text: text[:800])))
@settings(max_examples=MANY, deadline=None)
def test_plain_words_are_never_formatted(text: str) -> None:
    check_plain(text)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(ANY)
@settings(max_examples=share(10_000), deadline=None)
def test_ten_thousand_texts_are_within_discords_limits(text: str) -> None:
    check(text)
    check_plain(text[:800])


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(MADE)
@settings(max_examples=share(10_000), deadline=None)
def test_ten_thousand_replies_keep_their_formatting(text: str) -> None:
    check_made(text)
