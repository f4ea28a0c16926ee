"""A browser, and two addresses to point it at: the real program, and the desk in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from adapters.web import WebAdapter
from tests.adapters.desk_twin import DeskTwin
from tests.page.program import Program
from tests.patience import PATIENCE

expect.set_options(timeout=1000 * PATIENCE)

T = TypeVar("T")
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_report_header() -> str | None:
    if CHROMIUM.exists():
        return None
    return f"NO BROWSER: {CHROMIUM} is missing, the page tests are skipped"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # One browser a module: it holds an event loop, which must be gone before the next module.
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: install chromium, so that {CHROMIUM} exists")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-US") as context:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda said: broken.append(said.text) if _is_fault(said) else None)
        yield page
        assert broken == []


def _is_fault(said: object) -> bool:
    # A refused form (4xx) is logged as an error by the browser itself; the page shows its words.
    # A request that a page leaves behind is called an error by htmx.
    fine = ("Failed to load resource", "htmx:sendAbort", "htmx:afterRequest")
    return said.type == "error" and not any(words in said.text for words in fine)


class Serving:
    """The web adapter in a thread with its own loop, as a program of its own would be."""

    def __init__(self) -> None:
        self.desk = DeskTwin(time.time, pause=0.03)
        self.loop = asyncio.new_event_loop()
        self.url = ""
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        self.loop.run_until_complete(self._run())
        self.loop.close()

    async def _run(self) -> None:
        web = WebAdapter(
            self.desk,
            clock=time.time,
            host="127.0.0.1",
            port=0,
            ready=lambda: None,
            metrics=lambda: b"",
        )
        await web.bind()
        self.url = web.url
        self._running = asyncio.create_task(web.run())
        self._up.set()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.desk.close()

    def call(self, what: Callable[[DeskTwin], T]) -> T:
        """Do something at the desk, in its own thread, and return what came of it."""

        async def there() -> T:
            return what(self.desk)

        return asyncio.run_coroutine_threadsafe(there(), self.loop).result(10)

    def log_in(self, name: str) -> str:
        """Return a new session's secret."""
        coming = self.desk.log_in(name, f"{name}-password")
        secret = asyncio.run_coroutine_threadsafe(coming, self.loop).result(10)
        assert secret
        return secret

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._running.cancel)
        self._thread.join(10)


@pytest.fixture
def twin_url() -> Iterator[str]:
    """The page over the desk in memory: for what the program cannot show at once."""
    with Serving() as serving:
        yield serving.url


@pytest.fixture
def serving() -> Iterator[Serving]:
    """The desk in memory, and the pages over it."""
    with Serving() as serving:
        yield serving


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(tmp_path_factory.mktemp("heed"))
    program.start()
    try:
        yield program
    finally:
        program.stop()


@pytest.fixture
def program(installed: Program) -> Program:
    """The running program, in which nobody has said anything yet."""
    installed.empty()
    return installed


@pytest.fixture
def room_url(program: Program) -> str:
    return program.url
