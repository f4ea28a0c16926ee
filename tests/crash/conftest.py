from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.crash.harness import Zygote


@pytest.fixture(scope="session")
def zygotes() -> Iterator[list[Zygote]]:
    """Two processes that start Heeds by a fork; both end with the tests."""
    with closing(Zygote()) as first, closing(Zygote()) as second:
        yield [first, second]
