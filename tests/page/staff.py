"""A member of staff at the desk in memory: logging in, opening the page, people who write."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.page.conftest import Serving

FURIOUS = "I am furious!! This is the third time you lost my data."


def enter(context: BrowserContext, serving: Serving, name: str = "Ana") -> None:
    """Give a browser the session of a member of staff."""
    secret = serving.log_in(name)
    context.add_cookies([{"name": "heed_session", "value": secret, "url": serving.url}])


def add(serving: Serving, who: str, *said: str, **more: Any) -> dict[str, Any]:
    """Open a case of somebody who has said these lines."""
    return serving.call(lambda desk: desk.add(who, *(said or (FURIOUS,)), **more))


def visit(page: Page, serving: Serving, path: str = "/desk") -> None:
    """Open a page of the desk and wait until it hears what happens."""
    page.goto(serving.url + path)
    page.locator("body[data-listening]").wait_for()
