"""Delivery: each outcome of a send has a path of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core import delivery as module
from core.delivery import Delivery
from core.errors import (
    DeliveryError,
    NoThread,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    ThreadGone,
    ThreadShut,
    TooLarge,
    Unchangeable,
    Unreachable,
)
from core.handoff import Action
from core.message import Attachment, File, Media, Post, Receipt, TextLimit
from core.ports import Remember
from core.store import outbox, record, relay
from core.store.outbox import ALBUM
from core.store.relay import Words
from core.store.turns import Plan
from core.tables import conversation, history, outbox as table, staff_thread
from tests.core.ground import TEXTS, Ground, heard, opened, said

PERSON = ("person", 1)
STAFF = ("staff", 1)


@dataclass
class Platform:
    """The other side of the port: takes posts, or answers as it is told, once each."""

    answers: list[Exception] = field(default_factory=list)
    repeats: bool = False
    placeholder: bool = False
    got: list[Post] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    platform = "telegram"
    bot = "heed"
    limit = TextLimit(size=4096)

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        self.got.append(post)
        if self.placeholder and post.message_id is None:
            await remember(f"placeholder {post.id}")
        self.meanwhile()
        if self.answers:
            raise self.answers.pop(0)
        thread = "31" if post.kind == "thread" else ""
        return Receipt(message_id=post.message_id or f"m{post.id}", thread=thread)

    async def fetch(self, media: Media) -> File:
        self.fetched.append(media.file_id)
        return File(kind=media.kind, name=media.name, content=b"bytes")

    def repeatable(self, _post: Post) -> bool:
        return self.repeats


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def delivery(ground: Ground, platform: Platform) -> Delivery:
    return deliver(ground, {("telegram", "heed"): platform})


def deliver(
    ground: Ground, platforms: dict[tuple[str, str], Platform], *probes: Any, **doors: Any
) -> Delivery:
    values = {
        "draw": _no_file,
        "ring": lambda _lanes: None,
        "lost": _nobody,
        "settled": _noted,
        **doors,
    }
    return Delivery(ground.store, platforms, lambda: ground.now, *probes, say=TEXTS.say, **values)


async def _no_file(media: Media) -> File:
    raise AssertionError(f"nobody asked for {media.name}")


async def _noted(conversation_id: int) -> None:
    assert conversation_id


async def _nobody(case_id: int) -> None:
    raise AssertionError(f"case {case_id} lost its place")


def reply(ground: Ground, *numbers: int) -> None:
    for number in numbers or (1,):
        ground.take(said(number))
        ground.answer(ground.begin(), f"answer {number}")


def state(ground: Ground) -> str:
    return ground.rows(table)[0].state


async def test_a_post_is_sent_and_its_id_kept(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    reply(ground)
    assert await delivery.work(PERSON) is None  # nothing more is queued
    assert [post.text for post in platform.got] == ["answer 1"]
    row = ground.row(table)
    assert (row.state, row.message_id) == ("sent", f"m{row.id}")


@pytest.mark.parametrize(
    ("error", "repeats", "outcome"),
    [
        (RetryAfter(7.0), False, ("queued", 7.0)),
        (NotSent("refused before it went out"), False, ("queued", 1.0)),
        (OutcomeUnknown("timed out"), True, ("queued", 1.0)),
        (OutcomeUnknown("timed out"), False, ("uncertain", None)),
        (Refused("bad markup"), True, ("failed", None)),
        (NoThread("no topics here"), True, ("failed", None)),
        (Unreachable("blocked"), True, ("held", None)),
        (DeliveryError("something else"), True, ("uncertain", None)),
        (KeyError("a fault of the adapter's own"), True, ("uncertain", None)),
    ],
)
async def test_each_outcome_takes_its_own_path(
    ground: Ground,
    platform: Platform,
    delivery: Delivery,
    error: Exception,
    repeats: bool,  # noqa: FBT001
    outcome: tuple[str, float | None],
) -> None:
    expected, waits = outcome
    reply(ground)
    platform.answers.append(error)
    platform.repeats = repeats
    assert await delivery.work(PERSON) == 0.0
    assert state(ground) == expected
    assert await delivery.work(PERSON) == waits
    assert len(platform.got) == 1
    assert ground.row(table).error
    assert ground.row(conversation).unreachable is (expected == "held")


@pytest.mark.parametrize("error", [Unreachable("blocked"), Refused("no such right any more")])
async def test_what_may_have_arrived_is_neither_held_nor_called_failed(
    ground: Ground, platform: Platform, delivery: Delivery, error: DeliveryError
) -> None:
    reply(ground, 1, 2)
    platform.answers += [OutcomeUnknown("reset"), error]
    platform.repeats = True
    await delivery.work(PERSON)
    ground.now += 1
    await delivery.work(PERSON)
    gone = isinstance(error, Unreachable)
    states = [row.state for row in ground.rows(table, kind="reply")]
    assert states == ["uncertain", "held" if gone else "queued"]
    assert ground.row(conversation).unreachable is gone


async def test_what_may_have_arrived_keeps_its_doubt_when_its_reader_is_out_of_reach_and_we_die(
    ground: Ground, platform: Platform, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply(ground, 1, 2)
    platform.answers += [OutcomeUnknown("reset"), Unreachable("blocked")]
    platform.repeats = True
    await delivery.work(PERSON)
    ground.now += 1

    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(delivery, "_end", dies)
    with pytest.raises(asyncio.CancelledError):
        await delivery.work(PERSON)
    monkeypatch.undo()
    assert [row.state for row in ground.rows(table, kind="reply")] == ["sending", "held"]
    ground.now += 60
    platform.answers.append(Unreachable("blocked"))
    await delivery.settle_doubts()
    await delivery.work(PERSON)
    assert [row.state for row in ground.rows(table, kind="reply")] == ["uncertain", "held"]


async def test_a_repeat_carries_the_same_nonce_and_edits_the_same_message(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    reply(ground)
    platform.answers.append(OutcomeUnknown("reset"))
    platform.repeats = platform.placeholder = True
    await delivery.work(PERSON)
    ground.now += 1
    await delivery.work(PERSON)
    first, second = platform.got
    assert first.nonce == second.nonce
    assert (first.message_id, second.message_id) == (None, f"placeholder {first.id}")
    assert ground.row(table).message_id == f"placeholder {first.id}"
    assert state(ground) == "sent"


async def test_pauses_grow_while_a_platform_is_down(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    reply(ground)
    platform.answers = [NotSent("down") for _ in range(12)]
    pauses = []
    for _ in range(12):
        assert await delivery.work(PERSON) == 0.0
        pause = await delivery.work(PERSON)
        assert pause is not None
        pauses.append(round(pause, 3))
        ground.now += pause
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (1.0, 60.0)
    await delivery.work(PERSON)
    assert state(ground) == "sent"


async def test_what_ended_lets_the_next_post_go(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    reply(ground, 1, 2)
    platform.answers.append(Refused("bad markup"))
    while await delivery.work(PERSON) is not None:
        pass
    assert [row.state for row in ground.rows(table)] == ["failed", "sent"]


async def test_a_platform_that_is_not_connected_keeps_its_posts(ground: Ground) -> None:
    reply(ground)
    delivery = deliver(ground, {})
    await delivery.work(PERSON)
    assert (state(ground), await delivery.work(PERSON)) == ("queued", 60.0)
    assert "not connected" in ground.row(table).error


async def test_a_desk_without_threads_gets_its_case_in_the_chat_itself(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    ground.open_case()
    platform.answers.append(NoThread("not a forum"))
    while await delivery.work(STAFF) is not None:
        pass
    assert [post.kind for post in platform.got] == ["thread", "card", "context", "ping"]
    assert {post.place.thread for post in platform.got} == {""}
    assert ground.row(staff_thread).status == "fallback"


async def test_an_outcome_is_stored_even_if_the_database_is_busy_for_a_while(
    ground: Ground, platform: Platform, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01,))
    reply(ground)
    ground.do(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=1"))
    other = sqlite3.connect(ground.url.removeprefix("sqlite:///"), isolation_level=None)
    platform.meanwhile = lambda: other.execute("BEGIN IMMEDIATE").close()
    write, tries = ground.store.write, 0

    async def count(operation: outbox.Any) -> outbox.Any:
        nonlocal tries
        tries += 1
        if tries == 4:
            other.execute("ROLLBACK")
        return await write(operation)

    monkeypatch.setattr(ground.store, "write", count)
    await delivery.work(PERSON)
    other.close()
    assert tries >= 4
    assert state(ground) == "sent"
    assert len(platform.got) == 1


@pytest.mark.parametrize(("repeats", "expected"), [(True, "sent"), (False, "uncertain")])
async def test_what_was_being_sent_when_the_process_ended_is_settled_at_start(
    ground: Ground,
    platform: Platform,
    delivery: Delivery,
    repeats: bool,  # noqa: FBT001
    expected: str,
) -> None:
    reply(ground)
    ground.claim()
    platform.repeats = repeats
    assert await delivery.work(PERSON) is None
    await delivery.settle_doubts()
    while await delivery.work(PERSON) is not None:
        pass
    assert state(ground) == expected
    assert len(platform.got) == (1 if repeats else 0)


async def test_lanes_with_something_due_are_found(ground: Ground, delivery: Delivery) -> None:
    reply(ground)
    assert await delivery.due() == []
    assert await delivery.due(quiet=0.0) == [PERSON]
    ground.now += 11
    assert await delivery.due() == [PERSON]


async def test_a_probe_stands_at_every_step(ground: Ground, platform: Platform) -> None:
    reply(ground)
    steps: list[str] = []
    made = deliver(ground, {("telegram", "heed"): platform}, steps.append)
    await made.work(PERSON)
    assert steps == [
        "before send claim",
        "after send claim",
        "before sent commit",
        "after sent commit",
    ]


def album(ground: Ground) -> None:
    """Queue two photos that were sent together, for staff."""
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    for number in (2, 3):
        photo = Attachment(kind="photo", file_id=f"f{number}", name=f"{number}.png", size=2_000_000)
        ground.take(said(number, "", attachments=(photo,), album="a1"))
        start = ground.begin()
        ground.finish(start, Plan(heard=heard(start), copies={start.rows[0].id: ("Ann:",)}))
    ground.now += ALBUM


async def test_an_album_leaves_in_one_call(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    album(ground)
    while await delivery.work(STAFF) is not None:
        pass
    assert [[one.file_id for one in post.media] for post in platform.got] == [["f2", "f3"]]
    assert {row.state for row in ground.rows(table, album="a1")} == {"sent"}


async def test_of_an_album_only_the_file_that_is_too_large_goes_in_words(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    album(ground)
    platform.answers = [TooLarge("50 MB"), TooLarge("50 MB")]  # together, and the first alone
    while await delivery.work(STAFF) is not None:
        pass
    together, alone, in_words, other = platform.got
    assert len(together.media) == 2
    assert [one.file_id for one in alone.media] == ["f2"]
    assert in_words.media == ()
    assert "2.png" in in_words.text
    assert "2 MB" in in_words.text
    assert [one.file_id for one in other.media] == ["f3"]
    assert {row.state for row in ground.rows(table, staff_thread_id=1)} == {"sent"}


async def test_a_lost_thread_takes_no_photo_of_an_album_along(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    album(ground)
    platform.answers.append(ThreadGone("TOPIC_DELETED"))
    while await delivery.work(STAFF) is not None:
        pass
    kinds = [post.kind for post in platform.got[1:]]
    assert kinds == ["thread", "card", "relay", "relay", "ping"]
    photos = [one.file_id for post in platform.got[1:] for one in post.media]
    assert photos == ["f2", "f3"]


async def test_a_shut_thread_is_opened_and_the_line_follows(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    ground.do(record.tell_staff, case_id=1, words="news", now=ground.now, what="told")
    platform.answers.append(ThreadShut("TOPIC_CLOSED"))
    while await delivery.work(STAFF) is not None:
        pass
    assert [post.kind for post in platform.got] == ["relay", "thread", "relay"]
    first, opening, again = platform.got
    assert (opening.message_id, opening.state) == ("31", "open")
    assert first.id == again.id


async def test_a_desk_that_shuts_us_out_is_told_of_as_lost(
    ground: Ground, platform: Platform
) -> None:
    ground.open_case()
    lost: list[int] = []

    async def note(case_id: int) -> None:
        lost.append(case_id)

    delivery = deliver(ground, {("telegram", "heed"): platform}, lost=note)
    platform.answers.append(Unreachable("kicked"))
    while await delivery.work(STAFF) is not None:
        pass
    assert lost == [1]
    assert ground.row(staff_thread).status == "lost"


async def test_a_message_that_can_no_longer_be_changed_is_said_anew(
    ground: Ground, platform: Platform, delivery: Delivery
) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    ground.staff_said("Come at 5.")
    ground.send_all()
    line = ground.rows(history, role="staff")[-1].id
    words = Words(whole="Come at 6.", parts=("Come at 6.",))
    cause = ("changed", 9)
    ground.do(relay.change_answer, line_id=line, words=words, cause=cause, now=ground.now)
    platform.answers.append(Unchangeable("too old"))
    while await delivery.work(PERSON) is not None:
        pass
    edit, anew = platform.got
    assert (edit.kind, anew.kind, anew.text) == ("edit", "relay", "Correction:\nCome at 6.")


async def test_a_file_of_the_other_platform_is_fetched_and_brought_along(
    ground: Ground, platform: Platform
) -> None:
    ground.open_case()
    ground.send_all(STAFF, thread="31")
    photo = Attachment(kind="photo", file_id="f1", name="a.png")
    ground.take(said(2, "look", attachments=(photo,)))
    start = ground.begin()
    ground.finish(start, Plan(heard=heard(start), copies={start.rows[0].id: ("Ann: look",)}))
    ground.do(lambda c: c.execute(staff_thread.update().values(platform="discord")))
    there = Platform()
    adapters = {("telegram", "heed"): platform, ("discord", "heed"): there}
    delivery = deliver(ground, adapters)
    while await delivery.work(STAFF) is not None:
        pass
    [post] = there.got
    assert ([one.name for one in post.files], post.media) == (["a.png"], ())
    assert platform.fetched == ["f1"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OutcomeUnknown("timed out"), "This may or may not have arrived. It was not sent again."),
        (Refused("too many buttons"), "Not delivered to Ann: too many buttons"),
    ],
)
async def test_staff_are_told_of_words_that_were_given_up(
    ground: Ground, platform: Platform, delivery: Delivery, error: Exception, words: str
) -> None:
    case_id = ground.open_case()
    ground.send_all(STAFF, thread="31")
    ground.send_all()
    action = Action(case_id=case_id, verb="reply", who="Ben", text="Here is your refund.")
    await ground.handoff.act(action)
    platform.answers.append(error)
    await delivery.work(PERSON)
    told = f"{words}\n> Here is your refund."
    assert told in [post.text for post in ground.send_all(STAFF)]
    [note] = ground.rows(history, role="note")
    assert (note.name, note.text) == ("Heed", told)
