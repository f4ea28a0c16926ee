"""One server with the OpenAI interface: requests, answers and streams, each fault by its name.

Whatever a server may do wrong ends in an EngineError with a sentence that holds neither the key
nor what people wrote: refusing, hanging, breaking off, answering nonsense or without an end.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import math
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import httpx2

from core.errors import EngineBusy, EngineError, EngineFailed, SetupError

_PAUSES = (0.1, 0.4)  # before the second and the third try to connect
_MOST_BYTES = 2**20  # of one answer that is no stream
_BYTES_PER_TOKEN = 4096  # of a stream, with all that is wrapped around one token
_BUSY = 2.0  # seconds, where a busy server does not say
_QUIET = frozenset({"localhost", "127.0.0.1", "::1"})  # never asked through a proxy


class Away(EngineFailed):
    """It cannot be reached, hangs, breaks off, or fails by itself."""


class Broken(Away):
    """It answers that it has failed."""


class Overloaded(EngineBusy):
    """It has too much to do, or a proxy says so of a server that it has lost."""


class Denied(EngineFailed):
    """The key is wrong."""


class Unsuited(EngineFailed):
    """The server does not take a request with such fields."""


class Absent(EngineFailed):
    """There is nothing of the kind at this address."""


class Nonsense(EngineFailed):
    """What came is not what the interface says."""


class Server:
    """The connection to `url`; `model` is what stands behind # in it, "" where nothing does.

    A connection may take `seconds`, at most 5; how long an answer may take is for the caller to
    say, by asyncio.timeout. Raises SetupError for an unusable URL or key.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        seconds: float,
        connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            parts = urlsplit(url)
            self.host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
        except ValueError:
            parts, self.host = SplitResult("", "", "", "", ""), ""
        if parts.scheme not in ("http", "https") or not self.host:
            raise SetupError("model.name is no usable URL: write http://host:port/v1.")
        self.model = unquote(parts.fragment)
        self.busy_until = -math.inf  # by `clock`; before that the server wants to be left alone
        self._headers = _key_header(api_key)
        self._auth = (unquote(parts.username or ""), unquote(parts.password or ""))
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        bare = parts.netloc.rpartition("@")[2]
        self._base = base = urlunsplit((parts.scheme, bare, path, "", ""))
        self._bases = (base,) if base.endswith("/v1") else (base, f"{base}/v1")
        self.here = self._quiet = parts.hostname in _QUIET
        self._seconds = seconds
        self._connections = connections
        self._clock = clock
        self._client: httpx2.AsyncClient | None = None

    async def models(self) -> list[str]:
        """Return the names of the models served, and find out whether /v1 belongs to the URL.

        Raises SetupError when this is no such server, EngineError when it is away.
        """
        for base in self._bases:
            self._base = base
            try:
                async with self._send("GET", "/models") as answer:
                    listed = _object(await _read(answer)).get("data")
                return [str(one["id"]) for one in listed or ()]
            except Denied as fault:
                raise SetupError(str(fault)) from None
            except (Absent, Unsuited, Nonsense, TypeError, KeyError):
                continue
        self._base = self._bases[0]
        raise SetupError(
            f"model.name: {self.host} does not answer as an OpenAI-compatible server; "
            "the URL often ends in /v1."
        )

    async def speaks(self, model: str) -> bool:
        """Say whether `model` answers: for servers that do not list all that they serve."""
        body = {"model": model, "messages": [{"role": "user", "content": "."}], "max_tokens": 1}
        found = self._base
        for base in dict.fromkeys((found, *self._bases)):
            self._base = base
            with suppress(EngineError):
                content(await self.ask(body))
                return True
        self._base = found
        return False

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one chat request. Raises EngineError."""
        async with self._send("POST", "/chat/completions", body) as answer:
            return _object(await _read(answer))

    async def speech(self, body: Mapping[str, Any], tokens: int) -> AsyncGenerator[str, None]:
        """Yield the pieces of a streamed answer of at most `tokens` tokens. Raises EngineError."""
        whole = _Surrogates()
        async with self._send("POST", "/chat/completions", {**body, "stream": True}) as answer:
            if answer.headers.get("content-type", "").startswith("application/json"):
                text = content(_object(await _read(answer)))  # it does not stream
                yield whole.join(text) + whole.rest()
                return
            ended = False
            async for event in _events(answer, 2**16 + tokens * _BYTES_PER_TOKEN):
                if event == "[DONE]":
                    ended = True
                    break
                delta, last = _delta(_object(event))
                ended = ended or last
                if text := whole.join(delta):
                    yield text
            if not ended:
                raise Away(f"{self.host} broke off in the middle of a reply")
            if text := whole.rest():
                yield text

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """Send one request and yield the answer, not yet read. Raises EngineError alone."""
        answer = await self._reach(method, path, body)
        try:
            self._check(answer)
            yield answer
        except httpx2.HTTPError as fault:
            raise Away(f"{self.host} broke off ({type(fault).__name__})") from None
        finally:
            await answer.aclose()

    async def _reach(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> httpx2.Response:
        """Send until something comes back: a request that was answered is not sent again."""
        client, why = self._connect(), ""
        for pause in (*_PAUSES, None):
            try:
                request = client.build_request(method, f"{self._base}{path}", json=body)
                return await client.send(request, stream=True)
            except httpx2.TimeoutException:
                raise Away(f"{self.host} did not answer in time") from None
            except httpx2.HTTPError as fault:
                why = type(fault).__name__
            if pause is None:
                break
            await asyncio.sleep(pause)
        raise Away(f"{self.host} cannot be reached ({why}): is the server running?")

    def _connect(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers=self._headers,
                auth=self._auth if any(self._auth) and not self._headers else None,
                timeout=httpx2.Timeout(None, connect=min(5.0, self._seconds)),  # see Server
                limits=httpx2.Limits(max_connections=self._connections),
                trust_env=not self._quiet,
                verify=_trust(self._base),
            )
        return self._client

    def _check(self, answer: httpx2.Response) -> None:
        """Turn a status that is no success into the error that says what it means."""
        status = answer.status_code
        if status == 200:
            return
        if status in (401, 403):
            raise Denied(f"{self.host} refuses the key ({status}): check HEED_MODEL__API_KEY.")
        if status in (429, 503):
            seconds = _wait(answer.headers)
            self.busy_until = self._clock() + seconds
            raise EngineBusy(seconds) if status == 429 else Overloaded(seconds)
        if status in (400, 422):
            raise Unsuited(f"{self.host} does not take the request ({status})")
        if status < 500:
            raise Absent(f"{self.host} has no such model or address ({status}): see model.name")
        raise Broken(f"{self.host} failed ({status})")


def _key_header(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SetupError("HEED_MODEL__API_KEY holds signs that no key has: copy it again.")
    return {"Authorization": f"Bearer {key}"}


def content(answer: Mapping[str, Any]) -> str:
    """Return the text of a whole answer. Raises EngineFailed."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise Nonsense("the server's answer holds no text")
    return text


def first_token(answer: Mapping[str, Any]) -> dict[str, float]:
    """Return {token: log-probability} of the first position; {} where the server has none."""
    try:
        first = answer["choices"][0]["logprobs"]["content"][0]
        listed = first.get("top_logprobs") or [first]
        pairs = [(str(one["token"]), float(one["logprob"])) for one in listed]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return {}
    return {token: log for token, log in pairs if not math.isnan(log)}


def tokens(usage: object) -> dict[str, int]:
    """Return how many tokens were computed and reused, as far as the server tells."""
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return {}
    details = usage.get("prompt_tokens_details")
    reused = details.get("cached_tokens") if isinstance(details, dict) else 0
    reused = reused if isinstance(reused, int) else 0
    return {"tokens_computed": usage["prompt_tokens"] - reused, "tokens_reused": reused}


def _delta(event: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the text of one event of a stream, and whether it is the last with text."""
    if "error" in event:
        raise Away("the server reports an error in the middle of a reply")
    try:
        choices = event["choices"]
        if not choices:
            return "", False  # it tells the usage
        text = (choices[0].get("delta") or {}).get("content") or ""
        last = choices[0].get("finish_reason") is not None
    except (KeyError, IndexError, TypeError, AttributeError):
        text, last = None, False
    if not isinstance(text, str):
        raise Nonsense("the server streams something that is no reply")
    return text, last


def _object(raw: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Nonsense("the server answers something that is no JSON object")
    return found


async def _read(answer: httpx2.Response) -> bytes:
    """Read an answer that is no stream."""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise EngineFailed("the server's answer has no end")
    return bytes(body)


async def _events(answer: httpx2.Response, most: int) -> AsyncIterator[str]:
    """Yield the data of each event of a stream, at most `most` bytes of them in all."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    came, rest = 0, ""
    async for chunk in answer.aiter_bytes():
        came += len(chunk)
        if came > most:
            raise EngineFailed("the server's stream has no end")
        try:
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        except UnicodeDecodeError:
            raise Nonsense("the server streams bytes that are no UTF-8") from None
        for data in _data(lines):
            yield data
    for data in _data([rest]):
        yield data


def _data(lines: Iterable[str]) -> Iterable[str]:
    """Return what stands behind `data:`; every server writes an event's JSON in one line."""
    found = (line.removeprefix("data:").strip() for line in lines if line.startswith("data:"))
    return [data for data in found if data]


class _Surrogates:
    """Joins a character whose two halves came escaped in two events."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def rest(self) -> str:
        return "\ufffd" if self._half else ""


def _trust(base: str) -> ssl.SSLContext | bool:
    """Return what must be known of TLS: by plain HTTP no authorities, and reading them is slow."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if base.startswith("http://") else True


def _wait(headers: Mapping[str, str]) -> float:
    """Return how long a busy server asks to wait, in seconds, by its own clock."""
    told = headers.get("retry-after", "")
    try:
        seconds = float(told)
    except ValueError:
        try:
            then, now = parsedate_to_datetime(told), parsedate_to_datetime(headers["date"])
            seconds = (then - now).total_seconds()
        except (ValueError, TypeError, KeyError):
            seconds = _BUSY
    return min(3600.0, max(0.1, seconds)) if math.isfinite(seconds) else _BUSY
