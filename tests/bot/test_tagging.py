from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from bot.settings import Model, Settings
from bot.tagging import Ears, Line, _rows, tag
from core.engine.embedded.table import TableTagger
from core.errors import EngineFailed
from core.message import Tagging

FIELDS = ["id", "label", "probs", "intensity", "confidence", "strong", "wants_human"]
FIELDS += ["threat_to_leave", "crisis", "lang"]


def run(data: bytes, batch: int = 32, *, explain: bool = False) -> tuple[int, list[dict]]:
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    settings = Settings(model=Model(name="embedded"))
    code = tag(settings, batch, explain, stdin=stdin, stdout=out, stderr=err)
    assert err.getvalue() == ""
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def test_every_line_gives_one_tag_in_order_with_exactly_the_fields() -> None:
    data = 'hello\n{"id": "a", "text": "I hate this"}\n谢谢\n{"id": 7, "text": "ok"}'
    code, rows = run(data.encode(), batch=2)
    assert code == 0
    assert [row["id"] for row in rows] == [1, "a", 3, 7]
    assert all(list(row) == FIELDS for row in rows)
    assert rows[1]["label"] == "negative"
    assert rows[2]["lang"] == "zh"
    assert all(sum(row["probs"].values()) == pytest.approx(1, abs=3e-4) for row in rows)


def test_numbers_have_four_decimals() -> None:
    _, rows = run(b"this is quite good")
    floats = [v for v in rows[0].values() if isinstance(v, float)] + list(rows[0]["probs"].values())
    assert all(value == round(value, 4) for value in floats)


@pytest.mark.parametrize(
    "bad",
    [
        b'{"id": "x"}',
        b'{"id": "x", "text": 5}',
        b'{"id": "x", "text": ',
        b'{"id": {"a": 1}, "text": "hi"}',
        b"\xff\xfe broken",
        b'{"a":' * 20_000,
    ],
)
def test_a_bad_line_is_told_and_the_run_goes_on(bad: bytes) -> None:
    code, rows = run(b"first\n" + bad + b"\nlast\n")
    assert code == 1
    assert list(rows[1]) == ["id", "error"]
    assert [row.get("label") is not None for row in rows] == [True, False, True]


def test_a_bad_line_keeps_its_own_id_where_it_has_one() -> None:
    _, rows = run(b'{"id": "mine"}\n{"nothing": 1}\n')
    assert [row["id"] for row in rows] == ["mine", 2]


def test_empty_lines_keep_their_place() -> None:
    code, rows = run(b"hello\n\nhello\n")
    assert code == 0
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert rows[1]["label"] == "neutral"


def test_no_input_gives_no_output() -> None:
    assert run(b"") == (0, [])


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    code, rows = run(b'\xef\xbb\xbf{"id": "a", "text": "hi"}\r\nhi\r\n')
    assert code == 0
    assert [row["id"] for row in rows] == ["a", 2]
    assert rows[0]["probs"] == rows[1]["probs"]


def test_the_batch_changes_nothing() -> None:
    data = "\n".join(f"message {i} is {'bad' if i % 3 else 'great'}" for i in range(50)).encode()
    assert run(data, batch=1) == run(data, batch=7) == run(data, batch=4096)


def test_matched_phrases_count_beside_the_scores() -> None:
    _, rows = run(b"I want to kill myself\nhuman\nare you human?")
    assert rows[0]["crisis"] >= 0.99
    assert rows[1]["wants_human"] >= 0.99
    assert rows[2]["wants_human"] < 0.99


def test_lone_surrogates_do_not_stop_it() -> None:
    code, rows = run(b'{"id": "\\ud800", "text": "\\ud83d\\u0000"}')
    assert code == 0
    assert rows[0]["id"] == "\ud800"


def test_explain_names_phrases_and_the_strongest_features() -> None:
    _, rows = run(b"I hate this, talk to a human", explain=True)
    explained = rows[0]["explain"]
    assert explained["phrases"] == {"request": "talk to a human"}
    assert explained["instrument"].startswith("embedded@")
    assert explained["features"]["negative"][0].keys() == {"feature", "weight"}


class Fussy:
    """An engine behind the port that refuses one text."""

    name = "fussy"

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:  # noqa: ARG002
        if "poison" in texts:
            raise EngineFailed("it hung")
        probs = {"negative": 0.9, "neutral": 0.1, "positive": 0.0}
        return [
            Tagging(probs=probs, doubt=0.1, instrument="fussy", made={"tokens_computed": 3})
            for _ in texts
        ]


async def test_an_engine_that_fails_on_one_line_spoils_that_line_only() -> None:
    ears = Ears(table=TableTagger(), model=Fussy())
    lines = [Line(id=i, text=t) for i, t in enumerate(["a", "poison", "b"])]
    rows = await _rows(ears, lines, explain=True)
    assert [row["id"] for row in rows] == [0, 1, 2]
    assert rows[1] == {"id": 1, "error": "it hung"}
    assert rows[0]["label"] == "negative"
    assert rows[0]["explain"]["made"] == {"tokens_computed": 3}


def command(*words: str, env: dict[str, str] | None = None, **more: object) -> Any:
    everything = {**os.environ, "HEED_MODEL__NAME": "embedded", **(env or {})}  # noqa: TID251
    return subprocess.run(  # noqa: S603
        [sys.executable, *words], env=everything, timeout=60, check=False, **more
    )


def test_the_command_speaks_utf8_and_ends_with_1_on_a_bad_line() -> None:
    ran = command(
        *("-m", "bot", "tag", "--batch", "2"),
        input='{"id": "é", "text": "很好"}\n{"id": 2}\n'.encode(),
        capture_output=True,
        env={
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONIOENCODING": "ascii",
        },
    )
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 1
    assert ran.stderr == b""
    assert [row["id"] for row in rows] == ["é", 2]


def test_a_bar_is_shown_on_a_terminal_only_on_stderr() -> None:
    leader, follower = pty.openpty()
    try:
        ran = command(
            *("-m", "bot", "tag"),
            input=b"hello\n" * 100,
            stdout=subprocess.PIPE,
            stderr=follower,
            env={"TERM": "xterm"},
        )
        shown = os.read(leader, 65536)
    finally:
        os.close(follower)
        os.close(leader)
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == 100
    assert b"tagging" in shown


def test_somebody_who_types_sees_tags_alone_and_may_leave_with_ctrl_c() -> None:
    leader, follower = pty.openpty()
    try:
        program = subprocess.Popen(
            [sys.executable, "-m", "bot", "tag"],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=follower,
            env={**os.environ, "TERM": "xterm"},  # noqa: TID251
        )
        with program:
            os.write(leader, b"hello\n")
            assert program.stdout is not None
            assert json.loads(program.stdout.readline())["id"] == 1
            program.send_signal(signal.SIGINT)
            try:
                assert program.wait(timeout=10) == 130
            finally:
                program.kill()
        shown = os.read(leader, 65536)
    finally:
        os.close(follower)
        os.close(leader)
    assert b"tagging" not in shown
    assert b"Traceback" not in shown


def test_tagging_by_the_table_imports_nothing_heavy() -> None:
    code = (
        "import io, sys\n"
        "from bot.settings import Model, Settings\n"
        "from bot.tagging import tag\n"
        "tag(Settings(model=Model(name='embedded')), stdin=io.StringIO('hi'))\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'telegram', 'discord', 'rich'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    ran = command("-c", code, capture_output=True)
    assert ran.returncode == 0, ran.stderr
