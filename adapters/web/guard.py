"""Who may come in: the key of the API, the walls of the try-it room, and the pace of one user.

The room needs no log-in because it stands only where nobody else can reach it: Heed listens on
a loopback address, the browser names that address itself, nothing was forwarded, and no other
page sent the request. Each of the four is checked on each request.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections import OrderedDict

from starlette.exceptions import HTTPException
from starlette.requests import Request

_LOCAL_NAME = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_USERS = 10_000  # whose pace is remembered; the longest unseen is forgotten first


def is_loopback(host: str) -> bool:
    """Say whether a server bound to `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """Decides about a request by its headers alone. Knows the address Heed is bound to."""

    def __init__(self, host: str, token: str) -> None:
        self._local = is_loopback(host)
        self._token = token.encode()

    def outsider(self, request: Request) -> str | None:
        """Say why the request may come from outside this machine; None: it does not."""
        headers = request.headers
        if not self._local:
            return "The try-it room is open only while Heed listens on a loopback address."
        host = headers.get("host", "")
        if not _LOCAL_NAME.fullmatch(host):
            return "Open the try-it room as http://127.0.0.1 or http://localhost with Heed's port."
        if any(
            name in ("forwarded", "x-real-ip") or name.startswith("x-forwarded") for name in headers
        ):
            return "The try-it room cannot be used through a proxy."
        origin = headers.get("origin")
        changes = request.method not in _SAFE_METHODS
        if changes and origin is not None and origin.lower() != f"http://{host}".lower():
            return "This request was sent by another page, so it was refused."
        return None

    def admit(self, request: Request) -> None:
        """Let a caller of the API pass. Raises HTTPException 401 with what to do."""
        if not self._token:
            if self.outsider(request) is None:
                return
            raise HTTPException(
                401,
                "Without a token the API answers only this machine: set HEED_HTTP__TOKEN "
                "and send it as 'Authorization: Bearer <token>'.",
                {"WWW-Authenticate": "Bearer"},
            )
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Header text is Latin-1 on the wire; compare bytes, in constant time.
        right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(
                401,
                "Send the API token as 'Authorization: Bearer <token>'.",
                {"WWW-Authenticate": "Bearer"},
            )

    def admit_reader(self, request: Request) -> None:
        """Let somebody read the figures: this machine, or a caller with the token."""
        if self.outsider(request) is not None:
            self.admit(request)


class Pace:
    """A bucket of calls for each user: `per_minute` at once, refilled at that rate."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, user: str, now: float) -> float:
        """Take one call at time `now`; return 0, or the seconds until the next is free."""
        left, then = self._buckets.pop(user, (self._most, now))
        left = min(self._most, left + max(0.0, now - then) * self._most / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._buckets[user] = (left if wait else left - 1, now)
        if len(self._buckets) > _MOST_USERS:
            self._buckets.popitem(last=False)
        return wait
