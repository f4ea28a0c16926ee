"""Around everything that is answered: the one form of a refusal, and the headers of every answer.

The shell stands outside the application, so that an error nobody expected leaves with the same
headers as a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message as Sent, Receive, Scope, Send

from adapters.web.stream import as_json, json_answer

_CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    414: "too_long",
    429: "too_many",
    431: "too_long",
    503: "unavailable",
}
CODES: Final = (*dict.fromkeys(_CODES.values()), "error")  # what stands in the "code" of a refusal
_POLICY: Final = (
    b"default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
    b"form-action 'self'"
)
HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: with that a browser sends 'Origin: null' even from our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_TARGET: Final = 4096  # bytes of path and query
_HEAD: Final = 16 * 1024  # bytes of all headers
_LINES: Final = 100  # headers


def _told(status: int, message: str) -> dict[str, object]:
    return {"error": {"code": _CODES.get(status, "error"), "message": message}}


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the one form every refusal has."""
    return json_answer(_told(status, message), status, dict(headers or {}))


def last_words(status: int, message: str) -> bytes:
    """Return a refusal as bytes, for a connection that ends before there is a request."""
    body = as_json(_told(status, message))
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        *(b"%s: %s" % pair for pair in HEADERS),
    ]
    return b"\r\n".join([*lines, b"", body])


_STOPPING: Final = refusal(
    503,
    "Heed is stopping: what it has taken in is kept, and answered when it runs again.",
    {"Retry-After": "5", "Connection": "close"},
)


class Shell:
    """The outermost application."""

    def __init__(self, app: ASGIApp, refused: Callable[[int], object]) -> None:
        self._app = app
        self._refused = refused  # told the status of every answer that is an error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; there is nothing here but HTTP."""
        if scope["type"] != "http":
            return

        begun = False

        async def send_on(sent: Sent) -> None:
            nonlocal begun
            begun = True
            if sent["type"] == "http.response.start":
                told = {name for name, _ in sent["headers"]}
                if sent["status"] >= HTTPStatus.BAD_REQUEST:
                    self._refused(sent["status"])
                sent["headers"].extend(pair for pair in HEADERS if pair[0] not in told)
            await send(sent)

        try:
            await (_oversize(scope) or self._app)(scope, receive, send_on)
        except (
            asyncio.CancelledError
        ):  # by the server alone, which stops and has waited long enough
            if not begun:
                await _STOPPING(scope, receive, send_on)


def _oversize(scope: Scope) -> Response | None:
    """Return the refusal of a request whose head is too large; None: it is not."""
    end, headers = {"Connection": "close"}, scope["headers"]
    if len(scope["raw_path"]) + len(scope["query_string"]) > _TARGET:
        return refusal(414, f"The address is longer than {_TARGET} bytes.", end)
    if len(headers) > _LINES or sum(len(name) + len(value) for name, value in headers) > _HEAD:
        return refusal(431, f"The headers are more than {_LINES}, or {_HEAD // 1024} KiB.", end)
    return None
