"""The live side of the desk over a real socket: frames without words, and staff who meet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from adapters.web.presence import Presence
from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import Clock, serving
from tests.adapters.test_web_desk import PART, act, enter
from tests.patience import PATIENCE


@pytest.fixture
def desk() -> DeskTwin:
    return DeskTwin(Clock(), pause=0.0)


@pytest.fixture
async def client(desk: DeskTwin) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        yield made


@pytest.fixture
async def csrf(client: httpx2.AsyncClient, desk: DeskTwin) -> str:
    return await enter(client, desk)


@asynccontextmanager
async def listening(
    client: httpx2.AsyncClient, case: int = 0
) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    async with client.stream("GET", f"/desk/events?case={case}") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()

        async def frames() -> AsyncIterator[tuple[str, Any]]:
            kind = ""
            async for line in lines:
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    yield kind, json.loads(line[6:])

        told = frames()
        assert (await anext(told))[0] == "listening"
        yield told


@pytest.mark.usefixtures("csrf")
async def test_the_stream_tells_of_cases_by_number_only(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    other = desk.add("Kim", "hello")
    async with asyncio.timeout(PATIENCE), listening(client, case["id"]) as told:
        assert await anext(told) == ("presence", {"looking": "", "writing": ""})
        assert (await anext(told))[0] == "presence"
        desk.hear(other, "a secret word")
        assert await anext(told) == ("queue", {"case": 0, "new": False})
        desk.hear(case, "another secret")
        assert await anext(told) == ("queue", {"case": 0, "new": False})
        assert await anext(told) == ("case", {"case": case["id"]})
        fresh = desk.add("Jo")
        assert await anext(told) == ("queue", {"case": fresh["id"], "new": True})


async def test_who_asked_to_be_told_of_the_next_message_is_told_once(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    base = str(client.base_url)
    async with (
        asyncio.timeout(PATIENCE),
        httpx2.AsyncClient(base_url=base, timeout=10, trust_env=False, verify=False) as second,
        listening(client) as told,
    ):
        await enter(second, desk, "Ben")
        await act(client, case, csrf, "alert")
        assert await anext(told) == ("queue", {"case": case["id"], "new": False})
        async with listening(second) as theirs:
            desk.hear(case, "a secret word")
            desk.hear(case, "and more")
            line, changed = ({"case": number, "new": False} for number in (0, case["id"]))
            seen = [await anext(told) for _ in range(4)]
            assert seen[:2] == [("queue", line), ("queue", changed)]
            assert seen[2:] == [("alert", {"case": case["id"]}), ("queue", line)]
            others = [await anext(theirs) for _ in range(3)]
            assert others == [("queue", line), ("queue", changed), ("queue", line)]


@pytest.mark.usefixtures("csrf")
async def test_two_members_of_staff_see_each_other(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    number = case["id"]
    base = str(client.base_url)
    async with (
        asyncio.timeout(PATIENCE),
        httpx2.AsyncClient(base_url=base, timeout=10, trust_env=False, verify=False) as second,
        listening(client, number) as told,
    ):
        theirs = await enter(second, desk, "Ben")
        await anext(told)
        await anext(told)
        async with listening(second, number):
            assert (await anext(told))[1]["looking"] == "Ben is looking at this"
            await second.post(f"/desk/{number}/writing", data={"csrf": theirs})
            assert (await anext(told))[1]["writing"] == "Ben is writing …"
            assert "Ben is looking at this" in (await client.get(f"/desk/{number}")).text
            await act(second, case, theirs, "note", text="done")
            kinds = [await anext(told) for _ in range(5)]
            assert ("presence", {"looking": "Ben is looking at this", "writing": ""}) in kinds
        async for kind, data in told:
            if kind == "presence" and not data["looking"]:
                break
    assert "Ben is looking" not in (await client.get(f"/desk/{number}")).text


async def test_presence_forgets_who_has_gone() -> None:
    clock = Clock()
    presence = Presence(clock)
    with presence.looks(1, "Ana"), presence.looks(1, "Ana"), presence.looks(1, "Ben"):
        presence.writes(1, "Ana")
        presence.writes(1, "Eve")  # not there
        assert presence.others(1, "Ben") == (["Ana"], ["Ana"])
        clock.now += 60
        assert presence.others(1, "Ben") == (["Ana"], [])
    assert presence.others(1, "Ben") == ([], [])
    assert not presence._looking


async def test_an_unchanged_queue_is_not_sent_again(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    desk.add("Maya", "I am furious")
    form = {"csrf": csrf, "state": "open"}
    first = await client.post("/desk/queue", data=form, headers=PART)
    form["seen"] = first.headers["heed-digest"]
    again = await client.post("/desk/queue", data=form, headers=PART)
    assert (again.status_code, again.content) == (204, b"")
    desk.add("Kim", "hello")
    assert "Kim" in (await client.post("/desk/queue", data=form, headers=PART)).text
