"""Telegram's own words, each sorted into what is safe next and told in a plain sentence."""

from __future__ import annotations

import pytest
from telegram.error import BadRequest, Forbidden

from adapters.telegram.outcome import Gone, NoRight, outcome
from core.errors import (
    DeliveryError,
    NoThread,
    Refused,
    RetryAfter,
    ThreadGone,
    ThreadShut,
    TooLarge,
    Unchangeable,
    Unreachable,
)

ANSWERS = [
    (400, "CHAT_WRITE_FORBIDDEN", NoRight, "let it send messages"),
    (400, "Not enough rights to send text messages to the chat", NoRight, "let it send messages"),
    (400, "Need administrator rights in the channel chat", NoRight, "administrator"),
    (400, "Have no rights to send a message", NoRight, "let it send messages"),
    (403, "Have no rights to send a message", NoRight, "let it send messages"),
    (400, "CHAT_RESTRICTED", NoRight, "let it send messages"),
    (400, "TOPIC_CLOSED", ThreadShut, "topic is closed"),
    (400, "TOPIC_DELETED", ThreadGone, "topic was deleted"),
    (400, "Message thread not found", ThreadGone, "topic was deleted"),
    (400, "TOPIC_ID_INVALID", ThreadGone, "topic was deleted"),
    (400, "The chat is not a forum", NoThread, "not a forum"),
    (400, "Not enough rights to create a topic", NoThread, "create a topic"),
    (403, "Bot is not a member of the supergroup chat", Unreachable, "not in this group"),
    (403, "Bot was kicked from the supergroup chat", Unreachable, "add it again"),
    (400, "Bot is not a member of the channel chat", Unreachable, "not in this group"),
    (403, "Bot was blocked by the user", Unreachable, "has blocked the bot"),
    (403, "User is deactivated", Unreachable, "no longer exists"),
    (400, "USER_DEACTIVATED", Unreachable, "no longer exists"),
    (403, "The group chat was deleted", Unreachable, "no longer exists"),
    (403, "Bot can't initiate conversation with a user", Unreachable, "not written to the bot"),
    (400, "Chat not found", Unreachable, "never written to the bot"),
    (400, "PEER_ID_INVALID", Unreachable, "never written to the bot"),
    (400, "Group chat was upgraded to a supergroup chat", Refused, "new id"),
    (400, "Message to be replied not found", Refused, "message to answer is gone"),
    (400, "Message to edit not found", Gone, "message is gone"),
    (400, "Message can't be edited", Unchangeable, "no longer be changed"),
    (400, "Not enough rights to manage pinned messages in the chat", Refused, "pinned"),
    (400, "Not enough rights to send photos to the chat", Refused, "photos"),
    (400, "File is too big", TooLarge, "too big"),
    (400, "Something nobody has heard of", Refused, "nobody has heard of"),
    (403, "Something nobody has heard of", Unreachable, "nobody has heard of"),
]


@pytest.mark.parametrize(("code", "said", "kind", "words"), ANSWERS)
def test_each_answer_has_its_class_and_its_sentence(
    code: int, said: str, kind: type[DeliveryError], words: str
) -> None:
    ours = outcome(Forbidden(f"Forbidden: {said}") if code == 403 else BadRequest(said))
    assert type(ours) is kind
    assert words in str(ours)
    assert said in str(ours)


def test_a_missing_right_is_somebody_who_cannot_be_reached() -> None:
    assert issubclass(NoRight, Unreachable)
    assert not issubclass(NoRight, Refused)


def test_slow_mode_says_how_long_to_wait() -> None:
    ours = outcome(BadRequest("SLOWMODE_WAIT_17"))
    assert isinstance(ours, RetryAfter)
    assert ours.seconds == 17.0
