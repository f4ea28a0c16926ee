"""`heed eval`: figures of Heed's engines and of ordinary tools, on labelled rows or on verdicts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SetupError

if TYPE_CHECKING:
    from bot.evaluating.hearing import Heard, Tool
    from bot.evaluating.rows import Sheet
    from bot.settings import Settings

Tell = Callable[[str], object]


def evaluate(  # noqa: PLR0913 - one argument an option of the command
    settings: Settings,
    file: Path | None,
    tell: Tell,
    *,
    models: Sequence[str] = (),
    task: str = "",
    json_out: Path | None = None,
    html_out: Path | None = None,
    limit: int | None = None,
    verdicts: bool = False,
    budget: float | None = None,
) -> int:
    """Judge `models` side by side on the rows of `file`, or Heed on staff's verdicts; return 0.

    `models` empty: the configured tagger. `task` empty: the configured one. `limit`: so many rows,
    evenly spread. `budget`: alerts a day to find a threshold for, with `verdicts`. Raises
    SetupError, PromptError, EngineError.
    """
    if verdicts == (file is not None):
        raise SetupError("Give either a file of labelled rows, or --verdicts without one.")
    if budget is not None and not verdicts:
        raise SetupError("--budget is a number of alerts a day: it needs --verdicts.")
    _check_places(json_out, html_out)
    if file is None:
        from bot.evaluating.verdicts import verdict_figures

        report = verdict_figures(settings, budget)
    else:
        report = _judged(settings, file, tuple(models), task or settings.prompts.tag, limit)
    written = _write(report, json_out, html_out)  # first: who reads the rest may stop reading
    _tell(report, tell)
    for path in written:
        tell(f"Written: {path}")
    return 0


def _check_places(*places: Path | None) -> None:
    """See that reports can be written before hours are spent on them."""
    for place in places:
        if place is not None and (place.is_dir() or not place.absolute().parent.is_dir()):
            raise SetupError(f"{place} cannot be written: name a file in a folder that exists.")


def _judged(
    settings: Settings, file: Path, models: tuple[str, ...], task: str, limit: int | None
) -> dict[str, Any]:
    from bot.evaluating.figures import RANK_REPEATS, REPEATS, SEED, against, figures
    from bot.evaluating.hearing import make_tool
    from bot.evaluating.rows import read

    names = dict.fromkeys(name.strip() for name in models if name.strip())
    sheet = read(file, task, limit)
    found: list[dict[str, Any]] = []
    first: Heard | None = None
    for name in names or ("",):
        tool = make_tool(settings, name, task)
        if any(tool.name == model["model"] for model in found):
            tool.name = name  # two folders of one name, or a model under two
        heard = _heard(tool, sheet)
        gap = None if first is None else against(sheet.rows, first, heard)
        found.append(figures(sheet.rows, heard) | {"against_first": gap})
        first = first or heard
    return {
        "kind": "labelled",
        "file": file.name,
        "task": task,
        "rows": len(sheet.rows),
        "found": sheet.found,
        "unlabelled": sheet.unlabelled,
        "resampled": {"seed": SEED, "classes": REPEATS, "rankings": RANK_REPEATS},
        "models": found,
    }


def _heard(tool: Tool, sheet: Sheet) -> Heard:
    """Let a tool hear the rows, with a bar on stderr where a person watches it."""
    with ExitStack() as stack:
        if not sys.stderr.isatty():
            return asyncio.run(tool.hear(sheet.rows, lambda _done: None))
        from rich.console import Console
        from rich.progress import Progress

        bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        row = bar.add_task(tool.name, total=len(sheet.rows))
        return asyncio.run(tool.hear(sheet.rows, lambda done: bar.advance(row, done)))


def _tell(report: dict[str, Any], tell: Tell) -> None:
    from bot.evaluating.tables import sentences, tables

    for sentence in sentences(report):
        tell(sentence)
    for table in tables(report):
        if table.detail:
            continue
        tell("")
        for line in table.lines():
            tell(line)


def _write(report: dict[str, Any], json_out: Path | None, html_out: Path | None) -> list[Path]:
    files: list[tuple[Path, str]] = []
    if json_out is not None:
        files.append(
            (json_out, json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
        )
    if html_out is not None:
        from bot.report import page

        files.append((html_out, page(report)))
    for path, text in files:
        try:
            path.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise SetupError(
                f"{path} cannot be written ({error.strerror}): name another file."
            ) from error
    return [path for path, _ in files]


__all__ = ["evaluate"]
