"""Labelled rows from a JSONL or CSV file, plain or gzip; a bad row is named by its line.

A row is {"text"} and at least one label: `label` (or a column named after the task), `intensity`,
or 0/1 in one of the yes/no columns. `id`, `lang` and `source` are optional.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.engine.embedded.language import language
from core.engine.embedded.table import CLASSES, TASK
from core.errors import SetupError

FLAGS: Mapping[str, tuple[str, ...]] = {  # what we call it: the columns that may hold it
    "strong": ("strong",),
    "wants_human": ("wants_human", "handoff"),
    "threat_to_leave": ("threat_to_leave", "churn"),
    "crisis": ("crisis",),
    "distress": ("distress",),
}
_COLUMNS = ("label", "intensity", *(name for names in FLAGS.values() for name in names))
_YES = {"1": 1, "true": 1, "yes": 1, "1.0": 1, "0": 0, "false": 0, "no": 0, "0.0": 0}
_NONE = {"", "null", "none", "nan"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One labelled text. `label` and `intensity` None: not labelled; `flags` holds the known."""

    id: str
    text: str
    lang: str
    source: str = ""
    label: str | None = None
    intensity: float | None = None  # -1..1
    flags: Mapping[str, int] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether anything is said about this text at all."""
        return self.label is not None or self.intensity is not None or bool(self.flags)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """The rows to judge by, and how many the file has with and without any label."""

    rows: tuple[Row, ...]
    found: int
    unlabelled: int


def read(path: Path, task: str = TASK, limit: int | None = None) -> Sheet:
    """Read a file whole; with `limit` keep so many labelled rows, evenly spread over the file.

    Raises SetupError with the number of the line that cannot be used.
    """
    try:
        with _open(path) as raw:
            records = _csv if ".csv" in path.suffixes[-2:] else _jsonl
            rows = [_Reader(path.name, n, task).row(record) for n, record in records(path, raw)]
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise SetupError(f"{path} cannot be read ({why}): check the file.") from error
    good = [row for row in rows if row.labelled]
    if not rows:
        raise SetupError(f"{path.name} has no rows: give one text with its labels a line.")
    if not good:
        raise SetupError(
            f"{path.name} labels nothing: fill `label` or one of {', '.join(FLAGS)} in its rows."
        )
    kept = good
    if limit is not None and limit < len(good):
        kept = [good[i * len(good) // limit] for i in range(limit)]
    return Sheet(rows=tuple(kept), found=len(rows), unlabelled=len(rows) - len(good))


def _open(path: Path) -> Any:  # noqa: ANN401 - a file of bytes
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path, raw: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(raw, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise SetupError(
                f"{path.name}, line {number} is not UTF-8: save the file as UTF-8."
            ) from None


def _jsonl(path: Path, raw: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_lines(path, raw), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise SetupError(
                f"{path.name}, line {number} is no JSON object: write one object a line, or name "
                "a CSV file .csv."
            )
        yield number, record


def _csv(path: Path, raw: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read CSV with a header; it may separate by comma, semicolon or tab."""
    lines = _lines(path, raw)
    header = next(lines, "")
    comma = max(",;\t", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=comma), [])]
    if names and "text" not in names:
        raise SetupError(f"{path.name} has no column `text`: name it in the first line.")
    reader = csv.DictReader(lines, names, delimiter=comma, strict=True)
    records = iter(reader)
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            line = reader.reader.line_num + 1  # the header is read apart
            raise SetupError(
                f"{path.name}, line {line} is no CSV ({error}): mend its quotes."
            ) from None
        if None in record:
            raise SetupError(
                f"{path.name}, line {reader.line_num + 1} has more fields than the header: put a "
                "text with separators in quotes."
            )
        yield reader.line_num + 1, record


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one record; every complaint names the file and the line."""

    file: str
    number: int
    task: str

    def row(self, record: Mapping[str, Any]) -> Row:
        text = record.get("text")
        if not isinstance(text, str):
            raise self._bad("has no `text`: give it a string")
        if not any(name in record for name in (*_COLUMNS, self.task)):
            raise self._bad(f"has no label: give it `label` or one of {', '.join(FLAGS)}")
        flags = {name: self._flag(record, FLAGS[name]) for name in FLAGS}
        return Row(
            id=str(record.get("id") or self.number),
            text=text,
            lang=str(record.get("lang") or language(text)),
            source=str(record.get("source") or ""),
            label=self._label(record),
            intensity=self._intensity(record.get("intensity")),
            flags={name: flag for name, flag in flags.items() if flag is not None},
        )

    def _label(self, record: Mapping[str, Any]) -> str | None:
        own = self.task != TASK and self.task in record
        value = record.get(self.task if own else "label")
        if value is None or (isinstance(value, str) and value.strip().lower() in _NONE):
            return None
        if not isinstance(value, str):
            raise self._bad("has a label that is no text: write its name")
        label = value.strip()
        if self.task == TASK and (label := label.lower()) not in CLASSES:
            raise self._bad(f"has the label {value[:40]!r}: write {', '.join(CLASSES)}")
        return label

    def _flag(self, record: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
        for name in names:
            value = str(record.get(name, "")).strip().lower()
            if value in _NONE:
                continue
            if value not in _YES:
                raise self._bad(f"has {value[:40]!r} in `{name}`: write 1, 0 or nothing")
            return _YES[value]
        return None

    def _intensity(self, value: object) -> float | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in _NONE):
            return None
        number = _number(value)
        if not -1.0 <= number <= 1.0:  # nan is not, either
            raise self._bad("has an `intensity` that is no number from -1 to 1: mend or empty it")
        return number

    def _bad(self, what: str) -> SetupError:
        return SetupError(f"{self.file}, line {self.number} {what}.")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
