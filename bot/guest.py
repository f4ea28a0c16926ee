"""Who may come in by the page's door: names, passwords, and the sessions that follow.

Wrong tries make the next one wait, by name and for all names together, so that passwords cannot
be guessed; an unknown name takes as long as a wrong password, so that names cannot be found out.
A browser in which somebody has logged in before has tries of its own for that name: a stranger who
guesses day and night keeps out nobody but strangers.
The database holds hashes alone: whoever reads it cannot log in.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from functools import cache, partial
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import DeskError
from core.ports import Clock, StaffMember
from core.store import Store, intake, people, sessions

_FREE: Final = 3  # wrong tries of one name before it must wait
_LONGEST: Final = 60.0  # seconds that a name waits at most: a stranger cannot lock anybody out
_FREE_FOR_ALL: Final = 30  # wrong tries of all names within the time below
_LONGEST_FOR_ALL: Final = 10.0
_FORGIVEN: Final = 900.0  # seconds without a wrong try after which none is remembered
_MOST_NAMES: Final = 1000
_AT_ONCE: Final = 2  # verifications: each takes 64 MiB
_PASSWORD: Final = 1000  # characters
_KEY: Final = "page/known"  # the cursor that keeps what `known` is signed with


class _Tries:
    """Wrong tries and when the next one is free: the wait doubles with each."""

    def __init__(self, free: int, longest: float) -> None:
        self._free = free
        self._longest = longest
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, time of the last

    def wait(self, name: str, now: float) -> float:
        """Return the seconds until this name may try again; 0: now."""
        count, last = self._known.get(name, (0, 0.0))
        if count < self._free or now - last > _FORGIVEN:
            return 0.0
        return max(0.0, last + min(self._longest, 2.0 ** min(count - self._free, 20)) - now)

    def count(self, name: str, now: float) -> None:
        """Count a try as wrong, before it is known: many at once are many."""
        count, last = self._known.pop(name, (0, now))
        self._known[name] = (1 if now - last > _FORGIVEN else count + 1, now)
        while len(self._known) > _MOST_NAMES:
            self._known.popitem(last=False)

    def forgive(self, name: str) -> None:
        """Forget every wrong try of a name: it was they."""
        self._known.pop(name, None)

    def uncount(self, name: str) -> None:
        """Take one try back that was right."""
        if name in self._known:
            count, last = self._known[name]
            self._known[name] = (max(0, count - 1), last)


@cache
def _nobody() -> str:
    """Return the hash of a password that nobody has: an unknown name is checked against it."""
    return PasswordHasher().hash(secrets.token_urlsafe(32))


def _right(hashed: str | None, password: str) -> bool:
    """Verify a password, slowly, whether or not there is such a name."""
    nobody = _nobody()  # made by the first try of all, known name or not
    try:
        PasswordHasher().verify(hashed or nobody, password)
    except (VerificationError, InvalidHashError):
        return False
    return hashed is not None


def _plain(text: str) -> str:
    """Return text that can be encoded: half a surrogate pair becomes '?'."""
    return text.encode("utf-8", "replace").decode()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _signing_key(connection: Any) -> str:  # noqa: ANN401 - core.store.Connection
    """Return what this database signs with, made at the first log-in; it opens no door."""
    found = intake.cursors(connection, _KEY).get(_KEY)
    if found is None:
        found = secrets.token_hex(32)
        intake.set_cursor(connection, _KEY, found)
    return found


class Guests:
    """Log-ins of the page: what core.ports.Desk says of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._by_name = _Tries(_FREE, _LONGEST)
        self._all = _Tries(_FREE_FOR_ALL, _LONGEST_FOR_ALL)
        self._verifying = asyncio.Semaphore(_AT_ONCE)
        self._signing = b""

    async def log_in(self, name: str, password: str, *, known: str = "") -> str | None:
        """Return a new session's secret; None: name or password is wrong.

        Raises DeskError after too many wrong tries, with the seconds to wait.
        """
        name, now = _plain(name.strip()), self._clock()
        mine = known != "" and await self._knows(name, known)
        tries = [(self._by_name, name), (self._all, "")]
        if mine:
            tries = [(self._by_name, f"{name}\0{known}")]
        wait = max(book.wait(key, now) for book, key in tries)
        if wait > 0:
            raise DeskError(
                f"Too many wrong tries: wait {math.ceil(wait)} s, then try again.",
                name="too_many_tries",
                n=math.ceil(wait),
            )
        for book, key in tries:
            book.count(key, now)
        found = await self._store.read(partial(people.staff_named, name=name))
        async with self._verifying:
            hashed = None if found is None else found.password
            right = await asyncio.to_thread(_right, hashed, _plain(password[:_PASSWORD]))
        if not right or found is None:
            return None
        self._by_name.forgive(tries[0][1])
        if not mine:
            self._all.uncount("")
        return await self._begin(found.name)

    async def recognise(self, name: str) -> str:
        """Return what a browser of this name is known by: a random part, and its signature."""
        part = secrets.token_urlsafe(16)
        return f"{part}.{await self._sign(part, _plain(name.strip()))}"

    async def _knows(self, name: str, known: str) -> bool:
        part, _, signature = _plain(known).partition(".")
        right = await self._sign(part, name)
        return hmac.compare_digest(signature.encode(), right.encode())

    async def _sign(self, part: str, name: str) -> str:
        if not self._signing:
            self._signing = (await self._store.write(_signing_key)).encode()
        return hmac.new(self._signing, f"{part}.{name}".encode(), "sha256").hexdigest()

    async def _begin(self, name: str) -> str:
        secret, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), self._clock()

        def write(connection: Any) -> None:  # noqa: ANN401 - core.store.Connection
            sessions.sweep(connection, now)
            sessions.begin(connection, name, _hash(secret), csrf, now)

        await self._store.write(write)
        return secret

    async def member(self, secret: str, *, renew: bool = True) -> StaffMember | None:
        """Return whose session this is; None when it has ended. Renewed, it lives on."""
        if not secret:
            return None
        hashed, now = _hash(secret), self._clock()
        found = await self._store.read(partial(sessions.find, secret=hashed, now=now))
        if found is None:
            return None
        if renew and now - found.seen_at >= sessions.TOUCH:
            await self._store.write(partial(sessions.touch, secret=hashed, now=now))
        return StaffMember(name=found.name, admin=found.admin, csrf=found.csrf)

    async def log_out(self, secret: str, *, everywhere: bool = False) -> None:
        """End a session, or every session of the same member of staff."""
        hashed, now = _hash(secret), self._clock()
        found = await self._store.read(partial(sessions.find, secret=hashed, now=now))
        if everywhere and found is not None:
            await self._store.write(partial(sessions.close_all, name=found.name))
        else:
            await self._store.write(partial(sessions.close, secret=hashed))

    async def staff(self) -> list[dict[str, Any]]:
        """Return [{"name", "admin", "added_at", "seen_at"}] by name."""
        rows = await self._store.read(people.all_staff)
        wanted = ("name", "admin", "added_at", "seen_at")
        return [{key: getattr(row, key) for key in wanted} for row in rows]
