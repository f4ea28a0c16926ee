"""The try-it room: a person on the left, the staff desk on the right, for this machine only.

The page is drawn by the server and works by plain forms. A script adds the live side: it listens
to the events of one person and fetches the parts that changed, drawn by the same templates, so
that there is one place where a line of text becomes HTML. The room reaches its own persons and
their cases, and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from adapters.web.arrival import ROOM, clean, web_arrival, web_key
from adapters.web.explain import trace_view, why_view
from adapters.web.session import LANGUAGE, form_of, keep
from adapters.web.stream import EVENT_STREAM, STILL_HERE, frame, heartbeat, json_answer
from adapters.web.view import (
    HERE,
    choose_language,
    labels,
    lines_view,
    moved_view,
    spark,
    tag_view,
    templates,
    why_not,
)
from adapters.web.ways import Way, Who, files
from core.errors import DeskError, HeedError, NeedsConfirm, StoreError
from core.message import Author, ConversationKey
from core.ports import Clock, Desk, Event, StaffVerb

STAFF = "Sam"  # who acts at the desk of the room, where nobody logs in
_VERBS: dict[str, StaffVerb] = {verb: verb for verb in get_args(StaffVerb) if verb != "assign"}
_SPEAKING = frozenset({"reply", "note"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody to play in the room: an own conversation, an own mood."""

    id: str
    name: str
    language: str = ""  # empty: the language of the page

    @property
    def key(self) -> ConversationKey:
        """The person's conversation."""
        return web_key(ROOM + self.id, ROOM + self.id)


PERSONS = (
    Person(id="ann", name="Ann"),
    Person(id="bob", name="Bob"),
    Person(id="lilei", name="李雷", language="zh"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A sentence over the page; with `again` a form that repeats the action with a confirm."""

    text: str
    status: int
    again: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One request to the room, understood: who is played, in which language, with which form."""

    person: Person
    language: str
    live: bool  # asked by our script, which wants parts instead of a page
    form: Mapping[str, str]

    @property
    def words(self) -> dict[str, Any]:
        """The page's words."""
        return labels()[self.language]


def _person(name: str) -> Person:
    for person in PERSONS:
        if person.id == name:
            return person
    raise HTTPException(404, "Nobody of that name is in the try-it room.")


class Room:
    """The routes of the room."""

    def __init__(
        self,
        desk: Desk,
        *,
        clock: Clock,
        ready: Callable[[], str | None],
        closing: asyncio.Event,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._ready = ready
        self._closing = closing
        self._templates = templates()
        self._following: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Way]:
        """Return the routes, all of them for this machine's own browser."""
        return [
            Way("/", self.page, Who.HERE),
            Way("/room/state", self.state, Who.HERE),
            Way("/room/events", self.events, Who.HERE),
            Way("/room/why", self.why, Who.HERE),
            Way("/room/say", self.say, Who.HERE, "POST"),
            Way("/room/act", self.act, Who.HERE, "POST"),
            Way("/room/model", self.model, Who.HERE, "POST"),
            files("/room/static", HERE / "static", Who.HERE),
        ]

    async def close(self) -> None:
        """Stop following answers that are still being written; core goes on with them."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    async def _visit(self, request: Request) -> Visit:
        form = await form_of(request) if request.method == "POST" else {}
        told = form.get("person") or request.query_params.get("person") or PERSONS[0].id
        asked = request.query_params.get("lang", "")
        cookie = asked if asked in labels() else request.cookies.get(LANGUAGE, "")
        return Visit(
            person=_person(told),
            language=choose_language(cookie, request.headers.get("accept-language", "")),
            live="heed-live" in request.headers,
            form=form,
        )

    # Reading

    async def page(self, request: Request) -> Response:
        """Show the whole page; ?lang= chooses the language from now on."""
        visit = await self._visit(request)
        pane = "desk" if request.query_params.get("pane") == "desk" else "person"
        answer = await self._draw(visit, pane=pane)
        if request.query_params.get("lang") == visit.language:
            keep(request, answer, LANGUAGE, visit.language)
        return answer

    async def _draw(self, visit: Visit, *, pane: str, notice: Notice | None = None) -> Response:
        facts = await self._facts(visit)
        said = {pane: visit.form.get("text", "")} if notice else {}
        html = self._templates.get_template("room.html").render(
            **facts | {"said": said}, pane=pane, notice=notice
        )
        return HTMLResponse(html, notice.status if notice else 200)

    async def _facts(self, visit: Visit) -> dict[str, Any]:
        """Return everything the templates may name."""
        words, person = visit.words, visit.person
        conversation = await self._desk.conversation(person.key)
        samples = labels()[person.language or visit.language]["sample"]
        case = conversation["case"]
        return {
            "t": words,
            "language": visit.language,
            "person": person,
            "persons": PERSONS,
            "staff": STAFF,
            "samples": samples,
            "engine": self._desk.engine(),
            "platforms": self._desk.platforms(),
            "owner": conversation["owner"],
            "level": conversation["level"],
            "spark": spark(conversation["mood"]),
            "count": len(conversation["mood"]),
            "lines": lines_view(conversation["lines"], words),
            "case": case if case and case["state"] != "resolved" else None,
            "moved": moved_view(case, words),
            "trace": trace_view(case or {}, words),
            "said": {},
        }

    async def state(self, request: Request) -> Response:
        """Return the parts of the page as they are now, for the script."""
        visit = await self._visit(request)
        facts = await self._facts(visit)
        parts = {
            name: self._templates.get_template(f"{name}.html").render(**facts)
            for name in ("bar", "lines", "desk", "transcript", "composer")
        }
        case = facts["case"]
        return json_answer(
            {"parts": parts, "owner": facts["owner"], "case": case["id"] if case else None}
        )

    async def events(self, request: Request) -> Response:
        """Tell what happens to one person from now on, and to the engine."""
        visit = await self._visit(request)
        return StreamingResponse(self._frames(visit), media_type=EVENT_STREAM)

    async def _frames(self, visit: Visit) -> AsyncIterator[bytes]:
        async with self._desk.board().listen() as told:
            yield b"retry: 1000\n\n" + frame("listening", {})
            async for event in heartbeat(told, self._closing):
                if event is None:
                    yield STILL_HERE
                elif event.key is None or event.key == visit.person.key:
                    yield self._frame(event, visit)

    def _frame(self, event: Event, visit: Visit) -> bytes:
        """Tokens and tags go out at once; anything else says only that the page has changed."""
        if event.kind == "token":
            return frame("token", {"inbox": event.inbox, "text": event.data.get("text", "")})
        if event.kind == "waiting":
            return frame("waiting", {"ahead": event.data.get("ahead", 0)})
        if event.kind == "tag":
            view = tag_view(event.data.get("tag") or event.data, visit.words)
            html = self._templates.get_template("tag.html").render(tag=view, t=visit.words)
            return frame("tag", {"inbox": event.inbox, "html": html})
        return frame("change", {"kind": event.kind, "inbox": event.inbox})

    async def why(self, request: Request) -> Response:
        """Show how one message was heard and answered; 404 for a message of somebody else."""
        visit = await self._visit(request)
        asked = request.query_params.get("inbox", "")
        conversation = await self._desk.conversation(visit.person.key)
        own = {
            str(line["inbox"]): line
            for line in conversation["lines"]
            if line["role"] == "user" and line.get("inbox")
        }
        if asked not in own:
            raise HTTPException(404, "That message is not in this person's conversation.")
        why = why_view(await self._desk.explain(int(asked)), own[asked], visit.words)
        html = self._templates.get_template("why.html" if visit.live else "why_page.html").render(
            t=visit.words, language=visit.language, person=visit.person, why=why
        )
        return HTMLResponse(html)

    # Acting

    async def say(self, request: Request) -> Response:
        """Say something as the person: `text`, or the next line of a `sample`."""
        visit = await self._visit(request)
        text = clean(visit.form.get("text", ""))
        if sample := visit.form.get("sample"):
            text = await self._next_of(sample, visit)
        words = visit.words
        if not text:
            return await self._tell(visit, Notice(text=words["error_empty"], status=400))
        if why := self._ready():
            sentence = words["error_not_ready"].format(why=why)
            return await self._tell(visit, Notice(text=sentence, status=503))
        try:
            await self._follow(visit, text)
        except StoreError as error:
            sentence = words["error_not_kept"].format(why=error)
            return await self._tell(visit, Notice(text=sentence, status=503))
        return self._done(visit, "person")

    async def _next_of(self, sample: str, visit: Visit) -> str:
        samples: dict[str, list[str]] = labels()[visit.person.language or visit.language]["sample"]
        if sample not in samples:
            raise HTTPException(400, "There is no such sample.")
        lines = samples[sample]
        conversation = await self._desk.conversation(visit.person.key)
        said: int = sum(
            line["role"] == "user" and line["text"] in lines for line in conversation["lines"]
        )
        return lines[said % len(lines)]

    async def _follow(self, visit: Visit, text: str) -> None:
        """Take one line in. A plain form waits for the answer; the script hears it by events."""
        person = visit.person
        author = Author(
            id=person.key.user, name=person.name, language=person.language or visit.language
        )
        raw = {"text": text, "person": person.id}
        arrival = web_arrival(person.key, author, text, now=self._clock(), raw=raw)
        events = self._desk.ask(arrival)
        first = await anext(events, None)
        rest = asyncio.create_task(_drain(events))
        self._following.add(rest)
        rest.add_done_callback(self._following.discard)
        if first is not None and not visit.live:
            await asyncio.wait({rest}, timeout=60)

    async def act(self, request: Request) -> Response:
        """Do one staff action on this person's open case."""
        visit = await self._visit(request)
        form, words = visit.form, visit.words
        verb = _VERBS.get(form.get("verb", ""))
        if verb is None:
            raise HTTPException(400, "There is no such action.")
        text = clean(form.get("text", ""))
        if verb in _SPEAKING and not text:
            return await self._tell(visit, Notice(text=words["error_empty"], status=400), "desk")
        conversation = await self._desk.conversation(visit.person.key)
        case = conversation["case"]
        if case is None or str(case["id"]) != form.get("case"):
            return await self._tell(visit, Notice(text=words["error_case"], status=409), "desk")
        confirm = form.get("confirm") == "1"
        try:
            await self._desk.act(case["id"], verb, STAFF, text=text, confirm=confirm)
        except NeedsConfirm as error:
            again = {"case": str(case["id"]), "verb": verb, "text": text, "confirm": "1"}
            notice = Notice(text=why_not(error, words), status=409, again=again)
            return await self._tell(visit, notice, "desk")
        except (DeskError, StoreError) as error:
            notice = Notice(text=why_not(error, words), status=409)
            return await self._tell(visit, notice, "desk")
        return self._done(visit, "desk")

    async def model(self, request: Request) -> Response:
        """Start fetching the model on offer; its progress shows in the bar."""
        visit = await self._visit(request)
        offer = self._desk.engine().get("offer")
        if not offer:
            notice = Notice(text=visit.words["engine_no_offer"], status=409)
            return await self._tell(visit, notice)
        try:
            await self._desk.fetch_model(offer)
        except HeedError as error:
            sentence = visit.words["engine_problem"].format(why=error)
            return await self._tell(visit, Notice(text=sentence, status=409))
        return self._done(visit, "person")

    async def _tell(self, visit: Visit, notice: Notice, pane: str = "person") -> Response:
        if not visit.live:
            return await self._draw(visit, pane=pane, notice=notice)
        html = self._templates.get_template("notice.html").render(
            notice=notice, t=visit.words, person=visit.person
        )
        return HTMLResponse(html, notice.status)

    def _done(self, visit: Visit, pane: str) -> Response:
        if visit.live:
            return Response(status_code=204)
        query = urlencode({"person": visit.person.id, "pane": pane})
        return RedirectResponse(f"/?{query}", 303)


async def _drain(events: AsyncIterator[Event]) -> None:
    with suppress(HeedError):  # whoever looks at the page reads the answer from the database
        async for _ in events:
            pass
