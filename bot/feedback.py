"""`heed tag --csv IN OUT`: a feedback export with its tags, and who needs a person first.

Every row is judged as if it were the first message of a conversation, by the rules of the walk.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from bot.replay import first_decision, policies
from bot.sheets import Sheet, check_target, read_sheet, write_sheet
from bot.tagging import Asked, Heard, ask, label_of, leaving_at_once, open_ears, progress, tag_of
from core.errors import EngineError, SetupError
from core.escalation import RULES

if TYPE_CHECKING:
    from bot.settings import Settings
    from core.message import Scores

_TAGS = ("label", "intensity", "confidence", "strong", "wants_human", "threat_to_leave", "crisis")
COLUMNS = ("heed_row", *(f"heed_{name}" for name in _TAGS), "heed_person", "heed_why")
SHORT_COLUMNS = ("heed_label", "heed_confidence")  # of another task
NAMES = (  # of the column that holds the text, the likeliest first
    *("text", "message", "comment", "comments", "feedback", "review", "body", "content"),
    *("message text", "comment text", "review text", "feedback text", "review body", "remarks"),
    *("messages", "reviews", "response", "answer", "description", "note", "notes", "opinion"),
    *("评论", "内容", "反馈", "留言", "消息", "评论内容", "反馈内容", "留言内容", "消息内容"),
    *("评价", "评价内容", "意见", "建议", "文本", "正文", "用户反馈", "用户评论", "描述"),
    *("評論", "內容", "反饋", "訊息", "評價", "意見", "回饋"),
    *("comentario", "comentarios", "mensaje", "texto", "opinión", "reseña"),
    *("сообщение", "отзыв", "комментарий", "текст"),
)
_SAMPLED = 200
_HAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LINK = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+")


@dataclass(kw_only=True, slots=True)
class Tagged:
    """What one row got: its cells in the order of the columns, and what the summary counts."""

    cells: list[str]
    label: str = ""
    lang: str = ""
    intensity: float | None = None
    rule: str = ""  # that would call a person
    urgency: tuple[float, ...] = ()  # smaller comes first
    error: str = ""


def tag_csv(  # noqa: PLR0913 - the options of one command
    settings: Settings,
    source: Path,
    target: Path,
    *,
    task: str = "",
    column: str | None = None,
    encoding: str | None = None,
    force: bool = False,
    batch: int = 32,
    stdin: IO[str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Tag the rows of `source` ("-": stdin) into `target` and print a summary.

    Returns 1 if any row could not be tagged, else 0. Raises SetupError, PromptError, EngineError;
    then `target` is as it was.
    """
    out, told = stdout or sys.stdout, stderr or sys.stderr
    began = time.perf_counter()
    check_target(source, target, force=force)
    asked = ask(settings, task)
    columns = COLUMNS if asked.whole else SHORT_COLUMNS
    with leaving_at_once():
        sheet = read_sheet(source, encoding, stdin)
        replaced = sheet.drop((*COLUMNS, *SHORT_COLUMNS))
        place = text_column(sheet, column)
        found = asyncio.run(_tagged(asked, sheet, place, batch, told))
        order = sorted(range(len(found)), key=lambda i: found[i].urgency)
        check_target(source, target, force=force)  # somebody else may have written it meanwhile
        rows = (sheet.rows[i] + found[i].cells for i in order)
        write_sheet(sheet, target, [*sheet.header, *columns], rows)
    seconds = time.perf_counter() - began
    lines = summary(sheet, sheet.header[place], found, whole=asked.whole)
    lines += [("replaced", ", ".join(replaced))] if replaced else []
    for name, value in [*lines, ("seconds", f"{seconds:.1f}"), ("written to", str(target))]:
        out.write(_encodable(f"{name:<17}{value}\n", out))
    return int(any(one.error for one in found))


def _encodable(line: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


# -- which column --------------------------------------------------------------------------------


def text_column(sheet: Sheet, asked: str | None) -> int:
    """Return which column holds the text: the one asked for, a usual name, or plainly prose.

    Raises SetupError that lists the columns.
    """
    names = [_folded(name) for name in sheet.header]
    listed = ", ".join(name for name in sheet.header if name) or "none has a name"
    if asked:
        if asked in sheet.header:
            return sheet.header.index(asked)
        if _folded(asked) in names:
            return names.index(_folded(asked))
        raise SetupError(
            f"{sheet.name} has no column {asked}: name one of its columns by --column: {listed}."
        )
    step = max(1, len(sheet.rows) // _SAMPLED)
    sample = sheet.rows[::step][:_SAMPLED]
    usual = [names.index(name) for name in NAMES if name in names]
    usual += [
        i for i, name in enumerate(names) if i not in usual and name.split(" ")[-1] in NAMES[:8]
    ]
    filled = [i for i in usual if any(row[i].strip() for row in sample)]
    if filled or usual:
        return (filled or usual)[0]
    length = [_prose([row[i] for row in sample]) for i in range(len(names))]
    best, *others = sorted(range(len(names)), key=lambda i: -length[i])
    if length[best] > 0 and all(length[best] >= 1.5 * length[i] for i in others[:1]):
        return best
    raise SetupError(
        f"{sheet.name} has no column that is plainly the text: name it by --column: {listed}."
    )


def _folded(name: str) -> str:
    return " ".join(re.split(r"[\s_\-.:/]+", name.strip().casefold())).strip()


def _prose(cells: Sequence[str]) -> float:
    """Return the mean length of cells that read like somebody's words; 0 where most do not."""
    said = [cell.strip() for cell in cells if cell.strip()]
    words = [
        cell for cell in said
        if (" " in cell or _HAN.search(cell)) and not _LINK.fullmatch(cell)
        and sum(map(str.isdigit, cell)) < len(cell) / 3
    ]  # fmt: skip
    if not said or len(words) < 0.6 * len(said) or 2 * len(set(said)) < len(said):
        return 0.0
    # a Chinese character says as much as three letters
    mean = sum(len(cell) + 2 * len(_HAN.findall(cell)) for cell in words) / len(cells)
    return mean if mean >= 12 else 0.0


# -- rows ----------------------------------------------------------------------------------------


async def _tagged(asked: Asked, sheet: Sheet, place: int, batch: int, told: TextIO) -> list[Tagged]:
    found: list[Tagged] = []
    with ExitStack() as stack:
        async with open_ears(asked.settings, asked.book) as ears:
            thresholds = dict(ears.table.table.thresholds)
            row_of = _Rows(asked, thresholds)
            bar = progress(stack, told, len(sheet.rows))
            for start in range(0, len(sheet.rows), batch):
                texts = [row[place] for row in sheet.rows[start : start + batch]]
                spoken = [text for text in texts if text.strip()]
                heard = iter(await ears.hear_each(spoken) if spoken else [])
                for number, text in zip(sheet.numbers[start:], texts, strict=False):
                    one = next(heard) if text.strip() else None
                    found.append(row_of.tagged(number, text, one))
                bar(len(texts))
    return found


class _Rows:
    """Makes the cells of one row."""

    def __init__(self, asked: Asked, thresholds: dict[str, float]) -> None:
        self._whole = asked.whole
        self._policies = policies(asked.settings, thresholds)

    def tagged(self, number: int, text: str, heard: Heard | EngineError | None) -> Tagged:
        """Return what one row gets. `heard` None: there is nothing in it to tag."""
        if not self._whole:
            return self._short(number, text, heard)
        if isinstance(heard, EngineError) or heard is None:
            row = self._judged(number, text, None)
            row.error = str(heard or "")
            if heard is not None:
                row.cells[-1] = "; ".join(filter(None, (row.cells[-1], f"not tagged: {heard}")))
            return row
        return self._judged(number, text, heard[0])

    def _judged(self, number: int, text: str, scores: Scores | None) -> Tagged:
        """Judge a row as a first message; without scores its phrases alone can call a person."""
        decision = first_decision(text, scores, *self._policies)
        shown = {} if scores is None else tag_of(text, scores)
        row = Tagged(cells=[str(number), *(_cell(shown.get(name)) for name in _TAGS)])
        row.cells += ["yes" if decision.open else "no"]
        row.cells += [_cell(f"{decision.rule}: {decision.line}") if decision.open else ""]
        row.rule, row.urgency = decision.rule, (len(RULES), number)
        if decision.open:
            bad = (0.0, 0.0) if scores is None else (-scores.strong, -scores.p_negative)
            row.urgency = (RULES.index(decision.rule), *bad, number)
        if scores is not None:
            row.label, row.lang, row.intensity = scores.label, scores.lang, scores.intensity
        return row

    def _short(self, number: int, text: str, heard: Heard | EngineError | None) -> Tagged:
        row = Tagged(cells=["", ""], urgency=(number,))
        if isinstance(heard, EngineError):
            row.error = str(heard)
        elif heard is not None and heard[1] is not None:
            shown = label_of(text, heard[1])
            row.label, row.lang = shown["label"] or "", shown["lang"]
            row.cells = [_cell(row.label), _cell(shown["confidence"])]
        return row


def _cell(value: float | str | None) -> str:
    """Write one value; words that a spreadsheet would run as a formula get an apostrophe."""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = value or ""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


# -- the summary ---------------------------------------------------------------------------------


def summary(
    sheet: Sheet, column: str, found: Sequence[Tagged], *, whole: bool
) -> list[tuple[str, str]]:
    """Return what was found, as names and values to print."""
    rules = Counter(one.rule for one in found if one.rule)
    strengths = [one.intensity for one in found if one.intensity is not None]
    errors = [one.error for one in found if one.error]
    lines = [("text", f"column {column} of {sheet.name}"), ("rows", f"{len(found):,}")]
    lines += [("labels", _counted(Counter(one.label for one in found if one.label)))]
    lines += [("languages", _counted(Counter(one.lang for one in found if one.lang)))]
    if whole:
        reasons = ", ".join(f"{rule} {rules[rule]:,}" for rule in RULES if rules[rule])
        persons = f"{sum(rules.values()):,}" + (f": {reasons}" if reasons else "")
        mean = f"{sum(strengths) / len(strengths):+.2f}" if strengths else "-"
        lines += [("person needed", persons), ("mean intensity", mean)]
    empty = sum(not one.label and not one.error for one in found)
    lines += [("empty", f"{empty:,}")]
    lines += [("too few cells", _numbered(sheet.short))] if sheet.short else []
    lines += [("too many cells", _numbered(sheet.long))] if sheet.long else []
    lines += [("not tagged", f"{len(errors):,}: {errors[0]}")] if errors else []
    return lines


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common()) or "-"


def _numbered(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
    return f"{len(rows):,}: {'row' if len(rows) == 1 else 'rows'} {shown}"
