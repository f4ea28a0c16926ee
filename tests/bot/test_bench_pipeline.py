"""`heed bench pipeline`: every figure is there, and nothing else is."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bot.bench import machine
from bot.bench.pipeline import measure
from bot.bench.pipeline_bare import Recorder
from bot.bench.pipeline_house import living
from bot.cli import heed
from core.errors import SetupError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and settings that the bench must not follow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setenv("HEED_DATABASE__URL", f"sqlite:///{tmp_path / 'own.db'}")
    return tmp_path


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.mark.proof
def test_a_quick_run_measures_everything_and_leaves_only_its_figures(here: Path) -> None:
    before = set(threading.enumerate())
    found = CliRunner().invoke(heed, ["bench", "pipeline", "--quick", "--json", "figures.json"])
    assert found.exit_code == 0, found.output
    assert found.output.count("durable messages a second") == 3
    assert [path.name for path in here.iterdir()] == ["figures.json"]
    assert set(threading.enumerate()) <= before

    figures = json.loads((here / "figures.json").read_text(encoding="utf-8"))
    assert [one["conversations"] for one in figures["closed"]] == [10, 50, 200]
    for one in figures["closed"]:
        for who in ("walk", "bare", "bare_with_reads", "bare_grouped"):
            assert one[who]["per_second"] > 0
            assert one[who]["cpu_ms_per_message"] > 0
        assert 0 < one["ratios"]["rate"] < 1.5
        assert all(figure > 0 for figure in numbers(one["rounds"]))
        # Taken in once, finished once, sent once: the walk that is measured is the real one.
        for name in ("take_in", "finish", "sent"):
            assert one["operations"][name]["calls"] == 1
            assert one["operations"][name]["writes"] >= 1
    assert set(figures["ratios"]) == {"10", "50", "200"}
    assert [one["wanted"] for one in figures["open"]] == [100, 1000]
    assert all(one["latency"]["p99_ms"] >= one["latency"]["p50_ms"] > 0 for one in figures["open"])
    assert figures["disk"]["per_second"] > 0
    assert figures["serial"]["commits"] >= 2  # taken in, and finished, before it is sent
    assert found.output.count("would be") == 2  # beside the bars, which stay as they are
    assert figures["machine"]["cores"] >= 1
    assert set(figures["held"]) == set(figures["bars"]) == {"ratio", "p99_ms"}


async def test_no_statement_of_the_walk_reads_all_that_was_ever_said(here: Path) -> None:
    async with living(here / "heed.db") as house:
        recorder = Recorder(house.app.store)
        async with recorder.listening():
            await house.say(0)
            await house.idle()
    with closing(sqlite3.connect(here / "heed.db")) as connection:
        plans = [
            (step[3], text)
            for one in recorder.operations
            for text, values in one.statements
            for step in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)
        ]
    assert len(plans) > 20
    growing = ("conversation", "inbox", "history", "decision", "outbox")
    assert [one for one in plans if one[0].removeprefix("SCAN ").startswith(growing)] == []


def test_figures_that_could_not_be_written_are_not_measured(here: Path) -> None:
    with pytest.raises(SetupError, match="give --json another path"):
        measure(print, here / "nowhere" / "figures.json", quick=True)


def test_a_folder_that_is_not_there_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(here / "nowhere"))
    with pytest.raises(SetupError, match="TMPDIR"):
        measure(print, None, quick=True)


def test_a_machine_is_described_without_loading_what_it_would_measure() -> None:
    facts = machine.describe()
    assert {"cpu", "cores", "flags", "python", "sqlite", "versions", "load"} <= set(facts)
    json.dumps(facts)
    assert str(facts["cpu"]) in machine.line(facts)
