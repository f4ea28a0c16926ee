"""The stage of Discord: its web side and gateway, played by ours, and the real library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from bot.app import App
from bot.settings import Discord as Section, Settings
from tests.contract.stage import PICTURE, Stage, fixed
from tests.fakes.discord import DiscordFake
from tests.patience import until
from tests.walk.platforms import buttons

_CODE = re.compile(r"((?<!\\)```.*?```|(?<![\\`])`[^`\n]+`)", re.DOTALL)
_UNSEEN = "\u2060"  # a joiner that parts what would be read together


class Discord(Stage):
    """A direct chat with the bot on Discord."""

    name = "discord"
    lacks: ClassVar[Mapping[str, str]] = {
        "language": "Discord tells it of a command, not of a message",
        "leaving": "nobody is told when a person closes their messages",
    }
    longest = 4000

    async def _before(self) -> None:
        self.fake = DiscordFake(clock=self.clock)
        await self.fake.__aenter__()

    async def _after(self) -> None:
        await self.fake.__aexit__()

    def _own_sections(self) -> dict[str, Any]:
        fake = self.fake
        section = Section(token=fake.token, api_base=fake.api_base, gateway_url=fake.gateway_url)
        return {"discord": section}

    def _connect(self, app: App, settings: Settings) -> None:  # noqa: ARG002
        app.connect()
        [self._adapter] = app.adapters.values()

    def _up(self) -> bool:
        return self._adapter.health().state == "ok"

    def user(self, person: str) -> str:
        return self.fake.person(person)

    async def write(self, person: str, text: str) -> None:
        self.fake.say(person, text)

    def _lines(self, person: str) -> list[dict[str, Any]]:
        """Return what a person sees of the bot, what it showed to them alone among it."""
        own = [
            one
            for one in self.fake.messages(self.fake.dm(person))
            if one["author"]["username"] == "Heed"
        ]
        return sorted([*own, *self.fake.whispered(person)], key=lambda one: int(one["id"]))

    async def seen(self, person: str = "maya") -> list[str]:
        return [_read(one["content"]) for one in self._lines(person) if one["content"]]

    async def command(self, person: str, name: str, argument: str = "") -> list[str]:
        before = len(await self.seen(person))
        options = {"text": argument} if argument else {}
        used = self.fake.slash(person, name, **options)
        return await self._after_all(person, used, before)

    async def _after_all(self, person: str, used: Any, before: int) -> list[str]:
        await until(lambda: used.answer is not None)
        await self.settle()
        return (await self.seen(person))[before:]

    async def press(self, person: str, name: str, lang: str = "en") -> list[str]:
        label = fixed(name, lang)
        before = len(await self.seen(person))
        shown = [one for one in self._lines(person) if label in buttons(one)]
        assert shown, [(one["content"], buttons(one)) for one in self._lines(person)]
        data = buttons(shown[-1])[label]
        used = self.fake.press(person, self.fake.dm(person), shown[-1]["id"], data)
        return await self._after_all(person, used, before)

    async def edit(self, person: str, message: str, text: str) -> None:
        await self.does(self._now(self.fake.edit, self.fake.dm(person), message, text))

    async def delete(self, person: str, message: str) -> None:
        await self.does(self._now(self.fake.delete, self.fake.dm(person), message))

    async def react(self, person: str, emoji: str) -> None:
        newest = self._lines(person)[-1]["id"]
        await self.does(self._now(self.fake.react, person, self.fake.dm(person), newest, emoji))

    @staticmethod
    def _now(act: Any, *values: Any, **more: Any) -> Any:
        async def done() -> None:
            act(*values, **more)

        return done

    async def send(self, person: str, kind: str, caption: str = "") -> None:
        names = {"photo": PICTURE.name, "file": "a.pdf", "voice": "voice-message.ogg"}
        if kind == "sticker":
            sent = self._now(self.fake.say, person, caption, sticker=("wave", 1))
        else:
            files = ((names[kind], PICTURE.content),)
            sent = self._now(self.fake.say, person, caption, files=files)
        await self.does(sent)
        await self.settle()

    async def deliver_again(self, person: str, message: str) -> None:
        again = next(
            one for one in self.fake.messages(self.fake.dm(person)) if one["id"] == message
        )
        self.fake._tell_message("MESSAGE_CREATE", again)

    async def repeat(self, person: str, text: str) -> None:
        """Do nothing: what nobody took in is found in the history."""

    async def called(self, person: str) -> list[str]:
        own = self._lines(person)
        people = [each["username"] for one in own for each in one["mentions"]]
        return people + ["everyone" for one in own if one["mention_everyone"]]

    async def down(self) -> None:
        self.fake.fail("POST /channels/*/messages", "503", count=10_000)

    async def up(self) -> None:
        self.fake.faults.clear()

    def stumble(self, kind: str) -> None:
        more = {"apply": True} if kind == "reset" else {"retry_after": 0.1}  # the library waits
        self.fake.fail("POST /channels/*/messages", kind, **more)  # type: ignore[arg-type]


def _read(content: str) -> str:
    """Return a text as Discord draws it: outside of code a backslash only guards what follows."""
    parts = _CODE.split(content.replace(_UNSEEN, ""))
    return "".join(
        part if number % 2 else re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", part)
        for number, part in enumerate(parts)
    )
