"""Requests made by hand against the application: who comes, with what, and whether they got in.

`entered` is told by the wall itself: behind it stands a book where the handlers were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.responses import Response

from adapters.web import WebAdapter
from adapters.web.shell import HEADERS
from adapters.web.ways import Way

TOKEN = "a-token-of-the-api-0123456789"
HOOK = "first-secret"
SHOP = "second-secret"
LOCAL = ("host", "127.0.0.1:8080")


class Hook:
    """A bot that takes pushed updates."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self.came: list[bytes] = []

    def knows(self, headers: Mapping[str, str]) -> bool:
        return headers.get("x-telegram-bot-api-secret-token") == self._secret

    async def webhook(self, _headers: Mapping[str, str], body: bytes) -> int:
        self.came.append(body)
        return 200


@dataclass(frozen=True, kw_only=True)
class Knock:
    """One request. `wide`: from another address than this machine's."""

    path: str
    method: str = "GET"
    headers: Sequence[tuple[str, str]] = ()
    form: Mapping[str, str] = field(default_factory=dict)
    host: str | None = LOCAL[1]
    wide: bool = False


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    entered: bool = False


def book(web: WebAdapter) -> list[str]:
    """Put a book where every handler was, and return it."""
    names: list[str] = []

    def put(way: Way) -> None:
        async def write(scope: object, receive: object, send: object) -> None:
            names.append(way.path)
            await Response("in")(scope, receive, send)

        way.app = write

    for way in web.wall.ways:
        put(way)
    return names


async def knock(web: WebAdapter, names: list[str], one: Knock) -> Answer:
    """Send one request into the application and return what came of it."""
    body = urlencode(one.form).encode()
    path, _, query = one.path.partition("?")
    pairs = list(one.headers)
    if one.host is not None:
        pairs.append(("host", one.host))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": one.method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("203.0.113.7" if one.wide else "127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    answer, before = Answer(), len(names)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(sent: dict[str, object]) -> None:
        if sent["type"] == "http.response.start":
            answer.status = sent["status"]
            answer.headers = {k.decode(): v.decode("latin-1") for k, v in sent["headers"]}
        else:
            answer.body += sent.get("body", b"")

    await web.app(scope, receive, send)
    answer.entered = len(names) > before
    lacking = [name for name, _ in HEADERS if name.decode() not in answer.headers]
    assert not lacking, f"{one} was answered without {lacking}"
    return answer
