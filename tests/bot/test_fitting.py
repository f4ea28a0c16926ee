from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.fitting import GRID, fit, hear, main, outcome
from core.engine.embedded.table import Table
from core.escalation import Policy

DIALOGUES = [
    {"id": 1, "turns": [(0, "hello"), (60, "I want to talk to a human")], "call": [1, 1]},
    {"id": 2, "turns": [(0, "which size is it?"), (60, "thank you")], "call": None},
    {
        "id": 3,
        "turns": [(0, "where is the key"), (60, "I already told you"), (99, "same answer again")],
        "call": [2, 2],
    },
    {"id": 4, "turns": [(0, "what time do you open?"), (60, "ok")], "call": None},
]


def lines() -> list[bytes]:
    rows = [
        one | {"turns": [{"t": at, "text": text} for at, text in one["turns"]]} for one in DIALOGUES
    ]
    return [json.dumps(row).encode() for row in rows]


async def test_dialogues_are_judged_by_the_rules_of_the_walk() -> None:
    table = Table.load()
    heard = await hear(lines(), table)
    policy = Policy().calibrated(table.thresholds)
    found = outcome(heard, policy)
    assert (found["caught"], found["quiet"]) == (2, 2)
    deaf = Policy(off=frozenset({"trouble", "request"}))
    assert outcome(heard, deaf)["missed"] == 2


async def test_fitting_never_makes_its_own_dialogues_worse_and_keeps_to_the_grid() -> None:
    table = Table.load()
    heard = await hear(lines(), table)
    lax = Policy(trouble=9)
    fitted = fit(heard, lax)
    assert outcome(heard, fitted)["caught"] > outcome(heard, lax)["caught"]
    assert all(getattr(fitted, name) in values for name, values in GRID.items())
    assert fit(heard, lax) == fitted


def test_the_script_prints_every_value_and_both_halves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dialogues.jsonl"
    file.write_bytes(b"\n".join(lines()))
    assert main([str(file)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("as it is: caught 2 of 2")
    assert "fitted on the first half" in told
    assert all(f"{name} " in told for name in GRID)
