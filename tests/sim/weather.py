"""What a seed draws before the story begins: the platform's style, the pace, the trouble."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Style = Literal["nonce", "placeholder", "plain"]

SUBJECTS = (
    "The parcel", "My order", "The invoice", "That book", "The blue lamp", "The table", "Our trip",
    "The second shelf", "The garden chair", "My bicycle", "The train to the lake", "The old clock",
)  # fmt: skip
DOINGS = (
    "came on Tuesday around noon", "stands in the hall by the window", "is for my sister",
    "has three drawers and a key", "was in the shop on the corner", "goes along the shore",
    "is described in chapter three", "needs a new cover", "arrives next week", "is quite heavy",
)  # fmt: skip
CALM = tuple(f"{one} {what}." for one in SUBJECTS for what in DOINGS)
FURY = "This is the worst service ever, I am furious, you charged me twice again!"
PLEA = "I want to talk to a real human please"
CRISIS = "I want to kill myself"
POISON = "the poisoned sentence that nobody can read"
REPLIES = tuple(
    f"{first} {then}"
    for first in ("Thank you, that helps.", "I see.", "Good to know.", "I have noted that.")
    for then in ("I will keep it in mind.", "Please go on.", "It is written down now.")
)


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What a world is like; all durations in seconds."""

    seed: int
    style: Style
    messages: int  # that people say, at least
    people: int
    crowd: int  # of them in one group
    staffed: bool  # cases have threads in a chat of the platform; else the page alone
    seconds: float  # that the story takes
    burst: int  # messages that somebody says at once, at most: many are a flood
    network: float  # longest half way of a call
    disk: float  # longest time that a commit takes
    thought: float  # before the model's first word
    pace: float  # between two pieces of a reply
    previews: bool
    slots: int
    disorder: float  # chance of a batch out of order, of a repeat
    deaf: int  # every n-th ring is lost; 0: none
    trouble: float  # chance of a call that fails in quiet times
    faults: int  # times of trouble in the whole story
    kills: int
    upset: float  # chance that a burst is none of calm words

    @property
    def account(self) -> tuple[str, str]:
        """Return platform and bot."""
        return ("discord", "main") if self.style == "nonce" else ("telegram", "7")

    @property
    def desk(self) -> str:
        return "900"


def weather(seed: int, messages: int = 1000) -> Weather:
    """Draw a world."""
    dice = random.Random(f"{seed}/weather")  # noqa: S311 - a story, no secret
    style: Style = dice.choice(("nonce", "placeholder", "plain"))
    streams = dice.random() < 0.3
    return Weather(
        seed=seed,
        style=style,
        messages=messages,
        people=dice.choice((2, 6, 12)),
        crowd=dice.choice((0, 0, 2)),
        staffed=dice.random() < 0.5,
        seconds=dice.choice((200.0, 400.0, 600.0)) * messages / 2000.0,
        burst=dice.choice((30, 100, 400)),
        network=dice.choice((0.0, 0.1, 0.5, 3.0)),
        disk=dice.choice((0.0, 0.0, 0.02, 0.5)),
        thought=dice.choice((0.0, 0.2, 2.0)),
        pace=dice.choice((0.05, 0.3)) if streams else 0.0,
        previews=streams and style != "plain",  # what grows must be known again, or edited
        slots=dice.choice((1, 2, 8)),
        disorder=dice.choice((0.0, 0.05, 0.3)),
        deaf=dice.choice((0, 0, 2, 3, 7)),
        trouble=dice.choice((0.0, 0.01, 0.1)),
        faults=dice.choice((0, 2, 5)),
        kills=dice.choice((0, 0, 1, 3)),
        upset=dice.choice((0.01, 0.05, 0.15)),
    )
