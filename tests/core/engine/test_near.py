"""Written lines that say what a labelled row says are found, whatever their dress."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from core.engine.embedded import near
from core.engine.embedded.near import Shelf, main
from core.errors import SetupError

DEV = ["My parcel never arrived and nobody answers.", "快递三天了还没到，太慢了", "ok"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("my parcel NEVER arrived, and nobody answers!!!", True),
        ("my parcel never arrived and nobody answered", True),
        ("my parcel arrived and somebody answered", False),
        ("快递已经到了，很快", False),
        ("快递三天了还没到太慢了吧", True),
        ("OK 👍", True),
        ("okay", False),
        ("🙂", False),
    ],
)
def test_near_is_near(text: str, found: bool) -> None:  # noqa: FBT001
    assert Shelf(DEV).near(text) is found


def test_it_lists_them_and_takes_them_out_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "dev").mkdir()
    rows = "".join(json.dumps({"text": text}) + "\n" for text in DEV)
    (tmp_path / "dev" / "some.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    written = tmp_path / "en_x.jsonl"
    ours = [{"id": str(n), "text": text} for n, text in enumerate(["Ok!", "a line of our own"])]
    written.write_text("".join(json.dumps(row) + "\n" for row in ours), encoding="utf-8")
    monkeypatch.setattr(near, "WRITTEN", tmp_path)
    assert main(["--data", str(tmp_path)]) == 1
    assert "en_x.jsonl: 1 of 2 lines" in caplog.text
    assert len(written.read_text(encoding="utf-8").splitlines()) == 2
    assert main(["--data", str(tmp_path), "--remove"]) == 0
    assert [
        json.loads(line)["id"] for line in written.read_text(encoding="utf-8").splitlines()
    ] == ["1"]
    assert main(["--data", str(tmp_path)]) == 0


def test_a_folder_without_rows_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="has no dev"):
        main(["--data", str(tmp_path)])
