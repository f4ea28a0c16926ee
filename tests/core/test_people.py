from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import DeskError
from core.message import ConversationKey
from core.store import Inline, Store, create_tables, people, saved, sessions, tuning
from core.store.people import Human

ANN = ConversationKey(platform="telegram", bot="1", chat="7", user="7")
ANN_IN_A_GROUP = ConversationKey(platform="telegram", bot="1", chat="-5", user="7")
ANNE = ConversationKey(platform="discord", bot="main", chat="70", user="77")
BOB = ConversationKey(platform="discord", bot="main", chat="80", user="88")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(url)
    made = Store(url, Inline)
    yield made
    made.close()


def _human(key: ConversationKey) -> Human:
    return key.platform, key.bot, key.user


def test_a_person_is_one_row_wherever_they_write(store: Store) -> None:
    one = store.write_now(lambda c: people.person_of(c, *_human(ANN)))
    assert store.write_now(lambda c: people.person_of(c, *_human(ANN_IN_A_GROUP))) == one
    assert store.write_now(lambda c: people.person_of(c, *_human(BOB))) != one


def test_a_block_holds_in_every_chat_until_its_time_is_over(store: Store) -> None:
    store.write_now(lambda c: people.block(c, ANN, 500.0, "spam", 100.0))
    assert store.read_now(lambda c: people.blocked(c, *_human(ANN_IN_A_GROUP), 499.0)) == (
        500.0,
        "spam",
    )
    assert store.read_now(lambda c: people.blocked(c, *_human(ANN), 500.0)) is None
    assert store.read_now(lambda c: people.blocked(c, *_human(BOB), 200.0)) is None


def test_a_block_can_be_lifted_and_must_last(store: Store) -> None:
    store.write_now(lambda c: people.block(c, ANN, 500.0, "", 100.0))
    assert store.write_now(lambda c: people.unblock(c, ANN)) is True
    assert store.write_now(lambda c: people.unblock(c, ANN)) is False
    assert store.write_now(lambda c: people.unblock(c, BOB)) is False
    assert store.read_now(lambda c: people.blocked(c, *_human(ANN), 200.0)) is None
    with pytest.raises(DeskError, match="such as 7d"):
        store.write_now(lambda c: people.block(c, ANN, 100.0, "", 100.0))


def test_remarks_are_the_persons_and_stay_in_order(store: Store) -> None:
    store.write_now(lambda c: people.add_remark(c, ANN, "zoe", " prefers mail ", 1.0))
    store.write_now(lambda c: people.add_remark(c, ANN_IN_A_GROUP, "ben", "is a reseller", 2.0))
    assert store.read_now(lambda c: people.remarks(c, ANN)) == [
        ("zoe", "prefers mail", 1.0),
        ("ben", "is a reseller", 2.0),
    ]
    assert store.read_now(lambda c: people.remarks(c, BOB)) == []
    with pytest.raises(DeskError, match="remembered"):
        store.write_now(lambda c: people.add_remark(c, ANN, "zoe", "  ", 3.0))


def test_a_code_joins_two_accounts_once(store: Store) -> None:
    store.write_now(lambda c: people.make_code(c, ANN, "K7Q2", 600.0))
    with pytest.raises(DeskError, match="not valid"):
        store.write_now(lambda c: people.use_code(c, ANNE, "K7Q2", 600.0))
    with pytest.raises(DeskError, match="not valid"):
        store.write_now(lambda c: people.use_code(c, ANNE, "", 10.0))
    with pytest.raises(DeskError, match="the other platform"):
        store.write_now(lambda c: people.use_code(c, ANN_IN_A_GROUP, "K7Q2", 10.0))
    assert store.write_now(lambda c: people.use_code(c, ANNE, "K7Q2", 10.0)) == _human(ANN)
    assert store.read_now(lambda c: people.linked(c, ANN)) == [_human(ANNE)]
    assert store.read_now(lambda c: people.linked(c, ANNE)) == [_human(ANN)]
    with pytest.raises(DeskError, match="not valid"):
        store.write_now(lambda c: people.use_code(c, BOB, "K7Q2", 10.0))
    assert store.read_now(lambda c: people.linked(c, BOB)) == []


def test_two_joined_groups_become_one_and_parting_leaves_nobody_alone(store: Store) -> None:
    for code, owner, other in (("A", ANN, ANNE), ("B", ANN, BOB)):
        store.write_now(lambda c, o=owner, k=code: people.make_code(c, o, k, 600.0))
        store.write_now(lambda c, o=other, k=code: people.use_code(c, o, k, 10.0))
    assert set(store.read_now(lambda c: people.linked(c, BOB))) == {_human(ANN), _human(ANNE)}
    assert store.write_now(lambda c: people.unlink(c, ANN)) is True
    assert store.read_now(lambda c: people.linked(c, ANN)) == []
    assert store.read_now(lambda c: people.linked(c, BOB)) == [_human(ANNE)]
    assert store.write_now(lambda c: people.unlink(c, BOB)) is True
    assert store.read_now(lambda c: people.linked(c, ANNE)) == []
    assert store.write_now(lambda c: people.unlink(c, ANNE)) is False


def test_a_new_code_replaces_the_one_before(store: Store) -> None:
    store.write_now(lambda c: people.make_code(c, ANN, "OLD", 600.0))
    store.write_now(lambda c: people.make_code(c, ANN, "NEW", 600.0))
    with pytest.raises(DeskError):
        store.write_now(lambda c: people.use_code(c, ANNE, "OLD", 10.0))


def test_colleagues_are_learned_once_and_keep_their_name(store: Store) -> None:
    first = store.write_now(lambda c: people.learn(c, "telegram", "1", "9", "Zoe", 1.0))
    assert store.write_now(lambda c: people.learn(c, "telegram", "1", "9", "", 5.0)) == first
    store.write_now(lambda c: people.learn(c, "telegram", "1", "8", "Ben", 3.0))
    assert store.read_now(people.colleagues) == [
        ("telegram", "1", "9", "Zoe"),
        ("telegram", "1", "8", "Ben"),
    ]
    assert store.read_now(lambda c: people.is_colleague(c, "telegram", "9"))
    assert not store.read_now(lambda c: people.is_colleague(c, "discord", "9"))


def test_staff_are_listed_by_name_and_removed_with_their_sessions(store: Store) -> None:
    for name, admin in (("zoe", False), ("ana", True)):
        store.write_now(lambda c, n=name, a=admin: people.add_staff(c, n, "hash", 1.0, admin=a))
    assert store.write_now(lambda c: people.add_staff(c, "ana", "x", 2.0, admin=False)) is False
    assert store.read_now(people.list_staff) == ["ana (admin)", "zoe"]
    store.write_now(lambda c: sessions.begin(c, "ana", "h1", "csrf", 10.0))
    assert store.read_now(lambda c: people.staff_named(c, "ana")) == ("ana", "hash", True, 1.0, 10)
    assert store.write_now(lambda c: people.remove_staff(c, "ana")) is True
    assert store.read_now(lambda c: sessions.find(c, "h1", 11.0)) is None
    assert store.read_now(lambda c: people.staff_named(c, "ana")) is None


def test_a_session_ends_after_its_idle_hours_and_lives_when_touched(store: Store) -> None:
    store.write_now(lambda c: people.add_staff(c, "ana", "hash", 1.0, admin=False))
    store.write_now(lambda c: sessions.begin(c, "ana", "h1", "csrf", 0.0))
    end = sessions.IDLE
    assert store.read_now(lambda c: sessions.find(c, "h1", end - 1)) == ("ana", False, "csrf", 0.0)
    assert store.read_now(lambda c: sessions.find(c, "h1", end)) is None
    store.write_now(lambda c: sessions.touch(c, "h1", 100.0))
    assert store.read_now(lambda c: sessions.find(c, "h1", end)) is not None
    assert store.write_now(lambda c: sessions.sweep(c, end)) == 0
    assert store.write_now(lambda c: sessions.sweep(c, end + 100.0)) == 1


def test_one_session_or_all_of_somebody_can_be_ended(store: Store) -> None:
    for name in ("ana", "ben"):
        store.write_now(lambda c, n=name: people.add_staff(c, n, "hash", 1.0, admin=False))
    for secret, name in (("a1", "ana"), ("a2", "ana"), ("a3", "ana"), ("b1", "ben")):
        store.write_now(lambda c, s=secret, n=name: sessions.begin(c, n, s, "csrf", 0.0))

    def alive() -> list[str]:
        secrets = ("a1", "a2", "a3", "b1")
        return [s for s in secrets if store.read_now(lambda c, s=s: sessions.find(c, s, 1.0))]

    store.write_now(lambda c: sessions.close(c, "a1"))
    assert alive() == ["a2", "a3", "b1"]
    store.write_now(lambda c: sessions.close_all(c, "ana"))
    assert alive() == ["b1"]


def test_saved_replies_go_by_a_name_that_can_be_typed(store: Store) -> None:
    store.write_now(lambda c: saved.put(c, "refund", " We pay back in 3 days. ", "ana", 1.0))
    store.write_now(lambda c: saved.put(c, "你好", "您好!", "ana", 1.0))
    store.write_now(lambda c: saved.put(c, "Refund", "We pay back in 5 days.", "ben", 2.0))
    assert store.read_now(saved.every) == [
        {"name": "Refund", "text": "We pay back in 5 days."},
        {"name": "你好", "text": "您好!"},
    ]
    assert store.read_now(lambda c: saved.text_of(c, "REFUND ")) == "We pay back in 5 days."
    assert store.read_now(lambda c: saved.text_of(c, "no")) is None
    for name in ("two words", "", "x" * 33, "a/b"):
        with pytest.raises(DeskError, match="at most 32"):
            store.write_now(lambda c, n=name: saved.put(c, n, "text", "ana", 3.0))
    with pytest.raises(DeskError, match="shorten"):
        store.write_now(lambda c: saved.put(c, "long", "x" * 4001, "ana", 3.0))
    store.write_now(lambda c: saved.put(c, "REFUND", "", "ana", 4.0))
    assert [row["name"] for row in store.read_now(saved.every)] == ["你好"]


def test_changed_settings_are_kept_and_taken_back(store: Store) -> None:
    store.write_now(lambda c: tuning.put(c, {"mood.half_life": "60", "x.y": "1"}, "ana", 1.0))
    store.write_now(lambda c: tuning.put(c, {"mood.half_life": "90", "x.y": None}, "ana", 2.0))
    assert store.read_now(tuning.rows) == {"mood.half_life": "90"}
