"""What the desk's templates show, made from the plain facts of the Desk protocol. No I/O.

Times are drawn in the reader's own offset from UTC, which the browser tells by a cookie; without
it they are in UTC and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from adapters.web.explain import trace_view
from adapters.web.view import moved_view, signed, spark, tag_view, thumbs_view

Facts = Mapping[str, Any]

STATES = ("open", "mine", "queued", "human", "snoozed", "watch", "resolved", "all")
PLATFORMS = {"telegram": "➤", "discord": "◈", "web": "⌂", "terminal": "▸"}
LEVELS = {"calm": "○", "tense": "◔", "upset": "●"}
MARKS = {"queued": "…", "sent": "✓", "edited": "✎", "failed": "✕", "held": "‖", "uncertain": "?"}
LIMITS = {"telegram": 4096, "discord": 2000}
_LINE = 140  # characters of a last line in the queue
_FAR = 14 * 60  # minutes that any place on earth may be off UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Who looks at a page: their name, words, the present time, and their offset from UTC."""

    name: str
    t: Facts
    now: float
    offset: int | None  # minutes; None: not known yet

    @property
    def d(self) -> Facts:
        """The words of the desk."""
        words: Facts = self.t["desk_page"]
        return words

    def moment(self, at: float) -> datetime:
        """Return a time as the reader's clock shows it."""
        zone = timezone(timedelta(minutes=self.offset or 0))
        return datetime.fromtimestamp(at, zone)

    def stamp(self, at: float | None) -> dict[str, str] | None:
        """Return a time for the template: relative, exact and for machines; None for no time."""
        if at is None:
            return None
        there = self.moment(at)
        exact = there.strftime("%Y-%m-%d %H:%M:%S") + (" UTC" if self.offset is None else "")
        return {
            "ago": self.ago(self.now - at),
            "clock": there.strftime("%H:%M"),
            "exact": exact,
            "iso": there.isoformat(timespec="seconds"),
        }

    def until(self, at: float | None) -> str:
        """Return a coming time as short as it can be; empty for none."""
        if not at:
            return ""
        there = self.moment(at)
        near = there.date() == self.moment(self.now).date()
        return there.strftime("%H:%M" if near else "%Y-%m-%d %H:%M")

    def ago(self, seconds: float) -> str:
        """Return a span of time in one short word and its number."""
        for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
            if seconds >= size:
                return str(self.d[unit]).format(n=int(seconds // size))
        return str(self.d["just_now"])

    def day(self, at: float) -> str:
        """Return the name of a day."""
        there, today = self.moment(at).date(), self.moment(self.now).date()
        if there == today:
            return str(self.d["today"])
        if there == today - timedelta(days=1):
            return str(self.d["yesterday"])
        return there.isoformat()


def offset_of(cookie: str) -> int | None:
    """Return the minutes east of UTC that a browser told, or None for nonsense."""
    sign, digits = cookie[:1] == "-", cookie.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 4 and int(digits) <= _FAR):
        return None
    return -int(digits) if sign else int(digits)


def platform_view(name: str) -> dict[str, str]:
    """Return glyph and word of a platform."""
    return {"glyph": PLATFORMS.get(name, "◇"), "word": name.capitalize()}


def row_view(row: Facts, reader: Reader) -> dict[str, Any]:
    """Return one row of the queue."""
    t, d = reader.t, reader.d
    last, level = str(row["last_line"] or ""), row["level"] or "calm"
    waits = row["waiting_since"]
    state = str(t["state_" + row["state"]])
    if row["state"] == "human" and row["claimed_by"]:
        state = str(d["with_you" if row["claimed_by"] == reader.name else "with_name"]).format(
            name=row["claimed_by"]
        )
    elif row["state"] == "snoozed" and row["snooze_until"]:
        state = str(d["until"]).format(time=reader.until(row["snooze_until"]))
    elif waits is not None and reader.now - waits >= 60:
        state = str(d["waits"]).format(time=reader.ago(reader.now - waits))
    return {
        **row,
        "platform": platform_view(row["platform"]),
        "glyph": LEVELS.get(level, "○"),
        "feels": t["level_" + level],
        "reason": t["rule"].get(row["rule"], row["rule"]),
        "shown_state": state,
        "last": last if len(last) <= _LINE else last[: _LINE - 1] + "…",
        "by": d.get(f"by_{row['last_role']}", ""),
        "stamp": reader.stamp(row["last_at"] or row["opened_at"]),
    }


def queue_view(found: Facts, wanted: Mapping[str, str], reader: Reader) -> dict[str, Any]:
    """Return the queue with its filters: what may be chosen, what is chosen, and how many."""
    counts, d = found["counts"], reader.d
    unsettled = sum(counts.get(state, 0) for state in ("queued", "human", "snoozed", "watch"))
    numbers = {"open": unsettled, **counts}
    chosen = wanted.get("state", "open")
    return {
        "rows": [row_view(row, reader) for row in found["cases"]],
        "chips": [
            {
                "value": state,
                "word": d[f"show_{state}"],
                "count": numbers.get(state) if state not in ("all", "resolved") else None,
                "chosen": state == chosen,
            }
            for state in STATES
        ],
        "wanted": wanted,
        "narrowed": chosen != "open" or any(wanted.get(k) for k in ("platform", "lang", "words")),
        "waiting": counts.get("queued", 0),
    }


def lines_view(lines: Sequence[Facts], reader: Reader) -> list[dict[str, Any]]:
    """Return the conversation as items: a `day` where a new one begins, and the lines."""
    items: list[dict[str, Any]] = []
    last = ""
    for line in lines:
        day = reader.day(line["at"])
        if day != last:
            items.append({"day": day})
            last = day
        items.append(_line_view(line, reader))
    return items


def _line_view(line: Facts, reader: Reader) -> dict[str, Any]:
    d, role, mark = reader.d, line["role"], line.get("mark") or ""
    own = role == "staff" and not line.get("deleted")
    return {
        **line,
        "text": d["markers"].get(line["text"], line["text"]) if role == "marker" else line["text"],
        "day": "",
        "stamp": reader.stamp(line["at"]),
        "tag": tag_view(line.get("tag"), reader.t),
        "thumbs": thumbs_view(line.get("thumbs"), reader.t),
        "made": " · ".join(x for x in (line.get("model"), line.get("prompt_version")) if x),
        "mark": _mark_view(mark, d),
        "files": [_file_view(one, d) for one in line.get("files") or ()],
        "mine": own and bool(line.get("id")) and mark != "failed",
    }


def _mark_view(mark: str, d: Facts) -> dict[str, str] | None:
    if not mark:
        return None
    return {"glyph": MARKS.get(mark, "·"), "word": d.get(f"mark_{mark}", mark), "kind": mark}


def _file_view(file: Facts, d: Facts) -> dict[str, str]:
    kind, size = str(file.get("kind") or "file"), file.get("size") or 0
    told = f"{size / 1024:.0f} KB" if size < 1024**2 else f"{size / 1024**2:.1f} MB"
    return {
        "kind": str(d["kind"].get(kind, kind)),
        "name": str(file.get("name") or ""),
        "size": told if size else "",
        "words": str(file.get("words") or ""),
    }


def case_view(case: Facts, reader: Reader) -> dict[str, Any]:
    """Return one case with everything its pane shows."""
    t, d, stamp = reader.t, reader.d, reader.stamp
    holder, state, level = case["claimed_by"] or "", case["state"], case["level"] or "calm"
    users = [line for line in case["lines"] if line["role"] == "user" and line["text"]]
    return {
        **case,
        "platform_view": platform_view(case["platform"]),
        "level": level,
        "glyph": LEVELS.get(level, "○"),
        "feels": t["level_" + level],
        "mine": state == "human" and holder == reader.name,
        "others": state == "human" and holder not in ("", reader.name),
        "reason": t["rule"].get(case["rule"], case["rule"]) if case["rule"] else "",
        "items": lines_view(case["lines"], reader),
        "spark": spark(case["mood_points"]),
        "count": len(case["mood_points"]),
        "value": signed(case["mood"] or 0.0),
        "moved": moved_view(case, t),
        "trace_view": trace_view(dict(case), t),
        "done": [
            {"words": d["did"][one["what"]], "who": one["who"], "stamp": stamp(one["at"])}
            for one in case["audit"]
            if one["what"] in d["did"]
        ],
        "said": [one if isinstance(one, str) else one.get("text", "") for one in case["said"]],
        "times": {
            name: stamp(case[name])
            for name in ("opened_at", "claimed_at", "first_reply_at", "resolved_at")
            if case[name]
        },
        "until": {
            name: reader.until(case[name])
            for name in ("snooze_until", "resolve_at", "blocked_until")
        },
        "earlier": [
            {
                **one,
                "stamp": stamp(one["opened_at"]),
                "reason": t["rule"].get(one["rule"], one["rule"] or ""),
                "verdict": d["verdicts"].get(one["verdict"] or "", one["verdict"] or ""),
            }
            for one in case["earlier"]
        ],
        "remarks": [{**one, "stamp": stamp(one["at"])} for one in case["remarks"]],
        "elsewhere": [
            {**one, "platform": platform_view(one["platform"])} for one in case["elsewhere"]
        ],
        "helped": {"yes": d["yes"], "no": d["no"]}.get(case["helped"] or "", ""),
        "missed": [
            {"id": line["id"], "text": line["text"][:80], "stamp": stamp(line["at"])}
            for line in users[-30:]
        ],
        "limit": LIMITS.get(case["platform"], 0),
        "priorities": [(str(n), d["priority"][str(n)]) for n in range(4)],
        "verdict_word": d["verdicts"].get(case["verdict"] or "", case["verdict"] or ""),
    }


def presence_view(looking: Sequence[str], writing: Sequence[str], d: Facts) -> dict[str, str]:
    """Return the two sentences about the other members of staff at a case."""

    def told(names: Sequence[str], one: str, many: str) -> str:
        if not names:
            return ""
        return str(d[one if len(names) == 1 else many]).format(name=str(d["and"]).join(names))

    return {
        "looking": told(looking, "looks", "look"),
        "writing": told(writing, "writes", "write"),
    }


def incident_view(incident: Facts, reader: Reader) -> dict[str, Any]:
    """Return one running incident for its banner."""
    muted = incident["muted_until"]
    return {
        **incident,
        "stamp": reader.stamp(incident["opened_at"]),
        "words": _joined(incident["words"]),
        "places": _joined(incident["places"]),
        "people": incident["users"]
        if isinstance(incident["users"], int)
        else len(incident["users"]),
        "muted": reader.until(muted) if muted and muted > reader.now else "",
    }


def _joined(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
