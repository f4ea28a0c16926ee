"""A sheet of cells from a CSV file, as any office program or shop exports it, and back to disk.

The operator's cells pass through as they are. What is written is whole or not there at all.
"""

from __future__ import annotations

import codecs
import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from core.errors import SetupError

DELIMITERS = ",;\t|"
_LARGEST_CELL = 64 * 1024 * 1024
_SAMPLE = 64 * 1024  # bytes looked at to know the encoding and the delimiter
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how xlsx, ods and xls begin

Row = list[str]


@dataclass(kw_only=True, slots=True)
class Sheet:
    """A header and rows, all of one width; `numbers` are those of a spreadsheet, header 1."""

    name: str
    encoding: str
    delimiter: str
    header: Row
    rows: list[Row] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)  # numbers of rows that had too few cells
    long: list[int] = field(default_factory=list)  # and too many: the header got empty names

    def drop(self, names: Iterable[str]) -> list[str]:
        """Take out the columns of these names, and return those that were there."""
        gone = {i for i, name in enumerate(self.header) if name in set(names)}
        dropped = [self.header[i] for i in sorted(gone)]
        if gone:
            for row in (self.header, *self.rows):
                row[:] = [cell for i, cell in enumerate(row) if i not in gone]
        return dropped


def read_sheet(source: Path, encoding: str | None = None, stdin: IO[str] | None = None) -> Sheet:
    """Read a file, or `stdin` for the path "-", whole.

    Raises SetupError with the line that cannot be used.
    """
    if str(source) == "-":
        stream = stdin or sys.stdin
        raw = getattr(stream, "buffer", None)
        data = raw.read() if raw is not None else stream.read().encode()
        return _read("stdin", BytesIO(data), encoding)
    try:
        with source.open("rb") as file:
            return _read(source.name, file, encoding)
    except OSError as error:
        raise SetupError(f"{source} cannot be read: {error.strerror or error}.") from error


def _read(name: str, file: BinaryIO, encoding: str | None) -> Sheet:
    start = file.read(_SAMPLE)
    if not start.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise SetupError(f"{name} is empty: give a CSV file with a header line.")
    if start.startswith(_WORKBOOKS):
        raise SetupError(f"{name} is a workbook of a spreadsheet program: save it as CSV (UTF-8).")
    known = _encoding(start, encoding)
    sample = codecs.getincrementaldecoder(known)(errors="replace").decode(start)
    delimiter = _delimiter(sample, cut=len(start) == _SAMPLE)
    file.seek(0)
    text = TextIOWrapper(file, known, newline="")
    try:
        with _large_cells():
            return _sheet(name, known, delimiter, text)
    except UnicodeError:
        raise SetupError(_not_text(name, file, known, chosen=bool(encoding))) from None
    finally:
        text.detach()


def _encoding(start: bytes, asked: str | None) -> str:
    if asked:
        try:
            "".encode(asked)  # refuses what is no encoding of text, such as hex
            found = codecs.lookup(asked).name
        except (LookupError, ValueError):
            raise SetupError(
                f"--encoding {asked} is no encoding of text: write e.g. utf-8, gb18030, big5, "
                "shift_jis, cp1251 or utf-16."
            ) from None
        bom = found == "utf-8" and start.startswith(codecs.BOM_UTF8)
        return "utf-8-sig" if bom else found
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    if start.count(0) > len(start) // 10:  # UTF-16 without its mark: every letter has a zero
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return "utf-8"


def _not_text(name: str, file: BinaryIO, encoding: str, *, chosen: bool) -> str:
    """Say on which line the first bytes lie that are not of the encoding."""
    file.seek(0)
    raw = file.read()
    line = 1
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as error:
        line += raw[: error.start].decode(encoding, "replace").count("\n")
    if chosen:
        return f"{name}, line {line} is not {encoding}: name another --encoding."
    shown = "UTF-16" if encoding.startswith("utf-16") else "UTF-8"
    return (
        f"{name}, line {line} is not {shown}: save the file as UTF-8, or name its encoding; a file "
        "from a Chinese Excel wants --encoding gb18030."
    )


@contextmanager
def _large_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _delimiter(sample: str, *, cut: bool) -> str:
    """Return the delimiter by which most of the first rows have as many cells as the header.

    `cut`: the sample may end within a row.
    """
    best, found = (0.0, 0), ","
    for one in DELIMITERS:
        with _large_cells():
            rows = list(islice(csv.reader(StringIO(sample, ""), delimiter=one), 50))
        full = [row for row in (rows[:-1] if cut else rows) if row]
        width = len(full[0]) if full else 0
        if width > 1:
            fit = sum(len(row) == width for row in full) / len(full), width
            best, found = (fit, one) if fit > best else (best, found)
    return found


def _sheet(name: str, encoding: str, delimiter: str, text: Iterable[str]) -> Sheet:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    number, named = 0, 0
    sheet: Sheet | None = None
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise SetupError(
                f"{name}, line {line} is no CSV ({error}): mend the quotes in the row that begins "
                "there."
            ) from None
        if row is None:
            break
        number += 1
        if sheet is not None and row:
            _add(sheet, row, number, named)
        elif row:
            sheet = Sheet(name=name, encoding=encoding, delimiter=delimiter, header=row)
            named = len(row)
    if sheet is None:
        raise SetupError(f"{name} is empty: give a CSV file with a header line.")
    width = len(sheet.header)
    for row in sheet.rows:
        row.extend([""] * (width - len(row)))
    return sheet


def _add(sheet: Sheet, row: Row, number: int, named: int) -> None:
    """Keep a row, whatever its width; empty cells at the end beyond the header are nothing."""
    while len(row) > named and not row[-1]:
        row.pop()
    if len(row) < named:
        sheet.short.append(number)
    elif len(row) > named:
        sheet.long.append(number)
        sheet.header.extend([""] * (len(row) - len(sheet.header)))
    sheet.rows.append(row)
    sheet.numbers.append(number)


# -- back to disk --------------------------------------------------------------------------------


def check_target(source: Path, target: Path, *, force: bool) -> None:
    """See that the result can be written before time is spent on it. Raises SetupError."""
    if target.exists() and source.exists() and target.samefile(source):
        raise SetupError(f"{target} is the file to read: name another one to write.")
    if str(target) == "-" or target.is_dir() or not target.absolute().parent.is_dir():
        raise SetupError(f"{target} cannot be written: name a file in a folder that exists.")
    if target.exists() and not force:
        raise SetupError(f"{target} exists already: name another file, or add --force.")


def write_sheet(
    sheet: Sheet, target: Path, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Write a header and rows as the sheet was written, to a file beside the target; rename it.

    Raises SetupError; then the target is as it was.
    """
    target = target.resolve()  # a link stays one
    part = target.with_name(f".heed-{os.getpid()}.part")
    try:
        # what the encoding lacks can only be in cells that were added
        with part.open("x", encoding=sheet.encoding, errors="replace", newline="") as file:
            writer = csv.writer(file, delimiter=sheet.delimiter)
            writer.writerow(header)
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise SetupError(f"{target.name} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
