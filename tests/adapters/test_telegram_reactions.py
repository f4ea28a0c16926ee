"""Reactions of people: which emoji, under what, and whose."""

from __future__ import annotations

import pytest

from adapters.telegram.normalize import ALLOWED
from tests.adapters.telegram_inbox import groups, must, read
from tests.adapters.telegram_room import ANN, BEN, DESK, GROUP
from tests.fakes.telegram import TelegramFake


@pytest.fixture
def fake() -> TelegramFake:
    return groups()


def test_a_reaction_in_private_says_which_emoji_and_under_what(fake: TelegramFake) -> None:
    fake.allowed = list(ALLOWED)
    fake.say(ANN, ANN, "hello")
    fake.react(ANN, ANN, 1, "👎")
    first = must(fake)
    assert (first.kind, first.message_id, first.data) == ("reacted", "1", "👎")
    assert (first.key.user, first.private) == ("11", True)
    fake.react(ANN, ANN, 1, "")
    assert must(fake).data == ""
    assert must(fake).event_id != first.event_id


def test_reactions_in_the_desk_count_also_those_of_nobody_in_particular(
    fake: TelegramFake,
) -> None:
    fake.allowed = list(ALLOWED)
    fake.react(DESK, BEN, 1, "👍")
    assert (must(fake).key.user, must(fake).data) == (str(BEN), "👍")
    fake.react(DESK, BEN, 2, "👍", anonymous=True)
    assert must(fake).author.anonymous


def test_a_reaction_in_a_group_is_told_and_one_in_a_channel_is_not(fake: TelegramFake) -> None:
    fake.allowed = list(ALLOWED)
    fake.react(GROUP, BEN, 1, "👎")
    reaction = must(fake)
    assert (reaction.kind, reaction.data, reaction.private) == ("reacted", "👎", False)
    assert (reaction.key.chat, reaction.key.user) == (str(GROUP), str(BEN))
    fake.group(-1007).type = "channel"
    fake.react(-1007, BEN, 1, "👍", anonymous=True)
    assert read(fake) is None


def test_of_several_reactions_the_new_one_is_told_and_what_is_no_emoji_is_not(
    fake: TelegramFake,
) -> None:
    fake.allowed = list(ALLOWED)
    fake.react(ANN, ANN, 1, "👍")
    change = fake.updates[-1]["message_reaction"]
    change["new_reaction"] = [{"type": "emoji", "emoji": each} for each in ("❤", "👍")]
    change["old_reaction"] = [{"type": "emoji", "emoji": "👍"}]
    assert must(fake).data == "❤"
    change["old_reaction"], change["new_reaction"] = change["new_reaction"], []
    assert must(fake).data == ""
    change["old_reaction"] = []
    change["new_reaction"] = [{"type": "custom_emoji", "custom_emoji_id": "1"}]
    assert read(fake) is None


def test_reactions_are_asked_for() -> None:
    assert "message_reaction" in ALLOWED
