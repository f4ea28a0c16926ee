from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.errors import SetupError
from core.texts import Texts

VALUES = {
    "n": 7, "m": 2, "name": "Ana", "who": "Maya", "when": "Monday, 9:00", "date": "1 May",
    "text_days": 30, "score_days": 365, "case": 412, "reason": "they blocked the bot",
    "text": "hello", "hours": 3, "why": "asked for a person", "role": "Support", "code": "QWERTZUI",
    "old": "Ben", "by": "Zoe", "state": "queued", "size": "21 MB", "minutes": 9, "words": "login",
    "users": 38, "verb": "frob", "known": "right", "most": 3, "example": "telegram:1",
    "reply": "refund", "command": "/frob", "kind": "poll", "key": "desk.role_name",
    "variable": "HEED_ROLE", "rule": "slide",
    "where": "here", "desks": "on their page", "reads": "Nobody.", "choice": "/privacy off",
    "chat": "-1001", "seconds": "30", "missing": "chat_member",
    "channel": "#general", "id": "150", "mode": "watch", "right": "Send Messages",
    "problem": "it is locked", "platform": "Telegram",
}  # fmt: skip
BARE = {
    "dry_row",
    "list_row",
    "staff_role",
    "staff_name",
}  # nothing but values: no words of their own


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts.load()


def test_every_text_can_be_said_in_every_language(texts: Texts) -> None:
    for lang in ("en", "zh", "es", "ru", "de", "und", ""):
        for name in texts.names:
            said = texts.say(name, lang, **VALUES)
            assert said
            assert "{" not in said
            assert len(said) <= 2000, (name, lang)


def test_each_language_is_written_in_its_own_script(texts: Texts) -> None:
    for name in texts.names:
        if name not in BARE:
            assert re.search("[一-鿿]", texts.say(name, "zh", **VALUES)), name
        assert not re.search("[一-鿿а-я]", texts.say(name, "en", **VALUES)), name
    assert re.search("[а-я]", texts.say("open", "ru"))


def test_a_regional_language_finds_its_language_and_an_unknown_one_finds_english(
    texts: Texts,
) -> None:
    assert texts.say("back_to_bot", "zh-CN") == texts.say("back_to_bot", "zh")
    assert texts.say("back_to_bot", "pt_BR") == texts.say("back_to_bot", "en")
    assert texts.say("button_claim", "es") == "Claim"


def test_an_unknown_name_is_an_error(texts: Texts) -> None:
    with pytest.raises(KeyError, match="opne"):
        texts.say("opne", "en")


def test_no_text_shouts_or_names_a_telephone_number(texts: Texts) -> None:
    for lang in ("en", "zh", "es", "ru"):
        for name in texts.names:
            said = texts.say(name, lang, **dict.fromkeys(VALUES, "x"))
            assert not re.search(r"[!！]", said), name
            assert not re.search(r"\d{3}", said), name


def test_the_crisis_text_says_what_it_is_and_who_is_told(texts: Texts) -> None:
    said = texts.say("crisis", "en")
    assert "only a program" in said
    assert "emergency" in said
    assert not texts.approved("crisis", "en")


def test_privacy_tells_the_periods_and_what_this_is_not(texts: Texts) -> None:
    said = texts.say("privacy", "en", **VALUES)
    assert "30 days" in said
    assert "365 days" in said
    assert "not an emergency service" in said


def test_the_operator_replaces_a_text_and_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "en.toml").write_text('[user]\ncrisis = "Our own words."\n', "utf-8")
    (tmp_path / "de.toml").write_text('[user]\nclaimed = "{name} ist jetzt da."\n', "utf-8")
    texts = Texts.load(tmp_path)
    assert texts.say("crisis", "en") == "Our own words."
    assert texts.approved("crisis", "en")
    assert texts.say("claimed", "de-AT", name="Ana") == "Ana ist jetzt da."
    assert texts.say("correction", "de") == "Correction:"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('[user]\nopne = "x"\n', "no text is named opne"),
        ('[user]\nclaimed = "{who} is here"\n', r"claimed has \{who\}; it may use \{name\}"),
        ("[user]\nclaimed = 3\n", "must be a text in quotes"),
        ('[usr]\nclaimed = "x"\n', r"\[usr\] is unknown"),
        ("[user\n", "cannot be read"),
        ('[user]\nclaimed = "{name"\n', "claimed"),
    ],
)
def test_a_wrong_file_of_the_operators_is_told_in_one_sentence(
    tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "en.toml").write_text(content, "utf-8")
    with pytest.raises(SetupError, match=sentence):
        Texts.load(tmp_path)
