"""Sealing: a key's values and nobody else's, a file that insists on its key, and the queries."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bot import database, sealing
from bot.settings import Database, Privacy, Settings
from core.cells import EMPTY, SealedText, is_sealed, plain
from core.errors import SetupError, StoreError
from core.message import Place
from core.store import (
    Inline,
    Store,
    aside,
    cases,
    create_tables,
    figures,
    judged,
    pairs,
    privacy,
    seal as seals,
    spent,
    unsaid,
)
from core.store.seal import Seal, new_key
from core.store.turns import Plan
from core.tables import decision, history, inbox, metadata, poison
from tests.core import ground as grounds
from tests.core.ground import OPENING, Ground, arrival, heard, key, said

OLD, NEW = (new_key(bytes([fill]).__mul__) for fill in (1, 2))
PLANTED = ("quartz-zebra-7431", "琥珀斑马七四三一")


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setattr(grounds, "SEAL", Seal.read(OLD))
    made = Ground(tmp_path / "heed.db")
    yield made
    made.close()


def settings_of(file: Path, keys: str | None) -> Settings:
    return Settings(database=Database(url=f"sqlite:///{file}"), privacy=Privacy(key=keys))


def lies(folder: Path, *words: str) -> list[str]:
    """Return the words that can be read in any file, raw or escaped."""
    found = [one.read_bytes() for one in folder.iterdir() if one.name.startswith("heed.db")]
    spelled = {word: {word.encode(), ascii(word)[1:-1].encode()} for word in words}
    return [w for w, ways in spelled.items() if any(way in data for way in ways for data in found)]


def test_a_value_opens_with_its_key_alone() -> None:
    seal, other = Seal.read(OLD), Seal.read(NEW)
    for words in ("a", "琥珀" * 5000, "\ud83d half", "\0", "null "):
        closed = seal.close(words)
        assert seal.open(closed) == words
        assert words.encode("utf-8", "surrogatepass") not in closed or len(words) == 1
        assert closed != seal.close(words)  # never alike, so nobody can compare
        for changed in (
            closed[:-1],
            closed[:-1] + bytes([closed[-1] ^ 1]),
            b"",
            b"\x01",
            closed[:9],
        ):
            with pytest.raises(StoreError):
                seal.open(changed)
        with pytest.raises(StoreError, match="HEED_PRIVACY__KEY"):
            other.open(closed)


def test_several_keys_open_and_the_first_one_writes() -> None:
    both = Seal.read(f"{NEW}, {OLD}")
    assert both.open(Seal.read(OLD).close("old")) == "old"
    assert Seal.read(NEW).open(both.close("new")) == "new"


@pytest.mark.parametrize("bad", ["", ",", "short", "x" * 44, OLD[:-4], f"{OLD},nope", "钥匙"])
def test_what_is_no_key_is_refused_without_being_told(bad: str) -> None:
    with pytest.raises(SetupError, match="heed db key") as caught:
        Seal.read(bad)
    assert not bad.strip(",") or bad not in str(caught.value)


def test_the_key_is_a_secret_of_the_settings(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "heed.db", OLD)
    assert OLD in settings.secrets()
    assert OLD not in repr(settings)


def test_a_column_that_may_be_sealed_refuses_to_be_compared() -> None:
    for wrong in (
        lambda: history.c.text == "yes",
        lambda: history.c.text.like("%y%"),
        lambda: history.c.text.in_(["yes"]),
        lambda: decision.c.made["ms"],
    ):
        with pytest.raises(TypeError, match=r"plain\(column\)"):
            wrong()
    assert str(plain(history.c.text) == "yes")
    assert str(history.c.text != "")


# ---- the queries that look into words ----------------------------------------------------------


def case_of(ground: Ground, text: str) -> int:
    """Let ann write and a case open about it; return her conversation."""
    ground.take(said(1, text))
    start = ground.begin()
    judged_ = {**grounds.DECISION, "rule": "money", "why": f'"{text}"', "opened": True}
    judged_["trace"] = [{"rule": "money", "value": 1.0, "fired": True, "note": text}]
    felt = heard(start, decision=judged_, made={"prompt": text, "ms": 12.0, "reply": {"ms": 30.0}})
    ground.finish(start, Plan(heard=felt, opening=replace(OPENING, why=text)))
    return int(start.conversation_id)


def test_every_query_that_looks_into_words_finds_them_sealed(ground: Ground) -> None:
    word = PLANTED[0]
    found = case_of(ground, f"{word} is broken")
    raw = ground.store.read_now(lambda c: c.driver.execute("SELECT text FROM history").fetchall())
    assert all(isinstance(one, bytes) for [one] in raw if one)

    def rows(wanted: str) -> int:
        return len(ground.do(cases.queue, wanted={"words": wanted}, now=ground.now)["cases"])

    assert (rows("zebra"), rows("Ann"), rows("nothing")) == (1, 1, 0)
    line = ground.do(lambda c: c.execute(select(history).where(history.c.text != "")).first())
    assert line.text == f"{word} is broken"
    ground.do(aside.say_aside, key=key(), inbox_id=1, words="Quiet now.", now=ground.now)
    again = ground.do(aside.say_aside, key=key(), inbox_id=2, words="Quiet now.", now=ground.now)
    assert again == []  # it was said a moment ago
    place = Place(platform="telegram", bot="heed", chat="ann")
    heard_ = partial(spent.said_in, place=place, since=0.0)
    assert ground.do(heard_, words=["Quiet now.", "x"])
    assert not ground.do(heard_, words=["x"])
    assert ground.do(pairs.conversation_named, name="Ann") == found
    kept = ground.do(judged.judged, since=0.0, words=True)
    assert [one.text for one in kept.decisions] == [f"{word} is broken"]
    wanted = {"since": 0.0, "until": ground.now + 60, "wanted": {}, "hour_offset": 0}
    assert ground.do(figures.figures, **wanted)["time"]["heard"] == pytest.approx(12.0, abs=0.2)


def test_what_is_erased_and_unsaid_goes_sealed_too(ground: Ground) -> None:
    word = PLANTED[0]
    found = case_of(ground, f"{word} is broken")
    ground.do(
        lambda c: c.execute(
            poison.insert().values(
                platform="telegram", bot="heed", raw='{"from": "ann"}', error="odd", at=1.0
            )
        )
    )
    ground.do(unsaid.unsay, conversation_id=found, message_id="1")
    [row] = ground.rows(decision)
    assert (row.why, row.made["prompt"], "note" in row.trace[0]) == ("", "", False)
    ground.do(privacy._unpoison, conversation_id=found)
    assert ground.rows(poison) == []


# ---- the file ----------------------------------------------------------------------------------


def write(file: Path, keys: str | None, text: str, number: int = 1) -> None:
    store = Store(f"sqlite:///{file}", Inline, seal=None if keys is None else Seal.read(keys))
    made = grounds.intake
    arrivals = [(made.tidy(arrival(said(number, text), raw=f'{{"t": "{text}"}}')), "")]
    try:
        store.write_now(lambda c: made.take_in(c, arrivals=arrivals, now=1.0))
    finally:
        store.close()


def texts(file: Path, keys: str) -> list[str]:
    store = Store(f"sqlite:///{file}", Inline, seal=Seal.read(keys))
    try:
        rows = store.read_now(lambda c: c.execute(select(inbox.c.message)).all())
        return [row.message["text"] for row in rows]
    finally:
        store.close()


def test_a_sealed_database_refuses_without_its_key_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "heed.db"
    database.upgrade(f"sqlite:///{file}")
    write(file, OLD, PLANTED[0])
    for keys, words in ((None, "set HEED_PRIVACY__KEY"), (NEW, "does not hold the key")):
        with pytest.raises(SetupError, match=words):
            write(file, keys, PLANTED[1], 2)
        with pytest.raises(SetupError, match=words):
            sealing.insist(settings_of(file, keys))
    assert texts(file, OLD) == [PLANTED[0]]
    assert lies(tmp_path, *PLANTED) == []


def test_an_older_database_takes_a_key_and_is_sealed_rotated_and_opened(tmp_path: Path) -> None:
    file = tmp_path / "heed.db"
    database.upgrade(f"sqlite:///{file}")
    for number in range(1, 451):  # more than one slice
        if number in (1, 2):
            write(file, None, f"{PLANTED[number - 1]} {number}", number)
    copies = sqlite3.connect(file)
    copies.executemany(
        "INSERT INTO history (conversation_id, role, text, at) VALUES (1, 'user', ?, 1.0)",
        [(f"{PLANTED[0]} {n}",) for n in range(500)],
    )
    copies.commit()
    copies.close()
    assert lies(tmp_path, *PLANTED) == [*PLANTED]
    write(file, OLD, PLANTED[0], 3)  # from now on new words are sealed
    assert "older ones" in sealing.state(settings_of(file, OLD))
    assert "were sealed" in sealing.seal(settings_of(file, OLD))
    assert lies(tmp_path, *PLANTED) == []
    assert sealing.state(settings_of(file, OLD)) == "texts are sealed"
    assert len(texts(file, OLD)) == 3
    write(file, f"{NEW},{OLD}", PLANTED[1], 4)
    with pytest.raises(SetupError, match="does not hold"):  # the old key is still needed
        texts(file, NEW)
    with pytest.raises(SetupError, match="does not hold"):  # and so is the new one
        texts(file, OLD)
    sealing.seal(settings_of(file, f"{NEW},{OLD}"))
    assert texts(file, NEW)[-1] == PLANTED[1]
    before = file.read_bytes()
    assert sealing.seal(settings_of(file, NEW)).startswith("0 rows")
    assert before.count(b"seal") == file.read_bytes().count(b"seal")
    sealing.seal(settings_of(file, NEW), undo=True)
    assert sorted(lies(tmp_path, *PLANTED)) == sorted(PLANTED)
    write(file, None, "plain again", 5)
    with pytest.raises(SetupError, match="heed db key"):
        sealing.seal(settings_of(file, None))


def test_a_migration_carries_sealed_values_along(tmp_path: Path) -> None:
    file = tmp_path / "heed.db"
    url = f"sqlite:///{file}"
    database.upgrade(url, "0001")
    closed = Seal.read(OLD).close(PLANTED[0])
    connection = sqlite3.connect(file)
    connection.execute("INSERT INTO conversation (id, opened_at, touched_at) VALUES (1, 1.0, 1.0)")
    connection.execute(
        "INSERT INTO history (conversation_id, text, at) VALUES (1, ?, 1)", (closed,)
    )
    connection.commit()
    connection.close()
    database.upgrade(url)
    store = Store(url, Inline, seal=Seal.read(OLD))
    assert store.read_now(lambda c: c.execute(select(history.c.text)).scalar()) == PLANTED[0]
    store.close()


def test_what_is_empty_is_never_sealed() -> None:
    seal = Seal.read(OLD)
    kind = SealedText()
    from sqlalchemy.dialects import sqlite

    dialect: Any = sqlite.dialect()
    dialect.cipher = seal
    bind = kind.dialect_impl(dialect).bind_processor(dialect)
    assert bind is not None
    assert [bind(one) for one in EMPTY] == list(EMPTY)
    assert isinstance(bind("x"), bytes)
    assert kind.dialect_impl(sqlite.dialect()).bind_processor(sqlite.dialect()) is None  # no cost


# Of names and numbers, or of staff and the operator, by which rows are found.
_NOT_SEALED = {"staff_thread.made"}
_WORDS = {"text", "raw", "was", "why", "draft", "made", "trace", "message", "media", "buttons"}


def test_every_column_of_words_is_sealed() -> None:
    found = {f"{table.name}.{name}" for table, names in seals.tables() for name in names}
    columns = [(f"{t.name}.{c.name}", c) for t in metadata.sorted_tables for c in t.columns]
    assert {at for at, c in columns if c.name in _WORDS and not is_sealed(c)} == _NOT_SEALED
    assert found >= {"conversation.name", "history.files", "poison.error", "person.blocked_why"}


def test_a_new_database_is_made_with_a_key_from_the_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(url)
    write(tmp_path / "heed.db", OLD, PLANTED[0])
    with pytest.raises(SetupError):
        write(tmp_path / "heed.db", None, PLANTED[0], 2)
