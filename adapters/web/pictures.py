"""The pictures of the team: a page of charts, each with its table and its CSV file.

Range and filters stand in the address, so that a page can be kept and sent; no word that anybody
said does. Days and hours are those of the browser, which tells its offset by a cookie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from adapters.web.charts import HEIGHT, NAMES, WIDTH, Chart, as_csv, charts, links, table
from adapters.web.desk_view import offset_of
from adapters.web.numbers import Speech
from adapters.web.session import Sessions, form_of, frame_facts, language_of, page_answer
from adapters.web.view import labels, templates, why_not
from adapters.web.ways import Way, Who
from core.errors import DeskError
from core.ports import Clock, Desk, StaffMember

RANGES: Mapping[str, float] = {"24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
USUAL = "7d"
LONGEST = 366 * 86400.0
_OFFSET = "heed_offset"  # minutes east of UTC
_LENGTH = 200  # of a filter


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What somebody wants to see: from when until when, and of whom."""

    range: str  # one of RANGES, or custom
    since: float
    until: float
    first: str  # days of a custom range, as typed
    last: str
    wanted: Mapping[str, str]
    problem: str = ""  # a label: what of it cannot be

    @property
    def query(self) -> dict[str, str]:
        """The wish as the query of an address."""
        days = {"from": self.first, "to": self.last} if self.range == "custom" else {}
        place = {"chat": f"{self.platform}/{self.chat}"} if self.chat else {}
        place = place or {"platform": self.platform}
        return {"range": self.range, **days, **place, "language": self.lang}

    @property
    def platform(self) -> str:
        """The platform wished for; empty: all of them."""
        return self.wanted.get("platform", "")

    @property
    def chat(self) -> str:
        """The chat wished for; empty: all of them."""
        return self.wanted.get("chat", "")

    @property
    def lang(self) -> str:
        """The language wished for; empty: all of them."""
        return self.wanted.get("lang", "")


def read_wish(query: Mapping[str, str], now: float, offset: float) -> Wish:
    """Read a range and filters; what makes no sense becomes the usual range, and is told."""
    asked = query.get("range", USUAL)
    first, last = query.get("from", "")[:10], query.get("to", "")[:10]
    wanted = _wanted(query)
    span, problem = (now - RANGES[USUAL], now), ""
    if asked in RANGES:
        span = now - RANGES[asked], now
    elif asked == "custom":
        found = _days(first, last, now, offset)
        span, problem = (span, found) if isinstance(found, str) else (found, "")
    else:
        asked = USUAL
    return Wish(
        range=asked,
        since=span[0],
        until=span[1],
        first=first,
        last=last,
        wanted=wanted,
        problem=problem,
    )


def _days(first: str, last: str, now: float, offset: float) -> tuple[float, float] | str:
    """Return the times of a range of whole days, or the label of what is wrong with it."""
    zone = timezone(timedelta(hours=offset))
    try:
        begin = datetime.strptime(first, "%Y-%m-%d").replace(tzinfo=zone).timestamp()
        end = datetime.strptime(last, "%Y-%m-%d").replace(tzinfo=zone).timestamp() + 86400
    except (ValueError, OverflowError):
        return "problem_dates"
    if begin >= end or begin >= now:
        return "problem_order"
    if end - begin > LONGEST:
        return "problem_long"
    return max(0.0, begin), min(end, now)


def _wanted(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filters as core.ports.Desk.pictures names them."""
    platform, slash, chat = query.get("chat", "")[:_LENGTH].partition("/")
    found = {"platform": query.get("platform", "")[:_LENGTH], "lang": query.get("language", "")}
    if slash:
        found |= {"platform": platform, "chat": chat}
    return {name: value[:_LENGTH] for name, value in found.items() if value}


class Pictures:
    """The routes of the pictures."""

    def __init__(self, desk: Desk, *, sessions: Sessions, clock: Clock) -> None:
        self._desk = desk
        self._sessions = sessions
        self._clock = clock
        self._templates = templates()

    def routes(self) -> list[Way]:
        """Return the routes, all of them for staff."""
        return [
            Way("/pictures", self.page, Who.STAFF),
            Way("/pictures/sample", self.sample, Who.STAFF, "POST"),
            Way("/pictures/{name}.csv", self.file, Who.STAFF),
        ]

    async def page(self, request: Request) -> Response:
        """Show the charts of a range."""
        member = await self._sessions.require(request)
        return await self._draw(request, member)

    async def _draw(
        self, request: Request, member: StaffMember, *, problem: str = "", status: int = 200
    ) -> Response:
        wish, speech, figures = await self._look(request)
        facts = frame_facts(request, member, "pictures")
        shown = [] if figures["empty"] else charts(figures, speech)
        facts |= {
            "p": speech.words,
            "wish": wish,
            "figures": figures,
            "ranges": (*RANGES, "custom"),
            "charts": [_view(chart, speech, wish) for chart in shown],
            "problem": problem or (speech.words[wish.problem] if wish.problem else ""),
            "width": WIDTH,
            "height": HEIGHT,
            "told": f"{speech.moment(wish.since):%Y-%m-%d %H:%M} – "
            f"{speech.moment(wish.until):%Y-%m-%d %H:%M}",
            "offset": round(speech.offset * 60),
        }
        html = self._templates.get_template("pictures.html").render(**facts)
        return page_answer(request, html, status)

    async def _look(self, request: Request) -> tuple[Wish, Speech, dict[str, Any]]:
        words = labels()[language_of(request)]
        offset = (offset_of(request.cookies.get(_OFFSET, "")) or 0) / 60
        wish = read_wish(request.query_params, self._clock(), offset)
        figures = await self._desk.pictures(wish.since, wish.until, wish.wanted, offset)
        return wish, Speech(words=words["pictures"], rules=words["rule"], offset=offset), figures

    async def file(self, request: Request) -> Response:
        """Return the rows of one chart as a CSV file, which spreadsheets read as UTF-8."""
        name = request.path_params["name"]
        if name not in NAMES:
            raise HTTPException(404, "There is no such chart.")
        wish, speech, figures = await self._look(request)
        [chart] = [one for one in charts(figures, speech) if one.name == name]
        day = speech.moment(wish.until - 1)
        told = {"content-disposition": f'attachment; filename="heed-{name}-{day:%Y-%m-%d}.csv"'}
        body = as_csv(chart, speech).encode("utf-8-sig")
        return Response(body, 200, told, "text/csv; charset=utf-8")

    async def sample(self, request: Request) -> Response:
        """Make the sample, or take it away again."""
        member = await self._sessions.require(request)
        form = await form_of(request)
        try:
            await self._desk.sample(make=form.get("do") == "make")
        except DeskError as error:
            return await self._draw(
                request, member, problem=why_not(error, labels()[language_of(request)]), status=409
            )
        return RedirectResponse("/pictures", 303)


def _view(chart: Chart, speech: Speech, wish: Wish) -> dict[str, Any]:
    """Return a chart as the template shows it."""
    words = speech.words
    return {
        "name": chart.name,
        "title": words[f"title_{chart.name}"],
        "sentence": chart.sentence,
        "note": chart.note,
        "columns": [
            {"label": words["column"][key], "number": kind not in ("time", "word", "rule")}
            for key, kind in chart.columns
        ],
        "rows": list(table(chart, speech)),
        "plot": chart.plot,
        "bars": chart.bars,
        "heat": chart.heat,
        "legend": chart.legend,
        "csv": f"/pictures/{chart.name}.csv?{urlencode(links(wish.query))}",
        "data": _data(chart.plot, words) if chart.plot and not chart.plot["empty"] else None,
    }


def _data(plot: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the script draws: the numbers, and the words for their units."""
    units = ("seconds", "minutes", "hours_minutes", "millis", "short_seconds")
    return {
        "x": plot["x"],
        "size": plot["size"],
        "series": plot["series"],
        "words": {name: words[name] for name in units} | {"time": words["column"]["at"]},
    }
