"""The door of the page: log in by name and password, log out here or everywhere.

Before anybody is logged in there is no secret that a form could bring, so the form of the log-in
brings a random one that a cookie of this page holds too: another page can send the form, but
cannot make the two agree.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from adapters.web.session import (
    COOKIE,
    Sessions,
    check_csrf,
    clear_cookie,
    frame_facts,
    page_answer,
    set_cookie,
)
from adapters.web.stream import read_body
from adapters.web.view import templates, why_not
from core.errors import DeskError
from core.ports import Desk, StaffMember

HOME = "/desk"
_DOOR = "heed_door"
_LOCAL = re.compile(r"/(?![/\\])[!-~]*")
_FORM = 64 * 1024
_FIELDS = 250


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises HTTPException for one that is too large."""
    body = (await read_body(request, _FORM)).decode("utf-8", "replace")
    try:
        pairs = parse_qs(body, keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError as error:
        raise HTTPException(400, "The form has too many fields.") from error
    return {name: values[0] for name, values in pairs.items()}


def local(path: str) -> str:
    """Return a path of this page to go on to; anything else becomes the desk."""
    if not _LOCAL.fullmatch(path) or path.startswith(("/log", "/api")):
        return HOME
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What the form of the log-in says again after it was refused."""

    name: str = ""
    problem: str = ""
    status: int = 200


class Login:
    """The routes of the log-in."""

    def __init__(self, desk: Desk, *, sessions: Sessions) -> None:
        self._desk = desk
        self._sessions = sessions
        self._templates: Environment = templates()

    def routes(self) -> list[BaseRoute]:
        """Return the routes; they are open to everybody."""
        return [
            Route("/login", self.page),
            Route("/login", self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
            Route("/logout/everywhere", self.leave_everywhere, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show the form; to somebody who is logged in already, who that is and how to leave."""
        member = await self._sessions.member(request)
        return await self._draw(request, member, request.query_params.get("next", ""), _Asked())

    async def _draw(
        self, request: Request, member: StaffMember | None, onward: str, asked: _Asked
    ) -> Response:
        known = request.cookies.get(_DOOR, "")
        door = known if re.fullmatch(r"[\w-]{43}", known) else secrets.token_urlsafe(32)
        facts: dict[str, Any] = frame_facts(request, member, "login") | {
            "door": door,
            "onward": local(onward),
            "asked": asked,
            "anybody": bool(await self._desk.staff()),
        }
        html = self._templates.get_template("login.html").render(**facts)
        answer = page_answer(request, html, asked.status)
        safe = request.url.scheme == "https"
        answer.set_cookie(_DOOR, door, path="/login", secure=safe, httponly=True, samesite="strict")
        return answer

    async def enter(self, request: Request) -> Response:
        """Log somebody in and send them on; else the form again, with what to do."""
        form = await form_of(request)
        onward, name = form.get("next", ""), form.get("name", "")
        t = frame_facts(request, None, "login")["t"]
        words = t["login"]
        if not _agrees(request, form):
            asked = _Asked(name=name, problem=words["no_cookie"], status=403)
            return await self._draw(request, None, onward, asked)
        try:
            secret = await self._desk.log_in(name, form.get("password", ""))
        except DeskError as error:
            asked = _Asked(name=name, problem=why_not(error, t), status=429)
            return await self._draw(request, None, onward, asked)
        if secret is None:
            asked = _Asked(name=name, problem=words["wrong"], status=401)
            return await self._draw(request, None, onward, asked)
        before = request.cookies.get(COOKIE, "")
        if before:  # who logs in again leaves no forgotten session behind
            await self._desk.log_out(before)
        answer = RedirectResponse(local(onward), 303)
        set_cookie(request, answer, secret)
        return answer

    async def leave(self, request: Request) -> Response:
        """End this session."""
        return await self._leave(request, everywhere=False)

    async def leave_everywhere(self, request: Request) -> Response:
        """End every session of who asks."""
        return await self._leave(request, everywhere=True)

    async def _leave(self, request: Request, *, everywhere: bool) -> Response:
        form = await form_of(request)
        member = await self._sessions.member(request)
        if member is not None:
            check_csrf(member, form)
            await self._desk.log_out(request.cookies.get(COOKIE, ""), everywhere=everywhere)
        answer = RedirectResponse("/login", 303)
        clear_cookie(request, answer)
        return answer


def _agrees(request: Request, form: Mapping[str, str]) -> bool:
    """Say whether form and cookie hold the same secret: the form is of our own page."""
    held = request.cookies.get(_DOOR, "").encode("utf-8", "replace")
    brought = form.get("door", "").encode("utf-8", "replace")
    return held != b"" and hmac.compare_digest(held, brought)
