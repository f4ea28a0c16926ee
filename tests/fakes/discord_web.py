"""The web side of the Discord fake: its routes, its rules and its faults."""

from __future__ import annotations

import fnmatch
import json
import re
import socket
import struct
import zlib
from typing import Any

from aiohttp import web

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_interactions import Interactions
from tests.fakes.discord_shapes import Call, Fault, Limit, Refusal, SlowDown, json_answer
from tests.fakes.discord_threads import Threads


class Web(Threads, Interactions):
    """The HTTP side."""

    token: str
    content_intent: bool
    gateway_url: str
    needed_shards: int

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        call = await self._call(request)
        self.calls.append(call)
        fault = self._fault(call.method, call.path)
        if fault is None or fault.apply:
            status, body = self._done(request, call)
        else:
            status, body = 200, {}
        if fault is not None:
            return await self._break(request, fault, status, body)
        call.status = status
        headers = self._bucket(call)
        if status == 429:
            pause = {"Retry-After": str(body["retry_after"]), "Via": "1.1 fake"}
            scope = {"X-RateLimit-Scope": self._limit(call)[1].scope}
            return json_answer(status, body, **headers, **pause, **scope)
        return json_answer(status, body, **headers)

    def _limit(self, call: Call) -> tuple[str, Limit]:
        """Return the bucket of a call, by its route and its major id, and what it allows."""
        where = f"{call.method} {call.path}"
        for pattern, limit in self.limits.items():
            if fnmatch.fnmatch(where, pattern):
                return pattern, limit
        route = re.sub(r"(?<!^)/\d{5,}", "/:id", re.sub(r"/interactions/.*", "/i", call.path))
        return f"{call.method} {route}", Limit()

    def _bucket(self, call: Call) -> dict[str, str]:
        name, limit = self._limit(call)
        left = max(limit.calls - self._recent(name, call, limit), 0)
        return {
            "X-RateLimit-Bucket": f"{zlib.crc32(name.encode()):x}",
            "X-RateLimit-Limit": str(limit.calls),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset-After": str(limit.window),
            "X-RateLimit-Reset": str(self.clock() + limit.window),
        }

    def _recent(self, name: str, call: Call, limit: Limit) -> int:
        """Count the calls of a bucket in its window that were let through."""
        major = "/".join(call.path.split("/")[:3])
        since = self.clock() - limit.window
        return sum(
            1
            for one in reversed(self.calls[-2 * limit.calls - 50 :])
            if one.at > since
            and one.status not in {0, 429}
            and "/".join(one.path.split("/")[:3]) == major
            and self._limit(one)[0] == name
        )

    def _done(self, request: web.Request, call: Call) -> tuple[int, Any]:
        name, limit = self._limit(call)
        if self.limits and self._recent(name, call, limit) >= limit.calls:
            wait = {"retry_after": limit.window, "global": False}
            return 429, {"message": "You are being rate limited."} | wait
        if re.fullmatch(r"PATCH /channels/\d+", f"{call.method} {call.path}"):
            return Web._answer(self, request, call)  # the same whoever answers the rest
        return self._answer(request, call)

    async def _call(self, request: web.Request) -> Call:
        path, query = "/" + request.match_info["path"], dict(request.query)
        body: Any = None
        files: list[tuple[str, bytes]] = []
        if request.content_type == "multipart/form-data":
            form = await request.post()
            body = json.loads(str(form["payload_json"]))
            parts = [form[name] for name in sorted(form) if name.startswith("files[")]
            files = [
                (one.filename, one.file.read()) for one in parts if isinstance(one, web.FileField)
            ]
        elif raw := await request.read():
            body = json.loads(raw) if request.content_type == "application/json" else None
        return Call(self.clock(), request.method, path, query, body, files=files)

    async def _cdn(self, request: web.Request) -> web.StreamResponse:
        path = "/cdn/" + request.match_info["path"]
        self.calls.append(Call(self.clock(), "GET", path, dict(request.query), None))
        if fault := self._fault("GET", path):
            return await self._break(request, fault, 200, {})
        found = re.fullmatch(r"/cdn/(?:attachments/\d+/(\d+)/.+|stickers/(\d+)\.png)", path)
        content = self._files.get(found[1] or found[2]) if found else None
        ended = found is not None and found[1] is not None and self._ended(request)
        if content is None or ended:
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=content)

    def _ended(self, request: web.Request) -> bool:
        return int(request.query.get("ex", "0"), 16) <= self.clock()

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.count > 0 and fnmatch.fnmatch(f"{method} {path}", fault.where):
                fault.count -= 1
                return fault
        return None

    async def _break(
        self, request: web.Request, fault: Fault, status: int, body: Any
    ) -> web.StreamResponse:
        if fault.kind in {"500", "502", "503", "504"}:
            return json_answer(int(fault.kind), {"message": "upstream", "code": 0})
        pause = {"Retry-After": str(fault.retry_after)}
        if fault.kind.startswith("429-") and fault.kind != "429-cloudflare":
            pause["X-RateLimit-Scope"] = fault.kind.removeprefix("429-")
        if fault.kind in {"429", "429-shared", "429-global"}:
            everywhere = fault.kind == "429-global"
            if everywhere:
                pause["X-RateLimit-Global"] = "true"
            wait = {"message": "slow down", "retry_after": fault.retry_after, "global": everywhere}
            return json_answer(429, wait, Via="1.1 fake", **pause)
        if fault.kind.isdecimal() and len(fault.kind) > 3:  # an error by its own number
            return json_answer(fault.status, {"message": "no", "code": int(fault.kind)})
        if fault.kind == "429-cloudflare":
            return json_answer(429, {"message": "banned"}, **pause)
        if fault.kind == "junk":
            return web.Response(body=b"{no", headers={"Content-Type": "application/json"})
        if fault.kind == "hang":
            await self._stopping.wait()
        if fault.kind == "cut":
            answer = web.StreamResponse(status=status)
            text = json.dumps(body).encode()
            answer.headers["Content-Type"] = "application/json"
            answer.content_length = len(text)
            await answer.prepare(request)
            await answer.write(text[: len(text) // 2])
        elif fault.kind == "reset" and request.transport is not None:
            line = request.transport.get_extra_info("socket")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if request.transport is not None:
            request.transport.close() if fault.kind == "cut" else request.transport.abort()
        return web.Response()

    def _answer(self, request: web.Request, call: Call) -> tuple[int, Any]:
        open_to_all = call.path.startswith(("/gateway", "/interactions", "/webhooks"))
        if request.headers.get("Authorization") != f"Bot {self.token}" and not open_to_all:
            return 401, {"message": "401: Unauthorized", "code": 0}
        for method, pattern, name in _ROUTES:
            found = re.fullmatch(pattern, call.path)
            if found and method == call.method:
                try:
                    return getattr(self, name)(call, *found.groups())  # type: ignore[no-any-return]
                except SlowDown as refusal:
                    wait = {"retry_after": refusal.retry_after, "global": False}
                    return 429, {"message": refusal.text} | wait
                except Refusal as refusal:
                    return refusal.status, {"message": refusal.text, "code": refusal.code}
        return 404, {"message": "404: Not Found", "code": 0}

    def me(self, _: Call) -> tuple[int, Any]:
        return 200, self.bot

    def application(self, _: Call) -> tuple[int, Any]:
        return 200, shapes.application(self.bot, self._flags())

    def gateway_address(self, _: Call) -> tuple[int, Any]:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        shards = self.needed_shards
        return 200, {"url": self.gateway_url, "shards": shards, "session_start_limit": limit}

    def direct_channels(self, _: Call) -> tuple[int, Any]:
        """Show a bot what Discord shows it of its direct channels: none."""
        return 200, []

    def get_guild(self, _: Call, guild: str) -> tuple[int, Any]:
        if guild not in self.servers:
            raise Refusal(*shapes.UNKNOWN_SERVER)
        hidden = {"channels", "threads", "members", "presences"}
        return 200, {k: v for k, v in self._server(guild).items() if k not in hidden}

    def get_member(self, _: Call, _guild: str, user: str) -> tuple[int, Any]:
        if user == self.bot["id"]:
            return 200, self._member(self.bot)
        if user not in self._people:
            raise Refusal(*shapes.UNKNOWN_MEMBER)
        return 200, self._member(self._people[user])

    def put_commands(self, call: Call, _app: str, guild: str = "") -> tuple[int, Any]:
        for one in call.body:
            if one.get("type", 1) != 1:  # of a menu: a name with blanks, and nothing else
                if not 0 < len(one["name"]) <= 32 or "description" in one or "options" in one:
                    raise shapes.form_error("a menu's command has a name and no description")
                continue
            options = one.get("options") or []
            named = [one, *options]
            if len(call.body) > 100 or any(
                not re.fullmatch(r"[-_\w]{1,32}", each["name"])
                or not 0 < len(each["description"]) <= 100
                for each in named
            ):
                raise shapes.form_error("a command or an option has a wrong name or description")
        self.commands[guild] = call.body
        made = {"application_id": self.bot["id"], "version": "1"}
        return 200, [one | made | {"id": self._id()} for one in call.body]

    def get_commands(self, _: Call, _app: str, guild: str = "") -> tuple[int, Any]:
        return 200, self.commands.get(guild, [])


_ROUTES = (
    ("GET", r"/users/@me", "me"),
    ("POST", r"/users/@me/channels", "post_direct"),
    ("GET", r"/users/@me/channels", "direct_channels"),
    ("GET", r"/oauth2/applications/@me", "application"),
    ("GET", r"/gateway(?:/bot)?", "gateway_address"),
    ("GET", r"/guilds/(\d+)", "get_guild"),
    ("GET", r"/guilds/(\d+)/members/(\d+)", "get_member"),
    ("GET", r"/channels/(\d+)", "get_channel"),
    ("PATCH", r"/channels/(\d+)", "patch_channel"),
    ("POST", r"/channels/(\d+)/messages", "post_message"),
    ("GET", r"/channels/(\d+)/messages", "history"),
    ("GET", r"/channels/(\d+)/messages/(\d+)", "get_message"),
    ("PATCH", r"/channels/(\d+)/messages/(\d+)", "patch_message"),
    ("DELETE", r"/channels/(\d+)/messages/(\d+)", "delete_message"),
    ("PUT", r"/channels/(\d+)/messages/pins/(\d+)", "put_pin"),
    ("PUT", r"/channels/(\d+)/pins/(\d+)", "put_pin"),
    ("PUT", r"/channels/(\d+)/thread-members/(@me|\d+)", "put_thread_member"),
    ("DELETE", r"/channels/(\d+)/thread-members/(@me|\d+)", "delete_thread_member"),
    ("GET", r"/channels/(\d+)/thread-members", "get_thread_members"),
    ("POST", r"/channels/(\d+)/webhooks", "post_webhook"),
    ("PUT", r"/channels/(\d+)/messages/(\d+)/reactions/([^/]+)/@me", "put_reaction"),
    ("DELETE", r"/channels/(\d+)/messages/(\d+)/reactions/([^/]+)/@me", "delete_reaction"),
    ("POST", r"/channels/(\d+)/typing", "show_typing"),
    ("POST", r"/channels/(\d+)/threads", "post_thread"),
    ("POST", r"/channels/(\d+)/messages/(\d+)/threads", "post_message_thread"),
    ("PUT", r"/applications/(\d+)/commands", "put_commands"),
    ("GET", r"/applications/(\d+)/commands", "get_commands"),
    ("PUT", r"/applications/(\d+)/guilds/(\d+)/commands", "put_commands"),
    ("GET", r"/applications/(\d+)/guilds/(\d+)/commands", "get_commands"),
    ("POST", r"/interactions/(\d+)/([^/]+)/callback", "callback"),
    ("POST", r"/webhooks/(\d+)/([^/]+)", "follow_up"),
    ("PATCH", r"/webhooks/(\d+)/([^/]+)/messages/@original", "patch_original"),
    ("PATCH", r"/webhooks/(\d+)/([^/]+)/messages/(\d+)", "patch_follow_up"),
)
