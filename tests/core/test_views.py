"""What people look at: a line and what became of it, a case, a transcript, the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from core.message import ConversationKey
from core.store import cases, views
from core.tables import (
    case,
    conversation,
    decision,
    history,
    outbox,
    person,
    remark,
    staff_thread,
)
from tests.core.town import Town, founded
from tests.yardstick import seconds

CASE = frozenset(
    [
        "id",
        "state",
        "owner",
        "version",
        "claimed_by",
        "who",
        "platform",
        "private",
        "lang",
        "rule",
        "why",
        "opened_at",
        "claimed_at",
        "first_reply_at",
        "resolved_at",
        "resolved_by",
        "snooze_until",
        "resolve_at",
        "priority",
        "verdict",
        "helped",
        "anonymous",
        "reachable",
        "held",
        "blocked_until",
        "trace",
        "moved_by",
        "said",
        "versions",
        "mood",
        "level",
        "mood_points",
        "draft",
        "draft_by",
        "cause_message",
        "cause_place",
        "audit",
        "earlier",
        "remarks",
        "elsewhere",
        "conversation",
    ]
)
LINE = frozenset(
    [
        "id",
        "role",
        "text",
        "at",
        "name",
        "inbox",
        "was",
        "deleted",
        "tag",
        "decision",
        "model",
        "prompt_version",
        "files",
        "mark",
        "problem",
        "thumbs",
    ]
)
ROW = frozenset(
    [
        "id",
        "state",
        "who",
        "platform",
        "lang",
        "rule",
        "why",
        "priority",
        "mood",
        "level",
        "claimed_by",
        "opened_at",
        "waiting_since",
        "last_line",
        "last_role",
        "last_at",
        "unread",
        "snooze_until",
        "reachable",
    ]
)
SAD = {
    "label": "negative", "probs": {"negative": 0.9, "neutral": 0.07, "positive": 0.03},
    "p_negative": 0.9, "intensity": -0.8, "confidence": 0.9, "strong": 0.7,
}  # fmt: skip


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with founded(tmp_path) as made:
        yield made


def line(town: Town, who: int, role: str, text: str, at: float = 0.0, **values: Any) -> int:
    return town.add(history, conversation_id=who, role=role, text=text, at=at, **values)


def post(town: Town, who: int, of: int | None, state: str, **values: Any) -> int:
    facts = {
        "kind": "relay", "cause_kind": "staff_post", "cause_id": of or 0, "part": 0,
        "queued_at": 0.0, "touched_at": 0.0,
    }  # fmt: skip
    return town.add(
        outbox, **{**facts, "conversation_id": who, "history_id": of, "state": state, **values}
    )


def lines(town: Town, who: int) -> list[dict[str, Any]]:
    return town.store.read_now(lambda c: views.lines(c, who, 50))


def view(town: Town, case_id: int) -> dict[str, Any]:
    return town.store.read_now(lambda c: views.case_view(c, case_id))


def listed(town: Town, now: float = 9000.0, **wanted: str) -> dict[str, Any]:
    return town.store.read_now(lambda c: cases.queue(c, wanted, now=now))


def ids(town: Town, **wanted: str) -> list[int]:
    return [row["id"] for row in listed(town, **wanted)["cases"]]


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("posts", "mark", "problem"),
    [
        ([], "", ""),
        ([("queued", {})], "queued", ""),
        ([("sending", {})], "queued", ""),
        ([("queued", {"error": "asked to wait"})], "queued", "asked to wait"),
        ([("sent", {})], "sent", ""),
        ([("failed", {"error": "too long"})], "failed", "too long"),
        ([("uncertain", {"error": "cut off"})], "uncertain", "cut off"),
        ([("held", {"error": "unreachable"})], "held", "unreachable"),
        ([("withdrawn", {})], "", ""),
        ([("sent", {}), ("failed", {"part": 1, "error": "no"})], "failed", "no"),
        ([("sent", {}), ("queued", {"part": 1})], "queued", ""),
        ([("sent", {}), ("sent", {"kind": "edit", "cause_id": 7})], "edited", ""),
        ([("sent", {}), ("queued", {"kind": "edit", "cause_id": 7})], "queued", ""),
        ([("sent", {}), ("failed", {"kind": "edit", "cause_id": 7, "error": "old"})], "failed",
         "old"),
        ([("sent", {"kind": "edit", "cause_id": 7}),
          ("failed", {"kind": "edit", "cause_id": 8, "error": "old"})], "failed", "old"),
    ],
)  # fmt: skip
def test_a_staff_line_shows_what_became_of_it(
    town: Town, posts: list[tuple[str, dict[str, Any]]], mark: str, problem: str
) -> None:
    ann = town.person("ann")
    said = line(town, ann, "staff", "hello")
    for state, values in posts:
        post(town, ann, said, state, **values)
    [shown] = lines(town, ann)
    assert set(shown) == LINE
    assert (shown["mark"], shown["problem"]) == (mark, problem)


def test_a_copy_for_staff_marks_nothing(town: Town) -> None:
    ann = town.person("ann")
    row = town.case(ann, 1.0)
    thread = town.add(staff_thread, case_id=row)
    said = line(town, ann, "staff", "hello")
    post(town, ann, said, "failed", staff_thread_id=thread, error="the topic is gone")
    assert lines(town, ann)[0]["mark"] == ""


def test_a_line_names_its_files_without_the_platforms_ids(town: Town) -> None:
    ann = town.person("ann")
    file = {"kind": "photo", "file_id": "secret", "name": "a.png", "size": 7, "words": ""}
    line(town, ann, "user", "", files=[file])
    [shown] = lines(town, ann)
    assert shown["files"] == [{"kind": "photo", "name": "a.png", "size": 7, "words": ""}]
    assert "secret" not in json.dumps(shown)


def test_a_reply_shows_the_thumbs_that_people_gave_it(town: Town) -> None:
    ann, bob, eve = (town.person(name) for name in ("ann", "bob", "eve"))
    first, _, last = (town.reply(ann, float(at)) for at in range(3))
    town.thumb(ann, first, 1, 5.0)
    town.thumb(bob, first, -1, 6.0)
    town.thumb(eve, last, -1, 7.0)
    assert [one["thumbs"] for one in lines(town, ann)] == [
        {"up": 1, "down": 1}, {"up": 0, "down": 0}, {"up": 0, "down": 1}
    ]  # fmt: skip


def test_lines_cost_two_queries_however_many_there_are(town: Town) -> None:
    ann = town.person("ann")
    for number in range(40):
        post(town, ann, line(town, ann, "staff" if number % 2 else "user", "x"), "sent",
             cause_id=number)  # fmt: skip
    assert asked(town, lambda: lines(town, ann)) == 2


def asked(town: Town, look: Any) -> int:
    """Return how many statements a look takes."""
    told: list[str] = []

    def hear(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        told.append(statement)

    engine = town.store._reading
    event.listen(engine, "before_cursor_execute", hear)
    look()
    event.remove(engine, "before_cursor_execute", hear)
    return len(told)


# --- a case ---------------------------------------------------------------------------------------


def test_a_case_is_told_with_everything_that_the_desk_shows(town: Town) -> None:
    ann = town.person("ann", name="Ann", mood=-0.6, level="upset", unreachable=True, version=3)
    before = town.case(ann, 5.0, rule="request", resolved_by="Bo", verdict="right")
    for number, text in enumerate(("one", "two", "three")):
        line(town, ann, "bot", text, 10.0 + number, model="m")
    line(town, ann, "bot", "a fixed text", 20.0)
    line(town, ann, "user", "I am fed up", 21.0, scores=SAD)
    row = town.case(ann, 30.0, state="queued", rule="slide", why="mood", priority=2, draft="Sorry",
                    draft_by="m", anonymous=True)  # fmt: skip
    town.add(decision, conversation_id=ann, inbox_id=9, case_id=row, opened=True, mood=-0.6,
             trace=[{"rule": "slide"}], versions={"model": "m"}, at=22.0)  # fmt: skip
    post(town, ann, None, "held", cause_id=1)
    post(town, ann, None, "held", cause_id=2)
    shown = view(town, row)
    assert set(shown) >= CASE
    json.dumps(shown)
    assert shown["held"] == 2
    assert not shown["reachable"]
    assert shown["said"] == ["two", "three"]
    assert shown["moved_by"][0]["text"] == "I am fed up"
    assert shown["mood_points"] == [{"at": 22.0, "value": -0.6}]
    assert shown["trace"] == [{"rule": "slide"}]
    assert (shown["draft"], shown["draft_by"], shown["anonymous"]) == ("Sorry", "m", True)
    assert (shown["priority"], shown["version"], shown["level"]) == (2, 3, "upset")
    assert shown["earlier"] == [
        {"id": before, "opened_at": 5.0, "rule": "request", "resolved_by": "Bo", "verdict": "right"}
    ]
    assert (shown["remarks"], shown["elsewhere"], shown["blocked_until"]) == ([], [], None)


def test_a_case_shows_what_is_known_of_the_person_elsewhere(town: Town) -> None:
    ann = town.person("ann", name="Ann")
    there = town.person("ann99", name="Annie", platform="discord")
    town.person("eve", platform="discord")
    row, other = town.case(ann, 1.0, state="human"), town.case(there, 2.0, state="queued")
    here = town.add(person, platform="telegram", bot="heed", user="ann", linked=1,
                    blocked_until=99.0)  # fmt: skip
    away = town.add(person, platform="discord", bot="heed", user="ann99", linked=1)
    stranger = town.add(person, platform="discord", bot="heed", user="eve")
    for who, text, at in ((here, "b", 5.0), (away, "a", 4.0), (stranger, "no", 3.0)):
        town.add(remark, person_id=who, who="Sam", text=text, at=at)
    shown = view(town, row)
    assert shown["elsewhere"] == [{"platform": "discord", "name": "Annie", "case": other}]
    assert [one["text"] for one in shown["remarks"]] == ["a", "b"]
    assert shown["blocked_until"] == 99.0


def test_a_conversation_shows_its_open_case_and_nobody_elses(town: Town) -> None:
    ann, bob = town.person("ann"), town.person("bob")
    line(town, ann, "user", "mine")
    line(town, bob, "user", "not mine")
    row = town.case(ann, 1.0, state="human")
    key = ConversationKey(platform="telegram", bot="heed", chat="ann", user="ann")
    shown = town.store.read_now(lambda c: views.conversation_view(c, key, 50))
    assert [one["text"] for one in shown["lines"]] == ["mine"]
    assert shown["case"]["id"] == row
    assert set(shown) == {"owner", "lines", "mood", "level", "case"}


def test_a_full_case_has_its_lines_and_an_unknown_one_is_none(town: Town) -> None:
    ann = town.person("ann")
    line(town, ann, "user", "hello")
    row = town.case(ann, 1.0, state="human")
    shown = town.store.read_now(lambda c: views.full_case(c, row))
    assert [one["text"] for one in shown["lines"]] == ["hello"]
    assert town.store.read_now(lambda c: views.full_case(c, 99)) is None


def test_a_transcript_holds_the_time_of_its_case_and_ten_lines_before(town: Town) -> None:
    ann = town.person("ann")
    for number in range(15):
        line(town, ann, "user", f"before {number}", 10.0 + number)
    row = town.case(ann, 50.0, resolved_at=60.0, resolved_by="Sam")
    line(town, ann, "staff", "during", 55.0)
    line(town, ann, "user", "", 56.0, deleted=True)
    line(town, ann, "note", "afterwards", 70.0, case_id=row)
    line(town, ann, "user", "another day", 80.0)
    shown = town.store.read_now(lambda c: views.transcript(c, row))
    told = [one["text"] for one in shown["lines"]]
    assert told == [f"before {n}" for n in range(5, 15)] + ["during", "(erased)", "afterwards"]
    assert shown["id"] == row
    assert town.store.read_now(lambda c: views.transcript(c, 99)) is None


def test_a_transcript_of_an_open_case_goes_to_its_end(town: Town) -> None:
    ann = town.person("ann")
    row = town.case(ann, 50.0, state="human")
    for number in range(300):
        line(town, ann, "user", str(number), 51.0 + number)
    shown = town.store.read_now(lambda c: views.transcript(c, row))
    assert len(shown["lines"]) == 300


# --- the queue ------------------------------------------------------------------------------------


def test_the_queue_puts_danger_first_then_urgency_then_whoever_nobody_has(town: Town) -> None:
    def waiting(name: str, at: float, **values: Any) -> int:
        return town.case(town.person(name), at, **{"state": "queued", **values})

    held = waiting("held", 100.0, state="human", claimed_by="Sam")
    late = waiting("late", 300.0)
    early = waiting("early", 200.0)
    watched = waiting("watched", 50.0, state="watch")
    urgent = waiting("urgent", 400.0, priority=2)
    danger = waiting("danger", 500.0, rule="crisis", priority=1)
    snoozed = waiting("snoozed", 60.0, state="snoozed", snooze_until=1e9)
    done = waiting("done", 10.0, state="resolved")
    found = listed(town)
    assert [row["id"] for row in found["cases"]] == [
        danger, urgent, early, late, held, snoozed, watched
    ]  # fmt: skip
    assert all(set(row) == ROW for row in found["cases"])
    assert found["counts"] == {
        "queued": 4, "human": 1, "snoozed": 1, "watch": 1, "resolved": 1, "open": 7, "all": 8
    }  # fmt: skip
    assert ids(town, state="resolved") == [done]
    assert ids(town, state="human") == [held]
    assert ids(town, state="all")[-1] == done
    assert ids(town, mine="Sam") == [held]
    assert listed(town, mine="Sam")["counts"]["mine"] == 1


def test_who_waits_since_when(town: Town) -> None:
    fresh = town.case(town.person("fresh"), 100.0, state="queued")
    ann, bob, eve = (town.person(name) for name in ("ann", "bob", "eve"))
    asks = town.case(ann, 100.0, state="human", first_reply_at=110.0)
    answered = town.case(bob, 100.0, state="human", first_reply_at=110.0)
    watched = town.case(eve, 100.0, state="watch")
    for who in (ann, bob, eve):
        line(town, who, "user", "help", 99.0)
        line(town, who, "staff", "hello", 110.0)
    line(town, ann, "note", "hm", 111.0)
    line(town, ann, "user", "and now?", 120.0)
    line(town, ann, "user", "hello?", 130.0)
    found = {row["id"]: row["waiting_since"] for row in listed(town)["cases"]}
    assert found == {fresh: 100.0, asks: 120.0, answered: None, watched: None}
    ahead = {row["id"]: row["waiting_since"] for row in listed(town, now=115.0)["cases"]}
    assert ahead[asks] == 115.0  # a platform's clock that is ahead makes nobody wait less than 0


def test_the_last_line_is_what_somebody_said_and_unread_until_staff_looked(town: Town) -> None:
    ann = town.person("ann")
    row = town.case(ann, 1.0, state="human")
    line(town, ann, "user", "help", 10.0)
    line(town, ann, "staff", "of course", 20.0)
    line(town, ann, "note", "not shown", 30.0)
    [shown] = listed(town)["cases"]
    assert (shown["last_line"], shown["last_role"], shown["last_at"]) == ("of course", "staff", 20)
    assert shown["unread"]
    town.store.write_now(lambda c: cases.seen(c, row, 15.0))
    assert not listed(town)["cases"][0]["unread"]
    line(town, ann, "user", "thanks", 16.0)
    assert listed(town)["cases"][0]["unread"]
    silent = town.case(town.person("silent"), 1.0, state="queued")
    told = {one["id"]: one["unread"] for one in listed(town)["cases"]}
    assert not told[silent]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("export", "ann"), ("EXPORT broken", "ann"), ("broken  export", "ann"),
        ("export refund", ""), ("100%", "bob"), ("100_", ""), ("привет", "bob"),
        ("ПРИВЕТ", "bob"), ("气死", "bob"), ("Übung", "bob"), ("übung", "bob"), ("'", ""),
        ("Annabel", "ann"), ("", "ann bob"),
    ],
)  # fmt: skip
def test_search_finds_every_word_in_what_was_said(town: Town, words: str, found: str) -> None:
    ann = town.person("ann", name="Annabel")
    bob = town.person("bob", name="Bob")
    line(town, ann, "user", "The Export is")
    line(town, ann, "bot", "What is broken?")
    for text in ("100% sure", "Привет", "我气死了", "übung"):
        line(town, bob, "user", text)
    rows = {"ann": town.case(ann, 1.0, state="queued"), "bob": town.case(bob, 2.0, state="queued")}
    assert ids(town, words=words) == [rows[name] for name in found.split()]


def test_the_queue_is_filtered_by_platform_and_language(town: Town) -> None:
    one = town.case(town.person("a", platform="discord"), 1.0, state="queued")
    two = town.case(town.person("b", lang="zh"), 1.0, state="queued")
    town.case(town.person("c", platform="sample"), 1.0, state="queued")
    assert ids(town, platform="discord") == [one]
    assert ids(town, lang="zh") == [two]
    assert ids(town) == [one, two]
    assert listed(town)["counts"]["all"] == 2


def test_five_hundred_cases_cost_two_queries_and_little_time(town: Town) -> None:
    fill_queue(town, people=520, each=60)
    assert len(listed(town)["cases"]) == 500
    assert asked(town, lambda: listed(town)) == 2
    assert seconds(lambda: listed(town)) < 0.05


def fill_queue(town: Town, *, people: int, each: int) -> None:
    """Give so many people an open case and so many lines each; half of them were answered."""

    def write(connection: Any) -> None:
        def put(table: Any, rows: list[dict[str, Any]]) -> None:
            connection._core.execute(insert(table), rows)

        who = {"platform": "telegram", "bot": "heed", "lang": "en"}
        times = {"opened_at": 0.0, "touched_at": 0.0}
        some = range(1, people + 1)
        put(conversation, [{"id": n, "user": str(n), **who, **times} for n in some])
        put(
            history,
            [
                {
                    "conversation_id": n,
                    "role": "staff" if i == each // 2 and n % 2 else "user",
                    "text": "words " * 20,
                    "at": float(i),
                }
                for i in range(each)
                for n in some
            ],
        )
        put(
            case,
            [
                {"conversation_id": n, "state": "queued", "opened_at": float(n), "why": "mood"}
                for n in some
            ],
        )
        answered = update(case).where(case.c.conversation_id % 2 == 1)
        connection.execute(answered.values(first_reply_at=30.0, state="human"))

    town.store.write_now(write)
