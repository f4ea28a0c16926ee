"""Two platforms with six people on them, and a hand on the bot's process."""

from __future__ import annotations

import fnmatch
import os
import signal
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import Call
from tests.fakes.telegram import TelegramFake

FURY = "you charged me twice AGAIN and nobody answers, I am furious, this is the worst service ever"

# (who, what): "|" parts a burst. 24 messages of 6 people; the first six make them known.
SCENE: tuple[tuple[str, str], ...] = (
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
)
PEOPLE = tuple(dict.fromkeys(who for who, _ in SCENE))
GROUPED = frozenset({"fay"})  # speaks in a group, by mention


@dataclass
class Child:
    """The Heed of the moment, if there is one."""

    pid: int = 0

    def signal(self, number: int) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


@dataclass(frozen=True)
class Line:
    """One message of the bot's, as it reads now."""

    id: str
    text: str


@dataclass
class FakeTrap:
    """Kills the bot from the platform's side: before or after a call is carried out."""

    where: str  # a method's name, or "METHOD /path" with *
    after: bool
    hit: int
    left: int = 0

    def set(self) -> None:
        self.left = self.hit

    def sprung(self, where: str, *, after: bool) -> bool:
        if after is not self.after or self.left <= 0 or not fnmatch.fnmatch(where, self.where):
            return False
        self.left -= 1
        return self.left == 0


class TelegramStage(TelegramFake):
    """Telegram with the six people on it, and a hand on the bot's process."""

    introduces = False  # whoever writes while the bot is away is found by the next poll
    desk = -1009
    town = -1001

    def __init__(self) -> None:
        super().__init__()
        self.child, self.trap = Child(), FakeTrap("", after=False, hit=0)
        self.ids = {who: number for number, who in enumerate(PEOPLE, 101)}
        self.group(self.desk, title="Desk", forum=True)
        self.group(self.town, title="Town")

    def settings(self) -> dict[str, Any]:
        address = {"token": self.token, "api_base": self.api_base, "file_base": self.file_base}
        return {"telegram": address, "desk": {"staff": f"telegram:{self.desk}"}}

    def chat(self, who: str) -> str:
        return str(self.town if who in GROUPED else self.ids[who])

    def speak(self, who: str, text: str) -> None:
        words = f"@{self.username} {text}" if who in GROUPED else text
        self.say(int(self.chat(who)), self.ids[who], words, name=who)

    def lines(self, chat: str) -> list[Line]:
        seen = self.seen(int(chat))
        return [Line(str(one.message_id), one.text) for one in seen if one.who == "bot"]

    def desk_lines(self) -> list[Line]:
        return self.lines(str(self.desk))

    def topics(self) -> int:
        return len(self.chats[self.desk].topics)

    def taken(self) -> bool:
        return not self.updates

    async def _answer(
        self, request: web.Request, handler: Any, params: dict[str, Any], fault: Any
    ) -> web.StreamResponse:
        where = request.match_info["method"]
        if where == "getUpdates" and int(params.get("offset") or 0) > 0:
            where = "confirm"  # a poll that waits, hence killed as soon as it has confirmed
            if self.trap.sprung(where, after=True):
                self.updates = [u for u in self.updates if u["update_id"] >= int(params["offset"])]
                self.child.kill()
        if self.trap.sprung(where, after=False):
            self.child.kill()
            return web.Response(status=500)
        answer = await super()._answer(request, handler, params, fault)
        if self.trap.sprung(where, after=True):
            self.child.kill()
        return answer


class DiscordStage(DiscordFake):
    """Discord with the six people on it, and a hand on the bot's process."""

    introduces = True  # of a direct channel never used before nobody tells a bot that was away

    def __init__(self) -> None:
        super().__init__()
        self.child, self.trap = Child(), FakeTrap("", after=False, hit=0)
        self.town = self.add_channel("town")

    def settings(self) -> dict[str, Any]:
        address = {"api_base": self.api_base, "gateway_url": self.gateway_url}
        return {
            "discord": {"token": self.token, **address},
            "desk": {"staff": f"discord:{self.desk}"},
        }

    def chat(self, who: str) -> str:
        return self.town if who in GROUPED else self.dm(who)

    def speak(self, who: str, text: str) -> None:
        if who in GROUPED:
            self.say(who, text, channel=self.town, mention=True)
        else:
            self.say(who, text)

    def lines(self, chat: str) -> list[Line]:
        own = [one for one in self.messages(chat) if one["author"]["id"] == self.bot["id"]]
        return [Line(str(one["id"]), one["content"]) for one in own]

    def desk_lines(self) -> list[Line]:
        places = [self.desk, *(str(one["id"]) for one in self.threads(self.desk))]
        return [line for place in places for line in self.lines(place)]

    def topics(self) -> int:
        return len(self.threads(self.desk))

    def taken(self) -> bool:
        return self.connected > 0

    def _answer(self, request: web.Request, call: Call) -> tuple[int, Any]:
        where = f"{call.method} {call.path}"
        if self.trap.sprung(where, after=False):
            self.child.kill()
            return 500, {"message": "killed", "code": 0}
        answer = super()._answer(request, call)
        if self.trap.sprung(where, after=True):
            self.child.kill()
        return answer


Stage = TelegramStage | DiscordStage


@dataclass
class Talk:
    """What has been said so far: numbers by person, in order."""

    said: dict[str, list[str]] = field(default_factory=lambda: {who: [] for who in PEOPLE})
    count: int = 0
    staff: list[str] = field(default_factory=list)  # what staff said to bob
    over: bool = False

    @property
    def all(self) -> int:
        return self.count + len(self.staff)

    def say(self, stage: Stage, who: str, text: str) -> None:
        for part in text.split("|"):
            self.count += 1
            number = f"k{self.count:02d}"
            self.said[who].append(number)
            stage.speak(who, f"{part} {number}")

    def say_as_staff(self, stage: TelegramStage, topic: int, text: str) -> None:
        number = f"k9{len(self.staff) + 1:02d}"
        self.staff.append(number)
        stage.say(stage.desk, 7, f"{text} {number}", thread=topic, name="Sam")
