"""Discord's web side: one logged-in client without a gateway, and what its failures mean.

It is kept apart from the gateway's client because that one is mortal: a post under way must not
be cut off when a broken gateway is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
import discord
from discord.http import Route

from adapters.discord.refusals import refusal
from adapters.discord.tally import Tally
from core.errors import DeliveryError, NotSent, OutcomeUnknown, RetryAfter
from core.ports import Wanted

FAULTS = (discord.DiscordException, aiohttp.ClientError, OSError)  # TimeoutError is an OSError

BROKEN = (*FAULTS, ValueError, KeyError, TypeError)  # and answers that are no answers

_EPHEMERAL = 1 << 6
_REPEATED = frozenset({500, 502, 504, 524})  # the statuses after which the library asks again
_WANTED: ContextVar[Wanted] = ContextVar("wanted")  # of the call at work
PAGE = 100  # the most messages that one history call gives


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How long the adapter waits for what, in seconds."""

    tick: float = 1.0  # between two looks at a running gateway client
    silence: float = 90.0  # without a heartbeat answer: the gateway is dead
    heartbeat: float = 60.0  # the library's own patience; Discord's interval is 41.25
    identify: float = 5.0  # between two IDENTIFYs of one client
    hold: float = 30.0  # the longest that a live message waits for older ones to be fetched
    answer: float = 2.0  # before an interaction is told that its answer takes longer; they have 3
    patience: float = 60.0  # for one call of the web side, its rate limit waits included
    closing: float = 5.0  # for a polite goodbye
    again: tuple[float, ...] = (0.3, 1.0, 3.0)  # between repeats of a broken send


class Unwanted(discord.DiscordException):
    """What a call was to show has become needless before it left."""


@contextmanager
def while_wanted(wanted: Wanted) -> Iterator[None]:
    """Let no call leave that is not wanted any more: the library waits and repeats as it likes."""
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def outcome(error: BaseException, *, in_thread: bool = False) -> DeliveryError:
    """Say what a failed call means for the post it carried."""
    if isinstance(error, discord.RateLimited):
        return RetryAfter(error.retry_after)
    if isinstance(error, Unwanted):
        return NotSent("nobody is to see it any more")
    if isinstance(error, discord.LoginFailure | aiohttp.ClientConnectorError):
        return NotSent(f"Discord was not reached: {error}")
    if not isinstance(error, discord.HTTPException) or error.status >= 500:
        return OutcomeUnknown(f"the connection to Discord broke: {type(error).__name__}")
    return _answer(error, in_thread=in_thread)


def _answer(error: discord.HTTPException, *, in_thread: bool) -> DeliveryError:
    if error.status == 429:
        return RetryAfter(_seconds(error.response.headers.get("Retry-After")))
    if error.status == 401:
        return NotSent(f"Discord refuses the bot's token: {error.code} {error.text}".strip())
    return refusal(error.status, error.code, error.text, in_thread=in_thread)


def _seconds(header: str | None) -> float:
    try:
        return max(float(header or 60), 0.5)
    except ValueError:
        return 60.0


@contextmanager
def translated() -> Iterator[None]:
    """Turn the library's failures into DeliveryErrors."""
    try:
        yield
    except BROKEN as error:
        raise outcome(error) from error


class Rest:
    """Logs in on first use; every method raises DeliveryError of the kind that fits."""

    def __init__(self, token: str, pace: Pace, tally: Tally) -> None:
        self._token = token
        self._pace = pace
        self._tally = tally
        self._client: discord.Client | None = None
        self._door = asyncio.Lock()
        self._closed = False

    async def open(self) -> discord.Client:
        """Return the logged-in client. Raises NotSent while Discord cannot be reached."""
        async with self._door:
            if self._closed:
                raise NotSent("Heed is stopping")
            self._tally.check()
            if self._client is None:
                try:
                    self._client = await logged_in(self._token, self._pace, self._tally)
                except BROKEN as error:
                    found = outcome(error)
                    if isinstance(found, RetryAfter):
                        raise found from error
                    raise NotSent(f"Discord does not let the bot in: {error}") from error
            return self._client

    async def close(self) -> None:
        """Say goodbye; from now on nothing is sent."""
        async with self._door:
            self._closed = True
            if self._client is not None:
                await self._client.close()
                self._client = None

    async def history(self, channel: str, after: int) -> list[Mapping[str, Any]]:
        """Return up to `PAGE` messages written after an id, oldest first."""
        return sorted(
            await self._ask(lambda client: client.http.logs_from(int(channel), PAGE, after=after)),
            key=lambda payload: int(payload["id"]),
        )

    async def channel(self, channel: str) -> Mapping[str, Any]:
        """Return the payload of one channel."""
        found: Mapping[str, Any] = await self._ask(
            lambda client: client.http.get_channel(int(channel))
        )
        return found

    async def message(self, channel: str, message: str) -> Mapping[str, Any]:
        """Return the payload of one message, with fresh addresses of its files."""
        found: Mapping[str, Any] = await self._ask(
            lambda client: client.http.get_message(int(channel), int(message))
        )
        return found

    async def member(self, server: str, user: str) -> Mapping[str, Any]:
        """Return the payload of one member of a server."""
        found: Mapping[str, Any] = await self._ask(
            lambda client: client.http.get_member(int(server), int(user))
        )
        return found

    async def server(self, server: str) -> Mapping[str, Any]:
        """Return the payload of a server: its owner and its roles."""
        found: Mapping[str, Any] = await self._ask(
            lambda client: client.http.get_guild(int(server), with_counts=False)
        )
        return found

    async def application(self) -> Mapping[str, Any]:
        """Return the payload of the bot's application."""
        found: Mapping[str, Any] = await self._ask(lambda client: client.http.application_info())
        return found

    async def me(self) -> str:
        """Return the bot's own user id."""
        client = await self.open()
        return str(client.user.id) if client.user is not None else ""

    async def download(self, url: str) -> bytes:
        """Return what lies at an address of Discord's own store of files."""
        found: bytes = await self._ask(lambda client: client.http.get_from_cdn(url))
        return found

    async def acknowledge(self, payload: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Answer an interaction; Discord waits three seconds for it."""
        route = Route(
            "POST",
            "/interactions/{webhook_id}/{webhook_token}/callback",
            webhook_id=int(payload["id"]),
            webhook_token=str(payload["token"]),
        )
        await self._ask(lambda client: client.http.request(route, json=answer), patience=3.0)

    async def amend(self, payload: Mapping[str, Any], text: str, *, first: bool) -> None:
        """Tell the sender of an interaction something more; `first`: in place of the first answer.

        Nobody else sees it.
        """
        route = Route(
            "PATCH" if first else "POST",
            "/webhooks/{webhook_id}/{webhook_token}" + ("/messages/@original" if first else ""),
            webhook_id=int(payload["application_id"]),
            webhook_token=str(payload["token"]),
        )
        body = {"content": text} | ({} if first else {"flags": _EPHEMERAL})
        await self._ask(lambda client: client.http.request(route, json=body))

    async def register(self, commands: Sequence[Mapping[str, Any]]) -> None:
        """Put the global slash commands in place of those that stand there."""
        body: Any = list(commands)
        await self._ask(
            lambda client: client.http.bulk_upsert_global_commands(
                client.application_id or 0, payload=body
            )
        )

    async def _ask(
        self, call: Callable[[discord.Client], Any], patience: float | None = None
    ) -> Any:  # noqa: ANN401 -- whatever JSON the platform answers
        client = await self.open()
        with translated():
            async with asyncio.timeout(patience or self._pace.patience):
                return await call(client)


def _restraint() -> aiohttp.TraceConfig:
    """Return what keeps the library from making calls that we would not make.

    It repeats a broken POST, which may have made a thread or shown a message: whether it may come
    again is for us to say. (Of the answers to one interaction Discord takes the first, so those
    are left to the library.) And it waits where Discord says so, as if nothing could happen then.
    """

    async def begun(_session: object, _: object, _call: aiohttp.TraceRequestStartParams) -> None:
        wanted = _WANTED.get(None)
        if wanted is not None and not await wanted():
            raise Unwanted

    async def ended(_session: object, _: object, call: aiohttp.TraceRequestEndParams) -> None:
        ours = call.method == "POST" and not call.url.path.endswith("/callback")
        if ours and call.response.status in _REPEATED:
            raise discord.DiscordServerError(call.response, None)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begun)
    trace.on_request_end.append(ended)
    return trace


async def logged_in(token: str, pace: Pace, tally: Tally | None = None) -> discord.Client:
    """Return a client that can call the web side. Raises what the library raises."""
    trace = _restraint()
    if tally is not None:
        tally.listen(trace)
    client = discord.Client(
        intents=discord.Intents(guilds=True),  # no gateway; the library warns without this one
        allowed_mentions=discord.AllowedMentions.none(),
        max_messages=None,
        max_ratelimit_timeout=pace.patience / 2,
        http_trace=trace,
    )
    try:
        async with asyncio.timeout(pace.patience):
            await client.login(token)
    except BaseException:  # whatever ended it, a cancel too: a half-made client holds sockets
        await client.close()
        raise
    return client
