"""What the operator may choose: which kinds are sent again when their outcome is unknown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.telegram import TelegramAdapter
from bot.section import PLAIN
from bot.settings import Settings
from core.message import Place, Post
from tests.fakes.telegram import TOKEN


def post(kind: Any, **more: Any) -> Post:
    place = Place(platform="telegram", bot="4242", chat="101")
    return Post(id=1, kind=kind, place=place, text="x", nonce="n", **more)


def adapter(*repeat: str) -> TelegramAdapter:
    door: Any = None
    return TelegramAdapter(door, token=TOKEN, clock=lambda: 0.0, repeat=frozenset(repeat))


async def test_only_the_chosen_kinds_are_sent_again() -> None:
    strict, lenient = adapter(), adapter("notice", "card")
    for kind in PLAIN:
        assert not strict.repeatable(post(kind))
        assert lenient.repeatable(post(kind)) is (kind in {"notice", "card"})
    assert not lenient.repeatable(post("thread"))


def test_a_topic_and_what_is_no_plain_post_cannot_be_chosen() -> None:
    assert Settings(telegram={"repeat": ["relay", "digest"]}).telegram.repeat == ("relay", "digest")
    for kind in ("thread", "reply", "everything"):
        with pytest.raises(ValidationError, match=f"'{kind}' is none of them"):
            Settings(telegram={"repeat": [kind]})
