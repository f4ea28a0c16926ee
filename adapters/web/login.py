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

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from adapters.web.guard import foreign
from adapters.web.session import (
    COOKIE,
    Sessions,
    clear_cookie,
    form_of,
    frame_facts,
    is_safe,
    keep,
    page_answer,
    set_cookie,
)
from adapters.web.view import templates, why_not
from adapters.web.ways import Way, Who
from core.errors import DeskError
from core.ports import Desk, StaffMember

HOME = "/desk"
_DOOR = "heed_door"
_KNOWN = "heed_known"  # says that somebody has logged in with this browser before
_LOCAL = re.compile(r"/(?![/\\])[!-~]*")


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

    def routes(self) -> list[Way]:
        """Return the routes: in for everybody, out for who is in."""
        return [
            Way("/login", self.page, Who.ANYBODY),
            Way("/login", self.enter, Who.ANYBODY, "POST"),
            Way("/logout", self.leave, Who.STAFF, "POST"),
            Way("/logout/everywhere", self.leave_everywhere, Who.STAFF, "POST"),
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
        answer.set_cookie(
            _DOOR,
            door,
            path="/login",
            secure=is_safe(request),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def enter(self, request: Request) -> Response:
        """Log somebody in and send them on; else the form again, with what to do."""
        form = await form_of(request)
        onward, name = form.get("next", ""), form.get("name", "")
        t = frame_facts(request, None, "login")["t"]
        words = t["login"]
        if foreign(request) or not _agrees(request, form):
            asked = _Asked(name=name, problem=words["no_cookie"], status=403)
            return await self._draw(request, None, onward, asked)
        try:
            known = request.cookies.get(_KNOWN, "")
            secret = await self._desk.log_in(name, form.get("password", ""), known=known)
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
        keep(request, answer, _KNOWN, await self._desk.recognise(name), "/login")
        return answer

    async def leave(self, request: Request) -> Response:
        """End this session."""
        return await self._leave(request, everywhere=False)

    async def leave_everywhere(self, request: Request) -> Response:
        """End every session of who asks."""
        return await self._leave(request, everywhere=True)

    async def _leave(self, request: Request, *, everywhere: bool) -> Response:
        await self._desk.log_out(request.cookies.get(COOKIE, ""), everywhere=everywhere)
        answer = RedirectResponse("/login", 303)
        clear_cookie(request, answer)
        return answer


def _agrees(request: Request, form: Mapping[str, str]) -> bool:
    """Say whether form and cookie hold the same secret: the form is of our own page."""
    held = request.cookies.get(_DOOR, "").encode("utf-8", "replace")
    brought = form.get("door", "").encode("utf-8", "replace")
    return held != b"" and hmac.compare_digest(held, brought)
