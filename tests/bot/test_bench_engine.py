"""`heed bench` and `heed bench chat` on a tiny shape: they run, and their figures are real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bot
from bot.bench.engine import bars, ratios, shape_of
from core.engine.bench import shapes
from core.errors import SetupError

PARTS = ("tag", "first", "total", "decode")
RATIOS = {"first_token_warm", "first_token_cold", "tag_overhead", "reply_64", "throughput_16"}


def heed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own: a benchmark pins the one it runs in."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "bot", *words],
        cwd=folder,
        env={"PYTHONPATH": str(Path(bot.__file__).parent.parent), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny checkpoint in it, made once."""
    folder = tmp_path_factory.mktemp("bench")
    shapes.make(shapes.TINY, folder / "data" / "bench" / "tiny")
    return folder


def lap(entry: dict[str, Any]) -> float:
    for clock in ("cpu", "wall"):
        assert 0 < entry[clock]["min"] <= entry[clock]["median"]
    return float(entry["cpu"]["min"])


@pytest.mark.proof
def test_the_engine_is_measured_beside_the_baseline(room: Path) -> None:
    ran = heed(room, "bench", "--quick", "--precision", "fp32", "--json", "engine.json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((room / "engine.json").read_text(encoding="utf-8"))
    figures = report["precisions"]["fp32"]
    for part in PARTS:
        lap(figures["baseline"][part])
        lap(figures["warm"][part])
    assert lap(figures["warm"]["tag"]) <= lap(figures["warm"]["first"])
    assert lap(figures["warm"]["first"]) < lap(figures["cold"]["first"])
    assert lap(figures["warm"]["first"]) < lap(figures["warm"]["total"])
    assert set(report["ratios"]) == set(figures["ratios"]) == RATIOS
    assert report["ratios"]["first_token_warm"] > 1
    assert set(figures["together"]) == {"1", "4", "8", "16"}
    assert all(one["tokens_per_second"]["cpu"] > 0 for one in figures["together"].values())
    assert lap(figures["depth"]["attention_many_ms"]) < lap(figures["depth"]["step_many_ms"])
    assert report["read_bytes_per_second"] > 1e8
    [start] = figures["starts"]
    assert start["ready_s"] > start["load_s"] > 0
    assert start["memory_mib"]["peak"] >= start["memory_mib"]["anonymous"] > 1
    assert report["bars"] == []  # a tiny shape is held to none
    for words in ("baseline", "first reply token, warm (cpu)", "floor", "ratios.reply_64", "load"):
        assert words in ran.stdout


@pytest.mark.proof
def test_the_program_is_measured_over_http(room: Path) -> None:
    ran = heed(room, "bench", "chat", "--quick", "--json", "chat.json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((room / "chat.json").read_text(encoding="utf-8"))
    assert set(report["answers"]) == {"10", "30", "50"}
    for size, answer in report["answers"].items():
        assert 0 < answer["message_tokens"] <= int(size)
        assert 0 < answer["tag"]["min"] <= answer["text"]["min"] <= answer["done"]["min"]
    assert report["spoken_by_the_model"] == report["of"] == 6
    assert report["long_answer"]["done"]["min"] > 0
    assert all(report["lag_ms"][name]["count"] > 0 for name in ("idle", "one", "four"))
    [first] = report["starts"]
    assert first["ready_s"] > 0
    assert first["memory_mib"]["anonymous"] > 1
    names = [row["name"] for row in report["claims"]]
    assert len(names) == 8
    for row in report["claims"]:
        assert row["holds"] == (row["measured"] <= row["claim"])
        assert bool(row["why"]) != row["holds"]
        assert row["name"] in ran.stdout


def test_a_checkpoint_is_made_once_and_again_when_its_shape_has_changed(room: Path) -> None:
    folder = room / "data" / "bench" / "tiny"
    weights = folder / "model.safetensors"
    before = weights.stat().st_mtime_ns
    shapes.make(shapes.TINY, folder)
    assert weights.stat().st_mtime_ns == before
    (folder / "shape.json").write_text("{}", encoding="utf-8")
    shapes.make(shapes.TINY, folder)
    assert weights.stat().st_mtime_ns > before


def test_every_entry_of_the_vocabulary_has_a_text_and_a_label_is_one_token(room: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(room / "data" / "bench" / "tiny" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == shapes.TINY.vocabulary
    for label in ("negative", "neutral", "positive"):
        assert len(tokenizer.encode(label).ids) == 1
    ids = shapes.draw(shapes.TINY, 200, 5)
    assert ids == shapes.draw(shapes.TINY, 200, 5) != shapes.draw(shapes.TINY, 200, 6)
    assert len(tokenizer.decode(ids)) > 400


def test_the_three_shapes_have_the_size_of_their_models() -> None:
    millions = {name: shape.weights / 1e6 for name, shape in shapes.SHAPES.items()}
    assert millions == pytest.approx(
        {"qwen1.5-0.5b": 463.7, "qwen2.5-0.5b": 493.9, "qwen3-0.6b": 595.9}, abs=0.3
    )
    assert shapes.SHAPES["qwen2.5-0.5b"].kv_elements * 2 == 12_288


def test_ratios_and_bars_follow_from_the_figures() -> None:
    def both(low: float) -> dict[str, dict[str, float]]:
        return {clock: {"min": low, "median": low} for clock in ("cpu", "wall")}

    figures: dict[str, Any] = {
        "baseline": {"first": both(4000), "total": both(16000), "decode": both(200)},
        "warm": {"first": both(250), "total": both(8000)},
        "cold": {"first": both(2000)},
        "with_tag": both(250),
        "without_tag": both(200),
        "together": {"1": {}, "16": {"tokens_per_second": {"cpu": 60.0, "wall": 60.0}}},
        "depth": {
            "step_few_ms": both(100),
            "step_many_ms": both(150),
            "attention_many_ms": both(30),
        },
    }
    figures["ratios"] = ratios(figures, "cpu")
    assert figures["ratios"] == {
        "first_token_warm": 16,
        "first_token_cold": 2,
        "tag_overhead": 0.25,
        "reply_64": 2,
        "throughput_16": 12,
    }
    assert bars("fp32", figures, "cpu", is_default=False) == []
    start = {"memory_mib": {"anonymous": 1200.0, "peak": 1800.0, "file": 100.0}, "ready_s": 10.0}
    figures["starts"] = [start, start]
    exact = bars("fp32", figures, "cpu", is_default=True)
    coarse = bars("int8", figures, "cpu", is_default=False)
    ratio_bars, start_bars = [True, False, True, True, True, True], [True, False, True, False]
    assert [bar["met"] for bar in exact] == ratio_bars + start_bars
    assert [bar["met"] for bar in coarse] == [True, False, True, False, True, True]


def test_a_shape_that_is_none_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(SetupError, match=r"qwen9 is no shape .* qwen2\.5-0\.5b"):
        shape_of("qwen9", quick=False)


def test_a_peer_that_is_not_installed_is_refused_before_anything_is_measured(room: Path) -> None:
    ran = heed(room, "bench", "--quick", "--peer", "llama.cpp")
    if "GGUF" not in ran.stderr + ran.stdout:
        pytest.skip("llama-cpp-python is installed here")
    assert ran.returncode == 2
    assert "baseline" not in ran.stdout
