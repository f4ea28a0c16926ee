"""Two platforms with six people and one of staff on them, and a hand on the bot's process."""

from __future__ import annotations

import fnmatch
import os
import signal
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.crash.scenes import EVERYBODY, GROUPED, order_of
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import Call
from tests.fakes.telegram import TelegramFake

SAM = 7  # of staff


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

    where: str = ""  # a method's name, or "METHOD /path" with *
    after: bool = False
    hit: int = 0
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
    certain = False  # a plain send that broke may or may not have arrived
    loses = False  # what happens while the bot is away is told afterwards
    desk = -1009
    town = -1001

    def __init__(self) -> None:
        super().__init__()
        self.child, self.trap = Child(), FakeTrap()
        self.made: list[str] | None = None  # the calls as they come, where somebody asks
        self.ids = order_of(EVERYBODY)
        self.group(self.desk, title="Desk", forum=True)
        self.group(self.town, title="Town")

    def settings(self) -> dict[str, Any]:
        address = {"token": self.token, "api_base": self.api_base, "file_base": self.file_base}
        return {"telegram": address, "desk": {"staff": f"telegram:{self.desk}"}}

    def chat(self, who: str) -> str:
        return str(self.town if who in GROUPED else self.ids[who])

    def speak(self, who: str, text: str) -> str:
        words = f"@{self.username} {text}" if who in GROUPED else text
        return str(self.say(int(self.chat(who)), self.ids[who], words, name=who))

    def answer(self, text: str) -> str:
        """Let staff write in the topic of bob's case."""
        named = self.chats[self.desk].topics
        topic = max(number for number, one in named.items() if "bob" in one["name"])
        return str(self.say(self.desk, SAM, text, thread=topic, name="Sam"))

    def change(self, who: str, message_id: str, text: str) -> None:
        chat = self.desk if who == "staff" else int(self.chat(who))
        self.edit(chat, int(message_id), text)

    def press_on_card(self, code: str) -> bool:
        """Press a button of bob's card; False: there is no such button now."""
        for line in reversed(self.seen(self.desk)):
            for _, data in line.buttons:
                if line.who == "bot" and f":{code}:" in data:
                    self.press(self.desk, line.message_id, data, user=SAM)
                    return True
        return False

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
        if self.made is not None:
            self.made.append(where)
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
    certain = True  # by a nonce
    loses = True  # of a press or an edit while the bot is away nobody tells it

    def __init__(self) -> None:
        super().__init__(content_intent=True)
        self.child, self.trap = Child(), FakeTrap()
        self.made: list[str] | None = None  # the calls as they come, where somebody asks
        self.town = self.add_channel("town")

    def settings(self) -> dict[str, Any]:
        address = {"api_base": self.api_base, "gateway_url": self.gateway_url}
        return {
            "discord": {"token": self.token, "mode": "watch", **address},
            "desk": {"staff": f"discord:{self.desk}", "auto_reply": "on"},
        }

    def chat(self, who: str) -> str:
        return self.town if who in GROUPED else self.dm(who)

    def speak(self, who: str, text: str) -> str:
        if who in GROUPED:
            return self.say(who, text, channel=self.town, mention=True)
        return self.say(who, text)

    def _thread(self) -> str:
        named = [one for one in self.threads(self.desk) if "bob" in one["name"]]
        return str(named[-1]["id"])

    def answer(self, text: str) -> str:
        """Let staff write in the thread of bob's case."""
        return self.say("sam", text, channel=self._thread())

    def change(self, who: str, message_id: str, text: str) -> None:
        self.edit(self._thread() if who == "staff" else self.dm(who), message_id, text)

    def press_on_card(self, code: str) -> bool:
        """Press a button of bob's card; False: there is no such button now."""
        for place in (self._thread(), self.desk):
            for message in self.messages(place):
                for row in message.get("components") or ():
                    for button in row["components"]:
                        if f":{code}:" in button.get("custom_id", ""):
                            self.press("sam", place, message["id"], button["custom_id"])
                            return True
        return False

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
        if self.made is not None:
            self.made.append(where)
        if self.trap.sprung(where, after=False):
            self.child.kill()
            return 500, {"message": "killed", "code": 0}
        answer = super()._answer(request, call)
        if self.trap.sprung(where, after=True):
            self.child.kill()
        return answer


Stage = TelegramStage | DiscordStage
