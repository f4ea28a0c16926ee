"""The web adapter: one socket, one Starlette application, inside the loop that is running.

A post for the web needs no sending: core has committed it and told it on the board, and every
open page listens there. So delivery here is a receipt, and repeating it shows nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from adapters.web.api import Api, Ready, Webhook
from adapters.web.arrival import BOT, PLATFORM
from adapters.web.desk import DeskPages
from adapters.web.guard import Guard, Pace
from adapters.web.line import Bounds, Line
from adapters.web.login import Login
from adapters.web.pictures import Pictures
from adapters.web.room import Room
from adapters.web.session import LoggedOut, NotAdmin, Sessions, logged_out, not_admin
from adapters.web.settings import SettingsPage
from adapters.web.shell import Shell, refusal
from adapters.web.view import HERE
from adapters.web.ways import Check, Wall, Who, files
from core.errors import EngineBusy, EngineError, Refused, SetupError, StoreError
from core.message import File, Media, Place, Post, Receipt, TextLimit
from core.ports import Clock, Desk, Gate, Health, Remember, Sketch

_USUAL = Bounds()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: who runs the loop decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[explicit-override]
        """Capture none."""
        yield


class WebAdapter:
    """Serves the API to programs and the try-it room to this machine's own browser."""

    platform = PLATFORM
    bot = BOT
    limit = TextLimit(size=100_000)

    def __init__(  # noqa: PLR0913
        self,
        desk: Desk,
        *,
        clock: Clock,
        host: str,
        port: int,
        token: str = "",
        ready: Ready,
        standing: Ready | None = None,
        refused: Callable[[int], object] = int,
        metrics: Callable[[], bytes],
        webhooks: Mapping[str, Webhook] | None = None,
        per_minute: int = 60,
        bounds: Bounds = _USUAL,
    ) -> None:
        self._host = host
        self._port = port
        self._bounds = bounds
        self._socket: socket.socket | None = None
        self._serving = False
        self._closing = asyncio.Event()
        guard = Guard(host, token, clock)
        api = Api(
            desk=desk,
            guard=guard,
            clock=clock,
            ready=ready,
            standing=standing or ready,
            metrics=metrics,
            webhooks=webhooks or {},
            pace=Pace(per_minute),
            closing=self._closing,
        )
        self._room = Room(desk, clock=clock, ready=ready, closing=self._closing)
        sessions = Sessions(desk)
        pages = DeskPages(desk, sessions=sessions, clock=clock, closing=self._closing)
        checks: dict[Who, Check] = {
            Who.ANYBODY: _everybody,
            Who.HERE: guard.admit_here,
            Who.CALLER: guard.admit,
            Who.READER: guard.admit_reader,
            Who.PLATFORM: api.admit_push,
            Who.STAFF: sessions.admit,
            Who.ADMIN: sessions.admit_admin,
        }
        ways = [
            *api.routes(),
            *self._room.routes(),
            *pages.routes(),
            *Login(desk, sessions=sessions).routes(),
            *SettingsPage(desk, sessions=sessions).routes(),
            *Pictures(desk, sessions=sessions, clock=clock).routes(),
            files("/static", HERE / "static", Who.ANYBODY),
        ]
        self.wall = Wall(ways, checks=checks, form=sessions.check_form)
        inside = Starlette(
            exception_handlers={
                HTTPException: _refused,
                LoggedOut: logged_out,
                NotAdmin: not_admin,
                StoreError: _not_now,
                EngineError: _not_now,
                Exception: _broken,
            },
        )
        inside.router = self.wall
        self._app = Shell(inside, refused)

    @property
    def app(self) -> Shell:
        """The ASGI application; `wall` is its table of routes."""
        return self._app

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def bind(self) -> None:
        """Take the port now, so that a busy one is known before anything else starts.

        Port 0 takes a free one. Raises SetupError with one sentence that says what to set.
        """
        if not 0 <= self._port <= 65535:  # the resolver would take it modulo 65536
            raise SetupError(
                f"{self._port} is no port: set HEED_HTTP__PORT to a number from 1 to 65535."
            )
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            self._socket = socket.create_server(address, family=family, backlog=512)
            # Asked for here, and taken over by every connection: asyncio does it only for sockets
            # that name their protocol, and without it each streamed piece waits 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise SetupError(self._why_not(error)) from error
        self._port = self._socket.getsockname()[1]

    def _why_not(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return (
                f"Port {self._port} is in use by another program: "
                "set HEED_HTTP__PORT to a free one, such as 8081."
            )
        if error.errno == errno.EACCES:
            return f"Port {self._port} needs more rights: set HEED_HTTP__PORT above 1023."
        return (
            f"Heed cannot listen on {self._host} port {self._port} ({error}): "
            "set HEED_HTTP__HOST to an address of this machine and HEED_HTTP__PORT to a port."
        )

    async def run(self) -> None:
        """Serve until cancelled; then let running answers end for three seconds."""
        if self._socket is None:
            await self.bind()
        config = uvicorn.Config(
            self._app,
            http=partial(Line, bounds=self._bounds),  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([self._socket] if self._socket else None))
        self._serving = True
        try:
            await asyncio.shield(serving)
        finally:
            self._serving = False
            self._closing.set()
            server.should_exit = True
            await serving
            await self._room.close()

    async def deliver(self, post: Post, remember: Remember) -> Receipt:  # noqa: ARG002
        """Give the receipt of a post that every open page has already been told of."""
        return Receipt(
            message_id=post.message_id or str(post.id),
            thread=str(post.id) if post.kind == "thread" else "",
        )

    def repeatable(self, post: Post) -> bool:  # noqa: ARG002
        """Say yes: a page draws what the database holds, so nothing shows twice."""
        return True

    async def check(self) -> None:
        """Bind the socket, which is all that can be refused here. Raises SetupError."""
        await self.bind()

    async def typing(self, place: Place) -> None:
        """Do nothing: the page shows it by itself."""

    async def fetch(self, media: Media) -> File:
        """Refuse: nobody sends files here."""
        raise Refused(f"There is no file {media.name!r} here.")

    def previews(self, place: Place) -> bool:  # noqa: ARG002
        """Every piece reaches the page as it is written."""
        return True

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Do nothing: tokens reach the page by the board."""

    async def gates(self, place: Place) -> list[Gate]:  # noqa: ARG002
        """Whatever is posted arrives."""
        return []

    def link(self, place: Place, message_id: str) -> str:  # noqa: ARG002
        """Nothing on the page has an address of its own."""
        return ""

    def health(self) -> Health:
        """Say whether the port is being served."""
        return Health(state="ok" if self._serving else "connecting", name=self.url)


async def _everybody(_request: Request) -> None:
    """Let anybody pass."""


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return refusal(error.status_code, error.detail, error.headers)


async def _not_now(_request: Request, error: Exception) -> Response:
    seconds = error.seconds if isinstance(error, EngineBusy) else 1.0
    return refusal(503, str(error), {"Retry-After": f"{max(1.0, seconds):.0f}"})


async def _broken(_request: Request, _error: Exception) -> Response:
    return refusal(500, "Something broke inside Heed; the log says what.")
