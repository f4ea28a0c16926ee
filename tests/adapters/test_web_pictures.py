"""The pictures over HTTP: who sees them, what they say, and that table and CSV say the same."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adapters.web.charts import NAMES, charts
from adapters.web.numbers import Speech
from adapters.web.pictures import LONGEST, read_wish
from adapters.web.session import COOKIE
from adapters.web.view import labels
from core.tables import conversation
from tests.adapters.pictures_twin import NOW, PicturesTwin
from tests.adapters.test_web_api import serving

DAY = 86400.0
SENTENCES = """\
3 messages from 2 people; 67 % of those with a score were negative.
The hardest hour was Thursday 2026-01-08 13:00: 2 negative messages from 1 person,
from 1 person, mostly in Telegram #help.
Of 2 people who wrote in the last seven days of this range: upset at their last message 1, tense 0.
Nobody wrote in the week before.
2 cases were opened, 1 claimed, 1 resolved, 0 given back to the bot; 1 is open now.
Half of those who got a human waited 5 min or less, nine in ten 5 min or less (1 case).
1 person still waits for a first word.
0 % of 2 people who wrote needed no human.
Settled by staff: 1 case; by the person: 0 cases; not needed: 0 cases.
1 of 1 judged alert turned out to be needed: 100 %, and with 95 % certainty between 21 % and 100 %.
1 case has no verdict and is counted apart.
2 thumbs up and 1 thumb down on the bot's replies: 67 % of them up.
Most is written on Thursday between 13:00 and 14:00: 3 messages.
0 % of all comes outside Monday to Friday, 9:00 to 18:00.
A message is understood in 42 ms and an answer written in 1.5 s (medians);
one answer in ten takes longer than 1.5 s."""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[PicturesTwin]:
    made = PicturesTwin(tmp_path)
    yield made
    made.town.store.close()


@pytest.fixture
async def client(desk: PicturesTwin) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        made.cookies.set(COOKIE, "open-sesame")
        yield made


async def look(client: httpx2.AsyncClient, **query: str) -> str:
    answer = await client.get("/pictures", params=query)
    assert answer.status_code == 200
    return unescape(answer.text)


async def rows_of(client: httpx2.AsyncClient, name: str, **query: str) -> list[dict[str, str]]:
    answer = await client.get(f"/pictures/{name}.csv", params=query)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    day = query.get("to", "2026-01-08")
    told = f'attachment; filename="heed-{name}-{day}.csv"'
    assert answer.headers["content-disposition"] == told
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def form_of(page: str) -> dict[str, str]:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return {"csrf": found[1]}


# --- the door -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/pictures", "/pictures?range=24h", "/pictures/messages.csv"])
async def test_nobody_sees_them_without_a_log_in(desk: PicturesTwin, path: str) -> None:
    async with serving(desk) as client:
        answer = await client.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")


async def test_the_sample_needs_a_form_of_our_own(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    for form in ({"do": "make"}, {"do": "make", "csrf": "guessed"}):
        assert (await client.post("/pictures/sample", data=form)).status_code == 403
    assert (await desk.pictures(0, NOW, {}, 0))["empty"]
    client.cookies.clear()
    assert (await client.post("/pictures/sample", data={"do": "make"})).status_code == 303
    assert (await desk.pictures(0, NOW, {}, 0))["empty"]


# --- the sample -----------------------------------------------------------------------------------


async def test_an_empty_database_offers_a_sample_and_one_click_removes_it(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    page = await look(client)
    assert "Nothing to draw yet" in page
    assert '<h2 id="title-' not in page
    done = await client.post("/pictures/sample", data={**form_of(page), "do": "make"})
    assert (done.status_code, done.headers["location"]) == (303, "/pictures")
    page = await look(client)
    assert "This is a sample." in page
    assert "Nobody of these people exists" in page
    assert len(re.findall('<h2 id="title-', page)) == len(NAMES)
    again = await client.post("/pictures/sample", data={**form_of(page), "do": "make"})
    assert again.status_code == 409
    assert "empty database only" in again.text
    await client.post("/pictures/sample", data={**form_of(page), "do": "clear"})
    assert "Nothing to draw yet" in await look(client)
    assert desk.town.rows(conversation) == []


async def test_real_messages_put_the_sample_out_of_the_charts(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    await desk.sample(make=True)
    desk.town.say(desk.town.person("ann"), NOW - 60)
    page = await look(client)
    assert "It is still in the database" in page
    assert "1 message from 1 person" in page


# --- what they say --------------------------------------------------------------------------------


async def test_each_chart_answers_in_a_sentence(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    town = desk.town
    ann, bob = town.person("ann", private=False, chat="#help"), town.person("bob", lang="zh")
    for who, p in ((ann, 0.9), (ann, 0.8), (bob, 0.1)):
        made = {"ms": 42.0, "reply": {"reply_ms": 1500.0}}
        town.say(who, NOW - 600, p, level="upset" if p > 0.5 else "calm", made=made)
    row = town.case(ann, NOW - 500, first_reply_at=NOW - 200, resolved_at=NOW - 100,
                    resolved_by="Sam", verdict="right", rule="slide")  # fmt: skip
    for what, at in (("opened", 500), ("claimed", 400), ("resolved", 100)):
        town.step(row, what, NOW - at)
    town.case(bob, NOW - 50, state="queued", rule="request")
    for who, value in ((ann, 1), (ann, 1), (bob, -1)):
        town.thumb(who, town.reply(who, NOW - 590), value, NOW - 580)
    page = re.sub("[\u202f]", " ", await look(client, range="24h"))
    for sentence in SENTENCES.split("\n"):
        assert sentence in page, sentence


async def test_an_engine_that_keeps_no_times_is_told_by_its_turns(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    desk.town.say(desk.town.person("ann"), NOW - 60, received_at=NOW - 60.25)
    page = await look(client)
    assert "The table and the phrase book take too little time to keep. From arrival" in page
    assert "included, it takes 250 ms" in page
    assert page.count('"label": "Arrival to answer"') == 1
    assert '"label": "Understood"' not in page  # nothing of it could be drawn


async def test_nobody_having_written_is_said_too(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    desk.town.person("ann")
    page = await look(client)
    for name in (
        "messages",
        "moods",
        "replies",
        "settled",
        "verdicts",
        "thumbs",
        "hours",
        "latency",
    ):
        assert labels()["en"]["pictures"][f"{name}_none"] in page
    assert "Nothing happened to any case in this time; 0 are open now." in page
    assert 'id="data-' not in page  # nothing to draw


async def test_table_and_csv_hold_the_same_rows(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    await desk.sample(make=True)
    query = {"range": "30d", "language": "en"}
    page = await look(client, **query)
    for name in NAMES:
        section = page[page.index(f'<section class="card chart" id="{name}"') :]
        section = section[: section.index("</section>")]
        cells = re.search('<table class="rows">(.*?)</table>', section, re.DOTALL)
        assert cells
        shown = re.findall(r"<tr>(.*?)</tr>", cells[1], re.DOTALL)
        assert f'href="/pictures/{name}.csv?range=30d&language=en"' in section
        rows = await rows_of(client, name, **query)
        assert list(rows[0]) == re.findall(r"<th[^>]*>(.*?)</th>", shown[0])
        assert len(rows) == len(shown) - 1
        same(rows, shown[1:])


def same(rows: list[dict[str, str]], lines: list[str]) -> None:
    """Compare every count of a CSV file with the table's."""
    counts = 0
    for row, line in zip(rows, lines, strict=True):
        told = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)
        for value, text in zip(row.values(), told, strict=True):
            if value.isdigit():
                counts += 1
                assert value == text.replace("\u202f", "")
    assert counts


async def test_the_csv_is_exact_and_in_the_browsers_own_time(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    ann = desk.town.person("ann")
    for p in (0.9, 0.1, 0.1):
        desk.town.say(ann, NOW - 60, p)
    client.cookies.set("heed_offset", "330")
    rows = await rows_of(client, "messages", range="24h")
    assert rows[-1] == {
        "Time": "2026-01-08T19:00:00+05:30", "Messages": "3", "With a score": "3",
        "Negative": "1", "Share negative": "0.3333",
    }  # fmt: skip
    assert len(rows) == 25  # the hour in which the range begins is not a whole one
    quiet = rows[0]
    assert (quiet["Messages"], quiet["Share negative"]) == ("0", "")


async def test_an_unknown_chart_is_not_found(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/pictures/passwords.csv")).status_code == 404


@pytest.mark.parametrize(
    ("query", "messages"),
    [
        ({}, 3),
        ({"platform": "discord"}, 1),
        ({"chat": "telegram/-100"}, 1),
        ({"language": "zh"}, 2),
        ({"platform": "discord", "language": "en"}, 0),
        ({"range": "custom", "from": "2026-01-01", "to": "2026-01-03"}, 0),
        ({"range": "custom", "from": "2026-01-08", "to": "2026-01-08"}, 3),
    ],
)
async def test_filters_and_ranges_choose_what_counts(
    client: httpx2.AsyncClient, desk: PicturesTwin, query: dict[str, str], messages: int
) -> None:
    town = desk.town
    for who in (
        town.person("ann"),
        town.person("bob", platform="discord", lang="zh"),
        town.person("eve", chat="-100", private=False, lang="zh"),
    ):
        town.say(who, NOW - 3600)
    rows = await rows_of(client, "messages", **query)
    assert sum(int(row["Messages"]) for row in rows) == messages
    page = await look(client, **query)
    assert ("Nobody wrote in this time." in page) == (messages == 0)
    for name, value in query.items():
        if name in ("chat", "platform", "language"):
            assert f'<option value="{value}" selected>' in page
    assert f'value="{query.get("range", "7d")}" checked' in page


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [
        ("", "", "problem_dates"), ("yesterday", "2026-01-02", "problem_dates"),
        ("2026-01-05", "2026-01-04", "problem_order"),
        ("2027-01-01", "2027-02-01", "problem_order"),
        ("2020-01-01", "2026-01-01", "problem_long"), ("9999-12-31", "9999-12-31", "problem_order"),
        ("2026-01-01", "2026-01-02", ""),
    ],
)  # fmt: skip
async def test_a_range_that_cannot_be_is_told_and_the_usual_one_shown(
    client: httpx2.AsyncClient, desk: PicturesTwin, first: str, last: str, problem: str
) -> None:
    desk.town.say(desk.town.person("ann"), NOW - 60)
    wish = read_wish({"range": "custom", "from": first, "to": last}, NOW, 0.0)
    assert wish.problem == problem
    assert 0 < wish.until - wish.since <= LONGEST
    page = await look(client, **{"range": "custom", "from": first, "to": last})
    words = labels()["en"]["pictures"]
    told = [text for name, text in words.items() if name.startswith("problem_") and text in page]
    assert told == ([words[problem]] if problem else [])


def test_days_of_a_custom_range_are_whole_days_of_the_browser() -> None:
    wish = read_wish({"range": "custom", "from": "2026-01-02", "to": "2026-01-03"}, NOW, -5.0)
    assert wish.since == datetime(2026, 1, 2, 5, tzinfo=UTC).timestamp()
    assert wish.until == wish.since + 2 * DAY
    today = read_wish({"range": "custom", "from": "2026-01-08", "to": "2026-01-09"}, NOW, 0.0)
    assert today.until == NOW


async def test_nothing_that_comes_from_outside_becomes_markup(
    client: httpx2.AsyncClient, desk: PicturesTwin
) -> None:
    nasty = "</script><script>alert(1)</script>'\""
    who = desk.town.person("ann", private=False, chat=nasty, lang=nasty, platform=nasty)
    desk.town.say(who, NOW - 60, 0.9)
    desk.town.case(who, NOW - 50, rule=nasty)
    for query in ({}, {"chat": f"x/{nasty}"}, {"language": nasty}, {"range": nasty}):
        text = (await client.get("/pictures", params=query)).text
        assert "<script>alert" not in text
        assert " style=" not in text  # the page's policy forbids it


async def test_the_page_speaks_chinese(client: httpx2.AsyncClient, desk: PicturesTwin) -> None:
    await desk.sample(make=True)
    page = await look(client, lang="zh")
    body = page[page.index('<div class="gallery">') : page.index("</main>")]
    body = re.sub(r"<script.*?</script>|<[^>]+>", " ", body, flags=re.DOTALL)
    left = set(re.findall("[A-Za-z]{3,}", body))
    assert left == {"CSV", "Sample", "sample", "group"}
    rows = await rows_of(client, "moods", lang="zh")
    assert list(rows[0]) == ["周", "平静", "紧张", "难过"]


def test_both_languages_have_every_word_of_the_pictures() -> None:
    def compare(one: dict[str, Any], other: dict[str, Any]) -> None:
        assert set(one) == set(other)
        for name, text in one.items():
            if isinstance(text, dict):
                compare(text, other[name])
            elif isinstance(text, str):
                fields = r"\{\w+\}"
                assert set(re.findall(fields, text)) == set(re.findall(fields, other[name])), name
            else:
                assert len(text) == len(other[name]) == 7

    compare(labels()["en"]["pictures"], labels()["zh"]["pictures"])


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5400, "1 h 30 min"),
     (90_000, "25 h 0 min")],
)  # fmt: skip
def test_a_span_of_time_is_as_rough_as_it_matters(value: float | None, said: str) -> None:
    assert speech().seconds(value) == said


def speech() -> Speech:
    words = labels()["en"]
    return Speech(words=words["pictures"], rules=words["rule"], offset=0.0)


async def test_a_drawing_stays_within_its_frame(desk: PicturesTwin) -> None:
    await desk.sample(make=True)
    figures = await desk.pictures(NOW - 7 * DAY, NOW, {}, 0.0)
    for chart in charts(figures, speech()):
        for shape in (chart.plot or {}).get("shapes", ()):
            for x, y, width in shape.get("bars", ()):
                assert 0 <= x <= x + width <= 640
                assert 0 <= y <= 160
            for line in shape.get("lines", ()):
                for point in line.split():
                    x, y = map(float, point.split(","))
                    assert 0 <= x <= 640
                    assert 0 <= y <= 160
        for bar in chart.bars:
            assert sum(one["width"] for one in bar["parts"]) <= 100.1
