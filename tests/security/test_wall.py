"""The wall: every route of the table, every kind of visitor, every method."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.routing import Mount, Route

from adapters.web import WebAdapter
from adapters.web.room import Room
from adapters.web.session import COOKIE
from adapters.web.ways import Wall, Way, Who, files
from tests.adapters.desk_live import PASSWORD, LiveDesk, live_desk
from tests.adapters.test_web_api import adapter
from tests.proof import Ledger
from tests.security.knocking import HOOK, LOCAL, SHOP, TOKEN, Hook, Knock, book, knock

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
CHANGES = frozenset(METHODS) - {"GET", "HEAD", "OPTIONS"}

# What is open to whom, written down a second time: a route that appears, or opens, is seen here.
TABLE = {
    "POST /chat": Who.CALLER,
    "GET /livez": Who.ANYBODY,
    "GET /readyz": Who.ANYBODY,
    "GET /metrics": Who.READER,
    "GET /openapi.json": Who.ANYBODY,
    "POST /telegram/webhook": Who.PLATFORM,
    "POST /telegram/webhook/{bot}": Who.PLATFORM,
    "GET /": Who.HERE,
    "GET /room/state": Who.HERE,
    "GET /room/events": Who.HERE,
    "GET /room/why": Who.HERE,
    "POST /room/say": Who.HERE,
    "POST /room/act": Who.HERE,
    "POST /room/model": Who.HERE,
    "GET /room/static/{path:path}": Who.HERE,
    "GET /desk": Who.STAFF,
    "POST /desk": Who.STAFF,
    "POST /desk/queue": Who.STAFF,
    "GET /desk/events": Who.STAFF,
    "GET /desk/saved": Who.STAFF,
    "POST /desk/saved": Who.STAFF,
    "POST /desk/incident/{id:int}": Who.STAFF,
    "GET /desk/{id:int}": Who.STAFF,
    "POST /desk/{id:int}/act": Who.STAFF,
    "POST /desk/{id:int}/writing": Who.STAFF,
    "GET /desk/{id:int}/transcript": Who.STAFF,
    "GET /desk/{id:int}/transcript.json": Who.STAFF,
    "GET /login": Who.ANYBODY,
    "POST /login": Who.ANYBODY,
    "POST /logout": Who.STAFF,
    "POST /logout/everywhere": Who.STAFF,
    "GET /settings": Who.ADMIN,
    "POST /settings": Who.ADMIN,
    "POST /settings/preview": Who.ADMIN,
    "POST /settings/saved": Who.ADMIN,
    "GET /settings/doctor": Who.ADMIN,
    "GET /pictures": Who.STAFF,
    "POST /pictures/sample": Who.STAFF,
    "GET /pictures/{name}.csv": Who.STAFF,
    "GET /static/{path:path}": Who.ANYBODY,
}
PLAIN = frozenset({"nobody", "staff", "token", "hook"})  # tried with every method and host
FILLED = {"{id:int}": "7", "{name}": "mood", "{path:path}": "heed.css"}


class Town:
    """An adapter with everything that can be known about a visitor."""

    def __init__(self, desk: LiveDesk, host: str, token: str) -> None:
        self.token = token
        self.local = host == "127.0.0.1"
        hooks = {"": Hook(HOOK), "shop": Hook(SHOP)}
        self.web: WebAdapter = adapter(desk, host=host, port=8080, token=token, webhooks=hooks)
        self.names = book(self.web)
        self.cookies: dict[str, str] = {}
        self.csrf: dict[str, str] = {}

    def paths(self) -> Iterator[tuple[str, str, Who]]:
        for line, who in TABLE.items():
            method, path = line.split()
            for pattern, value in FILLED.items():
                path = path.replace(pattern, value)
            if "{bot}" in path:
                yield method, path.replace("{bot}", "shop"), who
                yield method, path.replace("{bot}", "nobody"), who
            else:
                yield method, path, who


@asynccontextmanager
async def town(folder: Path, host: str, token: str) -> AsyncIterator[Town]:
    with live_desk(folder) as desk:
        desk.hire("ana", admin=True)
        desk.hire("ben")
        made = Town(desk, host, token)
        people = {"expired": "ana", "admin": "ana", "staff": "ben", "left": "ben", "other": "ben"}
        for kind, name in people.items():
            secret = await desk.log_in(name, PASSWORD)
            made.cookies[kind], made.csrf[kind] = secret, (await desk.member(secret)).csrf
            if kind == "expired":
                desk.clock.now += 13 * 3600
        await desk.log_out(made.cookies["left"])
        made.cookies |= {"guessed": "x" * 43, "hash": "0" * 64, "empty": ""}
        yield made


class Visitor(NamedTuple):
    """Somebody who knocks. `own`: what they send comes from a page of ours, as far as one sees."""

    name: str
    headers: list[tuple[str, str]]
    form: dict[str, str]
    own: bool


def visitors(town: Town) -> Iterator[Visitor]:
    """Yield everybody who may come along."""
    for one in _visitors(town):
        yield Visitor(*one)


def _visitors(town: Town) -> Iterator[tuple[Any, ...]]:
    yield "nobody", [], {}, True
    for kind in ("staff", "admin"):
        session, right = ("cookie", f"{COOKIE}={town.cookies[kind]}"), {"csrf": town.csrf[kind]}
        yield kind, [session], right, True
        yield f"{kind} without csrf", [session], {}, True
        yield f"{kind} with a wrong csrf", [session], {"csrf": "x" * 43}, True
        yield f"{kind} with odd csrf", [session], {"csrf": "\u00e9"}, True
        yield f"{kind} with another's csrf", [session], {"csrf": town.csrf["other"]}, True
        for site in ("cross-site", "same-site"):
            yield f"{kind} from {site}", [session, ("sec-fetch-site", site)], right, False
    for kind in ("expired", "left", "guessed", "hash", "empty"):
        form = {"csrf": town.csrf.get(kind, town.csrf["admin"])}
        yield f"{kind} session", [("cookie", f"{COOKIE}={town.cookies[kind]}")], form, True
    yield "odd cookie", [("cookie", f"{COOKIE}=\u00e9\u00ff; =;;{COOKIE}")], {}, True
    keys = {
        "token": f"Bearer {TOKEN}",
        "lower bearer": f"bearer {TOKEN}",
        "wrong token": "Bearer wrong",
        "cut token": f"Bearer {TOKEN[:-1]}",
        "long token": f"Bearer {TOKEN}x",
        "basic": f"Basic {TOKEN}",
        "no scheme": TOKEN,
        "no token": "Bearer ",
        "odd token": "Bearer \u00e9\u00ff",
    }
    for name, value in keys.items():
        yield name, [("authorization", value)], {}, True
    secret = "x-telegram-bot-api-secret-token"
    for name, value in (
        ("hook", HOOK),
        ("shop's hook", SHOP),
        ("wrong hook", "no"),
        ("odd hook", "\u00e9"),
        ("empty hook", ""),
    ):
        yield name, [(secret, value)], {}, True
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via", "cf-connecting-ip"):
        yield f"with {name}", [(name, "10.0.0.9")], {}, False
    for site in ("http://evil.example", "null", "https://127.0.0.1:8080", "http://127.0.0.1:80"):
        yield f"origin {site}", [("origin", site)], {}, False
    yield "a second origin", [("origin", "http://127.0.0.1:8080"), ("origin", "null")], {}, False
    yield "own origin", [("origin", "http://127.0.0.1:8080")], {}, True


def may(town: Town, visitor: Visitor, who: Who, one: Knock) -> bool:
    """Say who may come in, in other words than the program's."""
    name, change = visitor.name, one.method in CHANGES
    proxied = name.startswith("with ")
    here = town.local and one.host == LOCAL[1] and not proxied and (visitor.own or not change)
    bearer = town.token != "" and name in ("token", "lower bearer")
    match who:
        case Who.ANYBODY:
            return True
        case Who.HERE:
            return here
        case Who.CALLER:
            return bearer if town.token else here
        case Who.READER:
            return here or bearer
        case Who.PLATFORM:
            return (name, one.path.rpartition("/")[2]) in (
                ("hook", "webhook"),
                ("shop's hook", "shop"),
            )
        case Who.STAFF | Who.ADMIN:
            kind = name.split(" ", maxsplit=1)[0]
            known = kind == "admin" or (kind == "staff" and who is Who.STAFF)
            return known and (name == kind or not change)


def test_every_route_names_who_may_come_in_and_no_more_than_these(tmp_path: Path) -> None:
    with live_desk(tmp_path) as desk:
        ways = adapter(desk).wall.ways
    found = {
        f"{method} {way.path}": way.who
        for way in ways
        for method in sorted(way.methods or ())
        if method != "HEAD"
    }
    assert found == TABLE


def test_a_route_that_names_nobody_ends_the_start(tmp_path: Path) -> None:
    async def handler(_request: object) -> None: ...

    async def pass_on(_request: object) -> None: ...

    checks = {Who.ANYBODY: pass_on}
    Wall([Way("/fine", handler, Who.ANYBODY)], checks=checks, form=pass_on)
    for route in (Route("/open", handler), Mount("/below", routes=[Route("/open", handler)])):
        with pytest.raises(TypeError, match="does not say who may come in"):
            Wall([route], checks=checks, form=pass_on)
    with pytest.raises(TypeError, match="nobody checks"):
        Wall([Way("/desk", handler, Who.STAFF)], checks=checks, form=pass_on)
    with pytest.raises(TypeError):
        Way("/forgotten", handler)
    assert files("/static", tmp_path, Who.HERE).who is Who.HERE


async def test_a_route_added_behind_the_wall_is_not_there(tmp_path: Path) -> None:
    async with town(tmp_path, "127.0.0.1", "") as made:
        made.web.wall.routes.append(Route("/behind", lambda _request: None))
        made.web.wall.mount("/below", made.web.app)
        for path in ("/behind", "/below", "/below/desk"):
            assert (await knock(made.web, made.names, Knock(path=path))).status == 404


async def _walk_the_table(made: Town) -> tuple[int, list[str]]:
    wrong, tried = [], 0
    hosts = (LOCAL[1], "evil.example", "127.0.0.1.evil.example:8080", None)
    for path, who in sorted({(path, who) for _, path, who in made.paths()}):
        takes = _methods(path, made)
        for visitor in visitors(made):
            plain = visitor.name in PLAIN
            calls = [*itertools.product(METHODS if plain else METHODS[:3], hosts[:1])]
            calls += itertools.product(("GET", "POST"), hosts[1:]) if plain else ()
            for method, host in calls:
                one = Knock(
                    path=path, method=method, headers=visitor.headers, form=visitor.form, host=host
                )
                answer = await knock(made.web, made.names, one)
                tried += 1
                should = method in takes and may(made, visitor, who, one)
                should = should and not path.endswith("/nobody")
                if answer.entered != should or answer.status >= 500:
                    wrong.append(f"{visitor.name}, host {host}: {method} {path}: {answer.status}")
    return tried, wrong


def _methods(path: str, made: Town) -> set[str]:
    """Return the methods that the table has for a filled path."""
    found = {method for method, own, _ in made.paths() if own == path}
    return found | ({"HEAD"} if "GET" in found else set())


@pytest.mark.proof_short
async def test_nobody_reaches_what_is_not_theirs(tmp_path: Path, proof: Ledger) -> None:
    tried, wrong = 0, []
    for number, (host, token) in enumerate(
        (("127.0.0.1", ""), ("127.0.0.1", TOKEN), ("0.0.0.0", TOKEN), ("0.0.0.0", ""))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with town(folder, host, token) as made:
            came, bad = await _walk_the_table(made)
            tried, wrong = tried + came, wrong + bad
    proof(
        "security",
        "every route with every key, session, origin, host and method: who gets in",
        f"{len(TABLE)} routes, {tried:,} requests",
        wrong,
    )


async def test_the_room_is_closed_by_each_of_its_walls(tmp_path: Path) -> None:
    async with town(tmp_path, "127.0.0.1", "") as made:
        calm = Knock(path="/room/say", method="POST")
        assert (await knock(made.web, made.names, calm)).entered
        broken = {
            "Host": Knock(path="/", host="heed.example"),
            "no Host": Knock(path="/", host=None),
            "two Hosts": Knock(path="/", headers=[("host", "heed.example")]),
            "Origin": Knock(path="/room/say", method="POST", headers=[("origin", "null")]),
            "another site": Knock(
                path="/room/say", method="POST", headers=[("sec-fetch-site", "cross-site")]
            ),
            "proxy": Knock(path="/", headers=[("x-forwarded-proto", "https")]),
        }
        for wall, one in broken.items():
            answer = await knock(made.web, made.names, one)
            assert (answer.entered, answer.status) == (False, 403), wall
    (tmp_path / "wide").mkdir()
    async with town(tmp_path / "wide", "192.0.2.1", "") as made:
        answer = await knock(made.web, made.names, Knock(path="/"))
        assert (answer.entered, answer.status) == (False, 403)


async def test_the_room_reaches_its_own_persons_alone(tmp_path: Path) -> None:
    with live_desk(tmp_path) as desk:
        theirs = desk.add("Maya", "I am furious!! Give me my money.")
        web, names = adapter(desk, port=8080), []
        room = next(w for w in web.wall.ways if w.path == "/room/act")
        assert isinstance(room.endpoint.__self__, Room)
        for one, status in (
            (Knock(path="/?person=maya"), 404),
            (Knock(path="/room/events?person=telegram:1"), 404),
            (Knock(path=f"/room/why?inbox={theirs['id']}"), 404),
            (
                Knock(
                    path="/room/act",
                    method="POST",
                    form={"verb": "claim", "case": str(theirs["id"])},
                    headers=[("heed-live", "1")],
                ),
                409,
            ),
        ):
            assert (await knock(web, names, one)).status == status, one
        assert (await desk.case(theirs["id"]))["state"] == "queued"
        await desk.close()


async def test_an_address_that_guesses_keys_waits_and_shuts_nobody_else_out(tmp_path: Path) -> None:
    async with town(tmp_path, "127.0.0.1", TOKEN) as made:

        async def status(key: str, *, wide: bool, path: str = "/chat") -> int:
            name = "authorization" if path == "/chat" else "x-telegram-bot-api-secret-token"
            one = Knock(path=path, method="POST", headers=[(name, key)], wide=wide)
            return (await knock(made.web, made.names, one)).status

        right, wrong = f"Bearer {TOKEN}", "Bearer guess"
        assert await status(right, wide=True) == 200
        told = [await status(wrong, wide=True) for _ in range(40)]
        assert told == [401] * 30 + [429] * 10
        assert await status(HOOK, wide=True, path="/telegram/webhook") == 429  # the same address
        assert await status(right, wide=False) == 200
        assert [await status(wrong, wide=False) for _ in range(40)] == [401] * 40
        assert await status(HOOK, wide=False, path="/telegram/webhook") == 200
