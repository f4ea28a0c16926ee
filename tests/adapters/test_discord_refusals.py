from __future__ import annotations

import pytest

from adapters.discord.refusals import MEANINGS
from core.errors import (
    DeliveryError,
    NoThread,
    Refused,
    RetryAfter,
    ThreadGone,
    ThreadShut,
    TooLarge,
    Unchangeable,
    Unreachable,
)
from core.message import Post
from tests.adapters.discord_bench import Recorder, adapter, keep, post
from tests.fakes.discord import DiscordFake

THREAD = {"thread": "1400000000000000001"}
CHANGE = {"kind": "redraw", "message_id": "1400000000000000002"}

TABLE: list[tuple[int, int, dict[str, object], type[DeliveryError], str]] = [
    (404, 10003, {}, Unreachable, "channel is gone"),
    (404, 10003, THREAD, ThreadGone, "channel is gone"),
    (404, 10008, CHANGE, Unchangeable, "message is gone"),
    (404, 10013, {}, Unreachable, "account is gone"),
    (400, 20016, {}, RetryAfter, "30"),
    (400, 20028, {}, RetryAfter, "30"),
    (400, 30007, {}, Refused, "room for another webhook"),
    (400, 30010, {}, Refused, "another kind of reaction"),
    (400, 30046, CHANGE, RetryAfter, "300"),
    (400, 40003, {}, RetryAfter, "600"),
    (413, 40005, {}, TooLarge, "too large for that server"),
    (400, 40060, {}, Refused, "answered already"),
    (403, 50001, {}, Unreachable, "may not view"),
    (403, 50005, CHANGE, Unchangeable, "somebody else wrote"),
    (400, 50006, {}, Refused, "a text or a file"),
    (403, 50007, {}, Unreachable, "no direct messages"),
    (403, 50013, {}, Refused, "lacks a right"),
    (403, 50013, {"private": False}, Unreachable, "lacks a right"),
    (403, 50013, THREAD | {"private": False}, NoThread, "lacks a right"),
    (400, 50035, {}, Refused, "in this form"),
    (400, 50083, THREAD, ThreadShut, "archived"),
    (403, 50278, {}, Unreachable, "share no server"),
    (400, 130000, {}, RetryAfter, "30"),
    (400, 160005, THREAD, ThreadShut, "locked"),
    (400, 160006, {"kind": "thread"}, NoThread, "another active thread"),
    (400, 200000, {}, Refused, "AutoMod"),
    (400, 240000, {}, Refused, "harmful"),
    (400, 99999, {}, Refused, "99999"),
]


def wanted(more: dict[str, object]) -> Post:
    return post("1400000000000000000", "text", **more)


@pytest.mark.parametrize(("status", "code", "more", "kind", "words"), TABLE)
async def test_each_error_of_discords_is_one_kind_of_failure_with_a_plain_sentence(
    status: int, code: int, more: dict[str, object], kind: type[DeliveryError], words: str
) -> None:
    alarms: list[str] = []
    async with DiscordFake() as fake:
        heed = adapter(fake, Recorder(), on_alarm=alarms.append)
        fake.fail("* /channels/*", str(code), status=status, count=9)
        with pytest.raises(DeliveryError) as failed:
            await heed.deliver(wanted(more), keep)
        await heed._rest.close()
        assert type(failed.value) is kind
        assert words in str(failed.value)
        assert len(fake.called("* /channels/*")) == 1  # no answer of Discord's is argued with
        assert alarms == []


def test_every_known_error_has_a_sentence_or_a_time_to_wait() -> None:
    for code, meaning in MEANINGS.items():
        assert meaning.sentence, code
        assert (meaning.wait > 0) is (meaning.kind is RetryAfter), code


@pytest.mark.parametrize("scope", ["429", "429-shared", "429-global"])
async def test_a_short_wait_is_waited_out_and_a_long_one_is_written_down(scope: str) -> None:
    alarms: list[str] = []
    async with DiscordFake() as fake:
        heed = adapter(fake, Recorder(), on_alarm=alarms.append)
        fake.fail("POST /channels/*/messages", scope, retry_after=0.3)
        await heed.deliver(post(fake.channel, "short"), keep)
        fake.fail("POST /channels/*/messages", scope, retry_after=200.0)
        with pytest.raises(RetryAfter) as waits:
            await heed.deliver(post(fake.channel, "long", nonce="b"), keep)
        await heed._rest.close()
        assert waits.value.seconds == 200.0
        assert [text for _, text in fake.transcript(fake.channel)] == ["short"]
        assert alarms == []
