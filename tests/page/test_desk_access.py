"""What axe-core finds on the desk, in both themes, both languages, wide and narrow: nothing."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.adapters.desk_twin import DeskTwin
from tests.page.conftest import Serving
from tests.page.staff import FURIOUS, add, enter, visit
from tests.page.test_page_access import faults
from tests.patience import PATIENCE


def many(serving: Serving) -> dict[str, Any]:
    """Fill the desk with something of everything."""
    now = time.time()
    points = [{"at": now - 60 * n, "value": -0.1 * n} for n in range(6)]
    case = add(
        serving, "Maya", "Hi", FURIOUS, mood_points=points, draft="I am sorry.", draft_by="model",
        held=2, priority=2, said=["Try again."], moved_by=[{"text": FURIOUS, "probs": {}}],
        remarks=[{"who": "Ben", "text": "Prefers mail.", "at": now}],
        earlier=[{"id": 1, "opened_at": now, "rule": "slide", "resolved_by": "", "verdict": ""}],
    )  # fmt: skip
    files = [{"kind": "photo", "name": "a.png", "size": 2048, "words": ""}]

    def talk(desk: DeskTwin) -> None:
        desk.hear(case, "Try again.", role="bot")
        desk.hear(case, "Ask storage.", role="note", name="Ben")
        desk.hear(case, "On it.", role="staff", name="Ana", mark="failed", problem="They left.")
        desk.hear(case, "Still on it.", role="staff", name="Ana", mark="sent")
        desk.hear(case, "ok", was="o", files=files)
        desk.hear(case, "", deleted=True)
        desk.running = [
            {
                "id": 1, "opened_at": now, "last_at": now, "users": 9, "words": ["export"],
                "places": ["#help"], "muted_until": None, "case_ids": [1],
            }
        ]  # fmt: skip

    serving.call(talk)
    for state in ("human", "snoozed", "watch"):
        add(serving, f"Person {state}", state=state, platform="discord", reachable=False)
    return case


@pytest.mark.parametrize(
    ("width", "language", "theme"),
    [(1440, "en", "light"), (1440, "zh", "dark"), (360, "en", "dark"), (360, "zh", "light")],
)
def test_nothing_stands_in_anybodys_way(
    browser: Browser, serving: Serving, width: int, language: str, theme: str
) -> None:
    view = {"width": width, "height": 740}
    with browser.new_context(
        viewport=view, color_scheme=theme, bypass_csp=True, reduced_motion="reduce"
    ) as context:
        enter(context, serving)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        visit(page, serving, f"/desk?lang={language}")
        assert faults(page) == []
        case = many(serving)
        visit(page, serving)
        assert faults(page) == []
        visit(page, serving, f"/desk/{case['id']}")
        assert faults(page) == []
        page.locator("#more > summary").click()
        assert faults(page) == []
        page.keyboard.press("Escape")
        if width < 1180:
            page.locator("label[for=view-context]").click()
        page.locator(".context summary").first.click()
        assert faults(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        for path in (f"/desk/{case['id']}/transcript", "/desk/saved"):
            page.goto(serving.url + path)
            assert faults(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_text_of_twice_the_size_fits(browser: Browser, serving: Serving) -> None:
    case = many(serving)
    with browser.new_context(viewport={"width": 720, "height": 450}) as context:
        enter(context, serving)  # 1440 by 900 at 200 %
        page = context.new_page()
        visit(page, serving, f"/desk/{case['id']}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 720
        page.locator("#answer").scroll_into_view_if_needed()
        expect(page.locator("#answer")).to_be_in_viewport()
        expect(page.locator(".lines-box")).to_have_css("overflow-y", re.compile("auto"))
