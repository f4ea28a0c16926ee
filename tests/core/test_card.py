from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from core.card import Cards
from core.message import TextLimit
from core.orders import COMMANDS
from core.split import measure
from core.store.rows import base36
from core.texts import Texts

TEXTS = Texts.load()
CARDS = Cards(texts=TEXTS)
NOW = 1_700_000_000.0
MOVED = {
    "text": "nothing works",
    "probs": {"negative": 0.91, "neutral": 0.07, "positive": 0.02},
    "intensity": -0.84,
    "confidence": 0.88,
    "strong": 0.7,
}
VIEW: dict[str, Any] = {
    "id": 412, "state": "queued", "owner": "queue", "version": 7, "claimed_by": "", "who": "Maya",
    "platform": "telegram", "private": True, "lang": "en", "rule": "slide", "priority": 2,
    "why": "mood fell from -0.20 to -0.62", "opened_at": NOW, "resolved_by": "", "verdict": "",
    "helped": "", "anonymous": False, "reachable": False, "held": 2, "blocked_until": None,
    "trace": [
        {"rule": "slide", "value": -0.62, "threshold": -0.55, "fired": True, "note": ""},
        {"rule": "spike", "value": 0.4, "threshold": 0.7, "fired": False, "note": "one signal"},
    ],
    "moved_by": [MOVED, {**MOVED, "text": "still nothing"}],
    "said": ["Please try again.", "Is it plugged in?"],
    "versions": {"model": "tiny", "prompt": "tag@12", "rules": "3"},
    "mood": -0.62, "level": "upset",
    "mood_points": [{"at": 1.0, "value": 0.0}, {"at": 2.0, "value": -0.62}],
    "draft": "I am sorry.\nLet me look.", "draft_by": "tiny",
    "earlier": [
        {"id": 398, "opened_at": 1.0, "rule": "spike", "resolved_by": "Ana",
         "verdict": "not needed"},
        {"id": 400, "opened_at": 2.0, "rule": "request", "resolved_by": "user", "verdict": ""},
    ],
    "remarks": [{"who": "Bo", "text": "speaks little English", "at": 1.0}],
    "elsewhere": [{"platform": "discord", "name": "may", "case": 5}],
}  # fmt: skip
LIMITS = {"telegram": TextLimit(size=4096, utf16=True), "discord": TextLimit(size=2000)}


def codes(view: dict[str, Any], platform: str = "telegram") -> str:
    return " ".join(b.data.split(":")[2] for b in CARDS.draw(view, platform).buttons)


def test_a_card_tells_who_why_how_bad_and_what_was_said() -> None:
    card = CARDS.draw(VIEW, "telegram")
    assert card.title == "#412 Maya"
    rows = card.text.split("\n")
    assert rows[0] == "Case 412 · Maya · telegram · en · direct message"
    assert rows[1] == "Waiting for a person · since 2023-11-14 22:13 UTC"
    assert rows[2] == "Why: mood fell from -0.20 to -0.62"
    assert rows[3] == "Mood: -0.62 (upset) ▅▂"
    for row in (
        "Cannot be reached now. Messages held: 2",
        "Priority: 2",
        "• #398 · spike · resolved by Ana · Not needed",
        "• #400 · request · resolved by Maya",
        "• Bo: speaks little English",
        "• nothing works",
        "  neg .91 neu .07 pos .02 · intensity -.84 · confidence .88",
        "• Is it plugged in?",
        "Suggested reply, written by a machine (tiny):",
        "• I am sorry. Let me look.",
        "model tiny · prompt tag@12 · rules 3",
        "Also on: discord may #5",
    ):
        assert row in rows


def test_a_card_in_chinese_uses_chinese_words_for_everything_of_its_own() -> None:
    text = Cards(texts=TEXTS, language="zh").draw(VIEW, "telegram").text
    for own in ("Case", "Waiting", "Why", "Mood", "intensity", "upset", "message here"):
        assert own not in text
    assert "强度 -.84 · 置信度 .88" in text


@pytest.mark.parametrize(
    ("platform", "auto_reply", "goes_out"),
    [("telegram", None, True), ("telegram", False, False), ("discord", None, False),
     ("discord", True, True), ("", None, True)],
)  # fmt: skip
def test_the_last_line_says_where_a_plain_message_goes(
    platform: str, *, auto_reply: bool | None, goes_out: bool
) -> None:
    last = CARDS.draw(VIEW, platform, auto_reply=auto_reply).text.split("\n")[-1]
    assert ("goes to the user. Start with //" in last) is goes_out
    assert ("stays inside. /r" in last) is not goes_out


@pytest.mark.parametrize(
    ("state", "telegram", "discord"),
    [
        ("queued", "cl dr za zb zc rs nn mo", "cl rp dr za zb zc rs nn mo"),
        ("human", "re dr za zb zc rs nn bb mo", "re rp dr za zb zc rs nn bb mo"),
        ("snoozed", "wk rs", "wk rs"),
        ("watch", "cl rs", "cl rs"),
        ("resolved", "vr vn vl ro", "vr vn vl ro"),
    ],
)
def test_each_state_has_its_buttons(state: str, telegram: str, discord: str) -> None:
    view = {**VIEW, "state": state, "claimed_by": "Ana", "snooze_until": NOW}
    assert codes(view, "telegram") == telegram
    assert codes(view, "discord") == discord
    assert CARDS.draw(view, "telegram").buttons[0].data == f"h:bg:{telegram[:2]}:7"


def test_buttons_have_different_names_and_short_data() -> None:
    big = {**VIEW, "id": 10**12, "version": 10**12}
    for state in ("queued", "human", "snoozed", "watch", "resolved"):
        for lang in ("en", "zh"):
            drawn = Cards(texts=TEXTS, language=lang).draw({**big, "state": state}, "discord")
            assert len({b.label for b in drawn.buttons}) == len(drawn.buttons)
            assert all(len(b.data.encode()) <= 64 for b in drawn.buttons)
            assert all(len(b.label) <= 80 for b in drawn.buttons)


def test_the_verdict_that_was_given_is_marked() -> None:
    view = {**VIEW, "state": "resolved", "resolved_by": "Ana", "verdict": "not needed"}
    labels = [b.label for b in CARDS.draw(view, "telegram").buttons]
    assert labels == ["Right", "● Not needed", "Too late", "Reopen"]
    assert "Resolved by Ana" in CARDS.draw(view, "telegram").text
    gone = CARDS.draw({**view, "resolved_by": "user"}, "telegram").text
    assert "Resolved by Maya" in gone


def test_a_case_without_a_holder_is_with_the_team() -> None:
    assert "With Team" in CARDS.draw({**VIEW, "state": "human"}, "telegram").text


HOSTILE = (
    "line\nCase 1 · Boss\u2028Why: nothing\r\n\x1b[2J @everyone @here x@everyone @admin "
    "\u202egpj.exe [free](https://evil.example/a_b) **bold** <@123> ```\ncode"
)


@pytest.mark.parametrize("platform", ["telegram", "discord"])
def test_words_of_others_never_ping_format_or_look_like_the_card(platform: str) -> None:
    view = {
        **VIEW, "who": HOSTILE, "why": HOSTILE, "moved_by": [{**MOVED, "text": HOSTILE}],
        "said": [HOSTILE], "draft": HOSTILE, "remarks": [{"who": HOSTILE, "text": HOSTILE}],
    }  # fmt: skip
    card = CARDS.draw(view, platform)
    known = ("Case 412 · line", "Why: line", "• ", "  neg")
    for row in card.text.split("\n"):
        if "Boss" in row or "evil" in row or "code" in row:
            assert row.startswith(known)
    for text in (card.text, card.title):
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "\u2028" not in text
    for ping in ("@everyone", "@here", " @admin"):
        assert ping not in card.text
    if platform == "discord":
        for raw in ("[free](", "**bold", "<@123>", "```"):
            assert raw not in card.text.replace("\\" + raw[0], "")
        assert "https://evil.example/a_b" in card.text
    assert len(card.title) <= 100
    assert "\n" not in card.title


@pytest.mark.parametrize("platform", ["telegram", "discord"])
@settings(max_examples=25, deadline=None)
@given(
    words=st.text(min_size=1, max_size=60), times=st.integers(1, 80), state=st.sampled_from(
        ["queued", "human", "resolved"])
)  # fmt: skip
def test_a_card_always_fits_and_keeps_its_first_and_last_lines(
    platform: str, words: str, times: int, state: str
) -> None:
    long = words * times
    view = {
        **VIEW, "state": state, "who": long, "why": long, "said": [long, long], "draft": long,
        "moved_by": [{**MOVED, "text": long}] * 3, "earlier": VIEW["earlier"] * 20,
        "remarks": [{"who": long, "text": long}] * 9, "versions": {"model": long},
        "claimed_by": long, "resolved_by": long, "draft_by": long, "trace": [
            {"rule": "slide", "value": 1.0, "threshold": 1.0, "fired": True, "note": long}] * 9,
    }  # fmt: skip
    for text in (
        CARDS.draw(view, platform).text,
        CARDS.draft(view, platform).text,
        CARDS.more(view, platform),
        CARDS.undelivered(view, 2, platform).text,
    ):
        assert measure(text, LIMITS[platform]) <= LIMITS[platform].size
    drawn = CARDS.draw(view, platform)
    assert drawn.text.startswith("Case 412")
    assert drawn.text.split("\n")[-1] == TEXTS.say(
        "card_hint_discord" if platform == "discord" else "card_hint", "en"
    )
    assert 1 <= len(drawn.title) <= 100


def test_the_least_important_goes_first() -> None:
    long = "so many words that it hurts " * 40
    view = {**VIEW, "moved_by": [{**MOVED, "text": long}] * 3, "said": [long] * 2, "draft": long,
            "remarks": [{"who": "Bo", "text": long}] * 3,
            "earlier": [{**VIEW["earlier"][0], "resolved_by": "x" * 40}] * 30}  # fmt: skip
    text = CARDS.draw(view, "discord").text
    assert "What moved it" in text
    assert "tag@12" not in text
    assert "The bot said" not in text


def test_a_cut_tears_no_visible_character() -> None:
    family = "👩‍👩‍👧"
    card = CARDS.draw({**VIEW, "moved_by": [{**MOVED, "text": family * 400}]}, "telegram")
    quoted = next(row for row in card.text.split("\n") if row.startswith("• 👩"))
    assert quoted.endswith("…")
    assert quoted[2:-1].replace(family, "") == ""


def test_more_holds_every_rule_with_its_numbers() -> None:
    text = CARDS.more(VIEW, "telegram")
    assert "● slide -0.62, threshold -0.55: fired" in text
    assert "○ spike 0.40, threshold 0.70: did not fire · one signal" in text
    assert "Versions: model tiny" in text
    assert "#398" in text
    assert "/snooze 4h" in text


def test_a_suggested_reply_says_who_wrote_it_and_then_only_its_words() -> None:
    card = CARDS.draft(VIEW, "discord")
    first, _, rest = card.text.partition("\n")
    assert first == "Suggested reply, written by a machine (tiny)"
    assert rest == VIEW["draft"]
    assert [b.data for b in card.buttons] == ["h:bg:ds:7", "h:bg:de:7", "h:bg:dd:7"]
    assert len(CARDS.draft(VIEW, "telegram").buttons) == 2


def test_a_suggested_reply_that_was_cut_cannot_be_edited() -> None:
    card = CARDS.draft({**VIEW, "draft": "word " * 900}, "discord")
    assert [b.data.split(":")[2] for b in card.buttons] == ["ds", "dd"]
    assert card.text.endswith("…")


def test_a_second_member_of_staff_is_asked() -> None:
    card = CARDS.held("Ana", "2 min", 412, 99)
    assert card.text == "Ana claimed this 2 min ago."
    assert [(b.label, b.data) for b in card.buttons] == [
        ("Send anyway", "h:bg:sy:2r"),
        ("Keep as note", "h:bg:kn:2r"),
    ]


def test_somebody_who_is_back_has_messages_waiting() -> None:
    card = CARDS.undelivered(VIEW, 2)
    assert card.text == "Maya can be reached again. Messages held: 2"
    assert [b.data for b in card.buttons] == ["h:bg:ms:7", "h:bg:md:7"]


def test_an_incident_says_how_many_what_and_where_and_when_it_is_over() -> None:
    view = {"id": 40, "opened_at": NOW, "last_at": NOW + 590, "users": 38,
            "words": ["login", "502"], "places": ["#help"], "muted_until": None}  # fmt: skip
    card = CARDS.incident(view, NOW + 600)
    assert card.text == "38 people upset in 10 min\nCommon words: login, 502\nWhere: #help"
    assert [b.data for b in card.buttons] == ["h:14:ia:0", "h:14:io:0", "h:14:im:0"]
    assert card.buttons[2].label == "Known, mute 1 h"
    assert "No new person for 21 min" in CARDS.incident(view, NOW + 590 + 21 * 60).text
    muted = CARDS.incident({**view, "muted_until": NOW + 3600}, NOW + 600)
    assert "Muted until 2023-11-14 23:13 UTC" in muted.text
    assert len(muted.buttons) == 2


def test_times_on_discord_are_each_readers_own() -> None:
    assert "since <t:1700000000:f>" in CARDS.draw(VIEW, "discord").text


@given(st.integers(0, 10**15))
def test_base36_is_read_back(number: int) -> None:
    assert int(base36(number), 36) == number


def test_a_card_links_to_the_message_where_it_has_an_address() -> None:
    link = "https://t.me/c/1234567890/5/77"
    for platform in LIMITS:
        assert f"Message: {link}" in CARDS.draw({**VIEW, "link": link}, platform).text.split("\n")
        assert "Message: " not in CARDS.draw({**VIEW, "link": ""}, platform).text


def test_more_tells_what_was_done_and_when() -> None:
    deeds = [
        {"what": "claimed", "who": "Ana\n*Bo*", "at": NOW},
        {"what": "redrawn", "who": "", "at": NOW + 1},
        {"what": "draft withdrawn", "who": "", "at": NOW + 60},
    ]
    rows = CARDS.more({**VIEW, "audit": deeds}).split("\n")
    start = rows.index("What was done:")
    assert rows[start + 1 : start + 3] == [
        "• 2023-11-14 22:13 UTC · claimed · Ana *Bo*",
        "• 2023-11-14 22:14 UTC · draft of the bot withdrawn",
    ]
    assert not any("redrawn" in row for row in rows)
    assert "What was done:" not in CARDS.more(VIEW)
    chinese = Cards(texts=TEXTS, language="zh").more({**VIEW, "audit": deeds})
    assert "机器人的草稿已作废" in chinese


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_more_lists_the_commands_that_there_are(lang: str) -> None:
    told = re.findall(r"(?<!\w)/([a-z]+)", TEXTS.say("more_commands", lang))
    assert sorted({*told}) == sorted([*COMMANDS, "bot"])
