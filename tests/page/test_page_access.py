"""What axe-core finds on the page, in both themes, both languages, wide and narrow: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.patience import PATIENCE

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
FURIOUS = {
    "en": "I am furious!! This is the third time you lost my data. I have had enough!",
    "zh": "我气死了！！这已经是第三次丢我的数据了，太差劲了，我受够了！",
}


def faults(page: Page) -> list[str]:
    """Return what axe finds on the page as it is now, each with its place."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['impact']}: {one['id']} at {node['target']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("width", "language", "theme"),
    [(1440, "en", "light"), (1440, "zh", "dark"), (360, "en", "dark"), (360, "zh", "light")],
)
def test_nothing_stands_in_anybodys_way(
    browser: Browser, room_url: str, width: int, language: str, theme: str
) -> None:
    view = {"width": width, "height": 740}
    with browser.new_context(
        viewport=view, color_scheme=theme, bypass_csp=True, reduced_motion="reduce"
    ) as context:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(f"{room_url}/?lang={language}")
        expect(page.locator("#show-keys")).to_be_visible()
        assert faults(page) == []
        page.locator("#text").fill(FURIOUS[language])
        page.locator("#say button").click()
        expect(page.locator("#lines .opened")).to_be_visible()
        assert faults(page) == []
        page.locator("#lines .opened a").click()
        expect(page.locator("#why")).to_be_visible()
        assert faults(page) == []
        page.keyboard.press("Escape")
        if width < 800:
            page.locator("label[for=pane-desk]").click()
        page.locator(".case summary").first.click()
        page.locator(".case [value=claim]").click()
        expect(page.locator("#composer .owner.human")).to_be_visible()
        page.locator("#reply").fill("...")
        page.locator("#composer [value=note]").click()
        expect(page.locator("#transcript .note")).to_be_visible()
        page.locator("#bar .engine button").click()
        expect(page.locator("#bar .problem")).to_be_visible()
        assert faults(page) == []
