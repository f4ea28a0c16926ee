"""`heed tag`: one line in, one tag out, in the same order; a bad line never ends the run.

Any label task can be asked for: one of the prompt book by its name, or a task file anywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from core.engine.embedded.language import language
from core.engine.embedded.table import TASK, TableTagger
from core.engine.ports import Tagger
from core.errors import EngineError, PromptError
from core.message import Scores, Tagging
from core.prompts import PromptBook, Task
from core.prompts.files import read_task
from core.sentiment import combine
from core.triggers import match

if TYPE_CHECKING:
    from bot.settings import Settings

Heard = tuple[Scores, Tagging | None]

_CERTAIN = 0.99  # what a matched phrase is worth beside a score
_HEADS = ("strong", "wants_human", "threat_to_leave", "crisis")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of input: what to tag, or why that cannot be done."""

    id: str | float
    text: str = ""
    error: str = ""
    size: int = 0  # bytes, for the progress bar


@dataclass(frozen=True, kw_only=True)
class Ears:
    """What hears texts: the table always, and the configured model where there is one."""

    table: TableTagger = field(default_factory=TableTagger)
    model: Tagger | None = None  # the table itself, where it does another task than sentiment
    task: str | None = None  # of the model; None: the configured tag task

    async def hear(self, texts: Sequence[str]) -> list[Heard]:
        """Score each text, in order, and return what the model read. Raises EngineError."""
        read = await self.table.tag_many(texts)
        tags: Sequence[Tagging | None] = [None] * len(texts)
        if self.model is not None:
            tags = await self.model.tag_many(texts, self.task)
        return [
            (combine(text, tag, table), tag)
            for text, tag, table in zip(texts, tags, read, strict=True)
        ]

    async def hear_each(self, texts: Sequence[str]) -> list[Heard | EngineError]:
        """Hear texts together; when the engine fails, each alone, to spare the others."""
        try:
            return list(await self.hear(texts))
        except EngineError as error:
            if len(texts) == 1:
                return [error]
        return [one for text in texts for one in await self.hear_each([text])]


class _Engine(Tagger, Protocol):
    async def warm_up(self) -> None: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def open_ears(settings: Settings, book: PromptBook | None = None) -> AsyncIterator[Ears]:
    """Load the table and, where one is configured, the model; both tag by `prompts.tag`.

    `book`: other prompt files than the configured ones. Raises SetupError, PromptError,
    EngineError.
    """
    engine = engine_for(settings, book)
    if engine is None:
        table, task = TableTagger(), settings.prompts.tag
        yield Ears(table=table) if task == TASK else Ears(table=table, model=table, task=task)
        return
    try:
        await engine.warm_up()
        yield Ears(model=engine)
    finally:
        await engine.close()


def engine_for(settings: Settings, book: PromptBook | None = None) -> _Engine | None:
    """Return the configured model, not warmed up; None: the table is the chosen tagger."""
    from bot.engines import make_tagger

    engine = make_tagger(settings, book)
    return None if isinstance(engine, TableTagger) else cast("_Engine", engine)


# -- tasks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What to tag by: the settings with that task in them, and the prompt files with it."""

    settings: Settings
    book: PromptBook
    whole: bool  # the tag that the walk would make, with its heads; else the task's label alone


def ask(settings: Settings, task: str = "") -> Asked:
    """Understand `--task`: empty, the name of a task, or a task file. Raises PromptError."""
    from bot.engines import make_book

    own = None
    if task.endswith(".toml") or "/" in task or os.sep in task:
        own = _read_file(Path(task))
        _check_table(settings, own)
    name = own.name if own else task or settings.prompts.tag
    whole = name in (settings.prompts.tag, TASK)
    prompts = settings.prompts.model_copy(update={"tag": name})
    settings = settings.model_copy(update={"prompts": prompts})
    book = make_book(settings) if own is None else _BookWith(own, settings.prompts.dir)
    book.task()
    wrong = [why for why in book.problems() if why.startswith(f"{name}.toml")]
    if task and own is None and wrong:  # who asks for a task by name means the file as it stands
        raise PromptError(wrong[0])
    return Asked(settings=settings, book=book, whole=whole)


def _read_file(path: Path) -> Task:
    try:
        return read_task(path.stem, path.read_bytes())
    except OSError as error:
        why = error.strerror or error
        raise PromptError(f"The task file {path} cannot be read: {why}.") from error


def _check_table(settings: Settings, own: Task) -> None:
    """The table has its own labels: a file of a name that it knows cannot give it others."""
    from bot.models import choose_half

    shipped = PromptBook()
    if choose_half(settings, "tag").kind != "embedded" or own.name not in shipped.names():
        return
    labels = shipped.task(own.name).labels
    if set(labels) != set(own.labels):
        raise PromptError(
            f"{own.name}.toml has other labels than the embedded table's {own.name} "
            f"({', '.join(labels)}): choose a model by model.name for that task."
        )


class _BookWith(PromptBook):
    """The operator's prompt files, and one task from elsewhere that tags."""

    def __init__(self, own: Task, folder: Path | None) -> None:
        self._own = own
        super().__init__(folder, own.name, clock=time.monotonic)

    def task(self, name: str | None = None) -> Task:  # type: ignore[explicit-override]
        """Return the task from elsewhere, or another one. Raises PromptError."""
        return self._own if name in (None, self._own.name) else super().task(name)

    def problems(self) -> list[str]:  # type: ignore[explicit-override]
        """Return what is wrong with the other files."""
        return [why for why in super().problems() if not why.startswith(f"{self._own.name}.toml")]


# -- the run -------------------------------------------------------------------------------------


def tag(  # noqa: PLR0913 - what to tag by, and the streams
    settings: Settings,
    batch: int = 32,
    explain: bool = False,  # noqa: FBT001, FBT002
    *,
    task: str = "",
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Tag every line of `stdin`; return 1 if any line failed, else 0.

    A line is plain text, or JSON {"id", "text"}; without an id its number is the id. `task` is
    the name of a task or a task file. Raises SetupError, PromptError and EngineError when nothing
    can be tagged at all.
    """
    streams = (stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)
    with leaving_at_once():
        return asyncio.run(_tag(ask(settings, task), batch, explain, streams))


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the work inside. asyncio's own way waits for a task, which may never wait."""
    before = signal.signal(signal.SIGINT, _end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


async def _tag(
    asked: Asked,
    batch: int,
    explain: bool,  # noqa: FBT001
    streams: tuple[TextIO, TextIO, TextIO],
) -> int:
    stdin, stdout, stderr = streams
    failed = False
    size = 1 if stdin.isatty() else batch  # a person sees each answer before the next line
    with ExitStack() as stack:
        async with open_ears(asked.settings, asked.book) as ears:
            watched = stderr.isatty() and not stdin.isatty()  # and nobody types the lines
            bar = progress(stack, stderr, _size_of(stdin)) if watched else _no_bar
            task = "" if asked.whole else asked.book.tag
            lines = read_lines(stdin)
            while some := list(islice(lines, size)):
                rows = await _rows(ears, some, explain=explain, task=task)
                failed = failed or any("error" in row for row in rows)
                stdout.writelines(f"{dump(row, stdout)}\n" for row in rows)
                stdout.flush()
                bar(sum(line.size for line in some))
    return int(failed)


# -- lines ---------------------------------------------------------------------------------------


def read_lines(stream: TextIO) -> Iterator[Line]:
    """Read lines as they come; bytes that are no UTF-8 spoil their own line only."""
    raw: Iterable[bytes | str] = getattr(stream, "buffer", stream)
    for number, line in enumerate(raw, start=1):
        size = len(line)
        try:
            text = line.decode() if isinstance(line, bytes) else line
        except UnicodeDecodeError:
            yield Line(id=number, error=f"line {number} is not UTF-8", size=size)
            continue
        text = text.rstrip("\r\n")
        yield _line(number, text.removeprefix("\ufeff") if number == 1 else text, size)


def _line(number: int, text: str, size: int) -> Line:
    if not text.lstrip().startswith("{"):
        return Line(id=number, text=text, size=size)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return Line(id=number, error=f"line {number} is not valid JSON", size=size)
    name = row.get("id", number)
    if not isinstance(name, (str, int, float)) or isinstance(name, bool):
        return Line(id=number, error="id must be a text or a number", size=size)
    if not isinstance(row.get("text"), str):
        return Line(id=name, error='a JSON line needs "text", a string', size=size)
    return Line(id=name, text=row["text"], size=size)


def dump(row: dict[str, Any], stream: TextIO) -> str:
    """Write one row as JSON that `stream` can encode, whatever characters are in it."""
    plain = json.dumps(row, ensure_ascii=False)
    try:
        plain.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(row)
    return plain


# -- rows ----------------------------------------------------------------------------------------


async def _rows(
    ears: Ears, lines: Sequence[Line], *, explain: bool, task: str = ""
) -> list[dict[str, Any]]:
    """Tag some lines together. `task`: print the label of that task alone."""
    good = [line for line in lines if not line.error]
    heard = iter(await ears.hear_each([line.text for line in good]) if good else [])
    rows: list[dict[str, Any]] = []
    for line in lines:
        found = EngineError(line.error) if line.error else next(heard)
        if isinstance(found, EngineError):
            rows.append({"id": line.id, "error": str(found)})
            continue
        scores, tagging = found
        if task and tagging is not None:
            rows.append({"id": line.id, "task": task} | label_of(line.text, tagging))
        else:
            rows.append({"id": line.id} | tag_of(line.text, scores))
        if explain:
            rows[-1]["explain"] = _explained(ears, line.text, tagging)
    return rows


def label_of(text: str, tagging: Tagging) -> dict[str, Any]:
    """Return what a task found, as it is printed; a text of nothing has no label."""
    best = max(tagging.probs, key=lambda name: tagging.probs[name], default=None)
    if best is None or not text.strip():
        return {"label": None, "probs": {}, "confidence": 0.0, "lang": language(text)}
    return {
        "label": best,
        "probs": {name: round(p, 4) for name, p in tagging.probs.items()},
        "confidence": round(tagging.probs[best] * (1.0 - tagging.doubt), 4),
        "lang": language(text),
    }


def tag_of(text: str, scores: Scores) -> dict[str, Any]:
    """Return the tag as it is printed; matched phrases count beside the scores."""
    triggers = match(text)
    wants, crisis = scores.wants_human, scores.crisis
    if triggers.request:
        wants = max(wants, _CERTAIN)
    if triggers.crisis:
        crisis = max(crisis, _CERTAIN)
    heads = (scores.strong, wants, scores.threat_to_leave, crisis)
    return {
        "label": scores.label,
        "probs": {name: round(p, 4) for name, p in scores.probs.items()},
        "intensity": round(scores.intensity, 4),
        "confidence": round(scores.confidence, 4),
        **{name: round(head, 4) for name, head in zip(_HEADS, heads, strict=True)},
        "lang": scores.lang,
    }


def _explained(ears: Ears, text: str, tagging: Tagging | None) -> dict[str, Any]:
    """Say how a tag was made: by which phrases, which prompts, which features."""
    triggers = match(text)
    phrases = {
        kind: phrase
        for kind in ("request", "crisis", "threat", "money")
        if (phrase := getattr(triggers, kind))
    }
    explained: dict[str, Any] = {"phrases": phrases}
    if tagging is not None:
        explained |= {"instrument": tagging.instrument, "prompt": tagging.prompt}
        explained |= {"doubt": round(tagging.doubt, 4), "made": dict(tagging.made)}
        explained["table"] = {"features": ears.table.table.explain(text)}
    else:
        explained["instrument"] = ears.table.table.instrument
        explained["features"] = ears.table.table.explain(text)
    return explained


# -- progress ------------------------------------------------------------------------------------


class Bar(Protocol):
    """Told how much more is done."""

    def __call__(self, size: int, /) -> None:  # noqa: D102
        ...


def _no_bar(_size: int, /) -> None:
    pass


def progress(stack: ExitStack, stderr: TextIO, total: int | None) -> Bar:
    """Show a bar on stderr where a person watches it; `total` None: its end is not known."""
    if not stderr.isatty():
        return _no_bar
    from rich.console import Console
    from rich.progress import Progress

    bar = stack.enter_context(Progress(console=Console(file=stderr), transient=True))
    task = bar.add_task("tagging", total=total)
    return lambda size: bar.advance(task, size)


def _size_of(stream: TextIO) -> int | None:
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
