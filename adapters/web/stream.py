"""Bytes in and bytes out: bounded bodies, JSON that never fails to encode, server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from core.ports import Event

EVENT_STREAM = "text/event-stream"
STILL_HERE = b": still here\n\n"  # a comment: keeps proxies and sockets awake


def as_json(value: Any) -> bytes:  # noqa: ANN401
    """Encode `value`; half a surrogate pair becomes '?' instead of an error."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")


def json_answer(
    value: Any,  # noqa: ANN401
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return `value` as a JSON response."""
    return Response(as_json(value), status, headers, "application/json")


def frame(kind: str, data: Any) -> bytes:  # noqa: ANN401
    """Return one server-sent event; JSON holds no line break, so one data line is enough."""
    return b"event: " + kind.encode() + b"\ndata: " + as_json(data) + b"\n\n"


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises HTTPException 413 past `limit` bytes, whatever length was told."""
    told = request.headers.get("content-length", "")
    body = bytearray()
    if not (told.isascii() and told.isdecimal()) or int(told[:20]) <= limit:
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    break
            else:
                return bytes(body)
        except ClientDisconnect as error:
            raise HTTPException(400, "The connection ended inside the body.") from error
    raise HTTPException(
        413, f"The body is larger than {limit // 1024} KiB: send less.", {"Connection": "close"}
    )


async def merged(*sources: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Pass on the events of all `sources` as they come; end when the first of them ends."""
    steps = {asyncio.ensure_future(anext(source, None)): source for source in sources}
    try:
        while True:
            done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            for step in done:
                source, event = steps.pop(step), step.result()
                if event is None:
                    return
                yield event
                steps[asyncio.ensure_future(anext(source, None))] = source
    finally:
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)


async def heartbeat(
    events: AsyncIterator[Event], closing: asyncio.Event, every: float = 15.0
) -> AsyncIterator[Event | None]:
    """Pass `events` on, None after each `every` silent seconds; end when `closing` is set."""
    step = asyncio.ensure_future(anext(events, None))
    stop = asyncio.ensure_future(closing.wait())
    try:
        while True:
            await asyncio.wait({step, stop}, timeout=every, return_when=asyncio.FIRST_COMPLETED)
            if step.done():
                event = step.result()
                if event is None:
                    return
                yield event
                step = asyncio.ensure_future(anext(events, None))
            elif stop.done():
                return
            else:
                yield None
    finally:
        step.cancel()
        stop.cancel()
        await asyncio.gather(step, stop, return_exceptions=True)
