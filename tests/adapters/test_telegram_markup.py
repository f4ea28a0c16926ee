"""What a person reads on Telegram: plain text, and entities that Telegram takes."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st
from telegram import MessageEntity

from adapters.telegram.markup import MOST, formatted, shown, units
from core.columns import tabled
from core.markdown import read
from core.message import Place, Post, TextLimit
from core.split import split
from tests.markdowns import ANY, MADE
from tests.proof import share

LIMIT = TextLimit(size=4096, utf16=True)
MANY = 100
TAKEN = {"bold", "italic", "strikethrough", "spoiler", "code", "pre", "blockquote"}
CODE = {"code", "pre"}


def words_of(text: str, entity: MessageEntity) -> str:
    told = text.encode("utf-16-le")
    return told[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le")


def seen(text: str, **more: bool) -> tuple[str, list[tuple[str, str]]]:
    found = formatted(text, **more)
    assert found is not None
    plain, entities = found
    return plain, [(one.type, words_of(plain, one)) for one in entities]


def post(text: str, chat: str = "11", kind: str = "reply", **more: bool) -> Post:
    place = Place(platform="telegram", bot="4242", chat=chat)
    return Post(id=1, kind=kind, place=place, text=text, nonce="n", **more)


def test_offsets_count_an_emoji_as_telegram_does() -> None:
    plain, entities = seen("😀👩🏽 **bold** 🇫🇷 `code` [label](http://a.example) *end*")
    assert plain == "😀👩🏽 bold 🇫🇷 code label (http://a.example) end"
    assert entities == [("bold", "bold"), ("code", "code"), ("italic", "end")]


def test_the_address_of_a_link_stands_behind_its_words() -> None:
    assert seen("**see [the page](https://a.example/x_y) now**") == (
        "see the page (https://a.example/x_y) now",
        [("bold", "see the page (https://a.example/x_y) now")],
    )
    assert seen(
        "[a.example](https://a.example/) and <http://b.example>, [m@b.example](mailto:m@b.example)"
    )[0] == ("https://a.example/ and http://b.example, m@b.example")
    assert seen('![shot](http://i.example/p.png "Title") ![](http://i.example/q.png) *x*')[0] == (
        "shot (http://i.example/p.png) (Title) http://i.example/q.png x"
    )
    assert seen("[Ann](tg://user?id=12)") == ("Ann (tg://user?id=12)", [])


def test_headings_are_bold_and_not_underlined() -> None:
    text = "# One\n\nTwo\n---\n\n##### Three\n\nwords"
    assert seen(text) == (
        "One\n\nTwo\n\nThree\n\nwords", [("bold", "One"), ("bold", "Two"), ("bold", "Three")],
    )  # fmt: skip


def test_lists_keep_their_levels_and_boxes() -> None:
    text = "- one\n  - [x] **two**\n  - [ ] three\n\n1. four\n2. five"
    assert seen(text)[0].rstrip() == "• one\n  ☑ two\n  ☐ three\n\n1. four\n2. five"


def test_a_table_is_a_program_with_its_columns_one_below_the_other() -> None:
    text = "| who | n |\n|---|--:|\n| 名前 😀 | 1 |\n| Ann | 20 |"
    [(kind, words)] = seen(tabled(text))[1]
    assert kind == "pre"
    assert words == "who     |  n\n--------+---\n名前 😀 |  1\nAnn     | 20"


def test_a_program_keeps_its_language_and_every_sign() -> None:
    plain, [entity] = formatted("```py\nif a < b: *x*\n```")
    assert (plain, entity.type, entity.language) == ("if a < b: *x*", "pre", "py")


def test_what_looks_like_html_a_formula_or_a_hidden_word_is_read_as_written() -> None:
    text = "**x** <b>y</b> $z$ $5 &amp; a || b || c\n\n<div>\nq\n</div>\n\n[r][1]\n\n[1]: http://r"
    assert seen(text)[0] == text.replace("**", "")
    assert seen("||secret||", marked=True) == ("secret", [("spoiler", "secret")])


def test_a_quote_in_a_quote_is_one_quote() -> None:
    assert seen("> a\n> > b\n\nc")[1] == [("blockquote", "a\nb")]


def test_more_formatting_than_telegram_takes_keeps_the_programs() -> None:
    text = " ".join(f"**b{n}** `c{n}`" for n in range(80))
    entities = seen(text)[1]
    assert Counter(kind for kind, _ in entities) == {"code": 80, "bold": 20}


def test_names_ring_nobody_in_a_group_and_stay_links_elsewhere() -> None:
    text = "**Ask** @maya_b or a@b.example, `@deco_r`, /why@heed_bot"
    assert shown(post(text, "-1001"))[0] == (
        "Ask @\u2060maya_b or a@b.example, @deco_r, /why@heed_bot"
    )
    assert shown(post(text))[0] == "Ask @maya_b or a@b.example, @deco_r, /why@heed_bot"
    assert shown(post("hi @maya_b", "-1001", "relay")) == ("hi @\u2060maya_b", None)
    full = "@maya_b " * 512
    assert units(shown(post(full, "-1001"))[0]) == 4096
    assert "@" not in shown(post(full, "-1001"))[0]


def test_a_text_that_formatting_would_make_too_long_is_left_as_it_was() -> None:
    text = "**x**\n\n" + "1. a\n" * 800
    assert units(text) < MOST
    assert formatted(text) is None
    assert shown(post(text)) == (text, None)


MENTION = re.compile(r"(?<![\w/@])@[A-Za-z]\w{2}")


def check(text: str, *, marked: bool, rings: bool) -> None:
    """Hold every part of a text against what Telegram takes, and what nobody may lose."""
    for part in split(tabled(text), LIMIT):
        chat = "-1001" if rings else "11"
        plain, entities = shown(post(part, chat, formatted=marked))
        assert units(plain) <= MOST
        told = plain.encode("utf-16-le")  # no half of a character is left
        assert len(entities or ()) <= 100
        code = []
        for one in entities or ():
            assert one.type in TAKEN
            assert one.length > 0
            assert one.offset + one.length <= units(plain)
            words = words_of(plain, one)  # raises where it would begin inside a character
            assert words.strip()
            if one.type in CODE:
                code.append((one.offset, one.offset + one.length))
        if rings and entities is None:
            assert not MENTION.search(plain)
        for name in MENTION.finditer(plain) if rings else ():
            at = units(plain[: name.start()])
            assert any(start <= at < end for start, end in code), plain
        assert len(told) == 2 * units(plain)
        letters = Counter(filter(str.isalpha, part))
        languages = "".join(one.language or "" for one in entities or ())
        boxes = Counter("x" * len(re.findall(r"\[x\]", part)))
        assert not letters - Counter(plain + languages) - boxes - Counter("X")


def check_made(text: str) -> None:
    """What a model writes keeps its formatting, each entity on its own words."""
    for part in split(tabled(text), LIMIT):
        found = formatted(part)
        events = read(part)
        wanted = [one.value for one in events if one.kind == "Code"]
        if not any(one.edge and one.kind in {"Strong", "CodeBlock", "Heading"} for one in events):
            continue
        assert found is not None
        plain, entities = found
        code = [words_of(plain, one) for one in entities if one.type == "code"]
        bold = " ".join(words_of(plain, one) for one in entities if one.type == "bold")
        whole = len(entities) < 100
        assert code == wanted or not whole
        strong = re.findall(r"\*\*(\w+ bold)\*\*", part) if whole else []
        assert all(words in bold for words in strong)
        links = [
            str(one.value["dest_url"])
            for one in events
            if one.kind in {"Link", "Image"} and one.edge == "("
        ]
        assert all(link in plain for link in links)


HOW = st.fixed_dictionaries({"marked": st.booleans(), "rings": st.booleans()})


@given(ANY, HOW)
@settings(max_examples=MANY, deadline=None)
def test_whatever_is_written_is_within_telegrams_limits(text: str, how: dict[str, bool]) -> None:
    check(text, **how)


@given(MADE)
@settings(max_examples=MANY // 2, deadline=None)
def test_what_a_model_writes_keeps_its_formatting(text: str) -> None:
    check_made(text)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(ANY, HOW)
@settings(max_examples=share(10_000), deadline=None)
def test_ten_thousand_texts_are_within_telegrams_limits(text: str, how: dict[str, bool]) -> None:
    check(text, **how)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(MADE)
@settings(max_examples=share(10_000), deadline=None)
def test_ten_thousand_replies_keep_their_formatting(text: str) -> None:
    check_made(text)
