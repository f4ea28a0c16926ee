"""Who may come in: the key of the API, the walls of the try-it room, and the pace of one user.

The room needs no log-in because it stands only where nobody else can reach it: Heed listens on
a loopback address, the browser names that address itself, nothing was forwarded, and no other
page sent the request. Each of the four is checked on each request.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from adapters.web.ways import SAFE
from core.ports import Clock

_LOCAL_NAME = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_FORWARDED = re.compile(
    r"forwarded|via|x-forwarded.*|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-.*"
)
_MOST_USERS = 10_000  # whose pace is remembered; the longest unseen is forgotten first
_WRONG_A_MINUTE: Final = 30  # keys that one address may guess before it must wait
_BEARER = {"WWW-Authenticate": "Bearer"}


def is_loopback(host: str) -> bool:
    """Say whether a server bound to `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def foreign(request: Request) -> bool:
    """Say whether a browser tells that a page of another site sends this change."""
    return (
        request.method not in SAFE
        and request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
    )  # fmt: skip


class Pace:
    """A bucket of calls for each user: `per_minute` at once, refilled at that rate."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def _left(self, user: str, now: float) -> float:
        left, then = self._buckets.get(user, (self._most, now))
        return min(self._most, left + max(0.0, now - then) * self._most / 60)

    def wait(self, user: str, now: float) -> float:
        """Return the seconds until the next call of a user is free; 0: now."""
        left = self._left(user, now)
        return 0.0 if left >= 1 else (1 - left) * 60 / self._most

    def take(self, user: str, now: float) -> float:
        """Take one call at time `now`; return 0, or the seconds until the next is free."""
        left, wait = self._left(user, now), self.wait(user, now)
        self._buckets[user] = (left if wait else left - 1, now)
        self._buckets.move_to_end(user)
        if len(self._buckets) > _MOST_USERS:
            self._buckets.popitem(last=False)
        return wait


class Guard:
    """Decides about a request by its headers alone. Knows the address Heed is bound to."""

    def __init__(self, host: str, token: str, clock: Clock) -> None:
        self._local = is_loopback(host)
        self._token = token.encode()
        self._clock = clock
        self._wrong = Pace(_WRONG_A_MINUTE)

    def outsider(self, request: Request) -> str | None:
        """Say why the request may come from outside this machine; None: it does not."""
        headers = request.headers
        if not self._local:
            return "The try-it room is open only while Heed listens on a loopback address."
        host = headers.get("host", "")
        if not _LOCAL_NAME.fullmatch(host) or len(headers.getlist("host")) > 1:
            return "Open the try-it room as http://127.0.0.1 or http://localhost with Heed's port."
        if any(_FORWARDED.fullmatch(name) for name in headers):
            return "The try-it room cannot be used through a proxy."
        changes = request.method not in SAFE
        origins = headers.getlist("origin") if changes else []
        if foreign(request) or any(one.lower() != f"http://{host}".lower() for one in origins):
            return "This request was sent by another page, so it was refused."
        return None

    async def admit_here(self, request: Request) -> None:
        """Let this machine's own browser into the try-it room. Raises HTTPException 403."""
        if why := self.outsider(request):
            raise HTTPException(403, why)

    async def admit(self, request: Request) -> None:
        """Let a caller of the API pass. Raises HTTPException 401 with what to do, or 429."""
        if not self._token:
            if self.outsider(request) is None:
                return
            raise HTTPException(
                401,
                "Without a token the API answers only this machine: set HEED_HTTP__TOKEN "
                "and send it as 'Authorization: Bearer <token>'.",
                _BEARER,
            )
        if not self.tries(request, lambda: self._brings_token(request)):
            raise HTTPException(
                401, "Send the API token as 'Authorization: Bearer <token>'.", _BEARER
            )

    def _brings_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Header text is Latin-1 on the wire; compare bytes, in constant time.
        right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        return right and scheme.lower() == "bearer"

    async def admit_reader(self, request: Request) -> None:
        """Let somebody read the figures: this machine, or a caller with the token."""
        if self.outsider(request) is not None:
            await self.admit(request)

    def tries(self, request: Request, right: Callable[[], bool]) -> bool:
        """Say whether a key is right. Raises HTTPException 429 for an address that guesses.

        Who comes from this machine is not counted: behind a proxy that is everybody, and a
        stranger's guesses would shut out those who bring the right key.
        """
        address, now = _address(request), self._clock()
        wait = self._wrong.wait(address, now) if address else 0.0
        if wait:
            told = {"Retry-After": str(math.ceil(wait))}
            raise HTTPException(429, "Too many wrong keys from this address: wait.", told)
        found = right()
        if address and not found:
            self._wrong.take(address, now)
        return found


def _address(request: Request) -> str:
    """Return whose guesses are counted together; empty: somebody on this machine."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    if address.is_loopback:
        return ""
    if address.version == 6:  # one household has as many addresses as it likes
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
