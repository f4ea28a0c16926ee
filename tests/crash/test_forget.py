"""Killed while somebody is being forgotten: they are forgotten all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import Zygote, until
from tests.crash.home import Home
from tests.crash.stages import FakeTrap, TelegramStage

SECRET = "zanzibar"


def on_disk(folder: Path) -> bool:
    """Say whether the secret stands anywhere in the database's files."""
    found = (path for path in folder.glob("heed.db*") if path.is_file())  # and no socket
    return any(SECRET.encode() in path.read_bytes() for path in found)


@pytest.mark.parametrize(
    ("call", "after"),
    [("sendMessage", False), ("sendMessage", True), ("editMessageText", False)],
)
async def test_killed_while_forgetting_nothing_is_left(
    zygote: Zygote,
    tmp_path: Path,
    call: str,
    after: bool,  # noqa: FBT001
) -> None:
    async with TelegramStage() as stage:
        home = Home(zygote, tmp_path, **stage.settings())
        async with home.life(stage.child):
            stage.speak("ann", f"my word is {SECRET} k01")
            stage.speak("ann", f"{SECRET}, can I talk to a human please k02")
            assert await home.idle(2)
            assert any(SECRET in line.text for line in stage.desk_lines())
            assert on_disk(tmp_path)
            stage.trap = FakeTrap(call, after=after, hit=1, left=1)
            stage.speak("ann", "/forget yes")
            assert await until(home.ended.done)
        async with home.life(stage.child):
            assert await until(home.database.settled)
            nobody = "select 1 from conversation"
            assert await until(lambda: not home.database.rows(nobody))
            assert await until(lambda: not on_disk(tmp_path))
        assert not any(SECRET in line.text for line in stage.desk_lines())
        told = [text for text in stage.texts(stage.ids["ann"]) if text.startswith("Done")]
        assert len(told) <= 1
        for table in ("inbox", "history", "decision", "poison"):
            assert home.database.number(f"select count(*) from {table}") == 0  # noqa: S608


@pytest.mark.parametrize("point", ["before rights.erase", "after rights.erase"])
async def test_killed_around_the_very_transaction(
    zygote: Zygote, tmp_path: Path, point: str
) -> None:
    async with TelegramStage() as stage:
        home = Home(zygote, tmp_path, **stage.settings())
        async with home.life(stage.child, point=point):
            stage.speak("ann", f"my word is {SECRET} k01")
            assert await home.idle(1)
            stage.speak("ann", "/forget yes")
            assert await until(home.ended.done)
        async with home.life(stage.child):
            assert await until(home.database.settled)
            assert await until(lambda: not on_disk(tmp_path))
        told = [text for text in stage.texts(stage.ids["ann"]) if text.startswith("Done")]
        assert len(told) <= 1


async def test_a_repeat_of_forget_after_a_crash_is_known_as_a_repeat(
    zygote: Zygote, tmp_path: Path
) -> None:
    """Killed after /forget was stored and before Telegram was told: it comes a second time."""
    async with TelegramStage() as stage:
        home = Home(zygote, tmp_path, **stage.settings())
        async with home.life(stage.child, point="after intake commit", hit=2):
            stage.speak("ann", f"my word is {SECRET} k01")
            assert await home.idle(1)
            stage.speak("ann", "/forget yes")
            assert await until(home.ended.done)
        async with home.life(stage.child):
            assert await until(home.database.settled)
            assert await until(lambda: not on_disk(tmp_path))
        told = [text for text in stage.texts(stage.ids["ann"]) if text.startswith("Done")]
        assert told == ["Done: 2 messages and 0 cases are erased."]
