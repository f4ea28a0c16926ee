"""What is made of a message by code alone before it is stored: its size, and how urgent it is."""

from __future__ import annotations

from dataclasses import replace

from core.message import Arrival, Message
from core.triggers import match

MATTERS = ("crisis", "request", "threat", "money")  # phrases that a cut must not lose


def of_a_bot(arrival: Arrival) -> bool:
    """Say whether a machine wrote it: nothing of theirs is heard."""
    return arrival.message is not None and arrival.message.author.is_bot


def shortened(message: Message, most: int) -> Message:
    """Cut a text of more than `most` characters; phrases lost by that are kept at its end."""
    if len(message.text) <= most:
        return message
    kept = f"{message.text[:most]}…"
    whole, left = match(message.text), match(kept)
    lost = [getattr(whole, kind) for kind in MATTERS if not getattr(left, kind)]
    return replace(message, text="\n".join([kept, *filter(None, lost)]))


def urgency(message: Message) -> str:
    """Return crisis or request where words or a press say so plainly; else nothing."""
    if message.command == "human" or message.data == "u:human":
        return "request"
    triggers = match(message.text) if message.kind in ("said", "edited") else None
    if triggers is None:
        return ""
    return "crisis" if triggers.crisis else "request" if triggers.request else ""


def crowd_of(message: Message | None) -> tuple[str, str] | None:
    """Return the chat in which many people write at once; None: a direct chat crowds nobody."""
    if message is None or message.private:
        return None
    return (message.key.platform, message.key.chat)
