"""The judge of the matrix finds each violation; and a life that was stopped for a while."""

# ruff: noqa: S608 - the queries are ours

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.crash.harness import Play, Zygote, run, until
from tests.crash.judge import Case, Database, Outcome, judge
from tests.crash.scenes import DESK, SHORT, Talk
from tests.crash.stages import Child, Line, TelegramStage
from tests.proof import Ledger


@asynccontextmanager
async def played(
    zygote: Zygote, folder: Path, case: Case
) -> AsyncIterator[tuple[TelegramStage, Database, Callable[[], Outcome]]]:
    """Play a scene without a kill; gives what judges it once more."""
    talk = Talk(case.scene)
    async with TelegramStage() as stage:
        outcome = await run(zygote, stage, folder, case, talk)
        assert outcome.violations == []
        database = Database(folder / "heed.db")
        yield stage, database, lambda: judge(stage, database, talk, case)
        database.close()


def change(database: Database, statement: str) -> None:
    database.close()
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute(statement)


async def test_the_judge_sees_what_is_wrong_with_a_talk(zygote: Zygote, folder: Path) -> None:
    """A matrix without violations says something only if its judge can find one."""
    case = Case(kills=0, scene=SHORT)
    async with played(zygote, folder, case) as (stage, database, again):
        assert not any(line.text == "…" for line in stage.lines(stage.chat("ann")))
        first, second = stage.lines(stage.chat("ann"))[:2]
        ann = stage.chats[stage.ids["ann"]]

        ann.messages[999] = ann.messages[int(first.id)] | {"message_id": 999}
        twice = again()
        assert any("was answered 2 times" in one for one in twice.twice)
        assert any("no row explains" in one for one in twice.twice)
        assert twice.reordered
        del ann.messages[999]

        kept = ann.messages.pop(int(second.id))
        gone = again()
        assert any("nobody sees" in one for one in gone.lost)
        assert gone.unanswered
        ann.messages = dict(sorted({**ann.messages, int(second.id): kept}.items()))
        assert again().violations == []

        stage.chats[stage.desk].topics[998] = {"name": "#1 bob"}
        assert any("2 topics for 1 cases" in one for one in again().twice)
        del stage.chats[stage.desk].topics[998]

        change(database, "update inbox set state = 'waiting' where id = 3")
        assert any("inbox row 3 is waiting" in one for one in again().lost)
        change(database, "update inbox set state = 'done' where id = 3")
        change(database, "delete from history where role = 'user' and text like '%k04%'")
        assert any("k04 is 1x in the inbox, 0x in history" in one for one in again().lost)
        assert Line(first.id, first.text) in stage.lines(stage.chat("ann"))


async def test_the_judge_sees_what_is_wrong_at_the_desk(zygote: Zygote, folder: Path) -> None:
    async with played(zygote, folder, Case(kills=0, scene=DESK)) as (stage, database, again):
        relay = "select id from outbox where kind = 'relay' and staff_thread_id is null"
        change(database, f"update outbox set state = 'uncertain' where id = ({relay})")
        assert any("staff were told of 0" in one for one in again().unanswered)
        change(database, f"update outbox set state = 'held' where id = ({relay})")
        assert any("relay is held" in one for one in again().unanswered)
        change(database, f"update outbox set state = 'sent' where id = ({relay})")

        [line] = [one for one in stage.lines(stage.chat("bob")) if "k901" in one.text]
        stage.chats[stage.ids["bob"]].messages[int(line.id)]["text"] = "nothing"
        assert any("k901 of staff's never arrived" in one for one in again().unanswered)
        stage.chats[stage.ids["bob"]].messages[int(line.id)]["text"] = line.text

        claimed = "select at + 1 from audit where what = 'claimed' order by id limit 1"
        back = "update audit set what = 'put back' where what = 'given back'"
        change(database, back)
        change(
            database,
            f"update outbox set bot_text = 1, first_try_at = ({claimed}) "
            "where state = 'sent' and kind = 'notice' and staff_thread_id is null",
        )
        change(database, "update audit set at = at + 9 where what = 'resolved'")
        assert any("after a takeover" in one for one in again().noise)


@pytest.mark.proof_short
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="nobody says who is stopped")
async def test_a_life_that_was_stopped_goes_on_and_nobody_takes_its_place(
    zygote: Zygote, folder: Path, proof: Ledger
) -> None:
    """Stopped between claim and send for six seconds; others may not start meanwhile."""
    talk, database = Talk(SHORT), Database(folder / "heed.db")
    shutil.copyfile(zygote.template, database.path)
    shutil.copyfile(zygote.template, folder / "other.db")
    case = Case(point="after send claim", hit=4, kills=0)
    async with TelegramStage() as stage:
        play = Play(zygote, stage, folder, case, talk, database)
        stops = play.command | {"point": case.point, "hit": case.hit, "signal": "SIGSTOP"}
        async with zygote.life(stage.child, stops) as play.ended:
            speaking = asyncio.create_task(play.speak())
            assert await until(lambda: stopped(stage.child.pid))
            before = len(stage.calls)
            async with asyncio.TaskGroup() as meanwhile:
                meanwhile.create_task(asyncio.sleep(6))
                for name, words in (("heed", "is using"), ("other", "is connected with the token")):
                    meanwhile.create_task(refused(zygote, play.command, folder, name, words))
            assert len(stage.calls) == before
            stage.child.signal(signal.SIGCONT)
            assert await until(lambda: talk.over and database.idle(talk.all))
            await speaking
        outcome = judge(stage, database, talk, case)
    proof("crash", "Telegram: stopped for 6 s between claim and send", "1 case", outcome.violations)


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "T"


async def refused(
    zygote: Zygote, command: dict[str, object], folder: Path, name: str, words: str
) -> None:
    """Try to start a second Heed on the same database, or with the same token."""
    log = folder / f"{name} refused.log"
    own = {
        "settings": {**command["settings"], "database": {"url": f"sqlite:///{folder / name}.db"}}
    }  # type: ignore[dict-item]
    async with zygote.life(Child(), command | own | {"log": str(log)}) as ended:
        assert await until(ended.done)
    told = log.read_text("utf-8")
    assert "SetupError: Another Heed (process" in told
    assert words in told
