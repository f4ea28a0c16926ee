"""What is too old goes, in slices that nobody waits for, and out of the file's unused space."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from core.janitor import Janitor
from core.message import Attachment
from core.store import Inline, Store, create_tables, kept, people, privacy, retention
from core.store.retention import DAY, Horizon
from core.store.turns import Plan
from core.tables import (
    audit,
    case,
    conversation,
    decision,
    feedback,
    history,
    inbox,
    incident,
    outbox,
    person,
    poison,
)
from tests.core.ground import DECISION, SAD, Ground, heard, key, opened, said
from tests.privacy.planted import files, left, mark

NOW = 400 * DAY


def janitor(store: Store, now: float, text_days: int = 30, score_days: int = 365) -> Janitor:
    return Janitor(store, lambda: now, text_days=lambda: text_days, score_days=lambda: score_days)


def stocked(ground: Ground) -> None:
    """Leave something old, and the same again that is new, wherever words or scores are."""
    for at, tag in ((10 * DAY, "old"), (NOW - DAY, "new")):
        ground.now = at
        number = 1 if tag == "old" else 100
        user = f"ann{tag}"
        photo = Attachment(kind="photo", file_id="f", name=f"{tag} file")
        ground.take(said(number, f"{tag} words", user=user, attachments=(photo,), sent_at=at))
        start = ground.begin(1 if tag == "old" else 2)
        judged = {**DECISION, "opened": False, "why": f"{tag} why"}
        judged["trace"] = [{"rule": "slide", "value": 1.0, "fired": True, "note": f"{tag} note"}]
        felt = heard(start, decision=judged, made={"prompt": f"{tag} prompt"})
        ground.finish(start, Plan(heard=felt, past={"mood": {}}, notices=(f"{tag} notice",)))
        ground.send_all(("person", start.conversation_id))

        def more(connection: Any, at: float = at, tag: str = tag, user: str = user) -> None:
            [home] = people.find(connection, "telegram", user)
            add = connection.execute
            add(insert(poison).values(platform="t", bot="b", raw=f"{tag} poison", at=at))
            add(insert(feedback).values(conversation_id=home, history_id=home, value=1, at=at))
            add(insert(incident).values(opened_at=at, last_at=at, closed_at=at))
            add(insert(audit).values(what=f"{tag} deed", who=f"{tag} staff", at=at))
            people.block(connection, key(user), at, f"{tag} block", at - 1)
            people.make_code(connection, key(user), f"{tag} code", at)
            add(
                insert(case).values(
                    conversation_id=home, state="resolved", why=f"{tag} case", opened_at=at,
                    resolved_at=at, draft=f"{tag} draft", claimed_by=f"{tag} staff",
                )
            )  # fmt: skip

        ground.do(more)
    ground.now = NOW


async def test_old_words_go_everywhere_and_then_old_numbers(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        stocked(ground)
        tables = (inbox, outbox, history, decision, poison, case, person, conversation)
        assert "old" in str([ground.rows(one) for one in tables])
        assert await janitor(ground.store, 41 * DAY).let_go() > 0
        everything = "\n".join(str(ground.rows(one)) for one in tables)
        for word in ("words", "file", "notice", "note", "why", "prompt", "poison", "case", "draft"):
            assert f"old {word}" not in everything, word
            assert f"new {word}" in everything, word
        for word in ("block", "code"):
            assert f"old {word}" not in everything
        assert "Annold" not in everything
        assert "Annnew" in everything
        assert ground.rows(history)[0].scores["p_negative"] == SAD.p_negative
        assert await janitor(ground.store, 41 * DAY).let_go() == 0  # nothing is done twice
        assert await janitor(ground.store, NOW).let_go() > 0
        assert not ground.rows(history)[0].scores
        for table in (decision, feedback, incident, audit):
            assert len(ground.rows(table)) == 1, table.name
        [old, new] = ground.rows(conversation)
        assert (old.past, new.past) == (None, {"mood": {}})
        assert [one.claimed_by for one in ground.rows(case)] == ["", "new staff"]
        assert await janitor(ground.store, NOW).let_go() == 0


async def test_a_sweep_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        stocked(ground)
        horizon = Horizon.at(NOW, 30, 365)
        first = ground.store.read_now(lambda c: retention.find(c, horizon))
        assert first is not None
        ground.do(retention.let_go, horizon=horizon, piece=first)
        assert await janitor(ground.store, NOW).let_go() > 0
        assert ground.store.read_now(lambda c: retention.find(c, horizon)) is None


def many(store: Store, rows: int) -> None:
    """Fill a database with old words of a thousand people."""

    def fill(connection: Any) -> None:
        common = {"platform": "t", "bot": "b", "chat": "c", "opened_at": 1.0, "touched_at": 1.0}
        users = [{**common, "user": f"u{n}", "name": f"n{n}"} for n in range(1000)]
        connection.execute(insert(conversation), users)
        said = [
            {"conversation_id": n % 1000 + 1, "role": "user", "text": "word " * 40, "at": 1.0 + n,
             "scores": {"p_negative": 0.5}}
            for n in range(rows // 2)
        ]  # fmt: skip
        connection.execute(insert(history), said)
        took = [
            {"conversation_id": n % 1000 + 1, "platform": "t", "bot": "b", "chat": "c",
             "message_id": str(n), "kind": "said", "sequence": n, "message": {"text": "word " * 40},
             "state": "done", "received_at": 1.0, "touched_at": 1.0 + n}
            for n in range(rows - rows // 2)
        ]  # fmt: skip
        connection.execute(insert(inbox), took)

    store.write_now(fill)


async def swept(folder: Path, rows: int) -> tuple[list[float], int]:
    """Sweep a database of so many old rows; return the seconds of each slice, and what is left."""
    url = f"sqlite:///{folder / 'heed.db'}"
    create_tables(url)
    store = Store(url, Inline)
    many(store, rows)
    slices: list[float] = []
    write = store.write

    async def timed(operation: Any) -> Any:
        began = time.thread_time()
        try:
            return await write(operation)
        finally:
            slices.append(time.thread_time() - began)

    store.write = timed  # type: ignore[method-assign]
    try:
        await janitor(store, 60 * DAY).let_go()
        words = store.read_now(
            lambda c: sum("word" in str(row) for row in c.execute(history.select()).all())
        )
        assert store.erase_log()
        in_log = (folder / "heed.db-wal").stat().st_size
    finally:
        store.close()
    return slices, words + in_log


@pytest.mark.proof_short
async def test_a_sweep_keeps_nobody_waiting(tmp_path: Path, proof: Any) -> None:
    slices, rest = await swept(tmp_path, 10_000)
    late = [f"a slice of {one:.2f} s" for one in slices if one > 0.2]
    proof(
        "privacy",
        "no slice of a sweep of old rows takes longer than 0.2 s",
        f"10,000 rows in {len(slices)} slices",
        [*late, *["words are left"] * bool(rest)],
    )


@pytest.mark.proof
async def test_a_long_sweep_keeps_nobody_waiting(tmp_path: Path, proof: Any) -> None:
    rows = proof.share(100_000)
    slices, rest = await swept(tmp_path, rows)
    late = [f"a slice of {one:.2f} s" for one in slices if one > 0.2]
    proof(
        "privacy",
        "no slice of a long sweep of old rows takes longer than 0.2 s",
        f"{rows:,} rows in {len(slices)} slices",
        [*late, *["words are left"] * bool(rest)],
    )


async def test_nothing_is_left_in_the_unused_space_of_the_file(tmp_path: Path) -> None:
    """SQLite moves rows from page to page, and overwrites only where they were deleted last."""
    with opened(tmp_path) as ground:

        def fill(connection: Any) -> None:
            for n in range(12):
                user = key(f"u{n}")
                values = {
                    "platform": "telegram",
                    "bot": "heed",
                    "chat": user.chat,
                    "user": user.user,
                }
                home = insert(conversation).values(**values, opened_at=1.0, touched_at=1.0)
                connection.execute(home)
            for n in range(1500):
                who = n * 7919 % 12
                row = {"conversation_id": who + 1, "role": "user", "at": float(n)}
                words = f"{mark(f'u{who}')} " * (1 + n * 31 % 50)
                connection.execute(insert(history).values(**row, text=words))
                if n % 3 == 0:
                    old = n * 13 % (n + 1) + 1
                    change = history.update().where(history.c.id == old)
                    connection.execute(change.values(was="x" * (n * 17 % 900)))

        ground.do(fill)
        for who in range(0, 12, 2):
            ground.do(
                privacy.forget, conversation_id=who + 1, done=lambda **_: "", copy="", now=2.0
            )
        gone = [f"u{who}" for who in range(0, 12, 2)]
        clean = janitor(ground.store, 2.0)
        await clean.look()
        await clean.look()
        assert left(gone, files(tmp_path)) == []
        assert {field for field, _ in left(["u1", "u3"], files(tmp_path))} == {"u1", "u3"}
        assert not ground.store.read_now(privacy.unclean)
        assert ground.store.read_now(lambda c: kept.everywhere(c, 1)) == []
