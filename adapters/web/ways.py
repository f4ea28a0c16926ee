"""The table of routes and the wall around it: whoever a route does not name cannot reach it.

Each way says in the table who may come in. The wall asks for that before anything of the route
runs, also before it says that a method is wrong. A route that names nobody ends the start, and one
that is added behind the wall's back is never found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

_LARGEST: Final = 2**53  # no row has a larger number, and no database takes any
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing

Endpoint = Callable[[Request], Awaitable[Response]]
Check = Callable[[Request], Awaitable[None]]  # raises what refuses the request


class Who(StrEnum):
    """Who may come in by a way."""

    ANYBODY = "anybody"
    HERE = "this machine's own browser"
    CALLER = "the API's token"
    READER = "this machine, or the API's token"
    PLATFORM = "the webhook's secret"
    STAFF = "staff who are logged in"
    ADMIN = "admins who are logged in"


BY_FORM: Final = frozenset({Who.STAFF, Who.ADMIN})  # a change needs a form of our own page


class Way(Route):
    """One route, and who may come in by it."""

    def __init__(self, path: str, endpoint: Endpoint, who: Who, method: str = "GET") -> None:
        super().__init__(path, endpoint, methods=method.split())
        self.who = who


def files(path: str, folder: Any, who: Who) -> Way:  # noqa: ANN401 - a path, or its text
    """Return a way to every file below `folder`."""
    shelf = StaticFiles(directory=folder)

    async def file(request: Request) -> Response:
        return await shelf.get_response(request.path_params["path"], request.scope)

    return Way(f"{path}/{{path:path}}", file, who)


class Wall(Router):
    """The router: `checks` says how each kind of visitor is known, `form` checks a change."""

    def __init__(
        self, ways: Sequence[BaseRoute], *, checks: Mapping[Who, Check], form: Check
    ) -> None:
        for way in ways:
            if not isinstance(way, Way):
                raise TypeError(f"{way!r} does not say who may come in: make it a Way")
            if way.who not in checks:
                raise TypeError(f"nobody checks {way.who!r}, whom {way.path} lets in")
        super().__init__(ways, redirect_slashes=False)
        self.ways = tuple(way for way in ways if isinstance(way, Way))
        self._checks = dict(checks)
        self._form = form

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[explicit-override]
        """Find the way, check who comes and with what, and only then hand over."""
        way, match = self._find(scope)
        if way is None:
            await self.not_found(scope, receive, send)
            return
        request = Request(scope, receive)
        await self._checks[way.who](request)
        if match is Match.FULL and way.who in BY_FORM and request.method not in SAFE:
            await self._form(request)
        await way.handle(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[Way | None, Match]:
        """Return the way of a request; one for another method if there is no better."""
        nearest: tuple[Way, Scope] | None = None
        for way in self.ways:
            match, found = way.matches(scope)
            numbers = found.get("path_params", {}).values()
            if any(isinstance(one, int) and one > _LARGEST for one in numbers):
                continue
            if match is Match.FULL:
                scope.update(found)
                return way, match
            if match is Match.PARTIAL and nearest is None:
                nearest = way, found
        if nearest is None:
            return None, Match.NONE
        scope.update(nearest[1])
        return nearest[0], Match.PARTIAL
