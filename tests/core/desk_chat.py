"""What tests of the desk share: a case that is laid out, and staff who write about it."""

from __future__ import annotations

from typing import Any

from core.handoff import Action
from core.message import Author, ConversationKey, Message, Post
from core.store import desk, record
from core.store.places import REDRAW
from tests.core.ground import DESK, Ground

STAFF = ("staff", 1)
CARD = ("card", 1)
BEN = "Ben · Support\n"  # over the first of a run


def lay_out(ground: Ground) -> int:
    """Open a case and let its thread, card and context arrive."""
    case_id = ground.open_case()
    ground.send_all(STAFF, thread="31")
    ground.send_all()
    return case_id


async def act(
    ground: Ground, verb: str, who: str = "Ben", case_id: int = 1, **more: Any
) -> record.Changed:
    action = Action(case_id=case_id, verb=verb, who=who, by=f"web:{who}", **more)
    return await ground.handoff.act(action)


def owner(ground: Ground) -> tuple[str, str, str]:
    return (ground.conversation().owner, ground.case().state, ground.case().claimed_by)


def to_person(ground: Ground) -> list[str]:
    return [post.text for post in ground.send_all()]


def to_staff(ground: Ground, case_id: int = 1) -> list[Post]:
    """Send what a case's thread has, but for its icon."""
    posts = ground.send_all(("staff", case_id), thread=f"{30 + case_id}")
    return [post for post in posts if post.kind != "thread"]


def lines(ground: Ground, case_id: int = 1) -> list[str]:
    """Send what a case's thread has, and return what staff read there."""
    return [post.text for post in to_staff(ground, case_id) if post.kind in ("relay", "ping")]


def card_of(ground: Ground) -> desk.Card:
    """The card as it would be drawn now."""
    return ground.facts().draw(ground.view(), "telegram")


def drawn(ground: Ground) -> Post:
    """Let the card be drawn again, and return the post that did it."""
    ground.now += REDRAW
    [post] = ground.send_all(CARD)
    return post


def from_staff(
    text: str = "",
    *,
    number: int = 900,
    who: str = "Ben",
    thread: str = "31",
    platform: str = "telegram",
    **more: Any,
) -> Message:
    key = ConversationKey(
        platform=platform, bot="heed", chat=DESK.chat, thread=thread, user=who.lower()
    )
    return Message(
        key=key,
        message_id=str(number),
        author=Author(id=who.lower(), name=who),
        sent_at=1.0,
        text=text,
        order=number,
        private=False,
        **more,
    )


def pressed(data: str, *, number: int = 900, who: str = "Ben") -> Message:
    return from_staff(number=number, who=who, kind="pressed", data=data, event_id=f"p{number}")


def command(line: str, *, number: int = 900, who: str = "Ben") -> Message:
    name, _, rest = line[1:].partition(" ")
    return from_staff(line, number=number, who=who, kind="command", command=name, argument=rest)
