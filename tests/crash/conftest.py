from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.harness import Zygote


@pytest.fixture(scope="session")
def zygotes() -> Iterator[list[Zygote]]:
    """Two processes that start Heeds by a fork; both end with the tests."""
    made: list[Zygote] = []
    try:
        for _ in range(2):
            made.append(Zygote())
        yield made
    finally:
        for zygote in made:
            zygote.close()
