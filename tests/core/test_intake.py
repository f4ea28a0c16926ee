"""Taking in: what is acknowledged is on disk, once, whatever it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from core.message import Arrival, Author, ConversationKey, Message
from core.store import intake
from core.tables import conversation, cursor, inbox, poison
from tests.core.ground import Ground, arrival, key, opened, said


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


def test_a_message_makes_a_conversation_and_an_inbox_row(ground: Ground) -> None:
    assert ground.take(said(5, "hi")) == [1]
    person = ground.row(conversation)
    assert (person.user, person.name, person.lang, person.owner) == ("ann", "Ann", "en", "bot")
    row = ground.row(inbox)
    assert (row.state, row.sequence, row.message["text"], row.raw) == ("waiting", 5, "hi", "{}")


def test_the_same_message_is_taken_in_once(ground: Ground) -> None:
    assert ground.take(said(5, "hi"), said(5, "hi")) == [1, None]
    assert ground.take(said(5, "hi again")) == [None]
    assert len(ground.rows(inbox)) == 1


def test_a_repeat_is_dropped_after_it_was_answered_too(ground: Ground) -> None:
    ground.take(said(5))
    ground.answer(ground.begin())
    assert ground.take(said(5)) == [None]
    assert ground.begin() is None


def test_the_same_number_elsewhere_is_another_message(ground: Ground) -> None:
    other_bot = replace(said(5), key=replace(key(), bot="second"))
    other_platform = replace(said(5), key=replace(key(), platform="discord"))
    other_chat = replace(said(5), key=replace(key(), chat="-7"))
    assert None not in ground.take(said(5), other_bot, other_platform, other_chat)
    assert len(ground.rows(conversation)) == 4


def test_two_people_in_one_group_have_two_conversations(ground: Ground) -> None:
    ann = replace(said(1), key=key("ann", chat="-7"))
    ben = replace(said(2, user="ben"), key=key("ben", chat="-7"))
    ground.take(ann, ben)
    assert [row.user for row in ground.rows(conversation)] == ["ann", "ben"]


def test_an_edit_and_each_press_have_a_key_of_their_own(ground: Ground) -> None:
    message = said(5)
    edit = replace(message, kind="edited", text="hello!", event_id="e1")
    second_edit = replace(edit, text="hello!!", event_id="e2")
    press = replace(message, kind="pressed", data="u:yes", event_id="p1")
    second_press = replace(press, event_id="p2")
    taken = ground.take(message, edit, second_edit, press, second_press, edit, press)
    assert None not in taken[:5]
    assert taken[5:] == [None, None]


def test_poison_is_kept_raw_with_its_error_and_its_neighbours_are_taken_in(ground: Ground) -> None:
    arrivals = [
        (arrival(said(1)), ""),
        (arrival(None, raw='{"broken": 1}', error="KeyError: message"), ""),
        (arrival(None), ""),
        (arrival(said(2)), "crisis"),
    ]
    taken = ground.do(intake.take_in, arrivals=arrivals, now=1.0)
    assert [item.inbox_id for item in taken] == [1, None, None, 2]
    assert taken[3].urgent == "crisis"
    row = ground.row(poison)
    assert (row.raw, row.error) == ('{"broken": 1}', "KeyError: message")
    assert [row.urgent for row in ground.rows(inbox)] == ["", "crisis"]


def test_the_cursor_is_written_with_the_messages_or_not_at_all(ground: Ground) -> None:
    ground.do(
        intake.take_in, arrivals=[(arrival(said(1)), "")], now=1.0, mark=("telegram:heed", "8")
    )
    broken = Message(key=key(), message_id="2", author=Author(id="ann"), sent_at=1.0, order=2**70)
    with pytest.raises(OverflowError):
        ground.do(
            intake.take_in,
            arrivals=[(arrival(said(3)), ""), (arrival(broken), "")],
            now=1.0,
            mark=("telegram:heed", "9"),
        )
    assert ground.row(cursor).value == "8"
    assert len(ground.rows(inbox)) == 1


def test_a_cursor_moves_and_is_found_by_its_beginning(ground: Ground) -> None:
    for name, value in (("discord:1", "a"), ("discord:1", "b"), ("discord_2", "c")):
        ground.do(intake.set_cursor, name=name, value=value)
    read = ground.store.read_now
    assert read(lambda c: intake.cursors(c, "discord:")) == {"discord:1": "b"}
    assert read(lambda c: intake.cursors(c, "discord_")) == {"discord_2": "c"}
    assert read(lambda c: intake.cursors(c, "%")) == {}


def test_a_conversation_that_waits_is_found_once_nobody_touches_it(ground: Ground) -> None:
    ground.take(said(1), said(2, user="ben"))
    ground.now += 100
    ground.begin(2)

    def waiting(since: float) -> list[int]:
        return ground.store.read_now(lambda c: intake.waiting(c, since))

    assert waiting(ground.now - 10) == [1]
    assert waiting(ground.now) == [1, 2]
    ground.answer(ground.begin(1))
    assert waiting(ground.now) == [2]


def test_whoever_goes_on_writing_keeps_no_older_message_from_being_found(ground: Ground) -> None:
    """Its ring was lost; each further message is newer than the sweep looks for."""
    ground.take(said(1))
    ground.now += 15
    ground.take(said(2))
    since = ground.now - 10
    assert ground.store.read_now(lambda c: intake.waiting(c, since, ground.now + 10)) == [1]


@pytest.mark.parametrize(
    ("text", "private", "kind", "command", "argument"),
    [
        ("/Human now", True, "command", "human", "now"),
        ("/forget", True, "command", "forget", ""),
        ("/forget", False, "said", "", ""),
        ("/ what", True, "said", "", ""),
        ("/usr/bin", True, "said", "", ""),
        ("hello /human", True, "said", "", ""),
    ],
)
def test_a_typed_command_is_a_command_in_private_only(
    text: str,
    private: bool,  # noqa: FBT001
    kind: str,
    command: str,
    argument: str,
) -> None:
    message = intake.tidy(arrival(said(1, text, private=private))).message
    assert message is not None
    assert (message.kind, message.command, message.argument) == (kind, command, argument)


def test_text_that_no_database_can_hold_is_mended_and_kept(ground: Ground) -> None:
    odd = Message(
        key=ConversationKey(platform="web", bot="heed", chat="a\ud800", user="\0b"),
        message_id="\udfff1",
        author=Author(id="b", name="x" * 500, language="\ud83d"),
        sent_at=1.0,
        text="so \ud83d sad\0",
        event_id="\ud800",
        order=2**80,
    )
    assert ground.take(odd) == [1]
    message = ground.begin().rows[0].message
    assert message.text == "so ? sad\ufffd"
    assert len(message.author.name) == 200


anything = st.text(st.characters(), max_size=12)
messages = st.builds(
    Message,
    key=st.builds(
        ConversationKey,
        platform=st.sampled_from(["telegram", "discord"]),
        bot=st.sampled_from(["one", "two"]),
        chat=anything,
        thread=anything,
        user=anything,
    ),
    message_id=anything,
    event_id=st.one_of(st.just(""), anything),
    author=st.builds(Author, id=anything, name=anything, language=anything),
    sent_at=st.floats(),
    text=anything,
    order=st.integers(-(2**80), 2**80),
    data=anything,
    reply_to=st.one_of(st.none(), anything),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batch=st.lists(messages, max_size=6), raw=anything)
def test_whatever_arrives_is_stored_and_a_repeat_never_is(
    ground: Ground, batch: list[Message], raw: str
) -> None:
    before = len(ground.rows(inbox))
    arrivals = [
        (intake.tidy(Arrival(platform="x", bot="y", source_id=raw, raw=raw, message=m)), "")
        for m in batch
    ]
    taken = ground.do(intake.take_in, arrivals=arrivals, now=1.0)
    made = [item.inbox_id for item in taken if item.inbox_id is not None]
    assert len(ground.rows(inbox)) == before + len(made)
    again = ground.do(intake.take_in, arrivals=arrivals, now=2.0)
    assert [item.inbox_id for item in again] == [None] * len(batch)
    keys = {
        (*(getattr(m.key, name) for name in ("platform", "bot", "chat")), m.message_id, m.event_id)
        for m in (a.message for a, _ in arrivals)
        if m is not None
    }
    assert len(made) <= len(keys)
    owners = {item.conversation_id: a.message.key for item, (a, _) in zip(taken, arrivals)}  # noqa: B905
    for conversation_id, whose in owners.items():
        row = ground.row(conversation, id=conversation_id)
        assert (row.chat, row.thread, row.user) == (whose.chat, whose.thread, whose.user)
