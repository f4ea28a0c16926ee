"""What became of a call, told by its error; and the token kept out of every log line.

Whether a post may be sent again depends on the cause: a connection that was never made sent
nothing, an answer that broke off may hide a message that exists. The library raises the same
NetworkError for both, so the cause underneath is asked. httpx is the library's guest, not ours,
hence its errors are known by name.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from datetime import timedelta

from telegram.error import (
    BadRequest,
    Conflict,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    RetryAfter as FloodControl,
    TelegramError,
)

from core.errors import (
    DeliveryError,
    NoThread,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    ThreadGone,
    ThreadShut,
    TooLarge,
    Unchangeable,
    Unreachable,
)

REJECTED = "Telegram refuses the token: check telegram.token, or make a new one with @BotFather"
_NEVER_LEFT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
_FLOOD_WITHOUT_TIME = 5.0  # seconds to wait when Telegram says "too many" but not how long


class NotModified(Refused):
    """The message already reads so: an edit that is done."""


class Gone(Unchangeable):
    """The message to edit or delete no longer exists."""


class NoText(Refused):
    """The message to edit is a file: what it has is a caption."""


class NoRight(Unreachable):
    """The bot may not write in this group."""


class Unformatted(Refused):
    """Telegram cannot use the formatting; the same text plain is welcome."""


class TokenRejected(NotSent):
    """The token is not accepted; nothing can be sent until the operator mends it."""


def outcome(error: TelegramError) -> DeliveryError:
    """Return the error of ours that says what is safe next."""
    said = error.message
    ours: DeliveryError = OutcomeUnknown(f"no clear answer from Telegram ({_name(error)})")
    if isinstance(error, FloodControl):
        wait = error.retry_after
        ours = RetryAfter(wait.total_seconds() if isinstance(wait, timedelta) else wait)
    elif isinstance(error, Forbidden):
        ours = _told(_SHUT_OUT, said, Unreachable)
    elif isinstance(error, BadRequest):  # before its base, NetworkError: it is an answer
        ours = _slow(said) or _told(_REFUSALS, said, Refused)
    elif isinstance(error, InvalidToken | EndPointNotFound):
        ours = TokenRejected(REJECTED)
    elif isinstance(error, Conflict):
        ours = NotSent(f"Telegram: {said}")
    elif error.message.startswith("Too Many Requests"):
        ours = RetryAfter(_FLOOD_WITHOUT_TIME)
    elif error.message.startswith("Request Entity Too Large"):
        ours = TooLarge(f"Telegram: {said}")
    elif type(error.__cause__).__name__ in _NEVER_LEFT:
        ours = NotSent("Telegram could not be reached")
    return ours


def _name(error: BaseException) -> str:
    """Return the name of the innermost cause: it tells most."""
    return _name(error.__cause__) if error.__cause__ else type(error).__name__


_NO_RIGHT = "the bot may not write in this group: an administrator has to let it send messages"
_REMOVED = "the bot is not in this group: somebody has to add it again"
_NOBODY = "this account or group no longer exists"
_UNKNOWN = "this chat does not exist, or has never written to the bot"
_UPGRADED = "the group has a new id, which Telegram did not tell"
_SHUT = "this topic is closed"
_GONE = "this topic was deleted"

_Row = tuple[type[DeliveryError], str, tuple[str, ...]]  # class, our words, parts of Telegram's
_SHUT_OUT: tuple[_Row, ...] = (  # the first that fits
    (Unreachable, "this person has blocked the bot", ("blocked by the user",)),
    (Unreachable, _NOBODY, ("deactivated", "group chat was deleted")),
    (Unreachable, "this person has not written to the bot yet", ("initiate conversation",)),
    (Unreachable, _REMOVED, ("kicked", "not a member", "bot is not in", "chat not found")),
    (NoRight, _NO_RIGHT, ("rights", "chat_write_forbidden", "chat_restricted", "not allowed")),
)
_REFUSALS: tuple[_Row, ...] = (
    (NotModified, "", ("message is not modified", "topic_not_modified")),
    (
        Gone,
        "this message is gone",
        ("message to edit not found", "message to delete not found", "message_id_invalid"),
    ),
    (NoText, "", ("there is no text in the message",)),
    (
        Unchangeable,
        "this message can no longer be changed",
        ("message can't be edited", "message can't be deleted", "there is no caption"),
    ),
    (ThreadGone, _GONE, ("message thread not found", "topic_deleted", "topic_id_invalid")),
    (ThreadShut, _SHUT, ("topic_closed",)),
    (NoThread, "", ("not a forum", "create a topic", "edit the topic", "manage topics")),
    (TooLarge, "", ("file is too big", "request entity too large")),
    (Unreachable, _NOBODY, ("user_deactivated", "deactivated", "input_user_deactivated")),
    (Unreachable, _REMOVED, ("not a member of", "user_not_participant", "channel_private")),
    (
        NoRight,
        _NO_RIGHT,
        (
            "chat_write_forbidden",
            "chat_restricted",
            "not enough rights to send text",
            "no rights to send",
            "need administrator rights in the channel",
            "user_banned_in_channel",
        ),
    ),
    (Unreachable, _UNKNOWN, ("chat not found", "peer_id_invalid")),
    (Refused, _UPGRADED, ("group chat was upgraded",)),
    (Refused, "the message to answer is gone", ("message to be replied not found",)),
    (Refused, "", ("not enough rights",)),  # to pin, to send files of one kind ...
    (Unformatted, "", ("entit",)),  # "can't parse entities", ENTITY_BOUNDS_INVALID, ...
)


def _told(rows: tuple[_Row, ...], said: str, otherwise: type[DeliveryError]) -> DeliveryError:
    """Sort an answer by Telegram's own words, which stay in the message."""
    lower = said.lower()
    for kind, ours, parts in rows:
        if any(each in lower for each in parts):
            return kind(f"{ours} (Telegram: {said})" if ours else f"Telegram: {said}")
    return otherwise(f"Telegram: {said}")


def _slow(said: str) -> RetryAfter | None:
    """Return how long slow mode asks to wait, where it says so in this older way."""
    found = re.search(r"slowmode_wait_(\d{1,6})", said.lower())
    return RetryAfter(float(found[1])) if found else None


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A log filter that blots the token out before anybody writes the line down."""

    token: str = field(repr=False)

    def __call__(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if self.token in said:
            record.msg, record.args = said.replace(self.token, "<token>"), None
        return True


def _no_quotes(record: logging.LogRecord) -> bool:
    """Stop the lines that repeat whole requests and answers: they hold what people wrote."""
    return record.name != "telegram.request.BaseRequest" and record.levelno > logging.DEBUG


def hide(token: str) -> None:
    """Keep `token`, and what people wrote, out of what the library and its HTTP client log.

    A filter sees only the records of its own logger, never of those below, so each is named.
    """
    for name in (
        "httpx",
        "httpcore.connection",
        "httpcore.http11",
        "telegram",
        "telegram.Bot",
        "telegram.request",
        "telegram.request.BaseRequest",
        "telegram.request.HTTPXRequest",
    ):
        logging.getLogger(name).addFilter(_Hidden(token))  # an equal one is kept only once
        logging.getLogger(name).addFilter(_no_quotes)
