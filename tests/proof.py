"""The ledger of the proof: what was tried, how often, by which seed, and what was wrong with it.

A test enters one line by the fixture `proof`; at the end of the run the lines stand as one table
on the terminal and, with --proof-table FILE, in a file. Marks: `proof_short` is what `make test`
includes, `proof` what only `make proof` runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

HEAD = ("area", "what was tried", "size", "seed", "violations", "seconds")
_KEPT = pytest.StashKey[list[dict[str, str]]]()
_ASKED = {"share": 1.0}  # of the long suites' size; known before any test is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proof")
    group.addoption("--proof-table", default="", metavar="FILE", help="write the table here")
    group.addoption(
        "--proof-share",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="so much of the size of the long suites; the table says what was run",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEPT] = []
    _ASKED["share"] = config.getoption("--proof-share")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, so that no worker is alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("proof_short") is None)


def share(size: int) -> int:
    """Return how much of a long suite's size is asked for; at least 1."""
    return max(1, round(size * _ASKED["share"]))


class Ledger:
    """What one test enters."""

    share = staticmethod(share)

    def __init__(self, enter: Callable[[dict[str, str]], None]) -> None:
        self._enter = enter
        self._begun = time.perf_counter()

    def __call__(
        self, area: str, what: str, size: str, violations: Sequence[object], *, seed: object = "-"
    ) -> None:
        """Enter one line, then fail when there are violations.

        `size` says how much was tried, with its unit ("448 kills in 400 cases"); `seed` how to
        have the same again.
        """
        seconds = time.perf_counter() - self._begun
        self._enter(
            {
                "area": area,
                "what was tried": what,
                "size": size,
                "seed": str(seed),
                "violations": str(len(violations)),
                "seconds": f"{seconds:.0f}",
            }
        )
        assert not violations, "\n".join(str(one) for one in violations[:20])


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Let a test enter what it has tried; one that enters nothing proves nothing."""
    lines: list[dict[str, str]] = []
    yield Ledger(lines.append)
    request.node.user_properties.extend(("proof", line) for line in lines)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown" and _config is not None:
        _config.stash[_KEPT] += [value for name, value in report.user_properties if name == "proof"]  # type: ignore[misc]


_config: pytest.Config | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    global _config  # noqa: PLW0603 - reports come without their configuration
    _config = session.config


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = sorted(config.stash[_KEPT], key=lambda line: (line["area"], line["what was tried"]))
    if not lines:
        return
    rows = [
        HEAD,
        tuple("---" for _ in HEAD),
        *(tuple(line[name] for name in HEAD) for line in lines),
    ]
    table = ["| " + " | ".join(row) + " |" for row in rows]
    terminalreporter.section("proof")
    terminalreporter.write_line("\n".join(table))
    if target := config.getoption("--proof-table"):
        day = f"{datetime.now(UTC):%Y-%m-%d}"  # noqa: TID251 - the date of the table
        share = config.getoption("--proof-share")
        size = "" if share == 1.0 else f", {share:g} of the long suites' size"
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(f"Run on {day}{size}.\n\n" + "\n".join(table) + "\n", "utf-8")
