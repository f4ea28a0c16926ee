"""The HTTP API: POST /chat as JSON or as a stream, health, figures, and Telegram's webhook.

The order of refusals is fixed: key, size, form, readiness, pace. Nothing is stored before all
have passed, and every refusal is JSON with one sentence.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from adapters.web.arrival import ROOM, clean, web_arrival, web_key
from adapters.web.guard import Guard, Pace
from adapters.web.openapi import DOCUMENT
from adapters.web.stream import EVENT_STREAM, STILL_HERE, frame, heartbeat, json_answer, read_body
from adapters.web.ways import Way, Who
from core.errors import EngineError, StoreError
from core.message import Arrival, Author
from core.ports import Clock, Desk, Event

Ready = Callable[[], str | None]

_BODY = 64 * 1024
_UPDATE = 1024 * 1024  # one update of Telegram's webhook
_DEPTH = 32
_NAME = 200  # characters of a user or conversation name
_SOON = {"Retry-After": "1"}
_SHOWN = frozenset({"waiting", "tag", "token", "done"})


class Webhook(Protocol):
    """What takes the updates that a platform pushes."""

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request brings the secret."""
        ...

    async def webhook(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take an update in and return the status to answer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One checked body of POST /chat."""

    text: str
    user: str
    name: str  # what to call the user; empty: they gave none
    chat: str
    raw: Mapping[str, Any]


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_depth(value: object) -> None:
    rest = [(value, 1)]
    while rest:
        item, depth = rest.pop()
        if depth > _DEPTH:
            raise HTTPException(400, f"The JSON is nested deeper than {_DEPTH} levels.")
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        rest.extend((one, depth + 1) for one in inner)


def _name(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _NAME:
        raise HTTPException(400, f"'{field}' must be a string of at most {_NAME} characters.")
    name = clean(value)
    if name.startswith(ROOM):
        raise HTTPException(400, f"Names that begin with '{ROOM}' belong to the try-it room.")
    return name


def read_call(body: bytes) -> Call:
    """Check the body of POST /chat. Raises HTTPException 400 that says what is wrong."""
    if not body.strip():
        raise HTTPException(400, 'The body is empty: send JSON such as {"text": "Hello"}.')
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, 'The body is not JSON: send {"text": "Hello"}.') from error
    if not isinstance(value, dict):
        raise HTTPException(400, 'The body must be a JSON object such as {"text": "Hello"}.')
    _check_depth(value)
    text = value.get("text")
    if not isinstance(text, str) or not clean(text):
        raise HTTPException(400, "'text' must be a string with something in it.")
    name = _name(value, "user")
    user = name or "anonymous"
    chat = _name(value, "conversation") or user
    return Call(text=clean(text), user=user, name=name, chat=chat, raw=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Api:
    """The routes for programs. `ready` returns None, or one sentence why not yet.

    `standing` says the same of all of Heed: what stands still anywhere.
    """

    desk: Desk
    guard: Guard
    clock: Clock
    ready: Ready
    standing: Ready
    metrics: Callable[[], bytes]
    webhooks: Mapping[str, Webhook]  # by the path's last part, which the first bot has not
    pace: Pace
    closing: asyncio.Event

    def routes(self) -> list[Way]:
        """Return the routes of the API, which adapters.web.openapi describes."""
        return [
            Way("/chat", self.chat, Who.CALLER, "POST"),
            Way("/livez", self.livez, Who.ANYBODY),
            Way("/readyz", self.readyz, Who.ANYBODY),
            Way("/metrics", self.figures, Who.READER),
            Way("/openapi.json", self.document, Who.ANYBODY),
            Way("/telegram/webhook", self.telegram, Who.PLATFORM, "POST"),
            Way("/telegram/webhook/{bot}", self.telegram, Who.PLATFORM, "POST"),
        ]

    async def chat(self, request: Request) -> Response:
        """Answer one message, as one JSON object or as the events tag, token*, done."""
        call = read_call(await read_body(request, _BODY))
        if why := self.ready():
            raise HTTPException(503, why, {"Retry-After": "5"})
        now = self.clock()
        if wait := self.pace.take(call.user, now):
            raise HTTPException(
                429,
                "Too many messages of this user: wait a moment.",
                {"Retry-After": str(math.ceil(wait))},
            )
        key = web_key(call.chat, call.user)
        author = Author(id=call.user, name=call.name)
        arrival = web_arrival(key, author, call.text, now=now, raw=call.raw)
        if EVENT_STREAM in request.headers.get("accept", ""):
            return await self._stream(arrival)
        async for event in self.desk.ask(arrival):
            if event.kind == "done":
                return json_answer(dict(event.data))
        raise HTTPException(503, "The message is kept, but nobody answered it yet.", _SOON)

    async def _stream(self, arrival: Arrival) -> Response:
        events = self.desk.ask(arrival)
        # The first event is awaited here, so that a refused message is a 503 and not a stream.
        first = await anext(events, None)
        if first is None:
            raise HTTPException(503, "The message is kept, but nobody answered it yet.", _SOON)
        return StreamingResponse(self._frames(first, events), media_type=EVENT_STREAM)

    async def _frames(self, first: Event, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        if first.kind in _SHOWN:
            yield frame(first.kind, dict(first.data))
        try:
            async for event in heartbeat(events, self.closing):
                if event is None:
                    yield STILL_HERE
                elif event.kind in _SHOWN:
                    yield frame(event.kind, dict(event.data))
        except (StoreError, EngineError) as error:
            yield frame("error", {"error": {"code": "unavailable", "message": str(error)}})

    async def livez(self, _request: Request) -> Response:
        """Say that the process runs."""
        return json_answer({"live": True})

    async def readyz(self, _request: Request) -> Response:
        """Say whether messages are answered: 200, or 503 and why not."""
        why = self.standing()
        headers = {"Retry-After": "5"} if why else None
        return json_answer({"ready": why is None, "why": why}, 503 if why else 200, headers)

    async def document(self, _request: Request) -> Response:
        """Return the description of the API."""
        return json_answer(DOCUMENT)

    async def figures(self, _request: Request) -> Response:
        """Return the figures in Prometheus' text format."""
        return Response(self.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _webhook(self, request: Request) -> Webhook:
        webhook = self.webhooks.get(request.path_params.get("bot", ""))
        if webhook is None:
            raise HTTPException(404, "No webhook is set up here: see HEED_TELEGRAM__MODE.")
        return webhook

    async def admit_push(self, request: Request) -> None:
        """Let a platform pass that brings its secret. Raises HTTPException 401, 404 or 429."""
        webhook = self._webhook(request)
        if not self.guard.tries(request, lambda: webhook.knows(request.headers)):
            raise HTTPException(401, "The secret of the webhook is missing or wrong.")

    async def telegram(self, request: Request) -> Response:
        """Hand an update to the Telegram adapter; answer its status."""
        webhook = self._webhook(request)
        body = await read_body(request, _UPDATE)
        return Response(status_code=await webhook.webhook(request.headers, body))
