"""The try-it room of the real program in a real browser: what a person and the staff see."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.page.program import Program

FRIENDLY = "Thank you so much, that solved it!"
FURIOUS = "I am furious!! This is the third time you lost my data. Terrible, I have had enough!"
OPENED = "I have told our team that you need a person"
SILENT = re.compile(r"No automatic answer|Goes to a person")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def say(page: Page, text: str) -> Locator:
    """Say a line as the person; return it as soon as it is heard."""
    page.get_by_label("Message as", exact=False).fill(text)
    page.get_by_role("button", name="Send").click()
    line = page.locator("#lines .user:not(.pending)").filter(has_text=text).last
    expect(line.locator(".tag")).to_be_visible()
    return line


def visit(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#show-keys")).to_be_visible()


def open_case(page: Page) -> Locator:
    say(page, FURIOUS)
    case = page.locator("article.case")
    expect(case).to_be_visible()
    return case


def act(page: Page, name: str) -> None:
    page.locator(".pane.desk").get_by_role("button", name=name, exact=True).click()


def reply(page: Page, text: str) -> None:
    page.locator("#reply").fill(text)
    act(page, "Reply")


def test_a_friendly_line_gets_its_tag_and_a_kind_answer(page: Page, room_url: str) -> None:
    visit(page, room_url)
    page.evaluate(
        """() => { window.grown = new Set(); new MutationObserver(() => {
             const line = document.querySelector('.writing .text');
             if (line) window.grown.add(line.textContent.length);
           }).observe(document.querySelector('#lines'), {subtree: true, childList: true}); }"""
    )
    said = say(page, FRIENDLY)
    expect(said.locator(".tag")).to_contain_text(re.compile(r"😄 positive, (strong|clear)"))
    answer = page.locator("#lines .bot .text")
    expect(answer).to_have_text(re.compile(r"[a-z]{3}.*[.!?]"))
    assert not CHINESE.search(answer.inner_text())
    expect(page.locator("#announce")).to_contain_text("Heed wrote: " + answer.inner_text()[:20])
    expect(page.locator("#typing")).to_be_hidden()
    assert page.evaluate("window.grown.size") > 2  # it was seen being written
    expect(page.locator("#lines .line")).to_have_count(2)
    expect(page.locator("#desk svg path")).to_have_count(1)
    expect(page.locator("#transcript")).to_contain_text(FRIENDLY)


def test_a_chinese_line_is_answered_in_chinese(page: Page, room_url: str) -> None:
    visit(page, room_url + "/?person=lilei&lang=zh")
    expect(page.get_by_role("heading", name="客服台")).to_be_visible()
    page.get_by_role("button", name="道谢").click()
    expect(page.locator("#lines .user .tag")).to_contain_text("正面")
    expect(page.locator("#lines .bot .text")).to_have_text(CHINESE)
    page.get_by_role("button", name="发火").click()
    expect(page.locator(".case .moved q").last).to_contain_text("气死")
    expect(page.locator("#lines .bot .text").last).to_contain_text("通知团队")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Staff desk")).to_be_visible()


def test_an_outburst_opens_a_case_and_a_human_takes_over_and_hands_back(
    page: Page, room_url: str
) -> None:
    visit(page, room_url)
    case = open_case(page)
    expect(page.locator("#lines .user .opened")).to_contain_text("Goes to a person")
    expect(page.locator("#lines .bot .text")).to_contain_text(OPENED)
    expect(case.locator(".because")).to_contain_text(re.compile(r"negative 0\.\d\d"))
    expect(case.locator(".moved q")).to_have_text(FURIOUS)
    expect(case.locator(".moved .numbers")).to_contain_text(re.compile(r"negative 0\.\d\d"))
    case.get_by_text("Rule trace").click()
    expect(case.locator("tr.fired").first).to_contain_text("yes")
    expect(page.locator("#composer .owner")).to_contain_text("Waiting for a person")
    expect(page.locator("#announce")).to_contain_text("A case is open")

    act(page, "Claim")
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    expect(case.locator("table")).to_be_visible()  # what was open stays open
    reply(page, "I am here, let us fix it.")
    human = page.locator("#lines .staff")
    expect(human.locator(".text")).to_have_text("I am here, let us fix it.")
    expect(human.locator(".who")).to_contain_text("Sam, a person from the team")
    expect(page.locator("#reply")).to_have_value("")

    answers = page.locator("#lines .bot").count()
    silence = say(page, "is anybody there?")
    expect(silence).to_contain_text(SILENT)
    assert page.locator("#lines .bot").count() == answers

    page.locator("#reply").fill("Check the invoice first.")
    act(page, "Note")
    expect(page.locator("#transcript .note")).to_contain_text("Check the invoice first.")
    expect(page.locator("#lines")).not_to_contain_text("Check the invoice")

    act(page, "Give back to the bot")
    expect(page.locator("#composer .owner")).to_contain_text("The bot answers")
    expect(page.locator("#lines")).to_contain_text("You are back with the bot")
    again = page.locator("#lines .bot").count()
    say(page, FRIENDLY)
    expect(page.locator("#lines .bot")).to_have_count(again + 1)


@pytest.mark.parametrize(
    ("button", "told"),
    [("Resolve", "settled from our side"), ("Not needed", "back with the bot")],
)
def test_a_case_is_closed_and_the_bot_speaks_again(
    page: Page, room_url: str, button: str, told: str
) -> None:
    visit(page, room_url)
    open_case(page)
    act(page, "Claim")
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    act(page, button)
    expect(page.locator("#desk")).to_contain_text("No open case")
    expect(page.locator("#lines")).to_contain_text(told)
    expect(page.locator("#badge")).to_be_hidden()
    before = page.locator("#lines .bot").count()
    say(page, FRIENDLY)
    expect(page.locator("#lines .bot")).to_have_count(before + 1)


@pytest.mark.parametrize(
    ("person", "sample"), [("ann", "slide"), ("lilei", "slide"), ("bob", "outburst")]
)
def test_the_samples_do_what_the_hints_promise(
    page: Page, room_url: str, person: str, sample: str
) -> None:
    visit(page, f"{room_url}/?person={person}")
    case, said = page.locator("article.case"), page.locator("#lines .user .tag")
    for line in range(1, 2 if sample == "outburst" else 6):
        page.locator(f"[value={sample}]").click()
        expect(said).to_have_count(line)
        expect(page.locator("#typing")).to_be_hidden()
        if case.count():
            break
    expect(case).to_be_visible()


def test_in_somebody_elses_case_an_answer_goes_only_after_a_question(
    page: Page, room_url: str, program: Program
) -> None:
    visit(page, room_url)
    open_case(page)
    act(page, "Claim")
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    program.change("UPDATE cases SET claimed_by = 'Kim', holder = 'web:Kim'")
    page.reload()
    expect(page.locator("#composer .owner")).to_contain_text("Kim answers")
    expect(page.get_by_role("button", name="Take over")).to_be_visible()
    reply(page, "It is me now.")
    expect(page.locator("#notice")).to_contain_text("Kim claimed this")
    expect(page.locator("#reply")).to_have_value("It is me now.")
    confirm = page.get_by_role("button", name="Do it anyway")
    expect(confirm).to_be_focused()
    assert page.locator("#lines .staff").count() == 0
    page.keyboard.press("Enter")
    expect(page.locator("#lines .staff .text")).to_have_text("It is me now.")
    expect(page.locator("#composer .owner")).to_contain_text("Kim answers")  # only lent
    expect(page.locator("#reply")).to_have_value("")
    expect(page.locator("#notice")).to_be_empty()


def test_a_restart_loses_nothing_and_the_page_comes_back_by_itself(
    page: Page, room_url: str, program: Program
) -> None:
    visit(page, room_url)
    open_case(page)
    act(page, "Claim")
    reply(page, "I am here.")
    expect(page.locator("#lines .staff")).to_be_visible()
    lines = page.locator("#lines .line").all_inner_texts()
    program.stop()
    expect(page.locator("#notice")).to_contain_text("connection is lost")
    page.locator("#text").fill("are you there?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#notice")).to_contain_text(re.compile("did not answer|is lost"))
    expect(page.locator("#text")).to_have_value("are you there?")
    program.start()
    expect(page.locator("#notice")).to_be_empty()
    assert page.locator("#lines .line").all_inner_texts() == lines
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#lines .user").last).to_contain_text(SILENT)
    page.reload()
    expect(page.locator("#lines .line")).to_have_count(len(lines) + 1)
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")


def test_a_reload_shows_the_conversation_and_persons_are_apart(page: Page, room_url: str) -> None:
    visit(page, room_url)
    open_case(page)
    page.reload()
    expect(page.locator("#lines .user .text")).to_have_text(FURIOUS)
    expect(page.locator("#lines .user .tag")).to_contain_text("negative")
    expect(page.locator(".case")).to_be_visible()
    page.get_by_role("link", name="Bob").click()
    expect(page.locator("#lines")).to_contain_text("Nothing said yet")
    expect(page.locator("#transcript")).to_contain_text("appears here")
    expect(page.locator(".case")).to_have_count(0)


def test_why_tells_how_a_line_was_heard_decided_and_answered(page: Page, room_url: str) -> None:
    visit(page, room_url)
    say(page, FRIENDLY)
    page.locator("#lines .bot").get_by_role("link", name="why").click()
    made = page.locator("#why")
    expect(made.locator("blockquote")).to_have_text(FRIENDLY)
    expect(made.locator("meter")).to_have_count(3)
    expect(made).to_contain_text("No person is needed")
    expect(made.locator(".trace tbody tr")).not_to_have_count(0)
    expect(made).to_contain_text("table and phrase book, no prompt")
    page.keyboard.press("Escape")
    expect(made).to_be_hidden()
    open_case(page).get_by_text("Rule trace").click()
    page.locator("#lines .opened").get_by_role("link", name="why").click()
    expect(made).to_contain_text("A person is needed: ")
    expect(made.locator("tr.fired")).not_to_have_count(0)
    expect(made).to_contain_text("No answer was written by a machine")


@pytest.mark.parametrize(
    ("language", "button", "kept"),
    [
        ("en", "Get Qwen 0.5B (1 GB)", "embedded goes on answering"),
        ("zh", "获取 Qwen 0.5B (1 GB)", "别的办法"),
    ],
)
def test_the_model_button_offline_says_so_and_names_the_other_ways(
    page: Page, room_url: str, language: str, button: str, kept: str
) -> None:
    visit(page, f"{room_url}/?lang={language}")
    page.get_by_role("button", name=button).click()
    problem = page.locator("#bar .problem")
    expect(problem).to_contain_text(kept)
    for way in ("heed model import", "HF_ENDPOINT", "HEED_MODEL__NAME"):
        expect(problem).to_contain_text(way)
    problem.locator("summary").click()
    page.reload()
    expect(problem.locator("code").first).to_be_hidden()  # folded away, it stays so
    expect(page.get_by_role("button", name=button)).to_be_enabled()


def test_text_of_people_never_becomes_markup(page: Page, room_url: str) -> None:
    nasty = (
        "<img src=x onerror=\"document.title='owned'\"> <script>1</script> {name} talk to a human"
    )
    visit(page, room_url)
    say(page, nasty)
    expect(page.locator("#lines .user .text")).to_have_text(nasty)
    expect(page.locator(".moved q")).to_have_text(nasty)
    reply(page, nasty)
    expect(page.locator("#lines .staff .text")).to_have_text(nasty)
    page.locator("#lines .opened").get_by_role("link", name="why").click()
    expect(page.locator("#why blockquote")).to_have_text(nasty)
    assert page.locator("main img, main script, dialog img").count() == 0
    assert page.title() == "Heed · Try-it room"


@pytest.mark.parametrize("width", [360, 1440])
def test_odd_texts_do_not_break_the_layout(page: Page, room_url: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    visit(page, room_url + "/?person=bob")
    odd = [
        "Donaudampfschiff" * 20,
        "مرحبا، لم يعمل التصدير منذ الصباح",
        "```\n" + "x" * 300 + "\n    return {1: [2]}\n```",
        "👍👩‍👩‍👧‍👦🎉",
        "A sentence like any other. " * 120,
    ]
    for text in odd:
        page.get_by_label("Message as", exact=False).fill(text)
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#lines .user:not(.pending) .text").last).to_have_text(text.strip())
    expect(page.locator("#lines .user .tag")).to_have_count(len(odd))
    arabic = page.locator("#lines .user .text").nth(1)
    assert arabic.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for text in page.locator("#lines .text").all():
        box = text.bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width


def test_hints_come_once_and_keys_alone_do_it_all(page: Page, room_url: str) -> None:
    visit(page, room_url)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#hints")).to_be_visible()
    page.get_by_role("button", name="Got it").focus()
    page.keyboard.press("Enter")
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
    page.keyboard.press("b")
    expect(page.locator("#composer .owner")).to_contain_text("The bot answers")
    page.keyboard.press("e")
    expect(page.locator("#desk")).to_contain_text("No open case")
    page.keyboard.press("2")
    expect(page.locator(".persons [aria-current]")).to_contain_text("Bob")


def test_a_phone_has_two_tabs_and_a_badge(page: Page, room_url: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    visit(page, room_url)
    page.get_by_role("button", name="Got it").click()
    expect(page.locator(".pane.desk")).to_be_hidden()
    say(page, FURIOUS)
    expect(page.locator("#badge")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("label[for=pane-desk]").click()
    expect(page.locator(".pane.person")).to_be_hidden()
    act(page, "Claim")
    expect(page.locator("#composer .owner")).to_contain_text("Sam answers")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_plain_forms_do_it_all(browser: Browser, room_url: str) -> None:
    with browser.new_context(java_script_enabled=False, locale="en-US") as context:
        page = context.new_page()
        page.goto(room_url)
        say(page, FRIENDLY)
        expect(page.locator("#lines .bot .text")).to_have_text(re.compile(r"[a-z]{3}"))
        say(page, FURIOUS)
        expect(page.locator("#lines .bot").last).to_contain_text(OPENED)
        act(page, "Claim")
        reply(page, "Sam is here.")
        expect(page.locator("#lines .staff .text")).to_have_text("Sam is here.")
        page.locator("#lines .bot").first.get_by_role("link", name="why").click()
        expect(page.get_by_role("heading", name="How this was made")).to_be_visible()
        page.get_by_role("link", name="Back to the room").click()
        expect(page.locator("#lines .staff .text")).to_have_text("Sam is here.")


def test_nothing_is_asked_of_another_host(page: Page, room_url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, room_url)
    open_case(page)
    assert asked
    assert all(url.startswith((room_url, "data:")) for url in asked)
