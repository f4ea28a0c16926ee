"""What is too old goes, in slices that nobody waits for, and out of the file's unused space."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text, insert, literal

from core.janitor import Janitor
from core.message import Attachment
from core.store import (
    Inline,
    Store,
    create_tables,
    kept,
    people,
    privacy,
    receipts,
    relay,
    retention,
    turns,
)
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


# ---- whoever wants to be left unread -----------------------------------------------------------


def left_unread(ground: Ground) -> None:
    """Let ann choose to be left unread, and be told so; everything of hers is at rest."""
    ground.take(said(1, "words of ann"))
    ground.do(people.opt_out, key=key(), now=ground.now)
    start = ground.begin()
    assert start is not None
    ground.finish(start, Plan(heard=heard(start), notices=("a notice",)))


async def test_what_has_not_arrived_is_not_emptied_before_it_does(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        left_unread(ground)
        ground.do(relay.hold, conversation_id=1, now=ground.now)  # they cannot be reached
        ground.now += 60.0
        await janitor(ground.store, ground.now).look()
        assert "words of ann" not in str(ground.rows(inbox))
        assert [row.text for row in ground.rows(outbox)] == ["a notice"]
        ground.do(relay.let_go, conversation_id=1, now=ground.now, send=True)
        assert [post.text for post in ground.send_all()] == ["a notice"]
        await janitor(ground.store, ground.now).look()
        assert [row.text for row in ground.rows(outbox)] == [""]


def test_a_case_that_was_opened_since_is_left_to_staff(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        left_unread(ground)
        ground.send_all()
        found = ground.store.read_now(lambda c: retention.unread(c, 0.0))
        assert found == [1]
        ground.open_case(2)  # between the janitor's look and what it does
        ground.do(retention.hush, ids=found, now=ground.now + 60.0)
        assert ground.case().why
        assert "I am fed up" in str(ground.rows(history))
        assert ground.rows(decision)


@pytest.mark.parametrize("forgotten", [True, False])
def test_words_go_out_of_what_the_answers_to_others_were_made_from(
    tmp_path: Path, *, forgotten: bool
) -> None:
    """Where a group shares its history, the prompt of an answer holds what others said."""
    with opened(tmp_path) as ground:
        for number, user in enumerate(("ann", "ben"), start=1):
            home = key(user, chat="-5")
            words = f"words of {user}"
            ground.take(said(number, words, user=user, key=home, private=False, addressed=True))
            start = ground.begin(number)
            assert start is not None
            prompt = [
                {"role": "user", "content": "words of ann"},
                {"role": "user", "content": words},
            ]
            made = {"reply": {"messages": prompt, "ms": 5.0}}
            ground.finish(start, Plan(heard=heard(start, decision=DECISION, made=made)))
        if forgotten:
            ground.do(privacy.forget, conversation_id=1, done=lambda **_: "", copy="", now=2.0)
        else:
            ground.do(people.opt_out, key=key("ann", chat="-5"), now=ground.now)
            ground.do(retention.hush, ids=[1], now=ground.now)
        [left_of_ben] = ground.rows(decision)
        assert "words of ann" not in str(left_of_ben.made)
        assert "words of ben" in str(left_of_ben.made)
        assert left_of_ben.made["reply"]["ms"] == 5.0


def test_what_is_looked_for_every_few_seconds_is_found_by_an_index(tmp_path: Path) -> None:
    """On tables that grow for ever a look must not read everything that ever was."""

    def plans(ground: Ground, operation: Any, **arguments: Any) -> set[str]:
        def watched(connection: Any) -> set[str]:
            statements: list[str] = []
            connection.driver.set_trace_callback(statements.append)
            operation(connection, **arguments)
            connection.driver.set_trace_callback(None)
            asked = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
            assert asked
            explained = [connection.driver.execute(f"EXPLAIN QUERY PLAN {one}") for one in asked]
            return {row[3] for rows in explained for row in rows}

        return set(ground.do(watched))

    grown = {f"SCAN {one}" for one in ("inbox", "outbox", "history", "conversation", "decision")}
    with opened(tmp_path) as ground:
        left_unread(ground)
        for operation, arguments in (
            (retention.unread, {"since": 0.0}),
            (retention.hush, {"ids": [1], "now": ground.now}),
            (receipts.in_doubt, {"now": ground.now}),
            (receipts.open_lanes, {"now": ground.now}),
            (people.opted_out, {"platform": "telegram", "user": "ann"}),
        ):
            assert not plans(ground, operation, **arguments) & grown, operation
        ground.take(said(2))
        assert not plans(ground, turns.begin, conversation_id=1, now=ground.now) & grown
        assert "SCAN conversation" not in plans(ground, privacy.bury)


# ---- the janitor itself ------------------------------------------------------------------------


async def test_who_is_buried_while_the_file_is_written_anew_is_due_again(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:

        def bury(user: str) -> None:
            ground.take(said(1 if user == "ann" else 2, user=user))
            home = ground.conversation(user).id
            ground.do(privacy.forget, conversation_id=home, done=lambda **_: "", copy="", now=2.0)
            assert ground.do(privacy.bury) == 1

        bury("ann")
        write_anew = ground.store.write_anew

        async def meanwhile() -> None:
            await write_anew()
            bury("ben")  # by a command of the operator's

        ground.store.write_anew = meanwhile  # type: ignore[method-assign]
        clean = janitor(ground.store, 3.0)
        await clean.look()
        assert ground.store.read_now(privacy.unclean)
        ground.store.write_anew = write_anew  # type: ignore[method-assign]
        await clean.look()
        assert not ground.store.read_now(privacy.unclean)


async def test_old_rows_go_although_the_clock_was_put_back(tmp_path: Path) -> None:
    now = NOW + 400 * DAY
    with opened(tmp_path) as ground:
        looks = Janitor(ground.store, lambda: now, text_days=lambda: 30, score_days=lambda: 365)
        await looks.look()
        stocked(ground)
        now = NOW
        await looks.look()
        assert "old words" not in str(ground.rows(history))


async def test_a_row_that_cannot_be_read_ends_neither_the_janitor_nor_heed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.janitor.PAUSE", 0.01)
    with opened(tmp_path) as ground:
        stocked(ground)

        def spoil(trace: str) -> None:
            spoilt = decision.update().where(decision.c.id == 1).values(trace=literal(trace, Text))
            ground.do(lambda connection: connection.execute(spoilt))

        spoil("{no json")
        at_work = asyncio.create_task(janitor(ground.store, 41 * DAY).run())
        await asyncio.sleep(0.1)
        assert not at_work.done()
        spoil("[]")
        await asyncio.sleep(0.2)
        assert "old why" not in str(ground.rows(decision))
        at_work.cancel()
        await asyncio.gather(at_work, return_exceptions=True)
