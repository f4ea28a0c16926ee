"""adapters/CHECKLIST.toml says of each platform what is done: here it is held against the code."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).parents[2]
PLATFORMS = ("telegram", "discord")
LISTS: dict[str, list[dict[str, Any]]] = tomllib.loads(
    (HOME / "adapters/CHECKLIST.toml").read_text(encoding="utf-8")
)
ROWS = [
    pytest.param(platform, row, id=f"{platform}: {row['row'][:60]}")
    for platform in PLATFORMS
    for row in LISTS[platform]
]
CALL = {  # how each adapter calls its library
    "telegram": re.compile(r"\b_bot\.([a-z_]+)"),
    "discord": re.compile(r"\bclient\.http\.([a-z_]+)"),
}
_EVENT = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
NO_EVENT = {"RESUMED"}  # heard by the supervisor, which is no feature


@cache
def names_in(file: str) -> frozenset[str]:
    """Return every class, function and method of a file, methods as Class.method."""
    found: set[str] = set()

    def walk(node: ast.AST, before: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(before + child.name)
                walk(child, f"{before}{child.name}.")
            elif isinstance(child, ast.Assign | ast.AnnAssign) and not before:
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                found.update(each.id for each in targets if isinstance(each, ast.Name))

    walk(ast.parse((HOME / file).read_text(encoding="utf-8")), "")
    return frozenset(found)


def missing(places: list[str], separator: str) -> list[str]:
    """Return those of `file<separator>name` that are not there."""
    gone = []
    for place in places:
        file, _, name = place.partition(separator)
        if not (HOME / file).is_file() or (name and name not in names_in(file)):
            gone.append(place)
    return gone


def used(platform: str) -> set[str]:
    """Return the library's calls that an adapter makes."""
    files = (HOME / "adapters" / platform).glob("*.py")
    return {name for file in files for name in CALL[platform].findall(file.read_text("utf-8"))}


@pytest.mark.parametrize(("platform", "row"), ROWS)
def test_a_row_is_done_and_shows_where_or_exempt_and_says_why(
    platform: str, row: dict[str, Any]
) -> None:
    assert row.keys() <= {"row", "state", "code", "calls", "tests", "why"}, platform
    if row["state"] == "exempt":
        assert len(row["why"]) > 30, "an exemption has a reason"
        assert not {"code", "tests", "calls"} & row.keys(), "what is exempt is not there"
    else:
        assert row["state"] == "done", "something is still to do"
        assert row["code"], "where is it?"
        assert row["tests"], "which test shows it?"
        assert not missing(row["code"], ":")
        assert not missing(row["tests"], "::")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_call_of_the_library_belongs_to_a_row(platform: str) -> None:
    listed = {call for row in LISTS[platform] for call in row.get("calls", ())}
    assert used(platform) - listed == set(), "calls that no row of the checklist names"
    assert listed - used(platform) == set(), "calls of the checklist that nobody makes"


def test_every_update_that_telegram_is_asked_for_belongs_to_a_row() -> None:
    from adapters.telegram.normalize import ALLOWED

    text = "\n".join(row["row"] for row in LISTS["telegram"])
    assert [kind for kind in ALLOWED if kind not in text] == []


def test_every_event_that_is_heard_on_discord_belongs_to_a_row() -> None:
    heard = set()
    for name in ("intake", "places"):
        tree = ast.parse((HOME / f"adapters/discord/{name}.py").read_text(encoding="utf-8"))
        heard |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _EVENT.fullmatch(node.value)
        }
    text = "\n".join(row["row"] for row in LISTS["discord"])
    assert [event for event in sorted(heard - NO_EVENT) if event not in text] == []


def test_no_row_stands_twice() -> None:
    for platform in PLATFORMS:
        rows = [row["row"] for row in LISTS[platform]]
        assert len(rows) == len(set(rows))
