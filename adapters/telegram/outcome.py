"""What became of a call, told by its error; and the token kept out of every log line.

Whether a post may be sent again depends on the cause: a connection that was never made sent
nothing, an answer that broke off may hide a message that exists. The library raises the same
NetworkError for both, so the cause underneath is asked. httpx is the library's guest, not ours,
hence its errors are known by name.
"""

from __future__ import annotations

import logging
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


class Unformatted(Refused):
    """Telegram cannot use the formatting; the same text plain is welcome."""


class TokenRejected(NotSent):
    """The token is not accepted; nothing can be sent until the operator mends it."""


def outcome(error: TelegramError) -> DeliveryError:
    """Return the error of ours that says what is safe next."""
    said = f"Telegram: {error.message}"
    ours: DeliveryError = OutcomeUnknown(f"no clear answer from Telegram ({_name(error)})")
    if isinstance(error, FloodControl):
        wait = error.retry_after
        ours = RetryAfter(wait.total_seconds() if isinstance(wait, timedelta) else wait)
    elif isinstance(error, Forbidden):
        ours = Unreachable(said)
    elif isinstance(error, BadRequest):  # before its base, NetworkError: it is an answer
        ours = _refusal(error.message)
    elif isinstance(error, InvalidToken | EndPointNotFound):
        ours = TokenRejected(REJECTED)
    elif isinstance(error, Conflict):
        ours = NotSent(said)
    elif error.message.startswith("Too Many Requests"):
        ours = RetryAfter(_FLOOD_WITHOUT_TIME)
    elif error.message.startswith("Request Entity Too Large"):
        ours = TooLarge(said)
    elif type(error.__cause__).__name__ in _NEVER_LEFT:
        ours = NotSent("Telegram could not be reached")
    return ours


def _name(error: BaseException) -> str:
    """Return the name of the innermost cause: it tells most."""
    return _name(error.__cause__) if error.__cause__ else type(error).__name__


_REFUSALS: tuple[tuple[type[Refused], tuple[str, ...]], ...] = (  # the first that fits
    (NotModified, ("message is not modified", "topic_not_modified")),
    (Gone, ("message to edit not found", "message to delete not found", "message_id_invalid")),
    (NoText, ("there is no text in the message",)),
    (Unchangeable, ("message can't be edited", "message can't be deleted", "there is no caption")),
    (ThreadGone, ("message thread not found", "topic_deleted", "topic_id_invalid")),
    (ThreadShut, ("topic_closed",)),
    (NoThread, ("not a forum", "create a topic", "edit the topic", "manage topics")),
    (TooLarge, ("file is too big", "request entity too large")),
    (Unformatted, ("entit",)),  # "can't parse entities", ENTITY_BOUNDS_INVALID, ...
)


def _refusal(said: str) -> Refused:
    """Sort a refusal by Telegram's own words."""
    lower = said.lower()
    for kind, words in _REFUSALS:
        if any(each in lower for each in words):
            return kind(f"Telegram: {said}")
    return Refused(f"Telegram: {said}")


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
