"""What Discord's refusals mean for a post, and a plain sentence that says what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from core.errors import (
    DeliveryError,
    Refused,
    RetryAfter,
    ThreadGone,
    ThreadShut,
    TooLarge,
    Unreachable,
)

GONE = 10003  # a channel or thread


class Meaning(NamedTuple):
    """The kind of failure; `sentence` is for whoever runs the desk; `wait` in seconds."""

    kind: type[DeliveryError]
    sentence: str
    wait: float = 0.0


def _wait(seconds: float, sentence: str) -> Meaning:
    return Meaning(RetryAfter, sentence, seconds)


_NO_RIGHT = "give the bot's role the missing right in the channel's settings, under Permissions"

MEANINGS: Mapping[int, Meaning] = {
    # gone, hidden or out of reach
    GONE: Meaning(Unreachable, "the channel is gone or was never shown to the bot"),
    10004: Meaning(Unreachable, "the bot is no longer in that server: invite it again"),
    10007: Meaning(Unreachable, "they have left the server"),
    10013: Meaning(Unreachable, "the account is gone"),
    40007: Meaning(Unreachable, "the account is banned from that server"),
    50001: Meaning(Unreachable, f"the bot may not view the channel: {_NO_RIGHT}"),
    50007: Meaning(Unreachable, "they take no direct messages from this bot"),
    50033: Meaning(Unreachable, "the account cannot be written to"),
    50278: Meaning(Unreachable, "they share no server with the bot any more"),
    # the way a thread is
    50083: Meaning(ThreadShut, "the thread is archived"),
    160005: Meaning(ThreadShut, "the thread is locked: unlock it, or allow Manage Threads"),
    # too often
    20016: _wait(30.0, "slow mode is on in that channel"),
    20022: _wait(60.0, "too much was changed there in a short time"),
    20028: _wait(30.0, "too much was written in that channel in a short time"),
    20029: _wait(30.0, "too much was written in that server in a short time"),
    30046: _wait(300.0, "too many edits of messages that are older than an hour"),
    40003: _wait(600.0, "direct messages were opened too fast"),
    40004: _wait(300.0, "Discord has switched sending off for now"),
    40006: _wait(300.0, "Discord has switched this off for now"),
    40062: _wait(30.0, "Discord's service is asked too often"),
    130000: _wait(30.0, "Discord is overloaded"),
    # full
    30003: Meaning(Refused, "the channel has no room for another pin: remove old pins"),
    30007: Meaning(Refused, "the channel has no room for another webhook: remove one"),
    30010: Meaning(Refused, "the message has no room for another kind of reaction"),
    30013: Meaning(Refused, "the server has no room for another channel: remove one"),
    30033: Meaning(Refused, "the thread has no room for another person"),
    30048: Meaning(Refused, "the forum has no room for another tag: remove one"),
    160006: Meaning(Refused, "the server has no room for another active thread: close some"),
    160007: Meaning(Refused, "the server has no room for another announcement thread: close some"),
    # never as it is
    10008: Meaning(Refused, "the message is gone"),
    10014: Meaning(Refused, "there is no such emoji"),
    10015: Meaning(Refused, "the right to answer there has ended"),
    10062: Meaning(Refused, "the command or press was answered too late"),
    20026: Meaning(Refused, "Discord takes the bot for a sender of spam: write to its support"),
    40005: Meaning(TooLarge, "the file is too large for that server"),
    40060: Meaning(Refused, "the command or press was answered already"),
    50003: Meaning(Refused, "this cannot be done in a direct channel"),
    50005: Meaning(Refused, "somebody else wrote that message"),
    50006: Meaning(Refused, "a message needs a text or a file"),
    50008: Meaning(Refused, "nobody can write in a channel of that kind"),
    50013: Meaning(Refused, f"the bot lacks a right there: {_NO_RIGHT}"),
    50021: Meaning(Refused, "a notice of Discord's own cannot be changed"),
    50024: Meaning(Refused, "this cannot be done in a channel of that kind"),
    50027: Meaning(Refused, "the right to answer there has ended"),
    50035: Meaning(Refused, "Discord does not take the message in this form"),
    160004: Meaning(Refused, "that message has a thread already"),
    200000: Meaning(Refused, "the server's AutoMod stopped the words: let the bot pass there"),
    200001: Meaning(Refused, "the server's AutoMod stopped the name: let the bot pass there"),
    240000: Meaning(Refused, "Discord takes a link in it for a harmful one"),
}


def refusal(status: int, code: int, text: str, *, in_thread: bool = False) -> DeliveryError:
    """Return what an answer with an error means; `text` is Discord's own account of it."""
    otherwise = Meaning(TooLarge, "the file is too large") if status == 413 else None
    found = MEANINGS.get(code) or otherwise or Meaning(Refused, "")
    words = f"Discord refuses: {found.sentence} ({status} {code} {text.strip()})"
    if not found.sentence:
        words = f"Discord refuses: {status} {code} {text}".strip()
    if in_thread and code == GONE:
        return ThreadGone(words)
    return RetryAfter(found.wait) if found.kind is RetryAfter else found.kind(words)
