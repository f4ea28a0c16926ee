"""The staff's desk in a real browser: keys, the live queue, the composer, and nobody shut out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.adapters.desk_twin import DeskTwin
from tests.page.conftest import Serving
from tests.page.staff import add, enter, visit
from tests.patience import PATIENCE


@pytest.fixture
def staff(page: Page, serving: Serving) -> Page:
    enter(page.context, serving)
    return page


def rows(page: Page) -> list[str]:
    return page.locator("#rows .who").all_text_contents()


def test_a_day_by_keys_alone(staff: Page, serving: Serving) -> None:
    maya, kim = add(serving, "Maya"), add(serving, "Kim")
    visit(staff, serving)
    staff.keyboard.press("j")
    expect(staff.locator("#rows a").first).to_be_focused()
    staff.keyboard.press("j")
    staff.keyboard.press("k")
    staff.keyboard.press("Enter")
    expect(staff.locator(".head h2")).to_contain_text("Maya")
    expect(staff).to_have_url(f"{serving.url}/desk/{maya['id']}")
    staff.keyboard.press("c")
    expect(staff.locator(".head .state")).to_have_text("with you")
    expect(staff.locator("#answer")).to_be_focused()
    staff.keyboard.type("I am on it.")
    staff.keyboard.press("Control+Enter")
    expect(staff.locator(".line.staff .text")).to_have_text("I am on it.")
    expect(staff.locator(".line.staff .mark")).to_contain_text("delivered")
    expect(staff.locator("#answer")).to_have_value("")
    staff.keyboard.press("Escape")
    staff.keyboard.press("n")
    expect(staff.locator("#answer-label")).to_contain_text("does not see it")
    staff.keyboard.type("ask storage")
    staff.keyboard.press("Control+Enter")
    expect(staff.locator(".line.note .text")).to_have_text("ask storage")
    staff.keyboard.press("Escape")
    staff.keyboard.press("e")
    expect(staff.locator(".verdict")).to_be_visible()
    staff.get_by_role("button", name="Right").click()
    expect(staff.locator(".verdict")).to_contain_text("So far: right.")
    expect(staff.locator("#rows li")).to_have_count(1)
    staff.keyboard.press("j")
    staff.keyboard.press("Enter")
    expect(staff.locator(".head h2")).to_contain_text("Kim")
    staff.keyboard.press("z")
    expect(staff.locator("#snooze button").first).to_be_focused()
    staff.keyboard.press("Enter")
    expect(staff.locator(".head .state")).to_contain_text("until")
    assert (maya["verdict"], kim["state"]) == ("right", "snoozed")


def test_help_search_and_going_elsewhere(staff: Page, serving: Serving) -> None:
    case = add(serving, "Maya", "the invoice is wrong")
    add(serving, "Kim", "hello")
    visit(staff, serving, f"/desk/{case['id']}")
    staff.keyboard.press("?")
    expect(staff.locator("dialog#keys")).to_be_visible()
    staff.keyboard.press("Escape")
    expect(staff.locator("dialog#keys")).to_be_hidden()
    staff.keyboard.press("/")
    expect(staff.locator("#words")).to_be_focused()
    staff.keyboard.type("invoice")
    expect(staff.locator("#rows li")).to_have_count(1)
    assert "invoice" not in staff.url
    staff.keyboard.press("Escape")
    staff.keyboard.press("x")
    expect(staff.locator(".verdict")).to_be_visible()
    staff.keyboard.press("g")
    staff.keyboard.press("d")
    expect(staff).to_have_url(f"{serving.url}/desk")


def test_a_new_case_appears_by_itself_and_is_announced_once(staff: Page, serving: Serving) -> None:
    add(serving, "Maya")
    visit(staff, serving)
    expect(staff).to_have_title("(1) Heed")
    add(serving, "Kim", rule="request")
    expect(staff.locator("#rows li")).to_have_count(2)
    expect(staff).to_have_title("(2) Heed")
    expect(staff.locator("#announce")).to_have_text("New case: Kim, asks for a person")
    expect(staff.locator("[aria-live=polite]")).to_have_count(1)


def test_who_asked_to_be_told_hears_it_wherever_they_look(staff: Page, serving: Serving) -> None:
    maya, kim = add(serving, "Maya"), add(serving, "Kim")
    serving.call(lambda desk: desk.alerts.update({(maya["id"], "Ana"), (kim["id"], "Ben")}))
    visit(staff, serving, f"/desk/{kim['id']}")
    staff.locator("#sound").click()  # it rings; a fault of the sound would fail this test
    expect(staff).to_have_title("(2) Heed")
    serving.call(lambda desk: desk.hear(kim, "somebody else asked for this"))
    serving.call(lambda desk: desk.hear(maya, "are you there?"))
    expect(staff.locator("#announce")).to_have_text("You asked to be told: Maya wrote")
    expect(staff).to_have_title("● (2) Heed")
    staff.locator("#rows a", has_text="Maya").click()
    expect(staff.locator(".head h2")).to_contain_text("Maya")
    expect(staff).to_have_title("(2) Heed")


def test_what_happens_before_the_page_listens_is_shown_once_it_does(
    staff: Page, serving: Serving
) -> None:
    maya = add(serving, "Maya")

    def late(route: Route) -> None:
        add(serving, "Kim")
        serving.call(lambda desk: desk.hear(maya, "are you there?"))
        route.continue_()

    staff.route("**/desk/events*", late, times=1)
    visit(staff, serving, f"/desk/{maya['id']}")
    expect(staff.locator("#rows li")).to_have_count(2)
    expect(staff.locator(".line.user")).to_have_count(2)


@contextmanager
def held(page: Page, where: str) -> Iterator[list[Route]]:
    """Keep the requests of one address waiting until the end; they are answered then."""
    waiting: list[Route] = []
    over = False

    def hold(route: Route) -> None:
        if over:
            route.continue_()
        else:
            waiting.append(route)

    page.route(where, hold)
    yield waiting
    over = True
    with page.expect_response(where):
        for route in waiting:
            route.continue_()
    page.wait_for_timeout(300)
    page.unroute(where)


def asked(page: Page, waiting: list[Route]) -> None:
    for _ in range(round(100 * PATIENCE)):
        if waiting:
            return
        page.wait_for_timeout(10)
    raise AssertionError("nothing was asked for")


def test_a_case_that_was_left_does_not_come_back(staff: Page, serving: Serving) -> None:
    maya, kim, _ = (add(serving, who) for who in ("Maya", "Kim", "Lu"))
    visit(staff, serving, f"/desk/{maya['id']}")
    with held(staff, f"**/desk/{maya['id']}") as waiting:
        serving.call(lambda desk: desk.hear(maya, "are you there?"))
        asked(staff, waiting)
        staff.locator("#rows a", has_text="Kim").click()
        expect(staff.locator(".head h2")).to_contain_text("Kim")
    expect(staff.locator(".head h2")).to_contain_text("Kim")
    expect(staff).to_have_url(f"{serving.url}/desk/{kim['id']}")
    with held(staff, f"**/desk/{maya['id']}") as waiting:
        staff.locator("#rows a", has_text="Maya").click()
        asked(staff, waiting)
        staff.locator("#rows a", has_text="Lu").click()
        expect(staff.locator(".head h2")).to_contain_text("Lu")
    expect(staff.locator(".head h2")).to_contain_text("Lu")


def test_what_came_of_an_answer_keeps_out_of_the_next_case(staff: Page, serving: Serving) -> None:
    maya = add(serving, "Maya")
    add(serving, "Kim")
    visit(staff, serving, f"/desk/{maya['id']}")
    staff.locator("#answer").fill("for Maya")
    with held(staff, f"**/desk/{maya['id']}/act") as waiting:
        staff.get_by_role("button", name="Send", exact=True).click()
        asked(staff, waiting)
        staff.locator("#rows a", has_text="Kim").click()
        expect(staff.locator(".head h2")).to_contain_text("Kim")
        staff.locator("#answer").fill("for Kim")
    expect(staff.locator(".head h2")).to_contain_text("Kim")
    expect(staff.locator("#answer")).to_have_value("for Kim")
    staff.locator("#rows a", has_text="Maya").click()
    expect(staff.locator(".line.staff .text")).to_have_text("for Maya")
    expect(staff.locator("#answer")).to_have_value("")


def test_a_refusal_of_a_case_that_was_left_is_told(staff: Page, serving: Serving) -> None:
    maya = add(serving, "Maya")
    add(serving, "Kim")
    visit(staff, serving, f"/desk/{maya['id']}")
    staff.locator("#answer").fill("for Maya")
    with held(staff, f"**/desk/{maya['id']}/act") as waiting:
        staff.get_by_role("button", name="Send", exact=True).click()
        asked(staff, waiting)
        staff.locator("#rows a", has_text="Kim").click()
        expect(staff.locator(".head h2")).to_contain_text("Kim")
        serving.call(lambda desk: setattr(desk, "holder", "Ben"))
    expect(staff.locator("#flash")).to_contain_text(f"Case {maya['id']}: ")
    staff.locator("#rows a", has_text="Maya").click()
    expect(staff.locator("#answer")).to_have_value("for Maya")


def test_nothing_moves_under_the_pointer(staff: Page, serving: Serving) -> None:
    maya, kim = add(serving, "Maya"), add(serving, "Kim")
    visit(staff, serving)
    staff.locator("#rows li").first.hover()
    add(serving, "Jo", priority=3)
    add(serving, "Lu", priority=3)
    fresh = staff.get_by_role("button", name="2 new")
    expect(fresh).to_be_visible()
    serving.call(lambda desk: desk.hear(kim, "still here?"))
    expect(staff.locator("#rows li").nth(1)).to_contain_text("still here?")
    assert rows(staff) == ["Maya", "Kim"]
    expect(staff).to_have_title("(4) Heed")
    fresh.click()
    assert rows(staff) == ["Jo", "Lu", "Maya", "Kim"]
    expect(fresh).to_be_hidden()
    serving.call(lambda desk: settle(desk, maya))
    staff.wait_for_timeout(1500)
    assert rows(staff) == ["Jo", "Lu", "Maya", "Kim"]  # the pointer is still on the list
    staff.mouse.move(900, 500)
    expect(staff.locator("#rows li")).to_have_count(3)


def settle(desk: DeskTwin, case: dict[str, Any]) -> None:
    case.update(state="resolved", owner="bot")
    desk._tell(case)


def test_a_key_shows_what_waited(staff: Page, serving: Serving) -> None:
    add(serving, "Maya")
    visit(staff, serving)
    staff.locator("#rows li").first.hover()
    add(serving, "Jo", priority=3)
    expect(staff.get_by_role("button", name="1 new")).to_be_visible()
    staff.keyboard.press("j")
    expect(staff.locator("#rows a").first).to_be_focused()
    assert rows(staff) == ["Jo", "Maya"]


def test_what_is_being_written_stays_while_the_case_changes(staff: Page, serving: Serving) -> None:
    case, other = add(serving, "Maya"), add(serving, "Kim")
    visit(staff, serving, f"/desk/{case['id']}")
    staff.locator("summary", has_text="Rule trace").click()
    staff.locator("#answer").fill("half a sente")
    serving.call(lambda desk: desk.hear(case, "hello? are you there"))
    expect(staff.locator(".line.user")).to_have_count(2)
    expect(staff.locator("#answer")).to_have_value("half a sente")
    expect(staff.locator("#answer")).to_be_focused()
    expect(staff.locator("table.trace")).to_be_visible()
    staff.locator("#rows a", has_text="Kim").click()
    expect(staff.locator(".head h2")).to_contain_text("Kim")
    expect(staff.locator("#answer")).to_have_value("")
    staff.locator("#rows a", has_text="Maya").click()
    expect(staff.locator("#answer")).to_have_value("half a sente")
    assert other["state"] == "queued"


def test_the_mark_of_what_is_unread_goes_when_the_case_is_opened(
    staff: Page, serving: Serving
) -> None:
    add(serving, "Maya")
    visit(staff, serving)
    expect(staff.locator("#rows .unread")).to_have_count(1)
    staff.locator("#rows a").first.click()
    staff.mouse.move(900, 500)
    expect(staff.locator("#rows .unread")).to_have_count(0)
    case = serving.call(lambda desk: next(iter(desk._cases.values())))
    serving.call(lambda desk: desk.hear(case, "you see this at once"))
    expect(staff.locator(".line.user")).to_have_count(2)
    expect(staff.locator("#rows .last")).to_have_text("you see this at once")
    expect(staff.locator("#rows .unread")).to_have_count(0)


def test_new_lines_are_marked_when_a_case_is_opened_again(staff: Page, serving: Serving) -> None:
    case = add(serving, "Maya")
    visit(staff, serving, f"/desk/{case['id']}")
    expect(staff.locator(".unread-line")).to_have_count(0)
    visit(staff, serving, "/desk")
    serving.call(lambda desk: desk.hear(case, "one more thing"))
    visit(staff, serving, f"/desk/{case['id']}")
    expect(staff.locator(".unread-line + .line")).to_contain_text("one more thing")


def test_the_suggestion_is_taken_by_tab(staff: Page, serving: Serving) -> None:
    case = add(serving, "Maya")
    visit(staff, serving, f"/desk/{case['id']}")
    staff.get_by_role("button", name="Draft").click()
    expect(staff.locator("#ghost")).to_have_text("I am sorry. I look into it now.")
    staff.locator("#answer").focus()
    staff.keyboard.press("Tab")
    expect(staff.locator("#answer")).to_have_value("I am sorry. I look into it now.")
    expect(staff.locator("#ghost")).to_be_empty()
    staff.keyboard.press("Tab")  # a second Tab goes on, so nobody is caught
    expect(staff.locator("#answer")).not_to_be_focused()
    staff.locator("#answer").fill("")
    staff.keyboard.press("Escape")
    expect(staff.locator("#ghost")).to_be_empty()


def test_saved_replies_open_with_a_slash(staff: Page, serving: Serving) -> None:
    case = add(serving, "Maya")
    visit(staff, serving, f"/desk/{case['id']}")
    answer = staff.locator("#answer")
    answer.press_sequentially("/")
    options = staff.locator("#saved-list [role=option]")
    expect(options).to_have_count(2)
    staff.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(answer).to_have_attribute("aria-activedescendant", "saved-1")
    staff.keyboard.press("ArrowUp")
    staff.keyboard.type("re")
    expect(options).to_have_count(1)
    staff.keyboard.press("Enter")
    expect(answer).to_have_value("Your refund is on its way.")
    expect(options).to_have_count(0)


def test_the_limit_is_shown_only_when_it_is_near(staff: Page, serving: Serving) -> None:
    case = add(serving, "Maya", platform="discord")
    visit(staff, serving, f"/desk/{case['id']}")
    staff.locator("#answer").fill("x" * 1000)
    expect(staff.locator("#near")).to_be_empty()
    staff.locator("#answer").fill("x" * 1990)
    expect(staff.locator("#near")).to_have_text("10 characters left")
    staff.locator("#answer").fill("x" * 2005)
    expect(staff.locator("#near")).to_contain_text("5 characters too many")


def test_two_members_meet_at_a_case(staff: Page, serving: Serving, browser: Browser) -> None:
    case = add(serving, "Maya")
    visit(staff, serving, f"/desk/{case['id']}")
    with browser.new_context(locale="en-US") as context:
        enter(context, serving, "Ben")
        second = context.new_page()
        visit(second, serving, f"/desk/{case['id']}")
        expect(staff.locator("#near-by")).to_contain_text("Ben is looking at this")
        expect(second.locator("#near-by")).to_contain_text("Ana is looking at this")
        second.locator("#answer").press_sequentially("On it")
        expect(staff.locator("#near-by")).to_contain_text("Ben is writing")
        second.get_by_role("button", name="Send", exact=True).click()
        expect(staff.locator(".head .state")).to_have_text("with Ben")
        staff.locator("#answer").fill("me too")
        staff.get_by_role("button", name="Send", exact=True).click()
        expect(staff.locator("#flash")).to_contain_text("Ben claimed this")
        expect(staff.locator("#answer")).to_have_value("me too")
        staff.get_by_role("button", name="Do it anyway").click()
        expect(staff.locator(".line.staff")).to_have_count(2)
        expect(staff.locator("#flash .notice")).to_have_count(0)
    expect(staff.locator("#near-by")).not_to_contain_text("Ben")


def test_a_log_in_that_ended_keeps_what_was_written(staff: Page, serving: Serving) -> None:
    case = add(serving, "Maya")
    visit(staff, serving, f"/desk/{case['id']}")
    staff.locator("#answer").fill("do not lose me")
    serving.call(lambda desk: desk.sessions.clear())
    staff.get_by_role("button", name="Send", exact=True).click()
    expect(staff.locator("#flash")).to_contain_text("You are logged out")
    expect(staff.locator("#answer")).to_have_value("do not lose me")


def test_the_sound_is_a_choice_that_stays(staff: Page, serving: Serving) -> None:
    visit(staff, serving)
    sound = staff.locator("#sound")
    expect(sound).to_have_attribute("aria-pressed", "false")
    sound.click()
    staff.reload()
    expect(sound).to_have_attribute("aria-pressed", "true")
    add(serving, "Maya")  # it rings; a fault of the sound would fail this test
    expect(staff.locator("#rows li")).to_have_count(1)


def test_nothing_of_what_was_said_stands_in_address_title_or_storage(
    staff: Page, serving: Serving
) -> None:
    asked: list[str] = []
    staff.on("request", lambda request: asked.append(request.url))
    case = add(serving, "Maya", "zanzibar")
    visit(staff, serving, f"/desk/{case['id']}")
    staff.locator("#words").fill("zanzibar")
    staff.wait_for_timeout(700)
    staff.locator("#answer").fill("zanzibar indeed")
    staff.get_by_role("button", name="Send", exact=True).click()
    expect(staff.locator(".line.staff")).to_have_count(1)
    kept = staff.evaluate(
        "JSON.stringify([document.title, location.href, {...localStorage}, {...sessionStorage}])"
    )
    assert "zanzibar" not in kept + " ".join(asked)
    assert all(url.startswith(serving.url) for url in asked)


@contextmanager
def without_scripts(browser: Browser, serving: Serving) -> Iterator[Page]:
    with browser.new_context(java_script_enabled=False, locale="en-US") as context:
        enter(context, serving)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        yield page


def test_all_of_it_works_without_scripts(browser: Browser, serving: Serving) -> None:
    case = add(serving, "Maya", draft="I am sorry.")
    with without_scripts(browser, serving) as page:
        page.goto(serving.url + "/desk")
        page.locator("#words").fill("furious")
        page.get_by_role("button", name="Show").click()
        page.locator("#rows a").first.click()
        page.get_by_role("button", name="Claim").click()
        expect(page.locator(".head .state")).to_have_text("with you")
        page.get_by_role("button", name="Send it as it is").click()
        expect(page.locator(".line.staff .text")).to_have_text("I am sorry.")
        page.locator("#answer").fill("// a note")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator(".line.note .text")).to_have_text("a note")
        page.locator("#more > summary").click()
        page.get_by_role("button", name="Block").click()
        page.get_by_role("button", name="Do it anyway").click()
        assert case["blocked_until"] is not None
        page.get_by_role("button", name="Resolve", exact=True).first.click()
        page.get_by_role("button", name="Too late").click()
        assert case["verdict"] == "too late"
