from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.feedback import COLUMNS, _cell, _Rows, tag_csv, text_column
from bot.settings import Model, Settings
from bot.sheets import Sheet, read_sheet, write_sheet
from bot.tagging import ask
from core.errors import EngineFailed, SetupError

EMBEDDED = Settings(model=Model(name="embedded"))
ROOT = Path(__file__).parents[2]
SAID = [
    ["id", "Comment", "when"],
    ["1", "thank you 🎉", "monday"],
    ["2", 'two\r\nlines, "quoted"', "monday"],
    ["3", "我要转人工", "tuesday"],
    ["4", " ", "tuesday"],
    ["5", "I want to kill myself", "tuesday"],
    ["6", "=1+1", "-5"],
]  # fmt: skip


def save(path: Path, rows: Sequence[Sequence[str]], encoding: str = "utf-8", **form: Any) -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **form).writerows(rows)
    return path


def load(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def run(source: Path, **more: Any) -> tuple[int, str, Path]:
    target, out = source.with_name("out.csv"), io.StringIO()
    code = tag_csv(EMBEDDED, source, target, stdout=out, stderr=io.StringIO(), **more)
    return code, out.getvalue(), target


def column(rows: Sequence[Sequence[str]], name: str) -> list[str]:
    return [row[rows[0].index(name)] for row in rows[1:]]


def test_who_needs_a_person_comes_first_and_the_rest_keeps_its_order(tmp_path: Path) -> None:
    code, _, target = run(save(tmp_path / "in.csv", SAID), batch=2)
    rows = load(target)
    assert code == 0
    assert rows[0] == [*SAID[0], *COLUMNS]
    assert column(rows, "id")[:2] == ["5", "3"]  # danger before a request
    assert [n for n in column(rows, "id") if n in "1246"] == ["1", "2", "4", "6"]
    assert column(rows, "heed_row") == [str(int(n) + 1) for n in column(rows, "id")]
    assert column(rows, "heed_person")[:3] == ["yes", "yes", "no"]
    assert column(rows, "heed_why")[1] == 'request: asked for a person: "转人工"'
    assert column(rows, "heed_why")[2:] == [""] * 4


def test_the_operators_cells_are_passed_through_as_they_are(tmp_path: Path) -> None:
    _, _, target = run(save(tmp_path / "in.csv", SAID))
    rows = load(target)
    assert sorted(row[:3] for row in rows[1:]) == sorted(SAID[1:])


def test_a_row_without_words_is_kept_and_not_tagged(tmp_path: Path) -> None:
    _, out, target = run(save(tmp_path / "in.csv", SAID))
    rows = load(target)
    [row] = [row for row in rows if row[0] == "4"]
    assert row[3:] == ["5", *[""] * 7, "no", ""]
    assert "empty            1\n" in out


@pytest.mark.parametrize("value", ["=cmd()", "+1", "-x", "@sum", "\tx", "\rx"])
def test_cells_that_are_added_are_never_formulas(value: str) -> None:
    assert _cell(value) == f"'{value}"
    assert _cell(-0.5) == "-0.5000"


def test_the_summary_counts_rows_labels_languages_persons_and_seconds(tmp_path: Path) -> None:
    _, out, target = run(save(tmp_path / "in.csv", SAID))
    told = {line[:17].strip(): line[17:] for line in out.splitlines()}
    assert told["text"] == "column Comment of in.csv"
    assert told["rows"] == "6"
    assert told["person needed"] == "2: crisis 1, request 1"
    assert "zh 1" in told["languages"]
    assert sum(int(one.split()[1]) for one in told["labels"].split(", ")) == 5
    assert float(told["mean intensity"])
    assert float(told["seconds"]) >= 0
    assert told["written to"] == str(target)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_and_kept(tmp_path: Path, delimiter: str) -> None:
    _, _, target = run(save(tmp_path / "in.csv", SAID, delimiter=delimiter))
    rows = load(target, delimiter=delimiter)
    assert rows[0] == [*SAID[0], *COLUMNS]
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_is_known_with_and_without_its_mark(tmp_path: Path, encoding: str) -> None:
    source = save(tmp_path / "in.csv", SAID, encoding)
    _, _, target = run(source)
    assert target.read_bytes()[:2] == source.read_bytes()[:2]
    assert column(load(target, encoding), "Comment")[1] == "我要转人工"


def test_a_file_from_a_chinese_excel_wants_its_encoding(tmp_path: Path) -> None:
    source = save(tmp_path / "in.csv", SAID, "gb18030")
    with pytest.raises(SetupError, match=r"in\.csv, line 2 is not UTF-8.*--encoding gb18030"):
        run(source)
    _, _, target = run(source, encoding="gb18030")
    assert column(load(target, "gb18030"), "heed_why")[1].endswith('"转人工"')


def test_the_line_of_bytes_that_are_not_text_is_named_far_down_too(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b"id,text\n" + b"1,hello there\n" * 20_000 + b"2,caf\xe9\n")
    with pytest.raises(SetupError, match="line 20002 is not UTF-8"):
        run(source)
    with pytest.raises(SetupError, match="line 20002 is not ascii"):
        run(source, encoding="ascii")
    with pytest.raises(SetupError, match="no encoding of text"):
        run(source, encoding="hex")


def test_rows_of_another_width_are_kept_aligned_and_told(tmp_path: Path) -> None:
    rows = [["id", "text"], ["1"], ["2", "fine", "more"], ["3", "fine", "", ""], ["4", "fine"]]
    _, out, target = run(save(tmp_path / "in.csv", rows))
    written = load(target)
    assert written[0][:4] == ["id", "text", "", "heed_row"]
    assert [row[:4] for row in written[1:]] == [
        ["1", "", "", "2"], ["2", "fine", "more", "3"], ["3", "fine", "", "4"],
        ["4", "fine", "", "5"],
    ]  # fmt: skip
    assert "too few cells    1: row 2\n" in out
    assert "too many cells   1: row 3\n" in out


def test_tags_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    _, _, first = run(save(tmp_path / "in.csv", SAID))
    code, out, target = run(first.rename(tmp_path / "again.csv"))
    assert code == 0
    assert load(target)[0] == [*SAID[0], *COLUMNS]
    assert "replaced         heed_row, heed_label" in out


def sheet(header: list[str], *rows: list[str]) -> Sheet:
    return Sheet(name="x.csv", encoding="utf-8", delimiter=",", header=header, rows=list(rows))


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        (["id", "Message"], ["1", "hello"], 1),
        (["编号", "评论内容"], ["1", "很好"], 1),
        (["id", "review_text", "title"], ["1", "a", "b"], 1),
        (["id", "Customer Feedback"], ["1", "a"], 1),
        (["text", "message"], ["", "hello"], 1),  # the likelier one is empty
        (["message_id", "comment"], ["8", "a"], 1),
        (["id", "url", "said"], ["1", "https://a.example/b", "it was good for us"], 2),
        (["id", "x", "y"], ["1", "2024-05-05 10:00:00.000", "东西还没有收到呢"], 2),
    ],
)
def test_the_column_of_the_text_is_found(header: list[str], row: list[str], found: int) -> None:
    assert text_column(sheet(header, row), None) == found


def test_the_column_may_be_named_in_any_case() -> None:
    two = sheet(["Text", "Other Thing"], ["a", "b"])
    assert text_column(two, "other thing") == 1
    with pytest.raises(SetupError, match=r"no column nope: name one of .*: Text, Other Thing"):
        text_column(two, "nope")


def test_where_no_column_is_plainly_the_text_the_columns_are_listed() -> None:
    rows = [[str(i), "good for me too", "fine with all of us"] for i in range(4)]
    with pytest.raises(SetupError, match="by --column: id, pro, con"):
        text_column(sheet(["id", "pro", "con"], ["1", "it was very good", "it was very bad"]), None)
    with pytest.raises(SetupError, match="plainly"):  # the same words in every row are no feedback
        text_column(sheet(["id", "a", "b"], *rows), None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", "is empty"),
        (b'id,text\n1,ok\n2,"open\n3,more\n', "line 3 is no CSV"),
        (b'id,text\n1,"two\nlines"\n2,"a"b\n', "line 4 is no CSV"),
        (b"PK\x03\x04...", "workbook"),
    ],
)
def test_a_file_that_is_no_csv_is_told_with_its_line(
    tmp_path: Path, data: bytes, said: str
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(data)
    with pytest.raises(SetupError, match=said):
        run(source)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_blank_lines_are_counted_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"id,text\n\n1,fine\n")
    _, _, target = run(tmp_path / "in.csv")
    assert column(load(target), "heed_row") == ["3"]


def test_a_header_alone_gives_a_header(tmp_path: Path) -> None:
    code, out, target = run(save(tmp_path / "in.csv", SAID[:1]))
    assert (code, load(target)) == (0, [[*SAID[0], *COLUMNS]])
    assert "rows             0\n" in out


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    source = save(tmp_path / "in.csv", SAID)
    (tmp_path / "out.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(SetupError, match="exists already: name another file, or add --force"):
        run(source)
    assert (tmp_path / "out.csv").read_text("utf-8") == "mine"
    _, _, target = run(source, force=True)
    assert len(load(target)) == len(SAID)
    (tmp_path / "link.csv").symlink_to(source)
    for same in (source, tmp_path / "link.csv"):
        with pytest.raises(SetupError, match="is the file to read"):
            tag_csv(EMBEDDED, source, same, force=True)
    assert load(source) == SAID
    with pytest.raises(SetupError, match="folder that exists"):
        tag_csv(EMBEDDED, source, tmp_path / "no" / "x.csv")


@pytest.mark.parametrize("broken", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_that_breaks_leaves_what_was_there(tmp_path: Path, broken: BaseException) -> None:
    def rows() -> Iterator[list[str]]:
        yield ["1"]
        raise broken

    target = tmp_path / "out.csv"
    target.write_text("mine", encoding="utf-8")
    with pytest.raises((SetupError, KeyboardInterrupt)) as told:
        write_sheet(sheet(["text"]), target, ["text"], rows())
    assert str(told.value) in {"", "out.csv cannot be written: No space left on device."}
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text("utf-8") == "mine"


def test_a_row_that_the_engine_fails_on_is_told_and_its_words_still_count() -> None:
    rows = _Rows(ask(EMBEDDED), {})
    row = rows.tagged(7, "talk to a human", EngineFailed("it hung"))
    assert (row.cells[0], row.cells[1], row.cells[-2], row.error) == ("7", "", "yes", "it hung")
    assert row.cells[-1].endswith("; not tagged: it hung")
    assert rows.tagged(8, "hello", EngineFailed("it hung")).cells[-2:] == [
        "no", "not tagged: it hung",
    ]  # fmt: skip


def test_bytes_of_a_pipe_are_read_whole() -> None:
    pipe = io.TextIOWrapper(io.BytesIO("评论;x\n你好;1\n".encode("utf-8-sig")))
    found = read_sheet(Path("-"), None, pipe)
    assert (found.header, found.rows) == (["评论", "x"], [["你好", "1"]])


def test_the_command_reads_stdin_and_ends_with_2_where_it_cannot(tmp_path: Path) -> None:
    def heed(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HEED_MODEL__NAME": "embedded"}  # noqa: TID251
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "bot", "tag", *words],
            cwd=tmp_path, env=env, input=data, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    done = heed("--csv", "-", "out.csv", data="id,评论\n1,转人工\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"person needed    1: request 1" in done.stdout
    assert column(load(tmp_path / "out.csv"), "heed_person") == ["yes"]
    done = heed("--csv", "-", "out2.csv", "--task", "nonsense", data=b"text\nhi\n")
    assert done.returncode == 2
    assert done.stderr.startswith(b"there is no task nonsense")
    done = heed("--column", "x")
    assert done.returncode == 2
    assert b"go with --csv" in done.stderr
