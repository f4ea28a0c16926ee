from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Database, Desk, Escalation, Mood, Settings, Telegram, known_keys
from bot.tuning import LIVE, Tuning, cases
from core.errors import DeskError, SetupError
from core.message import Scores
from core.store import Inline, Store, create_tables, tuning
from core.store.rows import insert_id, scores_to_row
from core.store.tuning import HeardLine
from core.tables import conversation, history


def clock() -> float:
    return 5000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(url)
    made = Store(url, Inline)
    yield made
    made.close()


def scored(*, p_negative: float = 0.8, strong: float = 0.75) -> Scores:
    return Scores(
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


def spike(at: float, *, of: int = 1, strong: float = 0.75) -> HeardLine:
    return HeardLine(of, private=True, text="it broke", scores=scored(strong=strong), at=at)


async def test_a_change_counts_at_once_and_after_a_restart(store: Store) -> None:
    told: list[Settings] = []
    one = Tuning(Settings(mood=Mood(half_life=600.0)), store, clock, changed=told.append)
    await one.change({"mood.upset_enter": "-0.6", "escalation.money_words": "refund, 退款"}, "ana")
    for each in (one.current(), told[-1]):
        assert (each.mood.upset_enter, each.mood.half_life) == (-0.6, 600.0)
        assert each.escalation.money_words == ("refund", "退款")
    later = Tuning(Settings(mood=Mood(half_life=900.0)), store, clock, changed=told.append)
    assert later.current().mood.upset_enter == -0.55
    await later.load()
    assert later.current().mood == Mood(half_life=900.0, upset_enter=-0.6)
    assert told[-1] == later.current()
    assert one.current().mood.half_life == 600.0


async def test_values_that_hold_only_together_are_changed_together(store: Store) -> None:
    made = Tuning(Settings(), store, clock)
    with pytest.raises(SetupError, match="tense_leave must be greater"):
        await made.change({"mood.tense_enter": "-0.1"}, "ana")
    assert made.current() == Settings()
    both = {"mood.tense_enter": "-0.1", "mood.tense_leave": "0.1"}
    await made.change(both, "ana")
    assert made.current().mood.tense_enter == -0.1
    again = Tuning(Settings(), store, clock)
    await again.load()
    assert again.current() == made.current()


async def test_a_value_like_the_files_takes_the_change_back(store: Store) -> None:
    made = Tuning(Settings(desk=Desk(t1_minutes=4.0)), store, clock)
    await made.change({"desk.t1_minutes": "3"}, "ana")
    assert store.read_now(tuning.rows) == {"desk.t1_minutes": "3"}
    await made.change({"desk.t1_minutes": "4.0"}, "ana")
    assert store.read_now(tuning.rows) == {}
    [row] = [row for row in made.view() if row["key"] == "t1_minutes"]
    assert (row["value"], row["source"]) == ("4", "file")


async def test_a_change_that_no_longer_fits_is_left_out_and_the_rest_counts(store: Store) -> None:
    rows = {
        "mood.upset_enter": "-0.3",  # above tense_enter
        "desk.give_back": "true",
        "http.port": "1",
        "gone.setting": "1",
    }
    store.write_now(lambda c: tuning.put(c, rows, "ana", 1.0))
    made = Tuning(Settings(), store, clock)
    await made.load()
    assert made.current() == Settings(desk=Desk(give_back=True))
    sources = {f"{r['section']}.{r['key']}": r["source"] for r in made.view()}
    assert sources["desk.give_back"] == "page"
    assert sources["mood.upset_enter"] == sources["http.port"] == "default"


async def test_the_environment_wins_over_the_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Tuning(Settings(), store, clock)
    await before.change({"desk.alerts_per_day": "9", "desk.t1_minutes": "2"}, "ana")
    monkeypatch.setenv("HEED_DESK__ALERTS_PER_DAY", "3")
    made = Tuning(Settings(), store, clock)
    await made.load()
    assert (made.current().desk.alerts_per_day, made.current().desk.t1_minutes) == (3, 2.0)
    rows = {row["key"]: row for row in made.view() if row["section"] == "desk"}
    assert (rows["alerts_per_day"]["source"], rows["alerts_per_day"]["live"]) == (
        "environment",
        False,
    )
    with pytest.raises(DeskError, match="set by HEED_DESK__ALERTS_PER_DAY"):
        await made.change({"desk.alerts_per_day": "4"}, "ana")
    await made.change({"desk.t1_minutes": "1"}, "ana")
    assert made.current().desk.alerts_per_day == 3


async def test_what_needs_a_restart_cannot_be_changed(store: Store) -> None:
    made = Tuning(Settings(), store, clock)
    for key in ("http.port", "telegram.token", "desk.staff", "model.name"):
        with pytest.raises(DeskError, match="needs a restart"):
            await made.change({key: "9"}, "ana")
    with pytest.raises(DeskError, match="no setting"):
        await made.change({"mood.nonsense": "1"}, "ana")
    await made.change({"http.port": "8080"}, "ana")  # as it is: nothing to do
    assert store.read_now(tuning.rows) == {}


def test_every_setting_is_shown_and_no_secret(store: Store) -> None:
    url = "postgresql://heed:geheim@db/heed"
    settings = Settings(telegram=Telegram(token="4242:geheim"), database=Database(url=url))
    rows = Tuning(settings, store, clock).view()
    assert [f"{row['section']}.{row['key']}" for row in rows] == known_keys()
    assert "geheim" not in repr(rows)
    secret = {f"{r['section']}.{r['key']}": r["value"] for r in rows if r["secret"]}
    assert secret["telegram.token"] == secret["database.url"] == "set"
    assert secret["discord.token"] == ""
    assert {f"{r['section']}.{r['key']}" for r in rows if r["live"]} == LIVE
    assert {r["source"] for r in rows if r["key"] in ("token", "url")} == {"file", "default"}


def test_every_value_can_be_entered_as_it_is_shown(store: Store) -> None:
    made = Tuning(Settings(), store, clock)
    shown = {f"{r['section']}.{r['key']}": r["value"] for r in made.view() if r["live"]}
    assert made._with(Settings(), shown) == Settings()


def test_a_stricter_threshold_opens_fewer_cases() -> None:
    heard = [spike(i * 10.0, of=i, strong=0.72 + i / 100) for i in range(20)]
    strict = Settings(escalation=Escalation(strong=0.82))
    assert cases(heard, Settings(), {}) == 20
    assert cases(heard, strict, {}) == 10


def test_one_person_has_one_case_until_the_rest_is_over() -> None:
    lines = [spike(0.0), spike(60.0), spike(1799.0), spike(1801.0), spike(1801.0, of=2)]
    assert cases(lines, Settings(), {}) == 3
    assert cases(lines, Settings(escalation=Escalation(refractory_minutes=0.5)), {}) >= 4


async def test_a_preview_reads_the_last_messages_and_changes_nothing(store: Store) -> None:
    def write(connection: Any) -> None:
        for number in range(6):
            of = insert_id(
                connection,
                conversation,
                platform="telegram",
                bot="1",
                chat=str(number),
                user=str(number),
                opened_at=1.0,
                touched_at=1.0,
            )
            values = {"conversation_id": of, "at": float(number), "text": "it broke"}
            heard = scores_to_row(scored(strong=0.72 if number % 2 else 0.95))
            insert_id(connection, history, role="user", scores=heard, **values)
            insert_id(connection, history, role="staff", scores=heard, **values)
            insert_id(connection, history, role="user", scores=heard, deleted=True, **values)

    store.write_now(write)
    made = Tuning(Settings(), store, clock)
    told = await made.preview({"escalation.strong": "0.9"})
    assert told == {"now": 6, "then": 3, "messages": 6}
    assert await made.preview({}) == {"now": 6, "then": 6, "messages": 6}
    assert made.current() == Settings()
    with pytest.raises(SetupError, match="at most 1"):
        await made.preview({"escalation.strong": "9"})
    assert store.read_now(lambda c: len(tuning.heard(c, 4))) == 4


async def test_a_further_bot_is_shown_and_cannot_be_changed(store: Store) -> None:
    shop = {"token": "2:geheim", "watch": ["-1"]}
    settings = Settings(telegram=Telegram(token="1:a", more={"shop": shop}))
    made = Tuning(settings, store, clock)
    rows = {(row["section"], row["key"]): row for row in made.view()}
    own = [key for section, key in rows if section == "telegram.more.shop"]
    assert own == [key for section, key in rows if section == "telegram"]
    token, watch = (rows["telegram.more.shop", key] for key in ("token", "watch"))
    assert (token["value"], token["secret"], token["live"]) == ("set", True, False)
    assert (watch["value"], watch["kind"], watch["source"]) == ("-1", "list", "file")
    assert token["help"] == "HEED_TELEGRAM__MORE__SHOP__TOKEN"
    assert "geheim" not in str(made.view())
    with pytest.raises(DeskError, match=r"telegram\.more\.shop\.mode needs a restart"):
        await made.change({"telegram.more.shop.mode": "webhook"}, "ana")
