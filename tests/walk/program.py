"""The real program, `heed run`, as a child process that may be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds a start may take on a busy machine


def clean_environment(folder: Path, **heed: str) -> dict[str, str]:
    """Return an environment without settings of this machine, and with these."""
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")
    plain = {name: os.environ[name] for name in kept if name in os.environ}  # noqa: TID251
    hub = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    own = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    return {**plain, **hub, **own, **heed}


def heed(
    folder: Path, *words: str, said: str = "", seconds: float = PATIENCE, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run one `heed` command to its end."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "bot", *words],
        cwd=folder, env=clean_environment(folder, **settings), input=said,
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """`async with Program(folder, HEED_...=...) as program`: up and ready inside."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._env = clean_environment(folder, HEED_HTTP__PORT=str(self.port), **settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._http: aiohttp.ClientSession | None = None

    @property
    def log(self) -> str:
        """Everything that the program has printed, all its lives together."""
        return (self._folder / "program.log").read_text(encoding="utf-8", errors="replace")

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        if self._http is not None:
            await self._http.close()

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with (self._folder / "program.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a file takes its output
                [sys.executable, "-m", "bot", "run"],
                cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            while not await self.ready():
                assert self._process.poll() is None, self.log
                await asyncio.sleep(0.1)

    async def ready(self) -> bool:
        try:
            status, _ = await self.get("/readyz")
        except aiohttp.ClientError:
            return False
        return status == 200

    async def kill(self) -> None:
        """Kill it with -9, if it lives."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    # -- what a caller and a browser may do ---------------------------------------------------

    async def get(self, path: str, **query: str) -> tuple[int, str]:
        assert self._http is not None
        async with self._http.get(f"{self.url}{path}", params=query) as answer:
            return answer.status, await answer.text()

    async def chat(self, text: str, user: str = "ann") -> dict[str, Any]:
        """POST /chat and return the JSON."""
        assert self._http is not None
        body = {"text": text, "user": user}
        async with self._http.post(f"{self.url}/chat", json=body) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == 200, found
            return found

    async def stream(self, text: str, user: str = "ann") -> list[tuple[str, dict[str, Any]]]:
        """POST /chat for a stream and return its events."""
        assert self._http is not None
        headers = {"Accept": "text/event-stream"}
        body = {"text": text, "user": user}
        async with self._http.post(f"{self.url}/chat", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return events(await answer.text())

    async def post(self, path: str, form: Mapping[str, str]) -> tuple[int, str]:
        """Send a form as the page does, without its script."""
        assert self._http is not None
        headers = {"Origin": self.url}
        async with self._http.post(f"{self.url}{path}", data=form, headers=headers) as answer:
            return answer.status, await answer.text()


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read server-sent events as (name, data)."""
    found = re.findall(r"event: (\w+)\r?\ndata: (.*)", text)
    return [(name, json.loads(data)) for name, data in found]
