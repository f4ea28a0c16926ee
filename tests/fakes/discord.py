"""A Discord of our own on loopback: web side and gateway, driven only by the real library.

`async with DiscordFake() as fake` serves `fake.api_base` and `fake.gateway_url`. The person's side
(`say`, `edit`, `delete`, `press`, `slash`) are plain calls; faults are data. Everything lives in
this object, so a bot may be killed and started again against it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import json
import re
import socket
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import WSMsgType, web

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_shapes import (
    CLOSED_DIRECT,
    DIRECT,
    DIRECT_MESSAGES,
    EPOCH_MS,
    GUILD_MESSAGES,
    MESSAGE_CONTENT,
    MISSING_ACCESS,
    MISSING_PERMISSION,
    REPLY_DEADLINE,
    TEXT,
    THREAD,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    Call,
    Fault,
    Interaction,
    Kind,
    Refusal,
    Session,
    check_text,
    json_answer,
    squeezer,
)


class DiscordFake:
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
        self.token = token
        self.content_intent = content_intent  # whether the portal's switch is on
        self.heartbeat = heartbeat
        self.clock = clock
        self.nonce_lives = nonce_lives
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.closes: list[int] = []  # close codes for the next IDENTIFYs
        self.silent = False  # heartbeats stay unanswered, and nothing else is said
        self.resumes = True  # whether RESUME is taken, or answered by op 9
        self.identifies: list[dict[str, Any]] = []
        self.resumed = 0
        self.commands: dict[str, list[dict[str, Any]]] = {}  # "" is global, else by server
        self.denied: set[tuple[str, str]] = set()  # (channel, "send" | "history" | "threads")
        self.closed_people: set[str] = set()
        self.typing: list[str] = []
        self.interactions: dict[str, Interaction] = {}
        self._last = 0
        self._people: dict[str, dict[str, Any]] = {}
        self._channels: dict[str, dict[str, Any]] = {}
        self._messages: dict[str, dict[str, dict[str, Any]]] = {}
        self._nonces: dict[str, tuple[float, dict[str, Any]]] = {}
        self._sessions: dict[str, Session] = {}
        self._stopping = asyncio.Event()
        self.bot = {**self._person("Heed"), "bot": True}
        self.guild = self._id()
        self.channel = self.add_channel("general")
        self.desk = self.add_channel("desk")

    # Start and stop.

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/api/v10/{path:.*}", self._rest)
        app.router.add_get("/gateway", self._gateway)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.api_base = f"http://127.0.0.1:{port}/api/v10"
        self.gateway_url = f"ws://127.0.0.1:{port}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self.drop()
        await self._runner.cleanup()

    # The person's side.

    def person(self, name: str) -> str:
        """Return the user id of a person, who is made when first named."""
        for one in self._people.values():
            if one["username"] == name:
                return str(one["id"])
        return str(self._person(name)["id"])

    def add_channel(self, name: str, *, kind: int = TEXT, parent: str | None = None) -> str:
        """Make a channel (or thread) of the server."""
        channel = shapes.channel(self._id(), self.guild, name, kind, parent, self._now())
        channel["position"] = len(self._channels)
        self._channels[channel["id"]] = channel
        self._messages[channel["id"]] = {}
        event = "THREAD_CREATE" if kind == THREAD else "CHANNEL_CREATE"
        self._tell(event, lambda _: channel)
        return str(channel["id"])

    def dm(self, user: str) -> str:
        """Return the direct channel of a person (by name), made when first needed."""
        person = self._people[self.person(user)]
        for channel in self._channels.values():
            if channel["type"] == DIRECT and channel["recipients"][0]["id"] == person["id"]:
                return str(channel["id"])
        channel_id = self._id()
        self._channels[channel_id] = {
            "id": channel_id,
            "type": DIRECT,
            "recipients": [person],
            "last_message_id": None,
        }
        self._messages[channel_id] = {}
        return channel_id

    def say(
        self,
        user: str,
        text: str,
        *,
        channel: str | None = None,
        mention: bool = False,
        reply_to: str | None = None,
    ) -> str:
        """Write as a person, in a channel or (without one) to the bot; returns the message id."""
        place = channel or self.dm(user)
        content = f"<@{self.bot['id']}> {text}" if mention else text
        extra = {"message_reference": {"message_id": reply_to}} if reply_to else {}
        message = self._write(place, self._people[self.person(user)], {"content": content} | extra)
        return str(message["id"])

    def edit(self, channel: str, message_id: str, text: str) -> None:
        """Change what somebody wrote."""
        message = self._messages[channel][message_id]
        message |= {"content": text, "edited_timestamp": self._now()}
        self._tell_message("MESSAGE_UPDATE", message)

    def delete(self, channel: str, message_id: str) -> None:
        """Delete what somebody wrote."""
        del self._messages[channel][message_id]
        data = {"id": message_id, "channel_id": channel} | self._server_of(channel)
        self._tell("MESSAGE_DELETE", lambda _: data)

    def press(self, user: str, channel: str, message_id: str, custom_id: str) -> Interaction:
        """Press a button under one of the bot's messages."""
        message = self._messages[channel][message_id]
        data = {"custom_id": custom_id, "component_type": 2}
        return self._interact(user, channel, 3, data, message=message)

    def slash(
        self, user: str, name: str, *, channel: str | None = None, **options: str
    ) -> Interaction:
        """Use a slash command."""
        chosen = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        data = {"id": self._id(), "name": name, "type": 1, "options": chosen}
        return self._interact(user, channel or self.dm(user), 2, data)

    # What tests ask.

    def transcript(self, channel: str) -> list[tuple[str, str]]:
        """Return (author's name, text) of every message of a channel, oldest first."""
        return [
            (one["author"]["username"], one["content"]) for one in self._messages[channel].values()
        ]

    def messages(self, channel: str) -> list[dict[str, Any]]:
        """Return the full messages of a channel, oldest first."""
        return list(self._messages[channel].values())

    def called(self, where: str) -> list[Call]:
        """Return the calls that match "METHOD /path/*"."""
        return [one for one in self.calls if fnmatch.fnmatch(f"{one.method} {one.path}", where)]

    def threads(self, channel: str) -> list[dict[str, Any]]:
        """Return the threads of a channel."""
        return [one for one in self._channels.values() if one.get("parent_id") == channel]

    def forget_channel(self, channel: str) -> None:
        """Delete a channel or thread."""
        gone = self._channels.pop(channel)
        event = "THREAD_DELETE" if gone["type"] == THREAD else "CHANNEL_DELETE"
        self._tell(event, lambda _: gone)

    @property
    def connected(self) -> int:
        """How many gateway sockets are open and identified."""
        return sum(1 for one in self._sessions.values() if one.out is not None)

    # Faults of the gateway.

    def fail(self, where: str, kind: Kind, **more: Any) -> None:
        """Arrange for calls of the web side to fail."""
        self.faults.append(Fault(where, kind, **more))

    def raw(self, frame: str) -> None:
        """Send any text as a frame."""
        self._line(frame)

    def drop(self, code: int | None = None, *, forget: bool = False) -> None:
        """Close every gateway socket with a code, or cut the line; perhaps forget the sessions."""
        self._line(code)
        for session in self._sessions.values():
            session.out = None  # what is said from now on waits for a RESUME
        if forget:
            self._sessions.clear()

    def reconnect(self) -> None:
        """Ask clients to connect again (op 7)."""
        self._line(json.dumps({"op": 7, "d": None}))

    def invalidate(self) -> None:
        """Declare every session dead (op 9, false)."""
        self._line(json.dumps({"op": 9, "d": False}))
        self._sessions.clear()

    def _line(self, what: str | int | None) -> None:
        for session in self._sessions.values():
            if session.out is not None:
                session.out.put_nowait(what)

    # State.

    def _id(self) -> str:
        self._last = max(self._last + 1, (int(self.clock() * 1000) - EPOCH_MS) << 22)
        return str(self._last)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), tz=UTC).isoformat()

    def _person(self, name: str) -> dict[str, Any]:
        person = {
            "id": self._id(),
            "username": name,
            "global_name": None,
            "discriminator": "0",
            "avatar": None,
        }
        self._people[person["id"]] = person
        return person

    def _server_of(self, channel: str) -> dict[str, Any]:
        return {} if self._channels[channel]["type"] == DIRECT else {"guild_id": self.guild}

    def _write(self, channel: str, author: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        content = body.get("content") or ""
        reference, replied = body.get("message_reference"), None
        if reference:
            replied = self._messages[channel].get(str(reference["message_id"]))
            if replied is None and reference.get("fail_if_not_exists", True):
                raise Refusal(400, 50035, "Invalid Form Body: unknown message_reference")
        message = {
            "id": self._id(),
            "type": 19 if replied else 0,
            "channel_id": channel,
            "author": author,
            "content": content,
            "timestamp": self._now(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": body.get("embeds") or [],
            "components": body.get("components") or [],
            "pinned": False,
            "flags": body.get("flags") or 0,
        }
        self._mention(message, body.get("allowed_mentions"), replied)
        if replied:
            message["message_reference"] = {"message_id": replied["id"], "channel_id": channel}
            message["referenced_message"] = replied
        if body.get("nonce") is not None:
            message["nonce"] = body["nonce"]
        self._messages[channel][message["id"]] = message
        self._channels[channel]["last_message_id"] = message["id"]
        self._tell_message("MESSAGE_CREATE", message)
        return message

    def _mention(
        self,
        message: dict[str, Any],
        allowed: dict[str, Any] | None,
        replied: dict[str, Any] | None,
    ) -> None:
        """Work out who is pinged; without `allowed_mentions` everybody named is."""
        content = message["content"]
        parse = {"everyone", "users"} if allowed is None else set(allowed.get("parse") or ())
        named = set(re.findall(r"<@!?(\d+)>", content))
        if "users" not in parse:
            named &= {str(one) for one in (allowed or {}).get("users") or ()}
        if replied and (allowed or {}).get("replied_user", message["author"].get("bot") is None):
            named.add(replied["author"]["id"])
        people = {**self._people, self.bot["id"]: self.bot}
        message["mentions"] = [people[one] for one in sorted(named) if one in people]
        loud = "@everyone" in content or "@here" in content
        message["mention_everyone"] = loud and "everyone" in parse

    # Telling the gateway.

    def _tell(self, event: str, data_for: Callable[[Session], Any]) -> None:
        for session in tuple(self._sessions.values()):
            session.send(event, data_for(session))

    def _tell_message(self, event: str, message: dict[str, Any]) -> None:
        server = self._server_of(message["channel_id"])
        needed = GUILD_MESSAGES if server else DIRECT_MESSAGES
        for session in tuple(self._sessions.values()):
            if session.intents & needed:
                shown = self._shown(message, session.intents & MESSAGE_CONTENT) | server
                if server and not message["author"].get("bot"):
                    member = shapes.member(message["author"])
                    shown["member"] = {k: v for k, v in member.items() if k != "user"}
                session.send(event, shown)

    def _shown(self, message: dict[str, Any], allowed: int) -> dict[str, Any]:
        """Return a message as the bot may see it: empty, unless the rules of the intent let it."""
        direct = self._channels[message["channel_id"]]["type"] == DIRECT
        own = message["author"]["id"] == self.bot["id"]
        named = any(one["id"] == self.bot["id"] for one in message["mentions"])
        if allowed or direct or own or named:
            return dict(message)
        return message | {"content": "", "embeds": [], "attachments": [], "components": []}

    def _interact(
        self,
        user: str,
        channel: str,
        kind: int,
        data: dict[str, Any],
        **extra: Any,
    ) -> Interaction:
        person = self._people[self.person(user)]
        server = self._server_of(channel)
        who = {"member": shapes.member(person)} if server else {"user": person}
        payload = {
            "id": self._id(),
            "application_id": self.bot["id"],
            "type": kind,
            "data": data,
            "channel_id": channel,
            "channel": {**self._channels[channel], "permissions": "0"},
            "token": f"interaction-{self._last}",
            "version": 1,
            "locale": "en-US",
            "attachment_size_limit": 10_000_000,
            "entitlements": [],
            "authorizing_integration_owners": {},
            **who,
            **server,
            **extra,
        }
        made = Interaction(payload["id"], payload["token"], self.clock(), payload)
        self.interactions[made.id] = made
        self._tell("INTERACTION_CREATE", lambda _: payload)
        return made

    # The gateway.

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse(autoping=False, timeout=0.2)
        await socket_.prepare(request)
        squeeze = squeezer(request.query.get("compress", ""))
        out: asyncio.Queue[str | int | None] = asyncio.Queue()
        out.put_nowait(json.dumps({"op": 10, "d": {"heartbeat_interval": self.heartbeat}}))
        writer = asyncio.create_task(self._write_out(request, socket_, out, squeeze))
        session: Session | None = None
        try:
            async for frame in socket_:
                if frame.type != WSMsgType.TEXT:
                    break
                packet = json.loads(frame.data)
                if packet["op"] == 1 and not self.silent:
                    out.put_nowait(json.dumps({"op": 11}))
                elif packet["op"] == 2:
                    session = self._identify(packet["d"], out)
                elif packet["op"] == 6:
                    session = self._resume(packet["d"], out)
        finally:
            if session is not None and session.out is out:
                session.out = None
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket_

    async def _write_out(
        self,
        request: web.Request,
        socket_: web.WebSocketResponse,
        out: asyncio.Queue[str | int | None],
        squeeze: Callable[[str], bytes] | None,
    ) -> None:
        while True:
            what = await out.get()
            if what is None:
                if request.transport is not None:
                    request.transport.abort()
                return
            with contextlib.suppress(ConnectionError):
                if isinstance(what, int):
                    await socket_.close(code=what)
                    return
                if squeeze is None:
                    await socket_.send_str(what)
                else:
                    await socket_.send_bytes(squeeze(what))

    def _identify(self, data: dict[str, Any], out: asyncio.Queue[Any]) -> Session | None:
        self.identifies.append(data)
        code = self.closes.pop(0) if self.closes else 0
        if data["token"] != self.token:
            code = 4004
        elif data["intents"] & MESSAGE_CONTENT and not self.content_intent:
            code = code or 4014
        if code:
            out.put_nowait(code)
            return None
        session = Session(self._id(), data["intents"], out=out)
        self._sessions[session.id] = session
        ready = {
            "v": 10,
            "user": self.bot,
            "session_id": session.id,
            "resume_gateway_url": self.gateway_url,
            "guilds": [{"id": self.guild, "unavailable": True}],
            "private_channels": [],
            "application": {"id": self.bot["id"], "flags": self._flags()},
        }
        session.send("READY", ready)
        session.send("GUILD_CREATE", shapes.guild(self.guild, self.bot, [*self._channels.values()]))
        return session

    def _resume(self, data: dict[str, Any], out: asyncio.Queue[Any]) -> Session | None:
        session = self._sessions.get(str(data["session_id"]))
        if session is None or not self.resumes or data["token"] != self.token:
            out.put_nowait(json.dumps({"op": 9, "d": False}))
            return None
        self.resumed += 1
        session.out = out
        for seq, frame in session.log:
            if seq > (data["seq"] or 0):
                out.put_nowait(frame)
        session.send("RESUMED", {})
        return session

    def _flags(self) -> int:
        return 1 << 18 if self.content_intent else 0

    # The web side.

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        is_json = request.content_type == "application/json" and raw
        path = "/" + request.match_info["path"]
        call = Call(
            self.clock(),
            request.method,
            path,
            dict(request.query),
            json.loads(raw) if is_json else None,
        )
        self.calls.append(call)
        fault = self._fault(request.method, path)
        if fault is None or fault.apply:
            status, body = self._answer(request, call)
        else:
            status, body = 200, {}
        if fault is not None:
            return await self._break(request, fault, status, body)
        call.status = status
        return json_answer(status, body)

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.count > 0 and fnmatch.fnmatch(f"{method} {path}", fault.where):
                fault.count -= 1
                return fault
        return None

    async def _break(
        self, request: web.Request, fault: Fault, status: int, body: Any
    ) -> web.StreamResponse:
        if fault.kind in {"500", "502", "503"}:
            return json_answer(int(fault.kind), {"message": "upstream", "code": 0})
        pause = {"Retry-After": str(fault.retry_after)}
        if fault.kind == "429":
            wait = {"message": "slow down", "retry_after": fault.retry_after, "global": False}
            return json_answer(429, wait, Via="1.1 fake", **pause)
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
                except Refusal as refusal:
                    return refusal.status, {"message": refusal.text, "code": refusal.code}
        return 404, {"message": "404: Not Found", "code": 0}

    def _open(self, channel: str, right: str) -> dict[str, Any]:
        if channel not in self._channels:
            raise Refusal(*UNKNOWN_CHANNEL)
        if (channel, "view") in self.denied:
            raise Refusal(*MISSING_ACCESS)
        if (channel, right) in self.denied:
            raise Refusal(*MISSING_PERMISSION)
        return self._channels[channel]

    def _message(self, channel: str, message_id: str) -> dict[str, Any]:
        self._open(channel, "history")
        if message_id not in self._messages[channel]:
            raise Refusal(*UNKNOWN_MESSAGE)
        return self._messages[channel][message_id]

    def me(self, _: Call) -> tuple[int, Any]:
        return 200, self.bot

    def application(self, _: Call) -> tuple[int, Any]:
        return 200, shapes.application(self.bot, self._flags())

    def gateway_address(self, _: Call) -> tuple[int, Any]:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        return 200, {"url": self.gateway_url, "shards": 1, "session_start_limit": limit}

    def get_channel(self, _: Call, channel: str) -> tuple[int, Any]:
        return 200, self._open(channel, "view")

    def post_message(self, call: Call, channel: str) -> tuple[int, Any]:
        place = self._open(channel, "send")
        body = call.body or {}
        if place["type"] == DIRECT and place["recipients"][0]["id"] in self.closed_people:
            raise Refusal(*CLOSED_DIRECT)
        check_text(body)
        nonce = body.get("nonce")
        if nonce is not None and len(str(nonce)) > 25:
            raise Refusal(400, 50035, "Invalid Form Body: nonce too long")
        if nonce is not None and body.get("enforce_nonce"):
            at, earlier = self._nonces.get(str(nonce), (0.0, {}))
            if earlier and self.clock() - at < self.nonce_lives:
                return 200, earlier
        message = self._write(channel, self.bot, body)
        if nonce is not None:
            self._nonces[str(nonce)] = (self.clock(), message)
        return 200, message

    def history(self, call: Call, channel: str) -> tuple[int, Any]:
        self._open(channel, "history")
        limit = int(call.query.get("limit", 50))
        after, before = int(call.query.get("after", 0)), int(call.query.get("before", 1 << 63))
        found = [one for one in self.messages(channel) if after < int(one["id"]) < before]
        page = found[:limit] if "after" in call.query else found[-limit:]
        return 200, [self._shown(one, self.content_intent) for one in reversed(page)]

    def get_message(self, _: Call, channel: str, message_id: str) -> tuple[int, Any]:
        return 200, self._shown(self._message(channel, message_id), self.content_intent)

    def patch_message(self, call: Call, channel: str, message_id: str) -> tuple[int, Any]:
        message = self._message(channel, message_id)
        if message["author"]["id"] != self.bot["id"]:
            raise Refusal(403, 50005, "Cannot edit a message authored by another user")
        if "content" in call.body:
            check_text(call.body)
        changes = {k: v for k, v in call.body.items() if k in {"content", "components", "embeds"}}
        message |= {k: v or ([] if k != "content" else "") for k, v in changes.items()}
        message["edited_timestamp"] = self._now()
        self._mention(message, call.body.get("allowed_mentions"), None)
        self._tell_message("MESSAGE_UPDATE", message)
        return 200, message

    def delete_message(self, _: Call, channel: str, message_id: str) -> tuple[int, Any]:
        self._message(channel, message_id)
        self.delete(channel, message_id)
        return 204, None

    def show_typing(self, _: Call, channel: str) -> tuple[int, Any]:
        self._open(channel, "send")
        self.typing.append(channel)
        return 204, None

    def post_thread(self, call: Call, channel: str) -> tuple[int, Any]:
        self._open(channel, "threads")
        thread = self.add_channel(call.body["name"], kind=THREAD, parent=channel)
        return 201, self._channels[thread]

    def post_message_thread(self, call: Call, channel: str, message_id: str) -> tuple[int, Any]:
        self._message(channel, message_id)
        return self.post_thread(call, channel)

    def post_direct(self, call: Call) -> tuple[int, Any]:
        person = self._people.get(str(call.body["recipient_id"]))
        if person is None:
            raise Refusal(400, 50033, "Invalid Recipient(s)")
        return 200, self._channels[self.dm(str(person["username"]))]

    def put_commands(self, call: Call, _app: str, guild: str = "") -> tuple[int, Any]:
        self.commands[guild] = call.body
        made = {"application_id": self.bot["id"], "version": "1"}
        return 200, [one | made | {"id": self._id()} for one in call.body]

    def get_commands(self, _: Call, _app: str, guild: str = "") -> tuple[int, Any]:
        return 200, self.commands.get(guild, [])

    def callback(self, call: Call, interaction_id: str, token: str) -> tuple[int, Any]:
        known = self.interactions.get(interaction_id)
        if known is None or known.token != token or self.clock() - known.at > REPLY_DEADLINE:
            raise Refusal(404, 10062, "Unknown interaction")
        if known.answer is not None:
            raise Refusal(400, 40060, "Interaction has already been acknowledged")
        known.answer = call.body
        known.answered.set()
        return 204, None

    def follow_up(self, call: Call, _app: str, token: str) -> tuple[int, Any]:
        known = self._by_token(token)
        return 200, self._write(known.payload["channel_id"], self.bot, call.body)

    def patch_original(self, call: Call, _app: str, token: str) -> tuple[int, Any]:
        known = self._by_token(token)
        known.answer = {"type": 4, "data": call.body}
        message = {"id": known.id, "channel_id": known.payload["channel_id"], **call.body}
        return 200, message

    def _by_token(self, token: str) -> Interaction:
        for one in self.interactions.values():
            if one.token == token and one.answer is not None:
                return one
        raise Refusal(404, 10015, "Unknown Webhook")


_ROUTES = (
    ("GET", r"/users/@me", "me"),
    ("POST", r"/users/@me/channels", "post_direct"),
    ("GET", r"/oauth2/applications/@me", "application"),
    ("GET", r"/gateway(?:/bot)?", "gateway_address"),
    ("GET", r"/channels/(\d+)", "get_channel"),
    ("POST", r"/channels/(\d+)/messages", "post_message"),
    ("GET", r"/channels/(\d+)/messages", "history"),
    ("GET", r"/channels/(\d+)/messages/(\d+)", "get_message"),
    ("PATCH", r"/channels/(\d+)/messages/(\d+)", "patch_message"),
    ("DELETE", r"/channels/(\d+)/messages/(\d+)", "delete_message"),
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
)
