from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crash.harness import Zygote

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A process that starts Heeds by a fork; it ends with the tests."""
    with closing(Zygote()) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for cases, in memory where that is possible: nobody waits for a disk.

    What a case has left behind because something was wrong with it is kept.
    """
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY, prefix="heed-crash-") as place:
        yield Path(place)
        no_sockets = shutil.ignore_patterns("*.sock")
        shutil.copytree(place, tmp_path, dirs_exist_ok=True, ignore=no_sockets)
