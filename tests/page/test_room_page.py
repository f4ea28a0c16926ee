"""The try-it room in a real browser: what a person and the staff see, click by click."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

FURIOUS = "I am furious, this is the third time!"


def say(page: Page, text: str) -> None:
    page.get_by_label("Message as", exact=False).fill(text)
    page.get_by_role("button", name="Send").click()


def visit(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#show-keys")).to_be_visible()


def test_a_friendly_line_gets_its_tag_and_a_streamed_answer(page: Page, room_url: str) -> None:
    visit(page, room_url)
    page.evaluate(
        """() => { window.grown = new Set(); new MutationObserver(() => {
             const line = document.querySelector('.writing .text');
             if (line) window.grown.add(line.textContent.length);
           }).observe(document.querySelector('#lines'), {subtree: true, childList: true}); }"""
    )
    say(page, "thank you for the quick help with my parcel today")
    expect(page.locator("#lines .user .text")).to_have_text(
        "thank you for the quick help with my parcel today"
    )
    expect(page.locator("#lines .user .tag")).to_contain_text("😄 positive, strong")
    answer = page.locator("#lines .bot .text")
    expect(answer).to_have_text("You said: thank you for the quick help with my parcel today")
    expect(page.locator("#lines .writing")).to_have_count(0)
    expect(page.locator("#typing")).to_be_hidden()
    assert page.evaluate("window.grown.size") > 3
    expect(page.locator("#lines .line")).to_have_count(2)
    expect(page.locator("#desk svg path")).to_have_count(1)
    expect(page.locator("#announce")).to_contain_text("Heed wrote: You said")


def test_an_outburst_opens_a_case_and_a_human_takes_over_and_hands_back(
    page: Page, room_url: str
) -> None:
    visit(page, room_url)
    say(page, FURIOUS)
    case = page.locator(".case")
    expect(case).to_contain_text("spike: intensity -0.94")
    expect(case.locator(".moved q")).to_have_text(FURIOUS)
    expect(case.locator(".moved .numbers")).to_contain_text("negative 0.80")
    case.get_by_text("Rule trace").click()
    expect(case.locator("table")).to_contain_text("threshold")
    expect(page.locator("#composer .owner")).to_contain_text("Waiting for a person")

    case.get_by_role("button", name="Claim").click()
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    expect(case.locator("table")).to_be_visible()  # what was open stays open
    page.locator("#reply").fill("I am here, let us fix it.")
    page.get_by_role("button", name="Reply").click()
    human = page.locator("#lines .staff")
    expect(human.locator(".text")).to_have_text("I am here, let us fix it.")
    expect(human.locator(".who")).to_contain_text("Sam, a person from the team")
    expect(page.locator("#reply")).to_have_value("")

    answers = page.locator("#lines .bot").count()
    say(page, "is anybody there?")
    silence = page.locator("#lines .user").last
    expect(silence.locator(".tag")).to_contain_text("neutral")
    expect(silence.locator(".silence")).to_contain_text("No automatic answer")
    assert page.locator("#lines .bot").count() == answers

    page.locator("#reply").fill("Check the invoice first.")
    page.get_by_role("button", name="Note").click()
    expect(page.locator("#transcript .note")).to_contain_text("Check the invoice first.")
    expect(page.locator("#lines")).not_to_contain_text("Check the invoice")

    case.get_by_role("button", name="Give back to the bot").click()
    expect(page.locator("#composer .owner")).to_contain_text("The bot answers")
    say(page, "and now?")
    expect(page.locator("#lines .bot").last).to_contain_text("You said: and now?")


def test_a_reload_shows_the_conversation_and_persons_are_apart(page: Page, room_url: str) -> None:
    visit(page, room_url)
    say(page, FURIOUS)
    expect(page.locator(".case")).to_be_visible()
    page.reload()
    expect(page.locator("#lines .user .text")).to_have_text(FURIOUS)
    expect(page.locator("#lines .user .tag")).to_contain_text("negative")
    expect(page.locator(".case")).to_be_visible()
    page.get_by_role("link", name="李雷").click()
    expect(page.locator("#lines")).to_contain_text("Nothing said yet")
    expect(page.locator(".case")).to_have_count(0)
    page.get_by_role("button", name="A thank-you").click()
    expect(page.locator("#lines .user .text")).to_contain_text("太感谢了")


def test_why_opens_how_it_was_made(page: Page, room_url: str) -> None:
    visit(page, room_url)
    say(page, "hello")
    page.locator("#lines .bot").get_by_role("link", name="why").click()
    made = page.locator("#why")
    expect(made).to_contain_text("table and phrase book, no prompt")
    expect(made.locator("mark")).to_have_text("shared start\n")
    expect(made.locator("pre")).to_contain_text("<b>own end</b>")
    page.keyboard.press("Escape")
    expect(made).to_be_hidden()


def test_text_of_people_never_becomes_markup(page: Page, room_url: str) -> None:
    nasty = "<img src=x onerror=\"document.title='owned'\"> furious <script>1</script> {name}"
    visit(page, room_url)
    say(page, nasty)
    expect(page.locator("#lines .user .text")).to_have_text(nasty)
    expect(page.locator(".moved q")).to_have_text(nasty)
    page.locator("#reply").fill(nasty)
    page.get_by_role("button", name="Reply").click()
    expect(page.locator("#lines .staff .text")).to_have_text(nasty)
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Heed · Try-it room"


def test_the_page_speaks_chinese_when_asked(page: Page, room_url: str) -> None:
    visit(page, room_url)
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", name="客服台")).to_be_visible()
    page.get_by_role("button", name="道谢").click()
    expect(page.locator("#lines .user .tag")).to_contain_text("正面")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "zh")


def test_hints_come_once_and_the_keys_work(page: Page, room_url: str) -> None:
    visit(page, room_url)
    expect(page.locator("#hints")).to_be_visible()
    page.get_by_role("button", name="Got it").click()
    page.reload()
    expect(page.locator("#show-keys")).to_be_visible()
    expect(page.locator("#hints")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type(FURIOUS)
    page.keyboard.press("Enter")
    expect(page.locator(".case")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    page.keyboard.press("r")
    page.keyboard.type("Hello")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("there")
    page.keyboard.press("Enter")
    expect(page.locator("#lines .staff .text")).to_have_text("Hello\nthere")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator(".persons [aria-current]")).to_contain_text("Bob")


def test_the_model_button_shows_progress(page: Page, room_url: str) -> None:
    visit(page, room_url)
    page.get_by_role("button", name="Get Qwen 0.5B (1 GB)").click()
    expect(page.locator("#bar progress")).to_have_attribute("value", "0.4")
    expect(page.locator("#bar")).to_contain_text("Loading Qwen 0.5B")
    expect(page.locator("#bar")).to_contain_text("Telegram connected")
    expect(page.locator("#bar")).to_contain_text("Discord not connected")


def test_a_phone_has_two_tabs_and_a_badge(page: Page, room_url: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    visit(page, room_url)
    page.get_by_role("button", name="Got it").click()
    expect(page.locator(".pane.desk")).to_be_hidden()
    say(page, FURIOUS)
    expect(page.locator("#badge")).to_be_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    page.locator("label[for=pane-desk]").click()
    expect(page.locator(".pane.person")).to_be_hidden()
    page.get_by_role("button", name="Claim").click()
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_plain_forms_do_it_all(browser: Browser, room_url: str) -> None:
    with browser.new_context(java_script_enabled=False, locale="en-US") as context:
        page = context.new_page()
        page.goto(room_url)
        say(page, "thank you")
        expect(page.locator("#lines .bot .text")).to_have_text("You said: thank you")
        say(page, FURIOUS)
        page.get_by_role("button", name="Claim").click()
        page.locator("#reply").fill("Sam is here.")
        page.get_by_role("button", name="Reply").click()
        expect(page.locator("#lines .staff .text")).to_have_text("Sam is here.")
        page.locator("#lines .bot").first.get_by_role("link", name="why").click()
        expect(page.get_by_role("heading", name="How this was made")).to_be_visible()


def test_a_lost_connection_is_said_and_heals(page: Page, room_url: str) -> None:
    visit(page, room_url)
    page.context.set_offline(True)
    say(page, "are you there")
    expect(page.locator("#notice")).to_contain_text(re.compile("did not answer|is lost"))
    expect(page.locator("#text")).to_have_value("are you there")
    page.context.set_offline(False)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#lines .bot .text")).to_have_text("You said: are you there")


def test_nothing_is_asked_of_another_host(page: Page, room_url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, room_url)
    say(page, FURIOUS)
    expect(page.locator(".case")).to_be_visible()
    assert asked
    assert all(url.startswith((room_url, "data:")) for url in asked)
