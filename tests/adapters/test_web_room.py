"""The try-it room without a browser: its walls, its forms, and that people's text stays text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from adapters.web.view import columns, labels, plain, spark, tag_view
from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import Clock, serving
from tests.patience import PATIENCE

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


@pytest.fixture
def desk() -> DeskTwin:
    return DeskTwin(Clock(), pause=0.0)


@pytest.fixture
async def client(desk: DeskTwin) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        yield made


async def say(client: httpx2.AsyncClient, text: str, person: str = "ann") -> httpx2.Response:
    return await client.post("/room/say", data={"person": person, "text": text})


async def open_case(client: httpx2.AsyncClient) -> str:
    await say(client, "I am furious")
    found = re.search(r'data-case="(\d+)"', (await client.get("/")).text)
    assert found
    return found[1]


async def act(client: httpx2.AsyncClient, case: str, verb: str, **more: str) -> httpx2.Response:
    return await client.post("/room/act", data={"case": case, "verb": verb, **more})


OUTSIDE = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "192.168.1.4:8080"},
    {"Forwarded": "for=10.0.0.9"},
    {"X-Forwarded-For": "10.0.0.9"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Real-IP": "10.0.0.9"},
]


@pytest.mark.parametrize("path", ["/", "/room/state", "/room/events", "/room/static/heed.js"])
async def test_the_room_is_shut_to_names_and_headers_from_outside(
    client: httpx2.AsyncClient, path: str
) -> None:
    for headers in OUTSIDE:
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize("path", ["/room/say", "/room/act", "/room/model"])
async def test_the_room_refuses_what_another_page_sends(
    client: httpx2.AsyncClient, desk: DeskTwin, path: str
) -> None:
    for origin in ("http://evil.example", "null", "https://127.0.0.1"):
        answer = await client.post(path, data={"text": "hi"}, headers={"Origin": origin})
        assert answer.status_code == 403, origin
    assert desk.asked == []


async def test_the_room_takes_its_own_page(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    origin = str(client.base_url).rstrip("/")
    answer = await client.post("/room/say", data={"text": "hi"}, headers={"Origin": origin})
    assert answer.status_code == 303
    assert len(desk.asked) == 1
    local = {"Host": f"localhost:{client.base_url.port}"}
    assert (await client.get("/", headers=local)).status_code == 200


async def test_the_room_is_shut_on_an_open_address_even_with_the_token(desk: DeskTwin) -> None:
    async with serving(desk, host="0.0.0.0", token="s3cret") as client:
        for path in ("/", "/room/state", "/room/events", "/room/why", "/room/static/heed.css"):
            answer = await client.get(path, headers={"Authorization": "Bearer s3cret"})
            assert answer.status_code == 403


async def test_the_room_needs_no_token_on_loopback(desk: DeskTwin) -> None:
    async with serving(desk, token="s3cret") as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.post("/chat", json={"text": "hi"})).status_code == 401


async def test_the_room_reaches_its_own_persons_only(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    await client.post("/chat", json={"text": "I am furious", "user": "maya"})
    foreign = str((await desk.cases())[0]["id"])
    for person in ("maya", "room:ann", "nobody"):
        assert (await client.get(f"/?person={person}")).status_code == 404
    assert (await client.get("/room/why?inbox=1")).status_code == 404
    answer = await act(client, foreign, "claim")
    assert answer.status_code == 409
    assert (await desk.cases())[0]["state"] == "queued"
    mine = await open_case(client)
    answer = await client.post("/room/act", data={"person": "bob", "case": mine, "verb": "claim"})
    assert answer.status_code == 409


async def test_events_of_others_do_not_reach_a_page(client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/room/events?person=bob") as stream:
        lines = stream.aiter_lines()
        while await anext(lines) != "event: listening":
            pass
        await say(client, "thank you from Ann")
        await client.post("/chat", json={"text": "secret of Maya", "user": "maya"})
        await say(client, "thanks by Bob", "bob")
        heard = []
        while not heard or '"kind": "done"' not in heard[-1]:
            heard.append(await asyncio.wait_for(anext(lines), PATIENCE))
    told = "\n".join(heard)
    assert "Bob" in told
    assert "Ann" not in told
    assert "Maya" not in told


async def test_what_people_write_stays_text_everywhere(client: httpx2.AsyncClient) -> None:
    await say(client, NASTY + " furious")
    case = re.search(r'data-case="(\d+)"', (await client.get("/")).text)
    assert case
    await act(client, case[1], "claim")
    await act(client, case[1], "reply", text=NASTY)
    await act(client, case[1], "note", text=NASTY)
    page = (await client.get("/")).text
    state = (await client.get("/room/state")).json()["parts"]
    why = (await client.get("/room/why?inbox=1")).text
    for html in (page, *state.values(), why):
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "<b>own end" not in html
        assert "49" not in re.sub(r"\d{3,}|\d+\.\d+", "", html.replace("{{7*7}}", ""))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;own end" in why


async def test_a_page_asks_no_other_host_and_runs_no_inline_script(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)
    assert not re.search(r'\son\w+="|\sstyle="|<script(?![^>]*src=)', answer.text)


async def test_plain_forms_are_enough_to_chat_and_to_work_a_case(
    client: httpx2.AsyncClient,
) -> None:
    answer = await say(client, "thank you")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?person=ann&pane=person"
    page = (await client.get("/")).text
    assert "You said: thank you" in page
    case = await open_case(client)
    answer = await act(client, case, "claim")
    assert answer.headers["location"] == "/?person=ann&pane=desk"
    await act(client, case, "reply", text="Hello, Sam here")
    assert "Sam, a person from the team" in (await client.get("/")).text
    await act(client, case, "botback")
    await say(client, "are you there")
    assert "You said: are you there" in (await client.get("/")).text
    await act(client, case, "resolve")
    assert "data-case" not in (await client.get("/")).text.replace("data-case-open", "")


async def test_what_cannot_be_done_is_said_and_keeps_the_text(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    assert (await say(client, "   ")).status_code == 400
    case = await open_case(client)
    empty = await act(client, case, "reply", text=" ")
    assert (empty.status_code, "Write something first" in empty.text) == (400, True)
    assert (await act(client, case, "steal-all")).status_code == 400
    gone = await act(client, "999", "claim")
    assert (gone.status_code, "not open any more" in gone.text) == (409, True)
    desk.broken = True
    kept = await say(client, "do not lose me")
    assert kept.status_code == 503
    assert "do not lose me</textarea>" in kept.text


async def test_somebody_elses_case_asks_for_a_confirm(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = await open_case(client)
    desk.holder = "Ana"
    asked = await act(client, case, "reply", text="It is me")
    assert asked.status_code == 409
    assert "Ana claimed this 2 min ago" in asked.text
    assert '<input type="hidden" name="confirm" value="1">' in asked.text
    done = await act(client, case, "reply", text="It is me", confirm="1")
    assert done.status_code == 303
    assert "It is me" in (await client.get("/")).text


async def test_a_slow_slide_gives_its_lines_one_by_one(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    for _ in range(3):
        await client.post("/room/say", data={"sample": "slide"})
    await client.post("/room/say", data={"person": "lilei", "sample": "thanks"})
    said = [arrival.message.text for arrival in desk.asked if arrival.message]
    assert said == [*labels()["en"]["sample"]["slide"][:3], *labels()["zh"]["sample"]["thanks"]]
    assert (await client.post("/room/say", data={"sample": "none"})).status_code == 400


async def test_the_language_follows_the_browser_and_then_the_choice(
    client: httpx2.AsyncClient,
) -> None:
    chinese = {"Accept-Language": "fr;q=0.9, zh-CN, en"}
    assert 'lang="zh"' in (await client.get("/", headers=chinese)).text
    chosen = await client.get("/?lang=en", headers=chinese)
    assert 'html lang="en"' in chosen.text
    assert 'html lang="en"' in (await client.get("/", headers=chinese)).text


async def test_the_model_button_starts_the_fetch(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    assert "Get Qwen 0.5B (1 GB)" in (await client.get("/")).text
    assert (await client.post("/room/model")).status_code == 303
    page = (await client.get("/")).text
    assert '<progress max="1" value="0.4">' in page
    assert "40 %" in page
    desk.loaded |= {"loading": False, "offer": None}
    assert (await client.post("/room/model")).status_code == 409


def test_both_languages_have_every_word() -> None:
    english, chinese = labels()["en"], labels()["zh"]
    assert set(english) == set(chinese)
    assert set(english["sample"]) == set(chinese["sample"])
    for name, text in english.items():
        if isinstance(text, str):
            fields = r"\{\w+\}"
            assert set(re.findall(fields, text)) == set(re.findall(fields, chinese[name]))


def test_a_tag_is_shown_with_glyph_word_strength_and_numbers() -> None:
    words = labels()["en"]
    tag = {"label": "negative", "probs": {"negative": 0.9, "neutral": 0.1}, "intensity": -0.84}
    view = tag_view(tag, words)
    assert view == {
        "glyph": "😟",
        "label": "negative",
        "strength": "strong",
        "numbers": "negative 0.90 · neutral 0.10 · intensity −0.84",
    }
    own = tag_view({"label": "asks for help", "probs": {}}, words)
    assert own is not None
    assert (own["glyph"], own["label"], own["strength"]) == ("◇", "asks for help", "")
    assert tag_view(None, words) is None


def test_the_mood_drawing_stays_in_its_frame() -> None:
    drawing = spark([{"at": n, "value": -1.0 if n % 2 else 1.5} for n in range(100)])
    assert len(drawing["dots"]) == 30
    assert all(0 <= dot["y"] <= drawing["height"] for dot in drawing["dots"])
    assert drawing["tense"] < drawing["upset"]
    assert spark([])["path"] == ""


def test_facts_are_told_plainly() -> None:
    assert [plain(value) for value in (None, True, 0.5, 12.34, -3, "x")] == [
        "–",
        "✓",
        "0.5",
        "12.3",
        "-3",
        "x",
    ]
    assert columns([{"a": 1}, {"b": 2}]) == ["a", "b"]
    assert columns([{"a": 1}, 2]) == []
