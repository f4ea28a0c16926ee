"""The report of `heed eval` as one HTML file: tables and pictures, no script, nothing fetched.

A picture is a handful of marks in pixels; the template draws them. Series differ by dash and shape
as well as by colour, and every number of a picture stands in a table of the same page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bot.evaluating.table import Report, percent
from bot.evaluating.tables import HEADS, sentences, tables

SERIES = 6  # styles; a seventh model looks like the first
_TEMPLATES = Path(__file__).with_name("templates")
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WIDE, _HIGH = 320.0, 260.0
_LEFT, _TOP, _RIGHT, _FOOT = 44.0, 12.0, 12.0, 40.0
_LABEL, _BAR, _ROOM = 190.0, 9.0, 640.0  # of the bars: names, thickness, whole width


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line through points "x,y x,y", drawn in a style."""

    points: str
    style: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A point with the words that a pointer resting on it shows."""

    x: float
    y: float
    style: str
    words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A rectangle, as wide as its value."""

    x: float
    y: float
    width: float
    height: float
    style: str
    words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A text; `x`, `y` is the end that `anchor` names, on its base line."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    turned: bool = False


@dataclass(kw_only=True, slots=True)
class Picture:
    """Marks on a sheet of `width` x `height`, and what they say in words."""

    title: str
    words: str
    width: float = _WIDE
    height: float = _HIGH
    legend: Sequence[tuple[str, str]] = ()  # style, name
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    texts: list[Word] = field(default_factory=list)


def page(report: Report) -> str:
    """Return the report as one HTML page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    verdicts = report["kind"] == "verdicts"
    return environment.get_template("eval.html").render(
        title="Verdicts on escalation" if verdicts else f"Evaluation on {report['file']}",
        sentences=sentences(report),
        tables=tables(report),
        pictures=list(_verdicts(report) if verdicts else _pictures(report["models"])),
        series=range(SERIES),
    )


def _pictures(models: Sequence[Report]) -> Iterator[Picture]:
    for i, model in enumerate(models):
        told = {"the class": model["reliability"]}
        told |= {
            HEADS[head].lower(): found["reliability"] for head, found in model["heads"].items()
        }
        for what, found in told.items():
            if found:
                yield _reliability(f"{model['model']}: how sure of {what}", found, _style(i))
    for head, title in HEADS.items():
        having = [(i, model) for i, model in enumerate(models) if head in model["heads"]]
        if having:
            yield _trade(title, head, having)
    yield from _sources(models)


def _style(number: int) -> str:
    return f"s{number % SERIES}"


# -- a square with two axes ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie on a picture: x from 0 to 1, y from 0 to `top`."""

    top: float = 1.0

    def x(self, value: float) -> float:
        return round(_LEFT + value * (_WIDE - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_HIGH - _FOOT - value / self.top * (_HIGH - _FOOT - _TOP), 1)

    def line(self, points: Sequence[tuple[float, float]], style: str) -> Line:
        """Return a line through values."""
        told = " ".join(f"{self.x(x):g},{self.y(y):g}" for x, y in points)
        return Line(points=told, style=style)

    def draw(self, picture: Picture, across: str, up: str) -> None:
        """Draw grid, numbers and the names of both axes."""
        whole = self.top == 1.0
        for tick in _TICKS:
            value = tick * self.top
            picture.lines.append(self.line([(0.0, value), (1.0, value)], "grid"))
            picture.lines.append(self.line([(tick, 0.0), (tick, self.top)], "grid"))
            side = f"{100 * tick:.0f}" if whole else f"{value:.3g}"
            below = f"{100 * tick:.0f}" if whole else f"{tick:.2f}"
            picture.texts += [
                Word(x=_LEFT - 6, y=self.y(value) + 4, text=side, anchor="end"),
                Word(x=self.x(tick), y=_HIGH - _FOOT + 15, text=below),
            ]
        middle = (_HIGH - _FOOT + _TOP) / 2
        picture.texts += [
            Word(x=self.x(0.5), y=_HIGH - 6, text=across),
            Word(x=12, y=middle, text=up, turned=True),
        ]


def _reliability(title: str, found: Mapping[str, Any], style: str) -> Picture:
    """Draw how often rows were right against how sure they were; on the diagonal all is well."""
    frame = _Frame()
    points = [(b["said"], b["right"]) for b in found["bins"]]
    picture = Picture(
        title=title,
        words=f"Calibration error {percent(found['error'])} percent; perfect calibration would "
        f"show {percent(found['by_chance'])} on so many rows.",
    )
    frame.draw(picture, "sure, percent", "right, percent")
    picture.lines += [
        frame.line([(0.0, 0.0), (1.0, 1.0)], "ideal"),
        frame.line(points, style),
    ]
    for told in found["bins"]:
        words = f"sure {percent(told['said'])}, right {percent(told['right'])}, {told['rows']} rows"
        x, y = frame.x(told["said"]), frame.y(told["right"])
        picture.dots.append(Dot(x=x, y=y, style=style, words=words))
    return picture


def _trade(title: str, head: str, having: Sequence[tuple[int, Report]]) -> Picture:
    """Draw precision over recall; the dashed line is what drawing lots would give."""
    frame = _Frame()
    told = [(i, model["model"], model["heads"][head]) for i, model in having]
    whole = told[0][2]["groups"][0]
    scores = ", ".join(f"{name} {percent(t['groups'][0]['ap']['value'])}" for _, name, t in told)
    picture = Picture(
        title=f"{title}: precision over recall",
        words=f"Average precision in percent: {scores}.",
        legend=[(_style(i), name) for i, name, _ in told],
    )
    frame.draw(picture, "recall, percent", "precision, percent")
    share = whole["yes"] / whole["rows"]
    picture.lines.append(frame.line([(0.0, share), (1.0, share)], "ideal"))
    picture.lines += [
        frame.line([(recall, precision) for recall, precision in t["curve"]], _style(i))
        for i, _, t in told
    ]
    return picture


def _verdicts(report: Report) -> Iterator[Picture]:
    """Draw how often strong alerts were needed, and what each threshold would bring."""
    if report["reliability"] is not None:
        yield _needed(report["reliability"])
    yield _alerts(report)


def _needed(found: Mapping[str, Any]) -> Picture:
    """Draw how often staff said that a person was needed, over how strong the message was read."""
    frame = _Frame()
    picture = Picture(
        title="How strong, and how often needed",
        words=f"{found['rows']} judged alerts caused by mood. Off by {percent(found['error'])} "
        f"percent; chance alone would show {percent(found['by_chance'])} on so many. "
        "Thin lines are 95 % intervals.",
    )
    frame.draw(picture, "strong, percent", "needed, percent")
    points = [(b["said"], b["right"]) for b in found["bins"]]
    picture.lines += [
        frame.line([(0.0, 0.0), (1.0, 1.0)], "ideal"),
        *(
            frame.line([(b["said"], b["low"]), (b["said"], b["high"])], "whisker")
            for b in found["bins"]
        ),
        frame.line(points, _style(0)),
    ]
    for told in found["bins"]:
        words = f"strong {percent(told['said'])}, needed {percent(told['right'])}, {told['rows']}"
        x, y = frame.x(told["said"]), frame.y(told["right"])
        picture.dots.append(Dot(x=x, y=y, style=_style(0), words=f"{words} alerts"))
    return picture


def _alerts(report: Report) -> Picture:
    """Draw the alerts a day over the threshold of strong, with the budget where there is one."""
    steps = report["steps"]
    budget = report.get("budget")
    highest = max([s["alerts_a_day"] for s in steps] + [budget["alerts_a_day"] if budget else 0.0])
    frame = _Frame(top=max(highest, 1e-6) * 1.05)
    first, last = steps[0], steps[-1]
    picture = Picture(
        title="Spike alerts a day, by threshold of strong",
        words=f"{first['alerts_a_day']:.2f} a day at {first['threshold']:.2f}, falling to "
        f"{last['alerts_a_day']:.2f} at {last['threshold']:.2f}.",
    )
    frame.draw(picture, "threshold of strong", "alerts a day")
    points = [(step["threshold"], step["alerts_a_day"]) for step in steps]
    picture.lines.append(frame.line(points, _style(0)))
    in_force = report["in_force"]
    picture.lines.append(frame.line([(in_force, 0.0), (in_force, frame.top)], "ideal"))
    picture.texts.append(Word(x=frame.x(in_force), y=_TOP - 2, text="in force"))
    legend = [(_style(0), "spike alerts"), ("ideal", "threshold in force")]
    if budget:
        left = max(0.0, budget["alerts_a_day"] - report["others_a_day"])
        picture.lines.append(frame.line([(0.0, left), (1.0, left)], _style(1)))
        legend.append((_style(1), "what the budget leaves for spikes"))
    picture.legend = legend
    for x, y in points:
        words = f"{y:.2f} a day at {x:.2f}"
        picture.dots.append(Dot(x=frame.x(x), y=frame.y(y), style=_style(0), words=words))
    return picture


# -- bars ----------------------------------------------------------------------------------------


def _sources(models: Sequence[Report]) -> Iterator[Picture]:
    """Draw macro-F1 of every source, one bar a model, with its interval as a line across."""
    names = sorted({g["name"] for m in models for g in m["groups"] if g["kind"] == "source"})
    if not names:
        return
    step = len(models) * (_BAR + 2) + 8
    picture = Picture(
        title="Macro-F1 by source",
        words="Percent; over two classes where a source has no neutral row (marked with a 2). "
        "Thin lines are 95 % intervals. The numbers stand in the table by source.",
        width=_ROOM,
        height=len(names) * step + 30,
        legend=[(_style(i), model["model"]) for i, model in enumerate(models)],
    )
    for tick in _TICKS:
        x = _across(tick)
        picture.lines.append(Line(points=f"{x},0 {x},{picture.height - 24}", style="grid"))
        picture.texts.append(Word(x=x, y=picture.height - 8, text=f"{100 * tick:.0f}"))
    for row, name in enumerate(names):
        _source(picture, name, models, row * step + 4)
    yield picture


def _source(picture: Picture, name: str, models: Sequence[Report], top: float) -> None:
    found = {
        i: group
        for i, model in enumerate(models)
        for group in model["groups"]
        if (group["kind"], group["name"]) == ("source", name)
    }
    whole = all(group["f1"]["value"] is not None for group in found.values())
    middle = top + len(models) * (_BAR + 2) / 2 + 3
    shown = name if len(name) <= 24 else f"{name[:23]}…"
    shown += "" if whole else " (2)"
    picture.texts.append(Word(x=_LABEL - 8, y=middle, text=shown, anchor="end"))
    for i, group in found.items():
        told = group["f1" if whole else "f1_two"]
        if told["value"] is None:
            continue
        y = top + i * (_BAR + 2)
        width = round(_across(told["value"]) - _LABEL, 1)
        words = f"{name}, {models[i]['model']}: {percent(told['value'])}, {group['rows']} rows"
        picture.bars.append(
            Bar(x=_LABEL, y=y, width=width, height=_BAR, style=_style(i), words=words)
        )
        low, high = (_across(told[end] or 0.0) for end in ("low", "high"))
        level = y + _BAR / 2
        picture.lines.append(Line(points=f"{low},{level} {high},{level}", style="whisker"))


def _across(value: float) -> float:
    return round(_LABEL + value * (_ROOM - _LABEL - 20.0), 1)
