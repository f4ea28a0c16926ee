"""Who is logged in: the session's cookie, the hidden field of every form, and the shared frame.

The cookie holds a secret and nothing else; who it belongs to, and whether it still counts, only
the desk knows. A form proves that it comes from our own page by bringing the member's `csrf`.
"""

from __future__ import annotations

import hmac
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from adapters.web.guard import foreign
from adapters.web.stream import EVENT_STREAM, json_answer, read_body
from adapters.web.view import choose_language, labels, templates
from core.ports import Desk, StaffMember

COOKIE = "heed_session"
LANGUAGE = "heed_language"
_KEPT: Final = 30 * 86400  # by the browser; the desk ends a session that is idle much earlier
_FORM: Final = 64 * 1024
_FIELDS: Final = 250


class LoggedOut(Exception):
    """Nobody is logged in with this request; `logged_out` makes the answer to it."""


class NotAdmin(Exception):
    """Somebody is logged in who may not come here; `not_admin` makes the answer to it."""


class Sessions:
    """Knows whose request this is, by its cookie."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def member(self, request: Request) -> StaffMember | None:
        """Return who is logged in, or None. Asked of the desk once for each request."""
        if not hasattr(request.state, "member"):
            secret = request.cookies.get(COOKIE, "")
            by_itself = request.method == "GET" and is_part(request)
            request.state.member = (
                await self._desk.member(secret, renew=not by_itself) if secret else None
            )
        found: StaffMember | None = request.state.member
        return found

    async def require(self, request: Request) -> StaffMember:
        """Return who is logged in. Raises LoggedOut."""
        member = await self.member(request)
        if member is None:
            raise LoggedOut
        return member

    async def admit(self, request: Request) -> None:
        """Let staff pass. Raises LoggedOut."""
        await self.require(request)

    async def admit_admin(self, request: Request) -> None:
        """Let admins pass. Raises LoggedOut, or NotAdmin."""
        if not (await self.require(request)).admin:
            raise NotAdmin

    async def check_form(self, request: Request) -> None:
        """Let a form of our own page pass. Raises HTTPException 403 for any other."""
        member, form = await self.require(request), await form_of(request)
        given = form.get("csrf", "").encode("utf-8", "replace")
        if foreign(request) or not hmac.compare_digest(given, member.csrf.encode()):
            raise HTTPException(
                403, "This form is from an earlier log-in or another page: load the page again."
            )


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form, read once. Raises HTTPException for one that is too large."""
    if not hasattr(request.state, "form"):
        body = (await read_body(request, _FORM)).decode("utf-8", "replace")
        try:
            pairs = parse_qs(body, keep_blank_values=True, max_num_fields=_FIELDS)
        except ValueError as error:
            raise HTTPException(400, "The form has too many fields.") from error
        request.state.form = {name: values[0] for name, values in pairs.items()}
    return dict(request.state.form)


def set_cookie(request: Request, answer: Response, secret: str) -> None:
    """Give the browser its session."""
    answer.set_cookie(
        COOKIE,
        secret,
        _KEPT,
        path="/",
        secure=is_safe(request),
        httponly=True,
        samesite="strict",
    )


def keep(request: Request, answer: Response, name: str, value: str, path: str = "/") -> None:
    """Let the browser remember a choice for a year; no script needs to read it."""
    answer.set_cookie(
        name,
        value,
        365 * 86400,
        path=path,
        secure=is_safe(request),
        httponly=True,
        samesite="strict",
    )


def clear_cookie(request: Request, answer: Response) -> None:
    """Take the session away from the browser."""
    answer.delete_cookie(
        COOKIE, path="/", secure=is_safe(request), httponly=True, samesite="strict"
    )


def is_safe(request: Request) -> bool:
    """Say whether the browser speaks https, to us or to the proxy in front of us."""
    told = request.headers.get("x-forwarded-proto", request.url.scheme)
    return told.split(",")[0].strip().lower() == "https"


def is_part(request: Request) -> bool:
    """Say whether a script asks for a part of a page or for events, not a person for a page."""
    headers = request.headers
    return (
        "hx-request" in headers
        or "heed-live" in headers
        or EVENT_STREAM in headers.get("accept", "")
    )


async def logged_out(request: Request, _error: Exception) -> Response:
    """Send a person to the log-in and back again afterwards; tell a script 401."""
    if is_part(request):
        words = "You are logged out: log in again."
        return json_answer({"error": {"code": "unauthorized", "message": words}}, 401)
    path = request.url.path
    if path.startswith("/logout"):  # they are out already
        return RedirectResponse("/login", 303)
    if request.method not in ("GET", "HEAD"):
        path = "/" + path.strip("/").split("/")[0]
    return RedirectResponse("/login?" + urlencode({"next": path}), 303)


async def not_admin(request: Request, _error: Exception) -> Response:
    """Tell somebody of staff that this is for admins."""
    facts = frame_facts(request, request.state.member, "settings")
    html = templates().get_template("settings_refused.html").render(**facts)
    return page_answer(request, html, 403)


def language_of(request: Request) -> str:
    """Return the language of this page: asked for just now, chosen before, or the browser's."""
    asked = request.query_params.get("lang", "")
    cookie = asked if asked in labels() else request.cookies.get(LANGUAGE, "")
    return choose_language(cookie, request.headers.get("accept-language", ""))


def frame_facts(request: Request, member: StaffMember | None, page: str) -> dict[str, Any]:
    """Return what frame.html needs: page is desk, pictures, settings or login."""
    language = language_of(request)
    return {
        "t": labels()[language],
        "language": language,
        "member": member,
        "page": page,
        "path": request.url.path if request.method in ("GET", "HEAD") else f"/{page}",
    }


def page_answer(request: Request, html: str, status: int = 200) -> Response:
    """Return a whole page; a language asked for by ?lang= is remembered."""
    answer = HTMLResponse(html, status)
    asked = request.query_params.get("lang", "")
    if asked in labels():
        keep(request, answer, LANGUAGE, asked)
    return answer
