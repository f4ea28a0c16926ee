"""The stage of Telegram: the Bot API's own server, played by ours, and the real library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bot.app import App
from bot.settings import Settings, Telegram as Section
from tests.contract.stage import PICTURE, Stage, fixed
from tests.fakes.telegram_people import Seen
from tests.patience import until
from tests.walk.platforms import BEN, LI, MAYA, MENUS, Town

IDS = {"maya": MAYA, "ben": BEN, "li": LI}


class Telegram(Stage):
    """A direct chat with the bot on Telegram."""

    name = "telegram"
    lacks: ClassVar[Mapping[str, str]] = {
        "delete": "Telegram tells no bot what people delete",
    }
    longest = 4096

    async def _before(self) -> None:
        self.fake = Town(clock=self.clock)
        self.fake.commands = MENUS
        await self.fake.back()

    async def _after(self) -> None:
        await self.fake.gone()

    def _own_sections(self) -> dict[str, Any]:
        fake = self.fake
        section = Section(token=fake.token, api_base=fake.api_base, file_base=fake.file_base)
        return {"telegram": section}

    def _connect(self, app: App, settings: Settings) -> None:  # noqa: ARG002
        self._polls = len(self.fake.called("getUpdates"))
        app.connect()

    def _up(self) -> bool:
        return len(self.fake.called("getUpdates")) > self._polls

    async def later(self, seconds: float) -> None:
        self.clock.passed += seconds  # a chat that Telegram asked to wait has waited
        await super().later(seconds)

    def user(self, person: str) -> str:
        return str(IDS[person])

    async def write(self, person: str, text: str) -> None:
        self.fake.say(IDS[person], IDS[person], text)

    def _lines(self, person: str) -> list[Seen]:
        return [line for line in self.fake.seen(IDS[person]) if line.who == "bot"]

    async def seen(self, person: str = "maya") -> list[str]:
        return [line.text for line in self._lines(person) if line.text]

    async def code(self, person: str = "maya") -> list[str]:
        found = []
        for message in self.fake.chats[IDS[person]].messages.values():
            units = message.get("text", "").encode("utf-16-le")
            for one in message.get("entities", ()):
                begin = 2 * one["offset"]
                if one["type"] == "pre":
                    block = units[begin : begin + 2 * one["length"]]
                    found.append(block.decode("utf-16-le").removesuffix("\n"))
        return found

    async def press(self, person: str, name: str, lang: str = "en") -> list[str]:
        label = fixed(name, lang)
        before = len(await self.seen(person))
        shown = [line for line in self._lines(person) if label in dict(line.buttons)]
        assert shown, [(line.text, line.buttons) for line in self._lines(person)]
        who, line = IDS[person], shown[-1]
        callback = self.fake.press(who, line.message_id, dict(line.buttons)[label], who)
        await until(lambda: self.fake.callbacks[callback] is not None)
        await self.settle()
        return (await self.seen(person))[before:]

    async def edit(self, person: str, message: str, text: str) -> None:
        await self.does(self._now(self.fake.edit, IDS[person], int(message), text))

    async def react(self, person: str, emoji: str) -> None:
        newest = self._lines(person)[-1].message_id
        await self.does(self._now(self.fake.react, IDS[person], IDS[person], newest, emoji))

    @staticmethod
    def _now(act: Any, *values: Any) -> Any:
        async def done() -> None:
            act(*values)

        return done

    async def send(self, person: str, kind: str, caption: str = "") -> None:
        who, fake = IDS[person], self.fake
        if kind == "photo":
            await self.does(self._now(fake.send_photo, who, who, caption, PICTURE.content))
        elif kind == "file":
            await self.does(self._now(fake.send_file, who, who, "a.pdf", b"%PDF", caption))
        else:
            await self.does(self._now(getattr(fake, kind), who, who))
        await self.settle()

    async def deliver_again(self, person: str, message: str) -> None:
        self.fake.push("message", self.fake.chats[IDS[person]].messages[int(message)])

    async def repeat(self, person: str, text: str) -> None:
        """Do nothing: what was not confirmed is delivered again."""

    async def called(self, person: str) -> list[str]:
        messages = self.fake.chats[IDS[person]].messages.values()
        own = [one for one in messages if one["from"]["id"] == self.fake.bot_id]
        kinds = [entity["type"] for one in own for entity in one.get("entities", ())]
        return [kind for kind in kinds if kind in {"mention", "text_mention"}]

    async def leave(self, person: str, *, back: bool = False) -> None:
        change = self.fake.unblock if back else self.fake.block
        await self.does(self._now(change, IDS[person]))

    async def down(self) -> None:
        await self.fake.gone()

    async def up(self) -> None:
        await self.fake.back()

    def stumble(self, kind: str) -> None:
        if kind == "reset":
            for method in ("sendMessage", "editMessageText"):
                self.fake.fail(method, "reset", apply=True)
        else:
            self.fake.fail("sendMessage", "429", retry_after=30)
