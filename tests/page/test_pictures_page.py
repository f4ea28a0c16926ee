"""The pictures in a browser: charts draw, tables agree, nothing comes from anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from adapters.web.session import COOKIE
from core.store.sample import fill
from tests.adapters.pictures_twin import PicturesTwin
from tests.page.conftest import Serving
from tests.page.test_page_access import faults

DRAWN = ("messages", "cases", "replies", "thumbs", "latency")
INK = """canvas => {
  const {width, height} = canvas;
  const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] > 250) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
  return seen.size;
}"""
SUMS = """name => {
  const data = JSON.parse(document.getElementById(`data-${name}`).textContent);
  const table = document.querySelector(`#${name} .rows`);
  const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  return data.series.filter(one => one.unit === 'count').map(one => {
    const at = heads.indexOf(one.label);
    const cells = [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
    return [cells.map(text => Number(text.replace(/\\D/g, ''))), one.values];
  });
}"""


class Gallery(Serving):
    """The page over the figures of a real database."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.desk = PicturesTwin(folder, time.time)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path) as serving:
        yield serving
    serving.desk.town.store.close()


@pytest.fixture
def filled(gallery: Gallery) -> Gallery:
    gallery.desk.town.store.write_now(lambda c: fill(c, gallery.desk.clock()))
    return gallery


def enter(context: BrowserContext, gallery: Gallery) -> None:
    context.add_cookies([{"name": COOKIE, "value": "open-sesame", "url": gallery.url}])


def test_charts_draw_and_their_tables_say_the_same(page: Page, filled: Gallery) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    enter(page.context, filled)
    page.goto(f"{filled.url}/pictures")
    for name in DRAWN:
        canvas = page.locator(f"#{name} canvas")
        expect(canvas).to_be_visible()
        assert canvas.evaluate(INK) > 1, name  # lines, not an empty sheet
        expect(page.locator(f"#{name} .plain")).to_have_count(0)
    for name in ("messages", "cases", "thumbs"):
        sums = page.evaluate(SUMS, name)
        assert sums
        for table, drawn in sums:
            assert table == drawn
            assert sum(table) > 0
    expect(page.locator("#hours .heat tbody tr")).to_have_count(7)
    expect(page.locator("#moods .bars li")).to_have_count(2)
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(filled.url).netloc}


def test_a_pointer_over_a_chart_is_told_the_numbers(page: Page, filled: Gallery) -> None:
    enter(page.context, filled)
    page.goto(f"{filled.url}/pictures")
    legend = page.locator("#messages .u-legend")
    expect(legend).to_contain_text("Share negative")
    page.locator("#messages .u-over").hover()
    expect(legend).to_contain_text("%")


def test_without_a_script_every_chart_is_there_as_a_plain_drawing(
    browser: Browser, filled: Gallery
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        enter(context, filled)
        page = context.new_page()
        page.goto(f"{filled.url}/pictures")
        for name in DRAWN:
            expect(page.locator(f"#{name} .plain svg")).to_be_visible()
        page.locator("#messages summary").click()
        expect(page.locator("#messages .rows tbody tr")).to_have_count(8)  # seven days and a part
        page.get_by_label("Language").select_option("zh")
        page.get_by_role("button", name="Show", exact=True).click()
        assert "language=zh" in page.url
        expect(page.locator("#messages .answer")).to_be_visible()


def test_an_empty_page_offers_a_sample_and_one_click_removes_it(
    page: Page, gallery: Gallery
) -> None:
    enter(page.context, gallery)
    page.goto(f"{gallery.url}/pictures")
    page.get_by_role("button", name="Show a sample").click()
    expect(page.get_by_text("This is a sample.")).to_be_visible()
    expect(page.locator("#messages canvas")).to_be_visible()
    page.get_by_role("button", name="Remove the sample").click()
    expect(page.get_by_text("Nothing to draw yet")).to_be_visible()
    expect(page.locator("canvas")).to_have_count(0)


def test_the_range_is_picked_by_keys_alone(page: Page, filled: Gallery) -> None:
    enter(page.context, filled)
    page.goto(f"{filled.url}/pictures")
    page.locator("input[name=range][value='7d']").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_url("**range=24h**")
    expect(page.locator("input[name=range]:checked")).to_have_value("24h")
    expect(page.locator("#messages .answer")).not_to_contain_text("hardest day")
    page.locator("input[name=range]:checked").focus()
    page.keyboard.press("ArrowLeft")  # around to the last one
    expect(page.get_by_label("From")).to_be_visible()
    day = time.strftime("%Y-%m-%d")
    page.get_by_label("From").fill(day)
    page.get_by_label("To", exact=True).fill(day)
    page.keyboard.press("Enter")
    page.wait_for_url("**range=custom**")
    expect(page.locator("#flash")).to_be_empty()


def test_days_begin_at_the_browsers_own_midnight(browser: Browser, filled: Gallery) -> None:
    with browser.new_context(timezone_id="Asia/Kolkata") as context:
        enter(context, filled)
        page = context.new_page()
        page.goto(f"{filled.url}/pictures")
        expect(page.locator("body")).to_have_attribute("data-offset", "330")
        data = page.evaluate("JSON.parse(document.getElementById('data-messages').textContent)")
        assert {(at + 330 * 60) % 86400 for at in data["x"]} == {0}


@pytest.mark.parametrize(
    ("width", "language", "theme"),
    [(1440, "en", "light"), (1440, "zh", "dark"), (360, "en", "dark"), (360, "zh", "light")],
)
def test_nothing_on_it_stands_in_anybodys_way(
    browser: Browser, filled: Gallery, width: int, language: str, theme: str
) -> None:
    with browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, bypass_csp=True
    ) as context:
        enter(context, filled)
        page = context.new_page()
        page.goto(f"{filled.url}/pictures?lang={language}")
        expect(page.locator("#latency canvas")).to_be_visible()
        assert faults(page) == []
        for one in page.locator(".below summary").all():
            one.click()
        assert faults(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
