"""The row of a reply while it is written: its message, and what takes it back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.store import desk, flags, lines, privacy, streams, turns
from core.store.outbox import Claim
from core.store.streams import Opened
from core.store.turns import Plan
from core.tables import conversation, outbox
from tests.core.ground import OPENING, TEXTS, Ground, heard, key, opened, said

WITHDRAWN = TEXTS.say("withdrawn", "en")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        made.place = None
        yield made


def stream(ground: Ground, *, private: bool = True) -> Opened:
    """Let a reply begin to show."""
    ground.take(said(1, "how do I pay?", private=private))
    return begun(ground)


def begun(ground: Ground) -> Opened:
    start = ground.begin()
    assert start is not None
    found = ground.do(
        streams.open_stream,
        conversation_id=1,
        inbox_id=start.rows[0].id,
        standing=start.standing,
        now=ground.now,
        shown="I would say",
    )
    assert isinstance(found, Opened)
    return found


def remembered(ground: Ground, one: Opened, message_id: str = "77") -> bool:
    """Say which message shows it; True when that has something sent."""
    lanes = ground.do(
        streams.remember,
        opened=one,
        conversation_id=1,
        message_id=message_id,
        say=TEXTS.say,
        now=ground.now,
    )
    return lanes == (("person", 1),)


def take_over(ground: Ground) -> None:
    opening = replace(OPENING, notice="", ping="")
    ground.do(
        desk.open_case, conversation_id=1, opening=opening, desk=ground.facts(), now=ground.now
    )


def sent(ground: Ground) -> list[tuple[str, str, str | None]]:
    return [(post.kind, post.text, post.message_id) for post in ground.send_all()]


def test_a_second_run_goes_on_with_the_same_message(ground: Ground) -> None:
    first = stream(ground)
    assert not remembered(ground, first)
    assert begun(ground) == replace(first, message_id="77")
    ground.answer(ground.begin(), "All of it.")
    [post] = ground.send_all()
    assert (post.text, post.message_id, post.nonce) == ("All of it.", "77", first.nonce)


@pytest.mark.parametrize(
    ("private", "kind", "text"), [(True, "edit", WITHDRAWN), (False, "delete", "")]
)
def test_a_message_that_comes_to_light_after_the_takeover_is_taken_back(
    ground: Ground, *, private: bool, kind: str, text: str
) -> None:
    one = stream(ground, private=private)
    take_over(ground)
    [early] = ground.send_all()  # it looks for the message by the nonce of the reply
    assert (early.kind, early.nonce) == ("notice" if private else "delete", one.nonce)
    assert early.message_id is None
    assert early.seeks
    assert remembered(ground, one)
    assert sent(ground) == [(kind, text, "77")]


@pytest.mark.parametrize("private", [True, False])
def test_what_seeks_a_message_by_its_nonce_is_as_old_as_that_nonce(
    ground: Ground, *, private: bool
) -> None:
    stream(ground, private=private)
    ground.now += 150.0  # a platform may have forgotten it by then
    take_over(ground)
    [post] = ground.send_all()
    assert (post.seeks, post.age) == (True, 150.0)


def test_of_a_row_that_is_gone_the_message_goes_too(ground: Ground) -> None:
    one = stream(ground)
    ground.do(lambda c: c.execute(outbox.delete()))
    assert remembered(ground, one)
    assert sent(ground) == [("delete", "", "77")]


def test_of_somebody_erased_nothing_is_queued(ground: Ground) -> None:
    one = stream(ground)
    ground.do(lambda c: c.execute(outbox.delete()))
    ground.do(lambda c: c.execute(conversation.delete()))
    assert not remembered(ground, one)
    assert ground.rows(outbox) == []


def test_a_late_word_of_the_very_message_that_was_sent_changes_nothing(ground: Ground) -> None:
    one = stream(ground)
    ground.answer(ground.begin(), "All of it.")
    claim = ground.claim()
    assert isinstance(claim, Claim)
    ground.sent(claim.post, "77")
    assert not remembered(ground, one)
    assert ground.row(outbox).state == "sent"
    assert remembered(ground, one, "88")  # another one is too many
    assert sent(ground) == [("delete", "", "88")]


def test_a_turn_without_a_reply_deletes_what_had_begun_to_show(ground: Ground) -> None:
    one = stream(ground)
    remembered(ground, one)
    start = ground.begin()
    assert start is not None
    ground.finish(start, Plan(heard=heard(start), notices=("Wait a little.",)))
    assert sorted(sent(ground), key=str) == [
        ("delete", "", "77"),
        ("notice", "Wait a little.", None),
    ]
    assert ground.row(outbox, kind="reply").state == "withdrawn"


def test_a_message_set_aside_takes_its_half_reply_along(ground: Ground) -> None:
    remembered(ground, stream(ground))
    start = ground.begin()
    ground.do(turns.set_aside, start=start, error="five tries", notice="", now=ground.now)
    assert sent(ground) == [("delete", "", "77")]


def test_what_somebody_saw_half_of_before_they_were_gone_goes_when_they_are_back(
    ground: Ground,
) -> None:
    remembered(ground, stream(ground))
    ground.answer(ground.begin(), "I would say: by card.")
    for number, word in ((2, "I am back"), (3, "and again")):  # what deletes it is held once, too
        claim = ground.claim()
        assert isinstance(claim, Claim)
        ground.unreachable(claim.post)
        assert sent(ground) == []
        ground.take(said(number, word))
        ground.answer(ground.begin(), "Good.")
    assert sent(ground)[0] == ("delete", "", "77")
    assert ground.rows(outbox, kind="reply")[0].state == "withdrawn"


def forget(ground: Ground) -> None:
    ground.do(
        privacy.forget,
        conversation_id=1,
        done=lambda **_: "Erased.",
        copy="erased",
        now=ground.now,
    )


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ended", ["streaming", "queued", "sending"])
def test_of_somebody_who_is_forgotten_no_half_reply_stays(
    ground: Ground, *, known: bool, ended: str
) -> None:
    one = stream(ground)
    if known:
        remembered(ground, one)
    if ended != "streaming":
        ground.answer(ground.begin(), "All of it.")
    if ended == "sending":
        assert isinstance(ground.claim(), Claim)
    forget(ground)
    assert ground.do(privacy.bury) == 0  # not before the last post has left
    posts = ground.send_all()
    assert [(post.kind, post.text) for post in posts] == [("notice", "Erased."), ("delete", "")]
    last = posts[-1]  # a message that is not known yet is looked for by the nonce of the reply
    assert (last.message_id, last.nonce == one.nonce) == (("77", False) if known else (None, True))
    assert ground.do(privacy.bury) == 1


def test_of_somebody_who_was_gone_and_is_forgotten_no_half_reply_stays(ground: Ground) -> None:
    remembered(ground, stream(ground))
    ground.answer(ground.begin(), "All of it.")
    claim = ground.claim()
    assert isinstance(claim, Claim)
    ground.unreachable(claim.post)
    ground.do(lines.reachable, conversation_id=1, yes=True)
    forget(ground)
    assert sent(ground) == [("notice", "Erased.", None), ("delete", "", "77")]


def test_what_takes_a_reply_back_outlives_the_forgetting(ground: Ground) -> None:
    remembered(ground, stream(ground))
    take_over(ground)
    forget(ground)
    assert sorted(sent(ground), key=str) == [
        ("edit", WITHDRAWN, "77"),
        ("notice", "Erased.", None),
    ]


def test_a_reply_of_unknown_outcome_is_looked_for_by_its_nonce_after_a_takeover(
    ground: Ground,
) -> None:
    one = stream(ground)
    ground.answer(ground.begin(), "All of it.")
    claim = ground.claim()
    assert isinstance(claim, Claim)  # it is being sent
    take_over(ground)
    ground.do(
        flags.put_back, claim=claim, seconds=0.0, error="broke off", say=TEXTS.say, now=ground.now
    )
    [post] = ground.send_all()
    assert (post.kind, post.text, post.nonce) == ("notice", WITHDRAWN, one.nonce)


def test_what_is_unfinished_waits_for_what_was_said_before(ground: Ground) -> None:
    ground.take(said(1))
    ground.answer(ground.begin(), "the first")
    ground.take(said(2))
    one = begun(ground)
    assert one.behind
    assert begun(ground).behind  # in the next life, too
    assert sent(ground) == [("reply", "the first", None)]
    assert not ground.do(streams.behind, conversation_id=1, row_id=one.id)
    assert not begun(ground).behind


def test_a_case_that_goes_to_a_direct_chat_cuts_the_machine_short_there(ground: Ground) -> None:
    ground.take(said(1, "this is a mess", key=key(chat="800"), private=False))
    take_over(ground)  # of the group's conversation
    ground.take(said(2, "how do I pay?"))
    start = ground.begin(2)
    assert start is not None
    assert ground.stream(start) is not None
    lanes = ground.do(desk.to_direct_chat, case_id=1, desk=ground.facts(), now=ground.now)
    assert lanes == (("person", 2),)
    [post] = ground.send_all(("person", 2))
    assert (post.kind, post.text, post.seeks) == ("notice", WITHDRAWN, True)
    assert [row.owner for row in ground.rows(conversation)] == ["bot", "queue"]
