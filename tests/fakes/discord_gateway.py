"""The gateway of the Discord fake: sessions that outlive their sockets, and its faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.discord_shapes import MESSAGE_CONTENT, Session, squeezer
from tests.fakes.discord_state import DiscordState


class Gateway(DiscordState):
    """The socket side."""

    token: str
    content_intent: bool
    heartbeat: int
    gateway_url: str

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.closes: list[int] = []  # close codes for the next IDENTIFYs
        self.silent = False  # heartbeats stay unanswered, and nothing else is said
        self.resumes = True  # whether RESUME is taken, or answered by op 9
        self.doubles = False  # whether a RESUME replays its last frame twice
        self.plain = False  # frames are sent as they are, whatever compression was asked for
        self.asked: list[str] = []  # the compression that each connection asked for
        self.resume_url = ""  # another one than the gateway's own
        self.early: list[str] = []  # frames that come between READY and GUILD_CREATE
        self.needed_shards = 1  # what /gateway/bot proposes, and fewer are refused (4011)
        self.beats = 0  # heartbeats heard
        self.identifies: list[dict[str, Any]] = []
        self.resumed = 0

    @property
    def connected(self) -> int:
        """How many gateway sockets are open and identified."""
        return sum(1 for one in self._sessions.values() if one.out is not None)

    # Faults of the gateway.

    def raw(self, frame: str) -> None:
        """Send any text as a frame."""
        self._line(frame)

    def drop(
        self, code: int | None = None, *, forget: bool = False, shard: int | None = None
    ) -> None:
        """Close gateway sockets with a code, or cut the line; perhaps forget the sessions.

        `shard`: only that one's.
        """
        for session in self._sessions.values():
            if shard is not None and session.shard[0] != shard:
                continue
            if session.out is not None:
                session.out.put_nowait(code)
            session.out = None  # what is said from now on waits for a RESUME
        if forget:
            self._sessions.clear()

    def reconnect(self) -> None:
        """Ask clients to connect again (op 7)."""
        self._line(json.dumps({"op": 7, "d": None}))

    def invalidate(self, *, resumable: bool = False) -> None:
        """Declare every session dead, or only to be resumed (op 9, false or true)."""
        self._line(json.dumps({"op": 9, "d": resumable}))
        if not resumable:
            self._sessions.clear()

    def ask_heartbeat(self) -> None:
        """Ask for a heartbeat at once (op 1)."""
        self._line(json.dumps({"op": 1, "d": None}))

    def _line(self, what: str | int | None) -> None:
        for session in self._sessions.values():
            if session.out is not None:
                session.out.put_nowait(what)

    # The gateway.

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse(autoping=False, timeout=0.2)
        await socket_.prepare(request)
        self.asked.append(request.query.get("compress", ""))
        squeeze = squeezer("" if self.plain else self.asked[-1])
        out: asyncio.Queue[str | int | None] = asyncio.Queue()
        out.put_nowait(json.dumps({"op": 10, "d": {"heartbeat_interval": self.heartbeat}}))
        writer = asyncio.create_task(self._write_out(request, socket_, out, squeeze))
        session: Session | None = None
        try:
            async for frame in socket_:
                if frame.type != WSMsgType.TEXT:
                    break
                packet = json.loads(frame.data)
                self.beats += packet["op"] == 1
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
        number, of = data.get("shard") or (0, 1)
        if not 0 <= number < of:
            code = code or 4010
        elif of < self.needed_shards:
            code = code or 4011
        if data["token"] != self.token:
            code = 4004
        elif data["intents"] & MESSAGE_CONTENT and not self.content_intent:
            code = code or 4014
        if code:
            out.put_nowait(code)
            return None
        session = Session(self._id(), data["intents"], out=out, shard=(number, of))
        self._sessions[session.id] = session
        mine = [one for one in self.servers if session.hears(one)]
        shard = {"shard": data["shard"]} if "shard" in data else {}
        ready = shard | {
            "v": 10,
            "user": self.bot,
            "session_id": session.id,
            "resume_gateway_url": self.resume_url or self.gateway_url,
            "guilds": [{"id": one, "unavailable": True} for one in mine],
            "private_channels": [],
            "application": {"id": self.bot["id"], "flags": self._flags()},
        }
        session.send("READY", ready)
        for frame in self.early:
            out.put_nowait(frame)
        for one in mine:
            session.send("GUILD_CREATE", self._server(one))
        return session

    def _resume(self, data: dict[str, Any], out: asyncio.Queue[Any]) -> Session | None:
        session = self._sessions.get(str(data["session_id"]))
        if session is None or not self.resumes or data["token"] != self.token:
            out.put_nowait(json.dumps({"op": 9, "d": False}))
            return None
        self.resumed += 1
        session.out = out
        missed = [frame for seq, frame in session.log if seq > (data["seq"] or 0)]
        for frame in [*missed, *(missed[-1:] if self.doubles else [])]:
            out.put_nowait(frame)
        session.send("RESUMED", {})
        return session

    def _flags(self) -> int:
        return 1 << 18 if self.content_intent else 0
