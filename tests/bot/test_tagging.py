from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Model, Prompts, Settings
from bot.tagging import Ears, Line, _rows, ask, tag
from core.engine.embedded.table import TableTagger
from core.errors import EngineFailed, PromptError
from core.message import Tagging
from tests.checkpoints import make_checkpoint

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


# -- tasks ---------------------------------------------------------------------------------------

TOPIC = 'instruction = "Say what it is."\nlabels = ["help", "question"]\n'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = make_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
    return Model(name=str(folder), threads=1, precision="fp32")


def by_task(model: Model, task: str, data: str = "where is it?\n\n你好 🎉\n") -> list[dict]:
    out = io.StringIO()
    tag(Settings(model=model), task=task, stdin=io.StringIO(data), stdout=out, stderr=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_model_does_any_task_of_the_prompt_book(tiny: Model) -> None:
    rows = by_task(tiny, "intent")
    assert [list(row) for row in rows] == [
        ["id", "task", "label", "probs", "confidence", "lang"]
    ] * 3
    assert rows[0]["label"] in {"help", "confides", "chats", "question"}
    assert sum(rows[0]["probs"].values()) == pytest.approx(1, abs=3e-4)
    assert rows[1] == {
        "id": 2, "task": "intent", "label": None, "probs": {}, "confidence": 0.0, "lang": "und",
    }  # fmt: skip


def test_a_model_does_the_task_of_a_file_anywhere(tiny: Model, tmp_path: Path) -> None:
    (tmp_path / "topic.toml").write_text(TOPIC, encoding="utf-8")
    first = by_task(tiny, str(tmp_path / "topic.toml"))[0]
    assert (first["task"], set(first["probs"])) == ("topic", {"help", "question"})


def test_sentiment_keeps_its_heads_whatever_tags_messages(tiny: Model) -> None:
    assert list(by_task(tiny, "sentiment")[0]) == FIELDS
    settings = Settings(model=Model(name="embedded"), prompts=Prompts(tag="intent"))
    assert ask(settings, "sentiment").whole
    assert not ask(settings, "emotion").whole


def test_an_unknown_task_is_told_before_any_model_is_loaded(tiny: Model) -> None:
    with pytest.raises(PromptError, match=r"no task nonsense: choose one of .*intent.*sentiment"):
        by_task(tiny, "nonsense")


def test_the_table_says_which_tasks_it_knows(tmp_path: Path) -> None:
    embedded = Model(name="embedded")
    known = "knows sentiment.* alone, and the task is {}: choose a model by model.name"
    with pytest.raises(PromptError, match=known.format("intent")):
        by_task(embedded, "intent")
    (tmp_path / "topic.toml").write_text(TOPIC, encoding="utf-8")
    with pytest.raises(PromptError, match=known.format("topic")):
        by_task(embedded, str(tmp_path / "topic.toml"))


def test_a_file_cannot_give_the_table_other_labels(tmp_path: Path) -> None:
    (tmp_path / "sentiment.toml").write_text(TOPIC, encoding="utf-8")
    with pytest.raises(PromptError, match="other labels than the embedded table"):
        by_task(Model(name="embedded"), str(tmp_path / "sentiment.toml"))


def test_a_broken_task_is_refused_also_where_a_good_one_is_packaged(tmp_path: Path) -> None:
    (tmp_path / "intent.toml").write_text("labels = [", encoding="utf-8")
    settings = Settings(model=Model(name="embedded"), prompts=Prompts(dir=tmp_path))
    for task in ("intent", str(tmp_path / "intent.toml")):
        with pytest.raises(PromptError, match=r"intent\.toml: not TOML"):
            ask(settings, task)
    with pytest.raises(PromptError, match=r"nowhere\.toml cannot be read"):
        ask(settings, str(tmp_path / "nowhere.toml"))


class Moody(Fussy):
    """An instrument that knows another task by its name."""

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        assert task == "emotion"
        return [Tagging(probs={"joy": 0.8, "fear": 0.2}, doubt=0.5, instrument="x") for _ in texts]


async def test_the_task_is_asked_for_by_name() -> None:
    ears = Ears(table=TableTagger(), model=Moody(), task="emotion")
    [row] = await _rows(ears, [Line(id=1, text="hey")], explain=False, task="emotion")
    assert (row["task"], row["label"], row["confidence"]) == ("emotion", "joy", 0.4)
