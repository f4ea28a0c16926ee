"""What the dialogues are written with: what they need, where they are played, who speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine
from tests.contract.discord import Discord
from tests.contract.stage import CAPABILITIES, Stage
from tests.contract.telegram import Telegram
from tests.contract.terminal import Terminal
from tests.contract.web import Api, Web

Dialogue = TypeVar("Dialogue", bound=Callable[..., object])

STAGES: tuple[type[Stage], ...] = (Terminal, Web, Api, Telegram, Discord)
ANSWERS = """
[[answer]]
questions = ["When are you open?", "What are your opening hours?"]
text = "Monday to Friday, 9:00 to 17:00 (not on <holidays> & feasts)."
lang = "en"
"""
NEEDED: dict[str, list[str]] = {}  # capability -> the dialogues that need it


def needs(*capabilities: str) -> Callable[[Dialogue], Dialogue]:
    """Play a dialogue only where the platform has these; others declare that they lack them."""

    def mark(dialogue: Dialogue) -> Dialogue:
        for one in capabilities:
            assert one in CAPABILITIES, one
            NEEDED.setdefault(one, []).append(dialogue.__name__)
        dialogue.needs = capabilities  # type: ignore[attr-defined]
        return dialogue

    return mark


def provides(capability: str) -> Callable[[Dialogue], Dialogue]:
    """Note that a dialogue asks for more where the platform has this; it is played on all."""
    assert capability in CAPABILITIES, capability

    def mark(dialogue: Dialogue) -> Dialogue:
        NEEDED.setdefault(capability, []).append(dialogue.__name__)
        return dialogue

    return mark


def echo(asked: ReplyRequest) -> str:
    """Say back what was said, in order."""
    return "You said: " + " / ".join(asked.messages)


def listener() -> ScriptedEngine:
    """Return a mind that says back what was said."""
    return ScriptedEngine(echo)


def sentences(count: int) -> str:
    """Return so many different short sentences."""
    return " ".join(f"This is step number {n} of what to do." for n in range(count))


def squeezed(texts: list[str]) -> str:
    """Return what stands in several posts as one text, however it was cut."""
    return " ".join(" ".join(texts).split())
