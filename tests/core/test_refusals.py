"""Every refusal that staff can meet, in each language that they can read it in."""

from __future__ import annotations

import ast
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import core
from adapters.web.view import why_not
from core.errors import DeskError, HeedError, NeedsConfirm, SetupError
from core.refusals import sentence
from core.texts import Texts

ROOT = Path(core.__file__).parent.parent
REFUSALS = {"DeskError", "NeedsConfirm", "StaleCard"}
UNREAD = {"use_code"}  # what it refuses is told to the person by a text of theirs


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Return the calls that make a refusal."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in UNREAD:
            continue
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in REFUSALS:
            yield node
        yield from calls(node)


def made() -> list[tuple[str, str, frozenset[str]]]:
    """Return where each refusal is made, its name, and what its sentence may mention."""
    found = []
    for path in sorted(path for room in ("core", "bot") for path in (ROOT / room).rglob("*.py")):
        for call in calls(ast.parse(path.read_text("utf-8"))):
            given = {word.arg or "": word.value for word in call.keywords}
            name = given.pop("name", None)
            named = str(name.value) if isinstance(name, ast.Constant) else ""
            values = frozenset("when" if value == "seconds" else value for value in given)
            found.append((f"{path.relative_to(ROOT)}:{call.lineno}", named, values))
    return found


def fields(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def tables() -> dict[str, dict[str, str]]:
    labels = tomllib.loads((ROOT / "adapters/web/labels.toml").read_text("utf-8"))
    return {lang: labels[lang]["desk_error"] for lang in ("en", "zh")}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_refusal_has_its_sentence_in_chats(lang: str) -> None:
    texts = tomllib.loads((ROOT / f"core/texts/{lang}.toml").read_text("utf-8"))["staff"]
    refusals = made()
    assert len(refusals) > 40
    for where, name, values in refusals:
        assert name in texts, f"{where}: {name or 'no name'}"
        assert fields(texts[name]) == values, f"{where}: {name}"


def test_every_refusal_has_its_sentence_on_the_page() -> None:
    refusals, page = made(), tables()
    assert page["en"].keys() == page["zh"].keys() == {name for _, name, _ in refusals}
    for (
        where,
        name,
        values,
    ) in refusals:  # a button of the page may stand for what is typed in chats
        assert fields(page["en"][name]) == fields(page["zh"][name]) <= values, where
        assert values - fields(page["en"][name]) <= {"text"}, where


def test_a_refusal_is_read_in_the_language_of_its_reader() -> None:
    error = NeedsConfirm("Ana took this 200 s ago", name="taken_ago", who="Ana", seconds=200)
    texts = Texts.load(staff="zh")
    assert str(error) == "Ana took this 200 s ago"
    assert sentence(error, texts, "en") == "Ana took this 3 min ago."
    assert sentence(error, texts, "staff") == "Ana 在 3 分钟前接手了。"
    assert sentence(DeskError("Not now."), texts, "staff") == "Not now."


@pytest.mark.parametrize(
    ("error", "en", "zh"),
    [
        (
            NeedsConfirm("x", name="taken_ago", who="Ana {n}", seconds=42),
            "Ana {n} took this 42 s ago.",
            "Ana {n} 在 42 秒前接手了。",
        ),
        (
            NeedsConfirm("x", name="taken_ago", who="Ana", seconds=90000),
            "Ana took this 1 d ago.",
            "Ana 在 1 天前接手了。",
        ),
        (DeskError("Not now.", name="of a later Heed"), "Not now.", "Not now."),
        (SetupError("Set it."), "Set it.", "Set it."),
    ],
)
def test_the_page_says_it_in_its_own_language(error: HeedError, en: str, zh: str) -> None:
    labels: dict[str, Any] = tomllib.loads((ROOT / "adapters/web/labels.toml").read_text("utf-8"))
    assert (why_not(error, labels["en"]), why_not(error, labels["zh"])) == (en, zh)
