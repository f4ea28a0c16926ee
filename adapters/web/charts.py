"""The charts of the team: figures turned into sentences, tables and drawings. No I/O, no decisions.

A chart, its table and its CSV file are made of the same rows, so that none can say what another
does not. A drawing is plain SVG; a script may put a livelier one of the same numbers in its place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.web.numbers import DAY, Speech, grouped, part, percent
from adapters.web.view import Facts

NAMES = (
    *("messages", "moods", "cases", "replies", "settled", "verdicts", "thumbs", "hours"),
    "latency",
)
WIDTH, HEIGHT = 640, 160  # of a drawing without the script
SHADES = 5  # of the busiest hours, beside none
_WORKDAY = range(9, 18)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One question and its answer. `columns` are (key, kind); rows have a value for each."""

    name: str
    sentence: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    size: float  # seconds in a bucket
    plot: Facts | None = None  # over time
    bars: Sequence[Facts] = ()  # side by side
    heat: Sequence[Facts] = ()  # the week
    note: str = ""
    legend: Sequence[Facts] = field(default_factory=list)


def charts(figures: Facts, speech: Speech) -> list[Chart]:
    """Return every chart of a range, in the order of the page."""
    made = (_messages, _moods, _cases, _replies, _settled, _verdicts, _thumbs, _hours, _latency)
    return [make(figures, speech) for make in made]


def table(chart: Chart, speech: Speech) -> Iterator[list[str]]:
    """Yield the rows of a chart's table, each a list of cells."""
    for row in chart.rows:
        yield [
            speech.show(kind, value, chart.size)
            for (_, kind), value in zip(chart.columns, row, strict=True)
        ]


def as_csv(chart: Chart, speech: Speech) -> str:
    """Return a chart's rows as a CSV file."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow([speech.words["column"][key] for key, _ in chart.columns])
    kinds = [kind for _, kind in chart.columns]
    for row in chart.rows:
        out.writerow([speech.plain(kind, one) for kind, one in zip(kinds, row, strict=True)])
    return text.getvalue()


# --- over time ------------------------------------------------------------------------------------


def _messages(figures: Facts, speech: Speech) -> Chart:
    told = figures["messages"]
    rows = [
        (one["at"], one["messages"], one["scored"], one["negative"], _sour(one)) for one in told
    ]
    sums = {name: sum(one[name] for one in told) for name in ("messages", "scored", "negative")}
    w, people = speech.words, figures["people"]
    sentence = str(w["messages_none"])
    if sums["messages"]:
        sentence = str(w["messages_said"]).format(
            messages=speech.count("n_messages", sums["messages"]),
            people=speech.count("n_people", people),
            share=percent(_sour(sums)),
        )
        if figures["worst"]:
            sentence += _worst(figures["worst"], figures["size"], speech)
    plot = _plot(
        figures,
        rows,
        (("messages", 1, "bars", "left", "count"), ("share", 4, "line", "right", "share")),
        speech,
    )
    columns = (
        *(("at", "time"), ("messages", "count"), ("scored", "count")),
        *(("negative", "count"), ("share", "share")),
    )
    return Chart(
        name="messages", sentence=sentence, columns=columns, rows=rows, size=figures["size"],
        plot=plot,
    )  # fmt: skip


def _sour(one: Facts) -> float | None:
    return part(one["negative"], one["scored"])


def _worst(worst: Facts, size: float, speech: Speech) -> str:
    """Return when most of what was negative came, from how many people, mostly where."""
    where = str(worst["platform"]).capitalize()
    place = "worst_in" if worst["chat"] else "worst_direct"
    return str(speech.words["worst_day" if size >= DAY else "worst_hour"]).format(
        when=speech.when(worst["at"], size),
        negative=speech.count("n_negative", worst["negative"]),
        people=speech.count("n_people", worst["people"]),
        where=str(speech.words[place]).format(platform=where, chat=worst["chat"]),
    )


def _cases(figures: Facts, speech: Speech) -> Chart:
    names = ("opened", "claimed", "resolved", "given_back")
    rows = [(one["at"], *(one[name] for name in names)) for one in figures["cases"]]
    sums = {name: sum(one[name] for one in figures["cases"]) for name in names}
    told = {name: speech.count(f"n_{name}", n) for name, n in sums.items()}
    sentence = str(speech.words["cases_said" if any(sums.values()) else "cases_none"]).format(
        open=speech.count("n_open", figures["open"]), **told
    )
    plot = _plot(
        figures,
        rows,
        [
            (name, at, "bars" if name == "opened" else "line", "left", "count")
            for at, name in enumerate(names, start=1)
        ],
        speech,
    )
    columns = (("at", "time"), *((name, "count") for name in names))
    return Chart(
        name="cases", sentence=sentence, columns=columns, rows=rows, size=figures["size"],
        plot=plot,
    )  # fmt: skip


def _replies(figures: Facts, speech: Speech) -> Chart:
    rows = [(one["at"], one["n"], one["median"], one["p90"]) for one in figures["replies"]]
    reply, w = figures["reply"], speech.words
    sentence = str(w["replies_none"])
    if reply["n"]:
        sentence = str(w["replies_said"]).format(
            median=speech.seconds(reply["median"]),
            p90=speech.seconds(reply["p90"]),
            n=speech.count("n_cases", reply["n"]),
        )
    if reply["unanswered"]:
        sentence += speech.count("still_waiting", reply["unanswered"])
    plot = _plot(
        figures,
        rows,
        (("median", 2, "bars", "left", "seconds"), ("p90", 3, "line", "left", "seconds")),
        speech,
    )
    columns = (("at", "time"), ("n", "count"), ("median", "seconds"), ("p90", "seconds"))
    return Chart(
        name="replies", sentence=sentence, columns=columns, rows=rows, size=figures["size"],
        plot=plot,
    )  # fmt: skip


def _thumbs(figures: Facts, speech: Speech) -> Chart:
    rows = [(one["at"], one["up"], one["down"]) for one in figures["thumbs"]]
    up, down = (figures["feedback"][side] for side in ("up", "down"))
    sentence = str(speech.words["thumbs_said" if up + down else "thumbs_none"]).format(
        up=speech.count("n_up", up),
        down=speech.count("n_down", down),
        share=percent(part(up, up + down)),
    )
    plot = _plot(
        figures,
        rows,
        (("up", 1, "bars", "left", "count"), ("down", 2, "line", "left", "count")),
        speech,
    )
    columns = (("at", "time"), ("up", "count"), ("down", "count"))
    return Chart(
        name="thumbs", sentence=sentence, columns=columns, rows=rows, size=figures["size"],
        plot=plot,
    )  # fmt: skip


def _latency(figures: Facts, speech: Speech) -> Chart:
    names = [f"{name}{tail}" for name in ("heard", "written", "whole") for tail in ("", "_p90")]
    rows = [(one["at"], one["n"], *(one[name] for name in names)) for one in figures["latency"]]
    time = figures["time"]
    told = {name: speech.millis(time[name]) for name in names}
    sentence = str(speech.words["latency_none"])
    if time["n"]:
        key = "said" if time["written"] is not None else "heard"
        sentence = speech.words[f"latency_{key}" if time["heard"] is not None else "latency_table"]
        sentence = str(sentence).format(**told)
        if time["whole"] is not None:
            sentence += str(speech.words["latency_whole"]).format(**told)
    drawn = (("heard", 2), ("written", 4), ("whole", 6))
    plot = _plot(
        figures, rows, [(name, at, "line", "left", "millis") for name, at in drawn], speech
    )
    columns = (("at", "time"), ("n", "count"), *((name, "millis") for name in names))
    return Chart(
        name="latency", sentence=sentence, columns=columns, rows=rows, size=figures["size"],
        plot=plot,
    )  # fmt: skip


def _plot(
    figures: Facts,
    rows: Sequence[Sequence[Any]],
    series: Sequence[tuple[str, int, str, str, str]],
    speech: Speech,
) -> dict[str, Any]:
    """Return the drawing of some columns: (name, column, shape, axis, unit), for SVG and script."""
    drawn = [
        {
            "label": speech.words["column"][name],
            "values": [row[at] for row in rows],
            "shape": shape,
            "axis": axis,
            "unit": unit,
            "tone": tone,
        }
        for tone, (name, at, shape, axis, unit) in enumerate(series)
        if any(row[at] is not None for row in rows)
    ]
    tops = {
        axis: max(
            (v for one in drawn if one["axis"] == axis for v in one["values"] if v), default=0
        )
        for axis in ("left", "right")
    }
    first, last = rows[0][0], rows[-1][0]
    return {
        "x": [row[0] for row in rows],
        "size": figures["size"],
        "series": drawn,
        "empty": not any(tops.values()),
        "shapes": [_shape(one, tops[one["axis"]]) for one in drawn],
        "tops": [
            speech.show(unit, tops[axis], 0)
            for axis, unit in dict.fromkeys((one["axis"], one["unit"]) for one in drawn)
        ],
        "ends": [speech.when(first, figures["size"]), speech.when(last, figures["size"])],
    }


def _shape(series: Facts, top: float) -> dict[str, Any]:
    """Return the coordinates of one series: rectangles, or the points of lines with gaps."""
    values: Sequence[float | None] = series["values"]
    step = WIDTH / max(1, len(values))
    bars: list[tuple[float, float, float]] = []
    lines: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        y = round(HEIGHT - (HEIGHT - 8) * (value / top if top else 0), 1)
        bars.append((round(number * step + step * 0.15, 1), y, round(step * 0.7, 1)))
        lines[-1].append(f"{round((number + 0.5) * step, 1)},{y}")
    flat = series["shape"] == "bars"
    return {
        "tone": series["tone"],
        "bars": [bar for bar in bars if bar[1] < HEIGHT] if flat else [],
        # A point alone would have no length: it is drawn as a dot, from itself to itself.
        "lines": [] if flat else [" ".join(one if one[1:] else one * 2) for one in lines if one],
    }


# --- side by side ---------------------------------------------------------------------------------


def _moods(figures: Facts, speech: Speech) -> Chart:
    levels = ("calm", "tense", "upset")
    rows = [(one["week"], *(one[level] for level in levels)) for one in figures["moods"]]
    now, before = (dict(one, all=sum(one[level] for level in levels)) for one in figures["moods"])
    w = speech.words
    sentence = str(w["moods_none"])
    if now["all"]:
        sentence = str(w["moods_said"]).format(
            people=speech.count("n_people", now["all"]),
            upset=grouped(now["upset"]),
            tense=grouped(now["tense"]),
        )
        key = "moods_before" if before["all"] else "moods_nobody_before"
        sentence += str(w[key]).format(
            people=speech.count("n_people", before["all"]),
            upset=grouped(before["upset"]),
            tense=grouped(before["tense"]),
        )
    return Chart(
        name="moods",
        sentence=sentence,
        columns=(("week", "word"), *((level, "count") for level in levels)),
        rows=rows,
        size=figures["size"],
        bars=[_bar(str(w[f"is_{row[0]}"]), levels, row[1:], speech) for row in rows],
        legend=_legend(levels, speech),
    )


def _settled(figures: Facts, speech: Speech) -> Chart:
    names = ("bot", "staff", "person", "not_needed")
    told, people, w = figures["settled"], figures["people"], speech.words
    sentence = str(w["settled_none"])
    if people or any(told[name] for name in names):
        sentence = str(w["settled_said"]).format(
            share=percent(part(told["bot"], people)),
            people=speech.count("n_people", people),
            **{name: speech.count("n_cases", told[name]) for name in names},
        )
    rows = [(name, told[name]) for name in names]
    most = max(told.values())
    return Chart(
        name="settled",
        sentence=sentence,
        columns=(("how", "word"), ("count", "count")),
        rows=rows,
        size=figures["size"],
        bars=[_bar(str(w[f"is_{name}"]), (name,), (n,), speech, of=most) for name, n in rows],
    )


def _verdicts(figures: Facts, speech: Speech) -> Chart:
    names = ("right", "too_late", "not_needed", "none")
    rows = [(one["rule"], *(one[name] for name in names)) for one in figures["verdicts"]]
    sure, w = figures["precision"], speech.words
    silent = sum(one["none"] for one in figures["verdicts"])
    sentence = str(w["verdicts_none"])
    if sure["n"]:
        sentence = str(w["verdicts_said"]).format(
            needed=grouped(sure["needed"]),
            n=speech.count("n_alerts", sure["n"]),
            share=percent(sure["share"]),
            low=percent(sure["low"]),
            high=percent(sure["high"]),
        )
    if silent:
        sentence += speech.count("verdicts_silent", silent)
    most = max((sum(row[1:]) for row in rows), default=0)
    return Chart(
        name="verdicts",
        sentence=sentence,
        note=str(w["verdicts_note"]),
        columns=(("rule", "rule"), *((f"v_{name}", "count") for name in names)),
        rows=rows,
        size=figures["size"],
        bars=[_bar(speech.rule(row[0]), names, row[1:], speech, of=most) for row in rows],
        legend=_legend(names, speech) if rows else (),
    )


def _bar(
    label: str, names: Sequence[str], values: Sequence[int], speech: Speech, of: int = 0
) -> dict[str, Any]:
    """Return one bar of parts, as wide as all of them are of `of`; 0: as the whole width."""
    whole, at, parts = of or sum(values), 0.0, []
    for tone, (name, value) in enumerate(zip(names, values, strict=True)):
        width = 100 * value / whole if whole else 0.0
        if value:
            parts.append({"tone": name, "x": round(at, 2), "width": round(width, 2), "at": tone})
        at += width
    said = ", ".join(
        f"{speech.words.get(f'is_{name}', name)} {grouped(value)}"
        for name, value in zip(names, values, strict=True)
    )
    return {"label": label, "parts": parts, "said": said if len(names) > 1 else grouped(values[0])}


def _legend(names: Sequence[str], speech: Speech) -> list[dict[str, str]]:
    return [{"tone": name, "label": str(speech.words[f"is_{name}"])} for name in names]


# --- the week -------------------------------------------------------------------------------------


def _hours(figures: Facts, speech: Speech) -> Chart:
    week, days = figures["hours"], speech.words["days"]
    most = max(map(max, week))
    sentence = str(speech.words["hours_none"])
    if most:
        day, hour = max(
            ((d, h) for d in range(7) for h in range(24)), key=lambda at: week[at[0]][at[1]]
        )
        worked = sum(line[hour] for line in week[:5] for hour in _WORKDAY)
        sentence = str(speech.words["hours_said"]).format(
            day=days[day],
            start=f"{hour}:00",
            end=f"{hour + 1}:00",
            n=speech.count("n_messages", most),
            share=percent(part(sum(map(sum, week)) - worked, sum(map(sum, week)))),
        )
    heat = [
        {
            "day": days[d],
            "cells": [{"n": n, "shade": -(-n * SHADES // most) if n else 0} for n in line],
        }
        for d, line in enumerate(week)
    ]
    return Chart(
        name="hours",
        sentence=sentence,
        columns=(("day", "word"), ("hour", "word"), ("messages", "count")),
        rows=[(days[d], f"{h}:00", n) for d, line in enumerate(week) for h, n in enumerate(line)],
        size=figures["size"],
        heat=heat if most else (),
    )


def links(query: Mapping[str, str]) -> Mapping[str, str]:
    """Return what of a query goes into the address of a CSV file: what is set, no more."""
    return {name: value for name, value in query.items() if value}
