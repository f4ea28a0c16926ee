"""The HTTP API over a real socket: every answer, every refusal, and the frames of a stream."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from hypothesis import given, strategies as st
from starlette.exceptions import HTTPException

from adapters.web import WebAdapter
from adapters.web.api import read_call
from adapters.web.guard import Pace, is_loopback
from adapters.web.shell import Shell
from core.errors import SetupError
from core.message import Place, Post
from tests.adapters.desk_twin import DeskTwin

KEYS = {
    "sentiment",
    "intensity",
    "strong",
    "mood",
    "response",
    "escalated",
    "owner",
    "case",
    "message_id",
    "model",
    "prompt_version",
}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def never(message_id: str) -> None:
    raise AssertionError(message_id)


def adapter(desk: DeskTwin, **more: object) -> WebAdapter:
    settings = {
        "clock": desk.clock,
        "host": "127.0.0.1",
        "port": 0,
        "ready": lambda: None,
        "metrics": lambda: b"heed_up 1\n",
    }
    return WebAdapter(desk, **{**settings, **more})


@asynccontextmanager
async def serving(desk: DeskTwin, **more: object) -> AsyncIterator[httpx2.AsyncClient]:
    web = adapter(desk, **more)
    await web.bind()
    running = asyncio.create_task(web.run())
    url = web.url.replace("0.0.0.0", "127.0.0.1")
    try:
        async with httpx2.AsyncClient(
            base_url=url, timeout=10, trust_env=False, verify=False
        ) as client:
            yield client
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def desk() -> DeskTwin:
    return DeskTwin(Clock(), pause=0.0)


@pytest.fixture
async def client(desk: DeskTwin) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        yield made


def error_of(answer: httpx2.Response) -> tuple[int, str]:
    told = answer.json()["error"]
    assert set(told) == {"code", "message"}
    assert told["message"]
    return answer.status_code, told["code"]


async def test_a_message_is_answered_with_exactly_the_promised_keys(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    answer = await client.post("/chat", json={"text": "thank you", "user": "maya"})
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == KEYS
    assert (body["sentiment"], body["owner"], body["response"]) == (
        "positive",
        "bot",
        "You said: thank you",
    )
    message = desk.asked[0].message
    assert message is not None
    assert (message.key.chat, message.key.user, message.author.name) == ("maya", "maya", "maya")
    assert message.message_id == body["message_id"]
    assert json.loads(desk.asked[0].raw) == {"text": "thank you", "user": "maya"}


async def test_without_names_the_user_is_anonymous_and_a_conversation_has_its_own_key(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    await client.post("/chat", json={"text": "hello", "user": None})
    await client.post("/chat", json={"text": "hello", "user": "maya", "conversation": "shop"})
    keys = [arrival.message.key for arrival in desk.asked if arrival.message]
    assert [(key.chat, key.user) for key in keys] == [("anonymous", "anonymous"), ("shop", "maya")]
    names = [arrival.message.author.name for arrival in desk.asked if arrival.message]
    assert names == ["", "maya"]  # nobody is greeted as "anonymous"


async def test_a_command_is_understood_as_one(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    await client.post("/chat", json={"text": "/human right now"})
    await client.post("/chat", json={"text": "/etc/hosts is broken"})
    first, second = (arrival.message for arrival in desk.asked)
    assert first is not None
    assert second is not None
    assert (first.kind, first.command, first.argument) == ("command", "human", "right now")
    assert second.kind == "said"


async def test_merged_calls_pass_through(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    desk.merged = 77
    body = (await client.post("/chat", json={"text": "one"})).json()
    assert body["response"] is None
    assert body["answered_by"] == 77


async def test_a_stream_tells_tag_then_tokens_then_done(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/chat", json={"text": "line\none"}, headers={"Accept": "text/event-stream"}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    kinds = [frame[0].removeprefix("event: ") for frame in frames]
    data = [json.loads(frame[1].removeprefix("data: ")) for frame in frames]
    assert all(len(frame) == 2 for frame in frames)
    assert kinds == ["tag", *["token"] * (len(kinds) - 2), "done"]
    assert "".join(one["text"] for one in data[1:-1]).strip() == "You said: line\none"
    assert set(data[-1]) == KEYS


UNUSABLE = [
    b"",
    b"  ",
    b"not json",
    b"\xff\xfe",
    b'{"text": NaN}',
    b"[1, 2]",
    b'"text"',
    b"null",
    b"{}",
    b'{"text": 5}',
    b'{"text": ""}',
    b'{"text": " \\n "}',
    b'{"text": "\\u0000"}',
    b'{"text": "hi", "user": 7}',
    b'{"text": "hi", "conversation": ["a"]}',
    b'{"text": "hi", "user": "room:ann"}',
    b'{"text": "hi", "conversation": " room:ann"}',
    b'{"text": "hi", "user": "' + b"u" * 201 + b'"}',
    b'{"text": "hi", "more": ' + b"[" * 40 + b"]" * 40 + b"}",
    b"[" * 30_000,
    b'{"text": "hi", "n": ' + b"9" * 5000 + b"}",
]


async def test_a_body_that_cannot_be_used_is_400(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    for body in UNUSABLE:
        assert error_of(await client.post("/chat", content=body)) == (400, "bad_request"), body[:50]
    assert desk.asked == []


async def test_odd_text_is_cleaned_and_answered(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    body = b'{"text": "half \\ud83d and \\u0000 nul \\ud83d\\ude00", "user": "\\udc00"}'
    answer = await client.post("/chat", content=body)
    message = desk.asked[0].message
    assert answer.status_code == 200
    assert message is not None
    assert message.text == "half \ufffd and  nul \U0001f600"
    assert message.key.user == "\ufffd"


async def test_a_body_past_64_kib_is_413_with_and_without_a_length(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    large = json.dumps({"text": "x" * 66_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 8192):
            yield large[start : start + 8192]

    assert error_of(await client.post("/chat", content=large)) == (413, "too_large")
    assert error_of(await client.post("/chat", content=pieces())) == (413, "too_large")
    assert desk.asked == []


async def test_unknown_places_and_methods_are_json_too(client: httpx2.AsyncClient) -> None:
    assert error_of(await client.get("/nowhere")) == (404, "not_found")
    assert error_of(await client.get("/chat")) == (405, "method_not_allowed")
    assert error_of(await client.post("/telegram/webhook")) == (404, "not_found")


WRONG_KEYS = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer s3cre"},
    {"Authorization": "Basic s3cret"},
    {"Authorization": "s3cret"},
    {b"Authorization": b"Bearer \xff\xfe"},
]


async def test_with_a_token_set_only_its_bearer_is_answered(desk: DeskTwin) -> None:
    async with serving(desk, token="s3cret") as client:
        for headers in WRONG_KEYS:
            answer = await client.post("/chat", json={"text": "hi"}, headers=headers)
            assert error_of(answer) == (401, "unauthorized"), headers
        assert desk.asked == []
        right = {"Authorization": "Bearer s3cret"}
        answer = await client.post("/chat", json={"text": "hi"}, headers=right)
        assert answer.status_code == 200


async def test_on_an_open_address_the_api_asks_for_a_token(desk: DeskTwin) -> None:
    async with serving(desk, host="0.0.0.0") as client:
        answer = await client.post("/chat", json={"text": "hi"})
        assert error_of(answer) == (401, "unauthorized")
        assert "HEED_HTTP__TOKEN" in answer.text
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/livez")).status_code == 200


async def test_without_a_token_another_page_or_a_proxy_is_refused(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:8080"},  # a name of theirs that leads to this machine
        {"Host": "127.0.0.1.evil.example"},
        {"X-Forwarded-For": "10.0.0.9"},
    ):
        answer = await client.post("/chat", json={"text": "hi"}, headers=headers)
        assert error_of(answer) == (401, "unauthorized")
    assert desk.asked == []


async def test_too_fast_is_429_until_the_told_seconds_have_passed() -> None:
    clock = Clock()
    desk = DeskTwin(clock, pause=0.0)
    async with serving(desk, per_minute=2) as client:
        for _ in range(2):
            assert (await client.post("/chat", json={"text": "hi"})).status_code == 200
        answer = await client.post("/chat", json={"text": "hi"})
        assert error_of(answer) == (429, "too_many")
        assert answer.headers["retry-after"] == "30"
        other = await client.post("/chat", json={"text": "hi", "user": "maya"})
        assert other.status_code == 200
        clock.now += 30
        assert (await client.post("/chat", json={"text": "hi"})).status_code == 200


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {"text": st.text()}, optional={"user": st.text(), "conversation": st.text()}
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_body_is_a_call_or_a_plain_refusal(body: bytes) -> None:
    refused = None
    try:
        call = read_call(body)
    except HTTPException as error:
        refused = error.status_code
    if refused is not None:
        assert refused == 400
        return
    assert call.text.strip()
    assert not call.chat.startswith("room:")
    for text in (call.text, call.user, call.chat):
        assert text.encode()
        assert "\0" not in text


def test_the_pace_of_many_users_is_kept_in_bounded_memory() -> None:
    pace = Pace(60)
    for n in range(10_050):
        pace.take(str(n), 0.0)
    assert len(pace._buckets) == 10_000


async def test_not_ready_is_503_with_the_reason(desk: DeskTwin) -> None:
    why: list[str | None] = ["The model is warming up."]
    ready: Callable[[], str | None] = lambda: why[0]  # noqa: E731
    async with serving(desk, ready=ready) as client:
        answer = await client.post("/chat", json={"text": "hi"})
        assert error_of(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "5"
        assert "warming up" in answer.text
        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert readiness.json() == {"ready": False, "why": "The model is warming up."}
        why[0] = None
        readiness = await client.get("/readyz")
        assert (readiness.status_code, readiness.json()) == (200, {"ready": True, "why": None})


async def test_a_refusing_store_is_503_also_for_a_stream(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    desk.broken = True
    for accept in ("application/json", "text/event-stream"):
        answer = await client.post("/chat", json={"text": "hi"}, headers={"Accept": accept})
        assert error_of(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_figures_and_life_are_told(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"live": True}
    figures = await client.get("/metrics")
    assert figures.text == "heed_up 1\n"
    assert figures.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_every_connection_sends_its_pieces_at_once(desk: DeskTwin) -> None:
    """Small answers and events are not held back until the last one is acknowledged."""
    web = adapter(desk)
    await web.bind()
    assert web._socket is not None
    with web._socket, socket.create_connection(("127.0.0.1", int(web.url.rsplit(":", 1)[1]))):
        taken, _ = web._socket.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_the_webhook_gets_headers_and_body_and_says_the_status(desk: DeskTwin) -> None:
    seen: list[tuple[str, bytes]] = []

    class Hook:
        def __init__(self, secret: str, status: int) -> None:
            self.secret, self.status = secret, status

        def knows(self, headers: Mapping[str, str]) -> bool:
            return headers.get("X-Telegram-Bot-Api-Secret-Token") == self.secret

        async def webhook(self, _headers: object, body: bytes) -> int:
            seen.append((self.secret, body))
            return self.status

    async with serving(desk, webhooks={"": Hook("abc", 503), "shop": Hook("def", 200)}) as client:
        told = {"X-Telegram-Bot-Api-Secret-Token": "abc"}
        answer = await client.post("/telegram/webhook", content=b"{}", headers=told)
        wrong = await client.post("/telegram/webhook/shop", content=b"{}", headers=told)
        told = {"X-Telegram-Bot-Api-Secret-Token": "def"}
        further = await client.post("/telegram/webhook/shop", content=b"[]", headers=told)
        nobody = await client.post("/telegram/webhook/fleet", content=b"{}", headers=told)
    assert (answer.status_code, wrong.status_code) == (503, 401)
    assert (further.status_code, nobody.status_code) == (200, 404)
    assert seen == [("abc", b"{}"), ("def", b"[]")]


async def test_a_busy_port_is_one_sentence_that_names_the_setting(desk: DeskTwin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"Port {port} is in use.*HEED_HTTP__PORT"):
            await adapter(desk, port=port).bind()


@pytest.mark.parametrize(("host", "port"), [("203.0.113.9", 0), ("127.0.0.1", 99_999)])
async def test_an_address_that_is_not_ours_is_one_sentence(
    desk: DeskTwin, host: str, port: int
) -> None:
    with pytest.raises(SetupError, match="set HEED_HTTP__"):
        await adapter(desk, host=host, port=port).bind()


async def test_cancelling_ends_open_streams_and_frees_the_port(desk: DeskTwin) -> None:
    web = adapter(desk)
    await web.bind()
    running = asyncio.create_task(web.run())
    port = int(web.url.rsplit(":", 1)[1])
    async with (
        httpx2.AsyncClient(base_url=web.url, timeout=10, trust_env=False, verify=False) as client,
        client.stream("GET", "/room/events") as stream,
    ):
        first = await anext(stream.aiter_lines())
        assert first == "retry: 1000"
        assert web.health().state == "ok"
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 3)
    assert desk.board()._queues == set()
    with socket.create_server(("127.0.0.1", port)):
        assert web.health().state == "connecting"


@pytest.mark.parametrize("begun", [False, True])
async def test_whoever_still_waits_at_the_stop_hears_that_heed_stops(*, begun: bool) -> None:
    heard: list[dict[str, Any]] = []

    async def waits(_scope: Any, _receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    async def send(sent: dict[str, Any]) -> None:
        heard.append(sent)

    scope = {"type": "http", "raw_path": b"/", "query_string": b"", "headers": []}
    request = asyncio.create_task(Shell(waits, int)(scope, None, send))
    await asyncio.sleep(0)
    request.cancel()  # as the server does when it has waited long enough
    await request
    if begun:
        assert [one.get("status") for one in heard] == [200]
    else:
        start, body = heard
        assert start["status"] == 503
        assert {b"retry-after", b"content-security-policy"} <= {
            name for name, _ in start["headers"]
        }
        assert json.loads(body["body"])["error"]["code"] == "unavailable"


async def test_delivery_to_the_web_is_a_receipt(desk: DeskTwin) -> None:
    place = Place(platform="web", bot="heed", chat="room:ann")
    post = Post(id=7, kind="reply", place=place, text="hi", nonce="n")
    web = adapter(desk)
    receipt = await web.deliver(post, never)
    assert (receipt.message_id, web.repeatable(post)) == ("7", True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.4", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: object) -> None:
    assert is_loopback(host) is expected
