"""`heed tag`: one line in, one tag out, in the same order; a bad line never ends the run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from core.engine.embedded.table import TableTagger
from core.engine.ports import Tagger
from core.errors import EngineError
from core.message import Scores, Tagging
from core.sentiment import combine
from core.triggers import match

if TYPE_CHECKING:
    from bot.settings import Settings

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
    model: Tagger | None = None

    async def hear(self, texts: Sequence[str]) -> list[tuple[Scores, Tagging | None]]:
        """Score each text, in order, and return what the model read. Raises EngineError."""
        read = await self.table.tag_many(texts)
        tags: Sequence[Tagging | None] = [None] * len(texts)
        if self.model is not None:
            tags = await self.model.tag_many(texts)
        return [
            (combine(text, tag, table), tag)
            for text, tag, table in zip(texts, tags, read, strict=True)
        ]


class _Engine(Tagger, Protocol):
    async def warm_up(self) -> None: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def open_ears(settings: Settings) -> AsyncIterator[Ears]:
    """Load the table and, where one is configured, the model. Raises SetupError, EngineError."""
    engine = engine_for(settings)
    if engine is None:
        yield Ears()
        return
    try:
        await engine.warm_up()
        yield Ears(model=engine)
    finally:
        await engine.close()


def engine_for(settings: Settings) -> _Engine | None:
    """Return the configured model, not warmed up; None: the table is the chosen tagger."""
    from bot.engines import make_tagger

    engine = make_tagger(settings)
    return None if isinstance(engine, TableTagger) else cast("_Engine", engine)


def tag(
    settings: Settings,
    batch: int = 32,
    explain: bool = False,  # noqa: FBT001, FBT002
    *,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Tag every line of `stdin`; return 1 if any line failed, else 0.

    A line is plain text, or JSON {"id", "text"}; without an id its number is the id. Raises
    SetupError and EngineError when nothing can be tagged at all.
    """
    streams = (stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)
    before = signal.signal(signal.SIGINT, _end_at_once)
    try:
        return asyncio.run(_tag(settings, batch, explain, streams))
    finally:
        signal.signal(signal.SIGINT, before)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    """Answer Ctrl-C. asyncio's own way waits for the task, which waits for a line."""
    raise KeyboardInterrupt


async def _tag(
    settings: Settings,
    batch: int,
    explain: bool,  # noqa: FBT001
    streams: tuple[TextIO, TextIO, TextIO],
) -> int:
    stdin, stdout, stderr = streams
    failed = False
    size = 1 if stdin.isatty() else batch  # a person sees each answer before the next line
    with ExitStack() as stack:
        async with open_ears(settings) as ears:
            bar = _progress(stack, stdin, stderr)
            lines = read_lines(stdin)
            while some := list(islice(lines, size)):
                rows = await _rows(ears, some, explain=explain)
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


async def _rows(ears: Ears, lines: list[Line], *, explain: bool) -> list[dict[str, Any]]:
    """Tag the good lines together; when the engine fails, each alone, to spare the others."""
    good = [line for line in lines if not line.error]
    try:
        heard = dict(zip(map(id, good), await ears.hear([x.text for x in good]), strict=True))
    except EngineError as error:
        if len(good) > 1:
            return [row for x in lines for row in await _rows(ears, [x], explain=explain)]
        return [{"id": x.id, "error": x.error or str(error)} for x in lines]
    rows: list[dict[str, Any]] = []
    for line in lines:
        if line.error:
            rows.append({"id": line.id, "error": line.error})
            continue
        scores, tagging = heard[id(line)]
        rows.append({"id": line.id} | _tag_of(line.text, scores))
        if explain:
            rows[-1]["explain"] = _explained(ears, line.text, tagging)
    return rows


def _tag_of(text: str, scores: Scores) -> dict[str, Any]:
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


class _Bar(Protocol):
    def __call__(self, size: int, /) -> None: ...


def _progress(stack: ExitStack, stdin: TextIO, stderr: TextIO) -> _Bar:
    """Show a bar on stderr where a person watches it and does not type the lines.

    Its end is known when stdin is a file.
    """
    if not stderr.isatty() or stdin.isatty():
        return lambda _size: None
    from rich.console import Console
    from rich.progress import Progress

    bar = stack.enter_context(Progress(console=Console(file=stderr), transient=True))
    task = bar.add_task("tagging", total=_size_of(stdin))
    return lambda size: bar.advance(task, size)


def _size_of(stream: TextIO) -> int | None:
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
