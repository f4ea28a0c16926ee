"""Generated requests to a running Heed: the API by its own description, the pages by mutation."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode

from adapters.web.arrival import clean
from adapters.web.openapi import DOCUMENT
from adapters.web.ways import Who
from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import KEYS, Clock, adapter
from tests.proof import Ledger
from tests.security.grown import BEARER, HOOKED, Grown, grown

PUBLIC = frozenset({Who.ANYBODY, Who.CALLER, Who.READER, Who.PLATFORM})
PAGES = ("/login", "/static/{path:path}")  # open to anybody, and for people
SHARE = {"chat": 0.55, "push": 0.15, "push_to_bot": 0.1}  # of the requests; the rest is shared


def test_the_document_and_the_table_of_routes_say_the_same() -> None:
    ways = adapter(DeskTwin(Clock())).wall.ways
    table = {
        (way.path, method.lower()): way.who
        for way in ways
        for method in way.methods or ()
        if way.who in PUBLIC and way.path not in PAGES and method != "HEAD"
    }
    told = {
        (path, verb): one
        for path, verbs in DOCUMENT["paths"].items()
        for verb, one in verbs.items()
    }
    assert told.keys() == table.keys()
    keys = {
        Who.ANYBODY: [],
        Who.CALLER: ["token"],
        Who.READER: ["token"],
        Who.PLATFORM: ["webhook"],
    }
    for place, one in told.items():
        assert [name for option in one.get("security", []) for name in option] == keys[table[place]]
    assert set(DOCUMENT["components"]["schemas"]["Answer"]["required"]) == KEYS


def cases(label: str, mode: GenerationMode, size: int, start: int) -> list[Case]:
    """Return `size` requests to one operation, as good or as bad as its description allows."""
    found: list[Case] = []
    operation = schemathesis.openapi.from_dict(DOCUMENT).find_operation_by_id(label)

    @seed(start)
    @settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def requests(size: int, start: int) -> Iterator[tuple[Case, dict[str, str]]]:
    """Yield requests and the headers of their own; those without a body have odd headers."""
    dice = random.Random(start)  # noqa: S311
    operations = [
        one["operationId"] for verbs in DOCUMENT["paths"].values() for one in verbs.values()
    ]
    rest = (1 - sum(SHARE.values())) / (len(operations) - len(SHARE))
    for label in operations:
        want = round(size * SHARE.get(label, rest))
        if label in SHARE:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                for case in cases(label, mode, want // 2, start):
                    accept = dice.choice(["text/event-stream", "application/json", "*/*"])
                    yield case, {"Accept": accept}
        else:
            [case] = cases(label, GenerationMode.POSITIVE, 1, start)
            for _ in range(want):
                names = dice.sample(
                    ["Accept", "Cookie", "Range", "If-None-Match", "X-\u00b5"[:2]], 2
                )
                value = "".join(
                    chr(dice.choice([*range(33, 127), *range(161, 256)])) for _ in "x" * 20
                )
                yield case, dict.fromkeys(names, value)


async def send(client: httpx2.AsyncClient, case: Case, headers: dict[str, str]) -> httpx2.Response:
    body = case.body
    if isinstance(body, bytes):
        content = body
    elif case.media_type is None or "NotSet" in type(body).__name__:
        content = b""
    else:
        content = json.dumps(body).encode()
    own = {k: str(v) for k, v in (case.headers or {}).items() if k.lower() != "content-length"}
    told = {**own, "Content-Type": "application/json", **headers, **(HOOKED | BEARER)}
    raw = [
        (k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in told.items()
    ]
    # Bad headers of the client's own making are not the point here.
    raw = [
        (k, v.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"").strip()) for k, v in raw
    ]
    return await client.request(case.method, case.formatted_path, content=content, headers=raw)


def fault(case: Case, answer: httpx2.Response) -> str:
    """Say what is wrong with an answer; empty: nothing."""
    place = f"{case.method} {case.formatted_path} {str(case.body)[:200]}: {answer.status_code}"
    if answer.status_code >= 500:
        return f"{place} {answer.text[:200]}"
    told = case.operation.definition.raw["responses"].get(str(answer.status_code))
    kind = answer.headers.get("content-type", "").partition(";")[0]
    allowed = None if told is None else told.get("content", {"": {}}).get(kind)
    if allowed is None:
        return f"{place} {kind!r} is not in the document"
    if schema := allowed.get("schema"):
        value = answer.json() if kind == "application/json" else answer.text
        wrong = [str(error) for error in _validator(json.dumps(schema)).iter_errors(value)]
        return f"{place} {wrong}"[:2000] if wrong else _undeserved(case, answer, place)
    return _undeserved(case, answer, place)


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    whole = {**json.loads(schema), "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(whole)


def _undeserved(case: Case, answer: httpx2.Response, place: str) -> str:
    if case.operation.path == "/chat" and answer.status_code != _expected(case.body):
        return f"{place} for {_expected(case.body)}"
    return ""


def _expected(body: Any) -> int:
    """Say what a body deserves, in other words than the program's."""
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        return 400
    names = [body.get("user"), body.get("conversation")]
    fits = all(n is None or (isinstance(n, str) and len(n) <= 200) for n in names)
    taken = any(isinstance(n, str) and clean(n).startswith("room:") for n in names)
    deep = json.dumps(body).count("[") + json.dumps(body).count("{") > 32
    if deep:
        return 200 if _depth(body) <= 32 and fits and not taken and clean(body["text"]) else 400
    return 200 if fits and not taken and clean(body["text"]) else 400


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


async def _api(folder: Path, size: int, start: int) -> tuple[Counter[int], list[str]]:
    told: Counter[int] = Counter()
    wrong: list[str] = []
    pairs = [
        pair
        for part in range(0, size, 4000)
        for pair in requests(min(4000, size - part), start + part)
    ]
    async with grown(folder) as heed:
        assert (await heed.client.get("/openapi.json")).json() == DOCUMENT

        async def work() -> None:
            while pairs:
                case, headers = pairs.pop()
                answer = await send(heed.client, case, headers)
                told[answer.status_code] += 1
                if words := fault(case, answer):
                    wrong.append(words)

        await asyncio.gather(*(work() for _ in range(8)))
    return told, wrong


@pytest.mark.proof_short
async def test_generated_requests_break_nothing(tmp_path: Path, proof: Ledger) -> None:
    told, wrong = await _api(tmp_path, 2000, 7)
    assert sum(told.values()) >= 1990
    assert told[200] > 500
    assert told[400] > 300
    proof("security", WHAT, f"{sum(told.values()):,} requests", wrong, seed=7)


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_many_generated_requests_break_nothing(tmp_path: Path, proof: Ledger) -> None:
    start = random.SystemRandom().randrange(10**9)
    told, wrong = await _api(tmp_path, proof.share(20_000), start)
    proof("security", f"{WHAT} (long)", f"{sum(told.values()):,} requests", wrong, seed=start)


WHAT = "requests generated from the OpenAPI document: no answer 5xx, each as described"
IDS = ("0", "1", "2", "999", str(2**31), str(2**63 - 1), str(2**63), "9" * 40)
FIELDS = (
    *("verb", "text", "line", "version", "confirm", "until", "days", "later", "state", "tongue"),
    *("platform", "words", "case", "seen", "name", "do", "remove", "person", "sample", "inbox"),
    *(
        "lang",
        "range",
        "from",
        "to",
        "chat",
        "language",
        "next",
        "door",
        "password",
        "pane",
        "done",
    ),
    *("set:mood.half_life", "was:mood.half_life", "set:access.users", "set:http.port", "set:x"),
)
VALUES = (
    *("", " ", "0", "1", "-1", "7", "x", "on", "open", "mine", "all", "web", "zh", "en", "custom"),
    *("claim", "reply", "note", "draft", "resolve", "snooze", "block", "edit", "delete", "assign"),
    *("verdict", "steal", "release", "saved", "alert", "resend", "reopen", "priority", "make"),
    *("ann", "bob", "telegram:1", "2026-01-01", "9999-12-31", "0001-01-01", "24h", "1d", "30m"),
    *("9" * 30, "\u0665", "\0", "\ud800", "é", "<script>", "' OR 1=1 --", "{{7*7}}", "%s%n", "//"),
    *("x" * 5000, "\u202e", "nan", "inf", "1e999", "-0", "a\r\nSet-Cookie: b=c", "😀" * 300),
)


@pytest.mark.proof_short
async def test_mutated_requests_break_no_page(tmp_path: Path, proof: Ledger) -> None:
    dice, told, wrong = random.Random(7), Counter(), []  # noqa: S311
    async with grown(tmp_path) as heed:
        for _ in range(400):
            place, answer = await _mutant(heed, dice)
            told[answer.status_code] += 1
            if answer.status_code >= 500 or "a\r\nSet-Cookie" in str(answer.headers):
                wrong.append(f"{place}: {answer.status_code}")
    assert told[200] > 100
    assert told[400] + told[404] + told[409] > 20
    what = "mutated requests to the pages by a logged-in admin: no answer 5xx"
    proof("security", what, f"{sum(told.values())} requests", wrong, seed=7)


async def _mutant(heed: Grown, dice: random.Random) -> tuple[str, httpx2.Response]:
    ways = [one for one in heed.web.wall.ways if one.who not in PUBLIC or one.path in PAGES]
    way = dice.choice(
        [one for one in ways if one.path not in ("/room/model", "/logout/everywhere", "/logout")]
    )
    path = way.path.replace("{id:int}", dice.choice(IDS)).replace(
        "{name}", dice.choice(("mood", "x", "é"))
    )
    path = path.replace("{path:path}", dice.choice(("heed.css", "../guard.py", "", "\0", "vendor")))
    method = dice.choice(sorted(way.methods or ()))
    fields = {name: dice.choice(VALUES) for name in dice.sample(FIELDS, dice.randrange(8))}
    query = {name: dice.choice(VALUES)[:200] for name in dice.sample(FIELDS, dice.randrange(3))}
    fields = {k: v.encode("utf-8", "surrogatepass") for k, v in fields.items()}
    query = {k: v.encode("utf-8", "replace") for k, v in query.items()}
    if "{id:int}" in way.path and dice.random() < 0.6:
        path = path.replace(path.split("/")[2], "1")
    cookies = {"heed_session": heed.session}
    for name in ("heed_desk", "heed_offset", "heed_language", "heed_door"):
        if dice.random() < 0.3:
            cookies[name] = dice.choice(("", "x", "9" * 30, "state=mine&words=a", "%ff", "-1e9"))
    headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
    for name in ("HX-Request", "Heed-Live", "HX-Boosted"):
        if dice.random() < 0.3:
            headers[name] = "true"
    if way.who in (Who.STAFF, Who.ADMIN):
        fields["csrf"] = heed.csrf.encode()
    request = heed.client.build_request(
        method,
        quote(path, safe="/."),
        params=query,
        data=fields if method == "POST" else None,
        headers=headers,
    )
    answer = await heed.client.send(request, stream=True)
    if "event-stream" not in answer.headers.get("content-type", ""):
        await answer.aread()
    await answer.aclose()
    return f"{method} {path} {query} {fields}", answer
