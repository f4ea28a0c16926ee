"""The figures: declared, named after Prometheus' conventions, and naming nobody."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.faults import MOST_KINDS, Faults
from bot.meters import COUNTS, TIMES, Gauge, Meters

ROOT = Path(__file__).parents[2]
FEW = {"platform", "outcome", "rule", "kind", "step", "status", "what", "bot", "state", "version"}
UNITS = ("_seconds", "_bytes", "_total", "_info")


def used() -> dict[str, set[tuple[str, frozenset[str]]]]:
    """Return the figures that the code names: method -> (name, labels)."""
    found: dict[str, set[tuple[str, frozenset[str]]]] = {"count": set(), "observe": set()}
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "bot").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            told = ast.unparse(node.func)
            named = node.args and isinstance(node.args[0], ast.Constant)
            if re.search(r"meters?\.(count|observe)$", told) and named:
                labels = frozenset(word.arg or "" for word in node.keywords)
                found[node.func.attr].add((str(ast.literal_eval(node.args[0])), labels))
    return found


def test_every_figure_that_is_counted_is_declared_and_the_other_way_round() -> None:
    found = used()
    declared = {(name, frozenset(labels)) for name, (_, labels) in COUNTS.items()}
    assert found["count"] == declared
    timed = {(name, frozenset(labels)) for name, (_, labels, _) in TIMES.items()}
    laps = {(name, frozenset()) for name in ("turn_wait", "hear", "write", "first_text", "reply")}
    assert found["observe"] | laps | {("finish_commit", frozenset())} == timed


def test_the_text_keeps_to_the_conventions() -> None:
    meters = Meters()
    for name, (_, labels) in COUNTS.items():
        meters.count(name, **dict.fromkeys(labels, "x"))
    for name, (_, labels, _) in TIMES.items():
        meters.observe(name, 0.2, **dict.fromkeys(labels, "x"))
    moment = [
        Gauge("inbox_waiting", "Waiting.", 3),
        Gauge("lanes", "Lanes.", 1, {"kind": "turn"}),
        Gauge("lanes", "Lanes.", 2, {"kind": "delivery"}),
        Gauge("database_refusals", "Refusals.", 4, {"kind": "busy"}, counts=True),
    ]
    text = meters.text(moment).decode()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert len(families) >= len(COUNTS) + len(TIMES) + 3
    for name, family in families.items():
        assert family.documentation.strip(), name
        assert family.type != "unknown", name
        assert name.startswith(("heed_", "process_")), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert not name.endswith("_created"), name
        if family.type == "histogram":
            assert name.endswith("_seconds"), name
        if family.type == "counter":
            assert all(s.name.endswith("_total") for s in family.samples if s.name != name), name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= FEW, sample
    assert 'heed_lanes{kind="delivery"} 2.0' in text
    assert 'heed_database_refusals_total{kind="busy"} 4.0' in text
    assert text.count("# TYPE heed_lanes ") == text.count("# HELP heed_lanes ") == 1
    assert "heed_lanes" not in meters.text().decode()  # what is of a moment is gone with it


def test_buckets_rise() -> None:
    for name, (_, _, buckets) in TIMES.items():
        assert list(buckets) == sorted(set(buckets)), name


def test_a_figure_that_is_not_declared_is_a_mistake() -> None:
    meters = Meters()
    with pytest.raises(KeyError):
        meters.count("nonsense")
    with pytest.raises(ValueError, match="label"):
        meters.count("turns", person="ann")


def test_faults_are_counted_by_kind_and_never_by_what_they_quote() -> None:
    faults = Faults()
    log = logging.Logger("adapters.somewhere")  # noqa: LOG001 - of this test alone
    log.addHandler(faults)
    log.info("nothing")
    for words in ("xyzzy one", "xyzzy two"):
        log.warning("cannot be read: %s", words)
    try:
        raise ValueError("xyzzy")  # noqa: TRY301
    except ValueError:
        log.exception("broke")
    for number in (1, 2):  # as asyncio reports a task that failed
        log.warning("never retrieved\nfuture: Task-%d ValueError('xyzzy')", number)
        log.warning(f"never awaited\nfuture: Task-{number} ValueError('xyzzy')")  # noqa: G004
    assert faults.counted == {
        ("warning", "adapters.somewhere: never retrieved"): 2,
        ("warning", "adapters.somewhere: never awaited"): 2,
        ("warning", "adapters.somewhere: cannot be read: %s"): 2,
        ("error", "adapters.somewhere: broke (ValueError)"): 1,
    }
    for number in range(MOST_KINDS + 10):
        log.error(f"kind {number}")  # noqa: G004
    assert len(faults.counted) == MOST_KINDS
