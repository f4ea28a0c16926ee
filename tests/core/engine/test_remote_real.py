"""The remote engine against a server that is not ours: `transformers serve` in its own process.

It serves three checkpoints from a folder laid out like the cache of the model hub: one that knows
a reply by heart, one that knows a label, and one that babbles without an end. It has no
log-probabilities, so a label counts where it is the whole answer.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.engine.ports import Limits, ReplyRequest, Started
from core.engine.remote import RemoteEngine
from core.engine.routed import RoutedEngine
from core.engine.scripted import ScriptedEngine
from core.errors import EngineFailed
from core.message import ConversationKey
from core.prompts import PromptBook
from tests.checkpoints import make_checkpoint
from tests.patience import PATIENCE
from tests.walk.pupil import SPOKEN, make_pupil, write_prompts

NEEDED = ("accelerate", "fastapi", "openai", "uvicorn")
LACKING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        bool(LACKING), reason=f"transformers[serving] is not installed: no {', '.join(LACKING)}"
    ),
]
KEY = ConversationKey(platform="web", bot="heed", chat="1", user="ada")
SPEAKER, LABELLER, BABBLER = "heed/speaker", "heed/labeller", "heed/babbler"


class RealServer:
    """`transformers serve` on a port that stays the same when it is started again."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        env = {**os.environ, "HF_HOME": str(self._home), "HF_HUB_OFFLINE": "1"}  # noqa: TID251
        env |= {"OMP_NUM_THREADS": "1", "HF_HUB_CACHE": str(self._home / "hub")}
        with (self._home / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log)  # noqa: S603
        with httpx2.Client(trust_env=False) as client:
            for _ in range(600):
                try:
                    client.get(f"http://127.0.0.1:{self.port}/health", timeout=1).raise_for_status()
                except httpx2.HTTPError:
                    if self._process.poll() is not None:
                        break
                    asyncio.run(asyncio.sleep(0.1))
                else:
                    return
        pytest.fail((self._home / "log.txt").read_text(encoding="utf-8")[-3000:])

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    home = tmp_path_factory.mktemp("hub-home")
    make_pupil(shelf(home, SPEAKER))
    make_pupil(shelf(home, LABELLER), "negative")
    endless(make_checkpoint(shelf(home, BABBLER), layers=8, hidden=256))
    real = RealServer(home)
    real.start()
    yield real
    real.kill()


def shelf(home: Path, name: str) -> Path:
    """Return the folder of a model's only snapshot in the hub's cache."""
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit, encoding="ascii")
    (folder / "blobs").mkdir()
    return folder / "snapshots" / commit


def endless(folder: Path) -> None:
    """Take the end from a checkpoint: it goes on until it has said as much as it may."""
    for name in ("config.json", "generation_config.json"):
        about = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**about, "eos_token_id": None}), encoding="utf-8")


@asynccontextmanager
async def warm(
    server: RealServer, model: str, tmp_path: Path, **more: Any
) -> AsyncIterator[RemoteEngine]:
    book = PromptBook(write_prompts(tmp_path / "prompts"))  # replies without chance
    engine = RemoteEngine(f"{server.url}#{model}", book, **more)
    try:
        await engine.warm_up()
        yield engine
    finally:
        await engine.close()


def request(text: str = "hello", **more: Any) -> ReplyRequest:
    return replace(ReplyRequest(key=KEY, history=(), messages=(text,)), **more)


async def say(engine: RemoteEngine | RoutedEngine) -> tuple[list[str], Started]:
    started = await engine.start(request())
    try:
        pieces = engine.continue_reply(started, Limits(seconds=20), "calm")
        return [piece async for piece in pieces], started
    finally:
        await engine.settle(started, kept=True)


async def rest(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


async def test_its_models_are_found_also_where_v1_is_left_out(server: RealServer) -> None:
    engine = RemoteEngine(server.url.removesuffix("/v1"), PromptBook())
    await engine.warm_up()
    assert engine.ready
    assert engine.name in (SPEAKER, LABELLER, BABBLER)  # the first that it lists
    await engine.close()


async def test_a_reply_comes_in_pieces(server: RealServer, tmp_path: Path) -> None:
    async with warm(server, SPEAKER, tmp_path) as engine:
        pieces, started = await say(engine)
        assert "".join(pieces) == SPOKEN
        assert len(pieces) > 10
        assert (started.model, started.made["ended"]) == (SPEAKER, "stop")


async def test_a_label_is_read_from_the_text_where_there_are_no_log_probabilities(
    server: RealServer, tmp_path: Path
) -> None:
    async with warm(server, LABELLER, tmp_path) as engine:
        for tag in await engine.tag_many(["this is bad", "and so is this", "太慢了"]):
            assert tag.probs == {"negative": 1.0, "neutral": 0.0, "positive": 0.0}
            assert (tag.doubt, tag.instrument) == (0.5, f"{LABELLER}#remote")
    async with warm(server, SPEAKER, tmp_path) as engine:
        with pytest.raises(EngineFailed, match="no label"):
            await engine.tag_many(["this is bad"])
        assert engine.ready  # it has answered


async def test_many_at_once_get_whole_replies(server: RealServer, tmp_path: Path) -> None:
    async with warm(server, SPEAKER, tmp_path) as engine:
        replies = await asyncio.gather(*(say(engine) for _ in range(6)))
        assert ["".join(pieces) for pieces, _ in replies] == [SPOKEN] * 6
        assert engine.capacity().running == 0


async def test_a_reply_taken_back_leaves_the_server_free(
    server: RealServer, tmp_path: Path
) -> None:
    async with warm(server, BABBLER, tmp_path) as engine:
        started = await engine.start(request())
        pieces = engine.continue_reply(started, Limits(seconds=20), "calm")
        said = [await anext(pieces) for _ in range(3)]
        await engine.cancel(started)
        said += [piece async for piece in pieces]
        assert len(said) < 100
        assert started.made["ended"] == "cancelled"
        async with asyncio.timeout(PATIENCE), warm(server, SPEAKER, tmp_path) as other:
            assert "".join((await say(other))[0]) == SPOKEN


async def test_a_reply_longer_than_its_time_ends_with_what_was_said(
    server: RealServer, tmp_path: Path
) -> None:
    async with warm(server, BABBLER, tmp_path) as engine:
        started = await engine.start(request())
        await say(engine)  # its model is loaded by now
        pieces = [p async for p in engine.continue_reply(started, Limits(seconds=0.3), "calm")]
        assert pieces
        assert started.made["ended"] == "deadline"


async def test_a_model_that_it_does_not_have_is_told_with_those_that_it_has(
    server: RealServer,
) -> None:
    engine = RemoteEngine(f"{server.url}#heed/nobody", PromptBook())
    with pytest.raises(EngineFailed, match="does not answer as heed/nobody; it serves heed/"):
        await engine.warm_up()
    assert not engine.ready
    await engine.close()


async def test_killed_in_the_middle_of_a_reply_and_back_again(
    server: RealServer, tmp_path: Path
) -> None:
    async with (
        warm(server, BABBLER, tmp_path, seconds=10.0) as engine,
        warm(server, SPEAKER, tmp_path, seconds=10.0) as speaker,
    ):
        both = RoutedEngine(ScriptedEngine(name="here"), speaker)
        await both.warm_up()
        assert (await say(both))[1].model == SPEAKER
        started = await engine.start(request())
        pieces = engine.continue_reply(started, Limits(seconds=20), "calm")
        assert await anext(pieces)
        server.kill()
        with pytest.raises(EngineFailed, match="broke off"):
            await rest(pieces)
        for _ in range(2):
            with pytest.raises(EngineFailed, match="cannot be reached"):
                await engine.tag_many(["hello"])
        with pytest.raises(EngineFailed, match="in a row"):
            await engine.tag_many(["hello"])
        assert not engine.ready
        assert (await say(both))[1].model == "here"  # who stands in
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            while not engine.ready:  # noqa: ASYNC110 - the pause is the thing tested
                await asyncio.sleep(0.1)
            assert (await say(engine))[0]
        assert engine.ready
        text, started = await say(both)
        assert ("".join(text), started.model) == (SPOKEN, SPEAKER)
