"""The figures as tables of words: the same ones are printed and put into the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.evaluating import verdict_tables as of_verdicts
from bot.evaluating.table import NONE, Report, Table, decimal, figure, percent

_ENOUGH = 10  # yes and no rows of a language, each, to be shown by itself
HEADS = {
    "strong": "Strong",
    "wants_human": "Wants a human",
    "threat_to_leave": "Threatens to leave",
    "crisis": "Crisis",
    "distress": "Distress",
}
_RANKED = ("", "yes", "average precision", "AUROC", "recall at 1 %", "recall at 5 %")


def tables(report: Report) -> list[Table]:
    """Return the tables of a report, the most telling first."""
    if report["kind"] == "verdicts":
        return of_verdicts.tables(report)
    models = report["models"]
    found = [_summary(models), *_against(models)]
    for kind, caption in (("lang", "By language"), ("source", "By source")):
        found += _by_group(models, kind, caption)
    found += [table for head in HEADS for table in _head(models, head)]
    found += _rules(models) + _reach(models) + _calibration(models) + _intensity(models)
    found += [table for model in models for table in _confusion(model)]
    found += [table for model in models for table in _bins(model)]
    return found + [table for head in HEADS for table in _head_sources(models, head)]


# -- labelled rows -------------------------------------------------------------------------------


def _summary(models: Sequence[Report]) -> Table:
    losing = any(model["failed"] for model in models)
    rows = []
    for model in models:
        group = _group(model, "all", "all")
        keys = ("accuracy", "f1", "f1_two", "ece")
        figures = [NONE if group is None else figure(group[key]) for key in keys]
        times = [f"{model['ms'][key]:.2f}" for key in ("cpu", "alone", "wall")]
        failed = [str(model["failed"])] if losing else []
        rows.append((model["model"], str(model["rows"]), *figures, *times, *failed))
    figures = ["accuracy", f"F1, {len(models[0]['classes'])} classes", "F1, 2 classes", "ECE"]
    times = ["ms CPU", "alone", "by clock"]
    return Table(
        caption="All rows together",
        head=("model", "rows", *figures, *times, *(["failed"] if losing else [])),
        rows=tuple(rows),
        note="percent, 95 % interval; macro-F1; milliseconds a message in batches and alone",
    )


def _against(models: Sequence[Report]) -> list[Table]:
    rows = [
        (model["model"], _signed(told["f1"]), _signed(told["f1_two"]))
        for model in models
        if (told := model["against_first"])
    ]
    if not rows:
        return []
    head = ("", f"F1, {len(models[0]['classes'])} classes", "F1, 2 classes")
    caption = f"Above or below {models[0]['model']}"
    note = "points, 95 % interval of the difference on the same rows"
    return [Table(caption=caption, head=head, rows=tuple(rows), note=note)]


def _signed(found: Mapping[str, float | None]) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return NONE
    return f"{100 * value:+.1f} [{100 * low:+.1f} to {100 * high:+.1f}]"


def _by_group(models: Sequence[Report], kind: str, caption: str) -> list[Table]:
    sizes = {g["name"]: g["rows"] for m in models for g in m["groups"] if g["kind"] == kind}
    names = sorted(sizes, key=lambda name: (-sizes[name] if kind == "lang" else 0, name))
    if len(names) < (2 if kind == "lang" else 1):
        return []
    cells = _with_intervals if kind == "lang" else _in_short
    rows = []
    for name in names:
        groups = [_group(model, kind, name) for model in models]
        size = next(str(group["rows"]) for group in groups if group)
        rows.append((name, size, *(cell for group in groups for cell in cells(group))))
    kinds = len(models[0]["classes"])
    keys = (f"F1-{kinds}", "F1-2") if kind == "lang" else (f"F1-{kinds} / F1-2 / accuracy",)
    head = [f"{model['model']} {key}" for model in models for key in keys]
    note = "percent; – where a class has no row"
    return [Table(caption=caption, head=("", "rows", *head), rows=tuple(rows), note=note)]


def _with_intervals(group: Report | None) -> list[str]:
    keys = ("f1", "f1_two")
    return [NONE if group is None else figure(group[key]) for key in keys]


def _in_short(group: Report | None) -> list[str]:
    if group is None:
        return [NONE]
    return [" / ".join(percent(group[key]["value"]) for key in ("f1", "f1_two", "accuracy"))]


def _group(model: Report, kind: str, name: str) -> Report | None:
    found = (g for g in model["groups"] if (g["kind"], g["name"]) == (kind, name))
    return next(found, None)


def _head(models: Sequence[Report], head: str) -> list[Table]:
    """Return a head's table: all rows, and the languages that have enough to tell."""
    rows = [
        _ranked(model, head, group)
        for model in models
        if head in model["heads"]
        for group in _telling(model["heads"][head]["groups"])
    ]
    if not rows:
        return []
    note = "percent; recall at that share of false alarms"
    return [Table(caption=HEADS[head], head=_RANKED, rows=tuple(rows), note=note)]


def _head_sources(models: Sequence[Report], head: str) -> list[Table]:
    rows = [
        _ranked(model, head, group)
        for model in models
        if head in model["heads"]
        for group in model["heads"][head]["groups"]
        if group["kind"] == "source"
    ]
    caption = f"{HEADS[head]}, by source"
    return [Table(caption=caption, head=_RANKED, rows=tuple(rows), detail=True)] if rows else []


def _telling(groups: Sequence[Report]) -> list[Report]:
    """Return all rows, and each language that is a part of them with enough rows of both kinds."""
    whole, *parts = groups
    return [whole] + [
        part
        for part in parts
        if part["kind"] == "lang"
        and min(part["yes"], part["rows"] - part["yes"]) >= _ENOUGH
        and part["rows"] < whole["rows"]
    ]


def _ranked(model: Report, head: str, group: Report) -> tuple[str, ...]:
    by = model["heads"][head]["by"]
    stands_in = "" if by == head else f" by {by}"
    return (
        f"{model['model']}{stands_in}, {group['name']}",
        f"{group['yes']} of {group['rows']}",
        *(figure(group[key]) for key in ("ap", "auroc", "recall_at_1%", "recall_at_5%")),
    )


def _reach(models: Sequence[Report]) -> list[Table]:
    """Return what each score could do at thresholds chosen on these very rows."""
    rows = [
        (
            f"{model['model']}, {HEADS[head].lower()}",
            percent(told["best_f1"]["value"]),
            *(decimal(told["best_f1"]["threshold"]), percent(whole["recall_at_precision_80%"])),
            *(decimal(told["thresholds"][share]) for share in ("1%", "5%")),
        )
        for model in models
        for head, told in model["heads"].items()
        if told["by"] == head and (whole := _values(told["groups"][0]))
    ]
    if not rows:
        return []
    head = ("", "best F1", "at", "recall at precision 80", "1 % alarms from", "5 % alarms from")
    caption = "What one threshold on the score could reach"
    note = "percent and thresholds, chosen on these very rows: expect less on others"
    return [Table(caption=caption, head=head, rows=tuple(rows), note=note)]


def _values(group: Report) -> dict[str, float | None]:
    return {key: found["value"] for key, found in group.items() if isinstance(found, dict)}


def _calibration(models: Sequence[Report]) -> list[Table]:
    told = [(m["model"], "classes", m["reliability"]) for m in models]
    told += [
        (model["model"], HEADS[head].lower(), found["reliability"])
        for model in models
        for head, found in model["heads"].items()
    ]
    rows = tuple(
        (f"{name}, {what}", percent(found["error"]), percent(found["by_chance"]))
        for name, what, found in told
        if found
    )
    caption = "Calibration error (ECE)"
    note = "percent, 15 bins of equal mass; by chance: what perfect calibration would show here"
    head = ("", "error", "by chance")
    return [Table(caption=caption, head=head, rows=rows, note=note)] if rows else []


def _rules(models: Sequence[Report]) -> list[Table]:
    rows = [
        (
            f"{model['model']}: {rule['name']} on {HEADS[head].lower()}",
            str(rule["fired"]),
            *(figure(rule[key]) for key in ("precision", "recall", "f1")),
        )
        for model in models
        for head, told in model["heads"].items()
        if (rule := told["rule"])
    ]
    if not rows:
        return []
    return [
        Table(
            caption="The rules as they stand, on each message alone",
            head=("", "fired", "precision", "recall", "F1"),
            rows=tuple(rows),
            note="percent",
        )
    ]


def _intensity(models: Sequence[Report]) -> list[Table]:
    rows = [
        (m["model"], str(told["rows"]), decimal(told["correlation"]), decimal(told["mean_gap"]))
        for m in models
        if (told := m["intensity"])
    ]
    if not rows:
        return []
    head = ("", "rows", "correlation", "mean gap")
    caption = "Intensity against graded rows (-1 to 1)"
    return [Table(caption=caption, head=head, rows=tuple(rows))]


def _confusion(model: Report) -> list[Table]:
    group = _group(model, "all", "all")
    if group is None:
        return []
    rows = [
        (name, *map(str, counts), percent(f1))
        for name, counts, f1 in zip(
            model["classes"], group["confusion"], group["per_class"], strict=True
        )
    ]
    caption = f"{model['model']}: what rows of a label (down) were heard as (across)"
    return [Table(caption=caption, head=("", *model["classes"], "F1"), rows=tuple(rows))]


def _bins(model: Report) -> list[Table]:
    told = model["reliability"]
    if not told:
        return []
    rows = [(percent(b["said"]), percent(b["right"]), str(b["rows"])) for b in told["bins"]]
    return [
        Table(
            caption=f"{model['model']}: how sure, and how often right",
            head=("sure", "right", "rows"),
            rows=tuple(rows),
            note="percent",
            detail=True,
        )
    ]


def sentences(report: Report) -> list[str]:
    """Return what a report comes to, in words."""
    if report["kind"] == "verdicts":
        return of_verdicts.sentences(report)
    said = [f"{report['rows']} rows of {report['file']}, task {report['task']}."]
    if report["found"] > report["rows"] + report["unlabelled"]:
        said[0] = (
            f"{report['rows']} of {report['found'] - report['unlabelled']} labelled rows of "
            f"{report['file']}, evenly spread, task {report['task']}."
        )
    if report["unlabelled"]:
        said.append(f"{report['unlabelled']} rows have no label and are left out.")
    said += [f"{m['model']}: {m['why']}." for m in report["models"]]
    return said
