"""The figures behind the charts, counted over a real database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from core.errors import DeskError
from core.store import Connection
from core.store.figures import figures
from core.store.sample import PEOPLE, PLATFORM, clear, fill
from core.store.span import DAY, HOUR, quantiles
from core.tables import case, conversation, history, metadata
from tests.core.town import Town, founded

MONDAY = 1_767_571_200.0  # 2026-01-05, 00:00 UTC


def told(town: Town, since: float, until: float, offset: float = 0.0, **wanted: str) -> Any:
    return town.store.read_now(lambda c: figures(c, since, until, wanted, offset))


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with founded(tmp_path) as made:
        yield made


def test_messages_are_counted_by_the_hour_up_to_three_days_and_then_by_the_day(town: Town) -> None:
    ann = town.person("ann")
    for at, p in ((10, 0.9), (20, 0.2), (HOUR + 5, None), (26 * HOUR, 0.5)):
        town.say(ann, MONDAY + at, p)
    hours = told(town, MONDAY, MONDAY + 3 * DAY)
    assert len(hours["messages"]) == 72
    assert hours["messages"][0] == {"at": MONDAY, "messages": 2, "scored": 2, "negative": 1}
    assert hours["messages"][1] == {"at": MONDAY + HOUR, "messages": 1, "scored": 0, "negative": 0}
    days = told(town, MONDAY, MONDAY + 7 * DAY)
    assert [one["messages"] for one in days["messages"]] == [3, 1, 0, 0, 0, 0, 0]
    assert [one["negative"] for one in days["messages"]] == [1, 1, 0, 0, 0, 0, 0]
    assert days["people"] == 1


@pytest.mark.parametrize(("offset", "day", "hour"), [(0, 0, 23), (1, 1, 0), (-5.5, 0, 18)])
def test_days_and_hours_are_those_of_the_browser(
    town: Town, offset: float, day: int, hour: int
) -> None:
    town.say(town.person("ann"), MONDAY + 23.6 * HOUR)
    local = MONDAY - offset * HOUR
    found = told(town, local, local + 7 * DAY, offset)
    assert [one["messages"] for one in found["messages"]].index(1) == day
    assert found["messages"][0]["at"] == local
    assert found["hours"][day][hour] == 1
    assert sum(map(sum, found["hours"])) == 1


def test_the_worst_bucket_tells_from_how_many_people_and_mostly_where(town: Town) -> None:
    for number in range(4):
        who = town.person(f"p{number}", chat="-100" if number else "own", private=not number)
        town.say(who, MONDAY + 14 * HOUR + number, 0.95)
    town.say(who, MONDAY + 16 * HOUR, 0.9)
    worst = told(town, MONDAY, MONDAY + DAY)["worst"]
    assert worst == {
        "at": MONDAY + 14 * HOUR, "messages": 4, "negative": 4, "people": 4,
        "platform": "telegram", "chat": "-100",
    }  # fmt: skip
    assert told(town, MONDAY - DAY, MONDAY)["worst"] is None


def test_mood_is_that_of_each_persons_last_message_of_the_week(town: Town) -> None:
    ann, bob = town.person("ann"), town.person("bob")
    town.say(ann, MONDAY + DAY, level="upset")
    town.say(ann, MONDAY + 2 * DAY, level="tense")
    town.say(bob, MONDAY + 2 * DAY, level="calm")
    town.say(ann, MONDAY - DAY, level="upset")
    assert told(town, MONDAY, MONDAY + 7 * DAY)["moods"] == [
        {"week": "now", "calm": 1, "tense": 1, "upset": 0},
        {"week": "before", "calm": 0, "tense": 0, "upset": 1},
    ]


def test_cases_are_counted_by_what_was_done_when(town: Town) -> None:
    ann, bob = town.person("ann"), town.person("bob")
    first = town.case(ann, MONDAY + 60, first_reply_at=MONDAY + 160, resolved_by="Sam",
                      resolved_at=MONDAY + DAY, verdict="right")  # fmt: skip
    town.case(bob, MONDAY + DAY, state="queued")
    for what, at in (("opened", 60), ("claimed", 90), ("resolved", DAY), ("noted", 95)):
        town.step(first, what, MONDAY + at)
    town.step(first, "not needed", MONDAY + DAY + 5)
    town.step(first, "given back", MONDAY + DAY + 9)
    found = told(town, MONDAY, MONDAY + 7 * DAY)
    assert found["cases"][0] == {
        "at": MONDAY, "opened": 1, "claimed": 1, "resolved": 0, "given_back": 0
    }  # fmt: skip
    assert found["cases"][1] == {
        "at": MONDAY + DAY, "opened": 1, "claimed": 0, "resolved": 2, "given_back": 1
    }  # fmt: skip
    assert found["open"] == 1
    assert found["reply"] == {"n": 1, "median": 100.0, "p90": 100.0, "unanswered": 1}
    assert found["replies"][0] == {"at": MONDAY, "n": 1, "median": 100.0, "p90": 100.0}
    assert found["replies"][1]["median"] is None


def test_who_settled_it_is_told_of_people_and_of_cases(town: Town) -> None:
    ann, bob, eve = (town.person(name) for name in ("ann", "bob", "eve"))
    for who in (ann, bob, eve):
        town.say(who, MONDAY + 5)
    town.case(ann, MONDAY, resolved_at=MONDAY + 9, resolved_by="Sam")
    town.case(ann, MONDAY + 10, resolved_at=MONDAY + 19, resolved_by="user")
    town.case(ann, MONDAY + 20, resolved_at=MONDAY + 29, resolved_by="Sam", verdict="not needed")
    town.case(bob, MONDAY - DAY, resolved_at=MONDAY - 1, resolved_by="Sam")  # before the range
    found = told(town, MONDAY, MONDAY + DAY)["settled"]
    assert found == {"bot": 2, "staff": 1, "person": 1, "not_needed": 1}


def test_precision_counts_verdicts_alone_and_has_wilsons_interval(town: Town) -> None:
    ann = town.person("ann")
    for verdict in ("right", "right", "right", "too late", "not needed", "", ""):
        town.case(ann, MONDAY + 1, rule="slide", verdict=verdict)
    town.say(ann, MONDAY + 2, dry=True, rule="spike", verdict="not needed")
    found = told(town, MONDAY, MONDAY + DAY)
    assert found["verdicts"] == [
        {"rule": "slide", "right": 3, "too_late": 1, "not_needed": 1, "none": 2},
        {"rule": "spike", "right": 0, "too_late": 0, "not_needed": 1, "none": 0},
    ]
    precision = found["precision"]
    assert (precision["needed"], precision["n"]) == (4, 6)
    assert precision["share"] == pytest.approx(2 / 3)
    assert precision["low"] == pytest.approx(0.3000, abs=1e-4)  # Wilson, 4 of 6, 95 %
    assert precision["high"] == pytest.approx(0.9032, abs=1e-4)
    nobody = told(town, MONDAY - DAY, MONDAY)["precision"]
    assert nobody == {"n": 0, "needed": 0, "share": None, "low": None, "high": None}


def test_thumbs_are_counted_by_when_they_were_given(town: Town) -> None:
    ann, bob = town.person("ann"), town.person("bob", lang="zh")
    first, second = town.reply(ann, MONDAY - DAY), town.reply(ann, MONDAY + 5)
    town.thumb(ann, first, 1, MONDAY + 10)
    town.thumb(bob, first, -1, MONDAY + 20)
    town.thumb(ann, second, 1, MONDAY + 2 * DAY)
    town.thumb(bob, second, 1, MONDAY + 7 * DAY)  # after the range
    found = told(town, MONDAY, MONDAY + 7 * DAY)
    assert found["thumbs"][0] == {"at": MONDAY, "up": 1, "down": 1}
    assert [one["up"] for one in found["thumbs"]] == [1, 0, 1, 0, 0, 0, 0]
    assert found["feedback"] == {"up": 2, "down": 1}
    assert told(town, MONDAY, MONDAY + DAY)["thumbs"][0] == {"at": MONDAY, "up": 1, "down": 1}
    assert told(town, MONDAY, MONDAY + DAY, lang="zh")["feedback"] == {"up": 0, "down": 1}


def test_times_are_known_where_the_engine_told_them(town: Town) -> None:
    ann = town.person("ann")
    for number in range(1, 11):
        made = {"ms": number * 1.0, "reply": {"reply_ms": number * 100.0}}
        at = MONDAY + number
        town.say(ann, at, made=made, received_at=at - 2.0)
    town.say(ann, MONDAY + 99, made=None)
    town.say(ann, MONDAY + DAY, made={"reply": {"ms": 350.0}})
    first, second, *_ = told(town, MONDAY, MONDAY + 7 * DAY)["latency"]
    assert (first["n"], first["heard"], first["heard_p90"]) == (10, 5.0, 9.0)
    assert (first["written"], first["written_p90"]) == (500.0, 900.0)
    assert first["whole"] == 2000.0
    assert (second["heard"], second["written"]) == (None, 350.0)


@pytest.mark.parametrize(
    ("wanted", "messages", "opened"),
    [
        ({}, 3, 2),
        ({"platform": "discord"}, 1, 1),
        ({"lang": "zh"}, 2, 1),
        ({"platform": "telegram", "chat": "-100"}, 1, 0),
        ({"platform": "matrix"}, 0, 0),
    ],
)
def test_filters_hold_for_every_figure(
    town: Town, wanted: dict[str, str], messages: int, opened: int
) -> None:
    ann = town.person("ann")
    bob = town.person("bob", platform="discord", lang="zh")
    eve = town.person("eve", chat="-100", private=False, lang="zh")
    for who in (ann, bob, eve):
        town.say(who, MONDAY + 5, 0.9, made={"ms": 5.0})
    for who in (ann, bob):
        row = town.case(who, MONDAY + 6, state="queued", rule="slide", verdict="right")
        town.step(row, "claimed", MONDAY + 7)
    found = told(town, MONDAY, MONDAY + DAY, **wanted)
    assert sum(one["messages"] for one in found["messages"]) == messages
    assert sum(map(sum, found["hours"])) == messages
    assert found["people"] == messages
    assert found["moods"][0]["calm"] == messages
    assert sum(one["n"] for one in found["latency"]) == messages
    assert sum(one["opened"] for one in found["cases"]) == opened
    assert sum(one["claimed"] for one in found["cases"]) == opened
    assert found["open"] == opened
    assert found["precision"]["n"] == opened
    assert found["choices"] == {
        "platforms": ["discord", "telegram"],
        "chats": [{"platform": "telegram", "chat": "-100"}],
        "langs": ["zh", "en"],
    }


def test_quantiles_are_values_that_are_there() -> None:
    assert quantiles([]) == (None, None)
    assert quantiles([(3.0, 1)]) == (3.0, 3.0)
    assert quantiles([(9.0, 1), (1.0, 9)]) == (1.0, 1.0)
    assert quantiles((float(n), 1) for n in range(1, 101)) == (50.0, 90.0)


def test_an_empty_database_has_figures_without_anything_in_them(town: Town) -> None:
    found = told(town, MONDAY, MONDAY + DAY)
    assert found["empty"]
    assert not found["sample"]
    assert found["people"] == 0
    assert all(one["messages"] == 0 for one in found["messages"])
    assert found["reply"] == {"n": 0, "median": None, "p90": None, "unanswered": 0}


# --- the sample -----------------------------------------------------------------------------------


def test_the_sample_fills_every_chart_and_is_the_same_each_time(tmp_path: Path) -> None:
    now, both = MONDAY + 14 * HOUR, []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with founded(tmp_path / name) as town:
            town.store.write_now(lambda c: fill(c, now))
            both.append(told(town, now - 7 * DAY, now))
    assert both[0] == both[1]
    found = both[0]
    assert found["sample"]
    assert not found["empty"]
    assert found["choices"]["platforms"] == [PLATFORM]
    assert found["people"] > PEOPLE / 2
    assert found["worst"]["chat"] in ("", "sample group")
    assert sum(one["opened"] for one in found["cases"]) >= 5
    assert found["reply"]["median"] > 60
    assert found["precision"]["n"] >= 3
    assert found["feedback"]["up"] > found["feedback"]["down"] > 0
    assert found["moods"][1]["calm"] > 0
    assert found["open"] == 0
    assert any(one["written"] for one in found["latency"])


def test_the_sample_goes_without_a_trace(town: Town) -> None:
    town.store.write_now(lambda c: fill(c, MONDAY))
    assert all(row.name.startswith("Sample person") for row in town.rows(conversation))
    assert {row.state for row in town.rows(case)} == {"resolved"}
    with pytest.raises(DeskError, match="not empty"):
        town.store.write_now(lambda c: fill(c, MONDAY))
    town.store.write_now(clear)
    for table in metadata.sorted_tables:
        rows = town.store.read_now(
            lambda c, t=table: c.execute(select(func.count()).select_from(t)).scalar_one()
        )
        assert rows == 0, table.name


def test_the_sample_has_no_figures_once_somebody_real_has_written(town: Town) -> None:
    town.store.write_now(lambda c: fill(c, MONDAY + DAY))
    town.say(town.person("ann"), MONDAY + 5, 0.9)
    found = told(town, MONDAY - 6 * DAY, MONDAY + DAY)
    assert sum(one["messages"] for one in found["messages"]) == 1
    assert (found["people"], found["sample"], found["empty"]) == (1, True, False)
    assert sum(one["opened"] for one in found["cases"]) == 0
    assert found["precision"]["n"] == 0
    assert found["feedback"] == {"up": 0, "down": 0}
    with pytest.raises(DeskError):
        town.store.write_now(lambda c: fill(c, MONDAY))
    town.store.write_now(clear)
    assert len(town.rows(conversation)) == 1


def test_many_messages_are_counted_by_the_database(town: Town) -> None:
    who = [town.person(f"p{n}") for n in range(50)]
    lines = [
        {
            "conversation_id": who[n % 50],
            "role": "user",
            "at": MONDAY + n * 6.0,
            "scores": {"p_negative": (n % 10) / 10},
        }
        for n in range(100_000)
    ]
    town.store.write_now(lambda c: c._core.execute(insert(history), lines))
    rows = 0

    class Counting(Connection):
        def execute(self, *asked: Any) -> Any:
            nonlocal rows
            found = super().execute(*asked).freeze()
            rows += len(found().all())
            return found()

    began = time.process_time()
    found = town.store.read_now(
        lambda c: figures(Counting(c._core), MONDAY, MONDAY + 7 * DAY, {}, 0.0)
    )
    assert time.process_time() - began < 5
    assert rows < 1000  # an hour, a day, a chat: never a message
    assert sum(one["messages"] for one in found["messages"]) == 100_000
    assert sum(one["negative"] for one in found["messages"]) == 50_000
    assert found["people"] == 50
