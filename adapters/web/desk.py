"""The staff's desk in the browser: queue, conversation, evidence, and every action as a form.

The server draws all of it, whole pages for a browser without scripts and parts for htmx, from the
same templates. What people said never stands in an address: a search comes in the body of a form.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from adapters.web.arrival import clean
from adapters.web.desk_events import DeskEvents
from adapters.web.desk_forms import Unfit, Wish, read_wish
from adapters.web.desk_view import (
    PLATFORMS,
    STATES,
    Reader,
    case_view,
    incident_view,
    offset_of,
    presence_view,
    queue_view,
)
from adapters.web.presence import Presence
from adapters.web.session import (
    Sessions,
    form_of,
    frame_facts,
    is_part,
    keep,
    language_of,
    page_answer,
)
from adapters.web.stream import EVENT_STREAM, as_json
from adapters.web.view import labels, templates, why_not
from adapters.web.ways import Way, Who
from core.errors import DeskError, EngineError, NeedsConfirm, StaleCard, StoreError
from core.ports import Clock, Desk, StaffMember

_FILTERS = "heed_desk"  # the filters chosen last; never the words searched for
_OFFSET = "heed_offset"
_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A sentence above the page; with `again` the same form once more, with a confirm."""

    text: str
    status: int = 409
    action: str = ""
    again: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request of a member of staff, understood."""

    request: Request
    member: StaffMember
    reader: Reader
    form: Mapping[str, str]

    @property
    def part(self) -> bool:
        """Whether htmx asks, for a part of the page."""
        restoring = "hx-history-restore-request" in self.request.headers
        return is_part(self.request) and not restoring


class DeskPages:
    """The routes of the desk."""

    def __init__(
        self, desk: Desk, *, sessions: Sessions, clock: Clock, closing: asyncio.Event
    ) -> None:
        self._desk = desk
        self._sessions = sessions
        self._clock = clock
        self._presence = Presence(clock)
        self._events = DeskEvents(desk, presence=self._presence, closing=closing)
        self._templates = templates()

    def routes(self) -> list[Way]:
        """Return the routes, all of them for staff."""
        routes = [
            ("/desk", self.page, "GET POST"),
            ("/desk/queue", self.queue, "POST"),
            ("/desk/events", self.events, "GET"),
            ("/desk/saved", self.saved, "GET POST"),
            ("/desk/incident/{id:int}", self.incident, "POST"),
            ("/desk/{id:int}", self.case, "GET"),
            ("/desk/{id:int}/act", self.act, "POST"),
            ("/desk/{id:int}/writing", self.writing, "POST"),
            ("/desk/{id:int}/transcript", self.transcript, "GET"),
            ("/desk/{id:int}/transcript.json", self.transcript_json, "GET"),
        ]
        return [Way(path, handler, Who.STAFF, method) for path, handler, method in routes]

    async def _call(self, request: Request) -> Call:
        member = await self._sessions.require(request)
        form = await form_of(request) if request.method == "POST" else {}
        reader = Reader(
            name=member.name,
            t=labels()[language_of(request)],
            now=self._clock(),
            offset=offset_of(request.cookies.get(_OFFSET, "")),
        )
        return Call(request=request, member=member, reader=reader, form=form)

    # The queue

    async def page(self, request: Request) -> Response:
        """Show the desk with no case chosen; POST: with the filters of the form."""
        return await self._page(await self._call(request), None)

    async def queue(self, request: Request) -> Response:
        """Return the queue alone, for htmx; a browser without scripts gets the page."""
        call = await self._call(request)
        if not call.part:
            return await self._page(call, None)
        facts = await self._queue_facts(call) | {"case_id": _number(call.form.get("case", ""))}
        answer = self._html(call, "desk_queue.html", facts)
        digest = blake2b(bytes(answer.body), digest_size=12).hexdigest()
        if call.form.get("seen") == digest:  # most of what happens leaves the queue as it is
            return Response(status_code=204)
        answer.headers["Heed-Digest"] = digest
        return self._remember(call, answer)

    def _wanted(self, call: Call) -> dict[str, str]:
        """Return the filters: those of the form, of the address, or chosen before."""
        given: Mapping[str, str] = call.form
        if "state" not in given:
            given = call.request.query_params
        if "state" not in given:
            kept = parse_qs(call.request.cookies.get(_FILTERS, ""), max_num_fields=5)
            given = {name: values[0] for name, values in kept.items()}
        state = given.get("state", "")
        wanted = {"state": state if state in STATES else "open"}
        if given.get("platform") in PLATFORMS:
            wanted["platform"] = given["platform"]
        tongue = given.get("tongue", "")  # not `lang`: that is the page's own
        if tongue.isascii() and tongue.isalpha() and len(tongue) <= 8:
            wanted["lang"] = tongue
        words = clean(call.form.get("words", ""))
        return wanted | ({"words": words[:200]} if words else {})

    async def _queue_facts(self, call: Call) -> dict[str, Any]:
        wanted = self._wanted(call)
        asked = dict(wanted)
        if asked["state"] == "mine":
            asked |= {"state": "open", "mine": call.member.name}
        found = await self._desk.queue(asked)
        incidents = await self._desk.incidents()
        return {
            "queue": queue_view(found, wanted, call.reader),
            "incidents": [incident_view(one, call.reader) for one in incidents],
            "troubles": self._desk.troubles(),
        }

    def _remember(self, call: Call, answer: Response) -> Response:
        if "state" in call.form:
            names = {"state": "state", "platform": "platform", "lang": "tongue"}
            wanted = self._wanted(call)
            kept = urlencode({names[k]: v for k, v in wanted.items() if k in names})
            keep(call.request, answer, _FILTERS, kept, "/desk")
        return answer

    # One case

    async def case(self, request: Request) -> Response:
        """Show one case: the whole page, or its pane for htmx."""
        call = await self._call(request)
        number = request.path_params["id"]
        asked = request.headers
        if not call.part or "hx-boosted" in asked or "heed-looking" in asked:
            await self._desk.seen(number)  # a hidden tab that refreshes itself reads nothing
        return await self._show(call, number)

    async def _show(
        self, call: Call, number: int, notice: Notice | None = None, done: str = ""
    ) -> Response:
        case = await self._desk.case(number)
        if case is None:
            words = call.reader.d["no_case"].format(n=number)
            notice = notice or Notice(text=words, status=404)
        if not call.part:
            return await self._page(call, case, notice)
        facts = await self._case_facts(call, case) | {"notice": notice, "act": bool(call.form)}
        answer = self._html(call, "desk_part.html", facts, notice.status if notice else 200)
        if done:
            answer.headers["HX-Trigger"] = json.dumps({"heed-done": {"verb": done}})
        return answer

    async def _case_facts(self, call: Call, case: dict[str, Any] | None) -> dict[str, Any]:
        if case is None:
            return {"case": None, "case_id": 0}
        others = self._presence.others(case["id"], call.member.name)
        return {
            "case": case_view(case, call.reader),
            "case_id": case["id"],
            "staff": [one["name"] for one in await self._desk.staff()],
            "saved": await self._desk.saved_replies(),
            "typed": call.form.get("text", "") if _composed(call.form) else "",
            "presence": presence_view(*others, call.reader.d),
        }

    async def _page(
        self, call: Call, case: dict[str, Any] | None, notice: Notice | None = None
    ) -> Response:
        facts = {
            **frame_facts(call.request, call.member, "desk"),
            **await self._queue_facts(call),
            **await self._case_facts(call, case),
            "notice": notice,
        }
        html = self._templates.get_template("desk_page.html").render(d=call.reader.d, **facts)
        answer = page_answer(call.request, html, notice.status if notice else 200)
        return self._remember(call, answer)

    def _html(
        self, call: Call, template: str, facts: Mapping[str, Any], status: int = 200
    ) -> Response:
        made = self._templates.get_template(template)
        html = made.render(t=call.reader.t, d=call.reader.d, member=call.member, **facts)
        return HTMLResponse(html, status)

    # Acting

    async def act(self, request: Request) -> Response:
        """Do one staff action; a refusal shows the present case and a sentence."""
        call = await self._call(request)
        number, form, d = request.path_params["id"], call.form, call.reader.d
        try:
            wish = read_wish(form, call.reader.now, call.reader.offset)
            await self._check_saved(wish)
        except Unfit as error:
            return await self._show(call, number, Notice(text=d[str(error)], status=400))
        try:
            await self._desk.act(
                number,
                wish.verb,
                call.member.name,
                text=wish.text,
                confirm=wish.confirm,
                version=wish.version,
            )
        except NeedsConfirm as error:
            again = {**form, "confirm": "1"}
            words = why_not(error, call.reader.t)
            notice = Notice(text=words, action=f"/desk/{number}/act", again=again)
            return await self._show(call, number, notice)
        except StaleCard:
            words = call.reader.t["desk_error"]["stale_card"]
            return await self._show(call, number, Notice(text=words))
        except (DeskError, StoreError, EngineError) as error:
            return await self._show(call, number, Notice(text=why_not(error, call.reader.t)))
        self._presence.rests(number, call.member.name)
        if call.part:
            calm = Call(request=request, member=call.member, reader=call.reader, form={"did": "1"})
            return await self._show(calm, number, done=wish.verb)
        return RedirectResponse(f"/desk/{number}", 303)

    async def _check_saved(self, wish: Wish) -> None:
        if wish.verb == "saved":
            names = {one["name"] for one in await self._desk.saved_replies()}
            if wish.text not in names:
                raise Unfit("error_slash")

    async def writing(self, request: Request) -> Response:
        """Hear that somebody types at a case; the others there see it."""
        call = await self._call(request)
        self._presence.writes(request.path_params["id"], call.member.name)
        return Response(status_code=204)

    async def incident(self, request: Request) -> Response:
        """Answer everybody of an incident at once, after a confirm, or mute it for an hour."""
        call = await self._call(request)
        number, form, d = request.path_params["id"], call.form, call.reader.d
        text = clean(form.get("text", ""))
        notice: Notice | None = None
        try:
            if form.get("do") == "mute":
                await self._desk.mute(number, _HOUR, call.member.name)
            elif not text:
                notice = Notice(text=d["error_empty"], status=400)
            elif form.get("confirm") != "1":
                words = d["answer_all_sure"].format(text=text)
                again = {**form, "confirm": "1"}
                notice = Notice(text=words, action=f"/desk/incident/{number}", again=again)
            else:
                reached = await self._desk.answer_all(number, text, call.member.name)
                notice = Notice(text=d["answered_all"].format(n=reached), status=200)
        except (DeskError, StoreError) as error:
            notice = Notice(text=why_not(error, call.reader.t))
        if notice is None:
            return RedirectResponse("/desk", 303)
        return await self._page(call, None, notice)

    async def saved(self, request: Request) -> Response:
        """Show the saved replies; POST: keep one, or remove it by an empty text."""
        call = await self._call(request)
        notice: Notice | None = None
        if request.method == "POST":
            name, text = clean(call.form.get("name", "")), clean(call.form.get("text", ""))
            try:
                await self._desk.save_reply(name, text, call.member.name)
                return RedirectResponse("/desk/saved", 303)
            except DeskError as error:
                notice = Notice(text=why_not(error, call.reader.t))
        facts = frame_facts(request, call.member, "desk") | {
            "notice": notice,
            "saved": await self._desk.saved_replies(),
            "typed": dict(call.form),
        }
        html = self._templates.get_template("desk_saved.html").render(d=call.reader.d, **facts)
        return page_answer(request, html, notice.status if notice else 200)

    # The transcript

    async def _transcript(self, call: Call) -> dict[str, Any]:
        number = call.request.path_params["id"]
        found = await self._desk.transcript(number)
        if found is None:
            raise HTTPException(404, call.reader.d["no_case"].format(n=number))
        return found

    async def transcript(self, request: Request) -> Response:
        """Show a page to read or print, with notes."""
        call = await self._call(request)
        case = case_view(await self._transcript(call), call.reader)
        facts = frame_facts(request, call.member, "desk") | {"case": case}
        html = self._templates.get_template("desk_transcript.html").render(d=call.reader.d, **facts)
        return page_answer(request, html)

    async def transcript_json(self, request: Request) -> Response:
        """Return the transcript as a file of JSON."""
        call = await self._call(request)
        name = f"case-{request.path_params['id']}.json"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        body = as_json(await self._transcript(call))
        return Response(body, 200, headers, "application/json")

    # What happens

    async def events(self, request: Request) -> Response:
        """Tell from now on that the queue or the case looked at has changed, and who else is there.

        The frames name cases by number; what was said is fetched anew, by whoever may see it.
        """
        call = await self._call(request)
        number = _number(request.query_params.get("case", ""))
        frames = self._events.frames(number, call.member.name, call.reader.d)
        return StreamingResponse(frames, media_type=EVENT_STREAM)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _composed(form: Mapping[str, str]) -> bool:
    """Say whether a form was the composer's, whose text is kept when it is refused."""
    return form.get("verb") in ("reply", "note") and "line" not in form
