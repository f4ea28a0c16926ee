"""What waits for the bot at the fake, read as the adapter reads it."""

from __future__ import annotations

from adapters.telegram.normalize import Account, normalize
from core.message import Message
from tests.adapters.telegram_room import DESK, GROUP
from tests.fakes.telegram import TelegramFake

ACCOUNT = Account(bot="4242", username="HeedBot", desk_chats=frozenset({str(DESK)}))
NOW = 1_700_000_000.0


def groups() -> TelegramFake:
    """Return a fake with a group and a desk, at a fixed time."""
    server = TelegramFake(clock=lambda: NOW)
    server.group(GROUP, forum=True)
    server.group(DESK, forum=True)
    return server


def read(fake: TelegramFake, account: Account = ACCOUNT) -> Message | None:
    """Normalize the newest waiting update."""
    return normalize(fake.updates[-1], account, now=NOW)


def must(fake: TelegramFake, account: Account = ACCOUNT) -> Message:
    """Normalize it, and fail where it is nothing of ours."""
    message = read(fake, account)
    assert message is not None
    return message
