from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Sequence
from contextlib import suppress

import pytest

from adapters.terminal import TerminalAdapter
from core.errors import NoThread, StoreBusy, Unreachable
from core.message import Arrival, Message, Place, Post
from core.ports import Adapter
from tests.patience import PATIENCE

PLACE = Place(platform="terminal", bot="heed", chat="terminal")


class Doormat:
    """A door that keeps what came in."""

    def __init__(self, *, full: bool = False) -> None:
        self.messages: list[Message] = []
        self.full = full
        self.came = asyncio.Event()

    async def take_in(
        self, arrivals: Sequence[Arrival], *, cursor: tuple[str, str] | None = None
    ) -> list[int | None]:
        assert cursor is None
        if self.full:
            raise StoreBusy("full")
        self.messages += [a.message for a in arrivals if a.message is not None]
        self.came.set()
        return list(range(len(arrivals)))

    async def read_cursor(self, name: str) -> str | None:
        raise AssertionError(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        raise AssertionError(prefix)


async def _nothing(_message_id: str) -> None:
    return None


def _post(text: str = "Hello", **values: object) -> Post:
    return Post(**{"id": 1, "kind": "reply", "place": PLACE, "text": text, "nonce": "n", **values})


async def _read(text: str, door: Doormat, now: float = 1000.0) -> tuple[TerminalAdapter, str]:
    writer = io.StringIO()
    adapter = TerminalAdapter(door, lambda: now, io.StringIO(text), writer)
    task = asyncio.create_task(adapter.run())
    await asyncio.wait_for(adapter.ended.wait(), PATIENCE)
    assert not task.done()  # an adapter never returns by itself
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return adapter, writer.getvalue()


async def test_every_line_becomes_one_message_in_order() -> None:
    door = Doormat()
    await _read("hello there\n\n  你好 \nlast without newline", door)
    assert [m.text for m in door.messages] == ["hello there", "你好", "last without newline"]
    assert [m.order for m in door.messages] == sorted({m.order for m in door.messages})
    assert all(m.private and m.addressed and m.kind == "said" for m in door.messages)
    assert {m.key.place for m in door.messages} == {PLACE}


async def test_a_slash_makes_a_command_and_a_path_does_not() -> None:
    door = Doormat()
    await _read("/Human now please\n/etc/hosts is gone\n/\n", door)
    command, path, slash = door.messages
    assert (command.kind, command.command, command.argument) == ("command", "human", "now please")
    assert (path.kind, path.command) == ("said", "")
    assert slash.kind == "said"


async def test_ids_are_never_used_again_after_a_restart() -> None:
    door = Doormat()
    await _read("one\ntwo\nthree\n", door, now=1000.0)
    await _read("four\n", door, now=1000.001)
    assert len({m.message_id for m in door.messages}) == 4


async def test_a_line_that_could_not_be_kept_is_told() -> None:
    door = Doormat(full=True)
    _, shown = await _read("hello\n", door)
    assert "send it again" in shown


async def test_a_line_is_taken_in_while_the_next_is_waited_for() -> None:
    door = Doormat()
    inner, outer = os.pipe()
    with os.fdopen(inner, encoding="utf-8") as reader, os.fdopen(outer, "w") as person:
        adapter = TerminalAdapter(door, lambda: 1.0, reader, io.StringIO())
        task = asyncio.create_task(adapter.run())
        person.write("first\n")
        person.flush()
        await asyncio.wait_for(door.came.wait(), PATIENCE)
        assert not adapter.ended.is_set()
        person.close()
        await asyncio.wait_for(adapter.ended.wait(), PATIENCE)
        task.cancel()


async def test_a_post_is_printed_and_a_correction_says_so() -> None:
    writer = io.StringIO()
    adapter = TerminalAdapter(Doormat(), lambda: 1.0, io.StringIO(), writer)
    receipt = await adapter.deliver(_post("Hello"), _nothing)
    assert receipt.message_id
    again = await adapter.deliver(_post("Hi", message_id=receipt.message_id), _nothing)
    assert again.message_id == receipt.message_id
    assert writer.getvalue() == "heed> Hello\nheed> (corrected) Hi\n"


async def test_what_cannot_be_shown_is_told_by_kind() -> None:
    writer = io.StringIO()
    adapter = TerminalAdapter(Doormat(), lambda: 1.0, io.StringIO(), writer)
    with pytest.raises(NoThread):
        await adapter.deliver(_post(kind="thread"), _nothing)
    writer.close()
    with pytest.raises(Unreachable):
        await adapter.deliver(_post(), _nothing)
    assert not adapter.repeatable(_post())


async def test_health_follows_the_input() -> None:
    adapter: Adapter = TerminalAdapter(Doormat(), lambda: 1.0, io.StringIO(), io.StringIO())
    assert adapter.health().state == "ok"
    ended, _ = await _read("", Doormat())
    assert ended.health().state == "off"


async def test_no_text_steers_the_terminal() -> None:
    writer = io.StringIO()
    adapter = TerminalAdapter(Doormat(), lambda: 1.0, io.StringIO(""), writer)
    await adapter.deliver(_post("\x1b]0;title\x07\x1b[2J你好\r\x9b1m\tone\ntwo"), _nothing)
    assert writer.getvalue() == "heed> \ufffd]0;title\ufffd\ufffd[2J你好\ufffd\ufffd1m\tone\ntwo\n"
