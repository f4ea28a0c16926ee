"""What holds for every test: no setting from outside, and no connection but to this machine."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import structlog

from bot.config import prepare_environment

MEMORY, ROOM = "/dev/shm", 4 << 30  # a folder in memory, and the bytes that must be free in it


def _has_room(folder: str) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ROOM


# Thousands of databases wait for a disk at each commit; none of them has to outlive the power.
if "TMPDIR" not in os.environ and _has_room(MEMORY):  # noqa: TID251
    os.environ["TMPDIR"] = MEMORY  # noqa: TID251
    tempfile.tempdir = None  # it is found anew

prepare_environment()
for _name in [name for name in os.environ if name.upper().startswith("HEED_")]:  # noqa: TID251
    del os.environ[_name]  # noqa: TID251


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without a round of the collector, and take them out of all that follow.

    What stands by then, thousands of tests and what they import, stays until the end. The rounds
    are fewer afterwards, too: together they would take a sixth of all the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def _is_here(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = address[0].decode() if isinstance(address[0], bytes) else str(address[0])
    return host in ("localhost", "::1", "") or host.startswith("127.")


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def connect_here(self: socket.socket, address: object) -> object:
        if not _is_here(address):
            raise AssertionError(
                f"a test tried to connect to {address!r}; only loopback is allowed"
            )
        return connect(self, address)

    return connect_here


@pytest.fixture(autouse=True)
def _only_loopback(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("network") is None:
        for name in ("connect", "connect_ex"):
            monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


# Without a word of its own structlog draws a box around every line of a traceback, with the values
# of all names in it: a twentieth of a second for each.
_LOG = structlog.get_config() | {
    "processors": [
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
}


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command that was run within a test sets up the log of the whole process: undo that."""
    root = logging.getLogger()
    kept = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    levels = _levels()
    structlog.configure(**_LOG)
    yield
    if structlog.get_config()["processors"] is not _LOG["processors"]:
        kept_handlers, level, sys.excepthook, threading.excepthook = kept
        root.handlers[:] = kept_handlers
        root.setLevel(level)
        logging.raiseExceptions = True
        structlog.reset_defaults()
    for name, level in _levels().items():
        if level != levels.get(name, logging.NOTSET):
            logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def _levels() -> dict[str, int]:
    """Return the level of every logger that there is, the root aside."""
    known = logging.getLogger().manager.loggerDict.items()
    return {name: one.level for name, one in known if isinstance(one, logging.Logger)}
