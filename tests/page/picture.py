"""Draws the picture of the try-it room for the README: a short talk, a case, a person who answers.

Run `python -m tests.page.picture docs/try-it-room.png`; it starts Heed in an empty folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.program import Program

TALK = (
    "Thank you so much, the new export is great!",
    "Hi, the export has not worked since this morning.",
    "I am furious!! You lost my data again, terrible!",
)
ANSWER = "Ann, I have your backup here; it will be back soon."
NOTE = "Third loss this month: ask storage."


def play(page: Page) -> None:
    """Let Ann and Sam talk until the picture is worth taking."""
    page.get_by_role("button", name="Got it").click()
    for said, text in enumerate(TALK, start=1):
        page.locator("#text").fill(text)
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#lines .user .tag")).to_have_count(said)
        expect(page.locator("#lines .bot:not(.writing)")).to_have_count(said)
    page.get_by_role("button", name="Claim").click()
    expect(page.locator("#composer .human")).to_be_visible()
    for button, text in (("Note", NOTE), ("Reply", ANSWER)):
        page.locator("#reply").fill(text)
        page.locator("#composer").get_by_role("button", name=button).click()
        expect(page.locator("#transcript")).to_contain_text(text)
    expect(page.locator("#lines .staff")).to_be_visible()
    page.locator("h1").click()  # nothing is focused


def draw(target: Path) -> None:
    """Write the picture, 1440 by 900, light."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        program = Program(Path(folder))
        program.start()
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            view = {"width": 1440, "height": 900}
            page = browser.new_page(viewport=view, locale="en-US", reduced_motion="reduce")
            page.goto(program.url)
            play(page)
            page.screenshot(path=target)
            browser.close()
        finally:
            program.stop()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
