"""What leaves by the page: no inline script, headers on everything, cookies, forms of our own."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

from adapters.web.shell import HEADERS
from adapters.web.view import HERE
from tests.adapters.desk_live import PASSWORD, LiveDesk, live_desk
from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import Clock, serving
from tests.adapters.test_web_login import hidden, log_in
from tests.proof import Ledger
from tests.security.grown import Grown, grown

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((HERE / "templates").glob("*.html"))
PART = {"HX-Request": "true"}
LIVE = {"Heed-Live": "1"}
ADDRESSES = {"src", "href", "action", "formaction", "poster", "hx-get", "hx-post", "srcset", "data"}


class Page(HTMLParser):
    """Collects what a page must not hold, and the forms that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.elements = 0
        self._form: dict[str, str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        self.elements += 1
        values = {name: value or "" for name, value in pairs}
        told = f"<{tag} {values}>"
        if tag in ("style", "base", "object", "embed", "iframe", "frame", "applet"):
            self.wrong.append(told)
        if tag == "script" and "src" not in values and values.get("type") != "application/json":
            self.wrong.append(told)
        for name, value in values.items():
            if name.startswith(("on", "hx-on")) or name in (
                "style",
                "srcdoc",
                "hx-vals",
                "hx-vars",
            ):
                self.wrong.append(told)
            if name in ADDRESSES and not re.match(r"(/(?!/)|#|\?|$)", value):
                self.wrong.append(told)
        if tag == "form":
            self._form = {"method": values.get("method", "get"), "action": values.get("action", "")}
            self.forms.append(self._form)
        if tag == "input" and self._form is not None:
            self._form[values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_trusts_a_text_or_runs_anything_inline(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|<style|\sstyle=|\son\w+=|hx-on|javascript:", text)
    for script in re.findall(r"<script[^>]*>", text):
        assert 'src="/' in script or 'type="application/json"' in script, script


@pytest.mark.proof_short
async def test_every_page_keeps_to_its_policy(tmp_path: Path, proof: Ledger) -> None:
    wrong: list[str] = []
    elements = pages = 0
    async with grown(tmp_path) as heed:
        for place, answer in await _every_page(heed):
            pages += 1
            for name, value in HEADERS:
                if answer.headers.get(name.decode()) != value.decode():
                    wrong.append(f"{place} has no {name.decode()}")
            found = Page(_html(answer))
            elements += found.elements
            wrong += [f"{place}: {one}" for one in found.wrong]
            posts = [form for form in found.forms if form["method"].lower() == "post"]
            own = [form for form in posts if not form["action"].startswith(("/room", "/login"))]
            wrong += [
                f"{place}: {f['action']} without csrf" for f in own if f.get("csrf") != heed.csrf
            ]
    policy = dict(HEADERS)[b"content-security-policy"].decode()
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert elements > 1500
    what = (
        "every page and part of a running Heed: headers, no inline script or style, csrf in forms"
    )
    proof("security", what, f"{pages} pages, {elements:,} elements", wrong)


def _html(answer: httpx2.Response) -> str:
    if "json" in answer.headers.get("content-type", "") and '"parts"' in answer.text:
        return "".join(answer.json()["parts"].values())
    return answer.text if "html" in answer.headers.get("content-type", "") else ""


async def _every_page(heed: Grown) -> list[tuple[str, httpx2.Response]]:
    client, found = heed.client, []

    async def get(path: str, headers: dict[str, str] | None = None, form: object = None) -> None:
        method = "GET" if form is None else "POST"
        data = form if form is None else {"csrf": heed.csrf, **form}
        request = client.build_request(method, path, headers=headers, data=data)
        found.append((f"{method} {path}", await client.send(request)))

    await get("/")
    await get("/login")
    await get(
        "/room/say", LIVE, {"person": "ann", "text": "I am furious!! You lost my data again!"}
    )
    client.cookies.set("heed_session", heed.session)
    for lang in ("en", "zh"):
        for path in ("/", "/login", "/desk", "/desk/1", "/desk/saved", "/settings", "/pictures"):
            await get(f"{path}?lang={lang}")
    for path in ("/desk/1", "/desk/77", "/settings/doctor"):
        await get(path, PART)
    for path in ("/settings/doctor", "/desk/1/transcript", "/desk/1/transcript.json", "/desk/77"):
        await get(path)
    conversation = (await client.get("/room/state", headers=LIVE)).text
    inbox = re.search(r"inbox=(\d+)", conversation)
    await get("/room/state", LIVE)
    if inbox:
        await get(f"/room/why?inbox={inbox[1]}")
        await get(f"/room/why?inbox={inbox[1]}", LIVE)
    acts = (
        {"verb": "claim"},
        {"verb": "reply", "text": "<b>I</b> am here"},
        {"verb": "note", "text": "x"},
    )
    for act in (*acts, {"verb": "reply"}, {"verb": "snooze", "text": "never"}, {"verb": "draft"}):
        await get("/desk/1/act", PART, act)
        await get("/desk/1/act", None, act)
    await get("/desk/queue", PART, {"state": "all"})
    await get("/desk/queue", None, {"words": "<script>alert(1)</script>"})
    await get("/desk/saved", None, {"name": "hello", "text": "<i>Hello</i>"})
    await get("/desk/saved", None, {"name": "not a name!", "text": "x"})
    await get("/pictures/sample", None, {"do": "make"})
    await get("/pictures?range=30d")
    await get("/pictures/mood.csv")
    await get("/settings/preview", PART, {"set:mood.half_life": "60", "was:mood.half_life": "1800"})
    await get("/settings", None, {"set:mood.half_life": "never", "was:mood.half_life": "1800"})
    for path in ("/nowhere", "/static/heed.css", "/static/nowhere.css", "/livez", "/metrics"):
        await get(path)
    await get("/desk", None, {"csrf": "wrong"})
    client.cookies.clear()
    await get("/desk")
    return found


async def test_an_error_nobody_expected_has_every_header_and_no_detail() -> None:
    class Broken(DeskTwin):
        async def member(self, secret: str, *, renew: bool = True) -> None:
            raise ZeroDivisionError(f"planted {secret} {renew}")

    async with serving(Broken(Clock())) as client:
        answer = await client.get("/desk", headers={"Cookie": "heed_session=x"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "error"
    assert "planted" not in answer.text
    for name, value in HEADERS:
        assert answer.headers[name.decode()] == value.decode()


@pytest.fixture
def desk(tmp_path: Path) -> LiveDesk:
    with live_desk(tmp_path) as made:
        made.hire("ana", admin=True)
        made.hire("ben")
        yield made


async def test_cookies_are_for_https_behind_a_proxy_and_never_for_scripts(desk: LiveDesk) -> None:
    async with serving(desk) as client:
        seen: set[str] = set()
        for proxy in (True, False):
            client.headers["X-Forwarded-Proto"] = "https, http" if proxy else "http"
            form = {"name": "ana", "password": PASSWORD, "next": "/desk"}
            page = await client.get("/login?lang=zh")
            door = hidden(page.text, "door")
            jar = {"Cookie": f"heed_door={door}"}
            entered = await client.post("/login", data=form | {"door": door}, headers=jar)
            session = re.search(r"heed_session=([^;]+)", str(entered.headers["set-cookie"]))
            jar = {"Cookie": f"heed_session={session[1]}"}
            csrf = hidden((await client.get("/desk/saved", headers=jar)).text, "csrf")
            asked = {"csrf": csrf, "state": "all"}
            queue = await client.post("/desk/queue", data=asked, headers=jar)
            left = await client.post("/logout", data={"csrf": csrf}, headers=jar)
            for answer in (page, entered, queue, left):
                for cookie in answer.headers.get_list("set-cookie"):
                    seen.add(cookie.split("=")[0])
                    flags = [part.strip().lower() for part in cookie.split(";")]
                    assert {"httponly", "samesite=strict"} <= set(flags), cookie
                    assert ("secure" in flags) is proxy, cookie
        assert seen == {"heed_door", "heed_language", "heed_session", "heed_desk", "heed_known"}


async def knocks(client: httpx2.AsyncClient, name: str, password: str = PASSWORD) -> int:
    """Try to log in with a browser that knows nothing yet; return the status."""
    client.cookies.clear()
    return (await log_in(client, name, password)).status_code


async def test_guessing_passwords_is_slow_by_one_name_and_by_many(desk: LiveDesk) -> None:
    async with serving(desk) as client:
        assert await knocks(client, "ben") == 303
        known = client.cookies["heed_known"]
        told = [await knocks(client, "ben", "no") for _ in range(6)]
        assert told == [401] * 3 + [429] * 3
        assert await knocks(client, "ana") == 303  # another name comes in
        told = [await knocks(client, f"name {n}", "no") for n in range(30)]
        assert told == [401] * 27 + [429] * 3
        assert await knocks(client, "ana") == 429
        client.cookies.clear()
        client.cookies.set("heed_known", known, path="/login")
        assert (await log_in(client, "ben")).status_code == 303  # he has been in by this browser
        desk.clock.now += 10
        assert await knocks(client, "ana") == 303
        desk.clock.now += 60
        assert await knocks(client, "ben") == 303


async def test_a_stranger_keeps_no_member_out_for_ever(desk: LiveDesk) -> None:
    """Somebody guesses at ben's name day and night; where he has been in before, ben gets in.

    In a new browser he waits for a minute at most after they have stopped.
    """
    async with serving(desk) as client, serving(desk) as his:
        assert (await log_in(his, "ben")).status_code == 303
        known = his.cookies["heed_known"]
        for _ in range(5):
            await knocks(client, "ben", "no")
            desk.clock.now += 60
        assert await knocks(client, "ben", "no") == 401
        assert await knocks(client, "ben") == 429
        for bad in ("x", known[:-1], ".", "", await desk.recognise("ana")):
            his.cookies.clear()
            his.cookies.set("heed_known", bad, path="/login")
            assert (await log_in(his, "ben")).status_code == 429, bad
        his.cookies.clear()
        his.cookies.set("heed_known", known, path="/login")
        told = [(await log_in(his, "ben", "no")).status_code for _ in range(4)]
        assert told == [401, 401, 401, 429]  # nobody guesses by a browser that is known
        desk.clock.now += 1
        assert (await log_in(his, "ben")).status_code == 303
        assert (await his.get("/desk")).status_code == 200
        for _ in range(5):
            await knocks(client, "ben", "no")
        assert (await his.get("/desk")).status_code == 200  # who is in stays in
        desk.clock.now += 70
        assert await knocks(client, "ben") == 303


COMPARED = {  # where a secret that somebody brings is compared, and how
    "adapters/telegram/adapter.py: knows",
    "adapters/web/guard.py: _brings_token",
    "adapters/web/login.py: _agrees",
    "adapters/web/session.py: check_form",
    "bot/guest.py: _knows",
}
PLAIN = {  # equal signs beside such a name that compare no secret somebody brought
    "adapters/telegram/adapter.py: knows: self._secret != ''",
}
SECRET = re.compile(r"token|secret|csrf|password|api_key|authorization|bearer", re.IGNORECASE)


@pytest.mark.proof_short
def test_every_secret_is_compared_in_constant_time(proof: Ledger) -> None:
    careful: set[str] = set()
    plain: set[str] = set()
    for path in sorted([*(ROOT / "adapters").rglob("*.py"), *(ROOT / "bot").rglob("*.py")]):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            place = f"{path.relative_to(ROOT)}: {function.name}"
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and "compare_digest" in ast.unparse(node.func):
                    careful.add(place)
                if isinstance(node, ast.Compare) and _compares_a_secret(node):
                    plain.add(f"{place}: {ast.unparse(node)}")
    wrong = sorted(careful ^ COMPARED) + sorted(plain - PLAIN)
    proof("security", "places where a secret is compared", f"{len(COMPARED)} places", wrong)


def _compares_a_secret(node: ast.Compare) -> bool:
    if not any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
        return False
    sides = [node.left, *node.comparators]
    return any(
        SECRET.search(ast.unparse(side)) for side in sides if not isinstance(side, ast.Constant)
    )
