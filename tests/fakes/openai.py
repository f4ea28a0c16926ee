"""A server with the OpenAI interface: models, chat completions whole and streamed, log-probs.

What it says is given as two functions, what goes wrong as data. It is a real server on a random
loopback port, so the bot may be in this process or in another.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from aiohttp import web

MODEL = "fake/tiny-chat"
Messages = list[dict[str, str]]
Say = Callable[[Messages], Iterable[str]]  # the pieces of a reply
Label = Callable[[str], Mapping[str, float]]  # a text -> {first token: probability}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with the next `count` requests whose path ends in `path`."""

    kind: Literal["status", "hang", "drop", "cut", "junk", "huge", "error"]
    path: str = "/chat/completions"
    count: int = 1
    status: int = 500
    headers: Mapping[str, str] | None = None
    after: int = 0  # `hang`, `cut`, `junk`, `error`: events of a stream that still arrive
    body: bytes = b"this is not JSON"
    only: Literal["", "tag", "reply"] = ""  # the requests for a label, or those for a reply


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> Messages:
        return self.body["messages"]


def neutral(_text: str) -> Mapping[str, float]:
    return {"neutral": 0.8, " negative": 0.1, "positive": 0.05, "well": 0.05}


class OpenAIFake:
    """`async with OpenAIFake() as fake`, then `fake.url`."""

    def __init__(
        self,
        say: Say = lambda _messages: ["Hel", "lo ", "there."],
        label: Label = neutral,
        *,
        models: Iterable[str] = (MODEL,),
        key: str = "",
        logprobs: Literal["yes", "ignored", "refused"] = "yes",
        streams: bool = True,
        pace: float = 0.0,
        slice_bytes: int = 0,
        prefix: str = "/v1",
    ) -> None:
        self.say, self.label = say, label
        self.models = list(models)
        self.key = key
        self.logprobs, self.streams = logprobs, streams
        self.pace = pace  # seconds before each event of a stream
        self.slice_bytes = slice_bytes  # a stream's bytes go out so many at a time; 0: by event
        self.faults: list[Fault] = []
        self.log: list[Asked] = []
        self.open = 0  # requests being answered now
        self.most_open = 0
        self.hung_up = 0  # streams whose reader went away
        self.port = 0
        self._prefix = prefix
        self._left: dict[int, int] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._prefix}"

    async def __aenter__(self) -> Self:
        await self.back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gone()

    async def back(self) -> None:
        """Listen (again, on the same port)."""
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_get(f"{self._prefix}/models", self._models)
        app.router.add_post(f"{self._prefix}/chat/completions", self._chat)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def gone(self) -> None:
        """Stop listening: connections are refused until `back`."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def fail(self, kind: Any, **more: Any) -> None:
        """Let the next request fail; `more` are the other fields of Fault."""
        self.faults.append(Fault(kind=kind, **more))

    def chats(self) -> list[Asked]:
        """Return the chat requests so far, oldest first."""
        return [asked for asked in self.log if asked.path.endswith("/chat/completions")]

    # -- requests ---------------------------------------------------------------------------

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.log.append(Asked(path=request.path, headers=dict(request.headers), body={}))
        if (wrong := await self._trouble(request, self._fault(request.path))) is not None:
            return wrong
        data = [{"id": name, "object": "model"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.log.append(Asked(path=request.path, headers=dict(request.headers), body=body))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            fault = self._fault(request.path, "tag" if body["max_tokens"] <= 16 else "reply")
            if not (fault is not None and body.get("stream") and _midway(fault)):
                if (wrong := await self._trouble(request, fault)) is not None:
                    return wrong
                fault = None
            if body.get("stream") and self.streams:
                return await self._stream(request, body, fault)
            return await self._whole(body)
        finally:
            self.open -= 1

    def mend(self) -> None:
        """Let nothing fail any more."""
        self.faults.clear()
        self._left.clear()

    def _fault(self, path: str, stage: str = "") -> Fault | None:
        for fault in self.faults:
            if path.endswith(fault.path) and fault.only in ("", stage):
                left = self._left.get(id(fault), fault.count) - 1
                self._left[id(fault)] = left
                if left <= 0:
                    self.faults.remove(fault)
                    del self._left[id(fault)]  # the next fault may be made at the same address
                return fault
        return None

    async def _trouble(
        self, request: web.Request, fault: Fault | None
    ) -> web.StreamResponse | None:
        sent = request.headers.get("Authorization", "")
        if self.key and sent != f"Bearer {self.key}":
            return web.json_response({"error": {"message": f"wrong key {sent}"}}, status=401)
        if fault is None:
            return None
        if fault.kind == "hang":
            await asyncio.sleep(3600)
        if fault.kind in ("drop", "cut"):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault.kind == "huge":
            return web.json_response({"padding": "x" * (3 * 2**20)})
        if fault.kind == "junk":
            return web.Response(body=fault.body, content_type="application/json")
        error = {"error": {"message": "the fake was told to fail"}}
        return web.json_response(error, status=fault.status, headers=fault.headers)

    # -- answers ----------------------------------------------------------------------------

    async def _whole(self, body: dict[str, Any]) -> web.StreamResponse:
        asks_for_label = body["max_tokens"] <= 16
        if self.pace:
            await asyncio.sleep(self.pace)
        if body.get("logprobs") and self.logprobs == "refused":
            return web.json_response({"error": {"message": "no logprobs here"}}, status=400)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if asks_for_label:
            tokens = self.label(body["messages"][-1]["content"])
            best = max(tokens, key=lambda token: tokens[token])
            choice["message"] = {"role": "assistant", "content": best}
            if body.get("logprobs") and self.logprobs == "yes":
                top = [
                    {"token": t, "logprob": math.log(p), "bytes": None} for t, p in tokens.items()
                ]
                choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        else:
            text = "".join(self.say(body["messages"]))
            choice["message"] = {"role": "assistant", "content": text}
        details = {"cached_tokens": 12}
        usage = {"prompt_tokens": 50, "completion_tokens": 1, "prompt_tokens_details": details}
        return web.json_response({"model": body["model"], "choices": [choice], "usage": usage})

    async def _stream(
        self, request: web.Request, body: dict[str, Any], fault: Fault | None
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await answer.prepare(request)
        events = self._events(body["messages"])
        if fault is not None and fault.kind == "huge":
            events = itertools.repeat(_event({"content": "spam " * 200}))
        try:
            for number, event in enumerate(events):
                if fault is not None and _midway(fault) and number == fault.after:
                    if fault.kind == "hang":
                        await asyncio.sleep(3600)
                    if fault.kind == "cut":
                        assert request.transport is not None
                        request.transport.abort()
                        return answer
                    if fault.kind == "error":
                        await answer.write(b'data: {"error": {"message": "out of memory"}}\n\n')
                        return answer
                    if fault.kind == "junk":
                        await answer.write(fault.body + b"\n\n")
                if self.pace:
                    await asyncio.sleep(self.pace)
                size = self.slice_bytes or len(event)
                for at in range(0, len(event), size):
                    await answer.write(event[at : at + size])
                    if self.slice_bytes:
                        await asyncio.sleep(0)
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        return answer

    def _events(self, messages: Messages) -> Iterable[bytes]:
        yield b": a comment, which means nothing\n\n"
        yield _event({"role": "assistant", "content": ""})
        for piece in self.say(messages):
            yield _event({"content": piece})
        yield _event({}, "stop")
        yield b'data: {"choices": [], "usage": {"prompt_tokens": 50}}\n\n'
        yield b"data: [DONE]\n\n"


def _midway(fault: Fault) -> bool:
    return fault.kind == "huge" or (
        fault.kind in ("hang", "cut", "junk", "error") and fault.after > 0
    )


def _event(delta: dict[str, Any], ended: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": ended}
    data = json.dumps({"choices": [choice]}, ensure_ascii=False)
    return b"data: " + data.encode("utf-8", "surrogatepass") + b"\n\n"
