from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

from core.texts import Texts
from core.transcript import as_json, as_page

TEXTS = Texts.load()
TAG = {"probs": {"negative": 0.9, "neutral": 0.1}, "intensity": -0.8, "confidence": 0.7}


def line(number: int, role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "role": role, "text": text, "at": 1_700_000_000.0 + number, "name": "",
            "was": "", "deleted": False, "tag": None, "files": [], **more}  # fmt: skip


VIEW: dict[str, Any] = {
    "id": 412, "who": "Maya", "platform": "telegram", "why": "asked for a person", "mood": -0.62,
    "verdict": "right", "opened_at": 1.0, "resolved_at": 2.0, "anonymous": False,
    "remarks": [{"who": "Bo", "text": "difficult", "at": 1.0}],
    "lines": [
        line(1, "user", "it <b>broke</b> & hurts", name="Maya", tag=TAG),
        line(2, "bot", "Please try again.", model="tiny"),
        line(3, "marker", "human stretch began"),
        line(4, "staff", "I am on it.", name="Ana", was="I am onit."),
        line(5, "note", "she is a regular", name="Bo"),
        line(6, "user", "my card is 4111", name="Maya", deleted=True, was="my pin is 7"),
        line(7, "user", "", name="Maya",
             files=[{"kind": "photo", "name": "x<y.png", "size": 2048, "words": ""}]),
        line(8, "user", "", name="Maya"),
    ],
}  # fmt: skip


class Page(HTMLParser):
    """Reads a page: its tags, and its words."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href", "onclick", "onload"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_json_for_staff_holds_everything_but_what_was_erased() -> None:
    told = json.loads(as_json(VIEW))
    assert [row["role"] for row in told["lines"]] == [row["role"] for row in VIEW["lines"]]
    assert told["remarks"] == VIEW["remarks"]
    assert told["lines"][0]["tag"] == TAG
    assert told["lines"][5]["text"] == "(erased)"
    assert b"4111" not in as_json(VIEW)
    assert b"my pin" not in as_json(VIEW)


def test_the_json_for_the_person_holds_only_what_was_said() -> None:
    told = json.loads(as_json(VIEW, for_person=True))
    assert [row["role"] for row in told["lines"]] == [
        "user",
        "bot",
        "staff",
        "user",
        "user",
        "user",
    ]
    assert told["lines"][2]["name"] == "Ana"
    for hidden in (b"regular", b"difficult", b"0.9", b"onit", b"stretch", b"4111", b"verdict"):
        assert hidden not in as_json(VIEW, for_person=True)


def test_staff_who_answer_without_names_have_none_in_the_persons_copy() -> None:
    view = {**VIEW, "anonymous": True}
    assert b"Ana" not in as_json(view, for_person=True)
    assert b"Ana" not in as_page(view, TEXTS, "en", for_person=True)
    assert b"Ana" in as_page(view, TEXTS, "en")


def test_the_page_stands_alone_and_shows_words_as_they_were_written() -> None:
    raw = as_page(VIEW, TEXTS, "en")
    page = Page(raw)
    assert "it <b>broke</b> & hurts" in page.words
    assert not {"script", "b", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("li") == len(VIEW["lines"])
    assert "x<y.png · 2 KB" in page.words
    assert page.words.count("(erased)") == 2
    assert "4111" not in page.words
    assert "negative 0.90" in page.words
    assert "she is a regular" in page.words
    assert b"http" not in raw.replace(b"http-equiv", b"")


def test_the_persons_page_has_no_notes_no_scores_and_no_reasons() -> None:
    words = Page(as_page(VIEW, TEXTS, "en", for_person=True)).words
    assert "I am on it." in words
    for hidden in ("regular", "negative", "asked for a person", "-0.62", "stretch", "right"):
        assert hidden not in words


def test_the_page_speaks_the_persons_language_and_the_desks_time() -> None:
    words = Page(as_page(VIEW, TEXTS, "ru", for_person=True, zone=ZoneInfo("Asia/Shanghai"))).words
    assert "Разговор 412" in words
    assert "(удалено)" in words
    assert "2023-11-15 06:13" in words
    assert "Asia/Shanghai" in words


def test_the_same_case_gives_the_same_bytes_also_with_half_characters() -> None:
    odd = {**VIEW, "lines": [line(1, "user", "half \ud83d", name="Maya")]}
    assert as_page(odd, TEXTS, "en") == as_page(odd, TEXTS, "en")
    assert json.loads(as_json(odd))["lines"][0]["text"].startswith("half ")
