"""The judge of the desk's stories: what it lets pass, and what it must not; and its clock."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.desk.judge import ANSWER, Facts, Written
from tests.desk.machine import hurried
from tests.desk.test_desk_machine import Telegram
from tests.patience import PATIENCE
from tests.walk.platforms import MAYA, Town

WORDS = "Thank you for telling me."


class Stage(Telegram):
    """A platform that shows one message of the bot's."""

    words = WORDS

    def shown(self) -> list[tuple[str, str, str]]:
        return [("11", "7", self.words)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Town() as fake:
        made = Stage(fake)
        yield made
        shutil.rmtree(made.folder)


def facts(**tables: list[Any]) -> Facts:
    names = ("audit", "case", "decision", "history", "inbox", "outbox", "pair", "staff_thread")
    return Facts({name: tables.get(name, []) for name in names})


def post(**values: Any) -> Any:
    common = {
        "kind": "notice", "state": "sent", "text": WORDS, "message_id": "", "reply_to": "",
        "whisper": "", "staff_thread_id": None, "history_id": None, "part": 0, "cause_kind": "",
    }  # fmt: skip
    return SimpleNamespace(**common | values)


def test_a_message_that_staff_called_arrived_is_known_though_nobody_knows_its_id(
    stage: Stage,
) -> None:
    assert list(stage._once(facts(outbox=[post()]))) == []
    assert list(stage._once(facts(outbox=[post(message_id="7")]))) == []
    assert list(stage._once(facts(outbox=[post(state="uncertain")]))) == []


@pytest.mark.parametrize("row", [{"state": "failed"}, {"message_id": "6"}, {"text": "Hello"}])
def test_a_message_that_no_row_accounts_for_is_told(stage: Stage, row: dict[str, str]) -> None:
    [told] = stage._once(facts(outbox=[post(**row)]))
    assert told.startswith("shown in 11, and nobody knows of it")


def test_a_name_that_was_kept_from_ringing_is_the_same_text(stage: Stage) -> None:
    stage.words = "/contact @\u2060NAME opens a case"
    named = post(text="/contact @NAME opens a case", state="uncertain")
    assert list(stage._once(facts(outbox=[named]))) == []


def test_the_refusal_of_one_message_does_not_excuse_another(stage: Stage) -> None:
    stage.written = [Written("s1s", 30, "5"), Written("s2s", 31, "5")]
    refused = post(kind="relay", staff_thread_id=1, reply_to="30")
    trace = SimpleNamespace(what="refused")
    told = list(stage._answers(facts(audit=[trace], outbox=[refused])))
    assert told == ["s2s of the staff vanished without a word"]
    both = [refused, post(kind="digest", staff_thread_id=2, whisper="31")]
    assert list(stage._answers(facts(outbox=both))) == []


class Growing(Telegram):
    """A platform where one message of the bot's grows before Ann, and stops growing."""

    grows = True
    text = f"Oh no. {ANSWER[:50]}"

    def homes(self) -> set[str]:
        return {"11"}

    def shown(self) -> list[tuple[str, str, str]]:
        return [("11", "7", self.text)]

    def spoken(self) -> list[tuple[Any, float, str, bool]]:
        return [("ann", 100.0, self.text, False)]


@pytest.fixture
async def growing() -> AsyncIterator[Growing]:
    async with Town() as fake:
        made = Growing(fake)
        yield made
        shutil.rmtree(made.folder)


def test_a_reply_may_grow_only_before_a_person_whom_the_bot_has(growing: Growing) -> None:
    growing.owners = [(1.0, frozenset({("ann", "bot")}))]
    assert list(growing._silence(facts())) == []
    growing.owners.append((99.0, frozenset({("ann", "human")})))
    assert list(growing._silence(facts())) == ["a draft was shown to ann while a human had them"]


def test_words_that_no_answer_begins_with_were_never_a_growing_reply(growing: Growing) -> None:
    growing.owners = [(1.0, frozenset({("ann", "bot")}))]
    growing.text = f"{ANSWER[:50]} or not"
    [told] = growing._silence(facts())
    assert told.startswith("sent without a claim to ann")


def test_a_half_written_reply_must_not_be_left_standing(growing: Growing) -> None:
    [told] = growing._unfinished(facts())
    assert told.startswith("left half written in 11")
    taken_back = post(kind="edit", state="uncertain", text="-", message_id="7")
    assert list(growing._unfinished(facts(outbox=[taken_back]))) == []
    growing.claims = [(growing.text, "bot")]
    assert list(growing._unfinished(facts())) == []


def test_a_message_may_be_set_aside_only_where_every_try_of_it_was_killed(growing: Growing) -> None:
    said = {"text": "hello there m2m"}
    parked = SimpleNamespace(kind="said", state="parked", error="five tries", message=said)
    growing.kills = 4
    [told, *_] = growing._people(facts(inbox=[parked]))
    assert told == "a message was set aside: said five tries"
    growing.kills = 5
    assert list(growing._people(facts(inbox=[parked]))) == []
    growing.said = [(MAYA, "m2m")]
    assert list(growing._people(facts(inbox=[parked]))) == []
    growing.said = [(MAYA, "m3m")]
    assert list(growing._people(facts(inbox=[parked]))) == [f"nobody heard m3m of {MAYA}"]


async def test_the_clock_leaps_only_between_writes(growing: Growing) -> None:
    """Else a post would be claimed long before it is sent, which no process lives to see."""
    claimed = threading.Event()
    with hurried():
        await growing.start()
        try:
            write = asyncio.create_task(growing.app.store.write(lambda _: claimed.wait(PATIENCE)))
            leap = asyncio.create_task(growing.leap(3700.0))
            await asyncio.wait([leap], timeout=0.1)
            assert growing.offset == 0.0
            claimed.set()
            await asyncio.gather(write, leap)
            assert growing.offset == 3700.0
        finally:
            await growing.kill()
