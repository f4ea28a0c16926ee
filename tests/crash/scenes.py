"""What is said while Heed is killed: who says what, and what staff do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.crash.stages import Stage

FURY = "you charged me twice AGAIN and nobody answers, I am furious, this is the worst service ever"
GROUPED = frozenset({"fay"})  # speaks in a group, by mention
EVERYBODY = ("ann", "bob", "cat", "dan", "eve", "fay")


@dataclass(frozen=True)
class Scene:
    """Lines of people, "|" parts a burst; the first `known` make everybody known.

    `moves` come after the lines and are made one by one: "claim", "botback" and "resolve" press
    that button of bob's case, "staff: ..." and "bob: ..." say something, "staff edits: ..." and
    "bob edits: ..." change what the same one said last. With moves the lines are no part of what
    is disturbed.
    """

    name: str
    lines: tuple[tuple[str, str], ...]
    known: int
    cases: int
    moves: tuple[str, ...] = ()

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(who for who, _ in self.lines))

    def __len__(self) -> int:
        """Return how many messages the lines are."""
        return sum(text.count("|") + 1 for _, text in self.lines)


FULL = Scene(
    "full",
    (
        ("ann", "hello there"),
        ("bob", "good morning"),
        ("cat", "hi, is anybody in?"),
        ("dan", "你好,我想问一下我的订单"),
        ("eve", "hey"),
        ("fay", "hello from the group"),
        ("ann", "where do I find my invoices?"),
        ("bob", FURY),
        ("eve", "I have a question|it is about the blue one|from last week|can you see it?"),
        ("cat", "can I talk to a human please"),
        ("dan", "订单还没有到 📦"),
        ("fay", "my parcel is blue|and it has a bow 🙂"),
        ("bob", "hello? is anybody there?"),
        ("ann", "and the older ones?"),
        ("dan", "谢谢 👍"),
        ("cat", "are you a person?"),
        ("fay", "thanks"),
        ("bob", "I am still waiting"),
        ("ann", "thank you"),
        ("eve", "ok, bye"),
    ),
    known=6,
    cases=2,
)
SHORT = Scene(
    "short",
    (
        ("ann", "hello there"),
        ("bob", "good morning"),
        ("fay", "hello from the group"),
        ("ann", "where do I find my invoices?"),
        ("bob", FURY),
        ("fay", "my parcel is blue|and it has a bow 🙂"),
        ("bob", "hello? is anybody there?"),
        ("ann", "thank you"),
    ),
    known=3,
    cases=1,
)
DESK = Scene(
    "desk",
    (("bob", "good morning"), ("bob", FURY)),
    known=1,
    cases=1,
    moves=(
        "claim",
        "staff: Hello Bob, this is Sam.",
        "bob: thank you, Sam",
        "staff edits: Hello dear Bob, this is Sam.",
        "bob edits: thank you so much, Sam",
        "botback",
        "bob: where do I find my invoices?",
        "claim",
        "resolve",
    ),
)


@dataclass
class Talk:
    """What has been said so far: numbers by person, in order."""

    scene: Scene
    said: dict[str, list[str]] = field(default_factory=dict)
    count: int = 0
    staff: list[str] = field(default_factory=list)  # what staff said to bob
    over: bool = False
    last: dict[str, str] = field(default_factory=dict)  # who -> the message they wrote last

    def __post_init__(self) -> None:
        self.said = {who: [] for who in self.scene.people}

    @property
    def all(self) -> int:
        return self.count + len(self.staff)

    def say(self, stage: Stage, who: str, text: str) -> None:
        for part in text.split("|"):
            self.count += 1
            number = f"k{self.count:02d}"
            self.said[who].append(number)
            self.last[who] = stage.speak(who, f"{part} {number}")

    def say_as_staff(self, stage: Stage, text: str) -> None:
        number = f"k9{len(self.staff) + 1:02d}"
        self.staff.append(number)
        self.last["staff"] = stage.answer(f"{text} {number}")

    def edit(self, stage: Stage, who: str, text: str) -> str:
        """Let somebody change what they said last; return how it reads now."""
        number = (self.staff if who == "staff" else self.said[who])[-1]
        changed = f"{text} {number}"
        stage.change(who, self.last[who], changed)
        return changed


def order_of(people: Sequence[str]) -> dict[str, int]:
    """Return the number by which each person is known on a platform."""
    return {who: number for number, who in enumerate(people, 101)}
