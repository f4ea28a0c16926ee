"""What an operator sees of a running Heed: ids in the log, figures, readiness, alarms."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bot import live
from bot.control import listening
from bot.faults import FAULTS
from bot.logs import set_up
from bot.settings import Log
from core.tables import inbox, outbox
from tests.patience import until
from tests.proof import Ledger
from tests.walk.house import living, settings_for
from tests.walk.platforms import ANA, BEN, DESK, FURY, GROUP, KIND, MAYA, Heed, heed_on

PLANTED = "xyzzy"
BEN_SAYS = f"hello there, it is about the {PLANTED}"
STEPS = {"taken in", "turn begun", "heard", "decided", "claimed", "sent"}
ENDS = {"answered", "escalated", "relayed", "told", "silent", "done"}


@pytest.fixture
def written() -> io.StringIO:
    """What the log holds, as JSON; the test sets it up."""
    FAULTS.counted.clear()
    return io.StringIO()


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def of(row: int, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in told if one.get("inbox") == row or row in one.get("also", [])]


@pytest.mark.proof_short
async def test_every_step_of_a_message_names_it_and_none_its_words(
    tmp_path: Path, written: io.StringIO, proof: Ledger
) -> None:
    sections = {"log": Log(level="debug", format="json")}
    async with heed_on(tmp_path, on=("telegram", "discord"), staff="telegram", **sections) as heed:
        set_up(heed.app.settings, written)
        heed.telegram.fail("sendMessage", "500")
        await heed.says(MAYA, f"{KIND} {PLANTED}")
        await heed.writes("maya", BEN_SAYS)
        await heed.says(MAYA, f"{FURY} {PLANTED}")
        await heed.staff(f"we look into the {PLANTED}", ANA)
        await heed.says(MAYA, f"and where is my {PLANTED}?")
        await heed.quiet()
        rows, posts = await heed.rows(inbox), await heed.rows(outbox)
    text, told = written.getvalue(), lines(written)
    wrong = [f"the log has {PLANTED!r}"] if PLANTED in text.lower() else []
    wrong += ["the log has a name"] if "maya" in text.lower() else []
    for row in rows:
        steps = {one["message"] for one in of(row.id, told)}
        wrong += [f"{row.id}: no end in {sorted(steps)}"] if not steps & ENDS else []
        wrong += [f"{row.id}: not taken in"] if "taken in" not in steps else []
    for post in posts:
        steps = {one["message"] for one in told if one.get("outbox") == post.id}
        wrong += [] if {"claimed", "sent"} <= steps else [f"post {post.id}: {sorted(steps)}"]
    first = [one["message"] for one in of(rows[0].id, told)]
    wrong += [f"the first message lacks {STEPS - {*first}}"] if not {*first} >= STEPS else []
    leaked = [one for one in told if one["message"] == "claimed" and "inbox" not in one]
    wrong += [] if len(leaked) < len(posts) else ["no post knows its message"]
    size = f"{len(rows)} messages, {len(posts)} posts, {len(told)} lines"
    proof(
        "observability", "a message's id at every step of the log, and never its text", size, wrong
    )


async def test_at_level_info_a_message_costs_two_lines(
    tmp_path: Path, written: io.StringIO
) -> None:
    async with heed_on(tmp_path, log=Log(level="info", format="json")) as heed:
        set_up(heed.app.settings, written)
        await heed.says(MAYA, KIND)
        [row] = await heed.rows(inbox)
    ours = [one for one in lines(written) if one["logger"] == "heed.walk"]
    assert [one["message"] for one in ours] == ["answered", "sent"]
    assert {one["inbox"] for one in ours} == {row.id}
    assert {"turn_wait", "hear", "write", "finish_commit"} <= ours[0].keys()
    assert "outbox" not in ours[0]
    assert ours[1]["kind"] == "reply"


async def test_what_fails_names_its_message_too(tmp_path: Path, written: io.StringIO) -> None:
    failures = [2]

    def probe(step: str) -> None:
        if step == "model start" and failures[0]:
            failures[0] -= 1
            raise RuntimeError("broken")

    settings = settings_for(tmp_path, log=Log(level="debug", format="json"))
    async with living(settings, probe=probe) as house:
        set_up(settings, written)
        await house.say(KIND, "ben")
        await house.say(KIND, "ann")
        await house.idle()
    told = lines(written)
    failed = [one for one in told if one["message"] == "lane failed"]
    assert len(failed) == 2
    assert {one["inbox"] for one in failed} == {1}
    assert FAULTS.counted["error", "core.lanes: lane failed (RuntimeError)"] == 2
    assert {one["message"] for one in of(2, told)} >= STEPS


async def test_one_message_moves_the_figures_of_every_step(tmp_path: Path) -> None:
    async with heed_on(tmp_path, staff="telegram") as heed:
        await heed.says(MAYA, KIND)
        await heed.says(MAYA, FURY)
        heed.clock.ahead += 31.0  # whole tables are counted now and then
        await heed.app.watch.look()
        heed.room.refused(404)
        assert await heed.room.log_in("nobody", "wrong") is None
        text = heed.room.metrics().decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert figures['heed_messages_total{outcome="stored",platform="telegram"}'] == "2.0"
    assert figures['heed_turns_total{outcome="answered"}'] == "1.0"
    assert figures['heed_turns_total{outcome="escalated"}'] == "1.0"
    assert figures['heed_http_refusals_total{status="404"}'] == "1.0"
    assert figures["heed_log_ins_refused_total"] == "1.0"
    assert figures['heed_cases{state="queued"}'] == "1.0"
    assert sum("heed_escalations_total" in name for name in figures) == 1
    for step in ("intake_commit", "turn_wait", "hear", "finish_commit", "sent_commit"):
        assert float(figures[f"heed_{step}_seconds_count"]) >= 2
    for step in ("first_text", "reply", "write"):
        assert float(figures[f"heed_{step}_seconds_count"]) == 1
    assert float(figures['heed_delivery_call_seconds_count{platform="telegram"}']) >= 4
    assert float(figures["process_resident_memory_bytes"]) > 1e6
    assert figures["heed_ready"] == "1.0"


async def _stalled(heed: Heed, seconds: float, *, writes: bool = True) -> str:
    """Let Heed look, let time pass, and let it look again; return why it is not ready."""
    await heed.app.watch.look()
    heed.clock.ahead += seconds
    if writes:
        await heed.app.store.prove()  # what is being written would seem to take so long
    await heed.app.watch.look()
    return heed.app.watch.why_not_ready() or ""


async def _unanswered(heed: Heed) -> None:
    """Let somebody write whom no answer reaches: sendMessage fails."""
    before = len(heed.telegram.called("sendMessage"))
    heed.telegram.fail("sendMessage", "500", count=10_000)
    heed.telegram.say(MAYA, MAYA, KIND)
    await until(lambda: len(heed.telegram.called("sendMessage")) > before)
    await asyncio.sleep(0.1)


def told(heed: Heed, words: str) -> int:
    return sum(words in line for line in heed.read(DESK))


@pytest.mark.proof_short
async def test_what_stands_still_is_told_once_and_its_end_too(
    tmp_path: Path, proof: Ledger
) -> None:
    wrong: list[str] = []

    def insist(what: str, *, holds: bool) -> None:
        wrong.extend([] if holds else [what])

    desk = {"alerts_per_day": 1000, "incident_users": 1000}
    async with heed_on(tmp_path, on=("telegram", "discord"), staff="telegram", desk=desk) as heed:
        watch = heed.app.watch
        heed.telegram.group(GROUP, title="Group")
        insist("ready at first", holds=watch.why_not_ready() is None)
        await _posts_stall(heed, insist)
        await _polling_stalls(heed, insist)
        await _engine_hangs(heed, insist)
        await _database_is_locked(heed, insist, tmp_path)
        insist("ready at last", holds=watch.why_not_ready() is None)
        insist("nothing stands still", holds=not watch.view())
    proof(
        "observability", "stalls noticed, told once, and their end too", "4 kinds of stall", wrong
    )


async def _posts_stall(heed: Heed, insist: Any) -> None:
    """sendMessage answers 500 for long: the operator hears of it by another platform or later."""
    await _unanswered(heed)
    why = await _stalled(heed, 130.0)
    insist(f"posts: not ready, but {why!r}", holds="waits for Telegram has left" in why)
    insist("posts: on the page", holds=len(heed.room.troubles()) == 1)
    for _ in range(3):
        await heed.app.watch.look()
    heed.telegram.faults.clear()
    insist("posts: nothing posted where nothing leaves", holds=not told(heed, "waits for"))
    await heed.later(70.0)
    await heed.app.watch.look()
    await heed.quiet()
    insist("posts: ready again", holds=heed.app.watch.why_not_ready() is None)
    alarms = [line for line in heed.read(DESK) if "waits for Telegram has left" in line]
    insist(f"posts: the all-clear alone, but {alarms}", holds=len(alarms) == 1)
    insist("posts: the all-clear", holds=alarms[-1].startswith("Over, after"))


async def _polling_stalls(heed: Heed, insist: Any) -> None:
    """getUpdates answers 502 for long: the adapter says so, the watch does not say it again."""
    heed.telegram.fail("getUpdates", "502", count=10_000)
    heed.telegram.say(GROUP, BEN, "the poll that was under way ends")
    await until(lambda: heed.telegram.called("getUpdates")[-1].fault)
    before = len(heed.read(DESK))
    heed.clock.lapse(80.0)  # three polls of 25 s, and less than a gateway may be silent
    adapter = next(a for (p, _), a in heed.app.adapters.items() if p == "telegram")
    await until(lambda: "502" in adapter.health().problem)
    why = await _stalled(heed, 70.0)
    insist(f"polling: not ready, but {why!r}", holds="Telegram has not been connected" in why)
    for _ in range(3):
        await heed.app.watch.look()
    await heed.quiet()
    heed.telegram.faults.clear()
    heed.telegram.say(GROUP, BEN, "the first poll that succeeds")
    await until(lambda: adapter.health().state == "ok")
    await heed.app.watch.look()
    await heed.quiet()
    new = heed.read(DESK)[before:]
    insist(f"polling: an alarm and an all-clear, but {new}", holds=len(new) == 2)
    insist("polling: ready again", holds=heed.app.watch.why_not_ready() is None)


async def _engine_hangs(heed: Heed, insist: Any) -> None:
    """A model that never frees a slot: messages wait, and that is told."""
    before, has_room = len(heed.read(DESK)), heed.app.mind.has_room
    object.__setattr__(heed.app.mind, "has_room", lambda: False)
    said = heed.telegram.say(MAYA, MAYA, "and one more thing about the weather")
    await until(lambda: heed.app.turns.busy)
    while not await heed.rows(inbox, message_id=str(said)):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    why = await _stalled(heed, 65.0)
    insist(f"turns: not ready, but {why!r}", holds="No message has been answered" in why)
    await heed.app.watch.look()
    await until(lambda: told(heed, "No message has been answered") == 1)
    object.__setattr__(heed.app.mind, "has_room", has_room)
    await heed.settled(said)
    await heed.app.watch.look()
    await until(lambda: told(heed, "No message has been answered") == 2)
    new = heed.read(DESK)[before:]
    insist(f"turns: one alarm, one all-clear, but {new}", holds=len(new) == 2)
    insist("turns: ready again", holds=heed.app.watch.why_not_ready() is None)


async def _database_is_locked(heed: Heed, insist: Any, folder: Path) -> None:
    """Another program holds the database: told without it, and nothing waits for the answer."""
    before = len(heed.read(DESK))
    lock = sqlite3.connect(folder / "heed.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(Exception, match="locked"):
        await heed.room.take_in([], cursor=("a", "b"))
    why = await _stalled(heed, 40.0, writes=False)
    insist(f"database: not ready, but {why!r}", holds="database has taken nothing" in why)
    insist("database: figures", holds=b"heed_ready 0.0" in heed.room.metrics())
    await heed.app.watch.look()
    insist("database: told directly", holds=told(heed, "database has taken nothing") == 1)
    lock.execute("ROLLBACK")
    lock.close()
    await heed.app.store.prove()
    await heed.app.watch.look()
    await until(lambda: told(heed, "database has taken nothing") == 2)
    new = heed.read(DESK)[before:]
    insist(f"database: one alarm, one all-clear, but {new}", holds=len(new) == 2)
    insist("database: ready again", holds=heed.app.watch.why_not_ready() is None)


async def test_the_running_heed_tells_how_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    async with heed_on(tmp_path, staff="telegram") as heed:
        settings = heed.app.settings
        heed.telegram.group(GROUP, title="Group")

        def show(*, as_json: bool = False) -> int:
            said.clear()
            return live.show(settings, said.append, as_json=as_json)

        assert await asyncio.to_thread(show) == 2
        assert "No Heed is running" in said[0]

        async def tell() -> Any:
            return await live.live_of(heed.app)

        async with listening(settings.database.url, {"live": tell}):
            await _unanswered(heed)
            await heed.app.watch.look()
            assert await asyncio.to_thread(show) == 0
            assert any(line.startswith("telegram ok") for line in said)
            await _stalled(heed, 130.0)
            lock = sqlite3.connect(tmp_path / "heed.db", isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            assert await asyncio.to_thread(show) == 1
            lock.close()
            assert any(line.startswith("STUCK") and "Telegram" in line for line in said)
            assert await asyncio.to_thread(show, as_json=True) == 1
            found = json.loads(said[0])
            heed.telegram.faults.clear()
            await heed.later(61.0)
    assert (found["running"], found["ready"]) == (True, False)
    assert found["queues"]["posts"] == 1
    assert found["queues"]["oldest_post"] > 120
    assert found["revision"]
    assert PLANTED not in capsys.readouterr().out
