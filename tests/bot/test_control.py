"""Commands reach a running Heed by a socket beside its database, and nobody else does."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.control import ask, listening
from core.errors import DeskError, HeedError, SetupError

CONNECT = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
caller = socket.socket(socket.AF_UNIX)
caller.settimeout(10)
caller.connect("heed.db.sock")
caller.sendall(b'{"verb": "echo", "arguments": {"text": "let me in"}}\\n')
sys.stdout.write(repr(caller.recv(1000)))
"""


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'heed.db'}"


async def echo(text: str, times: int = 1) -> list[str]:
    await asyncio.sleep(0)
    return [text] * times


async def refuse(how: str) -> None:
    raise SetupError(how) if how.startswith("set") else DeskError(how)


VERBS: dict[str, Callable[..., Any]] = {"echo": echo, "refuse": refuse}


async def asked(url: str, verb: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(ask, url, verb, **arguments)


async def test_a_command_is_carried_out_and_answered(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    assert await asked(url, "echo", text="早") is None  # nobody runs
    async with listening(url, VERBS):
        assert await asked(url, "echo", text="早", times=2) == ["早", "早"]
        long = "x" * 60_000
        assert await asked(url, "echo", text=long) == [long]
        many = await asyncio.gather(*(asked(url, "echo", text=str(n)) for n in range(20)))
        assert many == [[str(n)] for n in range(20)]
    assert await asked(url, "echo", text="早") is None
    assert left_in(tmp_path) == []


async def test_what_goes_wrong_is_the_callers_to_read(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    async with listening(url, VERBS):
        with pytest.raises(SetupError, match=r"^set this$"):
            await asked(url, "refuse", how="set this")
        with pytest.raises(HeedError, match=r"^not now$"):
            await asked(url, "refuse", how="not now")
        for verb, arguments in (("dance", {}), ("echo", {}), ("echo", {"text": "a", "more": 1})):
            with pytest.raises(SetupError, match="another version"):
                await asked(url, verb, **arguments)
        for line in (
            b"no json\n",
            b"[]\n",
            b'{"verb": 7, "arguments": {}}\n',
            b"{" * 9000 + b"\n",
            b"x" * 70_000,
        ):
            assert "could not be read" in (await spoken(tmp_path, line))["error"]
        assert await asked(url, "echo", text="still here") == ["still here"]
    async with listening(url, {}):
        with pytest.raises(SetupError, match="starting or stopping"):
            await asked(url, "echo", text="a")


async def spoken(folder: Path, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(folder / "heed.db.sock")
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return json.loads(answer)


async def test_a_name_that_no_socket_can_have_keeps_nobody_from_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / ('n' * 120)}.db"
    async with listening(url, VERBS):  # the log says that it is out of reach
        assert await asked(url, "echo", text="early") is None


async def blunder() -> None:
    raise ValueError("ours")


async def test_a_fault_of_ours_is_not_called_a_bad_question(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = url_in(tmp_path)
    async with listening(url, {"blunder": blunder}):
        with pytest.raises(HeedError, match="its log may say why"):
            await asked(url, "blunder")
        gc.collect()
        await asyncio.sleep(0)
    assert "ValueError: ours" in caplog.text


async def test_the_socket_is_for_its_own_user_alone(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    async with listening(url, VERBS):
        path = tmp_path / "heed.db.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        if os.getuid() != 0:
            pytest.skip("only root can be somebody else")
        os.chmod(tmp_path, 0o711)  # noqa: PTH101, S103
        os.chmod(path, 0o666)  # noqa: PTH101, S103 - even so
        other = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", CONNECT],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert b"let me in" not in other.stdout
        assert other.stdout == b"b''" or re.search(b"BrokenPipe|ConnectionReset", other.stderr)


async def test_a_crashed_process_leaves_no_dead_end(tmp_path: Path) -> None:
    url, path = url_in(tmp_path), tmp_path / "heed.db.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()  # its name stays, nobody answers
    assert await asked(url, "echo", text="a") is None
    async with listening(url, VERBS):
        assert await asked(url, "echo", text="a") == ["a"]
    path.write_text("no socket")
    async with listening(url, VERBS):  # Heed runs all the same
        assert await asked(url, "echo", text="a") is None
    assert path.read_text() == "no socket"


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def left_in(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


async def test_a_path_longer_than_the_kernel_takes_works_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    before = open_files()
    async with listening(url_in(deep), VERBS):
        assert await asked(url_in(deep), "echo", text="a") == ["a"]
        assert (deep / "heed.db.sock").is_socket()
    assert left_in(deep) == []
    await asyncio.sleep(0)
    assert open_files() <= before


async def test_whoever_asked_is_answered_before_the_end(tmp_path: Path) -> None:
    url, begun = url_in(tmp_path), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await asyncio.sleep(0.1)
        return "done"

    async with listening(url, {"slow": slow}):
        answer = asyncio.create_task(asked(url, "slow"))
        await begun.wait()
    assert await answer == "done"
