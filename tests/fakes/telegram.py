"""A Bot API server on a random loopback port, as far as Heed uses one.

State lives in the server, so a bot may be killed and started again against it. The person's side
(`say`, `press`, ...) and the bot's calls meet in `updates` and `chats`. What goes wrong is data:
`fake.fail("sendMessage", "reset", apply=True)` does the work and then breaks the answer.

The server accepts what we believe of Telegram: passing against it proves nothing about Telegram.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

from aiohttp import web

from tests.fakes.telegram_files import FileCalls
from tests.fakes.telegram_flood import Flood
from tests.fakes.telegram_shapes import MOST_UP, ApiError, Upload
from tests.patience import PATIENCE

Kind = Literal[
    "429", "500", "502", "502json", "503", "400", "401", "403", "404", "409",
    "hang", "reset", "cut", "drip", "junk", "shape",
]  # fmt: skip
JSON_FIELDS = {
    "entities", "reply_markup", "reply_parameters", "link_preview_options", "allowed_updates",
    "commands", "scope", "reaction", "media", "message_ids", "caption_entities",
}  # fmt: skip
TOKEN = "4242:AAHeedTestsOnlyTokenAAAAAAAAAAAAAAA"


@dataclass
class Fault:
    """One thing that goes wrong: the next `count` calls of `method`."""

    method: str
    count: int
    kind: Kind
    apply: bool = False  # the work is done, then the answer fails
    text: str = ""
    retry_after: int = 1
    seconds: float = 3600.0


@dataclass
class Call:
    """One call of the bot, as it came."""

    at: float
    method: str
    params: dict[str, Any]
    fault: str = ""


class TelegramFake(FileCalls):
    """The server: `async with TelegramFake() as fake`, then `api_base`, `file_base`, `token`."""

    def __init__(
        self,
        token: str = TOKEN,
        *,
        username: str = "HeedBot",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(int(token.partition(":")[0]), username, clock)
        self.token = token
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.webhook: dict[str, Any] = {}
        self.flood = Flood()
        self.port = 0
        self._poll: web.Request | None = None
        self._runner: web.AppRunner | None = None

    # -- the server -------------------------------------------------------------------------

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/bot"

    @property
    def file_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/file/bot"

    async def __aenter__(self) -> Self:
        await self.back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gone()

    async def back(self) -> None:
        """Listen (again, on the same port), with everything as it was."""
        app = web.Application(client_max_size=2 * MOST_UP)
        app.router.add_route("*", "/bot{token}/{method}", self._serve)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
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

    def fail(
        self, method: str, kind: Kind, count: int = 1, *, apply: bool = False, **more: Any
    ) -> None:
        """Let the next `count` calls of `method` fail; `more` are the other fields of Fault."""
        self.faults.append(Fault(method, count, kind, apply, **more))

    def called(self, method: str) -> list[Call]:
        """Return the calls of one method, oldest first."""
        return [call for call in self.calls if call.method.lower() == method.lower()]

    async def until(self, true: Callable[[], Any], timeout: float = PATIENCE) -> Any:  # noqa: ASYNC109
        """Wait until `true()` holds, looking again after every call and event."""
        async with asyncio.timeout(timeout):
            while not (found := true()):
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.05):  # facts outside the server change unseen
                        await self._changed.wait()
                except TimeoutError:
                    continue
        return found

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        params = await self._params(request)
        name = request.match_info["method"]
        handler = getattr(self, f"_do_{name.lower()}", None)
        fault = self._fault(name)
        self.calls.append(Call(self.clock(), name, params, fault.kind if fault else ""))
        self._changed.set()
        try:
            return await self._answer(request, handler, params, fault)
        except ApiError as error:
            return self._refuse(error)
        finally:
            self._changed.set()

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Give a file to whoever knows the token; faults are those of "download"."""
        path, fault = request.match_info["path"], self._fault("download")
        self.calls.append(Call(self.clock(), "download", {}, fault.kind if fault else ""))
        found = [one.content for one in self.files.values() if one.path == path]
        try:
            if fault is not None:
                return await self._break(request, fault, {"ok": True})
        except ApiError as error:
            return self._refuse(error)
        if request.match_info["token"] != self.token or not found:
            return self._refuse(ApiError(404, "Not Found"))
        return web.Response(body=found[0])

    async def _answer(
        self, request: web.Request, handler: Any, params: dict[str, Any], fault: Fault | None
    ) -> web.StreamResponse:
        if request.match_info["token"] != self.token:
            raise ApiError(401, "Unauthorized")
        if handler is None:
            raise ApiError(404, "Not Found")
        if fault is not None and not fault.apply:
            return await self._break(request, fault, {"ok": True, "result": True})
        self.flood.take(request.match_info["method"], params, self.clock())
        result = handler(params)
        if asyncio.iscoroutine(result):
            result = await self._alone(request, result)
        body = {"ok": True, "result": result}
        if fault is not None:
            return await self._break(request, fault, body)
        return web.json_response(body)

    @staticmethod
    def _refuse(error: ApiError) -> web.Response:
        body: dict[str, Any] = {"ok": False, "error_code": error.code, "description": error.text}
        if error.parameters:
            body["parameters"] = error.parameters
        return web.json_response(body, status=error.code)

    async def _params(self, request: web.Request) -> dict[str, Any]:
        params: dict[str, Any] = dict(request.query)
        if request.content_type == "application/json":
            params |= await request.json()
        else:
            params |= {
                key: Upload(value.filename, value.file.read())
                if isinstance(value, web.FileField)
                else value
                for key, value in (await request.post()).items()
            }
        for key in JSON_FIELDS & params.keys():
            if isinstance(params[key], str):
                params[key] = json.loads(params[key])
        return params

    def _fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.count > 0 and fault.method.lower() in {method.lower(), "*"}:
                fault.count -= 1
                return fault
        return None

    async def _break(
        self, request: web.Request, fault: Fault, body: dict[str, Any]
    ) -> web.StreamResponse:
        match fault.kind:
            case "hang":
                await asyncio.sleep(fault.seconds)
                return web.Response()
            case "reset":
                assert request.transport is not None
                sock = request.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                request.transport.abort()
                return web.Response()
            case "cut":
                return await self._cut(request, json.dumps(body).encode())
            case "drip":
                return await self._drip(request, json.dumps(body).encode())
            case "junk":
                body_text, code, kind = '{"ok": tru', 200, "application/json"
            case "shape":
                body_text, code, kind = '{"ok": true}', 200, "application/json"
            case "502":
                body_text, code, kind = "<html><h1>502 Bad Gateway</h1></html>", 502, "text/html"
            case "429":
                text = f"Too Many Requests: retry after {fault.retry_after}"
                raise ApiError(429, text, retry_after=fault.retry_after)
            case _:
                code = int(fault.kind[:3])
                raise ApiError(code, fault.text or http.HTTPStatus(code).phrase)
        return web.Response(status=code, text=body_text, content_type=kind)

    @staticmethod
    async def _cut(request: web.Request, data: bytes) -> web.StreamResponse:
        """Send half of the answer, then close."""
        cut = web.StreamResponse(headers={"Content-Type": "application/json"})
        cut.content_length = len(data)
        await cut.prepare(request)
        await cut.write(data[: len(data) // 2])
        assert request.transport is not None
        request.transport.close()
        return cut

    @staticmethod
    async def _drip(request: web.Request, data: bytes) -> web.StreamResponse:
        """Send an answer at one byte a second."""
        slow = web.StreamResponse(headers={"Content-Type": "application/json"})
        slow.content_length = len(data)
        await slow.prepare(request)
        for at in range(len(data)):
            await slow.write(data[at : at + 1])
            await asyncio.sleep(1.0)
        return slow

    # -- what the bot calls -----------------------------------------------------------------

    def _do_getme(self, _: dict[str, Any]) -> dict[str, Any]:
        return self._me() | {
            "can_join_groups": True, "can_read_all_group_messages": self.reads_all,
            "supports_inline_queries": False,
        }  # fmt: skip

    async def _alone(self, request: web.Request, polling: Any) -> Any:
        """Let one poll run; a second one at the same time is a conflict."""
        before = self._poll
        if before is not None and before.transport and not before.transport.is_closing():
            polling.close()
            raise ApiError(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one "
                "bot instance is running",
            )
        self._poll = request
        try:
            return await polling
        finally:
            if self._poll is request:
                self._poll = None

    async def _do_getupdates(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        if self.webhook.get("url"):
            text = "Conflict: can't use getUpdates method while webhook is active"
            raise ApiError(409, text)
        if "allowed_updates" in params:
            self.allowed = params["allowed_updates"]
        offset = int(params.get("offset") or 0)
        limit = min(100, max(1, int(params.get("limit") or 100)))
        if offset < 0:
            self.updates = self.updates[offset:]
        else:
            self.updates = [u for u in self.updates if u["update_id"] >= offset]
        end = time.monotonic() + float(params.get("timeout") or 0)
        while not self.updates and (left := end - time.monotonic()) > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)
        return self.updates[:limit]

    def _do_setwebhook(self, params: dict[str, Any]) -> bool:
        most = int(params.get("max_connections") or 40)
        if not 1 <= most <= 100:
            raise ApiError(400, "Bad Request: bad webhook: max_connections must be 1 to 100")
        self.webhook = {
            "url": params.get("url", ""), "secret": params.get("secret_token", ""), "most": most,
        }  # fmt: skip
        self._drop(params)
        if "allowed_updates" in params:
            self.allowed = params["allowed_updates"]
        return True

    def _drop(self, params: dict[str, Any]) -> None:
        if str(params.get("drop_pending_updates", "")).lower() == "true":
            self.updates.clear()

    def pushes_failed(self, status: int) -> None:
        """Note that the webhook did not take an update."""
        self.webhook["failed"] = (int(self.clock()), f"Wrong response from the webhook: {status}")

    def _do_deletewebhook(self, params: dict[str, Any]) -> bool:
        self.webhook = {}
        self._drop(params)
        return True

    def _do_getwebhookinfo(self, _: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {
            "url": self.webhook.get("url", ""), "has_custom_certificate": False,
            "pending_update_count": len(self.updates),
        }  # fmt: skip
        if self.allowed:
            told["allowed_updates"] = self.allowed
        if failed := self.webhook.get("failed"):
            told |= {"last_error_date": failed[0], "last_error_message": failed[1]}
        return told
