"""The stage of a terminal: one person, a pipe to write into, and a screen."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Mapping
from typing import Any, ClassVar, TextIO

from adapters.terminal import TerminalAdapter
from bot.app import App
from bot.settings import Settings
from tests.contract.stage import Stage

ALONE = "who sits at a terminal is alone there"
PRINTED = "what is printed or typed stays as it is"


class Terminal(Stage):
    """`heed chat`, read from a pipe and written to a file."""

    name = "terminal"
    lacks: ClassVar[Mapping[str, str]] = {
        "people": ALONE,
        "mentions": ALONE,
        "lines": "the Enter key sends",
        "buttons": "there is nothing to press",
        "edit": PRINTED,
        "delete": PRINTED,
        "unsaying": PRINTED,
        "react": "there is nothing to react with",
        "files": "a terminal sends lines of text",
        "language": "a terminal does not tell whose it is",
        "again": "a line is read once",
        "backlog": "nobody types into a program that does not run",
        "network": "there is none between the program and its terminal",
        "doubt": "nobody can ask a terminal what it has printed",
        "leaving": "who closes a terminal ends the program",
    }

    _reader: TextIO
    _screen: TextIO
    _keyboard: int

    @property
    def _paper(self) -> Any:
        return self.folder / "screen.txt"

    def _connect(self, app: App, settings: Settings) -> None:  # noqa: ARG002
        inner, self._keyboard = os.pipe()
        self._reader = os.fdopen(inner, encoding="utf-8")
        self._screen = self._paper.open("a", encoding="utf-8")
        app.add(TerminalAdapter(app.room, app.clock, self._reader, self._screen))

    def _up(self) -> bool:
        return True

    async def _hang_up(self) -> None:
        os.close(self._keyboard)

    async def _gone(self) -> None:
        for one in threading.enumerate():
            if one.name == "terminal":
                await asyncio.to_thread(one.join, 5)
        self._reader.close()
        self._screen.close()

    def user(self, person: str) -> str:
        assert person == "maya", ALONE
        return "you"

    async def write(self, person: str, text: str) -> None:
        assert person == "maya", ALONE
        data = text.encode("utf-8", "surrogatepass") + b"\n"
        await asyncio.to_thread(os.write, self._keyboard, data)

    async def seen(self, person: str = "maya") -> list[str]:
        assert person == "maya", ALONE
        paper = self._paper.read_text("utf-8")
        return [
            text.removesuffix("\n") for text in re.split(r"^heed> ", paper, flags=re.MULTILINE)[1:]
        ]
