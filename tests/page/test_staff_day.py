"""A whole day of staff in Chromium, on the real program: its database, its rules, its engine."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.program import ROOT, Program

PASSWORD = "a long enough password"
FURY = (
    "unbelievable, you charged me twice AGAIN and nobody answers, "
    "I am furious, this is the worst service ever"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(tmp_path_factory.mktemp("day"))
    add_staff(program, "Ana")
    program.start()
    yield program
    program.stop()


def add_staff(program: Program, name: str, *more: str) -> None:
    """Give somebody a password, as an operator does."""
    subprocess.run(
        [sys.executable, "-m", "bot", "db", "upgrade"],
        cwd=program.folder, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "bot", "staff", "add", name, "--admin", "--password-stdin", *more],
        cwd=program.folder, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True,
        input=PASSWORD + "\n", text=True,
    )  # fmt: skip


def writes(program: Program, user: str, text: str) -> dict[str, Any]:
    """Let somebody write over POST /chat, and return what came of it."""
    body = json.dumps({"text": text, "user": user}).encode()
    request = urllib.request.Request(f"{program.url}/chat", body)  # noqa: S310 - 127.0.0.1
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


def log_in(page: Page, program: Program, name: str = "Ana") -> None:
    page.goto(f"{program.url}/desk")
    expect(page).to_have_url(f"{program.url}/login?next=%2Fdesk")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_response("**/desk/events*"):
        page.get_by_role("button", name="Log in").click()


def test_a_whole_day(page: Page, program: Program) -> None:
    log_in(page, program)
    expect(page.locator("#rows li")).to_have_count(0)

    # Somebody is upset: the queue shows it without a reload, the title says so.
    assert writes(program, "maya", FURY)["owner"] == "queue"
    expect(page.locator("#rows li")).to_have_count(1)
    page.locator("#rows a").first.click()
    expect(page.locator(".head h2")).to_contain_text("maya")
    expect(page.locator(".line.user .text")).to_have_text(FURY)
    expect(page.locator("#case")).to_contain_text("upset")

    # Claim, a note, an answer; what she writes now comes here, and the bot says nothing.
    page.get_by_role("button", name="Claim").click()
    expect(page.locator(".head .state")).to_have_text("with you")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.keyboard.type("third complaint this month")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".line.note .text")).to_have_text("third complaint this month")
    page.locator("#answer").fill("I am looking at your invoice now.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".line.staff .text")).to_have_text("I am looking at your invoice now.")
    expect(page.locator(".line.staff .mark")).to_contain_text("delivered")
    assert writes(program, "maya", "ok, I am waiting")["response"] is None
    expect(page.locator(".line.user .text").last).to_have_text("ok, I am waiting")

    # Sleep, and wake because she writes.
    page.keyboard.press("Escape")
    page.keyboard.press("z")
    page.keyboard.press("Enter")
    expect(page.locator(".head .state")).to_contain_text("until")
    writes(program, "maya", "are you there?")
    expect(page.locator(".head .state")).to_have_text("with you")

    # A suggestion by the machine, which only staff see.
    page.get_by_role("button", name="Draft").click()
    expect(page.locator("#case")).to_contain_text("Tab")

    # Resolve, and say that the call was right; then it stands in the pictures.
    page.locator(".bar-acts").get_by_role("button", name="Resolve").first.click()
    expect(page.locator(".verdict")).to_be_visible()
    page.get_by_role("button", name="Right").click()
    expect(page.locator(".verdict")).to_contain_text("right")
    said = writes(program, "maya", "thanks")
    assert said["owner"] == "bot"  # a courtesy does not open it again
    page.goto(f"{program.url}/pictures")
    expect(page.locator("main")).to_contain_text("1")
    expect(page.locator("canvas, svg").first).to_be_visible()
    with page.expect_download() as download:
        page.locator("a[href*='.csv']").first.click()
    assert Path(download.value.path()).read_bytes()

    # And out; nothing of the desk is shown any more.
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{program.url}/desk")
    expect(page).to_have_url(f"{program.url}/login?next=%2Fdesk")


def test_the_settings_say_what_another_threshold_would_do(page: Page, program: Program) -> None:
    log_in(page, program)
    page.goto(f"{program.url}/settings")
    expect(page.locator("main")).to_contain_text("alerts_per_day")
