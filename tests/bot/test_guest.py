from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from bot.guest import Guests
from core.errors import DeskError
from core.store import Inline, Store, create_tables, people

RIGHT = "four boring words here"
HASHED = PasswordHasher(time_cost=1, memory_cost=1024).hash(RIGHT)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    create_tables(url)
    made = Store(url, Inline)
    for name, admin in (("ana", True), ("ben", False)):
        made.write_now(partial(people.add_staff, name=name, password=HASHED, now=1.0, admin=admin))
    yield made
    made.close()


@pytest.fixture
def guests(store: Store, clock: Clock) -> Guests:
    return Guests(store, clock)


async def _in(guests: Guests, name: str = "ana") -> str:
    secret = await guests.log_in(name, RIGHT)
    assert secret is not None
    return secret


async def test_the_right_password_opens_a_session_of_ones_own(guests: Guests) -> None:
    ana, ben = await _in(guests), await _in(guests, " ben ")
    one, other = await guests.member(ana), await guests.member(ben)
    assert one is not None
    assert other is not None
    assert (one.name, one.admin, other.name, other.admin) == ("ana", True, "ben", False)
    assert one.csrf != other.csrf
    assert len(ana) >= 43  # 32 random bytes
    assert ana != await _in(guests)


async def test_a_wrong_password_or_name_opens_nothing(guests: Guests) -> None:
    assert await guests.log_in("ana", RIGHT + "!") is None
    assert await guests.log_in("eve", RIGHT) is None
    assert await guests.log_in("", "") is None
    assert await guests.member("") is None
    assert await guests.member("guessed") is None


async def test_a_name_waits_longer_after_every_wrong_try(guests: Guests, clock: Clock) -> None:
    for _ in range(3):
        assert await guests.log_in("ana", "no") is None
    waits = []
    for _ in range(8):
        with pytest.raises(DeskError, match=r"wait \d+ s") as told:
            await guests.log_in("ana", RIGHT)
        waits.append(int(str(told.value).split("wait ")[1].split(" ")[0]))
        clock.now += waits[-1]
        assert await guests.log_in("ana", "no") is None
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert await guests.log_in("ben", RIGHT) is not None  # another name is not kept waiting
    clock.now += 60
    assert await guests.log_in("ana", RIGHT) is not None
    assert await guests.log_in("ana", "no") is None  # forgiven: the count begins anew
    assert await guests.log_in("ana", RIGHT) is not None


async def test_an_unknown_name_waits_like_a_known_one(guests: Guests) -> None:
    for _ in range(3):
        assert await guests.log_in("eve", "no") is None
    with pytest.raises(DeskError, match="wait 1 s"):
        await guests.log_in("eve", "no")


async def test_tries_at_the_same_moment_are_counted_one_by_one(guests: Guests) -> None:
    answers = await asyncio.gather(
        *(guests.log_in("ana", f"guess {i}") for i in range(12)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == 3
    assert sum(isinstance(answer, DeskError) for answer in answers) == 9


async def test_many_names_together_are_slowed_too(guests: Guests, clock: Clock) -> None:
    for i in range(30):
        guests._all.count("", clock.now)
        del i
    with pytest.raises(DeskError, match="wait 1 s"):
        await guests.log_in("ben", RIGHT)
    clock.now += 1
    assert await guests.log_in("ben", RIGHT) is not None


async def test_an_unknown_name_is_verified_like_a_known_one(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    verify = PasswordHasher.verify

    def watched(self: PasswordHasher, hashed: str, password: str) -> bool:
        seen.append(str(hashed))
        return bool(verify(self, hashed, password))

    monkeypatch.setattr(PasswordHasher, "verify", watched)
    await guests.log_in("eve", RIGHT)
    await guests.log_in("ana", RIGHT)
    assert len(seen) == 2
    assert seen[0].startswith("$argon2id$")
    assert seen[1] == HASHED


async def test_a_session_ends_after_twelve_idle_hours(guests: Guests, clock: Clock) -> None:
    secret = await _in(guests)
    for _ in range(3):
        clock.now += 11.9 * 3600
        assert await guests.member(secret) is not None
    clock.now += 12 * 3600
    assert await guests.member(secret) is None


async def test_being_seen_is_written_at_most_once_a_minute(
    guests: Guests, store: Store, clock: Clock
) -> None:
    secret = await _in(guests)

    def seen() -> float:
        [ana, _] = store.read_now(people.all_staff)
        return ana.seen_at or 0.0

    clock.now += 59
    await guests.member(secret)
    assert seen() == 1000.0
    clock.now += 1
    await guests.member(secret)
    assert seen() == 1060.0


async def test_logging_out_ends_one_session_or_all(guests: Guests) -> None:
    one, two, ben = await _in(guests), await _in(guests), await _in(guests, "ben")
    await guests.log_out(one)
    assert await guests.member(one) is None
    assert await guests.member(two) is not None
    three = await _in(guests)
    await guests.log_out(two, everywhere=True)
    assert await guests.member(two) is None
    assert await guests.member(three) is None
    assert await guests.member(ben) is not None
    await guests.log_out("nonsense", everywhere=True)
    assert await guests.member(ben) is not None


async def test_who_is_removed_is_out_at_once(guests: Guests, store: Store) -> None:
    secret = await _in(guests)
    store.write_now(partial(people.remove_staff, name="ana"))
    assert await guests.member(secret) is None
    assert [one["name"] for one in await guests.staff()] == ["ben"]


async def test_staff_are_told_without_their_passwords(guests: Guests) -> None:
    await _in(guests)
    assert await guests.staff() == [
        {"name": "ana", "admin": True, "added_at": 1.0, "seen_at": 1000.0},
        {"name": "ben", "admin": False, "added_at": 1.0, "seen_at": None},
    ]


async def test_the_file_does_not_hold_the_secret(
    guests: Guests, store: Store, tmp_path: Path
) -> None:
    secret = await _in(guests)
    store.erase_log()
    assert secret.encode() not in (tmp_path / "heed.db").read_bytes()
    with sqlite3.connect(tmp_path / "heed.db") as file:
        [(kept,)] = file.execute("SELECT secret FROM session").fetchall()
    file.close()
    assert len(kept) == 64
    assert await guests.member(kept) is None  # a hash that was read opens nothing


async def test_an_odd_password_is_only_wrong(guests: Guests) -> None:
    assert await guests.log_in("ana", "\udcff" * 5000) is None
    assert await guests.log_in("ana\x00", "x") is None
