"""What the templates show: the desk's plain facts, made ready for eyes. No I/O, no decisions.

Everything here is text that Jinja escapes; nothing is marked as safe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.errors import DeskError, HeedError

HERE = Path(__file__).parent
TENSE, UPSET = -0.35, -0.55  # where the mood level changes on the way down
_GLYPHS = {"positive": "😄", "neutral": "😐", "negative": "😟"}
_THUMBS = {"up": "👍", "down": "👎"}
_WIDTH, _HEIGHT, _EDGE = 320.0, 84.0, 6.0
_POINTS = 30

Facts = Mapping[str, Any]


@cache
def labels() -> dict[str, dict[str, Any]]:
    """Return the words of the page by language."""
    return tomllib.loads((HERE / "labels.toml").read_text(encoding="utf-8"))


def choose_language(cookie: str, accepted: str) -> str:
    """Return the language chosen before, else the browser's first that we have, else English."""
    if cookie in labels():
        return cookie
    for part in accepted.split(","):
        code = part.split(";")[0].strip().lower().split("-")[0]
        if code in labels():
            return code
    return "en"


def why_not(error: HeedError, t: Facts) -> str:
    """Return a refusal in the page's language; in English where the page has no words for it."""
    if not isinstance(error, DeskError) or error.name not in t["desk_error"]:
        return str(error)
    values = dict(error.values)
    if "seconds" in values:
        values["when"] = _span(int(values["seconds"]), t)
    return str(t["desk_error"][error.name]).format_map(values)


def _span(seconds: int, t: Facts) -> str:
    """Return a span of time, rounded down, in one unit."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return str(t["desk_page"][unit]).format(n=seconds // size)
    return str(t["pictures"]["seconds"]).format(n=seconds)


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Return a number with its sign, as people write it."""
    return ("+" if value > 0 else "") + _number(value)


def tag_view(tag: Facts | None, t: Facts) -> dict[str, str] | None:
    """Return glyph, label, strength and the line of numbers of one tag; None without a tag.

    Labels of the operator's own task have no glyph of their own and stay as they are.
    """
    if not tag:
        return None
    label = str(tag.get("label") or tag.get("sentiment") or "")
    if not label:
        return None
    told = []
    probs = tag.get("probs") or {}
    told += [f"{t.get(name, name)} {_number(p)}" for name, p in probs.items()]
    intensity = tag.get("intensity")
    if intensity is not None:
        told.append(f"{t['intensity']} {signed(intensity)}")
    if tag.get("confidence") is not None:
        told.append(f"{t['confidence']} {_number(tag['confidence'])}")
    strength = ""
    if intensity is not None and label != "neutral":
        force = abs(intensity)
        strength = t["strong" if force >= 0.7 else "clear" if force >= 0.35 else "mild"]
    return {
        "glyph": _GLYPHS.get(label, "◇"),
        "label": str(t.get(label, label)),
        "strength": strength,
        "numbers": " · ".join(told),
    }


def spark(points: Sequence[Facts]) -> dict[str, Any]:
    """Return the newest mood points as coordinates of a drawing 320 by 84, -1 at the bottom."""

    def y(value: float) -> float:
        inner = _HEIGHT - 2 * _EDGE
        return round(_EDGE + (1 - max(-1.0, min(1.0, value))) / 2 * inner, 1)

    shown = list(points)[-_POINTS:]
    step = (_WIDTH - 2 * _EDGE) / max(1, len(shown) - 1)
    dots = [
        {
            "x": round(_EDGE + i * step, 1),
            "y": y(point["value"]),
            "value": signed(point["value"]),
            "at": point.get("at"),
        }
        for i, point in enumerate(shown)
    ]
    return {
        "dots": dots,
        "path": " ".join(f"{dot['x']},{dot['y']}" for dot in dots),
        "zero": y(0),
        "tense": y(TENSE),
        "upset": y(UPSET),
        "tense_value": _number(TENSE),
        "upset_value": _number(UPSET),
        "now": dots[-1]["value"] if dots else "",
        "width": int(_WIDTH),
        "height": int(_HEIGHT),
    }


def lines_view(lines: Sequence[Facts], t: Facts) -> list[dict[str, Any]]:
    """Return the lines of a conversation with their tags, and which of them stand unanswered.

    A user's line goes to a person, or is silent when it was decided and nothing automatic
    answers it; it waits when it is not decided yet and nobody has spoken after it.
    """
    answered = {line.get("inbox") for line in lines if line["role"] == "bot"}
    last = max((i for i, line in enumerate(lines) if line["role"] in ("bot", "staff")), default=-1)
    shown = []
    for i, line in enumerate(lines):
        inbox, decided = line.get("inbox"), line.get("decision") is not None
        opened = bool((line.get("decision") or {}).get("opened"))
        asked = line["role"] == "user" and inbox is not None
        shown.append(
            {
                **line,
                "tag": tag_view(line.get("tag"), t),
                "thumbs": thumbs_view(line.get("thumbs"), t),
                "opened": asked and opened,
                "silent": asked and decided and not opened and inbox not in answered,
                "waits": asked and not decided and i > last,
            }
        )
    return shown


def thumbs_view(thumbs: Facts | None, t: Facts) -> list[dict[str, str]]:
    """Return what people thought of a reply: a glyph, how often if more than once, and in words."""
    told = []
    for side, glyph in _THUMBS.items():
        n = (thumbs or {}).get(side, 0)
        if n:
            words = t["pictures"][f"n_{side}_one" if n == 1 else f"n_{side}"]
            sign = glyph if n == 1 else f"{glyph} {n}"
            told.append({"sign": sign, "words": str(words).format(n=n)})
    return told


def moved_view(case: Facts | None, t: Facts) -> list[dict[str, Any]]:
    """Return the messages that moved the mood, each with its numbers."""
    moved = (case or {}).get("moved_by") or []
    return [{"text": one.get("text", ""), "tag": _moved_tag(one, t)} for one in moved]


def _moved_tag(one: Facts, t: Facts) -> dict[str, str] | None:
    probs = one.get("probs") or {}
    label = one.get("label") or (max(probs, key=lambda name: probs[name]) if probs else "")
    return tag_view({**one, "label": label}, t)


def model_name(offer: str) -> str:
    """Return an offered model as a person says it, with the size where it is known."""
    return "Qwen 0.5B (1 GB)" if "qwen2.5-0.5b" in offer.lower() else offer


def plain(value: object) -> str:
    """Return a single value of an explanation as text."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, float):
        text = _number(value, 3 if abs(value) < 10 else 1)
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def columns(rows: Sequence[object]) -> list[str]:
    """Return the column names of a list of mappings, in order; [] when it is no table."""
    names: dict[str, None] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            return []
        names.update(dict.fromkeys(str(name) for name in row))
    return list(names)


def _moment(at: float | None) -> datetime:
    return datetime.fromtimestamp(at or 0, UTC)


@cache
def templates() -> Environment:
    """Return the templates, each compiled once: all is escaped, a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["iso"] = lambda at: _moment(at).isoformat(timespec="seconds")
    made.filters["clock"] = lambda at: _moment(at).strftime("%H:%M")
    made.filters["exact"] = lambda at: _moment(at).strftime("%Y-%m-%d %H:%M:%S UTC")
    made.filters["plain"] = plain
    made.filters["columns"] = columns
    made.filters["words"] = lambda name: str(name).replace("_", " ")
    made.filters["model_name"] = model_name
    return made
