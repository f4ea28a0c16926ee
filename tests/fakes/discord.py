"""A Discord of our own on loopback: web side and gateway, driven only by the real library.

`async with DiscordFake() as fake` serves `fake.api_base` and `fake.gateway_url`. The person's side
(`say`, `edit`, `delete`, `react`, `press`, `submit`, `slash`, `lock`) are plain calls; faults are
data. Everything lives in this object, so a bot may be killed and started again against it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from aiohttp import web

from tests.fakes.discord_gateway import Gateway
from tests.fakes.discord_people import People
from tests.fakes.discord_shapes import MIB
from tests.fakes.discord_web import Web


class DiscordFake(People, Gateway, Web):
    """One bot application, one server, any number of people."""

    def __init__(
        self,
        *,
        token: str = "fake.discord.token",  # noqa: S107
        content_intent: bool = False,
        heartbeat: int = 41_250,
        clock: Callable[[], float] = time.time,
        nonce_lives: float = 300.0,
    ) -> None:
        super().__init__(clock)
        self.token = token
        self.content_intent = content_intent  # whether the portal's switch is on
        self.heartbeat = heartbeat
        self.nonce_lives = nonce_lives

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=256 * MIB)
        app.router.add_route("*", "/api/v10/{path:.*}", self._rest)
        app.router.add_get("/cdn/{path:.*}", self._cdn)
        app.router.add_get("/gateway", self._gateway)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.api_base = f"http://127.0.0.1:{port}/api/v10"
        self.cdn_base = f"http://127.0.0.1:{port}/cdn"
        self.gateway_url = f"ws://127.0.0.1:{port}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self.drop()
        await self._runner.cleanup()
