"""Requests that no browser sends: too slow, too large, too deep, too many, and no HTTP at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from adapters.web.line import Bounds
from adapters.web.shell import HEADERS
from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import Clock, adapter
from tests.patience import PATIENCE
from tests.proof import Ledger
from tests.security.knocking import HOOK, TOKEN, Hook

FAST = Bounds(head=0.3, body=0.5, taking=0.5, connections=40)
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
POST = f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\n{BEARER}Content-Type: application/json\r\n"


class Served:
    def __init__(self, url: str, hook: Hook, desk: DeskTwin) -> None:
        self.url, self.hook, self.desk = url, hook, desk
        self.host, port = url.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes as they are, and return what comes until the connection ends."""
        reader, writer = await self.open()
        writer.write(sent)
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()

    async def drip(self, begin: bytes, drop: bytes, every: float = 0.05) -> tuple[bytes, float]:
        """Send `begin`, then a `drop` again and again; return the answer and how long it held."""
        reader, writer = await self.open()
        began = time.perf_counter()
        writer.write(begin)
        answer = asyncio.ensure_future(reader.read())
        try:
            async with asyncio.timeout(PATIENCE):
                while not answer.done():
                    await asyncio.wait({answer}, timeout=every)
                    if not answer.done() and not writer.is_closing():
                        writer.write(drop)
        finally:
            writer.close()
        try:
            return answer.result(), time.perf_counter() - began
        except ConnectionError:
            return b"", time.perf_counter() - began


@asynccontextmanager
async def served(bounds: Bounds = FAST) -> AsyncIterator[Served]:
    desk, hook = DeskTwin(Clock(), pause=0.0), Hook(HOOK)
    web = adapter(desk, token=TOKEN, webhooks={"": hook}, bounds=bounds, per_minute=10_000)
    await web.bind()
    running = asyncio.create_task(web.run())
    try:
        yield Served(web.url, hook, desk)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await desk.close()


def status(answer: bytes) -> int:
    """Return the status of an answer, which has our headers and one form; 0: no answer."""
    if not answer:
        return 0
    head, _, body = answer.partition(b"\r\n\r\n")
    for name, _ in HEADERS:
        assert name + b":" in head.lower(), (name, answer)
    if head.startswith(b"HTTP/1.1 4"):
        assert set(json.loads(body)["error"]) == {"code", "message"}
    return int(head.split()[1])


@pytest.mark.proof_short
async def test_nothing_hostile_holds_or_breaks_the_server(proof: Ledger) -> None:
    wrong: list[str] = []
    async with served() as heed:
        sent = await _slow(heed, wrong) + await _odd(heed, wrong) + await _large(heed, wrong)
        async with httpx2.AsyncClient(base_url=heed.url, trust_env=False, verify=False) as client:
            fine = await client.post(
                "/chat", json={"text": "thanks"}, headers={"Authorization": f"Bearer {TOKEN}"}
            )
            assert fine.status_code == 200
    proof(
        "security",
        "hostile HTTP: dripped, cut off, malformed, too large, too deep, too many connections",
        f"{sent} connections",
        wrong,
    )


async def _slow(heed: Served, wrong: list[str]) -> int:
    """Whoever drips is cut off: within the head, within a body, read or not."""
    body = (POST + "Content-Length: 9000\r\n\r\n").encode()
    pieces = (POST + "Transfer-Encoding: chunked\r\n\r\n").encode()
    unread = b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"  # no token: 401
    done = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    cases = {
        "head": (b"POST /chat HTTP/1.1\r\n", b"a: b\r\n", 0, FAST.head),
        "first line": (b"G", b"E", 0, FAST.head),
        "body": (body, b" ", 408, FAST.body),
        "chunks": (pieces, b"1\r\n \r\n", 408, FAST.body),
        "a body nobody reads": (unread, b" ", 401, FAST.body),
        "the next head": (done, b"a", 200, FAST.head),
        "silence": (b"", b"", 0, FAST.head),
    }
    found = await asyncio.gather(*(heed.drip(begin, drop) for begin, drop, *_ in cases.values()))
    for (name, (*_, expected, bound)), (answer, seconds) in zip(cases.items(), found, strict=True):
        told = status(answer.split(b"HTTP/1.1 400")[0]) if answer else 0
        if told != expected or not bound * 0.8 <= seconds < 5:
            wrong.append(f"{name}: {told} after {seconds:.1f} s")
    return len(cases)


ODD = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /?" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"GET /%00%ff%fe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /static/..%2f..%2fguard.py HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /static/../../guard.py HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET //evil.example/desk/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /desk/" + b"9" * 60 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nCookie: \xff\xfe=\xc3;;;\r\nConnection: close\r\n\r\n",
    b"GET /login HTTP/1.1\r\nHost: a\r\nAccept-Language: \xff\xfe\r\nConnection: close\r\n\r\n",
    b"GET /login?lang=%ff%00 HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n",
]


async def _odd(heed: Served, wrong: list[str]) -> int:
    for sent in ODD:
        answer = await heed.raw(sent)
        told = int(answer.split()[1]) if answer else 0
        if b"<!doctype" not in answer:
            status(answer)
        if told >= 500 or b"Traceback" in answer or b"def admit" in answer:
            wrong.append(f"{sent[:60]!r}: {answer[:200]!r}")
    return len(ODD)


async def _large(heed: Served, wrong: list[str]) -> int:
    """A body is bounded by what comes, whatever it says of itself; an update may be 1 MiB."""
    kib = 1024

    def call(size: int) -> bytes:
        return json.dumps({"text": "x" * (size - 12)}).encode()

    def deep(levels: int) -> bytes:
        return b'{"text": "hi", "more": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    hook = {"X-Telegram-Bot-Api-Secret-Token": HOOK}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    cases = [
        ("/chat", bearer, call(64 * kib), 200),
        ("/chat", bearer, call(64 * kib + 1), 413),
        ("/chat", bearer, call(8 * 1024 * kib), 413),
        ("/chat", bearer, deep(32), 200),
        ("/chat", bearer, deep(33), 400),
        ("/chat", bearer, deep(30_000), 400),
        ("/telegram/webhook", hook, b"{" + b" " * (kib * kib - 2) + b"}", 200),
        ("/telegram/webhook", hook, b"{" + b" " * kib * kib, 413),
        ("/telegram/webhook", {}, b"{}", 401),
        ("/telegram/webhook", {"X-Telegram-Bot-Api-Secret-Token": HOOK[:-1]}, b"{}", 401),
        ("/telegram/webhook", {"X-Telegram-Bot-Api-Secret-Token": HOOK + "x"}, b"{}", 401),
    ]
    asked, taken = len(heed.desk.asked), len(heed.hook.came)
    async with httpx2.AsyncClient(
        base_url=heed.url, trust_env=False, verify=False, timeout=10
    ) as client:
        for path, headers, body, expected in cases:
            try:
                told = (await client.post(path, content=body, headers=headers)).status_code
            except httpx2.TransportError:
                told = 413  # it ended the connection, and with it the answer
            if told != expected:
                wrong.append(f"{path} with {len(body)} bytes: {told} for {expected}")
    if (len(heed.desk.asked) - asked, len(heed.hook.came) - taken) != (2, 1):
        wrong.append("something was taken in of a request that was refused")
    return len(cases)


async def test_connections_that_hang_do_not_shut_the_others_out() -> None:
    async with served(Bounds(head=2.0, body=2.0, connections=20)) as heed:
        hung = [await heed.open() for _ in range(20)]
        assert status(await heed.raw(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")) == 503
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*(reader.read() for reader, _ in hung)) == [b""] * 20
        for _, writer in hung:
            writer.close()
        close = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert status(await heed.raw(close)) == 200


async def test_a_reader_who_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    del tmp_path
    async with served(Bounds(taking=0.3)) as heed:
        reader, writer = await heed.open()
        reader._limit = 1  # take nothing from the socket
        ask = b"GET /static/vendor/htmx.min.js HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.transport.pause_reading()
        writer.write(ask * 300)  # answers of 15 MiB
        began = time.perf_counter()
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.1)
            assert time.perf_counter() - began < 8
        writer.close()


async def test_a_request_that_comes_in_time_is_answered_however_it_is_cut() -> None:
    async with served() as heed:
        body = json.dumps({"text": "thank you"}).encode()
        head = (POST + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode()
        reader, writer = await heed.open()
        for cut in (head[:10], head[10:], body[:5], body[5:]):
            writer.write(cut)
            await writer.drain()
            await asyncio.sleep(0.05)
        assert status(await reader.read()) == 200
        writer.close()
        both = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        last = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert (await heed.raw(both * 5 + last)).count(b"HTTP/1.1 200") == 6  # one behind the other
