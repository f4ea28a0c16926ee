"""The settings in the browser, for admins: what holds, where it came from, and doctor's report.

What needs no restart can be changed here, after a look at what the change would have meant for the
last messages; for everything else the page says which line to edit. Only what was changed in the
form is sent on, so that two admins do not undo each other's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from adapters.web.session import (
    Sessions,
    form_of,
    frame_facts,
    is_part,
    language_of,
    page_answer,
)
from adapters.web.view import labels, templates, why_not
from adapters.web.ways import Way, Who
from core.errors import DeskError, HeedError
from core.ports import Desk, StaffMember

_SAID = frozenset({"saved", "kept", "removed", "unchanged"})  # what ?done= may say
_SWITCH = ("true", "false")


class SettingsPage:
    """The routes of the settings."""

    def __init__(self, desk: Desk, *, sessions: Sessions) -> None:
        self._desk = desk
        self._sessions = sessions
        self._templates: Environment = templates()

    def routes(self) -> list[Way]:
        """Return the routes, all of them for admins."""
        return [
            Way("/settings", self._page, Who.ADMIN),
            Way("/settings", self._change, Who.ADMIN, "POST"),
            Way("/settings/preview", self._preview, Who.ADMIN, "POST"),
            Way("/settings/saved", self._save_reply, Who.ADMIN, "POST"),
            Way("/settings/doctor", self._doctor, Who.ADMIN),
        ]

    # --- reading --------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        member = await self._sessions.require(request)
        done = request.query_params.get("done", "")
        return await self._draw(request, member, done=done if done in _SAID else "")

    async def _draw(  # noqa: PLR0913 - everything that may stand on the page beside the settings
        self,
        request: Request,
        member: StaffMember,
        *,
        form: Mapping[str, str] | None = None,
        problem: str = "",
        done: str = "",
        tried: str = "",
        report: Sequence[Mapping[str, str]] | None = None,
        status: int = 200,
    ) -> Response:
        rows = self._desk.settings()
        facts: dict[str, Any] = frame_facts(request, member, "settings")
        facts |= {
            "live": _sections([_entered(row, form or {}) for row in rows if row["live"]]),
            "fixed": _sections([row for row in rows if not row["live"]]),
            "saved": await self._desk.saved_replies(),
            "staff": await self._desk.staff(),
            "reply": {"name": (form or {}).get("name", ""), "text": (form or {}).get("text", "")},
            "problem": problem,
            "done": done,
            "tried": tried,
            "report": report,
        }
        html = self._templates.get_template("settings.html").render(**facts)
        return page_answer(request, html, status)

    async def _doctor(self, request: Request) -> Response:
        """Show doctor's report: a part for htmx, the whole page for who follows the link."""
        member = await self._sessions.require(request)
        report = await self._desk.doctor()
        if not is_part(request):
            return await self._draw(request, member, report=report)
        facts = frame_facts(request, member, "settings") | {"report": report}
        return HTMLResponse(self._templates.get_template("settings_doctor.html").render(**facts))

    # --- changing -------------------------------------------------------------------------

    async def _change(self, request: Request) -> Response:
        member = await self._sessions.require(request)
        form = await form_of(request)
        wanted = changes(form)
        try:
            await self._desk.change_settings(wanted, member.name)
        except HeedError as error:
            problem = why_not(error, _words(request))
            return await self._draw(request, member, form=form, problem=problem, status=400)
        return _back("saved" if wanted else "unchanged")

    async def _preview(self, request: Request) -> Response:
        """Say what the values in the form would have meant for the last messages."""
        member = await self._sessions.require(request)
        form = await form_of(request)
        problem = ""
        try:
            found = await self._desk.preview(changes(form))
        except HeedError as error:
            problem = tried = why_not(error, _words(request))
        else:
            tried = preview_words(found, _words(request)["settings_page"])
        if is_part(request):
            html = self._templates.get_template("settings_tried.html")
            return HTMLResponse(html.render(tried=tried, problem=problem))
        status = 400 if problem else 200
        if problem:
            tried = ""
        return await self._draw(
            request, member, form=form, problem=problem, tried=tried, status=status
        )

    async def _save_reply(self, request: Request) -> Response:
        """Keep a saved reply; with `remove`, or without a text, take it away."""
        member = await self._sessions.require(request)
        form = await form_of(request)
        remove = form.get("remove", "")
        text = "" if remove else form.get("text", "")
        words = _words(request)
        if not remove and not text.strip():
            return await self._draw(
                request,
                member,
                form=form,
                problem=words["settings_page"]["reply_empty"],
                status=400,
            )
        try:
            await self._desk.save_reply(remove or form.get("name", ""), text, member.name)
        except DeskError as error:
            problem = why_not(error, words)
            return await self._draw(request, member, form=form, problem=problem, status=400)
        return _back("removed" if remove else "kept")


def _words(request: Request) -> dict[str, Any]:
    return labels()[language_of(request)]


def _back(done: str) -> Response:
    return RedirectResponse("/settings?" + urlencode({"done": done}), 303)


def changes(form: Mapping[str, str]) -> dict[str, str]:
    """Return what was changed in the form: a field `set:KEY` that differs from its `was:KEY`."""
    return {
        name.removeprefix("set:"): _one_line(value)
        for name, value in form.items()
        if name.startswith("set:")
        and _one_line(value) != _one_line(form.get("was:" + name.removeprefix("set:"), ""))
    }


def _one_line(value: str) -> str:
    return ", ".join(part.strip() for part in value.splitlines() if part.strip())


def _entered(row: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """Return a setting with what the form holds for it: a refused form loses nothing."""
    full = f"{row['section']}.{row['key']}"
    kind = row.get("kind") or ("switch" if row["value"] in _SWITCH else "text")
    was = form.get(f"was:{full}", row["value"])
    entered = form.get(f"set:{full}", row["value"])
    return {**row, "full": full, "kind": kind, "entered": entered, "was": was}


def _sections(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    return [(name, list(own)) for name, own in groupby(rows, key=lambda row: str(row["section"]))]


def preview_words(found: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return in one sentence what a preview found."""
    now, then, messages = found["now"], found["then"], found["messages"]
    if not messages:
        return words["preview_none"]
    if now == then:
        return words["preview_same_one" if then == 1 else "preview_same"].format(
            n=messages, then=then
        )
    key = "preview_changed_one" if then == 1 else "preview_changed"
    return words[key].format(n=messages, then=then, now=now)
