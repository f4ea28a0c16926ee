"""The settings without a browser: a real store, the real judge, real HTTP."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adapters.web.view import labels
from bot.settings import Mood, Settings, Telegram
from bot.tuning import LIVE
from core.message import Scores
from core.store import tuning
from core.store.rows import insert_id, scores_to_row
from core.tables import conversation, history
from tests.adapters.desk_live import LiveDesk, live_desk
from tests.adapters.test_web_api import serving
from tests.adapters.test_web_login import csrf_of, hidden, log_in

EN = labels()["en"]["settings_page"]
TOKEN = "4242:do-not-show-this"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[LiveDesk]:
    settings = Settings(telegram=Telegram(token=TOKEN), mood=Mood(half_life=600.0))
    with live_desk(tmp_path, settings) as made:
        made.hire("ana", admin=True)
        made.hire("ben")
        made.report = [
            {"state": "ok", "name": "database", "words": "writable"},
            {"state": "fail", "name": "telegram", "words": "give the right <to pin>"},
        ]
        yield made


@pytest.fixture
async def client(desk: LiveDesk) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        await log_in(made)
        yield made


async def send(
    client: httpx2.AsyncClient, path: str, *, part: bool = False, **fields: str
) -> httpx2.Response:
    form = {"csrf": await csrf_of(client), **fields}
    return await client.post(path, data=form, headers={"HX-Request": "true"} if part else None)


def changed(key: str, value: str, was: str) -> dict[str, str]:
    return {f"set:{key}": value, f"was:{key}": was}


def hear(desk: LiveDesk, *, p_negative: float, strong: float, count: int = 1) -> None:
    scores = Scores(
        label="negative",
        probs={"negative": p_negative},
        p_negative=p_negative,
        p_positive=0.0,
        intensity=-0.6,
        confidence=0.9,
        strong=strong,
        wants_human=0.0,
        threat_to_leave=0.0,
        crisis=0.0,
        lang="en",
        instrument="table",
    )

    def write(connection: Any) -> None:
        for _ in range(count):
            user = str(desk.clock.now)
            desk.clock.now += 1
            of = insert_id(
                connection,
                conversation,
                platform="telegram",
                bot="1",
                chat=user,
                user=user,
                opened_at=1.0,
                touched_at=1.0,
            )
            insert_id(
                connection,
                history,
                conversation_id=of,
                role="user",
                text="nothing of it works",
                at=desk.clock.now,
                scores=scores_to_row(scores),
            )

    desk.store.write_now(write)


async def test_an_admin_sees_every_setting_and_where_it_came_from(
    client: httpx2.AsyncClient,
) -> None:
    page = html.unescape((await client.get("/settings")).text)
    for key in LIVE:
        assert f'name="set:{key}"' in page, key
        assert labels()["en"]["settings_page"]["what"][key] in page
    assert EN["from_file"] in page
    assert "HEED_HTTP__PORT" in page
    assert "edit port under [http] in heed.toml" in page
    assert TOKEN not in page
    assert EN["secret_set"] in page


async def test_who_is_no_admin_gets_a_sentence(desk: LiveDesk) -> None:
    async with serving(desk) as client:
        await log_in(client, "ben")
        for method, path in (
            ("GET", "/settings"),
            ("POST", "/settings"),
            ("POST", "/settings/preview"),
            ("POST", "/settings/saved"),
            ("GET", "/settings/doctor"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, EN["refused"] in answer.text) == (403, True), path


async def test_nobody_comes_in_without_logging_in(desk: LiveDesk) -> None:
    async with serving(desk) as client:
        for method, path in (("GET", "/settings"), ("POST", "/settings/saved")):
            answer = await client.request(method, path)
            assert answer.headers["location"] == "/login?next=%2Fsettings"
        part = await client.get("/settings/doctor", headers={"HX-Request": "true"})
        assert part.status_code == 401


async def test_a_change_counts_at_once_and_is_written(
    client: httpx2.AsyncClient, desk: LiveDesk
) -> None:
    fields = changed("mood.upset_enter", "-0.6", "-0.55") | changed("desk.dry_run", "true", "false")
    answer = await send(client, "/settings", **fields)
    assert answer.headers["location"] == "/settings?done=saved"
    now = desk.tuning.current()
    assert (now.mood.upset_enter, now.mood.half_life, now.desk.dry_run) == (-0.6, 600.0, True)
    page = (await client.get("/settings?done=saved")).text
    assert EN["done_saved"] in page
    assert EN["from_page"] in page
    assert desk.store.read_now(tuning.rows) == {"mood.upset_enter": "-0.6", "desk.dry_run": "true"}


async def test_what_was_not_touched_is_not_sent(client: httpx2.AsyncClient, desk: LiveDesk) -> None:
    await send(client, "/settings", **changed("desk.t1_minutes", "6", "5"))
    stale = changed("desk.t1_minutes", "5", "5") | changed("desk.t2_minutes", "16", "15")
    await send(client, "/settings", **stale)  # of a page that was loaded before the first change
    assert (desk.tuning.current().desk.t1_minutes, desk.tuning.current().desk.t2_minutes) == (6, 16)
    answer = await send(client, "/settings", **changed("desk.t1_minutes", "5", "5"))
    assert answer.headers["location"] == "/settings?done=unchanged"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("mood.upset_enter", "-2", "mood.upset_enter must be at least -1"),
        ("mood.upset_enter", "much", "mood.upset_enter must be a number"),
        ("mood.upset_leave", "-0.9", "upset_leave must be greater than upset_enter"),
        ("desk.hours", "always", "desk.hours cannot be read"),
        ("desk.timezone", "Mars", "desk.timezone must be a time zone"),
        ("desk.t1_minutes", "50", "must rise"),
        ("http.port", "9", "http.port needs a restart"),
        ("telegram.token", "9:x", "telegram.token needs a restart"),
        ("nonsense", "9", "nonsense is no setting"),
    ],
)
async def test_a_wrong_value_is_told_and_stays_in_the_form(
    client: httpx2.AsyncClient, desk: LiveDesk, key: str, value: str, says: str
) -> None:
    answer = await send(client, "/settings", **changed(key, value, "other"))
    assert answer.status_code == 400
    page = html.unescape(answer.text)
    assert says in page
    if key in LIVE:
        assert f'value="{value}"' in page
    assert desk.store.read_now(tuning.rows) == {}


async def test_a_form_of_another_page_changes_nothing(
    client: httpx2.AsyncClient, desk: LiveDesk
) -> None:
    for path in ("/settings", "/settings/preview", "/settings/saved"):
        fields = changed("desk.t1_minutes", "6", "5") | {"name": "a", "text": "b"}
        assert (await client.post(path, data={"csrf": "x", **fields})).status_code == 403
    assert desk.store.read_now(tuning.rows) == {}
    assert await desk.saved_replies() == []


async def test_a_preview_judges_what_was_heard_lately(
    client: httpx2.AsyncClient, desk: LiveDesk
) -> None:
    fields = changed("escalation.strong", "0.9", "0.7")
    nothing = await send(client, "/settings/preview", part=True, **fields)
    assert EN["preview_none"] in nothing.text
    hear(desk, p_negative=0.8, strong=0.75, count=3)
    hear(desk, p_negative=0.8, strong=0.95, count=4)
    told = await send(client, "/settings/preview", part=True, **fields)
    assert EN["preview_changed"].format(n=7, then=4, now=7) in told.text
    assert "<html" not in told.text
    same = await send(client, "/settings/preview", part=True)
    assert EN["preview_same"].format(n=7, then=7) in same.text
    assert desk.store.read_now(tuning.rows) == {}  # looking changes nothing


async def test_a_preview_without_scripts_keeps_what_was_entered(
    client: httpx2.AsyncClient, desk: LiveDesk
) -> None:
    hear(desk, p_negative=0.8, strong=0.75)
    answer = await send(client, "/settings/preview", **changed("escalation.strong", "0.9", "0.7"))
    assert answer.status_code == 200
    assert EN["preview_changed"].format(n=1, then=0, now=1) in answer.text
    assert 'name="set:escalation.strong" value="0.9"' in answer.text
    assert hidden(answer.text, "was:escalation.strong") == "0.7"
    wrong = await send(client, "/settings/preview", **changed("escalation.strong", "9", "0.7"))
    assert wrong.status_code == 400
    part = await send(
        client, "/settings/preview", part=True, **changed("escalation.strong", "9", "0.7")
    )
    assert 'class="wrong"' in part.text


async def test_saved_replies_are_kept_and_removed(
    client: httpx2.AsyncClient, desk: LiveDesk
) -> None:
    assert EN["saved_none"] in (await client.get("/settings")).text
    text = "We pay back <b>in 3 days</b>."
    kept = await send(client, "/settings/saved", name="refund", text=text)
    assert kept.headers["location"] == "/settings?done=kept"
    page = (await client.get("/settings")).text
    assert html.escape(text) in page
    assert text not in page
    refused = await send(client, "/settings/saved", name="two words", text="hello there")
    assert refused.status_code == 400
    assert "hello there" in refused.text
    empty = await send(client, "/settings/saved", name="refund", text=" ")
    assert (empty.status_code, EN["reply_empty"] in empty.text) == (400, True)
    assert await desk.saved_replies() == [{"name": "refund", "text": text}]
    gone = await send(client, "/settings/saved", remove="refund")
    assert gone.headers["location"] == "/settings?done=removed"
    assert await desk.saved_replies() == []


async def test_doctors_report_is_a_part_or_a_page(client: httpx2.AsyncClient) -> None:
    part = await client.get("/settings/doctor", headers={"HX-Request": "true"})
    assert EN["doctor_problems"].format(n=1) in part.text
    assert "give the right &lt;to pin&gt;" in part.text
    assert "<html" not in part.text
    whole = await client.get("/settings/doctor")
    assert EN["doctor_fail"] in whole.text
    assert "<html" in whole.text


async def test_a_value_of_the_environment_is_shown_and_cannot_be_changed(
    client: httpx2.AsyncClient, desk: LiveDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEED_DESK__ALERTS_PER_DAY", "9")
    page = (await client.get("/settings")).text
    assert 'name="set:desk.alerts_per_day"' not in page
    assert EN["from_environment"] in page
    answer = await send(client, "/settings", **changed("desk.alerts_per_day", "1", "5"))
    assert answer.status_code == 400
    assert "HEED_DESK__ALERTS_PER_DAY" in answer.text
    assert desk.store.read_now(tuning.rows) == {}


def test_the_words_are_whole_in_both_languages() -> None:
    def fields(text: Any) -> Any:
        if isinstance(text, dict):
            return {name: fields(inner) for name, inner in text.items()}
        return set(re.findall(r"\{\w+\}", text))

    for table in ("login", "settings_page"):
        assert fields(labels()["en"][table]) == fields(labels()["zh"][table])
    assert set(labels()["en"]["settings_page"]["what"]) == LIVE
