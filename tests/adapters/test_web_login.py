"""The log-in without a browser: a real store, real passwords, real HTTP."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from adapters.web.login import local
from adapters.web.session import COOKIE
from adapters.web.view import labels
from tests.adapters.desk_live import PASSWORD, LiveDesk, live_desk
from tests.adapters.test_web_api import serving

EN = labels()["en"]["login"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[LiveDesk]:
    with live_desk(tmp_path) as made:
        made.hire("ana", admin=True)
        made.hire("ben")
        yield made


@pytest.fixture
async def client(desk: LiveDesk) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        yield made


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"no field {name}"
    return found[1]


async def log_in(
    client: httpx2.AsyncClient, name: str = "ana", password: str = PASSWORD, onward: str = ""
) -> httpx2.Response:
    page = await client.get("/login", params={"next": onward} if onward else None)
    form = {"door": hidden(page.text, "door"), "next": hidden(page.text, "next")}
    return await client.post("/login", data=form | {"name": name, "password": password})


async def csrf_of(client: httpx2.AsyncClient) -> str:
    return hidden((await client.get("/login")).text, "csrf")


async def test_name_and_password_lead_to_the_desk(client: httpx2.AsyncClient) -> None:
    answer = await log_in(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/desk")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert EN["already"].format(name="ana") in (await client.get("/login")).text


async def test_one_comes_back_to_where_one_was_going(client: httpx2.AsyncClient) -> None:
    asked = await client.get("/settings")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/login?next=%2Fsettings"
    answer = await log_in(client, onward="/settings")
    assert answer.headers["location"] == "/settings"
    assert (await client.get("/settings")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/desk",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/desk\r\nSet-Cookie: a=b",
        "/ desk",
        "",
        "desk",
        "/logout",
    ],
)
async def test_nobody_is_led_off_this_page(client: httpx2.AsyncClient, path: str) -> None:
    assert local(path) == "/desk"
    page = await client.get("/login")
    form = {"door": hidden(page.text, "door"), "name": "ana", "password": PASSWORD}
    answer = await client.post("/login", data=form | {"next": path})
    assert answer.headers["location"] == "/desk"
    assert "a=b" not in answer.headers["set-cookie"]


async def test_a_wrong_password_is_told_and_the_name_is_kept(client: httpx2.AsyncClient) -> None:
    answer = await log_in(client, password="no")
    assert answer.status_code == 401
    assert EN["wrong"] in answer.text
    assert hidden(answer.text, "name") == "ana"
    assert PASSWORD not in answer.text
    assert COOKIE not in client.cookies
    unknown = await log_in(client, name="eve<b>", password="no")
    assert (unknown.status_code, EN["wrong"] in unknown.text) == (401, True)
    assert "eve<b>" not in unknown.text


async def test_too_many_wrong_tries_must_wait(client: httpx2.AsyncClient, desk: LiveDesk) -> None:
    for _ in range(3):
        assert (await log_in(client, password="no")).status_code == 401
    told = await log_in(client)
    assert told.status_code == 429
    assert labels()["en"]["desk_error"]["too_many_tries"].format(n=1) in told.text
    chinese = await client.post(
        "/login",
        data={"door": client.cookies["heed_door"], "name": "ana", "password": PASSWORD},
        headers={"Accept-Language": "zh-CN"},
    )
    assert labels()["zh"]["desk_error"]["too_many_tries"].format(n=1) in chinese.text
    desk.clock.now += 1
    assert (await log_in(client)).status_code == 303


async def test_a_form_of_another_page_does_not_log_anybody_in(client: httpx2.AsyncClient) -> None:
    right = {"name": "ana", "password": PASSWORD}
    without = await client.post("/login", data=right)
    assert (without.status_code, EN["no_cookie"] in html.unescape(without.text)) == (403, True)
    await client.get("/login")
    for door in ("", "x" * 43, "é"):
        answer = await client.post("/login", data=right | {"door": door})
        assert answer.status_code == 403
    client.cookies.clear()
    client.cookies.set("heed_door", "")
    assert (await client.post("/login", data=right | {"door": ""})).status_code == 403
    assert COOKIE not in client.cookies


async def test_logging_out_needs_a_form_of_our_own(client: httpx2.AsyncClient) -> None:
    await log_in(client)
    for path in ("/logout", "/logout/everywhere"):
        assert (await client.post(path, data={"csrf": "guessed"})).status_code == 403
        assert (await client.post(path)).status_code == 403
        assert (await client.get(path)).status_code == 405
    assert "csrf" in (await client.get("/login")).text
    answer = await client.post("/logout", data={"csrf": await csrf_of(client)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert COOKIE not in client.cookies
    assert (await client.get("/settings")).headers["location"].startswith("/login")


async def test_an_old_cookie_opens_nothing_after_logging_out(client: httpx2.AsyncClient) -> None:
    await log_in(client)
    secret = client.cookies[COOKIE]
    await client.post("/logout", data={"csrf": await csrf_of(client)})
    again = await client.get("/settings", headers={"Cookie": f"{COOKIE}={secret}"})
    assert again.status_code == 303


async def test_logging_out_everywhere_ends_the_other_browser_too(
    client: httpx2.AsyncClient, desk: LiveDesk
) -> None:
    async with serving(desk) as other:
        await log_in(client)
        await log_in(other)
        assert (await other.get("/settings")).status_code == 200
        await client.post("/logout/everywhere", data={"csrf": await csrf_of(client)})
        assert (await other.get("/settings")).status_code == 303


async def test_logging_in_again_ends_the_session_before(client: httpx2.AsyncClient) -> None:
    await log_in(client)
    before = client.cookies[COOKIE]
    form = {"door": client.cookies["heed_door"], "name": "ben", "password": PASSWORD}
    assert (await client.post("/login", data=form)).status_code == 303
    assert client.cookies[COOKIE] != before
    old = await client.get("/settings", headers={"Cookie": f"{COOKIE}={before}"})
    assert old.status_code == 303


async def test_logging_out_twice_leads_to_the_log_in(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_an_idle_session_ends(client: httpx2.AsyncClient, desk: LiveDesk) -> None:
    await log_in(client)
    desk.clock.now += 12 * 3600 - 1
    assert (await client.get("/settings")).status_code == 200
    desk.clock.now += 12 * 3600
    assert (await client.get("/settings")).status_code == 303


async def test_without_staff_the_page_says_how_to_add_somebody(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with live_desk(tmp_path / "new") as desk:
        async with serving(desk) as client:
            page = await client.get("/login")
            assert page.status_code == 200
            assert "heed staff add NAME --admin" in page.text
            assert 'type="password"' not in page.text


async def test_the_cookie_is_for_https_alone_where_https_is_spoken(
    client: httpx2.AsyncClient,
) -> None:
    page = await client.get("/login")
    form = {"door": hidden(page.text, "door"), "name": "ana", "password": PASSWORD}
    answer = await client.post("/login", data=form, headers={"X-Forwarded-Proto": "https"})
    assert re.search(rf"{COOKIE}=[^;]+;.*[Ss]ecure", answer.headers["set-cookie"])


async def test_the_page_is_in_both_languages_and_remembers_which(
    client: httpx2.AsyncClient,
) -> None:
    chinese = await client.get("/login", params={"lang": "zh"})
    assert labels()["zh"]["login"]["enter"] in chinese.text
    assert labels()["zh"]["login"]["enter"] in (await client.get("/login")).text


async def test_a_huge_or_crowded_form_is_refused(client: httpx2.AsyncClient) -> None:
    huge = await client.post("/login", data={"name": "x" * 70_000})
    assert huge.status_code == 413
    crowded = await client.post("/login", data={f"f{i}": "x" for i in range(300)})
    assert crowded.status_code == 400
    odd = await client.post("/login", content=b"\xff\xfe=%ff&name=%00", headers={"a": "b"})
    assert odd.status_code == 403
