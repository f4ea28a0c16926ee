"""Who was called and who would have been, as tables and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bot.evaluating.table import NONE, Report, Table, counted

GONE = "(no longer kept)"
_WORDS = 60  # characters of a message that are shown


def lines(report: Report) -> list[str]:
    """Return what a replay of stored decisions found, as text."""
    size = (
        f"{counted(report['messages'], 'message')} of {counted(report['people'], 'conversation')}"
    )
    told = [f"{size} since {_time(report['since'])}; stored scores, no model was asked."]
    if report["without_words"]:
        told.append(
            f"{report['without_words']} of them are without their words: what their stored trace "
            "says of phrases stands for them."
        )
    old, new, both = report["old"], report["new"], report["both"]
    told.append(
        f"Escalated by the stored rules: {old}; by these settings: {new}; by both: {both}; only "
        f"before: {old - both}; only now: {new - both}."
    )
    if report["no_longer"]:
        said = ", ".join(f"{n} {verdict}" for verdict, n in sorted(report["no_longer"].items()))
        told.append(f"What staff said of those that are only before: {said}.")
    for table in _tables(report):
        told += ["", *table.lines()]
    return told


def _tables(report: Report) -> Iterator[Table]:
    if not report["calls"]:
        return
    rules = [(one["rule"], str(one["old"]), str(one["new"])) for one in report["rules"]]
    yield Table(caption="By the rule that fired", head=("rule", "old", "new"), rows=tuple(rules))
    spoken = any("text" in call for call in report["calls"])
    rows = []
    for call in report["calls"]:
        sides = [NONE if call[side] is None else call[side]["rule"] for side in ("old", "new")]
        row = (f"#{call['conversation']}", _time(call["at"]), *sides, _moved(call))
        row = (*row, call["verdict"] or NONE)
        rows.append((*row, _short(call["text"])) if spoken else row)
    head = ("conversation", "when (UTC)", "old", "new", "new is", "verdict")
    yield Table(
        caption="Who would have been escalated, old against new",
        head=(*head, "words") if spoken else head,
        rows=tuple(rows),
    )


def _moved(call: Mapping[str, Any]) -> str:
    """Say by how much the new settings call earlier or later."""
    if call["old"] is None or call["new"] is None:
        return "added" if call["old"] is None else "gone"
    by = (call["new"]["at"] - call["old"]["at"]) / 60
    if abs(by) < 1 / 60:
        return "at the same time"
    return f"{abs(by):.1f} min {'later' if by > 0 else 'earlier'}"


def _short(text: str | None) -> str:
    if text is None:
        return GONE
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _WORDS else f"{line[: _WORDS - 1]}…"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
