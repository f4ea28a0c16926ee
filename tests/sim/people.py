"""Who lives in a world: people who write, and staff who may or may not be there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.errors import HeedError
from core.handoff import Action
from core.message import Author, ConversationKey, Message, MessageKind
from tests.sim.weather import CALM, CRISIS, FURY, PLEA, POISON

if TYPE_CHECKING:
    from tests.sim.world import World

STAFF = ("ana", "ben")
VERBS = (
    "claim", "claim", "claim", "reply", "reply", "reply", "release", "botback", "resolve",
    "resolve", "steal", "snooze", "wake", "notneeded", "note", "reopen", "priority", "send", "drop",
    "resend", "arrived", "watch",
)  # fmt: skip
COMMANDS = (
    "/claim", "/release", "/resolve", "/bot on", "/bot off", "/steal", "/snooze 30m", "/note aside",
    "/wake", "/notneeded", "/reopen",
)  # fmt: skip


class Person:
    """Somebody who writes to the bot, by themselves or in a group."""

    def __init__(self, world: World, number: int, *, group: bool) -> None:
        self.world = world
        self.user = f"5{number:03}"
        self.group = group
        self.chat = "800" if group else self.user
        self.dice = world.dice[f"person {number}"]
        self.last: Message | None = None

    def message(self, text: str, kind: MessageKind = "said", **more: Any) -> Message:
        number = next(self.world.platform.numbers)
        platform, bot = self.world.weather.account
        values: dict[str, Any] = {"message_id": str(number), "order": number, **more}
        return Message(
            key=ConversationKey(platform=platform, bot=bot, chat=self.chat, user=self.user),
            author=Author(id=self.user, name=f"P{self.user}", language="en"),
            sent_at=self.world.clock(),
            kind=kind,
            text=text,
            private=not self.group,
            **values,
        )

    def say(self, text: str) -> None:
        """Say something; whoever writes can be written to again."""
        self.world.platform.blocked.discard(self.chat)
        self.last = self.message(text)
        self.world.say(self.last)

    def burst(self) -> int:
        """Say one thing, or many at once; return how many."""
        dice, weather = self.dice, self.world.weather
        size = 1 if dice.random() < 0.3 else dice.randint(1, weather.burst)
        for _ in range(size):
            self.say(dice.choice(CALM))
        if dice.random() < weather.upset:
            self.say(dice.choice((FURY, FURY, FURY, PLEA, CRISIS, POISON)))
        if dice.random() < weather.upset:
            self._other()
        return size

    def _other(self) -> None:
        """Do something else than saying something."""
        last, dice = self.last, self.dice
        what = dice.choice(("edit", "edit", "delete", "delete", "human", "block", "forget", "help"))
        platform = self.world.platform
        if what == "edit" and last is not None:
            event = str(next(platform.numbers))
            of = {"message_id": last.message_id, "order": last.order}
            platform.tell(self.message(dice.choice(CALM), "edited", event_id=event, **of))
        elif what == "delete" and last is not None and self.world.weather.style == "nonce":
            self.world.deleted.add(last.message_id)
            event = str(next(platform.numbers))
            of = {"message_id": last.message_id, "order": last.order}
            platform.tell(self.message("", "deleted", event_id=event, **of))
        elif what == "block" and not self.group:
            platform.blocked.add(self.chat)
        elif what == "forget":
            self._command("forget", "yes")
        else:
            self._command("human" if what == "human" else "help", "")

    def _command(self, name: str, argument: str) -> None:
        line = f"/{name} {argument}".strip()
        said = self.message(line, "command", command=name, argument=argument)
        self.world.platform.blocked.discard(self.chat)
        self.world.platform.tell(said)


class Colleague:
    """One of the staff, who acts at random on whatever case there is."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.dice = world.dice[f"staff {name}"]

    async def work(self) -> None:
        while True:
            await asyncio.sleep(self.dice.expovariate(1 / 30.0))
            await self.act()

    async def act(self) -> None:
        """Do one thing to one case, which may be refused."""
        world, dice = self.world, self.dice
        cases = world.rows(
            "select id, state from cases where state != 'resolved' order by id desc limit 8"
        )
        if not cases:
            cases = world.rows("select id, state from cases order by id desc limit 2")
        if not cases or world.life is None or world.life.over:
            return
        found = dice.choice(cases)
        if world.weather.staffed and dice.random() < 0.5:
            self._write(found["id"])
            return
        verb: Any = dice.choice(VERBS)
        text = {"reply": "We are looking into it.", "snooze": "30m", "note": "n", "priority": "1"}
        world.count("staff actions")
        life = world.life
        with _refused():
            await life.app.handoff.act(
                Action(
                    case_id=found["id"],
                    verb=verb,
                    who=self.name,
                    by=f"web:{self.name}",
                    text=text.get(verb, ""),
                    confirm=dice.random() < 0.5,
                )
            )

    def _write(self, case_id: int) -> None:
        """Write in the case's own thread."""
        world, dice = self.world, self.dice
        threads = world.rows("select thread from staff_thread where case_id = ?", case_id)
        thread = next((row["thread"] for row in threads if row["thread"]), "")
        if not thread:
            return
        platform, bot = world.weather.account
        words = "This is on its way." if dice.random() < 0.6 else dice.choice(COMMANDS)
        number = next(world.platform.numbers)
        world.count("staff actions")
        world.platform.tell(
            Message(
                key=ConversationKey(
                    platform=platform,
                    bot=bot,
                    chat=world.weather.desk,
                    thread=thread,
                    user=self.name,
                ),
                message_id=str(number),
                order=number,
                author=Author(id=self.name, name=self.name.title()),
                sent_at=world.clock(),
                text=words,
                private=False,
                own_thread=True,
            )
        )


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except HeedError:
        return
