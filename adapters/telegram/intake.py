"""Raw updates become arrivals, one by one: poison is parked with its reason, the rest goes on."""

from __future__ import annotations

import json
import logging
from typing import Any

from adapters.telegram.normalize import Account, normalize
from core.message import Arrival

log = logging.getLogger(__name__)


def arrival(update: Any, account: Account, *, now: float) -> Arrival:  # noqa: ANN401 - raw JSON
    """Return what one update is. Never raises: what cannot be read is poison."""
    message, error = None, ""
    try:
        message = normalize(update, account, now=now)
    # One update in four breaks a parser when its fields are mutated, in more ways than can be
    # listed; an error that escaped here would be met again at every poll, for ever.
    except Exception as problem:  # noqa: BLE001
        error = f"{type(problem).__name__}: {problem}"[:500]
        kind = type(problem).__name__  # the whole error may quote what somebody wrote
        log.warning("update %s cannot be read and is set aside: %s", number(update), kind)
    return Arrival(
        platform="telegram",
        bot=account.bot,
        source_id=str(number(update) or "?"),
        raw=_raw(update),
        message=message,
        error=error,
    )


def _raw(update: Any) -> str:  # noqa: ANN401 - raw JSON
    """Return the JSON text in ASCII: escaped, half characters and NUL can be stored."""
    try:
        return json.dumps(update)
    except RecursionError:
        return '"nested too deeply to be written down"'


def unreadable(body: bytes, account: Account, error: str) -> Arrival:
    """Return the poison for a webhook body that is no update at all."""
    return Arrival(
        platform="telegram",
        bot=account.bot,
        source_id="?",
        raw=json.dumps(body.decode("utf-8", "replace")),
        error=error,
    )


def number(update: Any) -> int | None:  # noqa: ANN401 - raw JSON
    """Return the update's own number, None where it has none that can be used."""
    found = update.get("update_id") if isinstance(update, dict) else None
    usable = isinstance(found, int) and not isinstance(found, bool) and 0 < found < 2**62
    return found if usable else None
