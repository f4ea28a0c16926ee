"""What the program cannot show at once: a slow stream, a download under way, platforms that are up.

The page is the same; the desk behind it is the one in memory.
"""

from __future__ import annotations

from playwright.sync_api import Page, expect


def test_a_slow_answer_grows_before_the_eyes(page: Page, twin_url: str) -> None:
    page.goto(twin_url)
    page.evaluate(
        """() => { window.grown = new Set(); new MutationObserver(() => {
             const line = document.querySelector('.writing .text');
             if (line) window.grown.add(line.textContent.length);
           }).observe(document.querySelector('#lines'), {subtree: true, childList: true});
           const typing = document.querySelector('#typing');
           new MutationObserver(() => { window.typed ||= !typing.hidden; })
             .observe(typing, {attributes: true}); }"""
    )
    page.locator("#text").fill("thank you for the quick help with my parcel today")
    page.get_by_role("button", name="Send").click()
    answer = page.locator("#lines .bot .text")
    expect(answer).to_have_text("You said: thank you for the quick help with my parcel today")
    expect(page.locator("#lines .writing")).to_have_count(0)
    expect(page.locator("#typing")).to_be_hidden()
    assert page.evaluate("window.typed"), "the typing line never showed"
    assert page.evaluate("window.grown.size") > 3
    expect(page.locator("#lines .line")).to_have_count(2)
    expect(page.locator("#announce")).to_contain_text("Heed wrote: You said")


def test_the_bar_shows_a_download_and_the_platforms(page: Page, twin_url: str) -> None:
    page.goto(twin_url)
    expect(page.locator("#show-keys")).to_be_visible()
    page.get_by_role("button", name="Get Qwen 0.5B (1 GB)").click()
    expect(page.locator("#bar progress")).to_have_attribute("value", "0.4")
    expect(page.locator("#bar")).to_contain_text("Loading Qwen 0.5B")
    expect(page.locator("#bar")).to_contain_text("40 %")
    expect(page.locator("#bar")).to_contain_text("Telegram connected")
    expect(page.locator("#bar")).to_contain_text("Discord not connected")


def test_a_prompt_stands_in_the_panel_with_its_shared_part_marked(
    page: Page, twin_url: str
) -> None:
    page.goto(twin_url)
    page.locator("#text").fill("hello")
    page.get_by_role("button", name="Send").click()
    page.locator("#lines .bot").get_by_role("link", name="why").click()
    made = page.locator("#why")
    made.get_by_text("Everything else").click()
    expect(made.locator("mark")).to_have_text("shared start\n")
    expect(made.locator("pre")).to_contain_text("<b>own end</b>")
