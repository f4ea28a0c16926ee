"""What staff's verdicts come to, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.evaluating.table import NONE, Report, Table, counted, decimal, figure, percent


def tables(report: Report) -> list[Table]:
    """Return the tables of verdicts, the most telling first."""
    found = [_judged(report, "rules", "rule", "Alerts that were needed, by the rule that fired")]
    found += [_judged(report, "languages", "lang", "Alerts that were needed, by language")]
    return (
        [table for table in found if table.rows]
        + _too_late(report)
        + _curve(report)
        + [_alerts_a_day(report)]
        + _thumbs(report)
    )


def _judged(report: Report, groups: str, key: str, caption: str) -> Table:
    told = [("all", report["precision"])]
    if groups == "rules":
        told.append(("caused by mood", report["mood"]))
    told += [(group[key], group) for group in report[groups]]
    counts = ("right", "too_late", "not_needed", "unjudged")
    return Table(
        caption=caption,
        head=(key if key == "rule" else "language", "precision", "needed", "right", "too late",
              "not needed", "no verdict"),
        rows=tuple(
            (name, figure(one), _of_judged(one), *(str(one[count]) for count in counts))
            for name, one in told
        ),
        note="percent of the judged ones, 95 % interval",
    )  # fmt: skip


def _of_judged(found: Mapping[str, Any]) -> str:
    return f"{found['needed']} of {found['judged']}"


def _too_late(report: Report) -> list[Table]:
    rows = [
        (
            f"#{late['case']}",
            late["rule"],
            NONE if late["seconds"] is None else f"{late['seconds'] / 60:.1f}",
            decimal(late["strong"]),
            decimal(late["p_negative"]),
        )
        for late in report["late"]
    ]
    head = ("case", "opened by", "minutes late", "strong", "negative")
    caption = "Calls that came too late, and the message that should have been enough"
    return [Table(caption=caption, head=head, rows=tuple(rows))] if rows else []


def _curve(report: Report) -> list[Table]:
    told = report["reliability"]
    if told is None:
        return []
    rows = [
        (percent(b["said"]), figure({"value": b["right"], **b}), str(b["rows"]))
        for b in told["bins"]
    ]
    error, chance = percent(told["error"]), percent(told["by_chance"])
    return [
        Table(
            caption="How strong, and how often needed",
            head=("strong", "needed", "alerts"),
            rows=tuple(rows),
            note=f"percent; judged alerts caused by mood; off by {error}, chance alone {chance}",
        )
    ]


def _alerts_a_day(report: Report) -> Table:
    rows = [
        (
            f"{step['threshold']:.2f}",
            f"{step['alerts_a_day']:.2f}",
            figure(step),
            _of_judged(step),
        )
        for step in report["steps"]
    ]
    return Table(
        caption="Spike alerts at each threshold of strong",
        head=("threshold", "a day", "precision", "needed"),
        rows=tuple(rows),
        note=f"in force {report['in_force']:.2f}; below it nothing was judged; other rules "
        f"open {report['others_a_day']:.2f} a day",
    )


def _thumbs(report: Report) -> list[Table]:
    rows = [
        (one["model"] or NONE, one["prompt"] or NONE, figure(one), str(one["up"]), str(one["down"]))
        for one in report["thumbs"]
    ]
    head = ("model", "prompt", "share up", "up", "down")
    caption = "Thumbs on replies, by model and version of its prompt"
    note = "percent of all thumbs, 95 % interval"
    return [Table(caption=caption, head=head, rows=tuple(rows), note=note)] if rows else []


def sentences(report: Report) -> list[str]:
    """Return what verdicts come to, in words."""
    judged, dry = report["precision"]["judged"], report["dry"]
    size = f"{counted(report['messages'], 'message')} in {report['days']:.1f} days"
    held = f", {counted(dry, 'alert')} held back by a dry run" if dry else ""
    said = [f"{size}, {counted(report['cases'], 'case')}{held}, {judged} of them judged."]
    if report["by_staff"]:
        said.append(
            f"{counted(report['by_staff'], 'case')} that staff opened themselves: left out."
        )
    said += _silent(report["unjudged"])
    if not judged:
        said.append("Nothing was judged yet: press Right, Not needed or Too late on a case.")
    said += _known(report["recall"])
    budget = report.get("budget")
    if budget and budget["threshold"] is None:
        said.append(
            f"No threshold of strong keeps within {budget['alerts_a_day']:g} alerts a day: the "
            "other ways to an alert open more."
        )
    elif budget:
        said.append(
            f"For at most {budget['alerts_a_day']:g} alerts a day the threshold of strong is "
            f"{budget['threshold']:.2f}: it gives {budget['gives']:.2f} a day on these messages. "
            f"Set escalation.strong = {budget['threshold']:.2f}."
        )
    return said


def _silent(unjudged: Mapping[str, int]) -> list[str]:
    parts = [counted(unjudged["cases"], "case")] if unjudged["cases"] else []
    if unjudged["open"]:
        parts[0] += f" ({unjudged['open']} still open)"
    if unjudged["dry"]:
        parts.append(f"{counted(unjudged['dry'], 'alert')} of the dry run")
    if not parts:
        return []
    return [f"Without a verdict, and counted neither as right nor as wrong: {', '.join(parts)}."]


def _known(recall: Mapping[str, Any]) -> list[str]:
    """Return recall in words, with what it is not."""
    if recall["value"] is None:
        return []
    preceded = recall["preceded"]
    before = (
        f" {counted(preceded, 'request')} came after a mood rule had fired." if preceded else ""
    )
    known = (
        f"Recall as far as it is known, percent: {figure(recall)}. {recall['found']} were called "
        f"in time, {recall['missed']} were missed: {recall['asked']} asked for a person before a "
        f"mood rule fired, {recall['too_late']} came too late.{before}"
    )
    unknown = (
        "True recall is not knowable from this alone: whoever was upset, raised no alert and asked "
        "for nobody is in no count."
    )
    return [known, unknown]
