"""One address in front of several Discords of our own: whoever calls is known by their token.

A process reaches Discord at one address, however many bots it has, and each fake serves one bot.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Self

import aiohttp
from aiohttp import WSMsgType, web

from tests.fakes.discord import DiscordFake

_OWN = ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Content-Encoding")


class Switchboard:
    """`async with Switchboard(one, other) as board`, then `api_base` and `gateway_url`."""

    def __init__(self, *fakes: DiscordFake) -> None:
        self._fakes = fakes
        self.api_base = self.gateway_url = ""

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/api/v10/{path:.*}", self._rest)
        app.router.add_get("/gateway", self._gateway)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self.api_base = f"http://127.0.0.1:{port}/api/v10"
        self.gateway_url = f"ws://127.0.0.1:{port}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._client.close()

    def _of(self, token: str, path: str) -> DiscordFake:
        """Return whose call it is; interactions and webhooks bear no token but an id."""
        for fake in self._fakes:
            known = {*fake.interactions, str(fake.bot["id"])}
            if token == f"Bot {fake.token}" or known & {*path.split("/")}:
                return fake
        return self._fakes[0]  # which refuses what it does not know

    async def _rest(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        fake = self._of(request.headers.get("Authorization", ""), path)
        kept = {name: value for name, value in request.headers.items() if name not in _OWN}
        async with self._client.request(
            request.method, f"{fake.api_base}/{path}", params=request.query,
            data=await request.read(), headers=kept,
        ) as answer:  # fmt: skip
            told = {name: value for name, value in answer.headers.items() if name not in _OWN}
            return web.Response(status=answer.status, body=await answer.read(), headers=told)

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        """Greet, learn from the first packet who it is, and pass on from then."""
        caller = web.WebSocketResponse(autoping=False)
        await caller.prepare(request)
        await caller.send_str(json.dumps({"op": 10, "d": {"heartbeat_interval": 41_250}}))
        while (first := await caller.receive_json())["op"] != 2:
            await caller.send_str('{"op": 11}')  # a heartbeat before it has said who it is
        fake = self._of(f"Bot {first['d']['token']}", "")
        async with self._client.ws_connect(fake.gateway_url) as behind:
            await behind.receive()  # its own greeting
            await behind.send_json(first)
            ways = [asyncio.create_task(_pass(caller, behind))]
            ways.append(asyncio.create_task(_pass(behind, caller)))
            with contextlib.suppress(ConnectionError):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        return caller


async def _pass(source: Any, target: Any) -> None:
    async for frame in source:
        if frame.type != WSMsgType.TEXT:
            return
        await target.send_str(frame.data)
