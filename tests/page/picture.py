"""Draws the pictures of the documents: the try-it room, the desk, the charts.

Run `python -m tests.page.picture docs`; it starts Heed in an empty folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.page.conftest import ARGUMENTS, CHROMIUM
from tests.page.program import Program
from tests.page.test_staff_day import FURY, add_staff, log_in, writes

TALK = (
    "Thank you so much, the new export is great!",
    "Hi, the export has not worked since this morning.",
    "I am furious!! You lost my data again, terrible!",
)
ANSWER = "Ann, I have your backup here; it will be back soon."
NOTE = "Third loss this month: ask storage."
PEOPLE = (
    ("maya", "Hello, I have a question about my invoice."),
    ("maya", "It says 40 euros, but my plan costs 20."),
    ("maya", FURY),
    ("ben", "I want to speak to a real person please"),
    ("李雷", "我很生气,你们又扣错了钱,没有人理我,太过分了!"),
    ("noor", "This is the third time it fails. I will cancel everything and leave."),
)


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


def work(program: Program, page: Page, folder: Path) -> None:
    """Let people write and staff work, and draw the desk wide, dark and narrow."""
    for user, text in PEOPLE:
        writes(program, user, text)
    log_in(page, program)
    page.locator("#rows a").filter(has_text="maya").first.click()
    expect(page.locator(".head h2")).to_contain_text("maya")
    page.get_by_role("button", name="Claim").click()
    expect(page.locator(".head .state")).to_have_text("with you")
    for text in ("// third complaint this month", "I am looking at your invoice now, Maya."):
        page.locator("#answer").fill(text)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#talk-lines")).to_contain_text(text.removeprefix("// "))
    writes(program, "maya", "ok, thank you for looking at it")
    expect(page.locator(".line.user .text").last).to_have_text("ok, thank you for looking at it")
    page.keyboard.press("Escape")  # nothing is focused
    page.screenshot(path=folder / "desk.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=folder / "desk-dark.png")
    page.set_viewport_size({"width": 360, "height": 780})
    page.screenshot(path=folder / "desk-360.png")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})


def charts(program: Program, page: Page, folder: Path) -> None:
    """Draw the charts of the sample, which an empty database offers."""
    log_in(page, program)
    page.goto(f"{program.url}/pictures")
    page.locator("form button").filter(has_text="sample").first.click()
    expect(page.locator("canvas, svg").first).to_be_visible()
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "pictures.png")


def draw(folder: Path) -> None:
    """Write the pictures, 1440 by 900 but for the narrow one."""
    scenes = {"try-it-room.png": None, "desk": work, "pictures": charts}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name, scene in scenes.items():
            with tempfile.TemporaryDirectory() as place:
                program = Program(Path(place))
                add_staff(program, "Ana")
                program.start()
                view = {"width": 1440, "height": 900}
                page = browser.new_page(viewport=view, locale="en-US", reduced_motion="reduce")
                try:
                    if scene is None:
                        page.goto(program.url)
                        play(page)
                        page.screenshot(path=folder / name)
                    else:
                        scene(program, page, folder)
                finally:
                    page.close()
                    program.stop()
        browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
