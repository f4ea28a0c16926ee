"""`heed calibrate`: find temperature and biases of a model's tags on labelled rows, and keep them.

Each instrument is asked and fitted by itself, for each reads another prompt. Half of the rows, by
a hash of their id, is left out of the fit and tells what it is worth; what does not help them is
not kept.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from bot.engines import make_book, make_raw
from bot.evaluating.rows import Row, read
from bot.evaluating.table import Table, percent
from bot.instruments import ROWS, Heard, OnRow, hear, held_out, instruments
from bot.models import choose_half
from core import calibration as cal
from core.calibration import Calibration, Figures
from core.engine import probe as probing
from core.engine.calibrations import CalibrationBook, Entry, Key, Mark, mark_folder, mark_server
from core.engine.embedded.table import TableTagger
from core.engine.files import find
from core.engine.mind import Engine
from core.errors import HeedError, SetupError
from core.evaluation import Bools, Floats, Ints, Ranking, average_precision

if TYPE_CHECKING:
    from bot.models import Choice
    from bot.settings import Settings
    from core.prompts import Task

_EACH = 3  # yes and no rows of a head, in each half
_HEAD = ("", "temperature", "log loss", "ECE", "accuracy", "macro-F1")

Tell = Callable[[str], object]


def calibrate(  # noqa: PLR0913 - one argument an option of the command
    settings: Settings,
    file: Path | None,
    tell: Tell,
    *,
    model: str = "",
    task: str = "",
    limit: int | None = None,
    probe: bool = False,
    contextual: bool = False,
    dry: bool = False,
    clock: Callable[[], float] = time.time,
) -> int:
    """Calibrate the tagging model on the rows of `file`, or on empty messages alone; return 0.

    `model` and `task` empty: the configured ones. `limit`: so many rows, evenly spread. `probe`:
    try a linear probe too. `dry`: keep nothing. Raises SetupError, PromptError, EngineError.
    """
    if contextual == (file is not None):
        raise SetupError("Give either a file of labelled rows, or --contextual without one.")
    if contextual and probe:
        raise SetupError("--probe is fitted on labelled rows: give it a file.")
    changed = {"name": model, "tag": ""} if model else {}
    tag = task or settings.prompts.tag
    settings = settings.model_copy(
        update={
            "model": settings.model.model_copy(update=changed),
            "prompts": settings.prompts.model_copy(update={"tag": tag}),
        }
    )
    choice, book = choose_half(settings, "tag"), make_book(settings)
    if probe and choice.kind == "remote":
        raise SetupError("--probe needs the hidden states of a local model: a server has none.")
    engine, asked = make_raw(settings, book, choice, states=probe), book.task()
    rows = [] if file is None else _rows(file, asked, limit, probe=probe)
    work = _Work(engine=engine, choice=choice, task=asked, rows=rows, tell=tell)
    adapter = settings.model.adapter or None
    mark, found = asyncio.run(_run(work, adapter, at=clock(), probe=probe))
    if dry:
        tell("Nothing was kept: --dry.")
    else:
        tell(f"Kept in {CalibrationBook().keep(mark, found)}; used from the next start.")
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """Who is calibrated, for what, on which rows."""

    engine: Engine
    choice: Choice
    task: Task
    rows: Sequence[Row]  # none: on empty messages alone
    tell: Tell


async def _run(
    work: _Work, adapter: str | None, *, at: float, probe: bool
) -> tuple[Mark, dict[Key, Entry | None]]:
    engine, tables = work.engine, _Tables()
    names = instruments(engine, work.task)
    found: dict[Key, Entry | None] = {}
    try:
        await engine.warm_up()
        with _bar(len(names) * len(work.rows)) as on_row:
            for name in names:
                heard = await hear(engine, work.task, work.rows, name, on_row)
                entry = _entry(work, heard, tables, at)
                if probe:
                    entry = await _with_probe(heard, entry, tables, at)
                found[work.task.version, name] = entry
    finally:
        await engine.close()
    mark = _mark(work.choice, engine.name, adapter)
    work.tell(f"{engine.name}, task {work.task.version}, {_sizes(work)}.")
    for line in tables.lines():
        work.tell(line)
    return mark, found


def _mark(choice: Choice, name: str, adapter: str | None) -> Mark:
    if choice.kind == "remote":
        return mark_server(choice.name, name)
    return mark_folder(name, folder_of(choice), adapter)


def folder_of(choice: Choice) -> Path:
    """Return where the files of a local model lie. Raises SetupError when they are gone."""
    folder = Path(choice.source)
    if folder.is_dir():
        return folder
    if (found := find(choice.source)) is None:
        raise SetupError(f"The model {choice.name} is no longer on this machine.")
    return found.folder


def state(settings: Settings) -> str:
    """Say what the tags in force are calibrated by. Raises SetupError where that does not fit."""
    try:
        choice, version = choose_half(settings, "tag"), make_book(settings).task().version
    except HeedError:
        return "not looked at: the model or the prompt is to be mended first"
    if choice.kind == "embedded":
        return "the table is calibrated when it is made"
    book = CalibrationBook()
    if choice.kind == "remote":  # it is not asked which model it serves
        marks = [mark for mark in book.marks() if mark.host == choice.name]
    else:
        here = Path(choice.source)
        name = here.resolve().name if here.is_dir() else choice.source  # as the engine is named
        marks = [mark_folder(name, folder_of(choice), settings.model.adapter or None)]
    sheets = [book.sheet(mark) for mark in marks]
    if wrong := [why for s in sheets if (why := s.problem or s.stale(version))]:
        raise SetupError(f"{wrong[0]} (`heed calibrate DATA.jsonl`).")
    used = [f"#{name}" for s in sheets for prompt, name in s.entries if prompt == version]
    return f"{version} on {', '.join(used)}" if used else "no: `heed calibrate DATA.jsonl` does it"


def _sizes(work: _Work) -> str:
    labelled = [row for row in work.rows if row.label is not None]
    if not labelled:
        return "on empty messages alone"
    out = sum(held_out(row.id) for row in labelled)
    return f"{len(labelled) - out} rows to fit and {out} to judge"


# -- rows ----------------------------------------------------------------------------------------


def _rows(file: Path, task: Task, limit: int | None, *, probe: bool) -> list[Row]:
    """Read rows and see that they are enough. Raises SetupError."""
    sheet = read(file, task.name, limit)
    rows = [r for r in sheet.rows if r.label is not None or (probe and _flagged(r))]
    labels = Counter(row.label for row in rows if row.label is not None)
    if strange := sorted(set(labels) - set(task.labels)):
        raise SetupError(
            f"{file.name} has the label {strange[0]}, and the task {task.name} knows "
            f"{', '.join(task.labels)}: mend the file, or name another task by --task."
        )
    if (count := sum(labels.values())) < ROWS:
        raise SetupError(
            f"{file.name} has {count} rows with a label of {task.name}: calibrating needs at "
            f"least {ROWS}."
        )
    for label in task.labels:
        halves = {held_out(row.id) for row in rows if row.label == label}
        if len(halves) < 2:
            raise SetupError(
                f"{file.name} has {labels[label]} rows labelled {label}, too few to fit on some "
                "and judge on others: add more of them."
            )
    return rows


def _flagged(row: Row) -> bool:
    return any(name in row.flags for name in probing.YES_NO)


@contextmanager
def _bar(total: int) -> Iterator[OnRow]:
    """Show progress on stderr where a person watches it."""
    if not sys.stderr.isatty() or not total:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("reading", total=total)
        yield lambda: bar.advance(row)


# -- fitting -------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class _Tables:
    """What is told of every instrument, row by row."""

    figures: list[tuple[str, ...]] = field(default_factory=list)
    biases: list[tuple[str, ...]] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    said: list[str] = field(default_factory=list)

    def compare(self, name: str, temperature: str, before: Figures, after: Figures) -> None:
        """Add one line of figures before and after."""
        pairs = [
            (f"{before.log_loss:.3f}", f"{after.log_loss:.3f}"),
            *(
                (_share(getattr(before, key)), _share(getattr(after, key)))
                for key in ("ece", "accuracy", "macro_f1")
            ),
        ]
        self.figures.append((name, temperature, *(f"{a} → {b}" for a, b in pairs)))

    def lean(self, name: str, bias: Mapping[str, float]) -> None:
        """Add the biases of one instrument."""
        self.labels = tuple(bias)
        self.biases.append((name, *(f"{value:+.2f}" for value in bias.values())))

    def lines(self) -> Iterator[str]:
        """Yield all of it as text."""
        if self.figures:
            note = "percent but the log loss; before → after"
            caption = "On the rows that judge"
            yield from Table(
                caption=caption, head=_HEAD, rows=tuple(self.figures), note=note
            ).lines()
        if self.biases:
            head = ("", *self.labels)
            yield from Table(caption="Bias", head=head, rows=tuple(self.biases)).lines()
        yield from self.said


def _share(value: float) -> str:
    return percent(value if math.isfinite(value) else None)


def _entry(work: _Work, heard: Heard, tables: _Tables, at: float) -> Entry | None:
    """Fit one instrument and judge it; None where it is told better without."""
    name, prior = f"#{heard.instrument}", heard.prior
    if not work.rows:
        bias = dict(zip(heard.labels, prior.tolist(), strict=True))
        tables.lean(name, bias)
        return Entry(calibration=Calibration(temperature=1.0, bias=bias, made_at=at))
    own, truth = _labelled(heard)
    trial = cal.attempt(heard.labels, heard.scores[own], truth, heard.out[own], prior)
    tables.compare(name, f"{trial.temperature:.2f}", trial.before, trial.after)
    tables.lean(name, trial.bias)
    if not trial.won:
        tables.said.append(f"{name}: no better on rows that judge, so its scores stay as they are.")
        return None
    return Entry(calibration=trial.calibration(at))


def _labelled(heard: Heard) -> tuple[Bools, Ints]:
    """Return which rows have a label, (n,), and the labels of these."""
    own = np.array([row.label is not None for row in heard.rows], bool)
    names = [row.label for row in heard.rows if row.label is not None]
    return own, np.array([heard.labels.index(name) for name in names], np.int64)


# -- the probe -----------------------------------------------------------------------------------


async def _with_probe(
    heard: Heard, entry: Entry | None, tables: _Tables, at: float
) -> Entry | None:
    """Fit a head for the label and for each flag; add those that won on the rows that judge."""
    if heard.states is None:
        raise SetupError(
            "--probe needs a model of the Llama, Mistral or Qwen family: the hidden states of "
            "others cannot be seen here."
        )
    own, truth = _labelled(heard)
    plain = Calibration(
        temperature=1.0,
        bias=dict.fromkeys(heard.labels, 0.0),
        made_at=at,
        rows=int((own & ~heard.out).sum()),
    )
    ours = plain if entry is None else entry.calibration
    bias = np.array([ours.bias[label] for label in heard.labels])
    now = cal.probabilities(heard.scores, ours.temperature, bias)
    heads: dict[str, Floats] = {}
    if (found := _head(heard, probing.LABEL, own, truth, now[own], tables)) is not None:
        heads[probing.LABEL] = found
    table = await TableTagger().tag_many([row.text for row in heard.rows])
    for name in probing.YES_NO:
        known = np.array([name in row.flags for row in heard.rows], bool)
        flags = np.array([row.flags[name] for row in heard.rows if name in row.flags], np.int64)
        if not _enough(flags, heard.out[known]):
            continue
        p = np.array([getattr(tag, name) or 0.0 for tag in table])[known]
        peer = np.column_stack([1 - p, p])
        if (found := _head(heard, name, known, flags, peer, tables)) is not None:
            heads[name] = found
    return Entry(calibration=ours, heads=heads) if heads else entry


def _enough(flags: Ints, out: Bools) -> bool:
    halves = (flags[out], flags[~out])
    return all(_EACH <= half.sum() <= len(half) - _EACH for half in halves)


def _head(
    heard: Heard, name: str, own: Bools, truth: Ints, peer: Floats, tables: _Tables
) -> Floats | None:
    """Fit one head on its own rows and judge it beside `peer` (n, kinds); None where it lost."""
    states, out = cast(Floats, heard.states)[own], heard.out[own]
    weights = probing.fit(states[~out], truth[~out], peer.shape[1])
    told, peer, right = probing.read(weights, states[out]), peer[out], truth[out]
    before, after = cal.judge(np.clip(peer, 1e-6, 1.0), right), cal.judge(told, right)
    tables.compare(f"#{heard.instrument}, probe: {name}", "", before, after)
    won = after.log_loss < min(before.log_loss, _constant(truth[~out], right, peer.shape[1]))
    if name != probing.LABEL:  # an alarm must rank better, too: a rate alone can win on log loss
        won = won and _precision(right, told) > _precision(right, peer)
    rest = "what is told without it" if name == probing.LABEL else "the table's"
    tables.said.append(
        f"#{heard.instrument}: the probe for {name} "
        f"{'is used in the place of' if won else 'is left out, no better than'} {rest}."
    )
    return weights if won else None


def _constant(seen: Ints, right: Ints, kinds: int) -> float:
    """Return the log loss of always telling how frequent each kind was."""
    shares = (np.bincount(seen, minlength=kinds) + 0.5) / (len(seen) + 0.5 * kinds)
    return float(-np.log(shares[right]).mean())


def _precision(right: Ints, told: Floats) -> float:
    """Return the average precision of the second kind."""
    return float(average_precision(*Ranking.of(right, told[:, 1]).above()))
